# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What /etc/sysconfig/kdump has to hold for a role's wishes about the capture kernel. Private to this collection."""

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional

from . import cmdline, sysconfig
from .problems import KdumpError, Problem, shown

_ARGUMENT = re.compile(r"[A-Za-z0-9_.:/-]+")


def sysconfig_settings(machine: str, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """What /etc/sysconfig/kdump has to hold for the wishes cmdline_append, cmdline_remove and nr_cpus, beside sysconfig.

    They are written into the file, and not given to one load only, so that the next boot loads the same. They go on top
    of the variables that are set explicitly, and of kdump-utils' defaults for this architecture otherwise.
    """
    settings = dict(wanted.get("sysconfig") or {})
    append, remove, nr_cpus = wanted.get("cmdline_append"), wanted.get("cmdline_remove"), wanted.get("nr_cpus")
    if append is None and remove is None and nr_cpus is None:
        return settings
    problems = list(_problems(remove or [], nr_cpus))
    if problems:
        raise KdumpError(problems)
    base = dict(sysconfig.defaults(machine), **settings)
    base_removed = sysconfig.as_text(base["KDUMP_COMMANDLINE_REMOVE"])
    base_added = sysconfig.as_text(base["KDUMP_COMMANDLINE_APPEND"])
    if base_removed is None or base_added is None:
        return settings  # as they are, for sysconfig.decide() to refuse
    removed = cmdline.split(base_removed)
    added = cmdline.without(cmdline.split(base_added), remove or [])
    if nr_cpus is not None:
        added = cmdline.without(added, ["nr_cpus", "maxcpus"]) + ["nr_cpus=%d" % nr_cpus]
    settings["KDUMP_COMMANDLINE_REMOVE"] = cmdline.join(
        removed + [name for name in remove or [] if name not in removed]
    )
    settings["KDUMP_COMMANDLINE_APPEND"] = cmdline.join(added + cmdline.split(append or ""))
    return settings


def _problems(remove: List[str], nr_cpus: Optional[int]) -> Iterator[Problem]:
    for name in remove:
        if not _ARGUMENT.fullmatch(name):
            hint = "Give names alone, such as irqpoll or rd.lvm.lv: without values, quotes and brackets."
            message = "cmdline_remove: %s is not the name of a kernel argument." % shown(name)
            yield Problem(message, hint, "cmdline_remove", shown(name))
    if nr_cpus is not None and nr_cpus < 1:
        message = "The capture kernel cannot run on %d CPUs." % nr_cpus
        yield Problem(message, "Give 1 or more.", "nr_cpus", str(nr_cpus))


def secrets(settings: Optional[Mapping[str, Any]]) -> List[str]:
    """The values among settings that are not to be shown."""
    return [
        sysconfig.as_text(value) or "" for name, value in (settings or {}).items() if sysconfig.is_secret(str(name))
    ]


def without_secrets(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """The settings as a result may hold them."""
    return {
        name: sysconfig.MASK if value is not None and sysconfig.is_secret(str(name)) else value
        for name, value in settings.items()
    }
