# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The system calls themselves: no kernel is loaded here, only their arguments are watched."""

import ctypes
import errno
import os

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils._host import syscalls
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel

BITS = ctypes.sizeof(ctypes.c_void_p) * 8


@pytest.mark.parametrize(
    "machine, load, file_load",
    [
        ("x86_64", 246, 320),
        ("i686", 283, None),
        ("ppc64", 268, 382),
        ("ppc64le", 268, 382),
        ("s390x", 277, 381),
        ("aarch64", 104, 294),
        ("riscv64", 104, 294),
        ("loongarch64", 104, 294),
        ("armv7l", 347, None),
    ],
)
def test_numbers(machine, load, file_load):
    assert syscalls.NUMBERS[machine][1:] == (load, file_load)


@pytest.mark.parametrize(
    "machine, bits, words",
    [
        ("x86_64", 64, ""),
        ("x86_64", 32, "32-bit program"),  # an i386 Python on an amd64 kernel
        ("i686", 64, "64-bit program"),  # personality(2) PER_LINUX32
        ("armv8l", 32, "armv8l"),  # a 32-bit Python on an arm64 kernel
        ("m68k", 32, "m68k"),
    ],
)
def test_a_process_that_cannot_make_the_calls_is_told_why(machine, bits, words):
    why = syscalls.refusal(machine, bits)
    assert words in why and bool(why) == bool(words)


def test_the_segment_is_laid_out_as_the_kernel_declares_it():
    assert ctypes.sizeof(syscalls.Segment) == 4 * BITS // 8


class Calls:
    """Stands in for syscall(2): keeps the arguments, answers as told."""

    def __init__(self, *answers):
        self.calls = []
        self.answers = list(answers)

    def __call__(self, *arguments):
        self.calls.append(arguments)
        number = self.answers.pop(0) if self.answers else 0
        ctypes.set_errno(number)
        return -1 if number else 0


@pytest.fixture
def host(tmp_path):
    return Host(str(tmp_path), kernel=Kernel("6.12", "x86_64"))


def test_loading_gives_the_files_and_the_length_with_the_nul(host, monkeypatch):
    calls = Calls()
    monkeypatch.setattr(syscalls, "_file_load", calls)
    host.write("/boot/vmlinuz", b"kernel")
    host.write("/image", b"initrd")
    host.kexec_file_load("/boot/vmlinuz", "/image", "a b", crash=True)
    host.kexec_file_load("/boot/vmlinuz", "", "a b", crash=False)
    (number, kernel, initrd, length, cmdline, flags), second = calls.calls
    assert (number, length, cmdline, flags) == (320, 4, b"a b", 2)
    assert kernel > 2 and initrd > 2 and kernel != initrd
    assert second[2] == -1 and second[5] == 4


def test_a_missing_file_never_reaches_the_kernel(host, monkeypatch):
    calls = Calls()
    monkeypatch.setattr(syscalls, "_file_load", calls)
    with pytest.raises(OSError) as caught:
        host.kexec_file_load("/none", "", "", crash=True)
    assert caught.value.errno == errno.ENOENT and not calls.calls


def test_the_kernels_errno_is_kept(host, monkeypatch):
    monkeypatch.setattr(syscalls, "_file_load", Calls(errno.ENOEXEC))
    host.write("/boot/vmlinuz", b"")
    with pytest.raises(OSError) as caught:
        host.kexec_file_load("/boot/vmlinuz", "", "", crash=True)
    assert caught.value.errno == errno.ENOEXEC and os.strerror(errno.ENOEXEC) in str(caught.value)


@pytest.mark.parametrize(
    "answers, file_calls, load_calls, raised",
    [
        ((0,), 1, 0, None),
        ((errno.ENOSYS,), 1, 1, None),
        ((errno.EPERM,), 1, 0, errno.EPERM),
    ],
    ids=["kexec_file_load", "an older kernel", "not permitted"],
)
def test_unloading(host, monkeypatch, answers, file_calls, load_calls, raised):
    file_load, load = Calls(*answers), Calls()
    monkeypatch.setattr(syscalls, "_file_load", file_load)
    monkeypatch.setattr(syscalls, "_load", load)
    try:
        host.kexec_unload(crash=True)
    except OSError as error:
        assert error.errno == raised
    assert len(file_load.calls) == file_calls and file_load.calls[0][5] == 3
    assert len(load.calls) == load_calls and all(call[2:] == (0, None, 1) for call in load.calls)
