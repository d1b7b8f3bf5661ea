# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kdumpctl driver against contract/bin/kdumpctl: what it builds, loads, refuses, and goes back to."""

import json
import os
import re
import runpy

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import conf as kdump_conf
from ansible_collections.vmcore.kdump.plugins.module_utils import conf_state, kexec, kexec_state, layout, sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import (
    kdumpctl,
    kdumpctl_good,
    kdumpctl_luks,
    kdumpctl_unit,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing
from ansible_collections.vmcore.kdump.tests.contract import kdumpctl as contract
from ansible_collections.vmcore.kdump.tests.contract.host import BIN, RELEASE, TRANSCRIPTS

BUILD = {"kernel": None, "conf": layout.CONF, "force": False, "_check": False}
LOAD = dict(kexec.REQUEST, _check=False)
OTHER = contract.CONF.replace("-d 31", "-d 17")
IMAGE = contract.IMAGE


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def host(tmp_path):
    return contract.KdumpctlHost(tmp_path)


def bring_about(host, decide):
    """As the modules do it: decide, apply, decide again and find nothing to do."""
    plan = decide()
    plan.apply(host)
    assert decide().actions == []
    return plan.actions


def build(host, **params):
    return bring_about(host, lambda: kdumpctl.build_plan(host, dict(BUILD, **params), {}))


def load(host):
    return bring_about(host, lambda: kdumpctl.load_plan(host, LOAD))


def arm(host):
    return build(host) + load(host)


def set_conf(host, text, path=layout.CONF):
    """As the modules conf and sysconfig write it."""
    kept = {"options": {}, "remove": [], "purge": False, "backup": False, "check_host": False, "create_path": False}
    before = conf_state.decide(host, dict(kept, path="/none", _check=False))  # no steps: only its shape is of use here
    step = sysconfig.write_file(path, host.read_text(path, ""), text)
    kdumpctl_good.before_write(host, path, type(before)([step])).apply(host)


def ran(host, *words):
    return [call for call in host.calls if call[: len(words)] == list(words)]


def failure(part):
    with pytest.raises(KdumpError) as caught:
        part()
    return str(caught.value)


def collected(host):
    return next(line for line in host.loaded()["image"]["files"][layout.CONF].splitlines() if "core_collector" in line)


# --- the good path -------------------------------------------------------------------------------------------------
def test_a_fresh_host_is_built_and_loaded_and_a_second_run_changes_nothing(host):
    assert kdumpctl.is_enabled(host)
    assert arm(host) == [
        "build the capture image %s with kdumpctl" % IMAGE,
        "load the capture kernel with kdump.service",
    ]
    assert kdumpctl.loaded(host).digest == kdumpctl.wanted_digest(host, RELEASE, kdumpctl.configuration(host))
    assert host.loaded()["image"]["files"][layout.CONF] == contract.CONF
    before = host.snapshot()
    assert arm(host) == []
    assert kdumpctl.difference(host, kdumpctl.configuration(host)) is None
    assert host.snapshot() == before


def test_check_mode_says_the_same_and_changes_nothing(host):
    before = host.snapshot()
    outcome = {}
    assert kdumpctl.build_plan(host, dict(BUILD, _check=True), outcome).actions == [
        "build the capture image %s with kdumpctl" % IMAGE
    ]
    report = kdumpctl.build_report(host, dict(BUILD, _check=True), outcome)
    assert (report["path"], report["bytes"]) == (IMAGE, None)
    assert kdumpctl.load_plan(host, dict(LOAD, _check=True)).actions == ["load the capture kernel with kdump.service"]
    assert host.snapshot() == before


def test_a_host_that_the_vendor_has_armed_is_left_as_it_is(host):
    """kdumpctl built the image by itself, and that image is known for today's by the times of what went in."""
    host.run(["systemctl", "start", "kdump.service"])
    assert kdumpctl.loaded(host).digest
    assert arm(host) == []
    assert not ran(host, "kdumpctl", "rebuild")


def test_a_change_is_built_while_the_old_one_is_loaded_and_then_loaded(host):
    arm(host)
    set_conf(host, OTHER)
    assert build(host)
    assert collected(host).endswith("-d 31")
    assert kdumpctl.difference(host, kdumpctl.configuration(host)) is not None
    assert load(host)
    assert collected(host).endswith("-d 17")


def test_on_a_hardened_host_what_differs_is_told(host):
    arm(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", "1\n")
    assert kdumpctl.difference(host, kdumpctl.configuration(host)) is None
    set_conf(host, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"), layout.SYSCONFIG)
    found = kdumpctl.difference(host, kdumpctl.configuration(host))
    assert "nr_cpus=2" in found.after and "kexec_load_disabled is 1" in str(found.forbidden[0])
    assert "kexec_load_disabled is 1" in failure(lambda: load(host))


def test_a_changed_command_line_needs_no_image(host):
    arm(host)
    set_conf(host, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"), layout.SYSCONFIG)
    assert build(host) == []
    assert load(host)
    assert "nr_cpus=2" in host.loaded()["cmdline"]
    assert kdumpctl.load_report(host, LOAD)["cmdline"].split()[-1] == host.loaded()["cmdline"].split()[-1]
    assert len(ran(host, "kdumpctl", "estimate")) == 1  # which takes half a minute, and tells of the image


def test_the_module_kexec_alone_builds_first(host):
    arm(host)
    set_conf(host, OTHER)
    assert load(host)
    assert collected(host).endswith("-d 17")


def test_what_kdumpctl_would_build_at_its_start_is_built_while_the_old_one_is_loaded(host):
    """A file with the same content and a newer time stamp: building takes minutes, without protection if at the start."""
    arm(host)
    host.age(100, IMAGE)
    set_conf(host, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"), layout.SYSCONFIG)
    host.calls.clear()
    load(host)
    assert host.calls.index(["kdumpctl", "rebuild"]) < host.calls.index(["systemctl", "stop", "kdump.service"])
    assert "Rebuilding" not in host.run(["journalctl", "-u", "kdump.service"]).out


def test_a_host_that_loaded_at_boot_is_known(host):
    arm(host)
    host.remove(layout.LOADED)  # /run is empty after a boot
    present = kdumpctl.loaded(host)
    assert (present.method, bool(present.digest), bool(present.cmdline)) == ("kdumpctl", True, True)
    assert load(host) == []


def test_what_somebody_has_loaded_by_hand_is_not_taken_for_ours(host):
    """An edit, a restart, and the edit taken back: the files are ours, and what is loaded is not."""
    arm(host)
    host.put(layout.CONF, OTHER)
    host.age(-5, layout.CONF)
    assert host.run(["systemctl", "restart", "kdump.service"]).rc == 0
    host.put(layout.CONF, contract.CONF)
    assert collected(host).endswith("-d 17")
    assert kdumpctl.loaded(host).digest == ""
    arm(host)
    assert collected(host).endswith("-d 31")


def test_what_was_loaded_before_a_change_is_not_taken_for_todays(host):
    arm(host)
    host.remove(layout.LOADED)
    host.put(layout.SYSCONFIG, contract.SYSCONFIG + "# changed\n")
    assert kdumpctl.loaded(host).cmdline == ""
    host.run(["kdumpctl", "rebuild"])
    assert kdumpctl.loaded(host).digest == ""
    assert load(host)


def test_an_image_that_kdumpctl_builds_at_every_start_is_no_reason_to_load_again(host):
    host.put(layout.CONF, contract.CONF + "force_rebuild 1\n")
    arm(host)
    assert not ran(host, "kdumpctl", "estimate")  # it would build again
    assert arm(host) == []


# --- what fails ----------------------------------------------------------------------------------------------------
def test_a_rebuild_that_fails_leaves_the_loaded_one_and_puts_the_configuration_back(host):
    arm(host)
    set_conf(host, OTHER)
    host.world("dracut", "No space left on device\n")
    said = failure(lambda: build(host))
    assert "`kdumpctl rebuild` failed" in said
    assert "No space left on device" in said
    assert "Make room" in said
    assert "Put back to what kdumpctl last loaded with, so that the next boot loads that: /etc/kdump.conf" in said
    assert "What was loaded is loaded still" in said
    assert host.read_text(layout.CONF) == contract.CONF
    assert host.read_text("/sys/kernel/kexec_crash_loaded") == "1\n"
    assert not ran(host, "kdumpctl", "stop")
    assert not ran(host, "systemctl", "stop")
    host.run(["systemctl", "stop", "kdump.service"])  # a reboot
    assert host.run(["systemctl", "start", "kdump.service"]).rc == 0
    assert collected(host).endswith("-d 31")


# What the world does at the load, and what is said of it.
FAILING_STARTS = {
    "kexec fails": (
        "EADDRNOTAVAIL\n",
        ["kexec: failed to load kdump kernel", "The reservation is too small"],
    ),  # the journal
    "kexec lies": ("nothing\n", ["was said to have succeeded, and the kernel has nothing loaded"]),
}


@pytest.mark.parametrize("world, expected", FAILING_STARTS.values(), ids=list(FAILING_STARTS))
def test_a_start_that_fails_goes_back_to_what_worked_and_reports_both(host, world, expected):
    arm(host)
    set_conf(host, OTHER)
    build(host)
    host.world("kexec", world)
    said = failure(lambda: load(host))
    assert [words for words in expected if words not in said] == []
    assert "/etc/kdump.conf and %s was put back to what last worked, and is loaded again" % IMAGE in said
    assert collected(host).endswith("-d 31")
    assert host.read_text(layout.CONF) == contract.CONF
    assert arm(host) == []


def test_a_start_that_is_said_to_have_failed_and_loads_is_no_protection(host):
    """Whether what it has loaded would capture is not known: what is known to is loaded over it."""
    arm(host)
    set_conf(host, OTHER)
    build(host)
    run, starts = host.run, [0]

    def failing_once(argv, **options):
        result = run(argv, **options)
        starts[0] += argv[:2] == ["systemctl", "start"]
        return result._replace(rc=1) if argv[:2] == ["systemctl", "start"] and starts[0] == 1 else result

    host.run = failing_once
    said = failure(lambda: load(host))
    assert "could not load the capture kernel" in said
    assert "is loaded again" in said
    assert collected(host).endswith("-d 31")


def test_what_cannot_be_unloaded_is_known_for_what_it_is_afterwards(host):
    arm(host)
    set_conf(host, OTHER)
    build(host)
    before = kexec_state.last_load(host)
    run = host.run
    host.run = lambda argv, **options: run(["false"] if argv[:2] == ["systemctl", "stop"] else argv, **options)
    said = failure(lambda: load(host))
    assert "could not be unloaded" in said
    assert "What was loaded before is still loaded" in said
    assert kexec_state.last_load(host) == before
    assert host.read_text(layout.CONF) == OTHER  # nothing has shown that it is wrong


def test_where_the_way_back_fails_too_it_says_that_the_host_is_unprotected(host):
    arm(host)
    set_conf(host, OTHER)
    build(host)
    host.world("kexec", "EPERM\nEPERM\n")
    said = failure(lambda: load(host))
    assert "No capture kernel is loaded now" in said
    assert said.count("kexec: failed to load kdump kernel") >= 2
    assert host.read_text(layout.CONF) == contract.CONF
    assert arm(host)  # and the next run, with a kernel that permits it again, repairs


def test_a_first_load_that_fails_says_that_there_is_nothing_to_go_back_to(host):
    build(host)
    host.world("kexec", "EPERM\n")
    assert "What worked before is not known, or is what failed" in failure(lambda: load(host))
    assert host.loaded() is None


def test_a_first_rebuild_that_fails_says_what_is_left_as_it_is(host):
    """dracut is broken: what the file held before is not known to be any better, and the host was not protected."""
    set_conf(host, OTHER)
    host.world("dracut", "No space left on device\n")
    said = failure(lambda: build(host))
    assert "/etc/kdump.conf and /etc/sysconfig/kdump stay as they are" in said
    assert "No capture kernel is loaded now" in said
    assert host.read_text(layout.CONF) == OTHER


def test_a_rebuild_that_fails_with_what_last_worked_says_so(host, monkeypatch):
    arm(host)
    monkeypatch.setattr(host, "free_bytes", lambda path: 100)  # no image is kept
    host.world("dracut", "No space left on device\n")
    said = failure(lambda: kdumpctl.build_plan(host, dict(BUILD, force=True), {}).apply(host))
    assert "/etc/kdump.conf and /etc/sysconfig/kdump are what kdumpctl last loaded with" in said
    assert "What was loaded is loaded still" in said
    host.run(["systemctl", "restart", "kdump.service"])
    assert host.loaded() is not None


def test_what_cannot_be_put_back_is_told(host, monkeypatch):
    arm(host)
    set_conf(host, OTHER)
    host.world("dracut", "No space left on device\n")

    write = host.write

    def full(path, data, mode=0o644):
        if path == layout.CONF:
            raise OSError(28, "No space left on device", path)
        write(path, data, mode)

    monkeypatch.setattr(host, "write", full)
    said = failure(lambda: build(host))
    assert "What kdumpctl last loaded with could not be put back: [Errno 28]" in said
    assert "`kdumpctl rebuild` failed" in said
    assert "What was loaded is loaded still" in said
    build(host)
    host.world("kexec", "EPERM\n")
    said = failure(lambda: load(host))
    assert (
        "No capture kernel is loaded now: a crash would leave no vmcore. What worked before could not be put back"
        in said
    )


def test_a_rebuild_that_is_said_to_be_ok_and_builds_nothing_is_a_failure(host):
    arm(host)
    set_conf(host, OTHER)
    host.world("dracut", "nothing\n")
    assert "%s is not new" % IMAGE in failure(lambda: build(host))
    assert host.read_text(layout.CONF) == contract.CONF


def test_a_start_does_nothing_where_something_is_loaded_so_it_is_unloaded_first(host):
    """kdump.service is not active, because kdumpctl was called by hand: `systemctl restart` would load nothing."""
    assert host.run(["kdumpctl", "start"]).rc == 0
    set_conf(host, OTHER)
    arm(host)
    assert collected(host).endswith("-d 17")


def test_what_the_native_engine_has_loaded_is_loaded_over(host):
    native = kexec_state.Loaded("crash", "/k", "0", "/i", "0", "d", "c", "h", "kexec_file_load", "t")
    host.put("/sys/kernel/kexec_crash_loaded", "1\n")
    kexec_state.write_state(host, native)
    assert kdumpctl.loaded(host) is None
    arm(host)
    assert kdumpctl.loaded(host).method == "kdumpctl"
    assert kexec.loaded(host) is None


@pytest.mark.parametrize("unit", [contract.UNIT, contract.UNIT_EL9], ids=["1.0.61", "EL 9"])
def test_a_host_without_a_reservation_waits_for_its_reboot(tmp_path, unit):
    host = contract.KdumpctlHost(tmp_path, {
        "/proc/cmdline": "root=/dev/vda ro\n", "/sys/kernel/kexec_crash_size": "0\n",
        "/usr/lib/systemd/system/kdump.service": unit,
    })  # fmt: skip
    assert build(host)
    said = failure(lambda: load(host))
    assert "booted without crashkernel=, and systemd skips kdump.service" in said
    assert "reboot" in said
    assert host.run(["systemctl", "start", "kdump.service"]).rc == 0  # a skip is no failure
    assert host.loaded() is None


def test_a_reservation_that_the_kernel_did_not_make(tmp_path):
    host = contract.KdumpctlHost(tmp_path, {"/sys/kernel/kexec_crash_size": "0\n"})
    assert "No memory is reserved for the capture kernel" in failure(lambda: load(host))


def test_everything_wrong_is_said_at_once_and_nothing_is_unloaded(host):
    arm(host)
    host.put(layout.CONF, contract.CONF + "bogus 1\nkdump_pre /nope\n")
    host.put(layout.SYSCONFIG, contract.SYSCONFIG + 'KDUMP_STDLOGLVL="9"\n')
    host.put("/proc/sys/kernel/kexec_load_limit_panic", "1\n")
    said = failure(lambda: kdumpctl.load_plan(host, dict(LOAD, nr_cpus=2, kernel="x")))
    for words in (
        "bogus",
        "/nope",
        "KDUMP_STDLOGLVL",
        "one more load",
        "cannot be told nr_cpus",
        "cannot be told kernel",
    ):
        assert words in said
    assert host.loaded() is not None


def test_an_image_that_does_not_fit_is_refused_before_anything_is_unloaded(host):
    arm(host)
    host.put("/sys/kernel/kexec_crash_size", "%d\n" % (4 << 20))
    host.put(layout.SYSCONFIG, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"))
    assert "does not fit" in failure(lambda: load(host))
    assert host.loaded() is not None


def test_firmware_assisted_dump_is_refused(host):
    host.put("/sys/kernel/fadump/enabled", "1\n")
    assert "fadump" in failure(lambda: build(host))


def test_without_kdumpctl_it_is_missing_and_foreseen_in_check_mode(host):
    host.remove("/usr/bin/kdumpctl")
    with pytest.raises(Missing):
        kdumpctl.wanted_digest(host, RELEASE, kdumpctl.configuration(host))
    with pytest.raises(KdumpError):
        kdumpctl.build_plan(host, BUILD, {})
    assert kdumpctl.build_plan(host, dict(BUILD, _check=True), {}).changed
    assert kdumpctl.load_plan(host, dict(LOAD, _check=True)).changed
    assert (kdumpctl.loaded(host), kdumpctl.recommended(host)) == (None, None)


def test_what_kdumpctl_cannot_be_told_is_refused_by_name(host):
    said = failure(lambda: build(host, kernel="1.2.3", conf="/etc/other.conf"))
    assert "not for 1.2.3" in said
    assert "no other file" in said


FORGOTTEN = {
    "the core collector": ("sbin/makedumpfile", ""),
    "its own script": ("usr/bin/kdump.sh", ""),
    "a hook": ("usr/local/bin/hook", "kdump_pre /usr/local/bin/hook\n"),
    "a hook for what fails": ("usr/local/bin/hook", "kdump_emergency /usr/local/bin/hook\n"),
    "a module": ("usr/lib/modules/%s/nfs.ko" % RELEASE, "extra_modules nfs\n"),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_an_image_that_dracut_has_left_something_out_of_is_none(host, name):
    """kdumpctl exits with 0, and the capture kernel would dump nothing."""
    forgotten, line = FORGOTTEN[name]
    host.put("/usr/local/bin/hook", "#!/bin/sh\n", 0o755)
    arm(host)
    image = host.read(IMAGE)
    set_conf(host, OTHER + line)
    host.world("dracut", "forgets %s\n" % forgotten)
    said = failure(lambda: build(host))
    assert "its image lacks" in said
    assert forgotten.rpartition("/")[2].replace(".ko", "") in said
    assert host.read(IMAGE) == image
    assert host.read_text(layout.CONF) == contract.CONF
    assert arm(host) == []


def test_what_this_releases_script_does_not_install_is_not_missed(host):
    """EL 8: stat came with kexec-tools 2.0.23."""
    setup = "/usr/lib/dracut/modules.d/99kdumpbase/module-setup.sh"
    arm(host)
    host.put(setup, "".join(line for line in contract.SETUP.splitlines(True) if "stat" not in line))
    host.world("dracut", "forgets usr/bin/stat\n")
    assert build(host)
    host.put(setup, contract.SETUP)
    host.world("dracut", "forgets usr/bin/stat\n")
    assert "its image lacks stat" in failure(lambda: build(host))


def test_an_image_that_cannot_be_looked_into_is_judged_by_what_dracut_said(host):
    host.program("lsinitrd", "print('-rw-r--r-- 1 root root 12 Jan 1 1970 squash-root.img')\n")
    arm(host)
    set_conf(host, OTHER)
    host.world("dracut", "forgets sbin/makedumpfile\n")
    assert "lacks sbin/makedumpfile" in failure(lambda: build(host))


def test_an_image_that_does_not_load_gives_way_to_the_one_before_it(host):
    """Whatever the reason, what worked is loaded again, with its own bytes; nothing of it is kept once a new one loads."""
    arm(host)
    image = host.read(IMAGE)
    host.put("/etc/fstab", "# changed\n")
    build(host)
    host.world("kexec", "ENOMEM\n")
    assert "%s was put back to what last worked, and is loaded again" % IMAGE in failure(lambda: load(host))
    assert host.read(IMAGE) == image
    assert host.loaded() is not None
    assert kdumpctl.loaded(host).digest != kdumpctl.wanted_digest(host, RELEASE, kdumpctl.configuration(host))
    assert len(arm(host)) == 2  # it is not taken for one of today's inputs because it has just been written
    assert host.listdir(kdumpctl_good.FOLDER) == ["files"]


def test_without_room_no_image_is_kept(host, monkeypatch):
    arm(host)
    monkeypatch.setattr(host, "free_bytes", lambda path: 100)
    set_conf(host, OTHER)
    build(host)
    assert host.listdir(kdumpctl_good.FOLDER) == ["files"]


BAD = re.findall(r"^## kdump.conf: (.*)$", (TRANSCRIPTS / "kdump-utils-1.0.61.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", BAD)
def test_what_made_the_real_kdumpctl_unload_and_fail_is_found_out_before(host, line):
    """Each bad line of the transcript: the real one had unloaded before it looked, and two it did not even notice."""
    arm(host)
    host.put(layout.CONF, line + "\n")
    host.put("/usr/sbin/mount.nfs", "", 0o755)
    if line.startswith("path "):
        assert "create the directory /no/such/dir" in build(host)  # mended
        return
    with pytest.raises(KdumpError):
        load(host)
    assert host.loaded() is not None
    assert not ran(host, "systemctl", "stop")


def test_the_transcript_has_bad_lines():
    assert len(BAD) == 11


# What the module conf is asked, and what kdumpctl reads of the file then; a value of None is refused before.
WRITTEN = {
    "an ssh target needs -F": ({"ssh": "kdump@" + contract.SERVER}, {"core_collector": "makedumpfile -F -l --message-level 7 -d 31"}),
    "a file takes no -F": ({"core_collector": "makedumpfile -F -l -d 31"}, {"core_collector": "makedumpfile -l -d 31"}),
    "words are one line": ({"extra_bins": ["/usr/bin/ssh", "/usr/bin/systemctl"]}, {"extra_bins": "/usr/bin/ssh /usr/bin/systemctl"}),
    "the old name": ({"default": "shell"}, {"failure_action": "shell"}),
    "yes and no": ({"auto_reset_crashkernel": False}, {"auto_reset_crashkernel": "no"}),
    "a mount in dracut's form": (
        {"dracut_args": '--mount "dumps:/srv /mnt nfs4 defaults"'}, {"dracut_args": '--mount "dumps:/srv /mnt nfs4 defaults"'},
    ),
    "a mount in another form": ({"dracut_args": "--mount=dumps:/srv /mnt nfs4 defaults"}, None),
    "a value with a #": ({"path": "/a#b"}, None),
    "two targets": ({"nfs": "dumps:/srv", "ssh": "kdump@" + contract.SERVER}, None),
    "a name in upper case": ({"ssh": "kdump@Dumps.Example.com"}, None),
    "a key that is gone": ({"net": "dumps:/srv"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_by_kdumpctl_as_it_was_meant(host, name, monkeypatch):
    options, expected = WRITTEN[name]
    host.ssh_target()
    host.put(layout.CONF, contract.CONF)
    params = {"path": layout.CONF, "options": options, "remove": [], "purge": False, "backup": False, "check_host": False,
              "create_path": False, "_check": False}  # fmt: skip
    if expected is None:
        assert failure(lambda: conf_state.decide(host, params))
        return
    conf_state.decide(host, params).apply(host)
    assert host.run(["kdumpctl", "rebuild"]).rc == 0
    monkeypatch.setenv("KDUMP_CONTRACT_ROOT", host.root)
    program = runpy.run_path(str(BIN / "kdumpctl"), run_name="read")
    assert {key: value for key, value in program["kdump_read_conf"]() if key in expected} == expected


# --- ssh: what kdumpctl itself overlooks ---------------------------------------------------------------------------
def rotate_key(host):
    host.put("/root/.ssh/kdump_id_rsa", "private two", 0o600)
    host.put("/root/.ssh/kdump_id_rsa.pub", "ssh-rsa two root@el9\n")
    host.server(contract.HOSTKEYS[0], ["ssh-rsa two root@el9"])


def change_host_key(host):
    host.server(contract.HOSTKEYS[1], ["ssh-rsa one root@el9"])
    host.put("/root/.ssh/known_hosts", "%s ssh-ed25519 %s\n" % (contract.SERVER, contract.HOSTKEYS[1]))


def add_script(host):
    host.put("/usr/lib/dracut/modules.d/99kdumpbase/kdump.sh", "# an update\n")
    host.age(10000, "/usr/lib/dracut/modules.d/99kdumpbase/kdump.sh")


def change_network(host):
    host.put("/etc/NetworkManager/system-connections/eth0.nmconnection", "[ipv4]\nmethod=manual\n", 0o600)
    host.age(10000, "/etc/NetworkManager/system-connections/eth0.nmconnection")


OVERLOOKED = {
    "the key was rotated": rotate_key,
    "the server's host key was changed": change_host_key,
    "a package brought new scripts": add_script,
    "the network was configured anew": change_network,
}


@pytest.mark.parametrize("path", ["/root/.ssh/kdump_id_rsa", "/root/.ssh/known_hosts"])
def test_what_propagate_brings_is_missing_and_not_wrong(host, path):
    host.ssh_target()
    host.remove(path)
    with pytest.raises(Missing) as error:
        kdumpctl.wanted_digest(host, RELEASE, kdumpctl.configuration(host))
    assert "vmcore.kdump.propagate" in str(error.value)


@pytest.mark.parametrize("name", OVERLOOKED)
def test_kdumpctl_does_not_see_it_and_the_dump_would_fail(host, name):
    host.ssh_target()
    arm(host)
    image = host.read(IMAGE)
    OVERLOOKED[name](host)
    host.run(["systemctl", "restart", "kdump.service"])
    assert host.read(IMAGE) == image  # kdumpctl loads the old one again
    assert arm(host) == [
        "build the capture image %s with kdumpctl" % IMAGE,
        "load the capture kernel with kdump.service",
    ]
    now = {path: host.read_text(path) for path in ("/root/.ssh/kdump_id_rsa", "/root/.ssh/known_hosts")}
    assert {path: host.loaded()["image"]["files"][path] for path in now} == now


PROFILE = "[connection]\nid=eth0\nuuid=%s\ntype=ethernet\ntimestamp=%d\n\n[ipv4]\naddress1=192.0.2.7/%d\n"
LOOPBACK = "[connection]\nid=lo\nuuid=%s\ntype=loopback\ntimestamp=%d\n"


def network_manager_starts(host, boot, prefix=24):
    """It writes the profiles of devices that nobody has configured, with other UUIDs at each boot."""
    uuid = "%08d-1111-4222-8333-444444444444" % boot
    for name, text in (("eth0", PROFILE % (uuid, boot, prefix)), ("lo", LOOPBACK % (uuid, boot))):
        host.put("/run/NetworkManager/system-connections/%s.nmconnection" % name, text, 0o600)


def test_what_networkmanager_writes_anew_at_each_boot_is_no_change(host):
    host.ssh_target()
    network_manager_starts(host, 1)
    arm(host)
    network_manager_starts(host, 2)
    host.remove(layout.LOADED)
    host.remove("/run/NetworkManager/system-connections/lo.nmconnection")
    assert arm(host) == []
    network_manager_starts(host, 2, prefix=25)
    assert len(arm(host)) == 2


def test_a_target_that_is_an_option_is_not_handed_to_ssh(host):
    host.put(layout.CONF, "ssh -E/etc/cron.d/x@y\ncore_collector makedumpfile -F -l -d 31\n")
    assert "is not a user and a server" in failure(lambda: build(host))
    assert not [call for call in host.calls if call[0] == "ssh"]


SERVERS = {
    "does not answer": (lambda host: host.remove("/run/contract/servers/" + contract.SERVER), "Connection timed out"),
    "has another host key": (
        lambda host: host.server(contract.HOSTKEYS[2], ["ssh-rsa one root@el9"]),
        "Host key verification failed",
    ),
    "has forgotten our key": (lambda host: host.server(contract.HOSTKEYS[0], []), "Permission denied"),
    "does not let us write": (
        lambda host: host.server(contract.HOSTKEYS[0], ["ssh-rsa one root@el9"], False),
        "cannot create",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_cannot_be_used_is_found_out_before_anything_is_unloaded(host, name):
    host.ssh_target()
    arm(host)
    change, words = SERVERS[name]
    change(host)
    host.put(layout.SYSCONFIG, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"))
    assert words in failure(lambda: load(host))
    assert host.loaded() is not None
    assert kdumpctl.loaded(host).digest


# --- a target on LUKS ----------------------------------------------------------------------------------------------
VOLUME = "12345678-1234-1234-1234-1234567890ab"
KEYS = {
    "in root's keyring": ("keyctl", True),
    "by a token": ("cryptsetup", True),
    "nowhere": ("", False),
}


@pytest.fixture
def encrypted(host, monkeypatch):
    """LVM upon LUKS, on a kernel and with a kdumpctl that hand keys over; nothing but the key is asked for."""
    arm(host)
    host.program("kdumpctl", host.read_text("/usr/bin/kdumpctl") + "# prepare_luks\n")
    host.put("/sys/kernel/config/crash_dm_crypt_keys/reuse", "0\n")
    monkeypatch.setattr(host, "device_number", lambda path: "253:0" if path == "/dev/mapper/rhel-root" else "")
    host.put("/sys/dev/block/253:0/dm/uuid", "LVM-abc\n")
    host.put("/sys/dev/block/253:0/slaves/dm-1/dev", "253:1\n")
    host.put("/sys/dev/block/253:1/dm/uuid", "CRYPT-LUKS2-%s-luks-root\n" % VOLUME.replace("-", ""))
    host.put("/sys/dev/block/253:1/slaves/vda3/dev", "252:3\n")
    for name in ("keyctl", "cryptsetup"):
        host.program(name, "raise SystemExit(1)\n")
    host.put(layout.SYSCONFIG, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"))
    return host


@pytest.mark.parametrize("program, loads", KEYS.values(), ids=list(KEYS))
def test_without_the_key_of_an_encrypted_target_nothing_is_unloaded(encrypted, program, loads):
    if program:
        encrypted.program(
            program, "import sys\nsys.exit(not [one for one in sys.argv if one.endswith('%s')])\n" % VOLUME
        )
    if loads:
        load(encrypted)
    else:
        said = failure(lambda: load(encrypted))
        assert "encrypted volume %s" % VOLUME in said
        assert "Reboot" in said
    assert ("nr_cpus=2" in encrypted.loaded()["cmdline"]) is loads


@pytest.mark.parametrize("conf", ["nfs dumps.example.com:/srv\n", "xfs /dev/mapper/other\n"])
def test_another_target_needs_no_key(encrypted, conf):
    assert kdumpctl_luks.problems(encrypted, kdump_conf.parse(conf)) == []


def test_a_kdumpctl_that_hands_no_keys_over_needs_none(encrypted):
    encrypted.program("kdumpctl", (BIN / "kdumpctl").read_text())
    load(encrypted)


def test_a_sysfs_that_goes_round_in_circles_has_an_end(encrypted):
    encrypted.put("/sys/dev/block/253:1/slaves/dm-0/dev", "253:0\n")
    encrypted.put("/sys/dev/block/253:1/slaves/odd/dev", "../../x\n")
    assert len(kdumpctl_luks.problems(encrypted, kdump_conf.parse("path /var/crash\n"))) == 1


# --- at boot -------------------------------------------------------------------------------------------------------
def test_present_enables_and_disabled_disarms(host):
    bring_about(host, lambda: kdumpctl.boot_plan(host, "disabled"))
    assert not kdumpctl.is_enabled(host)
    bring_about(host, lambda: kdumpctl.boot_plan(host, "present"))
    assert kdumpctl.is_enabled(host)
    arm(host)
    assert bring_about(host, lambda: kdumpctl.boot_plan(host, "absent")) == [
        "disable kdump.service", "unload the capture kernel",
    ]  # fmt: skip
    assert host.loaded() is None
    assert not kdumpctl_unit.state(host).active


@pytest.mark.parametrize("state", ["disabled", "absent"])
def test_on_a_hardened_host_a_reboot_unloads(host, state):
    arm(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", "1\n")
    assert bring_about(host, lambda: kdumpctl.boot_plan(host, state)) == ["disable kdump.service"]
    assert host.loaded() is not None


@pytest.fixture
def booting(host):
    """kdump.service is at work: it has read its configuration, and builds."""
    build(host)
    host.put("/run/contract/units/kdump.service.json", json.dumps(
        {"active": "activating", "result": "success", "since": 0, "loaded": None}))  # fmt: skip
    return host


def test_a_unit_that_is_still_starting_is_waited_for_and_not_taken_for_ours(booting):
    """`systemctl start` would join its job, and what that loads is what was configured before."""
    booting.put(layout.SYSCONFIG, contract.SYSCONFIG.replace("nr_cpus=1", "nr_cpus=2"))
    booting.calls.clear()
    load(booting)
    verbs = [call[1] for call in booting.calls if call[0] == "systemctl" and call[1] in ("start", "stop")]
    assert verbs == ["start", "stop", "start"]
    assert "nr_cpus=2" in booting.loaded()["cmdline"]


@pytest.mark.parametrize("state", ["disabled", "absent"])
def test_a_unit_that_is_still_starting_loads_nothing_on_a_host_that_is_to_have_none(booting, state):
    bring_about(booting, lambda: kdumpctl.boot_plan(booting, state))
    assert booting.loaded() is None
    assert not kdumpctl_unit.state(booting).active


def test_a_unit_that_is_still_starting_is_disarmed(booting):
    bring_about(booting, lambda: type(kdumpctl.boot_plan(booting, "present"))(kdumpctl.disarm(booting)))
    assert booting.run(["systemctl", "is-active", "kdump.service"]).out == "inactive\n"


def test_disarmed_it_starts_no_more_and_what_is_loaded_stays_loaded(host):
    arm(host)
    bring_about(host, lambda: type(kdumpctl.boot_plan(host, "present"))(kdumpctl.disarm(host)))
    assert not kdumpctl.is_enabled(host)
    assert not kdumpctl_unit.state(host).active
    assert host.loaded() is not None
    assert not host.exists(kdumpctl_unit.QUIET)
    host.run(["systemctl", "stop", "kdump.service"])
    assert host.loaded() is not None


def test_a_host_without_it_has_nothing_to_disarm(tmp_path):
    host = contract.KdumpctlHost(tmp_path)
    for path in ("/usr/lib/systemd/system/kdump.service", kdumpctl_unit.LINK, "/usr/bin/kdumpctl"):
        host.remove(path)
    assert (kdumpctl.disarm(host), kdumpctl.unblock(host), kdumpctl.is_enabled(host)) == ([], [], False)


def test_a_masked_unit_is_refused(host):
    host.symlink("/dev/null", kdumpctl_unit.MASK)
    assert not kdumpctl.is_enabled(host)
    assert "systemctl unmask kdump.service" in failure(lambda: kdumpctl.boot_plan(host, "present"))


# --- kill -9 -------------------------------------------------------------------------------------------------------
class Killed(BaseException):
    """What a kill -9 is to a test."""


def killed_at(host, number, part):
    """Run something, and end it before the nth program that changes anything, or after it."""
    run, count = host.run, [0]

    def counted(argv, **options):
        changing = argv[:2] == ["kdumpctl", "rebuild"] or (argv[0] == "systemctl" and argv[1] != "show")
        count[0] += changing
        if changing and count[0] == number:
            raise Killed
        return run(argv, **options)

    host.run = counted
    try:
        part()
    except Killed:
        return True
    finally:
        host.run = run
    return False


@pytest.mark.parametrize("number", range(1, 6))
def test_the_next_run_repairs_what_a_kill_left(host, number):
    arm(host)
    set_conf(host, OTHER)
    assert killed_at(host, number, lambda: arm(host)) == (number <= 4)  # rebuild, stop, reset-failed, start
    arm(host)
    assert collected(host).endswith("-d 17")
    assert arm(host) == []


def test_the_next_run_repairs_a_handing_over_that_was_killed(host):
    arm(host)
    plan = type(kdumpctl.boot_plan(host, "present"))
    run = host.run

    def killed_at_stop(argv, **options):
        if argv[1] == "stop":
            raise SystemExit(9)
        return run(argv, **options)

    host.run = killed_at_stop
    with pytest.raises(SystemExit):
        plan(kdumpctl.disarm(host)).apply(host)
    host.run = run
    host.put(kdumpctl_unit.QUIET, "[Service]\nExecStop=\n")  # the tidying up did not happen either
    bring_about(host, lambda: plan(kdumpctl.disarm(host)))
    assert host.loaded() is not None
    assert not host.exists(kdumpctl_unit.QUIET)


# --- where the image is --------------------------------------------------------------------------------------------
INITRD, KERNEL = "/boot/initramfs-%s.img" % RELEASE, "/boot/vmlinuz-" + RELEASE
PLACES = {
    "beside its initrd": ({}, IMAGE),
    "/boot is read-only": (
        {"/proc/self/mountinfo": contract.MOUNTINFO.replace("/boot rw,", "/boot ro,")},
        "/var/lib/kdump/initramfs-%skdump.img" % RELEASE,
    ),
    "a unified kernel has no initrd": ({INITRD: None}, "/var/lib/kdump/initramfs-%skdump.img" % RELEASE),
    "a unified kernel of a name of its own": (
        {INITRD: None, KERNEL: None, "/boot/efi/EFI/Linux/mine.efi": "kernel",
         "/sys/firmware/efi/efivars/StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f":
         b"\6\0\0\0" + "\\EFI\\Linux\\mine.efi\0".encode("utf-16-le")},
        "/var/lib/kdump/initramfs-%skdump.img" % RELEASE,
    ),
    "the layout of boot loader entries": (
        {INITRD: None, KERNEL: None, "/boot/fdbda188c010478586c8f758e03a9909/%s/vmlinuz" % RELEASE: "kernel",
         "/boot/fdbda188c010478586c8f758e03a9909/%s/initrd" % RELEASE: "initrd"},
        "/boot/fdbda188c010478586c8f758e03a9909/%s/initrdkdump" % RELEASE,
    ),
    "KDUMP_BOOTDIR": (
        {layout.SYSCONFIG: contract.SYSCONFIG + 'KDUMP_BOOTDIR="/srv"\n', "/srv/vmlinuz-" + RELEASE: "kernel"},
        "/var/lib/kdump/initramfs-%skdump.img" % RELEASE,
    ),
    "ostree": (
        {"/run/ostree-booted": "", KERNEL: None, INITRD: None, "/boot/ostree/rhel-1/vmlinuz-" + RELEASE: "kernel",
         "/boot/ostree/rhel-1/initramfs-%s.img" % RELEASE: "initrd"},
        "/boot/ostree/rhel-1/initramfs-%skdump.img" % RELEASE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_the_image_is_where_kdumpctl_puts_it(tmp_path, name):
    files, path = PLACES[name]
    host = contract.KdumpctlHost(tmp_path, files)
    arm(host)
    assert kdumpctl.image(host, RELEASE).path == path
    assert host.is_file(path)


def test_where_no_image_can_be_written_it_is_refused(tmp_path):
    host = contract.KdumpctlHost(tmp_path, {"/proc/self/mountinfo": contract.MOUNTINFO.replace(" rw,", " ro,")})
    assert "that file system is read-only" in failure(lambda: build(host))


def test_a_debug_kernel_captures_with_its_plain_twin(tmp_path):
    host = contract.KdumpctlHost(tmp_path, {
        "/lib/modules/%s/modules.dep" % RELEASE: "a.ko:\n", "/boot/vmlinuz-%s+debug" % RELEASE: "debug kernel",
    }, release=RELEASE + "+debug")  # fmt: skip
    assert kdumpctl.release(host, kdumpctl.configuration(host)) == RELEASE
    arm(host)
    assert host.loaded()["kernel"] == KERNEL


# --- what is kept --------------------------------------------------------------------------------------------------
def test_the_vendors_configuration_is_kept_before_the_first_write(host):
    host.run(["systemctl", "start", "kdump.service"])
    set_conf(host, OTHER)
    assert kdumpctl_good.last(host)[layout.CONF] == contract.CONF
    host.world("kexec", "ENOMEM\n")
    build(host)
    assert "put back" in failure(lambda: load(host))
    assert collected(host).endswith("-d 31")


def test_a_configuration_that_nothing_was_loaded_with_is_not_kept_as_good(host):
    set_conf(host, OTHER)
    assert (kdumpctl_good.last(host), kdumpctl_good.first(host)[layout.CONF]) == ({}, contract.CONF)


def test_an_edit_since_the_load_is_not_kept_as_good(host):
    arm(host)
    host.put(layout.CONF, contract.CONF + "# an administrator was here\n")
    set_conf(host, OTHER)
    assert kdumpctl_good.last(host)[layout.CONF] == contract.CONF


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"last": []}', '{"last": {"/etc/kdump.conf": 1}}', '{"last": {"/etc/passwd": "x"}}']
)
def test_a_broken_record_is_none(host, text):
    host.put(kdumpctl_good.KEPT, text)
    assert kdumpctl_good.put_back(host) == []
    assert not host.exists("/etc/passwd")


# --- advice and wishes ---------------------------------------------------------------------------------------------
def test_the_default_is_advised_and_an_estimate_above_it_heeded(host):
    assert kdumpctl.recommended(host).value == "2G-64G:256M,64G-:512M"
    host.world("estimate", json.dumps({"kernel": 200 << 20, "initrd": 40 << 20}))
    arm(host)
    advice = kdumpctl.recommended(host)
    assert (advice.value, advice.bytes) == ("336M", 336 << 20)


@pytest.mark.parametrize(
    "answer", ["exit(1)", "print('kdump: Usage: /usr/bin/kdumpctl {start|stop}')", "print('2G-64G:256Q')"]
)
def test_without_a_default_there_is_no_advice(host, answer):
    host.program("kdumpctl", "#!/usr/bin/env python3\n%s\n" % answer)
    assert kdumpctl.recommended(host) is None


def test_arguments_go_on_top_of_what_the_vendor_shipped(host):
    def appended(**wanted):
        settings = kdumpctl.expected(host, wanted)["settings"]
        if settings:
            set_conf(host, sysconfig.edit(host.read_text(layout.SYSCONFIG), settings, []), layout.SYSCONFIG)
        return settings.get("KDUMP_COMMANDLINE_APPEND")

    assert appended() is None
    for dummy in range(2):
        assert appended(cmdline_append="console=ttyS1") == "irqpoll nr_cpus=1 reset_devices console=ttyS1"
    assert appended(cmdline_append="console=ttyS2") == "irqpoll nr_cpus=1 reset_devices console=ttyS2"
    assert appended(nr_cpus=4, cmdline_remove=["irqpoll"]) == "reset_devices nr_cpus=4"


# --- failures that users report ------------------------------------------------------------------------------------
NFS = "nfs dumps.example.com:/srv\npath /\ncore_collector makedumpfile -l -d 31\n"


@pytest.fixture
def nfs(host):
    host.put(layout.CONF, NFS)
    host.put("/usr/sbin/mount.nfs", "", 0o755)
    host.world("exports", "dumps.example.com:/srv\n")
    return host


def test_issue_42_an_nfs_target_whose_mount_would_fail_in_the_crash(nfs):
    """`dracut_args --omit-drivers nfs`: the mount fails, and the dump goes elsewhere without failure_action."""
    arm(nfs)
    nfs.put(layout.CONF, NFS + "dracut_args --omit-drivers nfs\n")
    assert "issue 42" in failure(lambda: build(nfs))
    nfs.put(layout.CONF, NFS)
    nfs.remove("/usr/sbin/mount.nfs")
    assert "Install nfs-utils" in failure(lambda: build(nfs))
    assert nfs.loaded() is not None


def test_an_nfs_server_that_is_gone_is_found_out_before_anything_is_unloaded(nfs):
    arm(nfs)
    nfs.put(layout.CONF, NFS + "# changed\n")
    nfs.world("exports", "")
    assert "Connection refused" in failure(lambda: load(nfs))
    assert nfs.loaded() is not None


def test_issue_46_options_of_ssh_as_one_word(host):
    host.ssh_target()
    arm(host)
    host.put(
        "/usr/lib/dracut/modules.d/99kdumpbase/kdump.sh", 'ssh -q "$_ssh_opt" "$2" mkdir -p "$_ssh_dir" || return 1\n'
    )
    assert "issue 46" in failure(lambda: load(host))
    assert host.loaded() is not None


def test_issue_52_a_capture_kernel_that_waits_for_a_disk_that_is_none(nfs):
    nfs.program("dracut", "print('dracut 103-3.fc41')\n")
    arm(nfs)
    nfs.put("/dev/disk/by-path/pci-0000:04:00.0-part/by-partnum/1", "")
    assert "issue 52" in failure(lambda: build(nfs))
    mounted = "25 22 0:40 / /mnt rw - nfs4 dumps.example.com:/srv rw\n"
    nfs.put("/proc/self/mountinfo", contract.MOUNTINFO + mounted)
    nfs.put("/mnt/.keep", "")
    build(nfs)
    nfs.put("/proc/self/mountinfo", contract.MOUNTINFO)
    nfs.program("dracut", "print('dracut 105-2.fc42')\n")
    build(nfs)


@pytest.mark.parametrize("value", [True, "yes", "maybe"])
def test_pull_61_a_reservation_of_ones_own_and_kdumpctl_resetting_it(host, value):
    wanted = {"crashkernel": "512M", "conf": {"auto_reset_crashkernel": value}}
    said = failure(lambda: kdumpctl.expected(host, wanted))
    assert "crashkernel (kdump_crashkernel) is 512M" in said
    assert "auto_reset_crashkernel" in said
    for crashkernel, reset in (("auto", value), (None, value), ("512M", False), ("512M", "no")):
        kdumpctl.expected(host, {"crashkernel": crashkernel, "conf": {"auto_reset_crashkernel": reset}})


NO_RESET = {
    "a value of one's own": ({"crashkernel": "512M"}, {"auto_reset_crashkernel": "no"}),
    "the engine's": ({"crashkernel": "auto", "conf": {"path": "/var/crash"}}, {}),
    "none": ({"crashkernel": None}, {}),
    "said already": ({"crashkernel": "512M", "conf": {"auto_reset_crashkernel": False}}, {}),
}


@pytest.mark.parametrize("wanted, expected", NO_RESET.values(), ids=list(NO_RESET))
def test_pull_61_a_reservation_of_ones_own_is_kept_from_it(host, wanted, expected):
    """Also where kdump.conf says nothing of it, for kdumpctl then takes it for yes."""
    host.put(layout.CONF, "path /var/crash\n")
    assert kdumpctl.expected(host, wanted)["conf"] == expected


@pytest.mark.parametrize("value", [True, False, "yes", "no"])
@pytest.mark.parametrize("crashkernel", ["auto", "512M"])
def test_el_8_which_resets_nothing_is_spared_the_directive(host, value, crashkernel):
    """kdumpctl there does not know it, and would refuse the whole file; linux-system-roles.kdump leaves it out, too."""
    host.program("kdumpctl", host.read_text("/usr/bin/kdumpctl").replace("auto_reset_crashkernel", "not_known_yet"))
    wanted = {"crashkernel": crashkernel, "conf": {"auto_reset_crashkernel": value}}
    assert kdumpctl.expected(host, wanted)["conf"] == {"auto_reset_crashkernel": None}
    assert kdumpctl.expected(host, {"crashkernel": crashkernel})["conf"] == {}


def test_eperm_on_hardened_profiles(host):
    """kernel.kexec_load_disabled=1 (ComplianceAsCode 14558) forbids unloading and loading: refused, and it stays loaded."""
    arm(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", "1\n")
    assert arm(host) == []
    set_conf(host, OTHER)
    said = failure(lambda: load(host))
    assert "kernel.kexec_load_disabled is 1" in said
    assert "before kdump.service" in said
    assert host.loaded() is not None
