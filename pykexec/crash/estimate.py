"""Whether a capture kernel will have memory enough: each term, where it comes from. Pure.

A crash kernel that is loaded may still fail for want of memory, and then there is no dump. Two
moments are tight: when the initramfs is unpacked, while its packed form is still there, and
when the dump is taken. Some terms can be measured beforehand, the others are rules of thumb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.capture_words import (
    LOW_EXTRA,
    CaptureWords,
    bounce_buffers,
    capture_cpus,
    tmpfs_share,
)
from pykexec.crash.terms import Counts, Term
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, KIB, MIB, align_up, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.formats.initramfs import InitramfsSize

STRUCT_PAGE = 64
"""Bytes that the kernel keeps for each page (Linux Documentation/mm/vmemmap_dedup.rst)."""
ENTRY = KIB
"""Rule of thumb: an inode and its name in tmpfs."""
PER_CPU = 1280 * KIB
"""Rule of thumb; Linux 6.12 of Debian takes 1.1 MiB for each of eight processors: its per-CPU
area, its share of the slab caches, the stacks of its kernel threads."""
EARLY = 4 * MIB
"""Rule of thumb: hash tables, page tables and log buffer, before the root file system is there;
Linux 6.12 takes 2.9 MiB of 512 MiB."""
RUNTIME = 28 * MIB
"""Rule of thumb: what the kernel and its drivers take until user space runs, beside the above;
Linux 6.12 takes 27 MiB in a small guest."""
USER_SPACE = 64 * MIB
"""Rule of thumb: udev, a shell, makedumpfile with its bitmaps and buffers."""
HANDOVER = MIB
"""Rule: purgatory, parameters, command line and backup of the first 640 KiB at most."""

LOW_END = 4 * GIB

_ASSUMED = (Range(0, 512 * MIB),)
"""Where nothing is reserved yet."""
_STEP = 16 * MIB
"""Reservations are proposed in multiples of this."""


@dataclass(frozen=True, slots=True)
class Check:
    """A sum of terms against what there is for it."""

    name: str
    needed: int
    found: int
    detail: str

    @property
    def missing(self) -> int:
        """Bytes."""
        return max(self.needed - self.found, 0)

    @property
    def holds(self) -> bool:
        """There is enough."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class Capture:
    """The capture kernel to be, and where it will live."""

    arch: str
    page_size: int
    kernel_size: int
    """Bytes that the kernel takes at run time, its decompression included."""
    kernel_source: str
    initrd_size: int
    initramfs: InitramfsSize | None
    cmdline: bytes
    cpus: int
    """All of the machine's."""
    regions: tuple[Range, ...]
    """The ``crashkernel=`` reservations, physical, in ascending order."""
    elfcorehdr_size: int
    release: str = ""
    """Of the capture kernel; empty: not known."""

    @property
    def memory(self) -> int:
        """Bytes that are reserved, or taken for that where nothing is."""
        return sum(region.size for region in self.regions or _ASSUMED)

    @property
    def words(self) -> CaptureWords:
        """The command line, with what its words are reckoned with."""
        cpus, _ = capture_cpus(self.cmdline, self.cpus)
        return CaptureWords(
            self.cmdline, self.arch, self.page_size, cpus, self.memory, self.release
        )

    @property
    def bounced(self) -> int:
        """Bytes of bounce buffers: where a region is above 4 GiB, they are forced, or always."""
        buffers = bounce_buffers(self.cmdline, self.words.cpus)
        made = buffers.forced or architecture_of(self.arch).always_bounces
        return buffers.size if made or needs_swiotlb(self.regions) else 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The terms, and what comes of them."""

    terms: tuple[Term, ...]
    checks: tuple[Check, ...]
    """None where nothing is reserved."""
    reserved: int
    proposal: str
    """The words for the running kernel's command line that would meet every check."""
    notes: tuple[str, ...]
    impossible: str = ""
    """Why this machine has no room for ``proposal``; empty where it may have."""
    unreserved: str = ""
    """Why nothing is reserved."""
    by_words: tuple[Term, ...] = ()
    """Those of ``terms`` that words of the capture kernel's command line ask for."""

    @property
    def hints(self) -> tuple[str, ...]:
        """What would make it fit; empty where it does."""
        if self.fits:
            return ()
        hint, other = f"{self.proposal} would do", "or "
        if self.impossible:
            hint, other = f"no reservation would do: {self.impossible}", ""
        names = ", ".join(dict.fromkeys(term.name for term in self.by_words))
        spare = f"{other}spare it what its command line asks for: {names}"
        return (hint, spare) if names else (hint,)

    @property
    def fits(self) -> bool:
        """Something is reserved, and every check holds."""
        return self.reserved > 0 and all(check.holds for check in self.checks)


def estimate(capture: Capture) -> Estimate:
    """Add up what ``capture`` needs, and compare it with its reservation."""
    share, source = tmpfs_share(capture.cmdline)
    unlimited = () if share is not None else (f"root file system: no limit, {source}",)
    return Estimate(
        terms=_terms(capture),
        checks=_checks(capture) if capture.regions else (),
        reserved=sum(region.size for region in capture.regions),
        proposal=_propose(capture),
        notes=(*unlimited, *capture.words.notes()),
        by_words=capture.words.terms(),
    )


def _propose(capture: Capture) -> str:
    """Keep to the kind of reservation that there is: one region, or a part below 4 GiB too.

    A region of more than 2 GiB is taken for one that lies high.
    """
    swiotlb = bounce_buffers(capture.cmdline, capture.words.cpus).size
    wanted, size = 0, _STEP
    while wanted != size:
        wanted = size
        bounced = needs_swiotlb(capture.regions) or size > 2 * GIB
        low = align_up(swiotlb + LOW_EXTRA, _STEP) if bounced and swiotlb else 0
        # Not at the start of a section: where the region will be, nobody knows.
        region = Range.sized((LOW_END if bounced else GIB) + MIB, size)
        regions = (*([Range.sized(GIB, low)] if low else []), region)
        checks = _checks(replace(capture, regions=regions))
        size += align_up(max(check.missing for check in checks), _STEP)
    words = [f"crashkernel={size // MIB}M" + (",high" if bounced else "")]
    if low:
        words.append(f"crashkernel={low // MIB}M,low")
    return " ".join(words)


def _checks(capture: Capture) -> tuple[Check, ...]:
    terms = _terms(capture)
    reserved = sum(region.size for region in capture.regions)
    share, source = tmpfs_share(capture.cmdline)
    unpacking, dumping = _sum(terms, Counts.UNPACKING), _sum(terms, Counts.DUMPING)
    checks = [
        Check("unpacking", unpacking, reserved, "the initramfs is there packed and unpacked"),
        Check("dumping", dumping, reserved, "its packed form is gone, user space is there"),
    ]
    if capture.initramfs is not None and share is not None:
        room = max(reserved - _sum(terms, Counts.EARLY), 0)
        detail = f"{share}% of the {format_size(room)} free by then: {source}"
        limit = room * share // 100
        checks.append(Check("root file system", capture.initramfs.pages, limit, detail))
    region = capture.regions[-1]
    detail = f"all that is loaded lies in the region from {region.start:#x} on"
    checks.append(Check("segments", _sum(terms, Counts.SEGMENT), region.size, detail))
    swiotlb = capture.bounced
    if needs_swiotlb(capture.regions) and swiotlb:
        low = sum(item.size for item in capture.regions if item.end <= LOW_END)
        detail = f"swiotlb, and {format_size(LOW_EXTRA)} for others, in a region below 4 GiB"
        checks.append(Check("DMA", swiotlb + LOW_EXTRA, low, detail))
    return tuple(checks)


def _sum(terms: Iterable[Term], counts: Counts) -> int:
    return sum(term.size for term in terms if counts in term.counts)


def _terms(capture: Capture) -> tuple[Term, ...]:
    early = Counts.EARLY | Counts.RUNNING
    loaded = Counts.SEGMENT | early
    cpus, cpus_source = capture_cpus(capture.cmdline, capture.cpus)
    pages, sections = page_structures(capture.regions or _ASSUMED, capture.arch, capture.page_size)
    header, low = capture.elfcorehdr_size, "purgatory, parameters, copy of low memory"
    terms = [
        Term("kernel", capture.kernel_size, capture.kernel_source, True, loaded),
        Term("core header", header, "RAM and processors of this machine", True, loaded),
        Term("hand-over", HANDOVER, low, False, loaded),
        Term("page structures", pages, sections, True, early),
        Term("early allocations", EARLY, "hash tables, page tables, log", False, early),
        Term("processors", cpus * PER_CPU, cpus_source, False, Counts.RUNNING),
        Term("drivers, caches", RUNTIME, "of the kernel", False, Counts.RUNNING),
    ]
    if capture.initramfs is not None:
        found = capture.initramfs
        packed = Counts.SEGMENT | Counts.EARLY | Counts.UNPACKING
        unpacked = found.pages + found.entries * ENTRY
        source = (
            f"{counted(found.entries, 'entry', 'entries')}: whole pages, "
            f"{format_size(ENTRY)} for each inode"
        )
        terms[1:1] = [
            Term("initramfs, packed", capture.initrd_size, "size of the file", True, packed),
            Term("initramfs, unpacked", unpacked, source, True, Counts.RUNNING),
        ]
    if capture.bounced:
        terms.append(Term("DMA buffers", capture.bounced, "swiotlb, below 4 GiB", False, early))
    log = capture.words.grown_log()
    terms += [*([log] if log is not None else []), *capture.words.terms()]
    terms.append(Term("user space", USER_SPACE, "udev, makedumpfile …", False, Counts.DUMPING))
    return tuple(terms)


def page_structures(regions: Iterable[Range], arch: str, page_size: int) -> tuple[int, str]:
    """Return (bytes that ``struct page`` takes, the reckoning).

    The kernel makes them for whole sections of memory: Linux
    Documentation/mm/memory-model.rst, "SPARSEMEM". The first section counts, since capture
    kernels use memory at its beginning.
    """
    here = architecture_of(arch)
    bits = here.section_bits_of_page.get(page_size, here.section_bits)
    section = 1 << bits
    touched = RangeSet(
        [Range(0, section)]
        + [Range(item.start & -section, align_up(item.end, section)) for item in regions]
    )
    count = touched.size // section
    each = section // page_size * STRUCT_PAGE
    return count * each, f"{format_size(each)} for each of {counted(count, 'section')} of memory"


def needs_swiotlb(regions: Iterable[Range]) -> bool:
    """Tell whether devices that reach 4 GiB only will need bounce buffers."""
    return any(region.end > LOW_END for region in regions)
