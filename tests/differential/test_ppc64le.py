"""The same request on the same ppc64le machine: what the C tool and pykexec tell the kernel.

The C tool is the distribution's for ppc64el, run by an emulator. Every difference has to be one
that tests/differential/differences_ppc64le.py expects there, and every one expected has to
occur. Places are held against the rules, computed by a second implementation, and what the
purgatories were told is looked for in their bytes.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.builders.ppc64le import build_kernel, build_tree
from tests.differential import differences_ppc64le, model_ppc64le, tree_bench
from tests.differential.decode_image import EM_PPC64
from tests.differential.differences_ppc64le import number
from tests.differential.machines import recorded
from tests.differential.machines_ppc64le import BUILT, FOR_CRASHES
from tests.differential.model import MIB, TOP, Machine
from tests.differential.sandbox import Sandbox, SandboxError, emulated_c_kexec
from tests.differential.test_differential import DOCUMENT
from tests.differential.tree_bench import Bench, Request, Setting
from tests.differential.tree_loads import Case, Load
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.platforms import PPC64LE

pytestmark = pytest.mark.differential

THEIR_SUITE = "testing"
"""Where the C tool is from: the one that docs/compatibility.md speaks of."""
RECORDED = recorded(PPC64LE.name)
MACHINES = [*BUILT, *sorted(RECORDED)]
CRASH_MACHINES = [*FOR_CRASHES, *sorted(name for name in RECORDED if "crash" in name)]
INITRD = random.Random(64).randbytes(123457)
IMAGES = {
    "ordinary": build_kernel(),
    "old": build_kernel(release="5.14.0-503.el9.ppc64le"),
    "big": build_kernel(big_endian=True),
}
HEAD, RUN_AT_LOAD = 0x100, 0x5C


def loaded(file: bytes) -> bytes:
    """Return what an ELF file's first segment has in memory."""
    order = ">" if file[5] == 2 else "<"
    (headers,) = struct.unpack_from(f"{order}Q", file, 32)
    kind, _, offset, _, _, size = struct.unpack_from(f"{order}IIQQQQ", file, headers)
    assert kind == 1
    return file[offset : offset + size]


def _window(machine: Machine, crash: bool) -> tuple[int, int]:
    """Leave out all above 200 MiB, or what is below 517 MiB."""
    del machine
    return (517 * MIB, TOP) if crash else (0, 200 * MIB - 1)


PLAIN = Request("root=/dev/vda1 ro", initrd=True)
NOTHING = Request()
WINDOW = Request("root=/dev/vda1", initrd=True, window=_window)
DTB = Request("ab", initrd=True, dtb="guest")
REQUESTS = {
    "plain": PLAIN,
    "nothing": NOTHING,
    "no-root": Request("quiet"),
    "window": WINDOW,
    "reuse-cmdline": Request("quiet", ("--reuse-cmdline",), initrd=True),
}
DEBIAN = Request("root=/dev/vda1 ro", initrd=True, image="6.12")
SETTING = Setting(
    PPC64LE,
    EM_PPC64,
    BUILT,
    IMAGES,
    {"guest": build_tree(chosen={"bootargs": "of the file"})},
    INITRD,
    loaded=loaded,
    kernel_align=4096,
)
TOO_HIGH = ("capture", "window")
"""The running kernel takes all that is left."""
OCCURS = {
    "No blank ends the command line": ("blocks", PLAIN, False),
    "The core header is told in /chosen": ("powernv", PLAIN, True),
    "Both seeds are renewed": ("blocks", PLAIN, False),
    "What was about the running kernel is removed": ("plugged", PLAIN, False),
    "Reservations are carried over": ("capture", PLAIN, False),
    "Memory blocks that do not belong to the machine are passed over": ("plugged", PLAIN, True),
    "All memory of the kernel's is in the dump": ("plugged", PLAIN, True),
}
"""Where each listed difference is seen."""


@pytest.fixture(scope="module")
def bench(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what runs both tools."""
    try:
        theirs = emulated_c_kexec(replace(PPC64LE, suite=THEIR_SUITE))
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec for ppc64el: {error}")
    return Bench(sandbox, theirs, tmp_path_factory.mktemp("ppc64le"), SETTING)


def purgatory_of(load: Load) -> bytes:
    """Return the purgatory's bytes from where it is entered."""
    segment = load.handover.segments["purgatory"]
    return segment.data[load.call.entry - segment.mem :]


def words_of(load: Load) -> set[int]:
    """Return every aligned number of 64 bits in the purgatory."""
    data = load.handover.segments["purgatory"].data
    return set(struct.unpack_from(f"<{len(data) // 8}Q", data))


def digest_of_all(load: Load) -> bytes:
    """Return SHA-256 of all segments but the purgatory, with their zeros, by address."""
    digest = hashlib.sha256()
    for role, segment in sorted(load.handover.segments.items(), key=lambda item: item[1].mem):
        if role != "purgatory":
            digest.update(segment.data + bytes(segment.memsz - segment.bufsz))
    return digest.digest()


def check_purgatories(case: Case) -> None:
    """Both begin as the kernel does, and know its place, the tree's, the backup's and OPAL's."""
    node = case.source.nodes.get("/ibm,opal", {})
    opal = [number(node, name) for name in ("opal-base-address", "opal-entry-address")]
    for load in (case.theirs, case.ours):
        start, kernel = purgatory_of(load), case.image[:HEAD]
        told = struct.pack("<I", 1) if case.crash else kernel[RUN_AT_LOAD : RUN_AT_LOAD + 4]
        own = start[RUN_AT_LOAD : RUN_AT_LOAD + 4]
        assert own in (kernel[RUN_AT_LOAD : RUN_AT_LOAD + 4], told)
        assert start[4:RUN_AT_LOAD] == kernel[4:RUN_AT_LOAD]
        assert start[RUN_AT_LOAD + 4 : HEAD] == kernel[RUN_AT_LOAD + 4 :]
        segments = load.handover.segments
        roles = ("kernel", "tree", *(["backup"] if case.crash else []))
        wanted = {segments[role].mem for role in roles} | {item for item in opal if item}
        assert wanted <= words_of(load)
    # The C tool's verifies the tree as it was loaded, before it writes the boot processor there.
    assert digest_of_all(case.theirs) in case.theirs.handover.segments["purgatory"].data


def check(case: Case) -> None:
    """What is told is the same but for the listed differences, and all is where rules put it."""
    tree_bench.check_fields(case, differences_ppc64le.expected_differences(case))
    check_purgatories(case)
    for load, placed in (
        (case.theirs, model_ppc64le.place_like_c(case)),
        (case.ours, model_ppc64le.place_like_ours(case)),
    ):
        assert {name: item.mem for name, item in load.handover.segments.items()} == placed


def loads(machines: Sequence[str]) -> list[object]:
    """Return which machine is asked for what; `make test` asks for the most usual."""
    return [
        pytest.param(machine, name, marks=() if name == "plain" else pytest.mark.full)
        for machine in machines
        for name in REQUESTS
        if (machine, name) != TOO_HIGH
    ]


@pytest.mark.parametrize(("machine", "request_name"), loads(MACHINES))
def test_same_normal_load(bench: Bench, machine: str, request_name: str) -> None:
    check(bench.compare(machine, REQUESTS[request_name], False))


@pytest.mark.parametrize(("machine", "request_name"), loads(CRASH_MACHINES))
def test_same_crash_load(bench: Bench, machine: str, request_name: str) -> None:
    check(bench.compare(machine, REQUESTS[request_name], True))


def test_a_capture_kernel_that_reads_the_command_line_alone(bench: Bench) -> None:
    check(bench.compare("plugged", replace(PLAIN, image="old"), True))


def test_a_big_endian_kernel(bench: Bench) -> None:
    check(bench.compare("blocks", replace(PLAIN, image="big"), False))


def test_a_big_endian_crash_kernel_is_refused_by_pykexec_alone(bench: Bench) -> None:
    """It cannot read the core header that the C tool gives it."""
    request = replace(PLAIN, image="big")
    theirs, ours = (bench.run(tool, "plugged", request, True) for tool in ("theirs", "ours"))
    assert theirs.load.segments
    assert ours.exit_code != 0
    assert not ours.calls
    assert "cannot be the crash kernel of a little-endian one" in ours.stderr


@pytest.mark.full
@pytest.mark.parametrize("crash", [False, True])
def test_debian_kernel(bench: Bench, crash: bool) -> None:
    check(bench.compare("powernv", DEBIAN, crash))


@pytest.mark.parametrize("crash", [False, True])
def test_an_initrd_beside_a_given_tree_is_refused_by_the_c_tool_alone(
    bench: Bench, crash: bool
) -> None:
    theirs, ours = (bench.run(tool, "plugged", DTB, crash) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert not theirs.calls
    assert "Can't use ramdisk with device tree blob input" in theirs.stderr
    assert INITRD in {segment.data for segment in ours.load.segments}


@pytest.mark.parametrize(
    ("machine", "request_", "crash", "message"),
    [
        ("capture", WINDOW, False, "cannot place"),
        ("blocks", PLAIN, True, "no memory is reserved for a crash kernel"),
    ],
)
def test_refused_by_both(
    bench: Bench, machine: str, request_: Request, crash: bool, message: str
) -> None:
    tree_bench.assert_both_refuse(bench, machine, request_, crash, message)


def test_each_listed_difference_occurs_and_is_documented(bench: Bench) -> None:
    titles = {difference.title for difference in differences_ppc64le.DIFFERENCES}
    assert OCCURS.keys() == titles
    absent = [
        title
        for title, where in OCCURS.items()
        if title not in differences_ppc64le.expected_differences(bench.compare(*where))
    ]
    assert absent == []
    text = DOCUMENT.read_text()
    assert [title for title in titles if f"**{title}" not in text] == []
