#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module server."""

DOCUMENTATION = r"""
module: server
short_description: What makes a dump server of a host
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Installs the receiver, a program of one file that is the forced command of each host's key. It takes what kdumpctl and
    this collection's captures send, writes below that host's own directory alone, and overwrites, removes and reads nothing.
  - Writes what it goes by, the timer that removes what is not to be kept, what sshd is told of the account, and the exports.
    What sshd or the NFS server refuse is taken back.
  - The role P(vmcore.kdump.server#role) uses it, and makes the account, its home and the directories with Ansible's own
    modules. M(vmcore.kdump.propagate) brings the hosts' keys.
extends_documentation_fragment:
  - vmcore.kdump.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - V(absent) removes what this module has written. The account and the dumps stay.
    type: str
    choices: [present, absent]
    default: present
  user:
    description: The account that takes dumps. It has to be there.
    type: str
    default: kdump
  root:
    description:
      - The directory that holds a directory for each host. It has to be there, and be the account's. What others use too
        (V(/srv), V(/var)) and what is the system's (V(/usr), V(/etc)) is refused.
    type: path
    default: /srv/vmcore-kdump
  quota_host:
    description:
      - How much one host may keep here, a number with V(K), V(M), V(G) or V(T) (units of 1024), such as V(500G). V(0) is no
        limit. A dump that comes over ssh ends where this is reached, and what has come of it stays.
    type: str
    default: '0'
  quota_total:
    description:
      - The same for all hosts together. Hosts that dump at once may exceed it by 64 MiB each.
    type: str
    default: '0'
  min_free:
    description: How much of the file system stays free while dumps come over ssh.
    type: str
    default: 1G
  connections:
    description: How many connections one host may have at once.
    type: int
    default: 4
  idle:
    description:
      - After how many seconds without a byte a connection ends. A makedumpfile looks at a big machine's memory for minutes
        before it writes anything.
    type: int
    default: 1800
  keep_count:
    description:
      - How many dumps of each host are kept, the newest. V(0) is all. Neither this nor the next two ever remove a dump that
        may still be coming (changed within two hours), the newest dump of a host, or its newest whole one.
    type: int
    default: 0
  keep_days:
    description: For how many days dumps are kept. V(0) is for ever.
    type: int
    default: 0
  keep_free:
    description:
      - How much of the file system shall be free. While it is less, the host whose dumps hold most loses its oldest one.
        V(0) is no such rule.
    type: str
    default: '0'
  nfs:
    description:
      - What is exported over NFS. The keys are names of hosts, which are those of their directories below O(root), the values
        lists of the clients that may write there, as C(exports(5)) has them. The directories have to be there.
      - Over NFS a host can change and remove what it has dumped, and no quota holds.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Take dumps over ssh
  vmcore.kdump.server:
    quota_host: 500G
    keep_count: 5

- name: Take the dumps of one host over NFS as well
  vmcore.kdump.server:
    nfs:
      web1.example.org: [192.0.2.11]

- name: Take no more dumps
  vmcore.kdump.server:
    state: absent
"""

RETURN = r"""
program:
  description: The receiver, as it is now. In check mode, as it was found.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is.
      type: str
      sample: /usr/local/lib/vmcore-kdump/receive.pyz
    digest:
      description: The sha256 of its bytes. Empty if it is not installed.
      type: str
settings:
  description: What it goes by, sizes in bytes. Null if there is no such file, or none that can be understood.
  returned: success
  type: dict
  sample:
    root: /srv/vmcore-kdump
    quota_host: 536870912000
    quota_total: 0
    min_free: 1073741824
    connections: 4
    idle: 1800
    keep_count: 5
    keep_days: 0
    keep_free: 0
exports:
  description: The directories that are exported over NFS.
  returned: success
  type: list
  elements: str
  sample: [/srv/vmcore-kdump/web1.example.org]
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [write /usr/local/lib/vmcore-kdump/receive.pyz, write /etc/vmcore-kdump/server.json]
errors:
  description: Everything that was wrong.
  returned: failure
  type: list
  elements: dict
  contains:
    message:
      description: What is wrong, as a sentence.
      type: str
    hint:
      description: What to do about it.
      type: str
    option:
      description: The module option it concerns, if any.
      type: str
    value:
      description: The value that was found there.
      type: str
"""

import sys

# `receiver` is not called here: naming it makes Ansible ship it and all that it imports, of which server makes its file.
from ansible_collections.vmcore.kdump.plugins.module_utils import receiver, server
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state


def decide(host, params):
    exports = {
        str(name): clients if isinstance(clients, list) else [clients] for name, clients in params["nfs"].items()
    }
    params["nfs"] = {name: [str(client) for client in clients] for name, clients in exports.items()}
    return server.decide(host, params, sys.executable, receiver.__name__)


def main():
    run_state(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "user": {"type": "str", "default": "kdump"},
            "root": {"type": "path", "default": "/srv/vmcore-kdump"},
            "quota_host": {"type": "str", "default": "0"},
            "quota_total": {"type": "str", "default": "0"},
            "min_free": {"type": "str", "default": "1G"},
            "connections": {"type": "int", "default": 4},
            "idle": {"type": "int", "default": 1800},
            "keep_count": {"type": "int", "default": 0},
            "keep_days": {"type": "int", "default": 0},
            "keep_free": {"type": "str", "default": "0"},
            "nfs": {"type": "dict", "default": {}},
        },
        decide,
        server.report,
    )


if __name__ == "__main__":
    main()
