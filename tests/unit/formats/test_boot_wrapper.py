"""A zImage for Open Firmware: what is in it, and what is none."""

from __future__ import annotations

import gzip
import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import boot_wrapper, identify
from tests.builders.ppc64le import KERNEL

NAMES = b"\0.text\0.kernel:vmlinux.strip\0.shstrtab\0"
_SECTION = ("<IIQQQQIIQQ", "<10I")


def build_wrapper(kernel: bytes, *, bits: int = 64, name: bytes = b".kernel:") -> bytes:
    """Build an ELF program with the kernel in a section: arch/powerpc/boot/wrapper."""
    wide = bits == 64
    head = 64 if wide else 52
    names = NAMES.replace(b".kernel:", name)
    form = _SECTION[0 if wide else 1]
    places = [
        (0, 0),
        (1, 4),
        (7, len(kernel)),
        (7 + len(NAMES[7:].split(b"\0")[0]) + 1, len(names)),
    ]
    body, headers = b"code" + kernel + names, b""
    offset = head
    for index, (text, size) in enumerate(places):
        headers += struct.pack(form, text, 1, 0, 0, offset if index else 0, size, 0, 0, 1, 0)
        offset += size
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]).ljust(12, b"\0")
    word = "Q" if wide else "I"
    machine = 21 if wide else 20
    ehdr = struct.pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        *(2, machine, 1, 0, 0, head + len(body), 0, head, 0, 0, struct.calcsize(form), 4, 3),
    )
    return ident + ehdr + body + headers


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_the_kernel_in_it_is_found(bits: int, pack: object) -> None:
    assert callable(pack)
    found = identify(build_wrapper(pack(KERNEL), bits=bits), "ppc64le")
    assert bytes(found.file) == KERNEL
    names = [wrapping.name for wrapping in found.wrappings]
    assert names == ["zImage", "gzip"][: len(names)]
    assert found.image.release == "6.12.0-power"


@pytest.mark.parametrize("end", [80, 4096])
def test_a_cut_one_is_none_or_is_named(end: int) -> None:
    whole = build_wrapper(KERNEL)
    with pytest.raises(ImageError, match="truncated"):
        identify(whole[:end], "ppc64le")


def test_one_whose_kernel_runs_past_the_end() -> None:
    whole = bytearray(build_wrapper(b"k" * 64))
    table = struct.unpack_from("<Q", whole, 40)[0]
    struct.pack_into("<Q", whole, table + 2 * 64 + 32, 1 << 20)
    with pytest.raises(ImageError, match="the zImage is truncated: its kernel should take"):
        identify(bytes(whole), "ppc64le")


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", KERNEL, build_wrapper(KERNEL, name=b".module:"), KERNEL[:70]]
)
def test_what_is_none(data: bytes) -> None:
    assert boot_wrapper.probe(data) is not None
