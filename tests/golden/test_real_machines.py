"""Plans for real machines whose maps were published, compared with what was approved.

The maps are not part of this project: $PYKEXEC_MACHINES, or shared/machines beside the
checkout, has them as machine directories. PYKEXEC_UPDATE_GOLDEN=1 writes the approved plans
anew; PYKEXEC_REQUIRE_MACHINES=1 makes it a failure when the maps are not there.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

import pykexec
from pykexec.boot.arm64_linux import IMAGE_ALIGN
from pykexec.facts import MachineFacts
from pykexec.invariants import verify
from pykexec.memory import IomemEntry
from pykexec.plans import PurgatoryOptions, Role, SegmentPlan
from pykexec.ranges import Range
from pykexec.render.text import plan_text
from pykexec.units import MIB
from tests.builders.arm64 import build_facts, build_image, build_plan, build_request, server_iomem

GOLDEN = Path(__file__).parent
PLACES = Path(
    os.environ.get("PYKEXEC_MACHINES", Path(__file__).resolve().parents[3] / "shared" / "machines")
)
ALTRA = "arm64-ampere-altra-ava"
ZEROS = memoryview(bytes(256 * MIB))


def real_machine(name: str) -> MachineFacts:
    """Read a published machine; without the maps the test is skipped."""
    place = PLACES / name
    if not place.is_dir():
        missing = f"no machine {name} in {PLACES}"
        if os.environ.get("PYKEXEC_REQUIRE_MACHINES") == "1":
            pytest.fail(f"PYKEXEC_REQUIRE_MACHINES=1, and there is {missing}")
        pytest.skip(f"{missing}; PYKEXEC_REQUIRE_MACHINES=1 makes this a failure")
    return pykexec.read_machine(place)


def untouchable(iomem: tuple[IomemEntry, ...]) -> list[Range]:
    """Everything below System RAM but the dead kernel's own image, at any depth."""
    nested = [item for entry in iomem for child in entry.children for item in child.walk()]
    return [item.range for item in nested if not item.name.startswith("Kernel ")]


def assert_untouched(plan: SegmentPlan, facts: MachineFacts) -> None:
    ram = [entry.range for entry in facts.iomem if entry.name == "System RAM"]
    for segment in plan.segments:
        assert any(item.contains(segment.dest) for item in ram), segment.role
        for hole in untouchable(facts.iomem):
            assert not hole.overlaps(segment.dest), (segment.role, hole)


def test_plan_for_a_server_with_interrupt_tables_in_ram() -> None:
    facts = real_machine(ALTRA)
    plan = build_plan(facts, kernel=build_image(image_size=40 * MIB), initrd=ZEROS[: 60 * MIB])
    assert_untouched(plan, facts)
    assert not verify(plan, facts)
    approved = GOLDEN / f"{ALTRA}.txt"
    # The machine's own map, which follows, stays out of the project.
    text = plan_text(plan).partition("Memory map")[0]
    if os.environ.get("PYKEXEC_UPDATE_GOLDEN") == "1":
        approved.write_text(text, encoding="utf-8")
    assert text == approved.read_text(encoding="utf-8")


@pytest.mark.parametrize("real", [True, False], ids=["published", "built"])
def test_a_thousand_loads_leave_what_is_reserved_alone(real: bool) -> None:
    facts = real_machine(ALTRA) if real else build_facts()
    if not real:
        facts = replace(facts, iomem=server_iomem())
    chance = random.Random(20261121)
    unchecked = PurgatoryOptions(skip_checks=True)  # a thousand digests would take minutes
    for _ in range(1000):
        size = chance.randrange(1, 900) * MIB + chance.randrange(MIB)
        image = build_image(image_size=size, text_offset=chance.choice([0, 0x80000]))
        initrd = ZEROS[: chance.randrange(1, len(ZEROS))]
        plan = pykexec.plan(facts, build_request(kernel=image, initrd=initrd, purgatory=unchecked))
        assert_untouched(plan, facts)
        kernel = plan.segment(Role.KERNEL)
        assert kernel is not None
        assert kernel.dest.start % IMAGE_ALIGN == 0
        assert kernel.dest.size >= size
