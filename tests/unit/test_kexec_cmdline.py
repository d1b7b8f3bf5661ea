# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import kexec_cmdline, sysconfig
from ansible_collections.vmcore.kdump.plugins.module_utils.kexec_cmdline import capture_cmdline

# /proc/cmdline and /etc/sysconfig/kdump of kdump-utils 1.0.61's transcript.
TRANSCRIPT = (
    "console=ttyS0 root=/dev/vda rw crashkernel=256M panic=5 BOOT_IMAGE=/boot/vmlinuz-6.12.117+deb13-cloud-amd64"
)
APPEND = (
    "novmcoredd hugetlb_cma=0 kfence.sample_interval=0 initramfs_options=size=90% irqpoll nr_cpus=1 reset_devices "
    "cgroup_disable=memory mce=off numa=off udev.children-max=2 panic=10 acpi_no_memhotplug "
    "transparent_hugepage=never nokaslr hest_disable cma=0 pcie_ports=compat"
)
CPUINFO = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\napicid\t\t: 4\ninitial apicid\t: 4\n\nprocessor\t: 1\napicid\t\t: 5\n"
)
SHORT = {"KDUMP_COMMANDLINE_REMOVE": "quiet hugepages", "KDUMP_COMMANDLINE_APPEND": "irqpoll nr_cpus=1"}


def test_the_transcripts_host():
    line = capture_cmdline(TRANSCRIPT, sysconfig.defaults("x86_64"), "x86_64", CPUINFO)
    kept = "console=ttyS0 rw panic=5 BOOT_IMAGE=/boot/vmlinuz-6.12.117+deb13-cloud-amd64 "
    assert line == kept + APPEND + " disable_cpu_apicid=4"


@pytest.mark.parametrize(
    "running, settings, options, expected",
    [
        pytest.param("a quiet b", SHORT, {}, "a b irqpoll nr_cpus=1", id="removed by key"),
        pytest.param("hugepages=2 hugepages=4 a", SHORT, {}, "a irqpoll nr_cpus=1", id="every occurrence"),
        pytest.param("a= b", SHORT, {}, "b irqpoll nr_cpus=1", id="empty values dropped"),
        pytest.param("a", dict(SHORT, KDUMP_COMMANDLINE="x y"), {}, "x y irqpoll nr_cpus=1", id="a base of one's own"),
        pytest.param("a", dict(SHORT, KDUMP_COMMANDLINE=""), {}, "a irqpoll nr_cpus=1", id="an empty base is none"),
        pytest.param("a -- single", SHORT, {}, "a irqpoll nr_cpus=1", id="arguments of init"),
        pytest.param('a "dyndbg=file x +p; file y +p"', SHORT, {}, 'a "dyndbg=file x +p; file y +p" irqpoll nr_cpus=1',
                     id="quoted blanks"),
        pytest.param("root=/dev/sda1 rd.lvm.lv=a/b rd.luks.uuid=1 fcoe=x netroot=iscsi:x crashkernel=1G panic_on_warn a",
                     {}, {}, "a", id="always removed"),
        pytest.param("rd_lvm_lv=1 rd.iscsi.initiator=x iscsi_initiator=y iscsi-initiator=z", {}, {}, "rd_lvm_lv=1",
                     id="- is _, . is not"),
        pytest.param("a", SHORT, {"watchdogs": ("iTCO_wdt", "hpwdt")},
                     "a irqpoll nr_cpus=1 iTCO_wdt.pretimeout=0 hpwdt.pretimeout=0 hpwdt.kdumptimeout=0", id="watchdogs"),
        pytest.param("irqpoll a", SHORT, {"graviton": True}, "a nr_cpus=1", id="no irqpoll on Graviton"),
        pytest.param("a nr_cpus=8 maxcpus=3", SHORT, {"nr_cpus": 2}, "a irqpoll nr_cpus=2", id="nr_cpus"),
        pytest.param("a", {}, {"nr_cpus": 2}, "a nr_cpus=2", id="nr_cpus where none was"),
        pytest.param("a b", SHORT, {"append": "c d=1"}, "a b irqpoll nr_cpus=1 c d=1", id="append"),
        pytest.param("a b", SHORT, {"remove": ["irqpoll", "b"], "append": "b"}, "a nr_cpus=1 b",
                     id="remove, then append"),
    ],
)  # fmt: skip
def test_rules(running, settings, options, expected):
    assert capture_cmdline(running, settings, "x86_64", **options) == expected


@pytest.mark.parametrize(
    "given, kept",
    [
        ("a watchdog.open_timeout=60 b", "a b"),
        ("watchdog.handle_boot_enabled=0 a watchdog.handle-boot-enabled=N watchdog.handle_boot_enabled=off", "a"),
        ("watchdog.handle_boot_enabled=1 watchdog.handle_boot_enabled", None),  # the kernel's default may be not to
        ("open_timeout=60 softdog.soft_margin=0 watchdog_thresh=0", None),
    ],
)
def test_what_keeps_the_kernel_from_feeding_a_watchdog(given, kept):
    assert " ".join(kexec_cmdline.fed(given.split())) == (given if kept is None else kept)


@pytest.mark.parametrize(
    "cpuinfo, expected",
    [
        pytest.param(CPUINFO, 4, id="the boot CPU's"),
        pytest.param("processor\t: 1\napicid\t: 7\n\nprocessor : 0\napicid : 9\n", 9, id="in any order"),
        pytest.param("processor : 0\nBogoMIPS : 50.00\n", None, id="arm64"),
        pytest.param("vendor_id : IBM/S390\nprocessor 0: version = FF\n", None, id="s390x"),
        pytest.param("processor : 0\napicid : zero\n", None, id="broken"),
        pytest.param("", None, id="empty"),
    ],
)
def test_boot_apicid(cpuinfo, expected):
    assert kexec_cmdline.boot_apicid(cpuinfo) == expected


@pytest.mark.parametrize(
    "line, machine, kernel_max, crash, words",
    [
        pytest.param("a" * 1986, "x86_64", 2047, True, [], id="fits"),
        pytest.param("a" * 1987, "x86_64", 2047, True, ["1987", "1986"], id="one byte too many"),
        pytest.param("a" * 2047, "x86_64", 2047, False, [], id="no elfcorehdr= without a crash"),
        pytest.param("a" * 1987, "aarch64", 0, True, ["1987"], id="by the architecture"),
        pytest.param("a" * 4034, "s390x", 0, True, [], id="s390x"),
        pytest.param("ä" * 994, "x86_64", 0, True, ["1988"], id="bytes, not characters"),
        pytest.param("a\nb", "x86_64", 0, True, ["line break"], id="a line break"),
    ],
)
def test_what_the_kernel_would_not_take(line, machine, kernel_max, crash, words):
    found = kexec_cmdline.problems(line, machine, kernel_max, crash)
    assert bool(found) == bool(words)
    for word in words:
        assert word in str(found[0])
