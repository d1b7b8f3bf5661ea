# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is decided, in which order the kernel is asked, and what is left when it says no."""

import errno
import json
import os

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import kexec, kexec_memory, layout
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils.image import store
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing
from ansible_collections.vmcore.kdump.tests.unit.kexec_host import KERNEL, MIB, RELEASE, RUNNING, KexecHost, bzimage


@pytest.fixture
def host(tmp_path):
    return KexecHost(tmp_path)


def request(**values):
    return dict(kexec.REQUEST, **values)


def load(host, **values):
    plan = kexec.decide(host, request(**values))
    plan.apply(host)
    return plan


def refused(host, **values):
    with pytest.raises(KdumpError) as caught:
        kexec.decide(host, request(**values))
    assert host.calls == [], "something was touched before it was refused"
    return str(caught.value)


# --- loading -------------------------------------------------------------------------------------------------------
def test_a_load_is_remembered_and_is_not_repeated(host):
    image = host.image()
    plan = load(host)
    assert plan.changed and host.calls == [("load", KERNEL, image)]
    report = kexec.report(host, request())
    assert report["loaded"] and report["method"] == "kexec_file_load" and report["reserved_bytes"] == 96 * MIB
    assert "crashkernel=" not in report["cmdline"] and "nr_cpus=1" in report["cmdline"]
    assert not kexec.decide(host, request()).changed


def test_the_state_file_is_as_documented(host):
    host.image()
    load(host)
    state = json.loads(host.read_text(layout.LOADED))
    assert state["loaded_at"] == "2025-11-24T16:00:00Z"
    assert sorted(state) == sorted(
        "type kernel kernel_sha256 initrd initrd_sha256 digest cmdline hardware method loaded_at".split()
    )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"type": 1}', "null"])
def test_a_broken_state_file_counts_for_nothing(host, text):
    host.image()
    load(host)
    host.put(layout.LOADED, text.encode())
    assert kexec.loaded(host) is None
    assert kexec.decide(host, request()).changed


def test_a_state_file_without_a_loaded_kernel_counts_for_nothing(host):
    host.image()
    load(host)
    host.sysfs("crash", 0)
    assert kexec.loaded(host) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda host: host.image("two", when=2000), id="another image"),
        pytest.param(lambda host: host.put("/proc/cmdline", b"other crashkernel=96M"), id="another command line"),
        pytest.param(lambda host: host.put("/sys/devices/system/cpu/present", b"0-3\n"), id="more CPUs"),
        pytest.param(lambda host: host.put("/proc/iomem", b"0-1 : System RAM\n"), id="other memory"),
        pytest.param(lambda host: host.put(layout.SYSCONFIG, b'KDUMP_COMMANDLINE_APPEND="x"\n'), id="other settings"),
    ],
)
def test_what_makes_a_reload_due(host, change):
    host.image()
    load(host)
    change(host)
    assert kexec.decide(host, request()).changed


def test_a_kernel_that_follows_hotplug_itself_is_left_alone(host):
    host.image()
    load(host)
    for part in ("cpu", "memory"):
        host.write("/sys/devices/system/%s/crash_hotplug" % part, b"1\n")
    host.put("/sys/devices/system/cpu/present", b"0-3\n")
    assert not kexec.decide(host, request()).changed


def test_the_new_place_of_the_figures_in_sysfs_comes_first(host):
    host.put("/sys/kernel/kexec/crash_size", b"1048576\n")
    host.put("/sys/kernel/kexec/crash_loaded", b"1\n")
    assert kexec.reserved_bytes(host) == MIB
    assert kexec.is_loaded(host)


def test_old_images_go_after_the_new_one_is_loaded_and_other_kernels_keep_theirs(host):
    host.put("/boot/vmlinuz-6.13.0-test", bzimage("6.13.0-test"))
    other = host.image("other", release="6.13.0-test")
    old = host.image("old")
    load(host)
    new = host.image("new", when=2000)
    assert host.is_file(old)
    load(host)
    assert host.is_file(new) and host.is_file(other) and not host.is_file(old)


def digest16(image):
    return image[: -len(".img")].rpartition("-")[2]


def test_images_that_are_gone_are_still_known_by_their_digests(host):
    """A dump may name one that was replaced before anybody has looked."""
    old = host.image("old")
    load(host)
    assert store.digests(host) == [digest16(old)] and not host.exists(store.FORMER), "nothing is gone yet"
    new = host.image("new", when=2000)
    load(host)
    assert not host.is_file(old) and store.digests(host) == [digest16(new), digest16(old)]
    before = host.stat(store.FORMER)
    assert before.st_mode & 0o777 == 0o600
    load(host)
    assert host.stat(store.FORMER) == before, "a run that loads nothing writes nothing"


def test_of_images_that_are_gone_so_many_are_known_the_last_ones(host):
    gone = [host.image("image %d" % number, when=1000 + number) for number in range(25)]
    for number in range(25):
        store.prune(host, gone[number + 1 :])
    assert store.digests(host) == [digest16(image) for image in gone[:4:-1]]
    again = host.image("image 7")
    store.prune(host, [])
    assert store.digests(host)[:2] == [digest16(again), digest16(gone[24])]
    assert len(json.loads(host.read_text(store.FORMER))) == len(store.digests(host)) == 20


@pytest.mark.parametrize("text", [
    pytest.param(b"", id="nothing"), pytest.param(b"[{", id="cut off"), pytest.param(b"{}", id="an object"),
    pytest.param(b"null", id="null"), pytest.param(b"\xff", id="no text"), pytest.param(b"[" * 100000, id="deep"),
    pytest.param(b'["x", 1, null, [], "GGGGGGGGGGGGGGGG", "../../../../../x"]', id="other words"),
])  # fmt: skip
def test_a_broken_list_of_images_that_are_gone_counts_for_nothing(host, text):
    host.put(store.FORMER, text)
    assert store.digests(host) == []
    image = host.image()
    store.prune(host, [])
    assert store.digests(host) == [digest16(image)]


# --- never worse ---------------------------------------------------------------------------------------------------
def test_a_load_that_fails_is_followed_by_one_of_what_was_there(host):
    old = host.image("old")
    load(host)
    before = kexec.loaded(host)
    new = host.image("new", when=2000)
    host.calls.clear()
    host.answers = [errno.ENOEXEC]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert host.calls == [("load", KERNEL, new), ("load", KERNEL, old)]
    first, second = caught.value.problems
    assert "does not take" in first.message and "is loaded again" in second.message and old in second.message
    assert kexec.loaded(host) == before and kexec.is_loaded(host)
    assert host.is_file(old) and host.is_file(new)


def test_when_the_old_one_fails_too_the_host_is_called_unprotected(host):
    host.image("old")
    load(host)
    host.image("new", when=2000)
    host.answers = [errno.ENOEXEC, errno.ENOMEM]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert "No capture kernel is loaded now" in caught.value.problems[1].message
    assert kexec.loaded(host) is None and not host.exists(layout.LOADED)


def test_an_old_image_whose_bytes_have_changed_is_not_loaded_again(host):
    old = host.image("old")
    load(host)
    host.image("new", when=2000)
    plan = kexec.decide(host, request())
    host.put(old, b"changed")
    host.answers = [errno.ENOEXEC]
    host.calls.clear()
    with pytest.raises(KdumpError) as caught:
        plan.apply(host)
    assert len(host.calls) == 1
    assert old + " has changed" in str(caught.value) and "No capture kernel is loaded now" in str(caught.value)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EBUSY])
def test_a_refusal_from_before_the_old_one_is_freed_keeps_its_state(host, number):
    host.image("old")
    load(host)
    before = kexec.loaded(host)
    host.image("new", when=2000)
    host.calls.clear()
    host.answers = [number]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert len(host.calls) == 1 and "still loaded" in str(caught.value)
    assert kexec.loaded(host) == before


def test_a_first_load_that_fails_says_that_nothing_is_loaded(host):
    host.image()
    host.answers = [errno.ENOEXEC]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert "No capture kernel is loaded now" in str(caught.value)


# --- refused before anything is touched ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "spoil, words",
    [
        pytest.param(lambda host: host.put("/sys/kernel/kexec_crash_size", b"0"), "was given crashkernel=96M",
                     id="a reservation that failed"),
        pytest.param(lambda host: (host.put("/sys/kernel/kexec_crash_size", b"0"), host.write("/proc/cmdline", b"a")),
                     "Reserve memory first", id="no reservation"),
        pytest.param(lambda host: host.put("/sys/kernel/kexec_crash_size", b"40000000"), "does not fit",
                     id="a small reservation"),
        pytest.param(lambda host: host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n"), "kexec_load_disabled is 1",
                     id="loading switched off"),
        pytest.param(lambda host: host.put("/proc/sys/kernel/kexec_load_limit_panic", b"0\n"), "used up",
                     id="limit spent"),
        pytest.param(lambda host: host.put("/proc/self/status", b"CapEff:\t0000000000000000\n"), "CAP_SYS_BOOT",
                     id="not root"),
        pytest.param(lambda host: host.put(KERNEL, b"x" * 5000), "not an x86 kernel", id="a broken kernel"),
        pytest.param(lambda host: host.remove(KERNEL), "The kernel file of", id="no kernel"),
        pytest.param(lambda host: host.put(KERNEL, bzimage(body=b"other")), "other bytes of the kernel",
                     id="an image for other bytes"),
        pytest.param(lambda host: host.put(kexec.store.images(host)[0], b"rotten"), "no whole capture image",
                     id="a broken image"),
        pytest.param(lambda host: host.put("/proc/cmdline", b"a" * 3000), "takes 1986", id="a long command line"),
        pytest.param(lambda host: setattr(host, "refusal", "This Python is a 32-bit program."), "32-bit program",
                     id="a Python of another architecture"),
        pytest.param(lambda host: host.put(layout.SYSCONFIG, b"A=$(reboot)\n"), "/etc/sysconfig/kdump",
                     id="settings that only a shell understands"),
    ],
)  # fmt: skip
def test_refused_with_nothing_touched(host, spoil, words):
    host.image()
    spoil(host)
    assert words in refused(host)


def test_everything_that_is_wrong_is_said_at_once(host):
    host.put("/sys/kernel/kexec_crash_size", b"0")
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    host.put("/proc/cmdline", b"a" * 3000)
    message = refused(host)
    for words in ("Reserve memory first", "kexec_load_disabled", "takes 1986", "no whole capture image"):
        assert words in message


def test_what_is_loaded_already_needs_no_permission(host):
    host.image()
    load(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    host.put("/proc/sys/kernel/kexec_load_limit_panic", b"0\n")
    assert not kexec.decide(host, request()).changed


def test_a_comparison_needs_no_permission_to_replace_what_is_loaded(host):
    host.image()
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    with pytest.raises(KdumpError, match="kexec_load_disabled is 1"):
        kexec.decide(host, request(), replacing=False)
    host.put("/proc/sys/kernel/kexec_load_disabled", b"0\n")
    load(host)
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    assert not kexec.decide(host, request(), replacing=False).changed
    assert "quiet" in kexec.decide(host, request(cmdline_append="quiet"), replacing=False).diff()[0]["after"]
    host.calls.clear()
    assert "kexec_load_disabled is 1" in refused(host, cmdline_append="quiet")


def test_an_image_that_is_still_to_be_built_is_only_missing(host):
    with pytest.raises(Missing, match="no whole capture image"):
        kexec.decide(host, request())
    host.put("/sys/kernel/kexec_crash_size", b"40000000")
    with pytest.raises(KdumpError) as caught:
        kexec.decide(host, request())
    assert not isinstance(caught.value, Missing), "another reservation is not a build"
    assert [problem.option for problem in caught.value.problems] == ["", "crashkernel"]


@pytest.mark.parametrize(
    "limit, loaded_before, allowed",
    [(-1, True, True), (1, False, True), (1, True, False), (2, True, True)],
    ids=["none", "the last one, nothing loaded", "the last one, something loaded", "two left"],
)
def test_replacing_keeps_one_call_in_hand(host, limit, loaded_before, allowed):
    host.image("old")
    if loaded_before:
        load(host)
    host.image("new", when=2000)
    host.calls.clear()
    host.put("/proc/sys/kernel/kexec_load_limit_panic", b"%d\n" % limit)
    if allowed:
        assert kexec.decide(host, request()).changed
    else:
        assert "one more load only" in refused(host)


# --- the request ---------------------------------------------------------------------------------------------------
def test_in_check_mode_an_image_still_to_be_built_is_a_load_to_come(host):
    plan = kexec.decide(host, request(_check=True))
    assert plan.changed and "still to be built" in plan.diff()[0]["after"]
    assert "no whole capture image" in refused(host)


def test_a_kernel_by_path_with_an_image_of_ones_own(host):
    host.put("/srv/kernel", bzimage("6.13.0-test"))
    host.put("/srv/image", b"image")
    load(host, kernel="/srv/kernel", initrd="/srv/image", cmdline="base", cmdline_append="last", nr_cpus=3)
    assert host.calls == [("load", "/srv/kernel", "/srv/image")]
    line = kexec.report(host, request())["cmdline"]
    assert line.startswith("base novmcoredd") and line.endswith(" last") and " nr_cpus=3 " in line


@pytest.mark.parametrize("base", ["", "KDUMP_COMMANDLINE", "cmdline"])
def test_a_watchdog_is_fed_in_the_capture_kernel_unless_it_is_told_otherwise(host, base):
    line = "a watchdog.open_timeout=60 watchdog.handle_boot_enabled=0 crashkernel=96M"
    settings = 'KDUMP_COMMANDLINE_APPEND="watchdog.open_timeout=600"\n'
    if base == "":
        host.put("/proc/cmdline", line.encode())
    if base == "KDUMP_COMMANDLINE":
        settings += 'KDUMP_COMMANDLINE="%s"\n' % line
    host.put("/etc/sysconfig/kdump", settings.encode())
    host.image()
    load(host, cmdline=line if base == "cmdline" else None)
    assert kexec.report(host, request())["cmdline"].split()[:-1] == ["a", "watchdog.open_timeout=600"]


def test_a_kernel_by_path_takes_the_image_of_the_release_it_names(host):
    host.put("/boot/vmlinuz-6.13.0-test", bzimage("6.13.0-test"))
    image = host.image("of the other", release="6.13.0-test")
    load(host, kernel="/boot/vmlinuz-6.13.0-test")
    assert host.calls == [("load", "/boot/vmlinuz-6.13.0-test", image)]


def test_missing_files_are_named(host):
    host.image()
    assert "/none" in refused(host, kernel="/none")
    assert "/none" in refused(host, initrd="/none")


def test_the_kernel_that_etc_sysconfig_kdump_names(host):
    host.put("/boot/vmlinuz-6.13.0-test", bzimage("6.13.0-test"))
    host.put(layout.SYSCONFIG, b"KDUMP_KERNELVER=6.13.0-test\n")
    image = host.image("of the other", release="6.13.0-test")
    load(host)
    assert host.calls == [("load", "/boot/vmlinuz-6.13.0-test", image)]


def test_a_reboot_takes_the_running_command_line_and_the_systems_initrd(host):
    host.write("/boot/initrd.img-" + RELEASE, b"initrd")
    load(host, type="reboot", cmdline_remove=["root"], cmdline_append="quiet")
    assert host.calls == [("load", KERNEL, "/boot/initrd.img-" + RELEASE)]
    report = kexec.report(host, request(type="reboot"))
    assert report["cmdline"] == RUNNING.replace("root=UUID=1 ", "") + " quiet"
    assert not kexec.is_loaded(host, "crash") and kexec.is_loaded(host, "reboot")
    assert not load(host, type="reboot", cmdline_remove=["root"], cmdline_append="quiet").changed


def test_a_reboot_needs_no_reservation_but_an_initrd(host):
    host.put("/sys/kernel/kexec_crash_size", b"0")
    assert "No initrd" in refused(host, type="reboot")


@pytest.mark.parametrize("value, on", [("on", True), ("1", True), ("off", False), ("", False)])
def test_a_reboot_is_refused_under_the_live_update_orchestrator(host, value, on):
    host.write("/boot/initrd.img-" + RELEASE, b"initrd")
    host.put("/proc/cmdline", b"a liveupdate=" + value.encode())
    if on:
        assert "live update" in refused(host, type="reboot")
    else:
        assert kexec.decide(host, request(type="reboot")).changed


# --- unloading -----------------------------------------------------------------------------------------------------
def test_unloading(host):
    assert not kexec.decide(host, request(state="unloaded")).changed
    host.image()
    load(host)
    load(host, state="unloaded")
    assert host.calls[-1] == ("unload",)
    assert not host.exists(layout.LOADED) and not kexec.is_loaded(host)


def test_what_something_else_has_loaded_is_unloaded_on_request(host):
    host.sysfs("crash", 1)
    assert kexec.report(host, request()) == {
        "loaded": True, "kernel": "", "initrd": "", "cmdline": "", "method": "", "reserved_bytes": 96 * MIB,
        "warnings": [],
    }  # fmt: skip
    load(host, state="unloaded")
    assert host.calls == [("unload",)]


def test_unloading_that_is_not_permitted(host):
    host.image()
    load(host)
    host.calls.clear()
    host.put("/proc/sys/kernel/kexec_load_disabled", b"1\n")
    assert "kexec_load_disabled" in refused(host, state="unloaded")
    assert kexec.is_loaded(host)


# --- kexec-tools ---------------------------------------------------------------------------------------------------
def with_kexec_tools(host, rc=0):
    def program(argv, **options):
        host.calls.append(("run",) + tuple(argv))
        host.sysfs("crash", 0 if rc else 1)
        return Result(argv, rc, "", "kexec: it failed" if rc else "")

    host._runner = program
    host.write("/usr/sbin/kexec", b"", 0o755)


def test_without_the_system_call_kexec_tools_load(host):
    image = host.image()
    with_kexec_tools(host)
    host.answers = [errno.ENOSYS]
    load(host)
    argv = list(host.calls[1][1:])
    assert argv[:3] == ["kexec", "-p", "-c"] and argv[3].startswith("--command-line=BOOT_IMAGE=")
    assert argv[4:] == ["--initrd=" + image, KERNEL]
    assert kexec.report(host, request())["method"] == "kexec-tools"
    assert not kexec.decide(host, request()).changed


def test_what_kexec_tools_say_is_reported(host):
    host.image()
    with_kexec_tools(host, rc=1)
    host.answers = [errno.ENOSYS]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert "kexec: it failed" in str(caught.value) and "No capture kernel is loaded" in str(caught.value)


def test_without_both_the_package_is_named(host):
    host.image()
    host.answers = [errno.ENOSYS]
    with pytest.raises(KdumpError) as caught:
        load(host)
    assert "Install the package kexec-tools" in str(caught.value)


# --- what the host says --------------------------------------------------------------------------------------------
def test_facts(host):
    host.put("/sys/kernel/security/lockdown", b"none [integrity] confidentiality\n")
    guid = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    host.write("/sys/firmware/efi/efivars/SecureBoot" + guid, b"\x06\0\0\0\1")
    host.write("/sys/firmware/efi/efivars/SetupMode" + guid, b"\x06\0\0\0\0")
    facts = kexec.facts(host, "crash")
    assert (facts.lockdown, facts.secure_boot, facts.limit, facts.disabled) == ("integrity", True, -1, False)


def test_watchdogs_by_their_module(host):
    for number, name in enumerate(("iTCO_wdt", "iTCO_wdt", "x y;z")):
        folder = "/sys/class/watchdog/watchdog%d/device/driver" % number
        host.make_directories(folder)
        host.make_directories("/sys/module/" + name)
        os.symlink("/sys/module/" + name, host.path(folder) + "/module")
    assert kexec.watchdogs(host) == ("iTCO_wdt",)


def test_graviton_by_its_smbios_entry(host):
    assert not kexec.is_graviton(host)
    host.put("/sys/firmware/dmi/entries/4-0/raw", b"\x04\x30Amazon EC2\0AWS Graviton3\0\0")
    assert kexec.is_graviton(host)


SIZES = [
    # MiB: the kernel from its start on, the image packed and unpacked, the least, what is comfortable
    pytest.param(56, 3, 8, 67, 77, id="the cloud kernel of the guests"),
    pytest.param(56, 6, 16, 74, 88, id="without busybox, which 96M just holds"),
    pytest.param(56, 3, 0, 67, 69, id="an image of unknown content"),
    pytest.param(40, 10, 60, 150, 150, id="half of the memory must hold what is unpacked"),
    pytest.param(40, 30, 40, 110, 124, id="packed and unpacked are there at once"),
]


@pytest.mark.parametrize("kernel, image, unpacked, least, comfortable", SIZES)
def test_what_a_capture_kernel_and_its_image_take(kernel, image, unpacked, least, comfortable):
    sizes = (kernel * MIB, image * MIB, unpacked * MIB)
    assert kexec_memory.least(*sizes) == least * MIB
    assert kexec_memory.comfortable(*sizes) == comfortable * MIB


def test_an_image_that_does_not_unpack_into_the_reservation_is_refused_before_the_old_one_is_freed(host):
    image = host.image("one", unpacked=8 * MIB)
    load(host)
    host.image("two", when=2000, unpacked=40 * MIB)
    with pytest.raises(KdumpError) as caught:
        kexec.decide(host, request())
    assert "96 MiB are reserved, the kernel and its image need about 110 MiB" in str(caught.value)
    assert host.calls == [("load", KERNEL, image)]


@pytest.mark.parametrize("unpacked, warned", [(8, ""), (20, "take about 75 MiB, and 72 MiB are reserved")])
def test_a_reservation_that_is_nearly_full_is_warned_of(tmp_path, unpacked, warned):
    host = KexecHost(tmp_path, reserved=(72 if warned else 96) * MIB)
    host.image(unpacked=unpacked * MIB)
    load(host)
    warnings = kexec.report(host, request())["warnings"]
    assert [warned in warning for warning in warnings] == ([True] if warned else [])


def test_the_size_of_a_kernel_that_is_another_now_is_nobodys_concern(host):
    host.image(unpacked=8 * MIB)
    load(host)
    host.put(KERNEL, b"no kernel any more" * 100)
    assert kexec.report(host, request())["warnings"] == []
