# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes this checkout importable as ansible_collections.vmcore.kdump, wherever it lies and with or without ansible."""

import os
import pathlib
import shutil
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _namespace(name: str, path: str) -> None:
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


if not any(parent.name == "ansible_collections" for parent in ROOT.parents):
    _namespace("ansible_collections", str(ROOT.parent))
    _namespace("ansible_collections.vmcore", str(ROOT.parent))
    _namespace("ansible_collections.vmcore.kdump", str(ROOT))

if "pytest" in sys.modules:  # programs that tests start import this file for the above alone
    import hypothesis
    import pytest

    # The machines that this runs on are shared: no test may fail for its time.
    for name, examples in (("quick", 25), ("thorough", 400)):
        hypothesis.settings.register_profile(
            name,
            deadline=None,
            max_examples=examples,
            suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
        )
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

    # Hundreds of made-up machines, each of a hundred files: in memory, where programs may be run from there. A disk's file
    # system took three times the system's CPU time.
    MEMORY = "/dev/shm"
    if os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)

    @pytest.fixture
    def tmp_path(tmp_path):
        """pytest's own, which goes with its test: pytest would keep those of three runs."""
        yield tmp_path
        shutil.rmtree(str(tmp_path), ignore_errors=True)
