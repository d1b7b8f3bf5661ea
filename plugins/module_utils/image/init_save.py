# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that saves the dump: into a folder of a mounted file system, over ssh, or onto a raw device.

Private to this collection. SAVE is a piece of init.SCRIPT. Names of files are those of kdump-utils' kdump.sh: what is
not whole yet is called -incomplete.
"""

SAVE = r"""
# --- the folder ---
make_folder() {
    when=$(date +%Y-%m-%d-%H:%M:%S)
    made=0
    case $kind in
        raw) return 0 ;;
        ssh)
            make_folder_on_server "$host_address-$when" || made=1
            phase server $made
            ;;
        nfs) make_new_folder "$host_address-$when" || made=1 ;;
        *) make_new_folder "127.0.0.1-$when" || made=1 ;;
    esac
    if [ $made != 0 ]; then
        into=
        return 1
    fi
    say "saving to ${into#/kdump}"
}

# make_new_folder NAME: below $directory of what is mounted; $into is its path.
make_new_folder() {
    folder=/kdump/${directory:+$directory/}$1
    into=$folder
    count=0
    mkdir -p "/kdump/$directory" 2> /tmp/mkdir.log || {
        said_in /tmp/mkdir.log
        complain "the directory /$directory cannot be made: $said"
        return 1
    }
    # Two crashes in one second, or a clock that was set back: never into a folder that is there already.
    until mkdir "$into" 2> /tmp/mkdir.log; do
        count=$((count + 1))
        if [ ! -e "$into" ] || [ $count -gt 99 ]; then
            said_in /tmp/mkdir.log
            complain "the directory ${folder#/kdump} cannot be made: $said"
            return 1
        fi
        into=$folder-$count
    done
}

# --- the kernel's messages ---
save_dmesg() {
    command -v makedumpfile > /dev/null || return 0
    [ "$kind" != raw ] || return 0
    say "saving vmcore-dmesg.txt"
    if [ "$kind" = ssh ]; then save_dmesg_on_server; else save_dmesg_here; fi
    saved=$?
    [ $saved = 0 ] || say "vmcore-dmesg.txt could not be saved"
    phase dmesg $saved
}

save_dmesg_here() {
    limited "$hook_limit" makedumpfile --dump-dmesg /proc/vmcore "$into/vmcore-dmesg-incomplete.txt" > /dev/null &&
        sync "$into/vmcore-dmesg-incomplete.txt" &&
        mv "$into/vmcore-dmesg-incomplete.txt" "$into/vmcore-dmesg.txt" && sync -f "$into/vmcore-dmesg.txt"
}

save_dmesg_on_server() {
    limited "$hook_limit" makedumpfile --dump-dmesg /proc/vmcore /tmp/vmcore-dmesg.txt > /dev/null &&
        put_whole_on_server /tmp/vmcore-dmesg.txt vmcore-dmesg-incomplete.txt vmcore-dmesg.txt
    sent=$?
    rm -f /tmp/vmcore-dmesg.txt
    return "$sent"
}

# --- the vmcore ---
# How many CPUs this kernel runs on.
count_cpus() {
    cpus=0
    while read -r word _; do
        case $word in cpu[0-9]*) cpus=$((cpus + 1)) ;; esac
    done < /proc/stat
}

# In /tmp/collector, the exit code of the collector: there is no other way in this shell to that of the first in a pipe.
# Until it is there it reads as if it had been killed. makedumpfile tells its progress and some errors on its standard
# error, others (a target that is full) on its standard output where that is no dump: all of it is for the console too.

# collect: into the file $into/vmcore-incomplete.
collect() {
    threads=
    count_cpus
    case "$core_collector " in
        *" -E "* | *--num-threads*) ;;
        *makedumpfile*) [ $cpus -le 1 ] || threads=--num-threads=$cpus ;; # as many as kdump.sh takes
    esac
    set -f # its words are options, no patterns
    # shellcheck disable=SC2086
    {
        case "$core_collector " in
            "cat "*) $core_collector /proc/vmcore > "$into/vmcore-incomplete" ;;
            *) $core_collector $threads /proc/vmcore "$into/vmcore-incomplete" ;;
        esac
        echo $? > /tmp/collector
    } 2>&1 | tee /tmp/collector.log
    set +f
    read -r collected < /tmp/collector
    return "${collected:-137}"
}

# collect_stream: to standard output.
collect_stream() {
    set -f
    stream_as=$core_collector
    # shellcheck disable=SC2086
    set -- $core_collector
    case $1 in
        *makedumpfile)
            program=$1
            shift
            stream_as="$program -F $*"
            ;;
    esac
    {
        {
            # shellcheck disable=SC2086
            $stream_as /proc/vmcore 2>&1 >&4
            echo $? > /tmp/collector
        } | tee /tmp/collector.log >&2
    } 4>&1
}

# ended_with CODE LOG WHAT: complain about a program that failed.
ended_with() {
    # 128 and SIGKILL: by the watch, or by the kernel.
    if [ "$1" = 137 ] && [ ! -e /tmp/stalled ]; then
        said="it was killed, as the kernel does when the memory is not enough"
    else
        said_in "$2"
    fi
    complain "$3 failed with exit code $1: $said"
}

save_vmcore() {
    say "saving vmcore: $core_collector"
    rm -f /tmp/stalled
    echo 137 > /tmp/collector
    case $kind in
        ssh) save_vmcore_on_server ;;
        raw) save_vmcore_raw ;;
        *) save_vmcore_here ;;
    esac
}

save_vmcore_here() {
    collect
    saved=$?
    phase vmcore $saved
    if [ $saved != 0 ]; then
        ended_with $saved /tmp/collector.log "saving vmcore by ${core_collector%% *}"
        return 1
    fi
    # By the file first: syncfs(2) tells of what a dead disk did not take only since Linux 5.8, and makedumpfile does not ask.
    sync "$into/vmcore-incomplete" && sync -f "$into/vmcore-incomplete" &&
        mv "$into/vmcore-incomplete" "$into/vmcore" && sync -f "$into/vmcore"
    saved=$?
    phase sync $saved
    [ $saved = 0 ] || complain "the vmcore could not be written out to the target"
    return $saved
}

# stream_ended CODE LOG WHAT: what became of the two ends of the pipe; the far one is told of first, it ends the other.
stream_ended() {
    saved=$1
    counted_in /tmp/dd.log
    read -r collected < /tmp/collector
    if [ "$saved" != 0 ]; then
        ended_with "$saved" "$2" "$3"
    elif [ "$collected" != 0 ]; then
        saved=${collected:-137}
        ended_with "$saved" /tmp/collector.log "saving vmcore by ${core_collector%% *}"
    elif [ "$bytes" = 0 ]; then
        saved=137 # dd, which is between the two, has not come to its end
        ended_with $saved /tmp/dd.log "$3"
    fi
    phase vmcore "$saved"
    return "$saved"
}

# In $bytes, what dd says that it has copied.
counted_in() {
    while read -r count word _; do
        [ "$word" != bytes ] || bytes=$count
    done < "$1"
}

save_vmcore_on_server() {
    set -f
    # shellcheck disable=SC2029,SC2086
    collect_stream | dd bs=64k 2> /tmp/dd.log |
        ssh $ssh_options "$user@$server" "umask 0077 && dd bs=512 of='$into/vmcore-incomplete'" > /dev/null 2> /tmp/ssh.log
    sent=$?
    set +f
    stream_ended $sent /tmp/ssh.log "sending vmcore to $server_name" || return 1
    vmcore=vmcore
    case ${core_collector%% *} in *makedumpfile) vmcore=vmcore.flat ;; esac
    surely_on_server "mv '$into/vmcore-incomplete' '$into/$vmcore'"
    saved=$?
    phase sync $saved
    said_in /tmp/ssh.log
    [ $saved = 0 ] || complain "vmcore could not be given its name on $server_name: $said"
    return $saved
}

# kdump.sh writes 512 bytes at a time, for each of which the kernel first reads what is there; the bytes are the same.
# nocreat: of a disk that is gone no file in memory is made in its place.
save_vmcore_raw() {
    collect_stream | dd ibs=64k obs=1M conv=nocreat,fsync of="$found" 2> /tmp/dd.log
    stream_ended $? /tmp/dd.log "writing vmcore to $found" || return 1
    sync
    phase sync 0
}
"""
