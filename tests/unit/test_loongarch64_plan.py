"""A plan for loongarch64: judged by Documentation/arch/loongarch/booting.rst and head.S."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.elfcorehdr import parse_elfcorehdr
from pykexec.errors import CommandLineError, ImageError, NoRoomError, OptionError
from pykexec.formats import identify
from pykexec.formats.vmlinux_efi import VmlinuxEfi
from pykexec.planning.invariants import SEGMENT_INVARIANTS, invariants_of, verify
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.purgatory_objects.parameters import build_purgatory, read_parameters
from pykexec.values.calls import Target
from pykexec.values.elf_headers import PT_LOAD
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.loongarch import (
    CRASH_REGION,
    ENTRY,
    IMAGE_SIZE,
    KERNEL,
    LOAD_OFFSET,
    MACHINE,
    PAGE,
    RAM,
    build_facts,
    build_image,
    build_plan,
)
from tests.builders.pe_files import MACHINE_ARM64, signed
from tests.builders.tree_requests import INITRD

CRASH = Target.CRASH
REGION = CRASH_REGION.range
LOW = IomemEntry(Range(64 * MIB, 192 * MIB), "Crash kernel")


def crash_facts(**more: Any) -> Any:
    return build_facts(children=[CRASH_REGION], **more)


def place_of(plan: SegmentPlan, role: Role) -> Range:
    segment = plan.segment(role)
    assert segment is not None
    return segment.dest


def line_of(plan: SegmentPlan) -> str:
    """Follow a1 to the command line."""
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    registers = read_parameters(load("loongarch64"), bytes(purgatory.data)).registers
    assert isinstance(registers, Loongarch64Registers)
    assert registers.pc == plan.kernel_entry
    segment = plan.segment_at(registers.a1)
    assert segment is not None
    assert segment.dest.start == registers.a1
    return bytes(segment.data).split(b"\0", 1)[0].decode()


def test_the_kernel_goes_where_it_was_linked_to_lie_and_all_else_high() -> None:
    plan = build_plan()
    assert place_of(plan, Role.KERNEL) == Range.sized(LOAD_OFFSET, IMAGE_SIZE)
    assert plan.kernel_entry == LOAD_OFFSET + ENTRY
    for role in (Role.PURGATORY, Role.COMMAND_LINE, Role.INITRD):
        assert place_of(plan, role).start > 3 * GIB
        assert place_of(plan, role).start % PAGE == 0
    assert plan.flags == 258 << 16
    assert not verify(plan, build_facts())


def test_the_running_kernel_finds_the_command_line() -> None:
    plan = build_plan()
    first = plan.segments[0]
    assert first.role is Role.COMMAND_LINE
    assert len(first.data) == 4096
    initrd = place_of(plan, Role.INITRD).start
    assert line_of(plan) == f"kexec ro quiet initrd={initrd:#x},{len(INITRD):#x}"
    assert plan.cmdline.decode() == line_of(plan)


def test_without_initrd_and_words_there_is_a_line_all_the_same() -> None:
    plan = build_plan(initrd=None, cmdline=b"")
    assert line_of(plan) == "kexec"
    assert any("EFI may still name" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("cmdline", "kept"),
    [
        (b"kexec ro", "kexec ro"),
        (b"kexec_file ro kexec", "kexec ro"),
        (b"ro -- kexec", "kexec ro initrd={} -- kexec"),
        (b"ro kexec.word=1", "kexec ro kexec.word=1"),
        (b'kexec a="kexec b" "c  d"', 'kexec a="kexec b" "c  d"'),
    ],
)
def test_the_word_by_which_it_is_found_is_there_once(cmdline: bytes, kept: str) -> None:
    line = line_of(build_plan(cmdline=cmdline))
    told = re.search(r" initrd=(\S+)", line)
    assert told is not None
    wanted = kept.format(told[1]) if "{}" in kept else f"{kept} initrd={told[1]}"
    assert line == wanted


def test_the_place_of_an_earlier_initrd_is_told_to_nobody() -> None:
    plan = build_plan(cmdline=b"kexec ro initrd=0x1000,0x10 initrdmem=0x1000,0x10", initrd=None)
    assert line_of(plan) == "kexec ro"
    assert any("initrd=0x1000,0x10" in note for note in plan.notes)


def test_an_initrd_that_looks_like_a_command_line_is_refused() -> None:
    with pytest.raises(ImageError, match="begins with the letters 'kexec'"):
        build_plan(initrd=b"kexec, as it happens")


def test_a_device_tree_is_told_to_nobody() -> None:
    """Linux arch/loongarch/kernel/setup.c, "fdt_setup"."""
    with pytest.raises(OptionError, match="--dtb: a loongarch64 kernel takes a device tree from"):
        build_plan(dtb=b"\xd0\x0d\xfe\xed")


@pytest.mark.parametrize(("length", "fits"), [(4035, True), (4096, False)])
def test_too_long_a_line_says_by_how_much(length: int, fits: bool) -> None:
    if fits:
        assert len(build_plan(cmdline=b"x" * length).cmdline) < 4096
        return
    with pytest.raises(CommandLineError, match="at most 4095") as caught:
        build_plan(cmdline=b"x" * length)
    assert caught.value.hint is not None
    over = int(caught.value.hint.split()[3])
    assert len(build_plan(cmdline=b"x" * (length - over)).cmdline) == 4095


def test_where_home_is_taken_the_kernel_moves() -> None:
    ram = (Range(0x90400000, 4 * GIB),)
    plan = build_plan(build_facts(ram))
    assert place_of(plan, Role.KERNEL).start == 0x90400000
    assert plan.kernel_entry == 0x90400000 + ENTRY
    assert not verify(plan, build_facts(ram))


@pytest.mark.parametrize("release", ["6.1.0-loong", "6.2.16"])
def test_kernels_before_6_3_cannot_move(release: str) -> None:
    kernel = build_image(release=release)
    plan = build_plan(kernel=kernel)
    assert place_of(plan, Role.KERNEL).start == LOAD_OFFSET
    for ram, children, taken in (
        ((Range(0x90400000, 4 * GIB),), [], "0x200000-0x4fffff"),
        (RAM, [IomemEntry(Range(0x280000, 0x300000), "Reserved")], "0x280000-0x2fffff"),
    ):
        with pytest.raises(ImageError, match=f"of which {taken} is no free memory here") as caught:
            build_plan(build_facts(ram, children), kernel=kernel)
        assert caught.value.hint == "give a kernel of 6.3 or later with CONFIG_RELOCATABLE"
    with pytest.raises(NoRoomError, match="--mem-min"):
        build_plan(kernel=kernel, mem_min=GIB)
    with pytest.raises(ImageError, match=r"Linux 6\.[12].* runs at .* alone"):
        build_plan(crash_facts(), kernel=kernel, target=CRASH)
    home = IomemEntry(Range(LOAD_OFFSET, 192 * MIB), "Crash kernel")
    plan = build_plan(build_facts(children=[home]), kernel=kernel, target=CRASH)
    assert place_of(plan, Role.KERNEL).start == LOAD_OFFSET


def test_a_kernel_that_may_move_itself_into_something_is_told_not_to() -> None:
    small = build_facts((Range(2 * MIB, 128 * MIB),))
    plan = build_plan(small)
    assert line_of(plan).endswith(" nokaslr")
    assert any("nokaslr" in note for note in plan.notes)
    given = line_of(build_plan(small, cmdline=b"nokaslr ro"))
    assert given.count("nokaslr") == 1
    assert "nokaslr" not in line_of(build_plan())


def test_a_capture_kernel_is_told_of_its_memory_and_of_the_header() -> None:
    plan = build_plan(build_facts(children=[LOW, CRASH_REGION]), target=CRASH)
    header, initrd = place_of(plan, Role.ELFCOREHDR), place_of(plan, Role.INITRD)
    segment = plan.segment(Role.ELFCOREHDR)
    assert segment is not None
    assert header.start % (64 * KIB) == 0
    assert line_of(plan) == (
        f"kexec ro quiet mem={REGION.size:#x}@{REGION.start:#x} "
        f"mem={LOW.range.size:#x}@{LOW.range.start:#x} "
        f"elfcorehdr={len(segment.data):#x}@{header.start:#x} "
        f"initrd={initrd.start:#x},{len(INITRD):#x} nokaslr"
    )
    assert all(REGION.contains(item.dest) for item in plan.segments)
    assert plan.flags == 258 << 16 | 1
    loads = [item for item in parse_elfcorehdr(bytes(segment.data)) if item.type == PT_LOAD]
    assert {load.vaddr - load.paddr for load in loads} == {0x9000000000000000}
    assert loads[0].paddr == RAM[0].start
    facts = build_facts(children=[LOW, CRASH_REGION])
    assert not verify(plan, facts)


def test_a_capture_kernel_keeps_no_memory_of_the_crashed_one() -> None:
    plan = build_plan(crash_facts(), target=CRASH, cmdline=b"mem=512M initrd=0x1000,0x10 ro")
    assert line_of(plan).startswith(f"kexec ro mem={REGION.size:#x}@")
    assert line_of(plan).count("initrd=") == 1
    assert any("mem=512M" in note for note in plan.notes)


def test_reuseinitrd_is_refused() -> None:
    with pytest.raises(OptionError, match="do not tell where"):
        build_plan(initrd=None, reuse_initrd=True)


class TestInvariants:
    """Each is violated by a plan that would not arrive."""

    def violated(self, plan: SegmentPlan, facts: Any = None) -> set[str]:
        return {item.invariant for item in verify(plan, facts or build_facts())}

    def test_all_are_named(self) -> None:
        own = ("command-line", "image-placement", "first-2-mib", "initrd-is-told", "crash-memory")
        assert invariants_of(build_plan()) == (*SEGMENT_INVARIANTS, *own)

    def test_command_line(self) -> None:
        plan = build_plan()
        other = bytes(plan.segments[0].data).replace(b"quiet", b"loud!")
        assert "command-line" in self.violated(plan.with_data(Role.COMMAND_LINE, other))
        assert "command-line" in self.violated(replace(plan, cmdline=b"kexec"))
        short = bytes(plan.segments[0].data)[:100]
        assert "command-line" in self.violated(plan.with_data(Role.COMMAND_LINE, short))
        first = plan.with_data(Role.INITRD, b"kexec" + INITRD)
        backwards = replace(first, segments=tuple(reversed(first.segments)))
        assert "command-line" in self.violated(backwards)

    def test_a1(self) -> None:
        plan = build_plan()
        purgatory = plan.segment(Role.PURGATORY)
        assert purgatory is not None
        known = load("loongarch64")
        told = read_parameters(known, bytes(purgatory.data))
        wrong = replace(told, registers=Loongarch64Registers(a1=0x108000, pc=plan.kernel_entry))
        data = build_purgatory(known, purgatory.dest.start, wrong)
        assert "command-line" in self.violated(plan.with_data(Role.PURGATORY, data))

    @pytest.mark.parametrize(
        ("start", "name"), [(MIB, "first-2-mib"), (2 * GIB + MIB, "image-placement")]
    )
    def test_places(self, start: int, name: str) -> None:
        plan = build_plan()
        moved = tuple(
            replace(item, dest=Range.sized(start, item.dest.size))
            if item.role is Role.KERNEL
            else item
            for item in plan.segments
        )
        entry = start + ENTRY
        assert name in self.violated(replace(plan, segments=moved, kernel_entry=entry))

    def test_entry(self) -> None:
        plan = build_plan()
        assert "image-placement" in self.violated(replace(plan, kernel_entry=plan.kernel_entry + 4))

    def test_initrd(self) -> None:
        assert "initrd-is-told" in self.violated(replace(build_plan(), cmdline=b"kexec ro"))

    def test_crash_memory(self) -> None:
        plan = build_plan(crash_facts(), target=CRASH)
        for name in (b"mem=", b"elfcorehdr="):
            words = [word for word in plan.cmdline.split() if not word.startswith(name)]
            less = replace(plan, cmdline=b" ".join(words))
            assert "crash-memory" in self.violated(less, crash_facts())
        normal = build_plan()
        more = replace(normal, cmdline=normal.cmdline + b" elfcorehdr=0x1000@0x80000000")
        assert "crash-memory" in self.violated(more)


class TestImage:
    """The header, and files that others might take for it."""

    def parsed(self, data: bytes) -> VmlinuxEfi:
        image = identify(data, arch="loongarch64").image
        assert isinstance(image, VmlinuxEfi)
        return image

    def test_fields(self) -> None:
        image = self.parsed(KERNEL)
        assert (image.load_offset, image.entry_offset) == (LOAD_OFFSET, ENTRY)
        assert (image.image_size, image.release) == (IMAGE_SIZE, "7.2.0-loong")
        assert not image.signed
        assert self.parsed(signed(KERNEL)).signed

    def test_older_kernels_give_a_virtual_entry(self) -> None:
        virtual = 0x9000000000000000 | (LOAD_OFFSET + ENTRY)
        assert self.parsed(build_image(kernel_entry=virtual)).entry_offset == ENTRY

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"image_size": 0}, "image_size is 0"),
            ({"image_size": 0x20000}, "the kernel alone has"),
            ({"kernel_entry": 0x1000}, "not in the kernel"),
            ({"kernel_entry": LOAD_OFFSET + IMAGE_SIZE}, "not in the kernel"),
        ],
    )
    def test_nonsense_is_refused(self, more: dict[str, int], message: str) -> None:
        with pytest.raises(ImageError, match=message):
            self.parsed(build_image(**more))  # type: ignore[arg-type]  # numbers all

    def test_other_machines(self) -> None:
        with pytest.raises(ImageError, match="an Image for aarch64"):
            identify(build_image(machine=MACHINE_ARM64), arch="loongarch64")
        with pytest.raises(ImageError, match="a kernel for loongarch64"):
            identify(KERNEL, arch="aarch64")
        assert MACHINE == 0x6264
