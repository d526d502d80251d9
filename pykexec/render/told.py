"""What the next kernel is told, as a difference to what the running one was told.

On x86 that is ``struct boot_params`` with the setup_data list, elsewhere the device tree; both
are decoded from the plan's bytes. Seeds are never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.errors import ImageError
from pykexec.planning.plans import FileLoadPlan, Role
from pykexec.render.text import printable
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.boot.x86.boot_params import BootParams
    from pykexec.boot.x86.e820 import E820Entry
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import Plan, SegmentPlan
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range

_SEEDS = ("kaslr-seed", "rng-seed")
_CELLS_SHOWN = 8
_BYTES_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that the two boots are told differently; None: nothing is said of it."""

    name: str
    before: str | None
    after: str | None


def told_changes(plan: Plan, facts: MachineFacts) -> tuple[Told, ...]:
    """Return what changes, with what the machine's present boot was told, as far as it shows.

    The order is that of what is told: the command line first. Of a plan for kexec_file_load
    nothing else is known.
    """
    tree = plan.segment(Role.DTB) if not isinstance(plan, FileLoadPlan) else None
    if tree is not None:
        return tuple(_tree_changes(facts.device_tree, bytes(tree.data)))
    before, after = (printable(words) or None for words in (facts.cmdline, plan.cmdline))
    words = Told("command line", before, after)
    found = (words,) if words.before != words.after else ()
    if isinstance(plan, FileLoadPlan):
        return found
    return (*found, *_boot_params_changes(plan, facts))


def _boot_params_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    from pykexec.boot.x86.boot_params import parse_boot_params
    from pykexec.boot.x86.e820 import e820_from_memory_map

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
        "initrd": _range_text(page.initrd),
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


def _range_text(item: Range | None) -> str | None:
    return None if item is None else f"{item}, {format_size(item.size)}"


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
    from pykexec.boot.x86.setup_data import SetupType, walk_nodes

    nodes = walk_nodes(page.setup_data, plan.bytes_at) or ()
    known = {int(item): item.name for item in SetupType}
    words = (f"{known.get(n.type, n.type)} ({counted(len(n.payload), 'byte')})" for n in nodes)
    return ", ".join(words) or None


def _e820_after(plan: SegmentPlan, page: BootParams) -> tuple[E820Entry, ...]:
    from pykexec.boot.x86.e820 import parse_e820
    from pykexec.boot.x86.setup_data import SetupType, walk_nodes

    nodes = walk_nodes(page.setup_data, plan.bytes_at) or ()
    more = (n.payload for n in nodes if n.type == SetupType.SETUP_E820_EXT)
    return (*page.e820, *(entry for payload in more for entry in parse_e820(payload)))


def _e820_changes(before: Iterable[E820Entry], after: Iterable[E820Entry]) -> Iterator[Told]:
    from pykexec.boot.x86.e820 import E820Type

    known = {int(item): item.name.removeprefix("E820_TYPE_") for item in E820Type}
    old, new = tuple(before), tuple(after)
    for entry in sorted({*old} ^ {*new}, key=lambda item: (item.range, item.type)):
        text = f"{entry.range} {known.get(entry.type, f'type {entry.type:#x}')}"
        yield Told("e820", text, None) if entry in old else Told("e820", None, text)


def _tree_changes(before: bytes | None, after: bytes) -> Iterator[Told]:
    from pykexec.formats.device_tree import parse_device_tree

    new = parse_device_tree(after)
    try:
        old = parse_device_tree(before) if before is not None else None
    except ImageError:
        old = None
    was = _properties(old.root) if old is not None else {}
    will = _properties(new.root)
    for name in [*was, *(name for name in will if name not in was)]:
        if was.get(name) != will.get(name):
            yield Told(name, _value(name, was.get(name)), _value(name, will.get(name)))
    reserved = {*old.reservations} if old is not None else set()
    for item in sorted(reserved ^ {*new.reservations}):
        text = _range_text(item)
        before_text, after_text = (text, None) if item in reserved else (None, text)
        yield Told("memory reservation", before_text, after_text)


def _properties(root: Node) -> dict[str, bytes]:
    """Return the values by ``/path/of/node property``; of two of one name the first counts."""
    found: dict[str, bytes] = {}
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        for name, value in node.properties:
            found.setdefault(f"{path or '/'} {name}", value)
        waiting += [(f"{path}/{child.name}", child) for child in reversed(node.children)]
    return found


def _value(name: str, value: bytes | None) -> str | None:
    """Write a property's value as dts does: strings, cells or bytes; not that of a seed."""
    if value is None:
        return None
    if name.endswith(_SEEDS):
        return f"{counted(len(value), 'byte')}"
    if not value:
        return "(empty)"
    words = value.removesuffix(b"\0").split(b"\0")
    if value.endswith(b"\0") and all(w and w.isascii() and w.decode().isprintable() for w in words):
        return ", ".join(f'"{w.decode()}"' for w in words)
    if len(value) % 4:
        shown = value[:_BYTES_SHOWN].hex(" ")
        return f"[{shown}{' ...' if len(value) > _BYTES_SHOWN else ''}]"
    cells = [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4)]
    shown = " ".join(f"{cell:#x}" for cell in cells[:_CELLS_SHOWN])
    return f"<{shown}{' ...' if len(cells) > _CELLS_SHOWN else ''}>"
