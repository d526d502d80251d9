"""The same request on the same machine: what the C tool and pykexec tell the kernel.

Every difference has to be one that tests/differential/differences.py expects there, and
every one expected has to occur. Places are held against the rules, computed by a second
implementation, since the sizes of the tools' own segments differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.builders.bzimage import build_bzimage
from tests.builders.images import build_beoboot
from tests.differential import differences, model
from tests.differential.conftest import DEBIAN_KERNELS, SYNTHETIC_KERNELS, Kernels
from tests.differential.decode import Handover, decode
from tests.differential.machines import BUILT, recorded
from tests.differential.sandbox import Sandbox, Tool

pytestmark = pytest.mark.differential

MACHINES = sorted({*BUILT, *recorded()})
APPEND = "root=/dev/vda1 ro"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/compatibility.md"


@dataclass(frozen=True, slots=True)
class Request:
    """A load as a user asks for it."""

    options: tuple[str, ...] = ()
    initrd: str | None = "10M"
    mem_min: int = 0
    mem_max: int = model.TOP
    reuse_cmdline: bool = False


REQUESTS = {
    "plain": Request(),
    "no-initrd": Request(initrd=None),
    "odd-initrd": Request(initrd="odd"),
    "mem-max": Request(("--mem-max=0x17ffffff",), mem_max=0x17FFFFFF),
    # The initrd lies between the 16 MiB below which it may not be and the kernel.
    "tight": Request(("--mem-max=0x3ffffff",), mem_max=0x3FFFFFF),
    "mem-min": Request(("--mem-min=0x2000000",), mem_min=0x2000000),
    "no-checks": Request(("-i",)),
    "serial": Request(("--console-serial", "--serial=0x2f8", "--serial-baud=115200")),
    "reuse-cmdline": Request(("--reuse-cmdline",), reuse_cmdline=True),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """Both tools' answers to one request."""

    case: differences.Case
    theirs: Handover
    ours: Handover
    initrd_size: int | None


@pytest.fixture
def compare(
    sandbox: Sandbox,
    theirs: Tool,
    ours: Tool,
    machines: dict[str, Path],
    initrds: dict[str, Path],
    kernels: Kernels,
) -> Callable[[str, Request, str], Compared]:
    """Return a function that runs both tools and decodes what they asked for."""

    def run(machine: str, request: Request, kernel: str) -> Compared:
        file = kernels.path(kernel)
        image = file.read_bytes()
        initrd = initrds[request.initrd] if request.initrd else None
        arguments = ["-c", "-l", str(file), f"--append={APPEND}", *request.options]
        arguments += [f"--initrd={initrd}"] if initrd else []
        content = initrd.read_bytes() if initrd else None
        decoded = [
            decode(sandbox.run(tool, arguments, machines[machine]).load, image, content)
            for tool in (theirs, ours)
        ]
        case = differences.Case(
            model.Machine(machines[machine]), image, APPEND, request.reuse_cmdline
        )
        return Compared(case, decoded[0], decoded[1], len(content) if content else None)

    return run


def check_fields(compared: Compared) -> None:
    """What is told differs in the listed fields, by the listed values, and nowhere else."""
    expected: differences.Expected = {}
    for told in differences.expected_differences(compared.case).values():
        assert not expected.keys() & told.keys(), "two entries of the list are about one field"
        expected |= told
    theirs, ours = compared.theirs.fields, compared.ours.fields
    found = {
        name: (theirs.get(name), ours.get(name))
        for name in theirs.keys() | ours.keys()
        if theirs.get(name) != ours.get(name)
    }
    assert found == expected


def check_places(compared: Compared, request: Request) -> None:
    """Each tool's segments lie where its rules put them."""
    theirs, ours = compared.theirs.segments, compared.ours.segments
    header, machine = compared.case.header, compared.case.machine
    files = [("payload", len(compared.case.kernel) - header.setup_size)]
    if compared.initrd_size is not None:
        files.append(("initrd", compared.initrd_size))
    own = ("purgatory", "parameters")
    lists = ("setup_data.4", "efi_memmap", "setup_data.1", "setup_data.9")

    allocator = model.Allocator(model.ram_of_firmware(machine), request.mem_min, request.mem_max)
    sizes = [(name, theirs[name].memsz) for name in (*own, *lists) if name in theirs]
    model.place_like_c(allocator, [*sizes, *files], header)
    assert {name: segment.mem for name, segment in theirs.items()} == allocator.placed

    holders = {ours[name] for name in lists if name in ours}
    assert len(holders) == 1, "the setup_data list is in one segment"
    allocator = model.Allocator(model.ram_of_kernel(machine), request.mem_min, request.mem_max)
    sizes = [(name, ours[name].memsz) for name in own]
    sizes.append(("setup_data", holders.pop().memsz))
    model.place_like_ours(allocator, [*sizes, *files], header)
    found = {"setup_data" if name in lists else name: segment.mem for name, segment in ours.items()}
    assert found == allocator.placed


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_same_request(
    compare: Callable[[str, Request, str], Compared], machine: str, request_name: str
) -> None:
    request = REQUESTS[request_name]
    compared = compare(machine, request, "ordinary")
    check_fields(compared)
    check_places(compared, request)


@pytest.mark.parametrize("machine", ["bios_8g_crashkernel", "ovmf_1g", "iomem_only"])
@pytest.mark.parametrize("kernel", [name for name in SYNTHETIC_KERNELS if name != "ordinary"])
def test_unusual_kernels(
    compare: Callable[[str, Request, str], Compared], machine: str, kernel: str
) -> None:
    compared = compare(machine, REQUESTS["plain"], kernel)
    check_fields(compared)
    check_places(compared, REQUESTS["plain"])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kernel", DEBIAN_KERNELS)
def test_debian_kernels(
    compare: Callable[[str, Request, str], Compared], machine: str, kernel: str
) -> None:
    request = Request(("--mem-max=0xffffffffff",), mem_max=0xFFFFFFFFFF)
    compared = compare(machine, request, kernel)
    check_fields(compared)
    check_places(compared, request)


def test_a_beoboot_image(
    sandbox: Sandbox, theirs: Tool, ours: Tool, machines: dict[str, Path], tmp_path: Path
) -> None:
    """Its command line and its initrd are told as if they had been given.

    The C tool enters the 16-bit code of such kernels, and so reserves no room to unpack them.
    """
    kernel, initrd = build_bzimage(), b"070701" * 1000
    file, machine = tmp_path / "boot.img", machines["bios_8g_crashkernel"]
    file.write_bytes(build_beoboot(kernel, initrd, APPEND.encode()))
    c_load, own_load = (
        decode(sandbox.run(tool, ["-c", "-l", str(file)], machine).load, kernel, initrd)
        for tool in (theirs, ours)
    )
    case = differences.Case(model.Machine(machine), kernel, APPEND)
    compared = Compared(case, c_load, own_load, len(initrd))
    told = own_load.fields.pop("kernel")
    assert isinstance(told, tuple)
    assert told[2] == case.header.init_size
    assert c_load.fields.pop("kernel") == (*told[:2], told[1])
    check_fields(compared)


def test_known_places(compare: Callable[[str, Request, str], Compared]) -> None:
    """Addresses that were measured once and are written down."""
    compared = compare("golden_a", Request(initrd="odd"), "ordinary")
    theirs, ours = compared.theirs.segments, compared.ours.segments
    measured = {
        "setup_data.9": (0x100000, 0x1000, 0x30),
        "initrd": (0x63D8FF000, 0x501000, 0x50007B),
        "kernel": (0x63DE00000, 0x2000000, 0x300000),
        "parameters": (0x63FFF3000, 0x4000, 0x3852),
        "purgatory": (0x63FFF7000, 0x9000, 0x70E0),
    }
    assert {name: (s.mem, s.memsz, s.bufsz) for name, s in theirs.items()} == measured
    for name in ("kernel", "initrd"):
        assert (ours[name].mem, ours[name].memsz, ours[name].bufsz) == measured[name]


def test_each_listed_difference_occurs_and_is_documented(machines: dict[str, Path]) -> None:
    kernels = [build_bzimage(spec) for spec in SYNTHETIC_KERNELS.values()]
    seen: set[str] = set()
    for path, kernel, reuse in product(machines.values(), kernels, (False, True)):
        case = differences.Case(model.Machine(path), kernel, APPEND, reuse)
        seen |= differences.expected_differences(case).keys()
    titles = {difference.title for difference in differences.DIFFERENCES}
    assert seen == titles
    text = DOCUMENT.read_text()
    assert [title for title in titles if title not in text] == []
