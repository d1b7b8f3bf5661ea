# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests that the tests may crash, reached through the installed tarball of the collection."""

import json
import os
import pathlib
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab import collection, guest  # noqa: E402
from lab.common import LabError  # noqa: E402

ARMING_SECONDS = 180


class Host:
    """One guest and the collection installed for it."""

    def __init__(self, ansible, name):
        self.ansible = ansible
        self.name = name
        self.executed_file = ansible.inventory.with_suffix(".executed")

    def ssh(self, command, check=True):
        return guest.ssh(guest.find(self.name), command, check=check).stdout.strip()

    def module(self, name, **parameters):
        return self.ansible.module(self.name, f"vmcore.kdump.{name}", **parameters)

    def info(self, **parameters):
        return self.module("info", **parameters)

    def converge(self, *argv, **variables):
        """Runs playbook kdump; returns what the callback `executed` wrote."""
        variables = {"kdump_reboot_ok": True, "kdump_crashkernel": "96M", **variables}
        self.executed_file.unlink(missing_ok=True)
        self.ansible.playbook(
            "vmcore.kdump.kdump", "-e", json.dumps(variables), *argv,
            ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "molecule/default/callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="executed",
            EXECUTED_FILE=str(self.executed_file),
            # Half as many connections, which cost seconds in an emulated guest; molecule's scenario goes without.
            ANSIBLE_PIPELINING=os.environ.get("ANSIBLE_PIPELINING", "true"),
        )  # fmt: skip
        return json.loads(self.executed_file.read_text())

    def crash(self, engine="auto"):
        """Runs playbook crash_test, which fails unless a whole vmcore arrives; returns the proof."""
        self.ansible.playbook("vmcore.kdump.crash_test", "-e", f"kdump_crash_test=true kdump_engine={engine}")
        state = self.info(engine=engine)
        assert state["readiness"] == "proven", state["reasons"]
        return state["proof"]

    def wait_until_armed(self):
        """The host's state once its boot-time unit has armed it, or as it is when that takes too long."""
        deadline = time.monotonic() + ARMING_SECONDS
        while True:
            state = self.info()
            if state.get("readiness") in ("armed", "proven", "stale") or time.monotonic() > deadline:
                return state
            time.sleep(3)

    def power_cut(self):
        guest.power_cut(self.name)


@pytest.fixture(scope="session")
def programs():
    """Where this Python's ansible-playbook and molecule are."""
    directory = pathlib.Path(sys.prefix) / "bin"
    if not (directory / "ansible-playbook").exists():
        pytest.fail(f"There is no ansible-playbook in {directory}: run these tests by `nox -s vm`.")
    if os.geteuid() != 0:
        pytest.fail("Virtual machines are made by root: run these tests as root.")
    return directory


@pytest.fixture(scope="session")
def installed(programs, tmp_path_factory):
    """The collection, installed from its tarball."""
    scratch = tmp_path_factory.mktemp("collection")
    return collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")


@pytest.fixture(scope="module")
def host(request, installed):
    """A fresh guest for a module of tests, which use it one after another: GUEST names it, DISKS are its empty disks.

    VMCORE_KDUMP_KEEP_GUEST=yes neither makes it fresh nor takes it away, for work on a single test.
    """
    name = request.module.GUEST
    keep = os.environ.get("VMCORE_KDUMP_KEEP_GUEST") == "yes"
    if not keep:
        guest.down(name)
    suite = os.environ.get("VMCORE_KDUMP_SUITE", "trixie")
    one = guest.up(name, suite, memory=2048, cpus=2, disks=request.module.DISKS, port=0)
    ansible = installed._replace(inventory=installed.inventory.with_name(f"{name}.yml"))
    ansible.inventory.write_text(guest.inventory([one]))
    yield Host(ansible, name)
    if not keep:
        guest.down(name)


@pytest.fixture
def lab_error():
    return LabError
