# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.bootloader import choice
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

GRUB = {
    "/boot/grub/grub.cfg": b"### BEGIN /etc/grub.d/10_linux ###\n",
    "/usr/sbin/grub-mkconfig": b"/default/grub.d/*.cfg",
}
BLS = {"/boot/efi/loader/entries/a.conf": b"linux /a\n"}
FEDORA = {"/usr/sbin/grubby": b"", "/boot/loader/entries/a.conf": b"linux /a\n"}
OSTREE = {"/run/ostree-booted": b""}


def loader(name):
    return {
        "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f": b"\6\0\0\0"
        + (name + "\0").encode("utf-16-le")
    }


def host_with(tmp_path, *parts):
    host = Host(str(tmp_path))
    for part in parts:
        for path, data in part.items():
            host.write(path, data, 0o755)
    return host


AUTO = {
    "Debian": ([GRUB], "grub"),
    "systemd-boot": ([BLS], "bls"),
    "Fedora": ([FEDORA], "grubby"),
    "Fedora's entries without grubby": ([{"/boot/loader/entries/a.conf": b"linux /a\n"}], "bls"),
    "grubby with nothing to work on": ([GRUB, {"/usr/sbin/grubby": b""}], "grub"),
    "both, booted by systemd-boot": ([GRUB, BLS, loader("systemd-boot 257.8-1")], "bls"),
    "both, booted by GRUB": ([GRUB, BLS, loader("GRUB 2.12")], "grub"),
    "grub.cfg that reads the entries": (
        [GRUB, BLS, {"/boot/grub/grub.cfg": b"### BEGIN /etc/grub.d/10_linux\nblscfg\n"}],
        "bls",
    ),
    "ostree": ([FEDORA, OSTREE, {"/usr/bin/rpm-ostree": b""}], "rpm_ostree"),
    "rpm-ostree installed elsewhere": ([FEDORA, {"/usr/bin/rpm-ostree": b""}], "grubby"),
    "one alone, whatever booted it": ([GRUB, loader("GRUB")], "grub"),
}


@pytest.mark.parametrize("parts, expected", AUTO.values(), ids=list(AUTO))
def test_auto(tmp_path, parts, expected):
    assert choice.choose(host_with(tmp_path, *parts), "auto") == expected
    assert hasattr(choice.module(expected), "plan")


REFUSED = {
    "nothing": ([], "auto", "No boot loader that can be managed"),
    "both, unknown": ([GRUB, BLS], "auto", "cannot be told which"),
    "ostree without rpm-ostree": ([FEDORA, OSTREE], "auto", "rpm-ostree is missing on this ostree host"),
    "grubby on ostree": ([FEDORA, OSTREE], "grubby", "on ostree hosts only rpm_ostree keeps kernel arguments"),
    "rpm_ostree": ([], "rpm_ostree", "not booted by ostree"),
    "grubby without entries": ([{"/usr/sbin/grubby": b""}], "auto", "grubby changes nothing on this host"),
    "grubby named": ([GRUB], "grubby", "grubby cannot be used: grubby is missing"),
    "grub named": ([BLS], "grub", "grub.cfg is missing"),
    "bls named": ([GRUB], "bls", "no boot loader entries"),
}


@pytest.mark.parametrize("parts, wanted, message", REFUSED.values(), ids=list(REFUSED))
def test_refused(tmp_path, parts, wanted, message):
    with pytest.raises(KdumpError, match=message):
        choice.choose(host_with(tmp_path, *parts), wanted)


def test_a_named_one_is_taken_though_auto_could_not_tell(tmp_path):
    assert choice.choose(host_with(tmp_path, GRUB, BLS), "grub") == "grub"
