# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host's dumps lie, and how the running host looks at them. Private to this collection.

In a directory of the running host that is at once. A file system that is not mounted is mounted for the look, read-only,
where nobody else sees it; a dump server is asked over ssh, as the capture kernel logs in there.
"""

import json
import shlex
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import boot, conf_check, dumps, layout, mounts, proof, ssh
from .conf_directives import FILE_SYSTEMS
from .image import nfs, store
from .problems import KdumpError, Problem, fail, shown

HERE = "here"
MOUNT = "mount"
SSH = "ssh"

LISTER = __name__.rpartition(".")[0] + ".lister"  # the program for servers without a receiver
_POINT = layout.RUN_DIR + "/look"
_KNOWN_HOSTS = layout.RUN_DIR + "/look-known_hosts"
_CONNECT = 20  # seconds
_LIST = 120.0
_DEEP = 3600.0
_MOUNT = 60.0
_RESCUED = 5
_SHARE = "virtiofs"
_SHARED = nfs.FSTYPES + (_SHARE,)  # what many hosts may have mounted
_SAFE = "ro,nosuid,nodev,noexec"
# A crash may have left a journal that is to be replayed, which writes, also for a mount that is read-only. All these take
# the word (fs/ext4/super.c, fs/xfs/xfs_super.c, fs/btrfs/super.c). What only the journal holds is not seen then; /init
# unmounts what it has written, so that is a dump whose capture did not come to its end.
_NO_REPLAY = "norecovery"
_JOURNALED = ("ext3", "ext4", "xfs", "btrfs")
# Run there by `python3 -c`: the program comes on standard input, and a zip file has to be a file.
_BOOTSTRAP = (
    "import runpy,sys,tempfile;f=tempfile.NamedTemporaryFile(suffix='.pyz');f.write(sys.stdin.buffer.read());"
    "f.flush();runpy.run_path(f.name,run_name='__main__')"
)


class Place(NamedTuple):
    """Where dumps lie. `directory` is a path of this host (HERE), of the file system (MOUNT), of the server (SSH)."""

    kind: str
    directory: str
    label: str = ""  # what stands before a path that is not this host's: /dev/vdb1, server:/export, user@server
    shared: bool = False  # other hosts' dumps lie there too
    alike: bool = False  # and all hosts name their directories alike: 127.0.0.1-2026-11-24-10:30:00

    def named(self, path: str) -> str:
        """A path there, as it is told to somebody."""
        return "%s:%s" % (self.label, path) if self.label else path


class Request(NamedTuple):
    """What is looked for: so many of the newest dumps, in a shared place of this host and of others; as dumps.listed()."""

    most: int
    marker: str = ""
    deep: bool = False


def place_of(host: Any, conf: Any) -> Place:
    """Where the dumps of a kdump.conf lie. Asks no server and mounts nothing."""
    kind, location = conf_check.as_directive(conf.target)
    path = "/" + conf.get("path").strip("/")
    if kind == "raw":
        return Place(HERE, path)  # where the next boot puts them
    directory = conf_check.dump_directory(host, conf)
    if directory is not None:
        fstype = _fstype(host, directory)
        return Place(HERE, directory, "", fstype in _SHARED, fstype == _SHARE)
    if kind == "ssh":
        return Place(SSH, path, location, True)
    return Place(MOUNT, path, location, kind in _SHARED, kind == _SHARE)


def _fstype(host: Any, directory: str) -> str:
    """The type of the file system that holds a directory, "" where that cannot be known."""
    try:
        return str(mounts.holding(mounts.table_of(host), host.realpath(directory)).fstype)
    except (KdumpError, OSError):
        return ""


def look(host: Any, conf: Any, place: Place, request: Request) -> List[Dict[str, Any]]:
    """The dumps there, newest first, as dumps.listed() tells them. KdumpError where they cannot be looked at."""
    if place.kind == MOUNT:
        return _look_mounted(host, conf, place, request)
    if place.kind == SSH:
        return _look_by_ssh(host, conf, place, request)
    return dumps.listed(host, place.directory, request.most, request.marker, request.deep, _owner(host, place))


def rescued(host: Any, conf: Any, place: Place) -> List[Dict[str, Any]]:
    """The dumps on the root file system that failure_action dump_to_rootfs has saved from another target."""
    path = "/" + conf.get("path").strip("/")
    if conf.get("failure_action") != "dump_to_rootfs" or (place.kind == HERE and place.directory == path):
        return []
    if mounts.holding(mounts.table_of(host), host.realpath(path)).point != "/":
        return []  # another file system covers it
    return dumps.listed(host, path, _RESCUED)


def own(host: Any, place: Place, found: List[Dict[str, Any]], doubtful: bool = False) -> List[Dict[str, Any]]:
    """Without those of other hosts, where these lie there too.

    By the address that the directory's name begins with; and, as the capture kernel may have had another one (DHCP) and the
    host may have a new one since, by the image that wrote a dump: it holds the host's name for NFS, its key for ssh, and for
    virtiofs the UUID of the file system that its reports go to.

    The guests that use a share of virtiofs name their directories alike, so there the image alone tells. A dump that names
    none (no capture.json) is nobody's where the native engine is armed at boot, but with `doubtful`: were it another guest's,
    its failure would be told as one of this host, or its success would hide a loss; were it this host's, the report on the
    host itself, or the boot that left nothing, is told all the same. Of the dumps of other engines, which name no image,
    nothing else tells, so there they are this host's.
    """
    owner = _owner(host, place)
    if owner is None:
        return found
    owner = owner._replace(unsigned=True) if doubtful and place.alike else owner
    return [dump for dump in found if dump.get("delivered") or _is_own(owner, dump)]


def _is_own(owner: dumps.Owner, dump: Dict[str, Any]) -> bool:
    capture = dump.get("capture")
    digest = None if capture is None else str(capture.get("digest"))
    return owner.is_named(dump["directory"]) or owner.has_captured(digest)


def _owner(host: Any, place: Place) -> Optional[dumps.Owner]:
    """What this host's dumps are known by there; None where all are its own."""
    if not place.shared:
        return None
    if place.alike:
        return dumps.Owner([], store.digests(host), not boot.is_enabled(host))
    listed = host.run(["ip", "-o", "addr"], timeout=30)
    words = listed.out.replace("/", " ").split()
    mine = {after for before, after in zip(words, words[1:]) if before in ("inet", "inet6")} - {"127.0.0.1", "::1"}
    # Where the addresses are not known, a name contradicts nothing.
    return dumps.Owner(sorted(mine), store.digests(host), listed.rc != 0)


# --- file systems --------------------------------------------------------------------------------------------------
def _look_mounted(host: Any, conf: Any, place: Place, request: Request) -> List[Dict[str, Any]]:
    ways = _ways(host, conf)
    host.make_directories(_POINT, 0o700)
    answer = _listed_apart(host, place, request, ways)
    if request.marker and isinstance(answer, list) and not any(dump["marked"] for dump in answer):
        # A dump is known to be due: it may be in the journal, which every later mount would replay as well.
        replayed = [[words.replace("," + _NO_REPLAY, "") for words in way] for way in ways]
        answer = answer if replayed == ways else _listed_apart(host, place, request, replayed)
    if isinstance(answer, str):
        raise fail(
            "The dumps on %s cannot be looked at: %s." % (shown(place.label), answer),
            "Mount it by hand to see what it says; a crash would meet the same.", conf.target.kind, conf.target.location,
        )  # fmt: skip
    for dump in answer:
        _rename(dump, lambda path: place.named(path[len(_POINT) :]))
    return list(answer)


def _listed_apart(host: Any, place: Place, request: Request, ways: List[List[str]]) -> Any:
    """The dumps; a sentence where they cannot be looked at."""
    owner = _owner(host, place)

    def listed() -> Any:
        why = _mount(host, ways)
        if why:
            return why
        directory = _POINT + place.directory
        if not mounts.is_below(host.realpath(directory), host.realpath(_POINT)):
            return "%s leads out of it by a symbolic link" % place.directory
        return dumps.listed(host, directory, request.most, request.marker, request.deep, owner)

    return host.apart(listed, _DEEP if request.deep else _LIST + _MOUNT * len(ways))


def _rename(dump: Dict[str, Any], named: Callable[[str], str]) -> None:
    for key in ("directory", "path"):
        dump[key] = named(dump[key]) if dump[key] else ""


def _mount(host: Any, ways: List[List[str]]) -> str:
    """Why none of these mounts is possible; "" when one is there now."""
    said = ""
    for words in ways:
        # Without -i mount calls a helper (mount.nfs), which the capture kernel does without as well.
        done = host.run(["mount", "-i"] + words + [host.path(_POINT)], timeout=_MOUNT)
        if done.rc == 0:
            return ""
        said = " ".join((done.err or done.out or "mount ended with exit code %d" % done.rc).split())
    return shown(said, 300).rstrip(".")


def _ways(host: Any, conf: Any) -> List[List[str]]:
    """Arguments of mount, in the order in which they are to be tried."""
    kind, location = conf_check.as_directive(conf.target)
    if kind == "nfs":
        return list(_nfs_ways(host, location))
    if kind == "virtiofs":
        return [["-t", kind, "-o", _SAFE, location]]
    device = mounts.device_path(host, location) if kind in FILE_SYSTEMS else ""
    if not device or not host.device_number(device):
        raise fail("There is no block device %s on this host, so the dumps on it cannot be looked at." % shown(location),
                   "`blkid` and `lsblk` list the devices of this host.", kind, location)  # fmt: skip
    options = [_SAFE] + ([_NO_REPLAY] if kind in _JOURNALED else []) + _subvolume(host, kind, device)
    # The superblock may say errors=panic (tune2fs -e), and a read-only mount obeys it too (ext4_handle_error()).
    options += ["errors=remount-ro"] if kind.startswith("ext") else []
    return [["-t", kind, "-o", ",".join(options), device]]


def _subvolume(host: Any, kind: str, device: str) -> List[str]:
    """Which part of a btrfs, by its line in fstab: paths begin there."""
    entry = mounts.fstab_entry(host, device) if kind == "btrfs" else None
    return [word for word in (entry.options.split(",") if entry else []) if word.startswith("subvol")]


def _nfs_ways(host: Any, location: str) -> Iterator[List[str]]:
    export = nfs.observe(host, location, "nfs")
    for address in export.addresses:
        for version in export.versions:
            # The last one counts of options that are given twice.
            options = "%s,%s,vers=%s,soft,timeo=100,retrans=2" % (nfs.options_at(export, address), _SAFE, version)
            options += "" if "nolock" in options or version != "3" else ",nolock"
            yield ["-t", "nfs", "-o", options, nfs.source_at(export, address)]


# --- ssh -----------------------------------------------------------------------------------------------------------
def _look_by_ssh(host: Any, conf: Any, place: Place, request: Request) -> List[Dict[str, Any]]:
    server, key = ssh.server_of(host, conf), conf.get("sshkey")
    ssh.usable_key(host, key)
    known = "".join(line + "\n" for line in ssh.pinned_keys(host, server))
    host.write(_KNOWN_HOSTS, known.encode("utf-8", "surrogateescape"), 0o600)
    words = ssh.options(host.path(key), host.path(_KNOWN_HOSTS), server.key_name, server.port, _CONNECT)
    timeout = _DEEP if request.deep else _LIST
    asked, program = "vmcore-kdump list", "python3 -I -S -c %s" % shlex.quote(_BOOTSTRAP)
    asked += " --deep" if request.deep else ""
    asked += " --marker %s" % shlex.quote(request.marker) if request.marker else ""
    fed = [place.directory, str(request.most), request.marker, "deep" if request.deep else ""]
    fed.append(json.dumps(_owner(host, place)))
    program += "".join(" " + shlex.quote(word) for word in fed)

    receiver = _asked(host, words, server, asked, None, timeout)
    answer = receiver
    if receiver.rc == 127:  # the shell's own, for a program that is not there
        answer = _asked(host, words, server, program, boot.program_bytes(LISTER), timeout)
    found = _parsed(answer.out) if answer.rc == 0 else None
    if found is None:
        raise _refused(conf, server, answer, receiver.rc == 127)
    for dump in found:
        dump["delivered"] = receiver.rc == 0  # a receiver tells a host of its own dumps alone
        _rename(dump, place.named)
    return found[: request.most if receiver.rc == 0 else 2 * request.most]


def _asked(
    host: Any, words: List[str], server: ssh.Server, command: str, stdin: Optional[bytes], timeout: float
) -> Any:  # fmt: skip
    """The answer of the first of the server's addresses that gives one."""
    result = None
    for address in server.addresses:
        argv = ["ssh"] + words + ["%s@%s" % (server.user, address), command]
        result = host.run(argv, stdin=stdin, timeout=timeout)
        if result.rc not in (255, -1):
            break
    return result


def _refused(conf: Any, server: ssh.Server, answer: Any, plain: bool) -> KdumpError:
    # A server whose key has changed is told with a banner of many lines; the last ones say what that means.
    lines = [line.strip() for line in (answer.err or answer.out).split("\n") if line.strip()]
    said = shown(" ".join(lines[-2:]), 300) or "exit code %d" % answer.rc
    where = "%s@%s" % (server.user, server.name)
    if answer.rc in (255, -1):
        message = "The dump server %s cannot be reached by ssh, as a crash would have to: %s." % (
            where,
            said.rstrip("."),
        )
        hint = "Mend the login (the module vmcore.kdump.propagate brings it about and tries it)."
    elif answer.rc == 127:
        message = "The dump server %s has no python3, so what lies there cannot be looked at." % where
        hint = "Use the role vmcore.kdump.server on it, or install python3 there."
    else:
        message = "The dump server %s does not list its dumps: %s." % (where, said.rstrip("."))
        hint = "Look at the receiver's log there." if not plain else "Look at the directory of `path` there."
    return KdumpError([Problem(message, hint, "ssh", where)])


# What dumps.listed() tells, by the types: another machine says it.
_TYPES: List[Tuple[str, Any]] = [
    ("directory", str), ("path", str), ("files", list), ("panic", str), ("bytes", int), ("format", str), ("verdict", str),
    ("problems", list), ("release", str), ("crash_time", str), ("marked", bool),
]  # fmt: skip


def _parsed(text: str) -> Optional[List[Dict[str, Any]]]:
    """None where it is no such list."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(dump, dict) for dump in found):
        return None
    if not all(isinstance(dump.get(name), kind) for dump in found for name, kind in _TYPES):
        return None
    for dump in found:
        dump["files"] = [str(name) for name in dump["files"]]
        dump["problems"] = [str(problem) for problem in dump["problems"]]
        capture = proof.capture_of(dump.get("capture"))
        dump["capture"] = capture.as_dict() if capture else None
        written = dump.get("written_at")
        dump["written_at"] = float(written) if isinstance(written, (int, float)) else 0.0
    return found
