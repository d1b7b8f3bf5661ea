# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the native engine's capture compares with what a Debian user would have instead, in one guest, in one run.

    python3 -m benchmarks.capture [--suite trixie] [--json FILE]

It is run by a Python whose environment has ansible-core. Measured for each: seconds to build the capture image and its
bytes (native, dracut, kdump-tools), seconds from the panic to the machine's restart, and the smallest of 96M, 128M and
192M with which a vmcore arrives (native, kdump-tools). The panic
is seen on the serial console, the restart is libvirt's own event. The ratios are the result: the seconds are those of
one shared, emulated machine.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from typing import Dict, List, Optional

from lab import collection, guest, panic
from lab.common import say, stage

NAME = "benchmark"
RESERVATIONS = ("96M", "128M", "192M")


def shell(machine: guest.Guest, command: str, check: bool = True) -> str:
    return guest.ssh(machine, command, check=check, timeout=900).stdout.strip()


def reboot(machine: guest.Guest) -> None:
    before = guest.boot_id(machine)
    shell(machine, "systemctl reboot", check=False)
    guest.wait_for_reboot(machine, before)


def crash(machine: guest.Guest) -> Optional[float]:
    """Seconds from the panic to the machine's restart; None where it never restarted by itself."""
    end = panic.crash_and_return(machine)
    return end.seconds if end.how == "reboot" else None


def arrived(machine: guest.Guest, pattern: str) -> int:
    """The bytes of the newest file that matches and is no remainder of a failed dump; 0 for none. Removes them all."""
    listing = shell(machine, f"stat -c '%s %n' {pattern} 2>/dev/null | grep -v incomplete", check=False)
    shell(machine, "rm -rf /var/crash/*")
    return max((int(line.split()[0]) for line in listing.splitlines()), default=0)


def native(machine: guest.Guest, ansible: collection.Ansible) -> Dict[str, object]:
    """The collection itself, as its users run it; then crashes with ever more memory until a vmcore arrives."""
    result: Dict[str, object] = {}
    for size in RESERVATIONS:
        with stage(f"native: arms with crashkernel={size}"):
            ansible.playbook("vmcore.kdump.kdump", "-e", f"kdump_crashkernel={size}", "-e", "kdump_reboot_ok=true")
        manifest = json.loads(shell(machine, "cat /var/lib/vmcore-kdump/images/*.json"))
        result.update(build_seconds=manifest["seconds"], image_bytes=manifest["bytes"])
        with stage(f"native: crashes with crashkernel={size}"):
            seconds = crash(machine)
        size_arrived = arrived(machine, "/var/crash/*/vmcore")
        if size_arrived:
            return dict(result, crashkernel=size, panic_to_restart=seconds, vmcore_bytes=size_arrived)
    return result


def dracut(machine: guest.Guest) -> Dict[str, object]:
    """An image as dracut makes it for this host's root file system, without systemd and with makedumpfile."""
    shell(machine, "DEBIAN_FRONTEND=noninteractive apt-get -qy install dracut-core")
    argv = "dracut --force --hostonly --no-hostonly-cmdline --omit systemd --install makedumpfile /tmp/dracut.img"
    started = time.monotonic()
    with stage("dracut: builds its image"):
        shell(machine, f"{argv} $(uname -r)")
    seconds = time.monotonic() - started
    return {"build_seconds": round(seconds, 2), "image_bytes": int(shell(machine, "stat -c %s /tmp/dracut.img"))}


def kdump_tools(machine: guest.Guest) -> Dict[str, object]:
    """Debian's own kdump, as it is installed; with ever less memory until no vmcore arrives any more."""
    with stage("kdump-tools: installs, which builds its image"):
        shell(machine, "DEBIAN_FRONTEND=noninteractive apt-get -qy install kdump-tools")
        shell(machine, "sed -i 's/^#*USE_KDUMP=.*/USE_KDUMP=1/' /etc/default/kdump-tools")
    result: Dict[str, object] = {}
    for size in reversed(RESERVATIONS):
        with stage(f"kdump-tools: boots with crashkernel={size}"):
            line = f'GRUB_CMDLINE_LINUX_DEFAULT=\\"\\$GRUB_CMDLINE_LINUX_DEFAULT crashkernel={size}\\"'
            shell(machine, f"echo {line} > /etc/default/grub.d/kdump-tools.cfg; update-grub")
            reboot(machine)
        shell(machine, "systemctl is-active --wait kdump-tools; test $(cat /sys/kernel/kexec_crash_loaded) = 1")
        image = "/var/lib/kdump/initrd.img-$(uname -r)"
        if "image_bytes" not in result:
            started = time.monotonic()
            with stage("kdump-tools: builds its image again, to time it"):
                shell(machine, "/etc/kernel/postinst.d/kdump-tools $(uname -r)")
            result["build_seconds"] = round(time.monotonic() - started, 2)
            result["image_bytes"] = int(shell(machine, f"stat -c %s {image}"))
        with stage(f"kdump-tools: crashes with crashkernel={size}"):
            seconds = crash(machine)
        size_arrived = arrived(machine, "/var/crash/*/dump.*")
        if not size_arrived:
            break
        result.update(crashkernel=size, vmcore_bytes=size_arrived)
        # The time is that of its own default, the first and largest size.
        result.setdefault("panic_to_restart", seconds)
    return result


def ratio(ours: object, theirs: object) -> str:
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) and ours:
        return f"{theirs / ours:.1f}"
    return "-"


def table(rows: Dict[str, Dict[str, object]]) -> List[str]:
    keys = ("build_seconds", "image_bytes", "panic_to_restart", "crashkernel", "vmcore_bytes")
    lines = [
        "| | native | dracut | kdump-tools | dracut / native | kdump-tools / native |",
        "|---|---|---|---|---|---|",
    ]
    for key in keys:
        ours, other, debian = (rows[name].get(key) for name in ("native", "dracut", "kdump-tools"))
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value or "-") for value in (ours, other, debian)]
        megabytes = [
            int(str(value).rstrip("M")) if key == "crashkernel" and value else value for value in (ours, debian)
        ]
        lines.append(f"| {key} | {' | '.join(cells)} | {ratio(ours, other)} | {ratio(*megabytes)} |")
    return lines


def measure(machine: guest.Guest, scratch: pathlib.Path) -> Dict[str, Dict[str, object]]:
    programs = pathlib.Path(sys.executable).parent
    ansible = collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")
    ansible.inventory.write_text(guest.inventory([machine]), encoding="utf-8")
    rows = {"native": native(machine, ansible), "dracut": dracut(machine)}
    with stage("native: removes itself"):
        ansible.playbook("vmcore.kdump.kdump", "-e", "kdump_state=absent")
    rows["kdump-tools"] = kdump_tools(machine)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="native against dracut and kdump-tools, in one guest")
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--json", help="write the figures to this file too")
    args = parser.parse_args()
    machine = guest.up(NAME, args.suite, 2048, 2, [], 0)
    with tempfile.TemporaryDirectory(prefix="vmcore-kdump-benchmark-") as name:
        try:
            rows = measure(machine, pathlib.Path(name))
        finally:
            guest.down(NAME)
    print("\n".join(table(rows)))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    say(f"measured on {machine.suite}, {machine.accel}, {machine.cpus} CPUs, {machine.memory} MiB")


if __name__ == "__main__":
    sys.exit(main())
