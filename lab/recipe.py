# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a guest is made of. An image is named by a hash of this file, so a change here makes a new image.

Runs as mmdebstrap's customize hook, `python3 recipe.py TREE PUBLIC_KEY`, with /proc, /sys and /dev mounted in TREE.
The guest is a plain Debian host as a minimal installation leaves it. Neither busybox nor makedumpfile is in it: what
a host needs for kdump is the collection's business. They and a newer kernel lie in /srv/apt, the guest's only source
of packages, so that they can be really installed without a network.
"""

import hashlib
import pathlib
import re
import subprocess
import sys

# libpam-systemd ends ssh's sessions before the network when the guest shuts down, as on every usual host.
INCLUDE = (
    "ca-certificates,dbus,e2fsprogs,fdisk,grub-pc,iproute2,kmod,libpam-systemd,openssh-server,procps,python3,python3-apt,"
    "systemd-sysv,udev"
)
# Each group is resolved by itself against the base system: some of them exclude each other.
OFFLINE = (
    ("busybox", "makedumpfile", "kexec-tools", "kdump-tools"),
    ("lvm2", "mdadm", "xfsprogs", "btrfs-progs"),
    ("dracut-core",),
    ("nfs-kernel-server", "nfs-common"),
    # bookworm has it in fence-agents only, with the agents of every maker: not in its guests.
    ("fence-agents-kdump",),
)
REPOSITORY = "srv/apt"

FILES = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/systemd/network/80-user.network": "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\n",
    "etc/apt/sources.list": "deb [trusted=yes] file:/srv/apt ./\n",
    "etc/apt/apt.conf.d/60lab": 'APT::Install-Recommends "false";\n',
    # A package that brings something for the initrd makes it anew, minutes of emulation; a new kernel still gets its own.
    "etc/initramfs-tools/update-initramfs.conf": "update_initramfs=no\nbackup_initramfs=no\n",
    "etc/default/grub": (
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=0\n"
        "GRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        # A panic without a capture kernel, early in the boot too, comes back by itself.
        'GRUB_CMDLINE_LINUX="console=ttyS0,115200 panic=10"\n'
        "GRUB_TERMINAL=serial\n"
        'GRUB_SERIAL_COMMAND="serial --speed=115200"\n'
        "GRUB_DISABLE_OS_PROBER=true\n"
    ),
}
# Runs once as init, booted from outside, to let GRUB install itself where it will be started from.
FINISH = """#!/bin/sh
mount -o remount,rw / && grub-install /dev/vda && update-grub && sync && rm "$0" && sync && echo LAB-IMAGE-FINISHED
exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'
"""


def natural(name: str) -> list:
    """Sorts kernel releases by their numbers: 6.12.9 before 6.12.10."""
    return [int(number) for number in re.findall(r"\d+", name)]


def choose_kernels(names: list) -> tuple:
    """(the kernel to start with, a newer one or one of another flavour to be upgraded to) of a suite's packages."""
    packages = [name for name in names if re.fullmatch(r"linux-image-\d.*-amd64", name)]
    cloud = sorted((name for name in packages if name.endswith("-cloud-amd64")), key=natural)
    other = sorted((name for name in packages if not re.search("-(cloud|rt)-amd64$", name)), key=natural)
    if len(cloud) > 1:
        return cloud[-2], cloud[-1]
    return cloud[-1], other[-1]


def index(directory: pathlib.Path) -> str:
    """The text of an apt repository's Packages file for the .deb files in a directory."""
    paragraphs = []
    for deb in sorted(directory.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        paragraphs.append(f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    return "\n".join(paragraphs)


def main(tree: pathlib.Path, public_key: str) -> None:
    def chroot(*argv: str) -> str:
        return subprocess.run(["chroot", str(tree), *argv], check=True, stdout=subprocess.PIPE, text=True).stdout

    def apt(*argv: str) -> None:
        chroot("apt-get", "--quiet", "--yes", "--no-install-recommends", *argv)

    base, newer = choose_kernels(chroot("apt-cache", "pkgnames", "linux-image-").split())
    apt("install", base)
    repository = tree / REPOSITORY
    (repository / "partial").mkdir(parents=True)
    known = set(chroot("apt-cache", "pkgnames").split())
    for group in (*OFFLINE, (newer,)):
        if known.issuperset(group):
            apt("install", "--download-only", "-o", f"Dir::Cache::Archives=/{REPOSITORY}", *group)
    for junk in ("partial", "lock"):
        subprocess.run(["rm", "-rf", str(repository / junk)], check=True)
    (repository / "Packages").write_text(index(repository))
    (repository / "newer-kernel").write_text(newer.removeprefix("linux-image-") + "\n")

    for path in (tree / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    for name, text in FILES.items():
        (tree / name).write_text(text)
    finish = tree / "usr/local/sbin/lab-finish"
    finish.write_text(FINISH)
    finish.chmod(0o755)
    authorized = tree / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(public_key + "\n")
    chroot("systemctl", "enable", "systemd-networkd.service")
    chroot("systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online.service")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
