# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import engine, reservation
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel
from ansible_collections.vmcore.kdump.plugins.module_utils.engines import kdumpctl as kdumpctl_engine
from ansible_collections.vmcore.kdump.plugins.module_utils.engines.driver import Recommendation
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError, fail
from ansible_collections.vmcore.kdump.tests.contract.kdumpctl import KdumpctlHost

M, G = 1 << 20, 1 << 30

# /proc/iomem of a guest with 2 GiB, and how root's view differs from everybody's.
IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
00100000-7ffdbfff : System RAM
  01000000-01ffffff : Kernel code
  73000000-78ffffff : Crash kernel
  78000000-78ffffff : System RAM
7ffdc000-7fffffff : Reserved
fffc0000-ffffffff : Reserved
100000000-10fffffff : System RAM (kmem)
"""
ENTRY = "/boot/loader/entries/a.conf"


def host_with(tmp_path, files=None, machine="x86_64", runner=None, release="6.12.48+deb13-amd64"):
    host = Host(
        str(tmp_path),
        runner=runner or (lambda argv, **options: Result(argv, 1, "", "none")),
        kernel=Kernel(release, machine),
    )
    texts = {
        "/proc/iomem": IOMEM,
        "/proc/cmdline": "ro\n",
        "/sys/kernel/kexec_crash_size": "0\n",
        ENTRY: "title A\nversion 2\nlinux /vmlinuz-2\noptions ro\n",
        "/boot/loader/entries/b.conf": "title B\nversion 1\nlinux /vmlinuz-1\noptions ro crashkernel=64M\n",
    }
    for path, text in dict(texts, **(files or {})).items():
        host.write(path, text.encode(), 0o755)
    return host


def params(**given):
    usual = {"value": None, "state": "present", "kernels": ["ALL"], "bootloader": "auto", "_check": False}
    return dict(usual, _advice=given.pop("advice", lambda host: None), **given)


def problems(host, **given):
    with pytest.raises(KdumpError) as caught:
        reservation.decide(host, params(**given))
    return [problem.message for problem in caught.value.problems]


RAM = {
    "root": (IOMEM, 0x7FFDC000 - 0x100000 + 0x9FC00 - 0x1000, "iomem"),
    "not root": (
        "00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n",
        2000000 * 1024 + 96 * M,
        "meminfo",
    ),
    "no file": ("", 2000000 * 1024 + 96 * M, "meminfo"),
}


@pytest.mark.parametrize("iomem, expected, source", RAM.values(), ids=list(RAM))
def test_ram(tmp_path, iomem, expected, source):
    host = host_with(
        tmp_path,
        {
            "/proc/iomem": iomem,
            "/sys/kernel/kexec_crash_size": str(96 * M),
            "/proc/meminfo": "MemTotal:        2000000 kB\nMemFree: 5 kB\n",
        },
    )
    assert reservation.ram(host) == (expected, source)


RESERVED = {
    "old path": ({"/sys/kernel/kexec_crash_size": "100663296\n"}, 96 * M),
    "new path first": ({"/sys/kernel/kexec_crash_size": "1\n", "/sys/kernel/kexec/crash_size": "100663296\n"}, 96 * M),
    "broken": ({"/sys/kernel/kexec_crash_size": "many\n"}, 0),
}


@pytest.mark.parametrize("files, expected", RESERVED.values(), ids=list(RESERVED))
def test_reserved_bytes(tmp_path, files, expected):
    assert reservation.reserved_bytes(host_with(tmp_path, files)) == expected


REBOOT = {
    "first value": (["256M"], [], 0, True),
    "same and reserved": (["256M"], ["256M"], 256 * M, False),
    "same in other units": (["256M"], ["262144K"], 256 * M, False),
    "another value": (["256M"], ["128M"], 128 * M, True),
    "removed": ([], ["128M"], 128 * M, True),
    "none and none": ([], [], 0, False),
    "nothing reserved though it should": (["256M"], ["256M"], 0, False),
    "booted with auto, which is nothing": ([], ["auto"], 0, False),
    "booted with two, of which the last counts": (["256M"], ["128M", "256M"], 256 * M, False),
    "shrunk since": (["256M"], ["256M"], 128 * M, True),
    "with memory below 4G": (["1G,high"], ["1G,high"], G + 256 * M, False),
    "ranges shrunk since": (["1G-:256M"], ["1G-:256M"], 128 * M, True),
    "another range's size": (["1G-4G:128M,4G-:256M"], ["1G-4G:128M,4G-:256M"], 128 * M, False),
}


@pytest.mark.parametrize("configured, running, reserved, expected", REBOOT.values(), ids=list(REBOOT))
def test_reboot_required(configured, running, reserved, expected):
    assert reservation.reboot_required(configured, running, reserved, 8 * G) is expected


def test_from_nothing_to_reserved(tmp_path):
    host = host_with(tmp_path)
    given = params(value="256M")
    plan = reservation.decide(host, given)
    assert len(plan.actions) == 2
    plan.apply(host)
    assert reservation.report(host, given) == {
        "bootloader": "bls",
        "before": [
            {"entry": ENTRY, "kernel": "/boot/vmlinuz-2", "crashkernel": [], "default": True},
            {
                "entry": "/boot/loader/entries/b.conf",
                "kernel": "/boot/vmlinuz-1",
                "crashkernel": ["64M"],
                "default": False,
            },
        ],
        "after": [
            {"entry": ENTRY, "kernel": "/boot/vmlinuz-2", "crashkernel": ["256M"], "default": True},
            {
                "entry": "/boot/loader/entries/b.conf",
                "kernel": "/boot/vmlinuz-1",
                "crashkernel": ["256M"],
                "default": False,
            },
        ],
        "running": [],
        "reserved_bytes": 0,
        "expected_bytes": 256 * M,
        "ram_bytes": 2146937856,
        "ram_source": "iomem",
        "reboot_required": True,
        "advice": "",
        "problems": [],
    }
    assert not reservation.decide(host, params(value="256M")).changed


@pytest.mark.parametrize("kernels", [["ALL"], ["DEFAULT"], ["/boot/vmlinuz-1"]])
def test_check_mode_reports_what_a_real_run_does(tmp_path, kernels):
    host = host_with(tmp_path)
    given = params(value=["1G,high", "128M,low"], kernels=kernels, _check=True)
    plan = reservation.decide(host, given)
    predicted = reservation.report(host, given)
    plan.apply(host)
    assert reservation.report(host, dict(given, _check=False)) == predicted


def test_a_reboot_counts_for_the_entry_that_boots_next(tmp_path):
    host = host_with(tmp_path)
    given = params(value="256M", kernels=["/boot/vmlinuz-1"])
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert (result["reboot_required"], result["expected_bytes"]) == (False, 0)


def test_absent(tmp_path):
    host = host_with(tmp_path, {"/proc/cmdline": "ro crashkernel=64M\n", "/sys/kernel/kexec_crash_size": str(64 * M)})
    given = params(state="absent")
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert (result["running"], result["reboot_required"], result["expected_bytes"]) == (["64M"], True, 0)
    assert [one["crashkernel"] for one in result["after"]] == [[], []]


ADVICE = {
    "an engine that cannot be asked yet": (None, "1G-4G:192M,4G-64G:256M,64G-:512M", 192),
    "ranges": ("1G-4G:192M,4G-:256M", "1G-4G:192M,4G-:256M", 192),
    "an estimate, rounded up": ("176M", "192M", 192),
    "an estimate that is round": ("192M", "192M", 192),
}


@pytest.mark.parametrize("name", ADVICE)
def test_auto_is_what_the_engine_recommends(tmp_path, name):
    value, written, expected = ADVICE[name]
    found = Recommendation(0, value, "") if value else None
    given = params(value="auto", advice=lambda host: found)
    host = host_with(tmp_path)
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert (result["after"][0]["crashkernel"], result["expected_bytes"]) == ([written], expected * M)


def test_auto_may_be_several_values_and_be_a_list(tmp_path):
    given = params(value=["auto"], advice=lambda host: Recommendation(0, "1G,high 128M,low", ""))
    assert reservation.wanted_values(host_with(tmp_path), given) == ["1G,high", "128M,low"]


def test_auto_without_an_answer_is_an_error(tmp_path):
    def nothing(host):
        raise fail("kdumpctl named no value.", "Give one.")

    assert "named no value" in problems(host_with(tmp_path), value="auto", advice=nothing)[0]


WRONG = {
    "a mistake in each part": (
        {"value": ["1.5G", "auto"], "kernels": ["ALL", "0"], "bootloader": "grubby"},
        [
            "has a fraction",
            "crashkernel=auto reserves nothing",
            "'0' is not ALL",
            "ALL stands beside",
            "grubby is missing",
        ],
    ),
    "value and a kernel that is not there": (
        {"value": "x", "kernels": ["/boot/vmlinuz-9"]},
        ["'x' in crashkernel value", "No boot entry has the kernel"],
    ),
    "nothing for this host's RAM": ({"value": "4G-:256M"}, ["would reserve nothing on this host. No range holds"]),
    "more than this host's RAM": ({"value": "2G"}, ["would reserve nothing on this host. 2G is not less than"]),
    "offset": ({"value": "128M@17M"}, ["not a multiple of 16M"]),
    "a dictionary": ({"value": {"size": 1}}, ["neither a string nor a list"]),
    "a truth": ({"value": True}, ["neither a string nor a list"]),
    "a list in a list": ({"value": [["256M"]]}, ["neither a string nor a list"]),
    "no value": ({"value": []}, ["No crashkernel value is given"]),
    "a number of megabytes": ({"value": 256}, ["is a number of bytes, below 1M"]),
}


@pytest.mark.parametrize("given, expected", WRONG.values(), ids=list(WRONG))
def test_every_mistake_is_named_before_anything_is_touched(tmp_path, monkeypatch, given, expected):
    host = host_with(tmp_path)
    monkeypatch.setattr(host, "write", None)
    found = problems(host, **given)
    assert len(found) == len(expected)
    for message, part in zip(found, expected):
        assert part in message


def test_a_guess_of_the_ram_refuses_nothing(tmp_path):
    host = host_with(tmp_path, {"/proc/iomem": "", "/proc/meminfo": "MemTotal: 2000000 kB\n"})
    assert reservation.decide(host, params(value="4G-:256M")).changed


REASONS = {
    "reserved": ("crashkernel=96M", 96 * M, ""),
    "not asked for": ("ro", 0, ""),
    "should have": ("crashkernel=96M", 0, "but the kernel reserved nothing"),
    "auto": ("crashkernel=auto", 0, "which reserves nothing"),
    "RAM in no range": ("crashkernel=4G-:96M", 0, "No range holds the RAM"),
}


@pytest.mark.parametrize("cmdline, reserved, expected", REASONS.values(), ids=list(REASONS))
def test_nothing_reserved_is_a_problem_with_a_reason(tmp_path, cmdline, reserved, expected):
    host = host_with(tmp_path, {"/proc/cmdline": cmdline, "/sys/kernel/kexec_crash_size": str(reserved)})
    given = params(state="absent")
    reservation.decide(host, given)
    found = reservation.report(host, given)["problems"]
    assert [expected in problem["message"] for problem in found] == ([True] if expected else [])


# --- what users report ---------------------------------------------------------------------------------------------
def small(mebibytes):
    return {"/proc/iomem": "00100000-%08x : System RAM\n" % (0x100000 + mebibytes * M - 1)}


def kdumpctl(host_files, default="2G-64G:256M,64G-:512M"):
    """The real driver, with what kdumpctl says."""
    files = dict({"/usr/sbin/kdumpctl": ""}, **host_files)
    return files, lambda argv, **options: Result(argv, 0, default + "\n", "")


def test_kdump_utils_pr_90_ram_below_the_default_ranges_gets_a_size_that_fits(tmp_path):
    files, runner = kdumpctl(small(1536))
    host = host_with(tmp_path, files, runner=runner)
    given = params(value="auto", advice=kdumpctl_engine.recommended)
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert (result["after"][0]["crashkernel"], result["expected_bytes"]) == (
        ["1G-4G:192M,4G-64G:256M,64G-:512M"],
        192 * M,
    )
    assert "names no size for this host, which has 1536 MiB of RAM" in result["advice"]


def test_kdump_utils_pr_90_ram_below_any_range_is_refused(tmp_path):
    files, runner = kdumpctl(small(700))
    host = host_with(tmp_path, files, runner=runner)
    (message,) = problems(host, value="auto", advice=kdumpctl_engine.recommended)
    assert "auto, which comes to '1G-4G:192M,4G-64G:256M,64G-:512M', would reserve nothing on this host" in message
    assert "the RAM of 768 MiB" in message  # as the kernel rounds it


ESTIMATE = {"/var/lib/vmcore-kdump/kdumpctl/estimate.json": '{"bytes": %d}' % (300 * M)}


def test_fedora_coreos_1079_an_estimate_above_the_default_counts_for_auto(tmp_path):
    files, runner = kdumpctl(ESTIMATE)
    host = host_with(tmp_path, files, runner=runner)
    given = params(value="auto", advice=kdumpctl_engine.recommended)
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert result["after"][0]["crashkernel"] == ["320M"] and "kdumpctl estimate" in result["advice"]
    assert result["problems"] == []


def test_fedora_coreos_1079_a_chosen_size_below_the_estimate_is_told(tmp_path):
    files, runner = kdumpctl(ESTIMATE)
    host = host_with(tmp_path, files, runner=runner)
    for value, expected in (
        ("256M", ["256M may be too small: the capture kernel was estimated to need 300 MiB."]),
        ("320M", []),
    ):
        given = params(value=value, advice=kdumpctl_engine.recommended)
        reservation.decide(host, given)
        found = reservation.report(host, given)["problems"]
        assert (
            [one["message"][: len(text)] for one, text in zip(found, expected)]
            == expected
            == [one["message"][: len(expected[0])] for one in found]
        )


def test_kdumpctls_default_is_asked_for_and_never_reset(tmp_path):
    """kdump-utils#155: reset-crashkernel says that it did what it did not."""
    calls = []
    files, answer = kdumpctl({})

    def runner(argv, **options):
        calls.append(argv)
        return answer(argv)

    host = host_with(tmp_path, files, runner=runner)
    given = params(value="auto", advice=kdumpctl_engine.recommended)
    reservation.decide(host, given).apply(host)
    reservation.report(host, given)
    assert {tuple(argv[:2]) for argv in calls if argv[0] == "kdumpctl"} == {("kdumpctl", "get-default-crashkernel")}


AUTO = {  # uname -r, reserved -> (bytes after the next boot, messages)
    "mainline": (
        "6.12.48",
        (0, ["Only the kernels of RHEL 8"] * 2 + ["was booted with crashkernel=auto, which reserves"]),
    ),
    "EL 9": (
        "5.14.0-503.el9.x86_64",
        (0, ["Only the kernels of RHEL 8"] * 2 + ["was booted with crashkernel=auto, which"]),
    ),
    "EL 8": ("4.18.0-553.el8_10.x86_64", (160 * M, ["but the kernel reserved nothing"])),
    "mainline packaged for EL 8": (
        "6.1.5-1.el8.elrepo.x86_64",
        (0, ["Only"] * 2 + ["was booted with crashkernel=auto, which"]),
    ),
}


@pytest.mark.parametrize("release, expected", AUTO.values(), ids=list(AUTO))
def test_crashkernel_auto_in_an_entry_that_is_left_alone(tmp_path, release, expected):
    entry = "linux /vmlinuz-%d\noptions ro crashkernel=%s\nversion %d\n"
    files = {"/proc/cmdline": "ro crashkernel=auto\n"}
    files.update(
        {
            "/boot/loader/entries/%s.conf" % name: entry % (number, "auto", number)
            for name, number in (("a", 2), ("b", 1))
        }
    )
    host = host_with(tmp_path, dict(files, **{"/boot/loader/entries/c.conf": entry % (0, "256M", 0)}), release=release)
    given = params(value="256M", kernels=["/boot/vmlinuz-0"])
    assert not reservation.decide(host, given).changed
    result = reservation.report(host, given)
    assert result["expected_bytes"] == expected[0]
    assert len(result["problems"]) == len(expected[1])
    for problem, part in zip(result["problems"], expected[1]):
        assert part in problem["message"]


def test_auto_becomes_a_value_that_reserves(tmp_path):
    host = host_with(tmp_path, {ENTRY: "linux /vmlinuz-2\noptions ro crashkernel=auto\nversion 2\n"})
    given = params(value="auto")
    reservation.decide(host, given).apply(host)
    assert reservation.report(host, given)["expected_bytes"] == 192 * M


def test_auto_on_a_red_hat_host_by_its_own_tools(tmp_path):
    """kdumpctl names the value, grubby writes it, and what is believed is what is read back."""
    host = KdumpctlHost(tmp_path, tools=["grubby"])
    given = params(value="auto", advice=engine.chosen(host, {"engine": "auto"}).recommended)
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert result["bootloader"] == "grubby" and "get-default-crashkernel" in result["advice"]
    assert {tuple(one["crashkernel"]) for one in result["after"]} == {("2G-64G:256M,64G-:512M",)}
    assert {argv[1] for argv in host.calls if argv[0] == "kdumpctl"} == {"get-default-crashkernel"}
    assert not reservation.decide(host, dict(given)).changed
