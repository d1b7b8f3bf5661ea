# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real ssh-keygen makes the keys and the hashed files; what ssh itself would look up is asked of `ssh-keygen -F`."""

import pathlib
import subprocess

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import conf, ssh
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result, run
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
ED2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGd4SyAr0uFMLqvQ4hC3QkqW0HMfVYyI6fM6tB0m2E9R"


class FakeHost(Host):
    """Names by a table; ssh -G by a text; ssh-keygen is the real one."""

    def __init__(self, root, said="hostname server\nport 22\n", rc=0):
        super().__init__(str(root), self._program)
        self.said, self.rc = said, rc
        self.names = {"server": ["192.0.2.1"], "2001:db8::1": ["2001:db8::1"]}
        for name in ("ssh", "ssh-keygen"):
            self.write("/usr/bin/" + name, b"", 0o755)

    def _program(self, argv, **options):
        if argv[0] == "ssh":
            return Result(argv, self.rc, self.said, "line 1: Bad configuration option: xyz\n")
        return run(argv, **options)

    def resolve(self, name):
        return self.names.get(name, [])


def server_of(host, target="kdump@server"):
    return ssh.server_of(host, conf.parse("ssh %s\n" % target))


def refused(function, *arguments):
    with pytest.raises(KdumpError) as error:
        function(*arguments)
    return str(error.value)


# --- known_hosts -----------------------------------------------------------------------------------------------------
MATCHES = {
    "plain": ("server " + ED, "server"),
    "one of several": ("a,server,192.0.2.1 " + ED, "server"),
    "an address": ("a,192.0.2.1 " + ED, "192.0.2.1"),
    "upper case in the file": ("SERVER.Example " + ED, "server.example"),
    "upper case in the name": ("server " + ED, "SERVER"),
    "another port": ("[server]:2222 " + ED, "[server]:2222"),
    "wildcard": ("*.example " + ED, "server.example"),
    "one character": ("s?rver " + ED, "server"),
    "revoked": ("@revoked server " + ED, "server"),
    "authority": ("@cert-authority *.example " + ED, "server.example"),
    "tabs and a comment": ("\tserver\t" + ED.replace(" ", "\t") + " somebody@somewhere", "server"),
}
OTHERS = {
    "another name": ("server2 " + ED, "server"),
    "the port is missing": ("server " + ED, "[server]:2222"),
    "brackets are no pattern": ("[server]:2222 " + ED, "s"),
    "a dot is no pattern": ("serverxexample " + ED, "server.example"),
    "forbidden": ("*.example,!server.example " + ED, "server.example"),
    "commented out": ("#server " + ED, "server"),
    "a marker nobody knows": ("@other server " + ED, "server"),
    "no key": ("server ssh-ed25519", "server"),
    "a key of another kind": ("server ssh-rsa " + ED.split()[1], "server"),
    "a key that is no base64": ("server ssh-ed25519 !!!!", "server"),
    "a key of protocol 1": ("server 1024 35 15723", "server"),
    "a hash of another version": ("|2|c2FsdA==|c2FsdA== " + ED, "server"),
    "a hash that is no base64": ("|1|sal\udcff|hash " + ED, "server"),
    "nothing": ("", "server"),
}


@pytest.mark.parametrize("line, name", list(MATCHES.values()), ids=list(MATCHES))
def test_lines_that_hold_for_a_server(line, name):
    assert ssh.matching("# mine\n%s\nother %s\n" % (line, ED2), name) == [line.strip()]


@pytest.mark.parametrize("line, name", list(OTHERS.values()), ids=list(OTHERS))
def test_lines_that_do_not(line, name):
    assert ssh.matching("%s\nother %s\n" % (line, ED2), name) == []


@pytest.mark.parametrize("name", ["server.example", "[server.example]:2222", "2001:db8::1", "[2001:db8::1]:2222"])
def test_names_that_the_real_program_hashed_are_found_as_it_finds_them(tmp_path, name):
    file = tmp_path / "known_hosts"
    file.write_text("%s %s\nother %s\n@revoked %s %s\n" % (name, ED, ED, name, ED2))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, stderr=subprocess.DEVNULL)
    text = file.read_text()
    assert name not in text.replace("@revoked " + name, "")  # it hashes what has no marker
    found = ssh.matching(text, name)
    asked = subprocess.run(["ssh-keygen", "-F", name, "-f", str(file)], stdout=subprocess.PIPE, check=True)
    theirs = [line for line in asked.stdout.decode().split("\n") if line and not line.startswith("#")]
    # -F hashes the names of the lines with a marker for its output: what is found is compared by its keys.
    assert [line.split()[-1] for line in found] == [line.split()[-1] for line in theirs]
    assert len(found) == 2
    assert ssh.matching(text, name + "x") == []


@pytest.mark.parametrize(
    "lines, name, pinned",
    [
        ([], "server", False),
        (["server " + ED], "server", True),
        (["server " + ED, "@revoked * " + ED], "server", False),
        (["server " + ED, "@revoked * " + ED2], "server", True),
        (["@revoked server " + ED], "server", False),
        (["@cert-authority * " + ED], "server", True),
        (["@cert-authority * " + ED], "[server]:2222", False),  # certificates name hosts without ports
        (["@cert-authority * " + ED, "@revoked * " + ED], "server", False),
    ],
)
def test_a_server_is_known_by_a_key_that_is_not_revoked(lines, name, pinned):
    assert ssh.is_pinned(lines, name) is pinned


def test_keys_are_looked_for_where_ssh_looks(tmp_path):
    said = "hostname server\nport 2222\nglobalknownhostsfile /etc/ssh/known /etc/missing\nuserknownhostsfile ~/.ssh/mine none\n"
    host = FakeHost(tmp_path, said)
    server = server_of(host)
    assert server == ssh.Server(
        "kdump", "server", ["192.0.2.1"], 2222, "[server]:2222", ["/etc/ssh/known", "/etc/missing", "/root/.ssh/mine"]
    )
    assert "No host key of the dump server is known as [server]:2222" in refused(ssh.pinned_keys, host, server)
    host.write("/etc/ssh/known", ("[server]:2222 %s\nserver %s\n" % (ED, ED2)).encode())
    host.write("/root/.ssh/mine", ("[server]:2222 %s\n[server]:2222 %s\n" % (ED, ED2)).encode())
    assert ssh.pinned_keys(host, server) == ["[server]:2222 " + ED, "[server]:2222 " + ED2]


# --- the server ------------------------------------------------------------------------------------------------------
def test_without_configuration_it_is_port_22_and_the_usual_files(tmp_path):
    host = FakeHost(tmp_path)
    host.remove("/usr/bin/ssh")
    server = server_of(host)
    assert (server.port, server.key_name) == (22, "server")
    assert "/etc/ssh/ssh_known_hosts" in server.known_hosts and "/root/.ssh/known_hosts" in server.known_hosts


def test_an_address_of_ipv6_stands_for_itself(tmp_path):
    server = server_of(FakeHost(tmp_path, "hostname 2001:db8::1\nport 22\n"), "kdump@2001:db8::1")
    assert (server.addresses, server.key_name) == (["2001:db8::1"], "2001:db8::1")


def test_the_name_of_the_keys_can_be_another(tmp_path):
    assert server_of(FakeHost(tmp_path, "hostname server\nport 2222\nhostkeyalias keys\n")).key_name == "keys"


REFUSED = {
    "alias": ("hostname server.example\n", "kdump@server", "server is an alias in ssh's configuration"),
    "proxy": ("hostname server\nproxyjump a\n", "kdump@server", "reached through another server"),
    "proxy command": ("hostname server\nproxycommand nc %h\n", "kdump@server", "reached through another server"),
    "unknown": ("hostname nobody\n", "kdump@nobody", "The dump server nobody has no address"),
}


@pytest.mark.parametrize("said, target, message", list(REFUSED.values()), ids=list(REFUSED))
def test_servers_that_are_refused(tmp_path, said, target, message):
    assert message in refused(server_of, FakeHost(tmp_path, said), target)


def test_no_proxy_is_none(tmp_path):
    assert server_of(FakeHost(tmp_path, "hostname server\nproxycommand none\n")).port == 22


def test_a_broken_configuration_is_told(tmp_path):
    assert "Bad configuration option: xyz" in refused(server_of, FakeHost(tmp_path, "", 255))


def test_the_real_ssh_is_understood_and_takes_the_options(tmp_path):
    host = FakeHost(tmp_path)
    real = subprocess.run(
        ["ssh", "-F", "/dev/null", "-p", "2222", "-G", "kdump@server"], stdout=subprocess.PIPE, check=True
    )
    host.said = real.stdout.decode()
    server = server_of(host)
    assert (server.port, server.key_name) == (2222, "[server]:2222")
    assert "/etc/ssh/ssh_known_hosts" in server.known_hosts
    host.write("/root/key", b"", 0o600)
    words = ssh.options(host.path("/root/key"), "/k/known", server.key_name, 2222, 30)
    shown = subprocess.run(
        ["ssh"] + words + ["-G", "kdump@192.0.2.1"], stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    for line in (
        "port 2222", "hostkeyalias [server]:2222", "userknownhostsfile /k/known", "batchmode yes",
        "globalknownhostsfile /dev/null", "identitiesonly yes", "connecttimeout 30", "serveraliveinterval 15",
    ):  # fmt: skip
        assert line + "\n" in shown
    assert "identityfile %s\n" % host.path("/root/key") in shown
    assert "stricthostkeychecking true\n" in shown or "stricthostkeychecking yes\n" in shown


# --- the key ---------------------------------------------------------------------------------------------------------
def key(host, *words, passphrase=""):
    path = pathlib.Path(host.root) / "root" / "key"
    path.parent.mkdir(exist_ok=True)
    argv = ["ssh-keygen", "-q", "-N", passphrase, "-f", str(path)]
    subprocess.run(argv + list(words), check=True)
    return path


@pytest.mark.parametrize("kind", [["-t", "ed25519"], ["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-m", "PEM"]])
def test_a_key_without_a_passphrase_will_do(tmp_path, kind):
    host = FakeHost(tmp_path)
    key(host, *kind)
    assert ssh.check_key(host, "/root/key") == []


def test_keys_that_will_not(tmp_path):
    host = FakeHost(tmp_path)
    assert "There is no ssh key /root/key." in str(ssh.check_key(host, "/root/key")[0])
    path = key(host, "-t", "ed25519", passphrase="secret")
    assert "protected by a passphrase" in str(ssh.check_key(host, "/root/key")[0])
    path.chmod(0o640)
    assert "open to others" in str(ssh.check_key(host, "/root/key")[0])
    path.write_text("garbage")
    path.chmod(0o600)
    assert "The ssh key /root/key cannot be read: " in str(ssh.check_key(host, "/root/key")[0])


VALID = {  # ssh-keygen's -V: how far off it is from being too old
    "always:forever": False,
    "20200101:20250101": True,
    "always:20250101": True,
    "20200101:forever": False,
    "20200101:20350101": False,
}


@pytest.mark.parametrize("valid", VALID)
def test_a_certificate_that_has_expired_is_refused(tmp_path, valid):
    host = FakeHost(tmp_path)
    path = key(host, "-t", "ed25519")
    argv = ["ssh-keygen", "-q", "-s", str(path), "-I", "kdump", "-n", "kdump", "-V", valid, str(path) + ".pub"]
    subprocess.run(argv, check=True)
    assert path.with_name("key-cert.pub").is_file()
    host.now = lambda: 1764000000.0  # 2025-11-24
    assert ["/root/key-cert.pub has expired, at 202" in str(one) for one in ssh.check_key(host, "/root/key")] == (
        [True] if VALID[valid] else []
    )


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_a_certificate_expires_by_the_second_whatever_the_time_zone(tmp_path, zone, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    host = FakeHost(tmp_path)
    path = key(host, "-t", "ed25519")
    argv = ["ssh-keygen", "-q", "-s", str(path), "-I", "kdump", "-V", "20200101:20251124160000", str(path) + ".pub"]
    subprocess.run(argv, check=True)
    monkeypatch.setenv("TZ", zone)
    for now, refused in ((1764000000.0, 1), (1763999999.0, 0)):  # 2025-11-24T16:00:00Z
        host.now = lambda now=now: now
        assert len(ssh.check_key(host, "/root/key")) == refused


def test_a_certificate_that_cannot_be_read_is_the_servers_to_judge(tmp_path):
    host = FakeHost(tmp_path)
    key(host, "-t", "ed25519").with_name("key-cert.pub").write_text("garbage")
    assert ssh.check_key(host, "/root/key") == []


def test_a_key_that_needs_its_token_is_refused(tmp_path):
    host = FakeHost(tmp_path)
    host.write("/root/key", b"x", 0o600)
    host.run = lambda argv, **options: Result(argv, 0, "sk-ssh-ed25519@openssh.com AAAA\n", "")
    assert "security token" in str(ssh.check_key(host, "/root/key")[0])
