"""Kernels that are entered in 32 bits, kernels of 32 bits, and a user space of 32 bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.device_trees import board, build_blob
from tests.vm import crashes, kdump
from tests.vm.conftest import Vm
from tests.vm.debian import Suite
from tests.vm.loads import LOADED
from tests.vm.platforms import I386 as PLATFORM
from tests.vm.qemu import Machine
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

I386 = Machine(arch="i386")
# A 32-bit kernel maps memory up to some 20 MiB below 896 MiB.
LOWMEM, LOWMEM_END, HIGHMEM = "1000000-35ffffff", 0x36000000, "38000000-ffffffffffffff"
VADDR_MAX = {"ELF32": (1 << 32) - 1, "ELF64": (1 << 64) - 1}
READ_THERE = f"""
python3 -s -m pykexec.cli.vmcore_dmesg /proc/vmcore >/run/ours
send-file ours /run/ours
{kdump.guest_command(PLATFORM)} --dump-dmesg /proc/vmcore /run/theirs
send-file theirs /run/theirs
"""


# No kernel of Debian's for x86 reads a device tree, but each shows what it was handed.
TAKE_TREE = """
for node in /sys/kernel/boot_params/setup_data/*; do
    [ "$(cat $node/type)" != 0x2 ] || send-file tree $node/data
done
"""


def test_jump_by_the_32_bit_entry_point(vm: Vm) -> None:
    tree = build_blob(board(None))
    options = "--entry-32bit --console-serial --dtb=/scenario/tree"
    jump = jump_script("6.12", cmdline=next_cmdline(), options=options)
    result = vm([DESCRIBE + jump, ARRIVED + TAKE_TREE], files={NONCE: "n", "/scenario/tree": tree})

    assert result.phases[2].release == release_of("6.12")
    assert result.phases[2].cmdline == next_cmdline()
    assert_same_machine(result, 1, 2)
    assert "pykexec purgatory: SHA-256 is right" in result.serial
    assert result.files["tree"] == tree


@pytest.mark.full
def test_into_a_32_bit_kernel_and_back(vm: Vm) -> None:
    """All by a Python of 32 bits: on a 64-bit kernel, then on a 32-bit one."""

    def words(phase: int) -> str:
        # Without it, a 32-bit kernel that dies young says nothing.
        return f"{next_cmdline(phase)} earlyprintk=serial,ttyS0,115200"

    def jump(series: str, flavour: str, phase: int) -> str:
        return (
            f"repack-initrd -k /tmp/initrd\n"
            f"kexec -l {boot_path(series, flavour)} --initrd=/tmp/initrd "
            f"--append='{words(phase)}' --console-serial\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    result = vm(
        [
            DESCRIBE + jump("6.1", "686", 2),
            DESCRIBE + jump("6.1", "686", 3),
            jump("6.12", "cloud", 4),
            ARRIVED,
        ],
        machine=I386,
        boot=[("6.1", "686"), ("6.12", "cloud")],
        files={NONCE: "n"},
    )

    releases = [result.phases[phase].release for phase in (1, 2, 3, 4)]
    assert releases[0] == releases[3] == release_of("6.12")
    assert releases[1] == releases[2]
    assert releases[1].endswith("-686")
    assert [result.phases[phase].cmdline for phase in (2, 3, 4)] == [
        words(phase) for phase in (2, 3, 4)
    ]
    assert_same_machine(result, 1, 4)


@pytest.mark.full
def test_jump_in_real_mode(vm: Vm) -> None:
    """SeaBIOS answers after Linux has run; the kernel learns the memory map from it."""
    jump = jump_script("6.12", cmdline=next_cmdline(), options="--real-mode --console-serial")
    result = vm([DESCRIBE + jump, ARRIVED], files={NONCE: "n"})

    assert result.phases[2].release == release_of("6.12")
    assert result.phases[2].cmdline == next_cmdline()
    assert_same_machine(result, 1, 2)


@pytest.mark.full
@pytest.mark.parametrize("name", ["ia32", "x64"])
def test_memtest(vm: Vm, name: str) -> None:
    """A bzImage that is not Linux, of 32 bits and with a 64-bit entry point."""
    boot = Suite("bookworm").package("memtest86+").root / "boot"
    result = vm(
        ["kexec -l /boot/memtest --append=console=ttyS0,115200 --console-serial\nkexec -e\n"],
        files={"/boot/memtest": boot / f"memtest86+{name}.bin"},
        stop_on=r"Memtest86\+",
    )
    assert "SHA-256 is right" in result.serial


@pytest.mark.full
@pytest.mark.parametrize(
    ("tool", "memory", "start", "size"),
    [("kexec", "2560M", 1968, 384), ("busybox linux32 kexec", "3552M", 3264, 208)],
    ids=["1968M", "3264M"],
)
def test_a_crash_kernel_loaded_by_a_32_bit_program(
    vm: Vm, work: Path, tool: str, memory: str, start: int, size: int
) -> None:
    """In a region above 896 MiB, which its addresses reach all the same.

    Also in the personality of 32-bit containers and build roots, where uname says i686.
    """
    script = (
        crashes.hold_pages(crashes.ANYWHERE)
        + "repack-initrd /boot/initrd-crash\n"
        + crashes.load("6.12", tool, initrd="/boot/initrd-crash")
    )
    found = crashes.crash(
        vm,
        work,
        script,
        machine=Machine(memory=memory, arch="i386"),
        # KASLR might put the kernel where the region is to be.
        append=f"crashkernel={size}M@{start}M nokaslr",
        take=crashes.TAKE_FILTERED,
        files=kdump.guest_makedumpfile(),
    )

    assert kdump.ram_of(found.iomem, crash=True) == [(start << 20, start + size << 20)]
    headers = work / "headers"
    headers.write_bytes(found.result.files["headers"])
    crashes.assert_ranges(headers, found.iomem)
    core = work / "filtered"
    kdump.makedumpfile(work, "-R", core, stdin=found.core)
    crashes.assert_pages(core, found)
    crashes.assert_tools_agree(core, work)


@pytest.mark.full
@pytest.mark.parametrize(
    ("flavour", "memory", "held", "kind"),
    [
        ("686", "1152M", (LOWMEM, HIGHMEM), "ELF32"),
        # Programs get no low memory while there is so much else.
        ("686-pae", "5G", (crashes.HIGH,), "ELF64"),
    ],
)
def test_a_32_bit_kernel_crashes(
    vm: Vm, work: Path, flavour: str, memory: str, held: tuple[str, ...], kind: str
) -> None:
    """Loaded and read by a Python of 32 bits; part of memory has no virtual address.

    makedumpfile reads cores of the architecture that it is built for, and so runs in the guest.
    """
    script = (
        crashes.hold_pages(*held)
        + "repack-initrd /boot/initrd-crash\n"
        + crashes.load("6.1", "kexec", flavour=flavour, initrd="/boot/initrd-crash")
    )
    found = crashes.crash(
        vm,
        work,
        script,
        series="6.1",
        flavour=flavour,
        machine=Machine(memory=memory, arch="i386"),
        take=crashes.take_filtered(PLATFORM) + READ_THERE,
        files=kdump.guest_makedumpfile(PLATFORM),
    )
    assert all(found.result.phases[n].release.endswith(f"-{flavour}") for n in (1, 2))
    headers, core = work / "headers", work / "filtered"
    headers.write_bytes(found.result.files["headers"])
    shown = kdump.elf_header(headers)
    assert (shown["Class"], shown["Machine"]) == (kind, "Intel 80386")
    crashes.assert_ranges(headers, found.iomem)
    for load in kdump.loads(headers):
        mapped = load.start < LOWMEM_END
        assert load.vaddr == (load.start + 0xC0000000 if mapped else VADDR_MAX[kind])
    kdump.makedumpfile(work, "-R", core, stdin=found.core)
    assert kdump.notes(core).count("NT_PRSTATUS") == 1
    crashes.assert_pages(core, found)
    assert {address < LOWMEM_END for address in found.pages} == {True, False}
    log = kdump.vmcore_dmesg(core)
    for text in (log, found.result.files["theirs"].decode()):
        assert crashes.PANIC in text[text.index("sysrq: Trigger a crash") :]
    own = subprocess.run(
        [sys.executable, "-m", "pykexec.cli.vmcore_dmesg", core],
        capture_output=True,
        text=True,
        check=True,
    )
    assert own.stdout == found.result.files["ours"].decode() == log
