# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dump server's keys in a host's known_hosts: pinned, replaced, taken away. Private to this collection."""

from typing import List

from . import ssh
from .authorized_keys import MARK


def keys(lines: List[str]) -> List[str]:
    """Kind and base64 text of the keys of such lines that neither revoke nor stand for an authority."""
    return [" ".join(line.split()[1:3]) for line in lines if not line.startswith("@")]


def are_pinned(lines: List[str], wanted: List[str]) -> bool:
    """Whether a server is known by these keys, and by no others of their kinds."""
    known = keys(lines)
    kinds = {key.split()[0] for key in wanted}
    return set(wanted) <= set(known) and all(key in wanted or key.split()[0] not in kinds for key in known)


def without(text: str, name: str, ours: bool = False) -> str:
    """The text without the keys of one server; with `ours`, only without the lines that this collection wrote.

    Of a line with several names, the name goes; where a pattern still stands for it, that is told to stand for others only.
    """
    kept: List[str] = []
    for raw in text.split("\n"):
        if raw.lstrip().startswith("@") or not ssh.matching(raw, name) or (ours and raw.split()[3:] != [MARK]):
            kept.append(raw)
            continue
        names = raw.split()[0]
        left = ",".join(one for one in names.split(",") if one.lower() != name.lower())
        if names.startswith("|") or not left:
            continue
        line = raw.replace(names, left, 1)
        kept.append(line if not ssh.matching(line, name) else raw.replace(names, left + ",!" + name, 1))
    return "\n".join(kept)


def added(text: str, name: str, wanted: List[str]) -> str:
    """The text with these keys of a server at its end."""
    head = text if not text or text.endswith("\n") else text + "\n"
    return head + "".join("%s %s %s\n" % (name, key, MARK) for key in wanted)
