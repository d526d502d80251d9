"""Memory and processors that come to a ppc64le guest: in the next kernel, and in a dump."""

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
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import Monitor, PhysicalMemory, ppc64le_machine
from tests.vm.scenario import boot_path
from tests.vm.test_ppc64le_boot import ARRIVED, DESCRIBE, NONCE, next_cmdline
from tests.vm.test_ppc64le_kdump import READ_MEMORY, rtas_of

pytestmark = pytest.mark.full

MACHINE = ppc64le_machine(memory="2G,slots=2,maxmem=4G", cpus=2, cpus_max=4)
FIRST = 2 << 30
"""Physical address of the DIMM: behind the memory of the boot."""
PLUG = f"""
echo plug
until grep -q '^{FIRST:08x}-.*System RAM' /proc/iomem; do sleep 0.1; done
echo plug cpu
until [ "$(cat /sys/devices/system/cpu/online)" = 0-2 ]; do sleep 0.1; done
"""


@pytest.mark.parametrize("words", ["", "disable_radix "], ids=["radix", "hash"])
def test_what_was_plugged_in_is_in_the_next_kernel(vm: Vm, work: Path, words: str) -> None:
    """The tree of the boot knows of neither, nor that a hashed page table has grown with it."""
    monitor = Monitor(work / "qmp")
    cmdline = words + next_cmdline()
    result = vm(
        [
            DESCRIBE
            + PLUG
            + f"kexec -c -l {boot_path('6.12')} --initrd=/boot/initrd-small "
            + f"--append='{cmdline}'\n{LOADED}kexec -e\n",
            ARRIVED + "cat /sys/devices/system/cpu/online /proc/iomem\n",
        ],
        kernel="6.12",
        append=words,
        machine=dataclasses.replace(MACHINE, extra=monitor.options),
        files={NONCE: "n"},
        listener=Plugger(PhysicalMemory(work / "gdb"), "", monitor),
    )

    before, after = (int(printed(result, number, "memtotal").split()[0]) for number in (1, 2))
    assert abs(after - before - DIMM // 1024) < 8192
    assert printed(result, 2, "processors") == "3"


def test_the_kernel_follows_what_comes(vm: Vm, work: Path) -> None:
    """With --hotplug: the crash is on the new processor, a page of the new memory in the core."""
    follows = "cat /sys/devices/system/cpu/crash_hotplug /sys/devices/system/memory/crash_hotplug"
    found = crash(
        vm,
        work,
        load("6.12", "kexec -c", options="--hotplug", platform=PPC64LE)
        + f'[ "$({follows})" = "1\n1" ]\n'
        + PLUG
        + READ_MEMORY
        + hold_pages(ANYWHERE, f"{FIRST:x}-{FIRST + DIMM - 1:x}")
        + "taskset -p 4 $$\n",
        machine=MACHINE,
        append="crashkernel=256M@512M",
        # Gigabytes go through an emulated processor.
        timeout=400,
    )

    assert any(FIRST <= page < FIRST + DIMM for page in found.pages)
    assert_ranges(found.core, [*found.iomem, CRASH_REGION], firmware=[rtas_of(found)])
    assert kdump.notes(found.core).count("NT_PRSTATUS") == 3
    assert_pages(found.core, found)
    assert "CPU: 2 " in found.result.serial
