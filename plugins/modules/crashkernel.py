#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the crashkernel= argument of a host's boot entries."""

DOCUMENTATION = r"""
---
module: crashkernel
short_description: Memory for the crash kernel, on the kernel command line of every boot entry
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Sets or removes the C(crashkernel=) argument, which makes the kernel reserve memory for the capture kernel at boot.
  - The value is read and judged as the kernel does it before anything is touched, with all mistakes named at once; a
    value that would reserve nothing with this host's RAM is refused.
  - After a change the boot entries are read again, and the module fails if they are not as wanted.
  - A change takes effect with the next boot only. The module never reboots a host.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  engine:
    description:
      - What captures a crash, as O(vmcore.kdump.info#module:engine). It decides what O(value=auto) means, for the engines'
        images differ in what they need.
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  value:
    description:
      - What to reserve. A string, or a list of strings where the kernel takes several C(crashkernel=) arguments.
      - A size (C(256M)), with C(@OFFSET) at a fixed address. Units are K, M, G, T, P and E, powers of 1024.
      - Sizes by the amount of RAM (C(2G-64G:256M,64G-:512M)). The start of a range is in it, its end is not. The kernel
        rounds RAM up to a multiple of 128 MiB. The first range that matches counts.
      - C(SIZE,high), if wanted with a second C(SIZE,low), for memory above 4 GiB.
      - One of these and C(SIZE,cma), which adds memory that user processes may use until a crash (Linux 6.17).
      - V(auto) is what O(engine) recommends for this host, which RV(advice) gives reasons for. For V(native) and
        V(kdump-tools) these are ranges, which still fit when a virtual machine's memory is changed. For V(kdumpctl) it is
        what C(kdumpctl get-default-crashkernel) names, or what C(kdumpctl estimate) said when the capture kernel was last
        loaded, rounded up to 64 MiB, if that is more. Where the engine names nothing for a host, as kdump-utils does below
        2 GiB of RAM, it is C(1G-4G:192M,4G-64G:256M,64G-:512M) (other ranges on aarch64 and ppc64le).
      - It is not the kernel's own C(crashkernel=auto), with which only the kernels of RHEL 8 and older reserve something.
      - Values are compared by their meaning. A host that has V(262144K) is left alone if V(256M) is wanted.
      - Required with O(state=present).
    type: raw
  state:
    description:
      - V(present) gives the entries exactly O(value), replacing all other C(crashkernel=) arguments.
      - V(absent) leaves no C(crashkernel=) argument on them.
    type: str
    choices: [present, absent]
    default: present
  kernels:
    description:
      - The boot entries to change. V(ALL), V(DEFAULT) (the one that boots next), or paths of kernels.
      - With V(ALL), kernels that are installed later get the value as well, from C(/etc/default/grub), C(kernelopts) in
        C(grubenv) and C(/etc/kernel/cmdline), whichever of these the host goes by. With V(DEFAULT) and paths these files
        stay as they are, and RV(problems) says so where later kernels would boot with another value.
      - With O(bootloader=bls), without C(/etc/kernel/cmdline), later kernels get what the running kernel was booted with.
      - With O(bootloader=grub) only V(ALL) is possible, because C(grub-mkconfig) gives all kernels the same arguments; with
        O(bootloader=rpm_ostree) V(ALL) and V(DEFAULT), which are the same.
    type: list
    elements: str
    default: [ALL]
  bootloader:
    description:
      - What keeps the boot entries. V(auto) finds out.
      - V(grub) writes C(/etc/default/grub.d/zz-vmcore-kdump.cfg) and makes C(/boot/grub/grub.cfg) anew. For its entries
        that file overrules C(crashkernel=) in all other files there.
      - V(bls) edits boot loader entries (C(loader/entries/*.conf)), with O(kernels=ALL) also C(/etc/kernel/cmdline) if
        that exists.
      - V(grubby) calls C(grubby), and takes nothing for done that C(grubby --info) and the files do not show afterwards. What
        it would damage is refused before (C(&) or a backslash among the arguments, C(crashkernel=) inside quotes), with
        the advice to use V(bls). C(/etc/default/grub) and C(/etc/kernel/cmdline) are written by the module itself; where
        the latter is missing it is made of the entry that boots next, and not of the last one, as C(grubby) does. Should
        anything fail, all these files are put back.
      - V(rpm_ostree) calls C(rpm-ostree kargs), which makes a new deployment; the others keep their arguments. On hosts
        that ostree has booted it is the only one possible.
      - With V(grubby) and V(bls) on s390x, C(zipl) is run afterwards, and its boot map is read.
    type: str
    choices: [auto, grubby, grub, bls, rpm_ostree]
    default: auto
"""

EXAMPLES = r"""
- name: Reserve what is recommended for this host
  vmcore.kdump.crashkernel:
    value: auto
  register: reservation

- name: Tell whether a reboot is due
  ansible.builtin.debug:
    msg: "{{ reservation.expected_bytes // 1048576 }} MiB after a reboot: {{ reservation.reboot_required }}"

- name: Reserve by the amount of RAM
  vmcore.kdump.crashkernel:
    value: 2G-64G:256M,64G-:512M

- name: Reserve above and below 4 GiB
  vmcore.kdump.crashkernel:
    value:
      - 1G,high
      - 128M,low

- name: Reserve for one kernel only, on a host with boot loader entries
  vmcore.kdump.crashkernel:
    value: 512M
    kernels: /boot/vmlinuz-6.12.0-1-amd64
    bootloader: bls

- name: Reserve nothing any more
  vmcore.kdump.crashkernel:
    state: absent
"""

RETURN = r"""
before:
  description: The boot entries as they were found.
  returned: success
  type: list
  elements: dict
  contains: &entry
    entry:
      description: The entry's title, or its file.
      type: str
      sample: Debian GNU/Linux
    kernel:
      description:
        - Path of the kernel, for O(bootloader=grub) as GRUB sees it.
        - With O(bootloader=rpm_ostree) the deployment's C(ostree=) argument.
      type: str
      sample: /boot/vmlinuz-6.12.48+deb13-amd64
    crashkernel:
      description: The values of its C(crashkernel=) arguments.
      type: list
      elements: str
      sample: [256M]
    default:
      description: Whether it boots next. With O(bootloader=grub), where all are alike, the first entry is named.
      type: bool
after:
  description: The boot entries as they are afterwards, in check mode as a real run would leave them.
  returned: success
  type: list
  elements: dict
  contains: *entry
running:
  description: The values of C(crashkernel=) that the running kernel was booted with.
  returned: success
  type: list
  elements: str
  sample: [256M]
reserved_bytes:
  description: Bytes that are reserved now, from sysfs. From Linux 6.5 on with the part below 4 GiB, if there is one.
  returned: success
  type: int
  sample: 268435456
expected_bytes:
  description:
    - Bytes of the main region that the next boot reserves, by the kernel's own rules and this host's RAM.
    - Whether there is room for it is known only after the boot. The part below 4 GiB and C(cma) are not counted.
  returned: success
  type: int
  sample: 268435456
reboot_required:
  description: Whether the next boot would give another reservation than the present one.
  returned: success
  type: bool
ram_bytes:
  description: Bytes of RAM on which RV(expected_bytes) rests.
  returned: success
  type: int
  sample: 2146942976
ram_source:
  description: Where RV(ram_bytes) was read. V(iomem) is what the kernel counts, V(meminfo) is close to it.
  returned: success
  type: str
  sample: iomem
bootloader:
  description: What keeps the boot entries.
  returned: success
  type: str
  sample: grub
advice:
  description: Why O(value=auto) came to its value, a sentence. Empty for another value.
  returned: success
  type: str
  sample: It is what `kdumpctl get-default-crashkernel` says.
actions:
  description: What was done, in check mode what would be.
  returned: success
  type: list
  elements: str
problems:
  description: What stands in the way of a reservation and is not this module's to change, each with its remedy.
  returned: success
  type: list
  elements: dict
  contains: &problem
    message:
      description: What is wrong.
      type: str
    hint:
      description: What to do about it.
      type: str
    option:
      description: What it is about.
      type: str
    value:
      description: The value in question.
      type: str
errors:
  description: Everything that is wrong, when the module fails.
  returned: failure
  type: list
  elements: dict
  contains: *problem
"""

from ansible_collections.vmcore.kdump.plugins.module_utils import engine, reservation
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader.choice import CHOICES


def decide(host, params):
    params["_advice"] = engine.chosen(host, params).recommended
    return reservation.decide(host, params)


def main() -> None:
    run_state(
        {
            "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
            "value": {"type": "raw"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "kernels": {"type": "list", "elements": "str", "default": ["ALL"]},
            "bootloader": {"type": "str", "choices": CHOICES, "default": "auto"},
        },
        decide,
        reservation.report,
        required_if=[("state", "present", ["value"])],
    )


if __name__ == "__main__":
    main()
