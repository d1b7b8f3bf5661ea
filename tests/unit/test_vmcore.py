# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole dumps are complete, damaged ones are not, and nothing in a file raises or takes long."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tracemalloc

import pytest
import vmcore_builder as build
from scaling import is_linear

from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore import (
    diskdump,
    dump,
    flattened,
    pages,
    vmcoreinfo,
    wrappers,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.dump import inspect
from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.result import Findings
from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.source import Source

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")

KDUMP, ELF = build.kdump(), build.elf()
FLAT = build.flat(KDUMP)
TABLE = 4 * build.PAGE  # header, sub header and notes, two bitmaps of a block


def look(data, deep=True):
    return inspect(io.BytesIO(data), len(data), deep)


def put(data, at, form, *values):
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


# --- whole ones ------------------------------------------------------------------------------------------------
WHOLE = {
    "kdump zlib": (KDUMP, {"format": "kdump", "compression": "zlib", "pages_decompressed": 25}),
    "kdump lzo": (build.kdump(compression="lzo"), {"compression": "lzo", "pages_decompressed": 0}),
    "kdump snappy": (build.kdump(compression="snappy"), {"compression": "snappy"}),
    "kdump zstd": (build.kdump(compression="zstd"), {"compression": "zstd"}),
    "kdump uncompressed, level 0": (build.kdump(compression="none", level=0), {"compression": "none", "dump_level": 0}),
    "kdump s390x": (build.kdump(">", "s390x"), {"byte_order": "big", "machine": "s390x", "word_bits": 64}),
    "kdump i686": (build.kdump(machine="i686"), {"machine": "i686", "word_bits": 32}),
    "kdump armv7l": (build.kdump(machine="armv7l"), {"machine": "armv7l", "word_bits": 32}),
    "kdump armv7l, 64-bit time": (build.kdump(machine="armv7l", time_bits=64), {"machine": "armv7l", "word_bits": 32}),
    "kdump part of a split": (build.kdump(split=(20, 60)), {"split": True, "pages": 20, "pages_checked": 20}),
    "kdump header version 5": (build.kdump(version=5), {"pages": 40}),
    "flattened": (FLAT, {"flattened": True, "format": "kdump", "rearranged_bytes": len(KDUMP)}),
    "flattened, one record": (build.flat(KDUMP, 1 << 20), {"flattened": True}),
    "flattened, bytes behind the end record": (FLAT + bytes(512), {"flattened": True}),
    "flattened elf": (build.flat(ELF), {"flattened": True, "format": "elf"}),
    "elf": (ELF, {"format": "elf", "pages": 17, "compression": "none", "machine": "x86_64"}),
    "elf big-endian": (build.elf(">", machine=22), {"byte_order": "big", "machine": "s390x"}),
    "elf 32-bit": (build.elf(bits=32, machine=3), {"word_bits": 32, "machine": "i686"}),
    "elf with extended numbering": (build.elf(xnum=True), {"pages": 17}),
    "gzip": (gzip.compress(FLAT), {"wrapper": "gzip", "flattened": True}),
    "gzip of two members": (gzip.compress(FLAT[:9000]) + gzip.compress(FLAT[9000:]), {"wrapper": "gzip"}),
    "bzip2": (bz2.compress(FLAT), {"wrapper": "bzip2"}),
    "xz": (lzma.compress(FLAT, preset=0), {"wrapper": "xz"}),
}


@pytest.mark.parametrize("deep", [False, True], ids=["shallow", "deep"])
@pytest.mark.parametrize("data, expected", WHOLE.values(), ids=list(WHOLE))
def test_a_whole_dump_is_complete(data, expected, deep):
    found = look(data, deep)
    assert (found.verdict, found.complete, found.problems) == ("complete", True, [])
    assert (found.release, found.build_id, found.page_size) == (build.RELEASE, build.BUILD_ID, build.PAGE)
    assert (found.crash_time, found.crash_epoch) == ("2025-11-24T16:00:00Z", build.CRASHTIME)
    assert found.kernel_offset == 0xC200000 and found.bytes == len(data)
    if found.word_bits == 64:
        assert found.hostname == "crashme"
    if not deep:
        expected = {name: value for name, value in expected.items() if name != "pages_decompressed"}
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("machine, order", [("aarch64", "<"), ("ppc64le", "<"), ("ppc64", ">")])
def test_pages_of_64_kib(machine, order):
    found = look(build.kdump(order, machine, contents=build.pages(16, 1 << 16)))
    assert (found.verdict, found.page_size, found.pages_checked, found.problems) == ("complete", 1 << 16, 16, [])


def test_memory_of_which_an_elf_file_holds_nothing_is_not_missing():
    """QEMU's dump-guest-memory with paging gives such segments the offset -1."""
    assert look(put(ELF, 64 + 56 + 8, "<QQQQ", (1 << 64) - 1, 0xFFFF888000000000, 0, 0)).verdict == "complete"


@pytest.mark.parametrize("order", "<>")
def test_dumps_of_drivers_before_the_kernels_own_notes(order):
    """/proc/vmcore puts them there, tens of MB of a network card's memory."""
    dump_of_driver = build.note("VMCOREDD", 0x700, bytes(20 << 20), order)
    found = look(build.elf(order, before=dump_of_driver))
    assert (found.verdict, found.release) == ("complete", build.RELEASE)


def test_facts_of_the_header_stand_in_for_a_missing_vmcoreinfo():
    found = look(build.kdump(vmcoreinfo=b""))
    assert (found.release, found.build_id, found.crash_epoch) == (build.RELEASE, "", build.CRASHTIME + 5)


# --- damaged ones ----------------------------------------------------------------------------------------------
HUGE = 1 << 62
FIRST_DATA = TABLE + 24 * 40
ZLIB_PAGE = struct.unpack_from("<q", KDUMP, TABLE + 24)[0]


def zeroed(data, size):
    """The file as a power cut leaves it: its size was written, the blocks of its end were not."""
    return data[:-size] + bytes(size)


DAMAGED = {
    "incomplete flag": (build.kdump(status=8), "incomplete", "incomplete flag"),
    "incomplete flag, big-endian": (build.kdump(">", "s390x", status=8), "incomplete", "incomplete flag"),
    "elf incomplete flag": (build.elf(flags=1), "incomplete", "incomplete flag"),
    "elf 32-bit big-endian incomplete flag": (build.elf(">", 32, flags=1, machine=20), "incomplete", "incomplete flag"),
    "cut in the last page": (KDUMP[:-1], "incomplete", "1 page descriptors point past the end"),
    "cut within the descriptors": (KDUMP[: TABLE + 100], "incomplete", "table of page descriptors"),
    "cut within the bitmap": (KDUMP[: TABLE - 9], "incomplete", "bitmaps lie"),
    "cut within the notes": (KDUMP[: build.PAGE + 200], "incomplete", "note"),
    "cut within the header": (KDUMP[:300], "broken", "block size"),
    "descriptors never written": (
        KDUMP[: TABLE + 240] + bytes(24 * 30) + KDUMP[FIRST_DATA:], "incomplete", "30 pages have a descriptor without"),
    "one descriptor lost": (put(KDUMP, TABLE + 24 * 7, "<qIIQ", 0, 0, 0, 0), "incomplete", "1 pages have"),
    "second bitmap never written": (
        KDUMP[: 3 * build.PAGE] + bytes(build.PAGE) + KDUMP[TABLE:], "incomplete", "marks no page"),
    "second bitmap half written": (put(KDUMP, 3 * build.PAGE + 5, "<5x"), "incomplete", "room for 40, and the second bitmap marks 20"),
    "bitmap with a page too many": (put(KDUMP, 3 * build.PAGE, "B", 0x57), "broken", "where the headers are"),
    "a descriptor into the header": (put(KDUMP, TABLE + 24 * 7, "<q", 464), "broken", "where the headers are"),
    "a negative offset": (put(KDUMP, TABLE + 24 * 7, "<q", -5), "broken", "where the headers are"),
    "an offset past the end": (put(KDUMP, TABLE + 24 * 7, "<q", HUGE), "incomplete", "cut off"),
    "a page larger than a page": (put(KDUMP, TABLE + 24 * 7 + 8, "<I", 5000), "broken", "a page has 4096"),
    "a page of no bytes": (put(KDUMP, TABLE + 24 * 7 + 8, "<I", 0), "broken", "gives its page 0 bytes"),
    "unknown page flags": (put(KDUMP, TABLE + 24 * 7 + 12, "<I", 0x40), "broken", "unknown flags 0x40"),
    **{
        "%s pages that were never flushed" % name: (zeroed(build.kdump(compression=name), size), "broken", "does not decompress")
        for name, size in (("zlib", 60), ("lzo", 9000), ("snappy", 9000), ("zstd", 9000))
    },
    "a page whose bytes rotted": (put(KDUMP, ZLIB_PAGE + 20, "<Q", 0), "broken", "does not decompress"),
    "header version 0": (put(KDUMP, 8, "<i", 0), "broken", "header version"),
    "block size 0": (put(KDUMP, 428, "<i", 0), "broken", "no page size"),
    "block size negative": (put(KDUMP, 428, "<i", -4096), "broken", "no page size"),
    "sub header of negative size": (put(KDUMP, 432, "<i", -1), "broken", "sub header"),
    "sub header of huge size": (put(KDUMP, 432, "<i", 0x7FFFFFFF), "incomplete", "bitmaps lie"),
    "bitmaps of huge size": (put(KDUMP, 436, "<I", 0xFFFFFFFF), "incomplete", "bitmaps lie"),
    "more pages than bits": (put(KDUMP, build.PAGE + 96, "<Q", HUGE), "broken", "bits, and the dump"),
    "vmcoreinfo past the end": (put(KDUMP, build.PAGE + 32, "<qQ", HUGE, 99), "incomplete", "vmcoreinfo"),
    "vmcoreinfo at a negative offset": (put(KDUMP, build.PAGE + 32, "<q", -8), "broken", "vmcoreinfo"),
    "stream without end record": (build.flat(KDUMP, end=b""), "incomplete", "no end record"),
    "stream cut in the end record": (FLAT[:-1], "incomplete", "no end record"),
    "stream cut in a record": (FLAT[:-30], "incomplete", "within a record"),
    "stream of the header alone": (FLAT[:4096], "broken", "no end record"),
    "stream with a false end": (build.flat(KDUMP, end=struct.pack(">qq", -1, 7)), "broken", "neither data nor"),
    "stream of an unknown type": (put(FLAT, 16, ">q", 2), "broken", "type or version"),
    "elf cut in its last segment": (ELF[:-1], "incomplete", "cut off"),
    "elf cut in its program headers": (ELF[:100], "incomplete", "program headers"),
    "elf without program headers": (put(ELF, 64, "<168x"), "incomplete", "No program header describes memory"),
    "elf without vmcoreinfo": (build.elf(vmcoreinfo=b""), "broken", "VMCOREINFO"),
    "elf executable": (put(ELF, 16, "<H", 2), "broken", "not a core"),
    "elf of no class": (put(ELF, 4, "B", 7), "broken", "class or byte order"),
    "elf counting no headers": (put(ELF, 56, "<H", 0), "broken", "program headers"),
    "gzip cut": (gzip.compress(FLAT)[:-300], "incomplete", "break off"),
    "gzip damaged": (put(gzip.compress(FLAT), 3000, "<Q", 0), "incomplete", "damaged"),
    "xz cut": (lzma.compress(FLAT, preset=0)[:-300], "incomplete", "break off"),
    "gzip of a stream without its end": (gzip.compress(FLAT[:-16]), "incomplete", "no end record"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(5000), "unknown", "lz4 -d"),
    "empty": (b"", "broken", "only 0 bytes"),
    "zeros": (bytes(100000), "broken", "no vmcore"),
    "text": (b"hello\n" * 2000, "broken", "no vmcore"),
}  # fmt: skip


@pytest.mark.parametrize("data, verdict, reason", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_dump_is_not_complete_and_says_why(data, verdict, reason):
    found = look(data)
    assert found.verdict == verdict, found.problems
    assert found.complete is (None if verdict == "unknown" else False)
    assert any(reason in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    "data", [KDUMP, ELF, FLAT, build.flat(ELF)], ids=["kdump", "elf", "flattened", "flattened elf"]
)
@pytest.mark.parametrize("deep", [False, True], ids=["shallow", "deep"])
def test_no_truncation_goes_unseen(data, deep):
    for length in list(range(0, len(data), 997)) + list(range(len(data) - 20, len(data))):
        assert look(data[:length], deep).verdict in ("incomplete", "broken"), length


@pytest.mark.parametrize("deep", [False, True], ids=["shallow", "deep"])
def test_a_cut_off_end_is_seen_also_where_the_last_pages_are_zeros(monkeypatch, deep):
    """They share one page at the beginning of the data, and tell nothing of the end."""
    monkeypatch.setattr(pages, "CHUNK", 16)
    data = build.kdump(contents=build.pages(60) + [bytes(build.PAGE)] * 100)
    assert look(data, deep).verdict == "complete"
    assert look(data[:-1], deep).verdict == "incomplete"


def test_without_deep_little_of_the_table_is_read(monkeypatch):
    monkeypatch.setattr(pages, "CHUNK", 16)
    found = look(build.kdump(contents=build.pages(160)), False)
    assert (found.verdict, found.pages_checked, found.pages) == ("complete", 32, 160)
    monkeypatch.setattr(pages, "MAX_DESCRIPTORS", 100)
    assert look(build.kdump(contents=build.pages(160)), False).verdict == "complete"
    assert look(build.kdump(contents=build.pages(160)), True).verdict == "unknown"
    assert look(build.kdump(contents=build.pages(60) + [bytes(build.PAGE)] * 200), False).verdict == "unknown"


# --- the rearranged view ---------------------------------------------------------------------------------------
def rearrange(stream):
    source = Source(io.BytesIO(stream), len(stream))
    return flattened.Rearranged(source, flattened.walk(source, Findings()))


@given(st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=60)), max_size=30))
def test_the_view_is_what_writing_the_records_in_turn_would_give(records):
    expected = bytearray()
    for offset, data in records:
        expected.extend(b"\0" * (offset + len(data) - len(expected)))
        expected[offset : offset + len(data)] = data
    view = rearrange(build.FLAT_HEADER + b"".join(build.record(*each) for each in records) + build.FLAT_END)
    assert view.size == len(expected)
    assert view.read_at(0, 1000) == bytes(expected)
    for at in range(0, len(expected), 7):
        assert view.read_at(at, 13) == bytes(expected[at : at + 13])


def test_equal_records_in_a_row_take_one_entry():
    stream = (
        build.FLAT_HEADER + b"".join(build.record(at, b"x" * 64) for at in range(0, 64 * 5000, 64)) + build.FLAT_END
    )
    assert len(flattened.walk(Source(io.BytesIO(stream), len(stream)), Findings())) == 1


def test_scattered_records_are_bounded(monkeypatch):
    monkeypatch.setattr(flattened, "MAX_RUNS", 100)
    found = look(build.FLAT_HEADER + b"".join(build.record(at * 9, b"x") for at in range(1000)))
    assert found.verdict == "unknown" and "jumps about" in found.problems[0] and len(found.problems) == 1
    monkeypatch.setattr(flattened, "MAX_RUNS", 1 << 18)
    monkeypatch.setattr(flattened, "MAX_RECORDS", 100)
    found = look(build.flat(KDUMP, 100))
    assert found.verdict == "unknown" and "more than 100 records" in found.problems[0]


def test_a_large_compressed_dump_is_read_through_only_when_deep(monkeypatch):
    monkeypatch.setattr(dump, "LIMIT", 20000)
    monkeypatch.setattr(wrappers, "PIECE", 4096)
    whole, cut = gzip.compress(FLAT), gzip.compress(FLAT[:-16])
    assert look(whole, deep=False).verdict == "unknown" and look(whole, deep=False).release == build.RELEASE
    assert look(whole).verdict == "complete"
    assert look(cut).verdict == "incomplete" and "no end record" in look(cut).problems[0]
    assert look(whole[:-4]).verdict == "incomplete"
    assert look(gzip.compress(KDUMP)).verdict == "unknown"
    assert look(gzip.compress(build.kdump(status=8)), deep=False).verdict == "incomplete"
    assert look(gzip.compress(os.urandom(40000))).verdict == "broken"
    monkeypatch.setattr(dump, "EXPANDED_LIMIT", 21000)
    assert "expands to more than" in look(whole).problems[0]


# --- hostile ones ----------------------------------------------------------------------------------------------
SEEDS = [
    KDUMP,
    build.kdump(">", "s390x"),
    build.kdump(machine="i686"),
    FLAT,
    ELF,
    build.elf(">", 32, machine=20),
    gzip.compress(FLAT),
]
EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _count in range(draw(st.integers(1, 8))):
        # Mostly where the headers and tables are.
        at = draw(st.one_of(st.integers(0, 600), st.integers(4096, 5000), st.integers(TABLE, TABLE + 960)))
        size, order = draw(st.sampled_from([("B", 1), ("I", 4), ("Q", 8)])), draw(st.sampled_from("<>"))
        value = draw(st.sampled_from(EDGES)) & ((1 << 8 * size[1]) - 1)
        if at + size[1] <= len(data):
            struct.pack_into(order + size[0], data, at, value)
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck))
@given(mutated(), st.booleans())
def test_mutated_dumps_get_a_verdict(data, deep):
    found = look(data, deep)
    assert found.verdict in ("complete", "incomplete", "broken", "unknown")
    assert (found.verdict == "complete") == (not found.problems)
    assert len("".join(found.problems)) < 8000 and all(31 < ord(char) < 127 for char in "".join(found.problems))


@hypothesis.settings(max_examples=300, suppress_health_check=list(hypothesis.HealthCheck), deadline=None)
@given(st.data())
def test_a_cut_dump_is_never_complete_whatever_it_holds(drawn):
    """Real shapes: every compression, level, order of the stream's records, and runs of zero pages anywhere."""
    kinds = drawn.draw(st.lists(st.sampled_from("ztn"), min_size=4, max_size=48))
    kinds = (kinds + ["t"] * (-len(kinds) % 4))[:48]
    contents = [{"z": bytes(build.PAGE), "t": build.pages(2)[1], "n": build.pages(3)[2]}[kind] for kind in kinds]
    form = drawn.draw(st.sampled_from(["kdump", "flat", "elf", "flat elf", "gzip"]))
    if "elf" in form:
        data = build.elf(contents=contents)
    else:
        data = build.kdump(
            drawn.draw(st.sampled_from("<>")), drawn.draw(st.sampled_from(["x86_64", "s390x", "i686"])),
            drawn.draw(st.sampled_from(sorted(build.STATUS))), contents, drawn.draw(st.sampled_from([0, 1, 31])),
        )  # fmt: skip
    data = build.flat(data, drawn.draw(st.integers(500, 9000))) if form.startswith("flat") or form == "gzip" else data
    data = gzip.compress(data) if form == "gzip" else data
    deep = drawn.draw(st.booleans())
    assert look(data, deep).verdict == "complete", look(data, deep).problems
    end = drawn.draw(st.one_of(st.integers(0, len(data) - 1), st.integers(max(0, len(data) - 40), len(data) - 1)))
    assert look(data[:end], deep).verdict in ("incomplete", "broken")


def test_an_error_of_the_disk_is_a_finding():
    class Failing(io.BytesIO):
        def read(self, *args):
            raise OSError(5, "Input/output error")

    assert "Input/output error" in inspect(Failing(), 10000).problems[0]


class Counting(io.BytesIO):
    """Counts the bytes that are asked of it."""

    asked = 0

    def read(self, count=-1):
        self.asked += count
        return super().read(count)


def test_a_huge_sparse_file_is_judged_by_little_of_it():
    class Sparse(Counting):
        """KDUMP's header, then zeros for ever."""

        def read(self, count=-1):
            found = super().read(count)
            return found + bytes(count - len(found))

        def seek(self, place, whence=0):
            return super().seek(place, whence)

    hostile = Sparse(put(put(KDUMP, 436, "<I", 0xFFFFFFFE), build.PAGE + 96, "<Q", 1 << 40))
    assert inspect(hostile, 1 << 50, True).verdict == "unknown"
    assert 0 < hostile.asked < 64 << 20


def test_expansion_bombs_are_bounded():
    bomb = gzip.compress(bytes(256 << 20), 1)
    tracemalloc.start()
    try:
        assert look(bomb, deep=False).verdict == "broken"
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


def test_many_members_are_bounded():
    tiny = gzip.compress(b"") * 100000
    assert look(tiny, deep=False).verdict == look(tiny).verdict == "unknown"
    assert is_linear(look, lambda size: gzip.compress(b"") * size, 100000)
    tiny = gzip.compress(FLAT[:9000]) + b"".join(gzip.compress(b"%d" % n) for n in range(5000)) + gzip.compress(b"x")
    assert look(tiny).verdict != "complete"


def test_many_program_headers_that_all_name_the_same_megabytes_of_notes_are_bounded():
    header = put(put(ELF[:64], 32, "<Q", 64), 56, "<H", 60000)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 64 + 56 * 60000, 0, 0, 12 << 20, 0, 0)
    hostile = Counting(header + segment * 60000 + bytes(12 << 20))
    assert inspect(hostile, len(hostile.getvalue()), True).verdict == "incomplete"
    assert 0 < hostile.asked < 64 << 20


def test_a_stream_of_tiny_records_in_a_compressed_file_is_read_in_linear_time(monkeypatch):
    def make(count):
        stream = build.FLAT_HEADER + b"".join(build.record(at, b"x") for at in range(count)) + build.FLAT_END
        return gzip.compress(stream, 1)

    monkeypatch.setattr(dump, "LIMIT", 20000)
    assert is_linear(look, make, 200000)


# --- parts -----------------------------------------------------------------------------------------------------
@given(st.binary(max_size=64), st.integers(0, 512), st.integers(0, 512))
def test_popcount_of_a_range(data, first, last):
    last = min(last, len(data) * 8)
    bits = "".join(bin(byte | 256)[:2:-1] for byte in data)
    assert diskdump.popcount(Source(io.BytesIO(data), len(data)), 0, first, last) == bits[first:last].count("1")


@pytest.mark.parametrize("count, wanted", [(0, 5), (1, 5), (5, 5), (6, 5), (1000000, 5)])
def test_positions_are_spread_from_the_first_to_the_last(count, wanted):
    found = list(diskdump.positions(count, wanted))
    assert len(set(found)) == len(found) == min(count, wanted)
    assert not found or (found[0], found[-1]) == (0, count - 1)


def test_vmcoreinfo_is_split_on_the_first_equals_sign_only():
    assert vmcoreinfo.parse(b"A=b=c\nnothing\n=x\nA=second\n\xff=1\n") == {"A": "b=c", "\ufffd": "1"}


@pytest.mark.parametrize(
    "data, name",
    [
        (struct.pack("<III", HUGE & 0xFFFFFFFF, 0xFFFFFFFF, 0) + bytes(100), "giant"),
        (bytes(4), "short"),
        (bytes(1200), "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_notes_end(data, name):
    assert vmcoreinfo.in_notes(Source(io.BytesIO(data), len(data)), 0, HUGE, "<") == {}


@pytest.mark.parametrize("value", ["6.1\x1b[31m", "a b", "x" * 66, "", "r\u00e9"])
def test_what_is_not_printable_is_not_shown(value):
    assert vmcoreinfo.printable(value) == ""
