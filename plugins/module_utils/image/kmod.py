# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel modules: what depmod(8) knows about them, the order to load them in, their bytes. Private to this collection.

Sources: modprobe(8), modules.dep(5), and libkmod of the kmod project for names, aliases and soft dependencies.
"""

import fnmatch
import gzip
import lzma
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Set

from .. import cmdline
from ..kexec_cmdline import fed
from ..problems import KdumpError, Problem, fail, shown

_MODPROBE_FOLDERS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)


class Module(NamedTuple):
    """A module to be loaded: its file on the host, and what modprobe.d says to load it with."""

    name: str
    path: str
    options: str


class _Soft(NamedTuple):
    before: List[str]
    after: List[str]


def normal(name: str) -> str:
    """A module's name as the kernel has it: `-` and `_` are the same in it."""
    return name.replace("-", "_")


def name_of(path: str) -> str:
    """The module in a file such as kernel/drivers/block/virtio_blk.ko.xz."""
    return normal(path.rsplit("/", 1)[-1].split(".ko")[0])


class Modules:
    """The modules of one kernel release."""

    def __init__(self, host: Any, release: str) -> None:
        self._host = host
        self.release = release
        self._folder = "/lib/modules/" + release
        self._depends = _parse_dep(self._text("modules.dep"))
        self._builtin = {name_of(line) for line in self._text("modules.builtin").split("\n") if line}
        self._aliases = [line for line in self._text("modules.alias").split("\n") if line.startswith("alias ")]
        config = _config(host)
        self._soft = _parse_softdep(self._text("modules.softdep") + "\n" + config)
        self._options = _parse_options(config)
        self._options["watchdog"] = cmdline.join(fed(cmdline.split(self._options.get("watchdog", "")), ""))
        if not self._depends and not self._builtin:
            raise fail(
                "Nothing is known about the modules of kernel %s: %s/modules.dep is missing." % (release, self._folder),
                "Install that kernel's modules, or run `depmod %s`." % release,
                value=release,
            )

    def _text(self, name: str) -> str:
        text = self._host.read_text(self._folder + "/" + name, "")
        return str(text)

    def find(self, name: str) -> List[str]:
        """The names that a name or an alias stands for, as modprobe resolves it; none for what is not known.

        A module of that name wins over aliases; a built-in one is no module to load and gives none.
        """
        plain = normal(name)
        if plain in self._depends:
            return [plain]
        return [] if plain in self._builtin else self.matching(name)

    def known(self, name: str) -> bool:
        return normal(name) in self._builtin or bool(self.find(name))

    def below(self, folder: str) -> List[str]:
        """The modules whose files are below a folder of the kernel's own, such as drivers/watchdog."""
        return sorted(name for name, paths in self._depends.items() if paths[0].startswith("kernel/%s/" % folder))

    def matching(self, alias: str) -> List[str]:
        """The modules whose alias patterns match a modalias, in the order of modules.alias."""
        found: List[str] = []
        for line in self._aliases:
            pattern, _blank, name = line[len("alias ") :].rpartition(" ")
            # Few of tens of thousands have the same beginning: compiling every pattern would take seconds.
            literal = pattern.split("*")[0].split("?")[0].split("[")[0]
            if not (alias.startswith(literal) or normal(alias).startswith(normal(literal))):
                continue
            same = fnmatch.fnmatchcase(alias, pattern) or normal(alias) == normal(pattern)
            if same and normal(name) in self._depends and normal(name) not in found:
                found.append(normal(name))
        return found

    def load_order(self, wanted: List[str]) -> List[Module]:
        """The modules for names and aliases, each after what it needs, soft dependencies included.

        Names that mean nothing here are passed over: whoever must have one asks known() first.
        """
        order: List[str] = []
        entered: Set[str] = set()

        def visit(name: str) -> None:
            if name in entered:
                return
            entered.add(name)
            soft = self._soft.get(name, _Soft([], []))
            for other in soft.before:
                for found in self.find(other):
                    visit(found)
            # modules.dep lists what is needed first last (modules.dep(5)).
            for path in reversed(self._depends[name][1:]):
                if name_of(path) in self._depends:
                    visit(name_of(path))
            order.append(name)
            for other in soft.after:
                for found in self.find(other):
                    visit(found)

        for name in wanted:
            for found in self.find(name):
                visit(found)
        return [Module(name, self._path(name), self._options.get(name, "")) for name in order]

    def _path(self, name: str) -> str:
        path = self._depends[name][0]
        return path if path.startswith("/") else self._folder + "/" + path


def _parse_dep(text: str) -> Dict[str, List[str]]:
    """modules.dep: each module's name with its own file and those it needs."""
    found = {}
    for line in text.split("\n"):
        path, colon, rest = line.partition(":")
        if colon:
            found[name_of(path)] = [path] + rest.split()
    return found


def _parse_softdep(text: str) -> Dict[str, _Soft]:
    """modules.softdep and modprobe.d: `softdep NAME pre: a b post: c`; what stands before a label is nothing (libkmod)."""
    found: Dict[str, _Soft] = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) < 3 or words[0] != "softdep":
            continue
        soft = found.setdefault(normal(words[1]), _Soft([], []))
        into: Optional[List[str]] = None
        for word in words[2:]:
            if word in ("pre:", "post:"):
                into = soft.before if word == "pre:" else soft.after
            elif into is not None:
                into.append(word)
    return found


def _config(host: Any) -> str:
    """The lines of modprobe.d(5), each in one piece; a file name in an earlier directory hides those in later ones."""
    files: Dict[str, str] = {}
    for folder in _MODPROBE_FOLDERS:
        for name in host.listdir(folder):
            if name.endswith(".conf"):
                files.setdefault(name, folder + "/" + name)
    return "\n".join(host.read_text(files[name], "").replace("\\\n", " ") for name in sorted(files))


def _parse_options(config: str) -> Dict[str, str]:
    """`options NAME PARAMETERS`, which the kernel is given as they stand: it knows quotation marks (kernel/params.c)."""
    found: Dict[str, List[str]] = {}
    for line in config.split("\n"):
        words = line.split(None, 2)
        if len(words) == 3 and words[0] == "options":
            found.setdefault(normal(words[1]), []).append(words[2].strip())
    return {name: " ".join(parameters) for name, parameters in found.items()}


def unpack(host: Any, path: str) -> bytes:
    """The plain bytes of a module, whichever way it is compressed; KdumpError where that does not work."""
    data = bytes(host.read(path))
    try:
        if path.endswith(".gz"):
            data = gzip.decompress(data)
        elif path.endswith(".xz"):
            data = lzma.decompress(data)
        elif path.endswith(".zst"):
            data = host.unzstd(data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise fail(
            "The kernel module %s cannot be unpacked: %s." % (path, error),
            "Reinstall the package of that kernel%s." % (", or install libzstd" if path.endswith(".zst") else ""),
            value=path,
        ) from error
    if data[:4] != b"\x7fELF":
        raise fail(
            "The kernel module %s is broken: it is no ELF file." % path, "Reinstall that kernel's package.", value=path
        )
    return data


def left_out(modules: Modules, names: List[str]) -> List[Problem]:
    """A warning for each of extra_modules that is neither there nor built in.

    kdumpctl too says no more than `Module … not found`: what a new kernel has lost must not leave the host without an image.
    """
    return [
        Problem(
            "extra_modules: there is no module %s for kernel %s." % (shown(name), modules.release),
            "It is left out of the capture image.", "extra_modules", name,
        )
        for name in names if not modules.known(name)
    ]  # fmt: skip


def require(modules: Modules, names: List[str], why: str) -> None:
    """KdumpError naming each module that is neither there nor built in."""
    missing = [name for name in names if not modules.known(name)]
    if missing:
        raise KdumpError(
            [
                Problem(
                    "Kernel %s has no module %s, which %s needs." % (modules.release, name, why),
                    "Install the package with that kernel's full set of modules.",
                    value=name,
                )
                for name in missing
            ]
        )
