"""Reading a core or a dump, whose every part may be damaged: errors and their exit codes. Pure."""

from __future__ import annotations

from typing import Protocol

from pykexec.values.errors import EXIT_FAILURE, PykexecError
from pykexec.values.units import counted

EXIT_CANNOT_OPEN = 2
EXIT_NO_ELF = 4
EXIT_ELF_CLASS = 6
EXIT_ELF_BYTE_ORDER = 7
EXIT_EHDR = 10
EXIT_EHDR_VERSION = 11
EXIT_PHENTSIZE = 12
EXIT_PHDR = 16
EXIT_NOTE_SIZE = 20
EXIT_NOTE_READ = 22
EXIT_NO_ADDRESS = 30
EXIT_READ = 65
EXIT_CYCLE = 68

MAX_NOTE_BYTES = 64 << 20
"""More than the notes of any machine: some 400 bytes for each CPU."""
MAX_NOTES = 1 << 18
MAX_PHDRS = 1 << 20
MAX_INFO_BYTES = 1 << 20
PN_XNUM = 0xFFFF
"""The number of program headers is in the first section header: elf(5), "e_phnum"."""


class VmcoreError(PykexecError):
    """A core cannot be read; the exit code is what vmcore-dmesg(8) gives for the cause."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILURE, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Reader(Protocol):
    """A file, or what a container format makes look like one."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; less means the file ends there."""


def read_exactly(reader: Reader, offset: int, size: int, what: str, code: int) -> bytes:
    """Return ``size`` bytes at ``offset``; raises :class:`VmcoreError` when there are less."""
    data = reader.read(offset, size)
    if len(data) != size:
        raise VmcoreError(
            f"cannot read {what}: {counted(size, 'byte')} at {offset:#x} needed, {len(data)} there",
            code,
        )
    return data
