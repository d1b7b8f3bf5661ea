# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that loads modules and brings up disks and the file systems on them. Private to this collection.

DISK is a piece of init.SCRIPT.
"""

DISK = r"""
# --- modules ---
# parameters_of MODULE: in $given, what the command line says for it, as modprobe would pass it and insmod does not.
parameters_of() {
    given=
    for word in $arguments; do
        owner=${word%%.*}
        until [ "$owner" = "${owner#*-}" ]; do owner=${owner%%-*}_${owner#*-}; done
        [ "$owner" != "$1" ] || given="$given ${word#*.}"
    done
}

# load_modules FILE: those that it lists, if there is such a file; once.
load_modules() {
    [ -e "$1" ] || return 0
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
        # One word, for the kernel: insmod hands it all its words as one line, and there quotation marks keep blanks.
        insmod /tmp/module.ko "$parameters$given" || say "the module $module does not load"
        rm /tmp/module.ko "/usr/lib/kdump/$module.ko.gz"
    done < "$1"
    rm "$1"
    set +f
}

# --- disks ---
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

# find_disk FILE VALUE: in $found, the disk that sysfs has this value for.
find_disk() {
    for disk in /sys/block/*; do
        for file in "$disk/$1" "$disk/device/$1"; do
            value=
            read -r value 2> /dev/null < "$file"
            if [ "$value" = "$2" ]; then
                found=/dev/${disk##*/}
                [ -b "$found" ] && return
            fi
        done
    done
    return 1
}

# In $found, where the target is: a raw device, or the file system (every device of it, for btrfs).
find_device() {
    if [ -n "$device" ]; then
        found=$device
        [ -b "$device" ]
        return
    fi
    [ -z "$wwid" ] || { find_disk wwid "$wwid" && return; }
    [ -z "$serial" ] || { find_disk serial "$serial" && return; }
    [ -z "$uuid$partuuid" ] && return 1
    tag=UUID=$uuid
    [ -n "$uuid" ] || tag=PARTUUID=$partuuid
    # shellcheck disable=SC2046 # one word for each device
    set -- $(blkid -c /dev/null -o device -t "$tag" 2> /dev/null)
    found=$*
    [ $# -ge "${devices:-1}" ] && [ $# != 0 ]
}

# await_device NAME: what lies under the target is started, and the device is there.
await_device() {
    say "looking for $1"
    found=
    activate_all
    until_found find_device
    present=$?
    phase device $present
    return $present
}

# mount_on SOURCE WORDS…: mount it on /kdump; these words are mount's. A journal takes the time that it takes.
mount_on() {
    say "mounting $1"
    mount_source=$1
    shift
    mount "$@" "$mount_source" /kdump 2> /tmp/mount.log
    mounted=$?
    said_in /tmp/mount.log
    [ $mounted = 0 ] || complain "$mount_source cannot be mounted: $said"
    return $mounted
}

mount_filesystem() {
    if ! await_device "the file system $uuid$device"; then
        if [ "$devices" = 1 ] || [ -z "$found" ]; then
            complain "no device with the file system $uuid$device after $device_limit seconds"
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
    mount_on "${found%% *}" -t "$fstype" -o "$options$members"
    mounted=$?
    phase mount $mounted
    return $mounted
}

unmount_target() {
    [ -n "$target_mounted" ] || return 0
    limited "$leave_limit" umount /kdump 2> /dev/null || limited "$leave_limit" mount -o remount,ro /kdump 2> /dev/null
    target_mounted=
}
"""
