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
    enter_by_shell "$initdir/usr/lib/pykexec/kexec"
}

# dracut installs the interpreters of scripts from the machine, and its image fails where one is not
# there, as is ours, which lies in the image alone. So the script is one for sh, of which every image
# of dracut's has one, and by its second line goes on in the Python that its first one named.
enter_by_shell() {
    local first rest
    [[ -f $1 ]] || return 0
    {
        read -r first
        rest=$(cat)
    } <"$1"
    [[ $first == "#!"*" "* ]] || return 0
    first=${first#"#!"}
    # shellcheck disable=SC2016 # sh is to expand these
    printf '#!/bin/sh\n"exec" "%s" "%s" "$0" "$@"\n%s\n' \
        "${first%% *}" "${first#* }" "$rest" >"$1"
}
