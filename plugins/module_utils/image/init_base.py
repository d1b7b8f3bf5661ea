# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that the others stand on: telling, the phases, limits of time, the watch. Private to this collection.

BASE is a piece of init.SCRIPT.
"""

BASE = r"""
# --- telling ---
say() {
    now
    moves
    last_said=$*
    echo "kdump: [$seconds] $*"
    echo "kdump: [$seconds] $*" >> /tmp/kdump.log
}

# complain SENTENCE: why the dump fails; the last one goes into capture.json.
complain() {
    message=$*
    say "$*"
}

# The time since this kernel started: hundredths of a second in $hundredths, readable in $seconds.
now() {
    read -r seconds _ < /proc/uptime
    part=${seconds#*.}
    hundredths=$((${seconds%.*} * 100 + 1$part - 100))
}

# For the watch: something else begins. By echo, as `:` would end the shell where there is no room.
moves() { echo > /tmp/moved; }

# phase NAME EXIT: what ran since the last one is over.
phase() {
    now
    moves
    spent=$((hundredths - phase_start))
    phase_start=$hundredths
    hundredth=$((spent % 100))
    [ "$hundredth" -gt 9 ] || hundredth=0$hundredth
    phases="$phases${phases:+, }{\"name\": \"$1\", \"seconds\": $((spent / 100)).$hundredth, \"exit\": $2}"
}

# said_in FILE: in $said, the last line that tells something of what a program wrote there, or that the watch has ended it.
said_in() {
    said=
    if [ -e /tmp/stalled ]; then
        read -r said < /tmp/stalled
        rm -f /tmp/stalled
        return
    fi
    while read -r line || [ -n "$line" ]; do
        # ssh ends its lines with a carriage return as well; makedumpfile writes one after each per cent.
        case $line in *[[:cntrl:]]) line=${line%?} ;; esac
        line=${line##*[[:cntrl:]]}
        case $line in
            '' | *%* | 'makedumpfile Failed'* | *'but might analyzable'* | *'dmesg(1) may'*) ;;
            *records\ in | *records\ out | *'bytes '*copied*) ;;
            *) said=$line ;;
        esac
    done 2> /dev/null < "$1"
    said=${said:-no reason given}
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

# limited SECONDS COMMAND…: its exit code, 137 when it was killed for its time. What waits in the kernel for a dead disk or
# server outlives even that; after 5 seconds it is left alone, with an exit code of 128 and more as well.
limited() {
    time_limit=$1
    shift
    "$@" &
    worker=$!
    (sleep "$time_limit" && { end_family "$worker"; sleep 5; kill -USR1 $$; }) > /dev/null 2>&1 &
    guard=$!
    wait "$worker"
    result=$?
    end_family "$guard"
    wait "$guard" 2> /dev/null
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

# --- the watch ---
# In $wrote, bytes by the programs that /init waits for: a share of the hypervisor's is neither a disk nor a network.
count_written() {
    wrote=0 family=''
    read -r family < "/proc/$$/task/$$/children"
    for one in $family; do
        children=
        read -r children < "/proc/$one/task/$one/children"
        family="$family $children"
    done
    for one in $family; do
        while read -r key value; do
            [ "$key" != wchar: ] || wrote=$((wrote + value))
        done < "/proc/$one/io"
    done
} 2> /dev/null

# What the machine has done so far: CPU time but idling, sectors written and read, bytes written and sent. What comes in
# from a network comes in anyway.
work_done() {
    read -r _ user nice system _ < /proc/stat
    work=$((user + nice + system))
    idle_work=$((work - last_cpu))
    last_cpu=$work
    disk=
    while read -r _ _ _ _ _ read_sectors _ _ _ written _; do
        disk=$disk/$read_sectors-$written
    done < /proc/diskstats
    count_written
    bytes_sent=$wrote
    while read -r card _ _ _ _ _ _ _ _ card_sent _; do
        case $card in lo: | *[!:]) ;; *) bytes_sent=$((bytes_sent + card_sent)) ;; esac
    done < /proc/net/dev
    just_sent=$((bytes_sent - last_sent))
    last_sent=$bytes_sent
}

# Ends all that /init waits for, so that the failure action comes; but not who tells a cluster that this goes on.
end_what_hangs() {
    echo "nothing has moved for $stall_limit seconds" > /tmp/stalled
    echo "kdump: nothing has moved for $stall_limit seconds: giving up what runs"
    read -r own _ < /proc/self/stat
    spared=
    read -r spared 2> /dev/null < /tmp/fence
    hanging=
    read -r hanging 2> /dev/null < "/proc/$$/task/$$/children"
    for one in $hanging; do
        [ "$one" = "$own" ] || [ "$one" = "$spared" ] || end_family "$one"
    done
}

# Runs beside everything else: keeps the lowest memory seen, and ends what does not move any more; where that does not
# help, it restarts the machine.
watch_over() {
    free_low='' available_low='' last_cpu=0 last_disk='' last_sent=0 still=0
    while :; do
        while read -r key value _; do
            case $key in
                MemFree:) [ "${free_low:-$value}" -lt "$value" ] || free_low=$value ;;
                MemAvailable:) [ "${available_low:-$value}" -lt "$value" ] || available_low=$value ;;
            esac
        done < /proc/meminfo
        echo "$free_low $available_low" > /tmp/memory.new && mv /tmp/memory.new /tmp/memory
        work_done
        # This loop itself costs a few hundredths of a second each round; a dead server is still sent something. Hooks and
        # waits have limits of their own: their silences do not add up.
        if [ "$disk" = "$last_disk" ] && [ "$idle_work" -lt 30 ] && [ "$just_sent" -lt 16384 ] && [ ! -e /tmp/moved ]; then
            still=$((still + 1))
        else
            still=0
            rm -f /tmp/moved
        fi
        last_disk=$disk
        [ "$still" != "$stall_limit" ] || end_what_hangs
        # As long again: telling a dead server or disk of the failure takes its time, and failure_action comes after it.
        if [ "$still" -ge $((stall_limit * 2)) ]; then
            echo "kdump: nothing has moved for $still seconds: restarting"
            echo b > /proc/sysrq-trigger
        fi
        sleep 1
    done
}
"""
