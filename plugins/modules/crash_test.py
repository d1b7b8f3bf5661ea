#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's part of a crash test; plugins/action/crash_test.py does the rest."""

DOCUMENTATION = r"""
---
module: crash_test
short_description: Crash a host, wait for it, verify its vmcore, and record the proof
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Makes the kernel of an armed host panic, waits until the host is back, finds the new vmcore, reads all of it, and looks
    in its log for a marker that was written there just before the panic. The host has to be armed again by itself.
  - The vmcore is read where it lies. A file system that the host does not mount is mounted read-only for that. A dump
    server is asked over ssh, with the key and options of the capture. It needs the role P(vmcore.kdump.server#role), or
    a python3.
  - If all that holds, the proof is recorded on the host, and M(vmcore.kdump.info) calls the host V(proven) until something
    that the dump depends on changes.
  - B(Everything that runs on the host ends at once, without a shutdown.) File systems are synced before. The task
    refuses to run without O(confirm=true), on a host that is not armed, on one whose raw device still holds the only copy
    of an earlier dump, and on the controller itself (also on a container there, which has the same kernel). It never
    crashes a host twice.
  - Runs on the controller as an action plugin; the module of the same name does the host's part.
extends_documentation_fragment:
  - vmcore.kdump.attributes
attributes:
  diff_mode:
    support: none
options:
  engine:
    description:
      - What captures the crash, as O(vmcore.kdump.info#module:engine), but that V(auto) is the engine that arms the host at
        boot, if one alone does.
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  trigger:
    description:
      - What makes the kernel panic. V(sysrq) writes C(c) to C(/proc/sysrq-trigger).
    type: str
    choices: [sysrq]
    default: sysrq
  timeout:
    description: Seconds from the panic until the host is back and armed again.
    type: int
    default: 900
  confirm:
    description: Has to be V(true), for a host to be crashed.
    type: bool
    default: false
  host_part:
    description: What the action plugin asks of the host. It is not for playbooks.
    type: dict
    suboptions:
      phase:
        description: The step.
        type: str
        choices: [observe, look, trigger, record]
        required: true
      marker:
        description: What is written into the kernel's log before the panic, and looked for in the dumps' logs.
        type: str
        default: ""
      boot_id:
        description: The boot that is to be ended.
        type: str
        default: ""
      proof:
        description: What was proven.
        type: dict
notes:
  - In check mode a host is looked at, and refused as in a real run; none is crashed.
seealso:
  - module: vmcore.kdump.info
  - module: vmcore.kdump.vmcore_info
"""

EXAMPLES = r"""
- name: Crash the host, and prove that its vmcore arrives
  vmcore.kdump.crash_test:
    confirm: true
  register: crash

- name: Tell what the reservation could be
  ansible.builtin.debug:
    msg: >-
      Captured in {{ crash.proof.seconds_to_capture }} s, away for {{ crash.proof.seconds_unreachable }} s;
      crashkernel={{ crash.proof.recommended_crashkernel }} would do.
"""

RETURN = r"""
proof:
  description: What was proven, as recorded on the host.
  returned: success, except in check mode
  type: dict
  contains:
    inputs:
      description: What it holds for, as RV(vmcore.kdump.info#module:inputs).
      type: dict
    vmcore:
      description:
        - Path of the vmcore. Where that is not one of the host's, the device or server stands before it
          (C(kdump@dumps.example.com:/var/crash/192.0.2.7-2026-11-24-10:30:00/vmcore.flat)).
      type: str
    verdict:
      description: What reading all of it said, V(complete).
      type: str
    proven_at:
      description: Seconds since 1970.
      type: float
    seconds_to_capture:
      description: Seconds from the start of the capture kernel to the end of its work. Null if it did not say.
      type: float
    seconds_unreachable:
      description: Seconds from the panic until the host answered again.
      type: float
    memory_low_water:
      description: The least memory that was available in the capture kernel, in bytes. Null if it did not say.
      type: int
    recommended_crashkernel:
      description:
        - A value for C(crashkernel=), from what the capture used at its worst and a quarter more, rounded up to 16M. Null
          if that is not known.
      type: str
    engine:
      description: The engine that captured.
      type: str
  sample:
    inputs:
      release: 6.12.48+deb13-amd64
      digest: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
      reserved_bytes: 134217728
      cmdline: root=/dev/vda1 nr_cpus=1
    vmcore: /var/crash/127.0.0.1-2026-11-24-10:30:00/vmcore
    verdict: complete
    proven_at: 1795511000.0
    seconds_to_capture: 8.7
    seconds_unreachable: 43.2
    memory_low_water: 12582912
    recommended_crashkernel: 144M
    engine: native
readiness:
  description: How ready the host is now, as RV(vmcore.kdump.info#module:readiness).
  returned: success, and on failure if the host has come back
  type: str
  sample: proven
reasons:
  description: Why it is no better than that, as RV(vmcore.kdump.info#module:reasons).
  returned: success, and on failure if the host has been looked at
  type: list
  elements: dict
vmcores:
  description: The dumps that were not there before, as RV(vmcore.kdump.info#module:vmcores).
  returned: on failure if the host has come back
  type: list
  elements: dict
failures:
  description: What the capture kernel reported on the host, as RV(vmcore.kdump.info#module:failures).
  returned: on failure if the host has come back
  type: list
  elements: dict
"""

from ansible_collections.vmcore.kdump.plugins.module_utils import crash, engine, lister
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_info

# Not called here: naming it makes Ansible ship it and all that it imports, for a server without a receiver.
SHIPPED = [lister.__name__]
HOST_PART = {
    "phase": {"type": "str", "choices": ["observe", "look", "trigger", "record"], "required": True},
    "marker": {"type": "str", "default": ""},
    "boot_id": {"type": "str", "default": ""},
    "proof": {"type": "dict"},
}


def main():
    run_info(
        {
            "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
            "trigger": {"type": "str", "choices": ["sysrq"], "default": "sysrq"},
            "timeout": {"type": "int", "default": 900},
            "confirm": {"type": "bool", "default": False},
            "host_part": {"type": "dict", "options": HOST_PART},
        },
        crash.run,
    )


if __name__ == "__main__":
    main()
