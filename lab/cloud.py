# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests from a distribution's own cloud image: a disk with cloud-init on it, from a path or a URL.

The image gets a second, read-only disk, cloud-init's NoCloud seed, which brings what the lab needs and nothing else:
the lab's key for root, and a host key made here, so that ssh can pin it.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from . import image
from .common import LabError, cache_dir, locked, run, say, stage

SUITE = "cloud"  # what `list` shows in the place of a Debian suite


def get(source: str) -> image.Image:
    """The image made from a source, kept until the file is another one; a URL is fetched once."""
    public_key = image.private_key().with_suffix(".pub").read_text(encoding="ascii").strip()
    name = f"{SUITE}-{hashlib.sha256(json.dumps([identity(source), public_key]).encode()).hexdigest()[:16]}"
    made = image.Image(cache_dir() / "images" / name)
    made.directory.parent.mkdir(exist_ok=True)
    with locked(name, f"another process that makes {name}"):
        if not made.directory.exists():
            build(made, source, public_key)
    return made


def is_url(source: str) -> bool:
    return source.startswith(("https://", "http://"))


def identity(source: str) -> list:
    """What tells one source from another without reading it."""
    if is_url(source):
        return [source]
    path = pathlib.Path(source).expanduser()
    if not path.is_file():
        raise LabError(f"{source} is neither a file nor a URL: give a cloud image's path or https://… address.")
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def build(made: image.Image, source: str, public_key: str) -> None:
    """Builds in a directory beside the final one and renames it when everything in it is whole."""
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".building-{SUITE}-", dir=made.directory.parent))
    try:
        result = image.Image(work / "result")
        result.directory.mkdir()
        disk = download(source, work / "download") if is_url(source) else pathlib.Path(source).expanduser()
        check(disk, source)
        with stage("copies the disk image"):
            run("qemu-img", "convert", "-O", "qcow2", disk, result.disk)
        write_seed(result, work / "seed", made.directory.name, public_key)
        result.directory.rename(made.directory)
    finally:
        shutil.rmtree(work)
    say(f"image {made.directory.name} is made from {source}")


def download(url: str, target: pathlib.Path) -> pathlib.Path:
    with stage(f"fetches {url}"):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, open(target, "wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        except (OSError, urllib.error.URLError) as error:
            raise LabError(f"{url} could not be fetched: {error}") from None
    return target


def check(disk: pathlib.Path, source: str) -> None:
    """Refuses what is no disk that boots by itself: qemu-img takes any file for a raw disk."""
    info = json.loads(run("qemu-img", "info", "--output=json", disk).stdout)
    if info["format"] == "raw" and disk.open("rb").read(512)[510:] != b"\x55\xaa":
        raise LabError(f"{source} is no disk image: unpack it first if it is compressed.")
    if "backing-filename" in info:
        raise LabError(f"{source} is only the difference to {info['backing-filename']}: `qemu-img convert` it first.")


def write_seed(made: image.Image, directory: pathlib.Path, instance: str, public_key: str) -> None:
    """The seed disk (an ISO 9660 image named CIDATA, which cloud-init looks for) and the host key that it brings."""
    directory.mkdir()
    host_key = directory.parent / "host_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", image.HOST_ALIAS, "-f", host_key)
    public_host_key = host_key.with_suffix(".pub").read_text(encoding="ascii").strip()
    made.known_hosts.write_text(f"{image.HOST_ALIAS} {public_host_key}\n", encoding="ascii")
    private_host_key = host_key.read_text(encoding="ascii")
    for name, text in {
        "user-data": user_data(public_key, private_host_key, public_host_key),
        "meta-data": json.dumps({"instance-id": instance, "local-hostname": "guest"}) + "\n",
    }.items():
        (directory / name).write_text(text, encoding="ascii")
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "CIDATA", "-J", "-R", "-o", made.seed, directory)
    made.seed.chmod(0o600)


def user_data(public_key: str, private_host_key: str, public_host_key: str) -> str:
    """cloud-init's settings (JSON is YAML): root logs in by the lab's key, at a host that has the lab's host key."""
    settings = {
        "disable_root": False,
        "ssh_authorized_keys": [public_key],
        "ssh_keys": {"ed25519_private": private_host_key, "ed25519_public": public_host_key},
    }
    return "#cloud-config\n" + json.dumps(settings, indent=1) + "\n"


def wait(ssh_argv: list) -> None:
    """Waits until cloud-init has done all else that an image has it do at its first boot, such as growing the disk."""
    subprocess.run([*ssh_argv, "cloud-init status --wait"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
