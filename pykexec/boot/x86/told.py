"""What an x86 kernel is told by ``struct boot_params`` and the setup_data list. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.x86.boot_params import parse_boot_params
from pykexec.boot.x86.e820 import E820Type, e820_from_memory_map, parse_e820
from pykexec.boot.x86.setup_data import SetupType, walk_nodes
from pykexec.planning.told import Told, range_text
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.boot.x86.boot_params import BootParams
    from pykexec.boot.x86.e820 import E820Entry
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""

    segment = plan.segment(Role.PARAMETERS)
    if segment is None:
        return
    after = parse_boot_params(segment.data)
    before = parse_boot_params(facts.boot_params) if facts.boot_params is not None else None
    lists = _nodes_before(before), _nodes_after(plan, after)
    new = _fields(after) | {"setup_data": lists[1]}
    old = dict.fromkeys(new) if before is None else _fields(before) | {"setup_data": lists[0]}
    for name, value in new.items():
        if old[name] != value:
            yield Told(name, old[name], value)
    known = before.e820 if before is not None else e820_from_memory_map(facts.memory_map)
    yield from _e820_changes(known, _e820_after(plan, after))


def _fields(page: BootParams) -> dict[str, str | None]:
    """Return what a zero page says in words; None for what it does not say."""
    efi = page.efi
    return {
        "boot protocol": str(page.header.protocol) if page.has_header else None,
        "type_of_loader": f"{page.type_of_loader:#x}",
        "initrd": range_text(page.initrd),
        "display": _display(page.screen_info),
        "acpi_rsdp_addr": _number(page.acpi_rsdp),
        "efi system table": _number(efi.systab),
        "efi memory map": f"{counted(efi.memmap_size, 'byte')} at {efi.memmap:#x}"
        if efi.memmap_size
        else None,
        "hardware_subarch": _number(page.hardware_subarch),
        "secure_boot": _number(page.secure_boot),
        "edd disks": str(len(page.edd)) if page.edd else None,
    }


def _number(value: int) -> str | None:
    """Write a field of which 0 says nothing."""
    return f"{value:#x}" if value else None


def _display(screen_info: bytes) -> str | None:
    """Say what ``struct screen_info`` describes (Linux include/uapi/linux/screen_info.h)."""

    def field(offset: int, size: int) -> int:
        return int.from_bytes(screen_info[offset : offset + size], "little")

    kind = field(0x0F, 1)
    if not kind:
        return None
    base = field(0x3A, 4) << 32 | field(0x18, 4)
    if not base:
        return f"type {kind:#x}, {field(0x07, 1)} columns"
    return f"type {kind:#x}, {field(0x12, 2)}x{field(0x14, 2)}x{field(0x16, 2)} at {base:#x}"


def _nodes_before(page: BootParams | None) -> str | None:
    """The running kernel's list lies in memory that nobody may read."""
    return f"a list at {page.setup_data:#x}" if page is not None and page.setup_data else None


def _nodes_after(plan: SegmentPlan, page: BootParams) -> str | None:
    nodes = walk_nodes(page.setup_data, plan.bytes_at) or ()
    known = {int(item): item.name for item in SetupType}
    words = (f"{known.get(n.type, n.type)} ({counted(len(n.payload), 'byte')})" for n in nodes)
    return ", ".join(words) or None


def _e820_after(plan: SegmentPlan, page: BootParams) -> tuple[E820Entry, ...]:
    nodes = walk_nodes(page.setup_data, plan.bytes_at) or ()
    more = (n.payload for n in nodes if n.type == SetupType.SETUP_E820_EXT)
    return (*page.e820, *(entry for payload in more for entry in parse_e820(payload)))


def _e820_changes(before: Iterable[E820Entry], after: Iterable[E820Entry]) -> Iterator[Told]:
    known = {int(item): item.name.removeprefix("E820_TYPE_") for item in E820Type}
    old, new = tuple(before), tuple(after)
    for entry in sorted({*old} ^ {*new}, key=lambda item: (item.range, item.type)):
        text = f"{entry.range} {known.get(entry.type, f'type {entry.type:#x}')}"
        yield Told("e820", text, None) if entry in old else Told("e820", None, text)
