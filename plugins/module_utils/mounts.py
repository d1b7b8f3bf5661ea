# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is mounted where, and what /etc/fstab would mount. Private to this collection.

Sources: show_mountinfo() in fs/proc_namespace.c; fstab(5). Lines that do not have the shape are left out.
"""

import re
from typing import Any, List, NamedTuple, Optional

from .problems import fail, shown

_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo. `root` is the directory of the file system that is seen at `point`."""

    mount_id: str
    device: str  # "maj:min" of the super block; an anonymous number (0:…) for btrfs, nfs, overlay
    root: str
    point: str
    fstype: str
    source: str
    options: str
    super_options: str
    parent_id: str = ""


class Place(NamedTuple):
    """A directory, which need not exist, and where it lies."""

    path: str  # as this host sees it, free of symbolic links
    mount: Mount
    directory: str  # from the root of the file system, without a slash at either end


class FstabEntry(NamedTuple):
    """One line of /etc/fstab: `source` as written (a device, UUID=…, LABEL=…, host:/export)."""

    source: str
    point: str
    fstype: str
    options: str


def parse_mountinfo(text: str) -> List[Mount]:
    """The mounts of /proc/self/mountinfo, in its order."""
    return [mount for mount in map(_mount, text.split("\n")) if mount.mount_id]


def _mount(line: str) -> Mount:
    fields = line.split(" ")
    try:
        # Optional fields (shared:1, master:2 …) stand before the lone dash.
        fstype, source, super_options = (fields[fields.index("-", 6) + 1 :])[:3]
        mount_id, parent_id, device, root, point, options = fields[:6]
    except ValueError:
        return Mount("", "", "", "", "", "", "", "")
    return Mount(
        mount_id, device, unescape(root), unescape(point), unescape(fstype), unescape(source), options,
        super_options, parent_id,
    )  # fmt: skip


def parse_fstab(text: str) -> List[FstabEntry]:
    """The entries of /etc/fstab, in its order; missing options are `defaults`."""
    entries = []
    for line in text.split("\n"):
        fields = [unescape(field) for field in re.split(r"[ \t]+", line.strip(" \t\r"))]
        if len(fields) >= 3 and not fields[0].startswith("#"):
            entries.append(FstabEntry(fields[0], fields[1], fields[2], (fields + ["defaults"])[3]))
    return entries


def holding(mounts: List[Mount], path: str) -> Mount:
    """The mount that holds an absolute path free of symbolic links; KdumpError where none does.

    Found as the kernel walks a path: from the root mount into whatever is mounted on the way, so that a mount which
    a later one covers is not seen. The order of the lines says nothing: moved mounts keep their place in it.
    """
    known = {mount.mount_id for mount in mounts}
    tops = [mount for mount in mounts if mount.point == "/" and mount.parent_id not in known - {mount.mount_id}]
    if not tops:
        raise fail(
            "No mount that holds %s is listed in /proc/self/mountinfo." % path,
            "Run this on the host itself, not in a chroot or a container that hides the host's mounts.",
            value=path,
        )
    here = tops[-1]
    left = [mount for mount in mounts if is_below(path, mount.point)]
    while True:
        left = [mount for mount in left if mount.mount_id != here.mount_id]  # every mount is entered once at most
        covers = [mount for mount in left if mount.parent_id == here.mount_id]
        if not covers:
            return here
        # The first one met on the way down; of several on one point, the last.
        here = min(reversed(covers), key=lambda mount: len(mount.point))


def table_of(host: Any) -> List[Mount]:
    """The mounts that this host has now."""
    return parse_mountinfo(host.read_text("/proc/self/mountinfo"))


_OF_SERVERS = ("nfs", "nfs4", "autofs")
_ANSWER = 15  # seconds


def await_answer(host: Any, path: str) -> None:
    """KdumpError where a path leads to an NFS server that does not answer.

    Whoever touches such a path waits in the kernel, on a hard mount without end. A process of its own may, and is killed:
    NFS waits are killable (nfs_wait_bit_killable(), fs/nfs/inode.c).
    """
    mounts = parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
    remote = [mount for mount in mounts if mount.fstype in _OF_SERVERS]
    if not remote or host.answers(path, _ANSWER):
        return
    mount = next((mount for mount in reversed(remote) if is_below(path, mount.point)), None)
    on = " on %s" % shown(mount.source) if mount else ""
    raise fail(
        "%s%s does not answer: nothing came from its server for %d seconds." % (shown(path), on, _ANSWER),
        "Bring the server back, or take the mount away (umount -f, or umount -l, with its mount point).",
        value=path,
    )


def place_of(host: Any, path: str) -> Place:
    """Where a dump path lies; KdumpError where it would lie on something that is not mounted now."""
    await_answer(host, path)
    host.listdir(path)  # what an automount would mount there shall be among the mounts
    real = host.realpath(path)
    mount = holding(table_of(host), real)
    _check_mounted(host, real, mount)
    return place_on(host, mount, real)


def place_on(host: Any, mount: Mount, path: str) -> Place:
    """The same where the mount is known, whatever is mounted over it."""
    await_answer(host, path)
    real = host.realpath(path)
    if not is_below(real, mount.point):
        raise fail(
            "The dump path leads out of the file system on %s by a symbolic link, to %s." % (mount.point, real),
            "Set `path` to a directory that lies on the dump target itself.",
            "path",
            real,
        )
    return Place(real, mount, (mount.root.rstrip("/") + real[len(mount.point.rstrip("/")) :]).strip("/"))


def _check_mounted(host: Any, path: str, mount: Mount) -> None:
    """At boot a file system marked nofail may come late: until then the path is a directory of the one below it."""
    for entry in parse_fstab(host.read_text("/etc/fstab", "")):
        point = entry.point.rstrip("/")
        covered = is_below(path, point) and is_below(point, mount.point) and point != mount.point
        if covered and "noauto" not in entry.options.split(","):
            raise fail(
                "The dump path %s lies on %s by /etc/fstab, which is not mounted now." % (path, point),
                "Mount it (mount %s), or take its line out of /etc/fstab." % point,
                "path",
                path,
            )


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a directory or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def unescape(text: str) -> str:
    r"""Undo the octal escapes of both files (\040 is a blank); bytes that are no UTF-8 become surrogates."""
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda match: _byte(int(match.group(1), 8)), text)
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _byte(number: int) -> str:
    return bytes([number]).decode("ascii", "surrogateescape")


# --- devices -------------------------------------------------------------------------------------------------------
_TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


def device_path(host: Any, source: str) -> str:
    """The device that a source of fstab or kdump.conf names (a path, UUID=, LABEL= …); "" for a tag that no device has.

    A path is returned as it is, whether or not there is such a device.
    """
    tag, equals, value = source.partition("=")
    if not equals or tag not in _TAGS:
        return source
    value = value.strip("\"'")
    link = "/dev/disk/%s/%s" % (_TAGS[tag], _udev_name(value))
    if host.exists(link):
        return host.realpath(link)
    # Without udev's links, blkid reads the devices themselves.
    found = host.run(["blkid", "-l", "-o", "device", "-t", "%s=%s" % (tag, value)])
    return found.out.strip() if found.rc == 0 else ""


def _udev_name(text: str) -> str:
    """A label as udev writes it in a link's name: encode_devnode_name() in systemd's src/shared/device-nodes.c."""
    return "".join(
        char if ord(char) > 127 or char.isalnum() or char in "#+-.:=@_" else "\\x%02x" % ord(char) for char in text
    )


# Options of fstab(5) that mount(8), systemd or mount's helpers read and that no kernel knows, and those of SELinux, whose
# rules the capture kernel does not load.
_NO_KERNEL = re.compile(
    r"(x-|X-|comment=|uhelper=|helper=|(fs|def|root|)context=|(verity|loop|offset|sizelimit)\b).*"
    r"|defaults|auto|noauto|nofail|nobootwait|bootwait|_netdev|user|nouser|users|owner|group|rw|ro"
)


def kernel_options(text: str) -> List[str]:
    """The mount options of a line of fstab that mean something to the kernel; `rw` and `ro` are left to who mounts."""
    return [word for word in text.split(",") if word and not _NO_KERNEL.fullmatch(word)]


def fstab_entry(host: Any, device: str) -> Optional[FstabEntry]:
    """The entry of a block device in /etc/fstab, by whatever name it stands there."""
    real = host.realpath(device)
    for entry in parse_fstab(host.read_text("/etc/fstab", "")):
        found = device_path(host, entry.source)
        if found.startswith("/") and host.realpath(found) == real:
            return entry
    return None
