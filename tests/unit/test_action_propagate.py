# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of propagate where the host is somebody else's by now: what it answers leads nobody anywhere."""

import shutil
import subprocess
from unittest import mock

import pytest

pytest.importorskip("ansible.plugins.action", reason="runs where ansible-core is")

from ansible_collections.vmcore.kdump.plugins.action import propagate
from ansible_collections.vmcore.kdump.plugins.module_utils import authorized_keys
from ansible_collections.vmcore.kdump.plugins.plugin_utils import dump_server

A = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
B = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8XxYy"
PIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINvouchedForByNobodyButTheHostItselfHere0"
ANSWER = {
    "changed": False, "actions": [], "diff": [], "warnings": [], "settled": False, "login": "unknown", "verified": False,
    "server": "elsewhere.example", "user": "root", "port": 22, "directory": "/var/crash", "name": "db1",
    "public_key": A, "public_keys": [A], "host_keys": [],
}  # fmt: skip
GIVEN = {"server": "dumps.example", "user": "kdump", "password": "secret"}


def run(answer, reached=None, **args):
    """What it says, and with what the servers were asked that it went to. `reached`: the server, if it gets there."""
    task = mock.MagicMock(args=args, check_mode=False, async_val=0, action=propagate.MODULE)
    connection = mock.MagicMock()
    connection._shell.tmpdir = None
    action = propagate.ActionModule(task, connection, mock.MagicMock(), None, mock.MagicMock(), mock.MagicMock())
    server = reached or mock.MagicMock(side_effect=propagate.ServerError("It went there."))
    parts = mock.patch.object(action, "_execute_module", return_value=dict(ANSWER, **answer))
    with parts as host, mock.patch.object(propagate, "Server", server):
        result = action.run(task_vars={"inventory_hostname": "db1"})
    return result, server.call_args, host.called


@pytest.mark.parametrize("left_out", ["server", "user"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_where_to_log_in_is_the_plays_word(left_out, state):
    result, asked, looked = run({}, **dict(GIVEN, **{left_out: "", "state": state}))
    assert result["failed"] and "propagate needs %s:" % left_out in result["msg"]
    assert asked is None and not looked


def test_what_the_host_names_is_not_where_the_controller_goes():
    dummy, asked, dummy = run({}, **GIVEN)
    assert asked == mock.call("dumps.example", 22, "kdump", "secret", [])
    dummy, asked, dummy = run({"host_keys": [PIN]}, **GIVEN)
    assert asked.args[-1] == [], "without accept_new only what the controller or the play knows"


def test_a_port_whose_key_the_host_alone_vouches_for_is_none():
    dummy, asked, dummy = run({"host_keys": [PIN]}, accept_new=True, **GIVEN)
    assert asked == mock.call("dumps.example", 22, "kdump", "secret", [PIN])
    dummy, asked, dummy = run({"port": 2222, "host_keys": [PIN]}, accept_new=True, **GIVEN)
    assert asked == mock.call("dumps.example", 2222, "kdump", "secret", []), "what the controller itself knows"
    dummy, asked, dummy = run({"port": 2222, "host_keys": [PIN]}, accept_new=True, host_keys=[B], **GIVEN)
    assert asked == mock.call("dumps.example", 2222, "kdump", "secret", [B])


@pytest.mark.parametrize("key", ["ssh-ed25519", "ssh-ed25519 AAAA", "a b c", "", "'; reboot; '"])
def test_what_is_no_key_does_not_reach_a_server(key):
    server = mock.MagicMock()
    result, dummy, dummy = run({"public_keys": [A, key]}, reached=server, **GIVEN)
    assert result["failed"] and "The host gives no public key" in result["msg"]
    assert not server.return_value.__enter__.return_value.authorize.called


# --- a server without Python -----------------------------------------------------------------------------------------
@pytest.fixture(params=["awk", "busybox"])
def home(request, tmp_path):
    """A server's account, whose awk is the machine's or busybox's."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/awk").symlink_to(
        shutil.which(request.param) or pytest.skip("There is no %s here." % request.param)
    )
    return tmp_path


def without_python(home, keys, present=True, alone=False, check=False, name="db1"):
    values = {
        "pairs": " ".join(keys), "name": name, "alone": "yes" if alone else "", "present": "yes" if present else "",
        "check": "yes" if check else "",
    }  # fmt: skip
    script = "".join("%s='%s'\n" % item for item in values.items()) + dump_server.RUN_WITHOUT_PYTHON
    environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


MINE = "restrict %s vmcore.kdump db1\n"
FILES = {
    "a new file": ("", [A], {}, MINE % A),
    "an open line of the host": ("%s root@db1.example.com\n# %s root@db1\n" % (A, A), [A], {}, "# %s root@db1\n" % A + MINE % A),
    "one key twice": (MINE % A + MINE % A, [A], {}, MINE % A),
    "two keys": (MINE % A, [A, B], {}, MINE % A + MINE % B),
    "alone": (MINE % A + MINE % B + "# x vmcore.kdump db1\n", [B], {"alone": True}, MINE % B + "# x vmcore.kdump db1\n"),
    "gone": (MINE % A + B + " x\n", [A, B], {"present": False, "alone": True}, B + " x\n"),
    "gone, another's": (A + " vmcore.kdump db2\n", [A], {"present": False, "alone": True}, A + " vmcore.kdump db2\n"),
    "a short key is part of no other": (B + " x\n", ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"], {},
                                        B + " x\n" + MINE % "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
}  # fmt: skip


@pytest.mark.parametrize("before, keys, how, after", list(FILES.values()), ids=list(FILES))
def test_without_python_the_file_holds_the_same_lines_as_with_it(home, before, keys, how, after):
    file = home / ".ssh/authorized_keys"
    file.write_text(before)
    word = "same" if before == after else "changed"
    assert without_python(home, keys, check=True, **how)[:2] == (0, word)
    assert file.read_text() == before
    assert without_python(home, keys, **how)[:2] == (0, word)
    assert file.read_text() == after
    if how.get("present", True):
        alone = how.get("alone", False)
        assert sorted(authorized_keys.edit(before, "db1", "", keys, alone).splitlines()) == sorted(after.splitlines())
    else:
        assert authorized_keys.removed(before, "db1", keys) == after
    assert without_python(home, keys, **how)[:2] == (0, "same")


@pytest.mark.parametrize("comment", ["controller@awx", "vmcore.kdump db2", "", "root@db11", "db1"])
@pytest.mark.parametrize("check", [False, True])
def test_without_python_nobody_elses_line_is_taken(home, comment, check):
    file = home / ".ssh/authorized_keys"
    before = "%s other\n%s %s\n" % (B, A, comment)
    file.write_text(before)
    code, out, said = without_python(home, [A], check=check)
    assert (code, out, said) == (0, "somebodys", "")
    assert file.read_text() == before and not (home / ".ssh/.authorized_keys.vmcore-kdump.tmp").exists()


@pytest.mark.parametrize("name, other", [("7", "07"), ("7", "7.0"), ("1e1", "10")])
def test_without_python_names_are_no_numbers(home, name, other):
    file = home / ".ssh/authorized_keys"
    theirs = "restrict %s vmcore.kdump %s\n" % (B, other)
    file.write_text(theirs)
    assert without_python(home, [A], alone=True, name=name)[:2] == (0, "changed")
    assert file.read_text() == theirs + "restrict %s vmcore.kdump %s\n" % (A, name)
