"""What plans, loads and the doctor make of kexec handover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.calls.call_choice import choose
from pykexec.doctor import Asked, Level, Surroundings, checks
from pykexec.errors import PykexecError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.planning.next_layouts import unknown_to_next
from pykexec.planning.planner import plan_file_load
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.handover import Handover, Switch
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.plans import build_facts, build_request

ON = Switch(True, "/sys/kernel/debug/kho is there")
AREAS = (Range.sized(0xBC00000, 8 * MIB), Range.sized(0x23400000, 40 * MIB))
SMALL = 30 * MIB
"""init_size."""


def facts(**handover: Any) -> MachineFacts:
    seen = Handover(ON, ON, **{"scratch": AREAS, "registered": ("LUO",), **handover})
    return build_facts(kernel=KernelState(release="7.2.1", handover=True, handed_over=seen))


def planned(init_size: int = SMALL, initrd: int = MIB, **more: Any) -> Any:
    kernel = build_bzimage(KernelSpec(init_size=init_size))
    request = build_request(kernel=kernel, initrd=bytes(initrd), **more)
    return plan_file_load(facts(), request)


def test_a_plan_names_the_scratch_areas() -> None:
    (rule, *_) = (rule.text for rule in planned().placement if rule.role is None)
    assert rule == (
        "kexec handover is on (kho=): only its scratch memory is used, each segment in one of "
        "0xbc00000-0xc3fffff (8 MiB), 0x23400000-0x25bfffff (40 MiB)"
    )


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((41 * MIB, MIB), "the kernel takes 41 MiB in one piece, and the scratch areas, which"),
        ((SMALL, 41 * MIB), "the initrd takes 41 MiB in one piece"),
        ((30 * MIB, 30 * MIB), "kernel and initrd take 60 MiB, and the scratch areas, which kexec"),
    ],
)
def test_what_cannot_fit_is_refused_before_the_call(sizes: tuple[int, int], text: str) -> None:
    with pytest.raises(PykexecError) as caught:
        planned(*sizes)
    assert text in caught.value.message
    assert "0x23400000-0x25bfffff (40 MiB)" in caught.value.message
    assert "kho_scratch=" in (caught.value.hint or "")


def test_areas_are_no_limit_where_they_are_none() -> None:
    """Without handover, for a crash kernel, and where nobody shows them."""
    request = build_request(kernel=build_bzimage(KernelSpec(init_size=41 * MIB)))
    for state in (
        KernelState(release="7.2.1"),
        KernelState(release="7.2.1", handover=True),
        facts(scratch=None).kernel,
    ):
        plan_file_load(build_facts(kernel=state), request)
    with pytest.raises(PykexecError, match="are none"):
        plan_file_load(facts(scratch=()), request)


def image(*layouts: str) -> bytes:
    """Return a bzImage with these among the strings of the kernel that it unpacks."""
    text = b"\0".join(name.encode() for name in layouts)
    packed = compress(Codec.GZIP, b"\x7fELF" + bytes(61) + text + bytes(4096))
    spec = KernelSpec(payload_length=len(packed))
    built = bytearray(build_bzimage(spec))
    at = (spec.setup_sects + 1) * 512 + spec.payload_offset
    built[at : at + len(packed)] = packed
    return bytes(built)


def test_the_next_kernel_knows_the_layouts_or_is_warned_of() -> None:
    here = facts(layouts=("kho-v4", "luo-v5"))
    asked = Asked(Target.NORMAL, Call.KEXEC_FILE_LOAD)
    same = identify(image("kho-v4", "luo-v5", "memfd-v2")).image
    assert unknown_to_next(same, here) is None
    other = identify(image("kho-v4", "luo-v6")).image
    text = unknown_to_next(other, here)
    assert text is not None
    assert text.startswith("the next kernel does not know luo-v5 (it knows kho-v4, luo-v6)")
    none = unknown_to_next(identify(image("x")).image, here)
    assert none is not None
    assert "kho-v4, luo-v5 (it knows none at all)" in none
    assert unknown_to_next(other, facts()) is None
    assert unknown_to_next(other, build_facts()) is None
    finding = checks.check_layouts(text)
    assert (finding.check, finding.level) == ("layouts", Level.RISK)
    request = build_request(kernel=image("kho-v4", "luo-v6"), cmdline=b"kho=on liveupdate=on")
    chosen = choose(CallWish.AUTO, request, other, here)
    assert chosen.call is Call.KEXEC_FILE_LOAD
    assert text in chosen.warnings
    assert asked.call is chosen.call


@pytest.mark.parametrize(
    ("seen", "cmdline", "level", "text"),
    [
        (Handover(ON, ON, registered=("LUO", "memblock")), b"", Level.NOTE, "(LUO, memblock)"),
        (Handover(Switch(False, "x"), ON), b"kho=on", Level.FINE, "no kexec handover"),
        (Handover(Switch(None, "no config"), ON), b"", Level.NOTE, "cannot be told: no config"),
        (Handover(Switch(None, "x"), ON), b"kho=on", Level.NOTE, "kexec handover is on"),
    ],
)
def test_what_the_doctor_says(seen: Handover, cmdline: bytes, level: Level, text: str) -> None:
    here = build_facts(cmdline=cmdline)
    here = replace(here, kernel=replace(here.kernel, handed_over=seen))
    finding = next(iter(checks.check_handover(here, Surroundings(), Asked(Target.NORMAL))))
    assert (finding.check, finding.level) == ("kho", level)
    assert text in finding.text
