# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role asks of which module, from its variables: the real role, with modules that only write down their arguments."""

import json
import shutil

import pytest
from conftest import ROOT, Ansible

STUB = """#!/usr/bin/python
# WANT_JSON
import json
import sys

with open(sys.argv[1]) as file:
    given = {name: value for name, value in json.load(file).items() if not name.startswith("_ansible_")}
with open(%(log)r, "a") as log:
    log.write(json.dumps([%(name)r, given]) + chr(10))
print(json.dumps(%(result)r))
"""
INFO = {
    "readiness": "armed", "reasons": [], "losses": [], "packages_missing": [], "unit_enabled": 1, "loaded": {}, "engine": "native",
    "conf": {"exists": True, "path": "/etc/kdump.conf"}, "crashkernel": {"reserved_bytes": 1 << 27, "reboot_required": 0},
    "expected": {"differs": ["triggers"], "path": "/etc/sysconfig/kdump", "settings": {}, "conf": {}, "triggers": {}},
}  # fmt: skip
KDUMP_TOOLS = dict(INFO, engine="kdump-tools", conf={"exists": False, "path": ""}, expected=dict(
    INFO["expected"], path="/etc/default/kdump-tools", settings={"USE_KDUMP": "1", "KDUMP_COREDIR": "/srv/crash"}))  # fmt: skip
RESULTS = {name: {"changed": 0} for name in ["boot", "conf", "initramfs", "sysconfig"]}
KEY = "ssh-ed25519 AAAA vmcore.kdump localhost"
PROPAGATE = {
    "changed": 0,
    "settled": 1,
    "public_keys": [KEY],
    "name": "other",
    "directory": "/srv/dumps",
    "actions": [],
}
RESULTS.update(kexec={"changed": 0, "loaded": 1})
RESULTS.update(propagate=PROPAGATE, authorized_key={"changed": 1, "host_keys": ["ssh-ed25519 BBBB"]})
RESULTS.update(info=INFO, crashkernel={"changed": 0, "reserved_bytes": 1 << 27, "reboot_required": 0})


class Role:
    def __init__(self, work, info=None, **results):
        self.ansible = Ansible(work)
        self.log = work / "asked"
        self.triggers = work / "triggers.conf"
        home = work / "collections" / "ansible_collections" / "vmcore" / "kdump"
        shutil.copytree(ROOT / "roles", home / "roles")
        (home / "plugins" / "modules").mkdir(parents=True)
        for name, result in dict(RESULTS, info=info or INFO, **results).items():
            text = STUB % {"name": name, "log": str(self.log), "result": result}
            (home / "plugins" / "modules" / f"{name}.py").write_text(text)

    def run(self, *arguments, **variables):
        """What each module was given, in order, and what ansible-playbook printed."""
        extra = json.dumps(dict(variables, __kdump_triggers_file=str(self.triggers)))
        tasks = [{"name": "Arm", "ansible.builtin.include_role": {"name": "vmcore.kdump.kdump"}}]
        done = self.ansible.play(tasks, "-e", extra, *arguments, check=False)
        asked = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return asked, done.stdout


@pytest.fixture
def role(tmp_path):
    return Role(tmp_path)


def given(asked, name):
    return next((values for module, values in asked if module == name), None)


def test_a_reservation_that_is_null_is_left_alone(role):
    asked, printed = role.run(kdump_crashkernel=None)
    assert [name for name, dummy in asked] == ["info", "conf", "initramfs", "boot", "kexec", "info"], printed
    assert "failed=0" in printed


@pytest.mark.parametrize("value,wanted", [("false", False), ("no", False), (False, False), (None, None)])
def test_a_survey_gives_a_boolean_as_text(role, value, wanted):
    asked, printed = role.run(kdump_auto_reset_crashkernel=value)
    assert "failed=0" in printed, printed
    assert given(asked, "conf")["options"].get("auto_reset_crashkernel") is wanted


def test_the_modules_are_told_the_engine_that_was_found(tmp_path):
    asked, printed = Role(tmp_path, KDUMP_TOOLS).run()
    assert "failed=0" in printed, printed
    assert [name for name, dummy in asked] == ["info", "sysconfig", "crashkernel", "initramfs", "boot", "kexec", "info"]
    told = {name: values.get("engine") for name, values in asked if name in ("initramfs", "boot", "kexec", "info")}
    assert set(told.values()) == {"kdump-tools"}, told
    assert given(asked, "sysconfig")["path"] == "/etc/default/kdump-tools"


def test_passwords_reach_the_file_though_no_result_shows_them(tmp_path):
    masked = dict(INFO["expected"], settings={"KDUMP_SMTP_PASSWORD": "********", "KDUMP_SMTP_USER": "kdump"})
    role = Role(tmp_path, dict(INFO, expected=masked))
    asked, printed = role.run(kdump_sysconfig={"KDUMP_SMTP_PASSWORD": "hush", "KDUMP_SMTP_USER": "kdump"})
    assert "failed=0" in printed, printed
    assert given(asked, "sysconfig")["settings"] == {"KDUMP_SMTP_PASSWORD": "hush", "KDUMP_SMTP_USER": "kdump"}


RESETS = {
    "a reservation of one's own is protected": ({}, "no", {"auto_reset_crashkernel": "no"}),
    "EL 8 does not know it": ({"kdump_auto_reset_crashkernel": True}, None, {}),
}


@pytest.mark.parametrize("variables,found,written", RESETS.values(), ids=list(RESETS))
def test_what_the_engine_needs_beside_what_was_asked_for_is_written(tmp_path, variables, found, written):
    info = dict(INFO, expected=dict(INFO["expected"], conf={"auto_reset_crashkernel": found}))
    asked, printed = Role(tmp_path, info).run(kdump_path="/srv/crash", **variables)
    assert "failed=0" in printed, printed
    assert given(asked, "conf")["options"] == {"path": "/srv/crash", **written}


def test_a_host_is_looked_at_again_when_its_packages_are_there(tmp_path):
    role = Role(tmp_path, dict(INFO, packages_missing=["kexec-tools"]))
    asked, printed = role.run("--check")
    assert [name for name, dummy in asked][:2] == ["info", "conf"], printed  # nothing is installed in check mode
    assert "Would install: kexec-tools" in printed


@pytest.mark.parametrize("state,modules", [
    ("disabled", ["info", "boot", "info"]), ("absent", ["info", "boot", "sysconfig", "crashkernel", "info"]),
])  # fmt: skip
def test_other_states_of_another_engine(tmp_path, state, modules):
    first = dict(KDUMP_TOOLS["expected"], settings={"USE_KDUMP": "1", "KDUMP_COREDIR": None})
    asked, printed = Role(tmp_path, dict(KDUMP_TOOLS, expected=first)).run(kdump_state=state)
    assert "failed=0" in printed, printed
    assert [name for name, dummy in asked] == modules
    assert given(asked, "boot")["engine"] == "kdump-tools" and given(asked, "boot")["state"] == state
    if state == "absent":
        assert given(asked, "info")["expect"]["state"] == "absent"
        assert given(asked, "sysconfig")["remove"] == ["KDUMP_COREDIR"]
        assert given(asked, "sysconfig")["settings"] == {"USE_KDUMP": "1"}


def test_a_survey_gives_mappings_as_text(role):
    asked, printed = role.run(
        kdump_conf='{"failure_action": "halt"}', kdump_target='{"type": "xfs", "location": "LABEL=crash"}',
        kdump_sysconfig='{"KDUMP_IMG": "vmlinuz"}', kdump_triggers='{"kernel.panic_on_oops": 1}',
    )  # fmt: skip
    assert "failed=0" in printed, printed
    assert given(asked, "conf")["options"] == {"failure_action": "halt", "xfs": "LABEL=crash"}


def test_panic_triggers_apply_also_where_the_role_fails_later(tmp_path):
    expected = dict(INFO["expected"], triggers={"kernel.panic_on_oops": "1"})
    printed = Role(tmp_path, dict(INFO, expected=expected)).run("--check", "--diff")[1]
    assert "+kernel.panic_on_oops = 1" in printed
    assert "RUNNING HANDLER [vmcore.kdump.kdump : Apply the panic triggers]" in printed, printed
    assert "TASK [vmcore.kdump.kdump : Reserve memory" not in printed.partition("RUNNING HANDLER")[0]


# --- a dump server -------------------------------------------------------------------------------------------------
SSH = {
    "kdump_target": {"type": "ssh"}, "kdump_ssh_user": "kdump", "kdump_ssh_server": "dumps.example.com",
    "kdump_sshkey": "/etc/kdump/key", "kdump_path": "/srv/dumps",
}  # fmt: skip
WITH_SERVER = dict(SSH, kdump_ssh_server_host="localhost")


def modules(asked):
    return [name for name, dummy in asked]


def test_a_key_that_is_on_its_server_costs_one_module_more(role):
    asked, printed = role.run("-vvv", **SSH, kdump_ssh_password="hush")
    assert "failed=0" in printed and "hush" not in printed, printed
    assert modules(asked) == ["info", "propagate", "conf", "crashkernel", "initramfs", "boot", "kexec", "info"]
    wanted = {
        "server": "dumps.example.com", "user": "kdump", "key": "/etc/kdump/key", "path": "/srv/dumps", "password": "hush",
        "address": "dumps.example.com", "server_part": "controller", "rotate": False, "accept_new": False, "host_keys": [],
        "receiver": True,
    }  # fmt: skip
    assert given(asked, "propagate") == wanted


def test_a_server_of_the_inventory_lets_the_key_in_by_itself(tmp_path):
    role = Role(tmp_path, propagate=dict(PROPAGATE, settled=0))
    asked, printed = role.run(**WITH_SERVER)
    assert "failed=0" in printed, printed
    assert modules(asked)[:5] == ["info", "propagate", "authorized_key", "propagate", "conf"]
    assert given(asked, "propagate")["server_part"] == "later"
    there = {"user": "kdump", "name": "localhost", "public_keys": [KEY], "path": "/srv/dumps", "receiver": True}
    assert given(asked, "authorized_key") == there
    assert asked[3][1]["server_part"] == "done" and asked[3][1]["host_keys"] == ["ssh-ed25519 BBBB"]


def test_dumps_of_kdump_tools_are_none_for_the_receiver(tmp_path):
    asked, printed = Role(tmp_path, KDUMP_TOOLS, propagate=dict(PROPAGATE, settled=0)).run(**WITH_SERVER)
    assert "failed=0" in printed, printed
    told = [values["receiver"] for name, values in asked if name in ("propagate", "authorized_key")]
    assert told == [False, False, False]


def test_a_server_of_the_inventory_is_not_asked_where_the_login_works(role):
    asked, printed = role.run(**WITH_SERVER, kdump_ssh_accept_new=True)
    assert "failed=0" in printed, printed
    assert modules(asked)[:3] == ["info", "propagate", "conf"]
    assert given(asked, "propagate")["accept_new"] is False  # its keys come from itself, not from whoever answers


@pytest.mark.parametrize("given_as", ["ssh-ed25519 CCCC", ["ssh-ed25519 CCCC"]])
def test_a_given_host_key_counts_more_than_what_the_server_says(tmp_path, given_as):
    role = Role(tmp_path, propagate=dict(PROPAGATE, settled=0))
    asked, printed = role.run(**WITH_SERVER, kdump_ssh_host_key=given_as)
    assert "failed=0" in printed, printed
    assert [values["host_keys"] for name, values in asked if name == "propagate"] == [["ssh-ed25519 CCCC"]] * 2


def test_the_old_key_goes_when_the_image_with_the_new_one_is_loaded(tmp_path):
    role = Role(tmp_path, propagate=dict(PROPAGATE, public_keys=[KEY, KEY], settled=0))
    asked, printed = role.run(**WITH_SERVER, kdump_ssh_rotate="true")
    assert "failed=0" in printed, printed
    assert modules(asked)[1:4] == ["propagate", "authorized_key", "propagate"] and asked[1][1]["rotate"] is True
    assert modules(asked)[-4:] == ["kexec", "propagate", "authorized_key", "info"]
    assert asked[-2][1]["exclusive"] is True and "exclusive" not in asked[2][1]


ROTATIONS = {
    "interrupted, with a server of the inventory": (dict(WITH_SERVER), {"public_keys": [KEY, KEY], "settled": 0}, {}, True),
    "interrupted, from the controller": (SSH, {"actions": ["replace /etc/kdump/key"]}, {}, True),
    "no rotation": (SSH, {"actions": ["make the key /etc/kdump/key"]}, {}, False),
    "the new image is not loaded": (
        dict(SSH, kdump_ssh_rotate="true"), {}, {"kexec": {"failed": 1, "msg": "too small"}, "crashkernel": dict(
            RESULTS["crashkernel"], reboot_required=1)}, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("variables,key,results,taken", ROTATIONS.values(), ids=list(ROTATIONS))
def test_the_old_key_goes_when_no_loaded_image_needs_it(tmp_path, variables, key, results, taken):
    asked, printed = Role(tmp_path, propagate=dict(PROPAGATE, **key), **results).run(**variables)
    assert "failed=0" in printed, printed
    assert any(values.get("exclusive") for dummy, values in asked) is taken


@pytest.mark.parametrize("variables", [
    dict(SSH, kdump_sshkey=None, kdump_conf={"sshkey": "/etc/other"}),
    {"kdump_conf": {"ssh": "kdump@dumps.example.com"}, "kdump_sshkey": "/etc/other"},
], ids=["of kdump_conf", "for a target of kdump_conf"])  # fmt: skip
def test_the_key_that_goes_to_the_server_is_that_of_kdump_conf(role, variables):
    asked, printed = role.run(**variables)
    assert "failed=0" in printed, printed
    assert given(asked, "propagate")["key"] == given(asked, "conf")["options"]["sshkey"] == "/etc/other"


def test_no_key_goes_to_a_server_that_is_no_target(role):
    asked, printed = role.run(**dict(SSH, kdump_target=None))
    assert "failed=0" in printed, printed
    assert "propagate" not in modules(asked)


@pytest.mark.parametrize("variables,part,names", [
    (WITH_SERVER, "done", ["info", "boot", "conf", "crashkernel", "propagate", "authorized_key", "propagate", "info"]),
    (dict(SSH, kdump_ssh_password="hush"), "controller", ["info", "boot", "conf", "crashkernel", "propagate", "info"]),
    (SSH, "done", ["info", "boot", "conf", "crashkernel", "propagate", "info"]),
], ids=["of the inventory", "with a password", "with no way to it"])  # fmt: skip
def test_the_server_forgets_a_host_that_goes(role, variables, part, names):
    asked, printed = role.run(**variables, kdump_state="absent")
    assert "failed=0" in printed, printed
    assert modules(asked) == names
    last = [values for name, values in asked if name == "propagate"][-1]
    assert (last["state"], last["server_part"], last["remove_key"]) == ("absent", part, True)
    if "authorized_key" in names:
        assert given(asked, "authorized_key")["state"] == "absent"
