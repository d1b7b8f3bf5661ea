# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a server's address down to the network cards: what the capture kernel must set up to reach it.

Private to this collection. The kernel itself is asked for the way (`ip route get`, which takes every table and rule
into account), and only that way is rebuilt in the capture kernel: the devices that it goes through
(network_devices.py), one address, one route. What does not follow from the host's configuration (lifetimes, indexes,
metrics, the order of listings, temporary addresses) is left out of the text, for a change of it makes a host stale.
"""

import ipaddress
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .. import cmdline
from ..problems import KdumpError, Missing, Problem, fail, shown
from . import init_network, network_devices

_COMMAND_LINES = ("KDUMP_COMMANDLINE", "KDUMP_COMMANDLINE_APPEND")
_DHCP = re.compile(r"ip=(?:[^:]+:)?(?:dhcp|on|any)\Z")


class Network(NamedTuple):
    """The way to a server."""

    address: str  # of the server, numeric: the one of those given to which there is a route
    host_address: str  # this host's name in dump directories; "" where DHCP will say it in the capture kernel
    text: str  # /etc/kdump/network: what init_network.NETWORK does, line by line
    modules: List[str]  # that must be loaded
    aliases: List[str]  # to load if the kernel has them
    programs: List[Tuple[str, str]]  # name and package: needed during the whole capture; busybox's do
    files: List[Tuple[str, bytes, int]]  # further files of the image: name, content, mode


class _Way(NamedTuple):
    """What the kernel says of the way to an address. `gateway` and `mtu` are "" where it has none of its own."""

    address: str
    device: str
    gateway: str
    source: str
    prefix: int
    mtu: str
    host_address: str


def observe(host: Any, addresses: List[str], dhcp: bool) -> Network:
    """The network for a server of these numeric addresses. KdumpError with all that the capture kernel cannot do.

    With `dhcp` the capture kernel asks for its own address and routes, and this host's say only by which device.
    """
    if host.which("ip") is None:
        raise Missing([Problem("The program ip is not on this host.", "Install the package iproute2.", value="ip")])
    way = _first_way(host, addresses, dhcp)
    stack = network_devices.below(host, way.device)
    lines = stack.lines + ["link %s" % way.device]
    modules, programs = list(stack.modules), [("ip", "iproute2")]
    aliases, files = list(stack.aliases), []
    if dhcp:
        lines.append("dhcp %s" % way.device)
        aliases.append("af_packet")
        programs.append(("udhcpc", "busybox"))
        files.append(("etc/kdump/udhcpc", init_network.UDHCPC.encode(), 0o755))
    else:
        lines += _addressing(host, way)
        modules += ["ipv6"] if ":" in way.address else []
    host_address = "" if dhcp else way.host_address
    return Network(way.address, host_address, "".join(line + "\n" for line in lines), modules, aliases, programs, files)


def wants_dhcp(settings: Dict[str, str]) -> bool:
    """Whether the capture kernel is to ask for its address: `ip=dhcp`, or `ip=INTERFACE:dhcp`, as dracut.cmdline(7) has it."""
    return any(_DHCP.match(word) for dummy, word in _words(settings))


def check_settings(settings: Dict[str, str]) -> None:
    """KdumpError with all other words of dracut.cmdline(7) that would set up a network: nothing here goes by them."""
    problems = [
        Problem(
            "%s: the native engine does not go by %s." % (name, shown(word)),
            "Take it out: the host's own addresses and routes are used then. Or ask for an IPv4 address by ip=dhcp.", name, word,
        )
        for name, word in _words(settings) if not _DHCP.match(word)
    ]  # fmt: skip
    if problems:
        raise KdumpError(problems)


def _words(settings: Dict[str, str]) -> List[Tuple[str, str]]:
    """The words for addresses on the capture kernel's command line, each with the variable that has it."""
    whole, append = (cmdline.split(settings.get(name, "")) for name in _COMMAND_LINES)
    whole = cmdline.without(whole, cmdline.keys(settings.get("KDUMP_COMMANDLINE_REMOVE", "")))
    words = [(_COMMAND_LINES[0], word) for word in whole]
    words += [(_COMMAND_LINES[1], word) for word in append]
    return [(name, word) for name, word in words if cmdline.key(word) == "ip" and "=" in word]


def _first_way(host: Any, addresses: List[str], dhcp: bool) -> _Way:
    """The way to the first address that has one; KdumpError with what is wrong with each."""
    problems: List[Problem] = []
    for address in _ordered(addresses):
        try:
            if dhcp and ":" in address:
                raise fail(
                    "The server's address %s is IPv6, and DHCP in the capture kernel is IPv4 only." % address,
                    "Take ip=dhcp out of KDUMP_COMMANDLINE and KDUMP_COMMANDLINE_APPEND: the host's own addresses are used then.",
                    _COMMAND_LINES[1],
                )
            return _way(host, address)
        except KdumpError as error:
            problems += error.problems
    raise KdumpError(problems or [Problem(
        "The server has no address.", "Correct its name in kdump.conf, or what resolves it (/etc/hosts, DNS).",
    )])  # fmt: skip


def _ordered(addresses: List[str]) -> List[str]:
    """The families as the resolver prefers them, the addresses of each in an order that a name server cannot shuffle."""
    families = [":" in address for address in addresses]
    return sorted(set(addresses), key=lambda address: (families.index(":" in address), _number(address)))


def _number(address: str) -> Tuple[int, str]:
    try:
        return int(ipaddress.ip_address(address)), address
    except ValueError:
        return 0, address


def _way(host: Any, address: str) -> _Way:
    if "%" in address or (":" in address and ipaddress.ip_address(address).is_link_local):
        raise fail(
            "The server's address %s is link-local: it names a neighbour of one interface only." % address,
            "Give the server a global or a unique local address (fd00::/8), and use that.",
            value=address,
        )
    route = _route(host, address, [])
    hop = _equal_hop(host, address, route)
    if hop:
        route = dict(_route(host, address, ["oif", hop["dev"]]), **hop)
    source = _source(host, address, route)
    if not hop:
        # A rule by source address may lead elsewhere, once the source is known: connect(2) looks twice too.
        route = _route(host, address, ["from", source])
    _check_ipsec(host, source, address)
    device = route["dev"]
    own = _addresses(host, device, address)
    prefix = [item["prefixlen"] for item in own if item["local"] == source]
    if not prefix:
        _check_announced(host, source, address)
    # As `ip addr` lists them, which is what kdump-utils goes by; IPv6 lists the newest first.
    first = [item["local"] for item in own if not item.get("secondary")] if ":" not in address else []
    return _Way(
        address, device, route.get("gateway", ""), source, prefix[0] if prefix else (128 if ":" in address else 32),
        _mtu(route), first[0] if first else source,
    )  # fmt: skip


def _route(host: Any, address: str, more: List[str]) -> Dict[str, Any]:
    found, said = network_devices.query(host, ["route", "get", address] + more)
    if not found or "dev" not in found[0]:
        raise fail(
            "There is no route to the server %s (%s)." % (address, said or "ip names no device"),
            "Correct its address, or this host's routes; `ip route get %s` must name a device." % address,
            value=address,
        )
    route = found[0]
    kind = route.get("type", "unicast")
    if kind == "local":
        raise fail(
            "The server's address %s is this host's own." % address,
            "Dump to another machine, or to a local file system by `path`.",
            value=address,
        )
    for word, what in (("encap", "an encapsulation"), ("via", "a gateway of another address family")):
        if word in route:
            kind = what
    if kind != "unicast":
        raise fail(
            "The native engine cannot take the route to the server %s: it goes by %s." % (address, kind),
            "Add a plain route to the server (ip route add %s via …), or dump to another one." % address,
            value=address,
        )
    return dict(route)


def _equal_hop(host: Any, address: str, route: Dict[str, Any]) -> Dict[str, Any]:
    """Of several ways that are as good as this one, always the same; {} where this is the only one.

    Among the hops of a multipath route the kernel chooses by a hash with a random seed, and among the default routers
    of IPv6 by whom it has heard last.
    """
    found, _said = network_devices.query(host, ["route", "show", "match", address, "table", "all"])
    groups: Dict[str, List[Dict[str, Any]]] = {}
    for item in found:
        key = "%s %s %s %s" % tuple(item.get(name) for name in ("table", "dst", "metric", "pref"))
        hops = [hop for hop in item.get("nexthops", [item]) if "dev" in hop and "gateway" in hop]
        groups.setdefault(key, []).extend(hop for hop in hops if not {"dead", "linkdown"} & set(hop.get("flags", [])))
    for hops in groups.values():
        ways = sorted((hop["dev"], hop["gateway"]) for hop in hops)
        if len(ways) > 1 and (route["dev"], route.get("gateway")) in ways:
            return {"dev": ways[0][0], "gateway": ways[0][1]}
    return {}


def _check_ipsec(host: Any, source: str, address: str) -> None:
    """The policy of the kernel that would apply (ip-xfrm(8)): one with a template encrypts what it lets through."""
    matching = []
    for block in re.split(r"\n(?=src )", host.run(["ip", "xfrm", "policy"], timeout=30).out):
        words = re.match(r"src (\S+) dst (\S+)(?:.*\n)\s+dir out (?:.*?priority (\d+))?", block)
        if words and _within(source, words.group(1)) and _within(address, words.group(2)):
            matching.append((int(words.group(3) or 0), "tmpl" in block))
    if matching and min(matching)[1]:
        raise fail(
            "The way to the server %s is encrypted by IPsec on this host, which the capture kernel cannot do."
            % address,
            "Except the server from the IPsec policies, or dump to another one: ssh encrypts by itself.",
            value=address,
        )


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _check_announced(host: Any, source: str, address: str) -> None:
    """An address that is not on the link is reached by a route of the neighbours', which they may have from a daemon."""
    found, _said = network_devices.query(host, ["route", "get", "fibmatch", address])
    if found and str(found[0].get("protocol")) in _DAEMONS:
        raise fail(
            "This host speaks to the server %s from %s, which its neighbours know of by a routing daemon only (%s)." % (
                address, source, found[0]["protocol"]),
            "Add a static route to the server whose source (src) is an address of the device that leads there.",
            value=address,
        )  # fmt: skip


# RTPROT_* of include/uapi/linux/rtnetlink.h, by name and, where /etc/iproute2/rt_protos is missing, by number.
_DAEMONS = "babel bgp bird eigrp isis openr ospf rip xorp zebra 11 12 14 42 99 186 187 188 189 192".split()


def _mtu(route: Dict[str, Any]) -> str:
    """What somebody has set for the route; what was found out by path MTU discovery has a lifetime."""
    for metric in route.get("metrics", []):
        if "mtu" in metric and "expires" not in route:
            return str(int(metric["mtu"]))
    return ""


def _addresses(host: Any, device: str, like: str) -> List[Dict[str, Any]]:
    """The addresses of a device that have the family of another one and are valid beyond the link."""
    found, _said = network_devices.query(host, ["addr", "show", "dev", device])
    family = "inet6" if ":" in like else "inet"
    items = [item for link in found for item in link.get("addr_info", []) if item.get("family") == family]
    return [item for item in items if "local" in item and item.get("scope") in ("global", "site")]


def _source(host: Any, address: str, route: Dict[str, Any]) -> str:
    """The address of this host's that speaks to the server: the kernel's choice, but of IPv6 no temporary one.

    Nor a link-local one, which the kernel takes for as long as a device has no other, and to which no server answers.
    """
    chosen = str(route.get("prefsrc", ""))
    if ":" in address:
        own = _addresses(host, route["dev"], address)
        temporary = [item["local"] for item in own if item.get("temporary")]
        chosen = "" if chosen in temporary or re.match("fe[89ab].:", chosen) else chosen
        lasting = [item for item in own if not any(item.get(flag) for flag in _UNFIT)]
        if lasting and not chosen:
            return str(min(lasting, key=lambda item: _preference(item, address))["local"])
    if not chosen:
        raise fail(
            "The device %s, by which the server %s is reached, has no lasting address to speak from." % (
                route["dev"], address),
            "Give it a static address, or one by DHCP: a temporary one (RFC 8981) changes by itself.",
            value=address,
        )  # fmt: skip
    return chosen


_UNFIT = ("temporary", "tentative", "dadfailed")


def _preference(item: Dict[str, Any], address: str) -> Tuple[bool, int, str]:
    """As RFC 6724, section 5: none that is deprecated, then the longest prefix in common."""
    differing = int(ipaddress.ip_address(item["local"])) ^ int(ipaddress.ip_address(address))
    return bool(item.get("deprecated")), differing.bit_length(), item["local"]


def _addressing(host: Any, way: _Way) -> List[str]:
    """Address and routes: that to the server, and the default one by the same device, for hooks."""
    lines = ["address %s %s/%d" % (way.device, way.source, way.prefix)]
    lines += _route_lines(way, way.address, way.gateway, way.mtu)
    default = _default_gateway(host, way)
    if default is not None:
        lines += [line for line in _route_lines(way, "default", default, "") if line not in lines]
    return lines + ["named %s" % way.host_address]


def _route_lines(way: _Way, to: str, gateway: str, mtu: str) -> List[str]:
    lines = []
    if gateway and not re.match("fe[89ab].:", gateway):
        network = ipaddress.ip_network("%s/%d" % (way.source, way.prefix), strict=False)
        if ipaddress.ip_address(gateway) not in network:
            lines.append("route %s %s - %s -" % (way.device, gateway, way.source))
    lines.append("route %s %s %s %s %s" % (way.device, to, gateway or "-", way.source, mtu or "-"))
    return lines


def _default_gateway(host: Any, way: _Way) -> Optional[str]:
    family = "-6" if ":" in way.address else "-4"
    found, _said = network_devices.query(host, [family, "route", "show", "default", "dev", way.device])
    gateways = [(item.get("metric", 0), item["gateway"]) for item in found if "gateway" in item]
    return min(gateways)[1] if gateways else None
