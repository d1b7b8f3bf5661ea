# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils import sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.sysconfig import NEW_FILE, defaults, edit, parse, unknown

SHELLS = ("dash", "bash")


def sourced(shell, text, tmp_path, name="V"):
    """What a real shell finds in a variable after it has sourced the text; None where it is not set."""
    path = tmp_path / "sourced"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    script = '. "$1"; eval "set -- \\"\\${$2-unset}\\" \\"\\${$2+set}\\""; printf "%s" "$2$1"'
    argv = [shell, "-c", script, shell, str(path), name]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, env={"LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("utf-8", "surrogateescape")
    return out[3:] if out.startswith("set") else None


def systemd(text):
    """The variables that systemd finds, as parse_env_file_internal() of systemd 257 reads: a model, state by state."""
    found, key, value, state, trailing = {}, "", "", "pre-key", 0
    for char in text + "\n":
        if state == "pre-key":
            if char in "#;":
                state = "comment"
            elif char not in " \t\n\r":
                key, state = char, "key"
        elif state == "key":
            if char == "=":
                state, value, trailing = "pre-value", "", 0
            elif char in "\n\r":
                state = "pre-key"
            else:
                key += char
        elif state in ("pre-value", "value") and char in "\n\r":
            found[key.rstrip(" \t")] = value[: len(value) - trailing]
            state = "pre-key"
        elif state == "pre-value" and char in "'\"":
            state = char
        elif state in ("pre-value", "value") and char == "\\":
            state, trailing = "value-escape", 0
        elif (state == "pre-value" and char not in " \t") or state == "value":
            value += char
            trailing = trailing + 1 if char in " \t" else 0
            state = "value"
        elif state == "value-escape":
            value, state = value + ("" if char in "\n\r" else char), "value"
        elif state in ("'", '"'):
            if char == state:
                state = "pre-value"
            elif char == "\\" and state == '"':
                state = "quoted-escape"
            else:
                value += char
        elif state == "quoted-escape":
            value, state = value + (char if char in '"\\`$' else "" if char == "\n" else "\\" + char), '"'
        elif state == "comment":
            state = "comment-escape" if char == "\\" else "pre-key" if char in "\n\r" else "comment"
        elif state == "comment-escape":
            state = "comment"
    return found


# --- reading -------------------------------------------------------------------------------------------------------
READ = {
    "double quotes": 'V="a b"',
    "single quotes": "V='a \"$b\" \\'",
    "bare": "V=a/b:c=d,e%f@g+h",
    "empty": "V=",
    "empty quotes": 'V=""',
    "pieces": "V=a'b c'\"d e\"f",
    "escapes": 'V="\\$a \\`b\\` \\"c\\" \\\\ \\d"',
    "bare escapes": "V=a\\ b\\$c\\d",
    "exported": "export V=1",
    "exported with a tab": "export\tV=1",
    "indented": "  V=1",
    "trailing blanks and comment": "V=1  # one",
    "a hash in a word": "V=a#b",
    "a hash in quotes": 'V="a # b"',
    "continued in quotes": 'V="a \\\nb"',
    "continued bare": "V=a\\\nb",
    "over two lines": 'V="a\nb"',
    "a dollar that is one": 'V="5$ a$"',
    "the last one counts": "V=1\nV=2",
    "after a comment with a quote": "# don't\nV=1",
    "beyond ASCII": 'V="\u00e9\u00c1\u0441"',
    "exported afterwards": "V=1\nexport V",
    "exclamation mark": 'V="a!b"',
    "equals signs": "V=a=b=c",
    "a tilde inside": "V=a~b",
    "brackets and stars": 'V="{a,b} *.c [d]"',
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("text", list(READ.values()), ids=list(READ))
def test_reading_finds_what_a_shell_finds(text, shell, tmp_path):
    assert parse(text)["V"] == sourced(shell, text, tmp_path)


# (the text, what is said of V or of the line)
UNCLEAR = {
    "command substitution": ("V=$(uname -r)", "V (line 1) holds an expansion"),
    "in quotes": ('# x\nV="a $(uname -r)"', "V (line 2) holds an expansion"),
    "backquotes": ("V=`uname -r`", "V (line 1) holds an expansion"),
    "a variable": ('V="$V panic=10"', "V (line 1) holds an expansion"),
    "a variable in braces": ("V=${W:-x}", "V (line 1) holds an expansion"),
    "bash's quotes": ("V=$'a'", "V (line 1) holds an expansion"),
    "a home": ("V=~/x", "V (line 1) holds a `~`"),
    "a home in a list": ("V=/a:~/x", "V (line 1) holds a `~`"),
    "an open quote": ("V='a\nW=1", "V (line 1) has a quote that is never closed"),
    "an open double quote": ('V="a', "V (line 1) has a quote that is never closed"),
    "two on a line": ("V=1 W=2", "V (line 1) is followed by something else"),
    "a command's environment": ("V=1 reboot", "V (line 1) is followed by something else"),
    "two commands": ("V=1; W=2", "V (line 1) holds ; outside quotes"),
    "an array": ("V=(1 2)", "V (line 1) holds ( outside quotes"),
    "CRLF": ("V=1\r\n", "V (line 1) has the line end of Windows"),
    "a NUL": ("V='a\0'", "V (line 1) holds a NUL byte"),
    "ends in a backslash": ("V=a\\", "V (line 1) ends in a backslash"),
    "conditional": ("if true; then\n  V=1\nfi", "V (line 2) may depend on a condition"),
    "in a case": ("case a in\nb)\nV=1 ;;\nesac", "V (line 3) is followed by something else"),
    "in a function": ("f() {\nV=1\n}", "V (line 2) may depend on a condition"),
    "in a here-document": ("cat <<E\nV=1\nE", "V (line 2) may depend on a condition"),
    "inside of another's quotes": ('W="$X\nV=1\n# "\n', "V (line 2) comes after a line that leaves a quote"),
    "appended": ("V+=x", "Line 1 is not an assignment: V+=x"),
    "sourced": (". /etc/other", "Line 1 is not an assignment: . /etc/other"),
    "with blanks around": ("V = 1", "V (line 1) has blanks around its `=`"),
    "with a blank behind": ("V= 1", "V (line 1) has blanks around its `=`"),
    "with blanks around and more": ("V = 1 2", "V (line 1) has blanks around its `=`"),
    "with blanks around, quotes and more": (
        "V = 1 '2 3'",
        "V (line 1) has blanks around its `=`, which no shell takes",
    ),
    "with blanks around an expansion": (
        "V = $(uname -r)",
        "V (line 1) has blanks around its `=`, which no shell takes",
    ),
    "a comparison": ("V == 1", "Line 1 is not an assignment: V == 1"),
}


@pytest.mark.parametrize("text, message", list(UNCLEAR.values()), ids=list(UNCLEAR))
def test_what_only_a_shell_can_tell_is_refused_by_name(text, message):
    with pytest.raises(KdumpError) as caught:
        parse(text)
    assert [p for p in caught.value.problems if p.message.startswith(message) and p.hint], caught.value.problems


NOT_OF_V = ("sourced", "with blanks around", "with a blank behind", "with blanks around and more",
            "a comparison")  # fmt: skip


@pytest.mark.parametrize("name", [name for name in UNCLEAR if name not in NOT_OF_V])
def test_a_variable_that_is_not_understood_is_not_changed(name):
    for arguments in (({"V": "new"}, []), ({}, ["V"])):
        with pytest.raises(KdumpError):
            edit(UNCLEAR[name][0], *arguments)


def test_other_variables_of_such_a_file_can_be_changed():
    text = "A=$(uname -r)\nif x; then\nB=1\nfi\n. /etc/other\nC=2\n"
    assert edit(text, {"C": "3", "D": "4"}, []) == text.replace("C=2", 'C="3"') + 'D="4"\n'
    assert edit(text, {}, []) == text


def test_nothing_is_written_into_a_quote_that_is_open():
    for text in ('A="$X\n', "echo 'a\n", "A=$(\n"):
        with pytest.raises(KdumpError):
            edit(text, {"B": "1"}, [])
        assert edit(text, {}, []) == text


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_hostile_text_is_read_or_refused(text):
    entries = sysconfig.read(text)
    assert "".join(text[entry.start : entry.end] for entry in entries) == text
    try:
        parse(text)
    except KdumpError as error:
        str(error).encode("utf-8")


TOKENS = st.sampled_from(
    list("ab'\"\\$#=; \n\t`~(){}&") + ["V=", "\nV=", "export ", "if ", "fi\n", "\\\n", "W=", '\\"']
)


@given(st.lists(TOKENS, max_size=14).map("".join))
def test_what_is_read_is_what_dash_reads(tmp_path_factory, text):
    try:
        value = parse(text).get("V")
    except KdumpError:
        return
    assert value == sourced("dash", text, tmp_path_factory.getbasetemp())


def test_a_megabyte_on_one_line_is_read():
    assert len(parse('V="%s"' % ("x" * (1 << 20)))["V"]) == 1 << 20
    with pytest.raises(KdumpError) as caught:
        parse("x" * (1 << 20))
    assert len(str(caught.value)) < 1000


# --- writing -------------------------------------------------------------------------------------------------------
NONCHARACTERS = [*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF))]
ANY = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="".join(
    chr(code) for code in list(range(32)) + [127] + NONCHARACTERS if code != 9)), max_size=30)  # fmt: skip
SHELLISH = st.lists(st.sampled_from(list("ab'\"\\$`#=; \t!~*{}()%\u00c1\u0441")), max_size=20).map("".join)


@given(
    ANY | SHELLISH,
    st.sampled_from(["", "V=1\n", "export V=1\n", "#V=x\nW=1\n", "V=1 # x\n", "# a \\\nV=0\n", "#V \\\n"]),
)
def test_dash_bash_and_systemd_read_back_what_was_written(tmp_path_factory, value, before):
    text = edit(before, {"V": value}, [])
    assert parse(text)["V"] == value
    assert edit(text, {"V": value}, []) == text
    for shell in SHELLS:
        assert sourced(shell, text, tmp_path_factory.getbasetemp()) == value
    if "export" not in before and before != "# a \\\nV=0\n":
        assert systemd(text)["V"] == value


# (before, settings, remove, after)
EDITS = {
    "nothing": ("V=1\n# x\n", {}, [], "V=1\n# x\n"),
    "the same, written otherwise": ("V='1'\n", {"V": "1"}, [], "V='1'\n"),
    "in place": ("A=1\nV=1\nB=1\n", {"V": "2"}, [], 'A=1\nV="2"\nB=1\n'),
    "the one that counts": ("V=1\nV=2\n", {"V": "3"}, [], 'V=1\nV="3"\n'),
    "over two lines": ('V="a\nb"\nW=1\n', {"V": "c"}, [], 'V="c"\nW=1\n'),
    "exported stays exported": ("export V=1\n", {"V": "2"}, [], 'export V="2"\n'),
    "a trailing comment moves above": ("V=1 # one\nW=1\n", {"V": "2"}, [], '# one\nV="2"\nW=1\n'),
    "below its last example": ("#V=1\n# V=2\nW=1\n", {"V": "2"}, [], '#V=1\n# V=2\nV="2"\nW=1\n'),
    "not below a sentence": ("# V is it\nW=1\n", {"V": "2"}, [], '# V is it\nW=1\nV="2"\n'),
    "not below another's example": ("#XV=1\nW=1\n", {"V": "2"}, [], '#XV=1\nW=1\nV="2"\n'),
    "at the end, without a line end": ("W=1", {"V": "2"}, [], 'W=1\nV="2"\n'),
    "into an empty file": ("", {"V": "2"}, [], 'V="2"\n'),
    "several, by name": ("", {"W": "2", "V": "1"}, [], 'V="1"\nW="2"\n'),
    "a number": ("", {"V": 1}, [], 'V="1"\n'),
    "a list": ("", {"V": ["a=1", "b", 2]}, [], 'V="a=1 b 2"\n'),
    "nothing as a value": ("V=1\n", {"V": ""}, [], 'V=""\n'),
    "remove": ("A=1\nV='x\ny' # z\nB=1\n", {}, ["V"], "A=1\nB=1\n"),
    "remove every one": ("V=1\nA=1\nexport V=2\n", {}, ["V"], "A=1\n"),
    "remove what is not there": ("A=1\n", {}, ["V"], "A=1\n"),
    "blanks around, another value": ("A=1\nV = 1\nB=1\n", {"V": "2"}, [], 'A=1\nV="2"\nB=1\n'),
    "blanks around, the same value": ("V = 1\n", {"V": "1"}, [], "V=1\n"),
    "blanks behind, in quotes": ('V= "a b"\n', {"V": "a b"}, [], 'V="a b"\n'),
    "blanks around one that does not count": ("V = 1\nV=2\n", {"V": "2"}, [], "V=1\nV=2\n"),
    "blanks around, with a comment": ("V = 1 # x\n", {"V": "2"}, [], '# x\nV="2"\n'),
    "blanks around, to be removed": ("A=1\nV = 1\n", {}, ["V"], "A=1\n"),
    "blanks around another's": ("A = 1\n", {"V": "2"}, [], 'A = 1\nV="2"\n'),
}


@pytest.mark.parametrize("before, settings, remove, after", list(EDITS.values()), ids=list(EDITS))
def test_edit(before, settings, remove, after):
    assert edit(before, settings, remove) == after
    assert edit(after, settings, remove) == after


REFUSED = {
    "a line break": ({"V": "a\nb"}, [], "V cannot be a\\x0ab"),
    "a carriage return": ({"V": "a\r"}, [], "V cannot be"),
    "a NUL": ({"V": "a\0"}, [], "V cannot be"),
    "not UTF-8": ({"V": "\udcff"}, [], "V cannot be"),
    "no character": ({"V": "\ufffe"}, [], "V cannot be"),
    "no character of a further plane": ({"V": "\U0010ffff"}, [], "V cannot be"),
    "a boolean": ({"V": True}, [], "V is neither text nor a number"),
    "null": ({"V": None}, [], "V is neither text nor a number"),
    "a name with a blank": ({"a b": "1"}, [], "a b is not the name of a variable"),
    "a name that runs something": ({"V=1;reboot;W": "1"}, [], "is not the name of a variable"),
    "a name that begins with a digit": ({}, ["1V"], "1V is not the name of a variable"),
    "set and removed": ({"V": "1"}, ["V"], "V is in both settings and remove"),
}


@pytest.mark.parametrize("settings, remove, message", list(REFUSED.values()), ids=list(REFUSED))
def test_what_the_file_cannot_hold_is_refused(settings, remove, message):
    with pytest.raises(KdumpError) as caught:
        edit("A=1\n", settings, remove)
    assert [p for p in caught.value.problems if message in p.message and p.hint], caught.value.problems


def test_all_problems_at_once():
    with pytest.raises(KdumpError) as caught:
        edit("V=$(x)\n", {"V": "1", "W": None, "1": "x"}, [])
    assert [problem.option for problem in caught.value.problems] == ["1", "W", "V"]


# --- the module ----------------------------------------------------------------------------------------------------
def params(**given):
    return dict({"path": "/etc/sysconfig/kdump", "settings": {}, "remove": [], "_check": False}, **given)


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def test_a_file_is_created_only_to_hold_something(host):
    assert not sysconfig.decide(host, params()).changed
    assert not sysconfig.decide(host, params(remove=["V"])).changed
    plan = sysconfig.decide(host, params(settings={"KDUMP_IMG": "vmlinuz"}))
    plan.apply(host)
    assert host.read_text("/etc/sysconfig/kdump") == NEW_FILE + 'KDUMP_IMG="vmlinuz"\n'
    assert not sysconfig.decide(host, params(settings={"KDUMP_IMG": "vmlinuz"})).changed


def test_an_empty_file_keeps_what_it_is_and_gets_no_header(host):
    host.write("/etc/sysconfig/kdump", b"")
    assert not sysconfig.decide(host, params()).changed
    assert sysconfig.decide(host, params(settings={"KDUMP_IMG": "x"})).diff()[0]["after"] == 'KDUMP_IMG="x"\n'


def test_a_file_of_ours_that_holds_nothing_more_goes(host):
    host.write("/etc/sysconfig/kdump", (NEW_FILE + "A=1\n").encode())
    sysconfig.decide(host, params(remove=["A"])).apply(host)
    assert not host.exists("/etc/sysconfig/kdump")
    assert not sysconfig.decide(host, params(remove=["A"])).changed


def test_a_directory_is_refused(host):
    host.make_directories("/etc/sysconfig/kdump")
    with pytest.raises(KdumpError):
        sysconfig.decide(host, params())


def test_the_diff_holds_no_password(host):
    text = (
        'FTP_PASSWORD="old secret"\n# FTP_PASSWORD=older secret\nFTP="server"\n'
        'KDUMP_SAVEDIR="ftp://user:secret@server/x"\n'
    )
    host.write("/etc/default/kdump-tools", text.encode())
    plan = sysconfig.decide(host, params(path="/etc/default/kdump-tools", settings={"FTP_PASSWORD": "new secret"}))
    assert "secret" not in str(plan.diff()) and 'FTP="server"' in str(plan.diff())
    plan.apply(host)
    assert parse(host.read_text("/etc/default/kdump-tools"))["FTP_PASSWORD"] == "new secret"


@pytest.mark.parametrize("value", ["hush\nhush", {"hush": 1}, True])
def test_a_password_that_is_refused_is_not_told(host, value):
    with pytest.raises(KdumpError) as caught:
        sysconfig.decide(host, params(settings={"KDUMP_SMTP_PASSWORD": value}))
    (problem,) = caught.value.problems
    assert "hush" not in str(problem) and problem.value == sysconfig.MASK


UNKNOWN = {
    "known": ("/etc/sysconfig/kdump", "KDUMP_COMMANDLINE", None),
    "SUSE's": ("/etc/sysconfig/kdump", "KDUMP_DUMPLEVEL", None),
    "typo": ("/etc/sysconfig/kdump", "KDUMP_COMANDLINE", "Did you mean KDUMP_COMMANDLINE?"),
    "Debian's": ("/etc/default/kdump-tools", "USE_KDUMP", None),
    "Debian's in the other file": ("/etc/sysconfig/kdump", "USE_KDUMP", ""),
}


@pytest.mark.parametrize("path, name, hint", list(UNKNOWN.values()), ids=list(UNKNOWN))
def test_an_unknown_name_is_a_warning(path, name, hint):
    found = unknown(path, {name: ""})
    assert [p.option for p in found] == ([] if hint is None else [name])
    assert hint is None or hint in found[0].hint


# --- what kdump-utils ships ----------------------------------------------------------------------------------------
def test_defaults_are_those_of_the_stock_file():
    # from a transcript of kdump-utils 1.0.61 on x86_64
    assert defaults("x86_64") == {
        "KDUMP_COMMANDLINE_REMOVE": "hugepages hugepagesz slub_debug quiet log_buf_len swiotlb hugetlb_cma "
        "ignition.firstboot cma",
        "KDUMP_COMMANDLINE_APPEND": "novmcoredd hugetlb_cma=0 kfence.sample_interval=0 initramfs_options=size=90% "
        "irqpoll nr_cpus=1 reset_devices cgroup_disable=memory mce=off numa=off udev.children-max=2 panic=10 "
        "acpi_no_memhotplug transparent_hugepage=never nokaslr hest_disable cma=0 pcie_ports=compat",
    }


ARCHITECTURES = {
    "aarch64": ("ignition.firstboot cma", "swiotlb=noforce cma=0"),
    "s390x": ("vmcp_cma cma prot_virt zfcp.allow_lun_scan", "vmcp_cma=0 cma=0"),
    "ppc64le": ("hugetlb_cma ignition.firstboot", "nr_cpus=16 noirqdistrib"),
    "i686": ("ignition.firstboot cma", "nr_cpus=1 reset_devices numa=off"),
    "riscv64": ("ignition.firstboot cma", "irqpoll maxcpus=1 reset_devices cma=0"),
}


@pytest.mark.parametrize("machine", list(ARCHITECTURES))
def test_defaults_by_architecture(machine):
    remove, append = ARCHITECTURES[machine]
    assert defaults(machine)["KDUMP_COMMANDLINE_REMOVE"].endswith(remove)
    assert append in defaults(machine)["KDUMP_COMMANDLINE_APPEND"]


def test_a_mistake_in_the_file_is_told_with_its_path(host):
    host.write("/etc/sysconfig/kdump", b"KDUMP_IMG = 1 '2 3'\n")
    with pytest.raises(KdumpError) as caught:
        sysconfig.decide(host, params(settings={"KDUMP_IMG": "vmlinuz"}))
    assert str(caught.value).startswith("/etc/sysconfig/kdump: KDUMP_IMG (line 1) has blanks around its `=`")
