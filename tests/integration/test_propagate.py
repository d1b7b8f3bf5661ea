# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""propagate with a real sshd and a real ansible-playbook, in namespaces of their own. See propagate_world.py."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest
from conftest import ROOT
from propagate_world import PASSWORD, World, propagate
from ssh_server import sshd_path

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sshd_path() is None or shutil.which("unshare") is None,
    reason="needs root, sshd and namespaces",
)

KEYS = "/home/kdump/.ssh/authorized_keys"
PINS = "/etc/ssh/ssh_known_hosts"
FORCED = 'restrict,command="/usr/bin/python3 -I -S {program} --host {name}"'
AT_HOME = "/home/kdump/.vmcore-kdump/receive.pyz --root /var/crash"


@pytest.fixture(scope="module")
def one_world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.stop()


@pytest.fixture
def world(one_world):
    one_world.clean()
    return one_world


def play(world, ansible, *tasks, **options):
    """What the tasks returned; with a failed one, what it said."""
    return world.task(ansible, *tasks, **options)[0]


def key_of(world, path="/root/.ssh/kdump"):
    return " ".join(world.read(path + ".pub").split()[:2])


def line(world, name="db1", program=AT_HOME, more="", key=None):
    return f"{FORCED.format(program=program, name=name)}{more} {key or key_of(world)} vmcore.kdump {name}"


def by_inventory(*more, **options):
    """The three tasks for a server that is a host of the inventory."""
    later, done = propagate(server_part="later", **options), propagate(server_part="done", **options)
    later["register"] = "key"
    there = {
        "vmcore.kdump.authorized_key": {
            "user": "kdump", "name": "{{ key.name }}", "public_keys": "{{ key.public_keys }}", "path": "{{ key.directory }}",
        },
        "delegate_to": "dumps", "register": "server",
        "when": "not key.settled and key.public_keys | length > 0",
    }  # fmt: skip
    done["vmcore.kdump.propagate"]["host_keys"] = "{{ server.host_keys }}"
    done["when"] = "server is not skipped"
    return [{"block": [dict(task, name="Part") for task in (later, there, done)]}, *more]


# --- with a password -----------------------------------------------------------------------------------------------
class Watch:
    """Looks for a word in the command lines of all processes, while it is open."""

    def __init__(self, word):
        self.word = word.encode()
        self.found = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *dummy):
        self.over.set()
        self.thread.join()

    def _look(self):
        while not self.over.wait(0.02):
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if self.word in path.read_bytes():
                        self.found.append(path.read_bytes())
                except OSError:
                    continue


def test_with_a_password_from_nothing_to_a_login_and_then_nothing_more(world, ansible):
    world.controller_knows(world.host_key())
    asked = propagate(password="{{ lookup('ansible.builtin.file', '/srv/secret') }}")
    world.run("tee", "/srv/secret", data=PASSWORD)
    looked = play(world, ansible, asked, check_mode=True)[0]
    assert (looked["failed"], looked["changed"], looked["public_key"]) == (False, True, ""), looked
    assert not world.exists("/root/.ssh/kdump") and not world.authorized() and not world.exists(PINS)
    more = {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_LOG_PATH": "/srv/ansible.log"}
    with Watch(PASSWORD) as watch:
        results, printed = world.task(ansible, asked, asked, verbose=True, environment=more)
    first, second = results
    assert not first["failed"] and first["changed"] and first["verified"] and first["restricted"], printed
    assert (second["changed"], second["verified"], second["actions"]) == (False, True, []), second
    assert world.authorized() == [line(world)]
    assert world.read(PINS) == f"127.0.0.1 {world.host_key()} vmcore.kdump\n"
    assert first["host_keys"] == [world.host_key()]
    shown = world.sh(
        "stat -c '%a %U' /root/.ssh/kdump /root/.ssh/kdump.pub /home/kdump/.ssh "
        + KEYS
        + "; ssh-keygen -l -f /root/.ssh/kdump"
    ).split("\n")
    assert shown[:4] == ["600 root", "644 root", "700 kdump", "600 kdump"]
    assert first["fingerprint"] in shown[4] and "(ED25519)" in shown[4]
    # The password was used, and is nowhere.
    assert "Accepted password for kdump" in (world.folder / "sshd.log").read_text()
    assert [text for text in printed.splitlines() if PASSWORD in text] == [] and watch.found == []
    places = f"/root/.ssh /root/.ansible /srv/controller /srv/ansible.log /home /run /var/crash /etc/vmcore-kdump {world.folder}"
    # propagate_world.py: some other run may have put a copy of this collection below /root/.ansible.
    elsewhere = "--exclude-dir=private --exclude='propagate_world*'"
    assert world.sh(f"grep -rlF '{PASSWORD}' {places} 2>/dev/null {elsewhere} || true") == ""
    assert world.sh("ls /srv/ansible.log /srv/controller/.ansible/tmp").count("ansible") > 1


def test_what_the_key_may_do_then(world, ansible):
    world.controller_knows(world.host_key())
    play(world, ansible, propagate(password=PASSWORD))
    login = f"ssh -i /root/.ssh/kdump -o BatchMode=yes -o UserKnownHostsFile={PINS} kdump@127.0.0.1 "
    assert world.sh(login + "mkdir -p /var/crash") == ""
    assert "is refused" in world.run("sh", "-c", login + "cat /etc/passwd", check=False).stderr
    assert world.sh("ls /var/crash").split() == ["db1"]


REFUSALS = {
    "a wrong password": ({"password": "wrong"}, True, "does not let the controller in"),
    "no password and no key": ({}, True, "Give the account's password"),
    "a server that the controller does not know": ({"password": PASSWORD}, False, "The controller knows no host key"),
    "a passphrase": ({"password": PASSWORD, "key": "/root/.ssh/locked"}, True, "protected by a passphrase"),
    "a key that is none": ({"host_keys": ["ssh-ed25519 nonsense"]}, True, "is no public key"),
    "another host key": (
        {"password": PASSWORD, "host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"]},
        True, "shows another host key than the one that is known",
    ),
    "a directory that the account cannot make": ({"password": PASSWORD, "path": "/srv/dumps"}, True, "install -d -m 700 -o kdump"),
    "no server": ({"password": PASSWORD, "server": ""}, True, "propagate needs server"),
    "a name that nobody knows": ({"server": "dumps.invalid"}, True, "has no address"),
}  # fmt: skip


def test_what_is_refused_says_why_and_what_to_do(world, ansible):
    world.sh("ssh-keygen -q -t ed25519 -N secret -f /root/.ssh/locked")
    tasks = [propagate(**options) for options, knows, dummy in REFUSALS.values() if knows]
    world.controller_knows(world.host_key())
    results = play(world, ansible, *tasks)
    said = dict(zip([name for name, one in REFUSALS.items() if one[1]], results, strict=True))
    world.clean()
    said["a server that the controller does not know"] = play(world, ansible, propagate(password=PASSWORD))[0]
    for name, (dummy, dummy, words) in REFUSALS.items():
        assert said[name]["failed"] and words in said[name]["msg"], (name, said[name])
    assert world.authorized() == []


def test_paramiko_that_is_missing_is_named(world, ansible, tmp_path):
    (tmp_path / "paramiko.py").write_text("raise ImportError('No module named paramiko')\n")
    result = play(world, ansible, propagate(password=PASSWORD), environment={"PYTHONPATH": str(tmp_path)})[0]
    assert result["failed"] and "The controller needs the Python package paramiko" in result["msg"], result


# --- trust ---------------------------------------------------------------------------------------------------------
def test_trust_on_first_use_is_no_trust_in_a_changed_key(world, ansible):
    asked = propagate(password=PASSWORD, accept_new=True)
    first, second = play(world, ansible, asked, asked)
    assert first["verified"] and first["changed"] and not second["changed"], (first, second)
    assert set(first["host_keys"]) == {world.host_key(kind) for kind in ("ed25519", "ecdsa", "rsa")}
    world.new_host_keys()
    third = play(world, ansible, asked)[0]
    assert third["failed"] and "shows another host key" in third["msg"], third
    # Given anew it takes the old one's place, and all is well.
    given = propagate(host_keys=[world.host_key()])
    fourth, fifth = play(world, ansible, given, given)
    assert fourth["verified"] and fourth["changed"] and not fifth["changed"], (fourth, fifth)
    assert world.read(PINS) == f"127.0.0.1 {world.host_key()} vmcore.kdump\n"


def test_a_changed_key_that_the_controller_knows_is_pinned_with_no_way_into_the_server(world, ansible):
    world.controller_knows(world.host_key())
    play(world, ansible, propagate(password=PASSWORD))
    world.new_host_keys()
    refused = play(world, ansible, propagate())[0]
    assert refused["failed"] and "another host key" in refused["msg"], refused
    world.controller_knows(world.host_key())
    repaired = play(world, ansible, propagate())[0]
    assert not repaired["failed"], repaired["msg"]
    assert repaired["restricted"] and repaired["actions"] == [f"write {PINS}"]
    assert world.read(PINS) == f"127.0.0.1 {world.host_key()} vmcore.kdump\n"


CONNECT = """
import json, sys
given = json.load(sys.stdin)
sys.path.insert(0, given["collections"])
from ansible_collections.vmcore.kdump.plugins.plugin_utils.dump_server import Server, ServerError
try:
    with Server("127.0.0.1", 22, "kdump", given["password"], given["host_keys"]) as server:
        print(server.host_key + server.run("echo ' and a shell'"))
except ServerError as error:
    print(error)
"""


def test_the_controller_knows_a_server_by_any_of_its_keys_and_by_no_revoked_one(world, ansible):
    key, other = world.host_key(), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
    unheard_of = "ssh-new AAAAB3NzaC1uZXc="
    well, changed, unknown = f"{key} and a shell", "shows another host key", "The controller knows no host key"
    cases = [
        ([key, other], "", well),
        ([other, key], "", well),
        ([other], f"127.0.0.1 {key}", changed),
        ([unheard_of, key], "", well),
        ([unheard_of], "", unknown),
        ([], f"127.0.0.* {key}", well),
        ([], f"127.0.0.1 {key}\n127.0.0.1 {other}", well),
        ([], f"127.0.0.1 {key}\n@revoked * {key}", unknown),
        ([], f"@cert-authority * {key}", unknown),
    ]
    for host_keys, known, said in cases:
        world.sh("mkdir -p /srv/controller/.ssh")
        world.run("tee", "/srv/controller/.ssh/known_hosts", data=known + "\n")
        given = json.dumps({"collections": str(ansible.collections), "password": PASSWORD, "host_keys": host_keys})
        env = dict(os.environ, HOME="/srv/controller")
        told = world.run(sys.executable, "-c", CONNECT, data=given, env=env, cwd=str(ROOT)).stdout
        assert said in told, (host_keys, known, told)


# --- a server of the inventory -------------------------------------------------------------------------------------
def test_a_server_of_the_inventory_and_its_new_host_key(world, ansible):
    world.sh("printf '%s\\n' '127.0.0.1,other ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx' "
             "'third ssh-ed25519 AAAA' >/root/.ssh/known_hosts")  # fmt: skip
    fresh = world.play(ansible, by_inventory(), "--check")
    assert "failed=0" in fresh.stdout and not world.exists("/root/.ssh/kdump"), fresh.stdout
    first = world.play(ansible, by_inventory())
    assert "changed=3" in first.stdout and "failed=0" in first.stdout, first.stdout
    assert world.authorized() == [line(world)]
    # An old key of the server is forgotten, and nothing else.
    assert world.read("/root/.ssh/known_hosts").startswith("other ssh-ed25519 AAAAC3")
    assert world.read("/root/.ssh/known_hosts").endswith("\nthird ssh-ed25519 AAAA\n")
    assert len(world.read(PINS).splitlines()) == 3
    again = world.play(ansible, by_inventory())
    assert "ok=1 " in again.stdout and "changed=0" in again.stdout, again.stdout
    before = world.read(PINS)
    world.new_host_keys()
    repaired = world.play(ansible, by_inventory(), "--diff")
    assert "changed=1 " in repaired.stdout and "failed=0" in repaired.stdout, repaired.stdout
    assert not set(before.splitlines()) & set(world.read(PINS).splitlines())
    assert len(world.read(PINS).splitlines()) == 3 and world.authorized() == [line(world)]


ELSEWHERE = {
    "of_root": ("/etc/ssh/keys/%u", "/etc/ssh/keys/kdump", ["755 root", "644 root"]),
    "of_the_account": ("%h/keys/of-%u .ssh/authorized_keys", "/home/kdump/keys/of-kdump", ["700 kdump", "600 kdump"]),
}


@pytest.mark.long
def test_sshd_that_looks_for_keys_elsewhere(world, ansible):
    config = "/etc/ssh/sshd_config.d/elsewhere.conf"
    try:
        for name, (setting, file, owners) in ELSEWHERE.items():
            world.sh(f"mkdir -p /etc/ssh/sshd_config.d; echo 'AuthorizedKeysFile {setting}' >{config}")
            world.start()
            done = world.play(ansible, by_inventory(name=name))
            assert "failed=0" in done.stdout, done.stdout
            assert world.read(file).splitlines() == [line(world, name)]
            assert world.sh(f"stat -c '%a %U' $(dirname {file}) {file}").split("\n")[:2] == owners
        world.sh(f"rm {config}; mkdir -p /srv/of-root; rm -rf /home/kdump/.ssh; ln -s /srv/of-root /home/kdump/.ssh")
        asked = {"vmcore.kdump.authorized_key": {"user": "kdump", "name": "db1", "public_keys": [key_of(world)]}}
        led_away = play(world, ansible, asked)[0]
        assert led_away["failed"] and "could not be read or written" in led_away["msg"], led_away
        assert world.sh("ls -A /srv/of-root; rm /home/kdump/.ssh") == ""
        world.sh(f"echo 'AuthorizedKeysFile none' >{config}")
        world.start()
        result = play(world, ansible, asked)[0]
        assert result["failed"] and "takes no keys from files" in result["msg"], result
    finally:
        world.sh(f"rm -f {config}; rm -rf /etc/ssh/keys /home/kdump/keys")
        world.start()


def test_the_receiver_of_the_role_server_is_taken_where_there_is_one(world, ansible):
    world.sh(
        'mkdir -p /etc/vmcore-kdump /usr/local/lib/vmcore-kdump; echo \'{"root": "/var/crash"}\' >/etc/vmcore-kdump/server.json'
    )
    world.controller_knows(world.host_key())
    assert play(world, ansible, propagate(password=PASSWORD))[0]["restricted"]
    world.sh(
        "mv /home/kdump/.vmcore-kdump/receive.pyz /usr/local/lib/vmcore-kdump/; chmod 644 /usr/local/lib/vmcore-kdump/*"
    )
    broken, repaired = play(world, ansible, propagate(), propagate(password=PASSWORD))
    assert broken["failed"] and "does not let the controller in" in broken["msg"], broken
    assert not repaired["failed"], repaired["msg"]
    assert repaired["restricted"] and repaired["changed"], repaired
    assert world.authorized() == [line(world, program="/usr/local/lib/vmcore-kdump/receive.pyz")]
    assert not world.exists("/home/kdump/.vmcore-kdump/receive.pyz")


# --- what was there before -----------------------------------------------------------------------------------------
@pytest.mark.long
def test_a_key_and_a_line_that_others_have_made(world, ansible):
    world.sh("ssh-keygen -q -t rsa -b 2048 -N '' -C root@db1 -f /root/.ssh/kdump")
    key = key_of(world)
    lines = [
        "# mine",
        "ssh-ed25519 AAAA broken",
        f'from="127.0.0.0/8,::1",no-pty {key} root@db1',
        f"{key} root@db1.example.com",
    ]
    world.sh("install -d -m 700 -o kdump /home/kdump/.ssh")
    world.run("tee", KEYS, data="\n".join(lines))  # without an end of its last line
    world.sh(f"chown kdump {KEYS}; chmod 664 {KEYS}")
    world.run("tee", PINS, data=f"127.0.0.1 {world.host_key()}\n")
    # With no way to the server it goes on as it is, and says so.
    world.sh(f"chmod 600 {KEYS}")
    told = play(world, ansible, propagate())[0]
    assert (told["failed"], told["changed"], told["verified"], told["restricted"]) == (False, False, True, False), told
    assert any("may do more on kdump@127.0.0.1 than deliver dumps" in str(one) for one in told["warnings"])
    world.sh(f"chmod 664 {KEYS}")  # sshd does not like that
    world.controller_knows(world.host_key())
    done = play(world, ansible, propagate(password=PASSWORD))[0]
    assert not done["failed"], done["msg"]
    assert done["restricted"] and key_of(world) == key, done
    assert world.authorized() == ["# mine", "ssh-ed25519 AAAA broken", line(world, more=',from="127.0.0.0/8,::1"')]
    assert world.sh(f"stat -c %a {KEYS}").strip() == "644"
    assert world.read(PINS) == f"127.0.0.1 {world.host_key()}\n"  # an administrator's own pin does


def test_the_controllers_own_key_is_not_taken_over_by_a_host_that_names_it(world, ansible):
    world.sh("mkdir -p /srv/controller/.ssh; ssh-keygen -q -t ed25519 -N '' -C ansible@awx -f /root/.ssh/kdump")
    world.sh(
        f"cp /root/.ssh/kdump /srv/controller/.ssh/id_ed25519; install -d -m 700 -o kdump /home/kdump/.ssh; cp /root/.ssh/kdump.pub {KEYS}"
    )
    world.sh(f"chown kdump {KEYS}; chmod 600 {KEYS}")
    before = world.authorized()
    world.controller_knows(world.host_key())
    taken, removed = play(world, ansible, propagate(exclusive=True), propagate(state="absent"))
    assert taken["failed"] and "by a line that does not name the host: its comment is ansible@awx" in taken["msg"], (
        taken
    )
    assert not removed["failed"] and world.authorized() == before, removed


@pytest.mark.long
def test_a_copy_of_a_host_is_not_taken_for_the_original(world, ansible):
    world.controller_knows(world.host_key())
    assert play(world, ansible, propagate(password=PASSWORD))[0]["restricted"]
    alone, helped = world.task(ansible, propagate(), propagate(password=PASSWORD), hosts=("db2",))[0]
    for told in (alone, helped):
        said = str(told.get("warnings")) + told["msg"]
        assert told["failed"] and "db1" in said and "remove the key on the copy" in said, told
    world.sh("rm /root/.ssh/kdump*")
    own = world.task(ansible, propagate(password=PASSWORD), hosts=("db2",))[0][0]
    assert own["restricted"] and len(world.authorized()) == 2, own


# --- another key ---------------------------------------------------------------------------------------------------
def test_a_key_is_replaced_when_the_next_one_has_logged_in(world, ansible):
    world.controller_knows(world.host_key())
    world.sh(
        "ssh-keygen -q -t ed25519 -N '' -f /srv/controller/.ssh/id_ed25519; install -d -m 700 -o kdump /home/kdump/.ssh"
    )
    controller = world.read("/srv/controller/.ssh/id_ed25519.pub").strip()
    world.run("tee", KEYS, data=controller + "\n")
    world.sh(f"chown kdump {KEYS}; chmod 600 {KEYS}")
    first = play(world, ansible, propagate(rotate=True))[0]  # by the controller's own key; a new key is not rotated
    assert not first["failed"], first["msg"]
    assert first["restricted"] and len(world.authorized()) == 2, first
    old = key_of(world)
    looked, done, last = play(
        world,
        ansible,
        {**propagate(rotate=True), "check_mode": True},
        propagate(rotate=True),
        propagate(exclusive=True),
    )
    assert looked["changed"] and looked["fingerprint"] == first["fingerprint"]
    assert done["restricted"] and done["fingerprint"] != first["fingerprint"], done
    assert len(done["public_keys"]) == 1 and "replace /root/.ssh/kdump" in done["actions"]
    new = key_of(world)
    assert new != old and last["changed"] and not last["failed"]
    assert world.authorized() == [controller, line(world, key=new)]
    assert world.sh("ls /root/.ssh").split() == ["kdump", "kdump.pub"]
    assert last["actions"] == [f"write {KEYS}"]
    removed = f"-{line(world, key=old)}"
    assert removed not in str(done["diff"]) and line(world, key=old) in last["diff"][0]["before"]


def test_a_next_key_that_cannot_log_in_leaves_the_one_in_use_and_is_finished_later(world, ansible):
    world.controller_knows(world.host_key())
    play(world, ansible, propagate(password=PASSWORD))
    old = key_of(world)
    later = propagate(rotate=True, server_part="later")
    failed = play(world, ansible, later, propagate(server_part="done"))[1]  # and nobody has told the server
    assert failed["failed"] and "The key in use stays as it is." in failed["msg"], failed
    assert key_of(world) == old and world.exists("/root/.ssh/kdump.next")
    done = play(world, ansible, propagate(password=PASSWORD))[0]
    assert done["restricted"] and key_of(world) != old and not world.exists("/root/.ssh/kdump.next"), done


def test_a_host_that_goes_is_forgotten_on_both_sides(world, ansible):
    world.controller_knows(world.host_key())
    world.run("tee", PINS, data="third ssh-ed25519 AAAA\n")
    gone = propagate(password=PASSWORD, state="absent", remove_key=True)
    first, looked, done, again = play(
        world, ansible, propagate(password=PASSWORD), {**gone, "check_mode": True}, gone, gone
    )
    assert first["restricted"] and looked["changed"] and done["changed"] and not again["changed"], (looked, done, again)
    assert world.authorized() == [] and world.read(PINS) == "third ssh-ed25519 AAAA\n"
    assert world.sh("ls /root/.ssh") == ""


# --- servers that have little --------------------------------------------------------------------------------------
@pytest.mark.long
def test_a_server_without_python_gets_a_restricted_line_and_a_warning(world, ansible):
    programs = "sh awk cat cmp touch mkdir mv rm dd flock mktemp true"
    world.sh(f"mkdir -p /srv/bin; for name in {programs}; do ln -sf $(command -v $name) /srv/bin/; done")
    world.controller_knows(world.host_key())
    world.start("-o", "SetEnv=PATH=/srv/bin")
    try:
        asked = propagate(password=PASSWORD)
        other = propagate(password=PASSWORD, name="db2", key="/root/.ssh/other")
        looked, first, second, dummy, third, gone = play(
            world, ansible, {**asked, "check_mode": True}, asked, asked, other, asked, dict(propagate(
                password=PASSWORD, state="absent"))
        )  # fmt: skip
    finally:
        world.start()
    assert looked["changed"] and first["changed"] and first["verified"] and not first["restricted"], first
    assert any("no python3 on the dump server" in str(one) for one in first["warnings"]), first
    assert not second["changed"] and not third["changed"] and second["verified"], (second, third)
    assert gone["changed"] and world.authorized() == [f"restrict {key_of(world, '/root/.ssh/other')} vmcore.kdump db2"]


# --- 40 at once ----------------------------------------------------------------------------------------------------
def test_forty_hosts_at_once_leave_forty_keys(world, ansible):
    """The very program that the controller sends to a server, forty times at once."""
    make = (
        "import sys, base64; sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.vmcore.kdump.plugins.plugin_utils import dump_server\n"
        "for number in range(40):\n"
        "    blob = base64.b64encode(b'\\0\\0\\0\\x0bssh-ed25519\\0\\0\\0\\x20' + b'%032d' % number).decode()\n"
        "    request = dict(state='present', user='', name='db%d' % number, public_keys=['ssh-ed25519 ' + blob],\n"
        "                   path='/var/crash', exclusive=False, receiver=True, _check=False)\n"
        "    open('%s/%d.pyz' % (sys.argv[2], number), 'wb').write(dump_server.program(request))\n"
    )
    folder = world.folder / "programs"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", make, str(ansible.collections), str(folder)], check=True, cwd=str(ROOT))
    world.sh(f"cp -r {folder} /srv/programs; chmod -R a+rX /srv")
    script = "cd /srv/programs; for one in *.pyz; do /usr/bin/python3 -I -S $one >/srv/programs/$one.out & done; wait"
    world.sh("chmod 777 /srv/programs")
    world.run("su", "kdump", "-c", script)
    names = [one.rpartition(" ")[2] for one in world.authorized()]
    assert sorted(names) == sorted(f"db{number}" for number in range(40)), world.sh("cat /srv/programs/*.out")
    assert world.sh("grep -L '\"changed\": true' /srv/programs/*.out || true") == ""
