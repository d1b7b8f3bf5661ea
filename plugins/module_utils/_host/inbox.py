# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's directory on a dump server, as the host may use it. Private to this collection.

Everything is reached from an open directory by names without a slash, and no symbolic link is followed below the root,
so that nothing that is changed meanwhile leads elsewhere: over NFS a host may change what it likes there. Nothing is
overwritten. OSError as the calls give it.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from typing import IO, Callable, ContextManager, Iterator, List, NamedTuple, Optional

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe of that name keeps nobody waiting
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 8  # directories between a host's own and its dumps
_MOST_FOLDERS = 1000  # of a host: no directory can be filled with nothing


class Limits(NamedTuple):
    """Bytes; 0 for no limit. `host` is what one may keep here, `total` what all may, `free` what stays for others."""

    host: int = 0
    total: int = 0
    free: int = 0


class Inbox:
    """The directory `root`/`name`. It is made if it is missing, `root` is not."""

    def __init__(self, root: str, name: str) -> None:
        self.path = root.rstrip("/") + "/" + name
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _make(self._root, name)
        self._host = os.open(name, _DIRECTORY, dir_fd=self._root)

    def close(self) -> None:
        os.close(self._host)
        os.close(self._root)

    # --- folders -----------------------------------------------------------------------------------------------
    def make_folder(self, folder: str, new: bool = False) -> None:
        """A dump's folder; that it is there already is an error only where it is to be a new one."""
        if not self.has(folder):
            self._check_number(folder)
        _make(self._host, folder, new)

    def _check_number(self, name: str) -> None:
        if len(os.listdir(self._host)) >= _MOST_FOLDERS:
            raise OSError(errno.EMLINK, "there are %d folders already, more are not kept" % _MOST_FOLDERS, name)

    def has(self, folder: str, name: str = "") -> bool:
        """Whether there is a folder, or a file in it."""
        try:
            with self._opened(folder) as inside:
                return not name or stat.S_ISREG(os.lstat(name, dir_fd=inside).st_mode)
        except OSError:
            return False

    def make_probe(self) -> str:
        """The name of a new empty directory."""
        self._check_number("tmp")
        for name in ("tmp." + secrets.token_hex(5) for dummy in range(100)):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._host)
                return name
        raise OSError(errno.EEXIST, "no name is free")

    def remove_probe(self, name: str) -> None:
        """Remove it, if it is empty."""
        os.rmdir(name, dir_fd=self._host)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with its files. What is no file in it stays, and OSError tells of it."""
        with self._opened(folder) as inside:
            for name in os.listdir(inside):
                os.unlink(name, dir_fd=inside)
        parent, _slash, name = folder.rpartition("/")
        with self._opened(parent) as above:
            os.rmdir(name, dir_fd=above)

    def _opened(self, folder: str) -> ContextManager[int]:
        return _inside(self._host, folder)

    # --- files -------------------------------------------------------------------------------------------------
    def create(self, folder: str, name: str) -> "NewFile":
        """A new file. It is locked while it is open: it is neither renamed nor removed then."""
        with self._opened(folder) as inside:
            descriptor = os.open(name, _NEW, 0o600, dir_fd=inside)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.fsync(inside)
        return NewFile(descriptor)

    def rename(self, folder: str, name: str, target: str) -> None:
        """Give a file another name, unless there is a file of that name; BlockingIOError while it is being written."""
        with self._opened(folder) as inside:
            try:
                descriptor = os.open(name, _FILE, dir_fd=inside)
            except FileNotFoundError:
                if self.has(folder, target):
                    return  # who was cut off before the answer asks again
                raise
            try:
                _check_unlocked(descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.link(name, target, src_dir_fd=inside, dst_dir_fd=inside, follow_symlinks=False)
            os.unlink(name, dir_fd=inside)
            os.fsync(inside)

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """A small file, whether there was one or not."""
        temporary = ".%s.%s" % (name, secrets.token_hex(5))
        with self._opened(folder) as inside:
            with os.fdopen(os.open(temporary, _NEW, 0o600, dir_fd=inside), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=inside, dst_dir_fd=inside)
            os.fsync(inside)

    def read(self, folder: str, name: str, limit: int) -> bytes:
        """The beginning of a file."""
        with self._opened(folder) as inside:
            descriptor = os.open(name, _FILE, dir_fd=inside)
            try:
                return os.read(descriptor, limit)
            finally:
                os.close(descriptor)

    # --- room --------------------------------------------------------------------------------------------------
    def room(self, limits: Limits) -> int:
        """How many bytes may still come, less than 0 where there is too much already."""
        found = os.fstatvfs(self._host)
        left = [found.f_bavail * found.f_frsize - limits.free]
        if limits.host:
            left.append(limits.host - _size(self._host))
        if limits.total:
            left.append(limits.total - _size(self._root))
        return min(left)

    def connection(self, most: int) -> Optional[int]:
        """A descriptor that stands for one of `most` connections of this host until it is closed; None for one more."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        for number in range(most):
            descriptor = os.open(".connection-%d" % number, flags, 0o600, dir_fd=self._host)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                os.close(descriptor)
        return None


class NewFile:
    """A file that is being received, `size` bytes so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            done = os.write(self._descriptor, rest)
            self.size += done
            rest = rest[done:]

    def close(self) -> None:
        """On the disk, not in memory alone, when this returns."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


class View:
    """What dumps.listed() asks of a Host, for a directory of hosts' making. Paths begin in it, and no link is followed."""

    def __init__(self, path: str) -> None:
        self._root = os.open(path, _DIRECTORY)

    def close(self) -> None:
        os.close(self._root)

    def listdir(self, path: str) -> List[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), _inside(
            self._root, path
        ) as inside:
            return sorted(os.listdir(inside))
        return []

    def stat(self, path: str) -> Optional[os.stat_result]:
        folder, _slash, name = path.rpartition("/")
        with contextlib.suppress(OSError), _inside(self._root, folder) as inside:
            return os.lstat(name, dir_fd=inside)
        return None

    def is_file(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISREG(found.st_mode)

    def open(self, path: str) -> IO[bytes]:
        folder, _slash, name = path.rpartition("/")
        with _inside(self._root, folder) as inside:
            return os.fdopen(os.open(name, _FILE, dir_fd=inside), "rb")

    def read(self, path: str, limit: int = -1) -> bytes:
        with self.open(path) as file:
            return file.read(limit)


# --- what lies on the server, for its retention ----------------------------------------------------------------------
class Stored(NamedTuple):
    """A dump's folder: bytes of its files, the time of its last change, whether it is being written to."""

    host: str
    folder: str  # below the host's directory, where it lies deeper if it came over NFS: kdump.conf's path counts there
    names: List[str]
    bytes: int
    changed: float
    busy: bool


def stored(root: str, is_folder: Callable[[str], bool]) -> Iterator[Stored]:
    """The folders of every host, by their names; nothing behind a link, or that may not be read (lost+found)."""
    for host in _directories(root):
        for folder in _folders(host.path, is_folder, _DEEPEST):
            found = None
            with contextlib.suppress(OSError):  # it changes at this moment, so there is nothing to remove yet
                found = _stored(host, folder)
            if found is not None:
                yield found


def _stored(host: "os.DirEntry[str]", folder: "os.DirEntry[str]") -> Stored:
    files = [entry for entry in _entries(folder.path) if entry.is_file(follow_symlinks=False)]
    sizes = [entry.stat(follow_symlinks=False) for entry in files]
    own = folder.stat(follow_symlinks=False)
    return Stored(
        host.name, folder.path[len(host.path) + 1 :], sorted(entry.name for entry in files),
        sum(_taken(one) for one in sizes), max(_changed(one) for one in [own] + sizes),
        any(_is_locked(entry.path) for entry in files),
    )  # fmt: skip


def _folders(path: str, is_folder: Callable[[str], bool], deepest: int) -> Iterator["os.DirEntry[str]"]:
    for entry in _directories(path) if deepest else []:
        if is_folder(entry.name):
            yield entry
        else:
            yield from _folders(entry.path, is_folder, deepest - 1)


def free_bytes(root: str) -> int:
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


# --- parts ---------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def _inside(root: int, folder: str) -> Iterator[int]:
    """A descriptor of a folder below an open directory, "" for that itself. No component may be a link."""
    descriptor = os.open(".", _DIRECTORY, dir_fd=root)
    try:
        for name in filter(None, folder.split("/")):
            above, descriptor = descriptor, os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(parent: int, name: str, new: bool = False) -> None:
    """A durable directory for its owner alone; one that is there stays as it is, if it need not be `new`."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        os.fsync(parent)
    except FileExistsError:
        if new:
            raise
        os.close(os.open(name, _DIRECTORY, dir_fd=parent))  # a link or a file is none


def _entries(path: str) -> List["os.DirEntry[str]"]:
    with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError):  # the last two: changed meanwhile
        return list(os.scandir(path))
    return []


def _directories(path: str) -> List["os.DirEntry[str]"]:
    return [entry for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]


def _taken(found: os.stat_result) -> int:
    """Bytes that a file takes: those written, for what has not reached the disk; blocks, for what has holes."""
    return min(found.st_size, found.st_blocks * 512) if found.st_blocks else found.st_size


def _changed(found: os.stat_result) -> float:
    """When a file was last written to. Over NFS a host can give it any time but that of its inode's last change."""
    return min(found.st_mtime, found.st_ctime)


def _size(directory: int) -> int:
    """Bytes of the files below a directory, as deep as dumps may lie: fwalk holds a descriptor for each level."""
    total = 0
    for path, folders, names, inside in os.fwalk(".", dir_fd=directory, follow_symlinks=False):
        if path.count("/") > _DEEPEST + 1:
            folders.clear()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += _taken(os.lstat(name, dir_fd=inside))
    return total


def _is_locked(path: str) -> bool:
    """Whether the file is being received; one that may not be read is not, for what is received here may."""
    try:
        descriptor = os.open(path, _FILE)
    except PermissionError:
        return False
    try:
        _check_unlocked(descriptor)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _check_unlocked(descriptor: int) -> None:
    """BlockingIOError while the file is being received. Shared, as all who only look: one look is not in another's way."""
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
