"""What a capture kernel's command line takes of its memory, word by word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.crash.capture_words import CaptureWords, bounce_buffers, capture_cpus
from pykexec.crash.huge_pages import HugePages, huge_pages, hugetlb_cma
from pykexec.crash.terms import Counts
from pykexec.values.command_line import parameters
from pykexec.values.units import GIB, KIB, MIB


def words(cmdline: bytes, **more: Any) -> CaptureWords:
    given: dict[str, Any] = {"arch": "x86_64", "page_size": 4096, "cpus": 1}
    return CaptureWords(cmdline, **{**given, "memory": 512 * MIB, **more})


def sizes(cmdline: bytes, **more: Any) -> dict[str, int]:
    return {term.name: term.size for term in words(cmdline, **more).terms()}


@pytest.mark.parametrize(
    ("line", "pages"),
    [
        (b"", []),
        (b"hugepages=400", [(2 * MIB, 400)]),
        (b"hugepagesz=2M hugepages=400", [(2 * MIB, 400)]),
        (b"hugepagesz=1G hugepages=2", [(GIB, 2)]),
        (b"default_hugepagesz=1G hugepages=2", [(GIB, 2)]),
        (b"hugepages=2 default_hugepagesz=1G", [(GIB, 2)]),
        (b"hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=5", [(GIB, 2), (2 * MIB, 5)]),
        # A size alone sets nothing aside, nor does a count of none.
        (b"hugepagesz=1G", []),
        (b"hugepagesz=1G hugepages=0", []),
        # By nodes.
        (b"hugepages=0:512,1:512", [(2 * MIB, 1024)]),
        (b"hugepagesz=1G hugepages=1:3", [(GIB, 3)]),
        (b"hugepages=0:512,junk", []),
        # A size that the machine does not have takes its count with it, and no other.
        (b"hugepagesz=3M hugepages=7 hugepagesz=2M hugepages=5", [(2 * MIB, 5)]),
        (b"hugepagesz=16M hugepages=7 hugepages=5", [(2 * MIB, 5)]),
        # The second of two in a row is passed over, and so is a size for the second time.
        (b"hugepages=5 hugepages=6", [(2 * MIB, 5)]),
        (b"hugepagesz=1G hugepages=5 hugepages=6", [(GIB, 5)]),
        (b"hugepagesz=1G hugepages=1 hugepagesz=1G hugepages=9", [(GIB, 1)]),
        (b"default_hugepagesz=1G hugepagesz=1G hugepages=3", [(GIB, 3)]),
        # hugetlbpage.rst: an implicit count cannot be overwritten by a pair for that size.
        (b"hugepages=256 hugepagesz=2M hugepages=512", [(2 * MIB, 256)]),
        (b"hugepages=junk", []),
        (b"hugepages=12junk", [(2 * MIB, 12)]),
        (b'hugepages="12"', [(2 * MIB, 12)]),
        (b"-- hugepages=400", []),
        (b"xhugepages=400", []),
    ],
)
def test_huge_pages(line: bytes, pages: list[tuple[int, int]]) -> None:
    found = huge_pages(parameters(line), "x86_64", 4096)
    assert sorted(found, key=lambda item: -item.page) == sorted(
        (HugePages(*item) for item in pages), key=lambda item: -item.page
    )


@pytest.mark.parametrize(
    ("arch", "page_size", "page"),
    [
        ("x86_64", 4096, 2 * MIB),
        ("i386", 4096, 4 * MIB),
        ("aarch64", 4096, 2 * MIB),
        ("aarch64", 16384, 32 * MIB),
        ("aarch64", 65536, 512 * MIB),
        ("loongarch64", 16384, 32 * MIB),
    ],
)
def test_the_default_size_is_the_machines(arch: str, page_size: int, page: int) -> None:
    assert huge_pages([("hugepages", b"3")], arch, page_size) == (HugePages(page, 3),)


def test_gigantic_pages_are_there_before_the_root_file_system() -> None:
    line = b"hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=1"
    counts = {term.size: term.counts for term in words(line).terms()}
    assert counts == {GIB: Counts.EARLY | Counts.RUNNING, 2 * MIB: Counts.RUNNING}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (b"2G", 2 * GIB),
        (b"1536M", 2 * GIB),
        (b"512M", 0),
        (b"0", 0),
        (b"0:1G,1:2G", 3 * GIB),
        (b"", 0),
        (b"junk", 0),
    ],
)
def test_huge_pages_from_cma(value: bytes, size: int) -> None:
    assert hugetlb_cma(value, "x86_64", 4096) == size
    assert sizes(b"hugetlb_cma=" + value) == ({"huge pages, CMA": size} if size else {})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"log_buf_len=256M", 256 * MIB),
        (b"log_buf_len=200M", 256 * MIB),
        (b"log-buf-len=1M", MIB),
        (b"log_buf_len=1M log_buf_len=4M", 4 * MIB),
        (b"log_buf_len=4M log_buf_len=16K", 4 * MIB),
        (b"log_buf_len=64K", 0),
        (b"log_buf_len=junk", 0),
        (b"log_buf_len=1T", 2 * GIB),
    ],
)
def test_the_log_and_what_finds_its_records(line: bytes, text: int) -> None:
    """Newer kernels say at boot: "log buffer data + meta data: 262144 + 917504 = 1179648 bytes"."""
    assert 262144 + 917504 == 262144 * 9 // 2
    assert sizes(line) == ({"kernel log": text * 9 // 2} if text else {})
    assert sizes(line, release="5.9.16") == ({"kernel log": text} if text else {})


@pytest.mark.parametrize(
    ("cpus", "text"), [(1, 0), (17, 0), (18, 256 * KIB), (64, 512 * KIB), (1024, 8 * MIB)]
)
def test_the_log_grows_with_processors(cpus: int, text: int) -> None:
    term = words(b"", cpus=cpus).grown_log()
    assert (term.size if term is not None else 0) == text * 9 // 2
    assert words(b"log_buf_len=1M", cpus=cpus).grown_log() is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"cma=64M", {"CMA": 64 * MIB}),
        (b"cma=64M@0-4G", {"CMA": 64 * MIB}),
        (b"cma=0", {}),
        (b"cma_pernuma=16M", {"CMA": 16 * MIB}),
        (b"numa_cma=0:1G,1:1G", {"CMA": 2 * GIB}),
        (b"reserve_mem=4M:4096:a reserve_mem=2M:4096:b", {"reserved areas": 6 * MIB}),
        (b"trace_event=sched:*", {"trace buffers": 1408 * KIB}),
        (b"ftrace=function trace_buf_size=10M", {"trace buffers": 10 * MIB}),
        (b"trace_buf_size=10M", {}),
        (b"page_owner=on", {"page owners": 512 * MIB // 4096 * 72}),
        (b"page_owner=off", {}),
        (b"coherent_pool=64M", {}),
        (b"crashkernel=64M", {"crash kernel": 64 * MIB}),
        (b"crashkernel=0-1G:96M,1G-:256M", {"crash kernel": 96 * MIB}),
        (b"crashkernel=600M", {}),
        (b"quiet ro movable_node novmcoredd", {}),
    ],
)
def test_other_words(line: bytes, expected: dict[str, int]) -> None:
    assert sizes(line) == expected


def test_words_of_one_architecture_or_for_each_processor() -> None:
    assert sizes(b"coherent_pool=64M", arch="aarch64") == {"atomic DMA pool": 64 * MIB}
    assert sizes(b"trace_event=x", cpus=4) == {"trace buffers": 4 * 1408 * KIB}


@pytest.mark.parametrize("word", ["slub_debug", "slub_debug=FZPU", "slab_debug=U", "kmemleak=on"])
def test_what_cannot_be_counted_is_named(word: str) -> None:
    found = words(f"ro {word} {word}".encode()).notes()
    assert found == (f"{word.partition('=')[0]}: takes more, not counted here",)


@pytest.mark.parametrize(
    ("line", "cpus", "size", "forced"),
    [
        (b"", 1, 64 * MIB, False),
        (b"", 512, 128 * MIB, False),
        (b"swiotlb=65536", 1, 128 * MIB, False),
        (b"swiotlb=70000", 1, 256 * MIB, False),
        (b"swiotlb=0x10000,4,force", 1, 128 * MIB, True),
        (b"swiotlb=,1024,force", 1, 256 * MIB, True),
        (b"swiotlb=force", 1, 64 * MIB, True),
        (b"swiotlb=65536,noforce", 1, 0, False),
        (b"swiotlb=junk", 1, 64 * MIB, False),
        (b"swiotlb=0", 1, 64 * MIB, False),
    ],
)
def test_bounce_buffers(line: bytes, cpus: int, size: int, forced: bool) -> None:
    found = bounce_buffers(line, cpus)
    assert (found.size, found.forced) == (size, forced)


NAMES = st.sampled_from(
    ["hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "log_buf_len", "cma",
     "nr_cpus", "numa_cma", "swiotlb", "reserve_mem", "trace_event", "trace_buf_size",
     "crashkernel", "x"]
)  # fmt: skip
VALUES = (
    st.integers(0, 1 << 70).map(str)
    | st.sampled_from(["1G", "2M", "0:1,1:2", "9" * 5000, "0x" + "f" * 5000, "", '"', "1:", "-1"])
    | st.text("0123456789:,@KMGxk-", max_size=12)
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.sampled_from(["x86_64", "i386", "s390x"]))
def test_any_line_is_reckoned(pairs: list[tuple[str, str]], arch: str) -> None:
    line = " ".join(f"{name}={value}" for name, value in pairs).encode()
    assert all(0 < term.size <= 1 << 50 for term in words(line, arch=arch).terms())
    assert bounce_buffers(line).size >= 0
    assert 1 <= capture_cpus(line, 8)[0] <= 8
