"""Words for the capture kernel alone, by ``bootargs_append``. Pure.

The boot loader starts a capture kernel with its own command line; Linux 6.10 and later add these
words to it, on pseries (arch/powerpc/kernel/fadump.c, "fadump_append_bootargs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.fadump.size import Platform
from pykexec.crash.fadump.state import Reason, why_not_enabled
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import CommandLineError, UsageError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.crash.fadump.state import FadumpState

LINE_MAX = 2047
"""Bytes of a command line without its NUL: COMMAND_LINE_SIZE is 2048 in arch/powerpc."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What is to be written, and the line that comes of it. All are bytes of a command line."""

    value: bytes
    line: bytes
    """The capture kernel's, if the boot loader starts the entry that the running kernel has."""
    left: int
    """How many bytes still have room."""


def addition_of(words: str, cmdline: bytes) -> Addition:
    """Return what ``words`` come to behind ``cmdline``, with single blanks between them.

    Raises :class:`UsageError` for no words, and :class:`CommandLineError` for too many: what does
    not fit would be cut off without a word.
    """
    value = b" ".join(words.encode("utf-8", "surrogateescape").split())
    if not value:
        raise UsageError(
            "there are no words to append", hint="an empty value would append a blank; give words"
        )
    if b"\0" in value:
        raise UsageError("a command line cannot have a NUL in it")
    line = cmdline + b" " + value
    if len(line) > LINE_MAX:
        room = max(LINE_MAX - len(cmdline) - 1, 0)
        raise CommandLineError(
            f"{counted(len(value), 'byte')} do not fit behind the running command line: it has "
            f"{len(cmdline)}, so there is room for {room} of {LINE_MAX}",
            hint="leave words out",
        )
    return Addition(value, line, LINE_MAX - len(line))


def why_no_addition(state: FadumpState) -> Reason | None:
    """Say why words cannot be appended; None: they can."""
    if state.dump_active:
        return Reason(
            "a dump is active, and its kernel takes no words for the next one",
            "save the dump, then 'pykexec fadump release'",
        )
    if not state.enabled:
        return why_not_enabled(state)
    if state.words_are_lost:
        return Reason(
            "their place was released with the memory of the dump, and the kernel would write them "
            "over whatever lies there now",
            "reboot or kexec first; or put them on the boot loader's command line",
        )
    if state.bootargs_append is not None:
        return None
    if state.platform is Platform.POWERNV:
        return Reason(
            "there is no bootargs_append on powernv",
            "put the words on the boot loader's command line, or do without",
        )
    return Reason(
        "the running kernel has no bootargs_append: it is older than Linux 6.10, or found no place "
        "for the words (dmesg: 'Could not setup area to pass additional parameters!')",
        "boot with another crashkernel=: with a hash page table the words need memory of the "
        "first block, between the boot memory and 768 MiB",
    )
