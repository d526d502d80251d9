"""Builds a multiboot kernel that says on the serial port what it was told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("multiboot_kernel.c")
COMPILER, LINKER = "clang-19", "ld.lld-19"
FLAGS = (
    *("--target=i386-unknown-none-elf", "-march=i486", "-O1", "-ffreestanding", "-fPIE"),
    *("-fno-stack-protector", "-mgeneral-regs-only", "-Wall", "-Werror"),
    *("-fdirect-access-external-data", "-fvisibility=hidden"),
)
LINK_SCRIPT = """
ENTRY(_start)
SECTIONS {
	. = 0x200000;
	.text : { *(.multiboot) *(.text.entry) *(.text*) *(.rodata*) *(.data*) *(.got*) }
	.bss : { *(.bss*) }
	/DISCARD/ : { *(.comment) *(.note*) *(.eh_frame) }
}
"""


def tools_missing() -> str | None:
    """Return what to install where the compiler or the linker is missing, else None."""
    missing = [tool for tool in (COMPILER, LINKER) if shutil.which(tool) is None]
    if not missing:
        return None
    return f"{' and '.join(missing)} not found (Debian packages clang-19 and lld-19)"


def build_kernel(version: int, work: Path) -> Path:
    """Build the kernel with a header of ``version`` in the directory ``work``."""
    script, built = work / "link.ld", work / "kernel.o"
    script.write_text(LINK_SCRIPT)
    linked = work / f"multiboot{version}"
    compile_ = [COMPILER, *FLAGS, f"-DVERSION={version}", "-c", str(SOURCE), "-o", str(built)]
    for command in (compile_, [LINKER, "-T", str(script), str(built), "-o", str(linked)]):
        subprocess.run(command, check=True)
    return linked
