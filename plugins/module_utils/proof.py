# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a crash test has shown, and what the capture kernel wrote about itself. Private to this collection."""

import json
import math
from typing import Any, Dict, List, NamedTuple, Optional

from .layout import PROOF
from .problems import shown

_MIB = 1 << 20
_MOST = 1 << 20  # bytes of JSON that are read
_STEP = 16 * _MIB


class Inputs(NamedTuple):
    """What decides whether a dump succeeds. A proof holds for exactly these."""

    release: str
    digest: str
    reserved_bytes: int
    cmdline: str


class Proof(NamedTuple):
    """proof.json. Times in seconds, `proven_at` since 1970; memory in bytes; None for what is not known."""

    inputs: Inputs
    vmcore: str
    verdict: str
    proven_at: float
    seconds_to_capture: Optional[float]
    seconds_unreachable: Optional[float]
    memory_low_water: Optional[int]
    recommended_crashkernel: Optional[str]
    engine: str = "native"

    def as_dict(self) -> Dict[str, Any]:
        return dict(self._asdict(), inputs=dict(self.inputs._asdict()))


class Phase(NamedTuple):
    """One step of the capture: its exit code, 0 for success, and how long it took."""

    name: str
    seconds: float
    exit: int


class Capture(NamedTuple):
    """capture.json. `seconds` from the start of the capture kernel to the end of its work; memory in bytes."""

    digest: str
    status: int
    seconds: float
    memory_total: int
    memory_low_water: int
    phases: List[Phase]
    message: str = ""  # the last sentence that said why something failed

    def as_dict(self) -> Dict[str, Any]:
        return dict(self._asdict(), phases=[dict(phase._asdict()) for phase in self.phases])


def load(host: Any) -> Optional[Proof]:
    """The host's proof.json; None where there is none, or none that can be understood."""
    values = _object(host, PROOF)
    try:
        found = values["inputs"]
        inputs = Inputs(
            str(found["release"]), str(found["digest"]), int(found["reserved_bytes"]), str(found["cmdline"])
        )
        return Proof(
            inputs, str(values["vmcore"]), str(values["verdict"]), _finite(values["proven_at"]),
            _number(values.get("seconds_to_capture")), _number(values.get("seconds_unreachable")),
            _whole(values.get("memory_low_water")), _text(values.get("recommended_crashkernel")),
            str(values.get("engine", "native")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def save(host: Any, proof: Proof) -> None:
    text = json.dumps(proof.as_dict(), sort_keys=True, indent=1) + "\n"
    host.write(PROOF, text.encode(), 0o600)


def capture(host: Any, directory: str) -> Optional[Capture]:
    """The capture.json of a dump directory; None where there is none, or none that can be understood.

    It was written by a kernel in distress, so nothing in it is taken for granted.
    """
    values = _object(host, directory + "/capture.json")
    try:
        memory = values["memory"]
        return capture_of(dict(values, memory_total=memory["total"], memory_low_water=memory["available_low"]))
    except (KeyError, TypeError):
        return None


def capture_of(values: Any) -> Optional[Capture]:
    """From what Capture.as_dict() gives, as somebody else tells it; None where it cannot be understood."""
    try:
        phases = [
            Phase(shown(str(phase["name"]), 40), _finite(phase["seconds"]), int(phase["exit"]))
            for phase in values["phases"][:100]
        ]  # fmt: skip
        return Capture(
            shown(str(values["digest"]), 64), int(values["status"]), _finite(values["seconds"]),
            int(values["memory_total"]), int(values["memory_low_water"]), phases,
            shown(str(values.get("message") or ""), 500),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def recommended_bytes(reserved: int, low_water: Optional[int]) -> Optional[int]:
    """The reservation that a capture needs, from one that succeeded: what it used at its worst, and a quarter more.

    (reserved - low_water) * 5/4, rounded up to 16M. What it used is the reservation less the least MemAvailable, which
    the capture kernel looks at once a second: a shorter peak is not seen, and a capture of the same host on a bad
    day starts more drivers and writes a longer list of pages. Hence the quarter. x86 places a reservation in steps
    of 16M (CRASH_ALIGN in arch/x86/include/asm/crash_reserve.h). None where the figures cannot be right.
    """
    if low_water is None or low_water <= 0 or reserved <= low_water:
        return None
    return -(-(reserved - low_water) * 5 // 4 // _STEP) * _STEP


def recommended_crashkernel(reserved: int, low_water: Optional[int]) -> Optional[str]:
    """The same as a value for crashkernel=."""
    size = recommended_bytes(reserved, low_water)
    return "%dM" % (size // _MIB) if size else None


# --- JSON that may hold anything -----------------------------------------------------------------------------------
def _object(host: Any, path: str) -> Dict[str, Any]:
    try:
        values = json.loads(host.read(path, _MOST).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _number(value: Any) -> Optional[float]:
    return None if value is None else _finite(value)


def _finite(value: Any) -> float:
    """JSON as Python reads it has NaN and Infinity, which no other program takes."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _whole(value: Any) -> Optional[int]:
    return None if value is None else int(value)


def _text(value: Any) -> Optional[str]:
    return None if value is None else str(value)
