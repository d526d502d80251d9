"""How long the check between two kernels is said to take, and when that is worth a warning."""

from __future__ import annotations

import re

import pytest

from pykexec.architectures import ARCHITECTURES
from pykexec.planning.check_time import LONG, long_check, seconds_text
from pykexec.planning.digest import table_in
from pykexec.planning.plans import PurgatoryOptions
from pykexec.render.json import plan_value
from pykexec.render.text import plan_text
from pykexec.values.units import MIB
from tests.builders import riscv64
from tests.builders.plans import build_facts, build_plan
from tests.json_schemas import validate


@pytest.mark.parametrize("hashing", ["instructions", "portable"])
def test_it_is_in_the_plan(hashing: str) -> None:
    made = build_plan(build_facts(hashing=hashing))
    table = table_in(made)
    assert table is not None
    speed = ARCHITECTURES["x86_64"].check_speeds[hashing]
    assert made.check_seconds == table.size / speed
    value = plan_value(made)
    validate(value)
    assert value["verification"]["seconds"] == round(made.check_seconds, 3)
    assert "\n          less than 0.1 s, by the kind of processor\n" in plan_text(made)


def test_of_an_unknown_processor_nothing_is_guessed() -> None:
    made = build_plan(build_facts(hashing=""))
    assert made.check_seconds is None
    assert long_check(made) is None
    value = plan_value(made)
    validate(value)
    assert value["verification"]["seconds"] is None
    assert "\n          how long it takes is not known here\n" in plan_text(made)


@pytest.mark.parametrize(
    "more", [{"purgatory": PurgatoryOptions(skip_checks=True)}, {"entry": 0x10_0000}]
)
def test_what_is_not_checked_takes_no_time(more: dict[str, object]) -> None:
    assert build_plan(build_facts(hashing="portable"), **more).check_seconds is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "less than 0.1 s"),
        (0.0999, "less than 0.1 s"),
        (0.1, "about 0.1 s"),
        (4.24, "about 4.2 s"),
        (61.5, "about 62 s"),
    ],
)
def test_an_estimate_has_two_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize("mib", [100, 130])
def test_one_that_takes_long_is_warned_of(mib: int) -> None:
    """On a riscv64 processor that hashes 25 MB a second."""
    facts = riscv64.build_facts(hashing="in-order")
    made = riscv64.build_plan(facts, initrd=bytes(mib * MIB))
    assert made.check_seconds is not None
    warnings = [note for note in made.notes if "--no-checks" in note]
    if mib == 100:
        assert made.check_seconds < LONG
        assert warnings == []
        return
    assert warnings == [long_check(made)]
    assert re.fullmatch(
        r"the check of 13\d\.\d MiB before the new kernel is entered takes about 5\.5 s here; "
        "--no-checks leaves it out, and then nobody notices what a device or firmware writes into "
        "the new kernel's memory after the load",
        warnings[0],
    )
    assert all(len(line) <= 80 for line in plan_text(made).splitlines())
