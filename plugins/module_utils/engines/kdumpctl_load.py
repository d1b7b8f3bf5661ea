# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Loading with kdump.service, so that a host is never left worse than it was. Private to this collection.

A start of kdumpctl on a host that has something loaded does nothing, and a restart unloads first and checks afterwards
(transcript of kdump-utils 1.0.61). So everything is checked and built while the old one is loaded; then it is unloaded
and started; and where that fails all the same, the configuration that last worked is put back and started.
"""

import datetime
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from .. import kexec, kexec_cmdline, kexec_kernel, kexec_memory, kexec_state, layout
from ..image import store
from ..image.contents import sha256_of
from ..kexec_state import Loaded
from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Problem, fail, shown
from . import kdumpctl_build, kdumpctl_good, kdumpctl_image, kdumpctl_luks, kdumpctl_unit
from .driver import Configuration, Difference

NAME = "kdumpctl"
ESTIMATE = layout.STATE_DIR + "/kdumpctl/estimate.json"

_MIB = 1 << 20
_REMOVE = "hugepages hugepagesz slub_debug"  # kdumpctl's own, where the file has no KDUMP_COMMANDLINE_REMOVE
_FIXED = ("kernel", "initrd", "cmdline", "cmdline_append", "cmdline_remove", "nr_cpus")
_LIBRARY = "/usr/lib/kdump/kdump-lib.sh"
_NO_GPT_AUTO = "rd.systemd.gpt_auto=no"  # prepare_cmdline() of newer releases ends with it
_RUN_AGAIN = "Mend what is said above, then run again."


# --- what is loaded ------------------------------------------------------------------------------------------------
def loaded(host: Any, configuration: Configuration) -> Optional[Loaded]:
    """What is loaded, if kdumpctl loaded it: on our behalf, or by itself at boot."""
    if not kexec_state.is_loaded(host):
        return None
    known = kexec_state.last_load(host)
    if known is not None and known.method != NAME:
        return None
    unit = kdumpctl_unit.state(host)
    if known is not None and not _is_outdated(host, unit.since):
        return known
    return _loaded_by_itself(host, configuration, unit.since) if unit.active else None


def _is_outdated(host: Any, since: Optional[float]) -> bool:
    """Whether somebody has started the unit after we had, say after an edit by hand: then it has loaded anew."""
    found = host.stat(layout.LOADED)
    return since is not None and found is not None and found.st_mtime < since


def _loaded_by_itself(host: Any, configuration: Configuration, since: Optional[float]) -> Loaded:
    """What kdump.service must have loaded, by the files that have not changed since; "" for what cannot be known."""
    nothing = Loaded("crash", "", "", "", "", "", "", "", NAME)
    try:
        now = _state_of(host, configuration)
    except (KdumpError, OSError):
        return nothing
    if since is None or _changed_at(host, now.kernel) >= since or _changed_at(host, now.initrd) >= since:
        return nothing
    return now if _changed_at(host, layout.SYSCONFIG) < since else now._replace(cmdline="")


def _changed_at(host: Any, path: str) -> float:
    found = host.stat(path)
    return float(found.st_ctime) if found is not None else 0.0


def _state_of(host: Any, configuration: Configuration) -> Loaded:
    """What starting kdump.service loads, with the image that is there. KdumpError without kernel or image."""
    release = kdumpctl_image.release_of(host, configuration.settings)
    kernel = kdumpctl_image.find_kernel(host, release, configuration.settings)
    image = kdumpctl_image.present(host, release, configuration)
    if image is None:
        hint = "Build it first: module vmcore.kdump.initramfs."
        raise fail("kdumpctl has no capture image for the kernel %s." % release, hint)
    return Loaded(
        "crash", kernel, sha256_of(host, kernel), image.path, image.sha256, image.digest,
        command_line(host, configuration.settings), kexec_state.hardware(host), NAME,
    )  # fmt: skip


def command_line(host: Any, settings: Dict[str, str]) -> str:
    """The capture kernel's command line, as prepare_cmdline() in kdump-lib.sh makes it of these settings."""
    line = kexec_cmdline.capture_cmdline(
        host.read_text("/proc/cmdline"), dict({"KDUMP_COMMANDLINE_REMOVE": _REMOVE}, **settings), host.kernel.machine,
        host.read_text("/proc/cpuinfo", ""), kexec_state.watchdogs(host), kexec_state.is_graviton(host),
    )  # fmt: skip
    return line + " " + _NO_GPT_AUTO if _NO_GPT_AUTO in host.read_text(_LIBRARY, "") else line


# --- deciding ------------------------------------------------------------------------------------------------------
class _Today(NamedTuple):
    """What loading today comes to. `image` is what is there, and `built` tells whether that is today's."""

    state: Loaded
    recipe: kdumpctl_image.Recipe
    image: Optional[store.Manifest]
    built: bool


def plan(host: Any, configuration: Configuration, params: Mapping[str, Any], replacing: bool = True) -> Plan:
    """The plan of the module kexec. KdumpError with everything in the way, before anything is unloaded.

    replacing: False for a comparison, for which it does not matter whether what is loaded can be unloaded now
    """
    if params["state"] == "unloaded":
        return Plan(unload_steps(host) if kexec_state.is_loaded(host) else [])
    problems = _request_problems(params) + _reservation_problems(host)
    today = None
    try:
        today = _today(host, configuration)
        problems += _fit_problems(host, today)
    except Missing as error:
        problems += [] if params.get("_check") else error.problems
    except KdumpError as error:
        problems += error.problems
    present = loaded(host, configuration)
    if not problems and today is not None and today.built and present is not None and _same(present, today.state):
        return Plan([])  # also where nothing can be loaded any more, as on hosts that are hardened once they are armed
    if replacing or not kexec_state.is_loaded(host):
        problems += _forbidden(host, configuration)
    if problems:
        raise KdumpError(problems)
    return Plan([Step(
        "load the capture kernel with %s" % kdumpctl_unit.UNIT, lambda target: _load(target, configuration, today),
        _shown(present) if present else "", _shown(today.state) if today else "",
    )])  # fmt: skip


def _today(host: Any, configuration: Configuration) -> _Today:
    release = kdumpctl_image.release_of(host, configuration.settings)
    recipe = kdumpctl_image.observe(host, release, configuration)
    image = kdumpctl_image.present(host, release, configuration)
    built = image is not None and image.digest == recipe.digest
    state = Loaded(
        "crash", recipe.kernel, recipe.kernel_sha256, recipe.path, image.sha256 if image is not None and built else "",
        recipe.digest, command_line(host, configuration.settings), "",
    )  # fmt: skip
    return _Today(state, recipe, image, built)


def _same(present: Loaded, wanted: Loaded) -> bool:
    """By what the image was made of, and not by its bytes: kdumpctl builds it anew when it likes, with other times in it.

    CPUs and memory are no reason: while its unit is active, kdump-utils' own udev rule loads again.
    """
    names = ("kernel", "kernel_sha256", "initrd", "digest", "cmdline")
    return all(getattr(present, name) == getattr(wanted, name) for name in names)


def _shown(state: Loaded) -> str:
    lines = (state.kernel, state.initrd, state.digest[:16] or "(not known)", state.cmdline or "(not known)")
    return "kernel %s\ninitrd %s\ninputs %s\ncmdline %s\n" % lines


def _request_problems(params: Mapping[str, Any]) -> List[Problem]:
    """What this engine takes from /etc/sysconfig/kdump alone, so that the next boot loads the same."""
    hint = "Set it in /etc/sysconfig/kdump (module vmcore.kdump.sysconfig), or use the engine native."
    return [
        Problem("kdumpctl cannot be told %s for one load." % name, hint, name) for name in _FIXED if params.get(name)
    ]


def _reservation_problems(host: Any) -> List[Problem]:
    if kexec_state.reserved_bytes(host) and not kdumpctl_unit.is_skipped(host):
        return []
    if kdumpctl_unit.is_skipped(host):
        message = "The running kernel was booted without crashkernel=, and systemd skips %s then." % kdumpctl_unit.UNIT
    else:
        message = (
            "No memory is reserved for the capture kernel, though the running kernel was booted with crashkernel=."
        )
    return [Problem(message, "Set crashkernel= (module vmcore.kdump.crashkernel) to what fits this host, and reboot.")]


def _forbidden(host: Any, configuration: Configuration) -> List[Problem]:
    """Why nothing can be loaded now, whatever it is, though it can at the next boot."""
    problems = _permission_problems(host)
    return problems + (kdumpctl_luks.problems(host, configuration.conf) if kexec_state.is_loaded(host) else [])


def _permission_problems(host: Any) -> List[Problem]:
    """Why the kernel would forbid it. Replacing needs a second load in hand, to go back to what worked."""
    problems = kexec.forbidden(host)
    return [one._replace(hint=one.hint.replace("vmcore-kdump.service", kdumpctl_unit.UNIT)) for one in problems]


def _fit_problems(host: Any, today: _Today) -> List[Problem]:
    """What the kernel would refuse: a command line that is too long, a kernel and an image that do not fit."""
    path = today.state.kernel
    memory, most = 0, 0
    try:
        head = host.read(path, kexec_kernel.HEAD)
        found = kexec_kernel.inspect(path, head, host.stat(path).st_size, host.kernel.machine)
        memory, most = found.memory, found.cmdline_max
    except KdumpError:
        pass  # kexec-tools knows more formats, unified kernel images among them
    problems = kexec_cmdline.problems(today.state.cmdline, host.kernel.machine, most, True)
    needed = kexec_memory.least(memory, host.stat(today.state.initrd).st_size if today.built else 0, 0)
    return problems + kexec.no_room(kexec_state.reserved_bytes(host), needed)


def unload_steps(host: Any) -> List[Step]:
    """What leaves nothing loaded, and the unit inactive; [] where it is so."""
    unit = kdumpctl_unit.state(host)
    if not kexec_state.is_loaded(host) and not unit.active and not unit.starting:
        return []
    facts = kexec_state.facts(host, "crash")
    if facts.disabled or not facts.may_boot:
        raise KdumpError(_permission_problems(host))
    return [Step("unload the capture kernel", _unload, "a capture kernel is loaded\n", "")]


def difference(host: Any, configuration: Configuration) -> Optional[Difference]:
    steps = plan(host, configuration, {"state": "loaded"}, replacing=False).steps
    return Difference(steps[0].before, steps[0].after, _forbidden(host, configuration)) if steps else None


# --- doing ---------------------------------------------------------------------------------------------------------
def _unload(host: Any) -> None:
    kdumpctl_unit.unload(host)
    host.remove(layout.LOADED)


def _load(host: Any, configuration: Configuration, today: Optional[_Today]) -> None:
    """Build what is not built, then unload and start; on failure go back to what worked, and report both."""
    _reach_server(host, configuration)
    if today is not None and (not today.built or kdumpctl_image.looks_old(host, today.recipe)):
        kdumpctl_build.build(host, today.recipe, configuration, today.image)
    previous = loaded(host, configuration) or kexec_state.last_load(host)
    host.remove(layout.LOADED)
    try:
        kdumpctl_unit.unload(host)
    except KdumpError as error:
        if previous is not None:
            kexec_state.write_state(host, previous)
        raise KdumpError(error.problems + [Problem("What was loaded before is still loaded.", "")]) from error
    try:
        kdumpctl_unit.start(host)
    except KdumpError as error:
        raise KdumpError(error.problems + [_restore(host)]) from error
    _remember(host, configuration)
    _estimate(host, configuration)


def _reach_server(host: Any, configuration: Configuration) -> None:
    """What kdumpctl does first with an ssh target, and waits 180 seconds for, with nothing loaded."""
    conf = configuration.conf
    if conf.target.kind != "ssh":
        return
    where = conf.target.location
    options = [
        "-i",
        conf.get("sshkey"),
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "ConnectTimeout=20",
    ]
    done = host.run(["ssh"] + options + [where, "mkdir", "-p", conf.get("path")], timeout=120)
    if done.rc:
        said = shown(" ".join(done.err.split()) or "no answer", 300)
        hint = "Bring the host's key to the server and the server's into /root/.ssh/known_hosts. Nothing was unloaded."
        raise fail("Dumps cannot go to %s: %s" % (where, said), hint, "ssh", where)


def _restore(host: Any) -> Problem:
    """After a failed start: make the best of it, and say what that is."""
    try:
        changed = kdumpctl_good.put_back(host)
    except OSError as error:
        return Problem("%s What worked before could not be put back: %s." % (_now(host), error), _RUN_AGAIN)
    if not changed:
        return Problem("%s What worked before is not known, or is what failed." % _now(host), _RUN_AGAIN)
    files = " and ".join(changed)
    try:
        kdumpctl_unit.unload(host)  # of a start that was said to have succeeded the unit is active
        kdumpctl_unit.start(host)
    except KdumpError as error:
        return Problem("%s %s was put back to what last worked, and that did not load either: %s"
                       % (_now(host), files, error), _RUN_AGAIN)  # fmt: skip
    _remember(host, kdumpctl_image.configuration(host))
    return Problem(
        "%s was put back to what last worked, and is loaded again: the host is protected as before." % files, ""
    )


def _now(host: Any) -> str:
    if kexec_state.is_loaded(host):
        return "A capture kernel is loaded all the same, and whether it would capture is not known."
    return kdumpctl_good.UNPROTECTED


def _remember(host: Any, configuration: Configuration) -> None:
    """What is loaded now, what its image was made of, and that the configuration works."""
    now = _state_of(host, configuration)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(host.now()))
    kexec_state.write_state(host, now._replace(loaded_at=moment.isoformat() + "Z"))
    image = kdumpctl_image.present(host, kdumpctl_image.release_of(host, configuration.settings), configuration)
    if image is not None and image.digest:
        kdumpctl_image.record(host, image)  # where the unit has built it by itself
    kdumpctl_good.keep(host)


# --- how much memory it takes --------------------------------------------------------------------------------------
def _estimate(host: Any, configuration: Configuration) -> None:
    """kdumpctl's own estimate of an image, asked while it has nothing to build: asked at another time it would build first."""
    known = kexec_state.last_load(host)
    digest = known.digest if known is not None else ""
    if configuration.conf.get("force_rebuild") == "1" or (digest and _estimated(host).get("digest") == digest):
        return
    done = host.run(["kdumpctl", "estimate"], timeout=600)
    found = re.search(r"^Recommended crashkernel:\s*(\d+)M$", done.out, re.MULTILINE)
    if done.rc == 0 and found:
        values = {"bytes": int(found.group(1)) * _MIB, "digest": digest}
        host.write(ESTIMATE, json.dumps(values).encode() + b"\n", 0o600)


def estimate(host: Any) -> int:
    """What the capture kernel was estimated to need when it was last loaded, in bytes; 0 where that is not known."""
    found = _estimated(host).get("bytes")
    return found if isinstance(found, int) else 0


def _estimated(host: Any) -> Dict[str, Any]:
    try:
        found = json.loads(host.read_text(ESTIMATE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
