#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sets variables in kdump's sysconfig file."""

DOCUMENTATION = r"""
---
module: sysconfig
short_description: Sets variables in /etc/sysconfig/kdump or /etc/default/kdump-tools
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Sets and removes variables in the file that says how the capture kernel is loaded. It is C(/etc/sysconfig/kdump)
    for kdump-utils, for SUSE's kdump and for this collection's own engine, and C(/etc/default/kdump-tools) for
    Debian's kdump-tools.
  - Values are written so that bash, dash and systemd read back exactly what was given, whatever it holds.
  - Other lines, comments and their order stay as they are. A variable that is there changes on its own line. A new one
    follows its commented-out example, or goes to the end.
  - A line with blanks around its C(=), which no shell takes for an assignment (C(USE_KDUMP = 1)), becomes one when its
    variable is set.
  - The file is read without running it. A variable whose value only a shell could tell (an expansion or a condition
    around it) is not touched; the module fails and names it.
  - A name that kdump is not known to read is written and warned about.
  - Values are shown by diff mode and logged by Ansible. Passwords (variables whose name ends in C(PASSWORD)) are masked
    in the diff; set C(no_log) on a task that sets one.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  path:
    description:
      - The file. It is created, with a comment that says by what, if there is none and O(settings) is not empty. It is
        removed when nothing but that comment is left of it.
    type: path
    default: /etc/sysconfig/kdump
  settings:
    description:
      - Variables and their values. A value is text, a number or a list of words, which are joined by blanks.
      - Put V("yes") and V("no") in quotes, since a boolean is refused.
    type: dict
    default: {}
  remove:
    description: Names of variables to remove.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Give the capture kernel two arguments more, and leave one out
  vmcore.kdump.sysconfig:
    settings:
      KDUMP_COMMANDLINE_APPEND:
        - irqpoll
        - nr_cpus=1
        - reset_devices
        - panic=10
      KDUMP_COMMANDLINE_REMOVE: hugepages hugepagesz quiet

- name: Let Debian's kdump-tools keep three dumps
  vmcore.kdump.sysconfig:
    path: /etc/default/kdump-tools
    settings:
      USE_KDUMP: 1
      KDUMP_NUM_DUMPS: 3

- name: Dump with the kernel that is running
  vmcore.kdump.sysconfig:
    remove:
      - KDUMP_KERNELVER
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/sysconfig/kdump"]
errors:
  description: Everything that is wrong, each with its remedy.
  returned: failure
  type: list
  elements: dict
  contains:
    option:
      description: The variable, empty for a line that sets none.
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
warnings:
  description: Names that kdump is not known to read from this file.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import kdump_tools_load, kdumpctl_good
from ansible_collections.vmcore.kdump.plugins.module_utils.sysconfig import decide, report
from ansible_collections.vmcore.kdump.plugins.module_utils.wishes import secrets


def plan(host, params):
    wanted = kdumpctl_good.before_write(host, params["path"], decide(host, params))
    return kdump_tools_load.before_write(host, params["path"], wanted)


def main():
    run_state(
        dict(
            path=dict(type="path", default="/etc/sysconfig/kdump"),
            settings=dict(type="dict", default={}),
            remove=dict(type="list", elements="str", default=[]),
        ),
        plan,
        report,
        secrets=lambda params: secrets(params["settings"]),
    )


if __name__ == "__main__":
    main()
