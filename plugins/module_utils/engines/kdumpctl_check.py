# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What kdumpctl would fail on, or silently do wrong, found out while the host is still protected. Private to this collection.

What any kdump.conf must satisfy is conf's and conf_check's to say; here is what concerns kdump-utils and its image alone.
"""

import re
import shlex
from typing import Any, Dict, Iterator, List, Optional

from .. import conf_check, mounts
from ..conf import Conf
from ..conf_directives import TARGETS, spellings
from ..problems import Problem, shown
from .driver import Configuration

_KDUMP_SH = "/usr/lib/dracut/modules.d/*kdumpbase/kdump.sh"
# dump_ssh() of kdump-utils 1.0.45 to 1.0.47 (commit 7218f584, repaired by 848f2b71, issue 46).
_QUOTED_OPTIONS = re.compile(r"\b(?:ssh|scp)(?: -q)? \"\$_ssh_opts?\"")
_NFS_MODULES = ("nfs", "nfsv3", "nfsv4", "network", "kdumpbase")


def problems(host: Any, configuration: Configuration, predict: bool = False) -> List[Problem]:
    """All of it. With `predict` nothing is missed that the engine's packages bring."""
    conf = configuration.conf
    found = conf_check.check_host(host, conf, predict) + _firmware_problems(host) + _later_problems(host, conf)
    if any(problem.option in (conf.target.kind, "dracut_args") for problem in found + conf.problems):
        return found
    if conf.target.kind == "ssh":
        found += _ssh_problems(host, conf)
    if nfs_source(conf):
        found += _nfs_problems(host, conf)
    if not predict and not host.is_executable("/sbin/makedumpfile"):
        found.append(Problem(
            "There is no /sbin/makedumpfile on this host: kdump's dracut module takes it from there, and leaves it out without "
            "a word when it is not.",
            "Install the package that brings it (dnf install /usr/sbin/makedumpfile).", "core_collector",
        ))  # fmt: skip
    return found + _settings_problems(configuration.settings)


def _firmware_problems(host: Any) -> List[Problem]:
    """With fadump kdumpctl builds the host's own initrd anew, and registers with the firmware in place of a load."""
    if "1" not in [
        host.read_text(path, "").strip() for path in ("/sys/kernel/fadump/enabled", "/sys/kernel/fadump_enabled")
    ]:
        return []
    hint = "Take fadump= off the kernel's command line and reboot, or go on without this collection."
    return [Problem("This host was booted with firmware-assisted dump (fadump), which is not supported here.", hint)]


def _later_problems(host: Any, conf: Conf) -> List[Problem]:
    """Directives that this release's kdumpctl does not know: it would not start.

    Its parser names each but the targets, which it has as patterns (check_config() in kdumpctl).
    """
    parser = host.read_text("/usr/bin/kdumpctl", "")
    named = [name for name in conf.options if name not in TARGETS]
    later = [name for name in named if parser and not any(old in parser for old in spellings(name))]
    return [
        Problem(
            "%s is not a directive of this release's kdumpctl, which would refuse the whole file." % name,
            "Leave it out on this host (EL 8 has no auto_reset_crashkernel).",
            name,
            shown(conf.options[name]),
        )
        for name in later
    ]


def nfs_source(conf: Conf) -> str:
    """The server's directory of an NFS target, "" for another target."""
    kind, location = conf.target
    if kind == "nfs":
        return location
    words = location.split(" ")
    return words[0] if kind == "mount" and words[2].startswith("nfs") else ""


def _ssh_problems(host: Any, conf: Conf) -> List[Problem]:
    for path in host.glob(_KDUMP_SH):
        if _QUOTED_OPTIONS.search(host.read_text(path, "")):
            return [Problem(
                "This host's kdump-utils hands ssh all its options as one word (kdump-utils issue 46): every dump to an ssh "
                "server fails.",
                "Update kdump-utils to 1.0.48 or later, or choose another target.", "ssh", conf.target.location,
            )]  # fmt: skip
    return []


def _nfs_problems(host: Any, conf: Conf) -> List[Problem]:
    """What makes the capture kernel miss its NFS mount, which it then does not report but waits or dumps elsewhere."""
    found = []
    for word in _left_out(conf.get("dracut_args")):
        if word in _NFS_MODULES:
            hint = "Remove it from dracut_args: without the mount the dump goes nowhere, and failure_action may never be run."
            message = "dracut_args leave out %s, which the NFS target needs (kdump-utils issue 42)." % word
            found.append(Problem(message, hint, "dracut_args", conf.get("dracut_args")))
    if host.which("kdumpctl") and not _mount_helper(host):
        hint = "Install nfs-utils."
        found.append(Problem("There is no mount.nfs on this host: kdumpctl cannot mount the target.", hint, "nfs"))
    source = nfs_source(conf)
    if _takes_nfs_for_a_disk(host) and not _is_mounted(host, source):
        found.append(Problem(
            "This host's dracut would take %s for a disk, because it is not mounted and systemd makes folders in "
            "/dev/disk/by-path (kdump-utils issue 52): the capture kernel would wait for that disk for ever." % shown(source),
            "Mount it (a line in /etc/fstab without noauto) before the image is built, or update dracut to 104 or later.",
            "nfs", source,
        ))  # fmt: skip
    return found


def _left_out(dracut_args: str) -> Iterator[str]:
    """The names after --omit, -o, --omit-drivers and the like."""
    try:
        words = shlex.split(dracut_args)
    except ValueError:
        return
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in ("-o", "--omit", "--omit-drivers"):
            yield from (value if equals else " ".join(words[number + 1 : number + 2])).split()


def _mount_helper(host: Any) -> Optional[str]:
    return host.which("mount.nfs") or host.which("mount.nfs4")


def _takes_nfs_for_a_disk(host: Any) -> bool:
    """Whether get_persistent_dev() would find NFS's 0:0 in a folder (dracut-ng issue 816)."""
    folder = "/dev/disk/by-path/"
    if not any(host.is_dir(folder + name) for name in host.listdir(folder)):
        return False
    found = re.match(r"dracut (\d+)", host.run(["dracut", "--version"], timeout=60).out)
    return found is not None and int(found.group(1)) < 104


def _is_mounted(host: Any, source: str) -> bool:
    table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
    return any(mount.source.rstrip("/") == source.rstrip("/") for mount in table)


def _settings_problems(settings: Dict[str, str]) -> List[Problem]:
    """dlog_init() in kdump-logger.sh: with a wrong level kdumpctl and mkdumprd end before they have done anything."""
    found = []
    for name in ("KDUMP_STDLOGLVL", "KDUMP_SYSLOGLVL", "KDUMP_KMSGLOGLVL"):
        value = settings.get(name, "")
        if value and value not in "01234":
            hint = "Write a number from 0 (nothing) to 4 (all)."
            found.append(
                Problem("%s in /etc/sysconfig/kdump cannot be %s." % (name, shown(value)), hint, name, shown(value))
            )
    return found
