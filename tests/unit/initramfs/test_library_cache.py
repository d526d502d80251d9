"""The dynamic linker's cache."""

from __future__ import annotations

import struct

import pytest

from pykexec.initramfs.library_cache import library_paths

LIBRARIES = [
    ("libz.so.1", "/usr/lib/x86_64-linux-gnu/libz.so.1", 0),
    ("libc.so.6", "/usr/lib/x86-64-v3/libc.so.6", 1 << 62),
    ("libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6", 0),
    ("libc.so.6", "/usr/lib32/libc.so.6", 0),
]


def build(libraries: list[tuple[str, str, int]], flags: int = 2) -> bytes:
    """Return a cache as ldconfig writes it (glibc sysdeps/generic/dl-cache.h)."""
    strings = b""
    entries = b""
    start = 48 + 24 * len(libraries)
    for name, path, capabilities in libraries:
        key = start + len(strings)
        strings += name.encode() + b"\0"
        value = start + len(strings)
        strings += path.encode() + b"\0"
        entries += struct.pack("<iIIIQ", 0x303, key, value, 0, capabilities)
    header = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(libraries), 0, flags, 0)
    return header + entries + strings


def test_names_lead_to_files() -> None:
    assert library_paths(build(LIBRARIES)) == {
        "libz.so.1": ["/usr/lib/x86_64-linux-gnu/libz.so.1"],
        "libc.so.6": ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib32/libc.so.6"],
    }


def test_behind_a_cache_of_the_older_format() -> None:
    old = b"ld.so-1.7.0\0" + struct.pack("<I", 0)
    assert library_paths(old + build(LIBRARIES)) == library_paths(build(LIBRARIES))


@pytest.mark.parametrize("cut", range(0, 48 + 24 * 4, 7))
def test_a_cache_that_is_cut_gives_what_it_has(cut: int) -> None:
    whole = library_paths(build(LIBRARIES))
    for name, paths in library_paths(build(LIBRARIES)[:cut]).items():
        assert paths == whole[name][: len(paths)]


def test_of_another_byte_order() -> None:
    assert library_paths(build(LIBRARIES, flags=3)) == {}
