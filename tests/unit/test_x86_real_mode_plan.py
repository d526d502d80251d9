"""Plans that enter a kernel in real mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import CommandLineError, ImageError, UsageError
from pykexec.formats.bzimage import LoadFlags, decode_setup_header
from pykexec.planning.invariants import invariants_of, verify
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.x86 import Entry16Registers
from pykexec.values.calls import Target
from pykexec.values.facts import EfiFacts
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import KIB, MIB
from tests.builders.bzimage import build_bzimage
from tests.builders.plans import INITRD, KERNEL, SMALL_KERNEL, build_facts, build_plan


def planned(**more: Any) -> SegmentPlan:
    made = build_plan(**{"entry_bits": 16, **more})
    assert verify(made, build_facts()) == []
    return made


def segment_of(made: SegmentPlan, role: Role) -> Segment:
    segment = made.segment(role)
    assert segment is not None
    return segment


def word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def test_the_setup_code_lies_in_low_memory_and_is_entered() -> None:
    made = planned()
    setup = segment_of(made, Role.SETUP)
    assert setup.dest.start == 64 * KIB
    purgatory = segment_of(made, Role.PURGATORY)
    assert purgatory.dest.end <= 640 * KIB
    registers = read_parameters(load("x86_64"), bytes(purgatory.data)).registers
    assert registers == Entry16Registers(
        ds=0x1000, es=0x1000, ss=0x1000, fs=0x1000, gs=0x1000, esp=0xE000, cs=0x1020, ip=0
    )
    assert made.kernel_entry == 64 * KIB + 0x200


def test_the_setup_code_is_told_what_a_loader_tells() -> None:
    made = planned()
    setup = segment_of(made, Role.SETUP)
    data = bytes(setup.data)
    header = decode_setup_header(data, 0x1F1, 0x7F)
    assert data[:0x1F1] == KERNEL[:0x1F1]
    assert data[0x26C : 28 * 512] == KERNEL[0x26C : 28 * 512]
    assert data[0x210] == 0xD0
    assert LoadFlags.CAN_USE_HEAP in header.loadflags
    assert word(data, 0x224) & 0xFFFF == 0xE000 - 0x200
    assert word(data, 0x228) == setup.dest.start + 0xE000
    assert data[0xE000:] == b"ro quiet\0"
    kernel, initrd = segment_of(made, Role.KERNEL), segment_of(made, Role.INITRD)
    assert word(data, 0x214) == kernel.dest.start == made.kernel_start
    assert (word(data, 0x218), word(data, 0x21C)) == (initrd.dest.start, len(INITRD))


def test_no_initrd() -> None:
    data = bytes(segment_of(planned(initrd=None), Role.SETUP).data)
    assert (word(data, 0x218), word(data, 0x21C)) == (0, 0)


def test_what_is_verified() -> None:
    made = planned()
    assert "command-line" in invariants_of(made)
    assert "memory-is-told" not in invariants_of(made), "nothing is told of it"
    setup = segment_of(made, Role.SETUP)
    data = bytearray(setup.data)
    data[0x218] ^= 1
    data[0xE000] ^= 1
    changed = made.with_data(Role.SETUP, bytes(data))
    broken = {item.invariant for item in verify(changed, build_facts())}
    assert broken == {"initrd-limits", "command-line"}


@pytest.mark.parametrize("version", [0x0202, 0x0204, 0x0206, 0x020B])
def test_old_kernels(version: int) -> None:
    spec = replace(SMALL_KERNEL, version=version, xloadflags=0)
    made = planned(kernel=build_bzimage(spec), cmdline=b"ro")
    if version < 0x0205:
        assert segment_of(made, Role.KERNEL).dest.start == MIB


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"kernel": build_bzimage(replace(SMALL_KERNEL, version=0x0201))}, ImageError, "2.01 is o"),
        ({"kernel": build_bzimage(replace(SMALL_KERNEL, setup_sects=64))}, ImageError, "33280 byt"),
        ({"target": Target.CRASH}, UsageError, "a crash kernel cannot ask the BIOS"),
        ({"cmdline": b"x" * 2048}, CommandLineError, "takes at most 2047"),
    ],
)
def test_refuses(more: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned(**more)


def test_efi_machines_have_no_bios() -> None:
    with pytest.raises(UsageError, match="there is no BIOS to ask"):
        build_plan(build_facts(efi=EfiFacts()), entry_bits=16)


def test_a_damaged_place_is_noticed() -> None:
    """The purgatory points where no setup code is."""
    made = planned()
    moved = [
        replace(item, dest=Range.sized(512 * KIB, item.dest.size))
        if item.role is Role.SETUP
        else item
        for item in made.segments
    ]
    found = {item.invariant for item in verify(replace(made, segments=tuple(moved)), build_facts())}
    assert "boot-params" in found
