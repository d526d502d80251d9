"""Opening what the user names: kernels and initrds are mapped, never read into memory.

A file stays open as long as it is mapped, since kexec_file_load(2) wants the descriptor of
the very file: that one has the extended attributes that IMA judges it by.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.machine.opening import UnfitFileError, open_below, open_regular
from pykexec.values.errors import DeniedError, ImageError, TrailingDataError

if TYPE_CHECKING:
    from pykexec.planning.plans import Module


class MappedFile:
    """A file's contents and the descriptor that they come from, closed with the object."""

    __slots__ = ("data", "descriptor")

    def __init__(self, data: memoryview, descriptor: int) -> None:
        """Take the descriptor over."""
        self.data = data
        self.descriptor = descriptor

    def __del__(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def map_file(path: str, what: str, *, root: str | None = None) -> MappedFile:
    """Map ``path`` read-only; ``what`` names it in errors (``kernel``, ``initrd``).

    With ``root`` the path is that of a recorded machine, absolute there: nothing that is not
    below it is opened, and no link is followed. Raises :class:`ImageError` for what is missing,
    empty or no regular file, :class:`DeniedError` for what may not be read.
    """
    try:
        descriptor = open_regular(path) if root is None else open_below(root, path.lstrip("/"))
    except IsADirectoryError as error:
        raise ImageError(f"{what} {path!r} is a directory", hint="name the file in it") from error
    except UnfitFileError as error:
        raise ImageError(
            f"{what} {path!r}: {error.strerror}", hint="copy it into a file"
        ) from error
    except PermissionError as error:
        raise DeniedError(
            f"cannot read {what} {path!r}: {error.strerror}",
            hint="run as root, or make it readable",
        ) from error
    except OSError as error:
        raise ImageError(f"cannot open {what} {path!r}: {error.strerror}") from error
    try:
        return MappedFile(_map(descriptor, path, what), descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def split_configuration(path: str) -> tuple[str, str | None]:
    """Part ``FILE#CONFIGURATION``, which names a configuration of a FIT image, as U-Boot has it.

    So it names a profile of a UKI. A file whose name has the sign goes before.
    """
    file, sign, configuration = path.rpartition("#")
    if not sign or not file or not configuration or os.path.lexists(path):
        return path, None
    return file, configuration


def _map(descriptor: int, path: str, what: str) -> memoryview:
    status = os.fstat(descriptor)
    if not status.st_size:
        raise ImageError(f"{what} {path!r} is empty (0 bytes)")
    try:
        return memoryview(mmap.mmap(descriptor, status.st_size, mmap.MAP_PRIVATE, mmap.PROT_READ))
    except OSError as error:
        raise ImageError(f"cannot map {what} {path!r}: {error.strerror}") from error


def open_module(text: str) -> Module:
    """Open a module, a path with words behind it; what it is compressed with is taken off.

    So kexec(8) does it. Raises as :func:`open_module_file`.
    """
    return open_module_file(text.split(maxsplit=1)[0] if text.strip() else text, text)


def open_module_file(path: str, cmdline: str, *, is_unpacked: bool = True) -> Module:
    """Open a module; with ``is_unpacked``, what it is compressed with is taken off.

    Not of several archives in a row, as an initrd may be: who unpacks them finds each. Raises as
    :func:`map_file`, and :class:`ImageError` for damaged data.
    """
    from pykexec.formats.compression import decompress, probe
    from pykexec.formats.layers import KERNEL_LIMIT
    from pykexec.planning.plans import Module

    data = map_file(path, "module").data
    if is_unpacked and probe(data) is not None:
        with suppress(TrailingDataError):
            data = memoryview(decompress(data, KERNEL_LIMIT, f"the module {path!r}"))
    return Module(data, os.fsencode(cmdline))
