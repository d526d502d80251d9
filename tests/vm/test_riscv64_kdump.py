"""Crashed riscv64 kernels: what leaves the capture kernel, and who can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
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
