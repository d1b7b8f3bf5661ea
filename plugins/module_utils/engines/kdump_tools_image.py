# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capture image of Debian's kdump-tools: what it and a capture are made of, and having it built. Private to this
collection.

kdump-tools has no record of that: its hook for kernel packages makes the image (initramfs-tools with MODULES=dep), and
everything else is read in the crash, from the host's own root file system. Source: /etc/kernel/postinst.d/kdump-tools
and kdump-config of kdump-tools 1.8.1 and 1.10.7.
"""

import hashlib
import json
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

from .. import layout, mounts
from ..image import collector, kernel, store
from ..image.contents import sha256_of
from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Parts, Problem, fail
from . import kdump_tools_settings as variables
from .driver import Configuration

FORMAT = 1  # of the digest
STATE = layout.STATE_DIR + "/" + variables.NAME
HOOK = "/etc/kernel/postinst.d/kdump-tools"
SYSCTL = "/etc/kdump/sysctl.conf"
FOLDER = "/var/lib/kdump"
_BUILD_SECONDS = 1800  # a minute and a half on an emulated machine of two CPUs
_LEAST = 1 << 20  # bytes: an initramfs with a file system's modules and busybox is larger

_SCRIPTS = (
    HOOK, "/usr/sbin/mkinitramfs", "/usr/bin/busybox", "/bin/busybox", SYSCTL, "/etc/crypttab", "/etc/mdadm/mdadm.conf",
    "/etc/lvm/lvm.conf",
)  # fmt: skip
_TREES = ("/etc/initramfs-tools", "/usr/share/initramfs-tools", "/etc/modprobe.d")
_DEPTH = 6
_AT_CRASH = (
    variables.CONFIG, "/etc/init.d/kdump-tools", "/usr/bin/makedumpfile", "/usr/sbin/makedumpfile",
    "/usr/lib/systemd/system/kdump-tools-dump.service", "/lib/systemd/system/kdump-tools-dump.service",
)  # fmt: skip
_LOAD_ONLY = "USE_KDUMP KDUMP_KERNEL KDUMP_INITRD KDUMP_CMDLINE KDUMP_CMDLINE_APPEND KDUMP_KEXEC_ARGS".split()
_KNOWN_HOSTS = ("/root/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class Recipe(NamedTuple):
    """What a capture depends on, hashed: `image` is in the image, `crash` is read in the crash. `newest` is the time
    of the last change (ns) to a file of the image's."""

    release: str
    kernel: str
    kernel_sha256: str
    target: Dict[str, str]
    image: List[Dict[str, str]]
    crash: List[Dict[str, str]]
    newest: int

    @property
    def digest(self) -> str:
        parts = [FORMAT, self.release, self.kernel_sha256]
        parts += [[item["name"], item["sha256"]] for item in self.image + self.crash]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def image_path(release: str) -> str:
    return "%s/initrd.img-%s" % (FOLDER, release)


def sysctl_copy(release: str) -> str:
    """kdump-config deletes the image at a load when this differs from /etc/kdump/sysctl.conf or is not there."""
    return "%s/latest_sysctls-%s" % (FOLDER, release)


def unpacked(host: Any, release: str) -> int:
    """The bytes that an image's hook has written down (in MiB, from 1.10 on); 0 where it has not."""
    text = host.read_text("%s/size_initrd.img-%s" % (FOLDER, release), "").strip()
    return int(text) << 20 if re.fullmatch("[0-9]{1,6}", text) else 0


def _manifest_path(release: str) -> str:
    return "%s/%s.json" % (STATE, release)


# --- observing -----------------------------------------------------------------------------------------------------
def observe(host: Any, release: str, configuration: Configuration) -> Recipe:
    """KdumpError with all that stands in the way of a capture; Missing where it is only programs, or what propagate brings."""
    parts = Parts()
    parts.errors += configuration.problems + configuration.conf.problems
    path = parts.of("", kernel.find_kernel, host, release)
    parts.errors += kernel.check_config(host, release)
    missing = list(_missing(host, configuration.settings))
    parts.errors += _collector_problems(host, configuration)
    if configuration.settings.get("SSH"):
        missing += list(_ssh_problems(host, configuration))
    if parts.errors:
        raise KdumpError(parts.errors + missing)
    if missing:
        raise Missing(missing)
    image = list(_image_files(host, release))
    where = configuration.conf.target
    return Recipe(
        release, path, sha256_of(host, path), {"kind": where.kind, "path": where.location},
        [_input(host, file) for file in image] + [_text("root file system", _root(host))],
        [_input(host, file) for file in _crash_files(host, configuration)] + [_settings(configuration)],
        max(host.stat(file).st_ctime_ns for file in image + [path]),
    )  # fmt: skip


def _missing(host: Any, settings: Mapping[str, str]) -> Iterator[Problem]:
    wanted = [("kdump-config", "kdump-tools"), ("kexec", "kexec-tools"), ("makedumpfile", "makedumpfile"),
              ("mkinitramfs", "initramfs-tools-core")]  # fmt: skip
    wanted += [("ssh", "openssh-client")] if settings.get("SSH") else []
    wanted += [("mount.nfs", "nfs-common")] if settings.get("NFS") else []
    for program, package in wanted:
        if not host.which(program):
            yield Problem("The program %s is not installed." % program, "Install the package %s." % package)


def _collector_problems(host: Any, configuration: Configuration) -> List[Problem]:
    """What this host's makedumpfile cannot do: savecore would then copy the whole memory with cp."""
    program = host.which("makedumpfile")
    if not program or configuration.conf.problems:
        return []
    result = host.run([program, "-h"], timeout=30)
    line = "makedumpfile " + configuration.settings["MAKEDUMP_ARGS"]
    return collector.check(collector.Collector(line, "makedumpfile"), result.out + result.err)


def _ssh_problems(host: Any, configuration: Configuration) -> Iterator[Problem]:
    """In the crash ssh can ask nobody: neither for a passphrase nor whether to trust a host key."""
    key = configuration.conf.get("sshkey")
    if not host.is_file(key):
        hint = (
            "Make it and send it to the server with the module vmcore.kdump.propagate, or with kdump-config propagate."
        )
        yield Problem("The ssh key %s is not there." % key, hint, "sshkey", key)
    server = configuration.settings["SSH"].partition("@")[2]
    known = [file for file in _KNOWN_HOSTS if host.is_file(file)]
    if not any(host.run(["ssh-keygen", "-F", server, "-f", file]).rc == 0 for file in known):
        hint = "Connect to it once as root and compare its fingerprint, or put its key into /etc/ssh/ssh_known_hosts."
        yield Problem("The host key of %s is not known to root." % server, hint, "ssh", configuration.settings["SSH"])


def _image_files(host: Any, release: str) -> List[str]:
    modules = "/lib/modules/%s/" % release
    files = [path for path in _SCRIPTS if host.is_file(path) and host.realpath(path) == path]
    files += [modules + name for name in ("modules.dep", "modules.builtin") if host.is_file(modules + name)]
    for tree in _TREES:
        files += _files_below(host, tree, _DEPTH)
    return sorted(set(files))


def _files_below(host: Any, folder: str, depth: int) -> List[str]:
    paths = [folder + "/" + name for name in host.listdir(folder)]
    below = [path for path in paths if depth and host.is_dir(path) and host.readlink(path) is None]
    found = [path for path in paths if host.is_file(path)]
    return found + [file for path in below for file in _files_below(host, path, depth - 1)]


def _crash_files(host: Any, configuration: Configuration) -> List[str]:
    files = [path for path in _AT_CRASH if host.is_file(path) and host.realpath(path) == path]
    if configuration.settings.get("SSH"):
        key = configuration.conf.get("sshkey")
        files += [path for path in (key, key + ".pub") + _KNOWN_HOSTS if host.is_file(path)]
    return sorted(set(files))


def _root(host: Any) -> str:
    """What MODULES=dep collects modules for; which of several disks it is may change from boot to boot."""
    table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
    root = [mount for mount in table if mount.point == "/"]
    if not root:
        return ""
    disk = re.match("/dev/(sd|vd|xvd|nvme|mmcblk)", root[-1].source)
    return "%s %s" % (root[-1].fstype, disk.group() if disk else root[-1].source)


def _input(host: Any, path: str) -> Dict[str, str]:
    return {"name": path.lstrip("/"), "source": path, "sha256": sha256_of(host, path)}


def _text(name: str, text: str) -> Dict[str, str]:
    return {"name": name, "source": "", "sha256": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()}


def _settings(configuration: Configuration) -> Dict[str, str]:
    """The variables that decide about a capture; those that only decide about a load are in its command line."""
    values = {name: value for name, value in configuration.settings.items() if value and name not in _LOAD_ONLY}
    return _text("variables of " + variables.PATH, json.dumps(values, sort_keys=True))


# --- what is there -------------------------------------------------------------------------------------------------
def manifest(host: Any, release: str, today: Callable[[], Optional[Recipe]]) -> Optional[store.Manifest]:
    """The image on disk. Its digest is that of the manifest of its build; of today's inputs where it is younger than all
    that it is made of, for the hook of a kernel package leaves no manifest (only then they are asked for); else ""."""
    path = image_path(release)
    found = host.stat(path)
    if found is None or not host.is_file(path):
        return None
    sha256 = sha256_of(host, path)
    known = _saved(host, release)
    if known is not None and known.sha256 == sha256:
        return known
    unknown = store.Manifest(release, "", "", "", sha256, found.st_size, 0.0, {}, [], path)
    recipe = today()
    if recipe is not None and found.st_mtime_ns > recipe.newest and found.st_size >= _LEAST:
        return _described(unknown, recipe)
    return unknown


def current(host: Any, release: str, configuration: Callable[[Any], Configuration]) -> Optional[store.Manifest]:
    """The same, for who has not looked at today's inputs."""

    def today() -> Optional[Recipe]:
        try:
            return observe(host, release, configuration(host))
        except KdumpError:
            return None

    return manifest(host, release, today)


def _described(image: store.Manifest, recipe: Recipe) -> store.Manifest:
    return image._replace(
        kernel=recipe.kernel, kernel_sha256=recipe.kernel_sha256, digest=recipe.digest, target=recipe.target,
        inputs=recipe.image + recipe.crash,
    )  # fmt: skip


def _saved(host: Any, release: str) -> Optional[store.Manifest]:
    try:
        values = json.loads(host.read(_manifest_path(release), 4 << 20).decode())
        if values.pop("format") != store.FORMAT:
            return None
        return store.Manifest(path=image_path(release), **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def save(host: Any, image: store.Manifest) -> None:
    values = dict(image._asdict(), format=store.FORMAT)
    del values["path"]
    host.make_directories(STATE, 0o700)
    text = json.dumps(values, sort_keys=True, indent=1) + "\n"
    host.write(_manifest_path(image.release), text.encode(), 0o600)


# --- building ------------------------------------------------------------------------------------------------------
def plan(host: Any, recipe: Recipe, force: bool, outcome: Dict[str, Any]) -> Plan:
    """Has the image built where what is in it has changed; where only what is read in the crash has, that is noted."""
    outcome["recipe"] = recipe
    present = manifest(host, recipe.release, lambda: recipe)
    steps = []
    directory = recipe.target["path"] if recipe.target["kind"] == "path" else ""
    if directory and not host.is_dir(directory):
        steps.append(Step("create the directory " + directory,
                          lambda host: host.make_directories(directory, 0o700), "", directory + "\n"))  # fmt: skip
    before, after = _lines(present.inputs if present else []), _lines(recipe.image + recipe.crash)
    if force or present is None or not _same_image(present, recipe):
        title = "have kdump-tools build the capture image " + image_path(recipe.release)
        steps.append(Step(title, lambda host: outcome.update(manifest=build(host, recipe)), before, after))
        return Plan(steps)
    if present.digest != recipe.digest:
        title = "note what a capture now goes by in " + _manifest_path(recipe.release)
        steps.append(Step(title, lambda host: save(host, _described(present, recipe)), before, after))
    if host.read_text(sysctl_copy(recipe.release), "\0") != host.read_text(SYSCTL, ""):
        steps.append(Step("keep kdump-config from deleting the image: " + sysctl_copy(recipe.release),
                          lambda host: _copy_sysctl(host, recipe.release)))  # fmt: skip
    return Plan(steps)


def _same_image(present: store.Manifest, recipe: Recipe) -> bool:
    hashes = {item["name"]: item["sha256"] for item in present.inputs}
    names = {item["name"] for item in recipe.image} | {item["name"] for item in recipe.crash}
    return (
        present.kernel_sha256 == recipe.kernel_sha256
        and all(hashes.get(item["name"]) == item["sha256"] for item in recipe.image)
        and not any(name not in names and _is_of_image(name) for name in hashes)
    )


def _is_of_image(name: str) -> bool:
    return any(("/" + name).startswith(tree + "/") for tree in _TREES) or "/" + name in _SCRIPTS


def _lines(inputs: List[Dict[str, str]]) -> str:
    return "".join("%s  %s\n" % (item["sha256"][:16], item["name"]) for item in inputs)


def build(host: Any, recipe: Recipe) -> store.Manifest:
    """Run kdump-tools' own hook. It removes the image before it makes the new one: when that fails, the old one comes
    back, for without an image the next load would give the capture kernel none."""
    path = image_path(recipe.release)
    before = host.read(path) if host.is_file(path) else b""
    started = host.monotonic()
    host.remove(path)
    result = host.run(["sh", HOOK, recipe.release], timeout=_BUILD_SECONDS)  # disarmed, it cannot be executed
    found = host.stat(path)
    if result.rc or found is None or found.st_size < _LEAST:
        host.remove(path)
        if before:
            host.write(path, before)
        raise _failure(result, path, bool(before))
    image = store.Manifest(
        recipe.release, "", "", "", sha256_of(host, path), found.st_size, round(host.monotonic() - started, 2), {}, [],
        path,
    )  # fmt: skip
    image = _described(image, recipe)
    _copy_sysctl(host, recipe.release)
    save(host, image)
    return image


def _failure(result: Any, path: str, restored: bool) -> KdumpError:
    said = (result.err + result.out).strip()[-1000:] or "it said nothing"
    kept = " The image that was there before is there again." if restored else ""
    if not result.rc:
        return fail("%s ended without an image %s: %s.%s" % (HOOK, path, said, kept),
                    "It leaves out chroots and kernels that linux-version does not list; run it by hand.")  # fmt: skip
    return fail("%s failed (exit code %d): %s.%s" % (HOOK, result.rc, said, kept),
                "Mend initramfs-tools' configuration, or set kdump_engine: native, which does not use it.")  # fmt: skip


def _copy_sysctl(host: Any, release: str) -> None:
    host.write(sysctl_copy(release), host.read(SYSCTL) if host.is_file(SYSCTL) else b"")


def report(host: Any, release: str, outcome: Mapping[str, Any]) -> Dict[str, Any]:
    """The results of module initramfs."""
    recipe, built = outcome.get("recipe"), outcome.get("manifest")
    present = manifest(host, release, lambda: recipe) if recipe else None
    return {
        "path": image_path(release) if recipe else "",
        "digest": recipe.digest if recipe else "",
        "inputs": recipe.image + recipe.crash if recipe else [],
        "bytes": present.bytes if present and recipe and _same_image(present, recipe) else None,
        "seconds": built.seconds if built else None,
    }
