# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a host's kdump.conf to the one that is asked for. Private to this collection."""

from typing import Any, Dict, List, Tuple

from . import conf
from .conf_check import check_host, dump_directory, warn_host
from .plan import Plan, Step, remove_file, write_file
from .problems import KdumpError, Problem, fail

Params = Dict[str, Any]


def decide(host: Any, params: Params, backup_suffix: str = "") -> Plan:
    """The plan that makes the file as asked; KdumpError with everything that would be wrong with it.

    `params` are those of the module conf. `backup_suffix` ends the name of a backup. A file that would hold nothing but
    the header of NEW_FILE is not made, or removed.
    """
    path = params["path"]
    before, after, refused = _texts(host, params)
    wanted = conf.parse(after)
    wanted = wanted._replace(problems=refused + wanted.problems)
    problems = wanted.problems + (check_host(host, wanted, params["_check"]) if params["check_host"] else [])
    if problems:
        raise KdumpError(problems)
    there = host.exists(path)
    steps: List[Step] = []
    if there and params["backup"] and after != before:
        steps.append(_backup(host, path, backup_suffix))
    if there and after == conf.NEW_FILE:
        steps.append(remove_file(path, before))
    elif after != before:
        steps.append(write_file(path, before if there else "", after))
    directory = dump_directory(host, wanted) if params["create_path"] else None
    if directory and not host.is_dir(directory):
        steps.append(Step("create " + directory, lambda host: host.make_directories(directory), "", directory + "/\n"))
    return Plan(steps)


def report(host: Any, params: Params, backup_suffix: str = "") -> Dict[str, Any]:
    """The module's results. In check mode they are those that the real run would have."""
    wanted = conf.parse(_texts(host, params)[1])
    warnings = wanted.warnings + (warn_host(host, wanted) if params["check_host"] else [])
    result: Dict[str, Any] = {
        "options": wanted.options,
        "target": dict(wanted.target._asdict()),
        "warnings": [str(warning) for warning in warnings],
    }
    backup = params["path"] + "." + backup_suffix
    if params["backup"] and host.exists(backup):
        result["backup_file"] = backup
    return result


def _texts(host: Any, params: Params) -> Tuple[str, str, List[Problem]]:
    """The file as it is (NEW_FILE for a missing one), as it shall be, and why not."""
    path = params["path"]
    if host.exists(path) and not host.is_file(path):
        raise fail("%s is not a file." % path, "Name the configuration file, such as /etc/kdump.conf.", "path", path)
    before = host.read_text(path, conf.NEW_FILE)
    after, problems = conf.attempt(before, params["options"], params["remove"], params["purge"])
    return before, after, problems


def _backup(host: Any, path: str, suffix: str) -> Step:
    mode = host.stat(path).st_mode & 0o7777
    name = "%s.%s" % (path, suffix)
    return Step("keep %s as %s" % (path, name), lambda host: host.write(name, host.read(path), mode))
