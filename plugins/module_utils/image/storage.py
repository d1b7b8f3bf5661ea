# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the dump path down to the hardware: what the capture kernel must load and start to write there.

Private to this collection. The way goes path → mount → block device → sysfs: through partitions, LVM volumes and MD
arrays to the disks, and from each disk up to its bus. What is not known on that way is refused by name: an image
that cannot reach its target would only be found out by the next panic.
"""

import re
from typing import Any, List, NamedTuple, Optional, Tuple

from .. import mounts
from ..problems import KdumpError, Problem, fail

# One driver mounts all three (CONFIG_EXT4_FS registers itself for ext3, and mounts ext2 when told the type ext4).
_FILE_SYSTEMS = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs", "btrfs": "btrfs"}
_LEVELS = {
    "linear": "linear", "raid0": "raid0", "raid1": "raid1", "raid10": "raid10",
    "raid4": "raid456", "raid5": "raid456", "raid6": "raid456",
}  # fmt: skip
# Mounting xfs without the quota options that it had makes the next mount count every file again (xfs(5)).
_XFS_OPTIONS = {"nouuid", "usrquota", "uqnoenforce", "grpquota", "gqnoenforce", "prjquota", "pqnoenforce"}
_WAY_OUT = "Let `path` lie on a plain partition, an LVM volume or an MD array with ext4, xfs or btrfs."
_LATER_TARGETS = ("raw", "nfs", "ssh", "virtiofs", "minix", "mount")
_NETWORK = "nfs nfs4 cifs smb3 ceph glusterfs fuse.glusterfs 9p virtiofs lustre afs gfs2 ocfs2".split()
_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "squashfs", "erofs", "iso9660", "proc", "sysfs")
# What device-mapper's users put before the first `-` of a device's uuid (dmsetup(8); LVM's is followed by VG and LV).
_MAPPED = {
    "CRYPT": "LUKS encryption", "mpath": "multipath", "DMRAID": "a firmware RAID (dmraid)", "VDO": "VDO",
    "stratis": "Stratis",
}  # fmt: skip
_SUB_VOLUMES = {"tpool": "a thin pool", "tdata": "a thin pool", "real": "a snapshot", "cow": "a snapshot"}
_VIRTUAL = {
    "loop": "a loop device", "zram": "compressed memory (zram)", "ram": "a RAM disk", "nbd": "a network block device",
    "drbd": "DRBD", "bcache": "bcache", "zd": "a ZFS volume", "rbd": "Ceph RBD", "rnbd": "RNBD",
}  # fmt: skip
# Parts of a disk's place in sysfs that tell a network, which the image would have to bring up first.
_REMOTE = (
    (r"/session\d+/", "iSCSI"), (r"/ctlr_\d+/", "FCoE"), (r"/rport-", "Fibre Channel"), (r"/net/", "a network interface"),
    (r"/css\d+/", "a channel-attached disk (CCW)"), (r"/devices/rbd/", "Ceph RBD"),
)  # fmt: skip


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
    path: str  # the dump path as seen on this host
    system_id: str = ""  # whose the volume group is (lvmsystemid(7)); "" for one that is nobody's


def of_conf(host: Any, conf: Any) -> Storage:
    """The storage that kdump.conf's target and path name; KdumpError for what the native engine cannot capture to."""
    target = conf.target
    if target.kind in _LATER_TARGETS:
        raise fail(
            "The native engine cannot dump to the target `%s %s` yet." % (target.kind, target.location),
            "Remove that line: `path` alone names a directory on a local file system.",
            target.kind,
            target.location,
        )
    path = conf.get("path")
    host.listdir(path)  # what an automount would mount there shall be among the mounts
    table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo"))
    if target.kind == "path":
        return of_path(host, path, table)
    mount = _explicit(host, target, table)
    return of_path(host, mount.point.rstrip("/") + "/" + path.lstrip("/"), table, mount)


def of_root(host: Any, path: str) -> Storage:
    """The storage of a path on the root file system, whatever is mounted over it now."""
    table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo"))
    return of_path(host, path, table, mounts.holding(table, "/"))


def of_path(host: Any, path: str, table: List[mounts.Mount], mount: Optional[mounts.Mount] = None) -> Storage:
    """The storage of a directory, which need not exist yet; `mount` where it is known already."""
    path = host.realpath(path)
    if mount is None:
        mount = mounts.holding(table, path)
        _check_mounted(host, path, mount)
    if not mounts.is_below(path, mount.point):
        raise fail(
            "The dump path leads out of the file system on %s by a symbolic link, to %s." % (mount.point, path),
            "Set `path` to a directory that lies on the dump target itself.",
            "path",
            path,
        )
    _check_file_system(mount, path)
    walk = _Walk(host)
    top = walk.file_system(mount)
    directory = (mount.root.rstrip("/") + path[len(mount.point.rstrip("/")) :]).strip("/")
    if walk.problems:
        raise KdumpError(walk.problems)
    uuid = walk.uuid or _uuid(host, top, path)
    fstype = _FILE_SYSTEMS[mount.fstype]
    device = "" if walk.members > 1 else walk.device
    # Without it ext4 does not mount when it has its quota feature, and only modprobe would fetch it (fs/quota/dquot.c).
    quota = ["quota_v2"] if fstype == "ext4" and host.is_dir("/sys/module/quota_v2") else []
    return Storage(
        walk.kind, fstype, uuid, device, walk.members, _options(mount), directory,
        [fstype] + walk.modules, walk.aliases + quota, walk.activate, path, walk.system_id,
    )  # fmt: skip


def _explicit(host: Any, target: Any, table: List[mounts.Mount]) -> mounts.Mount:
    """The mount of a target such as `ext4 UUID=…`."""
    location = target.location
    for tag in ("UUID", "LABEL", "PARTUUID", "PARTLABEL"):
        if location.startswith(tag + "="):
            location = "/dev/disk/by-%s/%s" % (tag.lower(), location[len(tag) + 1 :].strip('"'))
    name = host.realpath(location).rsplit("/", 1)[-1]
    for mount in table:
        same = host.realpath(mount.source).rsplit("/", 1)[-1] == name if mount.source.startswith("/dev/") else False
        # A bind mount of a directory is not the file system's root, a subvolume of btrfs always looks like one.
        if same and mount.fstype == target.kind and (mount.root == "/" or mount.fstype == "btrfs"):
            return mount
    raise fail(
        "The dump target `%s %s` is not mounted on this host with that type." % (target.kind, target.location),
        "Mount it (an entry in /etc/fstab keeps it so), or correct the line.",
        target.kind,
        target.location,
    )


def _check_mounted(host: Any, path: str, mount: mounts.Mount) -> None:
    """At boot a file system marked nofail may come late: until then the path is a directory of the one below it."""
    for entry in mounts.parse_fstab(host.read_text("/etc/fstab", "")):
        point = entry.point.rstrip("/")
        covered = mounts.is_below(path, point) and mounts.is_below(point, mount.point) and point != mount.point
        if covered and "noauto" not in entry.options.split(","):
            raise fail(
                "The dump path %s lies on %s by /etc/fstab, which is not mounted now." % (path, point),
                "Mount it (mount %s), or take its line out of /etc/fstab." % point,
                "path",
                path,
            )


def _check_file_system(mount: mounts.Mount, path: str) -> None:
    if mount.fstype in _FILE_SYSTEMS:
        if any(option.startswith(("logdev=", "rtdev=")) for option in mount.super_options.split(",")):
            raise fail(
                "The dump path %s lies on an xfs with an external log or real-time device." % path,
                _WAY_OUT,
                "path",
                path,
            )
        return
    if mount.fstype in _NETWORK:
        what = "a network or cluster file system (%s)" % mount.fstype
    elif mount.fstype in _MEMORY:
        what = "%s, which does not outlive a crash or cannot be written" % mount.fstype
    else:
        what = "%s, a file system that the native engine does not know" % mount.fstype
    raise fail("The dump path %s lies on %s." % (path, what), _WAY_OUT, "path", path)


def _options(mount: mounts.Mount) -> str:
    """The top of a btrfs holds every subvolume at its path, and mountinfo's root is a path from there."""
    if mount.fstype == "btrfs":
        return "rw,subvolid=5" + (",degraded" if "degraded" in mount.super_options.split(",") else "")
    kept = [option for option in mount.super_options.split(",") if mount.fstype == "xfs" and option in _XFS_OPTIONS]
    return ",".join(["rw"] + kept)


def _uuid(host: Any, node: str, path: str) -> str:
    """The file system's UUID as it stands on the disk, which is what the capture kernel will look for."""
    device = "/dev/" + node.rsplit("/", 1)[-1].replace("!", "/")
    result = host.run(["blkid", "-p", "-o", "export", "-s", "UUID", "-s", "EXT_JOURNAL", device], timeout=30)
    if re.search("^EXT_JOURNAL=", result.out, re.M):
        raise fail(
            "The dump path %s lies on an ext file system with an external journal." % path, _WAY_OUT, "path", path
        )
    for line in result.out.split("\n"):
        if re.fullmatch(r"UUID=[0-9A-Fa-f-]{4,36}", line):
            return str(line[len("UUID=") :])
    raise fail(
        "No UUID could be read of the file system on %s, which holds %s." % (device, path),
        "Run `blkid -p %s` and see what it says: %s" % (device, result.err.strip() or "it printed none."),
        "path",
        path,
    )


def watchdog_drivers(host: Any) -> List[str]:
    """Names and aliases of the modules that drive this machine's watchdogs, and of what those are on.

    A watchdog that runs goes on after the panic and would end the dump: its driver stops it when it is loaded, or the
    kernel feeds it from then on (watchdog_core.c, handle_boot_enabled).
    """
    modules, aliases = drivers_of(host, [host.realpath(path) for path in host.glob("/sys/class/watchdog/*/device")])
    return modules + aliases


def drivers_of(host: Any, devices: List[str]) -> Tuple[List[str], List[str]]:
    """What drives devices of sysfs and all that they are on: modules, and aliases of what may be one (as in Storage)."""
    walk = _Walk(host)
    for device in devices:
        walk.up_to_the_bus(device)
    return walk.modules, walk.aliases


class _Walk:
    """Collects what is met on the way down from a mount."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._seen: List[str] = []
        self._seen_devices: List[str] = []
        self.kind = ""
        self.device = ""
        self.uuid = ""
        self.members = 1
        self.modules: List[str] = []
        self.aliases: List[str] = []
        self.activate: List[str] = []
        self.system_id = ""
        self.problems: List[Problem] = []

    def file_system(self, mount: mounts.Mount) -> str:
        """Walk from the devices of a mount; the sysfs directory of the first."""
        nodes = self._btrfs(mount) if mount.fstype == "btrfs" else ["/sys/dev/block/" + mount.device]
        nodes = [self._host.realpath(node) for node in nodes]
        missing = [node for node in nodes if not self._host.is_dir(node)]
        if missing or not nodes:
            raise fail(
                "The block device under %s (%s) is not to be found in /sys." % (mount.point, mount.source),
                _WAY_OUT,
                "path",
            )
        self.members = len(nodes)
        self.kind, self.device = self._describe(nodes[0])
        for node in nodes:
            self._node(node)
        return str(nodes[0])

    def _btrfs(self, mount: mounts.Mount) -> List[str]:
        """The devices of a btrfs, whose device number in mountinfo is nobody's: /sys/fs/btrfs/<uuid>/devices."""
        name = self._host.realpath(mount.source).rsplit("/", 1)[-1]
        for folder in self._host.glob("/sys/fs/btrfs/*/devices"):
            names = self._host.listdir(folder)
            if name in names:
                self.uuid = folder.split("/")[-2]
                return [folder + "/" + member for member in names]
        return []

    def _describe(self, node: str) -> List[str]:
        """Kind and lasting name of the device that carries the file system."""
        name = node.rsplit("/", 1)[-1]
        if self._host.is_dir(node + "/dm"):
            return ["lvm", "/dev/mapper/" + self._text(node + "/dm/name")]
        if self._host.is_dir(node + "/md"):
            return ["md", "/dev/" + name]
        return ["partition" if self._host.is_file(node + "/partition") else "disk", ""]

    def _node(self, node: str) -> None:
        """One block device, after those under it."""
        if node in self._seen:
            return
        self._seen.append(node)
        if self._host.is_file(node + "/partition"):
            self._node(node.rsplit("/", 1)[0])
        elif self._host.is_dir(node + "/dm"):
            self._mapped(node)
        elif self._host.is_dir(node + "/md"):
            self._array(node)
        elif "/nvme-subsystem/" in node:
            self._nvme(node)
        else:
            self._disk(node)

    def _slaves(self, node: str) -> List[str]:
        return [self._host.realpath(node + "/slaves/" + name) for name in self._host.listdir(node + "/slaves")]

    def _mapped(self, node: str) -> None:
        uuid, name = self._text(node + "/dm/uuid"), self._text(node + "/dm/name")
        if not uuid.startswith("LVM-"):
            owner = uuid.split("-")[1 if uuid.startswith("part") else 0]
            self._refuse("%s (%s)" % (_MAPPED.get(owner, "a device-mapper device of an unknown kind"), name))
            return
        slaves = self._slaves(node)
        for slave in slaves:
            # A linear or striped volume lies on devices; every other kind on hidden volumes of its own group.
            if self._text(slave + "/dm/uuid").startswith(uuid[: len("LVM-") + 32]):
                self._refuse("an LVM volume (%s) of a kind it does not know: %s" % (name, self._sub_volume(slave)))
                return
        names = re.fullmatch(r"((?:[^-]|--)+)-((?:[^-]|--)+)", name)
        if names is None or not re.fullmatch(r"[A-Za-z0-9+_.-]+", name):
            self._refuse("an LVM volume with an unreadable name (%r)" % name)
            return
        self.modules.append("dm_mod")
        for slave in slaves:
            self._node(slave)
        group, volume = (part.replace("--", "-") for part in names.groups())
        self._group(group)
        self.activate.append("lvm %s/%s %s" % (group, volume, name))

    def _group(self, group: str) -> None:
        """Whether the group may be activated without the cluster that it is shared with, and for whom."""
        if self._host.which("lvm") is None:
            return  # the image needs it, and whoever collects its programs says so
        columns = "vg_systemid,vg_lock_type,vg_clustered"
        argv = ["lvm", "vgs", "--readonly", "--noheadings", "--nameprefixes", "-o", columns, group]
        result = self._host.run(argv, timeout=30)
        found = dict(re.findall(r"LVM2_VG_([A-Z_]+)='([^']*)'", result.out))
        if "SYSTEMID" not in found:
            said = result.err.strip() or "it printed none."
            self.problems.append(Problem(
                "The values of the LVM volume group %s could not be read: %s" % (group, said),
                "Run `%s` and see what it says." % " ".join(argv), "path", group,
            ))  # fmt: skip
        elif found.get("LOCK_TYPE", "none") not in ("", "none") or found.get("CLUSTERED"):
            self._refuse("an LVM volume group (%s) that a cluster shares" % group)
        elif not re.fullmatch(r"[A-Za-z0-9._+-]*", found["SYSTEMID"]):
            self._refuse("an LVM volume group (%s) with an unreadable system ID" % group)
        else:
            self.system_id = found["SYSTEMID"]

    def _sub_volume(self, node: str) -> str:
        """What a hidden volume tells about the one above it: by its uuid's suffix or, for RAID and cache, its name."""
        suffix = self._text(node + "/dm/uuid").rpartition("-")[2]
        name = self._text(node + "/dm/name")
        return _SUB_VOLUMES.get(suffix, "RAID" if "_rimage_" in name else "its part is %s" % name)

    def _array(self, node: str) -> None:
        name = node.rsplit("/", 1)[-1]
        level, metadata = self._text(node + "/md/level"), self._text(node + "/md/metadata_version")
        if level not in _LEVELS or metadata.startswith(("external", "none")):
            self._refuse("an MD array (%s) of level %s with %s metadata" % (name, level or "unknown", metadata or "no"))
            return
        if _LEVELS[level] == "raid456" and self._text(node + "/md/degraded") not in ("", "0"):
            self._degraded(node, name, level)
        result = self._host.run(["mdadm", "--detail", "--export", "/dev/" + name], timeout=30)
        uuid = re.search(r"^MD_UUID=([0-9a-f]{8}(:[0-9a-f]{8}){3})$", result.out, re.M)
        if uuid is None:
            self.problems.append(
                Problem(
                    "The UUID of the MD array %s could not be read: %s"
                    % (name, result.err.strip() or "mdadm printed none."),
                    "Install mdadm: it must also start the array in the capture kernel.",
                    "path",
                    name,
                )
            )
            return
        self.modules.append(_LEVELS[level])
        for slave in self._slaves(node):
            self._node(slave)
        self.activate.append("md /dev/%s %s" % (name, uuid.group(1)))

    def _degraded(self, node: str, name: str, level: str) -> None:
        """A panic leaves an array dirty that is being written to, and md starts none that is dirty and degraded.

        raid5_run() in drivers/md/raid5.c; a journal or a partial parity log (ppl) tells what was being written.
        """
        if self._text(node + "/md/consistency_policy") not in ("journal", "ppl"):
            self.problems.append(Problem(
                "The MD array %s (%s) lacks a member, and after a panic the kernel may not start it like that." % (
                    name, level),
                "Give it a new member (mdadm %s --add DEVICE) and wait until it is rebuilt: see /proc/mdstat." % (
                    "/dev/" + name),
                "path", name,
            ))  # fmt: skip

    def _nvme(self, node: str) -> None:
        """A namespace of a subsystem that could have several paths: its controllers stand beside it."""
        folder = node.rsplit("/", 1)[0]
        for name in self._host.listdir(folder):
            if re.fullmatch(r"nvme\d+", name) and self._host.is_dir(folder + "/" + name):
                self._disk(self._host.realpath(folder + "/" + name))

    def _disk(self, node: str) -> None:
        """A disk, and every device up to its bus."""
        name = node.rsplit("/", 1)[-1]
        virtual = re.match(r"/sys/devices/virtual/block/([a-z]+)", node)
        if virtual or node.startswith("/sys/devices/rbd/"):
            kind = virtual.group(1) if virtual else "rbd"
            self._refuse("%s (%s)" % (_VIRTUAL.get(kind, "a device without hardware"), name))
            return
        for pattern, what in _REMOTE:
            if re.search(pattern, node):
                self._refuse("a disk (%s) behind %s" % (name, what))
                return
        self.up_to_the_bus(node)

    def up_to_the_bus(self, node: str, needed: bool = True) -> None:
        """The drivers of a device and of every device that it is on.

        Those of devices that supply it (clocks, power, phys) come along where the kernel has them.
        """
        here = node
        while here.startswith("/sys/devices/") and here not in self._seen_devices:
            self._seen_devices.append(here)
            self._device(here, self.modules if needed else self.aliases)
            for name in self._host.listdir(here):
                if name.startswith("supplier:"):  # Documentation/ABI/testing/sysfs-devices-supplier
                    self.up_to_the_bus(self._host.realpath(here + "/" + name + "/supplier"), needed=False)
            here = here.rsplit("/", 1)[0]

    def _device(self, node: str, modules: List[str]) -> None:
        transport = self._text(node + "/transport")
        if transport not in ("", "pcie", "apple-nvme") and re.fullmatch(r"nvme\d+", node.rsplit("/", 1)[-1]):
            self._refuse("an NVMe disk behind a network (%s)" % transport)
        module = self._host.readlink(node + "/driver/module")
        if module is not None:
            modules.append(module.rsplit("/", 1)[-1])
        elif self._text(node + "/modalias"):
            # Built in now, perhaps a module of the kernel that the image is for.
            self.aliases.append(self._text(node + "/modalias"))

    def _text(self, path: str) -> str:
        """An attribute's text; "" where it is not there or cannot be read."""
        try:
            return str(self._host.read_text(path, "")).strip()
        except OSError:
            return ""

    def _refuse(self, what: str) -> None:
        self.problems.append(Problem(
            "The native engine cannot dump to a file system on %s." % what, _WAY_OUT, "path", what,
        ))  # fmt: skip
