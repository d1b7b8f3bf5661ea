# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is told of crashes whose dumps failed, and of boots that ended without a shutdown, on a machine in a directory."""

import json
import os
from unittest import mock

import pytest
from kexec_host import KexecHost

from ansible_collections.vmcore.kdump.plugins.module_utils import evidence, layout, program, proof

NOW = 1764000000.0  # of KexecHost
DAY = 86400.0
CAPTURE = {
    "format": 1, "release": "6.12", "digest": "a" * 64, "status": 1, "bytes": 0, "seconds": 12.5,
    "target": {"kind": "ssh", "where": "kdump@192.0.2.9"}, "directory": "",
    "message": "the server dumps (192.0.2.9) cannot be reached by ssh: Connection refused",
    "memory": {"total": 80 << 20, "free_low": 1 << 20, "available_low": 12 << 20},
    "phases": [{"name": "network", "seconds": 1.0, "exit": 0}, {"name": "server", "seconds": 9.0, "exit": 1}],
}  # fmt: skip
PANIC = b"[   9.0] Kernel panic - not syncing: sysrq triggered crash\n"


@pytest.fixture
def host(tmp_path):
    host = KexecHost(tmp_path)
    boots(host, "boot-1")
    return host


def boots(host, boot_id):
    host.put("/proc/sys/kernel/random/boot_id", boot_id.encode() + b"\n")
    for name in host.listdir(layout.RUN_DIR):
        host.remove(layout.RUN_DIR + "/" + name)


def shut_down(host):
    """What ExecStop of the unit does."""
    host.rename(layout.RUNNING, layout.ENDED)


def report(host, name="2026-11-24-10:30:00", at=NOW - 60, capture="", **files):
    folder = layout.FAILED + "/" + name
    capture = CAPTURE if capture == "" else capture
    texts = {"kexec-dmesg.log": b"", "vmcore-dmesg.txt": PANIC}
    if capture is not None:
        texts["capture.json"] = json.dumps(capture).encode()
    texts.update({file.replace("_", "-"): text for file, text in files.items()})
    for file, text in texts.items():
        host.put(folder + "/" + file, text)
        os.utime(host.path(folder + "/" + file), (at, at))
    return folder


def dump(at, verdict="complete", path="/var/crash/x/vmcore", capture=None, **more):
    values = {"directory": "/var/crash/x", "path": path, "verdict": verdict, "capture": capture, "written_at": at,
              "problems": [], "panic": ""}  # fmt: skip
    return dict(values, **more)


def told(host, dumps=(), looked=True, proven_at=None, now=NOW, rescued=()):
    failures = evidence.failures(host, list(dumps))
    proven = None
    if proven_at is not None:
        proven = proof.Proof(proof.Inputs("", "", 0, ""), "/v", "complete", proven_at, None, None, None, None)
    seen = evidence.Seen(list(dumps), looked, failures, evidence.last_unclean(host), proven, list(rescued))
    return [str(problem) for problem in evidence.warnings(seen, now)]


# --- failures ------------------------------------------------------------------------------------------------------
def test_a_report_says_why_and_of_what_the_kernel_died(host):
    folder = report(host)
    found = evidence.failures(host, [])[0].as_dict()
    assert (found["directory"], found["message"]) == (folder, CAPTURE["message"])
    assert found["time"] == "2025-11-24T15:59:00Z" and "sysrq triggered crash" in found["panic"]
    assert [phase["name"] for phase in found["phases"]] == ["network", "server"]
    assert told(host) == [
        "The dump of a crash failed (2025-11-24T15:59:00Z): the server dumps (192.0.2.9) cannot be reached by ssh: "
        "Connection refused. %s holds what was saved; the kernel died of: %s." % (folder, found["panic"])
    ]


MESSAGES = {  # what a capture kernel left: what is told of it
    "phases alone": (dict(CAPTURE, message=""), {}, "it failed in: server (exit code 1)"),
    "nothing that can be understood": (["x"], {}, "ended before it could say why"),
    "no capture.json": (None, {}, "ended before it could say why"),
    "a message over several lines": (dict(CAPTURE, message="a\nb\x1b[2J"), {}, "a\\x0ab\\x1b[2J"),
    "a message without an end": (dict(CAPTURE, message="x" * 10000), {}, "x" * 500),
    "numbers that are none": (dict(CAPTURE, seconds=float("nan")), {}, "ended before it could say why"),
    "hostile logs": (CAPTURE, {"vmcore-dmesg.txt": b"\xff\0" * 5000}, "cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_told_of_a_report(host, name):
    capture, files, said = MESSAGES[name]
    report(host, capture=capture, **files)
    found = told(host)
    assert len(found) == 1 and said in found[0] and len(found[0]) < 1000 and found[0].isprintable()


FAILED = {  # a dump at the target: whether it is told as a failure
    "whole": (dump(1), False),
    "not renamed": (dump(1, path="/var/crash/x/vmcore-incomplete"), True),
    "cut": (dump(1, "incomplete"), True),
    "no vmcore": (dump(1, "missing", ""), True),
    "whole, and the capture kernel says that it failed": (dump(1, capture={"status": 1, "phases": []}), True),
    "in a wrapper that is not read": (dump(1, "unknown"), False),
}


@pytest.mark.parametrize("name", FAILED)
def test_which_dump_is_a_failure(host, name):
    found, failed = FAILED[name]
    assert evidence.is_failure(found) == failed == bool(evidence.failures(host, [found]))


def test_a_failure_is_told_until_something_succeeds_or_two_weeks_have_gone(host):
    report(host, at=NOW - DAY)
    assert len(told(host)) == 1
    assert len(told(host, [dump(NOW - 2 * DAY)], proven_at=NOW - 2 * DAY)) == 1
    assert told(host, [dump(NOW - 60)]) == []
    assert told(host, proven_at=NOW - 60) == []
    assert told(host, now=NOW + 14 * DAY) == []
    assert len(told(host, [dump(NOW - 60, "incomplete")])) == 2


def test_a_dump_on_the_root_file_system_is_no_success_of_the_target(host):
    report(host, at=NOW - 60)
    assert len(told(host, rescued=[dump(NOW - 30)])) == 1


def test_a_dump_on_the_root_file_system_is_what_a_boot_left(host):
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    assert told(host, rescued=[dump(NOW + 30)]) == []


# --- retention -----------------------------------------------------------------------------------------------------
def test_the_newest_reports_are_kept(host):
    names = ["2026-11-%02d-10:30:00" % day for day in range(1, 13)] + ["2026-11-12-10:30:00-1"]
    for name in names:
        report(host, name)
    host.put(layout.FAILED + "/notes.txt", b"the admin's own")
    os.symlink("/etc", host.path(layout.FAILED) + "/2026-01-01-00:00:00")
    gone = evidence.retain(host)
    assert sorted(gone) == [layout.FAILED + "/" + name for name in names[:3]]
    left = ["2026-01-01-00:00:00"] + names[3:] + ["notes.txt"]
    assert host.listdir(layout.FAILED) == left and evidence.retain(host) == []


def test_what_the_last_boot_left_is_the_newest_by_any_clock(host):
    for day in range(1, 11):
        report(host, "2026-11-%02d-10:30:00" % day)
    evidence.begin(host)
    last = report(host, "1970-01-01-00:00:12", at=12.0)
    boots(host, "boot-2")
    evidence.begin(host)
    assert evidence.retain(host) == [layout.FAILED + "/2026-11-01-10:30:00"] and host.exists(last)


def test_reports_have_a_limit_of_bytes_and_the_newest_stays(host, monkeypatch):
    monkeypatch.setattr(evidence, "_MOST_BYTES", 3000)
    for day in (1, 2, 3):
        report(host, "2026-11-%02d-10:30:00" % day, kexec_dmesg=b"", **{"vmcore-dmesg.txt": b"x" * 4000})
    assert evidence.retain(host) == [layout.FAILED + "/2026-11-0%d-10:30:00" % day for day in (2, 1)]
    assert host.listdir(layout.FAILED) == ["2026-11-03-10:30:00"]


def test_arm_keeps_the_reports_within_their_limits(host, monkeypatch, capsys):
    for day in range(1, 13):
        report(host, "2026-11-%02d-10:30:00" % day)
    program.main(["arm"], host)
    assert len(host.listdir(layout.FAILED)) == evidence.MOST
    assert "removed the report " + layout.FAILED + "/2026-11-01-10:30:00" in capsys.readouterr().out


# --- how boots end -------------------------------------------------------------------------------------------------
def test_of_the_first_boot_nothing_is_known(host):
    assert evidence.begin(host) is None and evidence.last_end(host) is None and told(host) == []


def test_a_shutdown_is_clean(host):
    evidence.begin(host)
    shut_down(host)
    boots(host, "boot-2")
    assert evidence.begin(host).clean and evidence.last_end(host).clean and told(host) == []


def test_a_boot_that_ended_without_a_shutdown_and_left_nothing_is_told(host):
    program.main(["begin"], host)
    boots(host, "boot-2")
    assert program.main(["begin"], host) == 0
    end = evidence.last_end(host)
    assert (end.boot_id, end.clean) == ("boot-1", False)
    assert "ended without a shutdown" in told(host)[0] and "left no dump" in told(host)[0]
    assert "could not be seen" in told(host, looked=False)[0]
    assert told(host, now=NOW + 15 * DAY) == []


@pytest.mark.parametrize("after", [
    {"dumps": [dump(NOW + 30)]}, {"proven_at": NOW + 900}, {"dumps": [dump(NOW - 200)]},
], ids=["a dump", "a crash test since", "a dump by a clock that is behind"])  # fmt: skip
def test_a_crash_that_left_something_is_none_that_left_nothing(host, after):
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    assert told(host, **after) == []
    assert len(told(host, [dump(NOW - 4000)])) == 1, "an older dump is of another crash"


def crash_loop(host, at):
    """Boots 1 and 2 crash; what boot 1 left has the time `at`, boot 2 began at NOW and left nothing."""
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    boots(host, "boot-3")
    evidence.begin(host)
    return dump(at, crash_time=evidence.utc(NOW - 40))


@pytest.mark.parametrize(
    "written", [NOW - 20, NOW + 5, NOW + 7200], ids=["at once", "from a raw device", "by a clock that is ahead"]
)
def test_the_dump_of_the_crash_before_is_none_of_this_one(host, written):
    found = crash_loop(host, written)
    assert len(told(host, [found])) == 1 and "left no dump" in told(host, [found])[0]
    assert len(told(host, rescued=[found])) == 1
    assert told(host, [dict(found, crash_time=evidence.utc(NOW + 1))]) == []


def test_a_dump_before_a_failure_silences_it_by_no_clock(host):
    report(host, at=NOW - 60)
    assert len(told(host, [dump(NOW + 3600, crash_time=evidence.utc(NOW - 600))])) == 1
    assert told(host, [dump(NOW - 10, crash_time=evidence.utc(NOW - 30))]) == []


def test_shutdowns_after_a_crash_take_nothing_away(host):
    evidence.begin(host)
    for number in (2, 3, 4):
        boots(host, "boot-%d" % number)
        evidence.begin(host)
        assert evidence.last_end(host).clean == (number > 2)
        assert len(told(host)) == 1 and evidence.last_unclean(host).boot_id == "boot-1"
        shut_down(host)
    assert told(host, [dump(NOW + 60)]) == [] and told(host, now=NOW + 15 * DAY) == []


def test_a_failure_of_that_boot_is_told_as_such_alone(host):
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    report(host, at=NOW + 20)
    assert len(told(host, now=NOW + 60)) == 1 and "cannot be reached by ssh" in told(host, now=NOW + 60)[0]


def test_the_proof_of_the_boot_that_ended_is_none_of_its_end(host):
    """A crash test is proven in the boot that follows it; what ends that one is another matter."""
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    assert told(host, proven_at=NOW + 60) == []
    host.clock = NOW + 10 * DAY
    boots(host, "boot-3")
    evidence.begin(host)
    found = told(host, [dump(NOW - 20, crash_time=evidence.utc(NOW - 40))], proven_at=NOW + 60, now=host.clock)
    assert len(found) == 1 and "left no dump" in found[0]


def test_the_report_of_the_crash_before_is_none_of_this_one(host):
    evidence.begin(host)
    folder = report(host, at=NOW - 40)
    boots(host, "boot-2")
    evidence.begin(host)
    assert [folder in line for line in told(host)] == [True]
    boots(host, "boot-3")
    host.clock = NOW + DAY
    evidence.begin(host)
    found = told(host, now=host.clock)
    assert len(found) == 2 and "left no dump" in found[1]
    report(host, "1970-01-01-00:00:12", at=12.0)
    assert len(told(host, now=host.clock)) == 1, "a report by a clock that was lost is one all the same"


def test_a_full_disk_does_not_make_a_crash_a_shutdown(host, monkeypatch):
    evidence.begin(host)
    shut_down(host)
    boots(host, "boot-2")
    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(host, "write", mock.Mock(side_effect=OSError(28, "No space left on device")))
        evidence.begin(host)
    boots(host, "boot-3")
    assert not evidence.begin(host).clean and len(told(host)) == 1


def test_the_unit_may_be_stopped_and_started_in_one_boot(host):
    evidence.begin(host)
    shut_down(host)
    assert evidence.begin(host) is None
    boots(host, "boot-2")
    assert not evidence.begin(host).clean, "after it was started again there was no shutdown"


def test_an_end_of_long_ago_is_not_the_last_one(host):
    """The unit was not started in this boot (the role's state disabled)."""
    evidence.begin(host)
    boots(host, "boot-2")
    evidence.begin(host)
    boots(host, "boot-3")
    assert evidence.last_end(host) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"boot_id": 1}',
        b'{"boot_id": "x", "began": "y"}',
        b'{"boot_id": "x", "began": 1, "reports": 2}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_files_that_were_cut_or_changed_are_as_none(host, text):
    for path in (layout.BOOT, layout.LAST_END, layout.LAST_UNCLEAN, layout.ENDED):
        host.put(path, text)
    assert evidence.last_end(host) is None and evidence.last_unclean(host) is None and evidence.begin(host) is None
    assert json.loads(host.read_text(layout.BOOT))["boot_id"] == "boot-1"
