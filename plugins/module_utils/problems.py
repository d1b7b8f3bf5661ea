# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong, and what to do about it. Private to this collection."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence


class Problem(NamedTuple):
    """One thing that is wrong: a sentence, and a sentence with the remedy."""

    message: str
    hint: str
    option: str = ""
    value: str = ""

    def as_dict(self) -> Dict[str, Any]:
        return {"option": self.option, "value": self.value, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.hint) if part)


class KdumpError(Exception):
    """Everything that was found wrong, together: nobody likes to fix ten mistakes in ten runs."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class Missing(KdumpError):
    """Nothing is wrong but for what earlier steps of a play bring: programs, the ssh key, the server's host key."""


class Parts:
    """Runs the parts of an observation. What a part fails with is kept, and the others go on."""

    def __init__(self) -> None:
        self.errors: List[Problem] = []
        self.missing: List[Problem] = []  # those of the errors that Missing stands for

    def end(self) -> None:
        """KdumpError with all errors; Missing where nothing else is wrong."""
        if self.errors:
            raise (Missing if all(problem in self.missing for problem in self.errors) else KdumpError)(self.errors)

    def of(self, default: Any, part: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return part(*arguments)
        except KdumpError as error:
            self.missing += error.problems if isinstance(error, Missing) else []
            self.errors += [problem for problem in error.problems if problem not in self.errors]
        except OSError as error:
            message = "%s cannot be read: %s." % (error.filename or "A file", error.strerror)
            self.errors.append(Problem(message, "Run as root (become: true); look at the file and its disk."))
        return default


def in_file(path: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; the problems that it raises begin with the file's path."""
    try:
        return function(*arguments)
    except KdumpError as error:
        named = [problem._replace(message="%s: %s" % (path, problem.message)) for problem in error.problems]
        raise KdumpError(named) from error


def fail(message: str, hint: str, option: str = "", value: str = "") -> KdumpError:
    """A KdumpError of one problem, to be raised."""
    return KdumpError([Problem(message, hint, option, value)])


def shown(value: str, most: int = 120) -> str:
    """A value as a message may show it, whatever it holds: one line, printable, cut after `most` characters."""
    value = value if len(value) <= most else value[:most] + "…"
    return "".join(char if char.isprintable() else _escaped(char) for char in value)


def _escaped(char: str) -> str:
    """A character that cannot be printed, by its number; for a byte that is no UTF-8, by that byte's."""
    return "\\x%02x" % (ord(char) - 0xDC00 if 0xDC80 <= ord(char) <= 0xDCFF else ord(char))
