"""What kexec handover (KHO) shows of itself: its tree, and what is registered there. Pure.

Linux Documentation/admin-guide/mm/kho.rst, "debugfs Interfaces"; include/linux/kho/abi. These are
layouts between one kernel and the next, and each has a name that changes with it. Numbers are in
the byte order of the kernel, also in the tree.
"""

from __future__ import annotations

import re
from struct import Struct, error
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from typing import Any

    from pykexec.formats.device_tree import Node
    from pykexec.values.buffers import Buffer

ORCHESTRATOR = "LUO"
"""LUO_KHO_ENTRY_NAME: how the live update orchestrator is registered."""
METADATA = "kexec-metadata"
_LUO = Struct("=8sQQQ")
_METADATA = Struct("=I65sI")
_NUMBER = Struct("=Q")
_NAMES = re.compile(rb"(?<![\w.-])(?:kho|luo|memfd)-v\d+(?=\0)")


@dataclass(frozen=True, slots=True)
class Registered:
    """Something that is handed over."""

    name: str
    place: Range
    """Physical addresses."""


@dataclass(frozen=True, slots=True)
class HandoverTree:
    """The root of all that is handed over."""

    compatible: str
    """Which layout it has, such as ``kho-v4``: a next kernel of another takes nothing over."""
    memory_map: int
    """Physical address of the map of preserved pages."""
    registered: tuple[Registered, ...]


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """What the live update orchestrator says of itself."""

    compatible: str
    updates: int
    """Which one in a row of live updates the next jump will be, from 1 on."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The kernel that has handed over."""

    release: str
    jumps: int
    """Since the last start by firmware."""


def parse_handover_tree(data: Buffer) -> HandoverTree:
    """Read ``kho/in/fdt``; raises :class:`ImageError` for what is no such tree.

    ``kho/out/fdt`` is cut off where the tree ended when it was first shown, before all was in it
    (Linux 7.2, kernel/liveupdate/kexec_handover.c, "kho_init"): names are in ``out/sub_fdts``.
    """
    from pykexec.formats.device_tree import parse_device_tree

    root = parse_device_tree(data).root
    compatible = (root.get("compatible") or b"").rstrip(b"\0").decode("ascii", "replace")
    if not compatible.startswith("kho-"):
        raise ImageError(f"no tree of a kexec handover: it calls itself {compatible!r}")
    registered = []
    for node in root.children:
        start, size = _number(node, "preserved-data"), _number(node, "blob-size")
        if start is None or size is None or Range.fitting(start, size) is None:
            raise ImageError(f"no place is given for {node.name!r}, which is handed over")
        registered.append(Registered(node.name, Range.sized(start, size)))
    return HandoverTree(compatible, _number(root, "preserved-memory-map") or 0, tuple(registered))


def parse_orchestrator(data: Buffer) -> Orchestrator:
    """Read ``sub_fdts/LUO``, struct luo_ser; raises :class:`ImageError`."""
    compatible, updates, *_ = _unpack(_LUO, data, "of the live update orchestrator")
    name = compatible.rstrip(b"\0").decode("ascii", "replace")
    if not name.startswith("luo-"):
        raise ImageError(f"nothing of the live update orchestrator: it calls itself {name!r}")
    return Orchestrator(name, updates)


def parse_metadata(data: Buffer) -> Predecessor:
    """Read ``sub_fdts/kexec-metadata``, struct kho_kexec_metadata; raises :class:`ImageError`."""
    version, release, jumps = _unpack(_METADATA, data, "of the kernels before")
    if version != 1:
        raise ImageError(f"what is told of the kernels before is of version {version}, not 1")
    return Predecessor(release.partition(b"\0")[0].decode("utf-8", "replace"), jumps)


def parse_scratch(addresses: str, sizes: str) -> tuple[Range, ...]:
    """Read ``scratch_phys`` and ``scratch_len``: the areas that a load may use; physical.

    Raises :class:`ImageError`.
    """
    try:
        pairs = zip(addresses.split(), sizes.split(), strict=True)
        return tuple(Range.sized(int(start, 16), int(size, 16)) for start, size in pairs)
    except ValueError as fault:
        raise ImageError(f"the scratch areas cannot be read: {fault}") from fault


def known_layouts(kernel: Buffer) -> frozenset[str]:
    """Return the names of layouts that an unpacked kernel knows, as they stand among its strings.

    Nothing else in a kernel's file tells whether it takes over what this one hands over.
    """
    return frozenset(name.decode() for name in _NAMES.findall(bytes(kernel)))


def _number(node: Node, name: str) -> int | None:
    value = node.get(name)
    if value is None or len(value) != _NUMBER.size:
        return None
    number: int = _NUMBER.unpack(value)[0]
    return number


def _unpack(layout: Struct, data: Buffer, what: str) -> tuple[Any, ...]:
    try:
        return layout.unpack_from(data)
    except error:
        short = f"{len(data)} bytes, of {layout.size}"
        raise ImageError(f"what is handed over {what} is too short: {short}") from None
