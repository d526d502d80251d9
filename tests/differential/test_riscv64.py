"""The same request on the same riscv64 machine: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for riscv64, run by an emulator. Every difference has to be one
that tests/differential/differences_riscv64.py expects there, and every one expected has to
occur. Places are held against the rules, computed by a second implementation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.builders.device_trees import board, build_blob
from tests.builders.riscv64 import DRAM, build_image
from tests.differential import differences_riscv64, model_riscv64, tree_bench
from tests.differential.crash import regions
from tests.differential.decode_image import EM_RISCV
from tests.differential.machines import recorded
from tests.differential.machines_riscv64 import BUILT, FOR_CRASHES, TWO_REGIONS
from tests.differential.model import MIB, TOP, Machine
from tests.differential.sandbox import Sandbox, SandboxError, emulated_c_kexec
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting
from tests.differential.tree_loads import Case
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import RISCV64

pytestmark = pytest.mark.differential

RECORDED = recorded(RISCV64.name)
SPLIT = "riscv64-7.2-efi-8G-crash-high"
"""With two regions for crash kernels."""
CRASH_MACHINES = [
    *FOR_CRASHES,
    *sorted(name for name in RECORDED if "crash" in name and name != SPLIT),
]
MACHINES = [*(name for name in BUILT if name != TWO_REGIONS), *sorted(RECORDED)]
INITRD = random.Random(64).randbytes(123457)
IMAGES = {"ordinary": build_image(), "whole": build_image(image_size=4 * MIB)}
TREES = {
    "without-firmware": build_blob(board({"bootargs": "of the file"}, memory=[(DRAM, 2 << 30)]))
}


def _start(machine: Machine, crash: bool) -> int:
    """Return where the memory begins that the C tool takes first."""
    free = regions(machine)[-1:] if crash else model_riscv64.ram_of_c(machine)
    return next(low for low, high in sorted(free) if high - low >= 64 * MIB)


def _below(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out all that is above 64 MiB."""
    return 0, _start(machine, crash) + 64 * MIB - 1


def _from(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out the first 5 MiB."""
    return _start(machine, crash) + 5 * MIB + 4096, TOP


def _two_megabytes(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave less than any kernel needs."""
    start = _start(machine, crash)
    return start, start + 2 * MIB - 1


REQUESTS = {
    "plain": Request("root=/dev/vda1 ro", initrd=True),
    "nothing": Request(),
    "reuse-cmdline": Request("quiet", ("--reuse-cmdline",), initrd=True),
    "window": Request("abcd", initrd=True, window=_below),
}
DTB = Request("ab", initrd=True, dtb="without-firmware")
WHOLE = Request("ro", image="whole")
DEBIAN = Request("ro", initrd=True, image="6.12")
FROM = Request("ro", initrd=True, window=_from)
TOO_NARROW = Request("ro", window=_two_megabytes)
NO_CHOSEN = ("without-chosen", "nothing")
"""The C tool refuses that as a crash load."""
OCCURS = {
    "Segments are verified": ("board", REQUESTS["plain"], False),
    "The kernel gets whole pieces of 2 MiB": ("board", REQUESTS["plain"], False),
    "The command line is always that of the load": ("board", REQUESTS["nothing"], False),
    "A reused command line loses what was about the old files": (
        "older-firmware",
        REQUESTS["reuse-cmdline"],
        True,
    ),
    "A property is as long as what it says": ("board", REQUESTS["window"], False),
    "What was about the running kernel is removed": ("capture", REQUESTS["plain"], False),
    "Both seeds are renewed": ("board", REQUESTS["plain"], False),
    "The next kernel learns that kexec started it": ("board", REQUESTS["plain"], False),
    "Any tree will do": ("without-chosen", REQUESTS["nothing"], False),
    "A `--dtb` is completed": ("board", DTB, False),
    "The last byte of the kernel's image is in the dump": ("server", REQUESTS["plain"], True),
    "Memory in the dump has the kernel's virtual addresses": ("server", REQUESTS["plain"], True),
    "All memory of the kernel's is in the dump": ("server", REQUESTS["plain"], True),
}
"""Where each listed difference is seen."""


SETTING = Setting(RISCV64, EM_RISCV, BUILT, IMAGES, TREES, INITRD)


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec(RISCV64)
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for riscv64: {error}")
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("riscv64"), SETTING)


def check(case: Case) -> None:
    """What is told is the same but for the listed differences, and all is where rules put it."""
    tree_bench.check_fields(case, differences_riscv64.expected_differences(case))
    for load, placed in (
        (case.theirs, model_riscv64.place_like_c(case)),
        (case.ours, model_riscv64.place_like_ours(case)),
    ):
        assert {name: item.mem for name, item in load.handover.segments.items()} == placed
    # The running kernel takes the first segment that is a tree.
    assert case.ours.call.segments[0] == case.ours.handover.segments["tree"]


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
    if (machine, request_name) != NO_CHOSEN:
        check(bench.compare(machine, REQUESTS[request_name], True))


def test_a_region_above_4_gib(bench: Bench) -> None:
    """The C tool's initrd lies outside of it, where no running kernel takes one."""
    case = bench.compare("server", REQUESTS["plain"], True)
    low, high = regions(case.machine)[-1]
    inside = [low <= load.handover.span("initrd")[0] < high for load in (case.theirs, case.ours)]
    assert inside == [False, True]


@pytest.mark.full
@pytest.mark.parametrize("request_", [DTB, WHOLE], ids=["dtb", "whole"])
def test_other_files(bench: Bench, request_: Request) -> None:
    check(bench.compare("board", request_, False))


@pytest.mark.full
@pytest.mark.parametrize("crash", [False, True])
def test_debian_kernel(bench: Bench, crash: bool) -> None:
    check(bench.compare("server", DEBIAN, crash))


@pytest.mark.parametrize(
    ("machine", "request_", "crash", "message"),
    [
        (TWO_REGIONS, REQUESTS["plain"], True, "Memory for crashkernel is not reserved"),
        (SPLIT, REQUESTS["plain"], True, "Memory for crashkernel is not reserved"),
        ("board", FROM, False, "Invalid memory segment"),
        ("server", FROM, True, "Invalid memory segment"),
        ("without-chosen", REQUESTS["nothing"], True, "Couldn't add elfcorehdr to fdt"),
    ],
)
def test_refused_by_the_c_tool_alone(
    bench: Bench, machine: str, request_: Request, crash: bool, message: str
) -> None:
    theirs, ours = (bench.run(tool, machine, request_, crash) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert not theirs.calls
    assert message in theirs.stdout + theirs.stderr
    lowest, _ = request_.window(Machine(bench.machines[machine]), crash)
    assert all(segment.mem >= lowest for segment in ours.load.segments)


@pytest.mark.parametrize(
    ("machine", "request_", "crash", "message"),
    [
        ("board", TOO_NARROW, False, "cannot place"),
        ("server", TOO_NARROW, True, "cannot place"),
        ("board", REQUESTS["plain"], True, "no memory is reserved for a crash kernel"),
    ],
)
def test_refused_by_both(
    bench: Bench, machine: str, request_: Request, crash: bool, message: str
) -> None:
    tree_bench.assert_both_refuse(bench, machine, request_, crash, message)


def test_each_listed_difference_occurs_and_is_documented(bench: Bench) -> None:
    titles = {difference.title for difference in differences_riscv64.DIFFERENCES}
    assert OCCURS.keys() == titles
    absent = [
        title
        for title, where in OCCURS.items()
        if title not in differences_riscv64.expected_differences(bench.compare(*where))
    ]
    assert absent == []
    text = DOCUMENT.read_text()
    assert [title for title in titles if f"**{title}" not in text] == []
