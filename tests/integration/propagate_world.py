# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine of its own for propagate's tests: mount and network namespaces, in which /etc, /root, /home and /run are copies.

There a real sshd listens at port 22 with accounts of its own, and root's keys and known hosts are whatever a test makes
them; of this machine nothing changes.
"""

import json
import pathlib
import subprocess
import time

PASSWORD = "Tr0ub4dor-no-log"
SETUP = """
set -e
exec 3>&1 >&2
mount -t tmpfs -o mode=755 none "$1"
for name in etc root; do
    mkdir -p "$1/$name/upper" "$1/$name/work"
    chmod --reference=/$name "$1/$name/upper"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/$name/upper,workdir=$1/$name/work" overlay /$name
done
for name in /home /run /srv /var/crash; do
    mkdir -p $name
    mount -t tmpfs -o mode=755 none $name
done
ip link set lo up
mkdir -p /run/sshd /srv/controller
rm -rf /root/.ssh /etc/ssh /usr/local/lib/vmcore-kdump 2>/dev/null || true
mkdir -m 700 /root/.ssh
mkdir -p /etc/ssh
printf '%s\\n' 'UsePAM no' 'PermitRootLogin prohibit-password' 'Include /etc/ssh/sshd_config.d/*.conf' >/etc/ssh/sshd_config
echo 'PerSourcePenalties no' >/run/penalties # all who are refused here have one address
/usr/sbin/sshd -t -f /run/penalties -h /dev/null 2>&1 | grep -q 'Bad configuration' || cat /run/penalties >>/etc/ssh/sshd_config
ssh-keygen -q -A
useradd --create-home --shell /bin/sh kdump
read -r password
echo "kdump:$password" | chpasswd
install -d -m 700 -o kdump /var/crash
echo ready >&3
exec sleep 100000
"""


class World:
    """Commands run inside by nsenter(1). `folder` is on both sides."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        private = self.folder / "private"
        private.mkdir()
        argv = ["unshare", "--mount", "--net", "--kill-child", "--fork", "--pid", "--mount-proc", "sh", "-c", SETUP]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*argv, "sh", str(private)], stdin=pipe, stdout=pipe, text=True)
        self.process.stdin.write(PASSWORD + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.enter = ["nsenter", "--target", children[0], "--mount", "--net", "--pid", "--"]
        self.sshd = None
        self.start()

    def run(self, *argv, check=True, data=None, **more):
        done = subprocess.run([*self.enter, *argv], capture_output=True, text=True, input=data, check=False, **more)
        assert not check or done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done

    def sh(self, script, check=True):
        """What a shell script prints."""
        return self.run("sh", "-c", script, check=check).stdout

    def start(self, *options):
        """Start sshd, again if need be."""
        self.stop_sshd()
        log = (self.folder / "sshd.log").open("ab")
        # Without a fork it is the process that is ended later, and not nsenter alone.
        argv = [*self.enter[:-1], "--no-fork", "--", "/usr/sbin/sshd", "-D", "-e", *options]
        self.sshd = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for dummy in range(1200):
            if self.sh("ss -Hltn sport = 22").strip():
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def stop_sshd(self):
        if self.sshd is not None:
            self.sshd.terminate()
            self.sshd.wait()

    def stop(self):
        self.stop_sshd()
        self.process.kill()  # and with it all that is inside
        self.process.wait()

    # --- what is there -----------------------------------------------------------------------------------------
    def read(self, path):
        return self.run("cat", path, check=False).stdout

    def exists(self, path):
        return self.run("test", "-e", path, check=False).returncode == 0

    def authorized(self):
        return self.read("/home/kdump/.ssh/authorized_keys").splitlines()

    def host_key(self, kind="ed25519"):
        return " ".join(self.read(f"/etc/ssh/ssh_host_{kind}_key.pub").split()[:2])

    def new_host_keys(self):
        self.sh("rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -A")
        self.start()

    def controller_knows(self, *keys):
        """Whoever runs Ansible has a home of its own."""
        self.sh("mkdir -p /srv/controller/.ssh")
        text = "".join(f"127.0.0.1 {key}\n" for key in keys)
        self.run("tee", "/srv/controller/.ssh/known_hosts", data=text)

    def clean(self):
        """As it was: no key, nothing known, nobody authorized."""
        self.sh(
            "rm -rf /root/.ssh /home/kdump/.ssh /home/kdump/.vmcore-kdump /etc/ssh/ssh_known_hosts /srv/controller/.ssh"
        )
        self.sh(
            "rm -rf /var/crash/* /usr/local/lib/vmcore-kdump/receive.pyz /etc/vmcore-kdump; mkdir -m 700 /root/.ssh"
        )

    # --- ansible -----------------------------------------------------------------------------------------------
    def play(self, ansible, tasks, *arguments, hosts=("db1",), check=True, forks=5, environment=None):
        """The finished process of a playbook of these tasks, for hosts that are all this machine."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": ansible.python}
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"children": {
            "clients": {"hosts": dict.fromkeys(hosts, local)}, "servers": {"hosts": {"dumps": local}},
        }}}))  # fmt: skip
        play = {"name": "Test", "hosts": "clients", "gather_facts": False, "tasks": tasks}
        playbook = self.folder / "playbook.yml"
        playbook.write_text(json.dumps([play]))
        env = dict(ansible.env, HOME="/srv/controller", ANSIBLE_HOME="/srv/controller/.ansible", ANSIBLE_PIPELINING="1")
        env.update({"ANSIBLE_FORKS": str(forks), **(environment or {})})
        argv = ["ansible-playbook", "-i", str(inventory), str(playbook), *arguments]
        return self.run(*argv, check=check, env=env)

    def task(self, ansible, *tasks, check_mode=False, hosts=("db1",), verbose=False, **options):
        """What the tasks returned on the first host, and what was printed."""
        result = self.folder / "results.json"
        result.unlink(missing_ok=True)
        names = [f"result_{number}" for number in range(len(tasks))]
        listed = [
            {"name": f"Step {name}", "register": name, "ignore_errors": True, **task}
            for name, task in zip(names, tasks, strict=True)
        ]
        listed.append({
            "name": "Keep the results", "diff": False, "check_mode": False, "run_once": True,
            "ansible.builtin.copy": {
                "content": "{{ [" + ", ".join(names) + "] | to_json }}", "dest": str(result), "mode": "0600",
            },
        })  # fmt: skip
        arguments = ["--diff", *(["--check"] if check_mode else []), *(["-vvvv"] if verbose else [])]
        done = self.play(ansible, listed, *arguments, hosts=hosts, **options)
        return json.loads(result.read_text()), done.stdout + done.stderr


def propagate(**options):
    usual = {"server": "127.0.0.1", "user": "kdump", "key": "/root/.ssh/kdump", "path": "/var/crash"}
    return {"vmcore.kdump.propagate": {**usual, **options}}
