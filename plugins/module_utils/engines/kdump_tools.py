# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian's kdump-tools, driven by its own programs. Private to this collection.

driver.py says what each function is for. kdump-tools boots the host's own root file system in the capture kernel, so
what a capture goes by is partly in its image and partly read in the crash; the digest covers both.

What no configuration can mend: savecore looks at the exit code of what is behind makedumpfile's pipe, so a dump that
makedumpfile could not finish is named like a whole one. Module vmcore_info tells them apart.
"""

import re
from typing import Any, Dict, List, Mapping, Optional

from .. import crashkernel, kexec, kexec_state, reservation, sysconfig
from ..image import store
from ..plan import Plan, Step
from ..problems import Missing, Parts, Problem, in_file
from . import kdump_tools_boot as booting
from . import kdump_tools_image as images
from . import kdump_tools_load as loading
from . import kdump_tools_settings as variables
from .driver import Configuration, Difference, Recommendation

NAME = variables.NAME
UNIT = loading.UNIT
CONF = ""
SETTINGS = variables.PATH

_GRUB = "/etc/default/grub.d/kdump-tools.cfg"
_COMMENT = re.compile(r"^\s*#.*", re.MULTILINE)
_TABLE = "512M-:192M"  # of 1.10.7; 1.8.1 has 384M-:128M


def configuration(host: Any) -> Configuration:
    parts = Parts()
    own = parts.of({}, _own, host)
    settings = variables.effective(host, own)
    found = variables.as_conf(settings)
    warnings = found.warnings if host.exists(SETTINGS) else []
    found = found._replace(warnings=warnings + loading.warnings(host))
    return Configuration(None, found, settings, parts.errors)


def _own(host: Any) -> Dict[str, str]:
    """What the file itself holds. KdumpError for what cannot be read."""
    found: Dict[str, str] = in_file(SETTINGS, sysconfig.parse, host.read_text(SETTINGS, ""))
    return found


def release(host: Any, configuration: Configuration) -> str:
    return str(host.kernel.release)  # kdump-config: KVER=$(uname -r)


def wanted_digest(host: Any, release: str, configuration: Configuration) -> str:
    return images.observe(host, release, configuration).digest


def image(host: Any, release: str) -> Optional[store.Manifest]:
    return images.current(host, release, configuration)


def loaded(host: Any) -> Optional[kexec_state.Loaded]:
    if not kexec_state.is_loaded(host) or not host.which("kdump-config"):
        return None
    return loading.loaded(host, image(host, host.kernel.release))


def difference(host: Any, configuration: Configuration) -> Optional[Difference]:
    goal = loading.wanted(host, release(host, configuration), configuration)
    present = loaded(host)
    if present is not None and loading.same(host, present, goal):
        return None
    return Difference(loading.lines(present) if present else "", loading.lines(goal), kexec.forbidden(host))


# --- at boot -------------------------------------------------------------------------------------------------------
def is_enabled(host: Any) -> bool:
    return booting.is_enabled(host)


def boot_problems(host: Any) -> List[Problem]:
    return []


def boot_warnings(host: Any) -> List[Problem]:
    return []


def boot_plan(host: Any, state: str, **how: Any) -> Plan:
    if state == "present":
        return booting.arm(host)
    steps = booting.disarm(host) if state == "disabled" else booting.disable(host) + booting.unblock(host)
    # Hardened hosts set kernel.kexec_load_disabled once they are armed: there a reboot unloads.
    if loaded(host) and not kexec_state.facts(host, "crash").disabled:
        steps += kexec.decide(host, dict(kexec.REQUEST, state="unloaded")).steps
    return Plan(steps)


def disarm(host: Any) -> List[Step]:
    return booting.disarm(host)


def unblock(host: Any) -> List[Step]:
    return booting.unblock(host)


# --- image and load ------------------------------------------------------------------------------------------------
def build_plan(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Plan:
    wanted = _release_of(host, params)
    try:
        recipe = images.observe(host, wanted, configuration(host))
    except Missing:
        if not params["_check"]:
            raise
        return Plan([Step("have kdump-tools build the capture image for kernel %s" % wanted, lambda host: None)])
    return images.plan(host, recipe, params["force"], outcome)


def build_report(host: Any, params: Mapping[str, Any], outcome: Dict[str, Any]) -> Dict[str, Any]:
    return images.report(host, _release_of(host, params), outcome)


def _release_of(host: Any, params: Mapping[str, Any]) -> str:
    return str(params["kernel"] or host.kernel.release)


def load_plan(host: Any, params: Mapping[str, Any]) -> Plan:
    return loading.plan(host, params, host.kernel.release, configuration(host))


def load_report(host: Any, params: Mapping[str, Any]) -> Dict[str, Any]:
    return loading.report(host, loaded(host))


# --- advice and wishes ---------------------------------------------------------------------------------------------
def recommended(host: Any) -> Optional[Recommendation]:
    """What the package itself asks for in GRUB's defaults."""
    found = crashkernel.find(_COMMENT.sub("", host.read_text(_GRUB, "")).replace('"', " ")) or [_TABLE]
    # The file is the administrator's, too: a value that the kernel would ignore is no advice.
    value = crashkernel.effective(found, host.kernel)
    size = value.reserve(reservation.ram(host).bytes)
    why = "This is what kdump-tools asks for: its capture kernel starts the host's own system."
    return Recommendation(size, " ".join(value.values()), why) if size else None


def expected(host: Any, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """With it what is repaired on the way: variables with blanks around their `=`, as other roles have written them."""
    settings = variables.from_wishes(host, variables.own(host), wanted)
    if wanted.get("state") == "absent":
        return {"path": SETTINGS, "settings": settings}
    return {
        "path": SETTINGS,
        "settings": dict(sysconfig.meant(host.read_text(SETTINGS, "")), **dict(variables.ALWAYS, **settings)),
    }


def first_settings(host: Any) -> Dict[str, str]:
    return {"USE_KDUMP": "1"} if host.exists(SETTINGS) else {}  # as the package installs it
