# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""transcripts/grubby-8.40-63.el9.txt is what grubby printed, command by command."""

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import grubby
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.contract.host import TRANSCRIPTS

TRANSCRIPT = (TRANSCRIPTS / "grubby-8.40-63.el9.txt").read_text()
NEW = "/boot/vmlinuz-5.14.0-503.11.1.el9_5.x86_64"
OLD = "/boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64"
RESCUE = "/boot/vmlinuz-0-rescue-fdbda188c010478586c8f758e03a9909"
RANGES = ("1G-4G:192M,4G-64G:256M,64G-:512M",)


def outputs(command):
    """Every output of a command in the transcript, with its exit code."""
    found = []
    for part in TRANSCRIPT.split("$ ")[1:]:
        line, rest = part.split("\n", 1)
        if line == command:
            out, dummy, rc = rest.partition("[exit ")
            found.append((out, int(rc.split("]")[0])))
    return found


INFO = outputs("grubby --info=ALL")


def printed(number):
    return grubby.parse_info(INFO[number][0])


def test_the_transcript_holds_what_the_tests_use():
    assert [rc for dummy, rc in INFO] == [0, 0, 0, 0]


def test_parse_info():
    first, second, rescue = printed(0)
    assert first == grubby.Info(
        NEW,
        "ro resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap console=tty0 console=ttyS0,115200n8 "
        'dyndbg="file drivers/usb/* +p" crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M',
        "Red Hat Enterprise Linux (5.14.0-503.11.1.el9_5.x86_64) 9.5 (Plow)",
        "fdbda188c010478586c8f758e03a9909-5.14.0-503.11.1.el9_5.x86_64",
    )
    assert second.kernel == OLD
    assert (rescue.kernel, rescue.args) == (RESCUE, "ro rd.lvm.lv=rhel/root")
    assert printed(3) == []


def test_quotes_at_the_end_of_args_stay():
    assert printed(2)[0].args.endswith('console=ttyS0,115200n8 dyndbg="file drivers/usb/* +p"')


BROKEN = {
    "nothing": "",
    "an error": "The param /boot/vmlinuz-9.9.9 is incorrect\n",
    "no index": 'kernel="/boot/vmlinuz"\n',
    "index without a kernel": 'index=0\nargs="ro"\n',
    "other boot loaders": "index=0\nnon linux entry\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_what_is_no_entry_is_passed_over(text):
    assert grubby.parse_info(text) == []


COMMANDS = {
    "ALL": ("ALL", ["512M"], "grubby --update-kernel=ALL --args=crashkernel=512M"),
    "high and low in one call": (
        OLD,
        ["1G,high", "256M,low"],
        "grubby --update-kernel=%s --args=crashkernel=1G,high crashkernel=256M,low" % OLD,
    ),
    "remove": ("DEFAULT", [], "grubby --update-kernel=DEFAULT --remove-args=crashkernel"),
}


@pytest.mark.parametrize("selector, values, expected", COMMANDS.values(), ids=list(COMMANDS))
def test_the_commands_are_those_that_were_tried(selector, values, expected):
    argv = grubby.update_argv(selector, values)
    assert len(argv) == 3
    assert " ".join(argv) == expected
    assert outputs(expected) == [("", 0)]


def test_difference():
    assert grubby.difference(printed(1), "ALL", NEW, ["512M"]) == []
    assert grubby.difference(printed(1), "ALL", NEW, ["524288K"]) == []
    assert len(grubby.difference(printed(0), "ALL", NEW, ["512M"])) == 3
    assert grubby.difference(printed(2), "DEFAULT", NEW, []) == []
    assert grubby.difference(printed(2), OLD, NEW, ["1G,high", "256M,low"]) == []
    (problem,) = grubby.difference(printed(0), "DEFAULT", NEW, ["512M"])
    assert "reported success" in problem.message and RANGES[0] in problem.message
    assert grubby.difference([], "ALL", "", ["512M"]) != []
    assert grubby.difference(printed(0), "/boot/vmlinuz-9", NEW, ["512M"]) != []


class RedHat:
    """grubby answering with the transcript; update number n makes `grubby --info=ALL` print info[n]."""

    def __init__(self, root, info, creates=None):
        self.info, self.creates, self.updates = info, creates, []
        self.host = Host(str(root), runner=self.run)

    def run(self, argv, **options):
        if argv[1] == "--default-kernel":
            return Result(argv, 0, NEW + "\n", "")
        if argv[1] == "--info=ALL":
            return Result(argv, 0, INFO[self.info[len(self.updates)]][0], "")
        assert argv[1].startswith("--update-kernel=")
        self.updates.append(argv[1:])
        if self.creates:
            self.host.write("/etc/kernel/cmdline", self.creates)
        return Result(argv, 0, "", "")


def test_apply_and_read_back(tmp_path):
    redhat = RedHat(tmp_path, [0, 1])
    plan = grubby.plan(redhat.host, ["512M"], ["ALL"])
    assert plan.actions == ["grubby --update-kernel=ALL --args=crashkernel=512M"]
    assert "0-rescue-fdbda188c010478586c8f758e03a9909) 9.5 (Plow): no crashkernel=" in plan.diff()[0]["before"]
    plan.apply(redhat.host)
    assert not grubby.plan(redhat.host, ["512M"], ["ALL"]).changed


def test_success_without_effect_is_a_failure(tmp_path):
    redhat = RedHat(tmp_path, [0, 0])
    with pytest.raises(KdumpError, match="reported success") as caught:
        grubby.plan(redhat.host, ["512M"], ["ALL"]).apply(redhat.host)
    assert len(caught.value.problems) == 3


def test_a_kernel_cmdline_that_grubby_invents_is_taken_away(tmp_path):
    redhat = RedHat(tmp_path, [0, 1], creates=b"root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root\n")
    grubby.plan(redhat.host, ["512M"], ["ALL"]).apply(redhat.host)
    assert not redhat.host.exists("/etc/kernel/cmdline")


def test_a_kernel_cmdline_of_the_admin_stays(tmp_path):
    redhat = RedHat(tmp_path, [0, 1])
    redhat.host.write("/etc/kernel/cmdline", b"ro\n")
    grubby.plan(redhat.host, ["512M"], ["ALL"]).apply(redhat.host)
    assert redhat.host.exists("/etc/kernel/cmdline")


def test_single_kernels(tmp_path):
    redhat = RedHat(tmp_path, [2])
    assert grubby.plan(redhat.host, [], ["DEFAULT"]).actions == []
    assert grubby.plan(redhat.host, [], ["DEFAULT", OLD]).actions == [
        "grubby --update-kernel=%s --remove-args=crashkernel" % OLD
    ]
    with pytest.raises(KdumpError, match="/boot/vmlinuz-9.9.9"):
        grubby.plan(redhat.host, [], ["/boot/vmlinuz-9.9.9"])


def test_exit_0_without_any_entry_is_not_trusted(tmp_path):
    redhat = RedHat(tmp_path, [3])
    with pytest.raises(KdumpError, match="no boot entry"):
        grubby.plan(redhat.host, ["512M"], ["ALL"])


def test_a_grubby_that_fails(tmp_path):
    host = Host(str(tmp_path), runner=lambda argv, **options: Result(argv, 1, "grubby: unrecognized option\n", ""))
    with pytest.raises(KdumpError, match="unrecognized option"):
        grubby.entries(host)
