# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import errno
import os
import shutil
import subprocess
from typing import Any, Dict

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import engine, kexec_state, layout, sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import (
    kdump_tools,
    kdump_tools_boot,
    kdump_tools_load,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import Plan, Step
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing
from ansible_collections.vmcore.kdump.tests.contract import debian

FILE = "/etc/default/kdump-tools"
IMAGE = "/var/lib/kdump/initrd.img-" + debian.RELEASE
APPEND = "reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb"
BUILD = {"kernel": "", "force": False, "_check": False}
LOAD = {"type": "crash", "state": "loaded", "_check": False}


@pytest.fixture
def host(tmp_path):
    return debian.DebianHost(tmp_path)


def build(host, **params):
    outcome = {}
    plan = kdump_tools.build_plan(host, dict(BUILD, **params), outcome)
    plan.apply(host)
    return plan, kdump_tools.build_report(host, dict(BUILD, **params), outcome)


def load(host, **params):
    plan = kdump_tools.load_plan(host, dict(LOAD, **params))
    plan.apply(host)
    return plan


@pytest.fixture(scope="module")
def armed_tree(tmp_path_factory):
    host = debian.DebianHost(tmp_path_factory.mktemp("armed"))
    build(host)
    kdump_tools.boot_plan(host, "present").apply(host)
    load(host)
    return host.root


@pytest.fixture
def armed(armed_tree, tmp_path):
    """A host that kdump-tools has armed, in a copy of one that was made for all tests."""
    root = tmp_path / "host"
    shutil.copytree(armed_tree, str(root), symlinks=True)
    host = debian.DebianHost(root, fresh=False)
    for path in ("/var/crash/kexec_cmd", layout.LOADED):  # newer than what they were made from, one after the other
        os.utime(host.path(path), None)
    return host


def put_settings(host, **settings):
    host.put(FILE, sysconfig.edit(host.read_text(FILE, ""), settings, []))


def problems_of(function, *arguments):
    with pytest.raises(KdumpError) as caught:
        function(*arguments)
    assert all(problem.message for problem in caught.value.problems)
    return caught.value.problems


def messages_of(function, *arguments):
    return " ".join(problem.message for problem in problems_of(function, *arguments))


# --- the program that stands for kdump-config ----------------------------------------------------------------------
def test_the_program_refuses_what_kdump_config_refuses(host):
    for text, said in (("USE_KDUMP=0\n", "USE_KDUMP"), ("USE_KDUMP = 1\n", "USE_KDUMP is not set")):
        host.put(FILE, text)
        done = host.run(["kdump-config", "load"])
        assert done.rc == 1 and said in done.out
    host.put(FILE, debian.DEFAULTS)
    host.put("/proc/cmdline", "ro\n")
    assert "no crashkernel=" in host.run(["kdump-config", "load"]).out
    host.put("/proc/cmdline", debian.RUNNING)
    assert host.run(["kdump-config", "load"]).rc == 0 and host.is_loaded()
    again = host.run(["kdump-config", "load"])
    assert again.rc == 1 and "Cannot change symbolic links when kdump is loaded" in again.out


def test_the_program_deletes_an_image_whose_sysctls_it_has_not_seen(host):
    host.put(IMAGE, "made by hand")
    host.run(["kdump-config", "load"])
    assert host.read(IMAGE) != b"made by hand"
    host.run(["kdump-config", "unload"])
    before = host.read(IMAGE)
    host.run(["kdump-config", "load"])
    assert host.read(IMAGE) == before


def test_status_and_the_init_script_end_with_0_whatever_is(host):
    host.put(FILE, "USE_KDUMP=0\n")
    assert host.run(["kdump-config", "status"]).rc == 0
    assert host.run(["/etc/init.d/kdump-tools", "start"]).rc == 0 and not host.is_loaded()


# --- image ---------------------------------------------------------------------------------------------------------
def test_an_image_is_built_once_and_survives_the_load(host):
    plan, report = build(host)
    assert plan.actions == ["have kdump-tools build the capture image " + IMAGE]
    assert report["path"] == IMAGE and report["bytes"] > 1 << 20
    assert report["digest"] == kdump_tools.image(host, debian.RELEASE).digest
    assert not build(host)[0].changed
    before = host.read(IMAGE)
    kdump_tools.boot_plan(host, "present").apply(host)
    load(host)
    assert host.read(IMAGE) == before
    assert not build(host)[0].changed


IN_THE_IMAGE = {
    "a module's index": "/lib/modules/%s/modules.dep" % debian.RELEASE,
    "initramfs-tools' configuration": "/etc/initramfs-tools/conf.d/more",
    "another package's hook": "/usr/share/initramfs-tools/hooks/zz-more",
    "the capture's sysctls": "/etc/kdump/sysctl.conf",
    "options of modules": "/etc/modprobe.d/more.conf",
    "the kernel": debian.KERNEL,
}


@pytest.mark.parametrize("path", list(IN_THE_IMAGE.values()), ids=list(IN_THE_IMAGE))
def test_a_change_to_what_is_in_the_image_builds_it_anew(armed, path):
    before = armed.read(IMAGE)
    armed.put(path, debian.bzimage(41 << 20) if path == debian.KERNEL else "changed\n")
    assert build(armed)[0].changed
    assert armed.read(IMAGE) != before
    assert load(armed).changed
    assert kdump_tools.difference(armed, kdump_tools.configuration(armed)) is None


def test_what_goes_from_initramfs_tools_builds_it_anew(armed):
    armed.remove("/usr/share/initramfs-tools/hooks/lvm2")
    assert build(armed)[0].actions == ["have kdump-tools build the capture image " + IMAGE]


def test_what_is_read_in_the_crash_is_noted_without_a_build(armed):
    before, digest = armed.read(IMAGE), kdump_tools.image(armed, debian.RELEASE).digest
    put_settings(armed, MAKEDUMP_ARGS="-l -d 17")
    assert not load(armed).changed, "nothing of it is in what is loaded"
    plan, report = build(armed)
    assert plan.actions[0].startswith("note what a capture now goes by")
    assert armed.read(IMAGE) == before
    assert report["digest"] != digest
    assert kdump_tools.loaded(armed).digest == report["digest"]
    assert not build(armed)[0].changed


def test_an_image_made_by_a_kernel_packages_hook_needs_no_second_build(host):
    host.run(["sh", debian.HOOK, debian.RELEASE])
    assert kdump_tools.image(host, debian.RELEASE).digest
    plan, _report = build(host)
    assert all("have kdump-tools build" not in action for action in plan.actions)


def test_an_image_older_than_what_it_is_made_of_is_not_known(host):
    host.run(["sh", debian.HOOK, debian.RELEASE])
    os.utime(host.path(IMAGE), (1, 1))
    assert kdump_tools.image(host, debian.RELEASE).digest == ""
    assert build(host)[0].actions == ["have kdump-tools build the capture image " + IMAGE]


@pytest.mark.parametrize("how, said", [("fails", "failed (exit code 1)"), ("chroot", "ended without an image")])
def test_a_build_that_fails_brings_the_old_image_back(armed, how, said):
    before = armed.read(IMAGE)
    armed.put("/etc/initramfs-tools/modules", "other\n")
    armed.env["KDUMP_CONTRACT_HOOK"] = how
    message = messages_of(build, armed)
    assert said in message and "is there again" in message
    assert armed.read(IMAGE) == before
    armed.env["KDUMP_CONTRACT_HOOK"] = ""
    assert build(armed)[0].changed


def test_missing_programs_are_all_named_and_check_mode_goes_on(tmp_path):
    host = debian.DebianHost(tmp_path)
    for path in ("/usr/sbin/kdump-config", "/usr/bin/kdump-config", "/usr/bin/mkinitramfs"):
        host.remove(path)
    with pytest.raises(Missing) as caught:
        build(host)
    assert len(caught.value.problems) == 2
    plan, report = build(host, _check=True)
    assert plan.changed and report["path"] == ""


# --- loading -------------------------------------------------------------------------------------------------------
def test_what_is_loaded_is_told_and_not_loaded_again(armed):
    assert armed.is_loaded()
    found = kdump_tools.loaded(armed)
    assert (found.method, found.kernel, found.initrd) == ("kdump-tools", debian.KERNEL, IMAGE)
    assert found.cmdline == debian.RUNNING.replace(" crashkernel=192M", "") + " " + APPEND
    assert found.digest == kdump_tools.wanted_digest(armed, debian.RELEASE, kdump_tools.configuration(armed))
    assert not load(armed).changed
    assert engine.driver("native").loaded(armed) is None


def test_what_it_loaded_at_boot_is_known_without_our_record(armed):
    ours = kdump_tools.loaded(armed)
    armed.remove(layout.LOADED)
    found = kdump_tools.loaded(armed)
    assert found._replace(loaded_at="") == ours._replace(loaded_at="")
    assert not load(armed).changed
    os.utime(armed.path(IMAGE), None)
    assert kdump_tools.loaded(armed).digest == "", "an image written since then is not the one that was loaded"


def test_what_another_has_loaded_is_not_claimed(armed):
    state = kdump_tools.loaded(armed)._replace(method="kexec_file_load")
    kexec_state.write_state(armed, state)
    assert kdump_tools.loaded(armed) is None
    assert engine.driver("native").loaded(armed) == state
    armed.remove(layout.LOADED)
    armed.run(["systemctl", "stop", "kdump-tools.service"])
    armed.put("/sys/kernel/kexec_crash_loaded", "1\n")
    assert kdump_tools.loaded(armed) is None, "its unit is not active"


def test_a_changed_command_line_is_loaded(armed):
    put_settings(armed, KDUMP_CMDLINE_APPEND="nr_cpus=2")
    plan = load(armed)
    assert "nr_cpus=1" in plan.diff()[0]["before"] and "nr_cpus=2" in plan.diff()[0]["after"]
    assert kdump_tools.loaded(armed).cmdline.endswith(" nr_cpus=2")


def test_over_what_the_native_engine_has_loaded(host):
    build(host)
    kdump_tools.boot_plan(host, "present").apply(host)
    host.put("/sys/kernel/kexec_crash_loaded", "1\n")
    native = kexec_state.Loaded("crash", debian.KERNEL, "", "/x.img", "", "d", "c", "", "kexec_file_load", "")
    kexec_state.write_state(host, native)
    load(host)
    assert host.is_loaded() and kdump_tools.loaded(host) is not None
    assert ["kexec_unload"] in host.calls, "kdump-config loads nothing over a loaded kernel"


def test_a_load_that_fails_puts_the_last_good_file_back(armed):
    good = armed.read_text(FILE)
    put_settings(armed, KDUMP_KEXEC_ARGS="--no-such-option", MAKEDUMP_ARGS="-d 17", KDUMP_CMDLINE_APPEND="x")
    message = messages_of(load, armed)
    assert "unrecognized option" in message and "put back to what last loaded, and that is loaded again" in message
    assert armed.read_text(FILE) == good
    assert armed.is_loaded() and kdump_tools.loaded(armed).cmdline.endswith(APPEND)


def test_what_cannot_be_unloaded_stays_known(armed, monkeypatch):
    """The kernel may refuse: another load is going on (EBUSY), a limit is reached (EPERM)."""
    before = kdump_tools.loaded(armed)
    put_settings(armed, KDUMP_CMDLINE_APPEND="nr_cpus=2")

    def refuse(crash):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(armed, "kexec_unload", refuse)
    message = messages_of(load, armed)
    assert "still loaded" in message
    assert armed.is_loaded() and kdump_tools.loaded(armed) == before


def test_without_a_good_file_what_was_loaded_is_loaded_again_by_itself(armed):
    armed.remove(layout.LOADED)
    armed.remove(kdump_tools_load.GOOD)
    put_settings(armed, KDUMP_KEXEC_ARGS="--no-such-option", KDUMP_CMDLINE_APPEND="x")
    message = messages_of(load, armed)
    assert "unrecognized option" in message and "is loaded again" in message
    found = kdump_tools.loaded(armed)
    assert found.method == "kdump-tools" and found.cmdline.endswith(APPEND)


def test_the_file_that_has_loaded_is_kept_before_the_first_write(armed):
    armed.remove(kdump_tools_load.GOOD)
    before = armed.read(FILE)
    write = Plan([Step("write", lambda host: put_settings(host, KDUMP_CMDLINE_APPEND="x"))])
    plan = kdump_tools_load.before_write(armed, FILE, write)
    assert len(plan.steps) == 2
    plan.apply(armed)
    assert armed.read(kdump_tools_load.GOOD) == before != armed.read(FILE)
    assert kdump_tools_load.before_write(armed, FILE, write) is write, "what is there now has not loaded"
    assert kdump_tools_load.before_write(armed, "/etc/sysconfig/kdump", write) is write


def test_a_load_that_fails_over_the_native_engines_loads_that_again(host):
    build(host)
    kdump_tools.boot_plan(host, "present").apply(host)
    host.put("/x.img", "image")
    hashes = [kexec_state.hashlib.sha256(host.read(path)).hexdigest() for path in (debian.KERNEL, "/x.img")]
    host.put("/sys/kernel/kexec_crash_loaded", "1\n")
    native = kexec_state.Loaded(
        "crash", debian.KERNEL, hashes[0], "/x.img", hashes[1], "d", "c", "", "kexec_file_load", ""
    )
    kexec_state.write_state(host, native)
    host.env["KDUMP_CONTRACT_KEXEC"] = "Cannot load"
    assert "is loaded again" in messages_of(load, host)
    assert ["kexec_file_load", debian.KERNEL, "/x.img"] in host.calls
    assert engine.driver("native").loaded(host).digest == "d"


@pytest.mark.parametrize("lie", ["lies", "Cannot load"])
def test_exit_code_0_is_not_believed(host, lie):
    build(host)
    kdump_tools.boot_plan(host, "present").apply(host)
    host.env["KDUMP_CONTRACT_KEXEC"] = lie
    message = messages_of(load, host)
    assert "has loaded nothing" in message and "No capture kernel is loaded now" in message
    assert not host.exists(layout.LOADED)


def test_a_load_by_another_program_that_takes_other_settings_is_told(host):
    build(host)
    kdump_tools.boot_plan(host, "present").apply(host)
    plan = kdump_tools.load_plan(host, LOAD)
    put_settings(host, KDUMP_CMDLINE_APPEND="changed meanwhile")
    assert "something else than was expected" in messages_of(plan.apply, host)


NOT_LOADABLE = {
    "no reservation": ({"/sys/kernel/kexec_crash_size": "0\n"}, {}, "No memory is reserved"),
    "no crashkernel=": ({"/proc/cmdline": "ro\n"}, {}, "without crashkernel= in /proc/cmdline"),
    "switched off": (
        {"/proc/sys/kernel/kexec_load_disabled": "1\n"},
        {"KDUMP_CMDLINE_APPEND": "nr_cpus=2"},
        "kexec_load_disabled",
    ),
    "a reservation too small": ({"/sys/kernel/kexec_crash_size": str(32 << 20)}, {}, "does not fit"),
    "a quote in the command line": ({"/proc/cmdline": 'a="b c" crashkernel=1M\n'}, {}, "would have a shell read"),
    "a command in the command line": ({"/proc/cmdline": "a=$(id) crashkernel=1M\n"}, {}, "would have a shell read"),
    "USE_KDUMP 0": ({}, {"USE_KDUMP": "0"}, "USE_KDUMP is not 1"),
    "USE_KDUMP true": ({}, {"USE_KDUMP": "true"}, "USE_KDUMP is not 1"),
    "no kernel": ({debian.KERNEL: None}, {}, "There is no kernel"),
    "no image": ({IMAGE: None}, {}, "there is none"),
    "an image that a load would delete": ({"/etc/kdump/sysctl.conf": "x\n"}, {}, "a load would delete it"),
    "a line too long": ({}, {"KDUMP_CMDLINE_APPEND": "x" * 2048}, "this kernel takes"),
}


@pytest.mark.parametrize("files, settings, said", list(NOT_LOADABLE.values()), ids=list(NOT_LOADABLE))
def test_what_would_not_load_is_refused_before_anything_is_unloaded(armed, files, settings, said):
    for path, text in files.items():
        armed.remove(path) if text is None else armed.put(path, text)
    put_settings(armed, **settings)
    assert said in messages_of(kdump_tools.load_plan, armed, LOAD)
    assert armed.is_loaded()


def test_on_a_hardened_host_what_is_loaded_stays_and_what_differs_is_told(armed):
    armed.put("/proc/sys/kernel/kexec_load_disabled", "1\n")
    assert not load(armed).changed
    assert kdump_tools.difference(armed, kdump_tools.configuration(armed)) is None
    put_settings(armed, KDUMP_CMDLINE_APPEND="nr_cpus=2")
    found = kdump_tools.difference(armed, kdump_tools.configuration(armed))
    assert "nr_cpus=2" in found.after and "kexec_load_disabled is 1" in str(found.forbidden[0])


def test_an_image_that_is_still_to_be_built_is_only_missing(armed):
    armed.remove(IMAGE)
    with pytest.raises(Missing):
        kdump_tools.difference(armed, kdump_tools.configuration(armed))
    armed.put("/sys/kernel/kexec_crash_size", str(32 << 20))
    found = problems_of(kdump_tools.difference, armed, kdump_tools.configuration(armed))
    assert [problem.option for problem in found] == ["", "crashkernel"]


def test_unloading(armed):
    load(armed, state="unloaded")
    assert not armed.is_loaded()
    assert kdump_tools.load_report(armed, LOAD)["loaded"] is False


def test_what_it_takes_from_its_file_alone_is_refused_for_one_load(armed):
    found = problems_of(kdump_tools.load_plan, armed, dict(LOAD, nr_cpus=2, cmdline_append="a"))
    assert [problem.option for problem in found] == ["cmdline_append", "nr_cpus"]


# --- at boot -------------------------------------------------------------------------------------------------------
def mode(host, path):
    return host.stat(path).st_mode & 0o7777


def test_disarmed_it_starts_reloads_and_builds_nothing_by_itself(armed):
    assert kdump_tools.is_enabled(armed)
    steps, hook = kdump_tools.disarm(armed), armed.stat(debian.HOOK)
    for step in steps:
        step.apply(armed)
    assert armed.stat(debian.HOOK).st_ino == hook.st_ino, (
        "no moment without it: dpkg takes that for the administrator's will"
    )
    assert not kdump_tools.is_enabled(armed) and not armed.exists(debian.LINK)
    assert "kdump-config" not in armed.read_text(kdump_tools_boot.UDEV_RULE).replace("# ", "")
    assert mode(armed, debian.HOOK) == 0o644
    assert armed.is_loaded(), "what is loaded protects the host until the other engine loads"
    assert kdump_tools.disarm(armed) == []
    assert kdump_tools.loaded(armed) is not None, "and it is known whose it is"
    armed.run(["systemctl", "restart", "kdump-tools.service"])
    assert armed.is_loaded(), "an upgrade of the package unloads nothing"
    put_settings(armed, USE_KDUMP="1")
    kdump_tools.boot_plan(armed, "present").apply(armed)
    assert kdump_tools.is_enabled(armed) and armed.exists(debian.LINK) and mode(armed, debian.HOOK) == 0o755
    assert "try-restart" in armed.read_text(kdump_tools_boot.UDEV_RULE)
    assert "UMask=0077" in armed.read_text(kdump_tools_boot.PRIVATE), "a dump is for root alone"
    assert not kdump_tools.boot_plan(armed, "present").changed


def test_what_it_loaded_at_boot_stays_known_when_it_is_disarmed(armed):
    armed.remove(layout.LOADED)
    before = kdump_tools.loaded(armed)
    for step in kdump_tools.disarm(armed):
        step.apply(armed)
    assert kdump_tools.loaded(armed) == before


def test_present_of_one_engine_disarms_the_other(armed):
    plan = engine.boot_plan(armed, "native", "present", python="/usr/bin/python3")
    plan.apply(armed)
    assert engine.driver("native").is_enabled(armed) and not kdump_tools.is_enabled(armed)
    put_settings(armed, **kdump_tools.expected(armed, {})["settings"])
    engine.boot_plan(armed, "kdump-tools", "present").apply(armed)
    assert kdump_tools.is_enabled(armed) and not engine.driver("native").is_enabled(armed)


def test_disabled_and_absent_unload(armed):
    kdump_tools.boot_plan(armed, "disabled").apply(armed)
    assert not armed.is_loaded() and not kdump_tools.is_enabled(armed)
    put_settings(armed, USE_KDUMP="1")
    kdump_tools.boot_plan(armed, "present").apply(armed)
    load(armed)
    engine.boot_plan(armed, "kdump-tools", "absent", python="/usr/bin/python3").apply(armed)
    assert not armed.is_loaded() and not kdump_tools.is_enabled(armed)
    left = [path for path in armed.snapshot() if "vmcore-kdump" in path or path.startswith("/etc/udev")]
    assert left == [] and not armed.exists("/etc/systemd/system/kdump-tools-dump.service.d")
    assert mode(armed, debian.HOOK) == 0o755, "as the package has it"


def test_a_host_without_kdump_tools(tmp_path):
    host = debian.DebianHost(tmp_path)
    for path in ("/usr/sbin/kdump-config", "/usr/bin/kdump-config", debian.UNIT, debian.LINK, debian.HOOK, FILE):
        host.remove(path)
    assert kdump_tools.disarm(host) == [] and kdump_tools.unblock(host) == []
    assert not kdump_tools.is_enabled(host) and kdump_tools.loaded(host) is None
    assert kdump_tools.image(host, debian.RELEASE) is None
    plan = kdump_tools.boot_plan(host, "present")
    assert "enable kdump-tools.service" in plan.actions, "check mode foresees it"
    assert "not installed" in messages_of(plan.apply, host)


def test_a_masked_unit_is_told(armed):
    armed.symlink("/dev/null", "/etc/systemd/system/kdump-tools.service")
    assert not kdump_tools.is_enabled(armed)
    assert "masked" in messages_of(kdump_tools.boot_plan, armed, "present")


@pytest.mark.parametrize("use, enabled", [("1", True), ("0", False), ("yes", False), ("", False)])
def test_use_kdump_decides_too(armed, use, enabled):
    put_settings(armed, USE_KDUMP=use)
    assert kdump_tools.is_enabled(armed) is enabled


# --- configuration -------------------------------------------------------------------------------------------------
def test_its_file_in_the_words_of_kdump_conf(host):
    put_settings(host, MAKEDUMP_ARGS="-l -d 17", KDUMP_COREDIR="/srv/crash")
    found = kdump_tools.configuration(host)
    assert (found.conf.target.kind, found.conf.target.location) == ("path", "/srv/crash")
    assert found.conf.get("core_collector") == "makedumpfile -l -d 17"
    assert found.settings["KDUMP_CMDLINE_APPEND"] == APPEND
    assert (found.problems, found.conf.problems, found.conf.warnings) == ([], [], [])


def test_a_small_reservation_is_a_warning(host):
    host.put("/sys/kernel/kexec_crash_size", str(96 << 20))
    assert "96 MiB are reserved" in str(kdump_tools.configuration(host).conf.warnings)


def test_remote_targets(host):
    put_settings(host, SSH="kdump@server", SSH_KEY="/root/.ssh/key")
    found = kdump_tools.configuration(host).conf
    assert (found.target.kind, found.target.location, found.get("sshkey")) == ("ssh", "kdump@server", "/root/.ssh/key")
    message = messages_of(kdump_tools.wanted_digest, host, debian.RELEASE, kdump_tools.configuration(host))
    assert "/root/.ssh/key is not there" in message and "host key of server" in message
    with pytest.raises(Missing):  # propagate brings them
        kdump_tools.wanted_digest(host, debian.RELEASE, kdump_tools.configuration(host))
    put_settings(host, SSH="", NFS="server:/export")
    found = kdump_tools.configuration(host).conf
    assert (found.target.kind, found.target.location, found.get("path")) == ("nfs", "server:/export", "/")


WRONG = {
    "commands of a shell": ({"KDUMP_FAIL_CMD": "echo failed; /bin/bash; reboot -f"}, "KDUMP_FAIL_CMD", "stay down"),
    "compression": ({"KDUMP_COMPRESSION": "xz"}, "KDUMP_COMPRESSION", "behind makedumpfile"),
    "FTP": ({"FTP": "server:/x"}, "FTP", "plain text"),
    "an FTP password": ({"FTP_PASSWORD": "secret"}, "FTP_PASSWORD", "plain text"),
    "two targets": ({"SSH": "a@b", "NFS": "c:/d"}, "SSH", "written twice"),
    "no user": ({"SSH": "server"}, "SSH", "USER@HOST"),
    "no export": ({"NFS": "server"}, "NFS", "SERVER:/EXPORT"),
    "a relative path": ({"KDUMP_COREDIR": "crash"}, "KDUMP_COREDIR", "absolute path"),
    "a path with a blank": ({"KDUMP_COREDIR": "/a b"}, "KDUMP_COREDIR", "absolute path"),
    "a dump level": ({"MAKEDUMP_ARGS": "-d 32"}, "MAKEDUMP_ARGS", "dump level 32"),
    "threads": ({"MAKEDUMP_ARGS": "-l --num-threads 2"}, "MAKEDUMP_ARGS", "threads"),
    "a glob": ({"MAKEDUMP_ARGS": "-x /boot/vmlinux*"}, "MAKEDUMP_ARGS", "expanded by the shell"),
    "a kernel of one's own": ({"KDUMP_KERNEL": "/boot/x"}, "KDUMP_KERNEL", "of your own"),
    "no number": ({"KDUMP_NUM_DUMPS": "three"}, "KDUMP_NUM_DUMPS", "number"),
    "no log": ({"KDUMP_DUMP_DMESG": "0"}, "KDUMP_DUMP_DMESG", "no kernel log"),
    "a command": ({"KDUMP_CMDLINE_APPEND": "a=$(id)"}, "KDUMP_CMDLINE_APPEND", "run by a shell"),
    "a tag": ({"HOSTTAG": "name"}, "HOSTTAG", "neither ip nor hostname"),
}


@pytest.mark.parametrize("settings, option, said", list(WRONG.values()), ids=list(WRONG))
def test_wrong_variables_stand_in_the_way_of_a_capture(host, settings, option, said):
    put_settings(host, **settings)
    configuration = kdump_tools.configuration(host)
    found = problems_of(kdump_tools.wanted_digest, host, debian.RELEASE, configuration)
    assert [problem.option for problem in found if said in problem.message] == [option]
    assert "secret" not in str(found)


def test_a_value_that_is_no_utf8_is_told(host):
    host.put(FILE, b'USE_KDUMP=1\nKDUMP_CMDLINE_APPEND="a=\xff"\n')
    message = messages_of(kdump_tools.wanted_digest, host, debian.RELEASE, kdump_tools.configuration(host))
    assert "KDUMP_CMDLINE_APPEND=a=\\xff is no UTF-8" in message


def test_what_no_shell_would_read_is_told(host):
    host.put(FILE, "KDUMP_COREDIR=$(id)\n")
    assert "KDUMP_COREDIR" in str(kdump_tools.configuration(host).problems)


# --- wishes --------------------------------------------------------------------------------------------------------
ALWAYS = {"USE_KDUMP": "1", "KDUMP_KERNEL": "/var/lib/kdump/vmlinuz", "KDUMP_INITRD": "/var/lib/kdump/initrd.img"}
FAILED = "/usr/local/lib/vmcore-kdump/kdump-tools-failed"
WISHES = {
    "nothing": ({}, {}),
    "a path": ({"conf": {"path": "/srv/crash"}}, {"KDUMP_COREDIR": "/srv/crash", "SSH": "", "NFS": ""}),
    "a collector": ({"conf": {"core_collector": "makedumpfile -F -l -d 31"}}, {"MAKEDUMP_ARGS": "-l -d 31"}),
    "after a failure": ({"conf": {"failure_action": "poweroff"}}, {"KDUMP_FAIL_CMD": FAILED + " poweroff"}),
    "a shell, by its old name": ({"conf": {"default": "shell"}}, {"KDUMP_FAIL_CMD": FAILED + " shell"}),
    "a reboot": ({"conf": {"failure_action": "reboot", "final_action": "reboot"}}, {"KDUMP_FAIL_CMD": ""}),
    "ssh": (
        {"conf": {"ssh": "kdump@server", "sshkey": "/root/key", "path": "/dumps"}},
        {"SSH": "kdump@server", "SSH_KEY": "/root/key", "NFS": "", "KDUMP_COREDIR": "/dumps"},
    ),
    "nfs": ({"conf": {"nfs": "server:/export"}}, {"NFS": "server:/export", "SSH": ""}),
    "nfs with a path": ({"conf": {"nfs": "server:/export", "path": "/a"}}, {"NFS": "server:/export/a", "SSH": ""}),
    "no reset": ({"conf": {"auto_reset_crashkernel": False}}, {}),
    "a reset, of which nothing comes": ({"conf": {"auto_reset_crashkernel": True}}, {}),
    "arguments": ({"cmdline_append": "panic=10"}, {"KDUMP_CMDLINE_APPEND": APPEND + " panic=10"}),
    "CPUs": ({"nr_cpus": 2}, {"KDUMP_CMDLINE_APPEND": APPEND.replace("nr_cpus=1 ", "") + " nr_cpus=2"}),
    "less arguments": ({"cmdline_remove": ["irqpoll"]}, {"KDUMP_CMDLINE_APPEND": APPEND.replace("irqpoll ", "")}),
    "its own variables": ({"sysconfig": {"KDUMP_NUM_DUMPS": 3}}, {"KDUMP_NUM_DUMPS": 3}),
    "both": (
        {"sysconfig": {"KDUMP_CMDLINE_APPEND": "a b"}, "cmdline_append": "c"},
        {"KDUMP_CMDLINE_APPEND": "a b c"},
    ),
}


@pytest.mark.parametrize("wanted, settings", list(WISHES.values()), ids=list(WISHES))
def test_a_roles_wishes_in_its_words(host, wanted, settings):
    found = kdump_tools.expected(host, wanted)
    assert found == {"path": FILE, "settings": dict(ALWAYS, **settings)}
    put_settings(host, **found["settings"])
    assert kdump_tools.configuration(host).conf.problems == []
    again = kdump_tools.expected(host, wanted)["settings"]
    assert sysconfig.edit(host.read_text(FILE), again, []) == host.read_text(FILE), "a second run changes nothing"


REFUSED: Dict[str, Dict[str, Any]] = {
    "raw": {"raw": "/dev/vdb"},
    "a file system": {"ext4": "UUID=1"},
    "virtiofs": {"virtiofs": "tag"},
    "dump_to_rootfs": {"failure_action": "dump_to_rootfs"},
    "final_action": {"final_action": "poweroff"},
    "kdump_pre": {"kdump_pre": "/bin/x"},
    "kdump_post": {"kdump_post": "/bin/x"},
    "extra_bins": {"extra_bins": ["/bin/x"]},
    "extra_modules": {"extra_modules": ["x"]},
    "dracut_args": {"dracut_args": "-a x"},
    "fence_kdump": {"fence_kdump_nodes": "x"},
    "another program": {"core_collector": "cp"},
    "a typo": {"pth": "/x"},
}


@pytest.mark.parametrize("conf", list(REFUSED.values()), ids=list(REFUSED))
def test_what_it_cannot_express_is_refused_by_name(host, conf):
    found = problems_of(kdump_tools.expected, host, {"conf": conf})
    assert [problem.option for problem in found] == list(conf)
    assert "native" in found[0].hint or list(conf) == ["pth"]


def test_all_that_it_cannot_express_is_refused_at_once(host):
    conf = {name: value for entry in REFUSED.values() for name, value in entry.items()}
    wanted = {
        "conf": conf,
        "cmdline_remove": ["console"],
        "nr_cpus": 0,
        "sysconfig": {"KDUMP_COMMANDLINE": "x", "FTP": "x"},
    }
    found = [problem.option for problem in problems_of(kdump_tools.expected, host, wanted)]
    assert [
        name for name in list(conf) + ["cmdline_remove", "nr_cpus", "KDUMP_COMMANDLINE", "FTP"] if name not in found
    ] == []


def test_a_peers_use_kdump_is_repaired(host):
    """linux-system-roles' template for Ubuntu; dash takes the line for a command."""
    host.put(FILE, "USE_KDUMP = 1\nKDUMP_COREDIR = /srv/crash\n")
    assert "blanks" in str(kdump_tools.configuration(host).problems)
    put_settings(host, **kdump_tools.expected(host, {})["settings"])
    assert kdump_tools.configuration(host).problems == []
    assert kdump_tools.configuration(host).settings["USE_KDUMP"] == "1"
    assert kdump_tools.configuration(host).settings["KDUMP_COREDIR"] == "/srv/crash"


def test_the_advice_is_the_packages_own(host):
    found = kdump_tools.recommended(host)
    assert (found.value, found.bytes) == ("512M-:192M", 192 << 20)
    host.remove("/etc/default/grub.d/kdump-tools.cfg")
    assert kdump_tools.recommended(host).value == "512M-:192M"


ADVICE = {
    "a comment": ("# crashkernel=1G\n" + 'X="$X crashkernel=256M"\n', "256M"),
    "two": ('X="$X crashkernel=128M crashkernel=256M"\n', "256M"),
    "what reserves nothing": ('X="$X crashkernel=auto"\n', None),
    "what no kernel reads": ('X="$X crashkernel=much"\n', None),
}


@pytest.mark.parametrize("text, expected", ADVICE.values(), ids=list(ADVICE))
def test_its_file_may_be_edited_and_the_advice_is_what_the_kernel_makes_of_it(host, text, expected):
    host.put("/etc/default/grub.d/kdump-tools.cfg", text)
    found = kdump_tools.recommended(host)
    assert (found and found.value) == expected


# --- after a failed dump -------------------------------------------------------------------------------------------
FAILED_DUMP = {
    "reboot": ["sync", "reboot -f"],
    "halt": ["sync", "halt -f", "reboot -f"],
    "poweroff": ["sync", "poweroff -f", "reboot -f"],
    "shell": ["sync", "setsid -c -w sh -i", "sync", "reboot -f"],
    "": ["sync", "reboot -f"],
}


@pytest.mark.parametrize("action", list(FAILED_DUMP))
def test_a_failed_dump_always_ends_in_a_reboot(armed, tmp_path, action):
    """As kdump-tools.init runs it, `$KDUMP_FAIL_CMD ;`; here the programs only write down that they ran."""
    script = armed.read_text(FAILED)
    for path, mine in (("/proc/sysrq-trigger", "sysrq"), ("/dev/console", "console")):
        assert path in script
        script = script.replace(path, str(tmp_path / mine))
    (tmp_path / "console").write_text("")
    (tmp_path / "failed").write_text(script)
    (tmp_path / "bin").mkdir()
    for name in ("sync", "reboot", "halt", "poweroff", "setsid"):
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\necho "%s${*:+ $*}" >>"%s"\n' % (name, tmp_path / "ran"))
        program.chmod(0o755)
    argv = ["dash", "-c", "$KDUMP_FAIL_CMD ;"]
    env = {
        "KDUMP_FAIL_CMD": "dash %s %s" % (tmp_path / "failed", action),
        "PATH": "%s:/usr/bin:/bin" % (tmp_path / "bin"),
    }
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.stdout == b""
    assert (tmp_path / "ran").read_text().splitlines() == FAILED_DUMP[action]
    assert (tmp_path / "sysrq").read_text() == "b\n", "where reboot cannot"
    if action != "shell":  # whose own output begins the file anew, which a console is not
        assert "saving the vmcore has failed" in (tmp_path / "console").read_text()
