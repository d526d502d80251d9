"""A dump by firmware on a bare machine: skiboot (OPAL) saves it, by a boot that keeps memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pykexec.crash.fadump.dump import FirmwareDump
from pykexec.loading.fadump_dump import dumps_of_file
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    crash,
    hold_pages,
)
from tests.vm.fadump import GENERAL_REGISTERS, JUMP, powernv_with_fadump, processors_of, words_of
from tests.vm.kernel_build import BUILT
from tests.vm.scenario import NoSecondKernelError
from tests.vm.tried import Tried

pytestmark = pytest.mark.full

BOOT_MEMORY = "8000000-2fffffff"
HIGHER = "90000000-ffffffff"
"""For hold-pages: below what is copied away at the crash, and behind where it is copied to."""
LEAST = 768 * MIB
WAITS = "HIOMAP: Reset"
"""The last that is heard then."""
REGIONS = "/sys/kernel/debug/powerpc/fadump_region"
FIRST = f"""
pykexec fadump status --json >/run/before
send-file before.json /run/before
try append pykexec fadump append more
try event pykexec fadump event
try unregister pykexec fadump unregister
try register pykexec fadump register
sed 's/^/regions|/' {REGIONS}
# What lies behind the copy of boot memory: the header, and the kernel's metadata for OPAL.
python3 - <<'END'
import json, re
reserved = json.load(open("/run/before"))["mem_reserved"]
(place,) = re.findall(r"Dest: 0x([0-9a-f]+), Size: 0x([0-9a-f]+)", open("{REGIONS}").read())
start, size = (int(word, 16) for word in place)
print(f"image {{start + size:#x}} {{reserved - size:#x}}")
END
"""
CAPTURED = f"""
pykexec fadump status --json >/run/status || echo "status $?"
send-file status.json /run/status
sed 's/^/regions|/' {REGIONS}
try inspect pykexec fadump inspect
try register pykexec fadump register
try release pykexec fadump release
echo "vmcore $(stat -c %s /proc/vmcore)"
cat /proc/vmcore >{kdump.PORT}
try forced pykexec fadump release --force
[ ! -e /proc/vmcore ]
try again pykexec fadump register
kexec -c -l {JUMP} vmtest.phase=3'
kexec -e
"""
# What tells of the dump stays, and the next kernel knows of none: it has all memory, and registers.
AFTER = """
[ -e /proc/device-tree/ibm,opal/dump/mpipl-boot ]
[ ! -e /proc/vmcore ]
[ "$(cat /sys/kernel/fadump/registered)" = 1 ]
echo "memory $(grep MemTotal /proc/meminfo | tr -dc 0-9)"
"""


def test_from_the_registration_to_the_release(vm: Vm, work: Path) -> None:
    """A crash, the boot of the same kernel, its /proc/vmcore on the host, release, and a jump."""
    found = crash_until_it_boots(vm, work)
    check_states(found)
    assert_pages(found.core, found)
    assert_log_ends_in_the_panic(found.core)
    assert_debugger_reads(found.core, found, "PPC64")
    check_structures(found, work / "image")
    (memory,) = found.said(3, "memory ")
    assert int(memory) > 3 * LEAST // 1024


def crash_until_it_boots(vm: Vm, work: Path) -> Crash:
    """Crash it; three times at most, since in some runs skiboot waits for QEMU's BMC for ever.

    That is after the crash, and before it starts anything.
    """
    for left in (2, 1, 0):
        try:
            return crash(
                vm,
                work,
                FIRST + hold_pages(BOOT_MEMORY, HIGHER),
                series=BUILT,
                flavour="elf",
                machine=powernv_with_fadump(work / "pnor"),
                append="fadump=on",
                take=CAPTURED,
                then=(AFTER,),
                capture="fadump=on",
                timeout=150,
            )
        except NoSecondKernelError as error:
            if not left or not str(error).rstrip().endswith(WAITS):
                raise
            print(f"skiboot waits for the BMC: once more\n{error}")
    raise AssertionError


def check_states(found: Crash) -> None:
    """What each kernel says of itself, and what it refuses."""
    files = found.result.files
    before, status = (json.loads(files[f"{name}.json"]) for name in ("before", "status"))
    assert (before["platform"], before["enabled"], before["registered"]) == ("powernv", True, True)
    assert before["bootargs_append"] is None
    assert before["mem_reserved"] > LEAST
    assert status["dump"]["active"]
    assert [str(status["dump"]["vmcore_size"])] == found.said(2, "vmcore ")
    first, second = (Tried(found.result.phases[number].lines) for number in (1, 2))
    assert "there is no bootargs_append on powernv" in words_of(first, "append")
    for tried, name, code, said in (
        (first, "append", 255, "words cannot be appended"),
        (first, "unregister", 0, "not registered"),
        (first, "register", 0, "registered: firmware saves a dump"),
        (second, "inspect", 255, "on powernv only a kernel can ask firmware"),
        (second, "register", 255, "a dump is active"),
        (second, "release", 255, "has not been saved"),
        (second, "forced", 0, "released"),
        (second, "again", 0, "registered: firmware saves a dump"),
    ):
        assert tried.outcome(name) == (code, "00"), name
        assert said in words_of(tried, name)


def check_structures(found: Crash, image: Path) -> None:
    """Read out of the crashed machine's memory what its kernel wrote there for OPAL.

    The capture kernel has read the same: it shows the regions, and has made notes of the registers.
    """
    (line,) = found.said(1, "image ")
    base = int(line.split()[0], 16)
    (dump,) = dumps_of_file(str(image), base=base)
    header, metadata = dump.header, dump.metadata
    assert header is not None
    assert metadata is not None
    assert (header.magic, header.version, header.byte_order) == ("FADMPSIG", 1, "little")
    assert dict(header.registers) != {}
    registers = tuple(dict(header.registers)[name] for name in GENERAL_REGISTERS)
    assert processors_of(found.core) == [registers]
    assert metadata.byte_order == "big"
    assert metadata.header_address == dump.header_address
    assert metadata.registered == len(metadata.regions)
    assert shown(found, 2) == shown(found, 1) == told(dump)
    (region,) = metadata.regions
    assert region.source == Range(0, LEAST)
    assert region.destination + LEAST == base


def told(dump: FirmwareDump) -> list[tuple[int, ...]]:
    """Return source, destination and size of each region that our reader has found."""
    assert dump.metadata is not None
    return [(r.source.start, r.destination, r.source.size) for r in dump.metadata.regions]


def shown(found: Crash, phase: int) -> list[tuple[int, ...]]:
    """Return the same, of the kernel of a phase."""
    lines = "\n".join(found.said(phase, "regions|"))
    rows = re.findall(r"Src: (0x\w+), Dest: (0x\w+), Size: (0x\w+)", lines)
    return [tuple(int(word, 16) for word in row) for row in rows]
