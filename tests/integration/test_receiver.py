# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The receiver behind a real sshd, as real ssh and scp speak to it: the commands are those of kdump.sh, word for word."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from ssh_server import SshServer, sshd_path

sys.path.append(str(ROOT / "tests" / "unit"))

from vmcore_builder import flat, kdump

pytestmark = pytest.mark.skipif(sshd_path() is None, reason="there is no sshd here")
DIRECTORY = "/var/crash/10.0.0.1-2026-11-24-10:00:00"
QUOTED = "umask 0077 && dd bs=512 of='%s/vmcore-incomplete'"


MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.vmcore.kdump.plugins.module_utils import boot, receiver
open(sys.argv[2], "wb").write(boot.program_bytes(receiver.__name__))
"""


class Receiver(SshServer):
    """Hosts web1 and web2, each with its own directory below `root`."""

    def __init__(self, ansible, folder, *options):
        super().__init__(folder)
        self.root = self.folder / "root"
        self.root.mkdir()
        program = self.folder / "receive.pyz"
        subprocess.run([ansible.python, "-c", MAKE, str(ansible.collections), str(program)], check=True)
        self.command = " ".join([ansible.python, "-I", "-S", str(program)])
        self.start([
            'restrict,command="%s --host %s %s" %s' % (
                self.command, name, " ".join(options or ["--root", str(self.root)]), self.public(name))
            for name in ("web1", "web2")
        ])  # fmt: skip

    def files(self, name="web1", folder=DIRECTORY.rpartition("/")[2]):
        """The names and contents in a dump's folder."""
        found = self.root / name / folder
        return {path.name: path.read_bytes() for path in found.iterdir()} if found.exists() else {}


@pytest.fixture(scope="module")
def server(ansible, tmp_path_factory):
    server = Receiver(ansible, tmp_path_factory.mktemp("receiver"))
    yield server
    server.stop()


@pytest.fixture
def folder(server, request):
    """A folder that no other test has."""
    number = abs(hash(request.node.name)) % 86400
    path = "/var/crash/10.0.0.1-2026-11-24-%02d:%02d:%02d" % (number // 3600, number // 60 % 60, number % 60)
    shutil.rmtree(str(server.root / "web1" / path.rpartition("/")[2]), ignore_errors=True)
    assert server.ssh("web1", "mkdir", "-p", path).returncode == 0
    return path


def name_of(folder):
    return folder.rpartition("/")[2]


def test_a_capture_as_kdump_sh_sends_it(server, folder):
    dump = flat(kdump())
    done = server.ssh(
        "web1", "umask 0077 && dd of='%s/vmcore-dmesg-incomplete.txt'" % folder, stdin=b"[1.0] Kernel panic\n"
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert (
        server.ssh("web1", "mv", folder + "/vmcore-dmesg-incomplete.txt", folder + "/vmcore-dmesg.txt").returncode == 0
    )
    assert server.ssh("web1", QUOTED % folder, stdin=dump).returncode == 0
    assert set(server.files(folder=name_of(folder))) == {"vmcore-dmesg.txt", "vmcore-incomplete"}
    moved = server.ssh("web1", "mv '%s/vmcore-incomplete' '%s/vmcore.flat'" % (folder, folder))
    assert (moved.returncode, moved.stderr) == (0, b"")
    assert server.files(folder=name_of(folder)) == {"vmcore-dmesg.txt": b"[1.0] Kernel panic\n", "vmcore.flat": dump}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (server.root / "web1" / name_of(folder)).iterdir()}
    assert modes == {0o600}
    listed = json.loads(server.ssh("web1", "vmcore-kdump list --deep --marker 'Kernel panic'").stdout.decode())
    mine = next(one for one in listed if one["directory"].endswith(name_of(folder)))
    assert (mine["verdict"], mine["marked"], mine["path"][-11:]) == ("complete", True, "vmcore.flat")


def sentence(protocol, old, sftp):
    """What scp shows: over SFTP no more than a code, for sshd keeps to itself what a subsystem says besides."""
    return old if protocol or old_scp() else sftp


def old_scp():
    version = subprocess.run(["ssh", "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    return int(version.partition(b"OpenSSH_")[2].partition(b".")[0] or 0) < 9


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["as this scp does by default", "the old protocol"])
def test_scp_to_a_name_and_to_a_directory(server, folder, tmp_path, protocol):
    protocol = [] if old_scp() else protocol
    vmcore, log = tmp_path / "vmcore", tmp_path / "kexec-dmesg.log"
    vmcore.write_bytes(os.urandom(3 << 20))
    log.write_bytes(b"capture kernel\n")
    done = server.scp("web1", vmcore, folder + "/vmcore-incomplete", "-q", *protocol)
    assert (done.returncode, done.stderr) == (0, b"")
    done = server.scp("web1", log, folder + "/", "-q", *protocol)
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.ssh("web1", "mv '%s/vmcore-incomplete' '%s/vmcore'" % (folder, folder)).returncode == 0
    assert server.files(folder=name_of(folder)) == {
        "vmcore": vmcore.read_bytes(),
        "kexec-dmesg.log": b"capture kernel\n",
    }
    again = server.scp("web1", log, folder + "/", "-q", *protocol)
    assert again.returncode != 0 and sentence(protocol, b"nothing is overwritten", b"Failure") in again.stderr
    other = server.scp("web1", log, folder + "/.bashrc", "-q", *protocol)
    assert other.returncode != 0 and sentence(protocol, b"is refused", b"ermission denied") in other.stderr
    assert server.scp("web1", log, "/root/.ssh/authorized_keys", "-q", *protocol).returncode != 0
    assert set(server.files(folder=name_of(folder))) == {"vmcore", "kexec-dmesg.log"}


def test_what_kdumpctl_and_mkdumprd_look_for(server):
    assert server.ssh("web1", "mkdir", "-p", "/var/crash").returncode == 0
    space = server.ssh("web1", "df", "--output=avail", "/var/crash").stdout.split()
    assert space[0] == b"Avail" and int(space[1]) > 0
    probe = server.ssh("web1", "mktemp", "-dqp", "/var/crash").stdout.decode().strip()
    assert probe.startswith("/var/crash/tmp.") and (server.root / "web1" / name_of(probe)).is_dir()
    assert server.ssh("web1", "rmdir", probe).returncode == 0
    assert not (server.root / "web1" / name_of(probe)).exists()


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["as this scp does by default", "the old protocol"])
def test_kdumpctl_test_writes_its_status_twice_and_fetches_it(server, tmp_path, protocol):
    path = "/var/crash/kdump-test-1729823462-938751820/vmcore-creation.status"
    assert server.ssh("web1", "mkdir -p " + path.rpartition("/")[0]).returncode == 0
    for status in ("fail", "success"):
        assert server.ssh("web1", "echo %s kdump_test_id=1729823462-938751820 > %s" % (status, path)).returncode == 0
    argv = [
        "scp",
        "-q",
        *protocol,
        "-P",
        str(server.port),
        *server.options("web1"),
        server.address() + ":" + path,
        str(tmp_path),
    ]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "vmcore-creation.status").read_text() == "success kdump_test_id=1729823462-938751820\n"


def test_nothing_is_overwritten(server, folder):
    assert server.ssh("web1", QUOTED % folder, stdin=b"first").returncode == 0
    again = server.ssh("web1", QUOTED % folder, stdin=b"second")
    assert again.returncode == 1 and b"nothing is overwritten" in again.stderr
    move = "mv '%s/vmcore-incomplete' '%s/vmcore.flat'" % (folder, folder)
    assert server.ssh("web1", move).returncode == 0
    assert server.ssh("web1", QUOTED % folder, stdin=b"third").returncode == 0
    again = server.ssh("web1", move)
    assert again.returncode == 1 and b"nothing is overwritten" in again.stderr
    assert server.files(folder=name_of(folder)) == {"vmcore.flat": b"first", "vmcore-incomplete": b"third"}


def test_a_folder_that_is_to_be_new(server, folder):
    command = "mkdir -p /var/crash && mkdir %s" % folder
    assert server.ssh("web1", command).returncode == 1
    assert server.ssh("web1", command + "-1").returncode == 0
    assert server.ssh("web1", command + "-1").returncode == 1


def test_hosts_do_not_see_each_other(server, folder):
    assert server.ssh("web1", QUOTED % folder, stdin=b"a secret").returncode == 0
    assert json.loads(server.ssh("web2", "vmcore-kdump list").stdout.decode()) == []
    assert json.loads(server.ssh("web2", "vmcore-kdump list --host web2").stdout.decode()) == []
    copied = server.ssh("web2", "vmcore-kdump list --host web1")  # web1 is a copy of web2, or its new name
    assert copied.returncode == 1 and b"This key is the host web2's here" in copied.stderr
    assert server.ssh("web2", "mv '%s/vmcore-incomplete' '%s/vmcore.flat'" % (folder, folder)).returncode == 1
    assert server.ssh("web2", "mkdir", "-p", folder).returncode == 0  # its own of that name
    assert server.ssh("web2", QUOTED % folder, stdin=b"other").returncode == 0
    assert server.files(folder=name_of(folder)) == {"vmcore-incomplete": b"a secret"}
    assert server.files("web2", name_of(folder)) == {"vmcore-incomplete": b"other"}


HOSTILE = [  # some of those in tests/unit/test_receiver_commands.py
    "", "cat %s/vmcore-incomplete", "scp -f %s/vmcore-incomplete", "dd bs=512 of=%s/vmcore-incomplete; id", "tar x",
    "mv %s/vmcore-incomplete /etc/cron.d/x", "mkdir -p %s/../../web2/10.0.0.1-2026-11-24-10:00:00",
]  # fmt: skip


def test_whatever_else_is_refused(server, folder):
    assert server.ssh("web1", QUOTED % folder, stdin=b"x").returncode == 0
    for command in HOSTILE:
        done = server.ssh("web1", *([command.replace("%s", folder)] if command else []))
        assert done.returncode == 1 and b"is refused" in done.stderr and done.stdout == b"", command
    assert server.files(folder=name_of(folder)) == {"vmcore-incomplete": b"x"}
    forwarded = subprocess.run(
        [server.ssh_argv("web1")[0], "-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", *server.ssh_argv("web1")[1:]],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert forwarded.returncode == 255 and b"forwarding failed" in forwarded.stderr


def test_a_link_leads_nowhere(server, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = server.root / "web1" / name_of(folder)
    os.symlink(str(outside / "file"), str(inside / "vmcore-incomplete"))
    assert server.ssh("web1", QUOTED % folder, stdin=b"x").returncode == 1
    linked = folder[:-2] + "-1"  # no folder's name
    assert server.ssh("web1", "mkdir", "-p", linked).returncode == 0  # the path of kdump.conf, whatever it says
    other = folder + "-7"
    os.symlink(str(outside), str(server.root / "web1" / name_of(other)))
    assert server.ssh("web1", "mkdir", "-p", other).returncode == 1
    assert server.ssh("web1", QUOTED % other, stdin=b"x").returncode == 1
    assert list(outside.iterdir()) == []


def test_a_host_that_dies_in_the_middle_leaves_an_incomplete_dump_and_nothing_else(server, folder):
    argv = server.ssh_argv("web1", QUOTED % folder)
    ssh = subprocess.Popen(argv, stdin=subprocess.PIPE)
    ssh.stdin.write(b"x" * (1 << 20))
    ssh.stdin.flush()
    for dummy in range(1200):
        if server.files(folder=name_of(folder)).get("vmcore-incomplete"):
            break
        time.sleep(0.05)
    # It is not given its last name while it is being written.
    busy = server.ssh("web1", "mv '%s/vmcore-incomplete' '%s/vmcore.flat'" % (folder, folder))
    assert busy.returncode == 1 and b"still being received" in busy.stderr
    ssh.kill()
    ssh.wait()
    ssh.stdin.close()
    assert list(server.files(folder=name_of(folder))) == ["vmcore-incomplete"]


def test_a_fifth_connection_of_a_host_waits_its_turn(server, folder):
    held = [
        subprocess.Popen(server.ssh_argv("web1", QUOTED % ("%s-%d" % (folder, number))), stdin=subprocess.PIPE)
        for number in range(4)
        if server.ssh("web1", "mkdir", "-p", "%s-%d" % (folder, number)).returncode == 0
    ]
    for dummy in range(1200):
        if all(
            (server.root / "web1" / ("%s-%d" % (name_of(folder), number)) / "vmcore-incomplete").exists()
            for number in range(4)
        ):
            break
        time.sleep(0.05)
    one_more = server.ssh("web1", "true")
    assert one_more.returncode == 1 and b"4 connections already" in one_more.stderr
    assert server.ssh("web2", "true").returncode == 0
    for ssh in held:
        ssh.stdin.close()
        assert ssh.wait() == 0
    assert server.ssh("web1", "true").returncode == 0


@pytest.fixture(scope="module")
def small(ansible, tmp_path_factory):
    """One that keeps 1 MiB of a host."""
    folder = tmp_path_factory.mktemp("small")
    server = Receiver(ansible, folder, "--config", str(folder / "server.json"))
    settings = {"root": str(server.root), "quota_host": 1 << 20, "idle": 1}
    (folder / "server.json").write_text(json.dumps(settings))
    yield server
    server.stop()


def test_the_quota_holds_and_is_told(small):
    assert small.ssh("web1", "mkdir", "-p", DIRECTORY).returncode == 0
    done = small.ssh("web1", QUOTED % DIRECTORY, stdin=b"x" * (3 << 20))
    assert done.returncode == 1 and b"no room" in done.stderr and b"kdump_server_quota_host" in done.stderr
    assert {name: len(data) for name, data in small.files().items()} == {"vmcore-incomplete": 1 << 20}
    assert small.ssh("web1", "df", "--output=avail", "/var/crash").stdout == b"Avail\n0\n"
    assert small.ssh("web2", "df", "--output=avail", "/var/crash").stdout == b"Avail\n1024\n"


def test_the_quota_holds_for_scp(small, tmp_path):
    (tmp_path / "vmcore").write_bytes(b"x" * (2 << 20))
    assert small.ssh("web2", "mkdir", "-p", DIRECTORY).returncode == 0
    done = small.scp("web2", tmp_path / "vmcore", DIRECTORY + "/vmcore-incomplete", "-q")
    assert done.returncode == 1 and sentence([], b"no room", b"Failure") in done.stderr
    assert {name: len(data) for name, data in small.files("web2").items()} == {"vmcore-incomplete": 1 << 20}


def test_a_host_that_sends_nothing_is_not_waited_for(small):
    folder = DIRECTORY + "-1"
    assert small.ssh("web1", "mkdir", "-p", folder).returncode == 0
    ssh = subprocess.Popen(
        small.ssh_argv("web1", "dd of=%s/kexec-dmesg.log" % folder), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert ssh.wait() == 1
    assert b"nothing came" in ssh.stderr.read()
    ssh.stdin.close()
    ssh.stderr.close()
    assert list(small.files(folder=name_of(folder))) == ["kexec-dmesg-incomplete.log"]
