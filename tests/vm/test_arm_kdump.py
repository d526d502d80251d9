"""Crashed armhf kernels: what leaves the capture kernel, and who can read it."""

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
from tests.vm.platforms import ARM
from tests.vm.qemu import Machine, arm_machine

pytestmark = pytest.mark.full

HIGHMEM = 0x70000000
"""With memory from 0x40000000 on, and the usual 768 MiB that kernels map for good."""


@pytest.mark.parametrize(
    ("series", "flavour", "machine"),
    [
        pytest.param("6.12", "generic", arm_machine(memory="1G"), id="6.12-highmem"),
        pytest.param(
            "7.2",
            "lpae",
            arm_machine(memory="768M", cpus=2, board="virt,highmem=off,virtualization=on"),
            id="7.2-lpae-hyp-2cpus",
        ),
    ],
)
def test_core_is_whole(vm: Vm, work: Path, series: str, flavour: str, machine: Machine) -> None:
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE, "40000000-6fffffff")
        + load(series, "kexec", flavour=flavour, platform=ARM, options="--serial=ttyAMA0"),
        series=series,
        flavour=flavour,
        machine=machine,
        append="crashkernel=128M",
        # Each page goes through a mapping of its own.
        timeout=480,
    )

    assert kdump.elf_header(found.core)["Class"] == "ELF32"
    assert_ranges(found.core, found.iomem)
    assert kdump.notes(found.core).count("NT_PRSTATUS") == machine.cpus
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "ARM")
    assert_log_ends_in_the_panic(found.core)
    for part in kdump.loads(found.core):
        mapped = part.start - 0x40000000 + 0xC0000000
        assert part.vaddr == (0xFFFFFFFF if part.start >= HIGHMEM else mapped)
    if machine.memory == "1G":
        assert any(page >= HIGHMEM for page in found.pages)
