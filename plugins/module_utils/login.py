# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The login at the dump server that the capture kernel will do, tried beforehand. Private to this collection."""

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional

from . import ssh
from .problems import Problem, fail, shown

_TIMEOUT = 20  # seconds for a connection
_PAUSES = (1, 2, 4, 8, None)  # seconds between attempts
# What ssh says where sshd refuses some while many log in at once (MaxStartups).
_TURNED_AWAY = re.compile("kex_exchange_identification|banner exchange|Connection reset by")

# By the result of a login: what is wrong, and the way out.
_PROBLEMS: Dict[str, Problem] = {
    "shell": Problem(
        "The host's key may do more on {where} than deliver dumps.",
        "Give propagate a way to that server, which needs python3: a password, a key of the controller, or its inventory "
        "entry.",
    ),
    "refused": Problem(
        "{where} lets this host in and then refuses: {said}",
        "Mend that on the server. Without a receiver the account needs a shell, and may be no account for sftp alone.",
    ),
    "denied": Problem(
        "{where} does not accept the host's key, as the capture kernel would use it: {said}",
        "sshd's log on the server says why: the account's home and .ssh must be writable by nobody else, its shell must "
        "exist, and sshd_config must let it in (AllowUsers, PubkeyAuthentication, AuthorizedKeysFile).",
    ),
    "unknown": Problem(
        "The dump server {name} does not show a host key that is pinned on this host: {said}",
        "If its key was changed, give the new one as host_keys, or name the server's inventory entry, which tells it. If "
        "nobody changed it, somebody else answers there.",
    ),
    "unreachable": Problem(
        "This host cannot log in at the dump server {name}, port {port}: {said}",
        "Look at the server's sshd and at the firewalls between.",
    ),
}


class Login(NamedTuple):
    """How a login went.

    result: receiver (it may deliver dumps and nothing else) · shell (it may do more) · refused (by the receiver, or by
    what is there in place of a shell) · denied (the key is not accepted) · unknown (no host key of the server is pinned,
    or another one is) · unreachable
    said: what ssh or the receiver said
    """

    result: str
    said: str = ""


def attempt(host: Any, server: ssh.Server, key: str, name: str) -> Login:
    """Log in as the capture kernel does, and ask the receiver for this host's dumps, by the host's name there."""
    tried = Login("unreachable", "it has no address")
    if host.which("ssh") is None:
        raise fail("There is no ssh on this host.", "Install openssh-client (Debian) or openssh-clients (Red Hat).")
    for address in server.addresses:
        words = ssh.options(host.path(key), " ".join(server.known_hosts), server.key_name, server.port, _TIMEOUT)
        to = ["ssh"] + words + [server.user + "@" + address]
        tried = _ask(host, to + ["vmcore-kdump", "list", "--host", name])
        if tried.result == "shell" and host.run(to + ["true"], timeout=6 * _TIMEOUT).rc != 0:
            tried = Login("refused", tried.said)  # nologin(8), or nothing but sftp
        if tried.result != "unreachable":
            break
    return tried


def _ask(host: Any, argv: List[str]) -> Login:
    for pause in _PAUSES:
        done = host.run(argv, timeout=6 * _TIMEOUT)
        if pause is None or done.rc != 255 or not _TURNED_AWAY.search(done.err):
            break
        host.sleep_about(pause)
    return judge(done.rc, done.out, done.err)


def judge(code: int, out: str, said: str) -> Login:
    """What an ssh that asked the receiver for a list came to. 255 is ssh's own code (ssh(1), EXIT STATUS)."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    told = shown(" ".join(lines[-3:]), 300)
    if code == 0 and _is_list(out):
        return Login("receiver")
    if code not in (255, -1):
        refused = [line for line in lines if line.startswith("vmcore.kdump: ")]
        return Login("refused", shown(" ".join(refused), 300)) if refused else Login("shell", told)
    if "Host key verification failed" in said:
        return Login("unknown", told)
    return Login("denied" if "Permission denied" in said else "unreachable", told)


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def problem(tried: Login, server: ssh.Server) -> Optional[Problem]:
    """What is wrong with a login, and the way out; None for one that is as it should be."""
    if tried.result == "receiver":
        return None
    where = "%s@%s" % (server.user, server.name)
    words = {"where": where, "name": server.name, "port": server.port, "said": tried.said or "no word"}
    usual = _PROBLEMS[tried.result]
    return usual._replace(message=usual.message.format(**words), option="server", value=where)
