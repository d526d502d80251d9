"""What a capture kernel's command line says about its memory. Pure.

Linux Documentation/admin-guide/kernel-parameters.txt says what each word does; how it is read, and
rounded, is in the sources that are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.crashkernel import Dialect, Wanted, wanted
from pykexec.crash.huge_pages import huge_pages, hugetlb_cma, is_gigantic
from pykexec.crash.terms import Counts, Term
from pykexec.entries.versions import version_key
from pykexec.values.command_line import memparse, parameters
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.units import GIB, KIB, MIB, align_up, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

SWIOTLB = 64 * MIB
"""Linux include/linux/swiotlb.h, "IO_TLB_DEFAULT_SIZE"."""
IO_TLB_SLOT = 2 * KIB
"""What ``swiotlb=`` counts ("IO_TLB_SHIFT")."""
LOW_EXTRA = 8 * MIB
"""What the kernel adds for other buffers below 4 GiB when it reserves that part by itself
(Linux include/linux/crash_reserve.h and arch/*/include/asm/crash_reserve.h,
"DEFAULT_CRASH_KERNEL_LOW_SIZE")."""
_IO_TLB_SEGMENT = 128
"""Slots: ``swiotlb=`` is rounded up to a multiple, and each area has as many ("IO_TLB_SEGSIZE")."""
_TMPFS_SHARE = 50

LOG = 128 * KIB
"""Of the kernel itself (init/Kconfig, "LOG_BUF_SHIFT"): a smaller one is not taken."""
_LOG_MAX = 2 * GIB
_LOG_PER_CPU = 4 * KIB
"""init/Kconfig, "LOG_CPU_MAX_BUF_SHIFT"."""
_LOG_RECORD = {True: (32, 24 + 88), False: (32, 12 + 88)}
"""By whether the kernel is of 64 bits: a descriptor and a ``struct printk_info`` for each so many
bytes of log, since v5.10 (kernel/printk/printk.c, "PRB_AVGBITS")."""
_TRACE_PER_CPU = 1408 * KIB
"""kernel/trace/trace.c, "TRACE_BUF_SIZE_DEFAULT"."""
_PAGE_OWNER = 72
"""Bytes for each page (mm/page_owner.c, "struct page_owner", behind a ``struct page_ext``)."""
_NOT_COUNTED = ("slub_debug", "slab_debug", "kmemleak")
"""These take memory for each object: as much as there will be objects."""
_TERM_MAX = 1 << 50
"""More than any machine has: where a word asks for still more, all is said."""
_EARLY = Counts.EARLY | Counts.RUNNING
_ON = (b"on", b"1", b"y", b"Y")


@dataclass(frozen=True, slots=True)
class CaptureWords:
    """A capture kernel's command line, and what its words are reckoned with."""

    cmdline: bytes
    arch: str
    page_size: int
    cpus: int
    """That it prepares for."""
    memory: int
    """Bytes that it lives in."""
    release: str = ""
    """Of that kernel; empty: not known."""

    def terms(self) -> tuple[Term, ...]:
        """Return what the words take, each word's part by itself."""
        values = parameters(self.cmdline)
        last = dict(values)
        terms = [
            *self._huge(values, last),
            *self._areas(values),
            *self._log(values),
            *self._tracing(last),
            *self._crashkernel(),
        ]
        return tuple(replace(term, size=min(term.size, _TERM_MAX)) for term in terms if term.size)

    def notes(self) -> tuple[str, ...]:
        """Name the words whose memory nobody can tell beforehand."""
        found = [name for name, value in parameters(self.cmdline) if name in _NOT_COUNTED]
        return tuple(f"{name}: takes more, not counted here" for name in dict.fromkeys(found))

    def _huge(self, values: list[tuple[str, bytes]], last: dict[str, bytes]) -> Iterator[Term]:
        for item in huge_pages(values, self.arch, self.page_size):
            counts = _EARLY if is_gigantic(item.page, self.arch, self.page_size) else Counts.RUNNING
            source = f"{item.count} of {format_size(item.page)}, by hugepages="
            yield Term("huge pages", item.size, source, True, counts)
        cma = hugetlb_cma(last.get("hugetlb_cma", b""), self.arch, self.page_size)
        yield Term("huge pages, CMA", cma, "by hugetlb_cma=", True, _EARLY)

    def _areas(self, values: list[tuple[str, bytes]]) -> Iterator[Term]:
        """Yield what is set aside in one piece. The kernel lends CMA areas to movable pages only.

        kernel/dma/contiguous.c, "early_cma"; kernel/dma/pool.c; mm/memblock.c, "reserve_mem".
        """
        only = "lent to movable pages only"
        last = dict(values)
        for name in ("cma", "cma_pernuma"):
            yield Term("CMA", _size(last.get(name, b"")), f"{only}, by {name}=", True, _EARLY)
        nodes = sum(
            _size(part.partition(b":")[2]) for part in last.get("numa_cma", b"").split(b",")
        )
        yield Term("CMA", nodes, f"{only}, by numa_cma=", True, _EARLY)
        here = architecture_of(self.arch)
        pool = _size(last.get("coherent_pool", b"")) if here.has_coherent_pool else 0
        yield Term("atomic DMA pool", pool, "by coherent_pool=", True, Counts.RUNNING)
        kept = sum(_size(value) for name, value in values if name == "reserve_mem")
        yield Term("reserved areas", kept, "by reserve_mem=", True, _EARLY)

    def _log(self, values: list[tuple[str, bytes]]) -> Iterator[Term]:
        """Reckon the log: kernel/printk/printk.c, "log_buf_len_setup"."""
        text = self._log_asked(values)
        yield self._log_term(text, "by log_buf_len=", measured=True)

    def grown_log(self) -> Term | None:
        """Return what the log grows by for many processors, which ``log_buf_len=`` overrules.

        kernel/printk/printk.c, "log_buf_add_cpu".
        """
        more = (self.cpus - 1) * _LOG_PER_CPU
        if more <= LOG // 2 or self._log_asked(parameters(self.cmdline)):
            return None
        source = f"for {counted(self.cpus, 'processor')}, 4 KiB for each"
        return self._log_term(_power_of_two(more + LOG), source, measured=False)

    def _log_asked(self, values: list[tuple[str, bytes]]) -> int:
        asked = [_power_of_two(min(_size(v), _LOG_MAX)) for n, v in values if n == "log_buf_len"]
        return next((size for size in reversed(asked) if size > LOG), 0)

    def _log_term(self, text: int, source: str, *, measured: bool) -> Term:
        old = bool(self.release) and version_key(self.release) < version_key("5.10")
        unit, record = _LOG_RECORD[architecture_of(self.arch).word_bits == 64]
        index = 0 if old else text // unit * record
        said = f"{format_size(text)} {source}, {format_size(index)} of records"
        return Term("kernel log", text + index, said, measured, _EARLY)

    def _tracing(self, last: dict[str, bytes]) -> Iterator[Term]:
        """Reckon what tracing keeps: kernel/trace/trace.c and mm/page_owner.c.

        Trace buffers are small until something is traced.
        """
        if last.get("ftrace") or last.get("trace_event"):
            each = align_up(
                _size(last.get("trace_buf_size", b"")) or _TRACE_PER_CPU, self.page_size
            )
            source = f"{format_size(each)} for each processor, by ftrace= or trace_event="
            yield Term("trace buffers", each * self.cpus, source, True, Counts.RUNNING)
        if last.get("page_owner") in _ON:
            size = self.memory // self.page_size * _PAGE_OWNER
            source = f"{_PAGE_OWNER} bytes for each page, by page_owner=on"
            yield Term("page owners", size, source, False, _EARLY)

    def _crashkernel(self) -> Iterator[Term]:
        """A capture kernel that is told to reserves again."""
        found = wanted(self.cmdline, self.memory, Dialect())
        if isinstance(found, Wanted) and found.size < self.memory:
            yield Term("crash kernel", found.size, f"by {found.word}", True, _EARLY)


def _size(value: bytes) -> int:
    read = memparse(value)
    return read[0] if read else 0


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length() if size else 0


def capture_cpus(cmdline: bytes, cpus: int) -> tuple[int, str]:
    """Return (how many processors the capture kernel prepares for, why).

    ``nr_cpus=`` limits that; ``maxcpus=`` does not: the others could be brought up later
    (Linux Documentation/admin-guide/kernel-parameters.txt).
    """
    for name, value in reversed(parameters(cmdline)):
        read = memparse(value) if name == "nr_cpus" else None
        if read and read[0] and not read[1]:
            count = min(read[0], cpus)
            return count, f"{count}, by nr_cpus={value.decode('ascii', 'replace')[:20]}"
    return cpus, "1" if cpus == 1 else f"all {cpus}; nr_cpus=1 would spare the others"


def tmpfs_share(cmdline: bytes) -> tuple[int | None, str]:
    """Return (percent of free memory that the root file system may take, why); None: any.

    Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst: rootfs is a tmpfs, limited to
    half of memory, unless ``root=`` or ``rootfstype=`` say otherwise, when it is a ramfs
    without a limit. ``initramfs_options=`` changes the limit (Linux commit 278033a225e1
    ("fs: Add initramfs_options to set initramfs mount options") (in v6.18), and stable
    kernels); a limit in bytes is not looked at.
    """
    values = dict(parameters(cmdline))
    kind = values.get("rootfstype")
    if kind is not None:
        if b"tmpfs" not in kind:
            return None, "with rootfstype= it is a ramfs"
    elif values.get("root"):
        return None, "with root= it is a ramfs"
    for option in values.get("initramfs_options", b"").split(b","):
        name, _, value = option.decode("ascii", "replace").partition("=")
        digits = value.removesuffix("%")
        is_share = value != digits and digits.isdecimal() and len(digits) <= len("100")
        if name == "size" and is_share and 0 < int(digits) <= 100:
            return int(digits), f"initramfs_options={option.decode('ascii', 'replace')}"
    return _TMPFS_SHARE, "it is a tmpfs (initramfs_options=size=90% raises that)"


@dataclass(frozen=True, slots=True)
class BounceBuffers:
    """``swiotlb=SLOTS,AREAS,force|noforce``."""

    size: int
    """Bytes; 0: none."""
    forced: bool
    """They are there also where all memory can be reached."""


def bounce_buffers(cmdline: bytes, cpus: int = 1) -> BounceBuffers:
    """Return the buffers that a kernel for ``cpus`` processors makes when it makes any.

    kernel/dma/swiotlb.c, "setup_io_tlb_npages", "round_up_default_nslabs": slots of 2 KiB, an area
    for each processor, a power of two in all.
    """
    slots, areas, word = SWIOTLB // IO_TLB_SLOT, cpus, b""
    for name, value in parameters(cmdline):
        if name != "swiotlb":
            continue
        rest = value
        if rest[:1].isdigit():
            number, rest = memparse(rest) or (0, b"")
            slots = align_up(number, _IO_TLB_SEGMENT) or slots
        rest = rest.removeprefix(b",")
        if rest[:1].isdigit():
            areas, rest = memparse(rest) or (0, b"")
        word = rest.removeprefix(b",")
    if word == b"noforce":
        return BounceBuffers(0, forced=False)
    slots = _power_of_two(max(slots, _IO_TLB_SEGMENT * _power_of_two(max(areas, 1))))
    return BounceBuffers(slots * IO_TLB_SLOT, forced=word == b"force")
