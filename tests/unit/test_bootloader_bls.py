# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import bls
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

NEW = "/boot/loader/entries/fdbd-5.14.0-503.11.1.el9_5.x86_64.conf"
OLD = "/boot/loader/entries/fdbd-5.14.0-70.el9.x86_64.conf"
RESCUE = "/boot/loader/entries/fdbd-0-rescue.conf"


def entry(version, options, kernel=None):
    return (
        "title Linux (%s)\nversion %s\nlinux %s\ninitrd /initramfs-%s.img $tuned_initrd\n%s"
        "grub_users $grub_users\n" % (version, version, kernel or "/vmlinuz-" + version, version, options)
    ).encode()


def environment(**variables):
    text = "# GRUB Environment Block\n" + "".join("%s=%s\n" % pair for pair in variables.items())
    return text.encode().ljust(1024, b"#")


@pytest.fixture
def host(tmp_path):
    host = Host(str(tmp_path))
    host.write(
        NEW, entry("5.14.0-503.11.1.el9_5.x86_64", 'options root=/dev/x ro dyndbg="file a/* +p" $tuned_params\n')
    )
    host.write(OLD, entry("5.14.0-70.el9.x86_64", "options root=/dev/x ro\noptions crashkernel=1G,high quiet\n"))
    host.write(RESCUE, entry("0-rescue", "options\troot=/dev/x   ro crashkernel=64M\r\n"))
    host.write(
        "/boot/loader/entries/memtest.conf", b"title Memory test\nefi /EFI/memtest.efi\noptions crashkernel=1M\n"
    )
    host.write("/etc/kernel/cmdline", b"# of this machine\nroot=/dev/x ro\n")
    return host


def values(host):
    return {one.name: one.values for one in bls.entries(host)}


def everything(host):
    return {
        path: host.read(path)
        for path in host.glob("/boot/*/*/*") + host.glob("/etc/kernel/*") + host.glob("/boot/grub2/*")
    }


def test_the_entries(host):
    assert values(host) == {NEW: (), OLD: ("1G,high",), RESCUE: ("64M",)}
    assert [one.kernel for one in bls.entries(host) if one.default] == ["/boot/vmlinuz-5.14.0-503.11.1.el9_5.x86_64"]


def test_everything_but_the_argument_stays_byte_for_byte(host):
    before = everything(host)
    plan = bls.plan(host, ["1G,high", "128M,low"], ["ALL"])
    plan.apply(host)
    after = everything(host)
    text = b" crashkernel=1G,high crashkernel=128M,low"
    assert after[NEW] == before[NEW].replace(b"$tuned_params", b"$tuned_params" + text)
    assert after[OLD] == before[OLD].replace(b" crashkernel=1G,high", text)
    assert after[RESCUE] == before[RESCUE].replace(b" crashkernel=64M", text)
    assert after["/etc/kernel/cmdline"] == b"# of this machine\nroot=/dev/x ro" + text + b"\n"
    assert after["/boot/loader/entries/memtest.conf"] == before["/boot/loader/entries/memtest.conf"]
    assert not bls.plan(host, ["1G,high", "128M,low"], ["ALL"]).changed


def test_absent(host):
    bls.plan(host, ["256M"], ["ALL"]).apply(host)
    bls.plan(host, [], ["ALL"]).apply(host)
    assert set(values(host).values()) == {()}
    assert host.read("/etc/kernel/cmdline") == b"# of this machine\nroot=/dev/x ro\n"
    assert not bls.plan(host, [], ["ALL"]).changed


def test_equal_in_other_units_is_left_alone(host):
    host.write(RESCUE, entry("0-rescue", "options crashkernel=262144K\n"))
    assert "write " + RESCUE not in bls.plan(host, ["256M"], ["ALL"]).actions


def test_a_missing_kernel_cmdline_is_not_made(host):
    host.remove("/etc/kernel/cmdline")
    bls.plan(host, ["256M"], ["ALL"]).apply(host)
    assert not host.exists("/etc/kernel/cmdline")


SELECT = {
    "default": (["DEFAULT"], [NEW]),
    "path": (["/boot/vmlinuz-5.14.0-70.el9.x86_64"], [OLD]),
    "both": (["DEFAULT", "/boot/vmlinuz-0-rescue"], [NEW, RESCUE]),
}


@pytest.mark.parametrize("kernels, paths", SELECT.values(), ids=list(SELECT))
def test_single_kernels_change_nothing_else(host, kernels, paths):
    plan = bls.plan(host, ["256M"], kernels)
    assert sorted(plan.actions) == sorted("write " + path for path in paths)
    plan.apply(host)
    assert {path for path, found in values(host).items() if found == ("256M",)} == set(paths)


def test_a_kernel_that_is_not_there(host):
    with pytest.raises(KdumpError, match="/boot/vmlinuz-9"):
        bls.plan(host, ["256M"], ["/boot/vmlinuz-9"])


DEFAULT = {
    "saved id": ({"saved_entry": "fdbd-5.14.0-70.el9.x86_64"}, None, OLD),
    "saved title": ({"saved_entry": "Linux (0-rescue)"}, None, RESCUE),
    "saved number": ({"saved_entry": "1"}, None, OLD),
    "saved entry is gone": ({"saved_entry": "fdbd-4.18.0"}, None, NEW),
    "loader.conf": ({}, "timeout 3\ndefault fdbd-5.14.0-70*\n", OLD),
    "loader.conf with the suffix": ({}, "default fdbd-0-rescue.conf", RESCUE),
    "loader.conf names what is not there": ({}, "default gone.conf", NEW),
    "loader.conf names what was never saved": ({}, "default @saved", NEW),
}


@pytest.mark.parametrize("variables, conf, expected", DEFAULT.values(), ids=list(DEFAULT))
def test_the_default(host, variables, conf, expected):
    host.write("/boot/grub2/grubenv", environment(**variables))
    if conf:
        host.write("/boot/loader/loader.conf", conf.encode())
    assert [one.name for one in bls.entries(host) if one.default] == [expected]


def test_the_efi_variable_goes_before_loader_conf(host):
    host.write("/boot/loader/loader.conf", b"default fdbd-0-rescue.conf\n")
    host.write(
        "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        b"\7\0\0\0" + "fdbd-5.14.0-70.el9.x86_64.conf\0".encode("utf-16-le"),
    )
    assert [one.name for one in bls.entries(host) if one.default] == [OLD]


def test_saved_is_what_systemd_boot_booted_last(host):
    host.write("/boot/loader/loader.conf", b"default @saved\n")
    host.write(
        "/sys/firmware/efi/efivars/LoaderEntryLastBooted-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        b"\7\0\0\0" + "fdbd-5.14.0-70.el9.x86_64.conf\0".encode("utf-16-le"),
    )
    assert [one.name for one in bls.entries(host) if one.default] == [OLD]


VERSIONS = ["0-rescue", "5.14.0-70.el9", "5.14.0-427.el9", "6.1~rc1", "6.1", "6.1.5", "6.9.0-1-amd64", "6.12.0-1-amd64"]


def test_versions_sort_as_rpm_sorts_them():
    assert sorted(VERSIONS[::-1], key=bls.version_key) == VERSIONS


def test_systemd_boots_own_partition(tmp_path):
    host = Host(str(tmp_path))
    path = "/efi/loader/entries/debian-6.12.0+3-1.conf"
    host.write(path, b"title Debian\nlinux /debian/6.12.0/linux\noptions root=UUID=1 ro\n")
    bls.plan(host, ["256M"], ["/efi/debian/6.12.0/linux"]).apply(host)
    assert host.read(path).endswith(b"options root=UUID=1 ro crashkernel=256M\n")


def test_an_entry_without_options_gets_some(tmp_path):
    host = Host(str(tmp_path))
    host.write(NEW, b"title x\nlinux /boot/vmlinuz-1")
    bls.plan(host, ["256M"], ["/boot/vmlinuz-1"]).apply(host)
    assert host.read(NEW) == b"title x\nlinux /boot/vmlinuz-1\noptions crashkernel=256M\n"


def test_bytes_that_are_no_text_survive(tmp_path):
    host = Host(str(tmp_path))
    host.write(NEW, b"title \xff\xfe\x85\nlinux /vmlinuz-1\noptions a=\xff\n")
    bls.plan(host, ["256M"], ["ALL"]).apply(host)
    assert host.read(NEW) == b"title \xff\xfe\x85\nlinux /vmlinuz-1\noptions a=\xff crashkernel=256M\n"


@pytest.fixture
def shared(tmp_path):
    """RHEL 8: the options are in grubenv."""
    host = Host(str(tmp_path))
    host.write(NEW, entry("4.18.0-2", "options $kernelopts $tuned_params crashkernel=64M\n"))
    host.write(OLD, entry("4.18.0-1", "options ${kernelopts}\n"))
    host.write(RESCUE, entry("0-rescue", "options root=/dev/x ro\n"))
    host.write("/boot/grub2/grubenv", environment(saved_entry="0", kernelopts="root=/dev/x crashkernel=auto ro "))
    return host


def test_kernelopts_of_grubenv(shared):
    assert values(shared) == {NEW: ("auto", "64M"), OLD: ("auto",), RESCUE: ()}
    bls.plan(shared, ["256M"], ["ALL"]).apply(shared)
    assert set(values(shared).values()) == {("256M",)}
    assert shared.read("/boot/grub2/grubenv") == environment(
        saved_entry="0", kernelopts="root=/dev/x crashkernel=256M ro "
    )
    assert b"options $kernelopts $tuned_params\n" in shared.read(NEW)
    assert b"options root=/dev/x ro crashkernel=256M\n" in shared.read(RESCUE)
    assert not bls.plan(shared, ["256M"], ["ALL"]).changed
    bls.plan(shared, [], ["ALL"]).apply(shared)
    assert set(values(shared).values()) == {()}


def test_an_entry_with_kernelopts_cannot_differ_from_the_others(shared):
    with pytest.raises(KdumpError, match="share .kernelopts"):
        bls.plan(shared, ["256M"], ["DEFAULT"])


def test_kernelopts_that_are_nowhere(shared):
    shared.remove("/boot/grub2/grubenv")
    with pytest.raises(KdumpError, match="grubenv does not hold"):
        bls.plan(shared, ["256M"], ["ALL"])


def test_a_full_grubenv(shared):
    shared.write("/boot/grub2/grubenv", environment(kernelopts="x" * 980))
    with pytest.raises(KdumpError, match="no room"):
        bls.plan(shared, ["256M"], ["ALL"])


def test_an_argument_in_an_odd_place_is_found_before_anything_is_written(host):
    host.write(RESCUE, entry("0-rescue", 'options x="a b,crashkernel=1G c"\n'))
    before = everything(host)
    with pytest.raises(KdumpError, match="would still hold crashkernel=1G crashkernel=256M"):
        bls.plan(host, ["256M"], ["ALL"])
    assert everything(host) == before


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_a_failure_part_way_puts_everything_back(host, monkeypatch, failing):
    plan, before, write = bls.plan(host, ["256M"], ["ALL"]), everything(host), host.write
    assert len(plan.steps) == 4
    paths = [step.title.split()[1] for step in plan.steps]

    def full(path, data, mode=0o644):
        if path == paths[failing] and b"crashkernel=256M" in data:
            raise OSError(28, "No space left on device")
        write(path, data, mode)

    monkeypatch.setattr(host, "write", full)
    with pytest.raises(KdumpError, match="No space left on device"):
        plan.apply(host)
    assert everything(host) == before


def test_unified_kernel_images_are_told(host):
    host.write("/boot/efi/EFI/Linux/debian-6.12.efi", b"MZ")
    assert [problem.value for problem in bls.notes(host, [], ["ALL"])] == ["/boot/efi/EFI/Linux/debian-6.12.efi"]


def test_no_entries(tmp_path):
    assert "no boot loader entries" in bls.missing(Host(str(tmp_path)))


@pytest.mark.parametrize("wanted", [[], ["256M"]])
def test_a_closing_quote_does_not_go_with_the_argument(host, wanted):
    """Without it the kernel takes everything up to the next quote, root= included, for one argument."""
    host.write(OLD, entry("5.14.0-70.el9.x86_64", 'options dyndbg="file a crashkernel=1G" root=/dev/x ro\n'))
    before = everything(host)
    with pytest.raises(KdumpError, match="would change other arguments than crashkernel="):
        bls.plan(host, wanted, ["ALL"])
    assert everything(host) == before
