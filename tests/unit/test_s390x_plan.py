"""Kernels and plans for s390x, judged by offsets from the kernel's own files."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec import read_machine
from pykexec.calls.call_choice import choose
from pykexec.errors import CommandLineError, ImageError, NoRoomError, OptionError
from pykexec.formats import identify
from pykexec.planning.invariants import invariants_of, verify
from pykexec.planning.plans import LoadRequest, Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.s390x import S390xRegisters
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.elf import ElfSpec, Load, build_elf
from tests.builders.s390x import (
    EM_S390,
    IMAGE,
    REGION,
    build_elf_image,
    build_facts,
    build_image,
    build_plan,
)

INITRD = b"070701" + bytes(5 * MIB)
CRASH = Target.CRASH


def segment_of(plan: SegmentPlan, role: Role) -> Segment:
    found = plan.segment(role)
    assert found is not None
    return found


def told(plan: SegmentPlan) -> tuple[tuple[int, ...], bytes]:
    """Return initrd's start and size, old memory's base and size; and the command line."""
    data = bytes(segment_of(plan, Role.KERNEL).data)
    assert data[8:14] == b"S390EP"
    numbers = struct.unpack(">4Q", data[0x408:0x428])
    return numbers, data[0x480:0x1480].rstrip(b"\0")


def registers_of(plan: SegmentPlan) -> S390xRegisters:
    data = bytes(segment_of(plan, Role.PURGATORY).data)
    found = read_parameters(load("s390x"), data).registers
    assert isinstance(found, S390xRegisters)
    return found


# Files.


def test_a_flat_image() -> None:
    found = identify(IMAGE, "s390x").image

    assert (found.format_name, found.release, found.signed) == ("s390x image", "6.12.0-z", False)


def test_the_bootable_elf_file_is_the_same() -> None:
    flat, elf = (identify(data, "s390x").image for data in (IMAGE, build_elf_image()))

    assert bytes(elf.payload) == bytes(flat.payload)
    assert elf.format_name == "s390x image (ELF)"


@pytest.mark.parametrize(
    ("cuts", "why"),
    [
        pytest.param((0x200,), "a segment at 0x200, which that loader would move", id="unaligned"),
        pytest.param((0x1000,), "entry point begins at 0x1000, not at 0", id="not-from-0"),
        pytest.param((0x20000,), "", id="behind-the-parameters"),
    ],
)
def test_an_elf_file_that_the_file_call_would_misplace(cuts: tuple[int, ...], why: str) -> None:
    """What a linker has cut in two is the same image, and goes by kexec_load."""
    ends = (*cuts, len(IMAGE))
    loads = tuple(
        Load(start, IMAGE[start:end], None, start, 0x1000)
        for start, end in zip((0, *cuts), ends, strict=True)
    )
    kernel = build_elf(ElfSpec(loads=loads, entry=0x10000, machine=EM_S390, big_endian=True))
    image = identify(kernel, "s390x").image
    assert bytes(image.payload) == IMAGE

    request, facts = LoadRequest(kernel=kernel), build_facts()
    chosen = choose(CallWish.AUTO, request, image, facts)
    assert chosen.call is (Call.KEXEC_LOAD if why else Call.KEXEC_FILE_LOAD)
    assert why in chosen.reason
    if why:
        with pytest.raises(ImageError, match=why) as caught:
            choose(CallWish.FILE, request, image, facts)
        assert "bzImage, which is made of it, goes by that call" in caught.value.message


def test_what_has_been_unpacked_cannot_boot() -> None:
    text = bytes(0x20000) + b"Linux version 6.12.0 (builder@host)"
    elf = build_elf(
        ElfSpec(
            loads=(Load(0x100000, text, len(text), 0x100000, 0x1000),),
            entry=0x100000,
            machine=EM_S390,
            big_endian=True,
        )
    )

    with pytest.raises(ImageError, match=r"unpacked \(vmlinux\), which cannot boot by itself"):
        identify(elf, "s390x")


def test_an_appended_signature_is_no_part_of_the_kernel() -> None:
    signature = b"s" * 300
    tail = struct.pack(">8xI", len(signature)) + b"~Module signature appended~\n"
    found = identify(IMAGE + signature + tail, "s390x")

    assert found.image.signed
    assert bytes(found.image.payload) == IMAGE
    assert len(found.file) == len(IMAGE) + len(signature) + len(tail)


@pytest.mark.parametrize("size", [0x10010, 0x10440, 0x10480 + 4095])
def test_a_cut_image(size: int) -> None:
    with pytest.raises(ImageError, match=r"truncated|it is cut"):
        identify(IMAGE[:size], "s390x")


def test_another_machine() -> None:
    with pytest.raises(ImageError, match="a kernel for s390x"):
        identify(IMAGE, "x86_64")


# Plans.


def test_a_normal_load() -> None:
    facts = build_facts()
    plan = build_plan(facts, initrd=INITRD)
    initrd, purgatory = (segment_of(plan, role) for role in (Role.INITRD, Role.PURGATORY))

    assert verify(plan, facts) == []
    assert segment_of(plan, Role.KERNEL).dest == Range(0x10000, 3 * MIB)
    assert initrd.dest.start >= 8 * MIB
    assert initrd.dest.start % MIB == 0
    assert plan.entry < 2 * GIB
    assert purgatory.dest.contains(Range.sized(plan.entry, 1))
    assert (plan.kernel_entry, plan.flags) == (0x10000, 22 << 16)
    assert told(plan) == ((initrd.dest.start, len(INITRD), 0, 0), b"root=/dev/x")
    assert registers_of(plan) == S390xRegisters(0, 0, 0x10000)


def test_a_crash_load_tells_addresses_behind_the_exchange() -> None:
    facts = build_facts(crash=True)
    plan = build_plan(facts, initrd=INITRD, target=CRASH)
    initrd = segment_of(plan, Role.INITRD).dest.start
    numbers = (initrd - REGION.start, len(INITRD), REGION.start, REGION.size)

    assert verify(plan, facts) == []
    assert plan.segment(Role.ELFCOREHDR) is None
    assert (plan.kernel_entry, plan.flags) == (REGION.start + 0x10010, 22 << 16 | 1)
    assert told(plan) == (numbers, b"root=/dev/x")
    assert registers_of(plan) == S390xRegisters(REGION.start, REGION.size, plan.kernel_entry)
    assert max(item.dest.end for item in plan.segments) <= REGION.end - load("s390x").memsz
    assert [item.range for item in plan.memory_map] == [Range(0, REGION.size)]


def test_no_room_where_the_purgatory_saves_what_it_takes() -> None:
    facts = build_facts(crash=True)
    room = REGION.size - 8 * MIB - load("s390x").memsz
    assert verify(build_plan(facts, initrd=bytes(room), target=CRASH), facts) == []

    with pytest.raises(NoRoomError):
        build_plan(facts, initrd=bytes(room + 4096), target=CRASH)


@pytest.mark.parametrize(("size", "longest"), [(4096, 4095), (0, 895), (896, 895)])
def test_the_longest_command_line(size: int, longest: int) -> None:
    kernel = build_image(cmdline_size=size)
    facts = build_facts()
    plan = build_plan(facts, kernel=kernel, cmdline=b"x" * longest)

    assert told(plan)[1][:longest] == b"x" * longest
    assert verify(plan, facts) == []
    with pytest.raises(CommandLineError, match=f"takes at most {longest}"):
        build_plan(facts, kernel=kernel, cmdline=b"x" * (longest + 1))


def test_a_command_line_that_a_kernel_would_take_for_ebcdic() -> None:
    with pytest.raises(CommandLineError, match="the byte 0xc3 at position 5"):
        build_plan(build_facts(), cmdline="word=ä".encode())


def test_what_such_kernels_take_from_nobody_is_refused() -> None:
    with pytest.raises(OptionError, match="--ima"):
        build_plan(build_facts(), ima=True)
    with pytest.raises(OptionError, match="--dtb: s390x has no device trees"):
        build_plan(build_facts(), dtb=b"\xd0\x0d\xfe\xed")


@pytest.mark.parametrize(
    ("cmdline", "call"),
    [(b"x" * 4094, Call.KEXEC_FILE_LOAD), (b"x" * 4095, Call.KEXEC_LOAD)],
    ids=["fits", "one too long"],
)
def test_the_file_call_is_preferred_where_it_takes_the_line(cmdline: bytes, call: Call) -> None:
    from pykexec.planning.plans import LoadRequest

    request = LoadRequest(kernel=IMAGE, cmdline=cmdline)
    found = choose(CallWish.AUTO, request, identify(IMAGE).image, build_facts())

    assert found.call is call


@pytest.mark.parametrize(
    ("offset", "name"),
    [(0x408, "initrd-is-told"), (0x418, "crash-memory"), (0x480, "command-line")],
)
def test_what_is_told_is_judged(offset: int, name: str) -> None:
    facts = build_facts(crash=True)
    plan = build_plan(facts, initrd=INITRD, target=CRASH)
    assert name in invariants_of(plan)
    data = bytearray(segment_of(plan, Role.KERNEL).data)
    data[offset] ^= 1

    found = {item.invariant for item in verify(plan.with_data(Role.KERNEL, bytes(data)), facts)}
    assert found == {name}


def test_an_entry_above_31_bits_is_judged() -> None:
    facts = build_facts()
    plan = build_plan(facts)
    purgatory = segment_of(plan, Role.PURGATORY)
    high = replace(purgatory, dest=Range.sized(3 * GIB, purgatory.dest.size))
    others = tuple(item for item in plan.segments if item is not purgatory)
    moved = replace(plan, segments=(*others, high), entry=3 * GIB)

    assert {item.invariant for item in verify(moved, facts)} == {"entry-in-31-bits"}


# Machines.


def test_standby_memory_is_left_alone(tmp_path: Path) -> None:
    """/proc/iomem has it as RAM; the running kernel's copy to it would fault."""
    files = {
        "proc/iomem": "00000000-3fffffff : System RAM\n",
        "sys/devices/system/memory/block_size_bytes": "10000000\n",
        "sys/firmware/ipl/ipl_type": "ccw\n",
        "machine.json": json.dumps(
            {
                "schema": "pykexec.machine/1",
                "arch": "s390x",
                "page_size": 4096,
                "kernel_release": "6.12.0",
                "cpus": 1,
            }
        ),
    }
    for number, state in enumerate(("online", "online", "online", "offline")):
        files[f"sys/devices/system/memory/memory{number}/state"] = f"{state}\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = read_machine(tmp_path)
    plan = build_plan(facts, initrd=INITRD)

    assert verify(plan, facts) == []
    assert segment_of(plan, Role.PURGATORY).dest.end == 0x3000_0000
    moved = replace(
        segment_of(plan, Role.INITRD),
        dest=Range.sized(0x3000_0000, len(INITRD) // 4096 * 4096 + 4096),
    )
    others = tuple(item for item in plan.segments if item.role is not Role.INITRD)
    broken = verify(replace(plan, segments=(*others, moved)), facts)
    assert "memory-is-free" in {item.invariant for item in broken}
