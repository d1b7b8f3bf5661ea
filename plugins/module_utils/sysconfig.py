# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/etc/sysconfig/kdump and /etc/default/kdump-tools: shell assignments, read without a shell and edited in place.

Private to this collection. Such a file is sourced by bash or dash, and the second one is also read by systemd
(parse_env_file_internal() in src/basic/env-file.c): what is written here means the same to all three. What cannot be
known without running the file (expansions, conditions) is not guessed at but refused by name.
"""

import difflib
import re
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from .plan import Plan, remove_file, write_file
from .problems import KdumpError, Problem, fail, in_file, shown
from .scalars import scalar

NEW_FILE = "# Written by the Ansible collection vmcore.kdump; lines that it does not set are kept.\n"

# kdump-utils 1.0.61 (gen-kdump-sysconfig.sh) and SUSE's kdump 2.1.9 share a path.
SYSCONFIG_NAMES = (
    "KDUMP_KERNELVER KDUMP_COMMANDLINE KDUMP_COMMANDLINE_REMOVE KDUMP_COMMANDLINE_APPEND FADUMP_COMMANDLINE_APPEND "
    "KEXEC_ARGS KDUMP_BOOTDIR KDUMP_IMG KDUMP_IMG_EXT VMCORE_CREATION_NOTIFICATION KDUMP_STDLOGLVL KDUMP_SYSLOGLVL "
    "KDUMP_KMSGLOGLVL "
    "KDUMP_CRASHKERNEL KDUMP_UPDATE_BOOTLOADER KDUMP_AUTO_RESIZE KDUMP_CPUS KEXEC_OPTIONS MAKEDUMPFILE_OPTIONS "
    "KDUMP_SAVEDIR KDUMP_KEEP_OLD_DUMPS KDUMP_FREE_DISK_SIZE KDUMP_DUMPLEVEL KDUMP_DUMPFORMAT KDUMP_IMMEDIATE_REBOOT "
    "KDUMP_CONTINUE_ON_ERROR KDUMP_VERBOSE KDUMP_TRANSFER KDUMP_PRESCRIPT KDUMP_POSTSCRIPT KDUMP_REQUIRED_PROGRAMS "
    "KDUMP_NETCONFIG KDUMP_NET_TIMEOUT KDUMP_HOST_KEY KDUMP_SSH_IDENTITY KDUMP_SMTP_SERVER KDUMP_SMTP_USER "
    "KDUMP_SMTP_PASSWORD KDUMP_NOTIFICATION_TO KDUMP_NOTIFICATION_CC"
).split()
KDUMP_TOOLS_NAMES = (  # Debian's kdump-tools 1.10.7
    "USE_KDUMP KDUMP_KERNEL KDUMP_INITRD KDUMP_COREDIR KDUMP_FAIL_CMD KDUMP_DUMP_DMESG KDUMP_NUM_DUMPS "
    "KDUMP_COMPRESSION MAKEDUMP_ARGS KDUMP_KEXEC_ARGS KDUMP_CMDLINE KDUMP_CMDLINE_APPEND HOSTTAG NFS NFS_TIMEO "
    "NFS_RETRANS NFS_MOUNT_RETRY FTP FTP_USER FTP_PASSWORD FTP_PORT SSH SSH_KEY SSH_KDUMP_RETRY"
).split()

MASK = "********"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=")
# What a human takes for an assignment, and a shell for a command: linux-system-roles writes `USE_KDUMP = 1` on Ubuntu.
_SPACED = re.compile(r"[ \t]*(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:[ \t]+=[ \t]*|=[ \t]+)(?![ \t=])")
_HARMLESS = re.compile(r"[ \t]*(?:#.*|export(?:[ \t]+[A-Za-z_][A-Za-z0-9_]*)+[ \t]*)?")
# systemd drops an assignment with control characters other than the tab (env_value_is_valid()), and the whole file for
# what is no UTF-8 (check_utf8ness_and_warn() in env-file.c), which to it are also the code points that Unicode keeps
# from being characters (unichar_is_valid() in utf8.c).
NO_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef%s]" % "".join(
    chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)))  # fmt: skip
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_MENTIONED = re.compile(r"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*)\+?=")
_BLANKS = "has blanks around its `=`, which no shell takes for an assignment"
_UNTOLD = _BLANKS + ", and what it was meant to hold cannot be told"


class Entry(NamedTuple):
    """One logical line, its end included: `start` and `end` are offsets into the text.

    An assignment has `name`, `value`, and the offsets of its value as written (`word`). `why` says what kept an entry
    from being understood; one with blanks around its `=` has a value all the same, the one that was meant.
    """

    start: int
    end: int
    name: str = ""
    value: str = ""
    word: Tuple[int, int] = (0, 0)
    why: str = ""


class _NotPlain(Exception):
    """What stands here needs a shell to be understood."""


# --- reading -------------------------------------------------------------------------------------------------------
def read(text: str) -> List[Entry]:
    """The lines of a file of shell assignments, all of them, in order."""
    entries: List[Entry] = []
    at = 0
    while at < len(text):
        entries.append(_entry(text, at))
        at = entries[-1].end
    return _mark_unreached(text, entries)


def _entry(text: str, start: int) -> Entry:
    line_end = text.find("\n", start) + 1 or len(text)
    line = text[start:line_end].rstrip("\n")
    if _HARMLESS.fullmatch(line):
        return Entry(start, line_end)
    why, name = "is not an assignment", ""
    for shape, trouble in ((_ASSIGNMENT, ""), (_SPACED, _BLANKS)):
        found = shape.match(text, start, line_end)
        if found:
            try:
                value, after = _words(text, found.end()) if trouble else _word(text, found.end())
                end = _line_rest(text, after)
                return Entry(start, end, found.group("name"), value, (found.end(), after), trouble)
            except _NotPlain as not_plain:
                why, name = _UNTOLD if trouble else str(not_plain), found.group("name")
    return Entry(start, line_end, name, why=why)


def _line_rest(text: str, at: int) -> int:
    """The end of a line after an assignment's word: blanks and a comment are all that may follow."""
    end = text.find("\n", at) + 1 or len(text)
    if not re.fullmatch(r"[ \t]*|[ \t]+#.*", text[at:end].rstrip("\n")):
        raise _NotPlain("is followed by something else on its line")
    return end


def _word(text: str, at: int) -> Tuple[str, int]:
    """The value of the shell word that begins here, and the offset after it. Source: POSIX, Shell, 2.2 Quoting."""
    value = ""
    if text.startswith("~", at):
        raise _NotPlain("holds a `~` that the shell expands")
    while at < len(text) and text[at] not in " \t\n":
        char = text[at]
        if char == "'":
            piece, at = _until_quote(text, at + 1)
        elif char == '"':
            piece, at = _double_quoted(text, at + 1)
        elif char == "\\":
            piece, at = _escaped(text, at, "")
        else:
            _refuse_special(text, at, ";&|<>()`\r\0", "'\"")
            if text.startswith(":~", at):
                raise _NotPlain("holds a `~` that the shell expands")
            piece, at = char, at + 1
        value += piece
    return value, at


def _words(text: str, at: int) -> Tuple[str, int]:
    """The same of all the words to the line's end: who writes `NAME = a b` means both. They must be without quotes."""
    start = at
    value, at = _word(text, at)
    while re.match(r"[ \t]+[^ \t\n#]", text[at:]):
        at += len(text[at:]) - len(text[at:].lstrip(" \t"))
        more, at = _word(text, at)
        value += " " + more
        if re.search("[\"'\\\\]", text[start:at]):
            raise _NotPlain(_BLANKS)
    return value, at


def _until_quote(text: str, at: int) -> Tuple[str, int]:
    end = text.find("'", at)
    if end < 0:
        raise _NotPlain("has a quote that is never closed")
    if "\0" in text[at:end]:
        raise _NotPlain("holds a NUL byte")
    return text[at:end], end + 1


def _double_quoted(text: str, at: int) -> Tuple[str, int]:
    value = ""
    while at < len(text):
        if text[at] == '"':
            return value, at + 1
        if text[at] == "\\":
            piece, at = _escaped(text, at, '$`"\\')
        else:
            _refuse_special(text, at, "`\0", "")
            piece, at = text[at], at + 1
        value += piece
    raise _NotPlain("has a quote that is never closed")


def _escaped(text: str, at: int, only: str) -> Tuple[str, int]:
    """What a backslash makes of the next character; `only` those are escaped, where that is not empty."""
    after = text[at + 1 : at + 2]
    if not after or after == "\0":
        raise _NotPlain("ends in a backslash")
    if after == "\n":
        return "", at + 2
    return (after if not only or after in only else "\\" + after), at + 2


def _refuse_special(text: str, at: int, special: str, dollar_quotes: str) -> None:
    """Refuse what the shell would act on. A `$` that no name follows is one."""
    char, after = text[at], text[at + 1 : at + 2]
    if (char == "$" and after and (after.isalnum() or after in "_{(@*#?$!-" + dollar_quotes)) or char == "`":
        raise _NotPlain("holds an expansion (`$` or a backquote) that only a shell can follow")
    if char == "\r":
        raise _NotPlain("has the line end of Windows")
    if char in special:
        raise _NotPlain("holds %s outside quotes" % shown(char))


def _mark_unreached(text: str, entries: List[Entry]) -> List[Entry]:
    """Assignments as unclear where they may be inside of what was not understood.

    Between the first and the last line that is no assignment there may be a condition; after a line that leaves a quote
    or a bracket open everything may be a part of it.
    """
    opaque = [number for number, entry in enumerate(entries) if entry.why and not entry.name]
    opened = [number for number, entry in enumerate(entries) if entry.why and not _is_closed(text, entry)]
    first, last = (opaque[0], opaque[-1]) if opaque else (0, 0)
    marked = []
    for number, entry in enumerate(entries):
        if entry.name and not entry.why and opened and number > opened[0]:
            entry = entry._replace(why="comes after a line that leaves a quote or a bracket open")
        elif entry.name and not entry.why and first < number < last:
            entry = entry._replace(why="may depend on a condition")
        marked.append(entry)
    return marked


def _is_closed(text: str, entry: Entry) -> bool:
    """Whether a line that was not understood ends with itself, as far as its quotes and brackets tell."""
    line = re.sub(r"\\.", "", text[entry.start : entry.end].rstrip("\n"))
    rest = re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`", "", line)
    return not re.search("[\"'`\\\\]", rest) and rest.count("(") == rest.count(")")


def parse(text: str) -> Dict[str, str]:
    """Every variable and its value; KdumpError naming all that only a shell could tell."""
    entries = read(text)
    problems = [_unclear(text, entry) for entry in entries if entry.why]
    if problems:
        raise KdumpError(problems)
    return {entry.name: entry.value for entry in entries if entry.name}


def _unclear(text: str, entry: Entry) -> Problem:
    line = text.count("\n", 0, entry.start) + 1
    what = "%s (line %d) %s." % (entry.name, line, entry.why)
    if not entry.name:
        what = "Line %d %s: %s" % (line, entry.why, shown(text[entry.start : entry.end].strip()))
    return Problem(what, 'Write plain assignments, NAME="value", one on a line.', entry.name)


# --- editing -------------------------------------------------------------------------------------------------------
def edit(text: str, settings: Dict[str, Any], remove: List[str]) -> str:
    """The text with these variables set and those gone, every other line as it was. KdumpError with all that is wrong.

    Values are as YAML gives them: text, numbers, lists of words.
    A variable that is there changes on its last line, the one that counts; a new one follows its commented-out example
    or goes to the end. A line of these variables with blanks around its `=` becomes an assignment.
    """
    text = _without_blanks(text, set(settings) | set(remove))
    problems = list(setting_problems(settings, remove)) + list(_text_problems(text, set(settings) | set(remove)))
    if problems:
        raise KdumpError(problems)
    for name in sorted(settings):
        text = _set(text, name, as_text(settings[name]) or "")
    for entry in reversed(read(text)):
        if entry.name in remove:
            text = text[: entry.start] + text[entry.end :]
    return text


def setting_problems(settings: Dict[str, Any], remove: List[str]) -> Iterator[Problem]:
    for name in list(settings) + list(remove):
        if not _NAME.fullmatch(name):
            hint = "A name is made of letters, digits and `_`, and does not begin with a digit."
            yield Problem("%s is not the name of a variable." % shown(name), hint, shown(name))
    for name, value in settings.items():
        if name in remove:
            yield Problem("%s is in both settings and remove." % name, "Leave it out of one of the two.", name)
        text = as_text(value)
        told = MASK if is_secret(name) else shown(str(value) if text is None else text)
        if text is None:
            hint = 'Put it in quotes ("yes", "1"), for YAML has made something else of it; `remove` removes it.'
            yield Problem("%s is neither text nor a number." % shown(name), hint, shown(name), told)
        elif _CONTROL.search(text) or NO_TEXT.search(text):
            hint = "A value is one line of text: the shells and systemd read nothing else alike."
            yield Problem("%s cannot be %s." % (shown(name), told), hint, shown(name), told)


def as_text(value: Any) -> Optional[str]:
    """A setting as text; None for what is neither text nor a number nor a list of these."""
    words = value if isinstance(value, list) else [value]
    return " ".join(map(str, words)) if all(word == "" or scalar(word) for word in words) else None


def _text_problems(text: str, touched: Set[str]) -> Iterator[Problem]:
    """What of the file must be understood for these variables to be changed, and is not."""
    for entry in read(text):
        mentions = {entry.name} | set(_MENTIONED.findall(text[entry.start : entry.end]))
        if entry.why and touched and (touched & mentions or not _is_closed(text, entry)):
            yield _unclear(text, entry)


def meant(text: str) -> Dict[str, str]:
    """The variables that have blanks around their `=`, with the values that were meant."""
    return {entry.name: entry.value for entry in read(text) if entry.why == _BLANKS}


def _without_blanks(text: str, names: Set[str]) -> str:
    for entry in reversed(read(text)):
        if entry.why == _BLANKS and entry.name in names:
            start, end = entry.word
            written = quote(entry.value) if _word(text, start)[1] < end else text[start:end] or '""'
            text = "%s%s=%s%s" % (text[: entry.start], entry.name, written, text[end:])
    return text


def _set(text: str, name: str, value: str) -> str:
    entries = read(text)
    places = [entry for entry in entries if entry.name == name]
    if places:
        return text if places[-1].value == value else _replaced(text, places[-1], quote(value))
    example = re.compile(r"[ \t]*#[ \t]?%s=.*(?<!\\)\n" % name)
    opaque = [entry.start for entry in entries if entry.why]
    free = [e for e in entries if not opaque or e.end <= opaque[0]]
    found = [entry.end for entry in free if example.fullmatch(text[entry.start : entry.end])]
    at = found[-1] if found else len(text)
    head = text[:at] + ("" if not at or text[at - 1] == "\n" else "\n")
    if head.endswith("\\\n"):  # systemd continues even a comment there: an empty line ends it
        head += "\n"
    return "%s%s=%s\n%s" % (head, name, quote(value), text[at:])


def _replaced(text: str, entry: Entry, written: str) -> str:
    """The text with another value. A comment behind the old one moves above it: systemd would read it as a part."""
    start, end = entry.word
    comment = text[end : entry.end].strip(" \t\n")
    above = comment + "\n" if comment else ""
    rest = "\n" if comment and text[entry.end - 1] == "\n" else text[end : entry.end] if not comment else ""
    return text[: entry.start] + above + text[entry.start : start] + written + rest + text[entry.end :]


def is_secret(name: str) -> bool:
    """Whether a variable's value is not to be shown."""
    return name.endswith("PASSWORD")


def without_secrets(text: str) -> str:
    """The text as a diff may show it: no passwords, in a comment or in a URL neither."""
    for entry in reversed(read(text)):
        if is_secret(entry.name):
            start, end = entry.word if not entry.why else (entry.start, entry.end - 1)
            text = text[:start] + MASK + text[end:]
    text = re.sub(r"(?m)^([ \t]*#.*PASSWORD[ \t]*=).*$", r"\1" + MASK, text)
    return re.sub(r"(://[^\s:@/\"']*:)[^\s@/\"']+(?=@)", r"\1" + MASK, text)


def quote(value: str) -> str:
    """A value in double quotes, the one form that dash, bash and every systemd read alike, whatever it holds."""
    return '"%s"' % re.sub(r'([$`"\\])', r"\\\1", value)


def unknown(path: str, settings: Iterable[str]) -> List[Problem]:
    """Names that nothing is known to read from this file: a warning, for versions bring new ones."""
    known = KDUMP_TOOLS_NAMES if path.endswith("kdump-tools") else SYSCONFIG_NAMES
    problems = []
    for name in settings:
        if name not in known:
            close: Optional[List[str]] = difflib.get_close_matches(name[:60], known, 1)
            hint = "Did you mean %s?" % close[0] if close else "It is written all the same."
            message = "%s is not a variable that kdump is known to read from %s." % (name, path)
            problems.append(Problem(message, hint, name))
    return problems


# --- what kdump-utils ships ----------------------------------------------------------------------------------------
# Source: gen-kdump-sysconfig.sh of kdump-utils 1.0.61.
_REMOVE = "hugepages hugepagesz slub_debug quiet log_buf_len swiotlb hugetlb_cma ignition.firstboot"
_REMOVE_MORE = {"ppc64": "", "ppc64le": "", "s390x": "vmcp_cma cma prot_virt zfcp.allow_lun_scan"}
_APPEND = "novmcoredd hugetlb_cma=0 kfence.sample_interval=0 initramfs_options=size=90%"
_APPEND_MORE = {
    "aarch64": "irqpoll nr_cpus=1 reset_devices cgroup_disable=memory udev.children-max=2 panic=10 swiotlb=noforce "
    "cma=0",
    "i386": "irqpoll nr_cpus=1 reset_devices numa=off udev.children-max=2 panic=10 transparent_hugepage=never cma=0",
    "ppc64": "irqpoll maxcpus=1 noirqdistrib reset_devices cgroup_disable=memory numa=off udev.children-max=2 "
    "ehea.use_mcs=0 panic=10 kvm_cma_resv_ratio=0 transparent_hugepage=never",
    "ppc64le": "irqpoll nr_cpus=16 noirqdistrib reset_devices cgroup_disable=memory numa=off udev.children-max=2 "
    "ehea.use_mcs=0 panic=10 kvm_cma_resv_ratio=0 transparent_hugepage=never",
    "s390x": "nr_cpus=1 cgroup_disable=memory numa=off udev.children-max=2 panic=10 transparent_hugepage=never "
    "vmcp_cma=0 cma=0",
    "x86_64": "irqpoll nr_cpus=1 reset_devices cgroup_disable=memory mce=off numa=off udev.children-max=2 panic=10 "
    "acpi_no_memhotplug transparent_hugepage=never nokaslr hest_disable cma=0 pcie_ports=compat",
}


def defaults(machine: str) -> Dict[str, str]:
    """What kdump-utils ships for a machine (`uname -m`): the arguments that the capture kernel loses and gets."""
    machine = "i386" if re.fullmatch("i[3-6]86", machine) else machine
    remove = _REMOVE_MORE.get(machine, "cma")
    append = _APPEND_MORE.get(machine, "irqpoll maxcpus=1 reset_devices cma=0")
    return {
        "KDUMP_COMMANDLINE_REMOVE": (_REMOVE + " " + remove).rstrip(" "),
        "KDUMP_COMMANDLINE_APPEND": _APPEND + " " + append,
    }


# --- the module ----------------------------------------------------------------------------------------------------
def decide(host: Any, params: Dict[str, Any]) -> Plan:
    """The plan that makes the file as asked. One that would hold nothing but our header is not made, or removed."""
    path = params["path"]
    if host.exists(path) and not host.is_file(path):
        raise fail("%s is not a file." % path, "Name a sysconfig file, such as /etc/sysconfig/kdump.", "path", path)
    there = host.exists(path)
    before = host.read_text(path, NEW_FILE)
    after = in_file(path, edit, before, params["settings"], params["remove"])
    if there and after == NEW_FILE:
        step = remove_file(path, before)
    elif after != before:
        step = write_file(path, before if there else "", after)
    else:
        return Plan([])
    return Plan([step._replace(before=without_secrets(step.before), after=without_secrets(step.after))])


def report(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """The module's results."""
    return {"warnings": [str(problem) for problem in unknown(params["path"], params["settings"])]}
