# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files: atomic, durable writes, and paths resolved below a root. Private to this collection."""

import contextlib
import errno
import os
import stat
from typing import List, Optional, Union

_MAX_LINKS = 40  # the kernel's own limit, include/linux/namei.h: MAXSYMLINKS
_ATTRIBUTES = ("security.selinux", "system.posix_acl_access")  # xattr(7)


def resolve(root: str, path: str) -> str:
    """The real path, below root, of an absolute path as a process with that root would see it.

    Symbolic links, absolute ones too, stay below root. The last components need not exist. OSError ELOOP for a loop.
    """
    pending = [part for part in path.split("/") if part][::-1]
    done: List[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == ".":
            continue
        if part == "..":
            del done[-1:]
            continue
        here = os.path.join(root, *(done + [part]))
        try:
            target = os.readlink(here)
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done = []
        pending.extend([piece for piece in target.split("/") if piece][::-1])
    return os.path.join(root, *done) if done else root


def write_atomic(path: str, data: bytes, mode: int) -> None:
    """Replace a file so that every reader, and every power cut, sees either the old bytes or the new ones.

    An existing file keeps its mode, owner, SELinux label and ACL; a symbolic link to a file stays one (the file it names
    is replaced).
    """
    path = os.path.realpath(path)
    temporary = temporary_of(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _copy_owner(path, file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def temporary_of(path: str) -> str:
    """Where a file is prepared that is to take the place of another.

    A fixed name: what a killed run left behind is swept up by the next one. Writers exclude each other by Host.lock.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, ".%s.vmcore-kdump.tmp" % name)


def _copy_owner(path: str, descriptor: int, mode: int) -> None:
    try:
        old = os.stat(path)
    except OSError:
        os.fchmod(descriptor, mode)
        return
    try:
        os.fchown(descriptor, old.st_uid, old.st_gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise  # another account cannot give files away: what it writes is its own
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    for name in _ATTRIBUTES:
        wanted = _attribute(path, name)
        # Set only where it differs: without SELinux, or in a confined process, the right to set it may be missing.
        if wanted is not None and wanted != _attribute(descriptor, name):
            os.setxattr(descriptor, name, wanted)


def _attribute(file: Union[int, str], name: str) -> Optional[bytes]:
    """An extended attribute; None where there is none, or none in this file system."""
    try:
        return os.getxattr(file, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return None


def sync_directory(path: str) -> None:
    """Make a rename or an unlink in a directory durable (fsync(2): the file's own fsync does not do it)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: str, mode: int) -> None:
    """Create a directory and its missing parents, each new one durable and with that mode."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process has just made it
            os.mkdir(folder)
            os.chmod(folder, mode)
        sync_directory(os.path.dirname(folder))
