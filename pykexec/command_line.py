"""The kernel command line as words, and what of the running one is reused. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_NEVER_REUSED = ("BOOT_IMAGE", "initrd", "elfcorehdr", "kexec_jump_back_entry")
"""What a boot loader or a kexec loader added about the running kernel's own files."""
_NEVER_FOR_CRASH = (*_NEVER_REUSED, "crashkernel")
"""A capture kernel has no memory to reserve: it lives in what was reserved for it."""


@dataclass(frozen=True, slots=True)
class ReusedCommandLine:
    """A command line made from the running one, and the words that were left out of it."""

    cmdline: bytes
    dropped: tuple[bytes, ...]


def split_words(cmdline: bytes) -> tuple[bytes, ...]:
    """Split at white space outside double quotes, as the kernel does (lib/cmdline.c, next_arg)."""
    words: list[bytes] = []
    word = bytearray()
    quoted = False
    for byte in cmdline:
        if byte == ord('"'):
            quoted = not quoted
        if not quoted and byte in b" \t\n\r\v\f":
            if word:
                words.append(bytes(word))
            word.clear()
        else:
            word.append(byte)
    if word:
        words.append(bytes(word))
    return tuple(words)


def key_of(word: bytes) -> str:
    """Return what stands before ``=``, with ``-`` read as ``_`` as the kernel does."""
    return word.split(b"=", 1)[0].strip(b'"').replace(b"-", b"_").decode("utf-8", "replace")


def reuse(running: bytes, appended: bytes, *, for_crash: bool = False) -> ReusedCommandLine:
    """Take over the running command line, then append.

    Left out are words about the running kernel's own files, ``crashkernel=`` for a capture
    kernel, and every word that is appended again just so: a chain of jumps does not make
    the line longer.
    """
    never = _NEVER_FOR_CRASH if for_crash else _NEVER_REUSED
    again = set(split_words(appended))
    kept: list[bytes] = []
    dropped: list[bytes] = []
    for word in split_words(running):
        gone = key_of(word) in never or word in again
        (dropped if gone else kept).append(word)
    parts = [*kept, appended] if appended else kept
    return ReusedCommandLine(b" ".join(parts), tuple(dropped))
