# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump target on LUKS, whose key kdumpctl hands to the capture kernel. Private to this collection.

It needs the volume's key at each load, after it has unloaded: from root's keyring, where systemd-cryptsetup puts it at boot
(`kdumpctl setup-crypttab`) and kdumpctl lets it expire after 300 seconds, or from a TPM. Without it the load fails, and
what worked before would fail alike. Source: prepare_luks() and get_all_kdump_crypt_dev() of kdump-utils 1.0.61.
"""

import re
from typing import Any, Iterator, List

from .. import mounts
from ..conf import Conf
from ..conf_directives import FILE_SYSTEMS
from ..problems import KdumpError, Problem

_SUPPORT = "/sys/kernel/config/crash_dm_crypt_keys"  # Linux 6.16 (kernel/crash_dump_dm_crypt.c)
_KEY = "kdump-cryptsetup:vk-%s"  # LUKS_KEY_PRFIX
_UUID = re.compile(r"CRYPT-LUKS\d-([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})-")
_DEEPEST = 16  # block devices upon one another: more than anybody has, and an end for a sysfs that is none


def problems(host: Any, conf: Conf) -> List[Problem]:
    """Why kdumpctl could not load again what it would unload."""
    if "prepare_luks" not in host.read_text("/usr/bin/kdumpctl", "") or not host.is_dir(_SUPPORT):
        return []  # it warns, and loads without keys
    return [
        Problem(
            "The dump target lies on the encrypted volume %s, whose key is not in root's keyring now: kdumpctl could not load "
            "anew what it unloads." % uuid,
            "Nothing was unloaded. Reboot, which brings the key (`kdumpctl setup-crypttab` once, if that was not done), or run "
            "`kdumpctl restart` by hand and type the passphrase.",
        )
        for uuid in _volumes(host, conf)
        if not _has_key(host, uuid)
    ]


def _has_key(host: Any, uuid: str) -> bool:
    if host.run(["keyctl", "search", "@u", "logon", _KEY % uuid], timeout=60).rc == 0:
        return True
    # kdumpctl does the same, with a link into the keyring; without a terminal only a token, such as a TPM's, can answer.
    argv = ["cryptsetup", "open", "UUID=" + uuid, "vmcore-kdump-test", "--test-passphrase", "--token-only"]
    return bool(host.run(argv, timeout=120).rc == 0)


def _volumes(host: Any, conf: Conf) -> List[str]:
    """The UUIDs of the LUKS volumes under the dump target."""
    number = host.device_number(_device(host, conf))
    return sorted(set(_below(host, number, _DEEPEST))) if number else []


def _device(host: Any, conf: Conf) -> str:
    kind, location = conf.target
    if kind == "path":
        try:
            table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
            return mounts.holding(table, host.realpath(location)).source
        except KdumpError:
            return ""
    if kind == "mount":
        location = location.split(" ")[0]
    return mounts.device_path(host, location) if kind in FILE_SYSTEMS + ["raw", "mount"] else ""


def _below(host: Any, number: str, depth: int) -> Iterator[str]:
    folder = "/sys/dev/block/" + number
    found = _UUID.match(host.read_text(folder + "/dm/uuid", ""))
    if found:
        yield "-".join(found.groups())
    for name in host.listdir(folder + "/slaves") if depth else []:
        lower = host.read_text("%s/slaves/%s/dev" % (folder, name), "").strip()
        if re.fullmatch(r"\d+:\d+", lower):
            yield from _below(host, lower, depth - 1)
