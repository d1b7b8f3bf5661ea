# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which kdump a host has or gets, its driver, and the packages that it needs. Private to this collection.

The one file that knows all engines: what they do together (one in charge, the others quiet) is decided here.
"""

from typing import Any, Dict, List, Mapping, Set

from . import boot, sysconfig
from .engines import kdump_tools, kdumpctl, native
from .plan import Plan, Step
from .problems import KdumpError

NATIVE = "native"
KDUMPCTL = "kdumpctl"
KDUMP_TOOLS = "kdump-tools"
CHOICES = ["auto", NATIVE, KDUMPCTL, KDUMP_TOOLS]
DRIVERS: Dict[str, Any] = {NATIVE: native, KDUMPCTL: kdumpctl, KDUMP_TOOLS: kdump_tools}

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

# kdump-tools only recommends what it cannot do without.
_OF_ENGINE: Dict[str, Dict[str, str]] = {
    # In kexec-tools up to EL 9, in kdump-utils from EL 10 on and in Fedora.
    KDUMPCTL: {"kdumpctl": "/usr/bin/kdumpctl", "grubby": "grubby"},
    KDUMP_TOOLS: {"kdump-config": "kdump-tools", "makedumpfile": "makedumpfile", "mkinitramfs": "initramfs-tools-core"},
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


def in_charge(host: Any, wanted: str) -> str:
    """For what looks at a host as it is: `auto` is the engine that arms it at boot, where exactly one does."""
    enabled = [name for name, module in DRIVERS.items() if wanted == "auto" and module.is_enabled(host)]
    return enabled[0] if len(enabled) == 1 else choose(host, wanted)


def packages_missing(host: Any, engine: str) -> List[str]:
    """What the package manager has to install for the engine, by the names of this distribution."""
    packages = dict(_PACKAGES[host_family(host)] if engine == NATIVE else _OF_ENGINE[engine])
    if host.exists("/run/ostree-booted"):
        packages.pop("grubby", None)  # rpm-ostree keeps the boot entries
    return [package for program, package in packages.items() if not host.which(program)]


def driver(name: str) -> Any:
    """The module of an engine; what it has is in engines/driver.py."""
    return DRIVERS[name]


def chosen(host: Any, params: Mapping[str, Any]) -> Any:
    """The driver that a module's parameter `engine` means on this host."""
    return driver(choose(host, params["engine"]))


def others(name: str) -> List[Any]:
    return [module for other, module in DRIVERS.items() if other != name]


def boot_plan(host: Any, name: str, state: str, **how: Any) -> Plan:
    """The plan for what arms a host at boot: this engine alone (present), nothing (disabled), as if we had not been.

    None of them lets another engine start at boot. With present what another has loaded stays until this one loads over it;
    disabled and absent unload it. absent also takes away all that is this collection's, whichever engine it was made for.
    """
    if state == "absent":  # the native one last: what the others do writes into what it removes
        order = [module for module in [driver(name)] + others(name) if module is not native] + [native]
        return Plan([step for module in order for step in module.boot_plan(host, "absent", **how).steps])
    steps = list(driver(name).boot_plan(host, state, **how).steps)
    if state == "present":
        return Plan(steps + [step for other in others(name) for step in other.disarm(host)])
    return Plan(steps + [step for other in others(name) for step in _give_up(host, other, how)])


def _give_up(host: Any, other: Any, how: Dict[str, Any]) -> List[Step]:
    """Another engine is kept from starting at boot, and what it has loaded is unloaded."""
    if other is native:
        return native.disarm(host) + boot.unload(host)
    return list(other.boot_plan(host, "disabled", **how).steps) if other.loaded(host) else list(other.disarm(host))
