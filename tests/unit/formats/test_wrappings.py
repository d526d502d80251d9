"""Each wrapping of a kernel: peeled to the same image, and refused when cut or damaged."""

from __future__ import annotations

import random

import pytest

from pykexec.errors import ImageError
from pykexec.formats import MAX_DEPTH, identify
from pykexec.formats.bzimage import parse_bzimage
from pykexec.formats.compression import Codec
from pykexec.formats.linux_image import LinuxImage, parse_linux_image
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import CODECS, compress
from tests.builders.images import (
    WRAPPERS,
    ImageSpec,
    build_image,
    build_uki,
    build_vmlinux,
    build_zboot,
)
from tests.builders.pe_files import MACHINE_X86_64, signed

IMAGE = build_image(ImageSpec(text_size=0x1000, data_size=0x1000))
BARE = parse_linux_image(IMAGE)
NAMES = list(WRAPPERS)
WHOLE = {name: wrap(IMAGE) for name, wrap in WRAPPERS.items()}
BZIMAGE = build_bzimage(KernelSpec(payload_size=4096))

# Where damage shows: a checksum covers it, or its sense is lost.
CHECKED = [
    name
    for name in NAMES
    if name.startswith(("gzip", "xz", "bzip2", "zstd", "uImage"))
    or name in ("lz4", "zboot of gzip", "zboot of xz", "zboot of zstd", "UKI of zboot")
]


@pytest.mark.parametrize("name", NAMES)
def test_every_wrapping_gives_the_bare_image(name: str) -> None:
    found = identify(WHOLE[name], "aarch64")
    assert isinstance(found.image, LinuxImage)
    assert found.image == BARE
    assert bytes(found.file) == IMAGE
    assert found.wrappings
    assert not found.signature_lost


@pytest.mark.parametrize("codec", CODECS)
def test_a_compressed_bzimage_is_one_too(codec: Codec) -> None:
    found = identify(compress(codec, BZIMAGE), "x86_64")
    assert found.image == parse_bzimage(BZIMAGE)
    assert [wrapping.name for wrapping in found.wrappings] == [codec]


def test_a_bare_kernel_is_handed_on_as_it_is() -> None:
    for kernel in (IMAGE, BZIMAGE):
        found = identify(kernel)
        assert found.file is kernel
        assert (found.wrappings, found.brought, found.signature_lost) == ((), None, False)


def test_wrappings_are_listed_from_the_outside() -> None:
    nested = compress(Codec.GZIP, build_uki(build_zboot(IMAGE, Codec.XZ)))
    names = [wrapping.name for wrapping in identify(nested).wrappings]
    assert names == ["gzip", "UKI", "EFI zboot (xz)"]


def test_the_depth_is_limited() -> None:
    data = IMAGE
    for _ in range(MAX_DEPTH):
        data = compress(Codec.GZIP, data)
    assert len(identify(data).wrappings) == MAX_DEPTH
    with pytest.raises(ImageError, match=f"more than {MAX_DEPTH} wrappings around the kernel"):
        identify(compress(Codec.GZIP, data))


def _lengths(data: bytes) -> list[int]:
    """Return lengths of each class: in the first header, at each power of two, near the end."""
    powers = [1 << bit for bit in range(len(data).bit_length())]
    some = random.Random(len(data)).sample(range(len(data)), 30)
    return sorted({*range(0, 80), *powers, *some, len(data) // 2, len(data) - 1} - {len(data)})


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_wrapping_is_refused(name: str) -> None:
    whole = WHOLE[name]
    # What pads a file to its alignment may be missing without harm, and so may the size that
    # Linux appends to what it packs, and zboot's own data behind the payload.
    for size in _lengths(whole):
        with pytest.raises(ImageError) as caught:
            identify(whole[:size])
        assert caught.value.message


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_is_refused_or_does_no_harm(name: str) -> None:
    """Every flip in some of the bits; padding, times and names may change without harm."""
    whole = WHOLE[name]
    bits = random.Random(1).sample(range(len(whole) * 8), 400) + list(range(64 * 8))
    refused = 0
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = identify(bytes(damaged), "aarch64")
        except ImageError:
            refused += 1
        else:
            assert found.image == BARE, f"bit {bit}"
    assert refused > len(bits) // 3


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CHECKED)))
def test_a_flipped_bit_without_a_checksum_raises_nothing_else(name: str) -> None:
    """ELF, UKI, .lzma and ``lz4 -l`` have no checksum: a bit of the kernel can go unnoticed."""
    whole = WHOLE[name]
    for bit in random.Random(2).sample(range(len(whole) * 8), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = identify(bytes(damaged))
        except ImageError:
            continue
        assert isinstance(found.image, LinuxImage)


def test_an_error_says_inside_of_what() -> None:
    broken = build_uki(build_zboot(IMAGE[:-1], Codec.ZSTD, pad_to=0))
    with pytest.raises(ImageError) as caught:
        identify(broken)
    assert caught.value.message.startswith(
        "in UKI: the kernel in the EFI zboot is truncated: the PE section .data"
    )
    with pytest.raises(ImageError, match=r"^in EFI zboot \(gzip\), in UKI: not a kernel"):
        identify(build_uki(build_zboot(bytes(5000), Codec.GZIP)))


def test_an_unknown_file_is_told_what_was_tried() -> None:
    with pytest.raises(ImageError) as caught:
        identify(b"what is it" * 100)
    for words in (
        "not a kernel image that can be loaded (1000 bytes)",
        "bzImage: no 'HdrS'",
        "Image: no 41 52 4d 64 or 52 53 43 05 at offset 0x38",
        "EFI zboot: no 'MZ'",
        "UKI: no 'MZ' at offset 0",
        "ELF vmlinux: no ELF magic",
        "uImage: the magic is 0x77686174",
        "gzip, xz, lzma, bzip2, zstd, lz4, lz4 -l, lzo: no such magic",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrapped", "lost"),
    [
        (signed(IMAGE), False),
        (signed(build_uki(IMAGE)), True),
        (signed(build_uki(signed(IMAGE))), False),
        (build_uki(signed(IMAGE)), False),
        (signed(build_zboot(IMAGE, Codec.GZIP)), True),
        (signed(build_zboot(signed(IMAGE), Codec.GZIP)), False),
        (signed(build_uki(build_zboot(IMAGE, Codec.GZIP))), True),
        (compress(Codec.XZ, signed(IMAGE)), False),
        (build_vmlinux(IMAGE), False),
        (signed(build_uki(BZIMAGE, machine=MACHINE_X86_64)), True),
    ],
)
def test_the_loss_of_a_signature_is_noticed(wrapped: bytes, lost: bool) -> None:
    assert identify(wrapped).signature_lost is lost


def test_a_signed_kernel_comes_out_of_zboot_as_it_was_signed() -> None:
    """The padding is cut off behind the signature, or else it would not hold."""
    kernel = signed(IMAGE)
    found = identify(build_zboot(kernel, Codec.ZSTD, pad_to=0x8000))
    assert bytes(found.file) == kernel
    assert found.image.signed
    assert bytes(found.image.payload) == kernel[: len(IMAGE)]
