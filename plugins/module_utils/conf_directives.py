# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every directive of kdump.conf: its name, kind, default, and what its value must look like.

Private to this collection. Source: parse_config() in kdumpctl and mkdumprd of kdump-utils 1.0.61. Where kdump-utils
accepts a value and then does something else than what is written, the value is an error here.
"""

import difflib
import ipaddress
import re
import shlex
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

from .conf_collector import check_collector
from .problems import Problem, shown

TARGET = "target"  # where the dump goes: one of these at most
FLAG = "flag"  # 0 or 1
YES_NO = "yes_no"
LIST = "list"  # words on one line
COMMAND = "command"  # a program's arguments on one line
TEXT = "text"


class Directive(NamedTuple):
    """`check(name, value)` yields what is wrong with a value that is not empty."""

    name: str
    kind: str
    check: Callable[[str, str], Iterator[Problem]]
    default: str = ""


class MountArgument(NamedTuple):
    """What dracut's `--mount "device point fstype options"` names."""

    device: str
    point: str
    fstype: str
    options: str


# --- shapes of values ----------------------------------------------------------------------------------------------
_DEVICE = re.compile(r"/dev/[^\s\"']+|(?:LABEL|UUID)=[^\s\"']+")
_ABSOLUTE = re.compile(r"/[^\s\"'`$\\;&|<>()*?\[\]{}!]*")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_MOUNT = re.compile(r"(?:^|(?<=\s))--mount (?P<quote>[\"'])(?P<words>[^\"']*)(?P=quote)(?=\s|$)")
_TAG_BYTES = 36  # struct virtio_fs_config in include/uapi/linux/virtio_fs.h


def _device(name: str, value: str) -> Iterator[Problem]:
    bare = value.replace('"', "")
    if _DEVICE.fullmatch(bare):
        return
    if value.startswith(("PARTUUID=", "PARTLABEL=")):
        hint = "Only UUID= and LABEL= are known to kdump: name the file system's UUID (see blkid)."
    elif len(value.split()) > 1:
        hint = "Give the device alone: its mount point and options are read from the mount table and /etc/fstab."
    elif ":/" in value:
        hint = "For a directory on a server write `nfs %s`." % shown(value)
    else:
        hint = "Write a path such as /dev/vg/lv_kdump, LABEL=name or UUID=number."
    yield Problem("%s %s does not name a block device." % (name, shown(value)), hint, name, shown(value))


def _raw(name: str, value: str) -> Iterator[Problem]:
    if not (value.startswith("/dev/") and _DEVICE.fullmatch(value)):
        hint = "Write the path of an unformatted partition that does not change its name, such as /dev/disk/by-id/…"
        yield Problem("raw %s is not the path of a block device." % shown(value), hint, name, shown(value))


def _virtiofs(name: str, value: str) -> Iterator[Problem]:
    if len(value.split()) > 1 or len(value.encode("utf-8", "surrogateescape")) > _TAG_BYTES:
        hint = "A tag is one word of at most %d bytes, as the hypervisor's configuration names it." % _TAG_BYTES
        yield Problem("virtiofs %s is not a virtiofs tag." % shown(value), hint, name, shown(value))


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).version == 6
    except ValueError:
        return False


def _nfs(name: str, value: str) -> Iterator[Problem]:
    server, colon, export = value.rpartition(":/")
    if len(value.split()) > 1:
        hint = "Give `server:/export` alone: mount options are read from the mount table and /etc/fstab."
    elif not colon:
        hint = "Write `server:/export`."
    elif server.startswith("[") and server.endswith("]") and _is_ipv6(server[1:-1]):
        return
    elif _is_ipv6(server):
        hint = "An IPv6 address stands in brackets here: [%s]:/%s." % (server, export)
    elif _HOSTNAME.fullmatch(server):
        return
    else:
        hint = "The server is a host name, an IPv4 address or an IPv6 address in brackets."
    yield Problem("nfs %s is not a server and its export." % shown(value), hint, name, shown(value))


def _ssh(name: str, value: str) -> Iterator[Problem]:
    user, at, server = value.rpartition("@")
    if not at or not user:
        hint = "Write `user@server`: the user's name is required."
    elif not _USER.fullmatch(user):
        hint = "A user's name is made of letters, digits, `_`, `.` and `-`, and does not begin with `-`."
    elif server.startswith("["):
        hint = "An IPv6 address stands without brackets here."
    elif _is_ipv6(server):
        if server == server.lower():
            return
        hint = "Write the address in lower case: kdump compares it with what `ssh -G` prints."
    elif ":" in server or "/" in server:
        hint = "Write `user@server` alone: the directory is `path`'s, the port is set in /etc/ssh/ssh_config."
    elif not _HOSTNAME.fullmatch(server):
        hint = "The server is a host name or an address."
    elif server != server.lower():
        hint = "Write the host name in lower case: kdump compares it with what `ssh -G` prints."
    else:
        return
    yield Problem("ssh %s is not a user and a server." % shown(value), hint, name, shown(value))


def _absolute(name: str, value: str) -> Iterator[Problem]:
    if not value.startswith("/"):
        hint = "Write it from the root, beginning with `/`."
        yield Problem("%s %s is not an absolute path." % (name, shown(value)), hint, name, shown(value))
    elif not _ABSOLUTE.fullmatch(value):
        hint = "Use a path without blanks, quotes and what else a shell acts on: kdump's scripts do not quote it."
        yield Problem("%s %s cannot be handed to a shell." % (name, shown(value)), hint, name, shown(value))
    elif ".." in value.split("/"):
        hint = "Write the path without `..`."
        yield Problem("%s %s climbs out of its directory." % (name, shown(value)), hint, name, shown(value))


def _paths(name: str, value: str) -> Iterator[Problem]:
    for word in value.split():
        yield from _absolute(name, word)


def _modules(name: str, value: str) -> Iterator[Problem]:
    for word in value.split():
        if not _MODULE.fullmatch(word):
            hint = "Write the module's name as lsmod prints it, without a directory and without .ko."
            yield Problem("%s %s is not a module's name." % (name, shown(word)), hint, name, shown(word))


def _nodes(name: str, value: str) -> Iterator[Problem]:
    for word in value.split():
        if not _HOSTNAME.fullmatch(word) and not _is_ipv6(word):
            hint = "Write the other nodes' names or addresses, separated by blanks."
            yield Problem("%s %s is not a host's name." % (name, shown(word)), hint, name, shown(word))


def _choice(*choices: str) -> Callable[[str, str], Iterator[Problem]]:
    def check(name: str, value: str) -> Iterator[Problem]:
        if value not in choices:
            hint = "Choose one of %s.%s" % (", ".join(choices), did_you_mean(value, choices))
            yield Problem("%s cannot be %s." % (name, shown(value)), hint, name, shown(value))

    return check


def _auto_reset(name: str, value: str) -> Iterator[Problem]:
    if value not in ("yes", "no"):
        hint = "Write yes or no: anything but `no` is read as yes, and kdump then overwrites your crashkernel value."
        yield Problem("auto_reset_crashkernel cannot be %s." % shown(value), hint, name, shown(value))


def _dracut(name: str, value: str) -> Iterator[Problem]:
    try:
        shlex.split(value)
    except ValueError as error:
        hint = "Close every quote that is opened."
        yield Problem("dracut_args cannot be split into arguments: %s." % error, hint, name, shown(value))
        return
    problem = _mount_problem(value)
    if problem:
        hint = 'Write it exactly so: --mount "server:/export /mnt nfs4 defaults".'
        yield Problem("dracut_args: %s" % problem, hint, name, shown(value))


def _mount_problem(value: str) -> str:
    """What is wrong with --mount in dracut's arguments; "" for nothing, or where it is not there.

    Source: get_dracut_args_fstype() in kdump-lib-initramfs.sh cuts the words at single blanks, and the closing quote
    stays with the last one: four words are needed for the third to be clean.
    """
    if "--mount" not in value:
        return ""
    if value.count("--mount") > 1:
        return "there is more than one --mount."
    if "--mount=" in value:
        return "--mount= is read as a mount of nothing."
    found = _MOUNT.search(value)
    if not found:
        return "what follows --mount is not quoted, and kdump then drops its first character."
    words = found.group("words").split(" ")
    if len(words) < 4 or "" in words:
        return "--mount takes a device, a mount point, a file system type and options, with one blank between them."
    if not words[1].startswith("/"):
        return "the mount point %s is not an absolute path." % shown(words[1])
    return ""


def mount_argument(value: str) -> Optional[MountArgument]:
    """The mount that dracut's arguments name, or None; only the form that kdump reads right counts."""
    found = _MOUNT.search(value)
    if not found or _mount_problem(value):
        return None
    return MountArgument(*found.group("words").split(" ")[:4])


def without_mount(value: str) -> str:
    """dracut's arguments but for --mount, in whatever form it is written."""
    return " ".join(re.sub(r"--mount(?:[= ]?(?:\"[^\"]*\"|'[^']*'|\S*))?", " ", value).split(" ")).strip(" \t")


def _anything(name: str, value: str) -> Iterator[Problem]:
    return iter(())


# --- the table -----------------------------------------------------------------------------------------------------
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix")
_ACTIONS = ("reboot", "halt", "poweroff")

DIRECTIVES: Dict[str, Directive] = {
    directive.name: directive
    for directive in [Directive(name, TARGET, _device) for name in _FILE_SYSTEMS]
    + [
        Directive("virtiofs", TARGET, _virtiofs),
        Directive("nfs", TARGET, _nfs),
        Directive("raw", TARGET, _raw),
        Directive("ssh", TARGET, _ssh),
        Directive("sshkey", TEXT, _absolute, "/root/.ssh/kdump_id_rsa"),
        Directive("path", TEXT, _absolute, "/var/crash"),
        Directive("core_collector", COMMAND, check_collector, "makedumpfile -l --message-level 7 -d 31"),
        Directive("failure_action", TEXT, _choice(*(_ACTIONS + ("shell", "dump_to_rootfs"))), "reboot"),
        Directive("final_action", TEXT, _choice(*_ACTIONS), "reboot"),
        Directive("kdump_pre", TEXT, _absolute),
        Directive("kdump_post", TEXT, _absolute),
        Directive("kdump_emergency", TEXT, _absolute),
        Directive("extra_bins", LIST, _paths),
        Directive("extra_modules", LIST, _modules),
        Directive("dracut_args", COMMAND, _dracut),
        Directive("force_rebuild", FLAG, _choice("0", "1"), "0"),
        Directive("force_no_rebuild", FLAG, _choice("0", "1"), "0"),
        Directive("auto_reset_crashkernel", YES_NO, _auto_reset, "yes"),
        Directive("fence_kdump_args", COMMAND, _anything),
        Directive("fence_kdump_nodes", LIST, _nodes),
    ]
}
TARGETS: List[str] = [directive.name for directive in DIRECTIVES.values() if directive.kind == TARGET]
FILE_SYSTEMS: List[str] = list(_FILE_SYSTEMS)

_OLD_NAMES = {"default": "failure_action"}
# Keys that kdump-utils refuses, or that users write here by mistake, and what to write instead.
_REMOVED = {
    "net": "Write `nfs server:/export` or `ssh user@server`.",
    "options": "Put MODULE.OPTION=VALUE into KDUMP_COMMANDLINE_APPEND in /etc/sysconfig/kdump.",
    "link_delay": "Remove the line: the capture image waits for its network device by itself.",
    "disk_timeout": "Remove the line: the capture image waits for its disks by itself.",
    "debug_mem_level": "Put rd.memdebug=N into KDUMP_COMMANDLINE_APPEND in /etc/sysconfig/kdump.",
    "blacklist": "Put rd.driver.blacklist=MODULE into KDUMP_COMMANDLINE_APPEND in /etc/sysconfig/kdump.",
}
_ELSEWHERE = {
    "nfs4": "Write `nfs server:/export`: the NFS version is found from the mount.",
    "crashkernel": "The reservation is a parameter of the kernel's command line, not of kdump.conf.",
}


def canonical(name: str) -> str:
    """Today's spelling of a directive's name."""
    return _OLD_NAMES.get(name, name)


def spellings(name: str) -> List[str]:
    """A directive's name and its old spellings."""
    return [name] + [old for old, new in _OLD_NAMES.items() if new == name]


def unknown_name(name: str, value: str) -> Problem:
    """What to say about a key that is not a directive."""
    if name in _REMOVED:
        return Problem("%s is no longer a directive of kdump.conf." % name, _REMOVED[name], name, shown(value))
    message = "%s is not a directive of kdump.conf." % shown(name)
    if name in _ELSEWHERE:
        hint = _ELSEWHERE[name]
    elif re.match(r"[A-Z_]+(=|$)", name):
        hint = "Variables in capitals belong into /etc/sysconfig/kdump."
    else:
        hint = did_you_mean(name, DIRECTIVES).strip() or "Remove it; kdump.conf(5) lists what there is."
    return Problem(message, hint, shown(name), shown(value))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word[:40], list(known), 1)
    return " Did you mean %s?" % close[0] if close else ""
