# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The order of propagate: the host's part, the server's from the controller, the host's again. The module has the docs."""

from __future__ import annotations

import contextlib
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.vmcore.kdump.plugins.module_utils import authorized_keys
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.plugins.plugin_utils.dump_server import Server, ServerError

MODULE = "vmcore.kdump.propagate"
OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "server": {"type": "str", "default": ""},
    "user": {"type": "str", "default": ""},
    "key": {"type": "str", "default": "", "no_log": False},
    "path": {"type": "str", "default": ""},
    "name": {"type": "str", "default": ""},
    "password": {"type": "str", "no_log": True},
    "address": {"type": "str", "default": ""},
    "host_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "accept_new": {"type": "bool", "default": False},
    "rotate": {"type": "bool", "default": False},
    "exclusive": {"type": "bool", "default": False},
    "remove_key": {"type": "bool", "default": False},
    "receiver": {"type": "bool", "default": True},
    "server_part": {"type": "str", "choices": ["controller", "later", "done"], "default": "controller"},
}
CONTROLLERS = ("password", "address")  # what the host is not told
UNCHANGED = {"changed": False, "actions": [], "diff": []}


class Failure(Exception):
    """The result of a module that has failed."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class ActionModule(ActionBase):
    """Runs once for one host."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(OPTIONS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        dummy, args = self.validate_argument_spec(argument_spec=OPTIONS)
        self._vars = task_vars or {}
        self._args = args
        args["name"] = args["name"] or str(self._vars.get("inventory_hostname", ""))
        try:
            done = self._propagate() if args["server_part"] == "controller" else self._host_part(args["server_part"])
        except Failure as failure:
            done = failure.result
        except ServerError as error:
            done = {"failed": True, "msg": str(error)}
        result.update(done)
        return result

    def _propagate(self) -> dict[str, Any]:
        args = self._args
        missing = [option for option in ("server", "user") if not args[option]]
        if missing:
            raise ServerError(
                f"propagate needs {' and '.join(missing)}: where the controller logs in, with a password or with its own keys, "
                "is said by the play, and not by the host, which may be somebody else's by now."
            )
        first = self._host_part("later")
        if args["state"] == "absent":
            with self._server(first) as server:
                away = server.authorize(self._request(first, [first["public_key"]] if first["public_key"] else []))
            return together(self._host_part("done"), first, away)
        rotating = args["rotate"] or len(first["public_keys"]) > 1
        if first["settled"] and not rotating and not args["exclusive"]:
            return first
        # Check mode: the keys that the server is to accept are not there yet, or those that it is to be known by.
        pinned = first["host_keys"] or args["host_keys"] or not args["accept_new"]
        if not first["public_keys"] or (self._task.check_mode and (rotating or not pinned)):
            return dict(first, changed=True)
        try:
            return self._with_server(first)
        except ServerError as error:
            # The controller knows the server's new key, and that may be all that the host lacks.
            if error.host_key and first["login"] == "unknown" and not self._task.check_mode:
                with contextlib.suppress(Failure):
                    return together(self._host_part("done", host_keys=[error.host_key]), first)
            # A host that was prepared otherwise goes on working, with no way to its server.
            told = [*first.get("warnings", []), str(error)]
            if not first["verified"] or rotating or args["exclusive"]:
                raise Failure({"failed": True, "msg": " ".join(told)}) from error
            return dict(first, warnings=told)

    def _with_server(self, first: dict[str, Any]) -> dict[str, Any]:
        with self._server(first) as server:
            there = server.authorize(self._request(first, first["public_keys"]))
            if self._task.check_mode:
                return together(first, there)
            # The login has told already that pinned keys are the server's.
            own = [] if first["login"] in ("receiver", "shell", "refused", "denied") else [server.host_key]
            last = self._host_part("done", host_keys=self._args["host_keys"] or own)
            gone: dict[str, Any] = UNCHANGED
            if self._args["exclusive"]:
                gone = server.authorize(self._request(last, last["public_keys"], exclusive=True))
        last = together(last, first, there, gone)
        if not self._args["exclusive"]:
            last.setdefault("warnings", []).extend(there["warnings"])
        if self._args["receiver"] and not there["receiver"]:
            last.setdefault("warnings", []).append(
                "There is no python3 on the dump server, so there can be no receiver: the host's key may run any command of "
                "the account there, also to read and to delete the dumps of others."
            )
        return last

    # --- parts -----------------------------------------------------------------------------------------------------
    def _server(self, first: dict[str, Any]) -> Server:
        args, port = self._args, first["port"]
        # Trust on first use was the host's: what it has pinned then is what the controller has to find as well. But anybody who
        # has an account on the server may listen there at another port, which the host alone names.
        trusted = first["host_keys"] if args["accept_new"] and port == 22 else []
        given = args["host_keys"] or trusted
        return Server(args["address"] or args["server"], port, args["user"], args["password"], given)

    def _request(self, host: dict[str, Any], keys: list[str], exclusive: bool = False) -> dict[str, Any]:
        """The keys are the host's words: they are to be keys, and nothing else, before they go anywhere."""
        try:
            keys = [authorized_keys.key_of(key) for key in keys]
        except KdumpError as error:
            raise ServerError(f"The host gives no public key: {error}") from None
        return {
            "state": self._args["state"], "user": "", "name": authorized_keys.host_name(self._args["name"]),
            "public_keys": keys, "path": self._args["path"] or host["directory"], "exclusive": exclusive,
            "receiver": self._args["receiver"], "_check": self._task.check_mode,
        }  # fmt: skip

    def _host_part(self, part: str, **changed: Any) -> dict[str, Any]:
        args = {name: value for name, value in self._args.items() if name not in CONTROLLERS}
        args.update(changed, server_part=part)
        result = self._execute_module(module_name=MODULE, module_args=args, task_vars=self._vars)
        if result.get("failed") or result.get("unreachable") or result.get("rc", 0) != 0:
            raise Failure(result)
        result.pop("invocation", None)
        return result


def together(last: dict[str, Any], *before: dict[str, Any]) -> dict[str, Any]:
    """The last result, with what all parts have changed."""
    parts = [*[part for part in before if part is not last], last]
    changed = any(part["changed"] for part in parts)
    return dict(
        last,
        changed=changed,
        actions=[action for part in parts for action in part["actions"]],
        diff=[one for part in parts for one in part["diff"]],
    )
