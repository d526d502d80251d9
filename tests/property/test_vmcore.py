"""Whatever is done to a core: text or a VmcoreError, in bounded time and memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.vmcore import open_core
from pykexec.crash.vmcore_dmesg import LineFormat, dmesg, escape
from pykexec.formats import lzo
from tests.builders.vmcore import (
    Record,
    elf_core,
    flatten,
    kdump,
    legacy,
    lockless,
    lzo_page,
    structured,
)

RECORDS = [Record(b"message %d" % number) for number in range(10)]
CORES = [
    elf_core(lockless(RECORDS)),
    elf_core(lockless(RECORDS, word=4, order=">")),
    elf_core(structured(RECORDS, wrap_after=5)),
    elf_core(legacy(b"text" * 100)),
    kdump(lockless(RECORDS)),
    kdump(lockless(RECORDS), compress=lzo_page),
    flatten(kdump(lockless(RECORDS))),
]


class Meter:
    """A core that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0

    def read(self, offset: int, size: int) -> bytes:
        assert size >= 0
        assert offset >= 0
        self.reads += 1
        assert self.reads < 20000, "the reader does not come to an end"
        return self._data[offset : offset + size]


def survive(core: bytes) -> None:
    printed = 0
    failure = None
    try:
        for piece in dmesg(open_core(Meter(core)), LineFormat(level=True, caller=True)):
            printed += len(piece)
            assert printed < 1 << 20
    except VmcoreError as error:
        failure = error
    assert failure is None or (3 <= failure.exit_code <= 69 and failure.message)


@given(st.binary(max_size=200), st.integers(0, 5000))
def test_any_bytes_as_lzo(stream: bytes, limit: int) -> None:
    try:
        expanded = lzo.decompress(stream, limit)
    except lzo.LzoError:
        return
    assert len(expanded) <= limit


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\xff", b"\x80"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400)
@given(st.sampled_from(CORES), MUTATIONS)
def test_mutated_cores(core: bytes, mutations: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(core)
    for at, data in mutations:
        start = at % len(core)
        mutated[start : start + len(data)] = data
    survive(bytes(mutated[: len(core)]))


@settings(max_examples=100)
@given(st.sampled_from(CORES), st.floats(0, 1))
def test_cut_cores(core: bytes, part: float) -> None:
    survive(core[: int(len(core) * part)])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 2**64 - 1)), max_size=8))
def test_every_record_is_printed_once_and_in_order(logged: list[tuple[bytes, int]]) -> None:
    records = [Record(text, ts_nsec=stamp) for text, stamp in logged]
    expected = b"".join(
        b"[%5d.%06d] " % (stamp // 10**9, stamp // 1000 % 10**6) + escape(text, utf8=False) + b"\n"
        for text, stamp in logged
    )
    for memory in (lockless(records), lockless(records, first_lpos=800), structured(records)):
        for core in (elf_core(memory), kdump(memory) if records else elf_core(memory)):
            # An empty lockless ring still has one descriptor, which is not complete.
            assert b"".join(dmesg(open_core(Meter(core)))) == expected


@given(st.text(st.characters(min_codepoint=0xA0, exclude_categories=["Cs"])))
def test_valid_utf8_is_left_alone(text: str) -> None:
    assert escape(text.encode(), utf8=True) == text.encode()


@given(st.binary())
def test_what_is_printed_is_safe_for_a_terminal(text: bytes) -> None:
    for utf8 in (False, True):
        shown = escape(text, utf8=utf8).decode("utf-8" if utf8 else "ascii")
        assert all(letter.isspace() or ord(letter) >= 0x20 for letter in shown)
        assert not any(0x7F <= ord(letter) < 0xA0 for letter in shown)
