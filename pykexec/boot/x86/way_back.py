"""Back into the kernel that waits: a plan without a kernel. Pure.

The purgatory is entered as ever, and leaves for where that kernel stands behind its own call, in
its control page (Linux arch/x86/kernel/relocate_kernel_64.S, ".Lrelocate"). That one takes the
address of this kernel, which waits from then on, from the top of the stack.

On x86_64 the page tables that the running kernel makes for a jump need not reach there: the other
kernel's memory is none of its own. So there are tables here for the memory of both.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pykexec.architectures.x86 import I386
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86.finish import Told, finish_plan
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import BootProtocol
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import WayBack, read_parameters
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.errors import OptionError, Violation
from pykexec.values.memory import MemoryKind, memory_map_from_iomem
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, GIB, MIB, align_down, align_up
from pykexec.values.wishes import at_least, at_most

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.purgatory_objects.registers import Registers
    from pykexec.values.facts import MachineFacts

_PAGE = 4096
_ENTRIES = 512
_TABLE = Struct(f"<{_ENTRIES}Q")
_TABLE_ENTRY = 0x23
_LARGE_PAGE = 0xE3
"""Present, writable, accessed; a page of 2 MiB also dirty and large: Intel SDM volume 3, 4.5."""
_STACK = 2 * 8
"""Bytes at the end of the stack's page: the word on top, and one so that it lies in the page."""


def plan_way_back(
    facts: MachineFacts, request: LoadRequest, address: int, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out what returns to the kernel that waits at the physical ``address``.

    Of ``request`` only where segments may lie and what the purgatory does counts. Raises
    :class:`OptionError` for an address that no kernel waits at, :class:`NoRoomError`.
    """
    narrow = facts.arch == I386.name
    _check_address(facts, address, narrow=narrow)
    low = at_least(MIB, "the first MiB is used by starting processors")
    reach = (at_most(ADDRESS_MAX_32, "a kernel of 32 bits"),) if narrow else ()
    reached = () if narrow else tuple(_reached(facts, address))
    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    builder.want(Role.PURGATORY, purgatory.memsz, low, *reach, checked=False)
    size = (_table_count(facts, reached) + 1) * _PAGE
    builder.want(Role.WAY_BACK, size, low, *reach)
    builder.settle()
    place = builder.place_of(Role.WAY_BACK)
    builder.fill(Role.WAY_BACK, _tables(facts, reached, place.start) if reached else b"\0")
    slot = place.start + size - _STACK
    registers: Registers
    if narrow:
        registers = Entry32Registers(eip=address, esp=slot)
    else:
        registers = Entry64Registers(rip=address, rsp=slot)
    told = Told(
        cmdline=b"",
        notes=(f"returns to the kernel that waits at {address:#x}",),
        protocol=BootProtocol.RETURN,
        way_back=WayBack(return_slot=slot, return_tables=0 if narrow else place.start),
    )
    return finish_plan(facts, request, builder, purgatory, registers, told)


def verify_way_back(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """The tables reach the kernel that waits, this one's memory and what runs meanwhile."""
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        yield Violation("way-back", "the plan has no purgatory to return by")
        return
    parameters = read_parameters(load(plan.arch), bytes(purgatory.data))
    registers = parameters.registers
    stack = getattr(registers, "esp" if plan.arch == I386.name else "rsp")
    slot = parameters.way_back.return_slot
    segment = plan.segment(Role.WAY_BACK)
    if stack != slot or segment is None or not segment.dest.contains(Range.sized(slot, _STACK)):
        yield Violation("way-back", f"the stack is {stack:#x}, the address goes to {slot:#x}")
    if plan.arch == I386.name:
        return
    needed = {plan.kernel_entry, *(item.last for item in _own_memory(facts))}
    needed |= {item for own in plan.segments for item in (own.dest.start, own.dest.last)}
    for address in sorted(needed):
        found = _translate(plan, facts, parameters.way_back.return_tables, address)
        if found != address:
            where = "nothing" if found is None else f"{found:#x}"
            yield Violation("way-back", f"{address:#x} is {where} in the page tables")


def _translate(plan: SegmentPlan, facts: MachineFacts, table: int, address: int) -> int | None:
    """Return what the page tables of ``plan`` make of an address; None: nothing."""
    for span in (*_levels(facts), GIB // _ENTRIES):
        index = address // span % _ENTRIES
        data = plan.bytes_at(Range.sized(table + index * 8, 8))
        entry = int.from_bytes(data or b"", "little")
        if not entry & 1:
            return None
        table = entry & ~(_PAGE - 1)
    return table + address % span


def _check_address(facts: MachineFacts, address: int, *, narrow: bool) -> None:
    # Page tables of four levels reach no more as it is: the upper half is of negative addresses.
    last = ADDRESS_MAX_32 if narrow else (1 << (52 if facts.la57 else 47)) - 1
    if not 0 < address <= last:
        raise OptionError(
            f"no kernel waits at {address:#x}: at most {last:#x} is the address of memory",
            hint="kexec_jump_back_entry= on /proc/cmdline has it",
        )
    if any(item.contains(Range.sized(address, 1)) for item in _own_memory(facts)):
        raise OptionError(
            f"no kernel waits at {address:#x}: that is memory of the running one",
            hint="kexec_jump_back_entry= on /proc/cmdline has the address; a loader that tells the "
            "next kernel of all memory lets it be overwritten",
        )


def _own_memory(facts: MachineFacts) -> Iterator[Range]:
    """Yield the running kernel's RAM."""
    return iter(memory_map_from_iomem(facts.iomem).of_kind(MemoryKind.RAM))


def _reached(facts: MachineFacts, address: int) -> Iterator[int]:
    """Yield each multiple of 1 GiB from which on memory is reached, in order."""
    gibs = {address // GIB}
    for item in _own_memory(facts):
        gibs.update(range(item.start // GIB, align_up(item.end, GIB) // GIB))
    return (gib * GIB for gib in sorted(gibs))


def _levels(facts: MachineFacts) -> tuple[int, ...]:
    """Return what an entry of each table maps, in bytes, from the root down to the last."""
    upper = (_ENTRIES * _ENTRIES * GIB,) if facts.la57 else ()
    return (*upper, _ENTRIES * GIB, GIB)


def _bases(reached: Iterable[int], span: int) -> list[int]:
    """Return where tables begin whose 512 entries map ``span`` each, without gaps' ones."""
    return sorted({align_down(item, _ENTRIES * span) for item in reached})


def _table_count(facts: MachineFacts, reached: tuple[int, ...]) -> int:
    if not reached:
        return 0
    return len(reached) + sum(len(_bases(reached, span)) for span in _levels(facts))


def _tables(facts: MachineFacts, reached: tuple[int, ...], base: int) -> bytes:
    """Return the tables, the root first, to lie at the physical address ``base``."""
    tables: list[bytes] = []
    free = base + _PAGE
    for span in _levels(facts):
        children = list(reached) if span == GIB else _bases(reached, span // _ENTRIES)
        places = {child: free + index * _PAGE for index, child in enumerate(children)}
        free += len(children) * _PAGE
        for start in _bases(reached, span):
            entries = (places.get(start + index * span, 0) for index in range(_ENTRIES))
            tables.append(_TABLE.pack(*(entry and entry | _TABLE_ENTRY for entry in entries)))
    large = GIB // _ENTRIES
    tables += (
        _TABLE.pack(*(start + index * large | _LARGE_PAGE for index in range(_ENTRIES)))
        for start in reached
    )
    return b"".join(tables)
