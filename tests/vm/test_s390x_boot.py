"""Jumps between Debian's s390x kernels: what is planned is what the next kernel finds.

The last series with CONFIG_KEXEC there is 6.1; later ones say by themselves that they have none.
"""

from __future__ import annotations

import secrets

import pytest

from tests.vm.conftest import Vm
from tests.vm.loads import (
    DAMAGE_FILES,
    INTACT,
    LOADED,
    SHOW_CONTENT,
    assert_big_initrd_arrived,
    jump_damaged,
    pack_big_initrd,
    printed,
)
from tests.vm.platforms import S390X
from tests.vm.qemu import s390x_machine
from tests.vm.scenario import JUMPING, boot_path

pytestmark = pytest.mark.full

SERIES = "6.1"
NONCE = "/scenario/nonce"
TWO = s390x_machine(memory="2G", cpus=2)
BIG = 100 << 20
"""Bytes."""
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "processors $(nproc)"
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport.

    All ASCII: a line with other bytes is refused, as a kernel would take it for EBCDIC.
    """
    return f'{S390X.console} test.word="two words, $x" vmtest.phase={phase}'


def test_chain_with_command_line_and_a_big_initrd(vm: Vm) -> None:
    """Jump with 100 MiB of initrd, and from there again, by what is left of the first load."""
    nonce = secrets.token_hex(16)
    cmdline = next_cmdline()
    first = (
        DESCRIBE
        + pack_big_initrd(BIG)
        + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{cmdline}'\n"
        + f"{LOADED}kexec -e\n"
    )
    second = (
        ARRIVED
        + SHOW_CONTENT
        + "repack-initrd -k -p 3 /tmp/initrd\n"
        + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --reuse-cmdline\n"
        + f"rm /tmp/initrd\n{LOADED}kexec -e\n"
    )
    result = vm(
        [first, second, ARRIVED],
        kernel=SERIES,
        machine=TWO,
        files={NONCE: nonce},
        timeout=600,
    )

    assert_big_initrd_arrived(result, BIG)
    for phase in (2, 3):
        assert result.phases[phase].cmdline == cmdline
        assert printed(result, phase, "nonce") == nonce
        assert printed(result, phase, "processors") == "2"
        totals = [int(printed(result, number, "memtotal").split()[0]) for number in (1, phase)]
        assert abs(totals[0] - totals[1]) < 8192


def test_flipped_bit_stops(vm: Vm) -> None:
    """There is no console to say so: the processor waits with an address that QEMU shows."""
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "ttyS0"), ARRIVED],
        kernel=SERIES,
        machine=s390x_machine(memory="1G"),
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=JUMPING,
        linger=30,
    )

    assert list(result.phases) == [1]
    assert "Linux version" not in result.serial.partition(JUMPING)[2]


def test_later_kernels_have_no_kexec(vm: Vm) -> None:
    """What Debian has switched off is named, and nothing else is blamed."""
    series = "6.12"
    result = vm(
        [
            f"kexec -l {boot_path(series)} --initrd=/boot/initrd-small --append=x 2>&1 || "
            'echo "rc $?"\n'
        ],
        kernel=series,
        machine=s390x_machine(memory="1G"),
    )

    said = "\n".join(result.phases[1].lines)
    assert "CONFIG_KEXEC" in said
    assert printed(result, 1, "rc") != "0"
