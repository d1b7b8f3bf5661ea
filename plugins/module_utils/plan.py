# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done, as a value: decided by pure code, shown by --check and --diff, applied in one place.

Private to this collection.
"""

from typing import Any, Callable, Dict, List, NamedTuple


class Step(NamedTuple):
    """One change to a host. `apply` takes the Host; `before` and `after` are the texts that --diff shows."""

    title: str
    apply: Callable[[Any], None]
    before: str = ""
    after: str = ""


class Plan:
    """The steps from what a host is to what it shall be; none when it is that already."""

    def __init__(self, steps: List[Step]) -> None:
        self.steps = steps

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    @property
    def actions(self) -> List[str]:
        return [step.title for step in self.steps]

    def diff(self) -> List[Dict[str, str]]:
        """Ansible's diff structure, rendered from the steps, so that check mode and a real run say the same."""
        return [
            {
                "before_header": step.title,
                "after_header": step.title,
                "before": _as_utf8(step.before),
                "after": _as_utf8(step.after),
            }
            for step in self.steps
        ]

    def apply(self, host: Any) -> None:
        for step in self.steps:
            step.apply(host)


def _as_utf8(text: str) -> str:
    """Text with its bytes that are no UTF-8 written as \\xNN: Ansible refuses a result that holds such bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_file(path: str, before: str, after: str, mode: int = 0o644) -> Step:
    """A step that writes a text file atomically; an existing file keeps its own mode and owner."""
    return Step(
        "write " + path, lambda host: host.write(path, after.encode("utf-8", "surrogateescape"), mode), before, after
    )


def remove_file(path: str, before: str = "") -> Step:
    """A step that removes a file, and /etc/sysconfig with its last: Debian has none unless somebody makes it."""
    folder = path.rpartition("/")[0]

    def apply(host: Any) -> None:
        host.remove(path)
        if folder == "/etc/sysconfig":
            host.remove_empty_directory(folder)

    return Step("remove " + path, apply, before, "")
