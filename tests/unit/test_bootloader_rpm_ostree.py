# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Against contract/bin/rpm-ostree, and that against what upstream's tests say of the real one."""

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import reservation
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import rpm_ostree
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.contract.host import RANGES, ContractHost

STATE = "/ostree/contract-kargs"
BOOT = "ostree=/ostree/boot.0/fedora-coreos/hash/0"
USUAL = 'rw "x=a b" console=ttyS0 %s ignition.platform.id=metal' % BOOT


def machine(root, kargs=USUAL, **given):
    host = ContractHost(root, ["rpm-ostree"], {STATE: kargs + "\n", "/run/ostree-booted": ""}, **given)
    host.put("/proc/cmdline", "BOOT_IMAGE=/vmlinuz %s\n" % kargs)
    return host


@pytest.fixture
def host(tmp_path):
    return machine(tmp_path)


def kargs(host):
    return host.read_text(STATE).strip()


def converge(host, values):
    plan = rpm_ostree.plan(host, values, ["ALL"])
    plan.apply(host)
    assert not rpm_ostree.plan(host, values, ["ALL"]).changed
    return plan.actions


CHANGES = {  # before, wanted, what is given to the one call
    "none before": ([], ["256M"], ["--append=crashkernel=256M"]),
    "a list of ranges, commas and all": (
        ["auto"],
        [RANGES],
        ["--delete=crashkernel=auto", "--append=crashkernel=" + RANGES],
    ),
    "high and low for ranges": (
        [RANGES],
        ["1G,high", "256M,low"],
        ["--delete=crashkernel=" + RANGES, "--append=crashkernel=1G,high", "--append=crashkernel=256M,low"],
    ),
    "several before": (["128M", "256M"], ["256M"], [
        "--delete=crashkernel=128M", "--delete=crashkernel=256M", "--append=crashkernel=256M",
    ]),
    "the same twice": (["256M", "256M"], ["256M"], [
        "--delete=crashkernel=256M", "--delete=crashkernel=256M", "--append=crashkernel=256M",
    ]),
    "removed": (["1G,high", "256M,low"], [], ["--delete=crashkernel=1G,high", "--delete=crashkernel=256M,low"]),
    "the same in other units": (["262144K"], ["256M"], None),
    "as wanted": (["256M"], ["256M"], None),
    "none wanted, none there": ([], [], None),
}  # fmt: skip


@pytest.mark.parametrize("before, wanted, expected", CHANGES.values(), ids=list(CHANGES))
def test_one_transaction(tmp_path, before, wanted, expected):
    line = USUAL + "".join(" crashkernel=" + value for value in before)
    host = machine(tmp_path, line)
    assert converge(host, wanted) == ([] if expected is None else [" ".join(["rpm-ostree", "kargs"] + expected)])
    changes = [argv[2:] for argv in host.calls if len(argv) > 2]
    assert changes == ([] if expected is None else [expected])
    if expected:
        after = USUAL.replace(BOOT, "ostree=/ostree/boot.1/new")
        assert kargs(host) == after + "".join(" crashkernel=" + value for value in wanted)


def params(**given):
    usual = {"value": "256M", "state": "present", "kernels": ["ALL"], "bootloader": "auto", "_check": False}
    return dict(usual, _advice=lambda host: None, **given)


def test_the_pending_deployment_waits_for_a_reboot(host):
    given = params()
    reservation.decide(host, given).apply(host)
    result = reservation.report(host, given)
    assert (result["bootloader"], result["running"], result["reboot_required"]) == ("rpm_ostree", [], True)
    assert result["after"][0]["crashkernel"] == ["256M"] and result["after"][0]["default"]
    assert result["problems"] == []
    assert not reservation.decide(host, params()).changed


def test_check_mode_touches_nothing_and_tells_the_same(host):
    before = host.snapshot()
    given = dict(params(), _check=True)
    plan = reservation.decide(host, given)
    assert plan.changed and reservation.report(host, given)["after"][0]["crashkernel"] == ["256M"]
    assert host.snapshot() == before and {tuple(argv) for argv in host.calls} == {("rpm-ostree", "kargs")}


def refused(host, values=("256M",), kernels=("ALL",)):
    before = kargs(host)
    with pytest.raises(KdumpError) as caught:
        rpm_ostree.plan(host, list(values), list(kernels)).apply(host)
    return str(caught.value), kargs(host) == before


def test_another_transaction_in_progress(host):
    host.env["KDUMP_CONTRACT_BUSY"] = "upgrade"
    message, untouched = refused(host)
    assert "Transaction in progress: upgrade" in message and "wait for its end" in message and untouched


def test_exit_code_0_and_nothing_done(host):
    host.program("rpm-ostree", "print(%r)" % USUAL)
    assert "rpm-ostree reported success, but the deployment that boots next has no crashkernel=" in refused(host)[0]


def test_more_changed_than_asked_for(host):
    real = host.read_text("/usr/bin/rpm-ostree")
    host.program("rpm-ostree", real.replace("    numbered = [", "    kargs.remove('console=ttyS0')\n    numbered = ["))
    assert "rpm-ostree changed more than crashkernel=" in refused(host)[0]


def test_a_daemon_that_does_not_answer(host):
    host.program("rpm-ostree", "import sys\nsys.exit('error: Could not connect')")
    with pytest.raises(KdumpError, match="rpm-ostree kargs failed .exit code 1.: error: Could not connect"):
        rpm_ostree.entries(host)


def test_single_kernels_are_refused(host):
    message, untouched = refused(host, kernels=["/boot/vmlinuz-1"])
    assert "only be ALL or DEFAULT" in message and untouched


def test_crashkernel_inside_of_another_argument(tmp_path):
    message, untouched = refused(machine(tmp_path, USUAL + ' a="b crashkernel=1G"'))
    assert "inside of another argument" in message and untouched


# --- the contract --------------------------------------------------------------------------------------------------
UPSTREAM = {  # tests/vmcheck/test-kernel-args.sh of coreos/rpm-ostree: before, options, (after or the message, exit code)
    "append": ("a", ["--append=F=B", "--append=A=1", "--append=A=2"], ("a F=B A=1 A=2", 0)),
    "append and delete, whatever their order": ("A=1 A=2", ["--append=A=3", "--delete=A=1"], ("A=2 A=3", 0)),
    "delete by key": ("F=B a", ["--delete", "F"], ("a", 0)),
    "delete by key of several": ("A=1 A=2", ["--delete", "A"], ("error: Multiple values for key 'A' found", 1)),
    "delete what is not there": ("a", ["--delete=b"], ("error: No key 'b' found", 1)),
    "replace": ("R=1", ["--replace=R=2"], ("R=2", 0)),
    "replace one of several": ("R=1 R=2", ["--replace=R=1=3"], ("R=3 R=2", 0)),
    "replace by key of several": ("R=1 R=2", ["--replace=R=3"], ("error: Multiple values for key 'R' found", 1)),
    "append-if-missing compares whole arguments": ("P=1", ["--append-if-missing=P=2"], ("P=1 P=2", 0)),
    "append-if-missing of what is there": ("P=1", ["--append-if-missing=P=1", "--unchanged-exit-77"], ("P=1", 77)),
    "delete-if-present of another value": ("P=1", ["--delete-if-present=P=2", "--unchanged-exit-77"], ("P=1", 77)),
    "both of the same": ("a", ["--append=f", "--append-if-missing=f"], ("a f", 0)),
    "delete and replace": (
        "a=1",
        ["--delete=a", "--replace=a=2"],
        ("error: Cannot specify both --delete and --replace", 1),
    ),
}


@pytest.mark.parametrize("before, options, expected", UPSTREAM.values(), ids=list(UPSTREAM))
def test_the_contract(tmp_path, before, options, expected):
    host = machine(tmp_path, before)
    result = host.run(["rpm-ostree", "kargs"] + options)
    assert (result.err.strip() or kargs(host), result.rc) == expected
