# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An export of an NFS server, to be mounted by the kernel alone: there is no mount.nfs in the capture image.

Private to this collection. What mount.nfs does for the kernel is done here beforehand: the server's address, the
transport, the versions to be tried. Options that need a helper of user space in a crash are refused (Kerberos, TLS), as
is RDMA. The mount is soft: a server that does not answer ends the dump with an error, which failure_action follows,
and does not hold the machine for ever. Sources: fs/nfs/fs_context.c of Linux, nfs(5), to_mount() in kdump-utils' mkdumprd.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional

from .. import mounts
from ..problems import KdumpError, Problem, fail, shown

FSTYPES = ("nfs", "nfs4")
# Until a request that is not answered is given up: 60 seconds, then 120, 180 … of which each starts another attempt; six
# minutes with all of them (xprt_calc_majortimeo() in net/sunrpc/xprt.c). A server that restarts takes less.
_PATIENCE = ["soft", "timeo=600", "retrans=5"]
# What decides whether a mount succeeds at all. Sizes are agreed on with the server where they are not given.
_NUMBERS = ("port", "rsize", "wsize", "mountport", "mountvers")
# What of a live mount counts where its options are written nowhere. Address and version do not: the server's name and the
# attempts at a mount tell them, and the image shall not depend on whether the export happens to be mounted. Below a `path`
# it always is, and in a version that works.
_AGREED = ("proto", "port", "sec", "xprtsec", "noacl", "noresvport")
_KEPT_FLAGS = ("noacl", "noresvport", "resvport")
_VERSIONS = {"3": ["3"], "4": ["4.2", "4.1", "4.0"], "4.0": ["4.0"], "4.1": ["4.1"], "4.2": ["4.2"]}
_WAY_OUT = "Let the server export it with sec=sys over TCP to this host, or choose another target."


class Export(NamedTuple):
    """A server's directory, and how the kernel mounts it. To `options` belong the address and the transport: options_at()."""

    server: str  # as it is named
    directory: str  # the exported one, beginning with a slash
    addresses: List[str]  # numeric
    versions: List[str]  # to be tried in this order
    transport: str  # tcp or udp
    mount_transport: str  # of the mount protocol, "" for the same
    options: List[str]
    modules: List[str]
    aliases: List[str]


def observe(host: Any, source: str, fstype: str, given: Optional[str] = None, option: str = "nfs") -> Export:
    """An export by its source (`server:/directory`). KdumpError with all that the capture kernel cannot do.

    `given` are its mount options, in place of those in /etc/fstab; `option` is the directive that names it.
    """
    matched = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s,]+)):(/[^\s,\"'\\]*)", source)
    if matched is None:
        hint = "Write `server:/directory`, an IPv6 address in brackets, without blanks, quotes and commas."
        raise fail("%s is no export of an NFS server." % shown(source), hint, option, source)
    server, directory = matched.group(1) or matched.group(2), matched.group(3)
    live = _live(host, source, fstype)
    words = {name: value for name, value in live.items() if name in _AGREED or (name, option) == ("vers", "path")}
    words.update(_words(_fstab_options(host, source) if given is None else given))
    problems = _refused(words, option)
    addresses = host.resolve(words.get("addr") or server)
    if not addresses and "addr" in live:
        addresses = [live["addr"]]  # there is no name server, and the export is mounted
    if not addresses:
        hint = "Correct the name, make it known in DNS or /etc/hosts, or write the server's address."
        message = "The NFS server %s has no address that this host can find." % shown(server)
        problems.append(Problem(message, hint, option, source))
    if problems:
        raise KdumpError(problems)
    versions = list(_VERSIONS.get(words.get("vers", ""), _VERSIONS["4"] + ([] if fstype == "nfs4" else ["3"])))
    return _export(server, directory, addresses, versions, words)


def _export(server: str, directory: str, addresses: List[str], versions: List[str], words: Dict[str, str]) -> Export:
    secure = "sys" if "sys" in words.get("sec", "sys").split(":") else "none"
    options = ["rw"] + _PATIENCE + ["sec=" + secure]
    # Nobody else writes there, and locks would need rpc.statd. Version 4 has locks of its own and ignores this.
    options += ["nolock"] if "3" in versions else []
    options += ["%s=%s" % (name, words[name]) for name in _NUMBERS if name in words]
    options += [name for name in _KEPT_FLAGS if name in words]
    # The kernel asks modprobe for the module of each version, and there is none in the image. Layouts (pNFS) are left out:
    # without their modules everything is written through the server itself, to which there is a way. So is Kerberos'
    # (rpcsec_gss_krb5), which version 4 would try first (nfs4_alloc_client() in fs/nfs/nfs4client.c).
    modules = ["nfs", "nfsv3" if versions == ["3"] else "nfsv4"]
    aliases = ["nfsv3"] if "3" in versions and "nfsv3" not in modules else []
    mount_transport = _transport(words["mountproto"]) if "mountproto" in words else ""
    transport = _transport(words.get("proto", "tcp"))
    return Export(server, directory, addresses, versions, transport, mount_transport, options, modules, aliases)


def source_at(export: Export, address: str) -> str:
    """What the capture kernel mounts: it has no names."""
    return "%s:%s" % ("[%s]" % address if ":" in address else address, export.directory)


def options_at(export: Export, address: str) -> str:
    """All mount options but the version."""
    # A transport without the 6 is one over IPv4, and the kernel refuses it for another address.
    family = "6" if ":" in address else ""
    words = export.options + ["proto=" + export.transport + family]
    if export.mount_transport:
        words.append("mountproto=" + export.mount_transport + family)
    return ",".join(words + ["addr=" + address])


# --- options -------------------------------------------------------------------------------------------------------
def _words(text: str) -> Dict[str, str]:
    """Mount options by name, in nfs(5)'s usual spelling; those without a value have ""."""
    found: Dict[str, str] = {}
    for word in mounts.kernel_options(text):
        name, _equals, value = word.partition("=")
        if name in ("udp", "tcp", "rdma"):
            name, value = "proto", name
        elif re.fullmatch(r"v[234](\.[0-9])?", name):
            name, value = "vers", name[1:]
        found["vers" if name == "nfsvers" else name] = value
    if found.get("vers") == "4" and found.get("minorversion", "").isdigit():
        found["vers"] = "4." + found["minorversion"]
    return found


def _transport(text: str) -> str:
    return "udp" if text.startswith("udp") else "tcp"


def _refused(words: Dict[str, str], option: str) -> List[Problem]:
    found = []
    for name, pattern, what in (
        ("sec", r"(?!(.*:)?(sys|none|null)(:|$)).+", "the security flavour %s, which needs a ticket and rpc.gssd"),
        ("proto", "rdma.*", "the transport %s"),
        ("xprtsec", r"(?!none$).+", "encryption of the transport (%s), which needs tlshd"),
        ("vers", r"(?!3$|4$|4\.[012]$).*", "version %s of NFS"),
    ):
        if name in words and re.fullmatch(pattern, words[name]):
            message = "The NFS target is mounted with %s." % (what % shown(words[name]))
            found.append(Problem(message + " The capture kernel cannot do that.", _WAY_OUT, option, words[name]))
    for name in _NUMBERS:
        if not re.fullmatch("[0-9]+", words.get(name, "0")):
            message = "The mount option %s of the NFS target has no number: %s." % (name, shown(words[name]))
            found.append(Problem(message, "Correct it in /etc/fstab, or where it is given.", option, words[name]))
    return found


# --- where the options stand ---------------------------------------------------------------------------------------
def mount_of(host: Any, source: str) -> Optional[mounts.Mount]:
    """Where an export is mounted now."""
    for mount in mounts.table_of(host):
        if mount.fstype in FSTYPES and mount.source.rstrip("/") == source.rstrip("/"):
            return mount
    return None


def _live(host: Any, source: str, fstype: str) -> Dict[str, str]:
    """The options of its mount, as the kernel shows them; {} without one."""
    mount = mount_of(host, source)
    words = _words(mount.super_options) if mount else {}
    return {} if fstype == "nfs4" and words.get("vers") == "3" else words


def _fstab_options(host: Any, source: str) -> str:
    for entry in mounts.parse_fstab(host.read_text("/etc/fstab", "")):
        if entry.fstype in FSTYPES and entry.source.rstrip("/") == source.rstrip("/"):
            # The type says the version where nothing else does (nfs(5)).
            return entry.options + (
                ",vers=4" if entry.fstype == "nfs4" and not _words(entry.options).get("vers") else ""
            )
    return ""
