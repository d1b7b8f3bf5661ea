# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A server of SFTP 3 that can do no more than take a dump's files, one after another. Private to this collection.

scp has spoken it since OpenSSH 9.0. Protocol: draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL, section 4.
"""

import struct
from typing import Any, Callable, Dict, NamedTuple, Optional, Set, Tuple

from .problems import KdumpError, shown
from .receiver_commands import STATUS, Place, Refused, is_written, place, refusal

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = range(1, 11)
REALPATH, STAT, EXTENDED = 16, 17, 200
ANSWER, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201
OK, END, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
_FLAG_READ, _FLAG_WRITE, _FLAG_CREATE, _FLAG_APPEND = 1, 2, 8, 4
_DIRECTORY, _FILE = 0o040700, 0o100600
_LONGEST = 256 << 10  # bytes of a packet, as OpenSSH has it
_MOST_DATA = _LONGEST - 1024
_LIMITS = b"limits@openssh.com"


class Reader:
    """The fields of a packet. struct.error for one that is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str = ">I") -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def string(self) -> bytes:
        size = self.number()
        if size > len(self._data) - self._at:
            raise struct.error("a string is longer than its packet")
        self._at += size
        return self._data[self._at - size : self._at]

    def path(self) -> str:
        return self.string().decode("utf-8", "surrogateescape")


class Opened(NamedTuple):
    """A handle: a file that is being received, or the bytes of one that is read."""

    delivery: Optional[Any]
    data: bytes


class Session:
    """`deliver(folder, name)` gives a Delivery; `told(error)` is told of each that went wrong."""

    def __init__(self, wire: Any, inbox: Any, deliver: Callable[[str, str], Any], told: Callable[[Any], None]) -> None:
        self._wire = wire
        self._inbox = inbox
        self._deliver = deliver
        self._told = told
        self._open: Dict[bytes, Opened] = {}
        self._broken: Set[bytes] = set()  # handles of files of which something could not be written
        self._count = 0
        self.received = 0
        self.failed = False

    def run(self) -> None:
        """Answer until the other side ends."""
        try:
            while True:
                head = self._wire.read(1)
                if not head:
                    return
                (size,) = struct.unpack(">I", head + self._wire.read_exactly(3))
                if not 5 <= size <= _LONGEST:
                    raise EOFError("an SFTP packet of %d bytes" % size)
                self._answer(self._wire.read_exactly(size))
        finally:
            for opened in self._open.values():
                if opened.delivery is not None:  # not closed by the other side: it is incomplete, and stays so
                    opened.delivery.stop()
                    self.failed = True

    def _answer(self, packet: bytes) -> None:
        kind = packet[0]
        reader = Reader(packet[1:])
        number = reader.number()
        if kind == INIT:
            self._send(VERSION, struct.pack(">I", 3) + _string(_LIMITS) + _string(b"1"))
            return
        method = _METHODS.get(kind)
        try:
            what, body = method(self, reader) if method else _status(UNSUPPORTED, "not supported here")
        except struct.error as error:
            what, body = _status(BAD_MESSAGE, str(error))
        except FileNotFoundError as error:
            what, body = _status(NO_SUCH_FILE, str(error))
        except (KdumpError, OSError) as error:
            self.failed = True
            self._told(error)
            what, body = _status(DENIED if isinstance(error, Refused) else FAILURE, str(error))
        self._send(what, struct.pack(">I", number) + body)

    def _send(self, kind: int, body: bytes) -> None:
        self._wire.write(struct.pack(">IB", 1 + len(body), kind) + body)

    # --- requests ----------------------------------------------------------------------------------------------
    def open(self, reader: Reader) -> Tuple[int, bytes]:
        where = _place(reader.path())
        flags = reader.number()
        if self._open:
            raise refusal("to open a second file at once")
        if flags & _FLAG_READ and not flags & _FLAG_WRITE and where.name == STATUS:
            opened = Opened(None, self._inbox.read(where.folder, where.name, 4096))
        elif flags & _FLAG_WRITE and flags & _FLAG_CREATE and not flags & (_FLAG_READ | _FLAG_APPEND):
            if not is_written(where.name):
                raise refusal("to write %s" % (where.name or "outside a dump's folder"))
            opened = Opened(self._deliver(where.folder, where.name), b"")
        else:
            raise refusal("to open %s that way" % (where.name or "a file outside a dump's folder"))
        self._count += 1
        handle = b"%d" % self._count
        self._open[handle] = opened
        return HANDLE, _string(handle)

    def close(self, reader: Reader) -> Tuple[int, bytes]:
        handle = self._handle(reader)
        delivery = self._open.pop(handle).delivery
        if delivery is None:
            return _status(OK, "")
        if handle in self._broken:
            delivery.stop()
            return _status(FAILURE, "not all of it was written")
        delivery.end()
        self.received += delivery.size
        return _status(OK, "")

    def read(self, reader: Reader) -> Tuple[int, bytes]:
        opened = self._open[self._handle(reader)]
        offset = reader.number(">Q")
        data = opened.data[offset : offset + reader.number()]
        return (DATA, _string(data)) if data else _status(END, "end of the file")

    def write(self, reader: Reader) -> Tuple[int, bytes]:
        handle = self._handle(reader)
        delivery = self._open[handle].delivery
        if handle in self._broken:  # the other side sends many at once, and has not read the first failure yet
            return _status(FAILURE, "a write before this one has failed")
        self._broken.add(handle)
        if delivery is None or reader.number(">Q") != delivery.size:
            raise refusal("to write anywhere but at the end of a new file")
        delivery.write(reader.string())
        self._broken.remove(handle)
        return _status(OK, "")

    def _handle(self, reader: Reader) -> bytes:
        handle = reader.string()
        if handle not in self._open:
            raise struct.error("no such handle")
        return handle

    def stat(self, reader: Reader) -> Tuple[int, bytes]:
        where = _place(reader.path())
        if where.folder and not self._inbox.has(where.folder, where.name):
            raise FileNotFoundError(2, "No such file or directory")
        size = len(self._inbox.read(where.folder, where.name, 4096)) if where.name == STATUS else 0
        return ATTRS, _attributes(_FILE if where.name else _DIRECTORY, size)

    def stat_handle(self, reader: Reader) -> Tuple[int, bytes]:
        opened = self._open[self._handle(reader)]
        size = opened.delivery.size if opened.delivery is not None else len(opened.data)
        return ATTRS, _attributes(_FILE, size)

    def set_nothing(self, reader: Reader) -> Tuple[int, bytes]:
        """Modes and times are the server's own."""
        return _status(OK, "")

    def realpath(self, reader: Reader) -> Tuple[int, bytes]:
        path = reader.string()
        path = b"/" if path in (b"", b".") else path
        return NAME, struct.pack(">I", 1) + _string(path) + _string(path) + struct.pack(">I", 0)

    def extended(self, reader: Reader) -> Tuple[int, bytes]:
        if reader.string() == _LIMITS:
            return EXTENDED_REPLY, struct.pack(">QQQQ", _LONGEST, _MOST_DATA, _MOST_DATA, 1)
        return _status(UNSUPPORTED, "not supported here")


_METHODS: Dict[int, Callable[[Session, Reader], Tuple[int, bytes]]] = {
    OPEN: Session.open, CLOSE: Session.close, READ: Session.read, WRITE: Session.write, LSTAT: Session.stat,
    FSTAT: Session.stat_handle, SETSTAT: Session.set_nothing, FSETSTAT: Session.set_nothing,
    REALPATH: Session.realpath, STAT: Session.stat, EXTENDED: Session.extended,
}  # fmt: skip


def _place(path: str) -> Place:
    where = place(path)
    if where is None:
        raise refusal("the path %s" % shown(path))
    return where


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _status(code: int, text: str) -> Tuple[int, bytes]:
    return ANSWER, struct.pack(">I", code) + _string(text.encode("utf-8", "replace")) + _string(b"en")


def _attributes(mode: int, size: int) -> bytes:
    return struct.pack(">IQI", 1 | 4, size, mode)
