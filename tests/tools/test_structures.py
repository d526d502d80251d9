"""The tables of structures: made of the declarations, and read and written as construct does."""

from __future__ import annotations

import importlib
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from construct import Bytes, Const, ConstructError, Int8ul, Int32ul, Struct

from pykexec.formats.structs import Field, Structure, parse_at
from pykexec.values.errors import ImageError
from tools import generate_structures
from tools.structures import MODULES

MACHINES = Path(__file__).resolve().parents[1] / "data/machines"
SAMPLES = 50


def pairs() -> Iterator[Any]:
    """Yield each declaration with the table that was made of it."""
    for directory, declared in MODULES.items():
        module = importlib.import_module(f"pykexec.{directory.replace('/', '.')}._structures")
        for name, declaration in declared.items():
            yield pytest.param(declaration, getattr(module, name), id=name)


ALL = pytest.mark.parametrize(("declaration", "table"), list(pairs()))


def plain(value: Any) -> Any:
    """Return what either of them has parsed as dicts, lists, numbers and bytes."""
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "_io"}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_what_is_checked_in_is_what_the_tool_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate_structures.main(["--check"]) == 0
    for directory in MODULES:
        (tmp_path / directory).mkdir(parents=True)
    monkeypatch.setattr(generate_structures, "PACKAGE", tmp_path)
    assert generate_structures.main(["--check"]) == 1
    assert generate_structures.main([]) == 0
    assert generate_structures.main(["--check"]) == 0
    stale = tmp_path / "formats/_structures.py"
    stale.write_text(stale.read_text().replace("0x001", "0x002"))
    capsys.readouterr()
    assert generate_structures.main(["--check"]) == 1
    assert str(stale) in capsys.readouterr().err


@ALL
def test_both_read_and_write_the_same(declaration: Struct, table: Structure) -> None:
    assert table.size == declaration.sizeof()
    rng = random.Random(table.size)
    for _ in range(SAMPLES):
        data = rng.randbytes(table.size)
        theirs, ours = declaration.parse(data), table.parse(data + b"more")
        assert plain(ours) == plain(theirs)
        values = plain(theirs)
        assert table.build(values | {"unknown": 1}) == declaration.build(values)


@ALL
def test_both_refuse_what_is_too_short(declaration: Struct, table: Structure) -> None:
    for length in {0, 1, table.size // 2, table.size - 1}:
        with pytest.raises(ConstructError):
            declaration.parse(bytes(length))
        with pytest.raises(struct.error, match=f"{table.size} bytes are needed, there are"):
            table.parse(bytes(length))
        with pytest.raises(ImageError) as caught:
            parse_at(table, bytes(3 + length), 3, "the header")
        assert caught.value.message == (
            f"truncated: the header needs {table.size} bytes at offset 0x3, "
            f"the file has {length} there"
        )


@ALL
def test_both_refuse_values_that_do_not_fit(declaration: Struct, table: Structure) -> None:
    values = plain(declaration.parse(bytes(table.size)))
    for name, value in values.items():
        wrong: list[Any] = [1 << 64, -1, "text"]
        if isinstance(value, bytes):
            wrong = [value + b"\0", value[1:]]
        elif isinstance(value, list):
            wrong = [value[1:]]
        elif isinstance(value, dict):
            wrong = []
        for item in wrong:
            with pytest.raises(ConstructError):
                declaration.build(values | {name: item})
            with pytest.raises(struct.error):
                table.build(values | {name: item})
        missing = {key: item for key, item in values.items() if key != name}
        with pytest.raises((KeyError, ConstructError)):
            declaration.build(missing)
        with pytest.raises(KeyError, match=name):
            table.build(missing)


def test_more_entries_than_there_are_places_for_are_refused() -> None:
    table = Structure(4, Field("items", 0, "<H", 2))
    assert table.build({"items": (1, 2)}) == b"\1\0\2\0"
    with pytest.raises(struct.error, match="items has 2 entries, given are 3"):
        table.build({"items": [1, 2, 3]})
    with pytest.raises(struct.error, match="name has 2 bytes, given are 3"):
        Structure(2, Field("name", 0, "2s")).build({"name": b"abc"})


def test_zero_pages_of_real_machines() -> None:
    pages = sorted(MACHINES.glob("x86_64-*/sys/kernel/boot_params/data"))
    assert pages
    for page in pages:
        data = page.read_bytes()
        for directory, name, offset in (
            ("boot/x86", "BOOT_PARAMS", 0),
            ("formats", "SETUP_HEADER", 0x1F1),
        ):
            module = importlib.import_module(f"pykexec.{directory.replace('/', '.')}._structures")
            declaration = MODULES[directory][name]
            theirs = declaration.parse(data[offset:])
            assert plain(parse_at(getattr(module, name), data, offset, name)) == plain(theirs)


def test_what_has_no_form_in_a_table_is_refused() -> None:
    with pytest.raises(generate_structures.UnknownFormError, match="without a name"):
        generate_structures.generate({"ODD": Struct(Int8ul)})
    for odd in (Const(0, Int32ul), Bytes(lambda this: 4), Struct("inner" / Int8ul)):
        with pytest.raises(generate_structures.UnknownFormError):
            generate_structures.generate({"ODD": Struct("odd" / odd)})
