"""Jumps between Debian's ppc64le kernels: what is planned is what the next kernel finds."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.fetched import newest_qemu_ppc
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
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import PPC64LE_SLOF_BOARD, Machine, ppc64le_machine
from tests.vm.scenario import Result, boot_path

pytestmark = pytest.mark.full

SERIES = "6.12"
NONCE = "/scenario/nonce"
TWO = ppc64le_machine(memory="2G", cpus=2)
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "processors $(nproc)"
echo "tables $(sed -n 's/^MMU[^:]*: //p' /proc/cpuinfo)"
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport."""
    return f'{PPC64LE.console} test.word="two words, äöü" vmtest.phase={phase}'


def jump_script(series: str, cmdline: str, options: str = "") -> str:
    """Return a phase that loads a kernel with the small initrd and jumps."""
    return (
        f"kexec -c -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{cmdline}' {options}\n{LOADED}kexec -e\n"
    )


def assert_arrived(result: Result, phase: int, series: str, cmdline: str) -> None:
    """The phase ran in the kernel that was loaded, with its words and all of its memory."""
    assert result.phases[phase].cmdline == cmdline
    release = debian.kernel(series, arch=PPC64LE.debian).release
    assert result.phases[phase].release == release
    before, after = (int(printed(result, number, "memtotal").split()[0]) for number in (1, phase))
    assert abs(before - after) < 8192


@pytest.mark.parametrize(
    ("series", "machine", "tables", "words"),
    [
        pytest.param("6.12", TWO, "Radix", "", id="6.12-radix-2cpus"),
        pytest.param("6.12", TWO, "Hash", "disable_radix ", id="6.12-hash-2cpus"),
        pytest.param("7.2", ppc64le_machine(memory="2G"), "Radix", "", id="7.2"),
    ],
)
def test_jump_into_the_same_kernel(
    vm: Vm, series: str, machine: Machine, tables: str, words: str
) -> None:
    nonce = secrets.token_hex(16)
    cmdline = words + next_cmdline()
    script = DESCRIBE + jump_script(series, cmdline, "--serial=hvc0")
    result = vm(
        [script, ARRIVED], kernel=series, machine=machine, append=words, files={NONCE: nonce}
    )

    assert_arrived(result, 2, series, cmdline)
    assert f"nonce {nonce}" in result.phases[2].lines
    assert printed(result, 2, "processors") == str(machine.cpus)
    for phase in (1, 2):
        assert printed(result, phase, "tables") == tables
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


@pytest.mark.parametrize(
    ("cpu", "newest", "tables"),
    [
        pytest.param("power8", False, "Hash", id="power8"),
        pytest.param("power10", True, "Radix", id="power10-newest-qemu"),
    ],
)
def test_jump_on_other_processors(vm: Vm, cpu: str, newest: bool, tables: str) -> None:
    machine = ppc64le_machine(memory="2G", cpus=2, cpu=cpu)
    if newest:
        machine = replace(machine, program=newest_qemu_ppc())
    result = vm(
        [DESCRIBE + jump_script(SERIES, next_cmdline(), "--serial=hvc0"), ARRIVED],
        kernel=SERIES,
        machine=machine,
        files={NONCE: "n"},
    )

    assert_arrived(result, 2, SERIES, next_cmdline())
    assert printed(result, 2, "processors") == "2"
    for phase in (1, 2):
        assert printed(result, phase, "tables") == tables
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


def test_chain_of_three(vm: Vm) -> None:
    """Jump three times with what was there before; the properties of the initrd grow to 64 bits."""

    def jump(phase: int) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --reuse-cmdline\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    phases = [DESCRIBE + jump(2), ARRIVED + jump(3), ARRIVED + jump(4), ARRIVED]
    result = vm(phases, kernel=SERIES, machine=TWO, append="test.word=1", files={NONCE: "n"})

    for phase in (2, 3, 4):
        assert_arrived(result, phase, SERIES, result.phases[1].cmdline)
        assert printed(result, phase, "nonce") == "n"
        assert printed(result, phase, "processors") == "2"


def test_chain_through_larger_pages(vm: Vm) -> None:
    """From pages of 4 KiB into 64 KiB and back; the firmware is SLOF, with an RTAS of its own."""
    size = "echo \"page $(python3 -c 'import mmap; print(mmap.PAGESIZE)')\"\n"
    # SLOF has it, VOF has not.
    slof = "[ -e /proc/device-tree/openprom/model ]\n"

    def jump(phase: int, flavour: str) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -c -l {boot_path(SERIES, flavour)} --initrd=/tmp/initrd --reuse-cmdline\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [
            DESCRIBE + size + slof + jump(2, "64k"),
            ARRIVED + size + jump(3, "cloud"),
            ARRIVED + size,
        ],
        kernel=SERIES,
        machine=ppc64le_machine(memory="2G", cpus=2, board=PPC64LE_SLOF_BOARD),
        boot=[(SERIES, "cloud"), (SERIES, "64k")],
        append="test.word=1",
        files={NONCE: "n"},
        timeout=400,
    )

    sizes = [int(printed(result, phase, "page")) for phase in (1, 2, 3)]
    assert sizes == [4096, 65536, 4096]
    for phase in (2, 3):
        assert result.phases[phase].cmdline == result.phases[1].cmdline
        assert printed(result, phase, "nonce") == "n"
        assert printed(result, phase, "processors") == "2"


BIG = 200 << 20
"""Bytes."""


def test_big_initrd(vm: Vm) -> None:
    cmdline = next_cmdline()
    result = vm(
        [
            pack_big_initrd(BIG)
            + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{cmdline}' "
            + f"--serial=hvc0\n{LOADED}kexec -e\n",
            SHOW_CONTENT,
        ],
        kernel=SERIES,
        machine=TWO,
        timeout=400,
    )

    assert_big_initrd_arrived(result, BIG)
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


def test_flipped_bit_is_named_and_stops(vm: Vm) -> None:
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "hvc0"), ARRIVED],
        kernel=SERIES,
        machine=TWO,
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to its first line.
        linger=8,
    )

    assert_never_booted(result)
