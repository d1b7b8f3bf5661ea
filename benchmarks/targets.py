# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A crash on each kind of dump target: panic to restart, the image's bytes, the smallest reservation that captures.

    python3 -m benchmarks.targets ["ssh" "nfs v4" …] [--from 128]

It is run by a Python whose environment has ansible-core, as root. The rows are those of molecule/resources/vars/targets.yml.
A client guest is crashed with more and less memory, in steps of 16M, until it is known with which one playbook crash_test
finds a whole vmcore and with the next smaller one does not; each crash costs a reboot more. The first one of a row gives
its times.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
from typing import Dict, Iterator, Optional

import yaml

from lab import collection, guest, panic
from lab.common import LabError, say, stage

CLIENT, SERVER = "targets-client", "targets-server"
RESOURCES = collection.ROOT / "molecule/resources"
STEP = 16
SMALLEST = 64


@contextlib.contextmanager
def machines(table: Dict) -> Iterator[collection.Ansible]:
    """A client and a dump server, and the collection installed for them."""
    programs = pathlib.Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="vmcore-kdump-benchmark-") as name:
        scratch = pathlib.Path(name)
        ansible = collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")
        try:
            server = guest.up(SERVER, "trixie", port=0, **table["guests"]["server"])
            client = guest.up(CLIENT, "trixie", port=0, **table["guests"]["client"])
            ansible.inventory.write_text(guest.inventory([client, server]), encoding="utf-8")
            variables = {"kdump_server_hosts": SERVER, **table["server_variables"]}
            ansible.playbook("vmcore.kdump.server", "-e", json.dumps(variables))
            yield ansible
        finally:
            guest.down(CLIENT)
            guest.down(SERVER)


def crash(ansible: collection.Ansible, table: Dict, target: str, megabytes: int) -> Optional[Dict[str, object]]:
    """The figures of one crash; None where no whole vmcore arrived."""
    client, row = guest.find(CLIENT), table["targets"][target]
    guest.ssh(
        client, "set -e\nrm -f /etc/kdump.conf\nexport DEBIAN_FRONTEND=noninteractive\n" + row.get("prepare", "true")
    )
    variables = {**table["all_rows"], **row["variables"], "kdump_crashkernel": f"{megabytes}M", "server": SERVER}
    try:
        ansible.playbook("vmcore.kdump.kdump", "-e", json.dumps({**variables, "kdump_hosts": CLIENT}))
        words = f"kdump_hosts={CLIENT} kdump_crash_test=true"
        end = panic.crash(client, lambda: ansible.playbook("vmcore.kdump.crash_test", "-e", words))
    except LabError as error:
        say(f"{target}, {megabytes}M: {error}")
        guest.wait_for_reboot(client, "")  # it may be on its way
        return None
    state = ansible.module(CLIENT, "vmcore.kdump.info")
    return {"restart": end.seconds, "image": state["image"]["bytes"], "crashkernel": f"{megabytes}M"}


def measure(ansible: collection.Ansible, table: Dict, target: str, first: int) -> Dict[str, object]:
    """Halves the steps between what captures and what does not; the times are those of the first crash."""
    figures: Dict[str, object] = {}
    too_small, megabytes = SMALLEST - STEP, first
    while too_small < megabytes:
        with stage(f"{target}: crashes with crashkernel={megabytes}M"):
            found = crash(ansible, table, target, megabytes)
        if found is None:
            too_small = megabytes
        else:
            figures = {**found, "restart": figures.get("restart", found["restart"])}
        if not figures:
            break
        smallest = int(str(figures["crashkernel"])[:-1])
        megabytes = too_small + (smallest - too_small) // STEP // 2 * STEP
    return figures


def line(target: str, figures: Dict[str, object]) -> str:
    return f"| {target} | {figures.get('restart', '-')} | {figures.get('image', '-')} | {figures.get('crashkernel', '-')} |"


def main() -> None:
    table = yaml.safe_load((RESOURCES / "vars/targets.yml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description="a crash on each kind of dump target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="rows of the table (all)")
    parser.add_argument("--from", dest="first", type=int, default=128, metavar="MIB", help="the largest (128)")
    args = parser.parse_args()
    unknown = set(args.targets) - set(table["targets"])
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are: {', '.join(table['targets'])}")
    with machines(table) as ansible:
        print(
            "| target | panic to restart, seconds | capture image, bytes | smallest that captures |\n|---|---|---|---|"
        )
        for target in args.targets or table["targets"]:
            print(line(target, measure(ansible, table, target, args.first)), flush=True)


if __name__ == "__main__":
    main()
