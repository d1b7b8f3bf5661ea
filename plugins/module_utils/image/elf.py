# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which libraries a program needs, read from the files as the dynamic linker reads them. Private to this collection.

Nothing is run: ldd(1) executes the program's own interpreter. Sources: elf(5), ld.so(8), glibc elf/dl-load.c.
Not followed: LD_LIBRARY_PATH (the host's services have none), the hwcaps directories (their libraries are faster twins
of those in the plain ones) and dlopen(3), which no file tells; what is known to be opened so is named by the caller.
"""

import struct
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..problems import KdumpError, Problem, fail

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_STRSZ, _DT_RUNPATH = 1, 5, 15, 10, 29
_DEFAULT_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
# Debian's multiarch names where they are not simply <machine>-linux-gnu (wiki.debian.org/Multiarch/Tuples).
_TRIPLETS = {"i686": "i386-linux-gnu", "ppc64le": "powerpc64le-linux-gnu", "armv7l": "arm-linux-gnueabihf"}
_MAX_SEGMENTS = 256
_MAX_DYNAMIC = 4096


class Elf(NamedTuple):
    """What the dynamic linker looks at. `abi` must be the same for a program and its libraries."""

    abi: Tuple[int, int, int]  # class (1: 32 bits, 2: 64), byte order (1: little, 2: big), e_machine
    interpreter: str  # "" for a library or a static program
    needed: List[str]
    rpath: List[str]
    runpath: List[str]


class Library(NamedTuple):
    """A library as a program asks for it: `name` in its DT_NEEDED, found at `path` on the host."""

    name: str
    path: str


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def is_elf(data: bytes) -> bool:
    return data[:4] == b"\x7fELF"


def parse(data: bytes) -> Elf:
    """Read one file's bytes. ValueError says what is broken; every offset and size is held against the data."""
    if not is_elf(data) or len(data) < 52:
        raise ValueError("it is no ELF file")
    wide, order = data[4], data[5]
    if wide not in (1, 2) or order not in (1, 2):
        raise ValueError("its ELF class or byte order is unknown")
    endian = "<" if order == 1 else ">"
    machine = struct.unpack_from(endian + "H", data, 18)[0]
    segments = _segments(data, wide, endian)
    interpreter = ""
    for segment in segments:
        if segment.kind == _PT_INTERP:
            interpreter = _text(data, segment.offset, segment.offset + segment.size)
    tags = _dynamic(data, wide, endian, segments)
    needed = [_string(data, segments, tags, offset) for offset in tags.get(_DT_NEEDED, [])]
    rpath = [_string(data, segments, tags, offset) for offset in tags.get(_DT_RPATH, [])]
    runpath = [_string(data, segments, tags, offset) for offset in tags.get(_DT_RUNPATH, [])]
    return Elf((wide, order, machine), interpreter, needed, _folders(rpath), _folders(runpath))


def _segments(data: bytes, wide: int, endian: str) -> List[_Segment]:
    """The program headers (Elf32_Phdr, Elf64_Phdr)."""
    if wide == 2:
        start, size, count = _unpack(endian + "Q", data, 32) + _unpack(endian + "HH", data, 54)
    else:
        start, size, count = _unpack(endian + "I", data, 28) + _unpack(endian + "HH", data, 42)
    found = []
    for index in range(min(count, _MAX_SEGMENTS)):
        here = start + index * size
        if wide == 2:
            kind, _flags, offset, address, _physical, length = _unpack(endian + "IIQQQQ", data, here)
        else:
            kind, offset, address, _physical, length = _unpack(endian + "IIIII", data, here)
        found.append(_Segment(kind, offset, address, length))
    return found


def _dynamic(data: bytes, wide: int, endian: str, segments: List[_Segment]) -> Dict[int, List[int]]:
    """The dynamic section: each tag with its values in order."""
    tags: Dict[int, List[int]] = {}
    layout, step = (endian + "qQ", 16) if wide == 2 else (endian + "iI", 8)
    for segment in segments:
        if segment.kind != _PT_DYNAMIC:
            continue
        for index in range(min(segment.size // step, _MAX_DYNAMIC)):
            tag, value = _unpack(layout, data, segment.offset + index * step)
            if tag == 0:
                break
            tags.setdefault(tag, []).append(value)
    return tags


def _string(data: bytes, segments: List[_Segment], tags: Dict[int, List[int]], offset: int) -> str:
    """A string of the dynamic string table, whose place is given as an address in memory."""
    address = tags.get(_DT_STRTAB, [0])[0]
    size = tags.get(_DT_STRSZ, [0])[0]
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            table = segment.offset + address - segment.address
            if offset < size:
                return _text(data, table + offset, table + size)
    raise ValueError("its dynamic string table lies outside the file")


def _text(data: bytes, start: int, end: int) -> str:
    stop = data.find(b"\0", start, end)
    if not 0 <= start < end <= len(data) or stop < 0:
        raise ValueError("a string in it runs past its end")
    return data[start:stop].decode("utf-8", "surrogateescape")


def _unpack(layout: str, data: bytes, offset: int) -> Tuple[Any, ...]:
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise ValueError("it is cut off")
    return struct.unpack_from(layout, data, offset)


def _folders(values: List[str]) -> List[str]:
    return [folder for value in values for folder in value.split(":") if folder]


def configured_folders(host: Any) -> List[str]:
    """The directories of /etc/ld.so.conf and of what it includes, in order."""
    found: List[str] = []
    pending = ["/etc/ld.so.conf"]
    seen = set()
    while pending:
        path = pending.pop(0)
        if path in seen:
            continue
        seen.add(path)
        included = []
        for line in host.read_text(path, "").split("\n"):
            words = line.split("#")[0].split()
            if words[:1] == ["include"]:
                for pattern in words[1:]:
                    included += host.glob(pattern if pattern.startswith("/") else "/etc/" + pattern)
            elif words and words[0].startswith("/"):
                found.append(words[0])
        pending = included + pending
    return found


class Linker:
    """Finds libraries on a host as its dynamic linker would, each file read once."""

    def __init__(self, host: Any) -> None:
        self._host = host
        triplet = _TRIPLETS.get(host.kernel.machine, host.kernel.machine + "-linux-gnu")
        multiarch = ["/lib/" + triplet, "/usr/lib/" + triplet]
        self._folders = configured_folders(host) + multiarch + list(_DEFAULT_FOLDERS)
        self._parsed: Dict[str, Optional[Elf]] = {}

    def read(self, path: str) -> Optional[Elf]:
        """A file's ELF values; None for a script or other data. KdumpError for a broken ELF file."""
        if path not in self._parsed:
            data = self._host.read(path)
            try:
                self._parsed[path] = parse(data) if is_elf(data) else None
            except ValueError as error:
                raise fail(
                    "%s cannot go into the capture image: %s." % (path, error),
                    "Reinstall the package that owns it.",
                    value=path,
                ) from error
        return self._parsed[path]

    def libraries(self, path: str) -> List[Library]:
        """The dynamic linker and every library that a program needs, and they in turn; each once.

        KdumpError names all that are missing.
        """
        program = self.read(path)
        if program is None:
            return []
        found: Dict[str, Library] = {}
        problems: List[Problem] = []
        if self._host.is_file(program.interpreter):
            found[program.interpreter] = Library(program.interpreter, program.interpreter)
        elif program.interpreter:
            problems.append(_missing(program.interpreter, path))
        # Each with the DT_RPATH of those that asked for it: unlike DT_RUNPATH it is inherited.
        pending: List[Tuple[str, List[str]]] = [(path, [])]
        while pending:
            current, inherited = pending.pop(0)
            elf = self.read(current)
            if elf is None:
                continue
            origin = self._host.realpath(current).rsplit("/", 1)[0]
            rpath = inherited if elf.runpath else [_expand(folder, origin) for folder in elf.rpath] + inherited
            folders = rpath + [_expand(folder, origin) for folder in elf.runpath] + self._folders
            for name in elf.needed:
                if name in found or name == program.interpreter.rsplit("/", 1)[-1]:
                    continue
                place = self.find(name, program.abi, folders)
                if place is None:
                    problems.append(_missing(name, current))
                    continue
                found[name] = Library(name, place)
                pending.append((place, rpath))
        if problems:
            raise KdumpError(problems)
        return list(found.values())

    def find(self, name: str, abi: Tuple[int, int, int], folders: Optional[List[str]] = None) -> Optional[str]:
        """The path of a library of that class and machine, or None. One of another kind is passed over (dl-load.c)."""
        if "/" in name:
            return name if self._host.is_file(name) else None
        for folder in self._folders if folders is None else folders:
            path = folder.rstrip("/") + "/" + name
            if self._host.is_file(path):
                elf = self.read(path)
                if elf is not None and elf.abi == abi:
                    return path
        return None


def _expand(folder: str, origin: str) -> str:
    return folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)


def _missing(name: str, path: str) -> Problem:
    return Problem(
        "%s needs the library %s, which is not on this host." % (path, name),
        "Install the package that holds it (the program does not run without it now either).",
        value=name,
    )
