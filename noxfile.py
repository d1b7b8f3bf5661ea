# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checks and the environments they run in; the Makefile says which run when. `nox --list` shows them."""

import os
import pathlib
import re
import shutil
import subprocess

import nox

ROOT = pathlib.Path(__file__).parent
WORK = ROOT / ".work"
OLDEST_CORE = "ansible-core~=2.16.0"
NEWEST_CORE = "ansible-core==2.21.5"
MODULE_PYTHONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
PACKAGE = ["plugins", "lab", "benchmarks", "tests", "noxfile.py"]
PLAYBOOKS = ["roles", "playbooks", "molecule"]

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def interpreter(version):
    """The path of a Python X.Y that really runs: on PATH, or one of pyenv's, whose shims may name what is not chosen."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        argv = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() == version:
            return str(candidate)
    return None


PYTHONS = {version: found for version in MODULE_PYTHONS if (found := interpreter(version))}


NEWEST = list(PYTHONS)[-1]
CORES = {"2.16": (OLDEST_CORE, "3.11"), "newest": (NEWEST_CORE, NEWEST)}


def needs(session, version):
    """The interpreter of a Python; without it the session fails. Only for 3.14 it is left out, and says so loudly."""
    if version in PYTHONS:
        return PYTHONS[version]
    if version != "3.14":
        session.error(f"There is no Python {version} here: install it, for example with `pyenv install {version}`.")
    session.warn("There is no Python 3.14 here: the check with it is LEFT OUT (docs/verification.md).")
    return None


def tree(session, name):
    """A copy of the working tree, uncommitted files included, where ansible-test wants it: no symbolic link will do."""
    target = WORK / name / "ansible_collections" / "vmcore" / "kdump"
    shutil.rmtree(WORK / name, ignore_errors=True)
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for file in subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"):
        if file and (ROOT / file).exists():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target / file)
    session.run("git", "init", "--quiet", str(target), external=True)
    session.run("git", "-C", str(target), "add", "--all", external=True)
    return target


def environment(session, name, version, *requirements):
    """The Python of an environment that is made once. Not nox's own: virtualenv no longer knows Python 3.6."""
    path = ROOT / ".nox" / name
    if not (path / "complete").exists():
        shutil.rmtree(path, ignore_errors=True)
        session.run(needs(session, version), "-m", "venv", str(path), external=True)
        session.run(str(path / "bin" / "python"), "-m", "pip", "install", "-q", *requirements, external=True)
        (path / "complete").touch()
    return path / "bin" / "python"


def install_collection(session, name):
    """Builds the tarball and installs it, as a user would; returns the collections path."""
    path = WORK / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    session.run("ansible-galaxy", "collection", "build", "--force", "--output-path", str(path), silent=True)
    tarball = next(path.glob("vmcore-kdump-*.tar.gz"))
    argv = ["ansible-galaxy", "collection", "install", str(tarball), "--offline", "-p", str(path / "collections")]
    session.run(*argv, silent=True)
    return path / "collections"


@nox.session(python=PYTHONS[NEWEST])
def lint(session):
    """ruff, mypy, vermin, yamllint, ansible-lint (production profile), the changelog's fragments."""
    session.install("-r", "requirements/lint.txt")
    session.run("ruff", "check", *PACKAGE)
    session.run("ruff", "format", "--check", *PACKAGE)
    session.run("vermin", "--quiet", "-t=3.6-", "--no-tips", "--violations", "plugins/modules", "plugins/module_utils")
    session.run("mypy", "--no-error-summary", "-p", "plugins.module_utils", "-p", "lab")
    session.run("antsibull-changelog", "lint")
    collections = install_collection(session, "lint")
    session.run("ansible-lint", "--offline", "--profile", "production", env={"ANSIBLE_COLLECTIONS_PATH": str(collections)})


@nox.session(python=False)
@nox.parametrize("version", MODULE_PYTHONS)
def unit(session, version):
    """The unit tests on one Python. module_utils, which runs on managed nodes, on every supported one."""
    if not needs(session, version):
        return
    python = environment(session, f"unit-{version}", version, "-r", "requirements/unit.txt")
    session.run(str(python), "-m", "pytest", "-q", "--durations=5", "tests/unit", *session.posargs, external=True)


@nox.session(python=False)
@nox.parametrize("core", list(CORES))
def sanity(session, core):
    """ansible-test sanity, with nothing ignored, by the oldest ansible-core that is supported and by the newest."""
    requirement, version = CORES[core]
    python = environment(session, f"core-{core}", version, requirement, "pytest")
    target = tree(session, f"sanity-{core}")
    # ansible-test downloads get-pip.py from where not everybody gets, unless it finds it there.
    home = WORK / "home"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for configuration in (".config/pip", ".pip"):
        link = home / configuration
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(pathlib.Path("~").expanduser() / configuration)
    source = "".join(path.read_text() for path in python.parents[1].rglob("ansible_test/_internal/python_requirements.py"))
    for pip_version in re.findall(r"pip='([\d.]+)'", source):
        shutil.copy(ROOT / "tests" / "get_pip.py", cache / f"get_pip_{pip_version.replace('.', '_')}.py")
    with session.chdir(target):
        # Its own requirements come from PyPI into environments of its own.
        argv = ["sanity", "--requirements", "--color", "no", *SANITY_SKIPPED, *session.posargs]
        folders = [python.parent, *(pathlib.Path(other).parent for other in PYTHONS.values())]
        env = {"PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]]), "HOME": str(home), "LC_ALL": "C.UTF-8"}
        session.run(str(python.parent / "ansible-test"), *argv, env=env, external=True)


# Sanity tests that need what a registry of packages does not have; docs/verification.md says what is done instead.
SANITY_SKIPPED = ["--skip-test", "pslint"]


@nox.session(python=False)
@nox.parametrize("core", list(CORES))
def integration(session, core):
    """The installed tarball's modules, run by a real ansible-playbook; those of 2.16 under Python 3.6."""
    requirement, version = CORES[core]
    python = environment(session, f"core-{core}", version, requirement, "pytest")
    target = PYTHONS["3.6"] if core == "2.16" else PYTHONS[NEWEST]
    env = {
        "PATH": str(python.parent) + os.pathsep + os.environ["PATH"],
        "KDUMP_TARGET_PYTHON": target,
        "KDUMP_WORK": str(WORK / f"integration-{core}"),
    }
    argv = ["-m", "pytest", "-q", "--durations=5", "tests/integration", *session.posargs]
    session.run(str(python), *argv, env=env, external=True)


@nox.session(python=PYTHONS[NEWEST])
def vm(session):
    """Guests that really crash: molecule's scenarios and tests/vm."""
    session.install("-r", "requirements/molecule.txt")
    session.run("python", "-m", "lab", "deps")
    session.run("python", "-m", "pytest", "-v", "-s", "--durations=0", "tests/vm", *session.posargs)
