"""Plans for ELF programs that are not Linux."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.x86.elf import ELF_BOOT_MAGIC, build_boot_notes, ip_checksum
from pykexec.errors import ImageError, NoRoomError, UsageError
from pykexec.planning.invariants import SEGMENT_INVARIANTS, invariants_of, verify
from pykexec.planning.plans import ElfArgs, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.registers import Registers
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.render.text import plan_text
from pykexec.values.calls import Target
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.elf import ElfSpec, Load, build_elf, build_x86_vmlinux, noise
from tests.builders.plans import RAM, build_facts, build_plan

PROGRAM = build_elf()
PROGRAM_32 = build_elf(ElfSpec(bits=32, machine=3))
VMLINUX = build_x86_vmlinux()


def planned(kernel: bytes = PROGRAM, **more: Any) -> SegmentPlan:
    facts = more.pop("facts", None) or build_facts()
    made = build_plan(facts, **{"kernel": kernel, "initrd": None, **more})
    assert verify(made, facts) == []
    return made


def registers_of(made: SegmentPlan) -> Registers:
    segment = made.segment(Role.PURGATORY)
    assert segment is not None
    return read_parameters(load(made.arch), bytes(segment.data)).registers


def notes_in(data: bytes) -> list[tuple[int, bytes]]:
    magic, size, _, count = struct.unpack_from("<IIHH", data)
    assert magic == ELF_BOOT_MAGIC
    assert ip_checksum(data[:size]) == 0
    at, found = 12, []
    while at < size:
        namesz, descsz, kind = struct.unpack_from("<III", data, at)
        assert namesz == 0
        found.append((kind, data[at + 12 : at + 12 + descsz]))
        at += 12 + (descsz + 3 & -4)
    assert len(found) == count
    return found


def kernels(made: SegmentPlan) -> list[Range]:
    return [segment.dest for segment in made.segments if segment.role is Role.KERNEL]


def test_a_64_bit_program_finds_boot_notes() -> None:
    made = planned()
    notes = made.segment(Role.BOOT_NOTES)
    assert notes is not None
    assert registers_of(made) == Entry64Registers(
        rdi=notes.dest.start, rsp=notes.dest.end, rip=0x200010
    )
    kinds = dict(notes_in(bytes(notes.data)))
    assert kinds[2] == b"pykexec\0"
    assert kinds[4] == b"ro quiet\0"
    assert kernels(made) == [Range(0x200000, 0x203000)]
    assert invariants_of(made) == SEGMENT_INVARIANTS
    assert "The new kernel is told no memory map." in plan_text(made)


def test_a_32_bit_program_finds_them_on_its_stack() -> None:
    made = planned(PROGRAM_32)
    notes, registers = made.segment(Role.BOOT_NOTES), registers_of(made)
    assert notes is not None
    assert isinstance(registers, Entry32Registers)
    start = notes.dest.start
    assert (registers.eip, registers.eax, registers.ebx) == (0x200010, ELF_BOOT_MAGIC, start)
    assert registers.esp is not None
    stack = made.bytes_at(Range(registers.esp, notes.dest.end))
    assert stack is not None
    assert struct.unpack("<4I", stack) == (0, start, 0, 0)
    assert all(segment.dest.end <= 4 * GIB for segment in made.segments)


@pytest.mark.parametrize("kernel", [PROGRAM, PROGRAM_32, VMLINUX])
def test_nothing_is_handed_over(kernel: bytes) -> None:
    made = planned(kernel, elf_args=ElfArgs.NONE, cmdline=b"")
    assert made.segment(Role.BOOT_NOTES) is None
    registers = registers_of(made)
    assert registers.entry == made.kernel_entry
    assert registers.argument == 0


def test_linux_is_recognised_and_the_user_overrules() -> None:
    assert planned(VMLINUX).segment(Role.PARAMETERS)
    assert planned(VMLINUX, elf_args=ElfArgs.ELF).segment(Role.BOOT_NOTES)
    assert planned(PROGRAM, elf_args=ElfArgs.LINUX).segment(Role.PARAMETERS)


def test_segments_keep_their_distance() -> None:
    """Two pieces far apart, and two that share a page."""
    loads = (
        Load(0x200000, noise(0x800)),
        Load(0x200900, noise(0x900, 2), 0x1000),
        Load(0x40000000, noise(0x10, 3)),
    )
    made = planned(build_elf(ElfSpec(loads)))
    assert kernels(made) == [Range(0x200000, 0x202000), Range.sized(0x40000000, 0x1000)]
    first = made.segment(Role.KERNEL)
    assert first is not None
    expected = noise(0x800) + bytes(0x100) + noise(0x900, 2)
    assert bytes(first.data) == expected


def test_an_odd_start_is_filled_up() -> None:
    made = planned(build_elf(ElfSpec((Load(0x200123, noise(16)),), entry=0x200123)))
    kernel = made.segment(Role.KERNEL)
    assert kernel is not None
    assert kernel.dest == Range.sized(0x200000, 0x1000)
    assert bytes(kernel.data) == bytes(0x123) + noise(16)


def test_only_a_relocatable_program_moves() -> None:
    facts = build_facts(ram=(RAM[0], Range(16 * MIB, GIB)))
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        planned(facts=facts)
    made = planned(build_elf(ElfSpec(type=3)), facts=facts)
    (place,) = kernels(made)
    assert place.start == 16 * MIB
    assert made.kernel_entry == place.start + 0x10


def test_a_program_moves_by_a_multiple_of_its_alignment() -> None:
    """What it aligns itself by its own addresses stays aligned."""
    facts = build_facts(ram=(RAM[0], Range(16 * MIB, GIB)))
    loads = (Load(0x301000, noise(16), align=0x200000), Load(0x400000, noise(16, 2)))
    made = planned(build_elf(ElfSpec(loads, entry=0x301004, type=3)), facts=facts)
    moved = made.kernel_entry - 0x301004
    assert moved > 0
    assert not moved % 0x200000
    kernel = made.segment_at(made.kernel_entry)
    assert kernel is not None
    for item in loads:
        at = item.paddr + moved - kernel.dest.start
        assert bytes(kernel.data[at : at + 16]) == item.data


@pytest.mark.parametrize(
    ("kernel", "more", "words"),
    [
        (PROGRAM, {"initrd": b"x"}, "an initrd cannot be handed to an ELF program"),
        (PROGRAM, {"target": Target.CRASH}, "cannot be a crash kernel"),
        (PROGRAM, {"elf_args": ElfArgs.NONE}, "--args-none hands no command line over"),
        (PROGRAM, {"entry_bits": 32}, "of 64 bits has no entry point of 32 bits"),
    ],
)
def test_refuses(kernel: bytes, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(kernel, **more)
    assert words in caught.value.message


def test_a_64_bit_program_is_out_of_reach_of_a_32_bit_kernel() -> None:
    with pytest.raises(ImageError, match="cannot be entered from a 32-bit kernel"):
        planned(facts=replace(build_facts(), arch="i386"))


def test_args_are_for_elf_files() -> None:
    with pytest.raises(UsageError, match="--args-elf is for ELF files, and the kernel is a bzIm"):
        build_plan(elf_args=ElfArgs.ELF)
    assert build_plan(elf_args=ElfArgs.LINUX).segment(Role.PARAMETERS)


def test_checksums_are_those_of_ip() -> None:
    """RFC 1071, section 3, with its bytes in pairs; and what adds up to nothing."""
    assert ip_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF & ~0xF2DD
    assert ip_checksum(build_boot_notes(b"x" * 70000)) == 0
