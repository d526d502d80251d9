"""The flag that lets the kernel update the core header: which one is sent, and what follows."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pytest

from pykexec.calls import syscalls
from pykexec.errors import KernelRejectedError, PykexecError
from pykexec.planning.planner import plan_file_load
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.kernel_state import KernelState
from tests.builders.plans import build_request
from tests.unit.test_x86_crash_plan import crash_facts, crash_plan

CRASH = 62 << 16 | 1
OLDER, NEWER, DEBUG = 0x4, 0x8, 0x10


class Kernel:
    """Answers EINVAL to every flag that it does not know."""

    def __init__(self, known: int) -> None:
        """``known`` are the flags below the architecture."""
        self.known = known
        self.asked: list[int] = []

    def kexec_load(self, entry: int, segments: Iterable[Segment], flags: int) -> int:
        """Stand in for the system call."""
        self.asked.append(flags)
        return errno.EINVAL if flags & 0xFFFF & ~self.known else 0


@pytest.fixture
def made() -> SegmentPlan:
    return crash_plan(crash_facts(kernel=KernelState(crash_elfcorehdr_size=110592)), hotplug=True)


@pytest.mark.parametrize(
    ("known", "debug", "asked"),
    [
        pytest.param(0x7, False, [OLDER], id="6.6"),
        pytest.param(0xF, False, [OLDER], id="6.10"),
        pytest.param(0x1F, True, [OLDER | DEBUG], id="6.19, debug"),
        pytest.param(0xF, True, [OLDER | DEBUG, OLDER], id="6.10, debug"),
        pytest.param(0xB, False, [OLDER, NEWER], id="without the older flag"),
        pytest.param(0xB, True, [OLDER | DEBUG, OLDER, NEWER], id="without either, debug"),
    ],
)
def test_the_older_flag_comes_first_and_the_newer_one_once(
    monkeypatch: pytest.MonkeyPatch,
    made: SegmentPlan,
    known: int,
    debug: bool,
    asked: list[int],
) -> None:
    kernel = Kernel(known)
    monkeypatch.setattr(syscalls, "kexec_load", kernel.kexec_load)
    assert syscalls.load(made, debug=debug) == CRASH | asked[-1]
    assert kernel.asked == [CRASH | flags for flags in asked]


def test_a_kernel_that_takes_neither(monkeypatch: pytest.MonkeyPatch, made: SegmentPlan) -> None:
    kernel = Kernel(KexecFlags.KEXEC_ON_CRASH)
    monkeypatch.setattr(syscalls, "kexec_load", kernel.kexec_load)
    with pytest.raises(KernelRejectedError, match="EINVAL"):
        syscalls.load(made)
    assert kernel.asked == [CRASH | OLDER, CRASH | NEWER]


@pytest.mark.parametrize("error", [errno.EPERM, errno.EBUSY, errno.EADDRNOTAVAIL])
def test_no_other_refusal_is_retried(
    monkeypatch: pytest.MonkeyPatch, made: SegmentPlan, error: int
) -> None:
    asked = []

    def refuse(entry: int, segments: Iterable[Segment], flags: int) -> int:
        asked.append(flags)
        return error

    monkeypatch.setattr(syscalls, "kexec_load", refuse)
    with pytest.raises(KernelRejectedError, match=errno.errorcode[error]):
        syscalls.load(made)
    assert asked == [CRASH | OLDER]


def test_without_the_option_there_is_no_flag_and_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(0)
    monkeypatch.setattr(syscalls, "kexec_load", kernel.kexec_load)
    with pytest.raises(KernelRejectedError, match="EINVAL"):
        syscalls.load(crash_plan())
    assert kernel.asked == [CRASH]


@pytest.mark.parametrize("size", [None, 0])
def test_the_file_call_refuses_it_too_where_the_kernel_does_nothing(size: int | None) -> None:
    """Of itself that call takes no flag: it would load, and no one would follow."""
    facts = crash_facts(kernel=KernelState(crash_elfcorehdr_size=size))
    with pytest.raises(PykexecError, match="CONFIG_CRASH_HOTPLUG") as caught:
        plan_file_load(facts, build_request(target=Target.CRASH, hotplug=True))
    assert "leave out --hotplug" in (caught.value.hint or "")
    assert plan_file_load(facts, build_request(target=Target.CRASH)).flags == 2
    assert plan_file_load(facts, build_request(hotplug=True)).flags == 0
