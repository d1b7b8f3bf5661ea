# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""kdump.conf's core_collector: the program that writes the dump, and whether its arguments fit. Private to this
collection.

Sources: main() and check_param_for_creating_dumpfile() in makedumpfile.c 1.7.9; kdump.sh and mkdumprd of kdump-utils.
"""

import getopt
import re
from typing import Any, Iterator, List, Tuple

from .problems import Problem, shown

_SHORT = "b:cDd:eEFfg:hi:lL:pRvXx:z"
_LONG = (
    "split reassemble xen-syms= xen-vmcoreinfo= xen_phys_start= message-level= vtop= dump-dmesg partial-dmesg config= "
    "help diskset= cyclic-buffer= eppic= non-mmap mem-usage splitblock-size= work-dir= num-threads= check-params "
    "dry-run show-stats extension="
).split()
# Flags that make makedumpfile do something else than writing the one dump that kdump asks it for.
_OTHER_WORK = (
    "-g -h -R -v --split --reassemble --vtop --dump-dmesg --partial-dmesg --help --mem-usage --check-params --dry-run "
    "--diskset --splitblock-size"
).split()
COMPRESSIONS = {"-c": "zlib", "-l": "lzo", "-p": "snappy", "-z": "zstd"}
_MAX_LEVELS = 5  # NUM_ARRAY_DUMP_LEVEL in makedumpfile.h
_NUMBERS = {"--message-level": 31, "--num-threads": 4096, "-b": 10, "--cyclic-buffer": 1 << 31}

_STREAMED = ("ssh", "raw")  # targets that read the dump from the collector's standard output
_KNOWN = ("makedumpfile", "cp", "cat", "scp", "dd")


def program(collector: str) -> str:
    """The name of the program of a core_collector line, without its directory."""
    return collector.split(None, 1)[0].rpartition("/")[2] if collector.strip() else ""


def flags(collector: str) -> List[Tuple[str, str]]:
    """makedumpfile's flags with their values, long ones in full; getopt.GetoptError where they make no sense."""
    found, names = getopt.gnu_getopt(collector.split()[1:], _SHORT, _LONG)
    if names:
        raise getopt.GetoptError("%s is not an option" % names[0])
    return found


def check_collector(name: str, value: str) -> Iterator[Problem]:
    """What is wrong with a core_collector by itself, whatever the target."""
    if re.search(r"[\"'`$\\;&|<>]", value):
        hint = "Write the program and its arguments plainly, or put them into a script and name that."
        yield Problem("core_collector is split at blanks and not read by a shell.", hint, name, shown(value))
        return
    for message, hint in _flag_problems(value):
        yield Problem("core_collector: %s" % message, hint, name, shown(value))


def _flag_problems(value: str) -> Iterator[Tuple[str, str]]:
    if program(value) != "makedumpfile":
        return
    try:
        given = flags(value)
    except getopt.GetoptError as error:
        yield "makedumpfile does not take this: %s." % shown(str(error)), "See makedumpfile --help."
        return
    names = [flag for flag, dummy in given]
    for flag in names:
        if flag in _OTHER_WORK:
            yield "%s makes makedumpfile do something else than writing a dump." % flag, "Remove %s." % flag
    compressions = [flag for flag in COMPRESSIONS if flag in names]
    if len(compressions) > 1:
        yield "%s are different compressions." % " and ".join(compressions), "Keep one; -l is quick, -z is small."
    if "-E" in names and compressions:
        yield "-E writes ELF, which has no compression (%s)." % compressions[0], "Remove one of the two."
    if "-E" in names and "--num-threads" in names:
        yield "--num-threads does not work with -E.", "Remove one of the two."
    if "-F" in names and "-F" not in value.split():
        yield "-F is bundled with other flags, and kdump then garbles the line.", "Write -F as a word of its own."
    for flag, text in given:
        yield from _value_problem(flag, text)


def _value_problem(flag: str, text: str) -> Iterator[Tuple[str, str]]:
    if flag == "-d":
        levels = text.split(",")
        if len(levels) > _MAX_LEVELS or not all(_is_number(level, 31) for level in levels):
            hint = "A level is a number from 0 (all of memory) to 31 (the kernel's own pages); up to five, with commas."
            yield "dump level %s is invalid." % shown(text), hint
    elif flag in _NUMBERS and not _is_number(text, _NUMBERS[flag]):
        yield "%s %s is invalid." % (flag, shown(text)), "Write a number from 0 to %d." % _NUMBERS[flag]


def _is_number(text: str, most: int) -> bool:
    return re.fullmatch("[0-9]{1,10}", text) is not None and int(text) <= most


def check_with_target(collector: str, kind: str) -> Iterator[Problem]:
    """What is wrong with a core_collector for this kind of target."""
    name = program(collector)
    message = hint = ""
    if collector != fit(collector, kind):
        if kind in _STREAMED:
            message = "core_collector: a dump to %s is streamed, and makedumpfile then needs -F." % kind
        else:
            message = "core_collector: makedumpfile -F writes a stream, and this target takes a file."
        hint = "Write `core_collector %s`." % shown(fit(collector, kind))
    elif name == "cat" and kind not in _STREAMED:
        message = "core_collector cat writes to its standard output, and this target takes a file."
        hint = "Write `core_collector cp --sparse=always`, or use makedumpfile."
    elif (name == "cp" and kind in _STREAMED) or (name == "scp" and kind == "raw"):
        message = "core_collector %s writes to a file, and a dump to %s is streamed." % (name, kind)
        hint = "Write `core_collector cat`, or use makedumpfile with -F."
    if message:
        yield Problem(message, hint, "core_collector", shown(collector))


def check_installed(host: Any, path: str, collector: str, kind: str, usage: str) -> Iterator[Problem]:
    """What the makedumpfile at a path says of its arguments, where it knows --check-params (from 1.6.8 on).

    usage: what it prints for --help
    """
    if "--check-params" not in usage:
        return
    names = ["vmcore"] if kind in _STREAMED else ["vmcore", "dumpfile"]
    checked = host.run([path, "--check-params"] + fit(collector, kind).split()[1:] + names, timeout=30)
    if checked.rc != 0:
        hint = "See makedumpfile --help on this host."
        said = shown(" ".join((checked.out + checked.err).split()))
        message = "This host's makedumpfile does not take these arguments: %s" % said
        yield Problem(message, hint, "core_collector", collector)


def warn_collector(collector: str) -> Iterator[Problem]:
    """What may be meant, but cannot be checked."""
    if program(collector) not in _KNOWN:
        yield Problem(
            "core_collector %s is not a program whose arguments are known here." % shown(program(collector)),
            "It is run as `%s /proc/vmcore FILE`, or with its output streamed for ssh and raw." % shown(collector),
            "core_collector",
            shown(collector),
        )


def fit(collector: str, kind: str) -> str:
    """A makedumpfile line with -F exactly where the kind of target needs it; any other line as it is.

    mkdumprd refuses makedumpfile without -F for ssh and raw, and makedumpfile itself refuses -F with a file to write.
    """
    words = collector.split()
    if program(collector) != "makedumpfile" or ("-F" in words) == (kind in _STREAMED):
        return collector
    if kind in _STREAMED:
        return " ".join(words[:1] + ["-F"] + words[1:])
    return " ".join(word for word in words if word != "-F")
