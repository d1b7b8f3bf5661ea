# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything about one host, for the module info: each part by itself, so that one that fails hides no other.

Private to this collection.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import (
    boot,
    conf,
    conf_check,
    crashkernel,
    dumps,
    engine,
    kexec,
    layout,
    proof,
    readiness,
    reservation,
    sysconfig,
)
from .bootloader import choice, entry
from .image import build, store
from .problems import KdumpError, Problem


class Parts:
    """Runs the parts of an observation. What a part fails with is kept, under its name, and the others go on."""

    def __init__(self) -> None:
        self.errors: List[Problem] = []

    def of(self, default: Any, part: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return part(*arguments)
        except KdumpError as error:
            self.errors += [problem for problem in error.problems if problem not in self.errors]
        except OSError as error:
            message = "%s cannot be read: %s." % (error.filename or "A file", error.strerror)
            self.errors.append(Problem(message, "Run as root (become: true); look at the file and its disk."))
        return default


class Entries(NamedTuple):
    """crashkernel= by the boot loader's entries. `configured` is that of the one that boots next."""

    bootloader: str
    configured: List[str]


class Status(NamedTuple):
    """What was seen. None stands for what is not there, and for what cannot be known."""

    engine: str
    packages_missing: List[str]
    text: Optional[str]  # of kdump.conf
    conf: conf.Conf
    settings: Dict[str, str]
    release: str
    entries: Optional[Entries]
    ram: reservation.Ram
    image: Optional[store.Manifest]
    facts: readiness.Facts
    verdict: readiness.Verdict
    vmcores: List[Dict[str, Any]]
    errors: List[Problem]


def observe(host: Any, wanted_engine: str, most_vmcores: int) -> Status:
    name = engine.choose(host, wanted_engine)
    files = Parts()  # what the boot-time program could not read either
    text = files.of(None, _conf_text, host)
    parsed = conf.parse(text or "")
    settings = files.of({}, kexec.settings, host)
    parts = Parts()
    release = settings.get("KDUMP_KERNELVER") or host.kernel.release
    entries = parts.of(None, boot_entries, host)
    ram = parts.of(reservation.Ram(0, ""), reservation.ram, host)
    image = parts.of(None, store.current, host, release)
    directory = parts.of(None, conf_check.dump_directory, host, parsed) or ""
    facts = _facts(host, parts, parsed, settings, entries, ram)._replace(image=image, dump_directory=directory)
    facts = facts._replace(
        problems=files.errors + facts.problems, free_bytes=parts.of(None, _free_bytes, host, directory)
    )
    verdict = readiness.judge(facts)
    vmcores = parts.of([], dumps.newest, host, directory, most_vmcores)
    return Status(
        name, engine.packages_missing(host, name), text, parsed, settings, release, entries, ram, image, facts, verdict,
        vmcores, files.errors + parts.errors,
    )  # fmt: skip


def _conf_text(host: Any) -> Optional[str]:
    return host.read_text(layout.CONF) if host.exists(layout.CONF) else None


def boot_entries(host: Any) -> Entries:
    """Of the boot loader that the crashkernel module would choose."""
    name = choice.choose(host, "auto")
    entries = entry.select(choice.module(name).entries(host), ["ALL"])
    following = next((one for one in entries if one.default), entries[0])
    return Entries(name, list(following.values))


def _facts(
    host: Any,
    parts: Parts,
    parsed: conf.Conf,
    settings: Dict[str, str],
    entries: Optional[Entries],
    ram: reservation.Ram,
) -> readiness.Facts:
    release = settings.get("KDUMP_KERNELVER") or host.kernel.release
    reserved = parts.of(0, reservation.reserved_bytes, host)
    running = parts.of([], reservation.running_values, host)
    configured = entries.configured if entries else None
    outcome = crashkernel.effective(running if configured is None else configured).explain(ram.bytes)
    loaded = parts.of(None, kexec.loaded, host)
    building = Parts()
    digest = building.of(None, build.wanted_digest, host, release, parsed, settings.get("KDUMP_BOOTDIR", ""))
    loading = Parts()
    plan = loading.of(None, kexec.decide, host, kexec.REQUEST) if reserved else None
    reload = [(step.before, step.after) for step in plan.steps] if plan else []
    return readiness.Facts(
        release=release, reserved=reserved, configured=configured, running=running,
        expected=outcome.bytes, why_expected=outcome.why,
        reboot_required=configured is not None
        and reservation.reboot_required(configured, running, reserved, ram.bytes),
        crash_loaded=parts.of(False, kexec.is_loaded, host), loaded=loaded, reload=reload[0] if reload else None,
        unit_enabled=parts.of(False, boot.is_enabled, host), wanted_digest=digest,
        problems=building.errors, load_problems=loading.errors,
        warnings=parsed.warnings + parts.of([], conf_check.warn_host, host, parsed),
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
    facts = status.facts
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
            "bootloader": status.entries.bootloader if status.entries else None,
        },
        "image": _image(status),
        "loaded": dict(facts.loaded._asdict()) if facts.loaded else None,
        "crash_loaded": facts.crash_loaded,
        "unit_enabled": facts.unit_enabled,
        "conf": {
            "exists": status.text is not None, "options": status.conf.options,
            "problems": [problem.as_dict() for problem in status.conf.problems],
        },
        "sysconfig": {
            name: sysconfig.MASK if sysconfig.is_secret(name) else value for name, value in status.settings.items()
        },
        "target": dict(
            status.conf.target._asdict(), directory=facts.dump_directory or None, free_bytes=facts.free_bytes
        ),
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
