# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the repository as its users shall find it: no file of one machine, nothing undocumented, no long function."""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
PREFERRED_LINES = 40
MOST_LINES = 50
HEADER = ["# Copyright: the vmcore.kdump authors", "# GNU General Public License v3.0+"]


def relative(path):
    return str(path.relative_to(ROOT))


def committed():
    """The files that git knows; where there is no git (an unpacked tarball), those of the directories that count."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git repository: which files are committed is not known")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def functions(path):
    """(name, lines) of each function, from `def` to its end; its docstring does not count."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            last = max(child.lineno for child in ast.walk(node) if hasattr(child, "lineno"))
            docstring = ast.get_docstring(node, clean=False) or ""
            yield node.name, last - node.lineno + 1 - len(docstring.splitlines())


def constant(path, name):
    """The text that a module gives to an upper-case name, None without one."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return None


def action_group():
    lines = (ROOT / "meta" / "runtime.yml").read_text("utf-8").partition("  kdump:\n")[2].splitlines()
    return [line.strip()[2:] for line in lines if line.strip().startswith("- ")]


def test_no_committed_file_says_where_it_was_written():
    """Neither where this checkout lies nor whose Python ran it."""
    places = [str(ROOT), str(pathlib.Path.home() / ".pyenv")]
    for path in committed():
        text = path.read_bytes().decode("utf-8", "replace")
        found = [place for place in places if place.count("/") > 1 and re.search(re.escape(place) + r"\b", text)]
        assert not found, "%s names %s" % (relative(path), found)


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_every_plugin_file_has_the_header(path):
    lines = path.read_text("utf-8").splitlines()
    if not lines:
        return  # a package's empty __init__.py
    lines = lines[1:] if lines[0] == "#!/usr/bin/python" else lines
    assert [line.startswith(start) for line, start in zip(lines, HEADER)] == [True, True]


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_functions_are_short(path):
    long = ["%s: %d lines" % (name, lines) for name, lines in functions(path) if lines > MOST_LINES]
    assert not long, "at most %d, better %d: %s" % (MOST_LINES, PREFERRED_LINES, ", ".join(long))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_is_documented(path):
    for name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        assert (constant(path, name) or "").strip(), "%s lacks %s" % (path.name, name)
    documentation = constant(path, "DOCUMENTATION")
    assert "\nmodule: %s\n" % path.stem in documentation
    assert "\nauthor: The vmcore.kdump authors (@vmcore)\n" in documentation
    assert "- vmcore.kdump.attributes" in documentation
    assert "vmcore.kdump.%s:" % path.stem in constant(path, "EXAMPLES"), "an example calls the module by its full name"


def test_the_action_group_holds_every_module():
    assert action_group() == [path.stem for path in MODULES]


def test_every_action_plugin_has_its_module():
    actions = {path.stem for path in (ROOT / "plugins" / "action").glob("*.py")}
    assert actions <= {path.stem for path in MODULES}


def test_the_version_is_the_same_everywhere():
    version = re.search(r"^version: (\S+)$", (ROOT / "galaxy.yml").read_text("utf-8"), re.MULTILINE).group(1)
    changelog = (ROOT / "changelogs" / "changelog.yaml").read_text("utf-8")
    assert "  %s:\n" % version in changelog
    assert "## v%s" % version in (ROOT / "CHANGELOG.md").read_text("utf-8").replace("\\.", ".")
