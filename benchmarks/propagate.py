# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many hosts bring their keys to one dump server at once: how many keys it has afterwards.

    python3 -m benchmarks.propagate [--hosts 40] [--forks 40]

As root, by a Python whose environment has ansible-core and paramiko. The hosts are this machine, in a namespace of its own
with a real sshd; each has a key of its own. `propagate` is this collection's module with everything it does: a key made,
brought to the server, the server's pinned, a real login. `lineinfile` is what linux-system-roles.kdump does with a key that
is there already: its line is put into authorized_keys by ansible.builtin.lineinfile, delegated to the server.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from typing import Dict, List

from lab import collection

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "integration"))

from propagate_world import PASSWORD, World  # noqa: E402

KEYS = "/home/kdump/.ssh/authorized_keys"


class Ansible:
    """What World.play asks of it."""

    def __init__(self, collections: pathlib.Path) -> None:
        self.python = "/usr/bin/python3"
        programs = collection.programs_on_path()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        self.env.update(
            ANSIBLE_COLLECTIONS_PATH=str(collections), PATH=f"{programs}:{os.environ['PATH']}", ANSIBLE_NOCOLOR="1"
        )


def propagate(name: str) -> List[Dict[str, object]]:
    task = {
        "server": "127.0.0.1", "user": "kdump", "path": "/var/crash", "password": PASSWORD, "accept_new": True,
        "key": f"/root/.ssh/{name}",
    }  # fmt: skip
    return [{"name": "Propagate", "vmcore.kdump.propagate": task}]


def lineinfile(name: str) -> List[Dict[str, object]]:
    return [
        {"name": "Read", "ansible.builtin.slurp": {"src": f"/root/.ssh/{name}.pub"}, "register": "key"},
        {
            "name": "Add", "delegate_to": "dumps",
            "ansible.builtin.lineinfile": {"path": KEYS, "line": "{{ key.content | b64decode | trim }}"},
        },
    ]  # fmt: skip


def keys_there(world: World, hosts: List[str]) -> int:
    """How many of the hosts' keys stand in the server's file."""
    found = {word for line in world.authorized() for word in line.split()}
    return sum(world.read(f"/root/.ssh/{name}.pub").split()[1] in found for name in hosts)


def measure(folder: pathlib.Path, count: int, forks: int) -> Dict[str, int]:
    hosts = [f"db{number}" for number in range(count)]
    ansible = Ansible(collection.install(collection.programs_on_path(), folder / "installed"))
    world = World(folder)
    result = {}
    try:
        for way, tasks in (("propagate", propagate), ("lineinfile", lineinfile)):
            world.sh("rm -rf /home/kdump/.ssh; install -d -m 700 -o kdump -g kdump /home/kdump/.ssh")
            world.sh(f"install -m 600 -o kdump -g kdump /dev/null {KEYS}")
            started = time.monotonic()
            done = world.play(ansible, tasks("{{ inventory_hostname }}"), hosts=hosts, check=False, forks=forks)
            seconds = time.monotonic() - started
            well = done.stdout.rpartition("PLAY RECAP")[2].count("failed=0")
            result[way] = keys_there(world, hosts)
            print(
                f"{way:10} {seconds:6.1f} s: {well} of {count} hosts well, {result[way]} of {count} keys on the server",
                flush=True,
            )
            if well < count and way == "propagate":
                print(done.stdout, done.stderr)
            if way == "propagate":
                logins = sum(login(world, name) for name in hosts)
                print(f"{'':10} {logins} of {count} can log in", flush=True)
    finally:
        world.stop()
    return result


def login(world: World, name: str) -> bool:
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
    words = [word for option in options for word in ("-o", option)]
    return world.run("ssh", *words, "-i", f"/root/.ssh/{name}", "kdump@127.0.0.1", "true", check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=40)
    parser.add_argument("--forks", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(pathlib.Path(folder), options.hosts, options.forks)
    print(f"{result['propagate'] / max(1, result['lineinfile']):.2f} times as many keys as with lineinfile")


if __name__ == "__main__":
    main()
