# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file system on this host's own disks, mounted or not: what the capture kernel must load and start to write there.

Private to this collection. The way goes path → mount → block device → sysfs (devices.py). What is not known on that
way is refused by name: an image that cannot reach its target would only be found out by the next panic.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .. import mounts
from ..problems import KdumpError, fail, shown
from . import devices, kmod

# One driver mounts all three (CONFIG_EXT4_FS registers itself for ext3, and mounts ext2 when told the type ext4).
_FILE_SYSTEMS = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs", "btrfs": "btrfs"}
# Mounting xfs without the quota options that it had makes the next mount count every file again (xfs(5)).
_XFS_OPTIONS = {"nouuid", "usrquota", "uqnoenforce", "grpquota", "gqnoenforce", "prjquota", "pqnoenforce"}
# Other words for them, which /proc does not show.
_XFS_SAME = {
    "quota": "usrquota",
    "uquota": "usrquota",
    "qnoenforce": "uqnoenforce",
    "gquota": "grpquota",
    "pquota": "prjquota",
}
# What is kept of fstab's options: what every kernel takes. Nobody has tried those of a file system that is not mounted,
# and one that the kernel refuses (a mistake, a word that it no longer knows) would end the dump. None of the others is
# needed to write.
_KEPT = {
    "ext4": r"errors=continue|commit=\d+|discard|nodiscard",
    "xfs": "discard|nodiscard|wsync|inode64|" + "|".join(sorted(_XFS_OPTIONS)),
    "btrfs": r"subvolid=\d+|degraded|discard|nodiscard",
}
_KEPT_EVERYWHERE = "|noatime|nodiratime|relatime|nodev|nosuid|noexec|sync|dirsync"
_IPMI = ("ipmi_si", "ipmi_ssif", "ipmi_powernv", "ipmi_watchdog")
_ELSEWHERE = ("logdev=", "rtdev=", "journal_path=", "journal_dev=")
_NETWORK = "cifs smb3 ceph glusterfs fuse.glusterfs 9p lustre afs gfs2 ocfs2".split()
_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "squashfs", "erofs", "iso9660", "proc", "sysfs")
_WAY_OUT = devices.FILE_SYSTEM.way_out


class Storage(NamedTuple):
    """Where the dump goes, and the way there."""

    kind: str  # disk, partition, lvm, md
    fstype: str  # of the driver that mounts it
    uuid: str  # the file system's
    device: str  # its name in the capture kernel, "" where it must be found by UUID (names of disks change)
    devices: int  # how many devices the file system is on (btrfs)
    options: str  # to mount it with
    directory: str  # the dump path as seen from the root of the file system, without a leading slash
    modules: List[str]  # that must be loaded
    aliases: List[str]  # to load if the kernel has them: modaliases of devices whose driver is not a module now
    activate: List[str]  # in order: `md /dev/md0 UUID`, `lvm VG/LV NAME`
    path: str  # the dump path as seen on this host, "" where it is not mounted
    system_id: str = ""  # whose the volume group is (lvmsystemid(7)); "" for one that is nobody's


def of_place(host: Any, place: mounts.Place, given: str = "") -> Storage:
    """The storage of a directory on a mounted file system. `given`: options of fstab to be kept."""
    mount, path = place.mount, place.path
    if mount.fstype not in _FILE_SYSTEMS:
        raise _unknown(mount.fstype, path)
    _check_single(mount.super_options.split(",") + given.split(","), "path", path)
    uuid, nodes = _nodes(host, mount)
    walk = _walked(host, nodes, devices.FILE_SYSTEM)
    uuid = uuid or _uuid(_probe(host, _device_of(nodes[0])), _device_of(nodes[0]), "path", path)
    # Without it ext4 does not mount when it has its quota feature, and only modprobe would fetch it (fs/quota/dquot.c).
    quota = host.is_dir("/sys/module/quota_v2")
    _check_alone(host, walk, uuid, "path", path)
    return _storage(walk, mount.fstype, uuid, _options(mount, given), place.directory, path, quota)


def of_target(host: Any, kind: str, location: str, path: str, given: str = "", option: str = "") -> Storage:
    """The storage of a target of its own, such as `ext4 UUID=…`; `path` begins at its root.

    `given` are its mount options, in place of those in fstab; `option` is the directive that names it.
    """
    option = option or kind
    if kind not in _FILE_SYSTEMS:
        hint = "Format it with ext4 or xfs."
        raise fail("The native engine does not write to %s, whose files are too small for dumps." % kind, hint, option)
    device = mounts.device_path(host, location)
    number = host.device_number(device) if device else ""
    if not number:
        hint = "`blkid` and `lsblk` list the devices of this host."
        raise fail("There is no block device %s on this host." % shown(location), hint, option, location)
    entry = mounts.fstab_entry(host, device)
    given = given or (entry.options if entry else "")
    mount = _mount_of(host, device, number)
    if mount is None:
        return _unmounted(host, kind, location, device, path, given, option)
    _check_type(mount.fstype, kind, location, option)
    return of_place(host, mounts.place_on(host, mount, mount.point.rstrip("/") + "/" + path.lstrip("/")), given)


def _mount_of(host: Any, device: str, number: str) -> Optional[mounts.Mount]:
    """Where the whole file system of a device is mounted."""
    real = host.realpath(device)
    for mount in mounts.table_of(host):
        # btrfs has anonymous numbers in mountinfo, and /dev/root is no path: either comparison may be the one that tells.
        same = mount.device == number or (mount.source.startswith("/dev/") and host.realpath(mount.source) == real)
        # A bind mount of a directory is not the file system's root, a subvolume of btrfs always looks like one.
        if same and (mount.root == "/" or mount.fstype == "btrfs"):
            return mount
    return None


def _unmounted(host: Any, kind: str, location: str, device: str, path: str, given: str, option: str) -> Storage:
    tags = _probe(host, device)
    nothing = "nothing that blkid knows" + (" (%s)" % tags["ERROR"] if tags["ERROR"] else "")
    _check_type(tags.get("TYPE") or nothing, kind, location, option)
    _check_single(given.split(",") + _elsewhere(host, kind, device), option, location)
    uuid = _uuid(tags, device, option, location)
    members = [device] if kind != "btrfs" else _btrfs_members(host, uuid, device)
    nodes = [host.realpath("/sys/dev/block/" + host.device_number(member)) for member in members]
    walk = _walked(
        host, nodes, devices.Purpose(option, "a file system on ", "Name a partition, an LVM volume or an MD array.")
    )
    _check_alone(host, walk, uuid, option, location)
    subvolume = re.search(r"(?:^|,)subvol=/*([^\s,]+)", given) if kind == "btrfs" else None
    if subvolume:  # as of one that is mounted
        given, path = _without_subvolume(given), subvolume.group(1).rstrip("/") + "/" + path.lstrip("/")
    options = _joined(kind, ["rw"] + (["subvolid=5"] if subvolume else []), given)
    return _storage(walk, kind, uuid, options, path.strip("/"), "", quota=True)


def _storage(
    walk: devices.Walk, kind: str, uuid: str, options: str, directory: str, path: str, quota: bool
) -> Storage:  # fmt: skip
    fstype = _FILE_SYSTEMS[kind]
    aliases = walk.aliases + (["quota_v2"] if quota and fstype == "ext4" else [])
    return Storage(
        walk.kind, fstype, uuid, "" if walk.members > 1 else walk.device, walk.members, options, directory,
        [fstype] + walk.modules, aliases, walk.activate, path, walk.system_id,
    )  # fmt: skip


def _walked(host: Any, nodes: List[str], purpose: devices.Purpose) -> devices.Walk:
    walk = devices.Walk(host, purpose)
    walk.down(nodes)
    if walk.problems:
        raise KdumpError(walk.problems)
    return walk


# --- checks --------------------------------------------------------------------------------------------------------
def _unknown(fstype: str, path: str) -> KdumpError:
    if fstype in _NETWORK:
        what = "a network or cluster file system (%s)" % fstype
    elif fstype in _MEMORY:
        what = "%s, which does not outlive a crash or cannot be written" % fstype
    else:
        what = "%s, a file system that the native engine does not know" % fstype
    return fail("The dump path %s lies on %s." % (path, what), _WAY_OUT, "path", path)


def _check_type(found: str, kind: str, location: str, option: str) -> None:
    if found != kind:
        hint = "Write `%s %s`." % (found, shown(location)) if found in _FILE_SYSTEMS else _WAY_OUT
        raise fail("%s holds %s, not %s." % (shown(location), shown(found), kind), hint, option, location)


def _check_single(options: List[str], option: str, where: str) -> None:
    """KdumpError for a file system of which a part lies on a device of its own."""
    for word in options:
        if word.startswith(_ELSEWHERE):
            what = "an external journal, log or real-time device"
            raise fail(
                "The dump target %s lies on a file system with %s." % (shown(where), what), _WAY_OUT, option, where
            )


def _check_alone(host: Any, walk: devices.Walk, uuid: str, option: str, where: str) -> None:
    """KdumpError where a copy of the file system, made block by block, could be taken for it. As udev knows them."""
    if walk.device:
        return  # which has a name, and is not looked for
    known = re.compile("^E:ID_FS_UUID=%s$" % re.escape(uuid), re.M)
    copies = [
        path for path in host.glob("/run/udev/data/b*")
        if known.search(host.read_text(path, "")) and not host.is_dir("/sys/dev/block/%s/dm" % path.rsplit("/b", 1)[-1])
    ]  # fmt: skip
    if len(copies) > walk.members:
        message = "The UUID of the file system of the dump target %s (%s) is that of another one on this host, too."
        hint = "Give the copy another (tune2fs -U random, xfs_admin -U generate, btrfstune -u), or take it away."
        raise fail(message % (shown(where), uuid), hint, option, where)


def _elsewhere(host: Any, kind: str, device: str) -> List[str]:
    """For an xfs that is not mounted, as mount options: struct xfs_dsb in fs/xfs/libxfs/xfs_format.h."""
    if kind != "xfs":
        return []
    with host.open(device) as file:
        head = file.read(56)
    found = [] if any(head[48:56]) else ["logdev="]  # sb_logstart
    return found + (["rtdev="] if any(head[16:24]) else [])  # sb_rblocks


# --- devices -------------------------------------------------------------------------------------------------------
def _device_of(node: str) -> str:
    return "/dev/" + node.rsplit("/", 1)[-1].replace("!", "/")


def _nodes(host: Any, mount: mounts.Mount) -> Tuple[str, List[str]]:
    """The directories in sysfs of a mount's devices, with the UUID where that is how they were found."""
    uuid, nodes = _btrfs_nodes(host, mount) if mount.fstype == "btrfs" else ("", ["/sys/dev/block/" + mount.device])
    nodes = [host.realpath(node) for node in nodes]
    if not nodes or not all(host.is_dir(node) for node in nodes):
        message = "The block device under %s (%s) is not to be found in /sys." % (mount.point, mount.source)
        raise fail(message, _WAY_OUT, "path")
    return uuid, nodes


def _btrfs_nodes(host: Any, mount: mounts.Mount) -> Tuple[str, List[str]]:
    """The devices of a btrfs, whose device number in mountinfo is nobody's: /sys/fs/btrfs/<uuid>/devices."""
    name = host.realpath(mount.source).rsplit("/", 1)[-1]
    for folder in host.glob("/sys/fs/btrfs/*/devices"):
        names = host.listdir(folder)
        if name in names:
            return folder.split("/")[-2], [folder + "/" + member for member in names]
    return "", []


def _btrfs_members(host: Any, uuid: str, device: str) -> List[str]:
    """All devices of a btrfs that is not mounted. KdumpError where one is not there."""
    listed = host.run(["blkid", "-c", "/dev/null", "-o", "device", "-t", "UUID=" + uuid], timeout=60)
    members = [line for line in listed.out.split("\n") if line.startswith("/dev/") and host.device_number(line)]
    with host.open(device) as file:
        file.seek(0x10000 + 136)  # num_devices of struct btrfs_super_block, include/uapi/linux/btrfs_tree.h
        wanted = int.from_bytes(file.read(8), "little")
    if len(members) != wanted:
        message = "The btrfs on %s has %d devices, and %d of them are there." % (device, wanted, len(members))
        raise fail(message, "`btrfs filesystem show %s` lists them." % device, "btrfs", device)
    return sorted(members)


def _probe(host: Any, device: str) -> Dict[str, str]:
    """What stands on the device itself, as blkid reads it; "ERROR" holds what it complains about."""
    tags = ["-s", "TYPE", "-s", "UUID", "-s", "EXT_JOURNAL"]
    result = host.run(["blkid", "-p", "-o", "export"] + tags + [device], timeout=30)
    found = {name: value for name, _equals, value in (line.partition("=") for line in result.out.split("\n"))}
    return dict(found, ERROR=result.err.strip())


def _uuid(tags: Dict[str, str], device: str, option: str, where: str) -> str:
    """The file system's UUID as it stands on the disk, which is what the capture kernel will look for."""
    if "EXT_JOURNAL" in tags:
        _check_single(["journal_dev="], option, where)
    if re.fullmatch(r"[0-9A-Fa-f-]{4,36}", tags.get("UUID", "")):
        return tags["UUID"]
    raise fail(
        "No UUID could be read of the file system on %s, which holds %s." % (device, where),
        "Run `blkid -p %s` and see what it says: %s" % (device, tags["ERROR"] or "it printed none."),
        option,
        where,
    )


# --- options -------------------------------------------------------------------------------------------------------
def _options(mount: mounts.Mount, given: str) -> str:
    """The top of a btrfs holds every subvolume at its path, and mountinfo's root is a path from there."""
    now = mount.super_options.split(",")
    if mount.fstype == "btrfs":
        kept = ["degraded"] if "degraded" in now else []
        return _joined(mount.fstype, ["rw", "subvolid=5"], _without_subvolume(given), kept)
    kept = [word for word in now if word in _XFS_OPTIONS] if mount.fstype == "xfs" else []
    return _joined(mount.fstype, ["rw"], given, kept)


def _without_subvolume(given: str) -> str:
    return ",".join(word for word in given.split(",") if not word.startswith("subvol"))


def _joined(kind: str, words: List[str], given: str, more: Optional[List[str]] = None) -> str:
    """Mount options: these, those of the given ones that are kept, and `more`, each once."""
    fstype = _FILE_SYSTEMS[kind]
    pattern = re.compile(_KEPT[fstype] + _KEPT_EVERYWHERE)
    known = [_XFS_SAME.get(word, word) if fstype == "xfs" else word for word in given.split(",")]
    kept = [word for word in known if pattern.fullmatch(word)]
    # The superblock may say errors=panic (tune2fs -e), which would be a second panic in the middle of the dump.
    safe = ["errors=remount-ro"] if fstype == "ext4" and "errors=continue" not in kept else []
    return ",".join(dict.fromkeys(words + safe + kept + (more or [])))


# --- what others ask for -------------------------------------------------------------------------------------------
def watchdog_drivers(host: Any, modules: kmod.Modules) -> List[str]:
    """Names and aliases of the modules that drive this machine's watchdogs, and of what those are on.

    A watchdog that runs goes on after the panic and would end the dump: its driver stops it when it is loaded, or the
    kernel feeds it from then on (watchdog_core.c, handle_boot_enabled).
    """
    names, aliases = drivers_of(host, [host.realpath(path) for path in host.glob("/sys/class/watchdog/*/device")])
    return names + aliases + _nameless_watchdogs(host, modules) + _ipmi_watchdog(host)


def _nameless_watchdogs(host: Any, modules: kmod.Modules) -> List[str]:
    """Drivers that sysfs names for no watchdog: many set no parent (drivers/watchdog/i6300esb.c, that of virtual machines),
    which leaves `device` out, and older ones are in no class. Those count that are loaded.
    """
    return [name for name in modules.below("drivers/watchdog") if host.exists("/sys/module/%s/initstate" % name)]


def _ipmi_watchdog(host: Any) -> List[str]:
    """The BMC's is a device of its own kind, in no class; its driver stops it when an interface to the BMC is there
    (drivers/char/ipmi/ipmi_watchdog.c, end of ipmi_register_watchdog()).
    """
    names = [path.rpartition("/")[2] for path in host.glob("/sys/module/ipmi_*")]
    return [name for name in _IPMI if name in names] if "ipmi_watchdog" in names else []


def drivers_of(host: Any, nodes: List[str]) -> Tuple[List[str], List[str]]:
    """What drives devices of sysfs and all that they are on: modules, and aliases of what may be one (as in Storage)."""
    walk = devices.Walk(host)
    for node in nodes:
        walk.up_to_the_bus(node)
    return walk.modules, walk.aliases
