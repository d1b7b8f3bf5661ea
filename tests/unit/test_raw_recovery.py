# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump on a raw device becomes a file, in a directory: the device is a file there, longer than what was written."""

import hashlib

import pytest
import vmcore_builder
from kexec_host import KexecHost

from ansible_collections.vmcore.kdump.plugins.module_utils import conf, program, raw_recovery
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils.image import raw
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

DEVICE = "/dev/vdb"
CONF = conf.parse("raw /dev/vdb\npath /var/crash\n")
DUMP = vmcore_builder.kdump()
STREAM = vmcore_builder.flat(DUMP)
FOLDER = "/var/crash/2025-11-24-16:00:00"  # vmcore_builder.CRASHTIME
REST = b"\xa5" * 3000  # of the device


def behind(dump, text=b'{"status": 0, "bytes": %d}'):
    """What put_capture_behind() of /init writes after a dump."""
    beginning = hashlib.sha256(dump[: min(len(dump) // 512 * 512, 1 << 20)]).hexdigest().encode()
    text = text % len(dump) if b"%" in text else text
    return bytes(-len(dump) % 4096) + b"vmcore.kdump capture.json " + beginning + b"\n" + text + b"\n"


ALL = STREAM + behind(STREAM) + REST


class RawHost(KexecHost):
    free = 1 << 30

    def device_number(self, path):
        return "254:16" if path == DEVICE and self.exists(path) else ""

    def free_bytes(self, path):
        return self.free

    def _program(self, argv, **options):
        if "--dump-dmesg" in argv:
            with open(argv[-1], "wb") as file:
                file.write(b"[ 1.0] a log\n")
        return Result(argv, 0, "", "")


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "use_of", lambda host, location: "")
    host = RawHost(tmp_path)
    host.put(DEVICE, ALL)
    host.put("/etc/kdump.conf", b"raw /dev/vdb\npath /var/crash\n")
    return host


def wiped(host):
    return host.read(DEVICE) == bytes(512) + ALL[512:]


def test_a_dump_becomes_a_file_and_its_header_is_wiped(host):
    assert raw_recovery.holds_dump(host, CONF) and "has not become a file" in raw_recovery.warn(host, CONF)[0].message
    host.put("/usr/bin/makedumpfile", b"")
    host.chmod("/usr/bin/makedumpfile", 0o755)
    found = raw_recovery.recover(host, CONF)
    assert found.path == FOLDER + "/vmcore" and host.read(found.path) == DUMP
    assert host.listdir(FOLDER) == ["capture.json", "vmcore", "vmcore-dmesg.txt"]
    assert wiped(host) and not raw_recovery.holds_dump(host, CONF) and raw_recovery.warn(host, CONF) == []
    assert host.stat(FOLDER).st_mode & 0o7777 == 0o700 and host.stat(found.path).st_mode & 0o7777 == 0o600


def test_what_the_capture_kernel_told_lies_behind_the_stream(host):
    host.put(DEVICE, STREAM + behind(STREAM) + REST)
    raw_recovery.recover(host, CONF)
    assert host.listdir(FOLDER) == ["capture.json", "vmcore"]
    assert host.read(FOLDER + "/capture.json") == b'{"status": 0, "bytes": %d}\n' % len(STREAM)
    assert host.stat(FOLDER + "/capture.json").st_mode & 0o7777 == 0o600


def test_a_vmcore_as_it_is_becomes_a_file_too(host):
    """core_collector cat."""
    elf = vmcore_builder.elf()
    host.put(DEVICE, elf + behind(elf) + REST)
    assert raw_recovery.holds_dump(host, CONF)
    found = raw_recovery.recover(host, CONF)
    assert host.read(found.path) == elf and host.listdir(FOLDER) == ["capture.json", "vmcore"]
    assert host.read(DEVICE)[:512] == bytes(512) and not raw_recovery.holds_dump(host, CONF)


ELF = vmcore_builder.elf()
EARLIER = ELF[:64] + bytes(64) + ELF[128:]
UNENDED = {  # on the device, as much of it as there is of the dump, why it is not whole
    "without a word behind it": (ELF + REST, ELF, "Nothing tells that it was written to its end"),
    "before another's word": (ELF + behind(b"x" * len(ELF)) + REST, ELF, "Nothing tells"),
    "cut": (ELF[:-100], ELF[:-100], "was cut off"),
    "a stream": (STREAM + REST, DUMP, "Nothing tells"),
    "a stream before another's word": (STREAM + behind(b"x" * len(STREAM)), DUMP, "Nothing tells"),
    "what went before it was as long, and it is cut": (ELF[:9000] + EARLIER[9000:] + behind(EARLIER), ELF, "Nothing tells"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNENDED)
def test_a_dump_that_nobody_has_ended_stays_on_the_device(host, name):
    device, dump, reason = UNENDED[name]
    host.put(DEVICE, device)
    found = raw_recovery.recover(host, CONF)
    assert found.path == FOLDER + "/vmcore-incomplete" and reason in found.sentences[0]
    assert host.read(found.path) == dump and host.read(DEVICE) == device


PROGRAM = vmcore_builder.elf()[:16] + b"\2" + vmcore_builder.elf()[17:]  # ET_EXEC


@pytest.mark.parametrize("data", [b"\x7fELF", b"\x7fELF" + bytes(5000), PROGRAM], ids=["cut", "empty", "a program"])
def test_another_elf_file_is_no_dump(host, data):
    host.put(DEVICE, data)
    assert not raw_recovery.holds_dump(host, CONF)


@pytest.mark.parametrize("text", [b'{"bytes": 5}', b'{"bytes": ', b"[]", b"\xff\n"])
def test_what_is_not_of_this_dump_is_passed_over(host, text):
    host.put(DEVICE, STREAM + behind(STREAM, text))
    raw_recovery.recover(host, CONF)
    assert host.listdir(FOLDER) == ["vmcore-incomplete"]


CUTS = {  # after which change of the host the power is cut
    "the directory": "write_pieces", "while it is written": "fsync", "the file": "rename", "the name": "overwrite",
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_after_a_power_cut_the_next_boot_ends_what_this_one_began(host, monkeypatch, name):
    class Cut(Exception):
        pass

    def cut(*arguments):
        if name == "while it is written":
            host.put(arguments[0], DUMP[:5000])
        raise Cut()

    with monkeypatch.context() as patch:
        patch.setattr(host, "write_pieces" if CUTS[name] == "fsync" else CUTS[name], cut)
        with pytest.raises(Cut):
            raw_recovery.recover(host, CONF)
    assert host.read(DEVICE) == ALL, "the dump is still there"
    raw_recovery.recover(host, CONF)
    assert host.listdir("/var/crash") == [FOLDER[len("/var/crash/") :]] and host.listdir(FOLDER) == [
        "capture.json",
        "vmcore",
    ]
    assert host.read(FOLDER + "/vmcore") == DUMP and wiped(host)


def test_what_does_not_fit_stays_on_the_device(host):
    host.free = 64 << 20
    with pytest.raises(KdumpError, match="does not fit.*stays on the device"):
        raw_recovery.recover(host, CONF)
    assert host.read(DEVICE) == ALL and host.listdir(FOLDER) == []


def test_a_disk_that_loses_what_is_written_to_it_wipes_nothing(host, monkeypatch):
    def lose(path, pieces, mode):
        data = b"".join(pieces)
        host.put(path, data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(host, "write_pieces", lose)
    with pytest.raises(KdumpError, match="is not what is on"):
        raw_recovery.recover(host, CONF)
    assert host.read(DEVICE) == ALL and not host.exists(FOLDER + "/vmcore")


def test_another_dump_of_that_name_is_not_overwritten(host):
    host.put(FOLDER + "/vmcore", b"another one")
    with pytest.raises(KdumpError, match="is another dump"):
        raw_recovery.recover(host, CONF)
    assert host.read(FOLDER + "/vmcore") == b"another one" and host.read(DEVICE) == ALL


def test_a_dump_that_broke_off_is_saved_as_far_as_it_is_there_and_kept(host):
    cut = STREAM[: len(STREAM) // 2]
    host.put(DEVICE, cut)
    found = raw_recovery.recover(host, CONF)
    assert found.path.startswith("/var/crash/raw-") and found.path.endswith("/vmcore-incomplete")
    assert "WARNING" in found.sentences[0] and "breaks off" in found.sentences[0]
    assert host.stat(found.path).st_size > 10000 and host.read(DEVICE) == cut
    before = host.stat(found.path).st_ino, host.stat(found.path).st_mtime_ns
    assert raw_recovery.recover(host, CONF).path == found.path
    assert "wipefs -a " + DEVICE in raw_recovery.warn(host, CONF)[0].hint
    assert (host.stat(found.path).st_ino, host.stat(found.path).st_mtime_ns) == before, "once is enough"


BROKEN = {
    "a header of nothing": STREAM[:4096] + bytes(5000),
    "no vmcore in it": vmcore_builder.flat(b"x" * 9000),
    "a record that ends before it begins": STREAM[:4096] + b"\x7f" + b"\xff" * 15 + b"x" * 100,
    "its signature alone": STREAM[:16],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_left_alone(host, name):
    host.put(DEVICE, BROKEN[name])
    with pytest.raises(KdumpError, match="cannot be read"):
        raw_recovery.recover(host, CONF)
    assert host.read(DEVICE) == BROKEN[name]


@pytest.mark.parametrize("data", [b"", b"x" * 9000, bytes(9000), b"makedumpfil"])
def test_a_device_without_a_dump(host, data):
    host.put(DEVICE, data)
    assert not raw_recovery.holds_dump(host, CONF)


def test_a_device_that_is_used_is_not_touched(host, monkeypatch):
    monkeypatch.setattr(raw, "use_of", lambda host, location: "mounted on /srv")
    with pytest.raises(KdumpError, match="mounted on /srv"):
        raw_recovery.recover(host, CONF)


def test_arm_recovers_before_it_loads_and_arms_whatever_comes_of_it(host, capsys):
    host.free = 0
    program.main(["arm"], host)
    said = capsys.readouterr().err
    assert "the dump on the raw device" in said and "does not fit" in said
    host.free = 1 << 30
    program.main(["arm"], host)
    assert "is saved to %s/vmcore" % FOLDER in capsys.readouterr().out and wiped(host)


def test_another_target_is_no_raw_device(host):
    assert not raw_recovery.holds_dump(host, conf.parse("path /var/crash\n"))
    assert not raw_recovery.holds_dump(host, conf.parse("raw /dev/gone\n"))
