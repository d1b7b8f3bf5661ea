# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import cmdline


@pytest.mark.parametrize(
    "line, arguments",
    [
        ("", []),
        ("  ro  quiet\n", ["ro", "quiet"]),
        ('dyndbg="file drivers/usb/* +p" quiet', ['dyndbg="file drivers/usb/* +p"', "quiet"]),
        ('"foo=a b" c', ['"foo=a b"', "c"]),
        ('foo="a b', ['foo="a b']),
    ],
)
def test_split(line, arguments):
    assert cmdline.split(line) == arguments


def test_values_are_in_order_and_unquoted():
    arguments = cmdline.split('crashkernel=1G,high x crashkernel=256M,low "a-b=c d" flag')
    assert cmdline.values(arguments, "crashkernel") == ["1G,high", "256M,low"]
    assert cmdline.values(arguments, "a_b") == ["c d"]
    assert cmdline.values(arguments, "flag") == [""]
    assert cmdline.values(arguments, "none") == []


def test_without_takes_every_occurrence_and_nothing_else():
    arguments = cmdline.split("panic=5 panicAx=1 panic=6 log-buf-len=1M")
    assert cmdline.without(arguments, ["panic", "log_buf_len"]) == ["panicAx=1"]
