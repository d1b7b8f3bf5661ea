# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything about one host, for the module info: each part by itself, so that one that fails hides no other.

Private to this collection.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from . import (
    conf_check,
    crashkernel,
    engine,
    evidence,
    kexec,
    proof,
    raw_recovery,
    readiness,
    remote_dumps,
    reservation,
    wishes,
)
from .bootloader import choice, entry
from .engines.driver import Configuration, Recommendation
from .image import store
from .problems import Parts, Problem

_LOOKED_AT = 5  # dumps in which failures are looked for, however few are to be told


class Entries(NamedTuple):
    """crashkernel= by the boot loader's entries. `configured` is that of the one that boots next."""

    bootloader: str
    configured: List[str]


class Sizing(NamedTuple):
    """Advice for the reservation: by the crash test, or by the engine as long as none has measured. None: not known."""

    recommended_bytes: Optional[int]
    recommended: Optional[str]  # as crashkernel= takes it
    recommended_by: Optional[str]  # crash test, engine
    wasted_bytes: int


class Status(NamedTuple):
    """What was seen. None stands for what is not there, and for what cannot be known."""

    engine: str
    packages_missing: List[str]
    configuration: Configuration
    release: str
    entries: Optional[Entries]
    ram: reservation.Ram
    image: Optional[store.Manifest]
    sizing: Sizing
    facts: readiness.Facts
    verdict: readiness.Verdict
    place: remote_dumps.Place
    looked: bool  # what lies there was looked at
    vmcores: List[Dict[str, Any]]
    failures: List[evidence.Failure]
    last_end: Optional[evidence.End]
    losses: List[Problem]
    errors: List[Problem]


def observe(host: Any, wanted_engine: str, most_vmcores: int, remote: Optional[bool] = False) -> Status:
    """With `remote` a dump target that this host does not see now is looked at too, which takes seconds; without it only
    where a crash may have left something there, and with None never."""
    name = engine.choose(host, wanted_engine)
    driver = engine.driver(name)
    found = driver.configuration(host)
    parts = Parts()
    release = parts.of(host.kernel.release, driver.release, host, found)
    entries = parts.of(None, boot_entries, host)
    ram = parts.of(reservation.Ram(0, ""), reservation.ram, host)
    image = parts.of(None, driver.image, host, release)
    place = parts.of(remote_dumps.Place(remote_dumps.MOUNT, ""), remote_dumps.place_of, host, found.conf)
    directory = place.directory if place.kind == remote_dumps.HERE else ""
    facts = _facts(host, parts, name, found, release, entries, ram)._replace(image=image, dump_directory=directory)
    facts = facts._replace(
        problems=found.problems + [problem for problem in facts.problems if problem not in found.problems],
        # A raw device takes a dump also where there is no room for it after the restart.
        free_bytes=None if found.conf.target.kind == "raw" else parts.of(None, _free_bytes, host, directory),
    )
    seen = _evidence(host, parts, found, place, most_vmcores, remote)._replace(proof=facts.proof)
    losses = list(evidence.warnings(seen, host.now())) + parts.of([], raw_recovery.warn, host, found.conf)
    verdict = readiness.judge(facts)
    return Status(
        name, engine.packages_missing(host, name), found, release, entries, ram, image,
        sizing(facts, parts.of(None, driver.recommended, host)), facts, verdict, place, seen.looked,
        (seen.dumps + seen.rescued)[: max(0, most_vmcores)], seen.failures, parts.of(None, evidence.last_end, host), losses,
        found.problems + parts.errors,
    )  # fmt: skip


def _evidence(
    host: Any, parts: Parts, found: Configuration, place: remote_dumps.Place, most: int, remote: Optional[bool]
) -> evidence.Seen:
    """The dumps, and what tells of those that failed. Where a boot may have ended by a crash, that is worth a look."""
    end = parts.of(None, evidence.last_unclean, host)
    looked = bool(place.directory) and (
        place.kind == remote_dumps.HERE or remote or (remote is False and evidence.is_suspect(end, host.now()))
    )
    seen: Optional[List[Dict[str, Any]]] = None
    if looked:
        request = remote_dumps.Request(max(most, _LOOKED_AT))
        seen = parts.of(None, remote_dumps.look, host, found.conf, place, request)
        seen = None if seen is None else remote_dumps.own(host, place, seen)
    saved = parts.of([], remote_dumps.rescued, host, found.conf, place)
    told = parts.of([], evidence.failures, host, seen or [])
    return evidence.Seen(seen or [], seen is not None, told, end, None, saved)


def sizing(facts: readiness.Facts, advice: Optional[Recommendation]) -> Sizing:
    """A crash test of another reservation counts as well, one of another engine's image does not."""
    size, text, source = (advice.bytes, advice.value, "engine") if advice else (None, None, None)
    if facts.proof is not None and facts.proof.engine == facts.engine:
        figures = (facts.proof.inputs.reserved_bytes, facts.proof.memory_low_water)
        measured = proof.recommended_bytes(*figures)
        if measured is not None:
            size, text, source = measured, proof.recommended_crashkernel(*figures), "crash test"
    return Sizing(size, text, source, max(0, facts.reserved - size) if size else 0)


def boot_entries(host: Any) -> Entries:
    """Of the boot loader that the crashkernel module would choose."""
    name = choice.choose(host, "auto")
    entries = entry.select(choice.module(name).entries(host), ["ALL"])
    following = next((one for one in entries if one.default), entries[0])
    return Entries(name, list(following.values))


def _facts(
    host: Any, parts: Parts, name: str, found: Configuration, release: str, entries: Optional[Entries],
    ram: reservation.Ram,
) -> readiness.Facts:  # fmt: skip
    driver = engine.driver(name)
    reserved = parts.of(0, reservation.reserved_bytes, host)
    running = parts.of([], reservation.running_values, host)
    configured = entries.configured if entries else None
    outcome = crashkernel.outcome(running if configured is None else configured, ram.bytes, host.kernel)
    building = Parts()
    digest = building.of(None, driver.wanted_digest, host, release, found)
    loading = Parts()
    reload = loading.of(None, driver.difference, host, found) if reserved else None
    loaded, crash_loaded = parts.of(None, driver.loaded, host), parts.of(False, kexec.is_loaded, host)
    # What is only still to be built, the next boot builds; until then what is loaded stays.
    built_then = loading.missing if crash_loaded and digest is not None else []
    others = engine.others(name)
    return readiness.Facts(
        release=release, engine=name, unit=driver.UNIT, reserved=reserved, configured=configured, running=running,
        expected=outcome.bytes, why_expected=outcome.why,
        reboot_required=configured is not None
        and reservation.reboot_required(configured, running, reserved, ram.bytes, host.kernel),
        crash_loaded=crash_loaded, loaded=loaded, reload=(reload.before, reload.after) if reload else None,
        loaded_by=name if loaded else next((one.NAME for one in others if parts.of(None, one.loaded, host)), ""),
        unit_enabled=parts.of(False, driver.is_enabled, host), boot_problems=parts.of([], driver.boot_problems, host),
        others_enabled=[one.UNIT for one in others if parts.of(False, one.is_enabled, host)],
        wanted_digest=digest, problems=building.errors,
        load_problems=[problem for problem in loading.errors if problem not in built_then],
        forbidden=reload.forbidden if reload else [],
        warnings=found.conf.warnings + parts.of([], conf_check.warn_host, host, found.conf)
        + parts.of([], driver.boot_warnings, host),
        proof=parts.of(None, proof.load, host),
    )  # fmt: skip


def _free_bytes(host: Any, directory: str) -> Optional[int]:
    """Bytes free where dumps go; the directory itself need not be there yet."""
    if not directory:
        return None
    while directory != "/" and not host.is_dir(directory):
        directory = directory.rpartition("/")[0] or "/"
    return int(host.free_bytes(directory))


# --- the module's result -------------------------------------------------------------------------------------------
def report(status: Status) -> Dict[str, Any]:
    facts, conf, end = status.facts, status.configuration.conf, status.last_end
    return {
        "readiness": status.verdict.readiness,
        "reasons": [problem.as_dict() for problem in status.verdict.reasons],
        "warnings": [str(problem) for problem in status.verdict.warnings + status.losses]
        + (status.image.warnings if status.image else []),
        "errors": [problem.as_dict() for problem in status.errors],
        "engine": status.engine,
        "packages_missing": status.packages_missing,
        "crashkernel": {
            "configured": facts.configured, "running": facts.running, "reserved_bytes": facts.reserved,
            "expected_bytes": facts.expected, "reboot_required": facts.reboot_required, "ram_bytes": status.ram.bytes,
            "bootloader": status.entries.bootloader if status.entries else None, **status.sizing._asdict(),
        },
        "image": _image(status),
        "loaded": dict(facts.loaded._asdict()) if facts.loaded else None,
        "loaded_by": facts.loaded_by,
        "crash_loaded": facts.crash_loaded,
        "unit": facts.unit,
        "unit_enabled": facts.unit_enabled,
        "conf": {
            "path": engine.driver(status.engine).CONF, "exists": status.configuration.text is not None,
            "options": conf.options, "problems": [problem.as_dict() for problem in conf.problems],
        },
        "sysconfig": wishes.without_secrets(status.configuration.settings),
        "target": _target(status),
        "proof": facts.proof.as_dict() if facts.proof else None,
        "inputs": dict(readiness.inputs(facts)._asdict()),
        "vmcores": [{name: dump[name] for name in dump if name != "marked"} for dump in status.vmcores],
        "failures": [failure.as_dict() for failure in status.failures],
        "last_end": {
            "clean": end.clean if end else None, "boot_id": end.boot_id if end else "", "at": evidence.utc(end.at) if end else "",
        },
        "losses": [str(problem) for problem in status.losses],
    }  # fmt: skip


def _target(status: Status) -> Dict[str, Any]:
    facts, place = status.facts, status.place
    return dict(
        status.configuration.conf.target._asdict(), directory=facts.dump_directory or None, free_bytes=facts.free_bytes,
        where=place.named(place.directory), looked=status.looked,
    )  # fmt: skip


def _image(status: Status) -> Optional[Dict[str, Any]]:
    image = status.image
    if image is None:
        return None
    return {
        "path": image.path, "release": image.release, "digest": image.digest, "bytes": image.bytes,
        "seconds": image.seconds, "built_from": image.inputs,
        "current": image.digest == status.facts.wanted_digest,
    }  # fmt: skip
