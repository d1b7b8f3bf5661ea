# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import json
import os
import re
import shutil
import subprocess

import pytest

from ansible_collections.vmcore.kdump.plugins.module_utils.image import init

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


def shell(name):
    return ["busybox", "sh"] if name == "busybox" else [name]


@pytest.fixture
def functions(tmp_path):
    """The script without its last line, which starts it, and with a directory in place of the machine's own."""
    text = init.SCRIPT
    assert text.endswith("\nmain\n")
    text = text[: -len("main\n")].replace("/tmp/", "%s/tmp/" % tmp_path)
    text = re.sub(r"(?<!\w)/kdump\b", "%s/kdump" % tmp_path, text).replace("/etc/kdump/", "%s/etc/" % tmp_path)
    text = text.replace("export PATH=", "# PATH=")
    for folder in ("tmp", "etc", "kdump"):
        (tmp_path / folder).mkdir()
    (tmp_path / "etc/digest").write_text("abc\n")
    (tmp_path / "functions").write_text(text)
    return tmp_path / "functions"


def run(name, functions, script):
    done = subprocess.run(
        shell(name) + ["-c", ". %s\n%s" % (functions, script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=init.SCRIPT.encode(), stdout=subprocess.PIPE, check=False
    )
    assert done.stdout.decode() == "" and done.returncode == 0


def test_every_program_that_it_calls_is_known():
    """What stands where a command stands is a function, a word of the shell, or in TOOLS."""
    known = set(re.findall(r"^([a-z_]+)\(\) \{", init.SCRIPT, re.M)) | set(init.TOOLS)
    known |= set(
        "export umask echo read local return case esac for while until if then else elif do done fi break".split()
    )
    known |= set(
        "shift set trap wait kill exit exec command continue eval [ : . sh insmod mdadm lvm makedumpfile".split()
    )
    known |= {"ip", "udhcpc", "ssh", "dd"}  # brought by the targets that need them
    text = re.sub(r"(?<![$\w\"])#.*", "", init.SCRIPT)
    text = re.sub(r"^ *(case \S+ in )?[a-z_ |*-]+\)(?= |$)", "", text, flags=re.M)  # labels of case
    words = re.findall(
        r"(?:^|&&|\|\||;|\$\(|\bthen\b|\bdo\b|\buntil\b|\bif\b|\{) *([a-z][a-z_]*)(?=[ \n;)])", text, re.M
    )
    assert {word for word in words if word not in known} - {"leave"} == set()


@pytest.mark.parametrize("name", SHELLS)
def test_phases_are_json_with_two_digits(name, functions):
    rc, out = run(
        name,
        functions,
        """
        phase_start=0 phases=
        now() { hundredths=$next; }
        next=5; phase one 0
        next=1234; phase two 1
        echo "[$phases]"
    """,
    )
    assert rc == 0
    assert json.loads(out) == [
        {"name": "one", "seconds": 0.05, "exit": 0}, {"name": "two", "seconds": 12.29, "exit": 1},
    ]  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
def test_time_is_read_in_hundredths(name, functions):
    rc, out = run(name, functions, "now; echo $hundredths; read -r a _ < /proc/uptime; echo $a")
    hundredths, seconds = out.split()
    assert rc == 0 and 0 <= round(float(seconds) * 100) - int(hundredths) < 500


@pytest.mark.parametrize("name", SHELLS)
def test_a_command_that_takes_too_long_is_killed(name, functions):
    assert run(name, functions, "limited 1 sleep 50; echo $?")[1].strip().endswith("137")
    assert run(name, functions, "limited 50 sh -c 'exit 3'; echo $?")[1].strip().endswith("3")


@pytest.mark.parametrize("name", SHELLS)
def test_what_cannot_be_killed_is_left_alone(name, functions):
    """As a process that waits in the kernel for a disk that is gone. Under bash this one keeps the test's pipe to its end."""
    script = 'end_family() { :; }\nlimited 1 sleep 12 > /dev/null 2>&1; echo "over $?"; exit 0'
    rc, out = run(name, functions, script)
    assert rc == 0 and int(out.split("over ")[1]) > 128


@pytest.mark.parametrize("name", SHELLS)
def test_modules_get_their_parameters_from_modprobe_d_and_from_the_command_line(name, functions, tmp_path):
    """A disk that needs usb-storage.quirks= to work in the running system needs it in the capture kernel as well."""
    (tmp_path / "cmdline").write_text("root=/dev/a.b ro usb-storage.quirks=1:2:u sd_mod.x=* nvme.a=b.c=d x-y-z.q\n")
    (tmp_path / "etc/modules").write_text('usb_storage delay_use=0 name="two  words"\nnvme\nx_y_z\nother\n')
    functions.write_text(functions.read_text().replace("/proc/cmdline", str(tmp_path / "cmdline")))
    script = """
        say() { :; }
        gzip() { :; }
        rm() { :; }
        insmod() { shift; echo "$module: $*"; }
        load_modules %s/etc/modules 2> /dev/null
    """
    rc, out = run(name, functions, script % tmp_path)
    assert rc == 0
    assert out.split("\n")[:-1] == [
        'usb_storage: delay_use=0 name="two  words" quirks=1:2:u',
        "nvme:  a=b.c=d",
        "x_y_z:  q",
        "other: ",
    ]


@pytest.mark.parametrize("name", SHELLS)
def test_an_existing_directory_is_never_used_again(name, functions, tmp_path):
    script = """
        date() { echo 2026-11-24-10:00:00; }
        directory=var/crash
        say() { :; }
        for round in 1 2 3; do make_folder && echo "$into"; done
    """
    rc, out = run(name, functions, script)
    base = "%s/kdump/var/crash/127.0.0.1-2026-11-24-10:00:00" % tmp_path
    assert rc == 0 and out.split() == [base, base + "-1", base + "-2"]
    assert sorted(os.listdir(os.path.dirname(base))) == [
        os.path.basename(path) for path in (base, base + "-1", base + "-2")
    ]


@pytest.mark.parametrize("name", SHELLS)
def test_waiting_has_an_end(name, functions):
    rc, out = run(name, functions, "device_limit=1; until_found false; echo $?; until_found true; echo $?")
    assert rc == 0 and out.split() == ["1", "0"]


@pytest.mark.parametrize("name", SHELLS)
def test_the_watch_keeps_the_lowest_memory(name, functions, tmp_path):
    script = "watch_over & watcher=$!; sleep 3; kill $watcher; cat %s/tmp/memory" % tmp_path
    rc, out = run(name, functions, script)
    free, available = out.split()[-2:]
    assert rc == 0 and 0 < int(free) and 0 < int(available)


SAVES = [
    ("makedumpfile -l -d 31", 1, "makedumpfile -l -d 31 /proc/vmcore INTO/vmcore-incomplete"),
    ("makedumpfile -l -d 31", 4, "makedumpfile -l -d 31 --num-threads=4 /proc/vmcore INTO/vmcore-incomplete"),
    ("makedumpfile -E -d 31", 4, "makedumpfile -E -d 31 /proc/vmcore INTO/vmcore-incomplete"),
    ("makedumpfile --num-threads=2 -c", 4, "makedumpfile --num-threads=2 -c /proc/vmcore INTO/vmcore-incomplete"),
    ("cp --sparse=always", 4, "cp --sparse=always /proc/vmcore INTO/vmcore-incomplete"),
]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("collector, cpus, command", SAVES)
def test_how_the_collector_is_called(name, functions, tmp_path, collector, cpus, command):
    rc, out = run(
        name,
        functions,
        """
        makedumpfile() { echo "makedumpfile $*" > %(into)s/call; touch %(into)s/vmcore-incomplete; }
        cp() { echo "cp $*" > %(into)s/call; touch %(into)s/vmcore-incomplete; }
        count_cpus() { cpus=%(cpus)d; }
        phase_start=0 phases= into=%(into)s core_collector="%(collector)s"
        save_vmcore && cat %(into)s/call
    """
        % {"into": tmp_path, "cpus": cpus, "collector": collector},
    )
    assert rc == 0 and out.rstrip("\n").split("\n")[-1] == command.replace("INTO", str(tmp_path))
    assert (tmp_path / "vmcore").exists() and not (tmp_path / "vmcore-incomplete").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_a_failed_collector_leaves_no_vmcore(name, functions, tmp_path):
    rc, out = run(
        name,
        functions,
        """
        makedumpfile() { touch %(into)s/vmcore-incomplete; return 2; }
        phase_start=0 phases= into=%(into)s core_collector="makedumpfile -c"
        save_vmcore; echo "result $?"; echo "$phases"
    """
        % {"into": tmp_path},
    )
    assert "result 1" in out and '"name": "vmcore"' in out and '"exit": 2' in out
    assert (tmp_path / "vmcore-incomplete").exists() and not (tmp_path / "vmcore").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_the_report_is_json(name, functions, tmp_path):
    (tmp_path / "vmcore").write_bytes(b"12345")
    rc, out = run(
        name,
        functions,
        """
        dmesg() { echo kernel; }
        phase_start=0 phases= into=%(into)s release=6.1 total=1000
        echo "10 20" > %(into)s/tmp/memory
        phase start 0
        say hello
        save_report 0
    """
        % {"into": tmp_path},
    )
    assert rc == 0, out
    report = json.loads((tmp_path / "capture.json").read_text())
    assert report["format"] == 1 and report["bytes"] == 5 and report["digest"] == "abc" and report["status"] == 0
    assert report["memory"] == {"total": 1024000, "free_low": 10240, "available_low": 20480}
    assert [phase["name"] for phase in report["phases"]] == ["start", "log"]
    assert "hello" in (tmp_path / "kexec-dmesg.log").read_text()


# What becomes of a connection in the middle of capture.json; the files there.
SENT = {
    "whole": ("", {"capture.json", "kexec-dmesg.log", "vmcore-dmesg.txt"}),
    "cut": ("capture-incomplete.json", {"capture-incomplete.json", "kexec-dmesg.log", "vmcore-dmesg.txt"}),
    "cut before": ("vmcore-dmesg-incomplete.txt", {"capture.json", "kexec-dmesg.log", "vmcore-dmesg-incomplete.txt"}),
}


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("cut, expected", SENT.values(), ids=SENT)
def test_what_was_cut_on_its_way_to_a_server_does_not_get_its_name(name, functions, tmp_path, cut, expected):
    """The server's own part, a shell, comes to its end all the same: what it reads has ended."""
    (tmp_path / "tmp/memory").write_text("10 20\n")
    (tmp_path / "there").mkdir()
    script = """
        ssh() {
            for asked; do :; done
            case $asked in *"dd of="*"/%s'") [ -z "%s" ] || { head -c 5 | sh -c "$asked"; return 255; } ;; esac
            sh -c "$asked"
        }
        dmesg() { echo kernel; }
        makedumpfile() { echo panic > "$3"; }
        phase_start=0 phases= into=%s kind=ssh user=kdump server=s hook_limit=60 release=6.1 total=1000
        save_dmesg
        save_report 0
    """
    rc, out = run(name, functions, script % (cut, cut, tmp_path / "there"))
    assert rc == 0 and {path.name for path in (tmp_path / "there").iterdir()} == expected, out
    assert ("could not be" in out) == bool(cut)
    if "capture.json" in expected:
        phases = json.loads((tmp_path / "there/capture.json").read_text())["phases"]
        assert [(phase["name"], phase["exit"]) for phase in phases] == [("dmesg", 255 if cut else 0), ("log", 0)]


@pytest.mark.parametrize("name", SHELLS)
def test_what_a_command_has_started_ends_with_it(name, functions, tmp_path):
    """A hook's own children would keep the target busy, and the hook's descriptors open."""
    script = "limited 1 sh -c 'sleep 51 & echo $! > %s/child; sh -c \"sleep 52 & wait\"; :'; echo $?" % tmp_path
    assert run(name, functions, script)[1].strip().endswith("137")
    alive = subprocess.run(["ps", "-eo", "ppid,stat,args"], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert not re.search(r" [^Z]\S* sleep 5[12]$", alive, re.M)


@pytest.mark.parametrize("name", SHELLS)
def test_without_a_console_nothing_is_opened_as_standard_output(name, functions, tmp_path):
    script = "( . %s; sh -c 'readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 > %s/fds' ) <&- >&- 2>&-" % (
        functions, tmp_path,
    )  # fmt: skip
    subprocess.run(shell(name) + ["-c", script], timeout=60, check=False)
    # The second is the file that the answer goes to.
    assert (tmp_path / "fds").read_text().split() == ["/dev/null", "%s/fds" % tmp_path, "/dev/null"]


@pytest.mark.parametrize("name", SHELLS)
def test_any_message_is_json_in_the_report(name, functions, tmp_path):
    """dash's echo, unlike the others', acts on backslashes."""
    (tmp_path / "text").write_text('a "quoted" \\\\ \\c \\n word\n')
    script = """
        read -r message < %s/text
        total=1 release=6.1 phases= told_target={} told_directory=
        echo "1 2" > %s/tmp/memory
        write_capture 1
    """
    rc, out = run(name, functions, script % (tmp_path, tmp_path))
    assert rc == 0 and json.loads(out)["message"] == 'a "quoted" \\\\ \\c \\n word'


WRITTEN_OUT = [
    # what fails of: the file, the whole file system, its name
    ("", 0), ("sync-file", 1), ("sync-all", 1), ("mv", 1),
]  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("wrong, result", WRITTEN_OUT)
def test_a_vmcore_counts_when_it_is_written_out_and_has_its_name(name, functions, tmp_path, wrong, result):
    script = """
        sync() { case $1 in -f) [ "$wrong" != sync-all ] ;; *) [ "$wrong" != sync-file ] ;; esac; }
        mv() { [ "$wrong" != mv ] && command mv "$@"; }
        makedumpfile() { touch %(into)s/vmcore-incomplete; }
        phase_start=0 phases= into=%(into)s core_collector=makedumpfile wrong=%(wrong)s message=
        save_vmcore > /dev/null; echo "result $? $message"
    """
    rc, out = run(name, functions, script % {"into": tmp_path, "wrong": wrong})
    message = "the vmcore could not be written out to the target" if result else ""
    assert rc == 0 and out == "result %d %s\n" % (result, message)
    assert (tmp_path / "vmcore").exists() == (result == 0)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("written_out", [True, False])
def test_small_files_have_their_names_when_they_are_written_out(name, functions, tmp_path, written_out):
    script = """
        sync() { case $1 in -f) ;; *) echo "written out ${1##*/}" ; %s ;; esac; }
        makedumpfile() { echo panic > "$3"; }
        write_capture() { echo "{}"; }
        into=%s
        save_dmesg_here; put_capture 0
    """
    _rc, out = run(name, functions, script % ("true" if written_out else "false", tmp_path))
    assert out == "written out vmcore-dmesg-incomplete.txt\nwritten out capture-incomplete.json\n"
    assert (tmp_path / "vmcore-dmesg.txt").exists() is (tmp_path / "capture.json").exists() is written_out


@pytest.mark.parametrize("name", SHELLS)
def test_without_room_for_its_exit_code_the_collector_has_failed(name, functions, tmp_path):
    """An empty word is no exit code: the shell, the kernel's first process, would end."""
    script = """
        tee() { cat > /dev/null; : > %(top)s/tmp/collector; }
        makedumpfile() { :; }
        phase_start=0 phases= into=%(top)s core_collector=makedumpfile
        save_vmcore > /dev/null; echo "result $? $phases"
    """
    rc, out = run(name, functions, script % {"top": tmp_path})
    assert rc == 0 and out.startswith("result 1") and '"exit": 137' in out


STREAMS = [
    # the programs' own ways to end, the result, why
    ("", 0, ""),
    ("ssh() { cat > /dev/null; echo gone >&2; return 255; }", 1, "sending vmcore to S failed with exit code 255: gone"),
    ("dd() { cat; }", 1, "sending vmcore to S failed with exit code 137: it was killed"),
    ("cat() { return 3; }", 1, "saving vmcore by cat failed with exit code 3: no reason given"),
]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("programs, result, why", STREAMS)
def test_a_stream_is_whole_when_all_of_the_pipe_is(name, functions, tmp_path, programs, result, why):
    text = functions.read_text().replace("/proc/vmcore", str(tmp_path / "memory"))
    functions.write_text(text)
    (tmp_path / "memory").write_bytes(b"m" * 100_000)
    script = """
        ssh() { command cat > /dev/null; }
        %s
        phase_start=0 phases= into=/x core_collector=cat kind=ssh user=u server=s server_name=S message= bytes=0
        save_vmcore > /dev/null 2>&1; echo "result $? $message"
    """
    rc, out = run(name, functions, script % programs)
    assert rc == 0 and out.startswith("result %d %s" % (result, why)), out


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    "codes, result, calls", [("0", 0, 1), ("255 255 0", 0, 3), ("1 0", 1, 1), ("255 " * 9, 255, 5)]
)
def test_a_login_that_fails_is_tried_again_for_a_dump_that_has_arrived(name, functions, codes, result, calls):
    script = """
        limited() { calls=$((calls + 1)); code=${codes%%%% *}; codes=${codes#* }; return "$code"; }
        sleep() { :; }
        calls=0 codes="%s"
        surely_on_server "mv a b"; echo "$? $calls"
    """
    assert run(name, functions, script % codes) == (0, "%d %d\n" % (result, calls))


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    "cut, said, result", [(1, "No such file", 0), (0, "No such file", 1), (1, "Permission denied", 1)]
)
def test_a_name_that_was_given_before_the_connection_died_is_given(name, functions, cut, said, result):
    script = """
        limited() {
            [ $cut = 0 ] || { cut=0; return 255; }
            echo "mv: cannot stat 'a': %s or directory" >&2
            return 1
        }
        sleep() { :; }
        cut=%d
        surely_on_server "mv a b"; echo "$?"
    """
    assert run(name, functions, script % (said, cut)) == (0, "%d\n" % result)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("words, more, calls", [
    ("mkdir: cannot create directory '/crash/", "': File exists", 100),
    ("vmcore.kdump: There is something of that name already, and nothing is overwritten: ", ".", 100),
    ("mkdir: cannot create directory '/crash/", "': Permission denied", 10),
    ("mkdir: cannot create directory '/crash': File exists; not ", "", 10),
])  # fmt: skip
def test_a_folder_on_a_server_has_as_many_names_as_elsewhere(name, functions, tmp_path, words, more, calls):
    """Without a clock every crash is in the first second of 1970."""
    script = """
        on_server() { calls=$((calls + 1)); echo "$words${into##*/}$more" > %s/tmp/ssh.log; answer=1; return 1; }
        calls=0 words="%s" more="%s" directory=crash
        make_folder_on_server now > /dev/null; echo "$? $calls"
    """
    assert run(name, functions, script % (tmp_path, words, more)) == (0, "1 %d\n" % calls)


@pytest.mark.parametrize("name", SHELLS)
def test_a_raw_device_that_is_gone_is_not_made_in_memory(name, functions, tmp_path):
    script = """
        makedumpfile() { echo memory; }
        phase_start=0 phases= core_collector=makedumpfile kind=raw found=%s/gone bytes=0
        save_vmcore > /dev/null; echo "result $? $message"
    """
    rc, out = run(name, functions, script % tmp_path)
    assert rc == 0 and out.startswith("result 1 writing vmcore to") and "No such file" in out
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_the_root_of_the_target_has_one_slash(name, functions, tmp_path):
    rc, out = run(name, functions, 'date() { echo now; }; say() { :; }; directory=; make_folder; echo "$into"')
    assert rc == 0 and out.strip() == "%s/kdump/127.0.0.1-now" % tmp_path


SAID = [
    # what a program wrote, what it comes to
    (b"Host key verification failed.\r\n", "Host key verification failed."),
    (b"Copying data : [ 10.0 %] -\rCopying data : [ 12.0 %] \\\rwrite_buffer: No space left on device\n"
     b"This is an incomplete dumpfile, but might analyzable.\nmakedumpfile Failed.\n",
     "write_buffer: No space left on device"),
    (b"dd: error writing 'x': No space left on device\n3+0 records in\n2+1 records out\n1536 bytes (1.5 kB, 1.5 KiB) copied, 1 s\n",
     "dd: error writing 'x': No space left on device"),
    (b"mount: wrong fs type\n       dmesg(1) may have more information after failed mount system call.\n", "mount: wrong fs type"),
    (b"", "no reason given"),
    (b"100 %\r\n\n", "no reason given"),
]  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("written, said", SAID)
def test_the_sentence_that_tells_why(name, functions, tmp_path, written, said):
    (tmp_path / "log").write_bytes(written)
    assert run(name, functions, 'said_in %s/log; echo "$said"' % tmp_path) == (0, said + "\n")


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("text", ['a "quoted" \\ word', "a\x01b\rc", "gr\u00fc\u00dfe", "", "x" * 300, "\x7f\x01"])
def test_any_text_becomes_json(name, functions, tmp_path, text):
    (tmp_path / "text").write_text(text, encoding="utf-8")
    rc, out = run(name, functions, 'read -r text < %s/text; quote "$text"; printf \'"%%s"\' "$quoted"' % tmp_path)
    read = json.loads(out)
    plain = [char for char in text if " " <= char <= "~"]
    assert rc == 0 and [char for char in read if char != "?"] == plain and all(" " <= char <= "~" for char in read)


@pytest.mark.parametrize("name", SHELLS)
def test_the_watch_is_the_reason_where_it_has_ended_something(name, functions, tmp_path):
    (tmp_path / "tmp/stalled").write_text("nothing has moved\n")
    (tmp_path / "log").write_text("other\n")
    script = 'said_in %s/log; echo "$said"; said_in %s/log; echo "$said"' % (tmp_path, tmp_path)
    assert run(name, functions, script) == (0, "nothing has moved\nother\n")


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_written_moves_although_no_disk_and_no_network_do(name, functions, tmp_path):
    """As to a share of the hypervisor's, slowly, by a program two processes below /init."""
    script = """
        { dd if=%(top)s/pipe of=/dev/null bs=1k; echo; } 2> /dev/null | cat > /dev/null &
        exec 5> %(top)s/pipe
        count_written; before=$wrote
        dd if=/dev/zero bs=1k count=100 2> /dev/null >&5
        sleep 1
        count_written; echo "more $((wrote - before))"
        exec 5>&-
        count_written() { wrote=$next; }
        last_cpu=0 last_sent=0 next=0; work_done
        next=1000000000; work_done; [ "$just_sent" -ge 1000000000 ] && echo moved
    """
    os.mkfifo(str(tmp_path / "pipe"))
    rc, out = run(name, functions, script % {"top": tmp_path})
    assert rc == 0 and int(re.search(r"more (\d+)", out).group(1)) >= 100 * 1024 and "moved" in out


@pytest.mark.parametrize("name", SHELLS)
def test_after_the_watch_has_ended_what_hangs_the_failure_action_has_as_long_again(name, functions, tmp_path):
    functions.write_text(functions.read_text().replace("/proc/sysrq-trigger", str(tmp_path / "sysrq")))
    script = """
        sleep() { [ ! -e %s/sysrq ] || exit; }
        work_done() { disk=same idle_work=0 just_sent=0; }
        end_what_hangs() { echo "ended at $still"; }
        stall_limit=150
        moves
        watch_over
    """
    _rc, out = run(name, functions, script % tmp_path)
    assert out.split("\n")[:2] == ["ended at 150", "kdump: nothing has moved for 300 seconds: restarting"]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("step", ["say next", "phase next 0", "run_hook true"])
def test_the_silence_of_one_step_is_none_of_the_next(name, functions, tmp_path, step):
    """Four hooks that hang for as long as they may would restart the machine before there was any dump."""
    functions.write_text(functions.read_text().replace("/proc/sysrq-trigger", str(tmp_path / "sysrq")))
    script = """
        seconds=0 phase_start=0 phases=
        sleep() { rounds=$((rounds + 1)); [ $((rounds %% 9)) != 0 ] || { %s; } > /dev/null; [ $rounds != 60 ] || exit; }
        work_done() { disk=same idle_work=0 just_sent=0; }
        limited() { :; }
        end_what_hangs() { echo "ended at $still"; }
        stall_limit=10 rounds=0
        watch_over
    """
    assert run(name, functions, script % step)[1] == ""


@pytest.mark.parametrize("name", SHELLS)
def test_what_the_watch_has_ended_is_no_reason_for_a_later_failure(name, functions, tmp_path):
    script = """
        limited() { echo stalled > %(top)s/tmp/stalled; return 137; }
        run_hook hook; [ ! -e %(top)s/tmp/stalled ] && echo gone
        echo stalled > %(top)s/tmp/stalled
        makedumpfile() { echo "No space left on device"; return 1; }
        phase_start=0 phases= into=%(top)s core_collector=makedumpfile
        save_vmcore; echo "$message"
    """
    _rc, out = run(name, functions, script % {"top": tmp_path})
    assert "\ngone\n" in out and out.endswith("failed with exit code 1: No space left on device\n")


SHARES = [
    # versions, those that the server has, the calls of mount
    ("vers=4.2 vers=3", "vers=3", ["rw,addr=A,vers=4.2", "rw,addr=A,vers=3"]),
    ("vers=4.2 vers=3", "vers=4.2", ["rw,addr=A,vers=4.2"]),
    ("", "addr", ["rw,addr=A"]),
]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("versions, known, calls", SHARES)
def test_versions_of_nfs_are_tried_in_turn(name, functions, tmp_path, versions, known, calls):
    rc, out = run(
        name,
        functions,
        """
        mount() { echo "$*"; case $5 in *%s*) ;; *) return 32 ;; esac; }
        say() { :; }
        phase_start=0 phases= fstype=nfs options=rw,addr=A source=A:/x versions="%s"
        mount_share; echo "result $?"
    """
        % (known, versions),
    )
    wanted = ["-i -t nfs -o %s A:/x %s/kdump" % (call, tmp_path) for call in calls] + ["result 0"]
    assert rc == 0 and out.rstrip("\n").split("\n") == wanted


@pytest.mark.parametrize("name", SHELLS)
def test_a_share_that_never_comes_is_told(name, functions):
    script = """
        mount() { echo "mount: no route" >&2; return 32; }
        sleep() { :; }
        limited() { shift; "$@"; }
        phase_start=0 phases= message= fstype=virtiofs source=tag server_limit=1 options=rw
        mount_share > /dev/null; echo "result $? $message"
    """
    rc, out = run(name, functions, script)
    assert rc == 0 and out.rstrip("\n").endswith("result 1 tag cannot be mounted: mount: no route"), out


# what is to be done, what is asked of the restart tool and of the kernel
ENDS = [
    ("reboot", "", "reboot -n -f b"), ("poweroff", "", "poweroff -n -f o"), ("halt", "", "halt -n -f"),
    ("shell", "reboot", "shell reboot -n -f b"), ("shell", "poweroff", "shell poweroff -n -f o"),
]  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("action, final, done", ENDS)
def test_how_it_ends(name, functions, tmp_path, action, final, done):
    text = functions.read_text().replace("/proc/sysrq-trigger", str(tmp_path / "sysrq"))
    functions.write_text(text.replace("/dev/console", str(tmp_path / "console")))
    (tmp_path / "console").write_text("")
    script = """
        tool() { printf '%%s ' "$*" >> %(top)s/done; }
        sh() { printf 'shell ' >> %(top)s/done; }
        sleep() { exit; }
        restart_tool=tool watcher=
        finish %(action)s
    """
    subprocess.run(
        shell(name) + ["-c", ". %s\nsay() { :; }\nlimited() { :; }\nfinal_action=%s\n%s"
                       % (functions, final, script % {"top": tmp_path, "action": action})],
        timeout=60, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    asked = (tmp_path / "sysrq").read_text() if (tmp_path / "sysrq").exists() else ""
    assert ((tmp_path / "done").read_text() + asked).split() == done.split()


DEVICES = [
    # settings, what is found
    ("device=/dev/null", None),
    ("wwid=W1", "sda"), ("serial=S2", "sdb"), ("wwid=no", None), ("partuuid=P", "/dev/p"), ("", None),
]  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("settings, found", DEVICES)
def test_a_raw_device_is_found_by_what_lasts(name, functions, tmp_path, settings, found):
    for disk, file, value in (("sda", "device/wwid", "W1 \n"), ("sdb", "serial", "S2\n")):
        path = tmp_path / "block" / disk / file
        path.parent.mkdir(parents=True)
        path.write_text(value)
    text = functions.read_text().replace("/sys/block/", str(tmp_path / "block") + "/")
    functions.write_text(text.replace('[ -b "$found" ] && return', "return"))
    script = """
        blkid() { case $* in *PARTUUID=P) echo /dev/p ;; esac; }
        %s
        find_device && echo "$found"
    """
    rc, out = run(name, functions, script % settings.replace(" ", "\n"))
    assert out.strip().split("/")[-1] == (found.split("/")[-1] if found else "") and (rc == 0) == bool(found)


MOUNTS = [
    # file system, its devices, what blkid finds, how it is mounted
    ("ext4", 1, "/dev/a", "rw|/dev/a"),
    ("ext4", 1, "", None),
    ("btrfs", 2, "/dev/a\n/dev/b", "rw,device=/dev/a,device=/dev/b|/dev/a"),
    ("btrfs", 2, "/dev/b", "rw,degraded,device=/dev/b|/dev/b"),
    ("btrfs", 2, "", None),
]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("fstype, devices, present, mounted", MOUNTS)
def test_a_member_of_btrfs_that_is_gone_is_done_without(name, functions, tmp_path, fstype, devices, present, mounted):
    rc, out = run(
        name,
        functions,
        """
        blkid() { printf '%%s\\n' "%s"; }
        mount() { echo "mount $2 $4|$5 $6"; }
        say() { :; }
        phase_start=0 phases= device_limit=0 server_limit=9 uuid=U devices=%d fstype=%s options=rw
        mount_filesystem; echo "result $?"
    """
        % (present, devices, fstype),
    )
    wanted = ["mount %s %s %s/kdump" % (fstype, mounted, tmp_path), "result 0"] if mounted else ["result 1"]
    assert rc == 0 and out.rstrip("\n").split("\n") == wanted
