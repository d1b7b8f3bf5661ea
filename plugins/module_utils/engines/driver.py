# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an engine's driver is: the contract of the modules beside this one. Private to this collection.

An engine is what captures a crash: `native` (this collection's own image), `kdumpctl` (kdump-utils), `kdump_tools`
(Debian). A driver is a module of functions that are given the Host and keep nothing between calls. Each raises KdumpError
with everything that is wrong at once; none touches anything before its plan is applied. A host on which the engine is not
installed is no error for is_enabled(), loaded(), image(), disarm() and unblock(): False, None, None, [], [].

NAME, UNIT      "kdumpctl", "kdump.service", for sentences
CONF            the kdump.conf that it goes by (layout.CONF), "" for an engine that reads none
SETTINGS        the file of shell assignments that it goes by

configuration(host) -> Configuration
    What it goes by, read from the host. Never raises: what could not be read is in its problems.
release(host, configuration) -> str
    The release of the kernel that captures.
wanted_digest(host, release, configuration) -> str
    Hex SHA-256 over today's inputs of the capture image. Builds nothing, takes no lock, and wants no reservation. Raises
    all that stands in the way of a capture; problems.Missing where that is only that programs are not installed yet.
image(host, release) -> Optional[store.Manifest]
    The image on disk and what it was made of; digest "" where nobody knows (the engine's own tools built it).
loaded(host) -> Optional[kexec_state.Loaded]
    What is loaded, if this engine loaded it. `digest` is that of the image that was loaded, "" where it is not known.
    layout.LOADED tells of the last load by this collection, whichever engine made it: `method` is the engine's NAME there,
    but for native. A driver that loads removes the file first and writes it afterwards (kexec_state.write_state). An
    engine that has also loaded by itself (at boot) is the one where the file is not there, its unit is active and sysfs
    says that something is loaded.
difference(host, configuration) -> Optional[Difference]
    What loading today would change; None for nothing, also where what is loaded cannot be replaced before the next boot.
    Raises why it could not be loaded then either, where nothing is loaded also why not now; problems.Missing where that is
    only that the image is still to be built. What is too large for the reservation has the option crashkernel. Asked only
    where memory is reserved.
is_enabled(host) -> bool
    This engine arms the host at its next boot.
boot_problems(host) -> List[Problem]
    Why the next boot would arm nothing all the same, as far as the files are ours.
boot_warnings(host) -> List[Problem]
    What else is amiss with what it does at boot.
boot_plan(host, state, **how) -> Plan
    present: installed where it is ours to install, enabled, and what disarm() put in its way removed; disabled, absent: not
    started at boot, and what it has loaded unloaded. The other engines and this collection's state in /var/lib are
    engine.boot_plan()'s. `how` is for native.
disarm(host) -> List[Step]
    Keeps it from starting at boot and from loading by itself (hooks, udev rules). Unloads nothing: the host stays
    protected until the new engine loads over it.
unblock(host) -> List[Step]
    Takes away the files by which disarm() does that, and enables nothing.
build_plan(host, params, outcome) -> Plan, build_report(host, params, outcome) -> Dict[str, Any]
    Module initramfs: params kernel, conf, force, _check; the results are those that its documentation lists.
load_plan(host, params) -> Plan, load_report(host, params) -> Dict[str, Any]
    Module kexec with type crash: params as kexec.REQUEST, and _check.
recommended(host) -> Optional[Recommendation]
    The engine's own advice for the reservation.
expected(host, wanted) -> Dict[str, Any]
    {"path": SETTINGS, "settings": {name: value}} and, for an engine with a CONF that needs more there than is wished for,
    "conf": {directive: value, None for one that it is to be without}; from the wishes of a role (conf, sysconfig, cmdline_append,
    cmdline_remove, nr_cpus, each None or missing for no wish; wishes.sysconfig_settings() for /etc/sysconfig/kdump).
    Raises by name what this engine cannot express, with the advice to use native. An engine with a CONF need not repeat
    what conf_state.decide() and wanted_digest() refuse: these are asked beside it; for one without, this is all that is
    asked. What the package to be installed brings is not missed.
first_settings(host) -> Dict[str, str]
    What SETTINGS held before this collection wrote it, as far as that is not what the engine does without a setting: absent
    puts it back. {} where that is not known.
"""

from typing import Dict, List, NamedTuple, Optional

from ..conf import Conf
from ..problems import Problem


class Configuration(NamedTuple):
    """What an engine goes by: the `text` of its CONF (None: there is none), `conf` and `settings` as understood.

    `problems` tell what could not be read; the rest is then as if that were not there.
    """

    text: Optional[str]
    conf: Conf
    settings: Dict[str, str]
    problems: List[Problem] = []


class Difference(NamedTuple):
    """Texts of lines. `forbidden`: why what is loaded cannot be replaced now, as the next boot does."""

    before: str
    after: str
    forbidden: List[Problem] = []


class Recommendation(NamedTuple):
    """An advice for the reservation. `value` as crashkernel= takes it, `bytes` of it on this host, `why` a sentence."""

    bytes: int
    value: str
    why: str
