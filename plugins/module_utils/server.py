# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump server: the receiver, what it goes by, and what sshd, NFS and systemd are told of it. Private to this collection.

The account, its home and the directories are the role's, made by Ansible's own modules.
"""

import hashlib
import re
from typing import Any, Dict, List, Optional, Tuple

from . import boot, layout, receiver_settings, server_nfs, server_sshd
from .plan import Plan, Step, remove_file, write_file
from .problems import KdumpError, Problem, fail, shown

SERVICE = "/etc/systemd/system/vmcore-kdump-retain.service"
TIMER_NAME = "vmcore-kdump-retain.timer"
TIMER = "/etc/systemd/system/" + TIMER_NAME
TIMER_LINK = "/etc/systemd/system/timers.target.wants/" + TIMER_NAME
_UNITS = {"b": 0, "": 0, "k": 10, "m": 20, "g": 30, "t": 40}
# The root becomes the account's, closed to all others: no directory that others use too, and nothing of the system's.
_SHARED = {"/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var"} | {
    "/var/" + name for name in ("cache", "lib", "log", "mail", "opt", "spool", "tmp")
}  # fmt: skip
_SYSTEM = {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr"}
_SIZES = ("quota_host", "quota_total", "min_free", "keep_free")
_NUMBERS = ("connections", "idle", "keep_count", "keep_days")

_SERVICE_TEXT = """\
# Written by the Ansible collection vmcore.kdump; changes are lost.
[Unit]
Description=Remove the vmcores that are not to be kept
RequiresMountsFor={root}

[Service]
Type=oneshot
User={user}
ExecStart={python} -I -S {program} retain
UMask=0077
Nice=10
IOSchedulingClass=idle
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=read-only
ProtectSystem=strict
ReadWritePaths={root}
RestrictRealtime=yes
"""
_TIMER_TEXT = """\
# Written by the Ansible collection vmcore.kdump; changes are lost.
[Unit]
Description=Remove the vmcores that are not to be kept

[Timer]
OnCalendar=hourly
RandomizedDelaySec=10min
Persistent=yes

[Install]
WantedBy=timers.target
"""


def decide(host: Any, params: Dict[str, Any], python: str, program: str) -> Plan:
    """The plan that makes a dump server of a host, or takes that back. The account is there already.

    params: state, user, nfs, and the fields of receiver_settings.Settings, sizes as text; program: the receiver's module
    """
    if params["state"] == "absent":
        return Plan(_absent(host))
    wanted = settings(params)
    server_nfs.check(params["nfs"])
    uid, gid = _account(host, params)
    exports = server_nfs.text(wanted.root, params["nfs"], uid, gid)
    units = _units(host, wanted, params["user"], boot.stable_python(host, python))
    steps = _program(host, program) + _text(host, receiver_settings.PATH, receiver_settings.text(wanted)) + units
    return Plan(steps + server_sshd.step(host, params["user"]) + server_nfs.step(host, exports))


def report(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """What is there now. KdumpError where sshd would not do what a present server needs of it."""
    if params["state"] == "present" and not params["_check"]:
        server_sshd.check(host, params["user"])
    there = host.is_file(layout.RECEIVER)
    digest = hashlib.sha256(host.read(layout.RECEIVER)).hexdigest() if there else ""
    text = host.read_text(receiver_settings.PATH, "")
    exports = [line.split(" ", 1)[0] for line in host.read_text(server_nfs.PATH, "").split("\n") if line[:1] == "/"]
    return {
        "program": {"path": layout.RECEIVER, "digest": digest},
        "settings": _settings_of(text),
        "exports": exports,
    }


def _settings_of(text: str) -> Optional[Dict[str, Any]]:
    """None for a file that cannot be understood too: the plan replaces it, and check mode comes before that."""
    try:
        return dict(receiver_settings.parse(text)._asdict()) if text else None
    except KdumpError:
        return None


# --- what is asked for -----------------------------------------------------------------------------------------------
def settings(params: Dict[str, Any]) -> receiver_settings.Settings:
    """The receiver's settings. KdumpError with everything that is wrong."""
    given: Dict[str, Any] = {name: params[name] for name in _NUMBERS if params[name] is not None}
    given["root"] = params["root"]
    problems: List[Problem] = []
    parts = params["root"].split("/")
    if not re.fullmatch(r"(/[A-Za-z0-9_.+-]+)+/?", params["root"]) or {".", ".."} & set(parts):
        problems.append(Problem(
            "The root %s is no absolute path of letters, digits and `_.+-`." % shown(params["root"]),
            "NFS and systemd take no other: give one such as /srv/vmcore-kdump.", "root", shown(params["root"]),
        ))  # fmt: skip
    elif parts[1] in _SYSTEM or params["root"].rstrip("/") in _SHARED:
        problems.append(Problem(
            "The root %s is not for dumps alone, and would be closed to all but the account." % shown(params["root"]),
            "Give a directory of its own, such as /srv/vmcore-kdump.", "root", shown(params["root"]),
        ))  # fmt: skip
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", params["user"]) or params["user"] == "root":
        problems.append(Problem(
            "%s cannot be the account that takes dumps." % shown(params["user"]), "Give one of its own, such as kdump.",
            "user", shown(params["user"]),
        ))  # fmt: skip
    for name in _SIZES:
        size = bytes_of(params[name] or "0")
        if size is None:
            problems.append(Problem("%s is %s, which is no size." % (name, shown(params[name])),
                                    "Give a number with K, M, G or T, such as 500G.", name, shown(params[name])))  # fmt: skip
        else:
            given[name] = size
    if problems:
        raise KdumpError(problems)
    return receiver_settings.of(given)


def bytes_of(text: str) -> Optional[int]:
    """A size such as 500G or 1.5T (units of 1024); None for what is none."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([bkmgt]?)(?:i?b)?", text.strip().lower(), re.ASCII)
    return int(float(found.group(1)) * (1 << _UNITS[found.group(2)])) if found else None


def _account(host: Any, params: Dict[str, Any]) -> Tuple[int, int]:
    """The numbers of the account and of its group; in check mode it may not be there yet."""
    result = host.run(["getent", "passwd", params["user"]], timeout=60)
    fields = result.out.strip().split(":")
    if result.rc == 0 and len(fields) > 3 and fields[2].isdigit() and fields[3].isdigit():
        return int(fields[2]), int(fields[3])
    if params["_check"]:
        return 0, 0
    raise fail("There is no account %s." % params["user"], "The role vmcore.kdump.server makes it; so does useradd.")


# --- files -----------------------------------------------------------------------------------------------------------
def _program(host: Any, program: str) -> List[Step]:
    wanted = boot.program_bytes(program)
    if host.is_file(layout.RECEIVER) and host.read(layout.RECEIVER) == wanted:
        return []
    digest = "sha256 %s\n" % hashlib.sha256(wanted).hexdigest()
    return [Step("write " + layout.RECEIVER, lambda target: target.write(layout.RECEIVER, wanted, 0o755), "", digest)]


def _text(host: Any, path: str, wanted: str) -> List[Step]:
    before = host.read_text(path, "")
    return [write_file(path, before, wanted)] if before != wanted else []


def _units(host: Any, wanted: receiver_settings.Settings, user: str, python: str) -> List[Step]:
    service = _SERVICE_TEXT.format(root=wanted.root, user=user, python=python, program=layout.RECEIVER)
    steps = _text(host, SERVICE, service) + _text(host, TIMER, _TIMER_TEXT)
    if host.readlink(TIMER_LINK) != TIMER:
        steps.append(Step("enable " + TIMER_NAME, lambda target: target.symlink(TIMER, TIMER_LINK), "", "enabled\n"))
    runs = host.is_dir("/run/systemd/system") and host.run(["systemctl", "--quiet", "is-active", TIMER_NAME]).rc == 0
    return steps + (_systemctl(host, ["daemon-reload"], ["start", TIMER_NAME]) if steps or not runs else [])


def _systemctl(host: Any, *commands: List[str]) -> List[Step]:
    if not host.is_dir("/run/systemd/system"):
        return []

    def run(target: Any) -> None:
        for command in commands:
            result = target.run(["systemctl"] + command, timeout=120)
            if result.rc != 0:
                raise fail("`systemctl %s` failed: %s" % (" ".join(command), shown(" ".join(result.err.split()))),
                           "The files are in place: run it by hand.")  # fmt: skip

    return [Step("systemctl " + ", ".join(" ".join(command) for command in commands), run)]


def _absent(host: Any) -> List[Step]:
    """Everything but the account and the dumps."""
    there = host.readlink(TIMER_LINK) is not None
    steps = _systemctl(host, ["stop", TIMER_NAME]) if there else []
    paths = [TIMER_LINK, TIMER, SERVICE, layout.RECEIVER, receiver_settings.PATH]
    present = [path for path in paths if host.exists(path) or host.readlink(path) is not None]
    steps += [remove_file(path, path + "\n") for path in present]
    if present:
        steps.append(Step("remove what is empty now", _remove_empty))
    steps += _systemctl(host, ["daemon-reload"]) if there else []
    return steps + server_sshd.step(host, "") + server_nfs.step(host, "")


def _remove_empty(host: Any) -> None:
    for path in (layout.RECEIVER, receiver_settings.PATH):
        host.remove_empty_directory(path.rpartition("/")[0])
