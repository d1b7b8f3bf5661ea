# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The whole story on one guest, with times: arm it, crash it, read the vmcore that it left."""

import os
import pathlib
import signal
import sys
import tempfile
import time
from typing import Dict, List, Tuple

from . import collection, deps, guest, image
from .common import LabError, locked, run, say

NAME = "demo"
CRASHKERNEL = "96M"


class Clock:
    """Names the stages on stdout as they begin, and keeps their seconds for the end."""

    def __init__(self) -> None:
        self.stages: List[Tuple[str, float]] = []

    def __call__(self, title: str) -> None:
        self.stop()
        print(f"\n== {title}", flush=True)
        self.stages.append((title, time.monotonic()))

    def stop(self) -> None:
        if self.stages and self.stages[-1][1] > 0:
            title, started = self.stages[-1]
            self.stages[-1] = (title, started - time.monotonic())

    def table(self) -> str:
        self.stop()
        return "\n".join(f"{-seconds:8.0f} s  {title}" for title, seconds in self.stages)


def main(suite: str) -> None:
    """Runs the demo; takes away what it made, whatever happens."""
    if os.geteuid() != 0:
        raise LabError("The demo makes a virtual machine and installs packages: run it as root.")
    end_on_signals()
    with locked("demo", "another demo to end"):
        tell(suite)


def end_on_signals() -> None:
    """Lets SIGTERM, and SIGHUP unless nohup has it ignored, end the demo as Ctrl-C does: the guest is taken away."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit("lab: terminated"))


def tell(suite: str) -> None:
    clock = Clock()
    clock("1. The packages that the lab needs: qemu, libvirt, mmdebstrap …")
    deps.install()
    started_libvirt = guest.ensure_libvirt()
    with tempfile.TemporaryDirectory(prefix="vmcore-kdump-demo-") as scratch:
        try:
            story(clock, suite, pathlib.Path(scratch))
        finally:
            clock("8. Taking the guest away")
            guest.down(NAME)
            if started_libvirt and not guest.running():
                guest.stop_daemons()
    print(f"\n== Times\n{clock.table()}")
    print(f"\nLeft on this machine: Debian's packages of stage 1, and the guest image in {image.cache_dir()}.")


def story(clock: Clock, suite: str, scratch: pathlib.Path) -> None:
    clock("2. ansible-core, from PyPI, in an environment of its own")
    run(sys.executable, "-m", "venv", scratch / "venv")
    run(scratch / "venv/bin/pip", "install", "--quiet", "ansible-core")
    say(run(scratch / "venv/bin/ansible-playbook", "--version").stdout.splitlines()[0])

    clock("3. The collection, as a user gets it: its tarball, built and installed")
    programs = scratch / "venv/bin"
    ansible = collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")

    clock(f"4. A host to crash: a Debian {suite} guest that boots its own disk")
    guest.down(NAME)
    host = guest.up(NAME, suite, memory=2048, cpus=2, disks=[], port=0)
    ansible.inventory.write_text(guest.inventory([host]), encoding="utf-8")

    clock(f"5. playbook vmcore.kdump.kdump: reserves {CRASHKERNEL}, reboots for it, arms the host")
    ansible.playbook("vmcore.kdump.kdump", "-e", "kdump_reboot_ok=true", "-e", f"kdump_crashkernel={CRASHKERNEL}")

    clock("6. playbook vmcore.kdump.crash_test: the kernel panics, the capture kernel saves a vmcore")
    ansible.playbook("vmcore.kdump.crash_test", "-e", "kdump_crash_test=true")

    clock("7. What the host says now, and what is in the vmcore")
    print(verdict(ansible.module(NAME, "vmcore.kdump.info")), flush=True)


def verdict(info: Dict) -> str:
    """The end of the story in words; LabError unless the host is proven."""
    proof = info.get("proof")
    if info["readiness"] != "proven" or not proof:
        reasons = " ".join(f"{reason['message']} {reason['hint']}" for reason in info["reasons"])
        raise LabError(f"The guest is {info['readiness']}, not proven. {reasons}")
    image_file, reserved = info["image"], info["crashkernel"]["reserved_bytes"]
    return (
        f"The host is {info['readiness']}: a panic leaves a vmcore, as it has just shown.\n"
        f"  vmcore               {proof['vmcore']}, {proof['verdict']}\n"
        f"  panic to dump saved  {proof['seconds_to_capture']} s\n"
        f"  host unreachable     {proof['seconds_unreachable']} s\n"
        f"  memory reserved      {reserved >> 20} MiB\n"
        f"  capture image        {image_file['bytes']} bytes, built in {image_file.get('seconds', '?')} s"
    )
