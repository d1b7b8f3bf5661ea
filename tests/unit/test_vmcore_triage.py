# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same cause gives the same signature, another cause another, whatever the architecture prints."""

import re

import pytest
from scaling import is_linear

from ansible_collections.vmcore.kdump.plugins.module_utils.vmcore.triage import signature

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SYSRQ = """\
[   12.345678] systemd[1]: Started something.
[  100.000001] sysrq: Trigger a crash
[  100.000002] Kernel panic - not syncing: sysrq triggered crash
[  100.000003] CPU: 1 PID: 1234 Comm: bash Kdump: loaded Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2
[  100.000004] Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2 04/01/2014
[  100.000005] Call Trace:
[  100.000006]  <TASK>
[  100.000007]  dump_stack_lvl+0x44/0x5c
[  100.000008]  panic+0x118/0x2ed
[  100.000009]  sysrq_handle_crash+0x16/0x20
[  100.000010]  __handle_sysrq.cold+0x44/0x130
[  100.000011]  ? __pfx_something+0x10/0x10
[  100.000012]  write_sysrq_trigger+0x24/0x40
[  100.000013]  proc_reg_write+0x53/0xa0
[  100.000014]  vfs_write+0xb8/0x420
[  100.000015]  ksys_write+0x6b/0xf0
[  100.000016]  do_syscall_64+0x55/0xb0
"""
NULL_X86 = """\
[  212.1] foo: module verification failed
[  213.1] BUG: kernel NULL pointer dereference, address: 0000000000000010
[  213.2] #PF: supervisor write access in kernel mode
[  213.3] PGD 0 P4D 0
[  213.4] Oops: 0002 [#1] PREEMPT SMP PTI
[  213.5] CPU: 3 UID: 0 PID: 77 Comm: kworker/3:1 Tainted: G           OE      6.12.57+deb13-amd64 #1
[  213.6] RIP: 0010:crash_me+0x1c/0x30 [foo]
[  213.7] Code: 00 00
[  213.8] RSP: 0018:ffffc90000123e00 EFLAGS: 00010246
[  213.9] Call Trace:
[  214.0]  <TASK>
[  214.1]  ? __die+0x23/0x70
[  214.2]  ? page_fault_oops+0x171/0x4e0
[  214.3]  ? asm_exc_page_fault+0x26/0x30
[  214.4]  ? crash_me+0x1c/0x30 [foo]
[  214.5]  process_one_work+0x177/0x330
[  214.6]  worker_thread.constprop.0+0x251/0x390
[  214.7]  kthread+0xd2/0x100
[  214.8]  </TASK>
[  214.9] ---[ end trace 0000000000000000 ]---
[  215.0] Kernel panic - not syncing: Fatal exception
"""
NULL_ARM64 = """\
[   51.0] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000
[   51.1] Mem abort info:
[   51.2] Internal error: Oops: 0000000096000044 [#1] SMP
[   51.3] CPU: 0 PID: 900 Comm: insmod Not tainted 5.14.0-427.el9.aarch64 #1
[   51.4] pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
[   51.5] pc : crash_me+0x14/0x40 [foo]
[   51.6] lr : do_one_initcall+0x50/0x2d0
[   51.7] Call trace:
[   51.8]  crash_me+0x14/0x40 [foo]
[   51.9]  do_one_initcall+0x50/0x2d0
[   52.0]  do_init_module+0x50/0x1f0
"""
NULL_PPC64 = """\
[   30.0] BUG: Kernel NULL pointer dereference on write at 0x00000000
[   30.1] Faulting instruction address: 0xc00800000e3a0030
[   30.2] Oops: Kernel access of bad area, sig: 11 [#1]
[   30.3] CPU: 2 PID: 55 Comm: insmod Kdump: loaded Not tainted 5.14.0-427.el9.ppc64le #1
[   30.4] NIP:  c00800000e3a0030 LR: c000000000012c40 CTR: c0000000000a7d10
[   30.5] NIP [c00800000e3a0030] crash_me+0x28/0x60 [foo]
[   30.6] LR [c000000000012c40] do_one_initcall+0x60/0x2d0
[   30.7] Call Trace:
[   30.8] [c000000004aefb30] [c000000000012c40] do_one_initcall+0x60/0x2d0
[   30.9] [c000000004aefc00] [c00000000028e0ec] do_init_module+0x7c/0x2c0
"""
NULL_S390 = """\
[   30.0] Unable to handle kernel pointer dereference in virtual kernel address space
[   30.1] Failing address: 0000000000000000 TEID: 0000000000000483
[   30.2] Oops: 0004 ilc:3 [#1] SMP
[   30.3] CPU: 1 PID: 55 Comm: insmod Kdump: loaded Not tainted 5.14.0-427.el9.s390x #1
[   30.4] Krnl PSW : 0704c00180000000 000003ff80123456 (crash_me+0x1e/0x40 [foo])
[   30.5] Call Trace:
[   30.6]  [<000003ff80123456>] crash_me+0x1e/0x40 [foo]
[   30.7] ([<000003ff80123400>] do_one_initcall+0x40/0x200)
[   30.8]  [<0000000012345678>] do_init_module+0x60/0x250
"""
BUG = """\
[ 9.0] ------------[ cut here ]------------
[ 9.1] kernel BUG at mm/slub.c:4324!
[ 9.2] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[ 9.3] CPU: 0 PID: 1 Comm: systemd Not tainted 6.8.0-31-generic #31-Ubuntu
[ 9.4] RIP: 0010:free_large_kmalloc+0x4f/0x60
[ 9.5] Call Trace:
[ 9.6]  kfree+0x150/0x160
"""
SYSRQ_EL7 = """\
[  100.1] SysRq : Trigger a crash
[  100.2] BUG: unable to handle kernel NULL pointer dereference at           (null)
[  100.3] IP: [<ffffffff8a26b8b6>] sysrq_handle_crash+0x16/0x20
[  100.4] PGD 80000000b6d1b067 PUD b6d1a067 PMD 0
[  100.5] Oops: 0002 [#1] SMP
[  100.6] CPU: 0 PID: 2386 Comm: bash Kdump: loaded Not tainted 3.10.0-1160.el7.x86_64 #1
[  100.7] RIP: 0010:[<ffffffff8a26b8b6>]  [<ffffffff8a26b8b6>] sysrq_handle_crash+0x16/0x20
[  100.8] Call Trace:
[  100.9]  [<ffffffff8a26c0cd>] __handle_sysrq+0x10d/0x170
[  101.0]  [<ffffffff8a26c538>] ? printk+0x28/0x30
[  101.1]  [<ffffffff8a26c538>] write_sysrq_trigger+0x28/0x40
"""
NULL_ARM64_4 = """\
[   51.0] Unable to handle kernel NULL pointer dereference at virtual address 00000010
[   51.2] Internal error: Oops: 96000044 [#1] SMP
[   51.3] CPU: 0 PID: 900 Comm: insmod Not tainted 4.14.0-115.el7a.aarch64 #1
[   51.5] pc : [<ffff000008720f84>] crash_me+0x14/0x40
[   51.7] Call trace:
[   51.8] [<ffff000008720f84>] crash_me+0x14/0x40
"""
PANIC_ARM = """\
[   51.0] Kernel panic - not syncing: my driver gives up
[   51.1] CPU: 0 PID: 9 Comm: sh Not tainted 6.12.57+deb13-armmp-lpae #1 Debian
[   51.2] Call trace:
[   51.3]  unwind_backtrace from show_stack+0x10/0x14
[   51.4]  show_stack from dump_stack_lvl+0x54/0x68
[   51.5]  dump_stack_lvl from panic+0x124/0x364
[   51.6]  panic from give_up+0x18/0x1c [mine]
[   51.7]  give_up from vfs_write+0xd4/0x3a0
"""
WARNED = """\
[ 9.0] ------------[ cut here ]------------
[ 9.1] WARNING: CPU: 2 PID: 9 at kernel/mine.c:10 mine+0x10/0x20
[ 9.2] Kernel panic - not syncing: kernel: panic_on_warn set ...
[ 9.3] CPU: 2 PID: 9 Comm: sh Not tainted 6.12.57 #1
[ 9.4] Call Trace:
[ 9.5]  panic+0x6c/0x6c
[ 9.6]  check_panic_on_warn.cold+0x14/0x14
[ 9.7]  __warn.cold+0x20/0x2c
[ 9.8]  report_bug+0x18e/0x1a0
[ 9.9]  handle_bug+0x53/0x90
[ 10.0]  mine+0x10/0x20
"""
PLAIN = {
    "softlockup": "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [stress:4321]\n"
    "CPU: 1 PID: 4321 Comm: stress Not tainted 6.1.0\nRIP: 0010:spin+0x3/0x10\n"
    "Kernel panic - not syncing: softlockup: hung tasks\n",
    "hung_task": "INFO: task dd:77 blocked for more than 120 seconds.\nKernel panic - not syncing: hung_task: blocked tasks\n",
    "oom": "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled\n",
    "general_protection": "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP\n"
    "RIP: 0010:list_del+0x8/0x20\n",
    "machine_check": "mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 3: be00000000800400\n"
    "Kernel panic - not syncing: Fatal machine check\n",
    "softlockup ": "NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [stress:4321]\nRIP: 0010:turn+0x3/0x10\n"
    "Kernel panic - not syncing: Fatal exception\n",
    "hardlockup ": "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3\nRIP: 0010:spin+0x3/0x10\n"
    "Kernel panic - not syncing: Hard LOCKUP\n",
    "rcu_stall": "rcu: INFO: rcu_preempt self-detected stall on CPU\nrcu: 1-....: (5249 ticks this GP)\n"
    "Kernel panic - not syncing: RCU Stall\n",
    "double_fault": "traps: PANIC: double fault, error_code: 0x0\nRIP: 0010:deep+0x3/0x10\n"
    "Kernel panic - not syncing: Fatal exception in interrupt\n",
    "machine_check ": "Kernel panic - not syncing: Timeout: Not all CPUs entered broadcast exception handler\n",
    "machine_check  ": "Kernel panic - not syncing: Fatal hardware error!\n",
    "oom ": "Kernel panic - not syncing: System is deadlocked on memory\n",
    "hardlockup": "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3\nKernel panic - not syncing: Hard LOCKUP\n",
    "page_fault": "BUG: unable to handle page fault for address: ffffc90000a00000\nRIP: 0010:memcpy+0xb/0x10\n",
    "no_init": "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n",
    "no_root": "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
    "warning": "Kernel panic - not syncing: kernel: panic_on_warn set ...\n",
    "nmi": "Kernel panic - not syncing: NMI: Not continuing\n",
    "panic": "Kernel panic - not syncing: my driver gives up 17\n",
}


@pytest.mark.parametrize(
    "text, kind, symbol, frames",
    [
        (
            SYSRQ,
            "sysrq",
            "",
            ["sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger", "proc_reg_write", "vfs_write"],
        ),
        (NULL_X86, "null_dereference", "crash_me", ["process_one_work", "worker_thread", "kthread"]),
        (NULL_ARM64, "null_dereference", "crash_me", ["crash_me", "do_one_initcall", "do_init_module"]),
        (NULL_PPC64, "null_dereference", "crash_me", ["do_one_initcall", "do_init_module"]),
        (NULL_S390, "null_dereference", "crash_me", ["crash_me", "do_one_initcall", "do_init_module"]),
        (BUG, "bug", "free_large_kmalloc", ["kfree"]),
        (SYSRQ_EL7, "sysrq", "sysrq_handle_crash", ["__handle_sysrq", "write_sysrq_trigger"]),
        (
            SYSRQ_EL7.replace("SysRq", "sysrq: SysRq"),
            "sysrq",
            "sysrq_handle_crash",
            ["__handle_sysrq", "write_sysrq_trigger"],
        ),
        (NULL_ARM64_4, "null_dereference", "crash_me", ["crash_me"]),
        (PANIC_ARM, "panic", "", ["give_up"]),
        (WARNED, "warning", "", ["mine"]),
    ],
    ids=["sysrq", "x86", "arm64", "ppc64", "s390", "bug", "sysrq 3.10", "sysrq 4.18", "arm64 4.14", "arm", "warning"],
)
def test_where_it_crashed(text, kind, symbol, frames):
    found = signature(text)
    assert (found.kind, found.symbol, found.frames) == (kind, symbol, frames)


@pytest.mark.parametrize("kind", PLAIN)
def test_class(kind):
    assert signature(PLAIN[kind]).kind == kind.strip()


@pytest.mark.parametrize("kind", ["softlockup ", "hardlockup ", "double_fault", "page_fault", "general_protection"])
def test_the_report_before_the_panic_belongs_to_it(kind):
    assert signature(PLAIN[kind]).symbol in ("spin", "turn", "deep", "memcpy", "list_del")


def test_lines_of_a_message_without_a_time_are_of_the_time_before():
    text = NULL_X86.replace("[  213.2] #PF", "  more of it\n[  213.2] #PF").replace(
        "[  214.9] ", "and more\n[  214.9] "
    )
    assert signature(text).id == signature(NULL_X86).id


def test_who_was_running():
    found = signature(NULL_X86)
    assert (found.comm, found.pid, found.taint, found.release) == (
        "kworker/3:1",
        77,
        "G           OE",
        "6.12.57+deb13-amd64",
    )
    found = signature(SYSRQ)
    assert (found.comm, found.pid, found.taint, found.release) == ("bash", 1234, "", "6.1.0-56-cloud-amd64")
    assert found.message == "sysrq: Trigger a crash"


def again(text):
    """The same crash on another boot: other times, CPU, pid, addresses and offsets."""
    text = re.sub(r"\[ *(\d+)\.(\d+)\]", lambda match: "[%5d.%s77]" % (int(match.group(1)) + 99, match.group(2)), text)
    text = re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+", "+0x99/0xaa", text)
    text = re.sub(r"PID: \d+", "PID: 4", re.sub(r"CPU: \d+", "CPU: 7", text))
    return re.sub(
        r"\b[0-9a-f]{16}\b",
        lambda match: match.group(0)[:12] + "0abc" if int(match.group(0), 16) > 4096 else match.group(0),
        text,
    )


ALL = dict(
    PLAIN, sysrq_text=SYSRQ, null_x86=NULL_X86, null_arm64=NULL_ARM64, ppc=NULL_PPC64, s390=NULL_S390, bug_text=BUG,
    el7=SYSRQ_EL7, arm64_4=NULL_ARM64_4, arm=PANIC_ARM, warned=WARNED,
)  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_stable_across_crashes_of_the_same_cause(name):
    assert signature(again(ALL[name])).id == signature(ALL[name]).id


def test_different_causes_differ():
    assert len({signature(text).id for text in ALL.values()}) >= len(ALL) - 1  # s390 and arm64 share one cause


def test_an_oops_that_was_survived_is_not_the_cause():
    survived = NULL_X86.replace("[  215.0] Kernel panic - not syncing: Fatal exception\n", "")
    assert signature(survived + SYSRQ).id == signature(SYSRQ).id


@pytest.mark.parametrize(
    "text",
    ["", "\n", "[    0.000000] Linux version 6.1\n" * 100, "\x00" * 1000],
    ids=["empty", "line", "boot", "zeros"],
)
def test_no_panic(text):
    assert signature(text) is None


def test_lines_of_the_boot_do_not_count():
    boot = (
        "[    0.1] NMI watchdog: Perf NMI watchdog permanently disabled\n[    0.2] mce: [Hardware Error]: old records\n"
    )
    assert signature(boot + SYSRQ).id == signature(SYSRQ).id


def test_stamps_with_the_caller_are_taken_off():
    stamped = re.sub(r"\[ *(\d+\.\d+)\] ", r"[  \1] [    T638] ", SYSRQ)
    assert signature(stamped) == signature(SYSRQ)


def test_message_has_no_control_characters():
    assert signature("Kernel panic - not syncing: \x1b[31mred\u202e 0x1234567\n").message == "?[31mred? ADDR"


@hypothesis.given(
    st.lists(st.sampled_from(sorted("".join(ALL.values()).split("\n"))) | st.text(max_size=80), max_size=60)
)
def test_any_text_gives_a_signature_or_none(lines):
    found = signature("\n".join(lines))
    assert found is None or (re.match(r"^[0-9a-f]{12}$", found.id) and len(found.frames) <= 5)


@pytest.mark.parametrize(
    "piece",
    [
        "Kernel panic - not syncing: ",
        "[",
        "[ 1.1] ",
        "BUG: ",
        "a",
        "? ",
        "[<ffffffff>] ",
        "f+0x1/0x2 ",
        "CPU: 1 PID: 2 Comm: ",
        "0",
    ],
)
@pytest.mark.parametrize("end", ["", "\n"], ids=["one line", "lines"])
def test_hostile_text_is_read_quickly(piece, end):
    head, line = "Kernel panic - not syncing: x\nCall Trace:\n", piece + end
    assert is_linear(signature, lambda size: head + line * (size // len(line)), 3000000)
