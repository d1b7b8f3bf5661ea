# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guests' disk image: Debian's packages, its own partition table and GRUB, built once and cached."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from typing import NamedTuple

from . import recipe
from .accel import accelerator
from .common import LabError, cache_dir, locked, run, say, stage

SUITES = ("trixie", "bookworm", "sid")
DISK_BYTES = 6 << 30
PARTITION_START = 1 << 20  # the gap before it holds GRUB's core image
FINISH_SECONDS = 300
HOST_ALIAS = "vmcore-kdump-lab"


class Image(NamedTuple):
    """A finished image: a directory that is complete because it was renamed into place."""

    directory: pathlib.Path

    @property
    def disk(self) -> pathlib.Path:
        return self.directory / "disk.qcow2"

    @property
    def kernel(self) -> pathlib.Path:
        return self.directory / "vmlinuz"

    @property
    def known_hosts(self) -> pathlib.Path:
        return self.directory / "known_hosts"

    @property
    def seed(self) -> pathlib.Path:
        """The disk that sets up a cloud image at its first boot; only such images have one."""
        return self.directory / "seed.iso"


def private_key() -> pathlib.Path:
    """root's key for every guest of this cache, made at its first use."""
    path = cache_dir() / "id_ed25519"
    with locked("key", "the lab's key to be made"):
        if not path.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", HOST_ALIAS, "-f", path)
    return path


def name_of(suite: str, recipe_text: str, public_key: str) -> str:
    """An image's name: its suite and a hash of all that it is made of and that this project decides."""
    parts = (suite, recipe_text, public_key, str(DISK_BYTES), str(PARTITION_START))
    return f"{suite}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def get(suite: str, refresh: bool = False) -> Image:
    """The image of a suite, built when there is none yet; `refresh` builds it again with today's packages."""
    if suite not in SUITES:
        raise LabError(f"There is no guest image for {suite!r}: choose one of {', '.join(SUITES)}.")
    public_key = private_key().with_suffix(".pub").read_text(encoding="ascii").strip()
    recipe_text = pathlib.Path(recipe.__file__).read_text(encoding="utf-8")
    image = Image(cache_dir() / "images" / name_of(suite, recipe_text, public_key))
    image.directory.parent.mkdir(exist_ok=True)
    with locked(f"image-{suite}", f"another process that builds the {suite} image"):
        if refresh and image.directory.exists():
            if str(image.directory) in used():
                raise LabError("A guest is made from this image: `python3 -m lab down` it first.")
            shutil.rmtree(image.directory)
        if not image.directory.exists():
            build(image, suite, public_key)
            remove_old(suite, keep=image)
    return image


def used() -> set:
    """The image directories that guests are made from."""
    states = (cache_dir() / "guests").glob("*/guest.json")
    return {json.loads(path.read_text(encoding="utf-8"))["image"] for path in states}


def remove_old(suite: str, keep: Image) -> None:
    for old in keep.directory.parent.glob(f"{suite}-*"):
        if old != keep.directory and str(old) not in used():
            say(f"removes the old image {old.name}")
            shutil.rmtree(old)


def build(image: Image, suite: str, public_key: str) -> None:
    """Builds in a directory beside the final one and renames it when everything in it is whole."""
    started = time.monotonic()
    for leftover in image.directory.parent.glob(f".building-{suite}-*"):
        shutil.rmtree(leftover)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".building-{suite}-", dir=image.directory.parent))
    try:
        tree, raw = work / "tree", work / "disk.raw"
        with stage(f"installs Debian {suite} from packages"):
            install(tree, suite, public_key)
        result = Image(work / "result")
        result.directory.mkdir()
        kernel = next((tree / "boot").glob("vmlinuz-*"))
        initrd = next((tree / "boot").glob("initrd.img-*"))
        shutil.copy(kernel, result.kernel)
        host_key = (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii").split()
        result.known_hosts.write_text(f"{HOST_ALIAS} {host_key[0]} {host_key[1]}\n", encoding="ascii")
        with stage("writes the partition table and the root file system"):
            root_uuid = write_disk(raw, tree)
        accel = accelerator(result.kernel)
        with stage("boots it once to install GRUB"):
            finish(raw, kernel, initrd, root_uuid, accel)
        with stage("packs the disk image"):
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, result.disk)
        result.directory.rename(image.directory)
    finally:
        shutil.rmtree(work)
    size = image.disk.stat().st_size
    say(f"image {image.directory.name}: {size} bytes, built in {time.monotonic() - started:.0f} s")


def install(tree: pathlib.Path, suite: str, public_key: str) -> None:
    # A mount namespace of its own: what mmdebstrap mounts in the tree is gone with it, however it ends.
    argv = ["unshare", "--mount", "mmdebstrap", "--variant=apt", "--mode=root", f"--include={recipe.INCLUDE}"]
    # A mirror that lags behind is good enough for a guest; its signatures are checked all the same.
    argv += ['--aptopt=Acquire::Check-Valid-Until "false"']
    hook = f'{sys.executable} {recipe.__file__} "$1" "{public_key}"'
    run(*argv, f"--customize-hook={hook}", "--skip=cleanup/apt/lists", suite, tree)
    run("chroot", tree, "apt-get", "--quiet", "update")


def write_disk(raw: pathlib.Path, tree: pathlib.Path) -> str:
    """Partitions a sparse file and copies the tree into an ext4 file system on it; returns that one's UUID."""
    root_uuid = str(uuid.uuid4())
    with open(raw, "wb") as file:
        file.truncate(DISK_BYTES)
    table = f"label: dos\nstart={PARTITION_START // 512}, type=83, bootable\n"
    subprocess.run(["sfdisk", "--quiet", str(raw)], input=table, check=True, text=True)
    (tree / "etc/fstab").write_text(f"UUID={root_uuid} / ext4 defaults 0 1\n", encoding="ascii")
    kilobytes = (DISK_BYTES - PARTITION_START) // 1024
    # Without these two features GRUB and e2fsprogs of every suite can read it.
    options = ["-q", "-F", "-U", root_uuid, "-L", "root", "-O", "^orphan_file,^metadata_csum_seed"]
    run("mkfs.ext4", *options, "-E", f"offset={PARTITION_START}", "-d", tree, raw, f"{kilobytes}k")
    return root_uuid


def finish(raw: pathlib.Path, kernel: pathlib.Path, initrd: pathlib.Path, root_uuid: str, accel: str) -> None:
    """Boots the disk with its own kernel, given from outside, into the recipe's FINISH."""
    argv = ["qemu-system-x86_64", "-accel", accel, "-cpu", "max", "-m", "1024", "-nodefaults", "-display", "none"]
    argv += ["-serial", "stdio", "-no-reboot", "-drive", f"file={raw},format=raw,if=virtio,cache=unsafe"]
    argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-append"]
    argv += [f"root=UUID={root_uuid} ro console=ttyS0 panic=-1 init=/usr/local/sbin/lab-finish"]
    for _attempt in range(3):  # emulated with several threads, a kernel panics early once in a while
        try:
            output = run(*argv, timeout=FINISH_SECONDS).stdout
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode(errors="replace")
        if "LAB-IMAGE-FINISHED" in output:
            return
    raise LabError(f"The new image did not install GRUB in its first boot. The end of its console:\n{output[-4000:]}")
