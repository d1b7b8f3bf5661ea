# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of authorized_keys: who may log in on a dump server, and what for. Private to this collection."""

import base64
import binascii
import hashlib
import re
import shlex
from typing import Iterable, Iterator, List, NamedTuple, Optional

from .problems import fail, shown
from .receiver_commands import ONE_KEY_EACH, is_host

MARK = "vmcore.kdump"  # a comment that begins with it says who wrote the line
# Options that only narrow down who may use a key, and when: an administrator's own are kept.
_KEPT = ("from=", "expiry-time=")
SOMEBODYS = (
    "If it is the host's own key, take that line away on the server, or let its comment end with @%s; if it is anybody else's, "
    "remove the key on the host."
)
_OPTION = re.compile(r'(?:[^",\\]|"(?:\\"|[^"])*"|\\.)+')


class Line(NamedTuple):
    """A line that holds a key; `key` is its kind and its base64 text, separated by one blank."""

    options: List[str]
    key: str
    comment: str


def parse(line: str) -> Optional[Line]:
    """A line with a key; None for any other. As check_authkey_line() in OpenSSH's auth2-pubkeyfile.c."""
    text = line.strip(" \t\r\n")
    found = _key(text)
    if found is not None:
        return Line([], *found)
    options = _before_blank(text)
    found = _key(text[len(options) :].lstrip(" \t"))
    return None if text.startswith("#") or found is None else Line(_OPTION.findall(options), *found)


def key_of(public: str) -> str:
    """Kind and base64 text of a public key as in a .pub file. KdumpError for what is none."""
    line = parse(public)
    if line is None or line.options or "\n" in public.strip():
        hint = "Give one line as in a .pub file: ssh-ed25519 AAAA…"
        raise fail("%s is no public key." % shown(public.strip()), hint, "public_keys", shown(public.strip()))
    return line.key


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` writes it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def host_name(name: str) -> str:
    """A host's name as the receiver takes it, which names the directory of its dumps. Different names stay different."""
    if is_host(name):
        return name
    cleaned = re.sub(r"[^A-Za-z0-9._:-]+", "-", name).strip("._:-")[:64] or "host"
    return cleaned + "-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def forced(argv: List[str]) -> str:
    """The option that has a key run one command and nothing else."""
    return 'command="%s"' % " ".join(shlex.quote(word) for word in argv).replace('"', '\\"')


def edit(text: str, name: str, command: str, keys: List[str], alone: bool = False) -> str:
    """The text of authorized_keys in which a host's keys may deliver dumps, each by one line.

    command: the option of forced(), or "" for none. alone: the host's other keys go. Everything else stays as it is.
    """
    left = list(keys)
    lines: List[str] = []
    for raw in text.split("\n"):
        line = parse(raw)
        if line is not None and line.key in keys:
            if line.key in left:
                left.remove(line.key)
                lines.append(_entry(name, command, line.key, line.options))
        elif not (alone and line is not None and line.comment == _comment(name)):
            lines.append(raw)
    if lines[-1:] == [""]:
        del lines[-1]  # what follows the last line's end
    lines += [_entry(name, command, key, []) for key in left]
    return "".join(line + "\n" for line in lines)


def check_owner(text: str, name: str, keys: List[str]) -> None:
    """KdumpError where one of a host's keys is another host's (dumps of both would be that one's), or somebody's.

    A host that is somebody else's by now may name any key: the controller's public one stands on each of its hosts.
    """
    for line in _lines(text):
        owner = _owner(line)
        if line.key not in keys or _is_of(line, name):
            continue
        its = "The key %s of the host %s " % (fingerprint(line.key), name)
        if owner:
            message = its + "is that of the host %s on the dump server already." % shown(owner)
            raise fail(message, ONE_KEY_EACH, "public_keys", line.key)
        message = its + "is let in by the dump server already, by a line that does not name the host: its comment is %s." % (
            shown(line.comment) or "empty")  # fmt: skip
        raise fail(message, SOMEBODYS % name, "public_keys", line.key)


def removed(text: str, name: str, keys: List[str]) -> str:
    """The text without these keys, and without all others of the host; what is another host's or somebody's stays."""

    def goes(line: Optional[Line]) -> bool:
        return line is not None and (_owner(line) == name or (line.key in keys and _is_of(line, name)))

    return "\n".join(raw for raw in text.split("\n") if not goes(parse(raw)))


def others(text: str, name: str, keys: Iterable[str]) -> List[str]:
    """The host's keys that are not among these."""
    return [line.key for line in _lines(text) if line.comment == _comment(name) and line.key not in keys]


def _lines(text: str) -> Iterator[Line]:
    return (line for line in map(parse, text.split("\n")) if line is not None)


def _entry(name: str, command: str, key: str, before: List[str]) -> str:
    options = ["restrict"] + ([command] if command else [])
    options += [option for option in before if option.lower().startswith(_KEPT)]
    return " ".join([",".join(options), key, _comment(name)])


def _comment(name: str) -> str:
    return MARK + " " + name


def _owner(line: Line) -> str:
    """Whose line it is, by its comment; "" for one that nothing here has written."""
    return line.comment[len(MARK) + 1 :] if line.comment.startswith(MARK + " ") else ""


def _is_of(line: Line, name: str) -> bool:
    """Whether a line is a host's: by its mark, or, where nothing here has written it, by the comment of a key that was made on
    the host (ssh-keygen: user@host), with its long or short name."""
    if _owner(line):
        return _owner(line) == name
    name, host = name.lower(), line.comment.lower().rpartition("@")[2]
    return "@" in line.comment and (host in (name, name.split(".")[0]) or host.split(".")[0] == name)


def _before_blank(text: str) -> str:
    """The options: all before the first blank outside of quotes."""
    quoted = False
    at = 0
    while at < len(text) and (quoted or text[at] not in " \t"):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    return text[:at]


def _key(text: str) -> Optional[List[str]]:
    """[key, comment] of a text that begins with a key: its bytes name their kind themselves (RFC 4253, 6.6)."""
    words = text.split(None, 2)
    if len(words) < 2:
        return None
    kind = words[0].encode("ascii", "replace")
    try:
        blob = base64.b64decode(words[1].encode("ascii", "replace"), validate=True)
    except binascii.Error:
        return None
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        return None
    return [words[0] + " " + words[1], words[2].strip() if len(words) > 2 else ""]
