# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import gzip
import lzma
import shutil
import subprocess

import pytest
from image_host import RELEASE, Machine

from ansible_collections.vmcore.kdump.plugins.module_utils.image import kmod
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.modules()
    return machine


def order(machine, *wanted):
    return [module.name for module in kmod.Modules(machine.host, RELEASE).load_order(list(wanted))]


@pytest.mark.parametrize(
    "wanted, loaded",
    [
        (["raid1"], ["md_mod", "raid1"]),
        (["virtio-blk"], ["virtio_blk"]),
        (["xfs"], ["crc32c_intel", "libcrc32c", "xfs"]),
        (["btrfs", "xfs"], ["crc32c_intel", "libcrc32c", "raid6_pq", "btrfs", "xfs"]),
        (["virtio:d00000002v00001AF4"], ["virtio_blk"]),
        (["md-raid1"], ["md_mod", "raid1"]),
        (["ext4"], []),
        (["no_such_module"], []),
    ],
)
def test_order_of_loading(machine, wanted, loaded):
    assert order(machine, *wanted) == loaded


def test_modules_that_need_each_other_softly_come_once(machine):
    machine.write("/lib/modules/%s/modules.softdep" % RELEASE, "softdep fat pre: raid1\nsoftdep raid1 post: fat\n")
    assert order(machine, "raid1") == ["md_mod", "raid1", "fat"]


def test_every_module_that_is_missing_is_named(machine):
    modules = kmod.Modules(machine.host, RELEASE)
    kmod.require(modules, ["ext4", "xfs"], "the test")
    with pytest.raises(KdumpError) as error:
        kmod.require(modules, ["one", "xfs", "two"], "the test")
    assert [problem.value for problem in error.value.problems] == ["one", "two"]


def test_without_modules_dep_the_release_is_named(machine):
    with pytest.raises(KdumpError) as error:
        kmod.Modules(machine.host, "9.9")
    assert "depmod 9.9" in str(error.value)


def test_options_of_modprobe_d_with_the_first_directory_winning(machine):
    machine.write("/etc/modprobe.d/a.conf", "options virtio-blk a=1 \\\n b=2\n# options fat x=1\n")
    machine.write("/usr/lib/modprobe.d/a.conf", "options virtio_blk hidden=1\n")
    machine.write("/usr/lib/modprobe.d/b.conf", "options virtio_blk c=3\noptions fat\n")
    modules = kmod.Modules(machine.host, RELEASE).load_order(["virtio_blk", "fat"])
    assert [module.options for module in modules] == ["a=1   b=2 c=3", ""]


def test_options_are_carried_as_they_stand(machine):
    machine.write("/etc/modprobe.d/a.conf", 'options fat name="two  words" x=1\noptions fat y=2 \n')
    assert kmod.Modules(machine.host, RELEASE).load_order(["fat"])[0].options == 'name="two  words" x=1 y=2'


def test_a_watchdog_is_fed_whatever_modprobe_d_says(machine):
    machine.more_modules("kernel/drivers/watchdog/watchdog.ko")
    machine.write("/etc/modprobe.d/a.conf", "options watchdog open_timeout=60 handle-boot-enabled=0 stop_on_reboot=1\n")
    assert kmod.Modules(machine.host, RELEASE).load_order(["watchdog"])[0].options == "stop_on_reboot=1"


def test_soft_dependencies_of_modprobe_d_count_as_well(machine):
    machine.write("/etc/modprobe.d/a.conf", "# softdep fat pre: xfs\nsoftdep fat pre: raid1 \\\n post: virtio-blk\n")
    assert order(machine, "fat") == ["md_mod", "raid1", "fat", "virtio_blk"]


DATA = b"\x7fELF" + b"module" * 1000


def zstd(data):
    return subprocess.run(["zstd", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(
    "suffix, pack",
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        pytest.param(".zst", zstd, marks=pytest.mark.skipif(not shutil.which("zstd"), reason="no zstd program")),
    ],
)
def test_unpacking(machine, suffix, pack):
    path = "/m.ko" + suffix
    machine.write(path, pack(DATA))
    assert kmod.unpack(machine.host, path) == DATA
    machine.write(path, pack(DATA)[:-9] if suffix else b"no module")
    with pytest.raises(KdumpError) as error:
        kmod.unpack(machine.host, path)
    assert path in str(error.value)
