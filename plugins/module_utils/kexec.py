# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Loading and unloading kernels, so that a host is never left worse than it was. Private to this collection.

The kernel frees the loaded crash kernel before it reads the new one (kernel/kexec_file.c), so whatever can be checked
is checked before the call, and when the call fails all the same, what was loaded before is loaded again.
"""

import datetime
import errno
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from . import cmdline, kexec_cmdline, kexec_kernel, kexec_memory, layout, sysconfig
from .image import store
from .image.contents import sha256_of
from .image.kernel import find_kernel
from .kexec_cmdline import capture_cmdline
from .kexec_errors import MIB, Facts, explain, permission
from .kexec_state import (
    Loaded,
    facts,
    follows_hotplug,
    hardware,
    is_graviton,
    is_loaded,
    last_load,
    live_update,
    loaded,
    reserved_bytes,
    same,
    state_file,
    watchdogs,
    write_state,
)
from .plan import Plan, Step
from .problems import KdumpError, Missing, Parts, Problem, fail, in_file

__all__ = ["REQUEST", "capture_cmdline", "decide", "is_loaded", "loaded", "report", "reserved_bytes", "settings"]

# What decide() and report() understand, with its defaults; modules/kexec.py documents each.
REQUEST: Dict[str, Any] = {
    "type": "crash",
    "state": "loaded",
    "kernel": "",
    "initrd": "",
    "cmdline": None,
    "cmdline_append": "",
    "cmdline_remove": [],
    "nr_cpus": None,
}


class Inputs(NamedTuple):
    """What shall be loaded, and the bytes it takes. The image is "" while it is still to be built (check mode)."""

    wanted: Loaded
    needed: int


# --- deciding ------------------------------------------------------------------------------------------------------
def settings(host: Any) -> Dict[str, str]:
    """/etc/sysconfig/kdump over kdump-utils' defaults for this architecture. KdumpError for what cannot be read."""
    own = in_file(layout.SYSCONFIG, sysconfig.parse, host.read_text(layout.SYSCONFIG, ""))
    return dict(sysconfig.defaults(host.kernel.machine), **own)


def decide(host: Any, params: Mapping[str, Any], replacing: bool = True) -> Plan:
    """The plan for a request (see REQUEST). KdumpError with everything that stands in the way, nothing touched; Missing
    where that is only the image.

    replacing: False for a comparison, which needs no permission to load over what is loaded
    """
    kind = params["type"]
    if params["state"] == "unloaded":
        return _decide_unload(host, kind)
    parts = Parts()
    parts.errors += _host_problems(host, kind)
    inputs = parts.of(None, _inputs, host, params)
    present = loaded(host, kind)
    if present and not parts.errors and same(present, inputs.wanted, follows_hotplug(host)):
        return Plan([])
    if replacing or not is_loaded(host, kind):
        parts.errors += forbidden(host, kind)
    parts.end()
    wanted, needed = inputs
    previous = last_load(host, kind)
    return Plan([Step(
        "load the %s kernel %s" % (kind, wanted.kernel),
        lambda target: _load(target, wanted, previous, needed),
        _shown(present) if present else "",
        _shown(wanted),
    )])  # fmt: skip


def report(host: Any, params: Mapping[str, Any]) -> Dict[str, Any]:
    """What is loaded now. The texts are "" for a kernel that something else has loaded.

    `warnings` holds sentences about what may fail in a crash.
    """
    kind = params["type"]
    present = loaded(host, kind)
    names = ("kernel", "initrd", "cmdline", "method")
    result: Dict[str, Any] = {name: getattr(present, name) if present else "" for name in names}
    warnings = _tight(host, present) if present and kind == "crash" else []
    return dict(result, loaded=is_loaded(host, kind), reserved_bytes=reserved_bytes(host), warnings=warnings)


def _tight(host: Any, present: Loaded) -> List[str]:
    """Whether what is loaded fills the reservation so far that a dump may lack memory."""
    manifest = store.load(host, present.initrd) if present.digest else None
    found = host.stat(present.kernel)
    if manifest is None or found is None:
        return []
    head = host.read(present.kernel, kexec_kernel.HEAD)
    try:
        kernel = kexec_kernel.inspect(present.kernel, head, found.st_size, host.kernel.machine)
    except KdumpError:
        return []  # the file is another now than the one that is loaded
    wanted = kexec_memory.comfortable(kernel.memory, manifest.bytes, manifest.unpacked)
    reserved = reserved_bytes(host)
    if reserved >= wanted:
        return []
    return [
        "The capture kernel, its image and makedumpfile take about %d MiB, and %d MiB are reserved: run a crash test, "
        "or raise crashkernel=." % (-(-wanted // MIB), reserved // MIB)
    ]


def _shown(state: Loaded) -> str:
    initrd = state.initrd or "(the image that is still to be built)"
    return "kernel %s\ninitrd %s\ncmdline %s\n" % (state.kernel, initrd, state.cmdline)


def _decide_unload(host: Any, kind: str) -> Plan:
    if not is_loaded(host, kind):
        return Plan([])
    problems = permission_problems(facts(host, kind), False)
    if problems:
        raise KdumpError(problems)
    present = loaded(host, kind)
    before = _shown(present) if present else "a %s kernel that something else has loaded\n" % kind
    return Plan([Step("unload the %s kernel" % kind, lambda target: unload(target, kind), before, "")])


def _host_problems(host: Any, kind: str) -> List[Problem]:
    """Why this host, whatever is to be loaded, cannot load it."""
    problems = []
    refusal = host.kexec_refusal()
    if refusal:
        problems.append(Problem(refusal, explain(errno.ENOTSUP, Facts()).hint))
    if kind == "crash" and not reserved_bytes(host):
        running = cmdline.values(cmdline.split(host.read_text("/proc/cmdline", "")), "crashkernel")
        if running:
            problems.append(Problem(
                "No memory is reserved for the capture kernel, though the running kernel was given crashkernel=%s."
                % " crashkernel=".join(running),
                "Its value does not fit this machine's memory: set another (module vmcore.kdump.crashkernel), reboot.",
            ))  # fmt: skip
        else:
            problems.append(Problem(
                "No memory is reserved for the capture kernel.",
                "Reserve memory first: set crashkernel= (module vmcore.kdump.crashkernel) and reboot.",
            ))  # fmt: skip
    if kind == "reboot" and live_update(host):
        problems.append(Problem(
            "The live update orchestrator is on (liveupdate=on), and a plain kexec reboot loses what it preserves.",
            "Reboot through luoctl, or through the firmware.",
        ))  # fmt: skip
    return problems


def forbidden(host: Any, kind: str = "crash") -> List[Problem]:
    """Why the kernel would take nothing now, whatever it is."""
    return permission_problems(facts(host, kind), is_loaded(host, kind))


def permission_problems(now: Facts, replacing: bool) -> List[Problem]:
    """Why the kernel would forbid it. Replacing needs a second call in hand, to load the old one again."""
    if now.disabled or not now.may_boot or now.limit == 0:
        return [permission(now)]
    if replacing and now.limit == 1:
        return [Problem(
            "The kernel permits one more load only (kernel.kexec_load_limit_%s is 1), and if that failed, what is "
            "loaded now could not be loaded again." % ("panic" if now.kind == "crash" else "reboot"),
            "Reboot, and raise the limit where it is set (grep -r kexec_load_limit /etc/sysctl*).",
        )]  # fmt: skip
    return []


def _inputs(host: Any, params: Mapping[str, Any]) -> Inputs:
    """Find and check the kernel, the image and the command line."""
    kind = params["type"]
    kernel, release, kernel_file = _kernel(host, params)
    kernel_sha256 = sha256_of(host, kernel)
    line = _command_line(host, params)
    parts = Parts()
    parts.errors += kexec_cmdline.problems(line, host.kernel.machine, kernel_file.cmdline_max, kind == "crash")
    image = parts.of(("", "", "", 0), _initrd, host, params, release, kernel_sha256)
    initrd, initrd_sha256, digest, unpacked = image
    size = host.stat(initrd).st_size if initrd else 0
    needed = kexec_memory.least(kernel_file.memory, size, unpacked)
    if kind == "crash":
        parts.errors += no_room(reserved_bytes(host), needed)
    parts.end()
    state = Loaded(kind, kernel, kernel_sha256, initrd, initrd_sha256, digest, line, hardware(host))
    return Inputs(state, needed)


def no_room(reserved: int, needed: int) -> List[Problem]:
    """Why it does not fit. The option tells it from what another reservation would not mend."""
    if not 0 < reserved < needed:
        return []
    return [explain(errno.ENOMEM, Facts(reserved=reserved, needed=needed))._replace(option="crashkernel")]


def _kernel(host: Any, params: Mapping[str, Any]) -> Any:
    """(path, release, KernelFile) of the kernel to be loaded."""
    named = params["kernel"]
    if named.startswith("/"):
        path, release = host.realpath(named), ""
    else:
        conf = settings(host)
        release = named or (conf.get("KDUMP_KERNELVER") if params["type"] == "crash" else "") or host.kernel.release
        path = find_kernel(host, release, conf.get("KDUMP_BOOTDIR", ""))
    found = host.stat(path)
    if found is None or not host.is_file(path):
        raise fail("There is no kernel %s." % path, "Name a kernel file, or a release in /lib/modules.", "kernel", path)
    kernel_file = kexec_kernel.inspect(path, host.read(path, kexec_kernel.HEAD), found.st_size, host.kernel.machine)
    guessed = path.rsplit("/", 1)[-1].partition("-")[2]  # vmlinuz-6.12.1
    return path, release or kernel_file.release or guessed, kernel_file


def _command_line(host: Any, params: Mapping[str, Any]) -> str:
    running = host.read_text("/proc/cmdline")
    if params["type"] == "reboot":
        kept = cmdline.without(cmdline.split(params["cmdline"] or running), params["cmdline_remove"])
        return cmdline.join(kept + cmdline.split(params["cmdline_append"]))
    conf = settings(host)
    base = cmdline.split(params["cmdline"] or conf.get("KDUMP_COMMANDLINE") or running)
    conf["KDUMP_COMMANDLINE"] = ""  # is the base
    return capture_cmdline(
        cmdline.join(kexec_cmdline.fed(base)), conf, host.kernel.machine, host.read_text("/proc/cpuinfo", ""),
        watchdogs(host), is_graviton(host), params["cmdline_append"], params["cmdline_remove"], params["nr_cpus"],
    )  # fmt: skip


def _initrd(host: Any, params: Mapping[str, Any], release: str, kernel_sha256: str) -> Any:
    """(path, sha256, digest, unpacked bytes) of the image to be loaded; all empty for one that check mode foresees."""
    named = params["initrd"] or (_system_initrd(host, release) if params["type"] == "reboot" else "")
    if named:
        if not host.is_file(named):
            raise fail("There is no initrd %s." % named, "Name an existing file.", "initrd", named)
        return named, sha256_of(host, named), "", 0
    manifest = store.current(host, release)
    if manifest is not None and manifest.kernel_sha256 == kernel_sha256:
        return manifest.path, manifest.sha256, manifest.digest, manifest.unpacked
    if params.get("_check"):
        return "", "", "", 0
    if manifest is None:
        message, hint = "There is no whole capture image for the kernel %s." % release, "Build it first"
    else:
        message = "The capture image %s was built for other bytes of the kernel %s." % (manifest.path, release)
        hint = "Build it again"
    raise Missing([Problem(message, hint + ": module vmcore.kdump.initramfs, or `kdump.pyz build`.")])


def _system_initrd(host: Any, release: str) -> str:
    """The initrd that the boot loader gives this kernel: Debian's, the Red Hat family's, SUSE's name for it."""
    names = ["/boot/" + name % release for name in ("initrd.img-%s", "initramfs-%s.img", "initrd-%s")]
    machine_id = host.read_text("/etc/machine-id", "").strip()
    if machine_id:
        names += ["%s/%s/%s/initrd" % (boot, machine_id, release) for boot in ("/boot", "/boot/efi", "/efi")]
    for name in names:
        if host.is_file(name):
            return name
    raise fail("No initrd of the kernel %s was found (%s)." % (release, ", ".join(names)), "Name it.", "initrd")


# --- doing ---------------------------------------------------------------------------------------------------------
def _load(host: Any, wanted: Loaded, previous: Optional[Loaded], needed: int) -> None:
    """Load; on failure load again what was there before, and report both. KdumpError."""
    # A state file that outlived what it tells of would be believed after a kill -9 here.
    host.remove(state_file(wanted.type))
    try:
        method = _call(host, wanted, needed)
    except KdumpError as error:
        raise KdumpError(error.problems + [restore(host, wanted.type, previous)]) from error
    _remember(host, wanted, method)
    if wanted.digest:
        store.prune(host, _images_to_keep(host, wanted.initrd))


def _images_to_keep(host: Any, image: str) -> List[str]:
    """This one, and those of other kernels, which wait for their boot."""
    suffix = len("-0123456789abcdef.img")
    return [image] + [path for path in store.images(host) if path[:-suffix] != image[:-suffix]]


def restore(host: Any, kind: str, previous: Optional[Loaded]) -> Problem:
    """After a failed load: make the best of it, and say what that is."""
    if is_loaded(host, kind):  # refused before the kernel freed it
        if previous:
            write_state(host, previous)
        return Problem("What was loaded before is still loaded.", "")
    if kind == "reboot":
        return Problem("Nothing is loaded for a kexec reboot now.", "")
    unprotected = "No capture kernel is loaded now: a crash would leave no vmcore."
    if previous is None:
        return Problem(unprotected, "Mend what is said above, then run again.")
    try:
        for path, digest in ((previous.kernel, previous.kernel_sha256), (previous.initrd, previous.initrd_sha256)):
            if path and sha256_of(host, path) != digest:
                raise fail("%s has changed since it was loaded." % path, "")
        method = _call(host, previous, 0)
    except (KdumpError, OSError) as error:
        return Problem("%s The one loaded before could not be loaded again: %s" % (unprotected, error),
                       "Mend what is said above, then run again.")  # fmt: skip
    _remember(host, previous, method)
    return Problem("What was loaded before (%s with %s) is loaded again." % (previous.kernel, previous.initrd), "")


def _remember(host: Any, state: Loaded, method: str) -> None:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(host.now()))
    write_state(host, state._replace(method=method, loaded_at=moment.isoformat() + "Z"))


def _call(host: Any, wanted: Loaded, needed: int) -> str:
    """Load by the system call, by kexec-tools where the kernel has none. Returns the method; KdumpError."""
    method = "kexec_file_load"
    try:
        host.kexec_file_load(wanted.kernel, wanted.initrd, wanted.cmdline, wanted.type == "crash")
    except OSError as error:
        if error.errno != errno.ENOSYS or host.which("kexec") is None:
            now = facts(host, wanted.type)._replace(kernel=wanted.kernel, initrd=wanted.initrd, needed=needed)
            raise KdumpError([explain(error.errno or 0, now)]) from error
        method = "kexec-tools"
        _call_kexec_tools(host, wanted)
    if not is_loaded(host, wanted.type):
        raise fail("The load of %s succeeded, and yet the kernel says that nothing is loaded." % wanted.kernel,
                   "Another program unloaded it at once: kdump-tools or kdump.service.")  # fmt: skip
    return method


def kexec_argv(wanted: Loaded) -> List[str]:
    """kexec(8), made to use kexec_load."""
    argv = ["kexec", "-p" if wanted.type == "crash" else "-l", "-c", "--command-line=" + wanted.cmdline]
    return argv + (["--initrd=" + wanted.initrd] if wanted.initrd else []) + [wanted.kernel]


def _call_kexec_tools(host: Any, wanted: Loaded) -> None:
    result = host.run(kexec_argv(wanted), timeout=120)
    if result.rc:
        raise fail(
            "kexec could not load %s: %s" % (wanted.kernel, (result.err or result.out).strip()),
            "The end of dmesg may say more.",
        )


def unload(host: Any, kind: str) -> None:
    """Unload what is loaded, by whomever, and forget it. KdumpError."""
    try:
        host.kexec_unload(kind == "crash")
    except OSError as error:
        raise KdumpError([explain(error.errno or 0, facts(host, kind))]) from error
    if is_loaded(host, kind):
        raise fail("The %s kernel is still loaded after it was unloaded." % kind, "See dmesg.")
    host.remove(state_file(kind))
