# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dumps on a host, and what lies beside them. Private to this collection.

Names: kdump-utils and this collection write vmcore, vmcore.flat, vmcore-incomplete and vmcore-dmesg.txt into a
directory per crash; kdump-tools writes dump.STAMP[.gz] and dmesg.STAMP; `makedumpfile --split` gets vmcore-1 and so on.
"""

import fnmatch
import json
import re
from typing import Any, Dict, Iterator, List, Optional

from ..problems import KdumpError, Problem
from .dump import inspect
from .result import Findings
from .source import Source
from .triage import TEXT_LIMIT, signature

NAMES = ("vmcore", "vmcore.*", "vmcore-incomplete", "vmcore-[0-9]*", "dump.*", "dump-incomplete", "dump-incomplete.*")
DMESG = ("vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt")
CAPTURE = "capture.json"
CAPTURE_LIMIT = 1 << 20
DEEPEST = 10  # directories below the root of a dump server


def vmcores(host: Any, paths: List[str], deep: bool, server: bool = False) -> List[Dict[str, Any]]:
    """Every dump under `paths` by the time of its crash, those of no known time last; `sender` says whose it is.

    server: `paths` hold a directory for each host, with its dumps. Raises KdumpError for each path that names a dump
    that is not there.
    """
    if server:
        senders = on_server(host, paths)
    else:
        senders = dict.fromkeys(find(host, paths), "")
    found = [dict(describe(host, path, deep), sender=sender) for path, sender in senders.items()]
    return sorted(found, key=lambda each: (each["crash_epoch"] is None, each["crash_epoch"] or 0, each["path"]))


def find(host: Any, paths: List[str]) -> List[str]:
    """The files that `paths` stand for: files, patterns, and directories with their immediate subdirectories."""
    found: List[str] = []
    problems: List[Problem] = []
    for path in paths:
        if re.search(r"[*?\[]", path) and not host.exists(path):
            found += [each for each in host.glob(path) if host.is_file(each)]
        elif host.is_dir(path):
            found += in_directory(host, path.rstrip("/"))
        elif host.is_file(path) or host.is_block_device(path):
            found.append(path)
        elif is_dump(path.rpartition("/")[2]) or path.startswith("/dev/"):
            problems.append(
                Problem("There is no dump at %s." % path, "Name a file that exists, or its directory.", "paths", path)
            )
    if problems:
        raise KdumpError(problems)
    return sorted(set(found))


def on_server(host: Any, roots: List[str]) -> Dict[str, str]:
    """The dumps below the directories of hosts, and the names of these. A host may have put links there: none counts.

    What came over NFS lies deeper: there the path of the host's kdump.conf counts.
    """
    found: Dict[str, str] = {}
    for root in roots:
        for name in host.listdir(root):
            found.update((path, name) for path in _below(host, root.rstrip("/") + "/" + name, DEEPEST))
    return found


def _below(host: Any, folder: str, deepest: int) -> Iterator[str]:
    if not deepest or host.readlink(folder) is not None:
        return
    for name in host.listdir(folder):
        path = folder + "/" + name
        if host.is_dir(path):
            yield from _below(host, path, deepest - 1)
        elif is_dump(name) and host.is_file(path) and host.readlink(path) is None:
            yield path


def in_directory(host: Any, path: str) -> List[str]:
    names = host.listdir(path or "/")
    found = ["%s/%s" % (path, name) for name in names if is_dump(name)]
    for folder in ("%s/%s" % (path, name) for name in names):
        if host.is_dir(folder):
            found += ["%s/%s" % (folder, name) for name in host.listdir(folder) if is_dump(name)]
    return [each for each in found if host.is_file(each)]


def is_dump(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in NAMES)


def describe(host: Any, path: str, deep: bool) -> Dict[str, Any]:
    """One entry of the results: VmcoreInfo's fields, and what the files beside the dump say."""
    folder, _slash, name = path.rpartition("/")
    dmesg = beside(host, folder, dmesg_names(name))
    capture = beside(host, folder, (CAPTURE,))
    try:
        with host.open(path) as file:
            info = inspect(file, file.seek(0, 2), deep)
    except OSError as error:
        findings = Findings()
        findings.broken("The file cannot be opened: %s." % error)
        info = findings.result(0, deep)
    found = dict(info._asdict(), path=path, dmesg=dmesg, signature=None, capture=None)
    if dmesg:
        crash = signature(tail(host, dmesg, TEXT_LIMIT).decode("utf-8", "replace"))
        found["signature"] = dict(crash._asdict()) if crash else None
    if capture:
        found["capture"] = parse_capture(tail(host, capture, CAPTURE_LIMIT))
    return found


def dmesg_names(name: str) -> List[str]:
    """What the log beside a dump may be called."""
    stamp = re.match(r"^dump\.([^.]+)", name)
    return (["dmesg." + stamp.group(1)] if stamp else []) + list(DMESG)


def beside(host: Any, folder: str, names: Any) -> str:
    """The first of these files that is there; no link to one, which whoever could write there may have made."""
    paths = ["%s/%s" % (folder, name) for name in names]
    return next((path for path in paths if host.is_file(path) and host.readlink(path) is None), "")


def tail(host: Any, path: str, limit: int) -> bytes:
    """The last `limit` bytes of a file; none of one that cannot be read."""
    try:
        with host.open(path) as file:
            size = file.seek(0, 2)
            return Source(file, size).read_at(max(0, size - limit), limit)
    except OSError:
        return b""


def parse_capture(data: bytes) -> Optional[Dict[str, Any]]:
    """The object in a capture.json; None where it is none, or is not whole."""
    # Lone surrogates cannot be printed again.
    text = re.sub(r"\\u[dD][89A-Fa-f][0-9A-Fa-f]{2}", r"\\ufffd", data.decode("utf-8", "replace"))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
