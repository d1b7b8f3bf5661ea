# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a guest does after a panic, as its serial console and libvirt see it."""

import concurrent.futures
import contextlib
import subprocess
import time
from typing import Callable, NamedTuple, Optional

from . import guest
from .common import LabError

PANIC = b"Kernel panic - not syncing"
PANIC_SECONDS = 300
END_SECONDS = 600
# How the console shows that a guest stays where it is: the kernel's own words, and those of the capture image.
STAYS = {"halt": b"reboot: System halted", "shell": b"a shell for you"}
# A kernel that starts. The second one after a panic is the guest's own again: libvirt's event of the reboot can get lost.
STARTS = b"Linux version "


class End(NamedTuple):
    """How it ended: reboot, poweroff, halt, shell, or `nothing` within END_SECONDS; how long that took; what it wrote."""

    how: str
    seconds: float
    console: str


def crash(machine: guest.Guest, act: Optional[Callable[[], object]] = None) -> End:
    """How a guest ends that is made to panic, by sysrq or by `act`, whose own end is waited for; it is left as it is then."""
    offset = machine.console.stat().st_size
    argv = ["virsh", "--connect", "qemu:///system", "event", "--domain", machine.domain, "--event", "reboot"]
    argv += ["--timeout", str(PANIC_SECONDS + END_SECONDS)]
    with concurrent.futures.ThreadPoolExecutor() as threads, subprocess.Popen(argv, stdout=subprocess.DEVNULL) as event:
        try:
            acting = threads.submit(act or (lambda: sysrq(machine)))
            panicked = wait_for_panic(machine, offset, acting)
            how = wait_for_end(machine, offset, event)
            end = End(how, round(time.monotonic() - panicked, 1), written(machine, offset).decode(errors="replace"))
            acting.result()
        finally:
            event.terminate()
    return end


def sysrq(machine: guest.Guest) -> None:
    with contextlib.suppress(LabError):  # a guest that panics says no good-bye
        guest.ssh(machine, "nohup sh -c 'sync; sleep 1; echo c > /proc/sysrq-trigger' > /dev/null 2>&1 &", timeout=30)


def written(machine: guest.Guest, offset: int) -> bytes:
    with open(machine.console, "rb") as console:
        console.seek(offset)
        return console.read()


def wait_for_panic(machine: guest.Guest, offset: int, acting: "concurrent.futures.Future[object]") -> float:
    deadline = time.monotonic() + PANIC_SECONDS
    while time.monotonic() < deadline:
        if PANIC in written(machine, offset):
            return time.monotonic()
        if acting.done():
            acting.result()  # what kept it from the panic
        time.sleep(0.05)
    raise LabError(f"Guest {machine.name} did not panic. The end of its console:\n{guest.tail(machine)}")


def wait_for_end(machine: guest.Guest, offset: int, event: subprocess.Popen) -> str:
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        if event.poll() == 0:
            return "reboot"
        if machine.domain not in guest.running():
            return "poweroff"
        seen = written(machine, offset)
        for how, words in STAYS.items():
            if words in seen:
                return how
        if seen.count(STARTS) > 1:
            return "reboot"
        time.sleep(0.2)
    return "nothing"


def back(machine: guest.Guest, before: str, end: End) -> None:
    """Waits for a guest that restarts by itself; boots one that does not."""
    if end.how != "reboot":
        guest.virsh("destroy", machine.domain, check=False)
        guest.start(machine)
    guest.wait_for_reboot(machine, before)


def crash_and_return(machine: guest.Guest) -> End:
    """The same by sysrq; the guest is up again afterwards."""
    before = guest.boot_id(machine)
    end = crash(machine)
    back(machine, before, end)
    return end
