# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The boot-time program, with the building of the image itself left out."""

import errno
import io
import json
import sys

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import kexec, program
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import Plan, Step
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import Problem, fail
from ansible_collections.vmcore.kdump.tests.unit.kexec_host import KERNEL, RELEASE, KexecHost, bzimage


@pytest.fixture
def host(tmp_path):
    return KexecHost(tmp_path)


@pytest.fixture
def builder(monkeypatch):
    """Stands in for image.build.decide: builds the image `text` unless it is there, or fails."""

    class Builder:
        text = "one"
        broken = False
        built = []
        recipe = build.Recipe("", "", "", "", None, [], [], [])

        def decide(self, host, release, conf, settings, force=False, check=False, outcome=None):
            if self.broken:
                raise fail("The dump target is on multipath.", "Use another.")
            outcome["recipe"] = self.recipe
            if self.text in self.built:
                return Plan([])
            self.built.append(self.text)
            when = 1000 * len(self.built)
            return Plan([Step("build the capture image", lambda target: target.image(self.text, release, when))])

    Builder.built = []
    stand_in = Builder()
    monkeypatch.setattr(program.build, "decide", stand_in.decide)
    return stand_in


def test_arm_builds_and_loads_and_the_next_time_does_neither(host, builder, capsys):
    assert program.main(["arm"], host) == 0
    out = capsys.readouterr().out
    assert "built after" in out and "loaded in" in out and "armed after" in out
    assert kexec.loaded(host) is not None and len(host.calls) == 1
    assert program.main(["arm"], host) == 0
    out = capsys.readouterr().out
    assert "fresh after" in out and "loaded already" in out and len(host.calls) == 1


def test_arm_with_a_changed_input_loads_the_new_image(host, builder):
    program.main(["arm"], host)
    builder.text = "two"
    assert program.main(["arm"], host) == 0
    assert [call[0] for call in host.calls] == ["load", "load"] and host.calls[0] != host.calls[1]
    assert len(kexec.store.images(host)) == 1


def test_arm_for_another_kernel(host, builder):
    host.put("/boot/vmlinuz-6.13.0-test", bzimage("6.13.0-test"))
    assert program.main(["arm", "--kernel", "6.13.0-test"], host) == 0
    assert host.calls[0][1] == "/boot/vmlinuz-6.13.0-test"


def test_arm_where_no_reservation_was_asked_for_is_no_failure(host, builder, capsys):
    host.put("/proc/cmdline", b"ro quiet\n")
    assert program.main(["arm"], host) == 0
    assert "nothing to arm" in capsys.readouterr().out and not host.calls


def test_arm_where_the_reservation_failed_is_one(host, builder, capsys):
    host.put("/sys/kernel/kexec_crash_size", b"0\n")
    assert program.main(["arm"], host) == 1
    assert "was given crashkernel=96M" in capsys.readouterr().err


def test_an_old_image_is_better_than_none_and_is_said_loudly(host, builder, capsys):
    old = host.image("old")
    builder.broken = True
    assert program.main(["arm"], host) == 0
    said = capsys.readouterr().err
    assert "multipath" in said and "WARNING" in said and "OLDER" in said and old in said
    assert kexec.loaded(host).initrd == old


def test_without_any_image_arm_fails_with_the_reason(host, builder, capsys):
    builder.broken = True
    assert program.main(["arm"], host) == 1
    assert "multipath" in capsys.readouterr().err and not host.calls


def test_a_load_that_fails_is_an_exit_code_and_its_sentences(host, builder, capsys):
    host.answers = [errno.ENOEXEC]
    assert program.main(["arm"], host) == 1
    assert "does not take " + KERNEL in capsys.readouterr().err


@pytest.mark.parametrize("too_large", [False, True])
def test_at_boot_an_older_image_is_loaded_where_the_new_one_cannot_be(host, builder, capsys, too_large):
    """A change that failed to load left the older image on the disk, and the host protected until it rebooted."""
    old = host.image("old")
    if too_large:
        builder.text = "x" * (64 << 20)
    else:
        host.answers = [errno.ENOMEM]
    assert program.main(["arm"], host) == 0
    assert kexec.loaded(host).initrd == old and kexec.store.current(host, RELEASE).path == old
    said = capsys.readouterr().err
    assert "does not fit" in said and "OLDER" in said and old in said


@pytest.mark.parametrize("command", [["arm"], ["build", "--kernel", RELEASE]])
def test_what_the_image_lacks_is_in_the_log_each_time(host, builder, capsys, command):
    builder.recipe = builder.recipe._replace(
        warnings=[Problem("No report.", "")], ignored=[Problem("No module x.", "")]
    )
    for _round in range(2):
        assert program.main(command, host) == 0
        out = capsys.readouterr().out
        assert "WARNING: No report.\n" in out and "WARNING: No module x.\n" in out


def test_build_does_not_load(host, builder):
    assert program.main(["build", "--kernel", RELEASE], host) == 0
    assert len(kexec.store.images(host)) == 1 and not host.calls


def test_remove_takes_the_images_of_that_kernel_but_for_the_loaded_one(host, builder):
    program.main(["arm"], host)
    host.put("/boot/vmlinuz-6.12.1", bzimage("6.12.1"))
    host.put("/boot/vmlinuz-6.12.1-0", bzimage("6.12.1-0"))
    gone, similar = host.image("gone", release="6.12.1"), host.image("similar", release="6.12.1-0")
    assert program.main(["remove", "--kernel", "6.12.1"], host) == 0
    assert gone not in kexec.store.images(host) and similar in kexec.store.images(host)
    assert program.main(["remove", "--kernel", RELEASE], host) == 0
    assert kexec.loaded(host).initrd in kexec.store.images(host)


@pytest.mark.parametrize("release", ["../../etc", "", "a/b"])
def test_remove_takes_a_release_only(host, release):
    assert program.main(["remove", "--kernel", release], host) == 1


def test_unload_leaves_alone_what_another_tool_has_loaded(host, builder):
    host.sysfs("crash", 1)
    assert program.main(["unload"], host) == 0 and kexec.is_loaded(host)
    host.sysfs("crash", 0)
    program.main(["arm"], host)
    assert program.main(["unload"], host) == 0 and not kexec.is_loaded(host)


def test_status(host, builder, capsys):
    assert program.main(["status"], host) == 3
    assert "96 MiB" in capsys.readouterr().out
    program.main(["arm"], host)
    capsys.readouterr()
    assert program.main(["status", "--json"], host) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loaded"] and found["kernel"] == KERNEL


def test_wrong_usage(host, capsys):
    for arguments in ([], ["launch"], ["build"]):
        with pytest.raises(SystemExit) as caught:
            program.main(arguments, host)
        assert caught.value.code == 2


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_path_that_cannot_be_shown_does_not_end_the_arming(monkeypatch, encoding):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, errors="strict"))
    program._say("create the directory /srv/caf\udce9 caf\u00e9")
    assert out.getvalue().startswith(b"vmcore.kdump: create the directory /srv/caf\\udce9 caf")


# --- servers -------------------------------------------------------------------------------------------------------
class Network:
    """Whether there is a way to the server: from the second `since` on."""

    def __init__(self, host, monkeypatch, since):
        self.clock, self.since = 0.0, since
        host.put("/etc/kdump.conf", b"ssh kdump@dumps\n")
        monkeypatch.setattr(host, "sleep", self.sleep, raising=False)
        monkeypatch.setattr(host, "monotonic", lambda: self.clock)
        monkeypatch.setattr(program.servers, "has_way", lambda host, name: self.clock >= self.since)

    def sleep(self, seconds):
        self.clock += seconds


def test_arm_waits_for_the_way_to_a_server(host, builder, monkeypatch, capsys):
    network = Network(host, monkeypatch, since=7)
    assert program.main(["arm"], host) == 0
    assert network.clock == 7 and "waiting for dumps" in capsys.readouterr().out


def test_where_the_network_does_not_come_the_last_good_image_is_loaded(host, builder, monkeypatch, capsys):
    old = host.image("old")
    builder.broken = True
    network = Network(host, monkeypatch, since=1e9)
    assert program.main(["arm"], host) == 0
    said = capsys.readouterr()
    assert network.clock == 60 and "after 60 seconds there is no dumps" in said.out and "OLDER" in said.err
    assert kexec.loaded(host).initrd == old


def test_a_local_target_waits_for_nothing(host, builder, monkeypatch):
    network = Network(host, monkeypatch, since=1e9)
    host.put("/etc/kdump.conf", b"path /var/crash\n")
    assert program.main(["arm"], host) == 0 and network.clock == 0


def test_a_disk_that_comes_late_is_waited_for(host, builder, monkeypatch):
    network = Network(host, monkeypatch, since=0)
    host.put("/etc/kdump.conf", b"ext4 /dev/vdb1\n")
    monkeypatch.setattr(host, "device_number", lambda path: "254:17" if network.clock >= 3 else "")
    assert program.main(["arm"], host) == 0 and network.clock == 3


def test_begin_keeps_how_the_last_boot_ended(host, capsys):
    for boot_id, warned in ((b"one", False), (b"one", False), (b"two", True)):
        host.put("/proc/sys/kernel/random/boot_id", boot_id + b"\n")
        assert program.main(["begin"], host) == 0
        assert ("ended without a shutdown" in capsys.readouterr().out) == warned
