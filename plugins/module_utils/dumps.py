# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dumps in a host's dump directory. Private to this collection.

Each lies in a directory of its own, `<address>-<time>`, with what the capture kernel wrote beside the vmcore. Debian's
kdump-tools names the directory `<YYYYMMDDHHMM>` and the files in it by the same figures.
"""

import re
import stat
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import proof
from .vmcore.dump import inspect
from .vmcore.triage import signature

# Patterns in the order in which a file is taken for the dump, or for the crashed kernel's log.
_VMCORES = (
    "vmcore", r"vmcore\.flat", r"dump\.[0-9]{12}(\.[a-z0-9]+)?", r"vmcore\.[0-9]{12}", "vmcore-incomplete",
    r"dump-incomplete(\.[a-z0-9]+)?",
)  # fmt: skip
_LOGS = (r"vmcore-dmesg\.txt", r"dmesg\.[0-9]{12}")
_OTHERS = (r"vmcore-dmesg-incomplete\.txt", r"kexec-dmesg\.log", r"capture\.json")
_ANY = re.compile("|".join(_VMCORES + _LOGS + _OTHERS))
_DMESG_TAIL = 1 << 20  # bytes: a panic is at the end of the log
_Found = Tuple[int, str, List[str]]  # see _found()


class Owner(NamedTuple):
    """What the dumps of one host are known by, in a directory where those of others lie too.

    addresses: what the names of their directories begin with
    digests: the first 16 digits of the digests of its images, one of which capture.json names
    unsigned: whether a dump that names no image is this host's too
    """

    addresses: List[str]
    digests: List[str]
    unsigned: bool

    def is_named(self, folder: str) -> bool:
        """By `<address>-2026-11-24-10:30:00`, and perhaps `-1`."""
        address, dash, _date = folder.rpartition("/")[2].partition("-")
        return dash != "" and address in self.addresses

    def has_captured(self, digest: Optional[str]) -> bool:
        """By the image that wrote a dump; None where nothing tells which."""
        return self.unsigned if digest is None else len(digest) == 64 and digest[:16] in self.digests


def newest(host: Any, directory: str, most: int, owner: Optional[Owner] = None) -> List[Dict[str, Any]]:
    """The newest dumps, `most` of them, newest first: what modules/info.py returns as `vmcores`.

    With an owner so many of its own, however many others are newer, and so many others.
    """
    if not directory or most <= 0:
        return []
    found = [one for one in (_found(host, directory, name) for name in host.listdir(directory)) if one[2]]
    found.sort(reverse=True)
    found = found[:most] if owner is None else sorted(_chosen(host, found, most, owner), reverse=True)
    return [dict(_describe(host, folder, files), written_at=time / 1e9) for time, folder, files in found]


def _chosen(host: Any, found: List[_Found], most: int, owner: Owner) -> List[_Found]:
    own: List[_Found] = []
    others: List[_Found] = []
    for one in found:
        if len(own) == most:
            break  # no more files are opened
        _time, folder, files = one
        mine = owner.is_named(folder) or owner.has_captured(_digest(_capture(host, folder, files)))
        (own if mine else others).append(one)
    return own + others[:most]


def listed(
    host: Any, directory: str, most: int, marker: str = "", deep: bool = False, owner: Optional[Owner] = None
) -> List[Dict[str, Any]]:
    """The same, and `marked`: whether the kernel's log of the dump holds the marker.

    With `deep` the marked ones, and without a marker all, are read whole.
    """
    found = newest(host, directory, most, owner)
    for dump in found:
        path = log(host, dump["directory"])
        dump["marked"] = bool(marker and path) and marker in tail(host, path)
        if deep and dump["path"] and (dump["marked"] or not marker):
            with host.open(dump["path"]) as file:
                info = inspect(file, dump["bytes"], True)
            dump.update(verdict=info.verdict, problems=info.problems)
    return found


def _found(host: Any, directory: str, name: str) -> _Found:
    """(time of the last change, path, files) of a directory; no files for one that holds no dump."""
    folder = directory.rstrip("/") + "/" + name
    stats = {file: host.stat(folder + "/" + file) for file in host.listdir(folder) if _ANY.fullmatch(file)}
    # A pipe or a device of such a name would keep its reader waiting.
    files = {file: found for file, found in stats.items() if found is not None and stat.S_ISREG(found.st_mode)}
    return max([found.st_mtime_ns for found in files.values()] + [0]), folder, sorted(files)


def _describe(host: Any, folder: str, files: List[str]) -> Dict[str, Any]:
    name = _first(_VMCORES, files)
    path = folder + "/" + name if name else ""
    capture = _capture(host, folder, files)
    result: Dict[str, Any] = {
        "directory": folder, "path": path, "files": files, "panic": _panic(host, log(host, folder)),
        "capture": capture.as_dict() if capture else None,
        "bytes": 0, "format": "", "verdict": "missing", "problems": [], "release": "", "crash_time": "",
    }  # fmt: skip
    if path:
        with host.open(path) as file:
            info = inspect(file, file.seek(0, 2))
        for key in ("bytes", "format", "verdict", "problems", "release", "crash_time"):
            result[key] = getattr(info, key)
    return result


def _capture(host: Any, folder: str, files: List[str]) -> Optional[proof.Capture]:
    return proof.capture(host, folder) if "capture.json" in files else None


def _digest(capture: Optional[proof.Capture]) -> Optional[str]:
    return None if capture is None else capture.digest


def log(host: Any, folder: str) -> str:
    """The path of the crashed kernel's log in a dump's directory; "" where there is none."""
    name = _first(_LOGS, host.listdir(folder))
    path = folder + "/" + name
    return path if name and host.is_file(path) else ""


def _first(patterns: Tuple[str, ...], names: List[str]) -> str:
    return next((name for pattern in patterns for name in names if re.fullmatch(pattern, name)), "")


def _panic(host: Any, path: str) -> str:
    """The kernel's own words for why it died, from its log; "" where they are not there."""
    found = signature(tail(host, path)) if path else None
    return found.message if found else ""


def tail(host: Any, path: str) -> str:
    """The end of a kernel log."""
    with host.open(path) as file:
        file.seek(max(0, file.seek(0, 2) - _DMESG_TAIL))
        return file.read(_DMESG_TAIL).decode("utf-8", "replace")
