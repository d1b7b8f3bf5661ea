# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""VMCOREINFO and the ELF notes that carry it. Private to this collection.

kernel/vmcore_info.c (kernel/crash_core.c before 6.9): lines of `KEY=value`.
Documentation/admin-guide/kdump/vmcoreinfo.rst lists the keys.
"""

import re
import struct
from typing import Dict, Iterator, Optional, Tuple

from .result import Findings, plausible

# The kernel's buffer is one page, 64 KiB at most (VMCOREINFO_BYTES).
LIMIT = 64 << 10
NOTES_LIMIT = 16 << 20


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


def notes(data: bytes, order: str) -> Iterator[Tuple[bytes, int, bytes]]:
    """(name, type, content) of each ELF note; ends at the first that does not fit."""
    position = 0
    while position + 12 <= len(data):
        name_size, size, kind = struct.unpack_from(order + "III", data, position)
        start = position + 12 + (name_size + 3) // 4 * 4
        end = start + size
        if end > len(data):
            return
        yield data[position + 12 : position + 12 + min(name_size, 64)].rstrip(b"\0"), kind, data[start:end]
        position = start + (size + 3) // 4 * 4


def in_notes(data: bytes, order: str) -> Dict[str, str]:
    """The VMCOREINFO among notes; empty where there is none."""
    for name, _kind, content in notes(data, order):
        if name == b"VMCOREINFO":
            return parse(content)
    return {}
