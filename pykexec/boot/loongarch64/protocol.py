"""From a vmlinux.efi to a plan, for loongarch64. Pure.

Linux Documentation/arch/loongarch/booting.rst; arch/loongarch/kernel/kexec_efi.c. Nothing but the
command line tells the new kernel of what was loaded; of memory it learns by the map that EFI's stub
left at the first boot, which lies in memory that /proc/iomem shows as reserved.

A kernel goes where it was linked to lie, or above: it moves what refers to addresses by as much
(arch/loongarch/kernel/relocate.c). With CONFIG_RANDOMIZE_BASE it copies itself up further, and asks
nobody what lies there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.loongarch64.command_line import segment_data, tell, without_told
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.boot.tree.crash import capture_memory, want_core_header
from pykexec.planning.file_placement import release_version
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.wanted import Option
from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, OptionError
from pykexec.values.memory import crash_region
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import KIB, MIB
from pykexec.values.wishes import Origin, Prefer, aligned, at_least, at_most

if TYPE_CHECKING:
    from pykexec.boot.tree.crash import CaptureMemory
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit

KERNEL_ALIGN = 2 * MIB
"""Linux arch/loongarch/kernel/kexec_efi.c, "SZ_2M"."""
FIRST_FREE = 2 * MIB
"""Below it are the code of the jump, the copy of the command line, and waiting processors: Linux
arch/loongarch/kernel/machine_kexec.c, "KEXEC_CONTROL_CODE"."""
KASLR_REACH = 256 * MIB
"""Bytes by which a kernel may move itself up, at most: Linux arch/loongarch/Kconfig,
"RANDOMIZE_BASE_MAX_OFFSET"."""
_RELOCATABLE_SINCE = (6, 3)
"""Linux kernel commits 3f89765d6227 and 35c94fab6eee."""
_CORE_HEADER_ALIGN = 64 * KIB
_CLEARS_INITRD_TABLE = (7, 2)


@dataclass(frozen=True, slots=True)
class _Load:
    """What a plan is made of before its places are known."""

    facts: MachineFacts
    request: LoadRequest
    image: VmlinuxEfi
    cmdline: bytes
    """Without what an earlier load has told."""
    capture: CaptureMemory | None


def plan_vmlinux_efi(
    facts: MachineFacts, request: LoadRequest, image: VmlinuxEfi, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a kernel.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError` for a
    kernel that cannot lie where it would have to, :class:`NoRoomError` when a segment has no place,
    :class:`OptionError` for a device tree.
    """
    if request.dtb is not None:
        raise OptionError(
            "--dtb: a loongarch64 kernel takes a device tree from EFI's tables alone, and that "
            "only without ACPI",
            hint="leave the option out",
        )
    crash = request.target is Target.CRASH
    cmdline, left_out = without_told(request.cmdline, crash=crash)
    load = _Load(facts, request, image, cmdline, capture_memory(facts) if crash else None)
    low = at_least(FIRST_FREE, "the first 2 MiB are the jump's")
    limits = (low, *load_limits(facts, request))
    builder = PlanBuilder(free_for(facts, request), facts.page_size, limits)
    if crash:
        align = aligned(_CORE_HEADER_ALIGN, "64 KiB of a core header")
        want_core_header(facts, request, builder, align)
    _want_kernel(load, builder)
    builder.want(Role.PURGATORY, purgatory.memsz, checked=False)
    builder.want(Role.COMMAND_LINE, len(segment_data(b"")), data=segment_data(b""))
    if request.initrd is not None:
        builder.want(Role.INITRD, len(request.initrd), data=request.initrd)
    _refuse_other_lines(load)
    builder.settle()

    stays = crash or _in_the_way(builder)
    line = _line(load, builder, nokaslr=stays)
    builder.fill(Role.COMMAND_LINE, segment_data(line))
    notes = (*request.notes, *_notes(load, left_out, nokaslr=stays and not crash))
    return _finish(load, purgatory, builder, line, notes)


def _want_kernel(load: _Load, builder: PlanBuilder) -> None:
    """Ask for the place that it was linked for, or if it can be moved for any above."""
    image = load.image
    start = image.load_offset
    at_home = (
        at_least(start, "load_offset", Origin.HEADER),
        at_most(start + image.image_size - 1, "load_offset", Origin.HEADER),
    )
    options = [Option(image.image_size, at_home, Prefer.BOTTOM)]
    if _relocatable(image):
        anywhere: tuple[Limit, ...] = (
            aligned(KERNEL_ALIGN, "2 MiB of a loongarch64 kernel"),
            at_least(start, "load_offset", Origin.HEADER),
        )
        options.append(Option(image.image_size, anywhere, Prefer.BOTTOM))
    else:
        _require_home(load, Range.sized(start, image.image_size))
    builder.want_one_of(Role.KERNEL, *options, data=image.payload)


def _relocatable(image: VmlinuxEfi) -> bool:
    """Tell whether it may lie elsewhere; of a release that is not known it is believed."""
    found = release_version(image.release)
    return found is None or found >= _RELOCATABLE_SINCE


def _require_home(load: _Load, home: Range) -> None:
    """Refuse a kernel that runs where it was linked to lie alone, and cannot lie there."""
    region = crash_region(load.facts.iomem) if load.capture is not None else None
    hint = "give a kernel of 6.3 or later with CONFIG_RELOCATABLE"
    if region is not None:
        where = f"which is not in the crash region {region}"
        hint += f", or boot with crashkernel=SIZE@{home.start:#x}"
        left = RangeSet([home]).minus([region])
    else:
        left = RangeSet([home]).minus(free_for(load.facts, load.request))
        where = f"of which {next(iter(left), home)} is no free memory here"
    if left:
        raise ImageError(
            f"Linux {load.image.release} runs at {home} alone, {where}: kernels before 6.3 cannot "
            "be moved",
            hint=hint,
        )


def _refuse_other_lines(load: _Load) -> None:
    """Refuse an initrd that the running kernel would take for the command line."""
    initrd = load.request.initrd
    if initrd is not None and bytes(initrd[:5]) == b"kexec":
        raise ImageError(
            "the initrd begins with the letters 'kexec', by which the running kernel knows the "
            "command line",
            hint="put an empty cpio archive in front of it, or compress it",
        )


def _in_the_way(builder: PlanBuilder) -> bool:
    """Tell whether something lies where a kernel may move itself to."""
    kernel = builder.place_of(Role.KERNEL)
    reach = Range(kernel.end, kernel.end + KASLR_REACH)
    return any(item.dest.overlaps(reach) for item in builder.segments)


def _line(load: _Load, builder: PlanBuilder, *, nokaslr: bool) -> bytes:
    def exactly(role: Role) -> Range | None:
        place = builder.place_if_any(role)
        return Range.sized(place.start, builder.data_size(role)) if place is not None else None

    return tell(
        load.cmdline,
        initrd=exactly(Role.INITRD),
        regions=load.capture.usable if load.capture is not None else (),
        elfcorehdr=exactly(Role.ELFCOREHDR),
        nokaslr=nokaslr,
    )


def _notes(load: _Load, left_out: tuple[bytes, ...], *, nokaslr: bool) -> list[str]:
    notes = []
    if left_out:
        words = b" ".join(left_out).decode("utf-8", "replace")
        notes.append(f"left out of the command line, as what an earlier load told: {words}")
    if nokaslr:
        notes.append(
            "nokaslr is on the command line: something lies where the kernel might move itself to"
        )
    running = release_version(load.facts.kernel.release)
    cleared = running is not None and running >= _CLEARS_INITRD_TABLE
    if load.request.initrd is None and load.capture is None and not cleared:
        notes.append(
            "there is no initrd: EFI may still name the first boot's, and what lies there by now "
            "is taken for one; an empty one (--initrd) prevents that"
        )
    return notes


def _finish(
    load: _Load,
    purgatory: PurgatoryObject,
    builder: PlanBuilder,
    line: bytes,
    notes: tuple[str, ...],
) -> SegmentPlan:
    facts, request = load.facts, load.request
    entry = builder.place_of(Role.KERNEL).start + load.image.entry_offset
    registers = Loongarch64Registers(a1=builder.place_of(Role.COMMAND_LINE).start, pc=entry)
    fill_purgatory(builder, purgatory, request, registers)
    crash = KexecFlags.KEXEC_ON_CRASH if load.capture is not None else 0
    # The running kernel takes the first segment that begins as a command line.
    segments = sorted(builder.segments, key=lambda item: item.role is not Role.COMMAND_LINE)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=builder.place_of(Role.PURGATORY).start + purgatory.entry,
        kernel_entry=entry,
        flags=architecture_of(facts.arch).kexec_flag | crash,
        segments=tuple(segments),
        cmdline=line,
        memory_map=load.capture.memory_map if load.capture is not None else facts.memory_map,
        notes=notes,
    )
