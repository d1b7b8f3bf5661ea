# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The network of the capture kernel, with the real `ip` in network namespaces.

Each case sets up a host in a namespace, observes it, deletes it, and runs the piece of /init that brings up the
network in a bare namespace whose cards have the same MACs but other names. Then the server must answer, and must see
the address that was foreseen. Cards are veth pairs, whose sysfs is dressed up as a card's. A kind of device that this
kernel has not is left out by name; tests/unit/test_image_network.py holds its plan.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from plugins.module_utils import problems
from plugins.module_utils._host.commands import Result, run
from plugins.module_utils._host.host import Host, Kernel
from plugins.module_utils.image import init, network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

IP = shutil.which("ip") or "ip"
PREFIX = f"kdump{os.getpid()}"
HOST, CAPTURE, SWITCH, SERVER = (f"{PREFIX}-{name}" for name in ("host", "capture", "switch", "server"))
MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
PLACE = "/sys/devices/breakpoint/virtio{number}"  # a directory that every sysfs has; virtio is numbered anew
# The shell, and whose ip. Every shell's way through the script is in tests/unit/test_image_init_network.py.
SHELLS = {"busybox": ("busybox sh", "busybox"), "dash": ("dash", "iproute2")}
SET_NO_DAD = "for c in all default; do echo 0 > /proc/sys/net/ipv6/conf/$c/accept_dad; done"

# What a server says to whoever connects: the address that it sees.
SAY_WHO = """
import socket
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("::", 7))
listener.listen(5)
print("ready", flush=True)
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].replace("::ffff:", "").encode())
    connection.close()
"""
ASK_WHO = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), timeout=5) as connection:
    print(connection.recv(100).decode())
"""
LOOK = """
import json, os
top, found = "/sys/class/net/", {}
def read(path):
    try:
        return open(path).read()
    except OSError:
        return ""
for name in os.listdir(top):
    entry = found[name] = {"lower": [one for one in os.listdir(top + name) if one.startswith("lower_")], "files": {}}
    for path in ["address", "addr_assign_type", "dev_port"] + [
        folder + "/" + one
        for folder in ("bonding", "bonding_slave", "bridge") if os.path.isdir(top + name + "/" + folder)
        for one in os.listdir(top + name + "/" + folder)
    ]:
        entry["files"][path] = read(top + name + "/" + path)
print(json.dumps(found))
"""


def within(namespace, script, check=True):
    """The finished process of a shell script in a network namespace."""
    argv = [IP, "netns", "exec", namespace, "sh", "-ec", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert not check or done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done


def has(kind, more=""):
    """Whether this kernel has a kind of network device."""
    name = f"{PREFIX}-probe"
    subprocess.run([IP, "netns", "add", name], check=True)
    try:
        return (
            within(
                name, f"ip link add eth0 type veth peer name eth1; ip link add x {more} type {kind}", False
            ).returncode
            == 0
        )
    finally:
        subprocess.run([IP, "netns", "del", name], check=True)


def add(*namespaces):
    for namespace in namespaces:
        subprocess.run([IP, "netns", "add", namespace], check=True)
        within(namespace, f"{SET_NO_DAD}; ip link set lo up")


def delete(*namespaces):
    for namespace in namespaces:
        subprocess.run([IP, "netns", "del", namespace], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server():
    """A switch that is a router too, and a server behind it; the switch's bridge has a port for each card."""
    add(SWITCH, SERVER)
    subprocess.run(
        [IP, "link", "add", "outer", "netns", SWITCH, "type", "veth", "peer", "name", "eth0", "netns", SERVER], check=True
    )  # fmt: skip
    within(SWITCH, """
        ip link add sw type bridge forward_delay 0
        ip link set sw up; ip link set outer up
        ip addr add 192.0.2.1/24 dev sw; ip addr add 2001:db8:1::1/64 dev sw; ip addr add fe80::1/64 dev sw
        ip addr add 203.0.113.254/32 dev sw
        ip addr add 198.51.100.1/24 dev outer; ip addr add 2001:db8:2::1/64 dev outer
        ip route add 203.0.113.0/24 dev sw
        ip route add 10.9.9.9/32 dev sw
        echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    """)  # fmt: skip
    within(SERVER, """
        ip link set eth0 up
        ip addr add 198.51.100.7/24 dev eth0; ip addr add 198.51.100.8/24 dev eth0; ip addr add 2001:db8:2::7/64 dev eth0
        ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8:2::1
    """)  # fmt: skip
    yield from listening(SWITCH, SERVER)


def listening(*namespaces):
    """Whoever connects to one of the namespaces is told who he is."""
    programs = [[IP, "netns", "exec", name, sys.executable, "-c", SAY_WHO] for name in namespaces]
    processes = [subprocess.Popen(program, stdout=subprocess.PIPE) for program in programs]
    try:
        for process in processes:
            process.stdout.readline()
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        delete(*namespaces)


def plug(namespace, names, tagged=False):
    """Cards with MACS into a namespace, each with its port of the switch."""
    for number, (name, mac) in enumerate(zip(names, MACS, strict=False)):
        within(SWITCH, f"ip link del port{number} 2> /dev/null || true")
        argv = ["link", "add", f"port{number}", "netns", SWITCH, "type", "veth", "peer", "name", name]
        subprocess.run([IP, *argv, "address", mac, "netns", namespace], check=True)
        within(SWITCH, f"ip link set port{number} mtu 9000 master sw up")


class Observed:
    """A Host for a namespace: the real answers of ip, a copy of its sysfs. Its cards are told to be real ones."""

    def __init__(self, root, cards, permanent):
        """`permanent`: the cards' MACs are those that they were made with (known), ip tells those (told), or nobody."""
        self.root, self.cards, self.permanent = root, cards, permanent
        found = json.loads(within(HOST, f"{sys.executable} - <<'EOF'\n{LOOK}\nEOF").stdout)
        for name, entry in found.items():
            self.write(f"/sys/class/net/{name}/ifindex")
            for path, text in entry["files"].items():
                self.write(f"/sys/class/net/{name}/{path}", text)
            for lower in entry["lower"]:
                self.link(f"/sys/class/net/{name}/{lower}", f"/sys/class/net/{lower[len('lower_') :]}")
        for number, name in enumerate(cards):
            place = PLACE.format(number=number)
            self.link(f"{place}/driver", "/sys/bus/virtio/drivers/virtio_net")
            self.link(f"/sys/class/net/{name}/device", place)
            if permanent == "known":
                self.write(f"/sys/class/net/{name}/addr_assign_type", "0\n")
        self.link("/sys/bus/virtio/drivers/virtio_net/module", "/sys/module/virtio_net")
        self.write("/usr/sbin/ip", "", 0o755)
        self.host = Host(str(root), self.run, Kernel("6.1", "x86_64"))

    def write(self, path, text="", mode=0o644):
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)
        real.chmod(mode)

    def link(self, path, target):
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.symlink_to(target)

    def run(self, argv, **options):
        result = run([IP, "netns", "exec", HOST, *argv], **options)
        if argv[:2] != ["ip", "-j"] or "link" not in argv or result.rc != 0:
            return result
        links = json.loads(result.out)
        for link in links:
            if link.get("linkinfo", {}).get("info_kind") == "veth" and link["ifname"] in self.cards:
                del link["linkinfo"]["info_kind"]
                own = MACS[self.cards.index(link["ifname"])]
                if self.permanent == "told" and own != link["address"]:
                    link["permaddr"] = own
        return Result(argv, result.rc, json.dumps(links), result.err)


class Lab:
    def __init__(self, tmp_path):
        self.tmp_path = tmp_path

    def observe(self, setup, addresses, cards=("eth0", "eth1"), dhcp=False, permanent="known"):
        """What is observed of a host that a script has set up; the host is gone afterwards, as after a panic."""
        add(HOST)
        try:
            plug(HOST, cards)
            within(HOST, setup)
            return network.observe(
                Observed(pathlib.Path(tempfile.mkdtemp(dir=self.tmp_path)), cards, permanent).host,
                list(addresses),
                dhcp,
            )
        finally:
            delete(HOST)

    def capture(self, found, shell, cards=("eth7", "eth0"), before="", after="", limit=5):
        """Run the piece of /init in a bare namespace: its exit code, and what it printed."""
        command, tools = SHELLS[shell]
        folder = self.tmp_path / shell
        for name in ("tmp", "run", "etc/kdump", "bin"):
            (folder / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        (folder / "bin/ip").symlink_to(busybox if tools == "busybox" else IP)
        (folder / "bin/udhcpc").symlink_to(busybox)
        files = {"etc/kdump/network": found.text.encode(), **{name: data for name, data, _mode in found.files}}
        for name, data in files.items():
            text = data.decode().replace("/run/", f"{folder}/run/").replace("#!/bin/sh", f"#!{shutil.which('sh')}")
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        text = init.SCRIPT.rstrip().removesuffix("main")
        for name in ("tmp", "run", "etc/kdump"):
            text = text.replace(f"/{name}/", f"{folder}/{name}/")
        text = text.replace("export PATH=", f"export PATH={folder}/bin:")
        text = text.replace("use_target() { :; }", f"use_target() {{ :; }}\ndevice_limit={limit}")
        script = folder / "script"
        script.write_text(f"{text}\nphase_start=0 phases=\nbring_up_network\nresult=$?\n{after}\n"
                          'echo "host_address=$host_address phases=$phases"\nexit $result\n')  # fmt: skip
        delete(CAPTURE)
        subprocess.run([IP, "netns", "add", CAPTURE], check=True)
        plug(CAPTURE, cards)
        return within(CAPTURE, f"{before}\n{command} {script}", check=False)


@pytest.fixture
def lab(tmp_path, server):
    yield Lab(tmp_path)
    delete(HOST, CAPTURE)


def seen_by_server(address):
    """The address that the server sees when the capture kernel connects to it."""
    return within(CAPTURE, f"{sys.executable} -c '{ASK_WHO}' {address}").stdout.strip()


PLAIN = "ip link set eth0 up; ip addr add 192.0.2.5/24 dev eth0; ip route add default via 192.0.2.1\n"
PLAIN6 = "ip link set eth0 up; ip addr add 2001:db8:1::5/64 dev eth0\n"
BRIDGE = """
ip link add br0 type bridge forward_delay 0; ip link set eth0 master br0; ip link set eth0 up
ip link add tap0 type veth peer name guest; ip link set tap0 master br0 up
ip link set br0 up; ip addr add 192.0.2.5/24 dev br0; ip route add default via 192.0.2.1
"""
# name: (how the host is set up, the server's addresses, the one taken, the address that the server sees)
CASES = {
    "a default gateway": (PLAIN, ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "a server on the link": (
        "ip link set eth0 up; ip addr add 192.0.2.5/24 dev eth0", ["192.0.2.1"], "192.0.2.1", "192.0.2.5"),
    "a gateway outside the own network": (
        "ip link set eth0 up; ip addr add 10.9.9.9/32 dev eth0; ip route add 203.0.113.254 dev eth0\n"
        "ip route add default via 203.0.113.254", ["198.51.100.7"], "198.51.100.7", "10.9.9.9"),
    "a static route and two addresses": (
        "ip link set eth0 up; ip addr add 192.0.2.9/24 dev eth0; ip addr add 192.0.2.5/24 dev eth0\n"
        "ip route add 198.51.100.0/24 via 192.0.2.1 src 192.0.2.5", ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "the address of another device": (
        PLAIN.replace("default", "198.51.100.0/24 src 10.9.9.9").replace(
            "ip route", "ip addr add 10.9.9.9/32 dev lo; ip route"),
        ["198.51.100.7"], "198.51.100.7", "10.9.9.9"),
    "the second card": (
        PLAIN.replace("eth0", "eth1"), ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "only the second address has a route": (
        "ip link set eth0 up; ip addr add 192.0.2.5/24 dev eth0; ip route add 198.51.100.8 via 192.0.2.1",
        ["2001:db8:2::7", "198.51.100.7", "198.51.100.8"], "198.51.100.8", "192.0.2.5"),
    "a rule by source address": (
        "ip link set eth0 up; ip link set eth1 up; ip addr add 192.0.2.5/24 dev eth0\n"
        "ip route add default via 192.0.2.99; ip rule add from 192.0.2.5 table 9\n"
        "ip route add default via 192.0.2.1 dev eth1 onlink table 9", ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "an MTU": (PLAIN + "ip link set eth0 mtu 1400", ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "IPv6 by a global gateway": (
        PLAIN6 + "ip -6 route add default via 2001:db8:1::1", ["2001:db8:2::7"], "2001:db8:2::7", "2001:db8:1::5"),
    "IPv6 by a link-local gateway": (
        PLAIN6 + "ip -6 route add default via fe80::1 dev eth0", ["2001:db8:2::7"], "2001:db8:2::7", "2001:db8:1::5"),
    "IPv6 on the link": (PLAIN6, ["2001:db8:1::1"], "2001:db8:1::1", "2001:db8:1::5"),
    "a bridge with a guest": (BRIDGE, ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "a bridge with an MTU and a MAC": (
        BRIDGE + "ip link set br0 address 02:00:00:00:00:42; ip link set eth0 mtu 1400; ip link set br0 mtu 1400",
        ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
    "a bridge, IPv6": (
        BRIDGE + "ip addr add 2001:db8:1::5/64 dev br0; ip -6 route add default via fe80::1 dev br0",
        ["2001:db8:2::7"], "2001:db8:2::7", "2001:db8:1::5"),
    "a bridge that has a card's name": (
        BRIDGE.replace("br0", "eth2").replace("eth0", "peth0"), ["198.51.100.7"], "198.51.100.7", "192.0.2.5"),
}  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", CASES)
def test_the_server_is_reached(lab, case, shell):
    setup, addresses, taken, source = CASES[case]
    cards = ("peth0", "eth1") if "peth0" in setup else ("eth0", "eth1")
    found = lab.observe(setup, addresses, cards)
    assert found.address == taken
    done = lab.capture(found, shell)
    assert done.returncode == 0, found.text + done.stdout + done.stderr
    assert seen_by_server(taken) == source
    assert f"host_address={found.host_address} " in done.stdout
    assert '{"name": "network", "seconds": ' in done.stdout


def link(name):
    return json.loads(within(CAPTURE, f"{IP} -j -d link show dev {name}").stdout)[0]


@pytest.mark.parametrize("shell", SHELLS)
def test_cards_whose_names_are_swapped_get_their_own_back(lab, shell):
    found = lab.observe(BRIDGE.replace("ip link set eth0 up", "ip link set eth0 up; ip link set eth1 master br0 up").replace(
        "forward_delay 0", "forward_delay 0 stp_state 1"), ["198.51.100.7"])  # fmt: skip
    found = found._replace(text=found.text.replace("stp_state 1", "stp_state 0"))
    lab.capture(found, shell, cards=("eth1", "eth0"), before=f"{SET_NO_DAD}", limit=1)
    assert [link(name)["address"] for name in ("eth0", "eth1")] == MACS
    assert [link(name)["master"] for name in ("eth0", "eth1")] == ["br0", "br0"]


def test_two_cards_in_a_bridge_make_no_loop(lab):
    """The spanning tree takes twice the forward delay, 15 seconds by default and here 2; /init waits for it."""
    setup = BRIDGE.replace("ip link set br0 up", "ip link set eth1 up; ip link set eth1 master br0; ip link set br0 up")
    found = lab.observe(setup.replace("forward_delay 0", "stp_state 1"), ["198.51.100.7"])
    assert "set br0 bridge/stp_state 1\n" in found.text and "forward_delay" not in found.text
    quicker = found.text.replace("stp_state 1\n", "stp_state 1\nset br0 bridge/forward_delay 200\n")
    done = lab.capture(found._replace(text=quicker), "busybox", limit=30)
    assert done.returncode == 0, done.stdout
    assert seen_by_server("198.51.100.7") == "192.0.2.5"
    states = [link(name)["linkinfo"]["info_slave_data"]["state"] for name in ("eth0", "eth1")]
    assert sorted(states) == ["blocking", "forwarding"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_mac_that_was_set_is_set_again(lab, shell):
    setup = "ip link set eth0 address 02:00:00:00:00:99\n" + PLAIN
    found = lab.observe(setup, ["198.51.100.7"], permanent="told")
    assert lab.capture(found, shell).returncode == 0
    assert link("eth0")["address"] == "02:00:00:00:00:99"
    assert seen_by_server("198.51.100.7") == "192.0.2.5"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_bridge_of_large_frames_has_a_card_that_takes_them(lab, shell):
    found = lab.observe(BRIDGE + "ip link set eth0 mtu 9000; ip link set br0 mtu 9000\n", ["198.51.100.7"])
    done = lab.capture(found, shell)
    assert done.returncode == 0, found.text + done.stdout
    assert [link(name)["mtu"] for name in ("br0", "eth0")] == [9000, 9000]
    assert seen_by_server("198.51.100.7") == "192.0.2.5"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "setup, permanent",
    [("", "unknown"), (f"ip link set eth1 address {MACS[0]}\n", "known")],
    ids=["no lasting MAC", "two cards with the same MAC"],
)
def test_a_card_is_found_by_its_place(lab, tmp_path, shell, setup, permanent):
    """The kernel has named it otherwise, and has counted the virtio devices in another order."""
    found = lab.observe(setup + PLAIN, ["198.51.100.7"], permanent=permanent)
    assert "path breakpoint/virtio* 0" in found.text
    for number, name in enumerate(("eth9", "eth7")):
        folder = tmp_path / "devices" / "virtio8" / "net" / name
        folder.mkdir(parents=True)
        (folder / "dev_port").write_text("%d\n" % (1 - number))
    before = f"mount --bind {tmp_path}/devices /sys/devices/breakpoint"
    done = lab.capture(found, shell, before=before)
    assert done.returncode == 0, done.stdout
    assert seen_by_server("198.51.100.7") == "192.0.2.5"


def serve_dhcp(folder, *options):
    """A DHCP server in the switch; it ends with that namespace's test."""
    configuration = folder / "udhcpd.conf"
    lines = [
        "start 192.0.2.50",
        "end 192.0.2.60",
        "interface sw",
        f"lease_file {folder}/leases",
        "opt subnet 255.255.255.0",
    ]
    configuration.write_text("\n".join([*lines, *options, ""]))
    (folder / "leases").touch()
    return subprocess.Popen([IP, "netns", "exec", SWITCH, "busybox", "udhcpd", "-f", str(configuration)])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "options",
    [["opt router 192.0.2.1"], ["opt router 192.0.2.99", "opt staticroutes 198.51.100.0/24 192.0.2.1"]],
    ids=["a router", "static routes"],
)
def test_dhcp(lab, tmp_path, shell, options):
    found = lab.observe(PLAIN, ["198.51.100.7"], dhcp=True)
    server = serve_dhcp(tmp_path, *options)
    try:
        done = lab.capture(found, shell)
        assert done.returncode == 0, done.stdout + done.stderr
        address = seen_by_server("198.51.100.7")
        assert address.startswith("192.0.2.5") and address != "192.0.2.5"
        assert f"host_address={address} " in done.stdout
    finally:
        server.kill()
        server.wait()
        within(
            CAPTURE, "for pid in $(ip netns pids $(ip netns identify)); do [ $pid = $$ ] || kill -9 $pid; done", False
        )


@pytest.mark.parametrize("shell", SHELLS)
def test_what_keeps_the_network_away_is_told(lab, shell):
    found = lab.observe(PLAIN, ["198.51.100.7"])
    other = found._replace(text=found.text.replace(MACS[0], "52:54:00:99:99:99"))
    done = lab.capture(other, shell, limit=1, after='echo "message: $message"')
    assert done.returncode == 1
    assert "no network card eth0 (mac 52:54:00:99:99:99) after 1 seconds" in done.stdout
    assert "message: there is no network device eth0" in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_second_plan_leaves_what_the_first_has_done(lab, tmp_path, shell):
    """As for the nodes of a cluster, beside the dump's server."""
    found = lab.observe(BRIDGE, ["198.51.100.7"])
    other = network_text = found.text.replace("198.51.100.7 192.0.2.1", "198.51.100.8 192.0.2.1")
    assert network_text != found.text
    (tmp_path / "other").write_text(other)
    after = f"network_is_up='' network_plan={tmp_path}/other; bring_up_network; result=$?"
    done = lab.capture(found, shell, after=after)
    assert done.returncode == 0, done.stdout
    assert "ip link" not in done.stdout  # nothing failed
    assert seen_by_server("198.51.100.7") == seen_by_server("198.51.100.8") == "192.0.2.5"


TAGGED = "ip link add link {lower} name {lower}.5 type vlan id 5; ip link set {lower}.5 up\n"
BOND = """
ip link add bond0 type bond mode {mode} miimon 100 {more}
ip link set eth0 master bond0; ip link set eth1 master bond0; ip link set bond0 up
"""
IN_VLAN = "ip addr add 192.0.5.5/24 dev {device}; ip route add default via 192.0.5.1\n"
# name: (kinds of devices that the kernel must have, how the host is set up, what the server sees)
STACKS = {
    "a VLAN": (
        ["vlan"], "ip link set eth0 up\n" + TAGGED.format(lower="eth0") + IN_VLAN.format(device="eth0.5"), "192.0.5.5"),
    "a bridge over a VLAN": (
        ["vlan"], "ip link set eth0 up\n" + TAGGED.format(lower="eth0") + "ip link add br0 type bridge forward_delay 0\n"
        "ip link set eth0.5 master br0; ip link set br0 up\n" + IN_VLAN.format(device="br0"), "192.0.5.5"),
    "a VLAN over a bridge": (
        ["vlan"], BRIDGE + TAGGED.format(lower="br0") + "ip route del default\n" + IN_VLAN.format(device="br0.5"),
        "192.0.5.5"),
    "a bond, active-backup with a primary": (
        ["bond"], BOND.format(mode="active-backup", more="") + "ip link set bond0 type bond primary eth1\n"
        + PLAIN.replace("eth0", "bond0"), "192.0.2.5"),
    "a bond, 802.3ad, whose partner does not speak LACP": (
        ["bond"], BOND.format(mode="802.3ad", more="lacp_rate fast") + PLAIN.replace("eth0", "bond0"), "192.0.2.5"),
    "a bond, balance-xor": (
        ["bond"], BOND.format(mode="balance-xor", more="xmit_hash_policy layer3+4") + PLAIN.replace("eth0", "bond0"),
        "192.0.2.5"),
    "a bridge over a VLAN over a bond": (
        ["bond", "vlan"], BOND.format(mode="active-backup", more="fail_over_mac active") + TAGGED.format(lower="bond0")
        + "ip link add br0 type bridge forward_delay 0; ip link set bond0.5 master br0; ip link set br0 up\n"
        + IN_VLAN.format(device="br0"), "192.0.5.5"),
}  # fmt: skip


@pytest.fixture
def tagged_switch(server):
    """The switch's own address in VLAN 5, and a way back to it."""
    within(SWITCH, """
        ip link show sw.5 > /dev/null 2>&1 || {
            ip link add link sw name sw.5 type vlan id 5; ip link set sw.5 up; ip addr add 192.0.5.1/24 dev sw.5
        }
    """)  # fmt: skip


KINDS = {"vlan": ("vlan id 5", "link eth0"), "bond": ("bond", "")}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", STACKS)
def test_the_server_is_reached_by_stacked_devices(lab, case, shell, request):
    kinds, setup, source = STACKS[case]
    missing = [kind for kind in kinds if not has(*KINDS[kind])]
    if missing:
        pytest.skip("this kernel has no %s devices: tests/vm tries them in a guest" % " and no ".join(missing))
    if "vlan" in kinds:
        request.getfixturevalue("tagged_switch")
    found = lab.observe(setup, ["198.51.100.7"])
    done = lab.capture(found, shell)
    assert done.returncode == 0, found.text + done.stdout + done.stderr
    assert seen_by_server("198.51.100.7") == source


TUNNELS = {
    "macvlan": ("macvlan", "link eth0", "a macvlan"),
    "macvtap": ("macvtap", "link eth0", "a macvtap"),
    "ipvlan": ("ipvlan", "link eth0", "an ipvlan"),
    "macsec": ("macsec", "link eth0", "MACsec"),
    "vxlan": ("vxlan id 5 dstport 4789 dev eth0", "", "a VXLAN"),
    "geneve": ("geneve id 5 remote 192.0.2.1", "", "a Geneve tunnel"),
    "wireguard": ("wireguard", "", "WireGuard"),
    "dummy": ("dummy", "", "a dummy device"),
    "team": ("team", "", "a network team"),
    "veth": ("veth peer name other", "", "a virtual Ethernet pair"),
    "gre": ("gre local 192.0.2.5 remote 192.0.2.1", "", "a device of the kind gre"),
    "ipip": ("ipip local 192.0.2.5 remote 192.0.2.1", "", "a device of the kind ipip"),
}


@pytest.mark.parametrize("kind", TUNNELS)
def test_what_cannot_be_made_is_refused_by_name(lab, kind):
    words, more, what = TUNNELS[kind]
    if not has(words, more):
        pytest.skip("this kernel has no %s devices" % kind)
    setup = f"{PLAIN} ip link add x {more} type {words}; ip link set x up; ip addr add 10.1.0.5/24 dev x"
    with pytest.raises(problems.KdumpError) as error:
        lab.observe(setup, ["10.1.0.1"])
    assert what in str(error.value) and "the device x" in str(error.value)


def test_a_tap_device_and_the_host_itself_are_refused(lab):
    setup = PLAIN + "ip tuntap add x mode tap; ip link set x up; ip addr add 10.1.0.5/24 dev x"
    with pytest.raises(problems.KdumpError, match="a tun or tap device of a program"):
        lab.observe(setup, ["10.1.0.1"])
    with pytest.raises(problems.KdumpError, match="is this host's own"):
        lab.observe(PLAIN, ["192.0.2.5"])
    with pytest.raises(problems.KdumpError, match="There is no route to the server 198.51.100.7"):
        lab.observe("ip link set eth0 up", ["198.51.100.7"])
    with pytest.raises(problems.KdumpError, match="by an encapsulation"):
        lab.observe(PLAIN + "ip route add 10.1.0.0/24 encap ip id 5 dst 192.0.2.8 dev eth0", ["10.1.0.1"])
    policy = (
        "ip xfrm policy add src 192.0.2.0/24 dst 198.51.100.0/24 dir out tmpl src 192.0.2.5 dst 198.51.100.1 proto esp"
    )
    with pytest.raises(problems.KdumpError, match="is encrypted by IPsec"):
        lab.observe(PLAIN + policy + " mode tunnel", ["198.51.100.7"])


def test_a_temporary_address_is_no_source(lab):
    """The kernel makes one of the address that is marked so, and prefers it."""
    setup = """
        ip link set eth0 up
        echo 2 > /proc/sys/net/ipv6/conf/eth0/use_tempaddr
        ip addr add 2001:db8:1::5/64 dev eth0 mngtmpaddr valid_lft 9000 preferred_lft 8000
        ip -6 route add default via fe80::1 dev eth0
        for i in 1 2 3 4 5 6 7 8 9; do
            ip -6 addr show dev eth0 | grep -q temporary && break
            sleep 0.2
        done
        ip -6 addr show dev eth0 | grep temporary
        ip route get 2001:db8:2::7 | grep -v 'src 2001:db8:1::5 '
    """
    found = lab.observe(setup, ["2001:db8:2::7"])
    assert found.host_address == "2001:db8:1::5" and "2001:db8:1::5/64" in found.text
    assert lab.capture(found, "busybox").returncode == 0
    assert seen_by_server("2001:db8:2::7") == "2001:db8:1::5"


@pytest.mark.parametrize(
    "change",
    [
        "ip addr change 192.0.2.5/24 dev eth0 valid_lft 500 preferred_lft 400",
        "ip route replace default via 192.0.2.1 proto dhcp",
        "ip route append default via 192.0.2.2 metric 700; ip addr add 192.0.2.77/24 dev eth0",
        "ip link add later type bridge; ip link set eth1 up; ip addr add 2001:db8:1::9/64 dev eth0",
        "ping -c 1 -W 1 192.0.2.1 > /dev/null || true",
    ],
)
def test_what_does_not_matter_leaves_the_plan_as_it_is(lab, change):
    before = lab.observe(PLAIN, ["198.51.100.7"])
    assert lab.observe(PLAIN + change, ["198.51.100.7"]) == before
