"""A dump by firmware, from its registration to what is left of it: QEMU's, with a kernel of ours.

No kernel of Debian's for ppc64el has CONFIG_FA_DUMP, and no QEMU before 11 saves such a dump.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from pykexec.crash.fadump.dump import dump_of_sections
from pykexec.crash.fadump.sections import Kind
from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    crash,
    hold_pages,
)
from tests.vm.debian import Suite
from tests.vm.fetched import fetched
from tests.vm.kernel_build import BUILT
from tests.vm.qemu import Machine, ppc64le_machine

pytestmark = pytest.mark.full

SUITE = "sid"
"""The first one with a QEMU that has it."""
WORDS = "vmtest.phase=2 test.words=appended"
REGISTER = f"""
pykexec fadump status --json >/run/before || true
send-file before.json /run/before
pykexec fadump unregister
[ "$(cat /sys/kernel/fadump/registered)" = 0 ]
pykexec fadump append {WORDS}
pykexec fadump register
[ "$(cat /sys/kernel/fadump/registered)" = 1 ]
pykexec fadump status
"""
TAKE = f"""
pykexec fadump status --json >/run/status || echo "status $?"
send-file status.json /run/status
pykexec fadump inspect --json >/run/inspect
send-file inspect.json /run/inspect
send-file kernel-dump /proc/device-tree/rtas/ibm,kernel-dump
pykexec fadump release || echo "kept $?"
echo "vmcore $(stat -c %s /proc/vmcore)"
cat /proc/vmcore >{kdump.PORT}
pykexec fadump release --force
[ ! -e /proc/vmcore ]
pykexec fadump register
pykexec fadump status
"""
NIP, FIRST_REGISTER = 32, 112
"""Of pt_regs, and where an NT_PRSTATUS has it: Linux include/linux/elfcore.h."""


def machine(cpus: int, options: str = "") -> Machine:
    """Return a machine whose firmware saves dumps, and resets instead of ending."""
    program = fetched(SUITE, "qemu-system-ppc", "usr/bin/qemu-system-ppc64")
    data = Suite(SUITE).package("qemu-system-data").root / "usr/share/qemu"
    found = ppc64le_machine(cpus=cpus, memory="2G", extra=("-action", "reboot=reset"))
    return replace(found, program=(*program, "-L", str(data)), board=found.board + options)


def processors(core: Path) -> list[tuple[int, ...]]:
    """Return of each NT_PRSTATUS the general registers, and nip behind them."""
    with core.open("rb") as stream:
        segments = ELFFile(stream).iter_segments()
        parts = [segment for segment in segments if isinstance(segment, NoteSegment)]
        notes = [note for part in parts for note in part.iter_notes()]
        found = []
        for note in notes:
            if note["n_type"] == "NT_PRSTATUS":
                data = note["n_descdata"]
                found.append(struct.unpack_from("<33Q", data, FIRST_REGISTER))
    return found


@pytest.mark.parametrize("cpus", [2])
def test_from_the_registration_to_the_release(vm: Vm, work: Path, cpus: int) -> None:
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE) + REGISTER,
        series=BUILT,
        flavour="elf",
        machine=machine(cpus),
        append="fadump=on",
        take=TAKE,
        capture=WORDS,
        timeout=400,
    )
    check_states(found)
    assert_pages(found.core, found)
    assert_log_ends_in_the_panic(found.core)
    assert_debugger_reads(found.core, found, "PPC64")
    check_header(found, cpus)


def check_states(found: Crash) -> None:
    """The kernel registers by itself; in the capture boot a dump is active until it is released."""
    before, status = (
        json.loads(found.result.files[f"{name}.json"]) for name in ("before", "status")
    )
    assert (before["platform"], before["enabled"], before["registered"]) == ("pseries", 1, 1)
    assert before["dump"] == {"told": False, "vmcore": False, "active": False, "vmcore_size": None}
    assert status["dump"]["active"]
    assert found.said(2, "status ") == ["3"]
    # Nobody has told that it was saved.
    assert found.said(2, "kept ") != ["0"]
    assert int(*found.said(2, "vmcore ")) == status["dump"]["vmcore_size"]


def check_header(found: Crash, cpus: int) -> None:
    """What our reader finds in memory is what the capture kernel has made notes of."""
    (dump,) = json.loads(found.result.files["inspect.json"])["dumps"]
    assert dump["problems"] == []
    header, notes = dump["header"], processors(found.core)
    assert (header["magic"], header["version"], header["byte_order"]) == ("FADMPSIG", 1, "little")
    assert header["cpus"] == [*range(cpus)]
    assert header["crashing_cpu"] in range(cpus)
    assert len(notes) == cpus
    crashed = {name: int(value, 16) for name, value in header["registers"].items()}
    general = tuple(crashed[f"gpr{number}"] for number in range(32))
    assert (*general, crashed["nip"]) in notes
    read = dump_of_sections(None, found.result.files["kernel-dump"]).kernel_dump
    assert read is not None
    assert len(read.sections) == len(dump["sections"])
    boot_memory = read.of(Kind.BOOT_MEMORY)
    assert boot_memory
    assert all(section.bytes_dumped == section.source.size for section in boot_memory)
