# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making the kernel panic, on purpose. Private to this collection."""

import os
import time


def later(sysrq: str, seconds: float) -> None:
    """Return at once, and write `c` into the file `sysrq` (/proc/sysrq-trigger) after some seconds.

    The one who waits belongs to no session and holds no file of the caller's, so that a connection ends cleanly before
    the machine dies. OSError, and no panic, where the file cannot be written to.
    """
    descriptor = os.open(sysrq, os.O_WRONLY | os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(descriptor)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _wait_and_panic(descriptor, seconds)
    finally:
        os._exit(0)


def _wait_and_panic(descriptor: int, seconds: float) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 4096)
    time.sleep(seconds)
    os.write(descriptor, b"c")
