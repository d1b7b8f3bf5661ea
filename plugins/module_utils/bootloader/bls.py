# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Boot Loader Specification entries (systemd-boot; GRUB's blscfg), edited in place. Private to this collection.

Source: the Boot Loader Specification (uapi-group.org), kernel-install(8), and grub-core/commands/blscfg.c of Fedora's
GRUB, where `options` may hold $kernelopts, a variable of grubenv. Other variables, such as tuned's, are left alone.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import crashkernel
from ..plan import Plan
from ..problems import KdumpError, Problem, fail
from . import newkernels, zipl
from .entry import Change, Entry, arguments, edit, hidden_problems, others, select, together, write_step, wrong
from .newkernels import KERNEL_CMDLINE, joined

ROOTS = ("/boot", "/efi", "/boot/efi")
_GRUB2_CFG = ("/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")  # the second leads to the first, from EL 9 on
GRUBENV = ("/boot/grub2/grubenv", "/boot/grub/grubenv")
_VARIABLE = "/sys/firmware/efi/efivars/%s-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_FIELD = re.compile(r"[ \t]*(\S+)[ \t]*(.*)", re.DOTALL)
_KERNELOPTS = re.compile(r"\$(?:kernelopts\b|\{kernelopts\})")


class File(NamedTuple):
    """One entry's file: its path and text, and of its fields those that matter here."""

    path: str
    text: str
    kernel: str
    title: str
    version: str
    sort_key: str
    options: str

    @property
    def id(self) -> str:
        """The file's name without .conf and without the counter of tries that systemd-boot puts there (`+3-1`)."""
        return re.sub(r"(\+\d+(-\d+)?)?\.conf\Z", "", self.path.rpartition("/")[2])


def missing(host: Any) -> str:
    if not _files(host):
        return "there are no boot loader entries in loader/entries of %s" % ", ".join(ROOTS)
    return unread(host)


def unread(host: Any) -> str:
    """Why the Red Hat family's GRUB does not read the entries that there are; "" where it does, or is not what boots."""
    # On ppc64le grubby has grub2-mkconfig write menu entries for firmware that reads no others (its update_grubcfg).
    if host.kernel.machine == "ppc64le" or _variable(host, "LoaderInfo").startswith("systemd-boot"):
        return ""
    found = [path for pattern in _GRUB2_CFG for path in host.glob(pattern)]
    if not found or any("blscfg" in host.read_text(path) for path in found):
        return ""
    return (
        "GRUB does not read the boot loader entries of this host: there is no `blscfg` in %s "
        "(GRUB_ENABLE_BLSCFG=true in /etc/default/grub, then grub2-mkconfig, brings it)" % " or ".join(found)
    )


def entries(host: Any) -> List[Entry]:
    files = _files(host)
    default = _default(host, files)
    shared = grubenv_kernelopts(host)
    return [
        Entry(file.path, file.kernel, tuple(crashkernel.find(_expanded(file.options, shared))), file is default)
        for file in files
    ]


def plan(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Plan:
    """Whole files before and after, computed and checked before the first is written."""
    now = entries(host)
    chosen = select(now, kernels)
    changes = _entry_changes(host, values, kernels) + (_new_kernels(host, values) if "ALL" in kernels else [])
    problems = zipl.problems(host)
    if problems:
        raise KdumpError(problems)
    after = [one._replace(values=tuple(values)) if one in chosen else one for one in now]
    steps = [write_step(change) for change in changes]
    steps += zipl.steps(host, [one.name for one in now], after, bool(steps))
    return Plan(together(steps, {change.path: change.before for change in changes}))


def _entry_changes(host: Any, values: Sequence[str], kernels: Sequence[str]) -> List[Change]:
    chosen = {entry.name for entry in wrong(select(entries(host), kernels), values)}
    files = _files(host)
    sharing = {file.path for file in files if uses_kernelopts(file)}
    shared = grubenv_change(host, values, kernels) if chosen & sharing else None
    changes = []
    for file in files:
        if shared and file.path in sharing:
            changes.append(Change(file.path, file.text, _with_options(file.text, [])))
        elif file.path in chosen:
            changes.append(Change(file.path, file.text, _with_options(file.text, values)))
    before = grubenv_kernelopts(host)
    _check(changes, values, before, kernelopts_of(shared.after) if shared else before)
    return ([shared] if shared else []) + [change for change in changes if change.before != change.after]


def _new_kernels(host: Any, values: Sequence[str]) -> List[Change]:
    grub = newkernels.default_grub(host, values)
    changes = [grub] if grub else []
    text = host.read_text(KERNEL_CMDLINE) if host.is_file(KERNEL_CMDLINE) else None
    if text is not None and not crashkernel.same(crashkernel.find(joined(text)), values):
        change = Change(KERNEL_CMDLINE, text, _with_arguments(text, values))
        _check([change], values, None, None)
        changes.append(change)
    return changes


def notes(host: Any, values: Sequence[str], kernels: Sequence[str]) -> List[Problem]:
    """Unified kernel images carry their command line inside, sealed."""
    found = [
        Problem(
            "The unified kernel image %s has its command line built in." % path,
            "Put crashkernel= into %s and build the image anew." % KERNEL_CMDLINE,
            "kernels",
            path,
        )
        for root in ROOTS
        for path in host.glob(root + "/EFI/Linux/*.efi")
    ]
    return found + newkernels.notes(host, values, kernels, [], grubenv_kernelopts(host))


# --- reading -------------------------------------------------------------------------------------------------------
def _files(host: Any) -> List[File]:
    """The entries that boot a Linux kernel, each file once, whichever way it is reached."""
    found: Dict[str, File] = {}
    for root in ROOTS:
        for path in host.glob(root + "/loader/entries/*.conf"):
            file = read(path, host.read_text(path), root)
            if file:
                found.setdefault(host.realpath(path), file)
    return list(found.values())


def read(path: str, text: str, root: str) -> Optional[File]:
    """One entry's file; None if it boots no Linux kernel. Of a key given twice the last counts, but for options."""
    fields: Dict[str, str] = {}
    options = []
    for key, value in (_field(line) for line in text.splitlines()):
        if key == "options":
            options.append(value)
        else:
            fields[key] = value
    if "linux" not in fields:
        return None
    kernel = "/" + fields["linux"].lstrip("/")
    # The path is one below the file system that holds loader/, which may be the root file system or mounted at `root`.
    if not kernel.startswith("/boot/"):
        kernel = root + kernel
    return File(
        path,
        text,
        kernel,
        fields.get("title", ""),
        fields.get("version", ""),
        fields.get("sort-key", ""),
        " ".join(options),
    )


def _field(line: str) -> Tuple[str, str]:
    match = _FIELD.match(line)
    return (match.group(1), match.group(2).rstrip()) if match else ("", "")


def _expanded(options: str, kernelopts: Optional[str]) -> str:
    return _KERNELOPTS.sub(lambda match: match.group() if kernelopts is None else kernelopts, options)


def _default(host: Any, files: List[File]) -> Optional[File]:
    """The entry that boots next: what the loader has saved or is told, else the newest."""
    newest = sorted(files, key=lambda file: version_key(file.version or file.id), reverse=True)
    newest.sort(key=lambda file: (not file.sort_key, file.sort_key))
    saved = _grubenv(host).get("saved_entry", "")
    if saved.isdecimal() and int(saved) < len(newest):
        return newest[int(saved)]
    for wanted in [saved] + _told(host):
        pattern = re.compile(re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".") + r"\Z")
        for file in newest:
            if wanted and (pattern.match(file.id) or pattern.match(file.id + ".conf") or wanted == file.title):
                return file
    return newest[0] if newest else None


def _told(host: Any) -> List[str]:
    """systemd-boot(7): the EFI variable goes before the `default` of loader.conf; both may be patterns.

    loader.conf(5): `@saved` is the entry that was booted last, which systemd-boot keeps in another variable.
    """
    wanted = [_variable(host, "LoaderEntryDefault")]
    for root in ROOTS:
        lines = host.read_text(root + "/loader/loader.conf", "").splitlines()
        wanted += [value for key, value in (_field(line) for line in lines) if key == "default"]
    return [_variable(host, "LoaderEntryLastBooted") if one == "@saved" else one for one in wanted]


def _variable(host: Any, name: str) -> str:
    path = _VARIABLE % name
    value = host.read(path)[4:] if host.is_file(path) else b""  # after four bytes of attributes
    return str(value.decode("utf-16-le", "replace").rstrip("\0"))


def version_key(version: str) -> List[Tuple[int, int, str]]:
    """A key that sorts versions as RPM does: numbers as numbers and above letters, a tilde below the end."""
    parts = re.findall(r"\d+|[A-Za-z]+|~", version)
    keys = [(3, int(part), "") if part.isdecimal() else (0, 0, "") if part == "~" else (2, 0, part) for part in parts]
    return keys + [(1, 0, "")]


# --- grubenv -------------------------------------------------------------------------------------------------------
def uses_kernelopts(file: File) -> bool:
    return bool(_KERNELOPTS.search(file.options))


def grubenv_path(host: Any) -> str:
    return next((path for path in GRUBENV if host.is_file(path)), "")


def _grubenv(host: Any) -> Dict[str, str]:
    path = grubenv_path(host)
    lines = host.read_text(path).splitlines() if path else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def grubenv_kernelopts(host: Any) -> Optional[str]:
    return _grubenv(host).get("kernelopts")


def kernelopts_of(text: str) -> str:
    return next(line[len("kernelopts=") :] for line in text.splitlines() if line.startswith("kernelopts="))


def grubenv_change(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Change:
    """kernelopts in grubenv with these values. The block keeps its size: GRUB writes into it by position."""
    path = grubenv_path(host)
    text = host.read_text(path) if path else ""
    if not re.search("^kernelopts=", text, re.MULTILINE):
        raise fail(
            "Boot entries use $kernelopts, which grubenv does not hold.",
            "Set it with `grub2-editenv - set kernelopts=…` to what `cat /proc/cmdline` shows, without BOOT_IMAGE=.",
        )
    if "ALL" not in kernels:
        raise fail(
            "The named boot entries share $kernelopts with all others.",
            "Use kernels: ALL, or bootloader: grubby, which gives an entry options of its own.",
            "kernels",
            ",".join(kernels),
        )
    problems = hidden_problems("kernelopts in " + path, kernelopts_of(text))
    if problems:
        raise KdumpError(problems)
    lines = text.rstrip("#").splitlines(True)
    name = "kernelopts="
    lines = [name + edit([line[len(name) :]], values)[0] if line.startswith(name) else line for line in lines]
    body = "".join(lines)
    room = len(text.encode("utf-8", "surrogateescape")) - len(body.encode("utf-8", "surrogateescape"))
    if room < 0:
        raise fail("%s has no room for %s." % (path, arguments(values)), "Shorten kernelopts there.")
    return Change(path, text, body + "#" * room)


# --- writing -------------------------------------------------------------------------------------------------------
def _with_options(text: str, values: Sequence[str]) -> str:
    lines = text.splitlines(True)
    numbers = [number for number, line in enumerate(lines) if _field(line)[0] == "options"]
    if not numbers:
        end = "" if not text or text.endswith("\n") else "\n"
        return text + (end + "options %s\n" % arguments(values) if values else "")
    return _replaced(lines, numbers, values)


def _with_arguments(text: str, values: Sequence[str]) -> str:
    lines = text.splitlines(True)
    numbers = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    if not numbers:
        return text + arguments(values) + "\n"
    return _replaced(lines, numbers, values)


def _replaced(lines: List[str], numbers: List[int], values: Sequence[str]) -> str:
    for number, line in zip(numbers, edit([lines[number] for number in numbers], values)):
        lines[number] = line
    return "".join(lines)


def _check(changes: List[Change], values: Sequence[str], before: Optional[str], after: Optional[str]) -> None:
    """Read the new texts as the boot loader will: so what is in an odd place is found before anything is written.

    `before`, `after`: kernelopts as it is and as it will be.
    """
    problems = []
    for change in changes:
        old, new = _line(change.path, change.before or "", before), _line(change.path, change.after, after)
        if not crashkernel.same(crashkernel.find(new), values):
            problems.append(
                Problem(
                    "%s would still hold %s." % (change.path, arguments(crashkernel.find(new)) or "no crashkernel="),
                    "Nothing was changed. Repair its quotes, or take crashkernel= out by hand.",
                    "value",
                    " ".join(values),
                )
            )
        elif others(new) != others(old):
            # crashkernel= inside of another argument's quotes: with it the closing quote would go.
            problems.append(
                Problem(
                    "The edit of %s would change other arguments than crashkernel=." % change.path,
                    "Nothing was changed. Take crashkernel= out of the quotes of another argument there by hand.",
                    "value",
                    " ".join(values),
                )
            )
    if problems:
        raise KdumpError(problems)


def _line(path: str, text: str, kernelopts: Optional[str]) -> str:
    """The kernel command line that a file gives."""
    file = read(path, text, "")
    return _expanded(file.options, kernelopts) if file else joined(text)
