# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""contract/bin/kdumpctl against what the real kdumpctl 1.0.61 printed, command by command."""

import os
import re

import pytest

from ansible_collections.vmcore.kdump.tests.contract import host as contract
from ansible_collections.vmcore.kdump.tests.contract.kdumpctl import KdumpctlHost

RELEASE = "6.12.117+deb13-cloud-amd64"
IMAGE = "/var/lib/kdump/initramfs-%skdump.img" % RELEASE
TRANSCRIPT = (contract.TRANSCRIPTS / "kdump-utils-1.0.61.txt").read_text()
# What other programs printed in between, by their names.
FOREIGN = re.compile(r"(dracut|Pseudo-terminal|mount\.nfs|Dump_level|Couldn't find|Alternatively|/usr/bin/ssh-copy-id)")


def commands():
    """[(line of kdump.conf set before, command, output, exit code)]"""
    conf = ""
    for block in ("\n" + TRANSCRIPT).split("\n$ ")[1:]:
        command, dummy, rest = block.partition("\n")
        out, dummy, after = rest.rpartition("[exit ")
        yield conf, command, out, int(after.split("]")[0])
        conf = "".join(re.findall(r"^## kdump.conf: (.*)$", after, re.MULTILINE))


def own(text):
    return [line for line in text.splitlines() if line and not FOREIGN.match(line)]


def options_of(command):
    """What the transcript shows of a file, to be put on the machine."""
    return next(out for dummy, one, out, dummy in commands() if one == command)


@pytest.fixture
def host(tmp_path):
    host = KdumpctlHost(
        tmp_path,
        {
            "/proc/cmdline": options_of("cat /proc/cmdline"),
            "/etc/kdump.conf": options_of('grep -v "^#" /etc/kdump.conf | grep .'),
            "/etc/sysconfig/kdump": options_of('grep -v "^#" /etc/sysconfig/kdump | grep .'),
            "/etc/vconsole.conf": None,
            "/boot/vmlinuz-" + RELEASE: "kernel",
            "/proc/self/mountinfo": "22 1 254:0 / / rw - ext4 /dev/vda rw\n",
            "/lib/modules/%s/modules.dep" % RELEASE: "kernel/a.ko:\n",
            "/run/contract/estimate": '{"kernel": 51000000, "modules": {"a": 1000000, "b": 1000000, "c": 1000000, "kvm": 1380352}, "initrd": 13700000}',
        },
        release=RELEASE,
        tools=["grubby"],
    )
    for path in ("/boot/initramfs-%s.img" % contract.RELEASE, "/boot/initramfs-%s.img" % contract.OLD_RELEASE):
        host.remove(path)
    assert host.run(["kdumpctl", "rebuild"]).rc == 0  # before the transcript begins
    return host


def set_conf(host, line, number):
    """Each of the transcript's lines was the whole file, and newer than the image of the case before."""
    host.put("/etc/kdump.conf", line + "\n")
    os.utime(host.path(IMAGE), (1000 + number, 1000 + number))
    for path in ("/boot/vmlinuz-" + RELEASE, "/usr/bin/makedumpfile", "/lib/modules/%s/modules.dep" % RELEASE):
        os.utime(host.path(path), (500, 500))


def test_it_prints_what_the_real_one_did(host):
    checked = 0
    for number, (conf, command, printed, rc) in enumerate(commands()):
        if conf:
            set_conf(host, conf, number)
        if command.startswith("kdumpctl propagate"):
            host.put("/etc/kdump.conf", "ssh root@127.0.0.1\n")
            host.world("servers/127.0.0.1", '{"hostkey": "A", "authorized": []}')
        if command.startswith("systemctl restart"):
            host.put("/etc/kdump.conf", "bogus 1\n")
        if command.startswith("kdumpctl reset-crashkernel"):
            host.put("/etc/kdump.conf", "path /var/crash\n")
            made_of_one_entry(host)
        if command.startswith("cat /sys"):
            assert host.read_text(command[4:]) == printed, (conf, command)
        if not command.startswith(("kdumpctl ", "systemctl restart")):
            continue
        result = host.run(command.split(" <")[0].split(" "))
        said = own(result.err) + own(result.out)
        assert (said, result.rc) == (own(printed), rc), (conf, command)
        checked += 1
    assert checked == 37


def made_of_one_entry(host):
    for path in host.glob(contract.ENTRIES + "/*.conf"):
        host.remove(path)
    default = host.run(["kdumpctl", "get-default-crashkernel"]).out
    text = contract.entry_text(RELEASE, "root=/dev/vda crashkernel=" + default)
    host.put("%s/one.conf" % contract.ENTRIES, text)
