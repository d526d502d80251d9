"""What the device tree of a POWER machine says of memory, and of who owns parts of it. Pure.

Linux arch/powerpc/kernel/prom.c ("early_init_dt_scan_memory_ppc", "early_reserve_mem"),
arch/powerpc/mm/drmem.c, arch/powerpc/kexec/ranges.c. /proc/iomem shows nothing inside RAM but the
crash region there. All numbers are big-endian, addresses physical.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import Cells, find_chosen, lasting_reservations
from pykexec.boot.tree.given_tree import is_available, reserved_regions
from pykexec.boot.tree.memory import Kept, TreeMemory
from pykexec.formats.device_tree import parse_device_tree
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.memory import OPAL, RTAS
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import DeviceTree, Node
    from pykexec.values.facts import MachineFacts

LMBS = "ibm,dynamic-reconfiguration-memory"
_LMB_ASSIGNED, _LMB_RESERVED = 0x8, 0x80
_LMBS_MAX = 1 << 20
"""64 TiB of the smallest ones."""
_GPU_MEMORY = b"ibm,coherent-device-memory"
_OLD_RMA_MAX = GIB
_RMA_MAX = 1 << 40
"""Linux arch/powerpc/mm/book3s64/hash_utils.c, "hash__setup_initial_memory_limit"."""
_ISA_3_0 = frozenset({0x0F00_0005, 0x0F00_0006, 0x0F00_0007})
_ISA_3_0_PVRS = frozenset({0x004E, 0x0080, 0x0082})
"""POWER9, 10 and 11, by the upper half: Linux arch/powerpc/include/asm/reg.h, "PVR_POWER9"; the
numbers above are the architecture's, "PVR_ARCH_300"."""


@dataclass(frozen=True, slots=True)
class Lmb:
    """A logical memory block: what a hypervisor gives and takes away."""

    place: Range
    usable: bool
    """It belongs to this machine."""


def number(node: Node | None, name: str) -> int | None:
    """Return a property of one number, of 4 or 8 bytes; None without."""
    value = node.get(name) if node is not None else None
    return int.from_bytes(value, "big") if value is not None and len(value) in (4, 8) else None


def sized(node: Node | None, base: str, size: str) -> Range | None:
    """Return the range that two properties give; None where there is none."""
    start, length = number(node, base), number(node, size)
    if start is None or not length:
        return None
    return Range.fitting(start, length)


def is_memory(node: Node) -> bool:
    """Tell whether a child of the root is memory that kernels use for themselves."""
    if node.get("device_type") != b"memory\0" or not is_available(node):
        return False
    return _GPU_MEMORY not in (node.get("compatible") or b"").split(b"\0")


def memory_of(node: Node, cells: Cells) -> tuple[Range, ...]:
    """Return what a memory node tells of in ``reg``."""
    return tuple(item for item in cells.decode(node.get("reg") or b"") if item.size)


def lmbs_of(root: Node) -> tuple[Lmb, ...]:
    """Return the logical memory blocks in their order, by either form of the property.

    Raises :class:`ImageError` for one that is cut, or counts more than there can be.
    """
    node = root.child(LMBS)
    size = number(node, "ibm,lmb-size")
    if node is None or not size:
        return ()
    value = node.get("ibm,dynamic-memory")
    if value is not None:
        return tuple(_lmbs(value, size))
    value = node.get("ibm,dynamic-memory-v2")
    return () if value is None else tuple(_lmb_sets(value, size))


def _lmbs(value: bytes, size: int) -> Iterator[Lmb]:
    for at in _entries(value, "ibm,dynamic-memory"):
        base, flags = int.from_bytes(value[at : at + 8], "big"), value[at + 20 : at + 24]
        yield _lmb(base, size, flags)


def _lmb_sets(value: bytes, size: int) -> Iterator[Lmb]:
    total = 0
    for at in _entries(value, "ibm,dynamic-memory-v2"):
        count = int.from_bytes(value[at : at + 4], "big")
        base = int.from_bytes(value[at + 4 : at + 12], "big")
        total += count
        if total > _LMBS_MAX:
            raise _malformed("ibm,dynamic-memory-v2", f"it counts more than {_LMBS_MAX} blocks")
        for index in range(count):
            yield _lmb(base + index * size, size, value[at + 20 : at + 24])


def _entries(value: bytes, name: str) -> range:
    """Return the offsets of the entries, of 24 bytes in both forms, behind their number."""
    count = int.from_bytes(value[:4], "big")
    if len(value) < 4 or 4 + 24 * count > len(value):
        raise _malformed(name, f"it has {len(value)} bytes for {count} entries of 24")
    return range(4, 4 + 24 * count, 24)


def _lmb(base: int, size: int, flags: bytes) -> Lmb:
    place = Range.fitting(base, size)
    if place is None:
        raise _malformed("the list of memory blocks", f"one is at {base:#x}")
    bits = int.from_bytes(flags, "big")
    return Lmb(place, bool(bits & _LMB_ASSIGNED) and not bits & _LMB_RESERVED)


def _malformed(name: str, why: str) -> ImageError:
    return ImageError(f"malformed device tree: {name}: {why}", field=name)


def installed(root: Node) -> RangeSet:
    """Return the memory that a kernel started with this tree has."""
    cells = Cells.of(root)
    nodes = (item for node in root.children if is_memory(node) for item in memory_of(node, cells))
    return RangeSet((*nodes, *(lmb.place for lmb in lmbs_of(root) if lmb.usable)))


def memory_since_boot(facts: MachineFacts) -> tuple[int, int]:
    """Return the bytes of memory that have come and gone since the boot, as the two trees tell."""
    if facts.device_tree is None or facts.boot_tree is None:
        return 0, 0
    now, then = (
        installed(parse_device_tree(tree).root) for tree in (facts.device_tree, facts.boot_tree)
    )
    came, gone = (sum(item.size for item in part) for part in (now.minus(then), then.minus(now)))
    return came, gone


def firmware_regions(root: Node) -> Iterator[Kept]:
    """Yield what firmware keeps and a next kernel has to know of: RTAS, OPAL, TCE tables."""
    rtas = sized(root.child("rtas"), "linux,rtas-base", "rtas-size")
    if rtas is not None:
        yield Kept(rtas, RTAS)
    opal = sized(root.child("ibm,opal"), "opal-base-address", "opal-runtime-size")
    if opal is not None:
        yield Kept(opal, OPAL)
    for node in _pci_nodes(root):
        tables = sized(node, "linux,tce-base", "linux,tce-size")
        if tables is not None:
            yield Kept(tables, f"TCE table of {node.name}")


def _pci_nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.get("device_type") in (b"pci\0", b"pciex\0"):
            yield node
        waiting += node.children


def kept_memory(tree: DeviceTree) -> TreeMemory:
    """Return what a next kernel is told of memory, and what of it nobody may write to."""
    root = tree.root
    nodes = (
        Kept(item, node.name, no_map=node.get("no-map") is not None)
        for node, item in reserved_regions(root)
        if is_available(node)
    )
    ranges = Cells(2, 2).decode(root.get("reserved-ranges") or b"")
    entries = (Kept(item, "/memreserve/") for item in lasting_reservations(tree))
    kept = (
        *firmware_regions(root),
        *nodes,
        *(Kept(item, "reserved-ranges") for item in ranges if item.size),
        *entries,
    )
    return TreeMemory(installed(root), None, kept)


def running_kernel(root: Node) -> Iterator[Kept]:
    """Yield what the running kernel of this tree is in, and needs until it has left.

    It refuses segments below its own end, and checks nothing else (Linux
    arch/powerpc/kexec/core_64.c, "machine_kexec_prepare").
    """
    chosen = find_chosen(root)
    end = number(chosen, "linux,kernel-end")
    if end:
        yield Kept(Range(0, end), "the running kernel")
    table = sized(chosen, "linux,htab-base", "linux,htab-size")
    if table is not None:
        yield Kept(table, "the hashed page table")


def has_hypervisor(root: Node) -> bool:
    """Tell whether the machine is a guest (pseries), and no bare one (powernv)."""
    return root.child("ibm,opal") is None


def real_mode_end(facts: MachineFacts, root: Node) -> int | None:
    """Return the physical address from which on real mode reaches nothing; None: all is reached.

    With hashed page tables under a hypervisor it is the end of the first block of memory, the RMA.
    A machine that does not say which tables it has is taken for one with hashed ones.
    """
    if facts.hashed_page_tables is False or not has_hypervisor(root):
        return None
    cells = Cells.of(root)
    blocks = [item for node in root.children if is_memory(node) for item in memory_of(node, cells)]
    blocks += [lmb.place for lmb in lmbs_of(root) if lmb.usable]
    first = min(blocks, default=None)
    if first is None:
        return None
    most = _RMA_MAX if _knows_isa_3_0(root) else _OLD_RMA_MAX
    return first.start + min(first.size, most)


def _knows_isa_3_0(root: Node) -> bool:
    cpus = root.child("cpus")
    versions = {number(node, "cpu-version") for node in (cpus.children if cpus else ())} - {None}
    return bool(versions) and all(
        version in _ISA_3_0 or (version or 0) >> 16 in _ISA_3_0_PVRS for version in versions
    )


def opal_entry(root: Node) -> tuple[int, int]:
    """Return OPAL's base and entry point; zeros without OPAL."""
    node = root.child("ibm,opal")
    base, entry = number(node, "opal-base-address"), number(node, "opal-entry-address")
    return base or 0, entry or 0
