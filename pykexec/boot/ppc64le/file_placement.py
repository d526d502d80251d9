"""How a ppc64le kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/powerpc/kexec/elf_64.c ("elf64_load") and file_load_64.c.
"""

from __future__ import annotations

from pykexec.boot.tree.file_placement import FilePlacement

_LOWEST = "the lowest free place"
_HIGHEST = "the highest free place in the first block of memory"

file_placement = FilePlacement(
    kernel=f"{_LOWEST} in the first block of memory, a multiple of 64 KiB",
    core_header=f"{_LOWEST} behind the copy of the first 64 KiB",
    purgatory=f"{_HIGHEST}; it is the running kernel's own",
    initrd=_LOWEST,
    tree=f"{_HIGHEST}; it is that of the boot, with the processors of now",
).rules
