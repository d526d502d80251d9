"""Damaged files: each ends in a plan that holds, or in a refusal, and neither takes long.

A few hundred of each format by default; with ``full`` ten thousand of each, made from real files.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pykexec.errors import PykexecError
from pykexec.formats import identify
from pykexec.formats.bzimage import parse_bzimage
from pykexec.formats.compression import Codec
from pykexec.formats.ikconfig import unpacked
from pykexec.invariants import verify
from pykexec.planner import plan
from pykexec.plans import LoadRequest, PurgatoryOptions
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.elf import ElfSpec, build_elf, build_x86_vmlinux
from tests.builders.images import build_uki
from tests.builders.multiboot import (
    MultibootSpec,
    addresses,
    build_flat,
    build_multiboot,
    header_1,
    header_2,
    tag,
    words,
)
from tests.builders.pe_files import MACHINE_X86_64
from tests.builders.plans import build_facts
from tests.needs import unavailable
from tests.vm import debian

SLOW = 2.0
"""Seconds that no damaged file may take."""
REGIONS = (64, 256, 0x600, 4096, 1 << 32)
"""Bytes from the start, in one of which damage is done: headers are there."""
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)

TAGS = header_2(
    tag(1, words(3, 6)),
    tag(10, words(0x100000, 0x7FFFFFFF, 0x1000, 1)),
    tag(4, words(3), optional=True),
)
BZIMAGE = build_bzimage(KernelSpec(payload_size=64 * 1024, setup_sects=4))
BUILT = {
    "bzImage": BZIMAGE,
    "UKI": build_uki(BZIMAGE, (".cmdline", b"ro"), machine=MACHINE_X86_64),
    **{str(codec): compress(codec, BZIMAGE) for codec in Codec},
    "ELF64": build_elf(),
    "ELF32": build_elf(ElfSpec(bits=32, machine=3, type=3)),
    "vmlinux": build_x86_vmlinux(),
    "multiboot": build_multiboot(MultibootSpec(header_1(3))),
    "multiboot flat": build_flat(header_1(1 << 16, *addresses(), addresses()[1] + 0x60)),
    "multiboot2": build_multiboot(MultibootSpec(TAGS)),
}


def damaged(file: bytes, rng: random.Random) -> Iterator[memoryview]:
    """Yield ``file`` with one piece of damage after the other, without copying it each time."""
    data = bytearray(file)
    while True:
        at = rng.randrange(min(rng.choice(REGIONS), len(data)))
        width = rng.choice((1, 1, 2, 4, 8))
        old = data[at : at + width]
        if rng.random() < 0.5:
            new = bytes(rng.choice(EXTREMES) for _ in old)
        else:
            new = rng.randbytes(len(old))
        data[at : at + len(new)] = new
        size = len(data) if rng.random() < 0.9 else rng.randrange(len(data))
        with memoryview(data) as view:
            yield view[:size]
        data[at : at + len(old)] = old


def parse_only(file: memoryview) -> None:
    identify(file, "x86_64")


def parse_and_plan(file: memoryview) -> None:
    facts = build_facts()
    request = LoadRequest(kernel=file, purgatory=PurgatoryOptions(skip_checks=True))
    assert verify(plan(facts, request), facts) == []


def check(file: bytes, count: int, act: Callable[[memoryview], None]) -> None:
    taken = 0
    source = damaged(file, random.Random(len(file)))
    for _ in range(count):
        started = time.process_time()
        try:
            act(next(source))
            taken += 1
        except PykexecError:
            pass
        assert time.process_time() - started < SLOW
    assert 0 < taken < count


@pytest.mark.parametrize("name", BUILT)
def test_damaged_files(name: str) -> None:
    check(BUILT[name], 300, parse_and_plan)


def package_file(package: str, pattern: str) -> bytes:
    """Return a file of a Debian package."""
    try:
        root = debian.Suite("bookworm").package(package).root
    except debian.FetchError as error:
        unavailable(str(error))
    (path,) = root.glob(pattern)
    return Path(path).read_bytes()


def debians_vmlinux() -> bytes:
    """Return the ELF kernel in Debian's bzImage."""
    try:
        image = debian.kernel("6.12").image
    except debian.FetchError as error:
        unavailable(str(error))
    return bytes(unpacked(parse_bzimage(image.read_bytes())) or b"")


@pytest.mark.full
@pytest.mark.parametrize("name", BUILT)
def test_many_damaged_files(name: str) -> None:
    check(BUILT[name], 10_000, parse_and_plan)


@pytest.mark.full
def test_damaged_memtest() -> None:
    """A bzImage that is not Linux, and small."""
    check(package_file("memtest86+", "boot/memtest86+x64.bin"), 10_000, parse_and_plan)


@pytest.mark.full
def test_damaged_xen() -> None:
    from pykexec.formats.compression import decompress

    packed = package_file("xen-hypervisor-4.17-amd64", "boot/xen-*.gz")
    check(decompress(packed, 1 << 26, "Xen"), 10_000, parse_and_plan)


@pytest.mark.full
def test_damaged_vmlinux() -> None:
    check(debians_vmlinux(), 10_000, parse_only)
