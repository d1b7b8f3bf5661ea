# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dump server that is reached by ssh: how the capture logs in there, and by which keys it knows the server.

Private to this collection. What the capture kernel does and what is tried beforehand use the same options() and the
same lines of known_hosts, so that a login that works today works in a crash.
"""

from typing import Any, List, NamedTuple


class Server(NamedTuple):
    """The server of kdump.conf's `ssh user@server`."""

    user: str
    name: str  # as in kdump.conf
    addresses: List[str]  # numeric, of the name as it is resolved now
    port: int
    key_name: str  # under which its keys stand in known_hosts: the name, `[name]:port` where the port is not 22
    known_hosts: List[str]  # the files that ssh looks for its keys in


def options(key: str, known_hosts: str, server_name: str, port: int, connect_timeout: int) -> List[str]:
    """ssh's arguments for a login as the capture kernel does it: to be followed by `user@address` and a command.

    `server_name` is Server.key_name, `known_hosts` a file with the lines of server_keys(). No configuration of the
    host counts, nobody is asked, and a server that stops to answer ends the connection.
    """
    words = ["-F", "/dev/null", "-T", "-i", key, "-p", str(port)]
    for setting in (
        "BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + known_hosts,
        "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=" + server_name, "IdentitiesOnly=yes", "IdentityAgent=none",
        "PreferredAuthentications=publickey", "ConnectTimeout=%d" % connect_timeout, "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
    ):  # fmt: skip
        words += ["-o", setting]
    return words


def server_of(host: Any, conf: Any) -> Server:
    """The server of a kdump.conf whose target is ssh; KdumpError for an alias, a name that is not resolved …"""
    raise NotImplementedError


def server_keys(host: Any, server: Server) -> List[str]:
    """The lines that ssh would take into account for the server, of all files that it looks into; [] where none is."""
    raise NotImplementedError


def matching(known_hosts_text: str, name: str) -> List[str]:
    """The lines of a known_hosts file that hold for a server's key_name, @revoked and @cert-authority included."""
    raise NotImplementedError
