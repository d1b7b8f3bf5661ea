#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Loads or unloads the kernel that captures a crash, or the one of a kexec reboot."""

DOCUMENTATION = r"""
---
module: kexec
short_description: Load the kernel that captures a crash, or the one of a kexec reboot
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Loads a kernel and its image by the system call C(kexec_file_load), so that the kernel starts it after a panic
    (O(type=crash)) or on a kexec reboot (O(type=reboot)).
  - The kernel frees what is loaded before it reads what shall be loaded. So everything is checked first, and when the
    load fails all the same, what was loaded before is loaded again. The failure then says both.
  - What was loaded is kept in C(/run/vmcore-kdump), so that a second run changes nothing. A changed kernel, image or
    command line is loaded anew, and so is a machine whose CPUs or memory have changed, unless its kernel follows such
    changes itself.
  - Where the running kernel has no C(kexec_file_load), C(kexec) of the package kexec-tools is used if it is installed.
extends_documentation_fragment:
  - vmcore.kdump.attributes
options:
  type:
    description:
      - V(crash) for the capture kernel, which needs memory reserved by C(crashkernel=).
      - V(reboot) for the kernel of the next C(systemctl kexec). It is refused while the live update orchestrator is on.
    type: str
    choices: [crash, reboot]
    default: crash
  engine:
    description:
      - What loads the capture kernel. V(native) is this collection itself, V(kdumpctl) and V(kdump-tools) call the tools of
        the distribution, which take the kernel, its image and its command line from their own files. With these two O(kernel),
        O(initrd), O(cmdline), O(cmdline_append), O(cmdline_remove) and O(nr_cpus) are refused for O(type=crash).
      - V(auto) is V(kdumpctl) in the Red Hat family and V(native) everywhere else. It has no meaning for O(type=reboot).
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  state:
    description:
      - V(loaded) loads it, if it is not loaded yet.
      - V(unloaded) unloads whatever is loaded, by whomever. Unloading V(crash) leaves the host unprotected.
    type: str
    choices: [loaded, unloaded]
    default: loaded
  kernel:
    description:
      - A release in C(/lib/modules), or the absolute path of a kernel.
      - The default is for O(type=crash) C(KDUMP_KERNELVER) of C(/etc/sysconfig/kdump), otherwise the running release.
    type: str
    default: ""
  initrd:
    description:
      - The absolute path of the image to load with it.
      - The default is for O(type=crash) the newest image of that kernel by M(vmcore.kdump.initramfs), for
        O(type=reboot) the initrd in C(/boot) that belongs to that kernel.
    type: path
    default: ""
  cmdline:
    description:
      - The command line to begin with. The default is C(KDUMP_COMMANDLINE) of C(/etc/sysconfig/kdump), otherwise that
        of the running kernel.
      - For O(type=crash), C(KDUMP_COMMANDLINE_REMOVE) and C(KDUMP_COMMANDLINE_APPEND) apply to it as they do with
        kdump-utils, whose values for the architecture are the default of these two.
    type: str
  cmdline_append:
    description:
      - Arguments for the end of the command line.
      - Only this load has them. Put what shall hold after a reboot into C(/etc/sysconfig/kdump) with
        M(vmcore.kdump.sysconfig).
    type: str
    default: ""
  cmdline_remove:
    description:
      - Names of arguments that are taken out, wherever they came from, before O(cmdline_append) is added. V(-) and
        V(_) are the same in them.
    type: list
    elements: str
    default: []
  nr_cpus:
    description:
      - The number of CPUs that the capture kernel uses, in place of the C(nr_cpus=) that would be there.
      - Each further CPU takes memory of the reservation. It has no meaning for O(type=reboot).
    type: int
"""

EXAMPLES = r"""
- name: Load the capture kernel
  vmcore.kdump.kexec:

- name: Load it with two CPUs and a serial console
  vmcore.kdump.kexec:
    engine: native
    nr_cpus: 2
    cmdline_append: console=ttyS0,115200n8

- name: Take the old capture kernel out
  vmcore.kdump.kexec:
    state: unloaded

- name: Make the running kernel the one that `systemctl kexec` jumps to
  vmcore.kdump.kexec:
    type: reboot

- name: Load a kernel and an image of one's own
  vmcore.kdump.kexec:
    engine: native
    kernel: /boot/vmlinuz-6.12.48+deb13-amd64
    initrd: /srv/capture.img
"""

RETURN = r"""
loaded:
  description: Whether a kernel of this O(type) is loaded now. In check mode, as it was found.
  returned: success
  type: bool
kernel:
  description: The kernel that is loaded. Empty if none is, or if something else than this collection has loaded it.
  returned: success
  type: str
  sample: /boot/vmlinuz-6.12.48+deb13-amd64
initrd:
  description: The image that is loaded with it.
  returned: success
  type: str
  sample: /var/lib/vmcore-kdump/images/6.12.48+deb13-amd64-0123456789abcdef.img
cmdline:
  description: The command line it was loaded with. The kernel itself puts C(elfcorehdr=) in front.
  returned: success
  type: str
  sample: BOOT_IMAGE=/boot/vmlinuz-6.12.48+deb13-amd64 ro console=ttyS0 nr_cpus=1 reset_devices
method:
  description:
    - What loaded it, C(kexec_file_load) or C(kexec-tools) for O(engine=native), otherwise the engine.
  returned: success
  type: str
  sample: kexec_file_load
reserved_bytes:
  description: The memory reserved for the capture kernel, in bytes.
  returned: success
  type: int
  sample: 100663296
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [load the crash kernel /boot/vmlinuz-6.12.48+deb13-amd64]
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

from ansible_collections.vmcore.kdump.plugins.module_utils import engine
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_state


def driver(host, params):
    """A kexec reboot is the native engine's, whatever captures a crash."""
    return engine.chosen(host, params) if params["type"] == "crash" else engine.driver(engine.NATIVE)


def main():
    run_state(
        {
            "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
            "type": {"type": "str", "choices": ["crash", "reboot"], "default": "crash"},
            "state": {"type": "str", "choices": ["loaded", "unloaded"], "default": "loaded"},
            "kernel": {"type": "str", "default": ""},
            "initrd": {"type": "path", "default": ""},
            "cmdline": {"type": "str"},
            "cmdline_append": {"type": "str", "default": ""},
            "cmdline_remove": {"type": "list", "elements": "str", "default": []},
            "nr_cpus": {"type": "int"},
        },
        lambda host, params: driver(host, params).load_plan(host, params),
        lambda host, params: driver(host, params).load_report(host, params),
    )


if __name__ == "__main__":
    main()
