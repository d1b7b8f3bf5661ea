# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a capture asks of a dump server over ssh: the words of the command, and what they mean. Private to this collection.

No shell ever sees a command. What is accepted are the forms that kdump-utils sends (dracut/99kdumpbase/kdump.sh,
mkdumprd, kdumpctl; from 2013 on, so EL 8, 9 and 10), the same from this collection's own capture image, and `list`.
The path before a dump's folder is that of the host's kdump.conf: it means the host's own directory, whatever it says.
"""

import ipaddress
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .problems import KdumpError, Problem, shown

_LONGEST = 8192  # characters of a command
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{2}:[0-9]{2}:[0-9]{2}"
_FOLDER = re.compile(r"([0-9A-Fa-f.:]{2,45})-(%s)(-[0-9]{1,3})?" % _DATE)
_TEST_ID = r"[0-9]{1,12}-[0-9]{1,9}"
_TEST_FOLDER = re.compile(r"kdump-test-(%s)" % _TEST_ID)  # of `kdumpctl test`
_PROBE = re.compile(r"tmp\.[A-Za-z0-9]{10}")  # what mktemp -d makes
_BLANKS = re.compile(" *")
# A word: pieces that a shell leaves as they are, and pieces in single quotes. Else the two operators alone.
_WORD = re.compile(r"(?:[\w@%+=:,./-]|'[^']*')+|&&|>")

# What each file is called while it is being written, and the names that it may be given then.
FINAL: Dict[str, Tuple[str, ...]] = {
    "vmcore-incomplete": ("vmcore", "vmcore.flat"),
    "vmcore-dmesg-incomplete.txt": ("vmcore-dmesg.txt",),
    "opalcore-incomplete": ("opalcore",),
    "kexec-dmesg-incomplete.log": ("kexec-dmesg.log",),
    "capture-incomplete.json": ("capture.json",),
}
# Small files that may come under their last names at once, and what they are called on the way. By dd they get those also
# when the connection was cut.
DIRECT: Dict[str, str] = {
    "vmcore-dmesg.txt": "vmcore-dmesg-incomplete.txt",
    "kexec-dmesg.log": "kexec-dmesg-incomplete.log",
    "capture.json": "capture-incomplete.json",
}
STATUS = "vmcore-creation.status"  # of `kdumpctl test`: the one file that is written twice, and read


class Intent(NamedTuple):
    """What a command asks for; empty what it does not name.

    action: nothing (a test of the login) · directory (that there is one) · folder (make a dump's) · new_folder (the
    same, where there is none yet) · write · rename · space · probe and unprobe (make and remove an empty directory) ·
    status · scp · scp_status · sftp · list
    """

    action: str
    folder: str = ""
    name: str = ""
    target: str = ""  # the new name of rename; the text of status
    path: str = ""  # as the host named it
    host: str = ""  # what list takes the key's host to be called
    deep: bool = False
    marker: str = ""


class Place(NamedTuple):
    """Where a path leads: a dump's folder and a file in it, each empty where the path names none."""

    folder: str
    name: str


def parse(command: str) -> Intent:
    """What SSH_ORIGINAL_COMMAND asks for. KdumpError for anything that a capture does not send."""
    words = _words(command)
    for form in _FORMS:
        intent = form(words)
        if intent is not None:
            return intent
    raise refusal("the command `%s`" % shown(command))


class Refused(KdumpError):
    """It is nothing that a capture asks for."""


def refusal(what: str) -> Refused:
    """The answer to whatever a capture does not ask for."""
    return Refused([Problem(
        "This key may do nothing here but deliver dumps: %s is refused." % what,
        "What kdumpctl and vmcore.kdump send is accepted; for all else log in with another key or as another user.",
    )])  # fmt: skip


def place(path: str) -> Optional[Place]:
    """Where a path leads; None for one that no capture names."""
    parts = [part for part in path.split("/") if part]
    if not _clean(path) or (not parts and path != "/") or any(part in (".", "..") for part in parts):
        return None
    if parts and is_folder(parts[-1]):
        return Place(parts[-1], "")
    if len(parts) > 1 and is_folder(parts[-2]) and is_file(parts[-1]) and not path.endswith("/"):
        return Place(parts[-2], parts[-1])
    if parts and is_file(parts[-1]):
        return None  # a dump's file outside any folder
    return Place("", "")


def is_folder(name: str) -> bool:
    """Whether a name is one that a capture gives to a dump's folder."""
    found = _FOLDER.fullmatch(name)
    if found is None:
        return _TEST_FOLDER.fullmatch(name) is not None
    try:
        ipaddress.ip_address(found.group(1))
    except ValueError:
        return False
    return True


def is_file(name: str) -> bool:
    """Whether a name is one that a capture gives to a file of a dump."""
    return name in FINAL or name == STATUS or any(name in names for names in FINAL.values())


# The way out where two names share a key.
ONE_KEY_EACH = (
    "If one is a copy of the other, remove the key on the copy and run again: it gets one of its own. If the host "
    "has a new name, take the old one away first (vmcore.kdump.authorized_key with the old name, state absent)."
)


def is_host(name: str) -> bool:
    """Whether a name may be that of a host, and so of its directory."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", name) is not None


def is_probe(name: str) -> bool:
    """Whether a name is one that mktemp -d has made."""
    return _PROBE.fullmatch(name) is not None


# --- words ---------------------------------------------------------------------------------------------------------
def _words(command: str) -> List[str]:
    """The words of a command without expansions; none where it holds anything that a shell would not take literally."""
    if len(command) > _LONGEST or not _clean(command):
        return []
    words = []
    at = len(command) - len(command.lstrip(" "))
    while at < len(command):
        found = _WORD.match(command, at)
        if found is None:
            return []
        words.append(found.group().replace("'", ""))
        at = found.end()
        blanks = _BLANKS.match(command, at)
        if blanks is None or (blanks.end() == at and at < len(command)):
            return []
        at = blanks.end()
    return words


def _clean(text: str) -> bool:
    return text.isprintable()  # no control characters, and no bytes that are not UTF-8


# --- forms ---------------------------------------------------------------------------------------------------------
def _nothing(words: List[str]) -> Optional[Intent]:
    return Intent("nothing") if words == ["true"] else None


def _mkdir(words: List[str]) -> Optional[Intent]:
    """kdump.sh's folder of a dump; our own (image/init_remote.py); kdumpctl's and mkdumprd's look at the path."""
    if len(words) == 6 and words[:2] + words[3:5] == ["mkdir", "-p", "&&", "mkdir"]:
        into = place(words[5])
        known = place(words[2]) == Place("", "") and into is not None and into.folder != "" and into.name == ""
        return Intent("new_folder", into.folder) if known and into else None
    where = place(words[2]) if len(words) == 3 and words[:2] == ["mkdir", "-p"] else None
    if where is None or where.name:
        return None
    return Intent("folder" if where.folder else "directory", where.folder, path=words[2])


def _dd(words: List[str]) -> Optional[Intent]:
    """`umask 0077 &&` came with kdump-utils 2.0.21, the quotes with 2.0.23."""
    if words[:3] == ["umask", "0077", "&&"]:
        words = words[3:]
    if words[:1] != ["dd"] or not words[-1].startswith("of=") or words[1:-1] not in ([], ["bs=512"]):
        return None
    where = place(words[-1][len("of=") :])
    if where is None or not is_written(where.name):
        return None
    return Intent("write", where.folder, where.name)


def is_written(name: str) -> bool:
    """Whether a file may be sent under this name."""
    return name in FINAL or name in DIRECT


def _mv(words: List[str]) -> Optional[Intent]:
    if len(words) != 3 or words[0] != "mv":
        return None
    source, target = place(words[1]), place(words[2])
    if source is None or target is None or source.folder != target.folder:
        return None
    if not source.folder or target.name not in FINAL.get(source.name, ()):
        return None
    return Intent("rename", source.folder, source.name, target.name)


def _scp(words: List[str]) -> Optional[Intent]:
    """The old protocol of scp (`scp -O`, and every scp before OpenSSH 9.0): -t takes a file, -f sends one."""
    options = [word for word in words[1:-1] if word != "--"]
    if words[:1] != ["scp"] or len(words) < 3 or not set(options) <= {"-t", "-f", "-p", "-q", "-v", "-d"}:
        return None
    where = place(words[-1])
    if where is None or not where.folder or ("-t" in options) == ("-f" in options):
        return None
    if "-t" in options:
        return Intent("scp", where.folder, where.name) if not where.name or is_written(where.name) else None
    return Intent("scp_status", where.folder, where.name) if where.name == STATUS else None


def _sftp(words: List[str]) -> Optional[Intent]:
    """scp since OpenSSH 9.0: sshd gives the command that its Subsystem line names to the forced command."""
    program = words[0].rpartition("/")[2] if words else ""
    if program not in ("sftp-server", "internal-sftp") or {"&&", ">"} & set(words):
        return None
    return Intent("sftp")


def _df(words: List[str]) -> Optional[Intent]:
    if len(words) != 3 or words[:2] != ["df", "--output=avail"] or place(words[2]) != Place("", ""):
        return None
    return Intent("space")


def _mktemp(words: List[str]) -> Optional[Intent]:
    """mkdumprd's look whether something can be written, and what it does afterwards."""
    if len(words) == 3 and words[:2] == ["mktemp", "-dqp"] and place(words[2]) == Place("", ""):
        return Intent("probe", path=words[2])
    name = words[1].rpartition("/")[2] if len(words) == 2 and words[0] == "rmdir" else ""
    if is_probe(name) and place(words[1]) == Place("", ""):
        return Intent("unprobe", name=name)
    return None


def _echo(words: List[str]) -> Optional[Intent]:
    """How `kdumpctl test` has its end told."""
    if len(words) != 5 or words[0] != "echo" or words[1] not in ("fail", "success") or words[3] != ">":
        return None
    where = place(words[4])
    if where is None or where.name != STATUS or words[2] != "kdump_test_id=" + where.folder[len("kdump-test-") :]:
        return None
    return Intent("status", where.folder, where.name, "%s %s\n" % (words[1], words[2]))


def _list(words: List[str]) -> Optional[Intent]:
    if words[:2] != ["vmcore-kdump", "list"]:
        return None
    rest, host = words[2:], ""
    if rest[:1] == ["--host"] and len(rest) > 1 and is_host(rest[1]):
        rest, host = rest[2:], rest[1]
    deep = rest[:1] == ["--deep"]
    rest = rest[1:] if deep else rest
    if rest and (len(rest) != 2 or rest[0] != "--marker"):
        return None
    return Intent("list", deep=deep, marker=rest[1] if rest else "", host=host)


_FORMS: Tuple[Callable[[List[str]], Optional[Intent]], ...] = (
    _nothing, _mkdir, _dd, _mv, _scp, _sftp, _df, _mktemp, _echo, _list,
)  # fmt: skip
