# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every kind of dump target, crashed for real; and what goes wrong there. The tables are molecule/resources/vars.

A client guest, and a server guest made by role server. Each test stands by itself: the configuration is removed before it.
"""

import json

import pytest
import yaml
from conftest import RESOURCES, SERVER, TABLE

from lab import panic

GUEST = "vm-client"
FAULTS = yaml.safe_load((RESOURCES / "vars/faults.yml").read_text())["faults"]
ARRIVED = "/srv/vmcore-kdump"
REPORT = {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt"}  # whatever else is lost
HARDWARE = TABLE["guests"]["client"]


def rows(table):
    """The names of a table's rows; those that not every run crashes are `long`."""
    return [pytest.param(name, marks=() if row.get("every_run") else pytest.mark.long) for name, row in table.items()]


@pytest.fixture(scope="module")
def server(server_to_be):
    return server_to_be.result()


def server_for(request, target):
    """The dump server, None where the row of targets.yml needs none: making it takes minutes."""
    return request.getfixturevalue("server") if TABLE["targets"][target].get("server") else None


def arm(host, target, **variables):
    """Converges the client to a row of targets.yml."""
    row = TABLE["targets"][target]
    forget = f"set -e\nrm -f {' '.join(TABLE['forgotten'])}\nexport DEBIAN_FRONTEND=noninteractive\n"
    host.ssh(forget + row.get("prepare", "true"))
    all_of_them = {**TABLE["all_rows"], **row.get("variables", {}), **variables}
    executed = host.converge(server=SERVER, **all_of_them)  # which fails where the host is left unprotected
    host.armed_for = target, variables
    return executed


def arrived(server):
    """The vmcores on the server. Over NFS the host's own path is part of theirs."""
    return set(server.ssh(f"find {ARRIVED} -name vmcore -o -name vmcore.flat").splitlines())


@pytest.mark.parametrize("target", rows(TABLE["targets"]))
def test_a_vmcore_arrives_by(host, request, target, record_property):
    server = server_for(request, target)
    arm(host, target)
    before = arrived(server) if server else set()
    proof = host.crash()
    assert proof["verdict"] == "complete"
    figures = {"panic to restart": host.end.seconds, "captured": proof["seconds_to_capture"],
               "away": proof["seconds_unreachable"], "image": host.state["image"]["bytes"]}  # fmt: skip
    print(f"\n{target}: {figures}")
    record_property("figures", json.dumps(figures))
    if server:
        new = sorted(arrived(server) - before)
        dumps = server.module("vmcore_info", paths=new, deep=True)["vmcores"]
        assert [(dump["verdict"], dump["problems"]) for dump in dumps] == [("complete", [])]
        listed = server.module("vmcore_info", paths=[ARRIVED], server=True)["vmcores"]
        assert new[0] in [dump["path"] for dump in listed]


ADDED = r"""set -e
hook() {
    printf '#!/bin/sh\n%s\n' "$2" > "$1"
    chmod 755 "$1"
}
mkdir -p /etc/kdump/pre.d /etc/kdump/post.d
hook /usr/local/sbin/pre 'echo "told: pre, $(findmnt -n -o FSTYPE /proc), $(grep -c ^dummy /proc/modules)"; cat /proc/cmdline'
hook /etc/kdump/pre.d/10 'echo "told: pre.d"; exit 1'
hook /etc/kdump/post.d/10 'echo "told: post.d $1"'
hook /usr/local/sbin/post 'echo "told: post $1"'
"""


@pytest.mark.long
def test_what_an_administrator_adds_is_there_in_the_crash(host):
    """Hooks and what they are told, a program with its libraries, a module, the command line; then a poweroff."""
    host.ssh(ADDED)
    arm(
        host, "ext4 on a partition by UUID", kdump_pre="/usr/local/sbin/pre", kdump_post="/usr/local/sbin/post",
        kdump_extra_bins=["/usr/bin/findmnt"], kdump_extra_modules=["dummy"], kdump_final_action="poweroff",
        kdump_cmdline_append="irqpoll nr_cpus=1 reset_devices added=1", kdump_cmdline_remove=["panic"],
    )  # fmt: skip
    end = panic.crash_and_return(host.guest)
    host.ssh("rm /etc/kdump/pre.d/10 /etc/kdump/post.d/10")
    assert end.how == "poweroff"
    lines = [line.rpartition("told: ")[2].strip() for line in end.console.splitlines() if "told: " in line]
    assert lines == ["pre, proc, 1", "pre.d", "post.d 0", "post 0"]
    arguments = [line.split() for line in end.console.splitlines() if "added=1" in line]
    assert arguments and not [word for words in arguments for word in words if word.startswith("panic=")]
    whole = [dump for dump in host.info(remote=True)["vmcores"] if dump["verdict"] == "complete"]
    assert len(whole) == 1, "the file system is made anew for each row"


@pytest.mark.long
def test_a_watchdog_that_runs_does_not_end_the_dump(host):
    """systemd feeds it until the panic; kdump_pre takes longer than it then waits, and it resets the machine."""
    settings = "/etc/systemd/system.conf.d/watchdog.conf"
    host.ssh(
        "set -e\nmodprobe i6300esb\nmkdir -p /etc/systemd/system.conf.d\n"
        f"printf '[Manager]\nRuntimeWatchdogSec=30\n' > {settings}\nsystemctl daemon-reexec\n"
        "timeout 60 sh -c 'until grep -qx active /sys/class/watchdog/watchdog0/state; do sleep 1; done'\n"
        "printf '#!/bin/sh\nsleep 60\n' > /usr/local/sbin/slow\nchmod 755 /usr/local/sbin/slow"
    )
    try:
        arm(host, "ext4 on a partition by UUID", kdump_pre="/usr/local/sbin/slow")
        assert host.crash()["verdict"] == "complete"
    finally:
        host.ssh(f"rm {settings} && systemctl daemon-reexec")


@pytest.mark.long
def test_the_cluster_is_told_of_a_crash(host, server):
    """By fence-agents' own programs; the dump itself stays on the host."""
    for machine in (host, server):
        machine.ssh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install fence-agents-kdump")
    arm(host, "ext4 on a partition by UUID", kdump_conf={"fence_kdump_nodes": "192.0.2.1"})
    server.ssh("systemd-run -q --unit cluster --remain-after-exit fence_kdump -v --nodename 192.0.2.2 --timeout 900")
    state = "systemctl show --property SubState,ExecMainStatus cluster"
    assert "SubState=running" in server.ssh(state)
    assert host.crash()["verdict"] == "complete"
    log = server.ssh("journalctl -q -o cat -u cluster")
    assert {"SubState=exited", "ExecMainStatus=0"} <= set(server.ssh(state).splitlines()), log
    assert "received valid message from '192.0.2.2'" in log


@pytest.mark.long
def test_info_says_that_an_nfs_server_does_not_answer(host, server):
    """The mount is a hard one: whoever looks below it waits until the server is back."""
    arm(host, "path below an NFS mount")
    server.ssh("systemctl stop nfs-server")
    try:
        state = host.info()
    finally:
        server.ssh("systemctl start nfs-server")
    assert state["readiness"] == "unprotected"
    told = [reason["message"] for reason in state["reasons"]]
    assert any(message.startswith("/mnt/dumps/below on dumps.example.org:") for message in told), told
    assert host.info()["readiness"] != "unprotected"


@pytest.mark.long
def test_a_rotated_host_key_is_repaired_by_the_next_converge(host, server):
    arm(host, "ssh")
    server.ssh("rotate-host-key")
    executed = arm(host, "ssh")
    assert "Build the capture image" in [entry["task"] for entry in executed if entry["changed"]]
    assert host.crash()["verdict"] == "complete"


@pytest.mark.parametrize("fault", rows(FAULTS))
def test_a_failure_is_never_silent(host, request, fault):
    row = FAULTS[fault]
    machines = {"client": host, "server": server_for(request, row["target"])}
    host.ssh("set -e\n" + row.get("prepare", "true"))
    wanted = row["target"], row.get("variables", {})
    if host.armed_for != wanted:  # a converge takes minutes, and the host has armed itself again after the crash before
        arm(host, wanted[0], **wanted[1])
    host.armed_for = None
    dumps = host.ssh("ls -d /var/crash/* 2>/dev/null; true").splitlines()
    known = [failure["directory"] for failure in host.info(remote=True)["failures"]]
    boot_id = host.boot_id()
    for name, command in row.get("break", {}).items():
        machines[name].ssh("set -e\n" + command)
    try:
        end = panic.crash(host.guest)
        panic.back(host.guest, boot_id, end)
    finally:
        for name, command in row.get("mend", {}).items():
            machines[name].ssh("set -e\n" + command)
    assert end.how == row["end"], end.console[-4000:]
    assert row["message"] in end.console
    state = host.info(remote=True)
    told = [failure for failure in state["failures"] if failure["directory"] not in known]
    assert any(row["message"] in failure["message"] for failure in told), state["failures"]
    if row["report"] == "target":
        directories = [failure["directory"] for failure in told]
        files = [dump["files"] for dump in state["vmcores"] if dump["directory"] in directories]
        assert files and REPORT <= set(files[0]), (told, state["vmcores"])
        return
    directory = told[0]["directory"]
    if row["report"] == "root":
        (directory,) = [path for path in host.ssh("ls -d /var/crash/*").splitlines() if path not in dumps]
        dump = host.module("vmcore_info", paths=[f"{directory}/vmcore"], deep=True)["vmcores"][0]
        assert (dump["verdict"], dump["problems"]) == ("complete", [])
    assert REPORT <= set(host.ssh(f"ls {directory}").split())
    assert "sysrq" in host.ssh(f"cat {directory}/vmcore-dmesg.txt")
