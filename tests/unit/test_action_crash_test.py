# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of a crash test against a host that is a table: nothing crashes here."""

import copy
from unittest import mock

import pytest

pytest.importorskip("ansible.plugins.action", reason="runs where ansible-core is")

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.vmcore.kdump.plugins.action import crash_test

OLD, NEW = "/var/crash/127.0.0.1-2026-11-20-08:00:00", "/var/crash/127.0.0.1-2026-11-24-10:30:00"
INPUTS = {"release": "6.12", "digest": "a" * 64, "reserved_bytes": 134217728, "cmdline": "nr_cpus=1"}
HOST = {
    "engine": "native", "readiness": "armed", "reasons": [{"message": "No crash test has been made.", "hint": "Make one."}],
    "boot_id": "boot-1", "inputs": INPUTS, "image": {"digest": "a" * 64, "current": True},
    "can_panic": True, "conf": {"options": {"final_action": "reboot"}},
}  # fmt: skip
CAPTURE = {
    "digest": "a" * 64, "status": 0, "seconds": 8.7, "memory_total": 80 << 20, "memory_low_water": 12 << 20,
    "phases": [{"name": "vmcore", "seconds": 5.0, "exit": 0}],
}  # fmt: skip
DUMP = {
    "directory": NEW,
    "path": NEW + "/vmcore",
    "files": ["capture.json", "vmcore", "vmcore-dmesg.txt"],
    "marked": True,
    "panic": "sysrq triggered crash",
    "capture": CAPTURE,
    "verdict": "complete",
    "problems": [],
    "own": True,
}
OLD_DUMP = dict(DUMP, directory=OLD, path=OLD + "/vmcore", marked=False)
REPORT = {"directory": "/var/lib/vmcore-kdump/failed/2026-11-24-10:30:00", "time": "2026-11-24T10:30:09Z",
          "message": "the server dumps cannot be reached by ssh.", "phases": [], "panic": "sysrq"}  # fmt: skip
FAILED_DUMP = dict(
    DUMP, path="", files=["capture.json", "kexec-dmesg.log"], marked=False,
    capture=dict(CAPTURE, status=1, memory_low_water=3 << 20, phases=[{"name": "mount", "seconds": 1.0, "exit": 32}]),
)  # fmt: skip


class Guest:
    """A host that goes away when it is told to panic, and what comes back."""

    def __init__(self, **changes):
        self.before = dict(copy.deepcopy(HOST), **changes)
        self.after = dict(copy.deepcopy(HOST), boot_id="boot-2")
        self.dumps = [copy.deepcopy(DUMP), OLD_DUMP]
        self.reports, self.rescued, self.waiting = [], [], []
        self.waiting_before = []
        self.looks = []  # what looks fail with, one after another
        self.answers = [None, None, "boot-2"]  # boot ids that polls see; None: no answer; the last one stays
        self.cut = False  # the connection that brings the order to panic
        self.calls = []
        self.engines = set()
        self.clock = 0.0

    def execute(self, module_name, module_args, task_vars=None):
        part = module_args.get("host_part", {})
        self.engines.add(module_args.get("engine"))
        self.calls.append(part.get("phase", module_name))
        crashed = "trigger" in self.calls
        if part["phase"] == "look":
            assert (part["marker"] != "") == crashed
            if self.looks:
                answer = self.looks.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                if answer:
                    return {"failed": True, "msg": answer}
            new = [self.dumps, self.reports, self.rescued] if crashed else [[OLD_DUMP], [], []]
            waiting = self.waiting if crashed else self.waiting_before
            return {"dumps": new[0], "reports": new[1], "rescued": new[2], "waiting": waiting, "where": "/var/crash"}
        if part["phase"] == "observe":
            found = self.after if crashed else self.before
            return found() if callable(found) else found
        if part["phase"] == "trigger":
            assert part["boot_id"] == "boot-1" and part["marker"].startswith("vmcore.kdump: crash test ")
            if self.cut:
                raise AnsibleConnectionFailure("Shared connection closed")
            return {"delay": 1.0}
        return {"proof": dict(part["proof"], proven_at=1.0), "readiness": "proven", "reasons": []}

    def poll(self, command, sudoable=True):
        if command.startswith("rm"):
            return {"rc": 0, "stdout": ""}
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise AnsibleConnectionFailure("Connection timed out")
        return {"rc": 0, "stdout": answer + "\n"}

    def sleep(self, seconds):
        self.clock += seconds


def run(guest, check_mode=False, transport="ssh", delegate_to=None, **args):
    connection = mock.MagicMock(transport=transport)
    connection._shell.tmpdir = None
    task = mock.MagicMock(
        args=dict({"confirm": True, "timeout": 300}, **args),
        check_mode=check_mode,
        async_val=0,
        action=crash_test.MODULE,
        delegate_to=delegate_to,
    )
    action = crash_test.ActionModule(task, connection, mock.MagicMock(), None, mock.MagicMock(), None)
    clock = mock.MagicMock(monotonic=lambda: guest.clock, sleep=guest.sleep)
    with mock.patch.object(action, "_execute_module", guest.execute), mock.patch.object(
        action, "_low_level_execute_command", guest.poll
    ), mock.patch.object(crash_test, "time", clock), mock.patch.object(
        crash_test, "controller_boot_id", lambda: "controller"
    ), mock.patch.object(crash_test, "display"):
        return action.run(task_vars={"inventory_hostname": "canary"})


def test_a_host_that_delivers_is_proven():
    guest = Guest()
    result = run(guest)
    assert not result.get("failed"), result
    assert result["changed"] and result["readiness"] == "proven"
    assert guest.calls == ["observe", "look", "trigger", "observe", "look", "record"]
    proof = result["proof"]
    assert (proof["inputs"], proof["vmcore"], proof["verdict"]) == (INPUTS, NEW + "/vmcore", "complete")
    assert (proof["seconds_to_capture"], proof["memory_low_water"]) == (8.7, 12 << 20)
    # Two polls in vain, five seconds each, after the five before the first; the panic came one second in.
    assert proof["seconds_unreachable"] == 14.0


REFUSED = {
    "not confirmed": ({}, {"confirm": False}, "kdump_crash_test=true"),
    "no time to wait": ({}, {"timeout": 0}, "timeout cannot be 0"),
    "the controller's connection": ({}, {"transport": "local"}, "controller itself"),
    "the controller's kernel": ({"boot_id": "controller"}, {}, "controller's own kernel"),
    "unprotected": (
        {"readiness": "unprotected", "reasons": [{"message": "No capture kernel is loaded.", "hint": "Run the role."}]}, {},
        "is unprotected, so a crash would prove nothing. No capture kernel is loaded. Run the role."),
    "pending reboot": ({"readiness": "pending_reboot"}, {}, "is pending_reboot"),
    "stale, and rebuilt at the next boot": (
        {"readiness": "stale", "image": {"digest": "a" * 64, "current": False}}, {}, "Run the role first"),
    "another image built than loaded": ({"image": {"digest": "b" * 64, "current": True}}, {}, "Run the role first"),
    "no image": ({"image": None}, {}, "Run the role first"),
    "no sysrq": ({"can_panic": False}, {}, "CONFIG_MAGIC_SYSRQ"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("check_mode", [False, True])
def test_refused_before_anything_happens(name, check_mode):
    changes, options, said = REFUSED[name]
    guest = Guest(**changes)
    result = run(guest, check_mode=check_mode, **options)
    assert result["failed"] and said in result["msg"], result
    assert set(guest.calls) <= {"observe"}


@pytest.mark.parametrize("readiness", ["armed", "proven", "stale"])
def test_check_mode_says_what_it_would_do_and_crashes_nothing(readiness):
    guest = Guest(readiness=readiness)
    result = run(guest, check_mode=True)
    assert result["changed"] and "Would crash canary" in result["msg"]
    assert guest.calls == ["observe", "look"]


def test_a_target_that_cannot_be_looked_at_is_refused_before_the_crash():
    guest = Guest()
    guest.looks = ["The dump server has no python3."]
    result = run(guest)
    assert result["failed"] and "canary: The dump server has no python3." in result["msg"]
    assert guest.calls == ["observe", "look"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_dump_that_the_crash_would_overwrite_is_refused_before_it(check_mode):
    guest = Guest()
    guest.waiting_before = ["raw /dev/vdb holds a dump that has not become a file yet."]
    result = run(guest, check_mode=check_mode)
    assert result["failed"] and "canary is not crashed: raw /dev/vdb holds a dump" in result["msg"]
    assert guest.calls == ["observe", "look"]


def test_a_server_that_is_slow_to_answer_after_the_crash_is_asked_again():
    guest = Guest()
    guest.looks = ["", "Connection refused", "Connection refused"]
    assert run(guest)["readiness"] == "proven" and guest.calls.count("look") == 4
    guest = Guest()
    guest.looks = [""] + ["Connection refused"] * 20
    result = run(guest)
    assert result["failed"] and "Connection refused" in result["msg"] and guest.calls.count("look") == 7


def test_a_panic_that_is_quicker_than_the_answer_is_waited_for():
    guest = Guest()
    guest.cut = True
    assert run(guest)["readiness"] == "proven"
    guest = Guest()
    guest.cut, guest.answers = True, ["boot-1"]  # the order did not arrive
    fails(guest, "still runs 64 s after it was told to panic", ["observe", "look", "trigger"])


def test_a_connection_that_is_lost_after_the_crash_is_made_again():
    lost = AnsibleConnectionFailure("Connection reset by peer")
    guest = Guest()
    guest.looks = ["", lost, lost]
    assert run(guest)["readiness"] == "proven"
    guest = Guest()
    guest.looks = [lost]
    with pytest.raises(AnsibleConnectionFailure):  # unreachable, as any task says it
        run(guest)
    assert guest.calls == ["observe", "look"]


def test_other_hosts_dumps_on_the_same_server_are_no_proof():
    guest = Guest()
    guest.dumps = [dict(DUMP, own=False, marked=False)]
    assert "without a new vmcore" in run(guest)["msg"]
    guest = Guest()  # DHCP has given the capture kernel another address
    guest.dumps = [dict(DUMP, own=False)]
    assert run(guest)["readiness"] == "proven"


def test_what_the_capture_kernel_reported_on_the_host_is_told():
    guest = Guest()
    guest.dumps, guest.reports = [OLD_DUMP], [REPORT]
    guest.rescued = [dict(DUMP, directory="/r/x", path="/r/x/vmcore")]
    result = run(guest)
    assert "reported in %s: the server dumps cannot be reached by ssh." % REPORT["directory"] in result["msg"]
    assert "/r/x/vmcore was saved instead (complete)" in result["msg"] and result["failures"] == [REPORT]


def test_the_host_that_is_delegated_to_is_named():
    assert "Would crash other and" in run(Guest(), check_mode=True, delegate_to="other")["msg"]


def test_a_parameter_that_is_none_is_refused():
    with pytest.raises(AnsibleError):
        run(Guest(), host_part={"phase": "trigger"})


def fails(guest, said, calls, **options):
    result = run(guest, **options)
    assert result["failed"] and said in result["msg"], result
    assert guest.calls == calls
    assert "trigger" not in guest.calls[3:]
    return result


def test_a_host_that_stays_away():
    guest = Guest()
    guest.answers = [None]
    fails(guest, "did not come back in 304 s", ["observe", "look", "trigger"])


def test_a_host_that_is_to_stay_down_after_its_dump():
    options = {"final_action": "poweroff", "failure_action": "reboot", "path": "/shell"}
    guest = Guest(conf={"options": options})
    guest.answers = [None]
    result = fails(guest, "has final_action poweroff: after that it does not restart", ["observe", "look", "trigger"])
    assert "reboot:" not in result["msg"] and "reboot," not in result["msg"]
    guest = Guest()
    guest.answers = [None]
    assert "kdump.conf" not in run(guest)["msg"]


def test_a_host_that_does_not_panic_is_not_waited_for_to_the_end():
    guest = Guest()
    guest.answers = ["boot-1"]
    fails(guest, "still runs 64 s after it was told to panic", ["observe", "look", "trigger"])


def test_a_host_that_comes_back_without_a_dump():
    guest = Guest()
    guest.dumps = []
    fails(guest, "Nothing new lies at /var/crash", ["observe", "look", "trigger", "observe", "look"])


def test_a_dump_that_is_still_on_its_raw_device_is_told():
    guest = Guest()
    guest.dumps, guest.waiting = [], ["raw /dev/vdb holds a dump that has not become a file yet."]
    result = fails(guest, "new vmcore. raw /dev/vdb holds a dump", ["observe", "look", "trigger", "observe", "look"])
    assert "Nothing new lies" not in result["msg"]


def test_an_old_dump_is_no_proof():
    guest = Guest()
    guest.dumps = [dict(DUMP, directory=OLD, path=OLD + "/vmcore")]
    fails(guest, "without a new vmcore", ["observe", "look", "trigger", "observe", "look"])


def test_a_capture_that_failed_says_in_what():
    guest = Guest()
    guest.dumps = [FAILED_DUMP]
    result = fails(guest, "it failed in: mount (exit code 32)", ["observe", "look", "trigger", "observe", "look"])
    assert NEW + " holds capture.json, kexec-dmesg.log." in result["msg"]
    assert "At worst 3 MiB" in result["msg"]
    assert result["vmcores"] == [FAILED_DUMP]


VERIFY = ["observe", "look", "trigger", "observe", "look"]


def test_a_dump_that_is_not_whole():
    guest = Guest()
    guest.dumps[0].update(verdict="incomplete", problems=["The status says that it was not finished."])
    fails(guest, "which is incomplete: The status says that it was not finished.", VERIFY)


def test_an_engine_whose_capture_kernel_writes_no_report():
    guest = Guest()
    dump = dict(DUMP, path=NEW + "/dump.202611241030", capture=None)
    guest.dumps = [dump]
    guest.after.update(engine="kdump-tools")
    result = run(guest, engine="kdump-tools")
    assert not result.get("failed") and guest.engines == {"kdump-tools"}, result
    assert (result["proof"]["seconds_to_capture"], result["proof"]["memory_low_water"]) == (None, None)
    guest = Guest()
    guest.dumps = [dict(dump, verdict="incomplete")]
    guest.after.update(engine="kdump-tools")
    said = run(guest, engine="kdump-tools")["msg"]
    assert "the console" in said and "capture.json" not in said


def test_a_dump_of_another_crash():
    guest = Guest()
    guest.dumps = [dict(DUMP, marked=False, panic="Fatal exception")]
    fails(guest, "it is of another crash, or its log was lost. It says: Fatal exception", VERIFY)


@pytest.mark.parametrize("changes", [
    {"path": NEW + "/vmcore-incomplete"},
    {"capture": dict(CAPTURE, status=1, phases=[{"name": "sync", "seconds": 1.0, "exit": 1}])},
], ids=["not renamed", "its capture.json"])  # fmt: skip
def test_a_dump_that_the_capture_kernel_says_failed(changes):
    guest = Guest()
    guest.dumps = [dict(DUMP, **changes)]
    fails(guest, "the capture kernel says that the dump failed", VERIFY)


def test_a_dump_by_another_image():
    guest = Guest()
    guest.dumps = [dict(DUMP, capture=dict(CAPTURE, digest="b" * 64))]
    fails(guest, "captured by another image", VERIFY)


def test_a_dump_without_figures_proves_as_well():
    guest = Guest()
    guest.dumps = [dict(DUMP, capture=None)]
    result = run(guest)
    assert result["readiness"] == "proven"
    assert result["proof"]["seconds_to_capture"] is None and result["proof"]["memory_low_water"] is None


def test_a_host_that_is_not_armed_again():
    guest = Guest()
    guest.after.update(
        readiness="unprotected", reasons=[{"message": "The unit is not enabled.", "hint": "Run the role."}]
    )
    result = fails(guest, "is not armed again: unprotected. The unit is not enabled.", mock.ANY)
    assert guest.calls.count("observe") > 10 and guest.calls[-1] == "look"
    assert result["readiness"] == "unprotected"


def test_a_host_is_given_time_to_arm_itself_and_to_let_anybody_in():
    guest = Guest()
    armed = guest.after
    answers = ["refuse", dict(armed, readiness="unprotected"), armed]

    def look():
        answer = answers.pop(0)
        if answer == "refuse":
            raise AnsibleConnectionFailure("System is booting up. Unprivileged users are not permitted to log in yet.")
        return answer

    guest.after = look
    assert run(guest)["readiness"] == "proven"
    assert guest.calls.count("observe") == 4 and guest.calls.count("trigger") == 1


def test_a_host_that_is_back_and_cannot_be_looked_at():
    guest = Guest()

    def look():
        raise AnsibleConnectionFailure("Permission denied")

    guest.after = look
    result = run(guest)
    assert result["failed"] and "is back and cannot be looked at: Permission denied" in result["msg"]


def test_the_right_one_of_two_new_dumps_is_taken():
    guest = Guest()
    guest.dumps = [dict(DUMP, directory="/var/crash/x", path="/var/crash/x/vmcore", marked=False), DUMP]
    assert run(guest)["proof"]["vmcore"] == NEW + "/vmcore"
