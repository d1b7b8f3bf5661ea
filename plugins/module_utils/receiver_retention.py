# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which dumps a server keeps. Private to this collection."""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set, Tuple

_DAY = 86400
_YOUNG = 2 * 3600  # seconds: a dump may still be coming, over NFS too, where no lock tells of it


class Removal(NamedTuple):
    """A dump (_host.inbox.Stored) that goes, and why."""

    dump: Any
    why: str


def decide(dumps: List[Any], settings: Any, now: float, free: int, is_whole: Callable[[Any], bool]) -> List[Removal]:
    """The dumps that are to go, those of each host oldest first, then those that go for room.

    Never one that may still be coming, and never the newest dump of a host, nor its newest whole one: of a host that
    delivers nothing whole the newest is all that tells of its crash. `is_whole` reads a dump, so it is asked only of hosts
    of which something would go.
    """
    held: Dict[str, Set[str]] = {}
    gone: Set[Tuple[str, str]] = set()
    found: List[Removal] = []

    def take(dump: Any, why: str) -> bool:
        key = (dump.host, dump.folder)
        if key in gone or dump.busy or now - dump.changed < _YOUNG:
            return False
        if dump.host not in held:
            own = _of(dumps, dump.host)
            whole = next((one for one in own if is_whole(one)), own[0])
            held[dump.host] = {own[0].folder, whole.folder}
        if dump.folder in held[dump.host]:
            return False
        gone.add(key)
        found.append(Removal(dump, why))
        return True

    kept: Dict[str, int] = {dump.host: 0 for dump in dumps}  # bytes
    for host in sorted(kept):
        for dump, why in _beyond(_of(dumps, host), settings, now):
            take(dump, why)
    for dump in dumps:
        if (dump.host, dump.folder) in gone:
            free += dump.bytes
        else:
            kept[dump.host] += dump.bytes
    for dump in _by_fullest(dumps, kept):
        if free >= settings.keep_free:
            break
        if take(dump, "less than %d MiB are free" % (settings.keep_free >> 20)):
            free += dump.bytes
            kept[dump.host] -= dump.bytes
    return found


def _by_fullest(dumps: List[Any], kept: Dict[str, int]) -> Iterator[Any]:
    """Each dump once: the oldest of the host that has most by `kept`, as that is at the moment.

    By age alone, one host that sends a lot would have the dumps of all others removed.
    """
    waiting = {host: _of(dumps, host) for host in sorted(kept)}
    while waiting:
        fullest = max(waiting, key=lambda host: kept[host])
        yield waiting[fullest].pop()
        if not waiting[fullest]:
            del waiting[fullest]


def _of(dumps: List[Any], host: str) -> List[Any]:
    """The dumps of a host, newest first."""
    return sorted((dump for dump in dumps if dump.host == host), key=lambda one: one.changed, reverse=True)


def _beyond(dumps: List[Any], settings: Any, now: float) -> List[Tuple[Any, str]]:
    """Of one host's dumps, newest first, those that its count and their age would remove, oldest first."""
    found = []
    for number, dump in enumerate(dumps):
        if settings.keep_count and number >= settings.keep_count:
            found.append((dump, "the host has %d newer ones" % settings.keep_count))
        elif settings.keep_days and now - dump.changed > settings.keep_days * _DAY:
            found.append((dump, "older than %d days" % settings.keep_days))
    return found[::-1]
