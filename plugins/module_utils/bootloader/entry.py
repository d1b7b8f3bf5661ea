# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the boot loaders have in common: entries, which of them are meant, editing a line. Private to this collection.

Every boot loader module here has the same functions, each given a Host:
  missing(host) -> str                          why it cannot be used on this host; "" when it can
  entries(host) -> List[Entry]                  what boots with which crashkernel= values
  plan(host, values, kernels) -> Plan           what is to be done for the meant entries to have these values ([]: none)
  notes(host) -> List[Problem]                  what this boot loader has that is out of its reach
"""

import re
from typing import List, NamedTuple, Sequence, Tuple

from .. import crashkernel
from ..problems import KdumpError, Problem, fail

# As arguments are divided; a leading quote belongs to an argument that is quoted whole.
_FIRST = re.compile(r'\A"?crashkernel=\S*[ \t]*')
_LATER = re.compile(r'[ \t]+"?crashkernel=\S*')
_ARGUMENT = re.compile(r'(?:(?<=[ \t])|\A)"?crashkernel=\S*')


class Entry(NamedTuple):
    """One choice of a boot menu: its kernel's path, the values of its crashkernel= arguments, whether it boots next."""

    name: str
    kernel: str
    values: Tuple[str, ...]
    default: bool = False


def arguments(values: Sequence[str]) -> str:
    return " ".join("crashkernel=" + value for value in values)


def shown(entry: Entry) -> str:
    """One line of a diff."""
    return "%s: %s\n" % (entry.name, arguments(entry.values) or "no crashkernel=")


def check_kernels(kernels: Sequence[str]) -> List[Problem]:
    """What is wrong with a choice of kernels by its text alone."""
    problems = []
    if not kernels:
        problems.append(Problem("No kernel is named.", "Use ALL, DEFAULT or paths of kernels.", "kernels", ""))
    for kernel in kernels:
        if kernel not in ("ALL", "DEFAULT") and not kernel.startswith("/"):
            problems.append(
                Problem(
                    "'%s' is not ALL, DEFAULT or the absolute path of a kernel." % kernel,
                    "Use for example /boot/vmlinuz-6.12.0-1-amd64.",
                    "kernels",
                    kernel,
                )
            )
    if "ALL" in kernels and len(kernels) > 1:
        problems.append(Problem("ALL stands beside other kernels.", "Use ALL alone.", "kernels", ",".join(kernels)))
    return problems


def select(entries: Sequence[Entry], kernels: Sequence[str]) -> List[Entry]:
    """The entries that ALL, DEFAULT or paths mean; KdumpError with every path that no entry has."""
    if not entries:
        raise fail("There is no boot entry for a Linux kernel.", "Install a kernel, or name the right bootloader.")
    problems = []
    for kernel in kernels:
        if kernel == "DEFAULT" and not any(entry.default for entry in entries):
            problems.append(
                Problem(
                    "Which boot entry is the default cannot be told.",
                    "Name kernels by path, or use ALL.",
                    "kernels",
                    kernel,
                )
            )
        elif kernel.startswith("/") and kernel not in [entry.kernel for entry in entries]:
            problems.append(
                Problem(
                    "No boot entry has the kernel %s." % kernel,
                    "There are: %s." % ", ".join(sorted({entry.kernel for entry in entries})),
                    "kernels",
                    kernel,
                )
            )
    if problems:
        raise KdumpError(problems)
    return [
        entry
        for entry in entries
        if "ALL" in kernels or entry.kernel in kernels or ("DEFAULT" in kernels and entry.default)
    ]


def wrong(entries: Sequence[Entry], values: Sequence[str]) -> List[Entry]:
    """Those of the entries that do not have these values."""
    return [entry for entry in entries if not crashkernel.same(entry.values, values)]


def edit(lines: Sequence[str], values: Sequence[str]) -> List[str]:
    """Lines of one kernel command line with exactly these values, everything else as it was, byte for byte.

    The values come where the first one stood, or else at the end of the last line, before its blanks.
    """
    new = arguments(values)
    edited = []
    for line in lines:
        first = _ARGUMENT.search(line) if new else None
        if first:
            edited.append(line[: first.start()] + new + _LATER.sub("", line[first.end() :]))
            new = ""
        else:
            edited.append(_FIRST.sub("", _LATER.sub("", line)))
    if new and edited:
        body = edited[-1].rstrip()
        edited[-1] = "".join((body, " " if body else "", new, edited[-1][len(body) :]))
    return edited
