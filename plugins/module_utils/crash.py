# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A crash test, as far as the host itself does it: look, panic, record. Private to this collection.

What goes on between these, while the host is away, is plugins/action/crash_test.py's.
"""

from typing import Any, Callable, Dict

from . import dumps, engine, proof, status
from .problems import fail

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DELAY = 1.0  # seconds in which the connection that brought the order can end


def observe(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """What module info says, which boot this is, and every dump there is: `marked` tells whether its log has the marker."""
    seen = status.report(status.observe(host, params["engine"], params["vmcores"]))
    directory = seen["target"]["directory"]
    for dump in seen["vmcores"]:
        dump["marked"] = bool(params["marker"]) and _is_marked(host, dump["directory"], params["marker"])
    return dict(
        seen, boot_id=_boot_id(host), dump_directories=dumps.folders(host, directory or ""),
        can_panic=host.exists("/proc/sysrq-trigger"),
    )  # fmt: skip


def _boot_id(host: Any) -> str:
    return str(host.read_text(_BOOT_ID).strip())


def _is_marked(host: Any, folder: str, marker: str) -> bool:
    path = dumps.log(host, folder)
    return path != "" and marker in dumps.tail(host, path)


def trigger(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """Panic, if this is still the boot that was looked at: an order that comes again after the crash does nothing."""
    if _boot_id(host) != params["boot_id"]:
        raise fail(
            "The host has booted since it was looked at, so it is not crashed (a second time).",
            "Look whether it has crashed already, then start the crash test anew.",
        )
    try:
        host.panic_later(params["marker"], _DELAY)
    except OSError as error:
        raise fail(
            "The kernel cannot be made to panic: %s: %s." % (error.filename, error.strerror),
            "Run as root (become: true) on a machine or a virtual machine, not in a container.",
        ) from error
    return {"delay": _DELAY}


def record(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """Keep the proof, and say what the host is with it."""
    given = params["proof"]
    inputs = proof.Inputs(**given["inputs"])
    recommended = proof.recommended_crashkernel(inputs.reserved_bytes, given["memory_low_water"])
    seen = proof.Proof(**dict(
        given, inputs=inputs, proven_at=host.now(), recommended_crashkernel=recommended,
        engine=params["engine"],
    ))  # fmt: skip
    proof.save(host, seen)
    now = status.observe(host, params["engine"], 0)
    return {"proof": seen.as_dict(), "readiness": now.verdict.readiness,
            "reasons": [problem.as_dict() for problem in now.verdict.reasons]}  # fmt: skip


PHASES: Dict[str, Callable[[Any, Dict[str, Any]], Dict[str, Any]]] = {
    "observe": observe, "trigger": trigger, "record": record,
}  # fmt: skip


def run(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """One phase of the module crash_test, as the action plugin asks for it."""
    part = params["host_part"]
    if part is None:
        raise fail(
            "A crash test cannot be made by the module alone: somebody has to wait for the host while it is away.",
            "Use the task vmcore.kdump.crash_test in a playbook, where its action plugin runs, on the controller.",
        )
    return PHASES[part["phase"]](host, dict(part, engine=engine.in_charge(host, params["engine"])))
