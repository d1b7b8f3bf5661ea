# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration and the image with which kdumpctl last loaded, kept to go back to. Private to this collection.

A failing `kdumpctl restart` has unloaded what worked before it looks at its configuration, and a rebuild has replaced the
image that worked (kdump-utils 1.0.61, main()). Both configuration files stand in one, as JSON, so that a killed run leaves
one pair or the other and never a mixture. An image is kept from before it is built anew until the new one is loaded.
"""

import json
from typing import Any, Dict, List, Optional

from .. import kexec_state, layout
from ..image import store
from ..plan import Plan, Step
from ..problems import KdumpError
from . import kdumpctl_image, kdumpctl_unit

FILES = (layout.CONF, layout.SYSCONFIG)
FOLDER = layout.STATE_DIR + "/kdumpctl/good"
KEPT = FOLDER + "/files"
_MANIFEST = ".json"
UNPROTECTED = "No capture kernel is loaded now: a crash would leave no vmcore."

Texts = Dict[str, Optional[str]]  # by path; None for a file that is not there


def first(host: Any) -> Texts:
    """The files as they were before this collection first wrote one; {} where it has not, or that is not known."""
    return _kept(host, "first")


def last(host: Any) -> Texts:
    """The files with which kdumpctl last loaded something; {} where that is not known."""
    return _kept(host, "last")


def keep(host: Any) -> None:
    """Remember the files as they are: they have just proved themselves, and so has the image."""
    _write(host, first(host), _now(host))
    for name in host.listdir(FOLDER):
        if FOLDER + "/" + name != KEPT:
            host.remove(FOLDER + "/" + name)


def keep_image(host: Any, image: Optional[store.Manifest]) -> None:
    """Keep the image that is loaded before another one is built in its place, where there is room for it."""
    if image is None or not kexec_state.is_loaded(host) or host.exists(_copy_of(image.path)):
        return
    host.make_directories(FOLDER, 0o700)
    if host.free_bytes(FOLDER) > 2 * image.bytes:
        host.write(_copy_of(image.path) + _MANIFEST, kdumpctl_image.as_json(image), 0o600)
        host.write(_copy_of(image.path), host.read(image.path), 0o600)


def put_back(host: Any) -> List[str]:
    """The files, and the image, made what they were when they last worked; the paths of those that were changed. OSError."""
    changed = []
    for path, text in sorted(last(host).items()):
        if path not in FILES or _text(host, path) == text:
            continue
        if text is None:
            host.remove(path)
        else:
            host.write(path, text.encode("utf-8", "surrogateescape"))
        changed.append(path)
    return changed + _put_image_back(host)


def _put_image_back(host: Any) -> List[str]:
    """After the files, so that it is newer than they are: kdumpctl then takes it as it is.

    What it was made of is put back too: by its time alone it would be taken for one of today's inputs.
    """
    try:
        path = kdumpctl_image.place_of(host)
    except KdumpError:
        return []
    copy = _copy_of(path)
    manifest = kdumpctl_image.from_json(host.read_text(copy + _MANIFEST, ""))
    if manifest is None or manifest.path != path or not host.is_file(copy):
        return []
    kdumpctl_image.record(host, manifest)
    host.write(path, host.read(copy), 0o600)
    return [path]


def _copy_of(path: str) -> str:
    return FOLDER + "/" + path.rpartition("/")[2]


def before_write(host: Any, path: str, plan: Plan) -> Plan:
    """The plan of a module that writes one of the files, with a step in front that keeps what they hold until then.

    On a host that the vendor's configuration, or an administrator's, has armed, that is what to go back to.
    """
    if path not in FILES or not plan.changed or not kdumpctl_unit.is_installed(host):
        return plan
    now = _now(host)
    kept = now if _are_in_use(host) else last(host)
    if first(host) and kept == last(host):
        return plan
    return Plan(
        [Step("keep what kdumpctl goes by", lambda target: _write(target, first(target) or now, kept))] + plan.steps
    )


def _are_in_use(host: Any) -> bool:
    """Whether kdump.service has loaded with the files as they are: none has changed since."""
    since = kdumpctl_unit.state(host).since
    found = [host.stat(path) for path in FILES]
    return (
        kexec_state.is_loaded(host) and since is not None and all(one is None or one.st_ctime < since for one in found)
    )


def _now(host: Any) -> Texts:
    return {path: _text(host, path) for path in FILES}


def _text(host: Any, path: str) -> Optional[str]:
    return host.read_text(path) if host.exists(path) else None


def _kept(host: Any, name: str) -> Texts:
    try:
        found = json.loads(host.read_text(KEPT, "{}")).get(name, {})
    except (ValueError, AttributeError):
        return {}
    whole = isinstance(found, dict) and all(text is None or isinstance(text, str) for text in found.values())
    return found if whole else {}


def _write(host: Any, first_texts: Texts, last_texts: Texts) -> None:
    host.make_directories(KEPT.rpartition("/")[0], 0o700)
    text = json.dumps({"first": first_texts, "last": last_texts}, indent=1, sort_keys=True) + "\n"
    host.write(KEPT, text.encode(), 0o600)
