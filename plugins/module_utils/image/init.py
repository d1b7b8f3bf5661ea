# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/init of the capture image: what runs after a panic. Private to this collection.

One script for any POSIX shell: busybox's, dash or bash; its parts are init_*.py. It reads /etc/kdump/plan, which
plan_file.py writes, and nothing else of the host. It follows kdump-utils' capture flow (dracut/99kdumpbase/kdump.sh)
in order and names. Every wait has a limit, and whatever fails ends in failure_action. TOOLS are the only programs it
uses, with the packages that hold them; a target brings further ones.
"""

from .init_base import BASE
from .init_disk import DISK
from .init_network import NETWORK
from .init_remote import REMOTE
from .init_report import REPORT
from .init_save import SAVE

TOOLS = {
    "blkid": "util-linux", "date": "coreutils", "dmesg": "util-linux", "gzip": "gzip", "ls": "coreutils",
    "mkdir": "coreutils", "mount": "util-linux", "mv": "coreutils", "rm": "coreutils", "sleep": "coreutils",
    "sync": "coreutils", "tee": "coreutils", "umount": "util-linux",
}  # fmt: skip

_HEAD = r"""#!/bin/sh
# The capture kernel's only process: save /proc/vmcore, say what happened, restart.
# shellcheck disable=SC2317 # some functions are called by until_found, which shellcheck does not see
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
export LC_ALL=C
umask 077
# A kernel that has no working console starts its first process without open files: the vmcore would be opened as the
# standard output of the program that writes it.
(: 3<&0) || exec < /dev/null
(: 3>&1) || exec > /dev/null
(: 3>&2) || exec 2> /dev/null
trap : USR1 # for limited()

# --- what /etc/kdump/plan sets ---
library_path=              # directories of the libraries, as the dynamic linker has no cache here
release=                   # of the kernel that the image is for
core_collector=            # as in kdump.conf, without -F
kdump_pre='' kdump_post='' kdump_emergency=''
failure_action=reboot      # reboot halt poweroff shell dump_to_rootfs
final_action=reboot        # reboot halt poweroff
device_limit=90            # seconds for the target's device to appear
server_limit=180           # seconds for a server to answer, and for a mount
leave_limit=60             # seconds for each of the last writes to a target, which may have died
send_limit=300             # seconds for each small file to a server
hook_limit=900             # seconds for each of kdump_pre, kdump_post and the like
stall_limit=1000           # seconds without any work of CPU, disk or network, after which nothing will come; hooks may wait
starters=                  # files that nothing needs once the target is mounted
restart_tool=              # busybox where it can restart the machine
ssh_options=
fence=                     # fence_kdump_send with its arguments and the nodes
report_at=                 # where reports of failures go: `dump` the target itself, `report` another file system, or nowhere
use_target() { :; }        # sets the following, for `dump`, `root` or `report`; target.VARIABLES says what they are
kind='' directory='' uuid='' device='' devices=1 fstype='' options='' activate='' source='' partuuid='' serial='' wwid=''
user='' server='' server_name='' versions='' hostname=''
# shellcheck disable=SC2034 # it is among ssh_options
port=''
"""

_MAIN = r"""
# --- hooks, as kdump-utils runs them: only kdump_pre can stop the dump ---
run_hook() {
    say "running $*"
    limited "$hook_limit" "$@"
    hook=$?
    rm -f /tmp/stalled # it was the hook's, and tells of nothing later
    [ $hook = 0 ] || say "$1 ended with exit code $hook"
    return $hook
}

run_folder() {
    hooks=$1
    shift
    for file in "/etc/kdump/$hooks"/*; do
        [ ! -x "$file" ] || run_hook "$file" "$@"
    done
}

run_pre() {
    if [ -n "$kdump_pre" ]; then
        run_hook "$kdump_pre" || {
            complain "kdump_pre forbids the dump: $kdump_pre ended with exit code $hook"
            return 1
        }
    fi
    run_folder pre.d
    return 0
}

run_post() {
    run_folder post.d "$1"
    [ -z "$kdump_post" ] || run_hook "$kdump_post" "$1"
}

run_emergency() {
    run_folder emergency.d
    [ -z "$kdump_emergency" ] || run_hook "$kdump_emergency"
}

# --- the dump ---
# The cluster is told at once that this machine is busy, and again and again until it restarts.
tell_cluster() {
    [ -n "$fence" ] || return 0
    # The target's network comes first, for what follows must not disturb it.
    [ ! -e /etc/kdump/network ] || reach_network
    say "telling the cluster: $fence"
    send_to_cluster > /dev/null 2>&1 &
    echo $! > /tmp/fence
}

# Beside the dump, which does not wait for the nodes' links.
send_to_cluster() {
    network_is_up='' network_plan=/etc/kdump/network-fence
    bring_up_network
    set -f # its words are no patterns
    # shellcheck disable=SC2086
    exec $fence
}

reach_target() {
    target_mounted=
    case $kind in
        ssh)
            reach_network
            return
            ;;
        raw)
            await_device "the device $device$partuuid$wwid$serial" || {
                complain "no device $device$partuuid$wwid$serial after $device_limit seconds"
                return 1
            }
            case $found in *' '*)
                complain "several devices are called $partuuid: $found"
                return 1
                ;;
            esac
            return 0
            ;;
        nfs) mount_nfs ;;
        virtiofs) mount_share ;;
        *) mount_filesystem ;;
    esac && target_mounted=yes
}

# drop_starters: in these few megabytes a program that stays unused is what makedumpfile lacks.
drop_starters() {
    # shellcheck disable=SC2086 # one word for each file
    [ -z "$starters" ] || rm -f $starters
    starters=
}

# dump TARGET [with_pre]: 0 when the vmcore is whole and has its name, 2 when kdump_pre forbade it.
dump() {
    into='' bytes=0 found=''
    use_target "$1"
    reach_target || return 1
    drop_starters
    if [ "$2" = with_pre ]; then
        run_pre
        hook=$?
        phase pre $hook
        [ $hook = 0 ] || return 2
    fi
    if [ ! -e /proc/vmcore ]; then
        complain "there is no /proc/vmcore: this kernel was not started by a panic"
        return 1
    fi
    make_folder || return 1
    case $kind in
        raw | ssh) ;;
        *)
            # Their room is taken now: a dump that fills the disk must not keep them out.
            dmesg > "$into/kexec-dmesg.log"
            dmesg > "$into/capture-incomplete.json"
            ;;
    esac
    save_dmesg
    save_vmcore || return 1
}

# --- the end ---
finish() {
    say "final action: $1"
    limited "$leave_limit" sync
    case $1 in
        shell)
            kill "$watcher" 2> /dev/null
            say "a shell for you; leave it with exit to $final_action"
            sh -i < /dev/console > /dev/console 2>&1
            unmount_target
            finish "$final_action"
            ;;
        poweroff)
            [ -z "$restart_tool" ] || $restart_tool poweroff -n -f
            echo o > /proc/sysrq-trigger
            sleep 60
            ;;
        halt)
            kill "$watcher" 2> /dev/null
            [ -z "$restart_tool" ] || $restart_tool halt -n -f
            while :; do sleep 3600; done
            ;;
    esac
    [ -z "$restart_tool" ] || $restart_tool reboot -n -f
    echo b > /proc/sysrq-trigger
    sleep 10
    # Without sysrq in the kernel: when its first process ends the kernel panics, and panic= restarts it.
    exit 1
}

start() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    # The kernel lets its first file system grow to half of the memory, and the image may have nearly filled that.
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /run
    mkdir -p /run/lock/lvm
    phase_start=0 phases='' message='' target_mounted=''
    phase start 0
    # shellcheck source=/dev/null
    . /etc/kdump/plan
    [ -z "$library_path" ] || export LD_LIBRARY_PATH="$library_path"
    export MDADM_NO_UDEV=1 # nobody would answer mdadm's wait
    say "capturing the memory of the kernel that panicked (image for $release)"
    read -r panic_restart < /proc/sys/kernel/panic
    [ "$panic_restart" != 0 ] || echo 10 > /proc/sys/kernel/panic
    while read -r key value _; do
        [ "$key" != MemTotal: ] || total=$value
    done < /proc/meminfo
    echo "0 0" > /tmp/memory
    watch_over &
    watcher=$!
    load_modules /etc/kdump/modules
    phase modules 0
}

# after_failure: report, hooks, and what failure_action says. It comes back where there may be a dump all the same.
after_failure() {
    report_failure "$status"
    run_emergency
    [ "$failure_action" = dump_to_rootfs ] || {
        [ "$failure_action" = shell ] || unmount_target
        finish "$failure_action"
    }
    unmount_target
    say "failure action: dumping to the root file system"
    load_modules /etc/kdump/modules-report
    # Another way than the target's: that may be up, and not lead there.
    [ ! -e /etc/kdump/network-root ] || network_is_up='' network_plan=/etc/kdump/network-root
    dump root
    status=$?
    [ $status != 0 ] || say "the vmcore is complete, on the root file system"
    save_report $status
}

main() {
    start
    tell_cluster
    dump dump with_pre
    status=$?
    if [ $status = 2 ]; then
        describe_target
        report_failure 1
        unmount_target
        finish "$final_action"
    fi
    if [ $status = 0 ]; then message=; else say "the dump failed"; fi
    run_post $status
    phase post 0
    save_report $status
    if [ $status = 0 ]; then
        say "the vmcore is complete"
    else
        after_failure
    fi
    unmount_target
    finish "$final_action"
}

main
"""

SCRIPT = _HEAD + BASE + DISK + NETWORK + REMOTE + SAVE + REPORT + _MAIN
