# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the boot loaders have in common: entries, which of them are meant, editing a line. Private to this collection.

Every boot loader module here has the same functions, each given a Host:
  missing(host) -> str                          why it cannot be used on this host; "" when it can
  entries(host) -> List[Entry]                  what boots with which crashkernel= values
  plan(host, values, kernels) -> Plan           what is to be done for the meant entries to have these values ([]: none)
  notes(host, values, kernels) -> List[Problem] what stays out of its reach when that is done
"""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import cmdline, crashkernel
from ..plan import Step
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


class Change(NamedTuple):
    """A file to be written: its text as it is (None: there is none) and as it shall be."""

    path: str
    before: Optional[str]
    after: str


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


def others(line: str) -> List[str]:
    """The arguments of a command line but for crashkernel=: those that no edit may change."""
    return cmdline.without(cmdline.split(line), ["crashkernel"])


def hidden(line: str) -> List[str]:
    """Arguments of another name that hold crashkernel=, inside quotes or not.

    The kernel finds it there (get_last_crashkernel() in kernel/crash_reserve.c), and an edit would tear the argument.
    """
    return [argument for argument in others(line) if "crashkernel=" in argument]


def hidden_problems(where: str, line: str) -> List[Problem]:
    return [
        Problem(
            "%s has crashkernel= inside of another argument: %s." % (where, argument),
            "Nothing was changed. Take it out there by hand: the kernel reads it, and no edit could leave the rest whole.",
            "value",
            argument,
        )
        for argument in hidden(line)
    ]


# --- files that change together ------------------------------------------------------------------------------------
def write_step(change: Change) -> Step:
    return Step(
        "write " + change.path, lambda host: put(host, change.path, change.after), change.before or "", change.after
    )


def put(host: Any, path: str, text: Optional[str]) -> None:
    """Make a file what it was or shall be; None: none."""
    if text is None:
        host.remove(path)
    else:
        host.write(path, text.encode("utf-8", "surrogateescape"))


def texts(host: Any, paths: Sequence[str]) -> Dict[str, Optional[str]]:
    """The files as they are, None for one that is not there."""
    return {path: host.read_text(path) if host.exists(path) else None for path in paths}


def together(steps: Sequence[Step], saved: Dict[str, Optional[str]]) -> List[Step]:
    """The steps, where one that fails puts all of these files back, so that the entries stay alike."""
    return [step._replace(apply=_guarded(step, saved)) for step in steps]


def _guarded(step: Step, saved: Dict[str, Optional[str]]) -> Callable[[Any], None]:
    def apply(host: Any) -> None:
        try:
            step.apply(host)
        except KdumpError as error:
            raise KdumpError(error.problems + _put_back(host, saved)) from error
        except OSError as error:
            reason = "Could not %s: %s." % (step.title, error.strerror)
            problem = Problem(reason, "Is its file system full or read-only?")
            raise KdumpError([problem] + _put_back(host, saved)) from error

    return apply


def _put_back(host: Any, saved: Dict[str, Optional[str]]) -> List[Problem]:
    """Put the files back; what is said of it. An entry that is gone was removed with its kernel, and stays away."""
    failed = []
    for path, text in saved.items():
        try:
            now = host.read_text(path) if host.exists(path) else None
            if now != text and not (now is None and path.endswith(".conf")):
                put(host, path, text)
        except OSError as error:
            failed.append(
                Problem(
                    "%s could not be put back: %s." % (path, error.strerror),
                    "It may be different from the others now: look at it before the next boot.",
                )
            )
    return failed or [Problem("All boot entries are as they were before.", "Nothing has to be undone by hand.")]
