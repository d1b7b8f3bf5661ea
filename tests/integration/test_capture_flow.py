# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/init as a whole, as the first process of a namespace: real shells, a real sshd, real file systems on loop devices.

What cannot be had outside a capture kernel is replaced: /proc/vmcore by a file, makedumpfile by a script, the network by
the one that is there, and what would restart this machine by a script that writes down what was asked for.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from ssh_server import SshServer
from test_receiver import Receiver

from plugins.module_utils import ssh
from plugins.module_utils.image import init, plan_file, target

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and loop devices need root")

SHELLS = {"busybox": ["busybox", "sh"], "dash": ["dash"], "bash": ["bash"]}
VMCORE = b"memory" * 300_000  # 1.8 MB
# As makedumpfile where the capture calls it: --dump-dmesg, -F, or a file.
MAKEDUMPFILE = """#!/bin/sh
echo "makedumpfile $*" >> /calls
case $* in
    --dump-dmesg*) echo "the kernel's last words" > "$3" ;;
    *-F*) cat /vmcore; exit $(cat /collector-exit) ;;
    *)
        for last; do :; done
        cat /vmcore > "$last" || { printf "\\nCan't write the dump file. No space left on device\\nmakedumpfile Failed.\\n"; exit 1; }
        exit $(cat /collector-exit) ;;
esac
"""
RESTART = """#!/bin/sh
echo "$*" > /ended
"""
RUN = """
set -e
mount --make-rprivate /
for folder in usr %s; do mount --rbind "/$folder" "%s/$folder"; done
mount --bind "%s/stubs" "%s/usr/local/sbin"
exec chroot "%s" %s /init
"""


class Capture:
    """The root directory of a capture image, and what happened in it."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.devices = []
        for name in (
            "etc/kdump/ssh",
            "dev",
            "kdump",
            "proc",
            "run",
            "sys",
            "tmp",
            "usr",
            "knobs/kernel",
            "knobs/dev/raid",
        ):
            (self.root / name).mkdir(parents=True)
        self.bound = []
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink("/" + name):
                (self.root / name).symlink_to("usr/" + name)
            elif os.path.isdir("/" + name):
                (self.root / name).mkdir()
                self.bound.append(name)
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (self.root / "etc/kdump/digest").write_text("abc\n")
        (self.root / "etc/kdump/network").write_text("")
        (self.root / "knobs/kernel/panic").write_text("0\n")
        (self.root / "vmcore").write_bytes(VMCORE)
        (self.root / "collector-exit").write_text("0")
        (folder / "stubs").mkdir()
        self.stub("makedumpfile", MAKEDUMPFILE)
        self.stub("restart", RESTART)
        script = init.SCRIPT.replace("/proc/vmcore", "/vmcore").replace("/proc/sysrq-trigger", "/sysrq")
        script = script.replace("/proc/sys/", "/knobs/").replace("sleep 2\n", "sleep 0.2\n")
        (self.root / "init").write_text(script)
        self.plan = {
            "release": "6.1", "core_collector": "makedumpfile -l -d 31", "restart_tool": "restart", "device_limit": "2",
            "server_limit": "3", "failure_action": "reboot", "final_action": "poweroff", "report_at": "",
        }  # fmt: skip
        self.targets = {}
        self.more = ""  # functions in place of /init's own

    def stub(self, name, text):
        path = self.folder / "stubs" / name
        path.write_text(text)
        path.chmod(0o755)

    def hook(self, name, text):
        path = self.root / "etc/kdump" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return "/etc/kdump/" + name

    def target(self, name, **settings):
        self.targets[name] = target.values(**settings)

    def ssh_target(self, server, known_hosts=None):
        shutil.copy(server.key_of("host"), self.root / "etc/kdump/ssh/key")
        (self.root / "etc/kdump/ssh/known_hosts").write_text(known_hosts or (server.folder / "known_hosts").read_text())
        name = "[127.0.0.1]:%d" % server.port
        options = ssh.options("/" + plan_file.KEY, "/" + plan_file.KNOWN_HOSTS, name, server.port, 20)
        self.plan["ssh_options"] = " ".join(options)
        self.target(
            "dump", kind="ssh", directory=str(server.folder).lstrip("/") + "/crash", user=server.user,
            server="127.0.0.1", server_name=name, port=str(server.port),
        )  # fmt: skip

    def disk(self, name, megabytes, fstype="ext4"):
        """A loop device with a file system ("" for none)."""
        image = self.folder / (name + ".disk")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        if fstype:
            subprocess.run(["mkfs." + fstype, "-q", str(image)], check=True, stdin=subprocess.DEVNULL)
        done = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, stdout=subprocess.PIPE)
        self.devices.append(done.stdout.decode().strip())
        return self.devices[-1]

    def disk_target(self, name, device, directory="var/crash"):
        self.target(
            name, kind="filesystem", directory=directory, device=device, devices="1", fstype="ext4", options="rw"
        )

    def write_plan(self):
        lines = ["%s='%s'\n" % item for item in self.plan.items()]
        cases = "".join(
            "%s)\n%s;;\n" % (name, "".join("%s='%s'\n" % item for item in settings))
            for name, settings in self.targets.items()
        )
        text = "".join(lines) + "use_target() {\ncase $1 in\n%sesac\n}\n" % cases
        text += "bring_up_network() { host_address=10.9.8.7; phase network 0; }\n" + self.more
        (self.root / "etc/kdump/plan").write_text(text)

    def run(self, shell="busybox", seconds=240, meanwhile=None):
        """Run it to its end; what it asked the machine to do then."""
        self.write_plan()
        assert "/proc/sysrq-trigger" not in (self.root / "init").read_text()
        root, bound = str(self.root), " ".join(self.bound)
        script = RUN % (bound, root, self.folder, root, root, " ".join(SHELLS[shell]))
        argv = ["unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child", "sh", "-c", script]
        with (self.folder / "console").open("wb") as console:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            limit = time.monotonic() + seconds
            while not (self.root / "ended").exists() or not (self.root / "ended").read_text():
                assert process.poll() is None and time.monotonic() < limit, self.console()
                if meanwhile is not None and not meanwhile():
                    meanwhile = None
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        return (self.root / "ended").read_text().split()[0]

    def console(self):
        return (self.folder / "console").read_text(errors="replace")

    @contextlib.contextmanager
    def mounted(self, device):
        folder = self.folder / "mounted"
        folder.mkdir(exist_ok=True)
        for dummy in range(100):  # the namespace's own mount goes with its last process
            if not subprocess.run(["mount", device, str(folder)], check=False, stderr=subprocess.DEVNULL).returncode:
                break
            time.sleep(0.1)
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    def files(self, device, directory):
        """Of the one folder in a directory of a device: its name, and the files with their content."""
        with self.mounted(device) as top:
            folders = list((top / directory).iterdir())
            assert len(folders) == 1, folders
            return folders[0].name, {path.name: path.read_bytes() for path in folders[0].iterdir()}

    def close(self):
        for device in self.devices:
            subprocess.run(["losetup", "-d", device], check=False)


@pytest.fixture
def capture(tmp_path):
    found = Capture(tmp_path)
    yield found
    found.close()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    found = SshServer(tmp_path / "server")
    found.start([found.public("host")])
    yield found
    found.stop()


def arrived(server):
    """The one folder on the server."""
    folders = list((server.folder / "crash").iterdir())
    assert len(folders) == 1, folders
    return folders[0], {path.name: path.read_bytes() for path in folders[0].iterdir()}


def told(files):
    return json.loads(files["capture.json"].decode())


FAILED = "var/lib/vmcore-kdump/failed"


def reported(capture, device):
    """The report that a failure left on the host."""
    name, files = capture.files(device, FAILED)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d", name)
    assert set(files) == {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt"}
    return told(files)


# --- over ssh ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shell", SHELLS)
def test_a_dump_arrives_over_ssh(capture, server, shell):
    capture.ssh_target(server)
    assert capture.run(shell) == "poweroff", capture.console()
    folder, files = arrived(server)
    assert re.fullmatch(r"10\.9\.8\.7-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d", folder.name)
    assert set(files) == {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt", "vmcore.flat"}, capture.console()
    assert files["vmcore.flat"] == VMCORE and files["vmcore-dmesg.txt"] == b"the kernel's last words\n"
    assert all(path.stat().st_mode & 0o77 == 0 for path in folder.iterdir())
    found = told(files)
    assert (found["status"], found["bytes"], found["message"]) == (0, len(VMCORE), "")
    assert found["target"] == {"kind": "ssh", "where": server.address()} and found["directory"] == str(folder)
    names = [phase["name"] for phase in found["phases"]]
    assert names == "start modules network pre server dmesg vmcore sync post log".split()
    assert "makedumpfile -F -l -d 31 /vmcore\n" in (capture.root / "calls").read_text()
    assert b"saving vmcore" in files["kexec-dmesg.log"]


def test_what_makedumpfile_did_not_write_is_called_vmcore(capture, server):
    capture.plan["core_collector"] = "cat"
    capture.ssh_target(server)
    capture.run()
    _folder, files = arrived(server)
    assert files["vmcore"] == VMCORE and "vmcore.flat" not in files


def test_a_folder_that_is_there_is_not_written_to(capture, server):
    capture.stub("date", "#!/bin/sh\necho 2026-11-24-10:00:00\n")
    there = server.folder / "crash/10.9.8.7-2026-11-24-10:00:00"
    there.mkdir(parents=True)
    capture.ssh_target(server)
    capture.run()
    assert list(there.iterdir()) == [] and (there.with_name(there.name + "-1") / "vmcore.flat").read_bytes() == VMCORE


def test_the_receiver_takes_what_is_sent_and_never_twice_under_one_name(capture, ansible, tmp_path):
    """A receiver on a server of this collection, as the forced command of the host's key."""
    (tmp_path / "server").mkdir()
    server = Receiver(ansible, tmp_path / "server")
    try:
        shutil.copy(server.key_of("web1"), server.folder / "key-host")
        capture.ssh_target(server)
        capture.stub("date", "#!/bin/sh\necho 2026-11-24-10:00:00\n")
        for folder in ("10.9.8.7-2026-11-24-10:00:00", "10.9.8.7-2026-11-24-10:00:00-1"):
            assert capture.run() == "poweroff"
            files = server.files("web1", folder)
            assert set(files) == {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt", "vmcore.flat"}, (
                capture.console()
            )
            assert files["vmcore.flat"] == VMCORE and told(files)["status"] == 0
            (capture.root / "ended").unlink()
    finally:
        server.stop()


# --- failures ------------------------------------------------------------------------------------------------------
def host_disk(capture):
    """The host's own disk, which reports go to."""
    device = capture.disk("host", 24)
    capture.plan["report_at"] = "report"
    capture.disk_target("report", device, FAILED)
    return device


def refuse_key(capture, server):
    other = server.public("other").split()
    capture.ssh_target(server, "[127.0.0.1]:%d %s %s\n" % (server.port, other[0], other[1]))


def stop_server(capture, server):
    capture.ssh_target(server)
    server.stop()


def no_login(capture, server):
    (server.folder / "authorized_keys").write_text(server.public("other") + "\n")
    capture.ssh_target(server)


def failing_collector(capture, server):
    capture.ssh_target(server)
    (capture.root / "collector-exit").write_text("2")


def no_directory(capture, server):
    (server.folder / "crash").write_text("a file")
    capture.ssh_target(server)


SSH_FAILURES = [
    # what goes wrong, failure_action, words of capture.json's message
    (refuse_key, "reboot", "Host key verification failed"),
    (stop_server, "halt", "Connection refused"),
    (no_login, "poweroff", "Permission denied"),
    (failing_collector, "halt", "saving vmcore by makedumpfile failed with exit code 2"),
    (no_directory, "reboot", "cannot be made on the server"),
]


@pytest.mark.parametrize("wrong, action, words", SSH_FAILURES, ids=[case[0].__name__ for case in SSH_FAILURES])
def test_a_failure_over_ssh_is_reported_on_the_host(capture, server, wrong, action, words):
    device = host_disk(capture)
    capture.plan["failure_action"] = action
    wrong(capture, server)
    assert capture.run() == action
    found = reported(capture, device)
    assert words in found["message"], found
    assert found["status"] == 1 and found["target"]["kind"] == "ssh"
    names = sorted(path.name for path in server.folder.glob("crash/*/vmcore*"))
    assert names == (["vmcore-dmesg.txt", "vmcore-incomplete"] if wrong is failing_collector else [])


def test_a_server_that_stops_answering_ends_the_dump(capture, server):
    device = host_disk(capture)
    capture.ssh_target(server)
    assert "ServerAliveInterval=15" in capture.plan["ssh_options"]
    capture.plan["ssh_options"] = capture.plan["ssh_options"].replace("Interval=15", "Interval=1")
    (capture.root / "vmcore").write_bytes(b"memory" * 20_000_000)
    stopped = []

    def stop():
        """As soon as something arrives, every process of the server stops."""
        if not list(server.folder.glob("crash/*/vmcore-incomplete")):
            return True
        listed = subprocess.run(["ps", "-eo", "pid,ppid"], check=True, stdout=subprocess.PIPE).stdout.decode()
        parents = dict(map(int, line.split()) for line in listed.split("\n")[1:] if line)
        family = {server.process.pid}
        for dummy in parents:
            family |= {pid for pid, parent in parents.items() if parent in family}
        stopped.extend(family)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return False

    try:
        assert capture.run(meanwhile=stop) == "reboot"
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert "sending vmcore" in reported(capture, device)["message"]


def test_what_hangs_is_ended_by_the_watch(capture, server):
    device = host_disk(capture)
    capture.plan["stall_limit"] = "6"
    # Other programs have this machine's CPU: nothing moves from when the collector hangs.
    capture.more = "work_done() { idle_work=0 just_sent=0; [ -e /hanging ] || last_disk=other; disk=same; }\n"
    capture.ssh_target(server)
    capture.stub("makedumpfile", MAKEDUMPFILE.replace("*-F*) ", "*-F*) echo > /hanging; sleep 1000; "))
    assert capture.run() == "reboot"
    assert reported(capture, device)["message"].endswith("nothing has moved for 6 seconds")


def test_a_kdump_pre_that_refuses_ends_in_final_action(capture, server):
    device = host_disk(capture)
    capture.plan["kdump_pre"] = capture.hook("no", "exit 3\n")
    capture.plan["kdump_post"] = capture.hook("post", "echo post >> /calls\n")
    capture.ssh_target(server)
    assert capture.run() == "poweroff"
    assert reported(capture, device)["message"] == "kdump_pre forbids the dump: /etc/kdump/no ended with exit code 3"
    assert not (server.folder / "crash").exists()
    assert "post" not in (capture.root / "calls").read_text()


def test_hooks_run_in_order_and_are_told_the_status(capture, server):
    device = host_disk(capture)
    for name in ("pre", "post", "emergency"):
        capture.plan["kdump_" + name] = capture.hook(name, 'echo "%s $*" >> /calls\n' % name)
        capture.hook(name + ".d/one", 'echo "%s.d $*" >> /calls; exit 9\n' % name)
    capture.ssh_target(server)
    (capture.root / "collector-exit").write_text("1")
    assert capture.run() == "reboot"
    calls = (capture.root / "calls").read_text().split("\n")[:-1]
    assert [call.strip() for call in calls if not call.startswith("makedumpfile")] == [
        "pre", "pre.d", "post.d 1", "post 1", "emergency.d", "emergency",
    ]  # fmt: skip
    assert reported(capture, device)["status"] == 1


def test_the_cluster_is_told_before_the_dump_and_all_the_time(capture, server):
    capture.plan["fence"] = "fence_kdump_send -p 7410 10.0.0.2 10.0.0.3"
    (capture.root / "etc/kdump/network-fence").write_text("")
    capture.stub("fence_kdump_send", '#!/bin/sh\necho "fence $*" >> /calls\nwhile :; do sleep 0.1; done\n')
    capture.ssh_target(server)
    assert capture.run() == "poweroff"
    calls = (capture.root / "calls").read_text().split("\n")
    assert "fence -p 7410 10.0.0.2 10.0.0.3" in calls and len(arrived(server)[1]) == 4


# --- on disks ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shell", SHELLS)
def test_a_dump_on_a_file_system(capture, shell):
    device = capture.disk("target", 24)
    capture.plan["report_at"] = "dump"
    capture.disk_target("dump", device)
    capture.disk_target("report", device, FAILED)
    assert capture.run(shell) == "poweroff", capture.console()
    name, files = capture.files(device, "var/crash")
    assert name.startswith("127.0.0.1-") and files["vmcore"] == VMCORE
    assert set(files) == {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt", "vmcore"}
    found = told(files)
    assert (found["status"], found["bytes"], found["directory"]) == (0, len(VMCORE), "/var/crash/" + name)
    assert found["target"] == {"kind": "filesystem", "where": device}
    names = [phase["name"] for phase in found["phases"]]
    assert names == "start modules device mount pre dmesg vmcore sync post log".split()


def test_a_target_that_is_full_is_told_and_the_dump_goes_to_the_root(capture):
    device = host_disk(capture)
    small = capture.disk("target", 2)
    capture.disk_target("dump", small)
    capture.disk_target("root", device)
    capture.plan["failure_action"] = "dump_to_rootfs"
    (capture.root / "vmcore").write_bytes(VMCORE * 3)
    assert capture.run() == "poweroff"
    found = reported(capture, device)
    assert "No space left on device" in found["message"] and found["target"]["where"] == small
    _name, files = capture.files(device, "var/crash")
    assert files["vmcore"] == VMCORE * 3 and told(files)["status"] == 0
    _name, files = capture.files(small, "var/crash")
    assert told(files)["status"] == 1 and {"vmcore-dmesg.txt", "vmcore-incomplete"} <= set(files)


def test_a_server_that_is_down_and_the_dump_goes_to_the_root(capture, server):
    device = host_disk(capture)
    capture.disk_target("root", device)
    capture.plan["failure_action"] = "dump_to_rootfs"
    stop_server(capture, server)
    assert capture.run() == "poweroff"
    assert "Connection refused" in reported(capture, device)["message"]
    name, files = capture.files(device, "var/crash")
    assert name.startswith("127.0.0.1-") and files["vmcore"] == VMCORE and told(files)["status"] == 0
    assert "makedumpfile -l -d 31 /vmcore " in re.sub(" --num-threads=[0-9]+", "", (capture.root / "calls").read_text())


def test_a_file_system_that_is_broken(capture):
    device = host_disk(capture)
    broken = capture.disk("target", 8)
    with open(broken, "r+b") as file:
        file.write(b"\xff" * 65536)
    capture.disk_target("dump", broken)
    capture.plan["failure_action"] = "poweroff"
    assert capture.run() == "poweroff"
    assert broken + " cannot be mounted" in reported(capture, device)["message"]


def test_a_disk_that_takes_no_more_behind_the_collectors_back(capture):
    """What was written is only lost when the kernel writes it out: the collector itself has succeeded by then."""
    device = host_disk(capture)
    thin = capture.folder / "thin"
    thin.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(thin)], check=True)
    try:
        (capture.folder / "target.disk").symlink_to(thin / "disk")
        target_device = capture.disk("target", 24)
        capture.disk_target("dump", target_device)
        (capture.root / "vmcore").write_bytes(VMCORE * 3)
        assert capture.run() == "reboot"
        found = reported(capture, device)
        assert found["status"] == 1 and "the vmcore could not be written out to the target" in found["message"], found
    finally:
        capture.close()
        subprocess.run(["umount", "-l", str(thin)], check=True)


def test_a_disk_that_is_not_there(capture):
    device = host_disk(capture)
    capture.disk_target("dump", "/dev/kdump-no-such")
    assert capture.run() == "reboot"
    assert "no device with the file system" in reported(capture, device)["message"]


def test_a_kdump_pre_that_refuses_is_reported_beside_the_dumps(capture):
    device = capture.disk("target", 24)
    capture.plan.update(report_at="dump", kdump_pre=capture.hook("no", "exit 1\n"))
    capture.disk_target("dump", device)
    capture.disk_target("report", device, FAILED)
    assert capture.run() == "poweroff"
    assert "kdump_pre forbids" in reported(capture, device)["message"]


def test_a_stream_on_a_raw_device(capture):
    device = capture.disk("raw", 8, "")
    capture.target("dump", kind="raw", device=device)
    assert capture.run() == "poweroff", capture.console()
    written = pathlib.Path(device).read_bytes()
    assert written[: len(VMCORE)] == VMCORE
    assert "--dump-dmesg" not in (capture.root / "calls").read_text()
    # capture.json, where raw_recovery.py looks for it.
    mark, line = written[-(-len(VMCORE) // 4096) * 4096 :].split(b"\n")[:2]
    found = json.loads(line.decode())
    beginning = hashlib.sha256(VMCORE[: 1 << 20]).hexdigest().encode()
    assert mark == b"vmcore.kdump capture.json " + beginning and (found["status"], found["bytes"]) == (0, len(VMCORE))
    assert found["target"] == {"kind": "raw", "where": device} and "vmcore" in [one["name"] for one in found["phases"]]


def test_a_raw_device_that_is_too_small(capture):
    device = host_disk(capture)
    capture.target("dump", kind="raw", device=capture.disk("raw", 1, ""))
    assert capture.run() == "reboot"
    found = reported(capture, device)
    assert "No space left on device" in found["message"] and found["bytes"] == 1 << 20
