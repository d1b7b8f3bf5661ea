# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""propagate's pure parts: lines of authorized_keys and known_hosts, names, what ssh says; and the key, by ssh-keygen."""

import base64
import contextlib
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    authorize,
    authorized_keys,
    known_hosts,
    login,
    propagate,
    ssh,
)
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result, run
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Account, Host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.receiver_commands import is_host


def key(number, kind="ssh-ed25519"):
    name = kind.encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + b"%032d" % number
    return kind + " " + base64.b64encode(blob).decode()


A, B, C, RSA = key(1), key(2), key(3), key(4, "ssh-rsa")
COMMAND = authorized_keys.forced(["/usr/bin/python3", "-I", "-S", "/x/receive.pyz", "--host", "db1"])
OURS = "restrict,%s %s vmcore.kdump db1"

# --- authorized_keys -------------------------------------------------------------------------------------------------
LINES = {
    "a key alone": (A, ([], A, "")),
    "with a comment": ("  %s root@db1 again" % A, ([], A, "root@db1 again")),
    "options": ("no-pty,from=\"a,b c\" %s x" % A, (["no-pty", 'from="a,b c"'], A, "x")),
    "a quote within quotes": ('command="echo \\" ssh-rsa" %s' % A, (['command="echo \\" ssh-rsa"'], A, "")),
    "tabs": ("restrict\t" + A.replace(" ", "\t"), (["restrict"], A, "")),
    "another kind": (RSA, ([], RSA, "")),
    "a comment line": ("# " + A, None),
    "an empty line": ("", None),
    "no key": ("ssh-ed25519 AAAA x", None),
    "a kind that the key is not": ("ssh-rsa " + A.split()[1], None),
    "quotes that do not end": ('command="x %s' % A, None),
    "no base64": ("ssh-ed25519 \udcff\udcff", None),
}  # fmt: skip


@pytest.mark.parametrize("line, wanted", list(LINES.values()), ids=list(LINES))
def test_a_line_of_authorized_keys(line, wanted):
    assert authorized_keys.parse(line) == wanted


EDITS = {
    "a new file": ("", [A], False, OURS % (COMMAND, A)),
    "a last line without its end": ("x", [A], False, "x\n" + OURS % (COMMAND, A)),
    "nothing to do": (OURS % (COMMAND, A), [A], False, OURS % (COMMAND, A)),
    "an open line of the key": ("%s root@db1\n%s other" % (A, B), [A], False, OURS % (COMMAND, A) + "\n%s other" % B),
    "one key twice": ("%s\n%s two" % (A, A), [A], False, OURS % (COMMAND, A)),
    "what narrows it down stays": (
        'command="rm -rf /",from="192.0.2.1",no-pty,expiry-time="20300101" ' + A, [A], False,
        'restrict,%s,from="192.0.2.1",expiry-time="20300101" %s vmcore.kdump db1' % (COMMAND, A),
    ),
    "two keys during a rotation": (OURS % (COMMAND, A), [A, B], False, OURS % (COMMAND, A) + "\n" + OURS % (COMMAND, B)),
    "and one after it": (
        "# mine\n%s\n%s" % (OURS % (COMMAND, A), OURS % (COMMAND, B)), [B], True, "# mine\n" + OURS % (COMMAND, B),
    ),
    "other hosts' keys stay": ("%s vmcore.kdump db10" % B, [A], True, "%s vmcore.kdump db10\n" % B + OURS % (COMMAND, A)),
    "blank lines stay": ("x\n\n", [A], False, "x\n\n" + OURS % (COMMAND, A)),
}  # fmt: skip


@pytest.mark.parametrize("before, keys, alone, after", list(EDITS.values()), ids=list(EDITS))
def test_authorized_keys_edited(before, keys, alone, after):
    edited = authorized_keys.edit(before, "db1", COMMAND, keys, alone)
    assert edited == after + "\n"
    assert authorized_keys.edit(edited, "db1", COMMAND, keys, alone) == edited


PIECES = list('a \n\t",\\=#') + [A, B, "vmcore.kdump db1", "from="]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_whatever_the_file_holds_one_edit_is_enough_and_other_lines_stay(text):
    edited = authorized_keys.edit(text, "db1", COMMAND, [A])
    assert authorized_keys.edit(edited, "db1", COMMAND, [A]) == edited
    mine = [line for line in edited.split("\n") if authorized_keys.parse(line) and authorized_keys.parse(line).key == A]
    assert len(mine) == 1 and mine[0].startswith("restrict," + COMMAND)
    kept = [
        line for line in text.split("\n") if not (authorized_keys.parse(line) and authorized_keys.parse(line).key == A)
    ]
    assert [line for line in edited.split("\n") if line != mine[0] and line] == [line for line in kept if line]


def test_what_a_host_leaves_behind_is_taken_away():
    text = "# mine\n%s\n%s root@db1\n%s vmcore.kdump db2\n" % (OURS % (COMMAND, A), B, C)
    assert authorized_keys.others(text, "db1", [B]) == [A]
    assert authorized_keys.removed(text, "db1", [B]) == "# mine\n%s vmcore.kdump db2\n" % C


def test_a_key_of_another_host_is_neither_taken_over_nor_taken_away():
    text = "%s vmcore.kdump db2\n%s vmcore.kdump db1\n%s vmcore.kdumpling@db1\n" % (A, B, C)
    with pytest.raises(KdumpError) as error:
        authorized_keys.check_owner(text, "db1", [A, B])
    assert "is that of the host db2 on the dump server already" in str(error.value)
    authorized_keys.check_owner(text, "db1", [B, C])
    assert authorized_keys.removed(text, "db1", [A, C]) == "%s vmcore.kdump db2\n" % A


@pytest.mark.parametrize("comment", ["controller@awx", "", "db1", "root@db11", "root@db2.example.com"])
def test_a_line_that_does_not_name_the_host_is_somebodys(comment):
    text = "%s %s\n" % (A, comment)
    with pytest.raises(KdumpError) as error:
        authorized_keys.check_owner(text, "db1", [A])
    assert "by a line that does not name the host" in str(error.value) and "@db1" in str(error.value)
    assert authorized_keys.removed(text, "db1", [A]) == text


@pytest.mark.parametrize("comment, name", [
    ("root@db1", "db1"), ("root@db1", "db1.example.com"), ("root@db1.example.com", "db1"), ("kdump@db1.a", "db1.a"), ("root@DB1", "db1"),
])  # fmt: skip
def test_a_line_with_the_comment_of_a_key_of_the_host_is_its_own(comment, name):
    text = "%s %s\n" % (A, comment)
    authorized_keys.check_owner(text, name, [A])
    assert authorized_keys.removed(text, name, [A]) == ""


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "restrict " + A, A + "\n" + B, "ssh-ed25519 AAAA"])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(KdumpError):
        authorized_keys.key_of(text)


def test_a_command_is_quoted_for_the_shell_and_for_the_file():
    assert authorized_keys.forced(["python3", "--root", '/a "b"']) == """command="python3 --root '/a \\"b\\"'\""""


@given(st.text(max_size=200), st.text(max_size=200))
def test_every_name_of_a_host_becomes_one_that_the_receiver_takes(one, other):
    names = [authorized_keys.host_name(name) for name in (one, other)]
    assert all(is_host(name) for name in names)
    assert one == other or names[0] != names[1] or is_host(one) != is_host(other)


def test_usual_names_stay_as_they_are():
    assert [authorized_keys.host_name(name) for name in ("db1", "db-1.example.com", "2001:db8::1")] == [
        "db1", "db-1.example.com", "2001:db8::1",
    ]  # fmt: skip
    assert authorized_keys.host_name("../../etc").startswith("etc-")
    assert authorized_keys.host_name('db1" ssh-rsa\n').startswith("db1-ssh-rsa-")


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path):
    (tmp_path / "key.pub").write_text(A + "\n")
    told = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")], stdout=subprocess.PIPE, check=True)
    assert authorized_keys.fingerprint(A) in told.stdout.decode().split()


# --- known_hosts -----------------------------------------------------------------------------------------------------
WITHOUT = {
    "its line": ("server %s\nother %s\n" % (A, B), "other %s\n" % B),
    "one of its names": ("a,server,192.0.2.1 %s x\n" % A, "a,192.0.2.1 %s x\n" % A),
    "a port of its own is another name": ("[server]:2222 %s\n" % A, "[server]:2222 %s\n" % A),
    "a pattern for others too": ("*.example,server %s\n" % A, "*.example %s\n" % A),
    "a pattern for it and others": ("s*,server %s x\n" % A, "s*,!server %s x\n" % A),
    "an authority and what is revoked": (
        "@cert-authority * %s\n@revoked server %s\n" % (A, B), "@cert-authority * %s\n@revoked server %s\n" % (A, B),
    ),
}  # fmt: skip


@pytest.mark.parametrize("before, after", list(WITHOUT.values()), ids=list(WITHOUT))
def test_a_server_forgotten(before, after):
    assert known_hosts.without(before, "server") == after


def test_a_server_whose_name_is_hashed_is_forgotten(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text("server %s\nother %s\n" % (A, B))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, stderr=subprocess.DEVNULL)
    left = known_hosts.without(file.read_text(), "server")
    assert A not in left and B in left


def test_only_what_was_written_here_goes_with_the_host():
    text = "server %s\nserver %s vmcore.kdump\n" % (A, B)
    assert known_hosts.without(text, "server", ours=True) == "server %s\n" % A
    assert known_hosts.added("x", "server", [A]) == "x\nserver %s vmcore.kdump\n" % A


@pytest.mark.parametrize("lines, wanted, pinned", [
    (["server " + A], [A], True),
    (["server " + A, "server " + RSA], [A], True),  # of other kinds nothing was said
    (["server " + A, "server " + B], [A], False),  # the old key beside the new one
    (["server " + B], [A], False),
    (["@revoked server " + A], [A], False),
    ([], [A], False),
])  # fmt: skip
def test_whether_keys_are_pinned(lines, wanted, pinned):
    assert known_hosts.are_pinned(lines, wanted) is pinned


# --- the login -------------------------------------------------------------------------------------------------------
CHANGED = "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\nHost key verification failed.\n"
LOGINS = {
    "a list of dumps": (0, '[{"path": "x"}]\n', "", "receiver"),
    "no dumps": (0, "[]", "", "receiver"),
    "a shell that knows no such command": (127, "", "sh: vmcore-kdump: not found\n", "shell"),
    "something else that ends well": (0, "Welcome!\n", "", "shell"),
    "nested without end": (0, "[" * 100000, "", "shell"),
    "a receiver that cannot": (1, "", "vmcore.kdump: The directory /srv cannot be used.\n", "refused"),
    "a key that is not accepted": (255, "", "kdump@server: Permission denied (publickey).\n", "denied"),
    "another host key": (255, "", CHANGED, "unknown"),
    "no host key": (255, "", "No ED25519 host key is known for server …\nHost key verification failed.\n", "unknown"),
    "no route": (255, "", "ssh: connect to host 192.0.2.1 port 22: No route to host\n", "unreachable"),
    "a login that does not end": (-1, "", "ssh did not end within 120 seconds", "unreachable"),
}  # fmt: skip
SERVER = ssh.Server("kdump", "server", ["192.0.2.1", "2001:db8::1"], 22, "server", ["/etc/ssh/ssh_known_hosts"])


@pytest.mark.parametrize("code, out, said, result", list(LOGINS.values()), ids=list(LOGINS))
def test_what_a_login_came_to(code, out, said, result):
    tried = login.judge(code, out, said)
    assert tried.result == result
    problem = login.problem(tried, SERVER)
    assert (problem is None) == (result == "receiver")
    assert problem is None or (problem.hint and "{" not in problem.message)


class FakeHost(Host):
    """ssh answers by a table of addresses; ssh-keygen is the real one; nobody waits."""

    def __init__(self, root, answers=()):
        super().__init__(str(root), self._program)
        self.answers = dict(answers)
        self.asked = []
        self.waited = []
        self.true = 0
        self.said = "hostname server\nport 22\n"
        for name in ("ssh", "ssh-keygen", "ssh-keyscan"):
            self.write("/usr/bin/" + name, b"", 0o755)

    def _program(self, argv, **options):
        if argv[:2] == ["ssh", "-G"]:
            return Result(argv, 0, self.said, "")
        if argv[0] == "ssh":
            self.asked.append(argv)
            if argv[-1] == "true":
                return Result(argv, self.true, "", "")
            given = self.answers[argv[-5].partition("@")[2]]
            return Result(argv, *(given.pop(0) if isinstance(given, list) else given))
        if argv[0] == "ssh-keyscan":
            return Result(argv, 0, "# 192.0.2.1:22 SSH-2.0\n192.0.2.1 %s\n" % A, "")
        return run(argv, **options)

    def resolve(self, name):
        return ["192.0.2.1", "2001:db8::1"]

    def sleep_about(self, seconds):
        self.waited.append(seconds)


NO_ROUTE, RECEIVER = (255, "", "ssh: connect: No route to host\n"), (0, "[]", "")
TURNED_AWAY = (255, "", "kex_exchange_identification: Connection closed by remote host\n")


def test_every_address_is_tried_with_the_options_of_the_capture(tmp_path):
    host = FakeHost(tmp_path, {"192.0.2.1": NO_ROUTE, "2001:db8::1": RECEIVER})
    assert login.attempt(host, SERVER, "/root/.ssh/kdump", "db1").result == "receiver"
    options = ssh.options(host.path("/root/.ssh/kdump"), "/etc/ssh/ssh_known_hosts", "server", 22, 20)
    assert host.asked[1] == ["ssh"] + options + ["kdump@2001:db8::1", "vmcore-kdump", "list", "--host", "db1"]


@pytest.mark.parametrize("true, result", [(0, "shell"), (1, "refused")])
def test_an_account_without_a_shell_is_no_account_for_dumps(tmp_path, true, result):
    host = FakeHost(tmp_path, {"192.0.2.1": (1, "", "This account is currently not available.\n")})
    host.true = true
    tried = login.attempt(host, SERVER, "/key", "db1")
    assert tried.result == result and "not available" in tried.said


def test_a_server_that_has_too_many_logins_at_once_is_asked_again(tmp_path):
    host = FakeHost(tmp_path, {"192.0.2.1": [TURNED_AWAY, TURNED_AWAY, RECEIVER]})
    assert login.attempt(host, SERVER, "/key", "db1").result == "receiver" and host.waited == [1, 2]
    host = FakeHost(tmp_path, {"192.0.2.1": [TURNED_AWAY] * 5, "2001:db8::1": NO_ROUTE})
    assert login.attempt(host, SERVER, "/key", "db1").result == "unreachable" and host.waited == [1, 2, 4, 8]


# --- the host --------------------------------------------------------------------------------------------------------
KEY = "/root/.ssh/kdump"


def params(**given):
    usual = {
        "state": "present", "server": "server", "user": "kdump", "key": KEY, "path": "/var/crash", "name": "db1",
        "host_keys": [A], "accept_new": False, "rotate": False, "remove_key": False, "server_part": "later", "receiver": True,
        "_check": False, "_new": False,
    }  # fmt: skip
    return dict(usual, **given)


def bring(host, **given):
    plan = propagate.decide(host, params(**given))
    plan.apply(host)
    assert not propagate.decide(host, params(**given)).changed
    return plan


def test_a_host_without_anything(tmp_path):
    host = FakeHost(tmp_path, {"192.0.2.1": RECEIVER})
    plan = bring(host)
    assert plan.actions == ["make the key " + KEY, "write /etc/ssh/ssh_known_hosts"]
    assert "PRIVATE" not in str(plan.diff())
    assert host.stat(KEY).st_mode & 0o777 == 0o600 and host.stat("/root/.ssh").st_mode & 0o777 == 0o700
    assert host.read_text(KEY + ".pub").split()[2:] == ["vmcore.kdump", "db1"]
    assert host.listdir("/run/vmcore-kdump") == []
    told = propagate.report(host, params(server_part="done"))
    assert told["verified"] and told["restricted"] and told["public_key"] == host.read_text(KEY + ".pub").strip()
    assert told["host_keys"] == [A]


def test_a_key_that_others_can_read_is_closed_and_its_public_half_put_right(tmp_path):
    host = FakeHost(tmp_path)
    bring(host)
    host.chmod(KEY, 0o644)
    host.write(KEY + ".pub", b"ssh-ed25519 AAAA something else\n")
    assert bring(host).actions == ["close %s to others" % KEY]
    assert host.stat(KEY).st_mode & 0o777 == 0o600 and authorized_keys.parse(host.read_text(KEY + ".pub")) is not None


def test_a_key_is_made_for_fips_where_that_counts(tmp_path):
    host = FakeHost(tmp_path)
    host.write("/proc/sys/crypto/fips_enabled", b"1\n")
    bring(host)
    assert host.read_text(KEY + ".pub").startswith("ecdsa-sha2-nistp256 ")


def test_a_host_key_that_nobody_vouches_for_is_pinned_only_where_that_was_asked_for(tmp_path):
    host = FakeHost(tmp_path)
    assert bring(host, host_keys=[]).actions == ["make the key " + KEY]
    assert bring(host, host_keys=[], accept_new=True).actions == ["write /etc/ssh/ssh_known_hosts"]
    host.write("/etc/ssh/ssh_known_hosts", ("server %s\n" % B).encode())
    assert not bring(host, host_keys=[], accept_new=True).changed


def test_check_mode_foresees_what_the_packages_bring(tmp_path):
    host = FakeHost(tmp_path)
    for name in ("ssh", "ssh-keygen", "ssh-keyscan"):
        host.remove("/usr/bin/" + name)
    host.run = lambda argv, **options: Result(argv, -1, "", "not there")
    given = params(host_keys=[], accept_new=True, _check=True)
    assert propagate.decide(host, given).actions == ["make the key " + KEY, "pin what server shows"]
    assert propagate.report(host, given)["login"] == ""
    with pytest.raises(KdumpError):
        propagate.decide(host, params())
    host.write(KEY, b"x", 0o600)
    host.write(KEY + ".pub", A.encode())
    assert propagate.decide(host, dict(given, accept_new=False)).actions == []  # nobody can read the key yet
    assert propagate.report(host, given)["login"] == ""


def test_no_file_for_the_servers_keys_is_a_sentence(tmp_path):
    host = FakeHost(tmp_path)
    host.said = "hostname server\nport 22\nglobalknownhostsfile none\nuserknownhostsfile none\n"
    with pytest.raises(KdumpError) as error:
        propagate.decide(host, params())
    assert "names no file of known hosts" in str(error.value)


def test_a_host_forgets_a_server_that_has_no_address_any_more(tmp_path):
    host = FakeHost(tmp_path)
    bring(host)
    host.resolve = lambda name: []
    with pytest.raises(KdumpError):
        propagate.decide(host, params())
    gone = {"state": "absent", "server_part": "done", "remove_key": True}
    assert bring(host, **gone).actions == ["write /etc/ssh/ssh_known_hosts", "remove the key " + KEY]


def test_a_pattern_that_stands_for_the_server_too_gives_way_to_its_own_key(tmp_path):
    host = FakeHost(tmp_path)
    host.write("/etc/ssh/ssh_known_hosts", ("s* %s\n" % B).encode())
    bring(host)
    lines = host.read_text("/etc/ssh/ssh_known_hosts")
    assert ssh.matching(lines, "server") == ["server %s vmcore.kdump" % A]
    assert ssh.matching(lines, "server2") == ["s*,!server " + B]


def test_a_rotation_keeps_the_key_in_use_until_the_next_one_has_logged_in(tmp_path):
    denied = (255, "", "Permission denied (publickey).\n")
    host = FakeHost(tmp_path, {"192.0.2.1": [denied, RECEIVER, RECEIVER]})
    bring(host)
    old = host.read(KEY)
    propagate.decide(host, params(rotate=True)).apply(host)
    assert not propagate.decide(host, params(rotate=True)).changed  # the next key is there
    with pytest.raises(KdumpError) as error:
        propagate.decide(host, params(server_part="done")).apply(host)
    assert "The key in use stays as it is." in str(error.value) and host.read(KEY) == old
    bring(host, server_part="done")
    assert host.read(KEY) != old and host.listdir("/root/.ssh") == ["kdump", "kdump.pub"]


def test_a_host_that_goes_leaves_what_others_have_made(tmp_path):
    host = FakeHost(tmp_path)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", str(tmp_path / "own")], check=True
    )
    bring(host)
    gone = {"state": "absent", "server_part": "done", "remove_key": True}
    host.write("/etc/ssh/ssh_known_hosts", host.read("/etc/ssh/ssh_known_hosts") + ("server %s\n" % RSA).encode())
    assert bring(host, **gone).actions == ["write /etc/ssh/ssh_known_hosts", "remove the key " + KEY]
    assert host.read_text("/etc/ssh/ssh_known_hosts") == "server %s\n" % RSA and host.listdir("/root/.ssh") == []
    host.write(KEY, (tmp_path / "own").read_bytes(), 0o600)
    host.write(KEY + ".pub", (tmp_path / "own.pub").read_bytes())
    assert not bring(host, **gone).changed


def test_without_a_server_it_is_that_of_kdump_conf(tmp_path):
    host = FakeHost(tmp_path)
    with pytest.raises(KdumpError) as error:
        propagate.decide(host, params(server="", user=""))
    assert "No dump server is named" in str(error.value)
    host.write("/etc/kdump.conf", b"ssh kdump@server\nsshkey /root/other\npath /srv/x\n")
    told = propagate.report(host, params(server="", user="", key="", path="", _check=True))
    assert (told["user"], told["server"], told["directory"]) == ("kdump", "server", "/srv/x")
    assert propagate.decide(host, params(server="", user="", key="")).actions[0] == "make the key /root/other"


# --- the server ------------------------------------------------------------------------------------------------------
class ServerHost(Host):
    """Accounts by a table, all of them this process's; sshd -T by a text."""

    def __init__(self, root, effective=""):
        super().__init__(str(root), lambda argv, **options: Result(argv, 0, effective, ""))
        self.write("/usr/sbin/sshd", b"", 0o755)
        self.make_directories("/home/kdump")
        self.make_directories("/var/crash")

    def account(self, name=""):
        uid = os.geteuid()
        return {name: Account("kdump", uid, os.getegid(), "/home/kdump")}.get(name if name != "nobody" else None)


def request(**given):
    usual = {
        "state": "present", "user": "kdump", "name": "db1", "public_keys": [A], "path": "/var/crash", "exclusive": False,
        "receiver": True, "_check": False,
    }  # fmt: skip
    return dict(usual, **given)


def decide(host, **given):
    return authorize.decide(host, request(**given), "/opt/python", b"program")


def test_the_server_lets_a_key_in_and_takes_it_away(tmp_path):
    host = ServerHost(tmp_path)
    host.write("/usr/bin/python3", b"", 0o755)
    plan = decide(host)
    plan.apply(host)
    assert plan.actions == ["write /home/kdump/.vmcore-kdump/receive.pyz", "write /home/kdump/.ssh/authorized_keys"]
    assert not decide(host).changed
    command = "/usr/bin/python3 -I -S /home/kdump/.vmcore-kdump/receive.pyz --root /var/crash --host db1"
    wanted = 'restrict,command="%s" %s vmcore.kdump db1\n' % (command, A)
    assert host.read_text("/home/kdump/.ssh/authorized_keys") == wanted
    assert host.stat("/home/kdump/.ssh").st_mode & 0o777 == 0o700
    with pytest.raises(KdumpError):
        decide(host, name="db2")
    decide(host, public_keys=[A, B]).apply(host)
    told = [authorize.report(host, request(public_keys=keys, exclusive=alone)) for keys, alone in (
        ([B], False), ([B], True), ([A, B], False))]  # fmt: skip
    assert [one["others"] for one in told] == [1, 1, 0]
    assert [["two inventories" in text for text in one["warnings"]] for one in told] == [[True], [], []]
    decide(host, public_keys=[B], exclusive=True).apply(host)
    assert authorize.report(host, request(public_keys=[B]))["others"] == 0
    decide(host, state="absent", public_keys=[]).apply(host)
    assert host.read_text("/home/kdump/.ssh/authorized_keys") == ""


def test_the_receiver_of_the_role_is_taken_where_its_root_is_the_accounts(tmp_path):
    host = ServerHost(tmp_path)
    host.write("/usr/local/lib/vmcore-kdump/receive.pyz", b"x")
    host.write("/etc/vmcore-kdump/server.json", b'{"root": "/var/crash"}')
    decide(host).apply(host)
    assert "/opt/python -I -S /usr/local/lib/vmcore-kdump/receive.pyz --host db1" in host.read_text(
        "/home/kdump/.ssh/authorized_keys"
    )
    with pytest.raises(KdumpError, match="account kdump is one of the role vmcore.kdump.server"):
        decide(host, receiver=False)
    host.write("/etc/vmcore-kdump/server.json", b'{"root": "/srv/of/another"}')
    assert "--root /var/crash" in str(decide(host).diff())


def test_a_key_that_is_not_to_be_held_to_the_receiver(tmp_path):
    host = ServerHost(tmp_path)
    decide(host).apply(host)
    decide(host, receiver=False).apply(host)
    assert host.read_text("/home/kdump/.ssh/authorized_keys") == "restrict %s vmcore.kdump db1\n" % A
    shell = (127, "", "sh: vmcore-kdump: not found\n")
    client = FakeHost(tmp_path / "client", {"192.0.2.1": [shell, shell, RECEIVER]})
    bring(client)
    told = [propagate.report(client, params(receiver=receiver)) for receiver in (False, True, False)]
    assert [one["settled"] for one in told] == [True, False, False]
    assert [len(one["warnings"]) for one in told] == [0, 1, 0]


@pytest.mark.parametrize("setting, file", [
    ("", "/home/kdump/.ssh/authorized_keys"),
    (".ssh/authorized_keys .ssh/authorized_keys2", "/home/kdump/.ssh/authorized_keys"),
    ("/etc/keys/%u", "/etc/keys/kdump"),
    ("%h/k%%%u", "/home/kdump/k%kdump"),
])  # fmt: skip
def test_where_sshd_looks_for_keys(tmp_path, setting, file):
    host = ServerHost(tmp_path, "authorizedkeysfile %s\n" % setting if setting else "")
    decide(host).apply(host)
    assert A in host.read_text(file)


REFUSED = {
    "sshd takes none": ("authorizedkeysfile none\n", {}, "AuthorizedKeysFile none"),
    "no keys": ("", {"public_keys": []}, "No public key of the host"),
    "no key": ("", {"public_keys": ["x"]}, "is no public key"),
    "no absolute path": ("", {"path": "var"}, "is no directory for dumps"),
    "two lines": ("", {"path": "/var\nx"}, "is no directory for dumps"),
    "nobody": ("", {"user": "nobody"}, "There is no account nobody on the dump server"),
}


@pytest.mark.parametrize("effective, given, words", list(REFUSED.values()), ids=list(REFUSED))
def test_what_the_server_refuses(tmp_path, effective, given, words):
    with pytest.raises(KdumpError) as error:
        decide(ServerHost(tmp_path, effective), **given)
    assert words in str(error.value)


def test_in_check_mode_the_account_need_not_be_there_yet(tmp_path):
    host = ServerHost(tmp_path)
    assert decide(host, user="nobody", _check=True).changed
    assert authorize.report(host, request(user="nobody", _check=True))["others"] == 0


class OwnedHost(ServerHost):
    """Run by root for an account that may do something in some directories alone; `used`: as whom, one after the other."""

    def __init__(self, root, *its_own):
        super().__init__(root)
        self.its_own = its_own
        self.used = []
        self.runs_as = 0

    def account(self, name=""):
        if name == "kdump":
            return Account("kdump", 1234, 1234, "/home/kdump")
        return Account("root", 0 if name == "root" else self.runs_as, 0, "/root")

    @contextlib.contextmanager
    def as_account(self, account):
        self.used.append(account.uid)
        yield

    def stat(self, path):
        found = super().stat(path)
        owner = 1234 if self.realpath(path) in self.its_own else 0
        return found and os.stat_result([*found[:4], owner, *found[5:10]])

    def is_writable(self, path):
        return self.realpath(path) in self.its_own


@pytest.mark.parametrize("its_own, owner", [
    ([], 0), (["/srv/of-others/keys"], 1234), (["/srv/of-others"], 1234), (["/home/kdump"], 1234), (["/home"], 1234),
])  # fmt: skip
def test_root_writes_only_where_the_account_can_lead_it_nowhere(tmp_path, its_own, owner):
    host = OwnedHost(tmp_path, *its_own)
    host.make_directories("/srv/of-others/keys")
    host.symlink("/srv/of-others/keys", "/home/kdump/.ssh")  # made by the account, where the home is its own
    decide(host, receiver=False).apply(host)
    assert host.used[-1] == owner
    mode = host.stat("/srv/of-others/keys/authorized_keys").st_mode & 0o777
    assert mode == (0o600 if owner else 0o644)


def test_an_account_is_told_that_its_keys_are_roots(tmp_path):
    host = OwnedHost(tmp_path)
    host.runs_as = 1234
    with pytest.raises(KdumpError) as error:
        decide(host, receiver=False)
    assert "Only root can write /home/kdump/.ssh/authorized_keys" in str(error.value)


def test_its_host_keys_are_those_that_sshd_has(tmp_path):
    host = ServerHost(tmp_path, "hostkey /etc/own\n")
    host.write("/etc/own.pub", (A + " root@server\n").encode())
    assert authorize.host_keys(host) == [A]
    host = ServerHost(tmp_path)
    host.write("/etc/ssh/ssh_host_rsa_key.pub", (RSA + "\n").encode())
    assert authorize.host_keys(host) == [RSA]
