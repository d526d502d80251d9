"""Jumps between Debian's armhf kernels: what is planned is what the next kernel finds."""

from __future__ import annotations

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
from tests.vm.platforms import ARM
from tests.vm.qemu import Machine, arm_machine
from tests.vm.scenario import Result, boot_path

pytestmark = pytest.mark.full

NONCE = "/scenario/nonce"
CMDLINE = f'{ARM.console} test.word="two words, äöü" vmtest.phase=%d'
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "processors $(nproc)"
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE
SERIAL = "--serial=ttyAMA0"


def jump(series: str, flavour: str, phase: int, initrd: str = "/boot/initrd-small") -> str:
    """Return the part of a phase that loads a kernel for a later phase and jumps."""
    return (
        f"kexec -l {boot_path(series, flavour)} --initrd={initrd} "
        f"--append='{CMDLINE % phase}' {SERIAL}\n{LOADED}kexec -e\n"
    )


def assert_arrived(result: Result, phase: int, series: str, flavour: str) -> None:
    """The phase ran in the kernel that was loaded, with its words and all of its memory."""
    assert result.phases[phase].cmdline == CMDLINE % phase
    release = debian.kernel(series, flavour, ARM.debian).release
    assert result.phases[phase].release == release
    first, later = (int(printed(result, number, "memtotal").split()[0]) for number in (1, phase))
    assert abs(first - later) < 32 << 10  # another kernel is of another size


@pytest.mark.parametrize(
    ("series", "flavour", "machine"),
    [
        pytest.param("6.1", "generic", arm_machine(memory="512M"), id="6.1-512M"),
        pytest.param("6.12", "generic", arm_machine(memory="2G", cpus=2), id="6.12-2cpus"),
        pytest.param(
            "7.2", "lpae", arm_machine(memory="4G", cpu="cortex-a7", board="virt"), id="7.2-lpae-4G"
        ),
        pytest.param(
            "7.2", "lpae", arm_machine(board="virt,highmem=off,virtualization=on"), id="7.2-hyp"
        ),
    ],
)
def test_chain_of_two(vm: Vm, series: str, flavour: str, machine: Machine) -> None:
    """The second jump is made with all that the first kernel had, Python included."""
    nonce = secrets.token_hex(16)
    repack = "repack-initrd -k -p 2 /tmp/initrd\n"
    result = vm(
        [
            DESCRIBE + repack + jump(series, flavour, 2, "/tmp/initrd"),
            ARRIVED + jump(series, flavour, 3),
            ARRIVED,
        ],
        kernel=series,
        flavour=flavour,
        machine=machine,
        files={NONCE: nonce},
    )

    for phase in (2, 3):
        assert_arrived(result, phase, series, flavour)
        assert f"nonce {nonce}" in result.phases[phase].lines
        assert printed(result, phase, "processors") == str(machine.cpus)
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")
    mode = "HYP" if "virtualization=on" in machine.board else "SVC"
    assert result.serial.count(f"\npykexec purgatory: caches on: {mode} mode\n") == 2


def test_initrd_of_100_mib_arrives_whole(vm: Vm) -> None:
    size = 100 << 20
    result = vm(
        [
            pack_big_initrd(size) + jump("6.12", "generic", 2, "/tmp/initrd"),
            SHOW_CONTENT,
        ],
        flavour="generic",
        machine=arm_machine(memory="1G"),
    )

    assert_big_initrd_arrived(result, size)


def test_damaged_segment_is_never_booted(vm: Vm) -> None:
    script = jump_damaged("6.12", CMDLINE % 2, "ttyAMA0").replace(
        boot_path("6.12"), boot_path("6.12", "generic")
    )
    result = vm(
        [script, ARRIVED],
        flavour="generic",
        machine=arm_machine(memory="512M"),
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to the first line of its early console.
        linger=5,
    )

    assert_never_booted(result)


def test_a_kernel_that_cannot_leave_is_named_before(vm: Vm) -> None:
    """Debian's 6.12 with LPAE dies in the jump, whoever asks for it; the doctor says so."""
    kernel = debian.kernel("6.12", "lpae", ARM.debian)
    script = 'pykexec doctor || echo "doctor $?"\n' + jump("6.12", "lpae", 2)
    result = vm(
        [script, ARRIVED],
        flavour="lpae",
        machine=arm_machine(memory="512M"),
        files={NONCE: "n", f"/boot/config-{kernel.release}": kernel.config},
        stop_on=r"(?s)Bye!.*Internal error",
    )

    said = " ".join(" ".join(result.phases[1].lines).split())
    assert "BLOCKS known:arm-lpae-pan" in said
    assert "doctor 1" in said or "doctor 254" in said
    assert "pykexec purgatory" not in result.serial
