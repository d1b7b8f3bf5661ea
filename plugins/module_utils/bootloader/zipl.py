# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""zipl, which on s390x copies the entries' command lines into the boot map. Private to this collection.

The firmware reads that map and no entry, so a change of entries without a run of zipl never reaches a boot. grubby does not
run it. Source: zipl/src/bootmap.c of s390-tools (c6649588): the parmline is written into the file as it is, with a zero
behind it, into a temporary file that then becomes `bootmap` by rename.
"""

import re
from typing import Any, List, Optional, Sequence, Set

from ..plan import Step
from ..problems import Problem, fail
from .entry import Entry

CONF = "/etc/zipl.conf"
_TARGET = re.compile(r"^[ \t]*target[ \t]*=[ \t]*\"?([^\"\s]+)", re.MULTILINE)  # zipl.conf(5)
_VALUE = re.compile(rb"crashkernel=([0-9][^ \0]*)")


def is_used(host: Any) -> bool:
    return bool(host.kernel.machine.startswith("s390"))


def problems(host: Any) -> List[Problem]:
    if not is_used(host) or host.which("zipl"):
        return []
    return [
        Problem(
            "zipl is missing: without it no change of the boot entries reaches the next boot of this machine.",
            "Install s390utils-core (s390-tools elsewhere).",
            "bootloader",
            "zipl",
        )
    ]


def bootmap(host: Any) -> str:
    found = _TARGET.search(host.read_text(CONF, ""))
    return (found.group(1) if found else "/boot") + "/bootmap"


def steps(host: Any, files: Sequence[str], after: Sequence[Entry], changed: bool) -> List[Step]:
    """A run of zipl where entries change, or have changed since it ran last. `files` are the entries' own."""
    if not is_used(host) or not (changed or _lag(host, files, after)):
        return []
    return [Step("zipl", lambda host: _run(host, files, after))]


def _run(host: Any, files: Sequence[str], after: Sequence[Entry]) -> None:
    result = host.run(["zipl"])
    if result.rc != 0:
        raise fail(
            "zipl failed (exit code %d): %s" % (result.rc, (result.err + result.out).strip()[-2000:]),
            "Run it by hand and repair what it complains about: this machine boots what it wrote last.",
        )
    lag = _lag(host, files, after)
    if lag is None or lag:
        raise fail(
            "zipl reported success, but %s %s." % (bootmap(host), lag or "is not there"),
            "Look at target= in %s, and run `zipl -V` by hand." % CONF,
        )


def _lag(host: Any, files: Sequence[str], after: Sequence[Entry]) -> Optional[str]:
    """In what the boot map is behind the entries, as a part of a sentence; "": in nothing; None: there is no such file.

    It may hold more: sections of zipl.conf have command lines of their own. So its age counts as well.
    """
    path = bootmap(host)
    found = host.stat(path)
    if found is None:
        return None
    held: Set[str] = {value.decode("utf-8", "surrogateescape") for value in _VALUE.findall(host.read(path))}
    wanted = {value for entry in after for value in entry.values if value[:1].isdigit()}
    if wanted - held:
        return "does not hold crashkernel=" + " crashkernel=".join(sorted(wanted - held))
    times = [file.st_mtime for file in map(host.stat, files) if file is not None]
    return "is older than the boot entries" if times and found.st_mtime < max(times) else ""
