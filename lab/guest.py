# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests: libvirt domains on a copy-on-write overlay of an image, reached by ssh through a port on 127.0.0.1."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import xml.sax.saxutils
from typing import Dict, List, NamedTuple, Sequence, Set

from . import cloud, image
from .accel import accelerator, kvm_is_useless
from .common import LabError, cache_dir, locked, run, say, stage

DOMAIN_PREFIX = "vmcore-kdump-"
BOOT_SECONDS = 600
CONSOLE_TAIL = 3000
DEFAULT_GUESTS = 2
RUN = pathlib.Path("/run")  # where daemons leave their pid files
# The segment on which guests reach each other: a multicast group on the loopback interface, which no packet leaves.
LAN = "mcast=239.192.75.68:47068,localaddr=127.0.0.1"
# The whole emulated CPU: with svm taken out of it, guests under QEMU 7.2 could not start half of their services.
CPU = {"kvm": "<cpu mode='host-passthrough'/>", "tcg": "<cpu mode='maximum'/>"}
# QEMU keeps what it has translated until its buffer is full, of the kernels and processes of earlier boots, too, and looks
# through that at each write to such a page: with its default (1 GiB) each reboot takes longer than the one before.
# 32 MiB do not hold what a boot needs.
TRANSLATED = {"kvm": "", "tcg": "<tcg><tb-cache unit='MiB'>128</tb-cache></tcg>"}


class Guest(NamedTuple):
    """A guest as its guest.json keeps it; `disks` are the sizes of its further disks, vdb, vdc …

    `cards` are its network cards on the segment of all guests: the addresses of each with their prefixes, between
    commas. The suite of a guest made from a cloud image is `cloud`. With `share` it has a directory of this machine, by
    virtiofs with the tag `share`.
    """

    name: str
    suite: str
    image: str
    accel: str
    memory: int
    cpus: int
    disks: List[str]
    port: int
    cards: Sequence[str] = ()
    share: bool = False

    @property
    def directory(self) -> pathlib.Path:
        return guests_dir() / self.name

    @property
    def shared(self) -> pathlib.Path:
        return self.directory / "share"

    @property
    def console(self) -> pathlib.Path:
        return self.directory / "console.log"

    @property
    def domain(self) -> str:
        return DOMAIN_PREFIX + self.name


def guests_dir() -> pathlib.Path:
    path = cache_dir() / "guests"
    path.mkdir(exist_ok=True)
    return path


def find(name: str) -> Guest:
    state = guests_dir() / name / "guest.json"
    if not state.exists():
        raise LabError(f"There is no guest {name!r}: `python3 -m lab list` shows those that are.")
    return Guest(**json.loads(state.read_text(encoding="utf-8")))


def names() -> List[str]:
    return sorted(path.parent.name for path in guests_dir().glob("*/guest.json"))


def virsh(*argv: str, check: bool = True) -> subprocess.CompletedProcess:
    return run("virsh", "--quiet", "--connect", "qemu:///system", *argv, check=check)


def running() -> List[str]:
    """The lab's running domains."""
    return [name for name in virsh("list", "--name").stdout.split() if name.startswith(DOMAIN_PREFIX)]


def ensure_libvirt() -> bool:
    """Starts libvirt's daemons where no service manager has; True when it did."""
    if virsh("version", check=False).returncode == 0:
        return False
    with locked("libvirt", "another process that starts libvirt"), stage("starts libvirt"):
        if pathlib.Path("/run/systemd/system").exists():
            run("systemctl", "start", "libvirtd")
        elif virsh("version", check=False).returncode:
            start_daemons()
        deadline = time.monotonic() + 30
        while virsh("version", check=False).returncode:
            if time.monotonic() > deadline:
                raise LabError("libvirt does not answer at qemu:///system: look at the output of `libvirtd --verbose`.")
            time.sleep(0.5)
    return True


def stop_daemons() -> None:
    """Ends what start_daemons has started. A pid file may have outlived its daemon, and name another process by now."""
    for daemon in ("libvirtd", "virtlogd"):
        with contextlib.suppress(OSError, ValueError):
            pid = int((RUN / f"{daemon}.pid").read_text(encoding="ascii"))
            if pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == daemon:
                os.kill(pid, signal.SIGTERM)


def start_daemons() -> None:
    """Starts libvirt's daemons; one that is up already refuses to start twice, which is as good.

    Where KVM does not work, libvirtd must not see /dev/kvm: it would try it anew, half a minute, for each new domain.
    A mount namespace puts a file that QEMU's user cannot open in its place, for libvirtd and nobody else. With such a
    mount under /dev libvirtd cannot make the domains' own namespaces, so its settings there are to make none.
    """
    cover, settings = cache_dir() / "no-kvm", cache_dir() / "qemu.conf"
    cover.touch(mode=0o600)
    settings.write_text("namespaces = []\n", encoding="ascii")
    mounts = 'mount --bind "$1" /dev/kvm && mount --bind "$2" /etc/libvirt/qemu.conf && shift 2 && exec "$@"'
    hide = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", mounts, "-", str(cover), str(settings)]
    for argv in (["virtlogd"], [*(hide if kvm_is_useless() else []), "libvirtd"]):
        subprocess.run([*argv, "--daemon"], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def domain_xml(guest: Guest) -> str:
    """The libvirt domain. QEMU runs as root with the lab's own files as they are: nothing of the host is relabelled."""
    devices = disks_xml(guest)
    memory = ""
    if guest.share:  # virtiofsd reads and writes the guest's memory
        memory = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
        devices += f"""
    <filesystem type='mount'>
      <driver type='virtiofs'/>
      <source dir={xml.sax.saxutils.quoteattr(str(guest.shared))}/>
      <target dir='share'/>
    </filesystem>"""
    return f"""<domain type='{"kvm" if guest.accel == "kvm" else "qemu"}'
    xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{guest.domain}</name>
  <memory unit='MiB'>{guest.memory}</memory>{memory}
  <vcpu>{guest.cpus}</vcpu>
  {CPU[guest.accel]}
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/>{TRANSLATED[guest.accel]}</features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
  <devices>{devices}
    <serial type='file'><source path={xml.sax.saxutils.quoteattr(str(guest.console))} append='on'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
    <watchdog model='i6300esb' action='reset'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/>
    <qemu:arg value='user,id=user0,hostfwd=tcp:127.0.0.1:{guest.port}-:22'/>
    <qemu:arg value='-device'/>
    <qemu:arg value='virtio-net-pci,netdev=user0,bus=pci.0,addr=0x1d'/>{cards_xml(guest)}
  </qemu:commandline>
</domain>
"""


def disks_xml(guest: Guest) -> str:
    disks = [f"{guest.directory}/disk.qcow2"]
    disks += [f"{guest.directory}/extra{number}.qcow2" for number in range(len(guest.disks))]
    devices = "".join(
        f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'/>
      <source file={xml.sax.saxutils.quoteattr(path)}/>
      <target dev='vd{letter}' bus='virtio'/>
    </disk>"""
        for path, letter in zip(disks, "abcdefghij", strict=False)
    )
    seed = image.Image(pathlib.Path(guest.image)).seed
    if seed.exists():
        devices += f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file={xml.sax.saxutils.quoteattr(str(seed))}/>
      <target dev='vdz' bus='virtio'/>
      <readonly/>
    </disk>"""
    return devices


def mac(guest: Guest, number: int) -> str:
    """The address of a guest's card, the same whenever it is made."""
    digest = hashlib.sha256(f"{guest.name} {number}".encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def cards_xml(guest: Guest) -> str:
    argv = []
    for number in range(len(guest.cards)):
        argv += ["-netdev", f"socket,id=lan{number},{LAN}"]
        device = f"virtio-net-pci,netdev=lan{number},mac={mac(guest, number)},bus=pci.0,addr={0x1C - number:#x}"
        argv += ["-device", device]
    return "".join(f"\n    <qemu:arg value='{word}'/>" for word in argv)


def set_addresses(guest: Guest) -> None:
    """Gives each card its addresses, for this boot and all that follow (systemd-networkd)."""
    awaited = []
    for number, addresses in enumerate(guest.cards):
        if addresses:
            lines = "".join(f"Address={address}\n" for address in addresses.split(","))
            text = f"[Match]\nMACAddress={mac(guest, number)}\n\n[Network]\n{lines}"
            ssh(guest, f"printf '{text}' > /etc/systemd/network/70-lan{number}.network")
            awaited += addresses.split(",")
    is_there = " && ".join(f"ip -o address show -tentative | grep -qF ' {address} '" for address in awaited)
    ssh(guest, f'networkctl reload && timeout 60 sh -c "until {is_there}; do sleep 0.5; done"')


def up(
    name: str, suite: str, memory: int, cpus: int, disks: List[str], port: int, cloud_image: str = "",
    cards: Sequence[str] = (), share: bool = False,
) -> Guest:  # fmt: skip
    """Makes and boots a guest and waits until it takes commands; one that is up already is left as it is.

    A guest is made from the image of a Debian suite, or from the cloud image at a path or URL. A cloud image gives no
    kernel away to try KVM with: the suite's image has one.
    """
    if name in names():
        guest = find(name)
        say(f"guest {name} exists already")
        return start(guest)
    debian = image.get(suite)
    base = cloud.get(cloud_image) if cloud_image else debian
    accel = accelerator(debian.kernel)
    ensure_libvirt()
    shown = cloud.SUITE if cloud_image else suite
    guest = Guest(name, shown, str(base.directory), accel, memory, cpus, disks, port or free_port(), list(cards), share)
    (guest.shared if share else guest.directory).mkdir(parents=True, exist_ok=True)
    (guest.directory / "guest.json").write_text(json.dumps(guest._asdict(), indent=1) + "\n", encoding="utf-8")
    try:
        run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base.disk, guest.directory / "disk.qcow2")
        for number, size in enumerate(disks):
            run("qemu-img", "create", "-f", "qcow2", guest.directory / f"extra{number}.qcow2", size)
        (guest.directory / "domain.xml").write_text(domain_xml(guest), encoding="utf-8")
        virsh("define", str(guest.directory / "domain.xml"))
        start(guest)
        if cloud_image:
            cloud.wait(ssh_argv(guest))
        if any(guest.cards):
            set_addresses(guest)
        return guest
    except BaseException:
        down(name)
        raise


def start(guest: Guest) -> Guest:
    """Boots a guest that is not running, once nothing `stands_in_its_way`, and waits for its ssh."""
    ensure_libvirt()
    said = ""
    while True:
        with locked("start", "another guest to be started"):
            domains = running()
            if guest.domain in domains:
                break
            limit = int(os.environ.get("VMCORE_KDUMP_GUESTS", DEFAULT_GUESTS))
            reason = stands_in_its_way(guest, {name: cards_of(name) for name in domains}, limit)
            if not reason:
                virsh("start", guest.domain)
                break
        # Without the lock: who is waited for may first need another guest, to come to an end.
        if reason != said:
            say(f"{guest.name} waits: {reason}")
            said = reason
        time.sleep(2)
    with stage(f"boots guest {guest.name} ({guest.suite}, {guest.accel}) on 127.0.0.1:{guest.port}"):
        wait_for_ssh(guest)
    return guest


def stands_in_its_way(guest: Guest, domains: Dict[str, Sequence[str]], limit: int) -> str:
    """Why a guest cannot be started beside these domains with their cards: there are as many as may, or one has its address."""
    if len(domains) >= limit:
        return f"{', '.join(domains)} run (VMCORE_KDUMP_GUESTS={limit})"
    for domain, cards in domains.items():
        for address in sorted(addresses_of(guest.cards) & addresses_of(cards)):
            return f"{domain} has its address {address}"
    return ""


def addresses_of(cards: Sequence[str]) -> Set[str]:
    return {address for card in cards for address in card.split(",") if address}


def cards_of(domain: str) -> Sequence[str]:
    """The cards of a running guest; none of one that is just being taken away."""
    with contextlib.suppress(LabError, OSError):
        return find(domain.removeprefix(DOMAIN_PREFIX)).cards
    return ()


def power_cut(name: str) -> Guest:
    """Ends the guest as a power cut would, then boots it again."""
    guest = find(name)
    virsh("destroy", guest.domain)
    return start(guest)


def down(name: str) -> None:
    """Destroys a guest and everything that was made for it; quiet about what is gone already."""
    ensure_libvirt()
    virsh("destroy", DOMAIN_PREFIX + name, check=False)
    virsh("undefine", DOMAIN_PREFIX + name, check=False)
    if DOMAIN_PREFIX + name in virsh("list", "--all", "--name").stdout.split():
        raise LabError(f"libvirt did not let go of {DOMAIN_PREFIX + name}: try `virsh destroy` by hand.")
    with locked("down", "another guest to be taken away"):
        if (guests_dir() / name).exists():
            shutil.rmtree(guests_dir() / name)
            say(f"guest {name} is gone")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ssh_options(guest: Guest) -> Dict[str, str]:
    """What ssh needs to reach a guest and nothing of the user's own: the image's host key is pinned."""
    return {
        "IdentityFile": str(image.private_key()),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(image.Image(pathlib.Path(guest.image)).known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": image.HOST_ALIAS,
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "30",
        # A guest that panics says no good-bye.
        "ServerAliveInterval": "10",
    }


def ssh_argv(guest: Guest, *command: str) -> List[str]:
    options = [word for key, value in ssh_options(guest).items() for word in ("-o", f"{key}={value}")]
    return [
        "ssh",
        "-F",
        "/dev/null",
        *options,
        "-o",
        "LogLevel=ERROR",
        "-p",
        str(guest.port),
        "root@127.0.0.1",
        *command,
    ]


def ssh(guest: Guest, command: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess:
    """Runs a shell command in the guest as root."""
    try:
        return run(*ssh_argv(guest, command), check=check, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise LabError(f"Guest {guest.name} takes more than {timeout:.0f} s for `{command}`.") from None


def wait_for_ssh(guest: Guest, seconds: float = BOOT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        # QEMU accepts the connection long before the guest does: only sshd's own greeting counts.
        if greets(guest.port) and ssh(guest, "true", check=False).returncode == 0:
            return
        if guest.domain not in running():
            raise LabError(f"Guest {guest.name} stopped while it was booting. The end of its console:\n{tail(guest)}")
        time.sleep(0.5)
    raise LabError(f"Guest {guest.name} has no ssh after {seconds:.0f} s. The end of its console:\n{tail(guest)}")


def boot_id(guest: Guest) -> str:
    """What tells one boot of a guest from another; the guest has written everything to its disks by then."""
    return ssh(guest, "sync; cat /proc/sys/kernel/random/boot_id").stdout.strip()


def wait_for_reboot(guest: Guest, before: str, seconds: float = BOOT_SECONDS) -> None:
    """Waits until the guest takes commands in another boot than the one with that boot_id."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if greets(guest.port):
            done = ssh(guest, "cat /proc/sys/kernel/random/boot_id", check=False)
            if done.returncode == 0 and done.stdout.strip() != before:
                return
        time.sleep(0.5)
    raise LabError(f"Guest {guest.name} is not back after {seconds:.0f} s. The end of its console:\n{tail(guest)}")


def greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def tail(guest: Guest) -> str:
    if not guest.console.exists():
        return "(nothing)"
    return guest.console.read_text(encoding="utf-8", errors="replace")[-CONSOLE_TAIL:]


def inventory(guests: List[Guest]) -> str:
    """An Ansible inventory in YAML (written as JSON, which is YAML: no quoting to get wrong)."""
    hosts = {}
    for guest in guests:
        options = " ".join(f"-o {key}={value}" for key, value in ssh_options(guest).items() if key != "IdentityFile")
        hosts[guest.name] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": guest.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(image.private_key()),
            "ansible_ssh_common_args": f"-F /dev/null {options}",
            # A cloud image has its Python where its distribution puts it.
            "ansible_python_interpreter": "auto_silent" if guest.suite == cloud.SUITE else "/usr/bin/python3",
        }
    return json.dumps({"all": {"hosts": hosts}}, indent=2) + "\n"
