"""What an ELF kernel says of itself beside what a load needs: sections, notes, its build. Pure.

The one door to pyelftools, for files that are looked at; a load reads ELF by
:mod:`pykexec.values.elf_headers`. A file may be somebody else's: what is read of it is counted, and
whatever the package makes of damage is an :class:`ImageError`.

System V ABI, "Sections", "Note Section"; Linux include/linux/build-salt.h, elfnote-lto.h,
include/xen/interface/elfnote.h and Documentation/arch/x86/boot.rst for the notes' types.
"""

from __future__ import annotations

import re
import struct
from itertools import islice
from typing import TYPE_CHECKING, Any

from pykexec.values.data_classes import dataclass
from pykexec.values.elf_headers import MAGIC
from pykexec.values.errors import ImageError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.values.buffers import Buffer

_READS_MAX = 1 << 16
"""A kernel's own tables take some 3,000."""
_READ_BYTES_MAX = 8 << 20
_SECTIONS_MAX = 2048
_SEGMENTS_MAX = 1024
_NOTES_MAX = 1024
_NAME_MAX = 256
_BANNER = re.compile(rb"Linux version \d[\x20-\x7e\x80-\xff]{1,500}")
"""Linux init/version.c, "linux_banner"; a compiler's name may be in UTF-8."""
_BUILD_NUMBER = re.compile(rb"\) #\d")
_BANNERS_MAX = 16
_BUILD_ID_NOTE = ("GNU", 3)
_TYPES = {
    "GNU": {1: "ABI tag", 3: "build ID", 4: "gold version", 5: "properties"},
    "Linux": {0x100: "build salt", 0x101: "LTO"},
    "Xen": {
        0: "info", 1: "entry", 2: "hypercall page", 3: "virt base", 4: "paddr offset",
        5: "Xen version", 6: "guest OS", 7: "guest version", 8: "loader", 9: "PAE mode",
        10: "features", 11: "BSD symtab", 12: "hv start low", 13: "L1 MFN valid",
        14: "suspend cancel", 15: "init p2m", 16: "mod start pfn", 17: "supported features",
        18: "PVH entry", 19: "PVH relocation",
    },
    "VMCOREINFO": {0: "VMCOREINFO"},
}  # fmt: skip
_TEXTS = {("Xen", kind) for kind in (5, 6, 7, 8, 9, 10)} | {("Linux", 0x100), ("GNU", 4)}


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its name, its virtual address and its size in bytes."""

    name: str
    vaddr: int
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header of a segment that is loaded."""

    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: str
    """``R``, ``W``, ``E``, as far as they are set."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note by its owner's name, and its type by that owner's words where they are known."""

    owner: str
    type: int
    kind: str
    """"" where nobody knows."""
    size: int
    """Of what it says, in bytes."""
    text: str
    """What it says, where that is text; "" else."""


@dataclass(frozen=True, slots=True)
class ElfDetails:
    """An ELF kernel as it was linked."""

    bits: int
    byte_order: str
    """``little`` or ``big``."""
    machine: str
    """As the ABI names it, without EM_: ``X86_64``."""
    type: str
    """As the ABI names it, without ET_: ``EXEC``."""
    entry: int
    build_id: str
    """In hexadecimal; "" for none."""
    banner: str
    """``linux_banner``, without its line's end; "" for none."""
    segments: tuple[Segment, ...]
    """Those that are loaded, in the file's order."""
    sections: tuple[Section, ...]
    """In the file's order, without the first, which is none."""
    notes: tuple[Note, ...]

    @property
    def release(self) -> str:
        """The kernel's release by its banner; "" without one."""
        return release_of(self.banner)


def release_of(banner: str) -> str:
    """Return the release that a banner, or the first line of a kernel's log, names; "" for none."""
    words = banner.split()
    return words[2] if banner.startswith("Linux version ") and len(words) > 2 else ""


def find_banner(data: Buffer) -> str:
    """Return ``linux_banner`` as it stands in ``data``; "" for none.

    Since Linux 6.1 a first one is in the file that lacks the build's number and is overruled by
    another when the kernel is linked (init/Makefile, "utsversion-tmp.h").
    """
    found = [match[0] for match in islice(_BANNER.finditer(data), _BANNERS_MAX)]
    whole = next((text for text in found if _BUILD_NUMBER.search(text)), None)
    banner = whole or (found[0] if found else b"")
    return banner.decode("utf-8", "replace").rstrip()


def is_elf(data: Buffer) -> bool:
    """Tell whether ``data`` begins as an ELF file."""
    return bytes(data[:4]) == MAGIC


def read_details(data: Buffer) -> ElfDetails:
    """Read what an ELF file says of itself.

    Raises :class:`ImageError` for a file that is cut or malformed, and for more sections,
    segments, notes or reading than any kernel has.
    """
    try:
        return _details(data)
    except ImageError:
        raise
    # On damage the package raises its own errors, those of its parser, and of Python any.
    except Exception as error:
        what = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise ImageError(f"the ELF file is malformed: {what}") from error


class _Stream:
    """The file as pyelftools reads it, with an end to how much is read."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self._at = self._reads = self._bytes = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, counted from the start (0), from here (1) or from the end (2)."""
        self._at = offset + (0, self._at, len(self._data))[whence]
        if self._at < 0:
            raise ImageError(f"the ELF file is malformed: it leads to the offset {self._at}")
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, or what is left of them."""
        end = len(self._data) if size < 0 else min(self._at + size, len(self._data))
        length = max(end - self._at, 0)
        self._reads += 1
        self._bytes += length
        if self._reads > _READS_MAX or self._bytes > _READ_BYTES_MAX:
            raise ImageError(
                "the ELF file is malformed: its tables lead through more than "
                f"{counted(self._reads - 1, 'read')} of {counted(self._bytes, 'byte')} in all"
            )
        piece = bytes(self._data[self._at : self._at + length])
        self._at += length
        return piece


def _details(data: Buffer) -> ElfDetails:
    # Not at the top: most of pykexec has no use for it, and it takes 40 ms.
    from elftools.elf.elffile import ELFFile

    if not is_elf(data):
        raise ImageError("not an ELF file", offset=0, field="e_ident")
    # A stream that refuses to read too much; some releases of the package name its type.
    elf: Any = ELFFile(_Stream(data))  # type: ignore[arg-type,unused-ignore]
    if elf["e_type"] == "ET_CORE":
        raise ImageError(
            "an ELF core, which is the memory of a kernel and not the kernel",
            offset=16,
            field="e_type",
            hint="'pykexec crash match VMLINUX CORE' takes the kernel first",
        )
    _check_count(elf.num_sections(), _SECTIONS_MAX, "sections")
    _check_count(elf.num_segments(), _SEGMENTS_MAX, "segments")
    notes, build_id = _notes(elf)
    return ElfDetails(
        bits=elf.elfclass,
        byte_order="little" if elf.little_endian else "big",
        machine=str(elf["e_machine"]).removeprefix("EM_"),
        type=str(elf["e_type"]).removeprefix("ET_"),
        entry=elf["e_entry"],
        build_id=build_id,
        banner=find_banner(data),
        segments=tuple(_segments(elf)),
        sections=tuple(_sections(elf)),
        notes=notes,
    )


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise ImageError(f"the ELF file has {count} {what}; at most {most} are taken")


def _sections(elf: Any) -> Iterator[Section]:
    for index in range(1, elf.num_sections()):
        section = elf.get_section(index)
        name = str(section.name)
        if len(name) > _NAME_MAX:
            raise ImageError(f"the ELF file is malformed: a section's name of {len(name)} bytes")
        yield Section(name, section["sh_addr"], section["sh_size"])


def _segments(elf: Any) -> Iterator[Segment]:
    for segment in elf.iter_segments("PT_LOAD"):
        flags = segment["p_flags"]
        yield Segment(
            segment["p_vaddr"],
            segment["p_paddr"],
            segment["p_filesz"],
            segment["p_memsz"],
            "".join(letter for bit, letter in ((4, "R"), (2, "W"), (1, "E")) if flags & bit),
        )


def _notes(elf: Any) -> tuple[tuple[Note, ...], str]:
    """Return the notes and the build ID: of segments, which a stripped file has, else sections."""
    notes: list[Note] = []
    build_id = ""
    header = struct.Struct("<III" if elf.little_endian else ">III")
    for holder in list(elf.iter_segments("PT_NOTE")) or _note_sections(elf):
        for owner, number, said in _read_notes(holder.data(), header):
            _check_count(len(notes) + 1, _NOTES_MAX, "notes")
            notes.append(_note(owner, number, said))
            if (owner, number) == _BUILD_ID_NOTE and not build_id:
                build_id = said.hex()
    return tuple(notes), build_id


def _read_notes(data: bytes, header: struct.Struct) -> Iterator[tuple[str, int, bytes]]:
    """Yield owner, type and description of each; not by the package, of which 0.29 wants names."""
    at = 0
    while at + header.size <= len(data):
        name_size, size, number = header.unpack_from(data, at)
        name = at + header.size
        start = name + (name_size + 3 & ~3)
        if start + size > len(data):
            raise ImageError(
                f"the ELF file is malformed: a note of {counted(size, 'byte')} and a name of "
                f"{name_size} in the last {len(data) - at} bytes of notes"
            )
        owner = data[name : name + min(name_size, _NAME_MAX)].partition(b"\0")[0]
        yield owner.decode("latin-1"), number, data[start : start + size]
        at = start + (size + 3 & ~3)


def _note_sections(elf: Any) -> Iterable[Any]:
    return [
        section
        for section in map(elf.get_section, range(elf.num_sections()))
        if section["sh_type"] == "SHT_NOTE"
    ]


def _note(owner: str, number: int, said: bytes) -> Note:
    text = ""
    if (owner, number) in _TEXTS:
        text = said.rstrip(b"\0").decode("latin-1")[:_NAME_MAX]
    return Note(owner, number, _TYPES.get(owner, {}).get(number, ""), len(said), text)
