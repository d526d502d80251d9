"""Builds cores with a kernel log in them: ELF, kdump-compressed and flattened.

Layouts: elf(5); Linux kernel/printk/printk_ringbuffer.h, struct printk_log of Linux 3.6 to
5.9; makedumpfile's IMPLEMENTATION file. Shares no code with the reader under test.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.builders.compressed import lzo1x

VADDR = {8: 0xFFFF888000200000, 4: 0xC0200000}
"""Where the log's memory begins, by the size of a pointer."""
PADDR = 0x200000
TOP_TABLE_VADDR = 0xFFFFFFFF81000000
PHYS_BASE = 0x2000000
PAGE = 4096
FINALIZED = 2


@dataclass(frozen=True, slots=True)
class Record:
    """A message, as a test wants it."""

    text: bytes
    ts_nsec: int = 1_234_567
    level: int = 6
    facility: int = 0
    caller_id: int = 1
    state: int = FINALIZED


@dataclass(slots=True)
class Memory:
    """A piece of kernel memory and the VMCOREINFO that leads to the log in it."""

    word: int = 8
    order: str = "<"
    data: bytearray = field(default_factory=bytearray)
    info: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> int:
        """Virtual address of the first byte."""
        return VADDR[self.word]

    def add(self, data: bytes | bytearray) -> int:
        """Append bytes, aligned to 16; returns their virtual address."""
        self.data += bytes(-len(self.data) % 16)
        address = self.base + len(self.data)
        self.data += data
        return address

    def pack(self, form: str, *values: int) -> bytes:
        """Pack like ``struct``, with ``P`` for a pointer or long, unaligned."""
        return struct.pack(self.order + form.replace("P", "Q" if self.word == 8 else "I"), *values)

    def symbol(self, name: str, data: bytes) -> None:
        """Append a variable and name it."""
        self.info[f"SYMBOL({name})"] = f"{self.add(data):x}"

    def vmcoreinfo(self) -> bytes:
        """Return the text of the note; like the kernel's, its last line may lack a newline."""
        return "\n".join(f"{key}={value}" for key, value in self.info.items()).encode()


def _sizes(memory: Memory, sizes: dict[str, int], offsets: dict[str, int]) -> None:
    memory.info |= {f"SIZE({name})": str(size) for name, size in sizes.items()}
    memory.info |= {f"OFFSET({name})": str(offset) for name, offset in offsets.items()}


def lockless(
    records: list[Record], *, word: int = 8, order: str = "<", count_bits: int = 4,
    size_bits: int = 10, first_id: int | None = None, first_lpos: int | None = None,
    late_wrap: bool = False,
) -> Memory:  # fmt: skip
    """Build the ring of Linux 5.10 and later; ids begin just before they overflow.

    ``late_wrap`` lets a block end with the buffer, as Linux 6.18 does.
    """
    memory = Memory(word, order)
    count, size, mask = 1 << count_bits, 1 << size_bits, (1 << word * 8) - 1
    identity = -count - 1 if first_id is None else first_id
    lpos = -size if first_lpos is None else first_lpos
    tail = identity
    text = bytearray(size)
    descs = [memory.pack("PPP", 0, 1, 1)] * count
    infos = [bytes(88)] * count
    for number, record in enumerate(records):
        identity = tail + number
        begin, lpos = _place(text, record.text, lpos, memory, late_wrap)
        state = (identity & mask >> 2) | record.state << word * 8 - 2
        descs[identity % count] = memory.pack("PPP", state, begin & mask, lpos & mask)
        low_bits = record.level << 5 if order == "<" else record.level
        infos[identity % count] = memory.pack(
            "QQHBBI", number, record.ts_nsec, len(record.text), record.facility, low_bits,
            record.caller_id,
        ).ljust(88, b"\0")  # fmt: skip
    text_at, descs_at = memory.add(text), memory.add(b"".join(descs))
    infos_at = memory.add(b"".join(infos))
    pad = "4x" if word == 8 else ""
    ring = memory.add(
        memory.pack(
            f"I{pad}PPPPPI{pad}PPP", count_bits, descs_at, infos_at, identity & mask >> 2,
            tail & mask >> 2, 0, size_bits, text_at, lpos & mask, 0,
        )
    )  # fmt: skip
    memory.symbol("prb", memory.pack("P", ring))
    _sizes(memory, {
        "printk_ringbuffer": 10 * word, "prb_desc": 3 * word, "printk_info": 88,
    }, {
        "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": 6 * word,
        "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": word,
        "prb_desc_ring.infos": 2 * word, "prb_desc_ring.head_id": 3 * word,
        "prb_desc_ring.tail_id": 4 * word, "prb_desc.state_var": 0,
        "prb_desc.text_blk_lpos": word, "prb_data_blk_lpos.begin": 0,
        "prb_data_blk_lpos.next": word, "printk_info.ts_nsec": 8, "printk_info.text_len": 16,
        "printk_info.caller_id": 20, "prb_data_ring.size_bits": 0, "prb_data_ring.data": word,
        "atomic_long_t.counter": 0,
    })  # fmt: skip
    return memory


def _place(
    text: bytearray, message: bytes, lpos: int, memory: Memory, late_wrap: bool
) -> tuple[int, int]:
    """Write a data block; returns its begin, and its next for which no block is 3, 3."""
    if not message:
        return 3, 3 if lpos == 3 else lpos
    size = len(text)
    block = memory.word + -(-len(message) // memory.word) * memory.word
    following = lpos + block
    wraps = (following - late_wrap) // size != lpos // size
    at = 0 if wraps else lpos % size
    if wraps:
        following = following // size * size + block
    text[at : at + memory.word + len(message)] = memory.pack("P", 0) + message
    return lpos, following


def structured(
    records: list[Record], *, word: int = 8, order: str = "<", size: int = 1024,
    wrap_after: int | None = None, struct_name: str = "printk_log",
) -> Memory:  # fmt: skip
    """Build the buffer of Linux 3.5 to 5.9; the record ``wrap_after`` begins it anew at 0."""
    memory = Memory(word, order)
    buffer = bytearray(size)
    first = at = 0 if wrap_after is None else size // 2
    for number, record in enumerate(records):
        if number == wrap_after:
            at = 0
        low_bits = record.level << 5 if order == "<" else record.level
        length = -(-(20 + len(record.text)) // 4) * 4
        buffer[at : at + length] = (
            memory.pack(
                "QHHHBBI", record.ts_nsec, length, len(record.text), 0, record.facility, low_bits,
                record.caller_id,
            ) + record.text
        ).ljust(length, b"\0")  # fmt: skip
        at += length
    memory.symbol("log_buf", memory.pack("P", memory.add(buffer)))
    for name, value in (("log_buf_len", size), ("log_first_idx", first), ("log_next_idx", at)):
        memory.symbol(name, memory.pack("I", value))
    offsets = {"ts_nsec": 0, "len": 8, "text_len": 10}
    _sizes(memory, {struct_name: 20}, {f"{struct_name}.{k}": v for k, v in offsets.items()})
    return memory


def legacy(text: bytes, *, word: int = 8, order: str = "<", size: int = 256) -> Memory:
    """Build the buffer before Linux 3.5, into which ``text`` was written from its beginning."""
    memory = Memory(word, order)
    buffer = bytearray(size)
    for at, byte in enumerate(text):
        buffer[at % size] = byte
    memory.symbol("log_buf", memory.pack("P", memory.add(buffer)))
    chars = min(len(text), size)
    for name, value in (("log_end", len(text)), ("log_buf_len", size), ("logged_chars", chars)):
        memory.symbol(name, memory.pack("I", value))
    return memory


def note(order: str, name: bytes, kind: int, desc: bytes) -> bytes:
    """Build an ELF note; name and description are padded to 4 bytes."""
    name += b"\0"
    head = struct.pack(order + "III", len(name), len(desc), kind)
    return head + name + bytes(-len(name) % 4) + desc + bytes(-len(desc) % 4)


def elf_core(
    memory: Memory, *, machine: int = 62, wide: bool | None = None, split: int | None = None
) -> bytes:
    """Build an ELF core; ``split`` puts the memory from that offset on into a second segment."""
    wide = memory.word == 8 if wide is None else wide
    order = memory.order
    notes = note(order, b"CORE", 1, bytes(40)) + note(order, b"VMCOREINFO", 0, memory.vmcoreinfo())
    cuts = [0, len(memory.data)] if split is None else [0, split, len(memory.data)]
    count = len(cuts)
    ehsize, phsize = (64, 56) if wide else (52, 32)
    at = ehsize + count * phsize
    headers = [_phdr(order, wide, 4, at, 0, 0, len(notes))]
    body = bytearray(notes)
    # Segments lie in the file in the order opposite to that in memory.
    for start, end in reversed(list(pairwise(cuts))):
        place = at + len(body)
        body += memory.data[start:end]
        headers.append(
            _phdr(order, wide, 1, place, memory.base + start, PADDR + start, end - start)
        )
    ident = b"\x7fELF" + bytes([1 + wide, 1 if order == "<" else 2, 1]) + bytes(9)
    form = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    rest = struct.pack(
        order + form, 4, machine, 1, 0, ehsize, 0, 0, ehsize, phsize, count, 0, 0, 0
    )  # fmt: skip
    return ident + rest + b"".join(headers) + bytes(body)


def _phdr(
    order: str, wide: bool, kind: int, offset: int, vaddr: int, paddr: int, size: int
) -> bytes:
    if wide:
        return struct.pack(order + "IIQQQQQQ", kind, 0, offset, vaddr, paddr, size, size, 0)
    return struct.pack(order + "IIIIIIII", kind, offset, vaddr, paddr, size, size, 0, 0)


def page_tables(memory: Memory, *, levels: int = 4, large: bool = False) -> dict[int, bytes]:
    """Build x86_64 page tables of the memory: physical address → page.

    ``large`` maps 2 MiB at once, which must then hold the whole memory.
    """
    memory.info["SYMBOL(init_top_pgt)"] = f"{TOP_TABLE_VADDR:x}"
    memory.info["NUMBER(phys_base)"] = str(PHYS_BASE)
    memory.info["NUMBER(pgtable_l5_enabled)"] = str(int(levels == 5))
    top = TOP_TABLE_VADDR - 0xFFFFFFFF80000000 + PHYS_BASE
    tables: dict[int, dict[int, int]] = {}
    for start in range(0, len(memory.data), PAGE):
        vaddr, table = memory.base + start, top
        for shift in range(12 + 9 * (levels - 1), 11, -9):
            entries = tables.setdefault(table, {})
            index = vaddr >> shift & 511
            if shift == 12 or (large and shift == 21):
                within = start if shift == 12 else 0
                entries[index] = PADDR + within | 0x63 | (0x80 if shift == 21 else 0) | 1 << 63
                break
            if index not in entries:
                entries[index] = top + PAGE * (1 + sum(map(len, tables.values()))) | 0x67
            table = entries[index] & 0x000FFFFFFFFFF000
    return {
        table: b"".join(struct.pack("<Q", entries.get(index, 0)) for index in range(512))
        for table, entries in tables.items()
    }


def zlib_page(page: bytes) -> tuple[bytes, int]:
    """Compress a page as ``makedumpfile -c`` does; returns the data and the flag."""
    packed = zlib.compress(page, 1)
    return (packed, 1) if len(packed) < PAGE else (page, 0)


def lzo_page(page: bytes) -> tuple[bytes, int]:
    """Compress a page as ``makedumpfile -l`` does."""
    packed = lzo1x(page)
    return (packed, 2) if len(packed) < PAGE else (page, 0)


def kdump(
    memory: Memory, *, compress: Callable[[bytes], tuple[bytes, int]] = zlib_page,
    levels: int = 4, large: bool = False, without: frozenset[int] = frozenset(),
    part: tuple[int, int] | None = None, version: int = 6, status: int = 1,
    machine: str = "x86_64",
) -> bytes:  # fmt: skip
    """Build a kdump-compressed dump; ``without`` are page numbers to leave out.

    ``part`` are the pages that a file of ``makedumpfile --split`` has, half-open. Its bitmaps are
    those of the whole dump. Page tables are those of x86_64; other machines have none.
    """
    order = memory.order
    pages = page_tables(memory, levels=levels, large=large) if machine == "x86_64" else {}
    for start in range(0, len(memory.data), PAGE):
        pages[PADDR + start] = bytes(memory.data[start : start + PAGE]).ljust(PAGE, b"\0")
    numbers = sorted({address // PAGE for address in pages} - without)
    info = memory.vmcoreinfo()
    bits = sum(1 << number for number in numbers)
    half = -(-(numbers[-1] + 1) // (8 * PAGE)) * PAGE
    bitmap = bits.to_bytes(half, "little")
    uts = b"".join(
        part.ljust(65, b"\0") for part in (b"Linux", b"test", b"6.1", b"#1", machine.encode(), b"")
    )
    header = struct.pack(
        order + "8si390s6xqqIiiIIIIIIi", b"KDUMP   ", version, uts, 0, 0, status, PAGE, 1,
        2 * half // PAGE, numbers[-1] + 1, 0, 0, 0, 0, 1,
    )  # fmt: skip
    start, end = part or (0, 0)
    narrow = (start, end) if version < 6 else (start & 0xFFFF, 0)
    sub = struct.pack(
        order + "QiiQQQQQQQQQQQ", PHYS_BASE, 31, part is not None, *narrow, PAGE + 512, len(info),
        0, 0, 0, 0, *((start, end) if version >= 6 else (0, 0)), numbers[-1] + 1,
    ).ljust(512, b"\0")  # fmt: skip
    assert len(sub + info) <= PAGE
    descs, data = b"", b""
    held = [number for number in numbers if part is None or part[0] <= number < part[1]]
    start = PAGE * 2 + 2 * half + 24 * len(held)
    for number in held:
        packed, flag = compress(pages[number * PAGE])
        descs += struct.pack(order + "QIIQ", start + len(data), len(packed), flag, 0)
        data += packed
    head = header.ljust(PAGE, b"\0") + (sub + info).ljust(PAGE, b"\0")
    return head + bitmap + bitmap + descs + data


def flatten(file: bytes, block: int = 1000) -> bytes:
    """Build the flattened form: blocks out of order, the first one written twice."""
    offsets = list(range(0, len(file), block))
    blocks = [(0, bytes(block)), *((at, file[at : at + block]) for at in offsets[1:])]
    blocks.append((0, file[:block]))
    body = b"".join(struct.pack(">qq", at, len(data)) + data for at, data in blocks)
    head = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    return head + body + struct.pack(">qq", -1, -1)


XEN_TABLE, XEN_PADDR = 0x40000000, 0x30000000
"""Where dom0's top page table and its memory lie in the machine."""


def xen_core(memory: Memory, tables: list[int], *, twice: bool = False) -> bytes:
    """Build a core that Xen's crash has left: machine addresses, and notes of its processors.

    ``tables`` are the machine addresses of the page tables in those notes, XEN_TABLE is dom0's. The
    core has another guest's too, which has its own memory at the same places, if ``twice``.
    """
    memory.info["SYMBOL(init_top_pgt)"] = f"{memory.base:x}"
    memory.info["NUMBER(phys_base)"] = "0"
    pages: dict[int, bytes] = {}
    for number in range(1 + twice):
        top, place = XEN_TABLE + (number << 24), XEN_PADDR + (number << 24)
        entries: dict[int, dict[int, int]] = {}
        for start in range(0, len(memory.data), PAGE):
            vaddr, table = memory.base + start, top
            for depth, shift in enumerate((39, 30, 21)):
                below = top + PAGE * (depth + 1)
                entries.setdefault(table, {})[vaddr >> shift & 511] = below | 0x67
                table = below
            entries.setdefault(table, {})[vaddr >> 12 & 511] = place + start | 0x67
            page = bytes(memory.data[start : start + PAGE]).ljust(PAGE, b"\0")
            pages[place + start] = page if not number else bytes(PAGE)
        for table, found in entries.items():
            words = (found.get(index, 0) for index in range(512))
            pages[table] = b"".join(struct.pack("<Q", word) for word in words)
    notes = b"".join(
        note("<", b"CORE", 1, bytes(336))
        + note("<", b"Xen", 0x1000002, struct.pack("<QQQQ", 0x80050033, 0, table | 5, 0x50660))
        for table in tables
    )
    notes += note("<", b"Xen", 0x1000001, bytes(80))
    notes += note("<", b"VMCOREINFO", 0, memory.vmcoreinfo())
    notes += note("<", b"VMCOREINFO_XEN", 0, b"PAGESIZE=4096\n")
    at = 64 + 56 * (1 + len(pages))
    headers = [_phdr("<", True, 4, at, 0, 0, len(notes))]
    body = bytearray(notes)
    for place, page in sorted(pages.items()):
        headers.append(_phdr("<", True, 1, at + len(body), (1 << 64) - 1, place, PAGE))
        body += page
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    rest = struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return ident + rest + b"".join(headers) + bytes(body)
