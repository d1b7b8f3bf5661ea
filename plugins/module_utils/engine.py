# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which kdump a host has or gets, and the packages that it needs. Private to this collection."""

from typing import Any, Dict, List, Set

from . import sysconfig
from .problems import KdumpError

NATIVE = "native"
KDUMPCTL = "kdumpctl"
KDUMP_TOOLS = "kdump-tools"
CHOICES = ["auto", NATIVE, KDUMPCTL, KDUMP_TOOLS]

# Amazon Linux 2023 and Oracle Linux name fedora as what they are like; Amazon Linux 2 names rhel.
_RED_HAT = {"rhel", "fedora", "centos", "almalinux", "rocky", "ol", "amzn"}
_DEBIAN = {"debian", "ubuntu"}
_SUSE = {"suse", "opensuse", "sles", "sle_hpc"}

# By program. dnf takes the path of a file for a package: makedumpfile is in kexec-tools up to EL 9, and a package of its
# own from EL 10 on. EL has no busybox; the capture image is then made of the host's own programs, and larger.
_PACKAGES: Dict[str, Dict[str, str]] = {
    "debian": {"makedumpfile": "makedumpfile", "busybox": "busybox"},
    "suse": {"makedumpfile": "makedumpfile", "busybox": "busybox"},
    "redhat": {"makedumpfile": "/usr/sbin/makedumpfile"},
    "": {"makedumpfile": "makedumpfile", "busybox": "busybox"},
}


def family(os_release: str) -> str:
    """debian, redhat or suse by the text of /etc/os-release, "" for another."""
    try:
        values = sysconfig.parse(os_release)
    except KdumpError:
        return ""
    names: Set[str] = set([values.get("ID", "")] + values.get("ID_LIKE", "").split())
    for name, members in (("debian", _DEBIAN), ("redhat", _RED_HAT), ("suse", _SUSE)):
        if names & members:
            return name
    return ""


def host_family(host: Any) -> str:
    return family(host.read_text("/etc/os-release", "") or host.read_text("/usr/lib/os-release", ""))


def choose(host: Any, wanted: str) -> str:
    """The engine that `auto` means on this host; any other is itself."""
    if wanted != "auto":
        return wanted
    tools = host.which("kdumpctl") and host.which("grubby")
    return KDUMPCTL if tools or host_family(host) == "redhat" else NATIVE


def packages_missing(host: Any, engine: str) -> List[str]:
    """What the package manager has to install for the engine, by the names of this distribution."""
    if engine != NATIVE:
        program, package = {KDUMPCTL: ("kdumpctl", "/usr/bin/kdumpctl"), KDUMP_TOOLS: ("kdump-config", "kdump-tools")}[
            engine
        ]
        return [] if host.which(program) else [package]
    packages = _PACKAGES[host_family(host)]
    return [package for program, package in packages.items() if not host.which(program)]
