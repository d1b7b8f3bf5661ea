# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A crash on each kind of dump target: panic to restart, the image's bytes, the smallest reservation that captures.

    python3 -m benchmarks.targets ["ssh" "nfs v4" …] [--from 128]

It is run by a Python whose environment has ansible-core, as root. The rows are those of molecule/resources/vars/targets.yml.
The first crash of a row is playbook crash_test's and gives its times. The following ones find the smallest reservation in
steps of 16M that leaves a whole vmcore: the running kernel's is made smaller by /sys/kernel/kexec_crash_size, which needs no
reboot (kernel/crash_core.c, crash_shrink_memory), the same image is loaded into it, and the guest panics.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
from typing import Any, Dict, Iterator, Set

import yaml

from lab import collection, guest, panic
from lab.common import LabError, say, stage

CLIENT, SERVER = "targets-client", "targets-server"
RESOURCES = collection.ROOT / "molecule/resources"
STEP = 16
SMALLEST = 64
PIPELINING = {"ANSIBLE_PIPELINING": "true"}  # half as many connections, which cost seconds in an emulated guest
LOAD_INTO = """set -e
systemctl start vmcore-kdump.service # what it does at boot is done
systemctl stop vmcore-kdump.service
echo %d > /sys/kernel/kexec_crash_size
systemctl start vmcore-kdump.service || { journalctl -q -o cat -n 3 _SYSTEMD_UNIT=vmcore-kdump.service >&2; exit 1; }
grep -q 1 /sys/kernel/kexec_crash_loaded
"""


@contextlib.contextmanager
def machines(table: Dict, with_server: bool) -> Iterator[collection.Ansible]:
    """A client and a dump server, if there is to be one, and the collection installed for them."""
    programs = pathlib.Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="vmcore-kdump-benchmark-") as name:
        scratch = pathlib.Path(name)
        ansible = collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")
        try:
            # Without a server its addresses on the segment are left to another client's rows.
            client = {**table["guests"]["client"], **({} if with_server else {"cards": []})}
            made = [guest.up(CLIENT, "trixie", port=0, **client)]
            if with_server:
                made.append(guest.up(SERVER, "trixie", port=0, **table["guests"]["server"]))
            ansible.inventory.write_text(guest.inventory(made), encoding="utf-8")
            if with_server:
                guest.ssh(made[1], (RESOURCES / "server.sh").read_text(encoding="utf-8"))
                variables = {"kdump_server_hosts": SERVER, **table["server_variables"]}
                ansible.playbook("vmcore.kdump.server", "-e", json.dumps(variables), **PIPELINING)
            yield ansible
        finally:
            guest.down(CLIENT)
            guest.down(SERVER)


def crash(ansible: collection.Ansible, table: Dict, target: str, megabytes: int) -> Dict[str, Any]:
    """Arms the client for a row and crashes it by playbook crash_test; the figures."""
    client, row = guest.find(CLIENT), table["targets"][target]
    forget = f"set -e\nrm -f {' '.join(table['forgotten'])}\nexport DEBIAN_FRONTEND=noninteractive\n"
    guest.ssh(client, forget + row.get("prepare", "true"))
    variables = {**table["all_rows"], **row["variables"], "kdump_crashkernel": f"{megabytes}M", "server": SERVER}
    ansible.playbook("vmcore.kdump.kdump", "-e", json.dumps({**variables, "kdump_hosts": CLIENT}), **PIPELINING)
    words = f"kdump_hosts={CLIENT} kdump_crash_test=true"
    end = panic.crash(client, lambda: ansible.playbook("vmcore.kdump.crash_test", "-e", words, **PIPELINING))
    state = ansible.module(CLIENT, "vmcore.kdump.info", remote=True)
    return {"restart": end.seconds, "image": state["image"]["bytes"], "whole": whole(state)}


def whole(state: Dict) -> Set[str]:
    """The directories of the whole dumps that module info lists."""
    return {dump["directory"] for dump in state["vmcores"] if dump["verdict"] == "complete"}


def captures(ansible: collection.Ansible, megabytes: int, known: Set[str]) -> bool:
    """Whether a panic with so small a reservation leaves a whole dump, which is then `known`, too."""
    client = guest.find(CLIENT)
    loaded = guest.ssh(client, LOAD_INTO % (megabytes << 20), check=False)
    if loaded.returncode:
        say(f"{megabytes}M: not loaded: {loaded.stderr.strip()}")
        guest.power_cut(CLIENT)  # only a boot makes the reservation larger
        return False
    before = guest.boot_id(client)
    end = panic.crash(client)
    panic.back(client, before, end)
    found = whole(ansible.module(CLIENT, "vmcore.kdump.info", remote=True)) - known
    say(f"{megabytes}M: {end.how} {end.seconds} s after the panic, {'a' if found else 'no'} whole vmcore")
    known |= found
    return bool(found)


def measure(ansible: collection.Ansible, table: Dict, target: str, first: int) -> Dict[str, Any]:
    """Halves the steps between what captures and what does not."""
    with stage(f"{target}: crashes with crashkernel={first}M"):
        figures = crash(ansible, table, target, first)
    known: Set[str] = figures.pop("whole")
    too_small, smallest = SMALLEST - STEP, first
    while smallest - too_small > STEP:
        megabytes = too_small + (smallest - too_small) // STEP // 2 * STEP
        with stage(f"{target}: crashes with {megabytes}M"):
            if captures(ansible, megabytes, known):
                smallest = megabytes
            else:
                too_small = megabytes
    return {**figures, "smallest": f"{smallest}M"}


def line(target: str, figures: Dict[str, object]) -> str:
    return (
        f"| {target} | {figures.get('restart', '-')} | {figures.get('image', '-')} | {figures.get('smallest', '-')} |"
    )


def main() -> None:
    table = yaml.safe_load((RESOURCES / "vars/targets.yml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description="a crash on each kind of dump target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="rows of the table (all)")
    parser.add_argument("--from", dest="first", type=int, default=128, metavar="MIB", help="the largest (128)")
    args = parser.parse_args()
    unknown = set(args.targets) - set(table["targets"])
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are: {', '.join(table['targets'])}")
    targets = args.targets or list(table["targets"])
    with machines(table, any(table["targets"][target].get("server") for target in targets)) as ansible:
        print(
            "| target | panic to restart, seconds | capture image, bytes | smallest that captures |\n|---|---|---|---|"
        )
        for target in targets:
            try:
                figures = measure(ansible, table, target, args.first)
            except LabError as error:  # the other rows can still be measured
                say(f"{target}: {error}")
                guest.wait_for_reboot(guest.find(CLIENT), "")  # it may be on its way
                figures = {}
            print(line(target, figures), flush=True)


if __name__ == "__main__":
    main()
