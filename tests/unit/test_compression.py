"""Each compression: whole, cut, damaged, too large, and with something behind it."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pykexec.errors import ImageError, MissingLibraryError
from pykexec.formats import codec_libraries
from pykexec.formats.compression import Codec, decompress, decompressed_size, probe
from tests.builders.compressed import CODECS, WITHOUT_CHECKSUM, compress

RANDOM = random.Random(7)
# Noise and repetition, so that literals and copies are both there; several pieces long.
DATA = RANDOM.randbytes(20_000) + b"pattern " * 60_000 + RANDOM.randbytes(300_000)
SMALL = RANDOM.randbytes(600) + b"abcabcabd" * 40
LIMIT = 1 << 24


@pytest.mark.parametrize("codec", CODECS)
def test_gives_back_what_was_compressed(codec: Codec) -> None:
    packed = compress(codec, DATA)
    assert probe(packed) is codec
    assert decompress(packed, LIMIT, "it") == DATA
    assert decompress(memoryview(packed), LIMIT, "it", codec) == DATA
    assert decompressed_size(packed, LIMIT) == (len(DATA), len(packed))


@pytest.mark.parametrize("codec", CODECS)
def test_the_cap_is_exact(codec: Codec) -> None:
    packed = compress(codec, DATA)
    assert len(decompress(packed, len(DATA), "it")) == len(DATA)
    with pytest.raises(ImageError, match=r"it: .* expand to more than") as caught:
        decompress(packed, len(DATA) - 1, "it")
    assert caught.value.hint
    with pytest.raises(ImageError, match="expand to more than"):
        decompressed_size(packed, len(DATA) - 1)


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_costs_no_more_than_the_cap(codec: Codec) -> None:
    packed = compress(codec, bytes(64 << 20))
    with pytest.raises(ImageError, match="expand to more than 1 MiB"):
        decompress(packed, 1 << 20, "the bomb")


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_is_noticed(codec: Codec) -> None:
    packed = compress(codec, SMALL)
    for size in range(len(packed)):
        with pytest.raises(ImageError, match=r"is truncated|is damaged"):
            decompress(packed[:size], LIMIT, "it", codec)


@pytest.mark.parametrize("codec", CODECS)
def test_a_truncation_says_what_was_needed_and_found(codec: Codec) -> None:
    packed = compress(codec, DATA)
    with pytest.raises(ImageError) as caught:
        decompress(packed[:-1], LIMIT, "it", codec)
    assert f"{codec} data need an end mark and have none in {len(packed) - 1}" in str(caught.value)
    assert caught.value.offset == len(packed) - 1
    assert caught.value.hint == "copy the file again"


def test_collecting_an_error_does_not_end_the_interpreter() -> None:
    """A memoryview that C still holds must not be left to the garbage collector."""
    script = """
import gc, sys
from pykexec.errors import ImageError
from pykexec.formats.compression import decompress
data = bytes.fromhex(sys.argv[1])
for _ in range(20):
    try:
        decompress(data, 1000, "it")
    except ImageError as error:
        error.itself = error
    gc.collect()
"""
    for codec in CODECS:
        packed = compress(codec, SMALL)[:-1].hex()
        subprocess.run([sys.executable, "-c", script, packed], check=True)


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_never_gives_other_data(codec: Codec) -> None:
    packed = compress(codec, SMALL)
    for at in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[at // 8] ^= 1 << at % 8
        try:
            got = decompress(bytes(damaged), LIMIT, "it", codec)
        except ImageError:
            continue
        # Header fields without meaning for the data: gzip's time, flags and system.
        assert got == SMALL or codec in WITHOUT_CHECKSUM, f"bit {at}"


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {Codec.LZ4_LEGACY}))
def test_damage_is_named(codec: Codec) -> None:
    packed = bytearray(compress(codec, DATA))
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    with pytest.raises(ImageError, match=rf"it is damaged: {codec}: ."):
        decompress(bytes(packed), LIMIT, "it")


def test_a_malformed_legacy_block_is_named() -> None:
    """The format has no checksum: what can be seen is a copy from before the beginning."""
    block = b"\x10a\xff\xff" + bytes(12)
    packed = bytes.fromhex("02214c18") + len(block).to_bytes(4, "little") + block
    with pytest.raises(ImageError, match="lz4 -l: block at offset 0x4 is malformed"):
        decompress(packed, LIMIT, "it")


@pytest.mark.parametrize("codec", CODECS)
def test_members_are_joined_but_measured_one_by_one(codec: Codec) -> None:
    first, second = compress(codec, SMALL), compress(codec, b"second")
    assert decompress(first + second, LIMIT, "it") == SMALL + b"second"
    assert decompressed_size(first + second, LIMIT) == (len(SMALL), len(first))


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_legacy_frame_of_full_blocks(blocks: int) -> None:
    """The end does not show in the last block; 8 MiB as the size could be that of a block."""
    data = RANDOM.randbytes(1 << 20) * 8 * blocks
    packed = compress(Codec.LZ4_LEGACY, data)
    assert decompress(packed, LIMIT, "it") == data
    for behind in (len(data).to_bytes(4, "little"), bytes(4), bytes(5000)):
        assert decompress(packed + behind, LIMIT, "it") == data
    assert decompressed_size(packed + bytes(9), LIMIT) == (len(data), len(packed))
    assert decompress(packed + packed, 2 * LIMIT, "it") == data * 2


SKIPPABLE = bytes.fromhex("542a4d1803000000") + b"xyz"


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.LZ4, Codec.LZ4_LEGACY])
def test_skippable_frames_are_skipped(codec: Codec) -> None:
    """pzstd(1) writes them before its frames (RFC 8878, section 3.1.2); lz4 has the same."""
    first, second = compress(codec, SMALL), compress(codec, b"second")
    for data in (
        first + SKIPPABLE + second,
        SKIPPABLE + first + SKIPPABLE * 2 + second,
        first + second + SKIPPABLE,
    ):
        assert probe(data) is codec
        assert decompress(data, LIMIT, "it") == SMALL + b"second"
    with pytest.raises(ImageError, match=r"a skippable frame at offset .* needs 11 bytes, 10 are"):
        decompress(first + SKIPPABLE[:-1], LIMIT, "it")


def test_skippable_frames_alone_are_nothing() -> None:
    assert probe(SKIPPABLE * 3) is None
    assert probe(SKIPPABLE + compress(Codec.GZIP, SMALL)) is None


def test_frames_of_both_kinds_of_lz4_are_joined() -> None:
    """As lz4(1) does."""
    frame, legacy = (compress(codec, SMALL) for codec in (Codec.LZ4, Codec.LZ4_LEGACY))
    assert decompress(frame + legacy, LIMIT, "it") == SMALL * 2
    assert decompress(legacy + SKIPPABLE + frame + legacy, LIMIT, "it") == SMALL * 3


def test_xz_streams_may_be_padded() -> None:
    """By multiples of four zeros: xz-file-format.txt, section 2.2."""
    stream = compress(Codec.XZ, SMALL)
    assert decompress(stream + bytes(8) + stream + bytes(4), LIMIT, "it") == SMALL * 2
    with pytest.raises(ImageError, match="bytes follow the xz data"):
        decompress(stream + bytes(6) + stream, LIMIT, "it")


def test_members_may_be_many_if_they_give_something() -> None:
    """BGZF has members of 64 KiB at most, and an empty one at its end."""
    members = compress(Codec.GZIP, bytes(60_000)) * 6000 + compress(Codec.GZIP, b"")
    with pytest.raises(ImageError, match="expand to more than 64 MiB"):
        decompress(members, LIMIT << 10, "it")
    noise = b"".join(compress(Codec.GZIP, RANDOM.randbytes(1000)) for _ in range(4000))
    assert len(decompress(noise, LIMIT, "it")) == 4_000_000


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("trailer", [b"", len(SMALL).to_bytes(4, "little")], ids=["no", "size"])
@pytest.mark.parametrize("padding", [0, 1, 511])
def test_what_linux_builds_append_is_no_damage(codec: Codec, trailer: bytes, padding: int) -> None:
    packed = compress(codec, SMALL) + trailer + bytes(padding)
    assert decompress(packed, LIMIT, "it") == SMALL


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "behind",
    [b"\xd0\x0d\xfe\xed", (len(SMALL) + 1).to_bytes(4, "little"), bytes(7) + b"x"],
    ids=["tree", "wrong size", "after zeros"],
)
def test_anything_else_behind_the_data_is_refused(codec: Codec, behind: bytes) -> None:
    packed = compress(codec, SMALL)
    with pytest.raises(ImageError, match=rf"\d+ bytes follow the {codec} data, which end at"):
        decompress(packed + behind, LIMIT, "it")
    assert decompressed_size(packed + behind, LIMIT) == (len(SMALL), len(packed))


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x1f\x8b", b"BZh9nothing", b"\x5d" + bytes(12)])
def test_unknown_data_are_told_what_is_known(data: bytes) -> None:
    assert probe(data) is None
    with pytest.raises(ImageError, match=rf"it has no known compression: it has {len(data)} byte"):
        decompress(data, LIMIT, "it")


@pytest.mark.parametrize(
    ("header", "believed"),
    [
        ("5d 00000004 ffffffffffffffff", True),
        ("5d 00000003 0010000000000000", True),
        ("5d 00000005 ffffffffffffffff", False),
        ("5d 00080000 ffffffffffffffff", False),
        ("5d 00000004 0000000000010000", False),
        ("5e 00000004 ffffffffffffffff", False),
        ("5d 00000004 ffffffffffffff", False),
    ],
)
def test_lzma_has_no_magic_and_is_believed_only_with_usual_values(
    header: str, believed: bool
) -> None:
    assert (probe(bytes.fromhex(header)) is Codec.LZMA) is believed


@pytest.mark.parametrize(
    ("codec", "words", "hint"),
    [
        (Codec.ZSTD, "libzstd.so.1 is needed", "install libzstd1"),
        (Codec.LZ4, "liblz4.so.1 is needed", "install liblz4-1"),
        (Codec.LZ4_LEGACY, "liblz4.so.1 is needed", "install liblz4-1"),
    ],
)
def test_a_missing_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codec: Codec, words: str, hint: str
) -> None:
    import pykexec.formats._codec_abi

    packed = compress(codec, SMALL)
    real = pykexec.formats._codec_abi.ffi

    class Nothing:
        def dlopen(self, name: str) -> Any:
            return real.dlopen(str(tmp_path / name))

    monkeypatch.setattr(pykexec.formats._codec_abi, "ffi", Nothing())
    codec_libraries.library.cache_clear()
    with pytest.raises(MissingLibraryError, match=words) as caught:
        decompress(packed, LIMIT, "it")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)
    codec_libraries.library.cache_clear()


def test_a_whole_block_may_be_read_before_anything_comes_out() -> None:
    """lz4(1) makes blocks of 4 MiB."""
    noise = RANDOM.randbytes(10 << 20)
    packed = lz4_of_large_blocks(noise)
    assert decompress(packed, LIMIT, "it") == noise


def lz4_of_large_blocks(data: bytes) -> bytes:
    """Return a frame of stored blocks of 4 MiB (lz4_Frame_format.md, "Data Blocks")."""
    blocks = [data[at : at + (4 << 20)] for at in range(0, len(data), 4 << 20)]
    body = b"".join((len(block) | 1 << 31).to_bytes(4, "little") + block for block in blocks)
    return bytes.fromhex("04224d18607073") + body + bytes(4)
