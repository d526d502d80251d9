"""The silence between two kernels is shorter than with the distribution's kexec."""

from __future__ import annotations

import pytest

from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.gap import MACHINES, MIB, Jump, both, machine_named
from tests.vm.qemu import qemu_missing

pytestmark = [pytest.mark.full, pytest.mark.vm]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        # Caches are on while ours hashes. Of what is left a part is the next kernel's.
        ("arm64", 0.1),
        ("arm64-el2-vhe", 0.1),
        # Both hash by plain C; ours was 1.18 on a busy host.
        ("x86_64", 1.4),
        # Ours hashes by SHA instructions, of which QEMU makes calls: 56 for a block of 64 bytes.
        ("x86_64-sha", 0.8),
    ],
)
def test_beside_the_distributions_kexec(name: str, most: float) -> None:
    """With 32 MiB, for which the C tool's check takes 15 s on arm64; with more it takes longer."""
    missing = qemu_missing(MACHINES[name].platform)
    if missing:
        unavailable(missing)
    try:
        machine = machine_named(name)
    except FetchError as error:
        unavailable(str(error))
    ours, theirs = both(Jump(machine, initrd=32 * MIB, name=f"test_gap-{name}"))
    print(f"{name}: {ours.gap:.2f} s, the distribution's kexec {theirs.gap:.2f} s")
    assert ours.gap <= most * theirs.gap
