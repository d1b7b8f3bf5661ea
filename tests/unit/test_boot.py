# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What arms a host at boot: its files, what they say to the tools that read them, and what is left of them."""

import ast
import io
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import boot, evidence, kexec, layout
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.unit.kexec_host import KexecHost

PYTHON = "/usr/bin/python3.11"
FILES = [layout.UNIT, layout.UNIT_END, layout.UDEV_RULE, layout.HOOK_POSTINST, layout.HOOK_POSTRM, layout.HOOK_INSTALL]
HOOKS = FILES[3:]


@pytest.fixture
def host(tmp_path):
    host = KexecHost(tmp_path)
    host.put(PYTHON, b"")
    os.symlink("python3.11", host.path("/usr/bin") + "/python3")
    return host


def bring(host, state):
    plan = boot.decide(host, state, PYTHON)
    plan.apply(host)
    return plan


# --- the program ---------------------------------------------------------------------------------------------------
def test_the_program_is_the_same_bytes_every_time():
    assert boot.program_bytes.__wrapped__() == boot.program_bytes()
    for entry in zipfile.ZipFile(io.BytesIO(boot.program_bytes())).infolist():
        assert entry.date_time == (1980, 1, 1, 0, 0, 0) and entry.compress_type == zipfile.ZIP_STORED
        assert entry.external_attr >> 16 == 0o100644


def test_the_program_holds_what_it_imports_and_nothing_of_ansible():
    names = zipfile.ZipFile(io.BytesIO(boot.program_bytes())).namelist()
    base = "ansible_collections/vmcore/kdump/plugins/module_utils/"
    for name in ("__init__", "program", "kexec", "sysconfig", "_host/__init__", "_host/syscalls", "image/build"):
        assert base + name + ".py" in names
    for name in (
        "_module",
        "boot",
        "crashkernel",
        "engine",
        "engines/native",
        "engines/kdumpctl",
        "engines/kdump_tools",
    ):
        assert base + name + ".py" not in names


def relative_imports(source):
    """As Python itself finds them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(["p"] * (9 - node.level + 1) + ([node.module] if node.module else []))
            yield from [base] + [base + "." + alias.name for alias in node.names]


def test_no_import_is_overlooked():
    for path in pathlib.Path(boot.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert set(relative_imports(source)) <= set(boot._imports(source, ".".join("p" * 9))), path


def test_the_program_runs_by_itself(tmp_path):
    program = tmp_path / "kdump.pyz"
    program.write_bytes(boot.program_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "--help"], stdout=subprocess.PIPE, cwd="/", check=False
    )
    assert done.returncode == 0
    for command in (b"arm", b"build", b"unload", b"status", b"remove"):
        assert command in done.stdout


# --- states --------------------------------------------------------------------------------------------------------
def test_present_installs_enables_and_is_then_content(host):
    plan = bring(host, "present")
    assert plan.actions == (
        ["write " + layout.PROGRAM] + ["write " + path for path in FILES] + ["enable " + layout.UNIT_NAME]
    )
    assert not boot.decide(host, "present", PYTHON).changed
    report = boot.report(host)
    assert report["enabled"] and len(report["program"]["digest"]) == 64
    assert os.readlink(host.path("/etc/systemd/system/multi-user.target.wants") + "/" + layout.UNIT_NAME) == layout.UNIT
    assert host.calls == [], "systemd does not run on this host"
    for path in HOOKS:
        assert stat.S_IMODE(host.stat(path).st_mode) == 0o755


def test_systemd_and_udev_are_told_where_they_run(host):
    host.make_directories("/run/systemd/system")
    bring(host, "present")
    reload, udev = ("run", "systemctl", "daemon-reload"), ("run", "udevadm", "control", "--reload")
    assert host.calls == [reload, udev, ("run", "systemctl", "restart", layout.UNIT_END_NAME)]
    assert not boot.decide(host, "present", PYTHON).changed, "a unit that does not start keeps no host unarmed"
    host.calls.clear()
    bring(host, "absent")
    assert host.calls == [reload, reload, udev]


def test_a_tool_that_fails_is_reported(host):
    host.make_directories("/run/systemd/system")
    host._runner = lambda argv, **options: Result(argv, 1, "", "no bus")
    with pytest.raises(KdumpError) as caught:
        bring(host, "present")
    assert "systemctl daemon-reload" in str(caught.value) and "no bus" in str(caught.value)


@pytest.mark.parametrize("path", FILES + [layout.PROGRAM])
def test_what_was_changed_by_hand_is_put_right(host, path):
    bring(host, "present")
    host.put(path, b"changed")
    assert boot.decide(host, "present", PYTHON).actions == ["write " + path]


def test_a_hook_that_lost_its_mode_gets_it_again(host):
    bring(host, "present")
    os.chmod(host.path(layout.HOOK_POSTRM), 0o644)
    assert bring(host, "present").actions == ["write " + layout.HOOK_POSTRM]
    assert stat.S_IMODE(host.stat(layout.HOOK_POSTRM).st_mode) == 0o755


def test_a_relative_link_is_as_good(host):
    bring(host, "present")
    host.remove(layout.UNIT_LINK)
    host.symlink("../" + layout.UNIT_NAME, layout.UNIT_LINK)
    assert boot.is_enabled(host) and not boot.decide(host, "present", PYTHON).changed


def test_a_masked_unit_is_the_admins_word(host):
    host.symlink("/dev/null", layout.UNIT)
    with pytest.raises(KdumpError) as caught:
        boot.decide(host, "present", PYTHON)
    assert "masked" in str(caught.value)


def test_disabled_keeps_the_files_and_unloads(host):
    host.image()
    kexec.decide(host, kexec.REQUEST).apply(host)
    bring(host, "present")
    plan = bring(host, "disabled")
    assert plan.actions == ["disable " + layout.UNIT_NAME, "unload the crash kernel"]
    assert not kexec.is_loaded(host) and not boot.is_enabled(host) and host.is_file(layout.PROGRAM)
    assert not boot.decide(host, "disabled", PYTHON).changed


def test_absent_leaves_nothing(host, tmp_path):
    before = sorted(str(path) for path in tmp_path.rglob("*") if not path.is_dir())
    host.image()
    kexec.decide(host, kexec.REQUEST).apply(host)
    host.put(layout.PROOF, b"{}")
    host.put(layout.IMAGE_DIR + "/.x.img.vmcore-kdump.tmp", b"left by a killed run")
    for folder in layout.ENGINE_DIRS:
        host.put(folder + "/image.json", b"{}")
    bring(host, "present")
    bring(host, "absent")
    assert sorted(str(path) for path in tmp_path.rglob("*") if not path.is_dir()) == before
    for folder in (layout.STATE_DIR, layout.RUN_DIR, os.path.dirname(layout.PROGRAM)):
        assert not host.exists(folder)
    assert not kexec.is_loaded(host) and not boot.decide(host, "absent", PYTHON).changed


def test_absent_leaves_a_dump_server_what_it_needs(host):
    bring(host, "present")
    host.put(layout.RECEIVER, b"its program")
    bring(host, "absent")
    assert host.read(layout.RECEIVER) == b"its program" and not host.exists(layout.PROGRAM)
    assert not boot.decide(host, "absent", PYTHON).changed


def test_absent_sweeps_up_what_killed_runs_left(host):
    left = [host.temporary(path) for path in FILES + [layout.CONF, layout.SYSCONFIG, layout.TRIGGERS]]
    for path in left:
        host.put(path, b"half a fi")
    host.symlink(layout.UNIT, host.temporary(layout.UNIT_LINK))
    bring(host, "absent")
    assert [path for path in left if host.exists(path)] == []
    assert host.readlink(host.temporary(layout.UNIT_LINK)) is None
    assert not boot.decide(host, "absent", PYTHON).changed


def test_absent_does_not_unload_what_another_tool_has_loaded(host):
    bring(host, "present")
    host.sysfs("crash", 1)
    bring(host, "absent")
    assert kexec.is_loaded(host)


def test_absent_works_where_unloading_is_switched_off(host):
    host.image()
    kexec.decide(host, kexec.REQUEST).apply(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    bring(host, "absent")
    assert kexec.is_loaded(host) and not host.exists(layout.RUN_DIR)


def test_files_of_others_in_our_directories_are_not_removed(host):
    bring(host, "present")
    host.put(layout.STATE_DIR + "/mine/notes", b"")
    with pytest.raises(KdumpError) as caught:
        bring(host, "absent")
    assert "mine" in str(caught.value) and host.exists(layout.STATE_DIR + "/mine/notes")


# --- what would keep it from arming --------------------------------------------------------------------------------
def change(path, before, after):
    def apply(host):
        assert before in host.read_text(path)
        host.put(path, host.read_text(path).replace(before, after).encode())

    return apply


AMISS = {  # what is done to an enabled host, and what is said of the next boot
    "nothing": (lambda host: None, ""),
    "no program": (lambda host: host.remove(layout.PROGRAM), layout.PROGRAM + " is missing or damaged"),
    "an empty program": (lambda host: host.put(layout.PROGRAM, b""), layout.PROGRAM + " is missing or damaged"),
    "a program of zeros": (lambda host: host.put(layout.PROGRAM, bytes(99)), "missing or damaged"),
    "another program": (change(layout.UNIT, "kdump.pyz arm", "kdump.pyz status"), layout.UNIT + " was changed"),
    "no program run": (lambda host: host.put(layout.UNIT, b"[Service]\nExecStart=/bin/true\n"), "was changed"),
    "a second one": (change(layout.UNIT, "ExecReload", "ExecStart"), "was changed"),
    "an empty unit": (lambda host: host.put(layout.UNIT, b""), "was changed"),
    "no interpreter": (lambda host: host.remove("/usr/bin/python3"), "names the interpreter /usr/bin/python3, which is gone"),
    "another target": (lambda host: host.put(layout.CONF, b"ssh kdump@dumps\n"), ""),
    "another limit": (change(layout.UNIT, "15min", "1h"), ""),
    "flags of another version": (change(layout.UNIT, "-I -S ", "-I -B "), ""),
    "the unit of another version": (change(layout.UNIT, "LockPersonality=yes", "PrivateTmp=no"), ""),
    "a drop-in": (lambda host: host.put(layout.UNIT + ".d/x.conf", b"[Service]\nExecStart=\n"), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", AMISS)
def test_why_an_enabled_unit_would_arm_nothing(host, name):
    spoil, said = AMISS[name]
    bring(host, "present")
    spoil(host)
    found = boot.problems(host)
    assert [said in problem.message and "module vmcore.kdump.boot" in problem.hint for problem in found] == (
        [True] if said else []
    )
    if said and name != "no interpreter":
        bring(host, "present")
        assert boot.problems(host) == []


@pytest.mark.parametrize("state", ["disabled", "absent"])
def test_of_a_host_that_is_not_to_arm_itself_nothing_is_said(host, state):
    assert boot.problems(host) == boot.warnings(host) == []
    loaded_and_noting(host)
    bring(host, state)
    host.remove(layout.PROGRAM)
    host.remove(layout.RUNNING)
    assert boot.problems(host) == boot.warnings(host) == []


def loaded_and_noting(host):
    """An armed host whose end unit does what it is there for when it is started."""
    host.make_directories("/run/systemd/system")
    host.put("/proc/sys/kernel/random/boot_id", b"boot-1\n")

    def run(argv, **options):
        if argv == ["systemctl", "restart", layout.UNIT_END_NAME]:
            evidence.begin(host)
        return Result(argv, 0, "", "")

    host._runner = run
    bring(host, "present")
    host.image()
    kexec.decide(host, kexec.REQUEST).apply(host)


UNNOTED = {  # what is done to a host whose boot is noted, and what is warned of
    "nothing": (lambda host: None, ""),
    "no unit": (lambda host: host.remove(layout.UNIT_END), layout.UNIT_END + " is missing"),
    "it was stopped": (lambda host: host.rename(layout.RUNNING, layout.ENDED), "has failed or was stopped"),
    "it failed at this boot": (
        lambda host: host.put("/proc/sys/kernel/random/boot_id", b"boot-2\n"), "has failed or was stopped"),
    "it may be still to start": (
        lambda host: (host.remove(layout.RUNNING), kexec.unload(host, "crash")), ""),
    "systemd skips it in this boot": (
        lambda host: (host.remove(layout.RUNNING), host.put("/proc/cmdline", b"ro\n")), ""),
    "there is no systemd": (
        lambda host: (host.remove(layout.RUNNING), host.remove_empty_directory("/run/systemd/system")), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", UNNOTED)
def test_that_nobody_would_be_told_of_a_crash_is_a_warning(host, name):
    spoil, said = UNNOTED[name]
    loaded_and_noting(host)
    spoil(host)
    found = boot.warnings(host)
    assert [said in problem.message and bool(problem.hint) for problem in found] == ([True] if said else [])


def test_a_host_that_was_given_up_and_is_armed_again_in_the_same_boot_is_noted(host):
    loaded_and_noting(host)
    for state in ("disabled", "absent"):
        bring(host, state)
        bring(host, "present")
        host.image()
        kexec.decide(host, kexec.REQUEST).apply(host)
        assert boot.warnings(host) == boot.problems(host) == []


def test_check_mode_of_a_first_run_leaves_nothing_to_warn_of(host):
    host.make_directories("/run/systemd/system")
    host.image()
    kexec.decide(host, kexec.REQUEST).apply(host)
    assert boot.decide(host, "present", PYTHON).changed
    assert boot.warnings(host) == boot.problems(host) == []


# --- the interpreter -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, expected",
    [
        pytest.param(PYTHON, "/usr/bin/python3", id="the versioned name of the system's"),
        pytest.param("/usr/bin/python3", "/usr/bin/python3", id="the stable name"),
        pytest.param("/opt/python/bin/python3.9", "/opt/python/bin/python3.9", id="one of its own"),
        pytest.param("/opt/venv/bin/python", "/usr/bin/python3", id="a virtual environment of the system's"),
    ],
)
def test_stable_python(host, given, expected):
    host.put("/opt/python/bin/python3.9", b"")
    host.make_directories("/opt/venv/bin")
    os.symlink(PYTHON, host.path("/opt/venv/bin") + "/python")
    assert boot.stable_python(host, given) == expected


def test_platform_python_comes_first(host):
    host.make_directories("/usr/libexec")
    os.symlink(PYTHON, host.path("/usr/libexec") + "/platform-python")
    assert boot.stable_python(host, PYTHON) == "/usr/libexec/platform-python"


def test_an_interpreter_that_a_unit_cannot_name_is_refused(host):
    host.put("/opt/my python", b"")
    with pytest.raises(KdumpError) as caught:
        boot.decide(host, "present", "/opt/my python")
    assert "ansible_python_interpreter" in str(caught.value)


# --- the texts, by the tools that read them ------------------------------------------------------------------------
@pytest.mark.parametrize("path", HOOKS)
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_hooks_pass_shellcheck(host, path):
    bring(host, "present")
    done = subprocess.run(
        ["shellcheck", host.path(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("text", ["", "ssh kdump@dumps\n", "raw /dev/vdb\n"])
def test_systemd_understands_the_units(host, tmp_path, text):
    host.put(layout.CONF, text.encode())
    bring(host, "present")
    units = {layout.UNIT_NAME: layout.UNIT, layout.UNIT_END_NAME: layout.UNIT_END}
    for name, path in units.items():
        (tmp_path / name).write_text(host.read_text(path).replace("/usr/bin/python3 ", sys.executable + " "))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no"] + [str(tmp_path / name) for name in units],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = [line for line in done.stdout.decode().splitlines() if "vmcore-kdump" in line]
    assert said == [] and done.returncode == 0


@pytest.fixture
def hooked(host):
    """A host whose hooks call a program that keeps its arguments and fails, as a guest with systemd would run them."""
    host.make_directories("/run/systemd/system")
    bring(host, "present")
    root = host.root
    for path in HOOKS:
        text = host.read_text(path).replace(" /run/systemd", " %s/run/systemd" % root)
        for place in (layout.UNIT_LINK, layout.PROGRAM):
            text = text.replace(" " + place, " " + root + place)
        host.put(path, text.replace("/usr/bin/python3 ", root + "/fake-python ").encode())
        os.chmod(host.path(path), 0o755)
    host.write("/fake-python", ('#!/bin/sh\necho "$@" >> %s/called\nexit 1\n' % root).encode(), 0o755)
    return host


def called(host, path, *arguments):
    done = subprocess.run(
        [host.path(path)] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, "a hook must never fail"
    assert done.stdout == b""
    text = host.read_text("/called", "")
    host.remove("/called")
    return text.partition("kdump.pyz ")[2].strip()


@pytest.mark.parametrize(
    "path, arguments, expected",
    [
        (layout.HOOK_POSTINST, ["6.13", "/boot/vmlinuz-6.13"], "build --kernel 6.13"),
        (layout.HOOK_POSTRM, ["6.13", "/boot/vmlinuz-6.13"], "remove --kernel 6.13"),
        (layout.HOOK_INSTALL, ["add", "6.13", "/boot/1/6.13", "/k"], "build --kernel 6.13"),
        (layout.HOOK_INSTALL, ["remove", "6.13", "/boot/1/6.13"], "remove --kernel 6.13"),
        (layout.HOOK_INSTALL, ["inspect", "6.13"], ""),
        (layout.HOOK_POSTINST, [], ""),
    ],
)
def test_hooks_call_the_program_and_never_fail(hooked, path, arguments, expected):
    assert called(hooked, path, *arguments) == expected


@pytest.mark.parametrize("missing", ["/run/systemd/system", layout.UNIT_LINK, layout.PROGRAM])
def test_hooks_are_silent_on_a_host_that_does_not_arm_itself(hooked, missing):
    if missing == "/run/systemd/system":
        hooked.remove_empty_directory(missing)
    else:
        hooked.remove(missing)
    for path in HOOKS:
        assert called(hooked, path, "add", "6.13") == ""


def test_the_udev_rule_asks_the_kernel_first(host):
    bring(host, "present")
    lines = [line for line in host.read_text(layout.UDEV_RULE).splitlines() if not line.startswith("#")]
    assert 'ATTRS{crash_hotplug}=="1"' in lines[1] and layout.LOADED in lines[2]
    assert layout.UNIT_LINK in lines[3]
    assert all("RUN" not in line for line in lines[:4])
    assert lines[-1] == 'LABEL="vmcore_kdump_end"' and all(lines[-1][6:] in line for line in lines[:4])


# --- what the units follow -----------------------------------------------------------------------------------------
NFS = "1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 0:40 / /mnt rw - nfs4 192.0.2.9:/export rw,addr=192.0.2.9\n"
ONLINE = "network-online.target"
REMOTE = {  # kdump.conf, mountinfo, fstab: what the unit waits for beyond local file systems
    "no configuration": ("", "", "", []),
    "a local file system": ("ext4 UUID=1\n", "", "", []),
    "a raw device": ("raw /dev/vdb\n", "", "", []),
    "a server by ssh": ("ssh kdump@dumps.example.com\n", "", "", [ONLINE]),
    "an export": ("nfs dumps.example.com:/export\n", "", "", [ONLINE]),
    "dracut's --mount": ('dracut_args --mount "dumps:/export /mnt nfs4 defaults"\n', "", "", [ONLINE]),
    "a path on a mounted export": ("path /mnt/crash\n", NFS, "", [ONLINE, "remote-fs.target"]),
    "a path on an export of fstab": ("path /mnt/crash\n", "", "dumps:/x /mnt nfs defaults 0 0\n", [ONLINE, "remote-fs.target"]),
    "a path beside an export": ("path /var/crash\n", NFS, "", []),
    "a cluster": ("fence_kdump_nodes node2 node3\n", "", "", [ONLINE]),
}  # fmt: skip


@pytest.mark.parametrize("name", REMOTE)
def test_the_unit_waits_for_the_network_only_where_the_target_is_remote(host, name):
    text, mountinfo, fstab, waits = REMOTE[name]
    bring(host, "present")
    host.put(layout.CONF, text.encode())
    host.put("/proc/self/mountinfo", mountinfo.encode())
    host.put("/etc/fstab", fstab.encode())
    plan = bring(host, "present")
    assert (plan.actions == ["write " + layout.UNIT]) == (waits != [] or name == "a raw device"), (
        "the plan sees the change"
    )
    lines = host.read_text(layout.UNIT).split("\n")
    assert "After=" + " ".join(["local-fs.target"] + waits) in lines
    assert "Wants=" + " ".join([layout.UNIT_END_NAME] + waits) in lines
    assert ("TimeoutStartSec=4h" in lines) == (name == "a raw device")


def test_a_shutdown_costs_one_rename_that_may_fail(host):
    bring(host, "present")
    lines = host.read_text(layout.UNIT_END).split("\n")
    stops = [line for line in lines if line.startswith("ExecStop=")]
    assert stops == ["ExecStop=-/bin/mv -f %s %s" % (layout.RUNNING, layout.ENDED)]
    for line in ("Conflicts=shutdown.target", "Before=shutdown.target", "DefaultDependencies=no", "TimeoutStopSec=5"):
        assert line in lines


def test_absent_takes_the_reports_of_failures_too(host):
    bring(host, "present")
    host.put(layout.FAILED + "/2026-11-24-10:30:00/capture.json", b"{}")
    host.put(layout.BOOT, b"{}")
    bring(host, "absent")
    assert not host.exists(layout.STATE_DIR) and not host.exists(layout.UNIT_END)
