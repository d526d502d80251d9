"""What every architecture's purgatory does, at every address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pykexec.purgatory_objects.parameters import REGIONS_MAX, PurgatoryParameters
from pykexec.purgatory_objects.x86 import Entry64Registers
from tests.purgatory.bench import (
    BASE,
    BENCHES,
    MEMORY,
    RIGHT,
    SEGMENTS,
    WHAT,
    Bench,
    computed_digest,
    noise,
    wrong,
)
from tests.purgatory.emulator import PAGE, UcError

SIZES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000)
"""Around the ends of SHA-256's blocks, where padding takes one more."""

each_architecture = pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.arch)


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
        digest = sha256(b"".join(SEGMENTS.values())).hexdigest()
        assert machine.text == (
            f"pykexec purgatory: verifying {WHAT}\n"
            "pykexec purgatory: SHA-256 mismatch, memory was overwritten since the load\n"
            "  segment  0x2000000, 6000 bytes\n"
            "  segment  0x500000000, 4096 bytes\n"
            "  segment  0x9f000, 10 bytes\n"
            f"  expected {bytes(range(32)).hex()}\n"
            f"  computed {digest}\n"
            "pykexec purgatory: not starting the new kernel; halted, reset the machine\n"
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
        machine = bench.prepare(wrong(bench.covering(segments, console=bench.serial)), segments)
        machine.watch_writes()
        machine.run()

        top = BASE + bench.obj.memsz
        lowest = min(address for address, _ in machine.accesses if top - PAGE <= address < top)
        record_property("stack_bytes", top - lowest)
        print(f"purgatory {bench.arch}: {top - lowest} of {PAGE} bytes of stack used")
        assert top - lowest < PAGE // 4


@each_architecture
class TestVerification:
    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_hash_equals_hashlib(self, bench: Bench[Any], data: st.DataObject) -> None:
        """Any data in any regions, by the digest that it prints."""
        size = data.draw(st.sampled_from(SIZES))
        content = noise(size, seed=size)
        cuts = data.draw(st.lists(st.integers(0, size), max_size=REGIONS_MAX - 1))
        ends = sorted({*cuts, size} - {0})
        pieces = [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        shift = data.draw(st.integers(0, 63))
        segments = {MEMORY + 0x2000 * i + shift: piece for i, piece in enumerate(pieces)}
        params = bench.covering(segments, console=bench.serial)

        assert bench.run(params, segments).entered_kernel
        text = bench.run(wrong(params), segments).text
        assert computed_digest(text) == sha256(content).hexdigest()

    @pytest.mark.parametrize("size", SIZES)
    def test_every_padding(self, bench: Bench[Any], size: int) -> None:
        segments = {MEMORY: b"\xa5" * size} if size else {}
        assert bench.run(bench.covering(segments), segments).entered_kernel

    @given(offset=st.integers(0, 4095), bit=st.integers(0, 7))
    @example(offset=0, bit=0)
    @example(offset=4095, bit=7)
    @settings(max_examples=25, deadline=None)
    def test_one_flipped_bit_is_noticed(self, bench: Bench[Any], offset: int, bit: int) -> None:
        content = noise(4096)
        segments = {MEMORY: content[:1500], MEMORY + 0x4000: content[1500:]}
        params = bench.covering(segments, console=bench.serial)
        damaged = bytearray(content)
        damaged[offset] ^= 1 << bit
        machine = bench.run(
            params,
            {MEMORY: bytes(damaged[:1500]), MEMORY + 0x4000: bytes(damaged[1500:])},
        )
        assert machine.halted
        assert computed_digest(machine.text) == sha256(damaged).hexdigest()
        assert f"  expected {params.digest.hex()}\n" in machine.text

    @pytest.mark.parametrize("byte", range(32))
    def test_every_byte_of_the_digest_counts(self, bench: Bench[Any], byte: int) -> None:
        params = bench.covering(SEGMENTS)
        digest = bytearray(params.digest)
        digest[byte] ^= 0x10
        assert bench.run(replace(params, digest=bytes(digest)), SEGMENTS).halted

    def test_the_order_of_the_table_counts(self, bench: Bench[Any]) -> None:
        params = bench.covering(SEGMENTS)
        reversed_table = replace(params, regions=params.regions[::-1])
        assert bench.run(reversed_table, SEGMENTS).halted

    def test_sixteen_regions(self, bench: Bench[Any]) -> None:
        segments = {MEMORY + PAGE * i: bytes([i]) * PAGE for i in range(REGIONS_MAX)}
        machine = bench.run(bench.covering(segments, console=bench.serial), segments)
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what="16 segments, 65536 bytes")

    @pytest.mark.parametrize(
        ("size", "shown"),
        [
            (1, "1 segment, 1 byte"),
            (0xFFFFF, "1 segment, 1048575 bytes"),
            (0x10_0000, "1 segment, 1.0 MiB"),
            (0x2F_5C28, "1 segment, 2.9 MiB"),
        ],
    )
    def test_sizes_are_readable(self, bench: Bench[Any], size: int, shown: str) -> None:
        segments = {MEMORY: bytes(size)}
        machine = bench.run(bench.covering(segments, console=bench.serial), segments)
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what=shown)

    def test_it_says_what_it_does_before_it_does_it(self, bench: Bench[Any]) -> None:
        """A segment that does not exist stops the emulation in the middle of the hashing."""
        params = replace(bench.covering({}, console=bench.serial), regions=((MEMORY, 3 << 20),))
        machine = bench.prepare(params, {})
        with pytest.raises(UcError, match="UC_ERR_READ_UNMAPPED"):
            machine.run()
        assert machine.text == "pykexec purgatory: verifying 1 segment, 3.0 MiB\n"

    def test_skip_checks(self, bench: Bench[Any]) -> None:
        params = replace(
            bench.covering(SEGMENTS, console=bench.serial), digest=bytes(32), skip_checks=True
        )
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
