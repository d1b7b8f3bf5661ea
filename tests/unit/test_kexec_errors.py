# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import errno

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.kexec_errors import Facts, explain

FACTS = Facts(kernel="/boot/vmlinuz-1", initrd="/i", needed=70 << 20, reserved=64 << 20)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EPERM, "security module"),
        (errno.EACCES, "policy"),
        (errno.EBUSY, "Another program"),
        (errno.EINVAL, "command line"),
        (errno.ENOEXEC, "does not take /boot/vmlinuz-1"),
        (errno.ENOSYS, "kexec-tools"),
        (errno.EADDRNOTAVAIL, "64 MiB are reserved, the kernel and its image need about 70 MiB"),
        (errno.ENOMEM, "64 MiB are reserved"),
        (errno.EKEYREJECTED, "not valid"),
        (errno.ENOKEY, "does not trust"),
        (errno.EBADMSG, "damaged"),
        (errno.ELIBBAD, "damaged"),
        (errno.ENOPKG, "algorithm"),
        (errno.ENODATA, "no signature"),
        (errno.ENOTSUP, "Python"),
        (errno.ENOTTY, "ENOTTY"),  # one that has no sentence of its own
        (0, "0"),
    ],
)
def test_every_answer_is_a_sentence_with_a_remedy(number, words):
    problem = explain(number, FACTS)
    assert words in str(problem)
    assert problem.message.endswith(".") and problem.hint.endswith((".", ")"))
    assert "%" not in str(problem)


@pytest.mark.parametrize(
    "facts, words",
    [
        pytest.param({"may_boot": False, "disabled": True}, "CAP_SYS_BOOT", id="no capability"),
        pytest.param({"disabled": True, "limit": 0}, "kernel.kexec_load_disabled is 1", id="switched off"),
        pytest.param({"limit": 0, "lockdown": "integrity"}, "kexec_load_limit_panic", id="limit spent"),
        pytest.param({"limit": 0, "kind": "reboot"}, "kexec_load_limit_reboot", id="limit of the other kind spent"),
        pytest.param({"lockdown": "integrity", "secure_boot": True}, "integrity, secure boot is on", id="lockdown"),
        pytest.param({"limit": 5}, "security module", id="none that can be seen"),
    ],
)
def test_eperm_says_which_of_its_reasons_it_is(facts, words):
    assert words in str(explain(errno.EPERM, FACTS._replace(**facts)))


def test_no_memory_without_a_reservation_and_for_a_reboot():
    assert "No memory is reserved" in str(explain(errno.ENOMEM, FACTS._replace(reserved=0)))
    assert "free memory" in str(explain(errno.ENOMEM, FACTS._replace(kind="reboot")))
