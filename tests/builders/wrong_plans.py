"""Makes wrong plans out of right ones, each by one mistake that a loader could make."""

from __future__ import annotations

from dataclasses import replace

from pykexec.planning.digest import table_of
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import build_purgatory, read_parameters
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import align_down, align_up

_RAMDISK_IMAGE = 0x218
"""Linux Documentation/arch/x86/boot.rst, "ramdisk_image"."""


def segment_of(plan: SegmentPlan, role: Role) -> Segment:
    """Return the segment with that role, which must be there."""
    segment = plan.segment(role)
    assert segment is not None, role
    return segment


def corrupted(plan: SegmentPlan, role: Role = Role.INITRD) -> SegmentPlan:
    """Turn one byte of a segment around, as a device that still writes would after the load."""
    data = bytearray(segment_of(plan, role).data)
    data[len(data) // 2] ^= 0xFF
    return plan.with_data(role, bytes(data))


def entered_elsewhere(plan: SegmentPlan, role: Role = Role.INITRD) -> SegmentPlan:
    """Enter the plan at a segment that is no program."""
    return replace(plan, entry=segment_of(plan, role).dest.start)


def initrd_in_the_way(plan: SegmentPlan) -> SegmentPlan:
    """Put the initrd where the kernel unpacks itself, as a loader that knows no init_size would.

    That loader reserves no more than the kernel file's own size, tells the kernel of the place,
    and takes a digest that is right.
    """
    kernel, initrd = segment_of(plan, Role.KERNEL), segment_of(plan, Role.INITRD)
    cut = align_up(len(kernel.data), plan.page_size)
    place = align_down(kernel.dest.end - initrd.dest.size, plan.page_size)
    assert place >= kernel.dest.start + cut
    parameters = segment_of(plan, Role.PARAMETERS)
    page = bytearray(parameters.data)
    page[_RAMDISK_IMAGE : _RAMDISK_IMAGE + 4] = (place & 0xFFFFFFFF).to_bytes(4, "little")
    page[0xC0:0xC4] = (place >> 32).to_bytes(4, "little")
    changed = {
        Role.KERNEL: replace(kernel, dest=Range.sized(kernel.dest.start, cut)),
        Role.INITRD: replace(initrd, dest=Range.sized(place, initrd.dest.size)),
        Role.PARAMETERS: replace(parameters, data=bytes(page)),
    }
    segments = sorted((changed.get(s.role, s) for s in plan.segments), key=lambda s: s.dest)
    return resealed(replace(plan, segments=tuple(segments)))


def kernel_off_its_base(plan: SegmentPlan) -> SegmentPlan:
    """Put the kernel a page higher, as a loader that knows of no alignment but the page's would.

    It takes a digest that is right, and enters the kernel where it lies.
    """
    kernel, purgatory = segment_of(plan, Role.KERNEL), segment_of(plan, Role.PURGATORY)
    page = plan.page_size
    dest = Range(kernel.dest.start + page, kernel.dest.end)
    built = load(plan.arch)
    parameters = read_parameters(built, bytes(purgatory.data))
    registers = replace(parameters.registers, pc=plan.kernel_entry + page)
    data = build_purgatory(built, purgatory.dest.start, replace(parameters, registers=registers))
    moved = (replace(item, dest=dest) if item is kernel else item for item in plan.segments)
    made = replace(plan, segments=tuple(moved), kernel_entry=plan.kernel_entry + page)
    return resealed(made.with_data(Role.PURGATORY, data))


def resealed(plan: SegmentPlan) -> SegmentPlan:
    """Take the digest anew over the plan as it is."""
    purgatory = segment_of(plan, Role.PURGATORY)
    built = load(plan.arch)
    parameters = replace(
        read_parameters(built, bytes(purgatory.data)),
        table=table_of(plan.segments, plan.page_size),
        digest=None,
    )
    data = build_purgatory(built, purgatory.dest.start, parameters)
    return plan.with_data(Role.PURGATORY, data)
