"""What a simulation's console says: how far the plan came, and what went wrong. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from pykexec.simulation.audible import MUTING
from pykexec.simulation.rooms import simulation_room
from pykexec.values.command_line import kernel_words
from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from pykexec.planning.plans import SegmentPlan

_ESCAPES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|c)|\r")
_KERNEL_LINE = re.compile(r"(<\d+>)?\[ *\d+\.\d+\]")
_SHORT = 160
"""Characters of a line that a verdict quotes."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the plan is known to have come to."""

    seconds: float
    """Since the plan was entered."""
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a simulation."""

    booted: bool
    reason: str


_STEPS = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"pykexec purgatory: (verif.*)", "the purgatory says: {}"),
        (r"pykexec purgatory: (SHA-256 is right)", "the purgatory says: {}"),
        (r"pykexec purgatory: (entering the new kernel at .*)", "the purgatory says: {}"),
        (r"Linux version (\S+)", "Linux {} has started"),
        (r"((?:Trying to )?[Uu]npack\w*) (?:rootfs image as )?initramfs", "it unpacks the initrd"),
        (r"Run (\S+) as init process", "it runs {} as its init"),
    )
)
_INIT = re.compile(r"Run \S+ as init process")

_NO_ROOT = re.compile(r"Kernel panic - not syncing: VFS: Unable to mount root fs")
_FAILURES = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"Initramfs unpacking failed: (.*)", "the kernel cannot unpack the initrd: {}"),
        (r"rootfs image is not initramfs \((.*?)\)", "the kernel found no initramfs: {}"),
        (r"initrd (?:extends|not fully|overlaps|address)(.*)", "the kernel refuses the initrd:{}"),
        (r"INITRD: (.*)", "the kernel refuses the initrd: {}"),
        (r"Kernel panic - not syncing: (.*)", "the kernel panicked: {}"),
        (r"(Oops\b.*|Internal error: .*|BUG: unable to handle.*)", "the kernel died: {}"),
    )
)
_MISMATCH = re.compile(r"pykexec purgatory: SHA-256 mismatch")
_REFUSED = re.compile(r"pykexec purgatory: not starting the new kernel")
"""Last line of the purgatory; what it found stands above it."""
_HALTED = re.compile(r"-- System halted")
"""Last line of a kernel that cannot decompress itself; the reason stands above it."""


class Listening:
    """Takes the console as it comes, and knows when the verdict stands."""

    def __init__(self, plan: SegmentPlan, expect: re.Pattern[str] | None = None) -> None:
        """``expect`` is the text that proves that all is well, instead of init's first message."""
        self._has_initrd = plan.segment(Role.INITRD) is not None
        self._expect = expect
        self._partial = ""
        self._reached: set[int] = set()
        self.lines: list[str] = []
        self.size = 0
        """Characters heard."""
        self.verdict: Verdict | None = None
        self.init_started = False
        """The kernel says that it runs init, which has not yet said anything."""

    @property
    def console(self) -> str:
        """Everything heard so far, without escape sequences."""
        return "\n".join([*self.lines, self._partial])

    def hear(self, seconds: float, data: str) -> list[Step]:
        """Take what was heard up to ``seconds`` after the entry; returns the steps in it."""
        self.size += len(data)
        *whole, self._partial = (self._partial + data).split("\n")
        steps = []
        for line in whole:
            text = _ESCAPES.sub("", line)
            steps += [Step(seconds, found) for found in self._steps(text)]
            if self.verdict is None:
                self.verdict = self._judge(text)
            self.init_started |= _INIT.search(text) is not None
            self.lines.append(text)
        return steps

    def _steps(self, line: str) -> list[str]:
        found = []
        for number, (pattern, text) in enumerate(_STEPS):
            match = pattern.search(line)
            if match and number not in self._reached:
                self._reached.add(number)
                found.append(text.format(match[1].strip()[:_SHORT]))
        return found

    def _judge(self, line: str) -> Verdict | None:
        if self._expect is not None and self._expect.search(line):
            return Verdict(True, f"the console says {line.strip()[:_SHORT]!r}, as expected")
        by_init = self.init_started and line.strip() and not _KERNEL_LINE.match(line)
        if by_init and self._expect is None:
            return Verdict(True, f"its init says {line.strip()[:_SHORT]!r}")
        if not self._has_initrd and _NO_ROOT.search(line):
            return Verdict(
                self._expect is None,
                "the kernel has started and looks for its root file system, which the emulated "
                "machine does not have; the plan has no initrd",
            )
        if _REFUSED.search(line):
            return Verdict(False, self._refusal())
        if _HALTED.search(line):
            last = next((item.strip() for item in reversed(self.lines) if item.strip()), "")
            return Verdict(False, f"the kernel cannot unpack itself: {last[:_SHORT]}")
        for pattern, text in _FAILURES:
            match = pattern.search(line)
            if match:
                return Verdict(False, text.format(match[1].rstrip()[:_SHORT]))
        return None

    def _refusal(self) -> str:
        """Say why the purgatory refused: of memory that was changed the first piece."""
        for line, below in pairwise(self.lines):
            if _MISMATCH.search(line):
                return (
                    "the purgatory found that memory is not what the plan put there "
                    f"(SHA-256 mismatch): {below.strip()[:_SHORT]}"
                )
        last = self.lines[-1].strip() if self.lines else "it does not say why"
        return f"the purgatory does not start the kernel: {last[:_SHORT]}"

    def give_up(self, why: str, where: str) -> Verdict:
        """Return the verdict when nothing more is to be heard: ``why``, and ``where`` it stands."""
        if self.init_started and self._expect is None:
            return Verdict(True, "the kernel has started its init, which says nothing")
        last = next((item.strip() for item in reversed(self.lines) if item.strip()), None)
        heard = f"the last line was {last[:_SHORT]!r}" if last else "nothing was ever heard"
        return Verdict(False, f"{why}; {heard}; {where}")


def muted(plan: SegmentPlan) -> str | None:
    """Return the word by which the plan keeps the next kernel from saying that it runs init.

    Linux Documentation/admin-guide/kernel-parameters.txt, "quiet", "loglevel".
    """
    for word in kernel_words(plan.cmdline):
        if MUTING.fullmatch(word):
            return word.decode()
    return None


_SAID = {
    Role.PURGATORY: ": it still hashes, or has found memory changed; give it a console to be told",
}
_VIRTUAL = 1 << 63


def whereabouts(plan: SegmentPlan, registers: str) -> str:
    """Say where the processor stands, by what QEMU's ``info registers`` shows of it."""
    room = simulation_room(plan.arch)
    match = room.COUNTER.search(registers)
    if match is None:
        return "where the processor stands is not known"
    counter = int(match[1], 16)
    state = "is halted" if re.search(r"\bHLT=1", registers) else "is"
    at = f"the processor {state} at {counter:#x}"
    segment = plan.segment_at(counter)
    if segment is not None:
        return f"{at}, in the {segment.role} segment{_SAID.get(segment.role, '')}"
    if counter >= _VIRTUAL:
        return f"{at}, in the kernel's virtual memory"
    if room.VECTORS is not None and room.VECTORS.contains(Range.sized(counter, 4)):
        return f"{at}, the vector of an exception that nobody handles"
    return f"{at}, in no segment of the plan"
