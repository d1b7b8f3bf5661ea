# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import json

import image_host
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils.image import network
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"
SERVER = "198.51.100.7"
SERVER6 = "2001:db8:2::7"
SYSFS = "/sys/class/net/"


class Net(image_host.Machine):
    """A machine with network devices: what `ip -j` prints of them, and their places in sysfs."""

    def __init__(self, root):
        super().__init__(root)
        self.answers = {}
        self.links = []
        self.policies = ""
        self.write("/usr/sbin/ip", image_host.elf(), 0o755)

    def run(self, argv, **options):
        if argv == ["ip", "xfrm", "policy"]:
            return Result(argv, 0, self.policies, "")
        if argv[1:] == ["-j", "link", "show"]:
            return Result(argv, 0, json.dumps(self.links), "")
        if argv[1:2] != ["-j"]:
            return super().run(argv, **options)
        answer = self.answers.get(" ".join(argv[2:]))
        if answer is None:
            return Result(argv, 2, "", "RTNETLINK answers: Network is unreachable\n")
        return Result(argv, 0, answer if isinstance(answer, str) else json.dumps(answer), "")

    def device(self, name, node, kind="", data=None, assigned=0, **more):
        """A network device of a kind, with `data` of that kind."""
        info = {"linkinfo": {"info_kind": kind, "info_data": data or {}}} if kind else {}
        found = dict({"ifname": name, "mtu": 1500, "link_type": "ether", "address": MAC}, **dict(info, **more))
        self.answers["-d link show dev " + name] = [found]
        self.links.append(found)
        self.mkdir(node)
        self.link(SYSFS + name, node)
        self.write(node + "/addr_assign_type", "%d\n" % assigned)
        return node

    def card(self, name="eth0", mac=MAC, slot=3, driver="virtio_net", parent="", port=0, **more):
        """A card on PCI; its directory in sysfs."""
        place = "%s/0000:00:0%d.0%s" % (image_host.PCI, slot, parent)
        self.driver(place, driver)
        node = self.device(name, "%s/net/%s" % (place, name), address=mac, **more)
        self.link(node + "/device", place)
        self.write(node + "/dev_port", "%d\n" % port)
        return node

    def upper(self, name, kind, lower, data=None, **more):
        node = self.device(name, "/sys/devices/virtual/net/" + name, kind, data, **more)
        for one in lower:
            self.link("%s/lower_%s" % (node, one), SYSFS + one)
        return node

    def vlan(self, name, lower, number=5, **more):
        data = dict({"protocol": "802.1Q", "id": number, "flags": ["REORDER_HDR"]}, **more.pop("data", {}))
        return self.upper(name, "vlan", [lower], data, **dict({"link": lower}, **more))

    def bond(self, name="bond0", lower=("eth0", "eth1"), options=(), **more):
        node = self.upper(name, "bond", lower, **more)
        for option, text in dict({"mode": "active-backup 1", "miimon": "100"}, **dict(options)).items():
            self.write("%s/bonding/%s" % (node, option), text + "\n")
        return node

    def bridge(self, name="br0", lower=("eth0",), tree="0", filtering="0", **more):
        node = self.upper(name, "bridge", lower, **more)
        self.write(node + "/bridge/stp_state", tree + "\n")
        self.write(node + "/bridge/vlan_filtering", filtering + "\n")
        return node

    def inet(self, device, *addresses):
        """Addresses as `192.0.2.5/24`, with flags after it."""
        items = []
        for address in addresses:
            address, *flags = address.split()
            local, prefix = address.split("/")
            scope = "link" if local.startswith(("fe80", "169.254")) else "global"
            family = "inet6" if ":" in local else "inet"
            item = {"family": family, "local": local, "prefixlen": int(prefix), "scope": scope}
            items.append(dict(item, **dict.fromkeys(flags, True)))
        self.answers["addr show dev " + device] = [{"ifname": device, "addr_info": items}]

    def way(self, address=SERVER, device="eth0", source="192.0.2.5", **more):
        route = dict({"dst": address, "dev": device, "prefsrc": source, "flags": []}, **more)
        self.answers["route get " + address] = [route]
        self.answers["route get %s from %s" % (address, source)] = [route]

    def plan(self, addresses=(SERVER,), dhcp=False):
        return network.observe(self.host, list(addresses), dhcp)

    def lines(self, device="eth0", *addresses):
        """The plan's lines for the devices only."""
        self.inet(device, "192.0.2.5/24")
        self.way(device=device)
        text = self.plan().text
        return text[: text.index("link %s\n" % device)].split("\n")[:-1]

    def refusal(self, *arguments, **options):
        with pytest.raises(KdumpError) as error:
            self.plan(*arguments, **options)
        return str(error.value)


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path)


# --- the way -----------------------------------------------------------------------------------------------------------
def test_a_card(net):
    net.card(parent="/virtio0")
    net.inet("eth0", "192.0.2.5/24")
    net.way(gateway="192.0.2.1")
    found = net.plan()
    assert found.address == SERVER and found.host_address == "192.0.2.5"
    assert found.text.split("\n") == [
        "nic eth0 mac %s -" % MAC, "up eth0 1500", "link eth0", "address eth0 192.0.2.5/24",
        "route eth0 198.51.100.7 192.0.2.1 192.0.2.5 -", "named 192.0.2.5", "",
    ]  # fmt: skip
    assert found.modules == ["virtio_net"] and found.programs == [("ip", "iproute2")] and found.files == []


ROUTES = {
    "on the link": ({}, ["route eth0 198.51.100.7 - 192.0.2.5 -"]),
    "by a gateway": ({"gateway": "192.0.2.1"}, ["route eth0 198.51.100.7 192.0.2.1 192.0.2.5 -"]),
    "by a gateway that is not in the own network": (
        {"gateway": "203.0.113.1"},
        ["route eth0 203.0.113.1 - 192.0.2.5 -", "route eth0 198.51.100.7 203.0.113.1 192.0.2.5 -"]),
    "with an MTU of its own": ({"metrics": [{"mtu": 1400}]}, ["route eth0 198.51.100.7 - 192.0.2.5 1400"]),
    "with an MTU that was found out": (
        {"metrics": [{"mtu": 1400}], "expires": "597sec"}, ["route eth0 198.51.100.7 - 192.0.2.5 -"]),
    "with things that change": ({"uid": 0, "metric": 100, "cache": ["x"], "table": "7"}, [
        "route eth0 198.51.100.7 - 192.0.2.5 -"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUTES)
def test_routes(net, case):
    more, expected = ROUTES[case]
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way(**more)
    assert [line for line in net.plan().text.split("\n") if line.startswith("route")] == expected


def test_a_default_route_by_the_same_device_is_for_hooks(net):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way(gateway="192.0.2.9")
    net.answers["-4 route show default dev eth0"] = [
        {"dst": "default", "gateway": "192.0.2.2", "metric": 200}, {"dst": "default", "gateway": "192.0.2.1", "metric": 100},
        {"dst": "default", "gateway": "192.0.2.0", "metric": 100, "flags": []}, {"dst": "default", "scope": "link"},
    ]  # fmt: skip
    assert "route eth0 default 192.0.2.0 192.0.2.5 -\n" in net.plan().text


def test_a_rule_by_source_address_leads_elsewhere(net):
    net.card()
    net.card("eth1", OTHER, 4)
    net.inet("eth0", "192.0.2.5/24")
    net.inet("eth1", "203.0.113.5/24")
    net.way(gateway="192.0.2.1")
    net.answers["route get %s from 192.0.2.5" % SERVER] = [{"dev": "eth1", "gateway": "203.0.113.1", "table": "7"}]
    found = net.plan()
    assert "nic eth1" in found.text and "nic eth0" not in found.text
    assert "address eth1 192.0.2.5/32\n" in found.text
    assert "route eth1 203.0.113.1 - 192.0.2.5 -\nroute eth1 198.51.100.7 203.0.113.1 192.0.2.5 -\n" in found.text
    assert found.host_address == "203.0.113.5"


@pytest.mark.parametrize(
    "protocol, refused", [("bgp", True), ("186", True), (186, True), ("static", False), (None, False)]
)
def test_an_address_that_only_a_routing_daemon_makes_known_is_refused(net, protocol, refused):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way(source="203.0.113.1", gateway="192.0.2.1")
    if protocol:
        net.answers["route get fibmatch " + SERVER] = [{"dst": "default", "protocol": protocol}]
    if refused:
        assert "by a routing daemon only (%s)" % protocol in net.refusal()
        net.way(source="192.0.2.5", gateway="192.0.2.1")
    assert net.plan().address == SERVER


@pytest.mark.parametrize("chosen", ["192.0.2.1", "192.0.2.2"])
def test_of_equal_hops_it_is_always_the_same(net, chosen):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way(gateway=chosen)
    net.answers["route get %s oif eth0" % SERVER] = net.answers["route get " + SERVER]
    hops = [{"gateway": "192.0.2." + last, "dev": "eth0", "flags": []} for last in "21"]
    hops.append({"gateway": "192.0.2.0", "dev": "eth0", "flags": ["dead", "linkdown"]})
    net.answers["route show match %s table all" % SERVER] = [
        {"dst": "default", "gateway": "192.0.2.3", "dev": "eth0", "metric": 5}, {"dst": "198.51.100.0/24", "nexthops": hops},
    ]  # fmt: skip
    assert "route eth0 198.51.100.7 192.0.2.1 192.0.2.5 -\n" in net.plan().text


def test_of_two_default_routers_of_ipv6_it_is_always_the_same(net):
    net.card()
    net.inet("eth0", "2001:db8:1::5/64")
    net.way(SERVER6, source="2001:db8:1::5", gateway="fe80::2")
    net.answers["route get %s oif eth0" % SERVER6] = net.answers["route get " + SERVER6]
    net.answers["route show match %s table all" % SERVER6] = [
        {"dst": "default", "gateway": gateway, "dev": "eth0", "metric": metric, "pref": pref}
        for gateway, metric, pref in
        (("fe80::2", 100, "medium"), ("fe80::1", 100, "medium"), ("fe80::0", 100, "low"), ("fe80::", 50, "medium"))
    ]  # fmt: skip
    assert "route eth0 %s fe80::1 2001:db8:1::5 -\n" % SERVER6 in net.plan([SERVER6]).text


SOURCES = {
    # the addresses of the device, the kernel's choice, ours
    "its choice": (["2001:db8:1::5/64", "2001:db8:1::6/64"], "2001:db8:1::6", "2001:db8:1::6/64"),
    "not a temporary one": (["2001:db8:1::9/64 temporary", "2001:db8:1::5/64 mngtmpaddr"], "2001:db8:1::9",
                            "2001:db8:1::5/64"),
    "the nearest of the others": (["2001:db8:1::9/64 temporary", "fd00::5/64", "2001:db8:1::5/64"], "2001:db8:1::9",
                                  "2001:db8:1::5/64"),
    "whatever their order is": (["2001:db8:1::5/64", "fd00::5/64", "2001:db8:1::9/64 temporary"], "2001:db8:1::9",
                                "2001:db8:1::5/64"),
    "none that is deprecated": (["2001:db8:1::9/64 temporary", "2001:db8:1::5/64 deprecated", "fd00::5/64"],
                                "2001:db8:1::9", "fd00::5/64"),
    "none that is not valid yet": (["2001:db8:1::9/64 temporary", "2001:db8:1::5/64 tentative", "fd00::5/64"],
                                   "2001:db8:1::9", "fd00::5/64"),
    "one of another device": (["2001:db8:1::5/64"], "fd00::1", "fd00::1/128"),
    "none that is only good on the link": (["fe80::5/64", "fd00::5/64 deprecated"], "fe80::5", "fd00::5/64"),
    "none named": (["2001:db8:1::5/64"], None, "2001:db8:1::5/64"),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_the_source_address_of_ipv6(net, case):
    addresses, chosen, expected = SOURCES[case]
    net.card()
    net.inet("eth0", *addresses)
    source = expected.split("/")[0]
    net.way(SERVER6, source=source)
    net.answers["route get " + SERVER6] = [dict({"dev": "eth0"}, **({"prefsrc": chosen} if chosen else {}))]
    found = net.plan([SERVER6])
    assert "address eth0 %s\n" % expected in found.text and found.host_address == source
    assert "ipv6" in found.modules


@pytest.mark.parametrize("address", ["2001:db8:1::9/64 temporary", "fe80::9/64"])
def test_a_host_without_a_lasting_address_for_the_server_is_refused(net, address):
    net.card()
    net.inet("eth0", address)
    net.way(SERVER6, source=address.split("/")[0])
    assert "has no lasting address to speak from" in net.refusal([SERVER6])


def test_the_directories_name_is_the_first_address_of_the_device(net):
    net.card()
    net.inet("eth0", "169.254.1.1/16", "192.0.2.9/24", "192.0.2.10/24 secondary", "192.0.2.5/24", "2001:db8:1::5/64")
    net.way(source="192.0.2.5")
    assert net.plan().host_address == "192.0.2.9"


# --- the server ---------------------------------------------------------------------------------------------------------
def test_the_first_address_with_a_route_is_taken(net):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way("198.51.100.8")
    assert net.plan(["2001:db8::7", SERVER, "198.51.100.8"]).address == "198.51.100.8"


@pytest.mark.parametrize("addresses", [["198.51.100.10", "198.51.100.9"], ["198.51.100.9", "198.51.100.10"]])
def test_a_name_server_that_shuffles_changes_nothing(net, addresses):
    net.card()
    net.inet("eth0", "192.0.2.5/24", "2001:db8:1::5/64")
    net.way(SERVER6, source="2001:db8:1::5")
    for address in addresses:
        net.way(address)
    assert net.plan(addresses + [SERVER6]).address == "198.51.100.9"
    assert net.plan([SERVER6] + addresses).address == SERVER6


REFUSED = {
    "no address": ([], {}, "The server has no address."),
    "no route": ([SERVER], {}, "There is no route to the server 198.51.100.7 (RTNETLINK answers: Network is unreachable)."),
    "a route without a device": ([SERVER], {"route get " + SERVER: [{"dst": SERVER}]}, "There is no route"),
    "no JSON": ([SERVER], {"route get " + SERVER: "[{"}, "There is no route"),
    "JSON of another kind": ([SERVER], {"route get " + SERVER: '{"a": 1}'}, "There is no route"),
    "link-local": (["fe80::7"], {}, "The server's address fe80::7 is link-local"),
    "link-local with its interface": (["fe80::7%eth0"], {}, "The server's address fe80::7%eth0 is link-local"),
    "the host itself": (
        [SERVER], {"route get " + SERVER: [{"type": "local", "dev": "lo", "prefsrc": SERVER}]}, "is this host's own"),
    "a multicast group": (
        ["224.0.0.1"], {"route get 224.0.0.1": [{"type": "multicast", "dev": "eth0", "prefsrc": "192.0.2.5"}]},
        "it goes by multicast"),
    "an encapsulated route": (
        [SERVER], {"route get " + SERVER: [{"dev": "eth0", "encap": "mpls", "prefsrc": "192.0.2.5"}]},
        "it goes by an encapsulation"),
    "a gateway of IPv6": (
        [SERVER], {"route get " + SERVER: [{"dev": "eth0", "via": {"family": "inet6"}, "prefsrc": "192.0.2.5"}]},
        "it goes by a gateway of another address family"),
    "no source": ([SERVER], {"route get " + SERVER: [{"dev": "eth0"}]}, "has no lasting address to speak from"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_ways_that_are_refused(net, case):
    addresses, answers, expected = REFUSED[case]
    net.card()
    net.answers.update(answers)
    assert expected in net.refusal(addresses)


def test_what_is_wrong_with_each_address_is_told(net):
    text = net.refusal([SERVER, "fe80::7"])
    assert "no route to the server 198.51.100.7" in text and "fe80::7 is link-local" in text


def test_without_ip_nothing_can_be_said(net):
    (net.root / "usr/sbin/ip").unlink()
    with pytest.raises(Missing, match="Install the package iproute2"):
        net.plan()


POLICY = "src 192.0.2.0/24 dst 198.51.100.0/24 \n\tdir %s priority %d ptype main \n%s"
TEMPLATE = "\ttmpl src 0.0.0.0 dst 0.0.0.0\n\t\tproto esp reqid 1 mode transport\n"


@pytest.mark.parametrize(
    "policies, refused",
    [
        (POLICY % ("out", 100, TEMPLATE), True),
        (POLICY % ("in", 100, TEMPLATE), False),
        (POLICY % ("out", 100, ""), False),
        (POLICY % ("out", 100, TEMPLATE) + POLICY % ("out", 50, ""), False),
        ((POLICY % ("out", 100, TEMPLATE)).replace("198.51.100.0/24", "10.0.0.0/8"), False),
        ("src 0.0.0.0/0 dst 0.0.0.0/0 \n\tsocket in priority 0 \n", False),
        ("src x dst y \n\tdir out priority 1 \n" + TEMPLATE, False),
    ],
)
def test_ipsec(net, policies, refused):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way()
    net.policies = policies
    if refused:
        assert "is encrypted by IPsec" in net.refusal()
    else:
        assert net.plan().address == SERVER


# --- cards ---------------------------------------------------------------------------------------------------------------
CARDS = {
    # of the card: what is told of it, its line, the MAC it gets
    "its own MAC": ({}, "nic eth0 mac %s -" % MAC, None),
    "another MAC, its own is told": (
        {"assigned": 3, "permaddr": OTHER}, "nic eth0 mac %s -" % OTHER, "mac eth0 %s" % MAC),
    "another MAC, its own is not told": (
        {"assigned": 3}, "nic eth0 path pci0000:00/0000:00:03.0/virtio* 1", "mac eth0 %s" % MAC),
    "a MAC by chance": ({"assigned": 1}, "nic eth0 path pci0000:00/0000:00:03.0/virtio* 1", None),
    "a MAC that is none": ({"mac": "x y"}, "nic eth0 path pci0000:00/0000:00:03.0/virtio* 1", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CARDS)
def test_how_a_card_is_found(net, case):
    more, line, mac = CARDS[case]
    net.card(**dict({"parent": "/virtio0", "port": 1}, **more))
    assert net.lines() == [line] + ([mac] if mac else []) + ["up eth0 1500"]


def test_two_cards_with_the_same_mac_are_found_by_their_places(net):
    net.card(driver="hv_netvsc")
    net.card("eth1", MAC, 4, "mlx5_core")
    assert net.lines()[0] == "nic eth0 path pci0000:00/0000:00:03.0 0"


def test_a_virtual_device_with_the_same_mac_is_no_second_card(net):
    net.card()
    net.upper("br9", "bridge", [])
    assert net.lines()[0] == "nic eth0 mac %s -" % MAC


def test_drivers(net):
    """The card's, those of what it is on and of its phy, and what the driver wants of user space."""
    node = net.card(driver="mlx4_core")
    net.write(image_host.PCI + "/0000:00:03.0/modalias", "pci:x")
    net.driver("/sys/devices/platform/mdio/phy:00", "realtek")
    net.link(node + "/phydev", "/sys/devices/platform/mdio/phy:00")
    net.write("/sys/devices/platform/mdio/modalias", "platform:mdio")
    net.inet("eth0", "192.0.2.5/24")
    net.way()
    found = net.plan()
    assert found.modules == ["mlx4_core", "realtek", "mlx4_en"] and found.aliases == ["platform:mdio"]


KINDS = {
    "team": "a network team (teamd); a bond does the same", "openvswitch": "an Open vSwitch", "vxlan": "a VXLAN",
    "geneve": "a Geneve tunnel", "wireguard": "WireGuard", "tun": "a tun or tap device", "macvlan": "a macvlan",
    "macvtap": "a macvtap", "ipvlan": "an ipvlan", "macsec": "MACsec", "ipoib": "IP over InfiniBand",
    "veth": "a virtual Ethernet pair", "dummy": "a dummy device", "gre": "a device of the kind gre",
    "dsa": "a port of a switch chip",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_refused(net, kind):
    net.device("x0", "/sys/devices/virtual/net/x0", kind)
    net.inet("x0", "192.0.2.5/24")
    net.way(device="x0")
    text = net.refusal()
    assert "cannot reach the server by the device x0: it is " + KINDS[kind] in text
    assert "Reach the server by a network card, a VLAN, a bond or a bridge" in text


@pytest.mark.parametrize(
    "link_type, what",
    [("infiniband", "IP over InfiniBand"), ("ppp", "PPP"), ("none", "a device of the kind none")],
)
def test_what_is_no_ethernet_is_refused(net, link_type, what):
    net.card(link_type=link_type)
    net.inet("eth0", "192.0.2.5/24")
    net.way()
    assert "it is " + what in net.refusal()


def test_wireless_virtual_and_channel_attached_cards_are_refused(net):
    net.mkdir(net.card("wlan0") + "/phy80211")
    net.device("x0", "/sys/devices/virtual/net/x0")
    net.link(net.device("enc1", "/sys/devices/qeth/0.0.f500/net/enc1") + "/device", "/sys/devices/qeth/0.0.f500")
    net.mkdir("/sys/devices/qeth/0.0.f500")
    for device, what in (("wlan0", "a wireless network"), ("x0", "without hardware"), ("enc1", "a channel-attached")):
        net.inet(device, "192.0.2.5/24")
        net.way(device=device)
        assert what in net.refusal()


# --- stacked devices -------------------------------------------------------------------------------------------------------
def test_a_vlan(net):
    net.card()
    net.vlan("eth0.5", "eth0", mtu=1400)
    assert net.lines("eth0.5") == [
        "nic eth0 mac %s -" % MAC, "up eth0 1500", "vlan eth0.5 eth0 802.1Q 5", "up eth0.5 1400",
    ]  # fmt: skip
    assert "8021q" in net.plan().modules


def test_a_vlan_of_a_provider_with_gvrp_and_a_mac(net):
    net.card()
    net.vlan("outer", "eth0", 7, data={"protocol": "802.1ad", "flags": ["GVRP"]}, address=OTHER, assigned=3)
    assert net.lines("outer")[2:] == ["vlan outer eth0 802.1ad 7 gvrp on", "mac outer " + OTHER, "up outer 1500"]


def test_a_vlan_whose_lower_device_is_elsewhere_is_refused(net):
    net.vlan("eth0.5", "eth0", link_netnsid=0)
    net.inet("eth0.5", "192.0.2.5/24")
    net.way(device="eth0.5")
    assert "a VLAN of a device in another network namespace" in net.refusal()


BONDS = {
    "active-backup": (
        {"primary": "eth1", "primary_reselect": "always 0", "fail_over_mac": "none 0", "updelay": "200"},
        ["mode active-backup", "miimon 100", "updelay 200", "primary eth1"]),
    "802.3ad": (
        {"mode": "802.3ad 4", "lacp_rate": "fast 1", "xmit_hash_policy": "layer3+4 1", "ad_select": "stable 0",
         "min_links": "1", "ad_actor_system": "00:00:00:00:00:00", "ad_actor_sys_prio": "65535"},
        ["mode 802.3ad", "miimon 100", "xmit_hash_policy layer3+4", "lacp_rate fast", "min_links 1"]),
    "watched by ARP": (
        {"miimon": "0", "arp_interval": "500", "arp_ip_target": "192.0.2.1 192.0.2.2", "arp_validate": "none 0"},
        ["mode active-backup", "arp_interval 500", "arp_ip_target +192.0.2.1", "arp_ip_target +192.0.2.2"]),
    "watched by neighbours of IPv6 (ns_ip6_target)": (
        {"miimon": "0", "arp_interval": "500", "arp_ip_target": ""}, ["mode active-backup", "miimon 100"]),
    "not watched": ({"mode": "balance-rr 0", "miimon": "0", "arp_interval": "0"}, ["mode balance-rr", "miimon 100"]),
    "each with its own MAC": ({"fail_over_mac": "active 1"}, ["mode active-backup", "miimon 100", "fail_over_mac active"]),
}  # fmt: skip


@pytest.mark.parametrize("told", [OTHER, ""], ids=["", "before Linux 5.6"])
@pytest.mark.parametrize("case", BONDS)
def test_a_bond(net, case, told):
    """The kernel gives the first member's MAC to all of them."""
    options, expected = BONDS[case]
    for node, own in ((net.card(assigned=3), MAC), (net.card("eth1", MAC, 4, "tg3", permaddr=told, assigned=3), OTHER)):
        net.write(node + "/bonding_slave/perm_hwaddr", own + "\n")
    net.bond(options=options, assigned=2)
    assert net.lines("bond0") == (
        ["nic eth0 mac %s -" % MAC, "nic eth1 mac %s -" % OTHER, "bond bond0"]
        + ["set bond0 bonding/" + option for option in expected]
        + ["member bond0 eth0", "member bond0 eth1", "up bond0 1500"]
    )  # fmt: skip
    assert net.plan().modules == ["bonding", "virtio_net", "tg3"]


@pytest.mark.parametrize("address", ["02:00:00:00:00:01", MAC, OTHER])
def test_the_mac_of_a_bond_that_was_set_comes_before_its_members_and_after_the_cards(net, address):
    """It may be a card's own, by which /init would find the bond in its place."""
    net.card(mac=address, permaddr=MAC, assigned=3)
    net.card("eth1", address, 4, permaddr=OTHER, assigned=3)
    net.bond(address=address, assigned=3)
    assert [line for line in net.lines("bond0") if not line.startswith("set")] == [
        "nic eth0 mac %s -" % MAC, "nic eth1 mac %s -" % OTHER, "bond bond0", "mac bond0 " + address,
        "member bond0 eth0", "member bond0 eth1", "up bond0 1500",
    ]  # fmt: skip


def test_bonds_that_are_refused(net):
    net.bond(lower=[])
    net.upper("bond1", "bond", [])
    for device, what in (("bond0", "a bond without members"), ("bond1", "a bond whose options cannot be read")):
        net.inet(device, "192.0.2.5/24")
        net.way(device=device)
        assert what in net.refusal()


def test_every_member_that_is_refused_is_told(net):
    net.device("team0", "/sys/devices/virtual/net/team0", "team")
    net.device("vx0", "/sys/devices/virtual/net/vx0", "vxlan")
    net.bond(lower=["team0", "vx0"])
    net.inet("bond0", "192.0.2.5/24")
    net.way(device="bond0")
    text = net.refusal()
    assert "the device team0" in text and "the device vx0" in text


def test_a_bridge_without_its_guests(net):
    net.card()
    net.device("vnet0", "/sys/devices/virtual/net/vnet0", "tun")
    net.device("veth1", "/sys/devices/virtual/net/veth1", "veth")
    net.bridge(lower=["eth0", "vnet0", "veth1"], assigned=1)
    assert net.lines("br0") == [
        "bridge br0", "set br0 bridge/stp_state 0", "set br0 bridge/forward_delay 0", "nic eth0 mac %s -" % MAC,
        "member br0 eth0", "up br0 1500",
    ]  # fmt: skip
    assert "bridge" in net.plan().modules


@pytest.mark.parametrize(
    "tree, cards, options",
    [
        ("1", 1, ["stp_state 0", "forward_delay 0"]),
        ("0", 2, ["stp_state 0", "forward_delay 0"]),
        ("1", 2, ["stp_state 1"]),
    ],
)
def test_the_spanning_tree_stays_where_a_loop_could_be(net, tree, cards, options):
    names = ["eth0", "eth1"][:cards]
    for number, name in enumerate(names):
        net.card(name, [MAC, OTHER][number], 3 + number)
    net.bridge(lower=names, tree=tree)
    found = [line for line in net.lines("br0") if line.startswith("set")]
    assert found == ["set br0 bridge/" + option for option in options]


@pytest.mark.parametrize("address, line", [(MAC, []), (OTHER, ["mac br0 " + OTHER])])
def test_the_mac_of_a_bridge_that_was_set(net, address, line):
    net.card()
    net.bridge(address=address, assigned=3)
    assert [one for one in net.lines("br0") if one.startswith("mac")] == line


def test_a_bridge_of_large_frames_has_cards_that_take_them(net):
    net.card(mtu=9000)
    net.vlan("eth0.5", "eth0", mtu=9000)
    net.bridge(lower=["eth0.5"], mtu=9000)
    assert net.lines("br0")[-6:] == [
        "nic eth0 mac %s -" % MAC, "up eth0 9000", "vlan eth0.5 eth0 802.1Q 5", "up eth0.5 9000", "member br0 eth0.5",
        "up br0 9000",
    ]  # fmt: skip


def test_a_bridge_without_a_card_is_refused(net):
    net.device("vnet0", "/sys/devices/virtual/net/vnet0", "tun")
    net.bridge(lower=["vnet0"])
    net.inet("br0", "192.0.2.5/24")
    net.way(device="br0")
    assert "a bridge without a network card" in net.refusal()


UNTAGGED = ["PVID", "Egress Untagged"]


@pytest.mark.parametrize(
    "card, refused",
    [
        ([{"vlan": 1, "flags": UNTAGGED}, {"vlan": 2, "vlanEnd": 4094}], False),
        ([{"vlan": 5, "flags": UNTAGGED}], True),
        ([{"vlan": 1}], True),
    ],
)
def test_a_bridge_that_filters_vlans(net, card, refused):
    net.card()
    net.bridge(filtering="1")
    net.inet("br0", "192.0.2.5/24")
    net.way(device="br0")
    net.answers["vlan show"] = [
        {"ifname": "eth0", "vlans": card}, {"ifname": "br0", "vlans": [{"vlan": 1, "flags": UNTAGGED}]},
    ]  # fmt: skip
    if refused:
        assert "a bridge that tags or untags VLANs" in net.refusal()
    else:
        assert "bridge br0" in net.plan().text


def test_a_bridge_over_a_vlan_over_a_bond(net):
    net.card(permaddr=MAC)
    net.card("eth1", OTHER, 4)
    net.bond(assigned=2)
    net.vlan("bond0.5", "bond0")
    net.bridge(lower=["bond0.5"])
    assert [line.split()[:3] for line in net.lines("br0") if not line.startswith("set")] == [
        ["bridge", "br0"], ["nic", "eth0", "mac"], ["nic", "eth1", "mac"], ["bond", "bond0"], ["member", "bond0", "eth0"],
        ["member", "bond0", "eth1"], ["up", "bond0", "1500"], ["vlan", "bond0.5", "bond0"], ["member", "br0", "bond0.5"],
        ["up", "br0", "1500"],
    ]  # fmt: skip
    found = net.plan()
    assert {"bonding", "8021q", "bridge", "virtio_net"} == set(found.modules)


# --- DHCP ------------------------------------------------------------------------------------------------------------------
def test_dhcp(net):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way(gateway="192.0.2.1")
    found = net.plan(dhcp=True)
    assert found.text.split("\n") == ["nic eth0 mac %s -" % MAC, "up eth0 1500", "link eth0", "dhcp eth0", ""]
    assert found.host_address == "" and ("udhcpc", "busybox") in found.programs and "af_packet" in found.aliases
    assert [(name, data[:10], mode) for name, data, mode in found.files] == [
        ("etc/kdump/udhcpc", b"#!/bin/sh\n", 0o755)
    ]


def test_dhcp_takes_the_servers_ipv4_address(net):
    net.card()
    net.inet("eth0", "192.0.2.5/24", "2001:db8:1::5/64")
    net.way()
    net.way(SERVER6, source="2001:db8:1::5")
    assert net.plan([SERVER6, SERVER], dhcp=True).address == SERVER
    assert "DHCP in the capture kernel is IPv4 only" in net.refusal([SERVER6], dhcp=True)


@pytest.mark.parametrize("name", ["KDUMP_COMMANDLINE", "KDUMP_COMMANDLINE_APPEND"])
@pytest.mark.parametrize(
    "words, expected",
    [
        ("", False),
        ("irqpoll ip=dhcp nr_cpus=1", True),
        ("ip=eth0:dhcp", True),
        ("ip=any", True),
        ("ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none", None),
        ("ip=dhcp6", None),
        ("ip=eth0:dhcp:1400", None),
        ("ip=eth0:auto6 ip=eth1:dhcp", None),
        ("ipv6.disable=1 zip=dhcp ip", False),
    ],
)
def test_who_asks_for_dhcp_and_what_else_is_refused(name, words, expected):
    settings = {name: words}
    if expected is None:
        with pytest.raises(KdumpError) as error:
            network.check_settings(settings)
        assert [problem.option for problem in error.value.problems] == [name]
        assert "does not go by ip=" in str(error.value)
    else:
        network.check_settings(settings)
        assert network.wants_dhcp(settings) is expected


def test_what_is_taken_out_of_the_command_line_is_not_asked_for():
    taken_out = {"KDUMP_COMMANDLINE": "ro ip=dhcp6 ip=dhcp", "KDUMP_COMMANDLINE_REMOVE": "quiet ip"}
    network.check_settings(taken_out)
    assert not network.wants_dhcp(taken_out)
    assert network.wants_dhcp(dict(taken_out, KDUMP_COMMANDLINE_APPEND="ip=dhcp"))
