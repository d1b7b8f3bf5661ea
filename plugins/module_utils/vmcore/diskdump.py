# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kdump-compressed format ("diskdump"). Private to this collection.

makedumpfile 1.7.9 diskdump_mod.h: disk_dump_header, kdump_sub_header, page_desc and the status bits. makedumpfile.c:
write_kdump_header (the layout), check_and_modify_kdump_headers (the incomplete flag, set after ENOSPC),
write_kdump_pages_and_bitmap_cyclic (bitmaps, a table of descriptors with room for every dumpable page, then a page of
zeros where level 1 is excluded, then the pages in order). QEMU's dump/dump.c writes the same.

What this cannot see: a page whose bytes changed in place, except in a sample. There zlib pages, which have a checksum,
tell all; those of the others must begin or end as their format does, which what a power cut leaves of a file that was
never flushed, zeros, does not.
"""

import struct
import zlib
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

from . import vmcoreinfo
from .pages import COMPRESSIONS, DESCRIPTOR, Table, check_table
from .result import Findings, plausible
from .source import Source

SIGNATURE = b"KDUMP   "
INCOMPLETE = 0x8
ZERO_PAGES = 0x1  # dump level: the writer leaves zero pages out, and keeps one for all
NEWEST_VERSION = 6
# The header's word size is that of the writer's `unsigned long`; it is not said anywhere but by the machine's name.
WORD_32 = ("i386", "i486", "i586", "i686", "s390", "ppc", "mips", "riscv32", "parisc", "sh4")
PAGE_SIZES = frozenset(1 << shift for shift in range(9, 21))
# 64 TiB of 4 KiB pages: larger bitmaps are not counted.
BITMAP_LIMIT = 2 << 30
UTSNAME = 65
SUB_FIELDS = (  # name and the header version that brought it
    ("phys_base", 0), ("dump_level", 1), ("split", 2), ("start_pfn", 2), ("end_pfn", 2),
    ("offset_vmcoreinfo", 3), ("size_vmcoreinfo", 3), ("offset_note", 4), ("size_note", 4),
    ("offset_eraseinfo", 5), ("size_eraseinfo", 5), ("start_pfn_64", 6), ("end_pfn_64", 6), ("max_mapnr_64", 6),
)  # fmt: skip


class Layout(NamedTuple):
    """Where disk_dump_header has its timestamp, and the forms of what follows (struct module, byte order apart)."""

    word_bits: int
    timestamp: int
    main: str
    sub: str


LAYOUT_64 = Layout(64, 408, "qqIiiIIIIIIi", "QiiQQqQqQqQQQQ")
LAYOUT_I386 = Layout(32, 404, "iiIiiIIIIIIi", "IiiIIqIqIqIQQQ")
# Elsewhere 64-bit fields are aligned to 8 bytes.
LAYOUT_32 = Layout(32, 404, "iiIiiIIIIIIi", "IiiII4xqI4xqI4xqI4xQQQ")
# And where the C library's time has 64 bits, as on Debian's armhf since trixie.
LAYOUT_32_TIME_64 = LAYOUT_32._replace(timestamp=408, main=LAYOUT_64.main)


class Header(NamedTuple):
    order: str  # "<" or ">"
    version: int
    layout: Layout
    status: int
    block_size: int
    sub_blocks: int
    bitmap_blocks: int
    max_mapnr: int
    sub: Dict[str, int]

    @property
    def bitmap_offset(self) -> int:
        return (1 + self.sub_blocks) * self.block_size

    @property
    def bitmap_half(self) -> int:
        """Bytes of each of the two bitmaps."""
        return self.bitmap_blocks * self.block_size // 2

    @property
    def table_offset(self) -> int:
        return (1 + self.sub_blocks + self.bitmap_blocks) * self.block_size


def read(source: Source, findings: Findings, deep: bool) -> None:
    """Read a dump whose signature was recognised."""
    findings.learn(format="kdump")
    header = read_header(source, findings)
    if header is None:
        return
    read_info(source, header, findings)
    if header.status & INCOMPLETE:
        findings.flag(
            "The header carries the incomplete flag: makedumpfile ran out of space before it had written all."
        )
    room = check_bitmap(source, header, findings)
    if room is not None:
        check_pages(source, header, room, findings, deep)


def read_header(source: Source, findings: Findings) -> Optional[Header]:
    """The main and the sub header; None, with the reason in findings, where they make no sense."""
    order, version = byte_order(source)
    if version == 0:
        findings.broken(
            "The header version at byte 8 is none that exists (1 to %d), in either byte order." % NEWEST_VERSION
        )
        return None
    names = utsname(source)
    layout, main = main_header(source, order, names["machine"])
    findings.learn(byte_order="little" if order == "<" else "big", word_bits=layout.word_bits)
    seconds, _microseconds, status, block_size, sub_blocks, bitmap_blocks, max_mapnr = main[:7]
    if block_size not in PAGE_SIZES:
        place = layout.timestamp + struct.calcsize("=" + layout.main[:3])
        findings.broken("The block size at byte %d is %d, which is no page size." % (place, block_size))
        return None
    if sub_blocks < 1 or bitmap_blocks < 2:
        findings.broken(
            "The header gives %d blocks to the sub header and %d to the bitmaps." % (sub_blocks, bitmap_blocks)
        )
        return None
    values = source.unpack_at(order + layout.sub, block_size)
    sub = {name: value if version >= since else 0 for (name, since), value in zip(SUB_FIELDS, values)}
    if version < 6:
        sub.update(start_pfn_64=sub["start_pfn"], end_pfn_64=sub["end_pfn"], max_mapnr_64=max_mapnr)
    findings.learn(
        hostname=names["nodename"], machine=names["machine"], page_size=block_size, split=bool(sub["split"]),
        dump_level=sub["dump_level"], compression=compression(status),
    )  # fmt: skip
    header = Header(order, version, layout, status, block_size, sub_blocks, bitmap_blocks, sub["max_mapnr_64"], sub)
    read_vmcoreinfo(source, header, findings)
    findings.learn(release=names["release"], crash_epoch=seconds if plausible(seconds) else None)
    return header


def byte_order(source: Source) -> Tuple[str, int]:
    """The byte order in which header_version is a small number, and that number; 0 for neither."""
    for order in "<", ">":
        version = source.unpack_at(order + "i", 8)[0]
        if 1 <= version < 64:
            return order, version
    return "<", 0


def utsname(source: Source) -> Dict[str, str]:
    names = ("sysname", "nodename", "release", "version", "machine", "domainname")
    data = source.read_at(12, UTSNAME * len(names)).ljust(UTSNAME * len(names), b"\0")
    texts = (data[place : place + UTSNAME].split(b"\0")[0] for place in range(0, len(data), UTSNAME))
    return {name: vmcoreinfo.printable(text.decode("ascii", "replace")) for name, text in zip(names, texts)}


def main_header(source: Source, order: str, machine: str) -> Tuple[Layout, Tuple]:
    """The layout and the fields from the timestamp on, of the machine's layouts the one that gives a page size."""
    for layout in layouts(machine):
        fields = source.unpack_at(order + layout.main, layout.timestamp)
        if fields[3] in PAGE_SIZES:
            break
    return layout, fields


def layouts(machine: str) -> Tuple[Layout, ...]:
    if machine in ("i386", "i486", "i586", "i686"):
        return (LAYOUT_I386,)
    return (LAYOUT_32, LAYOUT_32_TIME_64) if machine in WORD_32 or machine.startswith("arm") else (LAYOUT_64,)


def compression(status: int) -> str:
    found = [name for bit, name in COMPRESSIONS.items() if status & bit]
    return found[0] if found else "none"


def read_info(source: Source, header: Header, findings: Findings) -> None:
    """Whether the regions that the sub header names are inside the file."""
    for name in "vmcoreinfo", "note", "eraseinfo":
        offset, size = header.sub["offset_" + name], header.sub["size_" + name]
        if size == 0:
            continue
        if offset < header.block_size or size < 0:
            findings.broken("The sub header puts %s at byte %d, %d bytes long." % (name, offset, size))
        elif offset + size > source.size:
            findings.incomplete(
                "The sub header puts %s at bytes %d to %d; the file ends at %d."
                % (name, offset, offset + size, source.size)
            )


def read_vmcoreinfo(source: Source, header: Header, findings: Findings) -> None:
    sub = header.sub
    size = min(max(0, sub["size_vmcoreinfo"]), vmcoreinfo.LIMIT)
    info = vmcoreinfo.parse(source.read_at(sub["offset_vmcoreinfo"], size)) if size else {}
    if "OSRELEASE" not in info:
        info = vmcoreinfo.in_notes(source, sub["offset_note"], sub["size_note"], header.order)
    vmcoreinfo.learn(info, findings)


def check_bitmap(source: Source, header: Header, findings: Findings) -> Optional[Tuple[int, int]]:
    """(pages that the second bitmap marks, those of them in this part of a split dump); None where not known."""
    if header.bitmap_half * 8 < header.max_mapnr:
        findings.broken("The bitmaps have %d bits, and the dump %d pages." % (header.bitmap_half * 8, header.max_mapnr))
        return None
    if header.table_offset > source.size:
        findings.incomplete(
            "The bitmaps lie at bytes %d to %d; the file ends at %d."
            % (header.bitmap_offset, header.table_offset, source.size)
        )
        return None
    if header.bitmap_half > BITMAP_LIMIT:
        findings.unknown("The bitmaps are %d bytes each: too large to be counted here." % header.bitmap_half)
        return None
    start = header.bitmap_offset + header.bitmap_half
    marked = popcount(source, start, 0, header.bitmap_half * 8)
    own = marked
    if header.sub["split"]:
        own = popcount(source, start, header.sub["start_pfn_64"], min(header.sub["end_pfn_64"], header.bitmap_half * 8))
    findings.learn(pages=own)
    if marked == 0:
        findings.incomplete("The second bitmap marks no page as dumped: the writer stopped before it wrote any.")
        return None
    return marked, own


def popcount(source: Source, start: int, first: int, last: int) -> int:
    """The set bits first ≤ n < last of a bitmap; bit n is bit n % 8 of byte n // 8, in either byte order."""
    total = 0
    step = 1 << 20
    for byte in range(first // 8, (last + 7) // 8, step):
        chunk = bytearray(source.read_at(start + byte, min(step, (last + 7) // 8 - byte)))
        if chunk and byte == first // 8:
            chunk[0] &= 0xFF << first % 8 & 0xFF
        if chunk and last % 8 and byte + len(chunk) == (last + 7) // 8:
            chunk[-1] &= (1 << last % 8) - 1
        if chunk.strip(b"\0"):
            total += bin(int.from_bytes(chunk, "little")).count("1")
    return total


def check_pages(source: Source, header: Header, room: Tuple[int, int], findings: Findings, deep: bool) -> None:
    marked, own = room
    data = header.table_offset + marked * DESCRIPTOR.size
    table = Table(header.order, header.table_offset, own, data, header.block_size)
    first = check_table(source, table, findings, deep)
    starts = (data, data + header.block_size) if header.sub["dump_level"] & ZERO_PAGES else (data,)
    if first is not None and not header.sub["split"] and findings.verdict == "complete" and first not in starts:
        findings.incomplete(
            "The table of page descriptors has room for %d, and the second bitmap marks %d pages: the writer stopped"
            " before it had written the bitmap to its end." % ((first - header.table_offset) // DESCRIPTOR.size, marked)
        )
    if deep:
        sample(source, table, findings)


def sample(source: Source, table: Table, findings: Findings) -> None:
    """Look at the bytes of evenly spaced pages."""
    done = 0
    for number in positions(table.pages):
        place = table.offset + number * DESCRIPTOR.size
        offset, size, flags = source.unpack_at(table.order + "qII", place)
        if flags == 0 or not 0 < size <= table.page_size or not table.data <= offset <= source.size - size:
            continue
        if not is_page(source.read_at(offset, size), COMPRESSIONS.get(flags, ""), table.page_size):
            findings.broken(
                "Page %d of the dump, at byte %d, does not decompress: its bytes are damaged." % (number, offset)
            )
        done += COMPRESSIONS.get(flags) == "zlib"
    findings.learn(pages_decompressed=done or None)


def is_page(packed: bytes, name: str, page_size: int) -> bool:
    """Whether bytes can be a compressed page: zlib's are decompressed, the others' ends looked at."""
    if name == "lzo":  # LZO1X ends with an M4 match of no distance
        return packed.endswith(b"\x11\0\0")
    if name == "snappy":  # a varint of the length goes before
        return packed.startswith(varint(page_size))
    if name == "zstd":  # RFC 8878, 3.1.1
        return packed.startswith(b"\x28\xb5\x2f\xfd")
    try:
        return name != "zlib" or len(zlib.decompressobj().decompress(packed, page_size + 1)) == page_size
    except zlib.error:
        return False


def varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; all but the last have the highest bit set."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def positions(count: int, wanted: int = 1024) -> Iterator[int]:
    """Up to `wanted` evenly spaced numbers below count, the first and the last among them."""
    if count <= wanted:
        return iter(range(count))
    return (index * (count - 1) // (wanted - 1) for index in range(wanted))
