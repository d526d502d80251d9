"""How an arm64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/arm64/kernel/kexec_image.c ("image_load") and machine_kexec_file.c
("load_other_segments").
"""

from __future__ import annotations

from pykexec.boot.tree.file_placement import FilePlacement

file_placement = FilePlacement(
    kernel="the lowest free place, a multiple of 2 MiB",
    core_header="the highest free place above the kernel, a multiple of 64 KiB",
    initrd="the lowest free place above the kernel, within 32 GiB of its gigabyte",
    tree="the highest free place above the kernel, a multiple of 2 MiB; there is no purgatory",
).rules
