"""The kernel command line as words, and what of the running one is reused. Pure.

Linux Documentation/admin-guide/kernel-parameters.rst: the kernel reads the words before ``--``,
what follows is for init. Words that are added therefore go in front of it.
"""

from __future__ import annotations

import re

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import CommandLineError

_NEVER_REUSED = frozenset({"BOOT_IMAGE", "initrd", "elfcorehdr", "kexec_jump_back_entry"})
"""What a boot loader or a kexec loader added about the running kernel's own files."""
_NEVER_FOR_CRASH = frozenset({"crashkernel"})
"""A capture kernel has no memory to reserve: it lives in what was reserved for it."""
TAKES_MEMORY = frozenset(
    {
        *("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma"),
        *("cma", "cma_pernuma", "numa_cma", "swiotlb", "reserve_mem"),
        *("log_buf_len", "trace_buf_size", "slub_debug", "slab_debug", "page_owner", "kmemleak"),
    }
)
"""What is chosen for a whole machine, and would take a capture kernel's memory: Linux
Documentation/admin-guide/kernel-parameters.txt."""
_ADDED_FOR_CRASH = frozenset({"acpi_rsdp", "mem"})
"""What a kexec loader added for the running kernel if that is a capture kernel."""
_END = b"--"
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class ReusedCommandLine:
    """A command line made from the running one, and what became of which words."""

    cmdline: bytes
    kept: tuple[bytes, ...]
    dropped: tuple[bytes, ...]
    added: tuple[bytes, ...]
    too_large: tuple[bytes, ...] = ()
    """Those of ``dropped`` that would take a capture kernel's memory."""


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


_NUMBER = re.compile(rb"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_UNITS = b"KMGTPE"


def memparse(text: bytes) -> tuple[int, bytes] | None:
    """Read a number with a unit from the start of ``text``; return it, and what is behind it.

    As the kernel's function of that name (lib/cmdline.c): hexadecimal with 0x, octal with 0, one
    letter of K M G T P E in either case, modulo 2^64. None where there is neither number nor
    letter; a letter alone is 0.
    """
    found = _NUMBER.match(text)
    value, end = 0, 0
    if found is not None:
        digits, end = found[0], found.end()
        base = 16 if digits[:2].lower() == b"0x" else 8 if digits.startswith(b"0") else 10
        for digit in digits[2:] if base == 16 else digits:
            value = value * base + int(chr(digit), base) & _MASK
    unit = _UNITS.find(text[end : end + 1].upper()) if end < len(text) else -1
    if unit >= 0:
        value <<= 10 * (unit + 1)
        end += 1
    return (value & _MASK, text[end:]) if end else None


def parameters(cmdline: bytes) -> list[tuple[str, bytes]]:
    """Return (name, value) of each word that the kernel reads itself, without quotes.

    The value of a word without ``=`` is empty.
    """
    found = []
    for word in kernel_words(cmdline):
        value = word.partition(b"=")[2].removesuffix(b'"').removeprefix(b'"')
        found.append((key_of(word), value))
    return found


def switched(cmdline: bytes, name: str) -> bool | None:
    """Tell whether ``name=`` switches something on; None where no word says it.

    As the kernel's kstrtobool() reads it (lib/kstrtox.c): by the first letter or two. A value that
    is neither changes nothing.
    """
    found = None
    for key, value in parameters(cmdline):
        if key == name:
            head = value[:2].lower()
            if head[:1] in (b"y", b"t", b"1") or head == b"on":
                found = True
            elif head[:1] in (b"n", b"f", b"0") or head == b"of":
                found = False
    return found


def kernel_words(cmdline: bytes) -> tuple[bytes, ...]:
    """Return the words that the kernel reads itself."""
    return _divide(cmdline)[0]


def add_words(cmdline: bytes, words: tuple[bytes, ...]) -> bytes:
    """Add words for the kernel. What is there stays as it is if they can go to the end."""
    own, for_init = _divide(cmdline)
    if for_init:
        return b" ".join((*own, *words, _END, *for_init))
    if cmdline.count(b'"') % 2:
        return b" ".join((*own, *words))
    return b" ".join((*((cmdline,) if cmdline else ()), *words))


def _divide(cmdline: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the words for the kernel and, without the ``--`` between them, those for init.

    A quote that is never closed reaches to the end of the line. It is closed, so that it
    does not swallow what is added.
    """
    words = tuple(word + b'"' if word.count(b'"') % 2 else word for word in split_words(cmdline))
    end = words.index(_END) if _END in words else len(words)
    return words[:end], words[end + 1 :]


def reuse(
    running: bytes,
    appended: bytes,
    *,
    for_crash: bool = False,
    needed: frozenset[str] = frozenset(),
) -> ReusedCommandLine:
    """Take over the running command line, then append.

    Left out are words about the running kernel's own files, what was added for it as a
    capture kernel if it is one, for a capture kernel ``crashkernel=`` and what takes memory
    (:data:`TAKES_MEMORY` without ``needed``), and every word that is appended again just so: a
    chain of jumps does not make the line longer. What is repeated in the running line stays
    repeated.
    """
    old, old_init = _divide(running)
    new, new_init = _divide(appended)
    never = _NEVER_REUSED | (_NEVER_FOR_CRASH if for_crash else frozenset())
    if any(key_of(word) == "elfcorehdr" for word in old):
        never |= _ADDED_FOR_CRASH
        if b"memmap=exactmap" in old:
            never |= {"memmap"}
    takers = TAKES_MEMORY - needed if for_crash else frozenset()
    too_large = tuple(word for word in old if key_of(word) in takers and word not in new)
    never |= takers
    kept = [word for word in old if key_of(word) not in never and word not in new]
    kept_init = [word for word in old_init if word not in new_init]
    dropped = [word for word in old if key_of(word) in never or word in new]
    dropped += [word for word in old_init if word in new_init]
    for_init = (*kept_init, *new_init)
    return ReusedCommandLine(
        b" ".join((*kept, *new, *((_END, *for_init) if for_init else ()))),
        (*kept, *kept_init),
        tuple(dropped),
        (*new, *new_init),
        too_large,
    )


def encode_cmdline(text: str) -> bytes:
    """Encode a command line as UTF-8, and surrogate escapes as the bytes that they stand for.

    Raises :class:`~pykexec.errors.CommandLineError` for what UTF-8 has no bytes for.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise CommandLineError(
            f"the command line has {text[error.start]!r}, for which UTF-8 has no bytes",
            hint="give the command line as bytes",
        ) from error
