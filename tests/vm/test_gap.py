"""The silence between two kernels is shorter than with the distribution's kexec."""

from __future__ import annotations

import pytest

from tests.needs import unavailable
from tests.vm.gap import MACHINES, MIB, Jump, both
from tests.vm.qemu import qemu_missing

pytestmark = [pytest.mark.full, pytest.mark.vm]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        # Caches are on while ours hashes. Of what is left a part is the next kernel's.
        ("arm64", 0.1),
        ("arm64-el2-vhe", 0.1),
        # Both hash by plain C.
        ("x86_64", 1.2),
    ],
)
def test_beside_the_distributions_kexec(name: str, most: float) -> None:
    """With 32 MiB, for which the C tool's check takes 15 s on arm64; with more it takes longer."""
    machine = MACHINES[name]
    missing = qemu_missing(machine.platform)
    if missing:
        unavailable(missing)
    ours, theirs = both(Jump(machine, initrd=32 * MIB, name=f"test_gap-{name}"))
    print(f"{name}: {ours.gap:.2f} s, the distribution's kexec {theirs.gap:.2f} s")
    assert ours.gap <= most * theirs.gap
