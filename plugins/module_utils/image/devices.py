# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a block device down to the hardware: what the capture kernel must load and start to have it.

Private to this collection. The way goes down sysfs: through partitions, LVM volumes and MD arrays to the disks, and
from each disk up to its bus. What is not known on that way is refused by name.
"""

import re
from typing import Any, List, NamedTuple

from ..problems import Problem

_LEVELS = {
    "linear": "linear", "raid0": "raid0", "raid1": "raid1", "raid10": "raid10",
    "raid4": "raid456", "raid5": "raid456", "raid6": "raid456",
}  # fmt: skip
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


class Purpose(NamedTuple):
    """What the devices are for: in whose words a problem with them is told."""

    option: str  # of kdump.conf
    what: str  # stands before the device's kind in `cannot dump to …`
    way_out: str


FILE_SYSTEM = Purpose(
    "path",
    "a file system on ",
    "Let `path` lie on a plain partition, an LVM volume or an MD array with ext4, xfs or btrfs.",
)


class Walk:
    """Collects what is met on the way down from block devices."""

    def __init__(self, host: Any, purpose: Purpose = FILE_SYSTEM) -> None:
        self._host = host
        self._purpose = purpose
        self._seen: List[str] = []
        self._seen_devices: List[str] = []
        self.kind = ""  # disk, partition, lvm, md
        self.device = ""  # its name in the capture kernel, "" where that may be another one
        self.members = 1
        self.modules: List[str] = []
        self.aliases: List[str] = []
        self.activate: List[str] = []
        self.system_id = ""
        self.problems: List[Problem] = []

    def down(self, nodes: List[str]) -> None:
        """Walk from the directories in sysfs of the devices that hold the target, the first one first."""
        self.members = len(nodes)
        self.kind, self.device = self._describe(nodes[0])
        for node in nodes:
            self._node(node)

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
                "Run `%s` and see what it says." % " ".join(argv), self._purpose.option, group,
            ))  # fmt: skip
        elif found.get("LOCK_TYPE", "none") not in ("", "none") or found.get("CLUSTERED", "") not in ("", "0"):
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
                    self._purpose.option,
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
                self._purpose.option, name,
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
            "The native engine cannot dump to %s%s." % (self._purpose.what, what), self._purpose.way_out,
            self._purpose.option, what,
        ))  # fmt: skip
