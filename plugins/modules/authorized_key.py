#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lets a host's key deliver dumps, on the dump server itself."""

DOCUMENTATION = r"""
---
module: authorized_key
short_description: Let a host's key deliver dumps, on the dump server
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Puts the public key of a host into C(authorized_keys) of the account that takes dumps, with C(restrict) and the receiver as
    its forced command, so that the key can do nothing but deliver dumps into the directory of that host.
  - Runs on the dump server as root, for the most part by C(delegate_to). M(vmcore.kdump.propagate) does the rest.
  - The file is changed under a lock and replaced whole, so that any number of hosts may do it at once. A line that has the key
    already, with the comment that a key made on the host has (C(user@host)), becomes this one, and keeps its C(from=) and
    C(expiry-time=). A key that stands there by another line, of another host or of whoever, is refused. All other lines stay
    as they are.
  - If the role vmcore.kdump.server has set up the server for this account, its receiver is the command; elsewhere one is put
    into the account's home, and O(path) is where it puts the dumps.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  state:
    description:
      - V(present) lets the keys in, V(absent) takes them away, with all other keys of that host.
    type: str
    choices: [present, absent]
    default: present
  user:
    description: The account that takes dumps.
    type: str
    required: true
  name:
    description:
      - The host's name, as O(vmcore.kdump.propagate#module:name).
      - A key that this server takes from a host of another name is refused. Other keys of a host of this name are kept, with a
        warning, but for O(exclusive=true).
    type: str
    required: true
  public_keys:
    description: The host's keys, each as in a file C(.pub).
    type: list
    elements: str
    default: []
  path:
    description: The directory of the dumps, on a server that no role has set up. The account has to be able to write there.
    type: str
    default: /var/crash
  exclusive:
    description: Take away the other keys of this host, which a rotation or a new installation of the host has left.
    type: bool
    default: false
  receiver:
    description: Whether the receiver is the key's forced command. With V(false) its line has C(restrict) alone.
    type: bool
    default: true
seealso:
  - module: vmcore.kdump.propagate
"""

EXAMPLES = r"""
- name: Let a host deliver its dumps to the server `dumps`
  vmcore.kdump.authorized_key:
    user: kdump
    name: db1
    public_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx
  delegate_to: dumps

- name: Let a host that is gone deliver no more
  vmcore.kdump.authorized_key:
    user: kdump
    name: db1
    state: absent
  delegate_to: dumps
"""

RETURN = r"""
host_keys:
  description: The keys by which the server's sshd is known, for O(vmcore.kdump.propagate#module:host_keys).
  returned: success
  type: list
  elements: str
authorized_keys:
  description: The file. Empty in check mode, if there is no such account yet.
  returned: success
  type: str
  sample: /home/kdump/.ssh/authorized_keys
others:
  description: How many other keys of that host there are in it.
  returned: success
  type: int
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
errors:
  description: Everything that is wrong, each with its remedy, as RV(vmcore.kdump.propagate#module:errors).
  returned: failure
  type: list
  elements: dict
"""

import sys

from ansible_collections.vmcore.kdump.plugins.module_utils import authorize, boot, receiver
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import fail


def main():
    def decide(host, params):
        if not params["user"]:  # the program's word for its own account, which is root here
            raise fail("No account is named.", "Name the one that takes dumps.", "user")
        return authorize.decide(host, params, sys.executable, boot.program_bytes(receiver.__name__))

    run_state(
        dict(
            state=dict(type="str", choices=["present", "absent"], default="present"),
            user=dict(type="str", required=True),
            name=dict(type="str", required=True),
            public_keys=dict(type="list", elements="str", default=[]),
            path=dict(type="str", default="/var/crash"),
            exclusive=dict(type="bool", default=False),
            receiver=dict(type="bool", default=True),
        ),
        decide,
        authorize.report,
    )


if __name__ == "__main__":
    main()
