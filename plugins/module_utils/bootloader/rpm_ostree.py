# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""rpm-ostree, which keeps the kernel arguments of ostree hosts. Private to this collection.

Each change makes a new deployment, the next to boot, with the arguments of the one before it; deployments that are there
are never changed, and /proc/cmdline stays what it is until then. `rpm-ostree kargs` prints those of the next to boot.
Source: rpmostree-builtin-kargs.cxx and kernel_arg_apply_patching() in rpmostreed-transaction-types.cxx of rpm-ostree
2026.2 (d5ef5f0c), ostree-kernel-args.c of ostree (46204655).

All in one transaction, because half of it would be a deployment that reserves nothing. --delete comes before --append there,
whatever their order on the command line. The other options would not do: --append-if-missing compares whole arguments, so it
leaves an old value beside the new one; --delete-if-present comes after it, and looks at what was there before; --replace
refuses a key with several values, and takes what follows a further `=` for the new value.
"""

from typing import Any, List, Sequence

from .. import cmdline, crashkernel
from ..plan import Plan, Step
from ..problems import KdumpError, Problem, fail
from .entry import Entry, arguments, hidden_problems, others, select, shown, wrong

BOOTED = "/run/ostree-booted"
_NAME = "rpm-ostree: the deployment that boots next"


def missing(host: Any) -> str:
    if not host.exists(BOOTED):
        return "this host was not booted by ostree"
    if not host.which("rpm-ostree"):
        return (
            "rpm-ostree is missing on this ostree host (with bootc, kernel arguments are part of the image: "
            "/usr/lib/bootc/kargs.d)"
        )
    return ""


def entries(host: Any) -> List[Entry]:
    """The one deployment whose arguments can be changed; in place of a kernel's path, the one that ostree= names."""
    line = _kargs(host)
    found = cmdline.values(cmdline.split(line), "ostree")
    return [Entry(_NAME, found[-1] if found else "", tuple(crashkernel.find(line)), True)]


def plan(host: Any, values: Sequence[str], kernels: Sequence[str]) -> Plan:
    paths = [kernel for kernel in kernels if kernel not in ("ALL", "DEFAULT")]
    if paths:
        raise fail(
            "On ostree hosts kernels can only be ALL or DEFAULT, which are the same: a new deployment of what boots next.",
            "Use kernels: ALL.",
            "kernels",
            ",".join(paths),
        )
    line = _kargs(host)
    now = select(entries(host), kernels)
    if not wrong(now, values):
        return Plan([])
    problems = hidden_problems("`rpm-ostree kargs`", line)
    if problems:
        raise KdumpError(problems)
    argv = kargs_argv(line, values)
    after = [entry._replace(values=tuple(values)) for entry in now]
    return Plan([Step(" ".join(argv), lambda host: _apply(host, argv, values), shown(now[0]), shown(after[0]))])


def kargs_argv(line: str, values: Sequence[str]) -> List[str]:
    """One option for each argument, old ones as they are written: a list of ranges is one value, commas and all."""
    old = [argument for argument in cmdline.split(line) if cmdline.key(argument) == "crashkernel"]
    new = ["--append=crashkernel=" + value for value in values]
    return ["rpm-ostree", "kargs"] + ["--delete=" + argument for argument in old] + new


def notes(host: Any, values: Sequence[str], kernels: Sequence[str]) -> List[Problem]:
    return []


def _kargs(host: Any) -> str:
    return _asked(host, ["rpm-ostree", "kargs"]).strip("\n")


def _asked(host: Any, argv: List[str]) -> str:
    result = host.run(argv)
    if result.rc != 0:
        raise fail(
            "%s failed (exit code %d): %s"
            % (" ".join(argv), result.rc, (result.err + result.out).strip()[-2000:] or "it printed nothing."),
            "No boot entry was changed. Where another transaction is in progress (`rpm-ostree status`), wait for its end; "
            "otherwise run it by hand and repair what it complains about.",
        )
    return str(result.out)


def _apply(host: Any, argv: List[str], values: Sequence[str]) -> None:
    before = _kargs(host)
    _asked(host, argv)
    after = _kargs(host)
    found = crashkernel.find(after)
    if not crashkernel.same(found, values):
        raise fail(
            "rpm-ostree reported success, but the deployment that boots next has %s where %s is wanted."
            % (arguments(found) or "no crashkernel=", arguments(values) or "none"),
            "Look at `rpm-ostree kargs` and `rpm-ostree status`.",
            "value",
            " ".join(found),
        )
    # ostree= names the deployment, and is written anew for each.
    kept, left = [cmdline.without(others(line), ["ostree"]) for line in (before, after)]
    if kept != left:
        raise fail(
            "rpm-ostree changed more than crashkernel=: '%s' became '%s'." % (cmdline.join(kept), cmdline.join(left)),
            "`rpm-ostree cleanup --pending` takes the new deployment away again.",
            "value",
            " ".join(found),
        )
