# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Building the capture image of the native engine: everything checked first, then bytes. Private to this collection."""

import hashlib
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .. import layout
from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Parts, Problem
from . import collector, contents, cpio, kernel, kmod, network, parts, plan_file, storage, store, target

FORMAT = 2  # of the digest: a change here builds every image anew
_EMPTY = ("dev", "etc/kdump", "kdump", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib/kdump", "usr/sbin", "var")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "etc/mtab": "/proc/self/mounts"}
_DEVICES = (("dev/console", 5, 1), ("dev/null", 1, 3), ("dev/kmsg", 1, 11))


class Recipe(NamedTuple):
    """All that an image is made of, known without writing a byte of it. `digest` stands for all of it."""

    release: str
    kernel: str
    kernel_sha256: str
    digest: str
    target: target.Target
    inputs: List[contents.Input]
    warnings: List[Problem]  # what a crash may lack all the same
    ignored: List[Problem]  # what kdump.conf asks for in vain: no input, so nothing that an image's manifest could tell


def decide(
    host: Any, release: str, conf: Any, settings: Mapping[str, str], force: bool = False, check: bool = False,
    outcome: Optional[Dict[str, Any]] = None,
) -> Plan:  # fmt: skip
    """The plan that gives this host an image for a kernel release. KdumpError with everything that stands against it.

    `settings` are those of /etc/sysconfig/kdump. In check mode (`check`) missing programs are no problem: the play would
    have installed them before. `outcome` is told the `recipe`, and the `manifest` of an image built by the plan.
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


def warnings(outcome: Mapping[str, Any]) -> List[str]:
    """The sentences for whoever has called decide(), which has filled `outcome`."""
    recipe = outcome.get("recipe")
    return [str(problem) for problem in recipe.warnings + recipe.ignored] if recipe else []


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
        "warnings": warnings(outcome),
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
        store.image_path(recipe.release, recipe.digest), len(archive), [str(problem) for problem in recipe.warnings],
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
class _Targets(NamedTuple):
    """The places that /init may write to, by the names that it knows them by: dump, root, report."""

    named: Dict[str, target.Target]
    report_at: str  # as in init.SCRIPT
    late: List[target.Target]  # those that only a failure leads to
    failure_action: str
    warnings: List[Problem]
    ignored: List[Problem]


def observe(host: Any, release: str, conf: Any, settings: Mapping[str, str]) -> Recipe:
    """Everything that goes into the image, hashed. KdumpError with all that is wrong."""
    problems = Parts()
    problems.errors += conf.problems
    kernel_path = problems.of(None, kernel.find_kernel, host, release, settings.get("KDUMP_BOOTDIR", ""))
    problems.errors += kernel.check_config(host, release)
    modules = problems.of(None, kmod.Modules, host, release)
    resolving = store.Remembering(host)
    targets = problems.of(None, _targets, resolving, conf, settings)
    fence = problems.of(None, parts.fence_of, resolving, conf, settings)
    content = contents.Contents(host)
    tools = contents.Tools(host, content)
    kind = targets.named["dump"].kind if targets else "filesystem"
    collecting = problems.of(None, parts.add_tools, host, conf, kind, content, tools)
    problems.of(None, parts.add_hooks, host, conf, content, tools)
    starters = problems.of([], _add_targets, targets, fence, content, tools) if targets else []
    if fence is not None or (targets and any(one.network is not None for one in targets.named.values())):
        problems.of(None, network.check_settings, dict(settings))
    lacking = list(targets.warnings) if targets else []
    if modules is not None and targets:
        lacking += problems.of([], _add_modules, host, modules, conf, targets, fence, content)
    problems.of(None, tools.end)
    problems.end()
    content.text("etc/kdump/plan", _plan(release, conf, collecting, targets, fence, content, tools, starters))
    inputs = sorted(content.inputs.values())
    kernel_sha256 = contents.sha256_of(host, kernel_path)
    digest = _digest(release, kernel_sha256, inputs)
    dump = targets.named["dump"]
    if resolving.addresses:
        dump = dump._replace(manifest=dict(dump.manifest, addresses=resolving.addresses))
    ignored = targets.ignored + kmod.left_out(modules, conf.get("extra_modules").split())
    return Recipe(release, kernel_path, kernel_sha256, digest, dump, inputs, lacking, ignored)


def _digest(release: str, kernel_sha256: str, inputs: List[contents.Input]) -> str:
    parts_of_it = [FORMAT, release, kernel_sha256, [[item.name, item.mode, item.sha256] for item in inputs]]
    return hashlib.sha256(json.dumps(parts_of_it, sort_keys=True).encode()).hexdigest()


def _targets(host: Any, conf: Any, settings: Mapping[str, str]) -> _Targets:
    """The dump target; the root file system for dump_to_rootfs; the file system of this host that reports go to.

    A root that is the dump target itself is none: what failed there once fails there again.
    """
    problems = Parts()
    dump = problems.of(None, target.of_conf, host, conf, dict(settings))
    root, failure_action = None, conf.get("failure_action")
    if failure_action == "dump_to_rootfs":
        root = problems.of(None, target.of_root, host, conf.get("path"), dict(settings))
    problems.end()
    named = {"dump": dump}
    ignored: List[Problem] = []
    if root is not None and _is_same(root, dump):
        root, failure_action, ignored = None, conf.get("final_action"), [_no_other_root(conf.get("final_action"))]
    if root is not None:
        named["root"] = root
    report, warnings = _report_target(host, dump, settings)
    if report is not None:
        named["report"] = report
    late = [found for found in (root, report) if found is not None and not _is_same(found, dump)]
    report_at = "" if report is None else "report" if report in late else "dump"
    return _Targets(named, report_at, late, failure_action, warnings, ignored)


def _no_other_root(final_action: str) -> Problem:
    return Problem(
        "failure_action: dump_to_rootfs has nowhere else to dump to, as the dump target is on the root file system.",
        "Where a dump fails, final_action (%s) follows." % final_action, "failure_action", "dump_to_rootfs",
    )  # fmt: skip


def _report_target(
    host: Any, dump: target.Target, settings: Mapping[str, str]
) -> Tuple[Optional[target.Target], List[Problem]]:
    """Where the host itself will find what went wrong; where that cannot be, a warning and no error."""
    try:
        report = target.of_path(host, layout.FAILED, dict(settings))
    except KdumpError as error:
        return None, [_no_report(error.problems[0].message)]
    if report.network is not None and report.network != dump.network:
        return None, [_no_report("The directory %s lies on a server." % layout.FAILED)]
    return report, []


def _no_report(why: str) -> Problem:
    return Problem(
        "Where a dump fails, no report of it can be left on this host. " + why,
        "The dump itself is not touched by that; the console shows what went wrong.",
    )


def _is_same(one: target.Target, other: target.Target) -> bool:
    """Whether two targets are on one file system."""
    first, second = dict(one.settings), dict(other.settings)
    return all(first[name] == second[name] for name in ("kind", "uuid", "device", "source"))


def _add_targets(
    targets: _Targets, fence: Optional[parts.Fence], content: contents.Contents, tools: contents.Tools
) -> List[str]:
    """The files that nothing needs once the dump target is reached are what this returns."""
    for name, found in targets.named.items():
        # The way to the root is taken after the target has failed: it must not be in the way of the target's.
        other = name == "root" and found.network != targets.named["dump"].network
        parts.add_target(found, content, tools, "network-root" if other else "network")
    if fence is not None:
        parts.add_fence(fence, content, tools)
    parts.add_lvm_conf(list(targets.named.values()), content)
    if targets.late:
        parts.add_starters(targets.late, content, tools)
    lasting = set(content.inputs)
    parts.add_starters([targets.named["dump"]], content, tools)
    return sorted(set(content.inputs) - lasting)


def _add_modules(
    host: Any, modules: kmod.Modules, conf: Any, targets: _Targets, fence: Optional[parts.Fence],
    content: contents.Contents,
) -> List[Problem]:  # fmt: skip
    dump = targets.named["dump"]
    networks = ([dump.network] if dump.network is not None else []) + (fence.networks if fence is not None else [])
    for name, why in (("dump", "the dump target"), ("root", "dump_to_rootfs")):
        found = targets.named.get(name)
        sources: List[Any] = [*networks, found, found.network] if found is not None else []
        needed = parts.wanted_of([source for source in sources if source is not None]).names
        kmod.require(modules, sorted(set(needed)), why)
    late = targets.late + [found.network for found in targets.late if found.network is not None]
    loaded = parts.add_modules(
        modules, conf.get("extra_modules").split(), storage.watchdog_drivers(host, modules), parts.wanted_of([dump] + networks),
        parts.wanted_of(late), content,
    )  # fmt: skip
    return parts.add_firmware(host, modules.release, loaded, content)


def _plan(
    release: str, conf: Any, collecting: collector.Collector, targets: _Targets, fence: Optional[parts.Fence],
    content: contents.Contents, tools: contents.Tools, starters: List[str],
) -> str:  # fmt: skip
    values = [
        ("library_path", ":".join(content.library_folders)),
        ("release", release),
        ("core_collector", collecting.command),
        ("failure_action", targets.failure_action),
        ("final_action", conf.get("final_action")),
        ("restart_tool", tools.restart),
        ("starters", " ".join("/" + name for name in starters)),
        ("ssh_options", plan_file.ssh_options(targets.named["dump"])),
        ("fence", fence.command if fence is not None else ""),
        ("report_at", targets.report_at),
    ] + [(name, conf.get(name)) for name in parts.HOOKS]
    return plan_file.text(values, targets.named)
