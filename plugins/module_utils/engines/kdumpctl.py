# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine kdumpctl: the Red Hat family's kdump-utils (before: kexec-tools). Private to this collection.

driver.py says what each function is for. kdumpctl builds, loads and starts by itself; it is configured, watched and
looked after here: what it would fail on is refused before it unloads what works, and what it says is not believed.
"""

import re
from typing import Any, Dict, List, Mapping, Optional

from .. import cmdline, crashkernel, kexec_state, layout, reservation, sysconfig, wishes
from ..image import store
from ..plan import Plan, Step
from ..problems import KdumpError, Parts, Problem
from . import kdumpctl_build, kdumpctl_good, kdumpctl_image, kdumpctl_load, kdumpctl_unit
from .driver import Configuration, Difference, Recommendation

NAME = kdumpctl_load.NAME
UNIT = kdumpctl_unit.UNIT
CONF = layout.CONF
SETTINGS = layout.SYSCONFIG

_RESET = "auto_reset_crashkernel"
_VALUE = re.compile(r"[0-9][0-9A-Za-z:,@-]*\Z")


def configuration(host: Any) -> Configuration:
    return kdumpctl_image.configuration(host)


def release(host: Any, configuration: Configuration) -> str:
    return kdumpctl_image.release_of(host, configuration.settings)


def wanted_digest(host: Any, release: str, configuration: Configuration) -> str:
    return kdumpctl_image.observe(host, release, configuration).digest


def image(host: Any, release: str) -> Optional[store.Manifest]:
    return kdumpctl_image.present(host, release, configuration(host))


def loaded(host: Any) -> Optional[kexec_state.Loaded]:
    return kdumpctl_load.loaded(host, configuration(host))


def difference(host: Any, configuration: Configuration) -> Optional[Difference]:
    return kdumpctl_load.difference(host, configuration)


# --- at boot -------------------------------------------------------------------------------------------------------
def is_enabled(host: Any) -> bool:
    return kdumpctl_unit.is_enabled(host)


def boot_problems(host: Any) -> List[Problem]:
    return []


def boot_warnings(host: Any) -> List[Problem]:
    return []


def boot_plan(host: Any, state: str, **how: Any) -> Plan:
    """`how` is for the native engine; in check mode (_check) the unit of a package that is still to come is foreseen."""
    if state == "present":
        return Plan(unblock(host) + kdumpctl_unit.enable(host))
    steps = kdumpctl_unit.disable(host)
    # Hardened hosts set kernel.kexec_load_disabled once they are armed: there a reboot unloads.
    hardened, unit = kexec_state.facts(host, "crash").disabled, kdumpctl_unit.state(host)
    if not hardened and (unit.active or unit.starting or loaded(host) is not None):
        steps += kdumpctl_load.unload_steps(host)
    return Plan(steps + unblock(host))


def disarm(host: Any) -> List[Step]:
    """Its kernel hook (92-crashkernel.install) and its udev rule do nothing while the unit is neither enabled nor active."""
    return kdumpctl_unit.disable(host) + kdumpctl_unit.quiet(host) + unblock(host)


def unblock(host: Any) -> List[Step]:
    return kdumpctl_unit.unquiet(host)


# --- image and load ------------------------------------------------------------------------------------------------
def build_plan(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Plan:
    known = configuration(host)
    return kdumpctl_build.plan(host, release(host, known), known, params, outcome)


def build_report(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Dict[str, Any]:
    known = configuration(host)
    return kdumpctl_build.report(host, release(host, known), known, outcome)


def load_plan(host: Any, params: Mapping[str, Any]) -> Plan:
    return kdumpctl_load.plan(host, configuration(host), params)


def load_report(host: Any, params: Mapping[str, Any]) -> Dict[str, Any]:
    present = loaded(host)
    names = ("kernel", "initrd", "cmdline", "method")
    result: Dict[str, Any] = {name: getattr(present, name) if present else "" for name in names}
    return dict(result, loaded=kexec_state.is_loaded(host), reserved_bytes=kexec_state.reserved_bytes(host))


# --- advice and wishes ---------------------------------------------------------------------------------------------
def recommended(host: Any) -> Optional[Recommendation]:
    """kdumpctl's default for this host, or its estimate for the image that was loaded last where that is more.

    kexec-tools of EL 8 knows no default: None.
    """
    value = _default(host)
    if value is None:
        return None
    size, estimate = value.reserve(reservation.ram(host).bytes), kdumpctl_load.estimate(host)
    if estimate > size:
        why = "`kdumpctl estimate` said so when the capture kernel was last loaded; kdumpctl's default is less."
        return Recommendation(estimate, crashkernel.size_text(estimate), why)
    return (
        Recommendation(size, " ".join(value.values()), "It is what `kdumpctl get-default-crashkernel` says.")
        if size
        else None
    )


def _default(host: Any) -> Optional[crashkernel.Crashkernel]:
    if host.which("kdumpctl") is None:
        return None
    done = host.run(["kdumpctl", "get-default-crashkernel", "kdump"], timeout=900)  # it waits for a build at boot
    words = done.out.split()
    if done.rc or not words or not _VALUE.match(words[-1]):
        return None
    try:
        return crashkernel.parse([words[-1]])
    except KdumpError:
        return None


def expected(host: Any, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments go on top of what the file held before this collection wrote it: releases differ in their defaults."""
    problems = reset_problems(host, wanted)
    own = dict(wanted.get("sysconfig") or {})
    try:
        settings = wishes.sysconfig_settings(
            host.kernel.machine, dict(wanted, sysconfig=dict(_base(host, wanted), **own))
        )
    except KdumpError as error:
        problems += error.problems
    if problems:
        raise KdumpError(problems)
    asked = any(wanted.get(name) is not None for name in ("cmdline_append", "cmdline_remove", "nr_cpus"))
    return {"path": SETTINGS, "settings": settings if asked else own, "conf": reset_conf(host, wanted)}


def _resets(wanted: Mapping[str, Any]) -> Any:
    """What is wished for auto_reset_crashkernel, by which kdumpctl overwrites the reservation at each update of a package,
    also where its file says nothing of it (kdump-utils PR 61); None for nothing."""
    return (wanted.get("conf") or {}).get(_RESET)


def _is_pinned(wanted: Mapping[str, Any]) -> bool:
    return wanted.get("crashkernel") not in (None, "", "auto")


def reset_conf(host: Any, wanted: Mapping[str, Any]) -> Dict[str, Optional[str]]:
    """A reservation of one's own is kept from that. A kdumpctl without the directive (EL 8) resets nothing, and would
    refuse the whole file: there it is left out, as linux-system-roles.kdump does."""
    parser, resets = host.read_text("/usr/bin/kdumpctl", ""), _resets(wanted)
    if parser and _RESET not in parser:
        return {} if resets is None else {_RESET: None}
    return {_RESET: "no"} if parser and resets is None and _is_pinned(wanted) else {}


def reset_problems(host: Any, wanted: Mapping[str, Any]) -> List[Problem]:
    """A reservation of one's own that kdumpctl is told to overwrite; also where another engine captures."""
    pinned, resets = wanted.get("crashkernel"), _resets(wanted)
    harmless = resets is None or str(resets).lower() in ("no", "false") or _RESET in reset_conf(host, wanted)
    if harmless or not _is_pinned(wanted) or wanted.get("state") == "absent":
        return []
    return [Problem(
        "crashkernel (kdump_crashkernel) is %s, and auto_reset_crashkernel (kdump_auto_reset_crashkernel) %s lets kdumpctl "
        "overwrite that with its own default whenever a package is updated." % (pinned, resets),
        "Set auto_reset_crashkernel to no, or crashkernel to auto.", _RESET, str(resets),
    )]  # fmt: skip


def _base(host: Any, wanted: Mapping[str, Any]) -> Dict[str, str]:
    """The vendor's own arguments for the capture kernel, without those that are asked for now."""
    text = kdumpctl_good.first(host).get(SETTINGS) or host.read_text(SETTINGS, "")
    try:
        found = sysconfig.parse(text)
    except KdumpError:
        return {}  # for sysconfig.decide() to refuse
    asked = cmdline.split(wanted.get("cmdline_append") or "")
    base = {name: value for name, value in found.items() if name.startswith("KDUMP_COMMANDLINE_")}
    if "KDUMP_COMMANDLINE_APPEND" in base:
        kept = [one for one in cmdline.split(base["KDUMP_COMMANDLINE_APPEND"]) if one not in asked]
        base["KDUMP_COMMANDLINE_APPEND"] = cmdline.join(kept)
    return base


def first_settings(host: Any) -> Dict[str, str]:
    """kdumpctl has no defaults of its own for the capture kernel's command line: they are in the vendor's file."""
    found: Dict[str, str] = Parts().of({}, sysconfig.parse, kdumpctl_good.first(host).get(SETTINGS) or "")
    return found
