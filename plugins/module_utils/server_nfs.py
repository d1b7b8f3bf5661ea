# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump server's exports: each host's directory for that host alone. Private to this collection.

A capture writes as root, whom an export makes nobody (root_squash). Here everybody is made the account that takes dumps
(all_squash), so that what came by NFS and what came by ssh belong to the same.
"""

import re
from typing import Any, Dict, List

from .plan import Step
from .problems import KdumpError, Problem, fail, shown
from .receiver_commands import is_host

PATH = "/etc/exports.d/vmcore-kdump.exports"
# subtree_check: without it a client that makes up file handles reaches the whole file system that its directory lies on,
# and so the other hosts' dumps, which belong to the same account (exports(5), "Subdirectory Exports"). Its price, handles
# that end when an open file moves to another directory, is none here: a capture renames within its folder.
_OPTIONS = "rw,sync,subtree_check,all_squash,anonuid=%d,anongid=%d"
# exports(5): a name, an address, a network, a netgroup, a pattern. A word that begins with a `-` would be options.
_CLIENT = re.compile(r"(?!-)[A-Za-z0-9@*?._:/\[\]-]{1,255}")


def check(exports: Dict[str, List[str]]) -> None:
    """KdumpError with everything that is wrong with the directories and their clients."""
    problems = [
        Problem("The export %s is no name of a host's directory." % shown(name), "Give the host's name.", "nfs", shown(name))
        for name in exports if not is_host(name)
    ]  # fmt: skip
    for name, clients in exports.items():
        problems += [
            Problem("The client %s of the export %s is none that exports(5) knows." % (shown(client), shown(name)),
                    "Give a name, an address or a network.", "nfs", shown(client))
            for client in clients if not _CLIENT.fullmatch(client)
        ]  # fmt: skip
        if not clients:
            problems.append(
                Problem("The export %s has no client." % shown(name), "Give the host's address.", "nfs", name)
            )
    if problems:
        raise KdumpError(problems)


def text(root: str, exports: Dict[str, List[str]], uid: int, gid: int) -> str:
    """The file of exports; "" for none."""
    options = _OPTIONS % (uid, gid)
    lines = [
        "%s/%s %s\n" % (root, name, " ".join("%s(%s)" % (client, options) for client in clients))
        for name, clients in sorted(exports.items())
    ]
    return "# Written by the Ansible collection vmcore.kdump; changes are lost.\n" + "".join(lines) if lines else ""


def step(host: Any, wanted: str) -> List[Step]:
    """The file, and what the NFS server makes of it; what that refuses is taken back."""
    before = host.read_text(PATH, "")
    if before == wanted:
        return []

    def apply(target: Any) -> None:
        _put(target, wanted)
        complaint = _exported(target, wanted)
        if complaint:
            _put(target, before)
            _exported(target, before)
            raise fail("The NFS server does not export what it was told: %s" % complaint,
                       "See exports(5) and the NFS server's log; the exports are as they were.")  # fmt: skip

    return [Step("write " + PATH if wanted else "remove " + PATH, apply, before, wanted)]


def _put(host: Any, content: str) -> None:
    if content:
        host.write(PATH, content.encode("utf-8"), 0o644)
    else:
        host.remove(PATH)


def _exported(host: Any, wanted: str) -> str:
    """Have it exported; what went wrong. exportfs is believed no more than that it lists each directory afterwards."""
    program = host.which("exportfs")
    if program is None:
        return "there is no exportfs" if wanted else ""
    result = host.run([program, "-ra"], timeout=120)
    said = " ".join(result.err.split())
    listed = host.run([program, "-s"], timeout=120).out
    paths = [line.split(" ", 1)[0] for line in wanted.split("\n") if line.startswith("/")]
    there = {line.split(None, 1)[0] for line in listed.split("\n") if line.strip()}
    missing = [path for path in paths if path not in there]
    if missing:
        return shown("%s is not exported%s" % (", ".join(missing), ": " + said if said else ""), 300)
    return ""
