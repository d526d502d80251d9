"""The memory of a crashed kernel by virtual address, from a core or a dump. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import by_elf_machine
from pykexec.crash.core_reading import EXIT_NO_ADDRESS, EXIT_NO_ELF, Reader, VmcoreError
from pykexec.crash.elf_core import ElfCore
from pykexec.crash.makedumpfile import FlattenedFile, KdumpFile, SplitDump
from pykexec.crash.rooms import crash_room
from pykexec.crash.work import Work, size_of

if TYPE_CHECKING:
    from pykexec.crash.elf_core import Layout, PhysicalMemory, VmcoreInfo

_PAGE = 4096
"""Bytes for which any translation goes on, from a multiple of it."""
_PAGES_KNOWN = 1024


class KernelMemory:
    """The crashed kernel's memory by virtual address.

    Asked in this order: the program headers, the linear maps whose offsets VMCOREINFO tells,
    what its architecture has for it.
    """

    def __init__(
        self,
        layout: Layout,
        info: VmcoreInfo,
        physical: PhysicalMemory,
        elf: ElfCore | None = None,
        *,
        work: Work,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.layout = layout
        self.info = info
        self._physical = physical
        self._elf = elf
        self._pages: dict[int, int] = {}
        self.work = work
        self.warnings = warnings
        """What is wrong with the dump that did not keep it from being read."""

    def read(self, vaddr: int, size: int) -> bytes:
        """Return ``size`` bytes at ``vaddr``; raises :class:`VmcoreError` (exit code 30)."""
        self.work.count(size)
        data = bytearray()
        while len(data) < size:
            at, left = vaddr + len(data), size - len(data)
            piece = self._elf.read_virtual(at, left) if self._elf else b""
            if not piece:
                paddr, run = self._page(at)
                piece = self._physical.read_physical(paddr, min(run, left))
            data += piece
        return bytes(data)

    def unsigned(self, vaddr: int, size: int) -> int:
        """Return the unsigned integer of ``size`` bytes at ``vaddr``."""
        return self.layout.unsigned(self.read(vaddr, size))

    def pointer(self, vaddr: int) -> int:
        """Return the pointer, or unsigned long, at ``vaddr``."""
        return self.unsigned(vaddr, self.layout.word)

    def _page(self, vaddr: int) -> tuple[int, int]:
        """Translate, with a memory for the pages met last: walks cost most of the time."""
        number, within = divmod(vaddr, _PAGE)
        start = self._pages.get(number)
        if start is None:
            paddr, _ = self._translate(vaddr)
            if len(self._pages) >= _PAGES_KNOWN:
                self._pages.clear()
            start = self._pages[number] = paddr - within
        return start + within, _PAGE - within

    def _translate(self, vaddr: int) -> tuple[int, int]:
        """Return the physical address, and for how many bytes it goes on like that."""
        if not 0 <= vaddr < 1 << 64:
            raise VmcoreError(f"{vaddr:#x} is no address", EXIT_NO_ADDRESS)
        found = by_elf_machine(self.layout.machine)
        room = crash_room(found.name) if found is not None and found.word_bits == 64 else None
        if room is not None:
            return room.translate(vaddr, self.info, self._physical)
        page_offset = self.info.number("PAGE_OFFSET")
        phys_offset = self.info.number("PHYS_OFFSET")
        if phys_offset is None:
            phys_offset = self.info.number("phys_ram_base")
        if page_offset is None or phys_offset is None or vaddr < page_offset & (1 << 64) - 1:
            raise VmcoreError(f"no program header covers {vaddr:#x}", EXIT_NO_ADDRESS)
        paddr = vaddr - (page_offset & (1 << 64) - 1) + phys_offset
        if paddr < 0:
            raise VmcoreError(f"{vaddr:#x} is below the linear map", EXIT_NO_ADDRESS)
        return paddr, 4096


def open_core(reader: Reader, *others: Reader) -> KernelMemory:
    """Return the memory in a core or dump of any known kind; raises :class:`VmcoreError`.

    ``others`` are further parts of a dump that ``makedumpfile --split`` wrote.
    """
    work = Work(sum(map(size_of, (reader, *others))))
    warnings: list[str] = []
    files: list[Reader] = []
    for file in (reader, *others):
        if FlattenedFile.probe(file):
            flattened = FlattenedFile(file)
            warnings += flattened.warnings
            files.append(flattened)
        else:
            files.append(file)
    dumps = [KdumpFile(file, work) for file in files if KdumpFile.probe(file)]
    if others:
        if len(dumps) < len(files):
            raise VmcoreError(
                f"of {len(files)} files {len(files) - len(dumps)} are no compressed dumps: only "
                "the parts of a split dump are read together",
                EXIT_NO_ELF,
            )
        split = SplitDump(dumps)
        warnings += (text for dump in dumps for text in dump.warnings)
        return KernelMemory(
            split.layout, split.vmcoreinfo(), split, work=work, warnings=tuple(warnings)
        )
    if dumps:
        dump = dumps[0]
        warnings += dump.warnings
        return KernelMemory(
            dump.layout, dump.vmcoreinfo(), dump, work=work, warnings=tuple(warnings)
        )
    core = ElfCore(files[0], work.file_size)
    return KernelMemory(
        core.layout, core.vmcoreinfo(), core, core, work=work, warnings=tuple(warnings)
    )
