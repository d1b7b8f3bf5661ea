# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A made-up EL9 machine in a directory, where the programs are those of tests/contract/bin.

Each of these describes, as a program, what the real tool does, refuses and prints, and cites where upstream says so. They
keep their state below KDUMP_CONTRACT_ROOT, find each other on PATH, and run with the Python that runs the test.
"""

import os
import pathlib
import sys

from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel

from . import programs

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE / "bin"
TRANSCRIPTS = HERE / "transcripts"

MACHINE_ID = "fdbda188c010478586c8f758e03a9909"
RELEASE = "5.14.0-503.11.1.el9_5.x86_64"
OLD_RELEASE = "5.14.0-427.13.1.el9_4.x86_64"
RESCUE = "0-rescue-" + MACHINE_ID
KERNEL, OLD_KERNEL, RESCUE_KERNEL = ("/boot/vmlinuz-" + release for release in (RELEASE, OLD_RELEASE, RESCUE))
RANGES = "1G-4G:192M,4G-64G:256M,64G-:512M"
ENTRIES = "/boot/loader/entries"
MIB = 1 << 20

# The command lines of the entries of transcripts/grubby-8.40-63.el9.txt, from whose /etc/default/grub they differ.
OPTIONS = (
    "root=/dev/mapper/rhel-root ro resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap console=tty0 "
    'console=ttyS0,115200n8 dyndbg="file drivers/usb/* +p" crashkernel=' + RANGES
)
RESCUE_OPTIONS = "root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root"
DEFAULT_GRUB = """\
GRUB_TIMEOUT=5
GRUB_DEFAULT=saved
GRUB_CMDLINE_LINUX="resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root"
GRUB_ENABLE_BLSCFG=true
"""
GRUBENV_SIZE = 1024  # GRUB writes into the block by position: util/editenv.c


def entry_path(release):
    """As kernel-install names it; the rescue entry of dracut's 51-dracut-rescue.install has its own form."""
    return "%s/%s-%s.conf" % (ENTRIES, MACHINE_ID, "0-rescue" if release == RESCUE else release)


def entry_text(release, options):
    return (
        "title Red Hat Enterprise Linux (%s) 9.5 (Plow)\nversion %s\nlinux /boot/vmlinuz-%s\n"
        "initrd /boot/initramfs-%s.img\noptions %s\ngrub_users $grub_users\ngrub_arg --unrestricted\ngrub_class rhel\n"
    ) % (release, release, release, release, options)


def grubenv(**variables):
    text = "# GRUB Environment Block\n" + "".join("%s=%s\n" % item for item in sorted(variables.items()))
    return text + "#" * (GRUBENV_SIZE - len(text))


class ContractHost(Host):
    """The machine below `root` with these `tools`; `calls` are the programs that were run, each as its argv.

    `files` go on top of the machine's own: path to text, None takes the file away. `env` is for the programs.
    """

    def __init__(self, root, tools=(), files=None, machine="x86_64", release=RELEASE, env=None):
        super().__init__(str(root), self._program, Kernel(release, machine))
        self.calls = []
        self.env = dict(env or {})
        for path, text in dict(self._files(), **(files or {})).items():
            if text is not None:
                self.put(path, text)
        os.makedirs(self.path("/etc/kernel"), exist_ok=True)  # systemd's
        for tool in tools:
            self.program(tool, (BIN / tool).read_text())

    def _files(self):
        texts = {
            "/etc/os-release": 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.5"\nPLATFORM_ID="platform:el9"\n',
            "/etc/machine-id": MACHINE_ID + "\n",
            "/etc/hostname": "el9.example.com\n",
            "/etc/default/grub": DEFAULT_GRUB,
            "/boot/grub2/grub.cfg": "insmod blscfg\nblscfg\n",
            "/boot/grub2/grubenv": grubenv(saved_entry=MACHINE_ID + "-" + RELEASE),
            "/proc/cmdline": "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-%s %s\n" % (self.kernel.release, OPTIONS),
            "/proc/cpuinfo": "processor\t: 0\napicid\t\t: 0\ninitial apicid\t: 0\n",
            "/proc/iomem": "00001000-0009fbff : System RAM\n00100000-7ffdffff : System RAM\n  6d000000-78ffffff : Crash kernel\n",
            "/proc/meminfo": "MemTotal:        1826240 kB\nMemFree:         1200000 kB\n",
            "/proc/mounts": "/dev/mapper/rhel-root / xfs rw,relatime 0 0\n",
            "/proc/sys/kernel/kexec_load_disabled": "0\n",
            "/sys/kernel/kexec_crash_size": "%d\n" % (192 * MIB),
            "/sys/kernel/kexec_crash_loaded": "0\n",
            "/sys/kernel/kexec_loaded": "0\n",
            entry_path(RESCUE): entry_text(RESCUE, RESCUE_OPTIONS),
        }
        for release in (RELEASE, OLD_RELEASE):
            texts[entry_path(release)] = entry_text(release, OPTIONS)
        for release in (RELEASE, OLD_RELEASE, RESCUE):
            texts["/boot/vmlinuz-" + release] = "kernel " + release
            texts["/boot/initramfs-%s.img" % release] = "initramfs " + release
        return texts

    def put(self, path, text, mode=0o644):
        """Write without waiting for the disk."""
        real = pathlib.Path(self.path(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        real.chmod(mode)

    def program(self, name, text):
        """Put a program in /usr/bin: a tool of the contracts, or one that lies."""
        self.put("/usr/bin/" + name, text, 0o755)

    def snapshot(self):
        """Every file with its bytes: what check mode and a second run must leave alone."""
        found = {}
        for folder, dummy, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                found["/" + os.path.relpath(path, self.root)] = (
                    os.readlink(path) if os.path.islink(path) else pathlib.Path(path).read_bytes()
                )
        return found

    def _program(self, argv, timeout=None, stdin=None):
        """Run a program of the machine; one that it does not have is what commands.run makes of it."""
        self.calls.append(list(argv))
        found = self.which(argv[0]) if "/" not in argv[0] else argv[0]
        if not found or not self.is_executable(found):
            return Result(argv, -1, "", "%s: No such file or directory" % argv[0])
        env = {
            "PATH": os.pathsep.join([self.path("/usr/bin"), os.path.dirname(sys.executable), "/usr/bin", "/bin"]),
            "LC_ALL": "C",
            "KDUMP_CONTRACT_ROOT": self.root,
            "KDUMP_CONTRACT_MACHINE": self.kernel.machine,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = programs.SERVER.run(
            path=self.path(found), argv=list(argv), env=dict(env, **self.env), stdin=(stdin or b"").decode("latin-1")
        )
        return Result(argv, done["rc"], _text(done["out"]), _text(done["err"]))


def transcript(name):
    """[(command, output, exit code)] of a real tool's transcript, in order."""
    found = []
    for part in ("\n" + (TRANSCRIPTS / name).read_text()).split("\n$ ")[1:]:
        command, dummy, rest = part.partition("\n")
        out, dummy, rc = rest.rpartition("[exit ")
        found.append((command, out, int(rc.split("]")[0])))
    return found


def _text(characters):
    return characters.encode("latin-1").decode("utf-8", "surrogateescape")
