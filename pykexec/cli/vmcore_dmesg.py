"""``vmcore-dmesg``: prints the log of a crashed kernel."""

from __future__ import annotations

if __name__ == "__main__":  # python -m: through the front door, which imports this once more
    from pykexec.cli import front_door

    front_door.vmcore_dmesg()

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

from pykexec.cli.front_door import report
from pykexec.cli.getopt_long import Option, scan
from pykexec.cli.terminal import say, say_bytes, say_line, tell
from pykexec.values.errors import EXIT_OK, OutputError, PykexecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pykexec.crash.vmcore import KernelMemory
    from pykexec.crash.vmcore_dmesg import LineFormat

PROGRAM = "vmcore-dmesg"
EXIT_WRITE = 54
"""For a log that cannot be written."""
OPTIONS: tuple[Option, ...] = (
    Option("level", ("level",), "Print <facility * 8 + level> before each record.", short="l"),
    Option("caller", ("caller",), "Print who logged it: [T123] a thread, [C0] a CPU.", short="c"),
    Option("utf8", ("utf8",), "Do not escape valid UTF-8.", short="u"),
    Option("help", ("help",), "Print this help and exit.", short="h"),
    Option("version", ("version",), "Print the version and exit.", short="v"),
)


def usage() -> str:
    """Return the usage text."""
    lines = [
        f"Usage: {PROGRAM} [OPTION]... FILE...",
        "Print the kernel log in /proc/vmcore, a core or a makedumpfile dump. Several files are",
        "the parts of one dump that 'makedumpfile --split' wrote.",
    ]
    lines += [f" -{o.short}, --{o.long[0]:<10} {o.help}" for o in OPTIONS]
    return "\n".join(lines) + "\n"


class _File:
    """A file read at any place, nothing of it kept."""

    def __init__(self, path: str) -> None:
        from pykexec.crash.core_reading import EXIT_CANNOT_OPEN, EXIT_READ, VmcoreError
        from pykexec.machine.opening import kind_of

        self._path = path
        try:
            # A dump may lie on a partition. It is not waited for a writer of a FIFO.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            self._descriptor = os.open(path, flags)
        except OSError as error:
            raise VmcoreError(f"cannot open {path}: {error.strerror}", EXIT_CANNOT_OPEN) from error
        status = os.fstat(self._descriptor)
        if any(is_kind(status.st_mode) for is_kind in (stat.S_ISDIR, stat.S_ISFIFO, stat.S_ISSOCK)):
            raise VmcoreError(
                f"cannot read {path}: no core, but {kind_of(status)}",
                EXIT_READ,
                hint="a core is read at many places: name a file, or copy it into one",
            )

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; less means the file ends there."""
        from pykexec.crash.core_reading import EXIT_READ, VmcoreError

        # A regular file may be asked for more than a system call gives, or than an off_t holds.
        pieces = []
        while size > 0 and offset < 1 << 63:
            try:
                piece = os.pread(self._descriptor, min(size, 1 << 20), offset)
            except OSError as error:
                raise VmcoreError(
                    f"cannot read {self._path} at {offset:#x}: {error.strerror}", EXIT_READ
                ) from error
            if not piece:
                break
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)


def open_memory(paths: Sequence[str]) -> KernelMemory:
    """Open a core, or the parts of one; raises :class:`VmcoreError`."""
    from pykexec.crash.vmcore import open_core

    return open_core(*map(_File, paths))


def read_log(
    paths: Sequence[str],
    form: LineFormat | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[bytes]:
    """Yield the log in a core, or in the parts of one; raises :class:`VmcoreError` in its midst.

    ``warn`` is told what is wrong with a dump that can be read all the same.
    """
    from pykexec.crash.vmcore_dmesg import dmesg

    memory = open_memory(paths)
    for warning in memory.warnings:
        warn(warning)
    yield from dmesg(memory, form)


def print_log(
    program: str,
    paths: Sequence[str],
    *,
    level: bool = False,
    caller: bool = False,
    utf8: bool = False,
) -> None:
    """Print the log on stdout; raises :class:`VmcoreError` after what it could read.

    Warnings go to stderr, before ``program``'s log.
    """
    from pykexec.crash.core_reading import VmcoreError
    from pykexec.crash.vmcore_dmesg import LineFormat

    try:
        say_bytes(
            read_log(
                paths,
                LineFormat(level, caller, utf8),
                lambda text: tell(program, f"warning: {text}"),
            )
        )
    except OutputError as error:
        if error.errno == errno.EPIPE:
            raise  # nobody reads on: that ends the program by itself
        message = f"cannot write the log: {os.strerror(error.errno)}"
        raise VmcoreError(message, EXIT_WRITE) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``vmcore-dmesg``; returns the exit code."""
    chosen: set[str] = set()
    operands: list[str] = []
    try:
        for name, value in scan(sys.argv[1:] if arguments is None else arguments, OPTIONS):
            if name == "help":
                say(usage(), end="")
                return EXIT_OK
            if name == "version":
                from pykexec import __version__

                say_line(f"{PROGRAM} (pykexec) {__version__}")
                return EXIT_OK
            if name:
                chosen.add(name)
            else:
                operands.append(value or "")
        if not operands:
            raise UsageError("a core file is needed, none is given")
        print_log(
            PROGRAM,
            operands,
            level="level" in chosen,
            caller="caller" in chosen,
            utf8="utf8" in chosen,
        )
    except PykexecError as error:
        return report(PROGRAM, error)
    return EXIT_OK
