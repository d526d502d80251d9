"""Opening what the user names: kernels and initrds are mapped, never read into memory."""

from __future__ import annotations

import mmap
import os
import stat

from pykexec.errors import DeniedError, ImageError


def map_file(path: str, what: str) -> memoryview:
    """Map ``path`` read-only; ``what`` names it in errors (``kernel``, ``initrd``).

    Raises :class:`ImageError` for what is missing, empty or no regular file,
    :class:`DeniedError` for what may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise DeniedError(
            f"cannot read {what} {path!r}: {error.strerror}",
            hint="run as root, or make it readable",
        ) from error
    except OSError as error:
        raise ImageError(f"cannot open {what} {path!r}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{what} {path!r} is a directory", hint="name the file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{what} {path!r} is not a regular file", hint="copy it into a file")
        if not status.st_size:
            raise ImageError(f"{what} {path!r} is empty (0 bytes)")
        mapped = mmap.mmap(descriptor, status.st_size, mmap.MAP_PRIVATE, mmap.PROT_READ)
    except OSError as error:
        raise ImageError(f"cannot map {what} {path!r}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return memoryview(mapped)
