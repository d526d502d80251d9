"""What every purgatory says of memory that was overwritten: which piece, and what is there."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import pytest
from unicorn import UC_HOOK_CODE

from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.digest_table import (
    DIGEST_SIZE,
    PIECES_MAX,
    DigestTable,
)
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.x86 import Entry32Registers
from pykexec.values.consoles import PcConsole
from tests.purgatory.bench import (
    ARM,
    BASE,
    BENCHES,
    CAUSES,
    LOONGARCH64,
    MEMORY,
    PPC64LE,
    noise,
    table_for,
)
from tests.purgatory.emulator import Machine
from tests.purgatory.test_purgatory_x86_exits import LOW, LegacyMachine

PIECE = 4096
SIZES = (3 * PIECE + 1000, 8, 2 * PIECE, 100, PIECE)
"""Bytes of segments: the last piece shorter, less than a piece, whole pieces."""
SEGMENTS = {MEMORY + 0x1_0000 * i: noise(size, seed=i) for i, size in enumerate(SIZES)}
PIECES = [
    (start, offset, min(PIECE, len(data) - offset))
    for start, data in SEGMENTS.items()
    for offset in range(0, len(data), PIECE)
]
"""A segment's start, where in it the piece begins, bytes of the piece."""
VERIFYING = f"pykexec purgatory: verifying 5 segments, {sum(SIZES)} bytes, in 9 pieces of 4 KiB\n"
MISMATCH = "pykexec purgatory: SHA-256 mismatch, memory was overwritten since the load\n"

OTHERS = {bench.arch: bench for bench in (*BENCHES, ARM)}
ARCHITECTURES = (*OTHERS, "i386")
FLIPS_OF_SLOW = {LOONGARCH64.arch: 20, PPC64LE.arch: 10}
"""Where each is a process."""
MANY_FLIPS = int(os.environ.get("PYKEXEC_FLIPS", "0"))
"""Flips that are tried beside; without it 2,500, and a tenth of that where each is a process."""

each_architecture = pytest.mark.parametrize("arch", ARCHITECTURES)
each_fast_architecture = pytest.mark.parametrize(
    "arch",
    [
        pytest.param(arch, marks=pytest.mark.full if arch in FLIPS_OF_SLOW else ())
        for arch in ARCHITECTURES
    ],
)


class Tried:
    """One machine, in which memory is damaged again and again."""

    def __init__(self, arch: str, segments: dict[int, bytes], **others: Any) -> None:
        """Put a purgatory that expects ``segments``, and these, into a machine."""
        self.arch, self.segments, self.obj = arch, segments, load(arch)
        self.params = self._parameters(**{"table": table_for(segments), **others})
        self.base = BASE if arch in OTHERS else LOW
        self.built = build_purgatory(self.obj, self.base, self.params)
        self.machine = self._machine()
        for start, data in segments.items():
            self.machine.put(start, data)
        self.data_start = self.obj.symbols["sha256_digest"].offset & -PIECE

    def _parameters(self, **others: Any) -> PurgatoryParameters:
        if self.arch in OTHERS:
            bench = OTHERS[self.arch]
            return bench.covering({}, **{"console": bench.serial, **others})
        registers = Entry32Registers(eip=0x10_0000)
        console = PcConsole(console_serial=True)
        return PurgatoryParameters(**{"registers": registers, "console": console, **others})

    def _machine(self) -> Machine:
        if self.arch in OTHERS:
            machine: Machine = OTHERS[self.arch].machine(self.obj, self.base, self.built)
            return machine
        return LegacyMachine(self.arch, self.base, self.params)

    def run(self) -> str:
        """Let the purgatory begin anew; return what it says. It must not enter the kernel."""
        self.enter()
        assert self.machine.halted
        return self.machine.text

    def enter(self) -> None:
        """Let the purgatory begin anew."""
        self.machine.uart.sent.clear()
        self.machine.run()

    def restore(self) -> None:
        """Make everything right again, what the purgatory has written too."""
        for start, data in self.segments.items():
            self.machine.put(start, data)
        written = self.built.ljust(self.obj.memsz, b"\0")
        self.machine.put(self.base + self.data_start, written[self.data_start :])

    def flip(self, address: int, bit: int) -> None:
        """Turn one bit around."""
        self.machine.put(address, bytes([self.machine.get(address, 1)[0] ^ 1 << bit]))


def shown(content: bytes) -> str:
    """Return what is printed of a piece's first bytes."""
    lines = ""
    for at in range(0, min(len(content), 64), 16):
        part = content[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines += f"    {part.hex(' '):47}  {text}\n"
    return lines


@pytest.mark.parametrize(
    ("arch", "flips"),
    [
        *((arch, FLIPS_OF_SLOW.get(arch, 50)) for arch in ARCHITECTURES),
        *(
            pytest.param(
                arch,
                MANY_FLIPS or (250 if arch in FLIPS_OF_SLOW else 2500),
                marks=pytest.mark.full,
            )
            for arch in ARCHITECTURES
        ),
    ],
)
def test_each_flipped_bit_is_found_in_its_piece(arch: str, flips: int) -> None:
    tried = Tried(arch, SEGMENTS)
    chance = random.Random(flips)
    for _ in range(flips):
        tried.restore()
        start = chance.choice([*SEGMENTS])
        at, bit = chance.randrange(len(SEGMENTS[start])), chance.randrange(8)
        tried.flip(start + at, bit)
        offset = at - at % PIECE
        size = next(item[2] for item in PIECES if item[:2] == (start, offset))
        assert tried.run() == (
            VERIFYING
            + MISMATCH
            + f"  {start + offset:#x}, {size} bytes, of the segment at {start:#x}, "
            f"{len(SEGMENTS[start])} bytes\n"
            + shown(tried.machine.get(start + offset, size))
            + "  1 of 9 pieces is not what it was.\n"
            + CAUSES
        )
    tried.restore()
    tried.enter()
    assert tried.machine.text.startswith(VERIFYING + "pykexec purgatory: SHA-256 is right\n")


@each_fast_architecture
def test_each_piece_is_told(arch: str) -> None:
    """Its first and its last bit."""
    tried = Tried(arch, SEGMENTS)
    for start, offset, size in PIECES:
        for at, bit in ((0, 0), (size - 1, 7)):
            tried.restore()
            tried.flip(start + offset + at, bit)
            said = tried.run()
            assert f"\n  {start + offset:#x}, {size} bytes, of the segment at {start:#x}" in said
            assert said.count(", of the segment at ") == 1


@each_fast_architecture
def test_a_changed_table_is_told(arch: str) -> None:
    """It is not used then: where it says that memory is there may be none."""
    tried = Tried(arch, SEGMENTS)
    symbols, chance = tried.obj.symbols, random.Random(1)
    table, digest = symbols["sha256_table"].offset, symbols["sha256_digest"].offset
    used = len(tried.params.table.encode())
    header = used - len(PIECES) * DIGEST_SIZE
    places = [table + header - 8, table + header - 5, table + header - 4, table + header - 1]
    places += [digest, digest + 31, table, table + used - 1]
    places += [table + chance.randrange(used) for _ in range(20)]
    for at in places:
        tried.restore()
        tried.flip(tried.base + at, chance.randrange(8))
        assert tried.run() == (
            "pykexec purgatory: SHA-256 mismatch, the table of digests was overwritten\n"
            f"  {tried.base + table:#x}, the purgatory's own memory; nothing else was looked at.\n"
            + CAUSES
        )


@each_architecture
def test_what_is_changed_all_over_is_told_in_few_lines(arch: str) -> None:
    """The first sixteen pieces are shown, the others named."""
    segments = {MEMORY: noise(40 * PIECE)}
    tried = Tried(arch, segments)
    tried.machine.put(MEMORY, b"scribbled over. " * (40 * PIECE // 16))
    said = tried.run()
    assert said.count(f", 4096 bytes, of the segment at {MEMORY:#x}, 163840 bytes\n") == 40
    assert said.count("  scribbled over. \n") == 4 * 16
    assert said.endswith("\n  40 of 40 pieces are not what they were.\n" + CAUSES)
    assert said.count("\n") == 1 + 1 + 40 + 4 * 16 + 1 + 3
    assert max(map(len, said.split("\n"))) < 80


def test_a_table_that_is_full() -> None:
    """The last entry is used like the others, and the lines stay bounded."""
    segments = {MEMORY: noise(PIECES_MAX * PIECE - 1)}
    tried = Tried("x86_64", segments)
    assert len(tried.params.table.digests) == PIECES_MAX
    tried.machine.put(MEMORY, bytes(PIECES_MAX * PIECE))
    said = tried.run()
    last = MEMORY + (PIECES_MAX - 1) * PIECE
    assert f"\n  {last:#x}, 4095 bytes, of the segment at {MEMORY:#x}, 1.8 MiB\n" in said
    assert said.count("\n") == 1 + 1 + PIECES_MAX + 4 * 16 + 1 + 3


@each_architecture
def test_how_far_it_is(arch: str) -> None:
    segments = {MEMORY: noise(3 * PIECE + 1), MEMORY + 0x1_0000: noise(2 * PIECE)}
    tried = Tried(arch, segments, progress_step=2 * PIECE)
    tried.enter()
    assert tried.machine.text.split("pykexec purgatory: ")[1:4] == [
        "verifying 2 segments, 20481 bytes, in 6 pieces of 4 KiB\n",
        "hashed 8192 bytes of 20481 bytes\n",
        # The end of a segment comes before the next step does.
        "hashed 16385 bytes of 20481 bytes\n",
    ]
    assert "of 20481 bytes\npykexec purgatory: SHA-256 is right\n" in tried.machine.text


@each_architecture
def test_pieces_larger_than_the_segments(arch: str) -> None:
    """They are whole then, of whatever size."""
    table = replace(table_for(SEGMENTS, 1 << 40))
    tried = Tried(arch, SEGMENTS, table=table)
    tried.enter()
    assert "in 5 pieces of 1048576 MiB\npykexec purgatory: SHA-256 is right\n" in tried.machine.text


PORTABLE = {"x86_64": 57.2, "aarch64": 32.5, "riscv64": 58.4, "i386": 61.3}
"""Instructions for a byte, of the code that came before this."""


@pytest.mark.parametrize("arch", PORTABLE)
def test_what_a_byte_takes(arch: str) -> None:
    """Of a page more, in the same number of pieces; the time of a check goes into this."""
    taken = []
    for size in (PIECE, 2 * PIECE):
        table = DigestTable(((MEMORY, size),), 2 * PIECE, (bytes(32),))
        tried = Tried(arch, {MEMORY: bytes(size)}, table=table)
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1

        tried.machine.uc.hook_add(UC_HOOK_CODE, step)
        tried.enter()
        taken.append(count)
    each = (taken[1] - taken[0]) / PIECE
    print(f"purgatory {arch}: {each:.2f} instructions for a byte")
    assert each <= PORTABLE[arch]
