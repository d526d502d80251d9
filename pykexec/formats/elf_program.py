"""ELF programs that are started as the ELF files that they are. Pure.

On x86 the ``vmlinux`` that a bzImage has inside, and others; on ppc64le every kernel. A Linux
``vmlinux`` is linked to run at high virtual addresses; its ``p_paddr`` say where its segments
belong in memory. Its entry point is a physical address already on x86 (Linux
arch/x86/kernel/vmlinux.lds.S, "phys_startup_64"), a virtual one on ppc64le
(arch/powerpc/kernel/vmlinux.lds.S, "ENTRY").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures import KNOWN, by_elf_machine
from pykexec.formats import boot_wrapper, elf_file
from pykexec.formats.elf_file import ET_DYN
from pykexec.formats.layers import KERNEL_LIMIT
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.architectures import Architecture
    from pykexec.formats.elf_file import ElfFile, LoadSegment
    from pykexec.values.buffers import Buffer

NAME = "ELF program"
_BANNER = re.compile(rb"Linux version (\d[\w.+~-]{0,63}) \(")
"""The beginning of ``linux_banner`` (Linux init/version.c), which every kernel has in it."""


@dataclass(frozen=True, slots=True)
class ElfProgram:
    """A parsed ELF program. The buffers are views into the file."""

    bits: int
    """Of the processor mode that it is entered in: 64 or 32."""
    entry_addr: int
    """Physical."""
    segments: tuple[LoadSegment, ...]
    """In ascending order of physical address; they do not overlap."""
    relocatable: bool
    """ET_DYN: it may be moved as a whole."""
    is_linux: bool
    release: str
    """Of a Linux kernel, else ""."""
    payload: Buffer
    """The whole file."""
    arch: str
    signed: bool = False

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return f"ELF{self.bits} vmlinux" if self.is_linux else f"ELF{self.bits}"

    @property
    def is_big_endian(self) -> bool:
        """It says so of itself (EI_DATA)."""
        return bytes(self.payload[5:6]) == b"\2"

    @property
    def start(self) -> int:
        """Physical address of the first byte."""
        return self.segments[0].paddr

    @property
    def end(self) -> int:
        """Physical address behind the last byte in memory."""
        return max(segment.paddr + segment.memsz for segment in self.segments)


def probe(data: Buffer) -> str | None:
    """Return None if this is an ELF file that may be started as it is, else why it is not."""
    reason = elf_file.probe(data)
    if reason is not None:
        return reason
    big = bytes(data[5:6]) == b"\2"
    machine = int.from_bytes(data[18:20], "big" if big else "little")
    whose = _starting(machine)
    if whose is None or bytes(data[5:6]) not in (b"\1", b"\2"):
        return _other_machine(machine)
    if whose.big_endian != big and not whose.either_byte_order:
        return _other_machine(machine)
    return None if boot_wrapper.probe(data) is not None else "a wrapper around a kernel"


def _starting(machine: int) -> Architecture | None:
    """Return the architecture of an ``e_machine`` whose ELF files are started as they are."""
    found = by_elf_machine(machine)
    return found if found is not None and found.elf_programs else None


def _other_machine(machine: int) -> str:
    wanted = " or ".join(str(item.elf_machine) for item in KNOWN if item.elf_programs)
    return f"an ELF file, but its e_machine is {machine} and not {wanted}"


def parse_elf_program(data: Buffer) -> ElfProgram:
    """Parse an ELF program.

    Raises :class:`ImageError` for one that is cut or malformed, that has nothing to load, that
    needs shared libraries, or whose entry point is in none of its segments.
    """
    elf = elf_file.read_elf(data)
    whose = _starting(elf.machine)
    if whose is None:
        raise ImageError(_other_machine(elf.machine), offset=18, field="e_machine")
    if not elf.segments:
        raise ImageError("the ELF file has no segment to load", field="p_type")
    if elf.needs_libraries:
        raise ImageError(
            "the ELF file is a program for a running system, and no kernel: it needs shared "
            "libraries (DT_NEEDED)",
            field="d_tag",
            hint="give the file that the boot loader uses",
        )
    _check_places(elf)
    banner = _BANNER.search(data)
    return ElfProgram(
        bits=whose.word_bits,
        entry_addr=_entry_addr(elf),
        segments=elf.segments,
        relocatable=elf.type == ET_DYN,
        is_linux=banner is not None,
        release=banner[1].decode("ascii", "replace") if banner else "",
        payload=data,
        arch=whose.image_arch,
    )


def _check_places(elf: ElfFile) -> None:
    end = 0
    for segment in elf.segments:
        if segment.paddr < end:
            raise ImageError(
                f"the ELF file is malformed: two segments overlap at {segment.paddr:#x}",
                field="p_paddr",
            )
        end = segment.paddr + segment.memsz
    size = sum(segment.memsz for segment in elf.segments)
    if size > KERNEL_LIMIT:
        raise ImageError(
            f"the ELF file's segments take {format_size(size)} of memory; at most "
            f"{format_size(KERNEL_LIMIT)} are taken",
            field="p_memsz",
        )


def _entry_addr(elf: ElfFile) -> int:
    """Return the entry point's physical address.

    Linux gives that itself; by the ABI the entry point is a virtual address.
    """
    for segment in elf.segments:
        if segment.paddr <= elf.entry < segment.paddr + len(segment.data):
            return elf.entry
    for segment in elf.segments:
        if segment.vaddr <= elf.entry < segment.vaddr + len(segment.data):
            return elf.entry - segment.vaddr + segment.paddr
    raise ImageError(
        f"the ELF file is malformed: no segment has its entry point {elf.entry:#x}",
        offset=24,
        field="e_entry",
    )
