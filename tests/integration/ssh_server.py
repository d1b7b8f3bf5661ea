# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real sshd on 127.0.0.1, of whoever runs the tests, with one key for each host that may log in."""

import contextlib
import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


def sshd_path():
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class SshServer:
    """`start()` it with the lines of its authorized_keys; `ssh()` and `scp()` log in with a host's key."""

    def __init__(self, folder, settings=()):
        self.folder = pathlib.Path(str(folder))
        self.settings = list(settings)
        self.user = getpass.getuser()
        self.process = None
        self.popen_prefix = []  # what runs sshd elsewhere than here
        self.port = 0
        self.key_of("server")
        self.sftp_server = next((path for path in SFTP_SERVERS if os.path.exists(path)), "internal-sftp")

    def key_of(self, name):
        """The path of a private key."""
        path = self.folder / ("key-" + name)
        if not path.exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        return path

    def public(self, name):
        return self.key_of(name).with_name("key-%s.pub" % name).read_text().strip()

    def start(self, authorized):
        keys = self.folder / "authorized_keys"
        keys.write_text("".join(line + "\n" for line in authorized))
        keys.chmod(0o600)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's own, which its unit makes
        config = self.folder / "sshd_config"
        lines = [
            "HostKey %s" % self.key_of("server"), "PidFile none", "AuthorizedKeysFile %s" % keys, "StrictModes no",
            "UsePAM no", "PermitRootLogin yes", "PasswordAuthentication no", "Subsystem sftp %s" % self.sftp_server,
        ]  # fmt: skip
        config.write_text("".join(line + "\n" for line in lines + self.settings))
        self.start_with(["-f", str(config)])

    def start_with(self, arguments):
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # Its log goes to a file: a pipe that nobody reads would stop it.
        with (self.folder / "sshd.log").open("wb") as log:
            listen = ["-p", str(self.port), "-o", "ListenAddress=127.0.0.1"]
            argv = [*self.popen_prefix, sshd_path(), "-D", "-e", *listen, *arguments]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        known = self.public("server").split()
        (self.folder / "known_hosts").write_text("[127.0.0.1]:%d %s %s\n" % (self.port, known[0], known[1]))
        self._wait()

    def _wait(self):
        for dummy in range(1200):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen:\n" + (self.folder / "sshd.log").read_text())

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def options(self, name):
        """kdump.sh's own options, and those that keep this user's configuration out of it."""
        return [
            "-i", str(self.key_of(name)), "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=%s" % (self.folder / "known_hosts"),
        ]  # fmt: skip

    def address(self):
        return "%s@127.0.0.1" % self.user

    def ssh_argv(self, name, *words):
        return ["ssh", "-p", str(self.port), *self.options(name), self.address(), *words]

    def ssh(self, name, *words, stdin=b""):
        """The finished process of a command; its output as bytes."""
        return subprocess.run(
            self.ssh_argv(name, *words), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )

    def scp(self, name, source, target, *options):
        """scp of a file to a path on the server."""
        argv = ["scp", "-P", str(self.port), *options, *self.options(name), str(source)]
        return subprocess.run(
            argv + ["%s:%s" % (self.address(), target)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
