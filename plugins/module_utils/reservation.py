# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The memory for the crash kernel on one host: wanted, configured, booted with, there. Private to this collection."""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, TypeVar

from . import crashkernel
from .bootloader import choice, entry
from .engines.driver import Recommendation
from .kexec_state import reserved_bytes
from .plan import Plan
from .problems import KdumpError, Problem, fail

__all__ = ["Ram", "decide", "ram", "reboot_required", "report", "reserved_bytes", "running_values", "wanted_values"]

_T = TypeVar("_T")
Advice = Callable[[Any], Optional[Recommendation]]  # an engine's recommended()
_STEP = 64 << 20

_SYSTEM_RAM = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", re.MULTILINE)


class Ram(NamedTuple):
    """How much RAM the kernel counts for crashkernel= ranges, and where that was read: iomem, or meminfo (a guess)."""

    bytes: int
    source: str


def ram(host: Any) -> Ram:
    """The RAM that the kernel hands to parse_crashkernel(), which is memblock_phys_mem_size().

    The System RAM of /proc/iomem is the same memory: what the firmware gave, after mem=, with all that is reserved in
    it, on every architecture (/sys/firmware/memmap is x86's alone, and knows nothing of mem=). It shows zeros to all
    but root. MemTotal lacks what the kernel took at boot: the crash kernel's part is added again, the rest is left to
    the rounding up to 128M.
    """
    ranges = [(int(start, 16), int(end, 16)) for start, end in _SYSTEM_RAM.findall(host.read_text("/proc/iomem", ""))]
    total = sum(end - start + 1 for start, end in ranges if end > start)
    if total:
        return Ram(total, "iomem")
    match = re.search(r"^MemTotal:\s*(\d+) kB$", host.read_text("/proc/meminfo", ""), re.MULTILINE)
    return Ram(int(match.group(1)) * 1024 + reserved_bytes(host) if match else 0, "meminfo")


def running_values(host: Any) -> List[str]:
    """The crashkernel= values that the running kernel was booted with."""
    return crashkernel.find(host.read_text("/proc/cmdline", ""))


def wanted_values(host: Any, params: Dict[str, Any]) -> List[str]:
    """The canonical values that the entries shall have, [] for none; KdumpError with all that is wrong with them.

    What `auto` came to is told in params["_why"].
    """
    problems = entry.check_kernels(params["kernels"])
    values: List[str] = []
    params["_why"] = ""
    try:
        if params["state"] == "present" and _is_auto(params["value"]):
            advice = _recommended(host, params["_advice"])
            params["_why"] = advice.why
            values = _judged(host, crashkernel.parse(advice.value.split()), "auto").values()
        elif params["state"] == "present":
            values = _judged(host, crashkernel.parse(_listed(params["value"])), "").values()
    except KdumpError as error:
        problems = error.problems + problems
    if problems:
        raise KdumpError(problems)
    return values


def _is_auto(given: Any) -> bool:
    return given in ("auto", ["auto"])


def _judged(host: Any, value: crashkernel.Crashkernel, name: str) -> crashkernel.Crashkernel:
    text = " ".join(value.values())
    problems = crashkernel.host_problems(value, host.kernel.machine, host.kernel.release)
    memory = ram(host)
    outcome = value.explain(memory.bytes)
    if not outcome.bytes and memory.source == "iomem":
        what = (
            "crashkernel value '%s'" % text if not name else "crashkernel value %s, which comes to '%s'," % (name, text)
        )
        hint = "Give a smaller size, or a range that this host's RAM is in."
        if name:
            hint += " The native engine's image is the smallest: it needs 96M, on hosts with 512 MiB or more."
        problems.append(
            Problem("%s would reserve nothing on this host. %s" % (what, outcome.why), hint, "value", name or text)
        )
    if problems:
        raise KdumpError(problems)
    return value


def _recommended(host: Any, advice: Advice) -> Recommendation:
    """What the engine advises. An estimate for one image is rounded up, or each new image would ask for a reboot."""
    found = advice(host)
    if found is None:
        value = crashkernel.recommend_unasked(host.kernel.machine)
        memory = ram(host).bytes
        why = "The engine names no size for this host, which has %s of RAM, or is not installed yet: these are the ranges that "
        why = why % crashkernel.about(memory) + "kdump-utils had before it left out hosts with less than 2 GiB."
        return Recommendation(value.reserve(memory), " ".join(value.values()), why)
    value = crashkernel.parse(found.value.split())
    if not value.size:
        return found
    size = -(-value.size // _STEP) * _STEP
    return Recommendation(size, " ".join(value._replace(size=size).values()), found.why)


def _listed(given: Any) -> List[str]:
    """A string or a list of strings; Ansible's own conversion would divide a string at its commas."""
    listed = given if isinstance(given, list) else [given]
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in listed):
        raise fail(
            "crashkernel value %s is neither a string nor a list of strings." % (given,),
            'Write for example 256M, or ["1G,high", "128M,low"].',
            "value",
            str(given),
        )
    return [str(one) for one in listed]


def decide(host: Any, params: Dict[str, Any]) -> Plan:
    """The plan for the parameters of the crashkernel module. Keeps what it saw and chose in params for report().

    params["_advice"] is what the value `auto` means, and tells whether another is too small.
    """
    problems: List[Problem] = []
    values = _tried(problems, wanted_values, host, params) or []
    name = _tried(problems, choice.choose, host, params["bootloader"])
    # Asked also where the value is wrong already: so a kernel that is not there is named in the same run.
    plan = _tried(problems, choice.module(name).plan, host, values, params["kernels"]) if name else None
    if problems or not name or plan is None:
        raise KdumpError(problems)
    params.update(_before=choice.module(name).entries(host), _bootloader=name, _values=values)
    return plan


def _tried(problems: List[Problem], function: Callable[..., _T], *arguments: Any) -> Optional[_T]:
    """What the function returns; None where it raises, with its problems added."""
    try:
        return function(*arguments)
    except KdumpError as error:
        problems.extend(error.problems)
        return None


def report(host: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    """The results of the crashkernel module. In check mode `after` is what a real run would leave."""
    module = choice.module(params["_bootloader"])
    after = module.entries(host)
    if params["_check"]:
        chosen = entry.select(after, params["kernels"])
        after = [one._replace(values=tuple(params["_values"])) if one in chosen else one for one in after]
    following = next((one for one in after if one.default), after[0])
    memory = ram(host)
    expected = crashkernel.outcome(following.values, memory.bytes, host.kernel).bytes
    return {
        "bootloader": params["_bootloader"],
        "before": [_shown(one) for one in params["_before"]],
        "after": [_shown(one) for one in after],
        "running": running_values(host),
        "reserved_bytes": reserved_bytes(host),
        "expected_bytes": expected,
        "ram_bytes": memory.bytes,
        "ram_source": memory.source,
        "reboot_required": reboot_required(
            list(following.values), running_values(host), reserved_bytes(host), memory.bytes, host.kernel
        ),
        "advice": params["_why"],
        "problems": [one.as_dict() for one in _problems(host, params, after, memory)],
    }


def _problems(host: Any, params: Dict[str, Any], after: List[entry.Entry], memory: Ram) -> List[Problem]:
    notes = choice.module(params["_bootloader"]).notes(host, params["_values"], params["kernels"])
    return (
        list(notes) + _auto_entries(host, after) + _too_small(host, params, memory) + _missing_reservation(host, memory)
    )


def _auto_entries(host: Any, after: List[entry.Entry]) -> List[Problem]:
    return [
        Problem(
            "The boot entry %s has crashkernel=auto: %s" % (one.name, outcome.why),
            "Use kernels: ALL, or name its kernel.",
            "kernels",
            one.kernel,
        )
        for one in after
        for outcome in [crashkernel.outcome(one.values, 0, host.kernel)]
        if "auto" in one.values and not crashkernel.knows_auto(host.kernel)
    ]


def _too_small(host: Any, params: Dict[str, Any], memory: Ram) -> List[Problem]:
    """A size that somebody chose, below what the engine has estimated for the image that it loads."""
    if not params["_values"] or _is_auto(params["value"]):
        return []
    advice = _tried([], params["_advice"], host)
    wanted = crashkernel.parse(params["_values"]).reserve(memory.bytes)
    # A table's ranges are with room to spare; one size is an estimate of what this host needs.
    if not advice or not crashkernel.parse(advice.value.split()).size or not 0 < wanted < advice.bytes:
        return []
    return [
        Problem(
            "%s may be too small: the capture kernel was estimated to need %s. %s"
            % (crashkernel.size_text(wanted), crashkernel.about(advice.bytes), advice.why),
            "Set value: auto, or %s, and make a crash test." % advice.value,
            "value",
            " ".join(params["_values"]),
        )
    ]


def _shown(one: entry.Entry) -> Dict[str, Any]:
    return {"entry": one.name, "kernel": one.kernel, "crashkernel": list(one.values), "default": one.default}


def reboot_required(
    configured: List[str], running: List[str], reserved: int, ram_bytes: int, kernel: Any = None
) -> bool:
    """Whether the next boot would give another reservation than the present one.

    So it does where the values mean something else, and where the same values gave memory of which a part was given
    back by writing a smaller number to crash_size. A size that is one of the ranges' own was not shrunk: there this
    host's RAM is counted otherwise than the kernel counted it. With nothing reserved, another boot gives nothing again.
    """
    value = crashkernel.effective(configured, kernel)
    if value != crashkernel.effective(running, kernel):
        return True
    sizes = [each.size for each in value.ranges]
    return 0 < reserved < value.reserve(ram_bytes) and reserved not in sizes


def _missing_reservation(host: Any, memory: Ram) -> List[Problem]:
    """Booted with a value that should have reserved memory, and none is."""
    running = running_values(host)
    if not running or reserved_bytes(host):
        return []
    text = entry.arguments(running)
    outcome = crashkernel.outcome(running, memory.bytes, host.kernel)
    if not outcome.bytes:
        return [
            Problem(
                "This host was booted with %s, which reserves nothing. %s" % (text, outcome.why),
                "Set a value that fits this host.",
                "running",
                text,
            )
        ]
    return [
        Problem(
            "This host was booted with %s, but the kernel reserved nothing: another boot would give the same." % text,
            "Read `dmesg | grep -i crashkernel`: often there is no free memory of that size, or the kernel lacks "
            "CONFIG_CRASH_DUMP. If somebody wrote 0 to /sys/kernel/kexec_crash_size, a reboot brings it back.",
            "running",
            text,
        )
    ]
