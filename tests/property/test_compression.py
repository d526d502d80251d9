"""Whatever the bytes are: data within the cap or an ImageError, and nothing else."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import ImageError
from pykexec.formats.compression import Codec, decompress, decompressed_size
from tests.builders.compressed import CODECS, compress

LIMIT = 1 << 16


@given(st.sampled_from(CODECS), st.binary(max_size=300), st.integers(0, 16))
def test_random_bytes_behind_a_real_beginning(codec: Codec, data: bytes, kept: int) -> None:
    start = compress(codec, b"something to begin with")[:kept]
    for given_codec in (codec, None):
        with contextlib.suppress(ImageError):
            assert len(decompress(start + data, LIMIT, "it", given_codec)) <= LIMIT
    with contextlib.suppress(ImageError):
        size, taken = decompressed_size(start + data, LIMIT)
        assert size <= LIMIT
        assert 0 < taken <= kept + len(data)


@given(st.sampled_from(CODECS), st.binary(min_size=1, max_size=4000), st.integers(1, 20))
def test_decompress_is_the_inverse_of_compress(codec: Codec, data: bytes, times: int) -> None:
    packed = compress(codec, data * times)
    assert decompress(packed, len(data) * times, "it", codec) == data * times
