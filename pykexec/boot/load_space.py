"""The memory that a load may take, whatever the boot protocol. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.calls import Target
from pykexec.values.errors import NoCrashRegionError
from pykexec.values.memory import crash_region, crash_regions, placeable_ram
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import ADDRESS_MAX, ADDRESS_MAX_32
from pykexec.values.wishes import Origin, at_least, at_most

if TYPE_CHECKING:
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit


def load_limits(facts: MachineFacts, request: LoadRequest) -> tuple[Limit, ...]:
    """Return what holds for every segment: ``--mem-min``, ``--mem-max``, and what can be named."""
    limits = [at_least(request.mem_min, "--mem-min", Origin.OPTION)] if request.mem_min else []
    if request.mem_max < ADDRESS_MAX:
        limits.append(at_most(request.mem_max, "--mem-max", Origin.OPTION))
    source = _why_below_4_gib(facts)
    if source is not None:
        limits.append(at_most(ADDRESS_MAX_32, source))
    return tuple(limits)


def _why_below_4_gib(facts: MachineFacts) -> str | None:
    """Return why kexec_load(2) takes nothing above 4 GiB; None where it does.

    Linux arch/x86/include/asm/kexec.h, "KEXEC_DESTINATION_MEMORY_LIMIT"; include/linux/kexec.h,
    "struct compat_kexec_segment".
    """
    if architecture_of(facts.arch).word_bits == 32:
        return "the running kernel is one of 32 bits"
    if facts.caller_bits == 32:
        return "this is a 32-bit program, whose kexec_load names no higher address"
    return None


def free_for(facts: MachineFacts, request: LoadRequest) -> RangeSet:
    """Return the memory that segments of ``request`` may take.

    A crash load has its region. A normal one has the RAM that nothing else claims, or the
    inside of a crash region if ``--mem-min`` and ``--mem-max`` name nothing else: that region
    is free once the running kernel is dead. Raises :class:`NoCrashRegionError`.

    A running kernel of 32 bits takes the page for its own code out of the crash region and wants
    that mapped: Linux kernel/kexec_core.c, "kimage_alloc_crash_control_pages",
    arch/x86/kernel/machine_kexec_32.c, "machine_kexec".
    """
    if request.target is Target.CRASH:
        return _free_for_crash(facts)
    wanted = Range(request.mem_min, max(request.mem_min, request.mem_max + 1))
    chosen = [region for region in crash_regions(facts.iomem) if region.contains(wanted)]
    return RangeSet(chosen) if chosen else placeable_ram(facts.iomem, facts.firmware_map)


def _free_for_crash(facts: MachineFacts) -> RangeSet:
    region = crash_region(facts.iomem)
    if region is None:
        from pykexec.crash.reservation import fault  # not for who has a region

        found = fault(facts)
        raise NoCrashRegionError(
            f"no memory is reserved for a crash kernel: {found.text}", hint=found.advice
        )
    mapped = facts.crash.direct_map_end
    if mapped is not None and region.start >= mapped:
        raise NoCrashRegionError(
            f"the crash kernel region {region} lies above the memory that the running 32-bit "
            f"kernel has mapped, which ends at {mapped:#x}; its own code for the jump goes there",
            hint="boot with crashkernel=SIZE without an address, or with a lower one",
        )
    source = _why_below_4_gib(facts)
    if source is not None and region.last > ADDRESS_MAX_32:
        raise NoCrashRegionError(
            f"the crash kernel region {region} reaches above 4 GiB, and {source}",
            hint="boot with crashkernel=SIZE without ,high, or use a 64-bit program",
        )
    return RangeSet([region])
