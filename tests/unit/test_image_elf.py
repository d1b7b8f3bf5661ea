# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import os
import platform
import re
import subprocess

import pytest
from image_host import Machine
from image_host import elf as build

from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host
from ansible_collections.vmcore.kdump.plugins.module_utils.image import elf
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def paths(machine, program):
    return [library.path for library in elf.Linker(machine.host).libraries(program)]


@pytest.mark.parametrize("wide", [True, False], ids=["64", "32"])
@pytest.mark.parametrize("little", [True, False], ids=["little", "big"])
def test_what_a_file_says(wide, little):
    data = build(["liba.so.1", "libb.so"], "/lib/ld.so", runpath="$ORIGIN/x:/y", wide=wide, little=little, machine=40)
    found = elf.parse(data)
    assert found.abi == (2 if wide else 1, 1 if little else 2, 40)
    assert found.needed == ["liba.so.1", "libb.so"]
    assert found.interpreter == "/lib/ld.so"
    assert found.runpath == ["$ORIGIN/x", "/y"] and found.rpath == []


def test_every_cut_and_every_flipped_byte_is_an_error_or_a_value_but_no_crash():
    data = build(["liba.so.1"], "/lib/ld.so", runpath="/y")
    for length in range(len(data)):
        try:
            elf.parse(data[:length])
        except ValueError:
            pass
    for place in range(len(data)):
        for byte in (0, 0x7F, 0xFF):
            broken = data[:place] + bytes([byte]) + data[place + 1 :]
            try:
                elf.parse(broken)
            except ValueError:
                pass


def test_libraries_are_found_as_the_dynamic_linker_finds_them(machine):
    machine.write("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n/opt/last\n")
    machine.write("/etc/ld.so.conf.d/x.conf", "# comment\n/opt/first # too\n")
    machine.write("/usr/bin/p", build(["liba.so", "libd.so"], "/lib64/ld.so.2", runpath="$ORIGIN/../lib/private"))
    machine.write("/lib64/ld.so.2", build())
    machine.write("/usr/lib/private/liba.so", build(["libb.so"]))
    machine.write("/opt/last/libb.so", build())
    machine.write("/opt/first/libb.so", build(machine=40))  # another architecture: passed over
    machine.write("/lib/x86_64-linux-gnu/libd.so", build(["liba.so"]))
    machine.write("/usr/lib/libd.so", build())
    assert sorted(paths(machine, "/usr/bin/p")) == [
        "/lib/x86_64-linux-gnu/libd.so", "/lib64/ld.so.2", "/opt/last/libb.so", "/usr/bin/../lib/private/liba.so",
    ]  # fmt: skip


def test_rpath_is_inherited_and_runpath_is_not(machine):
    machine.write("/bin/rpath", build(["liba.so"], rpath="/opt/x"))
    machine.write("/bin/runpath", build(["liba.so"], runpath="/opt/x"))
    machine.write("/opt/x/liba.so", build(["libb.so"]))
    machine.write("/opt/x/libb.so", build())
    assert paths(machine, "/bin/rpath") == ["/opt/x/liba.so", "/opt/x/libb.so"]
    with pytest.raises(KdumpError) as error:
        paths(machine, "/bin/runpath")
    assert "/opt/x/liba.so needs the library libb.so" in str(error.value)


def test_every_missing_library_is_named(machine):
    machine.write("/bin/p", build(["liba.so", "libb.so"]))
    with pytest.raises(KdumpError) as error:
        paths(machine, "/bin/p")
    assert [problem.value for problem in error.value.problems] == ["liba.so", "libb.so"]


def test_a_program_of_another_architecture_names_the_dynamic_linker_that_is_missing(machine):
    machine.write("/bin/p", build([], "/lib/ld-linux-aarch64.so.1"))
    with pytest.raises(KdumpError) as error:
        paths(machine, "/bin/p")
    assert [problem.value for problem in error.value.problems] == ["/lib/ld-linux-aarch64.so.1"]


def test_a_cycle_of_libraries_ends(machine):
    machine.write("/bin/p", build(["liba.so"]))
    machine.write("/usr/lib/liba.so", build(["libb.so"]))
    machine.write("/usr/lib/libb.so", build(["liba.so"]))
    assert paths(machine, "/bin/p") == ["/usr/lib/liba.so", "/usr/lib/libb.so"]


def test_a_broken_library_is_named(machine):
    machine.write("/bin/p", build(["liba.so"]))
    machine.write("/usr/lib/liba.so", build()[:70])
    with pytest.raises(KdumpError) as error:
        paths(machine, "/bin/p")
    assert "/usr/lib/liba.so cannot go into the capture image" in str(error.value)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="compares with glibc's own dynamic linker")
@pytest.mark.parametrize("program", ["/bin/ls", "/bin/sh", "/bin/mount"])
def test_the_same_libraries_as_the_dynamic_linker_itself_loads(program):
    real = os.path.realpath(program)
    with open(real, "rb") as file:
        interpreter = elf.parse(file.read()).interpreter
    listing = subprocess.run([interpreter, "--list", real], stdout=subprocess.PIPE, check=True).stdout.decode()
    loaded = {os.path.realpath(path) for path in re.findall(r"=> (/\S+)", listing)}
    found = {os.path.realpath(library.path) for library in elf.Linker(Host()).libraries(real)}
    assert found == loaded | {os.path.realpath(interpreter)}
