#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the image that the capture kernel runs."""

DOCUMENTATION = r"""
---
module: initramfs
short_description: Builds the image that the capture kernel runs
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Builds the initramfs in which a capture kernel saves a vmcore after a panic, if what it is made of has changed.
  - With the engine C(native) it is small, and built from this host's own files - a shell and basic tools (busybox's where
    it is installed), makedumpfile, the kernel modules of the disks under the dump path, and what C(kdump.conf) adds. That
    needs neither dracut nor initramfs-tools, and runs in seconds. With the others the distribution's tools build it, and
    this module watches all that goes in, some of which these tools overlook.
  - Images of C(native) lie in C(/var/lib/vmcore-kdump/images), each named by the digest of everything that went into it.
    Nothing is built while the image of today's inputs is there and whole.
  - Everything is checked before anything is written. A dump target that the image could not reach is refused by name,
    for such an image would only fail in a crash. Supported by C(native) are mounted ext2, ext3, ext4, xfs and btrfs file
    systems on disks, partitions, linear and striped LVM volumes and MD arrays.
  - Creates the dump path if it is not there.
  - Loads nothing; M(vmcore.kdump.kexec) does.
requirements:
  - makedumpfile
  - lvm2, where the dump path lies on LVM
  - mdadm, where the dump path lies on an MD array
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  kernel:
    description:
      - The release of the kernel that will capture, as in C(/lib/modules).
      - By default C(KDUMP_KERNELVER) of C(/etc/sysconfig/kdump), or else the running kernel. With C(kdumpctl) it can be no
        other.
    type: str
  engine:
    description:
      - What builds the image. V(native) is this collection itself, V(kdumpctl) calls C(kdumpctl rebuild), V(kdump-tools)
        calls C(kdump-config) and C(mkinitramfs) of Debian.
      - V(auto) is V(kdumpctl) in the Red Hat family and V(native) everywhere else.
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  conf:
    description:
      - The kdump.conf that says where to dump and how. Without the file the defaults of kdump.conf(5) hold.
      - Another than the default is for C(native) alone.
    type: path
    default: /etc/kdump.conf
  force:
    description: Build the image again even if it is there and whole.
    type: bool
    default: false
seealso:
  - module: vmcore.kdump.conf
  - module: vmcore.kdump.kexec
"""

EXAMPLES = r"""
- name: Build the capture image of the running kernel, if its inputs have changed
  vmcore.kdump.initramfs:
  register: image

- name: Build it for a kernel that the host boots next
  vmcore.kdump.initramfs:
    kernel: 6.12.48+deb13-amd64

- name: Show what it would be made of
  vmcore.kdump.initramfs:
    force: true
  check_mode: true
  diff: true
"""

RETURN = r"""
path:
  description: The image. Empty in check mode where it cannot be foreseen because programs are not installed yet.
  returned: success
  type: str
  sample: /var/lib/vmcore-kdump/images/6.12.48+deb13-amd64-1232b1bd729e2b76.img
bytes:
  description: The size of the image in bytes. Null in check mode, when it would be built.
  returned: success
  type: int
  sample: 3001671
digest:
  description: The sha256 over everything that goes into the image. Empty where RV(path) is.
  returned: success
  type: str
inputs:
  description: What the image is made of.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The file's path in the image, without the leading slash.
      type: str
      sample: usr/bin/makedumpfile
    source:
      description: The file of the host that it comes from. Empty for what is written for the image.
      type: str
      sample: /usr/bin/makedumpfile
    sha256:
      description: The sha256 of the source's bytes.
      type: str
seconds:
  description: How long the build took. Null when nothing was built.
  returned: success
  type: float
  sample: 1.66
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [create the directory /var/crash]
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
      description: The module option or the directive it concerns, if any.
      type: str
    value:
      description: The value that was found there.
      type: str
"""

from ansible_collections.vmcore.kdump.plugins.module_utils import engine
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state

SPEC = {
    "kernel": {"type": "str"},
    "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
    "conf": {"type": "path", "default": "/etc/kdump.conf"},
    "force": {"type": "bool", "default": False},
}


def main():
    outcome = {}
    run_state(
        SPEC,
        lambda host, params: engine.chosen(host, params).build_plan(host, params, outcome),
        lambda host, params: engine.chosen(host, params).build_report(host, params, outcome),
    )


if __name__ == "__main__":
    main()
