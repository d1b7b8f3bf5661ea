# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dumps in a host's dump directory. Private to this collection.

Each lies in a directory of its own, `<address>-<time>`, with what the capture kernel wrote beside the vmcore.
"""

from typing import Any, Dict, List, Tuple

from . import proof
from .vmcore.dump import inspect
from .vmcore.triage import signature

# In the order in which one of them is taken for the dump.
_VMCORES = ("vmcore", "vmcore.flat", "vmcore-incomplete")
_OTHERS = ("vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt", "kexec-dmesg.log", "capture.json")
_DMESG_TAIL = 1 << 20  # bytes: a panic is at the end of the log


def newest(host: Any, directory: str, most: int) -> List[Dict[str, Any]]:
    """The newest dumps, `most` of them, newest first: what modules/info.py returns as `vmcores`."""
    if not directory or most <= 0:
        return []
    found = [one for one in (_found(host, directory, name) for name in host.listdir(directory)) if one[2]]
    found.sort(reverse=True)
    return [_describe(host, folder, files) for dummy, folder, files in found[:most]]


def folders(host: Any, directory: str) -> List[str]:
    """The paths of all directories that hold a dump."""
    names = host.listdir(directory) if directory else []
    return [folder for dummy, folder, files in (_found(host, directory, name) for name in names) if files]


def _found(host: Any, directory: str, name: str) -> Tuple[int, str, List[str]]:
    """(time of the last change, path, files) of a directory; no files for one that holds no dump."""
    folder = directory.rstrip("/") + "/" + name
    files = [file for file in host.listdir(folder) if file in _VMCORES + _OTHERS]
    times = [host.stat(folder + "/" + file).st_mtime_ns for file in files if host.exists(folder + "/" + file)]
    return max(times + [0]), folder, files


def _describe(host: Any, folder: str, files: List[str]) -> Dict[str, Any]:
    name = next((file for file in _VMCORES if file in files), "")
    path = folder + "/" + name if name else ""
    capture = proof.capture(host, folder)
    result: Dict[str, Any] = {
        "directory": folder, "path": path, "files": files, "panic": _panic(host, folder + "/vmcore-dmesg.txt"),
        "capture": capture.as_dict() if capture else None,
        "bytes": 0, "format": "", "verdict": "missing", "problems": [], "release": "", "crash_time": "",
    }  # fmt: skip
    if path:
        size = host.stat(path).st_size
        with host.open(path) as file:
            info = inspect(file, size)
        for key in ("bytes", "format", "verdict", "problems", "release", "crash_time"):
            result[key] = getattr(info, key)
    return result


def _panic(host: Any, path: str) -> str:
    """The kernel's own words for why it died, from vmcore-dmesg.txt; "" where they are not there."""
    found = signature(tail(host, path)) if host.is_file(path) else None
    return found.message if found else ""


def tail(host: Any, path: str) -> str:
    """The end of a kernel log."""
    with host.open(path) as file:
        file.seek(max(0, host.stat(path).st_size - _DMESG_TAIL))
        return file.read(_DMESG_TAIL).decode("utf-8", "replace")
