"""The recorded machines of the test data: each can be read, and a load planned for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pykexec.machine import read_machine
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.values.calls import Target
from tests.builders import arm, arm64, loongarch, m68k, plans, ppc64le, riscv64, s390x

DATA = Path(__file__).resolve().parents[2] / "data/machines"
RECORDED = sorted(path.name for path in DATA.iterdir())
BUILDERS: dict[str, Any] = {
    "aarch64": arm64,
    "riscv64": riscv64,
    "ppc64le": ppc64le,
    "arm": arm,
    "s390x": s390x,
    "loongarch64": loongarch,
    "m68k": m68k,
}
"""Of those whose kernels are no bzImages."""
WITH_CRASH_MEMORY = [name for name in RECORDED if "crash" in name]


def check(name: str, target: Target) -> None:
    facts = read_machine(DATA / name, crash=target is Target.CRASH)
    if facts.arch in BUILDERS:
        request = BUILDERS[facts.arch].build_request(target=target)
    else:
        request = plans.build_request(kernel=plans.kernel_for(facts.arch), target=target)
    assert verify(plan(facts, request), facts) == []


@pytest.mark.parametrize("name", RECORDED)
def test_a_normal_load(name: str) -> None:
    check(name, Target.NORMAL)


@pytest.mark.parametrize("name", WITH_CRASH_MEMORY)
def test_a_crash_load(name: str) -> None:
    check(name, Target.CRASH)


@pytest.mark.parametrize("name", WITH_CRASH_MEMORY)
def test_the_kernels_mapping_is_known(name: str) -> None:
    crash = read_machine(DATA / name, crash=True).crash
    assert crash is not None
    if name.startswith("i386"):
        assert (crash.page_offset_vaddr, crash.direct_map_end) == (0xC0000000, 0x36BFE000)
    elif name.startswith("arm-"):
        # The kernel is a part of the memory that is mapped.
        assert (crash.page_offset_vaddr, crash.direct_map_end) == (0x80000000, 0x70000000)
    elif name.startswith(("ppc64le", "loongarch64")):
        # The kernel is a part of all memory.
        start = 0xC000000000000000 if name.startswith("ppc64le") else 0x9000000000000000
        assert (crash.page_offset_vaddr, crash.kernel_text) == (start, None)
    elif "-xen-" in name:
        assert crash.in_machine_addresses
        assert (crash.page_offset_vaddr, crash.kernel_text) == (None, None)
        assert len(crash.crash_notes) == 2
        assert None not in (crash.vmcoreinfo, crash.xen_vmcoreinfo)
    elif name.startswith("s390x"):
        # The capture kernel makes the core header.
        assert (crash.page_offset_vaddr, crash.kernel_text) == (None, None)
    else:
        assert None not in (crash.kernel_text, crash.kernel_text_vaddr, crash.page_offset_vaddr)
