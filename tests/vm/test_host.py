# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's life, on a real guest: each test goes on where the one before it left the host.

A reboot takes a minute under emulation, so they are few: a crash reboots, and so does a power cut.
"""

import time

import pytest
from conftest import ALL, TABLE

GUEST = "vm-client"  # test_targets.py, which comes after, goes on with it
HARDWARE = TABLE["guests"]["client"]
CONF = "/etc/kdump.conf"
SNAPSHOT = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /root/.ansible -prune -o -print; cat /boot/grub/grub.cfg"
# What any use of a Debian host changes: logs, caches, the package manager's and systemd's own records.
VOLATILE = (
    "/var/log/",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/lib/apt/",
    "/var/lib/systemd/",
    "/var/tmp/",
    "/tmp/",
    "/root/",
)


@pytest.fixture(scope="module", autouse=True)
def server_for_the_next_module(request, host):
    """Begun here, where one guest is at work: a machine runs two."""
    if not ALL and any(item.module.__name__ == "test_targets" for item in request.session.items):
        request.getfixturevalue("server_to_be")


def snapshot(host):
    """The host's files, except those that packages own, and the lines of GRUB's configuration."""
    owned = set(host.ssh("cat /var/lib/dpkg/info/*.list").splitlines())
    lines = set(host.ssh(SNAPSHOT).splitlines())
    return {line for line in lines if line not in owned and not line.startswith(VOLATILE) and "__pycache__" not in line}


def changed(executed):
    return [entry["task"] for entry in executed if entry["changed"]]


@pytest.fixture(scope="module")
def fresh(host):
    """What the host was before anything was done to it."""
    return snapshot(host)


@pytest.fixture(scope="module")
def predicted(host, fresh):
    return changed(host.converge("--check", "--diff"))


@pytest.fixture(scope="module")
def armed(host, predicted):
    """The host, armed by its first converge."""
    host.first_run = changed(host.converge())
    return host


def test_check_mode_touches_nothing(host, fresh, predicted):
    assert predicted
    assert snapshot(host) == fresh


def test_check_mode_predicts_the_run(armed, predicted):
    # What is loaded after the reboot that check mode cannot make, and the packages that it does not install.
    only_real = {"Install packages", "Reboot", "Load the capture kernel"}
    assert set(armed.first_run) - only_real == set(predicted) - only_real


def test_the_second_run_changes_nothing_with_at_most_8_modules(armed):
    executed = armed.converge()
    assert changed(executed) == []
    assert len(executed) <= 8


def test_bad_input_is_refused_before_anything_is_touched(armed, lab_error, capfd):
    """All of it in one run."""
    before = armed.ssh(f"cat {CONF} /boot/grub/grub.cfg /run/vmcore-kdump/loaded.json | sha256sum")
    with pytest.raises(lab_error):
        armed.converge(kdump_conf={"failure_action": "pray", "no_such": "1"}, kdump_crashkernel="12Q")
    output = capfd.readouterr().out
    assert [word for word in ("pray", "no_such", "12Q") if word not in output] == []
    assert armed.ssh(f"cat {CONF} /boot/grub/grub.cfg /run/vmcore-kdump/loaded.json | sha256sum") == before


@pytest.fixture(scope="module")
def absent(armed):
    """The host after `kdump_state: absent`, still with the reservation it was booted with."""
    armed.converge(kdump_state="absent", kdump_reboot_ok=False, kdump_conf={"failure_action": "reboot"})
    return armed


def test_absent_leaves_nothing_behind(absent, fresh):
    assert absent.ssh("cat /sys/kernel/kexec_crash_loaded") == "0"
    left = snapshot(absent)
    # The directory for dumps is kept: there may be dumps in it.
    assert left - fresh - {"/var/crash"} == set()
    assert fresh - left == set()


# Another action than before, which the capture image holds: there is something to load as well.
AFTER_KILLS = {"failure_action": "halt"}


@pytest.mark.parametrize(
    "module, moment",
    [
        pytest.param("conf", "sleep 0.3", marks=pytest.mark.long),
        ("crashkernel", "until pgrep -x grub-mkconfig; do sleep 0.05; done"),
        pytest.param("initramfs", "sleep 1.5", marks=pytest.mark.long),
        pytest.param("kexec", "sleep 0.5", marks=pytest.mark.long),
    ],
    ids=["conf", "crashkernel", "initramfs", "kexec"],
)
def test_kill_9_during_a_converge_leaves_nothing_half_written(absent, lab_error, monkeypatch, module, moment):
    """Each converge gets over what the kill before it left, up to a later module; the next test's goes to the end."""
    monkeypatch.setenv("ANSIBLE_PIPELINING", "false")  # the module's name is then on its command line
    killer = (
        f"until pgrep -f Ansiball[Z]_{module}; do sleep 0.05; done; {moment};"
        f" pkill -9 -f Ansiball[Z]_{module} && touch /run/killed-{module}"
    )
    absent.ssh(f"nohup timeout 900 sh -c '{killer}' >/dev/null 2>&1 &")
    with pytest.raises(lab_error):
        absent.converge(kdump_conf=AFTER_KILLS)
    assert absent.ssh(f"ls /run/killed-{module}"), "the converge failed of itself"
    after_kill = absent.ssh(f"cat {CONF} 2>/dev/null; true")
    assert after_kill == "" or "failure_action halt" in after_kill.splitlines()
    absent.ssh("grub-script-check /boot/grub/grub.cfg")


def test_the_converge_after_kills_repairs_the_host(absent):
    absent.converge(kdump_conf=AFTER_KILLS)
    state = absent.info()
    assert state["readiness"] == "armed", state["reasons"]
    assert absent.ssh("find / -xdev -name '.*.vmcore-kdump.tmp'") == "", "what was half written is gone"


def test_a_kernel_or_an_image_that_cannot_be_loaded_leaves_the_last_good_one(armed):
    loaded = "grep initrd_sha256 /run/vmcore-kdump/loaded.json"
    before = armed.ssh(loaded)
    armed.ssh("head -c 5000000 /dev/urandom > /root/broken-kernel; head -c 150000000 /dev/zero > /root/huge-image")
    for broken in ({"kernel": "/root/broken-kernel"}, {"initrd": "/root/huge-image"}):
        result = armed.module("kexec", **broken)
        assert result["failed"], broken
        assert armed.ssh("cat /sys/kernel/kexec_crash_loaded") == "1"
        assert armed.ssh(loaded) == before
    armed.ssh("rm /root/broken-kernel /root/huge-image")
    assert armed.info()["readiness"] == "armed"


@pytest.mark.long
def test_a_host_without_busybox_is_armed(armed):
    """So it stays: the crashes that follow are captured without busybox."""
    armed.ssh("apt-get --quiet --yes purge busybox")
    assert armed.module("initramfs")["changed"]
    assert armed.module("kexec")["changed"]
    assert not armed.ssh("command -v busybox || true")


@pytest.mark.long
def test_a_host_without_busybox_delivers_a_vmcore_to_its_root(armed):
    assert armed.crash()["verdict"] == "complete"


def test_a_new_kernel_is_armed_for_after_a_power_cut_during_an_image_build(armed):
    armed.ssh("DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes install linux-image-$(cat /srv/apt/newer-kernel)")
    newer = armed.ssh("cat /srv/apt/newer-kernel")
    assert armed.ssh(f"ls /var/lib/vmcore-kdump/images/{newer}-*.img"), "the kernel package's hook built an image"
    armed.ssh(
        f'grub-reboot "$(grep -o \'gnulinux-{newer}-advanced-[^ ]*\' /boot/grub/grub.cfg | tr -d "\'" | head -1)"',
        check=False,
    )
    python = "python3 /usr/local/lib/vmcore-kdump/kdump.pyz"
    armed.ssh(f"rm -f /var/lib/vmcore-kdump/images/*; sync; nohup {python} build --kernel {newer} >/dev/null 2>&1 &")
    time.sleep(2)
    armed.power_cut()
    state = armed.wait_until_armed()
    assert armed.ssh("uname -r") == newer
    assert state["readiness"] in ("armed", "stale"), state["reasons"]
    assert newer in state["loaded"]["kernel"]
    assert armed.ssh("systemctl is-failed vmcore-kdump.service", check=False) == "active"


@pytest.mark.long  # the other kinds of target are in test_targets.py
def test_a_vmcore_arrives_on_btrfs_on_md_raid1(armed):
    armed.ssh("DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes install btrfs-progs mdadm")
    armed.ssh(
        "mdadm --create /dev/md0 --run --level=1 --raid-devices=2 /dev/vd[bc] && mkfs.btrfs -q -L crash /dev/md0;"
        " echo 'LABEL=crash /var/crash btrfs defaults,nofail 0 0' >> /etc/fstab; systemctl daemon-reload; mount /var/crash"
    )
    armed.converge()
    proof = armed.crash()
    assert proof["verdict"] == "complete"
    assert proof["vmcore"].startswith("/var/crash/")
    assert armed.ssh("findmnt -n -o FSTYPE /var/crash") == "btrfs"
    dump = armed.module("vmcore_info", paths=[proof["vmcore"]], deep=True)["vmcores"][0]
    assert (dump["verdict"], dump["problems"]) == ("complete", [])


@pytest.mark.long
def test_after_all_this_a_converge_changes_nothing(armed):
    assert changed(armed.converge()) == []
