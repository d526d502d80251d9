"""What the tests of dumps by firmware share: QEMU, words, and the cores that come of them.

No kernel of Debian's for ppc64el has CONFIG_FA_DUMP, and no QEMU before 11 saves such a dump: the
kernel is built here, and QEMU is that of a later Debian.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from tests.vm.debian import Suite
from tests.vm.fetched import fetched
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import PPC64LE
from tests.vm.pnor import write_pnor
from tests.vm.qemu import Machine, ppc64le_machine
from tests.vm.scenario import boot_path
from tests.vm.tried import Tried

BOOT_MEMORY = "2000000-13ffffff"
"""For hold-pages: what firmware copies away. The same size behind it is the dump's area, and in no
dump."""
QEMU_SUITE = "sid"
"""The first one with a QEMU that has it."""
JUMP = (
    f"{boot_path(BUILT, 'elf')} --initrd=/boot/initrd-small --append='{PPC64LE.console} fadump=on"
)
"""Arguments of kexec, but for the quote behind them."""
GENERAL_REGISTERS = [*(f"gpr{number}" for number in range(32)), "nip"]
"""The first of ``pt_regs``."""
_REGISTERS = 112
"""Where an NT_PRSTATUS has them: Linux include/linux/elfcore.h."""


def qemu_with_fadump() -> tuple[str, ...]:
    """Return the words that start a QEMU whose firmware saves dumps."""
    program = fetched(QEMU_SUITE, "qemu-system-ppc", "usr/bin/qemu-system-ppc64")
    data = Suite(QEMU_SUITE).package("qemu-system-data").root / "usr/share/qemu"
    return (*program, "-L", str(data))


def pseries_with_fadump(memory: str = "1G", cpus: int = 1) -> Machine:
    """Return a machine whose firmware saves dumps, and that resets instead of ending."""
    found = ppc64le_machine(cpus=cpus, memory=memory, extra=("-action", "reboot=reset"))
    return replace(found, program=qemu_with_fadump())


def powernv_with_fadump(pnor: Path, memory: str = "4G") -> Machine:
    """Return a bare machine whose firmware saves dumps; ``pnor`` is made, its flash.

    One processor: with a second one QEMU 11.1's does not get through the boot after a crash, and
    no other of its bare machines saves one.
    """
    write_pnor(pnor)
    flash = ("-drive", f"file={pnor},if=mtd,format=raw")
    found = ppc64le_machine(
        memory=memory,
        board="powernv10",
        cpu="power10",
        extra=("-action", "reboot=reset", *flash),
    )
    return replace(found, program=qemu_with_fadump())


def words_of(tried: Tried, name: str) -> str:
    """Return what a command said, as one line; but for messages it has to fit a terminal."""
    lines = tried.said(name).splitlines()
    messages = ("pykexec: ", "kexec: ", "hint: ")
    assert all(len(line) <= 80 for line in lines if not line.startswith(messages)), lines
    return " ".join(" ".join(lines).split())


def processors_of(core: Path) -> list[tuple[int, ...]]:
    """Return the :data:`GENERAL_REGISTERS` of each processor, as an independent reader has them."""
    with core.open("rb") as stream:
        segments = ELFFile(stream).iter_segments()
        parts = [segment for segment in segments if isinstance(segment, NoteSegment)]
        notes = [note for part in parts for note in part.iter_notes()]
        return [
            struct.unpack_from(f"<{len(GENERAL_REGISTERS)}Q", note["n_descdata"], _REGISTERS)
            for note in notes
            if note["n_type"] == "NT_PRSTATUS"
        ]
