"""Debian's own kernels in every wrapping: the same kernel comes out, or an error.

Nothing is booted here; only the kernels are those of the guests.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace

import pytest

from pykexec.errors import ImageError
from pykexec.formats import Identified, identify
from pykexec.formats.compression import Codec
from pykexec.formats.linux_image import LinuxImage
from pykexec.planning.planner import plan, plan_file_load
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.roles import Role
from tests.builders.arm64 import build_facts as build_arm64_facts
from tests.builders.compressed import compress
from tests.builders.images import WRAPPERS, build_uki, build_zboot
from tests.builders.pe_files import MACHINE_RISCV64, MACHINE_X86_64
from tests.builders.plans import build_facts
from tests.builders.riscv64 import build_facts as build_riscv64_facts
from tests.needs import unavailable
from tests.vm.debian import FetchError, Suite, kernel


def debian_kernel(arch: str, series: str = "6.12", flavour: str = "cloud") -> bytes:
    """Return Debian's kernel; skips when it cannot be had, or fails where that is forbidden."""
    try:
        return kernel(series, flavour, arch).image.read_bytes()
    except FetchError as error:
        unavailable(str(error))


@pytest.fixture(scope="module")
def arm64() -> Identified:
    """Return Debian's kernel for arm64, a signed Image."""
    return identify(debian_kernel("arm64"), "aarch64")


def test_debians_arm64_kernel_is_a_signed_image(arm64: Identified) -> None:
    image = arm64.image
    assert isinstance(image, LinuxImage)
    assert image.signed
    assert arm64.wrappings == ()
    assert image.release.endswith("-cloud-arm64")
    assert (image.text_offset, image.page_size, image.big_endian) == (0, 4096, False)
    assert image.placed_anywhere
    assert len(image.payload) < len(arm64.file) < image.image_size


FULL = ("uImage of bzip2", "uImage of lzma", "zboot of lzma", "zboot of xz")
"""Slow, and each of two parts that are tested otherwise."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.full] if name in FULL else []) for name in WRAPPERS],
)
def test_a_wrapping_of_it_gives_the_same_plans_or_an_error(arm64: Identified, name: str) -> None:
    facts = build_arm64_facts()
    bare = bytes(arm64.file)
    whole = WRAPPERS[name](bare)
    for make in (plan, plan_file_load):
        expected = make(facts, LoadRequest(kernel=bare, cmdline=b"ro"))
        made = make(facts, LoadRequest(kernel=whole, cmdline=b"ro"))
        # Nothing is said of a lost signature: the kernel's own is still there.
        assert made.notes[0].startswith("the kernel is taken out of ")
        assert made.notes[1:] == expected.notes
        assert replace(made, notes=expected.notes) == expected
        if isinstance(made, SegmentPlan):
            segment = made.segment(Role.KERNEL)
            assert segment is not None
            assert bytes(segment.data) == bytes(arm64.image.payload)
        else:
            assert bytes(made.kernel) == bare
    for size in (len(whole) // 3, len(whole) - len(whole) // 8):
        with pytest.raises(ImageError):
            identify(memoryview(whole)[:size])


@pytest.mark.parametrize(
    "name", ["gzip", "xz", "bzip2", "zstd", "lz4", "uImage", "zboot of zstd", "UKI of zboot"]
)
def test_a_bit_flipped_in_it_is_noticed(arm64: Identified, name: str) -> None:
    whole = bytearray(WRAPPERS[name](bytes(arm64.file)))
    # Behind the headers and before what pads the last section: all of it is kernel.
    for at in random.Random(3).sample(range(0x1000, len(whole) - 0x1000), 2):
        whole[at] ^= 0x10
        with pytest.raises(ImageError):
            identify(memoryview(whole), "aarch64")
        whole[at] ^= 0x10


def test_debians_x86_kernel_in_wrappings_gives_the_same_plans() -> None:
    bare = debian_kernel("amd64")
    facts = build_facts()
    request = LoadRequest(kernel=bare, initrd=b"initrd", cmdline=b"ro")
    uki = build_uki(bare, (".cmdline", b"ro"), (".initrd", b"initrd"), machine=MACHINE_X86_64)
    packed = replace(request, kernel=compress(Codec.ZSTD, bare))
    for make in (plan, plan_file_load):
        expected = make(facts, request)
        for wrapped in (LoadRequest(kernel=uki), packed):
            assert replace(make(facts, wrapped), notes=()) == replace(expected, notes=())


@pytest.mark.full
def test_debians_riscv64_kernel_in_wrappings_gives_the_same_plan() -> None:
    bare = debian_kernel("riscv64")
    facts = build_riscv64_facts()
    expected = plan(facts, LoadRequest(kernel=bare, cmdline=b"ro"))
    zboot = build_zboot(bare, Codec.ZSTD, machine=MACHINE_RISCV64)
    wrapped = {
        "gzip": compress(Codec.GZIP, bare),
        "EFI zboot": zboot,
        "in UKI": build_uki(zboot, (".cmdline", b"ro"), machine=MACHINE_RISCV64),
    }
    for name, whole in wrapped.items():
        made = plan(facts, LoadRequest(kernel=whole, cmdline=b"ro"))
        assert name in made.notes[0]
        assert replace(made, notes=()) == replace(expected, notes=())


@pytest.mark.parametrize("options", [(), ("-9", "--crc32")])
def test_what_lzop_itself_packs_gives_the_same_plan(
    arm64: Identified, options: tuple[str, ...]
) -> None:
    try:
        lzop, library = (Suite("bookworm").package(name).root for name in ("lzop", "liblzo2-2"))
    except FetchError as error:
        unavailable(str(error))
    (shared,) = library.rglob("liblzo2.so.2")
    bare = bytes(arm64.file)
    packed = subprocess.run(
        [lzop / "usr/bin/lzop", *options],
        input=bare,
        stdout=subprocess.PIPE,
        env={"LD_LIBRARY_PATH": str(shared.parent)},
        check=True,
    ).stdout
    facts = build_arm64_facts()
    expected = plan(facts, LoadRequest(kernel=bare, cmdline=b"ro"))
    made = plan(facts, LoadRequest(kernel=packed, cmdline=b"ro"))
    assert made.notes[0] == "the kernel is taken out of lzo"
    assert replace(made, notes=()) == replace(expected, notes=())


@pytest.mark.full
def test_debians_loong64_kernel_is_taken_out_of_its_zboot() -> None:
    """The one zboot that Debian has."""
    found = identify(debian_kernel("loong64", "7.2", "generic"), "loongarch64")
    assert [item.name for item in found.wrappings] == ["EFI zboot (zstd)"]
    assert found.image.release.endswith("-loong64")
