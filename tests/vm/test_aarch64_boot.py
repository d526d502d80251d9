"""Jumps between Debian's arm64 kernels: what is planned is what the next kernel finds."""

from __future__ import annotations

import gzip
import re
import secrets
from collections.abc import Mapping

import pytest

from tests.builders.device_trees import read_blob
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import (
    DAMAGE_FILES,
    DAMAGED,
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
from tests.vm.platforms import AARCH64
from tests.vm.qemu import Machine, aarch64_machine
from tests.vm.scenario import JUMPING, Result, boot_path
from tests.vm.tried import Tried

NONCE = "/scenario/nonce"
SERIES = "6.12"
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "cpus $(nproc)"
echo "efi $([ -d /sys/firmware/efi ] && echo yes || echo no)"
echo "acpi $([ -d /sys/firmware/acpi ] && echo yes || echo no)"
echo "text $(sed -n 's/ T _text$//p' /proc/kallsyms)"
dmesg | sed -n 's/.*CPU: All CPU(s) started at /level /p'
send-file "tree$VMTEST_PHASE" /sys/firmware/fdt
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport."""
    return f'{AARCH64.console} test.word="two words, äöü" vmtest.phase={phase}'


def jump_script(series: str, cmdline: str, options: str = "") -> str:
    """Return a phase that loads a kernel with the small initrd, shows the plan, and jumps."""
    return (
        f"kexec -d -c -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{cmdline}' {options}\n{LOADED}kexec -e\n"
    )


def chosen(result: Result, phase: int) -> Mapping[str, bytes]:
    """Return the properties of /chosen that the kernel of a phase found."""
    return read_blob(result.files[f"tree{phase}"]).properties["/chosen"]


def planned(result: Result, phase: int, role: str) -> tuple[int, int]:
    """Return address and size of the data that a phase loaded as ``role``, from ``kexec -d``."""
    text = "\n".join(result.phases[phase].lines)
    match = re.search(
        rf"segment\[(\d+)\]\.buf   = {role}\nsegment\[\1\]\.bufsz = (\w+)\n"
        r"segment\[\1\]\.mem   = (\w+)\n",
        text,
    )
    assert match is not None, text
    return int(match[3], 16), int(match[2], 16)


def assert_arrived(result: Result, phase: int, series: str, cmdline: str) -> None:
    """The kernel of ``phase`` is the one meant, and its /chosen is as the last one planned."""
    arrived = result.phases[phase]
    assert arrived.release == debian.kernel(series, arch=AARCH64.debian).release
    assert arrived.cmdline == cmdline
    start, size = planned(result, phase - 1, "initrd")
    found = chosen(result, phase)
    assert found["bootargs"] == cmdline.encode() + b"\0"
    assert found["linux,initrd-start"] == start.to_bytes(8, "big")
    assert found["linux,initrd-end"] == (start + size).to_bytes(8, "big")
    assert "linux,booted-from-kexec" in found
    assert not {"linux,elfcorehdr", "linux,usable-memory-range"} & found.keys()
    for name in ("cpus", "efi", "acpi", "level"):
        assert printed(result, phase, name) == printed(result, phase - 1, name), name
    before, after = (
        int(printed(result, each, "memtotal").split()[0]) for each in (phase - 1, phase)
    )
    assert after == pytest.approx(before, rel=0.1)


TREE = aarch64_machine(cpus=4)
EFI = aarch64_machine(efi=True, cpus=2)
EL2 = "virt,virtualization=on,its=off"
full = pytest.mark.full
CONFIGURATIONS = [
    pytest.param("6.12", TREE, id="6.12-tree-4cpus"),
    pytest.param("6.1", aarch64_machine(cpus=2), id="6.1-tree-2cpus", marks=full),
    pytest.param("7.2", aarch64_machine(cpus=2), id="7.2-tree-2cpus", marks=full),
    pytest.param("6.12", EFI, id="6.12-efi-acpi-2cpus"),
    pytest.param("6.1", EFI, id="6.1-efi-acpi-2cpus", marks=full),
    pytest.param("7.2", EFI, id="7.2-efi-acpi-2cpus", marks=full),
    pytest.param("6.12", aarch64_machine(board=EL2, cpu="cortex-a72"), id="6.12-el2", marks=full),
    pytest.param("6.12", aarch64_machine(board=EL2), id="6.12-el2-vhe", marks=full),
    pytest.param("6.12", aarch64_machine(memory="8G"), id="6.12-8G", marks=full),
]


@pytest.mark.parametrize(("series", "machine"), CONFIGURATIONS)
def test_jump_into_the_same_kernel(vm: Vm, series: str, machine: Machine) -> None:
    nonce = secrets.token_hex(16)
    cmdline = next_cmdline()
    script = DESCRIBE + jump_script(series, cmdline, "--serial=ttyAMA0")
    result = vm([script, ARRIVED], kernel=series, machine=machine, files={NONCE: nonce})

    assert_arrived(result, 2, series, cmdline)
    assert f"nonce {nonce}" in result.phases[2].lines
    assert printed(result, 2, "cpus") == str(machine.cpus)
    assert printed(result, 2, "level") == ("EL2" if "virtualization=on" in machine.board else "EL1")
    firmware = "yes" if machine.firmware == "aavmf" else "no"
    assert [printed(result, 2, name) for name in ("efi", "acpi")] == [firmware, firmware]
    after = result.serial.rpartition(JUMPING)[2]
    redistributors = machine.cpus if "gic-version=3" in machine.board else 0
    assert len(re.findall(r"GICv3: CPU\d+: found redistributor", after)) == redistributors
    assert_purgatory_said(result, "verifying", "SHA-256 is right", "entering")


def chain(vm: Vm, words: str) -> Result:
    """Jump three times with what was there before, the whole root file system included."""

    def jump(phase: int) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -d -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --reuse-cmdline\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    phases = [DESCRIBE + jump(2), ARRIVED + jump(3), ARRIVED + jump(4), ARRIVED]
    return vm(phases, kernel=SERIES, machine=aarch64_machine(), append=words, files={NONCE: "n"})


@full
def test_chain_of_kernels_that_move(vm: Vm) -> None:
    result = chain(vm, "test.word=1")

    places = {printed(result, phase, "text") for phase in (1, 2, 3, 4)}
    assert len(places) == 4, "each seed is another, and has moved its kernel elsewhere"
    for phase in (2, 3, 4):
        assert_arrived(result, phase, SERIES, f"{AARCH64.console} test.word=1")
        assert chosen(result, phase)["kaslr-seed"] == bytes(8), "used and wiped"
    trees = [read_blob(result.files[f"tree{phase}"]) for phase in (2, 3, 4)]
    for tree in trees[1:]:
        # The one for IMA's list moves with the list.
        assert len(tree.reservations) == len(trees[0].reservations)
        assert {path: set(node) for path, node in tree.properties.items()} == {
            path: set(node) for path, node in trees[0].properties.items()
        }


@full
def test_chain_of_kernels_that_leave_their_seed(vm: Vm) -> None:
    """With nokaslr the kernel does not wipe it: each can be seen, and the next load says so."""
    result = chain(vm, "nokaslr")

    seeds = {chosen(result, phase)["kaslr-seed"] for phase in (2, 3, 4)}
    assert len(seeds) == 3
    assert {len(seed) for seed in seeds} == {8}
    assert "was not wiped by the kernel" in " ".join(result.phases[2].lines)


def test_default_call_falls_back_and_unpacks_the_kernel(vm: Vm) -> None:
    """Debian's kernels lack kexec_file_load, and their packages have plain images only."""
    image = debian.kernel(SERIES, arch=AARCH64.debian).image.read_bytes()
    packed = "/boot/vmlinuz.gz"
    load = (
        f"kexec -d -l {packed} --initrd=/boot/initrd-small --append='{next_cmdline()}'\n"
        f"{LOADED}kexec -e\n"
    )
    result = vm(
        [DESCRIBE + load, ARRIVED],
        kernel=SERIES,
        machine=aarch64_machine(),
        files={NONCE: "n", packed: gzip.compress(image, 1)},
    )

    assert_arrived(result, 2, SERIES, next_cmdline())
    said = " ".join(" ".join(result.phases[1].lines).split())
    assert "kexec_load: kexec_file_load failed: Function not implemented (ENOSYS)" in said
    assert "not available: the running kernel is built without it" in said
    assert "the kernel is taken out of gzip" in said


@full
def test_initrd_of_200_mib_arrives_whole(vm: Vm) -> None:
    size = 200 << 20
    load = f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{next_cmdline()}'\n"
    result = vm(
        [f"{pack_big_initrd(size)}{load}{LOADED}kexec -e\n", SHOW_CONTENT],
        kernel=SERIES,
        machine=aarch64_machine(memory="2G"),
        timeout=240,
    )

    assert_big_initrd_arrived(result, size)


def test_damaged_segment_is_never_booted(vm: Vm) -> None:
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "ttyAMA0"), ARRIVED],
        kernel=SERIES,
        machine=aarch64_machine(),
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to the first line of its early console.
        linger=5,
    )

    assert_never_booted(result)


@full
def test_without_checks_the_same_damage_is_booted(vm: Vm) -> None:
    result = vm(
        [jump_damaged(SERIES, next_cmdline(), "ttyAMA0", checked=False), ARRIVED],
        kernel=SERIES,
        machine=aarch64_machine(),
        files={NONCE: INTACT, **DAMAGE_FILES},
    )

    assert printed(result, 2, "nonce") == DAMAGED
    assert_purgatory_said(result, "verification skipped", "entering")


@full
def test_normal_load_inside_the_crash_region(vm: Vm) -> None:
    """It is refused while a crash kernel is loaded there, and boots where there is none."""
    cmdline = f"{next_cmdline()} crashkernel=256M"
    kernel = boot_path(SERIES)
    region = r"""
        region=$(sed -n 's/^ *\(.*\) : Crash kernel$/\1/p' /proc/iomem)
        inside="--mem-min=0x${region%-*} --mem-max=0x${region#*-}"
        echo "region $region"
    """
    tries = f"""
        try crash kexec -c -p {kernel} --append=crash
        try refused kexec -c -l {kernel} --append=normal $inside
        try unloaded kexec -p -u
    """
    shown = "sed -n 's/^ *\\(.*\\) : Kernel code$/code \\1/p' /proc/iomem\n"
    result = vm(
        [DESCRIBE + region + tries + jump_script(SERIES, cmdline, "$inside"), ARRIVED + shown],
        kernel=SERIES,
        machine=aarch64_machine(),
        append="crashkernel=256M",
        files={NONCE: "n"},
    )

    tried = Tried(result.phases[1].lines)
    assert tried.outcome("crash") == (0, "01"), tried.said("crash")
    assert tried.outcome("refused") == (1, "01"), tried.said("refused")
    assert "name the crash region, where a crash kernel is loaded" in tried.said("refused")
    assert "unload that first: kexec -p -u" in tried.said("refused")
    assert tried.outcome("unloaded") == (0, "00"), tried.said("unloaded")
    assert_arrived(result, 2, SERIES, cmdline)
    first, last = (int(end, 16) for end in printed(result, 1, "region").split("-"))
    start, end = (int(end, 16) for end in printed(result, 2, "code").split("-"))
    assert first <= start < end <= last
