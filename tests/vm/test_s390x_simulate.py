"""Plans for recorded s390x machines, tried out where no kexec is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pykexec import read_machine
from pykexec.cli.simulate import run
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.simulation.rooms import emulate
from pykexec.values.calls import Target
from pykexec.values.roles import Role
from tests.needs import unavailable
from tests.vm import debian
from tests.vm.debian import FetchError
from tests.vm.kernel_build import BUILT, KernelBuildError, built_kernel
from tests.vm.platforms import S390X
from tests.vm.qemu import qemu_missing
from tests.vm.test_simulate import MACHINES, SILENCE, WORDS, initrd_for, simulated

pytestmark = [pytest.mark.vm, pytest.mark.full]

DEBIAN, WITH_REGION = "s390x-6.1-1G", "s390x-6.12-2cpus-3G-crash"


@pytest.fixture(scope="module", autouse=True)
def _one_guest_at_a_time() -> Iterator[None]:
    """Keep other guests off this host, as those of test_simulate do."""
    with debian.locked(debian.cache_dir() / "qemu.lock"):
        yield


def plan_for(machine: str, series: str, target: Target = Target.NORMAL) -> SegmentPlan:
    """Plan to load a kernel of Debian's, or the one that is built."""
    missing = qemu_missing(S390X)
    if missing:
        unavailable(missing)
    try:
        image: Path = (
            built_kernel(S390X).image
            if series == BUILT
            else debian.kernel(series, arch=S390X.debian).image
        )
        initrd = initrd_for(S390X)
    except (FetchError, KernelBuildError) as error:
        unavailable(str(error))
    facts = read_machine(MACHINES / machine, crash=target is Target.CRASH)
    cmdline = b"console=ttysclp0 panic=-1"
    request = LoadRequest(kernel=image.read_bytes(), initrd=initrd, cmdline=cmdline, target=target)
    made = plan(facts, request)
    assert verify(made, facts) == []
    return made


@pytest.mark.parametrize(
    ("machine", "series", "target"),
    [
        pytest.param(DEBIAN, "6.1", Target.NORMAL, id="debian"),
        pytest.param(WITH_REGION, BUILT, Target.NORMAL, id="built"),
        pytest.param(WITH_REGION, BUILT, Target.CRASH, id="crash"),
    ],
)
def test_a_right_plan_boots(machine: str, series: str, target: Target) -> None:
    """The purgatory says nothing; after a crash it is asked first, and exchanges the memory."""
    done = simulated(plan_for(machine, series, target))
    assert done.verdict.booted, done.verdict.reason
    assert WORDS in done.verdict.reason
    told = [step.text for step in done.steps]
    assert told[-2:] == ["it unpacks the initrd", "it runs /init as its init"]


@pytest.mark.parametrize("target", Target, ids=lambda item: item.value)
def test_a_flipped_bit_is_caught(target: Target) -> None:
    """Where the processor stands says by which of the purgatory's waits, or that it returned."""
    right = plan_for(WITH_REGION, BUILT, target)
    segment = right.segment(Role.INITRD)
    assert segment is not None
    data = bytearray(segment.data)
    data[len(data) // 2] ^= 1
    wrong = right.with_data(Role.INITRD, bytes(data))
    done = run(wrong, emulate(wrong), None, SILENCE / 6, lambda step: None)
    assert not done.verdict.booted
    assert ("0x505900ff" if target is Target.CRASH else "0x50590004") in done.verdict.reason
