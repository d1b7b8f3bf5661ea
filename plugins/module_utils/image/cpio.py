# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cpio "newc" archive that the kernel unpacks as its first root file system. Private to this collection.

Source: Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c. The same entries give the same
bytes: they are sorted, owned by root, dated 0 and numbered in order.
"""

import stat
from typing import Dict, Iterable, List, NamedTuple

_END = "TRAILER!!!"


class Entry(NamedTuple):
    """One name in the archive, relative to its root. `mode` holds the type (stat.S_IFREG …) and the permissions.

    `data` is a file's content or what a symbolic link points to; major and minor are a device node's.
    """

    name: str
    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0


def regular(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | mode)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))


def character_device(name: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    return Entry(name, stat.S_IFCHR | mode, b"", major, minor)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of these entries and of the directories above them. Of two entries with one name the last counts."""
    named: Dict[str, Entry] = {}
    for entry in entries:
        for folder in _parents(entry.name):
            named.setdefault(folder, directory(folder))
        named[entry.name] = entry
    # Sorted by component: a directory comes before what is in it, as the kernel makes no missing ones (do_name()).
    ordered = sorted(named.values(), key=lambda entry: entry.name.split("/"))
    parts: List[bytes] = []
    for number, entry in enumerate(ordered, 1):
        parts.extend(_record(entry, number))
    parts.extend(_record(Entry(_END, 0), 0))
    return b"".join(parts)


def _parents(name: str) -> List[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _record(entry: Entry, number: int) -> List[bytes]:
    name = entry.name.encode("utf-8", "surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, entry.major, entry.minor, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return [header, name, _padding(len(header) + len(name)), entry.data, _padding(len(entry.data))]


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)
