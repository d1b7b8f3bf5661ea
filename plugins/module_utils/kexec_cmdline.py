# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capture kernel's command line, made as kdump-utils makes it. Private to this collection.

Source: prepare_cmdline in kdump-lib.sh of kdump-utils 1.0.61.
"""

import re
from typing import Dict, List, Optional, Sequence

from . import cmdline
from .problems import Problem

# Always removed: the reservation must not be made again, a warning must not end the capture, and the root file
# system and its devices are found by the capture image.
_ALWAYS_REMOVED = """crashkernel panic_on_warn root rd.lvm.lv rd.luks.uuid rd.dm.uuid rd.md.uuid fcoe netroot
    rd.iscsi.initiator iscsi_initiator""".split()

# COMMAND_LINE_SIZE of arch/*/include/asm/setup.h and include/uapi/asm/setup.h, its NUL included; where it grew, the
# older value.
_LIMITS = {
    "x86_64": 2048, "i386": 2048, "i486": 2048, "i586": 2048, "i686": 2048,
    "aarch64": 2048, "ppc64": 2048, "ppc64le": 2048, "s390x": 4096, "loongarch64": 4096,
    "riscv64": 1024, "armv5tel": 1024, "armv6l": 1024, "armv7l": 1024,
}  # fmt: skip
# The kernel puts `elfcorehdr=0x<16 digits> ` and, for encrypted targets, `dmcryptkeys=0x<16 digits> ` in front
# (arch/x86/kernel/kexec-bzimage64.c: MAX_ELFCOREHDR_STR_LEN 30, MAX_DMCRYPTKEYS_STR_LEN 31).
_ADDED_BY_KERNEL = 61


def capture_cmdline(
    running: str,
    settings: Dict[str, str],
    machine: str,
    cpuinfo: str = "",
    watchdogs: Sequence[str] = (),
    graviton: bool = False,
    append: str = "",
    remove: Sequence[str] = (),
    nr_cpus: Optional[int] = None,
) -> str:
    """The command line for the capture kernel.

    running: /proc/cmdline, the base unless `settings` hold KDUMP_COMMANDLINE
    settings: KDUMP_COMMANDLINE, KDUMP_COMMANDLINE_REMOVE, KDUMP_COMMANDLINE_APPEND
    cpuinfo: /proc/cpuinfo
    watchdogs: the modules that drive the watchdogs of this machine
    append, remove, nr_cpus: the caller's own wishes, after all others
    """
    base = cmdline.split(settings.get("KDUMP_COMMANDLINE") or running)
    if "--" in base:  # what follows is for the running system's init (parse_args() in kernel/params.c)
        base = base[: base.index("--")]
    base = [argument for argument in base if not argument.rstrip('"').endswith("=")]
    base = cmdline.without(base, cmdline.keys(settings.get("KDUMP_COMMANDLINE_REMOVE", "")) + _ALWAYS_REMOVED)
    added = cmdline.split(settings.get("KDUMP_COMMANDLINE_APPEND", ""))
    apicid = boot_apicid(cpuinfo)
    if apicid is not None:
        # The panic may be on any CPU; from another, INIT to the boot CPU would reset the machine.
        added.append("disable_cpu_apicid=%d" % apicid)
    for name in watchdogs:
        added += ["%s.pretimeout=0" % name] + (["hpwdt.kdumptimeout=0"] if name == "hpwdt" else [])
    if nr_cpus is not None:
        # The place is kept, so that the rest of the line reads as it did.
        added = [("nr_cpus=%d" % nr_cpus) if cmdline.key(one) == "nr_cpus" else one for one in added]
        if not cmdline.values(added, "nr_cpus"):
            added.append("nr_cpus=%d" % nr_cpus)
        base = cmdline.without(base, ["nr_cpus", "maxcpus"])
    unwanted = list(remove) + (["irqpoll"] if graviton else [])  # irqpoll hot-removes PCI devices there
    return cmdline.join(cmdline.without(base + added, unwanted) + cmdline.split(append))


# What kstrtobool() in lib/kstrtox.c takes for false, by the beginning of a value.
_FALSE = re.compile("[nNfFdD0]|[oO][fF]")


def fed(arguments: Sequence[str], prefix: str = "watchdog.") -> List[str]:
    """The arguments without those by which the kernel does not feed, or not for long, a watchdog that runs.

    In the capture kernel nobody opens /dev/watchdog, so that the kernel alone feeds one that has outlived the panic and
    cannot be stopped. watchdog_cdev_register() and watchdog_past_open_deadline() in drivers/watchdog/watchdog_dev.c.
    """
    kept = cmdline.without(arguments, [prefix + "open_timeout"])
    switch = prefix + "handle_boot_enabled"
    return [one for one in kept if not any(_FALSE.match(value) for value in cmdline.values([one], switch))]


def boot_apicid(cpuinfo: str) -> Optional[int]:
    """The APIC id of CPU 0 by /proc/cpuinfo; None where there is none (not x86, or one CPU without an APIC)."""
    processor = ""
    for line in cpuinfo.splitlines():
        name, dummy, value = (part.strip() for part in line.partition(":"))
        if name == "processor":
            processor = value
        elif name == "apicid" and processor == "0" and value.isdecimal():
            return int(value)
    return None


def problems(line: str, machine: str, kernel_max: int, crash: bool) -> List[Problem]:
    """What the kernel would not take: bytes it cannot hold, a line that is too long for it.

    kernel_max: what the kernel file itself says, in bytes without the NUL; 0 where it does not say.
    """
    found = []
    if any(char in line for char in "\n\r\0"):
        found.append(Problem(
            "The kernel command line holds a line break or a NUL.",
            "Write it on one line in /etc/sysconfig/kdump and in the task.", "cmdline", line,
        ))  # fmt: skip
    most = kernel_max or _LIMITS.get(machine, 1024) - 1
    most -= _ADDED_BY_KERNEL if crash else 0
    length = len(line.encode("utf-8", "surrogateescape"))
    if length > most:
        found.append(Problem(
            "The kernel command line has %d bytes, and this kernel takes %d." % (length, most),
            "Remove arguments that the capture does not need with KDUMP_COMMANDLINE_REMOVE in /etc/sysconfig/kdump.",
            "cmdline", line,
        ))  # fmt: skip
    return found
