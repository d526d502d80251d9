"""Cores, dumps and addresses, down to the exit codes of damaged ones."""

from __future__ import annotations

import struct

import pytest

from pykexec.crash import arm64, x86
from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.elf_core import ElfCore, VmcoreInfo
from pykexec.crash.makedumpfile import FlattenedFile
from pykexec.crash.vmcore import open_core
from pykexec.crash.vmcore_dmesg import dmesg
from pykexec.formats.compression import Codec
from tests.builders.compressed import compress
from tests.builders.vmcore import (
    PADDR,
    PAGE,
    XEN_TABLE,
    Memory,
    Record,
    elf_core,
    flatten,
    kdump,
    legacy,
    lockless,
    lzo_page,
    xen_core,
)


class Bytes:
    """A core in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


RECORDS = [Record(b"one"), Record(b"two" * 20), Record(b"three")]
LINES = b"".join(b"[    0.001234] " + record.text + b"\n" for record in RECORDS)


def log_of(core: bytes) -> bytes:
    return b"".join(dmesg(open_core(Bytes(core))))


def refused(core: bytes) -> VmcoreError:
    with pytest.raises(VmcoreError) as caught:
        log_of(core)
    return caught.value


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("large", [False, True])
def test_a_compressed_dump_is_read_through_the_page_tables(levels: int, large: bool) -> None:
    core = kdump(lockless(RECORDS), levels=levels, large=large)
    assert log_of(core) == LINES
    assert log_of(flatten(core)) == LINES


def test_a_compressed_dump_in_big_endian() -> None:
    """Of s390x, by the maps that VMCOREINFO tells of: the log lies in the kernel's image."""
    memory = lockless(RECORDS, order=">")
    memory.info |= {
        "KERNELOFFSET": f"{memory.base - PADDR:x}",
        "KERNELOFFPHYS": "0",
        "IDENTITYBASE": "0",
    }
    core = kdump(memory, machine="s390x")
    assert log_of(core) == LINES
    assert log_of(flatten(core)) == LINES
    found = open_core(Bytes(core))
    assert (found.layout.byte_order, found.layout.machine, found.layout.word) == (">", 22, 8)
    # Where all memory is mapped from 1 TiB on, its first page is there too.
    memory.info["IDENTITYBASE"] = "10000000000"
    assert open_core(Bytes(kdump(memory, machine="s390x"))).read(0x10000000000 + PADDR, 4) == bytes(
        memory.data[:4]
    )


def test_a_dump_compressed_with_lzo() -> None:
    assert log_of(kdump(lockless(RECORDS), compress=lzo_page)) == LINES


def test_a_damaged_lzo_page() -> None:
    error = refused(kdump(lockless([]), compress=lambda page: (b"\x15abc", 2)))
    assert "the LZO stream is cut" in error.message
    assert error.exit_code == 65


def test_a_dump_compressed_with_zstd() -> None:
    def zstd_page(page: bytes) -> tuple[bytes, int]:
        return compress(Codec.ZSTD, page), 0x20

    assert log_of(kdump(lockless(RECORDS), compress=zstd_page)) == LINES
    error = refused(kdump(lockless([]), compress=lambda page: (zstd_page(page)[0][:-1], 0x20)))
    assert "of the dump: its data is truncated: the zstd data" in error.message


def test_uncompressed_pages_of_a_dump() -> None:
    assert log_of(kdump(lockless(RECORDS), compress=lambda page: (page, 0))) == LINES


def test_a_flattened_elf_core() -> None:
    assert log_of(flatten(elf_core(lockless(RECORDS)))) == LINES


def test_holes_of_a_flattened_dump_read_as_zeros() -> None:
    blocks = [struct.pack(">qq", at, 3) + text for at, text in ((0, b"abc"), (10, b"xyz"))]
    file = flatten(b"")[:4096] + b"".join(blocks) + struct.pack(">qq", -1, -1)
    assert FlattenedFile(Bytes(file)).read(1, 100) == b"bc" + bytes(7) + b"xyz"


def test_a_flattened_dump_with_a_negative_size() -> None:
    file = flatten(b"")[:4096] + struct.pack(">qq", 0, -5)
    assert "-5 bytes" in refused(file).message


def test_a_compression_that_is_not_known_is_named() -> None:
    error = refused(kdump(lockless(RECORDS), compress=lambda page: (page[:99], 4)))
    assert "compressed with snappy" in error.message
    assert error.hint
    assert error.exit_code == 65


def test_damaged_pages_of_a_dump() -> None:
    assert "of the dump" in refused(kdump(lockless([]), compress=lambda p: (b"no", 1))).message
    assert "2 of 4096" in refused(kdump(lockless([]), compress=lambda p: (b"no", 0))).message
    assert "size 0" in refused(kdump(lockless([]), compress=lambda p: (b"", 0))).message


def test_a_page_that_was_left_out() -> None:
    error = refused(kdump(lockless(RECORDS), without=frozenset([PADDR // PAGE])))
    assert error.message == f"page {PADDR // PAGE:#x} was left out of the dump"
    assert error.exit_code == 30


def patched(core: bytes, at: int, data: bytes) -> bytes:
    return core[:at] + data + core[at + len(data) :]


@pytest.mark.parametrize(
    ("at", "data", "message"),
    [
        (8, b"\2", "dump version 2"),
        (428, b"\0\0\0\0", "block_size"),
        (432, b"\0", "sub_hdr_size 0"),
        (12 + 4 * 65, b"sparc\0", "machine 'sparc'"),
        (PAGE + 40, bytes(8), "VMCOREINFO of 0 bytes"),
        (PAGE + 32, b"\xff" * 8, "cannot read VMCOREINFO"),
    ],
)
def test_a_dump_with_a_wrong_header(at: int, data: bytes, message: str) -> None:
    assert message in refused(patched(kdump(lockless(RECORDS)), at, data)).message


@pytest.mark.parametrize(
    ("at", "data", "code"),
    [
        (0, b"\x7fELG", 4),
        (4, b"\3", 6),
        (5, b"\0", 7),
        (6, b"\2", 5),
        (20, b"\2", 11),
        (54, b"\x20", 12),
        (32, b"\xff" * 7, 16),
        (64 + 32, b"\xff" * 7, 20),
        (64 + 8, b"\xff" * 7, 22),
    ],
)
def test_a_damaged_elf_header(at: int, data: bytes, code: int) -> None:
    assert refused(patched(elf_core(lockless(RECORDS)), at, data)).exit_code == code


def test_short_files() -> None:
    core = elf_core(lockless(RECORDS))
    assert refused(b"").exit_code == 3
    assert refused(core[:15]).exit_code == 3
    assert refused(core[:40]).exit_code == 10
    assert refused(core[:100]).exit_code == 16
    # The segment is cut, not left out.
    assert refused(core[:-1]).exit_code == 65


def test_a_core_without_vmcoreinfo() -> None:
    core = elf_core(lockless(RECORDS)).replace(b"VMCOREINFO\0", b"VMCOREINFA\0")
    assert "no VMCOREINFO" in refused(core).message


def test_the_number_of_headers_in_the_section_header() -> None:
    core = elf_core(lockless(RECORDS))
    shoff = len(core)
    core = patched(patched(core, 40, struct.pack("<Q", shoff)), 56, b"\xff\xff")
    assert log_of(core + struct.pack("<44xI16x", 2)) == LINES
    assert "program headers" in refused(core + struct.pack("<44xI16x", 1 << 21)).message


def test_a_ring_across_two_segments() -> None:
    memory = lockless(RECORDS)
    for split in range(100, len(memory.data), 333):
        assert log_of(elf_core(memory, split=split)) == LINES


def test_an_address_in_no_segment() -> None:
    memory = legacy(b"text")
    memory.info["SYMBOL(log_end)"] = "ffff800000000000"
    assert refused(elf_core(memory)).exit_code == 30


def test_the_linear_map_stands_in_for_a_program_header() -> None:
    memory = legacy(b"text")
    memory.info |= {
        "NUMBER(PAGE_OFFSET)": f"{memory.base + 0x1000:#x}",
        "NUMBER(phys_ram_base)": f"{PADDR:#x}",
    }
    moved = {
        name: f"{int(value, 16) + 0x1000:x}"
        for name, value in memory.info.items()
        if name.startswith("SYMBOL")
    }
    memory.info |= moved
    at = int.from_bytes(memory.data[256:264], "little")
    memory.data[256:264] = (at + 0x1000).to_bytes(8, "little")
    core = elf_core(memory, machine=8)  # MIPS, which there is no room for
    # Only the physical addresses of the header are right.
    core = core.replace(struct.pack("<Q", memory.base), struct.pack("<Q", 0x1000))
    assert log_of(core) == b"text"


ARM64 = {
    "NUMBER(VA_BITS)": "48",
    "NUMBER(kimage_voffset)": "0xffff7fffc0000000",
    "NUMBER(PHYS_OFFSET)": "0x40000000",
}


def vmcoreinfo(values: dict[str, str]) -> VmcoreInfo:
    return VmcoreInfo("\n".join(f"{key}={value}" for key, value in values.items()).encode())


NO_MEMORY = ElfCore(Bytes(elf_core(lockless([]))))


def test_the_linear_maps_of_arm64() -> None:
    info = vmcoreinfo(ARM64)
    assert arm64.translate(0xFFFF000000001234, info, NO_MEMORY)[0] == 0x40001234
    assert arm64.translate(0xFFFF800008001234, info, NO_MEMORY)[0] == 0x48001234
    with pytest.raises(VmcoreError, match="0x1234 is not in the linear map"):
        arm64.translate(0x1234, info, NO_MEMORY)
    for key in ARM64:
        without = vmcoreinfo({name: value for name, value in ARM64.items() if name != key})
        with pytest.raises(VmcoreError, match="does not tell of the linear map"):
            arm64.translate(0xFFFF000000001234, without, NO_MEMORY)
    info = vmcoreinfo(ARM64 | {"NUMBER(PHYS_OFFSET)": "-0x2000"})
    with pytest.raises(VmcoreError, match="is not in the linear map"):
        arm64.translate(
            0xFFFF000000001234, vmcoreinfo(ARM64 | {"NUMBER(PHYS_OFFSET)": "-0x2000"}), NO_MEMORY
        )


def test_page_tables_below_zero() -> None:
    info = vmcoreinfo({"SYMBOL(init_top_pgt)": "ffffffff80001000", "NUMBER(phys_base)": "-8192"})
    with pytest.raises(VmcoreError, match="cannot be at -0x1000"):
        x86.translate(0xFFFF888000000000, info, ElfCore(Bytes(elf_core(lockless([])))))


def test_vmcoreinfo_names_what_it_lacks() -> None:
    with pytest.raises(VmcoreError, match=r"no SYMBOL\(x\)"):
        VmcoreInfo(b"").symbol("x", 50)
    with pytest.raises(VmcoreError, match=r"SIZE\(x\)='0x_1' is no number"):
        VmcoreInfo(b"SIZE(x)=0x_1").size("x", 50)
    with pytest.raises(VmcoreError, match="out of range"):
        VmcoreInfo(b"OFFSET(x.y)=99999999").offset("x.y", 50)
    info = VmcoreInfo(b"A=1\nno line\nNUMBER(a)=-5\nNUMBER(b)=0x1F\0\0")
    assert (info.number("a"), info.number("b"), info.number("c")) == (-5, 31, None)


def test_memory_is_what_a_test_wrote() -> None:
    memory = Memory()
    memory.symbol("x", b"12345678")
    assert open_core(Bytes(elf_core(memory))).read(memory.base, 8) == b"12345678"


def test_the_log_of_a_dom0_is_read_through_a_processors_page_tables() -> None:
    """Whichever of them ran it; another one was in the hypervisor, or its table is not dumped."""
    core = xen_core(lockless(RECORDS), [0x123000, XEN_TABLE, XEN_TABLE])
    assert log_of(core) == LINES
    assert open_core(Bytes(core)).info.top_tables == (0x123000, XEN_TABLE)


def test_no_processor_ran_dom0() -> None:
    error = refused(xen_core(lockless(RECORDS), [0x123000]))
    assert "none of them have dom0's kernel at" in error.message
    assert "xen-syms" in (error.hint or "")


def test_guests_of_one_kernel_cannot_be_told_apart() -> None:
    """The other one's log would be taken for dom0's."""
    tables = [XEN_TABLE, XEN_TABLE + (1 << 24)]
    error = refused(xen_core(lockless(RECORDS), tables, twice=True))
    assert "those of more than one guest have dom0's kernel at" in error.message
    assert log_of(xen_core(lockless(RECORDS), tables[:1], twice=True)) == LINES


def test_a_page_that_dom0_has_not() -> None:
    found = open_core(Bytes(xen_core(lockless(RECORDS), [XEN_TABLE])))
    with pytest.raises(VmcoreError, match="has no page at 0xffff888012345000"):
        found.read(0xFFFF888012345000, 8)
