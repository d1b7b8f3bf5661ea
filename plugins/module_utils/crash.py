# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A crash test, as far as the host itself does it: look, panic, record. Private to this collection.

What goes on between these, while the host is away, is plugins/action/crash_test.py's.
"""

from typing import Any, Callable, Dict, List

from . import dumps, engine, evidence, layout, proof, raw_recovery, remote_dumps, status
from .problems import fail

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DELAY = 1.0  # seconds in which the connection that brought the order can end


def observe(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """What module info says, and which boot this is. No warnings: until the dump has been looked at, they tell of a loss."""
    seen = status.report(status.observe(host, params["engine"], 0, None))
    seen.pop("warnings")
    return dict(seen, boot_id=_boot_id(host), can_panic=host.exists("/proc/sysrq-trigger"))


def look(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """The newest dumps, wherever they lie: `marked` tells whether the log of one has the marker, and it is then read whole.

    `own` tells whether one is this host's, where other hosts' dumps lie there too; one of which nothing tells whose it is
    counts, for the marker decides. `waiting` are sentences about a dump that is still on a raw device alone.
    """
    conf = engine.driver(params["engine"]).configuration(host).conf
    place = remote_dumps.place_of(host, conf)
    request = remote_dumps.Request(64, params["marker"], params["marker"] != "")
    found = remote_dumps.look(host, conf, place, request)
    if conf.target.kind == "raw" and request.marker:
        _mark_by_vmcore(host, found[:2], request.marker)
    own = [dump["directory"] for dump in remote_dumps.own(host, place, found, True)]
    for dump in found:
        dump["own"] = dump["directory"] in own
    reports = evidence.failures(host, [])
    rescued = remote_dumps.rescued(host, conf, place)
    return {"dumps": found, "reports": [report.as_dict() for report in reports], "rescued": rescued,
            "waiting": [str(problem) for problem in raw_recovery.warn(host, conf)],
            "where": place.named(place.directory)}  # fmt: skip


def _mark_by_vmcore(host: Any, found: List[Dict[str, Any]], marker: str) -> None:
    """kdumpctl saves no log beside a vmcore that it has found on a raw device: it is in the vmcore."""
    text = layout.RUN_DIR + "/look-dmesg"
    host.make_directories(layout.RUN_DIR)
    for dump in [dump for dump in found if dump["path"] and not dumps.log(host, dump["directory"])]:
        host.remove(text)
        host.run(["makedumpfile", "--dump-dmesg", host.path(dump["path"]), host.path(text)], timeout=600)
        if host.is_file(text) and marker in dumps.tail(host, text):
            dump["marked"] = True
    host.remove(text)


def _boot_id(host: Any) -> str:
    return str(host.read_text(_BOOT_ID).strip())


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
    now = status.observe(host, params["engine"], 0, None)
    return {"proof": seen.as_dict(), "readiness": now.verdict.readiness,
            "reasons": [problem.as_dict() for problem in now.verdict.reasons]}  # fmt: skip


PHASES: Dict[str, Callable[[Any, Dict[str, Any]], Dict[str, Any]]] = {
    "observe": observe, "look": look, "trigger": trigger, "record": record,
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
