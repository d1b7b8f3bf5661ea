# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils import crashkernel
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import entry
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader.entry import Entry
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

EDITS = {
    "appended": (["ro quiet\n"], ["256M"], ["ro quiet crashkernel=256M\n"]),
    "appended before blanks at the end": (["ro  \t\r\n"], ["256M"], ["ro crashkernel=256M  \t\r\n"]),
    "to an empty line": ([""], ["256M"], ["crashkernel=256M"]),
    "in its place": (["a crashkernel=1G  b\n"], ["256M"], ["a crashkernel=256M  b\n"]),
    "in the first one's place": (
        ["a  crashkernel=1G,high b crashkernel=2M,low c"],
        ["3G,high", "4M,low"],
        ["a  crashkernel=3G,high crashkernel=4M,low b c"],
    ),
    "at the start": (["crashkernel=1G a"], ["256M"], ["crashkernel=256M a"]),
    "removed": (["a  crashkernel=1G b crashkernel=2G\n"], [], ["a b\n"]),
    "removed at the start": (["crashkernel=1G  a\n"], [], ["a\n"]),
    "removed alone": (["crashkernel=1G"], [], [""]),
    "nothing to remove": (["a  b \n"], [], ["a  b \n"]),
    "quoted whole": (['a "crashkernel=1G" b'], ["256M"], ["a crashkernel=256M b"]),
    "another name": (["xcrashkernel=1 crashkernel.x=2"], ["256M"], ["xcrashkernel=1 crashkernel.x=2 crashkernel=256M"]),
    "variables and quotes are left": (
        ['$kernelopts dyndbg="file x/* +p" $tuned_params\n'],
        ["256M"],
        ['$kernelopts dyndbg="file x/* +p" $tuned_params crashkernel=256M\n'],
    ),
    "the first of two lines": (["a crashkernel=1M\n", "b crashkernel=2M\n"], ["256M"], ["a crashkernel=256M\n", "b\n"]),
    "the second of two lines": (["a\n", "crashkernel=2M b\n"], ["256M"], ["a\n", "crashkernel=256M b\n"]),
    "the last of two lines": (["a\n", "b\n"], ["256M"], ["a\n", "b crashkernel=256M\n"]),
}


@pytest.mark.parametrize("lines, values, expected", EDITS.values(), ids=list(EDITS))
def test_edit(lines, values, expected):
    assert entry.edit(lines, values) == expected
    assert entry.edit(expected, values) == expected


WORDS = st.sampled_from(["ro", 'dyndbg="file x +p"', "$tuned_params", "crashkernel=1G", "crashkernel=2G,high", "é"])


@given(st.lists(st.lists(WORDS, max_size=5).map(" ".join), min_size=1, max_size=3), st.sampled_from([[], ["256M"]]))
def test_everything_else_stays_in_its_order(lines, values):
    edited = entry.edit(lines, values)
    assert crashkernel.find(" ".join(edited)) == values
    keep = [word for word in " ".join(lines).split() if not word.startswith("crashkernel=")]
    assert [word for word in " ".join(edited).split() if not word.startswith("crashkernel=")] == keep


ENTRIES = [
    Entry("one", "/boot/vmlinuz-1", ("256M",), True),
    Entry("two", "/boot/vmlinuz-2", ()),
    Entry("again", "/boot/vmlinuz-2", ("128M",)),
]

SELECT = {
    "all": (["ALL"], ["one", "two", "again"]),
    "default": (["DEFAULT"], ["one"]),
    "path": (["/boot/vmlinuz-2"], ["two", "again"]),
    "default and path": (["DEFAULT", "/boot/vmlinuz-2"], ["one", "two", "again"]),
}


@pytest.mark.parametrize("kernels, expected", SELECT.values(), ids=list(SELECT))
def test_select(kernels, expected):
    assert entry.check_kernels(kernels) == []
    assert [one.name for one in entry.select(ENTRIES, kernels)] == expected


def test_every_kernel_that_is_not_there_is_named():
    with pytest.raises(KdumpError) as caught:
        entry.select(
            [one._replace(default=False) for one in ENTRIES], ["/boot/vmlinuz-8", "DEFAULT", "/boot/vmlinuz-9"]
        )
    assert [problem.value for problem in caught.value.problems] == ["/boot/vmlinuz-8", "DEFAULT", "/boot/vmlinuz-9"]
    assert "/boot/vmlinuz-1, /boot/vmlinuz-2" in caught.value.problems[0].hint


def test_no_entry_at_all_is_an_error():
    with pytest.raises(KdumpError, match="no boot entry"):
        entry.select([], ["ALL"])


@pytest.mark.parametrize("kernels", [[], ["0"], ["vmlinuz"], ["TITLE=x"], ["ALL", "/boot/vmlinuz-1"]])
def test_kernels_that_cannot_be(kernels):
    assert entry.check_kernels(kernels)
