# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bytes of a file by offset, never more than asked and never past its end. Private to this collection."""

import struct
from typing import IO, Tuple

# No single field of a vmcore is larger; what claims to be is read up to here only.
LIMIT = 16 << 20


class Source:
    """A seekable binary file of `size` bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes (and LIMIT), fewer at the end, none outside. OSError as read(2) gives it."""
        if offset < 0 or offset >= self.size or count <= 0:
            return b""
        self.file.seek(offset)
        return self.file.read(min(count, LIMIT, self.size - offset))

    def unpack_at(self, form: str, offset: int) -> Tuple:
        """A struct at an offset; zeros stand for what the file does not have."""
        size = struct.calcsize(form)
        return struct.unpack(form, self.read_at(offset, size).ljust(size, b"\0"))
