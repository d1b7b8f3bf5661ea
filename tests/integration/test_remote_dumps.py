# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a host looks at dumps that do not lie in a directory of its own: with real file systems and a real sshd."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from ssh_server import SshServer, sshd_path

from plugins.module_utils import boot, conf, layout, receiver, remote_dumps
from plugins.module_utils._host.commands import Result, run
from plugins.module_utils._host.host import Host
from plugins.module_utils.problems import KdumpError

sys.path.append(str(ROOT / "tests" / "unit"))

from vmcore_builder import flat, kdump

MARKER = "vmcore.kdump: crash test 0123456789abcdef"
NAME = "10.0.0.1-2026-11-24-10:00:00"
LOOK = remote_dumps.Request(5, MARKER, True)
IS_ROOT = os.geteuid() == 0


def text(path):
    return pathlib.Path(path).read_text()


def put_dump(folder, name=NAME, vmcore="vmcore", data=None, log="[ 9.0] %s\n" % MARKER):
    path = folder / name
    path.mkdir(parents=True)
    (path / vmcore).write_bytes(kdump() if data is None else data)
    (path / "vmcore-dmesg.txt").write_text(log + "[ 9.1] Kernel panic - not syncing: sysrq triggered crash\n")
    return path


# --- file systems that are not mounted -----------------------------------------------------------------------------
@pytest.fixture
def loop():
    """Makes a loop device of a file."""
    devices = []

    def make(path):
        done = subprocess.run(["losetup", "-f", "--show", str(path)], stdout=subprocess.PIPE, check=True)
        devices.append(done.stdout.decode().strip())
        return devices[-1]

    yield make
    for device in devices:
        subprocess.run(["losetup", "-d", device], check=False)


def crashed(tmp_path, loop, fstype, size, fill, unmounts=True):
    """The device of a file system that was in use when the machine died: a copy of one that is mounted.

    `unmounts`: as /init does after it has written the dump; without it the dump may be in the journal alone.
    """
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs." + fstype, "-q", str(image)], check=True)
    device = loop(image)
    subprocess.run(["mount", "-t", fstype, device, str(point)], check=True)
    try:
        fill(point)
        if unmounts:
            subprocess.run(["umount", str(point)], check=True)
            subprocess.run(["mount", "-t", fstype, device, str(point)], check=True)
            (point / "written-later").write_bytes(b"x")
        subprocess.run(["sync"], check=True)
        subprocess.run(["cp", "--sparse=always", str(image), str(tmp_path / "copy")], check=True)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    return loop(tmp_path / "copy")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


FILE_SYSTEMS = {"ext2": 16 << 20, "ext3": 32 << 20, "ext4": 32 << 20, "xfs": 300 << 20}


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
@pytest.mark.parametrize("fstype", FILE_SYSTEMS)
def test_a_file_system_is_mounted_for_the_look_alone_and_not_written_to(tmp_path, loop, fstype):
    if shutil.which("mkfs." + fstype) is None or fstype not in text("/proc/filesystems"):
        pytest.skip("no %s here" % fstype)

    def fill(point):
        put_dump(point / "var" / "crash")
        put_dump(point / "var" / "crash", "10.0.0.1-2026-11-23-10:00:00", log="")

    device = crashed(tmp_path, loop, fstype, FILE_SYSTEMS[fstype], fill)
    before, mounted = sha256(tmp_path / "copy"), text("/proc/self/mountinfo")
    host, wanted = Host(), conf.parse("%s %s\npath /var/crash\n" % (fstype, device))
    place = remote_dumps.place_of(host, wanted)
    assert (place.kind, place.directory, place.shared) == (remote_dumps.MOUNT, "/var/crash", False)
    found = remote_dumps.look(host, wanted, place, LOOK)
    by_name = {dump["directory"]: dump for dump in found}
    dump = by_name["%s:/var/crash/%s" % (device, NAME)]
    assert dump["path"] == dump["directory"] + "/vmcore"
    assert (dump["verdict"], dump["marked"], dump["panic"] != "") == ("complete", True, True)
    assert not by_name["%s:/var/crash/10.0.0.1-2026-11-23-10:00:00" % device]["marked"]
    assert text("/proc/self/mountinfo") == mounted and not os.listdir(layout.RUN_DIR + "/look")
    assert sha256(tmp_path / "copy") == before


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_dump_that_is_due_is_also_found_in_the_journal(tmp_path, loop, fstype):
    if shutil.which("mkfs." + fstype) is None or fstype not in text("/proc/filesystems"):
        pytest.skip("no %s here" % fstype)
    size = FILE_SYSTEMS[fstype]
    device = crashed(tmp_path, loop, fstype, size, lambda point: put_dump(point / "crash"), unmounts=False)
    host, wanted = Host(), conf.parse("%s %s\npath /crash\n" % (fstype, device))
    found = remote_dumps.look(host, wanted, remote_dumps.place_of(host, wanted), LOOK)
    assert [(dump["verdict"], dump["marked"]) for dump in found] == [("complete", True)]


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
def test_a_file_system_that_cannot_be_mounted_says_why(tmp_path, loop):
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    host = Host()
    wanted = conf.parse("ext4 %s\n" % loop(tmp_path / "image"))
    with pytest.raises(KdumpError, match="cannot be looked at: mount"):
        remote_dumps.look(host, wanted, remote_dumps.place_of(host, wanted), LOOK)


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
def test_a_path_that_leads_out_of_the_file_system_is_not_followed(tmp_path, loop):
    device = crashed(tmp_path, loop, "ext2", 16 << 20, lambda point: os.symlink("/etc", str(point / "crash")))
    host, wanted = Host(), conf.parse("ext2 %s\npath /crash\n" % device)
    with pytest.raises(KdumpError, match="leads out of it"):
        remote_dumps.look(host, wanted, remote_dumps.place_of(host, wanted), LOOK)


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
def test_a_look_that_takes_too_long_ends():
    with pytest.raises(OSError, match="did not end"):
        Host().apart(lambda: time.sleep(3600), 0.5)
    with pytest.raises(OSError, match="ValueError: no"):
        Host().apart(fail, 30)
    with pytest.raises(FileNotFoundError, match="/no/such"):
        Host().apart(lambda: os.listdir("/no/such"), 30)
    assert Host().apart(lambda: {"mounted": "ünïcode \udcff"}, 30) == {"mounted": "ünïcode \udcff"}


def fail():
    raise ValueError("no")


# --- servers -------------------------------------------------------------------------------------------------------
class Client(Host):
    """A host whose ssh configuration says where the test's server is; all else is real."""

    def __init__(self, server, known_hosts=None):
        super().__init__("/", self._run)
        self.server = server
        self.known_hosts = known_hosts or server.folder / "known_hosts"

    def _run(self, argv, **options):
        if argv[:2] == ["ssh", "-G"]:
            said = "hostname 127.0.0.1\nport %d\nuserknownhostsfile %s\n" % (self.server.port, self.known_hosts)
            return Result(argv, 0, said, "")
        if argv == ["ip", "-o", "addr"]:
            return Result(argv, 0, "2: eth0    inet 10.0.0.3/24 scope global eth0\n", "")
        return run(argv, **options)


def ask(server, path, request=LOOK, **how):
    host = Client(server, **how)
    wanted = conf.parse("ssh %s@127.0.0.1\nsshkey %s\npath %s\n" % (server.user, server.key_of("web1"), path))
    place = remote_dumps.place_of(host, wanted)
    return place, host, remote_dumps.look(host, wanted, place, request)


needs_sshd = pytest.mark.skipif(sshd_path() is None, reason="there is no sshd here")


@needs_sshd
def test_the_receiver_tells_a_host_of_its_own_dumps(tmp_path):
    program = tmp_path / "receive.pyz"
    program.write_bytes(boot.program_bytes(receiver.__name__))
    server = SshServer(tmp_path)
    command = "%s -I -S %s --root %s --host web1" % (sys.executable, program, tmp_path / "root")
    server.start(['restrict,command="%s" %s' % (command, server.public("web1"))])
    try:
        put_dump(tmp_path / "root" / "web1", vmcore="vmcore.flat", data=flat(kdump()))
        put_dump(tmp_path / "root" / "web2", "10.0.0.2-2026-11-24-10:00:00")
        place, host, found = ask(server, "/var/crash")
        assert place == remote_dumps.Place(remote_dumps.SSH, "/var/crash", server.user + "@127.0.0.1", True)
        assert len(found) == 1 and remote_dumps.own(host, place, found) == found
        where = "%s@127.0.0.1:%s/root/web1/%s" % (server.user, tmp_path, NAME)
        assert (found[0]["directory"], found[0]["path"]) == (where, where + "/vmcore.flat")
        assert (found[0]["verdict"], found[0]["marked"]) == ("complete", True)
    finally:
        server.stop()


@needs_sshd
def test_a_plain_server_is_sent_the_program(tmp_path):
    server = SshServer(tmp_path)
    server.start(["restrict " + server.public("web1")])
    crash = tmp_path / "it's a path"
    try:
        put_dump(crash, vmcore="vmcore.flat", data=flat(kdump()))
        put_dump(crash, "10.0.0.2-2026-11-24-10:00:00", vmcore="vmcore.flat", data=flat(kdump())[:-100], log="")
        place, host, found = ask(server, str(crash), LOOK._replace(marker=MARKER + " it's"))
        assert [dump["marked"] for dump in found] == [False, False]
        place, host, found = ask(server, str(crash))
        by_name = {dump["directory"].rpartition("/")[2]: dump for dump in found}
        assert (by_name[NAME]["verdict"], by_name[NAME]["marked"]) == ("complete", True)
        other = by_name["10.0.0.2-2026-11-24-10:00:00"]
        assert (other["verdict"], other["marked"]) == ("incomplete", False)
        assert remote_dumps.own(host, place, found) == [], "neither address is this machine's"
        assert ask(server, str(tmp_path / "nothing"))[2] == []
    finally:
        server.stop()


@needs_sshd
def test_a_plain_server_is_told_whose_dumps_come_first(tmp_path):
    server = SshServer(tmp_path)
    server.start(["restrict " + server.public("web1")])
    try:
        for number in range(3):
            path = put_dump(tmp_path / "crash", "10.0.0.%d-2026-11-24-10:00:0%d" % (3 - number, number))
            for file in path.iterdir():
                os.utime(str(file), (1000 + number, 1000 + number))
        place, host, found = ask(server, str(tmp_path / "crash"), remote_dumps.Request(1))
        assert [dump["directory"].rpartition("/")[2][:8] for dump in found] == ["10.0.0.1", "10.0.0.3"]
        assert remote_dumps.own(host, place, found) == found[1:]
    finally:
        server.stop()


@needs_sshd
def test_what_is_wrong_with_the_login_is_told(tmp_path):
    server = SshServer(tmp_path)
    server.start(["restrict " + server.public("web2")])
    try:
        with pytest.raises(KdumpError, match="cannot be reached by ssh.*Permission denied"):
            ask(server, "/var/crash")
        other = tmp_path / "other"
        other.write_text("[127.0.0.1]:%d %s\n" % (server.port, " ".join(server.public("web1").split()[:2])))
        with pytest.raises(KdumpError, match="cannot be reached by ssh.*verification failed"):
            ask(server, "/var/crash", known_hosts=other)
    finally:
        server.stop()
    with pytest.raises(KdumpError, match="cannot be reached by ssh.*refused"):
        ask(server, "/var/crash")


@needs_sshd
@pytest.mark.parametrize("answer", ["", "[]x", "{}", "[1]", '[{"directory": 1}]', "[" * 100000])
def test_a_server_that_answers_something_else(tmp_path, answer):
    (tmp_path / "answer").write_text(answer)
    server = SshServer(tmp_path)
    server.start(['restrict,command="cat %s" %s' % (tmp_path / "answer", server.public("web1"))])
    try:
        with pytest.raises(KdumpError, match="does not list its dumps"):
            ask(server, "/var/crash")
    finally:
        server.stop()


# --- the module ----------------------------------------------------------------------------------------------------
# Files of this machine, changed for one process and its children alone.
APART = 'mount --bind "$1" /etc && shift && exec "$@"'


def info_of(ansible, tmp_path, files):
    """What the module info returns with remote, where /etc has these files."""
    etc = tmp_path / "etc"
    shutil.copytree("/etc", str(etc), symlinks=True)
    for name, content in files.items():
        (etc / name).write_text(content)
    result = tmp_path / "result.json"
    look = {"vmcore.kdump.info": {"engine": "native", "remote": True}, "register": "seen"}
    keep = {"ansible.builtin.copy": {"content": "{{ seen | to_json }}", "dest": str(result), "mode": "0600"}}
    play = {"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [look, keep]}
    (tmp_path / "playbook.yml").write_text(json.dumps([play]))
    ansible.command("unshare", "-m", "sh", "-c", APART, "sh", etc, "ansible-playbook", tmp_path / "playbook.yml")
    return json.loads(result.read_text())


@needs_sshd
@pytest.mark.skipif(not IS_ROOT, reason="mounts")
def test_the_module_brings_the_program_that_a_plain_server_is_sent(ansible, tmp_path):
    server = SshServer(tmp_path)
    server.start(["restrict " + server.public("web1")])
    try:
        put_dump(tmp_path / "crash", "127.0.0.1-2026-11-24-10:00:00")
        key = " ".join(server.public("server").split()[:2])
        seen = info_of(ansible, tmp_path, {
            "ssh/ssh_config": "Host dumps\n  Port %d\n" % server.port,
            "ssh/ssh_known_hosts": "[dumps]:%d %s\n" % (server.port, key),
            "hosts": "127.0.0.1 localhost dumps\n",
            "kdump.conf": "ssh %s@dumps\nsshkey %s\npath %s\n" % (
                server.user, server.key_of("web1"), tmp_path / "crash"),
        })  # fmt: skip
        where = "%s@dumps:%s/crash" % (server.user, tmp_path)
        assert (seen["target"]["where"], seen["target"]["looked"]) == (where, True), seen["errors"]
        assert not [error for error in seen["errors"] if "server" in error["message"]], seen["errors"]
    finally:
        server.stop()


@pytest.mark.skipif(not IS_ROOT, reason="mounts")
def test_the_module_looks_at_a_file_system_that_is_not_mounted(ansible, tmp_path, loop):
    device = crashed(tmp_path, loop, "ext4", 32 << 20, lambda point: put_dump(point / "crash", data=kdump()[:9000]))
    seen = info_of(ansible, tmp_path, {"kdump.conf": "ext4 %s\npath /crash\n" % device})
    folder = "%s:/crash/%s" % (device, NAME)
    assert [(dump["path"], dump["verdict"]) for dump in seen["vmcores"]] == [(folder + "/vmcore", "incomplete")]
    assert [failure["directory"] for failure in seen["failures"]] == [folder] and folder in seen["losses"][0]
