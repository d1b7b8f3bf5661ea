# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether each module would take what its documentation's examples give it."""

import ast
import pathlib

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

MODULES = sorted((pathlib.Path(__file__).resolve().parents[2] / "plugins" / "modules").glob("[a-z]*.py"))
KEYS = ("type", "elements", "choices", "required", "default", "aliases")


def constants(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in found}


def spec(options):
    """The argument_spec that the documented options describe."""
    found = {}
    for name, option in options.items():
        found[name] = {key: option[key] for key in KEYS if key in option}
        if "suboptions" in option:
            found[name]["options"] = spec(option["suboptions"])
    return found


SPECS = {path.stem: spec(yaml.safe_load(constants(path)["DOCUMENTATION"])["options"]) for path in MODULES}
TASKS = [(path.stem, task) for path in MODULES for task in yaml.safe_load(constants(path)["EXAMPLES"])]


@pytest.mark.parametrize("module,task", TASKS, ids=[f"{module}: {task['name']}" for module, task in TASKS])
def test_an_example_is_what_the_modules_take(module, task):
    for action, arguments in task.items():
        name = action.rpartition(".")[2]
        if action.startswith("vmcore.kdump.") and name in SPECS:
            # A template's value is not known before it runs, nor is its type.
            templates = {key for key, value in (arguments or {}).items() if "{{" in str(value)}
            given = {key: value for key, value in (arguments or {}).items() if key not in templates}
            known = {
                key: dict(option, required=False) if key in templates else option for key, option in SPECS[name].items()
            }
            result = ArgumentSpecValidator(known).validate(given)
            assert result.error_messages == []


@pytest.mark.parametrize("module", SPECS)
def test_every_module_has_an_example_of_its_own(module):
    assert [task for name, task in TASKS if name == module and f"vmcore.kdump.{module}" in task]
