# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where each target of kdump.conf leads, on a machine of sysfs and tables; keys are made by the real ssh-keygen."""

import json
import shutil
import subprocess

import pytest
from image_host import MD_UUID, PCI, RELEASE, UUID, Machine, conf_of, elf

from ansible_collections.vmcore.kdump.plugins.module_utils.image import build, target
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing

OTHER = "0b1a2c3d-3039-4a59-a95d-7cd978d0bc20"
ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
ROOT = ("254:1", "/", "/", "ext4", "/dev/vda1", "rw")
LV = "LVM-oxTHi6M4TeZ72fOlRm4zWjRowaXR5KkN7HAu2gq0v0S0anxfHKbw0wRxRXJnFoLS"


class Network:
    """A card eth0 with 192.0.2.5 and 2001:db8::5; every server is on its link. What `ip -j` prints."""

    def __init__(self, machine):
        device = PCI + "/0000:00:03.0/virtio0"
        machine.driver(device, "virtio_net")
        machine.mkdir(device + "/net/eth0")
        machine.link("/sys/class/net/eth0", device + "/net/eth0")
        machine.link(device + "/net/eth0/device", device)
        machine.write("/usr/sbin/ip", elf(), 0o755)

    def __call__(self, argv):
        words = [word for word in argv[1:] if not word.startswith("-")]
        if words[:2] == ["route", "get"]:
            source = "2001:db8::5" if ":" in words[2] else "192.0.2.5"
            return 0, json.dumps([{"dst": words[2], "dev": "eth0", "prefsrc": source, "flags": []}])
        if words[0] == "addr":
            address = {"family": "inet", "local": "192.0.2.5", "prefixlen": 24, "scope": "global"}
            address6 = {"family": "inet6", "local": "2001:db8::5", "prefixlen": 64, "scope": "global"}
            return 0, json.dumps([{"ifname": "eth0", "addr_info": [address, address6]}])
        if words[0] == "link":
            link = {"ifname": "eth0", "mtu": 1500, "link_type": "ether", "address": "52:54:00:12:34:56"}
            return 0, json.dumps([link])
        return 0, "[]"


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.partition(machine.virtio_disk())
    machine.mounts(ROOT)
    machine.programs["blkid"] = (0, "UUID=%s\nTYPE=ext4\n" % UUID)
    machine.programs["ip"] = Network(machine)
    machine.write("/etc/hosts", "192.0.2.9 dumps\n2001:db8::9 dumps6\n")
    machine.write("/proc/sys/kernel/hostname", "node1\n")
    return machine


def found(machine, text="", **settings):
    return target.of_conf(machine.host, conf_of(text), settings)


def values(machine, text="", **settings):
    """Those settings that are not empty."""
    made = found(machine, text, **settings)
    assert [name for name, _value in made.settings] == list(target.VARIABLES)
    return {name: value for name, value in made.settings if value}


def refused(machine, text="", error=KdumpError):
    with pytest.raises(error) as caught:
        found(machine, text)
    return str(caught.value)


# --- file systems ----------------------------------------------------------------------------------------------------
def test_a_path_on_the_root_file_system(machine):
    assert values(machine) == {
        "kind": "filesystem", "directory": "var/crash", "uuid": UUID, "devices": "1", "fstype": "ext4",
        "options": "rw,errors=remount-ro",
    }  # fmt: skip
    made = found(machine)
    assert (made.path, made.network, made.manifest["where"]) == ("/var/crash", None, "UUID=%s:/var/crash" % UUID)


def second_disk(machine, kind="ext4", superblock=b""):
    """Another disk with one partition that nobody mounts."""
    node = machine.partition(machine.virtio_disk("b", "254:16", 5), "254:17")
    machine.write("/dev/vdb1", superblock)
    machine.programs["blkid"] = (0, "UUID=%s\nTYPE=%s\n/dev/vdb1\n" % (OTHER, kind))
    return node


XFS = b"XFSB" + bytes(44) + b"\0\0\0\0\0\0\0\x04"
BTRFS = bytes(0x10000 + 136) + (1).to_bytes(8, "little")
NAMES = {
    "device": ("/dev/vdb1", None),
    "uuid": ("UUID=" + OTHER, "/dev/disk/by-uuid/" + OTHER),
    "label": ("LABEL=dumps", "/dev/disk/by-label/dumps"),
    "label in quotes": ('LABEL="dumps"', "/dev/disk/by-label/dumps"),
}
KINDS = {
    "ext2": ("ext4", b""),
    "ext3": ("ext4", b""),
    "ext4": ("ext4", b""),
    "xfs": ("xfs", XFS),
    "btrfs": ("btrfs", BTRFS),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name, link", list(NAMES.values()), ids=list(NAMES))
def test_a_file_system_that_is_not_mounted(machine, kind, name, link):
    second_disk(machine, kind, KINDS[kind][1])
    if link:
        machine.link(link, "../../vdb1")
    text = "%s %s\npath /dumps/here\n" % (kind, name)
    assert values(machine, text) == {
        "kind": "filesystem", "directory": "dumps/here", "uuid": OTHER, "devices": "1", "fstype": KINDS[kind][0],
        "options": "rw,errors=remount-ro" if KINDS[kind][0] == "ext4" else "rw",
    }  # fmt: skip
    assert (found(machine, text).path, found(machine, text).modules[:2]) == ("", [KINDS[kind][0], "virtio_blk"])


def test_one_on_a_logical_volume_and_one_on_an_array(machine):
    second_disk(machine)
    machine.mapped("vg-dumps", LV, ["/sys/dev/block/254:17"])
    machine.link("/dev/mapper/vg-dumps", "../dm-0")
    machine.link("/dev/vg/dumps", "../dm-0")
    for name in ("/dev/vg/dumps", "/dev/mapper/vg-dumps"):
        made = values(machine, "ext4 %s\n" % name)
        assert (made["device"], made["activate"]) == ("/dev/mapper/vg-dumps", "lvm vg/dumps vg-dumps")
    machine.array([PCI + "/0000:00:05.0/virtio5/block/vdb"])
    made = values(machine, "ext4 /dev/md0\n")
    assert (made["device"], made["activate"]) == ("/dev/md0", "md /dev/md0 " + MD_UUID)


@pytest.mark.parametrize(
    "given, options",
    [
        ("defaults,noauto,nofail,x-systemd.automount,_netdev,user,comment=mine", "rw,errors=remount-ro"),
        ("ro,noauto,noatime,errors=remount-ro,discard", "rw,errors=remount-ro,noatime,discard"),
        ("noauto,errors=panic,sync", "rw,errors=remount-ro,sync"),
        ("noauto,errors=continue,sync", "rw,errors=continue,sync"),
        ('noauto,context="system_u:object_r:kdump_crash_t:s0"', "rw,errors=remount-ro"),
        ("noauto,usrjquota=aquota.user,jqfmt=vfsv0,noload", "rw,errors=remount-ro"),
        ("noauto,noatim,nobarrier,errors=explode,commit=5", "rw,errors=remount-ro,commit=5"),
    ],
)
@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_options_of_fstab_that_the_kernel_knows_are_kept(machine, kind, given, options):
    """errors=panic, which a superblock may say as well, would be a second panic in the middle of the dump."""
    second_disk(machine, kind)
    machine.write("/etc/fstab", "/dev/vda1 / ext4 sync 0 1\n/dev/vdb1 /mnt/dumps %s %s 0 0\n" % (kind, given))
    assert values(machine, "%s /dev/vdb1\n" % kind)["options"] == options
    dracut = 'dracut_args --mount "/dev/vdb1 /mnt %s %s"\n' % (kind, given.replace('"', ""))
    assert values(machine, dracut)["options"] == options


@pytest.mark.parametrize(
    "kind, given, options",
    [
        ("xfs", "noauto,nouuid,uquota,usrquota,attr2,nobarrier,inode64", "rw,nouuid,usrquota,inode64"),
        ("btrfs", "noauto,subvol=/@dumps/a,compress=zstd:3,device=/dev/vdc", "rw,subvolid=5"),
        ("btrfs", "noauto,subvolid=256,discard", "rw,subvolid=256,discard"),
    ],
)
def test_what_each_file_system_keeps_of_fstab(machine, kind, given, options):
    second_disk(machine, kind, KINDS[kind][1])
    machine.write("/etc/fstab", "/dev/vdb1 /mnt/dumps %s %s 0 0\n" % (kind, given))
    made = values(machine, "%s /dev/vdb1\npath /here\n" % kind)
    assert (made["options"], made["directory"]) == (options, "@dumps/a/here" if "@" in given else "here")


@pytest.mark.parametrize(
    "kind, given, root, shown",
    [
        ("ext4", "noauto,errors=panic", "/", "rw,stripe=64,errors=panic"),
        ("xfs", "noauto,gquota,nouuid", "/", "rw,nouuid,attr2,grpquota"),
        ("btrfs", "noauto,subvol=@dumps", "/@dumps", "rw,subvolid=256,subvol=/@dumps"),
    ],
)
def test_mounted_or_not_it_is_the_same_image(machine, kind, given, root, shown):
    node = second_disk(machine, kind, KINDS[kind][1])
    machine.write("/etc/fstab", "/dev/vdb1 /mnt/dumps %s %s 0 0\n" % (kind, given))
    text = "%s /dev/vdb1\npath /dumps\n" % kind
    before = found(machine, text)
    machine.mkdir("/sys/module/quota_v2")
    machine.link("/sys/fs/btrfs/%s/devices/vdb1" % OTHER, node)
    number = "0:48" if kind == "btrfs" else "254:17"
    machine.mounts(ROOT, (number, root, "/mnt/dumps", kind, "/dev/vdb1", shown))
    after = found(machine, text)
    assert (after.path, before.path) == ("/mnt/dumps/dumps", "")
    assert after.settings == before.settings and after.modules == before.modules and after.aliases == before.aliases


def test_a_bind_mount_of_a_part_is_not_the_target(machine):
    second_disk(machine)
    machine.mounts(ROOT, ("254:17", "/deep", "/srv", "ext4", "/dev/vdb1", "rw"))
    assert values(machine, "ext4 /dev/vdb1\npath /dumps\n")["directory"] == "dumps"


def test_a_btrfs_of_two_disks_that_is_not_mounted(machine):
    second_disk(machine, "btrfs", bytes(0x10000 + 136) + (2).to_bytes(8, "little"))
    assert "The btrfs on /dev/vdb1 has 2 devices, and 1 of them are there" in refused(machine, "btrfs /dev/vdb1\n")
    machine.virtio_disk("c", "254:32", 6)
    machine.programs["blkid"] = (0, "UUID=%s\nTYPE=btrfs\n/dev/vdb1\n/dev/vdc\n" % OTHER)
    made = found(machine, "btrfs /dev/vdb1\n")
    assert dict(made.settings)["devices"] == "2" and made.modules.count("virtio_blk") == 2


FILE_SYSTEMS_REFUSED = {
    "no device": ("ext4 /dev/vdz9\n", "ext4", b"", "There is no block device /dev/vdz9"),
    "no such label": ("ext4 LABEL=none\n", "ext4", b"", "There is no block device LABEL=none"),
    "another type": ("ext4 /dev/vdb1\n", "xfs", b"", "/dev/vdb1 holds xfs, not ext4. Write `xfs /dev/vdb1`."),
    "no type": ("ext4 /dev/vdb1\n", "", b"", "/dev/vdb1 holds nothing that blkid knows, not ext4"),
    "encrypted": ("xfs /dev/vdb1\n", "crypto_LUKS", b"", "/dev/vdb1 holds crypto_LUKS, not xfs"),
    "an external log": ("xfs /dev/vdb1\n", "xfs", b"XFSB" + bytes(52), "an external journal, log or real-time device"),
    "a real-time device": ("xfs /dev/vdb1\n", "xfs", b"XFSB" + b"\1" * 52, "an external journal, log or real-time"),
    "minix": ("minix /dev/vdb1\n", "minix", b"", "does not write to minix"),
}


@pytest.mark.parametrize(
    "text, kind, superblock, message", list(FILE_SYSTEMS_REFUSED.values()), ids=list(FILE_SYSTEMS_REFUSED)
)
def test_file_systems_that_are_refused(machine, text, kind, superblock, message):
    second_disk(machine, kind, superblock)
    assert message in refused(machine, text)


def test_a_disk_behind_a_network_is_refused_by_the_name_of_the_directive(machine):
    machine.block("8:0", "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sda")
    with pytest.raises(KdumpError) as caught:
        found(machine, "ext4 /dev/sda\n")
    assert "a disk (sda) behind iSCSI" in str(caught.value) and caught.value.problems[0].option == "ext4"


def test_the_root_file_system_under_a_target_that_is_mounted_over_it(machine):
    second_disk(machine)
    machine.mounts(ROOT, ("254:17", "/", "/var", "ext4", "/dev/vdb1", "rw"))
    assert found(machine).path == "/var/crash" and dict(found(machine).settings)["directory"] == "crash"
    assert dict(target.of_root(machine.host, "/var/crash").settings)["directory"] == "var/crash"


@pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="xfsprogs are not installed")
def test_where_the_real_mkfs_puts_the_log_of_an_xfs_is_seen(machine):
    second_disk(machine, "xfs")
    device, log = str(machine.root / "dev/vdb1"), str(machine.root / "log")
    for path in (device, log):
        with open(path, "wb") as file:
            file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", device], check=True)
    assert values(machine, "xfs /dev/vdb1\n")["fstype"] == "xfs"
    subprocess.run(["mkfs.xfs", "-q", "-f", "-l", "logdev=%s,size=64m" % log, device], check=True)
    assert "an external journal, log or real-time device" in refused(machine, "xfs /dev/vdb1\n")


@pytest.mark.skipif(shutil.which("mkfs.btrfs") is None, reason="btrfs-progs are not installed")
def test_how_many_devices_the_real_mkfs_says_a_btrfs_has_is_seen(machine):
    second_disk(machine, "btrfs")
    devices = [str(machine.root / "dev" / name) for name in ("vdb1", "other")]
    for path in devices:
        with open(path, "wb") as file:
            file.truncate(200 << 20)
    subprocess.run(["mkfs.btrfs", "-q"] + devices, check=True)
    assert "The btrfs on /dev/vdb1 has 2 devices, and 1 of them are there" in refused(machine, "btrfs /dev/vdb1\n")
    subprocess.run(["mkfs.btrfs", "-q", "-f", devices[0]], check=True)
    assert values(machine, "btrfs /dev/vdb1\n")["devices"] == "1"


# --- dracut's --mount ------------------------------------------------------------------------------------------------
def test_a_file_system_by_dracuts_mount(machine):
    second_disk(machine)
    text = 'dracut_args --mount "/dev/vdb1 /mnt ext4 defaults,noatime,nofail"\npath /dumps\n'
    made = values(machine, text)
    assert (made["uuid"], made["directory"], made["options"]) == (OTHER, "dumps", "rw,errors=remount-ro,noatime")


def test_the_example_of_the_howto_asks_for_no_mount_beforehand(machine):
    made = values(machine, 'dracut_args --mount "192.168.1.1:/share /mnt/test nfs4 defaults"\n')
    assert (made["source"], made["versions"]) == ("192.168.1.1:/share", "vers=4.2 vers=4.1 vers=4.0")


def test_types_that_cannot_be_are_refused_by_name(machine):
    assert "cannot dump to cifs" in refused(machine, 'dracut_args --mount "//a/b /mnt cifs defaults"\n')


ARGUMENTS = {
    "compression": ("--xz --omit-drivers 'cfg80211 snd' -o nouveau --no-hostonly-default-device", ""),
    "drivers": ('--add-drivers "ext2 ext3" --force-drivers=megaraid_sas', ""),
    "modules": ("--add network", "does not know what to do with --add"),
    "a short option": ("-a network -f", "does not know what to do with -a"),
    "files": ("--include /a /b -f", "does not know what to do with --include"),
    "programs": ("--install /usr/bin/vim", "extra_bins"),
    "command line": ('--kernel-cmdline "ip=dhcp"', "KDUMP_COMMANDLINE_APPEND"),
    "unknown": ("--frobnicate", "does not know what to do with --frobnicate"),
    "a word": ("rubbish", "does not know what to do with rubbish"),
}


@pytest.mark.parametrize("words, message", list(ARGUMENTS.values()), ids=list(ARGUMENTS))
def test_other_arguments_of_dracut(machine, words, message):
    text = "dracut_args %s\n" % words
    if message:
        assert message in refused(machine, text)
        assert refused(machine, text).count("does not know") == 1
    else:
        made = found(machine, text)
        assert ("megaraid_sas" in made.aliases and "ext3" in made.aliases) is ("drivers" in words and "add" in words)


# --- raw -------------------------------------------------------------------------------------------------------------
def raw_answers(machine, part="", same=("/dev/vdb1",)):
    def blkid(argv):
        if "PART_ENTRY_UUID" in argv:
            return 0, "DEVNAME=/dev/vdb1\nPART_ENTRY_UUID=%s\n" % part
        return 0, "".join(device + "\n" for device in same)

    machine.programs["blkid"] = blkid


def test_a_partition_goes_by_its_number_in_the_table(machine):
    second_disk(machine)
    raw_answers(machine, OTHER)
    assert values(machine, "raw /dev/vdb1\n") == {"kind": "raw", "partuuid": OTHER}
    assert "virtio_blk" in found(machine, "raw /dev/vdb1\n").modules
    machine.link("/dev/disk/by-id/virtio-dumps-part1", "../../vdb1")
    assert values(machine, "raw /dev/disk/by-id/virtio-dumps-part1\n") == {"kind": "raw", "partuuid": OTHER}


@pytest.mark.parametrize(
    "part, same",
    [("", ["/dev/vdb1"]), ("00000000-01", ["/dev/vdb1"]), (OTHER, ["/dev/vdb1", "/dev/vdc1"]), (OTHER, [])],
)
def test_a_number_that_is_none_or_not_its_own_is_refused(machine, part, same):
    second_disk(machine)
    raw_answers(machine, part, same)
    assert "raw /dev/vdb1 has no name that means the same device" in refused(machine, "raw /dev/vdb1\n")


@pytest.mark.parametrize(
    "files, names",
    [
        ({"wwid": "  naa.5000c500a \n", "serial": "S1"}, {"wwid": "naa.5000c500a"}),
        ({"device/wwid": "t10.ATA     DISK   QM1   "}, {"wwid": "t10.ATA     DISK   QM1"}),
        ({"serial": "dumps\n"}, {"serial": "dumps"}),
        ({"device/serial": "0xabcd"}, {"serial": "0xabcd"}),
        ({"serial": ""}, None),
        ({"serial": "two\nlines'\x01"}, {"serial": "two"}),
        ({"serial": "bad\x01"}, None),
    ],
)
def test_a_whole_disk_goes_by_what_it_says_of_itself(machine, files, names):
    node = machine.virtio_disk("b", "254:16", 5)
    machine.link("/sys/block/vdb", node)
    for name, text in files.items():
        machine.write(node + "/" + name, text)
    if names is None:
        assert "has no name that means the same device" in refused(machine, "raw /dev/vdb\n")
        return
    assert values(machine, "raw /dev/vdb\n") == dict(names, kind="raw")
    twin = machine.virtio_disk("c", "254:32", 6)
    machine.link("/sys/block/vdc", twin)
    for name, text in files.items():
        machine.write(twin + "/" + name, text)
    assert "has no name that means the same device" in refused(machine, "raw /dev/vdb\n")


def test_volumes_and_arrays_have_names_that_last(machine):
    second_disk(machine)
    machine.mapped("vg-raw", LV, ["/sys/dev/block/254:17"])
    machine.link("/dev/mapper/vg-raw", "../dm-0")
    made = values(machine, "raw /dev/mapper/vg-raw\n")
    assert made == {"kind": "raw", "device": "/dev/mapper/vg-raw", "activate": "lvm vg/raw vg-raw"}


def test_devices_that_something_uses_are_no_raw_devices(machine):
    node = second_disk(machine)
    raw_answers(machine, OTHER)
    assert "raw /dev/vda1 is mounted on /" in refused(machine, "raw /dev/vda1\n")
    assert "raw /dev/vdb is a disk with partitions" in refused(machine, "raw /dev/vdb\n")
    machine.write("/proc/swaps", "Filename Type\n/dev/vdb1 partition 1 0 -2\n")
    assert "raw /dev/vdb1 is used for swapping" in refused(machine, "raw /dev/vdb1\n")
    machine.write("/proc/swaps", "Filename Type\n")
    machine.link("/sys/fs/btrfs/%s/devices/vdb1" % OTHER, node)
    assert "raw /dev/vdb1 is a part of a btrfs that is mounted" in refused(machine, "raw /dev/vdb1\n")
    machine.host.remove("/sys/fs/btrfs/%s/devices/vdb1" % OTHER)
    machine.mounts(ROOT, ("254:33", "/", "/data", "xfs", "/dev/vdc1", "rw,logdev=/dev/vdb1,noquota"))
    assert "raw /dev/vdb1 is mounted on /data" in refused(machine, "raw /dev/vdb1\n")
    machine.mounts(ROOT)
    machine.link(node + "/holders/dm-0", node)
    assert "raw /dev/vdb1 is a part of dm-0" in refused(machine, "raw /dev/vdb1\n")
    assert "There is no block device /dev/nope" in refused(machine, "raw /dev/nope\n")


def test_a_raw_device_that_cannot_be_reached_is_refused(machine):
    machine.mapped("crypt", "CRYPT-LUKS2-x-crypt", [machine.virtio_disk("b", "254:16", 5)])
    assert "cannot dump to a raw device on LUKS encryption (crypt)" in refused(machine, "raw /dev/dm-0\n")


# --- nfs -------------------------------------------------------------------------------------------------------------
PATIENCE = "rw,soft,timeo=600,retrans=5,sec=sys"
LIVE4 = (
    "rw,vers=4.1,rsize=131072,wsize=131072,namlen=255,hard,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=192.0.2.5,"
    "local_lock=none,addr=192.0.2.8"
)
LIVE3 = (
    "rw,vers=3,rsize=65536,wsize=65536,namlen=255,hard,proto=udp,timeo=11,retrans=3,sec=sys,mountaddr=192.0.2.8,"
    "mountvers=3,mountport=20048,mountproto=udp,local_lock=none,addr=192.0.2.8"
)
LIVE6 = "rw,vers=4.2,proto=tcp6,port=2050,sec=sys,clientaddr=2001:db8::5,local_lock=none,addr=2001:db8::8"


def test_an_export_that_nobody_has_mounted(machine):
    assert values(machine, "nfs dumps:/export/tmp\npath /var/crash\n") == {
        "kind": "nfs", "directory": "var/crash", "source": "192.0.2.9:/export/tmp", "fstype": "nfs",
        "options": PATIENCE + ",nolock,proto=tcp,addr=192.0.2.9",
        "versions": "vers=4.2 vers=4.1 vers=4.0 vers=3", "hostname": "node1",
    }  # fmt: skip
    made = found(machine, "nfs dumps:/export/tmp\n")
    assert (made.modules, made.aliases, made.path) == (["nfs", "nfsv4"], ["nfsv3"], "")
    assert made.network.host_address == "192.0.2.5" and made.programs == [("mount", "util-linux")]
    assert made.manifest["where"] == "dumps:/export/tmp/var/crash"


ANY4 = "vers=4.2 vers=4.1 vers=4.0"
# name: (source, type, what the kernel shows of the mount; what of it stays, the version below a path)
LIVE = {
    "no security at all": (
        "dumps:/x", "nfs4", "rw,vers=4.2,sec=none", "rw,soft,timeo=600,retrans=5,sec=none%s,proto=tcp,addr=192.0.2.9",
        "vers=4.2"),
    "version 4": ("dumps:/x", "nfs4", LIVE4, PATIENCE + "%s,proto=tcp,addr=192.0.2.9", "vers=4.1"),
    "version 3": ("dumps:/x", "nfs", LIVE3, PATIENCE + "%s,proto=udp,addr=192.0.2.9", "vers=3"),
    "IPv6": (
        "[2001:db8::8]:/x", "nfs4", LIVE6, PATIENCE + "%s,port=2050,proto=tcp6,addr=2001:db8::8", "vers=4.2"),
    "old words": (
        "dumps:/x", "nfs4", "rw,vers=4,minorversion=1", PATIENCE + "%s,proto=tcp,addr=192.0.2.9", "vers=4.1"),
}  # fmt: skip


@pytest.mark.parametrize("source, kind, live, options, version", list(LIVE.values()), ids=list(LIVE))
def test_what_a_mount_has_agreed_on_and_nobody_could_guess_is_kept(machine, source, kind, live, options, version):
    machine.mounts(ROOT, ("0:40", "/", "/mnt", kind, source, live))
    machine.mkdir("/mnt/dumps")
    text = "nfs %s\npath /dumps\n" % source
    made = values(machine, text)
    assert (made["options"], made["versions"]) == (options % ",nolock", ANY4 + " vers=3")
    assert (found(machine, text).path, made["directory"]) == ("/mnt/dumps", "dumps")
    # the same place by its path on this host, as the HOWTO has it: there it is always mounted
    below = values(machine, "path /mnt/dumps\n")
    assert (below["options"], below["versions"]) == (options % (",nolock" if version == "vers=3" else ""), version)
    assert dict(below, options="", versions="") == dict(made, options="", versions="")
    assert found(machine, "path /mnt/dumps\n").modules == ["nfs", "nfsv3" if version == "vers=3" else "nfsv4"]


@pytest.mark.parametrize("text", ["nfs dumps:/x\n", 'dracut_args --mount "dumps:/x /mnt nfs4 defaults"\n'])
@pytest.mark.parametrize(
    "given", ["", "dumps:/x /mnt nfs noauto 0 0\n", "dumps:/x /mnt nfs4 noauto,vers=4,noacl 0 0\n"]
)
def test_an_export_gives_the_same_image_whether_or_not_it_is_mounted(machine, text, given):
    machine.write("/etc/fstab", given)
    before = values(machine, text)
    for live in (LIVE4, LIVE4.replace("4.1", "4.2").replace("0.2.8", "0.2.9")):
        more = ",noacl" if "noacl" in given and "dracut" not in text else ""
        machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs4", "dumps:/x", live + more))
        assert values(machine, text) == before


def test_without_a_name_server_a_mount_tells_the_address(machine):
    machine.write("/etc/hosts", "")
    assert "has no address that this host can find" in refused(machine, "nfs dumps:/x\n")
    machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs4", "dumps:/x", LIVE4))
    assert values(machine, "nfs dumps:/x\n")["source"] == "192.0.2.8:/x"


def test_a_path_of_an_export_is_followed_where_it_is_mounted_and_not_out_of_it(machine):
    """In the capture kernel an absolute link would lead into the image, whose files are gone with the restart."""
    machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs4", "dumps:/x", LIVE4))
    machine.mkdir("/mnt/real")
    machine.link("/mnt/crash", "/mnt/real")
    made = found(machine, "nfs dumps:/x\npath /crash/node1\n")
    assert (made.path, dict(made.settings)["directory"]) == ("/mnt/real/node1", "real/node1")
    machine.link("/mnt/out", "/srv")
    assert "by a symbolic link, to /srv/node1" in refused(machine, "nfs dumps:/x\npath /out/node1\n")


@pytest.mark.parametrize("given, source", [("192.0.2.9", "192.0.2.9:/x"), ("dumps", "192.0.2.9:/x"), ("a:b/c", None)])
def test_an_address_among_the_options_is_one(machine, given, source):
    machine.write("/etc/fstab", "dumps:/x /mnt nfs addr=%s 0 0\n" % given)
    machine.host.resolve = lambda name: {"192.0.2.9": ["192.0.2.9"], "dumps": ["192.0.2.9"]}.get(name, [])
    if source:
        assert values(machine, "nfs dumps:/x\n")["source"] == source
    else:
        assert "has no address that this host can find" in refused(machine, "nfs dumps:/x\n")


def test_a_directory_of_an_export_that_is_mounted_by_itself(machine):
    machine.mounts(ROOT, ("0:40", "/sub/dir", "/mnt", "nfs4", "dumps:/x", LIVE4))
    made = values(machine, "path /mnt/crash\n")
    assert (made["source"], made["directory"]) == ("192.0.2.9:/x", "sub/dir/crash")


FSTAB = {
    "version and port": (
        "nfsvers=3,mountport=635,port=2050,noauto",
        "nfs",
        ",nolock,port=2050,mountport=635",
        "vers=3",
    ),
    "short version": ("v4.1,tcp,hard,intr,bg,retry=3", "nfs", "", "vers=4.1"),
    "version 4 of any kind": ("vers=4", "nfs", "", "vers=4.2 vers=4.1 vers=4.0"),
    "by its type": ("noauto", "nfs4", "", "vers=4.2 vers=4.1 vers=4.0"),
    "sizes": (
        "vers=4.2,rsize=8192,wsize=8192,noresvport,nolock",
        "nfs",
        ",rsize=8192,wsize=8192,noresvport",
        "vers=4.2",
    ),
    "what a helper would do": ("vers=4.2,x-systemd.automount,_netdev,fsc,lookupcache=none", "nfs", "", "vers=4.2"),
}


@pytest.mark.parametrize("given, kind, options, versions", list(FSTAB.values()), ids=list(FSTAB))
def test_options_of_fstab_for_an_export(machine, given, kind, options, versions):
    machine.write("/etc/fstab", "other:/x /a nfs vers=3\ndumps:/x/ /mnt %s %s 0 0\n" % (kind, given))
    made = values(machine, "nfs dumps:/x\n")
    assert (made["options"], made["versions"]) == (PATIENCE + options + ",proto=tcp,addr=192.0.2.9", versions)


def test_what_is_written_in_dracuts_mount_counts_more_than_a_live_mount(machine):
    machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs4", "dumps:/x", LIVE4))
    machine.write("/etc/fstab", "dumps:/x /mnt nfs vers=4.1,port=1 0 0\n")
    assert values(machine, 'dracut_args --mount "dumps:/x /m nfs4 vers=4.0"\n')["versions"] == "vers=4.0"
    made = values(machine, 'dracut_args --mount "dumps:/x /m nfs port=2,noacl"\n')
    assert (made["versions"], made["options"]) == (
        ANY4 + " vers=3", PATIENCE + ",nolock,port=2,noacl,proto=tcp,addr=192.0.2.9",
    )  # fmt: skip
    machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs", "dumps:/x", LIVE3))
    made = values(machine, 'dracut_args --mount "dumps:/x /m nfs4 defaults"\n')
    assert (made["versions"], made["options"]) == (ANY4, PATIENCE + ",proto=tcp,addr=192.0.2.9")


def test_a_choice_of_security_flavours_that_holds_the_simple_one_will_do(machine):
    machine.write("/etc/fstab", "dumps:/x /mnt nfs sec=krb5:sys,vers=4.2 0 0\n")
    assert "sec=sys" in values(machine, "nfs dumps:/x\n")["options"]


def test_the_mount_protocol_can_have_its_own_transport(machine):
    machine.write("/etc/fstab", "dumps6:/x /mnt nfs vers=3,mountproto=udp 0 0\n")
    made = values(machine, "nfs dumps6:/x\n")
    assert made["options"].endswith(",nolock,proto=tcp6,mountproto=udp6,addr=2001:db8::9")
    assert made["source"] == "[2001:db8::9]:/x"


NFS_REFUSED = {
    "kerberos": ("sec=krb5p", "the security flavour krb5p, which needs a ticket"),
    "rdma": ("proto=rdma", "the transport rdma"),
    "rdma as a word": ("rdma", "the transport rdma"),
    "tls": ("xprtsec=tls", "encryption of the transport (tls)"),
    "version 2": ("vers=2", "version 2 of NFS"),
    "no number": ("vers=4.2,port=nfs", "The mount option port of the NFS target has no number: nfs"),
    "a version to come": ("vers=5", "version 5 of NFS"),
}


@pytest.mark.parametrize("given, message", list(NFS_REFUSED.values()), ids=list(NFS_REFUSED))
@pytest.mark.parametrize("where", ["fstab", "mount", "dracut"])
def test_exports_that_need_more_than_the_kernel_are_refused(machine, given, message, where):
    text = "nfs dumps:/x\n"
    if where == "fstab":
        machine.write("/etc/fstab", "dumps:/x /mnt nfs %s 0 0\n" % given)
    elif where == "mount":
        machine.mounts(ROOT, ("0:40", "/", "/mnt", "nfs", "dumps:/x", "rw," + given))
        text = "path /mnt\n" if "vers" in given else text
    else:
        text = 'dracut_args --mount "dumps:/x /mnt nfs %s"\n' % given
    assert message in refused(machine, text)


@pytest.mark.parametrize("source", ["nowhere:/x", "dumps:/a,b", "dumps:/a'b"])
def test_sources_that_are_none_are_refused(machine, source):
    assert source.split(":")[0] in refused(machine, "nfs %s\n" % source)


def test_issue_42_a_path_below_an_export_that_is_not_mounted_is_never_a_local_directory(machine):
    machine.write("/etc/fstab", "dumps:/x /mnt nfs nofail 0 0\n")
    assert "lies on /mnt by /etc/fstab, which is not mounted now" in refused(machine, "path /mnt/dumps\n")


def test_dhcp_is_asked_for_on_the_command_line_of_the_capture_kernel(machine):
    made = found(machine, "nfs dumps:/x\n", KDUMP_COMMANDLINE_APPEND="nr_cpus=1 ip=dhcp")
    assert "dhcp eth0" in made.network.text and made.network.host_address == ""


def test_a_root_on_a_server(machine):
    machine.mounts(("0:40", "/", "/", "nfs", "dumps:/roots/node1", LIVE3))
    made = target.of_root(machine.host, "/var/crash", {})
    assert (made.kind, dict(made.settings)["directory"], made.path) == ("nfs", "var/crash", "/var/crash")


@pytest.mark.parametrize(
    "text, name", [("", "node1"), ("\n", "node1"), ("# mine\nweb.example\n", "web.example"), ("`rm`\n", "node1")]
)
def test_the_name_that_the_host_is_known_by_is_the_configured_one(machine, text, name):
    machine.write("/etc/hostname", text)
    assert values(machine, "nfs dumps:/x\n")["hostname"] == name


# --- virtiofs --------------------------------------------------------------------------------------------------------
def share(machine, *tags):
    device = PCI + "/0000:00:06.0/virtio6"
    machine.driver(device, "virtiofs")
    machine.write(device + "/modalias", "virtio:d0000001Av00001AF4\n")
    machine.link("/sys/bus/virtio/devices/virtio6", device)
    for number, tag in enumerate(tags):
        machine.write("/sys/fs/virtiofs/%d/tag" % number, tag + "\n")


def test_a_share_of_the_hypervisor(machine):
    share(machine)
    assert values(machine, "virtiofs dumps\npath /here\n") == {
        "kind": "virtiofs", "directory": "here", "source": "dumps", "fstype": "virtiofs", "options": "rw",
    }  # fmt: skip
    assert found(machine, "virtiofs dumps\n").modules == ["virtiofs", "virtiofs"]
    machine.mounts(ROOT, ("0:50", "/", "/shared", "virtiofs", "dumps", "rw"))
    assert found(machine, "virtiofs dumps\npath /here\n").path == "/shared/here"
    assert values(machine, "path /shared/here\n") == values(machine, "virtiofs dumps\npath /here\n")
    assert values(machine, 'dracut_args --mount "dumps /m virtiofs defaults"\npath /here\n')["source"] == "dumps"


def test_shares_that_are_not_there_are_refused(machine):
    assert "No virtiofs share with the tag dumps" in refused(machine, "virtiofs dumps\n")
    share(machine, "other", "dumps2")
    assert "No virtiofs share with the tag dumps" in refused(machine, "virtiofs dumps\n")


# --- ssh -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def client(machine):
    """A machine with a key and the server's key pinned."""
    machine.write("/usr/bin/ssh", elf(), 0o755)
    machine.write("/etc/ssh/ssh_known_hosts", "other %s\ndumps,192.0.2.9 %s\n" % (ED, ED))
    machine.programs["ssh"] = (0, "hostname dumps\nport 22\n")
    (machine.root / "root/.ssh").mkdir(parents=True)
    key = str(machine.root / "root/.ssh/kdump_id_rsa")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return machine


def test_a_server_by_ssh(client):
    assert values(client, "ssh kdump@dumps\npath /srv/dumps\n") == {
        "kind": "ssh", "directory": "srv/dumps", "user": "kdump", "server": "192.0.2.9", "server_name": "dumps",
        "port": "22",
    }  # fmt: skip
    made = found(client, "ssh kdump@dumps\n")
    files = {file.name: (file.content, file.mode) for file in made.files}
    assert files["etc/kdump/ssh/key"] == ("/root/.ssh/kdump_id_rsa", 0o600)
    assert files["etc/kdump/ssh/known_hosts"][0] == ("dumps,192.0.2.9 %s\n" % ED).encode()
    assert files["etc/passwd"][0].startswith(b"root:x:0:0:")
    assert (made.programs, made.path, made.network.address) == ([("ssh", "openssh-client")], "", "192.0.2.9")
    assert "PRIVATE" not in repr(made) and made.manifest["where"] == "kdump@dumps:/var/crash"


def test_random_numbers_of_the_hypervisor_come_along(client):
    assert found(client, "ssh kdump@dumps\n").aliases == []
    device = PCI + "/0000:00:07.0/virtio7"
    client.driver(device, "virtio_rng")
    client.write(device + "/modalias", "virtio:d00000004v00001AF4\n")
    client.link("/sys/bus/virtio/devices/virtio7", device)
    assert found(client, "ssh kdump@dumps\n").aliases == ["virtio_rng"]


def test_another_port_is_part_of_the_name_that_the_key_is_known_by(client):
    client.programs["ssh"] = (0, "hostname dumps\nport 2222\n")
    assert "known as [dumps]:2222" in refused(client, "ssh kdump@dumps\n", Missing)
    client.write("/root/.ssh/known_hosts", "[dumps]:2222 %s\n" % ED)
    made = values(client, "ssh kdump@dumps\n")
    assert (made["server_name"], made["port"]) == ("[dumps]:2222", "2222")


def test_a_certificate_of_the_key_comes_along_and_so_does_the_library_of_an_old_glibc(client):
    client.write("/root/.ssh/kdump_id_rsa-cert.pub", "ssh-ed25519-cert-v01@openssh.com AAAA\n")
    client.write("/lib64/libnss_files.so.2", elf())
    names = {file.name: file.content for file in found(client, "ssh kdump@dumps\n").files}
    assert names["etc/kdump/ssh/key-cert.pub"] == "/root/.ssh/kdump_id_rsa-cert.pub"
    assert names["usr/lib64/libnss_files.so.2"] == "/lib64/libnss_files.so.2"


def test_what_propagate_would_bring_is_only_missing(client):
    client.write("/etc/ssh/ssh_known_hosts", "")
    client.host.remove("/root/.ssh/kdump_id_rsa")
    message = refused(client, "ssh kdump@dumps\n", Missing)
    assert "There is no ssh key" in message and "No host key of the dump server" in message
    assert message.count("vmcore.kdump.propagate") == 2
    client.programs["ssh"] = (0, "hostname dumps\nproxyjump x\n")
    with pytest.raises(KdumpError) as caught:
        found(client, "ssh kdump@dumps\n")
    assert not isinstance(caught.value, Missing)


def test_all_that_is_wrong_with_a_server_is_told_at_once(client):
    key = client.root / "root/.ssh/kdump_id_rsa"
    key.chmod(0o644)
    client.write("/etc/ssh/ssh_known_hosts", "")
    client.write("/proc/sys/crypto/fips_enabled", "1\n")
    client.programs["ip"] = lambda argv: (2, "")
    message = refused(client, "ssh kdump@dumps\ndracut_args --add x\n")
    for part in ("open to others", "No host key of the dump server", "FIPS mode", "--add"):
        assert part in message
    assert len(message.split("\n")) >= 5


# --- the image ---------------------------------------------------------------------------------------------------------
def test_what_a_target_needs_of_the_host_is_in_its_image_in_place_of_busyboxs(tmp_path):
    machine = Machine(tmp_path).whole()
    machine.programs["ip"] = Network(machine)
    machine.write("/etc/hosts", "192.0.2.9 dumps\n")
    machine.more_modules("kernel/nfs.ko", "kernel/nfsv4.ko", "kernel/virtio_net.ko")
    inputs = {item.name: item for item in build.observe(machine.host, RELEASE, conf_of("nfs dumps:/x\n"), {}).inputs}
    assert inputs["usr/bin/mount"].source == "/usr/bin/mount"
    assert inputs["usr/bin/umount"].data == b"/usr/bin/busybox"
    plan = inputs["etc/kdump/plan"].data.decode()
    assert "source='192.0.2.9:/x'" in plan and "versions='vers=4.2 vers=4.1 vers=4.0 vers=3'" in plan
    loaded = inputs["etc/kdump/modules"].data.decode().split()
    assert loaded.index("virtio_net") >= 0 and loaded.index("nfs") >= 0 and "nfsv4" in loaded
