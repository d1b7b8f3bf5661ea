# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program that a host sends to a dump server that has none of this collection's. Private to this collection.

boot.program_bytes makes a zip file of this module and all that it imports; remote_dumps.py feeds it to a Python there.
"""

import json
from typing import List

from . import dumps
from ._host.host import Host

# A program of its own, outside Ansible: what it has to say goes to its output.
# pylint: disable=ansible-bad-function


def main(arguments: List[str]) -> int:
    """Print the dumps in a directory as JSON; arguments: directory, how many, marker, `deep` or nothing, dumps.Owner as JSON."""
    directory, most, marker, deep, owner = arguments
    found = dumps.listed(Host(), directory, int(most), marker, deep == "deep", dumps.Owner(*json.loads(owner)))
    print(json.dumps(found, sort_keys=True))
    return 0
