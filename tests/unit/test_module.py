# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import errno
import os

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import Plan, Step

pytest.importorskip("ansible.module_utils.basic")
from ansible_collections.vmcore.kdump.plugins.module_utils import _module


class Ended(Exception):
    """What a module ends with."""


class FakeModule:
    params = {"force": False}
    check_mode = False

    def __init__(self, *_arguments, **_options):
        pass

    def exit_json(self, **result):
        raise Ended(result)

    def fail_json(self, **result):
        raise Ended(dict(result, failed=True))


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """A function that runs something and returns what its module ended with."""
    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(_module, "Host", lambda: Host(str(tmp_path)))

    def run(call, *arguments):
        with pytest.raises(Ended) as end:
            call({}, *arguments)
        return end.value.args[0]

    return run


def full_disk(*_arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/x")


def test_a_full_disk_is_a_sentence_with_a_remedy_and_no_traceback(ended):
    plan = Plan([Step("write", full_disk)])
    for result in (
        ended(_module.run_state, lambda host, params: plan, lambda host, params: {}),
        ended(_module.run_info, full_disk),
    ):
        assert result["failed"] and "No space left on device: '/var/lib/x'" in result["msg"]
        assert result["errors"][0]["hint"]


def test_a_change_that_did_not_take_is_a_failure(ended):
    plan = Plan([Step("write it", lambda host: None)])
    result = ended(_module.run_state, lambda host, params: plan, lambda host, params: {})
    assert result["failed"] and "there was still to do: write it" in result["msg"]


def test_secrets_are_hidden_in_results_and_kept_from_the_systems_log(monkeypatch, tmp_path, ended):
    class WithSecrets(FakeModule):
        params = {"password": "hush"}
        made = []

        def __init__(self, _spec, **options):
            self.no_log_values = set()
            self.options = options
            self.made.append(self)

    monkeypatch.setattr(_module, "AnsibleModule", WithSecrets)
    ended(_module.run_info, lambda host, params: {}, lambda params: [params["password"], ""])
    ended(_module.run_info, lambda host, params: {})
    assert [(one.no_log_values, one.options["no_log"]) for one in WithSecrets.made] == [
        ({"hush"}, True),
        (set(), False),
    ]
