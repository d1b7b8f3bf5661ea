# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dump server that is reached by ssh: how the capture logs in there, and by which keys it knows the server.

Private to this collection. What the capture kernel does and what is tried beforehand use the same options() and the
same lines of known_hosts, so that a login that works today works in a crash.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from .problems import KdumpError, Missing, Problem, fail, shown

# ssh's own, which `ssh -G` names where it is there.
_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2 /root/.ssh/known_hosts /root/.ssh/known_hosts2"
_PROPAGATE = "Bring it about with the module vmcore.kdump.propagate, which also tries the login."


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
        "ServerAliveCountMax=4", "CheckHostIP=no", "UpdateHostKeys=no",
    ):  # fmt: skip
        words += ["-o", setting]
    return words


# --- the server ----------------------------------------------------------------------------------------------------
def server_of(host: Any, conf: Any, reached: bool = True) -> Server:
    """The server of a kdump.conf whose target is ssh. KdumpError where the capture kernel could not reach it.

    reached: it has to have an address.

    Port and files of keys are taken from ssh's configuration on the host (`ssh -G`). An alias is refused, as kdumpctl
    refuses it: kdump.conf shall name the server for every engine, and a change of ssh's configuration shall not send
    dumps elsewhere.
    """
    user, _at, name = conf.target.location.rpartition("@")
    values = _configuration(host, conf.target.location)
    problems = list(_unusable(values, user, name))
    addresses = host.resolve(name) if reached and not problems else []
    if reached and not problems and not addresses:
        hint = "Correct the name, make it known in DNS or /etc/hosts, or write the server's address."
        message = "The dump server %s has no address that this host can find." % shown(name)
        problems.append(Problem(message, hint, "ssh", conf.target.location))
    if problems:
        raise KdumpError(problems)
    port = int(values["port"]) if values.get("port", "").isdigit() else 22
    key_name = values.get("hostkeyalias", name if port == 22 else "[%s]:%d" % (name, port))
    files = values.get("globalknownhostsfile", "") + " " + values.get("userknownhostsfile", "")
    known_hosts = [re.sub("^~/", "/root/", word) for word in (files if files.strip() else _KNOWN_HOSTS).split()]
    return Server(user, name, addresses, port, key_name, [path for path in known_hosts if path.startswith("/")])


def _configuration(host: Any, destination: str) -> Dict[str, str]:
    """What ssh's configuration says about a destination; {} without ssh, which those miss who need it."""
    if host.which("ssh") is None:
        return {}
    result = host.run(["ssh", "-G", destination], timeout=60)
    if result.rc != 0:
        raise fail(
            "ssh's configuration on this host cannot be read: %s" % shown(" ".join(result.err.split())),
            "Correct it: `ssh -G %s` says what is wrong." % destination,
            "ssh",
            destination,
        )
    lines = [line.partition(" ") for line in result.out.split("\n")]
    return {name: value.strip() for name, _blank, value in reversed(lines) if name}


def _unusable(values: Dict[str, str], user: str, name: str) -> Iterator[Problem]:
    real = values.get("hostname", name)
    if real != name:
        hint = "Write `ssh %s@%s`." % (user, shown(real))
        message = "%s is an alias in ssh's configuration, and kdump refuses those." % shown(name)
        yield Problem(message, hint, "ssh", "%s@%s" % (user, name))
    for option in ("proxycommand", "proxyjump"):
        if values.get(option, "none") != "none":
            hint = (
                "Name a server that this host reaches directly, or except it: `Host %s` with `ProxyJump none`." % name
            )
            message = "%s is reached through another server by ssh's configuration (%s)." % (shown(name), option)
            yield Problem(message, hint, "ssh", "%s@%s" % (user, name))


# --- the server's keys ---------------------------------------------------------------------------------------------
def server_keys(host: Any, server: Server) -> List[str]:
    """The lines that ssh would take into account for the server, of all files that it looks into; [] where none is."""
    lines: List[str] = []
    for path in server.known_hosts:
        lines += [line for line in matching(host.read_text(path, ""), server.key_name) if line not in lines]
    return lines


def pinned_keys(host: Any, server: Server) -> List[str]:
    """As server_keys(); KdumpError where there is none by which the server could be known."""
    lines = server_keys(host, server)
    if not is_pinned(lines, server.key_name):
        message = "No host key of the dump server is known as %s on this host, and in a crash nobody can be asked."
        hint = _PROPAGATE + " Or put the key into /etc/ssh/ssh_known_hosts yourself."
        target = "%s@%s" % (server.user, server.name)
        raise Missing([Problem(message % server.key_name, hint, "ssh", target)])
    return lines


def is_pinned(lines: List[str], key_name: str) -> bool:
    """Whether by these lines a server can be known at all: by a key that is not revoked, or by an authority.

    A certificate names hosts without their ports, and ssh compares it with the whole HostKeyAlias.
    """
    parsed = [_parse(line) for line in lines]
    revoked = [key for marker, _names, key in parsed if marker == "@revoked"]
    usable = [marker for marker, _names, key in parsed if key not in revoked and marker != "@revoked"]
    return "" in usable or ("@cert-authority" in usable and not key_name.startswith("["))


def matching(known_hosts_text: str, name: str) -> List[str]:
    """The lines of a known_hosts file that hold for a server's key_name, @revoked and @cert-authority included.

    As check_key_in_hostkeys() and match_maybe_hashed() in OpenSSH's hostfile.c; lines without a key are left out.
    """
    found = []
    for line in known_hosts_text.split("\n"):
        _marker, names, key = _parse(line)
        if key and _names_match(names, name.lower()):
            found.append(line.strip())
    return found


def _parse(line: str) -> Tuple[str, str, str]:
    """Marker, names and key of a line of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); key "" for none."""
    words = line.split()
    marker = words.pop(0) if words and words[0] in ("@revoked", "@cert-authority") else ""
    if len(words) < 3 or words[0].startswith(("#", "@")):
        return marker, "", ""
    try:
        blob = base64.b64decode(words[2].encode("ascii", "replace"), validate=True)
    except binascii.Error:
        return marker, "", ""
    # The key itself begins with its kind, a string with its length before it (RFC 4253, 6.6).
    kind = words[1].encode("ascii", "replace")
    return marker, words[0], words[2] if blob.startswith(len(kind).to_bytes(4, "big") + kind) else ""


def _names_match(names: str, name: str) -> bool:
    if names.startswith("|"):
        return _is_hash_of(names, name)
    matched = False
    for pattern in names.lower().split(","):
        negated = pattern.startswith("!")
        if _pattern(pattern[negated:]).fullmatch(name):
            if negated:
                return False
            matched = True
    return matched


def _pattern(text: str) -> Any:
    """A pattern of ssh_config(5): `*` and `?`, and nothing else is special."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."))


def _is_hash_of(names: str, name: str) -> bool:
    """A name that `ssh-keygen -H` hashed: `|1|salt|HMAC-SHA1`, both in base64."""
    parts = names.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = (base64.b64decode(part.encode("ascii", "replace"), validate=True) for part in parts[2:])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode("utf-8", "surrogateescape"), hashlib.sha1).digest(), digest)


# --- the host's own key --------------------------------------------------------------------------------------------
def usable_key(host: Any, path: str) -> None:
    """KdumpError with what check_key() says; Missing where there is no key."""
    problems = check_key(host, path)
    if problems:
        raise (KdumpError if host.exists(path) else Missing)(problems)


def check_key(host: Any, path: str) -> List[Problem]:
    """What keeps a private key from logging in where nobody can type a passphrase."""
    found = host.stat(path)
    if not host.is_file(path):
        return [Problem("There is no ssh key %s." % shown(path), _PROPAGATE, "sshkey", path)]
    if found.st_mode & 0o077:
        hint = "chmod 600 %s: ssh refuses a private key that others can read." % shown(path)
        return [Problem("The ssh key %s is open to others." % shown(path), hint, "sshkey", path)]
    if host.which("ssh-keygen") is None:
        return []
    result = host.run(["ssh-keygen", "-y", "-P", "", "-f", host.path(path)], timeout=60)
    if result.rc == 0 and not result.out.startswith("sk-"):
        return _expired(host, path + "-cert.pub")
    if result.rc == 0:
        message = "The ssh key %s is of no use without its security token." % shown(path)
    elif "passphrase" in result.err:
        message = "The ssh key %s is protected by a passphrase, which nobody can type in a crash." % shown(path)
    else:
        message = "The ssh key %s cannot be read: %s" % (shown(path), shown(" ".join(result.err.split())))
    return [Problem(message, "Use a key of its own for dumps. " + _PROPAGATE, "sshkey", path)]


def _expired(host: Any, path: str) -> List[Problem]:
    """A certificate that no server takes any more."""
    if not host.is_file(path):
        return []
    # Its times are local ones without their zone.
    said = host.run(["env", "TZ=UTC", "ssh-keygen", "-L", "-f", host.path(path)], timeout=60).out
    until = re.search(r"^\s*Valid: (?:from \S+ to|before) (\S+)$", said, re.MULTILINE)
    now = datetime.datetime.fromtimestamp(host.now(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    if until is None or now < until.group(1):
        return []
    message = "The ssh key's certificate %s has expired, at %sZ." % (shown(path), until.group(1))
    return [Problem(message, "Renew it, or remove it where the key logs in without one.", "sshkey", path)]
