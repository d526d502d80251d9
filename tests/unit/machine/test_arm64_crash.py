"""Where an arm64 kernel has mapped itself and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.crash_facts import read_crash_facts
from pykexec.machine.description import Description
from pykexec.machine.files import MachineFiles
from pykexec.values.facts import CrashFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_kcore

CODE = Range(0x41610000, 0x43000000)
DATA = Range(0x43620000, 0x43A80000)
IMAGE_VADDR = 0xFFFFA6D1C0600000
"""_text of a kernel that KASLR has moved, 64 KiB in front of "Kernel code"."""
IMAGE = Range(0x41600000, 0x43A80000)
VOFFSET = IMAGE_VADDR - IMAGE.start


def iomem(*names: tuple[Range, str]) -> tuple[IomemEntry, ...]:
    entries = tuple(IomemEntry(where, name) for where, name in names)
    return (IomemEntry(Range(0x40000000, 0xC0000000), "System RAM", entries),)


IOMEM = iomem((CODE, "Kernel code"), (DATA, "Kernel data"))


def numbers(va_bits: int = 48, phys: int = 0x40000000, voffset: int = VOFFSET) -> dict[str, str]:
    return {
        "NUMBER(VA_BITS)": str(va_bits),
        "NUMBER(PHYS_OFFSET)": hex(phys),
        "NUMBER(kimage_voffset)": hex(voffset),
    }


def read(
    path: Path,
    found: dict[str, str] | None,
    *,
    text: int | None = IMAGE_VADDR,
    entries: tuple[IomemEntry, ...] = IOMEM,
) -> CrashFacts:
    if text is not None:
        MachineDirectory(path).write("proc/kallsyms", f"{text:016x} T _text\n")
    description = Description("aarch64", kcore=(), vmcoreinfo=found)
    return read_crash_facts(MachineFiles(path), description, entries, xen=False)


def test_image_and_direct_map(tmp_path: Path) -> None:
    facts = read(tmp_path, numbers())
    assert facts.kernel_text == IMAGE
    assert facts.kernel_text_vaddr == IMAGE_VADDR
    # PAGE_OFFSET of 48 bits is where PHYS_OFFSET is mapped.
    assert facts.page_offset_vaddr == 0xFFFF000000000000 - 0x40000000


def test_the_note_is_found_in_kcore(tmp_path: Path) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in numbers().items())
    note = f"OSRELEASE=6.12.0\nPAGESIZE=4096\n{lines}CRASHTIME=1\n"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kcore").write_bytes(build_kcore((), vmcoreinfo=note))
    assert read(tmp_path, None) == read(tmp_path, numbers())


@pytest.mark.parametrize("note", ["", "OSRELEASE=4.14.0\n"])
def test_a_kcore_that_does_not_say(tmp_path: Path, note: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kcore").write_bytes(build_kcore((), vmcoreinfo=note))
    assert read(tmp_path, None).page_offset_vaddr is None


def test_no_kcore(tmp_path: Path) -> None:
    assert read(tmp_path, None).kernel_text is None


def test_a_kernel_for_52_bits_on_a_processor_with_48(tmp_path: Path) -> None:
    # memstart_addr is lowered by the difference of the two PAGE_OFFSETs: it is negative.
    phys = (0x80000000 - 0xFFFF000000000000 + 0xFFF0000000000000) & (1 << 64) - 1
    facts = read(tmp_path, numbers(52, phys))
    assert facts.page_offset_vaddr is not None
    assert (0x80000000 + facts.page_offset_vaddr) & (1 << 64) - 1 == 0xFFFF000000000000


def test_before_the_address_space_was_turned_around(tmp_path: Path) -> None:
    old = 0xFFFF200008080000
    entries = iomem((Range(IMAGE.start, CODE.end), "Kernel code"), (DATA, "Kernel data"))
    facts = read(tmp_path, numbers(voffset=old - IMAGE.start), text=old, entries=entries)
    assert facts.page_offset_vaddr == 0xFFFF800000000000 - 0x40000000
    assert facts.kernel_text == IMAGE


def test_hidden_symbols_leave_the_headers_out(tmp_path: Path) -> None:
    facts = read(tmp_path, numbers(), text=None)
    assert facts.kernel_text == Range(CODE.start, IMAGE.end)
    assert facts.kernel_text_vaddr == CODE.start + VOFFSET


@pytest.mark.parametrize("missing", numbers())
def test_a_number_that_is_missing(tmp_path: Path, missing: str) -> None:
    found = numbers()
    del found[missing]
    assert read(tmp_path, found).page_offset_vaddr is None


def test_no_kernel_in_iomem(tmp_path: Path) -> None:
    assert read(tmp_path, numbers(), entries=iomem()).kernel_text is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"NUMBER(VA_BITS)": "0x"}, "=0x cannot be"),
        ({"NUMBER(VA_BITS)": "64"}, "=64 cannot be"),
        ({"NUMBER(PHYS_OFFSET)": "none"}, "=none cannot be"),
        ({"NUMBER(kimage_voffset)": "0x0"}, "not in front of its code"),
    ],
)
def test_numbers_that_cannot_be(tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    with pytest.raises(MachineError, match=message):
        read(tmp_path, {**numbers(), **wrong})
