"""Real kernels, started by purgatories that hash by the processor's SHA instructions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.needs import unavailable
from tests.vm.conftest import Vm
from tests.vm.debian import FetchError
from tests.vm.loads import (
    DAMAGE_FILES,
    HALTED,
    INTACT,
    LOADED,
    assert_never_booted,
    jump_damaged,
)
from tests.vm.qemu import SHA_QEMU, Machine, qemu_missing, qemu_since
from tests.vm.scenario import boot_path
from tests.vm.test_x86_64_boot import (
    ARRIVED,
    DESCRIBE,
    NONCE,
    assert_same_machine,
    jump_script,
    next_cmdline,
    release_of,
)

HAS_SHA = "grep -q sha_ni /proc/cpuinfo\n"
RIGHT = "pykexec purgatory: SHA-256 is right"

pytestmark = [pytest.mark.full, pytest.mark.vm]


def machine(arch: str) -> Machine:
    """Return one whose processor has SHA instructions."""
    plain = Machine(arch=arch)
    if missing := qemu_missing(plain.platform):
        unavailable(missing)
    try:
        return replace(plain, program=(qemu_since(SHA_QEMU, plain.platform),))
    except FetchError as error:
        unavailable(str(error))


@pytest.mark.parametrize("options", ["", "--entry-32bit", "--real-mode"])
def test_jump(vm: Vm, options: str) -> None:
    options = f"{options} --console-serial"
    jump = HAS_SHA + jump_script("6.12", cmdline=next_cmdline(), options=options)
    result = vm([DESCRIBE + jump, ARRIVED], machine=machine("x86_64"), files={NONCE: "n"})

    assert result.phases[2].release == release_of("6.12")
    assert result.phases[2].cmdline == next_cmdline()
    assert_same_machine(result, 1, 2)
    assert RIGHT in result.serial


def test_damage_is_found(vm: Vm) -> None:
    result = vm(
        [HAS_SHA + jump_damaged("6.12", next_cmdline(), "ttyS0"), ARRIVED],
        machine=machine("x86_64"),
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        linger=15,
    )

    assert_never_booted(result)


def test_from_a_32_bit_kernel(vm: Vm) -> None:
    """By the purgatory of i386, into a kernel of each width."""

    def jump(series: str, flavour: str, phase: int) -> str:
        words = f"{next_cmdline(phase)} earlyprintk=serial,ttyS0,115200"
        return (
            f"{HAS_SHA}repack-initrd -k /tmp/initrd\n"
            f"kexec -l {boot_path(series, flavour)} --initrd=/tmp/initrd "
            f"--append='{words}' --console-serial\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [jump("6.1", "686", 2), jump("6.1", "686", 3), jump("6.12", "cloud", 4), ARRIVED],
        machine=machine("i386"),
        boot=[("6.1", "686"), ("6.12", "cloud")],
        files={NONCE: "n"},
    )

    releases = [result.phases[phase].release for phase in (1, 2, 3, 4)]
    assert releases[0] == releases[3] == release_of("6.12")
    assert releases[1] == releases[2]
    assert releases[1].endswith("-686")
    assert result.serial.count(RIGHT) == 3
