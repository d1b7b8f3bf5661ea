# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Debian packages that the lab and the tests need on their own machine: the one list of them."""

import os
import platform
import shutil

from .common import LabError, run, stage

PACKAGES = (
    "debian-archive-keyring",
    "e2fsprogs",
    "fdisk",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "mmdebstrap",
    "openssh-client",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "xorriso",
    # Part of qemu-system-common until QEMU 8.
    *(() if platform.freedesktop_os_release().get("VERSION_CODENAME") in ("bookworm", "jammy") else ("virtiofsd",)),
)
# What the unit tests compare with; where one is missing they leave that comparison out.
TEST_PACKAGES = (
    "btrfs-progs",
    "busybox",
    "cpio",
    "iproute2",
    "openssh-server",
    "shellcheck",
    "systemd",
    "xfsprogs",
    "zstd",
)


def missing(wanted: tuple) -> list:
    """Those packages that dpkg does not call installed."""
    if shutil.which("dpkg-query") is None:
        raise LabError(
            "The lab runs on Debian and what is made of it, whose packages it installs: there is no dpkg here."
        )
    query = run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted, check=False)
    installed = {line.split()[0] for line in query.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in wanted if package not in installed]


def install(wanted: tuple = PACKAGES) -> None:
    packages = missing(wanted)
    if not packages:
        return
    if os.geteuid() != 0:
        raise LabError(f"As root: apt-get install {' '.join(packages)}")
    with stage(f"installs {', '.join(packages)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "--quiet", "update", env=environment)
        run("apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *packages, env=environment)
    if missing(wanted):
        raise LabError(f"apt-get left these uninstalled: {', '.join(missing(wanted))}")
