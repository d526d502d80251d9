"""Jumps between Debian's x86_64 kernels: what is loaded is what arrives."""

from __future__ import annotations

import re
import secrets
import textwrap

import pytest

from tests.vm import debian, initramfs
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
)
from tests.vm.qemu import Machine
from tests.vm.scenario import CONSOLE, Result, boot_path
from tests.vm.tried import Tried

NONCE = "/scenario/nonce"

# The firmware's map as this kernel was told it, and what it makes of the machine.
DESCRIBE = """
cd /sys/firmware/memmap
for entry in $(ls | sort -n); do
    echo "memmap $(cat $entry/start) $(cat $entry/end) $(cat $entry/type)"
done
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "cpus $(grep -c ^processor /proc/cpuinfo)"
echo "efi $([ -d /sys/firmware/efi ] && echo yes || echo no)"
echo "tables $(cd /sys/firmware/acpi/tables && echo *)"
dmesg | sed -n 's/.*\\(ACPI: RSDP\\)/\\1/p'
cd /root
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def jump_script(
    series: str, *, flavour: str = "cloud", cmdline: str | None = None, options: str = ""
) -> str:
    """Return a phase that loads a kernel with the small initrd and jumps."""
    append = "" if cmdline is None else f"--append='{cmdline}'"
    return (
        f"kexec -c -l {boot_path(series, flavour)} --initrd=/boot/initrd-small {append} {options}\n"
        f"{LOADED}kexec -e\n"
    )


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport."""
    return f'{CONSOLE} test.word="two words, äöü" vmtest.phase={phase}'


def release_of(series: str, flavour: str = "cloud") -> str:
    """Return what ``uname -r`` will say."""
    return debian.kernel(series, flavour).release


def described(result: Result, phase: int, name: str) -> list[str]:
    """Return what DESCRIBE printed in that phase under ``name``."""
    lines = result.phases[phase].lines
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def assert_same_machine(result: Result, first: int, then: int) -> None:
    """The later kernel was told of the same memory, processors and tables."""
    for name in ("memmap", "cpus", "efi", "tables", "ACPI: RSDP"):
        assert described(result, then, name) == described(result, first, name), name
    before, after = (
        int(described(result, phase, "memtotal")[0].split()[0]) for phase in (first, then)
    )
    # The kernels' own sizes differ, and so does what each reserves.
    assert after == pytest.approx(before, rel=0.1)


CONFIGURATIONS = [
    pytest.param("6.1", Machine(), id="6.1-bios", marks=pytest.mark.full),
    pytest.param("6.12", Machine(), id="6.12-bios"),
    pytest.param("7.2", Machine(), id="7.2-bios", marks=pytest.mark.full),
    pytest.param("6.1", Machine(firmware="ovmf"), id="6.1-ovmf-pc", marks=pytest.mark.full),
    pytest.param(
        "6.12", Machine(firmware="ovmf", board="q35"), id="6.12-ovmf-q35", marks=pytest.mark.full
    ),
    pytest.param("7.2", Machine(firmware="ovmf"), id="7.2-ovmf-pc"),
    pytest.param("6.12", Machine(memory="512M"), id="6.12-512M", marks=pytest.mark.full),
    pytest.param("6.12", Machine(memory="8G", cpus=4), id="6.12-8G-4cpus", marks=pytest.mark.full),
    pytest.param(
        "6.12",
        Machine(memory="8G", cpus=4, firmware="ovmf", board="q35"),
        id="6.12-ovmf-q35-8G-4cpus",
        marks=pytest.mark.full,
    ),
]


@pytest.mark.parametrize(("series", "machine"), CONFIGURATIONS)
def test_jump_into_the_same_kernel(vm: Vm, series: str, machine: Machine) -> None:
    nonce = secrets.token_hex(16)
    cmdline = next_cmdline()
    result = vm(
        [DESCRIBE + jump_script(series, cmdline=cmdline), ARRIVED],
        kernel=series,
        machine=machine,
        files={NONCE: nonce},
    )

    arrived = result.phases[2]
    assert arrived.release == release_of(series)
    assert arrived.cmdline == cmdline
    assert f"nonce {nonce}" in arrived.lines
    assert_same_machine(result, 1, 2)
    assert described(result, 2, "cpus") == [str(machine.cpus)]
    assert described(result, 2, "efi") == ["yes" if machine.firmware == "ovmf" else "no"]
    assert "FACP" in described(result, 2, "tables")[0].split()
    assert described(result, 2, "ACPI: RSDP")


@pytest.mark.full
def test_generic_kernel(vm: Vm) -> None:
    cmdline = next_cmdline()
    result = vm(
        [DESCRIBE + jump_script("6.12", flavour="generic", cmdline=cmdline), ARRIVED],
        flavour="generic",
        files={NONCE: "n"},
    )

    assert result.phases[2].release == release_of("6.12", "generic")
    assert result.phases[2].cmdline == cmdline
    assert_same_machine(result, 1, 2)


@pytest.mark.full
def test_old_kernel_to_new_kernel_and_back(vm: Vm) -> None:
    # The live root file system travels, since only that carries kernels and Python.
    def jump(series: str, phase: int) -> str:
        return (
            f"repack-initrd -k /tmp/initrd\n"
            f"kexec -c -l {boot_path(series)} --initrd=/tmp/initrd "
            f"--append='{next_cmdline(phase)}'\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [DESCRIBE + jump("7.2", 2), DESCRIBE + jump("6.1", 3), ARRIVED],
        kernel="6.1",
        boot=[("6.1", "cloud"), ("7.2", "cloud")],
        files={NONCE: "n"},
    )

    releases = [result.phases[phase].release for phase in (1, 2, 3)]
    assert releases == [release_of("6.1"), release_of("7.2"), release_of("6.1")]
    assert [result.phases[phase].cmdline for phase in (2, 3)] == [next_cmdline(2), next_cmdline(3)]
    assert_same_machine(result, 1, 2)
    assert_same_machine(result, 1, 3)


@pytest.mark.full
def test_chain_of_reused_command_lines_does_not_grow(vm: Vm) -> None:
    # The command line stays as it is, so the phase's number travels in the initrd.
    def jump(phase: int) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -c -l {boot_path('6.12')} --initrd=/tmp/initrd --reuse-cmdline --append=quiet\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [DESCRIBE + jump(2), jump(3), jump(4), DESCRIBE],
        append="ro BOOT_IMAGE=/vmlinuz-of-before initrd=/initrd-of-before vmtest.word=1",
    )

    expected = f"{CONSOLE} ro vmtest.word=1 quiet"
    assert [result.phases[phase].cmdline for phase in (2, 3, 4)] == [expected] * 3
    assert_same_machine(result, 1, 4)


def test_force_loads_and_jumps(vm: Vm) -> None:
    result = vm(
        [
            f"kexec -f {boot_path('6.12')} --initrd=/boot/initrd-small "
            f"--command-line='{next_cmdline()}'\n",
            ARRIVED,
        ],
        files={NONCE: "forced"},
    )

    assert result.phases[2].cmdline == next_cmdline()
    assert "nonce forced" in result.phases[2].lines


def test_pykexec_verbs_load_and_jump(vm: Vm) -> None:
    result = vm(
        [
            "pykexec status\n"
            f"pykexec load {boot_path('6.12')} --initrd /boot/initrd-small "
            f"--append '{next_cmdline()}'\n"
            "pykexec status\npykexec unload\npykexec status\n"
            f"pykexec load {boot_path('6.12')} --initrd /boot/initrd-small "
            f"--append '{next_cmdline()}'\n"
            "pykexec exec\n",
            ARRIVED,
        ],
        files={NONCE: "n"},
    )

    lines = result.phases[1].lines
    states = [line[13:].strip() for line in lines if line.startswith("normal image:")]
    named = f"loaded: {boot_path('6.12')}, by pykexec's record of "
    assert [states[0], states[1][: len(named)], states[2]] == ["not loaded", named, "not loaded"]
    assert result.phases[2].cmdline == next_cmdline()


@pytest.mark.full
def test_initrd_of_300_mib_arrives_whole(vm: Vm) -> None:
    size = 300 << 20
    load = f"kexec -c -l {boot_path('6.12')} --initrd=/tmp/initrd --append='{next_cmdline()}'\n"
    result = vm(
        [f"{pack_big_initrd(size)}{load}{LOADED}kexec -e\n", SHOW_CONTENT],
        machine=Machine(memory="3G"),
        timeout=240,
    )

    assert_big_initrd_arrived(result, size)


def test_damaged_segment_is_never_booted(vm: Vm) -> None:
    result = vm(
        [jump_damaged("6.12", next_cmdline(), "ttyS0"), ARRIVED],
        files={NONCE: INTACT, **DAMAGE_FILES},
        stop_on=HALTED,
        # More than a good second kernel takes to its first line.
        linger=15,
    )

    assert_never_booted(result)


@pytest.mark.full
def test_without_checks_the_same_damage_is_booted(vm: Vm) -> None:
    result = vm(
        [jump_damaged("6.12", next_cmdline(), "ttyS0", checked=False), ARRIVED],
        files={NONCE: INTACT, **DAMAGE_FILES},
    )

    assert described(result, 2, "nonce") == [DAMAGED]
    assert not re.search(r"\b[0-9a-f]{64}\b", result.serial)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(
            "--serial=ttyS0 --serial-baud=115200",
            ["verifying", "SHA-256 is right", "entering"],
            id="checked",
        ),
        pytest.param(
            "-i", ["verification skipped", "entering"], id="unchecked", marks=pytest.mark.full
        ),
    ],
)
def test_purgatory_says_what_it_does(vm: Vm, options: str, says: list[str]) -> None:
    options = f"--console-serial {options}"
    result = vm(
        [jump_script("6.12", cmdline=next_cmdline(), options=options), ARRIVED],
        files={NONCE: "n"},
    )

    assert result.phases[2].cmdline == next_cmdline()
    assert_purgatory_said(result, *says)


def test_limits_of_placement_are_kept(vm: Vm) -> None:
    limits = "--mem-min=0x8000000 --mem-max=0x2fffffff"
    result = vm(
        [
            f"kexec -l {boot_path('6.12')} --initrd=/boot/initrd-small {limits} --dry-run=json "
            f"--append='{next_cmdline()}' >/tmp/plan.json\n"
            "send-file plan.json /tmp/plan.json\n"
            + jump_script("6.12", cmdline=next_cmdline(), options=limits),
            ARRIVED,
        ],
        files={NONCE: "n"},
    )

    segments = re.findall(r'"mem": "(0x[0-9a-f]+)"', result.files["plan.json"].decode())
    assert len(segments) >= 4
    assert all(0x8000000 <= int(segment, 16) <= 0x2FFFFFFF for segment in segments)
    assert result.phases[2].cmdline == next_cmdline()


AS_NOBODY = """
import os, sys
os.setgid(65534)
os.setuid(65534)
os.execv("/usr/bin/kexec", sys.argv[1:])
"""

GATES = textwrap.dedent(
    f"""
    kernel={boot_path("6.12")}
    try nothing-loaded kexec -e
    try status-empty kexec -S -l
    try nobody /usr/bin/python3 /scenario/as-nobody.py kexec -l $kernel
    try no-such-kernel kexec -l /boot/nothing
    try loaded kexec -l $kernel --append=first
    try status-loaded kexec -S -l
    try status-crash kexec -S
    head -c 100000 $kernel >/tmp/half
    try half kexec -l /tmp/half
    try no-room kexec -l $kernel --mem-max=0x1fffff
    try dry-run kexec -l $kernel --append=first --dry-run
    try unloaded kexec -u
    try loaded-again kexec -l $kernel --append=first
    echo 1 >/proc/sys/kernel/kexec_load_disabled
    try disabled kexec -l $kernel --append=second
    echo integrity >/sys/kernel/security/lockdown
    try locked-down kexec -l $kernel --append=second
    """
)


def test_gates_are_named_and_a_failed_load_leaves_the_loaded_kernel(vm: Vm) -> None:
    result = vm([GATES], files={"/scenario/as-nobody.py": AS_NOBODY})

    tried = Tried(result.phases[1].lines)
    assert tried.outcome("nothing-loaded") == (1, "00")
    assert "no kernel is loaded" in tried.said("nothing-loaded")
    assert tried.outcome("status-empty") == (0, "00")
    assert tried.outcome("nobody") == (255, "00")
    assert "CAP_SYS_BOOT" in tried.said("nobody")
    assert "65534" in tried.said("nobody")
    assert tried.outcome("no-such-kernel") == (255, "00")
    assert "/boot/nothing" in tried.said("no-such-kernel")

    assert tried.outcome("loaded") == (0, "10")
    assert tried.outcome("status-loaded") == (1, "10")
    assert tried.outcome("status-crash") == (0, "10"), "without -l it is the crash kernel's state"
    for refused in ("half", "no-room"):
        assert tried.outcome(refused) == (255, "10"), "the kernel loaded before stays loaded"
    assert "truncated" in tried.said("half")
    assert "cannot place kernel" in tried.said("no-room")
    assert tried.outcome("dry-run") == (0, "10")
    assert tried.outcome("unloaded") == (0, "00")

    assert tried.outcome("loaded-again") == (0, "10")
    assert tried.outcome("disabled") == (255, "10")
    assert "kexec_load_disabled is 1" in tried.said("disabled")
    assert "locked down" not in tried.said("disabled")
    assert tried.outcome("locked-down") == (255, "10")
    assert "[integrity]" in tried.said("locked-down")


@pytest.mark.full
def test_the_distribution_kexec_makes_the_same_jump(vm: Vm) -> None:
    """The guests, not pykexec, are on trial here: another loader must get through too."""
    script = jump_script("6.12", cmdline=next_cmdline()).replace("kexec -", "kexec-c -")
    result = vm([DESCRIBE + script, ARRIVED], files={NONCE: "n", **initramfs.c_kexec_files()})

    # Its map of memory begins at 0x400 instead of 0, so only this much is the same.
    assert result.phases[2].release == release_of("6.12")
    assert result.phases[2].cmdline == next_cmdline()
    assert described(result, 2, "tables") == described(result, 1, "tables")
