# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.plan import remove_file


@pytest.mark.parametrize("others, left", [([], False), (["network"], True)])
def test_the_last_file_of_etc_sysconfig_takes_the_directory_with_it(tmp_path, others, left):
    host = Host(str(tmp_path))
    for name in ["kdump"] + others:
        host.write("/etc/sysconfig/" + name, b"")
    remove_file("/etc/sysconfig/kdump").apply(host)
    assert host.is_dir("/etc/sysconfig") == left
    assert host.listdir("/etc/sysconfig") == others


def test_other_directories_stay(tmp_path):
    host = Host(str(tmp_path))
    host.write("/etc/udev/rules.d/x", b"")
    remove_file("/etc/udev/rules.d/x").apply(host)
    assert host.is_dir("/etc/udev/rules.d")
