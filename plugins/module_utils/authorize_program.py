# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The server's part of propagate where the server is no host of the inventory: sent over ssh, and run by the account.

Private to this collection. boot.program_bytes makes a zip file of this module, in which the controller puts
request.json, the parameters of authorize.decide, and receive.pyz. Prints one JSON object; exit code 0.
"""

import json
import sys
import zipfile
from typing import Any, Dict, List

from . import authorize
from ._host.host import Host
from .problems import KdumpError, fail

# A program of its own, outside Ansible: what it has to say goes to its output.
# pylint: disable=ansible-bad-function

REQUEST = "request.json"
RECEIVER = "receive.pyz"


def main(arguments: List[str]) -> int:
    with zipfile.ZipFile(sys.argv[0]) as own:
        request = json.loads(own.read(REQUEST).decode("utf-8"))
        receiver = own.read(RECEIVER)
    try:
        result = run(Host(), request, receiver)
    except KdumpError as error:
        result = {"errors": [problem.as_dict() for problem in error.problems]}
    except OSError as error:
        hint = "Look at that file on the dump server: its owner, and whether the disk is full."
        problem = {"message": "The server's files could not be read or written: %s." % error, "hint": hint}
        result = {"errors": [dict(problem, option="", value="")]}
    print(json.dumps(result))
    return 0


def run(host: Any, request: Dict[str, Any], receiver: bytes) -> Dict[str, Any]:
    plan = authorize.decide(host, request, sys.executable, receiver)
    if not request["_check"]:
        plan.apply(host)
        if authorize.decide(host, request, sys.executable, receiver).changed:
            raise fail("The change on the server did not take.", "See what else writes its authorized_keys.")
    return dict(authorize.report(host, request), changed=plan.changed, actions=plan.actions, diff=plan.diff())
