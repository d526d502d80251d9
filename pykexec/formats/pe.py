"""PE files, as far as kernels are ones: sections and the certificate table. Pure.

Microsoft's PE Format specification: "MS-DOS Stub", "COFF File Header", "Optional Header",
"Section Table (Section Headers)", "The Attribute Certificate Table". File offsets and sizes
are in bytes.
"""

from __future__ import annotations

from pykexec.architectures import names_by
from pykexec.formats._structures import COFF_HEADER, SECTION_HEADER
from pykexec.formats.structs import parse_at
from pykexec.values.buffers import Buffer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr

MAGIC = b"MZ"
_PE_OFFSET = 0x3C
_PE_SIGNATURE = b"PE\0\0"
_PE32 = 0x10B
_PE32_PLUS = 0x20B
_DIRECTORIES_AT = {_PE32: 96, _PE32_PLUS: 112}
_DIRECTORY_COUNT_BEFORE = 4
_CERTIFICATE_TABLE = 4
"""Its data directory. Unlike the others it holds a file offset."""
MAX_SECTIONS = 96
"""As the Windows loader has it; no kernel has a tenth of them."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section; ``data`` is what the file has of it, ``VirtualSize`` bytes at most."""

    name: str
    virtual_size: int
    data: Buffer

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


@dataclass(frozen=True, slots=True)
class PeFile:
    """What of a PE file concerns a kernel."""

    sections: tuple[Section, ...]
    """In the order of the section table."""
    sections_end: int
    """File offset at which the last section's raw data end."""
    certificates: tuple[int, int] | None
    """File offset and size of the attribute certificate table; None: the file is unsigned."""

    @property
    def end(self) -> int:
        """File offset at which sections and signature end; what follows is padding."""
        return max(self.sections_end, sum(self.certificates or (0, 0)))

    def named(self, name: str) -> tuple[Section, ...]:
        """Return the sections of that name."""
        return tuple(section for section in self.sections if section.name == name)


def probe(data: Buffer) -> str | None:
    """Return None if ``data`` begin like a PE file, else why they do not."""
    if len(data) < _PE_OFFSET + 4:
        return f"the header needs {_PE_OFFSET + 4} bytes, there are {len(data)}"
    if bytes(data[:2]) != MAGIC:
        return f"no 'MZ' at offset 0 (found {bytes(data[:2]).hex(' ')})"
    offset = _pe_offset(data)
    signature = bytes(data[offset : offset + 4])
    if signature != _PE_SIGNATURE:
        return f"no 'PE' header at offset {offset:#x} (found {signature.hex(' ') or 'nothing'})"
    return None


def _pe_offset(data: Buffer) -> int:
    return int.from_bytes(data[_PE_OFFSET : _PE_OFFSET + 4], "little")


def machine_of(data: Buffer) -> str:
    """Return for which machine the file of :func:`probe` is, or the number if it is unknown."""
    at = _pe_offset(data) + len(_PE_SIGNATURE)
    machine = int.from_bytes(data[at : at + 2], "little")
    return names_by("pe").get(machine, f"machine {machine:#06x}")


def parse_pe(data: Buffer, what: str) -> PeFile:
    """Parse the headers; ``what`` names the data in errors.

    Raises :class:`ImageError` when they are no PE file, or end before the headers, a
    section's raw data or the certificate table.
    """
    reason = probe(data)
    if reason is not None:
        raise ImageError(f"{what} is no PE file: {reason}")
    offset = _pe_offset(data)
    coff = parse_at(COFF_HEADER, data, offset, f"{what}: the COFF header")
    optional_at = offset + COFF_HEADER.size
    table_at = optional_at + coff.size_of_optional_header
    if coff.number_of_sections > MAX_SECTIONS:
        raise ImageError(
            f"{what} is malformed: {coff.number_of_sections} PE sections, at most {MAX_SECTIONS} "
            "make sense",
            offset=offset + 6,
            field="NumberOfSections",
        )
    sections = []
    ends = [table_at + coff.number_of_sections * SECTION_HEADER.size]
    for index in range(coff.number_of_sections):
        section, end = _section(data, table_at + index * SECTION_HEADER.size, what)
        sections.append(section)
        ends.append(end)
    return PeFile(
        sections=tuple(sections),
        sections_end=max(ends),
        certificates=_certificates(data, optional_at, coff.size_of_optional_header, what),
    )


def _section(data: Buffer, at: int, what: str) -> tuple[Section, int]:
    """Return the section whose header is ``at``, and where its raw data end in the file."""
    header = parse_at(SECTION_HEADER, data, at, f"{what}: a PE section header")
    name = header.name.rstrip(b"\0").decode("latin-1")
    start, size = header.pointer_to_raw_data, header.size_of_raw_data
    if not size:
        return Section(name, header.virtual_size, b""), 0
    if start + size > len(data):
        raise ImageError(
            f"{what} is truncated: the PE section {name} takes the bytes from {start:#x} to "
            f"{start + size:#x}, there are {len(data):#x}",
            offset=len(data),
            field=name,
            hint="copy the file again",
        )
    # The rest up to SizeOfRawData pads to FileAlignment and is no part of the content.
    content = memoryview(data)[start : start + min(size, header.virtual_size)]
    return Section(name, header.virtual_size, content), start + size


def _certificates(data: Buffer, at: int, size: int, what: str) -> tuple[int, int] | None:
    """Return the place of the certificate table that the optional header at ``at`` names."""
    magic = int.from_bytes(data[at : at + 2], "little")
    if magic not in _DIRECTORIES_AT:
        raise ImageError(
            f"{what} is malformed: the PE optional header's magic is {magic:#x}, "
            f"not {_PE32:#x} or {_PE32_PLUS:#x}",
            offset=at,
            field="Magic",
        )
    first = _DIRECTORIES_AT[magic]
    entry = first + 8 * _CERTIFICATE_TABLE
    count_at = at + first - _DIRECTORY_COUNT_BEFORE
    count = int.from_bytes(data[count_at : count_at + 4], "little")
    if count <= _CERTIFICATE_TABLE or size < entry + 8:
        return None
    place = data[at + entry : at + entry + 4], data[at + entry + 4 : at + entry + 8]
    start, length = (int.from_bytes(item, "little") for item in place)
    if not start or not length:
        return None
    if start + length > len(data):
        raise ImageError(
            f"{what} is truncated: its signature takes the bytes from {start:#x} to "
            f"{start + length:#x}, there are {len(data):#x}",
            offset=len(data),
            field="certificate table",
            hint="copy the file again",
        )
    return start, length
