"""``crashkernel=`` as kernels read it: which word counts, what it asks for, what is wrong."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.crash.crashkernel import Dialect, Fault, Wanted, crashkernel_words, wanted
from pykexec.values.command_line import memparse
from pykexec.values.units import GIB, KIB, MIB, TIB

NEW = Dialect()
WITHOUT_CMA = replace(NEW, cma=False)
OLD_X86 = Dialect(cma=False, high_on_failure=True)
OLD_ARM64 = Dialect(high=False, cma=False)


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        (b"256M", 256 * MIB, b""),
        (b"64k,high", 64 * KIB, b",high"),
        (b"0x10000000@0x1", 256 * MIB, b"@0x1"),
        (b"0256M", 0o256 * MIB, b""),
        (b"089", 0, b"89"),
        (b"0x", 0, b"x"),
        (b"1.5G", 1, b".5G"),
        (b"1GB", GIB, b"B"),
        (b"2T", 2 * TIB, b""),
        (b"1P", 1 << 50, b""),
        (b"1e", 1 << 60, b""),
        (b"16E", 0, b""),
        (b"M", 0, b""),
        (b"99999999999999999999", 99999999999999999999 % 2**64, b""),
    ],
)
def test_numbers_with_units(text: bytes, value: int, rest: bytes) -> None:
    assert memparse(text) == (value, rest)


@pytest.mark.parametrize("text", [b"", b"auto", b"-1", b"+1", b" 1", b'"1"', b"\xff"])
def test_what_is_no_number(text: bytes) -> None:
    assert memparse(text) is None


@given(st.binary(max_size=12))
def test_any_bytes_are_read_or_not(text: bytes) -> None:
    read = memparse(text)
    assert read is None or (0 <= read[0] < 1 << 64 and text.endswith(read[1]) and read[1] != text)


@pytest.mark.parametrize(
    ("line", "size", "base", "high", "low"),
    [
        (b"crashkernel=256M", 256 * MIB, None, False, None),
        (b"crashkernel=256M@16M", 256 * MIB, 16 * MIB, False, None),
        (b"crashkernel=256M@0", 256 * MIB, None, False, None),
        (b"crashkernel=256M@x", 256 * MIB, None, False, None),
        (b"crashkernel=0x8000000", 128 * MIB, None, False, None),
        (b"crashkernel=1G-4G:128M,4G-:256M", 256 * MIB, None, False, None),
        (b"crashkernel=1G-8G:128M,8G-:256M", 128 * MIB, None, False, None),
        (b"crashkernel=1G-8G:128M,8G-:256M@32M", 128 * MIB, 32 * MIB, False, None),
        (b"crashkernel=0-:128Mjunk", 128 * MIB, None, False, None),
        (b"crashkernel=1G-9G:64M,broken", 64 * MIB, None, False, None),
        (b"crashkernel=512M,high", 512 * MIB, None, True, None),
        (b"crashkernel=512M,high crashkernel=72M,low", 512 * MIB, None, True, 72 * MIB),
        (b"crashkernel=72M,low crashkernel=512M,high", 512 * MIB, None, True, 72 * MIB),
        (b"crashkernel=512M,high crashkernel=0,low", 512 * MIB, None, True, 0),
        # A plain word counts before those with suffixes, the last one before the others.
        (b"crashkernel=512M,high crashkernel=128M", 128 * MIB, None, False, None),
        (b"crashkernel=64M ro crashkernel=128M quiet", 128 * MIB, None, False, None),
        (b"crashkernel=256M crashkernel=1G,cma", 256 * MIB, None, False, None),
        (b"crashkernel=1G,cma crashkernel=256M,high", 256 * MIB, None, True, None),
        # The kernel looks for text, and not for words.
        (b"ro -- crashkernel=128M", 128 * MIB, None, False, None),
        (b"xcrashkernel=128M", 128 * MIB, None, False, None),
        (b'dyndbg="file x +p crashkernel=128M "', 128 * MIB, None, False, None),
    ],
)
def test_what_is_asked_for(
    line: bytes, size: int, base: int | None, high: bool, low: int | None
) -> None:
    found = wanted(b"root=/dev/vda1 " + line, 6 * GIB, NEW)
    assert isinstance(found, Wanted), found
    assert (found.size, found.base, found.high, found.low) == (size, base, high, low)
    assert found.word in crashkernel_words(line)


@pytest.mark.parametrize(
    ("line", "text", "advice"),
    [
        (b"crashkernel=", "has no size at its end", "crashkernel=256M"),
        (b"crashkernel=auto", "some distributions' kernels only", "give a size"),
        (b"crashkernel=some", "has no size at 'some'", ""),
        (b"crashkernel=256MB", "is not understood from 'B' on", ""),
        (b"crashkernel=1.5G", "is not understood from '.5G' on", ""),
        (b"crashkernel=256M,hihg", "is not understood from ',hihg' on", "256M,high"),
        (b"crashkernel=256M\tquiet", "is not understood from '\\tquiet' on", ""),
        (b'"crashkernel=256M"', "from '\"' on", "take the quotes off"),
        (b'crashkernel="256M"', "has no size at '\"256M\"'", "take the quotes off"),
        (b"crashkernel=0", "asks for nothing", "give a size"),
        (b"crashkernel=0@", "asks for nothing", "give a size"),
        (b"crashkernel=0@16M", "asks for nothing", "give a size"),
        (b"crashkernel=0,high", "asks for nothing", "give a size"),
        (b"crashkernel=16E", "asks for nothing", "give a size"),
        (b"crashkernel=1G-2G", "from '-2G' on", "crashkernel=1G-2G:SIZE"),
        (b"crashkernel=:256M", "has no size at ':256M'", ""),
        (b"crashkernel=1G:256M", "expects '-' and finds ':256M'", ""),
        (b"crashkernel=1G-2G256M,8G-:1M", "expects ':' and finds '256M,8G-:1M'", ""),
        (b"crashkernel=1G-x:256M", "has no size at 'x:256M'", ""),
        (b"crashkernel=4G-2G:256M", "the range 4G-2G ends before it starts", ""),
        (b"crashkernel=1G-8G:", "has no size at its end", ""),
        (b"crashkernel=0-:256M@x", "has no size at '@x'", ""),
        (b"crashkernel=0-:0", "covers this machine reserves nothing", "give 0- a size"),
        (b"crashkernel=0-:6G", "are not less than the 6 GiB of this machine", "smaller"),
        (b"crashkernel=1G-2G:8G,2G-:1G", "the 8 GiB of its range 1G-2G are not less", "smaller"),
        (b"crashkernel=1G-2G:1M;2G-:1M", "up to ';2G-:1M' covers", "put a comma"),
        (b"crashkernel=8G-:1M", "6 GiB (the first starts at 8G)", "0-8G:SIZE"),
        (b"crashkernel=16G-:1M,8G-16G:1M", "6 GiB (the first starts at 8G)", "0-8G:SIZE"),
        (b"crashkernel=1G-2G:1M,2G-4G:1M", "6 GiB (the last ends at 4G)", "4G-:SIZE"),
        (b"crashkernel=1G-6G:1M", "(the last ends at 6G)", "such as 6G-:SIZE"),
        (b"crashkernel=1G-2G:1M,8192M-:1M", "none between 2G and 8192M", "2G-8192M:SIZE"),
        (b"crashkernel=1G-2G:1M@16M", "the last ends at 2G", "2G-:SIZE"),
        (b"crashkernel=256M,low", "reserves nothing by itself", "crashkernel=256M,high"),
        (b"crashkernel=256M,cma", "reserves nothing by itself", "such as crashkernel=256M"),
        (b"crashkernel=256M,high crashkernel=x,low", "crashkernel=x,low has no size", ""),
        (b"crashkernel=256Mx,high", "is not understood from 'x,high' on", ""),
        (b"crashkernel=256M crashkernel=junk", "crashkernel=junk has no size", ""),
        (b"crashkernel=256M,high crashkernel=junk", "crashkernel=junk has no size", ""),
    ],
)
def test_what_is_wrong(line: bytes, text: str, advice: str) -> None:
    found = wanted(line, 6 * GIB, NEW)
    assert isinstance(found, Fault), found
    assert text in found.text
    assert advice in found.advice
    assert not found.absent


@pytest.mark.parametrize("line", [b"", b"ro quiet", b"crash_kernel=1M", b"crashkernel 1M"])
def test_there_may_be_no_such_word(line: bytes) -> None:
    found = wanted(line, GIB, NEW)
    assert isinstance(found, Fault)
    assert found.absent


def test_ram_is_rounded_up_before_a_range_is_chosen() -> None:
    """Firmware keeps some of a machine of 2 GiB, and the user counts 2 GiB."""
    line = b"crashkernel=1G-2G:64M,2G-:128M"
    for ram, size in ((2 * GIB - MIB, 128), (2 * GIB - 129 * MIB, 64), (GIB - 127 * MIB, 64)):
        found = wanted(line, ram, NEW)
        assert isinstance(found, Wanted)
        assert found.size == size * MIB


def test_kernels_before_cma_take_it_for_a_typo() -> None:
    line = b"crashkernel=256M crashkernel=1G,cma"
    found = wanted(line, 8 * GIB, WITHOUT_CMA)
    assert isinstance(found, Fault)
    assert "a kernel before Linux 6.17 takes its ,cma for a typo" in found.text


def test_older_x86_kernels_look_for_high_where_the_plain_word_is_wrong() -> None:
    line = b"crashkernel=256M,high crashkernel=junk"
    found = wanted(line, 8 * GIB, OLD_X86)
    assert isinstance(found, Wanted)
    assert found.high
    alone = wanted(b"crashkernel=junk", 8 * GIB, OLD_X86)
    assert isinstance(alone, Fault)
    assert "crashkernel=junk has no size" in alone.text


def test_older_arm64_kernels_know_no_suffix() -> None:
    found = wanted(b"crashkernel=256M,high", 8 * GIB, OLD_ARM64)
    assert isinstance(found, Fault)
    assert "crashkernel=256M,high is not known to this kernel" in found.text


def test_a_long_word_is_cut_in_messages() -> None:
    found = wanted(b"crashkernel=" + b"1G-2G:1M," * 400 + b"x", 8 * GIB, NEW)
    assert isinstance(found, Fault)
    assert len(found.text) < 160


def test_a_hostile_line_takes_no_time() -> None:
    start = time.monotonic()
    for line in (b"1G-2G:1M," * 1_000_000, b"9" * 10_000_000, b"crashkernel=" * 1_000_000):
        wanted(b"crashkernel=" + line, 8 * GIB, NEW)
    assert time.monotonic() - start < 2


RANGES = st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True).map(sorted)


@given(RANGES, st.integers(1, 100), st.booleans())
def test_lists_that_are_well_formed(ends: list[int], ram: int, is_open: bool) -> None:
    """A list of neighbouring ranges, each of a size of its own."""
    bounds: list[int | None] = [*ends, None] if is_open else [*ends]
    pairs = list(zip([0, *ends], bounds, strict=False))
    text = ",".join(f"{a}G-{b or ''}{'G' if b else ''}:{i + 1}M" for i, (a, b) in enumerate(pairs))
    found = wanted(f"crashkernel={text}".encode(), ram * GIB, NEW)
    matching = [i + 1 for i, (a, b) in enumerate(pairs) if a <= ram and (b is None or ram < b)]
    if matching:
        assert isinstance(found, Wanted)
        assert found.size == matching[0] * MIB
    else:
        assert isinstance(found, Fault)
        assert f"the last ends at {ends[-1]}G" in found.text


@given(st.binary(max_size=40), st.integers(0, 1 << 45), st.sampled_from([NEW, OLD_X86, OLD_ARM64]))
def test_any_line_is_read(value: bytes, ram: int, dialect: Dialect) -> None:
    found = wanted(b"ro crashkernel=" + value, ram, dialect)
    assert isinstance(found, Wanted | Fault)
    if isinstance(found, Wanted):
        assert found.size > 0
    else:
        assert found.text
