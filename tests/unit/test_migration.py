# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts that linux-system-roles.kdump (commit dff0a9ab6a76) has configured, taken over by each engine."""

import os
import shutil
import subprocess

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import conf, conf_state, engine, kexec, layout, sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import kdump_tools, kdumpctl
from ansible_collections.vmcore.kdump.plugins.module_utils.engines.driver import Configuration
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.contract import debian
from ansible_collections.vmcore.kdump.tests.contract import kdumpctl as contract
from ansible_collections.vmcore.kdump.tests.contract.host import RELEASE

HEADER = "#\n# Ansible managed\n#\n# system_role:kdump\n\n"
BUILD = {"kernel": None, "conf": layout.CONF, "force": False, "_check": False}
LOAD = dict(kexec.REQUEST, _check=False)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def conf_plan(host, **options):
    usual = {"remove": [], "purge": False, "backup": False, "check_host": True, "create_path": True, "_check": False}
    return conf_state.decide(host, dict(usual, path=layout.CONF, options=options))


# --- the Red Hat family --------------------------------------------------------------------------------------------
EL9 = HEADER + "\npath /var/crash\n\nauto_reset_crashkernel yes\nfailure_action reboot\n"
EL8 = HEADER + "\npath /var/crash\n\ndefault reboot\n"
ALL = (
    HEADER
    + "\npath /srv/dumps\ncore_collector makedumpfile -c -d 31\n\nauto_reset_crashkernel no\nfailure_action halt\n"
    "dracut_args --kernel-cmdline nopti\n"
)
ALL_OPTIONS = {
    "path": "/srv/dumps", "core_collector": "makedumpfile -c -d 31", "auto_reset_crashkernel": "no",
    "failure_action": "halt", "dracut_args": "--kernel-cmdline nopti",
}  # fmt: skip


@pytest.mark.parametrize("text, options", [(EL9, {}), (EL8, {}), (ALL, ALL_OPTIONS)], ids=["EL 9", "EL 8", "all"])
def test_kdumpctl_takes_over_what_it_has_captured_with_so_far(tmp_path, text, options):
    """The file stays as it is; kdumpctl starts with it, which there fails where the directory is missing."""
    host = contract.KdumpctlHost(tmp_path, files={layout.CONF: text})
    plan = conf_plan(host, **options)
    plan.apply(host)
    assert host.read_text(layout.CONF) == text
    assert plan.actions == (["create /srv/dumps"] if options else [])
    kdumpctl.build_plan(host, BUILD, {}).apply(host)
    kdumpctl.load_plan(host, LOAD).apply(host)
    assert kdumpctl.loaded(host) is not None
    assert kdumpctl.build_plan(host, BUILD, {}).actions + kdumpctl.load_plan(host, LOAD).actions == []


def test_a_directive_that_an_older_kdumpctl_would_refuse_is_refused_before_it_is_written(tmp_path):
    """EL 8: auto_reset_crashkernel came with kexec-tools 2.0.23; kdumpctl refuses a file with a key it does not know."""
    host = contract.KdumpctlHost(tmp_path, files={layout.CONF: EL8})
    host.program("kdumpctl", host.read_text("/usr/bin/kdumpctl").replace("auto_reset_crashkernel", "not_known_yet"))
    kdumpctl.build_plan(host, BUILD, {}).apply(host)
    text = EL8 + "auto_reset_crashkernel no\n"
    with pytest.raises(KdumpError) as caught:
        kdumpctl.wanted_digest(host, RELEASE, Configuration(text, conf.parse(text), {}))
    assert "auto_reset_crashkernel is not a directive of this release's kdumpctl" in str(caught.value)


def test_an_old_default_line_and_a_new_wish_are_one_line(tmp_path):
    """Two of them would be `Duplicated kdump config value`, and kdumpctl would not start."""
    host = contract.KdumpctlHost(tmp_path, files={layout.CONF: EL8})
    conf_plan(host, failure_action="poweroff").apply(host)
    lines = [line.split() for line in host.read_text(layout.CONF).splitlines()]
    assert [line for line in lines if line[:1] in (["default"], ["failure_action"])] in (
        [["failure_action", "poweroff"]], [["default", "poweroff"]],
    )  # fmt: skip
    kdumpctl.build_plan(host, BUILD, {}).apply(host)


@pytest.mark.parametrize("name, like", [
    ("rocky", "rhel centos fedora"), ("almalinux", "rhel centos fedora"), ("ol", "fedora"), ("amzn", "fedora"),
    ("rhel", "fedora"), ("centos", "rhel fedora"), ("fedora", ""),
])  # fmt: skip
def test_the_whole_family_is_armed_with_kdumpctl(tmp_path, name, like):
    """There Rocky, Alma and Oracle are left without failure_action, dracut_args and a reservation."""
    release = 'ID="%s"\nID_LIKE="%s"\nVERSION_ID="9.5"\n' % (name, like)
    host = contract.KdumpctlHost(tmp_path, files={"/etc/os-release": release})
    assert engine.choose(host, "auto") == "kdumpctl"
    conf_plan(host, failure_action="halt", dracut_args="--kernel-cmdline nopti").apply(host)
    text = host.read_text(layout.CONF)
    assert "\nfailure_action halt\n" in text and "\ndracut_args --kernel-cmdline nopti\n" in text


# --- Ubuntu --------------------------------------------------------------------------------------------------------
TOOLS = {
    "USE_KDUMP": 1, "KDUMP_KERNEL": "/var/lib/kdump/vmlinuz", "KDUMP_INITRD": "/var/lib/kdump/initrd.img",
    "KDUMP_COREDIR": "/var/crash", "MAKEDUMP_ARGS": "-c -d 31", "KDUMP_FAIL_CMD": "reboot -f",
}  # fmt: skip
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.mark.parametrize("before", ["as that role writes it", "as the package installs it"])
def test_the_variables_of_kdump_tools_are_read_by_a_real_shell(tmp_path, before):
    """There the file says `USE_KDUMP = 1`, which no shell can source, and kdump-tools does nothing."""
    text = HEADER + "".join("%s = %s\n" % item for item in TOOLS.items()) if "role" in before else debian.DEFAULTS
    host = debian.DebianHost(tmp_path, files={kdump_tools.SETTINGS: text})
    expected = kdump_tools.expected(host, {"sysconfig": TOOLS, "conf": {}})
    params = {"path": expected["path"], "settings": expected["settings"], "remove": []}
    sysconfig.decide(host, params).apply(host)
    assert not sysconfig.decide(host, params).changed
    for shell in SHELLS:
        script = '. "$1" && printf "%s|" ' + " ".join('"$%s"' % name for name in TOOLS)
        done = subprocess.run(
            [shell, "-euc", script, shell, host.path(kdump_tools.SETTINGS)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.stdout.decode() == "".join("%s|" % value for value in TOOLS.values()), shell
