# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The flattened form: `makedumpfile -F`, and what QEMU's dump-guest-memory writes. Private to this collection.

makedumpfile 1.7.9 makedumpfile.c: write_start_flat_header (4096 bytes, signature, type and version big-endian),
write_buffer (a header of offset and size, big-endian, before each piece), write_end_flat_header (-1, -1);
rearrange_dumpdata takes the pieces in turn, so that later ones overwrite earlier ones, and stops at offset < 0 or
size <= 0, which must be -1 and -1. There is no incomplete flag: only the end record says that all was written.
"""

import bisect
import heapq
import struct
from typing import List, NamedTuple, Optional, Tuple

from .result import Findings
from .source import LIMIT, Source

SIGNATURE = b"makedumpfile\0\0\0\0"
HEADER = 4096
RECORD = struct.Struct(">qq")
# Bounds of time and memory. makedumpfile writes 64 KiB pieces: 1 TiB of stream stays below the first. Equal pieces in a
# row are one run: makedumpfile needs about two runs for 3 MB, so that half a TiB stays below the second.
MAX_RECORDS = 1 << 24
MAX_RUNS = 1 << 18


class Run(NamedTuple):
    """Equal pieces in a row: the data of each lie size + 16 bytes behind the last one's, their places size bytes."""

    target: int
    source: int
    size: int
    pieces: int

    @property
    def end(self) -> int:
        return self.target + self.size * self.pieces

    @property
    def following(self) -> int:
        """Where the next piece's data lie in the stream; behind the last run the end, as the end record is a head alone."""
        return self.source + (self.size + RECORD.size) * self.pieces


def walk(source: Source, findings: Findings) -> Optional[List[Run]]:
    """The runs of a stream in its order, None where they are too many; says what is wrong with the stream."""
    runs: List[Run] = []
    position = HEADER
    for _number in range(MAX_RECORDS):
        head = source.read_at(position, RECORD.size)
        if len(head) < RECORD.size:
            findings.incomplete(
                "The flattened stream has no end record: it breaks off at byte %d, the writer did not finish."
                % source.size
            )
            return runs
        target, size = RECORD.unpack(head)
        if target < 0 or size <= 0:
            check_end(position, target, size, findings)
            return runs
        have = min(size, max(0, source.size - position - RECORD.size))
        add(runs, target, position + RECORD.size, have)
        if len(runs) > MAX_RUNS:
            findings.unknown(
                "The flattened stream jumps about too much to be read here (read to byte %d): turn it into a file with"
                " `makedumpfile -R` and look at that." % position
            )
            return None
        position += RECORD.size + size
        if have < size:
            findings.incomplete(
                "The flattened stream breaks off at byte %d, within a record that ends at %d." % (source.size, position)
            )
            return runs
    findings.unknown(
        "The flattened stream has more than %d records (read to byte %d): turn it into a file with `makedumpfile -R` and"
        " look at that." % (MAX_RECORDS, position)
    )
    return None


def check_end(position: int, target: int, size: int, findings: Findings) -> None:
    """Bytes behind the end record are not wrong: a raw partition has them."""
    if (target, size) != (-1, -1):
        findings.broken(
            "The record at byte %d of the flattened stream has offset %d and size %d: neither data nor the end record."
            % (position, target, size)
        )


def add(runs: List[Run], target: int, source: int, size: int) -> None:
    """Append a piece, joining it to the run before it where it continues that one."""
    if size == 0:
        return
    if runs:
        last = runs[-1]
        if size == last.size and target == last.end and source == last.following:
            runs[-1] = last._replace(pieces=last.pieces + 1)
            return
    runs.append(Run(target, source, size, 1))


def segments(runs: List[Run]) -> List[Tuple[int, int, Run]]:
    """(start, end, run) without overlaps, sorted: where runs overlap, the later one of the stream counts."""
    edges = [(run.target, 1, index) for index, run in enumerate(runs)]
    edges += [(run.end, 0, index) for index, run in enumerate(runs)]
    open_runs: List[int] = []
    found: List[Tuple[int, int, Run]] = []
    start = 0
    for position, opens, index in sorted(edges):
        if open_runs and start < position:
            found.append((start, position, runs[-open_runs[0]]))
        start = position
        if opens:
            heapq.heappush(open_runs, -index)
        while open_runs and runs[-open_runs[0]].end <= position:
            heapq.heappop(open_runs)
    return found


class Rearranged(Source):
    """A flattened stream as `makedumpfile -R` would write it, without writing it. Holes read as zeros."""

    def __init__(self, source: Source, runs: List[Run]) -> None:
        self._source = source
        self._segments = segments(runs)
        self._starts = [start for start, _end, _run in self._segments]
        self.size = self._segments[-1][1] if self._segments else 0

    def read_at(self, offset: int, count: int) -> bytes:
        if offset < 0 or offset >= self.size or count <= 0:
            return b""
        end = min(offset + min(count, LIMIT), self.size)
        data = bytearray(end - offset)
        index = max(0, bisect.bisect_right(self._starts, offset) - 1)
        while index < len(self._segments) and self._segments[index][0] < end:
            start, stop, run = self._segments[index]
            self._copy(data, offset, max(start, offset), min(stop, end), run)
            index += 1
        return bytes(data)

    def _copy(self, data: bytearray, offset: int, position: int, stop: int, run: Run) -> None:
        """Put a run's bytes for [position, stop) into data, which begins at offset."""
        while position < stop:
            piece, within = divmod(position - run.target, run.size)
            count = min(run.size - within, stop - position)
            found = self._source.read_at(run.source + piece * (run.size + RECORD.size) + within, count)
            data[position - offset : position - offset + len(found)] = found
            position += count
