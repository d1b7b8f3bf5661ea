# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dumps inside the files of a general compressor, as kdump-tools writes them. Private to this collection."""

import bz2
import zlib
from typing import Any, Iterator, Optional

from .source import Source

try:
    import lzma

    ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError)
except ImportError:  # a Python built without it
    lzma = None  # type: ignore
    ERRORS = (zlib.error, OSError, EOFError, ValueError, MemoryError)  # type: ignore

MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
# What an xz file may ask for; `xz -9` needs 65 MiB.
XZ_MEMORY = 128 << 20
PIECE = 1 << 20
FEED = 1 << 16
# A dump has one. Many tiny ones would take hours, for each is begun anew.
MAX_MEMBERS = 1 << 16
UNKNOWN = 1 << 62


def kind(head: bytes) -> str:
    """The compressor's name; "" for none."""
    return next((name for magic, name in MAGICS if head.startswith(magic)), "")


def decompressor(name: str) -> Optional[Any]:
    """A decompressor object of the standard library, or None."""
    if name == "gzip":
        return Gzip()
    if name == "bzip2":
        return bz2.BZ2Decompressor()
    if name == "xz" and lzma is not None:
        return lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    return None


class Gzip:
    """zlib's decompressor with the interface of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)  # 16 + 15: gzip's header and check sum
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, limit)
        self.needs_input = not self._inner.unconsumed_tail and len(found) < limit
        return found


class Cut(Exception):
    """The compressed file ends too early, or is damaged."""


def expand(source: Source, name: str) -> Iterator[bytes]:
    """The content in pieces of a MiB at most, whatever the file says; Cut where it does not go to its end."""
    position = 0
    for _member in range(MAX_MEMBERS):  # or stream, as `gzip -d` takes them one after another
        worker = decompressor(name)
        if worker is None:
            raise Cut("this Python cannot read %s" % name)
        while not worker.eof:
            data = source.read_at(position, FEED) if worker.needs_input else b""
            position += len(data)
            if worker.needs_input and not data:
                raise Cut("its %s data break off at byte %d" % (name, position))
            try:
                piece = worker.decompress(data, PIECE)
            except ERRORS as error:
                raise Cut("its %s data are damaged before byte %d (%s)" % (name, position, error)) from error
            if piece:
                yield piece
        position -= len(worker.unused_data)
        if kind(source.read_at(position, 6)) != name:
            return
    raise TooLong("consists of more than %d %s files" % (MAX_MEMBERS, name))


class Forward(Source):
    """The expanded content as a file that can only be read onward; `size` is known once its end was reached."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._limit = limit
        self._start = 0  # where _piece begins
        self._piece = b""
        self.size = UNKNOWN

    def read_at(self, offset: int, count: int) -> bytes:
        """From `offset` on, which must not lie before that of the last call. Cut as of expand(), or over the limit."""
        while offset >= self._start + len(self._piece) and self._more(b""):
            pass
        while offset + count > self._start + len(self._piece) and self._more(self._piece[offset - self._start :]):
            pass
        begin = offset - self._start
        return self._piece[begin : begin + count]

    def drain(self) -> None:
        """Read on to the end."""
        while self._more(b""):
            pass

    def _more(self, keep: bytes) -> bool:
        """Take the next piece behind the bytes that are still wanted; False at the end."""
        piece = next(self._pieces, b"")
        end = self._start + len(self._piece)
        if not piece:
            self.size = end
            return False
        if end > self._limit:
            raise TooLong("expands to more than %d GiB" % (self._limit >> 30))
        self._start, self._piece = end - len(keep), keep + piece
        return True


class TooLong(Exception):
    """The content goes on behind a limit, which the text names."""
