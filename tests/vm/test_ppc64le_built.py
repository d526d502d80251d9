"""Jumps and crashes of ppc64le by the file call, which Debian's kernels lack: by one built here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    CRASH_REGION,
    DIMM,
    Plugger,
    assert_debugger_reads,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.kernel_build import BUILT
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import Monitor, PhysicalMemory, ppc64le_machine
from tests.vm.scenario import boot_path
from tests.vm.test_ppc64le_boot import ARRIVED, DESCRIBE, NONCE, next_cmdline
from tests.vm.test_ppc64le_hotplug import FIRST, MACHINE, PLUG
from tests.vm.test_ppc64le_kdump import READ_MEMORY, rtas_of
from tests.vm.test_x86_64_ima import MEASURE, MEASURED, SHOW, shown

pytestmark = pytest.mark.full

FLAVOUR = "elf"
GROWING = "disable_radix=no memhp_default_state=online disable_ddw"
"""What lets memory grow: of a hashed page table's new size no kernel tells the next one, and
a device's window onto all memory does not grow on QEMU's board, and keeps new memory offline."""
TWO = ppc64le_machine(memory="2G", cpus=2)


def jump(tool: str, phase: int) -> str:
    """Return the end of a phase, which the next one follows with the same files."""
    return (
        f"repack-initrd -k -p {phase} /tmp/initrd\n"
        f"{tool} -l {boot_path(BUILT, FLAVOUR)} --initrd=/tmp/initrd "
        f"--append='{next_cmdline()}'\nrm /tmp/initrd\n{LOADED}kexec -e\n"
    )


def test_both_calls_jump(vm: Vm) -> None:
    """By the call that is chosen, by the file call and by segments, one after the other.

    IMA's list goes along each time.
    """
    result = vm(
        [
            DESCRIBE + MEASURE + SHOW + jump("kexec -d -a", 2),
            ARRIVED + SHOW + jump("kexec -d -s", 3),
            ARRIVED + SHOW + jump("kexec -d -c", 4),
            ARRIVED + SHOW,
        ],
        kernel=BUILT,
        flavour=FLAVOUR,
        machine=TWO,
        files={NONCE: "n", MEASURED: "measured"},
        timeout=400,
    )

    reasons = {
        1: "kexec_file_load: nothing asked for needs kexec_load",
        2: "kexec_file_load: it was asked for",
        3: "kexec_load: it was asked for",
    }
    for phase, reason in reasons.items():
        said = " ".join(" ".join(result.phases[phase].lines).split())
        assert reason in said
        assert result.phases[phase + 1].cmdline == next_cmdline()
        assert result.phases[phase + 1].release == result.phases[1].release
        assert printed(result, phase + 1, "nonce") == "n"
        assert printed(result, phase + 1, "processors") == "2"
        before, after = shown(result, phase), shown(result, phase + 1)
        assert after[: len(before)] == before
        assert after[-1].endswith(" boot_aggregate")
    assert any(line.endswith(f" {MEASURED}") for line in shown(result, 1))


def test_the_kernel_follows_what_comes(vm: Vm, work: Path) -> None:
    """The kernel made the core header: it rewrites it, and the crash is on the new processor."""
    follows = "cat /sys/devices/system/cpu/crash_hotplug /sys/devices/system/memory/crash_hotplug"
    found = crash(
        vm,
        work,
        load(BUILT, "kexec -s", flavour=FLAVOUR, platform=PPC64LE)
        + f'[ "$({follows})" = "1\n1" ]\n'
        + PLUG
        + READ_MEMORY
        + hold_pages(ANYWHERE, f"{FIRST:x}-{FIRST + DIMM - 1:x}")
        + "taskset -p 4 $$\n",
        series=BUILT,
        flavour=FLAVOUR,
        machine=MACHINE,
        append=f"crashkernel=256M@512M {GROWING}",
        # Gigabytes go through an emulated processor.
        timeout=400,
    )

    assert any(FIRST <= page < FIRST + DIMM for page in found.pages)
    assert_ranges(found.core, [*found.iomem, CRASH_REGION], firmware=[rtas_of(found)])
    assert kdump.notes(found.core).count("NT_PRSTATUS") == 3
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "PPC64")


def test_memory_that_came_is_not_in_the_tree_of_the_boot(vm: Vm, work: Path) -> None:
    """By the file call all processors are in the next kernel, and the memory of the boot alone."""
    monitor = Monitor(work / "qmp")
    result = vm(
        [DESCRIBE + PLUG + jump("kexec -s", 2), ARRIVED],
        kernel=BUILT,
        flavour=FLAVOUR,
        machine=dataclasses.replace(MACHINE, extra=monitor.options),
        append=GROWING,
        files={NONCE: "n"},
        listener=Plugger(PhysicalMemory(work / "gdb"), "", monitor),
        timeout=400,
    )

    warned = "kexec_file_load does not tell the next kernel of 256 MiB of memory that came"
    assert warned in " ".join(" ".join(result.phases[1].lines).split())
    first, second = (int(printed(result, number, "memtotal").split()[0]) for number in (1, 2))
    assert abs(first - second) < 8192
    assert printed(result, 2, "processors") == "3"
