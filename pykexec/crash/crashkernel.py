"""``crashkernel=`` as the kernel reads it: which word counts, and what it asks for. Pure.

Linux Documentation/admin-guide/kernel-parameters.txt, "crashkernel=", and
Documentation/admin-guide/kdump/kdump.rst, "Extended crashkernel syntax". The rules that those
leave out are those of kernel/crash_reserve.c, "parse_crashkernel": the line is searched as text,
so that a word behind ``--``, or the end of a longer word, counts too; only a blank ends a word,
and a quote is a character like any other.
"""

from __future__ import annotations

from pykexec.values.command_line import memparse
from pykexec.values.data_classes import dataclass
from pykexec.values.units import KIB, MIB, align_up, format_size

RAM_GRAIN = 128 * MIB
"""The kernel rounds RAM up to a multiple of this before it looks for a range ("SZ_128M")."""
_NAME = b"crashkernel="
_SUFFIXES = (b",high", b",low", b",cma")
_UNQUOTE = "take the quotes off: the kernel looks for this word before it reads any"
_LINE_MAX = 16 * KIB
"""No kernel's COMMAND_LINE_SIZE is as large."""
_SHOWN_MAX = 64
"""Characters of a word in a message."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the running kernel reads the words, where kernels differ."""

    high: bool = True
    """It knows ``,high`` and ``,low``."""
    cma: bool = True
    """It knows ``,cma``. One that does not takes such a word for a size with a typo."""
    high_on_failure: bool = False
    """``,high`` is looked at when the plain word is wrong, and not only when there is none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the words ask for. Sizes and addresses in bytes."""

    word: str
    """The word that counts, from ``crashkernel=`` on."""
    size: int
    base: int | None = None
    """Physical; None where the kernel chooses."""
    high: bool = False
    """Above what 32-bit devices reach, where there is room."""
    low: int | None = None
    """Of ``,low``; None where nothing says it, and the kernel takes its default."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why nothing is reserved, and what to do."""

    text: str
    advice: str
    absent: bool = False
    """There is no word of the kind at all."""


def crashkernel_words(cmdline: bytes) -> tuple[str, ...]:
    """Return each ``crashkernel=…`` that the kernel finds, in order, up to the next blank."""
    return tuple(_shown(value) for value in _values(cmdline))


def wanted(cmdline: bytes, ram: int, dialect: Dialect) -> Wanted | Fault:
    """Return what ``cmdline`` asks for on a machine with ``ram`` bytes of RAM, or why nothing."""
    values = _values(cmdline)
    known = _SUFFIXES if dialect.cma else _SUFFIXES[:2]
    plain = [value for value in values if not value.endswith(known)]
    found = _plain(plain[-1], ram, dialect) if plain else None
    if isinstance(found, Wanted):
        return found
    if dialect.high and (found is None or dialect.high_on_failure):
        high = _high(values)
        if isinstance(high, Wanted) or found is None:
            return high
    if found is not None:
        return found
    if not values:
        return _needs_another({})
    text = f"{_shown(values[-1])} is not known to this kernel"
    return Fault(text, "boot with crashkernel=SIZE, without a suffix")


def _values(cmdline: bytes) -> list[bytes]:
    """Return what stands behind each ``crashkernel=``, up to a blank."""
    return [part.split(b" ", 1)[0] for part in cmdline[:_LINE_MAX].split(_NAME)[1:]]


def _shown(value: bytes) -> str:
    text = (_NAME + value).decode("utf-8", "surrogateescape")
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def _high(values: list[bytes]) -> Wanted | Fault:
    """Read ``,high`` with ``,low``."""
    parts = {suffix: value for value in values for suffix in _SUFFIXES if value.endswith(suffix)}
    if b",high" not in parts:
        return _needs_another(parts)
    sizes = {}
    for suffix in (b",high", b",low"):
        value = parts.get(suffix)
        if value is None:
            continue
        read = memparse(value)
        if read is None:
            return _no_size(value, value)
        if read[1] != suffix:
            return _junk(value, read[1])
        sizes[suffix] = read[0]
    word = _shown(parts[b",high"])
    if not sizes[b",high"]:
        return Fault(f"{word} asks for nothing", "give a size, such as crashkernel=256M,high")
    return Wanted(word, sizes[b",high"], high=True, low=sizes.get(b",low"))


def _needs_another(parts: dict[bytes, bytes]) -> Fault:
    """Say that there is neither a plain size nor ``,high``, at most what goes with one."""
    if not parts:
        return Fault("there is no such word", "", absent=True)
    suffix, value = next(iter(parts.items()))
    example = "crashkernel=256M,high" if suffix == b",low" else "crashkernel=256M"
    return Fault(f"{_shown(value)} reserves nothing by itself", f"add another, such as {example}")


def _plain(value: bytes, ram: int, dialect: Dialect) -> Wanted | Fault:
    """Read a size, or a list of ranges: a colon makes the difference."""
    if b":" in value:
        return _ranges(value, ram)
    read = memparse(value)
    if read is None:
        if value == b"auto":
            return Fault(
                "crashkernel=auto is known to some distributions' kernels only, not to this one",
                "give a size, such as crashkernel=256M",
            )
        return _no_size(value, value)
    size, rest = read
    if rest and not rest.startswith(b"@"):
        if rest == b",cma" and not dialect.cma:
            return Fault(
                f"{_shown(value)} is the last crashkernel=, and a kernel before Linux 6.17 takes "
                "its ,cma for a typo",
                "leave it out, or boot a newer kernel",
            )
        return _junk(value, rest)
    if not size:
        return Fault(f"{_shown(value)} asks for nothing", "give a size, such as crashkernel=256M")
    return _at(value, size, rest) if rest else Wanted(_shown(value), size)


def _at(value: bytes, size: int, rest: bytes) -> Wanted | Fault:
    """Read the ``@OFFSET`` that ``rest`` begins with."""
    read = memparse(rest[1:])
    if b":" in value and read is None:
        return _no_size(value, rest)
    # Behind a plain size the kernel reads 0 where there is no number, and chooses.
    return Wanted(_shown(value), size, base=(read[0] if read else 0) or None)


def _no_size(value: bytes, rest: bytes) -> Fault:
    at = f" at {_cut(rest)!r}" if rest else " at its end"
    advice = "write it as crashkernel=256M, or as crashkernel=1G-4G:256M,4G-:512M"
    return Fault(
        f"{_shown(value)} has no size{at}, where the kernel looks for one",
        _UNQUOTE if rest.startswith(b'"') else advice,
    )


def _junk(value: bytes, rest: bytes) -> Fault:
    advice = "write it as crashkernel=256M, 256M@OFFSET, 256M,high or 1G-4G:256M,4G-:512M"
    if rest.startswith(b'"'):
        advice = _UNQUOTE
    elif rest.startswith(b"-"):
        advice = f"give the range a size: {_shown(value)}:SIZE"
    return Fault(f"{_shown(value)} is not understood from {_cut(rest)!r} on", advice)


def _cut(rest: bytes) -> str:
    return rest[:16].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Item:
    """One ``START-[END]:SIZE`` of a list, as bytes and as written."""

    start: int
    end: int | None
    size: int
    start_text: str
    end_text: str

    def covers(self, ram: int) -> bool:
        return self.start <= ram and (self.end is None or ram < self.end)


def _ranges(value: bytes, ram: int) -> Wanted | Fault:
    """Read a list of ranges. The kernel stops at the first that covers the machine."""
    total = align_up(ram, RAM_GRAIN)
    passed: list[_Item] = []
    too_large: _Item | None = None
    rest = value
    while True:
        read = _item(value, rest)
        if isinstance(read, Fault):
            # What it does not understand, it does so whatever covers the machine.
            return read
        item, rest = read
        if item.size >= total and too_large is None:
            too_large = item
        if item.covers(total):
            break
        passed.append(item)
        if not rest.startswith(b","):
            return _not_covered(value, rest, passed, total)
        rest = rest[1:]
    if too_large is not None:
        return _too_large(value, too_large, total)
    if not item.size:
        return Fault(
            f"the range of {_shown(value)} that covers this machine reserves nothing",
            f"give {_range_text(item)} a size",
        )
    at = rest.find(b"@")
    if at >= 0:
        return _at(value, item.size, rest[at:])
    return Wanted(_shown(value), item.size)


def _item(value: bytes, rest: bytes) -> tuple[_Item, bytes] | Fault:
    """Read one range from the start of ``rest``; return it, and what is behind it."""
    read = memparse(rest)
    if read is None:
        return _no_size(value, rest)
    start, behind = read
    start_text = _before(rest, behind)
    if not behind.startswith(b"-"):
        return _expected(value, "-", behind)
    rest, end, end_text = behind[1:], None, ""
    if not rest.startswith(b":"):
        read = memparse(rest)
        if read is None:
            return _no_size(value, rest)
        end, behind = read
        end_text = _before(rest, behind)
        if end <= start:
            return Fault(
                f"{_shown(value)}: the range {start_text}-{end_text} ends before it starts",
                "put its ends in order",
            )
        rest = behind
    if not rest.startswith(b":"):
        return _expected(value, ":", rest)
    read = memparse(rest[1:])
    if read is None:
        return _no_size(value, rest[1:])
    return _Item(start, end, read[0], start_text, end_text), read[1]


def _before(text: bytes, rest: bytes) -> str:
    return text[: len(text) - len(rest)].decode("ascii", "replace")


def _expected(value: bytes, what: str, rest: bytes) -> Fault:
    found = f"{_cut(rest)!r}" if rest else "its end"
    return Fault(
        f"{_shown(value)}: the kernel expects {what!r} and finds {found}",
        "write ranges as START-END:SIZE, such as crashkernel=1G-4G:256M,4G-:512M",
    )


def _range_text(item: _Item) -> str:
    return f"{item.start_text}-{item.end_text}"


def _too_large(value: bytes, item: _Item, total: int) -> Fault:
    return Fault(
        f"{_shown(value)}: the {format_size(item.size)} of its range {_range_text(item)} are not "
        f"less than the {format_size(total)} of this machine, and there the kernel gives up",
        "give a smaller size",
    )


def _not_covered(value: bytes, rest: bytes, passed: list[_Item], total: int) -> Fault:
    """Say that no range covers the machine, and which one would."""
    if rest and not rest.startswith(b"@"):
        return Fault(
            f"none of crashkernel='s ranges up to {_cut(rest)!r} covers this machine of "
            f"{format_size(total)}, and there the kernel stops reading",
            "put a comma between ranges",
        )
    below = [item for item in passed if item.end is not None and item.end <= total]
    above = [item for item in passed if item.start > total]
    upper = min(above, key=lambda item: item.start, default=None)
    lower = max(below, key=lambda item: item.end or 0, default=None)
    start = lower.end_text if lower else "0"
    end = upper.start_text if upper else ""
    if upper and lower:
        where = f"there is none between {start} and {end}"
    elif upper:
        where = f"the first starts at {end}"
    else:
        where = f"the last ends at {start}"
    return Fault(
        f"none of crashkernel='s ranges covers this machine of {format_size(total)} ({where})",
        f"add one such as {start}-{end}:SIZE; 'pykexec crash estimate KERNEL' says how much",
    )
