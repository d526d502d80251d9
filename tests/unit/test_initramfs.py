"""What an initramfs unpacks to, however its archives are packed and put together."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import ImageError
from pykexec.formats import initramfs
from pykexec.formats.compression import Codec
from pykexec.formats.initramfs import measure_initramfs
from tests.builders.compressed import compress
from tests.needs import unavailable
from tests.vm.cpio import CpioWriter
from tests.vm.debian import FetchError, Suite
from tests.vm.initramfs import SUITE

PAGE = 4096


def archive(*sizes: int) -> bytes:
    """Build an archive of files with these sizes, below one directory."""
    out = BytesIO()
    writer = CpioWriter(out)
    writer.directory("d")
    for number, size in enumerate(sizes):
        writer.file(f"d/{'n' * (number + 1)}", b"\1" * size)
    writer.close()
    return out.getvalue()


def pages(*sizes: int) -> int:
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def test_an_archive_as_it_is() -> None:
    found = measure_initramfs(archive(1, 4096, 10000), PAGE)
    assert (found.archives, found.entries) == (1, 5)
    assert (found.content, found.pages) == (14097, 4096 + 4096 + 12288)


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.XZ, Codec.ZSTD, Codec.LZ4_LEGACY])
def test_microcode_first_then_a_compressed_archive(codec: Codec) -> None:
    """As distributions make it: an uncompressed archive, zeros, a compressed one."""
    early, rest = archive(5000), archive(70000, 3)
    data = early + bytes(512) + compress(codec, rest)
    found = measure_initramfs(data, PAGE)
    assert (found.archives, found.content) == (2, 75003)
    assert found.pages == pages(5000, 70000, 3)


def test_the_last_padding_may_be_missing() -> None:
    whole = archive(5001)
    cut = whole[: 0x70 + 116 + 5001]
    for data in (cut, compress(Codec.GZIP, cut)):
        assert measure_initramfs(data, PAGE).content == 5001


def test_larger_pages_take_more() -> None:
    assert measure_initramfs(archive(1, 2), 65536).pages == 2 * 65536


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 9000), max_size=4),
            st.sampled_from([None, Codec.GZIP, Codec.XZ]),
            st.integers(0, 3).map(lambda words: 4 * words),
        ),
        max_size=4,
    )
)
def test_any_sequence(parts: list[tuple[list[int], Codec | None, int]]) -> None:
    data = b""
    for sizes, codec, zeros in parts:
        packed = archive(*sizes)
        data += (packed if codec is None else compress(codec, packed)) + bytes(zeros)
        data += bytes(-len(data) % 4)
    found = measure_initramfs(data, PAGE)
    sizes = [size for part in parts for size in part[0]]
    assert (found.content, found.pages) == (sum(sizes), pages(*sizes))
    assert found.entries == len(sizes) + 2 * len(parts)


@given(st.integers(1, 300))
def test_pieces_may_end_anywhere(step: int) -> None:
    data = archive(5, 400)
    counter = initramfs._Counter(PAGE)
    stream = initramfs._Stream(counter, 0)
    for at in range(0, len(data), step):
        stream.feed(data[at : at + step])
    stream.close()
    assert counter.content == 405


def test_cpio_of_the_distribution(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5000))
    (tmp_path / "b").symlink_to("a")
    try:
        cpio = Suite(SUITE).package("cpio").root / "bin/cpio"
    except FetchError as error:
        unavailable(str(error))
    done = subprocess.run(
        [cpio, "-o", "-H", "newc", "--quiet"],
        input=b"a\nb\n",
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    found = measure_initramfs(done.stdout, PAGE)
    assert (found.entries, found.content) == (3, 5001)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"junk", "no initramfs: at offset 0x0 begins neither a cpio archive nor compressed"),
        (bytes(8) + b"070707" + b"0" * 104, "no initramfs: at offset 0x8 begins neither"),
        (b"070701" + b"zz" * 60, "is damaged: no header of a cpio entry"),
        (b"070701" + b"0" * 50, "is truncated: the archive's entry at offset 0x0"),
        (archive(5000)[:4000], "is truncated: the archive's entry at offset 0x70"),
        (archive(5000)[: 0x70 + 116 + 4999], "is truncated: the archive's entry at offset 0x70"),
        (b"070701" + b"-0000001" * 13, "is damaged: no header of a cpio entry"),
        (compress(Codec.GZIP, archive(5000)[: 0x70 + 116 + 4999]), "is truncated: the archive's"),
        (compress(Codec.GZIP, archive(5000)[:4000]), "is truncated: the archive's entry at"),
        (compress(Codec.GZIP, archive(9)[:50]), "is truncated: the archive's entry at"),
        (compress(Codec.GZIP, b"x" * 200), "is damaged: no header of a cpio entry"),
        (compress(Codec.GZIP, archive(9))[:-9], "is truncated: the gzip data need an end mark"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match="the initrd") as caught:
        measure_initramfs(data, PAGE)
    assert message in caught.value.message


def test_zeros_without_end_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    with sparse.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        view = memoryview(data)
        with pytest.raises(ImageError, match="more than 256 MiB of zeros between its archives"):
            measure_initramfs(view, PAGE)
        view.release()
    monkeypatch.setattr(initramfs, "MAX_PADDING", 4096)
    assert measure_initramfs(archive(5) + bytes(2048), PAGE).content == 5
    for zeros in (bytes(4097), bytes(2500) + archive(5) + bytes(2500)):
        with pytest.raises(ImageError, match="of zeros between"):
            measure_initramfs(archive(5) + zeros, PAGE)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initramfs, "LIMIT", 1 << 20)
    with pytest.raises(ImageError, match="expand to more than 1 MiB"):
        measure_initramfs(compress(Codec.XZ, archive(2 << 20)), PAGE)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_measured(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        measure_initramfs(data, PAGE)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_archives_are_refused_or_measured(noise: bytes, at: int) -> None:
    data = bytearray(archive(100, 200))
    data[at : at + len(noise)] = noise
    with contextlib.suppress(ImageError):
        measure_initramfs(bytes(data), PAGE)
