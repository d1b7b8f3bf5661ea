#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Installs what arms a host at boot."""

DOCUMENTATION = r"""
---
module: boot
short_description: What arms a host at boot and keeps it armed
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - One engine (O(engine)) arms a host. The others are kept from starting at boot and from loading by themselves; what they
    have loaded stays until M(vmcore.kdump.kexec) loads over it. C(kdumpctl) and C(kdump-tools) are the distribution's, of
    which this module enables the unit.
  - For C(native) it installs a program of one file, made of this collection's own code, and the systemd unit
    C(vmcore-kdump.service), which has it build the capture image at boot if that is not fresh, and load it. Where dumps go to
    a server the unit waits for the network (C(network-online.target)), so this module has to run after a change of
    C(/etc/kdump.conf). A dump that the last crash has left on a raw device becomes a file before that.
  - A second unit, C(vmcore-kdump-end.service), notes whether a boot ends by a shutdown, for
    RV(vmcore.kdump.info#module:last_end). It is started at once, and costs a shutdown nothing.
  - Installs hooks for kernel packages (C(/etc/kernel)), which build the image of a kernel when it is installed and
    remove it with the kernel. They never fail a kernel's installation.
  - Installs a udev rule that loads anew after CPUs or memory were added or removed, where the kernel does not do that
    itself.
  - Neither builds nor loads anything now; M(vmcore.kdump.initramfs) and M(vmcore.kdump.kexec) do.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  engine:
    description:
      - What captures a crash. V(native) is this collection's own program and unit C(vmcore-kdump.service), V(kdumpctl) is
        C(kdump.service) of kdump-utils, V(kdump-tools) is C(kdump-tools.service) of Debian.
      - V(auto) is V(kdumpctl) in the Red Hat family and V(native) everywhere else.
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  state:
    description:
      - V(present) installs everything and enables the engine's unit.
      - V(disabled) does not start the unit at boot, nor that of any other engine, and unloads what any engine has loaded.
      - V(absent) leaves nothing of this collection behind, neither the capture images nor the proof of the last crash test,
        disables the units of all engines, and unloads what any of them has loaded. C(/etc/kdump.conf), C(/etc/sysconfig/kdump),
        C(/etc/default/kdump-tools) and the packages of a distribution stay.
      - On a host where C(kernel.kexec_load_disabled) is 1 the loaded kernel stays until the next boot.
    type: str
    choices: [present, disabled, absent]
    default: present
"""

EXAMPLES = r"""
- name: Arm the host at every boot
  vmcore.kdump.boot:

- name: Hand it over to kdump-utils
  vmcore.kdump.boot:
    engine: kdumpctl

- name: Do not arm it at boot
  vmcore.kdump.boot:
    state: disabled

- name: Remove everything again
  vmcore.kdump.boot:
    state: absent
"""

RETURN = r"""
program:
  description: The program that C(vmcore-kdump.service) runs, as it is now. In check mode, as it was found.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is.
      type: str
      sample: /usr/local/lib/vmcore-kdump/kdump.pyz
    digest:
      description: The sha256 of its bytes. Empty if it is not installed.
      type: str
unit:
  description: What arms the host at boot with this engine.
  returned: success
  type: str
  sample: vmcore-kdump.service
enabled:
  description: Whether systemd starts it at boot.
  returned: success
  type: bool
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [write /usr/local/lib/vmcore-kdump/kdump.pyz]
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

# `program` is not called here: naming it makes Ansible ship it and all that it imports, of which boot makes its file.
from ansible_collections.vmcore.kdump.plugins.module_utils import boot, engine, program
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state


def decide(host, params):
    name = engine.choose(host, params["engine"])
    return engine.boot_plan(host, name, params["state"], python=sys.executable, program=program.__name__)


def report(host, params):
    driver = engine.chosen(host, params)
    return dict(boot.report(host), unit=driver.UNIT, enabled=driver.is_enabled(host))


def main():
    run_state(
        {
            "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
            "state": {"type": "str", "choices": ["present", "disabled", "absent"], "default": "present"},
        },
        decide,
        report,
    )


if __name__ == "__main__":
    main()
