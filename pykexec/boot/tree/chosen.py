"""The device tree that the next kernel is given: /chosen renewed, everything else as it is. Pure.

What each property of /chosen becomes (dt-schema chosen.yaml; Linux drivers/of/kexec.c,
drivers/of/fdt.c, Documentation/arch/arm64, Documentation/core-api/kho):

=============================  ========================================================
``bootargs``                   replaced, even by an empty one: never the running kernel's
``linux,initrd-start``/-end    replaced (64 bits each), removed without an initrd
``linux,elfcorehdr``           written for a crash load, removed for any other
``linux,usable-memory-range``  written for a crash load; removed together with an old
                               ``linux,elfcorehdr``, so that a kernel started from a
                               capture kernel has all memory again; else firmware has
                               written it, and nothing else keeps a kernel out of the
                               rest: kept
``kaslr-seed``                 replaced; removed when there is no fresh one: a seed that is
                               used twice, or that was zeroed by its user, is none
``rng-seed``                   as ``kaslr-seed``
``linux,ima-kexec-buffer``     replaced, removed without a buffer: the old one is reused memory
``linux,tpm-kexec-buffer``     removed, for the same reason
``linux,kho-fdt``, -scratch    removed: a kernel that believed them would take memory for
                               preserved that nobody has preserved
``linux,booted-from-kexec``    written, as the kernel's own loader does
anything else                  kept: ``stdout-path``, ``linux,stdout-path``,
                               ``linux,pci-probe-only``, ``linux,uefi-*``, framebuffers
=============================  ========================================================

Memory reservations are kept, each once, save those of the buffers that the removed
properties told of: in a chain of jumps they would pile up. A new initrd or core header gets
none, because kernels reserve both themselves (Linux arch/*/mm/init.c, "phys_initrd_start";
drivers/of/fdt.c, "fdt_reserve_elfcorehdr"); an IMA buffer does, because nobody else would. A
reservation that firmware made for its own blob is kept: nothing shows user space which it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import align_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_CHOSEN = ("chosen", "chosen@0")
"""Linux drivers/of/fdt.c, "early_init_dt_scan_chosen", in its order."""
_BUFFERS = ("linux,elfcorehdr", "linux,ima-kexec-buffer", "linux,tpm-kexec-buffer")
"""Properties of one range in the root's cells that a loader made, and may have reserved."""
_RENEWED = frozenset(
    {
        *_BUFFERS,
        "linux,initrd-start",
        "linux,initrd-end",
        "linux,kho-fdt",
        "linux,kho-scratch",
        "kaslr-seed",
        "rng-seed",
    }
)
"""Removed; some are written anew. ``bootargs`` keeps its place."""
USABLE = "linux,usable-memory-range"
_USABLE_MAX = 2
"""Ranges that a kernel reads of it: Linux drivers/of/fdt.c, "MAX_USABLE_RANGES"."""
_PAGE_SIZES = (4096, 16384, 65536)
_CELL = 4
_WIDE_CELLS = (2, 2)


@dataclass(frozen=True, slots=True)
class ChosenInput:
    """What /chosen is to say. Ranges are exact bytes, physical."""

    cmdline: bytes
    """Without its NUL."""
    initrd: Range | None = None
    kaslr_seed: bytes | None = None
    """8 fresh random bytes; None when there is no entropy, or none is wanted."""
    rng_seed: bytes | None = None
    """Fresh random bytes, other than ``kaslr_seed``'s."""
    elfcorehdr: Range | None = None
    """Crash loads only."""
    usable: tuple[Range, ...] = ()
    """Crash loads only, others keep what firmware says: the region that holds the kernel, then the
    low one if there is one. Kernels read two at most, older ones the first alone."""
    ima_buffer: Range | None = None
    """Whole pages: the kernel gives them back when it has read the list."""


def prepare_tree(source: bytes, wish: ChosenInput, spare: int = 0) -> tuple[bytes, tuple[str, ...]]:
    """Return the next kernel's tree, made from ``source``, and notes for the user.

    It has ``spare`` bytes of room in which the running kernel may add to it.

    Raises :class:`ImageError` when ``source`` is not a device tree, or cannot express an
    address: its root has too few cells.
    """
    tree = parse_device_tree(source)
    root = _with_cells_of_its_own(tree.root)
    chosen = find_chosen(root) or Node(_CHOSEN[0])
    notes = (*_limit_notes(root, wish), *_seed_notes(chosen, wish))
    reservations = lasting_reservations(tree)
    if wish.ima_buffer is not None and wish.ima_buffer not in reservations:
        reservations = (*reservations, wish.ima_buffer)
    chosen = _renew(chosen, wish, Cells.of(root))
    renewed = DeviceTree(root.with_child(chosen), reservations, tree.boot_cpuid)
    return build_device_tree(renewed, spare), notes


@dataclass(frozen=True, slots=True)
class ToldChosen:
    """What a kernel will read in /chosen; None and empty where nothing is said."""

    cmdline: bytes
    """Without its NUL."""
    initrd: Range | None
    elfcorehdr: Range | None
    usable: tuple[Range, ...]


def read_chosen(blob: bytes) -> ToldChosen:
    """Decode /chosen of a tree as a kernel does; raises :class:`ImageError` for no tree."""
    return told_chosen(parse_device_tree(blob))


def told_chosen(tree: DeviceTree) -> ToldChosen:
    """Decode /chosen of a tree; raises :class:`ImageError` for impossible cells of its root."""
    root = tree.root
    chosen = find_chosen(root) or Node(_CHOSEN[0])
    cells = Cells.of(root)
    return ToldChosen(
        cmdline=(chosen.get("bootargs") or b"").split(b"\0", 1)[0],
        initrd=_told_initrd(chosen),
        elfcorehdr=next(cells.decode(chosen.get("linux,elfcorehdr") or b""), None),
        usable=read_usable(chosen, cells),
    )


def read_usable(chosen: Node, cells: Cells) -> tuple[Range, ...]:
    """Return the ranges to which /chosen limits memory, as far as a kernel reads them.

    The first one cuts what the tree tells of; an empty one cuts nothing (Linux mm/memblock.c,
    "memblock_cap_memory_range"). The second is added to what is left.
    """
    ranges = tuple(cells.decode(chosen.get(USABLE) or b""))[:_USABLE_MAX]
    return tuple(item for item in ranges if item.size) if ranges and ranges[0].size else ()


def firmware_limit(root: Node) -> tuple[Range, ...]:
    """Return the ranges to which firmware limits memory; a capture kernel's are not its own."""
    chosen = find_chosen(root)
    if chosen is None or _is_of_capture_kernel(chosen):
        return ()
    return read_usable(chosen, Cells.of(root))


def _is_of_capture_kernel(chosen: Node) -> bool:
    return chosen.get("linux,elfcorehdr") is not None


def lasting_reservations(tree: DeviceTree) -> tuple[Range, ...]:
    """Return the reservations that outlive the running kernel, each once, in their order."""
    stale = set(_told_buffers(tree.root))
    # An empty one would hide those behind it: Linux drivers/of/fdt.c,
    # "early_init_fdt_scan_reserved_mem", takes it for the end.
    kept = (item for item in tree.reservations if item.size and not _is_stale(item, stale))
    return tuple(dict.fromkeys(kept))


def find_chosen(root: Node) -> Node | None:
    """Return the node that a kernel takes for /chosen."""
    return next((node for node in map(root.child, _CHOSEN) if node is not None), None)


def _renew(chosen: Node, wish: ChosenInput, cells: Cells) -> Node:
    gone = _RENEWED | {USABLE} if _is_of_capture_kernel(chosen) else _RENEWED
    chosen = chosen.without(gone.__contains__).with_property("bootargs", wish.cmdline + b"\0")
    written: dict[str, bytes | None] = {}
    if wish.initrd is not None:
        written["linux,initrd-start"] = wish.initrd.start.to_bytes(8, "big")
        written["linux,initrd-end"] = wish.initrd.end.to_bytes(8, "big")
    if wish.elfcorehdr is not None:
        written["linux,elfcorehdr"] = cells.encode([wish.elfcorehdr])
    if wish.usable:
        written[USABLE] = cells.encode(wish.usable)
    if wish.ima_buffer is not None:
        written["linux,ima-kexec-buffer"] = cells.encode([wish.ima_buffer])
    written["kaslr-seed"] = wish.kaslr_seed
    written["rng-seed"] = wish.rng_seed
    written["linux,booted-from-kexec"] = b""
    for name, value in written.items():
        if value is not None:
            chosen = chosen.with_property(name, value)
    return chosen


def _limit_notes(root: Node, wish: ChosenInput) -> tuple[str, ...]:
    limit = firmware_limit(root)
    if not limit or wish.usable:
        return ()
    return (f"firmware limits memory to {', '.join(map(str, limit))} ({USABLE})",)


def _seed_notes(chosen: Node, wish: ChosenInput) -> tuple[str, ...]:
    notes = []
    if any(chosen.get("kaslr-seed") or b""):
        notes.append(
            "the old kaslr-seed in the device tree was not wiped by the kernel that used it"
        )
    if wish.kaslr_seed is None:
        notes.append("no kaslr-seed is handed over: the new kernel may lie at a known address")
    if wish.rng_seed is None:
        notes.append("no RNG seed is handed over")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class Cells:
    """How many 32-bit cells the children of the root have for an address and for a size."""

    address: int
    size: int

    @classmethod
    def of(cls, root: Node) -> Cells:
        """Read them off the root; a kernel takes 1 and 1 where nothing is said.

        Linux drivers/of/fdt.c, "early_init_dt_scan_root"; the specification's default of 2
        and 1 (section 2.3.5) is not for the root, which must say it.
        """
        return cls(cls._read(root, "#address-cells"), cls._read(root, "#size-cells"))

    @staticmethod
    def _read(root: Node, name: str) -> int:
        value = root.get(name)
        if value is None:
            return 1
        count = int.from_bytes(value, "big")
        if len(value) != _CELL or not 1 <= count <= 4:
            raise ImageError(
                f"malformed device tree: {name} of the root is {value.hex(' ') or 'empty'}, "
                "a cell from 1 to 4 is needed",
                field=name,
            )
        return count

    def encode(self, ranges: Iterable[Range]) -> bytes:
        """Return ``(address, size)`` of each range, one behind the other."""
        out = b""
        for item in ranges:
            for what, value, count in (
                ("#address-cells", item.start, self.address),
                ("#size-cells", item.size, self.size),
            ):
                if value >> 32 * count:
                    raise ImageError(
                        f"the device tree cannot express {value:#x}: {what} of its root is {count}",
                        field=what,
                        hint="with --mem-max below 4 GiB it fits",
                    )
                out += value.to_bytes(_CELL * count, "big")
        return out

    def decode(self, value: bytes) -> Iterator[Range]:
        """Yield the ranges in ``value``; what is short of one, or is none, is left out."""
        split, width = _CELL * self.address, _CELL * (self.address + self.size)
        for at in range(0, len(value) - width + 1, width):
            start = int.from_bytes(value[at : at + split], "big")
            size = int.from_bytes(value[at + split : at + width], "big")
            if start + size <= 1 << 64:
                yield Range.sized(start, size)


def _with_cells_of_its_own(root: Node) -> Node:
    """Give a root that has nothing but /chosen 64-bit cells, since nothing else counts in them.

    The tree that the EFI stub makes for an ACPI machine is such a one, and had no cells
    before Linux v4.12 (drivers/firmware/efi/libstub/fdt.c, "fdt_update_cell_size").
    """
    if any(node.name not in _CHOSEN for node in root.children):
        return root
    for name, count in zip(("#address-cells", "#size-cells"), _WIDE_CELLS, strict=True):
        root = root.with_property(name, count.to_bytes(_CELL, "big"))
    return root


def _told_buffers(root: Node) -> Iterator[Range]:
    """Yield the buffers that /chosen tells of and the kernel that was told no longer needs."""
    chosen = find_chosen(root)
    if chosen is None:
        return
    cells = Cells.of(root)
    for name in _BUFFERS:
        yield from cells.decode(chosen.get(name) or b"")
    initrd = _told_initrd(chosen)
    if initrd is not None:
        yield initrd


def _told_initrd(chosen: Node) -> Range | None:
    start, end = chosen.get("linux,initrd-start"), chosen.get("linux,initrd-end")
    if start and end:
        first, behind = int.from_bytes(start, "big"), int.from_bytes(end, "big")
        if first < behind <= 1 << 64:
            return Range(first, behind)
    return None


def _is_stale(reservation: Range, buffers: Iterable[Range]) -> bool:
    """Tell whether it is of one of ``buffers``: of its exact size, or of whole pages."""
    return any(
        item.start == reservation.start
        and reservation.size in (item.size, *(align_up(item.size, size) for size in _PAGE_SIZES))
        for item in buffers
    )
