"""Plans that enter a kernel by its 32-bit entry point, and those of a 32-bit running kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.x86.boot_params import parse_boot_params
from pykexec.boot.x86.setup_data import SetupType, walk_nodes
from pykexec.calls.call_choice import choose
from pykexec.errors import ImageError, NoRoomError, UsageError
from pykexec.formats import identify
from pykexec.formats.bzimage import parse_bzimage
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan_file_load
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.unwrapping import unwrap
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.registers import Registers
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.calls import Call, CallWish
from pykexec.values.facts import MachineFacts
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.arm64 import build_tree
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.elf import build_elf, build_x86_vmlinux
from tests.builders.images import build_uki
from tests.builders.pe_files import MACHINE_X86_64
from tests.builders.plans import (
    I386_KERNEL,
    I386_SPEC,
    INITRD,
    KERNEL,
    RAM,
    SMALL_KERNEL,
    build_facts,
    build_plan,
    build_request,
)

LOWMEM_END = 864 * MIB
OLD = replace(SMALL_KERNEL, payload_size=1 << 20)


def registers_of(made: SegmentPlan) -> Registers:
    segment = made.segment(Role.PURGATORY)
    assert segment is not None
    return read_parameters(load(made.arch), bytes(segment.data)).registers


def place_of(made: SegmentPlan, role: Role) -> Range:
    segment = made.segment(role)
    assert segment is not None
    return segment.dest


def i386_facts(**more: Any) -> MachineFacts:
    return replace(build_facts(**more), arch="i386")


def checked(facts: MachineFacts, made: SegmentPlan) -> SegmentPlan:
    assert verify(made, facts) == []
    return made


def test_a_64_bit_kernel_is_entered_in_32_bits_as_asked_for() -> None:
    made = checked(build_facts(), build_plan(entry_bits=32))
    kernel, parameters = place_of(made, Role.KERNEL), place_of(made, Role.PARAMETERS)
    purgatory = place_of(made, Role.PURGATORY)
    assert registers_of(made) == Entry32Registers(
        esi=parameters.start, eip=kernel.start, esp=purgatory.end
    )
    assert made.kernel_entry == kernel.start
    assert all(segment.dest.end <= 4 * GIB for segment in made.segments)
    assert kernel.start > LOWMEM_END, "it unpacks itself in 64 bits all the same"
    assert place_of(made, Role.INITRD).last <= SMALL_KERNEL.initrd_addr_max
    assert made.flags == 0x3E0000


def test_a_32_bit_kernel_needs_no_option() -> None:
    made = checked(build_facts(), build_plan(kernel=I386_KERNEL))
    assert isinstance(registers_of(made), Entry32Registers)
    kernel = place_of(made, Role.KERNEL)
    assert kernel.start == I386_SPEC.pref_address, "as low as it may be"
    assert kernel.start % I386_SPEC.kernel_alignment == 0


def test_a_32_bit_vmlinux() -> None:
    made = checked(build_facts(), build_plan(kernel=build_x86_vmlinux(bits=32)))
    assert place_of(made, Role.KERNEL) == Range(0x1000000, 0x1240000)
    assert made.kernel_entry == registers_of(made).entry == 0x1000C43
    assert isinstance(registers_of(made), Entry32Registers)


def test_a_32_bit_vmlinux_does_not_move() -> None:
    facts = build_facts(ram=(RAM[0], Range(MIB, 17 * MIB), Range(64 * MIB, GIB)))
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        build_plan(facts, kernel=build_x86_vmlinux(bits=32))


@pytest.mark.parametrize("kernel", [KERNEL, I386_KERNEL])
def test_from_a_32_bit_kernel(kernel: bytes) -> None:
    """Every bzImage has a 32-bit entry point, and that is the one that can be reached."""
    facts = i386_facts()
    made = checked(facts, build_plan(facts, kernel=kernel))
    assert made.arch == "i386"
    assert made.flags == 0x30000
    assert isinstance(registers_of(made), Entry32Registers)
    assert all(segment.dest.end <= 4 * GIB for segment in made.segments)


def test_a_64_bit_vmlinux_is_out_of_reach_of_a_32_bit_kernel() -> None:
    with pytest.raises(ImageError, match="cannot be entered from a 32-bit kernel") as caught:
        build_plan(i386_facts(), kernel=build_x86_vmlinux())
    assert caught.value.hint is not None
    assert "bzImage" in caught.value.hint


@pytest.mark.parametrize(("bits", "wanted"), [(64, 32), (64, 16), (32, 16)])
def test_a_vmlinux_has_one_entry_point(bits: int, wanted: int) -> None:
    message = f"a vmlinux of {bits} bits has no entry point of {wanted} bits"
    with pytest.raises(ImageError, match=message):
        build_plan(kernel=build_x86_vmlinux(bits=bits), entry_bits=wanted)


def test_five_level_page_tables_are_left_for_a_kernel_that_does_not_know_them() -> None:
    """Like memtest86+ of 64 bits: it can be entered in 32."""
    kernel = build_bzimage(replace(SMALL_KERNEL, xloadflags=0x1F))
    facts = build_facts(la57=True)
    made = checked(facts, build_plan(facts, kernel=kernel))
    assert isinstance(registers_of(made), Entry32Registers)
    assert "five-level page tables" in " ".join(made.notes)
    for other, more in ((facts, {"kernel": KERNEL}), (build_facts(la57=False), {})):
        made = checked(other, build_plan(other, **{"kernel": kernel, **more}))
        assert isinstance(registers_of(made), Entry64Registers)


@pytest.mark.parametrize("version", [*range(0x0200, 0x0210)])
def test_every_protocol(version: int) -> None:
    """What a header does not have is what boot.rst says of kernels that old."""
    spec = replace(OLD, version=version, xloadflags=0, cmdline_size=255)
    made = checked(build_facts(), build_plan(kernel=build_bzimage(spec)))
    kernel = place_of(made, Role.KERNEL)
    if version < 0x0205:
        assert kernel.start == MIB, "it is not relocatable"
    else:
        assert kernel.start % spec.kernel_alignment == 0
    needed = spec.init_size if version >= 0x020A else 4 * len(spec.payload)
    assert kernel.size == needed
    assert kernel.end <= LOWMEM_END
    if version < 0x0202:
        segment = made.segment(Role.PARAMETERS)
        assert segment is not None
        assert segment.dest.start == 0x90000
        assert bytes(segment.data[0x20:0x24]) == bytes.fromhex("3fa30010")
        assert bytes(segment.data[0x1000:]) == b"ro quiet\0"
    limit = spec.initrd_addr_max if version >= 0x0203 else 0x37FFFFFF
    assert place_of(made, Role.INITRD).last <= limit


@pytest.mark.parametrize("version", range(0x020A, 0x0210))
def test_a_field_for_the_size_in_memory_that_is_empty(version: int) -> None:
    spec = replace(OLD, version=version, xloadflags=0, init_size=0)
    made = checked(build_facts(), build_plan(kernel=build_bzimage(spec)))
    assert place_of(made, Role.KERNEL).size == 4 * len(spec.payload)


def test_a_low_protocol_with_a_high_flag() -> None:
    """Bits at the place of xloadflags mean nothing before 2.12."""
    spec = replace(OLD, version=0x020B, xloadflags=0x7F)
    assert not parse_bzimage(build_bzimage(spec)).header.wide


@pytest.mark.parametrize(("bits", "option"), [(32, "--entry-32bit"), (16, "--real-mode")])
def test_only_kexec_load_honours_it(bits: int, option: str) -> None:
    facts, request = build_facts(), build_request(entry_bits=bits)
    image = identify(KERNEL).image
    chosen = choose(CallWish.AUTO, request, image, facts)
    assert chosen.call is Call.KEXEC_LOAD
    assert option in chosen.reason
    with pytest.raises(UsageError, match=f"{option} cannot be honoured by kexec_file_load"):
        choose(CallWish.FILE, request, image, facts)


def test_the_initrd_may_be_at_the_top_of_what_the_kernel_says() -> None:
    spec = KernelSpec(payload_size=64 * 1024, initrd_addr_max=64 * MIB - 1)
    made = build_plan(kernel=build_bzimage(spec), entry_bits=32)
    assert place_of(made, Role.INITRD).end == 64 * MIB
    assert len(INITRD) <= place_of(made, Role.INITRD).size


@pytest.mark.parametrize("bits", [None, 32])
def test_a_device_tree_goes_as_it_is(bits: int | None) -> None:
    tree = build_tree()
    made = checked(build_facts(), build_plan(dtb=tree, entry_bits=bits))
    assert trees_in(made) == [tree]


def trees_in(made: SegmentPlan) -> list[bytes]:
    """Return the device trees that are handed over."""
    page = made.bytes_at(Range.sized(registers_of(made).argument, 4096))
    assert page is not None
    nodes = walk_nodes(parse_boot_params(page).setup_data, made.bytes_at)
    assert nodes is not None
    return [node.payload for node in nodes if node.type == SetupType.SETUP_DTB]


def test_the_running_kernels_device_tree() -> None:
    tree, other = build_tree(), build_tree(RAM[:1])
    facts = build_facts(device_tree=tree)
    assert trees_in(checked(facts, build_plan(facts, force_dtb=True))) == [tree]
    assert trees_in(build_plan(facts, force_dtb=True, dtb=other)) == [other]
    assert trees_in(build_plan(facts)) == []


def test_no_running_kernels_device_tree() -> None:
    note = "--force-dtb: the running kernel has no device tree (/sys/firmware/fdt)"
    made = build_plan(force_dtb=True)
    assert trees_in(made) == []
    assert note in made.notes
    facts = build_facts()
    assert note in plan_file_load(facts, build_request(force_dtb=True)).notes
    assert note not in build_plan(build_facts(device_tree=build_tree()), force_dtb=True).notes


def test_the_device_tree_of_a_uki() -> None:
    """With the call that can hand it over; with the other one it is said to be left out."""
    tree, other = build_tree(), build_tree(RAM[:1])
    uki = build_uki(KERNEL, (".dtb", tree), machine=MACHINE_X86_64)
    facts = build_facts()
    made = checked(facts, build_plan(facts, kernel=uki))
    assert trees_in(made) == [tree]
    assert "the device tree is the UKI's" in made.notes
    assert trees_in(build_plan(kernel=uki, dtb=other)) == [other]
    running = build_facts(device_tree=other)
    assert trees_in(build_plan(running, kernel=uki, force_dtb=True)) == [other]

    found = identify(uki)
    request = unwrap(build_request(kernel=uki), found)
    chosen = choose(CallWish.AUTO, request, found.image, facts)
    assert chosen.note == "kexec_load: only this call honours the UKI's device tree"
    assert choose(CallWish.FILE, request, found.image, facts).warnings == (
        "the UKI's device tree has no effect with kexec_file_load: that call takes none from a "
        "program",
    )


def test_a_device_tree_that_is_none() -> None:
    with pytest.raises(ImageError, match="not a device tree"):
        build_plan(dtb=b"/dts-v1/;" + bytes(64))
    uki = build_uki(KERNEL, (".dtb", b"/dts-v1/;"), machine=MACHINE_X86_64)
    with pytest.raises(ImageError, match="the UKI's device tree: not a device tree"):
        build_plan(kernel=uki)


def test_a_device_tree_is_for_linux() -> None:
    for more in ({"entry_bits": 16}, {"kernel": build_elf(), "initrd": None}):
        with pytest.raises(UsageError, match="--dtb and --force-dtb are for Linux kernels"):
            build_plan(dtb=build_tree(), **more)
        with pytest.raises(UsageError, match="--dtb and --force-dtb are for Linux kernels"):
            build_plan(force_dtb=True, **more)
