"""What either tool makes of a load with a device tree: a second opinion, without pykexec's code.

A load becomes a flat table of fields, in which addresses of segments are the segment's role
and an offset: the tools' own segments have other sizes. What pykexec tells on purpose in
another way is in tests/differential/differences_*.py, where segments go in model_*.py.

Devicetree Specification v0.4; dt-schema chosen.yaml.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from tests.differential.crash import Header, core_headers
from tests.differential.decode_image import Handover, Nodes, Tree, parse_tree
from tests.differential.model import MIB, TOP, Machine, Span, joined
from tests.differential.sandbox import LIVE_TREE, CapturedCall, CapturedSegment

Fields = dict[str, object]

KERNEL_ALIGN = 2 * MIB
RANGES = (
    "linux,elfcorehdr",
    "linux,usable-memory-range",
    "linux,ima-kexec-buffer",
    "linux,tpm-kexec-buffer",
)
"""Properties of /chosen that give memory in the root's cells."""
_SEEDS = ("kaslr-seed", "rng-seed")
LOAD = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One load: the machine, what was asked for, and what both tools called."""

    machine: Machine
    elf_machine: int
    page_size: int
    image: bytes
    initrd: bytes | None
    append: str
    reuse: bool
    crash: bool
    dtb: bytes | None
    """The user's tree."""
    theirs: Load
    ours: Load
    mem_min: int = 0
    mem_max: int = TOP
    """Inclusive."""
    reuse_initrd: bool = False
    kernel_align: int = KERNEL_ALIGN
    """What the kernel's place is told relative to."""

    @property
    def flattened(self) -> bool:
        """Whether a tool has to make the running kernel's tree of its directories."""
        return self._live.is_dir() or not self._blob.exists()

    @property
    def _live(self) -> Path:
        return self.machine.path / "sys" / LIVE_TREE

    @property
    def _blob(self) -> Path:
        return self.machine.path / "sys/firmware/fdt"

    @property
    def running(self) -> Tree:
        """The running kernel's tree."""
        if self._live.is_dir():
            reserved = parse_tree(self._blob.read_bytes()).reservations
            return Tree(_nodes_of(self._live), reserved)
        if self.flattened:
            return Tree(_nodes_of(self.machine.path / "proc/device-tree"), ())
        return parse_tree(self._blob.read_bytes())

    @property
    def source(self) -> Tree:
        """The tree that the load starts from."""
        return self.running if self.dtb is None else parse_tree(self.dtb)


def _nodes_of(root: Path) -> Nodes:
    """Read a tree as Linux shows it, without the ``name`` that it makes up for each node."""
    nodes: Nodes = {}
    for path in (root, *(item for item in root.rglob("*") if item.is_dir())):
        files = (item for item in path.iterdir() if item.is_file() and item.name != "name")
        name = path.relative_to(root).as_posix()
        nodes["/" if name == "." else f"/{name}"] = {file.name: file.read_bytes() for file in files}
    return nodes


@dataclass(frozen=True, slots=True)
class Load:
    """A recorded kexec_load(2), decoded."""

    call: CapturedCall
    handover: Handover
    kernel_start: int
    """Where the Image begins, in memory."""


def find_image(segment: CapturedSegment, image: bytes) -> int:
    """Return where ``image`` begins in the kernel's segment: there are only zeros before."""
    offset = segment.data.index(image[:64])
    if any(segment.data[:offset]):
        raise ValueError("there is something in front of the Image")
    return offset


def told(load: Load, case: Case) -> Fields:
    """Return everything that the load tells the next kernel."""
    segments, tree = load.handover.segments, load.handover.tree
    kernel = segments["kernel"]
    offset = load.kernel_start - kernel.mem
    data = kernel.data[offset:]
    fields: Fields = {
        "flags": load.call.flags,
        "segments": tuple(sorted(segments)),
        "entered": next(role for role in segments if holds(segments[role], load.call.entry)),
        "kernel": (hashlib.sha256(data).hexdigest(), len(data)),
        "kernel behind a multiple": load.kernel_start % case.kernel_align,
        "kernel memory": kernel.memsz - offset,
        "boot_cpuid": int.from_bytes(segments["tree"].data[28:32], "big"),
        "reservations": tuple(named(span, load) for span in tree.reservations),
    }
    if "initrd" in segments:
        fields["initrd"] = (segments["initrd"].bufsz, segments["initrd"].memsz)
    for node, properties in tree.nodes.items():
        fields[node] = "a node"
        for name, value in properties.items():
            fields[f"{node}:{name}"] = value
    fields |= _chosen(load, case)
    if "elfcorehdr" in segments:
        headers = core_headers(segments["elfcorehdr"], case.elf_machine)
        fields |= dump(headers, segments["backup"].mem if "backup" in segments else 0)
    return fields


def holds(segment: CapturedSegment, address: int) -> bool:
    return segment.mem <= address < segment.mem + segment.memsz


def named(span: Span, load: Load) -> object:
    """Return the role of the segment whose data, or whole pages, ``span`` is; or ``span``."""
    for role, item in load.handover.segments.items():
        if span == (item.mem, item.mem + item.bufsz):
            return role
        if span == (item.mem, item.mem + item.memsz):
            return f"the pages of {role}"
    return span


def dump(headers: tuple[Header, ...], backup: int) -> Fields:
    """Return what a core header tells: what is before memory, memory, and how it is cut.

    The first that is of memory is the kernel's text, or what is copied to ``backup``, where its
    offset is told relative to that.
    """
    text = next(at for at, header in enumerate(headers) if header.kind == LOAD)
    first = replace(headers[text], offset=headers[text].offset - backup)
    memory = sorted(headers[text + 1 :], key=lambda header: header.paddr)
    starts, ends = {h.paddr for h in memory}, {h.paddr + h.memsz for h in memory}
    alike = {
        (h.kind, h.flags, h.offset - h.paddr, h.vaddr - h.paddr, h.filesz - h.memsz, h.align)
        for h in memory
    }
    return {
        "notes and text": (*headers[:text], first),
        "dumped memory": tuple(joined((h.paddr, h.paddr + h.memsz) for h in memory)),
        "dumped memory as": alike,
        "seams in dumped memory": starts & ends,
    }


def _chosen(load: Load, case: Case) -> Fields:
    """Return /chosen with segments for addresses, and with seeds by their size."""
    chosen, segments = load.handover.tree.chosen, load.handover.segments
    before = case.source.chosen
    fields: Fields = {}
    for name, value in chosen.items():
        said: object = value
        if name in ("linux,initrd-start", "linux,initrd-end") and "initrd" in segments:
            said = ("initrd", int.from_bytes(value, "big") - segments["initrd"].mem, len(value))
        elif name in RANGES:
            said = tuple(named(span, load) for span in load.handover.tree.spans(name))
        elif name in _SEEDS and any(value) and value != before.get(name):
            said = ("fresh", len(value))
        elif name == "bootargs":
            text, _, rest = value.partition(b"\0")
            said = text
            fields["/chosen:bootargs, behind the NUL"] = len(rest)
        fields[f"/chosen:{name}"] = said
    return fields
