# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether KVM works here, found out by booting a kernel with it.

/dev/kvm alone says little: nested inside another virtual machine it may run a guest's kernel a hundred times slower
than QEMU's own emulation does.
"""

import pathlib
import subprocess

from .common import cache_dir, locked, say, stage

PROBE_SECONDS = 20
# Without a root file system a kernel ends its boot here; every driver has been started by then.
END_OF_BOOT = b"VFS: Unable to mount root fs"


def accelerator(kernel: pathlib.Path) -> str:
    """`kvm` or `tcg`; the probe's answer is kept until this machine boots again."""
    with locked("accelerator", "another process that tries KVM"):
        if not answer().exists():
            for old in cache_dir().glob("accelerator-*"):
                old.unlink()
            answer().write_text("kvm" if kvm_boots(kernel) else "tcg", encoding="ascii")
    return answer().read_text(encoding="ascii")


def answer() -> pathlib.Path:
    """The file that keeps the probe's answer."""
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return cache_dir() / f"accelerator-{boot_id}"


def kvm_is_useless() -> bool:
    """True after a probe that failed."""
    return answer().exists() and answer().read_text(encoding="ascii") == "tcg"


def kvm_boots(kernel: pathlib.Path) -> bool:
    if not pathlib.Path("/dev/kvm").exists():
        say("no /dev/kvm here: guests are emulated in software")
        return False
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-m", "512", "-display", "none", "-no-reboot", "-nodefaults"]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    with stage(f"tries whether KVM boots a kernel within {PROBE_SECONDS} s"):
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
            )
            output = done.stdout
        except subprocess.TimeoutExpired as expired:
            output = expired.stdout or b""
    works = END_OF_BOOT in output
    say("KVM works: guests use it" if works else "KVM does not work here: guests are emulated in software")
    return works
