# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What lets Debian's kdump-tools arm a host, and what keeps it from doing so. Private to this collection.

Four things of the package load or build by themselves: its unit, at boot; its udev rule, whenever a CPU or a memory
block comes or goes; its hook for kernel packages; and its program in a failed dump (KDUMP_FAIL_CMD). Source:
kdump-tools 1.8.1 and 1.10.7.
"""

import re
from typing import Any, List, Optional

from .. import kexec_state, sysconfig
from ..plan import Plan, Step, remove_file, write_file
from ..problems import fail, in_file
from . import kdump_tools_load as loading
from . import kdump_tools_settings as variables
from .kdump_tools_image import HOOK

_ETC = "/etc/systemd/system"
_UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
UDEV_RULE = "/etc/udev/rules.d/50-kdump-tools.rules"  # stands in for the package's own, by its name

# The package's rule reloads at each event: also where the kernel follows by itself (crash_hotplug, Linux 6.6), and for
# each CPU when udev goes through all devices at boot (SYNTH_UUID, kobject_synth_uevent() in lib/kobject_uevent.c, 4.13).
_ARMED_RULE = """\
# Written by the Ansible collection vmcore.kdump; changes are lost. In place of the rule of kdump-tools.
SUBSYSTEM!="cpu|memory", GOTO="vmcore_kdump_end"
ENV{SYNTH_UUID}=="?*", GOTO="vmcore_kdump_end"
ATTRS{crash_hotplug}=="1", GOTO="vmcore_kdump_end"
SUBSYSTEM=="cpu", ACTION=="add|remove", RUN+="/bin/systemctl --no-block try-restart kdump-tools.service"
SUBSYSTEM=="memory", ACTION=="online|offline", RUN+="/bin/systemctl --no-block try-restart kdump-tools.service"
LABEL="vmcore_kdump_end"
"""
_DISARMED_RULE = """\
# Written by the Ansible collection vmcore.kdump; changes are lost. In place of the rule of kdump-tools, which would
# unload what another engine has loaded.
"""

# savecore() writes the dump, all of the kernel's memory, by the shell's redirection: everybody could read it.
PRIVATE = _ETC + "/kdump-tools-dump.service.d/vmcore-kdump.conf"
_PRIVATE = """\
# Written by the Ansible collection vmcore.kdump; changes are lost. A dump is for root alone.
[Service]
UMask=0077
"""

# kdump-tools.init runs `$KDUMP_FAIL_CMD ;` and nothing after it: without a reboot here the host would stay down.
_FAILED = """\
#!/bin/sh
# Written by the Ansible collection vmcore.kdump; changes are lost. kdump-tools runs it when a dump has failed:
# KDUMP_FAIL_CMD in /etc/default/kdump-tools names it with one of reboot, halt, poweroff, shell.
sync
echo "kdump-tools: saving the vmcore has failed; next: ${1:-reboot}" >/dev/console
case "$1" in
halt) halt -f ;;
poweroff) poweroff -f ;;
shell)
    echo "The vmcore is in /proc/vmcore until this shell ends; then the host reboots." >/dev/console
    setsid -c -w sh -i </dev/console >/dev/console 2>&1
    sync
    ;;
esac
reboot -f
echo b >/proc/sysrq-trigger
"""


def unit_file(host: Any) -> Optional[str]:
    """The package's unit; None where it is not installed."""
    paths = [folder + "/" + loading.UNIT for folder in _UNIT_FOLDERS]
    return next((path for path in paths if host.is_file(path)), None)


def links(host: Any) -> List[str]:
    """The links by which systemd starts the unit at boot."""
    return [link for kind in ("wants", "requires") for link in host.glob("%s/*.%s/%s" % (_ETC, kind, loading.UNIT))]


def is_enabled(host: Any) -> bool:
    return _is_linked(host) and not _is_masked(host) and loading.is_used(variables.own(host))


def _is_linked(host: Any) -> bool:
    unit = unit_file(host)
    return unit is not None and any(host.realpath(link) == host.realpath(unit) for link in links(host))


def _is_masked(host: Any) -> bool:
    return host.readlink("%s/%s" % (_ETC, loading.UNIT)) == "/dev/null"


# --- arming --------------------------------------------------------------------------------------------------------
def arm(host: Any) -> Plan:
    if _is_masked(host):
        raise fail("%s is masked." % loading.UNIT, "Unmask it (systemctl unmask %s), then run again." % loading.UNIT)
    steps = _file(host, variables.FAILED, _FAILED, 0o755) + _hook(host, 0o755)
    private = _file(host, PRIVATE, _PRIVATE, 0o644)
    steps += private + _reload(host, "systemd", private)
    rule = _file(host, UDEV_RULE, _ARMED_RULE, 0o644)
    steps += rule + _reload(host, "udev", rule)
    if not _is_linked(host):
        enable = [Step("enable " + loading.UNIT, _enable, "disabled\n", "enabled\n")]
        steps += enable + _reload(host, "systemd", enable)
    return Plan(steps)


def _enable(host: Any) -> None:
    unit = unit_file(host)
    if unit is None:
        raise fail("kdump-tools is not installed.", "Install its package.")
    text = host.read_text(unit)
    targets = " ".join(re.findall(r"^WantedBy=(.*)$", text, re.MULTILINE)).split() or ["multi-user.target"]
    for name in targets:
        if not re.fullmatch("[A-Za-z0-9@._-]+", name):
            raise fail("%s is wanted by %r." % (unit, name), "Install kdump-tools again.")
        host.symlink(host.realpath(unit), "%s/%s.wants/%s" % (_ETC, name, loading.UNIT))


def disarm(host: Any) -> List[Step]:
    if unit_file(host) is None:
        return []
    rule = _file(host, UDEV_RULE, _DISARMED_RULE, 0o644)
    return _unuse(host) + disable(host) + rule + _reload(host, "udev", rule) + _hook(host, 0o644) + _stop(host)


def _unuse(host: Any) -> List[Step]:
    """USE_KDUMP=0, with which kdump-tools.init does nothing: an upgrade of the package restarts a unit that is active
    (deb-systemd-invoke), even a disabled one, and its ExecStop would unload what another engine has loaded."""
    before = host.read_text(variables.PATH, "")
    if not host.is_file(variables.PATH) or not loading.is_used(variables.own(host)):
        return []
    after = in_file(variables.PATH, sysconfig.edit, before, {"USE_KDUMP": "0"}, [])
    step = write_file(variables.PATH, before, after)
    return [step._replace(before=sysconfig.without_secrets(before), after=sysconfig.without_secrets(after))]


def _stop(host: Any) -> List[Step]:
    """The unit stopped, which unloads nothing after USE_KDUMP=0. What it has loaded at boot is recorded, for then only
    its unit has told."""
    if not loading.is_active(host):
        return []

    def stop(host: Any) -> None:
        present = loading.by_itself(host)
        if present is not None:
            kexec_state.write_state(host, present)
        _run(host, ["systemctl", "stop", loading.UNIT])

    return [Step("stop %s, and leave loaded what is" % loading.UNIT, stop, "active\n", "inactive\n")]


def disable(host: Any) -> List[Step]:
    found = links(host)
    if not found:
        return []
    steps = [Step("disable " + loading.UNIT, lambda host: _remove(host, found), "enabled\n", "disabled\n")]
    return steps + _reload(host, "systemd", steps)


def _remove(host: Any, paths: List[str]) -> None:
    for path in paths:
        host.remove(path)


def unblock(host: Any) -> List[Step]:
    """As the package has its files; its unit stays disabled."""
    there = host.exists(UDEV_RULE)
    rule = [remove_file(UDEV_RULE, host.read_text(UDEV_RULE, ""))] if there else []
    private = (
        [Step("remove " + PRIVATE, _remove_private, host.read_text(PRIVATE, ""), "")] if host.exists(PRIVATE) else []
    )
    return rule + _reload(host, "udev", rule) + private + _reload(host, "systemd", private) + _hook(host, 0o755)


def _remove_private(host: Any) -> None:
    host.remove(PRIVATE)
    host.remove_empty_directory(PRIVATE.rpartition("/")[0])


def _file(host: Any, path: str, text: str, mode: int) -> List[Step]:
    found = host.stat(path)
    if found is not None and found.st_mode & 0o7777 == mode and host.read_text(path, "") == text:
        return []

    def write(host: Any) -> None:
        host.remove(path)  # Host.write keeps the mode, and follows a link
        host.write(path, text.encode("utf-8", "surrogateescape"), mode)

    return [Step("write " + path, write, host.read_text(path, ""), text)]


def _hook(host: Any, mode: int) -> List[Step]:
    """run-parts leaves out what cannot be executed, and dpkg keeps the mode of a configuration file."""
    found = host.stat(HOOK)
    if found is None or found.st_mode & 0o7777 == mode:
        return []
    title = ("let kernel packages run " if mode & 0o100 else "keep kernel packages from running ") + HOOK
    before = "%o\n" % (found.st_mode & 0o7777)
    return [Step(title, lambda target: target.chmod(HOOK, mode), before, "%o\n" % mode)]


def _reload(host: Any, what: str, changed: List[Step]) -> List[Step]:
    if not changed or not host.is_dir("/run/systemd/system"):
        return []
    argv = ["systemctl", "daemon-reload"] if what == "systemd" else ["udevadm", "control", "--reload"]
    return [Step(" ".join(argv), lambda host: _run(host, argv))]


def _run(host: Any, argv: List[str]) -> None:
    result = host.run(argv, timeout=120)
    if result.rc:
        raise fail("`%s` failed: %s" % (" ".join(argv), (result.err or result.out).strip()),
                   "The files are in place: run it by hand, or reboot.")  # fmt: skip
