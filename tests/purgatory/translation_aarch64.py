"""What an AArch64 processor makes of translation tables: VMSAv8-64, stage 1, lower addresses.

Arm Architecture Reference Manual (DDI 0487), D8.2 and D8.3. The whole tree is walked, so that what
is found is all that is mapped. Bits that are of no use to the purgatory must be as it leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from struct import unpack

ENTRY_SIZE = 8
LAST_LEVEL = 3

NORMAL_WRITE_BACK = 0xFF
DEVICE_NGNRNE = 0x00
"""Fields of MAIR."""
INNER_SHAREABLE = 3


def bits(value: int, high: int, low: int) -> int:
    """Return ``value[high:low]``, both inclusive, as the manual writes it."""
    return value >> low & (1 << high - low + 1) - 1


@dataclass(frozen=True)
class Granule:
    """A size of pages, and how TG0 and TG1 encode it."""

    bits: int
    tg0: int
    tg1: int


GRANULES = (Granule(12, 0b00, 0b10), Granule(14, 0b10, 0b01), Granule(16, 0b01, 0b11))


@dataclass(frozen=True)
class Mapped:
    """Addresses [start, end) that are mapped to themselves in one way."""

    start: int
    end: int
    memory_type: int
    """The field of MAIR."""
    shareability: int
    writable: bool
    executable: bool


@dataclass(frozen=True)
class Translation:
    """The registers that say where tables are and what their bits mean."""

    has_el0: bool
    """EL1&0 or EL2&0; else EL2 alone."""
    tcr: int
    ttbr0: int
    mair: int
    read: Callable[[int, int], bytes]
    """Returns memory from a physical address on, so many bytes."""

    @property
    def wide(self) -> bool:
        """TCR.DS."""
        return bool(self.tcr >> (59 if self.has_el0 else 32) & 1)

    @property
    def address_bits(self) -> int:
        """Of input addresses: 64 - T0SZ."""
        return 64 - bits(self.tcr, 5, 0)

    @property
    def output_bits(self) -> int:
        """Of output addresses, by IPS or PS."""
        size = bits(self.tcr, 34, 32) if self.has_el0 else bits(self.tcr, 18, 16)
        return (32, 36, 40, 42, 44, 48, 52)[size]

    @property
    def granule(self) -> Granule:
        """Of TG0; that of TG1 is the same."""
        found = next(item for item in GRANULES if item.tg0 == bits(self.tcr, 15, 14))
        if self.has_el0:
            assert bits(self.tcr, 31, 30) == found.tg1
        return found

    @property
    def root(self) -> int:
        """The address of the first table, which is aligned to a page here."""
        top = bits(self.ttbr0, 5, 2) << 48 if self.output_bits == 52 else 0
        page = 1 << self.granule.bits
        assert not self.ttbr0 & (page - 1) & ~0b111100
        assert self.output_bits == 52 or not self.ttbr0 & 0b111100
        return (self.ttbr0 & (1 << 48) - page) | top

    def check_control(self) -> None:
        """Check that walks go through write-back memory, and that none are of upper addresses."""
        low = self.tcr & 0xFFFF
        assert bits(low, 13, 8) == 0b11_01_01
        assert not bits(low, 7, 6)
        if self.has_el0:
            assert bits(self.tcr, 23, 23) == 1
            assert bits(self.tcr, 21, 16) == bits(self.tcr, 5, 0)
            rest = self.tcr & ~(0xFFFF | 0x3F << 16 | 1 << 23 | 3 << 30 | 7 << 32 | 1 << 59)
        else:
            assert self.tcr >> 31 & 1
            assert self.tcr >> 23 & 1
            rest = self.tcr & ~(0xFFFF | 7 << 16 | 1 << 23 | 1 << 31 | 1 << 32)
        assert not rest
        assert not self.wide or (self.output_bits == 52 and self.granule.bits < 16)
        longest = 52 if self.wide or (self.output_bits == 52 and self.granule.bits == 16) else 48
        assert 25 <= self.address_bits <= longest
        assert self.output_bits <= longest

    @property
    def first_level(self) -> int:
        """The level of the first table; -1 with 52 bits and pages of 4 KiB."""
        index = self.granule.bits - 3
        return LAST_LEVEL + 1 - -((self.granule.bits - self.address_bits) // index)

    def mapped(self) -> list[Mapped]:
        """Return everything that is mapped, by address, neighbours of one kind as one."""
        self.check_control()
        return joined(self._walk(self.root, self.first_level, 0))

    def entry(self, table: int, index: int) -> int:
        """Return one of the descriptors of the table at ``table``."""
        return self._entries(table + ENTRY_SIZE * index, 1)[0]

    def _entries(self, table: int, count: int) -> tuple[int, ...]:
        return unpack(f"<{count}Q", self.read(table, ENTRY_SIZE * count))

    def _walk(self, table: int, level: int, base: int) -> Iterator[Mapped]:
        index_bits = self.granule.bits - 3
        shift = self.granule.bits + index_bits * (LAST_LEVEL - level)
        count = 1 << min(index_bits, self.address_bits - shift)
        for index, descriptor in enumerate(self._entries(table, count)):
            start = base + (index << shift)
            if not descriptor:
                continue
            assert descriptor & 1
            if level == LAST_LEVEL or not descriptor & 2:
                # With 4 KiB level 1 could have blocks too: the purgatory has them at level 2 alone.
                assert descriptor & 2 if level == LAST_LEVEL else level == LAST_LEVEL - 1
                yield self._leaf(descriptor, start, 1 << shift)
            else:
                assert not descriptor >> 59, "a table takes something from all below it"
                yield from self._walk(self._address(descriptor, table=True), level + 1, start)

    def _address(self, descriptor: int, *, table: bool) -> int:
        page = self.granule.bits
        if page == 16:
            address = bits(descriptor, 47, 16) << 16 | bits(descriptor, 15, 12) << 48
            assert self.output_bits == 52 or not bits(descriptor, 15, 12)
        elif self.wide:
            address = bits(descriptor, 49, page) << page | bits(descriptor, 9, 8) << 50
        else:
            address = bits(descriptor, 47, page) << page
        rest = descriptor & ~(3 | ((1 << (50 if self.wide else 48)) - (1 << page)))
        if page == 16:
            rest &= ~(0xF << 12)
        if table:
            assert not rest & ~(3 << 8 if self.wide else 0)
        assert address < 1 << self.output_bits
        return address

    def _leaf(self, descriptor: int, start: int, size: int) -> Mapped:
        assert self._address(descriptor, table=False) == start, "not an identity"
        assert not start % size
        assert bits(descriptor, 10, 10) == 1, "the access flag would fault"
        assert not bits(descriptor, 11, 11), "not global"
        assert not bits(descriptor, 5, 5), "NS"
        assert not descriptor >> 55
        assert not bits(descriptor, 52, 50)
        shared = bits(self.tcr, 13, 12) if self.wide else bits(descriptor, 9, 8)
        if self.has_el0:
            assert not bits(descriptor, 6, 6), "EL0 may access it"
            assert bits(descriptor, 54, 54), "EL0 may execute it"
            executable = not bits(descriptor, 53, 53)
        else:
            assert bits(descriptor, 6, 6), "RES1"
            assert not bits(descriptor, 53, 53), "RES0"
            executable = not bits(descriptor, 54, 54)
        return Mapped(
            start=start,
            end=start + size,
            memory_type=bits(self.mair, 8 * bits(descriptor, 4, 2) + 7, 8 * bits(descriptor, 4, 2)),
            shareability=shared,
            writable=not bits(descriptor, 7, 7),
            executable=executable,
        )


def joined(items: Iterable[Mapped]) -> list[Mapped]:
    """Return ``items``, which are in the order of addresses, with neighbours of a kind as one."""
    found: list[Mapped] = []
    for item in items:
        last = found[-1] if found else None
        if last is not None and replace(last, start=last.end, end=item.end) == item:
            found[-1] = replace(last, end=item.end)
        else:
            found.append(item)
    return found
