# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What panicked, out of a vmcore-dmesg.txt: the same for every crash of the same cause. Private to this collection.

Forms: arch/x86/kernel/dumpstack.c and arch/x86/mm/fault.c, arch/arm64/kernel/process.c and traps.c,
arch/powerpc/kernel/process.c, arch/s390/kernel/dumpstack.c, arch/riscv/kernel/process.c, kernel/panic.c, mm/oom_kill.c.
"""

import hashlib
import re
from typing import List, NamedTuple, Optional

# The panic is at the end of a log; a kernel's log buffer is 1 MiB as a rule, and lines are below 1 KiB.
TEXT_LIMIT = 2 << 20
LINE_LIMIT = 1024
LINES = 50000
FRAMES = 5
REPORT = 400  # lines; a report with registers, code and a trace of each CPU has fewer
TOGETHER = 10  # seconds

# The first pattern that fits any line of the last oops or panic names the class: from the specific to the general.
CLASSES = (
    ("sysrq", r"sysrq: Trigger a crash|SysRq : Trigger a crash|Kernel panic - not syncing: sysrq triggered crash"),
    (
        "machine_check",
        (
            r"Kernel panic - not syncing: (.*[Mm]achine check|Timeout: Not all CPUs entered|Fatal hardware error)|"
            r"mce: \[Hardware Error\].*PROCESSOR"
        ),
    ),
    ("oom", r"Kernel panic - not syncing: (System is deadlocked on memory|Out of memory)"),
    ("hung_task", r"Kernel panic - not syncing: hung_task"),
    ("softlockup", r"Kernel panic - not syncing: softlockup|BUG: soft lockup"),
    ("hardlockup", r"Kernel panic - not syncing: .*[Hh]ard LOCKUP|[Ww]atchdog detected hard LOCKUP"),
    ("rcu_stall", r"Kernel panic - not syncing: RCU Stall|rcu.*detected stalls? on CPU"),
    ("nmi", r"Kernel panic - not syncing: (NMI|An NMI|.*panic_on_unrecovered_nmi)"),
    ("stack_corruption", r"Kernel stack is corrupted|corrupted stack end detected|stack guard page was hit"),
    ("bug", r"kernel BUG at |Internal error: Oops - BUG|kernel BUG in "),
    ("kasan", r"BUG: K(A|F|C|M)SAN: |BUG: KFENCE: "),
    (
        "null_dereference",
        (
            r"[Kk]ernel NULL pointer dereference|null-ptr-deref|Failing address: 0{13}[0-9a-f]{3} |"
            r"at virtual address 0{5,16}[0-9a-f]{0,3}\b"
        ),
    ),
    ("general_protection", r"general protection fault"),
    ("double_fault", r"double fault"),
    ("divide_error", r"divide error"),
    ("invalid_opcode", r"invalid opcode|Oops - Undefined instruction"),
    ("page_fault", r"[Uu]nable to handle |Kernel attempted to "),
    ("no_init", r"Kernel panic - not syncing: (No working init|Attempted to kill init|Requested init)"),
    ("no_root", r"Kernel panic - not syncing: VFS: Unable to mount root"),
    ("warning", r"Kernel panic - not syncing: .*panic_on_warn"),
    ("panic", r"Kernel panic - not syncing"),
)

STAMP = re.compile(r"^(?:<\d{1,3}>)?(?:\[ {0,12}(\d{1,12})\.\d{1,9}\](?: ?\[ {0,8}[TC]\d{1,8}\])? ?)?")
# Where an oops or a panic begins; what comes before the last of them is not its cause.
START = re.compile(
    r"^(?:BUG: |Unable to handle kernel |general protection fault|kernel BUG at |Internal error: |Oops|"
    r"(?:traps: )?(?:PANIC: )?double fault|divide error|invalid opcode|(?:NMI )?watchdog: BUG: |"
    r"(?:sysrq: )?(?:SysRq : )?Trigger a crash|stack segment|Kernel panic - not syncing|Kernel attempted to |"
    r"INFO: task .{1,80} blocked for more than |(?:rcu: )?INFO: rcu\w{0,40} (?:self-)?detected |"
    r"(?:NMI )?watchdog: (?:CPU ?\d{1,6}:? )?(?:Watchdog detected|Hard LOCKUP|self-detected hard LOCKUP)|"
    r"mce: \[Hardware Error\])"
)
PANIC = re.compile(r"Kernel panic - not syncing: (.{1,300})")
CUT = re.compile(r"^-{4,}\[ cut here \]-{4,}$|^-{3,}\[ end (trace|Kernel panic)")
SYMBOL = r"([A-Za-z_.$][\w.$]{0,127})"
POINTERS = (
    re.compile(r"^RIP: (?:[0-9a-f]{4}:)?(?:\[<[0-9a-f]+>\] {0,2}){0,2}" + SYMBOL + r"\+0x"),  # x86
    # i386, arm64, arm, riscv, loongarch
    re.compile(
        r"^(?:EIP: |EIP is at |pc : (?:\[<[0-9a-f]+>\] )?|PC is at |epc : |pc ?: [0-9a-f]+ )" + SYMBOL + r"\+0x"
    ),
    re.compile(r"^NIP \[[0-9a-f]{8,16}\] " + SYMBOL + r"\+0x"),  # powerpc
    re.compile(r"^Krnl PSW : [0-9a-f]+ [0-9a-f]+ \(" + SYMBOL + r"\+0x"),  # s390
)
TRACE = re.compile(r"^(?:Call Trace|Call trace|Backtrace)\b")
FRAME = re.compile(
    r"^ *(?:\(?\[<?[0-9a-f]{6,16}>?\]\)? ?)*(?:\[[0-9a-f]{16}\] ?)*(\? )?\(?"
    + SYMBOL
    + r"(?: from [\w.$]{1,128})?\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}"
)
CPU = re.compile(
    r"^CPU: \d{1,6} (?:UID: \d{1,10} )?PID: (\d{1,10}) Comm: (.{1,40}?) (?:Kdump: \S{1,12} )?"
    r"(Not tainted|Tainted: .{1,60}?) +(\d\S{1,80})"
)
# Frames that only report: with them every crash would look alike.
REPORTING = frozenset(
    """
    dump_stack dump_stack_lvl show_stack unwind_backtrace panic vpanic nmi_panic __die die die_body oops_end
    page_fault_oops no_context bad_area_nosemaphore __bad_area_nosemaphore exc_page_fault
    asm_exc_page_fault do_user_addr_fault kernelmode_fixup_or_oops die_addr exc_general_protection
    asm_exc_general_protection exc_invalid_op asm_exc_invalid_op do_error_trap handle_bug do_trap
    check_panic_on_warn __warn __warn_printk warn_slowpath_fmt warn_slowpath_null report_bug fixup_bug
    dump_backtrace dump_stack_print_info show_regs __die_body __die_body.cold oops_exit crash_kexec
    __crash_kexec
    """.split()
)


class Signature(NamedTuple):
    """What a crash has in common with others of its cause; "" or None for what the log does not say."""

    id: str  # 12 hex digits over kind, symbol, frames and, for want of those, the message
    kind: str  # one of CLASSES, or ""
    message: str  # the panic's or oops' own line, numbers and addresses left out
    symbol: str  # where the instruction pointer was
    frames: List[str]  # the innermost functions of the call trace
    taint: str
    release: str
    comm: str
    pid: Optional[int]


class Line(NamedTuple):
    """A line of the log: seconds since boot (None if it does not say) and the rest."""

    seconds: Optional[int]
    text: str


def stamped(lines: List[str]) -> List[Line]:
    """The lines with their times; further lines of one message, which have none, are of its time."""
    found: List[Line] = []
    for text in lines:
        line = split_stamp(text[:LINE_LIMIT])
        found.append(line._replace(seconds=found[-1].seconds) if found and line.seconds is None else line)
    return found


def split_stamp(line: str) -> Line:
    match = STAMP.match(line)
    seconds = match.group(1) if match else None
    return Line(int(seconds) if seconds else None, line[match.end() if match else 0 :].rstrip())


def signature(text: str) -> Optional[Signature]:
    """The signature of the last oops or panic of a kernel log; None where there is neither."""
    lines = text[-TEXT_LIMIT:].rsplit("\n", LINES)[-LINES:]
    report = last_report(stamped(lines))
    if not report:
        return None
    kind = next((name for name, pattern in CLASSES if any(re.search(pattern, line) for line in report)), "")
    message = generalise(headline(report))
    symbol = first(POINTERS, report)
    frames = call_trace(report)
    cpu = next(filter(None, map(CPU.match, report)), None)
    pid, comm, taint, release = cpu.groups() if cpu else ("", "", "", "")
    cause = [kind, symbol] + frames if symbol or frames else [kind, message]
    return Signature(
        hashlib.sha256("\n".join(cause).encode("utf-8", "replace")).hexdigest()[:12], kind, message, symbol, frames,
        taint[9:].strip() if taint.startswith("Tainted") else "", release, comm, int(pid) if pid else None,
    )  # fmt: skip


def last_report(lines: List[Line]) -> List[str]:
    """The lines from where the last fatal event began.

    A report has several starts (BUG, Oops, then "Kernel panic"): going back from the last one they belong together
    while they follow within seconds. An "end trace" closes an event before, unless a bare panic follows it, as it
    does an oops with panic_on_oops.
    """
    starts = [number for number, line in enumerate(lines) if START.match(line.text)]
    if not starts:
        return []
    last = begin = starts[-1]
    for number in range(last - 1, max(-1, last - REPORT), -1):
        line = lines[number]
        if (lines[begin].seconds or 0) - (line.seconds or 0) > TOGETHER:
            break
        if line.text.startswith("---[ end trace") and not (begin == last and PANIC.match(lines[last].text)):
            break
        if START.match(line.text):
            begin = number
    return [line.text for line in lines[begin : begin + REPORT]]


def headline(report: List[str]) -> str:
    """The oops' first line; where the report is a mere panic, its message."""
    match = PANIC.match(report[0])
    return match.group(1) if match else report[0]


def generalise(line: str) -> str:
    """A message without what differs between two crashes of one cause: addresses, numbers, names of processes."""
    line = re.sub(r"\b(?:0x)?[0-9a-f]{6,16}\b", "ADDR", line[:300])
    line = re.sub(r"\[[^\[\]]{1,40}:\d+\]", "[TASK]", line)
    line = re.sub(r"INFO: task \S+:\d+", "INFO: task TASK", line)
    line = re.sub(r"(?<![\w.])(?:0x[0-9a-f]+|\d+)(?=s?\b)", "N", line)
    return "".join(char if char.isprintable() else "?" for char in line).strip()


def first(patterns: tuple, lines: List[str]) -> str:
    """The first symbol that one of the patterns finds."""
    for line in lines:
        for pattern in patterns:
            match = pattern.match(line)
            if match:
                return bare(match.group(1))
    return ""


def call_trace(report: List[str]) -> List[str]:
    """The innermost functions of the first trace; without `?` (the unwinder doubts it) and reporting frames."""
    start = next((number for number, line in enumerate(report) if TRACE.match(line)), None)
    if start is None:
        return []
    found: List[str] = []
    for line in report[start + 1 : start + 200]:
        match = FRAME.match(line)
        if match and not match.group(1) and bare(match.group(2)) not in REPORTING:
            found.append(bare(match.group(2)))
        if len(found) == FRAMES or CUT.match(line):
            break
    return found


def bare(symbol: str) -> str:
    """A symbol without the suffixes that the compiler gives its parts and copies, which change from build to build."""
    return re.sub(r"(\.(cold|part|constprop|isra|llvm)(\.\d+)*)+$", "", symbol)
