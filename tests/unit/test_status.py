# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What module info makes of a host, and of a wanted state, on a machine in a directory."""

import errno
import json
import os
from typing import Any, Dict

import pytest
from kexec_host import RELEASE, KexecHost

from ansible_collections.vmcore.kdump.plugins.module_utils import (
    boot,
    engine,
    evidence,
    expectation,
    kexec,
    layout,
    proof,
    readiness,
    remote_dumps,
    status,
    sysconfig,
    wishes,
)
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import grub
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build, store
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import Plan, Step
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing, Parts, Problem, fail

GRUB_CFG = """\
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian GNU/Linux' {
        linux /boot/vmlinuz-%s root=UUID=1 ro%s
}
### END /etc/grub.d/10_linux ###
"""
MOUNTINFO = "1 0 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"


class Guest(KexecHost):
    """A Debian guest whose GRUB says what the kernel was booted with."""

    def __init__(self, root, crashkernel=" crashkernel=96M", **options):
        super().__init__(root, **options)
        self.put("/etc/os-release", b"ID=debian\n")
        self.put("/proc/self/mountinfo", MOUNTINFO.encode())
        self.put("/boot/grub/grub.cfg", (GRUB_CFG % (RELEASE, crashkernel)).encode())
        self.put("/etc/grub.d/10_linux", b"${GRUB_CMDLINE_LINUX}")
        for program, text in (("grub-mkconfig", b"# ${sysconfdir}/default/grub.d/*.cfg\n"), ("makedumpfile", b"")):
            self.put("/usr/sbin/" + program, text)
            os.chmod(self.path("/usr/sbin/" + program), 0o755)

    def free_bytes(self, path):
        return 1 << 30

    def _program(self, argv, **options):
        if argv[0].endswith("grub-mkconfig"):
            return Result(argv, 0, self.read_text("/boot/grub/grub.cfg"), "")
        return Result(argv, 0, "", "")


@pytest.fixture
def digest(monkeypatch):
    """What an image built today would be; a test may change it."""
    wanted = []
    monkeypatch.setattr(build, "wanted_digest", lambda *arguments: wanted[-1] if wanted else "a" * 64)
    return wanted


def arm(host, digest):
    """Bring a guest to `armed` with the modules' own code, without building an image."""
    path = host.image()
    manifest = json.loads(host.read_text(path[:-4] + ".json"))
    digest.append(manifest["digest"])
    kexec.decide(host, kexec.REQUEST).apply(host)
    host.put("/usr/bin/python3", b"")
    boot.decide(host, "present", "/usr/bin/python3").apply(host)


def look(host):
    return status.report(status.observe(host, "auto", 5))


def test_a_fresh_host(tmp_path, digest):
    found = look(Guest(tmp_path, crashkernel="", reserved=0))
    assert (found["readiness"], found["engine"], found["packages_missing"]) == ("unprotected", "native", ["busybox"])
    assert found["crashkernel"]["configured"] == [] and found["crashkernel"]["reserved_bytes"] == 0
    assert (found["image"], found["loaded"], found["proof"], found["vmcores"]) == (None, None, None, [])
    assert found["target"] == {
        "kind": "path",
        "location": "/var/crash",
        "directory": "/var/crash",
        "free_bytes": 1 << 30,
        "where": "/var/crash",
        "looked": True,
    }
    assert (found["failures"], found["losses"]) == ([], [])
    assert found["last_end"] == {"clean": None, "boot_id": "", "at": ""}
    assert found["errors"] == []


def test_an_armed_host_is_proven_by_a_proof_of_just_that_and_stale_after_a_change(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    found = look(host)
    assert (found["readiness"], found["image"]["current"], found["unit_enabled"]) == ("armed", True, True), found[
        "reasons"
    ]
    inputs = proof.Inputs(**found["inputs"])
    assert inputs.digest == digest[-1] and inputs.release == RELEASE and inputs.reserved_bytes == 96 << 20
    proof.save(host, proof.Proof(inputs, "/var/crash/x/vmcore", "complete", 1.0, None, None, None, None))
    assert look(host)["readiness"] == "proven"
    digest.append("b" * 64)
    found = look(host)
    assert (found["readiness"], found["image"]["current"]) == ("stale", False)
    assert "older than what it is made of" in found["reasons"][0]["message"]


SIZING = {  # proof (engine, reserved MiB, low water MiB), reserved MiB: what is advised
    "by the engine as long as nothing was measured": (None, 192, ("engine", 128, 64)),
    "by the crash test": (("native", 192, 96), 192, ("crash test", 128, 64)),
    "by a crash test of another reservation": (("native", 256, 184), 192, ("crash test", 96, 96)),
    "by a crash test that needed more": (("native", 192, 16), 192, ("crash test", 224, 0)),
    "not by a crash test of another engine's image": (("kdumpctl", 256, 184), 96, ("engine", 128, 0)),
    "not by a crash test that did not measure": (("native", 256, None), 192, ("engine", 128, 64)),
    "not by figures that cannot be": (("native", 96, 184), 192, ("engine", 128, 64)),
}


@pytest.mark.parametrize("name", SIZING)
def test_advice_for_the_reservation(tmp_path, digest, name):
    measured, reserved, (by, recommended, wasted) = SIZING[name]
    host = Guest(tmp_path, reserved=reserved << 20)
    host.put("/proc/iomem", b"00000000-7fffffff : System RAM\n")
    if measured:
        inputs = proof.Inputs("6.1", "a" * 64, measured[1] << 20, "")
        low = None if measured[2] is None else measured[2] << 20
        proof.save(host, proof.Proof(inputs, "/v", "complete", 1.0, None, None, low, None, measured[0]))
    found = look(host)["crashkernel"]
    assert (found["recommended_by"], found["recommended_bytes"], found["wasted_bytes"]) == (
        by, recommended << 20, wasted << 20)  # fmt: skip
    if by == "crash test":
        assert found["recommended"] == "%dM" % recommended
    else:
        assert "1G-4G:128M" in found["recommended"]


def test_where_nobody_knows_there_is_no_advice():
    facts = readiness.Facts("6.1", reserved=1 << 28)
    assert status.sizing(facts, None) == status.Sizing(None, None, None, 0)


def prove(host, digest):
    arm(host, digest)
    inputs = proof.Inputs(**look(host)["inputs"])
    proof.save(host, proof.Proof(inputs, "/var/crash/x/vmcore", "complete", 1.0, None, None, None, None))


DISABLED, LIMIT = "/proc/sys/kernel/kexec_load_disabled", "/proc/sys/kernel/kexec_load_limit_panic"
# What is changed on a proven host: its readiness, what the reasons say.
AFTERWARDS: Dict[str, Any] = {
    "hardened": ({DISABLED: "1"}, "proven", ""),
    "the last load is used up": ({LIMIT: "0"}, "proven", ""),
    "hardened, another command line": (
        {DISABLED: "1", layout.SYSCONFIG: 'KDUMP_COMMANDLINE_APPEND="nr_cpus=4"\n'}, "stale", "kexec_load_disabled is 1"),
    "one load left, another command line": (
        {LIMIT: "1", layout.SYSCONFIG: 'KDUMP_COMMANDLINE_APPEND="nr_cpus=4"\n'}, "stale", "one more load only"),
    "hardened, more CPUs": ({DISABLED: "1", "/sys/devices/system/cpu/present": "0-63\n"}, "stale", "CPUs or memory"),
    "a command line that no kernel takes": (
        {layout.SYSCONFIG: 'KDUMP_COMMANDLINE_APPEND="%s"\n' % ("x=1 " * 600)}, "unprotected", "takes 1986"),
    "no program": ({layout.PROGRAM: None}, "unprotected", "kdump.pyz is missing"),
    "another unit": ({layout.UNIT: "[Service]\nExecStart=/bin/true\n"}, "unprotected", "was changed"),
}  # fmt: skip


@pytest.mark.parametrize("name", AFTERWARDS)
def test_a_proven_host_is_one_as_long_as_the_next_boot_loads_the_same(tmp_path, digest, name):
    files, expected, said = AFTERWARDS[name]
    host = Guest(tmp_path)
    prove(host, digest)
    for path, text in files.items():
        host.remove(path) if text is None else host.put(path, text.encode())
    found = look(host)
    assert (found["readiness"], found["errors"], found["warnings"]) == (expected, [], [])
    assert said in str(found["reasons"])


def test_an_image_that_the_next_boot_builds_is_no_reason(tmp_path, digest, monkeypatch):
    host = Guest(tmp_path)
    prove(host, digest)
    host.remove(kexec.loaded(host).initrd)
    assert look(host)["readiness"] == "proven"

    def refuse(*arguments):
        raise fail("The dump target lies behind multipath.", "Choose another.")

    monkeypatch.setattr(build, "wanted_digest", refuse)
    found = look(host)
    assert found["readiness"] == "unprotected" and "no whole capture image" in str(found["reasons"])


def test_that_ends_of_boots_are_not_noted_is_a_warning(tmp_path, digest):
    host = Guest(tmp_path)
    prove(host, digest)
    host.make_directories("/run/systemd/system")
    host.put("/proc/sys/kernel/random/boot_id", b"boot-1\n")
    found = look(host)
    assert found["readiness"] == "proven" and "How this boot ends is not noted" in found["warnings"][0]
    evidence.begin(host)
    assert look(host)["warnings"] == []


def test_other_settings_than_those_it_was_loaded_with_show(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    host.put(layout.SYSCONFIG, b'KDUMP_COMMANDLINE_APPEND="nr_cpus=2"\n')
    found = look(host)
    assert found["readiness"] == "unprotected"
    assert (
        "nr_cpus=2" in found["reasons"][0]["message"] and found["sysconfig"]["KDUMP_COMMANDLINE_APPEND"] == "nr_cpus=2"
    )


def test_what_cannot_be_read_hides_nothing_else(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    os.makedirs(host.path("/etc/kdump.conf"))
    host.put(layout.SYSCONFIG, b"KDUMP_KERNELVER=$(uname -r)\n")
    host.put("/boot/grub/grub.cfg", b"")
    found = look(host)
    said = " ".join(error["message"] for error in found["errors"])
    assert "kdump.conf" in said and "KDUMP_KERNELVER" in said and "boot loader" in said
    assert found["readiness"] == "unprotected" and found["crashkernel"]["configured"] is None
    assert found["loaded"] and found["crashkernel"]["reserved_bytes"] == 96 << 20 and found["unit_enabled"]


def test_why_no_image_could_be_built_is_a_reason(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise fail("The dump target lies behind multipath.", "Choose another.")

    monkeypatch.setattr(build, "wanted_digest", refuse)
    found = look(Guest(tmp_path))
    assert "multipath" in " ".join(reason["message"] for reason in found["reasons"])


# --- a wanted state ------------------------------------------------------------------------------------------------
def expect(host, **wanted):
    return expectation.judge(host, status.observe(host, "native", 0), wanted)


def test_everything_wrong_with_a_wish_is_named_together_and_nothing_is_touched(tmp_path, digest):
    host = Guest(tmp_path)
    host.put("/proc/sys/kernel/panic_on_oops", b"0\n")
    before = sorted(os.listdir(host.path("/etc")))
    with pytest.raises(KdumpError) as caught:
        expect(
            host, conf={"path": "var/crash", "pth": "/x", "failure_action": "rebot", "extra_bins": ["/no/such"]},
            sysconfig={"KDUMP COMMANDLINE": "x"}, crashkernel="256MB", kernels=["vmlinuz"],
            triggers={"kernel.panic_on_oops": "yes", "kernel.panik": 1, "net.ipv4.ip_forward": 1},
        )  # fmt: skip
    said = "\n".join(str(problem) for problem in caught.value.problems)
    for word in ("var/crash", "pth", "rebot", "KDUMP COMMANDLINE", "256MB", "vmlinuz", "panic_on_oops cannot be yes",
                 "kernel.panik", "net.ipv4.ip_forward"):  # fmt: skip
        assert word in said, (word, said)
    assert sorted(os.listdir(host.path("/etc"))) == before


def test_a_target_that_no_image_can_be_built_for_is_refused(tmp_path, monkeypatch):
    def refuse(host, release, conf, settings):
        if conf.target.kind == "ssh":
            raise fail("ssh targets come in a later release.", "Choose a local file system.")
        raise Missing([])

    monkeypatch.setattr(build, "wanted_digest", refuse)
    host = Guest(tmp_path)
    with pytest.raises(KdumpError, match="later release"):
        expect(host, conf={"ssh": "kdump@dumps.example.com"})
    assert expect(host, conf={"path": "/var/crash"}).differs == ["conf"]


def test_one_mistake_is_named_once(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise KdumpError(
            [Problem("extra_bins /no is none.", "Give one.", "extra_bins", "/no"), Problem("Multipath.", "")]
        )

    monkeypatch.setattr(build, "wanted_digest", refuse)
    with pytest.raises(KdumpError) as caught:
        expect(Guest(tmp_path), conf={"extra_bins": ["/no"]})
    assert [problem.option for problem in caught.value.problems] == ["extra_bins", ""]


def test_no_cpus_are_refused(tmp_path, digest):
    host = Guest(tmp_path)
    with pytest.raises(KdumpError, match="on 0 CPUs"):
        expect(host, nr_cpus=0)


def test_a_password_is_not_told(tmp_path, digest):
    host = Guest(tmp_path)
    host.put(layout.SYSCONFIG, b"KDUMP_SMTP_PASSWORD='hush hush'\nKDUMP_SMTP_USER=kdump\n")
    result = look(host)
    assert "hush" not in json.dumps(result)
    assert (result["sysconfig"]["KDUMP_SMTP_PASSWORD"], result["sysconfig"]["KDUMP_SMTP_USER"]) == ("********", "kdump")


@pytest.mark.parametrize("value", [None, True, [None]])
def test_a_variable_that_is_no_text_is_refused_also_where_a_wish_is_added_to_it(tmp_path, digest, value):
    host = Guest(tmp_path)
    host.make_directories("/var/crash")
    with pytest.raises(KdumpError, match="KDUMP_COMMANDLINE_APPEND is neither text nor a number"):
        expect(host, sysconfig={"KDUMP_COMMANDLINE_APPEND": value}, nr_cpus=2)


def test_what_the_native_engine_cannot_do_is_refused_by_name(tmp_path, digest):
    with pytest.raises(KdumpError) as caught:
        expect(Guest(tmp_path), conf={"dracut_args": "--add x", "auto_reset_crashkernel": True, "pth": "/x"})
    said = str(caught.value)
    assert (
        "dracut_args: the native engine does not know what to do with --add" in said
        and "auto_reset" not in said  # without kdumpctl beside nobody resets
        and "pth" in said
    )
    assert expect(Guest(tmp_path), conf={"auto_reset_crashkernel": False}).differs == ["conf"]


def test_what_the_native_engine_passes_over_is_a_warning(tmp_path, digest):
    host = Guest(tmp_path)
    host.write(layout.CONF, b"path /var/crash\ndracut_args --xz --add-drivers virtio_blk\n")
    assert [text for text in look(host)["warnings"] if "dracut_args: --xz has no effect" in text]


def test_what_only_kdump_utils_goes_by_is_a_warning(tmp_path, digest):
    host = Guest(tmp_path)
    host.write(layout.CONF, b"force_no_rebuild 1\nforce_rebuild 0\n")
    host.write(layout.SYSCONFIG, b'KDUMP_IMG="Image"\nKDUMP_IMG_EXT=".gz"\nKEXEC_ARGS="-s --elf32-core-headers"\n')
    found = [text.split(" has no effect.")[0] for text in look(host)["warnings"] if "has no effect" in text]
    assert found == ["force_no_rebuild", "KDUMP_IMG", "KDUMP_IMG_EXT", "KEXEC_ARGS"]
    host.write(layout.CONF, b"force_rebuild 1\n")
    host.write(layout.SYSCONFIG, b'KDUMP_IMG="vmlinuz"\nKDUMP_IMG_EXT=""\nKEXEC_ARGS="-s"\n')  # as it is shipped
    assert [text for text in look(host)["warnings"] if "has no effect" in text] == [
        "force_rebuild has no effect. Remove it: the native engine builds its image anew when something has changed."
    ]


def test_what_the_image_may_lack_is_a_warning(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    path = host.image()[:-4] + ".json"
    host.write(path, json.dumps(dict(json.loads(host.read_text(path)), warnings=["No report can be left."])).encode())
    assert "No report can be left." in look(host)["warnings"]


def test_for_absent_what_would_be_set_is_told_and_nothing_else_is_judged(tmp_path, digest):
    found = expect(Guest(tmp_path), state="absent", conf={"nonsense": 1}, nr_cpus=2, triggers={"no.such": "thing"})
    assert found.differs == [] and sorted(found.settings) == ["KDUMP_COMMANDLINE_APPEND", "KDUMP_COMMANDLINE_REMOVE"]
    assert found.path == layout.SYSCONFIG


def test_absent_puts_back_what_an_engine_cannot_do_without_and_never_a_password(tmp_path, digest, monkeypatch):
    host = Guest(tmp_path)
    first = {"KDUMP_COMMANDLINE_APPEND": "irqpoll", "KDUMP_IMG": "vmlinuz", "KDUMP_SMTP_PASSWORD": "hush"}
    monkeypatch.setattr(engine.driver("native"), "first_settings", lambda host: first)
    wanted = {"KDUMP_COMMANDLINE_APPEND": "debug", "KDUMP_SMTP_PASSWORD": "secret", "KDUMP_BOOTDIR": "/boot"}
    found = expect(host, state="absent", sysconfig=wanted)
    assert found.settings == {
        "KDUMP_COMMANDLINE_APPEND": "irqpoll", "KDUMP_SMTP_PASSWORD": None, "KDUMP_BOOTDIR": None,
    }  # fmt: skip
    assert wishes.without_secrets(found.settings) == found.settings
    assert wishes.without_secrets(wanted)["KDUMP_SMTP_PASSWORD"] == sysconfig.MASK


def test_for_absent_a_file_that_cannot_be_changed_is_refused_before_anything_is_touched(tmp_path, digest):
    host = Guest(tmp_path)
    wanted = {"state": "absent", "conf": {"final_action": "halt"}, "sysconfig": {"KDUMP_IMG": "x"}}
    host.put(layout.CONF, b"path /var/crash\nfinal_action halt\n")
    host.put(layout.SYSCONFIG, b"KDUMP_IMG=x\n")
    assert expect(host, **wanted).differs == ["conf", "sysconfig"]
    host.put(layout.CONF, b"nonsense 1\nfinal_action halt\n")
    host.put(layout.SYSCONFIG, b"KDUMP_IMG=$(uname)\n")
    with pytest.raises(KdumpError, match="nonsense.*\n.*KDUMP_IMG"):
        expect(host, **wanted)


def test_triggers_are_told_as_text(tmp_path, digest):
    host = Guest(tmp_path)
    host.put("/proc/sys/kernel/panic_on_oops", b"0\n")
    assert expect(host, triggers={"kernel.panic_on_oops": 1}).triggers == {"kernel.panic_on_oops": "1"}


class Other:
    """Another engine, as far as status and boot_plan ask of it."""

    NAME, UNIT = "kdumpctl", "kdump.service"

    def __init__(self, enabled=True, loaded=None):
        self.enabled, self.is_loaded = enabled, loaded

    def is_enabled(self, host):
        return self.enabled

    def loaded(self, host):
        return self.is_loaded

    def disarm(self, host):
        def apply(target):
            self.enabled = False

        return [Step("disable kdump.service", apply)] if self.enabled else []

    def unblock(self, host):
        return []


def test_an_engine_that_is_armed_beside_the_chosen_one_is_named(tmp_path, digest, monkeypatch):
    host = Guest(tmp_path)
    arm(host, digest)
    other = Other()
    monkeypatch.setitem(engine.DRIVERS, "kdumpctl", other)
    found = look(host)
    assert found["readiness"] == "unprotected" and "kdump.service" in found["reasons"][0]["message"]
    engine.boot_plan(host, "native", "present", python="/usr/bin/python3").apply(host)
    assert not other.enabled and look(host)["readiness"] == "armed"
    assert not engine.boot_plan(host, "native", "present", python="/usr/bin/python3").changed


def test_what_another_engine_has_loaded_is_named(tmp_path, digest, monkeypatch):
    host = Guest(tmp_path)
    arm(host, digest)
    state = kexec.loaded(host)
    host.put(layout.LOADED, json.dumps(state._replace(method="kdumpctl")._asdict()).encode())
    monkeypatch.setitem(engine.DRIVERS, "kdumpctl", Other(False, state))
    found = look(host)
    assert (found["readiness"], found["loaded"], found["loaded_by"]) == ("unprotected", None, "kdumpctl")
    assert "kdumpctl has loaded the capture kernel, and native is wanted" in found["reasons"][0]["message"]


def test_disabled_unloads_what_another_engine_has_loaded(tmp_path, digest, monkeypatch):
    host = Guest(tmp_path)
    arm(host, digest)
    other = Other(False)
    monkeypatch.setitem(engine.DRIVERS, "kdumpctl", other)
    monkeypatch.setattr(other, "boot_plan", lambda host, state, **how: Plan([]), raising=False)
    engine.boot_plan(host, "kdumpctl", "disabled", python="/usr/bin/python3").apply(host)
    assert not kexec.is_loaded(host) and not boot.is_enabled(host), "native had loaded it"
    assert not engine.boot_plan(host, "kdumpctl", "disabled", python="/usr/bin/python3").changed
    asked = []
    monkeypatch.setattr(other, "boot_plan", lambda host, state, **how: asked.append(state) or Plan([]))
    other.is_loaded = object()
    engine.boot_plan(host, "native", "disabled", python="/usr/bin/python3")
    assert asked == ["disabled"], "it unloads what it has loaded itself"


# --- what is left of crashes ---------------------------------------------------------------------------------------
def crashed(host):
    """A boot that was ended by a crash, and the one after it."""
    for boot_id in (b"boot-1", b"boot-2"):
        host.put("/proc/sys/kernel/random/boot_id", boot_id + b"\n")
        evidence.begin(host)


def test_a_failure_is_a_warning_and_a_loss_and_no_reason(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    host.put(layout.FAILED + "/2026-11-24-10:30:00/kexec-dmesg.log", b"x")
    os.utime(host.path(layout.FAILED + "/2026-11-24-10:30:00/kexec-dmesg.log"), (1763999999, 1763999999))
    found = look(host)
    assert found["readiness"] == "armed" and len(found["losses"]) == 1 and found["losses"][0] in found["warnings"]
    assert [failure["time"] for failure in found["failures"]] == ["2025-11-24T15:59:59Z"]


def test_a_boot_that_left_nothing_is_told(tmp_path, digest):
    host = Guest(tmp_path)
    arm(host, digest)
    crashed(host)
    found = look(host)
    assert found["last_end"] == {"clean": False, "boot_id": "boot-1", "at": "2025-11-24T16:00:00Z"}
    assert "left no dump and no report" in found["losses"][0] and found["readiness"] == "armed"


@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("remote", [False, True])
def test_a_server_is_asked_on_request_and_after_what_may_have_been_a_crash(
    tmp_path, digest, monkeypatch, remote, suspect
):
    host = Guest(tmp_path)
    arm(host, digest)
    host.put(layout.CONF, b"ssh kdump@dumps\n")
    asked = []

    def answer(host, conf, place, request):
        asked.append(place.label)
        raise fail("The dump server kdump@dumps cannot be reached by ssh.", "Mend the login.")

    monkeypatch.setattr(remote_dumps, "look", answer)
    if suspect:
        crashed(host)
    found = status.report(status.observe(host, "native", 5, remote))
    assert (asked == ["kdump@dumps"]) == (remote or suspect)
    assert found["target"]["where"] == "kdump@dumps:/var/crash" and not found["target"]["looked"]
    assert found["target"]["directory"] is found["target"]["free_bytes"] is None
    assert found["readiness"] != "unprotected", "free space that is not known is no reason"
    assert ("cannot be reached" in json.dumps(found["errors"])) == (remote or suspect)
    assert ("could not be seen" in " ".join(found["losses"])) == suspect


CAPTURE = {
    "status": 1, "seconds": 1, "phases": [], "memory": {"total": 9, "available_low": 1}, "message": "no room",
}  # fmt: skip


class Answers(list):
    """Those of the kernel to loads; and the server's, which it gives."""

    def __call__(self, path, seconds):
        return True


class Shared(Guest):
    """A guest with an address, whose dumps lie where other hosts' do."""

    address = "192.0.2.5"

    def __init__(self, root, fstype):
        super().__init__(root)
        self.answers = Answers()
        self.put("/proc/self/mountinfo", (MOUNTINFO + "2 1 0:50 / /var/crash rw - %s there rw\n" % fstype).encode())

    def put_dump(self, address, time, digest=None):
        """A dump that failed, or with a digest one that came to the end of its capture."""
        folder = "/var/crash/%s-%d" % (address, time)
        files = {"vmcore-dmesg.txt": b"", "vmcore" if digest else "vmcore-incomplete": b"x"}
        if digest:
            files["capture.json"] = json.dumps(dict(CAPTURE, digest=digest)).encode()
        for name, data in files.items():
            self.put(folder + "/" + name, data)
            os.utime(self.path(folder + "/" + name), (time, time))
        return folder

    def _program(self, argv, **options):
        if argv == ["ip", "-o", "addr"]:
            return Result(argv, 0, "2: eth0    inet %s/24 scope global eth0\n" % self.address, "")
        return super()._program(argv, **options)


def test_a_crash_is_told_however_many_dumps_of_other_hosts_are_newer(tmp_path, digest):
    host = Shared(tmp_path, "nfs4")
    arm(host, digest)
    crashed(host)
    own = host.put_dump(host.address, int(host.now()) - 60)
    for number in range(70):
        host.put_dump("192.0.2.%d" % (100 + number % 40), int(host.now()) + number)
    found = look(host)
    assert [failure["directory"] for failure in found["failures"]] == [own]
    assert "The dump of a crash failed" in found["losses"][0] and "left no dump" not in " ".join(found["losses"])


def test_a_dump_is_known_after_the_host_got_another_address_and_so_another_image(tmp_path, digest):
    host = Shared(tmp_path, "nfs4")
    arm(host, digest)
    crashed(host)
    own = host.put_dump(host.address, int(host.now()) - 60, digest[-1])
    host.address = "192.0.2.6"
    image = host.image("another", when=2000)
    digest.append(json.loads(host.read_text(image[:-4] + ".json"))["digest"])
    kexec.decide(host, kexec.REQUEST).apply(host)
    assert store.images(host) == [image]
    found = look(host)
    assert [failure["directory"] for failure in found["failures"]] == [own] and "no room" in found["losses"][0]
    boot.decide(host, "absent", "/usr/bin/python3").apply(host)
    assert not host.exists(store.FORMER) and not host.exists(layout.STATE_DIR)


def test_the_dump_of_another_guest_on_a_share_is_neither_told_nor_hides_a_loss(tmp_path, digest):
    host = Shared(tmp_path, "virtiofs")
    arm(host, digest)
    crashed(host)
    host.put_dump("127.0.0.1", int(host.now()) - 60, "f" * 64)
    host.put_dump("127.0.0.1", int(host.now()) - 50)
    found = look(host)
    assert (found["failures"], found["vmcores"]) == ([], [])
    assert ["left no dump and no report" in loss for loss in found["losses"]] == [True]
    own = host.put_dump("127.0.0.1", int(host.now()) - 70, digest[-1])
    assert [failure["directory"] for failure in look(host)["failures"]] == [own]


DIFFERENCES = {
    "nothing wanted": ({}, []),
    "the reservation it has": ({"crashkernel": "96M"}, []),
    "the same in other words": ({"crashkernel": "98304K"}, []),
    "another reservation": ({"crashkernel": "128M"}, ["crashkernel"]),
    "a directive": ({"conf": {"failure_action": "poweroff"}}, ["conf"]),
    "a variable": ({"sysconfig": {"KDUMP_KERNELVER": RELEASE}}, ["sysconfig"]),
    "a trigger": ({"triggers": {"kernel.panic_on_oops": 1}}, ["triggers"]),
    "to be armed": ({"readiness": "armed"}, ["readiness"]),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_where_a_host_differs(tmp_path, digest, name):
    wanted, differs = DIFFERENCES[name]
    host = Guest(tmp_path)
    host.put("/proc/sys/kernel/panic_on_oops", b"0\n")
    host.make_directories("/var/crash")
    host.put(grub.DROPIN, grub.dropin(["96M"], []).encode())
    assert expect(host, **wanted).differs == differs


def test_triggers_that_are_written_down_do_not_differ(tmp_path, digest):
    host = Guest(tmp_path)
    host.put("/proc/sys/kernel/panic_on_oops", b"0\n")
    host.make_directories("/var/crash")
    host.put(layout.TRIGGERS, b"# Written by us\nkernel.panic_on_oops = 1\n")
    assert expect(host, triggers={"kernel.panic_on_oops": 1}).differs == []
    assert expect(host, triggers={}).differs == ["triggers"]
    assert expect(host, triggers=None).differs == []
    assert expect(host).differs == []  # nothing is wanted of them


@pytest.mark.parametrize("wanted,has,enough", [
    ("armed", readiness.ARMED, True), ("armed", readiness.STALE, True), ("armed", readiness.PROVEN, True),
    ("armed", readiness.PENDING_REBOOT, False), ("pending_reboot", readiness.PENDING_REBOOT, True),
    ("proven", readiness.STALE, False), ("proven", readiness.PROVEN, True), ("pending_reboot", readiness.UNPROTECTED, False),
])  # fmt: skip
def test_the_least_that_is_wanted(tmp_path, digest, wanted, has, enough):
    host = Guest(tmp_path)
    host.make_directories("/var/crash")
    seen = status.observe(host, "native", 0)
    seen = seen._replace(verdict=readiness.Verdict(has, [], []))
    assert (expectation.judge(host, seen, {"readiness": wanted}).differs == []) == enough


# --- the capture kernel's command line -----------------------------------------------------------------------------
def line(**wanted):
    return wishes.sysconfig_settings("x86_64", wanted)


def test_without_a_wish_nothing_is_written():
    assert line(sysconfig=None, cmdline_append=None, cmdline_remove=None, nr_cpus=None) == {}
    assert line(sysconfig={"KDUMP_IMG": "vmlinuz"}) == {"KDUMP_IMG": "vmlinuz"}


def test_wishes_go_on_top_of_the_defaults():
    usual = sysconfig.defaults("x86_64")
    found = line(cmdline_append="debug foo=1,2", cmdline_remove=["irqpoll", "console"], nr_cpus=4)
    append = found["KDUMP_COMMANDLINE_APPEND"].split()
    assert append[-3:] == ["nr_cpus=4", "debug", "foo=1,2"]
    assert set(usual["KDUMP_COMMANDLINE_APPEND"].split()) - set(append) == {"irqpoll", "nr_cpus=1"}
    assert found["KDUMP_COMMANDLINE_REMOVE"] == usual["KDUMP_COMMANDLINE_REMOVE"] + " irqpoll console"


def test_an_empty_wish_brings_the_defaults_back():
    assert line(cmdline_append="") == sysconfig.defaults("x86_64")


def test_wishes_go_on_top_of_variables_that_are_set_too():
    found = line(sysconfig={"KDUMP_COMMANDLINE_APPEND": ["a", "nr_cpus=1"], "KDUMP_COMMANDLINE_REMOVE": "b"}, nr_cpus=2,
                 cmdline_remove=["b"])  # fmt: skip
    assert found == {"KDUMP_COMMANDLINE_APPEND": "a nr_cpus=2", "KDUMP_COMMANDLINE_REMOVE": "b"}


@pytest.mark.parametrize("name", ['["irqpoll"]', "console=ttyS0", "a b", "", "$(reboot)", 'x"'])
def test_what_is_no_name_of_an_argument_is_refused(name):
    with pytest.raises(KdumpError) as caught:
        line(cmdline_remove=["quiet", name], nr_cpus=0)
    assert [problem.option for problem in caught.value.problems] == ["cmdline_remove", "nr_cpus"]


def test_an_unreadable_part_is_told_with_its_path(tmp_path):
    def unreadable():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/etc/kdump.conf")

    parts = Parts()
    assert parts.of("default", unreadable) == "default"
    assert "/etc/kdump.conf cannot be read: Permission denied." in str(parts.errors[0])
