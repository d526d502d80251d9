"""The purgatory: from the built object to placed, patched bytes, and back. Pure.

purgatory/README.md has the contract with the program itself. Offsets come from the object's
manifest; :mod:`pykexec.purgatory_objects` reads that.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any

from pykexec.purgatory_objects.digest_table import (
    DIGEST_SIZE,
    TABLE_SIZE,
    DigestTable,
    decode_table,
)
from pykexec.purgatory_objects.registers import purgatory_kind
from pykexec.values.consoles import Console
from pykexec.values.data_classes import dataclass, field, fields, replace
from pykexec.values.errors import PykexecError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.purgatory_objects.registers import PurgatoryKind, Registers, RegisterSet
    from pykexec.values.consoles import Console

_ADDRESS_END = 1 << 64
_REINSTALL = "pykexec's Python code and its purgatory are of different versions; reinstall"

_MODE = Struct("<I")  # x86 only
_COMMON = (
    "skip_checks",
    "progress_step",
    "backup_src_start",
    "backup_src_size",
    "backup_dst_start",
)
_FORMS = {
    "skip_checks": "I",
    "progress_step": "Q",
    "backup_src_start": "Q",
    "backup_src_size": "Q",
    "backup_dst_start": "Q",
    "console_serial": "B",
    "console_vga": "B",
    "serial_base": "H",
    "serial_baud": "I",
    "console_sink": "Q",
    "console_kind": "I",
    "console_width": "I",
    "console_reg_shift": "I",
    "console_unit": "Q",
    "return_digits": "Q",
    "return_slot": "Q",
    "return_tables": "Q",
}
"""Parameters that are one number, by the symbol that is also the attribute, as struct has them;
the byte order is the architecture's."""

_FLAGS = ("skip_checks", "console_serial", "console_vga")
_LAST = {
    "serial_base": 0x10000 - 8,  # a UART has eight I/O ports
    "console_width": 4,
    "console_reg_shift": 8,
}
"""The largest value that makes sense, where it is not the largest that fits. That of
``console_kind`` is the architecture's."""


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


NO_PURGATORY = PurgatoryObject(arch="", data=b"", memsz=0, align=1, entry=0, symbols={})
"""What plans have whose kernel is entered by the running one itself."""
_EXIT_MODE = "exit_mode"


@dataclass(frozen=True, slots=True)
class WayBack:
    """x86: what the purgatory does with the address that the old kernel waits at."""

    return_digits: int = 0
    """Physical address of the 16 digits to write it as; 0: none are written."""
    return_slot: int = 0
    """Physical address of the word to write it into as a number; 0: none is."""
    return_tables: int = 0
    """x86_64: what CR3 is when the next kernel is entered; 0: what it is."""


@dataclass(frozen=True, slots=True)
class PurgatoryParameters:
    """What the purgatory is to do."""

    registers: Registers
    """What the new kernel finds, of the purgatory's architecture."""
    table: DigestTable = field(default_factory=DigestTable)
    """What to verify."""
    digest: bytes | None = None
    """The SHA-256 over the table by which the purgatory trusts it; None: the right one."""
    skip_checks: bool = False
    progress_step: int = 0
    """Bytes between two messages of how far the verification is; 0: none."""
    console: Console | None = None
    """Of the purgatory's architecture; None: no messages."""
    backup_src_start: int = 0
    backup_src_size: int = 0
    """Bytes to copy after the verification; 0 copies nothing."""
    backup_dst_start: int = 0
    way_back: WayBack = field(default_factory=WayBack)


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
    kind = _kind_of(obj)
    console = kind.console() if params.console is None else params.console
    data = bytearray(obj.data)

    table = replace(params.table, big_endian=kind.big_endian)

    def write(name: str, value: bytes) -> None:
        start = _symbol(obj, name, len(value)).offset
        data[start : start + len(value)] = value

    digest = table.digest() if params.digest is None else params.digest
    if len(digest) != DIGEST_SIZE:
        raise PykexecError(f"a SHA-256 has {DIGEST_SIZE} bytes, this has {len(digest)}")
    write("sha256_digest", digest)
    for of, names in ((params, _COMMON), (params.way_back, kind.way_back)):
        for name in names:
            write(name, _encode(kind, name, getattr(of, name)))
    _require(obj, console, (kind.console,))
    for name in _names(console):
        last = kind.last_kind if name == "console_kind" else _LAST.get(name)
        write(name, _encode(kind, name, getattr(console, name), last))
    _require(obj, params.registers, tuple(item.type for item in kind.registers))
    own = next(item for item in kind.registers if isinstance(params.registers, item.type))
    for name, value in _encode_registers(obj, base, own, params.registers).items():
        write(name, value)
    if len(kind.registers) > 1:
        write(_EXIT_MODE, _MODE.pack(own.mode))
    return bytes(data) + bytes(_table_symbol(obj).offset - len(data)) + table.encode()


def read_parameters(obj: PurgatoryObject, data: bytes) -> PurgatoryParameters:
    """Read back what :func:`build_purgatory` wrote.

    A stack pointer is always an address, ``console`` and ``digest`` are always a value. Raises
    :class:`PykexecError` when ``data`` is too short to hold a parameter, or the table is none.
    """
    kind = _kind_of(obj)

    def read(name: str, size: int) -> bytes:
        start = _symbol(obj, name, size).offset
        if start + size > len(data):
            raise PykexecError(
                f"a purgatory of {counted(len(data), 'byte')} ends before {name},"
                f" {counted(size, 'byte')} at offset {start:#x}"
            )
        return data[start : start + size]

    def number(name: str) -> Any:
        form = _form(kind, name)
        value = form.unpack(read(name, form.size))[0]
        return bool(value) if name in _FLAGS else value

    own = kind.registers[0]
    if len(kind.registers) > 1:
        mode = _MODE.unpack(read(_EXIT_MODE, _MODE.size))[0]
        own = next((item for item in kind.registers if item.mode == mode), own)
    apart = {name: form.unpack(read(name, form.size))[0] for name, form in own.apart}
    names = (item.name for item in fields(own.type) if item.name not in apart)
    registers = dict(zip(names, own.layout.unpack(read(own.symbol, own.layout.size)), strict=True))
    return PurgatoryParameters(
        table=decode_table(data[_table_symbol(obj).offset :], big_endian=kind.big_endian),
        digest=read("sha256_digest", DIGEST_SIZE),
        console=kind.console(**{name: number(name) for name in _names(kind.console)}),
        registers=own.type(**registers, **apart),
        way_back=WayBack(**{name: number(name) for name in kind.way_back}),
        **{name: number(name) for name in _COMMON},
    )


def _kind_of(obj: PurgatoryObject) -> PurgatoryKind:
    kind = purgatory_kind(obj.arch)
    if kind is None:
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: its registers and consoles are not known",
            hint=_REINSTALL,
        )
    return kind


def _require(obj: PurgatoryObject, value: object, kinds: tuple[type, ...]) -> None:
    """Refuse a ``value`` that is not what this architecture's purgatory takes."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise PykexecError(
            f"the {obj.arch} purgatory takes {names}, this is {type(value).__name__}"
        )


def _encode_registers(
    obj: PurgatoryObject, base: int, own: RegisterSet, registers: Registers
) -> dict[str, bytes]:
    """Return what is written for ``registers``, by symbol."""
    values = {name: getattr(registers, name) for name in _names(registers)}
    if own.stack is not None and values[own.stack] is None:
        values[own.stack] = base + _symbol(obj, "stack_end", 0, obj.memsz).offset
    written = {}
    for name, form in own.apart:
        value = values.pop(name)
        if isinstance(value, bytes) and len(value) != form.size:
            raise PykexecError(
                f"the purgatory's {name} has {counted(form.size, 'byte')}, this has {len(value)}"
            )
        written[name] = _pack(form, {name: value})
    return {own.symbol: _pack(own.layout, values), **written}


def _pack(form: Struct, values: dict[str, Any]) -> bytes:
    try:
        return form.pack(*values.values())
    except struct_error as error:
        shown = ", ".join(f"{name} {value:#x}" for name, value in values.items())
        raise PykexecError(f"the purgatory's registers cannot be {shown}: {error}") from error


def _names(of: Registers | Console | type[Console]) -> list[str]:
    """Return the names of a data class's fields."""
    return [item.name for item in fields(of)]


def _symbol(obj: PurgatoryObject, name: str, size: int, end: int | None = None) -> Symbol:
    """Return a symbol that must be ``size`` bytes long and lie inside the object.

    ``end`` is where that ends: with the file, but for the symbols of zeros behind it.
    """
    symbol = obj.symbols.get(name)
    if symbol is None or symbol.size != size:
        found = "does not exist" if symbol is None else f"has {counted(symbol.size, 'byte')}"
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: {name} {found}, needed {size}",
            hint=_REINSTALL,
        )
    end = len(obj.data) if end is None else end
    if symbol.offset < 0 or symbol.offset + size > end:
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: {name} at offset {symbol.offset:#x}"
            f" is outside its {end:#x} bytes"
        )
    return symbol


def _table_symbol(obj: PurgatoryObject) -> Symbol:
    """Return where the table of digests lies, behind the file's bytes."""
    symbol = _symbol(obj, "sha256_table", TABLE_SIZE, obj.memsz)
    if symbol.offset < len(obj.data):
        raise PykexecError(
            f"the {obj.arch} purgatory does not fit: sha256_table at offset {symbol.offset:#x}"
            f" is inside its {len(obj.data):#x} bytes"
        )
    return symbol


def _form(kind: PurgatoryKind, name: str) -> Struct:
    return Struct((">" if kind.big_endian else "<") + _FORMS[name])


def _encode(kind: PurgatoryKind, name: str, value: int, last: int | None = None) -> bytes:
    form = _form(kind, name)
    if last is None:
        last = (1 << 8 * form.size) - 1
    if not 0 <= value <= last:
        raise PykexecError(f"the purgatory's {name} cannot be {value:#x}: at most {last:#x}")
    return form.pack(value)
