"""The structures of a firmware-assisted dump: out of a file, or of the kernel that saves one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.elf_core import ElfCore
from pykexec.crash.fadump.dump import (
    CoreMemory,
    FirmwareDump,
    Image,
    dump_at,
    dump_of_sections,
    dumps_in,
)
from pykexec.crash.fadump.header import MAGICS, parse_crash_info
from pykexec.crash.fadump.registers import MAGIC as REGISTER_MAGIC
from pykexec.crash.fadump.registers import parse_register_area
from pykexec.loading.files import map_file
from pykexec.values.errors import FadumpError, ImageError, PykexecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.fadump.dump import DumpMemory
    from pykexec.values.buffers import Buffer

_PROPERTY_MAX = 4096
_PROPERTY = bytes.fromhex("00000001")
"""``dump_format_version``, by which a file with ``ibm,kernel-dump`` alone begins."""
_KCORE = "/proc/kcore"


class _Mapped:
    """A mapped file, as what reads cores wants it."""

    def __init__(self, data: Buffer) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``."""
        return bytes(self._data[offset : offset + size])


class _File:
    """An open file of any size, which is read where it is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; none where that cannot be read."""
        try:
            return os.pread(self._descriptor, size, offset)
        except (OSError, OverflowError):
            return b""


def dumps_of_file(
    path: str, *, at: int | None = None, base: int = 0, kernel_dump: str | None = None
) -> tuple[FirmwareDump, ...]:
    """Read a header, a register save area, ``ibm,kernel-dump``, or an image of a memory.

    An image is an ELF core, or plain memory that begins at the physical address ``base``. Of
    plain memory every header is found that is in it; ``at`` says where the header is, physical,
    and the file ``kernel_dump`` what firmware tells, which leads there. Raises
    :class:`~pykexec.errors.ImageError` for what has none of it,
    :class:`~pykexec.crash.core_reading.VmcoreError` for a damaged core, and
    :class:`~pykexec.errors.UsageError` for two answers to one question.
    """
    if at is not None and kernel_dump is not None:
        raise UsageError(
            "both --at and --property say where the header is", hint="give one of them"
        )
    data = map_file(path, "dump").data
    if kernel_dump is not None:
        told = map_file(kernel_dump, "ibm,kernel-dump").data
        with _naming(path):
            memory = _memory_of(data, base)
        with _naming(kernel_dump):
            return (dump_of_sections(memory, told),)
    with _naming(path):
        return _read(data, at, base)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except (ImageError, VmcoreError) as error:
        error.message = f"{path!r}: {error.message}"
        raise


def _is_core(data: memoryview) -> bool:
    return bytes(data[:4]) == b"\x7fELF"


def _memory_of(data: memoryview, base: int) -> DumpMemory:
    if not _is_core(data):
        return Image(data, base)
    if base:
        raise ImageError(
            "an ELF core, which says itself where its memory is", hint="leave --base out"
        )
    return CoreMemory(ElfCore(_Mapped(data), len(data)))


def _read(data: memoryview, at: int | None, base: int) -> tuple[FirmwareDump, ...]:
    if at is None:
        alone = _alone(data, bytes(data[:8]), base)
        if alone is not None:
            return (alone,)
    memory = _memory_of(data, base)
    if at is not None:
        return (dump_at(memory, at),)
    if _is_core(data):
        raise ImageError(
            "an ELF core, in which nobody looks for a header",
            hint="say where it is by --at, or give what firmware tells by --property",
        )
    found = dumps_in(data, base)
    if not found:
        raise ImageError("no crash info header is in it (FADMPINF or FADMPSIG, aligned to 8 bytes)")
    return found


def _alone(data: memoryview, head: bytes, base: int) -> FirmwareDump | None:
    """Read a structure that is a file by itself; None for anything else."""
    if head in MAGICS and base == 0:
        return FirmwareDump(parse_crash_info(data), None)
    if head == REGISTER_MAGIC:
        return FirmwareDump(None, None, saved=parse_register_area(data))
    if head[:4] == _PROPERTY and len(data) <= _PROPERTY_MAX:
        return dump_of_sections(None, data)
    return None


def dump_here() -> FirmwareDump:
    """Read the dump that firmware tells this machine of, its memory through /proc/kcore.

    Raises :class:`~pykexec.errors.FadumpError` where firmware tells of none that can be found.
    """
    from pykexec.loading import run_files
    from pykexec.machine.fadump import read_fadump

    state = read_fadump(run_files.this_machine())
    if not state.told_of_dump:
        raise FadumpError("firmware tells of no dump", hint="name a file")
    if not state.kernel_dump:
        raise FadumpError(
            "on powernv only a kernel can ask firmware where the dump's structures are",
            hint="give an image of the memory",
        )
    if not state.vmcore:
        # Released memory has anything in it by now.
        return dump_of_sections(None, state.kernel_dump)
    try:
        descriptor = os.open(_KCORE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return dump_of_sections(None, state.kernel_dump)
    try:
        core = ElfCore(_File(descriptor), os.fstat(descriptor).st_size)
        return dump_of_sections(CoreMemory(core), state.kernel_dump)
    except PykexecError as error:
        if isinstance(error, ImageError):
            raise
        return dump_of_sections(None, state.kernel_dump)
    finally:
        os.close(descriptor)
