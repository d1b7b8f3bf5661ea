# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump on a raw device becomes a file, as kdumpctl does it (save_raw()). Private to this collection.

The device's header is wiped only when the file is written, read again and whole: what could not be saved stays on the
device. The directory is named by the dump itself, so that after a power cut the next attempt ends what this one began.
"""

import datetime
import hashlib
from typing import Any, Iterator, List, NamedTuple

from .image import raw
from .problems import KdumpError, Problem, fail, shown
from .vmcore import elfcore, flattened, search
from .vmcore.dump import inspect
from .vmcore.result import Findings, VmcoreInfo
from .vmcore.source import LIMIT, Source

_MIB = 1 << 20
_SPARE = 64 * _MIB  # bytes that stay free on the file system
_DMESG = 600.0  # seconds
# put_capture_behind() of /init writes it at the next multiple of _BLOCK. What follows it is the sha256 of the dump's beginning:
# nothing else tells a whole dump from one that is cut and goes on with an earlier one's rest, which may be as long.
_CAPTURE = b"vmcore.kdump capture.json "
_BLOCK = 4096
_NO_END = "Nothing tells that it was written to its end."


class Recovered(NamedTuple):
    """`path`: the vmcore, vmcore-incomplete for one that broke off. `sentences`: what is to be told."""

    path: str
    sentences: List[str]


def holds_dump(host: Any, conf: Any) -> bool:
    """Whether the raw device of a kdump.conf begins as a dump does."""
    device = conf.target.location
    if conf.target.kind != "raw" or not host.device_number(device):
        return False
    with host.open(device) as file:
        source = Source(file, file.seek(0, 2))
        head = source.read_at(0, len(flattened.SIGNATURE))
        return bool(head == flattened.SIGNATURE or (head.startswith(elfcore.MAGIC) and elfcore.end(source)))


def warn(host: Any, conf: Any) -> List[Problem]:
    """A dump that is still only on the device, where the next one would overwrite it."""
    if not holds_dump(host, conf):
        return []
    return [Problem(
        "raw %s holds a dump that has not become a file yet, and the next one overwrites it." % shown(conf.target.location),
        "The next boot, or `systemctl reload vmcore-kdump`, does that; its journal says what is in the way. One that broke off "
        "is saved as vmcore-incomplete, and stays there as well: `wipefs -a %s` drops it." % shown(conf.target.location),
        "raw", conf.target.location,
    )]  # fmt: skip


def recover(host: Any, conf: Any) -> Recovered:
    """Save the dump of the device to `path` on this host. KdumpError, and the dump left there, where that cannot be."""
    device = conf.target.location
    used = raw.use_of(host, device)
    if used:
        raise fail(
            "raw %s is %s, so the dump on it is left alone." % (shown(device), used), raw.RAW_IN_USE, "raw", device
        )
    with host.open(device) as file:
        size = file.seek(0, 2)
        source = Source(file, size)
        info = inspect(file, size)
        folder = _folder(conf, info, source)
        if info.format == "elf" and not info.flattened:  # core_collector cat
            end = elfcore.end(source)
            stream = Source(file, min(end, size))
            if info.verdict not in ("complete", "incomplete") or not end:
                raise _unreadable(device, info)
        else:
            stream_findings = Findings()
            runs = flattened.walk(source, stream_findings)
            cut = bool(stream_findings.kinds["incomplete"])  # its last piece may have been the dump's own header
            if runs is None or not info.rearranged_bytes or (info.verdict in ("broken", "unknown") and not cut):
                raise _unreadable(device, info)
            stream, end = flattened.Rearranged(source, runs), runs[-1].following
        capture = _capture(source, end)
        if info.verdict == "complete" and capture:
            return _whole(host, device, stream, folder, capture)
        return _part(host, device, stream, folder, " ".join(info.problems) or _NO_END)


def _unreadable(device: str, info: VmcoreInfo) -> KdumpError:
    return fail(
        "The dump on %s cannot be read: %s" % (shown(device), " ".join(info.problems)),
        "It stays there. Copy it (dd) and look at that, with makedumpfile -R first where it is a flattened stream; "
        "`wipefs -a %s` drops it." % shown(device), "raw", device,
    )  # fmt: skip


def _folder(conf: Any, info: VmcoreInfo, source: Source) -> str:
    if info.crash_epoch:
        name = datetime.datetime.fromtimestamp(info.crash_epoch, datetime.timezone.utc).strftime("%Y-%m-%d-%H:%M:%S")
    else:
        name = "raw-" + hashlib.sha256(source.read_at(0, 1 << 16)).hexdigest()[:12]
    return "/%s/%s" % (conf.get("path").strip("/"), name)


def _capture(source: Source, end: int) -> bytes:
    """capture.json, which /init has written behind a dump that ends there; b"" where there is none, or another dump's."""
    lines = source.read_at(-(-end // _BLOCK) * _BLOCK, 1 << 16).split(b"\n")
    beginning = source.read_at(0, min(end // 512 * 512, _MIB))
    if len(lines) < 2 or lines[0] != _CAPTURE + hashlib.sha256(beginning).hexdigest().encode():
        return b""
    found = search.parse_capture(lines[1])
    return lines[1] + b"\n" if found is not None and found.get("bytes") == end else b""


def _whole(host: Any, device: str, stream: Source, folder: str, capture: bytes) -> Recovered:
    path = folder + "/vmcore"
    if not _is_same(host, path, stream):
        if host.exists(path):
            raise fail("%s is another dump than the one on %s." % (path, shown(device)),
                       "Move it away, and reload vmcore-kdump.service.", "raw", device)  # fmt: skip
        _write(host, folder + "/vmcore-incomplete", stream, device)
        if not _is_same(host, folder + "/vmcore-incomplete", stream):
            raise fail("What was written to %s is not what is on %s." % (folder, shown(device)),
                       "The dump stays on the device. Look at the disk of that directory.", "raw", device)  # fmt: skip
        host.rename(folder + "/vmcore-incomplete", path)
    host.write("%s/%s" % (folder, search.CAPTURE), capture, 0o600)
    sentences = _save_log(host, folder)
    host.overwrite(device, bytes(512))
    return Recovered(path, sentences + ["the dump on %s is saved to %s, and wiped from the device" % (device, path)])


def _part(host: Any, device: str, stream: Source, folder: str, reason: str) -> Recovered:
    """A dump that broke off: what there is of it, beside the device, which keeps it until the next dump."""
    path = folder + "/vmcore-incomplete"
    found = host.stat(path)
    if found is None or found.st_size != stream.size:
        _write(host, path, stream, device)
    return Recovered(path, [
        "WARNING: the dump on %s is incomplete: %s" % (device, reason),
        "what there is of it is in %s, and stays on the device until the next dump" % path,
    ])  # fmt: skip


def _pieces(stream: Source) -> Iterator[bytes]:
    for offset in range(0, stream.size, LIMIT):
        yield stream.read_at(offset, LIMIT)


def _is_same(host: Any, path: str, stream: Source) -> bool:
    if not host.is_file(path) or host.stat(path).st_size != stream.size:
        return False
    with host.open(path) as file:
        return all(file.read(len(piece)) == piece for piece in _pieces(stream))


def _write(host: Any, path: str, stream: Source, device: str) -> None:
    folder = path.rpartition("/")[0]
    host.make_directories(folder, 0o700)
    there = host.stat(path)
    free = host.free_bytes(folder) + (there.st_size if there is not None else 0)
    if free < stream.size + _SPARE:
        raise fail(
            "The dump on %s does not fit: %d MiB are free for %s, and it takes %d MiB."
            % (shown(device), free // _MIB, folder, stream.size // _MIB),
            "It stays on the device until the next crash. Make room, then: systemctl reload vmcore-kdump.", "path", folder,
        )  # fmt: skip
    host.write_pieces(path, _pieces(stream), 0o600)


def _save_log(host: Any, folder: str) -> List[str]:
    """The kernel's log beside the vmcore, as other targets have it from the capture kernel."""
    path = folder + "/vmcore-dmesg.txt"
    if host.which("makedumpfile") is None or host.exists(path):
        return []
    argv = ["makedumpfile", "--dump-dmesg", host.path(folder + "/vmcore"), host.path(path)]
    done = host.run(argv, timeout=_DMESG)
    return (
        [] if done.rc == 0 else ["the kernel's log could not be read from it: %s" % shown(" ".join(done.err.split()))]
    )
