# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of the receiver: its protocols byte by byte, the files that it writes, what it keeps. With a real sshd:
tests/integration/test_receiver.py."""

import json
import os
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vmcore_builder import flat, kdump

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    boot,
    receiver,
    receiver_retention,
    receiver_scp,
    receiver_settings,
)
from ansible_collections.vmcore.kdump.plugins.module_utils import receiver_sftp as sftp
from ansible_collections.vmcore.kdump.plugins.module_utils._host import inbox as inboxes
from ansible_collections.vmcore.kdump.plugins.module_utils._host.inbox import Inbox, Limits
from ansible_collections.vmcore.kdump.plugins.module_utils._host.wire import Wire
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.receiver_delivery import Delivery
from ansible_collections.vmcore.kdump.plugins.module_utils.receiver_settings import Settings

FOLDER = "10.0.0.1-2026-11-24-10:00:00"
TEST = "kdump-test-1-2"
PATH = ("/var/crash/%s/" % FOLDER).encode()


class FakeWire:
    """Bytes in, bytes out; `cut` in pieces as small as a network makes them."""

    def __init__(self, incoming, piece=1 << 20):
        self.incoming = incoming
        self.piece = piece
        self.out = b""

    def read(self, most):
        data = self.incoming[: min(most, self.piece)]
        self.incoming = self.incoming[len(data) :]
        return data

    read_exactly = Wire.read_exactly
    read_line = Wire.read_line

    def write(self, data):
        self.out += data


@pytest.fixture
def inbox(tmp_path):
    inbox = Inbox(str(tmp_path), "web1")
    inbox.make_folder(FOLDER)
    inbox.make_folder(TEST)
    inbox.replace(TEST, "vmcore-creation.status", b"success kdump_test_id=1-2\n")
    return inbox


def files(tmp_path, folder=FOLDER):
    return {path.name: path.read_bytes() for path in (tmp_path / "web1" / folder).iterdir()}


# --- the directory ---------------------------------------------------------------------------------------------------
def test_a_file_in_the_way_is_no_directory(tmp_path):
    (tmp_path / "web1").write_text("")
    with pytest.raises(OSError):
        Inbox(str(tmp_path), "web1")
    os.symlink("/etc", str(tmp_path / "web2"))
    with pytest.raises(OSError):
        Inbox(str(tmp_path), "web2")
    with pytest.raises(FileNotFoundError):
        Inbox(str(tmp_path / "none"), "web1")


def test_a_host_makes_no_end_of_folders(inbox, monkeypatch):
    monkeypatch.setattr(inboxes, "_MOST_FOLDERS", 2)
    inbox.make_folder(FOLDER)  # it is there
    with pytest.raises(OSError, match="are not kept"):
        inbox.make_folder(FOLDER + "-1")


def test_no_end_of_probes_either(inbox, monkeypatch):
    monkeypatch.setattr(inboxes, "_MOST_FOLDERS", 3)
    inbox.remove_probe(inbox.make_probe())
    inbox.make_probe()
    with pytest.raises(OSError, match="are not kept"):
        inbox.make_probe()


def test_a_pipe_keeps_nobody_waiting(inbox, tmp_path):
    """Over NFS a host can make one."""
    os.mkfifo(str(tmp_path / "web1" / ".connection-0"))
    os.mkfifo(str(tmp_path / "web1" / FOLDER / "vmcore-incomplete"))
    for attempt in (lambda: inbox.connection(1), lambda: inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")):
        with pytest.raises(OSError):
            attempt()


def test_what_lies_deeper_than_any_dump_is_not_walked(inbox, tmp_path):
    """A walk holds a descriptor for each level: over NFS a host could make more than there are for everybody."""
    room = inbox.room(Limits(total=1000))
    (tmp_path / "web1" / "/".join("x" * 12)).mkdir(parents=True)
    (tmp_path / "web1" / "/".join("x" * 12) / "vmcore").write_bytes(b"x" * 100)
    assert inbox.room(Limits(total=1000)) == room
    (tmp_path / "web1" / "/".join("x" * 9) / "vmcore").write_bytes(b"x" * 100)
    assert inbox.room(Limits(total=1000)) == room - 100


def test_a_link_is_neither_written_nor_renamed_nor_read(inbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    os.symlink(str(secret), str(tmp_path / "web1" / FOLDER / "vmcore-incomplete"))
    os.symlink(str(secret), str(tmp_path / "web1" / FOLDER / "vmcore-creation.status"))
    for attempt in (
        lambda: inbox.create(FOLDER, "vmcore-incomplete"),
        lambda: inbox.rename(FOLDER, "vmcore-incomplete", "vmcore"),
        lambda: inbox.read(FOLDER, "vmcore-creation.status", 100),
    ):
        with pytest.raises(OSError):
            attempt()
    inbox.replace(FOLDER, "vmcore-creation.status", b"new")  # the link is replaced, not what it leads to
    assert secret.read_text() == "secret"


def test_a_link_on_the_way_is_not_followed(inbox, tmp_path):
    (tmp_path / "elsewhere" / FOLDER).mkdir(parents=True)
    os.symlink(str(tmp_path / "elsewhere"), str(tmp_path / "web1" / "var"))
    assert [one.folder for one in inboxes.stored(str(tmp_path), lambda name: name == FOLDER) if one.host == "web1"] == [
        FOLDER
    ]
    with pytest.raises(OSError):
        inbox.remove_folder("var/" + FOLDER)
    assert (tmp_path / "elsewhere" / FOLDER).exists()


def test_a_rename_replaces_nothing(inbox, tmp_path):
    for name in ("vmcore-incomplete", "vmcore"):
        inbox.create(FOLDER, name).close()
    with pytest.raises(FileExistsError):
        inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")
    assert set(files(tmp_path)) == {"vmcore-incomplete", "vmcore"}


def test_a_rename_that_was_done_is_done(inbox, tmp_path):
    """The connection was cut before the answer, and the host asks again."""
    with pytest.raises(FileNotFoundError):
        inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")
    file = inbox.create(FOLDER, "vmcore-incomplete")
    file.write(b"dump")
    file.close()
    for dummy in range(2):
        inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")
        assert files(tmp_path) == {"vmcore": b"dump"}


@pytest.mark.parametrize(
    "limits,expected", [(Limits(host=1000), 880), (Limits(total=1000), 780), (Limits(host=50), -70), (Limits(), None)]
)
def test_the_room_that_is_left(tmp_path, limits, expected):
    inbox, other = Inbox(str(tmp_path), "web1"), Inbox(str(tmp_path), "web2")
    for one, size in ((inbox, 120), (other, 100)):
        one.make_folder(FOLDER)
        file = one.create(FOLDER, "vmcore-incomplete")
        file.write(b"x" * size)
        file.close()
    room = inbox.room(limits)
    assert room == expected if expected is not None else room > 1000
    free = os.statvfs(str(tmp_path))
    assert inbox.room(Limits(free=free.f_bavail * free.f_frsize + (1 << 40))) < 0


@pytest.mark.parametrize("pieces", [[400, 700], [1100], [1] * 1100])
def test_a_delivery_takes_what_there_is_room_for(inbox, tmp_path, pieces):
    used = sum(len(data) for data in files(tmp_path, TEST).values())
    delivery = Delivery(inbox, Limits(host=1000 + used), FOLDER, "vmcore-incomplete")
    with pytest.raises(KdumpError, match="no room for more than 1000 bytes"):
        for piece in pieces:
            delivery.write(b"x" * piece)
    delivery.stop()
    assert files(tmp_path) == {"vmcore-incomplete": b"x" * 1000}


def test_a_small_file_has_its_name_when_it_is_whole(inbox, tmp_path):
    delivery = Delivery(inbox, Limits(), FOLDER, "capture.json")
    delivery.write(b"{}")
    assert set(files(tmp_path)) == {"capture-incomplete.json"}
    delivery.end()
    assert files(tmp_path) == {"capture.json": b"{}"}
    with pytest.raises(FileExistsError):
        Delivery(inbox, Limits(), FOLDER, "capture.json")


# --- the old protocol of scp -----------------------------------------------------------------------------------------
SCP = {
    "a file": (b"C0644 5 kexec-dmesg.log\nhello\0", "", {"kexec-dmesg.log": b"hello"}),
    "under the name of the command": (b"C0644 5 whatever\nhello\0", "vmcore-incomplete", {"vmcore-incomplete": b"hello"}),
    "with times": (b"T1 0 1 0\nC0644 0 vmcore-incomplete\n\0", "", {"vmcore-incomplete": b""}),
    "two": (b"C0644 1 capture.json\n1\0C0644 1 kexec-dmesg.log\n2\0", "", {"capture.json": b"1", "kexec-dmesg.log": b"2"}),
}  # fmt: skip
SCP_WRONG = {
    "another name": (b"C0644 5 .bashrc\nhello\0", "", {}),
    "a path": (b"C0644 5 ../vmcore\nhello\0", "", {}),
    "a directory": (b"D0755 0 x\n", "", {}),
    "no size": (b"C0644 x vmcore-incomplete\n", "", {}),
    "a negative size": (b"C0644 -1 vmcore-incomplete\n", "", {}),
    "an endless line": (b"C" * 100000, "", {}),
    "cut in the line": (b"C0644 5 vmcore-", "", {}),
    "cut in the data": (b"C0644 5 vmcore-incomplete\nhel", "", {"vmcore-incomplete": b"hel"}),
    "cut before the last word": (b"C0644 5 kexec-dmesg.log\nhello", "", {"kexec-dmesg-incomplete.log": b"hello"}),
    "a failure there": (b"C0644 5 kexec-dmesg.log\nhello\1scp: read error\n", "", {"kexec-dmesg-incomplete.log": b"hello"}),
}  # fmt: skip


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("stream,name,expected", SCP.values(), ids=SCP)
def test_scp_gives(inbox, tmp_path, stream, name, expected, piece):
    wire = FakeWire(stream, piece)
    total = receiver_scp.receive(wire, lambda name: Delivery(inbox, Limits(), FOLDER, name), name)
    assert files(tmp_path) == expected and total == sum(map(len, expected.values()))
    assert set(wire.out) == {0}


@pytest.mark.parametrize("stream,name,expected", SCP_WRONG.values(), ids=SCP_WRONG)
def test_scp_gives_what_is_wrong(inbox, tmp_path, stream, name, expected):
    wire = FakeWire(stream)
    with pytest.raises((KdumpError, EOFError)):
        receiver_scp.receive(wire, lambda name: Delivery(inbox, Limits(), FOLDER, name), name)
    assert files(tmp_path) == expected
    if expected == {} and b"\n" in stream:
        assert b"\x01scp: vmcore.kdump: This key may do nothing here" in wire.out


def test_scp_fetches_the_status():
    wire = FakeWire(b"\0\0\0")
    receiver_scp.send(wire, "vmcore-creation.status", b"fail\n")
    assert wire.out == b"C0600 5 vmcore-creation.status\nfail\n\0"


# --- SFTP ------------------------------------------------------------------------------------------------------------
def text(data):
    return struct.pack(">I", len(data)) + data


def packet(kind, *fields):
    body = b"".join(struct.pack(">I", field) if isinstance(field, int) else field for field in fields)
    return struct.pack(">IB", 1 + len(body), kind) + body


def opened(name, flags=0x1A, number=1):
    return packet(sftp.OPEN, number, text(name), flags, 0)


def wrote(offset, data, handle=b"1"):
    return packet(sftp.WRITE, 2, text(handle), struct.pack(">Q", offset), text(data))


def closed(handle=b"1"):
    return packet(sftp.CLOSE, 3, text(handle))


def answers(inbox, *packets):
    """(kind, code of a status or body) of every answer, the files' state being left behind."""
    wire = FakeWire(b"".join(packets), 7)
    told = []
    session = sftp.Session(
        wire, inbox, lambda folder, name: Delivery(inbox, Limits(host=500), folder, name), told.append
    )
    try:
        session.run()
    except EOFError:
        told.append("EOF")
    found = []
    data = wire.out
    while data:
        (size,) = struct.unpack_from(">I", data)
        kind, body = data[4], data[5 : 4 + size]
        found.append((kind, struct.unpack_from(">I", body, 4)[0] if kind == sftp.ANSWER else body[4:]))
        data = data[4 + size :]
    return found, told


OK, DENIED, FAILURE = ((sftp.ANSWER, code) for code in (sftp.OK, sftp.DENIED, sftp.FAILURE))
HANDLE = (sftp.HANDLE, text(b"1"))
SFTP = {
    "hello": ([packet(sftp.INIT, 3)], [(sftp.VERSION, text(b"limits@openssh.com") + text(b"1"))], {}),
    "a file": (
        [opened(PATH + b"vmcore-incomplete"), wrote(0, b"hel"), wrote(3, b"lo"), closed()], [HANDLE, OK, OK, OK],
        {"vmcore-incomplete": b"hello"}),
    "a small file": (
        [opened(PATH + b"kexec-dmesg.log"), wrote(0, b"x"), closed()], [HANDLE, OK, OK], {"kexec-dmesg.log": b"x"}),
    "not closed": ([opened(PATH + b"kexec-dmesg.log"), wrote(0, b"x")], [HANDLE, OK], {"kexec-dmesg-incomplete.log": b"x"}),
    "no room": (
        [opened(PATH + b"capture.json"), wrote(0, b"x" * 600), wrote(600, b"x"), closed()],
        [HANDLE, FAILURE, FAILURE, FAILURE], {"capture-incomplete.json": b"x" * 474}),
    "not at its end": ([opened(PATH + b"vmcore-incomplete"), wrote(10, b"x"), closed()], [HANDLE, DENIED, FAILURE], {"vmcore-incomplete": b""}),
    "to be read": ([opened(PATH + b"vmcore-incomplete", 1)], [DENIED], {}),
    "to be appended to": ([opened(PATH + b"vmcore-incomplete", 0xE)], [DENIED], {}),
    "not to be made": ([opened(PATH + b"vmcore-incomplete", 2)], [DENIED], {}),
    "two at once": (
        [opened(PATH + b"vmcore-incomplete"), opened(PATH + b"capture.json"), closed()], [HANDLE, DENIED, OK], {"vmcore-incomplete": b""}),
    "no end of handles": ([opened(b"/var/crash/kdump-test-1-2/vmcore-creation.status", 1)] * 2, [HANDLE, DENIED], {}),
    "another name": ([opened(PATH + b".bashrc")], [DENIED], {}),
    "a finished vmcore": ([opened(PATH + b"vmcore")], [DENIED], {}),
    "elsewhere": ([opened(b"/etc/passwd")], [DENIED], {}),
    "upward": ([opened(PATH + b"../../web2/" + PATH[11:] + b"vmcore-incomplete")], [DENIED], {}),
    "a folder that was not made": ([opened(b"/x/10.0.0.9-2026-11-24-10:00:00/vmcore-incomplete")], [(sftp.ANSWER, sftp.NO_SUCH_FILE)], {}),
    "a path of other bytes": ([opened(PATH + b"\xff")], [DENIED], {}),
    "a handle that is none": ([closed(b"7"), wrote(0, b"x", b"7")], [(sftp.ANSWER, sftp.BAD_MESSAGE)] * 2, {}),
    "the folder is one": ([packet(sftp.STAT, 1, text(PATH))], [(sftp.ATTRS, struct.pack(">IQI", 5, 0, 0o40700))], {}),
    "no such folder": ([packet(sftp.LSTAT, 1, text(b"/x/10.0.0.9-2026-11-24-10:00:00"))], [(sftp.ANSWER, sftp.NO_SUCH_FILE)], {}),
    "size so far": (
        [opened(PATH + b"vmcore-incomplete"), wrote(0, b"abc"), packet(sftp.FSTAT, 1, text(b"1")), closed()],
        [HANDLE, OK, (sftp.ATTRS, struct.pack(">IQI", 5, 3, 0o100600)), OK], {"vmcore-incomplete": b"abc"}),
    "modes": ([packet(sftp.SETSTAT, 1, text(PATH), 4, 0o777)], [OK], {}),
    "a real path": ([packet(sftp.REALPATH, 1, text(b"."))], [(sftp.NAME, struct.pack(">I", 1) + text(b"/") * 2 + struct.pack(">I", 0))], {}),
    "what removes, lists, links": (
        [packet(kind, 1, text(PATH), text(PATH)) for kind in (11, 12, 13, 14, 15, 18, 19, 20)], [(sftp.ANSWER, sftp.UNSUPPORTED)] * 8, {}),
    "limits": ([packet(sftp.EXTENDED, 1, text(b"limits@openssh.com"))], [(sftp.EXTENDED_REPLY, struct.pack(">QQQQ", 262144, 261120, 261120, 1))], {}),
    "another extension": ([packet(sftp.EXTENDED, 1, text(b"hardlink@openssh.com"))], [(sftp.ANSWER, sftp.UNSUPPORTED)], {}),
    "a string that is longer than its packet": ([packet(sftp.OPEN, 1, 1 << 31)], [(sftp.ANSWER, sftp.BAD_MESSAGE)], {}),
}  # fmt: skip


@pytest.mark.parametrize("packets,expected,left", SFTP.values(), ids=SFTP)
def test_sftp(inbox, tmp_path, packets, expected, left):
    found, dummy = answers(inbox, *packets)
    assert found == expected
    assert files(tmp_path) == left


def test_sftp_reads_a_tests_status_and_nothing_else(inbox):
    path = b"/var/crash/kdump-test-1-2/vmcore-creation.status"
    read = [packet(sftp.READ, 2, text(b"1"), struct.pack(">Q", offset), 7) for offset in (0, 7, 100)]
    found, told = answers(inbox, opened(path, 1), *read, closed())
    assert found == [HANDLE, (sftp.DATA, text(b"success")), (sftp.DATA, text(b" kdump_")), (sftp.ANSWER, sftp.END), OK]
    assert told == []


@pytest.mark.parametrize("size", [0, 4, (256 << 10) + 1, 0xFFFFFFFF])
def test_an_sftp_packet_of_an_impossible_size_ends_it(inbox, size):
    assert answers(inbox, struct.pack(">IB", size, 1) + b"xxxx") == ([], ["EOF"])


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([one for value in SFTP.values() for one in value[0]]), max_size=12
    )
)
@settings(suppress_health_check=list(HealthCheck))
def test_no_sftp_stream_does_harm(inbox, tmp_path, packets):
    answers(inbox, *packets)
    assert set(files(tmp_path)) <= {
        "vmcore-incomplete",
        "capture-incomplete.json",
        "capture.json",
        "kexec-dmesg-incomplete.log",
        "kexec-dmesg.log",
    }
    assert {path.name for path in (tmp_path / "web1").iterdir()} == {FOLDER, TEST}
    assert [path.name for path in tmp_path.iterdir()] == ["web1"]


# --- settings --------------------------------------------------------------------------------------------------------
def test_settings_are_read_as_they_were_written():
    wanted = Settings("/srv/vmcore-kdump", quota_host=1 << 40, keep_days=30)
    assert receiver_settings.parse(receiver_settings.text(wanted)) == wanted


SETTINGS_WRONG = {
    "not json": ("{", "no JSON object"), "a list": ("[]", "no JSON object"), "nested": ("[" * 100000, "no JSON object"),
    "no root": ("{}", "no absolute path"), "relative": ('{"root": "srv"}', "no absolute path"), "all": ('{"root": "/"}', "no absolute path"),
    "negative": ('{"root": "/srv", "min_free": -1}', "min_free"), "text": ('{"root": "/srv", "min_free": "1G"}', "min_free"),
    "true": ('{"root": "/srv", "min_free": true}', "min_free"), "no connection": ('{"root": "/srv", "connections": 0}', "from 1 on"),
    "unknown": ('{"root": "/srv", "quota": 1}', "no setting quota"), "fraction": ('{"root": "/srv", "idle": 1.5}', "idle"),
}  # fmt: skip


@pytest.mark.parametrize("given_text,expected", SETTINGS_WRONG.values(), ids=SETTINGS_WRONG)
def test_settings_that_are_wrong(given_text, expected):
    with pytest.raises(KdumpError, match=expected):
        receiver_settings.parse(given_text)


# --- retention -------------------------------------------------------------------------------------------------------
HOUR = 3600.0
NOW = 1000 * 24 * HOUR


def stored(age_hours, host="web1", whole=True, busy=False, size=100):
    name = "10.0.0.1-2026-11-24-10:00:00-%d" % age_hours
    return inboxes.Stored(
        host, name, ["vmcore"] if whole else ["vmcore-incomplete"], size, NOW - age_hours * HOUR, busy
    )


def kept(dumps, free=0, **rules):
    """The ages in hours of the dumps that stay."""
    gone = receiver_retention.decide(dumps, Settings("/srv", **rules), NOW, free, lambda dump: "vmcore" in dump.names)
    return [int((NOW - dump.changed) / HOUR) for dump in dumps if dump not in [removal.dump for removal in gone]]


FIVE = [stored(age) for age in (10, 20, 30, 40, 50)]
RETENTION = {
    "no rule": (FIVE, {}, [10, 20, 30, 40, 50]),
    "count": (FIVE, {"keep_count": 2}, [10, 20]),
    "age": (FIVE, {"keep_days": 1}, [10, 20]),
    "age of all": ([stored(100), stored(200)], {"keep_days": 1}, [100]),
    "the newest whole one is not the newest": (
        [stored(10, whole=False), stored(20, whole=False), stored(30), stored(40)], {"keep_count": 1}, [10, 30]),
    "none is whole": ([stored(10, whole=False), stored(20, whole=False)], {"keep_count": 1}, [10]),
    "none is whole, and all are old": ([stored(100, whole=False), stored(200, whole=False)], {"keep_days": 1}, [100]),
    "none is whole, and there is no room": ([stored(100, whole=False), stored(200, whole=False)], {"keep_free": 10**9}, [100]),
    "the newest is not whole, and there is no room": (
        [stored(10, whole=False), stored(20), stored(30), stored(40, whole=False)], {"keep_free": 10**9}, [10, 20]),
    "one that is coming": ([stored(10), stored(20, busy=True), stored(30)], {"keep_count": 1}, [10, 20]),
    "one that has just come": ([stored(0), stored(1), stored(3)], {"keep_count": 1}, [0, 1]),
    "free space": (FIVE, {"keep_free": 250}, [10, 20]),
    "free space that is there": (FIVE, {"keep_free": 250, "free": 300}, [10, 20, 30, 40, 50]),
    "free space that cannot be had": (FIVE, {"keep_free": 10**9}, [10]),
    "count makes the room": (FIVE, {"keep_count": 3, "keep_free": 200}, [10, 20, 30]),
}  # fmt: skip


@pytest.mark.parametrize("dumps,rules,expected", RETENTION.values(), ids=RETENTION)
def test_retention(dumps, rules, expected):
    assert kept(dumps, **rules) == expected


def test_retention_looks_at_each_host_by_itself():
    dumps = [stored(10, "a"), stored(20, "a"), stored(500, "b"), stored(600, "b")]
    assert kept(dumps, keep_count=1) == [10, 500]
    assert kept(dumps, keep_free=10**9) == [10, 500]


FULL = {  # of host a many dumps, none of them as old as those of b
    "of the host that has most": (
        [stored(age, "a") for age in (10, 20, 30, 40)] + [stored(500, "b"), stored(600, "b")], 200, [10, 20, 500, 600]),
    "of another, once that has as little": (
        [stored(age, "a") for age in (10, 20, 30, 40)] + [stored(500, "b"), stored(600, "b")], 350, [10, 500]),
    "bytes count, not dumps": (
        [stored(10, "a"), stored(20, "a"), stored(30, "a"), stored(5, "b", size=900), stored(6, "b", size=900)], 100, [10, 20, 30, 5]),
    "of the next, where the first has no more that may go": (
        [stored(10, "a", size=9000), stored(20, "a", size=9000, busy=True), stored(30, "b"), stored(40, "b")], 100, [10, 20, 30]),
    "those that go by their number have gone": (
        [stored(10, "a"), stored(20, "a"), stored(30, "a", size=900), stored(40, "b"), stored(50, "b", size=150)], 1000, [10, 20, 40]),
}  # fmt: skip


@pytest.mark.parametrize("dumps,wanted,expected", FULL.values(), ids=FULL)
def test_room_is_made_by_the_host_that_has_most(dumps, wanted, expected):
    """Else a host that sends a lot has the others' dumps removed."""
    assert kept(dumps, keep_free=wanted, keep_count=2 if wanted == 1000 else 0) == expected


def test_no_dump_is_read_where_none_would_go():
    def never(dump):
        raise AssertionError("it is read")

    assert receiver_retention.decide(FIVE, Settings("/srv", keep_count=5), NOW, 0, never) == []


def test_no_more_dumps_are_read_than_it_takes():
    read = []

    def is_whole(dump):
        read.append(dump)
        return True

    assert len(receiver_retention.decide(FIVE, Settings("/srv", keep_count=2), NOW, 0, is_whole)) == 3
    assert read == FIVE[:1]


# --- the program -----------------------------------------------------------------------------------------------------
@pytest.fixture
def program(tmp_path):
    path = tmp_path / "receive.pyz"
    path.write_bytes(boot.program_bytes(receiver.__name__))
    (tmp_path / "srv").mkdir()
    return path


def run(program, *arguments, command=None, stdin=b""):
    env = dict(os.environ, SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")
    env.pop("SSH_ORIGINAL_COMMAND", None)
    if command is not None:
        env["SSH_ORIGINAL_COMMAND"] = command
    argv = [sys.executable, "-I", "-S", str(program)] + list(arguments)
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_program_runs_from_one_file(program, tmp_path):
    options = ["--host", "web1", "--root", str(tmp_path / "srv")]
    assert run(program, *options, command="mkdir -p /x/" + FOLDER) == (0, b"", b"")
    dump = flat(kdump())
    assert run(program, *options, command="dd bs=512 of=/x/%s/vmcore-incomplete" % FOLDER, stdin=dump) == (0, b"", b"")
    code, out, err = run(program, *options, "list")
    assert (code, err) == (0, b"") and [one["verdict"] for one in json.loads(out.decode())] == ["complete"]
    code, out, err = run(program, *options)
    assert (code, out) == (1, b"") and b"a login without a command is refused" in err
    code, out, err = run(program, *options, command=b"\xff\n".decode("utf-8", "surrogateescape"))
    assert (code, out) == (1, b"") and b"is refused" in err
    code, out, err = run(program, "--root", str(tmp_path / "srv"), "--host", "../x", command="true")
    assert (code, out) == (1, b"") and b"no name of a host" in err
    code, out, err = run(program, "--root", str(tmp_path / "none"), "--host", "web1", command="true")
    assert (code, out) == (1, b"") and b"vmcore.kdump.server" in err
    code, out, err = run(program, "--config", str(tmp_path / "none"), "--host", "web1", command="true")
    assert (code, out) == (1, b"") and err.count(b"\n") == 1


def test_a_host_lists_nothing_behind_a_link(program, tmp_path):
    """Over NFS a host can make links, and so have another host's dumps read to it."""
    theirs = tmp_path / "srv" / "web2" / FOLDER
    theirs.mkdir(parents=True)
    (theirs / "vmcore").write_bytes(kdump())
    (theirs / "vmcore-dmesg.txt").write_bytes(b"[ 1.0] Kernel panic - not syncing: a secret\n")
    mine = tmp_path / "srv" / "web1"
    mine.mkdir()
    os.symlink(str(theirs), str(mine / FOLDER))
    for number, name in enumerate(("vmcore", "vmcore-dmesg.txt", "capture.json")):
        folder = mine / ("%s-%d" % (FOLDER, number))
        folder.mkdir()
        os.symlink(str(theirs / "vmcore-dmesg.txt"), str(folder / name))
    (mine / (FOLDER + "-9")).mkdir()
    (mine / (FOLDER + "-9") / "vmcore").write_bytes(kdump())
    os.symlink(str(theirs / "vmcore-dmesg.txt"), str(mine / (FOLDER + "-9") / "vmcore-dmesg.txt"))
    options = ["--host", "web1", "--root", str(tmp_path / "srv")]
    code, out, err = run(program, *options, command="vmcore-kdump list --deep --marker 'a secret'")
    found = json.loads(out.decode())
    assert (code, err, len(found)) == (0, b"", 1) and b"secret" not in out
    assert (found[0]["path"], found[0]["verdict"], found[0]["marked"]) == (
        str(mine / (FOLDER + "-9") / "vmcore"), "complete", False)  # fmt: skip


def test_the_program_removes_what_is_not_to_be_kept(program, tmp_path):
    root = tmp_path / "srv"
    (root / "lost+found").mkdir()
    (root / "notes").write_text("the administrator's")
    dump = flat(kdump())
    for number, age in enumerate([4, 3, 400, 500]):  # days
        folder = root / "web1" / ("10.0.0.1-2026-11-24-10:00:0%d" % number)
        folder.mkdir(parents=True)
        (folder / "vmcore.flat").write_bytes(dump if number > 1 else dump[:-100])
        for path in (folder / "vmcore.flat", folder):
            os.utime(str(path), (time.time() - age * 86400,) * 2)
    (root / "web1" / "kept by hand").mkdir()
    deep = root / "web1" / "var" / "crash" / "10.0.0.1-2026-11-24-10:00:09"  # by NFS
    deep.mkdir(parents=True)
    (deep / "vmcore").write_bytes(kdump())
    for path in (deep / "vmcore", deep):
        os.utime(str(path), (time.time() - 600 * 86400,) * 2)
    config = tmp_path / "server.json"
    config.write_text(json.dumps({"root": str(root), "keep_count": 1}))
    code, out, err = run(program, "--config", str(config), "retain")
    assert (code, err) == (0, b"") and out.count(b"removed web1/") == 3 and b"web1/var/crash/10" in out
    left = {path.name for path in (root / "web1").iterdir()}
    # the newest, and the newest that is whole
    assert left == {"10.0.0.1-2026-11-24-10:00:01", "10.0.0.1-2026-11-24-10:00:02", "kept by hand", "var"}
    assert list(deep.parent.iterdir()) == []
    assert run(program, "--config", str(config), "retain") == (0, b"", b"")


def test_what_is_renamed_meanwhile_is_looked_at_the_next_time(tmp_path, monkeypatch):
    inbox = Inbox(str(tmp_path), "web1")
    for number in (1, 2):
        inbox.make_folder("%s-%d" % (FOLDER, number))
        inbox.create("%s-%d" % (FOLDER, number), "vmcore-incomplete").close()
    real = os.open

    def renamed(path, *arguments, **options):
        if str(path).endswith("-1/vmcore-incomplete"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", renamed)
    assert [one.folder for one in inboxes.stored(str(tmp_path), lambda name: name.startswith(FOLDER))] == [
        FOLDER + "-2"
    ]


def test_no_dump_is_newer_than_it_is(tmp_path):
    """It would never be old enough to go, and others' dumps would go in its place."""
    inbox = Inbox(str(tmp_path), "web1")
    inbox.make_folder(FOLDER)
    inbox.create(FOLDER, "vmcore-incomplete").close()
    path = str(tmp_path / "web1" / FOLDER / "vmcore-incomplete")
    for at, expected in ((time.time() + 10**6, time.time()), (10**9, time.time())):  # the second: its folder is new
        os.utime(path, (at, at))
        (found,) = inboxes.stored(str(tmp_path), lambda name: name == FOLDER)
        assert abs(found.changed - expected) < 600
    os.utime(os.path.dirname(path), (10**9, 10**9))
    assert [one.changed for one in inboxes.stored(str(tmp_path), lambda name: name == FOLDER)] == [10**9]


def test_removing_many_dumps_keeps_nothing_open(tmp_path):
    (tmp_path / "srv").mkdir()
    for number in range(20):
        folder = tmp_path / "srv" / "web1" / ("%s-%d" % (FOLDER, number))
        folder.mkdir(parents=True)
        os.utime(str(folder), (1, 1))
    config = tmp_path / "server.json"
    config.write_text(json.dumps({"root": str(tmp_path / "srv"), "keep_count": 1}))
    before = os.listdir("/proc/self/fd")
    assert receiver.main(["--config", str(config), "retain"], {}) == 0
    assert len(os.listdir(str(tmp_path / "srv" / "web1"))) == 1 and len(os.listdir("/proc/self/fd")) == len(before)


def test_who_looks_is_not_in_the_way_of_a_rename(inbox, tmp_path, monkeypatch):
    """The retention looks each hour, and a capture asks for its vmcore's last name once."""
    inbox.create(FOLDER, "vmcore-incomplete").close()
    real, seen = inboxes.fcntl.flock, []

    def renamed(descriptor, operation):
        real(descriptor, operation)
        if not seen:
            seen.append(descriptor)
            inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")

    monkeypatch.setattr(inboxes.fcntl, "flock", renamed)
    assert [one.busy for one in inboxes.stored(str(tmp_path), lambda name: name == FOLDER)][0] is False
    assert seen and set(files(tmp_path)) == {"vmcore"}


def test_a_rename_looks_like_no_delivery(inbox, tmp_path, monkeypatch):
    inbox.create(FOLDER, "vmcore-incomplete").close()
    real, busy = os.fsync, []

    def looked(descriptor):
        busy.extend(one.busy for one in inboxes.stored(str(tmp_path), lambda name: name == FOLDER))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", looked)
    inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")
    assert busy and not any(busy)


def test_what_is_being_received_is_busy_and_has_no_other_name(inbox, tmp_path):
    file = inbox.create(FOLDER, "vmcore-incomplete")
    with pytest.raises(BlockingIOError):
        inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")
    for expected in (True, False):
        (found,) = inboxes.stored(str(tmp_path), lambda name: name == FOLDER)
        assert found.busy is expected
        if expected:
            file.close()
    inbox.rename(FOLDER, "vmcore-incomplete", "vmcore")


def test_what_may_not_be_read_is_passed_by(tmp_path, monkeypatch):
    """lost+found is root's; over NFS a host may have closed what is its own."""
    inbox = Inbox(str(tmp_path), "web1")
    inbox.make_folder(FOLDER)
    inbox.create(FOLDER, "vmcore-incomplete").close()
    (tmp_path / "lost+found").mkdir()
    for name, closed in (("scandir", "lost+found"), ("open", "vmcore-incomplete")):
        real = getattr(os, name)

        def refuse(path, *arguments, _real=real, _closed=closed, **options):
            if str(path).endswith(_closed):
                raise PermissionError(13, "Permission denied")
            return _real(path, *arguments, **options)

        monkeypatch.setattr(os, name, refuse)
    assert [(one.host, one.folder, one.busy) for one in inboxes.stored(str(tmp_path), lambda name: name == FOLDER)] == [
        ("web1", FOLDER, False)
    ]


def test_a_wire_waits_no_longer_than_it_is_to():
    incoming, outgoing = os.pipe()
    wire = Wire(incoming, outgoing, 0.05)
    with pytest.raises(OSError, match="nothing came"):
        wire.read(1)
    with pytest.raises(OSError, match="nothing was taken"):
        wire.write(b"x" * (2 << 20))
    os.close(outgoing)
    os.close(incoming)
