# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that reaches other machines: shares that are mounted, a server by ssh. Private to this collection.

REMOTE is a piece of init.SCRIPT. What it asks of an ssh server is what kdump-utils asks (dump_ssh() in kdump.sh), but
for the folder: `mkdir -p` alone would write into one that is there already.
"""

REMOTE = r"""
# --- the network ---
reach_network() {
    message_before=$message
    bring_up_network && return
    [ "$message" != "$message_before" ] || complain "the network could not be brought up: $last_said"
    return 1
}

# --- shares ---
# What is tried again may work a little later: the switch behind a link that has just come up, a server that restarts.
try_share() {
    for version in ${versions:-none}; do
        given=$options
        [ "$version" = none ] || given=$options${options:+,}$version
        now
        [ "$hundredths" -lt "$share_limit" ] || return 1
        # Without -i mount looks for mount.nfs, which the kernel does not need when it is told addr=.
        limited 60 mount -i -t "$fstype" ${given:+-o "$given"} "$source" /kdump 2> /tmp/mount.log && return
    done
    return 1
}

mount_share() {
    say "mounting $source"
    now
    share_limit=$((hundredths + server_limit * 100))
    until try_share; do
        mounted=$?
        now
        if [ "$hundredths" -ge "$share_limit" ]; then
            said_in /tmp/mount.log
            complain "$source cannot be mounted: $said"
            phase mount "$mounted"
            return 1
        fi
        sleep 2
    done
    phase mount 0
}

mount_nfs() {
    reach_network || return 1
    # A server tells its NFSv4 clients apart by their names.
    [ -z "$hostname" ] || echo "$hostname" > /proc/sys/kernel/hostname
    mount_share
}

# --- ssh ---
# on_server COMMAND: what the server's shell or receiver is to do; 255 is ssh's own failure.
on_server() {
    set -f # its words are options, no patterns
    # shellcheck disable=SC2086
    limited 120 ssh $ssh_options "$user@$server" "$1" > /dev/null 2> /tmp/ssh.log
    answer=$?
    set +f
    return "$answer"
}

# surely_on_server MV: again where ssh itself failed, as a server does that has too many logins at once. The connection may
# also have ended before the answer: then the file has its name already.
surely_on_server() {
    tries=1
    until on_server "$1" || [ "$answer" != 255 ] || [ $tries = 5 ]; do
        tries=$((tries + 1))
        sleep 2
    done
    if [ $tries != 1 ] && [ "$answer" = 1 ]; then
        said_in /tmp/ssh.log
        case $said in *'No such file'*) return 0 ;; esac
    fi
    return "$answer"
}

# put_on_server FILE NAME: a small file, under its name in the folder there.
put_on_server() {
    limited "$send_limit" send_file "$1" "$into/$2" 2> /tmp/ssh.log
}

# put_whole_on_server FILE INCOMPLETE NAME: the same, and its name when all of it is there. That is a login more: the end of
# a connection that was cut looks to the server like the end of the file.
put_whole_on_server() {
    put_on_server "$1" "$2" && surely_on_server "mv '$into/$2' '$into/$3'"
}

send_file() {
    set -f
    # shellcheck disable=SC2029,SC2086
    ssh $ssh_options "$user@$server" "umask 0077 && dd of='$2'" < "$1" > /dev/null
}

# What waiting does not mend.
is_refused() {
    case $said in *'erification failed'* | *'ermission denied'* | *'oo many authentication'*) return 0 ;; esac
    return 1
}

# make_folder_on_server: $into is made there, under a name that nothing has.
make_folder_on_server() {
    directory=/${directory#/}
    folder=${directory%/}/$1
    into=$folder
    count=0
    now
    answer_limit=$((hundredths + server_limit * 100))
    until on_server "mkdir -p $directory && mkdir $into"; do
        code=$answer
        said_in /tmp/ssh.log
        now
        # 255: ssh itself failed; 137: limited() has ended it.
        [ $code != 137 ] || said="it does not answer"
        if [ $code = 255 ] || [ $code = 137 ]; then
            if is_refused || [ "$hundredths" -ge "$answer_limit" ]; then
                complain "the server $server_name ($server) cannot be reached by ssh: $said"
                return 1
            fi
            [ $count != 0 ] || say "waiting for the server $server_name ($server): $said"
            sleep 2
            continue
        fi
        count=$((count + 1))
        # As in make_new_folder, where it is this name that is taken, in mkdir's words or the receiver's.
        case $said in *"${into##*/}"*'File exists'* | *'of that name already'*"${into##*/}"*) most=99 ;; *) most=9 ;; esac
        if [ $count -gt $most ]; then
            complain "the directory $folder cannot be made on the server $server_name: $said"
            return 1
        fi
        into=$folder-$count
    done
}
"""
