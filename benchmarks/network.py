# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump server and its hosts on this machine: network namespaces on one bridge, a real sshd, a key for each host. As root."""

import contextlib
import pathlib
import shutil
import subprocess
import time
from typing import Iterator, List

NETWORK = "10.231.0"


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(argv)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Network:
    """The namespaces `kdump-server` and `kdump-0` to `kdump-<hosts - 1>`, the server at 10.231.0.1."""

    def __init__(self, folder: pathlib.Path, hosts: int) -> None:
        self.folder = folder
        self.hosts = [f"kdump-{number}" for number in range(hosts)]
        self.address = f"{NETWORK}.1"
        for name in ("server", *self.hosts):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
        (folder / "known_hosts").write_text(f"{self.address} {self.public('server')}\n")

    def public(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text().strip()

    def ssh(self, name: str, *command: str) -> List[str]:
        """The arguments of ssh from a host, with the options of the capture kernel."""
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.folder}/known_hosts",
            "IdentitiesOnly=yes",
        ]
        words = [word for option in options for word in ("-o", option)]
        enter = ["ip", "netns", "exec", name, "ssh", "-F", "/dev/null", "-T", "-i", str(self.folder / name)]
        return [*enter, *words, f"root@{self.address}", *command]

    @contextlib.contextmanager
    def up(self, authorized: List[str]) -> Iterator[None]:
        """The network, and sshd with these lines of authorized_keys."""
        (self.folder / "authorized_keys").write_text("".join(line + "\n" for line in authorized))
        with contextlib.ExitStack() as stack:
            self._server(stack)
            for number, name in enumerate(self.hosts):
                self._host(stack, name, number)
            self._sshd(stack)
            yield

    def _server(self, stack: contextlib.ExitStack) -> None:
        run("ip", "netns", "add", "kdump-server")
        stack.callback(run, "ip", "netns", "delete", "kdump-server")
        for command in ("add br0 type bridge", "set br0 up", "set lo up"):
            run("ip", "-n", "kdump-server", "link", *command.split())
        run("ip", "-n", "kdump-server", "address", "add", f"{self.address}/24", "dev", "br0")

    def _host(self, stack: contextlib.ExitStack, name: str, number: int) -> None:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
        port = ["peer", "name", f"port{number}", "netns", "kdump-server"]
        run("ip", "-n", name, "link", "add", "eth0", "type", "veth", *port)
        run("ip", "-n", "kdump-server", "link", "set", f"port{number}", "master", "br0", "up")
        run("ip", "-n", name, "address", "add", f"{NETWORK}.{number + 10}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")

    def _sshd(self, stack: contextlib.ExitStack) -> None:
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = {
            "HostKey": self.folder / "server", "AuthorizedKeysFile": self.folder / "authorized_keys", "PidFile": "none",
            "ListenAddress": self.address, "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "yes",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd"
        with (self.folder / "sshd.log").open("wb") as log:
            argv = ["ip", "netns", "exec", "kdump-server", sshd, "-D", "-e", "-f", "/dev/null", *words]
            process = stack.enter_context(subprocess.Popen(argv, stdout=log, stderr=log))
        stack.callback(process.terminate)
        for _attempt in range(100):
            answer = subprocess.run(self.ssh(self.hosts[0], "true"), capture_output=True, check=False)
            if answer.returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"sshd does not let {self.hosts[0]} in: {answer.stderr.decode()}")
