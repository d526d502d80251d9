"""The standard streams of the programs: always there, and what goes wrong with them.

What cannot be written on stdout is an :class:`OutputError`, whoever writes. What cannot be
written on stderr is lost: there is nowhere left to say so, and a load does not fail by it.
"""

from __future__ import annotations

import errno
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Any) -> int:
        """Write; raises :class:`OutputError`."""
        try:
            return super().write(data)
        except OSError as error:
            from pykexec.values.errors import OutputError

            raise OutputError(error.errno or errno.EIO) from error


class _Messages(io.FileIO):
    """Standard error."""

    def write(self, data: Any) -> int:
        """Write, or drop it."""
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))


def open_standard_streams() -> None:
    """Put streams in the places of Python's, also where the descriptors were closed.

    A descriptor that is closed would be that of the next file to be opened, and messages would
    go there. It gets /dev/null, opened the wrong way round, so that using it fails as before.
    """
    for descriptor, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            try:
                os.open(os.devnull, flags)  # takes the lowest number, which is this one
            except OSError:
                return
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = _stream(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _stream(_Messages(2, "wb", closefd=False), sys.stderr)


def _stream(raw: io.FileIO, before: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else None,
        errors="backslashreplace",
        line_buffering=True,
    )
