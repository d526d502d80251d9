"""The same request on the same arm64 machine: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for arm64, run by an emulator. Every difference has to be one
that tests/differential/differences_arm64.py expects there, and every one expected has to
occur. Places are held against the rules, computed by a second implementation.
"""

from __future__ import annotations

import random

import pytest

from tests.builders.arm64 import build_image
from tests.builders.device_trees import board, build_blob, wide
from tests.differential import differences_arm64, model_arm64, tree_bench
from tests.differential.arm64 import registers, relative_registers
from tests.differential.crash import regions
from tests.differential.decode_image import EM_AARCH64
from tests.differential.machines import recorded
from tests.differential.machines_arm64 import BUILT, FOR_CRASHES
from tests.differential.model import MIB, TOP, Machine
from tests.differential.sandbox import Sandbox, SandboxError, emulated_c_kexec
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting
from tests.differential.tree_loads import Case
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import AARCH64

pytestmark = pytest.mark.differential

RECORDED = recorded("aarch64")
MACHINES = [*(name for name in BUILT if name != "unwiped"), *sorted(RECORDED)]
CRASH_MACHINES = [*FOR_CRASHES, *sorted(name for name in RECORDED if "crash" in name)]
INITRD = random.Random(64).randbytes(123457)
IMAGES = {
    "ordinary": build_image(),
    "offset": build_image(text_offset=0x80000, image_size=3 * MIB + 12345, flags=0),
    "ancient": build_image(text_offset=0x80000, image_size=0, flags=0),
}
TREES = {
    "whole": build_blob(board({"bootargs": "of the file", "kaslr-seed": wide(0)})),
    "without-memory": build_blob(board(None, memory=())),
}


def _around_the_first_place(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out the first 3 MiB of what a load would take, and all that is above 64 MiB."""
    free = regions(machine)[-1:] if crash else model_arm64.ram_of_c(machine)
    start, _ = next((low, high) for low, high in sorted(free) if high - low >= 16 * MIB)
    return start + 3 * MIB + 4096, start + 64 * MIB - 1


def _before_the_reservation(machine: Machine, crash: bool) -> tuple[int, int]:
    """Begin 1 MiB below the memory that is reserved for crash kernels."""
    del crash
    return regions(machine)[-1][0] - MIB, TOP


def _two_megabytes(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave less than any kernel needs."""
    start, _ = _around_the_first_place(machine, crash)
    return start, start + 2 * MIB - 1


OFTEN = {
    "plain": Request("root=/dev/vda1 ro", initrd=True),
    "nothing": Request(),
    "reuse-cmdline": Request(options=("--reuse-cmdline",), initrd=True),
    "dtb-without-memory": Request("abc", initrd=True, dtb="without-memory"),
    "window": Request("abcd", initrd=True, window=_around_the_first_place),
}
SELDOM = {
    "reuse-and-append": Request("quiet irqpoll", ("--reuse-cmdline",)),
    "no-checks": Request("x", ("-i",), initrd=True),
    "dtb": Request("ab", dtb="whole"),
    "dtb-alone": Request(dtb="whole"),
    "offset": Request("ro", initrd=True, image="offset"),
    "ancient": Request("ro", initrd=True, image="ancient"),
}
REQUESTS = OFTEN | SELDOM
VARIED = ("server-64k", "directories", "aarch64-6.12-efi-8G-crash-high")
"""Machines on which everything is asked for."""
BESIDE = Request("ro", initrd=True, window=_before_the_reservation)
DEBIAN = Request("ro", initrd=True, image="6.12")
REUSE_INITRD = Request("ro", ("--reuseinitrd",))
TOO_NARROW = Request("ro", window=_two_megabytes)

UNFIT = {("narrow", "dtb-without-memory"), ("measured", "dtb-without-memory")}
"""pykexec refuses the first; in the second, two entries of the list would be about the
reservations."""
REFUSED_BY_C = [("without-chosen", "nothing", True), ("unwiped", "plain", False)]

OCCURS = {
    "The command line is always that of the load": ("server", REQUESTS["nothing"], False),
    "A reused command line loses what was about the old files": (
        "server",
        REQUESTS["reuse-cmdline"],
        True,
    ),
    "A property is as long as what it says": ("server", REQUESTS["window"], False),
    "What was about the running kernel is removed": ("capture", REQUESTS["plain"], False),
    "Both seeds are renewed": ("narrow", REQUESTS["plain"], True),
    "The next kernel learns that kexec started it": ("server", REQUESTS["plain"], True),
    "Any tree will do": ("without-chosen", REQUESTS["nothing"], False),
    "A `--dtb` is completed": ("buffers", REQUESTS["dtb-without-memory"], False),
    "An Image that tells no size gets room behind its end": (
        "server-64k",
        REQUESTS["ancient"],
        False,
    ),
    "A signature behind an Image is not loaded": ("aarch64-7.2-efi-2cpus-crash", DEBIAN, True),
    "IMA's measurement list is carried over": ("measured", REQUESTS["plain"], False),
    "Memory that was plugged in is in the dump": ("narrow", REQUESTS["plain"], True),
    "Neighbouring memory is one program header": ("narrow", REQUESTS["plain"], True),
    "`--reuseinitrd` hands the first initrd on": ("capture", REUSE_INITRD, False),
}
"""Where each listed difference is seen."""


def requests(machines: list[str], *, crash: bool) -> list[tuple[str, str]]:
    """Return which machine is asked for what."""
    return [
        (machine, name)
        for machine in machines
        for name in (REQUESTS if machine in VARIED else OFTEN)
        if (machine, name) not in UNFIT and (machine, name, crash) not in REFUSED_BY_C
    ]


SETTING = Setting(AARCH64, EM_AARCH64, BUILT, IMAGES, TREES, INITRD)


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec()
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for arm64: {error}")
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("arm64"), SETTING)


def check_fields(case: Case) -> None:
    """What is told is the same but for the listed differences; so are the registers."""
    tree_bench.check_fields(case, differences_arm64.expected_differences(case))
    assert relative_registers(case.theirs) == relative_registers(case.ours)


def check_places(case: Case) -> None:
    """Each tool's segments lie where its rules put them."""
    for load, placed in (
        (case.theirs, model_arm64.place_like_c(case)),
        (case.ours, model_arm64.place_like_ours(case)),
    ):
        assert {name: item.mem for name, item in load.handover.segments.items()} == placed


@pytest.mark.parametrize(("machine", "request_name"), requests(MACHINES, crash=False))
def test_same_normal_load(bench: Bench, machine: str, request_name: str) -> None:
    case = bench.compare(machine, REQUESTS[request_name], False)
    check_fields(case)
    check_places(case)


@pytest.mark.parametrize(("machine", "request_name"), requests(CRASH_MACHINES, crash=True))
def test_same_crash_load(bench: Bench, machine: str, request_name: str) -> None:
    case = bench.compare(machine, REQUESTS[request_name], True)
    check_fields(case)
    check_places(case)


@pytest.mark.parametrize("machine", ["server", "narrow", "aarch64-7.2-efi-2cpus-crash"])
def test_beside_a_reservation(bench: Bench, machine: str) -> None:
    """A normal load for which the memory for crash kernels would be the lowest place.

    In the built machines' there is a crash kernel.
    """
    case = bench.compare(machine, BESIDE, False)
    check_fields(case)
    check_places(case)
    region = regions(case.machine)[-1]
    inside = [region[0] <= load.kernel_start < region[1] for load in (case.theirs, case.ours)]
    assert inside == [True, False]


def test_first_initrd_again(bench: Bench) -> None:
    case = bench.compare("capture", REUSE_INITRD, False)
    check_fields(case)
    check_places(case)


@pytest.mark.parametrize("crash", [False, True])
def test_debian_kernel(bench: Bench, crash: bool) -> None:
    case = bench.compare("aarch64-7.2-efi-2cpus-crash", DEBIAN, crash)
    check_fields(case)
    check_places(case)


def test_known_places(bench: Bench) -> None:
    """Addresses that were measured once and are written down."""
    case = bench.compare("server", REQUESTS["plain"], False)
    assert [
        {name: (item.mem, item.memsz) for name, item in load.handover.segments.items()}
        for load in (case.theirs, case.ours)
    ] == [
        {
            "kernel": (0x90000000, 0x310000),
            "initrd": (0x90310000, 0x1F000),
            "tree": (0x9032F000, 0x1000),
            "purgatory": (0x90330000, 0x4000),
        },
        {
            "kernel": (0x90000000, 0x310000),
            "initrd": (0xF9981000, 0x1F000),
            "purgatory": (0x90310000, 0x8C000),
            "tree": (0x90400000, 0x1000),
        },
    ]
    for load in (case.theirs, case.ours):
        left = registers(load.handover.segments["purgatory"], load.call.entry)
        tree = load.handover.segments["tree"].mem
        assert left == {"x0": tree, "x1": 0, "x2": 0, "x3": 0, "pc": 0x90000000}


@pytest.mark.parametrize(("machine", "request_name", "crash"), REFUSED_BY_C)
def test_refused_by_the_c_tool_alone(
    bench: Bench, machine: str, request_name: str, crash: bool
) -> None:
    request = REQUESTS[request_name]
    theirs, ours = (bench.run(tool, machine, request, crash) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert not theirs.calls
    assert "setup_2nd_dtb failed" in theirs.stderr
    assert ours.load.segments


@pytest.mark.parametrize(
    ("machine", "request_", "message"),
    [
        # There is room in the memory for crash kernels, and nowhere else.
        ("aarch64-6.12-tree-4cpus-crash", BESIDE, "cannot place kernel"),
        ("narrow", REQUESTS["dtb-without-memory"], "#address-cells"),
    ],
)
def test_refused_by_pykexec_alone(
    bench: Bench, machine: str, request_: Request, message: str
) -> None:
    theirs, ours = (bench.run(tool, machine, request_, False) for tool in ("theirs", "ours"))
    assert theirs.load.segments
    assert (ours.exit_code, ours.calls) == (255, ())
    assert message in ours.stderr


@pytest.mark.parametrize(
    ("machine", "request_", "crash", "message"),
    [
        ("server", TOO_NARROW, False, "cannot place"),
        ("server", TOO_NARROW, True, "cannot place"),
        ("capture", REQUESTS["plain"], True, "no memory is reserved for a crash kernel"),
    ],
)
def test_refused_by_both(
    bench: Bench, machine: str, request_: Request, crash: bool, message: str
) -> None:
    tree_bench.assert_both_refuse(bench, machine, request_, crash, message)


def test_each_listed_difference_occurs_and_is_documented(bench: Bench) -> None:
    titles = {difference.title for difference in differences_arm64.DIFFERENCES}
    assert OCCURS.keys() == titles
    absent = [
        title
        for title, where in OCCURS.items()
        if title not in differences_arm64.expected_differences(bench.compare(*where))
    ]
    assert absent == []
    text = DOCUMENT.read_text()
    assert [title for title in titles if f"**{title}" not in text] == []
