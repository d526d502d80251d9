#!/bin/sh
# Sourced by dracut's shell: it must neither exit nor fail.
[ ! -x /usr/lib/pykexec/early-crash ] ||
    /usr/lib/pykexec/early-crash pykexec.crash rd.earlykdump || :
