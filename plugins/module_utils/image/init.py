# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/init of the capture image: what runs after a panic. Private to this collection.

One script for any POSIX shell: busybox's, dash or bash. It reads /etc/kdump/plan, which build.py writes, and nothing
else of the host. It follows kdump-utils' capture flow (dracut/99kdumpbase/kdump.sh) in order and names. Every wait has
a limit, and whatever fails ends in failure_action. TOOLS are the only programs it uses, with the packages that hold
them.
"""

TOOLS = {
    "blkid": "util-linux", "date": "coreutils", "dmesg": "util-linux", "gzip": "gzip", "ls": "coreutils",
    "mkdir": "coreutils", "mount": "util-linux", "mv": "coreutils", "rm": "coreutils", "sleep": "coreutils",
    "sync": "coreutils", "umount": "util-linux",
}  # fmt: skip

SCRIPT = r"""#!/bin/sh
# The capture kernel's only process: save /proc/vmcore, say what happened, restart.
# shellcheck disable=SC2317 # some functions are called by until_found, which shellcheck does not see
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
umask 077
# A kernel that has no working console starts its first process without open files: the vmcore would be opened as the
# standard output of the program that writes it.
(: 3<&0) || exec < /dev/null
(: 3>&1) || exec > /dev/null
(: 3>&2) || exec 2> /dev/null

# --- what /etc/kdump/plan sets ---
library_path=              # directories of the libraries, as the dynamic linker has no cache here
release=                   # of the kernel that the image is for
core_collector=            # as in kdump.conf, without -F
kdump_pre='' kdump_post='' kdump_emergency=''
failure_action=reboot      # reboot halt poweroff shell dump_to_rootfs
final_action=reboot        # reboot halt poweroff
device_limit=90            # seconds for the target's device to appear
hook_limit=900             # seconds for each of kdump_pre, kdump_post and the like
stall_limit=1000           # seconds without any work of CPU or disk, after which nothing will come any more; hooks may wait
starters=                  # files that nothing needs once the target is mounted
restart_tool=              # busybox where it can restart the machine
use_target() { :; }        # sets the six that follow, for `dump` or for `root`
uuid='' device='' devices=1 fstype='' options='' directory='' activate=''

# --- telling ---
say() {
    now
    echo "kdump: [$seconds] $*"
    echo "kdump: [$seconds] $*" >> /tmp/kdump.log
}

# The time since this kernel started: hundredths of a second in $hundredths, readable in $seconds.
now() {
    read -r seconds _ < /proc/uptime
    part=${seconds#*.}
    hundredths=$((${seconds%.*} * 100 + 1$part - 100))
}

# phase NAME EXIT: what ran since the last one is over.
phase() {
    now
    spent=$((hundredths - phase_start))
    phase_start=$hundredths
    hundredth=$((spent % 100))
    [ "$hundredth" -gt 9 ] || hundredth=0$hundredth
    phases="$phases${phases:+, }{\"name\": \"$1\", \"seconds\": $((spent / 100)).$hundredth, \"exit\": $2}"
}

# --- limits ---
pause() { sleep 0.2 2> /dev/null || sleep 1; }

# end_family PID: kill it and what it has started; itself last, as somebody waits for it.
end_family() {
    kill -STOP "$1" 2> /dev/null
    children=
    read -r children 2> /dev/null < "/proc/$1/task/$1/children"
    for child in $children; do end_family "$child"; done
    kill -9 "$1" 2> /dev/null
}

# limited SECONDS COMMAND…: its exit code, 137 when it was killed for its time.
limited() {
    time_limit=$1
    shift
    "$@" &
    worker=$!
    (sleep "$time_limit" && end_family "$worker") > /dev/null 2>&1 &
    guard=$!
    wait "$worker"
    result=$?
    end_family "$guard"
    return "$result"
}

# until_found FUNCTION…: call it until it succeeds, for device_limit seconds.
until_found() {
    now
    give_up=$((hundredths + device_limit * 100))
    until "$@"; do
        now
        [ "$hundredths" -lt "$give_up" ] || return 1
        pause
    done
}

# What the machine has done so far: CPU time but idling, and sectors written and read.
work_done() {
    read -r _ user nice system _ < /proc/stat
    work=$((user + nice + system))
    idle_work=$((work - last_cpu))
    last_cpu=$work
    disk=
    while read -r _ _ _ _ _ read_sectors _ _ _ written _; do
        disk=$disk/$read_sectors-$written
    done < /proc/diskstats
}

# Runs beside everything else: keeps the lowest memory seen, and restarts a machine in which nothing moves any more.
watch_over() {
    free_low='' available_low='' last_cpu=0 last_disk='' still=0
    while :; do
        while read -r key value _; do
            case $key in
                MemFree:) [ "${free_low:-$value}" -lt "$value" ] || free_low=$value ;;
                MemAvailable:) [ "${available_low:-$value}" -lt "$value" ] || available_low=$value ;;
            esac
        done < /proc/meminfo
        echo "$free_low $available_low" > /tmp/memory.new && mv /tmp/memory.new /tmp/memory
        work_done
        # This loop itself costs a few hundredths of a second each round.
        if [ "$disk" = "$last_disk" ] && [ "$idle_work" -lt 30 ]; then
            still=$((still + 1))
        else
            still=0
        fi
        last_disk=$disk
        if [ "$still" -ge "$stall_limit" ]; then
            echo "kdump: nothing has moved for $still seconds: restarting"
            echo b > /proc/sysrq-trigger
        fi
        sleep 1
    done
}

# --- the way to the target ---
# parameters_of MODULE: in $given, what the command line says for it, as modprobe would pass it and insmod does not.
parameters_of() {
    given=
    for word in $arguments; do
        owner=${word%%.*}
        until [ "$owner" = "${owner#*-}" ]; do owner=${owner%%-*}_${owner#*-}; done
        [ "$owner" != "$1" ] || given="$given ${word#*.}"
    done
}

load_modules() {
    set -f # the command line's words are no patterns
    arguments=
    read -r line < /proc/cmdline
    for word in $line; do
        case ${word%%=*} in *.*) arguments="$arguments $word" ;; esac
    done
    # Packed until now: the kernel's first file system must not outgrow half of this little memory (see main).
    while read -r module parameters; do
        gzip -dc < "/usr/lib/kdump/$module.ko.gz" > /tmp/module.ko || say "the module $module cannot be unpacked"
        parameters_of "$module"
        # shellcheck disable=SC2086 # several parameters are several words
        insmod /tmp/module.ko $parameters $given || say "the module $module does not load"
        rm /tmp/module.ko "/usr/lib/kdump/$module.ko.gz"
    done < /etc/kdump/modules
    set +f
}

array_runs() {
    read -r state 2> /dev/null < "/sys/block/${1#/dev/}/md/array_state" || return 1
    case $state in clear | inactive) return 1 ;; esac
}

# start_array DEVICE UUID [--run]: without --run only when every member is there (mdadm(8), --run).
start_array() {
    array_runs "$1" && return
    # What an attempt with too few members left behind keeps those busy.
    mdadm --stop "$1" > /dev/null 2>&1
    mdadm --assemble "$1" --uuid="$2" --config=partitions ${3:+"$3"} > /dev/null 2>&1
    array_runs "$1"
}

start_volume() {
    lvm lvchange --sysinit -y -a y "$1" > /tmp/lvm.log 2>&1
}

# found: where the file system is, in $found (every device of it, for btrfs).
find_device() {
    if [ -n "$device" ]; then
        found=$device
        [ -b "$device" ]
        return
    fi
    # shellcheck disable=SC2046 # one word for each device
    set -- $(blkid -c /dev/null -o device -t "UUID=$uuid" 2> /dev/null)
    found=$*
    [ $# -ge "$devices" ]
}

activate_all() {
    # shellcheck disable=SC2086 # words of three: what to start, and its two names
    set -- $activate
    while [ $# -ge 3 ]; do
        case $1 in
            md)
                echo 1000 > /proc/sys/dev/raid/speed_limit_max # a resync is for the next boot
                until_found start_array "$2" "$3" || {
                    say "the array $2 is not complete after $device_limit seconds: starting it as it is"
                    start_array "$2" "$3" --run
                }
                ;;
            lvm) until_found start_volume "$2" || while read -r line; do say "lvm: $line"; done < /tmp/lvm.log ;;
        esac
        shift 3
    done
}

mount_target() {
    say "looking for the file system $uuid"
    activate_all
    until_found find_device
    present=$?
    phase device $present
    if [ $present != 0 ]; then
        if [ "$devices" = 1 ] || [ -z "$found" ]; then
            say "no device with the file system $uuid after $device_limit seconds"
            return 1
        fi
        # Where one copy of everything is left (RAID1), btrfs mounts without the others; elsewhere it refuses.
        say "after $device_limit seconds only $found of $devices devices: mounting without the others"
        options=$options,degraded
    fi
    members=
    if [ "$devices" -gt 1 ]; then
        for member in $found; do members=$members,device=$member; done
    fi
    say "mounting ${found%% *}"
    mount -t "$fstype" -o "$options$members" "${found%% *}" /kdump
    mounted=$?
    phase mount $mounted
    # In these few megabytes a program that stays unused is what makedumpfile lacks.
    # shellcheck disable=SC2086 # one word for each file
    [ $mounted != 0 ] || [ -z "$starters" ] || rm -f $starters
    return $mounted
}

# --- hooks, as kdump-utils runs them: only kdump_pre can stop the dump ---
run_hook() {
    say "running $*"
    limited "$hook_limit" "$@"
    hook=$?
    [ $hook = 0 ] || say "$1 ended with exit code $hook"
    return $hook
}

run_folder() {
    folder=$1
    shift
    for file in "/etc/kdump/$folder"/*; do
        [ ! -x "$file" ] || run_hook "$file" "$@"
    done
}

run_pre() {
    if [ -n "$kdump_pre" ]; then
        run_hook "$kdump_pre" || return 1
    fi
    run_folder pre.d
    return 0
}

run_post() {
    run_folder post.d "$1"
    [ -z "$kdump_post" ] || run_hook "$kdump_post" "$1"
}

# --- the dump ---
make_folder() {
    folder=/kdump/${directory:+$directory/}127.0.0.1-$(date +%Y-%m-%d-%H:%M:%S)
    mkdir -p "/kdump/$directory" || return 1
    # Two crashes in one second, or a clock that was set back: never into a folder that is there already.
    into=$folder
    count=0
    until mkdir "$into" 2> /dev/null; do
        count=$((count + 1))
        if [ $count -gt 99 ]; then
            say "cannot make the directory $folder"
            return 1
        fi
        into=$folder-$count
    done
}

save_dmesg() {
    command -v makedumpfile > /dev/null || return 0
    say "saving vmcore-dmesg.txt"
    makedumpfile --dump-dmesg /proc/vmcore "$into/vmcore-dmesg-incomplete.txt" > /dev/null &&
        mv "$into/vmcore-dmesg-incomplete.txt" "$into/vmcore-dmesg.txt"
    saved=$?
    [ $saved = 0 ] || say "vmcore-dmesg.txt could not be saved"
    sync
    phase dmesg $saved
}

# How many CPUs this kernel runs on.
count_cpus() {
    cpus=0
    while read -r word _; do
        case $word in cpu[0-9]*) cpus=$((cpus + 1)) ;; esac
    done < /proc/stat
}

save_vmcore() {
    say "saving vmcore: $core_collector"
    set -f # its words are options, no patterns
    case $core_collector in
        cat | cat\ *)
            $core_collector /proc/vmcore > "$into/vmcore-incomplete"
            saved=$?
            ;;
        *makedumpfile*)
            count_cpus
            threads=
            case "$core_collector " in *" -E "* | *--num-threads*) ;; *) [ $cpus -le 1 ] || threads=--num-threads=$cpus ;; esac
            $core_collector $threads /proc/vmcore "$into/vmcore-incomplete"
            saved=$?
            ;;
        *)
            $core_collector /proc/vmcore "$into/vmcore-incomplete"
            saved=$?
            ;;
    esac
    set +f
    phase vmcore $saved
    if [ $saved != 0 ]; then
        say "saving vmcore failed with exit code $saved"
        return 1
    fi
    sync -f "$into/vmcore-incomplete"
    saved=$?
    [ $saved != 0 ] || mv "$into/vmcore-incomplete" "$into/vmcore"
    sync
    phase sync $saved
    [ $saved = 0 ] || say "the vmcore could not be written out to the disk"
    return $saved
}

dump() {
    into=
    use_target "$1"
    mount_target || return 1
    if [ "$2" = with_pre ]; then
        run_pre || {
            phase pre 1
            say "kdump_pre forbids the dump"
            sync
            umount /kdump
            finish "$final_action"
        }
        phase pre 0
    fi
    if [ ! -e /proc/vmcore ]; then
        say "there is no /proc/vmcore: this kernel was not started by a panic"
        return 1
    fi
    make_folder || return 1
    say "saving to ${into#/kdump}"
    # Their room is taken now: a dump that fills the disk must not keep them out.
    dmesg > "$into/kexec-dmesg.log"
    dmesg > "$into/capture-incomplete.json"
    save_dmesg
    save_vmcore
}

# kexec-dmesg.log and capture.json, beside whatever could be saved.
save_report() {
    [ -n "$into" ] || return 0
    dmesg > "$into/kexec-dmesg.log"
    while read -r line; do echo "$line"; done < /tmp/kdump.log >> "$into/kexec-dmesg.log"
    phase log $?
    bytes=0
    for file in "$into/vmcore" "$into/vmcore-incomplete"; do
        # shellcheck disable=SC2012 # the one way to a size that every set of tools has; the name is ours
        [ ! -e "$file" ] || bytes=$(ls -ln "$file" | { read -r _ _ _ _ size _ && echo "$size"; })
    done
    read -r free_low available_low < /tmp/memory
    digest=
    read -r digest < /etc/kdump/digest
    now
    echo "{\"format\": 1, \"release\": \"$release\", \"digest\": \"$digest\", \"status\": $1, \"bytes\": $bytes," \
        "\"memory\": {\"total\": $((total * 1024)), \"free_low\": $((free_low * 1024))," \
        "\"available_low\": $((available_low * 1024))}, \"seconds\": $seconds, \"phases\": [$phases]}" \
        > "$into/capture-incomplete.json" && mv "$into/capture-incomplete.json" "$into/capture.json"
    sync
}

unmount_target() {
    sync
    umount /kdump 2> /dev/null || mount -o remount,ro /kdump 2> /dev/null
}

# --- the end ---
finish() {
    say "final action: $1"
    sync
    case $1 in
        shell)
            kill "$watcher" 2> /dev/null
            say "a shell for you; leave it with exit to $final_action"
            sh -i < /dev/console > /dev/console 2>&1
            unmount_target
            finish "$final_action"
            ;;
        poweroff)
            [ -z "$restart_tool" ] || $restart_tool poweroff -f
            echo o > /proc/sysrq-trigger
            sleep 60
            ;;
        halt)
            kill "$watcher" 2> /dev/null
            [ -z "$restart_tool" ] || $restart_tool halt -f
            while :; do sleep 3600; done
            ;;
    esac
    [ -z "$restart_tool" ] || $restart_tool reboot -f
    echo b > /proc/sysrq-trigger
    sleep 10
    # Without sysrq in the kernel: when its first process ends the kernel panics, and panic= restarts it.
    exit 1
}

run_emergency() {
    run_folder emergency.d
    [ -z "$kdump_emergency" ] || run_hook "$kdump_emergency"
}

main() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    # The kernel lets its first file system grow to half of the memory, and the image may have nearly filled that.
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /run
    mkdir -p /run/lock/lvm
    phase_start=0 phases=
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
    load_modules
    phase modules 0

    dump dump with_pre
    status=$?
    [ $status = 0 ] || say "the dump failed"
    run_post $status
    phase post 0
    save_report $status
    if [ $status != 0 ]; then
        run_emergency
        case $failure_action in
            dump_to_rootfs)
                unmount_target
                say "failure action: dumping to the root file system"
                dump root
                status=$?
                save_report $status
                ;;
            *)
                [ "$failure_action" = shell ] || unmount_target
                finish "$failure_action"
                ;;
        esac
    fi
    unmount_target
    [ $status != 0 ] || say "the vmcore is complete"
    finish "$final_action"
}

main
"""
