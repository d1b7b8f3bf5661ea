# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import gzip

import image_host
import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.image import firmware, kmod

MODULE = b"\x7fELF...\0license=GPL\0firmware=bnx2/one.fw\0firmware=bnx2/two.fw\0author=x\0"


@pytest.fixture
def machine(tmp_path):
    return image_host.Machine(tmp_path)


def look(machine, data=MODULE, name="bnx2.ko", pack=lambda data: data):
    machine.write("/lib/modules/" + name, pack(data))
    return firmware.of_modules(
        machine.host, image_host.RELEASE, [kmod.Module("bnx2", "/lib/modules/" + name, "")]
    )  # fmt: skip


def test_what_a_driver_names_is_found_and_what_is_not_there_is_passed_over(machine):
    machine.write("/lib/firmware/bnx2/one.fw")
    assert look(machine) == (["/lib/firmware/bnx2/one.fw"], [])


@pytest.mark.parametrize(
    "there, found",
    [
        (["/lib/firmware/bnx2/two.fw.xz"], ["/lib/firmware/bnx2/two.fw.xz"]),
        (["/lib/firmware/bnx2/two.fw.xz", "/lib/firmware/bnx2/two.fw.zst"], ["/lib/firmware/bnx2/two.fw.zst"]),
        (["/lib/firmware/bnx2/one.fw", "/lib/firmware/updates/bnx2/one.fw"], ["/lib/firmware/updates/bnx2/one.fw"]),
        (["/lib/firmware/%s/bnx2/one.fw" % image_host.RELEASE], ["/lib/firmware/%s/bnx2/one.fw" % image_host.RELEASE]),
        (["/lib/firmware/6.1/bnx2/one.fw", "/lib/firmware/bnx2/two.fw"], ["/lib/firmware/bnx2/two.fw"]),
    ],
)
def test_it_is_looked_for_where_the_kernel_would(machine, there, found):
    for path in there:
        machine.write(path)
    assert look(machine).files == found


def test_the_kernels_parameter_comes_first(machine):
    machine.write("/sys/module/firmware_class/parameters/path", "/srv/firmware\n")
    machine.write("/srv/firmware/bnx2/one.fw")
    machine.write("/lib/firmware/bnx2/one.fw")
    assert look(machine).files == ["/srv/firmware/bnx2/one.fw"]


def test_a_driver_that_finds_nothing_is_told(machine):
    found = look(machine)
    assert found.files == [] and "bnx2/one.fw, bnx2/two.fw" in found.warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\0firmware=../../etc/shadow\0",
        b"\x7fELF\0firmware=a b\0",
        b"\x7fELF\0firmware=\xff\0",
        b"\x7fELF\0license=GPL\0",
    ],
)
def test_names_that_are_none_are_passed_over(machine, data):
    machine.write("/lib/firmware/a b")
    machine.write("/etc/shadow")
    assert look(machine, data) == ([], [])


def test_a_packed_module_is_read(machine):
    machine.write("/lib/firmware/bnx2/one.fw")
    assert look(machine, name="bnx2.ko.gz", pack=gzip.compress).files == ["/lib/firmware/bnx2/one.fw"]


def test_much_firmware_of_one_driver_is_told(machine):
    machine.write("/lib/firmware/bnx2/one.fw", bytes(5 << 20))
    machine.link("/lib/firmware/bnx2/two.fw", "one.fw")
    assert look(machine).warnings == [], "the same file twice"
    machine.write("/lib/firmware/updates/bnx2/two.fw", bytes(4 << 20))
    found = look(machine)
    assert len(found.files) == 2 and "The firmware of the driver bnx2 takes 9 MiB" in found.warnings[0]


@pytest.mark.parametrize(
    "name, read",
    [("6.1/kernel/fs/bnx2.ko", False), ("6.1/kernel/drivers/scsi/bnx2.ko", True), ("6.1/updates/net/bnx2.ko", True)],
)
def test_only_drivers_are_read(machine, name, read):
    machine.write("/lib/firmware/bnx2/one.fw")
    assert bool(look(machine, name=name).files) == read
