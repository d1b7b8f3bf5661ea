# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The shape of every module here: plan, apply, look again. Private to this collection.

The only file of module_utils that imports ansible: all others also run in the boot-time program.
"""

import contextlib
from typing import Any, Callable, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ._host.host import Host
from .layout import LOCK
from .plan import Plan
from .problems import KdumpError, fail

Params = Dict[str, Any]
Secrets = Optional[Callable[[Params], List[str]]]


def run_state(
    argument_spec: Dict[str, Any],
    decide: Callable[[Host, Params], Plan],
    report: Callable[[Host, Params], Dict[str, Any]],
    secrets: Secrets = None,
    **options: Any,
) -> None:
    """Run a module that brings a host to a state.

    `decide` observes the host and returns the Plan; it raises KdumpError with everything that is wrong, before
    anything is touched. After applying, `decide` is asked again: a plan that is not empty then means that the change
    did not take, whatever the exit codes said. `report` returns the module's results, from the host as it is then
    (in check mode: as it is). Both are told by params["_check"] whether this is check mode. `secrets` names the texts
    among the parameters that are not to be shown. `options` go to AnsibleModule.
    """
    module = _create(argument_spec, secrets, **options)
    host = Host()
    params = dict(module.params, _check=module.check_mode)
    try:
        with contextlib.ExitStack() as stack:
            if not module.check_mode:
                stack.enter_context(host.lock(LOCK))
            plan = decide(host, params)
            if plan.changed and not module.check_mode:
                plan.apply(host)
                left = decide(host, dict(params, force=False))
                if left.changed:
                    raise fail(
                        "The change did not take: looking again, there was still to do: %s." % "; ".join(left.actions),
                        "Run again with -vvv; if it stays, the host's own tools undo what is written.",
                    )
        _exit(module, dict(report(host, params), changed=plan.changed, actions=plan.actions, diff=plan.diff()))
    except KdumpError as error:
        fail_with(module, error)
    except OSError as error:
        fail_with(module, _unforeseen(error))


def run_info(
    argument_spec: Dict[str, Any], report: Callable[[Host, Params], Dict[str, Any]], secrets: Secrets = None
) -> None:
    """Run a module that only looks. `secrets` as with run_state."""
    module = _create(argument_spec, secrets)
    try:
        _exit(module, dict(report(Host(), dict(module.params, _check=module.check_mode)), changed=False))
    except KdumpError as error:
        fail_with(module, error)
    except OSError as error:
        fail_with(module, _unforeseen(error))


def _create(argument_spec: Dict[str, Any], secrets: Secrets, **options: Any) -> AnsibleModule:
    """The AnsibleModule. Its constructor writes the parameters into the system's log, before anybody can tell it which
    values in a dictionary are secret: where some may be, that is left out."""
    module = AnsibleModule(argument_spec, supports_check_mode=True, no_log=secrets is not None, **options)
    if secrets is not None:
        module.no_log_values.update(text for text in secrets(module.params) if text)
    return module


def _unforeseen(error: OSError) -> KdumpError:
    """What any file may answer: a full disk, a read-only file system, no permission."""
    return fail(
        "The host's files could not be read or written: %s." % error,
        "Mend what that names (a full, read-only or failing disk; no root's rights: become: true), then run again.",
    )


def _exit(module: AnsibleModule, results: Dict[str, Any]) -> None:
    """Succeed. `warnings` among the results, a list of sentences, go the way that Ansible has for them."""
    for warning in results.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**_printable(results))


def _printable(value: Any) -> Any:
    """A value without lone surrogates, which stand for bytes that are not UTF-8 and which no terminal or log takes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(one) for one in value]
    return value


def fail_with(module: AnsibleModule, error: KdumpError) -> None:
    """Fail with every problem: as sentences in msg, as data in errors."""
    errors = [problem.as_dict() for problem in error.problems]
    module.fail_json(**_printable({"msg": str(error), "errors": errors}))
