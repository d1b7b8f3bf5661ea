# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Running programs. Private to this collection."""

import contextlib
import os
import signal
import subprocess
from typing import Any, Dict, List, NamedTuple, Optional


class Result(NamedTuple):
    """What a program did: its argv, exit code (-1 for one that could not be started or was ended), output as text."""

    argv: List[str]
    rc: int
    out: str
    err: str
    ended: bool = False  # it took too long


def run(argv: List[str], timeout: Optional[float] = None, stdin: Optional[bytes] = None) -> Result:
    """Run one program in the C locale, without a shell. Never raises for what the program does.

    A program that takes too long is ended with all that it has started: they hold its output open, and subprocess.run
    of Python 3.6 waits for the last of them.
    """
    pipe = subprocess.PIPE
    options: Dict[str, Any] = {
        "stdin": pipe,
        "stdout": pipe,
        "stderr": pipe,
        "env": dict(os.environ, LC_ALL="C", LANGUAGE="C"),
    }
    try:
        # AnsibleModule, which has its own way, is not there at boot time.
        process = subprocess.Popen(argv, start_new_session=True, **options)  # pylint: disable=ansible-bad-function
    except OSError as error:
        return Result(argv, -1, "", "%s: %s" % (argv[0], error.strerror))
    with process:
        try:
            out, err = process.communicate(b"" if stdin is None else stdin, timeout)
        except subprocess.TimeoutExpired:
            _end(process.pid)
            return Result(argv, -1, "", "%s did not end within %s seconds" % (argv[0], timeout), True)
        except BaseException:
            _end(process.pid)
            raise
    return Result(argv, process.returncode, _text(out), _text(err))


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
