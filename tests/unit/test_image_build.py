# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from image_host import PCI, RELEASE, UUID, Machine, conf_of

from ansible_collections.vmcore.kdump.plugins.module_utils import layout
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.image import (
    build,
    contents,
    kernel,
    kmod,
    network,
    storage,
    store,
    target,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, Missing


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path).whole()


def decide(machine, text="", **options):
    return build.decide(machine.host, RELEASE, conf_of(text), {}, **options)


def built(machine, text="", **options):
    decide(machine, text, **options).apply(machine.host)
    manifest = store.current(machine.host, RELEASE)
    return manifest, names(machine.host.read(manifest.path))


def names(image):
    """The files of an image with their content, by their place."""
    data, found, offset = gzip.decompress(image), {}, 0
    while True:
        fields = [int(data[offset + 6 + 8 * index : offset + 14 + 8 * index], 16) for index in range(13)]
        name = data[offset + 110 : offset + 110 + fields[11] - 1].decode()
        start = (offset + 110 + fields[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = data[start : start + fields[6]]
        offset = (start + fields[6] + 3) & ~3


def message(machine, text="", **options):
    with pytest.raises(KdumpError) as error:
        decide(machine, text, **options)
    return str(error.value)


# --- what is in it -------------------------------------------------------------------------------------------------
def test_an_image_is_built_once(machine):
    plan = decide(machine)
    assert [title.split(" /")[0] for title in plan.actions] == ["create the directory", "build the capture image"]
    manifest, files = built(machine)
    assert decide(machine).actions == []
    assert (machine.root / "var/crash").stat().st_mode & 0o777 == 0o700
    assert (
        manifest.digest == build.wanted_digest(machine.host, RELEASE, conf_of(), {})
        and manifest.digest[:16] in manifest.path
    )
    assert hashlib.sha256(machine.host.read(manifest.path)).hexdigest() == manifest.sha256
    assert manifest.target["uuid"] == UUID and manifest.kernel == "/boot/vmlinuz-" + RELEASE
    assert {"init", "dev/console", "dev/kmsg", "tmp", "proc", "usr/bin/makedumpfile", "usr/lib64/libc.so.6"} <= set(
        files
    )
    assert files["usr/bin/sh"] == b"/usr/bin/busybox" and files["bin"] == b"usr/bin"
    assert files["etc/kdump/digest"].decode().strip() == manifest.digest
    assert "usr/bin/lvm" not in files and "usr/bin/awk" not in files


def test_the_kernel_is_that_of_kdump_bootdir(machine):
    machine.write("/mnt/boot/vmlinuz-" + RELEASE, b"another")
    recipe = build.observe(machine.host, RELEASE, conf_of(), {"KDUMP_BOOTDIR": "/mnt/boot"})
    assert recipe.kernel == "/mnt/boot/vmlinuz-" + RELEASE
    assert recipe.digest != build.wanted_digest(machine.host, RELEASE, conf_of(), {})


@pytest.mark.parametrize("old, new", [("default", "failure_action"), ("failure_action", "failure_action")])
@pytest.mark.parametrize("action", ["reboot", "halt", "poweroff", "shell", "dump_to_rootfs"])
def test_what_happens_after_a_failure_is_in_the_plan(two_disks, old, new, action):
    _manifest, files = built(two_disks, "path /dump/x\n%s %s\nfinal_action halt\n" % (old, action))
    found = settings_of(files, "dump")
    assert (found[new], found["final_action"]) == (action, "halt")


def test_modules_are_packed_and_in_order(machine):
    _manifest, files = built(machine, "extra_modules fat\n")
    assert files["etc/kdump/modules"] == b"fat\nvirtio_pci\nvirtio_blk\n"
    assert gzip.decompress(files["usr/lib/kdump/virtio_blk.ko.gz"]) == machine.host.read(
        "/lib/modules/%s/kernel/virtio-blk.ko" % RELEASE
    )


def test_without_busybox_the_hosts_own_tools_go_in(tmp_path):
    machine = Machine(tmp_path).whole(busybox=False)
    _manifest, files = built(machine)
    assert files["usr/bin/sh"] == machine.host.read("/usr/bin/sh")
    assert b"restart_tool=''" in files["etc/kdump/plan"]
    assert b"starters='/usr/bin/insmod'" in files["etc/kdump/plan"]
    assert "usr/bin/busybox" not in files


def test_a_tool_that_busybox_lacks_is_the_hosts(machine):
    machine.programs["busybox"] = (0, "sh\nmount\n")
    _manifest, files = built(machine)
    assert files["usr/bin/mount"] == b"/usr/bin/busybox" and files["usr/bin/umount"] == machine.host.read(
        "/usr/bin/umount"
    )
    assert b"restart_tool=''" in files["etc/kdump/plan"]


def test_a_shell_that_prefers_its_own_applets_is_left_out(machine):
    """busybox-static's runs its own cp for `core_collector cp --sparse=always`, which does not know that flag."""

    def run(argv, **_options):
        return Result(argv, 0, "date\n", "") if argv[1:2] == ["sh"] else machine.run(argv)

    machine.host = Host(str(machine.root), run, machine.host.kernel)
    _manifest, files = built(machine)
    assert files["usr/bin/sh"] == machine.host.read("/usr/bin/sh")
    assert files["usr/bin/date"] == b"/usr/bin/busybox"


def test_the_plan_is_read_by_a_real_shell(machine):
    _manifest, files = built(machine, "core_collector makedumpfile -c -d 31\nfinal_action poweroff\n")
    plan = machine.root / "plan"
    plan.write_bytes(files["etc/kdump/plan"])
    script = (
        '. %s; use_target dump; printf "%%s|" "$core_collector" "$final_action" "$failure_action" "$uuid" "$directory"'
        % plan
    )
    out = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert out == "makedumpfile -c -d 31|poweroff|reboot|%s|var/crash|" % UUID


def test_hooks_go_in_with_what_runs_them(machine):
    machine.write("/opt/pre", "#!/usr/bin/env ksh\n", 0o755)
    machine.write("/usr/bin/env", b"\x7fELF" + machine.host.read("/usr/bin/sh")[4:], 0o755)
    machine.write("/usr/bin/ksh", machine.host.read("/usr/bin/sh"), 0o755)
    machine.write("/etc/kdump/post.d/one", "#!/bin/sh\n", 0o755)
    machine.link("/bin", "usr/bin")
    _manifest, files = built(machine, "kdump_pre /opt/pre\nextra_bins /usr/bin/lvm\n")
    assert {"opt/pre", "usr/bin/ksh", "usr/bin/env", "etc/kdump/post.d/one", "usr/bin/lvm", "usr/bin/awk"} <= set(files)
    assert files["usr/bin/sh"] == b"/usr/bin/busybox"
    assert b"kdump_pre='/opt/pre'" in files["etc/kdump/plan"]


def test_a_hidden_file_beside_hooks_is_none(machine):
    """As for kdump-utils, and for /init's own `*`."""
    machine.write("/etc/kdump/pre.d/.keep", "")
    _manifest, files = built(machine)
    assert "etc/kdump/pre.d/.keep" not in files
    machine.write("/etc/kdump/pre.d/README", "")
    assert "/etc/kdump/pre.d/README is not an executable file" in message(machine)


def test_an_extra_module_that_the_kernel_lacks_is_left_out_with_a_warning(machine):
    """It may have gone with an update of the kernel, which must not leave the host without an image."""
    outcome = {}
    decide(machine, "extra_modules none fat ext4\n", outcome=outcome).apply(machine.host)
    manifest = store.current(machine.host, RELEASE)
    assert names(machine.host.read(manifest.path))["etc/kdump/modules"] == b"fat\nvirtio_pci\nvirtio_blk\n"
    said = build.report(machine.host, RELEASE, outcome)["warnings"]
    assert len(said) == 1 and "extra_modules: there is no module none for kernel" in said[0]
    assert manifest.warnings == []  # the image is the same without that line
    assert not decide(machine, "extra_modules fat\n").changed


def test_the_firmware_of_all_drivers_goes_in(machine):
    """Of a disk's as well as of a network card's, and of those that extra_modules names."""
    machine.write("/lib/modules/%s/kernel/virtio-blk.ko" % RELEASE, b"\x7fELF\0firmware=disk.fw\0")
    machine.write("/lib/modules/%s/kernel/fat.ko" % RELEASE, b"\x7fELF\0firmware=fat.fw\0firmware=gone.fw\0")
    machine.write("/lib/firmware/disk.fw", b"disk")
    machine.write("/lib/firmware/fat.fw", b"fat")
    _manifest, files = built(machine, "extra_modules fat\n")
    assert (files["usr/lib/firmware/disk.fw"], files["usr/lib/firmware/fat.fw"]) == (b"disk", b"fat")
    machine.host.remove("/lib/firmware/disk.fw")
    outcome = {}
    decide(machine, outcome=outcome)
    assert "The driver virtio_blk may need firmware" in str(outcome["recipe"].warnings[0])


def test_every_interpreter_that_env_looks_for_goes_in(machine):
    program = machine.host.read("/usr/bin/makedumpfile")
    for name in ("env", "ksh", "gawk"):
        machine.write("/usr/bin/" + name, program + name.encode(), 0o755)
    for name in ("ksh", "gawk", "sh"):
        machine.write("/etc/kdump/post.d/" + name, "#!/usr/bin/env %s\n" % name, 0o755)
    _manifest, files = built(machine)
    assert {"usr/bin/env", "usr/bin/ksh", "usr/bin/gawk"} <= set(files)
    assert files["usr/bin/sh"] == b"/usr/bin/busybox"


@pytest.mark.parametrize("line", ["/usr/bin/env python3", "/usr/bin/python3.11 -I", "/usr/bin/perl -w"])
def test_a_hook_whose_language_would_be_missing_in_the_crash_is_refused(machine, line):
    """As kdump_pre it would fail there, and a kdump_pre that fails forbids the dump."""
    for name in ("env", "python3", "python3.11", "perl"):
        machine.write("/usr/bin/" + name, machine.host.read("/usr/bin/sh"), 0o755)
    machine.write("/opt/pre", "#!%s\n" % line, 0o755)
    assert "/opt/pre is run by /usr/bin/p" in message(machine, "kdump_pre /opt/pre\n")


def test_a_hook_beside_the_hosts_own_kdump_files_is_no_kernel_module(machine):
    machine.write("/usr/lib/kdump/tell", "#!/bin/sh\n", 0o755)
    machine.link("/bin", "usr/bin")
    _manifest, files = built(machine, "kdump_post /usr/lib/kdump/tell\n")
    assert files["usr/lib/kdump/tell"] == b"#!/bin/sh\n"


def test_the_drivers_of_a_running_watchdog_are_loaded_first(machine):
    """It goes on after the panic, and would restart the machine in the middle of the dump."""
    machine.driver(PCI + "/0000:00:1f.0", "md_mod")
    device = PCI + "/0000:00:1f.0/dog.1"
    machine.driver(device, "fat")
    machine.link("/sys/class/watchdog/watchdog0/device", device)
    machine.link("/sys/class/watchdog/watchdog1/device", "/sys/devices/gone")
    _manifest, files = built(machine)
    assert files["etc/kdump/modules"] == b"fat\nmd_mod\nvirtio_pci\nvirtio_blk\n"


def test_a_watchdog_that_the_other_kernel_has_no_driver_for_is_no_obstacle(machine):
    machine.driver(PCI + "/0000:00:1f.0", "strange_wdt")
    machine.link("/sys/class/watchdog/watchdog0/device", PCI + "/0000:00:1f.0")
    _manifest, files = built(machine)
    assert files["etc/kdump/modules"] == b"virtio_pci\nvirtio_blk\n"


def test_a_watchdog_whose_driver_sysfs_does_not_name_is_stopped_by_the_driver_that_is_loaded(machine):
    machine.more_modules("kernel/drivers/watchdog/i6300esb.ko", "kernel/drivers/watchdog/other_wdt.ko")
    for name in ("i6300esb", "fat"):
        machine.write("/sys/module/%s/initstate" % name, "live\n")
    machine.write("/sys/class/watchdog/watchdog0/state", "active\n")
    _manifest, files = built(machine)
    assert files["etc/kdump/modules"] == b"i6300esb\nvirtio_pci\nvirtio_blk\n"


def test_the_watchdog_of_a_bmc_is_stopped_through_the_interface_to_it(machine):
    modules = kmod.Modules(machine.host, RELEASE)
    for name in ("ipmi_si", "ipmi_devintf", "ipmi_watchdog"):
        machine.write("/sys/module/%s/initstate" % name, "live\n")
    assert storage.watchdog_drivers(machine.host, modules) == ["ipmi_si", "ipmi_watchdog"]
    shutil.rmtree(machine.host.path("/sys/module/ipmi_watchdog"))
    assert storage.watchdog_drivers(machine.host, modules) == []


@pytest.mark.parametrize("system_id", ["", "node.example-1"])
def test_a_volume_group_of_this_system_alone_is_activated_in_its_name(machine, system_id):
    machine.mapped("vg-lv", "LVM-" + "a" * 32 + "b" * 32, ["/sys/dev/block/254:0"])
    machine.group(system_id)
    machine.mounts(("252:0", "/", "/", "ext4", "/dev/dm-0", "rw"))
    _manifest, files = built(machine)
    conf = files["etc/lvm/lvm.conf"].decode()
    assert 'volume_list = [ "vg/lv" ]' in conf
    if system_id:
        assert 'system_id_source = "lvmlocal"' in conf
        local = files["etc/lvm/lvmlocal.conf"].decode()
        assert local == 'local { system_id = "%s" extra_system_ids = [ "%s" ] }\n' % (system_id, system_id)
    else:
        assert 'system_id_source = "none"' in conf and "etc/lvm/lvmlocal.conf" not in files


def test_the_manifest_tells_what_the_image_takes_in_the_capture_kernel(machine):
    manifest, _files = built(machine)
    assert manifest.unpacked == len(gzip.decompress(machine.host.read(manifest.path))) > manifest.bytes


@pytest.fixture
def two_disks(machine):
    """The root file system on vda1, and another one on vdb."""
    machine.virtio_disk("b", "254:16", 5)
    machine.mkdir("/dump")
    machine.mounts(("254:1", "/", "/", "ext4", "/dev/vda1", "rw"), ("254:16", "/", "/dump", "xfs", "/dev/vdb", "rw"))

    def run(argv, **_options):
        found = machine.run(argv)
        return found._replace(out=found.out.replace(UUID, OTHER_UUID)) if argv[-1] == "/dev/vdb" else found

    machine.host = Host(str(machine.root), run, machine.host.kernel)
    return machine


OTHER_UUID = UUID[::-1]


def settings_of(files, name):
    """What use_target sets in a real shell, with what the plan sets itself."""
    plan = files["etc/kdump/plan"].decode()
    variables = re.findall(r"^([a-z_]+)=", plan, re.M)
    script = (
        plan + "use_target %s\n" % name + "".join("printf '%%s=%%s\\n' %s \"$%s\"\n" % (one, one) for one in variables)
    )
    out = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout.decode()
    return dict(line.split("=", 1) for line in out.split("\n")[:-1])


def test_dump_to_rootfs_brings_the_way_to_the_root(two_disks):
    _manifest, files = built(two_disks, "path /dump/x\nfailure_action dump_to_rootfs\n")
    assert (settings_of(files, "dump")["directory"], settings_of(files, "dump")["uuid"]) == ("x", OTHER_UUID)
    assert (settings_of(files, "root")["directory"], settings_of(files, "root")["uuid"]) == ("dump/x", UUID)
    assert settings_of(files, "root")["starters"] == ""


def test_dump_to_rootfs_from_the_root_itself_is_final_action_with_a_warning(machine):
    """What was full or broken would be so again, and what started it is gone from the image by then."""
    outcome = {}
    decide(machine, "failure_action dump_to_rootfs\nfinal_action halt\n", outcome=outcome).apply(machine.host)
    manifest, files = built(machine, "failure_action dump_to_rootfs\nfinal_action halt\n")
    assert settings_of(files, "dump")["failure_action"] == "halt" and b"root)" not in files["etc/kdump/plan"]
    said = build.report(machine.host, RELEASE, outcome)["warnings"]
    assert len(said) == 1 and "dump_to_rootfs has nowhere else to dump to" in said[0] and "(halt)" in said[0]
    assert manifest.warnings == []


# --- targets behind a network --------------------------------------------------------------------------------------
class Way:
    """What network.observe() finds in place of the real network."""

    text = "nic eth0 mac 52:54:00:00:00:01 -\nnamed 10.0.0.2\n"

    def observe(self, host, addresses, dhcp):
        programs = [("ip", "iproute2")] + ([("udhcpc", "busybox")] if dhcp else [])
        return network.Network(
            addresses[0], "10.0.0.2", self.text, ["fat"], [], programs, [("etc/kdump/x", b"x", 0o755)]
        )


@pytest.fixture
def way(machine, monkeypatch):
    found = Way()
    monkeypatch.setattr(network, "observe", found.observe)
    monkeypatch.setattr(
        machine.host, "resolve", lambda name: {"node": ["10.0.0.3"], "server": ["10.0.0.1"]}.get(name, [])
    )
    for name in ("ip", "ssh", "dd", "ssh-keygen", "cat"):
        machine.write("/usr/bin/" + name, machine.host.read("/usr/bin/mount") + name.encode(), 0o755)
    return found


def target_of(kind, files=(), **settings):
    """A target as target.of_conf() would find it."""
    found = network.observe(None, ["10.0.0.1"], False)
    named = target.values(kind=kind, **settings)
    programs = [("ssh", "openssh-client")] if kind == "ssh" else [("mount", "util-linux")]
    return target.Target(kind, named, [], [], [], programs, found, list(files), "", {"kind": kind})


@pytest.fixture
def ssh_machine(machine, way, monkeypatch):
    machine.way = way
    machine.key = b"a secret"

    def of_conf(host, conf, settings):
        files = [target.File("etc/kdump/ssh/key", machine.key, 0o600), target.File("etc/passwd", "/etc/passwd", 0o644)]
        return target_of(
            "ssh", files, user="u", server="10.0.0.1", server_name="[server]:2222", port="2222", directory="d"
        )

    machine.write("/etc/passwd", "root:x:0:0::/:/bin/sh\n")
    monkeypatch.setattr(target, "of_conf", of_conf)
    return machine


def test_an_ssh_target_brings_all_that_the_login_takes(ssh_machine):
    manifest, files = built(ssh_machine)
    found = settings_of(files, "dump")
    assert found["ssh_options"].split()[:7] == "-F /dev/null -T -i /etc/kdump/ssh/key -p 2222".split()
    assert "HostKeyAlias=[server]:2222" in found["ssh_options"].split()
    assert (found["kind"], found["user"], found["server"], found["report_at"]) == ("ssh", "u", "10.0.0.1", "report")
    assert files["etc/kdump/network"] == Way.text.encode() and files["etc/kdump/x"] == b"x"
    assert files["etc/kdump/ssh/key"] == b"a secret" and files["etc/passwd"].startswith(b"root:")
    assert {"usr/bin/ssh", "usr/bin/dd", "usr/bin/ip"} <= set(files) and files["usr/bin/dd"].endswith(b"dd")
    assert files["etc/kdump/modules"] == b"fat\n" and files["etc/kdump/modules-report"] == b"virtio_pci\nvirtio_blk\n"
    assert manifest.target == {"kind": "ssh"} and not (ssh_machine.root / "var/crash").exists()


def test_what_a_login_takes_is_in_the_digest(ssh_machine):
    digests = {built(ssh_machine)[0].digest}
    ssh_machine.key = b"another secret"
    digests.add(built(ssh_machine)[0].digest)
    ssh_machine.way.text += "route eth0 10.1.0.0/16 10.0.0.254 - -\n"
    digests.add(built(ssh_machine)[0].digest)
    ssh_machine.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    digests.add(built(ssh_machine)[0].digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    "given, command",
    [("scp", "cat"), ("scp -C", "cat"), ("cat", "cat"), ("makedumpfile -F -d 31", "makedumpfile -d 31")],
)
def test_collectors_over_ssh(ssh_machine, given, command):
    text = "ssh u@server\ncore_collector %s\n" % given
    assert settings_of(built(ssh_machine, text)[1], "dump")["core_collector"] == command


def test_the_hosts_own_mount_replaces_busyboxs_where_a_target_asks_for_it(machine, way, monkeypatch):
    monkeypatch.setattr(target, "of_conf", lambda *given: target_of("nfs", source="10.0.0.1:/x"))
    _manifest, files = built(machine, "extra_bins /usr/bin/lvm\n")
    assert (
        files["usr/bin/mount"] == machine.host.read("/usr/bin/mount") and files["usr/bin/umount"] == b"/usr/bin/busybox"
    )


@pytest.mark.parametrize("another", [True, False])
def test_the_way_to_a_root_on_a_server_is_not_that_to_the_target(ssh_machine, monkeypatch, another):
    def of_root(host, path, settings):
        found = target_of("nfs", source="10.0.0.9:/root")
        text = "nic eth1 mac 52:54:00:00:00:02 -\nnamed 10.0.1.2\n"
        return found._replace(network=found.network._replace(text=text, modules=["raid1"])) if another else found

    monkeypatch.setattr(target, "of_root", of_root)
    _manifest, files = built(ssh_machine, "failure_action dump_to_rootfs\n")
    assert files["etc/kdump/network"] == Way.text.encode() and settings_of(files, "root")["kind"] == "nfs"
    assert files.get("etc/kdump/network-root", b"").startswith(b"nic eth1") is another
    assert (b"raid1\n" in files["etc/kdump/modules-report"]) is another
    assert b"raid1" not in files["etc/kdump/modules"]


def test_the_way_to_a_root_on_a_server_needs_its_modules(machine, way, monkeypatch):
    found = target_of("nfs", source="10.0.0.9:/root")
    root = found._replace(network=found.network._replace(modules=["gone"]))
    monkeypatch.setattr(target, "of_root", lambda *given: root)
    assert "has no module gone, which dump_to_rootfs needs" in message(machine, "failure_action dump_to_rootfs\n")


# --- the cluster ---------------------------------------------------------------------------------------------------
FENCE = "fence_kdump_nodes node 10.0.0.4\nfence_kdump_args -p 7410 -f auto\n"


@pytest.mark.parametrize("program", ["/usr/libexec/fence_kdump_send", "/usr/libexec/fence-agents/fence_kdump_send"])
def test_the_cluster_is_told_by_addresses(machine, way, monkeypatch, program):
    monkeypatch.setattr(machine.host, "resolve", lambda name: ["10.0.0.3"] if name == "node" else [name])
    machine.write(program, machine.host.read("/usr/bin/mount"), 0o755)
    _manifest, files = built(machine, FENCE)
    found = settings_of(files, "dump")
    assert found["fence"] == program + " -p 7410 -f auto 10.0.0.3 10.0.0.4"
    assert files["etc/kdump/network-fence"] == 2 * Way.text.encode() and "etc/kdump/network" not in files
    assert {program[1:], "usr/bin/ip"} <= set(files)
    assert b"fat\n" in files["etc/kdump/modules"] and found["kind"] == "filesystem"


def test_a_cluster_node_whose_name_is_not_resolved_now_has_the_address_of_the_newest_image(machine, way, monkeypatch):
    known = {"node": ["10.0.0.3"], "10.0.0.4": ["10.0.0.4"]}
    monkeypatch.setattr(machine.host, "resolve", lambda name: known.get(name, []))
    machine.write("/usr/libexec/fence_kdump_send", machine.host.read("/usr/bin/mount"), 0o755)
    manifest, _files = built(machine, FENCE)
    del known["node"]
    assert build.wanted_digest(machine.host, RELEASE, conf_of(FENCE), {}) == manifest.digest
    with pytest.raises(KdumpError, match="The cluster node other has no address"):
        build.wanted_digest(machine.host, RELEASE, conf_of(FENCE.replace("node ", "node other ")), {})


@pytest.mark.parametrize("text, has_network", [("", False), ("nfs 10.0.0.9:/x\n", True), (FENCE, True)])
def test_addresses_by_words_of_the_command_line_are_refused_where_there_is_a_network(
    machine, way, monkeypatch, text, has_network
):
    monkeypatch.setattr(machine.host, "resolve", lambda name: ["10.0.0.4"])
    machine.write("/usr/libexec/fence_kdump_send", machine.host.read("/usr/bin/mount"), 0o755)
    settings = {"KDUMP_COMMANDLINE_APPEND": "nr_cpus=1 ip=dhcp6"}
    try:
        build.observe(machine.host, RELEASE, conf_of(text), settings)
        said = ""
    except KdumpError as error:
        said = str(error)
    assert ("does not go by ip=dhcp6" in said) is has_network, said


def test_a_cluster_that_cannot_be_told_is_refused(machine, way):
    assert "Install the package fence-agents-kdump" in message(machine, FENCE)
    machine.write("/usr/libexec/fence_kdump_send", machine.host.read("/usr/bin/mount"), 0o755)
    assert "The cluster node 10.0.0.4 has no address" in message(machine, FENCE)


# --- reports of failures -------------------------------------------------------------------------------------------
def test_a_failure_is_reported_beside_the_dump_where_both_are_on_the_root(machine):
    _manifest, files = built(machine)
    found = settings_of(files, "report")
    assert (found["report_at"], found["directory"], found["uuid"]) == ("dump", "var/lib/vmcore-kdump/failed", UUID)
    assert "etc/kdump/modules-report" not in files and found["starters"] == "/usr/bin/insmod"


def test_a_failure_is_reported_on_the_root_with_modules_that_only_it_needs(two_disks):
    two_disks.driver(PCI + "/0000:00:04.0", "fat")  # of the root's disk alone
    _manifest, files = built(two_disks, "path /dump/x\n")
    found = settings_of(files, "report")
    assert (found["report_at"], found["directory"], found["uuid"]) == ("report", "var/lib/vmcore-kdump/failed", UUID)
    assert files["etc/kdump/modules-report"] == b"fat\n" and b"fat" not in files["etc/kdump/modules"]
    assert found["starters"] == ""  # a failure needs insmod


def test_a_root_that_cannot_be_reached_is_a_warning_where_the_target_can(two_disks):
    two_disks.mounts(
        ("0:30", "/", "/", "overlay", "overlay", "rw"), ("254:16", "/", "/dump", "xfs", "/dev/vdb", "rw"),
    )  # fmt: skip
    recipe = build.observe(two_disks.host, RELEASE, conf_of("path /dump/x\n"), {})
    assert "no report of it can be left on this host." in str(recipe.warnings[0]) and "overlay" in str(
        recipe.warnings[0]
    )
    outcome = {}
    build.decide(two_disks.host, RELEASE, conf_of("path /dump/x\n"), {}, outcome=outcome).apply(two_disks.host)
    assert build.report(two_disks.host, RELEASE, outcome)["warnings"] == [str(recipe.warnings[0])]
    manifest, files = built(two_disks, "path /dump/x\n")
    assert settings_of(files, "dump")["report_at"] == "" and manifest.warnings == [str(recipe.warnings[0])]
    assert "overlay" in message(two_disks, "path /dump/x\nfailure_action dump_to_rootfs\n")


# --- what is refused -----------------------------------------------------------------------------------------------
def test_all_problems_come_at_once(machine):
    machine.write("/boot/config-" + RELEASE, "CONFIG_CRASH_DUMP=y\n# CONFIG_PROC_VMCORE is not set\nCONFIG_RD_GZIP=y\n")
    machine.mounts(("0:30", "/", "/", "overlay", "overlay", "rw"))
    os.unlink(str(machine.root / "usr/bin/makedumpfile"))
    text = message(machine, "kdump_pre /no/such\nextra_bins /etc/hosts\nbogus 1\n")
    for part in (
        "CONFIG_PROC_VMCORE",
        "CONFIG_BLK_DEV_INITRD",
        "overlay",
        "makedumpfile",
        "/no/such",
        "/etc/hosts",
        "bogus",
    ):
        assert part in text, part
    assert not (machine.root / "var/lib").exists() and not (machine.root / "var/crash").exists()


@pytest.mark.parametrize(
    "text, part",
    [
        ("core_collector makedumpfile -p -d 31\n", "built without snappy, which -p asks for"),
        ("core_collector makedumpfile -x /boot/vmlinux -d 31\n", "-x needs a vmlinux"),
        ("core_collector scp\n", "knows makedumpfile, cp, cat; for ssh scp"),
        ("kdump_post /etc/passwd\n", "kdump_post /etc/passwd is not an executable file"),
        ("nfs server:/x\n", "The NFS server server has no address that this host can find"),
        ("kdump_pre /tmp/pre\n", "/tmp/pre lies where the capture kernel mounts a file system of its own"),
        (
            "kdump_post /etc/kdump/plan\n",
            "/etc/kdump/plan has the name of a file that the capture image has of its own",
        ),
        (
            "kdump_pre /etc/kdump/network\n",
            "/etc/kdump/network has the name of a file that the capture image has of its own",
        ),
        ("kdump_post /var/run/post\n", "/var/run/post lies where the capture kernel mounts a file system of its own"),
    ],
)
def test_what_cannot_work_is_refused(machine, text, part):
    machine.write("/etc/passwd", "x")
    machine.write("/tmp/pre", "#!/bin/sh\n", 0o755)
    machine.write("/run/post", "#!/bin/sh\n", 0o755)
    machine.write("/etc/kdump/plan", "#!/bin/sh\n", 0o755)
    machine.write("/etc/kdump/network", "#!/bin/sh\n", 0o755)
    machine.link("/var/run", "/run")
    assert part in message(machine, text)


@pytest.mark.parametrize(
    "text, line",
    [
        ("core_collector makedumpfile -l -d 31\n", "-l -d 31 vmcore dumpfile"),
        ("ssh u@server\ncore_collector makedumpfile -F -d 31\n", "-F -d 31 vmcore"),
    ],
)
def test_the_installed_makedumpfile_is_asked_for_its_arguments(ssh_machine, monkeypatch, text, line):
    if "ssh" not in text:
        monkeypatch.setattr(target, "of_conf", lambda *given: target_of("nfs", source="10.0.0.1:/x"))
    asked = []

    def makedumpfile(argv):
        asked.append(" ".join(argv[1:]))
        if argv[1] == "--check-params":
            return (1, "Commandline parameter is invalid.\n")
        return (0, "LZO support:\n  enabled\n  [--check-params]:\n")

    ssh_machine.programs["makedumpfile"] = makedumpfile
    said = message(ssh_machine, text)
    assert "makedumpfile does not take these arguments: Commandline parameter is invalid." in said
    assert asked == ["-h", "--check-params " + line]


@pytest.mark.parametrize(
    "given, command",
    [
        ("makedumpfile -Ed 31", "makedumpfile -E -d 31"),
        ("/usr/bin/makedumpfile -cd31 --num-thr=2", "/usr/bin/makedumpfile -c -d 31 --num-threads 2"),
        ("cp --sparse=always", "cp --sparse=always"),
    ],
)
def test_each_flag_of_the_collector_is_a_word_of_its_own(machine, given, command):
    """/init adds --num-threads, but for -E, with which makedumpfile refuses it."""
    machine.write("/usr/bin/cp", machine.host.read("/usr/bin/mount"), 0o755)
    _manifest, files = built(machine, "core_collector %s\n" % given)
    assert settings_of(files, "dump")["core_collector"] == command


def test_missing_programs_are_a_problem_but_not_in_check_mode(machine):
    os.unlink(str(machine.root / "usr/bin/makedumpfile"))
    assert "Install the package makedumpfile." in message(machine)
    assert decide(machine, check=True).changed
    machine.mounts(("0:30", "/", "/", "overlay", "overlay", "rw"))
    assert "overlay" in message(machine, check=True)


def test_a_missing_library_is_named(machine):
    os.unlink(str(machine.root / "usr/lib64/libc.so.6"))
    assert "needs the library libc.so.6" in message(machine)


def test_in_check_mode_what_the_play_would_have_brought_is_not_missed(machine):
    """The ssh key and the server's are brought by propagate, which runs before."""
    machine.write("/etc/hosts", "192.0.2.9 dumps\n")
    machine.write("/usr/sbin/ip", "", 0o755)
    machine.programs["ip"] = (0, "[]")
    text = "ssh kdump@dumps\n"
    assert "There is no ssh key" in message(machine, text)
    machine.host.remove("/usr/sbin/ip")
    assert decide(machine, text, check=True).changed
    with pytest.raises(Missing):
        decide(machine, text)
    machine.write("/proc/sys/crypto/fips_enabled", "1\n")
    with pytest.raises(KdumpError) as error:
        decide(machine, text, check=True)
    assert "FIPS" in str(error.value) and "There is no ssh key" in str(error.value)


# --- digest and bytes ----------------------------------------------------------------------------------------------
CHANGES = {
    "tool": lambda machine: machine.write("/usr/bin/makedumpfile", machine.host.read("/usr/bin/mount"), 0o755),
    "library": lambda machine: machine.write("/usr/lib64/libc.so.6", machine.host.read("/lib64/ld.so.2") + b"new"),
    "kernel": lambda machine: machine.write("/boot/vmlinuz-" + RELEASE, b"another kernel"),
    "module": lambda machine: machine.write("/lib/modules/%s/kernel/virtio-blk.ko" % RELEASE, b"\x7fELF other"),
    "uuid": lambda machine: machine.programs.update(blkid=(0, "UUID=%s\n" % UUID[::-1])),
    "hook": lambda machine: machine.write("/etc/kdump/pre.d/x", machine.host.read("/usr/bin/mount"), 0o755),
    "options": lambda machine: machine.write("/etc/modprobe.d/x.conf", "options virtio_blk a=1\n"),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_every_input_is_in_the_digest(machine, change):
    before, _files = built(machine)
    CHANGES[change](machine)
    assert decide(machine).changed
    after, _files = built(machine)
    assert after.digest != before.digest and after.path != before.path


def test_a_comment_in_the_configuration_is_no_input(machine):
    built(machine)
    assert decide(machine, "# a comment\n\npath /var/crash\n").actions == []


def test_force_builds_the_same_bytes(machine):
    first, _files = built(machine)
    second, _files = built(machine, force=True)
    assert first.sha256 == second.sha256


def test_an_image_that_was_damaged_is_built_again(machine):
    manifest, _files = built(machine)
    real = machine.root / manifest.path.lstrip("/")
    real.write_bytes(real.read_bytes()[:-1] + b"x")
    assert store.current(machine.host, RELEASE) is None
    again, _files = built(machine)
    assert again.sha256 == manifest.sha256


def test_an_older_image_whose_inputs_are_back_is_taken_into_use_again(machine):
    first, _files = built(machine)
    second, _files = built(machine, "final_action poweroff\n")
    assert store.current(machine.host, RELEASE).path == second.path
    plan = decide(machine)
    assert plan.actions == ["take the capture image %s into use again" % first.path]
    plan.apply(machine.host)
    assert store.current(machine.host, RELEASE).path == first.path and not decide(machine).changed


BUILD = """
import sys
sys.path.insert(0, %r)
import conftest, pathlib
from image_host import RELEASE, Machine, conf_of
from ansible_collections.vmcore.kdump.plugins.module_utils.image import build
machine = Machine(pathlib.Path(sys.argv[1]))
machine.programs = {
    "blkid": (0, "UUID=%s\\n"), "busybox": (0, "sh\\nmount\\n"), "makedumpfile": (0, "LZO support:\\n  enabled\\n"),
}
print("ready", flush=True)
build.decide(machine.host, RELEASE, conf_of(), {}, force="force" in sys.argv).apply(machine.host)
""" % (os.path.dirname(os.path.abspath(__file__)), UUID)


def builder(root, **environment):
    argv = [sys.executable, "-c", BUILD, str(root), "force"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, env=dict(os.environ, **environment))


def test_the_same_inputs_give_the_same_bytes_in_any_environment(machine):
    images = set()
    for seed, zone, mask in (("1", "UTC", 0o022), ("2", "Asia/Tokyo", 0o077), ("3", "America/New_York", 0o000)):
        old = os.umask(mask)
        try:
            assert builder(machine.root, PYTHONHASHSEED=seed, TZ=zone).wait(600) == 0
        finally:
            os.umask(old)
        manifest = store.current(machine.host, RELEASE)
        images.add((manifest.path, machine.host.read(manifest.path)))
    assert len(images) == 1


def test_kill_9_at_any_moment_leaves_whole_images_only(machine):
    # Random modules, so that writing takes a while.
    machine.write("/lib/modules/%s/kernel/virtio-blk.ko" % RELEASE, b"\x7fELF" + os.urandom(3 << 20))
    for attempt in range(12):
        process = builder(machine.root)
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in store.images(machine.host):
            manifest = machine.root / (path[: -len(".img")] + ".json").lstrip("/")
            if manifest.exists():
                assert json.loads(manifest.read_text())["sha256"] == contents.sha256_of(machine.host, path), attempt
        found = store.current(machine.host, RELEASE)
        assert found is None or names(machine.host.read(found.path))
    assert builder(machine.root).wait(600) == 0
    assert store.current(machine.host, RELEASE) is not None
    assert not [name for name in machine.host.listdir(layout.IMAGE_DIR) if ".tmp" in name]


# --- keeping -------------------------------------------------------------------------------------------------------
def test_prune_keeps_what_it_is_told(machine):
    first, _files = built(machine)
    second, _files = built(machine, "final_action poweroff\n")
    machine.write(layout.IMAGE_DIR + "/.x.img.vmcore-kdump.tmp", "left over")
    store.prune(machine.host, [first.path])
    assert store.images(machine.host) == [first.path]
    assert store.current(machine.host, RELEASE).path == first.path
    store.prune(machine.host, [])
    assert machine.host.listdir(layout.IMAGE_DIR) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 2}', '{"format": 1, "release": "x"}', "\xff"])
def test_a_broken_manifest_is_no_image(machine, text):
    manifest, _files = built(machine)
    machine.write(manifest.path.replace(".img", ".json"), text)
    assert store.current(machine.host, RELEASE) is None


def test_the_link_in_use_cannot_lead_out_of_the_directory(machine):
    built(machine)
    os.unlink(str(machine.root / layout.IMAGE_DIR.lstrip("/") / RELEASE))
    machine.link(layout.IMAGE_DIR + "/" + RELEASE, "../../../etc/passwd")
    assert store.selected(machine.host, RELEASE) == ""
    assert store.current(machine.host, RELEASE) is not None


# --- the kernel ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "files, cmdline, found",
    [
        (["/boot/vmlinuz-R", "/vmlinuz-R"], "", "/boot/vmlinuz-R"),
        (["/boot/efi/vmlinuz-R"], "", "/boot/efi/vmlinuz-R"),
        (["/boot/vmlinux-R"], "", "/boot/vmlinux-R"),
        (["/boot/vmlinuz-R", "/boot/custom-R"], "BOOT_IMAGE=(hd0,gpt2)/custom-R ro", "/boot/custom-R"),
        (["/boot/vmlinuz-R"], "BOOT_IMAGE=/boot/other ro", "/boot/vmlinuz-R"),
        (["/efi/%s/R/linux" % ("a" * 32)], "", "/efi/%s/R/linux" % ("a" * 32)),
        (["/lib/modules/R/vmlinuz"], "", "/lib/modules/R/vmlinuz"),
    ],
)
def test_where_a_kernel_is_found(tmp_path, files, cmdline, found):
    machine = Machine(tmp_path)
    machine.write("/proc/cmdline", cmdline.replace("R", RELEASE) + "\n")
    machine.write("/etc/machine-id", "a" * 32 + "\n")
    for path in files:
        machine.write(path.replace("/R", "/" + RELEASE).replace("-R", "-" + RELEASE), "x")
    assert kernel.find_kernel(machine.host, RELEASE) == found.replace("/R", "/" + RELEASE).replace("-R", "-" + RELEASE)


def test_a_boot_directory_of_ones_own_and_what_is_not_there(tmp_path):
    machine = Machine(tmp_path)
    machine.write("/mnt/b/vmlinuz-" + RELEASE, "x")
    assert kernel.find_kernel(machine.host, RELEASE, "/mnt/b") == "/mnt/b/vmlinuz-" + RELEASE
    with pytest.raises(KdumpError) as error:
        kernel.find_kernel(machine.host, RELEASE)
    assert "KDUMP_BOOTDIR" in str(error.value)


@pytest.mark.parametrize("release", ["", "../x", "a b", "a'b", "-x", "x\n"])
def test_a_release_that_is_none(machine, release):
    with pytest.raises(KdumpError) as error:
        kernel.find_kernel(machine.host, release)
    assert "is no kernel release" in str(error.value)


@pytest.mark.skipif(not shutil.which("busybox"), reason="no busybox")
def test_the_real_cpio_unpacks_the_image(machine, tmp_path):
    manifest, files = built(machine)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    data = gzip.decompress(machine.host.read(manifest.path))
    done = subprocess.run(
        ["busybox", "cpio", "-t"], check=True, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert done.stdout.decode().split("\n")[:-1] == list(files)
