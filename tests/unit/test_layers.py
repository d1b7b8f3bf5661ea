# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Holds the import rule of docs/architecture.md by reading the imports."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
UTILS = ROOT / "plugins" / "module_utils"
FILES = sorted(UTILS.rglob("*.py"))
# Modules that reach outside the process. os.path and pathlib count: a path is asked of the Host.
PROGRAMS = ("program", "receiver", "authorize_program", "lister")
IMPURE = {"os", "subprocess", "shutil", "pathlib", "tempfile", "glob", "socket", "ctypes", "fcntl", "time", "platform"}
IMPURE |= {"signal", "mmap", "sys", "logging", "random", "threading", "multiprocessing"}


def imports(path):
    """The imported names of a file: absolute ones as written, relative ones resolved to `module_utils.…`."""
    package = ("module_utils",) + path.relative_to(UTILS).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (base + (node.module or "")).strip(".")
            for alias in node.names:
                yield module + "." + alias.name


def layer(path):
    parts = path.relative_to(UTILS).parts
    if parts[0] == "_host":
        return "host"
    return {"_module.py": "module", **{name + ".py": "program" for name in PROGRAMS}}.get(parts[0], "domain")


def relative(path):
    return str(path.relative_to(UTILS))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_downward(path):
    for name in imports(path):
        top = name.split(".")[0]
        if layer(path) != "module":
            assert top not in ("ansible", "ansible_collections"), "%s imports %s" % (path, name)
            assert not name.startswith("module_utils._module"), "%s imports %s" % (path, name)
        if layer(path) == "host":
            assert not name.startswith("module_utils.") or name.startswith("module_utils._host"), name
        if layer(path) == "domain":
            assert top not in IMPURE, "%s imports %s" % (path, name)
            assert not name.startswith("module_utils._host"), "%s imports %s" % (path, name)
            assert name.split(".")[1:2] not in [[name] for name in PROGRAMS], "%s imports %s" % (path, name)


@pytest.mark.parametrize("path", [file for file in FILES if layer(file) == "domain"], ids=relative)
def test_pure_files_do_not_open_files(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "input", "print", "exec", "eval"), "%s:%d" % (path, node.lineno)
