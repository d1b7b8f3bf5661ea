# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The crashkernel= argument as a value: read, judged, computed and written as the kernel does it.

Private to this collection. Source: parse_crashkernel() and its helpers in kernel/crash_reserve.c (kernel/crash_core.c
before Linux 6.9), memparse() in lib/cmdline.c.
"""

import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .problems import KdumpError, Problem

_UNITS = "KMGTPE"
_MEBIBYTE = 1 << 20
_ROUND = 128 << 20  # parse_crashkernel_mem() rounds RAM up to SZ_128M: firmware keeps some of it for itself
# simple_strtoull(…, 0): 0x is hexadecimal, a leading 0 octal. There, hexadecimal digits take an E before the unit can.
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([KMGTPEkmgtpe]?)")
_SUFFIX = re.compile(r",(high|low|cma)\Z")
# get_last_crashkernel() looks for the bare string, in quotes and inside longer names too, and ends it at a space.
_ANYWHERE = re.compile(r"(?=crashkernel=([^ ]*))")

_SIZE_HINT = "Write a whole number with K, M, G, T, P or E right after it, such as 256M."
_RANGE_HINT = "Write ranges as START-[END]:SIZE, such as 2G-64G:256M,64G-:512M."


class Range(NamedTuple):
    """RAM from `start` (included) to `end` (excluded; None: no end) gets `size`; all in bytes."""

    start: int
    end: Optional[int]
    size: int


class Outcome(NamedTuple):
    """What would be reserved, in bytes, and a sentence why."""

    bytes: int
    why: str


class Crashkernel(NamedTuple):
    """All crashkernel= arguments of a command line together, in bytes. One of size, ranges and high is the base.

    As numbers, so that 256M equals 262144K. Crashkernel() reserves nothing. Offset 0 means anywhere, as in the kernel.
    """

    size: int = 0
    ranges: Tuple[Range, ...] = ()
    offset: int = 0
    high: int = 0
    low: Optional[int] = None
    cma: int = 0

    def values(self) -> List[str]:
        """The arguments' values in canonical text.

        The cma part stands first: a kernel before 6.17 takes it for a plain value that it cannot read, and the last
        plain value is the one that counts.
        """
        values = [size_text(self.cma) + ",cma"] if self.cma else []
        offset = "@" + size_text(self.offset) if self.offset else ""
        if self.ranges:
            values.append(",".join(_range_text(each) for each in self.ranges) + offset)
        if self.size:
            values.append(size_text(self.size) + offset)
        if self.high:
            values.append(size_text(self.high) + ",high")
        if self.low is not None:
            values.append(size_text(self.low) + ",low")
        return values

    def reserve(self, ram_bytes: int) -> int:
        """The bytes of the main region that a machine with that much RAM will reserve, if there is room for it.

        Not counted are the part below 4G that may come with a region above it, and the cma part.
        """
        return self.explain(ram_bytes).bytes

    def explain(self, ram_bytes: int) -> Outcome:
        """As reserve(), with the reason."""
        if self.ranges:
            outcome = self._range_for(ram_bytes)
        else:
            outcome = Outcome(self.size or self.high, "The size is fixed.")
        if not outcome.bytes:
            return outcome if self.ranges else Outcome(0, "No base size is given.")
        if outcome.bytes >= ram_bytes:  # the last check of parse_crashkernel()
            return Outcome(0, "%s is not less than the RAM of %s." % (size_text(outcome.bytes), about(ram_bytes)))
        return outcome

    def _range_for(self, ram_bytes: int) -> Outcome:
        """parse_crashkernel_mem(): the first range that matches; a size that is too large ends the search earlier."""
        ram = -(-ram_bytes // _ROUND) * _ROUND
        for each in self.ranges:
            if each.size >= ram:
                return Outcome(
                    0, "The kernel stops at %s: that is not less than the RAM of %s." % (_range_text(each), about(ram))
                )
            if each.start <= ram and (each.end is None or ram < each.end):
                return Outcome(each.size, "RAM of %s is in the range %s." % (about(ram), _range_text(each)))
        return Outcome(0, "No range holds the RAM of %s." % about(ram))


def size_text(size: int) -> str:
    """A number of bytes in the largest unit that divides it."""
    for exponent in range(len(_UNITS), 0, -1):
        unit = 1 << (10 * exponent)
        if size and size % unit == 0:
            return "%d%s" % (size // unit, _UNITS[exponent - 1])
    return str(size)


def about(size: int) -> str:
    """A number of bytes for people, in MiB."""
    return "%d MiB" % (size // _MEBIBYTE)


def _range_text(each: Range) -> str:
    end = "" if each.end is None else size_text(each.end)
    return "%s-%s:%s" % (size_text(each.start), end, size_text(each.size))


def parse(values: Sequence[str]) -> Crashkernel:
    """The value that all these crashkernel= arguments make together, without their `crashkernel=`.

    Raises KdumpError with everything that is wrong: also what the kernel would accept and ignore.
    """
    problems: List[Problem] = []
    read = [_argument(value, problems) for value in values]
    if not values:
        problems.append(_problem("No crashkernel value is given.", "Give a size such as 256M, or ranges.", ""))
    if not problems:
        problems += _combination([_kind(value) for value in values])
        problems += [problem for value, part in zip(values, read) for problem in _doubts(value, part)]
    if problems:
        raise KdumpError(problems)
    return _together(read)


def same(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether two sets of arguments mean the same; ones that parse() refuses are the same as nothing."""
    if not found or not wanted:
        return not found and not wanted
    try:
        return parse(found) == parse(wanted)
    except KdumpError:
        return False


def find(cmdline: str) -> List[str]:
    """The values of crashkernel= on a command line, as the kernel finds them: anywhere, up to the next space."""
    return _ANYWHERE.findall(cmdline.rstrip("\n"))


def effective(values: Iterable[str], kernel: Any = None) -> Crashkernel:
    """What a kernel (uname's release and machine) makes of the arguments of a booted command line.

    Crashkernel() where it refuses them. The last of each kind counts; a plain one makes high and low ignored, and a bad
    one is not replaced by another.
    """
    last = {}
    for value in values:
        last[_kind(value)] = value
    if last.get("plain") == "auto" and knows_auto(kernel):
        last["plain"] = _AUTO.get(kernel.machine, _AUTO["x86_64"])
    used = ["plain"] if "plain" in last else ["high", "low"]
    problems: List[Problem] = []
    base = [_argument(last[kind], problems) for kind in used if kind in last]
    if problems or used[0] not in last:
        return Crashkernel()
    cma = [_argument(last["cma"], [])] if "cma" in last else []
    return _together(base + cma)


# RHEL 8's kernels; its patch was posted as "kernel/crash_core: Add crashkernel=auto for vmcore creation" and not taken.
_AUTO = {
    "x86_64": "1G-4G:160M,4G-64G:192M,64G-1T:256M,1T-:512M",  # s390x as well
    "aarch64": "2G-:448M",
    "ppc64le": "2G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G",
}
_NO_AUTO = "Only the kernels of RHEL 8 and older know crashkernel=auto, mainline never did."


def knows_auto(kernel: Any) -> bool:
    """Whether it is one of RHEL 8, or Oracle's for it; others that are packaged for EL 8 are mainline's."""
    return kernel is not None and re.search(r"\A4\.18\.0-.*\.el8|\.el8uek", kernel.release) is not None


def outcome(values: Sequence[str], ram_bytes: int, kernel: Any) -> Outcome:
    """What a boot of this kernel with these arguments reserves, and why."""
    plain = [value for value in values if _kind(value) == "plain"]
    if plain[-1:] == ["auto"] and not knows_auto(kernel):
        return Outcome(0, _NO_AUTO)
    return effective(values, kernel).explain(ram_bytes)


def _together(parts: Iterable[Crashkernel]) -> Crashkernel:
    whole = Crashkernel()
    for part in parts:
        given = {name: new for name, new in part._asdict().items() if new != getattr(Crashkernel(), name)}
        whole = whole._replace(**given)
    return whole


def _problem(message: str, hint: str, value: str) -> Problem:
    return Problem(message, hint, "value", value)


def _argument(value: str, problems: List[Problem]) -> Crashkernel:
    """One argument's value; what is wrong with it is added to problems."""
    if value == "auto":
        problems.append(
            _problem(
                "crashkernel=auto reserves nothing: only the kernels of RHEL 8 and older knew it, mainline never did.",
                "Give a size or ranges; the crashkernel module makes ranges of `auto` when that is its whole value.",
                value,
            )
        )
        return Crashkernel()
    if value.startswith("crashkernel=") or re.search(r"[\s\"']", value):
        problems.append(
            _problem(
                "crashkernel value '%s' is not the value of one argument." % value,
                "Leave out `crashkernel=`, blanks and quotes; give several arguments as a list.",
                value,
            )
        )
        return Crashkernel()
    suffix = _SUFFIX.search(value)
    if suffix:
        return _suffixed(value, value[: suffix.start()], suffix.group(1), problems)
    if ":" in value or "-" in value:
        return _ranges(value, problems)
    size, at, offset = value.partition("@")
    return Crashkernel(size=_size(size, value, problems), offset=_size(offset, value, problems) if at else 0)


def _suffixed(value: str, body: str, kind: str, problems: List[Problem]) -> Crashkernel:
    if re.search("[-:@]", body):
        problems.append(
            _problem(
                "crashkernel value '%s' puts ,%s after something that is not a single size." % (value, kind),
                "Ranges and @OFFSET cannot be combined with ,high ,low or ,cma: write a single size before ,%s." % kind,
                value,
            )
        )
        return Crashkernel()
    part: Dict[str, Any] = {kind: _size(body, value, problems)}
    return Crashkernel(**part)


def _ranges(value: str, problems: List[Problem]) -> Crashkernel:
    body, at, offset = value.partition("@")
    ranges = []
    for text in body.split(","):
        match = re.match(r"([^-:]*)-([^-:]*):([^-:]*)\Z", text)
        if not match:
            problems.append(
                _problem("'%s' in crashkernel value '%s' is not a range." % (text, value), _RANGE_HINT, value)
            )
            continue
        start, end = (_size(match.group(1), value, problems), match.group(2))
        each = Range(start, _size(end, value, problems) if end else None, _size(match.group(3), value, problems))
        if each.end is not None and _SIZE.match(end) and each.end <= each.start:
            problems.append(
                _problem(
                    "The range '%s' in crashkernel value '%s' ends before it begins." % (text, value),
                    "Give an END that is larger than START, or none.",
                    value,
                )
            )
        ranges.append(each)
    return Crashkernel(ranges=tuple(ranges), offset=_size(offset, value, problems) if at else 0)


def _size(text: str, value: str, problems: List[Problem]) -> int:
    """A number of bytes as memparse() reads it; 0 with a problem where it cannot."""
    match = _SIZE.match(text)
    if not match or match.end() != len(text):
        problems.append(_problem(_no_size(text, value), _SIZE_HINT, value))
        return 0
    digits, unit = match.groups()
    octal = len(digits) > 1 and digits[1] not in "xX" and digits[0] == "0"
    size = int(digits, 8) if octal else int(digits, 0)
    if unit:
        size <<= 10 * (_UNITS.index(unit.upper()) + 1)
    if size >= 1 << 64:
        problems.append(
            _problem("'%s' in crashkernel value '%s' does not fit into 64 bits." % (text, value), _SIZE_HINT, value)
        )
        return 0
    return size


def _no_size(text: str, value: str) -> str:
    if not text:
        return "A size is missing in crashkernel value '%s'." % value
    if re.match(r"[0-9]+\.[0-9]", text):
        return "'%s' in crashkernel value '%s' has a fraction, which the kernel cannot read." % (text, value)
    if re.match(r"[0-9]+[KMGTPEkmgtpe]?i?[bB]\Z", text):
        return "'%s' in crashkernel value '%s' ends in a B, which the kernel cannot read." % (text, value)
    return "'%s' in crashkernel value '%s' is not a size." % (text, value)


def _combination(kinds: List[str]) -> List[Problem]:
    """What arguments that are each right do to each other."""
    problems = []
    for kind in ("plain", "high", "low", "cma"):
        if kinds.count(kind) > 1:
            name = "a plain crashkernel value" if kind == "plain" else "a crashkernel value with ,%s" % kind
            problems.append(
                _problem("There is more than one of %s: the kernel takes the last." % name, "Keep one.", "")
            )
    if "plain" in kinds and ("high" in kinds or "low" in kinds):
        problems.append(
            _problem(
                "A plain crashkernel value makes the kernel ignore ,high and ,low.",
                "Keep the one kind or the other.",
                "",
            )
        )
    elif "low" in kinds and "high" not in kinds:
        problems.append(
            _problem("crashkernel=SIZE,low alone reserves nothing.", "Add SIZE,high, or use a plain size.", "")
        )
    elif kinds == ["cma"] * len(kinds):
        problems.append(
            _problem(
                "crashkernel=SIZE,cma only adds to another reservation; alone it reserves nothing.",
                "Add a plain size, ranges or SIZE,high.",
                "",
            )
        )
    return problems


def _kind(value: str) -> str:
    suffix = _SUFFIX.search(value)
    return suffix.group(1) if suffix else "plain"


def _doubts(value: str, part: Crashkernel) -> List[Problem]:
    """What the kernel takes but nobody can have meant."""
    if not (part.ranges or part.size or part.high or part.cma) and part.low is None:
        return [
            _problem("crashkernel value '%s' reserves nothing." % value, "Use state: absent for no reservation.", value)
        ]
    problems = []
    numbers = [part.size, part.high, part.cma, part.low or 0, part.offset]
    numbers += [number for each in part.ranges for number in (each.start, each.end or 0, each.size)]
    for number in sorted(set(numbers)):
        if 0 < number < _MEBIBYTE:
            problems.append(
                _problem(
                    "%d in crashkernel value '%s' is a number of bytes, below 1M." % (number, value), _SIZE_HINT, value
                )
            )
    if part.ranges and not any(each.size for each in part.ranges):
        problems.append(
            _problem("crashkernel value '%s' reserves nothing." % value, "Use state: absent for no reservation.", value)
        )
    return problems + _unreachable(value, part.ranges)


def _unreachable(value: str, ranges: Tuple[Range, ...]) -> List[Problem]:
    """Ranges that an earlier one hides wholly: the first match counts."""
    problems = []
    for number, each in enumerate(ranges):
        for earlier in ranges[:number]:
            ends_within = earlier.end is None or (each.end is not None and each.end <= earlier.end)
            if earlier.start <= each.start and ends_within:
                problems.append(
                    _problem(
                        "The range %s in crashkernel value '%s' is never used: %s before it holds all of it."
                        % (_range_text(each), value, _range_text(earlier)),
                        "The first range that matches counts: give the earlier one an END.",
                        value,
                    )
                )
                break
    return problems


def host_problems(value: Crashkernel, machine: str, release: str) -> List[Problem]:
    """What a right value cannot be on this machine (uname -m) and kernel (uname -r)."""
    text = " ".join(value.values())
    problems = []
    # CRASH_ALIGN of arch/x86/include/asm/crash_reserve.h: memblock finds nothing in [OFFSET, OFFSET + SIZE) otherwise.
    if machine == "x86_64" and value.offset % (16 << 20):
        problems.append(
            _problem(
                "The offset %s in '%s' is not a multiple of 16M, which x86_64 needs." % (size_text(value.offset), text),
                "Leave @OFFSET out: the kernel finds a place by itself.",
                text,
            )
        )
    # ,cma came with Linux 6.17. In 6.6 to 6.16, where it counts as a plain value, it makes ,high ignored as well.
    if value.cma and value.high and _version(release) < (6, 17):
        problems.append(
            _problem(
                "Kernel %s does not know crashkernel=SIZE,cma, and it would make it ignore SIZE,high." % release,
                "Leave the ,cma value out, or combine it with a plain size, where such a kernel ignores it.",
                text,
            )
        )
    return problems


def _version(release: str) -> Tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


# What `auto` means for the native engine's image: no systemd, no udev, only the drivers of the path to the dump.
#
# Measured on x86_64 (2 vCPUs, 2 GiB of RAM, Linux 6.12, virtio_blk): it captured with 96M and with 80M, 12 MiB being
# free then when the dump began; with 64M the kernel ran out of memory before init. So 64M to 80M is what a kernel
# itself takes, and 128M for small machines is 48M above what was seen to work. Machines with more RAM are
# real ones more often: their storage and network controllers take tens of MiB for queues and firmware in the capture
# kernel too (kdump-utils gives the same machines 192M to 512M for an image with systemd), hence the steps.
# Below 1G a machine is a small guest, and 96M what it can spare; below 512M nothing is reserved.
#
# The others were not measured: they get what kdump-utils gives them with its larger image, from 1G on. ppc64le and
# most aarch64 distributions for servers use 64K pages, which cost the most.
_RECOMMENDED = {
    "x86_64": "512M-1G:96M,1G-4G:128M,4G-64G:192M,64G-1T:384M,1T-:512M",
    "aarch64": "1G-4G:256M,4G-64G:320M,64G-:576M",
    "ppc64le": "1G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G",
}
_RECOMMENDED_ELSEWHERE = "1G-64G:256M,64G-:512M"


def recommend(machine: str) -> Crashkernel:
    """What `auto` means for the native engine on a machine (uname -m).

    Ranges, not one size: so it still fits a guest whose memory is changed, and the same text fits a whole fleet.
    """
    return parse([_RECOMMENDED.get(machine, _RECOMMENDED_ELSEWHERE)])


# kdump-utils' own defaults before they left out machines below 2G (its pull requests #74 and #90), which 256M are much of.
_SMALL = {
    "x86_64": "1G-4G:192M,4G-64G:256M,64G-:512M",
    "s390x": "1G-4G:192M,4G-64G:256M,64G-:512M",
}


def recommend_unasked(machine: str) -> Crashkernel:
    """What `auto` means for an engine that names no size for a host, or is not there to be asked."""
    return parse([_SMALL.get(machine) or _RECOMMENDED.get(machine, _RECOMMENDED_ELSEWHERE)])
