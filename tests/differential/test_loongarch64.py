"""The same request on the same loongarch64 machine: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for loong64, run by an emulator. Every difference has to be one
that tests/differential/differences_loongarch64.py expects there, and every one expected has to
occur. Places are held against the rules, computed by a second implementation.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest

from tests.builders.loongarch import build_image
from tests.differential import differences_loongarch64, tree_bench
from tests.differential.decode_image import EM_LOONGARCH
from tests.differential.loongarch_loads import (
    entry_of,
    line_of,
    place_like_c,
    place_like_ours,
    told,
)
from tests.differential.machines import recorded
from tests.differential.machines_loongarch64 import BUILT, FOR_CRASHES, HIGH_ONLY
from tests.differential.model import MIB, TOP, Machine
from tests.differential.sandbox import Sandbox, SandboxError, emulated_c_kexec
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting
from tests.differential.tree_loads import Case
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import LOONGARCH64

pytestmark = pytest.mark.differential

RECORDED = recorded(LOONGARCH64.name)
MACHINES = [*(name for name in BUILT if name != HIGH_ONLY), *sorted(RECORDED)]
CRASH_MACHINES = [*FOR_CRASHES, *sorted(name for name in RECORDED if "crash" in name)]
INITRD = random.Random(64).randbytes(123457)
IMAGES = {"ordinary": build_image()}


def _below(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out all that is above 64 MiB."""
    del machine, crash
    return 0, 64 * MIB - 1


def _high(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out where every kernel is linked to lie."""
    del machine, crash
    return 2048 * MIB, TOP


PLAIN = Request("root=/dev/vda1 ro", initrd=True)
NOTHING = Request()
REUSE = Request("quiet", ("--reuse-cmdline",), initrd=True)
WINDOW = Request("abcd", initrd=True, window=_below)
HIGH = Request("ro", initrd=True, window=_high)
REQUESTS = {"plain": PLAIN, "nothing": NOTHING, "reuse-cmdline": REUSE}
DEBIAN = Request("ro", initrd=True, image="7.2")
OCCURS = {
    "Segments are verified": ("board", PLAIN, False),
    "No blank ends the command line": ("board", NOTHING, False),
    "A reused command line loses what was about the old files": ("nodes", REUSE, True),
    "A kernel stays where it was placed": ("board", WINDOW, False),
    "The region that is loaded into is told first": ("two-regions", PLAIN, True),
    "The kernel's memory is in the dump once": ("crash", PLAIN, True),
}
"""Where each listed difference is seen."""
SETTING = Setting(LOONGARCH64, EM_LOONGARCH, BUILT, IMAGES, {}, INITRD)


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec(LOONGARCH64)
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for loong64: {error}")
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("loongarch64"), SETTING)


def check(case: Case) -> None:
    """What is told is the same but for the listed differences, and all is where rules put it."""
    tree_bench.check_fields(case, differences_loongarch64.expected_differences(case), told)
    for load, placed in ((case.theirs, place_like_c(case)), (case.ours, place_like_ours(case))):
        assert {name: item.mem for name, item in load.handover.segments.items()} == placed
        assert line_of(load).split(" ")[0] == "kexec"
    assert case.theirs.call.entry == entry_of(case, case.theirs)
    # The running kernel takes the first segment that begins as a command line.
    segments = case.ours.handover.segments
    assert case.ours.call.segments[0] == segments["command line"]
    data = segments["purgatory"].data
    words = set(struct.unpack_from(f"<{len(data) // 8}Q", data))
    assert {entry_of(case, case.ours), segments["command line"].mem} <= words


def loads(machines: Sequence[str]) -> list[object]:
    """Return which machine is asked for what; `make test` asks for the most usual."""
    return [
        pytest.param(machine, name, marks=() if name == "plain" else pytest.mark.full)
        for machine in machines
        for name in REQUESTS
    ]


@pytest.mark.parametrize(("machine", "request_name"), loads(MACHINES))
def test_same_normal_load(bench: Bench, machine: str, request_name: str) -> None:
    check(bench.compare(machine, REQUESTS[request_name], False))


@pytest.mark.parametrize(("machine", "request_name"), loads(CRASH_MACHINES))
def test_same_crash_load(bench: Bench, machine: str, request_name: str) -> None:
    check(bench.compare(machine, REQUESTS[request_name], True))


@pytest.mark.full
def test_a_window(bench: Bench) -> None:
    check(bench.compare("board", WINDOW, False))


@pytest.mark.full
def test_a_compressed_kernel_is_none_to_the_c_tool(bench: Bench) -> None:
    """Debian's. It reads the header of what unpacks it as the kernel's own.

    A normal load is refused. A crash load is not, and has no kernel: what is entered after a crash
    is where no memory is.
    """
    normal, crash = (bench.run("theirs", "crash", DEBIAN, crash) for crash in (False, True))
    assert normal.exit_code != 0
    assert not normal.calls
    segments = [(item.mem, item.mem + item.memsz, item.data) for item in crash.load.segments]
    assert not [data for _, _, data in segments if data[:2] == b"MZ"]
    assert not [mem for mem, end, _ in segments if mem <= crash.load.entry < end]
    for target in (False, True):
        ours = bench.run("ours", "crash", DEBIAN, target).load
        assert [item for item in ours.segments if item.data[:2] == b"MZ"]


@pytest.mark.parametrize(
    ("machine", "request_"), [(HIGH_ONLY, PLAIN), ("board", HIGH)], ids=["memory", "window"]
)
def test_a_kernel_whose_home_is_not_free_is_refused_by_the_c_tool_alone(
    bench: Bench, machine: str, request_: Request
) -> None:
    theirs, ours = (bench.run(tool, machine, request_, False) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert not theirs.calls
    assert all(segment.mem >= 2048 * MIB for segment in ours.load.segments)


def test_refused_by_both(bench: Bench) -> None:
    message = "no memory is reserved for a crash kernel"
    tree_bench.assert_both_refuse(bench, "board", PLAIN, True, message)


def test_each_listed_difference_occurs_and_is_documented(bench: Bench) -> None:
    titles = {difference.title for difference in differences_loongarch64.DIFFERENCES}
    assert OCCURS.keys() == titles
    absent = [
        title
        for title, where in OCCURS.items()
        if title not in differences_loongarch64.expected_differences(bench.compare(*where))
    ]
    assert absent == []
    text = DOCUMENT.read_text()
    assert [title for title in titles if f"**{title}" not in text] == []
