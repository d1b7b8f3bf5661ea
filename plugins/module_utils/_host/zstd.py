# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Zstandard decompression by the host's own library: Python has none before 3.14. Private to this collection.

Source: zstd.h, "Streaming decompression". Every host with systemd has libzstd.so.1.
"""

import ctypes

_LIBRARY = "libzstd.so.1"


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer have the same shape."""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t)]


def decompress(data: bytes, limit: int) -> bytes:
    """The content of zstd frames, `limit` bytes at most. OSError without the library, ValueError for broken data."""
    library = ctypes.CDLL(_LIBRARY)
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    stream = library.ZSTD_createDStream()
    if not stream:
        raise MemoryError("zstd")
    try:
        return _stream(library, stream, data, limit)
    finally:
        library.ZSTD_freeDStream(stream)


def _stream(library: ctypes.CDLL, stream: int, data: bytes, limit: int) -> bytes:
    source = ctypes.create_string_buffer(data, len(data))
    room = ctypes.create_string_buffer(1 << 20)
    given = _Buffer(ctypes.addressof(source), len(data), 0)
    parts = []
    total = 0
    while True:
        taken = _Buffer(ctypes.addressof(room), len(room), 0)
        left = library.ZSTD_decompressStream(stream, ctypes.byref(taken), ctypes.byref(given))
        if library.ZSTD_isError(left):
            raise ValueError("the zstd data is broken")
        total += taken.position
        if total > limit:
            raise ValueError("the zstd data unpacks to more than %d bytes" % limit)
        parts.append(room.raw[: taken.position])
        if given.position == given.size and taken.position < taken.size:
            if left:
                raise ValueError("the zstd data is cut off")
            return b"".join(parts)
