# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which boot loader a host's kernel command lines are kept for. Private to this collection."""

from typing import Any

from ..problems import fail
from . import bls, grub, grubby, rpm_ostree

CHOICES = ["auto", "grubby", "grub", "bls", "rpm_ostree"]
_MODULES = {"grubby": grubby, "grub": grub, "bls": bls, "rpm_ostree": rpm_ostree}
# What the boot loader says of itself: systemd-boot, and GRUB since 2.12 (systemd's Boot Loader Interface).
_LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def choose(host: Any, wanted: str) -> str:
    """The name of the boot loader module to use; KdumpError where the wanted one, or any, cannot be used."""
    reasons = {name: module.missing(host) for name, module in _MODULES.items()}
    if host.exists(rpm_ostree.BOOTED):  # its entries are written anew with each deployment
        reasons.update(
            dict.fromkeys(["grubby", "grub", "bls"], "on ostree hosts only rpm_ostree keeps kernel arguments")
        )
        wanted = "rpm_ostree" if wanted == "auto" else wanted
    if wanted != "auto":
        if reasons[wanted]:
            raise fail(
                "bootloader %s cannot be used: %s." % (wanted, reasons[wanted]),
                "Use bootloader: auto, or install what is missing.",
                "bootloader",
                wanted,
            )
        return wanted
    usable = [name for name, reason in reasons.items() if not reason]
    if not usable:
        del reasons["rpm_ostree"]
        raise fail(
            "No boot loader that can be managed was found: %s." % "; ".join(reasons.values()),
            "Install GRUB or systemd-boot, or add crashkernel= to the kernel command line by hand.",
            "bootloader",
            wanted,
        )
    if "grubby" in usable or len(usable) == 1:
        return usable[0]
    return _running(host)


def module(name: str) -> Any:
    """The module of that name, with the functions that entry.py lists."""
    return _MODULES[name]


def _running(host: Any) -> str:
    """Both grub.cfg and loader entries are there: what the host was booted by counts."""
    if "blscfg" in host.read_text(grub.CONFIG):
        return "bls"
    info = host.read(_LOADER_INFO)[4:].decode("utf-16-le", "replace") if host.is_file(_LOADER_INFO) else ""
    if info.startswith("systemd-boot"):
        return "bls"
    if info.startswith("GRUB"):
        return "grub"
    raise fail(
        "This host has both a grub.cfg and boot loader entries, and it cannot be told which of them boots it.",
        "Say so with bootloader: grub or bootloader: bls.",
        "bootloader",
        "auto",
    )
