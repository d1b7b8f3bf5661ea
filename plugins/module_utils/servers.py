# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machines that the capture image must know the way to, and what else may come late at boot.

Private to this collection.
"""

import re
from typing import Any, List

from . import mounts
from .conf_check import as_directive
from .conf_directives import FILE_SYSTEMS
from .image.nfs import FSTYPES
from .problems import Problem, shown


def names(host: Any, conf: Any) -> List[str]:
    """The servers of a kdump.conf by the names that they have there: of the target, and the nodes of a cluster."""
    kind, location = as_directive(conf.target)
    found = []
    if kind == "ssh":
        found.append(location.rpartition("@")[2])
    elif kind == "nfs":
        found.append(_server_of(location))
    elif kind == "path":
        found += [_server_of(source) for source in exports(host, location)]
    return [name for name in found + conf.get("fence_kdump_nodes").split() if name]


def exports(host: Any, path: str) -> List[str]:
    """The NFS export that a path lies on, as it is mounted now or would be by /etc/fstab; at most one."""
    real = host.realpath(path)
    table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
    known = [(mount.point, mount.fstype, mount.source) for mount in table]
    known += [
        (entry.point.rstrip("/") or "/", entry.fstype, entry.source)
        for entry in mounts.parse_fstab(host.read_text("/etc/fstab", ""))
    ]
    over = [(len(point), fstype, source) for point, fstype, source in known if mounts.is_below(real, point)]
    longest = max([length for length, dummy, dummy2 in over] + [0])
    return [source for length, fstype, source in over if length == longest and fstype in FSTYPES][:1]


def unresolved(host: Any, conf: Any) -> List[Problem]:
    """Warnings for names that mean no address now: what an image was built with may still be right, or not."""
    return [
        Problem(
            "The name %s is not resolved now: whether its address is still the one in the capture image cannot be told."
            % shown(name),
            "Look at /etc/resolv.conf and the name server; a name in /etc/hosts needs none.",
            value=name,
        )
        for name in names(host, conf)
        if not host.resolve(name)
    ]


def awaited(host: Any, conf: Any) -> List[str]:
    """What the image for a target cannot be made without and is not there (yet): servers without a way, a device."""
    kind, location = as_directive(conf.target)
    missing = [name for name in names(host, conf) if not has_way(host, name)]
    if kind == "raw" or kind in FILE_SYSTEMS:
        device = mounts.device_path(host, location)
        missing += [] if device and host.device_number(device) else [location]
    return missing


def has_way(host: Any, name: str) -> bool:
    """Whether a server's name is known, and the kernel has a route to one of its addresses, with an address to speak from."""
    return any(_is_reached(host, address) for address in host.resolve(name))


def _is_reached(host: Any, address: str) -> bool:
    found = host.run(["ip", "route", "get", address], timeout=10)
    device = re.search(r" dev (\S+)", found.out)
    if found.rc != 0 or ":" not in address or device is None:
        return bool(found.rc == 0)
    # No address of IPv6 is used while it is looked for duplicates of it (RFC 4862), and until then the kernel takes another.
    looked_for = ["tentative", "-dadfailed"]
    return "inet6" not in host.run(["ip", "-6", "addr", "show", "dev", device.group(1)] + looked_for, timeout=10).out


def _server_of(export: str) -> str:
    found = re.match(r"\[([^\]]*)\]:/|([^/]*):/", export)
    return (found.group(1) or found.group(2) or "") if found else ""
