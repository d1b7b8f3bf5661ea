# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells the formats apart and has them read. Private to this collection."""

import io
from typing import IO

from . import diskdump, elfcore, flattened, wrappers
from .result import Findings, VmcoreInfo
from .source import LIMIT, Source

# Expanded bytes that are read of a compressed file with deep: some minutes' worth.
EXPANDED_LIMIT = 16 << 30


def inspect(file: IO[bytes], size: int, deep: bool = False) -> VmcoreInfo:
    """What a seekable binary file of `size` bytes is, and whether it is a whole vmcore.

    Without `deep` the headers, the bitmap and the ends of the tables are read; with it every page's descriptor, and a
    sample of the pages. Compressed files are read to their end with `deep` alone. Nothing in a file makes this raise,
    and an error of reading it (OSError) is a finding as well.
    """
    findings = Findings()
    try:
        read(Source(file, size), findings, deep)
    except OSError as error:
        findings.broken("The file cannot be read: %s." % error)
    return findings.result(size, deep)


def read(source: Source, findings: Findings, deep: bool) -> None:
    name = wrappers.kind(source.read_at(0, 8))
    if name:
        findings.learn(wrapper=name)
        read_wrapped(source, name, findings, deep)
    else:
        read_plain(source, findings, deep)


def read_plain(source: Source, findings: Findings, deep: bool) -> None:
    if source.read_at(0, 16) == flattened.SIGNATURE:
        findings.learn(flattened=True)
        if source.unpack_at(">qq", 16) != (1, 1):
            findings.broken("The flattened header is of a type or version (bytes 16 to 31) that does not exist.")
            return
        runs = flattened.walk(source, findings)
        if runs is None:
            return
        source = flattened.Rearranged(source, runs)
        findings.learn(rearranged_bytes=source.size)
    head = source.read_at(0, 8)
    if head == diskdump.SIGNATURE:
        diskdump.read(source, findings, deep)
    elif head.startswith(elfcore.MAGIC):
        elfcore.read(source, findings)
    elif source.size < 4096:
        findings.broken("There are only %d bytes: no vmcore, or one of which nothing was written." % source.size)
    else:
        findings.broken("This is no vmcore: it begins with the bytes %s." % " ".join("%02x" % byte for byte in head))


def read_wrapped(source: Source, name: str, findings: Findings, deep: bool) -> None:
    if wrappers.decompressor(name) is None:
        findings.unknown("The dump is inside a %s file, which is not read here: expand it with `%s -d`." % (name, name))
        return
    try:
        head = bytearray()
        for piece in wrappers.expand(source, name):
            head += piece
            if len(head) >= LIMIT:
                break
        else:
            read_plain(Source(io.BytesIO(bytes(head)), len(head)), findings, deep)
            return
        read_head(bytes(head), findings)
        if deep:
            read_through(source, name, findings)
        else:
            findings.unknown("The dump is inside a %s file, read at its beginning only: deep=true reads it all." % name)
    except wrappers.Cut as error:
        findings.incomplete("The compressed file is not whole: %s." % error)
    except wrappers.TooLong as error:
        findings.unknown("The compressed file %s: it was read no further." % error)


def read_head(head: bytes, findings: Findings) -> None:
    """The facts that the beginning of a dump tells; of its problems only what the rest cannot change."""
    partial = Findings()
    read_plain(Source(io.BytesIO(head), len(head)), partial, False)
    facts = {name: value for name, value in partial.facts.items() if not name.startswith(("pages", "rearranged"))}
    findings.learn(**facts)
    if partial.flagged:
        findings.flag(partial.flagged)
    if "release" not in partial.facts:
        for problem in partial.kinds["broken"]:
            findings.broken(problem)


def read_through(source: Source, name: str, findings: Findings) -> None:
    """Expand to the end, which checks the sums, and look for a flattened stream's end record on the way."""
    forward = wrappers.Forward(wrappers.expand(source, name), EXPANDED_LIMIT)
    if findings.facts.get("flattened"):
        flattened.walk(forward, findings)
    else:
        findings.unknown("The %s file is whole, but the dump in it was read at its beginning only: expand it." % name)
    forward.drain()
