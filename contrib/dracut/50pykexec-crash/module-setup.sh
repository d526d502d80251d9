#!/bin/bash
# Early kdump: the crash kernel of /etc/pykexec/kdump.conf, loaded before udev and drivers when the
# kernel's command line has pykexec.crash or rd.earlykdump. Only when asked for.

check() {
    return 255
}

depends() {
    echo pykexec
}

install() {
    # shellcheck disable=SC2154 # dracut's
    "${dracutsysrootdir-}/usr/lib/pykexec/pack" crash "$initdir" "$kernel"
    # shellcheck disable=SC2154
    inst_hook cmdline 00 "$moddir/early-crash.sh"
}
