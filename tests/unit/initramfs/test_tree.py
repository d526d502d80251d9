"""What goes into an image, in which order, and as which archive."""

from __future__ import annotations

import random
import stat
from io import BytesIO

from pykexec.formats.initramfs import measure_initramfs
from pykexec.initramfs.cpio import write_archive
from pykexec.initramfs.tree import Entry, directories, file_entry, in_order, link_entry
from tests.vm.test_harness import read_cpio

ENTRIES = (
    file_entry("usr/lib/b/two", b"2" * 5000, "/two"),
    file_entry("lib64/ld.so", b"linker", "/ld.so", executable=True),
    link_entry("lib64", "usr/lib64"),
    file_entry("usr/lib/one", b"1", "/one"),
)


def archive(entries: tuple[Entry, ...], mtime: int = 0) -> bytes:
    out = BytesIO()
    write_archive(out, entries, mtime)
    return out.getvalue()


def test_links_come_before_what_lies_behind_them() -> None:
    assert [entry.place for entry in in_order(ENTRIES)] == [
        "lib64",
        "lib64/ld.so",
        "usr/lib/b/two",
        "usr/lib/one",
    ]
    assert list(directories(ENTRIES)) == ["usr", "usr/lib", "usr/lib/b", "usr/lib64"]


def test_the_first_of_two_entries_stays() -> None:
    both = (file_entry("a", b"first"), file_entry("a", b"second"))
    assert in_order(both) == both[:1]


def test_an_archive_is_the_same_whatever_the_order() -> None:
    shuffled = list(ENTRIES)
    random.Random(1).shuffle(shuffled)
    assert archive(tuple(shuffled)) == archive(ENTRIES)


def test_what_an_archive_has() -> None:
    data = archive(ENTRIES, mtime=0x1234)
    found = read_cpio(data)
    assert list(found) == [
        *("usr", "usr/lib", "usr/lib/b", "usr/lib64"),
        *("lib64", "lib64/ld.so", "usr/lib/b/two", "usr/lib/one"),
    ]
    assert found["lib64"][:2] == (stat.S_IFLNK | 0o777, b"usr/lib64")
    assert found["lib64/ld.so"][:2] == (stat.S_IFREG | 0o755, b"linker")
    assert found["usr/lib/one"][:2] == (stat.S_IFREG | 0o644, b"1")
    assert data[6 + 8 * 5 : 6 + 8 * 6] == b"00001234"
    # As the kernel's reader takes it, behind another one.
    size = measure_initramfs(data + data, 4096)
    assert (size.entries, size.content) == (2 * 9, 2 * 5016)
