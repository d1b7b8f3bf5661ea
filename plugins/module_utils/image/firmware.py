# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Firmware that drivers load into their devices: which files of the host the image needs. Private to this collection.

A driver names all that it may ask for (MODULE_FIRMWARE), for every model that it drives; which of them a card takes is
known to the driver alone, so all that the host has go in. Where that is much, a warning says so; whether an image fits
into the reservation is seen before it is loaded.
"""

import re
from typing import Any, List, NamedTuple

from . import kmod

_MANY = 8 << 20  # bytes of one driver's files; packing does not make them smaller
# Parts of the kernel that drive no device: reading these modules takes time and finds nothing.
_NO_DRIVERS = re.compile("/kernel/(arch|block|crypto|fs|lib|net|security)/")


class Firmware(NamedTuple):
    """Paths on the host, to lie at the same place in the image; sentences on drivers that find nothing, or much."""

    files: List[str]
    warnings: List[str]


def of_modules(host: Any, release: str, modules: List[kmod.Module]) -> Firmware:
    """The firmware of some modules of a kernel release. KdumpError for a module that cannot be read."""
    files: List[str] = []
    warnings = []
    for module in modules:
        if _NO_DRIVERS.search(module.path):
            continue
        wanted = _wanted(kmod.unpack(host, module.path))
        found = [path for path in (_find(host, release, name) for name in wanted) if path]
        files += [path for path in found if path not in files]
        size = sum(host.stat(path).st_size for path in {host.realpath(path) for path in found})
        if size > _MANY:
            warnings.append(
                "The firmware of the driver %s takes %d MiB in the capture kernel, as which of its %d files the device "
                "takes is not known: reserve more memory, or remove the files of other models from this host."
                % (module.name, size >> 20, len(found))
            )
        if wanted and not found:
            warnings.append(
                "The driver %s may need firmware that is not on this host (%s): install its package, or see in a crash "
                "test that the capture works without." % (module.name, ", ".join(wanted[:3]))
            )
    return Firmware(files, warnings)


def _wanted(data: bytes) -> List[str]:
    """The names in a module's .modinfo, strings of `key=value` that end with a zero byte (include/linux/moduleparam.h)."""
    found = [name.decode("ascii", "replace") for name in re.findall(rb"(?<=\0)firmware=([^\0]{1,255})\0", data)]
    return sorted({name for name in found if re.fullmatch(r"[\w.+/-]+", name) and ".." not in name.split("/")})


def _find(host: Any, release: str, name: str) -> str:
    """Where the kernel would find it: fw_path[] of drivers/base/firmware_loader/main.c; "" for nowhere."""
    own = host.read_text("/sys/module/firmware_class/parameters/path", "").strip()
    folders = [own] if own.startswith("/") else []
    folders += [
        "/lib/firmware/updates/" + release,
        "/lib/firmware/updates",
        "/lib/firmware/" + release,
        "/lib/firmware",
    ]
    for folder in folders:
        for suffix in ("", ".zst", ".xz"):
            path = "%s/%s%s" % (folder, name, suffix)
            if host.is_file(path):
                return path
    return ""
