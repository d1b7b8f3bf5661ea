#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything about one host's readiness for a crash, in one call."""

DOCUMENTATION = r"""
---
module: info
short_description: Would a panic now leave a vmcore on this host, and if not, why not
version_added: 0.1.0
author: The vmcore.kdump authors (@vmcore)
description:
  - Tells in one call how ready a host is for a crash, with the reasons and their remedies, and everything that the verdict
    rests on.
  - Nothing is changed. A part that cannot be read (RV(errors)) hides no other part.
  - With O(expect) a wanted state is judged against the host, before anything is touched. The module fails with everything
    that is wrong with it, or tells where the host differs from it.
extends_documentation_fragment:
  - vmcore.kdump.attributes.info
options:
  engine:
    description:
      - What captures a crash on this host.
      - V(auto) is V(kdumpctl) in the Red Hat family and V(native) everywhere else. It looks at the tools and at
        C(/etc/os-release).
      - V(native) is this collection's own capture image, V(kdumpctl) that of kdump-utils, V(kdump-tools) that of Debian.
    type: str
    choices: [auto, native, kdumpctl, kdump-tools]
    default: auto
  vmcores:
    description: How many of the newest dumps to list. Their headers are read, so V(0) is the quickest.
    type: int
    default: 5
  remote:
    description:
      - Whether to look at a dump target that this host does not see now, too. A file system or an NFS export that is not
        mounted is mounted read-only for the look, where nobody else sees it. A dump server is asked by ssh, with the key and
        the options of a capture. That takes seconds.
      - Without it that is only done in the two weeks after a boot that may have ended by a crash, which is one without a
        shutdown.
    type: bool
    default: false
  expect:
    description:
      - A wanted state. What is left out is not judged.
    type: dict
    suboptions:
      state:
        description:
          - With V(absent) it is judged whether what the rest comes to can be taken out of the engine's files, and whether
            anything of it is left there (RV(expected.differs)). Nothing else is.
        type: str
        choices: [present, absent]
        default: present
      readiness:
        description: The least that is wanted. V(stale) counts as V(armed).
        type: str
        choices: [pending_reboot, armed, proven]
      conf:
        description:
          - Directives of C(kdump.conf) and their values, as for M(vmcore.kdump.conf). They are judged together with the
            lines that the file has, with the host's devices, mounts and programs, and by whether a capture image for them
            can be built. Programs that are yet to be installed are not missed.
          - With the engine V(kdump-tools), which has no C(kdump.conf), they are put into its own words, and what it has
            none for is refused.
        type: dict
      crashkernel:
        description: The reservation, as O(vmcore.kdump.crashkernel#module:value).
        type: raw
      kernels:
        description: The boot entries that shall have it, as O(vmcore.kdump.crashkernel#module:kernels).
        type: list
        elements: str
        default: [ALL]
      sysconfig:
        description:
          - Variables of the file of shell assignments that the engine goes by, C(/etc/sysconfig/kdump) or
            C(/etc/default/kdump-tools), as for M(vmcore.kdump.sysconfig).
        type: dict
      cmdline_append:
        description: Arguments that the capture kernel's command line shall have at its end, beside the usual ones.
        type: str
      cmdline_remove:
        description: Names of arguments that it shall not have.
        type: list
        elements: str
      nr_cpus:
        description: How many CPUs the capture kernel shall use.
        type: int
      triggers:
        description:
          - Kernel parameters of C(kernel.) and C(vm.) with whole numbers, all that C(/etc/sysctl.d/90-vmcore-kdump.conf)
            shall hold.
        type: dict
"""

EXAMPLES = r"""
- name: Look at the host
  vmcore.kdump.info:
  register: kdump

- name: Tell what is wrong, and what to do about it
  ansible.builtin.debug:
    msg: "{{ item.message }} {{ item.hint }}"
  loop: "{{ kdump.reasons }}"
  loop_control:
    label: "{{ item.message }}"

- name: Fail unless a crash test has proven the host as it is now
  vmcore.kdump.info:
    expect:
      readiness: proven
  register: kdump
  failed_when: not kdump.meets_expectations

- name: Ask whether a configuration would be right for this host, without touching it
  vmcore.kdump.info:
    expect:
      conf:
        xfs: LABEL=crash
        failure_action: dump_to_rootfs
      crashkernel: 2G-64G:256M,64G-:512M
"""

RETURN = r"""
readiness:
  description:
    - V(unprotected), something stands in the way of a dump, now or after the next boot as the host's files are.
    - V(pending_reboot), all is set, and the memory comes with the next boot.
    - V(armed), memory reserved, capture kernel loaded, its image built from today's inputs, and so at every boot.
    - V(proven), armed, and a crash test with exactly what is loaded delivered a whole vmcore.
    - V(stale), a crash test did deliver one, and something it depended on has changed since.
  returned: success
  type: str
  sample: armed
reasons:
  description: Why the host is no better than that, each with its remedy. Empty for V(proven).
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
      description: What it is about, empty for the host as a whole.
      type: str
    value:
      description: The value in question.
      type: str
  sample:
    - message: No capture kernel is loaded.
      hint: Run the role again.
      option: ""
      value: ""
warnings:
  description:
    - What may make a dump fail, or is about to change the host's protection, and is no reason by itself. RV(losses) are
      among them.
  returned: success
  type: list
  elements: str
errors:
  description: What could not be read. When the module fails, everything that is wrong with O(expect).
  returned: always
  type: list
  elements: dict
  contains: *problem
meets_expectations:
  description: Whether the host is as O(expect) wants it.
  returned: when O(expect) is given
  type: bool
expected:
  description: The host compared with O(expect).
  returned: when O(expect) is given
  type: dict
  contains:
    differs:
      description: What is not as wanted, of V(conf), V(sysconfig), V(crashkernel), V(triggers) and V(readiness).
      type: list
      elements: str
    path:
      description: The file of shell assignments that the engine goes by.
      type: str
      sample: /etc/sysconfig/kdump
    settings:
      description:
        - Variables for RV(expected.path) that O(expect.sysconfig), O(expect.cmdline_append), O(expect.cmdline_remove)
          and O(expect.nr_cpus) come to together, with the engine V(kdump-tools) also O(expect.conf). Passwords are masked.
        - With O(expect.state=absent) what they were before this collection set them, null for those that were not there.
      type: dict
    conf:
      description:
        - Directives that C(/etc/kdump.conf) needs beside O(expect.conf) for what is expected to last. With V(kdumpctl)
          C(auto_reset_crashkernel) where O(expect.crashkernel) is a value of one's own, or null where the host's kdumpctl does
          not know that directive and it is to be left out.
      type: dict
    triggers:
      description: What O(expect.triggers) comes to, as text.
      type: dict
engine:
  description: What captures a crash on this host, by O(engine).
  returned: success
  type: str
  sample: native
packages_missing:
  description: What is to be installed for the engine, by this distribution's names.
  returned: success
  type: list
  elements: str
  sample: [makedumpfile, busybox]
crashkernel:
  description: The reservation.
  returned: success
  type: dict
  contains:
    configured:
      description: Values of C(crashkernel=) on the boot entry that starts next. Null if the entries cannot be read.
      type: list
      elements: str
    running:
      description: Values that the running kernel was booted with.
      type: list
      elements: str
    reserved_bytes:
      description: Bytes that are reserved now.
      type: int
    expected_bytes:
      description: Bytes that the next boot reserves, by the kernel's rules and this host's RAM.
      type: int
    reboot_required:
      description: Whether the next boot gives another reservation.
      type: bool
    ram_bytes:
      description: Bytes of RAM on which RV(crashkernel.expected_bytes) rests.
      type: int
    bootloader:
      description: What keeps the boot entries. Null if that cannot be told.
      type: str
    recommended:
      description:
        - What the reservation could be, as a value for C(crashkernel=). Null if nobody knows. It is an advice. The role sets
          it if C(kdump_crashkernel) is given it.
      type: str
    recommended_bytes:
      description: Bytes that it reserves on this host. Null if nobody knows.
      type: int
    recommended_by:
      description:
        - V(crash test), from the least memory that was available in the last crash test with this engine, at whatever
          reservation, or V(engine) as long as none has measured it. Null if nobody knows.
      type: str
    wasted_bytes:
      description: Bytes that are reserved beyond it, V(0) if none are, or if it is not known.
      type: int
  sample:
    configured: [256M]
    running: [256M]
    reserved_bytes: 268435456
    expected_bytes: 268435456
    reboot_required: false
    ram_bytes: 2146942976
    bootloader: grub
    recommended: 144M
    recommended_bytes: 150994944
    recommended_by: crash test
    wasted_bytes: 117440512
image:
  description: The newest whole capture image for the kernel that captures. Null if there is none.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is.
      type: str
    release:
      description: The kernel it is for.
      type: str
    digest:
      description: SHA-256 over all that it was built from.
      type: str
    bytes:
      description: Its size.
      type: int
    seconds:
      description: How long building it took.
      type: float
    current:
      description: Whether building it today would give the same.
      type: bool
    built_from:
      description: Each file in it (C(name)), what it was made of (C(source)), and its SHA-256.
      type: list
      elements: dict
loaded:
  description: What this engine has loaded, and is loaded. Null otherwise.
  returned: success
  type: dict
  contains:
    type:
      description: V(crash).
      type: str
    kernel:
      description: Path of the kernel.
      type: str
    kernel_sha256:
      description: Its SHA-256.
      type: str
    initrd:
      description: Path of the capture image.
      type: str
    initrd_sha256:
      description: Its SHA-256.
      type: str
    digest:
      description: RV(image.digest) of it.
      type: str
    cmdline:
      description: The capture kernel's command line.
      type: str
    hardware:
      description: A fingerprint of the CPUs and memory that the capture kernel was told of.
      type: str
    method:
      description: V(kexec_file_load) or V(kexec-tools), or the engine whose tools have loaded it.
      type: str
    loaded_at:
      description: When it was loaded, UTC.
      type: str
crash_loaded:
  description: Whether a capture kernel is loaded at all, by whomever.
  returned: success
  type: bool
loaded_by:
  description: The engine that has loaded it. Empty if nothing is loaded, or something of which nothing is known.
  returned: success
  type: str
  sample: native
unit:
  description: What arms the host at boot with this engine.
  returned: success
  type: str
  sample: vmcore-kdump.service
unit_enabled:
  description: Whether RV(unit) arms the host at boot.
  returned: success
  type: bool
conf:
  description: C(/etc/kdump.conf), and for the engine V(kdump-tools) what its own file comes to in the words of C(kdump.conf).
  returned: success
  type: dict
  contains:
    path:
      description: Where it is. Empty for the engine V(kdump-tools).
      type: str
    exists:
      description: Whether there is one. Without one, kdump's defaults hold.
      type: bool
    options:
      description: Its directives by today's names.
      type: dict
    problems:
      description: What is wrong with it by its text alone, with C(message), C(hint), C(option) and C(value) each.
      type: list
      elements: dict
sysconfig:
  description:
    - Variables of the file of shell assignments that the engine goes by, over its defaults. Passwords are masked.
  returned: success
  type: dict
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
    directory:
      description:
        - Where dumps appear on the running host, for a raw device after the restart. Null if the target is not mounted here.
      type: str
    free_bytes:
      description: Bytes that are free there. Null if that is not known, or no matter (a raw device).
      type: int
    where:
      description: The same for somebody else, with the device, the server's export, or the user and server before it.
      type: str
      sample: kdump@dumps.example.com:/var/crash
    looked:
      description: Whether the target was looked at for RV(vmcores) and RV(failures).
      type: bool
proof:
  description: The last crash test that delivered a whole vmcore. Null if there is none.
  returned: success
  type: dict
  contains:
    inputs:
      description: What was proven, in the form of RV(inputs).
      type: dict
    vmcore:
      description: Path of the vmcore.
      type: str
    verdict:
      description: What reading it said, V(complete).
      type: str
    proven_at:
      description: Seconds since 1970.
      type: float
    seconds_to_capture:
      description: Seconds from the start of the capture kernel to the end of its work.
      type: float
    seconds_unreachable:
      description: Seconds from the panic until the host answered again.
      type: float
    memory_low_water:
      description: The least memory that was available in the capture kernel, in bytes.
      type: int
    recommended_crashkernel:
      description: What the capture needed at its worst and a quarter more, as a value for C(crashkernel=).
      type: str
    engine:
      description: The engine that captured.
      type: str
inputs:
  description: What a crash test now would prove. The host is V(proven) while RV(proof.inputs) equals it.
  returned: success
  type: dict
  contains:
    release:
      description: The kernel.
      type: str
    digest:
      description: RV(image.digest) of the image that is loaded.
      type: str
    reserved_bytes:
      description: Bytes that are reserved.
      type: int
    cmdline:
      description: The capture kernel's command line.
      type: str
vmcores:
  description:
    - The newest dumps of this host at RV(target.where), newest first. Only their headers were read. With
      C(failure_action dump_to_rootfs) those that were saved to the root file system come after them.
  returned: success
  type: list
  elements: dict
  contains:
    directory:
      description: The dump's own directory. Where it is not one of this host's, the device or server stands before it.
      type: str
    written_at:
      description: When it was last written to, in seconds since 1970.
      type: float
    path:
      description: The vmcore in it, empty if there is none.
      type: str
    files:
      description: What lies there, of the names that a capture writes.
      type: list
      elements: str
    bytes:
      description: Size of the vmcore.
      type: int
    format:
      description: V(kdump) or V(elf), empty if there is no vmcore.
      type: str
    verdict:
      description: V(complete), V(incomplete), V(broken), V(unknown), or V(missing) if there is no vmcore.
      type: str
    problems:
      description: Why it is not complete.
      type: list
      elements: str
    release:
      description: The kernel that crashed.
      type: str
    crash_time:
      description: When, UTC.
      type: str
    panic:
      description: The kernel's own words for it, from C(vmcore-dmesg.txt).
      type: str
    capture:
      description:
        - What the capture kernel wrote about its work (C(capture.json)). C(digest) of its image, C(status) (0 for
          success), C(seconds), C(memory_total) and C(memory_low_water) in bytes, C(phases) with C(name), C(seconds)
          and C(exit), C(message) with the reason for a failure. Null if there is nothing to be understood.
      type: dict
failures:
  description:
    - Crashes whose dumps failed, newest first, by the reports that the capture kernel leaves on this host
      (C(/var/lib/vmcore-kdump/failed)), and by the dumps at RV(target.where) that are not whole.
  returned: success
  type: list
  elements: dict
  contains:
    directory:
      description: What was saved of it.
      type: str
    time:
      description: When that was written, UTC.
      type: str
      sample: "2026-11-24T10:30:00Z"
    message:
      description: Why it failed, as the capture kernel says it.
      type: str
    phases:
      description: What the capture kernel did, with C(name), C(seconds) and C(exit) each.
      type: list
      elements: dict
    panic:
      description: The kernel's own words for why it died. Empty if they could not be saved.
      type: str
last_end:
  description: How the boot before this one ended, with the engine V(native).
  returned: success
  type: dict
  contains:
    clean:
      description:
        - Whether it was by a shutdown. A panic, a forced reset and a power cut are none. Null if it is not known.
      type: bool
    boot_id:
      description: Which boot it was. Empty if it is not known.
      type: str
    at:
      description: When the next one began, UTC. Empty if it is not known.
      type: str
losses:
  description:
    - What is to be told of RV(failures), and of a boot that ended without a shutdown and left nothing. A dump or a crash test
      that succeeds later takes it away, and so do two weeks.
    - With a raw device also a dump that is still only there, where the next one overwrites it.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.vmcore.kdump.plugins.module_utils import engine, expectation, lister, status, wishes
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_info

# Not called here: naming it makes Ansible ship it and all that it imports, for a server without a receiver.
SHIPPED = [lister.__name__]
EXPECT = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "readiness": {"type": "str", "choices": ["pending_reboot", "armed", "proven"]},
    "conf": {"type": "dict"},
    "crashkernel": {"type": "raw"},
    "kernels": {"type": "list", "elements": "str", "default": ["ALL"]},
    "sysconfig": {"type": "dict"},
    "cmdline_append": {"type": "str"},
    "cmdline_remove": {"type": "list", "elements": "str"},
    "nr_cpus": {"type": "int"},
    "triggers": {"type": "dict"},
}


def report(host, params):
    found = status.observe(host, params["engine"], params["vmcores"], params["remote"])
    result = status.report(found)
    if params["expect"] is not None:
        expected = expectation.judge(host, found, params["expect"])
        expected = expected._replace(settings=wishes.without_secrets(expected.settings))
        result.update(expected=dict(expected._asdict()), meets_expectations=not expected.differs)
    return result


def main():
    run_info(
        {
            "engine": {"type": "str", "choices": engine.CHOICES, "default": "auto"},
            "vmcores": {"type": "int", "default": 5},
            "remote": {"type": "bool", "default": False},
            "expect": {"type": "dict", "options": EXPECT},
        },
        report,
        secrets=lambda params: wishes.secrets((params["expect"] or {}).get("sysconfig")),
    )


if __name__ == "__main__":
    main()
