# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel command lines as lists of arguments, split as the kernel does it. Private to this collection.

Source: next_arg() in lib/cmdline.c: blanks separate arguments except inside double quotes; there are no escapes.
Arguments are kept as written, quotes included, so that join(split(line)) changes blanks only.
"""

from typing import Iterable, List

_BLANKS = " \t\n\v\f\r"


def split(line: str) -> List[str]:
    """The arguments of a command line, each as written. A missing closing quote runs to the end, as in the kernel."""
    arguments: List[str] = []
    current = ""
    quoted = False
    for char in line:
        if char in _BLANKS and not quoted:
            if current:
                arguments.append(current)
            current = ""
            continue
        quoted ^= char == '"'
        current += char
    return arguments + [current] if current else arguments


def join(arguments: Iterable[str]) -> str:
    return " ".join(arguments)


def key(argument: str) -> str:
    """The name of an argument: what stands before the first `=`, without the quote that may open it."""
    return argument.split("=", 1)[0].lstrip('"')


def keys(line: str) -> List[str]:
    """The keys of a line's arguments."""
    return [key(argument) for argument in split(line)]


def values(arguments: Iterable[str], name: str) -> List[str]:
    """The values given to a name, in order, unquoted; "" for a bare flag."""
    found = []
    for argument in arguments:
        if _same(key(argument), name):
            found.append(argument.partition("=")[2].strip('"'))
    return found


def without(arguments: Iterable[str], names: Iterable[str]) -> List[str]:
    """The arguments but for those with one of these names."""
    unwanted = [_fold(name) for name in names]
    return [argument for argument in arguments if _fold(key(argument)) not in unwanted]


def _same(left: str, right: str) -> bool:
    return _fold(left) == _fold(right)


def _fold(name: str) -> str:
    """`-` and `_` are the same in a parameter's name (parameq() in kernel/params.c)."""
    return name.replace("-", "_")
