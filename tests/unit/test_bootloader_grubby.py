# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""contract/transcripts/grubby-8.40-63.el9.txt is what grubby printed, contract/bin/grubby what it does."""

import os
import subprocess
import sys

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import reservation, sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import bls, choice, grubby
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.contract import host as contract
from ansible_collections.vmcore.kdump.tests.contract.host import (
    OLD_RELEASE,
    OPTIONS,
    RELEASE,
    TRANSCRIPTS,
    ContractHost,
    entry_path,
    grubenv,
)

TRANSCRIPT = (TRANSCRIPTS / "grubby-8.40-63.el9.txt").read_text()
NEW = "/boot/vmlinuz-5.14.0-503.11.1.el9_5.x86_64"
OLD = "/boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64"
RESCUE = "/boot/vmlinuz-0-rescue-fdbda188c010478586c8f758e03a9909"
TOOLS = ["grubby", "grub2-mkconfig"]
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
        "0",
        NEW,
        "ro resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap console=tty0 console=ttyS0,115200n8 "
        'dyndbg="file drivers/usb/* +p" crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M',
        "/dev/mapper/rhel-root",
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
    assert argv[3:] == (["--no-etc-grub-update"] if selector == "ALL" else [])
    assert " ".join(argv[:3]) == expected
    assert outputs(expected) == [("", 0)]


def test_difference():
    assert grubby.difference(printed(1), "ALL", "0", ["512M"]) == []
    assert grubby.difference(printed(1), "ALL", "0", ["524288K"]) == []
    assert len(grubby.difference(printed(0), "ALL", "0", ["512M"])) == 3
    assert grubby.difference(printed(2), "DEFAULT", "0", []) == []
    assert grubby.difference(printed(2), OLD, "0", ["1G,high", "256M,low"]) == []
    (problem,) = grubby.difference(printed(0), "DEFAULT", "0", ["512M"])
    assert "reported success" in problem.message and RANGES[0] in problem.message
    assert grubby.difference([], "ALL", "", ["512M"]) != []
    assert grubby.difference(printed(0), "/boot/vmlinuz-9", "0", ["512M"]) != []


UPDATE = "grubby --update-kernel=ALL --args=crashkernel=512M --no-etc-grub-update"
ENTRY, OLD_ENTRY, RESCUE_ENTRY = (entry_path(release) for release in (RELEASE, OLD_RELEASE, contract.RESCUE))
USUAL = OPTIONS.replace("crashkernel=" + contract.RANGES, "crashkernel=512M")


@pytest.fixture
def host(tmp_path):
    return ContractHost(tmp_path, TOOLS)


def converge(host, values=("512M",), kernels=("ALL",)):
    """As the module does: a plan, applied, and nothing left to do. What was done."""
    plan = grubby.plan(host, list(values), list(kernels))
    plan.apply(host)
    again = grubby.plan(host, list(values), list(kernels))
    assert again.actions == [] and again.diff() == []
    return plan.actions


def options(host, path=ENTRY):
    return [line[8:] for line in host.read_text(path).splitlines() if line.startswith("options ")][0]


def updates(host):
    return [" ".join(argv) for argv in host.calls if any(word.startswith("--update-kernel") for word in argv)]


def refused(host, values=("512M",), kernels=("ALL",)):
    """The problems of a plan that is refused, or fails, with every file as it was."""
    before = host.snapshot()
    with pytest.raises(KdumpError) as caught:
        grubby.plan(host, list(values), list(kernels)).apply(host)
    assert host.snapshot() == before
    return [problem.message for problem in caught.value.problems]


def test_all_kernels_and_the_files_of_later_ones(host):
    assert converge(host) == ["write /etc/default/grub", "write /etc/kernel/cmdline", UPDATE]
    assert options(host) == options(host, OLD_ENTRY) == USUAL
    assert options(host, RESCUE_ENTRY) == contract.RESCUE_OPTIONS + " crashkernel=512M"
    assert host.read_text("/etc/default/grub") == contract.DEFAULT_GRUB.replace(
        'rhel/root"', 'rhel/root crashkernel=512M"'
    )
    assert updates(host) == [UPDATE]


def test_a_later_kernel_gets_the_arguments_of_the_one_that_boots_and_not_of_the_rescue_entry(host):
    """The surprise of the transcript: without the file, grubby makes it of the last entry."""
    converge(host)
    assert host.read_text("/etc/kernel/cmdline") == USUAL + "\n"


def test_another_value_and_none(host):
    converge(host)
    converge(host, ["1G,high", "256M,low"])
    assert options(host).endswith("crashkernel=1G,high crashkernel=256M,low")
    converge(host, [])
    for text in [options(host), host.read_text("/etc/default/grub"), host.read_text("/etc/kernel/cmdline")]:
        assert "crashkernel" not in text


def test_check_mode_touches_nothing(host):
    before = host.snapshot()
    plan = grubby.plan(host, ["512M"], ["ALL"])
    assert host.snapshot() == before and updates(host) == []
    assert "0-rescue-fdbda188c010478586c8f758e03a9909) 9.5 (Plow): no crashkernel=" in plan.diff()[2]["before"]
    assert plan.diff()[2]["after"].count("crashkernel=512M") == 3


def test_entries_that_are_right_leave_the_other_files_to_be_put_right(host):
    converge(host)
    host.put("/etc/default/grub", contract.DEFAULT_GRUB)
    assert converge(host) == ["write /etc/default/grub"]
    host.put("/etc/kernel/cmdline", "ro crashkernel=1G\n")
    assert converge(host) == ["write /etc/kernel/cmdline"]
    assert host.read_text("/etc/kernel/cmdline") == "ro crashkernel=512M\n"


# --- /etc/default/grub as grubby would have damaged it (test_contract_grubby.py) ------------------------------------
DEFAULT_GRUBS = {
    "an EL9 file": (
        'GRUB_DISTRIBUTOR="$(sed \'s, release .*$,,g\' /etc/system-release)"\nGRUB_CMDLINE_LINUX="quiet"\n',
        "GRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/system-release)\"\n"
        'GRUB_CMDLINE_LINUX="quiet crashkernel=512M"\n',
    ),
    "GRUB_CMDLINE_LINUX_DEFAULT stays": (
        'GRUB_CMDLINE_LINUX="a"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n',
        'GRUB_CMDLINE_LINUX="a crashkernel=512M"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n',
    ),
    "and loses its own value": (
        'GRUB_CMDLINE_LINUX="a"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet crashkernel=1G"\n',
        'GRUB_CMDLINE_LINUX="a crashkernel=512M"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n',
    ),
    "an empty one": ('GRUB_CMDLINE_LINUX=""\n', "GRUB_CMDLINE_LINUX=crashkernel=512M\n"),
    "none": ("GRUB_TIMEOUT=5\n", "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=crashkernel=512M\n"),
    "quotes within": (
        'GRUB_CMDLINE_LINUX="dyndbg=\\"file a +p\\" x"\n',
        'GRUB_CMDLINE_LINUX="dyndbg=\\"file a +p\\" x crashkernel=512M"\n',
    ),
}


@pytest.mark.parametrize("before, after", DEFAULT_GRUBS.values(), ids=list(DEFAULT_GRUBS))
def test_default_grub(host, before, after):
    host.put("/etc/default/grub", before)
    converge(host)
    found, expected = (sysconfig.read(text) for text in (host.read_text("/etc/default/grub"), after))
    assert [(one.name, one.value, one.why) for one in found] == [(one.name, one.value, one.why) for one in expected]


def test_a_default_grub_that_needs_a_shell_is_refused_by_name(host):
    host.put("/etc/default/grub", 'GRUB_CMDLINE_LINUX="$(cat /etc/args)"\n')
    assert "GRUB_CMDLINE_LINUX in /etc/default/grub holds an expansion" in refused(host)[0]


MKCONFIG = {
    "EL 8": ("8", []),
    "EL 9.2 makes every entry anew": ("9.2", []),
    "EL 9.3 leaves them": ("9.3", []),
    "EL 9.3 when told to": ("9.3", ["--update-bls-cmdline"]),
}


@pytest.mark.parametrize("release, arguments", MKCONFIG.values(), ids=list(MKCONFIG))
def test_grub2_mkconfig_afterwards_does_not_lose_the_reservation(host, release, arguments):
    converge(host)
    host.env["KDUMP_CONTRACT_EL"] = release
    assert host.run(["grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"] + arguments).rc == 0
    for line in (options(host), host.read_text("/boot/grub2/grubenv"), host.read_text("/etc/kernel/cmdline")):
        assert "crashkernel=512M" in line or (line.startswith("# GRUB") and release != "8")


# --- EL8: $kernelopts ----------------------------------------------------------------------------------------------
@pytest.fixture
def el8(host):
    host.put("/boot/grub2/grubenv", grubenv(kernelopts="root=/dev/a ro x=1 crashkernel=auto ", saved_entry="gone"))
    for release in (RELEASE, OLD_RELEASE):
        host.put(entry_path(release), contract.entry_text(release, "$kernelopts $tuned_params"))
    return host


def test_kernelopts_of_grubenv(el8):
    assert converge(el8)[-1] == UPDATE
    assert options(el8) == "$kernelopts $tuned_params"
    assert "\nkernelopts=root=/dev/a ro x=1 crashkernel=512M\n" in el8.read_text("/boot/grub2/grubenv")
    assert el8.read_text("/etc/kernel/cmdline") == "root=/dev/a ro x=1 crashkernel=512M\n"
    assert {entry.values for entry in grubby.entries(el8)} == {("512M",)}


def test_kernelopts_that_grubenv_does_not_hold(el8):
    """grubby passes over such entries and exits with 0."""
    el8.put("/boot/grub2/grubenv", grubenv())
    assert "$kernelopts, which grubenv does not hold" in refused(el8)[0]
    assert updates(el8) == []


def test_a_grubenv_without_room(el8):
    el8.put("/boot/grub2/grubenv", grubenv(kernelopts="ro " + "x" * 980))
    assert "has no room" in refused(el8)[0]


def test_a_single_kernel_gets_options_of_its_own(el8):
    converge(el8, ["1G"], [contract.KERNEL])
    assert options(el8) == "root=/dev/a ro x=1 $tuned_params crashkernel=1G"
    assert options(el8, OLD_ENTRY) == "$kernelopts $tuned_params"


def test_kernelopts_that_grubby_would_damage(el8):
    el8.put("/boot/grub2/grubenv", grubenv(kernelopts="ro a=1&2"))
    assert "hold &, which sed" in refused(el8)[0] and updates(el8) == []


def test_grubby_55_later_kernels_of_el8_go_by_kernelopts(el8):
    converge(el8, ["1G"], [contract.KERNEL])
    assert (
        "kernelopts in grubenv, which has crashkernel=auto" in grubby.notes(el8, ["1G"], [contract.KERNEL])[-1].message
    )


# --- lies: exit code 0 ---------------------------------------------------------------------------------------------
def ignores(host, word):
    """A grubby that takes such a call, changes nothing and is content."""
    real = host.read_text("/usr/bin/grubby")
    host.program("grubby", "import sys\nif any(a.startswith(%r) for a in sys.argv): sys.exit(0)\n%s" % (word, real))


def test_kdump_utils_155_success_is_reported_and_nothing_changed(host):
    """kdumpctl reset-crashkernel prints `Updated` then, because it believes grubby."""
    ignores(host, "--update-kernel")
    found = refused(host)
    assert len([message for message in found if "grubby reported success, but the entry" in message]) == 3
    assert found[-1] == "All boot entries are as they were before."


def test_an_entry_that_cannot_be_written(host):
    host.put(OLD_ENTRY, host.read_text(OLD_ENTRY), 0o444)
    found = refused(host)
    assert len(found) == 2 and OLD_RELEASE in found[0] and contract.RANGES in found[0]


def test_a_full_boot(host):
    host.env["KDUMP_CONTRACT_FULL"] = "/boot"
    assert "grubby reported success, but the entry" in refused(host)[0]


def test_a_grubby_that_changes_more_than_it_should(host):
    real = host.read_text("/usr/bin/grubby")
    loop = "for arg in add_args.split():"
    host.program("grubby", real.replace(loop, "args = args.replace('console=tty0', '')\n    " + loop))
    found = refused(host)
    assert "grubby changed more than crashkernel= in /etc/kernel/cmdline" in found[0]
    assert "grubby changed more than crashkernel= in the entry" in found[1]


def test_a_grubby_that_fails(host):
    host.program(
        "grubby",
        "import sys\nif '--info=ALL' not in sys.argv: sys.exit('broken')\nprint('index=0')\nprint('kernel=\"/boot/a\"')\n",
    )
    assert "grubby --default-index failed (exit code 1): broken" in refused(host)[0]


def test_hosts_without_any_boot_loader_entry_are_an_error_by_name(host):
    """grubby --update-kernel=ALL does nothing there, and exits with 0 (see the end of the transcript)."""
    for path in host.glob(contract.ENTRIES + "/*.conf"):
        host.remove(path)
    assert "no boot entry" in refused(host)[0]
    with pytest.raises(KdumpError, match="grubby changes nothing on this host, and would say that it did"):
        choice.choose(host, "auto")


def test_a_grub_that_does_not_read_the_entries_is_an_error_by_name(host):
    """GRUB_ENABLE_BLSCFG=false: grubby changes files that nobody reads."""
    host.put("/boot/grub2/grub.cfg", "menuentry 'Red Hat' {\nlinux /vmlinuz ro\n}\n")
    host.put("/boot/efi/EFI/redhat/grub.cfg", "configfile $prefix/grub.cfg\n")
    for wanted in ("auto", "grubby", "bls"):
        with pytest.raises(KdumpError, match="GRUB does not read the boot loader entries of this host"):
            choice.choose(host, wanted)
    host.put("/boot/efi/EFI/redhat/grub.cfg", "insmod blscfg\nblscfg\n")
    assert choice.choose(host, "auto") == "grubby"


# --- what grubby's sed would damage --------------------------------------------------------------------------------
DAMAGED = {
    "an ampersand": ("ro a=1&2", "hold &, which sed"),
    "a backslash": ("ro systemd.mask=dev-a\\x2db.swap", "hold \\, which sed"),
    "blanks within quotes": ('ro dyndbg="file a  +p"', "blanks that it would not keep"),
    "crashkernel= inside quotes": ('ro dyndbg="file a crashkernel=1G" x', "crashkernel= inside of another argument"),
    "two lines of options": ("ro\noptions quiet", "more than one line of options"),
}


@pytest.mark.parametrize("line, expected", DAMAGED.values(), ids=list(DAMAGED))
def test_what_grubby_would_damage_is_refused_before_it_runs(host, line, expected):
    host.put(OLD_ENTRY, contract.entry_text(OLD_RELEASE, line))
    found = refused(host)
    assert len(found) == 1 and OLD_RELEASE in found[0] and expected in found[0]
    assert updates(host) == []
    assert converge(host, kernels=[contract.KERNEL])  # the others are none of its business


def test_crashkernel_inside_quotes_of_default_grub_and_kernel_cmdline(host):
    host.put("/etc/default/grub", "GRUB_CMDLINE_LINUX='a=\"b crashkernel=1G\"'\n")
    assert "GRUB_CMDLINE_LINUX in /etc/default/grub has crashkernel= inside of another" in refused(host)[0]
    host.put("/etc/default/grub", contract.DEFAULT_GRUB)
    host.put("/etc/kernel/cmdline", 'ro a="b crashkernel=1G"\n')
    assert "/etc/kernel/cmdline has crashkernel= inside of another" in refused(host)[0]


def test_quotes_and_the_order_of_arguments_stay(host):
    line = 'root=/dev/a "x=a b" ro crashkernel=1G dyndbg="file drivers/usb/* +p" y'
    host.put(ENTRY, contract.entry_text(RELEASE, line))
    converge(host)
    assert options(host) == 'root=/dev/a "x=a b" ro dyndbg="file drivers/usb/* +p" y crashkernel=512M'


# --- /etc/kernel/cmdline -------------------------------------------------------------------------------------------
def test_all_lines_of_kernel_cmdline_stay(host):
    """grubby alone would keep the first one."""
    host.put("/etc/kernel/cmdline", "# mine\nroot=/dev/a ro\nconsole=ttyS0 crashkernel=1G\n")
    converge(host)
    assert host.read_text("/etc/kernel/cmdline") == "root=/dev/a ro console=ttyS0 crashkernel=512M\n"


def test_an_empty_kernel_cmdline_is_what_a_power_cut_left(host):
    host.put("/etc/kernel/cmdline", "")
    converge(host)
    assert host.read_text("/etc/kernel/cmdline") == USUAL + "\n"


def test_a_kernel_cmdline_made_of_the_rescue_entry_is_told(host):
    host.put("/etc/kernel/cmdline", contract.RESCUE_OPTIONS + "\n")
    converge(host)
    (problem,) = grubby.notes(host, ["512M"], ["ALL"])
    assert "console=ttyS0,115200n8" in problem.message and "rd.lvm.lv=rhel/swap" in problem.message
    assert "rd.lvm.lv=rhel/root" not in problem.message


@pytest.mark.parametrize("calls", range(6))
def test_killed_at_any_program_it_goes_on_to_the_same_end(host, calls):
    """kill -9 before or after a call of grubby: no half file is left, and the next run converges."""
    assert killed_after(host, calls) == 9
    cmdline = host.read_text("/etc/kernel/cmdline", USUAL)
    assert cmdline.strip() == USUAL
    converge(host)
    assert options(host) == options(host, OLD_ENTRY) == host.read_text("/etc/kernel/cmdline").strip() == USUAL


def killed_after(host, calls):
    """Apply the plan in a process that dies without a word after some calls of programs; its exit code."""
    argv = [
        sys.executable,
        "-c",
        "import conftest, sys, %s as test; test.die(*sys.argv[1:])" % __name__,
        host.root,
        str(calls),
    ]
    return subprocess.run(argv, cwd=os.path.dirname(__file__), check=False).returncode


def die(root, calls):
    """What that process does, on a machine as it comes."""
    host = ContractHost(root, TOOLS)
    run, left = host.run, [int(calls)]
    plan = grubby.plan(host, ["512M"], ["ALL"])

    def dying(argv, **given):
        if not left[0]:
            os._exit(9)
        left[0] -= 1
        result = run(argv, **given)
        if not left[0]:
            os._exit(9)
        return result

    host.run = dying
    plan.apply(host)


# --- single kernels ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernels", [["DEFAULT"], [contract.KERNEL]], ids=["DEFAULT", "path"])
def test_grubby_55_a_later_kernel_does_not_get_what_single_kernels_have(host, kernels):
    host.put("/etc/kernel/cmdline", OPTIONS + "\n")
    before = host.snapshot()
    assert converge(host, kernels=kernels) == ["grubby --update-kernel=%s --args=crashkernel=512M" % kernels[0]]
    assert [path for path, data in host.snapshot().items() if before.get(path) != data] == [ENTRY]
    grub, kernel = grubby.notes(host, ["512M"], kernels)
    assert "/etc/default/grub, which has no crashkernel=" in grub.message and "grubby#55" in grub.hint
    assert "/etc/kernel/cmdline, which has crashkernel=" + contract.RANGES in kernel.message
    converge(host)
    assert grubby.notes(host, ["512M"], ["ALL"]) == []


def test_single_kernels(host):
    host.put(ENTRY, contract.entry_text(RELEASE, "ro"))
    assert grubby.plan(host, [], ["DEFAULT"]).actions == []
    assert grubby.plan(host, [], ["DEFAULT", OLD]).actions == [
        "grubby --update-kernel=%s --remove-args=crashkernel" % OLD
    ]
    with pytest.raises(KdumpError, match="/boot/vmlinuz-9.9.9"):
        grubby.plan(host, [], ["/boot/vmlinuz-9.9.9"])


def test_a_default_that_is_not_there_is_refused_where_grubby_would_do_nothing(host):
    host.put("/boot/grub2/grubenv", grubenv(saved_entry="gone"))
    assert "Which boot entry is the default cannot be told" in refused(host, kernels=["DEFAULT"])[0]


def test_the_default_is_one_entry_though_two_boot_its_kernel(host):
    debug = entry_path(RELEASE).replace(".conf", "~debug.conf")
    host.put(debug, host.read_text(ENTRY).replace("title Red", "title Debug Red"))
    assert [entry.default for entry in grubby.entries(host)].count(True) == 1
    converge(host, kernels=["DEFAULT"])
    assert options(host, debug) == OPTIONS


# --- s390x ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def s390x(tmp_path):
    files = {"/etc/zipl.conf": "[defaultboot]\ndefaultauto\ntarget=/boot\n", "/boot/grub2/grub.cfg": None,
             "/boot/grub2/grubenv": None, "/etc/default/grub": None}  # fmt: skip
    host = ContractHost(tmp_path, ["grubby", "zipl"], files, machine="s390x")
    assert host.run(["zipl"]).rc == 0
    return host


def test_zipl_runs_afterwards(s390x):
    assert converge(s390x) == ["write /etc/kernel/cmdline", UPDATE, "zipl"]
    assert s390x.read("/boot/bootmap").count(b"crashkernel=512M\0") == 3


def test_zipl_runs_where_it_was_not_run_after_a_change(s390x):
    """A kill -9 between grubby and zipl, or a change by hand: the entries are right, and the next boot is not."""
    converge(s390x)
    s390x.put("/boot/bootmap", s390x.read("/boot/bootmap").replace(b"512M", b"128M"))
    assert converge(s390x) == ["zipl"]
    os.utime(s390x.path("/boot/bootmap"), (1, 1))
    assert converge(s390x) == ["zipl"]


def test_zipl_that_fails_puts_the_entries_back(s390x):
    s390x.env["KDUMP_CONTRACT_FULL"] = "/boot"
    s390x.program(
        "grubby", s390x.read_text("/usr/bin/grubby").replace('os.environ.get("KDUMP_CONTRACT_FULL", "")', '""')
    )
    found = refused(s390x)
    assert "zipl failed (exit code 1)" in found[0] and "No space left" in found[0]


def test_a_command_line_that_is_too_long_for_s390x(s390x):
    s390x.put(OLD_ENTRY, contract.entry_text(OLD_RELEASE, "ro " + "x" * 880))
    assert "exceeds the allowed maximum" in refused(s390x)[0]


def test_zipl_that_only_says_that_it_did(s390x):
    s390x.program("zipl", "print('Done.')\n")
    assert "zipl reported success, but /boot/bootmap does not hold crashkernel=512M" in refused(s390x)[0]


def test_without_zipl_nothing_is_touched(s390x):
    s390x.remove("/usr/bin/zipl")
    assert "zipl is missing" in refused(s390x)[0] and updates(s390x) == []


def test_entries_edited_in_place_reach_the_boot_map_too(s390x):
    s390x.remove("/usr/bin/grubby")
    assert choice.choose(s390x, "auto") == "bls"
    plan = bls.plan(s390x, ["512M"], ["ALL"])
    plan.apply(s390x)
    assert plan.actions[-1] == "zipl" and not bls.plan(s390x, ["512M"], ["ALL"]).changed
    assert s390x.read("/boot/bootmap").count(b"crashkernel=512M\0") == 3


def test_a_default_grub_follows_entries_edited_in_place(host):
    """For what grubby refuses, bls is advised: it leaves nothing out."""
    host.put(OLD_ENTRY, contract.entry_text(OLD_RELEASE, "ro a=1&2"))
    host.put("/etc/kernel/cmdline", "ro a=1&2\n")
    bls.plan(host, ["512M"], ["ALL"]).apply(host)
    assert options(host, OLD_ENTRY) == host.read_text("/etc/kernel/cmdline").strip() == "ro a=1&2 crashkernel=512M"
    assert "crashkernel=512M" in host.read_text("/etc/default/grub")
    assert grubby.plan(host, ["512M"], ["ALL"]).actions == []


# --- as the module has it ------------------------------------------------------------------------------------------
def params(**given):
    usual = {"value": "512M", "state": "present", "kernels": ["ALL"], "bootloader": "auto", "_check": False}
    return dict(usual, _advice=lambda host: None, **given)


@pytest.mark.parametrize("kernels", [["ALL"], ["DEFAULT"], [contract.OLD_KERNEL]], ids=["ALL", "DEFAULT", "path"])
def test_check_mode_tells_what_a_real_run_does(host, kernels):
    before = host.snapshot()
    given = dict(params(), kernels=kernels, _check=True)
    plan = reservation.decide(host, given)
    predicted = reservation.report(host, given)
    assert host.snapshot() == before and predicted["bootloader"] == "grubby"
    given = dict(params(), kernels=kernels)
    again = reservation.decide(host, given)
    assert again.diff() == plan.diff()
    again.apply(host)
    assert reservation.report(host, given) == predicted
    assert not reservation.decide(host, dict(params(), kernels=kernels)).changed


def test_a_mistake_in_each_part_is_named_at_once(host):
    host.put(OLD_ENTRY, contract.entry_text(OLD_RELEASE, "ro a=1&2"))
    with pytest.raises(KdumpError) as caught:
        reservation.decide(host, dict(params(), value="1.5G"))
    assert [problem.option for problem in caught.value.problems] == ["value", "bootloader"]
