# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/etc/kdump/plan: what /init goes by, as assignments of the shell. Private to this collection."""

from typing import List, Mapping, Tuple

from .. import ssh
from . import target

KEY = "etc/kdump/ssh/key"
KNOWN_HOSTS = "etc/kdump/ssh/known_hosts"
_CONNECT_TIMEOUT = 20  # seconds


def text(values: List[Tuple[str, str]], targets: Mapping[str, target.Target]) -> str:
    """The settings that init.SCRIPT lists at its beginning, and use_target with the targets by the names it asks for."""
    cases = "".join("%s)\n%s;;\n" % (name, _assignments(found.settings)) for name, found in targets.items())
    return _assignments(values) + "use_target() {\ncase $1 in\n%sesac\n}\n" % cases


def ssh_options(found: target.Target) -> str:
    """The options of each ssh, "" for another kind of target. None of them holds a blank."""
    if found.kind != "ssh":
        return ""
    given = dict(found.settings)
    port = int(given["port"] or 22)
    return " ".join(ssh.options("/" + KEY, "/" + KNOWN_HOSTS, given["server_name"], port, _CONNECT_TIMEOUT))


def _assignments(values: List[Tuple[str, str]]) -> str:
    return "".join("%s=%s\n" % (name, _quoted(value)) for name, value in values)


def _quoted(value: str) -> str:
    """A word of the shell."""
    return "'%s'" % value.replace("'", "'\\''")
