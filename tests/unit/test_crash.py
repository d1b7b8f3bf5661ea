# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's part of a crash test, in a directory: the file that stands for /proc/sysrq-trigger gets its letter."""

import json
import os
import time

import pytest
from kexec_host import KexecHost

from ansible_collections.vmcore.kdump.plugins.module_utils import crash, dumps, layout, proof, status
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

MARKER = "vmcore.kdump: crash test 0123456789abcdef"


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "wanted_digest", lambda *arguments: "a" * 64)
    host = KexecHost(tmp_path)
    host.put("/proc/sys/kernel/random/boot_id", b"boot-1\n")
    host.put("/dev/kmsg", b"")
    host.put("/proc/sysrq-trigger", b"")
    return host


def run(host, phase, **values):
    part = dict({"marker": MARKER, "boot_id": "", "proof": None}, phase=phase, **values)
    return crash.run(host, {"engine": "native", "host_part": part})


def wait_for(host, path, seconds=60):
    end = time.time() + seconds
    while not host.read(path) and time.time() < end:
        time.sleep(0.05)
    return host.read(path)


def test_the_panic_comes_after_the_answer_and_the_marker_is_in_the_log(host, monkeypatch):
    monkeypatch.setattr(crash, "_DELAY", 0.3)
    assert run(host, "trigger", boot_id="boot-1") == {"delay": 0.3}
    assert host.read("/proc/sysrq-trigger") == b""
    assert host.read_text("/dev/kmsg") == MARKER + "\n"
    assert wait_for(host, "/proc/sysrq-trigger") == b"c"


def test_a_host_that_has_booted_since_is_not_crashed(host, monkeypatch):
    monkeypatch.setattr(crash, "_DELAY", 0.0)
    with pytest.raises(KdumpError, match="has booted since"):
        run(host, "trigger", boot_id="boot-0")
    time.sleep(0.3)
    assert host.read("/proc/sysrq-trigger") == b"" and host.read("/dev/kmsg") == b""


def test_a_kernel_that_cannot_be_made_to_panic_says_so_at_once(host):
    os.unlink(host.path("/proc/sysrq-trigger"))
    with pytest.raises(KdumpError, match="cannot be made to panic.*sysrq-trigger"):
        run(host, "trigger", boot_id="boot-1")


def test_the_module_alone_refuses(host):
    with pytest.raises(KdumpError, match="by the module alone"):
        crash.run(host, {"engine": "native", "host_part": None})


def test_the_crash_itself_is_not_told_as_a_loss(host):
    """The host is looked at once it is back, before anybody has looked for the dump of an unmounted target."""
    end = {"boot_id": "boot-0", "clean": False, "began": host.now() - 600, "at": host.now() - 60}
    host.put(layout.LAST_UNCLEAN, json.dumps(end).encode())
    host.put("/proc/self/mountinfo", b"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n")
    assert "ended without a shutdown" in str(status.report(status.observe(host, "native", 0, None))["warnings"])
    assert "warnings" not in run(host, "observe")


def put_dump(host, name, log=b"", capture=None, age=0):
    folder = "/var/crash/" + name
    host.put(folder + "/vmcore", b"no vmcore at all")
    host.put(folder + "/vmcore-dmesg.txt", log)
    if capture is not None:
        host.put(folder + "/capture.json", json.dumps(capture).encode())
    for file in host.listdir(folder):
        os.utime(host.path(folder + "/" + file), (2000 - age, 2000 - age))
    return folder


def test_a_look_tells_which_dump_is_of_this_crash(host):
    old = put_dump(
        host, "127.0.0.1-2026-11-20-08:00:00", b"[  1.0] Kernel panic - not syncing: Fatal exception\n", age=9
    )
    new = put_dump(
        host,
        "127.0.0.1-2026-11-24-10:30:00",
        ("[  9.0] %s\n[ 10.0] Kernel panic - not syncing: sysrq triggered crash\n" % MARKER).encode(),
    )
    host.put("/var/crash/lost+found/x", b"")
    host.put("/var/crash/vmcore", b"")
    seen = run(host, "observe")
    assert seen["boot_id"] == "boot-1" and seen["can_panic"]
    seen = run(host, "look")
    assert [(dump["directory"], dump["marked"]) for dump in seen["dumps"]] == [(new, True), (old, False)]
    assert "sysrq triggered crash" in seen["dumps"][0]["panic"]
    assert seen["dumps"][0]["verdict"] in ("broken", "unknown") and seen["dumps"][0]["own"]
    assert (seen["where"], seen["reports"], seen["rescued"]) == ("/var/crash", [], [])


def test_on_a_share_of_many_guests_a_dump_of_which_nothing_tells_whose_it_is_counts(host):
    """The marker decides; and a capture that died before it could name its image is to be told."""
    host.put(
        "/proc/self/mountinfo",
        b"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 0:41 / /var/crash rw - virtiofs share rw\n",
    )
    host.put(layout.UNIT, b"")
    host.make_directories(os.path.dirname(layout.UNIT_LINK))
    os.symlink(layout.UNIT, host.path(layout.UNIT_LINK))
    capture = {"digest": "b" * 64, "status": 0, "seconds": 1, "phases": [], "memory": {"total": 9, "available_low": 1}}
    other = put_dump(host, "127.0.0.1-2026-11-24-10:30:00", capture=capture)
    unknown = put_dump(host, "127.0.0.1-2026-11-24-10:31:00", age=1)
    assert [(dump["directory"], dump["own"]) for dump in run(host, "look")["dumps"]] == [
        (other, False),
        (unknown, True),
    ]


def test_a_dump_that_is_on_a_raw_device_alone_is_told(host, monkeypatch):
    assert run(host, "look")["waiting"] == []
    host.put("/etc/kdump.conf", b"raw /dev/vdb\n")
    host.put("/dev/vdb", b"makedumpfile\0\0\0\0 and so on")
    monkeypatch.setattr(host, "device_number", lambda path: "254:16")
    assert "raw /dev/vdb holds a dump that has not become a file yet" in run(host, "look")["waiting"][0]


def test_without_a_dump_directory_there_is_nothing_to_list(host):
    assert dumps.newest(host, "", 5) == []
    assert run(host, "look")["dumps"] == []


def test_a_directory_without_a_vmcore_is_listed_with_what_the_capture_said(host):
    folder = "/var/crash/127.0.0.1-2026-11-24-10:30:00"
    host.put(folder + "/kexec-dmesg.log", b"mount: failed\n")
    found = dumps.newest(host, "/var/crash", 5)
    assert [(one["path"], one["verdict"], one["files"]) for one in found] == [("", "missing", ["kexec-dmesg.log"])]


def test_what_is_proven_is_kept_with_its_recommendation(host):
    inputs = {"release": "6.12.1-test", "digest": "a" * 64, "reserved_bytes": 96 << 20, "cmdline": "nr_cpus=1"}
    given = {"inputs": inputs, "vmcore": "/var/crash/x/vmcore", "verdict": "complete", "seconds_to_capture": 8.7,
             "seconds_unreachable": 43.2, "memory_low_water": 28 << 20}  # fmt: skip
    done = run(host, "record", proof=given)
    assert done["proof"]["recommended_crashkernel"] == "96M"
    assert proof.load(host).as_dict() == done["proof"]
    assert run(host, "record", proof=dict(given, memory_low_water=None))["proof"]["recommended_crashkernel"] is None


# Directory, files, the one that is the dump, the one that is the log: kdump-tools 1.10.7, kdump_save_core() of kdump-config.
KDUMP_TOOLS_DUMPS = {
    "whole": ("202611241010", ["dmesg.202611241010", "dump.202611241010"], "dump.202611241010", True),
    "compressed": ("202611241010", ["dump.202611241010.lz4"], "dump.202611241010.lz4", False),
    "by cp": ("host-202611241010", ["vmcore.202611241010", "dump-incomplete"], "vmcore.202611241010", False),
    "cut": ("10.0.2.15-202611241010", ["dmesg.202611241010", "dump-incomplete"], "dump-incomplete", True),
}


@pytest.mark.parametrize("folder, files, dump, log", list(KDUMP_TOOLS_DUMPS.values()), ids=list(KDUMP_TOOLS_DUMPS))
def test_dumps_of_kdump_tools(host, folder, files, dump, log):
    path = "/var/crash/" + folder
    for name in files:
        host.put(path + "/" + name, b"[ 1.0] Kernel panic - not syncing: sysrq\n" + MARKER.encode())
    host.put("/var/crash/kexec_cmd", b"/sbin/kexec -p")
    host.put("/var/crash/kdump_lock", b"")
    found = dumps.newest(host, "/var/crash", 5)
    assert [one["path"] for one in found] == [path + "/" + dump]
    assert found[0]["files"] == sorted(files)
    assert (found[0]["panic"] != "") is log
    assert [one["marked"] for one in run(host, "look")["dumps"]] == [log]


def test_what_is_no_file_is_not_opened(host):
    folder = host.path("/var/crash") + "/127.0.0.1-2026-11-24-10:30:00"
    os.makedirs(folder + "/vmcore-dmesg.txt")
    os.mkfifo(folder + "/vmcore")
    assert dumps.newest(host, "/var/crash", 5) == []
    host.put("/var/crash/127.0.0.1-2026-11-24-10:30:00/kexec-dmesg.log", b"x")
    assert [one["files"] for one in run(host, "look")["dumps"]] == [["kexec-dmesg.log"]]
