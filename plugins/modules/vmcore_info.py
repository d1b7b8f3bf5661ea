#!/usr/bin/python
# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module vmcore_info."""

DOCUMENTATION = r"""
module: vmcore_info
short_description: What a vmcore is and whether it is whole, by reading it
version_added: 0.1.0
description:
  - Reads kdump-compressed, flattened and ELF vmcores, also inside gzip, bzip2 and xz files, and says for each whether
    it is complete, incomplete or broken, and why. Nothing but Python is needed on the host, and nothing is written.
  - An incomplete vmcore looks like a whole one to C(file), and many tools open it without a word.
  - The log beside a vmcore gives a signature, the same for all crashes of the same cause.
  - Bytes that changed in place are seen with O(deep=true) only, in the pages that it samples. There zlib's checksum
    tells all; of lzo, snappy and zstd pages how they begin or end, which tells what a power cut left unwritten.
options:
  paths:
    description:
      - Files, block devices, shell patterns, and directories. In a directory and its immediate subdirectories the names
        V(vmcore), V(vmcore.*), V(vmcore-incomplete), V(vmcore-1) and the like, and V(dump.*) are taken.
      - It is an error if a path has one of these names and is not there. A directory that is missing or empty holds
        no vmcore.
    type: list
    elements: path
    default: [/var/crash]
  server:
    description:
      - Whether O(paths) are directories of a dump server, which hold a directory for each host (see the role
        P(vmcore.kdump.server#role)). Dumps are looked for below these, and RV(vmcores[].sender) says whose each one is.
      - Links in there are not followed, for they may be a host's.
    type: bool
    default: false
  deep:
    description:
      - Check the place of every single page in the file, and the bytes of 1024 evenly spaced ones.
        This reads 24 bytes for each page of the dump and takes about a second for a few GB.
      - Without it the headers, the bitmap and both ends of the table of pages are checked.
      - A file whose compressed content is more than 16 MiB is read to its end only with this option, which takes
        as long as expanding it.
    type: bool
    default: false
extends_documentation_fragment:
  - vmcore.kdump.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: The vmcore.kdump authors (@vmcore)
"""

EXAMPLES = r"""
- name: List what has been dumped
  vmcore.kdump.vmcore_info:
  register: dumps

- name: List what has arrived on a dump server
  vmcore.kdump.vmcore_info:
    paths: /srv/vmcore-kdump
    server: true
  register: arrived

- name: Verify one vmcore page by page
  vmcore.kdump.vmcore_info:
    paths: /var/crash/127.0.0.1-2026-11-24-10:00:00/vmcore
    deep: true
  register: dump

- name: Stop where it is not whole
  ansible.builtin.assert:
    that: item.verdict == 'complete'
    fail_msg: "{{ item.path }}: {{ item.problems | join(' ') }}"
  loop: "{{ dump.vmcores }}"
  loop_control:
    label: "{{ item.path }}"
"""

RETURN = r"""
vmcores:
  description: The vmcores, by the time of their crash; those that do not tell it come last.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /var/crash/127.0.0.1-2026-11-24-10:00:00/vmcore
    sender:
      description: The host whose directory it lies in, with O(server=true); empty without.
      type: str
      sample: web1.example.org
    verdict:
      description:
        - V(complete); V(incomplete), part of it was never written or is gone; V(broken), it contradicts itself or is no
          vmcore; V(unknown), it was not read far enough to tell.
      type: str
      sample: complete
    complete:
      description: The verdict as a boolean; null for V(unknown).
      type: bool
    problems:
      description: Why it is not complete, as sentences with offsets in bytes (rearranged ones where it is flattened).
      type: list
      elements: str
    format:
      description: V(kdump), V(elf) or V(unknown).
      type: str
      sample: kdump
    flattened:
      description: Whether it is a stream of C(makedumpfile -F), which C(makedumpfile -R) turns into a file.
      type: bool
    wrapper:
      description: The compressor of the whole file, V(gzip), V(bzip2), V(xz), V(zstd) or V(lz4); empty for none.
      type: str
    deep:
      description: Whether each page's place was checked.
      type: bool
    bytes:
      description: The size of the file in bytes.
      type: int
    rearranged_bytes:
      description: The size in bytes of what C(makedumpfile -R) would write; null if it is not flattened.
      type: int
    release:
      description: The release of the kernel that crashed; empty if not told.
      type: str
      sample: 6.12.57+deb13-cloud-amd64
    build_id:
      description: The build ID of that kernel, as debuginfod wants it; empty if not told.
      type: str
    crash_time:
      description: When it crashed, ISO 8601 in UTC; empty if not told.
      type: str
      sample: '2026-11-24T10:00:00Z'
    crash_epoch:
      description: The same in seconds since 1970; null if not told.
      type: int
    hostname:
      description: The host's name; empty if not told.
      type: str
    machine:
      description: The architecture as C(uname -m) names it.
      type: str
      sample: x86_64
    byte_order:
      description: V(little) or V(big).
      type: str
    word_bits:
      description: 32 or 64.
      type: int
    dump_level:
      description: The sum of what was left out, as C(makedumpfile -d) takes it; null for ELF.
      type: int
      sample: 31
    compression:
      description: Of the pages, V(none), V(zlib), V(lzo), V(snappy) or V(zstd).
      type: str
    page_size:
      description: Bytes of a page.
      type: int
    pages:
      description: How many pages were dumped; null if not known.
      type: int
    pages_lost:
      description: How many pages are described and were never written, among those checked.
      type: int
    pages_checked:
      description: Of how many pages the place in the file was checked.
      type: int
    pages_decompressed:
      description: How many pages were decompressed.
      type: int
    kernel_offset:
      description: By how many bytes the kernel was moved at boot (KASLR); null if not told.
      type: int
    split:
      description: Whether it is one of several parts (C(makedumpfile --split)).
      type: bool
    dmesg:
      description: The log beside the vmcore; empty if there is none.
      type: str
      sample: /var/crash/127.0.0.1-2026-11-24-10:00:00/vmcore-dmesg.txt
    capture:
      description: The content of C(capture.json) beside the vmcore, as the native engine writes it; null for none.
      type: dict
    signature:
      description: What the log says of the last panic; null without a log or a panic in it.
      type: dict
      contains:
        id:
          description: 12 hexadecimal digits, the same for crashes of the same cause.
          type: str
        kind:
          description: The class, such as V(sysrq), V(null_dereference), V(bug), V(softlockup), V(hung_task), V(oom).
          type: str
        message:
          description: The line that reports it, without numbers and addresses.
          type: str
        symbol:
          description: The function that was running.
          type: str
        frames:
          description: The innermost functions of the call trace, at most five, without those that only report.
          type: list
          elements: str
        taint:
          description: The kernel's taint flags; empty if not tainted.
          type: str
        release:
          description: The kernel's release.
          type: str
        comm:
          description: The process that was running.
          type: str
        pid:
          description: Its number; null if not told.
          type: int
"""

from typing import Any, Dict

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils._module import run_info
from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.search import vmcores


def report(host: Host, params: Dict[str, Any]) -> Dict[str, Any]:
    """The module's results."""
    return {"vmcores": vmcores(host, params["paths"], params["deep"], params["server"])}


def main() -> None:
    """Run the module."""
    run_info(
        {
            "paths": {"type": "list", "elements": "path", "default": ["/var/crash"]},
            "server": {"type": "bool", "default": False},
            "deep": {"type": "bool", "default": False},
        },
        report,
    )


if __name__ == "__main__":
    main()
