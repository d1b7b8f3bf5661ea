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
    "macsec": "MACsec", "ipoib": "IP over InfiniBand", "veth": "a virtual Ethernet pair (a container's)",
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


class Stack(NamedTuple):
    """Lines for init_network.NETWORK that make a device, and modules as in Network."""

    lines: List[str]
    modules: List[str]
    aliases: List[str]


def query(host: Any, words: List[str]) -> Tuple[List[Dict[str, Any]], str]:
    """What `ip -j` prints: objects, none where it fails; and what it says on standard error."""
    result = host.run(["ip", "-j"] + words, timeout=30)
    try:
        found = json.loads(result.out or "[]") if result.rc == 0 else []
    except ValueError:
        found = []
    said = (result.err.strip().split("\n") or [""])[0]
    return [item for item in found if isinstance(item, dict) and item], said


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
            self.lines.append("up %s %d" % (name, link.get("mtu", 1500)))

    def _link(self, name: str) -> Dict[str, Any]:
        found, _said = query(self._host, ["-d", "link", "show", "dev", name])
        return found[0] if found else {}

    def _card(self, name: str, link: Dict[str, Any]) -> None:
        node = "/sys/class/net/" + name
        device = self._host.realpath(node + "/device")
        if self._host.exists(node + "/wireless") or self._host.exists(node + "/phy80211"):
            self._refuse(name, "a wireless network")
        elif link.get("link_type", "ether") != "ether":
            self._refuse(name, _KINDS.get({"infiniband": "ipoib"}.get(link["link_type"], link["link_type"]),
                                          "a device of the kind %s" % link["link_type"]))  # fmt: skip
        elif not self._host.is_dir(device):
            self._refuse(name, "a device without hardware")
        else:
            self.lines.append("nic %s mac %s -" % (name, link.get("address", "")))
            self._drivers([device])

    def _drivers(self, devices: List[str]) -> None:
        modules, aliases = storage.drivers_of(self._host, devices)
        for module in modules:
            modules = modules + _COMPANIONS.get(module, [])
        self.modules += modules
        self.aliases += aliases

    def _lower(self, name: str) -> List[str]:
        """The devices under one: Documentation/ABI/testing/sysfs-class-net, lower_<name>."""
        names = self._host.listdir("/sys/class/net/" + name)
        return [entry[len("lower_") :] for entry in names if entry.startswith("lower_")]

    def _vlan(self, name: str, link: Dict[str, Any]) -> None:
        raise NotImplementedError

    def _bond(self, name: str, link: Dict[str, Any]) -> None:
        raise NotImplementedError

    def _bridge(self, name: str, link: Dict[str, Any]) -> None:
        raise NotImplementedError

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
