"""Crashes of guests: a capture kernel is loaded, the machine changes, and the core is judged."""

from __future__ import annotations

import dataclasses
import importlib
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm import debian, kdump
from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import (
    AARCH64,
    ARM,
    I386,
    LOONGARCH64,
    PPC64LE,
    RISCV64,
    S390X,
    X86_64,
    Platform,
)
from tests.vm.qemu import Machine, Monitor, PhysicalMemory
from tests.vm.scenario import CONSOLE, PHASE_TIMEOUT, Files, Result, boot_path, debian_arch
from tests.vm.transcript import Phase

PANIC = "Kernel panic - not syncing: sysrq triggered crash"
CRASHKERNEL = "crashkernel=256M"
# KASLR may cut what is free in two: 512M would not always have 256M in one piece.
SMALL = Machine(memory="768M")
DIMM = 256 << 20
"""Bytes."""
DIMM_START = 4 << 30
"""Physical address at which QEMU puts the first DIMM of a machine with less than 3 GiB."""
KERNELS_FLOOR = 1 << 20
"""Where a core begins whose header the kernel wrote: it takes the first MiB for reserved always
(Linux arch/x86/kernel/crash.c, "elf_header_exclude_ranges")."""

# Ranges for hold-pages: above what firmware and DMA want, and above 4 GiB.
ANYWHERE = "1000000-ffffffffffffff"
HIGH = "100000000-ffffffffffffff"

# Without it the capture kernel sets the crashed kernel's DIMMs online and writes to them.
CAPTURE_CMDLINE = f"{CONSOLE} nr_cpus=1 irqpoll acpi_no_memhotplug vmtest.phase=2"
CAPTURE_CMDLINES = {
    X86_64: CAPTURE_CMDLINE,
    I386: CAPTURE_CMDLINE,
    AARCH64: f"{AARCH64.console} nr_cpus=1 vmtest.phase=2",
    RISCV64: f"{RISCV64.console} nr_cpus=1 vmtest.phase=2",
    ARM: f"{ARM.console} nr_cpus=1 vmtest.phase=2",
    LOONGARCH64: f"{LOONGARCH64.console} nr_cpus=1 vmtest.phase=2",
    S390X: f"{S390X.console} nr_cpus=1 vmtest.phase=2",
    # As Debian does it: a crash may be on any processor.
    PPC64LE: f"{PPC64LE.console} nr_cpus=16 vmtest.phase=2",
}

CRASH_REGION = "  20000000-2fffffff : Crash kernel"
"""Of crashkernel=256M@512M on ppc64le, as a line of /proc/iomem that the kernel does not show."""

LOADED = '[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ]\n'
# The second serial port of s390x has what was said only a moment later.
CRASH = """
sed 's/^/iomem|/' /proc/iomem
sleep 0.5
echo c >/proc/sysrq-trigger
"""
INSERT_MODULES = """
for module in /scenario/modules/*; do
    [ ! -e "$module" ] || insmod "$module"
done
"""
TAKE_WHOLE = f"""{INSERT_MODULES}
echo "vmcore $(stat -c %s /proc/vmcore)"
cat /proc/vmcore >{kdump.PORT}
"""


def take_filtered(platform: Platform = X86_64) -> str:
    """Return the phase that sends the core without gigabytes: free pages, zeros, files' pages."""
    return f"""{INSERT_MODULES}
head -c 16384 /proc/vmcore >/run/headers
send-file headers /run/headers
{kdump.guest_command(platform)} -E -F -d 23 /proc/vmcore >{kdump.PORT} 2>/run/makedumpfile.log ||
    {{ cat /run/makedumpfile.log; exit 1; }}
"""


TAKE_FILTERED = take_filtered()
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
    """Plugs a DIMM in whenever the guest says ``plug``, and a processor when ``plug cpu``.

    What lies at ADDRESS when the second kernel has come is copied into ``image``, if the first one
    has said ``image ADDRESS SIZE``.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        seed: str,
        monitor: Monitor,
        first: Sequence[int] = (kdump.LOW_PAGE,),
        image: Path | None = None,
    ) -> None:
        """Plug by way of ``monitor``."""
        super().__init__(memory, seed, first)
        self._monitor = monitor
        self._plugged = 0
        self._image, self._wanted = image, ("0", "0")

    def phase(self, phase: Phase) -> None:
        """Begin anew: a guest that is lost is tried once more."""
        super().phase(phase)
        if phase.number == 1:
            self._plugged = 0
        if phase.number == 2 and self._wanted != ("0", "0"):
            address, size = (int(word, 16) for word in self._wanted)
            where = {"val": address, "size": size, "filename": str(self._image)}
            self._monitor.ask("pmemsave", where)

    def line(self, line: str) -> None:
        """Do what the line asks for."""
        super().line(line)
        if line.startswith("image "):
            _, address, size = line.split()
            self._wanted = address, size
        if line == "plug":
            self._plugged += 1
            backend, dimm = (f"{kind}{self._plugged}" for kind in ("backend", "dimm"))
            memory: dict[str, object] = {"qom-type": "memory-backend-ram", "id": backend}
            self._monitor.ask("object-add", {**memory, "size": DIMM})
            self._monitor.ask("device_add", {"driver": "pc-dimm", "id": dimm, "memdev": backend})
        elif line == "plug cpu":
            places = self._monitor.ask("query-hotpluggable-cpus", {})
            free = next(place for place in reversed(places) if "qom-path" not in place)
            self._monitor.ask("device_add", {"driver": free["type"], **free["props"]})


def hold_pages(*ranges: str) -> str:
    """Return the part of a phase that owns a patterned page in each of the ranges."""
    wait = "until [ -e /run/held ]; do sleep 0.1; done\n"
    return f"hold-pages {' '.join(ranges)} >&3 &\n{wait}"


def load(
    series: str,
    tool: str = "kexec -c",
    *,
    flavour: str = "cloud",
    initrd: str = "/boot/initrd-small",
    options: str = "",
    platform: Platform = X86_64,
) -> str:
    """Return the part of a phase that loads a capture kernel."""
    return (
        f"{tool} -p {boot_path(series, flavour)} --initrd={initrd} "
        f"--append='{CAPTURE_CMDLINES[platform]}' {options}\n{LOADED}"
    )


def crash(
    vm: Vm,
    work: Path,
    script: str,
    *,
    series: str = "6.12",
    flavour: str = "cloud",
    machine: Machine = SMALL,
    append: str = CRASHKERNEL,
    take: str = TAKE_WHOLE,
    files: Files | None = None,
    timeout: float = PHASE_TIMEOUT,
    capture: str | None = None,
    then: Sequence[str] = (),
    stop_on: str | None = None,
) -> Crash:
    """Run ``script``, crash the kernel, and take the core out of the guest by ``take``.

    ``capture`` is what is on the capture kernel's command line, if that is not made by load().
    ``then`` are further phases, to which ``take`` leads; ``stop_on`` is as in a scenario.
    """
    seed = secrets.token_hex(8)
    core = work / "core"
    memory, monitor = PhysicalMemory(work / "gdb"), Monitor(work / "qmp")
    platform = machine.platform
    # Only a PC has memory so low that nobody wants it.
    first = (kdump.LOW_PAGE,) if platform in (X86_64, I386) else ()
    writer = Plugger(memory, seed, monitor, first, work / "image")
    extra = (*machine.extra, *kdump.core_port(core, machine), *memory.options, *monitor.options)
    modules: Files = {}
    if series != BUILT:
        arch = debian_arch(flavour, platform)
        modules = kdump.port_modules(debian.kernel(series, flavour, arch))
    result = vm(
        [script + CRASH, take, *then],
        kernel=series,
        flavour=flavour,
        machine=dataclasses.replace(machine, extra=extra),
        append=append,
        files={**modules, **(files or {})},
        timeout=timeout,
        stop_on=stop_on,
        meant_death=re.escape(PANIC),
        listener=writer,
    )
    found = Crash(result, core, seed, writer.pages)
    assert (capture or CAPTURE_CMDLINES[platform]) in result.phases[2].cmdline
    for size in found.said(2, "vmcore "):
        assert core.stat().st_size == int(size), (core.stat().st_size, size)
    return found


def assert_ranges(
    core: Path, iomem: Sequence[str], floor: int = 0, firmware: Sequence[tuple[int, int]] = ()
) -> None:
    """All of the crashed kernel's RAM from ``floor`` on is in the core.

    Of the crash regions it is what ``firmware`` keeps there, and nothing else.
    """
    covered = [(load.start, load.end) for load in kdump.loads(core)]
    expected = [(max(start, floor), end) for start, end in kdump.expected_ranges(iomem)]
    assert any(start < end for start, end in expected)
    for start, end in (*expected, *firmware):
        assert kdump.covers(covered, start, end), (f"{start:#x}-{end:#x}", covered)
    for low, high in kdump.ram_of(iomem, crash=True):
        inside = [(start, end) for start, end in covered if start < high and low < end]
        assert inside == [part for part in firmware if low <= part[0] < high], (low, high, covered)


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


def assert_debugger_reads(core: Path, found: Crash, architecture: str) -> None:
    """A debugger takes the core for one of its ``architecture``, and finds physical pages."""
    drgn: Any = importlib.import_module("drgn")
    program = drgn.Program()
    program.set_core_dump(str(core))
    assert program.platform.arch == drgn.Architecture[architecture]
    for address in found.pages:
        wanted = kdump.pattern(found.seed, address)
        assert program.read(address, kdump.PAGE, True) == wanted, f"{address:#x}"


def assert_log_ends_in_the_panic(core: Path) -> None:
    """The distribution's vmcore-dmesg and ours print the same, which is what was printed last."""
    theirs = kdump.vmcore_dmesg(core)
    assert PANIC in theirs[theirs.index("sysrq: Trigger a crash") :]
    own = [sys.executable, "-m", "pykexec.cli.main", "crash", "dmesg", str(core)]
    ours = subprocess.run(own, capture_output=True, check=True).stdout
    assert ours.decode(errors="replace") == theirs


def assert_whole(found: Crash, work: Path, cpus: int = 1, floor: int = 0) -> None:
    """The core has all memory, a note for each processor, and is good enough for the tools."""
    assert_ranges(found.core, found.iomem, floor)
    types = kdump.notes(found.core)
    assert types.count("NT_PRSTATUS") == cpus, types
    assert_pages(found.core, found, floor)
    assert_tools_agree(found.core, work)
