#!/bin/bash
# Python, pykexec and a kexec that works: in an image only when it is asked for, by
# add_dracutmodules+=" pykexec " or by another module. The number is below that of "shutdown", which
# takes along whatever kexec there is, and leaves one that is there alone.

check() {
    return 255
}

depends() {
    return 0
}

install() {
    # shellcheck disable=SC2154 # dracut's
    "${dracutsysrootdir-}/usr/lib/pykexec/pack" python "$initdir"
}
