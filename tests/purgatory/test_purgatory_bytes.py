"""Patching the object and reading it back, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import MachineError, PykexecError, UsageError
from pykexec.purgatory_objects import DIRECTORY, load, load_from, load_start
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.digest_table import (
    PIECES_MAX,
    REGIONS_MAX,
    TABLE_SIZE,
    DigestTable,
    decode_table,
    pieces_needed,
)
from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.purgatory_objects.parameters import (
    PurgatoryObject,
    PurgatoryParameters,
    Symbol,
    build_purgatory,
    read_parameters,
)
from pykexec.purgatory_objects.ppc64le import Ppc64leRegisters
from pykexec.purgatory_objects.registers import Registers
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.purgatory_objects.x86 import Entry16Registers, Entry32Registers, Entry64Registers
from pykexec.values.consoles import (
    Console,
    FirmwareConsole,
    FirmwareKind,
    MemoryConsole,
    PcConsole,
    UartKind,
)
from pykexec.values.units import counted

BASE = 0x10_0000
ARCHITECTURES = ("aarch64", "arm", "i386", "loongarch64", "ppc64le", "riscv64", "x86_64")
U64 = st.integers(0, (1 << 64) - 1)
PC_CONSOLES = st.builds(
    PcConsole,
    console_serial=st.booleans(),
    console_vga=st.booleans(),
    serial_base=st.integers(0, 0xFFF8),
    serial_baud=st.integers(0, 0xFFFF_FFFF),
)


def memory_consoles(last: UartKind) -> st.SearchStrategy[Console]:
    return st.builds(
        MemoryConsole,
        console_sink=U64,
        console_kind=st.sampled_from([kind for kind in UartKind if kind <= last]),
        console_width=st.sampled_from([1, 2, 4]),
        console_reg_shift=st.integers(0, 8),
    )


def full_registers(kind: type[Registers]) -> st.SearchStrategy[Registers]:
    return st.builds(kind, **{item.name: width_of(kind, item.name) for item in fields(kind)})


def width_of(kind: type[Registers], name: str) -> st.SearchStrategy[int]:
    if kind in (Aarch64Registers, Entry64Registers, Loongarch64Registers, Riscv64Registers):
        return U64
    return st.integers(0, 0xFFFF_FFFF if name.startswith("e") and name != "es" else 0xFFFF)


FIRMWARE_CONSOLES = st.builds(
    FirmwareConsole, console_kind=st.sampled_from(FirmwareKind), console_unit=U64
)
POWER_REGISTERS = st.builds(
    Ppc64leRegisters,
    kernel_head=st.binary(min_size=252, max_size=252),
    run_at_load=st.integers(0, 0xFFFF_FFFF),
    **dict.fromkeys(("r3", "r8", "r9", "pc"), U64),
)
LEGACY = full_registers(Entry32Registers) | full_registers(Entry16Registers)
REGISTERS_AND_CONSOLES = {
    "aarch64": (full_registers(Aarch64Registers), memory_consoles(UartKind.UART_8250)),
    "arm": (full_registers(ArmRegisters), memory_consoles(UartKind.UART_8250)),
    "i386": (LEGACY, PC_CONSOLES),
    "loongarch64": (full_registers(Loongarch64Registers), memory_consoles(UartKind.UART_8250)),
    "ppc64le": (POWER_REGISTERS, FIRMWARE_CONSOLES),
    "riscv64": (full_registers(Riscv64Registers), memory_consoles(UartKind.SBI)),
    "x86_64": (full_registers(Entry64Registers) | LEGACY, PC_CONSOLES),
}
NO_REGISTERS: dict[str, Registers] = {
    "aarch64": Aarch64Registers(),
    "arm": ArmRegisters(),
    "i386": Entry32Registers(esp=0),
    "loongarch64": Loongarch64Registers(),
    "ppc64le": Ppc64leRegisters(),
    "riscv64": Riscv64Registers(),
    "x86_64": Entry64Registers(rsp=0),
}
CONSOLES: dict[str, Console] = {
    "aarch64": MemoryConsole(),
    "arm": MemoryConsole(),
    "i386": PcConsole(),
    "loongarch64": MemoryConsole(),
    "ppc64le": FirmwareConsole(),
    "riscv64": MemoryConsole(),
    "x86_64": PcConsole(),
}
ALL_ONES: dict[str, Registers] = {
    "aarch64": Aarch64Registers(*[(1 << 64) - 1] * 5),
    "arm": ArmRegisters(*[(1 << 32) - 1] * 2),
    "i386": Entry32Registers(*[(1 << 32) - 1] * 9),
    "loongarch64": Loongarch64Registers(*[(1 << 64) - 1] * 2),
    "ppc64le": Ppc64leRegisters(b"\xff" * 252, (1 << 32) - 1, *[(1 << 64) - 1] * 4),
    "riscv64": Riscv64Registers(*[(1 << 64) - 1] * 2),
    "x86_64": Entry64Registers(*[(1 << 64) - 1] * 17),
}


FULL_TABLE = DigestTable(((1 << 63, 4096 * 30),) * REGIONS_MAX, 4096, (b"\xff" * 32,) * PIECES_MAX)


@st.composite
def tables(draw: st.DrawFn) -> DigestTable:
    piece_size = 1 << draw(st.integers(12, 51))
    lengths = st.integers(1, 25 * piece_size)
    starts = st.integers(0, 1 << 60).map(lambda value: 8 * value)
    regions = tuple(draw(st.lists(st.tuples(starts, lengths), max_size=REGIONS_MAX)))
    count = pieces_needed((length for _, length in regions), piece_size)
    seed = draw(st.integers(0, 1 << 30))
    return DigestTable(
        regions, piece_size, tuple(sha256(b"%d %d" % (seed, i)).digest() for i in range(count))
    )


def parameters(arch: str) -> st.SearchStrategy[PurgatoryParameters]:
    registers, console = REGISTERS_AND_CONSOLES[arch]
    return st.builds(
        PurgatoryParameters,
        registers=registers,
        table=tables(),
        digest=st.binary(min_size=32, max_size=32),
        skip_checks=st.booleans(),
        progress_step=U64,
        console=console,
        backup_src_start=U64,
        backup_src_size=U64,
        backup_dst_start=U64,
    )


@pytest.fixture
def obj() -> PurgatoryObject:
    return load("x86_64")


@pytest.mark.parametrize("arch", ARCHITECTURES)
class TestRoundTrip:
    @given(data=st.data(), page=st.integers(0, 1 << 40))
    @settings(max_examples=100, deadline=None)
    def test_everything_is_read_back(self, arch: str, data: st.DataObject, page: int) -> None:
        obj, params = load(arch), data.draw(parameters(arch))
        assert read_parameters(obj, build_purgatory(obj, page * 4096, params)) == params

    def test_only_parameters_are_written(self, arch: str) -> None:
        obj = load(arch)
        ones = PurgatoryParameters(table=FULL_TABLE, digest=b"\xff" * 32, registers=ALL_ONES[arch])
        patched = build_purgatory(obj, BASE, ones)
        assert len(patched) == obj.symbols["sha256_table"].offset + TABLE_SIZE
        assert len(patched) <= obj.memsz
        allowed = {
            position
            for symbol in obj.symbols.values()
            for position in range(symbol.offset, symbol.offset + symbol.size)
        } - set(range(obj.symbols["purgatory_start"].size))
        built = obj.data.ljust(len(patched), b"\0")
        changed = {i for i, (a, b) in enumerate(zip(built, patched, strict=True)) if a != b}
        assert changed
        assert changed <= allowed

    def test_nothing_is_asked_for(self, arch: str) -> None:
        obj = load(arch)
        nothing = PurgatoryParameters(
            registers=NO_REGISTERS[arch], console=CONSOLES[arch], digest=DigestTable().digest()
        )
        assert read_parameters(obj, build_purgatory(obj, BASE, nothing)) == nothing

    def test_the_object_as_built_has_no_table(self, arch: str) -> None:
        """It takes no room in the file, and what has none is not trusted."""
        obj = load(arch)
        with pytest.raises(PykexecError, match="the table of digests ends after 0 bytes"):
            read_parameters(obj, obj.data)

    def test_no_console_turns_off_what_is_there(self, arch: str) -> None:
        obj = load(arch)
        silent = PurgatoryParameters(registers=NO_REGISTERS[arch])
        patched = build_purgatory(obj, BASE, silent)
        assert read_parameters(obj, patched).console == CONSOLES[arch]


def test_stack_follows_the_address(obj: PurgatoryObject) -> None:
    params = PurgatoryParameters(registers=Entry64Registers())
    for base in (0, 0x7_0000_0000):
        registers = read_parameters(obj, build_purgatory(obj, base, params)).registers
        assert registers == Entry64Registers(rsp=base + obj.memsz)


@pytest.mark.parametrize(
    ("registers", "entry", "argument"),
    [
        (Entry64Registers(rip=0x200, rsi=0x9000), 0x200, 0x9000),
        (Entry32Registers(eip=0x100000, esi=0x9000), 0x100000, 0x9000),
        (Entry16Registers(cs=0x9020, ip=4, ds=0x9000), 0x90204, 0x90000),
        (Aarch64Registers(pc=0x4020_0000, x0=0x4800_0000), 0x4020_0000, 0x4800_0000),
        (Riscv64Registers(pc=0x8020_0000, a1=0x8800_0000), 0x8020_0000, 0x8800_0000),
    ],
)
def test_what_the_kernel_is_handed(registers: Registers, entry: int, argument: int) -> None:
    assert (registers.entry, registers.argument) == (entry, argument)


class TestRefusals:
    def refused(self, obj: PurgatoryObject, base: int = BASE, **changes: Any) -> PykexecError:
        params = PurgatoryParameters(registers=NO_REGISTERS[obj.arch])
        with pytest.raises(PykexecError) as caught:
            build_purgatory(obj, base, replace(params, **changes))
        return caught.value

    def test_seventeen_regions(self) -> None:
        regions = tuple((4096 * i, 1) for i in range(17))
        error = self.no_table(regions, digests=(bytes(32),) * 17)
        assert error.message == "the purgatory can verify 16 segments, the plan has 17"
        assert error.hint is not None
        assert "--no-checks" in error.hint

    def no_table(self, *values: Any, **named: Any) -> PykexecError:
        with pytest.raises(PykexecError) as caught:
            DigestTable(*values, **named)
        return caught.value

    @pytest.mark.parametrize(
        "region", [(4096, 0), (4096, -1), (-8, 16), ((1 << 64) - 8, 9), (4098, 8)]
    )
    def test_impossible_region(self, region: tuple[int, int]) -> None:
        assert "cannot verify" in self.no_table((region,)).message

    @pytest.mark.parametrize("size", [0, -4096, 2048, 4097, 3 << 12, 1 << 52])
    def test_impossible_piece(self, size: int) -> None:
        assert "cannot hash in pieces of" in self.no_table(piece_size=size).message

    @pytest.mark.parametrize(
        ("size", "digests"), [(4096, 0), (4096, 2), (4097, 1), (4096 * PIECES_MAX + 1, PIECES_MAX)]
    )
    def test_digests_that_are_not_those_of_the_pieces(self, size: int, digests: int) -> None:
        error = self.no_table(((0, size),), digests=(bytes(32),) * digests)
        assert error.message == (
            f"the purgatory's table of digests does not fit: {counted(-(-size // 4096), 'piece')}, "
            f"{counted(digests, 'digest')}, room for 480"
        )

    def test_more_pieces_than_there_is_room_for(self) -> None:
        error = self.no_table(((0, 4096 * 481),), digests=(bytes(32),) * 481)
        assert error.message.endswith("481 pieces, 481 digests, room for 480")

    def test_piece_of_another_digest(self) -> None:
        error = self.no_table(((0, 4096),), digests=(bytes(20),))
        assert error.message == "a SHA-256 has 32 bytes, this has 20"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda data: data[:263], "ends after 263 bytes"),
            (lambda data: data[:-1], "damaged: 480 pieces of 2^12 bytes"),
            (lambda data: data[:256] + b"\x34" + data[257:], "damaged: 480 pieces of 2^52 bytes"),
            (lambda data: bytes(256) + data[256:], "does not fit: 0 pieces, 480 digests"),
        ],
    )
    def test_what_is_no_table(self, change: Callable[[bytes], bytes], message: str) -> None:
        with pytest.raises(PykexecError, match=re.escape(message)):
            decode_table(change(FULL_TABLE.encode()))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("serial_base", 0xFFF9),
            ("serial_base", -1),
            ("serial_baud", 1 << 32),
            ("console_sink", 1 << 64),
            ("console_kind", 3),
            ("console_width", 8),
            ("console_reg_shift", 9),
        ],
    )
    def test_console_that_does_not_fit(self, name: str, value: int) -> None:
        arch = "x86_64" if name in PcConsole.__slots__ else "aarch64"
        changed: dict[str, Any] = {name: value}
        error = self.refused(load(arch), console=replace(CONSOLES[arch], **changed))
        assert error.message.startswith(f"the purgatory's {name} cannot be {value:#x}: at most 0x")

    def test_the_firmwares_console_is_riscv64s(self) -> None:
        console = MemoryConsole(console_kind=UartKind.SBI)
        obj = load("riscv64")
        params = PurgatoryParameters(registers=Riscv64Registers(), console=console)
        assert read_parameters(obj, build_purgatory(obj, BASE, params)).console == console
        assert "at most 0x3" in self.refused(obj, console=replace(console, console_kind=4)).message
        assert "at most 0x2" in self.refused(load("aarch64"), console=console).message

    def test_a_kernels_head_of_another_length(self) -> None:
        error = self.refused(load("ppc64le"), registers=Ppc64leRegisters(kernel_head=bytes(256)))
        assert error.message == "the purgatory's kernel_head has 252 bytes, this has 256"

    @pytest.mark.parametrize("name", ["backup_src_start", "backup_src_size", "backup_dst_start"])
    @pytest.mark.parametrize("value", [-1, 1 << 64])
    def test_number_that_does_not_fit(self, obj: PurgatoryObject, name: str, value: int) -> None:
        error = self.refused(obj, **{name: value})
        assert error.message.startswith(f"the purgatory's {name} cannot be {value:#x}: at most 0x")

    @pytest.mark.parametrize(
        ("registers", "words"),
        [
            (Entry64Registers(rsi=1 << 64), "rsi 0x10000000000000000"),
            (Entry32Registers(esi=1 << 32), "esi 0x100000000"),
            (Entry16Registers(cs=1 << 16), "cs 0x10000"),
            (Ppc64leRegisters(run_at_load=1 << 32), "run_at_load 0x100000000"),
        ],
    )
    def test_register_that_does_not_fit(self, registers: Registers, words: str) -> None:
        power = isinstance(registers, Ppc64leRegisters)
        error = self.refused(load("ppc64le" if power else "x86_64"), registers=registers)
        assert error.message.startswith("the purgatory's registers cannot be ")
        assert words in error.message

    def test_a_stack_above_4_gib(self, obj: PurgatoryObject) -> None:
        """The purgatory itself would be out of reach there."""
        error = self.refused(obj, base=1 << 32, registers=Entry32Registers())
        assert "esp 0x100009000" in error.message

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"registers": Entry64Registers()},
                "the aarch64 purgatory takes Aarch64Registers, this is Entry64Registers",
            ),
            (
                {"console": PcConsole()},
                "the aarch64 purgatory takes MemoryConsole, this is PcConsole",
            ),
        ],
    )
    def test_parameters_of_another_architecture(
        self, changes: dict[str, Any], message: str
    ) -> None:
        assert self.refused(load("aarch64"), **changes).message == message

    def test_architecture_that_only_the_objects_know(self, obj: PurgatoryObject) -> None:
        with pytest.raises(PykexecError, match="the vax purgatory does not fit: its reg") as caught:
            read_parameters(replace(obj, arch="vax"), obj.data)
        assert caught.value.hint is not None
        assert "reinstall" in caught.value.hint

    def test_digest_of_another_kind(self, obj: PurgatoryObject) -> None:
        error = self.refused(obj, digest=bytes(20))
        assert error.message == "a SHA-256 has 32 bytes, this has 20"

    @pytest.mark.parametrize("base", [1, 0x10_0800, -4096, (1 << 64) - 0x7000])
    def test_base(self, obj: PurgatoryObject, base: int) -> None:
        assert f"cannot be at {base:#x}" in self.refused(obj, base).message

    @pytest.mark.parametrize(
        ("arch", "name"),
        [
            (arch, name)
            for arch in ARCHITECTURES
            for name in load(arch).symbols
            # Only rsp is told where the stack ends.
            if name != "purgatory_start" and (name != "stack_end" or arch in {"i386", "x86_64"})
        ],
    )
    def test_symbol_of_another_size(self, arch: str, name: str) -> None:
        obj = load(arch)
        # rsp is a place in the stack only when it is not given.
        kinds: dict[str, Registers] = {
            "entry16_regs": Entry16Registers(),
            "entry32_regs": Entry32Registers(esp=0),
            "stack_end": type(NO_REGISTERS[arch])(),
        }
        changes: dict[str, Any] = {"registers": kinds[name]} if name in kinds else {}
        symbol = obj.symbols[name]
        symbols = {**obj.symbols, name: Symbol(symbol.offset, symbol.size + 1)}
        error = self.refused(replace(obj, symbols=symbols), **changes)
        assert (
            f"{name} has {counted(symbol.size + 1, 'byte')}, needed {symbol.size}" in error.message
        )

    def test_symbol_missing(self, obj: PurgatoryObject) -> None:
        symbols = {name: item for name, item in obj.symbols.items() if name != "skip_checks"}
        error = self.refused(replace(obj, symbols=symbols))
        assert "skip_checks does not exist" in error.message

    def test_symbol_outside(self, obj: PurgatoryObject) -> None:
        symbols = {**obj.symbols, "sha256_digest": Symbol(len(obj.data) - 31, 32)}
        error = self.refused(replace(obj, symbols=symbols))
        assert "outside" in error.message

    def test_reading_short_data(self, obj: PurgatoryObject) -> None:
        with pytest.raises(PykexecError, match="of 31 bytes ends before "):
            read_parameters(obj, obj.data[:31])


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

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    def test_manifest_describes_the_object(self, arch: str) -> None:
        obj = load(arch)
        entry = json.loads((DIRECTORY / "MANIFEST.json").read_text())["objects"][arch]
        code, data, stack = (entry["pages"][name] for name in ("code", "data", "stack"))
        assert code[0] == 0
        assert (code[1], data[1], stack[1]) == (data[0], stack[0], obj.memsz)
        assert all(end > start for start, end in (code, data, stack))
        assert all(offset % 4096 == 0 for offset in (*code, *data, *stack))
        assert code[0] <= obj.entry < code[1]
        for name, symbol in obj.symbols.items():
            start, end = code if name in {"purgatory_start", "kernel_head"} else data
            if name != "stack_end":
                assert start <= symbol.offset < symbol.offset + symbol.size <= end
        assert obj.symbols["stack_end"].offset == stack[1]

    def test_start_program(self) -> None:
        image = load_start("x86_64")
        magic, flags, checksum, header_addr, load_addr = struct.unpack_from("<5I", image)
        # Multiboot Specification 0.6.96, 3.1.1: at most 8 KiB in, and the sum is 0.
        assert (magic + flags + checksum) % (1 << 32) == 0
        assert (magic, header_addr, load_addr) == (0x1BADB002, 0x10000, 0x10000)
        assert len(image) <= 4096

    def test_missing_start_program(self) -> None:
        with pytest.raises(MachineError, match=r"MANIFEST\.json: KeyError: 'vax'"):
            load_start("vax")
