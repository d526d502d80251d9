"""A whole firmware-assisted dump, put together from the memory that it lies in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.fadump.header import HEADER_MAX, find_headers, parse_crash_info
from pykexec.crash.fadump.opal import HEADER_ADDRESS_AT, METADATA_SIZE, parse_metadata
from pykexec.crash.fadump.registers import AREA_MAX, parse_register_area
from pykexec.crash.fadump.sections import Kind, parse_kernel_dump
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory
    from pykexec.crash.fadump.header import CrashInfo
    from pykexec.crash.fadump.opal import Metadata
    from pykexec.crash.fadump.registers import SavedCpu
    from pykexec.crash.fadump.sections import KernelDump
    from pykexec.values.buffers import Buffer


_PAGE = 4096
_PLACES_MAX = 1 << 12
"""Places looked at for metadata: each has the header's address in it."""


class DumpMemory(Protocol):
    """Memory of a machine, by physical address."""

    def read_some(self, paddr: int, size: int) -> bytes:
        """Return up to ``size`` bytes; less means that the memory, or what is known of it, ends."""


@dataclass(frozen=True, slots=True)
class FirmwareDump:
    """What was found of one dump, or of one registration."""

    header: CrashInfo | None
    header_address: int | None
    """Physical; None: of a header that came by itself."""
    kernel_dump: KernelDump | None = None
    """What firmware tells on pseries."""
    metadata: Metadata | None = None
    """What a kernel has left with OPAL on powernv."""
    saved: tuple[SavedCpu, ...] = ()
    """Registers as firmware saved them."""
    problems: tuple[str, ...] = ()
    """What is damaged or missing, each in a line."""


class Image:
    """A whole memory as one buffer, from the physical address ``base`` on."""

    def __init__(self, data: Buffer, base: int = 0) -> None:
        self._data = memoryview(data)
        self._base = base

    def read_some(self, paddr: int, size: int) -> bytes:
        """See :class:`DumpMemory`."""
        at = paddr - self._base
        return bytes(self._data[at : at + size]) if at >= 0 else b""


class CoreMemory:
    """The memory in an ELF core: of a guest, by its emulator, or /proc/kcore."""

    def __init__(self, core: PhysicalMemory) -> None:
        self._core = core

    def read_some(self, paddr: int, size: int) -> bytes:
        """See :class:`DumpMemory`. Where not all of it is there, at least the rest of a page is."""
        for part in (size, min(size, _PAGE - paddr % _PAGE)):
            try:
                return self._core.read_physical(paddr, part)
            except VmcoreError:
                continue
        return b""


def dump_at(memory: DumpMemory, address: int) -> FirmwareDump:
    """Read the crash info header at a physical address; raises :class:`ImageError`."""
    data = memory.read_some(address, HEADER_MAX)
    return FirmwareDump(parse_crash_info(data, address=address), address)


def dump_of_sections(memory: DumpMemory | None, property_value: Buffer) -> FirmwareDump:
    """Read what ``ibm,kernel-dump`` leads to; raises :class:`ImageError` for what is none.

    What it leads to and cannot be read is a problem, since firmware may have failed half-way.
    """
    dump = parse_kernel_dump(property_value)
    problems = list(dump.problems)
    header: CrashInfo | None = None
    saved: tuple[SavedCpu, ...] = ()
    if memory is not None:
        header = _header_of(memory, dump, problems)
        saved = _saved_of(memory, dump, problems)
    return FirmwareDump(
        header=header,
        header_address=dump.header_address,
        kernel_dump=dump,
        saved=saved,
        problems=tuple(problems),
    )


def _header_of(memory: DumpMemory, dump: KernelDump, problems: list[str]) -> CrashInfo | None:
    if dump.header_address is None:
        problems.append("no boot memory from 0 on: nobody knows where the crash info header is")
        return None
    try:
        return dump_at(memory, dump.header_address).header
    except ImageError as error:
        problems.append(f"crash info header at {dump.header_address:#x}: {error.message}")
        return None


def _saved_of(memory: DumpMemory, dump: KernelDump, problems: list[str]) -> tuple[SavedCpu, ...]:
    for section in dump.of(Kind.CPU_STATE):
        size = min(section.source.size, section.bytes_dumped, AREA_MAX)
        if not size:
            continue
        try:
            return parse_register_area(memory.read_some(section.destination, size))
        except ImageError as error:
            problems.append(f"registers at {section.destination:#x}: {error.message}")
    return ()


def dumps_in(image: Buffer, base: int = 0) -> tuple[FirmwareDump, ...]:
    """Find every crash info header in an image of memory that begins at ``base``, physical.

    With each comes the kernel's metadata for OPAL, where there are some that lead to it.
    """
    memory = Image(image, base)
    found = []
    for offset in find_headers(image):
        address = base + offset
        header = dump_at(memory, address).header
        found.append(FirmwareDump(header, address, metadata=_metadata_of(image, address)))
    return tuple(found)


def _metadata_of(image: Buffer, address: int) -> Metadata | None:
    """Look for metadata by the one thing in them that is known: where the header is."""
    view, step = memoryview(image), 1 << 24
    patterns = (address.to_bytes(8, "big"), address.to_bytes(8, "little"))
    left = _PLACES_MAX
    for start in range(0, len(view), step):
        piece = bytes(view[start : start + step + 7])
        for pattern in patterns:
            at = piece.find(pattern)
            while at >= 0 and left:
                left -= 1
                place = start + at - HEADER_ADDRESS_AT
                found = _metadata_at(view, place) if place >= 0 else None
                if found is not None and found.header_address == address:
                    return found
                at = piece.find(pattern, at + 1)
    return None


def _metadata_at(view: memoryview, place: int) -> Metadata | None:
    try:
        found = parse_metadata(view[place : place + METADATA_SIZE])
    except ImageError:
        return None
    # With no region there is nothing by which zeros before an address could be told from them.
    return found if found.regions else None
