"""What a command line needs so that a kernel is heard on the emulated machine's console. Pure.

Linux Documentation/admin-guide/serial-console.rst: messages go to each ``console=``, and what
init says to the last one. kernel-parameters.txt: ``quiet`` and a ``loglevel=`` below 7 leave out
the line in which the kernel says that it runs its init.
"""

from __future__ import annotations

import re

from pykexec.architectures import architecture_of
from pykexec.values.command_line import add_words, kernel_words, split_words
from pykexec.values.data_classes import dataclass

MUTING = re.compile(rb"quiet|loglevel=[0-6]")
_LOUD = b"loglevel=7"


@dataclass(frozen=True, slots=True)
class Audible:
    """A command line by which the new kernel is heard."""

    cmdline: bytes
    changes: tuple[str, ...]
    """What was done to it, each in a sentence without a full stop."""


def make_audible(cmdline: bytes, arch: str, *, says_init: bool = True) -> Audible:
    """Add the console, and take off what mutes; ``arch`` is that of the plan.

    With ``says_init`` it is by init's start that a good end is known; else what mutes stays. So
    does a line with a NUL, which no plan is made with.
    """
    changes: list[str] = []
    if b"\0" in cmdline:
        return Audible(cmdline, ())
    if says_init:
        cmdline, changes = _unmuted(cmdline)
    port = architecture_of(arch).simulated_tty
    if port and not _is_last_console(cmdline, port):
        word = b"console=" + port
        cmdline = add_words(cmdline, (word,))
        changes.append(f"{word.decode()} is added, which is where the new kernel is listened to")
    return Audible(cmdline, tuple(changes))


def _is_last_console(cmdline: bytes, port: bytes) -> bool:
    consoles = [word for word in kernel_words(cmdline) if word.startswith(b"console=")]
    return bool(consoles) and consoles[-1].split(b",")[0] == b"console=" + port


def _unmuted(cmdline: bytes) -> tuple[bytes, list[str]]:
    """Take the muting words off. A line without any comes back byte for byte."""
    count = len(kernel_words(cmdline))
    words = split_words(cmdline)
    muting = [word for word in words[:count] if MUTING.fullmatch(word)]
    if not muting:
        return cmdline, []
    changes = [f"{word.decode()} is taken off" for word in dict.fromkeys(muting)]
    changes[-1] += ": the new kernel would not say that it runs its init"
    kept = [word for word in words[:count] if word not in muting]
    cmdline = b" ".join((*kept, *words[count:]))
    if any(word != b"quiet" for word in muting):
        cmdline = add_words(cmdline, (_LOUD,))
        changes.append(f"{_LOUD.decode()} is added")
    return cmdline, changes
