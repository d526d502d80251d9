"""What memory a load may take at all, whatever it loads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.calls.call_choice import choose
from pykexec.errors import (
    EXIT_NO_FILE_CALL,
    FileCallUnusableError,
    NoCrashRegionError,
    NoRoomError,
)
from pykexec.formats import identify
from pykexec.planning.invariants import verify
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.plans import KERNEL, RAM, build_facts, build_plan, build_request
from tests.unit.test_x86_crash_plan import HIGH_REGION, REGION, crash_facts

SMALL = (
    pytest.param({"arch": "i386"}, id="32-bit kernel"),
    pytest.param({"caller_bits": 32}, id="32-bit program"),
)
REGIONS = (
    REGION,
    Range(1968 * MIB, 2480 * MIB),
    Range(3264 * MIB, 3520 * MIB),
    Range(4 * GIB - 256 * MIB, 4 * GIB),
)


def small(facts: MachineFacts, more: dict[str, Any]) -> MachineFacts:
    return replace(facts, **more)


@pytest.mark.parametrize("more", SMALL)
def test_nothing_lies_above_4_gib(more: dict[str, Any]) -> None:
    facts = small(build_facts(), more)
    made = build_plan(facts)
    assert verify(made, facts) == []
    assert all(segment.dest.end <= 4 * GIB for segment in made.segments)
    assert any(segment.dest.end > 896 * MIB for segment in made.segments)


def test_a_64_bit_program_uses_all_memory() -> None:
    assert max(segment.dest.end for segment in build_plan().segments) > 4 * GIB


@pytest.mark.parametrize("region", REGIONS, ids=str)
def test_a_crash_region_below_4_gib_will_do(region: Range) -> None:
    """A 64-bit capture kernel, entered in 64 bits, is loaded by a 32-bit program."""
    ram = (RAM[0], Range(MIB, 4 * GIB), Range(4 * GIB, 6 * GIB))
    facts = small(crash_facts(region, ram=ram), {"caller_bits": 32})
    made = build_plan(facts, target=Target.CRASH)
    assert verify(made, facts) == []
    assert all(region.contains(segment.dest) for segment in made.segments)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"arch": "i386"}, "and the running kernel is one of 32 bits"),
        ({"caller_bits": 32}, "and this is a 32-bit program, whose kexec_load names no higher"),
    ],
)
def test_a_crash_region_above_4_gib_is_refused(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoCrashRegionError) as caught:
        build_plan(small(crash_facts(HIGH_REGION), more), target=Target.CRASH)
    assert f"the crash kernel region {HIGH_REGION} reaches above 4 GiB" in caught.value.message
    assert reason in caught.value.message
    assert caught.value.hint is not None
    assert "without ,high" in caught.value.hint


def test_the_reason_is_given_where_there_is_no_room() -> None:
    facts = small(build_facts(ram=(Range(4 * GIB, 6 * GIB),)), {"caller_bits": 32})
    with pytest.raises(
        NoRoomError,
        match=r"and 0xffffffff \(this is a 32-bit program, whose kexec_load names no higher",
    ):
        build_plan(facts)


@pytest.mark.parametrize("more", SMALL)
def test_there_is_one_call_only(more: dict[str, Any]) -> None:
    chosen = choose(
        CallWish.AUTO, build_request(), identify(KERNEL).image, small(build_facts(), more)
    )
    assert chosen.call is Call.KEXEC_LOAD
    assert "for 64-bit programs only" in chosen.reason


@pytest.mark.parametrize("more", SMALL)
@pytest.mark.parametrize(
    ("wish", "state", "forced"),
    [
        (CallWish.FILE, KernelState(), "it was asked for"),
        (CallWish.AUTO, KernelState(lockdown="integrity"), "the kernel is locked down"),
    ],
)
def test_the_other_call_is_refused_before_it_is_made(
    more: dict[str, Any], wish: CallWish, state: KernelState, forced: str
) -> None:
    facts = small(build_facts(kernel=state), more)
    with pytest.raises(FileCallUnusableError) as caught:
        choose(wish, build_request(), identify(KERNEL).image, facts)
    assert f"kexec_file_load cannot be used, and {forced}" in caught.value.message
    assert caught.value.message.endswith("x86 has kexec_file_load for 64-bit programs only")
    assert caught.value.exit_code == EXIT_NO_FILE_CALL
    assert caught.value.hint is not None
