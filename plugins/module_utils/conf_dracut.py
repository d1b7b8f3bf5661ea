# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What dracut_args mean to an engine that does not use dracut. Private to this collection.

What only says how dracut makes an image is passed over, with a warning. What would put something into the image that
this engine does not put there is refused: somebody counts on it in a crash. Source: dracut(8) of dracut-ng 107.
"""

import shlex
from typing import List, NamedTuple, Tuple

from .conf_directives import without_mount
from .problems import Problem, shown

# How dracut works, packs and reports, and what it leaves out or takes from the host: with a value, and without.
_HOW_WITH_VALUE = set(
    "-o --omit --omit-drivers --compress --squash-compressor -t --tmpdir -L --stdlog --logfile -c --conf --confdir "
    "--add-confdir --persistent-policy --hostonly-mode --hostonly-nics --fwdir -d --drivers --filesystems --device "
    "--add-device --prefix --kver -k --kmoddir".split()
)
_HOW = set(
    "-f --force -v --verbose -q --quiet -H --hostonly -N --no-hostonly --hostonly-cmdline --no-hostonly-cmdline "
    "--no-hostonly-default-device --hostonly-i18n --no-hostonly-i18n --strip --nostrip --aggressive-strip --prelink "
    "--noprelink --hardlink --nohardlink --gzip --bzip2 --lzma --xz --lzo --lz4 --zstd --no-compress --keep --debug "
    "--profile --printsize --reproducible --no-reproducible --early-microcode --no-early-microcode --mdadmconf "
    "--nomdadmconf --lvmconf --nolvmconf --nofscks --parallel --enhanced-cpio --noprefix --ro-mnt --no-uefi "
    "--noimageifnotneeded".split()
)
_DRIVERS = ("--add-drivers", "--force-drivers")
_REFUSED = {
    name: hint
    for names, hint in (
        ("-a --add --force-add -m --modules",
         "Remove it: what the dump target needs is found without dracut's modules, and extra_bins and extra_modules bring more."),
        ("-I --install --install-optional -i --include", "Remove it, and name the programs in extra_bins."),
        ("--kernel-cmdline", "Put the words into KDUMP_COMMANDLINE_APPEND in /etc/sysconfig/kdump."),
        ("--fstab --add-fstab", "Remove it, and name the dump target itself (ext4, xfs, nfs …)."),
        ("--sshkey", "Remove it, and name the key in sshkey."),
    )
    for name in names.split()
}  # fmt: skip


class Judged(NamedTuple):
    """What is wrong with dracut_args, what of them is passed over, and the kernel modules that they ask for."""

    problems: List[Problem]
    warnings: List[Problem]
    drivers: List[str]


def judge(text: str) -> Judged:
    """Of all arguments but --mount, which names the dump target."""
    judged = Judged([], [], [])
    try:
        words = shlex.split(without_mount(text))
    except ValueError:
        return judged  # conf_directives tells
    while words:
        name, value, words = _next(words)
        if name in _DRIVERS:
            judged.drivers.extend(value.split())
        elif name in _HOW or name in _HOW_WITH_VALUE:
            hint = "Remove it, for the native engine does not use dracut."
            judged.warnings.append(Problem("dracut_args: %s has no effect." % name, hint, "dracut_args", shown(text)))
        else:
            hint = _REFUSED.get(name, "Remove it: dracut is not used.")
            message = "dracut_args: the native engine does not know what to do with %s." % shown(name)
            judged.problems.append(Problem(message, hint, "dracut_args", shown(text)))
    return judged


def _next(words: List[str]) -> Tuple[str, str, List[str]]:
    """The first argument, its value, and the words after both."""
    name, equals, value = words[0].partition("=")
    if equals and name.startswith("--"):
        return name, value, words[1:]
    if words[0] in ("-i", "--include"):
        count = 2
    else:
        count = int(words[0] in _HOW_WITH_VALUE or words[0] in _DRIVERS or words[0] in _REFUSED)
    return words[0], " ".join(words[1 : 1 + count]), words[1 + count :]
