"""Jumps between Debian's riscv64 kernels: what is planned is what the next kernel finds."""

from __future__ import annotations

import gzip
import secrets

import pytest

from pykexec.formats.compression import Codec
from tests.builders.images import build_zboot
from tests.builders.pe_files import MACHINE_RISCV64
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
from tests.vm.platforms import RISCV64
from tests.vm.qemu import Machine, riscv64_machine
from tests.vm.scenario import Result, boot_path

# Debian 12, whose Python the other guests have, has no riscv64.
pytestmark = pytest.mark.full

SERIES = "6.12"
NONCE = "/scenario/nonce"
TELL_SEEDS = """
import hashlib, sys
from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.formats.device_tree import parse_device_tree
from pykexec.values.roles import Role

load = syscalls.load

def tell(plan, *more, **named):
    chosen = parse_device_tree(bytes(plan.segment(Role.DTB).data)).root.child("chosen")
    for name in ("kaslr-seed", "rng-seed"):
        print("next", name, hashlib.sha256(chosen.get(name)).hexdigest(), flush=True)
    return load(plan, *more, **named)

syscalls.load = tell
sys.exit(kexec_compat.main(sys.argv[1:]))
"""
"""kexec, which prints digests of the seeds that it hands over."""
SEED = "/proc/device-tree/chosen/kaslr-seed"
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "harts $(nproc)"
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport."""
    return f'{RISCV64.console} test.word="two words, äöü" vmtest.phase={phase}'


def jump_script(series: str, cmdline: str, options: str = "") -> str:
    """Return a phase that loads a kernel with the small initrd and jumps."""
    return (
        f"kexec -c -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{cmdline}' {options}\n{LOADED}kexec -e\n"
    )


def assert_arrived(result: Result, phase: int, series: str, cmdline: str) -> None:
    """The phase ran in the kernel that was loaded, with its words and all of its memory."""
    assert result.phases[phase].cmdline == cmdline
    release = debian.kernel(series, arch=RISCV64.debian).release
    assert result.phases[phase].release == release
    before, after = (int(printed(result, number, "memtotal").split()[0]) for number in (1, phase))
    # What is lost is small: the kernel no longer lies where its page tables need least.
    assert abs(before - after) < 4096


@pytest.mark.parametrize(
    ("series", "machine"),
    [
        pytest.param("6.12", riscv64_machine(memory="512M"), id="6.12-1hart-512M"),
        pytest.param("6.12", riscv64_machine(memory="2G", cpus=4), id="6.12-4harts"),
        pytest.param("6.12", riscv64_machine(memory="8G", cpus=2), id="6.12-8G"),
        pytest.param("7.2", riscv64_machine(cpus=2), id="7.2"),
        pytest.param("6.12", riscv64_machine(memory="2G", efi=True), id="6.12-efi"),
    ],
)
def test_jump_into_the_same_kernel(vm: Vm, series: str, machine: Machine) -> None:
    nonce = secrets.token_hex(16)
    cmdline = next_cmdline()
    script = DESCRIBE + jump_script(series, cmdline, "--serial=ttyS0")
    result = vm([script, ARRIVED], kernel=series, machine=machine, files={NONCE: nonce})

    assert_arrived(result, 2, series, cmdline)
    assert f"nonce {nonce}" in result.phases[2].lines
    assert printed(result, 2, "harts") == str(machine.cpus)
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


def test_chain_of_three(vm: Vm) -> None:
    """Jump three times with what was there before, the whole root file system included.

    Debian's kernels leave the seed for KASLR where it is: they do not use it.
    """
    arrived = ARRIVED + f'echo "seed $(sha256sum <{SEED})"\n'

    def jump(phase: int) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"/usr/bin/python3 -s /scenario/kexec.py -c -l {boot_path(SERIES)} "
            f"--initrd=/tmp/initrd --reuse-cmdline\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    phases = [DESCRIBE + jump(2), arrived + jump(3), arrived + jump(4), arrived]
    result = vm(
        phases,
        kernel=SERIES,
        machine=riscv64_machine(),
        append="test.word=1",
        files={NONCE: "n", "/scenario/kexec.py": TELL_SEEDS},
    )

    for phase in (2, 3, 4):
        assert_arrived(result, phase, SERIES, result.phases[1].cmdline)
        assert printed(result, phase, "nonce") == "n"
        handed = printed(result, phase - 1, "next kaslr-seed")
        assert printed(result, phase, "seed").split()[0] == handed
    for name in ("kaslr-seed", "rng-seed"):
        assert len({printed(result, phase, f"next {name}") for phase in (1, 2, 3)}) == 3


@pytest.mark.parametrize("wrapping", ["gzip", "EFI zboot"])
def test_a_wrapped_kernel(vm: Vm, wrapping: str) -> None:
    image = debian.kernel(SERIES, arch=RISCV64.debian).image.read_bytes()
    if wrapping == "gzip":
        data = gzip.compress(image, 1)
    else:
        data = build_zboot(image, Codec.GZIP, machine=MACHINE_RISCV64)
    packed = "/boot/vmlinuz.packed"
    load = (
        f"kexec -d -c -l {packed} --initrd=/boot/initrd-small --append='{next_cmdline()}'\n"
        f"{LOADED}kexec -e\n"
    )
    result = vm(
        [DESCRIBE + load, ARRIVED],
        kernel=SERIES,
        machine=riscv64_machine(),
        files={NONCE: "n", packed: data},
    )

    assert_arrived(result, 2, SERIES, next_cmdline())
    said = " ".join(" ".join(result.phases[1].lines).split())
    assert f"the kernel is taken out of {wrapping}" in said


def test_initrd_of_200_mib_arrives_whole(vm: Vm) -> None:
    size = 200 << 20
    load = (
        f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{next_cmdline()}'\n"
        f"rm /tmp/initrd\n{LOADED}kexec -e\n"
    )
    result = vm(
        [pack_big_initrd(size) + load, SHOW_CONTENT],
        kernel=SERIES,
        machine=riscv64_machine(memory="3G"),
    )

    assert_big_initrd_arrived(result, size)


def test_damaged_segment_is_never_booted(vm: Vm) -> None:
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "ttyS0"), ARRIVED],
        kernel=SERIES,
        machine=riscv64_machine(),
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to the first line of its early console.
        linger=5,
    )

    assert_never_booted(result)
