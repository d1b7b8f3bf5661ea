# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as a user gets it: its tarball built, installed below a scratch directory, and run by ansible-playbook.

KDUMP_TARGET_PYTHON is the Python that runs the modules (default: this one), KDUMP_WORK the scratch directory.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab import collection  # noqa: E402


class Ansible:
    """ansible-playbook and ansible-doc with the installed collection, and nothing of the user's configuration."""

    def __init__(self, work):
        self.work = work
        self.python = os.environ.get("KDUMP_TARGET_PYTHON", sys.executable)
        self.collections = work / "collections"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        self.env.update(
            ANSIBLE_COLLECTIONS_PATH=str(self.collections),
            ANSIBLE_HOME=str(work / "home"),
            ANSIBLE_LOCALHOST_WARNING="0",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_PYTHON_INTERPRETER=self.python,
            LC_ALL="C.UTF-8",
        )

    def command(self, program, *arguments, check=True):
        """The finished process of one of Ansible's programs."""
        argv = [program, *map(str, arguments)]
        done = subprocess.run(argv, cwd=self.work, env=self.env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done

    def tasks(self, *tasks, check=False):
        """Run the tasks on this machine, going on after a failed one; what each of them returned.

        A task is a dict as in a playbook. Its result holds `failed`, `changed` and what the module returned.
        """
        names = [f"result_{number}" for number in range(len(tasks))]
        result = self.work / "results.json"
        result.unlink(missing_ok=True)
        listed = [
            {"name": f"Step {name}", "register": name, "ignore_errors": True, **task}
            for name, task in zip(names, tasks, strict=True)
        ]
        content = "{{ [" + ", ".join(names) + "] | to_json }}"
        keep = {"ansible.builtin.copy": {"content": content, "dest": str(result), "mode": "0600"}, "check_mode": False}
        listed.append({"name": "Keep the results", "diff": False, **keep})
        self.play(listed, "--diff", *(["--check"] if check else []))
        return json.loads(result.read_text())

    def play(self, tasks, *arguments, check=True):
        """The finished process of a playbook of these tasks."""
        play = {"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
        playbook = self.work / "playbook.yml"
        playbook.write_text(json.dumps([play]))  # JSON is YAML
        return self.command("ansible-playbook", playbook, *arguments, check=check)


@pytest.fixture(scope="session")
def ansible():
    """The installed collection; its directory is kept for a look, and made anew by the next run."""
    given = os.environ.get("KDUMP_WORK")
    if given:
        shutil.rmtree(given, ignore_errors=True)
    work = pathlib.Path(given or tempfile.mkdtemp(prefix="kdump-integration-"))
    collection.install(collection.programs_on_path(), work)
    return Ansible(work)
