# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is reserved and loaded on a host, and what stands in the way of loading. Private to this collection."""

import hashlib
import json
from typing import Any, NamedTuple, Optional, Tuple

from . import cmdline, layout
from .kexec_errors import Facts

_CAP_SYS_BOOT = 22  # include/uapi/linux/capability.h
_EFIVARS = "/sys/firmware/efi/efivars/%s-8be4df61-93ca-11d2-aa0d-00e098032b8c"
METHODS = ("kexec_file_load", "kexec-tools")  # of the native engine


class Loaded(NamedTuple):
    """The state file (docs/architecture.md): what this collection has loaded, and by which call."""

    type: str  # crash, reboot
    kernel: str
    kernel_sha256: str
    initrd: str  # "" for none
    initrd_sha256: str
    digest: str  # of the native image's inputs; "" for another initrd
    cmdline: str
    hardware: str  # the CPUs and the memory that the loaded kernel was told of
    method: str = ""  # kexec_file_load, kexec-tools, or the engine whose tools loaded it; "" while it is only wanted
    loaded_at: str = ""  # 2026-11-24T10:50:00Z


def state_file(kind: str) -> str:
    return layout.LOADED if kind == "crash" else layout.LOADED_REBOOT


def _number(host: Any, *paths: str) -> int:
    """The number in the first of these files that is there; 0 where none is."""
    for path in paths:
        text = host.read_text(path, "").strip()
        if text.lstrip("-").isdigit():
            return int(text)
    return 0


def reserved_bytes(host: Any) -> int:
    """The bytes that the running kernel has reserved for the capture kernel; Linux 6.19 moved the file."""
    return _number(host, "/sys/kernel/kexec/crash_size", "/sys/kernel/kexec_crash_size")


def is_loaded(host: Any, kind: str = "crash") -> bool:
    """Whether the running kernel has such a kernel loaded, by whomever."""
    name = "crash_loaded" if kind == "crash" else "loaded"
    return _number(host, "/sys/kernel/kexec/" + name, "/sys/kernel/kexec_" + name) == 1


def loaded(host: Any, kind: str = "crash") -> Optional[Loaded]:
    """What the native engine has loaded; None when nothing is loaded, or something else."""
    found = last_load(host, kind)
    return found if found is not None and found.method in METHODS else None


def last_load(host: Any, kind: str = "crash") -> Optional[Loaded]:
    """What this collection has loaded last, by whichever engine, if something is loaded still."""
    if not is_loaded(host, kind):
        return None
    try:
        state = json.loads(host.read_text(state_file(kind), "{}"))
        found = Loaded(*[state[name] for name in Loaded._fields])
    except (ValueError, KeyError, TypeError):
        return None
    return found if found.type == kind and all(isinstance(value, str) for value in found) else None


def write_state(host: Any, state: Loaded) -> None:
    text = json.dumps(state._asdict(), indent=2, sort_keys=True) + "\n"
    host.write(state_file(state.type), text.encode("utf-8", "surrogateescape"), 0o600)


def hardware(host: Any) -> str:
    """A fingerprint of what the core headers describe: the CPUs, and the ranges of memory.

    A kernel loaded before a hotplug describes the machine as it was then.
    """
    ranges = [line for line in host.read_text("/proc/iomem", "").splitlines() if line.endswith(" : System RAM")]
    text = host.read_text("/sys/devices/system/cpu/present", "") + "\n".join(line for line in ranges if line[0] != " ")
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def follows_hotplug(host: Any) -> bool:
    """Whether the kernel itself keeps the loaded crash kernel up to date (crash_hotplug, Linux 6.6).

    From 6.10 on the file says so of the image that is loaded: ask while one is.
    """
    parts = ["/sys/devices/system/%s/crash_hotplug" % part for part in ("cpu", "memory")]
    return all(_number(host, part) == 1 for part in parts if host.exists(part)) and host.exists(parts[0])


def same(present: Loaded, wanted: Loaded, kernel_follows: bool) -> bool:
    """Whether what is loaded is what shall be; how and when it was loaded does not matter."""
    present = present._replace(method=wanted.method, loaded_at=wanted.loaded_at)
    return (present._replace(hardware=wanted.hardware) if kernel_follows else present) == wanted


def facts(host: Any, kind: str) -> Facts:
    """What the host says about permission to load; kexec_errors.explain makes sentences of it."""
    limit = "/proc/sys/kernel/kexec_load_limit_%s" % ("panic" if kind == "crash" else "reboot")  # Linux 6.3
    return Facts(
        kind=kind,
        reserved=reserved_bytes(host),
        may_boot=_may_boot(host.read_text("/proc/self/status", "")),
        disabled=_number(host, "/proc/sys/kernel/kexec_load_disabled") == 1,
        limit=_number(host, limit) if host.exists(limit) else -1,
        lockdown=_lockdown(host.read_text("/sys/kernel/security/lockdown", "")),
        secure_boot=_efi_flag(host, "SecureBoot") == 1 and _efi_flag(host, "SetupMode") == 0,
    )


def _may_boot(status: str) -> bool:
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            try:
                return bool(int(line.split()[1], 16) >> _CAP_SYS_BOOT & 1)
            except (IndexError, ValueError):
                return True
    return True  # unknown: the kernel will say


def _lockdown(text: str) -> str:
    """`none [integrity] confidentiality`: the one in brackets."""
    return text.partition("[")[2].partition("]")[0] or "none"


def _efi_flag(host: Any, name: str) -> int:
    """A boolean EFI variable: four bytes of attributes, then the value; -1 where there is none."""
    try:
        data = host.read(_EFIVARS % name, 5)
    except OSError:
        return -1
    return data[4] if len(data) == 5 else -1


def watchdogs(host: Any) -> Tuple[str, ...]:
    """The modules that drive this machine's watchdogs, once each."""
    found = []
    for path in host.glob("/sys/class/watchdog/*/device/driver/module"):
        name = host.realpath(path).rsplit("/", 1)[-1]
        if name.replace("_", "").replace("-", "").isalnum() and name not in found:
            found.append(name)
    return tuple(found)


def is_graviton(host: Any) -> bool:
    """Whether the processor is an AWS Graviton, by its SMBIOS entry (what lscpu calls `BIOS Model name`)."""
    try:
        return b"AWS Graviton" in host.read("/sys/firmware/dmi/entries/4-0/raw", 4096)
    except OSError:
        return False


def live_update(host: Any) -> bool:
    """Whether the live update orchestrator is on: a plain kexec reboot would lose what it preserves."""
    values = cmdline.values(cmdline.split(host.read_text("/proc/cmdline", "")), "liveupdate")
    return bool(values) and values[-1].lower() in ("on", "1", "y", "yes", "t", "true")
