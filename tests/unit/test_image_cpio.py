# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import os
import shutil
import stat
import subprocess

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.image import cpio

CPIO = [shutil.which("cpio")] if shutil.which("cpio") else [shutil.which("busybox"), "cpio"]
needs_cpio = pytest.mark.skipif(CPIO[0] is None, reason="neither cpio nor busybox is installed")

ENTRIES = [
    cpio.regular("init", b"#!/bin/sh\n", 0o755),
    cpio.regular("etc/a b\nc", b"odd"),
    cpio.regular("empty", b""),
    cpio.directory("tmp", 0o700),
    cpio.symlink("bin", "usr/bin"),
]


def unpacked(data, folder):
    subprocess.run(CPIO + ["-idm"], input=data, cwd=str(folder), check=True, stderr=subprocess.DEVNULL)
    return folder


@needs_cpio
def test_the_cpio_program_reads_back_what_was_written(tmp_path):
    folder = unpacked(cpio.archive(ENTRIES), tmp_path)
    assert (folder / "init").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((folder / "init").stat().st_mode) == 0o755
    assert (folder / "etc" / "a b\nc").read_bytes() == b"odd"
    assert (folder / "empty").read_bytes() == b""
    assert stat.S_IMODE((folder / "tmp").stat().st_mode) == 0o700
    assert os.readlink(str(folder / "bin")) == "usr/bin"
    assert (folder / "init").stat().st_mtime == 0


@needs_cpio
def test_random_archives_come_back_from_the_cpio_program(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    strategies = hypothesis.strategies
    names = strategies.text(strategies.sampled_from("ab .é\u20ac"), min_size=1, max_size=9).map(lambda text: "f" + text)
    count = [0]

    @hypothesis.settings(max_examples=40, deadline=None)
    @hypothesis.given(strategies.dictionaries(names, strategies.binary(max_size=70), max_size=6))
    def check(files):
        count[0] += 1
        folder = tmp_path / str(count[0])
        folder.mkdir()
        unpacked(cpio.archive([cpio.regular("d/" + name, data) for name, data in files.items()]), folder)
        found = {path.name: path.read_bytes() for path in (folder / "d").iterdir()} if files else {}
        assert found == files

    check()


@needs_cpio
def test_device_nodes_have_their_numbers(tmp_path):
    data = cpio.archive([cpio.character_device("dev/console", 5, 1), cpio.character_device("dev/kmsg", 1, 11)])
    listing = subprocess.run(
        CPIO + ["-itv"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    ).stdout.decode()
    console = [line for line in listing.split("\n") if line.endswith("dev/console")][0]
    assert console.startswith("crw-------")
    if "busybox" not in CPIO[0]:
        assert "5,   1" in console


def test_the_order_of_entries_does_not_matter():
    assert cpio.archive(ENTRIES) == cpio.archive(reversed(ENTRIES))


def test_directories_come_before_what_is_in_them_and_are_made_where_missing():
    data = cpio.archive([cpio.regular("a/b/c", b""), cpio.regular("a.d", b"")])
    names = [name for name in (b"a\0", b"a/b\0", b"a/b/c\0", b"a.d\0", b"TRAILER!!!\0") if name in data]
    assert len(names) == 5
    assert data.index(b"a\0") < data.index(b"a/b\0") < data.index(b"a/b/c\0")


def test_of_two_entries_with_one_name_the_last_counts():
    data = cpio.archive([cpio.regular("x", b"first"), cpio.regular("x", b"second")])
    assert b"second" in data and b"first" not in data
