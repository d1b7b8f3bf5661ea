# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Doing something among mounts of one's own. Private to this collection.

What is mounted there is seen by nobody else, and is gone with the process, whatever ends that (mount_namespaces(7)).
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import time
from typing import Any, Callable

_CLONE_NEWNS = 0x20000  # include/uapi/linux/sched.h
_MS_REC_PRIVATE = 0x4000 | 0x40000  # include/uapi/linux/mount.h
_LEAVE = 5.0  # seconds for a process that was killed; one that waits for a dead disk may stay

_libc = ctypes.CDLL(None, use_errno=True)


def call(function: Callable[[], Any], timeout: float) -> Any:
    """What the function returns, as JSON keeps it, from a process with mounts of its own.

    An OSError of the function is raised here; one that takes longer than `timeout` seconds is ended, with ETIMEDOUT.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(function, writer)
    os.close(writer)
    try:
        data = _read(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        _end(child)
    try:
        answer = json.loads(data.decode())
    except ValueError:  # nothing in time, or a process that was killed on the way
        answer = {"errno": errno.ETIMEDOUT, "text": "it did not end", "path": None}
    if "value" in answer:
        return answer["value"]
    raise OSError(answer["errno"], answer["text"], answer["path"])


def _work(function: Callable[[], Any], writer: int) -> None:
    """Never returns."""
    try:
        os.setsid()
        try:
            _own_mounts()
            answer = {"value": function()}
        except OSError as error:
            answer = {"errno": error.errno, "text": error.strerror or str(error), "path": error.filename}
        except Exception as error:  # pylint: disable=broad-except # told by the one who waits
            answer = {"errno": errno.EIO, "text": "%s: %s" % (type(error).__name__, error), "path": None}
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _own_mounts() -> None:
    if _libc.unshare(_CLONE_NEWNS) or _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None):
        number = ctypes.get_errno()
        raise OSError(number, "mounts of one's own cannot be had: %s" % os.strerror(number))


def _read(reader: int, deadline: float) -> bytes:
    data = b""
    while True:
        ready, _w, _x = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(reader, 1 << 16) if ready else b""
        if not ready:
            return b""
        if not piece:
            return data
        data += piece


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + _LEAVE
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
