# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""kdump.conf: read, checked and edited. Private to this collection.

Reading never fails: what is wrong is listed beside what was understood.
"""

import itertools
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from .conf_collector import check_with_target, fit, warn_collector
from .conf_directives import (
    COMMAND,
    DIRECTIVES,
    FLAG,
    LIST,
    TARGETS,
    YES_NO,
    canonical,
    mount_argument,
    unknown_name,
)
from .conf_text import Line, edit_lines, lex, uncarried
from .problems import KdumpError, Problem, shown
from .scalars import scalar

# Who meets a file of garbage does not want each line of it told.
MOST_PROBLEMS = 100
NEW_FILE = "# Written by the Ansible collection vmcore.kdump; lines that it does not set are kept. See kdump.conf(5).\n"


class Target(NamedTuple):
    """Where the dump goes. `kind` is a directive (ext4 … ssh), `mount` for dracut_args --mount, whose four words are
    the location, or `path` where no target is named: the file system that holds the location, an absolute path."""

    kind: str
    location: str


class Conf(NamedTuple):
    """`options` by today's names, those with a value; `problems` that kdump would fail on or misread."""

    options: Dict[str, str]
    target: Target
    problems: List[Problem]
    warnings: List[Problem]

    def get(self, name: str) -> str:
        """A directive's value, or kdump's default; "" where there is none."""
        value = self.options.get(name, DIRECTIVES[name].default)
        return value if name in self.options or name != "core_collector" else fit(value, self.target.kind)


def parse(text: str) -> Conf:
    """A kdump.conf, by its text alone."""
    lines = [line for line in lex(text.replace("\r\n", "\n").replace("\0", "")) if line.name]
    options = {canonical(line.name): line.value for line in lines if line.value and canonical(line.name) in DIRECTIVES}
    target = _target(options)
    found = itertools.chain(
        _text_problems(text), _line_problems(lines), _target_problems(options), _combination_problems(options, target)
    )
    problems = list(itertools.islice(found, MOST_PROBLEMS))
    warnings = list(warn_collector(options["core_collector"])) if "core_collector" in options else []
    return Conf(options, target, problems, warnings)


def _target(options: Dict[str, str]) -> Target:
    for name in TARGETS:
        if name in options:
            return Target(name, options[name].replace('"', ""))
    mount = mount_argument(options.get("dracut_args", ""))
    if mount:
        return Target("mount", " ".join(mount))
    return Target("path", options.get("path", DIRECTIVES["path"].default))


def _text_problems(text: str) -> Iterator[Problem]:
    if "\0" in text:
        hint = "Write the file anew, as text."
        yield Problem("kdump.conf holds NUL bytes, and kdump then reads nothing of it.", hint)
    if any(line.name and line.raw.endswith("\r") for line in lex(text)):
        hint = "Convert it: sed -i 's/\\r$//' on the file. kdump takes the carriage return for a part of each value."
        yield Problem("kdump.conf has the line ends of Windows.", hint)


def _line_problems(lines: List[Line]) -> Iterator[Problem]:
    seen = set()
    for line in lines:
        name = canonical(line.name)
        if name not in DIRECTIVES:
            yield unknown_name(line.name, line.value)
            continue
        if name in seen:
            hint = "Keep one line" + (
                ", with all the words on it." if DIRECTIVES[name].kind in (LIST, COMMAND) else " (`default` is the old "
                "name of failure_action)." if name == "failure_action" else "."
            )  # fmt: skip
            yield Problem("%s is set more than once." % name, hint, name, shown(line.value))
        seen.add(name)
        if not line.value:
            yield Problem("%s has no value." % line.name, "Give it one, or remove the line.", line.name)
        elif re.search("[\udc80-\udcff]", line.value):
            hint = "Write it in UTF-8."
            yield Problem("%s has a value that is not UTF-8." % line.name, hint, line.name, shown(line.value))
        else:
            yield from DIRECTIVES[name].check(name, line.value)


def _target_problems(options: Dict[str, str]) -> Iterator[Problem]:
    named = [name for name in TARGETS if name in options]
    if "--mount" in options.get("dracut_args", ""):
        named.append("dracut_args --mount")
    if len(named) > 1:
        hint = "kdump takes one dump target: keep one of %s." % ", ".join(named)
        yield Problem("There is more than one dump target.", hint, named[-1].split()[0])


def _combination_problems(options: Dict[str, str], target: Target) -> Iterator[Problem]:
    if options.get("force_rebuild") == options.get("force_no_rebuild") == "1":
        hint = "Remove one of the two."
        yield Problem("force_rebuild and force_no_rebuild exclude each other.", hint, "force_no_rebuild", "1")
    if "core_collector" in options:
        yield from check_with_target(options["core_collector"], target.kind)


# --- editing -------------------------------------------------------------------------------------------------------
def edit(text: str, options: Dict[str, Any], remove: List[str], purge: bool) -> str:
    """As attempt(), with KdumpError for what no line can hold. Whether the result makes sense is parse()'s to say."""
    edited, problems = attempt(text, options, remove, purge)
    if problems:
        raise KdumpError(problems)
    return edited


def attempt(text: str, options: Dict[str, Any], remove: List[str], purge: bool) -> Tuple[str, List[Problem]]:
    """The text of kdump.conf with these options set and the names in `remove` gone; with `purge`, no other options.

    With it, the problems of the options that no line can hold, which are left out. Values are as YAML gives them: text,
    numbers, booleans for what is 0 or 1 or yes or no, lists for what takes words. makedumpfile's -F is put in or taken
    out as the target needs it, because kdump fails otherwise.
    """
    wanted: Dict[str, str] = {}
    problems: List[Problem] = []
    for name, value in options.items():
        found, wrong = _asked(str(name), value)
        wrong += _contradictions(str(name), wanted, remove)
        problems += wrong
        if not wrong:
            wanted[canonical(str(name))] = found
    edited = edit_lines(text, wanted, remove, purge)
    conf = parse(edited)
    collector = conf.options.get("core_collector", "")
    if collector != fit(collector, conf.target.kind):
        edited = edit_lines(edited, {"core_collector": fit(collector, conf.target.kind)}, [], False)
    return edited, problems


def _asked(name: str, value: Any) -> Tuple[str, List[Problem]]:
    """The text that an option asks for, and what is wrong with that."""
    if canonical(name) not in DIRECTIVES:
        return "", [unknown_name(name, str(value))]
    text, complaint, hint = _text(DIRECTIVES[canonical(name)].kind, value)
    if complaint:
        return "", [Problem("%s %s" % (name, complaint), hint, name, "" if value is None else shown(str(value)))]
    problem = uncarried(name, text)
    return text, [problem] if problem else []


def _text(kind: str, value: Any) -> Tuple[str, str, str]:
    """A value as one line, or what is wrong with it and the remedy."""
    if isinstance(value, bool) and kind in (FLAG, YES_NO):
        return {FLAG: "01", YES_NO: ("no", "yes")}[kind][value], "", ""
    if isinstance(value, list) and kind in (LIST, COMMAND):
        words = [scalar(word) for word in value]
        if all(words) and not (kind == LIST and any(len(word.split()) > 1 for word in words)):
            return " ".join(words), "", ""
        return "", "holds a word that is none.", "Each item is text without blanks, or a number."
    if isinstance(value, list):
        return "", "takes one value and not a list.", "Give it alone."
    if value is None:
        return "", "has no value.", "Give it one, or name it in `remove`."
    if value != "" and not scalar(value):
        return "", "is neither text nor a number.", "Put the value in quotes."
    return scalar(value), "", ""


def _contradictions(name: str, wanted: Dict[str, str], remove: List[str]) -> List[Problem]:
    problems = []
    if canonical(name) in wanted:
        problems.append(Problem("%s is given under its old and its new name." % canonical(name), "Give it once.", name))
    if canonical(name) in [canonical(other) for other in remove]:
        hint = "Leave it out of one of the two."
        problems.append(Problem("%s is in both options and remove." % name, hint, name))
    return problems
