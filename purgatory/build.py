"""Build the purgatories that pykexec carries, and prove of each that it may be placed anywhere.

``python purgatory/build.py`` writes pykexec/purgatory_objects; ``--check`` builds again and
compares. README.md has the contract.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import freestanding
from elftools.elf.elffile import ELFFile
from freestanding import (
    GENERAL_REGISTERS,
    MANIFEST,
    BuildError,
    Linked,
    Product,
    Tools,
    digest_of,
    run,
    run_command_line,
)

HERE = Path(__file__).resolve().parent
OBJECTS = HERE.parent / "pykexec" / "purgatory_objects"
SCHEMA = "pykexec.purgatory_objects.parameters/1"

PAGE_SIZE = 4096
"""Bytes; code, data and stack share none. Each architecture's smallest page."""

COMPILE_FLAGS = (
    *freestanding.COMPILE_FLAGS,
    "-O2",
    # Physical address 0 is memory like any other: the crash backup starts there.
    "-fno-delete-null-pointer-checks",
    "-ffile-prefix-map=.=purgatory",
    "-Iinclude",
)
LINK_FLAGS = (*freestanding.LINK_FLAGS, "-Tflat.ld")

CONTRACT = (
    "purgatory_start",
    "stack_end",
    "sha256_table",
    "sha256_digest",
    "skip_checks",
    "progress_step",
    "backup_src_start",
    "backup_src_size",
    "backup_dst_start",
)
"""Symbols that every purgatory has. Their sizes are checked by what writes them."""

NOT_CODE = (".data", ".table", ".bss")
"""Sections that are written to, the stack excepted. The file ends with the first."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one purgatory is built, beside what all share."""

    flags: tuple[str, ...]
    directories: tuple[str, ...]
    """Below arch/: all C and assembly files in them."""
    contract: tuple[str, ...]
    """Its symbols beside :data:`CONTRACT`."""
    objection: Callable[[int], str | None] = lambda word: None
    """What speaks against an instruction."""
    length: Callable[[int], int] | None = None
    """Bytes of an instruction, by its first one, where not all have four. Such are big endian, and
    what is objected to has six bytes, the last of them zeros."""
    exempt: tuple[str, ...] = ()
    """Functions in which nothing is objected to: they are called only where they may run."""


def a64_objection(word: int) -> str | None:
    """Return why an A64 instruction could not run with the MMU off and vector registers trapped.

    Encodings: Arm Architecture Reference Manual (DDI 0487), C4.1, "A64 instruction set encoding".
    """
    group = word >> 25 & 0xF
    matrix = group == 0b0000 and word >> 31
    if matrix or group == 0b0010 or group & 0b0111 == 0b0111:
        return "vector or floating point"
    if group & 0b0101 == 0b0100 and word >> 26 & 1:
        return "load or store of a vector register"
    exclusive = word & 0x3F80_0000 == 0x0800_0000
    compare_and_swap = word & 0x3FA0_0000 == 0x08A0_0000
    atomic = word & 0x3F20_0C00 == 0x3820_0000
    if exclusive or compare_and_swap or atomic:
        return "atomic access, for which Device memory has no monitor"
    if word & 0xFFFF_FFE0 == 0xD50B_7420:
        return "dc zva, which faults on Device memory"
    return None


A32_SYSTEM = {
    # mcr and mrc with the operand register masked. What entry.S does:
    0xEE07_0F15: "invalidate the instruction cache",
    0xEE07_0F9A: "data synchronization barrier",
    0xEE07_0F95: "instruction synchronization barrier",
    0xEE01_0F10: "control register of SVC mode, written",
    0xEE11_0F10: "control register of SVC mode, read",
    0xEE81_0F10: "control register of HYP mode, written",
    0xEE91_0F10: "control register of HYP mode, read",
    # What caches.c asks first, and processors of all ages answer.
    0xEE10_0F10: "MIDR",
    0xEE10_0F30: "CTR",
    # What it and switch.S do then, from ARMv7 on.
    0xEE07_0F36: "invalidate a line of data",
    0xEE07_0F3E: "clean and invalidate a line of data",
    0xEE07_0FD5: "invalidate branch predictions",
    0xEE08_0F17: "invalidate translations",
    0xEE88_0F17: "invalidate translations of HYP mode",
    0xEE02_0F10: "TTBR0, written",
    0xEE12_0F10: "TTBR0, read",
    0xEE02_0F50: "TTBCR, written",
    0xEE12_0F50: "TTBCR, read",
    0xEE03_0F10: "DACR, written",
    0xEE13_0F10: "DACR, read",
    0xEE82_0F50: "HTCR, written",
    0xEE92_0F50: "HTCR, read",
    0xEE8A_0F12: "HMAIR0, written",
    0xEE9A_0F12: "HMAIR0, read",
}
A32_PAIRS = {0xEC40_0F42: "HTTBR, written", 0xEC50_0F42: "HTTBR, read"}
"""mcrr and mrrc, with both operand registers masked."""


def a32_objection(word: int) -> str | None:
    """Return why an A32 instruction may not run on every ARMv5TE with the MMU and caches off.

    Encodings: Arm Architecture Reference Manual for ARMv7-A (DDI 0406), A5 "ARM Instruction Set
    Encoding".
    """
    if word >> 28 == 0xF:
        return "unconditional: vector, barrier, preload or a change of state"
    kind = word >> 25 & 7
    if kind in {6, 7}:
        known = (word & ~0xF000_F000 | 0xE000_0000) in A32_SYSTEM
        known = known or (word & ~0xF00F_F000 | 0xE000_0000) in A32_PAIRS
        return None if known else "coprocessor, vector, floating point or a system call"
    if kind == 3 and word & 0x10:
        return "of ARMv6 or later"
    if word & 0x0FB0_0FF0 == 0x0100_0090 or word & 0x0F80_0FF0 == 0x0180_0F90:
        return "exclusive or swap, for which Strongly-ordered memory has no monitor"
    if word & 0x0FB0_0000 == 0x0300_0000:
        return "movw or movt, of ARMv6T2"
    return None


RISCV_CSRS = {0x104: "sie", 0x105: "stvec", 0x141: "sepc", 0x142: "scause", 0x143: "stval"}
"""Control and status registers that the purgatory may use: where an exception leads, and what it
was."""
RISCV_CALLS = {0x0000_0073: "ecall", 0x1050_0073: "wfi"}
RISCV_BASE = {
    0x03: "load",
    0x0F: "fence",
    0x13: "op-imm",
    0x17: "auipc",
    0x1B: "op-imm-32",
    0x23: "store",
    0x33: "op",
    0x37: "lui",
    0x3B: "op-32",
    0x63: "branch",
    0x67: "jalr",
    0x6F: "jal",
    0x73: "system",
}
"""Major opcodes of RV64I, M, Zicsr and Zifencei."""


def riscv_objection(word: int) -> str | None:
    """Return why an instruction may not run on every hart as the old kernel leaves it.

    Encodings: RISC-V Instruction Set Manual, Volume I, "RV32/64G Instruction Set Listings".
    """
    form = RISCV_BASE.get(word & 0x7F)
    if form is None:
        return "beyond RV64IM: compressed, atomic, floating point, vector or unknown"
    if form == "system":
        csr = word >> 12 & 7
        needed = word >> 20 in RISCV_CSRS if csr else word in RISCV_CALLS
        return None if needed else "a privileged instruction that is not needed"
    if not _in_base(form, minor=word >> 12 & 7, top=word >> 25):
        return "of an extension that not every hart has"
    used = set()
    if form not in {"store", "branch"}:
        used.add(word >> 7 & 31)
    if form not in {"auipc", "lui", "jal"}:
        used.add(word >> 15 & 31)
    if form in {"store", "branch", "op", "op-32"}:
        used.add(word >> 20 & 31)
    return "uses gp or tp, which are the old kernel's" if used & {3, 4} else None


def _in_base(form: str, minor: int, top: int) -> bool:
    """Tell whether RV64I or M has an operation, by its funct3 and funct7."""
    if form in {"op", "op-32"}:
        return top in {0, 1} or (top == 0x20 and minor in {0, 5})
    if form in {"op-imm", "op-imm-32"} and minor in {1, 5}:
        # RV64 shifts by six bits, and by five where it works on words.
        kind = top & ~1 if form == "op-imm" else top
        return kind == 0 or (kind == 0x20 and minor == 5)
    return True


PPC_BASE = frozenset((7, 8, *range(10, 17), 18, *range(20, 22), *range(23, 31), *range(32, 46)))
"""Primary opcodes of fixed-point arithmetic, branches, loads and stores, and of nothing else."""
PPC_BRANCH = frozenset((0, 16, 18, 33, 129, 150, 193, 225, 257, 289, 417, 449, 528))
"""Extended opcodes of primary opcode 19: by LR and CTR, on condition fields, isync and rfid."""
PPC_FIXED = frozenset(
    (
        *(0, 4, 8, 9, 10, 11, 19, 21, 23, 24, 26, 27, 28, 32, 40, 53, 55, 58, 60, 68, 73, 75),
        *(87, 104, 119, 124, 136, 138, 144, 149, 151, 181, 183, 200, 202, 215, 232, 233, 234),
        *(235, 247, 266, 279, 284, 311, 316, 341, 343, 373, 375, 378, 407, 412, 439, 444, 457),
        *(459, 476, 489, 491, 506, 508, 532, 534, 536, 539, 598, 660, 662, 790, 792, 794, 824),
        *(826, 827, 918, 922, 954, 986),
    )
)
"""Extended opcodes of primary opcode 31: fixed-point arithmetic, loads and stores, sync."""
PPC_PRIVILEGED = frozenset((83, 339, 467))
"""mfmsr, mfspr and mtspr."""
PPC_REGISTERS = {1: "XER", 8: "LR", 9: "CTR", 26: "SRR0", 27: "SRR1"}
"""Special purpose registers that the purgatory may use."""
PPC_HYPERVISOR_CALL = 0x4400_0022


def ppc_objection(word: int) -> str | None:
    """Return why an instruction may not run as the old kernel leaves a processor of Power ISA 2.07.

    Encodings: Power ISA, Version 2.07 B, Appendix F, "Power ISA Instruction Set Sorted by Opcode".
    """
    opcode, extended = word >> 26, word >> 1 & 0x3FF
    if not word:
        # The compiler puts three such words behind each function.
        return None
    if opcode == 31:
        if extended in PPC_PRIVILEGED:
            register = (word >> 16 & 31) | (word >> 6 & 0x3E0)
            needed = extended == 83 or register in PPC_REGISTERS
            return None if needed else "a special purpose register that is not needed"
        known = extended in PPC_FIXED or extended & 31 == 15
    elif opcode == 19:
        known = extended in PPC_BRANCH
    elif opcode in {58, 62}:
        # A load or store of four words has the next form.
        known = word & 3 < (3 if opcode == 58 else 2)
    else:
        known = opcode in PPC_BASE or word == PPC_HYPERVISOR_CALL
    return None if known else "vector, floating point, atomic, of a later processor or unknown"


LOONGARCH_BASE = (
    (0x00, 0x00, "arithmetic"),
    (0x02, 0x03, "arithmetic with a constant"),
    (0x10, 0x1F, "constants and addresses"),
    (0x24, 0x2A, "loads and stores"),
    (0x40, 0x47, "branches on zero"),
    (0x4C, 0x6F, "jumps and branches"),
)
"""First bytes of instructions, both inclusive, that every processor of 64 bits has."""
LOONGARCH_INDEXED = range(0x3800_0000, 0x3830_0000)
LOONGARCH_BARRIERS = {0x3872_0000: "dbar 0", 0x3872_8000: "ibar 0"}
LOONGARCH_PRIVILEGED = {0x0648_8000: "idle 0", 0x0406_0C39: "csrwr $s2, DMW3"}
LOONGARCH_SYSCALL = range(0x002B_0000, 0x002B_8000)


def loongarch_objection(word: int) -> str | None:
    """Return why an instruction may not run as the old kernel leaves a processor.

    Encodings: LoongArch Reference Manual, volume 1, appendix B, "Table of instruction encoding".
    """
    if word in LOONGARCH_BARRIERS or word in LOONGARCH_PRIVILEGED:
        return None
    first = word >> 24
    known = word in LOONGARCH_INDEXED or any(
        low <= first <= high for low, high, _ in LOONGARCH_BASE
    )
    if known and word not in LOONGARCH_SYSCALL:
        return None
    return "floating point, vector, atomic, privileged or unknown"


Z_PLAIN = frozenset(
    (7, *range(0x10, 0x20), *range(0x40, 0x51), *range(0x54, 0x60), *range(0x88, 0x90))
) | frozenset(
    (0x90, *range(0x91, 0x93), *range(0x94, 0x99), *range(0xBD, 0xC0), *range(0xD1, 0xD8))
)
"""First bytes of fixed-point arithmetic, shifts, branches, loads and stores."""
Z_HALVES = {
    0xA5: range(16),
    0xA7: (*range(10), *range(10, 16)),
    0xC0: (0, 1, *range(4, 16)),
    0xC2: (0, 1, 4, 5, *range(8, 16)),
    0xC4: (2, *range(4, 9), *range(11, 16)),
    0xC6: (*range(4, 9), *range(10, 16)),
}
"""Second halves of the second byte, behind these."""
Z_SECONDS = {
    0x01: (0x0E,),
    0xB2: (0x22, 0xB0, 0xB2),
    0xB9: (
        *(*range(0x02, 0x0E), *range(0x14, 0x20), 0x20, 0x21, 0x26, 0x27, 0x30, 0x31),
        *(0x3E, *range(0x80, 0x8A), *range(0x94, 0x9A)),
    ),
    0xE5: (0x44, 0x48, 0x4C, 0x54, 0x55, 0x58, 0x59, 0x5C, 0x5D),
}
"""Second bytes behind these: in 64-bit mode, the condition code, the list of facilities, an
extended PSW, in registers, KIMD, with constants."""
Z_LASTS = {
    0xE3: (*range(0x02, 0x3F), *range(0x46, 0x5F), *range(0x70, 0x9A)),
    0xEB: (
        *(*range(0x04, 0x0E), 0x1C, 0x1D, 0x20, 0x21, 0x24, 0x26, 0x2C, *range(0x51, 0x58)),
        *(0x6A, 0x6E, 0x7A, 0x7E, 0x80, 0x81, 0x90, 0x96),
    ),
    0xEC: (
        *(0x44, 0x45, *range(0x54, 0x58), 0x64, 0x65, 0x76, 0x77, *range(0x7C, 0x80)),
        *(0xE4, 0xE5, 0xF6, 0xF7, *range(0xFC, 0x100)),
    ),
}
"""Last bytes behind these."""
Z_PRIVILEGED = (0x83, 0xAE)
"""diag and sigp, which the reset and the mode take."""


def z_length(first: int) -> int:
    """Return how many bytes an instruction has: z/Architecture Principles of Operation, 5."""
    return (2, 4, 4, 6)[first >> 6]


def z_objection(word: int) -> str | None:
    """Return why an instruction may not run on every z10 as the old kernel leaves it.

    Encodings: z/Architecture Principles of Operation (SA22-7832), appendix B, "Lists of
    Instructions".
    """
    first, second, last = word >> 40, word >> 32 & 0xFF, word & 0xFF
    known = (
        first in Z_PLAIN
        or first in Z_PRIVILEGED
        or second & 15 in Z_HALVES.get(first, ())
        or second in Z_SECONDS.get(first, ())
        or last in Z_LASTS.get(first, ())
    )
    return None if known else "vector, floating point, atomic, of a later processor or unknown"


ARCHITECTURES = {
    "aarch64": Architecture(
        flags=(
            "--target=aarch64-unknown-none-elf",
            # The oldest processor, without its atomics.
            "-march=armv8-a",
            GENERAL_REGISTERS,
            # With the MMU off all memory is Device memory: other accesses fault there.
            "-mstrict-align",
        ),
        directories=("uart", "aarch64"),
        contract=(
            "console_sink",
            "console_kind",
            "console_width",
            "console_reg_shift",
            "entry_regs",
        ),
        objection=a64_objection,
        exempt=("sha256_by_instructions",),
    ),
    "arm": Architecture(
        flags=(
            "--target=armv5te-unknown-none-eabi",
            # The oldest processor that kernels of this century run on, without Thumb.
            "-march=armv5te",
            "-marm",
            "-mfloat-abi=soft",
            # With the MMU off all memory is Strongly-ordered: other accesses fault there.
            "-mno-unaligned-access",
        ),
        directories=("uart", "arm"),
        contract=(
            "console_sink",
            "console_kind",
            "console_width",
            "console_reg_shift",
            "entry_regs",
        ),
        objection=a32_objection,
    ),
    "i386": Architecture(
        flags=(
            "--target=i386-unknown-none-elf",
            # The oldest processor that Linux still knew in 2012.
            "-march=i486",
            GENERAL_REGISTERS,
            "-fcf-protection=none",
        ),
        directories=("x86", "i386"),
        contract=(
            "console_serial",
            "console_vga",
            "serial_base",
            "serial_baud",
            "exit_mode",
            "entry32_regs",
            "entry16_regs",
            "return_digits",
            "return_slot",
        ),
    ),
    "loongarch64": Architecture(
        flags=(
            "--target=loongarch64-unknown-none-elf",
            # Every processor of 64 bits has these, and not all take an access across.
            "-march=loongarch64",
            "-mabi=lp64s",
            "-msoft-float",
            "-mno-lsx",
            "-mstrict-align",
        ),
        directories=("uart", "loongarch64"),
        contract=(
            "console_sink",
            "console_kind",
            "console_width",
            "console_reg_shift",
            "entry_regs",
        ),
        objection=loongarch_objection,
    ),
    "ppc64le": Architecture(
        flags=(
            "--target=powerpc64le-unknown-none-elf",
            # The oldest processor that runs Linux in little endian.
            "-mcpu=power8",
            "-msoft-float",
            "-mno-altivec",
            "-mno-vsx",
            # Data lies within 2 GiB of the TOC's base, wherever that is.
            "-mcmodel=medium",
        ),
        directories=("ppc64le",),
        contract=(
            "kernel_head",
            "run_at_load",
            "console_kind",
            "console_unit",
            "entry_regs",
        ),
        objection=ppc_objection,
        # Not executed here, and executed in big endian.
        exempt=("kernel_head", "return_from_opal"),
    ),
    "riscv64": Architecture(
        flags=(
            "--target=riscv64-unknown-none-elf",
            # Every processor that runs Linux has these. Without compressed instructions it runs on
            # those that have none, all have one size, and the entry is aligned as stvec wants it.
            "-march=rv64im_zicsr_zifencei",
            "-mabi=lp64",
            "-mcmodel=medany",
            # gp is the old kernel's: nothing is reached from there.
            "-mno-relax",
            "-msmall-data-limit=0",
            # Firmware emulates other accesses, if it does, and slowly.
            "-mstrict-align",
        ),
        directories=("uart", "riscv64"),
        contract=(
            "console_sink",
            "console_kind",
            "console_width",
            "console_reg_shift",
            "entry_regs",
        ),
        objection=riscv_objection,
    ),
    "s390x": Architecture(
        flags=(
            "--target=s390x-unknown-none-elf",
            # The oldest processor that the compiler knows.
            "-march=z10",
            "-msoft-float",
        ),
        directories=("s390x",),
        contract=("entry_regs",),
        objection=z_objection,
        length=z_length,
    ),
    "x86_64": Architecture(
        flags=(
            "--target=x86_64-unknown-none-elf",
            # The oldest processor, and no SSE: CR4.OSFXSR is clear, so it would fault.
            "-march=x86-64",
            GENERAL_REGISTERS,
            "-mno-red-zone",
            "-fcf-protection=none",
        ),
        directories=("x86", "x86_64"),
        contract=(
            "console_serial",
            "console_vga",
            "serial_base",
            "serial_baud",
            "exit_mode",
            "entry32_regs",
            "entry16_regs",
            "entry64_regs",
            "return_digits",
            "return_slot",
            "return_tables",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Start:
    """How a program is built that stands for the old kernel in an emulated machine."""

    flags: tuple[str, ...]
    address: int
    """Where it is linked to run."""


STARTS = {
    "loongarch64": Start(
        flags=(
            "--target=loongarch64-unknown-none-elf",
            "-march=loongarch64",
            "-mabi=lp64s",
            "-msoft-float",
        ),
        # Firmware loads it anywhere, at the start of a page.
        address=0x100000,
    ),
    "ppc64le": Start(
        flags=("--target=powerpc64-unknown-none-elf",),
        # Firmware is put there, and entered at 0x100.
        address=0,
    ),
    "riscv64": Start(
        flags=(
            "--target=riscv64-unknown-none-elf",
            "-march=rv64i_zicsr_zifencei",
            "-mabi=lp64",
            "-mno-relax",
        ),
        # In front of the program at 0x801ff000 is the header that QEMU loads it by.
        address=0x801FEF80,
    ),
    "s390x": Start(
        flags=("--target=s390x-unknown-none-elf", "-march=z10"),
        # It begins with the PSW that QEMU starts it by.
        address=0,
    ),
    "x86_64": Start(
        flags=("--target=x86_64-unknown-none-elf", "-march=x86-64"),
        address=0x10000,
    ),
}
"""By architecture: start/ARCH.S. Where none is needed, the emulator starts at the purgatory."""


def directories(architecture: Architecture) -> list[Path]:
    """Return where the sources are."""
    return [HERE / "common", *(HERE / "arch" / name for name in architecture.directories)]


def sources(architecture: Architecture) -> list[Path]:
    """Return what is compiled, in the order of linking."""
    found: list[Path] = []
    for directory in directories(architecture):
        found += sorted(path for path in directory.iterdir() if path.suffix in {".c", ".S"})
    return found


def source_digest(architecture: Architecture) -> str:
    """Return the SHA-256 over everything that the result depends on, the compiler excepted."""
    files = [HERE / "flat.ld", *sources(architecture)]
    for directory in (HERE / "include", *directories(architecture)):
        files += directory.glob("*.h")
    contents = {path.relative_to(HERE).as_posix(): path.read_bytes() for path in files}
    return digest_of([flags_of(architecture), LINK_FLAGS], contents)


def flags_of(architecture: Architecture) -> list[str]:
    """Return the compiler's flags."""
    includes = [f"-Iarch/{name}" for name in architecture.directories]
    return [*architecture.flags, *COMPILE_FLAGS, *includes]


class Purgatory(Linked):
    """A linked purgatory, read back."""

    def end(self, name: str) -> int:
        """Return the offset of the first byte behind a section."""
        section = self.sections[name]
        return int(section["sh_addr"] + section["sh_size"])

    def check(self) -> None:
        """Refuse what could not be copied to any address and run there as it is."""
        super().check()
        unknown = self.sections.keys() - {".text", *NOT_CODE, ".stack"}
        if unknown:
            raise BuildError(f"sections that flat.ld does not place: {', '.join(sorted(unknown))}")
        entry = self.elf["e_entry"]
        if not 0 <= entry < self.end(".text"):
            raise BuildError(f"the entry {entry:#x} is not in the code")
        previous = 0
        for name, (start, end) in self.pages().items():
            if start != previous or end <= start or start % PAGE_SIZE or end % PAGE_SIZE:
                raise BuildError(f"{name} is not on pages of its own: {start:#x} to {end:#x}")
            previous = end

    def pages(self) -> dict[str, tuple[int, int]]:
        """Return the half-open ranges of offsets of code, data (with zeros) and stack."""
        data_end = max(self.end(name) for name in NOT_CODE if name in self.sections)
        return {
            "code": (self.sections[".text"]["sh_addr"], _page_up(self.end(".text"))),
            "data": (self.sections[".data"]["sh_addr"], _page_up(data_end)),
            "stack": (self.sections[".stack"]["sh_addr"], self.end(".stack")),
        }

    def instructions(self, length: Callable[[int], int] | None = None) -> Iterator[tuple[int, int]]:
        """Yield offset and word of each instruction; constants follow. ``length``: see above.

        In A32 code there are some behind each function, and mapping symbols tell of them (ELF for
        the Arm Architecture, "Mapping symbols").
        """
        text = self.sections[".text"].data()
        end = self.contract(["code_end"])["code_end"]["offset"]
        if length is not None:
            offset = 0
            while offset < end:
                size = length(text[offset])
                yield offset, int.from_bytes(text[offset : offset + size].ljust(6, b"\0"), "big")
                offset += size
            return
        text_index = self.elf.get_section_index(".text")
        marks = {
            symbol["st_value"]: symbol.name[1]
            for symbol in self.symbols
            if re.match(r"\$[adx]($|\.)", symbol.name) and symbol["st_shndx"] == text_index
        }
        a32, data = "a" in marks.values(), False
        for offset in range(0, end, 4):
            data = a32 and marks.get(offset, "d" if data else "") == "d"
            if not data:
                yield offset, int.from_bytes(text[offset : offset + 4], "little")

    def check_instructions(self, architecture: Architecture) -> None:
        """Refuse an instruction that is objected to, but in the functions that are exempt."""
        functions = self.contract(architecture.exempt).values()
        allowed = [range(item["offset"], item["offset"] + item["size"]) for item in functions]
        for offset, word in self.instructions(architecture.length):
            reason = architecture.objection(word)
            if reason and not any(offset in function for function in allowed):
                raise BuildError(f"instruction {word:#010x} at offset {offset:#x}: {reason}")

    def image(self) -> bytes:
        """Return the bytes of the file: code and data, not the zeros behind them."""
        image = bytearray(self.end(".data"))
        for name in (".text", ".data"):
            section = self.sections[name]
            image[section["sh_addr"] : self.end(name)] = section.data()
        return bytes(image)

    def contract(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """Return offset and size of each of the symbols ``names``, sorted by name."""
        found: dict[str, dict[str, int]] = {}
        for name in sorted(names):
            matching = [item for item in self.symbols if item.name == name]
            if len(matching) != 1:
                raise BuildError(f"{len(matching)} symbols are called {name}, needed: 1")
            found[name] = {"offset": matching[0]["st_value"], "size": matching[0]["st_size"]}
        return found


def _page_up(offset: int) -> int:
    return (offset + PAGE_SIZE - 1) & -PAGE_SIZE


def build(name: str, tools: Tools) -> tuple[bytes, dict[str, Any]]:
    """Build one purgatory; return its bytes and its entry in the manifest."""
    architecture = ARCHITECTURES[name]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "linked.elf"
        objects = tools.compile(
            HERE, sources(architecture), flags_of(architecture), Path(directory)
        )
        tools.link(HERE, objects, LINK_FLAGS, path)
        with path.open("rb") as stream:
            linked = Purgatory(ELFFile(stream))
            linked.check()
            linked.check_instructions(architecture)
            image = linked.image()
            sizes = {key: section["sh_size"] for key, section in linked.sections.items()}
            entry = {
                "file": f"{name}.bin",
                "sha256": hashlib.sha256(image).hexdigest(),
                "size": len(image),
                "memsz": linked.end(".stack"),
                "align": PAGE_SIZE,
                "entry": linked.elf["e_entry"],
                "pages": {key: list(value) for key, value in linked.pages().items()},
                "text_size": sizes[".text"],
                "data_size": sum(sizes.get(key, 0) for key in NOT_CODE),
                "symbols": linked.contract((*CONTRACT, *architecture.contract)),
                "source_sha256": source_digest(architecture),
                "compiler": tools.version,
                "flags": flags_of(architecture),
            }
    return image, entry


def build_start(name: str, tools: Tools) -> tuple[bytes, dict[str, Any]]:
    """Build one start program; return its bytes and its entry in the manifest."""
    start = STARTS[name]
    source = HERE / "start" / f"{name}.S"
    flags = [*start.flags, "--no-default-config", "-ffile-prefix-map=.=purgatory"]
    linking = [
        "-static",
        "--build-id=none",
        "--image-base=0",
        f"-Ttext={start.address:#x}",
        "-esimulation_start",
    ]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        linked, target = work / "start.elf", work / "start.o"
        compiling = [tools.compiler, *flags, "-c", str(source.relative_to(HERE))]
        run([*compiling, "-o", str(target)], HERE)
        run([tools.linker, *linking, str(target), "-o", str(linked)], HERE)
        with linked.open("rb") as stream:
            elf = ELFFile(stream)
            # The linker leaves empty ones of its own.
            sections = [section for section in elf.iter_sections() if section["sh_size"]]
            kept = [section for section in sections if section["sh_flags"] & 2]
            if [section["sh_addr"] for section in kept] != [start.address]:
                raise BuildError(f"start/{name}.S has more than one section")
            image = bytes(kept[0].data())
    digest = hashlib.sha256(json.dumps([flags, linking]).encode() + source.read_bytes())
    return image, {
        "file": f"start-{name}.bin",
        "sha256": hashlib.sha256(image).hexdigest(),
        "size": len(image),
        "source_sha256": digest.hexdigest(),
        "compiler": tools.version,
        "flags": flags,
    }


def build_all(tools: Tools) -> dict[str, bytes]:
    """Build everything; return the files of the objects' directory by name."""
    files: dict[str, bytes] = {}
    entries = {}
    for name in sorted(ARCHITECTURES):
        image, entries[name] = build(name, tools)
        files[entries[name]["file"]] = image
    starts = {}
    for name in sorted(STARTS):
        image, starts[name] = build_start(name, tools)
        files[starts[name]["file"]] = image
    manifest = {"schema": SCHEMA, "objects": entries, "starts": starts}
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


if __name__ == "__main__":
    sys.exit(
        run_command_line(
            sys.argv[1:],
            Product("purgatory", "purgatories", "purgatory/build.py", OBJECTS, build_all),
        )
    )
