#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's part of propagate; plugins/action/propagate.py does the rest."""

DOCUMENTATION = r"""
---
module: propagate
short_description: Bring a host's ssh key to its dump server, pin the server's keys, and try the login
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - What C(kdumpctl propagate) does, without questions. The host gets a key, where it has none. The server lets that key in,
    for nothing but to deliver dumps (C(restrict), and a forced command). The server's host keys are pinned on the host.
    Then the host logs in as its capture kernel will, with the same options of ssh.
  - If that login works already and is held to the receiver, nothing else is done, and nothing of the server is needed.
  - The server's part is done from the controller, over an ssh connection of its own with O(password), or with the keys and
    the agent of whoever runs Ansible. This needs the Python package C(paramiko) on the controller. If the server is a host of
    the inventory, set O(server_part) instead, and let M(vmcore.kdump.authorized_key) do it there.
  - Any number of hosts may do this at once. The server's file is changed under a lock and replaced whole.
  - A password is in no file, no log, no result and no command line.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  state:
    description:
      - V(absent) takes the host's lines from the server, and from the host the pinned keys that this module has put there.
    type: str
    choices: [present, absent]
    default: present
  server:
    description:
      - Name or address of the dump server, as it stands in kdump.conf.
      - Required, as is O(user), where the controller does the server's part. With another O(server_part) both may be left out,
        and are those of C(ssh) in C(/etc/kdump.conf) then.
    type: str
    default: ""
  user:
    description: The account on the server.
    type: str
    default: ""
  key:
    description:
      - The private key on the host. An ed25519 key (in FIPS mode an ECDSA key) without a passphrase is made if there is none.
        Without it, C(sshkey) of C(/etc/kdump.conf) or kdump's own default, C(/root/.ssh/kdump_id_rsa).
    type: str
    default: ""
  path:
    description:
      - The directory of the dumps on a server that the role vmcore.kdump.server has not set up. The receiver is put into the
        account's home there. Without it, C(path) of C(/etc/kdump.conf).
    type: str
    default: ""
  name:
    description:
      - What the host is called on the server, and its directory of dumps there. Without it, its name in the inventory.
        Characters that such a name cannot have are replaced.
      - It has to be one host's alone on that account. Two hosts of one name, as the inventories of two controllers may have,
        share a directory there; that looks like a host that was installed anew, and is a warning.
    type: str
    default: ""
  password:
    description: The account's password, for this one time. Without it the controller's own keys and agent are tried.
    type: str
  address:
    description: Where the controller reaches the server, if that is another name or address than O(server).
    type: str
    default: ""
  host_keys:
    description:
      - The server's host keys, each as C(ssh-ed25519 AAAA…). If the host knows the server by others, they are replaced.
      - Without it, the keys that are pinned already stay as long as the server shows one of them. If it does not, or there are
        none, the one is pinned that the controller itself knows the server by.
    type: list
    elements: str
    default: []
  accept_new:
    description:
      - Trust on first use. If no key of the server is pinned on the host, take the ones that it shows, which nobody vouches
        for. A key that has changed is not accepted by this.
      - The controller takes the host's word for them at port 22 alone. At another port it has to know the key itself, or
        O(host_keys) has to be given.
    type: bool
    default: false
  rotate:
    description:
      - Replace the host's key. The new one is brought to the server and has logged in before it takes the old one's place.
      - The capture kernel that is loaded still uses the old one. So the old key's line on the server stays, until a run with
        O(exclusive=true). Build the image and load it in between.
    type: bool
    default: false
  exclusive:
    description: Take all other keys of this host from the server's file, when the login with the present one works.
    type: bool
    default: false
  remove_key:
    description: With O(state=absent), remove the host's key too, if this module has made it.
    type: bool
    default: false
  receiver:
    description:
      - Whether the server is to hold the key to the receiver. With V(false) the key may run any command of the account there
        (its line has C(restrict) alone), as Debian's kdump-tools needs it, whose dumps the receiver does not know.
    type: bool
    default: true
  server_part:
    description:
      - Who does the server's part. V(controller) is this module, from the controller.
      - V(later) and V(done) are the two runs of this module before and after the server's part, which another task does.
    type: str
    choices: [controller, later, done]
    default: controller
notes:
  - Runs on the controller as an action plugin; the module of the same name does the host's part.
  - The port, and the files of known hosts, are those of ssh's configuration on the host (C(ssh -G)).
  - In check mode nothing is made, on either side. For a host that has no key yet, the server is not asked.
seealso:
  - module: vmcore.kdump.authorized_key
  - module: vmcore.kdump.info
"""

EXAMPLES = r"""
- name: Bring the key to a server whose host key the controller knows
  vmcore.kdump.propagate:
    server: dumps.example.com
    user: kdump
    password: "{{ vault_kdump_password }}"

- name: The same, all of it given
  vmcore.kdump.propagate:
    server: dumps.example.com
    user: kdump
    key: /root/.ssh/kdump
    path: /srv/dumps
    host_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx
    password: "{{ vault_kdump_password }}"

- name: Take another key into use
  vmcore.kdump.propagate:
    server: dumps.example.com
    user: kdump
    rotate: true

# A server that is a host of the inventory: three tasks, of which the first alone runs once all is as it shall be.
- name: Give the host a key, and see whether the server takes it
  vmcore.kdump.propagate:
    server: dumps.example.com
    user: kdump
    server_part: later
  register: key

- name: Let the server take it
  vmcore.kdump.authorized_key:
    user: kdump
    name: "{{ inventory_hostname }}"
    public_keys: "{{ key.public_keys }}"
    path: "{{ key.directory }}"
  delegate_to: dumps
  register: server
  when: not key.settled and key.public_keys | length > 0

- name: Pin the server's keys, and log in as the capture kernel will
  vmcore.kdump.propagate:
    server: dumps.example.com
    user: kdump
    host_keys: "{{ server.host_keys }}"
    server_part: done
  when: server is not skipped
"""

RETURN = r"""
public_key:
  description: The public half of the host's key. Empty in check mode, if there is none yet.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPm0QxWwJ1Zb1n4hjx4UqG0eo0sv0PStLqkY4ZPW8Xx vmcore.kdump db1
fingerprint:
  description: Its fingerprint, as C(ssh-keygen -l) shows it.
  returned: success
  type: str
  sample: SHA256:hYSJyHcpBm3D2fWbnVWJqIkRzXJPGkBLNFCbHJ0yUE4
public_keys:
  description: All that the server is to accept. During a rotation that is the key in use and the one to follow.
  returned: success
  type: list
  elements: str
host_keys:
  description: The server's keys that are pinned on the host.
  returned: success
  type: list
  elements: str
verified:
  description: Whether the host has logged in as its capture kernel will.
  returned: success
  type: bool
restricted:
  description: Whether that login was held to the receiver, so that the key can do nothing but deliver dumps.
  returned: success
  type: bool
settled:
  description: Whether the login was as it is to be, so that nothing has to be done on the server.
  returned: success
  type: bool
login:
  description:
    - How the login went. V(receiver) and V(shell) are good; V(denied), the server does not take the key; V(unknown), its host
      key is not the one that is pinned; V(refused), its receiver refuses; V(unreachable). Empty if it was not tried.
  returned: success
  type: str
  sample: receiver
name:
  description: What the host is called on the server.
  returned: success
  type: str
user:
  description: The account.
  returned: success
  type: str
server:
  description: The server.
  returned: success
  type: str
port:
  description: Its port.
  returned: success
  type: int
directory:
  description: The directory of the dumps, as O(path).
  returned: success
  type: str
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
errors:
  description: Everything that is wrong, each with its remedy.
  returned: failure
  type: list
  elements: dict
  contains:
    option:
      description: The option that it is about.
      type: str
    value:
      description: Its value.
      type: str
    message:
      description: What is wrong.
      type: str
    hint:
      description: What to do about it.
      type: str
"""

from ansible_collections.vmcore.kdump.plugins.module_utils import propagate
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state


def main():
    there = []  # whether there was a key before: one that has just been made is not rotated

    def decide(host, params):
        there.append(propagate.has_key(host, params))
        return propagate.decide(host, dict(params, rotate=params["rotate"] and there[0]))

    def report(host, params):
        return propagate.report(host, dict(params, _new=not there[0]))

    run_state(
        dict(
            state=dict(type="str", choices=["present", "absent"], default="present"),
            server=dict(type="str", default=""),
            user=dict(type="str", default=""),
            key=dict(type="str", default="", no_log=False),  # a path
            path=dict(type="str", default=""),
            name=dict(type="str", default=""),
            password=dict(type="str", no_log=True),  # the action plugin keeps it for itself
            address=dict(type="str", default=""),
            host_keys=dict(type="list", elements="str", default=[], no_log=False),
            accept_new=dict(type="bool", default=False),
            rotate=dict(type="bool", default=False),
            exclusive=dict(type="bool", default=False),
            remove_key=dict(type="bool", default=False),
            receiver=dict(type="bool", default=True),
            server_part=dict(type="str", choices=["controller", "later", "done"], default="controller"),
        ),
        decide,
        report,
    )


if __name__ == "__main__":
    main()
