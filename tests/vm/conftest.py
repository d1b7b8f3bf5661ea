# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests that the tests may crash, reached through the installed tarball of the collection."""

import concurrent.futures
import json
import os
import pathlib
import sys
import threading
import time

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab import collection, guest, panic  # noqa: E402
from lab.common import LabError, locked  # noqa: E402

ARMING_SECONDS = 180
ALL = os.environ.get("VMCORE_KDUMP_ALL") == "yes"
RESOURCES = ROOT / "molecule/resources"
TABLE = yaml.safe_load((RESOURCES / "vars/targets.yml").read_text())
SERVER = "vm-server"


class Host:
    """One guest and the collection installed for it."""

    def __init__(self, ansible, name):
        self.ansible = ansible
        self.name = name
        self.armed_for = None  # for whoever arms it
        self.executed_file = ansible.inventory.with_suffix(".executed")

    @property
    def guest(self):
        return guest.find(self.name)

    def ssh(self, command, check=True):
        return guest.ssh(self.guest, command, check=check).stdout.strip()

    def boot_id(self):
        return guest.boot_id(self.guest)

    def module(self, name, **parameters):
        return self.ansible.module(self.name, f"vmcore.kdump.{name}", **parameters)

    def info(self, **parameters):
        return self.module("info", **parameters)

    def converge(self, *argv, **variables):
        """Runs playbook kdump; returns what the callback `executed` wrote."""
        variables = {"kdump_hosts": self.name, "kdump_reboot_ok": True, "kdump_crashkernel": "128M", **variables}
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
        """Runs playbook crash_test, which fails unless a whole vmcore arrives; returns the proof.

        `end` is how the capture kernel ended, and when; `state` is what module info says afterwards.
        """
        variables = f"kdump_hosts={self.name} kdump_crash_test=true kdump_engine={engine}"
        argv = ["vmcore.kdump.crash_test", "-e", variables]
        self.end = panic.crash(self.guest, lambda: self.ansible.playbook(*argv))
        self.state = self.info(engine=engine)
        assert self.state["readiness"] == "proven", self.state["reasons"]
        return self.state["proof"]

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
    """The collection, installed from its tarball; for one run at a time, as the guests have fixed names and addresses."""
    scratch = tmp_path_factory.mktemp("collection")
    with locked("tests-vm", "another run of tests/vm to end"):
        yield collection.Ansible(programs, collection.install(programs, scratch), scratch / "inventory.yml")


@pytest.fixture(scope="module" if ALL else "session")
def new_host(installed):
    """Makes fresh guests, and takes them away after the module's tests.

    Without the tests marked `long` a module goes on with the guest of the same name that another one left, which saves a
    boot, the packages and a reboot; and nobody has a share: it wants memory that others can map, which is slower.
    VMCORE_KDUMP_KEEP_GUEST=yes neither makes them fresh nor takes them away, for work on a single test.
    """
    keep = os.environ.get("VMCORE_KDUMP_KEEP_GUEST") == "yes"
    made = {}
    one_at_a_time = threading.Lock()  # the dump server is made beside the tests
    inventory = installed.inventory.with_name("guests.yml")  # all of them

    def make(name, memory=2048, cpus=2, disks=(), cards=(), share=False):
        if name not in made and not keep:
            guest.down(name)
        suite = os.environ.get("VMCORE_KDUMP_SUITE", "trixie")
        one = guest.up(name, suite, memory, cpus, list(disks), 0, cards=list(cards), share=share and ALL)
        with one_at_a_time:
            made[name] = one
            written = inventory.with_suffix(".new")
            written.write_text(guest.inventory(list(made.values())))
            written.replace(inventory)  # a playbook may be reading it
        return Host(installed._replace(inventory=inventory), name)

    yield make
    for name in made:
        if not keep:
            guest.down(name)


@pytest.fixture(scope="module")
def host(request, new_host):
    """A guest for a module of tests, which use it one after another: GUEST names it, HARDWARE is what it has."""
    return new_host(request.module.GUEST, **request.module.HARDWARE)


@pytest.fixture(scope="module" if ALL else "session")
def server_to_be(new_host):
    """The dump server, made by role server while the tests go on: that takes minutes. A future of it."""
    with concurrent.futures.ThreadPoolExecutor() as threads:
        yield threads.submit(make_server, new_host)


def make_server(new_host):
    """Its sshd on the segment is not the one that the lab comes in by."""
    one = new_host(SERVER, **TABLE["guests"]["server"])
    one.ssh(RESOURCES.joinpath("server.sh").read_text())
    variables = {"kdump_server_hosts": SERVER, **(TABLE["server_variables"] if ALL else {})}  # packages: minutes
    one.ansible.playbook("vmcore.kdump.server", "-e", json.dumps(variables), ANSIBLE_PIPELINING="true")
    return one


@pytest.fixture
def lab_error():
    return LabError
