"""Crashed arm64 kernels: what leaves the capture kernel, and who can read it.

On the host drgn, readelf and both vmcore-dmesg read the cores. makedumpfile reads only those of
its own architecture, so the capture kernel runs arm64's. Version 1.7.8 knows pages of 4 KiB
with addresses of up to 48 bits only, where Debian's kernels from 6.12 on have 52: what it
says is asked of the kernel that is built here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import initramfs, kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    HIGH,
    PANIC,
    TAKE_WHOLE,
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import AARCH64
from tests.vm.qemu import Machine, aarch64_machine
from tests.vm.scenario import Files

COMMAND = kdump.guest_command(AARCH64)
# BusyBox's initrd, and makedumpfile with its libraries behind it.
BUILD_INITRD = f"""
cp /boot/initrd-small /boot/initrd-crash
(cd / && find .{kdump.GUEST_MAKEDUMPFILE} | cpio -o -H newc 2>/dev/null) >>/boot/initrd-crash
"""
JUDGE_AND_TAKE = f"""
exec 2>/run/said
trap 'cat /run/said' EXIT
{COMMAND} -l -d 31 /proc/vmcore /run/compressed >&2
{COMMAND} --dump-dmesg /proc/vmcore /run/dmesg >&2
grep -o '{PANIC}' /run/dmesg
head -c 16384 /proc/vmcore >/run/headers
send-file headers /run/headers
{COMMAND} -E -F -d 23 /proc/vmcore >{kdump.PORT}
trap - EXIT
"""

full = pytest.mark.full
SPLIT = "crashkernel=512M,high crashkernel=128M,low"
SPLIT_MACHINE = aarch64_machine(memory="5G", efi=True)
"""With 3 GiB of its memory below 4 GiB, and the rest above."""
DISTRIBUTION = "kexec-c -c"
"""Of the harness: what is asked of our cores is what the C tool's give."""


def crashed(
    vm: Vm,
    work: Path,
    tool: str,
    pages: str,
    machine: Machine,
    *,
    series: str,
    append: str = "crashkernel=256M",
    take: str = TAKE_WHOLE,
) -> Crash:
    """Crash a guest whose capture kernel ``tool`` loaded."""
    files: Files = {**initramfs.c_kexec_files(AARCH64), **kdump.guest_makedumpfile(AARCH64)}
    loaded = load(series, tool, initrd="/boot/initrd-crash", platform=AARCH64)
    script = BUILD_INITRD + hold_pages(pages) + loaded
    return crash(
        vm,
        work,
        script,
        series=series,
        machine=machine,
        append=append,
        take=take,
        files=files,
        # Gigabytes go through an emulated processor.
        timeout=300,
    )


def assert_split(found: Crash) -> None:
    """There are the regions that SPLIT asks for, and memory above 4 GiB has a pattern."""
    low, high = kdump.ram_of(found.iomem, crash=True)
    assert (low[1] - low[0], high[1] - high[0]) == (128 << 20, 512 << 20)
    assert low[1] <= 4 << 30 <= high[0]
    assert found.pages[0] >= 4 << 30


@pytest.mark.parametrize(
    ("series", "efi", "tool"),
    [
        pytest.param("6.12", False, "kexec -c", id="6.12-tree"),
        pytest.param("7.2", True, "kexec -c", id="7.2-efi", marks=full),
        pytest.param(BUILT, False, "kexec -s", id="built-tree-file", marks=full),
        pytest.param("6.12", False, DISTRIBUTION, id="6.12-tree-distribution", marks=full),
        pytest.param("7.2", True, DISTRIBUTION, id="7.2-efi-distribution", marks=full),
    ],
)
def test_core_is_whole(vm: Vm, work: Path, series: str, efi: bool, tool: str) -> None:
    machine = aarch64_machine(memory="768M", cpus=2, efi=efi)
    found = crashed(vm, work, tool, ANYWHERE, machine, series=series)

    assert_ranges(found.core, found.iomem)
    assert kdump.notes(found.core).count("NT_PRSTATUS") == machine.cpus
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "AARCH64")
    assert_log_ends_in_the_panic(found.core)


@full
@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("kexec -c", id="segments"),
        pytest.param("kexec -s", id="file"),
    ],
)
def test_regions_below_and_above_4_gib(vm: Vm, work: Path, tool: str) -> None:
    """Not with the C tool: vmcore-dmesg finds nothing at the virtual addresses of its core."""
    found = crashed(
        vm,
        work,
        tool,
        HIGH,
        SPLIT_MACHINE,
        series=BUILT,
        append=SPLIT,
        take=JUDGE_AND_TAKE,
    )

    assert_split(found)
    assert PANIC in found.result.phases[2].lines
    headers = work / "headers"
    headers.write_bytes(found.result.files["headers"])
    assert_ranges(headers, found.iomem)
    # To put a stream back in order is the same for all architectures.
    core = work / "filtered"
    kdump.makedumpfile(work, "-R", core, stdin=found.core)
    assert_pages(core, found)
    assert_debugger_reads(core, found, "AARCH64")
    assert_log_ends_in_the_panic(core)


@full
@pytest.mark.parametrize("series", ["6.12", "7.2"])
def test_regions_of_debians_kernels_below_and_above_4_gib(vm: Vm, work: Path, series: str) -> None:
    """Nothing filters a core of these, so that it is as large as the memory."""
    found = crashed(vm, work, "kexec -c", HIGH, SPLIT_MACHINE, series=series, append=SPLIT)

    assert_split(found)
    assert_ranges(found.core, found.iomem)
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "AARCH64")
    assert_log_ends_in_the_panic(found.core)
