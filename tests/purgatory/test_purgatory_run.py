"""What every architecture's purgatory does, at every address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.purgatory_objects.digest_table import REGIONS_MAX
from pykexec.purgatory_objects.parameters import PurgatoryParameters
from pykexec.purgatory_objects.x86 import Entry64Registers
from tests.purgatory.bench import (
    BASE,
    BENCHES,
    CAUSES,
    MEMORY,
    RIGHT,
    SEGMENTS,
    SLOW,
    WHAT,
    Bench,
    noise,
    unread,
    wrong,
)
from tests.purgatory.emulator import PAGE, UcError

SIZES = (1, 55, 56, 63, 64, 65, 119, 120, 1000, 4095, 4096, 4097, 8192, 8200)
"""Around the ends of SHA-256's blocks, where padding takes one more, and of pieces."""

each_architecture = pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.arch)
each_fast_architecture = pytest.mark.parametrize(
    "bench",
    [
        pytest.param(bench, id=bench.arch, marks=pytest.mark.full if bench in SLOW else ())
        for bench in BENCHES
    ],
)


@pytest.mark.parametrize(
    ("bench", "base"),
    [
        pytest.param(bench, base, id=f"{bench.arch}-{base:#x}")
        for bench in BENCHES
        for base in bench.bases
    ],
)
class TestEveryAddress:
    def test_right_digest_enters_the_kernel(self, bench: Bench[Any], base: int) -> None:
        machine = bench.run(bench.covering(SEGMENTS, console=bench.serial), SEGMENTS, base)

        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what=WHAT)
        assert machine.all_sent
        expected = asdict(bench.registers)
        if isinstance(bench.registers, Entry64Registers):
            expected["rsp"] = base + bench.obj.memsz
        assert machine.registers == expected

    def test_wrong_digest_halts(self, bench: Bench[Any], base: int) -> None:
        params = wrong(bench.covering(SEGMENTS, console=bench.serial))
        machine = bench.run(params, SEGMENTS, base)

        assert machine.halted
        assert not machine.entered_kernel
        assert machine.all_sent
        assert machine.text == (
            f"pykexec purgatory: verifying {WHAT}\n"
            "pykexec purgatory: SHA-256 mismatch, memory was overwritten since the load\n"
            "  0x9f000, 10 bytes, of the segment at 0x9f000, 10 bytes\n"
            "    70 61 72 61 6d 65 74 65 72 73                    parameters\n"
            "  1 of 4 pieces is not what it was.\n" + CAUSES
        )

    def test_without_a_console_it_decides_the_same(self, bench: Bench[Any], base: int) -> None:
        params = bench.covering(SEGMENTS)
        silent = bench.run(params, SEGMENTS, base)
        damaged = bench.run(wrong(params), SEGMENTS, base)

        assert silent.entered_kernel
        assert damaged.halted
        assert silent.silent
        assert damaged.silent

    def test_it_writes_only_to_its_data_and_stack(self, bench: Bench[Any], base: int) -> None:
        params = wrong(bench.covering(SEGMENTS, console=bench.serial))
        machine = bench.prepare(params, SEGMENTS, base)
        machine.watch_writes()
        machine.run()

        first_data = min(
            symbol.offset for name, symbol in bench.obj.symbols.items() if name != "purgatory_start"
        )
        own = [item for item in machine.accesses if item[0] not in machine.device_memory]
        assert own
        for address, size in own:
            assert base + first_data <= address < address + size <= base + bench.obj.memsz


@each_architecture
class TestStack:
    def test_it_is_used_sparingly(
        self, bench: Bench[Any], record_property: Callable[[str, object], None]
    ) -> None:
        segments = {MEMORY + 0x3000 * index: b"x" * 100 for index in range(REGIONS_MAX)}
        params = bench.covering(segments, console=bench.serial, progress_step=1)
        machine = bench.prepare(wrong(params), segments)
        machine.watch_writes()
        machine.run()

        top = BASE + bench.obj.memsz
        lowest = min(address for address, _ in machine.accesses if top - PAGE <= address < top)
        record_property("stack_bytes", top - lowest)
        print(f"purgatory {bench.arch}: {top - lowest} of {PAGE} bytes of stack used")
        assert top - lowest < PAGE // 4


@each_fast_architecture
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_hash_equals_hashlib(bench: Bench[Any], data: st.DataObject) -> None:
    """Any data in any regions, in pieces that are whole or not."""
    sizes = data.draw(st.lists(st.sampled_from(SIZES), max_size=REGIONS_MAX))
    shift = data.draw(st.sampled_from(range(0, 64, 8)))
    segments = {
        MEMORY + 0x4000 * i + shift: noise(size, seed=size + i) for i, size in enumerate(sizes)
    }
    params = bench.covering(segments)
    assert bench.run(params, segments).entered_kernel
    if segments:
        assert bench.run(wrong(params), segments).halted


@each_fast_architecture
@pytest.mark.parametrize("byte", range(32))
def test_every_byte_of_a_digest_counts(bench: Bench[Any], byte: int) -> None:
    table = bench.covering(SEGMENTS).table
    digest = bytearray(table.digests[1])
    digest[byte] ^= 0x10
    digests = (table.digests[0], bytes(digest), *table.digests[2:])
    params = bench.covering(SEGMENTS, table=replace(table, digests=digests))
    assert bench.run(params, SEGMENTS).halted


@each_architecture
class TestVerification:
    @pytest.mark.parametrize("size", SIZES)
    def test_every_padding(self, bench: Bench[Any], size: int) -> None:
        segments = {MEMORY: b"\xa5" * size}
        assert bench.run(bench.covering(segments), segments).entered_kernel

    def test_the_order_of_the_table_counts(self, bench: Bench[Any]) -> None:
        params = bench.covering(SEGMENTS)
        reversed_table = replace(params.table, regions=params.table.regions[::-1])
        assert bench.run(replace(params, table=reversed_table), SEGMENTS).halted

    def test_no_region(self, bench: Bench[Any]) -> None:
        machine = bench.run(bench.covering({}, console=bench.serial), {})
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what="0 segments, 0 bytes, in 0 pieces of 4 KiB")

    def test_sixteen_regions(self, bench: Bench[Any]) -> None:
        segments = {MEMORY + PAGE * i: bytes([i]) * PAGE for i in range(REGIONS_MAX)}
        machine = bench.run(bench.covering(segments, console=bench.serial), segments)
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what="16 segments, 65536 bytes, in 16 pieces of 4 KiB")

    @pytest.mark.parametrize(
        ("size", "shown"),
        [
            (1, "1 segment, 1 byte, in 1 piece of 4 KiB"),
            (0xFFFFF, "1 segment, 1048575 bytes, in 256 pieces of 4 KiB"),
            (0x10_0000, "1 segment, 1.0 MiB, in 256 pieces of 4 KiB"),
            (0x2F_5C28, "1 segment, 2.9 MiB, in 379 pieces of 8 KiB"),
        ],
    )
    def test_sizes_are_readable(self, bench: Bench[Any], size: int, shown: str) -> None:
        segments = {MEMORY: bytes(size)}
        machine = bench.run(bench.covering(segments, console=bench.serial), segments)
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what=shown)

    def test_it_says_what_it_does_before_it_does_it(self, bench: Bench[Any]) -> None:
        """A segment that does not exist stops the emulation in the middle of the hashing."""
        params = bench.covering({}, console=bench.serial, table=unread(MEMORY, 3 << 20))
        machine = bench.prepare(params, {})
        with pytest.raises(UcError, match="UC_ERR_READ_UNMAPPED"):
            machine.run()
        assert (
            machine.text
            == "pykexec purgatory: verifying 1 segment, 3.0 MiB, in 48 pieces of 64 KiB\n"
        )

    def test_skip_checks(self, bench: Bench[Any]) -> None:
        params = bench.covering(SEGMENTS, console=bench.serial, digest=bytes(32), skip_checks=True)
        machine = bench.run(params, {})
        assert machine.entered_kernel
        assert machine.text == (
            "pykexec purgatory: verification skipped\n"
            "pykexec purgatory: entering the new kernel at 0x712345200\n"
        )


@each_architecture
class TestBackup:
    SOURCE = noise(5001)
    TARGET = 0x4000_0000

    def params(self, bench: Bench[Any], segments: dict[int, bytes]) -> PurgatoryParameters:
        return bench.covering(
            segments,
            backup_src_start=0,
            backup_src_size=len(self.SOURCE),
            backup_dst_start=self.TARGET,
        )

    def test_copied_after_the_verification(self, bench: Bench[Any]) -> None:
        """The target is itself verified, as it is before the copy."""
        segments = {self.TARGET: b"before" * 1000}
        machine = bench.run(self.params(bench, segments), {0: self.SOURCE} | segments)
        assert machine.entered_kernel
        assert machine.get(self.TARGET, 6000) == (
            self.SOURCE + segments[self.TARGET][len(self.SOURCE) :]
        )

    def test_not_copied_when_the_digest_is_wrong(self, bench: Bench[Any]) -> None:
        segments = {self.TARGET: b"before" * 1000}
        params = wrong(self.params(bench, segments))
        machine = bench.run(params, {0: self.SOURCE} | segments)
        assert machine.halted
        assert machine.get(self.TARGET, 6000) == segments[self.TARGET]

    def test_copied_when_checks_are_skipped(self, bench: Bench[Any]) -> None:
        params = replace(self.params(bench, {}), skip_checks=True)
        machine = bench.run(params, {0: self.SOURCE, self.TARGET: bytes(6000)})
        assert machine.entered_kernel
        assert machine.get(self.TARGET, len(self.SOURCE)) == self.SOURCE
