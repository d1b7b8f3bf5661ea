# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""ELF vmcores: /proc/vmcore copied, `makedumpfile -E`, QEMU's dump-guest-memory. Private to this collection.

makedumpfile 1.7.9 makedumpfile.c: check_and_modify_elf_headers (DUMP_ELF_INCOMPLETE, bit 0 of e_flags, after ENOSPC),
write_elf_header (program headers reserved as zeros and written last; PN_XNUM). Linux: fs/proc/vmcore.c.
"""

import struct
from typing import Dict, Iterator, NamedTuple, Optional

from . import vmcoreinfo
from .result import Findings
from .source import Source

MAGIC = b"\x7fELF"
INCOMPLETE = 0x1
CORE = 4
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF
# A /proc/vmcore has one segment per memory range; fragmented ones after heavy filtering have some hundred thousand.
MAX_SEGMENTS = 1 << 22
# The kernel merges them into one.
MAX_NOTE_SEGMENTS = 16
MACHINES = {3: "i686", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64"}
MACHINES.update({243: "riscv64", 258: "loongarch64"})


class Segment(NamedTuple):
    kind: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int


class Form(NamedTuple):
    """The struct forms of one ELF class, byte order apart."""

    bits: int
    header: str  # from e_type on
    program: str
    section_info: int  # offset of sh_info in a section header

    def segment(self, fields: tuple) -> Segment:
        if self.bits == 64:
            kind, _flags, offset, vaddr, paddr, filesz = fields[:6]
        else:
            kind, offset, vaddr, paddr, filesz = fields[:5]
        return Segment(kind, offset, vaddr, paddr, filesz)


FORMS = {1: Form(32, "HHIIIIIHHHHHH", "IIIIIIII", 28), 2: Form(64, "HHIQQQIHHHHHH", "IIQQQQQQ", 44)}


class Header(NamedTuple):
    order: str
    form: Form
    machine: int
    flags: int
    phoff: int
    phnum: int


def read(source: Source, findings: Findings) -> None:
    """Read a file that begins with ELF's magic."""
    findings.learn(format="elf", compression="none")
    header = read_header(source, findings)
    if header is None:
        return
    if header.flags & INCOMPLETE:
        findings.flag("e_flags carries the incomplete flag: makedumpfile ran out of space before it had written all.")
    size = struct.calcsize(header.form.program)
    if header.phoff + header.phnum * size > source.size:
        findings.incomplete(
            "The %d program headers from byte %d on do not fit into the file, which ends at %d."
            % (header.phnum, header.phoff, source.size)
        )
    check_segments(source, header, findings)


def read_header(source: Source, findings: Findings) -> Optional[Header]:
    """None, with the reason in findings, where the file is no vmcore."""
    ident = source.read_at(0, 16)
    form = FORMS.get(ident[4]) if len(ident) == 16 else None
    order = {1: "<", 2: ">"}.get(ident[5]) if form else None
    if form is None or order is None:
        findings.broken("The ELF header names no class or byte order that exists (bytes 4 and 5).")
        return None
    fields = source.unpack_at(order + form.header, 16)
    kind, machine, _version, _entry, phoff, shoff, flags, _ehsize, phentsize, phnum = fields[:10]
    if kind != CORE:
        findings.broken("This is an ELF file of type %d, not a core (%d)." % (kind, CORE))
        return None
    if phentsize != struct.calcsize(form.program):
        findings.broken("The ELF header gives program headers %d bytes." % phentsize)
        return None
    if phnum == PN_XNUM:
        phnum = source.unpack_at(order + "I", shoff + form.section_info)[0] if shoff else 0
    if not 0 < phnum <= MAX_SEGMENTS:
        findings.broken("The ELF header counts %d program headers." % phnum)
        return None
    findings.learn(
        byte_order="little" if order == "<" else "big", word_bits=form.bits, machine=machine_name(machine, order)
    )
    return Header(order, form, machine, flags, phoff, phnum)


def machine_name(machine: int, order: str) -> str:
    name = MACHINES.get(machine, "")
    return "ppc64le" if name == "ppc64" and order == "<" else name


def segments(source: Source, header: Header) -> Iterator[Segment]:
    """The program headers that the file has."""
    form = struct.Struct(header.order + header.form.program)
    step = 4096
    for first in range(0, header.phnum, step):
        data = source.read_at(header.phoff + first * form.size, min(step, header.phnum - first) * form.size)
        for place in range(0, len(data) - form.size + 1, form.size):
            yield header.form.segment(form.unpack_from(data, place))


def end(source: Source) -> int:
    """Where an ELF vmcore ends by its own headers; 0 for what is none."""
    header = read_header(source, Findings())
    found = segments(source, header) if header is not None else ()
    return max((one.offset + one.filesz for one in found if one.filesz), default=0)


def check_segments(source: Source, header: Header, findings: Findings) -> None:
    """Every PT_LOAD must lie inside the file; PT_NOTE says which kernel it was."""
    loads = total = notes = 0
    info: Dict[str, str] = {}
    for segment in segments(source, header):
        if segment.kind not in (PT_LOAD, PT_NOTE):
            continue
        # QEMU's dump.c (get_offset_range) gives the offset -1 to memory of which nothing is in the file.
        if segment.filesz and segment.offset + segment.filesz > source.size:
            findings.incomplete(
                "The segment of physical address 0x%x lies at bytes %d to %d; the file ends at %d: it was cut off."
                % (segment.paddr, segment.offset, segment.offset + segment.filesz, source.size)
            )
        if segment.kind == PT_LOAD:
            loads += 1
            total += segment.filesz
        elif not info and notes < MAX_NOTE_SEGMENTS:
            notes += 1
            info = vmcoreinfo.in_notes(source, segment.offset, segment.filesz, header.order)
    if not loads:
        findings.incomplete("No program header describes memory: the writer stopped before it wrote them.")
    if not info and loads:
        findings.broken("There is no VMCOREINFO note: this is the core of a program, not of a kernel.")
    vmcoreinfo.learn(info, findings)
    page_size = findings.facts.get("page_size")
    findings.learn(hostname=hostname(source, header, info), pages=total // page_size if page_size else None)


def hostname(source: Source, header: Header, info: Dict[str, str]) -> str:
    """The nodename of init_uts_ns, where a segment maps the kernel's own addresses, as in /proc/vmcore."""
    address = vmcoreinfo.number(info.get("SYMBOL(init_uts_ns)"), 16)
    name = vmcoreinfo.number(info.get("OFFSET(uts_namespace.name)"), 10)
    if address is None or name is None:
        return ""
    for segment in segments(source, header):
        place = address + name - segment.vaddr
        if segment.kind == PT_LOAD and 0 <= place < segment.filesz - 130:
            names = source.read_at(segment.offset + place, 130)
            if names.startswith(b"Linux\0"):
                return vmcoreinfo.printable(names[65:].split(b"\0")[0].decode("ascii", "replace"))
    return ""
