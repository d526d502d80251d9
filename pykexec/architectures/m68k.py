"""m68k: Motorola's 68020 to 68060 with an MMU. Pure.

Planned for recorded machines only: no distribution whose kernels are tried here has one.
"""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import Architecture, Identity, Options

M68K = Architecture(
    name="m68k",
    machines=("m68k",),
    room="m68k",
    family="m68k",
    image_arch="m68k",
    word_bits=32,
    big_endian=True,
    identity=Identity(elf=4, u_boot=12),
    elf_programs=True,
    # Linux arch/m68k/include/uapi/asm/setup.h.
    command_line_size=256,
    has_tree=False,
    options=Options(image_types=MappingProxyType({"elf-m68k": "ELF32"})),
    # Linux arch/m68k/Kconfig selects no ARCH_SUPPORTS_CRASH_DUMP.
    has_crash_kernels=False,
)
