# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The text of kdump.conf: its lines read as kdump-utils reads them, and changed one by one. Private to this collection.

Source: kdump_get_conf_val() in kdump-lib-initramfs.sh (kdump-utils 1.0.61): a pipe of grep and the shell's read.
"""

import re
from typing import Dict, List, NamedTuple, Optional

from .conf_directives import DIRECTIVES, TARGETS, canonical, spellings, without_mount
from .problems import Problem, shown

_SPACE = " \t\n\v\f\r"
_SKIPPED = re.compile(r"[ \t\v\f\r]*(#|$)")
_DIRECTIVE = re.compile(r"(?P<indent>[ \t]*)(?P<name>[^ \t]+)(?P<gap>[ \t]*)(?P<rest>.*)", re.DOTALL)
_COMMENT = re.compile(r"[ \t]+#.*", re.DOTALL)


class Line(NamedTuple):
    """One line: `raw` as written, without its end; name and value of its directive, both "" on a comment or blank."""

    raw: str
    name: str = ""
    value: str = ""


def lex(text: str) -> List[Line]:
    """The lines of kdump.conf. What follows the last line end, were it nothing, is a line too."""
    return [_line(raw) for raw in text.split("\n")]


def _line(raw: str) -> Line:
    found = _DIRECTIVE.match(raw)
    if _SKIPPED.match(raw) or not found:
        return Line(raw)
    value = found.group("rest").rstrip(" \t")
    if "#" in value:
        value = value.partition("#")[0].rstrip(_SPACE)
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return Line(raw, found.group("name"), value)


def uncarried(name: str, value: str) -> Optional[Problem]:
    """Why a line of kdump.conf cannot carry a value; None when it can."""
    if not value.strip(_SPACE):
        return Problem("%s has no value." % shown(name), "Give it one, or name it in `remove`.", name)
    if "#" in value:
        hint = "kdump.conf cuts every value at the first `#`, and knows no way around it: use a name without one."
    elif value != value.strip(_SPACE):
        hint = "Remove the blanks at its ends: kdump.conf cannot hold them."
    elif not all(char.isprintable() or char == "\t" for char in value):
        hint = "A value is one line of printable text."
    else:
        return None
    return Problem("%s cannot be %s in kdump.conf." % (shown(name), shown(value)), hint, name, shown(value))


def edit_lines(text: str, options: Dict[str, str], remove: List[str], purge: bool) -> str:
    """The text with these directives and without those; every other line as it was.

    Names are today's spellings, values can be carried. A directive that is there changes on its line, its further lines
    go; a new one follows its commented-out example or goes to the end. A target takes the line of the target before it.
    """
    lines: List[Optional[Line]] = list(lex(text))
    unwanted = {canonical(name) for name in remove}
    asked_target = any(name in TARGETS for name in options) or "--mount" in options.get("dracut_args", "")
    for name in [name for name in DIRECTIVES if name in options]:
        _set(lines, name, options)
    for number, line in enumerate(lines):
        if line is None or not line.name:
            continue
        name = canonical(line.name)
        if name in options:
            continue
        if purge or name in unwanted or (asked_target and name in TARGETS):
            lines[number] = None
        elif asked_target and name == "dracut_args" and "--mount" in line.value:
            lines[number] = _changed(line, name, without_mount(line.value))
    return "\n".join(line.raw for line in lines if line is not None)


def _set(lines: List[Optional[Line]], name: str, options: Dict[str, str]) -> None:
    places = [number for number, line in enumerate(lines) if line and canonical(line.name) == name]
    if not places and name in TARGETS:
        others = [number for number, line in enumerate(lines) if line and line.name in TARGETS]
        places = [number for number in others if lines[number].name not in options][:1]  # type: ignore[union-attr]
    if not places:
        _insert(lines, name, options[name])
        return
    lines[places[0]] = _changed(lines[places[0]], name, options[name])
    for number in places[1:]:
        lines[number] = None


def _insert(lines: List[Optional[Line]], name: str, value: str) -> None:
    """A new line: below the last commented-out example of its directive (`#path /var/crash`), else at the end."""
    examples = re.compile("#(%s)[ \t]" % "|".join(spellings(name)))
    found = [number for number, line in enumerate(lines) if line and examples.match(line.raw)]
    new = _changed(None, name, value)
    if found:
        lines.insert(found[-1] + 1, new)
    elif lines[-1] is None or lines[-1].raw:
        lines.extend([new, Line("")])  # the last line had no line end: give it one
    else:
        lines.insert(len(lines) - 1, new)


def _changed(line: Optional[Line], name: str, value: str) -> Optional[Line]:
    """A line with another value, its indentation and its trailing comment kept; None for no value."""
    if not value:
        return None
    if line and (line.name, line.value) == (name, value):
        return line
    written = '"%s"' % value if len(value) >= 2 and value[0] == value[-1] == '"' else value
    found = _DIRECTIVE.match(line.raw) if line else None
    if not found:
        return Line("%s %s" % (name, written), name, value)
    comment = _COMMENT.search(found.group("gap") + found.group("rest"))
    raw = found.group("indent") + name + (found.group("gap") or " ") + written + (comment.group() if comment else "")
    return Line(raw, name, value)
