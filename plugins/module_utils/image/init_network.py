# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that brings up the network. Private to this collection.

NETWORK is a piece of init.SCRIPT and uses its say, complain, said_in, phase and until_found. It does, line by line, what
network.py has written into the file network_plan; of programs it needs ip (busybox's or iproute2's) and, for DHCP,
busybox's udhcpc, which runs UDHCPC. Options of bonds and bridges go through sysfs, for which no program is needed.
"""

NETWORK = r"""
# --- network devices, addresses, routes ---
host_address=              # how dump directories name this host
network_is_up=
network_plan=/etc/kdump/network
network_done=              # lines of such plans that were done: two of them may have devices in common

# net WORDS…: ip, and what it complains about in the log.
net() {
    ip "$@" > /tmp/ip.log 2>&1 && return
    while read -r line; do say "ip $*: $line"; done < /tmp/ip.log
    return 1
}

# put VALUE FILE: into a file of /proc or /sys.
put() {
    [ -e "$2" ] || return
    (echo "$1" > "$2") 2> /dev/null || {
        say "$2 does not take $1"
        return 1
    }
}

# The addresses are those that this host had: nobody else has them (no duplicates are looked for, which would take
# seconds), and no router is listened to.
quiet_ipv6() {
    for key in accept_ra autoconf accept_dad dad_transmits disable_ipv6; do
        put 0 "/proc/sys/net/ipv6/conf/$1/$key"
    done
}

# find_card mac ADDRESS | path PLACE PORT: the card's name in this kernel, in $card.
find_card() {
    cards=
    if [ "$1" = mac ]; then set -- "$1" "$2" - /sys/class/net/*; else
        # shellcheck disable=SC2086 # PLACE is a pattern
        set -- "$1" "$2" "$3" /sys/devices/$2/net/*
    fi
    by=$1 wanted=$2 card_port=$3
    shift 3
    for card in "$@"; do
        value=
        case $by in
            mac) read -r value 2> /dev/null < "$card/address" ;;
            path) read -r value 2> /dev/null < "$card/dev_port" ;;
        esac
        # One that has a master stands for it: the other half of a virtual card (failover, Hyper-V), or is in use.
        [ -e "$card/master" ] || case $by-$value in mac-"$wanted" | path-"$card_port") cards="$cards ${card##*/}" ;; esac
    done
    card=${cards# }
    case $card in '' | *\ *) return 1 ;; esac
}

# free_name NAME: whoever has it gets another one.
free_name() {
    [ -e "/sys/class/net/$1" ] || return 0
    spare=0
    while [ -e "/sys/class/net/kdump$spare" ]; do spare=$((spare + 1)); done
    net link set dev "$1" down
    net link set dev "$1" name "kdump$spare"
}

# name_card NAME KEY VALUE PORT: the card gets the name that it had on the host.
name_card() {
    card_name=$1
    shift
    until_found find_card "$@" || {
        free_name "$card_name" # another card must not be taken for it
        say "no network card $card_name ($1 $2) after $device_limit seconds"
        return 1
    }
    [ "$card" != "$card_name" ] || return 0
    free_name "$card_name"
    net link set dev "$card" down
    net link set dev "$card" name "$card_name"
}

# make_device NAME KIND: one that the kernel made when its module was loaded (bond0) will do.
make_device() {
    [ "$2" != bond ] || [ ! -e "/sys/class/net/$1/bonding" ] || return 0
    free_name "$1"
    net link add name "$1" type "$2"
}

# make_vlan NAME LOWER PROTOCOL ID [gvrp on]
make_vlan() {
    free_name "$1"
    vlan_name=$1 lower=$2 protocol=$3 id=$4
    shift 4
    net link add link "$lower" name "$vlan_name" type vlan protocol "$protocol" id "$id" "$@"
}

# add_member MASTER NAME: a card that is to be part of a bond must be down.
add_member() {
    [ -e "/sys/class/net/$2" ] || return 0
    quiet_ipv6 "$2"
    net link set dev "$2" down
    net link set dev "$2" master "$1" && net link set dev "$2" up
}

# raise NAME MTU
raise() {
    [ -e "/sys/class/net/$1" ] || return
    quiet_ipv6 "$1"
    net link set dev "$1" mtu "$2"
    net link set dev "$1" up
}

has_link() {
    carrier=0
    read -r carrier 2> /dev/null < "/sys/class/net/$1/carrier"
    [ "$carrier" = 1 ]
}

await_link() {
    [ -e "/sys/class/net/$1" ] || {
        complain "there is no network device $1"
        return 1
    }
    until_found has_link "$1" || {
        complain "the network device $1 has no link after $device_limit seconds"
        return 1
    }
}

# The kernel lets no route use an IPv6 address that it calls tentative, which it does for a moment although no
# duplicates are looked for: IFA_F_TENTATIVE in the fifth field.
is_settled() {
    while read -r _ _ _ _ flags name; do
        [ "$name" != "$1" ] || [ $((0x$flags & 0x40)) = 0 ] || return 1
    done 2> /dev/null < /proc/net/if_inet6
    return 0
}

add_address() {
    net addr add "$2" dev "$1" && until_found is_settled "$1"
}

# add_route NAME TO GATEWAY SOURCE MTU, `-` for what it has not
add_route() {
    route_name=$1 to=$2 via='' from='' route_mtu='' family=-4
    [ "$3" = - ] || via="via $3"
    [ "$4" = - ] || from="src $4"
    [ "$5" = - ] || route_mtu="mtu $5"
    case "$2 $3 $4" in *:*) family=-6 ;; esac
    # shellcheck disable=SC2086 # each is several words, or none
    case $to in
        # The first one stays: it is for whoever has no route of his own.
        default) net $family route add default $via dev "$route_name" $from $route_mtu || return 0 ;;
        *) net $family route replace "$to" $via dev "$route_name" $from $route_mtu ;;
    esac
}

# It stays and renews the lease.
ask_for_address() {
    udhcpc -i "$1" -s /etc/kdump/udhcpc -n -t 20 -T 3 < /dev/null > /tmp/udhcpc.log 2>&1 || {
        said_in /tmp/udhcpc.log
        complain "no address by DHCP on $1: $said"
        return 1
    }
    read -r host_address < /run/kdump-address
}

# One line of /etc/kdump/network.
network_step() {
    step=$1
    shift
    case $step in
        nic) name_card "$@" ;;
        mac) net link set dev "$1" address "$2" ;;
        bond | bridge) make_device "$1" "$step" ;;
        set) put "$3" "/sys/class/net/$1/$2" ;;
        vlan) make_vlan "$@" ;;
        member) add_member "$@" ;;
        up) raise "$@" ;;
        link) await_link "$@" ;;
        address) add_address "$@" ;;
        route) add_route "$@" ;;
        dhcp) ask_for_address "$@" ;;
        named) host_address=$1 ;;
    esac
}

# bring_up_network: 0 when the way to the server is there; $host_address is set then.
bring_up_network() {
    [ -z "$network_is_up" ] || return 0
    say "bringing up the network"
    quiet_ipv6 all
    quiet_ipv6 default
    net link set dev lo up
    network_failed=
    while read -r step words; do
        case $network_done in *"<$step $words>"*) continue ;; esac
        set -f # the words of a line are no patterns
        # shellcheck disable=SC2086
        set -- $words
        set +f
        case $network_failed in *"<$1>"*) continue ;; esac
        network_step "$step" "$@" && network_done="$network_done<$step $words>" && continue
        # A card that is missing may be one of a bond; a device without a link, an address or a route reaches nothing.
        case $step in link | address | route | dhcp) network_failed="$network_failed<$1>" ;; esac
    done < "$network_plan"
    [ -z "$network_failed" ] && network_is_up=1
    network_result=$?
    phase network $network_result
    return $network_result
}
"""

UDHCPC = r"""#!/bin/sh
# shellcheck disable=SC2154 # udhcpc sets interface, ip, mask, mtu, router, staticroutes
# Called by udhcpc: what the DHCP server says, onto the interface (RFC 2132; static routes: RFC 3442).
set_route() {
    # A gateway need not be in the address' own network.
    [ "$2" = 0.0.0.0 ] || ip -4 route replace "$2" dev "$interface"
    if [ "$2" = 0.0.0.0 ]; then set -- "$1"; else set -- "$1" via "$2"; fi
    ip -4 route replace "$@" dev "$interface"
}

case $1 in
    bound | renew)
        before=
        [ ! -e /run/kdump-address ] || read -r before < /run/kdump-address
        [ "$before" != "$ip" ] || exit 0
        ip -4 addr flush dev "$interface"
        [ -z "$mtu" ] || ip link set dev "$interface" mtu "$mtu"
        ip addr add "$ip/${mask:-32}" dev "$interface"
        # shellcheck disable=SC2086 # pairs of a network and its gateway
        set -- $staticroutes
        if [ $# = 0 ] && [ -n "$router" ]; then set -- default "${router%% *}"; fi
        while [ $# -ge 2 ]; do
            set_route "$1" "$2"
            shift 2
        done
        echo "$ip" > /run/kdump-address
        ;;
esac
"""
