# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of page descriptors of a kdump-compressed dump. Private to this collection.

page_desc: i64 offset, u32 size, u32 flags, u64 page_flags. A million of them are 24 MB, so that they are checked by
columns: the extremes of a chunk are compared; single descriptors are looked at only where one is out of bounds.
"""

import array
import struct
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .result import KEPT, Findings
from .source import Source

DESCRIPTOR = struct.Struct("<qIIQ")
CHUNK = 1 << 16  # descriptors
COMPRESSIONS = {0x1: "zlib", 0x2: "lzo", 0x4: "snappy", 0x20: "zstd"}
NATIVE = "<" if struct.pack("=H", 1) == b"\1\0" else ">"
# 1 TiB of 4 KiB pages: 6 GiB of descriptors.
MAX_DESCRIPTORS = 1 << 28


class Table(NamedTuple):
    """`pages` descriptors from byte `offset` on; page data begin at byte `data` at the earliest."""

    order: str
    offset: int
    pages: int
    data: int
    page_size: int


def check_table(source: Source, table: Table, findings: Findings, deep: bool) -> Optional[int]:
    """Check where descriptors point: of all of them, or without `deep` of the first and the last chunk.

    The last one is the last that tells: pages of zeros share one, at the beginning of the data, so that a chunk of them
    says nothing of where the file should end. Returns where the first chunk's page data begin, None where nothing of it
    points anywhere.
    """
    end = table.offset + table.pages * DESCRIPTOR.size
    if end > source.size:
        findings.incomplete(
            "The table of page descriptors lies at bytes %d to %d; the file ends at %d."
            % (table.offset, end, source.size)
        )
    if table.pages > MAX_DESCRIPTORS and deep:
        findings.unknown("The dump has %d pages: more than are checked one by one here." % table.pages)
        deep = False
    lowest: Optional[int] = None
    checked = lost = past = 0
    numbers = order_of_chunks(table.pages, deep)
    for number in numbers:
        size = min(CHUNK, table.pages - number) * DESCRIPTOR.size
        data = source.read_at(table.offset + number * DESCRIPTOR.size, size)
        data = data[: len(data) // DESCRIPTOR.size * DESCRIPTOR.size]
        if not data:
            break
        found = check_chunk(data, number, source.size, table, findings)
        lowest = found.lowest if number == 0 else lowest
        checked += len(data) // DESCRIPTOR.size
        lost += found.lost
        past += found.past
        if number and not deep and (found.highest > table.data or found.lost):
            break
    else:
        if len(numbers) * CHUNK < table.pages:
            findings.unknown("So many of the last pages are zeros that they do not tell where the file should end.")
    findings.learn(pages_checked=checked or None, pages_lost=lost or None)
    tell(findings, source.size, past, lost)
    return lowest


def tell(findings: Findings, size: int, past: int, lost: int) -> None:
    if past:
        findings.incomplete(
            "%d page descriptors point past the end of the file at byte %d: it was cut off there." % (past, size)
        )
    if lost:
        findings.incomplete(
            "%d pages have a descriptor without an offset: the writer stopped, as on a full target, before them." % lost
        )


def order_of_chunks(pages: int, deep: bool) -> List[int]:
    """The numbers of the chunks' first descriptors: rising, or without `deep` the first and then from the last back."""
    numbers = range(0, pages, CHUNK)
    return list(numbers if deep else (*numbers[:1], *reversed(numbers[1:])))[: MAX_DESCRIPTORS // CHUNK]


def columns(data: bytes, order: str) -> Tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """The offsets, sizes and flags of descriptors."""
    wide, narrow = array.array("q", data), array.array("I", data)
    if order != NATIVE:
        wide.byteswap()
        narrow.byteswap()
    return wide[0::3], narrow[2::6], narrow[3::6]


class Chunk(NamedTuple):
    """Of some descriptors: the extreme offsets, how many have none, how many point past the end of the file."""

    lowest: Optional[int]
    highest: int
    lost: int
    past: int


def check_chunk(data: bytes, number: int, end: int, table: Table, findings: Findings) -> Chunk:
    """Check the descriptors in data, the first of which has this number."""
    offsets, sizes, flags = columns(data, table.order)
    lost = offsets.count(0)
    lowest, highest = min(offsets), max(offsets)
    if lost == len(offsets):
        return Chunk(None, 0, lost, 0)
    good = lowest >= table.data and min(sizes) > 0 and max(sizes) <= table.page_size
    if good and highest + max(sizes) <= end and set(flags) <= {0, *COMPRESSIONS}:
        return Chunk(lowest, highest, lost, 0)
    past = told = 0
    for index, (offset, size, flag) in enumerate(zip(offsets, sizes, flags)):
        wrong = offset != 0 and fault(offset, size, flag, table)
        if wrong and told < KEPT:
            told += 1
            place = table.offset + (number + index) * DESCRIPTOR.size
            findings.broken("Page descriptor %d at byte %d %s." % (number + index, place, wrong))
        past += not wrong and offset + size > end
    return Chunk(min((offset for offset in offsets if offset > 0), default=None), highest, lost, past)


def fault(offset: int, size: int, flag: int, table: Table) -> str:
    """What cannot be right in a descriptor, "" for nothing."""
    if offset < table.data:
        return "points to byte %d, where the headers are" % offset
    if not 0 < size <= table.page_size:
        return "gives its page %d bytes; a page has %d" % (size, table.page_size)
    if flag not in (0, *COMPRESSIONS):
        return "has the unknown flags 0x%x" % flag
    return ""
