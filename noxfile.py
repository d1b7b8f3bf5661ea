# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checks and the environments they run in; the Makefile says which run when. `nox --list` shows them."""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess

import nox
from nox.command import CommandFailed

ROOT = pathlib.Path(__file__).parent
ALL = os.environ.get("VMCORE_KDUMP_ALL") == "yes"
WORK = ROOT / ".work"
OLDEST_CORE = "ansible-core~=2.16.0"
NEWEST_CORE = "ansible-core==2.21.5"
MODULE_PYTHONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
PACKAGE = ["plugins", "lab", "benchmarks", "tests", "noxfile.py"]

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def interpreter(version):
    """The path of a Python X.Y that really runs, on PATH or of pyenv, whose shims may stand for one that does not."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        argv = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() == version:
            return str(candidate)
    return None


FOUND = {version: interpreter(version) for version in MODULE_PYTHONS}
PYTHONS = {version: path for version, path in FOUND.items() if path}
NEWEST = list(PYTHONS)[-1]
# The requirement, its own Python, and that of the hosts.
CORES = {"2.16": (OLDEST_CORE, "3.11", "3.6"), "newest": (NEWEST_CORE, NEWEST, NEWEST)}


def needs(session, version):
    """The interpreter of a Python; without it the session fails. Only with 3.14 it is left out, and says so."""
    if version == "3.14" and version not in PYTHONS:
        session.skip("There is no Python 3.14 here: the check with it is LEFT OUT (docs/verification.md).")
    if version not in PYTHONS:
        session.error(f"There is no Python {version} here: install it, for example with `pyenv install {version}`.")
    return PYTHONS[version]


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
    """The Python of an environment, made anew when its requirements change.

    Not nox's own: virtualenv no longer knows Python 3.6.
    """
    path = ROOT / ".nox" / name
    wanted = "\n".join((ROOT / word).read_text() if word.endswith(".txt") else word for word in requirements)
    WORK.mkdir(exist_ok=True)
    with open(WORK / f"{name}.lock", "w") as lock:  # `make test` runs sanity and integration beside each other
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_of = path / "made-of"
        if not made_of.exists() or made_of.read_text() != wanted:
            shutil.rmtree(path, ignore_errors=True)
            session.run(needs(session, version), "-m", "venv", str(path), external=True)
            install = [str(path / "bin" / "python"), "-m", "pip", "install", "-q"]
            if version == "3.6":  # its own pip 18 takes the newest of everything, also what needs a newer Python
                session.run(*install, "pip==21.3.1", external=True)
            session.run(*install, *requirements, external=True)
            made_of.write_text(wanted)
    return path / "bin" / "python"


def tests(session, python, name, folder, *options, env=None):
    """Runs pytest, its five slowest tests named; tests/summary.py counts from the report."""
    report = f"--junit-xml={WORK / 'reports' / name}.xml"
    argv = [str(python), "-m", "pytest", "-q", "--durations=5", report, *options, folder, *session.posargs]
    session.run(*argv, env=env, external=True)


def run_each(session, *commands, env=None):
    """Runs all of the commands, also after one has failed."""
    failed = []
    for command in commands:
        try:
            session.run(*command, env=env)
        except CommandFailed:
            failed.append(command[0])
    if failed:
        session.error("failed: " + ", ".join(failed))


def install_collection(session, name):
    """Builds the tarball and installs it, as a user would; returns the collections path."""
    path = WORK / name
    shutil.rmtree(path, ignore_errors=True)
    return session.run("python", "-m", "lab", "collection", str(path), silent=True).splitlines()[-1]


@nox.session(python=PYTHONS[NEWEST])
def lint(session):
    """ruff, mypy, vermin, yamllint, ansible-lint (production profile), the changelog's fragments."""
    session.install("-r", "requirements/lint.txt")
    collections = install_collection(session, "lint")
    run_each(
        session,
        ["ruff", "check", *PACKAGE],
        ["ruff", "format", "--check", *PACKAGE],
        ["vermin", "--quiet", "-t=3.6-", "--no-tips", "--violations", "plugins/modules", "plugins/module_utils"],
        ["mypy", "--no-error-summary", "-p", "plugins.module_utils", "-p", "lab", "-p", "tests", "-p", "benchmarks"],
        ["antsibull-changelog", "lint"],
        ["ansible-lint"],
        env={"ANSIBLE_COLLECTIONS_PATH": collections},
    )


@nox.session(python=False)
@nox.parametrize("version", MODULE_PYTHONS)
def unit(session, version):
    """The unit tests on one Python."""
    chosen = version in (MODULE_PYTHONS[0], NEWEST) or ALL
    if not chosen and not session.posargs:
        session.skip("`make test-all` runs the unit tests on this Python.")
    needs(session, version)
    python = environment(session, f"unit-{version}", version, "-r", "requirements/unit.txt")
    # The shells that run /init know nothing of this Python: once is enough.
    left_out = [] if version == NEWEST or ALL else ["--ignore=tests/unit/test_image_init.py"]
    workers = f"--numprocesses={2 * (os.cpu_count() or 1)}"  # some tests wait for what takes its time
    tests(session, python, f"unit-{version}", "tests/unit", workers, *left_out)


@nox.session(python=False)
@nox.parametrize("core", list(CORES))
def sanity(session, core):
    """ansible-test sanity, with nothing ignored, by the oldest ansible-core that is supported and by the newest."""
    requirement, version, hosts = CORES[core]
    python = environment(session, f"core-{core}", version, requirement, "pytest", "-r", "requirements.txt")
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
    for source in python.parents[1].rglob("ansible_test/_internal/python_requirements.py"):
        for pip_version in re.findall(r"pip='([\d.]+)'", source.read_text()):
            shutil.copy(ROOT / "tests" / "get_pip.py", cache / f"get_pip_{pip_version.replace('.', '_')}.py")
    folders = [python.parent, *(pathlib.Path(other).parent for other in PYTHONS.values())]
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    env = {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8"}
    with session.chdir(target):
        # Its own requirements come from PyPI into environments of its own.
        argv = [str(python.parent / "ansible-test"), "sanity", "--requirements", "--color", "no", *SANITY_SKIPPED]
        # Importing on each Python is what takes its time: of the oldest core the oldest Python, of the newest the newest.
        runs = [["--test", "import", "--python", hosts]]
        if core == "newest":  # what the other tests find with the oldest, they find with it, too
            runs.insert(0, ["--skip-test", "import"])
        for more in [session.posargs] if ALL or session.posargs else runs:
            session.run(*argv, *more, env=env, external=True)


# It looks at PowerShell, of which there is none, and needs it.
SANITY_SKIPPED = ["--skip-test", "pslint"]


@nox.session(python=False)
@nox.parametrize("core", list(CORES))
def integration(session, core):
    """The installed tarball's modules, run by a real ansible-playbook; those of 2.16 under Python 3.6."""
    requirement, version, hosts = CORES[core]
    python = environment(session, f"core-{core}", version, requirement, "pytest", "-r", "requirements.txt")
    env = {
        "PATH": str(python.parent) + os.pathsep + os.environ["PATH"],
        "KDUMP_TARGET_PYTHON": PYTHONS[hosts],
        "KDUMP_WORK": str(WORK / f"integration-{core}"),
    }
    left_out = [f"--ignore-glob=*/{name}" for name in LEFT_OUT[core]]
    tests(session, python, f"integration-{core}", "tests/integration", *left_out, env=env)


LEFT_OUT = {
    # Real shells, sshd, networks and file systems, and no ansible-playbook: once is enough.
    "2.16": ["test_network.py", "test_capture_flow.py", "test_image_ssh.py"],
    "newest": [],
}
if not ALL:  # once each; of the last three tests/vm goes the main ways with the newest
    LEFT_OUT["2.16"] += ["test_migration.py", "test_remote_dumps.py"]
    LEFT_OUT["newest"] += ["test_propagate.py", "test_server.py", "test_receiver.py"]


@nox.session(python=PYTHONS[NEWEST])
def vm(session):
    """Guests that really crash: molecule's scenarios and tests/vm."""
    session.install("-r", "requirements/molecule.txt")
    session.run("python", "-m", "lab", "deps")
    report = f"--junit-xml={WORK / 'reports' / 'vm'}.xml"
    session.run("python", "-m", "pytest", "-v", "-s", "--durations=0", report, "tests/vm", *session.posargs)
