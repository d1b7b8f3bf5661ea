# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the dump goes, and all that the capture image needs for it. Private to this collection.

of_conf() finds it out from kdump.conf, of_root() for the root file system. What cannot be captured to is refused here,
by name: an image that cannot reach its target would only be found out by the next panic.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from .. import conf_directives, conf_dracut, mounts, ssh
from ..problems import Parts, Problem, fail, shown
from . import contents, elf, network, nfs, raw, storage

# What use_target sets in /etc/kdump/plan, in this order; "" for what a kind does not have.
VARIABLES = (
    "kind", "directory", "uuid", "device", "devices", "fstype", "options", "activate", "source", "partuuid", "serial",
    "wwid", "user", "server", "server_name", "port", "versions", "hostname",
)  # fmt: skip
# filesystem: uuid (of the file system), device where its name lasts, devices fstype options activate.
# nfs: source (numeric address:/export) fstype options, and versions in the order in which they are to be tried, each as
#      an option (vers=4.2), because only mount.nfs negotiates; hostname, to be set before the first mount: an NFSv4
#      server tells its clients apart by their names, and two that call themselves (none) end each other's leases.
# virtiofs: source (tag) fstype options.
# raw: device where its name lasts, or else one of partuuid (blkid -t PARTUUID=), wwid (/sys/block/*/wwid or
#      */device/wwid) and serial (/sys/block/*/serial or */device/serial), without blanks at both ends; activate.
# ssh: user server (numeric address) server_name (HostKeyAlias) port.


_VIRTIO_RNG, _VIRTIO_FS = 4, 26


class File(NamedTuple):
    """A further file of the image: its name there without a leading slash, and what it holds.

    `content` is the path of a file on the host (str), or the bytes themselves.
    """

    name: str
    content: Union[str, bytes]
    mode: int


class Target(NamedTuple):
    """A dump target."""

    kind: str  # how /init writes there: filesystem, nfs, virtiofs, raw, ssh
    settings: List[Tuple[str, str]]  # every one of VARIABLES with its value
    modules: List[str]  # that must be loaded
    aliases: List[str]  # to load if the kernel has them
    activate: List[str]  # as in storage.Storage
    programs: List[Tuple[str, str]]  # name and package: needed during the whole capture, the host's own ones
    network: Optional[network.Network]  # the way to a server
    files: List[File]
    path: str  # the dump path as seen on this host; "" where the host does not see it
    manifest: Dict[str, Any]  # what the image's manifest says of it; never a secret
    system_id: str = ""  # as in storage.Storage


def of_conf(host: Any, conf: Any, settings: Dict[str, str]) -> Target:
    """The target of a kdump.conf; `settings` are those of /etc/sysconfig/kdump. KdumpError with all that is wrong."""
    kind, location, path = conf.target.kind, conf.target.location, conf.get("path")
    dracut = conf_dracut.judge(conf.get("dracut_args"))
    parts = Parts()
    parts.errors += dracut.problems
    dhcp = network.wants_dhcp(settings)
    found: Any = None
    if kind == "path":
        found = parts.of(None, _of_path, host, location, dhcp)
    elif kind == "mount":
        found = parts.of(None, _of_mount_argument, host, location, path, dhcp)
    elif kind == "nfs":
        found = parts.of(None, _of_nfs, host, location, path, dhcp)
    elif kind == "virtiofs":
        found = parts.of(None, _of_virtiofs, host, location, path)
    elif kind == "raw":
        found = parts.of(None, _of_raw, host, location)
    elif kind == "ssh":
        found = _of_ssh(host, conf, dhcp, parts)
    else:
        found = parts.of(None, _of_storage, host, kind, location, path)
    parts.end()
    dump: Target = found._replace(aliases=found.aliases + dracut.drivers)
    return dump


def of_root(host: Any, path: str, settings: Optional[Dict[str, str]] = None) -> Target:
    """The same path on the root file system, whatever is mounted over it now."""
    place = mounts.place_on(host, mounts.holding(mounts.table_of(host), "/"), path)
    return _of_place(host, place, network.wants_dhcp(settings or {}))


def of_path(host: Any, path: str, settings: Optional[Dict[str, str]] = None) -> Target:
    """The file system that holds a path as this host sees it now."""
    return _of_path(host, path, network.wants_dhcp(settings or {}))


def values(**given: str) -> List[Tuple[str, str]]:
    """The settings of a target, those that are not given empty."""
    return [(name, given.get(name, "")) for name in VARIABLES]


# --- file systems --------------------------------------------------------------------------------------------------
def _of_path(host: Any, path: str, dhcp: bool) -> Target:
    return _of_place(host, mounts.place_of(host, path), dhcp)


def _of_place(host: Any, place: mounts.Place, dhcp: bool) -> Target:
    mount = place.mount
    if mount.fstype in nfs.FSTYPES:
        return _nfs(
            host, nfs.observe(host, mount.source, mount.fstype, None, "path"), place.directory, place.path, dhcp
        )
    if mount.fstype == "virtiofs":
        return _virtiofs(host, mount.source, place.directory, place.path, "path")
    return _file_system(storage.of_place(host, place))


def _of_storage(host: Any, kind: str, location: str, path: str, given: str = "", option: str = "") -> Target:
    return _file_system(storage.of_target(host, kind, location, path, given, option))


def _of_mount_argument(host: Any, location: str, path: str, dhcp: bool) -> Target:
    """dracut's `--mount "device point fstype options"`; where it would be mounted means nothing here."""
    device, _point, fstype, options = location.split(" ")[:4]
    if fstype in nfs.FSTYPES:
        return _of_nfs(host, device, path, dhcp, fstype, options, "dracut_args")
    if fstype == "virtiofs":
        return _of_virtiofs(host, device, path, "dracut_args")
    if fstype not in conf_directives.FILE_SYSTEMS:
        hint = "Choose a file system of %s, or nfs." % ", ".join(conf_directives.FILE_SYSTEMS)
        raise fail("dracut_args: the native engine cannot dump to %s." % shown(fstype), hint, "dracut_args", location)
    return _of_storage(host, fstype, device, path, options, "dracut_args")


def _file_system(found: storage.Storage) -> Target:
    settings = values(
        kind="filesystem", directory=found.directory, uuid=found.uuid, device=found.device, devices=str(found.devices),
        fstype=found.fstype, options=found.options, activate=" ".join(found.activate),
    )  # fmt: skip
    manifest = {
        "kind": "filesystem", "where": "%s:/%s" % (found.device or "UUID=" + found.uuid, found.directory),
        "on": found.kind, "fstype": found.fstype, "uuid": found.uuid, "device": found.device, "path": found.path,
        "directory": found.directory,
    }  # fmt: skip
    return Target(
        "filesystem", settings, found.modules, found.aliases, found.activate, [], None, [], found.path, manifest,
        found.system_id,
    )  # fmt: skip


def _of_raw(host: Any, location: str) -> Target:
    found = raw.observe(host, location)
    settings = values(kind="raw", activate=" ".join(found.walk.activate), **found.names)
    manifest = dict(found.names, kind="raw", where=location, directory="")
    return Target(
        "raw", settings, found.walk.modules, found.walk.aliases, found.walk.activate, [], None, [], "", manifest,
        found.walk.system_id,
    )  # fmt: skip


def _of_virtiofs(host: Any, tag: str, path: str, option: str = "virtiofs") -> Target:
    for mount in mounts.table_of(host):
        if mount.fstype == "virtiofs" and mount.source == tag and mount.root == "/":
            place = mounts.place_on(host, mount, mount.point.rstrip("/") + "/" + path.lstrip("/"))
            return _virtiofs(host, tag, place.directory, place.path, option)
    return _virtiofs(host, tag, path.strip("/"), "", option)


def _virtio(host: Any, number: int) -> List[str]:
    """The devices of one kind, as include/uapi/linux/virtio_ids.h numbers them."""
    alias = "virtio:d%08X" % number
    nodes = host.glob("/sys/bus/virtio/devices/*")
    return [host.realpath(node) for node in nodes if host.read_text(node + "/modalias", "").startswith(alias)]


def _virtiofs(host: Any, tag: str, directory: str, path: str, option: str) -> Target:
    """A directory of the hypervisor's, by its tag."""
    # Only newer kernels (6.9) list the tags.
    tags = [host.read_text(file, "").strip() for file in host.glob("/sys/fs/virtiofs/*/tag")]
    nodes = _virtio(host, _VIRTIO_FS)
    if not nodes or (tags and tag not in tags):
        hint = "The hypervisor's configuration of this guest names the shares: correct the tag, or add the share."
        raise fail("No virtiofs share with the tag %s is given to this host." % shown(tag), hint, option, tag)
    modules, aliases = storage.drivers_of(host, nodes)
    settings = values(kind="virtiofs", directory=directory, source=tag, fstype="virtiofs", options="rw")
    manifest = {"kind": "virtiofs", "where": "%s:/%s" % (tag, directory), "path": path, "directory": directory}
    return Target("virtiofs", settings, ["virtiofs"] + modules, aliases, [], [], None, [], path, manifest)


# --- servers -------------------------------------------------------------------------------------------------------
def _of_nfs(
    host: Any, source: str, path: str, dhcp: bool, fstype: str = "nfs", given: Optional[str] = None, option: str = "nfs"
) -> Target:  # fmt: skip
    export = nfs.observe(host, source, fstype, given, option)
    mount = nfs.mount_of(host, source)
    if mount is None:
        return _nfs(host, export, path.strip("/"), "", dhcp)
    place = mounts.place_on(host, mount, mount.point.rstrip("/") + "/" + path.lstrip("/"))
    return _nfs(host, export, place.directory, place.path, dhcp)


def _nfs(host: Any, export: nfs.Export, directory: str, path: str, dhcp: bool) -> Target:
    way = network.observe(host, export.addresses, dhcp)
    settings = values(
        kind="nfs", directory=directory, source=nfs.source_at(export, way.address), fstype="nfs",
        options=nfs.options_at(export, way.address), versions=" ".join("vers=" + one for one in export.versions),
        hostname=_hostname(host),
    )  # fmt: skip
    where = "%s:%s/%s" % (export.server, export.directory.rstrip("/"), directory)
    manifest = {"kind": "nfs", "where": where, "address": way.address, "path": path, "directory": directory}
    # mount of busybox may have its own way with NFS, which needs a port mapper.
    programs = [("mount", "util-linux")]
    return Target("nfs", settings, export.modules, export.aliases, [], programs, way, [], path, manifest)


def _hostname(host: Any) -> str:
    """The configured name, where there is one: what DHCP or a name server has made of it changes while a host starts."""
    words = re.findall(r"^[A-Za-z0-9._-]+", host.read_text("/etc/hostname", ""), re.M)
    return str((words + [host.read_text("/proc/sys/kernel/hostname", "").strip()])[0])


# ssh ends at once for a user without a line here (main() in ssh.c), and an old glibc looks it up by libnss_files.
_PASSWD = b"root:x:0:0:root:/:/bin/sh\n"
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files\n"


def _of_ssh(host: Any, conf: Any, dhcp: bool, parts: Parts) -> Optional[Target]:
    server = parts.of(None, ssh.server_of, host, conf)
    parts.of(None, ssh.usable_key, host, conf.get("sshkey"))
    if host.read_text("/proc/sys/crypto/fips_enabled", "").strip() == "1":
        hint = "Use kdump_engine kdumpctl, or another target."
        message = (
            "This host is in FIPS mode, whose cryptographic modules are not in the capture image: ssh would not start."
        )
        parts.errors.append(Problem(message, hint, "ssh", conf.target.location))
    if server is None:
        return None
    lines = parts.of([], ssh.pinned_keys, host, server)
    way = parts.of(None, network.observe, host, server.addresses, dhcp)
    if parts.errors or way is None:
        return None
    directory = conf.get("path").strip("/")
    settings = values(
        kind="ssh", directory=directory, user=server.user, server=way.address, server_name=server.key_name,
        port=str(server.port),
    )  # fmt: skip
    where = "%s@%s:/%s" % (server.user, server.name, directory)
    manifest = {"kind": "ssh", "where": where, "address": way.address, "port": server.port, "directory": directory}
    files = _ssh_files(host, conf.get("sshkey"), lines)
    aliases = _entropy(host)
    return Target("ssh", settings, [], aliases, [], [("ssh", "openssh-client")], way, files, "", manifest)


def _entropy(host: Any) -> List[str]:
    """The hypervisor's random numbers: without any, ssh waits for the kernel's (before Linux 5.4 that may be minutes)."""
    modules, aliases = storage.drivers_of(host, _virtio(host, _VIRTIO_RNG))
    return modules + aliases


def _ssh_files(host: Any, key: str, known_hosts: List[str]) -> List[File]:
    files = [
        File("etc/kdump/ssh/key", host.realpath(key), 0o600),
        File(
            "etc/kdump/ssh/known_hosts",
            "".join(line + "\n" for line in known_hosts).encode("utf-8", "surrogateescape"),
            0o644,
        ),
        File("etc/passwd", _PASSWD, 0o644),
        File("etc/nsswitch.conf", _NSSWITCH, 0o644),
    ]
    if host.is_file(key + "-cert.pub"):
        # ssh shows it with the key, and a server may trust nothing but its authority.
        files.append(File("etc/kdump/ssh/key-cert.pub", host.realpath(key + "-cert.pub"), 0o644))
    program = host.which("ssh")
    linker = elf.Linker(host)
    read = linker.read(program) if program else None
    library = linker.find("libnss_files.so.2", read.abi) if read else None
    return files + ([File(contents.place(host.realpath(library)), host.realpath(library), 0o755)] if library else [])
