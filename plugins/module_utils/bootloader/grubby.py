# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""grubby, the Red Hat family's tool for boot entries: its argument lists and its output. Private to this collection.

Source: grubby-bls of grubby 8.40-63.el9 (openela-main/grubby, cbbcf023df84); tests/contract/bin/grubby tells as a program
what it does, tests/contract/transcripts/grubby-8.40-63.el9.txt is what it printed. It exits with 0 also where it changed
nothing, so nothing is believed but a further `grubby --info` and the files. What it cannot edit without damage is refused
before it runs; what it damages all the same is put back.
"""

import re
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .. import cmdline, crashkernel
from ..plan import Plan, Step
from ..problems import KdumpError, Problem, fail
from . import bls, newkernels, zipl
from .entry import Entry, arguments, hidden_problems, others, select, shown, texts, together, write_step, wrong

ENTRIES = "/boot/loader/entries"
_LINE = re.compile(r'([a-z]+)=(?:"(.*)"|(.*))\Z')  # greedy: args="…" may hold double quotes


class Info(NamedTuple):
    """One entry as `grubby --info` prints it. `args` is the command line without root=."""

    number: str  # its index
    kernel: str
    args: str
    root: str
    title: str
    id: str

    @property
    def line(self) -> str:
        return ("root=%s %s" % (self.root, self.args)).strip() if self.root else self.args

    @property
    def path(self) -> str:
        return "%s/%s.conf" % (ENTRIES, self.id)

    @property
    def is_rescue(self) -> bool:
        """dracut's, whose arguments are fewer by design (51-dracut-rescue.install)."""
        return "-0-rescue" in self.id


def missing(host: Any) -> str:
    if not host.which("grubby"):
        return "grubby is missing"
    if not host.glob(ENTRIES + "/*.conf"):
        return (
            "grubby changes nothing on this host, and would say that it did: there are no boot loader entries in %s "
            "(grub2-switch-to-blscfg makes them)" % ENTRIES
        )
    return bls.unread(host)


def entries(host: Any) -> List[Entry]:
    return _entries(*_listed(host))


def _listed(host: Any) -> Tuple[List[Info], str]:
    """All entries, and the index of the one that boots next, "" where grubby does not know."""
    infos = parse_info(_asked(host, info_argv("ALL")))
    return infos, _asked(host, ["grubby", "--default-index"]).strip() if infos else ""


def _entries(infos: Sequence[Info], default: str) -> List[Entry]:
    return [
        Entry(
            info.title or info.id or info.kernel,
            info.kernel,
            tuple(crashkernel.find(info.args)),
            info.number == default,
        )
        for info in infos
    ]


def plan(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Plan:
    """The files of later kernels first, then one call for each of ALL, DEFAULT or a path that has a wrong entry, then zipl.

    Killed anywhere in between, a host has whole files, and the next run finds what is left to do.
    """
    infos, default = _listed(host)
    now = _entries(infos, default)
    chosen = select(now, kernels)
    selectors = [kernel for kernel in kernels if wrong(select(now, [kernel]), values)]
    if "ALL" in kernels and not _kernelopts_right(host, infos, values):
        selectors = ["ALL"]
    _refuse(host, [info for info, entry in zip(infos, now) if entry in chosen] if selectors else [])
    changes = []
    if "ALL" in kernels:
        model = cmdline.split(_model(infos, default).line)
        found = [
            newkernels.default_grub(host, values),
            newkernels.kernel_cmdline(host, values, model, rewritten=bool(selectors)),
        ]
        changes = [change for change in found if change is not None]
    after = [entry._replace(values=tuple(values)) if entry in chosen else entry for entry in now]
    steps = [write_step(change) for change in changes]
    if selectors:
        steps.append(_step(host, selectors, values, now, after))
    steps += zipl.steps(host, [info.path for info in infos], after, bool(selectors))
    return Plan(together(steps, texts(host, _touched(host))))


def _step(host: Any, selectors: Sequence[str], values: Sequence[str], now: List[Entry], after: List[Entry]) -> Step:
    return Step(
        "; ".join(" ".join(update_argv(selector, values)) for selector in selectors),
        lambda host: _apply(host, selectors, values),
        "".join(shown(entry) for entry in now),
        "".join(shown(entry) for entry in after),
    )


def _touched(host: Any) -> List[str]:
    """Every file that grubby or a plan of this module writes."""
    grubenv = bls.grubenv_path(host)
    files = host.glob(ENTRIES + "/*.conf") + [newkernels.DEFAULT_GRUB, newkernels.KERNEL_CMDLINE]
    return files + ([grubenv] if grubenv else [])


def _model(infos: Sequence[Info], default: str) -> Info:
    """The entry that stands for what later kernels boot with: the next to boot, or the newest; never a rescue entry."""
    usual = [info for info in infos if not info.is_rescue] or list(infos)
    return next((info for info in usual if info.number == default), usual[0])


def _kernelopts_right(host: Any, infos: Sequence[Info], values: Sequence[str]) -> bool:
    """Whether grubenv's kernelopts has the values; KdumpError where entries use it and it is not there, or has no room."""
    kernelopts = bls.grubenv_kernelopts(host)
    files = [bls.read(info.path, host.read_text(info.path, ""), "/boot") for info in infos]
    if kernelopts is None and not any(file and bls.uses_kernelopts(file) for file in files):
        return True
    bls.grubenv_change(host, values, ["ALL"])
    return crashkernel.same(crashkernel.find(kernelopts or ""), values)


def _refuse(host: Any, infos: Sequence[Info]) -> None:
    """KdumpError naming every entry whose arguments grubby's sed commands would damage."""
    problems = zipl.problems(host)
    for info in infos:
        problems += hidden_problems("The boot entry '%s'" % info.title, info.line)
        lines = _options(host, info)
        shared = "$kernelopts" in lines[0] and bls.grubenv_kernelopts(host)
        reason = _unfit(lines, shared or "")
        if reason:
            problems.append(
                Problem(
                    "grubby would damage the boot entry '%s': %s." % (info.title, reason),
                    "Nothing was changed. Use bootloader: bls, which edits the files itself.",
                    "bootloader",
                    info.path,
                )
            )
    if problems:
        raise KdumpError(problems)


def _options(host: Any, info: Info) -> List[str]:
    """The entry's options as the file has them, line by line: what grubby prints has lost some of the blanks."""
    return re.findall(r"^options[ \t]+(.*)", host.read_text(info.path, ""), re.MULTILINE) or [info.line]


def _unfit(lines: Sequence[str], shared: str) -> str:
    """Why grubby cannot edit an entry's options; "" when it can. Its update_args and set_bls_value are echo and sed.

    `shared`: grubenv's kernelopts where the options refer to it, which sed puts there, too.
    """
    if len(lines) > 1:
        return "it has more than one line of options, which it would write into each of them"
    marks = sorted(set(re.findall(r"[&\\]", lines[0] + shared)))
    if marks:
        return "its arguments hold %s, which sed takes for a command of its own" % " and ".join(marks)
    if any(re.search(r"\s\s|[^\S ]", argument) for argument in cmdline.split(lines[0])):
        return "an argument holds blanks that it would not keep"
    return ""


def notes(host: Any, values: Sequence[str], kernels: Sequence[str]) -> List[Problem]:
    usual = [info for info in _listed(host)[0] if not info.is_rescue]
    lines = [others(info.line) for info in usual]
    return newkernels.notes(host, values, kernels, lines, bls.grubenv_kernelopts(host))


def info_argv(selector: str) -> List[str]:
    return ["grubby", "--info=" + selector]


def update_argv(selector: str, values: Sequence[str]) -> List[str]:
    """--args takes every argument of that name out first, then adds all that are given in the one call.

    /etc/default/grub is newkernels' business. That option comes last: grubby loses the one after it.
    """
    change = "--args=" + arguments(values) if values else "--remove-args=crashkernel"
    return ["grubby", "--update-kernel=" + selector, change] + (["--no-etc-grub-update"] if selector == "ALL" else [])


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
    names = ("index", "kernel", "args", "root", "title", "id")
    return [Info(*[one.get(name, "") for name in names]) for one in found if one.get("kernel")]


def difference(infos: Sequence[Info], selector: str, default: str, values: Sequence[str]) -> List[Problem]:
    """What `grubby --info=ALL`, read after the change, shows to be other than wanted. `default` is an index."""
    meant = [
        info for info in infos if selector in ("ALL", info.kernel) or (selector == "DEFAULT" and info.number == default)
    ]
    problems = []
    if not meant:
        problem = "After the change grubby has no entry for %s." % selector
        problems.append(Problem(problem, "Look at `grubby --info=ALL`.", "kernels", selector))
    for info in meant:
        found = crashkernel.find(info.args)
        if not crashkernel.same(found, values):
            problems.append(_lie("the entry '%s'" % info.title, found, values))
    return problems


def _lie(where: str, found: Sequence[str], values: Sequence[str]) -> Problem:
    return Problem(
        "grubby reported success, but %s has %s where %s is wanted."
        % (where, arguments(found) or "no crashkernel=", arguments(values) or "none"),
        "Look at its file (%s) and at free space in /boot." % ENTRIES,
        "value",
        " ".join(found),
    )


def _asked(host: Any, argv: List[str]) -> str:
    result = host.run(argv)
    if result.rc != 0:
        raise fail(
            "%s failed (exit code %d): %s"
            % (" ".join(argv), result.rc, (result.err + result.out).strip() or "it printed nothing."),
            "Run it by hand and repair what it complains about.",
        )
    return str(result.out)


def _apply(host: Any, selectors: Sequence[str], values: Sequence[str]) -> None:
    """Run grubby and read back what it did: the entries, and the files of later kernels."""
    before = _listed(host)[0]
    kept = bls.grubenv_kernelopts(host), newkernels.joined(host.read_text(newkernels.KERNEL_CMDLINE, ""))
    problems: List[Problem] = []
    for selector in selectors:
        _asked(host, update_argv(selector, values))
        infos, index = _listed(host)
        problems += difference(infos, selector, index, values)
        if selector == "ALL":
            now = bls.grubenv_kernelopts(host), newkernels.joined(host.read_text(newkernels.KERNEL_CMDLINE, ""))
            problems += _others_changed("kernelopts in grubenv", kept[0] or "", now[0] or "")
            problems += _others_changed(newkernels.KERNEL_CMDLINE, kept[1], now[1])
            for where, line in (("kernelopts in grubenv", now[0]), (newkernels.KERNEL_CMDLINE, now[1])):
                if line is not None and not crashkernel.same(crashkernel.find(line), values):
                    problems.append(_lie(where, crashkernel.find(line), values))
    after = {info.id: info for info in _listed(host)[0]}
    for info in before:
        if info.id in after:
            problems += _others_changed("the entry '%s'" % info.title, info.line, after[info.id].line)
    if problems:
        raise KdumpError(problems)


def _others_changed(where: str, before: str, after: str) -> List[Problem]:
    if others(before) == others(after):
        return []
    return [
        Problem(
            "grubby changed more than crashkernel= in %s: '%s' became '%s'."
            % (where, cmdline.join(others(before)), cmdline.join(others(after))),
            "Use bootloader: bls, which edits the files itself.",
            "bootloader",
            where,
        )
    ]
