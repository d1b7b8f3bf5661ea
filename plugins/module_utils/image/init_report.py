# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that tells what happened: capture.json and the log, on the target and, after a failure, on the host.

Private to this collection. REPORT is a piece of init.SCRIPT.
"""

REPORT = r"""
# In $quoted: a text as JSON has it between its quotation marks.
quote() {
    quoted=
    rest=$1
    while [ -n "$rest" ]; do
        char=${rest%"${rest#?}"}
        rest=${rest#?}
        case $char in
            '"') char='\"' ;;
            \\) char='\u005c' ;; # dash's echo makes one backslash of two
            [![:print:]]) char='?' ;;
        esac
        quoted=$quoted$char
    done
}

# describe_target: what capture.json tells of where the dump goes.
describe_target() {
    case $kind in
        ssh) where=$user@$server ;;
        nfs | virtiofs) where=$source ;;
        *) where=${found:-$device} ;;
    esac
    quote "$where"
    told_target="{\"kind\": \"$kind\", \"where\": \"$quoted\"}"
    quote "${into#/kdump}"
    told_directory=$quoted
}

# write_capture STATUS: capture.json's text.
write_capture() {
    read -r free_low available_low < /tmp/memory
    digest=
    read -r digest < /etc/kdump/digest
    quote "$message"
    now
    echo "{\"format\": 1, \"release\": \"$release\", \"digest\": \"$digest\", \"status\": $1, \"bytes\": ${bytes:-0}," \
        "\"target\": $told_target, \"directory\": \"$told_directory\", \"message\": \"$quoted\"," \
        "\"memory\": {\"total\": $((total * 1024)), \"free_low\": $((free_low * 1024))," \
        "\"available_low\": $((available_low * 1024))}, \"seconds\": $seconds, \"phases\": [$phases]}"
}

write_log() {
    dmesg
    while read -r line; do echo "$line"; done < /tmp/kdump.log
}

# put_log: the log into its file, the size of the vmcore into /tmp/bytes.
put_log() {
    write_log > "$into/kexec-dmesg.log" || return 1
    for file in "$into/vmcore" "$into/vmcore-incomplete"; do
        # shellcheck disable=SC2012 # the one way to a size that every set of tools has; the name is ours
        [ ! -e "$file" ] || ls -ln "$file" | { read -r _ _ _ _ size _ && echo "$size" > /tmp/bytes; }
    done
}

put_capture() {
    write_capture "$1" > "$into/capture-incomplete.json" && sync "$into/capture-incomplete.json" &&
        mv "$into/capture-incomplete.json" "$into/capture.json" && sync -f "$into/capture.json"
}

# put_capture_behind: capture.json behind a whole dump, where raw_recovery.py looks for it and `makedumpfile -R` does not. It
# names the dump by its beginning: one that is cut goes on with what an earlier crash has left there, to the end of that.
put_capture_behind() {
    blocks=$((bytes < 1048576 ? bytes / 512 : 2048))
    beginning=$(dd if="$found" bs=512 count="$blocks" 2> /tmp/dd.log | sha256sum) || return 1
    { echo "vmcore.kdump capture.json ${beginning%% *}" && write_capture 0; } > /tmp/capture.json
    dd if=/tmp/capture.json bs=4096 seek=$(((bytes + 4095) / 4096)) conv=nocreat,notrunc,fsync of="$found" 2> /tmp/dd.log
}

# save_report STATUS: kexec-dmesg.log and capture.json, beside whatever could be saved. The target may have died.
save_report() {
    describe_target
    if [ "$kind" = raw ]; then
        [ "$1" != 0 ] || limited "$leave_limit" put_capture_behind || say "capture.json could not be written to the target"
        return 0
    fi
    [ -n "$into" ] || return 0
    if [ "$kind" = ssh ]; then
        write_log > /tmp/kexec-dmesg.log
        # Under its last name at once, which saves a login: what is left of a log is one, and capture.json tells of it.
        put_on_server /tmp/kexec-dmesg.log kexec-dmesg.log
        phase log $?
        write_capture "$1" > /tmp/capture.json
        put_whole_on_server /tmp/capture.json capture-incomplete.json capture.json
        written=$?
    else
        echo 0 > /tmp/bytes
        limited "$leave_limit" put_log
        phase log $?
        read -r bytes < /tmp/bytes
        limited "$leave_limit" put_capture "$1"
        written=$?
    fi
    [ $written = 0 ] || say "capture.json could not be written to the target"
}

# mount_report: the file system that the host looks for reports on; $report_at says whether it is the target itself.
mount_report() {
    case $report_at in
        dump)
            [ -n "$target_mounted" ] || return 1
            use_target report
            ;;
        report)
            unmount_target
            use_target report
            load_modules /etc/kdump/modules-report
            reach_target
            ;;
        *) return 1 ;;
    esac
}

# report_failure STATUS: for who looks for the dump after the restart, on the host itself, unless it lies there anyway.
report_failure() {
    if [ "$report_at" = dump ] && [ -n "$into" ]; then return; fi
    why=$message
    say "leaving a report on the host"
    if ! mount_report || ! make_new_folder "$(date +%Y-%m-%d-%H:%M:%S)"; then
        say "no report could be left on the host"
        message=$why
        return
    fi
    message=$why
    write_log > "$into/kexec-dmesg.log"
    put_capture "$1" || say "capture.json could not be written on the host"
    save_dmesg_here || say "vmcore-dmesg.txt could not be saved on the host"
}
"""
