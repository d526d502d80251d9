"""Builds a multiboot kernel that says on the serial port what it was told."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.toolchain import MISSING, find_toolchain

SOURCE = Path(__file__).with_name("multiboot_kernel.c")
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
    return None if find_toolchain() else MISSING


def build_kernel(version: int, work: Path) -> Path:
    """Build the kernel with a header of ``version`` in the directory ``work``."""
    script, built = work / "link.ld", work / "kernel.o"
    script.write_text(LINK_SCRIPT)
    linked = work / f"multiboot{version}"
    toolchain = find_toolchain()
    assert toolchain, MISSING
    compiler, linker = toolchain
    compile_ = [compiler, *FLAGS, f"-DVERSION={version}", "-c", str(SOURCE), "-o", str(built)]
    for command in (compile_, [linker, "-T", str(script), str(built), "-o", str(linked)]):
        subprocess.run(command, check=True)
    return linked
