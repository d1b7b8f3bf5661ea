# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes which modules a run of ansible-playbook has executed on its hosts: a JSON list of {"task", "changed"}."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: executed
type: aggregate
short_description: writes the tasks that ran a module on a host
description: The list goes to the file that the environment variable EXECUTED_FILE names.
"""

# Actions that run on the controller alone and send no module to the host.
ON_CONTROLLER = {"add_host", "assert", "debug", "fail", "group_by", "include_role", "include_tasks", "include_vars"}
ON_CONTROLLER |= {"meta", "pause", "set_fact", "validate_argument_spec"}


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "executed"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.executed = []

    def v2_runner_on_ok(self, result):
        if result.task.action.rpartition(".")[2] not in ON_CONTROLLER:
            entry = {"task": result.task.name, "changed": bool(result.result.get("changed"))}
            self.executed += [entry] * len(result.result.get("results", [None]))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["EXECUTED_FILE"], "w", encoding="utf-8") as file:
            json.dump(self.executed, file)
