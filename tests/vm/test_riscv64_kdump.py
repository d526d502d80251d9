"""Crashed riscv64 kernels: what leaves the capture kernel, and who can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    HIGH,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import RISCV64
from tests.vm.qemu import Machine, riscv64_machine

# Debian 12, whose Python the other guests have, has no riscv64.
pytestmark = pytest.mark.full

FIRMWARE_END = 0x80080000
"""What lies below is OpenSBI's: a capture kernel that reads it dies."""


@pytest.mark.parametrize(
    ("series", "machine"),
    [
        pytest.param("6.12", riscv64_machine(memory="768M", cpus=2), id="6.12"),
        pytest.param("7.2", riscv64_machine(memory="768M"), id="7.2"),
    ],
)
def test_core_is_whole(vm: Vm, work: Path, series: str, machine: Machine) -> None:
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE) + load(series, "kexec -c", platform=RISCV64),
        series=series,
        machine=machine,
        append="crashkernel=256M",
        # Gigabytes go through an emulated processor.
        timeout=300,
    )

    assert_ranges(found.core, found.iomem, FIRMWARE_END)
    assert kdump.notes(found.core).count("NT_PRSTATUS") == machine.cpus
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "RISCV64")
    assert_log_ends_in_the_panic(found.core)


@pytest.mark.parametrize(
    ("series", "tool", "efi"),
    [
        pytest.param("6.12", "kexec -c", False, id="6.12"),
        pytest.param(BUILT, "kexec -a", False, id="built-auto"),
        pytest.param(BUILT, "kexec -s", True, id="built-file"),
    ],
)
def test_regions_below_and_above_4_gib(
    vm: Vm, work: Path, series: str, tool: str, efi: bool
) -> None:
    """Of the built kernel's own loader too: what it tells of the low region, the guest needs.

    Without EFI, OpenSBI's memory is inside System RAM there, and that loader would have it in the
    dump; so ``-a`` does without. The log is one that the kernel has moved out of its image.
    """
    found = crash(
        vm,
        work,
        hold_pages(HIGH) + load(series, tool, platform=RISCV64),
        series=series,
        machine=riscv64_machine(memory="3G", efi=efi),
        append="log_buf_len=4M crashkernel=256M,high crashkernel=128M,low",
        timeout=600,
    )

    low, high = kdump.ram_of(found.iomem, crash=True)
    assert (low[1] - low[0], high[1] - high[0]) == (128 << 20, 256 << 20)
    assert low[1] <= 4 << 30 <= high[0]
    assert found.pages[0] >= 4 << 30
    assert_ranges(found.core, found.iomem, FIRMWARE_END)
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "RISCV64")
    assert_log_ends_in_the_panic(found.core)
