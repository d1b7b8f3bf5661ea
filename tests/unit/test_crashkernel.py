# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils import crashkernel
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Kernel
from ansible_collections.vmcore.kdump.plugins.module_utils.crashkernel import Crashkernel, Range
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def messages(values):
    with pytest.raises(KdumpError) as caught:
        crashkernel.parse(values)
    assert all(problem.hint for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


GOOD = {
    "size": (["256M"], Crashkernel(size=256 * M), ["256M"]),
    "lower case": (["256m"], Crashkernel(size=256 * M), ["256M"]),
    "bytes": (["268435456"], Crashkernel(size=256 * M), ["256M"]),
    "kibibytes": (["262144K"], Crashkernel(size=256 * M), ["256M"]),
    "hexadecimal": (["0x10000000"], Crashkernel(size=256 * M), ["256M"]),
    "hexadecimal with a unit": (["0X10m"], Crashkernel(size=16 * M), ["16M"]),
    "hexadecimal digits take the E": (["0x100000E"], Crashkernel(size=0x100000E), ["16777230"]),
    "octal": (["0400M"], Crashkernel(size=256 * M), ["256M"]),
    "no unit divides it": (["1048577"], Crashkernel(size=1048577), ["1048577"]),
    "not a whole gibibyte": (["1536M"], Crashkernel(size=1536 * M), ["1536M"]),
    "offset": (["64M@16M"], Crashkernel(size=64 * M, offset=16 * M), ["64M@16M"]),
    "offset 0 means anywhere": (["256M@0"], Crashkernel(size=256 * M), ["256M"]),
    "one range": (["512M-:192M"], Crashkernel(ranges=(Range(512 * M, None, 192 * M),)), ["512M-:192M"]),
    "ranges": (
        ["1G-4G:192M,4G-64G:256M,64G-:512M"],
        Crashkernel(ranges=(Range(G, 4 * G, 192 * M), Range(4 * G, 64 * G, 256 * M), Range(64 * G, None, 512 * M))),
        ["1G-4G:192M,4G-64G:256M,64G-:512M"],
    ),
    "ranges with an offset": (
        ["512M-2G:64M,2G-:128M@16M"],
        Crashkernel(ranges=(Range(512 * M, 2 * G, 64 * M), Range(2 * G, None, 128 * M)), offset=16 * M),
        ["512M-2G:64M,2G-:128M@16M"],
    ),
    "a range that says nothing": (
        ["0-2G:0,2G-:256M"],
        Crashkernel(ranges=(Range(0, 2 * G, 0), Range(2 * G, None, 256 * M))),
        ["0-2G:0,2G-:256M"],
    ),
    "exabytes": (
        ["1E-2E:1P,2E-:1T"],
        Crashkernel(ranges=(Range(1 << 60, 2 << 60, 1 << 50), Range(2 << 60, None, T))),
        ["1E-2E:1P,2E-:1T"],
    ),
    "high": (["1G,high"], Crashkernel(high=G), ["1G,high"]),
    "high and low": (["128M,low", "1G,high"], Crashkernel(high=G, low=128 * M), ["1G,high", "128M,low"]),
    "no low memory": (["1G,high", "0,low"], Crashkernel(high=G, low=0), ["1G,high", "0,low"]),
    "size and cma": (["256M", "64M,cma"], Crashkernel(size=256 * M, cma=64 * M), ["64M,cma", "256M"]),
    "high, low and cma": (
        ["1G,high", "0,low", "1G,cma"],
        Crashkernel(high=G, low=0, cma=G),
        ["1G,cma", "1G,high", "0,low"],
    ),
}


@pytest.mark.parametrize("values, expected, canonical", GOOD.values(), ids=list(GOOD))
def test_good_values(values, expected, canonical):
    assert crashkernel.parse(values) == expected
    assert expected.values() == canonical
    assert crashkernel.effective(values) == expected


BAD = {
    "nothing": ([], ["No crashkernel value is given."]),
    "empty": ([""], ["A size is missing in crashkernel value ''."]),
    "auto": (
        ["auto"],
        ["crashkernel=auto reserves nothing: only the kernels of RHEL 8 and older knew it, mainline never did."],
    ),
    "unit alone": (["M"], ["'M' in crashkernel value 'M' is not a size."]),
    "word": (["lots"], ["'lots' in crashkernel value 'lots' is not a size."]),
    "negative": (["-1M"], ["'-1M' in crashkernel value '-1M' is not a range."]),
    "fraction": (["1.5G"], ["'1.5G' in crashkernel value '1.5G' has a fraction, which the kernel cannot read."]),
    "MB": (["256MB"], ["'256MB' in crashkernel value '256MB' ends in a B, which the kernel cannot read."]),
    "MiB": (["256MiB"], ["'256MiB' in crashkernel value '256MiB' ends in a B, which the kernel cannot read."]),
    "octal with an 8": (["0128M"], ["'0128M' in crashkernel value '0128M' is not a size."]),
    "0x alone": (["0x"], ["'0x' in crashkernel value '0x' is not a size."]),
    "65 bits": (["16E"], ["'16E' in crashkernel value '16E' does not fit into 64 bits."]),
    "unit forgotten": (["256"], ["256 in crashkernel value '256' is a number of bytes, below 1M."]),
    "zero": (["0"], ["crashkernel value '0' reserves nothing."]),
    "zero high": (["0,high"], ["crashkernel value '0,high' reserves nothing."]),
    "unknown suffix": (["256M,foo"], ["'256M,foo' in crashkernel value '256M,foo' is not a size."]),
    "suffix in capitals": (["256M,HIGH"], ["'256M,HIGH' in crashkernel value '256M,HIGH' is not a size."]),
    "offset missing": (["256M@"], ["A size is missing in crashkernel value '256M@'."]),
    "two offsets": (["256M@1G@2G"], ["'1G@2G' in crashkernel value '256M@1G@2G' is not a size."]),
    "the whole argument": (
        ["crashkernel=256M"],
        ["crashkernel value 'crashkernel=256M' is not the value of one argument."],
    ),
    "two arguments in one": (
        ["1G,high 128M,low"],
        ["crashkernel value '1G,high 128M,low' is not the value of one argument."],
    ),
    "quotes": (['"256M"'], ["crashkernel value '\"256M\"' is not the value of one argument."]),
    "a line end": (["256M\n"], ["crashkernel value '256M\n' is not the value of one argument."]),
    "range without a start": (["-2G:64M"], ["A size is missing in crashkernel value '-2G:64M'."]),
    "range without a size": (["1G-2G:"], ["A size is missing in crashkernel value '1G-2G:'."]),
    "range without a colon": (["1G-2G"], ["'1G-2G' in crashkernel value '1G-2G' is not a range."]),
    "range without a dash": (["2G:64M"], ["'2G:64M' in crashkernel value '2G:64M' is not a range."]),
    "range ends early": (
        ["4G-2G:64M"],
        ["The range '4G-2G:64M' in crashkernel value '4G-2G:64M' ends before it begins."],
    ),
    "range is empty": (
        ["2G-2G:64M"],
        ["The range '2G-2G:64M' in crashkernel value '2G-2G:64M' ends before it begins."],
    ),
    "comma at the end": (["1G-2G:64M,"], ["'' in crashkernel value '1G-2G:64M,' is not a range."]),
    "range is hidden": (
        ["1G-:128M,4G-:256M"],
        [
            "The range 4G-:256M in crashkernel value '1G-:128M,4G-:256M' is never used: "
            "1G-:128M before it holds all of it."
        ],
    ),
    "ranges reserve nothing": (["1G-:0"], ["crashkernel value '1G-:0' reserves nothing."]),
    "unit forgotten in a range": (
        ["2-4G:256M"],
        ["2 in crashkernel value '2-4G:256M' is a number of bytes, below 1M."],
    ),
    "ranges high": (
        ["1G-2G:128M,high"],
        ["crashkernel value '1G-2G:128M,high' puts ,high after something that is not a single size."],
    ),
    "offset high": (
        ["1G@16M,high"],
        ["crashkernel value '1G@16M,high' puts ,high after something that is not a single size."],
    ),
    "two suffixes": (["1G,high,low"], ["'1G,high' in crashkernel value '1G,high,low' is not a size."]),
    "low alone": (["128M,low"], ["crashkernel=SIZE,low alone reserves nothing."]),
    "cma alone": (["128M,cma"], ["crashkernel=SIZE,cma only adds to another reservation; alone it reserves nothing."]),
    "low and cma": (["128M,low", "64M,cma"], ["crashkernel=SIZE,low alone reserves nothing."]),
    "plain and high": (["256M", "1G,high"], ["A plain crashkernel value makes the kernel ignore ,high and ,low."]),
    "plain and low": (["256M", "1G,low"], ["A plain crashkernel value makes the kernel ignore ,high and ,low."]),
    "two sizes": (
        ["256M", "512M"],
        ["There is more than one of a plain crashkernel value: the kernel takes the last."],
    ),
    "two high": (
        ["1G,high", "2G,high"],
        ["There is more than one of a crashkernel value with ,high: the kernel takes the last."],
    ),
    "everything at once": (
        ["1.5G", "4G-2G:64MB", "auto"],
        [
            "'1.5G' in crashkernel value '1.5G' has a fraction, which the kernel cannot read.",
            "'64MB' in crashkernel value '4G-2G:64MB' ends in a B, which the kernel cannot read.",
            "The range '4G-2G:64MB' in crashkernel value '4G-2G:64MB' ends before it begins.",
            "crashkernel=auto reserves nothing: only the kernels of RHEL 8 and older knew it, mainline never did.",
        ],
    ),
}


@pytest.mark.parametrize("values, expected", BAD.values(), ids=list(BAD))
def test_bad_values_are_all_named(values, expected):
    assert messages(values) == expected


# Those named so are the examples of Documentation/admin-guide/kdump/kdump.rst.
RESERVE = {
    "kdump.rst, rescue": (["512M-2G:64M,2G-:128M"], 384 * M, 0),
    "kdump.rst, start is inclusive": (["512M-2G:64M,2G-:128M"], 512 * M, 64 * M),
    "kdump.rst, below the end": (["512M-2G:64M,2G-:128M"], 1920 * M, 64 * M),
    "kdump.rst, end is exclusive": (["512M-2G:64M,2G-:128M"], 2 * G, 128 * M),
    "kdump.rst, no end": (["512M-2G:64M,2G-:128M"], 1 << 45, 128 * M),
    "kdump.rst, size": (["256M"], 4 * G, 256 * M),
    "kdump.rst, offset": (["64M@16M"], G, 64 * M),
    "high": (["512M,high", "128M,low"], 8 * G, 512 * M),
    "rounded up to 128M": (["2G-:256M"], 2 * G - 128 * M + 1, 256 * M),
    "not rounded further": (["2G-:256M"], 2 * G - 128 * M, 0),
    "first match counts": (["1G-4G:192M,2G-:256M"], 2 * G, 192 * M),
    "in a gap": (["1G-2G:128M,4G-:256M"], 3 * G, 0),
    "size equal to RAM": (["256M"], 256 * M, 0),
    "size just below RAM": (["256M"], 256 * M + 1, 256 * M),
    "high not below RAM": (["1G,high"], G, 0),
    "an earlier range that is too large ends the search": (["4G-:2G,1G-4G:128M"], G + G // 2, 0),
    "range size below the rounded but not the real RAM": (["0-:127M"], 100 * M, 0),
    "cma is not counted": (["256M", "1G,cma"], 4 * G, 256 * M),
    "range of nothing": (["0-2G:0,2G-:256M"], G, 0),
}


@pytest.mark.parametrize("values, ram, expected", RESERVE.values(), ids=list(RESERVE))
def test_reservation(values, ram, expected):
    assert crashkernel.parse(values).reserve(ram) == expected


def test_the_reason_is_a_sentence():
    value = crashkernel.parse(["2G-64G:256M"])
    assert value.explain(G).why == "No range holds the RAM of 1024 MiB."
    assert value.explain(2 * G).why == "RAM of 2048 MiB is in the range 2G-64G:256M."
    assert value.explain(128 * M).why == "The kernel stops at 2G-64G:256M: that is not less than the RAM of 128 MiB."
    assert Crashkernel(size=G).explain(G).why == "1G is not less than the RAM of 1024 MiB."
    assert Crashkernel().explain(G) == (0, "No base size is given.")


# What stands on a booted command line may be anything; expected: the reservation with 8 GiB of RAM.
EFFECTIVE = {
    "none": ("ro quiet", 0),
    "last plain wins": ("crashkernel=128M ro crashkernel=256M", 256 * M),
    "plain makes high ignored": ("crashkernel=256M crashkernel=1G,high", 256 * M),
    "a bad last plain is not replaced": ("crashkernel=256M crashkernel=auto", 0),
    "a bad plain makes high ignored too": ("crashkernel=auto crashkernel=1G,high", 0),
    "zero plain makes high ignored too": ("crashkernel=0 crashkernel=1G,high", 0),
    "high": ("crashkernel=1G,high crashkernel=128M,low", G),
    "last high wins": ("crashkernel=1G,high crashkernel=2G,high", 2 * G),
    "a bad low spoils high": ("crashkernel=1G,high crashkernel=x,low", 0),
    "low alone": ("crashkernel=128M,low", 0),
    "cma alone": ("crashkernel=128M,cma", 0),
    "a bad cma spoils nothing": ("crashkernel=256M crashkernel=x,cma", 256 * M),
    "in quotes the kernel finds it too": ('x="a crashkernel=256M b"', 256 * M),
    "quoted values it cannot read": ('crashkernel="256M"', 0),
    "at the end of /proc/cmdline": ("ro crashkernel=256M\n", 256 * M),
    "a tab does not end it": ("crashkernel=256M\tro", 0),
}


@pytest.mark.parametrize("cmdline, expected", EFFECTIVE.values(), ids=list(EFFECTIVE))
def test_effective(cmdline, expected):
    assert crashkernel.effective(crashkernel.find(cmdline)).reserve(8 * G) == expected


def test_find_takes_every_occurrence_as_strstr_does():
    assert crashkernel.find("a=b crashkernel=1G,high xcrashkernel=2 crashkernel=crashkernel=3") == [
        "1G,high",
        "2",
        "crashkernel=3",
        "3",
    ]


SAME = {
    "other unit": (["256M"], ["262144K"], True),
    "other order": (["1G,high", "128M,low"], ["128M,low", "1024M,high"], True),
    "ranges in other units": (["2G-:256M"], ["2048M-:0x10000000"], True),
    "nothing": ([], [], True),
    "something and nothing": (["256M"], [], False),
    "nothing and something": ([], ["256M"], False),
    "other size": (["256M"], ["257M"], False),
    "one too many": (["128M", "256M"], ["256M"], False),
    "unreadable": (["auto"], ["auto"], False),
}


@pytest.mark.parametrize("found, wanted, expected", SAME.values(), ids=list(SAME))
def test_same(found, wanted, expected):
    assert crashkernel.same(found, wanted) is expected


SIZES = st.integers(min_value=M, max_value=(1 << 64) - 1)


@st.composite
def crashkernels(draw):
    kind = draw(st.sampled_from(["size", "ranges", "high"]))
    cma = draw(st.sampled_from([0, 64 * M, G + K]))
    offset = draw(st.sampled_from([0, 16 * M, 5 * M + K]))
    if kind == "size":
        return Crashkernel(size=draw(SIZES), offset=offset, cma=cma)
    if kind == "high":
        return Crashkernel(high=draw(SIZES), low=draw(st.none() | st.just(0) | SIZES), cma=cma)
    bounds = sorted(draw(st.sets(SIZES, min_size=2, max_size=6)))
    ends = bounds[1:-1] + [draw(st.sampled_from([None, bounds[-1]]))]
    ranges = tuple(Range(start, end, draw(SIZES)) for start, end in zip(bounds, ends))
    return Crashkernel(ranges=ranges, offset=offset, cma=cma)


@given(crashkernels())
def test_text_and_back(value):
    assert crashkernel.parse(value.values()) == value
    assert crashkernel.effective(value.values()) == value
    assert crashkernel.parse(value.values()[::-1]) == value


@given(crashkernels(), st.integers(min_value=0, max_value=1 << 64))
def test_never_more_is_reserved_than_there_is(value, ram):
    assert 0 <= value.reserve(ram) <= max(ram - 1, 0)
    assert value.explain(ram).why


@given(st.lists(st.text(alphabet='0179xKMGE-:,@. highlowcma"', max_size=30), max_size=3))
def test_any_text_is_read_or_refused(values):
    try:
        value = crashkernel.parse(values)
    except KdumpError as error:
        assert all(problem.message and problem.hint for problem in error.problems)
    else:
        assert crashkernel.parse(value.values()) == value


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64"])
def test_recommended_values_have_no_gaps_and_grow_with_ram(machine):
    value = crashkernel.recommend(machine)
    assert crashkernel.host_problems(value, machine, "6.12.0") == []
    sizes = [value.reserve(ram) for ram in (G, 2 * G, 4 * G, 8 * G, 64 * G, T, 8 * T)]
    assert 0 < sizes[0] and sizes == sorted(sizes)


def test_the_measured_guest_gets_more_than_was_measured_to_work():
    assert crashkernel.recommend("x86_64").reserve(2 * G - 4 * M) == 128 * M


HOST = {
    "offset not aligned": (["256M@17M"], "x86_64", "6.12.0", 1),
    "offset elsewhere": (["256M@17M"], "aarch64", "6.12.0", 0),
    "cma with a size is ignored by old kernels": (["256M", "64M,cma"], "x86_64", "6.12.0", 0),
    "cma with high spoils it there": (["1G,high", "64M,cma"], "x86_64", "6.12.48+deb13-amd64", 1),
    "cma with high": (["1G,high", "64M,cma"], "x86_64", "6.17.0-rc1", 0),
    "strange release": (["1G,high", "64M,cma"], "x86_64", "custom", 1),
}


@pytest.mark.parametrize("values, machine, release, count", HOST.values(), ids=list(HOST))
def test_what_this_host_cannot_do(values, machine, release, count):
    assert len(crashkernel.host_problems(crashkernel.parse(values), machine, release)) == count


RELEASES = {
    "RHEL 8": ("4.18.0-553.el8_10.x86_64", True),
    "Oracle's for EL 8": ("5.4.17-2136.el8uek.x86_64", True),
    "RHEL 9": ("5.14.0-503.11.1.el9_5.x86_64", False),
    "mainline packaged for EL 8": ("6.1.5-1.el8.elrepo.x86_64", False),
    "Debian": ("4.18.0-1-amd64", False),
}


@pytest.mark.parametrize("release, expected", RELEASES.values(), ids=list(RELEASES))
def test_which_kernels_know_auto(release, expected):
    kernel = Kernel(release, "x86_64")
    assert crashkernel.knows_auto(kernel) is expected
    assert crashkernel.effective(["auto"], kernel).reserve(8 << 30) == ((192 << 20) if expected else 0)
    outcome = crashkernel.outcome(["auto"], 8 << 30, kernel)
    assert outcome.bytes == ((192 << 20) if expected else 0)
    assert outcome.why.startswith("RAM of 8192 MiB" if expected else "Only the kernels of RHEL 8")


def test_auto_is_the_last_plain_value_or_nothing():
    kernel = Kernel("6.12.0", "x86_64")
    assert crashkernel.outcome(["auto", "256M"], 8 << 30, kernel).bytes == 256 << 20
    assert crashkernel.outcome(["256M", "auto"], 8 << 30, kernel).bytes == 0
