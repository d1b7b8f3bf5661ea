# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pathlib
import re

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import conf_state, mounts
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel
from ansible_collections.vmcore.kdump.plugins.module_utils.conf import NEW_FILE, parse
from ansible_collections.vmcore.kdump.plugins.module_utils.conf_check import check_host, dump_directory, warn_host
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

MOUNTINFO = """\
22 1 254:1 / / rw,relatime - ext4 /dev/root rw
23 22 0:20 / /tmp rw - tmpfs tmpfs rw
24 22 254:17 / /crash rw - xfs /dev/vdb1 rw
25 22 254:33 / /ro ro - ext4 /dev/vdc1 ro
26 22 0:30 / /net rw - nfs4 server:/export rw
27 22 0:31 /sub /btrfs/sub rw - btrfs /dev/vdd rw
28 22 0:31 / /btrfs rw - btrfs /dev/vdd rw
29 22 0:32 / /shared rw - virtiofs myfs rw
"""
FSTAB = """\
UUID=1234 / ext4 defaults 0 1
/dev/vde1 /mnt/e ext4 defaults 0 0
/dev/vdf1 /mnt/f ext4 noauto 0 0
/dev/vdg1 /mnt/g ext4 defaults,noauto 0 0
/dev/vdh1 /mnt/h auto defaults,noauto 0 0
other:/export /mnt/n nfs defaults 0 0
"""
MEMINFO = "MemTotal: 2097152 kB\nMemFree: 1048576 kB\nBuffers: 102400 kB\nCached: 409600 kB\nAnonPages: 204800 kB\n"
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx"
DEVICES = {"/dev/vda1": "254:1", "/dev/vdb1": "254:17", "/dev/vdc1": "254:33", "/dev/vdd": "254:48"}
DEVICES.update({"/dev/vd%s1" % letter: "254:%d" % (64 + 16 * number) for number, letter in enumerate("efghi")})
USAGE = "\nLZO support:\n  enabled\nsnappy support:\n  disabled ('-p' option will be ignored.)\n  --check-params\n"


class FakeHost(Host):
    """Block devices, free space and programs by tables; files below a directory."""

    def __init__(self, root, programs):
        super().__init__(root, self._program, Kernel("6.12.1", "x86_64"))
        self.programs = programs
        self.free = 1 << 40

    def _program(self, argv, **options):
        for pattern, (code, out) in self.programs.items():
            if re.search(pattern, " ".join(argv)):
                return Result(argv, code, out, "")
        return Result(argv, -1, "", "no such program")

    def device_number(self, path):
        return DEVICES.get(self.realpath(path), "")

    def resolve(self, name):
        return {"server": ["192.0.2.1"], "unpinned": ["192.0.2.2"]}.get(name, [])

    def free_bytes(self, path):
        assert self.exists(path)
        return self.free


def put(root, path, text, mode=0o644):
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


@pytest.fixture
def host(tmp_path):
    host = FakeHost(str(tmp_path), {
        "makedumpfile --help": (0, USAGE),
        "makedumpfile --check-params": (0, ""),
        "blkid .* TYPE /dev/vdi1": (0, "xfs\n"),
        "blkid .* TYPE /dev/vdh1": (0, "xfs\n"),
        "ssh -G kdump@server": (0, "user kdump\nhostname server\n"),
        "ssh -G kdump@(nowhere|unpinned)": (0, ""),
        "ssh -G kdump@alias": (0, "hostname server.example.com\n"),
        "hostname -I": (0, "192.0.2.7 2001:db8::7 \n"),
    })  # fmt: skip
    files = {"/proc/self/mountinfo": MOUNTINFO, "/etc/fstab": FSTAB, "/proc/meminfo": MEMINFO,
             "/proc/sys/kernel/hostname": "node1\n", "/etc/file": "", "/crash/var/crash/x": "", "/net/dump/x": "",
             "/proc/swaps": "Filename\tType\n/dev/vdi1 partition 1 0 -1\n",
             "/root/.ssh/known_hosts": "server ssh-ed25519 %s\n" % KEY,
             "/lib/modules/6.12.1/modules.dep": "kernel/fs/gfs2/gfs2.ko.xz: kernel/fs/dlm/dlm.ko.xz\n",
             "/lib/modules/6.12.1/modules.builtin": "kernel/fs/ext4/ext4.ko\n"}  # fmt: skip
    files.update(dict.fromkeys(list(DEVICES) + ["/dev/plain"], ""))
    for path, text in files.items():
        put(tmp_path, path, text)
    for path, mode in (("/usr/bin/makedumpfile", 0o755), ("/usr/bin/cp", 0o755), ("/etc/hook", 0o755),
                       ("/root/.ssh/kdump_id_rsa", 0o600), ("/usr/bin/ssh", 0o755), ("/root/open", 0o644), ("/root/group", 0o640)):  # fmt: skip
        put(tmp_path, path, "", mode)
    host.symlink("../../vdb1", "/dev/disk/by-uuid/aa-bb")
    host.symlink("../../vda1", "/dev/disk/by-label/\\x2fboot")
    return host


FINE = {
    "root file system": "path /var/crash",
    "a directory that is there": "path /crash/var/crash",
    "its own file system": "xfs /dev/vdb1",
    "by uuid": "xfs UUID=aa-bb",
    "by label with a slash": "ext4 LABEL=/boot",
    "on nfs": "path /net/dump",
    "nfs, mounted": "nfs server:/export",
    "nfs, known to nobody": "nfs third:/export",
    "btrfs, mounted under an anonymous number": "btrfs /dev/vdd",
    "noauto in fstab": "ext4 /dev/vdg1",
    "automatic type in fstab": "xfs /dev/vdh1",
    "not mounted, right type": "xfs /dev/vdi1",
    "virtiofs": "virtiofs myfs",
    "raw, unused": "raw /dev/vde1",
    "ssh": "ssh kdump@server\nsshkey /root/.ssh/kdump_id_rsa",
    "hooks": "kdump_pre /etc/hook\nextra_bins /etc/hook /usr/bin/cp",
    "other nodes": "fence_kdump_nodes node2 192.0.2.8",
    "mount by dracut": 'dracut_args --mount "/dev/vdi1 /m xfs defaults"',
    "mount of a server by dracut": 'dracut_args --mount "a:/b /m nfs defaults"',
}


@pytest.mark.parametrize("text", list(FINE.values()), ids=list(FINE))
def test_no_problem(host, text):
    assert check_host(host, parse(text)) == []


# (the text, a part of the message, a part of the remedy); those marked * are in the transcript of kdumpctl 1.0.61
PROBLEMS = {
    "no device *": ("ext4 /dev/vdz9", "there is no device /dev/vdz9", "lsblk"),
    "no raw device *": ("raw /dev/nope", "there is no device /dev/nope", "lsblk"),
    "no device of this label": ("ext4 LABEL=none", "there is no device LABEL=none", "blkid"),
    "no block device": ("ext4 /dev/plain", "/dev/plain is not a block device", "partition"),
    "another type, mounted": ("ext4 /dev/vdb1", "/dev/vdb1 holds xfs, not ext4", "`xfs /dev/vdb1`"),
    "another type, probed": ("ext4 /dev/vdi1", "/dev/vdi1 holds xfs, not ext4", "`xfs /dev/vdi1`"),
    "another type, in fstab": ("xfs /dev/vdg1", "/dev/vdg1 holds ext4, not xfs", "`ext4 /dev/vdg1`"),
    "in fstab, not mounted": ("ext4 /dev/vde1", "neither mounted nor marked noauto", "defaults,noauto"),
    "noauto where kdump does not see it": ("ext4 /dev/vdf1", "neither mounted nor marked noauto", "defaults,noauto"),
    "nfs in fstab, not mounted": ("nfs other:/export", "neither mounted nor marked noauto", "defaults,noauto"),
    "in memory": ("path /tmp/crash", "lies on tmpfs", "name a target"),
    "a file in the way": ("path /etc/file/x", "/etc/file is a file", "another directory"),
    "a file in the way on a target": ("xfs /dev/vdb1\npath /var/crash/x/y", "/crash/var/crash/x is a file", "another"),
    "read-only and not there *": ("path /ro/no/such", "is not there and cannot be created", "read-write"),
    "raw and mounted": ("raw /dev/vdb1", "raw /dev/vdb1 is mounted on /crash", "overwrites"),
    "raw and root": ("raw /dev/vda1", "raw /dev/vda1 is mounted on /", "overwrites"),
    "raw and swap": ("raw /dev/vdi1", "used for swapping", "overwrites"),
    "no key": ("ssh kdump@server\nsshkey /root/none", "There is no ssh key /root/none", "propagate"),
    "an open key": ("ssh kdump@server\nsshkey /root/open", "open to others", "chmod 600 /root/open"),
    "a key open to the group": ("ssh kdump@server\nsshkey /root/group", "open to others", "chmod 600 /root/group"),
    "an alias": ("ssh kdump@alias", "alias is an alias", "`ssh kdump@server.example.com`"),
    "a server without a name": ("ssh kdump@nowhere", "nowhere has no address", "/etc/hosts"),
    "a server whose key is not known": (
        "ssh kdump@unpinned",
        "No host key of the dump server",
        "vmcore.kdump.propagate",
    ),
    "no hook *": ("kdump_pre /nope", "kdump_pre: there is no /nope", "Put it there first"),
    "a hook that cannot run": ("kdump_post /etc/file", "not an executable file", "chmod +x /etc/file"),
    "a hook that is a directory": ("kdump_emergency /etc", "not an executable file", "chmod"),
    "no program *": ("extra_bins /etc/hook /nope", "extra_bins: there is no /nope", "Put it there first"),
    "no collector": ("core_collector scp", "core collector scp is not on this host", "Install"),
    "no collector at that path": ("core_collector /opt/makedumpfile -c", "/opt/makedumpfile is not", "Install"),
    "a compression left out": ("core_collector makedumpfile -p", "built without snappy (-p)", "-c or -l"),
    "its own name": ("fence_kdump_nodes node2 node1", "holds this host itself, node1", "other nodes"),
    "its own address": ("fence_kdump_nodes 2001:db8::7", "holds this host itself, 2001:db8::7", "other nodes"),
    "no device for dracut": ('dracut_args --mount "/dev/nope /m xfs defaults"', "no device /dev/nope", "lsblk"),
}


@pytest.mark.parametrize("text, message, hint", list(PROBLEMS.values()), ids=list(PROBLEMS))
def test_a_problem_and_its_remedy(host, text, message, hint):
    conf = parse(text)
    problems = check_host(host, conf)
    assert conf.problems == []
    assert len(problems) == 1 and message in problems[0].message and hint in problems[0].hint, problems


def test_the_installed_makedumpfile_has_the_last_word(host):
    host.programs["makedumpfile --check-params"] = (1, "Commandline parameter\nis invalid.")
    assert "Commandline parameter is invalid." in check_host(host, parse(""))[0].message
    host.programs["makedumpfile --help"] = (0, "an old one, which does not know the flag")
    assert check_host(host, parse("")) == []


def test_all_problems_at_once_and_none_twice(host):
    conf = parse("ext4 /dev/vdz9\nkdump_pre /nope\nextra_bins rel\nfinal_action x\ncore_collector makedumpfile -l -z\n")
    assert [problem.option for problem in check_host(host, conf)] == ["ext4", "kdump_pre"]


def test_the_host_is_not_asked_about_a_target_that_is_wrong_by_itself(host):
    assert check_host(host, parse("ext4 vdz9")) == check_host(host, parse("ext4 /dev/vdz9\nssh a")) == []


def test_prediction_misses_neither_the_collector_nor_the_key(host):
    host.remove("/usr/bin/makedumpfile")
    conf = parse("ssh kdump@server\nsshkey /root/none\nkdump_pre /nope")
    assert [problem.option for problem in check_host(host, conf, predict=True)] == ["kdump_pre"]
    assert len(check_host(host, conf)) == 3
    host.remove("/root/.ssh/known_hosts")
    assert [problem.option for problem in check_host(host, conf, predict=True)] == ["kdump_pre"]
    assert len(check_host(host, conf)) == 4


def test_a_loop_of_links_and_broken_tables_are_problems(host):
    host.symlink("b", "/a")
    host.symlink("a", "/b")
    assert "leads nowhere" in check_host(host, parse("path /a"))[0].message
    host.write("/proc/self/mountinfo", b"\xff\0 \n")
    assert "No mount that holds" in check_host(host, parse("path /x"))[0].message


def test_without_udevs_links_blkid_is_asked(host):
    host.programs["blkid -l -o device -t UUID=9-9$"] = (0, "/dev/vdb1\n")
    assert check_host(host, parse("xfs UUID=9-9")) == []


DIRECTORIES = {
    "path": ("path /var/dump", "/var/dump"),
    "a target": ("xfs /dev/vdb1", "/crash/var/crash"),
    "a target that the kernel mounted as /dev/root": ("ext4 /dev/vda1", "/var/crash"),
    "a subvolume is not its file system": ("btrfs /dev/vdd\npath /x", "/btrfs/x"),
    "nfs": ("nfs server:/export/\npath /dump", "/net/dump"),
    "a target of dracut's": ('dracut_args --mount "/dev/vdb1 /x xfs defaults"', "/crash/var/crash"),
    "a server of dracut's": ('dracut_args --mount "server:/export /x nfs4 defaults"\npath /dump', "/net/dump"),
    "a type that is none": ('dracut_args --mount "/dev/vdb1 /x zfs defaults"', None),
    "not mounted": ("ext4 /dev/vdg1", None),
    "raw": ("raw /dev/vde1", None),
    "ssh": ("ssh a@b", None),
}


@pytest.mark.parametrize("text, directory", list(DIRECTORIES.values()), ids=list(DIRECTORIES))
def test_dump_directory(host, text, directory):
    assert dump_directory(host, parse(text)) == directory


def is_gone(host, monkeypatch):
    """Who touches what is below /net would wait for ever."""
    resolve, run = host.path, host.run

    def path(name):
        assert not name.startswith("/net")
        return resolve(name)

    def program(argv, **options):
        gone = argv[:3] == ["stat", "-f", "--"] and argv[3].startswith(host.root + "/net")
        return Result(argv, -1, "", "", True) if gone else run(argv, **options)

    monkeypatch.setattr(host, "path", path)
    monkeypatch.setattr(host, "run", program)


@pytest.mark.parametrize("text", ["path /net/dump", "nfs server:/export"])
def test_a_server_that_does_not_answer_is_told_and_left_alone(host, monkeypatch, text):
    is_gone(host, monkeypatch)
    (problem,) = check_host(host, parse(text))
    assert "on server:/export does not answer" in problem.message and "umount" in problem.hint
    with pytest.raises(KdumpError) as error:
        dump_directory(host, parse(text))
    assert error.value.problems == [problem]
    with pytest.raises(KdumpError):
        mounts.place_of(host, "/net/dump")
    with pytest.raises(KdumpError):
        mounts.place_on(host, mounts.table_of(host)[0], "/net/dump")
    assert check_host(host, parse("")) == []


def test_too_little_space_is_a_warning(host):
    assert warn_host(host, parse("")) == []
    host.free = 300 << 20
    # 2048 MiB, less what level 31 leaves out: 1024 free, 100 + 400 cached, 200 of processes
    assert "may need 324 MiB, and / has 300 MiB free" in warn_host(host, parse(""))[0].message
    assert "may need 2048 MiB" in warn_host(host, parse("core_collector cp"))[0].message
    assert "may need 1024 MiB" in warn_host(host, parse("core_collector makedumpfile -c -d 17,16"))[0].message
    assert warn_host(host, parse("ssh a@b")) == []


def test_a_module_that_is_not_there_is_a_warning(host):
    found = warn_host(host, parse("extra_modules gfs2 ext4 nosuchmod"))
    assert [problem.value for problem in found] == ["nosuchmod"]
    host.remove("/lib/modules/6.12.1/modules.dep")
    host.remove("/lib/modules/6.12.1/modules.builtin")
    assert "modules of kernel 6.12.1" in warn_host(host, parse("extra_modules gfs2"))[0].message
    assert warn_host(host, parse("")) == []


def test_raw_over_something_is_a_warning(host):
    host.programs["blkid -p .* /dev/vde1"] = (0, "ext4\n")
    assert "raw /dev/vde1 holds ext4" in warn_host(host, parse("raw /dev/vde1"))[0].message


def test_raw_with_too_little_room_is_a_warning(host):
    put(pathlib.Path(host.root), "/sys/dev/block/254:64/size", "204800\n")
    assert "may need 324 MiB, and raw /dev/vde1 has 100 MiB" in warn_host(host, parse("raw /dev/vde1"))[0].message
    put(pathlib.Path(host.root), "/sys/dev/block/254:64/size", "2048000\n")
    assert warn_host(host, parse("raw /dev/vde1")) == []


def test_raw_under_something_else_is_refused(host):
    put(pathlib.Path(host.root), "/sys/dev/block/254:64/holders/dm-0/x", "")
    assert "raw /dev/vde1 is a part of dm-0" in check_host(host, parse("raw /dev/vde1"))[0].message


# --- the module ----------------------------------------------------------------------------------------------------
def params(**given):
    asked = {"path": "/etc/kdump.conf", "options": {}, "remove": [], "purge": False, "backup": False}
    asked.update({"check_host": False, "create_path": False, "_check": False}, **given)
    return asked


def test_a_new_file_says_who_wrote_it_and_an_empty_wish_makes_none(host):
    assert not conf_state.decide(host, params()).changed
    plan = conf_state.decide(host, params(options={"path": "/x"}))
    plan.apply(host)
    assert host.read_text("/etc/kdump.conf") == NEW_FILE + "path /x\n"
    assert not conf_state.decide(host, params(options={"path": "/x"})).changed
    assert conf_state.report(host, params()) == {
        "options": {"path": "/x"}, "target": {"kind": "path", "location": "/x"}, "warnings": []
    }  # fmt: skip


def test_a_file_of_ours_that_holds_nothing_more_goes(host):
    asked = params(remove=["path"], backup=True)
    host.write("/etc/kdump.conf", (NEW_FILE + "path /x\n").encode())
    plan = conf_state.decide(host, asked, "1~")
    assert plan.diff()[-1]["after"] == ""
    plan.apply(host)
    assert not host.exists("/etc/kdump.conf") and host.is_file("/etc/kdump.conf.1~")
    assert not conf_state.decide(host, asked).changed
    host.write("/etc/kdump.conf", b"path /x\n")
    conf_state.decide(host, asked, "1~").apply(host)
    assert host.read_text("/etc/kdump.conf") == ""


def test_nothing_is_touched_while_anything_is_wrong(host):
    host.write("/etc/kdump.conf", b"bogus 1\n")
    asked = params(options={"failure_action": "explode", "path": "/a#b", "kdump_pre": "/nope"}, check_host=True)
    with pytest.raises(KdumpError) as caught:
        conf_state.decide(host, asked)
    assert [problem.option for problem in caught.value.problems] == ["path", "bogus", "failure_action", "kdump_pre"]
    assert host.read_text("/etc/kdump.conf") == "bogus 1\n"


def test_removing_the_mistake_is_a_way_out(host):
    host.write("/etc/kdump.conf", b"bogus 1\npath /a\n")
    plan = conf_state.decide(host, params(remove=["bogus"]))
    assert plan.diff()[0]["after"] == "path /a\n"


def test_a_backup_has_the_old_bytes_and_the_old_mode(host):
    host.write("/etc/kdump.conf", b"# \xff\npath /a\n", 0o640)
    asked = params(options={"path": "/b"}, backup=True)
    plan = conf_state.decide(host, asked, "1.now~")
    assert plan.diff()[1]["before"] == "# \\xff\npath /a\n"
    plan.apply(host)
    assert host.read("/etc/kdump.conf.1.now~") == b"# \xff\npath /a\n"
    assert host.stat("/etc/kdump.conf.1.now~").st_mode & 0o777 == 0o640
    assert host.read("/etc/kdump.conf") == b"# \xff\npath /b\n"
    assert conf_state.report(host, asked, "1.now~")["backup_file"] == "/etc/kdump.conf.1.now~"
    assert "backup_file" not in conf_state.report(host, asked, "2.now~")


def test_the_dump_directory_is_created_when_asked_for(host):
    asked = params(options={"xfs": "/dev/vdb1", "path": "/dump"}, create_path=True, check_host=True)
    plan = conf_state.decide(host, asked)
    assert plan.actions == ["write /etc/kdump.conf", "create /crash/dump"]
    plan.apply(host)
    assert host.is_dir("/crash/dump")
    assert not conf_state.decide(host, asked).changed


def test_a_directory_is_no_configuration_file(host):
    host.make_directories("/etc/kdump.conf")
    with pytest.raises(KdumpError):
        conf_state.decide(host, params())
