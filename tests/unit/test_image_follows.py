# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The image for a dump server follows all that a capture needs of this host: each change is another digest, so `stale`.

All that observes an image is real here; only programs are tables.
"""

import json

import pytest
from image_host import PCI, RELEASE, Machine, conf_of

from ansible_collections.vmcore.kdump.plugins.module_utils.engines import native
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build, store
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
ROTATED = ED[:-4] + "AAAA"
KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
KEY = "/root/.ssh/kdump_id_rsa"
CONF = "ssh kdump@dumps\n"


class Linked(Machine):
    """A machine with a card, whose dump server lies behind a gateway."""

    def __init__(self, root):
        super().__init__(root)
        self.whole()
        self.conf, self.settings = CONF, {}
        self.address, self.mac, self.mtu, self.gateway, self.port = (
            "192.0.2.5",
            "52:54:00:12:34:56",
            1500,
            "192.0.2.1",
            "22",
        )
        device = PCI + "/0000:00:03.0/virtio0"
        self.driver(device, "virtio_net")
        self.mkdir(device + "/net/eth0")
        self.link("/sys/class/net/eth0", device + "/net/eth0")
        self.link(device + "/net/eth0/device", device)
        self.write(
            "/lib/modules/%s/modules.builtin" % RELEASE, "kernel/fs/ext4/ext4.ko\nkernel/drivers/net/virtio_net.ko\n"
        )
        self.write("/etc/hosts", "198.51.100.7 dumps\n203.0.113.9 other\n")
        program = self.host.read("/usr/bin/mount")
        for name in ("ip", "ssh", "dd", "ssh-keygen"):
            self.write("/usr/bin/" + name, program + name.encode(), 0o755)
        self.programs.update({"ip": self.ip, "ssh": self.ssh, "ssh-keygen": (0, ED + "\n")})
        self.write(KEY, "S3CRET", 0o600)
        self.write(KNOWN_HOSTS, "dumps %s\n" % ED)

    def ip(self, argv):
        words = [word for word in argv[1:] if not word.startswith("-")]
        if words[:2] == ["route", "get"]:
            route = {"dst": words[2], "dev": "eth0", "prefsrc": self.address, "gateway": self.gateway, "flags": []}
            return 0, json.dumps([route])
        if words[0] == "addr":
            address = {"family": "inet", "local": self.address, "prefixlen": 24, "scope": "global"}
            return 0, json.dumps([{"ifname": "eth0", "addr_info": [address]}])
        if words[0] == "link":
            link = {"ifname": "eth0", "mtu": self.mtu, "link_type": "ether", "address": self.mac}
            return 0, json.dumps([link])
        return 0, "[]"

    def ssh(self, argv):
        text = "hostname %s\nport %s\nglobalknownhostsfile %s\n" % (argv[-1].rpartition("@")[2], self.port, KNOWN_HOSTS)
        return 0, text

    def digest(self):
        return build.wanted_digest(self.host, RELEASE, conf_of(self.conf), self.settings)


@pytest.fixture
def machine(tmp_path):
    return Linked(tmp_path)


def set_to(**values):
    def change(machine):
        for name, value in values.items():
            assert getattr(machine, name) != value
            setattr(machine, name, value)

    return change


def write(path, data, mode=0o644):
    return lambda machine: machine.write(path, data, mode)


FOLLOWED = {
    "the key": write(KEY, "a new private key", 0o600),
    "another key": lambda machine: (machine.write("/root/k", "k", 0o600), set_to(conf=CONF + "sshkey /root/k\n")(machine)),
    "the server's host key": write(KNOWN_HOSTS, "dumps %s\n" % ROTATED),
    "a second host key of the server": write(KNOWN_HOSTS, "dumps %s\ndumps %s\n" % (ED, ROTATED)),
    "a key of the server that is revoked": write(KNOWN_HOSTS, "dumps %s\n@revoked dumps %s\n" % (ED, ROTATED)),
    "this host's address": set_to(address="192.0.2.6"),
    "its card": set_to(mac="52:54:00:12:34:57"),
    "its MTU": set_to(mtu=9000),
    "the gateway": set_to(gateway="192.0.2.254"),
    "the server's address": write("/etc/hosts", "198.51.100.8 dumps\n"),
    "the server's user": set_to(conf="ssh crash@dumps\n"),
    "the path": set_to(conf=CONF + "path /srv/crash\n"),
    "the collector": set_to(conf=CONF + "core_collector makedumpfile -F -c -d 31\n"),
    "what a failure leads to": set_to(conf=CONF + "failure_action poweroff\n"),
    "the kernel": write("/boot/vmlinuz-" + RELEASE, b"another kernel"),
    "where the kernel is": lambda machine: (
        machine.write("/srv/boot/vmlinuz-" + RELEASE, b"a third kernel"),
        set_to(settings={"KDUMP_BOOTDIR": "/srv/boot"})(machine),
    ),
    "ssh itself": lambda machine: machine.write("/usr/bin/ssh", machine.host.read("/usr/bin/ssh") + b"2", 0o755),
    "its card's driver": lambda machine: machine.write(
        "/lib/modules/%s/modules.builtin" % RELEASE, "kernel/fs/ext4/ext4.ko\n") or machine.write(
        "/lib/modules/%s/modules.dep" % RELEASE, machine.host.read_text("/lib/modules/%s/modules.dep" % RELEASE)
        + "kernel/virtio-net.ko:\n") or machine.write("/lib/modules/%s/kernel/virtio-net.ko" % RELEASE, b"\x7fELF net"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_change_is_another_image(machine, name):
    before = machine.digest()
    assert machine.digest() == before
    FOLLOWED[name](machine)
    assert machine.digest() != before


def test_the_port_is_one_too(machine):
    machine.write(KNOWN_HOSTS, "dumps %s\n[dumps]:2222 %s\n" % (ED, ED))
    before = machine.digest()
    machine.port = "2222"
    assert machine.digest() != before


LEFT_ALONE = {
    "another server's host key": write(KNOWN_HOSTS, "# ours\nother %s\ndumps %s\n" % (ROTATED, ED)),
    "another server's address": write("/etc/hosts", "198.51.100.7 dumps\n203.0.113.10 other\n"),
    "a comment": set_to(conf="# by hand\n" + CONF),
    "how the capture kernel is loaded": set_to(settings={"KDUMP_COMMANDLINE_APPEND": "nr_cpus=2"}),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_a_capture_does_not_need_changes_nothing(machine, name):
    before = machine.digest()
    LEFT_ALONE[name](machine)
    assert machine.digest() == before


REFUSED = {  # what the host lacks: what is said of it, as a reason for `unprotected`
    "no host key": (write(KNOWN_HOSTS, "other %s\n" % ED), "No host key of the dump server is known as dumps"),
    "no address": (write("/etc/hosts", ""), "has no address that this host can find"),
    "no key": (lambda machine: machine.host.remove(KEY), "There is no ssh key"),
    "a key that others can read": (write(KEY, "k", 0o644), "open to others"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_without_these_there_is_no_image_and_a_remedy(machine, name):
    change, said = REFUSED[name]
    change(machine)
    with pytest.raises(KdumpError, match=said) as caught:
        machine.digest()
    assert all(problem.hint for problem in caught.value.problems)
    assert "S3CRET" not in str(caught.value)


def test_the_key_is_in_no_manifest(machine):
    recipe = build.observe(machine.host, RELEASE, conf_of(machine.conf), {})
    told = json.dumps([recipe.target.manifest, [item.source for item in recipe.inputs]])
    assert "S3CRET" not in told


# --- without a name server -------------------------------------------------------------------------------------------
def without_names(machine):
    """A host with its image, whose name server then is gone; the digest of that image."""
    machine.write("/etc/kdump.conf", machine.conf)
    build.decide(machine.host, RELEASE, conf_of(machine.conf), {}).apply(machine.host)
    before = machine.digest()
    assert store.current(machine.host, RELEASE).digest == before
    assert native.configuration(machine.host).conf.warnings == []
    machine.write("/etc/hosts", "")
    return before


def test_a_name_that_is_not_resolved_now_changes_nothing_and_is_a_warning(machine):
    before = without_names(machine)
    assert machine.digest() == before
    (warning,) = native.configuration(machine.host).conf.warnings
    assert "The name dumps is not resolved now: whether its address is still" in warning.message and warning.hint
    machine.write("/etc/hosts", "198.51.100.8 dumps\n")
    assert machine.digest() != before
    assert native.configuration(machine.host).conf.warnings == []


def test_all_other_changes_are_still_seen_without_a_name_server(machine):
    before = without_names(machine)
    machine.gateway = "192.0.2.254"
    assert machine.digest() != before
    machine.conf = "ssh kdump@elsewhere\n"
    machine.write(KNOWN_HOSTS, "elsewhere %s\n" % ED)
    with pytest.raises(KdumpError, match="elsewhere has no address that this host can find"):
        machine.digest()


@pytest.mark.parametrize("text", ["", "[", "[]", '{"target": null}', '{"target": {"addresses": {"dumps": 1}}}'])
def test_a_manifest_that_tells_no_address_is_none(machine, text):
    without_names(machine)
    path = store.current(machine.host, RELEASE).path
    machine.write(path[: -len(".img")] + ".json", text)
    with pytest.raises(KdumpError, match="has no address that this host can find"):
        machine.digest()
