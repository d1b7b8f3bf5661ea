# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GRUB as Debian and Ubuntu configure it: a drop-in in /etc/default/grub.d, and grub.cfg made anew from it.

Private to this collection. Source: util/grub-mkconfig.in and util/grub.d/10_linux.in of GRUB 2.06 and 2.12. There,
every entry's command line holds GRUB_CMDLINE_LINUX; a recovery entry does not hold GRUB_CMDLINE_LINUX_DEFAULT.

update-grub is `grub-mkconfig -o /boot/grub/grub.cfg`, which ends with `cat grub.cfg.new > grub.cfg`: killed there, it
leaves half a file and a host that does not boot. So grub-mkconfig is run to its standard output here, what it printed
is checked, and grub.cfg is replaced by rename.
"""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .. import crashkernel, sysconfig
from ..plan import Plan, Step
from ..problems import KdumpError, Problem, fail
from .entry import Entry, arguments, hidden_problems, put, select, shown, wrong

CONFIG = "/boot/grub/grub.cfg"
DEFAULTS = "/etc/default/grub"
DROPIN_DIR = "/etc/default/grub.d"
DROPIN = DROPIN_DIR + "/zz-vmcore-kdump.cfg"  # grub-mkconfig reads the directory in the shell's order: this one last
_MARK = "### BEGIN /etc/grub.d/"

# Sourced by sh (dash, bash, busybox) within grub-mkconfig, which runs under `set -e`; sed is what 10_linux uses itself.
_DROPIN_HEAD = """\
# Written by the Ansible collection vmcore.kdump; changes made here are lost.
# It decides alone about crashkernel= on every boot entry: what the other files set for it is taken out first.
# GRUB_CMDLINE_LINUX, because recovery entries do not have GRUB_CMDLINE_LINUX_DEFAULT.
vmcore_kdump_without() {
    printf '%s\\n' " $1" | sed -e 's/[[:blank:]]crashkernel=[^[:blank:]]*//g' -e 's/^ //'
}
GRUB_CMDLINE_LINUX="$(vmcore_kdump_without "${GRUB_CMDLINE_LINUX-}")"
GRUB_CMDLINE_LINUX_DEFAULT="$(vmcore_kdump_without "${GRUB_CMDLINE_LINUX_DEFAULT-}")"
unset -f vmcore_kdump_without
"""
_DROPIN_VALUE = 'GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }%s"\n'


class Linux(NamedTuple):
    """One `linux` command of grub.cfg: the /etc/grub.d script that wrote it, the titles around it, what it boots."""

    section: str
    title: str
    kernel: str
    cmdline: str


def missing(host: Any) -> str:
    if not host.is_file(CONFIG):
        return "%s is missing" % CONFIG
    program = host.which("grub-mkconfig")
    if not program:
        return "grub-mkconfig is missing"
    if b"/default/grub.d/" not in host.read(program):  # a patch of Debian's: other distributions' GRUB has no drop-ins
        return "this host's grub-mkconfig does not read %s" % DROPIN_DIR
    if _MARK not in host.read_text(CONFIG):
        return "%s was not made by grub-mkconfig, which would overwrite it" % CONFIG
    return ""


def entries(host: Any) -> List[Entry]:
    """The entries whose command line grub-mkconfig makes of GRUB_CMDLINE_LINUX, recovery ones too."""
    return _made(host, host.read_text(CONFIG))


def plan(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Plan:
    if list(kernels) != ["ALL"]:
        raise fail(
            "With GRUB's grub-mkconfig, kernels can only be ALL: it gives the same arguments to every kernel it finds.",
            "Use kernels: ALL. For single kernels write entries of your own into /etc/grub.d/40_custom.",
            "kernels",
            ",".join(kernels),
        )
    now = entries(host)
    off = wrong(select(now, kernels), values)
    problems = _hidden(host)
    if problems:
        raise KdumpError(problems)
    old: Optional[str] = host.read_text(DROPIN) if host.exists(DROPIN) else None
    new = dropin(values, elsewhere(host))
    steps = []
    if old != new:
        title = "remove " + DROPIN if new is None else "write " + DROPIN
        steps.append(Step(title, lambda host: put(host, DROPIN, new), old or "", new or ""))
    if off or steps:
        steps.append(
            Step(
                "make %s anew" % CONFIG,
                lambda host: _make(host, old, values),
                "".join(shown(entry) for entry in now),
                "".join(shown(entry._replace(values=tuple(values))) for entry in now),
            )
        )
    return Plan(steps)


def notes(host: Any, values: Sequence[str], kernels: Sequence[str]) -> List[Problem]:
    """Entries for Linux that the admin wrote: grub-mkconfig copies them as they are."""
    composed = _composed(host)
    found = []
    for linux in parse(host.read_text(CONFIG)):
        own = linux.section not in composed and "os-prober" not in linux.section
        if own and re.match("vmlinu[xz]", linux.kernel.rpartition("/")[2]):
            found.append(
                Problem(
                    "The GRUB entry '%s' comes from %s, which takes no arguments from %s."
                    % (linux.title, linux.section or "outside /etc/grub.d", DEFAULTS),
                    "Write its crashkernel= there by hand.",
                    "kernels",
                    linux.kernel,
                )
            )
    return found


def dropin(values: Sequence[str], others: Sequence[str]) -> Optional[str]:
    """The drop-in's text; None where none is needed: nothing to reserve, and no other file that would."""
    if values:
        return _DROPIN_HEAD + _DROPIN_VALUE % arguments(values)
    return _DROPIN_HEAD if others else None


def elsewhere(host: Any) -> List[str]:
    """The other configuration files that set crashkernel=."""
    paths = [DEFAULTS] + host.glob(DROPIN_DIR + "/*.cfg")
    setting = re.compile(r"^[^#\n]*crashkernel=", re.MULTILINE)
    return [path for path in paths if path != DROPIN and setting.search(host.read_text(path, ""))]


def _hidden(host: Any) -> List[Problem]:
    """crashkernel= inside of another argument: the drop-in's sed would tear that apart.

    Looked for in what GRUB has now, and in what the files say that are plain assignments.
    """
    composed = _composed(host)
    lines = [
        ("The GRUB entry '%s'" % one.title, one.cmdline)
        for one in parse(host.read_text(CONFIG))
        if one.section in composed
    ]
    for path in elsewhere(host):
        for entry in sysconfig.read(host.read_text(path)):
            if entry.name.startswith("GRUB_CMDLINE_LINUX") and not entry.why:
                lines.append(("%s in %s" % (entry.name, path), entry.value))
    return [problem for where, line in lines for problem in hidden_problems(where, line)]


def _make(host: Any, old: Optional[str], values: Sequence[str]) -> None:
    """Make grub.cfg anew; where that fails or gives something else, the drop-in becomes what it was."""
    try:
        text = _generated(host)
        off = wrong(select(_made(host, text), ["ALL"]), values)
        if off:
            raise _refusal(host, off, values)
        host.write(CONFIG, text.encode("utf-8", "surrogateescape"), 0o444)
    except (KdumpError, OSError):
        put(host, DROPIN, old)
        raise


def _generated(host: Any) -> str:
    """What grub-mkconfig prints, found free of syntax errors as `grub-mkconfig -o` would find it."""
    made = host.run(["grub-mkconfig"])
    if made.rc != 0:
        raise fail(
            "grub-mkconfig failed (exit code %d): %s" % (made.rc, made.err.strip()[-2000:] or "it printed nothing."),
            "Nothing was changed. Run grub-mkconfig by hand and repair what it complains about.",
        )
    checked = host.run(["grub-script-check"], stdin=made.out.encode("utf-8", "surrogateescape"))
    if checked.rc != 0:
        raise fail(
            "What grub-mkconfig printed has syntax errors: %s" % (checked.err + checked.out).strip()[-2000:],
            "Nothing was changed. Repair %s and the files in /etc/grub.d." % DEFAULTS,
        )
    return made.out


def _refusal(host: Any, off: List[Entry], values: Sequence[str]) -> KdumpError:
    others = elsewhere(host)
    remedy = "Take crashkernel= out of %s." % ", ".join(others) if others else "Look for crashkernel= in /etc/grub.d."
    return KdumpError(
        [
            Problem(
                "grub-mkconfig would give %s where %s is wanted, on %d of the entries, such as '%s'."
                % (arguments(found) or "no crashkernel=", arguments(values) or "none", len(names), names[0]),
                "Nothing was changed. " + remedy,
                "value",
                " ".join(found),
            )
            for found, names in _by_values(off).items()
        ]
    )


def _by_values(found: List[Entry]) -> Dict[Tuple[str, ...], List[str]]:
    groups: Dict[Tuple[str, ...], List[str]] = {}
    for entry in found:
        groups.setdefault(entry.values, []).append(entry.name)
    return groups


def _made(host: Any, text: str) -> List[Entry]:
    composed = _composed(host)
    found = [linux for linux in parse(text) if linux.section in composed]
    # All of them are meant to be equal, so any of them may stand for the one that boots next.
    return [
        Entry(linux.title, linux.kernel, tuple(crashkernel.find(linux.cmdline)), number == 0)
        for number, linux in enumerate(found)
    ]


def _composed(host: Any) -> List[str]:
    """The scripts that make command lines of GRUB_CMDLINE_LINUX (not those for memtest, other systems, 40_custom)."""
    scripts = host.glob("/etc/grub.d/*")
    return [path for path in scripts if host.is_file(path) and "GRUB_CMDLINE_LINUX" in host.read_text(path)]


# --- grub.cfg ------------------------------------------------------------------------------------------------------
# Source: grub-core/script/yylex.l. One word is any run of the pieces; a quote that never ends is taken as a character.
_PIECE = r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.|\$\{\w*\}|[^\s;{}|&<>'"\\$]+|[$'"\\]"""
_TOKEN = re.compile(
    r"(?P<space>(?:[ \t\r]|\\\n)+)|(?P<comment>#[^\n]*)|(?P<mark>[\n;{}|&<>])|(?P<word>(?:%s)+)|." % _PIECE, re.DOTALL
)
_MAX_DEPTH = 8  # blocks whose titles are kept: a file that opens a million of them costs no more than others
_UNQUOTE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)""", re.DOTALL)


def parse(text: str) -> List[Linux]:
    """Every `linux` command of a grub.cfg, whatever it is nested in. Never raises."""
    found = []
    for section, titles, words in _commands(text):
        if words[0] in ("then", "else", "do"):
            words = words[1:] or [""]
        if words[0] in ("linux", "linuxefi", "linux16") and len(words) > 1:
            cmdline = " ".join('"%s"' % word if " " in word else word for word in words[2:])
            found.append(Linux(section, " > ".join(titles), words[1], cmdline))
    return found


def _commands(text: str) -> Iterator[Tuple[str, List[str], List[str]]]:
    """The commands of a grub.cfg with the section and the titles of the menu entries that they are in."""
    section, blocks, words = "", [], []  # type: str, List[str], List[str]
    for token in _TOKEN.finditer(text + "\n"):
        kind, value = token.lastgroup, token.group()
        if kind == "word":
            words.append(_UNQUOTE.sub(_unquoted, value))
        elif kind == "comment":
            match = re.match(r"### (BEGIN|END) (\S+) ###", value)
            if match:
                section = match.group(2) if match.group(1) == "BEGIN" else ""
        elif kind == "mark":
            if value == "{":
                blocks.append(words[1] if len(words) > 1 and words[0] in ("menuentry", "submenu") else "")
            elif words:
                yield section, [title for title in blocks[-_MAX_DEPTH:] if title], words
            if value == "}" and blocks:
                blocks.pop()
            words = []


def _unquoted(match: Any) -> str:
    single, double, escaped = match.groups()
    if single is not None:
        return single
    if double is not None:
        return re.sub(r'\\([\\"$])', r"\1", double.replace("\\\n", ""))
    return "" if escaped == "\n" else escaped  # a line that goes on in the next
