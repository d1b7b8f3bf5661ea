# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What only the host can tell about a kdump.conf: its devices, mounts, programs and keys. Private to this collection.

Source: check_user_configured_target(), check_size() and verify_core_collector() in mkdumprd, and kdumpctl, of
kdump-utils 1.0.61.
"""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from . import ssh
from .conf import Conf, Target
from .conf_collector import COMPRESSIONS, check_installed, flags, program
from .conf_directives import FILE_SYSTEMS, TARGETS
from .image.kmod import Modules, left_out
from .image.raw import RAW_IN_USE, use_of
from .mounts import FstabEntry, Mount, await_answer, device_path, holding, parse_fstab, parse_mountinfo
from .problems import KdumpError, Parts, Problem, shown

# What kdump can mount in the capture kernel: dump_fs() in kdump.sh.
_DUMPABLE = FILE_SYSTEMS + ["nfs", "nfs4", "virtiofs"]
_ABOUT_TARGET = set(TARGETS) | {"path", "sshkey", "dracut_args"}
_HOOKS = ("kdump_pre", "kdump_post", "kdump_emergency", "extra_bins")


class _Tables(NamedTuple):
    mounts: List[Mount]
    fstab: List[FstabEntry]


def _tables(host: Any) -> _Tables:
    return _Tables(
        parse_mountinfo(host.read_text("/proc/self/mountinfo", "")), parse_fstab(host.read_text("/etc/fstab", ""))
    )


def check_host(host: Any, conf: Conf, predict: bool = False) -> List[Problem]:
    """Why a kdump.conf would fail on this host; directives that are wrong by themselves are not looked at.

    With `predict`, what earlier steps of a play would have brought is not missed: the core collector and the ssh key.
    """
    wrong = {problem.option for problem in conf.problems}
    problems: List[Problem] = []
    if not wrong & _ABOUT_TARGET:
        problems += _target_problems(host, conf, _tables(host), predict)
    if "core_collector" not in wrong:
        problems += _collector_problems(host, conf.get("core_collector"), conf.target.kind, predict)
    for option in [option for option in _HOOKS if option not in wrong]:
        problems += _hook_problems(host, option, conf.get(option))
    if "fence_kdump_nodes" not in wrong:
        problems += _fence_problems(host, conf)
    return problems


def warn_host(host: Any, conf: Conf) -> List[Problem]:
    """What may fail on this host: too little space, modules that are not found, a raw device that holds something."""
    if conf.problems:
        return []
    return list(_space_warnings(host, conf)) + list(_module_warnings(host, conf)) + list(_raw_warnings(host, conf))


def dump_directory(host: Any, conf: Conf) -> Optional[str]:
    """Where dumps appear on the running host, as an absolute path; None for a target that is not mounted here.

    KdumpError where it does not answer.
    """
    directory: Optional[str] = conf.target.location
    if conf.target.kind != "path":
        conf = conf._replace(target=as_directive(conf.target))
        mount = _mount_of(host, conf, _tables(host).mounts) if conf.target.kind in _DUMPABLE else None
        directory = mount.point.rstrip("/") + conf.get("path") if mount else None
    if directory is not None:
        await_answer(host, directory)
    return directory


def as_directive(target: Target) -> Target:
    """dracut's --mount as the directive that means the same."""
    if target.kind != "mount":
        return target
    device, _point, fstype, _options = target.location.split(" ")[:4]
    return Target("nfs" if fstype == "nfs4" else fstype, device)


# --- targets -------------------------------------------------------------------------------------------------------
def _target_problems(host: Any, conf: Conf, tables: _Tables, predict: bool) -> Iterator[Problem]:
    kind, location = conf.target
    if kind == "path":
        yield from _path_problems(host, location, tables)
    elif kind == "ssh":
        yield from _ssh_problems(host, conf, predict)
    elif kind == "mount":
        device = location.split(" ")[0]
        if device.startswith(("/dev/", "UUID=", "LABEL=")):
            yield from _device_problems(host, "dracut_args", device)
    elif kind == "raw":
        yield from _device_problems(host, kind, location)
        yield from _raw_problems(host, location)
    else:
        missing = list(_device_problems(host, kind, location)) if kind in FILE_SYSTEMS else []
        yield from missing or _mount_problems(host, conf, tables)


def _device_problems(host: Any, option: str, location: str) -> Iterator[Problem]:
    device = device_path(host, location)
    if not device or not host.exists(device):
        hint = "`blkid` and `lsblk` list the devices of this host."
        yield Problem("%s: there is no device %s on this host." % (option, shown(location)), hint, option, location)
    elif not host.device_number(device):
        hint = "Name a partition or a logical volume."
        yield Problem("%s: %s is not a block device." % (option, shown(location)), hint, option, location)


def _is_source(host: Any, source: str, conf: Conf) -> bool:
    """Whether a mount's or fstab's source is the dump target."""
    kind, location = conf.target
    if kind not in FILE_SYSTEMS:
        return source.rstrip("/") == location.rstrip("/")
    device, wanted = device_path(host, source), device_path(host, location)
    return bool(device and wanted) and host.realpath(device) == host.realpath(wanted)


def _mount_of(host: Any, conf: Conf, mounts: List[Mount]) -> Optional[Mount]:
    """The mount of a target of its own, that of the whole file system rather than a part of it."""
    kind, location = conf.target
    number = host.device_number(device_path(host, location)) if kind in FILE_SYSTEMS else ""
    # btrfs has anonymous numbers in mountinfo, and /dev/root is no path: either comparison may be the one that tells.
    found = [m for m in mounts if (number and m.device == number) or _is_source(host, m.source, conf)]
    return ([m for m in found if m.root == "/"] + found + [None])[0]  # type: ignore[list-item]


def _mount_problems(host: Any, conf: Conf, tables: _Tables) -> Iterator[Problem]:
    kind, location = conf.target
    mount = _mount_of(host, conf, tables.mounts)
    entry = next((entry for entry in tables.fstab if _is_source(host, entry.source, conf)), None)
    fstype = mount.fstype if mount else entry.fstype if entry else ""
    fstype = {"nfs4": "nfs", "auto": ""}.get(fstype, fstype) or _probed_type(host, conf)
    if fstype and fstype != kind:
        hint = "Write `%s %s`." % (fstype, shown(location)) if fstype in _DUMPABLE else "kdump cannot write to it."
        yield Problem("%s holds %s, not %s." % (shown(location), shown(fstype), kind), hint, kind, location)
    if mount:
        directory = mount.point.rstrip("/") + conf.get("path")
        try:
            await_answer(host, directory)
        except KdumpError as error:
            yield from error.problems
            return
        yield from _directory_problems(host, kind, mount, directory)
    elif entry and ",noauto" not in entry.options:
        # mkdumprd looks for `,noauto`: as the first option it is not seen.
        hint = "Mount it, or give its line in /etc/fstab the options `defaults,noauto`."
        message = "%s is in /etc/fstab and is neither mounted nor marked noauto." % shown(location)
        yield Problem(message, hint, kind, location)


def _probed_type(host: Any, conf: Conf) -> str:
    if conf.target.kind not in FILE_SYSTEMS:
        return ""
    found = host.run(["blkid", "-o", "value", "-s", "TYPE", device_path(host, conf.target.location)])
    return found.out.strip() if found.rc == 0 else ""


def _path_problems(host: Any, path: str, tables: _Tables) -> Iterator[Problem]:
    try:
        await_answer(host, path)
        directory = host.realpath(path)
        mount = holding(tables.mounts, directory)
    except KdumpError as error:
        yield from error.problems
        return
    except OSError as error:
        hint = "Choose a directory that can be reached."
        yield Problem("path %s leads nowhere: %s." % (shown(path), error.strerror), hint, "path", path)
        return
    if mount.fstype not in _DUMPABLE:
        hint = "Choose a directory on one of %s, or name a target." % ", ".join(_DUMPABLE)
        message = "path %s lies on %s, which kdump cannot write to." % (shown(path), shown(mount.fstype))
        yield Problem(message, hint, "path", path)
        return
    yield from _directory_problems(host, "path", mount, directory)


def _directory_problems(host: Any, option: str, mount: Mount, directory: str) -> Iterator[Problem]:
    if host.is_dir(directory):
        return
    parent = directory
    while parent != "/" and not host.exists(parent):
        parent = parent.rpartition("/")[0] or "/"
    if not host.is_dir(parent):
        hint = "Choose another directory, or move what is there."
        message = "The dump directory %s cannot be: %s is a file." % (shown(directory), shown(parent))
        yield Problem(message, hint, option)
    elif "ro" in mount.options.split(",") + mount.super_options.split(","):
        hint = "Create it while %s is mounted read-write." % shown(mount.point)
        yield Problem("The dump directory %s is not there and cannot be created." % shown(directory), hint, option)


def _raw_problems(host: Any, location: str) -> Iterator[Problem]:
    use = use_of(host, location) if host.device_number(location) else ""
    if use:
        yield Problem("raw %s is %s." % (shown(location), use), RAW_IN_USE, "raw", location)


def _ssh_problems(host: Any, conf: Conf, predict: bool) -> List[Problem]:
    """Whether a login could work at all; that it does is for propagate to try."""
    parts = Parts()
    parts.of(None, ssh.usable_key, host, conf.get("sshkey"))
    server = parts.of(None, ssh.server_of, host, conf)
    if server is not None:
        parts.of(None, ssh.pinned_keys, host, server)
    return [problem for problem in parts.errors if not (predict and problem in parts.missing)]


# --- programs ------------------------------------------------------------------------------------------------------
def _collector_problems(host: Any, collector: str, kind: str, predict: bool) -> Iterator[Problem]:
    word = (collector.split() or [""])[0]
    path = (word if host.is_executable(word) else None) if word.startswith("/") else host.which(word)
    if path is None:
        if not predict:
            hint = "Install the package that brings it, or choose another core_collector."
            yield Problem("The core collector %s is not on this host." % shown(word), hint, "core_collector", collector)
    elif program(collector) == "makedumpfile":
        yield from _makedumpfile_problems(host, path, collector, kind)


def _makedumpfile_problems(host: Any, path: str, collector: str, kind: str) -> Iterator[Problem]:
    text = host.run([path, "--help"])
    usage = text.out + text.err
    given = [flag for flag, dummy in flags(collector)]
    for flag in [flag for flag in COMPRESSIONS if flag in given]:
        # --check-params accepts a compression that was left out of this build, and the dump is then not compressed.
        if re.search(r"^%s(?: support:\s+|\t)disabled" % COMPRESSIONS[flag], usage, re.MULTILINE | re.IGNORECASE):
            hint = "Use -c or -l instead; `makedumpfile --help` lists what is enabled."
            message = "This host's makedumpfile was built without %s (%s)." % (COMPRESSIONS[flag], flag)
            yield Problem(message, hint, "core_collector", collector)
    yield from check_installed(host, path, collector, kind, usage)


def _hook_problems(host: Any, option: str, value: str) -> Iterator[Problem]:
    for path in value.split():
        if not host.exists(path):
            hint = "Put it there first, or remove it from kdump.conf."
            yield Problem("%s: there is no %s on this host." % (option, shown(path)), hint, option, path)
        elif not host.is_executable(path):
            hint = "chmod +x %s" % shown(path)
            yield Problem("%s: %s is not an executable file." % (option, shown(path)), hint, option, path)


def _fence_problems(host: Any, conf: Conf) -> Iterator[Problem]:
    nodes = conf.get("fence_kdump_nodes").split()
    if not nodes:
        return
    own = [host.read_text("/proc/sys/kernel/hostname", "").strip()] + host.run(["hostname", "-I"]).out.split()
    for node in [node for node in nodes if node in own]:
        hint = "List the other nodes only."
        yield Problem("fence_kdump_nodes holds this host itself, %s." % shown(node), hint, "fence_kdump_nodes", node)


# --- warnings ------------------------------------------------------------------------------------------------------
def _space_warnings(host: Any, conf: Conf) -> Iterator[Problem]:
    directory = dump_directory(host, conf)
    memory = _memory(host)
    if directory is None or "MemTotal" not in memory:
        return
    while directory != "/" and not host.exists(directory):
        directory = directory.rpartition("/")[0] or "/"
    needed, free = _estimate(memory, conf.get("core_collector")), host.free_bytes(directory)
    if free < needed:
        yield Problem(
            "A dump taken now may need %d MiB, and %s has %d MiB free." % (needed >> 20, shown(directory), free >> 20),
            "Make room, choose another target, or leave more out with makedumpfile -d.",
            "path",
            directory,
        )


def _memory(host: Any) -> Dict[str, int]:
    """/proc/meminfo in bytes."""
    found = re.findall(r"^(\w+): +(\d+) kB$", host.read_text("/proc/meminfo", ""), re.MULTILINE)
    return {name: 1024 * int(size) for name, size in found}


def _estimate(memory: Dict[str, int], collector: str) -> int:
    """The bytes of a dump without compression: all memory, less what makedumpfile's level leaves out now."""
    level = 0
    if program(collector) == "makedumpfile":
        levels = ",".join(text for flag, text in flags(collector) if flag == "-d") or "0"
        level = max(map(int, levels.split(",")))
    left_out = {4: ("Cached", "Buffers"), 8: ("AnonPages",), 16: ("MemFree",)}
    return memory.get("MemTotal", 0) - sum(
        memory.get(name, 0) for bit in left_out if level & bit for name in left_out[bit]
    )


def _module_warnings(host: Any, conf: Conf) -> List[Problem]:
    names = conf.get("extra_modules").split()
    try:
        return left_out(Modules(host, host.kernel.release), names) if names else []
    except KdumpError as error:
        return error.problems


def _raw_warnings(host: Any, conf: Conf) -> Iterator[Problem]:
    kind, location = conf.target
    if kind != "raw":
        return
    found = host.run(["blkid", "-p", "-o", "value", "-s", "TYPE", location])
    if found.rc == 0 and found.out.strip():
        message = "raw %s holds %s, which a dump overwrites." % (shown(location), shown(found.out.strip()))
        yield Problem(message, "wipefs -a it if that is meant.", "raw", location)
    sectors = host.read_text("/sys/dev/block/%s/size" % host.device_number(location), "").strip()
    needed = _estimate(_memory(host), conf.get("core_collector"))
    if sectors.isdigit() and int(sectors) * 512 < needed:  # in these units whatever the disk's own are
        message = "A dump taken now may need %d MiB, and raw %s has %d MiB." % (
            needed >> 20, shown(location), int(sectors) * 512 >> 20)  # fmt: skip
        yield Problem(message, "Choose a larger one, or leave more out with makedumpfile -d.", "raw", location)
