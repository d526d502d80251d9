"""Architectures that are known by name alone: nothing is planned for them. Pure."""

from __future__ import annotations

from pykexec.architectures.architecture import Architecture, Identity

OTHERS = (
    Architecture("riscv32", machines=("riscv32",), word_bits=32, identity=Identity(pe=0x5032)),
    Architecture("powerpc", machines=("ppc",), word_bits=32, identity=Identity(elf=20, u_boot=7)),
    Architecture("ppc64", machines=("ppc64",), section_bits=24),
)
