# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The variables of Debian's kdump-tools: what they mean, what is wrong with them, and how a role's wishes become them.

Private to this collection. Source: kdump-config, kdump-tools.init and kdump-tools.conf of kdump-tools 1.8.1 (Debian 12)
and 1.10.7 (Debian 13), which read them alike.
"""

import re
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from .. import cmdline, conf, conf_collector, conf_directives, layout, sysconfig
from ..problems import KdumpError, Problem, shown
from ..scalars import scalar

NAME = "kdump-tools"
PATH = "/etc/default/kdump-tools"
CONFIG = "/usr/sbin/kdump-config"
FAILED = layout.PROGRAM.rpartition("/")[0] + "/kdump-tools-failed"  # the one script that KDUMP_FAIL_CMD may name
KERNEL = "/var/lib/kdump/vmlinuz"
INITRD = "/var/lib/kdump/initrd.img"
ALWAYS = {"USE_KDUMP": "1", "KDUMP_KERNEL": KERNEL, "KDUMP_INITRD": INITRD}  # of a host that it is to arm
DUMP_UNIT = "systemd.unit=kdump-tools-dump.service"
FAILURE_ACTIONS = ("reboot", "halt", "poweroff", "shell")

# What kdump-config takes for a variable that is unset or empty; the file itself says so (`NAME=${NAME:="value"}`), for
# Ubuntu ships another KDUMP_CMDLINE_APPEND.
_DEFAULTS = {
    "KDUMP_COREDIR": "/var/crash",
    "MAKEDUMP_ARGS": "-F -c -d 31",
    "KDUMP_CMDLINE_APPEND": "reset_devices %s nr_cpus=1 irqpoll usbcore.nousb" % DUMP_UNIT,
    "KDUMP_DUMP_DMESG": "1",
    "KDUMP_NUM_DUMPS": "0",
}
_DEFAULT = re.compile(r'^(%s)=\$\{\1:="?([^"}$]*)"?\}' % "|".join(_DEFAULTS), re.MULTILINE)
_REMOTE = ("SSH", "NFS")
_NUMBERS = ("KDUMP_NUM_DUMPS", "NFS_TIMEO", "NFS_RETRANS", "NFS_MOUNT_RETRY", "SSH_KDUMP_RETRY")
# Expanded without quotes or inside an eval: what these hold would be split, globbed or run.
_UNQUOTED = re.compile(r"[\"'`$\\;&|<>()*?\[\]{}]")
_PATH = re.compile(r"/[A-Za-z0-9._/@:+,=-]*")
_NATIVE = "Set kdump_engine: native, which can."


def own(host: Any) -> Dict[str, str]:
    """The variables of the file but for those that only a shell could tell. Those with blanks around their `=` count:
    systemd, which hands them to the init script, reads them so."""
    text = host.read_text(PATH, "")
    plain = {one.name: one.value for one in sysconfig.read(text) if one.name and not one.why}
    return dict(plain, **sysconfig.meant(text))


def effective(host: Any, given: Mapping[str, str]) -> Dict[str, str]:
    """The variables of the file over kdump-config's defaults."""
    settings = dict(_DEFAULTS)
    settings.update(_DEFAULT.findall(host.read_text(CONFIG, "")))
    settings.update((name, value) for name, value in given.items() if value or name not in settings)
    return settings


def target(settings: Mapping[str, str]) -> conf.Target:
    """Where savecore dumps to: to each of the remote targets that are set, else below KDUMP_COREDIR."""
    if settings.get("NFS"):
        return conf.Target("nfs", settings["NFS"])
    if settings.get("SSH"):
        return conf.Target("ssh", settings["SSH"])
    return conf.Target("path", settings["KDUMP_COREDIR"])


def as_conf(settings: Mapping[str, str]) -> conf.Conf:
    """The same as a kdump.conf would say it; its problems are those of the variables."""
    where = target(settings)
    options = {"core_collector": "makedumpfile " + settings["MAKEDUMP_ARGS"]}
    options["path"] = "/" if where.kind == "nfs" else settings["KDUMP_COREDIR"]  # the export is mounted there
    if where.kind != "path":
        options[where.kind] = where.location
    if where.kind == "ssh":
        options["sshkey"] = settings.get("SSH_KEY") or conf_directives.DIRECTIVES["sshkey"].default
    command = settings.get("KDUMP_FAIL_CMD", "").split()
    options["failure_action"] = command[-1] if command[:1] == [FAILED] else "reboot"
    return conf.Conf(options, where, list(problems(settings)), list(warnings(settings)))


# --- what is wrong -------------------------------------------------------------------------------------------------
def problems(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Why these variables would not give a dump, or not an honest one. Each names its variable."""
    for name, value in sorted(settings.items()):
        if name in _NUMBERS and value and not re.fullmatch("[0-9]{1,9}", value):
            yield _wrong(name, value, "is compared as a number, and the script fails on this.", "Write a number.")
        if sysconfig.NO_TEXT.search(value):
            yield _wrong(name, value, "is no UTF-8, and systemd then reads nothing of the file.", "Write it in UTF-8.")
    yield from _path_problems(settings)
    yield from _collector_problems(settings["MAKEDUMP_ARGS"])
    yield from _failure_problems(settings.get("KDUMP_FAIL_CMD", ""))
    yield from _target_problems(settings)
    yield from _load_problems(settings)


def _wrong(name: str, value: str, why: str, hint: str) -> Problem:
    return Problem("%s=%s %s" % (name, shown(value), why), hint, name, shown(value))


def _path_problems(settings: Mapping[str, str]) -> Iterator[Problem]:
    value = settings["KDUMP_COREDIR"]
    if not _PATH.fullmatch(value) or "/../" in value + "/":
        why = "is no plain absolute path, and kdump-config uses it without quotes."
        yield _wrong("KDUMP_COREDIR", value, why, "Write a path of letters, digits and ._-+,:=@ from / on.")
    for name, default in (("KDUMP_KERNEL", KERNEL), ("KDUMP_INITRD", INITRD)):
        if settings.get(name, default) != default:
            why = "names a kernel or an image of your own, of which nothing is known here."
            yield _wrong(name, settings[name], why, "Set it to %s, which kdump-config keeps up to date." % default)
    dmesg = settings["KDUMP_DUMP_DMESG"]
    if dmesg != "1":
        yield _wrong("KDUMP_DUMP_DMESG", dmesg, "leaves no kernel log beside the dump.", "Set it to 1.")
    if settings.get("KDUMP_COMPRESSION"):
        # savecore() looks at the exit code of the last program of its pipe.
        why = "puts a program behind makedumpfile, which is compressing already."
        hint = "Leave it empty; MAKEDUMP_ARGS (core_collector) chooses the compression: -c, -l or -z."
        yield _wrong("KDUMP_COMPRESSION", settings["KDUMP_COMPRESSION"], why, hint)


def _collector_problems(arguments: str) -> Iterator[Problem]:
    line = "makedumpfile " + arguments
    # -F may be a word of its own only; kdump-config puts another one at the end unless they begin with it.
    found = list(conf_collector.check_collector("MAKEDUMP_ARGS", line))
    if not found:
        names = [name for name, dummy in conf_collector.flags(line)]
        if "--num-threads" in names:
            hint = "Leave it out, or set kdump_engine: native, which writes a file and can use all CPUs."
            yield _wrong("MAKEDUMP_ARGS", arguments, "asks for threads, which do not go with -F.", hint)
        if _UNQUOTED.search(arguments):
            yield _wrong("MAKEDUMP_ARGS", arguments, "is expanded by the shell.", "Write plain arguments.")
    for problem in found:
        message = problem.message.replace("core_collector", "MAKEDUMP_ARGS (core_collector)", 1)
        yield problem._replace(message=message, value=shown(arguments))


def _failure_problems(command: str) -> Iterator[Problem]:
    if _UNQUOTED.search(command):
        # kdump-tools.init: `$KDUMP_FAIL_CMD ;`, whose words are the arguments of the first one.
        why = "never runs as a shell would run it: the host would stay down after a failed dump."
        hint = "Name one script, without arguments in quotes; kdump_system_action writes one."
        yield _wrong("KDUMP_FAIL_CMD", command, why, hint)


def _target_problems(settings: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("FTP", "FTP_USER", "FTP_PASSWORD"):
        if settings.get(name):
            yield Problem(
                "%s is set: FTP takes the dump and the password in plain text over the network." % name,
                "Leave it empty, and dump to SSH or NFS, or to a local file system.", name,
            )  # fmt: skip
    if settings.get("SSH") and settings.get("NFS"):
        yield Problem("SSH and NFS are both set: the dump would be written twice, and only the last one's success "
                      "counts.", "Leave one of them empty.", "SSH")  # fmt: skip
    ssh, nfs = settings.get("SSH", ""), settings.get("NFS", "")
    if ssh and not re.fullmatch(r"[A-Za-z0-9._-]+@[A-Za-z0-9.:_-]+", ssh):
        yield _wrong("SSH", ssh, "is not USER@HOST.", "Write it so: the user and the server.")
    if settings.get("SSH_KEY") and not _PATH.fullmatch(settings["SSH_KEY"]):
        yield _wrong("SSH_KEY", settings["SSH_KEY"], "is used without quotes.", "Give the key a plain absolute path.")
    if nfs and not re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):/[A-Za-z0-9._/@+,=-]*", nfs):
        yield _wrong("NFS", nfs, "is not SERVER:/EXPORT.", "Write it so; an IPv6 address stands in brackets.")
    if settings.get("HOSTTAG", "") not in ("", "ip", "hostname"):
        yield _wrong("HOSTTAG", settings["HOSTTAG"], "is neither ip nor hostname.", "Write one of the two.")


def _load_problems(settings: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("KDUMP_CMDLINE", "KDUMP_CMDLINE_APPEND", "KDUMP_KEXEC_ARGS"):
        if re.search(r"[\"'`$\\\n]", settings.get(name, "")):
            # kdump_load(): `eval $KEXEC_CMD`
            why = "would be run by a shell, in which quotes and $ mean something else."
            yield _wrong(name, settings[name], why, "Leave quotes, $ and backslashes out. " + _NATIVE)


def warnings(settings: Mapping[str, str]) -> Iterator[Problem]:
    """What may be meant all the same."""
    if cmdline.values(cmdline.split(settings["KDUMP_CMDLINE_APPEND"]), "systemd.unit") == []:
        yield Problem(
            "KDUMP_CMDLINE_APPEND lacks %s: the capture kernel starts every service of the host." % DUMP_UNIT,
            "Add it: less memory is needed, and less can fail.", "KDUMP_CMDLINE_APPEND",
        )  # fmt: skip
    use = settings.get("USE_KDUMP", "")
    if use not in ("0", "1"):
        yield _wrong("USE_KDUMP", use, "is neither 0 nor 1, and stands for 0.", "Set it to 1.")


# --- from a role's wishes ------------------------------------------------------------------------------------------
# Directives of kdump.conf that have no counterpart, and why.
_INEXPRESSIBLE = {
    "kdump_pre": "it runs no scripts of its own around the dump",
    "kdump_post": "it runs no scripts of its own around the dump",
    "kdump_emergency": "it runs no scripts of its own around the dump",
    "extra_bins": "it starts the host's own system, and so has all of its programs",
    "extra_modules": "its image holds the modules of initramfs-tools",
    "dracut_args": "it does not use dracut",
    "fence_kdump_nodes": "it tells no cluster that it is dumping",
    "fence_kdump_args": "it tells no cluster that it is dumping",
    "force_rebuild": "its image is made anew when something has changed",
    "force_no_rebuild": "its image is made anew when something has changed",
    "raw": "it writes files only",
    "virtiofs": "it mounts no target of its own",
}


def from_wishes(host: Any, held: Mapping[str, str], wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """What the file has to hold beside ALWAYS. KdumpError with everything that kdump-tools cannot do, each by its name.

    held: what the file holds now
    """
    found: List[Problem] = []
    settings: Dict[str, Any] = {}
    options = {conf_directives.canonical(str(name)): value for name, value in (wanted.get("conf") or {}).items()}
    settings.update(_from_conf(options, found))
    settings.update(_from_sysconfig(wanted.get("sysconfig") or {}, found))
    settings.update(_from_cmdline(host, dict(held, **_texts(settings)), wanted, found))
    after = effective(host, dict(held, **dict(ALWAYS, **_texts(settings))))
    found += [problem for problem in problems(after) if problem not in found]
    if found:
        raise KdumpError(found)
    return settings


def _texts(settings: Mapping[str, Any]) -> Dict[str, str]:
    return {name: sysconfig.as_text(value) or "" for name, value in settings.items()}


def _from_conf(options: Mapping[str, Any], found: List[Problem]) -> Dict[str, str]:
    text = {name: _text(value) for name, value in options.items()}
    settings: Dict[str, str] = {}
    for name in sorted(text):
        found += _refused(name, text[name])
    if "path" in text:
        settings["KDUMP_COREDIR"] = text["path"]
    if "core_collector" in text:
        words = text["core_collector"].split()
        settings["MAKEDUMP_ARGS"] = " ".join(word for word in words[1:] if word != "-F")
    if "failure_action" in text:
        action = text["failure_action"]
        settings["KDUMP_FAIL_CMD"] = "" if action == "reboot" else "%s %s" % (FAILED, action)
    if "sshkey" in text:
        settings["SSH_KEY"] = text["sshkey"]
    named = [name for name in conf_directives.TARGETS if name in text]
    if len(named) > 1:
        found.append(Problem("There is more than one dump target.", "Keep one of %s." % ", ".join(named), named[-1]))
    if "ssh" in text:
        settings.update(SSH=text["ssh"], NFS="")
    elif "nfs" in text:
        # kdump-config mounts the export itself at KDUMP_COREDIR; a path is part of the export then.
        path = settings.pop("KDUMP_COREDIR", "/").rstrip("/")
        settings.update(NFS=text["nfs"].rstrip("/") + (path if path else ""), SSH="")
    elif "path" in text and not named:
        settings.update(SSH="", NFS="")
    return settings


def _text(value: Any) -> str:
    words = value if isinstance(value, list) else [value]
    return " ".join(scalar(word) or str(word) for word in words)


def _refused(name: str, value: str) -> Iterator[Problem]:
    """Why a directive of kdump.conf cannot be expressed."""
    what, why, hint = "%s %s" % (name, value), "", _NATIVE
    if name not in conf_directives.DIRECTIVES:
        yield conf_directives.unknown_name(name, value)
    elif name in _INEXPRESSIBLE:
        why = _INEXPRESSIBLE[name]
    elif name in conf_directives.FILE_SYSTEMS:
        why = "it mounts no target of its own, but what the host's /etc/fstab says"
        hint = "Mount that file system by /etc/fstab and give kdump_path alone, or set kdump_engine: native."
    elif name == "final_action" and value != "reboot":
        why = "it always reboots after a dump"
    elif name == "failure_action" and value not in FAILURE_ACTIONS:
        why = "after a failed dump it can %s" % ", ".join(FAILURE_ACTIONS)
    elif name == "core_collector" and conf_collector.program(value) != "makedumpfile":
        why = "it knows makedumpfile alone"
    elif name == "core_collector" and value.startswith("/"):
        why = "it takes the makedumpfile in its path"
        hint = "Write `makedumpfile` without a directory, or set kdump_engine: native."
    if why:
        message = "kdump-tools has nothing for `%s`: %s." % (shown(what), why)
        yield Problem(message, hint, name, shown(value))


def _from_sysconfig(wanted: Mapping[str, Any], found: List[Problem]) -> Dict[str, Any]:
    for name, value in sorted(wanted.items()):
        text = sysconfig.as_text(value)
        if text is None:
            found += sysconfig.setting_problems({name: value}, [])
        elif name == "USE_KDUMP" and text != "1":
            found.append(_wrong(name, text, "is decided by the role.", "Leave it out; kdump_state: disabled gives 0."))
        elif name not in sysconfig.KDUMP_TOOLS_NAMES and name in sysconfig.SYSCONFIG_NAMES:
            message = "%s is a variable of /etc/sysconfig/kdump, which kdump-tools does not read." % name
            found.append(Problem(message, "Use kdump_cmdline_append, or the names of kdump-tools(5).", name))
    return {name: value for name, value in wanted.items() if sysconfig.as_text(value) is not None}


def _from_cmdline(
    host: Any, held: Mapping[str, str], wanted: Mapping[str, Any], found: List[Problem]
) -> Iterator[Tuple[str, str]]:
    """KDUMP_CMDLINE_APPEND for the wishes cmdline_append, cmdline_remove and nr_cpus."""
    append, remove, nr_cpus = wanted.get("cmdline_append"), wanted.get("cmdline_remove"), wanted.get("nr_cpus")
    if append is None and remove is None and nr_cpus is None:
        return
    settings = effective(host, held)
    base = cmdline.split(settings.get("KDUMP_CMDLINE") or host.read_text("/proc/cmdline", ""))
    for name in remove or []:
        if cmdline.values(base, name):
            found.append(Problem(
                "kdump-tools cannot take %s out of the running kernel's command line." % shown(name), _NATIVE,
                "cmdline_remove", shown(name),
            ))  # fmt: skip
    if nr_cpus is not None and nr_cpus < 1:
        message = "The capture kernel cannot run on %d CPUs." % nr_cpus
        found.append(Problem(message, "Give 1 or more.", "nr_cpus", str(nr_cpus)))
    added = cmdline.without(cmdline.split(settings["KDUMP_CMDLINE_APPEND"]), remove or [])
    if nr_cpus is not None:
        added = cmdline.without(added, ["nr_cpus", "maxcpus"]) + ["nr_cpus=%d" % nr_cpus]
    more = [argument for argument in cmdline.split(append or "") if argument not in added]
    yield "KDUMP_CMDLINE_APPEND", cmdline.join(added + more)
