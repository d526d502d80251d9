"""How a riscv64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/riscv/kernel/kexec_image.c ("image_load") and machine_kexec_file.c
("load_extra_segments").
"""

from __future__ import annotations

from pykexec.boot.tree.file_placement import FilePlacement

_HIGH = "the highest free place above the kernel"

file_placement = FilePlacement(
    kernel="the lowest free place, a multiple of text_offset",
    core_header=_HIGH,
    purgatory=f"{_HIGH}; it is the running kernel's own",
    initrd=_HIGH,
    tree=_HIGH,
).rules
