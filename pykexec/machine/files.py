"""Reading files below a root: the one place of pykexec.machine that opens them.

A missing file is an answer (None); a file that exists and cannot be read is a refusal,
except for :meth:`MachineFiles.peek` and :meth:`MachineFiles.lines`, for which "not readable"
and "not there" both mean that the machine does not say.

A recorded machine may come from anybody. What is read of it are regular files of its own, through
no link, each and all together of a limited size; anything else in a place that is read is a
:class:`MachineError`, however it is read. On the machine itself links are the kernel's and root's.
"""

from __future__ import annotations

import os
from itertools import islice

from pykexec.machine.opening import (
    UnfitFileError,
    open_below,
    open_directory_below,
    open_regular,
    read_up_to,
    read_whole,
)
from pykexec.values.errors import MachineError
from pykexec.values.units import ADDRESS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PRIVILEGE_HINT = "run as root, or plan for a recorded machine with --machine DIR"

FILE = "machine.json"
FILE_MAX = 16 << 20
"""Bytes of a file that is read whole. Of IMA's list, the largest, only so much is asked for."""
RECORD_MAX = 128 << 20
"""Bytes that are read of a recorded machine, each file counted once."""
NAMES_MAX = 100_000
"""Names in a directory of a recorded machine."""
LINES_MAX = 500_000
"""Lines of a file of a recorded machine in which some are looked for."""
RECORD_HINT = "a record has regular files, below its own directory, and no links"

_MISSING = (FileNotFoundError, NotADirectoryError)
_DECIMAL_DIGITS_MAX = 20
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class _Refusing:
    """Makes a refusal of a file in a recorded machine that is nothing to read.

    No contextmanager, whose module costs a ``kexec -S`` as much as all that it does.
    """

    __slots__ = ("_is_live",)

    def __init__(self, is_live: bool) -> None:
        self._is_live = is_live

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnfitFileError) and not self._is_live:
            raise MachineError(f"{error.filename}: {error.strerror}", hint=RECORD_HINT) from error


class MachineFiles:
    """The files below one root; names are relative, such as ``proc/iomem``."""

    def __init__(self, root: os.PathLike[str] | str = "/") -> None:
        self.root = os.fspath(root)
        self.is_live = os.path.realpath(self.root) == "/"
        self._sizes: dict[str, int] = {}
        self._total = 0

    def path(self, name: str) -> str:
        """Return the path of ``name`` as it is opened and shown in messages."""
        return os.path.join(self.root, name)

    @property
    def exists(self) -> bool:
        """The root is there."""
        return os.path.isdir(self.root)

    def open(self, name: str) -> int:
        """Return a descriptor of a regular file; raises OSError, or :class:`MachineError`."""
        with self._refusing():
            if self.is_live:
                return open_regular(self.path(name))
            return open_below(self.root, name)

    def load(self, name: str) -> bytes:
        """Return a whole file, of at most FILE_MAX; raises OSError, or :class:`MachineError`."""
        descriptor = self.open(name)
        try:
            with self._refusing():
                data = read_whole(descriptor, self.path(name), FILE_MAX)
        finally:
            os.close(descriptor)
        self._count(name, len(data))
        return data

    def head(self, name: str, size: int) -> bytes:
        """Return the first ``size`` bytes of a file, less when it ends before; as :meth:`load`."""
        descriptor = self.open(name)
        try:
            data = read_up_to(descriptor, size)
        finally:
            os.close(descriptor)
        self._count(name, len(data))
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; as :meth:`load`."""
        descriptor = self.open(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def entries(self, name: str) -> list[str]:
        """Return the names in a directory, in no order; raises OSError, or a MachineError."""
        return [base for base, _, _ in self._listing(name)]

    def members(self, name: str) -> list[tuple[str, bool]]:
        """Return name and "is a directory" of what is in a directory and no symbolic link.

        Raises OSError, or :class:`MachineError`.
        """
        return [(base, is_dir) for base, is_dir, is_link in self._listing(name) if not is_link]

    def scan(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[bytes]:
        """Return the first ``limit`` lines that are ``wanted``; as :meth:`load`.

        On the machine itself the file may have any size: /proc/kallsyms has 15 MiB.
        """
        found: list[bytes] = []
        with os.fdopen(self.open(name), "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(FILE_MAX), b"")):
                if not self.is_live and (number >= LINES_MAX or file.tell() > FILE_MAX):
                    raise MachineError(
                        f"{self.path(name)}: more than {LINES_MAX} lines or {FILE_MAX} bytes",
                        hint=RECORD_HINT,
                    )
                if wanted(line):
                    found.append(line)
                if len(found) >= limit:
                    break
        return found

    def _listing(self, name: str) -> list[tuple[str, bool, bool]]:
        """Return name, "is a directory" and "is a link" of all that is in a directory."""
        with self._refusing():
            if self.is_live:
                descriptor = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            else:
                descriptor = open_directory_below(self.root, name)
        try:
            with os.scandir(descriptor) as entries:
                found = [
                    (entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink())
                    for entry in islice(entries, None if self.is_live else NAMES_MAX + 1)
                ]
        finally:
            os.close(descriptor)
        if not self.is_live and len(found) > NAMES_MAX:
            raise MachineError(
                f"{self.path(name)}: more than {NAMES_MAX} names in it", hint=RECORD_HINT
            )
        return found

    def _count(self, name: str, size: int) -> None:
        """Refuse a record of which more than RECORD_MAX would be read."""
        if self.is_live:
            return
        more = max(size - self._sizes.get(name, 0), 0)
        self._sizes[name] = self._sizes.get(name, 0) + more
        self._total += more
        if self._total > RECORD_MAX:
            raise MachineError(
                f"{self.root}: more than {RECORD_MAX} bytes of it would have to be read",
                hint=RECORD_HINT,
            )

    def _refusing(self) -> _Refusing:
        return _Refusing(self.is_live)

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
        except (OSError, MachineError):
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
