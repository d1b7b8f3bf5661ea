# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The native engine: this collection's own image, loaded by system call. Private to this collection.

driver.py says what each function is for.
"""

from typing import Any, Dict, Iterator, List, Mapping, Optional

from .. import (
    boot,
    conf,
    conf_directives,
    conf_dracut,
    crashkernel,
    kexec,
    kexec_state,
    layout,
    reservation,
    servers,
    sysconfig,
    wishes,
)
from ..image import build, store
from ..plan import Plan, Step
from ..problems import KdumpError, Parts, Problem, shown
from . import kdumpctl
from .driver import Configuration, Difference, Recommendation

NAME = "native"
UNIT = layout.UNIT_NAME
CONF = layout.CONF
SETTINGS = layout.SYSCONFIG


def configuration(host: Any) -> Configuration:
    parts = Parts()
    text = parts.of(None, _conf_text, host)
    settings = parts.of({}, kexec.settings, host)
    found = conf.parse(text or "")
    warnings = conf_dracut.judge(found.get("dracut_args")).warnings + parts.of([], servers.unresolved, host, found)
    found = found._replace(warnings=found.warnings + warnings + list(_without_effect(found, settings)))
    return Configuration(text, found, settings, parts.errors)


# What kdump-utils ships (gen-kdump-sysconfig.sh of 1.0.61) asks for nothing.
_SHIPPED = {"KDUMP_IMG": ("vmlinuz",), "KDUMP_IMG_EXT": (), "KEXEC_ARGS": ("-s", "--dt-no-old-root")}
_REBUILT = "the native engine builds its image anew when something has changed."
_FOUND = "the native engine finds the kernel by its release (KDUMP_KERNELVER) in KDUMP_BOOTDIR."
_WHY = {
    "force_rebuild": _REBUILT, "force_no_rebuild": _REBUILT,
    "KDUMP_IMG": _FOUND, "KDUMP_IMG_EXT": _FOUND,
    "KEXEC_ARGS": "the native engine loads by a system call.",
}  # fmt: skip


def _without_effect(found: conf.Conf, settings: Mapping[str, str]) -> Iterator[Problem]:
    """What kdump-utils goes by in the same two files, and this engine does not."""
    given = {name: found.get(name) for name in ("force_rebuild", "force_no_rebuild") if found.get(name) == "1"}
    for name, shipped in _SHIPPED.items():
        if set(settings.get(name, "").split()) - set(shipped):
            given[name] = settings[name]
    for name, value in given.items():
        yield Problem("%s has no effect." % name, "Remove it: " + _WHY[name], name, shown(value))


def _conf_text(host: Any) -> Optional[str]:
    return host.read_text(CONF) if host.exists(CONF) else None


def release(host: Any, configuration: Configuration) -> str:
    return str(configuration.settings.get("KDUMP_KERNELVER") or host.kernel.release)


def wanted_digest(host: Any, release: str, configuration: Configuration) -> str:
    return build.wanted_digest(host, release, configuration.conf, configuration.settings)


def image(host: Any, release: str) -> Optional[store.Manifest]:
    return store.current(host, release)


def loaded(host: Any) -> Optional[kexec_state.Loaded]:
    return kexec.loaded(host)


def difference(host: Any, configuration: Configuration) -> Optional[Difference]:
    steps = kexec.decide(host, kexec.REQUEST, replacing=False).steps
    return Difference(steps[0].before, steps[0].after, kexec.forbidden(host)) if steps else None


# --- at boot -------------------------------------------------------------------------------------------------------
def is_enabled(host: Any) -> bool:
    return boot.is_enabled(host)


def boot_problems(host: Any) -> List[Problem]:
    return boot.problems(host)


def boot_warnings(host: Any) -> List[Problem]:
    return boot.warnings(host)


def boot_plan(host: Any, state: str, **how: Any) -> Plan:
    """`how`: python and program, as boot.decide() takes them."""
    return boot.decide(host, state, **how)


def disarm(host: Any) -> List[Step]:
    return boot.disarm(host)


def unblock(host: Any) -> List[Step]:
    return []  # its hooks and its rule go by the link that disarm() removes


# --- image and load ------------------------------------------------------------------------------------------------
def build_plan(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Plan:
    settings = sysconfig.parse(host.read_text(SETTINGS, ""))
    return build.decide(
        host, _release_of(host, params, settings), conf.parse(host.read_text(params["conf"], "")), settings,
        params["force"], params["_check"], outcome,
    )  # fmt: skip


def build_report(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Dict[str, Any]:
    settings = sysconfig.parse(host.read_text(SETTINGS, ""))
    return build.report(host, _release_of(host, params, settings), outcome)


def _release_of(host: Any, params: Mapping[str, Any], settings: Dict[str, str]) -> str:
    return str(params["kernel"] or settings.get("KDUMP_KERNELVER") or host.kernel.release)


def load_plan(host: Any, params: Mapping[str, Any]) -> Plan:
    return kexec.decide(host, params)


def load_report(host: Any, params: Mapping[str, Any]) -> Dict[str, Any]:
    return kexec.report(host, params)


# --- advice and wishes ---------------------------------------------------------------------------------------------
def recommended(host: Any) -> Optional[Recommendation]:
    value = crashkernel.recommend(host.kernel.machine)
    size = value.reserve(reservation.ram(host).bytes)
    why = "This is what the native engine's image was seen to need, by architecture and RAM, with room to spare."
    return Recommendation(size, " ".join(value.values()), why) if size else None


def expected(host: Any, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """auto_reset_crashkernel has a meaning only for a kdumpctl beside, whose package acts by it whoever captures."""
    options = {conf_directives.canonical(str(name)): value for name, value in (wanted.get("conf") or {}).items()}
    words = options.get("dracut_args") or ""
    problems = conf_dracut.judge(" ".join(map(str, words)) if isinstance(words, list) else str(words)).problems
    beside = host.which("kdumpctl") is not None
    problems += kdumpctl.reset_problems(host, wanted) if beside else []
    if problems:
        raise KdumpError(problems)
    settings = wishes.sysconfig_settings(host.kernel.machine, wanted)
    return {"path": SETTINGS, "settings": settings, "conf": kdumpctl.reset_conf(host, wanted) if beside else {}}


def first_settings(host: Any) -> Dict[str, str]:
    return kdumpctl.first_settings(host)  # it is the same file, and kdump-utils may be installed beside
