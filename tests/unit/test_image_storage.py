# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest
from image_host import MD_UUID, PCI, UUID, Machine, conf_of

from ansible_collections.vmcore.kdump.plugins.module_utils import mounts
from ansible_collections.vmcore.kdump.plugins.module_utils.image import storage
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

VG = "oxTHi6M4TeZ72fOlRm4zWjRowaXR5KkN"
LV = "7HAu2gq0v0S0anxfHKbw0wRxRXJnFoLS"
BTRFS = "85a71088-ced3-4c82-95e6-901019fb304c"


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.programs["blkid"] = (0, "UUID=%s\n" % UUID)
    return machine


def found(machine, text=""):
    target = conf_of(text).target
    path = conf_of(text).get("path")
    if target.kind == "path":
        return storage.of_place(machine.host, mounts.place_of(machine.host, path))
    return storage.of_target(machine.host, target.kind, target.location, path)


def refused(machine, text=""):
    with pytest.raises(KdumpError) as error:
        found(machine, text)
    return str(error.value)


def root_on(machine, device, fstype="ext4", source="/dev/x", options="rw"):
    machine.mounts((device, "/", "/", fstype, source, options))


def test_a_partition_of_a_virtio_disk(machine):
    machine.partition(machine.virtio_disk())
    root_on(machine, "254:1")
    assert found(machine) == storage.Storage(
        "partition", "ext4", UUID, "", 1, "rw,errors=remount-ro", "var/crash", ["ext4", "virtio_blk"],
        ["pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"], [], "/var/crash",
    )  # fmt: skip


def test_what_supplies_a_disk_comes_along(machine):
    """On boards with an ARM or RISC-V processor a controller waits for its clock and its phy."""
    phy, clock = "/sys/devices/platform/soc/phy.0", "/sys/devices/platform/clock"
    disk = machine.virtio_disk()
    machine.link(PCI + "/0000:00:04.0/supplier:platform:phy.0/supplier", phy)
    machine.driver(phy, "phy_usb")
    machine.link(phy + "/supplier:platform:clock/supplier", clock)
    machine.driver(clock, "clk_soc")
    machine.link(clock + "/supplier:platform:phy.0/supplier", phy)  # cycles are broken, not endless
    machine.partition(disk)
    root_on(machine, "254:1")
    target = found(machine)
    assert target.modules == ["ext4", "virtio_blk"]
    assert target.aliases == ["pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", "phy_usb", "clk_soc"]


def test_the_quota_format_that_ext4_would_ask_modprobe_for_is_brought_along(machine):
    machine.partition(machine.virtio_disk())
    machine.mkdir("/sys/module/quota_v2")
    root_on(machine, "254:1")
    assert "quota_v2" in found(machine).aliases
    root_on(machine, "254:1", "xfs")
    assert "quota_v2" not in found(machine).aliases


def test_a_logical_volume_is_found_by_its_name(machine):
    machine.mapped("vg--a-lv--b", "LVM-" + VG + LV, [machine.partition(machine.virtio_disk())])
    root_on(machine, "252:0", "xfs", options="rw,attr2,prjquota,noquota")
    target = found(machine)
    assert (target.kind, target.device) == ("lvm", "/dev/mapper/vg--a-lv--b")
    assert target.activate == ["lvm vg-a/lv-b vg--a-lv--b"]
    assert target.options == "rw,prjquota"
    assert target.modules == ["xfs", "dm_mod", "virtio_blk"]


def test_an_array_is_started_after_nothing_and_before_the_volume_on_it(machine):
    disks = [machine.virtio_disk("a", "254:0", 4), machine.virtio_disk("b", "254:16", 5)]
    machine.mapped("vg-lv", "LVM-" + VG + LV, [machine.array(disks)])
    root_on(machine, "252:0")
    target = found(machine)
    assert target.activate == ["md /dev/md0 " + MD_UUID, "lvm vg/lv vg-lv"]
    assert target.modules == ["ext4", "dm_mod", "raid1", "virtio_blk", "virtio_blk"]


@pytest.mark.parametrize("level, module", [("raid0", "raid0"), ("raid6", "raid456"), ("raid10", "raid10")])
def test_each_level_has_its_module(machine, level, module):
    machine.array([machine.virtio_disk()], level)
    root_on(machine, "9:0")
    target = found(machine)
    assert (target.kind, target.device) == ("md", "/dev/md0")
    assert module in target.modules


@pytest.mark.parametrize(
    "values, what",
    [
        ({"lock_type": "sanlock"}, "an LVM volume group (vg) that a cluster shares"),
        ({"clustered": "clustered"}, "an LVM volume group (vg) that a cluster shares"),
        ({"system_id": 'x" ] }'}, "an LVM volume group (vg) with an unreadable system ID"),
    ],
)
def test_volume_groups_that_are_refused(machine, values, what):
    """In the capture kernel there is no lock daemon, and without one lvm activates nothing that is shared."""
    machine.mapped("vg-lv", "LVM-" + VG + LV, [machine.virtio_disk()])
    machine.group(**values)
    root_on(machine, "252:0")
    assert what in refused(machine)


def test_a_volume_group_that_cannot_be_asked_is_a_problem(machine):
    machine.mapped("vg-lv", "LVM-" + VG + LV, [machine.virtio_disk()])
    machine.programs["lvm"] = (5, "")
    root_on(machine, "252:0")
    assert "The values of the LVM volume group vg could not be read" in refused(machine)


def test_the_system_id_of_a_volume_group_is_known(machine):
    machine.mapped("vg-lv", "LVM-" + VG + LV, [machine.virtio_disk()])
    machine.group("node1", "none", "0")  # as with binary_values_as_numeric in lvm.conf
    root_on(machine, "252:0")
    assert found(machine).system_id == "node1"


@pytest.mark.parametrize("level, policy, works", [
    ("raid1", "resync", True), ("raid10", "bitmap", True), ("raid5", "ppl", True), ("raid6", "journal", True),
    ("raid4", "resync", False), ("raid5", "bitmap", False), ("raid6", "", False),
])  # fmt: skip
def test_a_degraded_array_that_may_not_start_after_a_panic_is_refused(machine, level, policy, works):
    node = machine.array([machine.virtio_disk()], level)
    machine.write(node + "/md/degraded", "1\n")
    machine.write(node + "/md/consistency_policy", policy + "\n")
    root_on(machine, "9:0")
    if works:
        assert found(machine).kind == "md"
    else:
        assert "md0 (%s) lacks a member" % level in refused(machine)


def test_a_btrfs_that_lacks_a_member_now_is_mounted_so_in_the_crash(machine):
    disk = machine.virtio_disk()
    machine.link("/sys/fs/btrfs/%s/devices/vda" % BTRFS, disk)
    machine.write("/dev/vda")
    machine.mounts(("0:48", "/", "/", "btrfs", "/dev/vda", "rw,degraded,subvolid=5"))
    assert (found(machine).options, found(machine).devices) == ("rw,subvolid=5,degraded", 1)


def test_an_automount_is_mounted_before_the_mounts_are_read(machine):
    machine.partition(machine.virtio_disk())
    auto = ("0:30", "/", "/data", "autofs", "systemd-1", "rw")
    machine.mounts(("254:1", "/", "/", "ext4", "/dev/vda1", "rw"), auto)
    machine.mkdir("/data/crash")

    class Automounting(type(machine.host)):
        def listdir(self, path):
            if path == "/data/crash":
                machine.mounts(
                    ("9:9", "/", "/", "ext4", "/dev/x", "rw"), auto, ("254:1", "/", "/data", "ext4", "/dev/vda1", "rw")
                )
                text = machine.host.read_text("/proc/self/mountinfo").replace("4 2 254:1", "4 3 254:1")
                machine.write("/proc/self/mountinfo", text)
            return super().listdir(path)

    machine.host = Automounting(str(machine.root), machine.run, machine.host.kernel)
    assert found(machine, "path /data/crash\n").directory == "crash"


def btrfs(machine, root="/"):
    disks = [machine.virtio_disk("a", "254:0", 4), machine.virtio_disk("b", "254:16", 5)]
    for disk in disks:
        machine.link("/sys/fs/btrfs/%s/devices/%s" % (BTRFS, disk.rsplit("/", 1)[-1]), disk)
    machine.write("/dev/vda")
    machine.mounts(("0:48", root, "/", "btrfs", "/dev/vda", "rw,subvolid=256,subvol=" + root))


def test_a_btrfs_on_two_disks_in_a_subvolume(machine):
    btrfs(machine, "/@root")
    target = found(machine)
    assert (target.uuid, target.devices, target.device) == (BTRFS, 2, "")
    assert (target.directory, target.options) == ("@root/var/crash", "rw,subvolid=5")
    assert target.modules == ["btrfs", "virtio_blk", "virtio_blk"]


def test_a_bind_mount_and_a_symbolic_link_are_followed_to_the_directory_on_disk(machine):
    machine.partition(machine.virtio_disk())
    machine.mounts(
        ("254:1", "/", "/", "ext4", "/dev/vda1", "rw"), ("254:1", "/data/crash", "/srv", "ext4", "/dev/vda1", "rw")
    )
    machine.mkdir("/srv")
    machine.link("/var/crash", "/srv/deep")
    target = found(machine)
    assert (target.directory, target.path) == ("data/crash/deep", "/srv/deep")


def test_a_file_system_of_fstab_that_is_not_mounted_yet_is_waited_for(machine):
    """Otherwise an image made while it is late at boot would dump below its mount point, where nobody looks."""
    disk = machine.virtio_disk()
    machine.partition(disk)
    root_on(machine, "254:1")
    machine.write("/etc/fstab", "/dev/vda1 / ext4\nnone none swap sw\n/dev/vda2 /data/ ext4 nofail\n")
    assert "lies on /data by /etc/fstab, which is not mounted now" in refused(machine, "path /data/crash\n")
    assert found(machine, "path /database/crash\n").directory == "database/crash"
    machine.write("/etc/fstab", "/dev/vda2 /data ext4 noauto\n")
    assert found(machine, "path /data/crash\n").directory == "data/crash"
    machine.write("/etc/fstab", "/dev/vda2 /data ext4 nofail\n")
    machine.mounts(("9:9", "/", "/", "xfs", "/dev/y", "rw"), ("254:1", "/", "/data", "ext4", "/dev/vda1", "rw"))
    assert found(machine, "path /data/crash\n").directory == "crash"


def test_an_explicit_target_that_is_mounted(machine):
    node = machine.partition(machine.virtio_disk())
    machine.write("/dev/vda1")
    machine.link("/dev/disk/by-uuid/" + UUID, "../../vda1")
    machine.mounts(
        ("254:9", "/", "/", "xfs", "/dev/vdz", "rw"), (node and "254:1", "/", "/mnt", "ext4", "/dev/vda1", "rw")
    )
    target = found(machine, "ext4 UUID=%s\npath /dumps\n" % UUID)
    assert (target.directory, target.path) == ("dumps", "/mnt/dumps")
    assert "holds ext4, not xfs. Write `ext4 UUID=" in refused(machine, "xfs UUID=%s\n" % UUID)


def test_a_path_that_leads_out_of_an_explicit_target_is_refused(machine):
    machine.partition(machine.virtio_disk())
    machine.write("/dev/vda1")
    machine.link("/mnt/dumps", "/elsewhere")
    machine.mounts(("254:1", "/", "/mnt", "ext4", "/dev/vda1", "rw"))
    assert "by a symbolic link, to /elsewhere" in refused(machine, "ext4 /dev/vda1\npath /dumps\n")


@pytest.mark.parametrize("transport", ["pcie", "tcp"])
def test_nvme_with_several_paths_goes_by_its_controllers(machine, transport):
    folder = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    controller = PCI + "/0000:01:00.0/nvme/nvme0"
    machine.block("259:0", folder + "/nvme0n1")
    machine.write(controller + "/transport", transport + "\n")
    machine.driver(PCI + "/0000:01:00.0", "nvme")
    machine.link(folder + "/nvme0", controller)
    root_on(machine, "259:0")
    if transport == "pcie":
        assert found(machine).modules == ["ext4", "nvme"]
    else:
        assert "an NVMe disk behind a network (tcp)" in refused(machine)


@pytest.mark.parametrize(
    "uuid, name, what",
    [
        ("CRYPT-LUKS2-5b0f-cryptroot", "cryptroot", "LUKS encryption (cryptroot)"),
        ("mpath-3600508b4", "mpatha", "multipath (mpatha)"),
        ("part1-mpath-3600508b4", "mpatha1", "multipath (mpatha1)"),
        ("DMRAID-isw_x", "isw_x", "a firmware RAID"),
        ("", "odd", "a device-mapper device of an unknown kind (odd)"),
    ],
)
def test_mapped_devices_that_are_refused(machine, uuid, name, what):
    machine.mapped(name, uuid, [machine.virtio_disk()])
    root_on(machine, "252:0")
    message = refused(machine)
    assert what in message and "plain partition" in message


@pytest.mark.parametrize(
    "suffix, name, what",
    [
        ("-tpool", "vg-pool-tpool", "a thin pool"),
        ("-real", "vg-lv-real", "a snapshot"),
        ("", "vg-lv_rimage_0", "RAID"),
        ("", "vg-lv_corig", "its part is vg-lv_corig"),
    ],
)
def test_volumes_of_other_kinds_are_refused(machine, suffix, name, what):
    hidden = machine.mapped(name, "LVM-" + VG + LV[::-1] + suffix, [machine.virtio_disk()], "252:1", "dm-1")
    machine.mapped("vg-lv", "LVM-" + VG + LV, [hidden])
    root_on(machine, "252:0")
    assert "an LVM volume (vg-lv) of a kind it does not know: " + what in refused(machine)


def test_a_volume_on_luks_names_luks(machine):
    crypt = machine.mapped("crypt", "CRYPT-LUKS2-x-crypt", [machine.virtio_disk()], "252:1", "dm-1")
    machine.mapped("vg-lv", "LVM-" + VG + LV, [crypt])
    root_on(machine, "252:0")
    assert "LUKS encryption (crypt)" in refused(machine)


@pytest.mark.parametrize(
    "node, what",
    [
        ("/sys/devices/virtual/block/loop0", "a loop device (loop0)"),
        ("/sys/devices/virtual/block/zram1", "compressed memory (zram) (zram1)"),
        ("/sys/devices/virtual/block/drbd0", "DRBD (drbd0)"),
        ("/sys/devices/virtual/block/bcache0", "bcache (bcache0)"),
        ("/sys/devices/virtual/block/nbd0", "a network block device (nbd0)"),
        ("/sys/devices/virtual/block/strange0", "a device without hardware (strange0)"),
        ("/sys/devices/rbd/0/block/rbd0", "Ceph RBD (rbd0)"),
        ("/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sda", "a disk (sda) behind iSCSI"),
        (PCI + "/0000:03:00.0/host1/rport-1:0-0/target1:0:0/1:0:0:0/block/sda", "a disk (sda) behind Fibre Channel"),
        ("/sys/devices/css0/0.0.0001/0.0.0200/block/dasda", "a disk (dasda) behind a channel-attached disk (CCW)"),
    ],
)
def test_disks_that_are_refused(machine, node, what):
    machine.block("7:0", node)
    root_on(machine, "7:0")
    assert what in refused(machine)


@pytest.mark.parametrize(
    "level, metadata", [("container", "external:imsm"), ("raid1", "external:/md127/0"), ("weird", "1.2")]
)
def test_arrays_that_are_refused(machine, level, metadata):
    machine.array([machine.virtio_disk()], level, metadata)
    root_on(machine, "9:0")
    assert "an MD array (md0) of level %s with %s metadata" % (level, metadata) in refused(machine)


@pytest.mark.parametrize(
    "fstype, what",
    [
        ("cifs", "a network or cluster file system (cifs)"),
        ("tmpfs", "tmpfs, which does not outlive a crash"),
        ("overlay", "overlay, a file system that the native engine does not know"),
        ("zfs", "zfs, a file system that the native engine does not know"),
    ],
)
def test_file_systems_that_are_refused(machine, fstype, what):
    root_on(machine, "0:30", fstype)
    assert what in refused(machine)


def test_an_external_journal_of_ext4_is_refused(machine):
    machine.partition(machine.virtio_disk())
    machine.programs["blkid"] = (0, "DEVNAME=/dev/vda1\nUUID=%s\nEXT_JOURNAL=%s\nTYPE=ext4\n" % (UUID, BTRFS))
    root_on(machine, "254:1")
    assert "external journal" in refused(machine)


def test_an_external_log_of_xfs_is_refused(machine):
    machine.partition(machine.virtio_disk())
    root_on(machine, "254:1", "xfs", options="rw,logdev=/dev/vdb")
    assert "an external journal, log or real-time device" in refused(machine)


@pytest.mark.parametrize("out", ["", "TYPE=ext4\n", "UUID=; rm -rf /\n"])
def test_without_a_uuid_there_is_no_target(machine, out):
    machine.partition(machine.virtio_disk())
    machine.programs["blkid"] = (0, out)
    root_on(machine, "254:1")
    assert "No UUID could be read of the file system on /dev/vda1" in refused(machine)


def test_a_copy_of_the_file_system_could_be_taken_for_it_in_the_crash(machine):
    machine.partition(machine.virtio_disk())
    root_on(machine, "254:1")
    machine.write("/run/udev/data/b254:1", "S:disk/by-uuid/x\nE:ID_FS_UUID=%s\nE:ID_FS_TYPE=ext4\n" % UUID)
    machine.write("/run/udev/data/b254:16", "E:ID_FS_UUID=%s0\n" % UUID)
    assert found(machine).uuid == UUID
    machine.write("/run/udev/data/b254:16", "E:ID_FS_UUID=%s\n" % UUID)
    assert "is that of another one on this host, too" in refused(machine)
    machine.mkdir("/sys/dev/block/254:16/dm")  # kpartx shows a partition a second time
    assert found(machine).uuid == UUID


def test_a_device_that_sysfs_does_not_know_is_refused(machine):
    root_on(machine, "8:1", source="/dev/root")
    assert "(/dev/root) is not to be found in /sys" in refused(machine)
