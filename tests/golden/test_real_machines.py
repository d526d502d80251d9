"""Plans for real machines, compared as text and as JSON with what was approved.

Recorded machines are in tests/data. Published ones are not part of this project:
$PYKEXEC_MACHINES, or shared/machines beside the checkout, has them as machine directories;
of their plans the memory map, which is the machine's own, is approved by its digest alone.
PYKEXEC_UPDATE_GOLDEN=1 writes the approved plans anew; PYKEXEC_REQUIRE_MACHINES=1 makes it a
failure when the published maps are not there.
"""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import pykexec
from pykexec.boot.tree.protocol import KERNEL_ALIGN
from pykexec.errors import PykexecError
from pykexec.planning.invariants import verify
from pykexec.planning.plans import LoadRequest, PurgatoryOptions, SegmentPlan
from pykexec.render.json import plan_value
from pykexec.render.text import plan_text
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry, crash_regions
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import MIB
from tests.builders import arm, arm64, loongarch, m68k, plans, ppc64le, riscv64, s390x
from tests.builders.arm64 import build_facts, build_image, build_request, server_iomem
from tests.cli.test_pykexec import run
from tests.json_schemas import validate
from tests.needs import unavailable
from tests.unit.test_initramfs import archive
from tests.unit.test_x86_crash_plan import CRASH

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "plans"
RECORDED = ROOT / "tests/data/machines"
PUBLISHED = Path(os.environ.get("PYKEXEC_MACHINES", ROOT.parent / "shared/machines"))

ALTRA = "arm64-ampere-altra-ava"
PUBLISHED_NAMES = (
    ALTRA,
    "arm64-rpi4-4g",
    "loongarch-3c5000-crash-fixed",
    "loongarch-3c5000-crash-toplevel-bug",
    "loongarch-3c5000-nocrash",
    "riscv32-cvw-nexys-128m",
    "unprivileged-zeros-kvm",
    "x86-amd-k8-gart",
    "x86-dax-kmem-nested-ram",
    "x86-hp-haswell-pmem-crash-lowhigh",
    "x86-kvm-4g-ubuntu",
    "x86-rhel5-crash00-16g",
)
WITH_CRASH_LINE = (
    "loongarch-3c5000-crash-fixed",
    "x86-hp-haswell-pmem-crash-lowhigh",
    "x86-rhel5-crash00-16g",
)
RECORDED_NAMES = tuple(sorted(path.name for path in RECORDED.iterdir()))

BUILDERS: dict[str, Any] = {
    "aarch64": arm64,
    "riscv64": riscv64,
    "ppc64le": ppc64le,
    "arm": arm,
    "loongarch64": loongarch,
    "s390x": s390x,
    "m68k": m68k,
}
"""Of architectures whose kernels are no bzImages."""
ZEROS = memoryview(bytes(256 * MIB))


def published(name: str) -> Path:
    """Return a published machine; without the maps the test is skipped."""
    place = PUBLISHED / name
    if not place.is_dir():
        unavailable(f"there is no machine {name} in {PUBLISHED}", "MACHINES")
    return place


def request_for(facts: MachineFacts, target: Target) -> LoadRequest:
    """Ask for an ordinary load: the same on every machine of an architecture."""
    if facts.arch in BUILDERS:
        built = BUILDERS[facts.arch]
        kernel = built.build_image(image_size=40 * MIB)
        request: LoadRequest = built.build_request(
            kernel=kernel, initrd=ZEROS[: 24 * MIB], target=target
        )
        return request
    kernel = plans.kernel_for(facts.arch)
    return plans.build_request(kernel=kernel, initrd=ZEROS[: 24 * MIB], target=target)


def plan_for(place: Path, target: Target) -> tuple[SegmentPlan, MachineFacts]:
    """Plan and verify. A map alone has no crash notes; any will do for a layout."""
    facts = pykexec.read_machine(place, crash=target is Target.CRASH)
    # A note in the plan names it, wherever the checkout is.
    facts = replace(facts, device_tree_source=facts.device_tree_source.removeprefix(str(place)))
    if target is Target.CRASH and facts.crash.vmcoreinfo is None:
        facts = replace(facts, crash=CRASH)
    plan = pykexec.plan(facts, request_for(facts, target))
    assert verify(plan, facts) == []
    assert_untouched(plan, facts)
    return plan, facts


def untouchable(iomem: tuple[IomemEntry, ...]) -> list[Range]:
    """Everything below System RAM but the dead kernel's own image, at any depth."""
    nested = [item for entry in iomem for child in entry.children for item in child.walk()]
    return [item.range for item in nested if not item.name.startswith("Kernel ")]


def assert_untouched(plan: SegmentPlan, facts: MachineFacts) -> None:
    own = crash_regions(facts.iomem) if plan.target is Target.CRASH else ()
    # On s390x the region is no part of System RAM.
    shown = (entry.range for entry in facts.iomem if entry.name == "System RAM")
    ram = RangeSet(shown).union(own)
    for segment in plan.segments:
        assert ram.covering(segment.dest), segment.role
        for hole in untouchable(facts.iomem):
            assert hole in own or not hole.overlaps(segment.dest), (segment.role, hole)


def assert_approved(name: str, text: str) -> None:
    approved = GOLDEN / name
    if os.environ.get("PYKEXEC_UPDATE_GOLDEN") == "1":
        approved.parent.mkdir(exist_ok=True)
        approved.write_text(text, encoding="utf-8")
    assert text == approved.read_text(encoding="utf-8")


def assert_plan_approved(
    name: str, plan: SegmentPlan, facts: MachineFacts, *, keep_map: bool
) -> None:
    text, value = plan_text(plan, facts), plan_value(plan, facts)
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    validate(value)
    if not keep_map:
        text, value = without_map(text, value)
    assert_approved(f"{name}.txt", text)
    assert_approved(f"{name}.json", json.dumps(value, indent=2) + "\n")


def without_map(text: str, value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Put a digest where a published machine's own map stands."""
    digest = sha256(json.dumps([value["memory_map"], value["told"]]).encode()).hexdigest()
    cut = re.sub(r"(?<=the new kernel is told:\n)(  .*\n)+", f"  {digest}\n", text)
    cut = re.sub(r"  [-+] e820: .*\n", "", cut)
    told = [item for item in value["told"] if item["name"] != "e820"]
    assert cut != text
    return cut, {**value, "memory_map": digest, "told": told}


@pytest.mark.parametrize("target", Target, ids=lambda item: item.value)
@pytest.mark.parametrize("name", RECORDED_NAMES)
def test_plans_for_recorded_machines(name: str, target: Target) -> None:
    if target is Target.CRASH and not crash_regions(pykexec.read_machine(RECORDED / name).iomem):
        refused = (
            "no memory is reserved for a crash kernel|do not start another one when they crash"
        )
        with pytest.raises(PykexecError, match=refused):
            plan_for(RECORDED / name, target)
        return
    plan, facts = plan_for(RECORDED / name, target)
    assert_plan_approved(f"{name}.{target.value}", plan, facts, keep_map=True)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, Target.NORMAL) for name in PUBLISHED_NAMES),
        *((name, Target.CRASH) for name in WITH_CRASH_LINE),
    ],
    ids=lambda item: item.value if isinstance(item, Target) else item,
)
def test_plans_for_published_machines(name: str, target: Target) -> None:
    """A machine that there is no plan for gets the right complaint instead."""
    place = published(name)
    approved = f"{name}.{target.value}"
    try:
        plan, facts = plan_for(place, target)
    except PykexecError as error:
        message = error.message.replace(str(place), "MACHINE")
        assert_approved(f"{approved}.txt", f"{message}\nhint: {error.hint}\n")
        return
    assert_plan_approved(approved, plan, facts, keep_map=False)


BY_FILE = (
    ("x86_64-6.12-bios-8G", Target.NORMAL),
    ("x86_64-6.1-bios-crash", Target.CRASH),
    ("aarch64-6.12-tree-1G", Target.NORMAL),
)


@pytest.mark.parametrize(("name", "target"), BY_FILE, ids=lambda item: getattr(item, "value", item))
def test_plans_by_the_file_call_with_the_layout_beneath(
    name: str, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``pykexec plan`` prints them; the doctor's findings, in JSON, name files of this run."""
    arm = name.startswith("aarch64")
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(build_image(image_size=40 * MIB) if arm else plans.KERNEL)
    initrd.write_bytes(archive(5000, 3))
    words = ["plan", str(kernel), "--initrd", str(initrd), "--append", "root=/dev/vda1 ro"]
    words += ["--machine", str(RECORDED / name), "--seed", "x", "--dump", str(tmp_path / "dump")]
    code, text, err = run(monkeypatch, *words, *(["--crash"] if target is Target.CRASH else []))
    assert (code, err) == (0, "")
    value = json.loads((tmp_path / "dump/plan.json").read_text())
    validate(value)
    assert not value.pop("doctor")["blocked"]
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    approved = f"{name}.{target.value}-by-file"
    text, shown = (item.replace(str(RECORDED), "") for item in (text, json.dumps(value, indent=2)))
    assert_approved(f"{approved}.txt", text)
    assert_approved(f"{approved}.json", shown + "\n")


def test_no_approved_plan_is_left_over() -> None:
    names = {path.name.rsplit(".", 2)[0] for path in GOLDEN.iterdir()}
    assert names == {*RECORDED_NAMES, *PUBLISHED_NAMES}


@pytest.mark.parametrize("real", [True, False], ids=["published", "built"])
def test_a_thousand_loads_leave_what_is_reserved_alone(real: bool) -> None:
    facts = pykexec.read_machine(published(ALTRA)) if real else build_facts()
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
        assert kernel.dest.start % KERNEL_ALIGN == 0
        assert kernel.dest.size >= size
