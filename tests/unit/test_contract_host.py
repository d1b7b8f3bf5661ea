# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The made-up machine of the contract tests."""

from ansible_collections.vmcore.kdump.tests.contract import host as contract

SHOW = "import os, sys\nprint(os.environ['KDUMP_CONTRACT_ROOT'], sys.argv[1:], sys.stdin.read())\nsys.exit(3)\n"


def test_programs_run_in_the_machine(tmp_path):
    host = contract.ContractHost(tmp_path)
    host.program("show", SHOW)
    result = host.run(["show", "--a", "b"], stdin=b"typed")
    assert (result.rc, result.out, result.err) == (3, "%s ['--a', 'b'] typed\n" % tmp_path, "")
    assert host.run(["grubby"]).rc == -1
    assert host.calls == [["show", "--a", "b"], ["grubby"]]


def test_files_on_top_of_the_machines_own(tmp_path):
    host = contract.ContractHost(tmp_path, files={"/etc/default/grub": None, "/etc/x": "y"})
    assert not host.exists("/etc/default/grub") and host.read_text("/etc/x") == "y"
    before = host.snapshot()
    host.put("/etc/x", "z")
    assert [path for path, data in host.snapshot().items() if before[path] != data] == ["/etc/x"]


def test_a_transcript_is_read_command_by_command():
    commands = contract.transcript("grubby-8.40-63.el9.txt")
    assert len(commands) == 22 and commands[1] == ("grubby --default-kernel", contract.KERNEL + "\n", 0)
    assert [rc for command, out, rc in commands if rc] == [1, 1, 1]
