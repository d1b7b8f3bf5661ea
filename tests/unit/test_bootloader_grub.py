# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""fixtures/grub-2.12-debian13.cfg was made by grub-mkconfig 2.12-9+deb13u4 of Debian 13, its device probing replaced,
with two kernels, an entry in 40_custom, and crashkernel= both in /etc/default/grub and in a drop-in of kdump-tools."""

import pathlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling import is_linear

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import grub
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "grub-2.12-debian13.cfg"
GENERATED = FIXTURE.read_text()
DASH = shutil.which("dash") or "/bin/sh"


class Debian:
    """A host whose grub-mkconfig sources the drop-ins in a real shell, and prints the fixture with their result."""

    def __init__(self, root):
        self.root = root
        self.host = Host(str(root), runner=self.run)
        self.calls = []
        self.fails = ""
        self.host.write("/etc/default/grub", b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="ro"\n')
        self.host.write("/usr/sbin/grub-mkconfig", b"for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n", 0o755)
        for name, text in (("10_linux", b"${GRUB_CMDLINE_LINUX}"), ("40_custom", b"tail"), ("30_os-prober", b"probe")):
            self.host.write("/etc/grub.d/" + name, text, 0o755)
        self.host.write(grub.CONFIG, self.config().encode(), 0o600)
        self.calls = []

    def sourced(self):
        defaults = self.host.path("/etc/default")
        script = "set -e; . %s/grub; for x in %s/grub.d/*.cfg; do if [ -e $x ]; then . $x; fi; done;" % (
            defaults,
            defaults,
        )
        script += 'printf "%s\\n" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"'
        return subprocess.check_output([DASH, "-c", script]).decode().splitlines()

    def config(self):
        linux, default = self.sourced()
        lines = []
        for line in GENERATED.splitlines():
            if line.lstrip().startswith("linux\t"):
                kernel = line.split()[1]
                recovery = " single " in line
                words = ["single", linux] if recovery else [linux, default]
                line = "\tlinux\t%s root=/dev/vda1 ro %s" % (kernel, " ".join(words))
            lines.append(line)
        return "\n".join(lines) + "\n"

    def run(self, argv, **options):
        self.calls.append(argv[0])
        if argv[0] == self.fails:
            return Result(argv, 1, "", "it broke")
        return Result(argv, 0, self.config() if argv[0] == "grub-mkconfig" else "", "")

    def values(self):
        return {one.values for one in grub.entries(self.host)}

    def state(self):
        return {path: self.host.read(path) for path in self.host.glob("/etc/default/grub.d/*") + [grub.CONFIG]}


@pytest.fixture
def debian(tmp_path):
    return Debian(tmp_path)


def test_the_real_file_is_read_with_its_submenus_and_recovery_entries():
    found = grub.parse(GENERATED)
    assert [(one.section, one.title, one.kernel) for one in found] == [
        ("/etc/grub.d/10_linux", "Debian GNU/Linux", "/boot/vmlinuz-6.12.48+deb13-amd64"),
    ] + [
        (
            "/etc/grub.d/10_linux",
            "Advanced options for Debian GNU/Linux > Debian GNU/Linux, with Linux " + title,
            kernel,
        )
        for title, kernel in (
            ("6.12.48+deb13-amd64", "/boot/vmlinuz-6.12.48+deb13-amd64"),
            ("6.12.48+deb13-amd64 (recovery mode)", "/boot/vmlinuz-6.12.48+deb13-amd64"),
            ("6.12.43+deb13-amd64", "/boot/vmlinuz-6.12.43+deb13-amd64"),
            ("6.12.43+deb13-amd64 (recovery mode)", "/boot/vmlinuz-6.12.43+deb13-amd64"),
        )
    ] + [("/etc/grub.d/40_custom", "Rescue {by hand}", "/boot/vmlinuz-6.12.43+deb13-amd64")]
    assert found[0].cmdline == (
        'root=/dev/vda1 ro console=ttyS0,115200n8 "dyndbg=file drivers/usb/* +p" quiet '
        "crashkernel=1G crashkernel=512M-:192M"
    )


PARSE = {
    "nothing": ("", []),
    "one line": ("menuentry 'a' { linux /k x; initrd /i; }", [("a", "/k", "x")]),
    "quotes": (
        """menuentry "a \\"b\\" \\$c" {\nlinux /k a='b c' d="e\\\\f" g\\ h\n}""",
        [('a "b" $c', "/k", '"a=b c" d=e\\f "g h"')],
    ),
    "a quoted title with a brace": (
        "menuentry 'a { b' {\nlinux /k\n}\nlinux /l",
        [("a { b", "/k", ""), ("", "/l", "")],
    ),
    "a comment is no command": ("# linux /k\nlinux /l # crashkernel=1G", [("", "/l", "")]),
    "a hash inside a word is no comment": ("linux /l a#b", [("", "/l", "a#b")]),
    "a continued line": ("linux /k a\\\n b", [("", "/k", "a b")]),
    "conditions": ("if [ x = x ]; then linux /k a; else linuxefi /l b; fi", [("", "/k", "a"), ("", "/l", "b")]),
    "variables are left": ("linux ${p}/k $x", [("", "${p}/k", "$x")]),
    "functions": ("function f { linux /k; }\nf", [("", "/k", "")]),
    "too many closing braces": ("}}} linux /k", [("", "/k", "")]),
    "a word that goes on in the next line": ('linux /k a\\\nb "c\\\nd"', [("", "/k", "ab cd")]),
    "a quote that never ends": ("menuentry 'a { linux /k", [("'a", "/k", "")]),
    "no kernel": ("linux", []),
    "other loaders": ("linux16 /m\nmultiboot /x crashkernel=1G\nmodule /k", [("", "/m", "")]),
}


@pytest.mark.parametrize("text, expected", PARSE.values(), ids=list(PARSE))
def test_parse(text, expected):
    assert [one[1:] for one in grub.parse(text)] == expected


@pytest.mark.parametrize("piece", ["'\"\\${", "${", "'", '\\"', "{", "menuentry 'a' {\nlinux /k\n", "a;"])
def test_the_parser_is_not_slow_on_a_broken_file(piece):
    assert is_linear(grub.parse, lambda size: "linux /k " + piece * size, 50000)


@given(st.text(alphabet="linux /k'\"\\${};#\n\t|&<>menutry### BEGIN /", max_size=200))
def test_the_parser_never_raises(text):
    grub.parse(text)


# The files of a host before, GRUB_CMDLINE_LINUX and _DEFAULT after the drop-in.
SOURCED = {
    "nothing set": ("", "crashkernel=256M", ""),
    "only other arguments": (
        "GRUB_CMDLINE_LINUX='a  b'; GRUB_CMDLINE_LINUX_DEFAULT=quiet",
        "a  b crashkernel=256M",
        "quiet",
    ),
    "in both": (
        "GRUB_CMDLINE_LINUX='a crashkernel=1G b'; GRUB_CMDLINE_LINUX_DEFAULT='crashkernel=512M-:192M'",
        "a b crashkernel=256M",
        "",
    ),
    "several": (
        "GRUB_CMDLINE_LINUX='crashkernel=1G,high crashkernel=1M,low\tcrashkernel=3 a'",
        "a crashkernel=256M",
        "",
    ),
    "quotes, globs, backslashes and dollars": (
        """GRUB_CMDLINE_LINUX='dyndbg="file drivers/usb/* +p" a=\\$x crashkernel=1G b=\\n'""",
        'dyndbg="file drivers/usb/* +p" a=\\$x b=\\n crashkernel=256M',
        "",
    ),
    "other names stay": (
        "GRUB_CMDLINE_LINUX='xcrashkernel=1 crashkernel.x=2'",
        "xcrashkernel=1 crashkernel.x=2 crashkernel=256M",
        "",
    ),
    "text like an option of printf or echo": ("GRUB_CMDLINE_LINUX='-n -e %s'", "-n -e %s crashkernel=256M", ""),
}


@pytest.mark.parametrize("shell", [[DASH], ["bash", "--posix"]], ids=["dash", "bash"])
@pytest.mark.parametrize("before, linux, default", SOURCED.values(), ids=list(SOURCED))
def test_the_drop_in_in_a_real_shell(tmp_path, shell, before, linux, default):
    (tmp_path / "dropin").write_text(grub.dropin(["256M"], []))
    script = 'set -eu; %s\n. %s/dropin; printf "%%s\\n" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"' % (
        before,
        tmp_path,
    )
    assert subprocess.check_output(shell + ["-c", script]).decode().splitlines() == [linux, default]


def test_every_entry_gets_exactly_the_value(debian):
    debian.host.write(
        "/etc/default/grub.d/kdump-tools.cfg",
        b'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M-:192M"\n',
    )
    plan = grub.plan(debian.host, ["1G,high", "128M,low"], ["ALL"])
    assert plan.actions == ["write " + grub.DROPIN, "make /boot/grub/grub.cfg anew"]
    assert debian.calls == []
    assert "(recovery mode): no crashkernel=\n" in plan.diff()[1]["before"]
    assert plan.diff()[1]["after"].count(": crashkernel=1G,high crashkernel=128M,low\n") == 5
    plan.apply(debian.host)
    assert debian.values() == {("1G,high", "128M,low")}
    assert not grub.plan(debian.host, ["1G,high", "128M,low"], ["ALL"]).changed


def test_grub_cfg_keeps_its_mode(debian):
    grub.plan(debian.host, ["256M"], ["ALL"]).apply(debian.host)
    assert debian.host.stat(grub.CONFIG).st_mode & 0o777 == 0o600


def test_a_stale_grub_cfg_is_made_anew(debian):
    debian.host.write(grub.DROPIN, grub.dropin(["256M"], []).encode())
    plan = grub.plan(debian.host, ["256M"], ["ALL"])
    assert plan.actions == ["make /boot/grub/grub.cfg anew"]
    plan.apply(debian.host)
    assert debian.values() == {("256M",)}


def test_absent_leaves_nothing_behind(debian):
    before = debian.state()
    grub.plan(debian.host, ["256M"], ["ALL"]).apply(debian.host)
    plan = grub.plan(debian.host, [], ["ALL"])
    assert plan.actions == ["remove " + grub.DROPIN, "make /boot/grub/grub.cfg anew"]
    plan.apply(debian.host)
    assert debian.state() == before
    assert not grub.plan(debian.host, [], ["ALL"]).changed


def test_absent_holds_against_other_files(debian):
    debian.host.write("/etc/default/grub", b"GRUB_CMDLINE_LINUX='crashkernel=1G'\nGRUB_CMDLINE_LINUX_DEFAULT=\n")
    debian.host.write(grub.CONFIG, debian.config().encode())
    grub.plan(debian.host, [], ["ALL"]).apply(debian.host)
    assert debian.values() == {()}
    assert not grub.plan(debian.host, [], ["ALL"]).changed


def test_what_a_comment_says_is_no_setting(debian):
    debian.host.write("/etc/default/grub", b"# crashkernel=1G\nGRUB_CMDLINE_LINUX=\nGRUB_CMDLINE_LINUX_DEFAULT=\n")
    assert grub.elsewhere(debian.host) == []


FAILURES = {
    "grub-mkconfig fails": ("grub-mkconfig", b"", "grub-mkconfig failed .exit code 1.: it broke"),
    "syntax errors": ("grub-script-check", b"", "syntax errors: it broke"),
    "a file that is read later": (
        "",
        b'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX crashkernel=7M"\n',
        "crashkernel=256M crashkernel=7M where crashkernel=256M is wanted",
    ),
}


@pytest.mark.parametrize("old", [None, ["128M"]], ids=["fresh", "with an older value"])
@pytest.mark.parametrize("fails, later, message", FAILURES.values(), ids=list(FAILURES))
def test_a_failure_leaves_everything_as_it_was(debian, old, fails, later, message):
    if old:
        grub.plan(debian.host, old, ["ALL"]).apply(debian.host)
    if later:
        debian.host.write("/etc/default/grub.d/zzz.cfg", later)
    debian.fails = fails
    before = debian.state()
    with pytest.raises(KdumpError, match=message) as caught:
        grub.plan(debian.host, ["256M"], ["ALL"]).apply(debian.host)
    assert debian.state() == before
    if later:
        assert "/etc/default/grub.d/zzz.cfg" in caught.value.problems[0].hint


def test_a_full_file_system_leaves_everything_as_it_was(debian, monkeypatch):
    plan = grub.plan(debian.host, ["256M"], ["ALL"])
    before, write = debian.state(), debian.host.write

    def full(path, *rest):
        if path == grub.CONFIG:
            raise OSError(28, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(debian.host, "write", full)
    with pytest.raises(OSError):
        plan.apply(debian.host)
    assert debian.state() == before


@pytest.mark.parametrize("kernels", [["DEFAULT"], ["/boot/vmlinuz-6.12.48+deb13-amd64"]])
def test_single_kernels_are_refused(debian, kernels):
    with pytest.raises(KdumpError, match="kernels can only be ALL"):
        grub.plan(debian.host, ["256M"], kernels)


def test_entries_of_others_are_told_not_judged(debian):
    custom = GENERATED.replace(
        "### BEGIN /etc/grub.d/41_custom ###",
        """### BEGIN /etc/grub.d/30_os-prober ###
menuentry 'Other Linux' {\nlinux /boot/vmlinuz-5 ro\n}\n### END /etc/grub.d/30_os-prober ###
### BEGIN /etc/grub.d/41_custom ###\nmenuentry 'Memory test' {\nlinux /boot/memtest86+x64.bin\n}""",
    )
    debian.host.write(grub.CONFIG, custom.encode())
    assert [problem.value for problem in grub.notes(debian.host, [], ["ALL"])] == ["/boot/vmlinuz-6.12.43+deb13-amd64"]
    assert len(grub.entries(debian.host)) == 5


def test_what_grub_cannot_be_used_with(debian):
    assert grub.missing(debian.host) == ""
    debian.host.write("/usr/sbin/grub-mkconfig", b"no drop-ins here")
    assert "does not read /etc/default/grub.d" in grub.missing(debian.host)
    debian.host.write(grub.CONFIG, b"menuentry 'mine' { linux /k }")
    debian.host.write("/usr/sbin/grub-mkconfig", b"/default/grub.d/*.cfg")
    assert "was not made by grub-mkconfig" in grub.missing(debian.host)
    debian.host.remove("/usr/sbin/grub-mkconfig")
    assert grub.missing(debian.host) == "grub-mkconfig is missing"
    debian.host.remove(grub.CONFIG)
    assert grub.missing(debian.host) == "/boot/grub/grub.cfg is missing"


HIDDEN = {
    "in grub.cfg": {"/etc/default/grub": "GRUB_TIMEOUT=5\n"},
    "in a file": {"/etc/default/grub": "GRUB_CMDLINE_LINUX='dyndbg=\"file a crashkernel=1G +p\"'\n"},
}


@pytest.mark.parametrize("name", HIDDEN)
def test_crashkernel_inside_of_another_argument_is_refused(debian, name):
    """The drop-in's sed would take the closing quote, or tear the argument."""
    for path, text in HIDDEN[name].items():
        debian.host.write(path, text.encode())
    if name == "in grub.cfg":
        odd = GENERATED.replace(" ro ", ' ro dyndbg="file a crashkernel=1G +p" ')
        assert odd != GENERATED
        debian.host.write(grub.CONFIG, odd.encode())
    with pytest.raises(KdumpError, match="crashkernel= inside of another argument"):
        grub.plan(debian.host, ["256M"], ["ALL"])
