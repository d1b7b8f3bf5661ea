# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the modules that a run of ansible-playbook has executed on its hosts, as a JSON list of task names."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_modules
type: aggregate
short_description: writes the names of the tasks that ran a module on a host
description: The list goes to the file that the environment variable COUNT_MODULES_FILE names.
"""

# Actions that run on the controller alone and send no module to the host.
ON_CONTROLLER = {"add_host", "assert", "debug", "fail", "group_by", "include_role", "include_tasks", "include_vars"}
ON_CONTROLLER |= {"meta", "pause", "set_fact", "validate_argument_spec"}


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.executed = []

    def v2_runner_on_ok(self, result):
        if result.task.action.rpartition(".")[2] not in ON_CONTROLLER:
            self.executed += [result.task.get_name()] * len(result.result.get("results", [None]))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["COUNT_MODULES_FILE"], "w", encoding="utf-8") as file:
            json.dump(self.executed, file)
