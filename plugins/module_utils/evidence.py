# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is left of crashes that left no whole vmcore, and of a boot that just ended. Private to this collection.

The capture kernel reports a failure on the host itself (image/init_report.py). Where not even that was possible, the
boot that ended without a shutdown tells: UNIT_END renames a file when the host shuts down, and nothing else does.
"""

import datetime
import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from . import dumps, layout
from .problems import Problem, shown
from .proof import Proof

MOST = 10  # reports that are kept
_MOST_BYTES = 64 << 20  # of all of them together
_REMEMBERED = 14 * 86400.0  # seconds for which a failure is told
_SLACK = 300.0  # seconds by which the clock of a capture kernel, or of a server, may be behind
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_FOLDER = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{2}:[0-9]{2}:[0-9]{2}(-[0-9]{1,3})?")


class Failure(NamedTuple):
    """A crash whose dump failed. `at` in seconds since 1970, when that was written down."""

    directory: str
    at: float
    message: str
    phases: List[Dict[str, Any]]
    panic: str

    def as_dict(self) -> Dict[str, Any]:
        values = dict(self._asdict(), time=utc(self.at))
        values.pop("at")
        return values


class End(NamedTuple):
    """How the boot before this one ended: `clean` by a shutdown. `began` and `at` (the next boot) since 1970.

    reports: the directories of the failures that were known when it began
    """

    boot_id: str
    clean: bool
    began: float
    at: float
    reports: List[str] = []


def utc(at: float) -> str:
    """ISO 8601."""
    try:
        return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


# --- failures ------------------------------------------------------------------------------------------------------
def failures(host: Any, found: List[Dict[str, Any]]) -> List[Failure]:
    """Those reported on the host, and those among the dumps that were found; newest first."""
    reports = dumps.newest(host, layout.FAILED, MOST)
    told = [_failure(report) for report in reports] + [_failure(dump) for dump in found if is_failure(dump)]
    return sorted(told, key=lambda failure: failure.at, reverse=True)


def is_failure(dump: Dict[str, Any]) -> bool:
    """Whether a dump is not what it should be; one that cannot be judged by its headers is taken as it is."""
    if (dump["capture"] or {}).get("status") or dump["path"].endswith("-incomplete"):
        return True
    return dump["verdict"] in ("missing", "incomplete", "broken")


def _failure(dump: Dict[str, Any]) -> Failure:
    capture = dump["capture"] or {}
    phases = capture.get("phases", [])
    failed = ["%s (exit code %d)" % (phase["name"], phase["exit"]) for phase in phases if phase["exit"]]
    message = capture.get("message") or ("it failed in: %s" % ", ".join(failed) if failed else "")
    message = message or " ".join(dump["problems"]) or "the capture kernel ended before it could say why"
    return Failure(dump["directory"], dump["written_at"], message, phases, dump["panic"])


def retain(host: Any) -> List[str]:
    """Remove the oldest reports beyond MOST, or beyond so many bytes; the directories that are gone.

    What the last boot left is the newest, whatever its name says: the capture kernel's clock may be of 1970.
    """
    kept, total, gone = 0, 0, []
    folders = [layout.FAILED + "/" + name for name in host.listdir(layout.FAILED)]
    end = last_end(host)
    known = end.reports if end is not None else folders
    for folder in sorted(folders, key=lambda folder: (folder not in known, folder), reverse=True):
        name = folder.rpartition("/")[2]
        if not _FOLDER.fullmatch(name) or host.readlink(folder) is not None or not host.is_dir(folder):
            continue
        files = [folder + "/" + file for file in host.listdir(folder)]
        stats = [host.stat(file) for file in files]
        total += sum(found.st_size for found in stats if found is not None)
        kept += 1
        if kept > MOST or (kept > 1 and total > _MOST_BYTES):
            for file in files:
                if not host.is_dir(file):
                    host.remove(file)
            host.remove_empty_directory(folder)
            gone.append(folder)
    return gone


# --- how boots end -------------------------------------------------------------------------------------------------
def begin(host: Any) -> Optional[End]:
    """Note that this boot has begun, and how the last one ended; None where it has been noted already, or for the first."""
    boot_id = host.read_text(_BOOT_ID).strip()
    before = _object(host, layout.BOOT)
    ended = host.read_text(layout.ENDED, "").strip()
    host.remove(layout.ENDED)  # first: on a disk that is full it would tell of a shutdown that another boot had not
    end = None
    if before.get("boot_id") != boot_id:
        if before:
            clean = ended == before["boot_id"]
            end = End(before["boot_id"], clean, before["began"], host.now(), before.get("reports", []))
            for path in [layout.LAST_END] + ([] if clean else [layout.LAST_UNCLEAN]):
                _save(host, path, dict(end._asdict()))
        reports = [layout.FAILED + "/" + name for name in host.listdir(layout.FAILED)]
        _save(host, layout.BOOT, {"boot_id": boot_id, "began": host.now(), "reports": reports})
    host.write(layout.RUNNING, (boot_id + "\n").encode(), 0o600)
    host.write(layout.BEGUN, (boot_id + "\n").encode(), 0o600)
    return end


def is_noted(host: Any) -> bool:
    """Whether how this boot ends will be known."""
    return bool(host.read_text(layout.RUNNING, "").strip() == host.read_text(_BOOT_ID, "").strip())


def last_end(host: Any) -> Optional[End]:
    """None where it is not known: the first boot of an armed host, or one in which UNIT_END was not started."""
    boot = _object(host, layout.BOOT)
    return _end(host, layout.LAST_END) if boot.get("boot_id") == host.read_text(_BOOT_ID, "").strip() else None


def last_unclean(host: Any) -> Optional[End]:
    """The last end without a shutdown. Shutdowns since then do not take away what is to be told of it."""
    return _end(host, layout.LAST_UNCLEAN)


def _end(host: Any, path: str) -> Optional[End]:
    found = _object(host, path)
    if "at" not in found:
        return None
    return End(found["boot_id"], found.get("clean") is True, found["began"], found["at"], found.get("reports", []))


def _save(host: Any, path: str, values: Dict[str, Any]) -> None:
    host.write(path, (json.dumps(values, sort_keys=True) + "\n").encode(), 0o600)


def _object(host: Any, path: str) -> Dict[str, Any]:
    """What _save has written; {} for anything else."""
    try:
        values = json.loads(host.read(path, 1 << 16).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict) or not isinstance(values.get("boot_id"), str):
        return {}
    times = [values.get(name, 0.0) for name in ("began", "at")]
    well = all(isinstance(time, (int, float)) for time in times) and isinstance(values.get("reports", []), list)
    return values if well and "began" in values else {}


def is_suspect(end: Optional[End], now: float) -> bool:
    """Whether a boot ended in a way that may have been a crash, and not long ago."""
    return end is not None and not end.clean and now - end.at < _REMEMBERED


# --- what is told --------------------------------------------------------------------------------------------------
class Seen(NamedTuple):
    """What was looked at. `looked`: whether the target itself could be; `dumps` are then those of this host there.

    `end`: the last one without a shutdown.
    """

    dumps: List[Dict[str, Any]]
    looked: bool
    failures: List[Failure]
    end: Optional[End]
    proof: Optional[Proof]
    rescued: List[Dict[str, Any]] = []  # dumps that dump_to_rootfs has saved: the target has failed all the same


def warnings(seen: Seen, now: float) -> Iterator[Problem]:
    """Failures until a dump or a crash test succeeds after them, or two weeks have gone; and a crash that left nothing."""
    good = [dump for dump in seen.dumps if not is_failure(dump)]
    proven = [seen.proof.proven_at] if seen.proof is not None else []
    since = max([_time(dump) for dump in good] + proven + [now - _REMEMBERED])
    for failure in [failure for failure in seen.failures if failure.at > since]:
        yield Problem(
            "The dump of a crash failed (%s): %s." % (utc(failure.at), failure.message.rstrip(".")),
            "%s holds what was saved%s." % (failure.directory, _quoted(failure.panic)),
        )
    if is_suspect(seen.end, now) and seen.end is not None and not _left_something(seen, seen.end, good):
        yield _nothing_left(seen.end, seen.looked)


def _left_something(seen: Seen, end: End, good: List[Dict[str, Any]]) -> bool:
    """Whether the boot that ended so left a dump or a report, or was crashed by the test that is proven."""
    here = [failure for failure in seen.failures if failure.directory.startswith(layout.FAILED + "/")]
    if any(failure.directory not in end.reports for failure in here):
        return True  # whatever the clock of its capture kernel was
    # The proof is written down in the boot after the crash.
    if seen.proof is not None and seen.proof.proven_at > end.at:
        return True
    left = [failure.at + _SLACK for failure in seen.failures if failure not in here]
    left += [_crash_time(dump) or dump["written_at"] + _SLACK for dump in good + seen.rescued]
    return any(at > end.began for at in left)


def _crash_time(dump: Dict[str, Any]) -> float:
    """Seconds since 1970 by the clock of the host that died; 0 where the dump does not say.

    When a dump was written is not enough: that of the crash before has often come within _SLACK of the boot that
    followed it, one on a raw device became a file only in that boot, and a server's clock may be wrong by hours.
    """
    try:
        found = datetime.datetime.strptime(dump.get("crash_time", ""), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return 0.0
    return found.replace(tzinfo=datetime.timezone.utc).timestamp()


def _time(dump: Dict[str, Any]) -> float:
    """When a dump came, at the earliest: too late a time would silence a failure after it."""
    return min(_crash_time(dump) or dump["written_at"], dump["written_at"])


def _quoted(panic: str) -> str:
    return "; the kernel died of: %s" % shown(panic) if panic else ""


def _nothing_left(end: End, looked: bool) -> Problem:
    where = "left no dump and no report" if looked else "left no report here; whether it left a dump could not be seen"
    return Problem(
        "The boot that began at %s ended without a shutdown (before %s) and %s." % (utc(end.began), utc(end.at), where),
        "It was a power cut or a forced reset, or a crash that could not be captured: look at the console's log of that "
        "time, and prove the host by a crash test.",
    )
