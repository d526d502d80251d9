#!/bin/bash
# What saves a dump that firmware has taken (fadump), in the ordinary image: that is the one that
# boots after such a crash. Only when asked for: "pykexec crash setup" does that, and writes what is
# packed here.

capture=/var/lib/pykexec/capture

check() {
    return 255
}

# The main loop, of which the hooks below are: from some version on it is a module of its own.
depends() {
    local module
    for module in "${dracutbasedir:-/usr/lib/dracut}"/modules.d/[0-9][0-9]initqueue; do
        [[ ! -d $module ]] || echo initqueue
    done
    return 0
}

install() {
    local program name file place
    if [[ ! -d $capture/tree ]]; then
        derror "pykexec: no dump will be saved by this image: there is no $capture/tree"
        return 0
    fi
    # shellcheck disable=SC2154 # dracut's
    cp -R -P -p "$capture/tree/." "$initdir/"
    while read -r program name; do
        inst "$program" "$name"
    done <"$capture/programs"
    while read -r file place; do
        inst_simple "$file" "$place"
    done <"$capture/files"
    inst_hook initqueue/settled 50 "$capture/pykexec-capture-settled.sh"
    inst_hook initqueue/finished 50 "$capture/pykexec-capture-finished.sh"
}
