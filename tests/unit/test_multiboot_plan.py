"""Plans for multiboot kernels: where all goes, and what the kernel finds."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.x86.boot_params import BootParamsInput, build_boot_params
from pykexec.boot.x86.e820 import E820Entry, E820Type
from pykexec.boot.x86.multiboot_info import lower_and_upper
from pykexec.errors import ImageError, NoRoomError, UsageError
from pykexec.planning.invariants import invariants_of, verify
from pykexec.planning.plans import ElfArgs, Module, Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.x86 import Entry32Registers
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.multiboot import (
    BASE,
    MultibootSpec,
    build_multiboot,
    header_1,
    header_2,
    tag,
    words,
)
from tests.builders.plans import RAM, build_facts, build_plan

ONE = build_multiboot(MultibootSpec(header_1(3)))
TWO = build_multiboot(MultibootSpec(header_2()))
MODULES = (Module(b"first" * 1000, b"/first with words"), Module(b"second", b"/second"))


def relocatable(lowest: int, last: int, align: int, preference: int) -> bytes:
    return build_multiboot(MultibootSpec(header_2(tag(10, words(lowest, last, align, preference)))))


def planned(kernel: bytes, facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    facts = facts or build_facts()
    given = {"kernel": kernel, "initrd": None, "kernel_name": b"/boot/k", "modules": MODULES}
    made = build_plan(facts, **{**given, **more})
    assert verify(made, facts) == []
    assert all(item.dest.end <= 4 * GIB for item in made.segments)
    return made


def registers_of(made: SegmentPlan) -> Entry32Registers:
    registers = read_parameters(load(made.arch), bytes(segment_of(made, Role.PURGATORY).data))
    assert isinstance(registers.registers, Entry32Registers)
    return registers.registers


def segment_of(made: SegmentPlan, role: Role) -> Segment:
    segment = made.segment(role)
    assert segment is not None
    return segment


def info_of(made: SegmentPlan) -> bytes:
    segment = segment_of(made, Role.MULTIBOOT_INFO)
    assert registers_of(made).ebx == segment.dest.start
    return bytes(segment.data)


def string_at(made: SegmentPlan, address: int) -> bytes:
    segment = made.segment_at(address)
    assert segment is not None
    return bytes(segment.data[address - segment.dest.start :]).split(b"\0")[0]


def tags_of(info: bytes) -> list[tuple[int, bytes]]:
    assert len(info) == struct.unpack_from("<I", info)[0]
    at, found = 8, []
    while True:
        kind, size = struct.unpack_from("<II", info, at)
        found.append((kind, info[at + 8 : at + size]))
        if not kind:
            assert at + 8 == len(info)
            return found
        at += size + 7 & -8


def test_version_1_finds_all_of_it() -> None:
    made = planned(ONE)
    assert registers_of(made).eax == 0x2BADB002
    assert registers_of(made).eip == made.kernel_entry == BASE + 0x20
    info = info_of(made)
    flags, lower, upper = struct.unpack_from("<3I", info)
    assert flags == 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    assert (lower, upper) == (0x9FC00 // 1024, (3 * GIB - MIB) // 1024)
    cmdline, count, table = struct.unpack_from("<3I", info, 16)
    assert string_at(made, cmdline) == b"/boot/k ro quiet"
    assert string_at(made, struct.unpack_from("<I", info, 64)[0]) == b"pykexec"
    assert count == 2
    for index, module in enumerate(MODULES):
        entry = made.bytes_at(Range.sized(table + 16 * index, 16))
        assert entry is not None
        start, end, text, reserved = struct.unpack("<4I", entry)
        assert start % 4096 == reserved == 0
        assert made.bytes_at(Range(start, end)) == module.data
        assert string_at(made, text) == module.cmdline


def test_version_1_finds_the_memory_map() -> None:
    made = planned(ONE)
    length, start = struct.unpack_from("<2I", info_of(made), 44)
    data = made.bytes_at(Range.sized(start, length))
    assert data is not None
    assert start % 4 == 0
    entries = [struct.unpack_from("<IQQI", data, at) for at in range(0, length, 24)]
    assert entries == [(20, part.start, part.size, 1) for part in RAM]


def test_version_2_finds_all_of_it() -> None:
    made = planned(TWO)
    assert registers_of(made).eax == 0x36D76289
    found = tags_of(info_of(made))
    assert [kind for kind, _ in found] == [1, 2, 4, 3, 3, 6, 0]
    told = dict(found)
    assert told[1] == b"/boot/k ro quiet\0"
    assert told[2] == b"pykexec\0"
    assert struct.unpack("<2I", told[4]) == (639, (3 * GIB - MIB) // 1024)
    assert struct.unpack_from("<2I", told[6]) == (24, 0)
    entries = list(struct.iter_unpack("<QQII", told[6][8:]))
    assert entries == [(part.start, part.size, 1, 0) for part in RAM]
    for (_, body), module in zip([item for item in found if item[0] == 3], MODULES, strict=True):
        start, end = struct.unpack_from("<2I", body)
        assert made.bytes_at(Range(start, end)) == module.data
        assert body[8:] == module.cmdline + b"\0"


def test_no_modules_and_no_words() -> None:
    made = planned(ONE, modules=(), cmdline=b"")
    assert made.segment(Role.MODULES) is None
    assert made.cmdline == b"/boot/k"
    assert struct.unpack_from("<I", info_of(made), 20)[0] == 0


def test_an_empty_module() -> None:
    made = planned(TWO, modules=(Module(b"", b"/empty"), MODULES[1]))
    (start, end), (then, _) = (
        struct.unpack_from("<2I", body) for kind, body in tags_of(info_of(made)) if kind == 3
    )
    assert start == end < then


def screen(kind: int, **fields: int) -> bytes:
    data = bytearray(64)
    data[0x07], data[0x0E], data[0x0F] = 80, 25, kind
    struct.pack_into("<HHH", data, 0x12, 1024, 768, 32)
    struct.pack_into("<I", data, 0x18, 0xE0000000)
    struct.pack_into("<H", data, 0x24, 4096)
    data[0x26:0x2C] = bytes((8, 16, 8, 8, 8, 0))
    struct.pack_into("<I", data, 0x3A, 1)
    return bytes(data)


def with_screen(kind: int) -> MachineFacts:
    params = build_boot_params(
        BootParamsInput(raw_header=b"", e820=(), cmdline=0, screen_info=screen(kind))
    )
    return build_facts(boot_params=params)


@pytest.mark.parametrize("kind", [0x23, 0x70])
def test_the_framebuffer_is_told(kind: int) -> None:
    expected = struct.pack("<QIIIBB", 0x1_E000_0000, 4096, 1024, 768, 32, 1)
    colours = bytes((16, 8, 8, 8, 0, 8))
    info = info_of(planned(ONE, with_screen(kind)))
    assert struct.unpack_from("<I", info)[0] & 1 << 12
    assert info[88:110] == expected
    assert info[110:116] == colours
    told = dict(tags_of(info_of(planned(TWO, with_screen(kind)))))
    assert told[8] == expected + bytes(2) + colours


def test_text_mode_is_told() -> None:
    told = dict(tags_of(info_of(planned(TWO, with_screen(1)))))
    assert struct.unpack_from("<QIIIBB", told[8]) == (0xB8000, 160, 80, 25, 16, 2)


def test_no_framebuffer_that_a_driver_has_taken() -> None:
    facts = replace(with_screen(0x70), framebuffer_driver="i915drmfb")
    assert 8 not in dict(tags_of(info_of(planned(TWO, facts))))


def test_a_relocatable_image_stays_where_its_place_is_free() -> None:
    made = planned(relocatable(MIB, GIB, 0x1000, 1))
    assert segment_of(made, Role.KERNEL).dest.start == BASE
    assert dict(tags_of(info_of(made)))[21] == words(BASE)


@pytest.mark.parametrize(("preference", "start"), [(1, 64 * MIB), (2, GIB - 2 * MIB)])
def test_a_relocatable_image_moves(preference: int, start: int) -> None:
    facts = build_facts(ram=(RAM[0], Range(64 * MIB, 2 * GIB)))
    made = planned(relocatable(MIB, GIB - 1, 0x200000, preference), facts)
    kernel = segment_of(made, Role.KERNEL)
    assert kernel.dest.start == start
    assert made.kernel_entry == registers_of(made).eip == start + 0x20
    assert dict(tags_of(info_of(made)))[21] == words(start)
    assert f"moved to {start:#x}" in " ".join(made.notes)


@pytest.mark.parametrize(
    ("base", "align", "moved_to"),
    [
        (0x200010, 0x10, 0x200010),
        (0x200010, 0x1000, MIB),
        (0x200010, 0x20, MIB),
        (0x201000, 0x200000, 0x200000),
        (0x201000, 1, 0x201000),
    ],
)
def test_a_relocatable_image_is_aligned_as_it_asks(base: int, align: int, moved_to: int) -> None:
    header = header_2(tag(10, words(MIB, GIB, align, 1)))
    made = planned(build_multiboot(MultibootSpec(header, base=base)))
    assert dict(tags_of(info_of(made)))[21] == words(moved_to)
    kernel = segment_of(made, Role.KERNEL)
    offset = moved_to - kernel.dest.start
    assert bytes(kernel.data[offset + 0x100 :])[: len(header)] == header
    assert made.kernel_entry == moved_to + 0x20


def test_any_other_image_does_not_move() -> None:
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        planned(TWO, build_facts(ram=(RAM[0], Range(64 * MIB, GIB))))


def test_information_that_there_is_none_of() -> None:
    with pytest.raises(ImageError, match="without information of type 8, 14, which there is none"):
        planned(build_multiboot(MultibootSpec(header_2(tag(1, words(3, 6, 14, 8))))))
    assert planned(build_multiboot(MultibootSpec(header_2(tag(1, words(3, 6))))))
    twice = header_2(tag(1, words(14)), tag(1, words(3)), tag(1, words(8), optional=True))
    with pytest.raises(ImageError, match="without information of type 14, which there is none"):
        planned(build_multiboot(MultibootSpec(twice)))


def test_a_video_mode_that_there_is_none_of() -> None:
    wants = build_multiboot(MultibootSpec(header_1(7)))
    assert "asks for a video mode" in " ".join(planned(wants).notes)
    assert "asks for a video mode" not in " ".join(planned(wants, with_screen(0x70)).notes)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"initrd": b"x"}, "takes modules and no initrd"),
        ({"target": Target.CRASH}, "cannot be a crash kernel"),
        ({"entry_bits": 16}, "entered in 32 bits only"),
        ({"elf_args": ElfArgs.NONE}, "--args-none is for ELF programs without a multiboot header"),
    ],
)
def test_refuses(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(ONE, **more)


def test_modules_are_for_multiboot_kernels() -> None:
    with pytest.raises(UsageError, match="--module is for multiboot kernels, and the kernel is"):
        build_plan(modules=MODULES)


@pytest.mark.parametrize("kernel", [ONE, TWO])
def test_what_is_verified(kernel: bytes) -> None:
    made = planned(kernel)
    assert invariants_of(made)[-3:] == ("multiboot-registers", "multiboot-info", "multiboot-reach")
    info = info_of(made)
    broken = info.replace(b"ro quiet", b"rw quiet")
    found = verify(made.with_data(Role.MULTIBOOT_INFO, broken), build_facts())
    assert [item.invariant for item in found] == ["multiboot-info"]
    module = segment_of(made, Role.MODULES).dest.start
    end = module + len(MODULES[0].data)
    broken = info.replace(words(module, end), words(module - 4096, end))
    assert broken != info
    found = verify(made.with_data(Role.MULTIBOOT_INFO, broken), build_facts())
    assert {item.invariant for item in found} == {"multiboot-info"}
    found = verify(made.with_data(Role.MULTIBOOT_INFO, b""), build_facts())
    assert "multiboot-info" in {item.invariant for item in found}


def test_a_module_tag_without_a_place_is_noticed() -> None:
    info = bytearray(info_of(made := planned(TWO)))
    at = 8 + sum(8 + len(body) + 7 & -8 for kind, body in tags_of(bytes(info))[:3])
    assert struct.unpack_from("<I", info, at) == (3,)
    struct.pack_into("<I", info, at + 4, 12)
    found = verify(made.with_data(Role.MULTIBOOT_INFO, bytes(info)), build_facts())
    assert "multiboot-info" in {item.invariant for item in found}


@pytest.mark.parametrize(
    ("ram", "expected"),
    [
        (((0x1000, 0x9FC00), (MIB, 3 * MIB)), (0x9FC00 // 1024, 2048)),
        (((0, 2 * MIB), (2 * MIB, 3 * MIB), (4 * MIB, 5 * MIB)), (640, 2048)),
        (((MIB + 4096, 2 * MIB),), (0, 0)),
        (((0, 5 << 42),), (640, 0xFFFFFFFF)),
    ],
)
def test_memory_below_and_above(
    ram: tuple[tuple[int, int], ...], expected: tuple[int, int]
) -> None:
    entries = [E820Entry(Range(*part), E820Type.E820_TYPE_RAM) for part in ram]
    hole = E820Entry(Range(0, 0x1000), E820Type.E820_TYPE_RESERVED)
    assert lower_and_upper([*reversed(entries), hole]) == expected


def test_a_purgatory_that_enters_otherwise_is_noticed() -> None:
    other = segment_of(build_plan(kernel=ONE, initrd=None), Role.PURGATORY)
    made = planned(TWO)
    found = verify(made.with_data(Role.PURGATORY, other.data), build_facts())
    assert "multiboot-registers" in {item.invariant for item in found}
