# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of a crash test: judge, crash, wait, verify, record. The module has the documentation."""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

MODULE = "vmcore.kdump.crash_test"
CRASHABLE = ("armed", "proven", "stale")
# The panic comes a second after the order. A connection made before that would hang in a machine that is gone.
SETTLE = 5.0
INTERVAL = 5.0
LOOKS = 6
# The unit that arms a host at boot starts about when ssh does.
ARMING = 180.0
CONTROLLER_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Failure(Exception):
    """Why the test has not proven the host; `known` goes into the result."""

    def __init__(self, message: str, **known: Any) -> None:
        super().__init__(message)
        self.known = known


class ActionModule(ActionBase):
    """Runs once for one host."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("engine", "trigger", "timeout", "confirm"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        dummy, args = self.validate_argument_spec(
            argument_spec={
                "engine": {"type": "str", "choices": ["auto", "native", "kdumpctl", "kdump-tools"], "default": "auto"},
                "trigger": {"type": "str", "choices": ["sysrq"], "default": "sysrq"},
                "timeout": {"type": "int", "default": 900},
                "confirm": {"type": "bool", "default": False},
            }
        )
        self._vars = task_vars or {}
        self._engine = args["engine"]
        # With delegate_to it is that host which crashes.
        self._name = self._task.delegate_to or self._vars.get("inventory_hostname", "the host")
        try:
            result.update(self._test(args))
        except Failure as failure:
            result.update(failure.known, failed=True, msg=str(failure))
        return result

    def _test(self, args: dict[str, Any]) -> dict[str, Any]:
        if not args["confirm"]:
            raise Failure(
                "This task crashes the host, so it has to be confirmed. "
                "Set confirm to true (the playbook crash_test: -e kdump_crash_test=true)."
            )
        if args["timeout"] < 1:
            raise Failure(f"timeout cannot be {args['timeout']}: nobody would wait for the host. Give it in seconds.")
        if self._connection.transport == "local":
            raise Failure("This task would crash the controller itself, over its local connection. Name another host.")
        before = self._host_part("observe")
        self._check(before)
        seen = self._look("")  # whoever cannot look at the target now, cannot afterwards
        known = {"readiness": before["readiness"], "reasons": before["reasons"]}
        if seen["waiting"]:
            raise Failure(f"{self._name} is not crashed: {' '.join(seen['waiting'])}", **known)
        if self._task.check_mode:
            return {"changed": True, "msg": f"Would crash {self._name} and wait {args['timeout']} s for it.", **known}
        self._give_up_the_dead()
        marker = f"vmcore.kdump: crash test {secrets.token_hex(8)}"
        try:
            self._host_part("trigger", marker=marker, boot_id=before["boot_id"])
        except AnsibleConnectionFailure as error:  # the panic may have been quicker than the answer: the boot id tells
            display.display(f"{self._name}: no answer to the order to panic ({error})")
        panic_at = time.monotonic() + 1.0
        display.display(f"{self._name}: the kernel panics now")
        away = self._wait_until_back(before, panic_at, args["timeout"])
        with contextlib.suppress(AnsibleError):
            self.cleanup(force=True)  # the temporary directory may have been in memory
        after = self._wait_until_armed(panic_at + args["timeout"])
        dump = self._verify(before, after, seen, marker)
        done = self._host_part("record", proof=proof(before, dump, away))
        return {"changed": True, "proof": done["proof"], "readiness": done["readiness"], "reasons": done["reasons"]}

    # --- before ----------------------------------------------------------------------------------------------------
    def _check(self, host: dict[str, Any]) -> None:
        """Failure for a host that must not, or need not, be crashed."""
        known = {"readiness": host["readiness"], "reasons": host["reasons"]}
        if host["boot_id"] == controller_boot_id():
            raise Failure(f"{self._name} runs on the controller's own kernel, which a crash would end too.", **known)
        if host["readiness"] not in CRASHABLE:
            raise Failure(
                f"{self._name} is {host['readiness']}, so a crash would prove nothing. {sentences(host['reasons'])}",
                **known,
            )
        if not host["image"] or host["image"]["digest"] != host["inputs"]["digest"] or not host["image"]["current"]:
            raise Failure(
                f"{self._name} has another capture image loaded than its configuration gives today, so a crash would prove "
                f"what the next boot replaces. Run the role first. {sentences(host['reasons'])}", **known
            )  # fmt: skip
        if not host["can_panic"]:
            raise Failure(f"The kernel of {self._name} has no /proc/sysrq-trigger (CONFIG_MAGIC_SYSRQ).", **known)

    def _give_up_the_dead(self) -> None:
        """A machine that panics ends no connection: without this ssh would wait for it for ever."""
        if self._connection.transport == "ssh":
            given = self._connection.get_option("ssh_extra_args") or ""
            alive = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
            self._connection.set_option("ssh_extra_args", f"{given} {alive}".strip())

    # --- away ------------------------------------------------------------------------------------------------------
    def _wait_until_back(self, before: dict[str, Any], panic_at: float, timeout: float) -> float:
        """Wait for another boot of the host; the seconds from the panic until it answered."""
        boot_id = before["boot_id"]
        time.sleep(SETTLE)
        reached = False
        while True:
            now = self._boot_id()
            away = time.monotonic() - panic_at
            if now and now != boot_id:
                display.display(f"{self._name}: back after {away:.0f} s")
                return away
            reached = now == boot_id
            if away > timeout or (reached and away > 60):
                break
            display.display(f"{self._name}: " + ("still running" if reached else f"unreachable since {away:.0f} s"))
            time.sleep(INTERVAL)
        if reached:
            raise Failure(f"{self._name} still runs {away:.0f} s after it was told to panic. See the end of its dmesg.")
        raise Failure(
            f"{self._name} did not come back in {away:.0f} s. Look at its console: where the capture kernel says nothing it "
            f"did not start (a larger crashkernel= may help), and where it has failed its last lines say in what."
            f"{stays_down(before['conf']['options'])}"
        )

    def _boot_id(self) -> str:
        """The boot id of the host; "" while it does not answer."""
        try:
            self._connection.reset()  # whatever was connected to the kernel that is gone
            result = self._low_level_execute_command(f"cat {CONTROLLER_BOOT_ID}", sudoable=False)
        except (AnsibleError, OSError) as error:
            display.vvv(f"{self._name}: {error}")
            return ""
        return result["stdout"].strip() if result.get("rc") == 0 else ""

    # --- back ------------------------------------------------------------------------------------------------------
    def _wait_until_armed(self, deadline: float) -> dict[str, Any]:
        """The host as it is when it is armed again, or when that took too long."""
        # A host that came back in the last moment still gets the time to arm itself.
        deadline = max(min(deadline, time.monotonic() + ARMING), time.monotonic() + ARMING / 3)
        while True:
            try:
                after = self._host_part("observe")
                if after["readiness"] in CRASHABLE or time.monotonic() > deadline:
                    return after
                display.display(f"{self._name}: {after['readiness']}, waiting for it to arm itself")
            except (AnsibleError, Failure) as error:  # sshd answers before a login is possible (pam_nologin)
                if time.monotonic() > deadline:
                    raise Failure(f"{self._name} is back and cannot be looked at: {error}") from error
                display.vvv(f"{self._name}: {error}")
            time.sleep(INTERVAL)

    def _look(self, marker: str) -> dict[str, Any]:
        """What lies at the target, also after a crash, when a server may be slow to answer."""
        for attempt in range(LOOKS):
            try:
                return self._host_part("look", marker=marker)
            except AnsibleConnectionFailure:
                if not marker or attempt == LOOKS - 1:
                    raise
            except Failure as failure:
                if not marker or attempt == LOOKS - 1:
                    raise Failure(f"{self._name}: {failure}", **failure.known) from failure
            time.sleep(INTERVAL)
        raise AssertionError("unreachable")

    def _verify(
        self, before: dict[str, Any], after: dict[str, Any], seen: dict[str, Any], marker: str
    ) -> dict[str, Any]:
        """The one new dump, if it is what it has to be; Failure with everything known about it otherwise."""
        now = self._look(marker)
        new = [dump for dump in not_in(seen, now, "dumps") if dump["own"] or dump["marked"]]
        known = {"vmcores": new, "readiness": after["readiness"], "reasons": after["reasons"],
                 "failures": not_in(seen, now, "reports")}  # fmt: skip
        dumps = [dump for dump in new if dump["path"]]
        if not dumps:
            said = no_vmcore(seen, now, new, after["engine"])
            raise Failure(f"{self._name} came back without a new vmcore. {said}", **known)
        dump = next((dump for dump in dumps if dump["marked"]), dumps[0])
        if dump["verdict"] != "complete":
            raise Failure(
                f"{self._name} came back with {dump['path']}, which is {dump['verdict']}: "
                f"{' '.join(dump['problems'])} {told_by_capture(dump, after['engine'])}", **known
            )  # fmt: skip
        if not dump["marked"]:
            raise Failure(
                f"{dump['path']} reads as whole, and the kernel's log beside it does not hold the marker of this crash "
                f"({marker}): it is of another crash, or its log was lost. It says: {dump['panic'] or 'nothing'}", **known
            )  # fmt: skip
        if dump["path"].endswith("-incomplete") or (dump["capture"] or {}).get("status"):
            raise Failure(
                f"{dump['path']} reads as whole, and the capture kernel says that the dump failed. "
                f"{told_by_capture(dump, after['engine'])}",
                **known
            )  # fmt: skip
        captured_by = (dump["capture"] or {}).get("digest", before["inputs"]["digest"])
        if captured_by != before["inputs"]["digest"]:
            raise Failure(f"{dump['path']} was captured by another image ({captured_by}) than the one loaded.", **known)
        if after["readiness"] not in CRASHABLE:
            raise Failure(
                f"{self._name} has delivered {dump['path']}, whole, and is not armed again: {after['readiness']}. "
                f"{sentences(after['reasons'])}", **known
            )  # fmt: skip
        return dump

    # --- modules ---------------------------------------------------------------------------------------------------
    def _host_part(self, phase: str, **values: Any) -> dict[str, Any]:
        return self._execute(MODULE, {"engine": self._engine, "host_part": dict(values, phase=phase)})

    def _execute(self, module: str, args: dict[str, Any]) -> dict[str, Any]:
        result = self._execute_module(module_name=module, module_args=args, task_vars=self._vars)
        if result.get("failed") or result.get("unreachable") or result.get("rc", 0) != 0:
            raise Failure(str(result.get("msg") or result.get("module_stderr") or result))
        return result


def controller_boot_id() -> str:
    try:
        return CONTROLLER_BOOT_ID.read_text().strip()
    except OSError:  # not Linux
        return ""


def sentences(reasons: list[dict[str, Any]]) -> str:
    return " ".join(f"{reason['message']} {reason['hint']}" for reason in reasons)


def stays_down(options: dict[str, str]) -> str:
    """What of a kdump.conf keeps a host from coming back by itself."""
    named = [f"{name} {options[name]}" for name in ("final_action", "failure_action", "default") if name in options]
    named = [text for text in named if text.endswith((" halt", " poweroff", " shell"))]
    return f" Its kdump.conf has {', '.join(named)}: after that it does not restart by itself." if named else ""


def not_in(before: dict[str, Any], now: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What lies in a directory that was not there before."""
    there = [one["directory"] for one in before[name]]
    return [one for one in now[name] if one["directory"] not in there]


def no_vmcore(before: dict[str, Any], now: dict[str, Any], new: list[dict[str, Any]], engine: str) -> str:
    """Why, by all that was left: at the target, in the reports on the host, on its root file system, on a raw device."""
    said = [
        f"{dump['directory']} holds {', '.join(dump['files'])}. {told_by_capture(dump, engine)}" for dump in new
    ]  # fmt: skip
    for report in not_in(before, now, "reports"):
        said.append(f"The capture kernel reported in {report['directory']}: {report['message'].rstrip('.')}.")
    for dump in not_in(before, now, "rescued"):
        said.append(
            f"As failure_action wants it, {dump['path'] or dump['directory']} was saved instead ({dump['verdict']})."
        )
    return " ".join(said + now["waiting"]) or (
        f"Nothing new lies at {now['where']}, and no report was left on the host: the capture kernel did not start, ran out of "
        f"memory, or did not find its target. Its console says which; a larger crashkernel= helps against the first two."
    )


def told_by_capture(dump: dict[str, Any], engine: str) -> str:
    """What capture.json, which the native engine writes, says of a capture that went wrong."""
    capture = dump["capture"]
    if capture is None and engine != "native":
        return "What was written beside it, or the console, says more (kexec-dmesg.log with kdumpctl)."
    if capture is None:
        return (
            "There is no capture.json: the capture kernel was stopped before its end (out of memory, or a power cut)."
        )
    failed = [f"{phase['name']} (exit code {phase['exit']})" for phase in capture["phases"] if phase["exit"]]
    why = f" ({capture['message'].rstrip('.')})" if capture.get("message") else ""
    return (
        f"By its capture.json it failed in: {', '.join(failed) or 'nothing'}{why}; kexec-dmesg.log beside it says more. "
        f"At worst {capture['memory_low_water'] >> 20} MiB of memory were available: below 8, raise crashkernel=."
    )


def proof(before: dict[str, Any], dump: dict[str, Any], away: float) -> dict[str, Any]:
    """What is to be recorded; the host adds the time."""
    capture = dump["capture"] or {}
    return {
        "inputs": before["inputs"],
        "vmcore": dump["path"],
        "verdict": dump["verdict"],
        "seconds_to_capture": capture.get("seconds"),
        "seconds_unreachable": round(away, 1),
        "memory_low_water": capture.get("memory_low_water"),
    }
