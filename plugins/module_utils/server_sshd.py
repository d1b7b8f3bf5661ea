# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What sshd on a dump server is told of the account that takes dumps. Private to this collection.

A file of its own where sshd_config includes such; a block at its end where it does not (before OpenSSH 8.2: EL 8).
"""

import re
from typing import Any, Dict, List, NamedTuple

from .plan import Step
from .problems import KdumpError, Problem, fail, shown

CONFIG = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/00-vmcore-kdump.conf"  # the first value of a setting is the one that counts
KEYS = ".ssh/authorized_keys"
_BEGIN = "# BEGIN vmcore.kdump: written by that Ansible collection, changes are lost"
_END = "# END vmcore.kdump"
# Of each key `restrict` and a forced command say the same; this holds whatever stands in authorized_keys. No
# ForceCommand: it would take the place of the keys' own commands, which name the hosts.
_SETTINGS = {
    "AuthenticationMethods": "publickey",
    "AuthorizedKeysFile": KEYS,
    "DisableForwarding": "yes",
    "PermitTTY": "no",
    "PermitUserRC": "no",
    "ClientAliveInterval": "15",  # a host that is gone keeps no connection: it may be the one that restarts and dumps again
    "ClientAliveCountMax": "8",
}


class File(NamedTuple):
    """One of sshd's files: what it holds, and what it shall hold."""

    path: str
    before: str
    after: str


def block(user: str) -> str:
    lines = ["Match User " + user] + ["    %s %s" % setting for setting in _SETTINGS.items()]
    return "\n".join(lines) + "\n"


def files(host: Any, user: str) -> List[File]:
    """The files that are to change; `user` "" for none of ours in them."""
    main, drop_in = host.read_text(CONFIG, ""), host.read_text(DROP_IN, "")
    own = "# Written by the Ansible collection vmcore.kdump; changes are lost.\n" + block(user) if user else ""
    included = includes(main)
    wanted = [
        File(DROP_IN, drop_in, own if included else ""),
        File(CONFIG, main, without_block(main) + (_as_block(user) if user and not included else "")),
    ]
    return [file for file in wanted if file.before != file.after]


def includes(text: str) -> bool:
    """Whether sshd_config takes in the files of sshd_config.d, for every connection."""
    for line in text.split("\n"):
        words = line.split("#")[0].replace("=", " ").replace('"', "").split()
        if words and words[0].lower() == "match":
            return False
        if words and words[0].lower() == "include" and "/etc/ssh/sshd_config.d/*.conf" in words[1:]:
            return True
    return False


def without_block(text: str) -> str:
    return re.sub(r"(?ms)^%s$.*?^%s\n?" % (re.escape(_BEGIN), re.escape(_END)), "", text)


def _as_block(user: str) -> str:
    # `Match all` ends it: what others append belongs to everybody.
    return _BEGIN + "\n" + block(user) + "Match all\n" + _END + "\n"


def step(host: Any, user: str) -> List[Step]:
    """One step for all of sshd's files: sshd itself judges them, and where it refuses they are as they were."""
    changes = files(host, user)
    if not changes:
        return []

    def apply(target: Any) -> None:
        for file in changes:
            _put(target, file.path, file.after)
        try:
            complaint = refused(target)
            if complaint:
                raise fail(
                    "sshd refuses its configuration with the account's settings, which are taken back: %s" % complaint,
                    "Correct /etc/ssh/sshd_config: `sshd -t` says what is wrong.",
                )
            _reload(target)
        except KdumpError:
            for file in changes:
                _put(target, file.path, file.before)
            raise

    text = ["".join(getattr(file, side) for file in changes) for side in ("before", "after")]
    return [Step("write " + " ".join(file.path for file in changes), apply, text[0], text[1])]


def _put(host: Any, path: str, text: str) -> None:
    if text or path == CONFIG:
        host.write(path, text.encode("utf-8", "surrogateescape"), 0o600)
    else:
        host.remove(path)


def refused(host: Any) -> str:
    """What sshd says against its own configuration; "" if nothing, or if there is no sshd."""
    result = _sshd(host, ["-t"])
    return shown(" ".join(result.err.split()), 300) if result is not None and result.rc != 0 else ""


def _sshd(host: Any, arguments: List[str]) -> Any:
    """What sshd answered; None without one."""
    program = host.which("sshd")
    if program is None:
        return None
    result = host.run([program] + arguments, timeout=60)
    if result.rc != 0 and "privilege separation directory" in result.err:
        # Its unit makes that, and where a socket starts the unit, not before the first connection.
        host.make_directories("/run/sshd", 0o755)
        result = host.run([program] + arguments, timeout=60)
    return result


def _reload(host: Any) -> None:
    if not host.is_dir("/run/systemd/system"):
        return
    for name in ("sshd.service", "ssh.service"):
        if any(host.exists(folder + "/systemd/system/" + name) for folder in ("/usr/lib", "/lib", "/etc")):
            result = host.run(["systemctl", "try-reload-or-restart", name], timeout=120)
            if result.rc != 0:
                raise fail("%s could not be reloaded, so the account's settings are taken back: %s"
                           % (name, shown(" ".join(result.err.split()))),
                           "`systemctl status %s` says why; then run it again." % name)  # fmt: skip
            return


# --- what counts -----------------------------------------------------------------------------------------------------
def check(host: Any, user: str) -> None:
    """KdumpError where sshd does not go by these settings for the account, or would not let it in."""
    result = _sshd(host, ["-T", "-C", "user=%s,host=localhost,addr=127.0.0.1" % user])
    if result is None:
        return
    if result.rc != 0:
        raise fail("sshd does not tell what it goes by: %s" % shown(" ".join(result.err.split())),
                   "`sshd -T -C user=%s,host=localhost,addr=127.0.0.1` shows it." % user)  # fmt: skip
    problems = wrong(parse_effective(result.out), user)
    if problems:
        raise KdumpError(problems)


def parse_effective(text: str) -> Dict[str, List[str]]:
    """The settings that `sshd -T` prints, all values of each."""
    found: Dict[str, List[str]] = {}
    for line in text.split("\n"):
        name, _blank, value = line.strip().partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


def wrong(effective: Dict[str, List[str]], user: str) -> List[Problem]:
    """What of the effective settings keeps a host from delivering, or would let it do more."""
    problems = []
    for name, wanted in list(_SETTINGS.items()) + [("ForceCommand", "none")]:
        found = effective.get(name.lower(), ["none"])
        if found != [wanted]:
            problems.append(Problem(
                "For the account %s sshd goes by `%s %s`, and not by %s." % (user, name, shown(found[0]), wanted),
                "Another Match in sshd's configuration comes first: except the account from it.",
            ))  # fmt: skip
    for name in ("allowusers", "allowgroups"):
        if name in effective and not any(_may_mean(user, word) for line in effective[name] for word in line.split()):
            problems.append(Problem(
                "sshd does not let the account %s in: its %s names others only." % (user, name), "Add the account there.",
            ))  # fmt: skip
    for name in ("denyusers", "denygroups"):
        if user in " ".join(effective.get(name, [])).split():
            problems.append(
                Problem("sshd does not let the account %s in: its %s names it." % (user, name), "Remove it there.")
            )
    if effective.get("pubkeyauthentication") == ["no"]:
        problems.append(Problem("sshd takes no keys (PubkeyAuthentication no).", "Allow them for this account."))
    return problems


def _may_mean(user: str, pattern: str) -> bool:
    """Whether a word of a list names the account; what holds a pattern is left to sshd."""
    return pattern.partition("@")[0] == user or bool(set(pattern) & set("*?"))
