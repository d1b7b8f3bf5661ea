# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the Red Hat family's kernels that are installed later take their arguments from. Private to this collection.

/etc/default/grub    GRUB_CMDLINE_LINUX. grub2-mkconfig makes kernelopts (EL8) and the entries' options (EL9 up to 9.2)
                     anew from it; from 9.3 on it leaves the entries alone without --update-bls-cmdline.
/etc/kernel/cmdline  what kernel-install gives to a new entry. Without it that is /proc/cmdline: the arguments of the last
                     boot, so not one that was set since.
kernelopts           in grubenv, for EL8's entries whose options are $kernelopts: see bls.grubenv_change().

grubby rewrites all three, but only with --update-kernel=ALL (grubby#55). Here the first two are written by this
collection: grubby (8.40-63.el9, update_bls_fragment) takes GRUB_CMDLINE_LINUX_DEFAULT for GRUB_CMDLINE_LINUX, loses the
escapes of quotes, passes over an empty value, keeps but the first line of /etc/kernel/cmdline, and makes a missing one of
the last entry there is, mostly the rescue entry, without the console= and the volumes of the others.
"""

from typing import Any, Dict, List, Optional, Sequence

from .. import cmdline, crashkernel, sysconfig
from ..problems import KdumpError, Problem, fail, in_file
from .entry import Change, arguments, edit, hidden_problems, others

DEFAULT_GRUB = "/etc/default/grub"
KERNEL_CMDLINE = "/etc/kernel/cmdline"
_LINUX, _NORMAL = "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"


def default_grub(host: Any, values: Sequence[str]) -> Optional[Change]:
    """GRUB_CMDLINE_LINUX with these values, and GRUB_CMDLINE_LINUX_DEFAULT without any; None where that is so."""
    if not _has_default_grub(host):
        return None
    text = host.read_text(DEFAULT_GRUB)
    settings = {}
    for name, old in _assigned(text).items():
        wanted = values if name == _LINUX else []
        if crashkernel.same(crashkernel.find(old), wanted):
            continue
        problems = hidden_problems("%s in %s" % (name, DEFAULT_GRUB), old)
        if problems:
            raise KdumpError(problems)
        settings[name] = edit([old], wanted)[0]
    return Change(DEFAULT_GRUB, text, in_file(DEFAULT_GRUB, sysconfig.edit, text, settings, [])) if settings else None


def _has_default_grub(host: Any) -> bool:
    """Whether that file is the Red Hat family's. On s390x zipl boots, and grubby does not look at it either."""
    return bool(host.is_dir("/boot/grub2") and host.is_file(DEFAULT_GRUB))


def _assigned(text: str) -> Dict[str, str]:
    """The two variables' values, the last of each; one that only a shell could tell is refused by name."""
    found = {_LINUX: ""}
    for entry in sysconfig.read(text):
        if entry.name not in (_LINUX, _NORMAL):
            continue
        if entry.why:
            raise fail(
                "%s in %s %s." % (entry.name, DEFAULT_GRUB, entry.why),
                'Write it as %s="…" on one line. grubby and grub2-mkconfig rewrite it as that, too.' % entry.name,
                "bootloader",
                DEFAULT_GRUB,
            )
        found[entry.name] = entry.value
    return found


def kernel_cmdline(host: Any, values: Sequence[str], model: Sequence[str], rewritten: bool) -> Optional[Change]:
    """/etc/kernel/cmdline with these values; None where it has them, or where there is none and nothing rewrites it.

    `rewritten`: grubby is going to. It needs a file of one line, and where there is none or an empty one (what a power cut
    in the middle of its own writing leaves), that is made of `model`, the arguments of the entry that boots next.
    """
    before = host.read_text(KERNEL_CMDLINE) if host.is_file(KERNEL_CMDLINE) else None
    line = joined(before or "")
    if not line and not rewritten:
        return None
    line = line or cmdline.join(argument for argument in model if not argument.startswith("$"))
    problems = hidden_problems(KERNEL_CMDLINE, line)
    if "\\" in line and rewritten:
        problems.append(
            Problem(
                "%s holds a backslash, which grubby takes away." % KERNEL_CMDLINE,
                "Use bootloader: bls, which edits the files itself.",
                "bootloader",
                KERNEL_CMDLINE,
            )
        )
    if problems:
        raise KdumpError(problems)
    whole = crashkernel.same(crashkernel.find(line), values)
    if whole and before is not None and (not rewritten or before.strip() == line):
        return None
    return Change(KERNEL_CMDLINE, before, (line if whole else edit([line], values)[0]) + "\n")


def joined(text: str) -> str:
    """/etc/kernel/cmdline as one line: kernel-install takes line ends for blanks and leaves comments out."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def notes(
    host: Any, values: Sequence[str], kernels: Sequence[str], entries: Sequence[List[str]], kernelopts: Optional[str]
) -> List[Problem]:
    """In what the next kernel's entry will be other than those there are; `entries` are these, as arguments."""
    held = {} if "ALL" in kernels else _held(host)
    if "ALL" not in kernels and kernelopts is not None:
        held["kernelopts in grubenv"] = crashkernel.find(kernelopts)
    problems = [
        Problem(
            "A kernel that is installed later takes its arguments from %s, which has %s."
            % (where, arguments(found) or "no crashkernel="),
            "Use kernels: ALL, which changes these files too; for single kernels they stay (grubby#55).",
            "kernels",
            ",".join(kernels),
        )
        for where, found in held.items()
        if not crashkernel.same(found, values)
    ]
    line = joined(host.read_text(KERNEL_CMDLINE, ""))
    lost = [argument for argument in _common(entries) if argument not in others(line)]
    if line and lost:
        problems.append(
            Problem(
                "%s lacks what all boot entries have: %s. The next kernel that is installed boots without."
                % (KERNEL_CMDLINE, cmdline.join(lost)),
                "grubby may have made it of the rescue entry: compare it with `grubby --info=DEFAULT` and complete it.",
                "bootloader",
                KERNEL_CMDLINE,
            )
        )
    return problems


def _common(entries: Sequence[List[str]]) -> List[str]:
    if not entries:
        return []
    return [
        argument for argument in entries[0] if not argument.startswith("$") and all(argument in one for one in entries)
    ]


def _held(host: Any) -> Dict[str, List[str]]:
    """The crashkernel= values in each of the files that are there."""
    found = {}
    if _has_default_grub(host):
        values = [entry.value for entry in sysconfig.read(host.read_text(DEFAULT_GRUB)) if entry.name == _LINUX]
        found[DEFAULT_GRUB] = crashkernel.find(values[-1] if values else "")
    if host.is_file(KERNEL_CMDLINE):
        found[KERNEL_CMDLINE] = crashkernel.find(joined(host.read_text(KERNEL_CMDLINE)))
    return found
