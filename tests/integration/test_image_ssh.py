# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This machine's own ssh, as it gets into a capture image, logs in from there: nothing else of this machine is seen."""

import os
import stat
import subprocess

import pytest
from ssh_server import SshServer

from plugins.module_utils import conf
from plugins.module_utils._host.host import Host
from plugins.module_utils.image import contents, cpio, network, parts, plan_file, target

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot and device files need root")


class ThisHost(Host):
    """The machine itself, but for ssh's configuration, which is the test's."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def run(self, argv, **options):
        return super().run(
            argv[:1] + ["-F", str(self.config)] + argv[1:] if argv[:2] == ["ssh", "-G"] else argv, **options
        )


def lay_out(host, content, root):
    """The inputs of an image as files below a directory."""
    entries = [cpio.directory(name) for name in ("dev", "etc/kdump", "tmp", "usr/bin")]
    for name in [entry.name for entry in entries]:
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to("usr/" + name)
    for item in content.inputs.values():
        found = contents.entry(host, item)
        path = root / found.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISLNK(found.mode):
            path.symlink_to(found.data.decode())
        else:
            path.write_bytes(found.data)
            path.chmod(stat.S_IMODE(found.mode))
    os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    server = SshServer(tmp_path / "server")
    server.start([server.public("host")])
    yield server
    server.stop()


@pytest.fixture
def root(tmp_path):
    """The image's directory."""
    return tmp_path / "root"


@pytest.fixture
def image(server, root, tmp_path, monkeypatch):
    """Runs the image's ssh with the words, as the capture kernel does."""
    config = tmp_path / "config"
    known = server.folder / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, stderr=subprocess.DEVNULL)
    config.write_text("Port %d\nUserKnownHostsFile %s\n" % (server.port, known))
    way = network.Network("127.0.0.1", "127.0.0.1", "", [], [], [], [])
    monkeypatch.setattr(network, "observe", lambda host, addresses, dhcp: way)
    host = ThisHost(config)
    text = "ssh %s\nsshkey %s\n" % (server.address(), server.key_of("host"))
    found = target.of_conf(host, conf.parse(text), {})
    content = contents.Contents(host)
    tools = contents.Tools(host, content)
    parts.add_target(found, content, tools)
    tools.end()
    lay_out(host, content, root)
    environment = {"LD_LIBRARY_PATH": ":".join(content.library_folders), "PATH": "/usr/sbin:/usr/bin"}
    argv = ["/usr/bin/ssh", *plan_file.ssh_options(found).split(), server.address()]

    def ssh(*words, stdin=b""):
        return subprocess.run(
            ["chroot", str(root), *argv, *words],
            input=stdin,
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )

    return ssh


def test_it_logs_in_and_hands_over_a_stream(image, tmp_path):
    into = tmp_path / "vmcore-incomplete"
    done = image("umask 0077 && dd bs=512 of='%s'" % into, stdin=b"m" * 1_000_000)
    assert done.returncode == 0, done.stderr
    assert into.read_bytes() == b"m" * 1_000_000 and into.stat().st_mode & 0o777 == 0o600


def test_a_server_with_another_key_gets_nothing(image, root, tmp_path):
    known = root / "etc/kdump/ssh/known_hosts"
    other = (tmp_path / "server/key-host.pub").read_text().split()[1]
    name, kind, key = known.read_text().split()
    assert name.startswith("|1|") and key != other
    known.write_text("%s %s %s\n" % (name, kind, other))
    done = image("cat > %s" % (tmp_path / "stolen"), stdin=b"memory")
    assert done.returncode == 255 and b"Host key verification failed" in done.stderr
    assert not (tmp_path / "stolen").exists()
