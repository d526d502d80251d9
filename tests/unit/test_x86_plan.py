"""Plans for bzImage kernels: where things go, and what the new kernel is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.x86.boot_params import (
    BootParams,
    BootParamsInput,
    EfiInfo,
    build_boot_params,
    parse_boot_params,
)
from pykexec.boot.x86.setup_data import SetupType, walk_nodes
from pykexec.errors import CommandLineError, ImageError, NoRoomError, UsageError
from pykexec.planning.digest import table_of
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import PurgatoryOptions, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import PurgatoryParameters, read_parameters
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.consoles import PcConsole
from pykexec.values.facts import EddDevice, MachineFacts
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB, align_up
from tests.builders.bzimage import build_bzimage
from tests.builders.machines import EFI
from tests.builders.plans import (
    INITRD,
    KERNEL,
    RAM,
    SMALL_KERNEL,
    build_facts,
    build_plan,
    build_request,
)

RUNNING = build_boot_params(
    BootParamsInput(
        raw_header=KERNEL[0x1F1:0x26C],
        e820=(),
        cmdline=0,
        screen_info=b"\x00" * 6 + b"\x03" + bytes(8) + b"\x01" + bytes(48),
        acpi_rsdp=0xF59D0,
        hardware_subarch=4,
        efi=EfiInfo(b"EL64", 0x1_2345_6789, 48, 1, 0x1000, 480),
        secure_boot=2,
    )
)


def parameters(made: SegmentPlan) -> PurgatoryParameters:
    segment = made.segment(Role.PURGATORY)
    assert segment is not None
    return read_parameters(load("x86_64"), bytes(segment.data))


def told(made: SegmentPlan) -> BootParams:
    page = made.bytes_at(Range.sized(parameters(made).registers.argument, 4096))
    assert page is not None
    return parse_boot_params(page)


def nodes_of(made: SegmentPlan) -> dict[int, bytes]:
    found = walk_nodes(told(made).setup_data, made.bytes_at)
    assert found is not None
    return {node.type: node.payload for node in found}


def test_segments_go_from_the_top_downwards() -> None:
    made = build_plan()
    assert [item.role for item in made.segments] == [
        Role.KERNEL,
        # Small enough for what the kernel's alignment leaves free above it.
        Role.SETUP_DATA,
        Role.INITRD,
        Role.PARAMETERS,
        Role.PURGATORY,
    ]
    assert made.segments[-1].dest.end == RAM[-1].end
    assert verify(made, build_facts()) == []


def test_the_kernel_has_its_whole_init_size_aligned() -> None:
    kernel = build_plan().segment(Role.KERNEL)
    assert kernel is not None
    assert kernel.dest.size == SMALL_KERNEL.init_size
    assert kernel.dest.start % SMALL_KERNEL.kernel_alignment == 0
    assert bytes(kernel.data) == SMALL_KERNEL.payload


def test_the_way_leads_through_the_purgatory_into_the_kernel() -> None:
    made = build_plan()
    kernel, purgatory = made.segment(Role.KERNEL), made.segment(Role.PURGATORY)
    assert kernel is not None
    assert purgatory is not None
    assert made.entry == purgatory.dest.start
    registers = parameters(made).registers
    assert isinstance(registers, Entry64Registers)
    assert registers.rip == made.kernel_entry == kernel.dest.start + 0x200
    assert registers.rsp == purgatory.dest.end
    assert made.flags == 0x3E0000


def test_the_digest_covers_all_but_the_purgatory_to_the_end_of_the_last_page() -> None:
    made = build_plan()
    found = parameters(made)
    assert found.table == table_of(made.segments, 4096)
    assert found.digest == found.table.digest()
    expected = [
        (item.dest.start, align_up(len(item.data), 4096))
        for item in made.segments
        if item.role is not Role.PURGATORY
    ]
    assert list(found.table.regions) == expected


def test_no_checks_leaves_the_digest_out() -> None:
    found = parameters(build_plan(purgatory=PurgatoryOptions(skip_checks=True)))
    assert found.skip_checks
    assert found.table.regions == ()


def test_purgatory_options_arrive() -> None:
    options = PurgatoryOptions(False, PcConsole(True, True, 0x2F8, 9600))
    found = parameters(build_plan(purgatory=options))
    assert found.console == PcConsole(True, True, 0x2F8, 9600)


def test_the_new_kernel_is_told_where_all_is() -> None:
    made = build_plan()
    params = told(made)
    initrd = made.segment(Role.INITRD)
    assert initrd is not None
    assert params.initrd == Range.sized(initrd.dest.start, len(INITRD))
    assert params.initrd.start > 4 * GIB
    assert made.bytes_at(Range.sized(params.cmdline, 9)) == b"ro quiet\0"
    assert params.type_of_loader == 0xD0
    assert [(entry.range, entry.type) for entry in params.e820] == [(item, 1) for item in RAM]
    assert nodes_of(made) == {SetupType.SETUP_RNG_SEED: bytes(32)}


def test_without_initrd_and_seed() -> None:
    made = build_plan(initrd=None, rng_seed=None)
    assert told(made).initrd is None
    assert told(made).setup_data == 0
    assert made.segment(Role.SETUP_DATA) is None
    assert "no RNG seed is handed over" in made.notes
    assert verify(made, build_facts()) == []


def test_header_bytes_unknown_to_us_are_kept() -> None:
    image = bytearray(build_bzimage(SMALL_KERNEL))
    image[0x201] += 8
    image[0x26C:0x274] = b"unknown!"
    made = build_plan(kernel=bytes(image))
    page = made.bytes_at(Range.sized(parameters(made).registers.argument, 4096))
    assert page is not None
    assert page[0x26C:0x274] == b"unknown!"


@pytest.mark.parametrize("count", [127, 128, 129, 500])
def test_more_than_128_regions_go_on_in_setup_data(count: int) -> None:
    kinds = (MemoryKind.RESERVED, MemoryKind.ACPI_NVS)
    low = [
        MemoryRegion(Range.sized(0x1000 * i, 0x1000), kinds[i % 2], "odd") for i in range(count - 1)
    ]
    big = Range(GIB, 2 * GIB)
    firmware = MemoryMap((*low, MemoryRegion(big, MemoryKind.RAM, "System RAM")))
    facts = build_facts([big], firmware_map=firmware)
    made = build_plan(facts)
    rest = nodes_of(made).get(SetupType.SETUP_E820_EXT, b"")
    assert len(told(made).e820) == min(count, 128)
    assert len(rest) == 20 * max(count - 128, 0)
    assert verify(made, facts) == []


def efi_facts(**more: Any) -> MachineFacts:
    return build_facts(**{"efi": EFI, "boot_params": RUNNING, **more})


def test_efi_is_handed_over_whole() -> None:
    made = build_plan(efi_facts())
    params = told(made)
    assert params.efi.loader_signature == b"EL64"
    assert params.efi.systab == 0x1_2345_6789
    assert (params.efi.memdesc_size, params.efi.memdesc_version) == (40, 1)
    assert params.efi.memmap_size == 80
    assert made.bytes_at(Range.sized(params.efi.memmap + 8, 8)) == (0x7F8EE000).to_bytes(
        8, "little"
    )
    payload = nodes_of(made)[SetupType.SETUP_EFI]
    assert payload[16:24] == (EFI.config_table or 0).to_bytes(8, "little")
    assert params.secure_boot == 2
    assert params.acpi_rsdp == 0xF59D0
    assert params.hardware_subarch == 4
    assert params.screen_info[6] == 3
    assert verify(made, efi_facts()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"efi": replace(EFI, runtime_map=())}, "no /sys/firmware/efi/runtime-map"),
        ({"efi": replace(EFI, platform_bits=32)}, "the firmware is 32-bit"),
        ({"efi": replace(EFI, fw_vendor=None)}, "fw_vendor or config_table is missing"),
        ({"boot_params": None}, "no /sys/kernel/boot_params/data"),
        ({"boot_params": bytes(4096)}, "has no memory map of version 1"),
    ],
)
def test_efi_is_not_handed_over_by_halves(change: dict[str, object], words: str) -> None:
    made = build_plan(efi_facts(**change))
    assert told(made).efi == EfiInfo()
    assert SetupType.SETUP_EFI not in nodes_of(made)
    assert any(words in note for note in made.notes)


def test_a_kernel_without_efi_kexec_gets_no_efi() -> None:
    kernel = build_bzimage(replace(SMALL_KERNEL, xloadflags=0x2F))
    made = build_plan(efi_facts(), kernel=kernel)
    assert told(made).efi == EfiInfo()
    assert any("XLF_EFI_KEXEC" in note for note in made.notes)


def test_rsdp_comes_from_efi_when_boot_params_has_none() -> None:
    assert told(build_plan(efi_facts(boot_params=bytes(4096)))).acpi_rsdp == EFI.acpi_rsdp


@pytest.mark.parametrize(
    ("driver", "handed_over"),
    [
        (None, True),
        ("EFI VGA", True),
        ("VESA VGA", True),
        ("simpledrmdrmfb", True),
        ("efidrmdrmfb", True),
        ("i915drmfb", False),
    ],
)
def test_a_display_that_a_driver_took_over_is_not_handed_over(
    driver: str | None, handed_over: bool
) -> None:
    made = build_plan(efi_facts(framebuffer_driver=driver))
    told_columns = told(made).screen_info[6]
    assert told_columns == (3 if handed_over else 0)
    assert any("expect no picture" in note for note in made.notes) is not handed_over


def test_bios_disks_are_told() -> None:
    disks = [EddDevice(0x80 + i, 0x30, 1, 2, 3, 4, b"par", 0xABCD0000 + i) for i in range(8)]
    params = told(build_plan(build_facts(edd=tuple(disks))))
    assert len(params.edd) == 6
    assert params.edd[1]["device"] == 0x81
    assert params.edd_mbr_signatures == tuple(0xABCD0000 + i for i in range(8))


def test_a_kernel_bound_below_4_gib_stays_there_with_all_it_needs() -> None:
    spec = replace(SMALL_KERNEL, xloadflags=0x7D)
    made = build_plan(kernel=build_bzimage(spec))
    above = {item.role for item in made.segments if item.dest.end > 4 * GIB}
    assert above == {Role.PURGATORY}
    initrd = made.segment(Role.INITRD)
    assert initrd is not None
    assert initrd.dest.last <= spec.initrd_addr_max
    assert verify(made, build_facts()) == []


def test_a_kernel_that_is_not_relocatable_lies_at_its_address() -> None:
    made = build_plan(kernel=build_bzimage(replace(SMALL_KERNEL, relocatable_kernel=0)))
    kernel = made.segment(Role.KERNEL)
    assert kernel is not None
    assert kernel.dest.start == SMALL_KERNEL.pref_address
    assert verify(made, build_facts()) == []


def test_reserved_children_are_never_touched() -> None:
    taken = IomemEntry(Range(6 * GIB - 64 * MIB, 6 * GIB - 4096), "Reserved")
    facts = build_facts(children=[taken])
    made = build_plan(facts)
    assert not any(item.dest.overlaps(taken.range) for item in made.segments)
    assert verify(made, facts) == []


def test_mem_min_and_mem_max_bound_every_segment() -> None:
    made = build_plan(mem_min=0x20000000, mem_max=0x2FFFFFFF)
    assert all(item.dest.start >= 0x20000000 for item in made.segments)
    assert all(item.dest.last <= 0x2FFFFFFF for item in made.segments)


def test_the_command_line_may_be_as_long_as_the_kernel_says() -> None:
    made = build_plan(cmdline=b"x" * 2047)
    assert verify(made, build_facts()) == []
    with pytest.raises(CommandLineError) as caught:
        build_plan(cmdline=b"x" * 2048)
    assert caught.value.message == (
        "the command line is 2048 bytes long, this kernel takes at most 2047 (cmdline_size)"
    )
    assert caught.value.hint == "shorten it by 1 byte"


def test_a_nul_in_the_command_line_is_refused() -> None:
    with pytest.raises(CommandLineError, match="NUL byte at position 2"):
        build_plan(cmdline=b"ro\0quiet")


def test_an_empty_initrd_is_refused() -> None:
    with pytest.raises(ImageError, match="initrd file is empty"):
        build_plan(initrd=b"")


def test_another_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="architecture 'riscv32'"):
        plan(replace(build_facts(), arch="riscv32"), build_request())


def test_an_initrd_larger_than_memory_names_both_sizes() -> None:
    facts = build_facts([Range(MIB, 128 * MIB)])
    with pytest.raises(NoRoomError) as caught:
        build_plan(facts, initrd=memoryview(bytes(256 * MIB)))
    assert caught.value.message.startswith(
        "cannot place initrd: need 256 MiB at or above 0x1000000"
    )
    assert "largest free range there is" in caught.value.message


@pytest.mark.parametrize(
    ("start", "step", "expected"),
    [
        (MIB, 0x1000, ["ok", "initrd", "kernel", "boot_params", "purgatory"]),
        # Without RAM below pref_address there is nowhere else for the last and smallest.
        (16 * MIB, 0x1000, ["ok", "setup_data", "initrd", "kernel"]),
    ],
)
def test_walk_the_budget(start: int, step: int, expected: list[str]) -> None:
    """Take the RAM away piece by piece: each segment in turn is the one without a place."""
    outcomes: list[str] = []
    top = 16 * MIB + SMALL_KERNEL.init_size + MIB
    lowest = start if start == MIB else top - 2 * MIB
    for end in range(top, lowest, -step):
        if start == MIB and end > 2 * MIB and end % (16 * step):
            continue  # only the small segments, which come last, need each page
        facts = build_facts([Range(start, end)])
        try:
            assert verify(build_plan(facts), facts) == []
            outcome = "ok"
        except NoRoomError as error:
            outcome = error.role
        if outcomes[-1:] != [outcome]:
            outcomes.append(outcome)
    assert outcomes == expected


def test_plans_are_deterministic() -> None:
    assert build_plan() == build_plan()
