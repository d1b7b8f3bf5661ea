# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The two system calls that load a kernel. Private to this collection.

Each wrapper raises OSError with the kernel's errno and a sentence; kexec_errors.py says what to do about it.
"""

import ctypes
import errno
import os
from typing import Dict, NamedTuple, Optional

# include/uapi/linux/kexec.h
FILE_UNLOAD = 1
FILE_ON_CRASH = 2
FILE_NO_INITRAMFS = 4
LOAD_ON_CRASH = 1


class Numbers(NamedTuple):
    """The system calls' numbers on one architecture, and its word size in bits; None where there is no such call."""

    bits: int
    load: int
    file_load: Optional[int]


_I386 = Numbers(32, 283, None)
_POWERPC = Numbers(64, 268, 382)
_ARM = Numbers(32, 347, None)
_GENERIC = Numbers(64, 104, 294)  # include/uapi/asm-generic/unistd.h

# By uname's machine. Sources: arch/*/…/syscall*.tbl and include/uapi/asm-generic/unistd.h.
NUMBERS: Dict[str, Numbers] = {
    "x86_64": Numbers(64, 246, 320),
    "i386": _I386, "i486": _I386, "i586": _I386, "i686": _I386,
    "ppc64": _POWERPC, "ppc64le": _POWERPC,
    "s390x": Numbers(64, 277, 381),
    "aarch64": _GENERIC, "riscv64": _GENERIC, "loongarch64": _GENERIC,
    "armv5tel": _ARM, "armv6l": _ARM, "armv7l": _ARM,
}  # fmt: skip


class Segment(ctypes.Structure):
    """struct kexec_segment."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("bufsz", ctypes.c_size_t),
        ("mem", ctypes.c_void_p),
        ("memsz", ctypes.c_size_t),
    ]


_libc = ctypes.CDLL(None, use_errno=True)
# syscall(2) has no fixed arguments: each call gets a prototype of its own. The leading long is the call's number.
_load = ctypes.CFUNCTYPE(
    ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.POINTER(Segment), ctypes.c_ulong,
    use_errno=True,
)(("syscall", _libc))  # fmt: skip
_file_load = ctypes.CFUNCTYPE(
    ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong,
    use_errno=True,
)(("syscall", _libc))  # fmt: skip


def refusal(machine: str, bits: int = ctypes.sizeof(ctypes.c_void_p) * 8) -> str:
    """Why this process cannot make these calls on a kernel that calls itself `machine`; "" when it can.

    The numbers belong to the process's own ABI: a 32-bit Python on x86_64 would call something else by them, and
    under personality(2) PER_LINUX32 uname names an architecture that a 64-bit Python is not of.
    """
    numbers = NUMBERS.get(machine)
    if numbers is None:
        return "The numbers of the kexec system calls on the architecture %s are not known here." % machine
    if numbers.bits != bits:
        return "This Python is a %d-bit program, and the kernel calls itself %s." % (bits, machine)
    return ""


def kexec_file_load(machine: str, kernel: int, initrd: int, cmdline: bytes, flags: int) -> None:
    """Have the kernel read, check and load a kernel by file descriptor. `cmdline` without its NUL.

    With FILE_UNLOAD the descriptors and the command line mean nothing. A crash kernel that is loaded already is freed
    first, whatever becomes of this one (kernel/kexec_file.c).
    """
    number = _numbers(machine).file_load
    if number is None:
        raise OSError(errno.ENOSYS, "there is no kexec_file_load on %s" % machine)
    _check(_file_load(number, kernel, initrd, len(cmdline) + 1, cmdline, flags), "kexec_file_load")


def kexec_unload_segments(machine: str, flags: int) -> None:
    """kexec_load with no segments: unload. Loading segments is the work of kexec-tools, which builds them."""
    _check(_load(_numbers(machine).load, 0, 0, None, flags), "kexec_load")


def _numbers(machine: str) -> Numbers:
    why_not = refusal(machine)
    if why_not:
        raise OSError(errno.ENOTSUP, why_not)
    return NUMBERS[machine]


def _check(result: int, name: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (name, os.strerror(number)))
