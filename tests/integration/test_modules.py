# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every module by a real ansible-playbook: those that are given a path change a scratch file, others only predict."""

import hashlib
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Files of this machine that the modules would change if check mode did not hold them back.
OF_THE_MACHINE = [
    "/boot",
    "/etc/default/grub.d",
    "/etc/kdump.conf",
    "/etc/kernel",
    "/etc/sysconfig",
    "/etc/systemd/system",
    "/etc/udev/rules.d",
    "/usr/local/lib/vmcore-kdump",
    "/var/lib/vmcore-kdump",
]


def task(module, **arguments):
    return {f"vmcore.kdump.{module}": arguments}


def in_check_mode(step):
    return {**step, "check_mode": True}


def state_of_the_machine():
    """A digest of the names, sizes and times of all that OF_THE_MACHINE names."""
    seen = hashlib.sha256()
    for top in map(pathlib.Path, OF_THE_MACHINE):
        for path in [top, *sorted(top.rglob("*"))]:
            if path.is_symlink() or path.exists():
                found = path.lstat()
                seen.update(f"{path} {found.st_mode} {found.st_size} {found.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def assert_sentences(errors):
    """Each error is a sentence with a remedy, as data."""
    assert errors
    for error in errors:
        assert set(error) == {"message", "hint", "option", "value"}
        assert error["message"].rstrip().endswith((".", "!", "?")), error
        assert error["hint"], error


def test_modules_run_under_the_python_that_is_asked_for(ansible):
    (found,) = ansible.tasks({"ansible.builtin.command": {"argv": [ansible.python, "-V"]}})
    print("modules run under", found["stdout"])
    assert found["stdout"].startswith("Python 3.")


CONF = """\
# Ours: keep this line.
path /var/crash
#final_action reboot
default reboot  # the old name
"""


def test_conf_predicts_changes_and_then_leaves_alone(ansible, tmp_path):
    path = tmp_path / "kdump.conf"
    path.write_text(CONF)
    step = task("conf", path=str(path), options={"failure_action": "halt", "final_action": "poweroff"})
    predicted, changed, again = ansible.tasks(in_check_mode(step), step, step)

    assert (predicted["changed"], changed["changed"], again["changed"]) == (True, True, False)
    assert predicted["actions"] == changed["actions"] == [f"write {path}"]
    assert predicted["diff"] == changed["diff"]
    assert changed["diff"][0]["before"] == CONF
    assert changed["diff"][0]["after"] == path.read_text()
    assert again["diff"] == []
    lines = path.read_text().splitlines()
    assert lines[:2] == ["# Ours: keep this line.", "path /var/crash"]
    assert "final_action poweroff" in lines
    assert again["options"] == {"path": "/var/crash", "failure_action": "halt", "final_action": "poweroff"}
    assert again["target"] == {"kind": "path", "location": "/var/crash"}


def test_conf_in_check_mode_writes_nothing(ansible, tmp_path):
    path = tmp_path / "kdump.conf"
    (predicted,) = ansible.tasks(task("conf", path=str(path), options={"path": "/crash"}), check=True)
    assert predicted["changed"]
    assert not path.exists()


def test_conf_names_all_errors_at_once_and_touches_nothing(ansible, tmp_path):
    path = tmp_path / "kdump.conf"
    path.write_text(CONF + "nonsense 1\n")
    wrong = {"ssh": "no-user", "failure_action": "explode", "path": "relative"}
    (failed,) = ansible.tasks(task("conf", path=str(path), options=wrong))

    assert failed["failed"]
    assert_sentences(failed["errors"])
    assert {"ssh", "failure_action", "path", "nonsense"} <= {error["option"] for error in failed["errors"]}
    assert all(error["message"] in failed["msg"] for error in failed["errors"])
    assert path.read_text() == CONF + "nonsense 1\n"


def test_conf_removes_its_own_file_again(ansible, tmp_path):
    path = tmp_path / "kdump.conf"
    _made, removed = ansible.tasks(
        task("conf", path=str(path), options={"path": "/crash"}), task("conf", path=str(path), remove=["path"])
    )
    assert removed["changed"]
    assert not path.exists()


def test_sysconfig_predicts_changes_and_then_leaves_alone(ansible, tmp_path):
    path = tmp_path / "kdump"
    path.write_text("# Ours.\nKDUMP_KERNELVER=\n")
    hostile = "quiet \"twice\" 'once' $HOME `id` \\ end"
    step = task("sysconfig", path=str(path), settings={"KDUMP_COMMANDLINE_APPEND": hostile}, remove=["KDUMP_KERNELVER"])
    check = {"ansible.builtin.command": {"argv": ["sh", "-c", f'. {path}; printf %s "$KDUMP_COMMANDLINE_APPEND"']}}
    predicted, changed, again, read_back = ansible.tasks(in_check_mode(step), step, step, check)

    assert (predicted["changed"], changed["changed"], again["changed"]) == (True, True, False)
    assert predicted["diff"] == changed["diff"]
    assert path.read_text().startswith("# Ours.\n")
    assert "KDUMP_KERNELVER" not in path.read_text()
    assert read_back["stdout"] == hostile, "a shell reads back what was given"


def test_sysconfig_names_all_errors_at_once_and_touches_nothing(ansible, tmp_path):
    path = tmp_path / "kdump"
    path.write_text("KDUMP_IMG=vmlinuz\n")
    (failed,) = ansible.tasks(task("sysconfig", path=str(path), settings={"not a name": "1", "KDUMP_IMG": "a\nb"}))
    assert failed["failed"]
    assert_sentences(failed["errors"])
    assert len(failed["errors"]) >= 2
    assert path.read_text() == "KDUMP_IMG=vmlinuz\n"


def test_vmcore_info_tells_broken_from_missing(ansible, tmp_path):
    broken = tmp_path / "vmcore"
    broken.write_bytes(b"KDUMP   " + bytes(56))
    (found,) = ansible.tasks(task("vmcore_info", paths=[str(broken)]))
    assert not found["changed"]
    (vmcore,) = found["vmcores"]
    assert vmcore["verdict"] == "broken"
    assert vmcore["problems"]


READINESS = {"unprotected", "pending_reboot", "armed", "proven", "stale"}


def test_info_judges_this_machine_and_changes_nothing(ansible):
    before = state_of_the_machine()
    found, expected = ansible.tasks(task("info"), task("info", expect={"readiness": "proven"}))
    assert not found["changed"]
    assert found["readiness"] in READINESS
    if found["readiness"] != "proven":
        assert_sentences(found["reasons"])
        if expected["failed"]:  # no capture image can be built here, as on many a container's or small VM's kernel
            assert_sentences(expected["errors"])
        else:
            assert expected["meets_expectations"] is False
    assert state_of_the_machine() == before


def test_info_refuses_a_wanted_state_with_all_its_errors(ansible):
    wanted = {"conf": {"path": "relative", "failure_action": "explode"}, "crashkernel": "256Q"}
    (failed,) = ansible.tasks(task("info", expect=wanted))
    assert failed["failed"]
    assert_sentences(failed["errors"])
    assert len(failed["errors"]) >= 3


# Steps that would change the machine itself. In check mode each predicts, or says what stands in its way.
ON_THE_MACHINE = {
    "boot": task("boot"),
    "boot absent": task("boot", state="absent"),
    "crashkernel": task("crashkernel", value="256M"),
    "crashkernel absent": task("crashkernel", state="absent"),
    "initramfs": task("initramfs"),
    "kexec": task("kexec"),
    "kexec unloaded": task("kexec", state="unloaded"),
    "kexec reboot": task("kexec", type="reboot"),
}


@pytest.mark.parametrize("case", ON_THE_MACHINE)
def test_check_mode_predicts_or_says_what_is_in_the_way(ansible, case):
    before = state_of_the_machine()
    (found,) = ansible.tasks(ON_THE_MACHINE[case], check=True)
    assert "Traceback" not in json.dumps(found)
    if found["failed"]:
        assert_sentences(found["errors"])
    else:
        assert found["changed"] == bool(found["actions"])
    assert state_of_the_machine() == before


def test_crashkernel_names_every_mistake_before_it_looks_at_the_host(ansible):
    (failed,) = ansible.tasks(task("crashkernel", value="2G-1G:64M,4G-:12Q"), check=True)
    assert failed["failed"]
    assert_sentences(failed["errors"])
    assert len(failed["errors"]) >= 2


def test_crash_test_refuses_without_confirmation(ansible):
    (failed,) = ansible.tasks(task("crash_test"))
    assert failed["failed"]
    assert "confirm" in failed["msg"]


def test_every_plugin_renders(ansible):
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    names = [f"vmcore.kdump.{name}" for name in modules]
    listed = json.loads(ansible.command("ansible-doc", "--list", "--json", "vmcore.kdump").stdout)
    assert sorted(listed) == names
    rendered = ansible.command("ansible-doc", *names).stdout
    assert rendered.count("RETURN VALUES:") == rendered.count("EXAMPLES:") == len(names)


def test_the_role_describes_its_variables(ansible):
    listed = json.loads(ansible.command("ansible-doc", "--type", "role", "--json", "vmcore.kdump.kdump").stdout)
    options = listed["vmcore.kdump.kdump"]["entry_points"]["main"]["options"]
    defaults = (ROOT / "roles" / "kdump" / "defaults" / "main.yml").read_text()
    names = [line.partition(":")[0] for line in defaults.splitlines() if line.startswith("kdump_")]
    assert names
    assert set(names) <= set(options), "each variable that has a default has a description"


def test_the_role_refuses_what_its_description_does_not_allow(ansible):
    role = {"name": "vmcore.kdump.kdump"}
    include = {"name": "Arm", "ansible.builtin.include_role": role, "vars": {"kdump_state": "sideways"}}
    done = ansible.play([include], "--check", check=False)
    assert done.returncode == 2, done.stdout
    assert "kdump_state must be one of" in done.stdout
    assert "changed=0" in done.stdout


def test_a_password_is_shown_nowhere(ansible, tmp_path):
    settings = {"KDUMP_SMTP_PASSWORD": "hush-4711", "KDUMP_SMTP_USER": "kdump"}
    path = tmp_path / "kdump"
    steps = [task("sysconfig", path=str(path), settings=settings), task("info", expect={"sysconfig": settings})]
    done = ansible.play([{"name": "Step", "ignore_errors": True, **step} for step in steps], "-vvv", "--diff")
    assert "KDUMP_SMTP_PASSWORD" in done.stdout and "hush-4711" not in done.stdout + done.stderr
    assert path.read_text().endswith('KDUMP_SMTP_PASSWORD="hush-4711"\nKDUMP_SMTP_USER="kdump"\n')
