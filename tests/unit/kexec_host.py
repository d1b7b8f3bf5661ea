# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine in a directory whose kernel loads kernels as the real one does: it frees the old one first."""

import errno
import hashlib
import os
import struct

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel
from ansible_collections.vmcore.kdump.plugins.module_utils.image import store

RELEASE = "6.12.1-test"
KERNEL = "/boot/vmlinuz-" + RELEASE
MIB = 1 << 20
RUNNING = "BOOT_IMAGE=/boot/vmlinuz-6.12.1-test root=UUID=1 ro console=ttyS0 crashkernel=96M"
BEFORE_FREEING = (errno.EPERM, errno.EBUSY, errno.ENOSYS)  # answers from before the kernel frees the old image


def bzimage(release=RELEASE, init_size=40 * MIB, cmdline_max=2047, body=b"body", version=0x020F):
    """The header of an x86 kernel file, with a body: what the kernel's own loader looks at."""
    head = bytearray(0x4000)
    head[0x1F1] = 31  # setup sectors: 32 * 512 = 0x4000
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<H", head, 0x20E, 0x3000)
    head[0x211] = 1
    struct.pack_into("<H", head, 0x236, 0x3)
    struct.pack_into("<I", head, 0x238, cmdline_max)
    struct.pack_into("<I", head, 0x260, init_size)
    text = (release + " (builder) #1").encode() + b"\0"
    head[0x3200 : 0x3200 + len(text)] = text
    return bytes(head) + body


class KexecHost(Host):
    """`answers` are the errnos of the next loads; without one a load succeeds. `calls` is what was asked, in order."""

    def __init__(self, root, answers=(), reserved=96 * MIB, runner=None):
        super().__init__(str(root), runner or self._program, Kernel(RELEASE, "x86_64"))
        self.answers = list(answers)
        self.calls = []
        self.refusal = ""
        for path, text in (
            ("/proc/cmdline", RUNNING + "\n"),
            ("/proc/cpuinfo", "processor\t: 0\napicid\t\t: 0\ninitial apicid\t: 0\n\nprocessor\t: 1\napicid\t\t: 1\n"),
            (
                "/proc/iomem",
                "00001000-0009fbff : System RAM\n00100000-7ffdffff : System RAM\n  2b000000-30ffffff : Crash\n",
            ),
            ("/proc/self/status", "CapEff:\t000001ffffffffff\n"),
            ("/proc/sys/kernel/kexec_load_disabled", "0\n"),
            ("/sys/devices/system/cpu/present", "0-1\n"),
            ("/sys/kernel/kexec_crash_size", "%d\n" % reserved),
        ):
            self.put(path, text.encode())
        self.sysfs("crash", 0)
        self.sysfs("reboot", 0)
        self.put(KERNEL, bzimage())

    def put(self, path, data):
        """Write without waiting for the disk."""
        real = self.path(path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "wb") as file:
            file.write(data)

    def sysfs(self, kind, value):
        name = "kexec_crash_loaded" if kind == "crash" else "kexec_loaded"
        self.put("/sys/kernel/" + name, b"%d\n" % value)

    def image(self, text="one", release=RELEASE, when=1000, unpacked=0):
        """A whole image as the builder leaves it; its path."""
        data = text.encode()
        digest = hashlib.sha256(b"inputs of " + data).hexdigest()
        path = store.image_path(release, digest)
        kernel_sha256 = hashlib.sha256(self.read("/boot/vmlinuz-" + release)).hexdigest()
        store.save(self, store.Manifest(release, "/boot/vmlinuz-" + release, kernel_sha256, digest,
                                        hashlib.sha256(data).hexdigest(), len(data), 0.1, {}, [], path, unpacked), data)  # fmt: skip
        os.utime(self.path(path[:-4] + ".json"), (when, when))
        return path

    # --- the kernel ---
    def kexec_refusal(self):
        return self.refusal

    def kexec_file_load(self, kernel, initrd, cmdline, crash):
        self.calls.append(("load", kernel, initrd))
        number = self.answers.pop(0) if self.answers else 0
        kind = "crash" if crash else "reboot"
        if number not in BEFORE_FREEING:
            self.sysfs(kind, 0)
        if number:
            raise OSError(number, os.strerror(number))
        self.sysfs(kind, 1)

    def kexec_unload(self, crash):
        self.calls.append(("unload",))
        number = self.answers.pop(0) if self.answers else 0
        if number:
            raise OSError(number, os.strerror(number))
        self.sysfs("crash" if crash else "reboot", 0)

    clock = 1764000000.0

    def now(self):
        return self.clock

    def _program(self, argv, **options):
        self.calls.append(("run",) + tuple(argv))
        return Result(argv, 0, "", "")
