# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Would a panic now leave a vmcore? The verdict on a host, from facts alone. Private to this collection.

unprotected     something stands in the way of a dump, now or after the next boot as the host's files are today
pending_reboot  all is set, and the memory comes with the next boot
armed           memory reserved, capture kernel loaded, its image built from today's inputs, and so at every boot
proven          armed, and a crash test with exactly what is loaded delivered a whole vmcore
stale           a crash test did deliver one, and something it depended on has changed since

What only may make a dump fail, or is about to change, is a warning and no reason.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from . import cmdline
from .problems import Problem
from .proof import Inputs, Proof

UNPROTECTED = "unprotected"
PENDING_REBOOT = "pending_reboot"
ARMED = "armed"
PROVEN = "proven"
STALE = "stale"
STATES = [UNPROTECTED, PENDING_REBOOT, ARMED, STALE, PROVEN]

_MIB = 1 << 20
# The vmcore of a 2 GiB guest that does nothing takes more than this (dump level 31, lzo).
_LEAST_SPACE = 64 * _MIB
_RUN_ROLE = "Run the role vmcore.kdump.kdump (playbook vmcore.kdump.kdump) on this host."


class Facts(NamedTuple):
    """What was seen on a host; sizes in bytes. None stands for what could not be found out."""

    release: str  # of the kernel that is to capture: KDUMP_KERNELVER, or the running one
    engine: str = "native"
    unit: str = "vmcore-kdump.service"  # what arms the host at boot with this engine
    reserved: int = 0
    configured: Optional[List[str]] = None  # crashkernel= values of the entry that boots next
    running: Optional[List[str]] = None  # those that the running kernel was booted with
    expected: int = 0  # what the next boot reserves
    why_expected: str = ""  # and why
    reboot_required: bool = False  # the next boot gives another reservation than the present one
    crash_loaded: bool = False  # by sysfs
    loaded: Optional[Any] = None  # kexec_state.Loaded: what this engine loaded, if that is what is loaded
    loaded_by: str = ""  # the engine that did; "" for something of which nothing is known
    unit_enabled: bool = False
    boot_problems: List[Problem] = []  # why that would arm nothing all the same
    others_enabled: List[str] = []  # units of other engines that are
    image: Optional[Any] = None  # store.Manifest of the newest whole image
    wanted_digest: Optional[str] = None  # of an image built from today's inputs
    reload: Optional[Tuple[str, str]] = None  # what loading today would change: the texts of kexec's diff
    problems: List[Problem] = []  # why no image could be built: configuration, target, programs
    load_problems: List[Problem] = []  # why nothing could be loaded, now or at the next boot
    forbidden: List[Problem] = []  # why what is loaded cannot be replaced before the next boot
    warnings: List[Problem] = []
    free_bytes: Optional[int] = None  # where dumps go
    dump_directory: str = ""
    proof: Optional[Proof] = None


class Verdict(NamedTuple):
    """`reasons`: why the host is no better than that. `warnings`: what to look at all the same."""

    readiness: str
    reasons: List[Problem]
    warnings: List[Problem]


def judge(facts: Facts) -> Verdict:
    warnings = facts.warnings + list(_warnings(facts))
    blocking = facts.problems + list(_not_at_boot(facts)) + list(_no_space(facts))
    reservation = list(_reservation(facts))
    if reservation and not blocking and _comes_with_reboot(facts):
        return Verdict(PENDING_REBOOT, reservation, warnings)
    blocking = reservation + blocking + ([] if reservation else list(_not_loaded(facts)))
    blocking += list(_not_loadable(facts))
    changed = list(_changed_since_load(facts))
    if blocking:
        return Verdict(UNPROTECTED, blocking + changed, warnings)
    return _with_proof(facts, changed, warnings)


def _with_proof(facts: Facts, changed: List[Problem], warnings: List[Problem]) -> Verdict:
    """The verdict on a host that has something loaded by this collection, and nothing in the way."""
    now = inputs(facts)
    if facts.proof is None:
        if changed:
            return Verdict(UNPROTECTED, changed, warnings)
        return Verdict(ARMED, [Problem(
            "No crash test has been made.",
            "Prove it where a crash is allowed: ansible-playbook vmcore.kdump.crash_test -e kdump_crash_test=true.",
        )], warnings)  # fmt: skip
    since = list(_changed_since_proof(facts.proof, facts.engine, now))
    if since and changed:
        return Verdict(UNPROTECTED, changed + since, warnings)
    if since or changed:
        return Verdict(STALE, changed + since, warnings)
    return Verdict(PROVEN, [], warnings)


def inputs(facts: Facts) -> Inputs:
    """What a crash now would prove; nothing is loaded: empty."""
    if facts.loaded is None:
        return Inputs("", "", facts.reserved, "")
    same = facts.image is not None and facts.image.digest == facts.loaded.digest
    release = facts.image.release if facts.image is not None and same else facts.release
    return Inputs(release, facts.loaded.digest, facts.reserved, facts.loaded.cmdline)


# --- the reservation -----------------------------------------------------------------------------------------------
def _comes_with_reboot(facts: Facts) -> bool:
    return bool(facts.configured and facts.expected and facts.reboot_required)


def _reservation(facts: Facts) -> Iterator[Problem]:
    """Why there is no memory for a capture kernel, or none after the next boot."""
    if facts.configured == [] and facts.reserved:
        yield Problem(
            "The boot entry that starts next has no crashkernel= argument: after a reboot nothing is reserved.", _RUN_ROLE,
        )  # fmt: skip
    elif facts.configured and not facts.expected:
        yield Problem(
            "The next boot reserves nothing by crashkernel=%s. %s" % (_shown(facts.configured), facts.why_expected),
            "Set kdump_crashkernel to a size or to ranges that fit this host's memory.",
            "crashkernel", _shown(facts.configured),
        )  # fmt: skip
    elif not facts.reserved:
        yield _nothing_reserved(facts)
    elif facts.expected > facts.reserved and facts.reboot_required and not facts.crash_loaded:
        yield Problem(
            "Nothing is loaded, and the reservation of %d MiB grows to %d MiB with the next boot."
            % (facts.reserved // _MIB, facts.expected // _MIB),
            "Reboot the host, or set kdump_reboot_ok and run the role again.",
        )  # fmt: skip


def _nothing_reserved(facts: Facts) -> Problem:
    if _comes_with_reboot(facts):
        return Problem(
            "No memory is reserved yet: crashkernel=%s takes effect with the next boot."
            % _shown(facts.configured or []),
            "Reboot the host, or set kdump_reboot_ok and run the role again.",
        )
    if facts.running:
        return Problem(
            "The kernel was booted with crashkernel=%s and has reserved nothing. %s"
            % (_shown(facts.running), facts.why_expected),
            "Look for `crashkernel` in the kernel's log (dmesg). Where it found no room, set kdump_crashkernel to a smaller "
            "size, without an @OFFSET, and reboot.",
            "crashkernel", _shown(facts.running),
        )  # fmt: skip
    return Problem("No memory is reserved for a capture kernel, and none is asked for.", _RUN_ROLE)


def _shown(values: List[str]) -> str:
    return " crashkernel=".join(values)


# --- what is loaded ------------------------------------------------------------------------------------------------
def _not_loaded(facts: Facts) -> Iterator[Problem]:
    if not facts.crash_loaded:
        yield Problem(
            "No capture kernel is loaded.",
            "Run the role again; where a boot did not load it, `systemctl status %s` says why." % facts.unit,
        )
        yield from (problem for problem in facts.load_problems if problem not in facts.problems)
    elif facts.loaded is None and facts.loaded_by:
        yield Problem(
            "%s has loaded the capture kernel, and %s is wanted." % (facts.loaded_by, facts.engine), _RUN_ROLE
        )
    elif facts.loaded is None:
        yield Problem(
            "Something else than this collection has loaded a capture kernel, and nothing is known about it.",
            "Disable what loads it (kdump-tools.service or kdump.service), then run the role again.",
        )


def _not_loadable(facts: Facts) -> Iterator[Problem]:
    """Why the next boot would load nothing, though something is loaded now."""
    grows = facts.reboot_required and facts.expected > facts.reserved
    for problem in facts.load_problems if facts.crash_loaded else []:
        if problem not in facts.problems and not (grows and problem.option == "crashkernel"):
            yield problem


def _changed_since_load(facts: Facts) -> Iterator[Problem]:
    """In what the loaded capture kernel is not the one that today's files would give."""
    if facts.loaded is None:
        return
    if facts.image is not None and facts.image.digest == facts.loaded.digest and facts.image.release != facts.release:
        yield Problem(
            "The loaded capture kernel is %s, and %s is wanted." % (facts.image.release, facts.release), _RUN_ROLE,
        )  # fmt: skip
    elif facts.wanted_digest is not None and facts.loaded.digest and facts.wanted_digest != facts.loaded.digest:
        yield Problem(
            "The loaded capture image is older than what it is made of: configuration, programs, modules or the kernel "
            "have changed.", _RUN_ROLE,
        )  # fmt: skip
    elif facts.reload is not None:
        yield Problem("Loaded today the capture kernel would differ: %s." % _difference(*facts.reload), _RUN_ROLE)
    else:
        return
    yield from facts.forbidden


def _difference(before: str, after: str) -> str:
    """The lines of a diff as a part of a sentence; lines that are all the same: the CPUs or the memory differ."""
    pairs = zip(before.splitlines(), after.splitlines())
    changed = ["%s, now %s" % _apart(old, new) for old, new in pairs if old != new]
    return "; ".join(changed) or "CPUs or memory have been added or removed"


def _not_at_boot(facts: Facts) -> Iterator[Problem]:
    if not facts.unit_enabled:
        yield Problem("Nothing arms this host at boot: %s is not enabled." % facts.unit, _RUN_ROLE)
    yield from facts.boot_problems
    for unit in facts.others_enabled:
        yield Problem(
            "%s arms this host at boot beside %s, and what loads last is what captures." % (unit, facts.unit), _RUN_ROLE
        )


# --- where the dump goes -------------------------------------------------------------------------------------------
def _no_space(facts: Facts) -> Iterator[Problem]:
    if facts.free_bytes is not None and facts.free_bytes < _LEAST_SPACE:
        yield Problem(
            "The dump target is full: %d MiB are free for %s." % (facts.free_bytes // _MIB, facts.dump_directory),
            "Remove old dumps there, or choose another target with kdump_target.",
        )


# --- proof ---------------------------------------------------------------------------------------------------------
def _changed_since_proof(proof: Proof, engine: str, now: Inputs) -> Iterator[Problem]:
    proven = proof.inputs
    for text, before, after in (
        ("the engine (%s, now %s)", proof.engine, engine),
        ("the kernel (%s, now %s)", proven.release, now.release),
        ("the capture image (%.16s, now %.16s)", proven.digest, now.digest or "an unknown one"),
        ("the reservation (%d bytes, now %d)", proven.reserved_bytes, now.reserved_bytes),
        ("the capture kernel's command line (%s, now %s)", proven.cmdline, now.cmdline),
    ):
        if before != after:
            shown = _apart(before, after) if isinstance(before, str) and isinstance(after, str) else (before, after)
            yield Problem(
                "Since the last crash test this has changed: %s." % (text % shown),
                "Make the crash test again: ansible-playbook vmcore.kdump.crash_test -e kdump_crash_test=true.",
            )


def _apart(before: str, after: str) -> Tuple[str, str]:
    """Two command lines by the arguments that only one of them has; both as they are where only the order differs."""
    old, new = cmdline.split(before), cmdline.split(after)
    gone = cmdline.join(argument for argument in old if argument not in new)
    added = cmdline.join(argument for argument in new if argument not in old)
    return (gone or "nothing", added or "nothing") if gone or added else (before, after)


# --- warnings ------------------------------------------------------------------------------------------------------
def _warnings(facts: Facts) -> Iterator[Problem]:
    if facts.configured is None:
        yield Problem(
            "What the next boot reserves is not known, because the boot entries cannot be read.",
            "Read the errors in the result; set crashkernel= by the boot loader's own means.",
        )
    if facts.loaded is not None and not facts.loaded.digest:
        yield Problem(
            "What the loaded capture image was made of is not known, for this collection has not built it.", _RUN_ROLE,
        )  # fmt: skip
    if facts.configured is not None and facts.reserved and facts.expected and facts.reboot_required:
        yield Problem(
            "The reservation changes with the next boot, from %d MiB to %d MiB."
            % (facts.reserved // _MIB, facts.expected // _MIB), "Reboot when it suits.",
        )  # fmt: skip
