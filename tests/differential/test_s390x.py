"""The same request on the same s390x machine: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for s390x, run by an emulator. All that a kernel is told stands in
its own image, so that the segments are compared byte by byte, but for the purgatories. What differs
on purpose is said here, and in docs/compatibility.md.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass

import pytest

from tests.builders.s390x import EM_S390, IMAGE, build_image
from tests.differential.machines import recorded
from tests.differential.sandbox import (
    CapturedCall,
    CapturedSegment,
    Sandbox,
    SandboxError,
    emulated_c_kexec,
)
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting, assert_both_refuse
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import S390X

pytestmark = pytest.mark.differential

MACHINES = sorted(recorded(S390X.name))
FOR_CRASHES = "s390x-6.12-2cpus-3G-crash"
REGION = (0xB1100000, 0xBD100000)
"""Of that machine, as its /proc/iomem has it."""
CMDLINE_AT, ENTRY = 0x480, 0x10000
INITRD = random.Random(390).randbytes(123457)
IMAGES = {"ordinary": IMAGE, "old": build_image(cmdline_size=0)}
PLAIN = Request("root=/dev/vda1 ro", initrd=True)
NOTHING = Request()
REUSED = Request("quiet", ("--reuse-cmdline",), initrd=True)
TWICE = Request("b", ("--append=a",))
REQUESTS = {
    "plain": PLAIN,
    "nothing": NOTHING,
    "reused": REUSED,
    "longest": Request("a" * 4095),
    "longest-old": Request("a" * 895, image="old"),
    "twice": TWICE,
}
DIFFERENCES = (
    "Segments are verified",
    "The purgatory after a crash lies at the end of the region",
    "The command line is that of the load",
    "The last `--append` counts",
    "A command line that is not ASCII is refused",
)


@dataclass(frozen=True, slots=True)
class Parts:
    """A recorded load, taken apart."""

    call: CapturedCall
    kernel: CapturedSegment
    initrd: CapturedSegment | None
    others: tuple[CapturedSegment, ...]

    @property
    def cmdline(self) -> bytes:
        """What the parameter area has for a command line, its length told by the first NUL."""
        return self.kernel.data[CMDLINE_AT:].split(b"\0", 1)[0]

    @property
    def but_cmdline(self) -> tuple[int, int, bytes, bytes]:
        """All else of the kernel's segment."""
        data = self.kernel.data
        size = struct.unpack_from(">Q", data, 0x430)[0] or 896
        return self.kernel.mem, self.kernel.memsz, data[:CMDLINE_AT], data[CMDLINE_AT + size :]


def parts_of(call: CapturedCall) -> Parts:
    """Find kernel and initrd by their bytes."""
    (kernel,) = (item for item in call.segments if item.data[8:14] == b"S390EP")
    initrd = [item for item in call.segments if item.data == INITRD]
    others = (item for item in call.segments if item is not kernel and item not in initrd)
    return Parts(call, kernel, initrd[0] if initrd else None, tuple(others))


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec(S390X)
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for s390x: {error}")
    setting = Setting(S390X, EM_S390, {}, IMAGES, {}, INITRD)
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("s390x"), setting)


def both(bench: Bench, machine: str, request: Request, crash: bool) -> tuple[Parts, Parts]:
    """Return what the C tool loads, and what pykexec does."""
    theirs, ours = (
        parts_of(bench.run(tool, machine, request, crash).load) for tool in ("theirs", "ours")
    )
    return theirs, ours


def expected_cmdlines(request: Request, running: bytes, crash: bool) -> tuple[bytes, bytes]:
    """Return both command lines, by the list of differences."""
    append = request.append.encode()
    if request == NOTHING:
        own = IMAGES[request.image][ENTRY + CMDLINE_AT :].split(b"\0", 1)[0]
        return own[:4096], b""
    if request == TWICE:
        return b"a b", b"b"
    if request == REUSED:
        # Either leaves the word out for a crash kernel, and the C tool a blank behind it.
        kept = re.sub(rb" crashkernel=\S+", b"", running) if crash else running
        return kept + (b"  " if crash else b" ") + append, kept + b" " + append
    return append, append


def check(bench: Bench, machine: str, request: Request, crash: bool) -> None:
    theirs, ours = both(bench, machine, request, crash)
    assert theirs.call.flags == ours.call.flags == 22 << 16 | crash
    assert theirs.but_cmdline == ours.but_cmdline
    base = REGION[0] if crash else 0
    assert ours.kernel.mem == base + ENTRY
    assert theirs.initrd == ours.initrd
    assert (ours.initrd is not None) == request.initrd
    running = (bench.machines[machine] / "proc/cmdline").read_bytes().strip()
    assert (theirs.cmdline, ours.cmdline) == expected_cmdlines(request, running, crash)
    (purgatory,) = ours.others
    assert purgatory.mem <= ours.call.entry < purgatory.mem + purgatory.memsz
    if not crash:
        assert not theirs.others
        assert theirs.call.entry == ENTRY
        return
    (other,) = theirs.others
    assert other.mem <= theirs.call.entry < other.mem + other.memsz <= base + ENTRY
    # The end stays free: what is there is saved by the one that lies below it.
    assert purgatory.mem + 2 * purgatory.memsz <= REGION[1] < purgatory.mem + 3 * purgatory.memsz
    for segment in (purgatory, other):
        for number in (REGION[0], REGION[1] - REGION[0]):
            assert struct.pack(">Q", number) in segment.data


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("machine", MACHINES)
def test_same_normal_load(bench: Bench, machine: str, name: str) -> None:
    check(bench, machine, REQUESTS[name], False)


@pytest.mark.parametrize("name", REQUESTS)
def test_same_crash_load(bench: Bench, name: str) -> None:
    check(bench, FOR_CRASHES, REQUESTS[name], True)


@pytest.mark.parametrize(
    ("machine", "request_", "crash", "message"),
    [
        ("s390x-6.1-1G", PLAIN, True, "no memory is reserved for a crash kernel"),
        (FOR_CRASHES, Request("a" * 4096), False, "this kernel takes at most 4095"),
        (FOR_CRASHES, Request("a" * 896, image="old"), True, "this kernel takes at most 895"),
        (FOR_CRASHES, Request(window=lambda *_: (16 << 20, 1 << 40)), False, "cannot place"),
    ],
    ids=["no-region", "long", "long-old", "window"],
)
def test_refused_by_both(
    bench: Bench, machine: str, request_: Request, crash: bool, message: str
) -> None:
    assert_both_refuse(bench, machine, request_, crash, message)


def test_what_is_not_ascii_is_refused_by_pykexec_alone(bench: Bench) -> None:
    theirs, ours = (
        bench.run(tool, FOR_CRASHES, Request("\N{LATIN SMALL LETTER A WITH DIAERESIS}"), False)
        for tool in ("theirs", "ours")
    )
    assert parts_of(theirs.load).cmdline == b"\xc3\xa4"
    assert ours.exit_code != 0
    assert not ours.calls
    assert "take the whole line for EBCDIC" in ours.stderr


def test_each_difference_is_documented() -> None:
    text = DOCUMENT.read_text()
    section = text[text.index("## What an s390x kernel is told") :].split("\n## ")[0]
    assert [title for title in DIFFERENCES if f"**{title}" not in " ".join(section.split())] == []
