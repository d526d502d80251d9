"""What an s390x kernel leaves for the one that captures its crash, whole and damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pykexec.crash.s390x.os_info import checksum, read_os_info
from pykexec.doctor import Level
from pykexec.doctor.checks import check_capture
from pykexec.errors import ImageError, MachineError
from pykexec.machine.files import MachineFiles
from pykexec.machine.kcore import physical_reader
from pykexec.machine.s390x import capture_fault
from pykexec.values.elf_headers import ELF64_BIG, PT_LOAD, ElfHeader, ProgramHeader
from pykexec.values.ranges import Range

PAGE = 4096
AT, NOTE_AT, BLOCK_AT = 0x5000, 0x7000, 0x8010
NOTE, BLOCK = b"OSRELEASE=6.12\n", bytes(range(200))
MEMORY = 16 * PAGE


def cksm(data: bytes) -> int:
    """Add words as the instruction does, one after the other, with its carry."""
    total = 0
    for at in range(0, len(data), 4):
        total += int.from_bytes(data[at : at + 4].ljust(4, b"\0"), "big")
        total = total % (1 << 32) + total // (1 << 32)
    return total


def build(
    *,
    pointer: int = AT,
    magic: bytes = b"OSINFOSZ",
    major: int = 1,
    region: tuple[int, int] = (0x10000000, 0x8000000),
    entries: tuple[tuple[int, bytes], ...] = ((NOTE_AT, NOTE), (BLOCK_AT, BLOCK)),
    size: int | None = None,
) -> bytearray:
    """Build the first pages of such a kernel's memory, from address 0 on."""
    memory = bytearray(MEMORY)
    memory[0xE18:0xE20] = struct.pack(">Q", pointer)
    page = struct.pack(">HHQQ", major, 1, *region)
    for where, data in entries:
        memory[where : where + len(data)] = data
        told = len(data) if size is None else size
        page += struct.pack(">QQI", where, told if where else 0, cksm(data) if where else 0)
    page = page.ljust(PAGE - 12, b"\0")
    memory[AT : AT + PAGE] = magic + struct.pack(">I", cksm(page)) + page
    return memory


def reader(memory: bytearray) -> Callable[[int, int], bytes]:
    """Return what reads it."""
    return lambda address, size: bytes(memory[address : address + size])


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 12, b"\xff\xff\xff\xff\0\0\0\1\5", bytes(range(99))]
)
def test_the_checksum(data: bytes) -> None:
    assert checksum(data) == cksm(data)


def test_what_a_kernel_leaves() -> None:
    found = read_os_info(reader(build()))
    assert found.version == (1, 1)
    assert found.crash_region == Range(0x10000000, 0x18000000)
    assert found.contents == (
        ("VMCOREINFO", Range.sized(NOTE_AT, len(NOTE))),
        ("the re-IPL block", Range.sized(BLOCK_AT, len(BLOCK))),
    )
    assert found.missing == ()


def test_what_is_not_there_is_no_fault() -> None:
    """Since Linux 6.10 a kernel leaves VMCOREINFO in the lowcore alone."""
    found = read_os_info(reader(build(region=(0, 0), entries=((0, b""), (BLOCK_AT, BLOCK)))))
    assert found.crash_region is None
    assert found.missing == ("VMCOREINFO",)


def damaged(at: int) -> bytearray:
    memory = build()
    memory[at] ^= 1
    return memory


FAULTS = [
    pytest.param(build(pointer=0), "the lowcore has no address of os_info, but 0x0", id="none"),
    pytest.param(build(pointer=AT + 8), "no address of os_info, but 0x5008", id="unaligned"),
    pytest.param(build(pointer=0x6000), "there is no os_info at 0x6000", id="elsewhere"),
    pytest.param(build(magic=b"OSINFOSX"), "there is no os_info at 0x5000", id="magic"),
    pytest.param(damaged(AT + 0x20), "os_info at 0x5000 has the checksum", id="page"),
    pytest.param(build(major=2), "os_info is of version 2.1, 1 is known", id="version"),
    pytest.param(damaged(NOTE_AT), "VMCOREINFO at 0x7000-0x700e has the checksum", id="note"),
    pytest.param(damaged(BLOCK_AT + 199), "the re-IPL block at 0x8010", id="block"),
    pytest.param(build(size=0), "os_info has 0 bytes at 0x7000 for VMCOREINFO", id="empty"),
    pytest.param(build(size=2 << 20), "os_info has 2097152 bytes at 0x7000", id="huge"),
]


@pytest.mark.parametrize(("memory", "words"), FAULTS)
def test_what_is_damaged(memory: bytearray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_os_info(reader(memory))


def write_kcore(path: Path, memory: bytearray) -> None:
    """Write what such a kernel shows of its memory, in big endian."""
    header = ElfHeader(4, 22, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = ProgramHeader(PT_LOAD, 7, PAGE, 1 << 40, 0, len(memory), len(memory), 0)
    data = ELF64_BIG.pack_header(header) + ELF64_BIG.pack(load)
    (path / "proc").mkdir(exist_ok=True)
    (path / "proc/kcore").write_bytes(data.ljust(PAGE, b"\0") + memory)


@pytest.mark.parametrize(("memory", "words"), [pytest.param(build(), "", id="whole"), *FAULTS])
def test_the_running_kernel_is_looked_at(tmp_path: Path, memory: bytearray, words: str) -> None:
    write_kcore(tmp_path, memory)
    found = capture_fault(MachineFiles(tmp_path))
    assert found is not None
    assert words in found
    finding = check_capture(found)
    assert finding.level is (Level.RISK if words else Level.FINE)
    assert words in finding.text


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    """No /proc/kcore, or one that does not have that memory."""
    assert capture_fault(MachineFiles(tmp_path)) is None
    write_kcore(tmp_path, bytearray(PAGE // 2))
    assert capture_fault(MachineFiles(tmp_path)) is None
    with (
        physical_reader(MachineFiles(tmp_path)) as read,
        pytest.raises(MachineError, match="has no 8 bytes at 0xe18"),
    ):
        read(0xE18, 8)
