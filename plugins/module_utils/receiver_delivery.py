# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One file on its way into a dump's folder, within what the host may keep. Private to this collection."""

from typing import Any

from .problems import fail
from .receiver_commands import DIRECT

_STEP = 64 << 20  # bytes that may come before the room is looked at again: hosts that dump at once exceed it by no more


class Delivery:
    """A new file; KdumpError when there is no room for more of it, FileExistsError where there is such a file."""

    def __init__(self, inbox: Any, limits: Any, folder: str, name: str) -> None:
        self._inbox = inbox
        self._limits = limits
        self._folder = folder
        self._name = name
        self._granted = 0
        self._written_as = DIRECT.get(name, name)
        if inbox.has(folder, name):
            raise FileExistsError(17, "File exists", name)
        self._file = inbox.create(folder, self._written_as)

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return int(self._file.size)

    def write(self, data: bytes) -> None:
        """What came is kept, also where there is no room for the rest."""
        while data:
            if not self._granted:
                self._granted = self._grant()
            part = data[: self._granted]
            self._file.write(part)
            self._granted -= len(part)
            data = data[len(part) :]

    def _grant(self) -> int:
        room = int(self._inbox.room(self._limits))
        if room <= 0:
            raise fail(
                "There is no room for more than %d bytes of %s: this host's or all hosts' quota is used up, or the "
                "server's disk is as full as it may get." % (self.size, self._name),
                "Remove old dumps on the server, or raise kdump_server_quota_host, kdump_server_quota_total or lower "
                "kdump_server_min_free.",
            )
        return min(room, _STEP)

    def stop(self) -> None:
        """The file stays as it is, under the name of an incomplete one."""
        self._file.close()

    def end(self) -> None:
        """Everything has come."""
        self._file.close()
        if self._written_as != self._name:
            self._inbox.rename(self._folder, self._written_as, self._name)
