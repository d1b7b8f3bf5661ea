# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import json
import os
import stat

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import layout, proof
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.proof import Inputs, Phase, Proof

MIB = 1 << 20
PROOF = Proof(
    Inputs("6.12.48", "a" * 64, 128 * MIB, "nr_cpus=1"), "/var/crash/x/vmcore", "complete", 1795510000.5, 11.2, 43.0,
    12 * MIB, "112M",
)  # fmt: skip
CAPTURE = {
    "format": 1, "release": "6.12.48", "digest": "a" * 64, "status": 0, "bytes": 40000000,
    "memory": {"total": 80 * MIB, "free_low": 4 * MIB, "available_low": 12 * MIB}, "seconds": 8.71,
    "phases": [{"name": "start", "seconds": 0.52, "exit": 0}, {"name": "vmcore", "seconds": 5.01, "exit": 1}],
}  # fmt: skip


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def test_a_proof_survives_writing_and_reading(host):
    proof.save(host, PROOF)
    assert proof.load(host) == PROOF
    assert stat.S_IMODE(os.stat(host.path(layout.PROOF)).st_mode) == 0o600


def test_what_was_not_measured_stays_unknown(host):
    unknown = PROOF._replace(
        seconds_to_capture=None, seconds_unreachable=None, memory_low_water=None, recommended_crashkernel=None
    )
    proof.save(host, unknown)
    assert proof.load(host) == unknown


BROKEN = {
    "nothing": None,
    "empty": b"",
    "no JSON": b"\xff\xfe{",
    "no object": b"[1]",
    "no inputs": b"{}",
    "inputs of another shape": b'{"inputs": 3}',
    "a figure that is none": json.dumps(dict(PROOF.as_dict(), proven_at=[])).encode(),
    "a time without end": json.dumps(PROOF.as_dict()).replace("1795510000.5", "1e999").encode(),
    "bytes without end": json.dumps(PROOF.as_dict()).replace("134217728", "1e999").encode(),
    "deep nesting": b"[" * 100000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_proof_is_no_proof(host, name):
    if BROKEN[name] is not None:
        host.write(layout.PROOF, BROKEN[name])
    assert proof.load(host) is None


def write_capture(host, **changes):
    host.write("/var/crash/x/capture.json", json.dumps(dict(CAPTURE, **changes)).encode())
    return proof.capture(host, "/var/crash/x")


def test_a_capture_report_is_read(host):
    found = write_capture(host)
    assert (found.digest, found.status, found.seconds) == ("a" * 64, 0, 8.71)
    assert (found.memory_total, found.memory_low_water) == (80 * MIB, 12 * MIB)
    assert found.phases == [Phase("start", 0.52, 0), Phase("vmcore", 5.01, 1)]
    assert found.as_dict()["phases"][1] == {"name": "vmcore", "seconds": 5.01, "exit": 1}


@pytest.mark.parametrize("changes", [
    {"memory": None}, {"memory": {}}, {"phases": {"name": 1}}, {"phases": [1]}, {"status": "x"}, {"seconds": None},
    {"seconds": float("nan")},
], ids=str)  # fmt: skip
def test_a_broken_capture_report_is_none(host, changes):
    assert write_capture(host, **changes) is None


def test_a_capture_report_that_was_cut_is_none(host):
    whole = json.dumps(CAPTURE).encode()
    for size in range(len(whole)):
        host.write("/var/crash/x/capture.json", whole[:size])
        assert proof.capture(host, "/var/crash/x") is None, size


def test_names_in_a_capture_report_can_be_shown(host):
    found = write_capture(host, phases=[{"name": "\x1b[2J" + "x" * 1000, "seconds": 1, "exit": 0}] * 1000)
    assert len(found.phases) == 100
    assert found.phases[0].name.isprintable() and len(found.phases[0].name) < 60
    assert write_capture(host, digest="\ud800\n" + "x" * 1000).digest.isprintable(), "a lone surrogate has no bytes"


# (reserved, least available, recommended), MiB
@pytest.mark.parametrize("reserved,low,expected", [
    (96, 28, "96M"),  # used 68, a quarter more is 85
    (128, 60, "96M"),
    (128, 64, "80M"),  # 64 and a quarter is 80 exactly
    (96, 1, "128M"),  # used 95: what was reserved is too tight
    (256, 150, "144M"),
    (96, 0, None),
    (96, -1, None),
    (96, 96, None),
    (0, 12, None),
])  # fmt: skip
def test_the_recommendation_is_what_was_used_and_a_quarter_in_steps_of_16M(reserved, low, expected):
    assert proof.recommended_crashkernel(reserved * MIB, low * MIB) == expected
