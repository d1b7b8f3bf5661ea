# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A wanted state judged against a host before anything is touched: what is wrong with it, and where the host differs.

Private to this collection. It is judged by the deciding code of the modules that would bring it about.
"""

import contextlib
import re
from typing import Any, Dict, List, NamedTuple, Optional

from . import cmdline, conf, conf_state, layout, readiness, reservation, sysconfig
from .engine import NATIVE
from .image import build
from .problems import KdumpError, Problem, fail, shown
from .scalars import scalar
from .status import Parts, Status

_READINESS = [
    (readiness.UNPROTECTED,), (readiness.PENDING_REBOOT,), (readiness.ARMED, readiness.STALE), (readiness.PROVEN,),
]  # fmt: skip
# Names in /proc/sys that decide whether the kernel panics. Others are not the business of a crash dump.
_TRIGGER = re.compile(r"(kernel|vm)\.[a-z0-9_]+\Z")
_TRIGGER_LINE = re.compile(r"^\s*-?([\w.]+)\s*=\s*(.*?)\s*$", re.MULTILINE)


class Expected(NamedTuple):
    """`differs`: the parts of the host that are not as wanted. `sysconfig`: the settings that the wishes come to."""

    differs: List[str]
    sysconfig: Dict[str, Any]


def judge(host: Any, status: Status, wanted: Dict[str, Any]) -> Expected:
    """KdumpError with everything that is wrong with what is wanted, on this host, all parts together."""
    if status.engine != NATIVE:
        raise fail(
            "The engine %s, which this host has, comes in a later release." % status.engine,
            "Set engine (in the role: kdump_engine) to native, which works on this host too.", "engine", status.engine,
        )  # fmt: skip
    parts = Parts()
    settings = sysconfig_settings(host.kernel.machine, wanted)
    differs = []
    for name, part, arguments in (
        ("conf", _conf_differs, (wanted.get("conf") or {}, status)),
        ("sysconfig", _sysconfig_differs, (settings, wanted.get("nr_cpus"))),
        ("crashkernel", _crashkernel_differs, (wanted.get("crashkernel"), wanted.get("kernels") or ["ALL"])),
        ("triggers", _triggers_differ, (wanted.get("triggers"),)),
        ("readiness", _readiness_differs, (wanted.get("readiness"), status)),
    ):
        if parts.of(False, part, host, *arguments):
            differs.append(name)
    if parts.errors:
        raise KdumpError(parts.errors)
    return Expected(differs, settings)


def _conf_differs(host: Any, options: Dict[str, Any], status: Status) -> bool:
    """Also builds the capture image in thought, so that a target that it cannot dump to is refused here."""
    params = {
        "path": layout.CONF, "options": options, "remove": [], "purge": False, "backup": False, "check_host": True,
        "create_path": True, "_check": True,
    }  # fmt: skip
    parts = Parts()
    plan = parts.of(None, conf_state.decide, host, params)
    after = conf.attempt(status.text or "", options, [], False)[0]  # what is refused, decide() has named
    building = Parts()
    building.of(None, _wanted_digest, host, status.release, conf.parse(after), status.settings.get("KDUMP_BOOTDIR", ""))
    named = [(problem.option, problem.value) for problem in parts.errors if problem.value]
    problems = parts.errors + [problem for problem in building.errors if (problem.option, problem.value) not in named]
    if problems:
        raise KdumpError(problems)
    return plan is not None and plan.changed


def _wanted_digest(host: Any, release: str, wanted: conf.Conf, bootdir: str) -> None:
    with contextlib.suppress(build.Missing):  # programs that are not there yet will be installed
        build.wanted_digest(host, release, wanted, bootdir)


def _sysconfig_differs(host: Any, settings: Dict[str, Any], nr_cpus: Optional[int]) -> bool:
    if nr_cpus is not None and nr_cpus < 1:
        raise fail("The capture kernel cannot run on %d CPUs." % nr_cpus, "Give 1 or more.", "nr_cpus", str(nr_cpus))
    return sysconfig.decide(host, {"path": layout.SYSCONFIG, "settings": settings, "remove": []}).changed


def _crashkernel_differs(host: Any, value: Any, kernels: List[str]) -> bool:
    if value is None:
        return False
    params = {"value": value, "state": "present", "kernels": kernels, "bootloader": "auto", "_check": True}
    return reservation.decide(host, params).changed


def _readiness_differs(host: Any, wanted: str, status: Status) -> bool:
    """Whether the host is less ready than wanted."""
    return wanted is not None and _rank(status.verdict.readiness) < _rank(wanted)


def _rank(state: str) -> int:
    return next(number for number, states in enumerate(_READINESS) if state in states)


# --- the capture kernel's command line -----------------------------------------------------------------------------
def sysconfig_settings(machine: str, wanted: Dict[str, Any]) -> Dict[str, Any]:
    """What /etc/sysconfig/kdump has to hold for the wishes cmdline_append, cmdline_remove and nr_cpus, beside sysconfig.

    They are written into the file, and not given to one load only, so that the next boot loads the same. They go on top
    of the variables that are set explicitly, and of kdump-utils' defaults for this architecture otherwise.
    """
    settings = dict(wanted.get("sysconfig") or {})
    append, remove, nr_cpus = wanted.get("cmdline_append"), wanted.get("cmdline_remove"), wanted.get("nr_cpus")
    if append is None and remove is None and nr_cpus is None:
        return settings
    base = dict(sysconfig.defaults(machine), **settings)
    base_removed = sysconfig.as_text(base["KDUMP_COMMANDLINE_REMOVE"])
    base_added = sysconfig.as_text(base["KDUMP_COMMANDLINE_APPEND"])
    if base_removed is None or base_added is None:
        return settings  # as they are, for sysconfig.decide() to refuse
    removed = cmdline.split(base_removed)
    added = cmdline.without(cmdline.split(base_added), remove or [])
    if nr_cpus is not None:
        added = cmdline.without(added, ["nr_cpus", "maxcpus"]) + ["nr_cpus=%d" % nr_cpus]
    settings["KDUMP_COMMANDLINE_REMOVE"] = cmdline.join(
        removed + [name for name in remove or [] if name not in removed]
    )
    settings["KDUMP_COMMANDLINE_APPEND"] = cmdline.join(added + cmdline.split(append or ""))
    return settings


# --- what makes the kernel panic -----------------------------------------------------------------------------------
def _triggers_differ(host: Any, triggers: Optional[Dict[str, Any]]) -> bool:
    if triggers is None:
        return False
    problems = [problem for name, value in triggers.items() for problem in _trigger_problems(host, str(name), value)]
    if problems:
        raise KdumpError(problems)
    wanted = {str(name): scalar(value) for name, value in triggers.items()}
    return wanted != dict(_TRIGGER_LINE.findall(host.read_text(layout.TRIGGERS, "")))


def _trigger_problems(host: Any, name: str, value: Any) -> List[Problem]:
    option = "kdump_triggers"
    if not _TRIGGER.match(name):
        hint = "Name a parameter such as kernel.panic_on_oops or vm.panic_on_oom."
        return [
            Problem("%s is not a kernel parameter that decides about a panic." % shown(name), hint, option, shown(name))
        ]
    if not host.is_file("/proc/sys/" + name.replace(".", "/")):
        hint = "Remove it: this kernel, or this architecture, does not have it. `sysctl -a` lists what there is."
        return [Problem("There is no kernel parameter %s on this host." % name, hint, option, name)]
    if not re.match(r"-?[0-9]+\Z", scalar(value)):
        hint = "Give a whole number, such as 1."
        return [Problem("%s cannot be %s." % (name, shown(str(value))), hint, option, shown(str(value)))]
    return []
