# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was found in a vmcore. Private to this collection."""

import datetime
from typing import Any, Dict, List, NamedTuple, Optional

# Problems kept of each kind: a broken dump of a million pages has one cause, not a million.
KEPT = 10


class VmcoreInfo(NamedTuple):
    """A vmcore as its bytes tell it; "" or None where they do not.

    verdict: complete; incomplete (part of it was never written or is gone, the rest may be of use); broken (it
    contradicts itself or is no vmcore); unknown (these bytes cannot tell, `problems` says why).
    complete: the same as a bool, None for unknown.
    """

    format: str  # kdump, elf, unknown
    flattened: bool  # in the stream form of `makedumpfile -F`
    wrapper: str  # gzip, bzip2, xz, zstd, lz4 or ""
    complete: Optional[bool]
    verdict: str
    problems: List[str]
    deep: bool
    bytes: int  # of the file
    rearranged_bytes: Optional[int]  # what `makedumpfile -R` would make of a flattened one
    release: str
    build_id: str
    crash_time: str  # ISO 8601, UTC
    crash_epoch: Optional[int]
    hostname: str
    machine: str
    byte_order: str  # little, big or ""
    word_bits: Optional[int]
    dump_level: Optional[int]
    compression: str  # none, zlib, lzo, snappy, zstd or ""
    page_size: Optional[int]
    pages: Optional[int]  # dumped
    pages_lost: int  # described, but never written
    pages_checked: int  # whose place in the file was checked
    pages_decompressed: int
    kernel_offset: Optional[int]  # KASLR's, bytes
    split: bool  # one part of several (`makedumpfile --split`)


class Findings:
    """Facts and problems as they turn up."""

    def __init__(self) -> None:
        self.facts: Dict[str, Any] = {}
        self.flagged = ""  # what the dump's own header says of its being incomplete
        self.kinds: Dict[str, List[str]] = {"broken": [], "incomplete": [], "unknown": []}

    def broken(self, problem: str) -> None:
        self._add("broken", problem)

    def incomplete(self, problem: str) -> None:
        self._add("incomplete", problem)

    def flag(self, problem: str) -> None:
        """The writer itself has marked the dump as incomplete."""
        self.flagged = problem
        self.incomplete(problem)

    def unknown(self, problem: str) -> None:
        self._add("unknown", problem)

    def _add(self, kind: str, problem: str) -> None:
        if len(self.kinds[kind]) < KEPT:
            self.kinds[kind].append(problem)

    def learn(self, **facts: Any) -> None:
        """Keep what is known; a fact that is there already stays."""
        for name, value in facts.items():
            if value not in ("", None) and self.facts.get(name) in ("", None):
                self.facts[name] = value

    @property
    def verdict(self) -> str:
        for kind in ("broken", "incomplete", "unknown"):
            if self.kinds[kind]:
                return kind
        return "complete"

    def result(self, size: int, deep: bool) -> VmcoreInfo:
        text = dict.fromkeys(("release", "build_id", "hostname", "machine", "byte_order", "compression"), "")
        unset = dict.fromkeys(("rearranged_bytes", "word_bits", "dump_level", "page_size", "pages", "kernel_offset"))
        facts: Dict[str, Any] = {}
        facts.update(text, flattened=False, wrapper="", format="unknown", split=False, crash_epoch=None, **unset)
        facts.update(pages_lost=0, pages_checked=0, pages_decompressed=0)
        facts.update(self.facts)
        problems = self.kinds["broken"] + self.kinds["incomplete"] + self.kinds["unknown"]
        verdict = self.verdict
        return VmcoreInfo(
            verdict=verdict, complete=None if verdict == "unknown" else verdict == "complete", problems=problems,
            deep=deep, bytes=size, crash_time=utc(facts["crash_epoch"]), **facts
        )  # fmt: skip


def utc(epoch: Optional[int]) -> str:
    """ISO 8601 in UTC; "" for what is no time."""
    if epoch is None or not plausible(epoch):
        return ""
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=epoch)).isoformat() + "Z"


def plausible(epoch: Optional[int]) -> bool:
    """Whether seconds since 1970 are a time that a calendar has."""
    return epoch is not None and 0 < epoch < 253402300800
