"""/proc/iomem: the kernel's map of physical addresses, as a tree.

Format: Linux kernel/resource.c, "r_show": two blanks of indentation for each level (some
published maps have three), ``first-last : name`` in hexadecimal, ``last`` inclusive.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pykexec.machine.device_tree import DIRECTORIES
from pykexec.machine.files import PRIVILEGE_HINT, parse_hexadecimal
from pykexec.values.errors import HiddenMemoryError, MachineError
from pykexec.values.memory import OPAL, RTAS, IomemEntry, crash_regions, walk
from pykexec.values.ranges import Range
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

FILE = "proc/iomem"

# A name may be empty, and editors strip the blank that then ends the line.
_LINE = re.compile(r"([ \t]*)([0-9a-fA-F]{1,32})-([0-9a-fA-F]{1,32}) :(?:[ \t](.*))?")


LINES_MAX = 1 << 16
"""Lines of the file; a machine with a thousand virtual functions has some 4,000."""
DEPTH_MAX = 64
"""Levels of nesting; the kernel shows at most eight ("MAX_IORES_LEVEL")."""
_NOTHING = Range(0, 0)
_REGION = ("linux,crashkernel-base", "linux,crashkernel-size")
_FIRMWARE = {
    RTAS: ("rtas", "linux,rtas-base", "rtas-size"),
    OPAL: ("ibm,opal", "opal-base-address", "opal-runtime-size"),
}
_PURPOSE = "the crash kernel's region and firmware inside it"
_IPL = "sys/firmware/ipl"
"""IBM Z alone has it."""
_BLOCKS = "sys/devices/system/memory"
_BLOCK = re.compile(r"memory([0-9]{1,9})")
_BLOCK_PURPOSE = "the memory that is online"


@lru_cache(maxsize=1)
def parse_iomem(text: str, where: str = "/proc/iomem") -> tuple[IomemEntry, ...]:
    """Parse /proc/iomem into its top-level entries, nested as they are indented.

    A line belongs to the nearest line above it that is indented less, by whatever amount.
    Addresses become half-open physical ranges. Names lose surrounding blanks; an empty one
    stays. Empty lines and carriage returns are passed over. Raises :class:`MachineError`
    with ``where``, the line's number and the line for anything else, for nesting deeper than
    DEPTH_MAX, and for more than LINES_MAX lines.

    The last answer is kept: a load reads the file again before the call, and it is mostly the same.
    """
    if text.count("\n") > LINES_MAX:
        raise MachineError(f"{where}: more than {LINES_MAX} lines")
    # What is open: each entry's indentation, range and name, and its children so far.
    outermost: list[IomemEntry] = []
    stack: list[tuple[int, Range, str, list[IomemEntry]]] = [(-1, _NOTHING, "", outermost)]

    def close(indent: int) -> None:
        while stack[-1][0] >= indent:
            _, span, name, children = stack.pop()
            stack[-1][3].append(IomemEntry(span, name, tuple(children)))

    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        indent, span, name = _parse_line(line.rstrip("\r"), where, number)
        close(indent)
        if len(stack) > DEPTH_MAX:
            raise MachineError(
                f"{where}, line {number}: nested more than {DEPTH_MAX} deep: {line.strip()[:60]!r}"
            )
        stack.append((indent, span, name, []))
    close(0)
    return tuple(outermost)


def _parse_line(line: str, where: str, number: int) -> tuple[int, Range, str]:
    """Return the indentation, the range and the name."""
    match = _LINE.fullmatch(line)
    if not match:
        raise MachineError(
            f'{where}, line {number}: "START-END : NAME" is needed, found {line[:80]!r}'
        )
    indent, start, end, name = match.groups("")
    first, last = int(start, 16), int(end, 16)
    if last < first:
        raise MachineError(f"{where}, line {number}: the end lies before the start: {line!r}")
    if last > ADDRESS_MAX:
        raise MachineError(f"{where}, line {number}: the address needs more than 64 bits: {line!r}")
    if last - first == ADDRESS_MAX:
        # Nothing could lie beside it, and its size is a number that 64 bits do not hold.
        raise MachineError(
            f"{where}, line {number}: nothing covers all 64 bits of addresses: {line!r}"
        )
    return len(indent), Range.inclusive(first, last), name.strip()


def read_iomem(files: MachineFiles) -> tuple[IomemEntry, ...]:
    """Read /proc/iomem, once and to its end, so that all entries are of one moment.

    Raises :class:`MachineError` when it is missing, unreadable, empty or malformed, and
    its child :class:`HiddenMemoryError` when it may not be read, or all its addresses are zero:
    that is what a reader without CAP_SYS_ADMIN in the initial user namespace is shown (Linux
    kernel/resource.c, "r_show").
    """
    where = files.path(FILE)
    try:
        data = files.read(FILE, "the layout of physical memory")
    except MachineError as error:
        if isinstance(error.__cause__, PermissionError):
            raise HiddenMemoryError(error.message, hint=error.hint) from error
        raise
    if data is None:
        raise MachineError(f"{where} is missing; without it nobody knows where memory is")
    entries = parse_iomem(data.decode("utf-8", "replace"), where)
    if not entries:
        raise MachineError(f"{where} is empty; without it nobody knows where memory is")
    # One such line is legitimate: "00000000-00000000 : Crash kernel" of old kernels.
    hidden = Range.inclusive(0, 0)
    if all(item.range == hidden for item in walk(entries)):
        raise HiddenMemoryError(
            f"{where} shows only zeros as addresses: the reader lacks CAP_SYS_ADMIN in the "
            f"initial user namespace",
            hint=PRIVILEGE_HINT,
        )
    return _with_offline(files, _with_told(files, entries))


def _with_offline(files: MachineFiles, entries: tuple[IomemEntry, ...]) -> tuple[IomemEntry, ...]:
    """Mark inside RAM the blocks that are standby memory of an IBM Z.

    /proc/iomem has them as RAM, and the kernel's copy to them at a jump would fault (Linux
    drivers/s390/char/sclp_mem.c; Documentation/admin-guide/mm/memory-hotplug.rst, "sysfs").
    """
    if not files.has_directory(_IPL):
        return entries
    size = files.read_text(f"{_BLOCKS}/block_size_bytes", _BLOCK_PURPOSE)
    if size is None:
        return entries
    length = parse_hexadecimal(size, files.path(f"{_BLOCKS}/block_size_bytes"))
    numbers = (_BLOCK.fullmatch(name) for name in files.names(_BLOCKS, _BLOCK_PURPOSE))
    offline = (
        IomemEntry(Range.sized(int(found[1]) * length, length), "Offline memory")
        for found in numbers
        if found and _is_offline(files, found[0])
    )
    return _nested(entries, tuple(sorted(offline, key=lambda item: item.range)))


def _is_offline(files: MachineFiles, block: str) -> bool:
    state = files.read_text(f"{_BLOCKS}/{block}/state", _BLOCK_PURPOSE)
    return (state or "online").strip() != "online"


def _with_told(files: MachineFiles, entries: tuple[IomemEntry, ...]) -> tuple[IomemEntry, ...]:
    """Add what inside RAM the device tree alone tells of.

    Kernels of POWER show nothing there. The region of a crash kernel is told by Linux
    arch/powerpc/kexec/core.c, "export_crashk_values"; RTAS and OPAL keep memory of their own, also
    inside that region (arch/powerpc/kexec/ranges.c).
    """
    for directory in DIRECTORIES:
        region = _told(files, directory, "chosen", *_REGION)
        if region is None:
            continue
        if crash_regions(entries):
            break
        kept = ((name, _told(files, directory, *where)) for name, where in _FIRMWARE.items())
        told = (("Crash kernel", region), *kept)
        return _nested(entries, tuple(IomemEntry(at, name) for name, at in told if at is not None))
    return entries


def _told(files: MachineFiles, directory: str, node: str, base: str, size: str) -> Range | None:
    """Return the range that two properties of a node give; None where there is none."""
    told = (files.read(f"{directory}/{node}/{name}", _PURPOSE) for name in (base, size))
    start, length = (int.from_bytes(item or b"", "big") for item in told)
    return Range.fitting(start, length) if length else None


@lru_cache(maxsize=1)
def _nested(
    entries: tuple[IomemEntry, ...], more: tuple[IomemEntry, ...]
) -> tuple[IomemEntry, ...]:
    """Return ``entries`` with each of ``more`` put in.

    The last answer is kept, as that of :func:`parse_iomem`.
    """
    for child in more:
        entries = _with_child(entries, child)
    return entries


def _with_child(entries: tuple[IomemEntry, ...], child: IomemEntry) -> tuple[IomemEntry, ...]:
    """Return ``entries`` with ``child`` in the one that holds it, else beside them."""
    for at, entry in enumerate(entries):
        if entry.range.contains(child.range):
            holder = IomemEntry(entry.range, entry.name, _with_child(entry.children, child))
            return (*entries[:at], holder, *entries[at + 1 :])
    return tuple(sorted((*entries, child), key=lambda item: item.range))
