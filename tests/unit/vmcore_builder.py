# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes small, whole vmcores of every format, for tests to damage. Written from diskdump_mod.h and elf(5), not from the reader."""

import struct
import zlib

PAGE = 4096
RELEASE = "6.12.57+deb13-cloud-amd64"
BUILD_ID = "3b43fad5034874490492495d552c0af6a5fab235"
CRASHTIME = 1764000000  # 2025-11-24T16:00:00Z
INIT_UTS_NS = 0xFFFFFFFF82000000
VMCOREINFO = (
    "OSRELEASE=%s\nBUILD-ID=%s\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=%x\nOFFSET(uts_namespace.name)=0\n"
    "KERNELOFFSET=c200000\nNUMBER(x)=a=b\nCRASHTIME=%d\n" % (RELEASE, BUILD_ID, INIT_UTS_NS, CRASHTIME)
).encode()
# zlib's pages are real ones. The others begin and end as their formats do: liblzo2, libsnappy and libzstd are not here.
PACKERS = {
    "none": lambda page: page,
    "zlib": lambda page: zlib.compress(page, 1),
    "lzo": lambda page: page[: PAGE // 2] + b"\x11\0\0",
    "snappy": lambda page: b"\x80\x20" + page[: PAGE // 2],
    "zstd": lambda page: b"\x28\xb5\x2f\xfd" + page[: PAGE // 2],
}
STATUS = {"none": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}


def padded(data, to=4):
    return data + b"\0" * (-len(data) % to)


def note(name, kind, content, order="<"):
    name = name.encode() + b"\0"
    return struct.pack(order + "III", len(name), len(content), kind) + padded(name) + padded(content)


def notes(order="<", vmcoreinfo=VMCOREINFO):
    return note("CORE", 1, b"\1" * 336, order) + note("VMCOREINFO", 0, vmcoreinfo, order)


def utsname(machine):
    names = ("Linux", "crashme", RELEASE, "#1 SMP Debian 6.12.57-1 (2025-11-05)", machine, "(none)")
    return b"".join(name.encode().ljust(65, b"\0") for name in names)


def pages(count, size=PAGE):
    """Page contents: every third of zeros, the others of text that compresses, one that does not."""
    found = [bytes(size) if n % 3 == 0 else (b"page %d " % n * size)[:size] for n in range(count)]
    if count > 2:
        state, noise = 1, bytearray()
        while len(noise) < size:
            state = state * 1103515245 + 12345 & 0x7FFFFFFF
            noise.append(state >> 16 & 0xFF)
        found[2] = bytes(noise)
    return found


def kdump(
    order="<", machine="x86_64", compression="zlib", contents=None, level=31, status=0, split=None, version=6,
    vmcoreinfo=VMCOREINFO, time_bits=None,
):  # fmt: skip
    """A kdump-compressed dump. Page n of memory is dumped if n % 2 == 0; `split` (first, end) keeps those pages only."""
    contents = pages(40) if contents is None else contents
    word = 32 if machine in ("i686", "armv7l") else 64
    time_bits = time_bits or word
    page, mapnr = len(contents[0]), len(contents) * 2
    note_data = notes(order, vmcoreinfo)
    stamp = struct.pack(order + ("qq" if time_bits == 64 else "ii"), CRASHTIME + 5, 0)
    sub_form = {"i686": "IiiIIqIqIqIQQQ", "armv7l": "IiiII4xqI4xqI4xqI4xQQQ"}.get(machine, "QiiQQqQqQqQQQQ")
    sub_size = struct.calcsize("<" + sub_form)
    sub_blocks = -(-(sub_size + len(note_data)) // page)
    header = b"KDUMP   " + struct.pack(order + "i", version) + utsname(machine)
    header = header.ljust(408 if time_bits == 64 else 404, b"\0") + stamp
    header += struct.pack(order + "IiiIIIIIIi", STATUS[compression] | status, page, sub_blocks, 2, mapnr, 0, 0, 0, 0, 2)
    at = page + sub_size
    info_at = at + note_data.index(vmcoreinfo) if vmcoreinfo else 0
    start, end = split or (0, 0)
    sub = struct.pack(
        order + sub_form, 0x1000000, level, 1 if split else 0, start, end, info_at, len(vmcoreinfo), at, len(note_data), 0, 0,
        start, end, mapnr,
    )  # fmt: skip
    bitmap1 = bytes([0xFF] * (mapnr // 8)).ljust(page, b"\0")
    bitmap2 = bytes([0x55] * (mapnr // 8)).ljust(page, b"\0")
    head = header.ljust(page, b"\0") + (sub + note_data).ljust(sub_blocks * page, b"\0") + bitmap1 + bitmap2
    return head + page_data(order, contents, compression, level, split, len(head))


def page_data(order, contents, compression, level, split, table):
    """The descriptors and what they describe. The table has room for all, also where `split` leaves some out."""
    offset, size = table + 24 * len(contents), len(contents[0])
    zero = struct.pack(order + "qIIQ", offset, size, 0, 0)
    data = bytearray(size if level & 1 else 0)
    descriptors = bytearray()
    for number, page in enumerate(contents):
        if split and not split[0] <= number * 2 < split[1]:
            continue
        if level & 1 and not page.strip(b"\0"):
            descriptors += zero
            continue
        packed = PACKERS[compression](page)
        flags = STATUS[compression]
        if len(packed) >= size:
            packed, flags = page, 0
        descriptors += struct.pack(order + "qIIQ", offset + len(data), len(packed), flags, 0)
        data += packed
    return bytes(descriptors.ljust(24 * len(contents), b"\0") + data)


def elf(order="<", bits=64, flags=0, contents=None, vmcoreinfo=VMCOREINFO, machine=62, xnum=False, before=b""):
    """An ELF vmcore of two PT_LOADs: memory at 0, and the kernel's own mapping with its utsname."""
    contents = pages(16) if contents is None else contents
    note_data = before + notes(order, vmcoreinfo)
    memory = b"".join(contents)
    names = utsname("x86_64").ljust(PAGE, b"\0")
    header_size, entry = (64, 56) if bits == 64 else (52, 32)
    section = bytes(44) + struct.pack(order + "I", 3) + bytes(16) if xnum else b""
    start = header_size + 3 * entry + len(section)
    loads = [
        (4, start, 0, 0, len(note_data)),
        (1, start + len(note_data), 0xFFFF888000000000 if bits == 64 else 0xC0000000, 0, len(memory)),
        (1, start + len(note_data) + len(memory), INIT_UTS_NS if bits == 64 else 0xC1000000, 0x1000000, len(names)),
    ]
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    fields = (4, machine, 1, 0, header_size, header_size + 3 * entry if xnum else 0, flags, header_size, entry)
    fields += (0xFFFF if xnum else 3, 64 if xnum else 0, 1 if xnum else 0, 0)
    header = ident + struct.pack(order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"), *fields)
    table = b""
    for kind, offset, vaddr, paddr, size in loads:
        if bits == 64:
            table += struct.pack(order + "IIQQQQQQ", kind, 7, offset, vaddr, paddr, size, size, 0)
        else:
            table += struct.pack(order + "IIIIIIII", kind, offset, vaddr, paddr, size, size, 7, 0)
    return header + table + section + note_data + memory + names


def record(offset, data):
    return struct.pack(">qq", offset, len(data)) + data


FLAT_HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
FLAT_END = struct.pack(">qq", -1, -1)


def flat(dump, piece=1000, end=FLAT_END, order=None):
    """A dump as a flattened stream: pieces of `piece` bytes, the second half of the file first, the header last but one
    rewritten over a wrong first version of it, as makedumpfile rewrites its sub header."""
    pieces = [(at, dump[at : at + piece]) for at in range(0, len(dump), piece)]
    middle = len(pieces) // 2
    stream = [record(0, b"\xff" * 600)] + [record(*each) for each in pieces[middle:] + pieces[:middle]]
    return FLAT_HEADER + b"".join(stream) + end
