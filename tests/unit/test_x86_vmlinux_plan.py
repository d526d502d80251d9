"""Plans for a kernel without its decompressor."""

from __future__ import annotations

import pytest

from pykexec.boot.x86.boot_params import parse_boot_params
from pykexec.calls.call_choice import choose
from pykexec.errors import ImageError, NoRoomError
from pykexec.formats import identify
from pykexec.formats.bzimage import XLoadFlags
from pykexec.planning.invariants import verify
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.elf import ElfSpec, Load, build_elf, build_x86_vmlinux, noise
from tests.builders.ima import MEASUREMENTS
from tests.builders.plans import RAM, build_facts, build_plan, build_request
from tests.unit.test_x86_crash_plan import REGION, crash_facts

VMLINUX = build_x86_vmlinux()
LINKED = Range(0x1000000, 0x1240000)


def kernel_of(made: SegmentPlan) -> Range:
    segment = made.segment(Role.KERNEL)
    assert segment is not None
    return segment.dest


def registers_of(made: SegmentPlan) -> Entry64Registers:
    segment = made.segment(Role.PURGATORY)
    assert segment is not None
    registers = read_parameters(load("x86_64"), bytes(segment.data)).registers
    assert isinstance(registers, Entry64Registers)
    return registers


def test_goes_where_it_is_linked_to_run() -> None:
    made = build_plan(kernel=VMLINUX)
    kernel = made.segment(Role.KERNEL)
    assert kernel is not None
    assert kernel.dest == LINKED
    assert made.kernel_entry == registers_of(made).rip == 0x1000C43
    image = bytes(kernel.data)
    assert image[:0x3000] == noise(0x3000)
    assert image[0x200000:] == noise(0x1234, 2)
    assert not any(image[0x3100:0x200000])
    assert verify(made, build_facts()) == []


def test_the_header_is_made_up() -> None:
    made = build_plan(kernel=VMLINUX)
    page = made.bytes_at(Range.sized(registers_of(made).rsi, 4096))
    assert page is not None
    params = parse_boot_params(page)
    assert params.has_header
    assert params.header.version == 0x020F
    assert params.header.init_size == LINKED.size
    assert params.header.pref_address == LINKED.start
    assert XLoadFlags.XLF_EFI_KEXEC in params.header.xloadflags
    assert "entered without its decompressor" in " ".join(made.notes)


def test_an_old_kernel_does_not_take_efi() -> None:
    made = build_plan(kernel=build_x86_vmlinux(release="3.13.11"))
    page = made.bytes_at(Range.sized(registers_of(made).rsi, 4096))
    assert page is not None
    assert XLoadFlags.XLF_EFI_KEXEC not in parse_boot_params(page).header.xloadflags


def test_moves_as_a_whole_where_its_place_is_taken() -> None:
    """startup_64 maps the kernel where it finds itself, in pages of 2 MiB."""
    facts = build_facts(ram=(RAM[0], Range(MIB, 17 * MIB), Range(64 * MIB, GIB)))
    made = build_plan(facts, kernel=VMLINUX)
    dest = kernel_of(made)
    assert dest.size == LINKED.size
    assert dest.start % (2 * MIB) == 0
    assert dest.start >= 64 * MIB
    assert made.kernel_entry == dest.start + 0xC43
    assert verify(made, facts) == []


def test_an_odd_place_is_the_only_one() -> None:
    text = noise(64) + b"Linux version 6.12.0 (a@b)"
    kernel = build_elf(ElfSpec((Load(0x1010000, text),), entry=0x1010000))
    assert kernel_of(build_plan(kernel=kernel)).start == 0x1010000
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        build_plan(kernel=kernel, mem_min=GIB)


def test_moves_into_the_crash_region() -> None:
    facts = crash_facts()
    made = build_plan(facts, kernel=VMLINUX, target=Target.CRASH)
    assert REGION.contains(kernel_of(made))
    assert verify(made, facts) == []


def test_a_limit_of_the_user_moves_it() -> None:
    made = build_plan(kernel=VMLINUX, mem_min=GIB)
    assert kernel_of(made).start >= GIB


def test_no_room() -> None:
    facts = build_facts(ram=(Range(MIB, 3 * MIB),))
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        build_plan(facts, kernel=VMLINUX, initrd=None)


def test_five_level_page_tables_are_told_of() -> None:
    assert "five-level" in " ".join(build_plan(build_facts(la57=True), kernel=VMLINUX).notes)
    assert "five-level" not in " ".join(build_plan(kernel=VMLINUX).notes)


def test_the_measurement_list_finds_a_place() -> None:
    """The kernel is at 16 MiB, and nothing but a decompressor would move it."""
    facts = build_facts(ima_measurements=MEASUREMENTS)
    made = build_plan(facts, kernel=VMLINUX, ima=True)
    assert verify(made, facts) == []
    segment = made.segment(Role.IMA_BUFFER)
    assert segment is not None
    assert segment.dest.start >= LINKED.end


def test_segments_that_lie_too_far_apart() -> None:
    text = b"Linux version 6.12.0 (a@b)"
    loads = (Load(0x1000000, text), Load(1 << 40, noise(16)))
    with pytest.raises(ImageError, match=r"spread over 1024.0 GiB; at most 512 MiB are taken"):
        build_plan(kernel=build_elf(ElfSpec(loads, entry=0x1000000)))


def test_only_kexec_load_takes_it() -> None:
    facts, request = build_facts(), build_request(kernel=VMLINUX)
    image = identify(VMLINUX).image
    chosen = choose(CallWish.AUTO, request, image, facts)
    assert chosen.call is Call.KEXEC_LOAD
    assert "its format is ELF64 vmlinux, and on x86 only bzImages are taken" in chosen.reason
    with pytest.raises(ImageError, match="does not take this kernel: its format is ELF64 vmlinux"):
        choose(CallWish.FILE, request, image, facts)


def test_one_segment_is_handed_over_without_a_copy() -> None:
    text = noise(0x1000) + b"Linux version 6.12.0 (a@b)"
    data = memoryview(build_elf(ElfSpec((Load(0x1000000, text),), entry=0x1000000)))
    kernel = build_plan(kernel=data).segment(Role.KERNEL)
    assert kernel is not None
    assert isinstance(kernel.data, memoryview)
    assert kernel.data.obj is data.obj
