# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Debian host with kdump-tools, handed to the native engine and back: each test goes on where the one before ended."""

import pytest

GUEST = "vm-engines"
HARDWARE = {}
KDUMP_TOOLS, NATIVE = "kdump-tools", "native"
UNITS = {KDUMP_TOOLS: "kdump-tools.service", NATIVE: "vmcore-kdump.service"}
CRASHKERNEL = "192M"  # kdump-tools starts the whole host in it

pytestmark = pytest.mark.long


def converge(host, engine, **variables):
    """The tasks that changed something, and how many modules ran."""
    executed = host.converge(kdump_engine=engine, kdump_crashkernel=CRASHKERNEL, **variables)
    return [entry["task"] for entry in executed if entry["changed"]], len(executed)


# One connection for all of it: what starts at boot, the running kernel's command line, those of the boot entries, and
# what the package kdump-tools brings to build and to reload by itself.
LOOK = (
    "systemctl list-unit-files --state=enabled --no-legend 'kdump*' 'vmcore-kdump*'; echo --;"
    "cat /proc/cmdline; echo --; grep -E '^\\s*linux' /boot/grub/grub.cfg; echo --;"
    "ls -l /etc/kernel/postinst.d/kdump-tools; echo --; grep -c RUN /etc/udev/rules.d/50-kdump-tools.rules || true"
)


def assert_in_charge(host, engine):
    """One engine alone has loaded the capture kernel, arms the host at boot and reloads; one reservation is asked for."""
    state = host.info(engine=engine)
    assert state["readiness"] in ("armed", "proven", "stale"), state["reasons"]
    assert state["loaded_by"] == engine
    assert (state["loaded"]["method"] == KDUMP_TOOLS) == (engine == KDUMP_TOOLS)
    units, running, entries, hook, rules = (part.strip() for part in host.ssh(LOOK).split("--\n"))
    assert [line.split()[0] for line in units.splitlines()] == [UNITS[engine]]
    assert running.split().count(f"crashkernel={CRASHKERNEL}") == 1
    assert {line.count("crashkernel=") for line in entries.splitlines()} == {1}
    assert hook.startswith("-rwxr-xr-x" if engine == KDUMP_TOOLS else "-rw-r--r--")
    assert (rules != "0") == (engine == KDUMP_TOOLS)


@pytest.fixture(scope="module")
def armed(host):
    """The host, armed by kdump-tools in its first converge."""
    converge(host, KDUMP_TOOLS, kdump_system_action="poweroff")
    return host


def test_kdump_tools_arms_the_host_alone(armed):
    assert_in_charge(armed, KDUMP_TOOLS)


def test_the_second_run_changes_nothing_with_at_most_8_modules(armed):
    tasks, modules = converge(armed, KDUMP_TOOLS, kdump_system_action="poweroff")
    assert tasks == []
    assert modules <= 8


NASTY = """ a "b" $HOME `id` \\n \\\\ 'c' # ; é"""


def test_systemd_and_dash_read_the_same(armed):
    """The file is sourced by kdump-config, and an EnvironmentFile of its unit."""
    path = "/etc/default/kdump-tools"
    armed.module("sysconfig", path=path, settings={"KDUMP_LAB": NASTY})
    run = f"systemd-run --quiet --pipe --wait -p EnvironmentFile={path} printenv KDUMP_LAB"
    source = f"sh -c '. {path}; printf %s \"$KDUMP_LAB\"'"
    assert armed.ssh(f"{run} | od -An -c") == armed.ssh(f"{{ {source}; echo; }} | od -An -c")
    assert armed.ssh(source) == NASTY.strip()
    armed.module("sysconfig", path=path, remove=["KDUMP_LAB"])


def test_a_setting_that_does_not_load_is_taken_back(armed):
    """The last file that loaded is put back, and what it says is loaded."""
    before = armed.info(engine=KDUMP_TOOLS)["loaded"]
    settings = {"KDUMP_KEXEC_ARGS": "--no-such-option", "KDUMP_CMDLINE_APPEND": "other"}
    armed.module("sysconfig", path="/etc/default/kdump-tools", settings=settings)
    result = armed.module("kexec", engine=KDUMP_TOOLS)
    assert result["failed"] and "unrecognized option" in result["msg"] and "put back" in result["msg"], result
    after = armed.info(engine=KDUMP_TOOLS)
    assert after["readiness"] == "armed", after["reasons"]
    assert after["loaded"]["cmdline"] == before["cmdline"]


def test_kdump_tools_delivers_a_vmcore(armed):
    proof = armed.crash(KDUMP_TOOLS)
    assert proof["verdict"] == "complete"
    dump = armed.info(engine=KDUMP_TOOLS)["vmcores"][0]
    assert dump["path"] == proof["vmcore"] and dump["panic"]
    assert armed.ssh(f"stat -c %a {dump['path']}") == "600"
    loads = armed.ssh("journalctl -b -u kdump-tools -o cat | grep -c 'symlink /var/lib/kdump/vmlinuz'")
    assert loads == "1", "the next boot loads once, and not again for each CPU that udev tells of"


def test_handed_to_the_native_engine(armed):
    tasks, _modules = converge(armed, NATIVE)
    assert "Reboot" not in tasks
    armed.ssh("deb-systemd-invoke restart kdump-tools.service; systemctl restart kdump-tools.service")
    assert_in_charge(armed, NATIVE)  # an upgrade of the package, or its unit started by hand, unloads nothing


def test_after_a_power_cut_the_native_engine_is_in_charge(armed):
    armed.power_cut()
    assert armed.wait_until_armed()["readiness"] in ("armed", "stale")
    assert_in_charge(armed, NATIVE)


def test_handed_back_to_kdump_tools_without_a_build(armed):
    tasks, _modules = converge(armed, KDUMP_TOOLS)
    assert not {"Reboot", "Build the capture image"} & set(tasks)
    assert_in_charge(armed, KDUMP_TOOLS)


def test_after_a_power_cut_kdump_tools_is_in_charge(armed):
    armed.power_cut()
    assert armed.info(engine=KDUMP_TOOLS)["readiness"] in ("armed", "proven", "stale")
    assert_in_charge(armed, KDUMP_TOOLS)
