# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Having Debian's kdump-tools load its capture kernel, and finding out whether it did. Private to this collection.

Its init script ends with exit code 0 whatever kdump-config did, and kdump-config cannot load over a kernel that is
loaded: so everything is checked first, then the old one is unloaded, the unit restarted, and sysfs and the record
`kexec_cmd` looked at. Source: kdump-tools.init, load() and kdump_load() of kdump-config 1.8.1 and 1.10.7.
"""

import datetime
import re
from typing import Any, Dict, List, Mapping, Optional

from .. import cmdline, kexec, kexec_cmdline, kexec_kernel, kexec_memory, kexec_state, layout
from ..image import store
from ..image.contents import sha256_of
from ..kexec_state import Loaded
from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Parts, Problem, fail, shown
from . import kdump_tools_image as images
from . import kdump_tools_settings as variables
from .driver import Configuration

UNIT = "kdump-tools.service"
GOOD = images.STATE + "/good/kdump-tools"  # /etc/default/kdump-tools as it was at the last load that succeeded
_UNIT_SECONDS = 300
_TRIED = 128 << 20
# sed -re 's/(^| )(crashkernel|hugepages|hugepagesz|abm)=[^ ]*//g'
_TAKEN_OUT = re.compile(r"(^| )(crashkernel|hugepages|hugepagesz|abm)=[^ ]*")
_COMMAND = re.compile(r'--command-line="(?P<cmdline>.*)"(?: --initrd=(?P<initrd>\S+))? (?P<kernel>\S+)\s*$')
# What module kexec can be asked for and kdump-tools takes from its file alone.
_NOT_BY_LOAD = ("kernel", "initrd", "cmdline", "cmdline_append", "cmdline_remove", "nr_cpus")


# --- what is loaded ------------------------------------------------------------------------------------------------
def loaded(host: Any, manifest: Optional[store.Manifest]) -> Optional[Loaded]:
    """What kdump-tools has loaded: by our record, or by its own where it has loaded since (at boot, after a hotplug).

    manifest: of the image on disk, which tells the digest as long as that is the image that was loaded
    """
    last = kexec_state.last_load(host)
    found = by_itself(host)
    if found is None and (last is None or last.method != variables.NAME):
        return None
    found = found or last
    same = manifest is not None and found is not None and manifest.sha256 == found.initrd_sha256
    return found._replace(digest=manifest.digest if same and manifest else "") if found else None


def by_itself(host: Any) -> Optional[Loaded]:
    """What kdump-config tells of its last load, if that was since the last one of ours and its unit is active."""
    if not kexec_state.is_loaded(host) or not is_active(host):
        return None
    path = record(host)
    written, ours = host.stat(path), host.stat(layout.LOADED)
    if written is None or (ours is not None and ours.st_mtime_ns >= written.st_mtime_ns):
        return None
    match = _COMMAND.search(host.read_text(path))
    if not match:
        return None
    kernel, initrd = (host.realpath(match.group(name) or "/") for name in ("kernel", "initrd"))
    if not host.is_file(kernel) or not host.is_file(initrd):
        return None
    hashes = [sha256_of(host, path) if _older(host, path, written) else "" for path in (kernel, initrd)]
    line = cmdline.join(cmdline.split(match.group("cmdline")))
    when = _moment(written.st_mtime)
    return Loaded("crash", kernel, hashes[0], initrd, hashes[1], "", line, kexec_state.hardware(host), variables.NAME,
                  when)  # fmt: skip


def _older(host: Any, path: str, than: Any) -> bool:
    """Whether a file has not changed since: else nobody knows what was loaded from it."""
    return bool(host.stat(path).st_mtime_ns <= than.st_mtime_ns)


def is_active(host: Any) -> bool:
    return host.which("kdump-config") is not None and host.run(["systemctl", "is-active", UNIT]).out.strip() == "active"


def record(host: Any) -> str:
    """Where kdump-config writes the command of its last load that succeeded."""
    return variables.effective(host, variables.own(host))["KDUMP_COREDIR"] + "/kexec_cmd"


def _moment(seconds: float) -> str:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(seconds))).isoformat() + "Z"


# --- deciding ------------------------------------------------------------------------------------------------------
def command_line(host: Any, settings: Mapping[str, str]) -> str:
    """The capture kernel's command line as kdump_load() makes it."""
    base = settings.get("KDUMP_CMDLINE") or _TAKEN_OUT.sub("", host.read_text("/proc/cmdline", "").strip())
    return cmdline.join(cmdline.split(base) + cmdline.split(settings["KDUMP_CMDLINE_APPEND"]))


def wanted(host: Any, release: str, configuration: Configuration, check: bool = False) -> Loaded:
    """What a load today would load. KdumpError with everything that stands in its way, as `check` mode sees it, but for
    what keeps what is loaded from being replaced.

    In check mode the files that earlier tasks would have written are not there yet: what only they would change is no
    problem.
    """
    parts = Parts()
    parts.errors += configuration.problems + configuration.conf.problems
    parts.errors += host_problems(host)
    settings = configuration.settings
    if not check and not is_used(settings):
        hint = "Set it to 1 (module vmcore.kdump.sysconfig)."
        parts.errors.append(Problem("USE_KDUMP is not 1 in %s." % variables.PATH, hint, "USE_KDUMP"))
    line = command_line(host, settings)
    parts.errors += _line_problems(line)
    image = parts.of(None, _image, host, release, configuration, check)
    kernel = "/boot/vmlinuz-" + release
    if not host.is_file(kernel):
        parts.errors.append(Problem("There is no kernel %s, which kdump-config would load." % kernel,
                                    "Boot an installed kernel, or set kdump_engine: native.", "kernel", kernel))  # fmt: skip
        raise KdumpError(parts.errors)
    parts.errors += _kernel_problems(host, kernel, line, image)
    parts.end()
    state = Loaded("crash", kernel, sha256_of(host, kernel), "", "", "", line, kexec_state.hardware(host))
    return state._replace(initrd=image.path, initrd_sha256=image.sha256, digest=image.digest) if image else state


def is_used(settings: Mapping[str, str]) -> bool:
    """kdump-tools.init: `[ "$USE_KDUMP" -ne 0 ] || exit 0`, and what is no number is no `-ne 0` either."""
    use = settings.get("USE_KDUMP", "")
    return re.fullmatch("[0-9]{1,9}", use) is not None and int(use) != 0


def host_problems(host: Any) -> List[Problem]:
    """Why nothing could be loaded on this host where nothing is."""
    problems = []
    if not kexec_state.reserved_bytes(host):
        hint = "Reserve memory first: set crashkernel= (module vmcore.kdump.crashkernel) and reboot."
        problems.append(Problem("No memory is reserved for the capture kernel.", hint))
    elif not cmdline.values(cmdline.split(host.read_text("/proc/cmdline", "")), "crashkernel"):
        hint = "Reboot with crashkernel= on the command line, or set kdump_engine: native."
        problems.append(Problem("kdump-config loads nothing without crashkernel= in /proc/cmdline.", hint))
    return problems + ([] if kexec_state.is_loaded(host) else kexec.forbidden(host))


def warnings(host: Any) -> List[Problem]:
    """Measured on a guest of 2 GiB with Debian 13: it captures with 128M, and with 112M it runs out of memory."""
    reserved = kexec_state.reserved_bytes(host)
    if not 0 < reserved < _TRIED:
        return []
    message = (
        "%d MiB are reserved, and kdump-tools starts the host's own system in them: 128 MiB were enough for a small "
    )
    hint = "Run a crash test, raise kdump_crashkernel, or set kdump_engine: native, which needs less."
    return [Problem((message + "one.") % (reserved >> 20), hint, "crashkernel")]


def _line_problems(line: str) -> List[Problem]:
    """kdump_load() has a shell evaluate the line between double quotes."""
    found = sorted(set(re.findall(r"[\"'`$\\]", line)))
    if not found:
        return []
    chars = " ".join(found)
    message = "The running kernel's command line holds %s, which kdump-config would have a shell read." % chars
    hint = "Set KDUMP_CMDLINE without it (kdump_sysconfig), or set kdump_engine: native."
    return [Problem(message, hint, "cmdline", shown(line))]


def _kernel_problems(host: Any, kernel: str, line: str, image: Optional[store.Manifest]) -> List[Problem]:
    parts = Parts()
    head = host.read(kernel, kexec_kernel.HEAD)
    file = parts.of(None, kexec_kernel.inspect, kernel, head, host.stat(kernel).st_size, host.kernel.machine)
    if file is None:
        return parts.errors
    size, unpacked = (image.bytes, images.unpacked(host, image.release)) if image else (0, 0)
    needed = kexec_memory.least(file.memory, size, unpacked)
    problems = kexec_cmdline.problems(line, host.kernel.machine, file.cmdline_max, True)
    return problems + kexec.no_room(kexec_state.reserved_bytes(host), needed)


def _image(host: Any, release: str, configuration: Configuration, check: bool) -> Optional[store.Manifest]:
    """The image that a load would take; None where check mode only foresees it."""
    image = images.current(host, release, lambda host: configuration)
    kept = host.read_text(images.sysctl_copy(release), "\0") == host.read_text(images.SYSCTL, "")
    if image is not None and image.bytes and kept:
        return image
    if check:
        return None
    why = "a load would delete it" if image is not None else "there is none"
    message = "No capture image is ready for the kernel %s: %s." % (release, why)
    raise Missing([Problem(message, "Build it first: module vmcore.kdump.initramfs with engine: kdump-tools.")])


def plan(host: Any, params: Mapping[str, Any], release: str, configuration: Configuration) -> Plan:
    """The plan for module kexec with type crash."""
    given = [name for name in _NOT_BY_LOAD if params.get(name)]
    if given:
        raise KdumpError([Problem(
            "kdump-tools takes no %s for one load." % name,
            "Write KDUMP_CMDLINE_APPEND into %s, or set engine: native." % variables.PATH, name,
        ) for name in given])  # fmt: skip
    if params.get("state") == "unloaded":
        return kexec.decide(host, dict(kexec.REQUEST, state="unloaded"))
    goal = wanted(host, release, configuration, bool(params.get("_check")))
    present = loaded(host, images.current(host, release, lambda host: configuration))
    if present is not None and same(host, present, goal):
        return Plan([])  # also where nothing can be loaded any more, as on hosts that are hardened once they are armed
    forbidden = kexec.forbidden(host)
    if forbidden:
        raise KdumpError(forbidden)
    return Plan([Step(
        "have kdump-tools load the capture kernel " + goal.kernel, lambda target: load(target, goal),
        lines(present) if present else "", lines(goal),
    )])  # fmt: skip


def same(host: Any, present: Loaded, goal: Loaded) -> bool:
    """The digest does not count: what it covers beside the image is read in the crash."""
    return kexec_state.same(present._replace(digest=""), goal._replace(digest=""), kexec_state.follows_hotplug(host))


def lines(state: Loaded) -> str:
    initrd = "%s %s" % (state.initrd, state.initrd_sha256[:16])
    image = initrd if state.initrd else "(the image that is still to be built)"
    return "kernel %s\ninitrd %s\ncmdline %s\n" % (state.kernel, image, state.cmdline)


# --- doing ---------------------------------------------------------------------------------------------------------
def load(host: Any, goal: Loaded) -> None:
    """Unload what is there, load by the unit, look at sysfs; on failure go back to what was loaded before."""
    previous = kexec_state.last_load(host) or by_itself(host)
    host.remove(layout.LOADED)
    try:
        restart(host, goal.cmdline)
    except KdumpError as error:
        raise KdumpError(error.problems + _back(host, previous)) from error
    kexec_state.write_state(host, goal._replace(method=variables.NAME, loaded_at=_moment(host.now())))
    _keep(host, host.read(variables.PATH))


def restart(host: Any, line: str) -> None:
    """KdumpError unless the kernel says that something is loaded and kdump-config has written that it was this."""
    path = record(host)
    if kexec_state.is_loaded(host):
        kexec.unload(host, "crash")
    host.remove(path)
    result = host.run(["systemctl", "restart", UNIT], timeout=_UNIT_SECONDS)
    if not kexec_state.is_loaded(host):
        said = (result.err or result.out).strip() or "its exit code was %d" % result.rc
        raise fail("%s has loaded nothing (%s). Its journal says:\n%s" % (UNIT, said, _journal(host)),
                   "Mend what it says there, then run again.")  # fmt: skip
    match = _COMMAND.search(host.read_text(path, ""))
    if not match or cmdline.split(match.group("cmdline")) != cmdline.split(line):
        raise fail("%s has loaded something else than was expected: %s" % (UNIT, host.read_text(path, "nothing noted")),
                   "See kdump-config show; another program may have changed %s." % variables.PATH)  # fmt: skip


def _journal(host: Any) -> str:
    """What the unit said at its last start. kexec's page of usage comes after what it does not like."""
    text = host.run(["journalctl", "-u", UNIT, "-b", "-n", "200", "--no-pager", "-o", "cat"]).out
    said = text.rstrip("\n").rpartition("\nStarting ")[2].splitlines()
    return "\n".join(said if len(said) <= 20 else said[:10] + ["…"] + said[-5:])


def before_write(host: Any, path: str, plan: Plan) -> Plan:
    """The plan of a module that writes the file, with a step in front that keeps the one that has loaded until then.

    On a host that kdump-tools has armed at its boot nobody has done so.
    """
    if path != variables.PATH or not plan.changed or not host.is_file(path) or not is_active(host):
        return plan
    written, now = host.stat(record(host)), host.read(path)
    if not kexec_state.is_loaded(host) or written is None or host.stat(path).st_ctime_ns > written.st_mtime_ns:
        return plan
    if host.is_file(GOOD) and host.read(GOOD) == now:
        return plan
    return Plan([Step("keep the %s that has loaded" % path, lambda host: _keep(host, now))] + plan.steps)


def _keep(host: Any, text: bytes) -> None:
    host.make_directories(GOOD.rpartition("/")[0], 0o700)
    host.write(GOOD, text, 0o600)


def _back(host: Any, previous: Optional[Loaded]) -> List[Problem]:
    """After a failed load: protect the host as it was, and say how that went."""
    problems = []
    good, now = host.read_text(GOOD, ""), host.read_text(variables.PATH, "")
    if previous is not None and previous.method == variables.NAME and good not in ("", now):
        host.write(variables.PATH, good.encode("utf-8", "surrogateescape"))
        try:
            restart(host, previous.cmdline)
            kexec_state.write_state(host, previous)
            return [Problem("%s was put back to what last loaded, and that is loaded again." % variables.PATH, "")]
        except (KdumpError, OSError) as error:
            message = "%s was put back to what last loaded, and that did not load either: %s" % (variables.PATH, error)
            problems = [Problem(message, "")]
    problems.append(kexec.restore(host, "crash", previous))
    again = kexec_state.last_load(host)
    if previous is not None and again is not None:
        kexec_state.write_state(host, again._replace(method=previous.method))
    return problems


def report(host: Any, present: Optional[Loaded]) -> Dict[str, Any]:
    """The results of module kexec."""
    result: Dict[str, Any] = {
        name: getattr(present, name) if present else "" for name in ("kernel", "initrd", "cmdline", "method")
    }
    return dict(result, loaded=kexec_state.is_loaded(host), reserved_bytes=kexec_state.reserved_bytes(host))
