# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""contract/bin/grubby against what the real grubby printed and wrote, command by command."""

import pytest

from ansible_collections.vmcore.kdump.tests.contract import host as contract

TRANSCRIPT = contract.transcript("grubby-8.40-63.el9.txt")


def argv_of(command):
    """The transcript shows words as they are, without the quotes that kept `--args=a b` one word."""
    words = []
    for word in command.split(" "):
        if words and not word.startswith("-") and words[0] == "grubby" and len(words) > 1:
            words[-1] += " " + word
        else:
            words.append(word)
    return words


def test_it_prints_and_writes_what_the_real_one_did(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"])
    for number, (command, printed, rc) in enumerate(TRANSCRIPT):
        if number == len(TRANSCRIPT) - 2:  # from here on the real one had no entries
            for path in host.glob(contract.ENTRIES + "/*.conf"):
                host.remove(path)
        if command.startswith("cat "):
            assert host.read_text(command[4:]) == printed, command
            continue
        result = host.run(argv_of(command))
        assert (result.out + result.err, result.rc) == (printed, rc), command
    assert number == 21


def test_without_entries_it_exits_with_0_and_changes_no_entry(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"])
    for path in host.glob(contract.ENTRIES + "/*.conf"):
        host.remove(path)
    assert host.run(["grubby", "--update-kernel=ALL", "--args=crashkernel=1M"]).rc == 0
    assert host.glob(contract.ENTRIES + "/*.conf") == []


UPDATE = ["grubby", "--update-kernel=ALL", "--args=crashkernel=512M"]
ENTRY = contract.entry_path(contract.RELEASE)


def test_an_entry_that_cannot_be_written_is_passed_over(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"])
    host.put(ENTRY, host.read_text(ENTRY), 0o444)
    before = host.read(ENTRY)
    result = host.run(UPDATE)
    assert (result.rc, host.read(ENTRY)) == (0, before) and "Operation not permitted" in result.err
    assert "crashkernel=512M" in host.read_text(contract.entry_path(contract.OLD_RELEASE))


def test_a_full_boot_changes_nothing_and_exits_with_0(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"], env={"KDUMP_CONTRACT_FULL": "/boot"})
    before = host.read(ENTRY)
    assert (host.run(UPDATE).rc, host.read(ENTRY)) == (0, before)
    assert "crashkernel=512M" in host.read_text("/etc/default/grub")  # which is not in /boot


GRUB = 'GRUB_CMDLINE_LINUX="a \\"b c\\""\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
DAMAGE = {  # what update_grub_files does to the file: name -> (before, after)
    "it takes GRUB_CMDLINE_LINUX_DEFAULT for GRUB_CMDLINE_LINUX, and escapes no quotes": (
        GRUB,
        'GRUB_CMDLINE_LINUX="a "b c" crashkernel=512M"\n' * 2,
    ),
    "an empty value stays empty": ('GRUB_CMDLINE_LINUX=""\n', 'GRUB_CMDLINE_LINUX=""\n'),
    "none is added": ("GRUB_TIMEOUT=5\n", "GRUB_TIMEOUT=5\n"),
}


@pytest.mark.parametrize("before, after", DAMAGE.values(), ids=list(DAMAGE))
def test_what_it_does_to_default_grub(tmp_path, before, after):
    host = contract.ContractHost(tmp_path, ["grubby"], {"/etc/default/grub": before})
    host.run(UPDATE)
    assert host.read_text("/etc/default/grub") == after
    host.put("/etc/default/grub", before)
    assert host.run(UPDATE + ["--no-etc-grub-update"]).rc == 0
    assert host.read_text("/etc/default/grub") == before


def test_an_option_after_no_etc_grub_update_is_lost(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"])
    before = host.snapshot()
    assert host.run(["grubby", "--no-etc-grub-update", "--update-kernel=ALL", "--args=x"]).rc == 1
    assert host.snapshot() == before


def test_the_first_line_of_kernel_cmdline_is_all_that_stays(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"], {"/etc/kernel/cmdline": "root=/dev/a ro\nconsole=ttyS0\n"})
    host.run(UPDATE)
    assert host.read_text("/etc/kernel/cmdline") == "root=/dev/a ro crashkernel=512M\n"


def test_kernelopts(tmp_path):
    """As EL8 has it: the entries follow grubenv, and one that is named gets options of its own."""
    files = {
        "/boot/grub2/grubenv": contract.grubenv(kernelopts="root=/dev/a ro x=1"),
        ENTRY: contract.entry_text(contract.RELEASE, "$kernelopts $tuned_params"),
    }
    host = contract.ContractHost(tmp_path, ["grubby"], files)
    host.run(UPDATE)
    assert "\nkernelopts=root=/dev/a ro x=1 crashkernel=512M\n" in host.read_text("/boot/grub2/grubenv")
    assert len(host.read("/boot/grub2/grubenv")) == 1024
    assert "options $kernelopts $tuned_params\n" in host.read_text(ENTRY)
    assert 'args="ro x=1 crashkernel=512M $tuned_params"' in host.run(["grubby", "--info=0"]).out
    host.run(["grubby", "--update-kernel=0", "--args=crashkernel=1G"])
    assert "options root=/dev/a ro x=1 $tuned_params crashkernel=1G\n" in host.read_text(ENTRY)


def test_a_grubenv_without_room_stays_as_it_is(tmp_path):
    text = contract.grubenv(kernelopts="ro " + "x" * 975)
    host = contract.ContractHost(tmp_path, ["grubby"], {"/boot/grub2/grubenv": text})
    result = host.run(UPDATE)
    assert (result.rc, host.read_text("/boot/grub2/grubenv")) == (0, text) and "too small" in result.err


def test_an_ampersand_becomes_the_line_that_was_there(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"], {ENTRY: contract.entry_text(contract.RELEASE, "ro a=1&2")})
    host.run(UPDATE)
    assert "options ro a=1options ro a=1&22 crashkernel=512M\n" in host.read_text(ENTRY)


def test_with_a_mounted_boot_paths_have_its_name(tmp_path):
    files = {
        "/proc/mounts": "/dev/vda1 /boot xfs rw 0 0\n",
        ENTRY: contract.entry_text(contract.RELEASE, "ro").replace(" /boot/", " /"),
    }
    host = contract.ContractHost(tmp_path, ["grubby"], files)
    assert host.run(["grubby", "--default-kernel"]).out == contract.KERNEL + "\n"
    assert host.run(["grubby", "--update-kernel=" + contract.KERNEL, "--args=crashkernel=1G"]).rc == 0
    assert "options ro crashkernel=1G\n" in host.read_text(ENTRY)


def test_an_unknown_default_means_no_entry_and_exit_code_0(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"], {"/boot/grub2/grubenv": contract.grubenv(saved_entry="gone")})
    before = host.snapshot()
    assert host.run(["grubby", "--update-kernel=DEFAULT", "--args=crashkernel=1G"]).rc == 0
    assert host.snapshot() == before and host.run(["grubby", "--default-index"]).out == "\n"


def test_s390x_has_no_grub_files(tmp_path):
    host = contract.ContractHost(tmp_path, ["grubby"], {"/etc/zipl.conf": "[defaultboot]\n"}, machine="s390x")
    grub = host.read("/etc/default/grub")
    host.run(UPDATE)
    assert host.read("/etc/default/grub") == grub and "crashkernel=512M" in host.read_text(ENTRY)
