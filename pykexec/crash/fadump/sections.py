"""``ibm,kernel-dump``: what firmware has copied for a kernel on pseries. Pure.

Linux arch/powerpc/platforms/pseries/rtas-fadump.h. Big-endian, as firmware has it. The property
stays in the device tree when the dump was released.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pykexec.crash.fadump._structures import DUMP_HEADER, DUMP_SECTION
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from types import SimpleNamespace

    from pykexec.values.buffers import Buffer

FORMAT = 1
SECTIONS_MAX = 10
_PERFORMED = 0x8000
_TRIGGERED_BEFORE = 0x4000
_ERROR = 0x2000


class Kind(IntEnum):
    """``source_data_type``."""

    CPU_STATE = 0x0001
    HPTE = 0x0002
    BOOT_MEMORY = 0x0011
    PARAMETERS = 0x0100


KIND_NAMES = {
    Kind.CPU_STATE: "registers",
    Kind.HPTE: "hash page table",
    Kind.BOOT_MEMORY: "boot memory",
    Kind.PARAMETERS: "parameters",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of the crashed machine, and where firmware has put it."""

    kind: int
    """A :class:`Kind`, or a number that is none: a kernel passes over those."""
    requested: bool
    error_flags: int
    source: Range
    """Empty where firmware has nothing of that kind. Registers have no source address: 0."""
    bytes_dumped: int
    destination: int
    """Physical."""

    @property
    def name(self) -> str:
        """What it is, in words."""
        known = {int(kind): name for kind, name in KIND_NAMES.items()}
        return known.get(self.kind, f"type {self.kind:#06x}")


@dataclass(frozen=True, slots=True)
class KernelDump:
    """The whole property, or what a kernel hands over to register."""

    performed: bool
    triggered_before: bool
    failed: bool
    sections: tuple[Section, ...]

    def of(self, kind: Kind) -> tuple[Section, ...]:
        """Return the sections of one kind, in their order."""
        return tuple(section for section in self.sections if section.kind == kind)

    @property
    def boot_memory_size(self) -> int:
        """Bytes of boot memory, without the holes in it."""
        return sum(section.source.size for section in self.of(Kind.BOOT_MEMORY))

    @property
    def boot_memory_end(self) -> int:
        """Where the last of it ends, physical."""
        return max((section.source.end for section in self.of(Kind.BOOT_MEMORY)), default=0)

    @property
    def header_address(self) -> int | None:
        """Physical address of the crash info header, behind the copy of the boot memory.

        None without a section whose source begins at 0 (Linux rtas-fadump.c,
        "rtas_fadump_update_config").
        """
        first = next((s for s in self.of(Kind.BOOT_MEMORY) if s.source.start == 0), None)
        return None if first is None else first.destination + self.boot_memory_size

    @property
    def problems(self) -> tuple[str, ...]:
        """Why a capture kernel would refuse it: Linux rtas-fadump.c, "rtas_fadump_process"."""
        found = ["firmware tells of an error in the dump"] if self.failed else []
        for section in self.sections:
            if section.kind not in (Kind.CPU_STATE, Kind.HPTE, Kind.BOOT_MEMORY):
                continue
            if section.error_flags:
                found.append(f"{section.name}: error flags {section.error_flags:#06x}")
            if section.bytes_dumped != section.source.size:
                found.append(
                    f"{section.name}: {section.bytes_dumped} of "
                    f"{counted(section.source.size, 'byte')} dumped"
                )
        return tuple(found)


def parse_kernel_dump(data: Buffer) -> KernelDump:
    """Read the property; raises :class:`ImageError`."""
    header = parse_at(DUMP_HEADER, data, 0, "ibm,kernel-dump")
    if header.dump_format_version != FORMAT:
        raise ImageError(
            f"ibm,kernel-dump has format {header.dump_format_version}; known is {FORMAT}",
            offset=0,
            field="dump_format_version",
        )
    count, first = header.dump_num_sections, header.offset_first_dump_section
    if count > SECTIONS_MAX or first < DUMP_HEADER.size:
        raise ImageError(
            f"ibm,kernel-dump has {counted(count, 'section')} from {first:#x} on; there can be "
            f"{SECTIONS_MAX}, from {DUMP_HEADER.size:#x} on",
            offset=4,
            field="dump_num_sections",
        )
    size = DUMP_SECTION.size
    status = header.dump_status_flag
    return KernelDump(
        performed=bool(status & _PERFORMED),
        triggered_before=bool(status & _TRIGGERED_BEFORE),
        failed=bool(status & _ERROR),
        sections=tuple(
            _section(
                parse_at(DUMP_SECTION, data, first + number * size, f"section {number}"),
                number,
                first + number * size,
            )
            for number in range(count)
        ),
    )


def words_below_boot_memory(data: Buffer) -> bool:
    """Tell whether the words for the capture kernel lie in boot memory, which is never released.

    False for a property that has none, or that cannot be read.
    """
    try:
        dump = parse_kernel_dump(data)
    except ImageError:
        return False
    words = dump.of(Kind.PARAMETERS)
    return bool(words) and all(section.destination < dump.boot_memory_end for section in words)


def is_released(place: Range, data: Buffer, reserved: int | None) -> bool:
    """Tell whether a release gives ``place`` away: all but boot memory and the dump area.

    ``reserved`` is how long that area is, in bytes. True where the property cannot be read.
    """
    try:
        dump = parse_kernel_dump(data)
    except ImageError:
        return True
    if place.end <= dump.boot_memory_end:
        return False
    area = min((section.destination for section in dump.of(Kind.BOOT_MEMORY)), default=0)
    area = min((area, *(section.destination for section in dump.of(Kind.CPU_STATE))))
    kept = Range.fitting(area, reserved or 0)
    return kept is None or not kept.contains(place)


def _section(found: SimpleNamespace, number: int, offset: int) -> Section:
    source = Range.fitting(found.source_address, found.source_len)
    if source is None or Range.fitting(found.destination_address, found.source_len) is None:
        raise ImageError(
            f"section {number} of ibm,kernel-dump ends behind 2^64: {found.source_len:#x} bytes "
            f"from {found.source_address:#x} to {found.destination_address:#x}",
            offset=offset,
            field="source_len",
        )
    return Section(
        kind=found.source_data_type,
        requested=bool(found.request_flag & 1),
        error_flags=found.error_flags,
        source=source,
        bytes_dumped=found.bytes_dumped,
        destination=found.destination_address,
    )
