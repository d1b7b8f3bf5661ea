# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine in a directory, for the tests of the capture image: sysfs, modules, programs, and what programs print."""

import os
import re
import struct

from ansible_collections.vmcore.kdump.plugins.module_utils import conf
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel

RELEASE = "6.12.1-test"
UUID = "22dce71c-3039-4a59-a95d-7cd978d0bc20"
MD_UUID = "aa428bdd:a910f3aa:d1628a45:54ad10cb"
BASE = 0x400000
PCI = "/sys/devices/pci0000:00"
DISK = PCI + "/0000:00:04.0/virtio1/block/vda"


def elf(needed=(), interpreter="", runpath="", rpath="", wide=True, little=True, machine=62):
    """The smallest ELF file that says these things to the dynamic linker."""
    endian = "<" if little else ">"
    strings = b"\0"
    places = {}
    for text in list(needed) + [runpath, rpath]:
        if text:
            places[text] = len(strings)
            strings += text.encode() + b"\0"
    header_size, segment_size = (64, 56) if wide else (52, 32)
    interp_at = header_size + 3 * segment_size
    interp = interpreter.encode() + b"\0" if interpreter else b""
    strings_at = interp_at + len(interp)
    dynamic_at = strings_at + len(strings)
    tags = [(1, places[name]) for name in needed]
    tags += [(29, places[runpath])] if runpath else []
    tags += [(15, places[rpath])] if rpath else []
    tags += [(5, BASE + strings_at), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack(endian + ("qQ" if wide else "iI"), *tag) for tag in tags)
    size = dynamic_at + len(dynamic)
    segments = [(1, 0, size), (3 if interpreter else 0, interp_at, len(interp)), (2, dynamic_at, len(dynamic))]
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    header = struct.pack(
        endian + "HHI" + word * 3 + "IHHHHHH",
        3,
        machine,
        1,
        0,
        header_size,
        0,
        0,
        header_size,
        segment_size,
        3,
        0,
        0,
        0,
    )
    body = b""
    for kind, offset, length in segments:
        if wide:
            body += struct.pack(endian + "IIQQQQQQ", kind, 4, offset, BASE + offset, 0, length, length, 8)
        else:
            body += struct.pack(endian + "IIIIIIII", kind, offset, BASE + offset, 0, length, length, 4, 8)
    return ident + header + body + interp + strings + dynamic


class MachineHost(Host):
    """Its block devices are those of its sysfs, its names those of its /etc/hosts."""

    def device_number(self, path):
        name = self.realpath(path).rsplit("/", 1)[-1]
        return self.read_text("/sys/class/block/%s/dev" % name, "").strip() if self.exists(path) else ""

    def resolve(self, name):
        entries = [line.split() for line in self.read_text("/etc/hosts", "").split("\n")]
        return [name] if re.match("[0-9.]+$|.*:", name) else [words[0] for words in entries if name in words]


class Machine:
    """Writes the files of a machine below a directory and answers for its programs."""

    def __init__(self, root):
        self.root = root
        self.programs = {}
        self.host = MachineHost(str(root), self.run, Kernel(RELEASE, "x86_64"))

    def run(self, argv, **_options):
        """What a program prints is (exit code, text), or a function of its arguments that gives these two."""
        answer = self.programs.get(os.path.basename(argv[0]), (127, ""))
        rc, out = answer(argv) if callable(answer) else answer
        return Result(argv, rc, out, "")

    def write(self, path, data="", mode=0o644):
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(data if isinstance(data, bytes) else data.encode())
        real.chmod(mode)

    def link(self, path, target):
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, str(real))

    def mkdir(self, path):
        (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)

    # --- sysfs ---
    def block(self, number, node, partition=False):
        """A block device of sysfs, found by its number and by its name."""
        self.mkdir(node)
        self.link("/sys/dev/block/" + number, node)
        name = node.rsplit("/", 1)[-1]
        self.link("/sys/class/block/" + name, node)
        self.write("/dev/" + name)
        self.write(node + "/dev", number + "\n")
        if partition:
            self.write(node + "/partition", "1\n")

    def driver(self, node, module):
        self.mkdir("/sys/module/" + module)
        self.mkdir("/sys/bus/x/drivers/" + module)
        if not os.path.lexists(str(self.root) + "/sys/bus/x/drivers/%s/module" % module):
            self.link("/sys/bus/x/drivers/%s/module" % module, "/sys/module/" + module)
        self.mkdir(node)
        self.link(node + "/driver", "/sys/bus/x/drivers/" + module)

    def virtio_disk(self, letter="a", number="254:0", slot=4):
        """A virtio disk on PCI; its sysfs directory."""
        device = "%s/0000:00:0%d.0" % (PCI, slot)
        virtio = "%s/virtio%d" % (device, slot)
        node = "%s/block/vd%s" % (virtio, letter)
        self.block(number, node)
        self.driver(virtio, "virtio_blk")
        self.write(virtio + "/modalias", "virtio:d00000002v00001AF4\n")
        self.write(device + "/modalias", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00\n")
        return node

    def partition(self, disk, number="254:1"):
        node = disk + "/" + disk.rsplit("/", 1)[-1] + "1"
        self.block(number, node, partition=True)
        return node

    def stacked(self, name, number, slaves):
        node = "/sys/devices/virtual/block/" + name
        self.block(number, node)
        self.mkdir(node + "/slaves")
        for slave in slaves:
            self.link(node + "/slaves/" + slave.rsplit("/", 1)[-1], slave)
        return node

    def mapped(self, name, uuid, slaves, number="252:0", kernel_name="dm-0"):
        node = self.stacked(kernel_name, number, slaves)
        self.write("/usr/sbin/lvm", elf(), 0o755)
        self.group()
        self.write(node + "/dm/uuid", uuid + "\n")
        self.write(node + "/dm/name", name + "\n")
        return node

    def group(self, system_id="", lock_type="", clustered=""):
        """What lvm says of every volume group."""
        values = (system_id, lock_type, clustered)
        text = "  LVM2_VG_SYSTEMID='%s' LVM2_VG_LOCK_TYPE='%s' LVM2_VG_CLUSTERED='%s'\n" % values
        self.programs["lvm"] = (0, text)

    def array(self, slaves, level="raid1", metadata="1.2"):
        node = self.stacked("md0", "9:0", slaves)
        self.write(node + "/md/level", level + "\n")
        self.write(node + "/md/metadata_version", metadata + "\n")
        self.write(node + "/md/degraded", "0\n")
        self.programs["mdadm"] = (0, "MD_LEVEL=%s\nMD_UUID=%s\n" % (level, MD_UUID))
        return node

    def mounts(self, *lines):
        """Lines of mountinfo: device, root, point, type, source, super block options."""
        text = ""
        for number, line in enumerate(lines, 2):
            device, root, point, kind, source, options = line
            text += "%d %d %s %s %s rw,relatime - %s %s %s\n" % (
                number, 1 if point == "/" else 2, device, root, point, kind, source, options,
            )  # fmt: skip
        self.write("/proc/self/mountinfo", text)

    # --- all of a small machine ---
    def whole(self, busybox=True):
        """ext4 on a partition of a virtio disk, with every program that an image takes."""
        self.partition(self.virtio_disk())
        self.mounts(("254:1", "/", "/", "ext4", "/dev/vda1", "rw"))
        self.programs["blkid"] = (0, "DEVNAME=/dev/vda1\nUUID=%s\nTYPE=ext4\n" % UUID)
        self.modules()
        self.write("/boot/vmlinuz-" + RELEASE, b"a kernel")
        self.write("/lib64/ld.so.2", elf())
        self.write("/usr/lib64/libc.so.6", elf())
        program = elf(["libc.so.6"], "/lib64/ld.so.2")
        names = (
            "blkid date dmesg gzip insmod ls makedumpfile mkdir mount mv rm sh sleep sync tee umount lvm mdadm".split()
        )
        for name in names:
            self.write("/usr/bin/" + name, program + name.encode(), 0o755)
        if busybox:
            self.write("/usr/bin/busybox", program + b"busybox", 0o755)
        applets = "[ date dmesg gzip insmod ls mkdir mount mv rm sh sleep sync tee umount reboot poweroff halt awk"
        self.programs["busybox"] = (0, applets.replace(" ", "\n") + "\n")
        self.programs["makedumpfile"] = (
            0,
            "LZO support:\n  enabled\nsnappy support:\n  disabled\nzstd support:\n  enabled\n",
        )
        return self

    def modules(self):
        folder = "/lib/modules/" + RELEASE
        names = {"virtio_blk": "", "virtio_pci": "", "dm_mod": "", "raid1": "md_mod", "md_mod": "", "xfs": "libcrc32c"}
        names.update({"libcrc32c": "", "crc32c_intel": "", "btrfs": "raid6_pq libcrc32c", "raid6_pq": "", "fat": ""})
        text = ""
        for name, needs in names.items():
            path = "kernel/%s.ko" % name.replace("_", "-")
            self.write("%s/%s" % (folder, path), b"\x7fELF" + name.encode() * 50)
            text += "%s: %s\n" % (path, " ".join("kernel/%s.ko" % need.replace("_", "-") for need in needs.split()))
        self.write(folder + "/modules.dep", text)
        self.write(folder + "/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n")
        self.write(folder + "/modules.alias", (
            "# Aliases extracted from modules themselves.\n"
            "alias virtio:d00000002v* virtio_blk\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"
            "alias crypto-crc32c crc32c_intel\nalias md-raid1 raid1\n"
        ))  # fmt: skip
        self.write(folder + "/modules.softdep", "softdep libcrc32c pre: crc32c crypto-crc32c\n")

    def more_modules(self, *paths):
        """Further modules, by their files' paths below the release's folder."""
        folder = "/lib/modules/" + RELEASE
        for path in paths:
            self.write("%s/%s" % (folder, path), b"\x7fELF" + path.encode())
        listed = self.host.read_text(folder + "/modules.dep") + "".join(path + ":\n" for path in paths)
        self.write(folder + "/modules.dep", listed)


def conf_of(text=""):
    return conf.parse(text)
