# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files are looked at, and what the module reports of them."""

import gzip
import json

import pytest
import vmcore_builder as build

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.search import find, parse_capture, vmcores

PANIC = "[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n[ 1.1] Call Trace:\n[ 1.2]  sysrq_handle_crash+0x16/0x20\n"


@pytest.fixture
def host(tmp_path):
    return Host(root=str(tmp_path))


def put(host, path, data=build.kdump()):
    host.write(path, data if isinstance(data, bytes) else data.encode())


def test_an_empty_host_has_none(host):
    assert vmcores(host, ["/var/crash"], False) == []
    host.make_directories("/var/crash")
    assert vmcores(host, ["/var/crash"], True) == []


def test_names_and_depth(host):
    wanted = [
        "/c/vmcore", "/c/vmcore.flat", "/c/a/vmcore", "/c/a/vmcore-incomplete", "/c/a/vmcore.flat", "/c/b/dump.202611241000",
        "/c/b/dump.202611241000.gz", "/c/b/vmcore-1",
    ]  # fmt: skip
    others = [
        "/c/a/vmcore-dmesg.txt",
        "/c/a/capture.json",
        "/c/b/dmesg.202611241000",
        "/c/a/deep/vmcore",
        "/c/kernel.log",
    ]
    for path in wanted + others:
        put(host, path, b"")
    host.make_directories("/c/d/vmcore")
    assert find(host, ["/c"]) == sorted(wanted)
    assert find(host, ["/c/", "/c/a/vmcore"]) == sorted(wanted)
    assert find(host, ["/c/*/vmcore"]) == ["/c/a/vmcore"]
    assert find(host, ["/c/kernel.log"]) == ["/c/kernel.log"], "a file that is named is read, whatever its name"


def test_missing_files_are_all_named(host):
    with pytest.raises(KdumpError) as caught:
        vmcores(host, ["/c/vmcore", "/gone", "/c/dump.1", "/dev/sdz", "/x/*/vmcore"], False)
    assert [problem.value for problem in caught.value.problems] == ["/c/vmcore", "/c/dump.1", "/dev/sdz"]


def test_sorted_by_time_of_crash(host):
    early = build.kdump(vmcoreinfo=build.VMCOREINFO.replace(b"CRASHTIME=1764", b"CRASHTIME=1464"))
    put(host, "/c/1/vmcore")
    put(host, "/c/2/vmcore", early)
    put(host, "/c/0/vmcore", b"junk")
    assert [each["path"] for each in vmcores(host, ["/c"], False)] == ["/c/2/vmcore", "/c/1/vmcore", "/c/0/vmcore"]


def test_what_lies_beside_is_reported(host):
    put(host, "/c/1/vmcore")
    put(host, "/c/1/vmcore-dmesg.txt", PANIC)
    put(host, "/c/1/capture.json", json.dumps({"phases": [{"name": "dump", "seconds": 3}]}))
    (found,) = vmcores(host, ["/c"], True)
    assert (found["verdict"], found["deep"], found["pages_checked"]) == ("complete", True, 40)
    assert found["dmesg"] == "/c/1/vmcore-dmesg.txt"
    assert (found["signature"]["kind"], found["signature"]["frames"]) == ("sysrq", ["sysrq_handle_crash"])
    assert found["capture"] == {"phases": [{"name": "dump", "seconds": 3}]}
    json.dumps(found)


def test_a_dump_server_has_a_directory_for_each_host(host):
    for path in (
        "/srv/web1/10.0.0.1-x/vmcore.flat",
        "/srv/web2/10.0.0.2-x/vmcore-incomplete",
        "/srv/web2/vmcore",
        "/srv/web4/var/crash/10.0.0.4-x/vmcore",
    ):
        put(host, path, build.flat(build.kdump()))
    put(host, "/etc/secret/vmcore")
    host.symlink("/etc/secret", "/srv/web2/10.0.0.2-y")
    host.symlink("/etc/secret", "/srv/web3")
    host.symlink("/etc/secret/vmcore", "/srv/web2/10.0.0.2-x/vmcore")
    put(host, "/etc/secret/capture.json", "{}")
    host.symlink("/etc/secret/capture.json", "/srv/web1/10.0.0.1-x/capture.json")
    found = vmcores(host, ["/srv/", "/gone"], False, server=True)
    assert {each["path"]: each["sender"] for each in found} == {
        "/srv/web1/10.0.0.1-x/vmcore.flat": "web1", "/srv/web2/10.0.0.2-x/vmcore-incomplete": "web2", "/srv/web2/vmcore": "web2",
        "/srv/web4/var/crash/10.0.0.4-x/vmcore": "web4",
    }  # fmt: skip
    assert [each["capture"] for each in found] == [None] * 4
    assert {each["sender"] for each in vmcores(host, ["/srv/web1"], False)} == {""}


def test_kdump_tools_files(host):
    put(host, "/c/202611241000/dump.202611241000.gz", gzip.compress(build.flat(build.kdump())))
    put(host, "/c/202611241000/dmesg.202611241000", PANIC)
    (found,) = vmcores(host, ["/c"], False)
    assert (found["verdict"], found["wrapper"], found["flattened"]) == ("complete", "gzip", True)
    assert found["signature"]["kind"] == "sysrq"


def test_a_log_without_a_panic_has_no_signature(host):
    put(host, "/c/1/vmcore")
    put(host, "/c/1/vmcore-dmesg.txt", b"[ 0.0] Linux version\n\xff\xfe")
    (found,) = vmcores(host, ["/c"], False)
    assert found["signature"] is None and found["capture"] is None


def test_the_end_of_a_long_log_counts(host):
    put(host, "/c/1/vmcore")
    put(host, "/c/1/vmcore-dmesg.txt", "[ 0.0] noise\n" * 400000 + PANIC)
    assert vmcores(host, ["/c"], False)[0]["signature"]["kind"] == "sysrq"


@pytest.mark.parametrize(
    "data, expected",
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{"a": "\\ud800"}', {"a": "\ufffd"}),
        (b"[1]", None),
        (b'{"a": 1', None),
        (b"", None),
        (b"\xff\x00", None),
        (b"[" * 100000, None),
        (b'{"a":' * 100000, None),
    ],
    ids=["object", "surrogate", "list", "cut", "empty", "binary", "deep lists", "deep objects"],
)
def test_capture_json(data, expected):
    assert parse_capture(data) == expected
