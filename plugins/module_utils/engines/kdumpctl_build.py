# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Building with kdumpctl: a rebuild while what is loaded stays loaded. Private to this collection."""

from typing import Any, Dict, List, Mapping, Optional

from .. import conf_check, kexec_state, layout
from ..image import store
from ..image.contents import sha256_of
from ..plan import Plan, Step
from ..problems import KdumpError, Missing, Problem, shown
from . import kdumpctl_contents, kdumpctl_good, kdumpctl_image, kdumpctl_unit
from .driver import Configuration

_SECONDS = 3600  # mkdumprd alone waits 10 minutes for an NFS server


def plan(
    host: Any, release: str, configuration: Configuration, params: Mapping[str, Any], outcome: Dict[str, Any]
) -> Plan:
    """The plan that gives the host an image of today's inputs. KdumpError with everything in the way."""
    _refuse(release, params)
    try:
        recipe = outcome["recipe"] = kdumpctl_image.observe(host, release, configuration)
    except Missing:
        if not params.get("_check"):
            raise
        return Plan([Step("build the capture image for kernel %s with kdumpctl" % release, lambda target: None)])
    steps = []
    directory = conf_check.dump_directory(host, configuration.conf)
    if directory is not None and not host.is_dir(directory):
        steps.append(_make_path(directory))
    present = kdumpctl_image.present(host, release, configuration)
    if params.get("force") or present is None or present.digest != recipe.digest:
        steps.append(Step(
            "build the capture image %s with kdumpctl" % recipe.path,
            lambda target: outcome.update(manifest=build(target, recipe, configuration, present)),
            _describe(present.inputs if present else []), _describe(recipe.inputs),
        ))  # fmt: skip
    return Plan(steps)


def _refuse(release: str, params: Mapping[str, Any]) -> None:
    problems = []
    if params.get("kernel") and params["kernel"] != release:
        hint = "Set KDUMP_KERNELVER in /etc/sysconfig/kdump (module vmcore.kdump.sysconfig), or use the engine native."
        message = "kdumpctl builds its image for the kernel %s, and not for %s." % (release, shown(params["kernel"]))
        problems.append(Problem(message, hint, "kernel", shown(params["kernel"])))
    if params.get("conf", layout.CONF) != layout.CONF:
        hint = "Leave conf out, or use the engine native."
        problems.append(
            Problem("kdumpctl reads %s and no other file." % layout.CONF, hint, "conf", shown(params["conf"]))
        )
    if problems:
        raise KdumpError(problems)


def _make_path(path: str) -> Step:
    return Step("create the directory " + path, lambda host: host.make_directories(path), "", path + "\n")


def _describe(inputs: List[Dict[str, str]]) -> str:
    return "".join("%s  %s\n" % (item["sha256"][:16], item["source"] or item["name"]) for item in inputs)


def report(host: Any, release: str, configuration: Configuration, outcome: Mapping[str, Any]) -> Dict[str, Any]:
    """What the module says."""
    recipe, built = outcome.get("recipe"), outcome.get("manifest")
    present: Optional[store.Manifest] = kdumpctl_image.present(host, release, configuration) if recipe else None
    wanted = built or recipe
    return {
        "path": recipe.path if recipe else "",
        "digest": wanted.digest if wanted else "",
        "inputs": wanted.inputs if wanted else [],
        "bytes": present.bytes if present and wanted and present.digest == wanted.digest else None,
        "seconds": built.seconds if built else None,
    }


def build(
    host: Any, recipe: kdumpctl_image.Recipe, configuration: Configuration, present: Optional[store.Manifest]
) -> store.Manifest:
    """`kdumpctl rebuild`, and a look at what came of it. On failure everything is put back that last worked.

    present: the image that is there until then
    """
    kdumpctl_good.keep_image(host, present)
    before = kdumpctl_image.fingerprint(host, recipe.path)
    started = host.monotonic()
    done = host.run(["kdumpctl", "rebuild"], timeout=_SECONDS)
    said = [shown(line, 200) for line in (done.out + done.err).splitlines() if line.strip()]
    is_old = kdumpctl_image.fingerprint(host, recipe.path) == before
    what = _failure(host, configuration, recipe, done.rc, is_old, said)
    if what:
        message = "\n  ".join([what + " It said:"] + said[-20:]) + "\n" if said else what
        raise KdumpError([Problem(message, kdumpctl_unit.hint(said)), _go_back(host)])
    seconds = round(host.monotonic() - started, 2)
    made = recipe
    if configuration.conf.target.kind == "ssh":  # kdumpctl's own connection may have added to known_hosts
        after = kdumpctl_image.observe(host, recipe.release, configuration)
        made = after if kdumpctl_image.is_newer(host, after) else recipe
    found = kdumpctl_image.manifest(made, sha256_of(host, made.path), host.stat(made.path).st_size, seconds)
    kdumpctl_image.record(host, found)
    return found


def _failure(
    host: Any, configuration: Configuration, recipe: kdumpctl_image.Recipe, rc: int, is_old: bool, said: List[str]
) -> str:
    """Why an image is none, whatever the exit code says; "" where all is well.

    dracut reports what it could not install, leaves it out and succeeds, and kdumpctl with it.
    """
    if rc:
        return "`kdumpctl rebuild` failed."
    if is_old or not host.is_file(recipe.path):
        return "`kdumpctl rebuild` said that all went well, and %s is not new." % recipe.path
    lacking = kdumpctl_contents.lacking(host, configuration.conf, recipe.release, recipe.path, said)
    if lacking:
        return "`kdumpctl rebuild` said that all went well, and its image lacks %s." % ", ".join(lacking)
    return ""


def _go_back(host: Any) -> Problem:
    """What last worked is put back, for with what failed the next boot would fail as well; and what that came to."""
    try:
        changed = kdumpctl_good.put_back(host)
    except OSError as error:
        what = "What kdumpctl last loaded with could not be put back: %s." % error
    else:
        if changed:
            what = "Put back to what kdumpctl last loaded with, so that the next boot loads that: %s." % " and ".join(
                changed
            )
        elif kdumpctl_good.last(host):
            what = "%s and %s are what kdumpctl last loaded with." % kdumpctl_good.FILES
        else:
            what = (
                "%s and %s stay as they are: it is not known with what kdumpctl has loaded before."
                % kdumpctl_good.FILES
            )
    if kexec_state.is_loaded(host):
        return Problem(what + " What was loaded is loaded still.", "Mend what is said above, then run again.")
    return Problem("%s %s" % (what, kdumpctl_good.UNPROTECTED), "Mend what is said above, then run again.")
