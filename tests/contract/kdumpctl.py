# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machine of host.py with kdump-utils on it, as its package leaves it: installed, enabled, never started."""

import base64
import json
import os

from .host import MIB, RELEASE, ContractHost

TOOLS = ["kdumpctl", "systemctl", "journalctl", "ssh", "makedumpfile", "lsinitrd"]
IMAGE = "/boot/initramfs-%skdump.img" % RELEASE
CONF = "auto_reset_crashkernel yes\npath /var/crash\ncore_collector makedumpfile -l --message-level 7 -d 31\n"
SYSCONFIG = (
    'KDUMP_KERNELVER=""\nKDUMP_COMMANDLINE=""\nKDUMP_COMMANDLINE_REMOVE="hugepages hugepagesz slub_debug quiet"\n'
    'KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1 reset_devices"\nKEXEC_ARGS="-s"\nKDUMP_IMG="vmlinuz"\nKDUMP_IMG_EXT=""\n'
    'VMCORE_CREATION_NOTIFICATION="yes"\n'
)
# kdump.service of 1.0.61, and that of EL 9 (before 6f32fab791).
UNIT = """\
[Unit]
Description=Crash recovery kernel arming
[Service]
Type=oneshot
ExecCondition=/bin/sh -c 'grep -q -e "crashkernel" -e "fadump" /proc/cmdline'
ExecStart=/usr/bin/kdumpctl start
ExecStop=/usr/bin/kdumpctl stop
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
"""
UNIT_EL9 = UNIT.replace(
    'ExecCondition=/bin/sh -c \'grep -q -e "crashkernel" -e "fadump" /proc/cmdline\'\n', ""
).replace("[Service]", "ConditionKernelCommandLine=crashkernel\n[Service]")
# Of install() in dracut/99kdumpbase/module-setup.sh: the lines that contract/bin/kdumpctl goes by.
SETUP = """\
install() {
    inst "/bin/dd" "/bin/dd"
    inst "/bin/date" "/bin/date"
    inst "/bin/sync" "/bin/sync"
    inst "/bin/stat" "/bin/stat"
    inst "/sbin/makedumpfile" "/sbin/makedumpfile"
    inst "/lib/kdump/kdump-lib-initramfs.sh" "/lib/kdump-lib-initramfs.sh"
    inst "$moddir/kdump.sh" "/usr/bin/kdump.sh"
}
"""
MOUNTINFO = """\
22 1 253:0 / / rw,relatime - xfs /dev/mapper/rhel-root rw
23 22 252:1 / /boot rw,relatime - xfs /dev/vda1 rw
24 22 0:20 / /run rw - tmpfs tmpfs rw
"""
SERVER = "dumps.example.com"
# Keys of the kind ssh-ed25519, as known_hosts has them.
HOSTKEYS = [base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes([number]) * 32).decode() for number in range(3)]


class KdumpctlHost(ContractHost):
    """`world(name, text)` sets what kdumpctl's world does next (see bin/kdumpctl)."""

    def __init__(self, root, files=None, tools=(), **options):
        release = options.get("release", RELEASE)
        own = {
            "/etc/kdump.conf": CONF,
            "/etc/sysconfig/kdump": SYSCONFIG,
            "/etc/vconsole.conf": "KEYMAP=us\n",
            "/usr/lib/systemd/system/kdump.service": UNIT,
            "/usr/lib/dracut/modules.d/99kdumpbase/kdump.sh": "ssh -q $_ssh_opts\n",
            "/usr/lib/dracut/modules.d/99kdumpbase/module-setup.sh": SETUP,
            "/usr/sbin/mkdumprd": "#!/bin/bash\n",
            "/usr/lib/kdump/kdump-lib.sh": 'out+="rd.systemd.gpt_auto=no "\n',
            "/lib/modules/%s/modules.dep"
            % release: "kernel/drivers/block/virtio_blk.ko.xz:\nkernel/fs/nfs/nfs.ko.xz:\n",
            "/proc/self/mountinfo": MOUNTINFO,
            "/proc/self/status": "CapEff:\t000001ffffffffff\n",
            "/proc/sys/kernel/osrelease": release + "\n",
            "/proc/sys/kernel/hostname": "el9\n",
            "/sys/kernel/kexec_crash_size": "%d\n" % (256 * MIB),
            "/var/crash/.keep": "",
            "/run/contract/.keep": "",
        }
        super().__init__(root, TOOLS + list(tools), dict(own, **(files or {})), **options)
        self.symlink("usr/sbin", "/sbin")
        self.symlink("../bin/makedumpfile", "/usr/sbin/makedumpfile")
        self.run(["systemctl", "enable", "kdump.service"])
        self.calls.clear()

    def world(self, name, text):
        self.put("/run/contract/" + name, text)

    def loaded(self):
        """What the kernel has loaded: kernel, image (what it was made from), cmdline; None for nothing."""
        return json.loads(self.read_text("/run/contract/loaded", "null"))

    def image_files(self, path=IMAGE):
        """The files in kdumpctl's image, with their texts."""
        return json.loads(self.read_text(path))["files"]

    def ssh_target(self, hostkey=HOSTKEYS[0], key="one"):
        """A dump server that knows this host's key, and is known to it."""
        public = "ssh-rsa %s root@el9" % key
        self.put("/root/.ssh/kdump_id_rsa", "private " + key, 0o600)
        self.put("/root/.ssh/kdump_id_rsa.pub", public + "\n")
        self.put("/root/.ssh/known_hosts", "%s ssh-ed25519 %s\n" % (SERVER, hostkey))
        self.server(hostkey, [public])
        self.put("/etc/kdump.conf", "ssh kdump@%s\npath /var/crash\ncore_collector makedumpfile -F -l -d 31\n" % SERVER)

    def resolve(self, name):
        return ["192.0.2.9"] if name == SERVER else []

    def server(self, hostkey, authorized, writable=True):
        answer = {"hostkey": hostkey, "authorized": authorized, "writable": writable}
        self.world("servers/" + SERVER, json.dumps(answer))

    def age(self, seconds, *paths):
        """Set back the time stamps of files, which kdumpctl goes by."""
        for path in paths:
            found = os.stat(self.path(path))
            os.utime(self.path(path), (found.st_atime - seconds, found.st_mtime - seconds))
