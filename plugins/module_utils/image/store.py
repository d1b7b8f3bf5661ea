# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The capture images on a managed node, each with its manifest. Private to this collection.

An image is named by the digest of its inputs and written before its manifest: what has a manifest was whole once, and
its sha256 tells whether it still is. A symbolic link named like the release says which of its images is in use.
"""

import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..layout import IMAGE_DIR, STATE_DIR
from .contents import sha256_of

FORMAT = 1
_MAX_MANIFEST = 4 << 20
FORMER = STATE_DIR + "/former-images.json"  # the digests of images that were removed, the newest first
_FORMER_MOST = 20
_DIGEST = re.compile("[0-9a-f]{16}")


class Manifest(NamedTuple):
    """What an image was built from. `digest` is over the inputs, `sha256` over the image's bytes, `path` is the image's."""

    release: str
    kernel: str
    kernel_sha256: str
    digest: str
    sha256: str
    bytes: int
    seconds: float
    target: Dict[str, Any]
    inputs: List[Dict[str, str]]
    path: str
    unpacked: int = 0  # bytes that the image takes in the capture kernel; 0 unknown
    warnings: List[str] = []  # what a crash may lack all the same, as it was when the image was built


def _read_manifest(host: Any, path: str) -> Any:
    """What the file beside an image holds; OSError or ValueError."""
    return json.loads(host.read(_manifest_path(path), _MAX_MANIFEST).decode())


class Remembering:
    """The host, whose resolver answers as it did for the newest image while it knows nothing of a name.

    An image holds numbers: where no name server can be asked, all else that it is made of is still to be compared.
    """

    def __init__(self, host: Any) -> None:
        self._host = host
        self.addresses: Dict[str, List[str]] = {}  # of each name that was asked for

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def resolve(self, name: str) -> List[str]:
        if name not in self.addresses:
            self.addresses[name] = self._host.resolve(name) or _addresses(self._host, name)
        return self.addresses[name]


def _addresses(host: Any, name: str) -> List[str]:
    """Those of a server's name in the newest image that has any."""
    for path in sorted(images(host), key=lambda path: _written_at(host, path), reverse=True):
        try:
            return [str(address) for address in _read_manifest(host, path)["target"]["addresses"][name]]
        except (OSError, ValueError, TypeError, KeyError):
            pass
    return []


def image_path(release: str, digest: str) -> str:
    return "%s/%s-%s.img" % (IMAGE_DIR, release, digest[:16])


def save(host: Any, manifest: Manifest, data: bytes) -> None:
    """Write the image, then its manifest, then take it into use: a killed run leaves what nothing refers to."""
    host.make_directories(IMAGE_DIR, 0o700)
    host.write(manifest.path, data, 0o600)
    values = dict(manifest._asdict(), format=FORMAT)
    del values["path"]
    host.write(_manifest_path(manifest.path), json.dumps(values, sort_keys=True, indent=1).encode() + b"\n", 0o600)
    select(host, manifest.release, manifest.path)


def select(host: Any, release: str, path: str) -> None:
    """Take an image into use for a release."""
    host.symlink(path.rsplit("/", 1)[-1], IMAGE_DIR + "/" + release)


def selected(host: Any, release: str) -> str:
    """The path of the image in use for a release, "" for none."""
    name = host.readlink(IMAGE_DIR + "/" + release)
    return IMAGE_DIR + "/" + name if name and is_of(name, release) else ""


def load(host: Any, path: str) -> Optional[Manifest]:
    """The manifest of an image, if the image's bytes are those that it speaks of."""
    try:
        values = _read_manifest(host, path)
        if values.pop("format") != FORMAT:
            return None
        manifest = Manifest(path=path, **values)
        whole = sha256_of(host, path) == manifest.sha256
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return manifest if whole else None


def current(host: Any, release: str) -> Optional[Manifest]:
    """The image in use for a kernel release, or the newest whole one if that is broken; None without any."""
    return next(whole(host, release), None)


def whole(host: Any, release: str) -> Iterator[Manifest]:
    """The whole images of a kernel release: the one in use, then the others, the newest first."""
    paths = [path for path in images(host) if is_of(path, release)]
    paths = sorted(paths, key=lambda path: _written_at(host, path), reverse=True)
    in_use = selected(host, release)
    for path in ([in_use] if in_use else []) + [path for path in paths if path != in_use]:
        manifest = load(host, path)
        if manifest is not None and manifest.release == release:
            yield manifest


def images(host: Any) -> List[str]:
    """The paths of all images, whole or not."""
    return [IMAGE_DIR + "/" + name for name in host.listdir(IMAGE_DIR) if name.endswith(".img")]


def prune(host: Any, keep: List[str]) -> None:
    """Remove every image, and every left-over of a killed run, but for the images with these paths."""
    kept = set(keep) | {_manifest_path(path) for path in keep}
    gone = [path for path in images(host) if path not in kept]
    former = _former(host)
    for name in host.listdir(IMAGE_DIR):
        path = IMAGE_DIR + "/" + name
        if path not in kept and selected(host, name) not in kept:
            host.remove(path)
    if gone:  # afterwards, when there is room on a disk that was full
        text = json.dumps(list(dict.fromkeys(_digests_of(gone) + former))[:_FORMER_MOST])
        host.write(FORMER, text.encode() + b"\n", 0o600)


def digests(host: Any) -> List[str]:
    """The first 16 digits of the digests of all images, and of the last ones that were removed.

    A dump tells which image wrote it, and that may be gone before anybody has looked: a host that comes back from the crash
    with another address builds a new one.
    """
    return _digests_of(images(host)) + _former(host)


def _former(host: Any) -> List[str]:
    """What prune() has written down; nothing for anything else."""
    try:
        found = json.loads(host.read(FORMER, 1 << 16).decode())
    except (OSError, ValueError, RecursionError):
        return []
    words = found if isinstance(found, list) else []
    return [word for word in words if isinstance(word, str) and _DIGEST.fullmatch(word)][:_FORMER_MOST]


def _digests_of(paths: List[str]) -> List[str]:
    """As image_path() names them."""
    words = [path[: -len(".img")].rpartition("-")[2] for path in paths]
    return [word for word in words if _DIGEST.fullmatch(word)]


def is_of(path: str, release: str) -> bool:
    """Whether an image is one of a release."""
    return re.fullmatch(re.escape(release) + r"-[0-9a-f]{16}\.img", path.rsplit("/", 1)[-1]) is not None


def _written_at(host: Any, path: str) -> int:
    found = host.stat(_manifest_path(path))
    return found.st_mtime_ns if found is not None else 0


def _manifest_path(path: str) -> str:
    return path[: -len(".img")] + ".json"
