# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line of the program that arms a host at boot. Private to this collection.

boot.py makes a zip file of this module and all that it imports; vmcore-kdump.service and the hooks of kernel packages
run it. Exit codes: 0 done, 1 failed (the reasons on standard error), 2 wrong usage; `status` as documented there.
"""

import argparse
import json
import sys
from typing import Any, Callable, Dict, List, Optional

from . import cmdline, conf, evidence, kexec, layout, raw_recovery, servers
from ._host.host import Host
from .image import build, store
from .image.kernel import check_release
from .problems import KdumpError

_PATIENCE = 60  # seconds for the network, which systemd has waited for already, and for a disk

# A program of its own, outside Ansible: what it has to say goes to its output.
# pylint: disable=ansible-bad-function


def main(arguments: List[str], host: Optional[Host] = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    host = host or Host()
    try:
        return int(options.run(host, options))
    except KdumpError as error:
        for problem in error.problems:
            print("vmcore.kdump: " + str(problem), file=sys.stderr)
    except OSError as error:
        print("vmcore.kdump: " + str(error), file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kdump.pyz", description="Arms this host to capture a crash.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    _command(commands, "arm", arm, "build the capture image if it is not fresh, and load it").add_argument(
        "--kernel", default="", metavar="RELEASE", help="the kernel to capture with (default: the running one)"
    )
    for name, run, text in (
        ("build", build_image, "build the capture image of a kernel, without loading it"),
        ("remove", remove, "remove the capture images of a kernel that is being removed"),
    ):
        _command(commands, name, run, text).add_argument("--kernel", required=True, metavar="RELEASE")
    _command(commands, "begin", begin, "note that this boot has begun, and how the last one ended")
    _command(commands, "unload", unload, "unload the capture kernel")
    _command(commands, "status", status, "say what is loaded; exit code 3 if nothing is").add_argument(
        "--json", action="store_true"
    )
    return parser


def _command(commands: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


# --- commands ------------------------------------------------------------------------------------------------------
def arm(host: Host, options: argparse.Namespace) -> int:
    """Exit code 0 also where nothing is to be armed, because no reservation was asked of this boot."""
    started = host.monotonic()
    if not cmdline.values(cmdline.split(host.read_text("/proc/cmdline")), "crashkernel"):
        _say("no crashkernel= on the running kernel's command line, so there is nothing to arm (a reboot may be due)")
        return 0
    _told(host, "the dump target", _await_target)
    with host.lock(layout.LOCK):
        _recover_raw(host)
        _told(host, "the reports of failures", _retain)
        settings = kexec.settings(host)
        release = options.kernel or settings.get("KDUMP_KERNELVER") or host.kernel.release
        _fresh_image(host, release, settings)
        request = dict(kexec.REQUEST, kernel=release)
        loading = host.monotonic()
        title = "loaded in %.1f s" % (host.monotonic() - loading) if _load(host, release, request) else "loaded already"
        found = kexec.report(host, request)
        _say("%s: %s" % (title, _summary(found)))
        for warning in found["warnings"]:
            _say("WARNING: " + warning)
    _say("armed after %.1f s" % (host.monotonic() - started))
    return 0


def begin(host: Host, options: argparse.Namespace) -> int:
    """For the unit that a shutdown stops."""
    end = evidence.begin(host)
    if end is not None and not end.clean:
        _say("WARNING: the last boot ended without a shutdown: by a panic, a reset or a power cut")
    return 0


def build_image(host: Host, options: argparse.Namespace) -> int:
    """For kernel package hooks."""
    with host.lock(layout.LOCK):
        _build(host, options.kernel, kexec.settings(host))
    return 0


def remove(host: Host, options: argparse.Namespace) -> int:
    """For kernel package hooks. The image that is loaded stays: it may have to be loaded again."""
    check_release(options.kernel)
    with host.lock(layout.LOCK):
        present = kexec.loaded(host)
        images = store.images(host)
        gone = [
            path for path in images if store.is_of(path, options.kernel) and not (present and present.initrd == path)
        ]
        store.prune(host, [path for path in images if path not in gone])
        for path in gone:
            _say("removed " + path)
    return 0


def unload(host: Host, options: argparse.Namespace) -> int:
    """Unloads what this program or the modules have loaded; what another tool has loaded is not ours to unload."""
    with host.lock(layout.LOCK):
        if kexec.loaded(host) is None:
            _say("nothing is loaded that could be unloaded")
            return 0
        kexec.decide(host, dict(kexec.REQUEST, state="unloaded")).apply(host)
        _say("unloaded: a crash leaves no vmcore now")
    return 0


def status(host: Host, options: argparse.Namespace) -> int:
    """Exit code 0 when a capture kernel is loaded, 3 when none is, as with `kdumpctl status`."""
    found: Dict[str, Any] = kexec.report(host, kexec.REQUEST)
    if options.json:
        print(json.dumps(found, sort_keys=True))
    elif found["loaded"]:
        print("A capture kernel is loaded: %s" % _summary(found))
    else:
        print("No capture kernel is loaded. %d MiB are reserved for one." % (found["reserved_bytes"] >> 20))
    return 0 if found["loaded"] else 3


# --- parts ---------------------------------------------------------------------------------------------------------
def _await_target(host: Host) -> None:
    """The image holds the way to the target, so that is waited for; after the limit an older image must do."""
    known = conf.parse(host.read_text(layout.CONF, ""))
    limit = host.monotonic() + _PATIENCE
    missing = servers.awaited(host, known)
    if missing:
        _say("waiting for %s" % ", ".join(missing))
    while missing and host.monotonic() < limit:
        host.sleep(1)
        missing = servers.awaited(host, known)
    if missing:
        _say("WARNING: after %d seconds there is no %s" % (_PATIENCE, ", ".join(missing)))


def _recover_raw(host: Host) -> None:
    """The dump of the last crash becomes a file, before a kernel is loaded that would overwrite it."""
    known = conf.parse(host.read_text(layout.CONF, ""))

    def recover(host: Host) -> None:
        if raw_recovery.holds_dump(host, known):
            for sentence in raw_recovery.recover(host, known).sentences:
                _say(sentence)

    _told(host, "the dump on the raw device", recover)


def _retain(host: Host) -> None:
    for folder in evidence.retain(host):
        _say("removed the report " + folder)


def _told(host: Host, what: str, part: Callable[[Host], None]) -> None:
    """Do something whose failure must not leave the host unarmed."""
    try:
        part(host)
    except Exception as error:  # pylint: disable=broad-except # nor a mistake of ours
        print("vmcore.kdump: WARNING: %s: %s" % (what, error), file=sys.stderr)


def _fresh_image(host: Host, release: str, settings: Dict[str, str]) -> None:
    """An image of today's inputs; where it cannot be built, an older whole one is better than none."""
    try:
        _build(host, release, settings)
    except Exception as error:  # pylint: disable=broad-except # not even a mistake of ours shall cost the older image
        old = store.current(host, release)
        if old is None:
            raise
        print("vmcore.kdump: WARNING: the capture image could not be built anew:\n%s" % error, file=sys.stderr)
        print("vmcore.kdump: WARNING: an OLDER one is loaded instead, %s: it captures as the host was configured when "
              "that was built." % old.path, file=sys.stderr)  # fmt: skip


def _load(host: Host, release: str, request: Dict[str, Any]) -> bool:
    """Whether there was anything to load. At boot, with nothing loaded to go back to, an older image may still load."""
    try:
        plan = kexec.decide(host, request)
        plan.apply(host)
        return plan.changed
    except KdumpError as error:
        older = [image for image in list(store.whole(host, release))[1:] if _fits(host, request, image.path)]
        if kexec.is_loaded(host) or not older:
            raise
        print("vmcore.kdump: WARNING: the capture image could not be loaded:\n%s" % error, file=sys.stderr)
        print("vmcore.kdump: WARNING: an OLDER one is loaded instead, %s: it captures as the host was configured when "
              "that was built." % older[0].path, file=sys.stderr)  # fmt: skip
    store.select(host, release, older[0].path)
    kexec.decide(host, request).apply(host)
    return True


def _fits(host: Host, request: Dict[str, Any], image: str) -> bool:
    """Whether nothing that can be seen beforehand speaks against loading an image."""
    try:
        kexec.decide(host, dict(request, initrd=image))
    except KdumpError:
        return False
    return True


def _build(host: Host, release: str, settings: Dict[str, str]) -> None:
    started = host.monotonic()
    text = host.read_text(layout.CONF, "")
    outcome: Dict[str, Any] = {}
    plan = build.decide(host, release, conf.parse(text), settings, outcome=outcome)
    for step in plan.steps:
        _say(step.title)
        step.apply(host)
    image = store.current(host, release)
    size = "%.1f MB" % (image.bytes / 1e6) if image else "missing"
    state = "built" if plan.changed else "fresh"
    _say("image of kernel %s %s after %.1f s: %s" % (release, state, host.monotonic() - started, size))
    for warning in build.warnings(outcome):
        _say("WARNING: " + warning)


def _summary(found: Dict[str, Any]) -> str:
    if not found["kernel"]:
        return "by another program"
    return "%s with %s by %s" % (found["kernel"], found["initrd"], found["method"])


def _say(text: str) -> None:
    # What the terminal or the journal cannot show (a path of other bytes than UTF-8) must not end the arming.
    encoding = sys.stdout.encoding or "ascii"
    print("vmcore.kdump: " + text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
