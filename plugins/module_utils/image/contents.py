# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes into a capture image, by name and source, before a byte of it is written. Private to this collection."""

import hashlib
import re
import stat
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Union

from ..problems import KdumpError, Missing, Problem, fail
from . import cpio, elf, kmod

MODULES = "usr/lib/kdump/"
_COMPRESSION = 5  # level 6 takes half as long again for one part in a hundred
# File systems are mounted over these in the capture kernel (init.SCRIPT): nothing of the image is seen there.
_COVERED = ("dev", "kdump", "proc", "run", "sys", "tmp")
_OURS = ("/init", "/etc/passwd", "/etc/nsswitch.conf") + tuple(
    "/etc/kdump/" + name
    for name in "digest modules modules-report network network-fence network-root plan udhcpc ssh/key".split()
)
# The image is always laid out with everything under /usr.
_MERGED = ("bin", "sbin", "lib", "lib64")


# Interpreters that run nothing without the files of their language.
_LIBRARIES = re.compile(r"(python|pypy|perl|ruby|node|php|tclsh|lua|guile)[0-9.]*$")


class Input(NamedTuple):
    """A file of the image: its name there, where it comes from on the host ("" for what is made here), its content.

    `data` is None for a file of the host, which is read when the image is built.
    """

    name: str
    mode: int
    source: str
    data: Optional[bytes]
    sha256: str
    module: bool = False  # a kernel module, which is packed anew


def place(path: str) -> str:
    """Where a path of the host lies in the image."""
    parts = [part for part in path.split("/") if part]
    return "/".join(["usr"] + parts if parts[0] in _MERGED else parts)


class Contents:
    """Collects the inputs, each once; nothing is written."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._linker = elf.Linker(host)
        self._links: Dict[str, str] = {}
        self.inputs: Dict[str, Input] = {}
        self.library_folders: List[str] = []

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        data = text.encode("utf-8", "surrogateescape")
        self.inputs[name] = Input(name, stat.S_IFREG | mode, "", data, hashlib.sha256(data).hexdigest())

    def link(self, name: str, target: str) -> None:
        data = target.encode("utf-8", "surrogateescape")
        self.inputs[name] = Input(name, stat.S_IFLNK | 0o777, "", data, hashlib.sha256(data).hexdigest())

    def put(self, name: str, content: Union[str, bytes], mode: int) -> None:
        """A file under a name of its own: the bytes themselves, or the path of a file of the host that holds them."""
        if isinstance(content, bytes):
            digest, source, data = hashlib.sha256(content).hexdigest(), "", content  # type: str, str, Optional[bytes]
        else:
            digest, source, data = sha256_of(self._host, content), content, None
        self.inputs[name] = Input(name, stat.S_IFREG | mode, source, data, digest)

    def forget_link(self, name: str, target: str) -> None:
        """Take a symbolic link out again, if it leads there."""
        present = self.inputs.get(name)
        if present is not None and present.mode == stat.S_IFLNK | 0o777 and present.data == target.encode():
            del self.inputs[name]

    def file(self, path: str, mode: int) -> None:
        """A file of the host at its own place, and a symbolic link where the host reaches it by one."""
        real = self._host.realpath(path)
        name = place(real)
        if name not in self.inputs:
            self.inputs[name] = Input(name, stat.S_IFREG | mode, real, None, sha256_of(self._host, real))
        if place(path) != name:
            self.link(place(path), "/" + name)

    def module(self, module: kmod.Module) -> str:
        """A kernel module; its name in the image's directory of modules."""
        path = MODULES + module.name + ".ko.gz"
        digest = sha256_of(self._host, module.path)
        self.inputs[path] = Input(path, stat.S_IFREG | 0o644, module.path, None, digest, module=True)
        return module.name

    def library(self, path: str) -> None:
        self.file(path, 0o755)
        folder = "/" + place(path).rsplit("/", 1)[0]
        if folder not in self.library_folders:
            self.library_folders.append(folder)

    def program(self, path: str) -> None:
        """A program with its libraries; a script with its interpreter. KdumpError names what is missing."""
        self.file(path, 0o755)
        if self._linker.read(path) is None:
            self._interpreter(path)
            return
        for library in self._linker.libraries(path):
            self.library(library.path)

    def opened_at_runtime(self, name: str, path: str) -> None:
        """A library that a program opens by dlopen(3), where the host has it."""
        program = self._linker.read(path)
        found = self._linker.find(name, program.abi) if program is not None else None
        if found is not None:
            self.library(found)

    def _interpreter(self, path: str) -> None:
        """What runs a script: `#!/bin/sh`, `#!/usr/bin/env python3`."""
        words = self._host.read(path, 256).split(b"\n")[0].decode("utf-8", "surrogateescape").lstrip("#!").split()
        if not self._host.read(path, 2) == b"#!" or not words:
            raise fail(
                "%s is neither a program nor a script that says what runs it." % path,
                "Begin it with `#!/bin/sh`.",
                value=path,
            )
        named = [words[0]]
        if words[0].endswith("/env") and len(words) > 1:
            named.append(self._host.which(words[1]) or words[1])
        if _LIBRARIES.match(named[-1].rsplit("/", 1)[-1]):
            raise fail(
                "%s is run by %s, which needs libraries of its own that are not in the capture image."
                % (path, named[-1]),
                "Write it for /bin/sh, or compile it.",
                value=path,
            )
        for name in named:
            if place(name) in self.inputs:
                continue
            if not self._host.is_executable(name):
                raise fail("%s is run by %s, which is not on this host." % (path, name), "Install it.", value=path)
            self.program(name)


def packed(data: bytes) -> bytes:
    """Compressed by gzip, always to the same bytes (31: its header, which zlib leaves without time and name)."""
    packer = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def sha256_of(host: Any, path: str) -> str:
    """The sha256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with host.open(path) as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def entry(host: Any, item: Input) -> cpio.Entry:
    """An input as it stands in the archive."""
    if item.data is not None:
        data = item.data
    elif item.module:
        data = packed(kmod.unpack(host, item.source))
    else:
        data = bytes(host.read(item.source))
    return cpio.Entry(item.name, item.mode, data)


class Tools:
    """The programs of the image: busybox's where the host has it and it has them, the host's own otherwise."""

    def __init__(self, host: Any, contents: Contents) -> None:
        self._host = host
        self._contents = contents
        self._missing: Dict[str, Problem] = {}  # by the program
        self.busybox = host.which("busybox") or ""
        self.applets: List[str] = []
        self.standalone = False  # its shell runs its own applets, whatever PATH says (Debian's busybox-static)
        if self.busybox:
            result = host.run([self.busybox, "sh", "-c", "PATH=/; command -v date"], timeout=30)
            self.standalone = result.out.strip() == "date"
            result = host.run([self.busybox, "--list"], timeout=30)
            self.applets = [name for name in result.out.split() if re.fullmatch(r"[A-Za-z0-9_.\[-]+", name)]

    def add(self, name: str, package: str = "", own: bool = False) -> None:
        """One tool by name; `own` where busybox's does not do."""
        if name in self.applets and not own:
            self._busybox()
            self._contents.link("usr/bin/" + name, "/" + place(self.busybox))
            return
        path = self._host.which(name)
        if path is None:
            missing = Problem(
                "The program %s is not on this host, and the capture image needs it." % name,
                "Install the package %s." % (package or "that holds it"),
                value=name,
            )
            self._missing.setdefault(name, missing)
            return
        if own and self.busybox:
            self._contents.forget_link("usr/bin/" + name, "/" + place(self.busybox))
        self._contents.program(path)

    def end(self) -> None:
        """Missing, with all programs that this host lacks."""
        if self._missing:
            raise Missing(list(self._missing.values()))

    def add_all_applets(self) -> None:
        """Everything that busybox can do, for scripts and people."""
        for name in self.applets:
            if "usr/bin/" + name not in self._contents.inputs and "usr/sbin/" + name not in self._contents.inputs:
                self.add(name)

    def _busybox(self) -> None:
        if place(self.busybox) not in self._contents.inputs:
            self._contents.program(self.busybox)

    @property
    def restart(self) -> str:
        """The command that restarts the machine without an init system, "" where the kernel's sysrq must do."""
        whole = {"reboot", "poweroff", "halt"} <= set(self.applets)
        return "/" + place(self.busybox) if whole else ""


def hook(host: Any, contents: Contents, path: str, option: str) -> None:
    """A script or program of the administrator's; KdumpError where it cannot be run."""
    if not path.startswith("/") or not host.is_executable(path):
        raise KdumpError(
            [
                Problem(
                    "%s %s is not an executable file on this host." % (option, path),
                    "Give the absolute path of a file with its execute bit set (chmod +x).",
                    option,
                    path,
                )
            ]
        )
    real = host.realpath(path)
    if path.split("/")[1] in _COVERED or real.split("/")[1] in _COVERED:
        raise fail(
            "%s %s lies where the capture kernel mounts a file system of its own (%s)." % (option, path, real),
            "Move the file, for example to /etc/kdump or /usr/local/sbin.",
            option,
            path,
        )
    if real in _OURS or path in _OURS:
        raise fail(
            "%s %s has the name of a file that the capture image has of its own." % (option, path),
            "Give the file another name.",
            option,
            path,
        )
    contents.program(path)
