# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests from cloud images: what is refused, and what cloud-init is given."""

import json
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

if sys.version_info < (3, 10):
    pytest.skip("the lab runs on a controller's Python, 3.10 or newer", allow_module_level=True)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from lab import cloud, common, guest, image

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vmcore.kdump"


@pytest.fixture
def disk(tmp_path):
    """A raw disk image with a boot sector's signature and nothing else."""
    path = tmp_path / "cloud.raw"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    return path


def test_a_source_is_another_one_when_its_file_has_changed(disk):
    before = cloud.identity(str(disk))
    assert cloud.identity(str(disk)) == before
    disk.write_bytes(disk.read_bytes() + bytes(512))
    assert cloud.identity(str(disk)) != before
    assert cloud.identity("https://example.invalid/a.qcow2") != cloud.identity("https://example.invalid/b.qcow2")


@pytest.mark.parametrize("source", ["/no/such/image.qcow2", "ftp://example.invalid/image.qcow2", "/"])
def test_a_source_that_is_neither_a_file_nor_a_url(source):
    with pytest.raises(common.LabError, match="neither a file nor a URL"):
        cloud.get(source)


@needs_qemu
@pytest.mark.parametrize(
    "content, error",
    [
        pytest.param(b"\xfd7zXZ\0" + bytes(2000), "unpack it first", id="compressed"),
        pytest.param(b"<html>404</html>" * 100, "no disk image", id="a page"),
        pytest.param(b"", "no disk image", id="nothing"),
    ],
)
def test_a_file_that_is_no_disk_is_refused_and_leaves_nothing(tmp_path, cache, content, error):
    path = tmp_path / "image.qcow2"
    path.write_bytes(content)
    with pytest.raises(common.LabError, match=error):
        cloud.get(str(path))
    assert list((cache / "images").iterdir()) == []


@needs_qemu
def test_an_image_that_would_read_another_file_is_refused(tmp_path, disk):
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay], check=True)
    with pytest.raises(common.LabError, match="only the difference to"):
        cloud.check(overlay, "overlay")


@needs_qemu
@pytest.mark.skipif(shutil.which("xorriso") is None, reason="xorriso is not installed")
def test_an_image_comes_with_its_seed_and_is_made_once(disk, tmp_path):
    made = cloud.get(str(disk))
    assert cloud.get(str(disk)) == made
    assert made.seed.stat().st_mode & 0o777 == 0o600, "it holds a private key"
    for name in ("user-data", "meta-data"):
        # stdio: what lies in /dev, as these tests' files may, would be a drive.
        extract = ["xorriso", "-osirrox", "on", "-indev", f"stdio:{made.seed}", "-extract", f"/{name}", tmp_path / name]
        subprocess.run(extract, check=True, capture_output=True)
    label = subprocess.run(
        ["blkid", "-o", "value", "-s", "LABEL", made.seed], check=True, capture_output=True, text=True
    )
    assert label.stdout.strip() == "CIDATA"
    first_line, settings = (tmp_path / "user-data").read_text().split("\n", 1)
    assert first_line == "#cloud-config"
    settings = json.loads(settings)
    assert settings["ssh_authorized_keys"] == [image.private_key().with_suffix(".pub").read_text().strip()]
    assert made.known_hosts.read_text() == f"{image.HOST_ALIAS} {settings['ssh_keys']['ed25519_public']}\n"
    assert json.loads((tmp_path / "meta-data").read_text())["instance-id"] == made.directory.name


def test_a_guest_made_from_one_gets_the_seed_as_a_read_only_disk(cache):
    directory = cache / "images" / "cloud-1"
    directory.mkdir(parents=True)
    (directory / "seed.iso").write_bytes(b"")
    one = guest.Guest("g1", cloud.SUITE, str(directory), "tcg", 2560, 2, ["1G"], 2222)
    domain = xml.etree.ElementTree.fromstring(guest.domain_xml(one))
    assert [disk.find("target").get("dev") for disk in domain.iter("disk")] == ["vda", "vdb", "vdz"]
    assert [disk.find("readonly") is not None for disk in domain.iter("disk")] == [False, False, True]
    host = json.loads(guest.inventory([one]))["all"]["hosts"]["g1"]
    assert host["ansible_python_interpreter"] == "auto_silent"
