# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts that dump to one server at once, each from a network namespace of its own, as the capture kernel does.

    python3 -m benchmarks.receive [--hosts 8] [--megabytes 256] [--rounds 3] [--folder DIR]

As root. Through one real sshd, in turns: the receiver as the forced command of each host's key, and what a plain server
has instead, the same commands run by its shell (`dd bs=512`), and `cat > file`. Each turn ends when everything is on the
disk, and what arrived is compared byte by byte with what was sent. The ratios of the fastest turns are the result.
"""

import argparse
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Dict, List

from .network import Network

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAKE = """
import sys, types
for name, path in (("ansible_collections", ".."), ("ansible_collections.vmcore", ".."), ("ansible_collections.vmcore.kdump", "")):
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + path]
    sys.modules[name] = package
from ansible_collections.vmcore.kdump.plugins.module_utils import boot, receiver
open(sys.argv[2], "wb").write(boot.program_bytes(receiver.__name__))
"""
WAYS = ("receiver", "dd bs=512", "cat")


def commands(way: str, directory: str) -> List[str]:
    """What the capture kernel sends for one dump, in order; the second takes the vmcore."""
    write = f"umask 0077 && dd bs=512 of='{directory}/vmcore-incomplete'"
    if way == "cat":
        write = f"umask 0077 && cat > '{directory}/vmcore-incomplete'"
    return [
        f"mkdir -p {os.path.dirname(directory)} && mkdir {directory}", write,
        f"mv '{directory}/vmcore-incomplete' '{directory}/vmcore.flat'",
    ]  # fmt: skip


def dump(network: Network, name: str, way: str, directory: str, vmcore: pathlib.Path) -> "subprocess.Popen[bytes]":
    """One host's whole dump as a process."""
    words = [shlex.join(network.ssh(name, command)) for command in commands(way, directory)]
    script = 'set -e; eval "$1"; eval "$2" < "$4"; eval "$3"'
    return subprocess.Popen(["sh", "-c", script, "sh", *words, str(vmcore)], stderr=subprocess.PIPE)


def turn(network: Network, way: str, vmcores: List[pathlib.Path], root: pathlib.Path) -> float:
    """Seconds until the dumps of all hosts are on the server's disk."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    os.sync()
    directories = {
        name: root / name / f"10.231.0.{number + 10}-2026-11-24-10:00:00" for number, name in enumerate(network.hosts)
    }
    started = time.monotonic()
    running = [dump(network, name, way, str(directories[name]), vmcore) for name, vmcore in zip(network.hosts, vmcores)]
    for process in running:
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"{way}: a dump failed: {said.decode()}")
    os.sync()
    seconds = time.monotonic() - started
    for name, vmcore in zip(network.hosts, vmcores):
        if digest(directories[name] / "vmcore.flat") != digest(vmcore):
            raise SystemExit(f"{way}: {name}'s vmcore did not arrive as it was sent")
    return seconds


def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        found = hashlib.sha256()
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def authorized(network: Network, way: str, program: pathlib.Path, root: pathlib.Path) -> List[str]:
    if way != "receiver":
        return [network.public(name) for name in network.hosts]
    command = f"/usr/bin/python3 -I -S {program} --root {root}"
    return [f'restrict,command="{command} --host {name}" {network.public(name)}' for name in network.hosts]


def measure(folder: pathlib.Path, hosts: int, megabytes: int, rounds: int) -> Dict[str, float]:
    network = Network(folder, hosts)
    program = folder / "receive.pyz"
    subprocess.run([sys.executable, "-c", MAKE, str(ROOT), str(program)], check=True)
    vmcores = [folder / f"vmcore-{number}" for number in range(hosts)]
    for vmcore in vmcores:
        with vmcore.open("wb") as file:
            for _piece in range(megabytes):
                file.write(os.urandom(1 << 20))
    fastest: Dict[str, float] = {}
    for number in range(rounds):
        for way in WAYS:
            root = folder / "root"
            root.mkdir(exist_ok=True)
            with network.up(authorized(network, way, program, root)):
                seconds = turn(network, way, vmcores, root)
            print(f"round {number + 1}: {way:10} {seconds:6.1f} s, {hosts} of {hosts} arrived whole", flush=True)
            fastest[way] = min(seconds, fastest.get(way, seconds))
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=256, help="of each host's vmcore (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where everything is written (default: below $TMPDIR)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        fastest = measure(pathlib.Path(folder), options.hosts, options.megabytes, options.rounds)
    for way, seconds in fastest.items():
        print(f"{way:10} {seconds:6.1f} s   {seconds / fastest['receiver']:5.2f} times as long as the receiver")


if __name__ == "__main__":
    main()
