# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import typing

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import readiness
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import Problem
from ansible_collections.vmcore.kdump.plugins.module_utils.proof import Inputs, Proof
from ansible_collections.vmcore.kdump.plugins.module_utils.readiness import Facts, judge

MIB = 1 << 20
RELEASE = "6.12.48+deb13-amd64"


class Loaded(typing.NamedTuple):
    digest: str = "a" * 64
    cmdline: str = "root=/dev/vda1 nr_cpus=1"


class Image(typing.NamedTuple):
    digest: str = "a" * 64
    release: str = RELEASE


ARMED = Facts(
    release=RELEASE, reserved=128 * MIB, configured=["128M"], running=["128M"], expected=128 * MIB,
    why_expected="The size is fixed.", crash_loaded=True, loaded=Loaded(), unit_enabled=True, image=Image(),
    wanted_digest="a" * 64, free_bytes=10 << 30, dump_directory="/var/crash",
)  # fmt: skip
INPUTS = Inputs(RELEASE, "a" * 64, 128 * MIB, "root=/dev/vda1 nr_cpus=1")
FRESH = Facts(release=RELEASE, configured=[], running=[])
PENDING = Facts(
    release=RELEASE, configured=["128M"], running=[], expected=128 * MIB, reboot_required=True, unit_enabled=True,
)  # fmt: skip


def proof(inputs=INPUTS):
    return Proof(inputs, "/var/crash/x/vmcore", "complete", 1.0, 11.0, 43.0, 12 * MIB, "112M")


def sentences(verdict):
    return "\n".join(str(problem) for problem in verdict.reasons)


BROKEN = Problem("path x is not an absolute path.", "Write it from the root.")
TOO_LONG = Problem("The command line has 2474 bytes, and this kernel takes 1986.", "Remove some.")
NO_ROOM = Problem("The capture kernel does not fit.", "Raise crashkernel=.", "crashkernel")
HARDENED = Problem("Loading was switched off.", "Only a reboot switches it on.")
NO_PROGRAM = Problem("kdump.pyz is missing.", "Run the role.")

# name: (facts, readiness, what the reasons say). Each is one step away from a host that is armed.
CASES = {
    "a fresh host": (FRESH, "unprotected", "none is asked for"),
    "armed, never tested": (ARMED, "armed", "No crash test has been made"),
    "proven": (ARMED._replace(proof=proof()), "proven", ""),
    "waiting for its first boot with the reservation": (PENDING, "pending_reboot", "takes effect with the next boot"),
    "waiting, but nothing would arm it then": (
        PENDING._replace(unit_enabled=False), "unprotected", "not enabled"),
    "waiting, but its configuration is wrong": (
        PENDING._replace(problems=[BROKEN]), "unprotected", "not an absolute path"),
    "waiting for a boot that reserves nothing": (
        PENDING._replace(expected=0, why_expected="No range holds the RAM of 1024 MiB."),
        "unprotected", "No range holds the RAM of 1024 MiB."),
    "booted with ranges that do not fit its RAM": (
        ARMED._replace(
            reserved=0, crash_loaded=False, loaded=None, configured=["2G-:256M"], running=["2G-:256M"], expected=0,
            why_expected="No range holds the RAM of 1024 MiB."),
        "unprotected", "No range holds the RAM of 1024 MiB."),
    "booted with a size that found no room": (
        ARMED._replace(reserved=0, crash_loaded=False, loaded=None), "unprotected", "has reserved nothing"),
    "reserved, nothing loaded": (
        ARMED._replace(crash_loaded=False, loaded=None), "unprotected", "No capture kernel is loaded"),
    "reserved, and loading would fail": (
        ARMED._replace(crash_loaded=False, loaded=None, load_problems=[Problem("It does not fit.", "Raise it.")]),
        "unprotected", "It does not fit."),
    "nothing loaded, and a larger reservation comes with the next boot": (
        ARMED._replace(crash_loaded=False, loaded=None, configured=["256M"], expected=256 * MIB, reboot_required=True,
                       load_problems=[Problem("It does not fit.", "Raise it.")]),
        "pending_reboot", "grows to 256 MiB"),
    "loaded by another tool": (ARMED._replace(loaded=None), "unprotected", "Something else"),
    "loaded, and the reservation is gone from the boot entries": (
        ARMED._replace(configured=[], expected=0), "unprotected", "after a reboot nothing is reserved"),
    "proven, and the reservation is gone from the boot entries": (
        ARMED._replace(configured=[], expected=0, proof=proof()), "unprotected", "after a reboot nothing is reserved"),
    "the unit is disabled": (ARMED._replace(unit_enabled=False), "unprotected", "not enabled"),
    "kdump.conf is wrong now": (ARMED._replace(problems=[BROKEN]), "unprotected", "not an absolute path"),
    "the target is full": (ARMED._replace(free_bytes=3 * MIB), "unprotected", "3 MiB are free for /var/crash"),
    "the target is not mounted, so its space is not known": (ARMED._replace(free_bytes=None), "armed", "No crash test"),
    "never tested, and the image is older than its inputs": (
        ARMED._replace(wanted_digest="b" * 64), "unprotected", "older than what it is made of"),
    "never tested, and it would be loaded with another command line": (
        ARMED._replace(reload=("kernel k\ncmdline a x=1 b\n", "kernel k\ncmdline a x=2\n")),
        "unprotected", "would differ: x=1 b, now x=2."),
    "memory was added": (
        ARMED._replace(reload=("same\n", "same\n")), "unprotected", "CPUs or memory have been added"),
    "another kernel is loaded than is wanted": (
        ARMED._replace(release="7.2.1"), "unprotected", "is " + RELEASE + ", and 7.2.1 is wanted"),
    "what would be built is not known, for the reason that is named": (
        ARMED._replace(wanted_digest=None), "armed", "No crash test"),
    "proven, and an input of the image has changed": (
        ARMED._replace(proof=proof(), wanted_digest="b" * 64), "stale", "older than what it is made of"),
    "proven, and rebuilt and loaded since": (
        ARMED._replace(proof=proof(INPUTS._replace(digest="c" * 64))), "stale", "the capture image (cccccccccccccccc, now"),
    "proven, and booted with another kernel since": (
        ARMED._replace(proof=proof(INPUTS._replace(release="6.1.0"))), "stale", "the kernel (6.1.0, now 6.12.48+deb13-amd64)"),
    "proven with a larger reservation": (
        ARMED._replace(proof=proof(INPUTS._replace(reserved_bytes=256 * MIB))), "stale", "the reservation (268435456 bytes"),
    "proven with another command line": (
        ARMED._replace(proof=proof(INPUTS._replace(cmdline="nr_cpus=2"))), "stale", "command line (nr_cpus=2, now root=/dev/vda1 nr_cpus=1)"),
    "proven with another engine": (
        ARMED._replace(proof=proof()._replace(engine="kdumpctl")), "stale", "the engine (kdumpctl, now native)"),
    "another engine is enabled at boot too": (
        ARMED._replace(others_enabled=["kdump.service"]), "unprotected", "kdump.service arms this host at boot beside"),
    "loaded by another engine": (
        ARMED._replace(loaded=None, loaded_by="kdump-tools"), "unprotected", "kdump-tools has loaded the capture kernel"),
    "nothing loaded by the unit of another engine": (
        ARMED._replace(crash_loaded=False, loaded=None, engine="kdumpctl", unit="kdump.service"),
        "unprotected", "`systemctl status kdump.service`"),
    "the unit of another engine is disabled": (
        ARMED._replace(unit_enabled=False, unit="kdump.service"), "unprotected", "kdump.service is not enabled"),
    "a unit that its condition skips as long as nothing is reserved": (
        PENDING._replace(engine="kdumpctl", unit="kdump.service"), "pending_reboot", "takes effect with the next boot"),
    "loaded by the engine itself, from what is not known": (
        ARMED._replace(loaded=Loaded(digest=""), image=Image(digest="")), "armed", "No crash test"),
    "changed since the proof, and changed again since the load": (
        ARMED._replace(proof=proof(INPUTS._replace(digest="c" * 64)), wanted_digest="b" * 64),
        "unprotected", "older than what it is made of"),
    "proven, and the next boot would load nothing": (
        ARMED._replace(proof=proof(), load_problems=[TOO_LONG]), "unprotected", "takes 1986"),
    "proven, and the next boot would load nothing, as is said already": (
        ARMED._replace(proof=proof(), load_problems=[BROKEN], problems=[BROKEN]), "unprotected", "not an absolute path"),
    "proven, and a new image does not fit": (
        ARMED._replace(proof=proof(), load_problems=[NO_ROOM]), "unprotected", "does not fit"),
    "proven, and a new image does not fit before the next boot": (
        ARMED._replace(proof=proof(), load_problems=[NO_ROOM], expected=256 * MIB, reboot_required=True), "proven", ""),
    "proven, and the next boot would load nothing, whatever it reserves": (
        ARMED._replace(proof=proof(), load_problems=[TOO_LONG], expected=256 * MIB, reboot_required=True),
        "unprotected", "takes 1986"),
    "proven, and hardened": (ARMED._replace(proof=proof(), forbidden=[HARDENED]), "proven", ""),
    "proven, hardened, and to be loaded anew": (
        ARMED._replace(proof=proof(), forbidden=[HARDENED], reload=("same\n", "same\n")), "stale", "switched off"),
    "proven, hardened, and built anew": (
        ARMED._replace(proof=proof(), forbidden=[HARDENED], wanted_digest="b" * 64), "stale", "switched off"),
    "proven, and its program is gone": (
        ARMED._replace(proof=proof(), boot_problems=[NO_PROGRAM]), "unprotected", "kdump.pyz is missing"),
    "waiting, and its program is gone": (
        PENDING._replace(boot_problems=[NO_PROGRAM]), "unprotected", "kdump.pyz is missing"),
    "the boot entries cannot be read": (ARMED._replace(configured=None, expected=0), "armed", "No crash test"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name):
    facts, expected, said = CASES[name]
    verdict = judge(facts)
    assert (verdict.readiness, said in sentences(verdict)) == (expected, True), sentences(verdict)
    assert verdict.readiness in readiness.STATES


@pytest.mark.parametrize("name", CASES)
def test_each_reason_has_its_remedy_and_proven_has_none(name):
    verdict = judge(CASES[name][0])
    assert all(problem.message and problem.hint for problem in verdict.reasons)
    assert bool(verdict.reasons) == (verdict.readiness != "proven")


def test_all_that_is_wrong_is_named_at_once():
    facts = ARMED._replace(unit_enabled=False, problems=[BROKEN], free_bytes=0, crash_loaded=False, loaded=None)
    assert len(judge(facts).reasons) == 4


def test_what_is_wrong_twice_is_named_once():
    facts = ARMED._replace(problems=[BROKEN], load_problems=[BROKEN])
    assert judge(facts).reasons == [BROKEN]
    assert judge(facts._replace(crash_loaded=False, loaded=None)).reasons.count(BROKEN) == 1


def test_what_only_may_fail_is_a_warning():
    space = Problem("A dump taken now may need 900 MiB, and /var/crash has 500 MiB free.", "Make room.")
    verdict = judge(ARMED._replace(warnings=[space], configured=["256M"], expected=256 * MIB, reboot_required=True))
    assert verdict.readiness == "armed"
    assert [str(warning)[:20] for warning in verdict.warnings] == ["A dump taken now may", "The reservation chan"]
    unreadable = judge(ARMED._replace(configured=None))
    assert "boot entries cannot be read" in str(unreadable.warnings[0])


def test_a_proof_holds_for_what_is_loaded_and_not_for_what_is_built():
    facts = ARMED._replace(image=Image("b" * 64, "7.2.1"))
    assert readiness.inputs(facts) == INPUTS
    assert readiness.inputs(FRESH) == Inputs("", "", 0, "")
