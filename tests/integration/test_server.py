# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role server, for real: on a view of this machine whose files are thrown away, with a real sshd, account and login."""

import json
import os
import shutil
import signal
import subprocess

import pytest
import yaml
from conftest import ROOT
from ssh_server import SshServer, sshd_path

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sshd_path() is None, reason="it makes an account: as root, and with sshd"
)
# Everything that the role writes to lies on these, and goes with the namespace of mounts.
NAMESPACE = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
for folder in etc srv var usr/local; do
    name=$(echo $folder | tr / _)
    mkdir "$1/$name" "$1/$name.work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$name,workdir=$1/$name.work" "/$folder"
done
mount -t tmpfs none /run/systemd 2> /dev/null || true # nobody is asked to start anything
touch "$1/ready"
exec sleep 100000
"""
FOLDER = "10.0.0.1-2026-11-24-10:00:00"


class Server(SshServer):
    """A machine that looks like this one. sshd runs there with the machine's own configuration, on another port."""

    def __init__(self, ansible, folder):
        super().__init__(folder)
        self.user = "kdump-test"
        self.ansible = ansible
        self.layers = folder / "layers"
        self.layers.mkdir()
        argv = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(self.layers)]
        self.holder = subprocess.Popen(argv, start_new_session=True)
        self.enter = ["nsenter", "--mount", "--target", str(self.holder.pid), "--wd=/"]
        while self.inside("test", "-e", f"{self.layers}/ready").returncode:
            assert self.holder.poll() is None

    def inside(self, *argv):
        return subprocess.run([*self.enter, *argv], capture_output=True, text=True, check=False)

    def run(self, *arguments, **variables):
        """What ansible-playbook prints of the role, and how many tasks changed something (-1 for a failure)."""
        variables.setdefault("kdump_server_user", self.user)
        role = {"name": "Serve", "ansible.builtin.include_role": {"name": "vmcore.kdump.server"}}
        return self.task(role, *arguments, "-e", json.dumps(variables))

    def task(self, task, *arguments):
        """The same of one task."""
        play = {"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
        play["vars"] = {"ansible_python_interpreter": "/usr/bin/python3"}  # localhost has that of Ansible itself
        playbook = self.folder / "playbook.yml"
        playbook.write_text(json.dumps([play]))
        argv = [*self.enter, shutil.which("ansible-playbook"), str(playbook), *arguments]
        done = subprocess.run(argv, env=self.ansible.env, capture_output=True, text=True, check=False)
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        changed = int(recap.partition("changed=")[2].split()[0]) if "failed=0" in recap else -1
        return done.stdout + done.stderr, changed

    def read(self, path):
        return self.inside("cat", path).stdout

    def serve(self):
        self.inside("mkdir", "-p", "/run/sshd")
        self.popen_prefix = self.enter
        self.start_with(["-f", "/etc/ssh/sshd_config", "-o", f"HostKey={self.key_of('server')}", "-o", "PidFile=none"])

    def end(self):
        self.stop()
        os.killpg(self.holder.pid, signal.SIGKILL)
        self.holder.wait()


@pytest.fixture(scope="module")
def server(ansible, tmp_path_factory):
    server = Server(ansible, tmp_path_factory.mktemp("server"))
    yield server
    server.end()


def test_what_is_wrong_is_refused_before_anything_is_touched(server):
    printed, changed = server.run(
        kdump_server_quota_host="a lot", kdump_server_root="/", kdump_server_nfs={"../x": ["a b"]}
    )
    assert changed == -1 and "which is no size" in printed and "The root / is no" in printed, printed
    assert server.inside("id", server.user).returncode != 0


@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_account_that_is_somebodys_is_left_alone(server, state):
    before = server.inside("getent", "passwd", "daemon").stdout
    printed, changed = server.run(kdump_server_user="daemon", kdump_server_state=state)
    assert changed == -1 and "it is not one that takes dumps" in " ".join(printed.split()), printed
    assert server.inside("getent", "passwd", "daemon").stdout == before != ""


def test_a_fresh_machine_becomes_a_server(server):
    printed, changed = server.run("--check")
    assert changed > 3, printed
    assert server.inside("id", server.user).returncode != 0
    printed, changed = server.run(kdump_server_keep_count=3, kdump_server_quota_host="1M")
    assert changed == 4, printed
    printed, changed = server.run(kdump_server_keep_count=3, kdump_server_quota_host="1M")
    assert changed == 0, printed
    settings = json.loads(server.read("/etc/vmcore-kdump/server.json"))
    assert (settings["keep_count"], settings["quota_host"]) == (3, 1 << 20)
    assert f"Match User {server.user}" in server.read("/etc/ssh/sshd_config.d/00-vmcore-kdump.conf")
    timer = server.inside("readlink", "/etc/systemd/system/timers.target.wants/vmcore-kdump-retain.timer")
    assert timer.stdout.strip() == "/etc/systemd/system/vmcore-kdump-retain.timer"
    verified = server.inside("systemd-analyze", "verify", "/etc/systemd/system/vmcore-kdump-retain.service")
    assert "vmcore-kdump" not in verified.stderr, verified.stderr
    assert server.inside("stat", "-c", "%U %a", "/srv/vmcore-kdump").stdout.split() == [server.user, "700"]


def test_a_host_delivers_to_it_and_can_do_nothing_else(server):
    key = {"user": server.user, "name": "web1", "public_keys": [server.public("web1")]}
    printed, changed = server.task({"name": "Let web1 in", "vmcore.kdump.authorized_key": key})
    assert changed == 1, printed
    file = "/var/lib/vmcore-kdump-server/.ssh/authorized_keys"
    command = "/usr/bin/python3 -I -S /usr/local/lib/vmcore-kdump/receive.pyz --host web1"
    assert server.read(file).startswith(f'restrict,command="{command}" ssh-ed25519 ')
    assert server.inside("stat", "-c", "%U %a", file).stdout.split() == ["root", "644"]
    # `free` has no forced command: what holds then is what sshd is told of the account.
    server.inside("sh", "-c", f"echo '{server.public('free')}' >> {file}")
    server.serve()
    path = "/var/crash/" + FOLDER
    assert server.ssh("web1", f"mkdir -p /var/crash && mkdir {path}").returncode == 0, (
        server.folder / "sshd.log"
    ).read_text()
    assert (
        server.ssh("web1", f"umask 0077 && dd bs=512 of='{path}/vmcore-incomplete'", stdin=b"x" * 1000).returncode == 0
    )
    assert server.ssh("web1", f"mv '{path}/vmcore-incomplete' '{path}/vmcore.flat'").returncode == 0
    assert server.inside("stat", "-c", "%U %a %s", f"/srv/vmcore-kdump/web1/{FOLDER}/vmcore.flat").stdout.split() == [
        server.user, "600", "1000"]  # fmt: skip
    too_much = server.ssh("web1", f"dd of='{path}/kexec-dmesg.log'", stdin=b"x" * (2 << 20))
    assert too_much.returncode == 1 and b"no room" in too_much.stderr
    assert b"is refused" in server.ssh("web1", "id").stderr
    argv = [
        "runuser",
        "-u",
        server.user,
        "--",
        "/usr/bin/python3",
        "-I",
        "-S",
        "/usr/local/lib/vmcore-kdump/receive.pyz",
        "retain",
    ]
    kept = server.inside(*argv)
    assert (kept.returncode, kept.stdout, kept.stderr) == (0, "", "")
    forward = ["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1"]
    argv = server.ssh_argv("free")
    done = subprocess.run([argv[0], *forward, *argv[1:]], capture_output=True, check=False)
    assert done.returncode == 255 and b"forwarding failed" in done.stderr
    terminal = subprocess.run(
        [argv[0], "-tt", *argv[1:], "tty"], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    assert b"PTY allocation request failed" in terminal.stderr
    keys = server.read(file)
    server.ssh("free", "echo x >> .ssh/authorized_keys; echo y > .ssh/rc")
    assert (
        server.read(file) == keys
        and server.inside("test", "-e", "/var/lib/vmcore-kdump-server/.ssh/rc").returncode == 1
    )


def test_each_host_is_exported_to_itself_alone(server):
    if server.inside("sh", "-c", "command -v exportfs").returncode:
        pytest.skip("there is no NFS server here")
    # The service's own start needs systemd; the exports do not.
    tasks = {
        "nfs": {"web1": ["192.0.2.11", "2001:db8::11"], "web2": "192.0.2.12"},
        "user": server.user,
        "keep_count": 3,
        "quota_host": "1M",
    }
    server.inside("mkdir", "-p", "/srv/vmcore-kdump/web2")
    printed, changed = server.task({"name": "Export", "vmcore.kdump.server": tasks})
    assert changed == 1, printed
    uid, gid = (
        server.inside("id", "-u", server.user).stdout.strip(),
        server.inside("id", "-g", server.user).stdout.strip(),
    )
    lines = server.inside("exportfs", "-s").stdout.splitlines()
    assert [line.split("(")[0].split() for line in lines] == [
        ["/srv/vmcore-kdump/web1", "192.0.2.11"], ["/srv/vmcore-kdump/web1", "2001:db8::11"], ["/srv/vmcore-kdump/web2", "192.0.2.12"]]  # fmt: skip
    assert all(f"anonuid={uid},anongid={gid}" in line and "all_squash" in line for line in lines)
    assert not [line for line in lines if "no_subtree_check" in line], lines
    assert server.task({"name": "Export", "vmcore.kdump.server": tasks})[1] == 0


def test_a_link_in_place_of_an_exported_directory_is_refused(server):
    """The account could have made one, and the role, as root, would give it what that leads to."""
    tasks = yaml.safe_load((ROOT / "roles/server/tasks/present.yml").read_text())
    (task,) = [one for one in tasks if one["name"] == "Make the directories that are exported"]
    root = "/srv/vmcore-kdump"
    names = {"kdump_server_root": root, "kdump_server_user": server.user, "__kdump_server_nfs": {"web9": []}}
    task["vars"] = names
    server.inside("mkdir", "-m", "755", "/srv/roots")
    server.inside("ln", "-s", "/srv/roots", root + "/web9")
    printed, changed = server.task(task)
    assert changed == -1 and f"{root}/web9 already exists as a link" in printed, printed
    assert server.inside("stat", "-c", "%U %a", "/srv/roots").stdout.split() == ["root", "755"]
    server.inside("rm", root + "/web9")
    assert server.task(task)[1] == 1
    assert server.inside("stat", "-c", "%U %a", root + "/web9").stdout.split() == [server.user, "700"]
    assert server.task(task)[1] == 0


def test_another_match_that_comes_first_is_told(server):
    server.inside("sh", "-c", "printf 'Match all\\n    PermitTTY yes\\n' > /etc/ssh/sshd_config.d/00-other.conf")
    printed, changed = server.run()
    server.inside("rm", "/etc/ssh/sshd_config.d/00-other.conf")
    assert changed == -1 and "sshd goes by `PermitTTY yes`" in printed, printed


def test_absent_leaves_the_dumps(server):
    printed, changed = server.run(kdump_server_state="absent")
    assert changed == 3, printed
    printed, changed = server.run(kdump_server_state="absent")
    assert changed == 0, printed
    assert server.inside("id", server.user).returncode != 0
    left = server.inside("find", "/etc/ssh/sshd_config.d", "/etc/exports.d", "/etc/systemd/system", "/etc/vmcore-kdump",
                         "/usr/local/lib", "-path", "*vmcore*", "!", "-type", "d").stdout  # fmt: skip
    assert left == ""
    assert server.inside("test", "-e", f"/srv/vmcore-kdump/web1/{FOLDER}/vmcore.flat").returncode == 0
