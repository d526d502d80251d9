"""Loads that the tests of every architecture make, as parts of a phase, and what comes of them."""

from __future__ import annotations

import re

from tests.vm.scenario import JUMPING, Result, boot_path

LOADED = '[ "$(cat /sys/kernel/kexec_loaded)" = 1 ]\n'

CONTENT = "/scenario/content"
SHOW_CONTENT = f"""
echo "size $(stat -c %s {CONTENT})"
echo "arrived $(sha256sum <{CONTENT})"
"""

INTACT = "intact-nonce"
"""What to have in the small initrd, and what becomes of it when a bit flips."""
DAMAGED = "hntact-nonce"
DAMAGE = """
import sys
from pykexec import read_machine
from pykexec.calls import syscalls
from pykexec.loading.load_request import prepare
from pykexec.loading.options import LoadOptions
from pykexec.loading.live import plan_segments
from pykexec.values.roles import Role

facts = read_machine()
options = LoadOptions(
    kernel=sys.argv[1],
    call="segments",
    initrd="/boot/initrd-small",
    append=sys.argv[2],
    no_checks=sys.argv[3] == "unchecked",
    console_serial=True,
    serial=sys.argv[4],
)
made, state = plan_segments(prepare(facts, options).request, facts)
segment = made.segment(Role.INITRD)
initrd = bytearray(segment.data)
at = initrd.index(b"intact-nonce")
initrd[at] ^= 1
print(f"damaged {segment.dest.start + at:#x} {segment.dest.start:#x}", flush=True)
syscalls.load(made.with_data(Role.INITRD, bytes(initrd)), state)
"""
DAMAGE_FILES = {"/scenario/damage.py": DAMAGE}
KERNEL_BEGINS = re.compile("Linux version|Booting Linux")
"""On the console; arm64 kernels have a line before the usual first one."""
HALTED = rf"(?s){JUMPING}.*halted, reset the machine"
"""On the console: the purgatory has found damage."""


def printed(result: Result, phase: int, name: str) -> str:
    """Return what a phase printed behind ``name``, which it did once."""
    lines = result.phases[phase].lines
    (line,) = (line for line in lines if line.startswith(f"{name} "))
    return line.removeprefix(f"{name} ")


def assert_purgatory_said(result: Result, *starts: str) -> None:
    """The purgatory of the last jump printed these lines; of each the start is given."""
    after = result.serial.rpartition(JUMPING)[2]
    between = KERNEL_BEGINS.split(after)[0]
    said = re.findall(r"^pykexec purgatory: (?!hashed |caches on: )(.*)$", between, re.MULTILINE)
    assert len(said) == len(starts), between
    assert all(line.startswith(start) for line, start in zip(said, starts, strict=True)), said


def pack_big_initrd(size: int) -> str:
    """Return the part of a phase that makes /tmp/initrd with ``size`` random bytes in it."""
    return f"""
        mkdir -p /tmp/big/scenario
        head -c {size} /dev/urandom >/tmp/big{CONTENT}
        echo "sent $(sha256sum </tmp/big{CONTENT})"
        {{ cat /boot/initrd-small
           cd /tmp/big && echo .{CONTENT} | cpio -o -H newc; }} >/tmp/initrd
        rm /tmp/big{CONTENT}
        cd /root
    """


def assert_big_initrd_arrived(result: Result, size: int) -> None:
    """The second phase, which ran SHOW_CONTENT, has what the first one packed."""
    assert printed(result, 2, "size") == str(size)
    assert printed(result, 2, "arrived") == printed(result, 1, "sent")


def jump_damaged(series: str, cmdline: str, terminal: str, *, checked: bool = True) -> str:
    """Return a phase that jumps with a flipped bit in the initrd; it needs DAMAGE_FILES."""
    how = "checked" if checked else "unchecked"
    return (
        f"/usr/bin/python3 /scenario/damage.py {boot_path(series)} '{cmdline}' {how} "
        f"{terminal}\n{LOADED}kexec -e\n"
    )


def assert_never_booted(result: Result) -> None:
    """The purgatory of the first jump has told what was changed, and no kernel came after it."""
    assert list(result.phases) == [1]
    assert_purgatory_said(result, "verifying", "SHA-256 mismatch", "not starting")
    after = result.serial.partition(JUMPING)[2]
    line = r"^  0x(\w+), (\d+) bytes, of the segment at (0x\w+), "
    ((start, size, segment),) = re.findall(line, after, re.MULTILINE)
    place, of_segment = printed(result, 1, "damaged").split()
    assert 0 <= int(place, 16) - int(start, 16) < int(size)
    assert segment == of_segment
    assert not KERNEL_BEGINS.search(after)
