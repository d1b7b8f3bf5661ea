# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything about one host, for the module info: each part by itself, so that one that fails hides no other.

Private to this collection.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from . import conf_check, crashkernel, dumps, engine, kexec, proof, readiness, reservation, wishes
from .bootloader import choice, entry
from .engines.driver import Configuration, Recommendation
from .image import store
from .problems import Parts, Problem


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
    vmcores: List[Dict[str, Any]]
    errors: List[Problem]


def observe(host: Any, wanted_engine: str, most_vmcores: int) -> Status:
    name = engine.choose(host, wanted_engine)
    driver = engine.driver(name)
    found = driver.configuration(host)
    parts = Parts()
    release = parts.of(host.kernel.release, driver.release, host, found)
    entries = parts.of(None, boot_entries, host)
    ram = parts.of(reservation.Ram(0, ""), reservation.ram, host)
    image = parts.of(None, driver.image, host, release)
    directory = parts.of(None, conf_check.dump_directory, host, found.conf) or ""
    facts = _facts(host, parts, name, found, release, entries, ram)._replace(image=image, dump_directory=directory)
    facts = facts._replace(
        problems=found.problems + [problem for problem in facts.problems if problem not in found.problems],
        free_bytes=parts.of(None, _free_bytes, host, directory),
    )
    verdict = readiness.judge(facts)
    vmcores = parts.of([], dumps.newest, host, directory, most_vmcores)
    return Status(
        name, engine.packages_missing(host, name), found, release, entries, ram, image,
        sizing(facts, parts.of(None, driver.recommended, host)), facts, verdict, vmcores, found.problems + parts.errors,
    )  # fmt: skip


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
    loaded = parts.of(None, driver.loaded, host)
    others = engine.others(name)
    return readiness.Facts(
        release=release, engine=name, unit=driver.UNIT, reserved=reserved, configured=configured, running=running,
        expected=outcome.bytes, why_expected=outcome.why,
        reboot_required=configured is not None
        and reservation.reboot_required(configured, running, reserved, ram.bytes, host.kernel),
        crash_loaded=parts.of(False, kexec.is_loaded, host), loaded=loaded, reload=reload,
        loaded_by=name if loaded else next((one.NAME for one in others if parts.of(None, one.loaded, host)), ""),
        unit_enabled=parts.of(False, driver.is_enabled, host),
        others_enabled=[one.UNIT for one in others if parts.of(False, one.is_enabled, host)],
        wanted_digest=digest, problems=building.errors, load_problems=loading.errors,
        warnings=found.conf.warnings + parts.of([], conf_check.warn_host, host, found.conf),
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
    facts, conf = status.facts, status.configuration.conf
    return {
        "readiness": status.verdict.readiness,
        "reasons": [problem.as_dict() for problem in status.verdict.reasons],
        "warnings": [str(problem) for problem in status.verdict.warnings],
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
        "target": dict(conf.target._asdict(), directory=facts.dump_directory or None, free_bytes=facts.free_bytes),
        "proof": facts.proof.as_dict() if facts.proof else None,
        "inputs": dict(readiness.inputs(facts)._asdict()),
        "vmcores": status.vmcores,
    }  # fmt: skip


def _image(status: Status) -> Optional[Dict[str, Any]]:
    image = status.image
    if image is None:
        return None
    return {
        "path": image.path, "release": image.release, "digest": image.digest, "bytes": image.bytes,
        "seconds": image.seconds, "built_from": image.inputs,
        "current": image.digest == status.facts.wanted_digest,
    }  # fmt: skip
