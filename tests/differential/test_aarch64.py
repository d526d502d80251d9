"""Loads of arm64 kernels, by the distribution's kexec for arm64, under an emulator.

What is asked here of its loads is what the kernel's documents ask of any.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.differential import crash
from tests.differential.decode_image import EM_AARCH64, Handover, decode, parse_tree
from tests.differential.machines import recorded
from tests.differential.model import Machine, Span, joined, ram_of_kernel, subtract
from tests.differential.sandbox import (
    CapturedCall,
    Sandbox,
    SandboxError,
    Tool,
    emulated_c_kexec,
)
from tests.needs import unavailable
from tests.vm.debian import FetchError, kernel
from tests.vm.guest_python import BuildError

pytestmark = pytest.mark.differential

MIB, GIB = 1 << 20, 1 << 30
MACHINES = sorted(recorded("aarch64"))
CRASH_MACHINES = [name for name in MACHINES if "crash" in name]
CMDLINE = "console=ttyAMA0 quiet"
INITRD = random.Random(64).randbytes(3 * MIB + 123)
ARCHITECTURE = EM_AARCH64 << 16
ON_CRASH = 1

Load = Callable[..., tuple[CapturedCall, Handover]]


TOOLS = {"kexec-tools": emulated_c_kexec}


@pytest.fixture(scope="module", params=sorted(TOOLS))
def emulated(sandbox: Sandbox, request: pytest.FixtureRequest) -> Tool:
    """Return a tool for arm64, whose calls have been seen to be recorded."""
    try:
        tool = TOOLS[request.param]()
    except (SandboxError, FetchError, BuildError) as error:
        unavailable(f"no kexec for arm64: {error}")
    unload = sandbox.run(tool, ["-c", "-u"], recorded("aarch64")[MACHINES[0]])
    assert [(call.call, call.flags) for call in unload.calls] == [("kexec_load", ARCHITECTURE)]
    return tool


@pytest.fixture(scope="module")
def image() -> Path:
    """Return a kernel of Debian's."""
    try:
        return kernel("6.12", arch="arm64").image
    except FetchError as error:
        unavailable(f"no kernel: {error}")


@pytest.fixture
def load(sandbox: Sandbox, emulated: Tool, image: Path, tmp_path: Path) -> Load:
    """Return what loads ``image`` and INITRD with an option, -l or -p, on a machine."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(INITRD)

    def run(machine: str, option: str, *more: str) -> tuple[CapturedCall, Handover]:
        words = ["-c", option, str(image), f"--initrd={initrd}", f"--append={CMDLINE}", *more]
        call = sandbox.run(emulated, words, recorded("aarch64")[machine]).load
        return call, decode(call, image.read_bytes(), INITRD)

    return run


def machine_of(name: str) -> Machine:
    """Return a recorded machine, read without pykexec."""
    return Machine(recorded("aarch64")[name])


def crash_regions(machine: Machine) -> list[Span]:
    """Return what is reserved for crash kernels, in ascending order."""
    return [span for _, span, name in machine.iomem if name == "Crash kernel"]


def running_chosen(machine: Machine) -> dict[str, bytes]:
    """Return /chosen of the tree with which the running kernel was started."""
    return parse_tree((machine.path / "sys/firmware/fdt").read_bytes()).chosen


def assert_inside(handover: Handover, spans: list[Span]) -> None:
    """Each segment lies in one of ``spans``."""
    for start, end in handover.spans:
        assert any(low <= start and end <= high for low, high in spans), f"{start:#x}-{end:#x}"


def assert_boots(handover: Handover) -> None:
    """Sizes, alignment and distances are those of booting.rst; /chosen has what is given."""
    start, _ = handover.span("kernel")
    image = handover.segments["kernel"].data
    text_offset, image_size = (
        int.from_bytes(image[offset : offset + 8], "little") for offset in (8, 16)
    )
    tree, window = handover.segments["tree"], start // GIB * GIB
    initrd_start, initrd_end = handover.span("initrd")
    assert (start - text_offset) % (2 * MIB) == 0
    assert handover.segments["kernel"].memsz >= image_size
    assert tree.mem % 8 == 0
    assert tree.bufsz <= 2 * MIB
    assert window <= initrd_start < initrd_end <= window + 32 * GIB

    chosen = handover.tree.chosen
    assert chosen["bootargs"].rstrip(b"\0") == CMDLINE.encode()
    given = (chosen["linux,initrd-start"], chosen["linux,initrd-end"])
    assert tuple(int.from_bytes(value, "big") for value in given) == (
        initrd_start,
        initrd_start + len(INITRD),
    )


def assert_kept(handover: Handover, machine: Machine) -> None:
    """What only the running kernel's tree knows goes on: EFI's tables, the console."""
    kept = {
        name: value
        for name, value in running_chosen(machine).items()
        if name.startswith("linux,uefi-") or name == "stdout-path"
    }
    assert kept
    assert kept.items() <= handover.tree.chosen.items()


@pytest.mark.parametrize("name", MACHINES)
def test_normal_load(load: Load, name: str) -> None:
    call, handover = load(name, "-l")

    machine = machine_of(name)
    assert call.flags == ARCHITECTURE
    assert set(handover.segments) == {"kernel", "initrd", "tree", "purgatory"}
    assert_inside(handover, ram_of_kernel(machine))
    assert_boots(handover)
    assert_kept(handover, machine)
    assert "linux,elfcorehdr" not in handover.tree.chosen
    assert "linux,usable-memory-range" not in handover.tree.chosen
    # Linux wipes the seed that it was given, in the tree that it shows.
    if "kaslr-seed" in running_chosen(machine):
        assert any(handover.tree.chosen["kaslr-seed"])


@pytest.mark.parametrize("name", CRASH_MACHINES)
def test_crash_load(load: Load, name: str) -> None:
    call, handover = load(name, "-p")

    machine = machine_of(name)
    regions = crash_regions(machine)
    assert call.flags == ARCHITECTURE | ON_CRASH
    assert set(handover.segments) == {"kernel", "initrd", "tree", "purgatory", "elfcorehdr"}
    # The region that holds the kernel is the highest, and named first.
    assert_inside(handover, regions[-1:])
    assert_boots(handover)
    assert_kept(handover, machine)
    assert handover.tree.spans("linux,usable-memory-range") == regions[::-1]
    ((start, end),) = handover.tree.spans("linux,elfcorehdr")
    core = handover.segments["elfcorehdr"]
    assert start == core.mem
    assert core.bufsz <= end - start <= core.memsz

    ram = [span for depth, span, kind in machine.iomem if (depth, kind) == (0, "System RAM")]
    headers = crash.core_headers(core, EM_AARCH64)
    text, *memory = [header for header in headers if header.kind == 1]
    described = joined((header.paddr, header.paddr + header.memsz) for header in memory)
    assert described == subtract(joined(ram), regions)
    assert any(low <= text.paddr and text.paddr + text.memsz <= high for low, high in ram)


def test_load_without_a_reservation_is_refused(
    sandbox: Sandbox, emulated: Tool, image: Path
) -> None:
    (name,) = set(MACHINES) - set(CRASH_MACHINES)
    outcome = sandbox.run(emulated, ["-c", "-p", str(image)], recorded("aarch64")[name])

    assert outcome.exit_code != 0
    assert not [call for call in outcome.calls if call.call == "kexec_load"]
