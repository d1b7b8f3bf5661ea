# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of a capture image: tools, hooks, what targets bring, kernel modules. Private to this collection.

Each function puts its part into the contents and raises KdumpError with everything that is wrong with it.
"""

from typing import Any, List, Mapping, NamedTuple, Optional

from ..conf_collector import check_installed
from ..problems import KdumpError, Parts, Problem, fail
from . import collector, contents, firmware, init, kmod, network, target

_FOLDERS = ("pre.d", "post.d", "emergency.d")
HOOKS = ("kdump_pre", "kdump_post", "kdump_emergency")
# Where kdump-utils looks for it (kdump-lib-initramfs.sh), and where Debian has it: bookworm in fence-agents 4.12.1-1, trixie
# in fence-agents-kdump 4.16.0-3.
_FENCE = ("/usr/libexec/fence_kdump_send", "/usr/libexec/fence-agents/fence_kdump_send")


def add_tools(
    host: Any, conf: Any, kind: str, content: contents.Contents, tools: contents.Tools
) -> collector.Collector:  # fmt: skip
    """What every image has. `kind` is the target's: a stream needs dd."""
    content.text("init", init.SCRIPT, 0o755)
    tools.add("sh", "dash", own=tools.standalone)
    # busybox's blkid knows fewer file systems, and cannot search by UUID.
    for name, package in sorted(init.TOOLS.items()):
        tools.add(name, package, own=name == "blkid")
    if kind in ("raw", "ssh"):
        tools.add("dd", "coreutils", own=True)  # of busybox's not every build counts bytes and knows conv=fsync
    if kind == "raw":
        tools.add("sha256sum", "coreutils")
    tools.add("makedumpfile", "makedumpfile", own=True)
    collecting = collector.parse(conf.get("core_collector"), kind)
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
        usage, line = result.out + result.err, conf.get("core_collector")
        problems = collector.check(collecting, usage)
        if collecting.name == "makedumpfile" and not problems:
            problems = list(check_installed(host, makedumpfile, line, kind, usage))
        if problems:
            raise KdumpError(problems)
    return collecting


def add_hooks(host: Any, conf: Any, content: contents.Contents, tools: contents.Tools) -> None:
    """The administrator's own scripts and programs, with what runs them."""
    problems = Parts()
    paths = [(name, conf.get(name)) for name in HOOKS if conf.get(name)]
    for folder in _FOLDERS:
        names = [name for name in host.listdir("/etc/kdump/" + folder) if not name.startswith(".")]  # as a shell's `*`
        paths += [("/etc/kdump", "/etc/kdump/%s/%s" % (folder, name)) for name in names]
    for name in conf.get("extra_bins").split():
        paths.append(("extra_bins", name))
    for option, path in paths:
        problems.of(None, contents.hook, host, content, path, option)
    if paths or conf.get("failure_action") == "shell":
        tools.add_all_applets()
    problems.end()


# --- targets -------------------------------------------------------------------------------------------------------
def add_target(
    found: target.Target, content: contents.Contents, tools: contents.Tools, plan: str = "network"
) -> None:  # fmt: skip
    """What stays in the image during the whole capture: programs, keys, the network's plan, in a file of this name."""
    for name, package in found.programs:
        tools.add(name, package, own=True)
    for file in found.files:
        content.put(file.name, file.content, file.mode)
    if found.network is not None:
        content.text("etc/kdump/" + plan, found.network.text)
        add_network(found.network, content, tools)


def add_network(found: network.Network, content: contents.Contents, tools: contents.Tools) -> None:
    for name, package in found.programs:
        tools.add(name, package)
    for name, data, mode in found.files:
        content.put(name, data, mode)


def add_starters(targets: List[target.Target], content: contents.Contents, tools: contents.Tools) -> None:
    """The programs that only bring up what lies under the file systems."""
    tools.add("insmod", "kmod")
    kinds = {line.split()[0] for one in targets for line in one.activate}
    if "lvm" in kinds:
        tools.add("lvm", "lvm2", own=True)
    if "md" in kinds:
        tools.add("mdadm", "mdadm", own=True)


def add_lvm_conf(targets: List[target.Target], content: contents.Contents) -> None:
    """LVM's own configuration: these groups, and whose they are."""
    words = [line.split() for one in targets for line in one.activate]
    groups = sorted({word[1] for word in words if word[0] == "lvm"})
    # LVM shows no other system's groups; all that are active here are this system's or nobody's.
    system_ids = sorted({one.system_id for one in targets} - {""})
    if groups:
        names = ", ".join('"%s"' % group for group in groups)
        content.text("etc/lvm/lvm.conf", _LVM_CONF % (names, "lvmlocal" if system_ids else "none"))
        if system_ids:
            others = ", ".join('"%s"' % one for one in system_ids)
            local = 'local { system_id = "%s" extra_system_ids = [ %s ] }\n' % (system_ids[0], others)
            content.text("etc/lvm/lvmlocal.conf", local)


_LVM_CONF = """\
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 volume_list = [ %s ] }
backup { backup = 0 archive = 0 }
devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" use_devicesfile = 0 }
global { use_lvmlockd = 0 use_lvmpolld = 0 event_activation = 0 system_id_source = "%s" }
"""


# --- the cluster ---------------------------------------------------------------------------------------------------
class Fence(NamedTuple):
    """fence_kdump: what tells the cluster's other nodes that this one is dumping, and the ways to them."""

    program: str
    command: str
    networks: List[network.Network]


def fence_of(host: Any, conf: Any, settings: Mapping[str, str]) -> Optional[Fence]:
    """As fence_kdump_nodes and fence_kdump_args say; the nodes by their numeric addresses, for there are no names."""
    nodes = conf.get("fence_kdump_nodes").split()
    if not nodes:
        return None
    program = next((path for path in _FENCE if host.is_executable(path)), None)
    if program is None:
        raise fail(
            "fence_kdump_nodes is set, and fence_kdump_send is not on this host (%s)." % ", ".join(_FENCE),
            "Install the package fence-agents-kdump (before Debian 13: fence-agents), or remove the line.",
            "fence_kdump_nodes",
            " ".join(nodes),
        )
    problems = Parts()
    ways = [problems.of(None, _way_to, host, node, network.wants_dhcp(dict(settings))) for node in nodes]
    problems.end()
    words = [program, conf.get("fence_kdump_args")] + [way.address for way in ways]
    return Fence(program, " ".join(" ".join(words).split()), ways)


def _way_to(host: Any, node: str, dhcp: bool) -> network.Network:
    addresses = host.resolve(node)
    if not addresses:
        raise fail(
            "The cluster node %s has no address." % node,
            "Correct its name in fence_kdump_nodes, or what resolves it (/etc/hosts, DNS).",
            "fence_kdump_nodes",
            node,
        )
    return network.observe(host, addresses, dhcp)


def add_fence(fence: Fence, content: contents.Contents, tools: contents.Tools) -> None:
    content.program(fence.program)
    content.text("etc/kdump/network-fence", "".join(way.text for way in fence.networks))
    for way in fence.networks:
        add_network(way, content, tools)


# --- kernel modules ------------------------------------------------------------------------------------------------
class Wanted(NamedTuple):
    """Modules by name and by alias; nothing is said of an alias that the kernel has no module for."""

    names: List[str]
    aliases: List[str]


def wanted_of(sources: List[Any]) -> Wanted:
    """What targets and networks ask for."""
    return Wanted(
        [name for source in sources for name in source.modules], [one for source in sources for one in source.aliases]
    )


def add_modules(
    modules: kmod.Modules, extra: List[str], watchdogs: List[str], now: Wanted, late: Wanted, content: contents.Contents
) -> List[kmod.Module]:  # fmt: skip
    """Two lists: what is loaded at once, and what only a failure needs (`late`). What the kernel lacks is passed over.

    `extra` are those of kdump.conf. `watchdogs` come first because their time is running.
    """
    first = modules.load_order(watchdogs + extra + now.aliases + now.names)
    later = [module for module in modules.load_order(late.aliases + late.names) if module not in first]
    content.text("etc/kdump/modules", _module_list(first, content))
    if later:
        content.text("etc/kdump/modules-report", _module_list(later, content))
    return first + later


def _module_list(modules: List[kmod.Module], content: contents.Contents) -> str:
    return "".join((content.module(module) + " " + module.options).strip() + "\n" for module in modules)


def add_firmware(
    host: Any, release: str, modules: List[kmod.Module], content: contents.Contents
) -> List[Problem]:  # fmt: skip
    """What drivers load into their devices; warnings for those that may miss something, or take much of the memory."""
    found = firmware.of_modules(host, release, modules)
    for path in found.files:
        content.file(path, 0o644)
    return [Problem(sentence, "") for sentence in found.warnings]
