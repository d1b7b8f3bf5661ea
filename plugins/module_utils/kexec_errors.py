# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the kernel's answers to kexec_file_load and kexec_load mean, and what to do. Private to this collection.

Sources: kernel/kexec.c, kernel/kexec_file.c, kernel/kexec_core.c (kexec_load_permitted), security/lockdown,
crypto/asymmetric_keys/verify_pefile.c.
"""

import errno
from typing import Callable, Dict, NamedTuple

from .problems import Problem

MIB = 1 << 20


class Facts(NamedTuple):
    """What the host says around a load. Sizes in bytes; a limit of -1 is none."""

    kind: str = "crash"  # crash, reboot
    kernel: str = ""
    initrd: str = ""
    needed: int = 0
    reserved: int = 0
    may_boot: bool = True  # CAP_SYS_BOOT
    disabled: bool = False  # kernel.kexec_load_disabled
    limit: int = -1  # kernel.kexec_load_limit_panic or _reboot
    lockdown: str = "none"  # none, integrity, confidentiality
    secure_boot: bool = False


def explain(number: int, facts: Facts) -> Problem:
    """The sentence for an errno."""
    entry = _ANSWERS.get(number)
    if entry is not None:
        return entry(facts)
    name = errno.errorcode.get(number, str(number))
    return Problem(
        "The kernel did not load %s: %s." % (facts.kernel, name),
        "Read the end of dmesg, where it says why.",
    )


def permission(facts: Facts) -> Problem:
    """Which of the reasons of EPERM it is; the last sentence when none of those that can be seen is."""
    limit = "kernel.kexec_load_limit_%s" % ("panic" if facts.kind == "crash" else "reboot")
    if not facts.may_boot:
        return Problem(
            "Loading a kernel needs the capability CAP_SYS_BOOT, and this process does not have it.",
            "Become root (become: true), and not inside a container.",
        )
    if facts.disabled:
        return Problem(
            "Loading and unloading kernels was switched off on this host: kernel.kexec_load_disabled is 1.",
            "Only a reboot switches it on again; keep it from being set before vmcore-kdump.service "
            "(grep -r kexec_load_disabled /etc/sysctl* /usr/lib/sysctl.d).",
        )
    if facts.limit == 0:
        return Problem(
            "The number of loads that %s permits is used up." % limit,
            "Only a reboot gives new ones; raise the value where it is set (grep -r kexec_load_limit /etc/sysctl*).",
        )
    if facts.lockdown != "none":
        return Problem(
            "The kernel is locked down (%s%s) and takes only a kernel with a signature that it trusts, by "
            "kexec_file_load." % (facts.lockdown, ", secure boot is on" if facts.secure_boot else ""),
            "Use the distribution's own signed kernel, or enrol the key of this one (mokutil --import).",
        )
    return Problem(
        "The kernel forbids loading a kernel, and neither kexec_load_disabled, nor %s, nor lockdown, nor a missing "
        "capability is the reason." % limit,
        "A security module or a seccomp filter is: look into the audit log (ausearch -m avc, journalctl -k).",
    )


def _signature(what: str) -> Callable[[Facts], Problem]:
    def answer(facts: Facts) -> Problem:
        return Problem(
            "The kernel refuses %s: %s." % (facts.kernel, what),
            "Use the distribution's own signed kernel, or enrol the key that signed this one (mokutil --import).",
        )

    return answer


def _no_room(facts: Facts) -> Problem:
    if facts.kind != "crash":
        return Problem("There is not enough free memory to load %s." % facts.kernel, "Free some, then try again.")
    if not facts.reserved:
        return Problem(
            "No memory is reserved for the capture kernel.",
            "Set crashkernel= (module vmcore.kdump.crashkernel) and reboot.",
        )
    return Problem(
        "The capture kernel does not fit: %d MiB are reserved, the kernel and its image need about %d MiB."
        % (facts.reserved // MIB, -(-facts.needed // MIB)),
        "Raise crashkernel= (module vmcore.kdump.crashkernel) and reboot.",
    )


def _fixed(message: str, hint: str) -> Callable[[Facts], Problem]:
    """An answer whose sentence names the kernel file (%s) and nothing else."""
    return lambda facts: Problem(message % facts.kernel if "%s" in message else message, hint)


_ANSWERS: Dict[int, Callable[[Facts], Problem]] = {
    errno.EPERM: permission,
    errno.EACCES: _fixed(
        "A security policy (IMA, SELinux or another module) does not let the kernel read %s to load it.",
        "See the audit log for the rule (ausearch -m avc,integrity_data), and sign or label the file.",
    ),
    errno.EBUSY: _fixed(
        "Another program is loading a kernel at this moment.",
        "Try again; if it stays, find who loads one: kdump-tools, kdump.service or a running kexec.",
    ),
    errno.EINVAL: _fixed(
        "The kernel refuses the command line for %s, or an argument of the call.",
        "Shorten the command line (KDUMP_COMMANDLINE_REMOVE in /etc/sysconfig/kdump); dmesg says which it was.",
    ),
    errno.ENOEXEC: _fixed(
        "The running kernel does not take %s as a kernel: a format it does not know, or a damaged file.",
        "Install the kernel package again (its checksum: debsums or rpm -V), or name another kernel.",
    ),
    errno.ENOSYS: _fixed(
        "The running kernel has no kexec_file_load.",
        "Install the package kexec-tools, which loads a kernel by the older call kexec_load.",
    ),
    errno.ENOTSUP: _fixed(
        "This Python cannot make the kexec system calls on this machine.",
        "Use the distribution's own Python for this architecture (ansible_python_interpreter).",
    ),
    errno.EADDRNOTAVAIL: _no_room,
    errno.ENOMEM: _no_room,
    errno.ENOENT: _fixed("%s or its image went away while it was being loaded.", "Run again."),
    errno.EFBIG: _fixed("%s or its image is larger than the kernel can load.", "Name a smaller kernel or image."),
    errno.EIO: _fixed("%s or its image cannot be read from its disk.", "Look at the disk: dmesg, smartctl."),
    errno.EKEYREJECTED: _signature("its signature is not valid, or it has none"),
    errno.ENOKEY: _signature("it is signed with a key that this kernel does not trust"),
    errno.ENODATA: _signature("it has no signature"),
    errno.EBADMSG: _signature("its signature is damaged"),
    errno.ELIBBAD: _signature("the structure that holds its signature is damaged"),
    errno.ENOPKG: _signature("its signature uses an algorithm that this kernel does not have"),
    errno.ETXTBSY: _fixed("%s or its image is being written to.", "Run again when the package manager is done."),
}
