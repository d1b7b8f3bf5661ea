# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where dumps lie by a kdump.conf, and how they are reached. The real thing is in tests/integration/test_remote_dumps.py."""

import json
import os

import pytest
from image_host import Machine, conf_of

from ansible_collections.vmcore.kdump.plugins.module_utils import dumps, layout, lister, remote_dumps, servers
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.module_utils.remote_dumps import HERE, MOUNT, SSH, Place

ROOT = ("254:1", "/", "/", "ext4", "/dev/vda1", "rw")
EXPORT = ("0:40", "/", "/mnt/crash", "nfs4", "dumps:/export", "rw,vers=4.2,addr=192.0.2.9")
SHARE = ("0:41", "/", "/mnt/share", "virtiofs", "dumps", "rw")
REQUEST = remote_dumps.Request(5)


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.partition(machine.virtio_disk())
    machine.partition(machine.virtio_disk("b", "254:16", 5), "254:17")
    machine.mounts(ROOT)
    machine.write("/etc/hosts", "192.0.2.9 dumps\n")
    machine.programs["mount"] = (32, "mount: no such thing.\n")
    machine.host.apart = lambda function, timeout: json.loads(json.dumps(function()))
    return machine


PLACES = {  # kdump.conf, mounts beside the root: where its dumps lie
    "by default": ("", [], Place(HERE, "/var/crash")),
    "a path": ("path /srv/x\n", [], Place(HERE, "/srv/x")),
    "a path on an export": ("path /mnt/crash/a\n", [EXPORT], Place(HERE, "/mnt/crash/a", shared=True)),
    "a file system": ("ext4 /dev/vdb1\npath /a\n", [], Place(MOUNT, "/a", "/dev/vdb1")),
    "a mounted one": (
        "ext4 /dev/vdb1\npath /a\n", [("254:17", "/", "/srv", "ext4", "/dev/vdb1", "rw")], Place(HERE, "/srv/a")),
    "an export": ("nfs dumps:/export\n", [], Place(MOUNT, "/var/crash", "dumps:/export", True)),
    "a mounted export": ("nfs dumps:/export\npath /a\n", [EXPORT], Place(HERE, "/mnt/crash/a", shared=True)),
    "dracut's --mount": (
        'dracut_args --mount "/dev/vdb1 /x ext4 defaults"\n', [], Place(MOUNT, "/var/crash", "/dev/vdb1")),
    "a raw device": ("raw /dev/vdb1\npath /a\n", [], Place(HERE, "/a")),
    "a share": ("virtiofs dumps\n", [], Place(MOUNT, "/var/crash", "dumps", True, True)),
    "a share by --mount": (
        'dracut_args --mount "dumps /x virtiofs defaults"\n', [], Place(MOUNT, "/var/crash", "dumps", True, True)),
    "a mounted share": ("virtiofs dumps\npath /a\n", [SHARE], Place(HERE, "/mnt/share/a", "", True, True)),
    "a path on a share": ("path /mnt/share/a\n", [SHARE], Place(HERE, "/mnt/share/a", "", True, True)),
    "a server": ("ssh kdump@dumps\npath crash\n", [], Place(SSH, "/crash", "kdump@dumps", True)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_where_dumps_lie(machine, name):
    text, mounted, place = PLACES[name]
    machine.mounts(ROOT, *mounted)
    assert remote_dumps.place_of(machine.host, conf_of(text)) == place


def mounts_of(machine, text):
    """The mounts that a look tries, each refused."""
    tried = []

    def mount(argv):
        tried.append(argv[1:-1])
        return 32, ""

    machine.programs["mount"] = mount
    wanted = conf_of(text)
    with pytest.raises(KdumpError, match="cannot be looked at: mount ended with exit code 32"):
        remote_dumps.look(machine.host, wanted, remote_dumps.place_of(machine.host, wanted), REQUEST)
    return tried


CALM = ",errors=remount-ro"
SAFE = "ro,nosuid,nodev,noexec"


@pytest.mark.parametrize("kind, options", [
    ("ext2", SAFE + CALM), ("ext3", SAFE + ",norecovery" + CALM), ("ext4", SAFE + ",norecovery" + CALM), ("xfs", SAFE + ",norecovery"),
    ("btrfs", SAFE + ",norecovery,subvol=/dumps"),
])  # fmt: skip
def test_a_file_system_is_mounted_without_writing_to_it(machine, kind, options):
    machine.write("/etc/fstab", "/dev/vdb1 /srv btrfs noauto,compress=zstd,subvol=/dumps 0 0\n")
    assert mounts_of(machine, kind + " /dev/vdb1\n") == [["-i", "-t", kind, "-o", options, "/dev/vdb1"]]


def test_an_export_is_mounted_by_the_kernel_alone_and_gives_up(machine):
    machine.write("/etc/fstab", "dumps:/export /mnt nfs noauto,vers=4,hard 0 0\n")
    tried = mounts_of(machine, "nfs dumps:/export\n")
    assert [words[:4] + words[-1:] for words in tried] == [["-i", "-t", "nfs", "-o", "192.0.2.9:/export"]] * 3
    versions = []
    for words in tried:
        options = words[4].split(",")
        last = {word.partition("=")[0]: word for word in options}
        assert "ro" in options and options.index("ro") > options.index("rw") and "addr=192.0.2.9" in options
        assert "hard" not in options and (last["timeo"], last["retrans"]) == ("timeo=100", "retrans=2")
        versions.append(last["vers"])
    assert versions == ["vers=4.2", "vers=4.1", "vers=4.0"]


def test_a_share_of_the_hypervisor(machine):
    assert mounts_of(machine, "virtiofs dumps\n") == [["-i", "-t", "virtiofs", "-o", SAFE, "dumps"]]


def test_a_device_that_is_gone_is_named(machine):
    with pytest.raises(KdumpError, match="no block device UUID=1 .*cannot be looked at"):
        wanted = conf_of("ext4 UUID=1\n")
        remote_dumps.look(machine.host, wanted, remote_dumps.place_of(machine.host, wanted), REQUEST)


def test_of_a_place_that_many_hosts_use_only_this_ones_dumps_are_its_own(machine):
    machine.programs["ip"] = (0, "2: eth0    inet 192.0.2.5/24 brd 192.0.2.255 scope global eth0\n"
                                 "2: eth0    inet6 2001:db8::5/64 scope global\n1: lo    inet 127.0.0.1/8 scope host lo\n")  # fmt: skip
    names = ("192.0.2.5", "192.0.2.50", "2001:db8::5", "127.0.0.1")
    found = [{"directory": "u@dumps:/crash/%s-2026-11-24-10:30:00" % name} for name in names]
    shared = Place(SSH, "/crash", "u@dumps", True)
    assert remote_dumps.own(machine.host, shared, found) == [found[0], found[2]]
    assert remote_dumps.own(machine.host, shared._replace(shared=False), found) == found
    told = [dict(dump, delivered=True) for dump in found]
    assert remote_dumps.own(machine.host, shared, told) == told, "the receiver has told them apart"
    # By DHCP the capture kernel may have had an address that the host has not.
    machine.write("/var/lib/vmcore-kdump/images/6.12-%s.img" % ("a" * 16), b"")
    captures = [{"digest": "a" * 64}, {"digest": "b" * 64}, {"digest": ""}, {}, None]
    leased = [{"directory": "/crash/192.0.2.77-2026-11-24-10:30:00", "capture": capture} for capture in captures]
    assert remote_dumps.own(machine.host, shared, leased) == leased[:1]
    machine.programs["ip"] = (1, "")
    assert remote_dumps.own(machine.host, shared, found) == found


IMAGE = "/var/lib/vmcore-kdump/images/6.12-%s.img" % ("a" * 16)
FIRST_OF_FEBRUARY = 1769904000


def arm(machine):
    """The native engine arms this machine at boot."""
    machine.write(layout.UNIT, "")
    machine.link(layout.UNIT_LINK, layout.UNIT)


def test_on_a_share_of_virtiofs_the_image_alone_tells_whose_a_dump_is(machine):
    machine.programs["ip"] = (
        0,
        "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.0.2.5/24 scope global eth0\n",
    )
    machine.write(IMAGE, b"")
    share = Place(MOUNT, "/crash", "dumps", True, True)
    captures = [{"digest": "a" * 64}, {"digest": "b" * 64}, {"digest": ""}, None]
    found = [{"directory": "dumps:/crash/127.0.0.1-2026-11-24-10:30:00", "capture": capture} for capture in captures]
    assert remote_dumps.own(machine.host, share, found) == [found[0], found[3]], "another engine names no image"
    arm(machine)
    assert remote_dumps.own(machine.host, share, found) == found[:1]
    assert remote_dumps.own(machine.host, share, found, True) == [found[0], found[3]]
    leased = [dict(dump, directory="/crash/192.0.2.5-2026-11-24-10:30:00") for dump in found]
    assert remote_dumps.own(machine.host, share, leased) == leased[:1], "no guest writes such names there"


def test_where_names_tell_something_a_doubt_takes_nothing_in(machine):
    machine.programs["ip"] = (0, "2: eth0    inet 192.0.2.5/24 scope global eth0\n")
    other = [{"directory": "/crash/192.0.2.77-2026-11-24-10:30:00", "capture": None}]
    assert remote_dumps.own(machine.host, Place(HERE, "/crash", "", True), other, True) == []


def put_dumps(machine, directory):
    """The oldest is this machine's by its name, the next by its image, the others are those of two other hosts."""
    for second, address in enumerate(["192.0.2.5", "192.0.2.99"] + ["192.0.2.66", "127.0.0.1"] * 4):
        folder = "%s/%s-2026-02-01-00:00:%02d" % (directory, address, second)
        digest = "a" * 64 if second == 1 else "b" * 64
        capture = {
            "digest": digest,
            "status": 0,
            "seconds": 1,
            "phases": [],
            "memory": {"total": 9, "available_low": 1},
        }
        machine.write(folder + "/vmcore", b"x")
        machine.write(folder + "/capture.json", json.dumps(capture))
        for name in ("vmcore", "capture.json"):
            os.utime(machine.host.path(folder + "/" + name), (FIRST_OF_FEBRUARY + second, FIRST_OF_FEBRUARY + second))


def seconds_of(found):
    return [int(dump["directory"][-2:]) for dump in found]


@pytest.mark.parametrize("most, seconds", [(1, [9, 1]), (2, [9, 8, 1, 0]), (9, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])])
def test_newer_dumps_of_others_hide_none_of_this_hosts(machine, most, seconds):
    machine.programs["ip"] = (0, "2: eth0    inet 192.0.2.5/24 scope global eth0\n")
    machine.write(IMAGE, b"")
    machine.mounts(ROOT, EXPORT)
    put_dumps(machine, "/mnt/crash/a")
    wanted = conf_of("path /mnt/crash/a\n")
    place = remote_dumps.place_of(machine.host, wanted)
    found = remote_dumps.look(machine.host, wanted, place, remote_dumps.Request(most))
    assert seconds_of(found) == seconds
    assert seconds_of(remote_dumps.own(machine.host, place, found)) == [1, 0][:most]
    assert seconds_of(dumps.newest(machine.host, "/mnt/crash/a", most)) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0][:most]


def test_what_is_mounted_for_the_look_is_told_whose_dumps_come_first(machine):
    machine.programs["mount"] = (0, "")
    machine.write(IMAGE, b"")
    put_dumps(machine, layout.RUN_DIR + "/look/var/crash")
    wanted = conf_of("virtiofs dumps\n")
    place = remote_dumps.place_of(machine.host, wanted)
    found = remote_dumps.look(machine.host, wanted, place, remote_dumps.Request(1))
    assert [dump["directory"] for dump in found] == [
        "dumps:/var/crash/127.0.0.1-2026-02-01-00:00:09", "dumps:/var/crash/192.0.2.99-2026-02-01-00:00:01",
    ]  # fmt: skip


def test_a_plain_server_is_told_whose_dumps_come_first(machine, monkeypatch, capsys):
    put_dumps(machine, "/crash")
    owner = json.dumps(dumps.Owner(["192.0.2.5"], [], False))
    monkeypatch.setattr(lister, "Host", lambda: machine.host)
    assert lister.main(["/crash", "1", "", "", owner]) == 0
    assert seconds_of(json.loads(capsys.readouterr().out)) == [9, 0]


def test_what_failure_action_has_saved_on_the_root_file_system_is_seen(machine):
    machine.write("/var/crash/127.0.0.1-2026-11-24-10:30:00/vmcore", b"x")
    text = "ssh kdump@dumps\nfailure_action dump_to_rootfs\n"
    place = Place(SSH, "/var/crash", "kdump@dumps", True)
    found = remote_dumps.rescued(machine.host, conf_of(text), place)
    assert [dump["path"] for dump in found] == ["/var/crash/127.0.0.1-2026-11-24-10:30:00/vmcore"]
    assert remote_dumps.rescued(machine.host, conf_of("ssh kdump@dumps\n"), place) == []
    assert (
        remote_dumps.rescued(machine.host, conf_of("failure_action dump_to_rootfs\n"), Place(HERE, "/var/crash")) == []
    )
    machine.mounts(ROOT, ("254:17", "/", "/var", "ext4", "/dev/vdb1", "rw"))
    assert remote_dumps.rescued(machine.host, conf_of(text), place) == []


NAMES = {
    "": [], "ext4 /dev/vdb1\n": [], "ssh kdump@dumps.example.com\n": ["dumps.example.com"],
    "ssh kdump@2001:db8::9\n": ["2001:db8::9"], "nfs dumps:/export\n": ["dumps"], "nfs [2001:db8::9]:/x\n": ["2001:db8::9"],
    "path /mnt/crash/x\n": ["dumps"], "path /mnt/crashes\n": [], "fence_kdump_nodes a b\n": ["a", "b"],
}  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_the_servers_that_the_way_must_be_known_to(machine, text):
    machine.mounts(ROOT, EXPORT)
    assert servers.names(machine.host, conf_of(text)) == NAMES[text]


def test_a_way_is_an_address_and_a_route(machine):
    machine.programs["ip"] = lambda argv: (0 if argv[1:3] == ["route", "get"] and argv[3] == "192.0.2.9" else 2, "")
    assert servers.has_way(machine.host, "dumps") and not servers.has_way(machine.host, "unknown")
    assert not servers.has_way(machine.host, "192.0.2.10")


def test_an_address_of_ipv6_that_is_not_usable_yet_is_no_way(machine):
    """`ip` as it prints while duplicates of the address are looked for, and afterwards."""
    tentative = "    inet6 2001:db8::5/64 scope global tentative \n       valid_lft forever preferred_lft forever\n"
    said = {"addr": ""}

    def ip(argv):
        if argv[1:3] == ["route", "get"]:
            return 0, "%s from :: dev eth0 proto kernel metric 256 pref medium\n" % argv[3]
        assert argv == ["ip", "-6", "addr", "show", "dev", "eth0", "tentative", "-dadfailed"]
        return 0, said["addr"]

    machine.programs["ip"] = ip
    assert servers.has_way(machine.host, "2001:db8::9")
    said["addr"] = "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP qlen 1000\n" + tentative
    assert not servers.has_way(machine.host, "2001:db8::9") and servers.has_way(machine.host, "192.0.2.9")
