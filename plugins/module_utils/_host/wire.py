# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What comes in on one descriptor and goes out on another, by somebody who may stop at any byte. Private to this collection."""

import contextlib
import fcntl
import os
import select
from typing import List

_PIPE = 1 << 20  # bytes
_F_SETPIPE_SZ = 1031  # linux/fcntl.h; fcntl.F_SETPIPE_SZ came with Python 3.10


class Wire:
    """TimeoutError where nothing can be read or written for `idle` seconds."""

    def __init__(self, incoming: int = 0, outgoing: int = 1, idle: float = 60.0) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._idle = idle
        with contextlib.suppress(OSError):  # a socket, or as much as this user may have
            fcntl.fcntl(incoming, _F_SETPIPE_SZ, _PIPE)

    def read(self, most: int) -> bytes:
        """What is there, `most` bytes of it; none at the end."""
        if not select.select([self._incoming], [], [], self._idle)[0]:
            raise TimeoutError("nothing came for %d seconds" % self._idle)
        return os.read(self._incoming, most)

    def read_exactly(self, count: int) -> bytes:
        """EOFError where less comes."""
        pieces: List[bytes] = []
        left = count
        while left:
            piece = self.read(left)
            if not piece:
                raise EOFError("the connection ended in the middle")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def read_line(self, most: int) -> bytes:
        """A line without its end, nothing read beyond it; b"" at the end. EOFError for one that is cut or too long."""
        line = self.read(1)
        while line and not line.endswith(b"\n"):
            if len(line) >= most:
                raise EOFError("a line is longer than %d bytes" % most)
            line += self.read_exactly(1)
        return line[:-1]

    def write(self, data: bytes) -> None:
        while data:
            if not select.select([], [self._outgoing], [], self._idle)[1]:
                raise TimeoutError("nothing was taken for %d seconds" % self._idle)
            data = data[os.write(self._outgoing, data[: select.PIPE_BUF]) :]
