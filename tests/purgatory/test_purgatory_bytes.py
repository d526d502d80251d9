"""Patching the object and reading it back, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import MachineError, PykexecError, UsageError
from pykexec.purgatory import (
    REGIONS_MAX,
    Entry64Registers,
    PurgatoryObject,
    PurgatoryParameters,
    Symbol,
    build_purgatory,
    read_parameters,
)
from pykexec.purgatory_objects import DIRECTORY, load, load_from

BASE = 0x10_0000
U64 = st.integers(0, (1 << 64) - 1)
REGION = st.tuples(st.integers(0, 1 << 63), st.integers(1, 1 << 63))
PARAMETERS = st.builds(
    PurgatoryParameters,
    regions=st.lists(REGION, max_size=REGIONS_MAX).map(tuple),
    digest=st.binary(min_size=32, max_size=32),
    skip_checks=st.booleans(),
    console_serial=st.booleans(),
    console_vga=st.booleans(),
    serial_base=st.integers(0, 0xFFF8),
    serial_baud=st.integers(0, 0xFFFF_FFFF),
    backup_src_start=U64,
    backup_src_size=U64,
    backup_dst_start=U64,
    registers=st.builds(Entry64Registers, **{item.name: U64 for item in fields(Entry64Registers)}),
)


@pytest.fixture
def obj() -> PurgatoryObject:
    return load("x86_64")


class TestRoundTrip:
    @given(PARAMETERS, st.integers(0, 1 << 40))
    @settings(max_examples=100, deadline=None)
    def test_everything_is_read_back(self, params: PurgatoryParameters, page: int) -> None:
        obj = load("x86_64")
        assert read_parameters(obj, build_purgatory(obj, page * 4096, params)) == params

    def test_only_parameters_are_written(self, obj: PurgatoryObject) -> None:
        ones = PurgatoryParameters(
            regions=((1 << 63, 1 << 62),) * REGIONS_MAX,
            digest=b"\xff" * 32,
            registers=Entry64Registers(*[0xFFFF_FFFF_FFFF_FFFF] * 17),
        )
        patched = build_purgatory(obj, BASE, ones)
        assert len(patched) == len(obj.data)
        allowed = {
            position
            for symbol in obj.symbols.values()
            for position in range(symbol.offset, symbol.offset + symbol.size)
        } - set(range(obj.symbols["purgatory_start"].size))
        changed = {i for i, (a, b) in enumerate(zip(obj.data, patched, strict=True)) if a != b}
        assert changed
        assert changed <= allowed

    def test_stack_follows_the_address(self, obj: PurgatoryObject) -> None:
        params = PurgatoryParameters()
        for base in (0, 0x7_0000_0000):
            rsp = read_parameters(obj, build_purgatory(obj, base, params)).registers.rsp
            assert rsp == base + obj.memsz

    def test_the_object_as_built_asks_for_nothing(self, obj: PurgatoryObject) -> None:
        found = read_parameters(obj, obj.data)
        assert found == PurgatoryParameters(registers=Entry64Registers(rsp=0))


class TestRefusals:
    def refused(self, obj: PurgatoryObject, base: int = BASE, **changes: Any) -> PykexecError:
        with pytest.raises(PykexecError) as caught:
            build_purgatory(obj, base, PurgatoryParameters(**changes))
        return caught.value

    def test_seventeen_regions(self, obj: PurgatoryObject) -> None:
        regions = tuple((4096 * i, 1) for i in range(17))
        error = self.refused(obj, regions=regions)
        assert error.message == "the purgatory can verify 16 segments, the plan has 17"
        assert error.hint is not None
        assert "--no-checks" in error.hint

    @pytest.mark.parametrize("region", [(4096, 0), (4096, -1), (-1, 2), ((1 << 64) - 1, 2)])
    def test_impossible_region(self, obj: PurgatoryObject, region: tuple[int, int]) -> None:
        assert "cannot verify" in self.refused(obj, regions=(region,)).message

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("serial_base", 0xFFF9),
            ("serial_base", -1),
            ("serial_baud", 1 << 32),
            ("backup_src_size", 1 << 64),
        ],
    )
    def test_number_that_does_not_fit(self, obj: PurgatoryObject, name: str, value: int) -> None:
        error = self.refused(obj, **{name: value})
        assert error.message.startswith(f"the purgatory's {name} cannot be {value:#x}: at most 0x")

    def test_register_that_does_not_fit(self, obj: PurgatoryObject) -> None:
        error = self.refused(obj, registers=Entry64Registers(rsi=1 << 64))
        assert "rsi" in error.message

    def test_digest_of_another_kind(self, obj: PurgatoryObject) -> None:
        error = self.refused(obj, digest=bytes(20))
        assert error.message == "a SHA-256 has 32 bytes, this has 20"

    @pytest.mark.parametrize("base", [1, 0x10_0800, -4096, (1 << 64) - 0x4000])
    def test_base(self, obj: PurgatoryObject, base: int) -> None:
        assert f"cannot be at {base:#x}" in self.refused(obj, base).message

    @pytest.mark.parametrize(
        "name", [name for name in load("x86_64").symbols if name != "purgatory_start"]
    )
    def test_symbol_of_another_size(self, obj: PurgatoryObject, name: str) -> None:
        symbol = obj.symbols[name]
        symbols = {**obj.symbols, name: Symbol(symbol.offset, symbol.size + 1)}
        error = self.refused(replace(obj, symbols=symbols))
        assert f"{name} has {symbol.size + 1} bytes, needed {symbol.size}" in error.message

    def test_symbol_missing(self, obj: PurgatoryObject) -> None:
        symbols = {name: item for name, item in obj.symbols.items() if name != "skip_checks"}
        error = self.refused(replace(obj, symbols=symbols))
        assert "skip_checks does not exist" in error.message

    def test_symbol_outside(self, obj: PurgatoryObject) -> None:
        symbols = {**obj.symbols, "sha256_digest": Symbol(len(obj.data) - 31, 32)}
        error = self.refused(replace(obj, symbols=symbols))
        assert "outside" in error.message

    def test_reading_short_data(self, obj: PurgatoryObject) -> None:
        with pytest.raises(PykexecError, match="ends before sha256_regions"):
            read_parameters(obj, obj.data[: obj.symbols["sha256_regions"].offset + 255])


class TestLoad:
    def test_unknown_architecture(self) -> None:
        with pytest.raises(UsageError, match="no purgatory for 'vax'") as caught:
            load("vax")
        assert caught.value.hint is not None
        assert "x86_64" in caught.value.hint

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        for path in (DIRECTORY / "MANIFEST.json", DIRECTORY / "x86_64.bin"):
            shutil.copy(path, tmp_path)
        return tmp_path

    def test_copy(self, copy: Path, obj: PurgatoryObject) -> None:
        assert load_from(copy, "x86_64") == obj

    def test_one_changed_byte(self, copy: Path) -> None:
        path = copy / "x86_64.bin"
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        with pytest.raises(MachineError, match=r"x86_64\.bin"):
            load_from(copy, "x86_64")

    def test_missing_object(self, copy: Path) -> None:
        (copy / "x86_64.bin").unlink()
        with pytest.raises(MachineError, match="No such file"):
            load_from(copy, "x86_64")

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"objects": {"x86_64": {}}}'])
    def test_damaged_manifest(self, copy: Path, content: str) -> None:
        (copy / "MANIFEST.json").write_text(content)
        with pytest.raises(MachineError, match=r"MANIFEST\.json"):
            load_from(copy, "x86_64")

    def test_manifest_describes_the_object(self, obj: PurgatoryObject) -> None:
        entry = json.loads((DIRECTORY / "MANIFEST.json").read_text())["objects"]["x86_64"]
        code, data, stack = (entry["pages"][name] for name in ("code", "data", "stack"))
        assert code[0] == 0
        assert (code[1], data[1], stack[1]) == (data[0], stack[0], obj.memsz)
        assert all(end > start for start, end in (code, data, stack))
        assert all(offset % 4096 == 0 for offset in (*code, *data, *stack))
        assert code[0] <= obj.entry < code[1]
        for name, symbol in obj.symbols.items():
            start, end = code if name == "purgatory_start" else data
            if name != "stack_end":
                assert start <= symbol.offset < symbol.offset + symbol.size <= end
        assert obj.symbols["stack_end"].offset == stack[1]
