"""Huge pages that a command line makes a kernel set aside. Pure.

Linux Documentation/admin-guide/mm/hugetlbpage.rst, "hugepages", and
Documentation/admin-guide/kernel-parameters.txt. The order of the words counts: ``hugepages=`` is
about the size that the last ``hugepagesz=`` or ``default_hugepagesz=`` before it names, and about
the default size where none does; one that follows a size which the machine does not have is passed
over, as is a second one for the same size.
"""

from __future__ import annotations

import re

from pykexec.architectures import architecture_of
from pykexec.values.command_line import memparse
from pykexec.values.data_classes import dataclass, field

_COUNT = re.compile(rb"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class HugePages:
    """So many pages of one size, in bytes."""

    page: int
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.page * self.count


@dataclass(slots=True)
class _Reader:
    """The words read so far."""

    default: int
    sizes: tuple[int, ...]
    """Those that there are; empty: any power of two."""
    counts: dict[int, int] = field(default_factory=dict)
    """Pages of each size that a word names."""
    implicit: int = 0
    """Pages of the default size, from a ``hugepages=`` before any size."""
    default_named: bool = False
    size: int = 0
    """Which the next ``hugepages=`` is about; 0: the default."""
    valid: bool = True
    last: int = -1
    """The size of the last ``hugepages=`` that counted."""

    def knows(self, size: int) -> bool:
        return size in self.sizes if self.sizes else size > 0 and size & (size - 1) == 0

    def hugepagesz(self, size: int) -> None:
        self.valid = False
        if not self.knows(size):
            return
        if size in self.counts and not (
            self.default_named and size == self.default and not self.counts[size]
        ):
            return
        self.counts.setdefault(size, 0)
        self.size, self.valid = size, True

    def default_hugepagesz(self, size: int) -> None:
        self.valid = False
        if self.default_named or not self.knows(size):
            return
        self.default, self.default_named, self.size, self.valid = size, True, size, True
        self.counts[size] = self.implicit or self.counts.get(size, 0)
        self.implicit = 0

    def hugepages(self, count: int) -> None:
        if not self.valid:
            self.valid = True
            return
        size = self.size if self.counts else 0
        if size == self.last:
            return
        self.last = size
        if size:
            self.counts[size] = count
        else:
            self.implicit = count


def huge_pages(words: list[tuple[str, bytes]], arch: str, page_size: int) -> tuple[HugePages, ...]:
    """Return the pages that ``words``, as (name, value), ask for; each size once."""
    sizes = architecture_of(arch).huge_pages.sizes.get(page_size, ())
    reader = _Reader(sizes[0] if sizes else page_size * page_size // 8, sizes)
    for name, value in words:
        size = (memparse(value) or (0, b""))[0]
        if name == "hugepagesz":
            reader.hugepagesz(size)
        elif name == "default_hugepagesz":
            reader.default_hugepagesz(size)
        elif name == "hugepages":
            reader.hugepages(_count(value))
    counts = dict(reader.counts)
    if reader.implicit:
        # It stands above a pair that names the default size.
        counts[reader.default] = reader.implicit
    return tuple(HugePages(size, count) for size, count in counts.items() if count)


def _count(value: bytes) -> int:
    """Read ``512``, or by nodes ``0:256,1:256``; 0 for what is neither."""
    if b":" not in value:
        found = _COUNT.match(value)
        return int(found[0]) if found else 0
    total = 0
    for part in value.split(b","):
        node, _, count = part.partition(b":")
        found = _COUNT.fullmatch(count)
        if found is None or not node.isdigit():
            return 0
        total += int(found[0])
    return total


def is_gigantic(page: int, arch: str, page_size: int) -> bool:
    """Tell whether such pages are set aside at once, before the page allocator is there.

    That is for more than it has in one piece ("MAX_PAGE_ORDER").
    """
    return page > page_size << architecture_of(arch).huge_pages.max_order.get(page_size, 10)


def hugetlb_cma(value: bytes, arch: str, page_size: int) -> int:
    """Return the bytes that ``hugetlb_cma=`` sets aside: a size, or by nodes ``0:1G,1:1G``."""
    unit = architecture_of(arch).huge_pages.gigantic.get(page_size, 1)
    total = 0
    for part in value.split(b","):
        read = memparse(part.partition(b":")[2] if b":" in part else part)
        total += read[0] if read else 0
        if b":" not in part:
            break
    # Less than one page is nothing.
    return -(-total // unit) * unit if total >= unit else 0
