# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a capture image made by kdumpctl must hold, and does it. Private to this collection.

dracut leaves out what it cannot install, prints an error and exits with 0 (install() in dracut-functions.sh's dracut_install,
seen with dracut 106): the image of a host without /sbin/makedumpfile is built, loaded, and useless.
"""

import re
from typing import Any, List, Set

from ..conf import Conf
from ..image import kmod
from .kdumpctl_check import nfs_source

# What install() of this script puts there says the host's own: EL 8's kdump.sh may do without stat, newer ones may not.
_SETUP = "/usr/lib/dracut/modules.d/*kdumpbase/module-setup.sh"
_INSTALLS = re.compile(r'^\s*inst "(?:[^"]*/)?([^"/]+)"', re.MULTILINE)
_NEEDED = ("kdump.sh", "kdump-lib-initramfs.sh", "makedumpfile", "dd", "date", "sync", "stat")
_HOOKS = ("kdump_pre", "kdump_post", "kdump_emergency", "extra_bins")
_PACKED = ("squash-root.img", "squashfs-root.img", "erofs-root.img")
_NOT_INSTALLED = re.compile(r"dracut-install: ERROR: installing '([^']*)'")


def lacking(host: Any, conf: Conf, release: str, image: str, said: List[str]) -> List[str]:
    """What the image for this kernel should hold and does not, sorted. `said` is what building it printed.

    Where the image cannot be looked into, what dracut said it could not install is taken for what is missing.
    """
    wanted = _wanted(host, conf)
    names = _names(host, image)
    if "kdump.sh" not in {name.rpartition("/")[2] for name in names}:
        packed = not names or any(name.endswith(_PACKED) for name in names)
        refused = {found.group(1) for found in map(_NOT_INSTALLED.search, said) if found}
        return sorted(refused) if packed else ["kdump.sh"]
    held = {name.rpartition("/")[2] for name in names} | names
    modules = {kmod.name_of(name) for name in names if ".ko" in name}
    missing = {name for name in wanted if name.rpartition("/")[2] not in held}
    modules |= _builtin(host, release)
    missing |= {name for name in conf.get("extra_modules").split() if kmod.normal(name) not in modules}
    return sorted(missing)


def _wanted(host: Any, conf: Conf) -> List[str]:
    """By their paths; what counts is the last part, for the image's folders are not always the host's."""
    installed = {name for path in host.glob(_SETUP) for name in _INSTALLS.findall(host.read_text(path, ""))}
    found = (
        ["etc/kdump.conf"] + [name for name in _NEEDED if name in installed] + conf.get("core_collector").split()[:1]
    )
    for option in _HOOKS:
        found += conf.get(option).split()
    for folder in ("pre.d", "post.d"):
        paths = host.glob("/etc/kdump/%s/*" % folder)
        found += [path for path in paths if host.is_executable(path)]
    if conf.target.kind == "ssh":
        found += ["ssh", host.realpath(conf.get("sshkey"))]
        found += [path for path in ("/root/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts") if host.is_file(path)]
    if nfs_source(conf):
        found.append("mount.nfs" if host.which("mount.nfs") else "mount.nfs4")
    return found


def _names(host: Any, image: str) -> Set[str]:
    """The paths in the image, without their leading slash; empty where lsinitrd is not there or finds none."""
    found = set()
    for line in host.run(["lsinitrd", image], timeout=600).out.splitlines():
        # -rwxr-xr-x   1 root     root        12345 Jan  1  1970 usr/bin/dd, a link with -> and what it names
        if re.match(r"[-lcbdps][rwxsStT-]{9}", line):
            name = line.partition(" -> ")[0].rpartition(" ")[2]
            found.add(re.sub(r"^\./|^/", "", name))
    return found


def _builtin(host: Any, release: str) -> Set[str]:
    text = host.read_text("/lib/modules/%s/modules.builtin" % release, "")
    return {kmod.name_of(line) for line in text.splitlines()}
