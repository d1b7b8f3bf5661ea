# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Playbooks for linux-system-roles.kdump (commit dff0a9ab6a76): its documented examples, and where it fails its users."""

import json
import re

import pytest
from test_role import INFO, KDUMP_TOOLS, Role, given

UUID = "12e3e25f-534e-4007-a40c-e7e080a933ad"
KEY = "/etc/kdump/ssh_key"

# By that role's documentation and tests: variables, and the directives that they come to. What it writes otherwise is
# said beside it.
EXAMPLES = {
    "nothing but the defaults": ({}, {}),
    "a raw partition": ({"kdump_target": {"type": "raw", "location": "/dev/sda1"}}, {"raw": "/dev/sda1"}),
    "a file system by its UUID": (
        {"kdump_target": {"type": "ext4", "location": UUID}},
        {"ext4": "UUID=" + UUID},  # there without UUID=, which kdump refuses
    ),
    "a file system by its label": (
        {"kdump_target": {"type": "xfs", "location": "LABEL=crash"}, "kdump_path": "/dumps"},
        {"xfs": "LABEL=crash", "path": "/dumps"},
    ),
    "a server by ssh": ({"kdump_target": {"type": "ssh", "location": "user@example.com"}}, {"ssh": "user@example.com"}),
    "a server by ssh, as two variables": (
        {"kdump_target": {"type": "ssh"}, "kdump_ssh_user": "kdump", "kdump_ssh_server": "dumps.example.com",
         "kdump_sshkey": KEY, "kdump_path": "/srv/dumps"},
        {"ssh": "kdump@dumps.example.com", "sshkey": KEY, "path": "/srv/dumps"},
    ),
    "the place where ansible reaches the server is another one": (
        {"kdump_target": {"type": "ssh", "location": "kdump@192.0.2.7"}, "kdump_ssh_user": "kdump",
         "kdump_ssh_server": "dumps.example.com"},
        {"ssh": "kdump@192.0.2.7"},
    ),
    "a server by nfs": (
        {"kdump_target": {"type": "nfs", "location": "nfs.example.com:/export"}}, {"nfs": "nfs.example.com:/export"},
    ),
    "a key that no ssh target uses": ({"kdump_sshkey": KEY, "kdump_target": None}, {}),
    "every other variable": (
        {"kdump_path": "/var/crash", "kdump_core_collector": "makedumpfile -c -d 31", "kdump_system_action": "halt",
         "kdump_auto_reset_crashkernel": False, "kdump_dracut_args": "--kernel-cmdline nopti"},
        {"path": "/var/crash", "core_collector": "makedumpfile -c -d 31", "failure_action": "halt",
         "auto_reset_crashkernel": "no", "dracut_args": "--kernel-cmdline nopti"},
    ),
    "all of them null": (
        {"kdump_target": None, "kdump_path": None, "kdump_core_collector": None, "kdump_system_action": None,
         "kdump_ssh_user": None, "kdump_ssh_server": None, "kdump_sshkey": None, "kdump_dracut_args": None,
         "kdump_auto_reset_crashkernel": None},
        {},
    ),
}  # fmt: skip


def as_that_role_writes(variables, release):
    """kdump.conf on release 8, 9 … of Red Hat's distributions, as that role's template has it."""
    values: dict = {"kdump_path": "/var/crash", "kdump_system_action": "reboot", "kdump_auto_reset_crashkernel": True}
    values.update({name: value for name, value in variables.items() if value is not None})
    lines = ["#", "# Ansible managed", "#", "# system_role:kdump", ""]
    target = values.get("kdump_target")
    if target and target["type"] == "ssh":
        user_and_server = (
            values.get("kdump_ssh_user", "") + "@" + values["kdump_ssh_server"] if "kdump_ssh_server" in values else "@"
        )
        lines += ["ssh " + target.get("location", user_and_server), ""]
        lines += ["sshkey " + values["kdump_sshkey"]] if "kdump_sshkey" in values else []
    elif target:
        lines += [f"{target['type']} {target['location']}", ""]
    lines += ["", "path " + values["kdump_path"]]
    lines += ["core_collector " + values["kdump_core_collector"]] if "kdump_core_collector" in values else []
    if release >= 9:
        lines.append("auto_reset_crashkernel " + ("yes" if values["kdump_auto_reset_crashkernel"] else "no"))
    lines.append(("failure_action " if release >= 9 else "default ") + values["kdump_system_action"])
    lines += ["dracut_args " + values["kdump_dracut_args"]] if "kdump_dracut_args" in values else []
    return "\n".join(lines) + "\n"


def directives(text):
    lines = [line.strip().partition(" ") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {{"default": "failure_action"}.get(name, name): value for name, dummy, value in lines}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What the role asks of the module conf for each example."""
    role = Role(tmp_path_factory.mktemp("role"))
    tasks = [
        {"name": name, "ansible.builtin.include_role": {"name": "vmcore.kdump.kdump"}, "vars": variables}
        for name, (variables, dummy) in EXAMPLES.items()
    ]
    role.ansible.play(tasks)
    calls = [json.loads(line) for line in role.log.read_text().splitlines()]
    return dict(zip(EXAMPLES, [values for module, values in calls if module == "conf"], strict=True))


@pytest.fixture(scope="module")
def converted(asked, ansible, tmp_path_factory):
    """By release and example: kdump.conf as that role left it, the module's result, and kdump.conf afterwards."""
    folder = tmp_path_factory.mktemp("etc")
    keys = [(release, name) for release in (0, 8, 9) for name in EXAMPLES]
    files = [folder / f"{number}.conf" for number in range(len(keys))]
    before = {key: as_that_role_writes(EXAMPLES[key[1]][0], key[0]) if key[0] else "" for key in keys}
    for key, file in zip(keys, files, strict=True):
        if before[key]:
            file.write_text(before[key])
    results = ansible.tasks(*[
        {"vmcore.kdump.conf": {"path": str(file), "options": asked[key[1]]["options"]}}
        for key, file in zip(keys, files, strict=True)
    ])  # fmt: skip
    return {
        key: (before[key], result, file.read_text() if file.exists() else "")
        for key, result, file in zip(keys, results, files, strict=True)
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_a_new_host_the_directives_that_it_names(name, converted):
    dummy, result, after = converted[0, name]
    assert not result["failed"], result["msg"]
    assert directives(after) == EXAMPLES[name][1]


@pytest.mark.parametrize("release", [8, 9])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_host_that_the_other_role_has_configured_keeps_its_file(name, release, converted):
    before, result, after = converted[release, name]
    assert not result["failed"], result["msg"]
    if name == "a file system by its UUID":
        assert after == before.replace("ext4 " + UUID, "ext4 UUID=" + UUID)  # kdump would not have started
    elif release == 8 and name == "every other variable":
        # It wrote no such line for that release.
        assert directives(after) == {**directives(before), "auto_reset_crashkernel": "no"}
    else:
        assert (after, result["changed"]) == (before, False)


def test_its_example_of_an_nfs_server_without_an_export_is_refused_with_the_remedy(ansible):
    result = ansible.tasks(
        {"vmcore.kdump.conf": {"path": "/nowhere/kdump.conf", "options": {"nfs": "nfs.example.com"}}}
    )[0]
    assert result["failed"] and "Write `server:/export`." in result["msg"]


def test_a_dump_server_that_is_not_found_is_refused_by_name(ansible):
    expect = {"engine": "native", "expect": {"conf": {"ssh": "user@dumps.invalid"}}}
    result = ansible.tasks({"vmcore.kdump.info": expect})[0]
    assert result["failed"] and "The dump server dumps.invalid has no address" in result["msg"], result["msg"]


# --- kdump-tools ---------------------------------------------------------------------------------------------------
TOOLS = {
    "USE_KDUMP": 1, "KDUMP_KERNEL": "/var/lib/kdump/vmlinuz", "KDUMP_INITRD": "/var/lib/kdump/initrd.img",
    "KDUMP_COREDIR": "/var/crash", "MAKEDUMP_ARGS": "-c -d 31", "KDUMP_FAIL_CMD": "reboot -f",
}  # fmt: skip


def play_with_facts(role, os_family, **variables):
    task = {"name": "Arm", "ansible.builtin.include_role": {"name": "vmcore.kdump.kdump"}}
    if os_family:
        task["vars"] = {"ansible_facts": {"os_family": os_family}}
    done = role.ansible.play([task], "-e", json.dumps(variables), check=False)
    return [json.loads(line) for line in role.log.read_text().splitlines()], done.stdout


def test_variables_of_kdump_tools_ask_for_that_engine(tmp_path):
    calls, printed = play_with_facts(Role(tmp_path, KDUMP_TOOLS), "Debian", kdump_kdump_tools=TOOLS)
    assert "failed=0" in printed, printed
    assert given(calls, "info")["engine"] == "kdump-tools"
    assert given(calls, "info")["expect"]["sysconfig"] == TOOLS


def test_in_the_red_hat_family_they_mean_nothing_as_there(tmp_path):
    role = Role(tmp_path, dict(INFO, engine="kdumpctl"))
    calls, printed = play_with_facts(role, "RedHat", kdump_kdump_tools=TOOLS)
    assert "failed=0" in printed, printed
    assert given(calls, "info")["engine"] == "auto" and given(calls, "info")["expect"]["sysconfig"] == {}


def test_the_native_engine_refuses_them_before_anything_is_touched(tmp_path):
    calls, printed = play_with_facts(Role(tmp_path), "", kdump_kdump_tools=TOOLS)
    assert "failed=1" in printed and "Set kdump_engine to kdump-tools" in printed.replace("\n", " "), printed
    assert [name for name, dummy in calls] == ["info"]


# --- where that role fails its users -------------------------------------------------------------------------------
def test_bad_values_are_refused_all_at_once_and_nothing_is_touched(ansible):
    """There `bogusfs`, `explode` and a relative path are written, and the run ends well."""
    wrong = {"bogusfs": "/dev/vda1", "failure_action": "explode", "path": "var/crash"}
    result = ansible.tasks({"vmcore.kdump.info": {"engine": "native", "expect": {"conf": wrong}}})[0]
    assert result["failed"]
    assert {"bogusfs", "failure_action", "path"} <= {error["option"] for error in result["errors"]}
    for error in result["errors"]:
        assert error["hint"], error


def test_a_type_of_target_that_there_is_not_is_refused_by_the_roles_own_arguments(tmp_path):
    asked, printed = Role(tmp_path).run(kdump_target={"type": "bogusfs", "location": "/dev/vda1"})
    assert asked == [] and "bogusfs" in printed and "failed=1" in printed


def test_a_host_that_waits_for_its_reboot_is_no_failure(tmp_path):
    """There it fails."""
    waiting = {"reserved_bytes": 0, "reboot_required": 1}
    role = Role(tmp_path, dict(INFO, readiness="pending_reboot", crashkernel=waiting))
    dummy, printed = role.run(kdump_reboot_ok=False)
    assert "failed=0" in printed and "is pending_reboot" in printed, printed


def test_a_host_on_which_a_panic_would_leave_nothing_is_a_failure(tmp_path):
    """There a unit that was started is the only test."""
    reason = {"message": "No capture kernel is loaded.", "hint": "Load it.", "option": "", "value": ""}
    dummy, printed = Role(tmp_path, dict(INFO, readiness="unprotected", reasons=[reason])).run()
    assert "failed=1" in printed and "No capture kernel is loaded." in printed, printed


def test_the_directory_of_the_dumps_is_made(asked):
    """There kdump fails without it."""
    assert all(values["create_path"] and values["check_host"] for values in asked.values())


def test_lines_of_the_administrator_stay(ansible, tmp_path):
    """There the file is replaced."""
    file = tmp_path / "kdump.conf"
    file.write_text("# ours: ask the storage team\nextra_modules mlx5_core\ndefault halt\n")
    task = {"vmcore.kdump.conf": {"path": str(file), "options": {"failure_action": "poweroff"}}}
    assert ansible.tasks(task)[0]["changed"]
    text = file.read_text()
    assert text.startswith("# ours: ask the storage team\nextra_modules mlx5_core\n")
    assert re.findall(r"^(?:default|failure_action) .*$", text, re.MULTILINE) in (
        ["failure_action poweroff"], ["default poweroff"],
    )  # fmt: skip
