"""Every intended difference between what the C tool and pykexec tell the next kernel.

Each entry computes, for one case, what either tool is to say in the fields that it is
about. A difference that is not here fails the comparison, and so does one that is here
and does not occur. docs/compatibility.md explains each title to users.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.differential.decode import Fields, zero_page_fields
from tests.differential.model import PAGE, Header, Machine, Span, read_header

CaseT = TypeVar("CaseT")
Expected = dict[str, tuple[object, object]]
"""(what the C tool says, what pykexec says) by field."""

Entry = tuple[int, int, int]
"""Of a memory map: start, end (exclusive), E820 type."""

_MIB = 1 << 20
_E820_ZERO_PAGE_MAX = 128
_KIND_NUMBERS = {
    "System RAM": 1,
    "ACPI Tables": 3,
    "ACPI Non-volatile Storage": 4,
    "Unusable memory": 5,
    "Persistent Memory": 7,
    "Persistent Memory (legacy)": 12,
}
_RESERVED = 2
_UNUSABLE = 5
_OLD_CL_MAGIC = 0xA33F
_EDD_EXTENSIONS = (
    "Fixed disk access",
    "Device locking and ejecting",
    "Enhanced Disk Drive support",
    "64-bit extensions",
)
NOT_FOR_CRASHES = (
    *("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma", "cma_pernuma"),
    *("numa_cma", "swiotlb", "reserve_mem", "log_buf_len", "trace_buf_size"),
    *("slub_debug", "slab_debug", "page_owner", "kmemleak"),
)
_NOT_REUSED = ("BOOT_IMAGE", "initrd", "elfcorehdr", "kexec_jump_back_entry")


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the machine, the kernel's header, and what was asked for."""

    machine: Machine
    kernel: bytes
    """The file."""
    append: str
    reuse_cmdline: bool = False

    @property
    def header(self) -> Header:
        """The kernel's header."""
        return read_header(self.kernel)

    @property
    def running(self) -> Fields:
        """The fields of the running kernel's zero page; all zero when it is not known."""
        return zero_page_fields(self.machine.boot_params or bytes(PAGE))


@dataclass(frozen=True, slots=True)
class Difference(Generic[CaseT]):
    """Something that the two tools do differently on purpose."""

    title: str
    """As docs/compatibility.md has it."""
    expect: Callable[[CaseT], Expected]


def occurring(differences: Iterable[Difference[CaseT]], case: CaseT) -> dict[str, Expected]:
    """Return those of the differences that must occur in ``case``, by title."""
    found = {}
    for difference in differences:
        told = difference.expect(case)
        told = {name: pair for name, pair in told.items() if pair[0] != pair[1]}
        if told:
            found[difference.title] = told
    return found


def numbered(machine: Machine) -> Iterator[tuple[Span, int]]:
    """Yield the machine's memory map with E820 types; what firmware alone knows is reserved."""
    for span, name in machine.memory_map:
        kind = _KIND_NUMBERS.get(name)
        if kind is not None or machine.firmware_map or name.lower() == "reserved":
            yield span, kind or _RESERVED


def e820_of_c(case: Case) -> list[Entry]:
    """Return the C tool's map: entry by entry, the first RAM from 0x400, unusable as reserved."""
    return [
        (max(start, 0x400) if kind == 1 else start, end, _RESERVED if kind == _UNUSABLE else kind)
        for (start, end), kind in numbered(case.machine)
    ]


def e820_of_ours(case: Case) -> list[Entry]:
    """Return pykexec's map: the firmware's, neighbours of one kind joined."""
    return join((start, end, kind) for (start, end), kind in numbered(case.machine))


def join(found: Iterable[Entry]) -> list[Entry]:
    """Join neighbours of one kind."""
    entries: list[Entry] = []
    for start, end, kind in found:
        joins = bool(entries) and entries[-1][1:] == (start, kind)
        entries.append((entries.pop()[0] if joins else start, end, kind))
    return entries


def _above_1m(entries: list[Entry]) -> int:
    """Return the bytes of RAM above 1 MiB in the entry that spans 1 MiB."""
    return next((e - _MIB for s, e, kind in entries if kind == 1 and s <= _MIB < e), 0)


def told_map(theirs: list[Entry], ours: list[Entry]) -> Expected:
    """Return what is said of two memory maps."""
    counts = (min(len(theirs), _E820_ZERO_PAGE_MAX), min(len(ours), _E820_ZERO_PAGE_MAX))
    return {"e820": (tuple(theirs), tuple(ours)), "e820_entries": counts}


def _e820(case: Case) -> Expected:
    return told_map(e820_of_c(case), e820_of_ours(case))


def told_size(theirs: list[Entry], ours: list[Entry]) -> Expected:
    """Return what is said of the size of memory, by two memory maps."""
    # The C tool takes the last byte's address for the end.
    sizes = (max(_above_1m(theirs) - 1, 0) >> 10, _above_1m(ours) >> 10)
    return {
        "alt_mem_k": sizes,
        "screen_info.ext_mem_k": (min(sizes[0], 0xFC00), min(sizes[1], 0xFC00)),
    }


def _memory_size(case: Case) -> Expected:
    return told_size(e820_of_c(case), e820_of_ours(case))


def _header(case: Case) -> Expected:
    header = case.header
    return {
        "hdr.loadflags": (0, header.loadflags),
        "hdr.root_dev": (0x0300, header.root_dev),
        "hdr.root_flags": (0xFFFF, header.root_flags),
        # Its clearing of the old "aux_device_info" hits the upper half of boot_flag.
        "hdr.boot_flag": (header.boot_flag & 0xFF, header.boot_flag),
    }


def _payload(case: Case) -> Expected:
    payload = case.kernel[case.header.setup_size :]
    room = -(-case.header.init_size // PAGE) * PAGE
    whole = max(room, -(-len(payload) // PAGE) * PAGE)
    said = []
    for data, memsz in ((payload[:room], room), (payload, whole)):
        said.append((hashlib.sha256(data).hexdigest(), len(data), memsz))
    return {"kernel": (said[0], said[1])}


def _parameters(case: Case) -> Expected:
    offset = max(case.header.setup_size, PAGE)
    return {
        "cmdline_at": (f"parameters+{offset:#x}", f"parameters+{PAGE:#x}"),
        "screen_info.cl_magic": (_OLD_CL_MAGIC, 0),
        "screen_info.cl_offset": (offset, 0),
    }


def _screen(case: Case) -> Expected:
    if case.machine.boot_params is not None:
        return {}
    text = {"cols": 80, "isVGA": 1, "lines": 25, "points": 16}
    return {f"screen_info.orig_video_{name}": (value, 0) for name, value in text.items()}


def efi_of_ours(case: Case) -> bool:
    """Tell whether pykexec hands EFI over."""
    machine, running = case.machine, case.running
    return (
        case.header.efi_kexec
        and bool(machine.listed("sys/firmware/efi/runtime-map"))
        and bool(running["efi_memmap_size"])
        and running["efi_memdesc_version"] == 1
        and all(
            machine.number(f"sys/firmware/efi/{name}") is not None
            for name in ("fw_vendor", "config_table")
        )
    )


def _systab(case: Case, table: str) -> int | None:
    file = case.machine.path / "sys/firmware/efi/systab"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [line.partition("=")[2] for line in lines if line.startswith(f"{table}=")]
    return int(found[0], 16) if found else None


def efi_of_c(case: Case) -> bool:
    """Tell whether the C tool does: it also wants ``runtime``."""
    return efi_of_ours(case) and case.machine.number("sys/firmware/efi/runtime") is not None


def _descriptors(case: Case, names: list[str]) -> tuple[tuple[int, ...], ...]:
    fields = ("type", "phys_addr", "virt_addr", "num_pages", "attribute")
    directory = "sys/firmware/efi/runtime-map"
    return tuple(
        tuple(case.machine.number(f"{directory}/{name}/{field}") or 0 for field in fields)
        for name in names
    )


def _efi_order(case: Case) -> Expected:
    if not efi_of_c(case):
        return {}
    names = case.machine.listed("sys/firmware/efi/runtime-map")
    ordered = sorted(names, key=int)
    return {"efi_memmap": (_descriptors(case, names), _descriptors(case, ordered))}


def _efi_without_runtime(case: Case) -> Expected:
    if efi_of_c(case) or not efi_of_ours(case):
        return {}
    running, machine = case.running, case.machine
    names = sorted(machine.listed("sys/firmware/efi/runtime-map"), key=int)
    told = [machine.number(f"sys/firmware/efi/{n}") for n in ("fw_vendor", "runtime")]
    told += [machine.number("sys/firmware/efi/config_table"), _systab(case, "SMBIOS")]
    payload = struct.pack("<4Q64x", *(value or 0 for value in told))
    nodes = [4, 9] if len(e820_of_ours(case)) <= _E820_ZERO_PAGE_MAX else [1, 4, 9]
    return {
        "efi_loader_signature": (bytes(4), running["efi_loader_signature"]),
        "efi_systab": (0, running["efi_systab"]),
        "efi_systab_hi": (0, running["efi_systab_hi"]),
        "efi_memdesc_size": (0, 40),
        "efi_memdesc_version": (0, 1),
        "efi_memmap_size": (0, 40 * len(names)),
        "efi_memmap": ((), _descriptors(case, names)),
        "setup_data.4": (None, payload),
        "nodes": ([kind for kind in nodes if kind != 4], nodes),
    }


def _secure_boot(case: Case) -> Expected:
    return {"secure_boot": (0, case.running["secure_boot"] if efi_of_ours(case) else 0)}


def _edd_info(case: Case, name: str) -> bytes:
    """Encode one disk as ``struct edd_info``; all but its number empty without a version."""
    directory = f"sys/firmware/edd/{name}"
    version = case.machine.number(f"{directory}/version") or 0
    device = int(name.removeprefix("int13_dev"), 16)
    if not version:
        return struct.pack("<BBHHBB74s", device, 0, 0, 0, 0, 0, b"")
    legacy = []
    for item in ("legacy_max_cylinder", "legacy_max_head", "legacy_sectors_per_track"):
        file = case.machine.path / directory / item
        legacy.append(int(file.read_text()) if file.exists() else 0)
    text = (case.machine.path / directory / "extensions").read_text()
    bits = sum(1 << bit for bit, line in enumerate(_EDD_EXTENSIONS) if line in text)
    raw = (case.machine.path / directory / "raw_data").read_bytes()
    return struct.pack("<BBHHBB74s", device, version, bits, *legacy, raw)


def _edd(case: Case) -> Expected:
    """The C tool's order is the directory's, and it writes on behind the sixth entry."""
    names = [n for n in case.machine.listed("sys/firmware/edd") if n.startswith("int13_dev")]
    if not names:
        return {}
    ordered = sorted(names)
    signatures = [
        struct.pack("<16I", *_padded([_signature(case, name) for name in order]))
        for order in (names, ordered)
    ]
    behind = b"".join(_edd_info(case, name) for name in names[6:])
    entries = [
        tuple(struct.unpack("<BBHHBB74s", _edd_info(case, name)) for name in order[:6])
        for order in (names, ordered)
    ]
    return {
        "edd_mbr_sig_buffer": (signatures[0], signatures[1]),
        "eddbuf": (entries[0], entries[1]),
        "eddbuf_entries": (len(names), min(len(names), 6)),
        "_pad9": (behind.ljust(276, b"\0"), bytes(276)),
    }


def _signature(case: Case, name: str) -> int:
    return case.machine.number(f"sys/firmware/edd/{name}/mbr_signature") or 0


def _padded(numbers: list[int]) -> list[int]:
    return numbers + [0] * (16 - len(numbers))


def _cmdline(case: Case) -> Expected:
    if not case.reuse_cmdline:
        return {}
    theirs, ours = reused(case.machine.cmdline, case.append)
    return {"cmdline": (theirs.encode(), ours.encode())}


def reused(running: str, append: str, *, crash: bool = False) -> tuple[str, str]:
    """Return what --reuse-cmdline makes of a command line, with the C tool and with pykexec."""
    gone = [*_NOT_REUSED, *(["crashkernel", *NOT_FOR_CRASHES] if crash else [])]
    again = append.split()
    kept = [w for w in running.split() if w.partition("=")[0] not in gone and w not in again]
    for name in ("BOOT_IMAGE", *(["crashkernel"] if crash else [])):  # the first of each
        running = re.sub(rf"(^| ){name}\S* ?", r"\1", running, count=1)
    appended = [append] if append else []
    return " ".join([running, *appended]), " ".join([*kept, *appended])


OF_EVERY_LOAD = (
    Difference("The kernel's own header fields are kept", _header),
    Difference("A kernel file is never cut off", _payload),
    Difference("The zero page is followed by the command line", _parameters),
    Difference("An unknown screen is told as unknown", _screen),
    Difference("EFI's memory map is in the order of its numbers", _efi_order),
    Difference(
        "EFI is handed over without what newer kernels no longer show", _efi_without_runtime
    ),
    Difference("The state of secure boot is passed on", _secure_boot),
    Difference("BIOS disks are in the order of their numbers, and at most six", _edd),
)
"""Differences that crash loads have as well."""

DIFFERENCES = (
    Difference("The firmware's memory map is passed on as it is", _e820),
    Difference("The size of memory counts the last KiB", _memory_size),
    *OF_EVERY_LOAD,
    Difference("A reused command line loses what was about the old files", _cmdline),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
