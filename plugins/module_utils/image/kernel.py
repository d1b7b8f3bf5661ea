# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel that captures: where its file is, and whether it can do it. Private to this collection."""

import re
from typing import Any, List

from .. import cmdline
from ..problems import Problem, fail

_FOLDERS = ("/boot", "/boot/efi", "/efi", "/")  # kdump-utils, kdump-lib.sh: prepare_kdump_bootinfo()
_CONFIG = {
    "CONFIG_CRASH_DUMP": "start in reserved memory after a panic",
    "CONFIG_PROC_VMCORE": "show the crashed kernel's memory as /proc/vmcore",
    "CONFIG_BINFMT_SCRIPT": "run a script as its first process",
    "CONFIG_BLK_DEV_INITRD": "start from an initramfs",
    "CONFIG_RD_GZIP": "unpack a gzip-compressed initramfs",
    "CONFIG_DEVTMPFS": "make the device nodes",
}


def check_release(release: str) -> None:
    """KdumpError for what cannot be a release: it becomes part of paths and of a shell script."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", release):
        raise fail("%r is no kernel release." % release, "Give one as `uname -r` prints it.", "kernel", release)


def find_kernel(host: Any, release: str, bootdir: str = "") -> str:
    """The path of a kernel's bootable file; KdumpError with all places where it was looked for."""
    check_release(release)
    names = ["vmlinuz-" + release, "vmlinux-" + release]
    for booted in cmdline.values(cmdline.split(host.read_text("/proc/cmdline", "")), "BOOT_IMAGE"):
        if booted.endswith(release):
            names.insert(0, re.sub(r"^\([^)]*\)", "", booted).lstrip("/"))  # (hd0,gpt2)/vmlinuz-…
    machine_id = host.read_text("/etc/machine-id", "").strip()
    if re.fullmatch(r"[0-9a-f]{32}", machine_id):
        names += ["%s/%s/%s" % (machine_id, release, name) for name in ("linux", "vmlinuz")]
    folders = [bootdir] if bootdir else list(_FOLDERS)
    places = ["%s/%s" % (folder.rstrip("/"), name) for name in names for folder in folders]
    places.append("/lib/modules/%s/vmlinuz" % release)
    for place in places:
        if host.is_file(place):
            return str(host.realpath(place))
    raise fail(
        "The kernel file of %s is not in %s (looked for %s)."
        % (release, " ".join(folders), ", ".join(sorted(set(names)))),
        "Install that kernel, or set KDUMP_BOOTDIR in /etc/sysconfig/kdump to the directory that holds it.",
        "kernel",
        release,
    )


def check_config(host: Any, release: str) -> List[Problem]:
    """What a kernel is built without that a capture needs; nothing is said where its configuration cannot be read."""
    for path in ("/boot/config-" + release, "/lib/modules/%s/config" % release):
        text = host.read_text(path, "")
        if text:
            return [_config_problem(release, name) for name in sorted(_CONFIG) if "\n%s=y" % name not in "\n" + text]
    return []


def _config_problem(release: str, name: str) -> Problem:
    return Problem(
        "Kernel %s is built without %s: it cannot %s." % (release, name, _CONFIG[name]),
        "Use a kernel of the distribution, or build it with %s=y." % name,
        "kernel",
        release,
    )
