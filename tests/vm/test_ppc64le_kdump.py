"""Crashed ppc64le kernels: what leaves the capture kernel, and who can read it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    CRASH_REGION,
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import Machine, ppc64le_machine

pytestmark = pytest.mark.full

LOW_END = 0x10000
"""What lies below is overwritten by the capture kernel, and saved by the purgatory before."""
LOST_END = 0x100
"""But for this, which the crashed kernel itself overwrites with the new one's first bytes."""
READ_MEMORY = f"""
python3 - <<'END'
import hashlib, struct
def read(start, size):
    with open("/proc/kcore", "rb") as kcore:
        virtual = 0xC000000000000000 + start
        count = struct.unpack_from("<H", kcore.read(64), 56)[0]
        for _ in range(count):
            kind, _, offset, vaddr, _, length, _, _ = struct.unpack("<IIQQQQQQ", kcore.read(56))
            if kind == 1 and vaddr <= virtual < vaddr + length:
                kcore.seek(offset + virtual - vaddr)
                return kcore.read(size)
def number(name):
    with open("/proc/device-tree/rtas/" + name, "rb") as file:
        return int.from_bytes(file.read(), "big")
low = read(0, {LOW_END})
print("low", hashlib.sha256(low[{LOST_END}:]).hexdigest())
start, size = number("linux,rtas-base"), number("rtas-size")
print("rtas", hex(start), hex(start + size))
print("kept", hashlib.sha256(read(start, size)).hexdigest())
END
"""


def rtas_of(found: Crash) -> tuple[int, int]:
    """Return the half-open range that RTAS keeps, as READ_MEMORY has told it."""
    (line,) = found.said(1, "rtas ")
    start, end = (int(word, 16) for word in line.split())
    return start, end


@pytest.mark.parametrize(
    ("series", "machine", "words"),
    [
        pytest.param("6.12", ppc64le_machine(memory="2G", cpus=2), "", id="6.12"),
        pytest.param("6.12", ppc64le_machine(memory="2G"), " disable_radix", id="6.12-hash"),
    ],
)
def test_core_is_whole(vm: Vm, work: Path, series: str, machine: Machine, words: str) -> None:
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE) + READ_MEMORY + load(series, "kexec -c", platform=PPC64LE),
        series=series,
        machine=machine,
        append=f"crashkernel=256M@512M{words}",
        # Gigabytes go through an emulated processor.
        timeout=300,
    )

    start, end = rtas_of(found)
    assert_ranges(found.core, [*found.iomem, CRASH_REGION], firmware=[(start, end)])
    kept = kdump.page_at(found.core, start)[: end - start]
    assert found.said(1, "kept ") == [hashlib.sha256(kept).hexdigest()]
    assert kdump.notes(found.core).count("NT_PRSTATUS") == machine.cpus
    assert_pages(found.core, found)
    pages = range(0, LOW_END, kdump.PAGE)
    low = b"".join(kdump.page_at(found.core, address) for address in pages)
    assert found.said(1, "low ") == [hashlib.sha256(low[LOST_END:]).hexdigest()]
    assert_debugger_reads(found.core, found, "PPC64")
    assert_log_ends_in_the_panic(found.core)
