"""Jumps of s390x by the file call, crashes by either, and what is refused there.

Debian's kernels since 6.12 have neither call, and none of them can crash into another one: the
kernel is one that is built here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pykexec.crash.elf_core import ElfCore
from pykexec.crash.s390x.os_info import read_os_info
from pykexec.values.ranges import Range
from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    CRASH,
    PANIC,
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
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import S390X
from tests.vm.qemu import Monitor, PhysicalMemory, s390x_machine
from tests.vm.scenario import boot_path
from tests.vm.test_s390x_boot import ARRIVED, DESCRIBE, NONCE, next_cmdline, psw_of

pytestmark = pytest.mark.full

TWO = s390x_machine(memory="1G", cpus=2)
SMALL = s390x_machine(memory="512M", cpus=2)
CRASHKERNEL = "crashkernel=128M"
REGION_SIZE = 128 << 20
"""Bytes."""
LOW, HIGH = "1000000-7ffffff", "8000000-ffffffffffffff"
"""For hold-pages: where the capture kernel will run, and elsewhere."""
DAMAGED = 2 << 20
"""Bytes behind the start of the crash region: in the kernel that was loaded there."""
DOCTOR = "pykexec doctor --crash || true\n"
REFUSED = f"""
! kexec -s -l {boot_path(BUILT, "elf")} --append=x
! kexec -s -l {boot_path(BUILT, "boot-elf")} --append=x
"""


def jump(tool: str, phase: int, flavour: str = "cloud") -> str:
    """Return the end of a phase, which the next one follows with the same files."""
    return (
        f"repack-initrd -k -p {phase} /tmp/initrd\n"
        f"{tool} -l {boot_path(BUILT, flavour)} --initrd=/tmp/initrd "
        f"--append='{next_cmdline()}'\nrm /tmp/initrd\n{LOADED}kexec -e\n"
    )


def test_both_calls_jump(vm: Vm) -> None:
    """By the call that is chosen, by the file call and by segments, one after the other.

    The flat image, and the ELF file that boots by itself, which as LLVM links it has segments that
    the running kernel's own loader would misplace. What that file unpacks is refused.
    """
    result = vm(
        [
            DESCRIBE + REFUSED + jump("kexec -d -a", 2),
            ARRIVED + jump("kexec -d -s", 3),
            ARRIVED + jump("kexec -d -a", 4, "boot-elf"),
            ARRIVED,
        ],
        kernel=BUILT,
        machine=TWO,
        boot=[(BUILT, flavour) for flavour in ("cloud", "elf", "boot-elf")],
        files={NONCE: "n"},
        timeout=400,
    )

    reasons = {
        1: "kexec_file_load: nothing asked for needs kexec_load",
        2: "kexec_file_load: it was asked for",
        3: "kexec_load: kexec_file_load does not take this: the ELF file has a segment at 0x200",
    }
    said = {phase: " ".join(" ".join(result.phases[phase].lines).split()) for phase in reasons}
    assert "the kernel as it is when it has been unpacked (vmlinux)" in said[1]
    assert "give bzImage or arch/s390/boot/vmlinux of its build" in said[1]
    assert "kexec_file_load does not take this kernel: the ELF file has a segment at" in said[1]
    for phase, reason in reasons.items():
        assert reason in said[phase]
        assert result.phases[phase + 1].cmdline == next_cmdline()
        assert result.phases[phase + 1].release == result.phases[1].release
        assert printed(result, phase + 1, "nonce") == "n"
        assert printed(result, phase + 1, "processors") == "2"


def own_log(core: Path) -> bytes:
    """Return what our own reader prints of a core or a dump."""
    words = [sys.executable, "-m", "pykexec.cli.main", "crash", "dmesg", str(core)]
    return subprocess.run(words, capture_output=True, check=True).stdout


def assert_left_for_capture(found: Crash) -> None:
    """The crashed kernel's os_info is in the core, with the region that its /proc/iomem had."""
    with found.core.open("rb") as file:

        class Core:
            """The file."""

            def read(self, offset: int, size: int) -> bytes:
                """Return so many bytes."""
                file.seek(offset)
                return file.read(size)

        left = read_os_info(ElfCore(Core(), found.core.stat().st_size).read_physical)
    assert left.version == (1, 1)
    ((start, end),) = kdump.ram_of(found.iomem, crash=True)
    assert left.crash_region == Range(start, end)


@pytest.mark.parametrize("tool", ["kexec -s", "kexec -c"], ids=["file", "segments"])
def test_core_is_whole(vm: Vm, work: Path, tool: str) -> None:
    """All memory but the crash kernel's own is in the core, where it was before the exchange.

    Compressed, and in big endian, its log is found by what VMCOREINFO says of the kernel's maps.
    """
    found = crash(
        vm,
        work,
        hold_pages(LOW, HIGH) + load(BUILT, tool, platform=S390X) + DOCTOR,
        series=BUILT,
        machine=SMALL,
        append=CRASHKERNEL,
        timeout=120,
    )

    assert_ranges(found.core, found.iomem)
    assert kdump.notes(found.core).count("NT_PRSTATUS") == SMALL.cpus
    assert sorted(page < REGION_SIZE for page in found.pages) == [False, True]
    assert_pages(found.core, found)
    said = " ".join(" ".join(found.result.phases[1].lines).split())
    assert re.search(r"fine: [a-z_, ]*\bcapture\b", said)
    assert_left_for_capture(found)
    assert_debugger_reads(found.core, found, "S390X")
    assert_log_ends_in_the_panic(found.core)
    if tool == "kexec -c":
        compressed = work / "compressed"
        kdump.makedumpfile(work, "-l", "-d", "31", found.core, compressed, platform=S390X)
        assert own_log(compressed) == own_log(found.core)


class Damager(kdump.PageWriter):
    """Spoils the loaded crash kernel, and asks QEMU how the crash of the running one ends."""

    def __init__(self, memory: PhysicalMemory, monitor: Monitor) -> None:
        super().__init__(memory, "seed", ())
        self._monitor = monitor
        self._region = 0
        self.waits_at = 0

    def line(self, line: str) -> None:
        """Write into what was loaded, before the page is written that the guest waits for."""
        if line.startswith("region "):
            self._region = int(line.removeprefix("region ").partition("-")[0], 16)
        if line.startswith("page "):
            self._memory.write(self._region + DAMAGED, b"damaged")
        super().line(line)

    def console(self, line: str) -> None:
        """Wait for the machine to stop after the panic: in a wait that nothing ends."""
        end = time.monotonic() + 60
        while PANIC in line and not self.waits_at and time.monotonic() < end:
            time.sleep(0.2)
            if self._monitor.ask("query-status", {})["status"] == "guest-panicked":
                self.waits_at = psw_of(self._monitor)[1]


@pytest.mark.parametrize("tool", ["kexec -s", "kexec -c"], ids=["file", "segments"])
def test_a_damaged_crash_kernel_is_not_started(vm: Vm, work: Path, tool: str) -> None:
    """By the running kernel's digest or by ours: the crashed kernel is told, and stops by itself.

    It waits in its own code, which has virtual addresses. A purgatory that could not return to it
    would wait at one of its own (purgatory/README.md).
    """
    memory, monitor = PhysicalMemory(work / "gdb"), Monitor(work / "qmp")
    damager = Damager(memory, monitor)
    tell = "echo \"region $(sed -n 's/ : Crash kernel//p' /proc/iomem)\"\n"
    result = vm(
        [load(BUILT, tool, platform=S390X) + tell + hold_pages(HIGH) + CRASH, "true"],
        kernel=BUILT,
        machine=s390x_machine(
            memory="512M", extra=("-action", "panic=pause", *memory.options, *monitor.options)
        ),
        append=CRASHKERNEL,
        stop_on=re.escape(PANIC),
        linger=1,
        meant_death=re.escape(PANIC),
        listener=damager,
        timeout=120,
    )

    assert list(result.phases) == [1]
    assert damager.waits_at > 1 << 32
    assert result.serial.count("Linux version") == 1
