# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The old protocol of scp, as far as one file needs it (OpenSSH's scp.c: sink and source). Private to this collection."""

import re
from typing import Any, Callable

from .problems import fail, shown
from .receiver_commands import is_written, refusal

_LINE = 1024  # bytes
_PIECE = 1 << 20
_OK = b"\0"


def receive(wire: Any, deliver: Callable[[str], Any], name: str) -> int:
    """What `scp -t` does: takes files; the bytes of all of them. `name` is theirs where the command names a file.

    deliver: gives a Delivery for a name. Whatever it raises has been told to the other side before it comes from here.
    """
    wire.write(_OK)
    total = 0
    while True:
        line = wire.read_line(_LINE)
        if not line:
            return total
        try:
            if not _is_times(line):
                total += _file(wire, deliver, name, line)
        except Exception as error:
            wire.write(b"\x01scp: vmcore.kdump: " + str(error).replace("\n", " ").encode("utf-8", "replace") + b"\n")
            raise
        wire.write(_OK)


def send(wire: Any, name: str, data: bytes) -> None:
    """What `scp -f` does with a small file."""
    _answer(wire)
    wire.write(b"C0600 %d %s\n" % (len(data), name.encode("ascii")))
    _answer(wire)
    wire.write(data + _OK)
    _answer(wire)


def _is_times(line: bytes) -> bool:
    """Of `scp -p`; the times here are the server's."""
    return re.fullmatch(rb"T[0-9]{1,20} [0-9]{1,9} [0-9]{1,20} [0-9]{1,9}", line) is not None


def _file(wire: Any, deliver: Callable[[str], Any], name: str, line: bytes) -> int:
    """One file, up to the other side's word that it was sent whole."""
    found = re.fullmatch(rb"C[0-7]{4} ([0-9]{1,19}) ([^/\0]{1,255})", line)
    if found is None:
        raise refusal("the order `%s` of scp" % shown(line.decode("utf-8", "replace")))
    name = name or found.group(2).decode("utf-8", "replace")
    if not is_written(name):
        raise refusal("a file named %s" % shown(name))
    delivery = deliver(name)
    try:
        wire.write(_OK)
        left = int(found.group(1))
        while left:
            piece = wire.read(min(left, _PIECE))
            if not piece:
                raise EOFError("the connection ended in the middle")
            delivery.write(piece)
            left -= len(piece)
        _answer(wire)
    except BaseException:
        delivery.stop()
        raise
    delivery.end()
    return int(delivery.size)


def _answer(wire: Any) -> None:
    answer = wire.read_exactly(1)
    if answer != _OK:
        raise fail("scp on the other side has failed: %s" % shown(wire.read_line(_LINE).decode("utf-8", "replace")),
                   "Look at its own messages.")  # fmt: skip
