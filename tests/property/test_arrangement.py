"""No load is refused that could be placed: the planner against a solver of the tests' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest

from pykexec.errors import NoRoomError
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, Module, PurgatoryOptions, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from tests.builders import arm64, plans
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.elf import build_x86_vmlinux
from tests.builders.ima import MEASUREMENTS
from tests.builders.multiboot import BASE, addresses, build_flat, header_1
from tests.property.solver import GIB, Piece, Span, solve
from tests.unit.test_x86_crash_plan import CRASH

MIB = 1 << 20
PAGE = 4096
END_32 = 4 * GIB
ZEROS = memoryview(bytes(64 * MIB))
VMLINUX = build_x86_vmlinux()
MULTIBOOT = build_flat(header_1(1 << 16, *addresses(), BASE + 0x100))
UNCHECKED = PurgatoryOptions(skip_checks=True)
LOW = Range(0x1000, 0x9F000)


@dataclass(frozen=True)
class Case:
    """A machine with a load, and the same as what the solver takes."""

    facts: MachineFacts
    request: LoadRequest
    free: tuple[Span, ...]
    pieces: tuple[Piece, ...]
    moved: Piece | None = None
    """The kernel where it can also lie elsewhere than it is linked to run."""

    def solution(self) -> dict[str, int] | None:
        """Return what the solver finds."""
        found = solve(self.free, self.pieces)
        if found is not None or self.moved is None:
            return found
        kept = [item for item in self.pieces if item.name != "kernel"]
        return solve(self.free, [*kept, self.moved])


def pages(size: int) -> int:
    """Round up to whole pages."""
    return -(-size // PAGE) * PAGE


def random_ram(rng: Random, pieces: Sequence[Piece], lowest: int) -> list[Range]:
    """Make memory that holds ``pieces`` in some order with little to spare, or almost does.

    Some of them share a range each, where one lies close behind the other.
    """
    groups: list[list[Piece]] = [[] for _ in range(rng.choice((1, 2, 2, 3)))]
    for piece in rng.sample(pieces, len(pieces)):
        rng.choice(groups).append(piece)
    found, at = [], lowest
    for group in filter(None, groups):
        at += rng.choice((PAGE, 17 * PAGE, MIB, 32 * MIB, rng.randrange(16 * MIB)))
        start = end = pages(at)
        for piece in group:
            end = max(end, piece.lowest)
            end += -end % piece.align + piece.size
        spare = rng.choice((-MIB, -PAGE, 0, 0, PAGE, 64 * PAGE, 3 * MIB, 24 * MIB))
        at = max(end + spare, start + PAGE)
        found.append(Range(start, at))
    return found


def spans(ram: Sequence[Range]) -> tuple[Span, ...]:
    return tuple((item.start, item.end) for item in ram)


def purgatory_size(arch: str) -> int:
    return pages(load(arch).memsz)


def x86_kernel(rng: Random, *, wide: bool) -> tuple[bytes, Piece]:
    size, align = rng.choice((4, 8, 20)) * MIB + rng.choice((0, 3 * PAGE)), rng.choice((1, 2, 16))
    spec = KernelSpec(
        payload_size=64 << 10,
        init_size=size,
        kernel_alignment=align * MIB,
        pref_address=16 * MIB,
        xloadflags=0x7F if wide else 0,
        initrd_addr_max=0x7FFFFFFF if wide else 0x37FFFFFF,
    )
    piece = Piece("kernel", pages(size), 16 * MIB, align=align * MIB)
    # A 32-bit kernel has to lie in the memory that it always maps.
    return build_bzimage(spec), piece if wide else replace(piece, end=0x36000000)


def x86_pieces(kernel: Piece, initrd: int, *, bits: int) -> list[Piece]:
    end = 1 << 64 if bits == 64 else END_32
    return [
        Piece("purgatory", purgatory_size("x86_64"), MIB, end),
        Piece("boot_params", 2 * PAGE, MIB, end),
        replace(kernel, end=min(kernel.end, end)),
        Piece("initrd", pages(initrd), 16 * MIB, end),
        Piece("setup_data", PAGE, MIB, end),
    ]


def x86_64(rng: Random) -> Case:
    """A bzImage in 64 or 32 bits, or a crash load, with or without IMA's list."""
    kernel, piece = x86_kernel(rng, wide=True)
    initrd = rng.randrange(1, 30 * MIB)
    kind = rng.choice(("normal", "normal", "ima", "entry32", "crash", "vmlinux", "multiboot"))
    if kind == "multiboot":
        return multiboot(rng)
    if kind == "vmlinux":
        kernel, piece = VMLINUX, Piece("kernel", 0x240000, 0x1000000, 0x1240000)
    request = plans.build_request(kernel=kernel, initrd=ZEROS[:initrd], purgatory=UNCHECKED)
    pieces = x86_pieces(piece, initrd, bits=32 if kind == "entry32" else 64)
    if kind == "crash":
        return x86_crash(rng, request, pieces)
    if kind == "ima":
        size = pages(len(MEASUREMENTS) * 800 + 24)
        pieces.append(Piece("ima", size, 16 * MIB, 512 * MIB, under="kernel"))
        request = replace(request, ima=True)
    elif kind == "entry32":
        request = replace(request, entry_bits=32)
        pieces = [replace(p, end=0x80000000) if p.name == "initrd" else p for p in pieces]
    lowest = rng.choice((MIB, 8 * MIB, 400 * MIB, END_32 - 20 * MIB, 6 * GIB))
    if kind == "ima":
        lowest = rng.choice((MIB, 8 * MIB, 400 * MIB))
    ram = random_ram(rng, pieces, lowest)
    facts = plans.build_facts([LOW, *ram])
    if kind == "ima":
        facts = replace(facts, ima_measurements=MEASUREMENTS * 800)
    moved = Piece("kernel", 0x240000, MIB, align=2 * MIB) if kind == "vmlinux" else None
    return Case(facts, request, spans([LOW, *ram]), tuple(pieces), moved)


def multiboot(rng: Random) -> Case:
    """A multiboot kernel, which is linked to run at 2 MiB, with a module."""
    size = rng.randrange(1, 30 * MIB)
    modules = (Module(ZEROS[:size], b"module"),)
    request = LoadRequest(kernel=MULTIBOOT, modules=modules, purgatory=UNCHECKED)
    pieces = [
        Piece("kernel", 4 * PAGE, 2 * MIB, 2 * MIB + 4 * PAGE),
        Piece("purgatory", purgatory_size("x86_64"), MIB, END_32),
        Piece("modules", pages(size), MIB, END_32),
        Piece("info", PAGE, MIB, END_32),
    ]
    movable = [p for p in pieces if p.name != "kernel"]
    ram = random_ram(rng, movable, rng.choice((MIB, 2 * MIB - PAGE, 3 * MIB)))
    if ram[0].start > 2 * MIB:
        ram.insert(0, Range(2 * MIB, 2 * MIB + 4 * PAGE))
    return Case(plans.build_facts([LOW, *ram]), request, spans([LOW, *ram]), tuple(pieces))


def x86_crash(rng: Random, request: LoadRequest, pieces: list[Piece]) -> Case:
    """A region that is about large enough, low where part of it is of no use to a kernel."""
    pieces += [Piece("backup", LOW.size), Piece("elfcorehdr", PAGE)]
    ram = random_ram(rng, pieces, rng.choice((2, 14, 30, 64)) * MIB)
    region = max(ram, key=lambda item: item.size)
    facts = plans.build_facts(
        [LOW, Range(MIB, GIB)], children=[IomemEntry(region, "Crash kernel")], crash=CRASH
    )
    return Case(facts, replace(request, target=Target.CRASH), spans([region]), tuple(pieces))


def i386(rng: Random) -> Case:
    """A 32-bit kernel from a 32-bit one, or in real mode from one of 64 bits."""
    kernel, piece = x86_kernel(rng, wide=False)
    initrd = rng.randrange(1, 30 * MIB)
    request = plans.build_request(kernel=kernel, initrd=ZEROS[:initrd], purgatory=UNCHECKED)
    pieces = [
        replace(p, end=0x38000000) if p.name == "initrd" else p
        for p in x86_pieces(piece, initrd, bits=32)
    ]
    real = rng.random() < 0.25
    if real:
        request = replace(request, entry_bits=16)
        kept = [p for p in pieces if p.name in ("kernel", "initrd")]
        setup = Piece("setup", 0xE000 + PAGE, 0x10000, 0xA0000)
        pieces = [setup, Piece("purgatory", purgatory_size("x86_64"), 0x10000, 0xA0000), *kept]
    high = [p for p in pieces if p.lowest >= MIB]
    ram = random_ram(rng, high, rng.choice((MIB, 8 * MIB, 800 * MIB, 830 * MIB)))
    arch = "x86_64" if real else "i386"
    facts = replace(plans.build_facts([LOW, *ram]), arch=arch)
    return Case(facts, request, spans([LOW, *ram]), tuple(pieces))


def aarch64(rng: Random) -> Case:
    """An Image that can use the memory below itself, or not, near or far from the initrd."""
    size, anywhere = rng.choice((3, 8, 20)) * MIB + rng.choice((0, PAGE)), rng.random() < 0.7
    image = arm64.build_image(image_size=size, flags=0b1010 if anywhere else 0b0010)
    initrd = rng.randrange(1, 30 * MIB)
    over = "" if anywhere else "kernel"
    pieces = [
        Piece("kernel", size, end=1 << 48, align=2 * MIB),
        Piece("initrd", pages(initrd), over=over, window="kernel"),
        Piece("dtb", PAGE, align=2 * MIB, over=over),
        Piece("purgatory", purgatory_size("aarch64"), over=over),
    ]
    request = arm64.build_request(kernel=image, initrd=ZEROS[:initrd], purgatory=UNCHECKED)
    if rng.random() < 0.3:
        pieces.append(Piece("elfcorehdr", PAGE, align=65536))
        ram = random_ram(rng, pieces, GIB)
        region = max(ram, key=lambda item: item.size)
        facts = arm64.build_facts(children=[IomemEntry(region, "Crash kernel")])
        request = replace(request, target=Target.CRASH)
        return Case(facts, request, spans([region]), tuple(pieces))
    ram = random_ram(rng, pieces, GIB)
    if rng.random() < 0.4:
        far = rng.choice((31, 32, 33, 50)) * GIB
        ram = [ram[0], *(Range(item.start + far, item.end + far) for item in ram[1:])]
    return Case(arm64.build_facts(ram), request, spans(ram), tuple(pieces))


ARCHITECTURES: dict[str, Callable[[Random], Case]] = {
    "x86_64": x86_64,
    "i386": i386,
    "aarch64": aarch64,
}


def planned(case: Case) -> SegmentPlan | None:
    """Return the plan, which holds; None for a refusal, which says something."""
    try:
        made = plan(case.facts, case.request)
    except NoRoomError:
        return None
    assert verify(made, case.facts) == []
    return made


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.full)])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_no_refusal_where_there_is_a_place(arch: str, count: int) -> None:
    """And no plan where there is none: of all three kinds there have to be enough."""
    outcomes: Counter[str] = Counter()
    for seed in range(count):
        case = ARCHITECTURES[arch](Random(f"{arch} {seed}"))
        made, solution = planned(case), case.solution()
        assert (made is None) is (solution is None), (arch, seed, solution)
        if made is None:
            outcomes["refused"] += 1
        elif any(item.given_up for item in made.segments):
            outcomes["moved"] += 1
        else:
            outcomes["in turn"] += 1
    print(arch, dict(outcomes))
    assert min(outcomes[kind] for kind in ("refused", "moved", "in turn")) >= count // 25, outcomes


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_memory_that_shrinks_by_pages(arch: str) -> None:
    """It fits down to a size, and never below; there the solver says the same of each page."""
    case = next(
        case
        for case in (ARCHITECTURES[arch](Random(seed)) for seed in range(1000))
        if case.request.target is Target.NORMAL
        and case.request.entry_bits is None
        and len(case.free) > 2
        and solve(case.free, case.pieces)
    )
    build = arm64.build_facts if arch == "aarch64" else plans.build_facts

    def shrunk(by: int) -> Case:
        """Take ``by`` pages from the end of the largest range."""
        largest = max(case.free, key=lambda item: item[1] - item[0])
        end = largest[1] - by * PAGE
        free = tuple((a, end) if (a, b) == largest else (a, b) for a, b in case.free)
        facts = replace(
            build([Range(a, b) for a, b in free]),
            arch=arch,
            ima_measurements=case.facts.ima_measurements,
        )
        return replace(case, facts=facts, free=free)

    whole = max(end - start for start, end in case.free) // PAGE
    fitting, failing = 0, whole - 1
    assert planned(shrunk(failing)) is None
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        if planned(shrunk(middle)) is None:
            failing = middle
        else:
            fitting = middle
    for by in range(max(0, fitting - 8), min(whole - 1, fitting + 9)):
        made = planned(shrunk(by))
        assert (made is not None) is (by <= fitting)
        assert (solve(shrunk(by).free, case.pieces) is not None) is (by <= fitting)


def test_a_large_initrd_beside_a_kernel_that_fits_elsewhere() -> None:
    """Reported as "initrd is 32 MiB too large": the kernel had the only range that it fits."""
    ram = [
        LOW,
        Range(0x100000, 0x7400000),
        Range(0x8000000, 0xE400000),
        Range(0x10000000, 0x16400000),
        Range(0x18000000, 0x1E400000),
        Range(0x20000000, 0x2DC00000),
    ]
    kernel = build_bzimage(KernelSpec(payload_size=64 << 10, init_size=0x3380000))
    initrd = memoryview(bytes(200 * MIB))
    request = plans.build_request(kernel=kernel, initrd=initrd, purgatory=UNCHECKED)
    facts = plans.build_facts(ram)
    made = plan(facts, request)
    assert verify(made, facts) == []
    moved = {item.role: item.given_up for item in made.segments if item.given_up}
    assert set(moved) == {Role.KERNEL}
    given_up = moved[Role.KERNEL]
    assert given_up is not None
    assert given_up.needed_by == (Role.INITRD,)
