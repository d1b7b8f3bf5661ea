# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a dump server goes by: /etc/vmcore-kdump/server.json. Private to this collection."""

import json
from typing import Any, Dict, List, NamedTuple

from .problems import KdumpError, Problem, shown

PATH = "/etc/vmcore-kdump/server.json"
_MOST = 1 << 60


class Settings(NamedTuple):
    """0 for no limit. Bytes, but for connections, idle (seconds), keep_count and keep_days."""

    root: str  # the directory of the hosts' directories
    quota_host: int = 0
    quota_total: int = 0
    min_free: int = 0  # of the file system, while dumps are received
    connections: int = 4  # of one host at once
    idle: int = 1800  # makedumpfile may look at memory for minutes before it writes
    keep_count: int = 0  # dumps of each host
    keep_days: int = 0
    keep_free: int = 0  # bytes; while less are free, dumps go of the host that has most


def parse(text: str) -> Settings:
    """The settings of a file's text. KdumpError with everything that is wrong."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise KdumpError([Problem("%s holds no JSON object." % PATH, "Run the role vmcore.kdump.server again.")])
    return of(given)


def of(given: Dict[str, Any]) -> Settings:
    """The settings of a mapping. KdumpError with everything that is wrong."""
    problems: List[Problem] = []
    root = given.get("root")
    if not isinstance(root, str) or not root.startswith("/") or root.rstrip("/") == "" or not root.isprintable():
        problems.append(Problem(
            "The root %s is no absolute path of a directory." % shown(str(root)), "Give one such as /srv/vmcore-kdump.",
            "root", shown(str(root)),
        ))  # fmt: skip
    for name, value in given.items():
        if name not in Settings._fields:
            problems.append(Problem("There is no setting %s." % shown(name), "Remove it.", name, shown(str(value))))
        elif name != "root" and not _is_number(value, name in ("connections", "idle")):
            problems.append(Problem(
                "%s is %s, and is to be a whole number%s." % (
                    name, shown(str(value)), " from 1 on" if name in ("connections", "idle") else " that is not negative",
                ), "Give such a number.", name, shown(str(value)),
            ))  # fmt: skip
    if problems:
        raise KdumpError(problems)
    return Settings(**dict(given, root=str(root).rstrip("/")))


def _is_number(value: Any, positive: bool) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and positive <= value <= _MOST


def text(settings: Settings) -> str:
    return json.dumps(dict(settings._asdict()), indent=2, sort_keys=True) + "\n"
