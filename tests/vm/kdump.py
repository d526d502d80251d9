"""Crash cores, seen from the host: how they leave a guest, and what is in them.

A core is judged by tools that are not ours: makedumpfile, vmcore-dmesg, readelf, drgn.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.vm import debian, scenario
from tests.vm.debian import Suite
from tests.vm.platforms import S390X, X86_64, Platform
from tests.vm.qemu import Machine, PhysicalMemory
from tests.vm.transcript import Phase

PAGE = 4096
PORT = "/dev/vport0p1"
"""The guest's end of :func:`core_port`."""
LOW_PAGE = 0x50000
"""A page below 640 KiB, which neither firmware nor kernel has a use for.

No program of the guest can write there: Linux gives the first MiB to nobody, and with
CONFIG_STRICT_DEVMEM it ignores what is written by way of /dev/mem.
"""

# bookworm's makedumpfile 1.7.2 takes live pages of 6.12 for free ones with -d 31.
MAKEDUMPFILE_SUITE = "sid"
LIBRARY_PACKAGES = (
    "libc6",
    "libdw1t64",
    "libelf1t64",
    "liblzo2-2",
    "libzstd1",
    "zlib1g",
    "liblzma5",
    "libbz2-1.0",
)
LIBRARIES = (
    "libc.so.6",
    "libdw.so.1",
    "libelf.so.1",
    "liblzo2.so.2",
    "libzstd.so.1",
    "libz.so.1",
    "liblzma.so.5",
    "libbz2.so.1.0",
)
GUEST_MAKEDUMPFILE = "/usr/lib/makedumpfile"

PORT_MODULES = (
    "virtio/virtio",
    "virtio/virtio_ring",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "char/virtio_console",
)
"""Below drivers/, in an order in which they can be inserted; newer kernels have them built in."""


@dataclass(frozen=True, slots=True)
class Load:
    """A PT_LOAD of a core, as readelf shows it."""

    offset: int
    vaddr: int
    start: int
    """Physical address, bytes."""
    size: int
    """Bytes in the file; makedumpfile leaves the end of what was longer in memory out."""

    @property
    def end(self) -> int:
        """Physical address behind the last byte."""
        return self.start + self.size


class PageWriter(scenario.Listener):
    """Writes patterns into the pages that hold-pages names, and into ``first`` before those."""

    def __init__(
        self, memory: PhysicalMemory, seed: str, first: Sequence[int] = (LOW_PAGE,)
    ) -> None:
        """Write into ``memory`` what :func:`pattern` makes of ``seed``."""
        self._memory = memory
        self._seed = seed
        self._first = first
        self.pages: list[int] = []
        """The physical addresses of the pages that were written."""

    def phase(self, phase: Phase) -> None:
        """Begin anew: a guest that is lost is tried once more."""
        if phase.number == 1:
            self.pages.clear()

    def line(self, line: str) -> None:
        """Write the page that the line names; the guest waits for it."""
        if line.startswith("page "):
            named = int(line.removeprefix("page "), 16)
            for address in (named,) if self.pages else (*self._first, named):
                self._memory.write(address, pattern(self._seed, address))
                self.pages.append(address)


def core_port(core: Path, machine: Machine | None = None) -> tuple[str, ...]:
    """Return the words for QEMU by which what a guest writes to PORT ends in ``core``."""
    # Before the bus that the guest's second serial port is on.
    bus = ",bus=pcie.0" if machine and machine.bare else ""
    kind = "ccw" if machine and machine.platform is S390X else "pci"
    return (
        *("-device", f"virtio-serial-{kind},id=out{bus}", "-chardev", f"file,id=core,path={core}"),
        *("-device", "virtserialport,bus=out.0,chardev=core,name=core"),
    )


def port_modules(kernel: debian.Kernel) -> dict[str, bytes | str | Path]:
    """Return the modules that a guest's kernel needs for PORT, in the order of their names."""
    files: dict[str, bytes | str | Path] = {}
    for number, name in enumerate(PORT_MODULES):
        module = kernel.modules / f"kernel/drivers/{name}.ko"
        if module.exists():
            files[f"/scenario/modules/{number}-{module.name}"] = module
    return files


def pattern(seed: str, address: int) -> bytes:
    """Return the page of bytes that is written at a physical address before a crash."""
    return hashlib.sha256(f"{seed}{address:#x}".encode()).digest() * (PAGE // 32)


def loads(core: Path) -> list[Load]:
    """Return the PT_LOADs of a core by physical address, as readelf shows them."""
    found = []
    for line in _output("readelf", "-lW", core).splitlines():
        match = re.match(r"\s+LOAD\s+(0x\w+) (0x\w+) (0x\w+) (0x\w+)", line)
        if match:
            offset, vaddr, start, size = (int(word, 16) for word in match.groups())
            found.append(Load(offset, vaddr, start, size))
    return sorted(found, key=lambda load: load.start)


def elf_header(core: Path) -> dict[str, str]:
    """Return the fields of a core's ELF header, as readelf names them."""
    lines = (line.partition(":") for line in _output("readelf", "-h", core).splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def notes(core: Path) -> list[str]:
    """Return the types of a core's notes, as readelf names them."""
    return re.findall(r"^\s+\S+\s+0x[0-9a-f]+\s+(\w+)", _output("readelf", "-nW", core), re.M)


def covers(ranges: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Tell whether half-open ranges have everything from ``start`` to ``end`` between them."""
    for low, high in sorted(ranges):
        if low <= start < high:
            start = high
    return start >= end


def page_at(core: Path, address: int) -> bytes:
    """Return the page of a core at a physical address; empty when it has none there."""
    for load in loads(core):
        if load.start <= address < load.end:
            with core.open("rb") as file:
                file.seek(load.offset + address - load.start)
                return file.read(PAGE)
    return b""


def ram_of(iomem: Sequence[str], *, crash: bool = False) -> list[tuple[int, int]]:
    """Return the half-open ranges of /proc/iomem's System RAM, or of its crash regions.

    A crash region is inside of System RAM, on s390x beside it.
    """
    name = "Crash kernel" if crash else "System RAM"
    indent = r"\s*" if crash else ""
    found = (re.fullmatch(rf"{indent}(\w+)-(\w+) : {name}", line) for line in iomem)
    return [(int(match[1], 16), int(match[2], 16) + 1) for match in found if match]


def expected_ranges(iomem: Sequence[str]) -> list[tuple[int, int]]:
    """Return the ranges that a core must have: RAM without the crash regions."""
    ranges = ram_of(iomem)
    for start, end in ram_of(iomem, crash=True):
        ranges = [
            piece
            for low, high in ranges
            for piece in ((low, min(high, start)), (max(low, end), high))
            if piece[0] < piece[1]
        ]
    return sorted(ranges)


@cache
def makedumpfile_files(platform: Platform = X86_64) -> Mapping[str, Path]:
    """Return makedumpfile and its libraries, with its own loader, by file name."""
    suite = Suite(MAKEDUMPFILE_SUITE, platform.debian)
    files = {"makedumpfile": suite.package("makedumpfile").root / "usr/bin/makedumpfile"}
    roots = [suite.package(name).root for name in LIBRARY_PACKAGES]
    for library in (platform.loader, *LIBRARIES):
        places = [root / platform.libraries / library for root in roots]
        found = [place for place in places if place.exists()]
        if not found:
            raise debian.FetchError(f"no {library} in {', '.join(LIBRARY_PACKAGES)}")
        files[library] = found[0].resolve()
    return files


def guest_makedumpfile(platform: Platform = X86_64) -> dict[str, bytes | str | Path]:
    """Return the files that bring makedumpfile into a guest; guest_command runs it."""
    files = makedumpfile_files(platform)
    return {f"{GUEST_MAKEDUMPFILE}/{name}": path for name, path in files.items()}


def guest_command(platform: Platform = X86_64) -> str:
    """Return the words that run makedumpfile in a guest."""
    return (
        f"{GUEST_MAKEDUMPFILE}/{platform.loader} --library-path {GUEST_MAKEDUMPFILE} "
        f"{GUEST_MAKEDUMPFILE}/makedumpfile"
    )


def makedumpfile(
    work: Path, *words: str | Path, stdin: Path | None = None, platform: Platform = X86_64
) -> str:
    """Run makedumpfile with its libraries, which are linked below ``work``; return its output.

    That of another architecture by an emulator: it reads cores of its own alone.
    """
    libraries = work / "makedumpfile.lib"
    # Links: a package's directory may have a colon in its name, which a search path splits.
    libraries.mkdir(exist_ok=True)
    for name, path in makedumpfile_files(platform).items():
        if not (libraries / name).exists():
            (libraries / name).symlink_to(path)
    emulator = () if platform is X86_64 else (f"qemu-{platform.name}",)
    loader = libraries / platform.loader
    command = (*emulator, loader, "--library-path", libraries, libraries / "makedumpfile")
    return _output(*command, *words, stdin=stdin)


def vmlinux(kernel: debian.Kernel) -> Path:
    """Return a kernel with its debug symbols; some 300 MB to download, and 2 GB unpacked."""
    suite = Suite(debian.KERNEL_SUITES[kernel.key])
    root = suite.package(f"linux-image-{kernel.release}-dbg").root
    return root / f"usr/lib/debug/boot/vmlinux-{kernel.release}"


def vmcore_dmesg(core: Path) -> str:
    """Return what the distribution's vmcore-dmesg prints."""
    tool = Suite("bookworm").package("kexec-tools").root / "sbin/vmcore-dmesg"
    return _output(tool, core)


def _output(*command: str | Path, stdin: Path | None = None) -> str:
    with (stdin or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(command, stdin=source, capture_output=True, check=False)
    out, complaint = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{out}{complaint}"
    return out
