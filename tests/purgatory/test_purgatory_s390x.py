"""The purgatory of s390x: entered by a reset, called twice after a crash, and never mistaken."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.digest_table import DigestTable
from pykexec.purgatory_objects.parameters import (
    PurgatoryParameters,
    build_purgatory,
    read_parameters,
)
from pykexec.purgatory_objects.s390x import S390xRegisters
from tests.purgatory.emulator_s390x import PAGE, RETURN, STACK, Z

BASE = 0x30_0000
KERNEL = 0x10000
CRASH_BASE = 0x40_0000
CRASH_SIZE = 0x8_0000
IN_REGION = CRASH_BASE + 0x3_0000
"""Where a crash purgatory lies."""
FLIPS = 50
THE_CALLERS = (RETURN, STACK - PAGE)
CONTENT = bytes(range(256)) * 17 + b"end"
TABLE, MEMORY = 0x50590002, 0x50590004
"""The addresses of disabled waits: purgatory/README.md."""


def table_over(start: int) -> DigestTable:
    pieces = [CONTENT[at : at + PAGE] for at in range(0, len(CONTENT), PAGE)]
    digests = tuple(sha256(piece).digest() for piece in pieces)
    return DigestTable(((start, len(CONTENT)),), PAGE, digests)


def machine(*, crash: bool = False, kimd: bool = False, skip_checks: bool = False) -> Z:
    """Return one with a kernel that is CONTENT, loaded as for a jump or into a crash region."""
    obj = load("s390x")
    base = IN_REGION if crash else BASE
    kernel = KERNEL + (CRASH_BASE if crash else 0)
    registers = S390xRegisters(
        CRASH_BASE if crash else 0, CRASH_SIZE if crash else 0, kernel + (0x10 if crash else 0)
    )
    parameters = PurgatoryParameters(
        registers,
        table=DigestTable() if skip_checks else table_over(kernel),
        skip_checks=skip_checks,
    )
    copy = CRASH_SIZE - obj.memsz if crash else None
    made = Z(obj, base, build_purgatory(obj, base, parameters), kimd=kimd, copy=copy)
    made.put(kernel, CONTENT)
    if crash:
        for page in range(PAGE, CRASH_SIZE, PAGE):
            if page not in THE_CALLERS:
                made.put(page, b"old %08x" % page)
            at = CRASH_BASE + page
            if not (kernel <= at < kernel + len(CONTENT) or base <= at < base + obj.memsz):
                made.put(at, b"new %08x" % page)
        made.put(CRASH_BASE, b"new %08x" % 0)
    return made


def damage(made: Z, address: int) -> None:
    """Flip one bit."""
    (byte,) = made.get(address, 1)
    made.uc.mem_write(address, bytes([byte ^ 4]))


@pytest.mark.parametrize("kimd", [False, True], ids=["portable", "kimd"])
def test_enters_by_a_reset(kimd: bool) -> None:
    made = machine(kimd=kimd)
    made.reset_enter()

    assert made.architecture_set
    assert made.get(0, 8).hex() == "0008000080010000"
    assert (made.resets, made.wait) == ([0], None)
    assert (made.hashed_by_kimd >= len(CONTENT) // 64 * 64) == kimd


def test_waits_where_memory_has_changed() -> None:
    made = machine()
    damage(made, KERNEL + len(CONTENT) - 1)
    made.reset_enter()

    assert (made.resets, made.wait) == ([], MEMORY)


def test_each_flipped_bit_is_found() -> None:
    """Of memory or of the table, before a jump and after a crash, by the processor and without."""
    chance = random.Random(FLIPS)
    for _ in range(FLIPS):
        crash, kimd = chance.random() < 0.5, chance.random() < 0.5
        made = machine(crash=crash, kimd=kimd)
        table = made.base + made.obj.symbols["sha256_table"].offset
        used = len(table_over(0).encode())
        of_table = chance.random() < 0.2
        start, size = (table, used) if of_table else (KERNEL + crash * CRASH_BASE, len(CONTENT))
        at = start + chance.randrange(size)
        made.uc.mem_write(at, bytes([made.get(at, 1)[0] ^ 1 << chance.randrange(8)]))
        if crash:
            made.call(0)
            assert made.returned
            assert made.register(2) == 1
        else:
            made.reset_enter()
        assert made.resets == []
        assert crash or made.wait == (TABLE if of_table else MEMORY)


def test_waits_where_its_table_has_changed() -> None:
    made = machine()
    damage(made, BASE + made.obj.symbols["sha256_table"].offset + 264)
    made.reset_enter()

    assert (made.resets, made.wait) == ([], TABLE)


def test_skips_checks() -> None:
    made = machine(skip_checks=True)
    damage(made, KERNEL)
    made.reset_enter()

    assert made.resets == [0]


def kept(made: Z, before: dict[int, int]) -> bool:
    return all(made.register(number) == value for number, value in before.items())


@pytest.mark.parametrize("damaged", [False, True], ids=["intact", "damaged"])
def test_verifies_for_the_old_kernel(damaged: bool) -> None:
    made = machine(crash=True)
    if damaged:
        damage(made, CRASH_BASE + KERNEL)
    before = made.call(0)

    assert made.returned
    assert made.register(2) == damaged
    assert kept(made, dict(before))
    assert (made.resets, made.wait) == ([], None)
    assert made.get(0, PAGE) == bytes(PAGE)


def test_exchanges_the_region_and_enters() -> None:
    made = machine(crash=True)
    made.call(0)
    made.call(1)

    size = made.obj.memsz
    assert made.resets == [1]
    assert made.get(0, 8).hex() == "0008000080010010"
    assert made.get(8, 4) == b"0000"
    assert made.get(KERNEL, len(CONTENT)) == CONTENT
    assert made.get(CRASH_BASE, PAGE) == bytes(PAGE)
    for page in range(PAGE, CRASH_SIZE, PAGE):
        if page not in THE_CALLERS:
            assert made.get(CRASH_BASE + page, 12) == b"old %08x" % page
    assert made.get(CRASH_SIZE - size - PAGE, 12) == b"new %08x" % (CRASH_SIZE - size - PAGE)


def test_stops_where_the_region_has_changed_since() -> None:
    made = machine(crash=True)
    made.call(0)
    damage(made, CRASH_BASE + KERNEL + 5)
    made.call(1)

    assert (made.resets, made.wait) == ([], MEMORY)
    assert made.get(KERNEL, 3) == b"old"


def test_parameters_come_back() -> None:
    obj = load("s390x")
    registers = S390xRegisters(CRASH_BASE, CRASH_SIZE, CRASH_BASE + 0x10010)
    wanted = PurgatoryParameters(registers, table=table_over(KERNEL), progress_step=7)
    found = read_parameters(obj, build_purgatory(obj, BASE, wanted))

    assert found.registers == registers
    assert found.registers.argument == CRASH_BASE + 0x10400
    assert found.table.regions == wanted.table.regions
    assert found.digest == found.table.digest()
    assert found.progress_step == 7
