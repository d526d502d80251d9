"""The purgatory: from the built object to placed, patched bytes, and back. Pure.

purgatory/README.md has the contract with the program itself. Offsets come from the object's
manifest; :mod:`pykexec.purgatory_objects` reads that.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from struct import Struct
from typing import TYPE_CHECKING

from pykexec.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REGIONS_MAX = 16
DIGEST_SIZE = 32
"""Bytes of a SHA-256."""

_ADDRESS_END = 1 << 64
_UART_BASE_MAX = 0x10000 - 8
"""A UART has eight I/O ports."""

_REGION = Struct("<QQ")
_REGISTERS = Struct("<17Q")
_FIELDS = {
    "skip_checks": Struct("<I"),
    "console_serial": Struct("<B"),
    "console_vga": Struct("<B"),
    "serial_base": Struct("<H"),
    "serial_baud": Struct("<I"),
    "backup_src_start": Struct("<Q"),
    "backup_src_size": Struct("<Q"),
    "backup_dst_start": Struct("<Q"),
}
"""Parameters that are one number, by the symbol that is also the attribute."""

_FLAGS = ("skip_checks", "console_serial", "console_vga")


@dataclass(frozen=True, slots=True)
class Symbol:
    """Where a symbol lies in the object; ``offset`` and ``size`` in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PurgatoryObject:
    """A built purgatory, which runs at every address that is a multiple of ``align``."""

    arch: str
    data: bytes
    """Code and data; zeros follow up to ``memsz``."""
    memsz: int
    """Bytes of memory that it needs, its stack included."""
    align: int
    entry: int
    """Offset at which it is entered."""
    symbols: Mapping[str, Symbol]


@dataclass(frozen=True, slots=True)
class Entry64Registers:
    """Registers of an x86_64 processor as the new kernel finds them, in the object's order."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rsp: int | None = None
    """None: the end of the purgatory's own stack."""
    rbp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    """Physical address of the new kernel's entry point."""


@dataclass(frozen=True, slots=True)
class PurgatoryParameters:
    """What the purgatory is to do."""

    regions: tuple[tuple[int, int], ...] = ()
    """Physical memory that the digest covers: start and length in bytes, in order."""
    digest: bytes = bytes(DIGEST_SIZE)
    """SHA-256 over the regions, one after the other."""
    skip_checks: bool = False
    console_serial: bool = False
    console_vga: bool = False
    serial_base: int = 0x3F8
    """I/O port."""
    serial_baud: int = 0
    """0 leaves the speed as it is."""
    backup_src_start: int = 0
    backup_src_size: int = 0
    """Bytes to copy after the verification; 0 copies nothing."""
    backup_dst_start: int = 0
    registers: Entry64Registers = field(default_factory=Entry64Registers)


def build_purgatory(obj: PurgatoryObject, base: int, params: PurgatoryParameters) -> bytes:
    """Return the object with ``params`` written into it, to be loaded at ``base``.

    ``base`` is a physical address. Raises :class:`PykexecError` when a parameter does not fit
    the program, or the program's symbols do not fit this version of pykexec.
    """
    if base < 0 or base % obj.align or base + obj.memsz > _ADDRESS_END:
        raise PykexecError(
            f"the purgatory cannot be at {base:#x}: it takes {obj.memsz:#x} bytes"
            f" from a multiple of {obj.align:#x}"
        )
    registers = params.registers
    if registers.rsp is None:
        registers = replace(registers, rsp=base + _symbol(obj, "stack_end", 0).offset)
    data = bytearray(obj.data)

    def write(name: str, value: bytes) -> None:
        start = _symbol(obj, name, len(value)).offset
        data[start : start + len(value)] = value

    write("sha256_regions", _encode_regions(params.regions))
    if len(params.digest) != DIGEST_SIZE:
        raise PykexecError(f"a SHA-256 has {DIGEST_SIZE} bytes, this has {len(params.digest)}")
    write("sha256_digest", params.digest)
    for name, form in _FIELDS.items():
        write(name, form.pack(_number(params, name, form.size)))
    for name, value in zip(Entry64Registers.__slots__, astuple(registers), strict=True):
        _check_number(name, value, _ADDRESS_END - 1)
    write("entry64_regs", _REGISTERS.pack(*astuple(registers)))
    return bytes(data)


def read_parameters(obj: PurgatoryObject, data: bytes) -> PurgatoryParameters:
    """Read back what :func:`build_purgatory` wrote; ``rsp`` is always an address.

    Raises :class:`PykexecError` when ``data`` is too short to hold a parameter.
    """

    def read(name: str, size: int) -> bytes:
        start = _symbol(obj, name, size).offset
        if start + size > len(data):
            raise PykexecError(
                f"a purgatory of {len(data)} bytes ends before {name},"
                f" {size} bytes at offset {start:#x}"
            )
        return data[start : start + size]

    table = _REGION.iter_unpack(read("sha256_regions", REGIONS_MAX * _REGION.size))
    numbers = {name: form.unpack(read(name, form.size))[0] for name, form in _FIELDS.items()}
    flags = {name: bool(numbers.pop(name)) for name in _FLAGS}
    return PurgatoryParameters(
        regions=tuple((start, length) for start, length in table if length),
        digest=read("sha256_digest", DIGEST_SIZE),
        registers=Entry64Registers(*_REGISTERS.unpack(read("entry64_regs", _REGISTERS.size))),
        **flags,
        **numbers,
    )


def _symbol(obj: PurgatoryObject, name: str, size: int) -> Symbol:
    """Return a symbol that must be ``size`` bytes long and lie inside the object."""
    symbol = obj.symbols.get(name)
    if symbol is None or symbol.size != size:
        found = "does not exist" if symbol is None else f"has {symbol.size} bytes"
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: {name} {found}, needed {size}",
            hint="pykexec's Python code and its purgatory are of different versions; reinstall",
        )
    if symbol.offset < 0 or symbol.offset + size > (len(obj.data) if size else obj.memsz):
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: {name} at offset {symbol.offset:#x}"
            f" is outside its {len(obj.data):#x} bytes"
        )
    return symbol


def _encode_regions(regions: Iterable[tuple[int, int]]) -> bytes:
    table = list(regions)
    if len(table) > REGIONS_MAX:
        raise PykexecError(
            f"the purgatory can verify {REGIONS_MAX} segments, the plan has {len(table)}",
            hint="load fewer segments, or load without verification (--no-checks)",
        )
    for start, length in table:
        if start < 0 or length <= 0 or start + length > _ADDRESS_END:
            raise PykexecError(f"the purgatory cannot verify {length} bytes at {start:#x}")
    table += [(0, 0)] * (REGIONS_MAX - len(table))
    return b"".join(_REGION.pack(*entry) for entry in table)


def _number(params: PurgatoryParameters, name: str, size: int) -> int:
    value = int(getattr(params, name))
    last = _UART_BASE_MAX if name == "serial_base" else (1 << 8 * size) - 1
    _check_number(name, value, last)
    return value


def _check_number(name: str, value: int, last: int) -> None:
    if not 0 <= value <= last:
        raise PykexecError(f"the purgatory's {name} cannot be {value:#x}: at most {last:#x}")
