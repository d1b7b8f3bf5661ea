# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""VMCOREINFO and the ELF notes that carry it. Private to this collection.

kernel/vmcore_info.c (kernel/crash_core.c before 6.9): lines of `KEY=value`.
Documentation/admin-guide/kdump/vmcoreinfo.rst lists the keys.
"""

import re
from typing import Dict, Iterator, Optional, Tuple

from .result import Findings, plausible
from .source import Source

# The kernel's buffer is one page, 64 KiB at most (VMCOREINFO_BYTES).
LIMIT = 64 << 10
# Each CPU has a few, and machines have some thousand CPUs.
MAX_NOTES = 1 << 16


def parse(data: bytes) -> Dict[str, str]:
    """The first value of every key; lines without `=` are left out."""
    found: Dict[str, str] = {}
    for line in data[:LIMIT].decode("ascii", "replace").split("\n"):
        key, equals, value = line.partition("=")
        if equals and key and key not in found:
            found[key] = value
    return found


def number(value: Optional[str], base: int) -> Optional[int]:
    """An unsigned integer below 2**64, or None."""
    if not value or not re.match(r"^(0x)?[0-9a-fA-F]{1,20}$", value):
        return None
    try:
        result = int(value, base)
    except ValueError:
        return None
    return result if result < 1 << 64 else None


def printable(value: str) -> str:
    """What may be shown: visible ASCII, 65 characters (__NEW_UTS_LEN) at most; "" for anything else."""
    return value if re.match(r"^[!-~]{1,65}$", value) else ""


def learn(info: Dict[str, str], findings: Findings) -> None:
    epoch = number(info.get("CRASHTIME"), 10)
    build_id = info.get("BUILD-ID", "")
    findings.learn(
        release=printable(info.get("OSRELEASE", "")),
        build_id=build_id if re.match(r"^[0-9a-f]{8,128}$", build_id) else "",
        page_size=number(info.get("PAGESIZE"), 10),
        kernel_offset=number(info.get("KERNELOFFSET"), 16),
        crash_epoch=epoch if plausible(epoch) else None,
    )


def notes(source: Source, offset: int, size: int, order: str) -> Iterator[Tuple[bytes, int, int]]:
    """(name, offset, size of the content) of each ELF note in a region; ends at the first that does not fit.

    Contents are not read: drivers' own dumps come before all else, and have many MB (fs/proc/vmcore.c, vmcoredd).
    """
    end = min(offset + size, source.size)
    for _number in range(MAX_NOTES):
        if offset + 12 > end:
            return
        name_size, content_size, _kind = source.unpack_at(order + "III", offset)
        content = offset + 12 + (name_size + 3) // 4 * 4
        if content + content_size > end:
            return
        yield source.read_at(offset + 12, min(name_size, 64)).rstrip(b"\0"), content, content_size
        offset = content + (content_size + 3) // 4 * 4


def in_notes(source: Source, offset: int, size: int, order: str) -> Dict[str, str]:
    """The VMCOREINFO among the notes of a region; empty where there is none."""
    for name, content, content_size in notes(source, offset, size, order):
        if name == b"VMCOREINFO":
            return parse(source.read_at(content, min(content_size, LIMIT)))
    return {}
