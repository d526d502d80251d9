"""The ``setup_data`` list: what an x86 kernel is told beyond the zero page. Pure.

Linux Documentation/arch/x86/boot.rst, "setup_data"; types and payloads from
arch/x86/include/uapi/asm/setup_data.h and arch/x86/include/asm/efi.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pykexec.boot.x86._structures import (
    EFI_MEMORY_DESCRIPTOR,
    EFI_SETUP_DATA,
    SETUP_DATA_HEADER,
)
from pykexec.values.data_classes import dataclass
from pykexec.values.units import align_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pykexec.values.buffers import Buffer
    from pykexec.values.facts import EfiFacts, EfiMemoryDescriptor
    from pykexec.values.ranges import Range

_NODE_ALIGN = 16


class SetupType(IntEnum):
    """``setup_data`` types, those that are handed over."""

    SETUP_E820_EXT = 1
    SETUP_DTB = 2
    SETUP_EFI = 4
    SETUP_IMA = 8
    SETUP_RNG_SEED = 9


@dataclass(frozen=True, slots=True)
class SetupNode:
    """One node of the list."""

    type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node with the physical address of its header."""

    addr: int
    type: int
    payload: bytes


def nodes_size(nodes: Iterable[SetupNode]) -> int:
    """Return the bytes that :func:`build_nodes` will make."""
    header = SETUP_DATA_HEADER.size
    return sum(align_up(header + len(node.payload), _NODE_ALIGN) for node in nodes)


def build_nodes(nodes: Iterable[SetupNode], base: int) -> bytes:
    """Lay nodes out one behind the other from physical address ``base`` and link them.

    The list's head is ``base``. Nodes start at multiples of 16 bytes.
    """
    remaining = list(nodes)
    out = bytearray()
    while remaining:
        node = remaining.pop(0)
        length = align_up(SETUP_DATA_HEADER.size + len(node.payload), _NODE_ALIGN)
        following = base + len(out) + length if remaining else 0
        head = SETUP_DATA_HEADER.build(
            {"next": following, "type": node.type, "len": len(node.payload)}
        )
        out += (head + node.payload).ljust(length, b"\0")
    return bytes(out)


def walk_nodes(head: int, read: Callable[[Range], bytes | None]) -> tuple[PlacedNode, ...] | None:
    """Follow the list from physical address ``head`` through ``read``.

    None when it leads out of what ``read`` knows, or into a circle.
    """
    from pykexec.values.ranges import Range

    found: list[PlacedNode] = []
    size = SETUP_DATA_HEADER.size
    seen: set[int] = set()
    while head:
        where = Range.fitting(head, size)
        raw = read(where) if where is not None and head not in seen else None
        if raw is None:
            return None
        seen.add(head)
        fields = SETUP_DATA_HEADER.parse(raw)
        where = Range.fitting(head + size, fields.len)
        payload = read(where) if where is not None and fields.len else b""
        if where is None or payload is None:
            return None
        found.append(PlacedNode(head, fields.type, payload))
        head = fields.next
    return tuple(found)


def dtb_node(data: Buffer) -> SetupNode:
    """Build SETUP_DTB; raises :class:`ImageError` when ``data`` is no device tree.

    The tree goes as it is (Linux arch/x86/kernel/setup.c, "parse_setup_data").
    """
    from pykexec.formats.device_tree import parse_device_tree

    parse_device_tree(data)
    return SetupNode(SetupType.SETUP_DTB, bytes(data))


def efi_node(efi: EfiFacts) -> SetupNode | None:
    """Build SETUP_EFI; None when the kernel does not say where the tables are.

    ``runtime`` is unused by kernels since v5.7 and missing in sysfs of newer ones: 0 does.
    The SMBIOS table is a convenience: 0 where unknown.
    """
    if efi.fw_vendor is None or efi.config_table is None:
        return None
    payload = EFI_SETUP_DATA.build(
        {
            "fw_vendor": efi.fw_vendor,
            "runtime": efi.runtime or 0,
            "tables": efi.config_table,
            "smbios": efi.smbios or 0,
        }
    )
    return SetupNode(SetupType.SETUP_EFI, payload)


def build_efi_memmap(descriptors: Iterable[EfiMemoryDescriptor]) -> bytes:
    """Encode the runtime map, one ``EFI_MEMORY_DESCRIPTOR`` of 40 bytes after the other."""
    return b"".join(
        EFI_MEMORY_DESCRIPTOR.build(
            {
                "type": item.type,
                "phys_addr": item.phys_addr,
                "virt_addr": item.virt_addr,
                "num_pages": item.num_pages,
                "attribute": item.attribute,
            }
        )
        for item in descriptors
    )
