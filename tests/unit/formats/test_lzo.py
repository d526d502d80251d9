"""LZO1X, and the file format that it comes in."""

from __future__ import annotations

import gzip
import zlib

import pytest

from pykexec.errors import ImageError
from pykexec.formats import lzo
from pykexec.formats.compression import Codec, decompress
from tests.builders.compressed import compress, lzo1x, lzop

DATA = (
    bytes(range(1, 256)) * 4 + bytes(5000) + b"what follows the zeros" + bytes(70000) + b"the end"
)
LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"\x11\0\0", b""),
        (b"\x14abc\x11\0\0", b"abc"),
        (b"\x01abcd\x11\0\0", b"abcd"),
        (b"\0\0\x01" + b"a" * 274 + b"\x11\0\0", b"a" * 274),
        # 2 bytes after 1 to 3 literals, with 1 literal behind
        (b"\x13ab\x01\0x\x11\0\0", b"abbbx"),
        (b"\x13ab\x05\0x\x11\0\0", b"ababx"),
        # 3 to 8 bytes from nearby, then 2 bytes again
        (b"\x15abcd\x4d\0z\x01\0y\x11\0\0", b"abcdabczzzy"),
        (b"\x15abcd\x6c\0\x11\0\0", b"abcdabcd"),
        (b"\x15abcd\xec\0\x11\0\0", b"abcdabcdabcd"),
        # longer ones
        (b"\x15abcd\x24\x0e\0xy\x11\0\0", b"abcdabcdabxy"),
        (b"\x15abcd\x20\x05\0\0\x11\0\0", b"abcd" + b"d" * 38),
    ],
)
def test_lzo_instructions(stream: bytes, expected: bytes) -> None:
    assert lzo.decompress(stream, 4096) == expected
    with pytest.raises(lzo.LzoError, match="cut"):
        lzo.decompress(stream[:-1], 4096)


def test_lzo_from_afar() -> None:
    def literal(count: int) -> bytes:
        zeros, last = divmod(count - 18 - 1, 255)
        return b"\0" + bytes(zeros) + bytes([last + 1])

    text = bytes(number * 7 & 255 for number in range(40000))
    near = literal(3000) + text[:3000] + b"\x00\x01\x11\0\0"
    assert lzo.decompress(near, 1 << 16) == text[:3000] + text[3000 - 2053 : 3000 - 2050]
    for high in (0, 8):
        far = literal(40000) + text + bytes([0x11 | high, 4, 0]) + b"\x11\0\0"
        distance = 16384 + (high << 11) + 1
        start = 40000 - distance
        assert lzo.decompress(far, 1 << 16) == text + text[start : start + 3]


def test_damaged_lzo() -> None:
    with pytest.raises(lzo.LzoError, match="back at 4"):
        lzo.decompress(b"\x15abcd\x4c\x01\x11\0\0", 4096)
    with pytest.raises(lzo.LzoError, match="more than 5"):
        lzo.decompress(b"\x15abcd\x4c\0\x11\0\0", 5)
    with pytest.raises(lzo.LzoError, match="cut"):
        lzo.decompress(b"", 5)


def expanded(packed: bytes) -> bytes:
    return decompress(packed, LIMIT, "it", Codec.LZO)


def refusal(packed: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        expanded(packed)
    return caught.value.message


@pytest.mark.parametrize("flags", [0, 0x1, 0x3, 0x100, 0x300, 0x303, 0x1000, 0x1303])
@pytest.mark.parametrize("size", [0, 1, 3, 18, 1000, len(DATA), (256 << 10) + 7])
def test_each_set_of_checksums(flags: int, size: int) -> None:
    data = (DATA * 4)[:size]
    packed = lzop(data, flags)
    assert expanded(packed) == data
    assert expanded(packed + bytes(3) + b"\0") == data


def test_an_extra_field_is_passed_over() -> None:
    assert expanded(lzop(DATA, extra=b"what for, nobody knows")) == DATA


@pytest.mark.parametrize("size", [1000, len(DATA)])
@pytest.mark.parametrize("flags", [0x1, 0x2, 0x100, 0x200])
def test_each_checksum_is_compared(flags: int, size: int) -> None:
    packed = bytearray(lzop(DATA[:size], flags))
    if size == 1000 and flags & 0x202:
        return  # a block that is stored has no checksum of its packed form
    packed[0x42] ^= 1
    name = "CRC32" if flags & 0x300 else "Adler-32"
    assert f"it is damaged: lzo: the {name} of the block at offset 0x2d" in refusal(bytes(packed))


@pytest.mark.parametrize("flags", [0x3, 0x1003])
def test_the_checksum_of_the_header_is_compared(flags: int) -> None:
    packed = bytearray(lzop(DATA, flags))
    packed[26] ^= 1  # the mode
    name = "CRC32" if flags & 0x1000 else "Adler-32"
    assert f"lzo: the {name} of the header is" in refusal(bytes(packed))


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (9, b"\x09\x3f", "written by lzop 0x093f; 0x0940 or later is needed"),
        (15, b"\x80", "compression method 128; known are 1 to 3, which are LZO1X"),
        (17, b"\0\0\x08\x03", "the data went through a filter, which cannot be undone"),
    ],
)
def test_what_a_header_may_not_say(at: int, value: bytes, words: str) -> None:
    packed = bytearray(lzop(DATA))
    packed[at : at + len(value)] = value
    assert words in refusal(bytes(packed))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((65 << 20, 10), "says that 10 bytes expand to 68157440, of which 67108864 are allowed"),
        ((10, 11), "says that 11 bytes expand to 10, of which"),
        ((10, 0), "says that 0 bytes expand to 10, of which"),
    ],
)
def test_sizes_that_no_block_has(sizes: tuple[int, int], words: str) -> None:
    packed = lzop(b"")[:-4] + b"".join(size.to_bytes(4, "big") for size in sizes) + bytes(100)
    assert words in refusal(packed)


@pytest.mark.parametrize(
    ("announced", "words"),
    [
        (999, "block at offset 0x2d: the LZO stream expands to more than 999 bytes"),
        (1001, "block at offset 0x2d expands to 1000 bytes, 1001 are announced"),
    ],
)
def test_a_block_of_another_size_than_announced(announced: int, words: str) -> None:
    block = lzo1x(b"." * 20 + bytes(980))
    sizes = announced.to_bytes(4, "big") + len(block).to_bytes(4, "big")
    assert words in refusal(lzop(b"", 0)[:-4] + sizes + block + bytes(4))


def test_a_cut_anywhere_is_noticed() -> None:
    packed = lzop(DATA[:2000] + bytes(1000))
    for size in range(9, len(packed)):
        assert "is truncated: the lzo data need an end mark" in refusal(packed[:size])


def test_the_builder_builds_what_the_checksum_says() -> None:
    """The decompressor judges the builder's LZO1X and zlib judges both."""
    packed = compress(Codec.LZO, DATA)
    assert zlib.adler32(DATA).to_bytes(4, "big") in packed
    assert len(packed) < 2000


def test_something_else_than_lzop_wrote() -> None:
    words = "lzo: it begins with 1f 8b 08 00 00 00 00 00 02, not as lzop writes it"
    assert words in refusal(gzip.compress(DATA, mtime=0))
