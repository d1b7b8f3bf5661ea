# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What holds for all tests: those marked `long` are for `make test-all`."""

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("long") and os.environ.get("VMCORE_KDUMP_ALL") != "yes":
            item.add_marker(pytest.mark.skip(reason="`make test-all` runs it"))
