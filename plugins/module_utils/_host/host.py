# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One machine, as the rest of the collection sees it: the only door to files, programs and the kernel.

Private to this collection. Tests hand it a directory as root and a function in place of the programs.
Every path given to it is absolute and as the machine's own processes see it.
"""

import contextlib
import errno
import fcntl
import glob
import os
import pwd
import random
import socket
import stat
import time
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

from . import apart, commands, files, panic, syscalls, zstd


class Kernel(NamedTuple):
    """uname(2): `release` as in /lib/modules, `machine` as in `uname -m`."""

    release: str
    machine: str


class Account(NamedTuple):
    """passwd(5): `home` as an absolute path."""

    name: str
    uid: int
    gid: int
    home: str


class Host:
    """Files below `root`, programs through `runner`, the kernel named by `kernel` (default: the running one)."""

    def __init__(
        self,
        root: str = "/",
        runner: Callable[..., commands.Result] = commands.run,
        kernel: Optional[Kernel] = None,
    ) -> None:
        self.root = root
        self._runner = runner
        if kernel is None:
            names = os.uname()
            kernel = Kernel(names.release, names.machine)
        self.kernel = kernel
        self._answers: Dict[str, bool] = {}

    # --- reading -----------------------------------------------------------------------------------------------
    def path(self, path: str) -> str:
        """The real path of `path` below root, symbolic links followed as this machine would follow them."""
        return files.resolve(self.root, path)

    def realpath(self, path: str) -> str:
        """As path(), but as the machine itself would name it."""
        below = os.path.relpath(self.path(path), self.root)
        return "/" if below == "." else "/" + below

    def read(self, path: str, limit: int = -1) -> bytes:
        """The bytes of a file, `limit` at most; OSError as open(2) gives it."""
        with open(self.path(path), "rb") as file:
            return file.read(limit)

    def read_text(self, path: str, default: Optional[str] = None) -> str:
        """A file as text, undecodable bytes kept as surrogates. `default`, when given, stands for a missing file."""
        try:
            return self.read(path).decode("utf-8", "surrogateescape")
        except OSError as error:
            if default is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            return default

    def open(self, path: str) -> IO[bytes]:
        """A file opened for reading, for those too large to read whole."""
        return open(self.path(path), "rb")

    def stat(self, path: str) -> Optional[os.stat_result]:
        """stat(2), links followed; None where there is nothing."""
        try:
            return os.stat(self.path(path))
        except OSError:
            return None

    def answers(self, path: str, seconds: float) -> bool:
        """Whether the file system at a path answers within so many seconds; a path is asked once. There need be nothing."""
        if path not in self._answers:
            # path() would look at it here. statfs(2) asks the server, whatever is cached.
            argv = ["stat", "-f", "--", self.root.rstrip("/") + path]
            self._answers[path] = not self.run(argv, timeout=seconds).ended
        return self._answers[path]

    def exists(self, path: str) -> bool:
        return self.stat(path) is not None

    def is_file(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISREG(found.st_mode)

    def is_dir(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_block_device(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISBLK(found.st_mode)

    def device_number(self, path: str) -> str:
        """The "major:minor" of a block device, as mountinfo and sysfs write it; "" for anything else."""
        found = self.stat(path)
        if found is None or not stat.S_ISBLK(found.st_mode):
            return ""
        return "%d:%d" % (os.major(found.st_rdev), os.minor(found.st_rdev))

    def is_executable(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)

    def readlink(self, path: str) -> Optional[str]:
        """What a symbolic link holds, unresolved; None for anything else."""
        folder, name = os.path.split(path.rstrip("/"))
        try:
            return os.readlink(os.path.join(self.path(folder), name))
        except OSError:
            return None

    def listdir(self, path: str) -> List[str]:
        """The sorted names in a directory; none where there is no directory."""
        try:
            return sorted(os.listdir(self.path(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def glob(self, pattern: str) -> List[str]:
        """Sorted paths, as this machine names them."""
        found = glob.glob(os.path.join(glob.escape(self.root), pattern.lstrip("/")))
        return sorted("/" + os.path.relpath(path, self.root) for path in found)

    def free_bytes(self, path: str) -> int:
        """Bytes free to root on the file system that holds path."""
        found = os.statvfs(self.path(path))
        return found.f_bfree * found.f_frsize

    def which(self, name: str) -> Optional[str]:
        """Where root's shell would find a program, or None."""
        for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            if self.is_executable(folder + "/" + name):
                return folder + "/" + name
        return None

    # --- changing ----------------------------------------------------------------------------------------------
    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file atomically and durably; its directory is made if need be. See files.write_atomic."""
        real = self.path(path)
        files.make_directories(os.path.dirname(real), 0o755)
        files.write_atomic(real, data, mode)

    def write_pieces(self, path: str, pieces: Iterable[bytes], mode: int = 0o600) -> None:
        """Write a file that is too large for the memory, in place and durably; what was there is lost."""
        real = self.path(path)
        with open(real, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        files.sync_directory(os.path.dirname(real))

    def rename(self, path: str, new: str) -> None:
        """Give a file another name, durably; a file of that name is replaced."""
        real = self.path(new)
        os.rename(self.path(path), real)
        files.sync_directory(os.path.dirname(real))

    def overwrite(self, path: str, data: bytes) -> None:
        """Write over the beginning of a file or device that is there, durably."""
        descriptor = os.open(self.path(path), os.O_WRONLY)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directories(self, path: str, mode: int = 0o755) -> None:
        files.make_directories(self.path(path), mode)

    def chmod(self, path: str, mode: int) -> None:
        """Set a file's mode, and nothing else of it."""
        os.chmod(self.path(path), mode)

    def remove(self, path: str) -> None:
        """Remove a file or a symbolic link; one that is gone already is no error."""
        folder, name = os.path.split(path.rstrip("/"))
        real = self.path(folder)
        try:
            os.unlink(os.path.join(real, name))
        except FileNotFoundError:
            return
        files.sync_directory(real)

    def remove_empty_directory(self, path: str) -> None:
        """Remove a directory if there is nothing in it."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                os.rmdir(self.path(path))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    def symlink(self, target: str, path: str) -> None:
        """Make path a symbolic link to target, atomically."""
        folder, name = os.path.split(path)
        files.make_directories(self.path(folder), 0o755)
        real = os.path.join(self.path(folder), name)
        temporary = files.temporary_of(real)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.rename(temporary, real)
        files.sync_directory(os.path.dirname(real))

    def temporary(self, path: str) -> str:
        """Where write() and symlink() prepare what is to be at path: there after a kill -9, and at no other time."""
        return files.temporary_of(path)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Hold an exclusive flock(2) on a file, waiting for whoever has it; it ends with the process.

        Only its owner may open it: whoever can read a file can also lock it, and keep everybody else waiting.
        """
        real = self.path(path)
        files.make_directories(os.path.dirname(real), 0o755)
        with open(real, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- what the standard library of Python 3.6 lacks -----------------------------------------------------------
    def unzstd(self, data: bytes, limit: int = 256 << 20) -> bytes:
        """zstd data unpacked, `limit` bytes at most; OSError without libzstd, ValueError for broken data."""
        return zstd.decompress(data, limit)

    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets."""
        return time.monotonic()

    # --- accounts ----------------------------------------------------------------------------------------------
    def account(self, name: str = "") -> Optional[Account]:
        """An account by its name, "" for that of this process; None where there is none."""
        try:
            found = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
        except KeyError:
            return None
        return Account(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)

    @contextlib.contextmanager
    def as_account(self, account: Account) -> Iterator[None]:
        """Do something with no more rights on files than an account has, and in its name.

        What it finds there may be under that account's control, symbolic links included.
        """
        uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
        if account.uid == uid:
            yield
            return
        os.initgroups(account.name, account.gid)
        os.setegid(account.gid)
        os.seteuid(account.uid)
        try:
            yield
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)

    def is_writable(self, path: str) -> bool:
        """Whether this process, or the account that it acts as, may write in a file or a directory."""
        return os.access(self.path(path), os.W_OK, effective_ids=True)

    # --- programs ----------------------------------------------------------------------------------------------
    def run(self, argv: List[str], **options: Any) -> commands.Result:
        """Run a program (see commands.run for timeout and stdin). Its exit code proves nothing: look again."""
        return self._runner(argv, **options)

    def apart(self, function: Callable[[], Any], timeout: float) -> Any:
        """What a function returns (as JSON) that may mount something for itself alone. See apart.call."""
        return apart.call(function, timeout)

    # --- the network -------------------------------------------------------------------------------------------
    def resolve(self, name: str) -> List[str]:
        """The numeric addresses of a host's name, or an address itself; none where it is not resolved.

        Sorted within each family, because name servers hand them out in turn; the families in the resolver's order.
        """
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # a label of a name may be too long for IDNA
            return []
        families = [entry[0] for entry in found]
        unique = {(families.index(entry[0]), str(entry[4][0])) for entry in found}
        return [address for _family, address in sorted(unique)]

    # --- the kernel --------------------------------------------------------------------------------------------
    def kexec_refusal(self) -> str:
        """Why this process cannot load kernels on this machine at all; "" when it can. See syscalls.refusal."""
        return syscalls.refusal(self.kernel.machine)

    def kexec_file_load(self, kernel: str, initrd: str, cmdline: str, crash: bool) -> None:
        """kexec_file_load(2) of two files; initrd "" for none. OSError as the kernel gives it, or as open(2) does."""
        flags = (syscalls.FILE_ON_CRASH if crash else 0) | (0 if initrd else syscalls.FILE_NO_INITRAMFS)
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(self.open(kernel)).fileno()
            opened_initrd = stack.enter_context(self.open(initrd)).fileno() if initrd else -1
            line = cmdline.encode("utf-8", "surrogateescape")
            syscalls.kexec_file_load(self.kernel.machine, opened, opened_initrd, line, flags)

    def kexec_unload(self, crash: bool) -> None:
        """Unload what is loaded, by the call that secure boot permits where the kernel has it. OSError as above."""
        flags = syscalls.FILE_UNLOAD | (syscalls.FILE_ON_CRASH if crash else 0)
        try:
            syscalls.kexec_file_load(self.kernel.machine, -1, -1, b"", flags)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            syscalls.kexec_unload_segments(self.kernel.machine, syscalls.LOAD_ON_CRASH if crash else 0)

    def panic_later(self, note: str, seconds: float) -> None:
        """Write everything to the disks, a note into the kernel's log, and panic after some seconds. OSError if it cannot."""
        os.sync()
        with open(self.path("/dev/kmsg"), "wb", buffering=0) as log:
            log.write(note.encode("ascii", "replace") + b"\n")
        panic.later(self.path("/proc/sysrq-trigger"), seconds)

    # --- time --------------------------------------------------------------------------------------------------
    def sleep_about(self, seconds: float) -> None:
        """Wait that long, and up to as long again, so that hosts that began together do not go on so."""
        time.sleep(seconds * random.uniform(1, 2))

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
