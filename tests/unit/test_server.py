# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What makes a dump server of a host: files, and what sshd and the NFS server say to them. For real:
tests/integration/test_server.py."""

import os

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    layout,
    receiver,
    receiver_settings,
    server,
    server_nfs,
    server_sshd,
)
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"
PARAMS = {
    "state": "present", "user": "kdump", "root": "/srv/vmcore-kdump", "quota_host": "1.5T", "quota_total": "0", "min_free": "1G",
    "connections": 4, "idle": 1800, "keep_count": 5, "keep_days": None, "keep_free": None, "nfs": {}, "_check": False,
}  # fmt: skip


class Machine(Host):
    """Files below a directory; sshd, exportfs, getent and systemctl as they are told to answer."""

    def __init__(self, root):
        super().__init__(str(root), self.answer)
        self.ran = []
        self.refuses = {}  # the last words of a command line: (exit code, what it says)
        for name in ("sshd", "exportfs"):
            self.put("/usr/sbin/" + name, "#!")
            os.chmod(str(root) + "/usr/sbin/" + name, 0o755)
        self.put("/run/systemd/system/x", "")
        self.put("/usr/lib/systemd/system/ssh.service", "")
        self.put(server_sshd.CONFIG, INCLUDE)

    def put(self, path, text):
        self.write(path, text.encode())

    def answer(self, argv, **options):
        line = " ".join(argv)
        self.ran.append(line)
        for words, (code, said) in self.refuses.items():
            if words in line:
                return Result(argv, code, "", said)
        out = ""
        if argv[0] == "getent":
            out = "kdump:x:995:990:Takes vmcores:/var/lib/vmcore-kdump-server:/bin/sh\n"
        elif argv[1:2] == ["-T"]:
            out = "".join("%s %s\n" % (name.lower(), value) for name, value in server_sshd._SETTINGS.items())
        elif argv[1:2] == ["-s"]:
            out = self.read_text(server_nfs.PATH, "").replace("(", " (")
        return Result(argv, 0, out, "")


@pytest.fixture
def host(tmp_path):
    return Machine(tmp_path)


def bring(host, **params):
    params = dict(PARAMS, **params)
    plan = server.decide(host, params, "/usr/bin/python3", receiver.__name__)
    plan.apply(host)
    assert server.decide(host, params, "/usr/bin/python3", receiver.__name__).actions == []
    return plan.actions, server.report(host, params)


def test_present_and_absent(host, tmp_path):
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    actions, found = bring(host)
    assert found["settings"]["quota_host"] == 3 << 39 and found["settings"]["keep_days"] == 0
    assert (
        found["program"]["path"] == layout.RECEIVER and len(found["program"]["digest"]) == 64 and found["exports"] == []
    )
    assert host.ran.count("systemctl try-reload-or-restart ssh.service") == 1
    assert "User=kdump\n" in host.read_text(server.SERVICE) and "ReadWritePaths=/srv/vmcore-kdump\n" in host.read_text(
        server.SERVICE
    )
    bring(host, nfs={"web1": ["192.0.2.11"]})
    bring(host, state="absent")
    # a home for a unit, a drop-in and exports is the distribution's
    left = {"/etc/exports.d", "/etc/ssh/sshd_config.d", "/etc/systemd", "/etc/systemd/system",
            "/etc/systemd/system/timers.target.wants", "/usr/local", "/usr/local/lib"}  # fmt: skip
    assert {path[len(str(tmp_path)) :] for path in map(str, tmp_path.rglob("*"))} - {
        path[len(str(tmp_path)) :] for path in before
    } == left


@pytest.mark.parametrize("text", ["", "{", '{"root": "/srv/x", "of another version": 1}'])
def test_settings_that_cannot_be_understood_are_replaced(host, text):
    """The role's first task is check mode, and must not fail for what its last one mends."""
    host.put(receiver_settings.PATH, text)
    params = dict(PARAMS, _check=True)
    assert server.decide(host, params, "/usr/bin/python3", receiver.__name__).changed
    assert server.report(host, params)["settings"] is None
    assert bring(host)[1]["settings"]["root"] == "/srv/vmcore-kdump"


WRONG = {
    "sizes": ({"quota_host": "a lot", "keep_free": "-1"}, ["quota_host is a lot", "keep_free is -1"]),
    "the root": ({"root": "/"}, ["The root / is no"]),
    "a root with a blank": ({"root": "/srv/my dumps"}, ["no absolute path of letters"]),
    "a root that climbs": ({"root": "/srv/../etc"}, ["no absolute path of letters"]),
    "the root, as a tired person writes it": ({"root": "/."}, ["no absolute path of letters"]),
    "what others use too": ({"root": "/srv/"}, ["The root /srv/ is not for dumps alone"]),
    "the system's": ({"root": "/usr/local/dumps"}, ["is not for dumps alone"]),
    "root": ({"user": "root"}, ["root cannot be the account"]),
    "an option of useradd": ({"user": "-x"}, ["cannot be the account"]),
    "no connection": ({"connections": 0}, ["from 1 on"]),
    "exports": (
        {"nfs": {"../x": ["a"], "web1": ["a(rw) b", "*(rw)"], "web2": [], "web3": ["-no_all_squash"]}},
        ["client -no_all_squash", "The export ../x", "client a(rw) b", "client *(rw)", "web2 has no client"]),
}  # fmt: skip


@pytest.mark.parametrize("params,expected", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_at_once(host, params, expected):
    with pytest.raises(KdumpError) as error:
        server.decide(host, dict(PARAMS, **params), "/usr/bin/python3", receiver.__name__)
    assert [text for text in expected if text not in str(error.value)] == []


def test_an_account_is_needed_outside_check_mode(host):
    host.refuses["getent"] = (2, "")
    with pytest.raises(KdumpError, match="There is no account kdump"):
        server.decide(host, PARAMS, "/usr/bin/python3", receiver.__name__)
    assert server.decide(host, dict(PARAMS, _check=True), "/usr/bin/python3", receiver.__name__).changed


@pytest.mark.parametrize("root", ["/dumps", "/var/crash/", "/srv/vmcore-kdump", "/home/dumps", "/users/dumps"])
def test_a_root_of_its_own(root):
    assert server.settings(dict(PARAMS, root=root)).root == root.rstrip("/")


SIZES = {
    "0": 0, "1": 1, "1K": 1024, "500G": 500 << 30, "1.5T": 3 << 39, "10 MiB": 10 << 20, "2gb": 2 << 30, "": None, "x": None, "-1": None, "1P": None,
    "1e3": None, "\u0661": None, "9" * 16: None, "1.2.3": None, "inf": None,
}  # fmt: skip


@pytest.mark.parametrize("text,expected", SIZES.items())
def test_sizes(text, expected):
    assert server.bytes_of(text) == expected


# --- sshd ------------------------------------------------------------------------------------------------------------
INCLUDES = {
    INCLUDE: True, 'Include "/etc/ssh/sshd_config.d/*.conf"\n': True, "include=/etc/ssh/sshd_config.d/*.conf": True, "UsePAM yes\n": False,
    "#Include /etc/ssh/sshd_config.d/*.conf\n": False, "Match all\nInclude /etc/ssh/sshd_config.d/*.conf\n": False,
    "Include /etc/ssh/other/*.conf\n": False, "": False,
}  # fmt: skip


@pytest.mark.parametrize("text,expected", INCLUDES.items())
def test_whether_sshd_reads_a_file_of_ours(text, expected):
    assert server_sshd.includes(text) is expected


@pytest.mark.parametrize("text", ["UsePAM yes\n", "UsePAM yes\nMatch User x\n  PermitTTY no\n"])
def test_without_such_files_a_block_stands_at_the_end(host, text):
    host.put(server_sshd.CONFIG, text)
    bring(host)
    now = host.read_text(server_sshd.CONFIG)
    assert now.startswith(text) and "\nMatch User kdump\n" in now and now.endswith("Match all\n# END vmcore.kdump\n")
    assert not host.exists(server_sshd.DROP_IN)
    bring(host, user="other")
    assert host.read_text(server_sshd.CONFIG) == now.replace("User kdump", "User other")
    bring(host, state="absent")
    assert host.read_text(server_sshd.CONFIG) == text


@pytest.mark.parametrize(
    "words, why", [("try-reload-or-restart", "could not be reloaded"), ("start vmcore-kdump-retain", "failed")]
)
def test_what_systemd_does_not_do_is_tried_again(host, words, why):
    host.refuses = {words: (1, "Job failed."), "is-active": (3, "")}
    for _turn in range(2):
        with pytest.raises(KdumpError, match=why + ".*Job failed"):
            bring(host)
    host.refuses = {}
    bring(host)


def test_what_sshd_refuses_is_taken_back(host):
    host.refuses["sshd -t"] = (255, "/etc/ssh/sshd_config: line 3: Bad configuration option: DisableForwarding")
    with pytest.raises(KdumpError, match="taken back: .*Bad configuration option"):
        bring(host)
    assert not host.exists(server_sshd.DROP_IN) and host.read_text(server_sshd.CONFIG) == INCLUDE
    assert not any("try-reload" in line for line in host.ran)


SET = {name.lower(): [value] for name, value in server_sshd._SETTINGS.items()}
EFFECTIVE = {
    "all well": ({}, []),
    "a terminal": ({"permittty": ["yes"]}, ["`PermitTTY yes`"]),
    "another command": ({"forcecommand": ["internal-sftp"]}, ["`ForceCommand internal-sftp`"]),
    "other keys": ({"authorizedkeysfile": ["/etc/keys/%u"]}, ["`AuthorizedKeysFile /etc/keys/%u`"]),
    "others only": ({"allowusers": ["admin", "root"]}, ["its allowusers names others only"]),
    "the account too": ({"allowusers": ["admin", "kdump@10.0.0.0/8"]}, []),
    "everybody": ({"allowusers": ["*"]}, []),
    "other groups": ({"allowgroups": ["wheel"]}, ["its allowgroups"]),
    "denied": ({"denyusers": ["kdump"]}, ["its denyusers names it"]),
    "no keys": ({"pubkeyauthentication": ["no"]}, ["takes no keys"]),
}  # fmt: skip


@pytest.mark.parametrize("more,expected", EFFECTIVE.values(), ids=EFFECTIVE)
def test_what_sshd_goes_by(more, expected):
    problems = server_sshd.wrong(dict(SET, **more), "kdump")
    assert len(problems) == len(expected) and all(text in str(problem) for text, problem in zip(expected, problems))


# --- NFS -------------------------------------------------------------------------------------------------------------
def test_exports():
    text = server_nfs.text("/srv/v", {"web2": ["192.0.2.0/24"], "web1": ["192.0.2.11", "2001:db8::11"]}, 995, 990)
    options = "(rw,sync,subtree_check,all_squash,anonuid=995,anongid=990)"
    assert text.split("\n")[1:] == [
        "/srv/v/web1 192.0.2.11%s 2001:db8::11%s" % (options, options), "/srv/v/web2 192.0.2.0/24" + options, ""]  # fmt: skip
    assert server_nfs.text("/srv/v", {}, 995, 990) == ""


def test_what_the_nfs_server_does_not_export_is_taken_back(host):
    bring(host, nfs={"web1": ["192.0.2.11"]})
    before = host.read_text(server_nfs.PATH)
    host.refuses["exportfs -s"] = (0, "")
    host.refuses["exportfs -ra"] = (0, "exportfs: Failed to stat /srv/vmcore-kdump/web2: No such file or directory")
    with pytest.raises(KdumpError, match="web2 is not exported: exportfs: Failed to stat"):
        bring(host, nfs={"web1": ["192.0.2.11"], "web2": ["192.0.2.12"]})
    assert host.read_text(server_nfs.PATH) == before


def test_settings_reach_the_receiver(host):
    bring(host, keep_days=30)
    assert receiver_settings.parse(host.read_text(receiver_settings.PATH)).keep_days == 30
