# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every part of the lab uses: where its files are, commands, progress, locks."""

import contextlib
import fcntl
import os
import pathlib
import shlex
import subprocess
import sys
import time


class LabError(Exception):
    """A failure told in a sentence; the command line prints it and exits 1."""


def cache_dir() -> pathlib.Path:
    """Where images, keys and guests are kept, for root alone: it holds a private key."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = pathlib.Path(base).expanduser() / "vmcore.kdump"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    """Progress goes to stderr: stdout is for answers (inventory, console, list)."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stage(text: str):
    """Says what is being done while it is done, and the seconds it took."""
    say(f"{text} …")
    started = time.monotonic()
    yield
    say(f"{text}: {time.monotonic() - started:.1f} s")


def run(*argv, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs a program and returns its output as text; a failure is a LabError that holds what it printed."""
    words = [str(word) for word in argv]
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace", **options}
    try:
        done = subprocess.run(words, check=False, **options)
    except FileNotFoundError:
        raise LabError(f"{words[0]} is not installed: run `python3 -m lab deps`.") from None
    if check and done.returncode:
        output = (done.stderr + done.stdout).strip()
        raise LabError(f"`{shlex.join(words)}` failed with exit code {done.returncode}:\n{output[-4000:]}")
    return done


@contextlib.contextmanager
def locked(name: str, waiting_for: str):
    """Holds an exclusive lock among all lab processes of this user; says so when it has to wait."""
    with open(cache_dir() / f"{name}.lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waits for {waiting_for}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
