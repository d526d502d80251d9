"""Crashes of Debian's x86_64 kernels: the capture kernel boots, and the core is whole."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.vm import debian, initramfs, kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    CHANGE_THE_MACHINE,
    CRASHKERNEL,
    DIMM,
    DIMM_START,
    HIGH,
    KERNELS_FLOOR,
    SMALL,
    TAKE_FILTERED,
    assert_pages,
    assert_ranges,
    assert_tools_agree,
    assert_whole,
    crash,
    hold_pages,
    load,
)
from tests.vm.qemu import Machine


@pytest.mark.full
def test_distribution_kexec_makes_a_whole_core(vm: Vm, work: Path) -> None:
    """Of the harness: what is asked of our cores is what the C tool's give."""
    script = hold_pages(ANYWHERE) + load("6.12", "kexec-c -c")
    found = crash(vm, work, script, files=initramfs.c_kexec_files())

    assert_whole(found, work)


CONFIGURATIONS = [
    pytest.param("6.1", SMALL, id="6.1", marks=pytest.mark.full),
    pytest.param("6.12", SMALL, id="6.12"),
    pytest.param("7.2", SMALL, id="7.2", marks=pytest.mark.full),
    pytest.param("6.12", Machine(memory="768M", cpus=4), id="6.12-4cpus", marks=pytest.mark.full),
    pytest.param("6.12", Machine(memory="768M", firmware="ovmf", board="q35"), id="6.12-ovmf-q35"),
    pytest.param(
        "7.2", Machine(memory="768M", firmware="ovmf"), id="7.2-ovmf-pc", marks=pytest.mark.full
    ),
]


@pytest.mark.parametrize(("series", "machine"), CONFIGURATIONS)
def test_core_is_whole(vm: Vm, work: Path, series: str, machine: Machine) -> None:
    script = hold_pages(ANYWHERE) + load(series)
    found = crash(vm, work, script, series=series, machine=machine)

    assert_whole(found, work, machine.cpus)


@pytest.mark.parametrize(
    ("series", "machine"),
    [
        pytest.param("6.12", SMALL, id="6.12"),
        pytest.param("6.1", SMALL, id="6.1", marks=pytest.mark.full),
        pytest.param("7.2", SMALL, id="7.2", marks=pytest.mark.full),
        pytest.param(
            "6.12",
            Machine(memory="768M", cpus=4, firmware="ovmf", board="q35"),
            id="6.12-4cpus-ovmf-q35",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "7.2", Machine(memory="768M", firmware="ovmf"), id="7.2-ovmf-pc", marks=pytest.mark.full
        ),
    ],
)
def test_core_is_whole_when_the_kernel_loaded_itself(
    vm: Vm, work: Path, series: str, machine: Machine
) -> None:
    script = hold_pages(ANYWHERE) + load(series, "kexec -s")
    found = crash(vm, work, script, series=series, machine=machine)

    assert_whole(found, work, machine.cpus, floor=KERNELS_FLOOR)


@pytest.mark.full
def test_core_is_whole_without_kaslr(vm: Vm, work: Path) -> None:
    """The other tests have KASLR on, as Debian has."""
    script = hold_pages(ANYWHERE) + load("6.12")
    found = crash(vm, work, script, append=f"nokaslr {CRASHKERNEL}")

    assert_whole(found, work)


@pytest.mark.parametrize(
    ("tool", "floor"),
    [
        pytest.param("kexec -c", 0, id="segments", marks=pytest.mark.full),
        pytest.param("kexec -s", KERNELS_FLOOR, id="file", marks=pytest.mark.full),
    ],
)
def test_regions_below_and_above_4_gib(vm: Vm, work: Path, tool: str, floor: int) -> None:
    script = (
        hold_pages(HIGH)
        + "repack-initrd /boot/initrd-crash\n"
        + load("6.12", tool, initrd="/boot/initrd-crash")
    )
    found = crash(
        vm,
        work,
        script,
        machine=Machine(memory="8G"),
        append="crashkernel=512M,high crashkernel=128M,low",
        take=TAKE_FILTERED,
        files=kdump.guest_makedumpfile(),
    )

    low, high = kdump.ram_of(found.iomem, crash=True)
    assert low[1] - low[0] == 128 << 20
    assert low[1] <= 4 << 30
    assert high[1] - high[0] == 512 << 20
    assert high[0] >= 4 << 30
    headers = work / "headers"
    headers.write_bytes(found.result.files["headers"])
    assert_ranges(headers, found.iomem, floor)
    core = work / "filtered"
    kdump.makedumpfile(work, "-R", core, stdin=found.core)
    assert [address >= 4 << 30 for address in found.pages] == [False, True]
    assert_pages(core, found, floor)
    assert_tools_agree(core, work)


@pytest.mark.parametrize(
    ("series", "tool", "options"),
    [
        pytest.param("6.12", "kexec -c", "--hotplug", id="6.12-segments"),
        pytest.param("6.12", "kexec -s", "", id="6.12-file", marks=pytest.mark.full),
        pytest.param("7.2", "kexec -c", "--hotplug", id="7.2-segments", marks=pytest.mark.full),
        pytest.param("7.2", "kexec -s", "", id="7.2-file", marks=pytest.mark.full),
    ],
)
def test_core_knows_what_came_after_the_load(
    vm: Vm, work: Path, series: str, tool: str, options: str
) -> None:
    """The kernel makes the core's header anew when processors and memory come and go."""
    held = hold_pages(f"{DIMM_START:x}-{DIMM_START + DIMM - 1:x}")
    script = load(series, tool, options=options) + CHANGE_THE_MACHINE + held
    found = crash(
        vm,
        work,
        script,
        series=series,
        machine=Machine(memory="768M,slots=2,maxmem=4G", cpus=2),
        append=f"memhp_default_state=online {CRASHKERNEL}",
    )

    assert (DIMM_START, DIMM_START + DIMM) in kdump.ram_of(found.iomem)
    assert_whole(found, work, cpus=2, floor=KERNELS_FLOOR)


@pytest.mark.full
def test_debugger_finds_the_crashed_task(vm: Vm, work: Path) -> None:
    drgn: Any = importlib.import_module("drgn")
    vmlinux = kdump.vmlinux(debian.kernel("6.12"))
    found = crash(vm, work, hold_pages(ANYWHERE) + load("6.12"))

    program = drgn.Program()
    program.set_core_dump(str(found.core))
    program.load_debug_info([str(vmlinux)])
    uts = program["init_uts_ns"].name
    assert uts.release.string_().decode() == debian.kernel("6.12").release
    crashed = program.crashed_thread()
    assert crashed.object.comm.string_() == b"sh"
    assert "sysrq_handle_crash" in str(crashed.stack_trace())
