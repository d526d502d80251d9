"""The picture of memory: to scale, complete, and in 80 columns."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.planning.plans import FileLoadPlan, PurgatoryOptions, SegmentPlan
from pykexec.render.picture import (
    COLUMNS,
    OVERVIEW_ROWS,
    ZOOM_ROWS,
    Holding,
    Mark,
    Piece,
    picture_of,
)
from pykexec.render.picture_text import LETTERS, picture_text
from pykexec.render.style import Style
from pykexec.render.svg import plan_svg
from pykexec.values.calls import KexecFileFlags, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders import arm64
from tests.builders.machines import iomem_of
from tests.builders.plans import build_facts, build_plan
from tests.unit.test_x86_crash_plan import CRASH

CHILDREN = (
    IomemEntry(Range(16 * MIB, 32 * MIB), "Kernel code"),
    IomemEntry(Range(32 * MIB, 34 * MIB), "Kernel data"),
    IomemEntry(Range(256 * MIB, 320 * MIB), "Crash kernel"),
    IomemEntry(Range(400 * MIB, 402 * MIB), "reserved"),
)
ZEROS = memoryview(bytes(70 * MIB))
RAM = (Range(0x1000, 0x9F000), Range(MIB, 512 * MIB))


def small_machine() -> MachineFacts:
    return build_facts(RAM, CHILDREN)


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_small_machine() -> None:
    facts = small_machine()
    text = picture_text(picture_of(facts, build_plan(facts).segments))
    assert text.split("\n") == [
        "Memory, a character for each 1 MiB:",
        f"            0x0 {'.' * 16}{'o' * 18}{'.' * 30}",
        f"      0x4000000 {'.' * 64}",
        f"      0x8000000 {'.' * 64}",
        f"      0xc000000 {'.' * 64}",
        f"     0x10000000 {'c' * 64}",
        f"     0x14000000 {'.' * 64}",
        f"     0x18000000 {'.' * 16}rr{'.' * 46}",
        f"     0x1c000000 {'.' * 30}{'K' * 32}.P",
        "Closer, a character for each 4 KiB:",
        f"     0x1ffc0000 {'.' * 49}SIIIBBPPPPPPPPP",
        "  B=boot_params  I=initrd  K=kernel  P=purgatory  S=setup_data  c=crash region",
        "  o=running kernel  r=reserved  .=RAM  blank=no memory",
    ]


def test_pieces_are_what_the_machine_says() -> None:
    facts = build_facts(
        RAM,
        CHILDREN,
        # Firmware keeps the last MiB, whatever the kernel calls it.
        firmware_map=MemoryMap(
            (
                MemoryRegion(RAM[0], MemoryKind.RAM, "System RAM"),
                MemoryRegion(Range(MIB, 511 * MIB), MemoryKind.RAM, "System RAM"),
            )
        ),
    )
    pmem = IomemEntry(
        Range(GIB, 2 * GIB),
        "Persistent Memory",
        (IomemEntry(Range(GIB, 2 * GIB), "System RAM (kmem)"),),
    )
    device = IomemEntry(Range(3 * GIB, 3 * GIB + MIB), "PCI Bus 0000:00")
    facts = replace(facts, iomem=(*facts.iomem, pmem, device))
    pieces = picture_of(facts, ()).pieces
    assert [item for item in pieces if item.range.start >= 256 * MIB] == [
        Piece(Range(256 * MIB, 320 * MIB), Mark(Holding.CRASH)),
        Piece(Range(320 * MIB, 400 * MIB), Mark(Holding.RAM)),
        Piece(Range(400 * MIB, 402 * MIB), Mark(Holding.RESERVED)),
        Piece(Range(402 * MIB, 511 * MIB), Mark(Holding.RAM)),
        Piece(Range(511 * MIB, 512 * MIB), Mark(Holding.RESERVED)),
        Piece(Range(GIB, 2 * GIB), Mark(Holding.RESERVED)),
    ]


def test_segments_lie_over_the_running_kernel_and_the_crash_region() -> None:
    facts = small_machine()
    plan = build_plan(facts, mem_min=256 * MIB, mem_max=320 * MIB - 1)
    pieces = picture_of(facts, plan.segments).pieces
    roles = {item.mark.role for item in pieces if Range(256 * MIB, 320 * MIB).contains(item.range)}
    assert roles >= {segment.role for segment in plan.segments}


def test_colours_change_no_character() -> None:
    facts = small_machine()
    picture = picture_of(facts, build_plan(facts).segments)
    coloured = picture_text(picture, Style(colour=True))
    assert uncoloured(coloured) == picture_text(picture)
    assert "\x1b[32;7mKKKK" in coloured
    assert "\x1b[31mcccc" in coloured


@st.composite
def machines(draw: st.DrawFn) -> tuple[Range, ...]:
    """RAM of at least 512 MiB in one piece, and more wherever 52 bits reach."""
    cuts = draw(st.lists(st.integers(0, (1 << 40) - 1), max_size=12, unique=True))
    pages = sorted(cut << 12 for cut in cuts)
    pieces = [Range(a, b) for a, b in zip(pages[::2], pages[1::2], strict=False)]
    return tuple(RangeSet([*pieces, Range(0x60000000, 0x80000000)]))


@settings(max_examples=30, deadline=None)
@given(machines(), st.sampled_from([1, 5 * MIB, 70 * MIB]))
def test_all_ram_and_every_segment_is_drawn_to_scale(ram: tuple[Range, ...], size: int) -> None:
    facts = replace(arm64.build_facts(), iomem=iomem_of(ram))
    unchecked = PurgatoryOptions(skip_checks=True)
    plan = arm64.build_plan(facts, initrd=ZEROS[:size], purgatory=unchecked)
    picture = picture_of(facts, plan.segments)
    overview = picture.views[0]
    assert len(overview.rows) <= OVERVIEW_ROWS
    # Cells of half the size would not do.
    half = overview.cell * COLUMNS // 2
    numbers = {n for item in ram for n in range(item.start // half, (item.end - 1) // half + 1)}
    assert len(numbers) > OVERVIEW_ROWS
    assert not RangeSet(ram).minus(overview.rows)
    for view in picture.views:
        assert all(row.size == view.cell * COLUMNS for row in view.rows)
    for segment in plan.segments:
        # In the first view that has room for it, it takes as many cells as it is large.
        view = next(
            item
            for item in picture.views
            if segment.dest.size >= item.cell and not RangeSet([segment.dest]).minus(item.rows)
        )
        drawn = sum(
            mark == Mark(Holding.SEGMENT, segment.role)
            for row in view.rows
            for mark in picture.cells(row, view.cell)
        )
        assert abs(drawn - segment.dest.size / view.cell) <= 2
    text = picture_text(picture)
    assert max(map(len, text.split("\n"))) <= 80
    assert text.isascii()


def test_zooms_go_down_to_a_page() -> None:
    facts = arm64.build_facts([Range(GIB, 1 << 46)])
    plan = arm64.build_plan(facts)
    views = picture_of(facts, plan.segments).views
    cells = [view.cell for view in views]
    assert cells == sorted(cells, reverse=True)
    assert cells[-1] == 4 * KIB
    dtb = plan.segment(Role.DTB)
    assert dtb is not None
    assert any(row.contains(dtb.dest) for row in views[-1].rows)
    assert all(len(view.rows) <= ZOOM_ROWS * len(plan.segments) for view in views[1:])


def test_every_role_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(Role)
    assert len(set(LETTERS.values())) == len(Role)


SVG = "{http://www.w3.org/2000/svg}"


def svg_of(facts: MachineFacts, plan: SegmentPlan) -> ElementTree.Element:
    return ElementTree.fromstring(plan_svg(plan, picture_of(facts, plan.segments)))


def test_the_svg_draws_the_same_to_scale() -> None:
    facts = small_machine()
    plan = build_plan(facts)
    root = svg_of(facts, plan)
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    places = {
        role: [
            (float(box.attrib["x"]), float(box.attrib["width"]))
            for box in root.iter(f"{SVG}rect")
            if (box.findtext(f"{SVG}title") or "").startswith(f"{role}:")
        ]
        for role in ("kernel", "setup_data")
    }
    bar, left = 900 - 2 * 16 - 130, 16 + 130
    row = Range(0x1C000000, 0x20000000)
    x = left + (kernel.dest.start - row.start) * bar / row.size
    assert places["kernel"][0] == pytest.approx((x, 32 * bar / 64), abs=0.01)
    # What is too small to be seen is drawn nevertheless.
    assert [width for _, width in places["setup_data"]] == [1.5, pytest.approx(bar / 64, abs=0.01)]
    words = "".join(root.itertext())
    for segment in plan.segments:
        assert f"{segment.role}: {segment.dest}" in words


def test_the_svg_needs_nothing_else() -> None:
    """Not even with the many segments of a crash load, which have a legend of two lines."""
    facts = replace(small_machine(), crash=CRASH)
    root = svg_of(facts, build_plan(facts, target=Target.CRASH))
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {"svg", "rect", "text", "title"}
        assert not {name for name in element.attrib if "href" in name or name == "style"}
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for words in root.iter(f"{SVG}text"):
        long = 0 if words.get("text-anchor") == "end" else 7.3 * len(words.text or "")
        assert float(words.attrib["x"]) + long <= width
    for box in root.iter(f"{SVG}rect"):
        right = float(box.attrib.get("x", 0)) + float(box.attrib["width"])
        bottom = float(box.attrib.get("y", 0)) + float(box.attrib["height"])
        assert right <= width
        assert bottom <= height


def test_the_svg_of_a_load_whose_places_only_the_kernel_knows() -> None:
    plan = FileLoadPlan("a<b", Target.NORMAL, b"", None, b"", KexecFileFlags(0))
    text = plan_svg(plan, picture_of(small_machine(), ()))
    assert "kexec_file_load, a<b" in "".join(ElementTree.fromstring(text).itertext())
    assert "The running kernel chooses where the segments go" in text
    assert "crash region" in text
