# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import errno
import os
import stat
import sys
import tempfile
import time

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host import files
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.layout import LOCK

ZSTD_FRAME = "28b52ffd04586c0000286b64756d700100f8ffc88b164c000008750100fcff3910024d0000087001002c57391002625b4e60"


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def test_absolute_links_stay_below_root(host, tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libc.so.6").write_bytes(b"c")
    os.symlink("/usr/lib", str(tmp_path / "lib"))
    assert host.read("/lib/libc.so.6") == b"c"
    assert host.realpath("/lib/../lib/libc.so.6") == "/usr/lib/libc.so.6"
    assert host.realpath("/../..") == "/"


def test_a_loop_of_links_is_an_error_and_not_a_hang(host, tmp_path):
    os.symlink("b", str(tmp_path / "a"))
    os.symlink("a", str(tmp_path / "b"))
    with pytest.raises(OSError):
        host.path("/a")


def test_write_keeps_the_mode_of_what_it_replaces_and_leaves_no_temporary(host, tmp_path):
    host.write("/etc/x", b"one", 0o600)
    assert stat.S_IMODE(os.stat(str(tmp_path / "etc/x")).st_mode) == 0o600
    os.chmod(str(tmp_path / "etc/x"), 0o640)
    host.write("/etc/x", b"two", 0o600)
    assert stat.S_IMODE(os.stat(str(tmp_path / "etc/x")).st_mode) == 0o640
    assert host.read("/etc/x") == b"two"
    assert os.listdir(str(tmp_path / "etc")) == ["x"]


def test_chmod_changes_the_mode_alone(host):
    host.write("/etc/x", b"one", 0o755)
    before = host.stat("/etc/x")
    host.chmod("/etc/x", 0o644)
    after = host.stat("/etc/x")
    assert (stat.S_IMODE(after.st_mode), after.st_ino, host.read("/etc/x")) == (0o644, before.st_ino, b"one")


def test_write_through_a_symbolic_link_keeps_the_link(host, tmp_path):
    host.write("/etc/real", b"one")
    os.symlink("real", str(tmp_path / "etc/link"))
    host.write("/etc/link", b"two")
    assert os.path.islink(str(tmp_path / "etc/link"))
    assert host.read("/etc/real") == b"two"


def test_a_missing_file_has_the_default_only_when_one_is_given(host):
    assert host.read_text("/none", "") == ""
    with pytest.raises(OSError):
        host.read_text("/none")


def test_listing_and_globbing_speak_the_hosts_paths(host):
    host.write("/boot/vmlinuz-1", b"")
    host.write("/boot/vmlinuz-2", b"")
    assert host.listdir("/boot") == ["vmlinuz-1", "vmlinuz-2"]
    assert host.glob("/boot/vmlinuz-*") == ["/boot/vmlinuz-1", "/boot/vmlinuz-2"]
    assert host.listdir("/none") == []


def test_removing_what_is_gone_is_no_error(host):
    host.write("/a/b", b"")
    host.remove("/a/b")
    host.remove("/a/b")
    host.remove_empty_directory("/a")
    host.remove_empty_directory("/a")
    assert host.listdir("/") == []


def test_a_program_that_is_not_there_is_a_result(host):
    result = host.run(["/no/such/program"])
    assert result.rc == -1 and "No such file" in result.err


def test_zstd_is_unpacked_by_the_hosts_library(host):
    # "kdump" 70,000 times, as the zstd program writes it from a pipe (no content size in its header).
    frame = bytes.fromhex(ZSTD_FRAME)
    assert host.unzstd(frame) == b"kdump" * 70000
    with pytest.raises(ValueError):
        host.unzstd(frame, limit=1000)
    with pytest.raises(ValueError):
        host.unzstd(frame[:-5])
    with pytest.raises(ValueError):
        host.unzstd(b"no zstd data at all")


def test_only_a_block_device_has_a_number(host):
    host.write("/dev/file", b"")
    assert host.device_number("/dev/file") == host.device_number("/dev/none") == ""


def test_nobody_but_root_can_hold_or_redirect_the_lock(host, tmp_path):
    """/run/lock is open to all on Debian: a link put there would have root create any file, a lock stop every run."""
    assert os.path.dirname(LOCK) == "/run"
    before = os.umask(0o022)
    try:
        with host.lock(LOCK):
            assert stat.S_IMODE(os.stat(str(tmp_path) + LOCK).st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("end", ["wait", "true"], ids=["hangs", "leaves a child"])
def test_a_program_that_takes_too_long_ends_with_what_it_has_started(host, tmp_path, end):
    """The child holds the output open: whoever waits for its end waits for the child's, an hour."""
    script = "sleep 3600 & echo $! > '%s/pid'; %s" % (tmp_path, end)
    result = host.run(["sh", "-c", script], timeout=5)
    assert result.rc == -1 and result.ended and "did not end within 5 seconds" in result.err
    assert has_ended((tmp_path / "pid").read_text().strip())


def has_ended(pid):
    for dummy in range(600):
        try:
            with open("/proc/%s/stat" % pid) as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":  # nobody may wait for it
                    return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_program_is_given_its_input_and_its_exit_code_is_told(host):
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('why'); sys.exit(3)"
    result = host.run([sys.executable, "-c", code], stdin=b"abc")
    assert (result.rc, result.out, result.err) == (3, "ABC", "why")


def test_a_replaced_file_keeps_its_label_and_its_acl(host, tmp_path, monkeypatch):
    """A kdump.conf without its label is a file that kdump.service may not read."""
    there = {}
    monkeypatch.setattr(files.os, "setxattr", lambda file, name, value: there.update({(ino(file), name): value}))
    monkeypatch.setattr(files.os, "getxattr", lambda file, name: attribute(there, file, name))
    host.write("/etc/x", b"one")
    path = str(tmp_path / "etc/x")
    there[(ino(path), "security.selinux")] = b"system_u:object_r:kdump_etc_t:s0\0"
    there[(ino(path), "system.posix_acl_access")] = b"acl"
    host.write("/etc/x", b"two")
    assert attribute(there, path, "security.selinux") == b"system_u:object_r:kdump_etc_t:s0\0"
    assert attribute(there, path, "system.posix_acl_access") == b"acl"


def test_a_label_that_is_right_already_is_not_set(host, tmp_path, monkeypatch):
    """Setting it needs a right that a confined process may lack."""
    host.write("/etc/x", b"one")
    monkeypatch.setattr(files.os, "getxattr", lambda file, name: b"the folder's")
    monkeypatch.setattr(files.os, "setxattr", refuse)
    host.write("/etc/x", b"two")
    assert host.read("/etc/x") == b"two"


def test_what_a_killed_run_left_has_a_name_that_is_known(host, tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "rename", refuse)
    monkeypatch.setattr(files.os, "unlink", lambda path: None)
    for change in (lambda: host.write("/etc/x", b""), lambda: host.symlink("x", "/etc/y")):
        with pytest.raises(PermissionError):
            change()
    assert sorted(os.listdir(str(tmp_path / "etc"))) == sorted(
        host.temporary(path).rsplit("/", 1)[-1] for path in ("/etc/x", "/etc/y")
    )


def ino(file):
    return (os.fstat(file) if isinstance(file, int) else os.stat(file)).st_ino


def attribute(there, file, name):
    if (ino(file), name) not in there:
        raise OSError(errno.ENODATA, "no such attribute")
    return there[(ino(file), name)]


def refuse(*_arguments):
    raise PermissionError(errno.EPERM, "not permitted")


@pytest.mark.parametrize(
    "name, addresses",
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("no-such-host.invalid", []),
        ("a" * 70 + ".example", []),
    ],
)
def test_names_are_resolved_to_numbers(name, addresses):
    assert Host().resolve(name) == addresses


def test_addresses_keep_their_order_from_one_lookup_to_the_next(monkeypatch):
    """A name server hands out several addresses in turn, and an image must not be built anew for that."""
    entries = [
        (2, 1, 6, "", ("192.0.2.9", 0)),
        (10, 1, 6, "", ("2001:db8::2", 0, 0, 0)),
        (2, 1, 6, "", ("192.0.2.1", 0)),
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_words, **_options: entries)
    assert Host().resolve("server") == ["192.0.2.1", "192.0.2.9", "2001:db8::2"]


# --- what is large, and what is for oneself alone --------------------------------------------------------------------
def test_a_large_file_is_written_in_pieces_and_renamed(host, tmp_path):
    host.make_directories("/var/crash")
    host.write_pieces("/var/crash/vmcore-incomplete", (bytes([n]) * 1000 for n in range(3)))
    host.rename("/var/crash/vmcore-incomplete", "/var/crash/vmcore")
    assert host.read("/var/crash/vmcore") == b"".join(bytes([n]) * 1000 for n in range(3))
    assert host.listdir("/var/crash") == ["vmcore"]
    assert (tmp_path / "var/crash/vmcore").stat().st_mode & 0o777 == 0o600


def test_the_beginning_of_a_device_is_overwritten_and_none_is_made(host):
    host.write("/dev/vdb", b"x" * 10)
    host.overwrite("/dev/vdb", bytes(4))
    assert host.read("/dev/vdb") == bytes(4) + b"x" * 6
    with pytest.raises(FileNotFoundError):
        host.overwrite("/dev/vdc", bytes(4))


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has mounts of its own")


@root_only
def test_a_process_apart_answers_fails_or_is_ended(host):
    assert host.apart(lambda: {"bytes that are no UTF-8": "\udcff"}, 30) == {"bytes that are no UTF-8": "\udcff"}
    with pytest.raises(FileNotFoundError, match="/no/such"):
        host.apart(lambda: os.listdir("/no/such"), 30)
    with pytest.raises(OSError, match="ValueError: no number"):
        host.apart(refuse_a_number, 30)
    with pytest.raises(OSError, match="did not end"):
        host.apart(lambda: time.sleep(3600), 0.3)


def refuse_a_number():
    raise ValueError("no number")


@root_only
def test_what_is_mounted_apart_is_seen_there_alone(host, tmp_path):
    point = str(tmp_path)

    def mount():
        done = host.run(["mount", "-t", "tmpfs", "none", point])
        return [done.rc, done.err, os.path.ismount(point)]

    assert host.apart(mount, 60) == [0, "", True]
    assert not os.path.ismount(point)


# --- accounts ------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
def test_what_is_done_as_an_account_is_done_with_its_rights():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chmod(folder, 0o711)
        _as_nobody(Host(folder), Host().account("nobody"))


def _as_nobody(host, nobody):
    host.make_directories("/own")
    os.chown(host.path("/own"), nobody.uid, nobody.gid)
    host.write("/secret", b"root's", 0o600)
    groups = os.getgroups()
    with host.as_account(nobody):
        host.write("/own/file", b"x", 0o600)
        os.symlink("/secret", host.path("/own") + "/link")
        with pytest.raises(PermissionError):
            host.read("/own/link")
        assert host.is_writable("/own") and not host.is_writable("/secret")
    assert (os.geteuid(), os.getgroups()) == (0, groups)
    found = os.stat(host.path("/own/file"))
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (nobody.uid, nobody.gid, 0o600)
    os.chown(host.path("/own/file"), nobody.uid, 0)  # a group that the account is not in
    with host.as_account(nobody):
        host.write("/own/file", b"y")
    found = os.stat(host.path("/own/file"))
    assert (host.read("/own/file"), found.st_gid, found.st_mode & 0o777) == (b"y", nobody.gid, 0o600)


def test_an_account_that_is_not_there_is_none():
    assert Host().account("no-such-account") is None
    assert Host().account().uid == os.geteuid()


def test_a_directory_that_another_process_has_just_made_is_no_error(tmp_path, monkeypatch):
    made = os.mkdir

    def mkdir(path, *mode):
        made(path, *mode)
        raise FileExistsError(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    Host(str(tmp_path)).make_directories("/a/b")
    assert (tmp_path / "a" / "b").is_dir()
