"""Crashes of Debian's x86_64 kernels: the capture kernel boots, and the core is whole."""

from __future__ import annotations

import dataclasses
import importlib
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.vm import debian, initramfs, kdump
from tests.vm.conftest import Vm
from tests.vm.qemu import Machine, Monitor, PhysicalMemory
from tests.vm.scenario import CONSOLE, Files, Result, boot_path

PANIC = "Kernel panic - not syncing: sysrq triggered crash"
CRASHKERNEL = "crashkernel=256M"
# KASLR may cut what is free in two: 512M would not always have 256M in one piece.
SMALL = Machine(memory="768M")
DIMM = 256 << 20
"""Bytes."""
DIMM_START = 4 << 30
"""Physical address at which QEMU puts the first DIMM of a machine with less than 3 GiB."""

# Ranges for hold-pages: above what firmware and DMA want, and above 4 GiB.
ANYWHERE = "1000000-ffffffffffffff"
HIGH = "100000000-ffffffffffffff"

# Without it the capture kernel sets the crashed kernel's DIMMs online and writes to them.
CAPTURE_CMDLINE = f"{CONSOLE} nr_cpus=1 irqpoll acpi_no_memhotplug vmtest.phase=2"

LOADED = '[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ]\n'
CRASH = """
sed 's/^/iomem|/' /proc/iomem
echo c >/proc/sysrq-trigger
"""
TAKE_WHOLE = f"""
for module in /scenario/modules/*; do
    [ ! -e "$module" ] || insmod "$module"
done
echo "vmcore $(stat -c %s /proc/vmcore)"
cat /proc/vmcore >{kdump.PORT}
"""
# Gigabytes of free memory stay behind, and pages of zeros and of files.
TAKE_FILTERED = f"""
head -c 16384 /proc/vmcore >/run/headers
send-file headers /run/headers
{kdump.GUEST_COMMAND} -E -F -d 23 /proc/vmcore >{kdump.PORT} 2>/run/makedumpfile.log ||
    {{ cat /run/makedumpfile.log; exit 1; }}
"""
# A processor goes and comes back, and then memory that was not there at the load.
CHANGE_THE_MACHINE = f"""
echo 0 >/sys/devices/system/cpu/cpu1/online
echo 1 >/sys/devices/system/cpu/cpu1/online
echo plug
until grep -q '^{DIMM_START:x}-.*System RAM' /proc/iomem; do sleep 0.1; done
"""


@dataclass(frozen=True, slots=True)
class Crash:
    """A guest's crash, and the core that came of it."""

    result: Result
    core: Path
    seed: str
    pages: list[int]
    """The physical addresses that hold a pattern."""

    def said(self, phase: int, name: str) -> list[str]:
        """Return what a phase printed behind ``name``."""
        lines = self.result.phases[phase].lines
        return [line.removeprefix(name) for line in lines if line.startswith(name)]

    @property
    def iomem(self) -> list[str]:
        """The crashed kernel's /proc/iomem."""
        return self.said(1, "iomem|")


class Plugger(kdump.PageWriter):
    """Plugs a DIMM in when the guest says ``plug``."""

    def __init__(self, memory: PhysicalMemory, seed: str, monitor: Monitor) -> None:
        """Plug by way of ``monitor``."""
        super().__init__(memory, seed)
        self._monitor = monitor

    def line(self, line: str) -> None:
        """Do what the line asks for."""
        super().line(line)
        if line == "plug":
            memory: dict[str, object] = {"qom-type": "memory-backend-ram", "id": "more"}
            self._monitor.ask("object-add", {**memory, "size": DIMM})
            self._monitor.ask("device_add", {"driver": "pc-dimm", "id": "dimm", "memdev": "more"})


@pytest.fixture
def work() -> Iterator[Path]:
    """Return a directory that goes with its cores; its name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pykexec-kdump-") as directory:
        yield Path(directory)


def hold_pages(*ranges: str) -> str:
    """Return the part of a phase that owns a patterned page in each of the ranges."""
    return (
        f"hold-pages {' '.join(ranges)} >/dev/ttyS1 &\nuntil [ -e /run/held ]; do sleep 0.1; done\n"
    )


def load(
    series: str, tool: str = "kexec -c", *, initrd: str = "/boot/initrd-small", options: str = ""
) -> str:
    """Return the part of a phase that loads a capture kernel."""
    return (
        f"{tool} -p {boot_path(series)} --initrd={initrd} "
        f"--append='{CAPTURE_CMDLINE}' {options}\n{LOADED}"
    )


def crash(
    vm: Vm,
    work: Path,
    script: str,
    *,
    series: str = "6.12",
    machine: Machine = SMALL,
    append: str = CRASHKERNEL,
    take: str = TAKE_WHOLE,
    files: Files | None = None,
) -> Crash:
    """Run ``script``, crash the kernel, and take the core out of the guest by ``take``."""
    seed = secrets.token_hex(8)
    core = work / "core"
    memory, monitor = PhysicalMemory(work / "gdb"), Monitor(work / "qmp")
    writer = Plugger(memory, seed, monitor)
    extra = (*kdump.core_port(core), *memory.options, *monitor.options)
    result = vm(
        [script + CRASH, take],
        kernel=series,
        machine=dataclasses.replace(machine, extra=extra),
        append=append,
        files={**kdump.port_modules(debian.kernel(series)), **(files or {})},
        meant_death=re.escape(PANIC),
        listener=writer,
    )
    found = Crash(result, core, seed, writer.pages)
    assert CAPTURE_CMDLINE in result.phases[2].cmdline
    for size in found.said(2, "vmcore "):
        assert core.stat().st_size == int(size)
    return found


def assert_ranges(core: Path, iomem: Sequence[str], floor: int = 0) -> None:
    """All of the crashed kernel's RAM from ``floor`` on is in the core, the crash regions not."""
    covered = [(load.start, load.end) for load in kdump.loads(core)]
    expected = [(max(start, floor), end) for start, end in kdump.expected_ranges(iomem)]
    assert any(start < end for start, end in expected)
    for start, end in expected:
        assert kdump.covers(covered, start, end), (f"{start:#x}-{end:#x}", covered)
    for low, high in kdump.ram_of(iomem, crash=True):
        assert all(end <= low or high <= start for start, end in covered), (low, high, covered)


def assert_pages(core: Path, found: Crash, floor: int = 0) -> None:
    """What was written into memory before the crash is where it was."""
    pages = [address for address in found.pages if address >= floor]
    assert pages
    for address in pages:
        wanted = kdump.pattern(found.seed, address)
        assert kdump.page_at(core, address) == wanted, f"{address:#x}"


def assert_tools_agree(core: Path, work: Path) -> None:
    """The distribution's tools take the core, and the crashed kernel's log ends in the panic."""
    kdump.makedumpfile(work, "-l", "-d", "31", core, work / "compressed")
    kdump.makedumpfile(work, "--dump-dmesg", core, work / "log")
    for log in ((work / "log").read_text(errors="replace"), kdump.vmcore_dmesg(core)):
        assert "Linux version" in log
        assert PANIC in log[log.index("sysrq: Trigger a crash") :]


def assert_whole(found: Crash, work: Path, cpus: int = 1, floor: int = 0) -> None:
    """The core has all memory, a note for each processor, and is good enough for the tools."""
    assert_ranges(found.core, found.iomem, floor)
    types = kdump.notes(found.core)
    assert types.count("NT_PRSTATUS") == cpus, types
    assert_pages(found.core, found, floor)
    assert_tools_agree(found.core, work)


def test_distribution_kexec_makes_a_whole_core(vm: Vm, work: Path) -> None:
    """Of the harness: what is asked of our cores is what the C tool's give."""
    script = hold_pages(ANYWHERE) + load("6.12", "kexec-c -c")
    found = crash(vm, work, script, files=initramfs.c_kexec_files())

    assert_whole(found, work)


CONFIGURATIONS = [
    pytest.param("6.1", SMALL, id="6.1"),
    pytest.param("6.12", SMALL, id="6.12"),
    pytest.param("7.2", SMALL, id="7.2"),
    pytest.param("6.12", Machine(memory="768M", cpus=4), id="6.12-4cpus"),
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


def test_core_is_whole_when_the_kernel_loaded_itself(vm: Vm, work: Path) -> None:
    """By kexec_file_load the kernel writes the core header; it leaves out the first MiB."""
    found = crash(vm, work, hold_pages(ANYWHERE) + load("6.12", "kexec -s"))

    assert_whole(found, work, floor=1 << 20)


@pytest.mark.full
def test_core_is_whole_without_kaslr(vm: Vm, work: Path) -> None:
    """The other tests have KASLR on, as Debian has."""
    script = hold_pages(ANYWHERE) + load("6.12")
    found = crash(vm, work, script, append=f"nokaslr {CRASHKERNEL}")

    assert_whole(found, work)


def test_regions_below_and_above_4_gib(vm: Vm, work: Path) -> None:
    script = (
        hold_pages(HIGH)
        + "repack-initrd /boot/initrd-crash\n"
        + load("6.12", initrd="/boot/initrd-crash")
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
    assert_ranges(headers, found.iomem)
    core = work / "filtered"
    kdump.makedumpfile(work, "-R", core, stdin=found.core)
    assert [address >= 4 << 30 for address in found.pages] == [False, True]
    assert_pages(core, found)
    assert_tools_agree(core, work)


@pytest.mark.parametrize("series", ["6.12", pytest.param("7.2", marks=pytest.mark.full)])
def test_core_knows_what_came_after_the_load(vm: Vm, work: Path, series: str) -> None:
    """The kernel makes the core's header anew when processors and memory come and go.

    Its own header leaves the first MiB out (arch/x86/kernel/crash.c,
    elf_header_exclude_ranges): it takes that for reserved always.
    """
    held = hold_pages(f"{DIMM_START:x}-{DIMM_START + DIMM - 1:x}")
    script = load(series, options="--hotplug") + CHANGE_THE_MACHINE + held
    found = crash(
        vm,
        work,
        script,
        series=series,
        machine=Machine(memory="768M,slots=2,maxmem=4G", cpus=2),
        append=f"memhp_default_state=online {CRASHKERNEL}",
    )

    assert (DIMM_START, DIMM_START + DIMM) in kdump.ram_of(found.iomem)
    assert_whole(found, work, cpus=2, floor=1 << 20)


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
