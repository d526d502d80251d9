"""What lies where in a tar: POSIX ustar and pax, GNU's long names, tars of before. Pure.

POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format". Of our own, because a tar of a machine may come from anybody: Python's tarfile reads sizes
below zero and chains of long names without end (CVE-2025-8194), and believes any size. Here each
step goes forward in the file, and what is odd is refused with the member that it is about.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, field
from pykexec.values.errors import MachineError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
MEMBERS_MAX = 200_000
_NAME_MAX = 4096
"""Bytes of a path, as the kernel has it (limits.h, PATH_MAX)."""
_DEPTH_MAX = 100
_EXTENSION_MAX = 64 << 10
"""Bytes of a long name or of a pax header."""
_EXTENSIONS_MAX = 4 << 20
"""Bytes of all of them together: each takes time to read, and a tar has room for many."""

_NAME, _PREFIX = slice(0, 100), slice(345, 500)
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)
_TYPE = 156
_MAGIC = slice(257, 263)
_USTAR = b"ustar\0"
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0].*|[ \0]*([0-7]+)", re.DOTALL)
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ")
_BASE_256, _BASE_256_NEGATIVE = 0x80, 0xFF


class Kind(Enum):
    """What a member is; the values are for messages."""

    FILE = "a file"
    DIRECTORY = "a directory"
    HARD_LINK = "a hard link"
    LINK = "a symbolic link"
    CHARACTER = "a character device"
    BLOCK = "a block device"
    FIFO = "a FIFO"
    SPARSE = "a sparse file"


_KINDS = {
    b"\0": Kind.FILE,
    b"0": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.LINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
    b"7": Kind.FILE,
    b"S": Kind.SPARSE,
}
_WITH_DATA = (Kind.FILE, Kind.SPARSE)
_LONG_NAME, _LONG_LINK, _LOCAL, _GLOBAL = b"L", b"K", (b"x", b"X"), b"g"


@dataclass(frozen=True, slots=True)
class Member:
    """A member: ``size`` bytes from ``offset`` on in the tar; the name as it is normalised."""

    name: str
    kind: Kind
    offset: int
    size: int


@dataclass(slots=True)
class _Extensions:
    """What stands in front of a header about the member that follows."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False
    seen: set[bytes] = field(default_factory=set)
    """Types of these headers."""


class NotTarError(MachineError):
    """The first block is no header of a tar."""


def members(read: Callable[[int, int], bytes], end: int) -> Iterator[Member]:
    """Yield the members of a tar of ``end`` bytes; ``read`` gives a size of bytes at an offset.

    Raises :class:`NotTarError` and :class:`MachineError`, without the tar's name in front.
    """
    at = count = extended = 0
    more = _Extensions()
    while block := read(at, BLOCK):
        if len(block) < BLOCK:
            kind = NotTarError if at == 0 else MachineError
            raise kind(f"cut at {counted(end, 'byte')}, in the midst of a header")
        if not any(block):
            break
        _check_sum(block, at)
        letter, size = block[_TYPE : _TYPE + 1], _number(block[_SIZE], "size", at)
        start, at = at, at + BLOCK
        count += 1
        if count > MEMBERS_MAX:
            raise MachineError(f"more than {MEMBERS_MAX} members")
        if letter in (_LONG_NAME, _LONG_LINK, _GLOBAL, *_LOCAL):
            data = _extension(read, at, size, end)
            extended += size
            if extended > _EXTENSIONS_MAX:
                raise MachineError(f"more than {_EXTENSIONS_MAX} bytes of long names and headers")
            _take_extension(more, letter, data, start)
            at += _padded(size)
            continue
        member = _member(block, letter, size, at, more)
        if member.kind in _WITH_DATA:
            if member.size > end - at:
                raise MachineError(
                    f"{member.name!r} has {counted(member.size, 'byte')} by its header, of "
                    "which the tar "
                    f"has {end - at}"
                )
            at += _padded(member.size)
        more = _Extensions()
        yield member
    if not count:
        raise NotTarError("nothing is in it")
    if more.seen:
        raise MachineError("it ends with a header that belongs to no member")


def _check_sum(block: bytes, at: int) -> None:
    """Hold a header against its checksum, in which old tars count bytes with a sign."""
    told = _OCTAL.fullmatch(block[_CHECKSUM])
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    unsigned = sum(rest)
    signed = unsigned - 256 * sum(byte > 0x7F for byte in rest)
    number = int(told[1] or told[2] or b"0", 8) if told else -1
    if number not in (unsigned, signed):
        kind = NotTarError if at == 0 else MachineError
        raise kind(f"no header of a tar at {at}: its checksum does not fit")


def _number(field: bytes, what: str, at: int) -> int:
    """Read a number: octal digits, or with the first bit set the bytes themselves (GNU)."""
    if field[0] in (_BASE_256, _BASE_256_NEGATIVE):
        number = int.from_bytes(field[1:], "big")
        if field[0] == _BASE_256_NEGATIVE:
            number -= 1 << 8 * (len(field) - 1)
    else:
        found = _OCTAL.fullmatch(field)
        if found is None:
            raise MachineError(f"the {what} of the member at {at} is no number: {field!r}")
        number = int(found[1] or found[2] or b"0", 8)
    if number < 0:
        raise MachineError(f"the {what} of the member at {at} is {number}")
    return number


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _extension(read: Callable[[int, int], bytes], at: int, size: int, end: int) -> bytes:
    if size > min(_EXTENSION_MAX, end - at):
        raise MachineError(
            f"a header of {counted(size, 'byte')} at {at}, of which the tar has {end - at} and "
            f"{_EXTENSION_MAX} would be read"
        )
    return read(at, size)


def _take_extension(more: _Extensions, kind: bytes, data: bytes, at: int) -> None:
    kind = b"x" if kind in _LOCAL else kind
    if kind in more.seen and kind != _GLOBAL:
        raise MachineError(f"a second header of type {kind.decode()!r} for one member at {at}")
    more.seen.add(kind)
    if kind == _LONG_NAME:
        more.name = data.rstrip(b"\0")
    elif kind != _LONG_LINK:
        _take_pax(more, data, at, is_global=kind == _GLOBAL)


def _take_pax(more: _Extensions, data: bytes, at: int, *, is_global: bool) -> None:
    """Take over records ``LENGTH KEY=VALUE``; what is about times and owners is nothing to us."""
    data = data.rstrip(b"\0")
    start = 0
    while start < len(data):
        told = _PAX_RECORD.match(data, start)
        end = start + int(told[1]) if told else 0
        record = data[told.end() : end - 1] if told else b""
        key, equals, value = record.partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise MachineError(f"the pax header at {at} is damaged")
        start = end
        matters = key in (b"path", b"size") or key.startswith(b"GNU.sparse.")
        if matters and is_global:
            raise MachineError(f"the pax header at {at} gives all members one {key.decode()}")
        if key == b"path":
            more.name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise MachineError(f"the pax header at {at} has a size of {value[:20]!r}")
            more.size = int(value)
        elif matters:
            more.sparse = True


def _member(block: bytes, kind: bytes, size: int, at: int, more: _Extensions) -> Member:
    raw = more.name
    if raw is None:
        raw = block[_NAME].split(b"\0", 1)[0]
        # GNU's own format has times in place of the prefix, and other magic.
        prefix = block[_PREFIX].split(b"\0", 1)[0] if block[_MAGIC] == _USTAR else b""
        raw = prefix + b"/" + raw if prefix else raw
    name = _checked_name(raw, at - BLOCK)
    if kind not in _KINDS:
        raise MachineError(f"{name!r} is a member of an unknown type: {kind!r}")
    found = _KINDS[kind]
    if found is Kind.FILE and raw.endswith(b"/"):
        found = Kind.DIRECTORY
    if found is Kind.FILE and more.sparse:
        found = Kind.SPARSE
    return Member(name, found, at, size if more.size is None else more.size)


def _checked_name(raw: bytes, at: int) -> str:
    """Return the name without ``.`` and doubled slashes; refuse what does not lead down."""
    name = raw.decode("utf-8", "surrogateescape")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not raw or b"\0" in raw or len(raw) > _NAME_MAX or len(parts) > _DEPTH_MAX:
        raise MachineError(f"the member at {at} has no name that a file can have: {name[:60]!r}")
    if name.startswith("/"):
        raise MachineError(f"{name!r} is an absolute name")
    if ".." in parts:
        raise MachineError(f"{name!r} leads out of the tar")
    return "/".join(parts) or "."
