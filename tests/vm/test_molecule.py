# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Scenarios that a contributor runs by hand, whole; nfs, raw and faults crash what test_targets.py crashes."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["default", "ssh"])
def test_molecule(programs, scenario):
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([str(programs / "molecule"), "test", "-s", scenario], cwd=ROOT, env=environment, check=True)
