# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as a user gets it: built into a tarball and installed from that, never run from the source tree."""

import json
import os
import pathlib
import shutil
import subprocess
from typing import Dict, NamedTuple

from .common import LabError, run

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Ansible(NamedTuple):
    """An installed collection and the ansible-core that runs it."""

    programs: pathlib.Path  # the directory of ansible-playbook
    collections: pathlib.Path
    inventory: pathlib.Path

    def environment(self) -> Dict[str, str]:
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_CONFIG": str(self.collections.parent / "ansible.cfg"),
            "ANSIBLE_INVENTORY": str(self.inventory),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
        }
        return {**os.environ, **settings}

    def playbook(self, *argv: str, **environment: str) -> None:
        """Runs ansible-playbook; its output goes where ours goes, while it runs."""
        command = [str(self.programs / "ansible-playbook"), *argv]
        done = subprocess.run(command, env={**self.environment(), **environment}, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise LabError(f"`ansible-playbook {' '.join(argv)}` failed with exit code {done.returncode}: see above.")

    def module(self, host: str, name: str, **parameters: object) -> Dict:
        """Runs one module on one host and returns what it says; a failure too, as `failed` and `msg`."""
        argv = [self.programs / "ansible", host, "-m", name]
        argv += ["-a", json.dumps(parameters)] if parameters else []
        done = run(*argv, env=self.environment(), check=False)
        before, arrow, result = done.stdout.partition(" => ")
        if not arrow:
            raise LabError(f"{name} on {host} gave no result: {before}{done.stderr}")
        return {"failed": before.endswith("FAILED!"), **json.JSONDecoder().raw_decode(result)[0]}


def programs_on_path() -> pathlib.Path:
    """The directory of the ansible-core that a shell would run."""
    galaxy = shutil.which("ansible-galaxy")
    if galaxy is None:
        raise LabError("There is no ansible-galaxy on PATH: activate the environment that has ansible-core.")
    return pathlib.Path(galaxy).parent


def install(programs: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """Builds the tarball in a directory, which is the lab's own, and installs it there; returns the collections path."""
    galaxy = programs / "ansible-galaxy"
    directory.mkdir(parents=True, exist_ok=True)
    for older in directory.glob("vmcore-kdump-*.tar.gz"):
        older.unlink()
    config = directory / "ansible.cfg"
    config.write_text("", encoding="ascii")  # nobody's settings
    environment = {**os.environ, "ANSIBLE_CONFIG": str(config)}
    run(galaxy, "collection", "build", "--force", "--output-path", directory, ROOT, env=environment)
    tarball = next(directory.glob("vmcore-kdump-*.tar.gz"))
    collections = directory / "collections"
    run(galaxy, "collection", "install", tarball, "--offline", "--force", "-p", collections, env=environment)
    return collections
