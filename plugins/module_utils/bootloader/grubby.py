# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""grubby, the Red Hat family's tool for boot entries: its argument lists and its output. Private to this collection.

Source: grubby-bls of grubby 8.40-63.el9; tests/contract/transcripts/grubby-8.40-63.el9.txt is what it prints. It exits with 0
also where it changed nothing, so nothing is believed but a further `grubby --info`.
"""

import re
from typing import Any, Dict, List, NamedTuple, Sequence

from .. import crashkernel
from ..plan import Plan, Step
from ..problems import KdumpError, Problem, fail
from .bls import KERNEL_CMDLINE
from .entry import Entry, arguments, select, shown, wrong

_LINE = re.compile(r'([a-z]+)=(?:"(.*)"|(.*))\Z')  # greedy: args="…" may hold double quotes


class Info(NamedTuple):
    """One entry as `grubby --info` prints it. `args` is the command line without root=."""

    kernel: str
    args: str
    title: str
    id: str


def missing(host: Any) -> str:
    if not host.which("grubby"):
        return "grubby is missing"
    if host.glob("/boot/loader/entries/*.conf") or host.is_file("/boot/grub2/grub.cfg"):
        return ""
    return "grubby has neither /boot/loader/entries nor /boot/grub2/grub.cfg to work on"


def entries(host: Any) -> List[Entry]:
    printed = _asked(host, info_argv("ALL"))
    default = _asked(host, ["grubby", "--default-kernel"]).strip() if printed.strip() else ""
    return [
        Entry(
            info.title or info.id or info.kernel,
            info.kernel,
            tuple(crashkernel.find(info.args)),
            info.kernel == default,
        )
        for info in parse_info(printed)
    ]


def plan(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Plan:
    """One call for each of ALL, DEFAULT or a path that has a wrong entry, then the reading back."""
    now = entries(host)
    chosen = select(now, kernels)
    selectors = [kernel for kernel in kernels if wrong(select(now, [kernel]), values)]
    if not selectors:
        return Plan([])
    after = [entry._replace(values=tuple(values)) if entry in chosen else entry for entry in now]
    return Plan(
        [
            Step(
                "; ".join(" ".join(update_argv(selector, values)) for selector in selectors),
                lambda host: _apply(host, selectors, values),
                "".join(shown(entry) for entry in now),
                "".join(shown(entry) for entry in after),
            )
        ]
    )


def notes(host: Any) -> List[Problem]:
    return []


def info_argv(selector: str) -> List[str]:
    return ["grubby", "--info=" + selector]


def update_argv(selector: str, values: Sequence[str]) -> List[str]:
    """--args takes every argument of that name out first, then adds all that are given in the one call."""
    change = "--args=" + arguments(values) if values else "--remove-args=crashkernel"
    return ["grubby", "--update-kernel=" + selector, change]


def parse_info(text: str) -> List[Info]:
    """The entries that `grubby --info` prints; lines that are not `name="value"` are passed over. Never raises."""
    found: List[Dict[str, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        name, quoted, bare = match.groups()
        if name == "index":
            found.append({})
        if found:
            found[-1][name] = bare if quoted is None else quoted
    return [
        Info(one["kernel"], one.get("args", ""), one.get("title", ""), one.get("id", ""))
        for one in found
        if one.get("kernel")
    ]


def difference(infos: Sequence[Info], selector: str, default: str, values: Sequence[str]) -> List[Problem]:
    """What `grubby --info=ALL`, read after the change, shows to be other than wanted."""
    meant = [
        info for info in infos if selector == "ALL" or info.kernel == (default if selector == "DEFAULT" else selector)
    ]
    problems = (
        []
        if meant
        else [
            Problem(
                "After the change grubby has no entry for %s." % selector,
                "Look at `grubby --info=ALL`.",
                "kernels",
                selector,
            )
        ]
    )
    for info in meant:
        found = crashkernel.find(info.args)
        if not crashkernel.same(found, values):
            problems.append(
                Problem(
                    "grubby reported success, but the entry '%s' has %s where %s is wanted."
                    % (info.title, arguments(found) or "no crashkernel=", arguments(values) or "none"),
                    "Look at its file in /boot/loader/entries and at free space in /boot.",
                    "value",
                    " ".join(found),
                )
            )
    return problems


def _asked(host: Any, argv: List[str]) -> str:
    result = host.run(argv)
    if result.rc != 0:
        raise fail(
            "%s failed (exit code %d): %s"
            % (" ".join(argv), result.rc, (result.err + result.out).strip() or "it printed nothing."),
            "Run it by hand and repair what it complains about.",
        )
    return result.out


def _apply(host: Any, selectors: Sequence[str], values: Sequence[str]) -> None:
    """Run grubby and read back what it did.

    With ALL it makes a missing /etc/kernel/cmdline out of the entry it came to last, often the rescue entry, and the
    next kernel installed boots with that: so a file that was not there is taken away again.
    """
    had_cmdline = host.exists(KERNEL_CMDLINE)
    problems: List[Problem] = []
    try:
        for selector in selectors:
            _asked(host, update_argv(selector, values))
            default = _asked(host, ["grubby", "--default-kernel"]).strip() if selector == "DEFAULT" else ""
            problems += difference(parse_info(_asked(host, info_argv("ALL"))), selector, default, values)
    finally:
        if not had_cmdline:
            host.remove(KERNEL_CMDLINE)
    if problems:
        raise KdumpError(problems)
