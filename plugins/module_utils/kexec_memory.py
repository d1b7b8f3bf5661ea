# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How much of the reservation a capture kernel and its image take. Private to this collection.

Sizes in bytes. What is estimated was measured on x86_64: of a kernel that asks for 56 MiB to start in (init_size, which
counts the room to unpack itself), 43 of 96 MiB were gone when it ran, and 20 more in the worst moment of a dump.
"""

from .kexec_errors import MIB

_MARGIN = 8 * MIB  # page tables, core headers, per-CPU areas
_WORK = 24 * MIB  # drivers, the file system, makedumpfile


def least(kernel: int, image: int, unpacked: int) -> int:
    """Below this it cannot work; what is above may still be too small, which a crash test finds.

    kernel: what it needs from its start on · image: the file · unpacked: what is in it, 0 where that is not known
    """
    # The kernel's first file system grows to half of the memory and no further (mm/shmem.c), and what does not fit in
    # is missing without a word; packed and unpacked are there at once (init/initramfs.c).
    return max(kernel + image + _MARGIN, _running(kernel) + max(image + unpacked + _MARGIN, 2 * unpacked))


def comfortable(kernel: int, image: int, unpacked: int) -> int:
    """From here on nothing speaks against it."""
    return max(least(kernel, image, unpacked), _running(kernel) + image + unpacked + _WORK)


def _running(kernel: int) -> int:
    return kernel * 3 // 4
