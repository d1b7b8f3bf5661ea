# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmcore.kdump.plugins.module_utils.conf import MOST_PROBLEMS, NEW_FILE, Target, edit, parse
from ansible_collections.vmcore.kdump.plugins.module_utils.conf_collector import fit
from ansible_collections.vmcore.kdump.plugins.module_utils.conf_directives import (
    DIRECTIVES,
    TARGETS,
    MountArgument,
    mount_argument,
)
from ansible_collections.vmcore.kdump.plugins.module_utils.conf_text import lex
from ansible_collections.vmcore.kdump.plugins.module_utils.problems import KdumpError

STOCK = """\
# path <path>
#           - "path" represents the file system path in which vmcore
#             will be saved.

#raw /dev/vg/lv_kdump
#ext4 /dev/vg/lv_kdump
#ext4 LABEL=/boot
#ssh user@my.server.com
#sshkey /root/.ssh/kdump_id_rsa
auto_reset_crashkernel yes
path /var/crash
core_collector makedumpfile -l --message-level 7 -d 31
#core_collector scp
#extra_bins /usr/bin/lftp
#failure_action shell
#fence_kdump_nodes node1 node2
"""

# --- reading -------------------------------------------------------------------------------------------------------
LEXED = {
    "plain": ("path /var/crash", "/var/crash"),
    "indented, tabs": ("\t path\t \t/var/crash \t", "/var/crash"),
    "cut at a hash inside a word": ("path /a#b", "/a"),
    "trailing comment": ("path /a   # here", "/a"),
    "outer quotes are stripped": ('path "/var/crash"', "/var/crash"),
    "one pair only": ('path ""/a""', '"/a"'),
    "quotes that do not wrap all": ('path "/a" b', '"/a" b'),
    "a lone quote": ('path "', '"'),
    "quotes opened before a hash": ('path "/a # b"', '"/a'),
    "inner blanks stay": ("path a  b\tc", "a  b\tc"),
    "no continuation": ("path /a \\", "/a \\"),
    "empty": ("path", ""),
    "empty quotes": ('path ""', ""),
    "only a comment": ("path # /a", ""),
}


@pytest.mark.parametrize("line, value", list(LEXED.values()), ids=list(LEXED))
def test_a_line_is_read_as_kdump_utils_reads_it(line, value):
    assert [(read.name, read.value) for read in lex(line)] == [("path", value)]


@pytest.mark.parametrize("line", ["", "  \t", "#path /a", " \t#path /a", "\r", " \v# x"])
def test_comments_and_blanks_are_no_directives(line):
    assert lex(line)[0].name == ""


def test_a_key_ends_at_a_blank_only():
    assert lex("path#x /a")[0].name == "path#x"


OPTIONS = {
    "stock": (STOCK, {"auto_reset_crashkernel": "yes", "path": "/var/crash",
                      "core_collector": "makedumpfile -l --message-level 7 -d 31"}),
    "the old name": ("default shell", {"failure_action": "shell"}),
    "empty file": ("", {}),
}  # fmt: skip


@pytest.mark.parametrize("text, options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_options(text, options):
    conf = parse(text)
    assert conf.options == options
    assert conf.problems == []


TARGET = {
    "none": ("", Target("path", "/var/crash")),
    "path": ("path /x", Target("path", "/x")),
    "ext4 by label": ("ext4 LABEL=/boot", Target("ext4", "LABEL=/boot")),
    "quoted tag": ('xfs UUID="1-2"', Target("xfs", "UUID=1-2")),
    "raw": ("raw /dev/vg/lv", Target("raw", "/dev/vg/lv")),
    "nfs": ("nfs server.example.com:/export/x", Target("nfs", "server.example.com:/export/x")),
    "nfs by IPv6": ("nfs [2001:db8::1]:/x", Target("nfs", "[2001:db8::1]:/x")),
    "ssh": ("ssh kdump@server", Target("ssh", "kdump@server")),
    "ssh by IPv6": ("ssh kdump@2001:db8::1", Target("ssh", "kdump@2001:db8::1")),
    "ssh by a scoped address": ("ssh kdump@fe80::1%eth0", Target("ssh", "kdump@fe80::1%eth0")),
    "virtiofs": ("virtiofs myfs", Target("virtiofs", "myfs")),
    "mount": (
        'dracut_args --mount "192.168.1.1:/share /mnt/test nfs4 defaults"',
        Target("mount", "192.168.1.1:/share /mnt/test nfs4 defaults"),
    ),
}


@pytest.mark.parametrize("text, target", list(TARGET.values()), ids=list(TARGET))
def test_target(text, target):
    conf = parse(text)
    assert conf.target == target
    assert conf.problems == []


def test_defaults_are_those_of_kdump():
    conf = parse("")
    assert (conf.get("path"), conf.get("failure_action")) == ("/var/crash", "reboot")
    assert (conf.get("kdump_pre"), conf.get("sshkey")) == ("", "/root/.ssh/kdump_id_rsa")
    assert conf.get("core_collector") == "makedumpfile -l --message-level 7 -d 31"
    assert parse("ssh a@b").get("core_collector") == "makedumpfile -F -l --message-level 7 -d 31"


# --- checking ------------------------------------------------------------------------------------------------------
# (the text, a part of the message, a part of the remedy)
PROBLEMS = {
    # from a transcript of kdumpctl 1.0.61 failing to start
    "unknown option": ("bogus 1", "bogus is not a directive", "kdump.conf(5)"),
    "action": ("failure_action explode", "failure_action cannot be explode", "dump_to_rootfs"),
    "dump level and flag": ("core_collector makedumpfile -l -d 99 --bogus", "--bogus", "makedumpfile --help"),
    "dump level": ("core_collector makedumpfile -l -d 99", "dump level 99", "0 (all of memory) to 31"),
    # parse_config()
    "typo": ("fialure_action halt", "fialure_action is not", "Did you mean failure_action?"),
    "upper case": ("Path /x", "Path is not", "Did you mean path?"),
    "a variable": ("KDUMP_IMG=vmlinuz", "is not a directive", "/etc/sysconfig/kdump"),
    "no value": ("path", "path has no value", "remove the line"),
    "a value that is a comment": ("path #x", "path has no value", "remove the line"),
    "old name without value": ("default", "default has no value", "remove the line"),
    "twice": ("path /a\npath /b", "path is set more than once", "Keep one line."),
    "a list twice": ("extra_bins /a\nextra_bins /b", "extra_bins is set more than once", "all the words on it"),
    "old and new name": ("default halt\nfailure_action halt", "more than once", "old name of failure_action"),
    "two targets": ("ext4 /dev/a\nssh a@b", "more than one dump target", "keep one of ext4, ssh"),
    "a target and --mount": (
        'nfs a:/b\ndracut_args --mount "a:/b /m nfs defaults"',
        "more than one dump target",
        "dracut_args --mount",
    ),
    "net": ("net a@b", "net is no longer", "ssh user@server"),
    "options": ("options loop max_loop=1", "options is no longer", "KDUMP_COMMANDLINE_APPEND"),
    "link_delay": ("link_delay 60", "link_delay is no longer", "by itself"),
    "disk_timeout": ("disk_timeout 30", "disk_timeout is no longer", "by itself"),
    "debug_mem_level": ("debug_mem_level 3", "debug_mem_level is no longer", "rd.memdebug"),
    "blacklist": ("blacklist gfs2", "blacklist is no longer", "rd.driver.blacklist"),
    "nfs4": ("nfs4 a:/b", "nfs4 is not a directive", "`nfs server:/export`"),
    # targets
    "no device": ("ext4 sda1", "does not name a block device", "LABEL=name"),
    "partition uuid": ("ext4 PARTUUID=1", "does not name a block device", "UUID= and LABEL="),
    "device with mount point": ("xfs /dev/a /mnt", "does not name a block device", "device alone"),
    "export as device": ("ext4 a:/b", "does not name a block device", "`nfs a:/b`"),
    "raw by label": ("raw LABEL=x", "not the path of a block device", "/dev/disk/by-id"),
    "long tag": ("virtiofs " + 37 * "x", "not a virtiofs tag", "36 bytes"),
    "nfs without export": ("nfs server", "not a server and its export", "server:/export"),
    "nfs with a bare IPv6 address": ("nfs 2001:db8::1:/x", "not a server and its export", "[2001:db8::1]:/x"),
    "nfs with options": ("nfs a:/b ro", "not a server and its export", "mount options"),
    "nfs with a flag for a server": ("nfs -o:/b", "not a server and its export", "host name"),
    "ssh without user": ("ssh server", "not a user and a server", "user's name is required"),
    "ssh with an option for a user": ("ssh -oProxyCommand=x@b", "not a user and a server", "does not begin with `-`"),
    "ssh with brackets": ("ssh a@[2001:db8::1]", "not a user and a server", "without brackets"),
    "ssh with a directory": ("ssh a@b:/c", "not a user and a server", "`path`'s"),
    "ssh in upper case": ("ssh a@Server", "not a user and a server", "lower case"),
    "ssh, IPv6 in upper case": ("ssh a@2001:DB8::1", "not a user and a server", "lower case"),
    "ssh with two words": ("ssh a@b c", "not a user and a server", "host name"),
    # --mount
    "--mount=": ('dracut_args --mount="a:/b /m nfs defaults"', "a mount of nothing", "exactly so"),
    "--mount without quotes": ("dracut_args --mount a:/b /m nfs defaults", "not quoted", "exactly so"),
    "--mount twice": (
        'dracut_args --mount "a:/b /m nfs d" --mount "a:/b /m nfs d"',
        "more than one --mount",
        "exactly so",
    ),
    "--mount without options": ('dracut_args --mount "a:/b /m nfs"', "options", "exactly so"),
    "--mount with two blanks": ('dracut_args --mount "a:/b  /m nfs defaults"', "one blank", "exactly so"),
    "--mount on a relative point": ('dracut_args --mount "a:/b m nfs defaults"', "not an absolute path", "exactly so"),
    "an open quote": ('dracut_args --add-drivers "ext2', "cannot be split", "Close every quote"),
    # paths and words
    "relative path": ("path var/crash", "not an absolute path", "beginning with `/`"),
    "path with a blank": ("path /var/my crash", "cannot be handed to a shell", "without blanks"),
    "path that runs something": ("path /a$(reboot)", "cannot be handed to a shell", "without blanks"),
    "path that climbs": ("path /var/../../x", "climbs out", "without `..`"),
    "relative key": ("sshkey id_rsa", "not an absolute path", "beginning with `/`"),
    "hook with arguments": ("kdump_pre /a b", "cannot be handed to a shell", "without blanks"),
    "relative program": ("extra_bins /a lftp", "extra_bins lftp is not an absolute path", "beginning with `/`"),
    "module file": ("extra_modules gfs2 ext4.ko", "ext4.ko is not a module's name", "without .ko"),
    "fence node": ("fence_kdump_nodes a -b", "-b is not a host's name", "separated by blanks"),
    # choices
    "final action": ("final_action shell", "final_action cannot be shell", "reboot, halt, poweroff"),
    "near action": ("final_action reboots", "final_action cannot be reboots", "Did you mean reboot?"),
    "force_rebuild": ("force_rebuild yes", "force_rebuild cannot be yes", "0, 1"),
    "both forces": ("force_rebuild 1\nforce_no_rebuild 1", "exclude each other", "Remove one"),
    "auto_reset that would mean its opposite": ("auto_reset_crashkernel off", "cannot be off", "read as yes"),
    # core_collector
    "no -F for ssh": ("ssh a@b\ncore_collector makedumpfile -l -d 31", "needs -F", "makedumpfile -F -l -d 31"),
    "no -F for raw": ("raw /dev/x\ncore_collector makedumpfile -l", "needs -F", "makedumpfile -F -l"),
    "-F for a file": ("core_collector makedumpfile -F -l", "takes a file", "`core_collector makedumpfile -l`"),
    "-F in a bundle": ("core_collector makedumpfile -lF", "-F is bundled", "a word of its own"),
    "two compressions": ("core_collector makedumpfile -l -z", "-l and -z are different", "Keep one"),
    "compressed ELF": ("core_collector makedumpfile -E -c", "-E writes ELF", "Remove one"),
    "ELF with threads": ("core_collector makedumpfile -E --num-threads 2", "--num-threads", "Remove one"),
    "six levels": ("core_collector makedumpfile -d 1,2,3,4,5,6", "dump level", "up to five"),
    "level that is no number": ("core_collector makedumpfile -d all", "dump level all", "0 (all of memory)"),
    "message level": ("core_collector makedumpfile --message-level 99", "--message-level 99", "0 to 31"),
    "another task": ("core_collector makedumpfile --dump-dmesg", "something else than writing a dump", "Remove"),
    "a file name": ("core_collector makedumpfile -l /proc/vmcore", "/proc/vmcore is not an option", "--help"),
    "a pipe": ("core_collector makedumpfile -l | gzip", "not read by a shell", "script"),
    "cat to a file": ("core_collector cat", "writes to its standard output", "cp --sparse=always"),
    "cp to a stream": ("ssh a@b\ncore_collector cp", "a dump to ssh is streamed", "core_collector cat"),
    "scp to a partition": ("raw /dev/x\ncore_collector scp", "a dump to raw is streamed", "core_collector cat"),
    # broken files
    "CRLF": ("path /a\r\n", "line ends of Windows", "sed -i"),
    "NUL": ("path /a\0b\n", "NUL bytes", "anew"),
    "not UTF-8": ("path /a\udcff\n", "not UTF-8", "UTF-8"),
}


@pytest.mark.parametrize("text, message, hint", list(PROBLEMS.values()), ids=list(PROBLEMS))
def test_a_problem_and_its_remedy(text, message, hint):
    problems = parse(text).problems
    assert [p for p in problems if message in p.message and hint in p.hint], problems


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_one_mistake_is_one_problem(name):
    assert len(parse(PROBLEMS[name][0]).problems) == 1


def test_all_problems_at_once():
    text = "bogus 1\nfailure_action explode\npath x\nssh a\nnfs b:/x\nsshkey\n"
    assert [p.option for p in parse(text).problems] == ["bogus", "failure_action", "path", "ssh", "sshkey", "ssh"]


FINE = {
    "stock": STOCK,
    "HOWTO, quoted cp": 'core_collector "cp --sparse=always"\n',
    "HOWTO, mount": 'dracut_args --mount "192.168.1.1:/share /mnt/test nfs4 defaults"\n',
    "HOWTO, scp": "ssh user@server\ncore_collector scp\n",
    "HOWTO, cat": "raw /dev/vg/lv_kdump\ncore_collector cat\n",
    "HOWTO, flattened": "ssh u@s\ncore_collector makedumpfile -F -l --message-level 1 -d 31\n",
    "several levels": "core_collector makedumpfile -l -d 31,15,0\n",
    "drivers": 'dracut_args --omit-drivers "cfg80211 snd" --add-drivers "ext2 ext3"\n',
    "single quotes": "dracut_args --mount 'LABEL=x /m ext4 defaults' -a watchdog\n",
    "fence": "fence_kdump_args -p 7410 -f auto -c 0 -i 10\nfence_kdump_nodes node1 192.0.2.1 2001:db8::1\n",
    "comments that are no UTF-8 and end like Windows": "# caf\udce9\r\n\r\npath /a\n",
    "no line end": "path /a",
}


@pytest.mark.parametrize("text", list(FINE.values()), ids=list(FINE))
def test_no_problem(text):
    conf = parse(text)
    assert (conf.problems, conf.warnings) == ([], [])


def test_an_unknown_collector_is_a_warning():
    conf = parse("core_collector /opt/save-core -x")
    assert conf.problems == []
    assert "save-core" in conf.warnings[0].message


def test_mount_argument():
    value = '-a watchdog --mount "UUID=1 /m xfs rw,noatime 0 2"'
    assert mount_argument(value) == MountArgument("UUID=1", "/m", "xfs", "rw,noatime")
    assert mount_argument("-a watchdog") is None
    assert mount_argument("--mount a /m xfs rw") is None


def test_a_megabyte_on_one_line_is_read_and_not_repeated():
    for text in ("x" * (1 << 20), "path /" + "x y" * (1 << 19), "extra_bins " + "/a " * (1 << 18)):
        problems = parse(text).problems
        assert len(problems) <= 1 and len(str(problems)) < 2000


def test_a_file_of_garbage_is_told_in_part():
    assert len(parse("".join("garbage%d x\n" % number for number in range(100000))).problems) == MOST_PROBLEMS


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=80) | st.binary(max_size=80).map(
    lambda data: data.decode("utf-8", "surrogateescape")))  # fmt: skip
def test_reading_never_fails_and_messages_can_be_printed(text):
    conf = parse(text + "\n" + STOCK + text)
    for problem in conf.problems + conf.warnings:
        str(problem).encode("utf-8")
        problem.value.encode("utf-8")
        assert problem.hint and "\n" not in str(problem)


# --- editing -------------------------------------------------------------------------------------------------------
# (before, options, remove, purge, after)
EDITS = {
    "nothing": (STOCK, {}, [], False, STOCK),
    "the same again": (STOCK, {"path": "/var/crash", "auto_reset_crashkernel": True}, [], False, STOCK),
    "in place, neighbours untouched": ("# x\npath /a\n\n# y\n", {"path": "/b"}, [], False, "# x\npath /b\n\n# y\n"),
    "indentation and comment stay": ("  path\t/a  # why\n", {"path": "/b"}, [], False, "  path\t/b  # why\n"),
    "a hash that was no comment goes": ("path /a#b\n", {"path": "/c"}, [], False, "path /c\n"),
    "quotes go": ('path "/a"\n', {"path": "/b"}, [], False, "path /b\n"),
    "below its last example": (
        "#ext4 /dev/a\n#ext4 LABEL=b\n#x\n", {"ext4": "UUID=c"}, [], False,
        "#ext4 /dev/a\n#ext4 LABEL=b\next4 UUID=c\n#x\n",
    ),
    "not below its description": ("# path <path>\n#   - text\n", {"path": "/a"}, [], False,
                                  "# path <path>\n#   - text\npath /a\n"),
    "at the end": ("path /a\n", {"kdump_pre": "/b"}, [], False, "path /a\nkdump_pre /b\n"),
    "at the end, without a line end": ("path /a", {"kdump_pre": "/b"}, [], False, "path /a\nkdump_pre /b\n"),
    "into an empty file": ("", {"path": "/a"}, [], False, "path /a\n"),
    "the order of kdump.conf(5), not of the play": ("", {"final_action": "halt", "ssh": "a@b", "path": "/a"}, [], False,
                                                    "ssh a@b\npath /a\nfinal_action halt\n"),
    "the old name": ("default shell\n", {"failure_action": "halt"}, [], False, "failure_action halt\n"),
    "the old name, same value": ("default halt # x\n", {"failure_action": "halt"}, [], False,
                                 "failure_action halt # x\n"),
    "asked by its old name": ("failure_action shell\n", {"default": "halt"}, [], False, "failure_action halt\n"),
    "below the old name's example": ("#default shell\nx\n", {"failure_action": "halt"}, [], False,
                                     "#default shell\nfailure_action halt\nx\n"),
    "doubles become one": ("path /a\n# k\npath /b\n", {"path": "/b"}, [], False, "path /b\n# k\n"),
    "a list is one line": ("", {"extra_bins": ["/a", "/b"]}, [], False, "extra_bins /a /b\n"),
    "two lines of a list become one": ("extra_bins /a\nextra_bins /b\n", {"extra_bins": ["/a", "/b"]}, [], False,
                                       "extra_bins /a /b\n"),
    "arguments as a list": ("", {"core_collector": ["makedumpfile", "-l", "-d", 31]}, [], False,
                            "core_collector makedumpfile -l -d 31\n"),
    "a number": ("", {"force_rebuild": 1}, [], False, "force_rebuild 1\n"),
    "booleans": ("", {"force_rebuild": True, "auto_reset_crashkernel": False}, [], False,
                 "force_rebuild 1\nauto_reset_crashkernel no\n"),
    "a value in quotes of its own": ("", {"fence_kdump_args": '"-p 1"'}, [], False, 'fence_kdump_args ""-p 1""\n'),
    "remove": ("# a\npath /a\n# b\n", {}, ["path"], False, "# a\n# b\n"),
    "remove by either name": ("default halt\n", {}, ["failure_action"], False, ""),
    "remove by either name, reversed": ("failure_action halt\n", {}, ["default"], False, ""),
    "remove what is not there": (STOCK, {}, ["kdump_pre"], False, STOCK),
    "remove what kdump does not know": ("net a\npath /a\n", {}, ["net", "bogus"], False, "path /a\n"),
    "remove every double": ("path /a\nx y\npath /b", {}, ["path"], False, "x y"),
    "a target replaces another on its line": ("path /a\nnfs a:/b\nsshkey /k\n", {"ext4": "LABEL=x"}, [], False,
                                              "path /a\next4 LABEL=x\nsshkey /k\n"),
    "a target replaces all others": ("nfs a:/b\nxfs /dev/x\n", {"xfs": "/dev/y"}, [], False, "xfs /dev/y\n"),
    "a target replaces --mount": (
        'dracut_args --mount "a:/b /m nfs defaults" -a watchdog\n', {"nfs": "a:/c"}, [], False,
        "dracut_args -a watchdog\nnfs a:/c\n",
    ),
    "a target replaces --mount alone": ("dracut_args --mount=x\n", {"nfs": "a:/c"}, [], False, "nfs a:/c\n"),
    "--mount replaces a target": (
        "nfs a:/c\n", {"dracut_args": '--mount "a:/b /m nfs defaults"'}, [], False,
        'dracut_args --mount "a:/b /m nfs defaults"\n',
    ),
    "-F for ssh": (
        "core_collector makedumpfile -l -d 31\n", {"ssh": "a@b"}, [], False,
        "core_collector makedumpfile -F -l -d 31\nssh a@b\n",
    ),
    "-F for ssh, when asked without": (
        "", {"ssh": "a@b", "core_collector": "makedumpfile -l"}, [], False,
        "ssh a@b\ncore_collector makedumpfile -F -l\n",
    ),
    "no -F without a stream": (
        "ssh a@b\ncore_collector makedumpfile -F -l -d 31\n", {}, ["ssh"], False,
        "core_collector makedumpfile -l -d 31\n",
    ),
    "purge": ("# a\nnfs a:/b\n#path /z\npath /y # b\n\nkdump_pre /c\n", {"path": "/x"}, [], True,
              "# a\n#path /z\npath /x # b\n\n"),
    "purge what kdump does not know": ("bogus 1\n# c\ndefault halt\n", {}, [], True, "# c\n"),
}  # fmt: skip


@pytest.mark.parametrize("before, options, remove, purge, after", list(EDITS.values()), ids=list(EDITS))
def test_edit(before, options, remove, purge, after):
    assert edit(before, options, remove, purge) == after
    assert edit(after, options, remove, purge) == after


def test_the_stock_file_keeps_every_line():
    options = {"ssh": "kdump@server", "default": "shell", "extra_bins": ["/a"]}
    after = edit(STOCK, options, [], False).split("\n")
    added = [line for line in after if line not in STOCK.split("\n")]
    assert added == ["ssh kdump@server", "core_collector makedumpfile -F -l --message-level 7 -d 31", "extra_bins /a",
                     "failure_action shell"]  # fmt: skip
    assert after[after.index("ssh kdump@server") - 1] == "#ssh user@my.server.com"
    assert [line for line in STOCK.split("\n") if line not in after] == [
        "core_collector makedumpfile -l --message-level 7 -d 31"
    ]


# (options, remove, a part of the message, a part of the remedy)
REFUSED = {
    "a hash": ({"path": "/a#b"}, [], "path cannot be /a#b", "first `#`"),
    "a line break": ({"path": "/a\nssh a@b"}, [], "cannot be", "one line"),
    "a NUL": ({"fence_kdump_args": "a\0b"}, [], "cannot be", "one line"),
    "an escape sequence": ({"fence_kdump_args": "a\x1b[2J"}, [], "cannot be a\\x1b[2J", "one line"),
    "blanks at the end": ({"path": "/a "}, [], "cannot be", "blanks at its ends"),
    "nothing": ({"path": ""}, [], "path has no value", "`remove`"),
    "null": ({"path": None}, [], "path has no value", "`remove`"),
    "a list for one value": ({"path": ["/a", "/b"]}, [], "takes one value", "Give it alone"),
    "an empty list": ({"extra_bins": []}, [], "has no value", "`remove`"),
    "a word of two": ({"extra_bins": ["/a b"]}, [], "a word that is none", "without blanks"),
    "a list in a list": ({"extra_bins": [["/a"]]}, [], "a word that is none", "without blanks"),
    "a dictionary": ({"path": {"a": "b"}}, [], "neither text nor a number", "quotes"),
    "a boolean": ({"failure_action": True}, [], "neither text nor a number", "quotes"),
    "unknown": ({"fialure_action": "halt"}, [], "not a directive", "Did you mean failure_action?"),
    "removed": ({"link_delay": 60}, [], "no longer", "by itself"),
    "set and removed": ({"failure_action": "halt"}, ["default"], "both options and remove", "Leave it out"),
    "old and new name": ({"failure_action": "halt", "default": "halt"}, [], "its old and its new name", "once"),
}


@pytest.mark.parametrize("options, remove, message, hint", list(REFUSED.values()), ids=list(REFUSED))
def test_what_the_file_cannot_hold_is_refused(options, remove, message, hint):
    with pytest.raises(KdumpError) as caught:
        edit(STOCK, options, remove, False)
    assert [p for p in caught.value.problems if message in p.message and hint in p.hint], caught.value.problems


def test_what_is_refused_does_not_hide_the_rest():
    with pytest.raises(KdumpError) as caught:
        edit("", {"bogus": 1, "path": "/a#b", "final_action": "shell", "sshkey": None}, [], False)
    assert [(problem.option, problem.value) for problem in caught.value.problems] == [
        ("bogus", "1"), ("path", "/a#b"), ("sshkey", "")
    ]  # fmt: skip


WORD = st.text(st.characters(blacklist_categories=["C", "Z"], blacklist_characters="#"), min_size=1, max_size=8)
VALUE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
LINE = st.one_of(
    st.builds("{}{}{}{}".format, st.sampled_from(["", " ", "#", "# "]), st.sampled_from(list(DIRECTIVES) + ["default"]),
              st.sampled_from([" ", "\t", ""]), st.one_of(VALUE, st.text(max_size=8))),
    st.text(max_size=12),
)  # fmt: skip
TEXT = st.lists(LINE, max_size=8).map("\n".join)
OPTION_SETS = st.dictionaries(st.sampled_from([n for n in DIRECTIVES if n not in TARGETS]), VALUE, max_size=4).flatmap(
    lambda found: st.sampled_from(TARGETS + [""]).map(lambda name: dict(found, **({name: "x"} if name else {})))
)


def as_written(options):
    """The options as the file holds them: with makedumpfile's -F as the target needs it."""
    conf = parse("".join("%s x\n" % name for name in options if name in TARGETS))
    kind = parse(edit("", options, [], False)).target.kind if "dracut_args" in options else conf.target.kind
    return {name: fit(value, kind) if name == "core_collector" else value for name, value in options.items()}


@given(TEXT, OPTION_SETS)
def test_purging_leaves_exactly_the_options_asked_for(text, options):
    after = edit(text, options, [], True)
    assert parse(after).options == as_written(options)
    assert edit(after, options, [], True) == after


@given(TEXT, OPTION_SETS, st.lists(st.sampled_from(list(DIRECTIVES)), max_size=3))
def test_editing_changes_what_is_asked_for_and_nothing_else(text, options, remove):
    remove = [name for name in remove if name not in options]
    after = edit(text, options, remove, False)
    assert edit(after, options, remove, False) == after
    found = parse(after).options
    expected = as_written(options)
    assert {name: found.get(name) for name in expected} == expected
    assert not set(remove) & set(found)
    alone = set(DIRECTIVES) - set(options) - set(remove) - set(TARGETS) - {"core_collector", "dracut_args"}
    before = parse(text).options
    assert {n: v for n, v in found.items() if n in alone} == {n: v for n, v in before.items() if n in alone}
    comments = [line.raw for line in lex(text) if not line.name and line.raw]
    kept = [line.raw for line in lex(after) if not line.name and line.raw]
    assert kept == comments


def test_the_header_of_a_new_file_is_a_comment():
    assert parse(NEW_FILE) == parse("")
