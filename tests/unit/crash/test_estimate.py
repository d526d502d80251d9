"""What a capture kernel needs against what is reserved, term by term."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.crash.capture_words import SWIOTLB, capture_cpus, tmpfs_share
from pykexec.crash.estimate import (
    EARLY,
    HANDOVER,
    PER_CPU,
    RUNTIME,
    USER_SPACE,
    Capture,
    Check,
    Estimate,
    estimate,
    page_structures,
)
from pykexec.formats.initramfs import InitramfsSize
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, KIB, MIB

REGION = Range(512 * MIB, 768 * MIB)
LOW = Range(512 * MIB, 640 * MIB)
HIGH = Range(5 * GIB, 5 * GIB + 256 * MIB)
CAPTURE = Capture(
    arch="x86_64",
    page_size=4096,
    kernel_size=50 * MIB,
    kernel_source="init_size of the kernel",
    initrd_size=10 * MIB,
    initramfs=InitramfsSize(archives=1, entries=1024, content=39 * MIB, pages=40 * MIB),
    cmdline=b"nr_cpus=1",
    cpus=8,
    regions=(REGION,),
    elfcorehdr_size=MIB,
)
PAGES = 3 * 2 * MIB
"""The first section of 128 MiB and the two of the region, 2 MiB for each."""
EARLY_SUM = 50 * MIB + 10 * MIB + MIB + HANDOVER + PAGES + EARLY
ALWAYS = EARLY_SUM - 10 * MIB + 41 * MIB + PER_CPU + RUNTIME


def check(found: Estimate, name: str) -> Check:
    return next(item for item in found.checks if item.name == name)


def test_the_two_tight_moments() -> None:
    found = estimate(CAPTURE)
    assert check(found, "unpacking").needed == ALWAYS + 10 * MIB
    assert check(found, "dumping").needed == ALWAYS + USER_SPACE
    assert {item.found for item in found.checks if item.name != "root file system"} == {256 * MIB}
    assert found.fits
    assert found.reserved == REGION.size


def test_the_root_file_system_takes_half_of_what_is_free_when_it_is_mounted() -> None:
    """Linux 6.12 of Debian in a guest of 523768 KiB limited it to 209704 KiB."""
    root = check(estimate(CAPTURE), "root file system")
    assert (root.needed, root.found) == (40 * MIB, (256 * MIB - EARLY_SUM) // 2)
    guest = replace(
        CAPTURE,
        kernel_size=45056 * KIB,
        initrd_size=48188 * KIB,
        regions=(Range(0, 523768 * KIB),),
        elfcorehdr_size=0,
    )
    predicted = check(estimate(guest), "root file system").found
    assert 0.98 * 209704 * KIB < predicted <= 209704 * KIB


def test_the_root_file_system_alone_may_be_what_does_not_fit() -> None:
    size = 100 * MIB
    content = InitramfsSize(archives=1, entries=0, content=size, pages=size)
    found = estimate(replace(CAPTURE, initramfs=content, regions=(Range(0, 270 * MIB),)))
    assert [item.name for item in found.checks if not item.holds] == ["root file system"]
    assert not found.fits
    wider = estimate(
        replace(
            CAPTURE,
            initramfs=content,
            regions=(Range(0, 270 * MIB),),
            cmdline=b"nr_cpus=1 initramfs_options=size=90%",
        )
    )
    assert wider.fits
    without = estimate(replace(CAPTURE, initramfs=content, cmdline=b"root=/dev/vda1"))
    assert "root file system" not in {item.name for item in without.checks}
    assert without.notes == ("root file system: no limit, with root= it is a ramfs",)


@pytest.mark.parametrize("regions", [(), (Range.sized(GIB, 16 * MIB),)])
@pytest.mark.parametrize("pages", [0, 40 * MIB, 200 * MIB])
def test_what_is_proposed_fits(pages: int, regions: tuple[Range, ...]) -> None:
    content = InitramfsSize(archives=1, entries=100, content=pages, pages=pages)
    capture = replace(CAPTURE, initramfs=content, regions=regions)
    found = estimate(capture)
    assert not found.fits
    word = found.proposal.removeprefix("crashkernel=").removesuffix("M")
    proposed = Range.sized(512 * MIB, int(word) * MIB)
    assert estimate(replace(capture, regions=(proposed,))).fits
    less = replace(capture, regions=(Range(512 * MIB, proposed.end - 32 * MIB),))
    assert not estimate(less).fits


def test_where_nothing_is_reserved_there_is_nothing_to_compare() -> None:
    found = estimate(replace(CAPTURE, regions=()))
    assert (found.fits, found.reserved, found.checks) == (False, 0, ())


def test_a_high_region_needs_a_low_part_for_dma() -> None:
    alone = estimate(replace(CAPTURE, regions=(HIGH,)))
    dma = check(alone, "DMA")
    assert (dma.needed, dma.found, dma.holds) == (72 * MIB, 0, False)
    assert alone.proposal.endswith("M,high crashkernel=80M,low")
    both = estimate(replace(CAPTURE, regions=(LOW, HIGH)))
    assert both.fits
    assert check(both, "segments").found == HIGH.size
    assert check(both, "DMA").found == LOW.size
    assert SWIOTLB in {item.size for item in both.terms if item.name == "DMA buffers"}
    bounced = replace(CAPTURE, regions=(HIGH,), cmdline=b"nr_cpus=1 swiotlb=noforce")
    assert "DMA" not in {item.name for item in estimate(bounced).checks}


def test_segments_must_fit_into_one_region() -> None:
    found = estimate(replace(CAPTURE, regions=(Range(0, 512 * MIB), Range.sized(GIB, 60 * MIB))))
    assert [item.name for item in found.checks if not item.holds] == ["segments"]


def test_without_an_initrd() -> None:
    found = estimate(replace(CAPTURE, initramfs=None, initrd_size=0))
    assert not any("initramfs" in item.name for item in found.terms)
    assert {item.name for item in found.checks} == {"unpacking", "dumping", "segments"}


@pytest.mark.parametrize(
    ("cmdline", "count", "source"),
    [
        (b"", 8, "all 8; nr_cpus=1 would spare the others"),
        (b"nr_cpus=1", 1, "1, by nr_cpus=1"),
        (b"nr_cpus=2 nr_cpus=4", 4, "4, by nr_cpus=4"),
        (b"nr_cpus=64", 8, "8, by nr_cpus=64"),
        (b"maxcpus=1", 8, "all 8; nr_cpus=1 would spare the others"),
        (b"nr_cpus=0 nr_cpus=x", 8, "all 8; nr_cpus=1 would spare the others"),
    ],
)
def test_processors(cmdline: bytes, count: int, source: str) -> None:
    assert capture_cpus(cmdline, 8) == (count, source)


def test_a_machine_with_one_processor_has_none_to_spare() -> None:
    assert capture_cpus(b"", 1) == (1, "1")


@pytest.mark.parametrize(
    ("cmdline", "share"),
    [
        (b"", 50),
        (b"root=/dev/vda1", None),
        (b"root=/dev/vda1 rootfstype=tmpfs", 50),
        (b"rootfstype=ramfs", None),
        (b"initramfs_options=size=75%", 75),
        (b"initramfs_options=mode=755,size=90%", 90),
        (b"initramfs_options=size=900%", 50),
        (b"initramfs_options=size=64m", 50),
    ],
)
def test_the_share_of_the_root_file_system(cmdline: bytes, share: int | None) -> None:
    assert tmpfs_share(cmdline)[0] == share


@pytest.mark.parametrize(
    ("words", "short"),
    [
        (b"hugepagesz=2M hugepages=100", {"unpacking", "dumping"}),
        (b"hugepages=0:50,1:50", {"unpacking", "dumping"}),
        (b"log_buf_len=64M", {"unpacking", "dumping", "root file system"}),
        (b"cma=200M", {"unpacking", "dumping", "root file system"}),
        (b"hugetlb_cma=1G", {"unpacking", "dumping", "root file system"}),
        (b"hugepages=4 log_buf_len=1M slub_debug", set()),
    ],
)
def test_what_a_command_line_takes_counts(words: bytes, short: set[str]) -> None:
    found = estimate(replace(CAPTURE, cmdline=b"nr_cpus=1 " + words))
    assert {item.name for item in found.checks if not item.holds} == short
    taken = sum(term.size for term in found.by_words)
    assert check(found, "dumping").needed == ALWAYS + USER_SPACE + taken
    assert found.fits is not bool(short)
    assert any("spare it what its command line asks for" in hint for hint in found.hints) is bool(
        short
    )
    assert found.notes == (
        ("slub_debug: takes more, not counted here",) if b"slub" in words else ()
    )


def test_more_than_any_machine_has_is_no_trouble() -> None:
    found = estimate(replace(CAPTURE, cmdline=b"hugepages=99999999999999999999 page_owner=on"))
    assert not found.fits
    assert found.proposal.startswith("crashkernel=11")


def test_many_processors_make_the_log_grow() -> None:
    found = estimate(replace(CAPTURE, cpus=64, cmdline=b""))
    assert next(term.size for term in found.terms if term.name == "kernel log") == 2304 * KIB
    assert found.by_words == ()


def test_forced_bounce_buffers_count_also_where_all_memory_can_be_reached() -> None:
    forced = estimate(replace(CAPTURE, cmdline=b"nr_cpus=1 swiotlb=65536,force"))
    assert {item.size for item in forced.terms if item.name == "DMA buffers"} == {2 * SWIOTLB}
    assert "DMA" not in {item.name for item in forced.checks}


@pytest.mark.parametrize(
    ("arch", "page_size", "size"),
    [
        ("x86_64", 4096, 3 * 2 * MIB),
        ("aarch64", 65536, 2 * 512 * KIB),
        ("ppc64le", 65536, 17 * 16 * KIB),
        ("loongarch64", 16384, 2 * 2 * MIB),
    ],
)
def test_page_structures_come_by_whole_sections(arch: str, page_size: int, size: int) -> None:
    assert page_structures([REGION], arch, page_size)[0] == size


@pytest.mark.parametrize(
    ("arch", "cmdline", "size"),
    [
        ("x86_64", b"", 0),
        ("loongarch64", b"", 64 * MIB),
        ("loongarch64", b"swiotlb=8192", 16 * MIB),
        ("loongarch64", b"swiotlb=noforce", 0),
    ],
)
def test_some_kernels_make_bounce_buffers_wherever_memory_is(
    arch: str, cmdline: bytes, size: int
) -> None:
    capture = replace(CAPTURE, arch=arch, page_size=16384, cmdline=cmdline, regions=(LOW,))
    assert capture.bounced == size


def test_a_region_across_sections_costs_each_of_them() -> None:
    straddling = Range(REGION.start - MIB, REGION.end - MIB)
    assert page_structures([straddling], "x86_64", 4096)[0] == 4 * 2 * MIB


@given(
    st.integers(0, 1 << 32),
    st.integers(0, 1 << 32),
    st.integers(1, 4096),
    st.sampled_from([(), (REGION,), (LOW, HIGH), (HIGH,)]),
)
def test_more_to_hold_never_needs_less(
    kernel: int, pages: int, cpus: int, regions: tuple[Range, ...]
) -> None:
    content = InitramfsSize(archives=1, entries=1, content=pages, pages=pages)
    capture = replace(CAPTURE, initramfs=content, kernel_size=kernel, cpus=cpus, regions=regions)
    more = replace(capture, kernel_size=kernel + MIB, initrd_size=capture.initrd_size + MIB)
    for less_needed, more_needed in zip(
        estimate(capture).checks, estimate(more).checks, strict=True
    ):
        assert less_needed.needed <= more_needed.needed
        assert less_needed.found >= more_needed.found
