# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import struct

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.kexec_kernel import HEAD, inspect
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError
from ansible_collections.vmcore.kdump.tests.unit.kexec_host import bzimage

PAD = bytes(0x20000)


def at(offset, data):
    return PAD[:offset] + data + PAD[offset + len(data) :]


def flat_image(magic):
    return at(16, struct.pack("<Q", 30 << 20) + PAD[:32] + magic)


def read(data, machine):
    return inspect("/k", data[:HEAD], len(data), machine)


@pytest.mark.parametrize(
    "data, machine, expected",
    [
        pytest.param(bzimage("6.12.1"), "x86_64", ("bzImage", 40 << 20, "6.12.1", 2047), id="x86_64"),
        pytest.param(bzimage("6.1"), "i686", ("bzImage", 40 << 20, "6.1", 2047), id="i386"),
        pytest.param(flat_image(b"ARM\x64"), "aarch64", ("Image", 30 << 20, "", 0), id="arm64"),
        pytest.param(flat_image(b"RSC\x05"), "riscv64", ("Image", 30 << 20, "", 0), id="riscv64"),
        pytest.param(flat_image(b"\xcd\x23\x82\x81"), "loongarch64", ("Image", 30 << 20, "", 0), id="loongarch64"),
        pytest.param(at(0, b"\x7fELF\x02\x01"), "ppc64le", ("ELF", len(PAD), "", 0), id="ppc64le"),
        pytest.param(at(0x10008, b"S390EP"), "s390x", ("Image", len(PAD), "", 0), id="s390x"),
        pytest.param(at(0, b"\x7fELF\x02\x02"), "s390x", ("ELF", len(PAD), "", 0), id="s390x ELF"),
        pytest.param(at(36, b"\x18\x28\x6f\x01"), "armv7l", ("zImage", len(PAD), "", 0), id="arm"),
    ],
)
def test_kernels(data, machine, expected):
    assert read(data, machine) == expected


def with_bytes(offset, data):
    image = bytearray(bzimage())
    image[offset : offset + len(data)] = data
    return bytes(image)


@pytest.mark.parametrize(
    "data, machine, words",
    [
        pytest.param(b"", "x86_64", "0 bytes", id="empty"),
        pytest.param(b"HdrS" * 100, "x86_64", "400 bytes", id="short"),
        pytest.param(PAD, "x86_64", "not an x86 kernel", id="zeros"),
        pytest.param(at(0, b"\x1f\x8b"), "x86_64", "gzip", id="gzip data"),
        pytest.param(bzimage(version=0x0200), "x86_64", "older than Linux 3.8", id="old"),
        pytest.param(with_bytes(0x236, b"\0\0"), "x86_64", "32-bit kernel", id="a 32-bit one"),
        pytest.param(with_bytes(0x1F4, struct.pack("<I", 0x1000)), "x86_64", "cut off", id="cut off"),
        pytest.param(at(4, b"zimg"), "aarch64", "zboot", id="EFI zboot"),
        pytest.param(at(0, b"\x1f\x8b"), "aarch64", "set KDUMP_BOOTDIR", id="Image.gz"),
        pytest.param(at(0, b"\x7fELF\x01"), "ppc64le", "64-bit ELF", id="32-bit ELF"),
        pytest.param(PAD, "s390x", "64-bit ELF", id="nothing on s390x"),
        pytest.param(PAD, "vax", "vax", id="unknown architecture"),
    ],
)
def test_files_that_are_no_kernel_are_refused(data, machine, words):
    with pytest.raises(KdumpError) as caught:
        read(data, machine)
    assert words in str(caught.value)


def test_a_hostile_version_offset_stays_inside_the_head():
    assert read(with_bytes(0x20E, b"\xff\xff"), "x86_64").release == ""
