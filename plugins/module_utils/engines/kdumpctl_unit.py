# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""kdump.service: what systemd says of it, how it is started, stopped and kept quiet. Private to this collection.

Source: kdump.service and kdumpctl of kdump-utils 1.0.61. The unit stays active after `kdumpctl start` (RemainAfterExit),
and stopping it runs `kdumpctl stop`, which unloads whatever capture kernel is loaded, by whomever.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from .. import cmdline, kexec_state
from ..plan import Step
from ..problems import KdumpError, Problem, fail, shown

UNIT = "kdump.service"
LINK = "/etc/systemd/system/multi-user.target.wants/" + UNIT
MASK = "/etc/systemd/system/" + UNIT
PLACES = ["/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"]
# While this is there, stopping the unit unloads nothing. Under /run: what a killed run leaves is gone at the next boot.
QUIET = "/run/systemd/system/%s.d/50-vmcore-kdump.conf" % UNIT
_QUIET_TEXT = """\
# Written by the Ansible collection vmcore.kdump while it hands the host to another engine.
[Service]
ExecStop=
"""

# Starting may build an image, and waits 180 seconds for an ssh server and 10 minutes for an NFS server.
_START_SECONDS = 1800
_STOP_SECONDS = 300
_PROPERTIES = "ActiveState,ActiveEnterTimestampMonotonic,LoadState,Result"
_MOST_LINES = 20


class State(NamedTuple):
    """`since`: when the unit became active, in seconds since 1970; None while it is not active. `starting`: kdumpctl is at
    work, at boot for minutes where it builds its image."""

    active: bool
    since: Optional[float]
    result: str
    starting: bool


def state(host: Any) -> State:
    """What systemd says of the unit; inactive where there is no systemd, or no such unit."""
    found: Dict[str, str] = {}
    for line in host.run(["systemctl", "show", UNIT, "--property=" + _PROPERTIES], timeout=60).out.splitlines():
        name, dummy, value = line.partition("=")
        found[name] = value
    active = found.get("ActiveState") == "active"
    monotonic = found.get("ActiveEnterTimestampMonotonic", "")
    since = host.now() - host.monotonic() + int(monotonic) / 1e6 if active and monotonic.isdigit() else None
    return State(active, since, found.get("Result", ""), found.get("ActiveState") == "activating")


def is_installed(host: Any) -> bool:
    return any(host.is_file(place + UNIT) for place in PLACES)


def is_enabled(host: Any) -> bool:
    """Whether systemd starts it at boot: by the link that `systemctl enable` makes, and a unit that is not masked."""
    return host.readlink(LINK) is not None and host.readlink(MASK) != "/dev/null" and is_installed(host)


def is_skipped(host: Any) -> bool:
    """Whether systemd would skip the unit, and call that no failure.

    Its ExecCondition (before 1.0.48 ConditionKernelCommandLine) looks for a reservation in /proc/cmdline.
    """
    names = [cmdline.key(argument) for argument in cmdline.split(host.read_text("/proc/cmdline", ""))]
    return not any("crashkernel" in name or "fadump" in name for name in names)


# --- loading -------------------------------------------------------------------------------------------------------
def start(host: Any) -> None:
    """Start the unit, and look whether the kernel has something loaded then. KdumpError with the unit's journal."""
    began = host.now()
    # A unit that is active already is not started; one that failed too often is not either.
    host.run(["systemctl", "reset-failed", UNIT], timeout=60)
    done = host.run(["systemctl", "start", UNIT], timeout=_START_SECONDS)
    if kexec_state.is_loaded(host) and done.rc == 0:
        return
    if done.rc == 0:
        message = "Starting %s was said to have succeeded, and the kernel has nothing loaded." % UNIT
    else:
        message = "%s could not load the capture kernel: %s" % (UNIT, shown(_last(done.err + done.out), 300))
    said = journal(host, began)
    raise KdumpError([Problem(message + _quoted(said), hint(said))])


def unload(host: Any) -> None:
    """Unload what is loaded, and leave the unit inactive, so that starting it starts something. KdumpError."""
    began, unit = host.now(), state(host)
    if unit.starting:  # what it loads is not wanted, and a further start would do no more than wait for this one
        host.run(["systemctl", "start", UNIT], timeout=_START_SECONDS)
        unit = state(host)
    if unit.active:
        done = host.run(["systemctl", "stop", UNIT], timeout=_STOP_SECONDS)
    elif kexec_state.is_loaded(host):
        done = host.run(["kdumpctl", "stop"], timeout=_STOP_SECONDS)
    else:
        return
    if kexec_state.is_loaded(host):
        said = journal(host, began)
        raise fail(
            "What is loaded could not be unloaded: %s" % shown(_last(done.err + done.out), 300) + _quoted(said),
            "Reboot if it stays; a loaded kernel cannot be replaced where kernel.kexec_load_disabled is 1.",
        )


def journal(host: Any, since: float) -> List[str]:
    """The last lines that the unit has logged since then."""
    argv = ["journalctl", "--no-pager", "-o", "cat", "-u", UNIT, "-n", str(_MOST_LINES), "--since=@%d" % int(since)]
    lines = [line for line in host.run(argv, timeout=60).out.splitlines() if line and not line.startswith("-- ")]
    return [shown(line, 200) for line in lines]


def _quoted(lines: List[str]) -> str:
    return "\n  ".join([" Its journal:"] + lines) + "\n" if lines else ""


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


# What kdumpctl and mkdumprd say, and what to do about it. The first that is found counts.
_HINTS = (
    ('run "kdumpctl propagate"', "Bring the host's key to the server, and the server's host key into /root/.ssh/known_hosts."),
    ("check the privilege on server side", "Let the user of the ssh target write to the dump path on the server."),
    ("ipaddr is not ready yet", "The ssh server did not answer in 180 seconds: look at the network and the server."),
    ("Host key verification failed", "Put the server's host key into /root/.ssh/known_hosts."),
    ("kdump preflight check", "Mount the dump target by hand; what stops that stops kdump."),
    ("does not exist in dump target", "Create the dump path on the target."),
    ("Dump target is invalid", "Name a path or a device that is there (module vmcore.kdump.conf with check_host says which)."),
    ("makedumpfile parameter check failed", "Correct core_collector in /etc/kdump.conf."),
    ("does not have write permission", "Make /var/lib/kdump writable, or set KDUMP_BOOTDIR in /etc/sysconfig/kdump."),
    ("No space left on device", "Make room where the image is (/boot, /var/lib/kdump) and in /var/tmp."),
    ("No memory reserved", "Set crashkernel= (module vmcore.kdump.crashkernel) and reboot."),
    ("Operation not permitted", "The kernel forbids loading: see kernel.kexec_load_disabled, lockdown, and dmesg."),
    ("Cannot allocate memory", "The reservation is too small: raise crashkernel= (`kdumpctl estimate`) and reboot."),
    ("Cannot assign requested address", "The reservation is too small: raise crashkernel= (`kdumpctl estimate`) and reboot."),
    ("Could not find a free area", "The reservation is too small: raise crashkernel= (`kdumpctl estimate`) and reboot."),
    ("Failed to get logon key", "`kdumpctl setup-crypttab`, then reboot: that brings the key of the encrypted target."),
    ("failed to load kdump kernel", "The end of dmesg says why the kernel refused it."),
    ("Failed to detect kdump kernel location", "Set KDUMP_KERNELVER and KDUMP_BOOTDIR in /etc/sysconfig/kdump."),
    ("failed to make kdump initrd", "`kdumpctl rebuild` by hand says more."),
)  # fmt: skip


def hint(lines: List[str]) -> str:
    """The remedy for what kdumpctl has said."""
    text = "\n".join(lines)
    found = [remedy for words, remedy in _HINTS if words in text]
    return found[0] if found else "`journalctl -u %s` and the end of dmesg say more." % UNIT


# --- at boot -------------------------------------------------------------------------------------------------------
def enable(host: Any) -> List[Step]:
    """Started at boot. KdumpError for a unit that systemd refuses to start."""
    if host.readlink(MASK) == "/dev/null":
        raise fail("%s is masked." % UNIT, "Unmask it (systemctl unmask %s), then run again." % UNIT)
    if is_enabled(host):
        return []
    return [_command(["systemctl", "enable", UNIT], "enable " + UNIT, "disabled\n", "enabled\n")]


def disable(host: Any) -> List[Step]:
    """Not started at boot."""
    if host.readlink(LINK) is None:
        return []
    return [_command(["systemctl", "disable", UNIT], "disable " + UNIT, "enabled\n", "disabled\n")]


def quiet(host: Any) -> List[Step]:
    """The unit made inactive with what is loaded still loaded.

    While it is active, its stop unloads what another engine has loaded, and its udev rule (98-kexec.rules) loads its own.
    """
    found = state(host)
    if not found.active and not found.starting:
        return []
    return [Step("stop %s, and leave loaded what is loaded" % UNIT, _stop_quietly, "active\n", "inactive\n")]


def unquiet(host: Any) -> List[Step]:
    """What a killed run of the above has left."""
    if not host.exists(QUIET):
        return []
    return [Step("remove " + QUIET, _remove_quiet, _QUIET_TEXT, "")]


def _stop_quietly(host: Any) -> None:
    host.write(QUIET, _QUIET_TEXT.encode())
    try:
        _run(host, ["systemctl", "daemon-reload"])
        _run(host, ["systemctl", "stop", UNIT])
    finally:
        _remove_quiet(host)


def _remove_quiet(host: Any) -> None:
    host.remove(QUIET)
    host.remove_empty_directory(QUIET.rpartition("/")[0])
    _run(host, ["systemctl", "daemon-reload"])


def _command(argv: List[str], title: str, before: str, after: str) -> Step:
    return Step(title, lambda host: _run(host, argv), before, after)


def _run(host: Any, argv: List[str]) -> None:
    done = host.run(argv, timeout=_STOP_SECONDS)
    if done.rc:
        raise fail("`%s` failed: %s" % (" ".join(argv), shown(_last(done.err + done.out), 300)), "Run it by hand.")
