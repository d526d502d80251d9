"""x86: hashing by the processor's SHA instructions, in the emulator and on the processor itself."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from unicorn import UC_HOOK_CODE

from pykexec.purgatory_objects.digest_table import DigestTable
from tests.needs import unavailable
from tests.purgatory import native_hashing
from tests.purgatory.bench import MEMORY, noise
from tests.purgatory.emulator_x86 import CR4_OSFXSR, CR4_PAE, X86Machine
from tests.purgatory.sha_x86 import (
    CR0_EM,
    CR0_TS,
    FXSR,
    GENERAL_PROTECTION,
    INVALID_OPCODE,
    SHA,
    SSE2,
    SSE4_1,
    SSSE3,
    VIRTUALIZATION,
    VMM_COMMUNICATION,
    ShaUnit,
)
from tests.purgatory.test_purgatory_damage import MISMATCH, PIECE, Tried

RIGHT = "pykexec purgatory: SHA-256 is right\n"
SIZES = (1, 55, 56, 63, 64, 65, 119, 120, 1000, PIECE)
"""Around the ends of SHA-256's blocks, and many of them."""
SEGMENTS = {MEMORY + 0x1_0000 * i + i % 4 * 4: noise(size, i) for i, size in enumerate(SIZES)}

CR0_PE, CR0_ET, CR0_NE, CR0_WP = 1, 1 << 4, 1 << 5, 1 << 16
CR4_MCE = 1 << 6
IDT = (0, 0x1234_0000, 0x77, 0)
"""Of the old kernel: nothing is there any more."""

both = pytest.mark.parametrize("arch", ["x86_64", "i386"])
if_asking_works = pytest.mark.parametrize(
    "vector", [None, INVALID_OPCODE, GENERAL_PROTECTION, VIRTUALIZATION, VMM_COMMUNICATION]
)


def tried_on(arch: str, segments: dict[int, bytes], **others: Any) -> tuple[Tried, X86Machine]:
    """Return a purgatory and its machine, whose processor is asked for what it has."""
    tried = Tried(arch, segments, **others)
    assert isinstance(tried.machine, X86Machine)
    return tried, tried.machine


@both
class TestInstructions:
    def test_any_length_is_hashed_right(self, arch: str) -> None:
        tried, machine = tried_on(arch, SEGMENTS)
        unit = ShaUnit(machine)
        tried.enter()
        assert RIGHT in machine.text
        assert unit.asked == [0, 1, 7]
        assert unit.executed > sum(SIZES) // 64 * 56

    def test_what_changed_is_found(self, arch: str) -> None:
        tried, machine = tried_on(arch, SEGMENTS)
        ShaUnit(machine)
        start = max(SEGMENTS)
        tried.flip(start + PIECE - 1, 7)
        said = tried.run()
        assert MISMATCH + f"  {start:#x}, {PIECE} bytes, of the segment at {start:#x}, " in said
        assert "  1 of 10 pieces is not what it was.\n" in said

    def test_what_a_byte_takes(self, arch: str) -> None:
        """Of a page more, in the same number of pieces."""
        taken = []
        for size in (PIECE, 2 * PIECE):
            table = DigestTable(((MEMORY, size),), 2 * PIECE, (sha256(bytes(size)).digest(),))
            tried, machine = tried_on(arch, {MEMORY: bytes(size)}, table=table)
            ShaUnit(machine)
            count = 0

            def step(*_: object) -> None:
                nonlocal count
                count += 1

            machine.uc.hook_add(UC_HOOK_CODE, step)
            tried.enter()
            assert RIGHT in machine.text
            taken.append(count)
        each = (taken[1] - taken[0]) / PIECE
        print(f"purgatory {arch}: {each:.2f} instructions for a byte, by SHA instructions")
        assert 1 < each <= 4


@both
class TestControlRegisters:
    @if_asking_works
    @pytest.mark.parametrize("cr0", [0, CR0_EM | CR0_TS | CR0_NE | CR0_WP])
    @pytest.mark.parametrize("cr4", [0, CR4_MCE, CR4_OSFXSR])
    def test_they_are_what_they_were(
        self, arch: str, vector: int | None, cr0: int, cr4: int
    ) -> None:
        """With the instructions, and where CPUID is an exception."""
        _, machine = tried_on(arch, {MEMORY: noise(100)})
        cr0 |= machine.register("cr0") | CR0_PE | CR0_ET
        machine.set("cr0", cr0)
        machine.set("idtr", IDT)
        unit = ShaUnit(machine, vector=vector)
        machine.set("cr4", CR4_PAE | cr4)
        machine.run(cr4=CR4_PAE | cr4)
        assert RIGHT in machine.text
        assert bool(unit.executed) is (vector is None)
        assert machine.register("cr4") == CR4_PAE | cr4
        assert machine.register("cr0") == cr0
        assert machine.idt == IDT


@both
@pytest.mark.parametrize(
    ("leaf", "register", "bit"),
    [(1, 2, SSSE3), (1, 2, SSE4_1), (1, 3, FXSR), (1, 3, SSE2), (7, 1, SHA), (0, 0, 1)],
)
def test_a_processor_without_does_without(arch: str, leaf: int, register: int, bit: int) -> None:
    """Where one of the bits is missing, or the last leaf is 6."""
    tried, machine = tried_on(arch, {MEMORY: noise(100)})
    unit = ShaUnit(machine)
    answer = [*unit.leaves[leaf]]
    answer[register] &= ~bit
    unit.leaves[leaf] = (answer[0], answer[1], answer[2], answer[3])
    tried.enter()
    assert RIGHT in machine.text
    assert unit.executed == 0


@both
@if_asking_works
def test_the_stack_suffices(arch: str, vector: int | None) -> None:
    tried, machine = tried_on(arch, {MEMORY: noise(1000)})
    ShaUnit(machine, vector=vector)
    machine.watch_writes()
    tried.enter()
    top = tried.base + tried.obj.memsz
    lowest = min(at for at, _ in machine.accesses if top - PIECE <= at < top)
    print(f"purgatory {arch}: {top - lowest} bytes of stack")
    assert top - lowest < PIECE // 4


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return both architectures' programs."""
    if lacking := native_hashing.missing():
        unavailable(lacking, "CLANG")
    work = tmp_path_factory.mktemp("native")
    return {arch: native_hashing.build(arch, work) for arch in native_hashing.ARCHITECTURES}


@both
@pytest.mark.parametrize("by_instructions", [False, True], ids=["portable", "instructions"])
def test_natively_it_equals_hashlib(
    programs: dict[str, Path], arch: str, by_instructions: bool
) -> None:
    """The same code as an ordinary program, on this processor."""
    if by_instructions and (lacks := native_hashing.flags_missing()):
        unavailable(f"this processor has no SHA instructions: it lacks {', '.join(lacks)}", "SHA")
    if refusal := native_hashing.refusal(programs[arch]):
        unavailable(refusal, "SHA")
    for size in (*SIZES, 0, 1 << 20, (3 << 20) + 7):
        data = noise(size, seed=size)
        hashed = native_hashing.run(programs[arch], data, by_instructions=by_instructions)
        assert hashed.digest == sha256(data).digest(), size
