# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel files: is this one that kexec_file_load takes, and what does it say of itself? Private to this collection.

The kernel frees the loaded crash kernel before it looks at the new one, so a file that it would refuse has to be
found out before. The checks are those of its own loaders: arch/x86/kernel/kexec-bzimage64.c,
arch/{arm64,riscv,s390}/kernel/kexec_image.c or machine_kexec_file.c, arch/powerpc/kexec/elf_64.c.
"""

import struct
from typing import Callable, Dict, NamedTuple

from .problems import KdumpError, fail

HEAD = 0x11000  # bytes of a file that inspect() wants to see: s390x keeps its magic at 0x10008
_REINSTALL = "Install the kernel package again, or name the right file."


class KernelFile(NamedTuple):
    """What a kernel file says of itself. `release` "" and `cmdline_max` 0 where its format does not say."""

    format: str
    memory: int  # bytes of the reservation that the kernel needs from its start on
    release: str = ""
    cmdline_max: int = 0  # bytes, without the NUL


def inspect(path: str, head: bytes, size: int, machine: str) -> KernelFile:
    """Recognise a kernel file by its first HEAD bytes and its size. KdumpError when it cannot be loaded."""
    if size < 1024 or len(head) < 1024:
        raise fail("%s is no kernel: it has %d bytes." % (path, size), _REINSTALL, "kernel", path)
    if head[4:8] == b"zimg":
        raise fail(
            "%s is compressed as an EFI zboot image, which kexec_file_load does not take." % path,
            "Unpack the kernel inside it (unzboot, or the vmlinux of its package) and name that file.",
            "kernel", path,
        )  # fmt: skip
    reader = _READERS.get(machine)
    if reader is None:
        raise fail("Kernels for %s are not known here." % machine, "Use a supported architecture.", "kernel", path)
    return reader(path, head, size)


def _no_kernel(path: str, wanted: str, head: bytes) -> KdumpError:
    if head[:2] == b"\x1f\x8b":
        return fail(
            "%s is not %s, it is gzip data." % (path, wanted),
            "If that is how the distribution packs its kernels (Ubuntu on arm64), unpack it into a directory of its own "
            "under the same name (zcat), and set KDUMP_BOOTDIR in /etc/sysconfig/kdump to that directory.",
            "kernel", path,
        )  # fmt: skip
    return fail("%s is not %s, it is something else." % (path, wanted), _REINSTALL, "kernel", path)


def _bzimage(path: str, head: bytes, size: int) -> KernelFile:
    """Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"."""
    if head[0x202:0x206] != b"HdrS" or head[0x1FE:0x200] != b"\x55\xaa":
        raise _no_kernel(path, "an x86 kernel (bzImage)", head)
    (version,) = struct.unpack_from("<H", head, 0x206)
    loadflags = head[0x211]
    if version < 0x020C or not loadflags & 1:
        raise fail("%s is an x86 kernel older than Linux 3.8." % path, "Name a newer kernel.", "kernel", path)
    length = ((head[0x1F1] or 4) + 1) * 512 + 16 * struct.unpack_from("<I", head, 0x1F4)[0]
    if size < length:
        raise fail("%s is cut off: %d bytes of %d are there." % (path, size, length), _REINSTALL, "kernel", path)
    (cmdline_max,) = struct.unpack_from("<I", head, 0x238)
    (init_size,) = struct.unpack_from("<I", head, 0x260)
    offset = struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    text = head[offset : offset + 256].split(b"\0")[0].decode("ascii", "replace") if offset > 0x200 else ""
    return KernelFile("bzImage", max(init_size, size), text.split(" ")[0], cmdline_max)


def _bzimage64(path: str, head: bytes, size: int) -> KernelFile:
    found = _bzimage(path, head, size)
    (xloadflags,) = struct.unpack_from("<H", head, 0x236)
    if xloadflags & 3 != 3:  # XLF_KERNEL_64, XLF_CAN_BE_LOADED_ABOVE_4G
        raise fail("%s is a 32-bit kernel." % path, "Name a 64-bit kernel.", "kernel", path)
    return found


def _image(magic: bytes, name: str) -> Callable[[str, bytes, int], KernelFile]:
    """The flat Image of arm64, RISC-V and LoongArch: a magic at 56, the size in memory at 16."""

    def read(path: str, head: bytes, size: int) -> KernelFile:
        if head[56:60] != magic:
            raise _no_kernel(path, name, head)
        (memory,) = struct.unpack_from("<Q", head, 16)
        return KernelFile("Image", max(memory, size))

    return read


def _elf(path: str, head: bytes, size: int) -> KernelFile:
    if head[:5] != b"\x7fELF\x02":
        raise _no_kernel(path, "a 64-bit ELF kernel (vmlinux)", head)
    return KernelFile("ELF", size)


def _s390(path: str, head: bytes, size: int) -> KernelFile:
    if head[0x10008:0x1000E] == b"S390EP":
        return KernelFile("Image", size)
    return _elf(path, head, size)


def _zimage(path: str, head: bytes, size: int) -> KernelFile:
    if head[36:40] != b"\x18\x28\x6f\x01":
        raise _no_kernel(path, "an Arm kernel (zImage)", head)
    return KernelFile("zImage", size)


_READERS: Dict[str, Callable[[str, bytes, int], KernelFile]] = {
    "x86_64": _bzimage64,
    "i386": _bzimage, "i486": _bzimage, "i586": _bzimage, "i686": _bzimage,
    "aarch64": _image(b"ARM\x64", "an arm64 kernel (Image)"),
    "riscv64": _image(b"RSC\x05", "a RISC-V kernel (Image)"),
    "loongarch64": _image(b"\xcd\x23\x82\x81", "a LoongArch kernel (Image)"),
    "ppc64": _elf, "ppc64le": _elf,
    "s390x": _s390,
    "armv5tel": _zimage, "armv6l": _zimage, "armv7l": _zimage,
}  # fmt: skip
