"""Plans that keep the running kernel to be returned to, and plans that return."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.boot.x86.boot_params import BOOT_PARAMS_SIZE, parse_boot_params
from pykexec.boot.x86.e820 import E820Type
from pykexec.errors import ImageError, NotLoadedError, OptionError, PykexecError
from pykexec.loading.way_back import address_to_return_to
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan, plan_way_back
from pykexec.planning.plans import KEXEC_SEGMENT_MAX, BootProtocol, LoadRequest, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import (
    PurgatoryParameters,
    WayBack,
    build_purgatory,
    read_parameters,
)
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.bzimage import build_bzimage
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1
from tests.builders.plans import I386_KERNEL, RAM, SMALL_KERNEL, build_facts, build_plan

LAST = 512 * MIB - 1
WAITS = 0x1_2345_6100
"""Where a kernel waits: in none of the memory below."""
OWN = (Range(0x1000, 0x9F000), Range(MIB, 256 * MIB))
"""What a kernel that was jumped into has for its own."""


def kept(facts: MachineFacts | None = None, **more: object) -> SegmentPlan:
    given = {"preserve_context": True, "mem_max": LAST, **more}
    return build_plan(facts, **given)


def parameters(made: SegmentPlan) -> PurgatoryParameters:
    purgatory = made.segment(Role.PURGATORY)
    assert purgatory is not None
    return read_parameters(load(made.arch), bytes(purgatory.data))


def back(facts: MachineFacts | None = None, address: int = WAITS) -> SegmentPlan:
    return plan_way_back(facts or build_facts(OWN), LoadRequest(b""), address)


def details(made: SegmentPlan, facts: MachineFacts) -> list[str]:
    return [item.detail for item in verify(made, facts) if item.invariant == "way-back"]


def test_all_that_the_next_kernel_is_told_of_as_ram_is_exchanged() -> None:
    made = kept()
    assert verify(made, build_facts()) == []
    assert made.flags & KexecFlags.KEXEC_PRESERVE_CONTEXT
    memory = RangeSet([Range(0x1000, 0x9F000), Range(MIB, LAST + 1)])
    assert RangeSet(item.dest for item in made.segments) == memory
    page = made.bytes_at(Range.sized(parameters(made).registers.argument, BOOT_PARAMS_SIZE))
    assert page is not None
    told = parse_boot_params(page).e820
    assert RangeSet(i.range for i in told if i.type == E820Type.E820_TYPE_RAM) == memory
    # What is left of the first kernel's RAM is told, so that no device is given its addresses.
    others = RangeSet(i.range for i in told if i.type == E820Type.E820_TYPE_RESERVED)
    assert others == RangeSet(RAM).minus(memory)


def test_the_purgatory_writes_the_way_back_into_the_command_line() -> None:
    made = kept(cmdline=b"ro quiet -- kexec_jump_back_entry=0x5")
    assert made.cmdline == (
        b"ro quiet kexec_jump_back_entry=0x0000000000000000 -- kexec_jump_back_entry=0x5"
    )
    at = parameters(made).way_back.return_digits
    assert made.bytes_at(Range.sized(at - 3, 20)) == b"=0x0000000000000000 "
    assert parameters(build_plan()).way_back.return_digits == 0


def test_exchanged_memory_is_in_no_digest() -> None:
    made = kept()
    parts = [item for item in made.segments if item.role is Role.EXCHANGED]
    assert len(parts) > 1
    assert not any(item.checked or item.data for item in parts)


def test_memory_in_many_pieces_gives_the_largest() -> None:
    pieces = [Range(MIB + n * 64 * MIB, MIB + n * 64 * MIB + (n + 1) * 5 * MIB) for n in range(8)]
    facts = build_facts((Range(0x1000, 0x50000), Range(0x60000, 0x61000), *pieces))
    made = kept(facts, mem_max=2 * GIB)
    assert verify(made, facts) == []
    assert len(made.segments) <= KEXEC_SEGMENT_MAX
    assert RangeSet(item.dest for item in made.segments) == RangeSet(
        [Range(0x1000, 0x50000), *pieces[-3:]]
    )
    (note,) = (item for item in made.notes if "--mem-max" in item)
    assert note == (
        "of 10 ranges of free memory up to --mem-max the next kernel gets the largest 4: 75.0 "
        "MiB are left out, kexec_load takes no more segments"
    )


def test_more_than_half_of_memory_is_refused() -> None:
    facts = build_facts(kernel=KernelState(memory_total=GIB))
    with pytest.raises(PykexecError, match=r"would be 1.0 GiB.*, and .* at most half of its 1 GiB"):
        kept(facts, mem_max=GIB - 1 + MIB + 0x61000)
    with pytest.raises(OptionError, match=r"needs --mem-max.*at most 512 MiB here, half of its"):
        build_plan(facts, preserve_context=True)
    with pytest.raises(OptionError, match=r"keeps as much beside its own$"):
        build_plan(preserve_context=True)


def test_what_excludes_a_return() -> None:
    with pytest.raises(OptionError, match="excludes -p: nobody returns to a kernel that has"):
        kept(target=Target.CRASH)
    with pytest.raises(OptionError, match="excludes --entry: the purgatory tells the next kernel"):
        kept(entry=0x100000)
    with pytest.raises(OptionError, match="for Linux kernels that are entered in 64 or 32 bits"):
        kept(entry_bits=16)
    with pytest.raises(OptionError, match="for Linux kernels that are entered in 64 or 32 bits"):
        kept(kernel=build_multiboot(MultibootSpec(header_1(3))), initrd=None)
    with pytest.raises(ImageError, match="of 64 bits, and this is one of 64, entered in 32"):
        kept(entry_bits=32)
    with pytest.raises(ImageError, match="of 64 bits, and this is one of 32, entered in 32"):
        kept(kernel=I386_KERNEL)
    facts = replace(build_facts(), arch="riscv64")
    with pytest.raises(OptionError, match="no riscv64 kernel can be returned to"):
        plan(facts, LoadRequest(b"", preserve_context=True))
    with pytest.raises(OptionError, match="a return to another kernel: no riscv64 kernel"):
        back(facts)


def test_a_32_bit_kernel_is_returned_to_by_one() -> None:
    facts = replace(build_facts(RAM[:2]), arch="i386")
    made = kept(facts, kernel=I386_KERNEL)
    assert verify(made, facts) == []
    assert parameters(made).way_back.return_digits
    with pytest.raises(ImageError, match="of 32 bits, and this is one of 64, entered in 32"):
        kept(facts)


@pytest.mark.parametrize("la57", [False, True])
@pytest.mark.parametrize("waits", [WAITS, 0x1F23_4567_8000])
def test_the_way_back_reaches_both_kernels_memory(la57: bool, waits: int) -> None:
    facts = build_facts(OWN, la57=la57)
    made = back(facts, waits)
    assert verify(made, facts) == []
    assert (made.protocol, made.kernel_entry) == (BootProtocol.RETURN, waits)
    assert made.flags & KexecFlags.KEXEC_PRESERVE_CONTEXT
    found = parameters(made)
    segment = made.segment(Role.WAY_BACK)
    assert segment is not None
    # The root, with five levels one table below it, a table for each 512 GiB and each of the two
    # GiB, and the stack.
    pages = 1 + la57 + (1 if waits == WAITS else 2) + 2 + 1
    assert segment.dest.size == pages * 4 * KIB
    assert found.way_back.return_tables == segment.dest.start
    assert found.registers == Entry64Registers(rip=waits, rsp=segment.dest.end - 16)
    assert found.way_back.return_slot == segment.dest.end - 16


def test_the_way_back_of_32_bits_needs_no_tables() -> None:
    facts = replace(build_facts(OWN), arch="i386")
    made = back(facts, 0x2345_6100)
    assert verify(made, facts) == []
    assert isinstance(parameters(made).registers, Entry32Registers)
    with pytest.raises(OptionError, match="no kernel waits at 0x123456100: at most 0xffffffff"):
        back(facts)


def test_nobody_waits_in_the_running_kernels_own_memory() -> None:
    with pytest.raises(OptionError, match="no kernel waits at 0x200000: that is memory of the run"):
        back(address=0x200000)
    with pytest.raises(OptionError, match="no kernel waits at 0x0: "):
        back(address=0)


def test_a_way_back_that_leads_nowhere_is_noticed() -> None:
    facts = build_facts(OWN)
    made = back(facts)
    segment = made.segment(Role.WAY_BACK)
    assert segment is not None
    last_table = segment.dest.size - 2 * 4096
    torn = made.with_data(Role.WAY_BACK, bytes(segment.data[:last_table]))
    assert "0x123456100 is nothing in the page tables" in details(torn, facts)
    without = replace(made, segments=(segment,))
    assert "the plan has no purgatory to return by" in details(without, facts)
    elsewhere = replace(parameters(made), way_back=WayBack(return_slot=0x1000))
    purgatory = made.segment(Role.PURGATORY)
    assert purgatory is not None
    data = build_purgatory(load("x86_64"), purgatory.dest.start, elsewhere)
    wrong = made.with_data(Role.PURGATORY, data)
    assert any("the address goes to 0x1000" in detail for detail in details(wrong, facts))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"ro quiet", "no kexec_jump_back_entry= on /proc/cmdline"),
        (b"ro kexec_jump_back_entry=0x0000000000000000", "=0x0000000000000000 on /proc/cmdline is"),
        (b"kexec_jump_back_entry=soon", "kexec_jump_back_entry=soon on /proc/cmdline is no addr"),
    ],
)
def test_who_does_not_wait_is_not_returned_to(line: bytes, message: str) -> None:
    with pytest.raises(NotLoadedError, match=f"no kernel waits to be returned to: .*{message}"):
        address_to_return_to(build_facts(cmdline=line))


def test_the_last_address_on_the_command_line_counts() -> None:
    line = b"kexec_jump_back_entry=0x5 ro kexec_jump_back_entry=0x0000000123456100"
    assert address_to_return_to(build_facts(cmdline=line)) == WAITS


def test_a_kernel_with_a_short_command_line() -> None:
    kernel = build_bzimage(replace(SMALL_KERNEL, cmdline_size=40))
    with pytest.raises(PykexecError, match="the command line is 49 bytes long"):
        kept(kernel=kernel)
