# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Building the capture image of the native engine: everything checked first, then bytes. Private to this collection."""

import hashlib
import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Problem
from . import collector, contents, cpio, init, kernel, kmod, storage, store
from . import target as targets_of

FORMAT = 2  # of the digest: a change here builds every image anew
_HOOKS = ("kdump_pre", "kdump_post", "kdump_emergency")
_FOLDERS = ("pre.d", "post.d", "emergency.d")
_EMPTY = ("dev", "etc/kdump", "kdump", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib/kdump", "usr/sbin", "var")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "etc/mtab": "/proc/self/mounts"}
_DEVICES = (("dev/console", 5, 1), ("dev/null", 1, 3), ("dev/kmsg", 1, 11))


class Recipe(NamedTuple):
    """All that an image is made of, known without writing a byte of it. `digest` stands for all of it."""

    release: str
    kernel: str
    kernel_sha256: str
    digest: str
    target: targets_of.Target
    inputs: List[contents.Input]


def decide(
    host: Any, release: str, conf: Any, settings: Mapping[str, str], force: bool = False, check: bool = False,
    outcome: Optional[Dict[str, Any]] = None,
) -> Plan:  # fmt: skip
    """The plan that gives this host an image for a kernel release. KdumpError with everything that stands against it.

    `settings` are those of /etc/sysconfig/kdump. In check mode (`check`) missing programs are no problem: the play would have installed them before. `outcome` is
    told the `recipe`, and the `manifest` of an image built by the plan.
    """
    outcome = {} if outcome is None else outcome
    try:
        recipe = outcome["recipe"] = observe(host, release, conf, settings)
    except Missing:
        if not check:
            raise
        return Plan([Step("build the capture image for kernel %s" % release, lambda host: None)])
    folder = recipe.target.path
    steps = [] if not folder or host.is_dir(folder) else [_make_path(folder)]
    path = store.image_path(release, recipe.digest)
    present = store.load(host, path)
    if force or present is None or present.digest != recipe.digest:
        before = store.current(host, release)
        steps.append(Step(
            "build the capture image " + path, lambda host: outcome.update(manifest=build(host, recipe)),
            _describe(before.inputs if before else []), _describe(_manifest_inputs(recipe)),
        ))  # fmt: skip
    elif store.selected(host, release) != path:
        steps.append(
            Step("take the capture image %s into use again" % path, lambda host: store.select(host, release, path))
        )
    return Plan(steps)


def _make_path(path: str) -> Step:
    return Step("create the directory " + path, lambda host: host.make_directories(path, 0o700), "", path + "\n")


def _describe(inputs: List[Dict[str, str]]) -> str:
    """The inputs as the lines of a diff."""
    return "".join("%s  /%s\n" % (item["sha256"][:16], item["name"]) for item in inputs)


def report(host: Any, release: str, outcome: Mapping[str, Any]) -> Dict[str, Any]:
    """What the module says after decide() has filled `outcome`. In check mode the image may not be there."""
    recipe, built = outcome.get("recipe"), outcome.get("manifest")
    present = store.load(host, store.image_path(release, recipe.digest)) if recipe else None
    return {
        "path": store.image_path(release, recipe.digest) if recipe else "",
        "digest": recipe.digest if recipe else "",
        "inputs": _manifest_inputs(recipe) if recipe else [],
        "bytes": present.bytes if present else None,
        "seconds": built.seconds if built else None,
    }


def wanted_digest(host: Any, release: str, conf: Any, settings: Mapping[str, str]) -> str:
    """The digest that an image of today's inputs would have; KdumpError where none could be built."""
    return observe(host, release, conf, settings).digest


def build(host: Any, recipe: Recipe) -> store.Manifest:
    """Make the image and write it with its manifest."""
    started = host.monotonic()
    archive = assemble(host, recipe)
    data = contents.packed(archive)
    manifest = store.Manifest(
        recipe.release, recipe.kernel, recipe.kernel_sha256, recipe.digest, hashlib.sha256(data).hexdigest(), len(data),
        round(host.monotonic() - started, 2), recipe.target.manifest, _manifest_inputs(recipe),
        store.image_path(recipe.release, recipe.digest), len(archive),
    )  # fmt: skip
    store.save(host, manifest, data)
    return manifest


def assemble(host: Any, recipe: Recipe) -> bytes:
    """The bytes of the image before it is packed; the same recipe gives the same ones."""
    entries = [cpio.directory(name) for name in _EMPTY]
    entries += [cpio.symlink(name, target) for name, target in _LINKS.items()]
    entries += [cpio.character_device(name, major, minor) for name, major, minor in _DEVICES]
    entries += [contents.entry(host, item) for item in recipe.inputs]
    entries.append(cpio.regular("etc/kdump/digest", recipe.digest.encode() + b"\n"))
    return cpio.archive(entries)


def _manifest_inputs(recipe: Recipe) -> List[Dict[str, str]]:
    return [{"name": item.name, "source": item.source, "sha256": item.sha256} for item in recipe.inputs]


# --- what an image is made of --------------------------------------------------------------------------------------
class _Problems:
    """Runs each part of the observation, so that one that fails does not hide the others' problems."""

    def __init__(self) -> None:
        self.found: List[Problem] = []

    def of(self, part: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return part(*arguments)
        except KdumpError as error:
            self.found.extend(problem for problem in error.problems if problem not in self.found)
            return None


def observe(host: Any, release: str, conf: Any, settings: Mapping[str, str]) -> Recipe:
    """Everything that goes into the image, hashed. KdumpError with all that is wrong."""
    problems = _Problems()
    problems.found.extend(conf.problems)
    kernel_path = problems.of(kernel.find_kernel, host, release, settings.get("KDUMP_BOOTDIR", ""))
    problems.found.extend(kernel.check_config(host, release))
    modules = problems.of(kmod.Modules, host, release)
    target = problems.of(targets_of.of_conf, host, conf, dict(settings))
    root = problems.of(_root_target, host, conf, target)
    content = contents.Contents(host)
    tools = contents.Tools(host, content)
    collecting = problems.of(_add_tools, host, conf, content, tools)
    problems.of(_add_hooks, host, conf, content, tools)
    targets = [part for part in (target, root) if part is not None]
    for part in targets:
        problems.of(_add_target, part, content, tools)
    lasting = set(content.inputs)
    problems.of(_add_starters, targets, content, tools)
    starters = sorted(set(content.inputs) - lasting) if root is None else []
    if modules is not None:
        problems.of(_add_modules, modules, storage.watchdog_drivers(host), targets, conf, content)
    if problems.found:
        raise KdumpError(problems.found + tools.missing)
    if tools.missing:
        raise Missing(tools.missing)
    content.text("etc/kdump/plan", _plan_text(release, conf, collecting, targets, content, tools, starters))
    inputs = sorted(content.inputs.values())
    kernel_sha256 = contents.sha256_of(host, kernel_path)
    return Recipe(release, kernel_path, kernel_sha256, _digest(release, kernel_sha256, inputs), target, inputs)


def _digest(release: str, kernel_sha256: str, inputs: List[contents.Input]) -> str:
    parts = [FORMAT, release, kernel_sha256, [[item.name, item.mode, item.sha256] for item in inputs]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _root_target(host: Any, conf: Any, target: Optional[targets_of.Target]) -> Optional[targets_of.Target]:
    """Where failure_action dump_to_rootfs writes: the same path on the root file system."""
    if conf.get("failure_action") != "dump_to_rootfs" or target is None:
        return None
    return targets_of.of_root(host, conf.get("path"))


def _add_tools(host: Any, conf: Any, content: contents.Contents, tools: contents.Tools) -> collector.Collector:
    content.text("init", init.SCRIPT, 0o755)
    tools.add("sh", "dash", own=tools.standalone)
    # busybox's blkid knows fewer file systems, and cannot search by UUID.
    for name, package in sorted(init.TOOLS.items()):
        tools.add(name, package, own=name == "blkid")
    tools.add("makedumpfile", "makedumpfile", own=True)
    collecting = collector.parse(conf.get("core_collector"))
    makedumpfile = host.which("makedumpfile")
    if collecting.name != "makedumpfile":
        tools.add(collecting.name, "coreutils", own=True)
    elif collecting.command.startswith("/"):
        makedumpfile = collecting.command.split()[0]
        contents.hook(host, content, makedumpfile, "core_collector")
    if makedumpfile is not None:
        # pthread_cancel(3), which --num-threads comes to, loads it and aborts without.
        content.opened_at_runtime("libgcc_s.so.1", makedumpfile)
        result = host.run([makedumpfile, "-h"], timeout=30)
        problems = collector.check(collecting, result.out + result.err)
        if problems:
            raise KdumpError(problems)
    return collecting


def _add_hooks(host: Any, conf: Any, content: contents.Contents, tools: contents.Tools) -> None:
    problems = _Problems()
    paths = [(name, conf.get(name)) for name in _HOOKS if conf.get(name)]
    for folder in _FOLDERS:
        names = host.listdir("/etc/kdump/" + folder)
        paths += [("/etc/kdump", "/etc/kdump/%s/%s" % (folder, name)) for name in names]
    for name in conf.get("extra_bins").split():
        paths.append(("extra_bins", name))
    for option, path in paths:
        problems.of(contents.hook, host, content, path, option)
    if paths or conf.get("failure_action") == "shell":
        tools.add_all_applets()
    if problems.found:
        raise KdumpError(problems.found)


def _add_target(target: targets_of.Target, content: contents.Contents, tools: contents.Tools) -> None:
    """What stays in the image during the whole capture: programs, keys, the plan of the network."""
    for name, package in target.programs:
        tools.add(name, package, own=True)
    for file in target.files:
        content.put(file.name, file.content, file.mode)
    if target.network is not None:
        content.text("etc/kdump/network", target.network.text)
        for name, package in target.network.programs:
            tools.add(name, package)


def _add_starters(targets: List[targets_of.Target], content: contents.Contents, tools: contents.Tools) -> None:
    """The programs and files that only bring up what lies under the file systems."""
    tools.add("insmod", "kmod")
    words = [line.split() for target in targets for line in target.activate]
    groups = sorted({word[1] for word in words if word[0] == "lvm"})
    # LVM shows no other system's groups; all that are active here are this system's or nobody's.
    system_ids = sorted({target.system_id for target in targets} - {""})
    if groups:
        tools.add("lvm", "lvm2", own=True)
        names = ", ".join('"%s"' % group for group in groups)
        content.text("etc/lvm/lvm.conf", _LVM_CONF % (names, "lvmlocal" if system_ids else "none"))
        if system_ids:
            others = ", ".join('"%s"' % one for one in system_ids)
            local = 'local { system_id = "%s" extra_system_ids = [ %s ] }\n' % (system_ids[0], others)
            content.text("etc/lvm/lvmlocal.conf", local)
    if any(word[0] == "md" for word in words):
        tools.add("mdadm", "mdadm", own=True)


_LVM_CONF = """\
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 volume_list = [ %s ] }
backup { backup = 0 archive = 0 }
devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" use_devicesfile = 0 }
global { use_lvmlockd = 0 use_lvmpolld = 0 event_activation = 0 system_id_source = "%s" }
"""


def _add_modules(
    modules: kmod.Modules, watchdogs: List[str], targets: List[targets_of.Target], conf: Any, content: contents.Contents
) -> None:
    """`watchdogs` are names and aliases of which nothing depends; they come first because their time is running."""
    extra = conf.get("extra_modules").split()
    sources = [source for target in targets for source in (target, target.network) if source is not None]
    needed = [name for source in sources for name in source.modules]
    aliases = [alias for source in sources for alias in source.aliases]
    problems = _Problems()
    problems.of(kmod.require, modules, extra, "extra_modules in kdump.conf")
    problems.of(kmod.require, modules, sorted(set(needed)), "the dump target")
    if problems.found:
        raise KdumpError(problems.found)
    lines = []
    for module in modules.load_order(watchdogs + extra + aliases + needed):
        lines.append((content.module(module) + " " + module.options).strip() + "\n")
    content.text("etc/kdump/modules", "".join(lines))


def _plan_text(
    release: str, conf: Any, collecting: collector.Collector, targets: List[targets_of.Target],
    content: contents.Contents, tools: contents.Tools, starters: List[str],
) -> str:  # fmt: skip
    """/etc/kdump/plan: the settings that init.SCRIPT lists at its beginning."""
    values = [
        ("library_path", ":".join(content.library_folders)),
        ("release", release),
        ("core_collector", collecting.command),
        ("failure_action", conf.get("failure_action")),
        ("final_action", conf.get("final_action")),
        ("restart_tool", tools.restart),
        ("starters", " ".join("/" + name for name in starters)),
    ] + [(name, conf.get(name)) for name in _HOOKS]
    text = "".join("%s=%s\n" % (name, _quoted(value)) for name, value in values)
    return text + "use_target() {\ncase $1 in\n%sesac\n}\n" % "".join(
        "%s)\n%s;;\n" % (name, _target_text(target)) for name, target in zip(("dump", "root"), targets)
    )


def _target_text(target: targets_of.Target) -> str:
    return "".join("%s=%s\n" % (name, _quoted(value)) for name, value in target.settings)


def _quoted(text: str) -> str:
    """A word of the shell."""
    return "'%s'" % text.replace("'", "'\\''")
