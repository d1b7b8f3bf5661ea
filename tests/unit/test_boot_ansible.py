# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program as the module makes it out of Ansible's own zip file, on this machine, in check mode."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import boot

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANSIBLE = shutil.which("ansible", path=os.path.dirname(sys.executable)) or shutil.which("ansible")
VERSIONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]


def interpreters():
    """The Pythons of this machine that run, of all versions that a managed node may have."""
    for version in VERSIONS:
        path = shutil.which("python" + version)
        found = path and subprocess.run([path, "-c", "import sys; print(sys.executable)"], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, check=False)  # fmt: skip
        if found and found.returncode == 0:
            yield pytest.param(found.stdout.decode().strip(), id=version)


INTERPRETERS = list(interpreters())


@pytest.mark.parametrize("python", INTERPRETERS)
def test_every_python_runs_the_program_without_its_site_packages(python, tmp_path):
    program = tmp_path / "kdump.pyz"
    program.write_bytes(boot.program_bytes())
    done = subprocess.run(
        [python, "-I", "-S", str(program), "status", "--json"], stdout=subprocess.PIPE, cwd="/", check=False
    )
    assert done.returncode in (0, 3) and "reserved_bytes" in json.loads(done.stdout.decode())


def works_with(ansible, python):
    """Whether this ansible-core can run modules by this Python: it says so in its release notes only."""
    out = subprocess.run([ansible, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
    core = tuple(int(part) for part in out.split("[core ")[1].split("]")[0].split(".")[:2])
    oldest = {16: 6, 17: 7, 18: 8, 19: 8, 20: 9}.get(core[1], 9)
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[1])"], stdout=subprocess.PIPE, check=False
    )
    return int(version.stdout) >= oldest and (core >= (2, 17) or int(version.stdout) <= 12)


@pytest.mark.skipif(ANSIBLE is None, reason="ansible-core is not installed")
@pytest.mark.parametrize("python", INTERPRETERS)
def test_the_module_makes_the_same_program_out_of_ansibles_zip_file(python, tmp_path):
    if not works_with(ANSIBLE, python):
        pytest.skip("this ansible-core does not run modules by that Python")
    collection = tmp_path / "ansible_collections" / "vmcore"
    collection.mkdir(parents=True)
    os.symlink(str(ROOT), str(collection / "kdump"))
    (tmp_path / "ansible.cfg").write_text("")  # not the user's
    env = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(tmp_path), ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"),
               ANSIBLE_REMOTE_TEMP=str(tmp_path / "remote"), ANSIBLE_NOCOLOR="1", PYTHONPATH="",
               ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"))  # fmt: skip
    done = subprocess.run(
        [ANSIBLE, "localhost", "-c", "local", "-e", "ansible_python_interpreter=" + python, "--check",
         "--diff", "-m", "vmcore.kdump.boot"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=str(tmp_path), check=False,
    )  # fmt: skip
    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    # In the diff where it would be written, in the result where it is installed already.
    assert hashlib.sha256(boot.program_bytes()).hexdigest() in out
