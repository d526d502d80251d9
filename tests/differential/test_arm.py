"""The same request on the same machine of 32-bit ARM: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for armhf, run by an emulator. Every difference has to be one that
tests/differential/differences_arm.py expects there, and every one expected has to occur. Places are
held against the rules, computed by a second implementation.
"""

from __future__ import annotations

import random

import pytest

from tests.builders.arm import build_zimage
from tests.differential import differences_arm, tree_bench
from tests.differential.crash import regions
from tests.differential.decode_image import EM_ARM
from tests.differential.differences_arm import sizes
from tests.differential.machines import recorded
from tests.differential.machines_arm import BUILT
from tests.differential.model import MIB, PAGE
from tests.differential.sandbox import Sandbox, SandboxError, emulated_c_kexec
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting
from tests.differential.tree_loads import Case
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import ARM

pytestmark = pytest.mark.differential

INITRD = random.Random(32).randbytes(123457)
IMAGES = {"ordinary": build_zimage(), "older": build_zimage(words=(0x5F120,))}
REQUESTS = {
    "plain": Request("root=/dev/vda1 ro", initrd=True),
    "nothing": Request(),
    "older": Request("abcd", initrd=True, image="older"),
}
DEBIAN = Request("ro", initrd=True, image="6.12")
OCCURS = {
    "Segments are verified": ("board", REQUESTS["plain"], False),
    "A zImage needs no `--image-size`": ("board", REQUESTS["plain"], False),
    "The initrd's place is told in 64 bits": ("board", REQUESTS["plain"], False),
    "The old initrd is not told of": ("arm-6.1-tree-512M", REQUESTS["nothing"], False),
    "What was added for a crash names the start of memory": ("highmem", REQUESTS["plain"], True),
    "The command line is always that of the load": ("board", REQUESTS["nothing"], False),
    "Memory above the linear map has no virtual address in the core": (
        "highmem",
        REQUESTS["plain"],
        True,
    ),
    "Both seeds are renewed": ("board", REQUESTS["plain"], False),
    "The next kernel learns that kexec started it": ("board", REQUESTS["plain"], False),
}
ACROSS_4_GIB = "arm-7.2-tree-2cpus-4G-crash"
REFUSED = [(ACROSS_4_GIB, name) for name in REQUESTS]
"""What the C tool finds no place for: where one range of RAM reaches beyond 4 GiB."""
SETTING = Setting(ARM, EM_ARM, BUILT, IMAGES, {}, INITRD)


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec(ARM)
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for arm: {error}")
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("arm"), SETTING)


def _up(value: int, to: int = PAGE) -> int:
    return -(-value // to) * to


def start_of(case: Case) -> int:
    """Return where memory begins for the next kernel."""
    if case.crash:
        return regions(case.machine)[-1][0]
    return min(span[0] for _, span, name in case.machine.iomem if name == "System RAM")


def place_like_c(case: Case) -> dict[str, int]:
    """As if TEXT_OFFSET were 0x8000, and with 64 KiB and a page for what a zImage needs itself."""
    start, segments = start_of(case), case.theirs.handover.segments
    placed = {"kernel": start + 0x8000}
    end = _up(start + 0x8000 + sizes(case.image)[0] + len(case.image) + 0x11000)
    if "initrd" in segments:
        placed["initrd"] = end
    # Without an initrd a page stays free.
    placed["tree"] = end + (segments["initrd"].memsz if "initrd" in segments else PAGE)
    if case.crash:
        placed["elfcorehdr"] = regions(case.machine)[-1][1] - MIB
    return placed


def place_like_ours(case: Case) -> dict[str, int]:
    """All above what the zImage unpacks to, the initrd at the end of what every kernel maps."""
    start, segments = start_of(case), case.ours.handover.segments
    inflated, bss, offset, _ = sizes(case.image)
    end = _up(start + offset + inflated + bss)
    placed = {}
    for role in ("kernel", "tree", "purgatory"):
        placed[role] = end
        end += segments[role].memsz
    top = start + 512 * MIB
    if case.crash:
        top = placed["elfcorehdr"] = (regions(case.machine)[-1][1] - 1) // (2 * MIB) * (2 * MIB)
    if "initrd" in segments:
        ram = [span for _, span, name in case.machine.iomem if name == "System RAM"]
        top = min(top, next(high for low, high in ram if low <= start < high))
        placed["initrd"] = top - segments["initrd"].memsz
    return placed


def check(case: Case) -> None:
    """What is told is the same but for the listed differences, and all is where rules put it."""
    tree_bench.check_fields(case, differences_arm.expected_differences(case))
    for load, placed in ((case.theirs, place_like_c(case)), (case.ours, place_like_ours(case))):
        assert {name: item.mem for name, item in load.handover.segments.items()} == placed


@pytest.mark.parametrize("machine", [*BUILT, *sorted(recorded(ARM.name))])
@pytest.mark.parametrize("name", REQUESTS)
def test_same_normal_load(bench: Bench, machine: str, name: str) -> None:
    if (machine, name) not in REFUSED:
        check(bench.compare(machine, REQUESTS[name], False))


@pytest.mark.parametrize(("machine", "name"), REFUSED)
def test_refused_by_the_c_tool_alone(bench: Bench, machine: str, name: str) -> None:
    theirs, ours = (bench.run(tool, machine, REQUESTS[name], False) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert not theirs.calls
    assert "Invalid memory segment" in theirs.stdout + theirs.stderr
    assert ours.load.segments


@pytest.mark.parametrize("name", ["plain", "older"])
def test_same_crash_load(bench: Bench, name: str) -> None:
    check(bench.compare("highmem", REQUESTS[name], True))


def test_a_debian_zimage_copies_itself_over_the_c_tools_initrd(bench: Bench) -> None:
    """Its TEXT_OFFSET is 2 MiB more than the C tool reckons with."""
    case = bench.compare("board", DEBIAN, False)
    inflated, _, offset, malloc = sizes(case.image)
    assert offset == 0x208000
    kernel, start = start_of(case) + offset, case.theirs.handover.segments["initrd"].mem
    assert case.theirs.kernel_start < kernel + inflated, "it need not copy itself"
    assert start < kernel + inflated + len(case.image) + malloc
    ours = case.ours.handover.segments
    assert ours["kernel"].mem >= kernel + inflated, "it copies itself"
    assert ours["initrd"].mem >= ours["kernel"].mem + ours["kernel"].memsz
    # The option that mends it there is taken here, and changes nothing.
    told = bench.compare("board", Request("ro", ("--image-size=0x4000000",), True, "6.12"), False)
    assert told.theirs.handover.segments["initrd"].mem > kernel + inflated + len(case.image)
    assert told.ours.handover.segments["initrd"].mem == ours["initrd"].mem


@pytest.mark.parametrize(
    ("machine", "crash", "message"),
    [("board", True, "no memory is reserved for a crash kernel")],
)
def test_refused_by_both(bench: Bench, machine: str, crash: bool, message: str) -> None:
    tree_bench.assert_both_refuse(bench, machine, REQUESTS["plain"], crash, message)


def test_each_listed_difference_occurs_and_is_documented(bench: Bench) -> None:
    titles = {difference.title for difference in differences_arm.DIFFERENCES}
    assert OCCURS.keys() == titles
    absent = [
        title
        for title, where in OCCURS.items()
        if title not in differences_arm.expected_differences(bench.compare(*where))
    ]
    assert absent == []
    text = DOCUMENT.read_text()
    assert [title for title in titles if f"**{title}" not in text] == []
