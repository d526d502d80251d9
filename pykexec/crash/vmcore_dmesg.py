"""The kernel log in a core, in each of the three forms it has had. Pure.

Every form is a ring. Each walk is bounded before it starts, or checks that it moves on, so
that a damaged ring ends with a :class:`VmcoreError` after what could be read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_CYCLE, VmcoreError
from pykexec.values.data_classes import dataclass
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.vmcore import KernelMemory

EXIT_LEGACY_SYMBOLS = 50
EXIT_LEGACY_SIZE = 51
EXIT_TOO_LONG = 53
EXIT_STRUCTURED_SYMBOLS = 60
EXIT_STRUCTURED_LAYOUT = 61
EXIT_RING_SIZE = 64
EXIT_OUTSIDE = 69

MAX_LOG_BITS = 31
MAX_LOG_BYTES = 1 << MAX_LOG_BITS
"""Linux kernel/printk/printk.c, LOG_BUF_LEN_MAX."""
MAX_COUNT_BITS = 26
"""MAX_LOG_BYTES over the 32 bytes that printk plans for a record (PRB_AVGBITS)."""

_COMMITTED = 1
_FINALIZED = 2
_CALLER_CPU = 0x80000000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One message with what the kernel noted beside it."""

    ts_nsec: int
    text: bytes
    priority: int | None = None
    """syslog facility * 8 + level."""
    caller_id: int | None = None
    """A thread, or with bit 31 set a CPU."""


@dataclass(frozen=True, slots=True)
class LineFormat:
    """What is printed beside the time stamp and the text."""

    level: bool = False
    caller: bool = False
    utf8: bool = False
    """Leave valid UTF-8 as it is."""


def dmesg(memory: KernelMemory, form: LineFormat | None = None) -> Iterator[bytes]:
    """Yield the kernel log piece by piece; raises :class:`VmcoreError` in the midst of it."""
    form = form or LineFormat()
    if "SYMBOL(prb)" in memory.info:
        records = lockless_records(memory)
    elif "SYMBOL(log_first_idx)" in memory.info:
        records = structured_records(memory)
    else:
        yield from legacy_log(memory)
        return
    written = 0
    for record in records:
        line = format_record(record, form)
        written += len(line)
        if written > MAX_LOG_BYTES:
            raise VmcoreError(f"the log is longer than {MAX_LOG_BYTES} bytes", EXIT_TOO_LONG)
        yield line


def format_record(record: LogRecord, form: LineFormat) -> bytes:
    """Return the record as one line, which ends with a newline."""
    seconds, nanoseconds = divmod(record.ts_nsec, 10**9)
    line = f"[{seconds:5d}.{nanoseconds // 1000:06d}]"
    if form.level and record.priority is not None:
        line = f"<{record.priority}>{line}"
    if form.caller and record.caller_id is not None:
        kind = "C" if record.caller_id & _CALLER_CPU else "T"
        line += f"[{kind + str(record.caller_id & ~_CALLER_CPU):>6}]"
    return line.encode() + b" " + escape(record.text, utf8=form.utf8) + b"\n"


def escape(text: bytes, *, utf8: bool) -> bytes:
    """Write each byte that is neither printable nor white space in C's locale as ``\\xNN``.

    With ``utf8`` whole characters beyond ASCII stay, save control characters (U+0080 to
    U+009F), which a terminal might obey.
    """
    pattern = _UNSAFE_UTF8 if utf8 else _UNSAFE
    return pattern.sub(lambda match: match[1] or b"\\x%02x" % match[0][0], text)


_UNSAFE = re.compile(rb"()[^\x20-\x7e\t-\r]")
# RFC 3629, section 4 "Syntax of UTF-8 Byte Sequences", without C1 control characters.
_UNSAFE_UTF8 = re.compile(
    rb"(\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})"
    rb"|[^\x20-\x7e\t-\r]"
)


def lockless_records(memory: KernelMemory) -> Iterator[LogRecord]:
    """Yield the records of the lockless ring buffer, Linux 5.10 and later.

    Linux kernel/printk/printk_ringbuffer.c, "Data Structure": descriptors by id from tail to
    head, of which those committed or finalized are complete.
    """
    ring = _LocklessRing(memory)
    for index in range(ring.length):
        record = ring.record(ring.tail + index & ring.id_mask)
        if record:
            yield record


class _LocklessRing:
    """The ring's arrays and the offsets in them; every size is checked here, once."""

    def __init__(self, memory: KernelMemory) -> None:
        def offset(name: str) -> int:
            return memory.info.offset(name, EXIT_STRUCTURED_LAYOUT)

        def size(name: str) -> int:
            return memory.info.size(name, EXIT_STRUCTURED_LAYOUT)

        self._memory = memory
        self._word = word = memory.layout.word
        ring = memory.pointer(memory.info.symbol("prb", EXIT_STRUCTURED_SYMBOLS))
        counter = offset("atomic_long_t.counter")
        descs = ring + offset("printk_ringbuffer.desc_ring")
        data = ring + offset("printk_ringbuffer.text_data_ring")
        count_bits = memory.unsigned(descs + offset("prb_desc_ring.count_bits"), 4)
        size_bits = memory.unsigned(data + offset("prb_data_ring.size_bits"), 4)
        if count_bits > MAX_COUNT_BITS or size_bits > MAX_LOG_BITS:
            raise VmcoreError(
                f"the log is damaged: 2^{count_bits} records in 2^{size_bits} bytes",
                EXIT_RING_SIZE,
            )
        self._count = 1 << count_bits
        self._text_bytes = 1 << size_bits
        self._text = memory.pointer(data + offset("prb_data_ring.data"))
        self._descs = memory.pointer(descs + offset("prb_desc_ring.descs"))
        self._infos = memory.pointer(descs + offset("prb_desc_ring.infos"))
        self.id_mask = (1 << word * 8 - 2) - 1
        head = memory.pointer(descs + offset("prb_desc_ring.head_id") + counter) & self.id_mask
        self.tail = memory.pointer(descs + offset("prb_desc_ring.tail_id") + counter) & self.id_mask
        self.length = (head - self.tail & self.id_mask) + 1
        if self.length > self._count:
            raise VmcoreError(
                f"the log is damaged: ids {self.tail:#x} to {head:#x} in a ring of {self._count}",
                EXIT_CYCLE,
            )
        self._desc_bytes = size("prb_desc")
        _require_room(
            memory, self._count * self._desc_bytes + self._text_bytes,
            f"{self._count} records in {counted(self._text_bytes, 'byte')}", EXIT_RING_SIZE,
        )  # fmt: skip
        self._state = offset("prb_desc.state_var") + counter
        lpos = offset("prb_desc.text_blk_lpos")
        self._begin = lpos + offset("prb_data_blk_lpos.begin")
        self._next = lpos + offset("prb_data_blk_lpos.next")
        self._info_bytes = size("printk_info")
        self._ts_nsec = offset("printk_info.ts_nsec")
        self._text_len = offset("printk_info.text_len")
        self._caller_id = memory.info.optional_offset("printk_info.caller_id")
        last = max(self._state, self._begin, self._next) + word
        if last > self._desc_bytes or self._info_end() > self._info_bytes:
            raise VmcoreError(
                "VMCOREINFO: members beyond the log's structs", EXIT_STRUCTURED_LAYOUT
            )

    def _info_end(self) -> int:
        caller = 0 if self._caller_id is None else self._caller_id + 4
        # Behind text_len: u8 facility, u8 of flags and level.
        return max(self._ts_nsec + 8, self._text_len + 4, caller)

    def record(self, identity: int) -> LogRecord | None:
        """Return the record of an id; None when it is not complete."""
        memory, number = self._memory, self._memory.layout.unsigned
        index = identity % self._count
        desc = memory.read(self._descs + index * self._desc_bytes, self._desc_bytes)
        state = number(desc[self._state : self._state + self._word])
        complete = state >> self._word * 8 - 2 in (_COMMITTED, _FINALIZED)
        if state & self.id_mask != identity or not complete:
            return None
        info = memory.read(self._infos + index * self._info_bytes, self._info_bytes)
        length = number(info[self._text_len : self._text_len + 2])
        begin = number(desc[self._begin : self._begin + self._word])
        following = number(desc[self._next : self._next + self._word])
        caller = self._caller_id
        return LogRecord(
            number(info[self._ts_nsec : self._ts_nsec + 8]),
            self._read_text(begin, following, length),
            _priority(info[self._text_len + 2], info[self._text_len + 3], memory),
            None if caller is None else number(info[caller : caller + 4]),
        )

    def _read_text(self, begin: int, following: int, length: int) -> bytes:
        """Return the text between two logical positions, ``length`` bytes at most."""
        if begin == following or begin & 1:
            return b""
        size = self._text_bytes
        start, end = begin % size, following % size or size
        span = following - begin & (1 << self._word * 8) - 1
        # A block is whole: one that does not fit behind ``begin`` lies at the buffer's start.
        # From Linux 6.18 on it may end with the buffer, older kernels wrap a byte earlier.
        if start >= end:
            start = 0
        start += self._word
        if span > size or start > end:
            raise VmcoreError(
                f"the log is damaged: text from {begin:#x} to {following:#x}", EXIT_OUTSIDE
            )
        return self._memory.read(self._text + start, min(length, end - start))


def _require_room(memory: KernelMemory, size: int, what: str, code: int) -> None:
    """Refuse a buffer that is larger than all that a dump of this size may stand for."""
    if size > memory.work.limit:
        raise VmcoreError(
            f"the log is damaged: {what}, for which a dump of "
            f"{counted(memory.work.file_size, 'byte')} has "
            "no room",
            code,
        )


def _priority(facility: int, flags_level: int, memory: KernelMemory) -> int:
    """Return facility * 8 + level; the level is a bit field of 3 behind one of 5."""
    level = flags_level >> 5 if memory.layout.byte_order == "<" else flags_level & 7
    return facility << 3 | level


def structured_records(memory: KernelMemory) -> Iterator[LogRecord]:
    """Yield the records of the buffer of Linux 3.5 to 5.9: headers, each followed by its text."""
    info, number = memory.info, memory.layout.unsigned
    buffer = memory.pointer(info.symbol("log_buf", 60))
    buffer_bytes = memory.unsigned(info.symbol("log_buf_len", 61), 4)
    at = first = memory.unsigned(info.symbol("log_first_idx", 62), 4)
    end = memory.unsigned(info.symbol("log_next_idx", 63), 4)
    struct = "printk_log" if "SIZE(printk_log)" in info else "log"
    header_bytes = info.size(struct, 64)
    ts_nsec, length_at, text_len = (
        info.offset(f"{struct}.{member}", code)
        for member, code in (("ts_nsec", 65), ("len", 66), ("text_len", 67))
    )
    if max(ts_nsec + 8, length_at + 8, text_len + 2) > header_bytes:
        raise VmcoreError("VMCOREINFO: members beyond the log's header", 64)
    if buffer_bytes > MAX_LOG_BYTES:
        raise VmcoreError(
            f"the log is damaged: {counted(buffer_bytes, 'byte')} long", EXIT_RING_SIZE
        )
    _require_room(memory, buffer_bytes, f"{counted(buffer_bytes, 'byte')} long", EXIT_RING_SIZE)
    wrapped = False
    while at != end:
        if at + header_bytes > buffer_bytes:
            raise VmcoreError(f"the log is damaged: index {at} of {buffer_bytes}", EXIT_OUTSIDE)
        header = memory.read(buffer + at, header_bytes)
        length = number(header[length_at : length_at + 2])
        if wrapped and (not length or at > end or at >= first):
            raise VmcoreError("the log is damaged: it runs in a circle", EXIT_CYCLE)
        if not length:
            # The rest of the buffer was too small for the record that follows.
            at, wrapped = 0, True
            continue
        text_bytes = number(header[text_len : text_len + 2])
        if at + length > buffer_bytes or header_bytes + text_bytes > length:
            raise VmcoreError(
                f"the log is damaged: at {at} a record of {length} with {text_bytes} of text",
                EXIT_OUTSIDE,
            )
        # struct printk_log: u16 len, text_len, dict_len; u8 facility; u8 flags and level; then,
        # with CONFIG_PRINTK_CALLER, u32 caller_id.
        yield LogRecord(
            number(header[ts_nsec : ts_nsec + 8]),
            memory.read(buffer + at + header_bytes, text_bytes),
            _priority(header[length_at + 6], header[length_at + 7], memory),
            number(header[length_at + 8 : length_at + 12])
            if header_bytes >= length_at + 12
            else None,
        )
        at += length


def legacy_log(memory: KernelMemory) -> Iterator[bytes]:
    """Yield the text of the buffer before Linux 3.5, as it is."""
    symbols = {
        name: memory.info.symbol(name, EXIT_LEGACY_SYMBOLS)
        for name in ("log_buf", "log_end", "log_buf_len", "logged_chars")
    }
    buffer = memory.pointer(symbols["log_buf"])
    end = memory.unsigned(symbols["log_end"], 4)
    size = memory.unsigned(symbols["log_buf_len"], 4)
    chars = min(memory.unsigned(symbols["logged_chars"], 4), size)
    if not 0 < size <= MAX_LOG_BYTES:
        raise VmcoreError(f"the log is damaged: {counted(size, 'byte')} long", EXIT_LEGACY_SIZE)
    _require_room(memory, size, f"{counted(size, 'byte')} long", EXIT_LEGACY_SIZE)
    at, left = (end - chars) % size, chars
    while left:
        piece = min(left, size - at, 1 << 20)
        yield memory.read(buffer + at, piece)
        at, left = (at + piece) % size, left - piece
