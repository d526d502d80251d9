"""The same crash load on the same machine: core header, memory map and command line.

Every difference has to be one that tests/differential/crash.py computes, and every one
computed has to occur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.differential import crash, differences, model
from tests.differential.conftest import Kernels
from tests.differential.decode import decode
from tests.differential.machines import BUILT_FOR_CRASHES, recorded
from tests.differential.sandbox import Sandbox, Tool
from tests.differential.test_differential import DOCUMENT

pytestmark = pytest.mark.differential

RECORDED = sorted(name for name in recorded() if "crash" in name)
MACHINES = [*BUILT_FOR_CRASHES, *RECORDED]
APPEND = "irqpoll nr_cpus=1"


@dataclass(frozen=True, slots=True)
class Request:
    """A crash load as a user asks for it."""

    options: tuple[str, ...] = ()
    initrd: str | None = None
    kernel: str = "ordinary"

    @property
    def reuse(self) -> bool:
        """Whether the running command line is taken over."""
        return "--reuse-cmdline" in self.options

    @property
    def memmap(self) -> bool:
        """Whether the memory map goes on the command line."""
        return "--pass-memmap-cmdline" in self.options


REQUESTS = {
    "plain": Request(),
    "initrd": Request(initrd="odd"),
    "reuse-cmdline": Request(("--reuse-cmdline",), initrd="10M"),
    "memmap": Request(("--pass-memmap-cmdline",)),
    "memmap-reuse": Request(("--pass-memmap-cmdline", "--reuse-cmdline")),
    "debian": Request(initrd="10M", kernel="6.12"),
}

Compare = Callable[[str, Request], crash.Case]


@pytest.fixture(scope="module")
def crash_machines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return every machine directory with a crash kernel region, by name."""
    root = tmp_path_factory.mktemp("crash-machines")
    built = {name: build(root / name) for name, build in BUILT_FOR_CRASHES.items()}
    return built | {name: recorded()[name] for name in RECORDED}


@pytest.fixture(scope="module")
def compare(
    sandbox: Sandbox,
    theirs: Tool,
    ours: Tool,
    crash_machines: dict[str, Path],
    initrds: dict[str, Path],
    kernels: Kernels,
) -> Compare:
    """Return a function that runs both tools, once for each case, and decodes their calls."""
    done: dict[tuple[str, Request], crash.Case] = {}

    def run(name: str, request: Request) -> crash.Case:
        if (name, request) not in done:
            file = kernels.path(request.kernel)
            initrd = initrds[request.initrd] if request.initrd else None
            # In this order: the C tool forgets --append before --pass-memmap-cmdline.
            arguments = ["-c", "-p", str(file), *request.options, f"--append={APPEND}"]
            arguments += [f"--initrd={initrd}"] if initrd else []
            content = initrd.read_bytes() if initrd else None
            image = file.read_bytes()
            said = []
            for tool in (theirs, ours):
                load = sandbox.run(tool, arguments, crash_machines[name]).load
                said.append(decode(load, image, content, crash.core_segments(load)))
            machine = model.Machine(crash_machines[name])
            case = differences.Case(machine, image, APPEND, request.reuse)
            done[name, request] = crash.Case(case, request.memmap, *said)
        return done[name, request]

    return run


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_same_program_headers(compare: Compare, machine: str, request_name: str) -> None:
    case = compare(machine, REQUESTS[request_name])
    found = crash.core_headers(case.ours.segments["elfcorehdr"])
    expected, _ = crash.expected_headers(case)
    assert list(found) == expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_same_words_and_map(compare: Compare, machine: str, request_name: str) -> None:
    case = compare(machine, REQUESTS[request_name])
    theirs, ours = case.theirs.fields, case.ours.fields
    found = {
        name: (theirs.get(name), ours.get(name))
        for name in theirs.keys() | ours.keys()
        if theirs.get(name) != ours.get(name)
    }
    assert found == crash.expected_fields(case)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_dump_has_all_ram(compare: Compare, machine: str) -> None:
    """Both tools' headers cover the same bytes: those of /proc/iomem, without what is left out."""
    case = compare(machine, REQUESTS["plain"])
    for handover in (case.theirs, case.ours):
        headers = crash.core_headers(handover.segments["elfcorehdr"])
        loads = [header for header in headers if header.kind == 1][1:]
        spans = [(header.paddr, header.paddr + header.memsz) for header in loads]
        assert model.joined(spans) == model.joined(crash.ram_of_dump(case.machine))


@pytest.mark.parametrize("machine", MACHINES)
def test_each_cpu_has_a_note(compare: Compare, machine: str) -> None:
    case = compare(machine, REQUESTS["plain"])
    cpus = [n for n in case.machine.listed("sys/devices/system/cpu") if n.startswith("cpu")]
    for handover in (case.theirs, case.ours):
        headers = crash.core_headers(handover.segments["elfcorehdr"])
        assert sum(header.kind == 4 for header in headers) == len(cpus) + 1


@pytest.mark.parametrize("machine", MACHINES)
def test_low_memory_is_backed_up_unless_the_kernel_keeps_nothing_there(
    compare: Compare, machine: str
) -> None:
    case = compare(machine, REQUESTS["plain"])
    start, end = crash.low_ram(case.machine)
    theirs = case.theirs.segments["backup"]
    assert theirs.memsz == -(-(end - start) // model.PAGE) * model.PAGE
    ours = case.ours.segments.get("backup")
    assert (ours is None) == crash.keeps_nothing_low(case.machine)
    assert ours is None or ours.memsz == theirs.memsz


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_places(
    compare: Compare, initrds: dict[str, Path], machine: str, request_name: str
) -> None:
    """Each tool's segments lie in the last reservation, where its rules put them."""
    request = REQUESTS[request_name]
    case = compare(machine, request)
    header = case.load.header
    files = [("payload", len(case.load.kernel) - header.setup_size)]
    if request.initrd:
        files.append(("initrd", initrds[request.initrd].stat().st_size))
    region = [crash.regions(case.machine)[-1]]
    lists = ("setup_data.4", "efi_memmap", "setup_data.1", "setup_data.9")

    theirs = case.theirs.segments
    needed = len(theirs["elfcorehdr"].data)
    assert theirs["elfcorehdr"].memsz == max(needed, crash.SMALLEST_OF_C)
    allocator = model.Allocator(region)
    for name in ("backup", "elfcorehdr"):
        allocator.take(name, theirs[name].memsz)
    sizes = [(n, theirs[n].memsz) for n in ("purgatory", "parameters", *lists) if n in theirs]
    model.place_like_c(allocator, [*sizes, *files], header)
    assert {name: segment.mem for name, segment in theirs.items()} == allocator.placed

    ours = case.ours.segments
    needed = len(ours["elfcorehdr"].data)
    assert ours["elfcorehdr"].memsz == -(-needed // model.PAGE) * model.PAGE
    allocator = model.Allocator(region)
    for name in ("backup", "elfcorehdr"):
        if name in ours:
            allocator.take(name, ours[name].memsz)
    sizes = [(name, ours[name].memsz) for name in ("purgatory", "parameters")]
    sizes.append(("setup_data", ours["setup_data.9"].memsz))
    model.place_like_ours(allocator, [*sizes, *files], header)
    found = {"setup_data" if name in lists else name: segment.mem for name, segment in ours.items()}
    assert found == allocator.placed


def test_known_places(compare: Compare) -> None:
    """Addresses that were measured once and are written down."""
    case = compare("golden_b", Request(initrd="odd"))
    measured = {
        "setup_data.9": (0x2B000000, 0x1000, 0x30),
        "initrd": (0x388FF000, 0x501000, 0x50007B),
        "kernel": (0x38E00000, 0x2000000, 0x300000),
        "purgatory": (0x3AF54000, 0x9000, 0x70E0),
        "elfcorehdr": (0x3AF5D000, 0x4000, 0x400),
        "backup": (0x3AF61000, 0x9F000, 0x9EC00),
    }
    found = {name: (s.mem, s.memsz, s.bufsz) for name, s in case.theirs.segments.items()}
    assert found.pop("parameters")[:2] == (0x3AF50000, 0x4000)
    assert found == measured
    ours = case.ours.segments
    assert (ours["kernel"].mem, ours["kernel"].memsz) == (0x38E00000, 0x2000000)
    assert ours["backup"].mem == 0x3AF61000
    loads = [h for h in crash.core_headers(ours["elfcorehdr"]) if h.kind == 1]
    assert [(h.offset, h.paddr, h.memsz) for h in loads] == [
        (0x1000000, 0x1000000, 0x2000000),
        (0x3AF61000, 0x1000, 0x9EC00),
        (0x100000, 0x100000, 0x2AF00000),
        (0x3B000000, 0x3B000000, 0x44FE0000),
        (0x100000000, 0x100000000, 0xC0000000),
    ]


def test_append_survives_the_option_behind_it(
    sandbox: Sandbox, ours: Tool, theirs: Tool, crash_machines: dict[str, Path], kernels: Kernels
) -> None:
    file = kernels.path("ordinary")
    arguments = ["-c", "-p", str(file), f"--append={APPEND}", "--pass-memmap-cmdline"]
    found = []
    for tool in (theirs, ours):
        load = sandbox.run(tool, arguments, crash_machines["golden_b"]).load
        told = decode(load, file.read_bytes(), None, crash.core_segments(load)).fields["cmdline"]
        assert isinstance(told, bytes)
        found.append(told.startswith(APPEND.encode()))
    assert found == [False, True]


def test_each_listed_difference_occurs_and_is_documented(compare: Compare) -> None:
    seen: set[str] = set()
    for machine, request in product(MACHINES, (REQUESTS["plain"], REQUESTS["reuse-cmdline"])):
        case = compare(machine, request)
        seen |= crash.expected_headers(case)[1]
        seen |= {crash.TOO_LARGE} if crash.loses_words(case) else set()
        seen |= {
            title
            for title, expect in crash.FIELDS
            if any(theirs != ours for theirs, ours in expect(case).values())
        }
    assert seen == set(crash.DIFFERENCES)
    text = DOCUMENT.read_text()
    assert [title for title in crash.DIFFERENCES if title not in text] == []
