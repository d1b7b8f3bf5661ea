# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import os

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils import engine
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host

OS_RELEASE = {
    "Debian 13": ('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n', "debian"),
    "Ubuntu": ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
    "Linux Mint": ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"),
    "RHEL": ('ID="rhel"\nID_LIKE="fedora"\n', "redhat"),
    "AlmaLinux": ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "redhat"),
    "Oracle Linux": ('ID="ol"\nID_LIKE="fedora"\n', "redhat"),
    "Amazon Linux": ('ID="amzn"\nID_LIKE="fedora"\n', "redhat"),
    "openSUSE": ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "suse"),
    "Arch": ("ID=arch\n", ""),
    "a file that is none": ("$(reboot)\n", ""),
    "no file": ("", ""),
}


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path))


def install(host, *programs):
    for program in programs:
        host.write("/usr/bin/" + program, b"")
        os.chmod(host.path("/usr/bin/" + program), 0o755)


@pytest.mark.parametrize("name", OS_RELEASE)
def test_families(name):
    text, family = OS_RELEASE[name]
    assert engine.family(text) == family


def test_auto_is_kdumpctl_where_the_red_hat_familys_tools_are_or_belong(host):
    host.write("/etc/os-release", b"ID=debian\n")
    assert engine.choose(host, "auto") == "native"
    install(host, "kdumpctl")
    assert engine.choose(host, "auto") == "native"
    install(host, "grubby")
    assert engine.choose(host, "auto") == "kdumpctl"
    assert engine.choose(host, "native") == "native"


def test_auto_is_kdumpctl_on_a_bare_host_of_the_red_hat_family(host):
    host.write("/usr/lib/os-release", b'ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    assert engine.choose(host, "auto") == "kdumpctl"


def test_missing_packages_by_family_and_engine(host):
    host.write("/etc/os-release", b"ID=debian\n")
    assert engine.packages_missing(host, "native") == ["makedumpfile", "busybox"]
    assert engine.packages_missing(host, "kdump-tools") == ["kdump-tools", "makedumpfile", "initramfs-tools-core"]
    install(host, "makedumpfile")
    assert engine.packages_missing(host, "native") == ["busybox"]
    install(host, "busybox")
    assert engine.packages_missing(host, "native") == []


def test_the_red_hat_family_has_no_busybox_and_finds_makedumpfile_by_its_path(host):
    host.write("/etc/os-release", b"ID=fedora\n")
    assert engine.packages_missing(host, "native") == ["/usr/sbin/makedumpfile"]
    assert engine.packages_missing(host, "kdumpctl") == ["/usr/bin/kdumpctl", "grubby"]
    install(host, "kdumpctl")
    assert engine.packages_missing(host, "kdumpctl") == ["grubby"]
    host.write("/run/ostree-booted", b"")
    assert engine.packages_missing(host, "kdumpctl") == []
