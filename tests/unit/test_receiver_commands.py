# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a dump server takes for a capture's command, and the far more that it does not."""

import shlex
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils import receiver_commands
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.receiver_commands import Intent, Place, parse, place

F = "10.0.0.1-2026-11-24-10:00:00"
D = "/var/crash/" + F
SIX = "2001:db8::1-2026-11-24-10:00:00-12"
TEST = "kdump-test-1729823462-938751820"

# Word for word what kdump.sh sends: the shell there has taken its quotes off, ssh has joined the words.
CAPTURE = {
    # kdump-utils 1.0.61
    "folder": ("mkdir -p " + D, Intent("folder", F, path=D)),
    "log": ("umask 0077 && dd of='%s/vmcore-dmesg-incomplete.txt'" % D, Intent("write", F, "vmcore-dmesg-incomplete.txt")),
    "log is whole": (
        "mv %s/vmcore-dmesg-incomplete.txt %s/vmcore-dmesg.txt" % (D, D),
        Intent("rename", F, "vmcore-dmesg-incomplete.txt", "vmcore-dmesg.txt")),
    "vmcore": ("umask 0077 && dd bs=512 of='%s/vmcore-incomplete'" % D, Intent("write", F, "vmcore-incomplete")),
    "vmcore is whole": (
        "mv '%s/vmcore-incomplete' '%s/vmcore.flat'" % (D, D), Intent("rename", F, "vmcore-incomplete", "vmcore.flat")),
    "vmcore by scp is whole": (
        "mv '%s/vmcore-incomplete' '%s/vmcore'" % (D, D), Intent("rename", F, "vmcore-incomplete", "vmcore")),
    "opalcore is whole": (
        "mv %s/opalcore-incomplete %s/opalcore" % (D, D), Intent("rename", F, "opalcore-incomplete", "opalcore")),
    "status": (
        "echo fail kdump_test_id=1729823462-938751820 > /var/crash/%s/vmcore-creation.status" % TEST,
        Intent("status", TEST, "vmcore-creation.status", "fail kdump_test_id=1729823462-938751820\n")),
    "folder of a test": ("mkdir -p /var/crash/" + TEST, Intent("folder", TEST, path="/var/crash/" + TEST)),
    "log of a path with a blank": (
        "umask 0077 && dd of='/srv/my dumps/%s/vmcore-dmesg-incomplete.txt'" % F,
        Intent("write", F, "vmcore-dmesg-incomplete.txt")),
    "path is /": ("mkdir -p //" + F, Intent("folder", F, path="//" + F)),
    "IPv6, and the name was taken": ("mkdir -p /var/crash/" + SIX, Intent("folder", SIX, path="/var/crash/" + SIX)),
    # before 2.0.23 without quotes, before 2.0.21 without umask
    "EL 9.0, vmcore": ("umask 0077 && dd bs=512 of=%s/vmcore-incomplete" % D, Intent("write", F, "vmcore-incomplete")),
    "EL 8, vmcore": ("dd bs=512 of=%s/vmcore-incomplete" % D, Intent("write", F, "vmcore-incomplete")),
    "EL 8, log": ("dd of=%s/vmcore-dmesg-incomplete.txt" % D, Intent("write", F, "vmcore-dmesg-incomplete.txt")),
    "EL 8, vmcore is whole": (
        "mv %s/vmcore-incomplete %s/vmcore.flat" % (D, D), Intent("rename", F, "vmcore-incomplete", "vmcore.flat")),
    # scp, of the old protocol and of the new
    "scp of a vmcore": ("scp -t %s/vmcore-incomplete" % D, Intent("scp", F, "vmcore-incomplete")),
    "scp into a folder": ("scp -t %s/" % D, Intent("scp", F)),
    "scp -v -p, several": ("scp -v -p -d -t -- %s" % D, Intent("scp", F)),
    "scp of a test's status": (
        "scp -f /var/crash/%s/vmcore-creation.status" % TEST, Intent("scp_status", TEST, "vmcore-creation.status")),
    "scp over sftp, Debian": ("/usr/lib/openssh/sftp-server", Intent("sftp")),
    "scp over sftp, EL": ("/usr/libexec/openssh/sftp-server -f AUTHPRIV -l INFO", Intent("sftp")),
    "scp over sftp, within sshd": ("internal-sftp", Intent("sftp")),
    # kdumpctl, check_and_wait_network_ready; mkdumprd
    "kdumpctl start": ("mkdir -p /var/crash", Intent("directory", path="/var/crash")),
    "kdumpctl start, path is /": ("mkdir -p /", Intent("directory", path="/")),
    "mkdumprd, space": ("df --output=avail /var/crash", Intent("space")),
    "mkdumprd, can it be written": ("mktemp -dqp /var/crash", Intent("probe", path="/var/crash")),
    "mkdumprd, away again": ("rmdir /var/crash/tmp.aB3dE6gH9j", Intent("unprobe", name="tmp.aB3dE6gH9j")),
    # this collection's own
    "a login": ("true", Intent("nothing")),
    "folder that is new": ("mkdir -p /var/crash && mkdir " + D, Intent("new_folder", F)),
    "kexec-dmesg.log": ("umask 0077 && dd of='%s/kexec-dmesg.log'" % D, Intent("write", F, "kexec-dmesg.log")),
    "capture.json": ("umask 0077 && dd of='%s/capture-incomplete.json'" % D, Intent("write", F, "capture-incomplete.json")),
    "capture.json is whole": (
        "mv '%s/capture-incomplete.json' '%s/capture.json'" % (D, D), Intent("rename", F, "capture-incomplete.json", "capture.json")),
    "log is whole, quoted": (
        "mv '%s/vmcore-dmesg-incomplete.txt' '%s/vmcore-dmesg.txt'" % (D, D),
        Intent("rename", F, "vmcore-dmesg-incomplete.txt", "vmcore-dmesg.txt")),
    "list": ("vmcore-kdump list", Intent("list")),
    "list, of a host": ("vmcore-kdump list --host db-1.example", Intent("list", host="db-1.example")),
    "list, deep": (
        "vmcore-kdump list --deep --marker 'vmcore.kdump: crash test 1f'",
        Intent("list", deep=True, marker="vmcore.kdump: crash test 1f")),
    "list, quoted by Python": (
        "vmcore-kdump list --marker " + shlex.quote("vmcore.kdump: crash test 1f"),
        Intent("list", marker="vmcore.kdump: crash test 1f")),
}  # fmt: skip


@pytest.mark.parametrize("command,intent", CAPTURE.values(), ids=CAPTURE)
def test_what_a_capture_sends(command, intent):
    assert parse(command) == intent


INSERTED = [
    "; id", " ; id", "&& id", " && id", "| id", "|| id", "& id", "\nid", "\rid", "\0id", "$(id)", "`id`", "${IFS}id", " > /etc/passwd",
    ">/etc/passwd", "< /etc/passwd", "<(id)", " # x", "\\", "'", '"', "*", "?", "[a]", "{a,b}", "!id", "~", "^", "%0a\n", "\t", "\x1b[2J",
    "\u2028", "\udc80", "\ufeff", "\u202e",
]  # fmt: skip
TURNED = [
    "rm -rf " + D, "cat %s/vmcore" % D, "ls", "ls /var/crash", "sh", "bash -c id", "/bin/sh -c id", "id", "python3", "true true", "TRUE", "true;",
    "mkdir " + D, "mkdir -p", "mkdir -p -m 777 " + D, "mkdir -m777 -p " + D, "mkdir -p %s %s" % (D, D), "mkdir -pv " + D, "mkdir -p ''",
    "mkdir -p %s/vmcore" % D,
    "mkdir /var/crash", "mkdir -p /var/crash && mkdir /etc/cron.d",
    "mkdir -p %s && mkdir %s" % (D, D), "mkdir -p /var/crash && mkdir -p " + D, "mkdir -p /var/crash && mkdir %s/vmcore" % D,
    "mkdir -p /x && rmdir " + D, "mkdir -p " + D + "/..", "mkdir -p /var/crash/../../etc", "mkdir -p .", "mkdir -p ..", "mkdir -p ./" + F,
    "dd", "dd if=/etc/shadow", "dd of=/etc/passwd", "dd bs=512 of=%s/vmcore" % D, "dd of=%s/vmcore.flat" % D, "dd of=%s/.bashrc" % D,
    "dd if=/dev/zero of=%s/vmcore-incomplete" % D, "dd of=%s/vmcore-incomplete conv=notrunc" % D, "dd oflag=append of=%s/vmcore-incomplete" % D,
    "dd bs=1G of=%s/vmcore-incomplete" % D, "dd of=%s/../other/vmcore-incomplete" % D, "dd of=vmcore-incomplete",
    "dd of=/var/crash/vmcore-incomplete",
    "dd of=%s" % D, "dd of=%s/" % D, "dd of=", "dd bs=512", "umask 0077", "umask 0077 &&", "umask 0000 && dd of=%s/vmcore-incomplete" % D,
    "umask 0077 && umask 0077 && dd of=%s/vmcore-incomplete" % D, "umask 0077 && mv %s/vmcore-incomplete %s/vmcore" % (D, D),
    "umask 0077 && true", "dd of=%s/vmcore-creation.status" % D, "dd of=%s/vmcore-incomplete/" % D,
    "mv %s/vmcore %s/vmcore-incomplete" % (D, D), "mv %s/vmcore-incomplete %s/../vmcore" % (D, D), "mv %s %s-1" % (D, D),
    "mv %s/vmcore-incomplete /var/crash/%s/vmcore" % (D, SIX), "mv -f %s/vmcore-incomplete %s/vmcore" % (D, D), "mv %s/vmcore-incomplete" % D,
    "mv %s/vmcore-dmesg-incomplete.txt %s/vmcore" % (D, D), "mv %s/vmcore-incomplete %s/vmcore-dmesg.txt" % (D, D),
    "mv %s/vmcore-incomplete %s/" % (D, D), "mv vmcore-incomplete vmcore", "mv /x/vmcore-incomplete /x/vmcore",
    "scp", "scp -t", "scp -f %s/vmcore" % D, "scp -f %s/vmcore-incomplete" % D, "scp -r -t " + D, "scp -t -f " + D, "scp -t /etc/cron.d",
    "scp -t /root/.ssh/authorized_keys", "scp -t %s/.ssh" % D, "scp -t %s/vmcore" % D, "scp -t /var/crash", "scp -pt " + D, "scp -t %s x" % D,
    "scp -S id -t " + D, "scp -f /etc/passwd", "scp -f %s/vmcore-creation.status /etc/passwd" % D, "scp %s" % D,
    "sftp-server && id", "xsftp-server", "sftp-server/x", "/bin/sh sftp-server", "rsync --server -e.iLsfxCIvu . " + D, "git-upload-pack x",
    "df", "df /", "df --output=avail", "df --output=size /var/crash", "df --output=avail /var/crash /", "df --output=avail " + D,
    "mktemp", "mktemp -d", "mktemp -dqp", "mktemp -dqp /x y", "rmdir /var/crash", "rmdir " + D, "rmdir tmp.x", "rmdir /x/tmp.aB3dE6gH9j/y",
    "rmdir /x/tmp.aB3dE6gH9j /y", "rmdir -p /x/tmp.aB3dE6gH9j", "rmdir /x/../tmp.aB3dE6gH9j",
    "echo fail > x", "echo fail kdump_test_id=1-1 > /etc/passwd", "echo fail kdump_test_id=1-1 >> /var/crash/kdump-test-1-1/vmcore-creation.status",
    "echo pwned kdump_test_id=1-1 > /var/crash/kdump-test-1-1/vmcore-creation.status", "echo fail kdump_test_id=1-1",
    "echo fail kdump_test_id=1-2 > /var/crash/kdump-test-1-1/vmcore-creation.status", "echo fail x > %s/vmcore-creation.status" % D,
    "echo fail kdump_test_id=1-1 > /var/crash/kdump-test-1-1/vmcore",
    "vmcore-kdump", "vmcore-kdump retain", "vmcore-kdump list /", "vmcore-kdump list --marker",
    "vmcore-kdump list --host", "vmcore-kdump list --host /", "vmcore-kdump list --deep --host web2",
    "vmcore-kdump list --marker a b", "vmcore-kdump list --marker a --deep", "vmcore-kdump list --root /",
    "", " ", "&&", ">", "'", "''", "=", "a" * 9000, "mkdir -p /" + "a" * 9000, "mkdir -p " + "/a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize(
    "command", TURNED + [command + more for command, dummy in CAPTURE.values() for more in INSERTED]
)
def test_what_no_capture_sends(command):
    try:
        intent = parse(command)
    except KdumpError as error:
        assert "is refused" in str(error) and str(error).isprintable() and len(str(error)) < 500
    else:  # the words may still be such that nothing else is asked for: a character in kdump.conf's own path
        assert (
            intent.action in ("directory", "sftp", "probe", "space") and ">" not in command and "&&" not in command
        ), command


def test_letters_of_any_language_may_be_in_a_path():
    assert parse("mkdir -p /srv/dümpe/" + F).folder == F


FOLDERS = {
    F: True, SIX: True, TEST: True, "127.0.0.1-2026-11-24-10:00:00-999": True, "fe80::1-2026-11-24-10:00:00": True,
    "2026-11-24-10:00:00": False, "10.0.0-2026-11-24-10:00:00": False, "10.0.0.256-2026-11-24-10:00:00": False,
    ".-2026-11-24-10:00:00": False, "..-2026-11-24-10:00:00": False, ":-2026-11-24-10:00:00": False, F + "-": False,
    F + "-1000": False, F + "x": False, "x" + F: False, "10.0.0.1-2026-11-24": False, F + "\n": False, "kdump-test-": False,
    "kdump-test-1-2x": False, "10.0.0.1-\u0662026-11-24-10:00:00": False, ".ssh": False, "tmp.aB3dE6gH9j": False, "": False,
}  # fmt: skip


@pytest.mark.parametrize("name,expected", FOLDERS.items())
def test_names_of_folders(name, expected):
    assert receiver_commands.is_folder(name) is expected


HOSTS = {
    "web1": True, "web1.example.org": True, "10.0.0.1": True, "2001:db8::1": True, "a_b-c": True, "": False, ".": False, "..": False,
    ".ssh": False, "a/b": False, "-x": False, "a b": False, "a\n": False, "a" * 128: True, "a" * 129: False, "ü": False,
}  # fmt: skip


@pytest.mark.parametrize("name,expected", HOSTS.items())
def test_names_of_hosts(name, expected):
    assert receiver_commands.is_host(name) is expected


PLACES = {
    D: Place(F, ""), D + "/": Place(F, ""), D + "/vmcore-incomplete": Place(F, "vmcore-incomplete"), F: Place(F, ""),
    "/var/crash": Place("", ""), "/": Place("", ""), D + "/x": Place("", ""), D + "/x/vmcore": None, D + "/../x": None,
    "/var/./crash": None, "": None, "/a\0b": None, "/var/crash/vmcore": None, D + "/vmcore/": None, "%s/%s/vmcore" % (D, F): Place(F, "vmcore"),
}  # fmt: skip


@pytest.mark.parametrize("path,expected", PLACES.items())
def test_places(path, expected):
    assert place(path) == expected


def holds(intent):
    """What every intent promises, whatever was sent."""
    assert intent.folder == "" or receiver_commands.is_folder(intent.folder)
    assert intent.name == "" or receiver_commands.is_file(intent.name) or receiver_commands.is_probe(intent.name)
    for name in (intent.folder, intent.name) + ((intent.target,) if intent.action == "rename" else ()):
        assert "/" not in name and name not in (".", "..") and not name.startswith(".")
    if intent.action in ("write", "scp"):
        assert not intent.name or receiver_commands.is_written(intent.name)
    if intent.action in ("write", "rename", "status", "folder", "new_folder", "scp"):
        assert intent.folder


PIECES = (
    [word for command, dummy in CAPTURE.values() for word in command.split(" ")]
    + TURNED
    + INSERTED
    + ["..", "/", "-", "&&", ">", "'"]
)


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from([" ", "", "/", "  "]))
def test_no_mixture_of_words_leads_elsewhere(words, between):
    try:
        intent = parse(between.join(words))
    except KdumpError:
        return
    holds(intent)


@given(st.text(max_size=300) | st.text(alphabet=string.printable, max_size=300))
def test_no_text_does_harm(text):
    for command in (
        text,
        "mkdir -p " + text,
        "dd of=%s" % text,
        "mv %s/vmcore-incomplete %s" % (D, text),
        "scp -t " + text,
    ):
        try:
            intent = parse(command)
        except KdumpError:
            continue
        holds(intent)


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-:/ @%+=,", min_size=1, max_size=60))
def test_the_words_are_those_that_a_shell_would_see(text):
    """As shlex reads a POSIX shell's words, so long as nothing is to be expanded."""
    path = "/" + text.strip() + "/" + F
    if any(part in (".", "..") for part in path.split("/")):
        return
    assert parse("mkdir -p " + shlex.quote(path)) == Intent("folder", F, path=path)
