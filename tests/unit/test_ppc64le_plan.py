"""A plan for ppc64le, judged by addresses from the kernel's own files and a decoder of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.ima import check_ima_buffer
from pykexec.calls.call_choice import Choice, choose
from pykexec.crash.elfcorehdr import parse_elfcorehdr
from pykexec.errors import CommandLineError, ImageError, MachineError, NoRoomError, PykexecError
from pykexec.formats import identify
from pykexec.formats.device_tree import build_device_tree, parse_device_tree
from pykexec.planning.invariants import SEGMENT_INVARIANTS, invariants_of, verify
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import PurgatoryParameters, read_parameters
from pykexec.purgatory_objects.ppc64le import Ppc64leRegisters
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.elf_headers import PT_LOAD
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import Spec, read_blob, wide
from tests.builders.ima import MEASUREMENTS
from tests.builders.ppc64le import (
    CRASH_FACTS,
    CRASH_REGION,
    KERNEL,
    KERNEL_END,
    LINEAR,
    RAM,
    RTAS,
    build_facts,
    build_kernel,
    build_plan,
    build_request,
    build_tree,
    lmb_list,
    lmb_sets,
)
from tests.builders.tree_requests import INITRD

CRASH = Target.CRASH
REGION = CRASH_REGION.range
DRCONF = "ibm,dynamic-reconfiguration-memory"
ASSIGNED, BOOT, FREE = 0x8, 0xA0, 0


def parameters_of(plan: SegmentPlan) -> PurgatoryParameters:
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    return read_parameters(load("ppc64le"), bytes(purgatory.data))


def registers_of(plan: SegmentPlan) -> Ppc64leRegisters:
    registers = parameters_of(plan).registers
    assert isinstance(registers, Ppc64leRegisters)
    return registers


def tree_of(plan: SegmentPlan) -> Any:
    """Follow r3 to the tree."""
    dtb = plan.segment_at(registers_of(plan).r3)
    assert dtb is not None
    assert dtb.role is Role.DTB
    return read_blob(bytes(dtb.data))


def place_of(plan: SegmentPlan, role: Role) -> Range:
    segment = plan.segment(role)
    assert segment is not None
    return segment.dest


def crash_facts(**more: Any) -> Any:
    return build_facts(children=[CRASH_REGION], **more)


def test_the_kernel_goes_behind_the_running_one_and_all_else_high() -> None:
    plan = build_plan()
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    assert plan.kernel_entry == kernel.dest.start == KERNEL_END
    assert bytes(kernel.data) == KERNEL[0x1000 : 0x1000 + len(kernel.data)]
    assert plan.flags == 21 << 16
    assert place_of(plan, Role.INITRD).end == RAM[0].end
    # RTAS lies on top of what is below 768 MiB.
    for role in (Role.PURGATORY, Role.DTB):
        assert place_of(plan, role).end <= 768 * MIB
    assert all(not item.dest.overlaps(RTAS) for item in plan.segments)
    assert not verify(plan, build_facts())


def test_the_purgatory_begins_as_the_kernel_does() -> None:
    plan = build_plan()
    registers = registers_of(plan)
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    assert registers.kernel_head == KERNEL[0x1004:0x1100]
    assert bytes(purgatory.data[4:0x100]) == KERNEL[0x1004:0x1100]
    assert plan.entry == purgatory.dest.start
    assert (registers.run_at_load, registers.r8, registers.r9) == (0, 0, 0)
    assert registers.pc == plan.kernel_entry


def test_chosen_says_what_the_plan_says_and_nothing_stale() -> None:
    stale = {
        "linux,crashkernel-base": wide(0),
        "linux,crashkernel-size": wide(0),
        "linux,memory-limit": wide(4 * GIB),
        "linux,htab-base": wide(GIB),
        "linux,htab-size": wide(16 * MIB),
        "linux,usable-memory-range": wide(0, GIB),
        "linux,elfcorehdr": wide(0x22000000, 0x1000),
        "linux,initrd-start": [0x3000000],
        "linux,initrd-end": [0x4000000],
    }
    tree = build_tree(
        RAM,
        stale,
        Spec(DRCONF, {"linux,drconf-usable-memory": wide(0)}),
        rtas={"ibm,kernel-dump": b"x"},
    )
    plan = build_plan(build_facts(device_tree=tree))
    start = place_of(plan, Role.INITRD).start
    found = tree_of(plan).properties
    assert found["/chosen"] == {
        "bootargs": b"ro quiet\0",
        "linux,stdout-path": b"/vdevice/vty@71000000\0",
        "ibm,architecture-vec-5": b"\0\1",
        "linux,initrd-start": wide(start),
        "linux,initrd-end": wide(start + len(INITRD)),
        "kaslr-seed": b"kaslr-8b",
        "rng-seed": b"r" * 32,
        "linux,booted-from-kexec": b"",
    }
    assert set(found["/rtas"]) == {"linux,rtas-base", "rtas-size"}
    assert found[f"/{DRCONF}"] == {}
    # The hashed page table is the running kernel's, until it has left.
    table = Range.sized(GIB, 16 * MIB)
    assert all(not item.dest.overlaps(table) for item in plan.segments)


def test_reservations_are_carried_over_and_rtas_comes_in() -> None:
    tree = build_tree(
        reservations=[(0x100_0000, 0x1000), (0x300_0000, 0x10000)],
        chosen={"linux,initrd-start": [0x3000000], "linux,initrd-end": [0x3010000]},
    )
    plan = build_plan(build_facts(device_tree=tree))
    assert tree_of(plan).reservations == ((0x100_0000, 0x1000), (RTAS.start, RTAS.size))


@pytest.mark.parametrize(
    ("node", "kept"),
    [
        (Spec("reserved-memory", {"#address-cells": [2], "#size-cells": [2]},
              (Spec("a@3000000", {"reg": wide(0x3000000, 0x10000)}),)),
         Range.sized(0x3000000, 0x10000)),
        (Spec("pci@1", {"device_type": "pci", "linux,tce-base": wide(0x2A00000),
                        "linux,tce-size": [0x400000]}), Range.sized(0x2A00000, 0x400000)),
        (Spec("ibm,opal", {"opal-base-address": wide(0x30000000),
                           "opal-runtime-size": wide(0x10000000),
                           "opal-entry-address": wide(0x30005000)}),
         Range.sized(0x30000000, 0x10000000)),
    ],
    ids=["reserved-memory", "TCE", "OPAL"],
)  # fmt: skip
def test_what_somebody_keeps(node: Spec, kept: Range) -> None:
    facts = build_facts(device_tree=build_tree(RAM, None, node))
    initrd = bytes(600 * MIB)
    plan = build_plan(facts, initrd=memoryview(initrd))
    assert all(not item.dest.overlaps(kept) for item in plan.segments)
    assert not verify(plan, facts)
    wrong = changed(
        plan, Role.INITRD, lambda item: replace(item, dest=Range.sized(kept.start, 4096))
    )
    assert any("which the device tree keeps" in item.detail for item in verify(wrong, facts))


def test_reserved_ranges_of_the_root() -> None:
    kept = Range.sized(RAM[0].end - 64 * MIB, 64 * MIB)
    tree = build_tree(root={"reserved-ranges": wide(kept.start, kept.size)})
    assert place_of(build_plan(build_facts(device_tree=tree)), Role.INITRD).end == kept.start


def test_opal_is_told_and_real_mode_reaches_all_of_a_bare_machine() -> None:
    opal = {
        "opal-base-address": wide(0x30000000),
        "opal-entry-address": wide(0x30005000),
        "opal-runtime-size": wide(0x1000000),
    }
    ram = (Range(0, 512 * MIB), Range(8 * GIB, 10 * GIB))
    tree = build_tree(ram, None, Spec("ibm,opal", opal), bare=True)
    plan = build_plan(build_facts(ram, device_tree=tree))
    assert (registers_of(plan).r8, registers_of(plan).r9) == (0x30000000, 0x30005000)
    assert place_of(plan, Role.INITRD).end == 10 * GIB


@pytest.mark.parametrize(
    ("hashed", "version", "end"),
    [
        (True, 0x4E1202, 2 * GIB),
        (True, 0x0F000005, 2 * GIB),
        (True, 0x0F000004, GIB),
        (True, 0x4D0200, GIB),
        (None, 0x4E1202, 2 * GIB),
        (False, 0x4E1202, 10 * GIB),
    ],
)
def test_the_first_block_is_what_real_mode_reaches(
    hashed: bool | None, version: int, end: int
) -> None:
    ram = (Range(0, 2 * GIB), Range(8 * GIB, 10 * GIB))
    tree = build_tree(ram, cpu_version=version)
    facts = build_facts(ram, device_tree=tree, hashed_page_tables=hashed)
    plan = build_plan(facts)
    assert place_of(plan, Role.INITRD).end == end
    assert not verify(plan, facts)


def test_measurements_are_handed_on() -> None:
    """Linux drivers/of/kexec.c, "ima_get_kexec_buffer"."""
    facts = build_facts(ima_measurements=MEASUREMENTS)
    plan = build_plan(facts, ima=True)
    segment = plan.segment(Role.IMA_BUFFER)
    assert segment is not None
    assert check_ima_buffer(segment.data) is None
    tree = tree_of(plan)
    where = (segment.dest.start, segment.dest.size)
    assert tree.properties["/chosen"]["linux,ima-kexec-buffer"] == wide(*where)
    assert where in tree.reservations
    assert not verify(plan, facts)
    dropped = build_plan(facts, ima=False)
    assert dropped.segment(Role.IMA_BUFFER) is None
    assert any("not carried over: as asked for" in note for note in dropped.notes)


def test_a_first_block_without_room_is_named() -> None:
    ram = (Range(0, 64 * MIB), Range(64 * MIB, 4 * GIB))
    facts = build_facts(ram, device_tree=build_tree(ram))
    with pytest.raises(NoRoomError, match="real mode reaches no other"):
        build_plan(facts, initrd=memoryview(bytes(100 * MIB)))
    assert build_plan(replace(facts, hashed_page_tables=False), initrd=memoryview(bytes(100 * MIB)))


def test_what_is_handed_over_lies_above_where_the_kernel_copies_itself() -> None:
    facts = build_facts(hashed_page_tables=False)
    kernel = build_kernel(memsz=400 * MIB)
    plan = build_plan(facts, kernel=kernel)
    for role in (Role.DTB, Role.INITRD):
        assert place_of(plan, role).start >= 400 * MIB
    assert not verify(plan, facts)


def test_memory_blocks_that_belong_to_the_machine() -> None:
    """A machine whose memory came by hot-plug: /proc/iomem has it, and no memory node."""
    ram = (Range(0, GIB), Range(GIB, GIB + 512 * MIB))
    first = build_tree(ram[:1])
    for value in (
        {"ibm,dynamic-memory": lmb_list((GIB, ASSIGNED), (GIB + 256 * MIB, FREE))},
        {
            "ibm,dynamic-memory-v2": lmb_sets(
                (4, 0, BOOT), (1, GIB, ASSIGNED), (1, GIB + 256 * MIB, FREE)
            )
        },
    ):
        drconf = Spec(DRCONF, {"ibm,lmb-size": wide(256 * MIB), **value})
        facts = build_facts(
            ram, device_tree=build_tree(ram[:1], None, drconf), hashed_page_tables=False
        )
        assert place_of(build_plan(facts), Role.INITRD).end == GIB + 256 * MIB
    facts = build_facts(ram, device_tree=first, hashed_page_tables=False)
    assert place_of(build_plan(facts), Role.INITRD).end == GIB


def with_blocks(came: int) -> bytes:
    blocks = {
        "ibm,lmb-size": wide(256 * MIB),
        "ibm,dynamic-memory-v2": lmb_sets((came, 2 * GIB, ASSIGNED), (4, 4 * GIB, FREE)),
    }
    return build_tree(RAM, None, Spec(DRCONF, blocks))


def chosen(now: int, then: int, wish: CallWish, target: Target = Target.NORMAL) -> Choice:
    facts = crash_facts(device_tree=with_blocks(now), boot_tree=with_blocks(then))
    request = build_request(target=target)
    return choose(wish, request, identify(KERNEL, "ppc64le").image, facts)


def test_the_file_call_knows_the_memory_of_the_boot_alone() -> None:
    """Linux arch/powerpc/kexec/file_load_64.c, "setup_new_fdt_ppc64"."""
    assert chosen(2, 2, CallWish.AUTO).call is Call.KEXEC_FILE_LOAD
    more = chosen(3, 1, CallWish.AUTO)
    assert more.call is Call.KEXEC_LOAD
    assert "the next kernel of 512 MiB of memory that came since the boot" in more.reason
    # A capture kernel has memory of its own.
    assert chosen(3, 1, CallWish.AUTO, CRASH).call is Call.KEXEC_FILE_LOAD
    forced = chosen(3, 1, CallWish.FILE)
    assert forced.call is Call.KEXEC_FILE_LOAD
    assert any("512 MiB of memory that came" in warning for warning in forced.warnings)

    less = chosen(1, 2, CallWish.AUTO)
    assert less.call is Call.KEXEC_LOAD
    assert "256 MiB for its own that have gone since the boot" in less.reason
    with pytest.raises(ImageError, match="256 MiB for its own that have gone"):
        chosen(1, 2, CallWish.FILE)


def table_facts(told: int, order: int | None, *, came: int = 0, **more: Any) -> Any:
    """Return facts of a guest whose boot told ``told`` and whose table has the size ``order``."""
    cpu = Spec("cpu@0", {"device_type": "cpu", "reg": [0], "ibm,pft-size": [0, told]})
    several = Spec("cpus", {"#address-cells": [1], "#size-cells": [0]}, (cpu,))
    functions = {"ibm,hypertas-functions": b"hcall-bulk\0hcall-hpt-resize\0"}
    now, then = (
        build_tree(RAM[:1] + extra, None, rtas=functions, processors=several)
        for extra in ((Range.sized(4 * GIB, came),) if came else (), ())
    )
    return build_facts(
        children=[CRASH_REGION],
        device_tree=now,
        boot_tree=then,
        hash_table_order=order,
        **more,
    )


def test_the_next_kernel_is_told_how_large_the_hashed_page_table_is_now() -> None:
    """Linux arch/powerpc/mm/book3s64/hash_utils.c, "resize_hpt_for_hotplug"."""

    def told(facts: Any) -> Any:
        return tree_of(build_plan(facts)).properties["/cpus/cpu@0"]["ibm,pft-size"]

    assert told(table_facts(24, 26)) == struct.pack(">II", 0, 26)
    assert told(table_facts(24, 24, came=GIB)) == struct.pack(">II", 0, 24)
    assert told(table_facts(24, None)) == struct.pack(">II", 0, 24)
    assert told(table_facts(24, 26, hashed_page_tables=False)) == struct.pack(">II", 0, 24)
    with pytest.raises(MachineError, match="hpt_order") as caught:
        build_plan(table_facts(24, None, came=GIB))
    assert caught.value.hint == "mount -t debugfs debugfs /sys/kernel/debug"


def test_what_only_kexec_load_tells_of_the_table() -> None:
    def chosen(facts: Any, target: Target = Target.NORMAL) -> Call:
        image = identify(KERNEL, "ppc64le").image
        return choose(CallWish.AUTO, build_request(target=target), image, facts).call

    assert chosen(table_facts(24, 24)) is Call.KEXEC_FILE_LOAD
    assert chosen(table_facts(24, 26)) is Call.KEXEC_LOAD
    assert chosen(table_facts(24, None, came=GIB)) is Call.KEXEC_LOAD
    # It grows with what comes later, and so does nothing that has been loaded.
    assert chosen(table_facts(24, 24), CRASH) is Call.KEXEC_LOAD
    assert chosen(table_facts(24, 24, hashed_page_tables=False), CRASH) is Call.KEXEC_FILE_LOAD
    able = KernelState(crash_elfcorehdr_size=CORE_ROOM)
    with pytest.raises(PykexecError, match="--hotplug: when memory comes"):
        build_plan(table_facts(24, 24, kernel=able), target=CRASH, hotplug=True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ibm,dynamic-memory", b"\0\0\0\2" + bytes(24), "28 bytes for 2 entries of 24"),
        ("ibm,dynamic-memory", b"", "0 bytes for 0 entries"),
        ("ibm,dynamic-memory-v2", lmb_sets((0xFFFFFFFF, 0, 8)), "more than 1048576 blocks"),
        ("ibm,dynamic-memory", lmb_list((2**64 - 1, 8)), "one is at 0xffffffffffffffff"),
    ],
)
def test_lists_of_memory_blocks_that_cannot_be(name: str, value: bytes, words: str) -> None:
    drconf = Spec(DRCONF, {"ibm,lmb-size": wide(256 * MIB), name: value})
    with pytest.raises(ImageError, match=words):
        build_plan(build_facts(device_tree=build_tree(RAM, None, drconf)))


def test_memory_of_a_gpu_is_nobodys() -> None:
    ram = (Range(0, GIB), Range(16 * GIB, 17 * GIB))
    gpu = Spec(
        "memory@400000000",
        {
            "device_type": "memory",
            "reg": wide(16 * GIB, GIB),
            "compatible": "ibm,coherent-device-memory",
        },
    )
    facts = build_facts(ram, device_tree=build_tree(ram[:1], None, gpu), hashed_page_tables=False)
    assert place_of(build_plan(facts), Role.INITRD).end == GIB


def test_a_kernel_that_does_not_say_where_it_ends() -> None:
    tree = build_tree(chosen={"linux,kernel-end": b""})
    with pytest.raises(MachineError, match="does not say where it ends"):
        build_plan(build_facts(device_tree=tree))


@pytest.mark.parametrize("size", [2047, 2048])
def test_length_of_the_command_line(size: int) -> None:
    if size < 2048:
        assert build_plan(cmdline=b"x" * size).segments
        return
    with pytest.raises(CommandLineError, match="ppc64le kernels take at most 2047"):
        build_plan(cmdline=b"x" * size)


# Images.


@pytest.mark.parametrize("kind", [2, 3])
def test_both_types_of_elf_file(kind: int) -> None:
    found = identify(build_kernel(kind=kind), "ppc64le")
    assert (found.image.arch, found.image.format_name) == ("ppc64le", "ELF64 vmlinux")
    assert found.image.release == "6.12.0-power"
    assert not verify(build_plan(kernel=build_kernel(kind=kind)), build_facts())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release": ""}, "no Linux kernel"),
        ({"begin": b"\x7f\x00\x00\x01"}, "cannot be entered|can be entered at its first byte"),
        ({"entry": LINEAR + 0x100}, "its entry point lies 0x100 behind"),
    ],
)
def test_what_is_no_kernel(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        build_plan(kernel=build_kernel(**change))


def test_a_big_endian_kernel_is_entered_as_any() -> None:
    """The purgatory leaves in big endian; what the other processors wait in is the kernel's own."""
    kernel = build_kernel(big_endian=True)
    plan = build_plan(kernel=kernel)
    segment = plan.segment_at(plan.kernel_entry)
    assert segment is not None
    assert bytes(segment.data[:4]) == bytes.fromhex("08000048")
    registers = registers_of(plan)
    assert registers.kernel_head == bytes(segment.data[4:0x100])
    assert registers.run_at_load == 0
    assert not verify(plan, build_facts())


def test_a_big_endian_kernel_reads_no_little_endian_core_header() -> None:
    with pytest.raises(ImageError, match="cannot be the crash kernel of a little-endian one"):
        build_plan(crash_facts(), target=CRASH, kernel=build_kernel(big_endian=True))


@pytest.mark.parametrize("wish", [CallWish.AUTO, CallWish.FILE])
def test_nor_does_it_by_the_file_call(wish: CallWish) -> None:
    """Linux kernel/kexec_elf.c takes ELF files of either byte order."""
    kernel = build_kernel(big_endian=True)
    image = identify(kernel).image
    assert choose(wish, build_request(kernel=kernel), image, build_facts()).call is (
        Call.KEXEC_FILE_LOAD
    )
    with pytest.raises(ImageError, match="cannot be the crash kernel of a little-endian one"):
        choose(wish, build_request(kernel=kernel, target=CRASH), image, crash_facts())


@pytest.mark.parametrize("big", [False, True])
def test_the_first_bytes_are_of_the_byte_order_that_the_file_tells(big: bool) -> None:
    begin = bytes.fromhex("48000008" if big else "08000048")
    with pytest.raises(ImageError, match="entered at its first byte"):
        build_plan(kernel=build_kernel(begin=begin, big_endian=big))


def test_a_kernel_for_another_machine_is_refused_with_both_names() -> None:
    with pytest.raises(ImageError, match=r"for ppc64le \(ELF64 vmlinux\) cannot be started by"):
        identify(KERNEL, "x86_64")


def test_a_kernel_that_does_not_relocate_is_no_crash_kernel() -> None:
    kernel = build_kernel(word=bytes(4))
    assert not verify(build_plan(kernel=kernel), build_facts())
    with pytest.raises(ImageError, match="not relocatable"):
        build_plan(crash_facts(), kernel=kernel, target=CRASH)


# Crash loads.


def test_crash_load() -> None:
    facts = crash_facts()
    plan = build_plan(facts, target=CRASH)
    assert plan.flags == 21 << 16 | 1
    assert all(REGION.contains(segment.dest) for segment in plan.segments)
    assert plan.kernel_entry == REGION.start
    parameters = parameters_of(plan)
    backup = place_of(plan, Role.BACKUP)
    assert (parameters.backup_src_start, parameters.backup_src_size) == (0, 64 * KIB)
    assert parameters.backup_dst_start == backup.start
    assert registers_of(plan).run_at_load == 1
    assert not verify(plan, facts)


def test_what_a_capture_kernel_is_told_of_memory() -> None:
    ram = (Range(0, GIB), Range(GIB, 2 * GIB))
    drconf = Spec(
        DRCONF,
        {
            "ibm,lmb-size": wide(256 * MIB),
            "ibm,dynamic-memory-v2": lmb_sets(
                (8, 0, BOOT), (2, 2 * GIB, ASSIGNED), (2, 3 * GIB, 0)
            ),
        },
    )
    plan = build_plan(
        build_facts(ram, children=[CRASH_REGION], device_tree=build_tree(ram, None, drconf)),
        target=CRASH,
    )
    tree = tree_of(plan)
    core = plan.segment(Role.ELFCOREHDR)
    assert core is not None
    assert tree.properties["/chosen"]["linux,elfcorehdr"] == wide(core.dest.start, len(core.data))
    assert tree.properties["/memory@0"]["linux,usable-memory"] == wide(0, REGION.end)
    assert tree.properties["/memory@40000000"]["linux,usable-memory"] == wide(0, 0)
    # Nothing of the two blocks that belong to the machine; the others are passed over.
    assert tree.properties[f"/{DRCONF}"]["linux,drconf-usable-memory"] == wide(0, 0)
    assert (64 * KIB, REGION.start - 64 * KIB) in tree.reservations
    assert (place_of(plan, Role.BACKUP).start, 64 * KIB) in tree.reservations


def test_core_header_of_a_crash_load() -> None:
    plan = build_plan(crash_facts(), target=CRASH)
    core = plan.segment(Role.ELFCOREHDR)
    assert core is not None
    assert struct.unpack_from("<H", core.data, 18) == (21,)
    backup = place_of(plan, Role.BACKUP).start
    headers = parse_elfcorehdr(bytes(core.data))
    assert [
        (item.offset, item.paddr, item.size, item.vaddr) for item in headers if item.type == PT_LOAD
    ] == [
        (backup, 0, 64 * KIB, LINEAR),
        (64 * KIB, 64 * KIB, REGION.start - 64 * KIB, LINEAR + 64 * KIB),
        (REGION.end, REGION.end, RAM[0].end - REGION.end, LINEAR + REGION.end),
    ]


def test_a_jump_out_of_a_capture_kernel_has_all_memory_again() -> None:
    capture = build_plan(crash_facts(), target=CRASH).segment(Role.DTB)
    assert capture is not None
    tree = read_blob(bytes(capture.data))
    assert "linux,usable-memory" in tree.properties["/memory@0"]
    running = build_facts(device_tree=bytes(capture.data))
    with pytest.raises(MachineError, match="does not say where it ends"):
        build_plan(running)
    chosen = {"linux,kernel-end": wide(KERNEL_END), "linux,elfcorehdr": wide(REGION.start, 4096)}
    told = build_plan(build_facts(device_tree=build_tree(RAM, chosen)))
    assert "linux,usable-memory" not in tree_of(told).properties["/memory@0"]
    assert "linux,elfcorehdr" not in tree_of(told).properties["/chosen"]


def test_what_firmware_keeps_in_the_region_is_in_the_core() -> None:
    """Linux arch/powerpc/kexec/ranges.c, "get_crash_memory_ranges"."""
    region = IomemEntry(REGION, "Crash kernel", (IomemEntry(RTAS, "RTAS"),))
    facts = build_facts(children=[region])
    plan = build_plan(facts, target=CRASH)
    core = plan.segment(Role.ELFCOREHDR)
    assert core is not None
    loads = [item for item in parse_elfcorehdr(bytes(core.data)) if item.type == PT_LOAD]
    # Behind it the region ends, and other memory begins.
    assert [item.paddr for item in loads] == [0, 64 * KIB, RTAS.start]
    assert not any(segment.dest.overlaps(RTAS) for segment in plan.segments)
    assert not verify(plan, facts)


CORE_ROOM = 458984
"""Of a kernel with CONFIG_CRASH_MAX_MEMORY_RANGES=8192."""


def cpu(number: int, *, made_up: bool = False) -> Spec:
    """Return a processor with four threads, as large as those of machines are."""
    threads = [4 * number + thread for thread in range(4)]
    own: dict[str, Any] = {
        "device_type": "cpu",
        "reg": [4 * number],
        "cpu-version": [0x4E1202],
        "ibm,ppc-interrupt-server#s": threads,
        "ibm,pa-features": bytes(67),
    }
    if made_up:
        own["name"] = "PowerPC,POWER9\0"
    return Spec(f"PowerPC,POWER9@{4 * number:x}", own)


def test_hotplug_leaves_room_for_what_the_kernel_writes() -> None:
    """Linux arch/powerpc/kexec/crash.c and core_64.c, "update_cpus_node"."""

    def tree_with(*cpus: Spec) -> bytes:
        several = Spec("cpus", {"#address-cells": [1], "#size-cells": [0]}, cpus)
        return build_tree(RAM, None, Spec("x"), processors=several)

    notes = tuple((cpu, Range.sized(0x7E000000 + 0x1000 * cpu, 0x180)) for cpu in range(32))
    facts = crash_facts(
        device_tree=tree_with(cpu(0), cpu(1)),
        crash=replace(CRASH_FACTS, crash_notes=notes),
        kernel=KernelState(crash_elfcorehdr_size=CORE_ROOM),
    )
    plan = build_plan(facts, target=CRASH, hotplug=True)
    assert not verify(plan, facts)
    assert plan.flags == 21 << 16 | 1 | 8
    core, tree = plan.segment(Role.ELFCOREHDR), plan.segment(Role.DTB)
    assert core is not None
    assert tree is not None
    assert not core.checked
    assert not tree.checked
    assert core.dest.size >= CORE_ROOM
    # The capture kernel keeps its hands off all of it.
    told = tree_of(plan).properties["/chosen"]["linux,elfcorehdr"]
    assert told == wide(core.dest.start, CORE_ROOM)

    full = parse_device_tree(tree_with(*(cpu(number, made_up=True) for number in range(8))))
    cpus = full.root.child("cpus")
    assert cpus is not None
    now = parse_device_tree(bytes(tree.data))
    rewritten = build_device_tree(replace(now, root=now.root.with_child(cpus)))
    size = int.from_bytes(tree.data[4:8], "big")
    assert size == len(tree.data)
    assert len(rewritten) <= size
    without = build_plan(facts, target=CRASH).segment(Role.DTB)
    assert without is not None
    assert len(rewritten) > len(without.data)


def test_hotplug_that_the_kernel_cannot_do() -> None:
    facts = crash_facts(kernel=KernelState(crash_elfcorehdr_size=128))
    with pytest.raises(PykexecError, match="allows 128 bytes"):
        build_plan(facts, target=CRASH, hotplug=True)


# Each invariant, violated once.


def changed(plan: SegmentPlan, role: Role, change: Callable[[Segment], Segment]) -> SegmentPlan:
    segments = (change(item) if item.role is role else item for item in plan.segments)
    return replace(plan, segments=tuple(segments))


def at(start: int) -> Callable[[Segment], Segment]:
    return lambda item: replace(item, dest=Range.sized(start, item.dest.size))


def with_data(data: bytes) -> Callable[[Segment], Segment]:
    return lambda item: replace(item, data=data)


BROKEN: list[tuple[str, str, Callable[[SegmentPlan], SegmentPlan]]] = [
    (
        "device-tree",
        "malformed",
        lambda plan: changed(plan, Role.DTB, with_data(b"\xd0\x0d\xfe\xed" + bytes(60))),
    ),
    (
        "kernel-head",
        "other processors",
        lambda plan: changed(plan, Role.KERNEL, with_data(build_kernel(word=bytes(4))[0x1000:])),
    ),
    (
        "image-placement",
        "multiple of 0x10000",
        lambda plan: replace(
            changed(plan, Role.KERNEL, at(KERNEL_END + 4096)), kernel_entry=KERNEL_END + 4096
        ),
    ),
    (
        "handed-over-above-kernel",
        "copies itself",
        lambda plan: changed(plan, Role.INITRD, at(0x10000)),
    ),
    ("initrd-is-told", "told", lambda plan: changed(plan, Role.INITRD, at(GIB))),
    ("command-line", "differ", lambda plan: replace(plan, cmdline=b"other")),
    (
        "memory-is-told",
        "lies on RTAS",
        lambda plan: changed(plan, Role.INITRD, at(RTAS.start)),
    ),
    (
        "running-kernel",
        "lies on the running kernel",
        lambda plan: changed(plan, Role.INITRD, at(KERNEL_END - 4096)),
    ),
    ("real-mode", "ends above", lambda plan: changed(plan, Role.INITRD, at(3 * GIB))),
    ("crash-memory", "is not kept from its use", lambda plan: replace(plan, target=CRASH)),
]


@pytest.mark.parametrize(("name", "words", "change"), BROKEN, ids=[item[0] for item in BROKEN])
def test_a_broken_invariant_is_named(
    name: str, words: str, change: Callable[[SegmentPlan], SegmentPlan]
) -> None:
    found = verify(change(build_plan()), crash_facts())
    assert any(item.invariant == name and words in item.detail for item in found), found


def test_every_invariant_is_broken_by_a_test() -> None:
    own = set(invariants_of(build_plan())) - set(SEGMENT_INVARIANTS)
    assert own == {name for name, _, _ in BROKEN}


def test_a_request_that_was_made_for_it() -> None:
    assert build_request().kernel == KERNEL


def test_what_tells_of_a_released_dump_is_in_the_way_of_the_file_call_alone() -> None:
    image = identify(KERNEL).image
    facts = build_facts(device_tree=build_tree(RAM, rtas={"ibm,kernel-dump": b"x"}))
    chosen = choose(CallWish.AUTO, build_request(), image, facts)
    assert (chosen.call, chosen.fallback) == (Call.KEXEC_LOAD, False)
    assert "has the ibm,kernel-dump of a dump that was released or refused" in chosen.reason
    with pytest.raises(ImageError, match="ibm,kernel-dump of a dump"):
        choose(CallWish.FILE, build_request(), image, facts)
    locked = replace(facts, kernel=KernelState(lockdown="integrity"))
    with pytest.raises(ImageError, match="ibm,kernel-dump of a dump"):
        choose(CallWish.AUTO, build_request(), image, locked)
    assert choose(CallWish.AUTO, build_request(), image, build_facts()).fallback


OLD: dict[str, Any] = {"kernel": build_kernel(release="5.14.0-503.el9.ppc64le")}


@pytest.mark.parametrize(
    ("cmdline", "told"),
    [
        (b"ro quiet", b"ro quiet elfcorehdr=0x%016x"),
        (b"ro -- for init", b"ro elfcorehdr=0x%016x -- for init"),
    ],
)
def test_an_old_capture_kernel_hears_of_the_core_header_by_a_word(
    cmdline: bytes, told: bytes
) -> None:
    """Linux before 5.15 passes over linux,elfcorehdr, and does not keep what it tells of."""
    plan = build_plan(crash_facts(), target=CRASH, cmdline=cmdline, **OLD)
    header = place_of(plan, Role.ELFCOREHDR)
    assert plan.cmdline == told % header.start
    tree = tree_of(plan)
    assert tree.properties["/chosen"]["bootargs"] == plan.cmdline + b"\0"
    assert tree.properties["/chosen"]["linux,elfcorehdr"][:8] == wide(header.start)
    assert (header.start, header.size) in tree.reservations
    assert not verify(plan, crash_facts())


def test_only_for_its_crash_load() -> None:
    assert build_plan(**OLD).cmdline == b"ro quiet"
    plan = build_plan(crash_facts(), target=CRASH)
    assert plan.cmdline == b"ro quiet"
    header = place_of(plan, Role.ELFCOREHDR)
    assert (header.start, header.size) not in tree_of(plan).reservations


def test_another_core_header_on_the_command_line() -> None:
    plan = build_plan(crash_facts(), target=CRASH, cmdline=b"elfcorehdr=512K@1M")
    (violation,) = verify(plan, crash_facts())
    assert "told elfcorehdr=512K@1M" in str(violation)


def test_the_word_counts_in_the_length() -> None:
    limit = 2047 - len(" elfcorehdr=0x0123456789abcdef")
    build_plan(crash_facts(), target=CRASH, cmdline=b"x" * limit, **OLD)
    with pytest.raises(CommandLineError):
        build_plan(crash_facts(), target=CRASH, cmdline=b"x" * (limit + 1), **OLD)
