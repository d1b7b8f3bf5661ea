# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a network device down to the cards: how the capture kernel makes it anew. Private to this collection.

VLANs, bonds and bridges, in any order on each other; other kinds of devices are refused by name.
"""

import json
import re
from typing import Any, Dict, List, NamedTuple, Tuple

from ..problems import KdumpError, Problem
from . import storage

_WAY_OUT = "Reach the server by a network card, a VLAN, a bond or a bridge, or dump to a local file system."
_KINDS = {
    "team": "a network team (teamd); a bond does the same without a daemon",
    "openvswitch": "an Open vSwitch", "vxlan": "a VXLAN", "geneve": "a Geneve tunnel", "wireguard": "WireGuard",
    "tun": "a tun or tap device of a program", "macvlan": "a macvlan", "macvtap": "a macvtap", "ipvlan": "an ipvlan",
    "macsec": "MACsec", "ipoib": "IP over InfiniBand", "infiniband": "IP over InfiniBand",
    "veth": "a virtual Ethernet pair (a container's)",
    "dummy": "a dummy device", "dsa": "a port of a switch chip (DSA)", "ppp": "PPP", "xfrm": "IPsec (xfrm)",
    "vti": "IPsec (vti)", "vti6": "IPsec (vti6)", "wwan": "a cellular modem",
}  # fmt: skip
# A port of a bridge that leads to a guest or a container of this host, which will be dead.
_INNER = ("tun", "veth", "macvtap", "dummy", "ifb")
# What of a bond is set again, in this order (the mode must be first; Documentation/networking/bonding.rst), and the
# value that a new one has.
_BOND_OPTIONS = (
    ("mode", "balance-rr"), ("miimon", "0"), ("updelay", "0"), ("downdelay", "0"), ("arp_interval", "0"),
    ("arp_ip_target", ""), ("arp_validate", "none"), ("xmit_hash_policy", "layer2"), ("lacp_rate", "slow"),
    ("ad_select", "stable"), ("ad_actor_system", "00:00:00:00:00:00"), ("ad_actor_sys_prio", "65535"),
    ("ad_user_port_key", "0"), ("min_links", "0"), ("fail_over_mac", "none"), ("primary", ""),
    ("primary_reselect", "always"),
)  # fmt: skip
# Drivers whose part for Ethernet is a module of its own, which the kernel asks user space for (mlx4_request_modules()).
_COMPANIONS = {"mlx4_core": ["mlx4_en"]}
_SET = "3"  # addr_assign_type: NET_ADDR_SET of include/uapi/linux/netdevice.h, somebody has set the address
_PERMANENT = "0"
_MTU = 1500  # of a new Ethernet device


class Stack(NamedTuple):
    """Lines for init_network.NETWORK that make a device, and modules as in Network."""

    lines: List[str]
    modules: List[str]
    aliases: List[str]


def query(host: Any, words: List[str], program: str = "ip") -> Tuple[List[Dict[str, Any]], str]:
    """The objects that `ip -j` prints, none where it fails; and what it says on standard error."""
    result = host.run([program, "-j"] + words, timeout=30)
    try:
        found = json.loads(result.out or "[]") if result.rc == 0 else []
    except ValueError:
        found = []
    said = (result.err.strip().split("\n") or [""])[0]
    return [item for item in found if isinstance(item, dict) and item] if isinstance(found, list) else [], said


def below(host: Any, name: str) -> Stack:
    """The stack that carries a device. KdumpError with everything in it that the capture kernel cannot make."""
    walk = _Walk(host)
    walk.device(name)
    if walk.problems:
        raise KdumpError(walk.problems)
    return Stack(walk.lines, walk.modules, walk.aliases)


class _Walk:
    def __init__(self, host: Any) -> None:
        self._host = host
        self._seen: List[str] = []
        self._own_address: Dict[str, str] = {}  # the MAC that a device would have by itself
        self.lines: List[str] = []
        self.modules: List[str] = []
        self.aliases: List[str] = []
        self.problems: List[Problem] = []

    def device(self, name: str, enslaved: bool = False) -> None:
        """One device, after those under it. One that is enslaved is set up by its master."""
        if name in self._seen:
            return
        self._seen.append(name)
        link = self._link(name)
        kind = link.get("linkinfo", {}).get("info_kind", "")
        make = {"vlan": self._vlan, "bond": self._bond, "bridge": self._bridge, "": self._card}.get(kind)
        if make is None:
            self._refuse(name, _KINDS.get(kind, "a device of the kind %s" % kind))
            return
        make(name, link)
        if not enslaved:
            if make == self._card:
                self._address(name, link)
            self.lines.append("up %s %d" % (name, link.get("mtu", _MTU)))

    def _address(self, name: str, link: Dict[str, Any]) -> None:
        """The MAC that somebody has given to the device; one that the kernel chose is not worth a line."""
        if self._text("/sys/class/net/%s/addr_assign_type" % name) != _SET:
            return
        address, own = link.get("address", ""), self._own_address.get(name, "")
        if address != own and re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", address):
            self.lines.append("mac %s %s" % (name, address))

    def _link(self, name: str) -> Dict[str, Any]:
        found, _said = query(self._host, ["-d", "link", "show", "dev", name])
        return found[0] if found else {}

    def _card(self, name: str, link: Dict[str, Any]) -> None:
        node = "/sys/class/net/" + name
        device = self._host.realpath(node + "/device")
        kind = link.get("link_type", "ether")
        if self._host.exists(node + "/wireless") or self._host.exists(node + "/phy80211"):
            self._refuse(name, "a wireless network")
        elif kind != "ether":
            self._refuse(name, _KINDS.get(kind, "a device of the kind %s" % kind))
        elif not self._host.is_dir(node + "/device"):
            self._refuse(name, "a device without hardware")
        elif re.search(r"/devices/(qeth|lcs|ctcm|netiucv|css\d)", device):
            self._refuse(name, "a channel-attached network card (CCW), which needs to be configured")
        else:
            self.lines.append("nic %s %s" % (name, self._identity(name, link, device)))
            phy = [self._host.realpath(node + "/phydev")] if self._host.exists(node + "/phydev") else []
            self._drivers([device] + phy)

    def _identity(self, name: str, link: Dict[str, Any], device: str) -> str:
        """How the capture kernel finds the card: by the MAC that it was made with, else by its place on the bus."""
        permanent = self._permanent(name, link)
        self._own_address[name] = permanent
        others, _said = query(self._host, ["link", "show"])
        cards = [other for other in others if self._host.exists("/sys/class/net/%s/device" % other.get("ifname"))]
        same = [card for card in cards if (self._told(card) or card.get("address")) == permanent]
        if permanent and [card.get("ifname") for card in same] in ([], [name]):
            return "mac %s -" % permanent
        # Virtio devices are counted as they are found.
        place = re.sub(r"/virtio\d+", "/virtio*", device[len("/sys/devices/") :])
        return "path %s %s" % (place, self._text("/sys/class/net/%s/dev_port" % name) or "0")

    def _permanent(self, name: str, link: Dict[str, Any]) -> str:
        """The MAC of the hardware, "" where it is not known. ip tells it only where it is not the one in use."""
        found = self._told(link)
        if not found and self._text("/sys/class/net/%s/addr_assign_type" % name) in (_PERMANENT, ""):
            found = str(link.get("address", ""))
        return found if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", found) else ""

    def _told(self, link: Dict[str, Any]) -> str:
        """The MAC of the hardware where the kernel tells it beside the one in use."""
        told = str(link.get("permaddr", ""))  # since Linux 5.6; before, of a bond's members only
        return told or self._text("/sys/class/net/%s/bonding_slave/perm_hwaddr" % link.get("ifname"))

    def _drivers(self, devices: List[str]) -> None:
        modules, aliases = storage.drivers_of(self._host, devices)
        self.modules += modules + [other for module in modules for other in _COMPANIONS.get(module, [])]
        self.aliases += aliases

    def _lower(self, name: str) -> List[str]:
        """The devices under one: Documentation/ABI/testing/sysfs-class-net, lower_<name>."""
        names = self._host.listdir("/sys/class/net/" + name)
        return [entry[len("lower_") :] for entry in names if entry.startswith("lower_")]

    def _vlan(self, name: str, link: Dict[str, Any]) -> None:
        data, lower = link["linkinfo"].get("info_data", {}), str(link.get("link", ""))
        if "link_netnsid" in link or lower not in self._lower(name):
            self._refuse(name, "a VLAN of a device in another network namespace")
            return
        self.device(lower)
        flags = ["gvrp on"] if "GVRP" in data.get("flags", []) else []
        words = ["vlan", name, lower, data.get("protocol", "802.1Q"), str(data.get("id", ""))] + flags
        self.lines.append(" ".join(words))
        self.modules.append("8021q")
        self._own_address[name] = self._link(lower).get("address", "")
        self._address(name, link)

    def _bond(self, name: str, link: Dict[str, Any]) -> None:
        members = self._lower(name)
        if not members:
            self._refuse(name, "a bond without members")
        if not self._text("/sys/class/net/%s/bonding/mode" % name):
            self._refuse(name, "a bond whose options cannot be read")
        # The cards first: the bond may have been given the MAC of one of them, and would be found in its place.
        self.modules.append("bonding")
        for member in members:
            self.device(member, enslaved=True)
        self.lines.append("bond " + name)
        self.lines += ["set %s bonding/%s %s" % (name, option, value) for option, value in self._bond_options(name)]
        self._address(name, link)
        self.lines += ["member %s %s" % (name, member) for member in members]

    def _bond_options(self, name: str) -> List[Tuple[str, str]]:
        """In the order to set them in, those that differ from a new bond's."""
        values = {}
        for option, default in _BOND_OPTIONS:
            # A value by name and number, `802.3ad 4`; addresses, one after the other.
            words = self._text("/sys/class/net/%s/bonding/%s" % (name, option)).split()
            if words and (words[0] != default or option == "mode"):
                values[option] = words if option == "arp_ip_target" else words[:1]
        if "arp_ip_target" not in values:
            values.pop("arp_interval", None)  # those that it asks are IPv6's (ns_ip6_target), which sysfs does not have
        if "arp_interval" not in values:
            values.setdefault("miimon", ["100"])  # without it a bond sees no link go, and /init none come
        plus = {"arp_ip_target": "+"}
        return [(option, plus.get(option, "") + word) for option in values for word in values[option]]

    def _bridge(self, name: str, link: Dict[str, Any]) -> None:
        members = [member for member in self._lower(name) if self._kind(member) not in _INNER]
        if not members:
            self._refuse(name, "a bridge without a network card")
        if self._text("/sys/class/net/%s/bridge/vlan_filtering" % name) == "1" and self._tags(name, members):
            self._refuse(name, "a bridge that tags or untags VLANs (vlan_filtering)")
        # Without it two cards in one network would make a loop; with one alone it only costs time.
        tree = self._text("/sys/class/net/%s/bridge/stp_state" % name) not in ("", "0") and len(members) > 1
        self.lines.append("bridge " + name)
        options = ["stp_state 1"] if tree else ["stp_state 0", "forward_delay 0"]
        self.lines += ["set %s bridge/%s" % (name, option) for option in options]
        self.modules.append("bridge")
        for member in members:
            self.device(member, enslaved=True)
            mtu = self._link(member).get("mtu", _MTU)
            if mtu != _MTU:  # a bridge does not hand its own on, as a bond does, and drops what is larger
                self.lines.append("up %s %d" % (member, mtu))
            self.lines.append("member %s %s" % (name, member))
        if len(members) == 1:
            self._own_address[name] = self._link(members[0]).get("address", "")
        self._address(name, link)

    def _kind(self, name: str) -> str:
        return str(self._link(name).get("linkinfo", {}).get("info_kind", ""))

    def _tags(self, bridge: str, members: List[str]) -> bool:
        """Whether a frame leaves by a member otherwise than it is on the bridge: other untagged VLANs there."""
        found, _said = query(self._host, ["vlan", "show"], "bridge")
        plain = {}
        for item in found:
            vlans = item.get("vlans", [])
            plain[item.get("ifname")] = sorted(
                (vlan["vlan"], sorted(vlan["flags"])) for vlan in vlans if vlan.get("flags")
            )
        return any(plain.get(member, []) != plain.get(bridge) for member in members)

    def _text(self, path: str) -> str:
        try:
            return str(self._host.read_text(path, "")).strip()
        except OSError:
            return ""

    def _refuse(self, name: str, what: str) -> None:
        self.problems.append(Problem(
            "The native engine cannot reach the server by the device %s: it is %s." % (name, what), _WAY_OUT,
            value=name,
        ))  # fmt: skip
