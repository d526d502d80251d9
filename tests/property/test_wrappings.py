"""Whatever the bytes are: a kernel or an ImageError, and nothing else."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.linux_image import LinuxImage
from tests.builders.images import WRAPPERS, ImageSpec, build_image

SPEC = ImageSpec(text_size=0x1000, data_size=0x200)
IMAGE = build_image(SPEC)
WHOLE = {"bare": IMAGE, **{name: wrap(IMAGE) for name, wrap in WRAPPERS.items()}}
MAGICS = [data[:16] for data in WHOLE.values()]


@given(st.sampled_from(MAGICS), st.integers(0, 16), st.binary(max_size=600))
def test_random_bytes_behind_each_magic(magic: bytes, kept: int, data: bytes) -> None:
    with contextlib.suppress(ImageError):
        identify(magic[:kept] + data)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(0, 1 << 20)),
)
def test_a_mutated_kernel(name: str, changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(WHOLE[name])
    for offset, value in changes:
        # Half of the changes go into headers, where they have a meaning.
        data[offset % (512 if offset & 1 else len(data))] = value
    with contextlib.suppress(ImageError):
        found = identify(bytes(data[:cut]))
        assert len(found.image.payload) <= len(found.file)
        if isinstance(found.image, LinuxImage):
            assert len(found.image.payload) <= found.image.image_size


@given(
    text_offset=st.integers(0, 511).map(lambda pages: pages * 4096),
    image_size=st.integers(len(IMAGE), (1 << 64) - 1),
    flags=st.integers(0, (1 << 64) - 1),
)
def test_parse_is_the_inverse_of_build(text_offset: int, image_size: int, flags: int) -> None:
    spec = replace(SPEC, text_offset=text_offset, image_size=image_size, flags=flags)
    image = identify(build_image(spec), "aarch64").image
    assert isinstance(image, LinuxImage)
    assert (image.text_offset, image.image_size, image.flags) == (text_offset, image_size, flags)
