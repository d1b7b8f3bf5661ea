# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capture image that kdumpctl builds: where it is, what it is made of, whether it is today's. Private to this collection.

kdumpctl compares time stamps of some of the files that go in (check_files_modified() in kdumpctl of kdump-utils 1.0.61):
it overlooks the ssh key and known_hosts, the network's configuration, its own scripts, dracut's configuration, and any
file that comes with an older time stamp, as those of packages do. Here all of them count, by what they hold.
"""

import hashlib
import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .. import conf as kdump_conf
from .. import layout, mounts, sysconfig
from ..conf import Conf
from ..conf_directives import FILE_SYSTEMS
from ..image import kmod, store
from ..image.contents import sha256_of
from ..image.kernel import check_release
from ..problems import KdumpError, Missing, Parts, Problem, fail, in_file
from . import kdumpctl_check
from .driver import Configuration

RECORD = layout.STATE_DIR + "/kdumpctl/image.json"
FORMAT = 1  # of the digest: a change here builds every image anew
ELSEWHERE = "/var/lib/kdump"  # where kdumpctl writes its image when it cannot be beside the kernel

_STUB = "/sys/firmware/efi/efivars/StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_FOLDERS = ("/boot", "/boot/efi", "/efi", "/")
_HOOKS = ("kdump_pre", "kdump_post", "kdump_emergency", "extra_bins")
# What the image is made from and with, beside what kdump.conf names. Not all are there on every release.
_ALWAYS = (
    "/etc/fstab /etc/lvm/lvm.conf /etc/sysconfig/fence_kdump /etc/dracut.conf /etc/dracut.conf.d/*.conf "
    "/usr/lib/dracut/dracut.conf.d/* "
    "/etc/kdump/pre.d/* /etc/kdump/post.d/* /etc/kdump/emergency.d/* /usr/sbin/mkdumprd /usr/lib/kdump/*.sh "
    "/usr/lib/kdump/dracut.conf.d/* /usr/lib/dracut/modules.d/*kdumpbase/*"
).split()
# Folders whose change is one too: a file that is gone has no time stamp.
_WATCHED = "/etc/kdump/pre.d /etc/kdump/post.d /etc/kdump/emergency.d /etc/dracut.conf.d".split()
_NETWORK = (
    "/etc/NetworkManager/system-connections/* /etc/sysconfig/network-scripts/ifcfg-* "
    "/etc/sysconfig/network-scripts/route*-*"
).split()
_GENERATED = "/run/NetworkManager/system-connections/*.nmconnection"  # by NetworkManager, or before it in the initrd
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# dracut's module ssh-client copies these; more known_hosts files are those that ssh itself names.
_SSH = "/root/.ssh/config /root/.ssh/known_hosts /etc/ssh/ssh_config /etc/ssh/ssh_config.d/* /etc/ssh/ssh_known_hosts".split()


class Recipe(NamedTuple):
    """All that an image is made of. `path` is where kdumpctl puts it, `changed_at` when the last of it changed."""

    release: str
    kernel: str
    kernel_sha256: str
    path: str
    digest: str
    inputs: List[Dict[str, str]]
    changed_at: float


def configuration(host: Any) -> Configuration:
    """What kdumpctl goes by. The settings are those of the file alone: kdumpctl adds no defaults of an architecture."""
    parts = Parts()
    text = parts.of(None, _text, host, layout.CONF)
    settings = parts.of({}, _settings, host)
    return Configuration(text, kdump_conf.parse(text or ""), settings, parts.errors)


def _text(host: Any, path: str) -> Optional[str]:
    return host.read_text(path) if host.exists(path) else None


def _settings(host: Any) -> Dict[str, str]:
    found: Dict[str, str] = in_file(layout.SYSCONFIG, sysconfig.parse, _text(host, layout.SYSCONFIG) or "")
    return found


# --- where things are ----------------------------------------------------------------------------------------------
def release_of(host: Any, settings: Dict[str, str]) -> str:
    """As _get_kdump_kernel_version(): a debug kernel captures with its plain twin, which needs less memory."""
    named = settings.get("KDUMP_KERNELVER")
    if named:
        return named
    running = str(host.kernel.release)
    plain = re.sub(r"[+-]debug$", "", running)
    return plain if host.is_file("/lib/modules/%s/modules.dep" % plain) else running


def find_kernel(host: Any, release: str, settings: Dict[str, str]) -> str:
    """The kernel that kdumpctl would load, as prepare_kdump_kernel() finds it, by that very name."""
    check_release(release)
    name = settings.get("KDUMP_IMG") or "vmlinuz"
    machine_id = host.read_text("/etc/machine-id", "").strip()
    names = [
        "%s-%s%s" % (name, release, settings.get("KDUMP_IMG_EXT", "")),
        "%s/%s/%s" % (machine_id, release, name),
        _unified(host) or "EFI/Linux/%s-%s.efi" % (machine_id, release),
    ]
    booted = re.match(r"BOOT_IMAGE=(?:\([^)\s]*\))?(\S+)", host.read_text("/proc/cmdline", ""))
    if booted and booted.group(1).endswith(release):
        names.insert(0, booted.group(1))
    folders = [settings["KDUMP_BOOTDIR"]] if settings.get("KDUMP_BOOTDIR") else list(_FOLDERS)
    if host.exists("/run/ostree-booted"):
        folders = host.glob("/boot/ostree/*") + folders
    for folder in folders:
        for one in names:
            if host.is_file("%s/%s" % (folder, one)):
                return re.sub("/+", "/", "%s/%s" % (folder, one))
    raise fail(
        "kdumpctl would find no kernel %s in %s." % (release, " ".join(folders)),
        "Install that kernel, or set KDUMP_KERNELVER and KDUMP_BOOTDIR in /etc/sysconfig/kdump.", "KDUMP_KERNELVER", release,
    )  # fmt: skip


def _unified(host: Any) -> str:
    """The unified kernel image that was booted, as its stub has told (with backslashes, in UTF-16); "" for none."""
    text = host.read(_STUB)[4:].decode("utf-16-le", "replace") if host.is_file(_STUB) else ""
    return str(text.rstrip("\0").replace("\\", "/"))


def place(host: Any, release: str, kernel: str) -> str:
    """Where kdumpctl writes the image: prepare_kdump_bootinfo()."""
    folder = kernel.rpartition("/")[0] or "/"
    for name in ("initramfs-%s.img" % release, "initrd"):
        if host.is_file(folder + "/" + name) and not _is_read_only(host, folder):
            return "%s/%skdump%s" % ((folder,) + re.fullmatch(r"(.*?)(\.img)?", name).groups(""))  # type: ignore[union-attr]
    return "%s/initramfs-%skdump.img" % (ELSEWHERE, release)


def place_of(host: Any) -> str:
    """Where kdumpctl writes the image by its configuration as it is; KdumpError without a kernel."""
    settings = configuration(host).settings
    release = release_of(host, settings)
    return place(host, release, find_kernel(host, release, settings))


def _is_read_only(host: Any, folder: str) -> bool:
    try:
        mount = mounts.holding(
            mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", "")), host.realpath(folder)
        )
    except KdumpError:
        return False
    return "ro" in mount.options.split(",") + mount.super_options.split(",")


# --- what it is made of --------------------------------------------------------------------------------------------
def observe(host: Any, release: str, configuration: Configuration) -> Recipe:
    """Everything that goes into the image, hashed. KdumpError with all that kdumpctl would fail on, or do wrong."""
    installed = host.which("kdumpctl") is not None
    parts = Parts()
    parts.errors += configuration.problems + configuration.conf.problems
    there = kdumpctl_check.problems(host, configuration, predict=not installed)
    always = kdumpctl_check.problems(host, configuration, predict=True) if there and installed else there
    missing = [problem for problem in there if problem not in always]  # what earlier steps of a play bring
    parts.errors += always
    kernel = parts.of("", find_kernel, host, release, configuration.settings)
    path = place(host, release, kernel) if kernel else ""
    if path and _is_read_only(host, path.rpartition("/")[0]):
        hint = "Mount it read-write, or set KDUMP_BOOTDIR in /etc/sysconfig/kdump to a directory with the kernel and its initrd."
        parts.errors.append(Problem("kdumpctl cannot write its image %s: that file system is read-only." % path, hint))
    names = parts.of([], lambda: sorted(set(_files(host, release, configuration.conf))))
    if parts.errors:
        raise KdumpError(parts.errors + missing)
    if missing:
        raise Missing(missing)
    if not installed:
        raise Missing([Problem("kdumpctl is not on this host.", "Install it (dnf install /usr/bin/kdumpctl).")])
    texts = {"target": _target(host, configuration.conf)}
    if _is_remote(host, configuration.conf):
        texts["network"] = _generated_profiles(host)
    return _recipe(host, release, kernel, path, names, texts)


def _recipe(host: Any, release: str, kernel: str, path: str, names: List[str], texts: Dict[str, str]) -> Recipe:
    kernel_sha256 = sha256_of(host, kernel)
    inputs = [{"name": "kernel", "source": kernel, "sha256": kernel_sha256}]
    inputs += [{"name": name.lstrip("/"), "source": name, "sha256": sha256_of(host, name)} for name in names]
    for name, text in sorted(texts.items()):
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        inputs.append({"name": name, "source": "", "sha256": sha256})
    parts = [FORMAT, release, [[item["name"], item["sha256"]] for item in inputs]]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    found = [host.stat(name) for name in [kernel] + names + _WATCHED]
    return Recipe(
        release, kernel, kernel_sha256, path, digest, inputs, max(one.st_ctime for one in found if one is not None)
    )


def _files(host: Any, release: str, conf: Conf) -> Iterator[str]:
    """The host's files that go into the image or decide about it, those that are there; some more than once."""
    words = [layout.CONF]
    for pattern in _ALWAYS + (_NETWORK if _is_remote(host, conf) else []):
        words += host.glob(pattern) if "*" in pattern else [pattern]
    for option in _HOOKS:
        words += conf.get(option).split()
    collector = (conf.get("core_collector").split() or [""])[0]
    words.append(collector if collector.startswith("/") else host.which(collector) or "")
    words += _modules(host, release, conf.get("extra_modules").split())
    if conf.target.kind == "ssh" and not any(problem.option == "ssh" for problem in conf.problems):
        key = conf.get("sshkey")
        words += [key, key + ".pub"] + _SSH + _known_hosts(host, conf.target.location)
    for word in words:
        for name in host.glob(word) if "*" in word else [word]:
            if name and host.is_file(name):
                yield name


def _modules(host: Any, release: str, names: List[str]) -> List[str]:
    """The files of extra modules and what they depend on; kdumpctl itself only warns of one that it does not find."""
    if not names:
        return []
    known = kmod.Modules(host, release)
    kmod.require(known, names, "extra_modules in kdump.conf")
    return ["/lib/modules/%s/modules.dep" % release] + [module.path for module in known.load_order(names)]


def _known_hosts(host: Any, location: str) -> List[str]:
    """The files in which ssh looks for the server's key."""
    found: List[str] = []
    for line in host.run(["ssh", "-G", location], timeout=30).out.splitlines():
        name, dummy, value = line.partition(" ")
        if name in ("userknownhostsfile", "globalknownhostsfile"):
            found += [re.sub("^~/", "/root/", word) for word in value.split()]
    return found


def _is_remote(host: Any, conf: Conf) -> bool:
    kind = conf.target.kind
    return kind in ("ssh", "nfs") or (kind == "mount" and conf.target.location.split(" ")[2].startswith("nfs"))


def _generated_profiles(host: Any) -> str:
    """NetworkManager's profiles in /run, but for what is another at each boot: their UUIDs and times. That of the loopback
    device, which NetworkManager has since 1.42, is none that a dump goes through."""
    found = []
    for text in (host.read_text(path, "") for path in host.glob(_GENERATED)):
        if not re.search("^type=loopback$", text, re.MULTILINE):
            found.append(_UUID.sub("", re.sub(r"(?m)^timestamp=.*\n?", "", text)))
    return "\0".join(sorted(found))


def _target(host: Any, conf: Conf) -> str:
    """Where dumps go, by names that do not change from boot to boot: check_fs_modified() compares the same three."""
    kind, location = conf.target
    if kind == "path":
        table = mounts.parse_mountinfo(host.read_text("/proc/self/mountinfo", ""))
        mount = mounts.holding(table, host.realpath(location))
        return " ".join([kind, _uuid(host, mount.source), mount.point, mount.fstype])
    device = mounts.device_path(host, location) if kind in FILE_SYSTEMS + ["raw"] else ""
    return " ".join([kind, _uuid(host, device) if device else location])


def _uuid(host: Any, device: str) -> str:
    """The UUID of what a device holds, the device where there is none (NFS, or without udev)."""
    for name in host.listdir("/dev/disk/by-uuid") if device.startswith("/") else []:
        if host.realpath("/dev/disk/by-uuid/" + name) == host.realpath(device):
            return "UUID=" + name
    return device


# --- what is on disk -----------------------------------------------------------------------------------------------
def present(host: Any, release: str, configuration: Configuration) -> Optional[store.Manifest]:
    """The image that kdumpctl would load, with the digest of what it was made of; "" where nobody knows."""
    parts = Parts()
    kernel = parts.of("", find_kernel, host, release, configuration.settings)
    path = place(host, release, kernel) if kernel else ""
    if not path or not host.is_file(path):
        return None
    recorded = from_json(host.read_text(RECORD, ""))
    sha256 = sha256_of(host, path)
    if recorded is not None and (recorded.path, recorded.sha256, recorded.release) == (path, sha256, release):
        return recorded
    recipe = parts.of(None, observe, host, release, configuration)
    found = host.stat(path)
    if recipe is not None and is_newer(host, recipe):
        return manifest(recipe, sha256, found.st_size, 0.0)
    return store.Manifest(release, kernel, sha256_of(host, kernel), "", sha256, found.st_size, 0.0, {}, [], path)


def is_newer(host: Any, recipe: Recipe) -> bool:
    """Whether an image is there that was written after the last change of what it is made of.

    By the time of the change, and not the time stamp that kdumpctl goes by and a package or `cp -p` can set. So an image
    that kdumpctl has built by itself, at boot, is known for today's too.
    """
    found = host.stat(recipe.path)
    return found is not None and recipe.changed_at < found.st_mtime <= host.now()


def looks_old(host: Any, recipe: Recipe) -> bool:
    """Whether kdumpctl may build the image anew when it starts, by the time stamps that it goes by, in whole seconds."""
    found = [host.stat(item["source"]) for item in recipe.inputs if item["source"]]
    image = host.stat(recipe.path)
    return image is None or any(one is not None and int(one.st_mtime) > int(image.st_mtime) for one in found)


def manifest(recipe: Recipe, sha256: str, size: int, seconds: float) -> store.Manifest:
    return store.Manifest(
        recipe.release, recipe.kernel, recipe.kernel_sha256, recipe.digest, sha256, size, seconds, {}, recipe.inputs,
        recipe.path,
    )  # fmt: skip


def record(host: Any, made: store.Manifest) -> None:
    """Remember what an image was made of."""
    host.make_directories(RECORD.rpartition("/")[0], 0o700)
    host.write(RECORD, as_json(made), 0o600)


def as_json(made: store.Manifest) -> bytes:
    return json.dumps(dict(made._asdict(), format=FORMAT), sort_keys=True, indent=1).encode() + b"\n"


def from_json(text: str) -> Optional[store.Manifest]:
    """What as_json() made; None of anything else."""
    try:
        values = json.loads(text)
        return store.Manifest(**values) if values.pop("format", None) == FORMAT else None
    except (ValueError, TypeError, AttributeError):
        return None


def fingerprint(host: Any, path: str) -> Tuple[int, int]:
    """What tells one writing of a file from the next."""
    found = host.stat(path)
    return (found.st_ino, found.st_mtime_ns) if found is not None else (0, 0)
