# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The server's part of propagate: a host's key in the authorized_keys of the account that takes dumps.

Private to this collection. Runs on the server, as root for an account or as the account itself; many hosts at once.
Everything below the account's directories is done with the account's own rights.
"""

import contextlib
import posixpath
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

from . import authorized_keys, layout, receiver_settings, server_sshd
from .plan import Plan, Step
from .problems import KdumpError, fail, shown

Params = Dict[str, Any]
_LOCK = ".vmcore-kdump.lock"  # beside the file: the one place that everybody who may write it shares
_HOME_RECEIVER = "/.vmcore-kdump/receive.pyz"
# A machine that was installed anew and another one of the same name look alike here: neither key says what it is of.
_OTHERS = (
    "The dump server also takes {count} other key(s) of a host named {name}. If they are of this host (an earlier installation, "
    "a rotation that was broken off), take them away (exclusive: true). If there are two hosts of that name, as two inventories "
    "may have, their dumps come into one directory: give one of them another name."
)


class Place(NamedTuple):
    """`owner`: who writes there. `file`: the authorized_keys."""

    account: Any
    owner: Any
    file: str


class Receiver(NamedTuple):
    """The program that takes the dumps: where it is, and below which directory it puts them ("": it knows)."""

    path: str
    root: str
    data: bytes = b""  # of a program that is to be written there


def decide(host: Any, params: Params, python: str, program: bytes) -> Plan:
    """The plan after which the account takes a host's keys, or no longer.

    params: state present or absent · user ("" for that of this process) · name of the host · public_keys · path of the
    dumps, where no role has set up the server · exclusive: no other keys of that host · receiver: a forced command · _check
    python: the interpreter that runs this, for servers without a python3 of their own; program: the receiver's bytes
    """
    keys = [authorized_keys.key_of(key) for key in params["public_keys"]]
    name = authorized_keys.host_name(params["name"])
    if params["state"] == "present" and not keys:
        raise fail("No public key of the host %s is given." % name, "Give at least one.", "public_keys")
    if params["_check"] and host.account(params["user"]) is None:  # it will be there, and new
        return Plan([Step("authorize %s" % name, lambda target: None)] if params["state"] == "present" else [])
    place = _place(host, params)
    if params["state"] == "absent":
        return Plan(_edit(host, place, lambda text: authorized_keys.removed(text, name, keys)))
    steps, command = [], ""
    if params["receiver"]:
        receiver = _receiver(host, place, params["path"], program)
        command = authorized_keys.forced(_argv(receiver, _python(host, python), name))
        steps = _program(host, place, receiver) + _root(host, place, receiver.root)
    elif _is_roles(host, place):
        # The key without a forced command would have the whole account: the dumps of all hosts.
        raise fail("The account %s is one of the role vmcore.kdump.server, whose receiver has to stand before every key."
                   % place.account.name,
                   "Name an account of its own in the target, or let an engine dump there that speaks to the receiver "
                   "(kdump-tools does not).", "user", place.account.name)  # fmt: skip

    def edited(text: str) -> str:
        authorized_keys.check_owner(text, name, keys)
        return authorized_keys.edit(text, name, command, keys, params["exclusive"])

    return Plan(steps + _edit(host, place, edited))


def report(host: Any, params: Params) -> Dict[str, Any]:
    """What is there now."""
    if params["_check"] and host.account(params["user"]) is None:
        return {"authorized_keys": "", "host_keys": host_keys(host), "others": 0, "warnings": []}
    place = _place(host, params)
    keys = [authorized_keys.key_of(key) for key in params["public_keys"]]
    with host.as_account(place.owner):
        text = host.read_text(place.file, "")
    name = authorized_keys.host_name(params["name"])
    others = len(authorized_keys.others(text, name, keys))
    # During a rotation the host has two keys, and the old one of an earlier installation goes with it.
    told = others and params["state"] == "present" and not params["exclusive"] and len(keys) == 1
    warnings = [_OTHERS.format(name=name, count=others)] if told else []
    return {"authorized_keys": place.file, "host_keys": host_keys(host), "others": others, "warnings": warnings}


def host_keys(host: Any) -> List[str]:
    """Kind and base64 text of the keys by which this machine's sshd is known."""
    named = _effective(host, "").get("hostkey", [])
    files = [path + ".pub" for path in named] or host.glob("/etc/ssh/ssh_host_*_key.pub")
    lines = [authorized_keys.parse(host.read_text(path, "")) for path in files]
    return [line.key for line in lines if line is not None]


# --- where -----------------------------------------------------------------------------------------------------------
def _place(host: Any, params: Params) -> Place:
    user = params["user"]
    account = host.account(user)
    if account is None:
        raise fail("There is no account %s on the dump server." % shown(user),
                   "Run the role vmcore.kdump.server there, or make it (useradd).", "user", user)  # fmt: skip
    file = _keys_file(host, account)
    owner = _owner(host, account, file)
    if owner.uid == 0 and host.account("").uid != 0:
        raise fail("Only root can write %s on the dump server." % file,
                   "Let the server be a host of the inventory, or have its administrator put the key there.",
                   "user", account.name)  # fmt: skip
    return Place(account, owner, file)


def _owner(host: Any, account: Any, file: str) -> Any:
    """Root where the whole way to a file is root's, so that the account can lead nobody elsewhere by a link."""
    folders = [folder for path in (file, host.realpath(file)) for folder in _folders(path)]
    with host.as_account(account):
        there = [folder for folder in folders if host.is_dir(folder)]
        its_own = any(host.stat(folder).st_uid != 0 or host.is_writable(folder) for folder in there)
    return account if its_own or account.uid == 0 else host.account("root")


def _folders(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _keys_file(host: Any, account: Any) -> str:
    """The first file in which sshd looks for the account's keys; as is its default where it cannot be asked."""
    words = " ".join(_effective(host, account.name).get("authorizedkeysfile", [])).split() or [".ssh/authorized_keys"]
    if words[0] == "none":
        raise fail(
            "sshd takes no keys from files for the account %s (AuthorizedKeysFile none)." % account.name,
            "Except the account in sshd_config: `Match User %s` with `AuthorizedKeysFile .ssh/authorized_keys`."
            % account.name, "user", account.name,
        )  # fmt: skip
    text = words[0].replace("%%", "\0")
    for token, value in (("%h", account.home), ("%u", account.name), ("%U", str(account.uid))):
        text = text.replace(token, value)
    return posixpath.normpath(posixpath.join(account.home, text.replace("\0", "%")))


def _effective(host: Any, user: str) -> Dict[str, List[str]]:
    """What sshd goes by; {} where it does not say, which it does to root alone."""
    program = host.which("sshd")
    if program is None:
        return {}
    who = ["-C", "user=%s,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22" % user] if user else []
    result = host.run([program, "-T"] + who, timeout=60)
    return server_sshd.parse_effective(result.out) if result.rc == 0 else {}


# --- the receiver ----------------------------------------------------------------------------------------------------
def _is_roles(host: Any, place: Place) -> bool:
    """Whether the role server has set up its receiver for this account."""
    with host.as_account(place.account), contextlib.suppress(KdumpError, OSError):
        settings = receiver_settings.parse(host.read_text(receiver_settings.PATH))
        return bool(host.is_file(layout.RECEIVER) and host.is_writable(settings.root))
    return False


def _receiver(host: Any, place: Place, path: str, program: bytes) -> Receiver:
    """That of the role, where it is set up for this account; else one in the account's home."""
    if _is_roles(host, place):
        return Receiver(layout.RECEIVER, "")
    if not path.startswith("/") or not path.isprintable() or path.rstrip("/") == "":
        raise fail("%s is no directory for dumps on the server." % shown(path), "Give an absolute path.", "path", path)
    return Receiver(place.account.home.rstrip("/") + _HOME_RECEIVER, path, program)


def _python(host: Any, python: str) -> str:
    """The same for all who write a line here, whatever Python they themselves are run by."""
    return next((path for path in ("/usr/bin/python3", "/usr/libexec/platform-python") if host.exists(path)), python)


def _argv(receiver: Receiver, python: str, name: str) -> List[str]:
    where = ["--root", receiver.root] if receiver.root else []
    return [python, "-I", "-S", receiver.path] + where + ["--host", name]


def _program(host: Any, place: Place, receiver: Receiver) -> List[Step]:
    if not receiver.data:
        return []
    owner = _owner(host, place.account, receiver.path)
    with host.as_account(owner):
        if host.is_file(receiver.path) and host.read(receiver.path) == receiver.data:
            return []

    def apply(target: Any) -> None:
        with _locked(target, place.account, owner, receiver.path) as mode:
            target.write(receiver.path, receiver.data, mode)

    return [Step("write " + receiver.path, apply, "", "%d bytes\n" % len(receiver.data))]


def _root(host: Any, place: Place, root: str) -> List[Step]:
    """The directory of the dumps: the account makes it where it may, and has to be able to write in it."""
    if not root:
        return []
    with host.as_account(place.account):
        nearest = root
        while not host.is_dir(nearest):
            nearest = posixpath.dirname(nearest)
        if host.is_writable(nearest):
            return [] if nearest == root else [Step("create " + root, lambda target: _make(target, place, root))]
    raise fail(
        "The account %s cannot write in the directory of the dumps, %s, on the server." % (place.account.name, root),
        "On the server: install -d -m 700 -o %s %s. Or run the role vmcore.kdump.server there." % (
            place.account.name, root), "path", root,
    )  # fmt: skip


def _make(host: Any, place: Place, root: str) -> None:
    with host.as_account(place.account):
        host.make_directories(root, 0o700)


# --- authorized_keys -------------------------------------------------------------------------------------------------
def _edit(host: Any, place: Place, edited: Callable[[str], str]) -> List[Step]:
    with host.as_account(place.owner):
        before = host.read_text(place.file, "")
        found = host.stat(place.file)
    after = edited(before)
    too_open = found is not None and found.st_mode & 0o022
    if after == before and not too_open:
        return []

    def apply(target: Any) -> None:
        with _locked(target, place.account, place.owner, place.file) as mode:
            # As it is now: other hosts' keys may have come meanwhile.
            text = edited(target.read_text(place.file, ""))
            target.write(place.file, text.encode("utf-8", "surrogateescape"), mode)
            if too_open:  # sshd would ignore it (StrictModes)
                target.chmod(place.file, target.stat(place.file).st_mode & 0o755)

    return [Step("write " + place.file, apply, before, after)]


@contextlib.contextmanager
def _locked(host: Any, account: Any, owner: Any, path: str) -> Iterator[int]:
    """As a file's owner, with the lock that all hold who change it here; yields the mode of a new one.

    What is the account's own nobody else need read.
    """
    private = owner.uid == account.uid
    folder = posixpath.dirname(path)
    with host.as_account(owner):
        host.make_directories(folder, 0o700 if private else 0o755)
        with host.lock(folder + "/" + _LOCK):
            yield 0o600 if private else 0o644
