"""What a console says of a simulation, and what a processor that stands still does."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pykexec.planning.plans import SegmentPlan
from pykexec.simulation.riscv64 import START
from pykexec.simulation.verdict import Listening, muted, whereabouts
from pykexec.values.roles import Role
from tests.builders import arm64, riscv64
from tests.builders.plans import build_plan
from tests.builders.wrong_plans import segment_of

PLAN = build_plan()
NO_INITRD = build_plan(initrd=None)
RUN = "[    2.1] Run /init as init process\n"


def heard(text: str, plan: SegmentPlan = PLAN, expect: str | None = None) -> Listening:
    listening = Listening(plan, re.compile(expect) if expect else None)
    listening.hear(1.0, text)
    return listening


def test_steps_are_told_once_and_when_they_come() -> None:
    listening = Listening(PLAN)
    text = (
        "pykexec purgatory: verifying 4 segments, 47.3 MiB\r\n"
        "pykexec purgatory: SHA-256 is right\r\n"
        "pykexec purgatory: entering the new kernel at 0x1d800200\r\n"
        "\x1b[2J[    0.000000] Linux version 6.12.107 (someone@somewhere)\r\n"
        "[    0.9] Linux version 6.12.107 again\r\n"
        "[    1.0] Unpacking initramfs...\r\n" + RUN + "init speaks\r\n"
    )
    # Characters come as they like.
    steps = [step for at, piece in enumerate(text) for step in listening.hear(float(at), piece)]
    assert [step.text for step in steps] == [
        "the purgatory says: verifying 4 segments, 47.3 MiB",
        "the purgatory says: SHA-256 is right",
        "the purgatory says: entering the new kernel at 0x1d800200",
        "Linux 6.12.107 has started",
        "it unpacks the initrd",
        "it runs /init as its init",
    ]
    assert steps[0].seconds == text.index("\n")
    assert listening.verdict is not None
    assert (listening.verdict.booted, listening.verdict.reason) == (
        True,
        "its init says 'init speaks'",
    )
    assert "\x1b" not in listening.console
    assert listening.size == len(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "pykexec purgatory: SHA-256 mismatch, memory was overwritten since the load\n"
            "  0x1000, 4096 bytes, of the segment at 0x1000, 4096 bytes\n"
            "  1 of 1 piece is not what it was.\n"
            "pykexec purgatory: not starting the new kernel; halted, reset the machine\n",
            "what the plan put there (SHA-256 mismatch): 0x1000, 4096 bytes, of the segment at",
        ),
        (
            "pykexec purgatory: exception 0x5 at 0x2000, value 0x0\n"
            "pykexec purgatory: not starting the new kernel; halted, reset the machine\n",
            "does not start the kernel: pykexec purgatory: exception 0x5",
        ),
        (
            "[ 1.0] Initramfs unpacking failed: invalid magic at start of compressed archive\n",
            "cannot unpack the initrd: invalid magic",
        ),
        (
            "[ 1.0] rootfs image is not initramfs (no cpio magic); looks like an initrd\n",
            "found no initramfs: no cpio magic",
        ),
        (
            "[ 1.0] initrd not fully accessible via the linear mapping\n",
            "refuses the initrd: accessible via",
        ),
        ("[ 1.0] INITRD: 0x1 is not a memory region\n", "refuses the initrd: 0x1 is not"),
        ("[ 1.0] Kernel panic - not syncing: No working init\n", "panicked: No working init"),
        ("[ 1.0] Oops: 0002 [#1] SMP\n", "died: Oops: 0002 [#1] SMP"),
        ("[ 1.0] Internal error: Oops: 96000004 [#1]\n", "died: Internal error: Oops"),
        (
            "\n\nXZ-compressed data is corrupt\n\n -- System halted\n",
            "unpack itself: XZ-compressed",
        ),
        (" -- System halted\n", "cannot unpack itself: "),
    ],
)
def test_what_goes_wrong_is_named(text: str, reason: str) -> None:
    verdict = heard(text).verdict
    assert verdict is not None
    assert not verdict.booted
    assert reason in verdict.reason


def test_the_first_verdict_stands() -> None:
    listening = heard(
        "[ 1.0] Initramfs unpacking failed: junk\n[ 1.1] Kernel panic - not syncing: x\n"
    )
    assert listening.verdict is not None
    assert listening.verdict.reason == "the kernel cannot unpack the initrd: junk"


@pytest.mark.parametrize(
    ("text", "booted"),
    [
        (RUN + "[    2.2]   with arguments:\n<4>[    2.3] random: x\n\n", None),
        (RUN + "hello\n", True),
        (RUN + "[    2.2] Kernel panic - not syncing: Attempted to kill init!\n", False),
        ("hello\n", None),
    ],
)
def test_init_must_say_something_itself(text: str, booted: bool | None) -> None:
    verdict = heard(text).verdict
    assert (verdict.booted if verdict else None) is booted


NO_ROOT = "[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"


@pytest.mark.parametrize(
    ("plan", "expect", "booted"),
    [(PLAN, None, False), (NO_INITRD, None, True), (NO_INITRD, "login:", False)],
)
def test_a_missing_root_is_no_fault_of_a_plan_without_initrd(
    plan: SegmentPlan, expect: str | None, booted: bool
) -> None:
    verdict = heard(NO_ROOT, plan, expect).verdict
    assert verdict is not None
    assert verdict.booted is booted


def test_what_was_expected_decides() -> None:
    assert heard(RUN + "hello\n", expect="login:").verdict is None
    verdict = heard(RUN + "hello\nsource login: \n", expect="login:").verdict
    assert verdict is not None
    assert verdict.reason == "the console says 'source login:', as expected"


@pytest.mark.parametrize(
    ("text", "expect", "booted", "reason"),
    [
        (RUN, None, True, "the kernel has started its init, which says nothing"),
        (RUN, "login:", False, "silence; the last line was '[    2.1] Run /init as init process'"),
        ("[ 0.1] a\n\n", None, False, "silence; the last line was '[ 0.1] a'; it is there"),
        ("", None, False, "silence; nothing was ever heard; it is there"),
    ],
)
def test_silence(text: str, expect: str | None, booted: bool, reason: str) -> None:
    verdict = heard(text, expect=expect).give_up("silence", "it is there")
    assert verdict.booted is booted
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    ("cmdline", "word"),
    [
        (b"ro quiet splash", "quiet"),
        (b"loglevel=3 x", "loglevel=3"),
        (b"loglevel=7 quieter noquiet", None),
        (b"", None),
    ],
)
def test_a_kernel_that_will_be_silent_is_known(cmdline: bytes, word: str | None) -> None:
    assert muted(replace(PLAN, cmdline=cmdline)) == word


def registers_of(plan: SegmentPlan, counter: int, halted: bool = False) -> str:
    if plan.arch == "riscv64":
        return f" pc       {counter:016x}\n mhartid  0000000000000000\n"
    if plan.arch == "aarch64":
        return f" PC={counter:016x} X00=0000000000000000\nPSTATE=600003c5 -ZC- EL1h"
    return f"RAX=0 RBX=0\nRIP={counter:016x} RFL=00000046 [---Z-P-] CPL=0 HLT={int(halted)}\n"


ARM, RISCV = arm64.build_plan(), riscv64.build_plan()
PURGATORY = segment_of(PLAN, Role.PURGATORY).dest.start + 0x10


@pytest.mark.parametrize(
    ("plan", "counter", "halted", "words"),
    [
        (PLAN, PURGATORY, True, "the processor is halted at 0x"),
        (PLAN, PURGATORY, True, ", in the purgatory segment"),
        (PLAN, PURGATORY, False, "the processor is at 0x"),
        (PLAN, 0xFFFFFFFF81000000, False, "0xffffffff81000000, in the kernel's virtual memory"),
        (PLAN, 0x200, False, "0x200, in no segment of the plan"),
        (ARM, 0x200, False, "0x200, the vector of an exception that nobody handles"),
        (RISCV, START + 4, False, "0x801ff004, the vector of an exception that nobody handles"),
        (RISCV, segment_of(RISCV, Role.INITRD).dest.start, False, "in the initrd segment"),
        (RISCV, 0x80000000, False, "0x80000000, in no segment of the plan"),
        (ARM, 0xFFFF800080000000, False, "in the kernel's virtual memory"),
        (ARM, segment_of(ARM, Role.KERNEL).dest.start, False, "in the kernel segment"),
    ],
)
def test_where_the_processor_stands(
    plan: SegmentPlan, counter: int, halted: bool, words: str
) -> None:
    assert words in whereabouts(plan, registers_of(plan, counter, halted))


def test_a_processor_that_shows_nothing() -> None:
    assert whereabouts(PLAN, "nothing") == "where the processor stands is not known"
    other = replace(PLAN, arch="aarch64")
    assert whereabouts(other, registers_of(PLAN, 1)) == "where the processor stands is not known"
