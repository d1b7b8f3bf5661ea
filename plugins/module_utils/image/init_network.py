# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of /init that brings up the network. Private to this collection.

NETWORK is a piece of init.SCRIPT and uses its say, phase and until_found. It does what /etc/kdump/network says, which
network.py writes, line by line; of programs it needs ip (busybox's or iproute2's) and, for DHCP, busybox's udhcpc.
Options of bonds and bridges go through sysfs, for which no program is needed.
"""

NETWORK = r"""
# --- the network ---
host_address=              # how dump directories name this host
network_is_up=

# net WORDS…: ip, and what it complains about in the log.
net() {
    ip "$@" > /tmp/ip.log 2>&1 && return
    while read -r line; do say "ip $*: $line"; done < /tmp/ip.log
    return 1
}

# put VALUE FILE: into a file of /proc or /sys.
put() {
    [ -e "$2" ] && echo "$1" 2> /dev/null > "$2"
}

# The addresses are those that the host had: nobody else has them, and no router is asked.
quiet_ipv6() {
    for key in accept_ra autoconf accept_dad dad_transmits disable_ipv6; do
        put 0 "/proc/sys/net/ipv6/conf/$1/$key"
    done
}

# find_card KEY VALUE PORT: the card's name in this kernel, in $card. A card with a master is a part of another one.
find_card() {
    cards=
    for card in /sys/class/net/*; do
        [ "$1" = mac ] || break
        read -r value 2> /dev/null < "$card/address" || continue
        [ "$value" != "$2" ] || [ -e "$card/master" ] || cards="$cards ${card##*/}"
    done
    # shellcheck disable=SC2086 # one word for each card
    set -- $cards
    card=$1
    [ $# = 1 ]
}

# free_name NAME: whoever has it gets another one.
free_name() {
    [ -e "/sys/class/net/$1" ] || return 0
    spare=0
    while [ -e "/sys/class/net/kdump$spare" ]; do spare=$((spare + 1)); done
    net link set dev "$1" down
    net link set dev "$1" name "kdump$spare"
}

name_card() {
    card_name=$1
    shift
    if ! until_found find_card "$@"; then
        say "no network card $card_name ($1 $2) after $device_limit seconds"
        return 1
    fi
    [ "$card" != "$card_name" ] || return 0
    free_name "$card_name"
    net link set dev "$card" down
    net link set dev "$card" name "$card_name"
}

add_member() {
    [ -e "/sys/class/net/$2" ] || return 1
    quiet_ipv6 "$2"
    net link set dev "$2" down
    net link set dev "$2" master "$1" && net link set dev "$2" up
}

raise() {
    [ -e "/sys/class/net/$1" ] || return 1
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
    [ -e "/sys/class/net/$1" ] || return 1
    until_found has_link "$1" || {
        say "$1 has no link after $device_limit seconds"
        return 1
    }
}

# add_route DEVICE TO GATEWAY SOURCE MTU
add_route() {
    device_name=$1 to=$2 via='' source='' route_mtu=''
    [ "$3" = - ] || via="via $3"
    [ "$4" = - ] || source="src $4"
    [ "$5" = - ] || route_mtu="mtu $5"
    family=-4
    case "$3 $4" in *:*) family=-6 ;; esac
    # shellcheck disable=SC2086 # each may be several words, or none
    net $family route replace $to $via dev "$device_name" $source $route_mtu
}

# One line of /etc/kdump/network.
network_step() {
    step=$1
    shift
    case $step in
        nic) name_card "$@" ;;
        up) raise "$@" ;;
        link) await_link "$@" ;;
        address) net addr add "$2" dev "$1" ;;
        route) add_route "$@" ;;
        named) host_address=$1 ;;
    esac
}

# bring_up_network: 0 when the way to the server is there, and then $host_address is set.
bring_up_network() {
    [ -z "$network_is_up" ] || return 0
    say "bringing up the network"
    quiet_ipv6 all
    quiet_ipv6 default
    net link set dev lo up
    network_result=0
    while read -r step words; do
        set -f # the words of a line are no patterns
        # shellcheck disable=SC2086
        set -- $words
        set +f
        network_step "$step" "$@" && continue
        # A card that is missing may be one of a bond; without a link, an address or a route nothing can be reached.
        case $step in link | address | route | dhcp) network_result=1 && break ;; esac
    done < /etc/kdump/network
    [ $network_result != 0 ] || network_is_up=1
    phase network $network_result
    return $network_result
}
"""

UDHCPC = """#!/bin/sh
"""
