# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The piece of /init that brings up the network, with a program in place of ip and a directory in place of sysfs.

What real devices make of it is in tests/integration/test_network.py.
"""

import re
import shutil
import subprocess

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.image import init, init_network

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
# Keeps a log of how it was called, and makes the directories that the kernel would make.
IP = r"""#!/bin/sh
echo "$*" >> ROOT/log
top=ROOT/sys/class/net
case "$*" in
    "link add name "*)
        mkdir "$top/$4"
        echo 1 > "$top/$4/carrier"
        case $6 in bond) options='bonding mode miimon lacp_rate primary' ;; *) options='bridge stp_state forward_delay' ;; esac
        set -- "$4" $options
        mkdir "$top/$1/$2"
        folder=$top/$1/$2
        shift 2
        for option in "$@"; do : > "$folder/$option"; done
        ;;
    "link add link "*) mkdir "$top/$6" && echo 1 > "$top/$6/carrier" ;;
    *" name "*) mv "$top/$4" "$top/$6" ;;
    *" master "*) : > "$top/$4/master" ;;
esac
[ ! -e ROOT/fails ] || case "$*" in $(cat ROOT/fails)) echo "RTNETLINK answers: No"; exit 2 ;; esac
"""


class Capture:
    def __init__(self, root, shell):
        self.root, self.shell = root, ["busybox", "sh"] if shell == "busybox" else [shell]
        for folder in ("bin", "tmp", "sys/class/net", "proc/sys/net/ipv6/conf", "etc/kdump"):
            (root / folder).mkdir(parents=True)
        (root / "bin/ip").write_text(IP.replace("ROOT", str(root)))
        (root / "bin/ip").chmod(0o755)

    def card(self, name, mac, carrier="1", place="", port="0"):
        folder = self.root / "sys/class/net" / name
        folder.mkdir(parents=True)
        if place:
            (self.root / "sys/devices" / place / "net" / name).mkdir(parents=True)
            (self.root / "sys/devices" / place / "net" / name / "dev_port").write_text(port + "\n")
        (folder / "address").write_text(mac + "\n")
        (folder / "carrier").write_text(carrier + "\n")

    def run(self, plan, after=""):
        """Exit code, output, and how ip was called, but for what is done to every device."""
        (self.root / "etc/kdump/network").write_text("\n".join([*plan, ""]))
        text = init.SCRIPT.rstrip()
        assert text.endswith("\nmain")
        text = text[: -len("main")]
        text = re.sub(r"(?<!\w)/(?=(tmp|sys|etc/kdump|proc/sys|proc/net)/)", "%s/" % self.root, text)
        text = text.replace("export PATH=", "export PATH=%s/bin:" % self.root).replace(
            "device_limit=90", "device_limit=0"
        )
        (self.root / "script").write_text(
            text + "\nphase_start=0 phases=\nbring_up_network\nresult=$?\n%s\necho name=$host_address message=$message\n"
            "exit $result\n" % after
        )  # fmt: skip
        done = subprocess.run(
            self.shell + [str(self.root / "script")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
            check=False,
        )  # fmt: skip
        calls = (self.root / "log").read_text().split("\n")[:-1]
        return done.returncode, done.stdout.decode(), [call for call in calls if call != "link set dev lo up"]

    def text(self, path):
        return (self.root / "sys/class/net" / path).read_text().strip()


@pytest.fixture(params=SHELLS)
def capture(tmp_path, request):
    return Capture(tmp_path, request.param)


ENDS = ["address eth0 192.0.2.5/24", "route eth0 198.51.100.7 192.0.2.1 192.0.2.5 1400", "named 192.0.2.5"]
ADDRESSED = [
    "addr add 192.0.2.5/24 dev eth0",
    "-4 route replace 198.51.100.7 via 192.0.2.1 dev eth0 src 192.0.2.5 mtu 1400",
]
MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"


def test_a_card_that_has_its_name(capture):
    capture.card("eth0", MAC)
    rc, out, calls = capture.run(["nic eth0 mac " + MAC + " -", "up eth0 1500", "link eth0", *ENDS])
    assert rc == 0 and "name=192.0.2.5 message=\n" in out
    assert calls == ["link set dev eth0 mtu 1500", "link set dev eth0 up", *ADDRESSED]


def test_a_card_whose_name_another_one_has(capture):
    capture.card("eth0", OTHER)
    capture.card("eth1", MAC)
    rc, _out, calls = capture.run(["nic eth0 mac " + MAC + " -", "nic eth1 mac " + OTHER + " -"])
    assert rc == 0 and capture.text("eth0/address") == MAC and capture.text("eth1/address") == OTHER
    assert calls == [
        "link set dev eth0 down", "link set dev eth0 name kdump0", "link set dev eth1 down", "link set dev eth1 name eth0",
        "link set dev kdump0 down", "link set dev kdump0 name eth1",
    ]  # fmt: skip


@pytest.mark.parametrize("port, name", [("0", "a"), ("1", "b")])
def test_a_card_by_its_place(capture, port, name):
    """Two ports of one device, counted otherwise than on the host."""
    capture.card("a", MAC, place="pci0000:00/0000:00:03.0/virtio7", port="0")
    capture.card("b", MAC, place="pci0000:00/0000:00:03.0/virtio7", port="1")
    capture.card("c", MAC, place="pci0000:00/0000:00:04.0/virtio8", port="0")
    _rc, _out, calls = capture.run(["nic eth0 path pci0000:00/0000:00:03.0/virtio* " + port])
    assert calls == ["link set dev %s down" % name, "link set dev %s name eth0" % name]


def test_the_half_of_a_virtual_card_that_stands_for_both(capture):
    capture.card("eth0", MAC)
    capture.card("eth1", MAC)
    (capture.root / "sys/class/net/eth1/master").write_text("")
    rc, _out, calls = capture.run(["nic eth0 mac " + MAC + " -"])
    assert rc == 0 and calls == []


def test_a_bond_of_two_in_a_vlan_under_a_bridge(capture):
    capture.card("eth0", MAC)
    capture.card("eth1", OTHER)
    rc, _out, calls = capture.run([
        "bridge br0", "set br0 bridge/stp_state 0", "set br0 bridge/forward_delay 0",
        "bond bond0", "set bond0 bonding/mode 802.3ad", "set bond0 bonding/miimon 100", "set bond0 bonding/lacp_rate fast",
        "mac bond0 02:00:00:00:00:01", "nic eth0 mac " + MAC + " -", "member bond0 eth0", "nic eth1 mac " + OTHER + " -",
        "member bond0 eth1", "up bond0 9000", "vlan bond0.5 bond0 802.1ad 5 gvrp on", "member br0 bond0.5", "up br0 1500",
        "link br0", "address br0 2001:db8::5/64", "route br0 2001:db8:2::7 fe80::1 2001:db8::5 -",
        "route br0 default fe80::1 2001:db8::5 -", "named 2001:db8::5",
    ])  # fmt: skip
    assert rc == 0
    assert calls == [
        "link add name br0 type bridge", "link add name bond0 type bond", "link set dev bond0 address 02:00:00:00:00:01",
        "link set dev eth0 down", "link set dev eth0 master bond0", "link set dev eth0 up",
        "link set dev eth1 down", "link set dev eth1 master bond0", "link set dev eth1 up",
        "link set dev bond0 mtu 9000", "link set dev bond0 up",
        "link add link bond0 name bond0.5 type vlan protocol 802.1ad id 5 gvrp on",
        "link set dev bond0.5 down", "link set dev bond0.5 master br0", "link set dev bond0.5 up",
        "link set dev br0 mtu 1500", "link set dev br0 up", "addr add 2001:db8::5/64 dev br0",
        "-6 route replace 2001:db8:2::7 via fe80::1 dev br0 src 2001:db8::5",
        "-6 route add default via fe80::1 dev br0 src 2001:db8::5",
    ]  # fmt: skip
    assert [capture.text("bond0/bonding/" + name) for name in ("mode", "miimon", "lacp_rate")] == [
        "802.3ad",
        "100",
        "fast",
    ]
    assert [capture.text("br0/bridge/" + name) for name in ("stp_state", "forward_delay")] == ["0", "0"]


def test_after_a_failure_the_way_to_the_root_is_brought_up_too(capture):
    """Lines that both ways have are not done again."""
    capture.card("eth0", MAC)
    capture.card("eth1", OTHER)
    (capture.root / "etc/kdump/network-root").write_text(
        "nic eth0 mac %s -\nup eth0 1500\nlink eth0\nnic eth1 mac %s -\nup eth1 1500\nlink eth1\n"
        "address eth1 192.0.2.9/24\nnamed 192.0.2.9\n" % (MAC, OTHER)
    )  # fmt: skip
    after = """
        report_failure() { echo "reported from $host_address"; }
        run_emergency() { :; }
        unmount_target() { :; }
        load_modules() { :; }
        save_report() { :; }
        dump() { reach_network && echo "$1 by $network_plan"; }
        failure_action=dump_to_rootfs
        after_failure
    """
    rc, out, calls = capture.run(["nic eth0 mac " + MAC + " -", "up eth0 1500", "link eth0", *ENDS], after)
    assert (
        rc == 0 and "reported from 192.0.2.5\n" in out and "root by %s/etc/kdump/network-root\n" % capture.root in out
    )
    assert "name=192.0.2.9" in out
    assert calls == [
        "link set dev eth0 mtu 1500", "link set dev eth0 up", *ADDRESSED,
        "link set dev eth1 mtu 1500", "link set dev eth1 up", "addr add 192.0.2.9/24 dev eth1",
    ]  # fmt: skip


def test_a_bond_that_the_module_has_made_is_taken(capture):
    """bonding makes bond0 when it is loaded (max_bonds)."""
    (capture.root / "sys/class/net/bond0/bonding").mkdir(parents=True)
    (capture.root / "sys/class/net/bond0/bonding/mode").write_text("balance-rr 0\n")
    _rc, _out, calls = capture.run(["bond bond0", "set bond0 bonding/mode active-backup"])
    assert calls == [] and capture.text("bond0/bonding/mode") == "active-backup"


def test_a_bond_whose_second_card_is_dead(capture):
    capture.card("eth0", MAC)
    rc, out, calls = capture.run([
        "bond bond0", "nic eth0 mac " + MAC + " -", "member bond0 eth0", "nic eth1 mac " + OTHER + " -", "member bond0 eth1",
        "up bond0 1500", "link bond0", "address bond0 192.0.2.5/24", "named 192.0.2.5",
    ])  # fmt: skip
    assert rc == 0 and "no network card eth1 (mac %s) after 0 seconds" % OTHER in out and "message=\n" in out
    assert "addr add 192.0.2.5/24 dev bond0" in calls


FAILURES = {
    "no card": (OTHER, "1", "", "there is no network device eth0"),
    "no link": (MAC, "0", "", "the network device eth0 has no link after 0 seconds"),
    "no address": (MAC, "1", "addr*", ""),
    "no route": (MAC, "1", "-4*", ""),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures(capture, case):
    mac, carrier, fails, message = FAILURES[case]
    capture.card("eth7", mac, carrier)
    if fails:
        (capture.root / "fails").write_text(fails)
    rc, out, calls = capture.run(["nic eth0 mac " + MAC + " -", "up eth0 1500", "link eth0", *ENDS], "echo [$phases]")
    assert rc == 1 and "message=%s\n" % message in out
    assert re.search(r'\[{"name": "network", "seconds": [0-9.]+, "exit": 1}\]', out)
    if fails:
        assert ": RTNETLINK answers: No\n" in out
    if case != "no route":
        assert not [call for call in calls if call.startswith("-4")]


def test_what_failed_is_tried_again_and_nothing_else(capture):
    capture.card("eth0", MAC)
    (capture.root / "fails").write_text("-4*")
    after = "rm %s/fails; echo; bring_up_network; result=$?; bring_up_network" % capture.root
    rc, _out, calls = capture.run(["nic eth0 mac " + MAC + " -", "up eth0 1500", "link eth0", *ENDS], after)
    assert rc == 0
    assert calls == ["link set dev eth0 mtu 1500", "link set dev eth0 up", *ADDRESSED, ADDRESSED[1]]


def test_a_device_that_fails_does_not_keep_the_others(capture):
    """As those of the nodes of a cluster."""
    capture.card("eth0", MAC)
    capture.card("eth1", OTHER, "0")
    rc, _out, calls = capture.run(["link eth1", "address eth1 192.0.2.6/24", "link eth0", *ENDS])
    assert rc == 1 and calls == ADDRESSED


def test_ipv6_asks_nobody(capture):
    capture.card("eth0", MAC)
    files = []
    for scope in ("all", "default", "eth0"):
        folder = capture.root / "proc/sys/net/ipv6/conf" / scope
        folder.mkdir()
        for name in ("accept_ra", "autoconf", "accept_dad", "dad_transmits", "disable_ipv6"):
            files.append(folder / name)
            files[-1].write_text("1\n")
    capture.run(["up eth0 1500"])
    assert {file.read_text() for file in files} == {"0\n"}


# --- DHCP ---------------------------------------------------------------------------------------------------------------
LEASES = {
    "a router": (
        {"ip": "192.0.2.50", "mask": "24", "router": "192.0.2.1 192.0.2.2"},
        ["addr add 192.0.2.50/24 dev eth0", "-4 route replace 192.0.2.1 dev eth0",
         "-4 route replace default via 192.0.2.1 dev eth0"]),
    "no router": ({"ip": "192.0.2.50", "mask": "24"}, ["addr add 192.0.2.50/24 dev eth0"]),
    "static routes, which count alone": (
        {"ip": "192.0.2.50", "mask": "24", "router": "192.0.2.9", "mtu": "1400",
         "staticroutes": "198.51.100.0/24 192.0.2.1 10.0.0.0/8 0.0.0.0"},
        ["link set dev eth0 mtu 1400", "addr add 192.0.2.50/24 dev eth0", "-4 route replace 192.0.2.1 dev eth0",
         "-4 route replace 198.51.100.0/24 via 192.0.2.1 dev eth0", "-4 route replace 10.0.0.0/8 dev eth0"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LEASES)
def test_a_lease(capture, case):
    lease, expected = LEASES[case]
    (capture.root / "run").mkdir()
    script = capture.root / "udhcpc"
    script.write_text(init_network.UDHCPC.replace("/run/", "%s/run/" % capture.root))
    environment = dict({"PATH": "%s/bin:/usr/bin:/bin" % capture.root, "interface": "eth0"}, **lease)
    for event in ("deconfig", "bound", "renew"):
        subprocess.run(capture.shell + [str(script), event], env=environment, timeout=60, check=True)
    calls = (capture.root / "log").read_text().split("\n")[:-1]
    assert calls == ["-4 addr flush dev eth0", *expected]
    assert (capture.root / "run/kdump-address").read_text() == lease["ip"] + "\n"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_shellcheck_has_nothing_to_say_of_the_dhcp_script():
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=init_network.UDHCPC.encode(), stdout=subprocess.PIPE, check=False
    )
    assert done.stdout.decode() == "" and done.returncode == 0
