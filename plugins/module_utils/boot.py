# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What arms a host at boot: the program, its unit, the hooks of kernel packages. Private to this collection.

The program is a zip file of this package (see program.py), which any Python from 3.6 on runs by itself.
"""

import functools
import hashlib
import importlib.util
import io
import re
import zipfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import cmdline, conf, evidence, kexec, layout, servers
from .plan import Plan, Step
from .problems import Problem, fail, shown

_PACKAGE = __name__.rpartition(".")[0]  # ansible_collections.vmcore.kdump.plugins.module_utils

_IMPORT = re.compile(r"^[ \t]*from (\.+)([\w.]*) import (?:\(([^)]*)\)|(.*))", re.MULTILINE)
_NAME = re.compile(r"\w+")
_MEND = "Run the role vmcore.kdump.kdump, or the module vmcore.kdump.boot, on this host."

_MAIN = """\
import sys

from %s import main

sys.exit(main(sys.argv[1:]))
"""


# --- the program ---------------------------------------------------------------------------------------------------
@functools.lru_cache(maxsize=None)
def program_bytes(program: str = _PACKAGE + ".program") -> bytes:
    """The zip file of a program: the same bytes from the same sources, on every host and with every Python.

    program: the module whose main() it runs; all of this package that it imports is in the file as well.
    Nothing is compressed, because the result of zlib depends on its version.
    """
    files = {"__main__.py": _MAIN % program}
    for name, source in _sources(program).items():
        files[name] = source
        folders = name.split("/")[:-1]
        for count in range(1, len(folders) + 1):
            files.setdefault("/".join(folders[:count]) + "/__init__.py", "")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix
            archive.writestr(entry, files[name].encode("utf-8"))
    return out.getvalue()


def _sources(start: str) -> Dict[str, str]:
    """A module of this package and all of the package that it imports: paths in the zip file, and source texts.

    Read through the import system, because an Ansible module runs out of a zip file itself.
    """
    found: Dict[str, str] = {}
    pending = [start]
    seen = set(pending)
    while pending:
        name = pending.pop()
        spec = _spec(name)
        if spec is None or spec.loader is None:
            continue  # a name in a module, not a module
        package = spec.submodule_search_locations is not None
        source = spec.loader.get_source(name)  # type: ignore[attr-defined]
        if isinstance(source, bytes):  # on the controller, where Ansible's own loader is
            source = source.decode("utf-8")
        found[name.replace(".", "/") + ("/__init__.py" if package else ".py")] = source
        for needed in _imports(source, name if package else name.rpartition(".")[0]):
            if needed not in seen:
                seen.add(needed)
                pending.append(needed)
    return found


def _spec(name: str) -> Any:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError):  # its parent is not a package
        return None


def _imports(source: str, package: str) -> Iterator[str]:
    """Everything in this package that relative imports of a module in `package` may mean; a name too many does no harm.

    Not by Python's own parser: 0.3 s of CPU for the boot-time program, and 0.01 s so.
    """
    for dots, module, bracketed, plain in _IMPORT.findall(source):
        parts = package.split(".")
        base = ".".join(parts[: len(parts) - len(dots) + 1] + ([module] if module else []))
        yield base
        for name in _NAME.findall(bracketed or plain):
            yield base + "." + name


# --- texts ---------------------------------------------------------------------------------------------------------
_UNIT = """\
# Written by the Ansible collection vmcore.kdump; changes are lost.
[Unit]
Description=Load the kernel that captures a crash
Documentation=https://docs.kernel.org/admin-guide/kdump/kdump.html
# Not stopped at shutdown, so that a crash there is captured too; a panic early at boot is worth capturing as well.
DefaultDependencies=no
Wants={wants}
After={after}
ConditionKernelCommandLine=crashkernel

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} -I -S {program} arm
ExecReload={python} -I -S {program} arm
ExecStop={python} -I -S {program} unload
TimeoutStartSec={limit}
UMask=0077
# Nothing that makes a mount namespace: the dump target is looked up among the host's own mounts.
LockPersonality=yes
RestrictRealtime=yes

[Install]
WantedBy=multi-user.target
"""

# One rename, which needs no room on the disk: a shutdown waits for nothing here, and no failure of it is one of the
# shutdown's. A kexec reboot stops it as well; a panic, `reboot -f` and a power cut do not.
_UNIT_END = """\
# Written by the Ansible collection vmcore.kdump; changes are lost.
[Unit]
Description=Note whether this boot ends by a shutdown
DefaultDependencies=no
RequiresMountsFor={state}
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target
IgnoreOnIsolate=yes
ConditionKernelCommandLine=crashkernel

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} -I -S {program} begin
ExecStop=-/bin/mv -f {running} {ended}
TimeoutStopSec=5
UMask=0077
"""

# The core headers of a loaded kernel describe the CPUs and memory of the time of its load; where crash_hotplug is 1
# the kernel keeps them up to date (Linux 6.6). The first TEST keeps this quiet while udev goes through all devices at
# boot, the second one where another engine is in charge.
_UDEV_RULE = """\
# Written by the Ansible collection vmcore.kdump; changes are lost.
SUBSYSTEM!="cpu|memory", GOTO="vmcore_kdump_end"
ATTRS{{crash_hotplug}}=="1", GOTO="vmcore_kdump_end"
TEST!="{loaded}", GOTO="vmcore_kdump_end"
TEST!="{link}", GOTO="vmcore_kdump_end"
SUBSYSTEM=="cpu", ACTION=="add|remove", RUN+="/bin/systemctl --no-block reload-or-restart {unit}"
SUBSYSTEM=="memory", ACTION=="online|offline", RUN+="/bin/systemctl --no-block reload-or-restart {unit}"
LABEL="vmcore_kdump_end"
"""

# A hook never fails: a kernel's installation must not end because of its capture image, which is built at boot as well.
_HOOK_HEAD = """\
#!/bin/sh
# Written by the Ansible collection vmcore.kdump; changes are lost.
"""
_HOOK_GUARD = """\
# Only on a running host that arms itself: not in a chroot, not while an image of a system is being made.
[ -n "$version" ] && [ -d /run/systemd/system ] && [ -L {link} ] && [ -f {program} ] || exit 0
"""
_HOOK_BUILD = """\
{python} -I -S {program} build --kernel "$version" >&2 ||
    echo "vmcore.kdump: no capture image for kernel $version yet; it is built again when that kernel boots" >&2
exit 0
"""
_HOOK_REMOVE = """\
{python} -I -S {program} remove --kernel "$version" >&2
exit 0
"""
_POSTINST = _HOOK_HEAD + 'version="$1"\n' + _HOOK_GUARD + _HOOK_BUILD
_POSTRM = _HOOK_HEAD + 'version="$1"\n' + _HOOK_GUARD + _HOOK_REMOVE
_INSTALL = (
    _HOOK_HEAD
    + 'version="$2"\n'
    + _HOOK_GUARD
    + 'case "$1" in\nadd)\n    '
    + _HOOK_BUILD.replace("\n", "\n    ").rstrip()
    + "\n    ;;\nremove)\n    "
    + _HOOK_REMOVE.replace("\n", "\n    ").rstrip()
    + "\n    ;;\nesac\nexit 0\n"
)


class _File(NamedTuple):
    path: str
    text: str
    mode: int = 0o644


def _files(host: Any, python: str) -> List[_File]:
    """The text files of an armed host."""
    known = conf.parse(host.read_text(layout.CONF, ""))
    remote = _remote(host, known)
    words = {
        "python": python,
        "program": layout.PROGRAM,
        "link": layout.UNIT_LINK,
        "unit": layout.UNIT_NAME,
        "loaded": layout.LOADED,
        "state": layout.STATE_DIR,
        "running": layout.RUNNING,
        "ended": layout.ENDED,
        "wants": " ".join([layout.UNIT_END_NAME] + remote),
        "after": " ".join(["local-fs.target"] + remote),
        # A dump on a raw device becomes a file first, for the next one would overwrite it.
        "limit": "4h" if known.target.kind == "raw" else "15min",
    }
    return [
        _File(layout.UNIT, _UNIT.format(**words)),
        _File(layout.UNIT_END, _UNIT_END.format(**words)),
        _File(layout.UDEV_RULE, _UDEV_RULE.format(**words)),
        _File(layout.HOOK_POSTINST, _POSTINST.format(**words), 0o755),
        _File(layout.HOOK_POSTRM, _POSTRM.format(**words), 0o755),
        _File(layout.HOOK_INSTALL, _INSTALL.format(**words), 0o755),
    ]


def _remote(host: Any, known: conf.Conf) -> List[str]:
    """What the image for a server is made from is known when these are reached, or have been waited for."""
    if not servers.names(host, known):
        return []
    mounted = known.target.kind == "path" and servers.exports(host, known.target.location)
    return ["network-online.target"] + (["remote-fs.target"] if mounted else [])


# --- deciding ------------------------------------------------------------------------------------------------------
def decide(host: Any, state: str, python: str, program: str = _PACKAGE + ".program") -> Plan:
    """The plan that brings a host to a state.

    present: installed and enabled · disabled: installed, not started at boot, nothing of ours loaded · absent: nothing
    of this collection's state is left, /etc/kdump.conf and /etc/sysconfig/kdump excepted (they are not only ours)
    python: the interpreter that runs this
    program: the name of the module that the installed program is made of, with all that it imports
    """
    if host.readlink(layout.UNIT) is not None:
        raise fail(
            "%s is a symbolic link to %s: the unit is masked." % (layout.UNIT, host.readlink(layout.UNIT)),
            "Unmask it (systemctl unmask %s), then run again." % layout.UNIT_NAME,
        )
    if state == "absent":
        return Plan(disarm(host) + unload(host) + _remove_all(host))
    python = stable_python(host, python)
    if any(char in python for char in " \t\n\"'\\$%{}"):
        raise fail("The interpreter %s has characters in its path that a unit cannot hold." % python,
                   "Set ansible_python_interpreter to another.")  # fmt: skip
    steps, written = _install(host, python, program)
    if state == "disabled":
        return Plan(steps + _reload_steps(host, written) + disarm(host) + unload(host))
    linked = _enable(host)
    reload = _reload_steps(host, written + ([layout.UNIT_LINK] if linked else []))
    return Plan(steps + linked + reload + _begin_steps(host))


def report(host: Any) -> Dict[str, Any]:
    """What is installed now: program {path, digest} (digest "" where there is none), enabled."""
    there = host.is_file(layout.PROGRAM)
    digest = hashlib.sha256(host.read(layout.PROGRAM)).hexdigest() if there else ""
    return {"program": {"path": layout.PROGRAM, "digest": digest}, "enabled": is_enabled(host)}


def is_enabled(host: Any) -> bool:
    """Whether systemd starts the unit at boot: by the link that `systemctl enable` makes, and nothing else."""
    return _link(host) == layout.UNIT and host.is_file(layout.UNIT)


def problems(host: Any) -> List[Problem]:
    """Why the unit would arm nothing at the next boot, though it is enabled.

    Looked at is only what another version of this collection, or another interpreter, has written alike.
    """
    if not is_enabled(host):
        return []
    found = []
    if not host.is_file(layout.PROGRAM) or host.read(layout.PROGRAM, 2) != b"PK":
        found.append("%s is missing or damaged" % layout.PROGRAM)
    starts = re.findall("^ExecStart=(.*)$", host.read_text(layout.UNIT), re.MULTILINE)
    command = re.fullmatch(r"(/\S+)( -\S+)* %s arm" % re.escape(layout.PROGRAM), starts[0] if len(starts) == 1 else "")
    if command is None:
        found.append("%s was changed and does not run %s" % (layout.UNIT, layout.PROGRAM))
    elif not host.exists(command.group(1)):
        found.append("%s names the interpreter %s, which is gone" % (layout.UNIT, shown(command.group(1))))
    return [Problem("Nothing arms this host at boot: %s." % sentence, _MEND) for sentence in found]


def warnings(host: Any) -> List[Problem]:
    """Why nobody would be told of a crash that leaves nothing."""
    if not is_enabled(host):
        return []
    if not host.is_file(layout.UNIT_END):
        return [Problem("How boots end is not noted: %s is missing." % layout.UNIT_END, _MEND)]
    # At boot the two units start at the same time, and loading takes the longer.
    if not _notes_ends(host) or not kexec.is_loaded(host) or evidence.is_noted(host):
        return []
    return [Problem(
        "How this boot ends is not noted, so a crash that leaves nothing would not be told: %s has failed or was stopped."
        % layout.UNIT_END_NAME,
        "`systemctl status {0}` says why; mend that, then `systemctl restart {0}`.".format(layout.UNIT_END_NAME),
    )]  # fmt: skip


def stable_python(host: Any, python: str) -> str:
    """A path of this interpreter that outlives its next minor version: /usr/bin/python3.12 goes with an upgrade."""
    for name in ("/usr/libexec/platform-python", "/usr/bin/python3", "/usr/local/bin/python3"):
        if host.exists(name) and host.realpath(name) == host.realpath(python):
            return name
    return python


def _link(host: Any) -> Optional[str]:
    """The unit that the link names, as an absolute path; None where there is no link."""
    target = host.readlink(layout.UNIT_LINK)
    folder = layout.UNIT.rpartition("/")[0]
    return {"../" + layout.UNIT_NAME: folder + "/" + layout.UNIT_NAME}.get(target, target)


def _install(host: Any, python: str, program: str) -> Tuple[List[Step], List[str]]:
    """The steps, and the paths of the text files among what they write."""
    steps = []
    wanted = program_bytes(program)
    present = host.read(layout.PROGRAM) if host.is_file(layout.PROGRAM) else b""
    if present != wanted:
        steps.append(Step(
            "write " + layout.PROGRAM, lambda target: target.write(layout.PROGRAM, wanted, 0o755),
            _digest_line(present), _digest_line(wanted),
        ))  # fmt: skip
    files = [file for file in _files(host, python) if not _is_there(host, file)]
    return steps + [_write(host, file) for file in files], [file.path for file in files]


def _digest_line(data: bytes) -> str:
    return "sha256 %s\n" % hashlib.sha256(data).hexdigest() if data else ""


def _is_there(host: Any, file: _File) -> bool:
    found = host.stat(file.path)
    same_mode = found is not None and found.st_mode & 0o7777 == file.mode
    return same_mode and host.read_text(file.path, "") == file.text


def _write(host: Any, file: _File) -> Step:
    found = host.stat(file.path)
    other_mode = found is not None and found.st_mode & 0o7777 != file.mode

    def apply(target: Any) -> None:
        if other_mode:
            target.remove(file.path)  # Host.write keeps the mode of what it replaces
        target.write(file.path, file.text.encode("utf-8"), file.mode)

    return Step("write " + file.path, apply, host.read_text(file.path, ""), file.text)


def _enable(host: Any) -> List[Step]:
    if _link(host) == layout.UNIT:
        return []
    return [Step(
        "enable " + layout.UNIT_NAME, lambda target: target.symlink(layout.UNIT, layout.UNIT_LINK),
        "disabled\n", "enabled\n",
    )]  # fmt: skip


def disarm(host: Any) -> List[Step]:
    """Not started at boot, which also keeps the hooks of kernel packages quiet; what is loaded stays."""
    if host.readlink(layout.UNIT_LINK) is None:
        return []
    return [Step(
        "disable " + layout.UNIT_NAME, lambda target: target.remove(layout.UNIT_LINK), "enabled\n", "disabled\n",
    )] + _reload_steps(host, [layout.UNIT_LINK])  # fmt: skip


def unload(host: Any) -> List[Step]:
    """What this engine has loaded."""
    steps: List[Step] = []
    for kind in ("crash", "reboot"):
        # Hardened hosts set kernel.kexec_load_disabled once they are armed: there a reboot unloads.
        if kexec.loaded(host, kind) and not kexec.facts(host, kind).disabled:
            steps += kexec.decide(host, dict(kexec.REQUEST, type=kind, state="unloaded")).steps
    return steps


def _reload_steps(host: Any, paths: List[str]) -> List[Step]:
    """systemd and udev read their files anew, where they run and these are theirs."""
    if not host.is_dir("/run/systemd/system"):
        return []
    steps = []
    if any(path.startswith("/etc/systemd/") for path in paths):
        steps.append(_command(["systemctl", "daemon-reload"]))
    if layout.UDEV_RULE in paths:
        steps.append(_command(["udevadm", "control", "--reload"]))
    return steps


def _notes_ends(host: Any) -> bool:
    """Nothing is to be noted, and systemd starts nothing, in a boot without a reservation."""
    asked = cmdline.values(cmdline.split(host.read_text("/proc/cmdline", "")), "crashkernel")
    return bool(asked) and bool(host.is_dir("/run/systemd/system"))


def _begin_steps(host: Any) -> List[Step]:
    """How this boot ends is noted from now on; at the next ones systemd does that."""
    if not _notes_ends(host) or host.exists(layout.BEGUN):
        return []

    def apply(target: Any) -> None:
        target.run(["systemctl", "restart", layout.UNIT_END_NAME], timeout=120)
        if not target.exists(layout.BEGUN):  # no reason to leave a host unarmed; the next boot tries again
            target.write(layout.BEGUN, b"failed\n", 0o600)

    return [Step("start " + layout.UNIT_END_NAME, apply)]


def _command(argv: List[str]) -> Step:
    def apply(host: Any) -> None:
        result = host.run(argv, timeout=120)
        if result.rc:
            raise fail("`%s` failed: %s" % (" ".join(argv), (result.err or result.out).strip()),
                       "The files are in place: run it by hand, or reboot.")  # fmt: skip

    return Step(" ".join(argv), apply)


def _remove_all(host: Any) -> List[Step]:
    """Every file that this collection keeps on a host, what killed runs left of it, and then its own directories."""
    paths = [layout.UNIT, layout.UNIT_END, layout.UDEV_RULE]
    paths += [layout.HOOK_POSTINST, layout.HOOK_POSTRM, layout.HOOK_INSTALL]
    others = [layout.UNIT_LINK, layout.CONF, layout.SYSCONFIG, layout.TRIGGERS]
    paths += [host.temporary(path) for path in paths + others]
    folders = [layout.PROGRAM.rpartition("/")[0], layout.IMAGE_DIR] + layout.ENGINE_DIRS
    reports = [layout.FAILED + "/" + name for name in host.listdir(layout.FAILED)]
    folders += [path for path in reports if host.is_dir(path)] + [layout.FAILED, layout.STATE_DIR]
    folders += [layout.RUN_DIR + "/look", layout.RUN_DIR]
    for folder in folders:
        inside = [folder + "/" + name for name in host.listdir(folder)]
        paths += [path for path in inside if not host.is_dir(path) and path != layout.RECEIVER]
    present = [path for path in paths if host.exists(path) or host.readlink(path) is not None]
    steps = [_remove(host, path) for path in present]
    if host.exists(layout.RECEIVER):  # this host is a dump server as well
        folders = folders[1:]
    left = [folder for folder in folders if host.is_dir(folder)]
    if left:
        steps.append(Step("remove the directories " + " ".join(left), lambda target: _remove_folders(target, left)))
    return steps + _reload_steps(host, present)


def _remove(host: Any, path: str) -> Step:
    text = path.endswith((".service", ".rules", ".json", ".install")) or path.startswith("/etc/")
    before = host.read_text(path, "") if text else path + "\n"
    return Step("remove " + path, lambda target: target.remove(path), before, "")


def _remove_folders(host: Any, folders: List[str]) -> None:
    for folder in folders:
        host.remove_empty_directory(folder)
        if host.is_dir(folder):
            raise fail(
                "%s holds what this collection did not write: %s." % (folder, ", ".join(host.listdir(folder))),
                "Move it away, then run again.",
            )
