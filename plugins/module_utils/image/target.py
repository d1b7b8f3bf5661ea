# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the dump goes, and all that the capture image needs for it. Private to this collection.

of_conf() finds it out from kdump.conf, of_root() for the root file system. What cannot be captured to is refused here,
by name: an image that cannot reach its target would only be found out by the next panic.
"""

from typing import Any, Dict, List, NamedTuple, Tuple, Union

from . import storage

# What use_target sets in /etc/kdump/plan, in this order; "" for what a kind does not have.
VARIABLES = (
    "kind", "directory", "uuid", "device", "devices", "fstype", "options", "activate", "source", "partuuid", "serial",
    "wwid", "user", "server", "server_name", "port", "versions", "hostname",
)  # fmt: skip
# filesystem: uuid (of the file system), device where its name lasts, devices fstype options activate.
# nfs: source (numeric address:/export) fstype options, and versions of the protocol in the order in which they are to
#      be tried, each as `vers=`, because only mount.nfs negotiates; hostname, which is to be set before the first mount:
#      an NFSv4 server tells its clients apart by their names, and two that call themselves (none) end each other's leases.
# virtiofs: source (tag) fstype options.
# raw: device where its name lasts, or else one of partuuid (blkid -t PARTUUID=), wwid (/sys/block/*/wwid or
#      */device/wwid) and serial (/sys/block/*/serial or */device/serial), without blanks at both ends; activate.
# ssh: user server (numeric address) server_name (HostKeyAlias) port.


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
    network: Any  # network.Network for a target behind one, None for the others
    files: List[File]
    path: str  # the dump path as seen on this host; "" where the host does not see it
    manifest: Dict[str, Any]  # what the image's manifest says of it; never a secret
    system_id: str = ""  # as in storage.Storage


def of_conf(host: Any, conf: Any, settings: Dict[str, str]) -> Target:
    """The target of a kdump.conf; `settings` are those of /etc/sysconfig/kdump. KdumpError with all that is wrong."""
    return _file_system(storage.of_conf(host, conf))


def of_root(host: Any, path: str) -> Target:
    """The same path on the root file system, whatever is mounted over it now."""
    return _file_system(storage.of_root(host, path))


def values(**given: str) -> List[Tuple[str, str]]:
    """The settings of a target, those that are not given empty."""
    return [(name, given.get(name, "")) for name in VARIABLES]


def _file_system(found: storage.Storage) -> Target:
    settings = values(
        kind="filesystem", directory=found.directory, uuid=found.uuid, device=found.device, devices=str(found.devices),
        fstype=found.fstype, options=found.options, activate=" ".join(found.activate),
    )  # fmt: skip
    manifest = {
        "kind": found.kind, "fstype": found.fstype, "uuid": found.uuid, "device": found.device, "path": found.path,
        "directory": found.directory,
    }  # fmt: skip
    return Target(
        "filesystem", settings, found.modules, found.aliases, found.activate, [], None, [], found.path, manifest,
        found.system_id,
    )  # fmt: skip
