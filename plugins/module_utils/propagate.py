# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's part of propagate: its key, the server's pinned keys, and the login that the capture kernel will do.

Private to this collection. The key that is to follow in a rotation lies beside the one in use until it has logged in.
"""

import posixpath
import re
from typing import Any, Callable, Dict, List

from . import authorized_keys, conf, known_hosts, layout, login, ssh
from .plan import Plan, Step, write_file
from .problems import KdumpError, fail, shown

Params = Dict[str, Any]
PATH = "/etc/ssh/ssh_known_hosts"  # every engine takes this file into its capture image
_NEXT = ".next"
_MAKING = layout.RUN_DIR + "/new-key"  # in memory: nothing of a key is left on a disk
_TIMEOUT = 20  # seconds for the server to show its keys
LATER, DONE = "later", "done"


def decide(host: Any, params: Params) -> Plan:
    """The plan of one part of the way; KdumpError with everything that stands against it.

    params: state · server, user (of kdump.conf if "") · key · name · host_keys · accept_new · rotate · remove_key ·
    receiver: whether the server shall have a forced command for the key ·
    server_part later (before the server has the key) or done (it has) · _check
    _new (for report): the key has just been made, so that no server can have it
    """
    server, key = _server(host, params), _key(host, params)
    if params["state"] == "absent":
        return Plan(_absent(host, params, server, key) if params["server_part"] == DONE else [])
    wanted = [authorized_keys.key_of(line) for line in params["host_keys"]]
    steps = _key_steps(host, params, key) + _pin_steps(host, params, server, wanted)
    if params["server_part"] == DONE and host.is_file(key + _NEXT):
        before, after = _shown(host, key), _shown(host, key + _NEXT)
        steps.append(Step("replace " + key, lambda target: _replace(target, server, key, _name(params)), before, after))
    return Plan(steps)


def report(host: Any, params: Params) -> Dict[str, Any]:
    """What is there now, and whether the login works. KdumpError where it has to work and does not."""
    server, key = _server(host, params), _key(host, params)
    keys = [public for public in (_public(host, key), _public(host, key + _NEXT)) if public]
    name = _name(params)
    result: Dict[str, Any] = {
        "public_key": "", "fingerprint": "", "public_keys": ["%s %s %s" % (one, authorized_keys.MARK, name) for one in keys],
        "host_keys": known_hosts.keys(ssh.server_keys(host, server)), "verified": False, "restricted": False, "settled": False,
        "name": name, "user": server.user, "server": server.name, "port": server.port, "directory": _path(host, params),
        "login": "", "warnings": [],
    }  # fmt: skip
    if not keys:
        return result
    result["public_key"], result["fingerprint"] = result["public_keys"][0], authorized_keys.fingerprint(keys[0])
    not_there_yet = params["_check"] and host.which("ssh") is None
    if params["state"] == "absent" or not_there_yet or (params["_new"] and params["server_part"] == LATER):
        return result
    tried = login.attempt(host, server, key + _NEXT if host.is_file(key + _NEXT) else key, name)
    problem = login.problem(tried, server)
    must = params["server_part"] == DONE or tried.result == "unreachable"
    if problem and must and tried.result != "shell" and not params["_check"]:
        raise KdumpError([problem])
    if problem and (must or tried.result in ("shell", "refused")) and params["receiver"]:
        result["warnings"].append(str(problem))
    verified, restricted = tried.result in ("receiver", "shell"), tried.result == "receiver"
    settled = verified and restricted == params["receiver"] and len(keys) == 1
    return dict(result, verified=verified, restricted=restricted, settled=settled, login=tried.result)


def has_key(host: Any, params: Params) -> bool:
    return bool(host.exists(_key(host, params)))


# --- what is asked for -----------------------------------------------------------------------------------------------
def _conf(host: Any) -> Any:
    return conf.parse(host.read_text(layout.CONF, ""))


def _server(host: Any, params: Params) -> ssh.Server:
    """The server that is named, or that of kdump.conf."""
    user, name = params["user"], params["server"]
    if not (user and name):
        given = _conf(host)
        if given.target.kind != "ssh":
            raise fail("No dump server is named, and the target in %s is none that is reached by ssh." % layout.CONF,
                       "Name both server and user.", "server")  # fmt: skip
        there, _at, server = given.target.location.rpartition("@")
        user, name = user or there, name or server
    wanted = conf.parse("ssh %s@%s\n" % (user, name))
    if wanted.problems:
        raise KdumpError(wanted.problems)
    return ssh.server_of(host, wanted, params["state"] == "present")


def _key(host: Any, params: Params) -> str:
    key = params["key"] or _conf(host).get("sshkey")
    if not key.startswith("/"):
        raise fail("%s is no absolute path of a key." % shown(key), "Give one such as /root/.ssh/kdump.", "key", key)
    return str(key)


def _path(host: Any, params: Params) -> str:
    return str(params["path"] or _conf(host).get("path"))


def _name(params: Params) -> str:
    return authorized_keys.host_name(params["name"])


# --- the key ---------------------------------------------------------------------------------------------------------
def _key_steps(host: Any, params: Params, key: str) -> List[Step]:
    if not host.exists(key):
        return [_make_step(host, params, key)]
    if not host.is_file(key):
        raise fail("%s is not a file." % shown(key), "Name the file of a private key.", "key", key)
    if host.stat(key).st_mode & 0o077:
        steps = [Step("close %s to others" % key, lambda target: _close(target, key), "", "mode 0600\n")]
    else:
        steps = _usable(host, key)
    if params["rotate"] and params["server_part"] != DONE and not host.exists(key + _NEXT):
        steps.append(_make_step(host, params, key + _NEXT))
    return steps


def _close(host: Any, key: str) -> None:
    """Before that ssh-keygen says nothing about the key."""
    host.chmod(key, 0o600)
    for step in _usable(host, key):
        step.apply(host)


def _usable(host: Any, key: str) -> List[Step]:
    """What is left to do with a key that is there; KdumpError for one that cannot log in alone."""
    problems = ssh.check_key(host, key)
    if problems:
        raise KdumpError(problems)
    return _public_step(host, key)


def _make_step(host: Any, params: Params, key: str) -> Step:
    if host.which("ssh-keygen") is None and not params["_check"]:  # in check mode no package was installed
        raise fail("There is no ssh-keygen on this host.", "Install openssh-client (Debian) or openssh (Red Hat).")
    # Ed25519 is not among the algorithms of FIPS 140.
    kind = "ecdsa" if host.read_text("/proc/sys/crypto/fips_enabled", "").strip() == "1" else "ed25519"
    name = _name(params)
    return Step("make the key " + key, lambda target: _make(target, key, name, kind), "", "%s, mode 0600\n" % kind)


def _make(host: Any, key: str, name: str, kind: str) -> None:
    host.make_directories(layout.RUN_DIR)
    for path in (_MAKING, _MAKING + ".pub"):
        host.remove(path)
    comment = authorized_keys.MARK + " " + name
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", host.path(_MAKING)]
    result = host.run(argv, timeout=120)
    try:
        if result.rc != 0:
            raise fail("ssh-keygen made no key: %s" % shown(" ".join((result.out + result.err).split())),
                       "Run `ssh-keygen -t %s` on the host to see why." % kind)  # fmt: skip
        host.make_directories(posixpath.dirname(key), 0o700)
        host.write(key + ".pub", host.read(_MAKING + ".pub"))
        host.write(key, host.read(_MAKING), 0o600)
    finally:
        for path in (_MAKING, _MAKING + ".pub"):
            host.remove(path)


def _public(host: Any, key: str) -> str:
    """Kind and base64 text of the public half, from the private one itself; "" where there is none."""
    if not host.is_file(key):
        return ""
    result = host.run(["ssh-keygen", "-y", "-P", "", "-f", host.path(key)], timeout=60)
    line = authorized_keys.parse(result.out)
    return line.key if result.rc == 0 and line is not None else ""


def _public_step(host: Any, key: str) -> List[Step]:
    """Puts the file of the public half right, which `ssh-copy-id` and people go by."""
    before = host.read_text(key + ".pub", "")
    there = authorized_keys.parse(before)
    public = _public(host, key)
    if not public or (there is not None and there.key == public):
        return []
    return [write_file(key + ".pub", before, public + "\n")]


def _shown(host: Any, key: str) -> str:
    public = _public(host, key)
    return authorized_keys.fingerprint(public) + "\n" if public else ""


def _replace(host: Any, server: ssh.Server, key: str, name: str) -> None:
    """Take the next key into use, if it logs in: until then the one before stays."""
    tried = login.attempt(host, server, key + _NEXT, name)
    problem = login.problem(tried, server)
    if problem and tried.result != "shell":
        raise KdumpError([problem._replace(message=problem.message + " The key in use stays as it is.")])
    host.write(key, host.read(key + _NEXT), 0o600)
    host.write(key + ".pub", host.read(key + _NEXT + ".pub"))
    host.remove(key + _NEXT)
    host.remove(key + _NEXT + ".pub")


# --- the server's keys -----------------------------------------------------------------------------------------------
def _pin_steps(host: Any, params: Params, server: ssh.Server, wanted: List[str]) -> List[Step]:
    lines = ssh.server_keys(host, server)
    if not wanted and params["accept_new"] and not ssh.is_pinned(lines, server.key_name):
        if params["_check"] and host.which("ssh-keyscan") is None:
            return [Step("pin what %s shows" % server.name, lambda target: None)]
        wanted = _offered(host, server)
    if not wanted or known_hosts.are_pinned(lines, wanted):
        return []
    if not server.known_hosts:
        raise fail(
            "ssh's configuration on this host names no file of known hosts.",
            "Remove GlobalKnownHostsFile and UserKnownHostsFile there: kdump needs %s." % PATH, "server", server.name,
        )  # fmt: skip
    pins = PATH if PATH in server.known_hosts else server.known_hosts[0]
    return _edit_steps(host, server, pins, wanted)


def _edit_steps(host: Any, server: ssh.Server, pins: str, wanted: List[str], ours: bool = False) -> List[Step]:
    """The server's keys taken out of all files of known hosts, and these put into the file `pins`."""
    steps = []
    for path in server.known_hosts:
        before = host.read_text(path, "")
        after = known_hosts.without(before, server.key_name, ours)
        if path == pins:
            after = known_hosts.added(after, server.key_name, wanted)
        if after != before:
            steps.append(write_file(path, before, after))
    return steps


def _offered(host: Any, server: ssh.Server) -> List[str]:
    """The keys that whoever answers at the server's address has, which nobody vouches for."""
    for address in server.addresses:
        argv = ["ssh-keyscan", "-T", str(_TIMEOUT), "-p", str(server.port), "-t", "ed25519,ecdsa,rsa", address]
        found = re.findall(r"^[^#\s]\S* (\S+ \S+)\s*$", host.run(argv, timeout=3 * _TIMEOUT).out, re.MULTILINE)
        if found:
            return [authorized_keys.key_of(key) for key in found]
    raise fail(
        "The dump server %s shows no host key: nothing answers at %s, port %d." % (
            server.name, " or ".join(server.addresses), server.port),
        "Look at its sshd and at the firewalls between.", "server", server.name,
    )  # fmt: skip


# --- away with it ----------------------------------------------------------------------------------------------------
def _absent(host: Any, params: Params, server: ssh.Server, key: str) -> List[Step]:
    """What this collection has made: the pins that bear its mark, and, where asked for, such a key."""
    steps = _edit_steps(host, server, "", [], ours=True)
    for path in (key, key + _NEXT):
        public = authorized_keys.parse(host.read_text(path + ".pub", ""))
        if params["remove_key"] and public is not None and public.comment.startswith(authorized_keys.MARK + " "):
            steps.append(Step("remove the key " + path, _remover(path), _shown(host, path)))
    return steps


def _remover(key: str) -> Callable[[Any], None]:
    def apply(host: Any) -> None:
        host.remove(key)
        host.remove(key + ".pub")

    return apply
