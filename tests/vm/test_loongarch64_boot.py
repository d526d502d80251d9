"""Jumps between Debian's loongarch64 kernels: what is planned is what the next kernel finds."""

from __future__ import annotations

import re
import secrets

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import (
    DAMAGE_FILES,
    HALTED,
    INTACT,
    LOADED,
    SHOW_CONTENT,
    assert_big_initrd_arrived,
    assert_never_booted,
    assert_purgatory_said,
    jump_damaged,
    pack_big_initrd,
    printed,
)
from tests.vm.platforms import LOONGARCH64
from tests.vm.qemu import loongarch64_machine
from tests.vm.scenario import Result, boot_path

pytestmark = pytest.mark.full

SERIES = "7.2"
NONCE = "/scenario/nonce"
TWO = loongarch64_machine(memory="2G", cpus=2)
BIG = 100 << 20
"""Bytes, more than the block of memory below 256 MiB has left beside a kernel."""
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "processors $(nproc)"
sed -n 's/^.*: Kernel code$/code &/p' /proc/iomem
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport."""
    return f'{LOONGARCH64.console} test.word="two words, äöü" vmtest.phase={phase}'


def told(result: Result, phase: int) -> tuple[str, str]:
    """Return the command line without what pykexec tells by it, and that."""
    found = re.fullmatch(r"kexec (.*) (initrd=0x\w+,0x\w+)", result.phases[phase].cmdline)
    assert found is not None, result.phases[phase].cmdline
    return found[1], found[2]


def assert_arrived(result: Result, phase: int, cmdline: str) -> None:
    """The phase ran in the kernel that was loaded, with its words and all of its memory."""
    assert told(result, phase)[0] == cmdline
    release = debian.kernel(SERIES, arch=LOONGARCH64.debian).release
    assert result.phases[phase].release == release
    before, after = (int(printed(result, number, "memtotal").split()[0]) for number in (1, phase))
    assert abs(before - after) < 32768


def test_chain_of_two_with_the_kernel_moved(vm: Vm) -> None:
    """To the first free place behind the running one, and from there to one above 2 GiB."""
    nonce = secrets.token_hex(16)
    first, second = next_cmdline(2), next_cmdline(3)

    def jump(phase: int, cmdline: str, options: str = "") -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{cmdline}' "
            f"--serial=ttyS0 {options}\nrm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [DESCRIBE + jump(2, first), ARRIVED + jump(3, second, "--mem-min=0x90000000"), ARRIVED],
        kernel=SERIES,
        machine=TWO,
        files={NONCE: nonce},
        timeout=400,
    )

    for phase, cmdline in ((2, first), (3, second)):
        assert_arrived(result, phase, cmdline)
        assert printed(result, phase, "nonce") == nonce
        assert printed(result, phase, "processors") == "2"
    code = [int(printed(result, phase, "code").split("-")[0], 16) for phase in (1, 2, 3)]
    assert code[0] < code[1] < 0x10000000
    assert code[2] >= 0x90000000
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


def test_large_initrd(vm: Vm) -> None:
    result = vm(
        [
            pack_big_initrd(BIG)
            + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd "
            + f"--append='{next_cmdline()}' --serial=ttyS0\n{LOADED}kexec -e\n",
            SHOW_CONTENT,
        ],
        kernel=SERIES,
        machine=TWO,
        timeout=400,
    )

    assert_big_initrd_arrived(result, BIG)


def test_flipped_bit_is_named_and_stops(vm: Vm) -> None:
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "ttyS0"), ARRIVED],
        kernel=SERIES,
        machine=TWO,
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to its first line.
        linger=8,
        timeout=300,
    )

    assert_never_booted(result)
