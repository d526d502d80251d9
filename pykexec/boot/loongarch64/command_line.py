"""What a loongarch64 kernel is told: a command line, which is a segment of its own. Pure.

Linux arch/loongarch/kernel/machine_kexec.c, "machine_kexec_prepare": of the segments the running
kernel takes the first whose data begin with ``kexec``, and copies 4096 bytes of it. The word stays
in the line. Where the initrd is, and in a capture kernel memory and the core header, are words of
the line too, each with address and size in another order: init/do_mounts_initrd.c,
"early_initrdmem"; arch/loongarch/kernel/setup.c, "early_parse_mem"; kernel/elfcorehdr.c,
"setup_elfcorehdr".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.command_line import add_words, kernel_words, key_of, split_words
from pykexec.values.errors import CommandLineError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

COMMAND_LINE_SIZE = 4096
"""Bytes with the NUL: Linux arch/loongarch/include/uapi/asm/setup.h."""
PREFIX = b"kexec"
"""By which the running kernel knows the segment."""
_PLACE_OF_INITRD = frozenset({"initrd", "initrdmem"})
"""Where an earlier load put it; by now other things lie there."""
_NOT_FOR_CRASH = frozenset({"mem", "elfcorehdr"})
"""A capture kernel adds each ``mem=`` to its memory: another one is the crashed kernel's."""


def without_told(cmdline: bytes, *, crash: bool) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the line without what an earlier load has told, and the words that are left out.

    A line that is used again begins with the word by which the running kernel found it.
    """
    words = kernel_words(cmdline)
    never = _PLACE_OF_INITRD | (_NOT_FOR_CRASH if crash else frozenset())
    out = [word for word in words if word in (PREFIX, PREFIX + b"_file") or key_of(word) in never]
    if not out:
        return cmdline, ()
    whole = split_words(cmdline)
    kept = [word for at, word in enumerate(whole) if at >= len(words) or word not in out]
    return b" ".join(kept), tuple(out)


def tell(
    cmdline: bytes,
    *,
    initrd: Range | None,
    regions: Iterable[Range] = (),
    elfcorehdr: Range | None = None,
    nokaslr: bool = False,
) -> bytes:
    """Return the whole line.

    Raises :class:`CommandLineError` where it is too long.
    """
    words = [f"mem={item.size:#x}@{item.start:#x}" for item in regions]
    if elfcorehdr is not None:
        words.append(f"elfcorehdr={elfcorehdr.size:#x}@{elfcorehdr.start:#x}")
    if initrd is not None:
        words.append(f"initrd={initrd.start:#x},{initrd.size:#x}")
    if nokaslr and b"nokaslr" not in kernel_words(cmdline):
        words.append("nokaslr")
    line = add_words(PREFIX + (b" " + cmdline if cmdline else b""), tuple(map(str.encode, words)))
    if len(line) >= COMMAND_LINE_SIZE:
        over = len(line) - COMMAND_LINE_SIZE + 1
        raise CommandLineError(
            f"the command line is {counted(len(line), 'byte')} long with what the kernel is told "
            f"in it, loongarch64 kernels take at most {COMMAND_LINE_SIZE - 1} (COMMAND_LINE_SIZE)",
            hint=f"shorten it by {counted(over, 'byte')}",
        )
    return line


def segment_data(line: bytes) -> bytes:
    """Return the segment's data: as many bytes as the running kernel copies."""
    return line.ljust(COMMAND_LINE_SIZE, b"\0")
