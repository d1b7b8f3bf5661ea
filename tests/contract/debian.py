# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A made-up Debian 13 machine with kdump-tools in a directory; host.py tells how its programs run."""

import errno
import os
import pathlib
import struct

from .host import BIN, MIB, ContractHost

RELEASE = "6.12.48+deb13-cloud-amd64"
OTHER_RELEASE = "6.12.57+deb13-cloud-amd64"
TOOLS = ["systemctl", "journalctl", "makedumpfile", "kdump-config"]
KERNEL = "/boot/vmlinuz-" + RELEASE
RUNNING = "BOOT_IMAGE=/boot/vmlinuz-%s root=UUID=1 ro console=ttyS0 crashkernel=192M" % RELEASE
UNIT = "/usr/lib/systemd/system/kdump-tools.service"
LINK = "/etc/systemd/system/basic.target.wants/kdump-tools.service"
HOOK = "/etc/kernel/postinst.d/kdump-tools"
PACKAGED_RULE = "/usr/lib/udev/rules.d/50-kdump-tools.rules"

# The variables that kdump-tools.conf of 1:1.10.7 sets.
DEFAULTS = """\
# kdump-tools configuration
USE_KDUMP=1
KDUMP_KERNEL=/var/lib/kdump/vmlinuz
KDUMP_INITRD=/var/lib/kdump/initrd.img
KDUMP_COREDIR="/var/crash"
#KDUMP_FAIL_CMD="reboot -f"
#KDUMP_COMPRESSION=
#MAKEDUMP_ARGS="-c -d 31"
#KDUMP_CMDLINE_APPEND="reset_devices"
"""
UNIT_TEXT = """\
[Service]
Type=oneshot
EnvironmentFile=/etc/default/kdump-tools
ExecStart=/etc/init.d/kdump-tools start
ExecStop=/etc/init.d/kdump-tools stop
RemainAfterExit=yes

[Install]
WantedBy=basic.target
"""


def bzimage(init_size=40 * MIB):
    """The header of an x86 kernel: what kexec_kernel.inspect() looks at."""
    head = bytearray(0x4000)
    head[0x1F1] = 31
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x020F)
    head[0x211] = 1
    struct.pack_into("<H", head, 0x236, 0x3)
    struct.pack_into("<I", head, 0x238, 2047)
    struct.pack_into("<I", head, 0x260, init_size)
    return bytes(head) + b"body"


class DebianHost(ContractHost):
    """Not `fresh`, the machine that lies at `root` already. `answers` are the errnos of the next kexec_file_load calls; without one a call succeeds."""

    def __init__(self, root, files=None, release=RELEASE, env=None, fresh=True):
        self.fresh = fresh
        env = dict({"KDUMP_CONTRACT_RELEASE": release}, **(env or {}))
        super().__init__(root, TOOLS if fresh else (), files, "x86_64", release, env)
        self.answers = []
        if fresh:
            self._install()

    def _install(self):
        for name in ("kexec", "mkinitramfs", "udevadm"):
            self.program(name, "")
        self.put("/etc/init.d/kdump-tools", (BIN / "kdump-config").read_text(), 0o755)
        self.program("sh", "import os, subprocess, sys\nargv = [os.environ['KDUMP_CONTRACT_ROOT'] + sys.argv[1]] + sys.argv[2:]\n"
                           "sys.exit(subprocess.run([sys.executable] + argv).returncode)\n")  # fmt: skip
        self.put(HOOK, (BIN / "kdump-tools-hook").read_text(), 0o755)
        self.symlink(UNIT, LINK)
        os.makedirs(self.path("/run/systemd/system"), exist_ok=True)

    def _files(self):
        return {} if not self.fresh else {
            "/etc/os-release": "ID=debian\n",
            "/etc/default/kdump-tools": DEFAULTS,
            "/etc/default/grub.d/kdump-tools.cfg":
                'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M-:192M"\n',
            "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
            "/etc/initramfs-tools/modules": "",
            "/etc/kdump/sysctl.conf": "vm.nr_hugepages=0\n",
            "/usr/sbin/kdump-config": pathlib.Path(BIN / "kdump-config").read_text(),
            "/usr/share/initramfs-tools/hooks/lvm2": "",
            UNIT: UNIT_TEXT,
            PACKAGED_RULE: 'SUBSYSTEM=="cpu", ACTION=="add", PROGRAM="/usr/sbin/kdump-config try-reload"\n',
            "/lib/modules/%s/modules.dep" % RELEASE: "ext4.ko:\n",
            "/proc/cmdline": RUNNING + "\n",
            "/proc/cpuinfo": "processor\t: 0\n",
            "/proc/iomem": "00100000-7ffdffff : System RAM\n",
            "/proc/meminfo": "MemTotal:        2019300 kB\n",
            "/proc/self/mountinfo": "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n",
            "/proc/self/status": "CapEff:\t000001ffffffffff\n",
            "/proc/sys/kernel/kexec_load_disabled": "0\n",
            "/sys/devices/system/cpu/present": "0-1\n",
            "/sys/kernel/kexec_crash_size": "%d\n" % (192 * MIB),
            "/sys/kernel/kexec_crash_loaded": "0\n",
            "/sys/kernel/kexec_loaded": "0\n",
            KERNEL: bzimage(),
            "/var/crash/.keep": "",
        }  # fmt: skip

    def is_loaded(self):
        return self.read_text("/sys/kernel/kexec_crash_loaded") == "1\n"

    def kexec_refusal(self):
        return ""

    def kexec_unload(self, crash):
        self.calls.append(["kexec_unload"])
        self.put("/sys/kernel/kexec_crash_loaded", "0\n")

    def kexec_file_load(self, kernel, initrd, cmdline, crash):
        self.calls.append(["kexec_file_load", kernel, initrd])
        if self.answers:
            raise OSError(self.answers.pop(0), os.strerror(errno.EINVAL))
        self.put("/sys/kernel/kexec_crash_loaded", "1\n")
