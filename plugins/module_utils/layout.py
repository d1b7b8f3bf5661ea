# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where things lie on a managed node. Private to this collection.

Debian's kdump-tools owns /var/lib/kdump and kdumpctl owns /run/lock/kdump: nothing of theirs is used.
"""

CONF = "/etc/kdump.conf"
SYSCONFIG = "/etc/sysconfig/kdump"
TRIGGERS = "/etc/sysctl.d/90-vmcore-kdump.conf"  # written by the role (kdump_triggers)
STATE_DIR = "/var/lib/vmcore-kdump"
IMAGE_DIR = STATE_DIR + "/images"  # <release>-<first 16 hex digits of the digest>.img, its manifest beside it as .json
ENGINE_DIRS = [  # what is known of the other engines' images, and the files with which they last loaded
    STATE_DIR + "/" + name for name in ("kdumpctl/good", "kdumpctl", "kdump-tools/good", "kdump-tools")
]
PROOF = STATE_DIR + "/proof.json"
FAILED = STATE_DIR + "/failed"  # a directory for each capture that failed, written by /init
BOOT = STATE_DIR + "/boot.json"  # the boot that is running, or was running last
RUNNING = STATE_DIR + "/running"  # its boot id; a shutdown renames it to ENDED
ENDED = STATE_DIR + "/ended"
LAST_END = STATE_DIR + "/last-end.json"  # how the boot before this one ended
LAST_UNCLEAN = STATE_DIR + "/last-unclean.json"  # the last boot that ended without a shutdown
RUN_DIR = "/run/vmcore-kdump"
LOADED = RUN_DIR + "/loaded.json"  # what was loaded last; under /run, because a loaded kernel does not survive a reboot
LOADED_REBOOT = RUN_DIR + "/loaded-reboot.json"  # the same of the kernel that kexec_reboot is to jump to
LOCK = "/run/vmcore-kdump.lock"  # not in /run/lock, where everybody may write on Debian
PROGRAM = "/usr/local/lib/vmcore-kdump/kdump.pyz"
RECEIVER = "/usr/local/lib/vmcore-kdump/receive.pyz"  # on a dump server, which may be armed itself
UNIT_NAME = "vmcore-kdump.service"
UNIT = "/etc/systemd/system/" + UNIT_NAME
UNIT_LINK = "/etc/systemd/system/multi-user.target.wants/" + UNIT_NAME
UNIT_END_NAME = "vmcore-kdump-end.service"  # notes how a boot ends; wanted by UNIT
UNIT_END = "/etc/systemd/system/" + UNIT_END_NAME
BEGUN = RUN_DIR + "/begun"  # that unit is active
UDEV_RULE = "/etc/udev/rules.d/98-vmcore-kdump.rules"
HOOK_POSTINST = "/etc/kernel/postinst.d/zz-vmcore-kdump"  # Debian's kernel packages run these two
HOOK_POSTRM = "/etc/kernel/postrm.d/zz-vmcore-kdump"
HOOK_INSTALL = "/etc/kernel/install.d/95-vmcore-kdump.install"  # kernel-install(8) runs this one
