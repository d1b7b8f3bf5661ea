# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line of the program that takes dumps on a server, as the forced command of each host's key.

Private to this collection. boot.program_bytes makes a zip file of this module and all that it imports. Exit codes: 0
done, 1 refused or failed (the reasons on standard error and in the system's log), 2 wrong usage.
"""

import argparse
import contextlib
import errno
import json
import os
import sys
import syslog
import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

from . import dumps, receiver_commands, receiver_retention, receiver_scp, receiver_settings, receiver_sftp
from ._host import inbox as inboxes
from ._host.host import Host
from ._host.wire import Wire
from .problems import KdumpError, fail, shown
from .receiver_delivery import Delivery
from .vmcore.dump import inspect

# A program of its own, outside Ansible: what it has to say goes to its output.
# pylint: disable=ansible-bad-function

_PIECE = 1 << 20
_LISTED = 64  # dumps
_WORDS = {  # what a call's error means here
    errno.EEXIST: "There is something of that name already, and nothing is overwritten: %s.",
    errno.ENOENT: "There is no such file or folder: %s.",
    errno.EAGAIN: "The file is still being received: %s.",
    errno.ENOSPC: "The server's disk is full: %s.",
    errno.EDQUOT: "The server's disk is full: %s.",
}


class Session(NamedTuple):
    """One connection of a host."""

    host: str
    settings: receiver_settings.Settings
    inbox: inboxes.Inbox
    wire: Wire

    @property
    def limits(self) -> inboxes.Limits:
        return inboxes.Limits(self.settings.quota_host, self.settings.quota_total, self.settings.min_free)

    def deliver(self, folder: str, name: str) -> Delivery:
        return Delivery(self.inbox, self.limits, folder, name)


def main(arguments: List[str], environ: Optional[Mapping[str, str]] = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    environ = os.environ if environ is None else environ
    os.umask(0o077)
    syslog.openlog("vmcore-kdump", syslog.LOG_PID, syslog.LOG_DAEMON)
    try:
        return int(options.run(options, environ))
    except (KdumpError, OSError, EOFError) as error:
        _tell(options.host, error)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="receive.pyz", description="Takes dumps, as the forced command of a key.")
    parser.add_argument("--host", default="", metavar="NAME", help="whose key it is, and the name of its directory")
    parser.add_argument("--root", default="", metavar="DIR", help="the directory of the hosts' directories")
    parser.add_argument("--config", default=receiver_settings.PATH, metavar="FILE", help="default: %(default)s")
    parser.set_defaults(run=receive)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    listing = commands.add_parser("list", help="the dumps of the host as JSON, newest first")
    listing.add_argument("--deep", action="store_true", help="read them whole")
    listing.add_argument("--marker", default="", metavar="TEXT", help="say which one has it in the kernel's log")
    listing.set_defaults(run=list_dumps)
    commands.add_parser("retain", help="remove what is not to be kept").set_defaults(run=retain)
    return parser


# --- commands ------------------------------------------------------------------------------------------------------
def receive(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what the other side of an ssh connection asks for (sshd(8), SSH_ORIGINAL_COMMAND)."""
    asked = environ.get("SSH_ORIGINAL_COMMAND", "")
    if not asked:
        raise receiver_commands.refusal("a login without a command")
    _check_host(options.host)
    intent = receiver_commands.parse(asked)
    settings = _settings(options)
    session = Session(options.host, settings, _inbox(settings.root, options.host), Wire(idle=settings.idle))
    place = session.inbox.connection(settings.connections)
    if place is None:
        raise fail("The host %s has %d connections already." % (options.host, settings.connections),
                   "Wait until one of them has ended.")  # fmt: skip
    started = time.monotonic()
    result = _ACTIONS[intent.action](session, intent)
    client = environ.get("SSH_CONNECTION", "").partition(" ")[0]
    _log("%s at %s: %s: %s after %.1f s" % (
        options.host, shown(client), shown(asked), result or "done", time.monotonic() - started,
    ))  # fmt: skip
    os.close(place)
    return 0


def list_dumps(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """What `vmcore-kdump list` prints, for somebody on the server itself."""
    _check_host(options.host)
    print(_listed(_settings(options).root + "/" + options.host, options.deep, options.marker))
    return 0


def retain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Remove the dumps that are not to be kept, and say which."""
    settings = _settings(options)
    found = inboxes.stored(settings.root, receiver_commands.is_folder)
    there = [one for one in found if receiver_commands.is_host(one.host)]  # what is no host's is not ours
    free = inboxes.free_bytes(settings.root)
    with contextlib.closing(inboxes.View(settings.root)) as view:

        def is_whole(dump: inboxes.Stored) -> bool:
            return _is_whole(view, "/%s/%s" % (dump.host, dump.folder), dump.names)

        removals = receiver_retention.decide(there, settings, time.time(), free, is_whole)
    failed = False
    for removal in removals:
        name = removal.dump.host + "/" + removal.dump.folder
        try:
            with contextlib.closing(inboxes.Inbox(settings.root, removal.dump.host)) as inbox:
                inbox.remove_folder(removal.dump.folder)
            print("vmcore.kdump: removed %s: %s" % (name, removal.why))
        except OSError as error:
            failed = True
            print("vmcore.kdump: %s could not be removed: %s" % (name, error), file=sys.stderr)
    if inboxes.free_bytes(settings.root) < settings.keep_free:
        print("vmcore.kdump: WARNING: %s has less than kdump_server_keep_free, and no dump is left that may be removed."
              % settings.root, file=sys.stderr)  # fmt: skip
    return 1 if failed else 0


# --- what a host asks for ------------------------------------------------------------------------------------------
def _nothing(session: Session, intent: receiver_commands.Intent) -> str:
    return ""


def _folder(session: Session, intent: receiver_commands.Intent) -> str:
    session.inbox.make_folder(intent.folder, intent.action == "new_folder")
    return ""


def _write(session: Session, intent: receiver_commands.Intent) -> str:
    delivery = session.deliver(intent.folder, intent.name)
    try:
        while True:
            data = session.wire.read(_PIECE)
            if not data:
                break  # a connection that was cut ends so, too: hence an `mv` that is a command of its own
            delivery.write(data)
    except BaseException:
        delivery.stop()
        raise
    delivery.end()
    return "%d bytes" % delivery.size


def _rename(session: Session, intent: receiver_commands.Intent) -> str:
    session.inbox.rename(intent.folder, intent.name, intent.target)
    return ""


def _space(session: Session, intent: receiver_commands.Intent) -> str:
    room = max(0, session.inbox.room(session.limits))
    session.wire.write(b"Avail\n%d\n" % (room >> 10))
    return ""


def _probe(session: Session, intent: receiver_commands.Intent) -> str:
    name = session.inbox.make_probe()
    session.wire.write((intent.path.rstrip("/") + "/" + name + "\n").encode("utf-8"))
    return ""


def _unprobe(session: Session, intent: receiver_commands.Intent) -> str:
    session.inbox.remove_probe(intent.name)
    return ""


def _status(session: Session, intent: receiver_commands.Intent) -> str:
    session.inbox.replace(intent.folder, intent.name, intent.target.encode("ascii"))
    return ""


def _scp(session: Session, intent: receiver_commands.Intent) -> str:
    def deliver(name: str) -> Delivery:
        return session.deliver(intent.folder, name)

    return "%d bytes" % receiver_scp.receive(session.wire, deliver, intent.name)


def _scp_status(session: Session, intent: receiver_commands.Intent) -> str:
    receiver_scp.send(session.wire, intent.name, session.inbox.read(intent.folder, intent.name, 4096))
    return ""


def _sftp(session: Session, intent: receiver_commands.Intent) -> str:
    def told(error: Exception) -> None:
        _tell(session.host, error)

    sftp = receiver_sftp.Session(session.wire, session.inbox, session.deliver, told)
    sftp.run()
    return "%d bytes%s" % (sftp.received, ", not without failures" if sftp.failed else "")


def _list(session: Session, intent: receiver_commands.Intent) -> str:
    if intent.host not in ("", session.host):
        raise fail(
            "This key is the host %s's here, and its dumps go into that one's directory: %s has to have its own."
            % (session.host, intent.host),
            receiver_commands.ONE_KEY_EACH,
        )
    text = _listed(session.inbox.path, intent.deep, intent.marker)
    session.wire.write(text.encode("utf-8", "replace") + b"\n")
    return ""


_ACTIONS: Dict[str, Callable[[Session, receiver_commands.Intent], str]] = {
    "nothing": _nothing, "directory": _nothing, "folder": _folder, "new_folder": _folder, "write": _write,
    "rename": _rename, "space": _space, "probe": _probe, "unprobe": _unprobe, "status": _status, "scp": _scp,
    "scp_status": _scp_status, "sftp": _sftp, "list": _list,
}  # fmt: skip


# --- parts ---------------------------------------------------------------------------------------------------------
def _check_host(name: str) -> None:
    if not receiver_commands.is_host(name):
        raise fail("--host %s is no name of a host." % shown(name), "Have the host's key written by propagate again.")


def _settings(options: argparse.Namespace) -> receiver_settings.Settings:
    if options.root:
        return receiver_settings.of({"root": options.root})
    return receiver_settings.parse(Host().read_text(options.config))


def _inbox(root: str, name: str) -> inboxes.Inbox:
    try:
        return inboxes.Inbox(root, name)
    except OSError as error:
        raise fail("The directory %s/%s cannot be used: %s." % (root, name, error.strerror),
                   "Run the role vmcore.kdump.server on the server.") from error  # fmt: skip


def _listed(directory: str, deep: bool, marker: str) -> str:
    with contextlib.closing(inboxes.View(directory)) as view:
        found = dumps.listed(view, "/", _LISTED, marker, deep)
    for dump in found:
        dump.update((key, directory + dump[key]) for key in ("directory", "path") if dump[key])
    return json.dumps(found, sort_keys=True)


def _is_whole(view: inboxes.View, folder: str, names: List[str]) -> bool:
    for name in ("vmcore", "vmcore.flat"):
        if name in names:
            with contextlib.suppress(OSError), view.open(folder + "/" + name) as file:
                return inspect(file, file.seek(0, 2)).verdict == "complete"
    return False


def _tell(host: str, error: Exception) -> None:
    """To whoever is connected, and to the system's log."""
    sentences = [str(error)]
    if isinstance(error, KdumpError):
        sentences = [str(problem) for problem in error.problems]
    elif isinstance(error, OSError):
        sentences = [_WORDS.get(error.errno or 0, "It failed: %s.") % shown(str(error.filename or error))]
    for sentence in sentences:
        text = "vmcore.kdump: " + sentence
        _log("%s: %s" % (host, sentence), syslog.LOG_WARNING)
        with contextlib.suppress(OSError):  # nobody is there any more
            print(text.encode("ascii", "backslashreplace").decode("ascii"), file=sys.stderr, flush=True)


def _log(text: str, level: int = syslog.LOG_INFO) -> None:
    syslog.syslog(level, text.encode("ascii", "backslashreplace").decode("ascii"))
