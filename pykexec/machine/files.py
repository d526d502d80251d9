"""Reading files below a root: the one place of pykexec.machine that opens them.

A missing file is an answer (None); a file that exists and cannot be read is a refusal,
except for :meth:`MachineFiles.peek` and :meth:`MachineFiles.lines`, for which "not readable"
and "not there" both mean that the machine does not say.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

from pykexec.errors import MachineError
from pykexec.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVILEGE_HINT = "run as root, or plan for a recorded machine with --machine DIR"

_MISSING = (FileNotFoundError, NotADirectoryError)
_DECIMAL_DIGITS_MAX = 20
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def machine_files(root: os.PathLike[str] | str = "/") -> MachineFiles:
    """Return the files of the live machine, of a machine directory, or of a tar of one.

    Raises :class:`MachineError` for a file that is no such tar.
    """
    if os.path.isfile(root):
        from pykexec.machine.tar_files import TarFiles

        return TarFiles(root)
    return MachineFiles(root)


class MachineFiles:
    """The files below one root; names are relative, such as ``proc/iomem``."""

    def __init__(self, root: os.PathLike[str] | str = "/") -> None:
        self.root = os.fspath(root)
        self.is_live = os.path.realpath(self.root) == "/"

    def path(self, name: str) -> str:
        """Return the path of ``name`` as it is opened and shown in messages."""
        return os.path.join(self.root, name)

    @property
    def exists(self) -> bool:
        """The root is there."""
        return os.path.isdir(self.root)

    def load(self, name: str) -> bytes:
        """Return a whole file; raises OSError."""
        with open(self.path(name), "rb", buffering=0) as file:
            return file.read()

    def head(self, name: str, size: int) -> bytes:
        """Return the first ``size`` bytes of a file, less when it ends before; raises OSError."""
        data = b""
        # Unbuffered, so that not a byte more is read: a device's configuration space may mind.
        # In pieces, because the kernel gives some files a few pages at a time.
        with open(self.path(name), "rb", buffering=0) as file:
            while len(data) < size and (piece := file.read(size - len(data))):
                data += piece
        return data

    def entries(self, name: str) -> list[str]:
        """Return the names in a directory, in no order; raises OSError."""
        return os.listdir(self.path(name))

    def members(self, name: str) -> list[tuple[str, bool]]:
        """Return name and "is a directory" of what is in a directory and no symbolic link.

        Raises OSError.
        """
        with os.scandir(self.path(name)) as found:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in found
                if not entry.is_symlink()
            ]

    def scan(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[bytes]:
        """Return the first ``limit`` lines that are ``wanted``; raises OSError."""
        with open(self.path(name), "rb") as file:
            return list(islice(filter(wanted, file), limit))

    def read(self, name: str, needed_for: str) -> bytes | None:
        """Return a whole file, None when there is none.

        Raises :class:`MachineError` with the reason and ``needed_for`` when it is there and
        cannot be read.
        """
        try:
            return self.load(name)
        except _MISSING:
            return None
        except OSError as error:
            raise self._unreadable(name, needed_for, error) from error

    def read_text(self, name: str, needed_for: str) -> str | None:
        """Return a sysfs attribute without its line end; see :meth:`read`."""
        data = self.read(name, needed_for)
        return None if data is None else data.decode("utf-8", "replace").strip()

    def names(self, name: str, needed_for: str) -> list[str]:
        """Return the names in a directory, none when it is missing; see :meth:`read`."""
        try:
            return self.entries(name)
        except _MISSING:
            return []
        except OSError as error:
            raise self._unreadable(name, needed_for, error) from error

    def listing(self, name: str, needed_for: str) -> list[tuple[str, bool]]:
        """Return :meth:`members`, none when the directory is missing; see :meth:`read`."""
        try:
            return self.members(name)
        except _MISSING:
            return []
        except OSError as error:
            raise self._unreadable(name, needed_for, error) from error

    def is_link(self, name: str) -> bool:
        """Tell whether there is a symbolic link of that name."""
        return os.path.islink(self.path(name))

    def has_directory(self, name: str) -> bool:
        """Tell whether a readable directory of that name exists."""
        try:
            self.entries(name)
        except OSError:
            return False
        return True

    def peek(self, name: str) -> str | None:
        """Return an attribute without its line end, None when missing or unreadable."""
        try:
            return self.load(name).decode("utf-8", "replace").strip()
        except OSError:
            return None

    def lines(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[str]:
        """Return the first ``limit`` lines that are ``wanted``, without their line ends.

        For large files: reading stops at the last line wanted. Nothing when the file is
        missing or unreadable.
        """
        try:
            found = self.scan(name, wanted, limit)
        except OSError:
            return []
        return [line.decode("utf-8", "replace").strip() for line in found]

    def hexadecimal(self, name: str, needed_for: str) -> int | None:
        """Read a file with one hexadecimal number, with or without 0x; None when missing."""
        text = self.read_text(name, needed_for)
        return None if text is None else parse_hexadecimal(text, self.path(name))

    def decimal(self, name: str, needed_for: str) -> int | None:
        """Read a file with one decimal number; None when missing."""
        text = self.read_text(name, needed_for)
        if text is None:
            return None
        number = parse_decimal(text)
        if number is None or number < 0:
            raise MachineError(f"{self.path(name)}: {text!r} is not a decimal number")
        return number

    def required(self, name: str, value: int | None, needed_for: str) -> int:
        """Return ``value``, read from ``name``; raises :class:`MachineError` for None."""
        if value is None:
            raise MachineError(f"{self.path(name)} is missing; it is needed for {needed_for}")
        return value

    def _unreadable(self, name: str, needed_for: str, error: OSError) -> MachineError:
        denied = isinstance(error, PermissionError)
        return MachineError(
            f"cannot read {self.path(name)}, needed for {needed_for}: {error.strerror}",
            hint=PRIVILEGE_HINT if denied else None,
        )


def parse_decimal(text: str) -> int | None:
    """Read a decimal number of at most 64 bits' length, maybe negative; None for all else."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DECIMAL_DIGITS_MAX):
        return None
    return int(text)


def parse_hexadecimal(text: str, where: str) -> int:
    """Read a 64-bit number as the kernel prints it, hexadecimal with or without ``0x``.

    Raises :class:`MachineError` naming ``where`` for anything else.
    """
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if not digits or not _HEX_DIGITS.issuperset(digits) or int(digits, 16) > ADDRESS_MAX:
        raise MachineError(f"{where}: {text!r} is not a hexadecimal number of at most 64 bits")
    return int(digits, 16)
