# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dumps in a host's dump directory. Private to this collection.

Each lies in a directory of its own, `<address>-<time>`, with what the capture kernel wrote beside the vmcore. Debian's
kdump-tools names the directory `<YYYYMMDDHHMM>` and the files in it by the same figures.
"""

import re
import stat
from typing import Any, Dict, List, Tuple

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


def newest(host: Any, directory: str, most: int) -> List[Dict[str, Any]]:
    """The newest dumps, `most` of them, newest first: what modules/info.py returns as `vmcores`."""
    if not directory or most <= 0:
        return []
    found = [one for one in (_found(host, directory, name) for name in host.listdir(directory)) if one[2]]
    found.sort(reverse=True)
    return [dict(_describe(host, folder, files), written_at=time / 1e9) for time, folder, files in found[:most]]


def listed(host: Any, directory: str, most: int, marker: str = "", deep: bool = False) -> List[Dict[str, Any]]:
    """The same, and `marked`: whether the kernel's log of the dump holds the marker.

    With `deep` the marked ones, and without a marker all, are read whole.
    """
    found = newest(host, directory, most)
    for dump in found:
        path = log(host, dump["directory"])
        dump["marked"] = bool(marker and path) and marker in tail(host, path)
        if deep and dump["path"] and (dump["marked"] or not marker):
            with host.open(dump["path"]) as file:
                info = inspect(file, dump["bytes"], True)
            dump.update(verdict=info.verdict, problems=info.problems)
    return found


def _found(host: Any, directory: str, name: str) -> Tuple[int, str, List[str]]:
    """(time of the last change, path, files) of a directory; no files for one that holds no dump."""
    folder = directory.rstrip("/") + "/" + name
    stats = {file: host.stat(folder + "/" + file) for file in host.listdir(folder) if _ANY.fullmatch(file)}
    # A pipe or a device of such a name would keep its reader waiting.
    files = {file: found for file, found in stats.items() if found is not None and stat.S_ISREG(found.st_mode)}
    return max([found.st_mtime_ns for found in files.values()] + [0]), folder, sorted(files)


def _describe(host: Any, folder: str, files: List[str]) -> Dict[str, Any]:
    name = _first(_VMCORES, files)
    path = folder + "/" + name if name else ""
    capture = proof.capture(host, folder)
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
