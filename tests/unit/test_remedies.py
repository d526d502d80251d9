"""The smallest change that makes a load fit: applied, it fits; one step less does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import NoRoomError
from pykexec.formats.bzimage import XLoadFlags
from pykexec.planning.explanations import Verdict, explain_refusal
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, PurgatoryOptions
from pykexec.planning.remedies import Change, Remedy, remedies
from pykexec.render.explain import explanation_text
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry, crash_region, crash_regions
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from pykexec.values.wishes import Bound, Origin
from tests.builders import arm64
from tests.builders.bzimage import build_bzimage
from tests.builders.ima import MEASUREMENTS
from tests.builders.plans import KERNEL, SMALL_KERNEL, build_facts, build_request
from tests.unit.test_x86_crash_plan import CRASH

LOW = Range(0x1000, 0x9FC00)
BELOW_4G = 0x7F & ~XLoadFlags.XLF_CAN_BE_LOADED_ABOVE_4G
INITRD = memoryview(bytes(300 * MIB))


def refused(facts: MachineFacts, request: LoadRequest) -> NoRoomError:
    with pytest.raises(NoRoomError) as caught:
        plan(facts, request)
    return caught.value


def remedies_of(facts: MachineFacts, request: LoadRequest) -> dict[Change, Remedy]:
    """Return what would make a refused load fit, each with a verified plan."""
    found = remedies(facts, request, refused(facts, request))
    for remedy in found:
        made = plan(remedy.facts, remedy.request)
        assert verify(made, remedy.facts) == [], remedy.text
    return {remedy.change: remedy for remedy in found}


def unchecked(**more: Any) -> LoadRequest:
    return build_request(purgatory=PurgatoryOptions(skip_checks=True), **more)


def test_a_higher_mem_max() -> None:
    facts = build_facts([Range(MIB, GIB)])
    request = unchecked(initrd=INITRD[: 60 * MIB], mem_max=100 * MIB - 1)
    remedy = remedies_of(facts, request)[Change.MEM_MAX]
    assert remedy.text == f"give --mem-max {remedy.request.mem_max:#x}, or more"
    # The kernel's 32 MiB from 16 MiB on, 60 MiB for the initrd; all else goes below.
    assert remedy.request.mem_max == 108 * MIB - 1
    page_less = replace(request, mem_max=remedy.request.mem_max - 4096)
    refused(facts, page_less)


def test_a_lower_mem_min() -> None:
    facts = build_facts([Range(MIB, 512 * MIB)])
    request = unchecked(initrd=INITRD[: 60 * MIB], mem_min=450 * MIB)
    remedy = remedies_of(facts, request)[Change.MEM_MIN]
    assert remedy.text == f"give --mem-min {remedy.request.mem_min:#x}, or less"
    refused(facts, replace(request, mem_min=remedy.request.mem_min + 4096))


def test_two_options_neither_of_which_is_to_blame_alone() -> None:
    facts = build_facts([Range(MIB, GIB)])
    found = remedies_of(facts, unchecked(mem_min=100 * MIB, mem_max=101 * MIB))
    assert set(found) == {Change.MEM_MAX, Change.MEM_MIN}


def test_a_smaller_initrd() -> None:
    facts = build_facts([Range(MIB, 256 * MIB)])
    request = unchecked(initrd=INITRD)
    remedy = remedies_of(facts, request)[Change.INITRD]
    kept = remedy.request.initrd
    assert kept is not None
    less = len(INITRD) - len(kept)
    assert f"({less} bytes) smaller" in remedy.text
    refused(facts, replace(request, initrd=INITRD[: len(kept) + 4096]))


def test_the_crash_regions_memory_given_back() -> None:
    region = IomemEntry(Range(64 * MIB, 448 * MIB), "Crash kernel")
    facts = build_facts([Range(MIB, 512 * MIB)], children=[region])
    remedy = remedies_of(facts, unchecked(initrd=INITRD))[Change.FREE_REGION]
    assert remedy.text.endswith("echo 0 > /sys/kernel/kexec_crash_size")
    assert "384 MiB" in remedy.text
    assert crash_region(remedy.facts.iomem) is None


def crash_facts(region: Range, ram: Sequence[Range] = (LOW, Range(MIB, 3 * GIB))) -> MachineFacts:
    return build_facts(ram, children=[IomemEntry(region, "Crash kernel")], crash=CRASH)


def test_a_larger_crashkernel() -> None:
    facts = crash_facts(Range(GIB, GIB + 64 * MIB))
    request = unchecked(target=Target.CRASH, initrd=INITRD[: 60 * MIB])
    found = remedies_of(facts, request)
    assert set(found) == {Change.INITRD, Change.CRASHKERNEL}
    remedy = found[Change.CRASHKERNEL]
    region = crash_region(remedy.facts.iomem)
    assert region is not None
    size = region.size // MIB
    assert remedy.text == f"boot with crashkernel={size}M, or more; the region has 64 MiB now"
    assert 92 < size < 100
    refused(crash_facts(Range.sized(region.start, region.size - MIB)), request)


def test_a_larger_crashkernel_above_4_gib() -> None:
    ram = (LOW, Range(MIB, 3 * GIB), Range(4 * GIB, 8 * GIB))
    high = Range(7 * GIB, 7 * GIB + 32 * MIB)
    low = Range(2 * GIB, 2 * GIB + 256 * MIB)
    children = [IomemEntry(region, "Crash kernel") for region in (low, high)]
    children.append(IomemEntry(Range(8 * GIB - 64 * MIB, 8 * GIB - 32 * MIB), "Kernel code"))
    facts = build_facts(ram, children=children, crash=CRASH)
    remedy = remedies_of(facts, unchecked(target=Target.CRASH))[Change.CRASHKERNEL]
    assert ",high, or more" in remedy.text
    region = crash_region(remedy.facts.iomem)
    assert region is not None
    # As high as it goes, but not where the running kernel is; the low region stays.
    assert Range(8 * GIB - 128 * MIB, 8 * GIB - 64 * MIB).contains(region)
    assert crash_regions(remedy.facts.iomem) == (low, region)


@pytest.mark.parametrize("low", [(), (Range(0x80000000, 0x88000000),)], ids=["one", "low-too"])
def test_a_crash_region_out_of_reach_of_32_bit_limits(low: tuple[Range, ...]) -> None:
    """Reported as "Could not find a free area of memory ... locate_hole failed".

    A kernel that wants its initrd below 896 MiB, as i386 and old x86_64 ones do, and a running
    kernel that reserves as high as it can: Linux commit 9f4c13964b58 ("x86, memblock: Fix
    crashkernel allocation").
    """
    region = Range(0x90000000, 0xA0000000)
    children = [IomemEntry(item, "Crash kernel") for item in (*low, region)]
    facts = build_facts((LOW, Range(MIB, 3 * GIB)), children=children, crash=CRASH)
    spec = replace(SMALL_KERNEL, xloadflags=BELOW_4G, initrd_addr_max=0x37FFFFFF)
    request = build_request(kernel=build_bzimage(spec), target=Target.CRASH)
    error = refused(facts, request)
    assert error.message.startswith(
        "cannot place initrd: need 12 KiB between 0x1000000 (initrd above ISA DMA memory) and "
        "0x37ffffff (initrd_addr_max), aligned to 0x1000; no free RAM lies there"
    )
    limit = error.wish.strictest(Bound.HIGHEST)
    assert limit is not None
    assert (limit.source, limit.origin) == ("initrd_addr_max", Origin.HEADER)
    explained = explain_refusal(error)
    assert {item.verdict for item in explained.ranges} == {Verdict.OUTSIDE}
    assert {item.reason for item in explained.ranges} == {"above 0x37ffffff: initrd_addr_max"}
    assert [item.role for item in explained.before] == [
        Role.KERNEL,
        Role.PARAMETERS,
        Role.PURGATORY,
        Role.ELFCOREHDR,
        Role.BACKUP,
    ]
    found = remedies_of(facts, request)
    text = explanation_text(explained, tuple(found.values()))
    assert "  *  highest address  0x37ffffff  header  initrd_addr_max\n" in text
    assert "      outside the limits: above 0x37ffffff: initrd_addr_max\n" in text
    assert set(found) == {Change.CRASH_REGION}
    remedy = found[Change.CRASH_REGION]
    assert remedy.text == ("boot with crashkernel=256M@640M: a crash region at or below 0x37ffffff")
    assert crash_regions(remedy.facts.iomem) == (Range(640 * MIB, 896 * MIB),)


def test_a_crash_region_above_what_several_segments_reach() -> None:
    """A 32-bit kernel: the purgatory below 4 GiB, and itself in what it always maps."""
    high = Range(6 * GIB, 6 * GIB + 256 * MIB)
    facts = build_facts(
        (LOW, Range(MIB, 3 * GIB), Range(4 * GIB, 8 * GIB)),
        children=[IomemEntry(high, "Crash kernel")],
        crash=CRASH,
    )
    request = build_request(
        kernel=build_bzimage(replace(SMALL_KERNEL, xloadflags=XLoadFlags(0))), target=Target.CRASH
    )
    assert "(the 32-bit entry point)" in refused(facts, request).message
    remedy = remedies_of(facts, request)[Change.CRASH_REGION]
    assert remedy.text == "boot with crashkernel=256M@608M: a crash region at or below 0x35ffffff"


def test_where_nothing_helps() -> None:
    facts = build_facts([Range(MIB, 40 * MIB)])
    assert remedies_of(facts, unchecked(kernel=KERNEL, initrd=None)) == {}


def test_imas_list_needs_room_too() -> None:
    """The quick search leaves it out; where that is too hopeful, another one follows."""
    facts = arm64.build_facts([Range(GIB, GIB + 64 * MIB)], ima_measurements=MEASUREMENTS * 5_000)
    request = arm64.build_request(initrd=INITRD[: 80 * MIB])
    request = replace(request, purgatory=PurgatoryOptions(skip_checks=True))
    with_list = remedies_of(facts, request)[Change.INITRD].request
    without = remedies_of(replace(facts, ima_measurements=None), request)[Change.INITRD].request
    assert with_list.initrd is not None
    assert without.initrd is not None
    assert len(without.initrd) - len(with_list.initrd) > MIB
    assert with_list.ima is without.ima is None


def test_an_arm64_crash_region() -> None:
    region = IomemEntry(Range(2 * GIB, 2 * GIB + 4 * MIB), "Crash kernel")
    facts = arm64.build_facts(children=[region])
    request = arm64.build_request(target=Target.CRASH)
    remedy = remedies_of(facts, request)[Change.CRASHKERNEL]
    region_then = crash_region(remedy.facts.iomem)
    assert region_then is not None
    assert region_then.size < 8 * MIB
