# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts as the role's tasks bring them about, and handed from one engine to the other and back."""

import hashlib

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    conf_state,
    engine,
    expectation,
    kexec,
    kexec_state,
    layout,
    proof,
    reservation,
    status,
    sysconfig,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import kdumpctl_good
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build, store
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import Plan, Step
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.contract import debian
from ansible_collections.vmcore.kdump.tests.contract.host import KERNEL, MIB, RELEASE
from ansible_collections.vmcore.kdump.tests.contract.kdumpctl import KdumpctlHost
from ansible_collections.vmcore.kdump.tests.unit.kexec_host import bzimage

DIGEST = hashlib.sha256(b"the native image's inputs").hexdigest()


class TwoEngines(KdumpctlHost):
    """kdump-utils and grubby are installed, and the kernel takes what the native engine loads."""

    def __init__(self, root):
        super().__init__(root, tools=["grubby"])
        self.put(KERNEL, bzimage(RELEASE))
        self.put("/sys/devices/system/cpu/present", "0\n")
        self.program("python3", "")
        self.program("udevadm", "")
        self.make_directories("/run/systemd/system")  # systemd runs

    def free_bytes(self, path):
        return 1 << 30

    def kexec_refusal(self):
        return ""

    def kexec_file_load(self, kernel, initrd, cmdline, crash):
        self.put("/sys/kernel/kexec_crash_loaded", "1\n")
        self.remove("/run/contract/loaded")

    def kexec_unload(self, crash):
        self.put("/sys/kernel/kexec_crash_loaded", "0\n")


class Debian(debian.DebianHost):
    """kdump-tools is installed, and what the native engine is made of."""

    def free_bytes(self, path):
        return 1 << 30


def leave_out_the_building(monkeypatch, release, kernel_path):
    """The native image is known by what it would be made of."""
    path = store.image_path(release, DIGEST)

    def make(target):
        kernel = hashlib.sha256(target.read(kernel_path)).hexdigest()
        data = b"native image"
        manifest = store.Manifest(
            release=release, kernel=kernel_path, kernel_sha256=kernel, digest=DIGEST, path=path, bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(), seconds=1.0, target={}, inputs=[],
        )  # fmt: skip
        store.save(target, manifest, data)

    def decide(target, *_arguments, **_options):
        return Plan([] if store.load(target, path) else [Step("build the capture image", make)])

    monkeypatch.setattr(build, "decide", decide)
    monkeypatch.setattr(build, "wanted_digest", lambda *arguments: DIGEST)


@pytest.fixture
def host(tmp_path, monkeypatch):
    leave_out_the_building(monkeypatch, RELEASE, KERNEL)
    return TwoEngines(tmp_path)


@pytest.fixture
def debian_host(tmp_path, monkeypatch):
    leave_out_the_building(monkeypatch, debian.RELEASE, debian.KERNEL)
    host = Debian(tmp_path)
    host.put("/usr/bin/python3", "")
    return host


def look(host, name):
    return status.report(status.observe(host, name, 0))


def judge(host, name, **wanted):
    return expectation.judge(host, status.observe(host, name, 0), wanted)


def parts(host, name, wanted):
    """The modules of roles/kdump/tasks/present.yml in their order, with the arguments that the role gives them."""
    expected = judge(host, name, **wanted)
    driver = engine.driver(name)
    conf = {"path": layout.CONF, "options": dict(wanted.get("conf", {}), **expected.conf), "remove": [], "purge": False, "backup": False,
            "check_host": True, "create_path": True, "_check": False}  # fmt: skip
    settings = {"path": expected.path, "settings": expected.settings, "remove": []}
    memory = {"value": wanted.get("crashkernel", "auto"), "state": "present", "kernels": ["ALL"], "bootloader": "auto",
              "_check": False, "_advice": driver.recommended}  # fmt: skip
    image = {"kernel": None, "conf": layout.CONF, "force": False, "_check": False}
    found = [
        ("conf", lambda: kdumpctl_good.before_write(host, layout.CONF, conf_state.decide(host, conf))),
        ("sysconfig", lambda: kdumpctl_good.before_write(host, expected.path, sysconfig.decide(host, settings))),
        ("crashkernel", lambda: reservation.decide(host, memory)),
        ("initramfs", lambda: driver.build_plan(host, image, {})),
        ("boot", lambda: engine.boot_plan(host, name, "present", python="/usr/bin/python3")),
        ("kexec", lambda: driver.load_plan(host, dict(kexec.REQUEST, _check=False))),
    ]
    left_out = {"conf": not driver.CONF, "crashkernel": memory["value"] is None}
    return [part for part in found if not left_out.get(part[0])]


def converge(host, name, **wanted):
    """The modules that changed something. While one engine follows the other, something is loaded all the time."""
    changed = []
    protected = kexec_state.is_loaded(host)
    for module, decide in parts(host, name, wanted):
        plan = decide()
        for step in plan.steps:
            step.apply(host)
            assert kexec_state.is_loaded(host) or not protected, step.title
        assert decide().actions == [], module
        changed += [module] if plan.changed else []
    return changed


# 256M stand on the entries, as the machine was booted, so that no reboot is due.
MEMORY = {"crashkernel": "256M"}


def armed(host, name):
    host.put("/proc/cmdline", host.read_text("/proc/cmdline").replace("1G-4G:192M,4G-64G:256M,64G-:512M", "256M"))
    return converge(host, name, **MEMORY)


def test_kdumpctl_is_armed_and_a_second_run_changes_nothing(host):
    assert look(host, "auto")["readiness"] == "unprotected"
    assert armed(host, "kdumpctl") == ["conf", "crashkernel", "initramfs", "kexec"]  # conf: no resets
    found = look(host, "auto")
    assert (found["engine"], found["readiness"], found["errors"]) == ("kdumpctl", "armed", []), found["reasons"]
    assert (found["loaded_by"], found["unit"], found["unit_enabled"]) == ("kdumpctl", "kdump.service", True)
    assert found["image"]["current"] and found["loaded"]["digest"] == found["image"]["digest"]
    before = host.snapshot()
    assert converge(host, "kdumpctl", **MEMORY) == []
    assert host.snapshot() == before


def test_a_proof_of_kdumpctl_holds_until_an_input_changes(host):
    armed(host, "kdumpctl")
    inputs = proof.Inputs(**look(host, "auto")["inputs"])
    proof.save(host, proof.Proof(inputs, "/v", "complete", 1.0, None, None, None, None, "kdumpctl"))
    assert look(host, "auto")["readiness"] == "proven"
    host.put("/etc/kdump/post.d/mail", "#!/bin/sh\n", 0o755)
    assert look(host, "auto")["readiness"] == "stale"


def test_a_unit_that_was_skipped_for_want_of_a_reservation_waits_for_the_boot(host):
    host.put("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-%s ro\n" % RELEASE)
    host.put("/sys/kernel/kexec_crash_size", "0\n")
    for _name, decide in parts(host, "kdumpctl", MEMORY)[:-1]:
        decide().apply(host)
    found = look(host, "kdumpctl")
    assert found["readiness"] == "pending_reboot", found["reasons"]
    assert found["crashkernel"]["reboot_required"] and not found["crash_loaded"]


@pytest.mark.parametrize("first,second", [("kdumpctl", "native"), ("native", "kdumpctl")])
def test_another_engine_takes_over_and_one_is_in_charge(host, first, second):
    armed(host, first)
    assert look(host, first)["readiness"] == "armed"
    handed = look(host, second)
    assert (handed["readiness"], handed["loaded"], handed["loaded_by"]) == ("unprotected", None, first)
    changed = converge(host, second, **MEMORY)
    assert changed == ["initramfs", "boot", "kexec"]  # kdump.conf keeps the reservation whoever captures
    found = look(host, second)
    assert (found["readiness"], found["loaded_by"]) == ("armed", second), found["reasons"]
    assert not engine.driver(first).is_enabled(host) and engine.driver(first).loaded(host) is None
    assert converge(host, second, **MEMORY) == []
    assert converge(host, first, **MEMORY)[-2:] == ["boot", "kexec"]
    assert look(host, first)["readiness"] == "armed" and not engine.driver(second).is_enabled(host)


@pytest.mark.parametrize("first,second", [("kdump-tools", "native"), ("native", "kdump-tools")])
def test_on_debian_too(debian_host, first, second):
    host, wanted = debian_host, {"crashkernel": None}
    converge(host, first, **wanted)
    found = look(host, first)
    assert (found["loaded_by"], found["unit_enabled"]) == (first, True) and not kept_from_readiness(found)
    assert "boot" in converge(host, second, **wanted)
    found = look(host, second)
    assert (found["loaded_by"], found["unit_enabled"]) == (second, True) and not kept_from_readiness(found)
    assert not engine.driver(first).is_enabled(host) and engine.driver(first).loaded(host) is None
    assert converge(host, second, **wanted) == []
    converge(host, first, **wanted)
    assert look(host, first)["loaded_by"] == first and not kept_from_readiness(look(host, first))


def kept_from_readiness(found):
    """The reasons, but that the machine has no boot loader and was never crashed."""
    return [one["message"] for one in found["reasons"] if one["message"] != "No crash test has been made."]


def test_a_crash_test_is_of_the_engine_that_is_in_charge(host):
    assert engine.in_charge(host, "auto") == "kdumpctl"
    armed(host, "native")
    assert (engine.in_charge(host, "auto"), engine.in_charge(host, "kdumpctl")) == ("native", "kdumpctl")
    host.run(["systemctl", "enable", "kdump.service"])
    assert engine.in_charge(host, "auto") == engine.choose(host, "auto") == "kdumpctl"


def test_two_that_are_enabled_are_named(host):
    armed(host, "native")
    host.run(["systemctl", "enable", "kdump.service"])
    found = look(host, "native")
    assert found["readiness"] == "unprotected" and "kdump.service arms this host" in found["reasons"][0]["message"]
    assert converge(host, "native", **MEMORY) == ["boot"]
    assert look(host, "native")["readiness"] == "armed"


@pytest.mark.parametrize("name", ["kdumpctl", "native"])
def test_disabled_arms_the_host_at_no_boot(host, name):
    armed(host, name)
    host.run(["systemctl", "enable", "kdump.service"])
    engine.boot_plan(host, name, "disabled", python="/usr/bin/python3").apply(host)
    assert not engine.boot_plan(host, name, "disabled", python="/usr/bin/python3").changed
    assert not kexec_state.is_loaded(host) and not any(one.is_enabled(host) for one in engine.DRIVERS.values())


@pytest.mark.parametrize("name", ["kdumpctl", "native"])
def test_absent_leaves_the_distributions_files_and_none_of_ours(host, name):
    wanted = {"nr_cpus": 2, "conf": {"failure_action": "halt"}}
    texts = {path: host.read_text(path) for path in (layout.CONF, layout.SYSCONFIG)}
    armed(host, "kdumpctl")
    converge(host, name, **dict(MEMORY, **wanted))
    found = judge(host, name, state="absent", **wanted)
    assert found.differs == ["conf", "sysconfig"]
    engine.boot_plan(host, name, "absent", python="/usr/bin/python3").apply(host)
    assert not engine.boot_plan(host, name, "absent", python="/usr/bin/python3").changed
    settings = {one: text for one, text in found.settings.items() if text is not None}
    removed = [one for one, text in found.settings.items() if text is None]
    sysconfig.decide(host, {"path": found.path, "settings": settings, "remove": removed}).apply(host)
    assert sysconfig.parse(host.read_text(layout.SYSCONFIG)) == sysconfig.parse(texts[layout.SYSCONFIG])
    assert not kexec_state.is_loaded(host) and not host.exists(layout.STATE_DIR) and not host.exists(layout.RUN_DIR)
    assert not any(one.is_enabled(host) for one in engine.DRIVERS.values())
    assert host.exists("/usr/lib/systemd/system/kdump.service")


@pytest.mark.parametrize("first, second", [("kdumpctl", "native"), ("native", "kdumpctl")])
def test_absent_leaves_nothing_loaded_by_whichever_engine(host, first, second):
    armed(host, first)
    engine.boot_plan(host, second, "absent", python="/usr/bin/python3").apply(host)
    assert not engine.boot_plan(host, second, "absent", python="/usr/bin/python3").changed
    assert not kexec_state.is_loaded(host) and not any(one.is_enabled(host) for one in engine.DRIVERS.values())


def test_absent_leaves_nothing_loaded_by_kdump_tools(debian_host):
    converge(debian_host, "kdump-tools", crashkernel=None)
    assert kexec_state.is_loaded(debian_host)
    engine.boot_plan(debian_host, "native", "absent", python="/usr/bin/python3").apply(debian_host)
    assert not engine.boot_plan(debian_host, "native", "absent", python="/usr/bin/python3").changed
    assert not kexec_state.is_loaded(debian_host) and not engine.driver("kdump-tools").is_enabled(debian_host)


def test_what_linux_system_roles_variables_mean_to_kdumpctl(host):
    wanted = {"auto_reset_crashkernel": True, "dracut_args": '--add-drivers "xfs"', "path": "/var/crash"}
    assert "conf" in judge(host, "kdumpctl", conf=wanted, crashkernel="auto").differs
    with pytest.raises(KdumpError, match="overwrite"):
        judge(host, "kdumpctl", conf=wanted, crashkernel="256M")
    with pytest.raises(KdumpError, match="dracut_args: the native engine does not know what to do with --add"):
        judge(host, "native", conf=dict(wanted, dracut_args="--add nfs"))
    with pytest.raises(KdumpError, match="overwrite"):  # kdumpctl is beside
        judge(host, "native", conf=wanted, crashkernel="256M")
    host.remove("/usr/bin/kdumpctl")
    del wanted["dracut_args"]
    judge(host, "native", conf=wanted, crashkernel="256M")


def test_a_reservation_of_ones_own_lasts_and_absent_takes_back_what_that_took(host):
    host.put(layout.CONF, "path /var/crash\n")
    assert "conf" in judge(host, "kdumpctl", crashkernel="512M").differs
    converge(host, "kdumpctl", crashkernel="512M")
    assert "auto_reset_crashkernel no\n" in host.read_text(layout.CONF)
    assert "conf" not in judge(host, "kdumpctl", crashkernel="512M").differs
    assert judge(host, "kdumpctl", crashkernel="512M", state="absent").differs == ["conf"]


def test_a_playbook_for_releases_from_9_on_runs_on_8(host):
    host.program("kdumpctl", host.read_text("/usr/bin/kdumpctl").replace("auto_reset_crashkernel", "not_known_yet"))
    host.put(layout.CONF, "path /var/crash\n")
    assert "conf" not in judge(host, "kdumpctl", conf={"auto_reset_crashkernel": True}).differs
    assert "conf" in judge(host, "kdumpctl", conf={"auto_reset_crashkernel": True, "failure_action": "halt"}).differs


def test_advice_is_the_engines(host):
    found = look(host, "kdumpctl")["crashkernel"]
    assert (
        found["recommended_by"] == "engine"
        and found["recommended"] == engine.driver("kdumpctl").recommended(host).value
    )
    assert found["wasted_bytes"] == max(0, 256 * MIB - found["recommended_bytes"])
