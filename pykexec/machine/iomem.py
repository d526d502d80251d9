"""/proc/iomem: the kernel's map of physical addresses, as a tree.

Format: Linux kernel/resource.c, "r_show": two blanks of indentation for each level (some
published maps have three), ``first-last : name`` in hexadecimal, ``last`` inclusive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.machine.files import PRIVILEGE_HINT
from pykexec.values.errors import HiddenMemoryError, MachineError
from pykexec.values.memory import IomemEntry
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


class _Open:
    """An entry whose children are still being read."""

    __slots__ = ("children", "indent", "name", "range")

    def __init__(self, indent: int, span: Range, name: str) -> None:
        self.indent = indent
        self.range = span
        self.name = name
        self.children: list[IomemEntry] = []


def parse_iomem(text: str, where: str = "/proc/iomem") -> tuple[IomemEntry, ...]:
    """Parse /proc/iomem into its top-level entries, nested as they are indented.

    A line belongs to the nearest line above it that is indented less, by whatever amount.
    Addresses become half-open physical ranges. Names lose surrounding blanks; an empty one
    stays. Empty lines and carriage returns are passed over. Raises :class:`MachineError`
    with ``where``, the line's number and the line for anything else, for nesting deeper than
    DEPTH_MAX, and for more than LINES_MAX lines.
    """
    if text.count("\n") > LINES_MAX:
        raise MachineError(f"{where}: more than {LINES_MAX} lines")
    top: list[IomemEntry] = []
    stack: list[_Open] = []

    def close(indent: int) -> None:
        while stack and stack[-1].indent >= indent:
            done = stack.pop()
            entry = IomemEntry(done.range, done.name, tuple(done.children))
            (stack[-1].children if stack else top).append(entry)

    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        opened = _parse_line(line.rstrip("\r"), f"{where}, line {number}")
        close(opened.indent)
        if len(stack) == DEPTH_MAX:
            raise MachineError(
                f"{where}, line {number}: nested more than {DEPTH_MAX} deep: {line.strip()[:60]!r}"
            )
        stack.append(opened)
    close(0)
    return tuple(top)


def _parse_line(line: str, where: str) -> _Open:
    match = _LINE.fullmatch(line)
    if not match:
        raise MachineError(f'{where}: "START-END : NAME" is needed, found {line[:80]!r}')
    first, last = int(match[2], 16), int(match[3], 16)
    if last < first:
        raise MachineError(f"{where}: the end lies before the start: {line!r}")
    if last > ADDRESS_MAX:
        raise MachineError(f"{where}: the address needs more than 64 bits: {line!r}")
    if last - first == ADDRESS_MAX:
        # Nothing could lie beside it, and its size is a number that 64 bits do not hold.
        raise MachineError(f"{where}: nothing covers all 64 bits of addresses: {line!r}")
    return _Open(len(match[1]), Range.inclusive(first, last), (match[4] or "").strip())


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
    if all(item.range == hidden for entry in entries for item in entry.walk()):
        raise HiddenMemoryError(
            f"{where} shows only zeros as addresses: the reader lacks CAP_SYS_ADMIN in the "
            f"initial user namespace",
            hint=PRIVILEGE_HINT,
        )
    return entries
