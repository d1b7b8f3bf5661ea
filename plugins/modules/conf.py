#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets directives in kdump.conf and checks the whole file."""

DOCUMENTATION = r"""
---
module: conf
short_description: Sets directives in kdump.conf and checks the whole file
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Sets and removes directives of C(kdump.conf), which says where a vmcore goes and how. It is read by kdump-utils and
    by this collection's own capture image.
  - Lines and comments that are not concerned stay as they are. A directive that is there changes on its own line, also
    under its old name (C(default) becomes C(failure_action)). A new one follows its commented-out example, or
    goes to the end.
  - The file as it would be is checked as a whole before anything is touched. Everything that is wrong is reported at
    once, the administrator's own lines included.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  path:
    description:
      - The file. It is created, with a comment that says by what, if there is none and O(options) is not empty. It is
        removed when nothing but that comment is left of it.
    type: path
    default: /etc/kdump.conf
  options:
    description:
      - Directives and their values, by the names of kdump.conf(5).
      - A value is text, a number, a boolean (for V(force_rebuild), V(force_no_rebuild), V(auto_reset_crashkernel)) or,
        for those that take several words, a list, which becomes one line.
      - A target (V(ext2), V(ext3), V(ext4), V(xfs), V(btrfs), V(minix), V(virtiofs), V(nfs), V(raw), V(ssh)) takes the
        place of any other target, because kdump takes one; C(--mount) in V(dracut_args) is a target too.
      - The flag C(-F) of makedumpfile in V(core_collector) is put in for V(ssh) and V(raw) and taken out for other
        targets, because kdump fails otherwise.
      - A value cannot hold a C(#), for kdump.conf cuts it there.
    type: dict
    default: {}
  remove:
    description:
      - Names of directives to remove. It may name what kdump does not know.
    type: list
    elements: str
    default: []
  purge:
    description: Whether to remove every directive that is not in O(options). Comments stay.
    type: bool
    default: false
  backup:
    description: Whether to keep a copy of the file, with a timestamp in its name, when it changes.
    type: bool
    default: false
  check_host:
    description:
      - Whether to check also what only the host can tell. The devices are there and hold that file system, they are
        mounted or C(noauto) in C(/etc/fstab), the programs and the ssh key are there, the cluster nodes are others.
      - In check mode a missing program in V(core_collector) and a missing ssh key are not reported, since an earlier
        step that was only predicted would have brought them.
    type: bool
    default: false
  create_path:
    description:
      - Whether to create the directory that dumps go to, V(path), where its file system is on this host and mounted.
        kdump-utils refuses to start without it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Dump to a file system of its own, and to the root file system if that fails
  vmcore.kdump.conf:
    options:
      xfs: UUID=03138356-5e61-4ab3-b58e-27507ac41937
      path: /crash
      core_collector: makedumpfile -l --message-level 7 -d 31
      failure_action: dump_to_rootfs
    check_host: true
    backup: true

- name: Dump to a server by ssh, with two more programs in the capture image
  vmcore.kdump.conf:
    options:
      ssh: kdump@dumps.example.com
      sshkey: /root/.ssh/kdump_id_ed25519
      extra_bins:
        - /usr/local/sbin/tell-the-pager
        - /usr/bin/logger

- name: Take a hook out again
  vmcore.kdump.conf:
    remove:
      - kdump_post
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/kdump.conf"]
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup=true), the file was there, and it changed
  type: str
  sample: /etc/kdump.conf.4711.2026-11-24@10:30:00~
errors:
  description: Everything that is wrong, each with its remedy.
  returned: failure
  type: list
  elements: dict
  contains:
    option:
      description: The directive, empty for the file as a whole.
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
options:
  description: Every directive of the file, as it is then, by today's names.
  returned: success
  type: dict
  sample: {"path": "/var/crash", "core_collector": "makedumpfile -l --message-level 7 -d 31"}
target:
  description: Where dumps go.
  returned: success
  type: dict
  contains:
    kind:
      description: The directive that names it, V(mount) for C(--mount) in V(dracut_args), or V(path) where none does.
      type: str
    location:
      description: A device, a server's directory, a user and server, or the path.
      type: str
  sample: {"kind": "path", "location": "/var/crash"}
warnings:
  description: What may be meant or may fail, such as too little space for a dump.
  returned: success
  type: list
  elements: str
"""

import os
import time

from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state
from ansible_collections.vmcore.kdump.plugins.module_utils.conf_state import decide, report
from ansible_collections.vmcore.kdump.plugins.module_utils.engines.kdumpctl_good import before_write


def main():
    backup = "%d.%s~" % (os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))  # named as Ansible's own modules name it
    run_state(
        dict(
            path=dict(type="path", default="/etc/kdump.conf"),
            options=dict(type="dict", default={}),
            remove=dict(type="list", elements="str", default=[]),
            purge=dict(type="bool", default=False),
            backup=dict(type="bool", default=False),
            check_host=dict(type="bool", default=False),
            create_path=dict(type="bool", default=False),
        ),
        lambda host, params: before_write(host, params["path"], decide(host, params, backup)),
        lambda host, params: report(host, params, backup),
    )


if __name__ == "__main__":
    main()
