"""QEMU's ``virt`` boards, read off a plan's device tree. Pure.

The tree describes the machine that the plan was made for, and the next kernel finds its devices by
nothing else. So only plans for that very board can be tried out: those of a machine under QEMU or
libvirt that was booted without EFI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import find_chosen
from pykexec.boot.tree.given_tree import told_memory
from pykexec.formats.device_tree import parse_device_tree
from pykexec.simulation.emulated import told_ram
from pykexec.values.command_line import split_words
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, SimulationError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan


@dataclass(frozen=True, slots=True)
class VirtBoard:
    """What differs between the boards of that name."""

    compatible: bytes
    """One of the root's names."""
    uarts: tuple[str, ...]
    """Where the node of the console is: paths without the first slash, one for each age of QEMU."""
    tty: bytes
    """What Linux calls it."""
    ram: Range
    """Physical addresses: where RAM begins, and ends at most."""
    cpus_max: int


@dataclass(frozen=True, slots=True)
class ToldBoard:
    """The board that a plan's tree describes."""

    root: Node
    memory: Range
    """All RAM, in one stretch: physical addresses."""
    cpus: int

    @property
    def processors(self) -> str:
        """How many, in words."""
        return f"{self.cpus} processor{'s' if self.cpus > 1 else ''}"


def read_board(plan: SegmentPlan, board: VirtBoard) -> ToldBoard:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another one."""
    root = _tree(plan)
    _check_board(root, board)
    _check_heard(plan, root, board)
    return ToldBoard(root, _memory(plan, root, board), _cpus(root, board))


def _find_node(root: Node, path: str) -> Node | None:
    """Return the node at ``path``, which begins below the root; None when there is none."""
    node: Node | None = root
    for name in path.split("/"):
        node = node.child(name) if node is not None else None
    return node


def _tree(plan: SegmentPlan) -> Node:
    segment = plan.segment(Role.DTB)
    if segment is None:
        raise SimulationError("cannot simulate: the plan has no device tree")
    try:
        return parse_device_tree(segment.data).root
    except ImageError as error:
        raise SimulationError(f"cannot simulate: {error.message}") from error


def _check_board(root: Node, board: VirtBoard) -> None:
    chosen = find_chosen(root)
    if chosen is not None and chosen.get("linux,uefi-system-table") is not None:
        raise SimulationError(
            "cannot simulate: the plan hands EFI over, which the emulated machine does not have: "
            "the new kernel would look for its memory where there is nothing",
        )
    compatible = (root.get("compatible") or b"").split(b"\0")
    uart = any(_find_node(root, path) is not None for path in board.uarts)
    if board.compatible not in compatible or not uart:
        name = b", ".join(filter(None, compatible)).decode(errors="replace") or "nothing"
        raise SimulationError(
            f"cannot simulate: the plan's device tree describes {name}, and QEMU's virt board "
            "has other devices"
        )


def _check_heard(plan: SegmentPlan, root: Node, board: VirtBoard) -> None:
    """Refuse a plan by which the new kernel would not be heard."""
    words, chosen = split_words(plan.cmdline), find_chosen(root)
    console = b"console=" + board.tty
    default = chosen.get("stdout-path") if chosen is not None else None
    consoles = [word for word in words if word.startswith(b"console=")]
    heard = any(word.startswith((console, b"earlycon")) for word in words)
    if not heard and (consoles or default is None):
        raise SimulationError(
            "cannot simulate: the plan's command line has no serial console, "
            "so that the new kernel would not be heard",
            hint=f"plan with {console.decode()} in --append",
        )


def _memory(plan: SegmentPlan, root: Node, board: VirtBoard) -> Range:
    told = told_memory(root)
    stray = told_ram(plan).union(told).minus([board.ram])
    if len(stray) or not len(told):
        first = next(iter(stray), None)
        raise SimulationError(
            f"cannot simulate: QEMU's virt board has RAM from {board.ram.start:#x} on, at most "
            f"{format_size(board.ram.size)}, the plan uses "
            f"{first or 'none that its tree tells of'}"
        )
    return Range(board.ram.start, max(item.end for item in RangeSet([*told, *told_ram(plan)])))


def _cpus(root: Node, board: VirtBoard) -> int:
    cpus = root.child("cpus")
    found = [node for node in cpus.children if node.get("device_type") == b"cpu\0"] if cpus else []
    if not 1 <= len(found) <= board.cpus_max:
        raise SimulationError(
            f"cannot simulate: the plan's device tree has {counted(len(found), 'processor')}, "
            f"1 to {board.cpus_max} can be emulated"
        )
    return len(found)
