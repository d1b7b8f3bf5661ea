# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.mounts import (
    FstabEntry,
    Mount,
    await_answer,
    holding,
    parse_fstab,
    parse_mountinfo,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

# As a machine shows them: mounts that the initramfs made stand before the root that they were moved onto.
MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
28 27 0:40 / /var rw shared:2 master:3 - btrfs /dev/vdb rw,subvolid=5
29 28 254:17 / /var/crash\040dumps rw - xfs /dev/vdc1 rw
30 27 254:33 / /home rw - ext4 /dev/vdd rw
31 27 0:50 / /net rw - autofs systemd-1 rw,fd=1
32 31 0:51 / /net rw - nfs4 10.0.0.1:/export rw,addr=10.0.0.1
"""

HOLDING = {
    "root": ("/etc/kdump.conf", "27"),
    "the root directory itself": ("/", "27"),
    "a mount point": ("/var", "28"),
    "a name that only begins like a mount point": ("/variable", "27"),
    "a nested mount with a blank in its name": ("/var/crash dumps/x", "29"),
    "the mount on an autofs point": ("/net/host", "32"),
}


@pytest.mark.parametrize("path, mount_id", list(HOLDING.values()), ids=list(HOLDING))
def test_holding(path, mount_id):
    assert holding(parse_mountinfo(MOUNTINFO), path).mount_id == mount_id


def test_a_mount_that_a_later_one_covers_is_not_seen():
    text = MOUNTINFO + "40 27 0:60 / /var/crash\\040dumps rw - tmpfs tmpfs rw\n41 40 0:61 / /home rw - tmpfs tmpfs rw\n"
    assert holding(parse_mountinfo(text), "/var/crash dumps").mount_id == "29"
    covered = "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /a/b rw - ext4 b rw\n3 1 8:3 / /a rw - ext4 c rw\n"
    assert holding(parse_mountinfo(covered), "/a/b/c").source == "c"
    stacked = "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / / rw - overlay b rw\n3 2 8:3 / /a rw - ext4 c rw\n"
    assert holding(parse_mountinfo(stacked), "/a/b/c").source == "c"


def test_every_field_is_read():
    assert parse_mountinfo(MOUNTINFO)[3] == Mount(
        "29", "254:17", "/", "/var/crash dumps", "xfs", "/dev/vdc1", "rw", "rw", "28"
    )


BROKEN = {
    "empty": "",
    "too few fields": "27 1 254:1 / / rw",
    "no dash": "27 1 254:1 / / rw shared:1 ext4 /dev/vda1 rw",
    "nothing after the dash": "27 1 254:1 / / rw - ext4",
    "bytes": "\udc80\x00 - ",
    "own parent and nothing else": "x",
}


@pytest.mark.parametrize("text", list(BROKEN.values()), ids=list(BROKEN))
def test_broken_lines_are_left_out(text):
    assert parse_mountinfo(text) == []
    with pytest.raises(KdumpError):
        holding(parse_mountinfo(text), "/var")


def test_a_loop_of_parents_ends():
    loop = "1 1 8:1 / / rw - ext4 a rw\n2 3 8:1 / / rw - ext4 b rw\n3 2 8:1 / / rw - ext4 c rw\n"
    assert holding(parse_mountinfo(loop), "/a").source == "a"


def test_without_a_server_nobody_is_asked(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    table = tmp_path / "proc/self/mountinfo"
    table.write_text("\n".join(line for line in MOUNTINFO.splitlines() if "/net" not in line))
    asked = []
    await_answer(Host(str(tmp_path), lambda argv, **options: asked.append(argv)), "/var/crash")
    assert asked == []
    table.write_text(MOUNTINFO)
    host = Host(str(tmp_path))
    for path in ("/var/crash", "/net/x"):  # nothing need be there
        await_answer(host, path)
    host = Host(str(tmp_path), lambda argv, **options: Result(argv, -1, "", "", options["timeout"] > 0))
    with pytest.raises(KdumpError, match="/net/x on 10.0.0.1:/export does not answer"):
        await_answer(host, "/net/x")
    with pytest.raises(KdumpError, match="/a/link does not answer"):
        await_answer(host, "/a/link")


def test_fstab():
    text = (
        "# /etc/fstab\n\nUUID=1\t/  ext4 defaults 0 1\r\n"
        "/dev/vdb /mnt/a\\040b xfs noauto,ro\n/dev/vdc none swap\nshort line\n  #x y z\n/dev/\\303\\251 /e ext4 rw"
    )
    assert parse_fstab(text) == [
        FstabEntry("UUID=1", "/", "ext4", "defaults"),
        FstabEntry("/dev/vdb", "/mnt/a b", "xfs", "noauto,ro"),
        FstabEntry("/dev/vdc", "none", "swap", "defaults"),
        FstabEntry("/dev/\u00e9", "/e", "ext4", "rw"),
    ]
