"""Every way in which pykexec refuses, with its exit code and its hint.

Library code raises these and never prints or exits; the front doors print
``PROGRAM: MESSAGE`` and ``hint: HINT`` on stderr and exit with ``exit_code``.
The codes are those that scripts know from kexec(8): 1 for wrong usage or nothing to
execute, 253 where kexec_file_load alone was allowed and is of no use, 254 without a crash
kernel region, 255 for everything else that failed. 252 is the launcher's, without Python.
"""

from __future__ import annotations

import os

from pykexec.values.data_classes import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pykexec.values.wishes import Considered, Placed, Placement

EXIT_OK = 0
EXIT_USAGE = 1
EXIT_NO_FILE_CALL = 253
EXIT_FAILURE = 255
EXIT_NO_CRASH_REGION = 254
EXIT_NO_PYTHON = 252
"""Of the launcher, which says it: no program in Python is there to tell."""


class PykexecError(Exception):
    """Base of all refusals: a message with the numbers, and what to do about it.

    Each is one line, and so is each of the ``details`` that are printed below the message.
    """

    exit_code = EXIT_FAILURE
    details: tuple[str, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.aftermath = ""
        """What is loaded now, where a load has failed and that is known."""
        self.answered = False
        """A document that tells of it is printed already, where JSON was asked for."""
        self.warnings: tuple[str, ...] = ()
        """What a load that has failed had warned of until then."""

    def __str__(self) -> str:
        """Return the message, with what was said to it on the way up, and the details."""
        return "\n  ".join((self.message, *self.details))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the constructor, whose arguments differ from class to class."""
        return _bare, (type(self), self.args), self.__dict__


def _bare(kind: type[PykexecError], words: tuple[object, ...]) -> PykexecError:
    """Return an error of that class to which nothing has happened yet."""
    return kind.__new__(kind, *words)


class OutputError(PykexecError):
    """Standard output cannot be written; carries the errno."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"cannot write the output: {os.strerror(errno)}")
        self.errno = errno


class UsageError(PykexecError):
    """The command line or an argument is wrong."""

    exit_code = EXIT_USAGE
    names_help = True
    """Without a hint of its own, the programs point to ``--help``."""


class OptionError(UsageError):
    """An option is well understood, and cannot be honoured: the help would tell nothing new."""

    names_help = False


class HandoverLostError(OptionError):
    """What is preserved for the next kernel would be lost, and nobody has said that it may be."""

    exit_code = EXIT_FAILURE


class ConsoleError(UsageError):
    """A serial port that cannot be; kexec(8) has its own exit code for it."""

    exit_code = EXIT_FAILURE


class NoKernelError(UsageError):
    """A load without a kernel to load; kexec(8) has its own exit code for it."""

    exit_code = EXIT_FAILURE


class NotLoadedError(PykexecError):
    """There is no loaded image to execute, or nobody can tell whether there is one."""

    exit_code = EXIT_USAGE


class DeniedError(PykexecError):
    """A privilege is missing; raised before the kernel is asked."""


class ImageError(PykexecError):
    """A file is not what it should be.

    ``offset`` is the position in the file at which it was noticed, in bytes, and ``field``
    the specification's name of what stands there, where there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.field = field


class TrailingDataError(ImageError):
    """Something else follows what is compressed: the file may be several in one."""


class MissingLibraryError(PykexecError):
    """A shared library that a compression needs is not installed; names the package."""


class MissingProgramError(PykexecError):
    """A program that is called is not installed; names the package."""


class SimulationError(PykexecError):
    """A plan cannot be tried out in an emulated machine; says what such a machine lacks."""


class CommandLineError(PykexecError):
    """The kernel command line is too long for the new kernel, or cannot be one."""


class NoRoomError(PykexecError):
    """No free memory satisfies a wish; carries the wish and every range looked at."""

    def __init__(
        self,
        message: str,
        *,
        role: str,
        wish: Placement,
        considered: Sequence[Considered],
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.role = role
        self.wish = wish
        self.considered = tuple(considered)
        self.placed: tuple[Placed, ...] = ()
        """What had found its place before, in ascending order of address."""
        self.beside: tuple[str, ...] = ()
        """Roles of those that leave no place, wherever they are put; none: it has none alone."""
        self.excess: int | None = None
        """By how many bytes it is too large, wherever the others lie; None where that is not it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A named invariant that a plan breaks, with the numbers."""

    invariant: str
    detail: str


class NoCrashRegionError(PykexecError):
    """There is nowhere to put a crash kernel; kexec(8) has its own exit code for it."""

    exit_code = EXIT_NO_CRASH_REGION


class FadumpError(PykexecError):
    """Firmware-assisted dump is not there, or not in a state for what was asked."""


class SessionError(PykexecError):
    """A session of a live update is not there, or not in a state for what was asked."""


class VerifyError(PykexecError):
    """A plan breaks an invariant and is refused; carries all violations."""

    def __init__(self, violations: Sequence[Violation], *, hint: str | None = None) -> None:
        lines = [f"{violation.invariant}: {violation.detail}" for violation in violations]
        super().__init__("the plan is refused: " + "; ".join(lines), hint=hint)
        self.violations = tuple(violations)


class MachineError(PykexecError):
    """A fact about the machine cannot be read or makes no sense; names the file."""


class HiddenMemoryError(MachineError):
    """The machine does not show where its memory is to who asks; other facts it may."""


class KernelRejectedError(PykexecError):
    """A system call failed; carries its name and errno beside the explanation."""

    def __init__(self, message: str, *, call: str, errno: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.errno = errno


class FileCallUnusableError(KernelRejectedError):
    """kexec_file_load is not there, or does not take this kernel or these arguments at all."""

    exit_code = EXIT_NO_FILE_CALL
