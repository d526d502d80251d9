"""Why nothing is reserved for a crash kernel, on machines of many kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.crash.reservation import Shortfall, fault, objection, shortfall
from pykexec.crash.reservation_rules import installed_ram
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.device_trees import board, build_blob, wide


def machine(
    cmdline: bytes,
    *ram: Range,
    arch: str = "x86_64",
    release: str = "6.12.1",
    children: tuple[IomemEntry, ...] = (),
    others: tuple[IomemEntry, ...] = (),
) -> MachineFacts:
    """Return a machine with this RAM, what lies in it, and what lies beside it."""
    entries = [
        IomemEntry(item, "System RAM", tuple(c for c in children if item.contains(c.range)))
        for item in ram
    ]
    return MachineFacts(
        arch=arch,
        page_size=4096,
        iomem=tuple(sorted((*entries, *others), key=lambda entry: entry.range)),
        cmdline=cmdline,
        kernel=KernelState(release, crash_size=0),
    )


SMALL = (Range(MIB, 512 * MIB),)
PC = (Range(MIB, 3 * GIB), Range(4 * GIB, 9 * GIB))
KERNEL = IomemEntry(Range(16 * MIB, 48 * MIB), "Kernel code")
DEVICE = IomemEntry(Range(3 * GIB, 4 * GIB), "PCI Bus 0000:00")


@pytest.mark.parametrize(
    ("words", "ram", "text"),
    [
        (b"1G", SMALL, "crashkernel=1G asks for 1 GiB, more than the RAM of this machine, 511 MiB"),
        (b"511M", SMALL, "as much as the RAM of this machine"),
        (b"512M@64M", SMALL, "runs past the RAM: it would end at 0x24000000, and RAM ends at 0x2"),
        (b"64M@480M", SMALL, "runs past the RAM: it would end at 0x22000000"),
        (b"64M@32M", SMALL, "0x2000000-0x5ffffff, and 0x1000000-0x2ffffff is taken by 'Kernel c"),
        (b"512M@2816M", PC, "0xc0000000-0xffffffff is taken by 'PCI Bus 0000:00'"),
        (b"64M@65M", SMALL, "the offset 0x4100000 is no multiple of 16 MiB"),
        (b"64M@0", (Range(0, 32 * MIB), Range(64 * MIB, 96 * MIB)), "asks for 64 MiB, as much as"),
        (b"3G@16E", PC, "would fit this machine"),
        (b"256M@0xffffffffff000000", PC, "runs past the end of all addresses"),
        (b"6G", PC, "6 GiB in one piece, and the longest of RAM is 0x100000000-0x23fffffff, 5 GiB"),
        (b"0-1G:128M,1G-:7G", PC, "asks for 7 GiB in one piece"),
        (b"5G", PC, "would fit this machine"),
        (b"256M", SMALL, "would fit this machine"),
        (b"0-:256M", SMALL, "would fit this machine"),
        (b"2G-4G:320M,4G-32G:512M", SMALL, "of 512 MiB (the first starts at 2G)"),
    ],
)
def test_a_pc(words: bytes, ram: tuple[Range, ...], text: str) -> None:
    facts = machine(b"ro crashkernel=" + words, *ram, children=(KERNEL,), others=(DEVICE,))
    found = fault(facts)
    assert text in found.text
    assert found.advice


def test_a_hole_in_ram_is_told() -> None:
    facts = machine(b"crashkernel=64M@64M", Range(0, 96 * MIB), Range(112 * MIB, GIB))
    assert "would be 0x4000000-0x7ffffff, where not all is RAM" in fault(facts).text


@pytest.mark.parametrize(
    ("release", "word", "text"),
    [
        ("6.1.0-50", b"64M@65M", "would fit"),
        ("6.1.0-50", b"64M@66000K", "no multiple of 1 MiB"),
        ("6.7.0-1", b"64M@65M", "no multiple of 16 MiB"),
        ("6.16.9", b"256M crashkernel=1G,cma", "a kernel before Linux 6.17 takes its ,cma"),
        ("6.17.0", b"256M crashkernel=1G,cma", "would fit"),
        ("", b"256M crashkernel=1G,cma", "would fit"),
    ],
)
def test_the_age_of_the_kernel_counts(release: str, word: bytes, text: str) -> None:
    assert text in fault(machine(b"crashkernel=" + word, *PC, release=release)).text


def test_a_high_region_brings_a_low_one() -> None:
    """x86 takes 256 MiB below 4 GiB where nothing else is said, or more for a larger swiotlb."""
    little = (Range(MIB, 200 * MIB), Range(4 * GIB, 9 * GIB))
    found = fault(machine(b"crashkernel=512M,high", *little))
    assert "the 256 MiB below it that go with it (the kernel's default) have no room" in found.text
    assert "crashkernel=SIZE,low" in found.advice
    found = fault(machine(b"crashkernel=512M", *little))
    assert "goes above 0x100000000, and the 256 MiB below it" in found.text
    said = b"crashkernel=512M,high crashkernel=%dM,low"
    assert "would fit" in fault(machine(said % 72, *little)).text
    assert "the 300 MiB below it that go with it (,low)" in fault(machine(said % 300, *little)).text
    bounced = b"swiotlb=1048576 crashkernel=512M,high"
    more = (Range(MIB, GIB), Range(4 * GIB, 9 * GIB))
    assert "the 2 GiB below" in fault(machine(bounced, *more)).text.replace("2.0 GiB", "2 GiB")
    # Nothing is high without RAM there.
    assert "would fit" in fault(machine(b"crashkernel=64M,high", *SMALL)).text


def test_a_32_bit_kernel_reserves_below_512_mib() -> None:
    found = fault(machine(b"crashkernel=600M", Range(MIB, 3 * GIB), arch="i386"))
    assert "the longest of RAM below 0x20000000 is 0x1000000-0x1fffffff" in found.text


def test_arm64() -> None:
    board = Range(GIB, 3 * GIB)
    assert "no multiple of 2 MiB" in fault(
        machine(b"crashkernel=64M@1025M", board, arch="aarch64")
    ).text  # fmt: skip
    assert "not known to this kernel" in fault(
        machine(b"crashkernel=64M,high", board, arch="aarch64", release="5.10.1")
    ).text  # fmt: skip
    # RAM that begins above 4 GiB is low memory, for all devices that there are.
    high = Range(512 * GIB, 520 * GIB)
    assert "would fit" in fault(machine(b"crashkernel=1G", high, arch="aarch64")).text


def test_an_architecture_without_rules_here_is_judged_by_its_size_alone() -> None:
    split = (Range(0, GIB), Range(2 * GIB, 3 * GIB))
    facts = machine(b"crashkernel=1536M", *split, arch="riscv32")
    assert "would fit" in fault(facts).text
    assert "more than the RAM" in fault(replace(facts, cmdline=b"crashkernel=3G")).text


@pytest.mark.parametrize(
    "word",
    ["crashkernal=256M", "crash-kernel=256M", "crash_kernel=1G", "Crashkernel=1M", "crashkernel:1M",
     "crashkernl=1G", "crashkernel"],
)  # fmt: skip
def test_a_misspelt_word_is_found(word: str) -> None:
    found = fault(machine(f"ro {word} quiet".encode(), *PC))
    assert found.text == f"the kernel does not know {word!r}"


@pytest.mark.parametrize("word", ["crash_dump=1", "kernel=x", "crash_kexec_post_notifiers", "ro"])
def test_other_words_are_not_taken_for_it(word: str) -> None:
    assert fault(machine(word.encode(), *PC)).absent


def test_there_is_no_word() -> None:
    assert fault(machine(b"ro", *PC)).text == "the command line has no crashkernel="
    assert fault(machine(b"", *PC)).text == "/proc/iomem has no 'Crash kernel' region"


def test_of_several_words_the_last_is_said_to_count() -> None:
    found = fault(machine(b"crashkernel=256M crashkernel=20G", *PC))
    assert found.text.startswith("crashkernel=20G asks for 20 GiB, more than the RAM")
    assert found.text.endswith("(of 2 such words the last counts)")


def test_what_takes_ram_from_the_kernel_is_named() -> None:
    found = fault(machine(b"mem=512M crashkernel=1G", *SMALL))
    assert found.text.endswith("511 MiB (with mem=512M)")


def test_under_xen_the_word_may_be_ignored() -> None:
    facts = machine(b"crashkernel=256M", *PC)
    found = fault(replace(facts, kernel=replace(facts.kernel, xen=True)))
    assert "under Xen PV the kernel ignores crashkernel=" in found.text


def test_installed_ram_has_crash_regions_and_no_plugged_memory() -> None:
    facts = machine(
        b"",
        Range(0, GIB),
        others=(
            IomemEntry(Range(2 * GIB, 3 * GIB), "Crash kernel"),
            IomemEntry(Range(4 * GIB, 5 * GIB), "System RAM (kmem)"),
            IomemEntry(Range(6 * GIB, 7 * GIB), "System RAM (virtio_mem)"),
        ),
    )
    assert installed_ram(facts).size == 2 * GIB


def reserved(cmdline: bytes, *regions: Range) -> MachineFacts:
    children = tuple(IomemEntry(region, "Crash kernel") for region in regions)
    return machine(cmdline, Range(0, 3 * GIB), Range(4 * GIB, 12 * GIB), children=children)


@pytest.mark.parametrize(
    ("cmdline", "regions"),
    [
        (b"crashkernel=256M", (Range(GIB, GIB + 256 * MIB),)),
        (b"crashkernel=1G-:256M", (Range(GIB, GIB + 256 * MIB),)),
        (b"crashkernel=auto", (Range(GIB, GIB + 200 * MIB),)),
        (b"crashkernel=512M,high", (Range(GIB, GIB + 256 * MIB), Range(5 * GIB, 5 * GIB + GIB))),
        (b"", (Range(GIB, GIB + 200 * MIB),)),
    ],
)
def test_what_is_reserved_as_asked_for(cmdline: bytes, regions: tuple[Range, ...]) -> None:
    assert shortfall(reserved(cmdline, *regions)) is None


def test_a_region_is_not_in_its_own_way() -> None:
    there = reserved(b"crashkernel=256M@1G", Range(GIB, GIB + 256 * MIB))
    assert objection(there) is None
    assert shortfall(there) is None


def test_what_was_made_smaller() -> None:
    found = shortfall(reserved(b"crashkernel=512M", Range(GIB, GIB + 256 * MIB)))
    assert found == Shortfall("crashkernel=512M", 512 * MIB, 256 * MIB)
    low, high = Range(GIB, GIB + 256 * MIB), Range(5 * GIB, 5 * GIB + 128 * MIB)
    found = shortfall(reserved(b"crashkernel=512M,high", low, high))
    assert found == Shortfall("crashkernel=512M,high", 512 * MIB, 128 * MIB)


LOWMEM = Range(0x40000000, 0x60000000)
ARM_KERNEL = (
    IomemEntry(Range(0x40208000, 0x41A00000), "Kernel code"),
    IomemEntry(Range(0x41C00000, 0x41EB6EC4), "Kernel data"),
)
INITRD = Range(0x48000000, 0x48800000)


def arm(words: bytes, ram: Range = LOWMEM, cma: int | None = None) -> MachineFacts:
    """QEMU's virt board, as Debian's kernels find it there."""
    told = {"linux,initrd-start": wide(INITRD.start), "linux,initrd-end": wide(INITRD.end)}
    found = machine(b"crashkernel=" + words, ram, arch="arm", children=ARM_KERNEL)
    return replace(
        found,
        device_tree=build_blob(board(told, memory=[(ram.start, ram.size)])),
        kernel=replace(found.kernel, memory_cma=cma),
    )


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        # 7.2, with 128 MiB for contiguous allocations: seen to reserve nothing.
        (
            arm(b"128M", cma=128 * MIB),
            "below 0x60000000 that is free by then is 0x50000000-0x57bfffff, 124 MiB",
        ),
        (arm(b"256M", cma=16 * MIB), "asks for 256 MiB in one piece"),
        # 6.1, and the same with more memory: seen to reserve them.
        (arm(b"128M", cma=16 * MIB), None),
        (arm(b"128M", Range(0x40000000, 0x70000000), cma=128 * MIB), None),
        (arm(b"128M", Range(0x40000000, 0x80000000), cma=128 * MIB), None),
        # Ranges count what is mapped for good alone.
        (arm(b"1G-:64M", Range(0x40000000, 0x80000000)), "covers this machine of 768 MiB"),
        (arm(b"768M-:64M", Range(0x40000000, 0x80000000)), None),
    ],
)
def test_what_a_kernel_of_32_bit_arm_has_taken_by_then(
    facts: MachineFacts, text: str | None
) -> None:
    found = objection(facts)
    assert (found is None) is (text is None), found
    if found is not None and text is not None:
        assert text in found.text
        assert len(found.advice) < 160


def test_where_contiguous_areas_can_be_made_smaller() -> None:
    found = objection(arm(b"128M", cma=128 * MIB))
    assert found is not None
    assert found.advice.startswith("give a smaller size, or cma=16M beside it for more room; ")


Z = (Range(0, 4 * GIB),)
IN_PIECES = (Range(0, 256 * MIB), Range(512 * MIB, 4 * GIB))


@pytest.mark.parametrize(
    ("words", "ram", "text"),
    [
        (b"2G", Z, "would fit this machine"),
        (b"3G", Z, "and the longest of RAM there is 0xc0000000-0xffffffff, 1 GiB"),
        (b"3G", Z, "asks for 3 GiB above as much memory, with which a crash kernel changes"),
        (b"512M@512M", Z, "would fit this machine"),
        (b"512M@511M", Z, "would begin at 0x1ff00000, within the 512 MiB that it is to change"),
        (b"256M", IN_PIECES, "would fit this machine"),
        (
            b"257M",
            IN_PIECES,
            "the first stretch of RAM, with which a crash kernel changes places, has 256",
        ),
    ],
)
def test_a_region_that_changes_places(words: bytes, ram: tuple[Range, ...], text: str) -> None:
    """Linux arch/s390/kernel/setup.c, "reserve_crashkernel"."""
    found = fault(machine(b"ro crashkernel=" + words, *ram, arch="s390x"))
    assert text in found.text
    assert found.advice
