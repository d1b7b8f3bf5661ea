# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A wanted state judged against a host before anything is touched: what is wrong with it, and where the host differs.

Private to this collection. It is judged by the deciding code of the modules that would bring it about.
"""

import contextlib
import re
from typing import Any, Dict, List, NamedTuple, Optional

from . import conf, conf_state, engine, layout, readiness, reservation, sysconfig
from .engines.driver import Configuration
from .problems import KdumpError, Missing, Parts, Problem, shown
from .scalars import scalar
from .status import Status

_READINESS = [
    (readiness.UNPROTECTED,), (readiness.PENDING_REBOOT,), (readiness.ARMED, readiness.STALE), (readiness.PROVEN,),
]  # fmt: skip
# Names in /proc/sys that decide whether the kernel panics. Others are not the business of a crash dump.
_TRIGGER = re.compile(r"(kernel|vm)\.[a-z0-9_]+\Z")
_TRIGGER_LINE = re.compile(r"^\s*-?([\w.]+)\s*=\s*(.*?)\s*$", re.MULTILINE)


class Expected(NamedTuple):
    """`differs`: the parts of the host that are not as wanted. `path`, `settings`: the file of shell assignments that the
    engine goes by, and what the wishes come to there. `conf`: the directives that this takes beside those wished for, None
    for one of these that is left out.
    `triggers`: as the file of them is to hold them."""

    differs: List[str]
    path: str
    settings: Dict[str, Any]
    conf: Dict[str, Optional[str]]
    triggers: Dict[str, str]


def judge(host: Any, status: Status, wanted: Dict[str, Any]) -> Expected:
    """KdumpError with everything that is wrong with what is wanted, on this host, all parts together.

    With the state absent it is what the wishes come to that has to be taken away: `settings` tells what was there before,
    None for nothing.
    """
    driver = engine.driver(status.engine)
    parts = Parts()
    expected = parts.of({"path": driver.SETTINGS, "settings": {}}, driver.expected, host, wanted)
    path, settings, more = expected["path"], expected["settings"], expected.get("conf", {})
    options = dict(wanted.get("conf") or {}, **more)
    options = {name: value for name, value in options.items() if name not in more or value is not None}
    triggers = {str(name): scalar(value) for name, value in (wanted.get("triggers") or {}).items()}
    if wanted.get("state") == "absent":
        first = driver.first_settings(host)
        settings = {name: None if sysconfig.is_secret(name) else first.get(name) for name in settings}
        return Expected(_left(host, driver, options, path, settings), path, settings, more, triggers)
    differs = []
    for name, part, arguments in (
        ("conf", _conf_differs, (options, settings, status)),
        ("sysconfig", _sysconfig_differs, (path, settings)),
        ("crashkernel", _crashkernel_differs, (driver, wanted.get("crashkernel"), wanted.get("kernels") or ["ALL"])),
        ("triggers", _triggers_differ, (wanted.get("triggers"), triggers)),
        ("readiness", _readiness_differs, (wanted.get("readiness"), status)),
    ):
        if parts.of(False, part, host, *arguments):
            differs.append(name)
    if parts.errors:
        raise KdumpError(parts.errors)
    return Expected(differs, path, settings, more, triggers)


def _left(host: Any, driver: Any, options: Dict[str, Any], path: str, settings: Dict[str, Any]) -> List[str]:
    """The files that still hold what was set; KdumpError where that cannot be taken out of them."""
    parts = Parts()
    conf_params = dict(_conf_params(driver.CONF), remove=list(options))
    there = driver.CONF and host.exists(driver.CONF)
    params = {
        "path": path, "settings": {name: text for name, text in settings.items() if text is not None},
        "remove": [name for name, text in settings.items() if text is None],
    }  # fmt: skip
    plans = {
        "conf": parts.of(None, conf_state.decide, host, conf_params) if there else None,
        "sysconfig": parts.of(None, sysconfig.decide, host, params),
    }
    if parts.errors:
        raise KdumpError(parts.errors)
    return [name for name, plan in plans.items() if plan is not None and plan.changed]


def _conf_params(path: str) -> Dict[str, Any]:
    """Parameters of the module conf that ask for nothing."""
    usual = {"options": {}, "remove": [], "purge": False, "backup": False, "check_host": False, "create_path": False}
    return dict(usual, path=path, _check=True)


def _conf_differs(host: Any, options: Dict[str, Any], settings: Dict[str, Any], status: Status) -> bool:
    """Also builds the capture image in thought, so that a target that it cannot dump to is refused here."""
    driver = engine.driver(status.engine)
    if not driver.CONF:
        return False
    parts = Parts()
    params = dict(_conf_params(driver.CONF), options=options, check_host=True, create_path=True)
    plan = parts.of(None, conf_state.decide, host, params)
    before = status.configuration
    after = conf.attempt(before.text or "", options, [], False)[0]  # what is refused, decide() has named
    texts = {name: sysconfig.as_text(value) or "" for name, value in settings.items()}
    building = Parts()
    building.of(
        None, _wanted_digest, host, driver, Configuration(after, conf.parse(after), dict(before.settings, **texts))
    )
    named = [(problem.option, problem.value) for problem in parts.errors if problem.value]
    problems = parts.errors + [problem for problem in building.errors if (problem.option, problem.value) not in named]
    if problems:
        raise KdumpError(problems)
    return plan is not None and plan.changed


def _wanted_digest(host: Any, driver: Any, wanted: Configuration) -> None:
    with contextlib.suppress(Missing):  # programs that are not there yet will be installed
        driver.wanted_digest(host, driver.release(host, wanted), wanted)


def _sysconfig_differs(host: Any, path: str, settings: Dict[str, Any]) -> bool:
    return sysconfig.decide(host, {"path": path, "settings": settings, "remove": []}).changed


def _crashkernel_differs(host: Any, driver: Any, value: Any, kernels: List[str]) -> bool:
    if value is None:
        return False
    params = {
        "value": value, "state": "present", "kernels": kernels, "bootloader": "auto", "_check": True,
        "_advice": driver.recommended,
    }  # fmt: skip
    return reservation.decide(host, params).changed


def _readiness_differs(host: Any, wanted: str, status: Status) -> bool:
    """Whether the host is less ready than wanted."""
    return wanted is not None and _rank(status.verdict.readiness) < _rank(wanted)


def _rank(state: str) -> int:
    return next(number for number, states in enumerate(_READINESS) if state in states)


# --- what makes the kernel panic -----------------------------------------------------------------------------------
def _triggers_differ(host: Any, given: Optional[Dict[str, Any]], wanted: Dict[str, str]) -> bool:
    if given is None:
        return False
    problems = [problem for name, value in given.items() for problem in _trigger_problems(host, str(name), value)]
    if problems:
        raise KdumpError(problems)
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
