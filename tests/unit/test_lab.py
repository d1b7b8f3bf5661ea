# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab's pure parts: names of images, the choice of kernels, the domain, the inventory, arguments."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

import pytest

if sys.version_info < (3, 10):
    pytest.skip("the lab runs on a controller's Python, 3.10 or newer", allow_module_level=True)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from lab import __main__ as cli
from lab import accel, collection, common, guest, image, panic, recipe

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vmcore.kdump"


def make_guest(**changes):
    values = dict(
        name="g1", suite="trixie", image="/cache/images/a", accel="tcg", memory=2048, cpus=2, disks=[], cards=[]
    )
    return guest.Guest(**{**values, "port": 2222, **changes})


def test_the_cache_is_for_its_owner_alone(cache):
    assert common.cache_dir() == cache
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("changed", [("sid", "r", "k"), ("trixie", "r2", "k"), ("trixie", "r", "k2")])
def test_an_image_has_another_name_when_its_ingredients_change(changed):
    assert image.name_of("trixie", "r", "k") == image.name_of("trixie", "r", "k")
    assert image.name_of(*changed) != image.name_of("trixie", "r", "k")
    assert image.name_of(*changed).startswith(changed[0] + "-")


@pytest.mark.parametrize(
    "names, base, newer",
    [
        pytest.param(
            ["6.12.9+deb13-cloud-amd64", "6.12.10+deb13-cloud-amd64", "6.12.10+deb13-amd64"],
            "6.12.9+deb13-cloud-amd64",
            "6.12.10+deb13-cloud-amd64",
            id="numbers, not letters, decide which is newer",
        ),
        pytest.param(
            ["7.2.1-cloud-amd64", "7.2.1-amd64", "7.2.1-rt-amd64", "amd64", "cloud-amd64", "7.2.1-amd64-dbg"],
            "7.2.1-cloud-amd64",
            "7.2.1-amd64",
            id="one cloud kernel: another flavour",
        ),
    ],
)
def test_choose_kernels(names, base, newer):
    expected = (f"linux-image-{base}", f"linux-image-{newer}")
    assert recipe.choose_kernels([f"linux-image-{name}" for name in names]) == expected


@pytest.mark.parametrize(
    "accel, kind, cpu, translated", [("kvm", "kvm", "host-passthrough", None), ("tcg", "qemu", "maximum", "128")]
)
def test_domain(accel, kind, cpu, translated):
    domain = xml.etree.ElementTree.fromstring(guest.domain_xml(make_guest(accel=accel, disks=["1G", "2G"])))
    assert domain.get("type") == kind
    assert domain.find("cpu").get("mode") == cpu
    assert domain.findtext("features/tcg/tb-cache") == translated
    assert [disk.find("target").get("dev") for disk in domain.iter("disk")] == ["vda", "vdb", "vdc"]
    assert (domain.findtext("on_crash"), domain.findtext("on_reboot")) == ("restart", "restart")
    arguments = [argument.get("value") for argument in domain.iter(QEMU + "arg")]
    assert "user,id=user0,hostfwd=tcp:127.0.0.1:2222-:22" in arguments
    assert domain.find("devices/interface") is None, "no network but the forwarded port"


@pytest.mark.parametrize(
    "domains, reason",
    [
        ({}, ""),
        ({"g2": ["192.0.2.1/24", ""]}, ""),
        ({"g2": ["", "2001:db8::2/64"]}, "g2 has its address 2001:db8::2/64"),
        ({"g2": [], "g3": []}, "g2, g3 run (VMCORE_KDUMP_GUESTS=2)"),
    ],
)
def test_a_guest_waits_for_those_that_it_cannot_run_beside(domains, reason):
    one = make_guest(cards=["192.0.2.2/24,2001:db8::2/64", ""])
    assert guest.stands_in_its_way(one, domains, 2) == reason


def test_cards_are_on_a_segment_that_no_packet_leaves():
    one = make_guest(cards=["192.0.2.1/24", ""])
    domain = xml.etree.ElementTree.fromstring(guest.domain_xml(one))
    arguments = [argument.get("value") for argument in domain.iter(QEMU + "arg")]
    nets = [argument for argument in arguments if argument.startswith("socket,")]
    assert len(nets) == 2 and all("localaddr=127.0.0.1" in net for net in nets)
    macs = {guest.mac(one, 0), guest.mac(one, 1), guest.mac(one._replace(name="g2"), 0)}
    assert len(macs) == 3
    assert any(f"mac={guest.mac(one, 1)}," in argument for argument in arguments)


def test_domain_quotes_its_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a'b&c"))
    one = make_guest()
    domain = xml.etree.ElementTree.fromstring(guest.domain_xml(one))
    assert domain.find("devices/disk/source").get("file") == f"{one.directory}/disk.qcow2"
    assert domain.find("devices/serial/source").get("path") == str(one.console)


def test_inventory(monkeypatch):
    monkeypatch.setattr(image, "private_key", lambda: pathlib.Path("/cache/key"))
    hosts = json.loads(guest.inventory([make_guest(), make_guest(name="g2", port=2223)]))["all"]["hosts"]
    assert {name: host["ansible_port"] for name, host in hosts.items()} == {"g1": 2222, "g2": 2223}
    assert {host["ansible_host"] for host in hosts.values()} == {"127.0.0.1"}
    assert "StrictHostKeyChecking=yes" in hosts["g1"]["ansible_ssh_common_args"]


def test_a_guest_is_found_by_its_name_as_it_was_made():
    one = make_guest(disks=["1G"])
    one.directory.mkdir()
    (one.directory / "guest.json").write_text(json.dumps(one._asdict()))
    assert guest.find("g1") == one
    assert guest.names() == ["g1"]
    assert image.used() == {"/cache/images/a"}
    with pytest.raises(common.LabError, match="no guest 'g2'"):
        guest.find("g2")


def test_arguments():
    args = cli.parser().parse_args(["up", "g1", "--disk", "1G", "--disk", "512M"])
    assert (args.suite, args.memory, args.cpus, args.disk, args.port) == ("trixie", 2048, 2, ["1G", "512M"], 0)
    args = cli.parser().parse_args(["up", "g1", "--card", "192.0.2.1/24,2001:db8::1/64", "--card", "none", "--card="])
    assert args.card == ["192.0.2.1/24,2001:db8::1/64", "", ""]
    assert cli.parser().parse_args(["ssh", "g1", "--", "ls", "-l"]).words == ["ls", "-l"]


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["up", "../g"], id="a name that is a path"),
        pytest.param(["up", "g1", "--suite", "potato"], id="an unknown suite"),
        pytest.param(["up", "g1", "--disk", "-1G"], id="a negative size"),
        pytest.param(["up", "g1", "--port", "22"], id="a privileged port"),
        pytest.param(["inventory"], id="no guest named"),
        pytest.param([], id="no command"),
    ],
)
def test_bad_arguments_are_refused(argv):
    with pytest.raises(SystemExit) as error:
        cli.parser().parse_args(argv)
    assert error.value.code == 2


def test_two_that_take_a_guest_away_at_once_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setattr(guest, "ensure_libvirt", lambda: False)
    monkeypatch.setattr(guest, "virsh", lambda *argv, check=True: subprocess.CompletedProcess(argv, 0, "", ""))
    directory = guest.guests_dir() / "g1"
    directory.mkdir()
    for number in range(500):
        (directory / str(number)).touch()
    errors = []

    def take_away():
        try:
            guest.down("g1")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=take_away) for dummy in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not directory.exists()


def test_a_reboot_is_over_when_another_boot_answers(monkeypatch):
    answers = iter([(255, ""), (0, "old\n"), (1, ""), (0, "new\n"), (0, "never asked\n")])
    monkeypatch.setattr(guest, "greets", lambda port: True)
    monkeypatch.setattr(guest.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        guest, "ssh", lambda *argv, check=True: subprocess.CompletedProcess(argv, *next(answers), stderr="")
    )
    guest.wait_for_reboot(make_guest(), "old")
    assert next(answers) == (0, "never asked\n")


def test_a_guest_that_does_not_come_back_is_told_with_its_console(monkeypatch):
    monkeypatch.setattr(guest, "greets", lambda port: False)
    machine = make_guest()
    machine.directory.mkdir()
    machine.console.write_text("Kernel panic - not syncing")
    with pytest.raises(common.LabError, match="g1 is not back after 0 s(.|\n)*Kernel panic"):
        guest.wait_for_reboot(machine, "old", seconds=0.01)


def test_output_that_is_no_utf_8_is_shown_and_not_stumbled_over():
    assert common.run("printf", r"\377ok").stdout == "\ufffdok"


def test_kvm_is_tried_once_by_whoever_comes_first(monkeypatch):
    tries = []

    def probe(kernel):
        tries.append(kernel)
        time.sleep(0.2)
        return False

    monkeypatch.setattr(accel, "kvm_boots", probe)
    found = []
    threads = [threading.Thread(target=lambda: found.append(accel.accelerator("vmlinuz"))) for dummy in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, tries) == (["tcg"] * 4, ["vmlinuz"])


def test_a_terminal_that_is_closed_ends_the_demo_but_not_one_under_nohup():
    script = (
        "import signal; from lab import demo; demo.end_on_signals(); signal.raise_signal(signal.SIGHUP); print('on')"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    # These tests may run under nohup themselves.
    for nohup, code, output in ((["env", "--default-signal=HUP"], 1, ""), (["nohup"], 0, "on\n")):
        done = subprocess.run([*nohup, sys.executable, "-c", script], cwd=root, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, done.stdout) == (code, output), done.stderr


def test_without_an_ansible_on_path_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(common.LabError, match="no ansible-galaxy on PATH"):
        collection.programs_on_path()


def test_daemons_are_stopped_and_a_stale_pid_file_ends_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(guest, "RUN", tmp_path)
    daemon = tmp_path / "libvirtd"
    shutil.copy("/bin/sleep", daemon)
    with subprocess.Popen([daemon, "60"]) as running, subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "libvirtd.pid").write_text(f"{running.pid}\n")
        (tmp_path / "virtlogd.pid").write_text(f"{other.pid}\n")
        guest.stop_daemons()
        assert running.wait(10) == -signal.SIGTERM
        assert other.poll() is None
        guest.stop_daemons()  # its pid file is stale now
        other.kill()


class Event:
    """A `virsh event` that has seen a restart, or not."""

    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code


@pytest.mark.parametrize(
    "code, up, console, how",
    [
        pytest.param(0, True, b"", "reboot", id="it restarts"),
        pytest.param(None, False, b"", "poweroff", id="it is off"),
        pytest.param(None, True, b"[ 12.3] reboot: System halted", "halt", id="it has halted"),
        pytest.param(None, True, b"kdump: [12.3] a shell for you; leave", "shell", id="it waits for somebody"),
        pytest.param(None, True, b"reboot: ", "nothing", id="it hangs"),
        pytest.param(None, True, b"[ 0.0] Linux version 6.12\n", "nothing", id="it captures"),
        pytest.param(None, True, b"[ 0.0] Linux version 6.12\n" * 2, "reboot", id="it restarts, and nobody says so"),
    ],
)
def test_how_a_guest_ends_after_a_panic(cache, monkeypatch, code, up, console, how):
    one = make_guest()
    one.directory.mkdir(parents=True)
    one.console.write_bytes(b"reboot: System halted, long ago" + console)
    monkeypatch.setattr(panic, "END_SECONDS", 0.3)
    monkeypatch.setattr(guest, "running", lambda: [one.domain] if up else [])
    assert panic.wait_for_end(one, len(b"reboot: System halted, long ago"), Event(code)) == how
