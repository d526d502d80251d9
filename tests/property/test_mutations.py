"""Damaged files: each ends in a plan that holds, or in a refusal, soon and in little memory.

A few hundred of each format by default; with ``full`` ten thousand of each real file.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pykexec.errors import ImageError, NoRoomError
from pykexec.formats._structures import SETUP_HEADER
from pykexec.formats.bzimage import SETUP_HEADER_OFFSET, parse_bzimage
from pykexec.formats.compression import Codec, decompress
from pykexec.formats.ikconfig import unpacked
from pykexec.formats.initramfs import measure_initramfs
from pykexec.formats.layers import KERNEL_LIMIT
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, PurgatoryOptions
from pykexec.values.facts import MachineFacts
from tests.builders import arm, arm64
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import WITHOUT_CHECKSUM, compress
from tests.builders.elf import ElfSpec, build_elf, build_x86_vmlinux
from tests.builders.fit import Unit, build_fit, configuration
from tests.builders.images import (
    build_beoboot,
    build_image,
    build_uimage,
    build_uki,
    build_vmlinux,
    build_zboot,
)
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
from tests.vm import debian, initramfs, uki

SLOW = 2.0
"""Seconds of processor time that no damaged file may take."""
MEMORY = 4 * KERNEL_LIMIT
"""Bytes that none may take."""
REGIONS = (64, 256, 0x600, 4096, 1 << 32)
"""Bytes from the start, in one of which damage is done: headers are there."""
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)

TAGS = header_2(
    tag(1, words(3, 6)),
    tag(10, words(0x100000, 0x7FFFFFFF, 0x1000, 1)),
    tag(4, words(3), optional=True),
)
BZIMAGE = build_bzimage(KernelSpec(payload_size=64 * 1024, setup_sects=4))
IMAGE = build_image()
ZIMAGE = arm.build_zimage(inflated=1 << 20, size=1 << 18)
FIT = build_fit(
    [
        Unit("kernel-1", compress(Codec.GZIP, IMAGE), compression="gzip"),
        Unit("ramdisk-1", b"070701" + bytes(500), "ramdisk", external=True),
        Unit("fdt-1", arm64.build_tree(), "flat_dt"),
    ],
    [configuration("conf-1", kernel="kernel-1", ramdisk="ramdisk-1", fdt="fdt-1")],
)
TREE = Path(__file__).parents[1] / "data/machines/aarch64-6.12-tree-1G/sys/firmware/fdt"

REFUSALS = (ImageError, NoRoomError)
"""What a damaged file may end in: the addresses and sizes that it names may be nowhere free."""

Act = Callable[[memoryview], object]


def damaged(file: bytes, rng: random.Random) -> Iterator[memoryview]:
    """Yield ``file`` with some damage, and then with other, without copying it each time."""
    data = bytearray(file)
    while True:
        old = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(min(rng.choice(REGIONS), len(data)))
            piece = data[at : at + rng.choice((1, 1, 2, 4, 8))]
            old.append((at, piece))
            extreme = rng.random() < 0.5
            data[at : at + len(piece)] = (
                bytes(rng.choice(EXTREMES) for _ in piece) if extreme else rng.randbytes(len(piece))
            )
        size = len(data) if rng.random() < 0.9 else rng.randrange(len(data))
        with memoryview(data) as view:
            yield view[:size]
        for at, piece in reversed(old):
            data[at : at + len(piece)] = piece


def plan_with(file: memoryview, facts: MachineFacts, image_format: str | None = None) -> None:
    """Plan a load of ``file`` and hold the plan against the machine."""
    request = LoadRequest(
        kernel=file, image_format=image_format, purgatory=PurgatoryOptions(skip_checks=True)
    )
    assert verify(plan(facts, request), facts) == []


X86_PLAN = partial(plan_with, facts=build_facts())
ARM64_PLAN = partial(plan_with, facts=arm64.build_facts())
ARM_PLAN = partial(plan_with, facts=arm.build_facts())


def plan_with_tree(tree: memoryview) -> None:
    """Plan a load on a machine without a tree of its own that is given ``tree``."""
    facts = arm64.build_facts()
    request = LoadRequest(kernel=IMAGE, dtb=tree, purgatory=PurgatoryOptions(skip_checks=True))
    assert verify(plan(facts, request), facts) == []


class Memory:
    """The memory of this process, as the kernel counts it."""

    def __init__(self) -> None:
        self._before = self._resident("VmRSS")

    def start(self) -> None:
        """Forget the peak (Linux Documentation/filesystems/proc.rst, "clear_refs")."""
        Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the bytes in use since :meth:`start` at most, beyond those at the beginning."""
        return self._resident("VmHWM") - self._before

    def _resident(self, name: str) -> int:
        with Path("/proc/self/status").open() as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


@dataclass(frozen=True, slots=True)
class Sample:
    """A whole file, and what is done with it when it is damaged."""

    file: bytes
    act: Act = X86_PLAN
    checked: bool = False
    """It has a checksum over all: damage is noticed nearly always."""


def check(sample: Sample, count: int) -> None:
    """Do damage ``count`` times."""
    sample.act(memoryview(sample.file))
    taken = 0
    source = damaged(sample.file, random.Random(len(sample.file)))
    memory = Memory()
    for _ in range(count):
        memory.start()
        started = time.process_time()
        try:
            sample.act(next(source))
            taken += 1
        except REFUSALS:
            pass
        assert time.process_time() - started < SLOW
        assert memory.peak() < MEMORY
    assert taken < count
    assert taken or sample.checked


def packed(codec: Codec, file: bytes) -> Sample:
    """Return a kernel for x86 that is compressed."""
    return Sample(compress(codec, file), checked=codec not in WITHOUT_CHECKSUM)


BUILT = {
    "bzImage": Sample(BZIMAGE),
    "UKI": Sample(build_uki(BZIMAGE, (".cmdline", b"ro"), machine=MACHINE_X86_64)),
    **{str(codec): packed(codec, BZIMAGE) for codec in Codec},
    "ELF64": Sample(build_elf()),
    "ELF32": Sample(build_elf(ElfSpec(bits=32, machine=3, type=3))),
    "vmlinux": Sample(build_x86_vmlinux()),
    "multiboot": Sample(build_multiboot(MultibootSpec(header_1(3)))),
    "multiboot flat": Sample(build_flat(header_1(1 << 16, *addresses(), addresses()[1] + 0x60))),
    "multiboot2": Sample(build_multiboot(MultibootSpec(TAGS))),
    "Image": Sample(IMAGE, ARM64_PLAN),
    "zboot": Sample(build_zboot(IMAGE, Codec.ZSTD), ARM64_PLAN),
    "uImage": Sample(build_uimage(IMAGE), ARM64_PLAN, checked=True),
    "beoboot": Sample(build_beoboot(BZIMAGE, b"initrd")),
    "FIT image": Sample(FIT, ARM64_PLAN),
    "zImage": Sample(ZIMAGE, ARM_PLAN),
    "zImage and tree": Sample(ZIMAGE + arm.build_tree(), ARM_PLAN),
    "arm64 vmlinux": Sample(build_vmlinux(IMAGE), ARM64_PLAN),
    "device tree": Sample(arm64.build_tree(), plan_with_tree),
}


@pytest.mark.parametrize("name", BUILT)
def test_damaged_files(name: str) -> None:
    check(BUILT[name], 300)


@pytest.mark.parametrize("codec", Codec)
def test_what_expands_without_end_takes_little_memory(codec: Codec) -> None:
    """The declared cap is what is kept at most; expanding needs some more for a while."""
    cap = 64 << 20
    bomb = compress(codec, bytes(4 * cap))
    memory = Memory()
    memory.start()
    with pytest.raises(ImageError, match="expand to more than 64 MiB"):
        decompress(bomb, cap, "it")
    assert memory.peak() < 4 * cap


def package_file(package: str, pattern: str) -> bytes:
    """Return a file of a Debian package."""
    (path,) = debian.Suite("bookworm").package(package).root.glob(pattern)
    return path.read_bytes()


def debian_kernel(arch: str = "amd64") -> bytes:
    return debian.kernel("6.12", arch=arch).image.read_bytes()


def memtest() -> bytes:
    """Return a bzImage that is not Linux, and small."""
    return package_file("memtest86+", "boot/memtest86+x64.bin")


def packed_memtest(codec: Codec, _: Path) -> Sample:
    return packed(codec, memtest())


def xen(image_format: str | None = None) -> Sample:
    """Return Debian's hypervisor, which has a multiboot header of either version."""
    file = decompress(package_file("xen-hypervisor-4.17-amd64", "boot/xen-*.gz"), 1 << 26, "Xen")
    return Sample(file, partial(X86_PLAN, image_format=image_format))


def debian_uki(directory: Path) -> Sample:
    sections = {".cmdline": b"ro quiet", ".linux": debian_kernel(), ".initrd": b"initrd"}
    for name, content in sections.items():
        (directory / name).write_bytes(content)
    command = uki.objcopy_words(
        {name: directory / name for name in sections}, directory / "uki", stub=uki.stub()
    )
    subprocess.run(command, check=True)
    return Sample((directory / "uki").read_bytes())


def debian_fit() -> bytes:
    """Return Debian's Image in a FIT image; tests/vm/test_aarch64_fit.py has mkimage's."""
    unit = Unit("kernel-1", compress(Codec.GZIP, debian_kernel("arm64")), compression="gzip")
    return build_fit([unit], [configuration("conf-1", kernel="kernel-1")])


def debian_vmlinux() -> bytes:
    """Return the ELF kernel in Debian's bzImage."""
    return bytes(unpacked(parse_bzimage(debian_kernel())) or b"")


def initrd() -> bytes:
    """Return a guest's own: an archive as it is, and one that is compressed behind it."""
    small = initramfs.small_initrd(initramfs.Scenario(phases=("true\n",), files={}))
    return small + compress(Codec.GZIP, small)


REAL: dict[str, Callable[[Path], Sample]] = {
    "bzImage": lambda _: Sample(debian_kernel()),
    "memtest86+": lambda _: Sample(memtest()),
    **{str(codec): partial(packed_memtest, codec) for codec in Codec},
    "UKI": debian_uki,
    "vmlinux": lambda _: Sample(debian_vmlinux()),
    "Xen by multiboot": lambda _: xen("multiboot"),
    "Xen by multiboot2": lambda _: xen(),
    "Image": lambda _: Sample(debian_kernel("arm64"), ARM64_PLAN),
    "arm64 vmlinux": lambda _: Sample(build_vmlinux(debian_kernel("arm64")), ARM64_PLAN),
    "zboot": lambda _: Sample(build_zboot(debian_kernel("arm64"), Codec.ZSTD), ARM64_PLAN),
    "uImage": lambda _: Sample(build_uimage(memtest(), arch=24), checked=True),
    "FIT image": lambda _: Sample(debian_fit(), ARM64_PLAN),
    "device tree": lambda _: Sample(TREE.read_bytes(), plan_with_tree),
    "initramfs": lambda _: Sample(initrd(), lambda file: measure_initramfs(file, 4096)),
}
"""Real files, or such in a wrapping that is built here as the tools build it."""
UNPACKED_WHOLE = ("vmlinux", "arm64 vmlinux", "zboot", "FIT image")
"""Of which each is read to its end, tens of megabytes, before a fault can be seen."""


@pytest.mark.full
@pytest.mark.parametrize("name", REAL)
def test_many_damaged_files(name: str, tmp_path: Path) -> None:
    try:
        sample = REAL[name](tmp_path)
    except debian.FetchError as error:
        unavailable(str(error))
    check(sample, 2_500 if name in UNPACKED_WHOLE else 10_000)


BOUNDARIES = (0, 1, 15, 16, 4095, 4096, 0x100000, 0x1000000, 0x7FFFFFFF, 0x80000000, (1 << 64) - 1)


def check_headers(count: int) -> None:
    """Give one to three fields of a bzImage's header a boundary value, ``count`` times."""
    places = [(SETUP_HEADER_OFFSET + field.offset, field.size) for field in SETUP_HEADER.fields]
    rng = random.Random(count)
    for _ in range(count):
        file = bytearray(BZIMAGE)
        for start, size in rng.sample(places, rng.choice((1, 2, 3))):
            value = rng.choice(BOUNDARIES) & (1 << 8 * size) - 1
            file[start : start + size] = value.to_bytes(size, "little")
        with contextlib.suppress(*REFUSALS):
            X86_PLAN(memoryview(file))


def test_header_fields_at_their_bounds() -> None:
    check_headers(300)


@pytest.mark.full
def test_many_header_fields_at_their_bounds() -> None:
    check_headers(10_000)
