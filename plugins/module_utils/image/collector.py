# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""core_collector in the capture image: what of kdump.conf's line can run there. Private to this collection.

The line by itself is conf_collector's to judge.
"""

import getopt
import re
from typing import List, NamedTuple

from ..conf_collector import COMPRESSIONS, flags, program
from ..problems import Problem, fail

_NAMES = {"lzo": "LZO"}  # as `makedumpfile -h` has them (print_info.c), where it differs
_FILES = {"-x": "a vmlinux", "-i": "a vmcoreinfo file", "--config": "a filter file", "--eppic": "an eppic macro"}


class Collector(NamedTuple):
    """`command` runs in the capture kernel before the names of input and output; `name` is its program's."""

    command: str
    name: str


def parse(text: str, kind: str) -> Collector:
    """Read core_collector's value for a kind of target. KdumpError for a program that is not known to write a dump there."""
    name = program(text)
    if name == "scp" and kind == "ssh":
        # What arrives is the same, and the server needs neither scp nor sftp for it.
        return Collector("cat", "cat")
    if name not in ("makedumpfile", "cp", "cat"):
        raise fail(
            "core_collector `%s` cannot be used: the native engine knows makedumpfile, cp, cat; for ssh scp." % text,
            "Use for example: core_collector makedumpfile -l --message-level 7 -d 31",
            "core_collector",
            text,
        )
    if name != "makedumpfile":
        return Collector(" ".join([name] + text.split()[1:]), name)
    return Collector(" ".join(text.split()[:1] + _words(text)), name)


def _words(text: str) -> List[str]:
    """makedumpfile's arguments, each flag by itself and in full: /init looks for -E and --num-threads among them.

    Without -F, which writes a stream for a pipe: /init adds it where it writes to one, whatever the target is then
    (kdump.sh).
    """
    try:
        given = [(flag, value) for flag, value in flags(text) if flag != "-F"]
    except getopt.GetoptError:  # which check() tells
        return [word for word in text.split()[1:] if word != "-F"]
    return [word for pair in given for word in pair if word]


def check(collector: Collector, help_text: str) -> List[Problem]:
    """What cannot work with this host's makedumpfile, whose -h text is given.

    Its own --check-params accepts a compression that it was built without, and ignores it in the crash.
    """
    if collector.name != "makedumpfile":
        return []
    try:
        given = [name for name, _value in flags(collector.command)]
    except getopt.GetoptError as error:
        return [_problem(collector, "makedumpfile does not take this: %s" % error, "See makedumpfile --help.")]
    problems = []
    for flag in given:
        compression = COMPRESSIONS.get(flag, "zlib")
        named = _NAMES.get(compression, compression)
        if compression != "zlib" and not re.search(r"\b%s support:\s+enabled" % named, help_text):
            what = "this host's makedumpfile is built without %s, which %s asks for" % (named, flag)
            problems.append(_problem(collector, what, "Use -c (zlib), which every makedumpfile has."))
        if flag in _FILES:
            what = "%s needs %s, which is not in the capture image" % (flag, _FILES[flag])
            problems.append(_problem(collector, what, "Leave it out and filter the vmcore afterwards."))
    return problems


def _problem(collector: Collector, what: str, hint: str) -> Problem:
    return Problem("core_collector: %s." % what, hint, "core_collector", collector.command)
