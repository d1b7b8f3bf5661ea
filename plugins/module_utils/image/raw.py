# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A block device that is written to from its first byte. Private to this collection.

Whatever has its name in the capture kernel would be overwritten, so it is only taken under a name that means the same
device there, and the same one alone: names of disks (vda, sdb) change.
"""

import re
from typing import Any, Dict, NamedTuple, Tuple

from .. import mounts
from ..problems import KdumpError, Problem, fail, shown
from . import devices

_PURPOSE = devices.Purpose(
    "raw", "a raw device on ", "Name a partition, an LVM volume or an MD array on this host's own disks."
)
RAW_IN_USE = "A dump overwrites it from its first byte: name a partition that nothing else uses."
# Where a disk says who it is: NVMe's and virtio's attributes, and those of the device under it (SCSI, NVMe, MMC).
IDENTITIES = {"wwid": ("wwid", "device/wwid"), "serial": ("serial", "device/serial")}


class Raw(NamedTuple):
    """A raw device, and the way there."""

    names: Dict[str, str]  # one of device, partuuid, wwid, serial: how the capture kernel knows it
    walk: devices.Walk


def observe(host: Any, location: str) -> Raw:
    """KdumpError where the device is none, is used for something else, or has no lasting name."""
    number = host.device_number(location)
    if not number:
        hint = "`blkid` and `lsblk` list the devices of this host."
        raise fail("There is no block device %s on this host." % shown(location), hint, "raw", location)
    node = host.realpath("/sys/dev/block/" + number)
    used = use_of(host, location)
    if used:
        raise fail("raw %s is %s." % (shown(location), used), RAW_IN_USE, "raw", location)
    walk = devices.Walk(host, _PURPOSE)
    walk.down([node])
    problems = list(walk.problems)
    names = {"device": walk.device} if walk.device else _names(host, node)
    if not names:
        hint = "Make a partition on it (its table gives each one a number of its own), or name an LVM volume."
        message = "raw %s has no name that means the same device in the capture kernel." % shown(location)
        problems.append(Problem(message, hint, "raw", location))
    if problems:
        raise KdumpError(problems)
    return Raw(names, walk)


def use_of(host: Any, location: str) -> str:
    """What a block device is used for on this host, "" for nothing."""
    number, real = host.device_number(location), host.realpath(location)
    node = host.realpath("/sys/dev/block/" + number)
    for mount in mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", "")):
        # A log or a journal may lie on a device of its own (logdev=/dev/vdc).
        named = [mount.source] + [word.partition("=")[2] for word in mount.super_options.split(",")]
        if mount.device == number or any(name.startswith("/dev/") and host.realpath(name) == real for name in named):
            return "mounted on %s" % shown(mount.point)
    # mountinfo names one device of each btrfs, and a number that none has.
    if any(node.rsplit("/", 1)[-1] in host.listdir(folder) for folder in host.glob("/sys/fs/btrfs/*/devices")):
        return "a part of a btrfs that is mounted"
    swaps = [line.split(" ")[0] for line in host.read_text("/proc/swaps", "").split("\n")[1:]]
    if any(swap.startswith("/") and host.realpath(swap) == real for swap in swaps):
        return "used for swapping"
    holders = host.listdir(node + "/holders")
    if holders:
        return "a part of %s" % shown(" ".join(holders))
    if any(host.is_file("%s/%s/partition" % (node, name)) for name in host.listdir(node)):
        return "a disk with partitions"
    return ""


def _names(host: Any, node: str) -> Dict[str, str]:
    if host.is_file(node + "/partition"):
        return _partition(host, "/dev/" + node.rsplit("/", 1)[-1].replace("!", "/"))
    for name, files in IDENTITIES.items():
        value = _identity(host, node, files)
        disks = [disk for disk in host.listdir("/sys/block") if _identity(host, "/sys/block/" + disk, files) == value]
        if value and len(disks) == 1:
            return {name: value}
    return {}


def _identity(host: Any, node: str, files: Tuple[str, str]) -> str:
    """What a shell's `read -r` makes of the first line of the first of these files that is there."""
    for file in files:
        try:
            value = host.read_text("%s/%s" % (node, file), "").split("\n")[0].strip(" \t\0")
        except OSError:
            continue
        if value:
            return value if re.fullmatch(r"[!-~]( *[!-~])*", value) else ""
    return ""


def _partition(host: Any, device: str) -> Dict[str, str]:
    """By what its partition table says of it; with MBR that is the table's number and the partition's."""
    probed = host.run(["blkid", "-p", "-o", "export", "-s", "PART_ENTRY_UUID", device], timeout=30)
    found = re.search(r"^PART_ENTRY_UUID=([0-9A-Fa-f-]{4,36})$", probed.out, re.M)
    if found is None or found.group(1).startswith("00000000-"):
        return {}
    search = ["blkid", "-c", "/dev/null", "-o", "device", "-t", "PARTUUID=" + found.group(1)]
    same = [line for line in host.run(search, timeout=60).out.split("\n") if line.startswith("/dev/")]
    return {"partuuid": found.group(1)} if [host.realpath(one) for one in same] == [host.realpath(device)] else {}
