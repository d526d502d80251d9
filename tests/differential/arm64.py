"""What either tool makes of an arm64 load: a second opinion, without pykexec's code.

A load becomes a flat table of fields, in which addresses of segments are the segment's role
and an offset: the tools' own segments have other sizes. What pykexec tells on purpose in
another way is in tests/differential/differences_arm64.py, where segments go in model_arm64.py.

Linux Documentation/arch/arm64/booting.rst; Devicetree Specification v0.4; dt-schema chosen.yaml.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.differential.crash import Header, core_headers
from tests.differential.decode_image import EM_AARCH64, Handover, Nodes, Tree, parse_tree
from tests.differential.model import MIB, TOP, Machine, Span, joined
from tests.differential.sandbox import CapturedCall, CapturedSegment

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
_LOAD = 1
_TEXT_OFFSET_BEFORE_V3_17 = 0x80000
_IMAGE_SIZE_BEFORE_V3_17 = 16 * MIB


@dataclass(frozen=True, slots=True)
class Image:
    """The fields of an Image's header that decide about places."""

    text_offset: int
    image_size: int
    sized: bool
    """The header has a size; else ``image_size`` is the C tool's guess."""

    @classmethod
    def of(cls, data: bytes) -> Image:
        """Read a header; booting.rst says what one without a size stands for."""
        text_offset, size = struct.unpack_from("<QQ", data, 8)
        if size:
            return cls(text_offset, size, sized=True)
        return cls(_TEXT_OFFSET_BEFORE_V3_17, _IMAGE_SIZE_BEFORE_V3_17, sized=False)

    def size_of_ours(self, data: bytes) -> int:
        """Return the memory that pykexec gives an Image: room behind the file without a size."""
        return self.image_size + (0 if self.sized else len(data))


@dataclass(frozen=True, slots=True)
class Case:
    """One load: the machine, what was asked for, and what both tools called."""

    machine: Machine
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

    @property
    def flattened(self) -> bool:
        """Whether a tool has to make the running kernel's tree of its directories."""
        return not (self.machine.path / "sys/firmware/fdt").exists()

    @property
    def running(self) -> Tree:
        """The running kernel's tree."""
        if self.flattened:
            return Tree(_nodes_of(self.machine.path / "proc/device-tree"), ())
        return parse_tree((self.machine.path / "sys/firmware/fdt").read_bytes())

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
        "kernel": (hashlib.sha256(data).hexdigest(), len(data)),
        "kernel behind 2 MiB": load.kernel_start % KERNEL_ALIGN,
        "kernel memory": kernel.memsz - offset,
        "registers": _relative_registers(load),
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
        fields |= _dump(core_headers(segments["elfcorehdr"], EM_AARCH64))
    return fields


def named(span: Span, load: Load) -> object:
    """Return the role of the segment whose data, or whole pages, ``span`` is; or ``span``."""
    for role, item in load.handover.segments.items():
        if span == (item.mem, item.mem + item.bufsz):
            return role
        if span == (item.mem, item.mem + item.memsz):
            return f"the pages of {role}"
    return span


def _dump(headers: tuple[Header, ...]) -> Fields:
    """Return what a core header tells: what is before memory, memory, and how it is cut."""
    text = next(at for at, header in enumerate(headers) if header.kind == _LOAD)
    memory = sorted(headers[text + 1 :], key=lambda header: header.paddr)
    starts, ends = {h.paddr for h in memory}, {h.paddr + h.memsz for h in memory}
    alike = {
        (h.kind, h.flags, h.offset - h.paddr, h.vaddr - h.paddr, h.filesz - h.memsz, h.align)
        for h in memory
    }
    return {
        "notes and text": headers[: text + 1],
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


def _relative_registers(load: Load) -> Fields:
    """Return what the purgatory leaves in registers, with roles for addresses."""
    known = {load.kernel_start: "kernel", load.handover.segments["tree"].mem: "tree"}
    found = registers(load.handover.segments["purgatory"], load.call.entry)
    return {name: known.get(value, value) for name, value in found.items()}


def registers(purgatory: CapturedSegment, entry: int) -> dict[str, int]:
    """Return x0 to x3 and the address that a purgatory branches to at last.

    Follows its instructions from ``entry`` to the first ``br``; what a called function leaves
    is unknown. Arm Architecture Reference Manual DDI 0487, C4.1 and C6.2. Raises ValueError
    where something is not known at the end, or an instruction is not.
    """
    state: dict[int, int] = {}
    at = entry
    while True:
        offset = at - purgatory.mem
        word = int.from_bytes(purgatory.data[offset : offset + 4], "little")
        if word & 0xFFFFFC1F == 0xD61F0000:  # br
            target = word >> 5 & 31
            break
        _execute(word, at, state, purgatory)
        at += 4
    names = {f"x{number}": number for number in range(4)} | {"pc": target}
    missing = sorted(name for name, number in names.items() if number not in state)
    if missing:
        raise ValueError(f"the purgatory leaves {', '.join(missing)} to chance")
    return {name: state[number] for name, number in names.items()}


def _execute(word: int, at: int, state: dict[int, int], memory: CapturedSegment) -> None:
    """Carry out one instruction of the few with which a purgatory is left."""
    rd, rn = word & 31, word >> 5 & 31

    def load(address: int) -> int:
        offset = address - memory.mem
        if not 0 <= offset <= len(memory.data) - 8:
            raise ValueError(f"a load from {address:#x}, outside of the purgatory")
        return int.from_bytes(memory.data[offset : offset + 8], "little")

    if word >> 26 == 0b100101:  # bl: what the callee may change, AAPCS64 section 6.1.1
        for number in range(19):
            state.pop(number, None)
    elif word & 0x9F000000 == 0x90000000:  # adrp
        pages = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
        state[rd] = (at & ~0xFFF) + (pages << 12)
    elif word & 0x9F000000 == 0x10000000:  # adr
        state[rd] = at + _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
    elif word & 0xFFC00000 == 0x91000000:  # add, immediate
        if rn in state:
            state[rd] = state[rn] + (word >> 10 & 0xFFF)
    elif word & 0xFF000000 == 0x58000000:  # ldr, literal
        state[rd] = load(at + 4 * _signed(word >> 5 & 0x7FFFF, 19))
    elif word & 0xFFC00000 == 0xF9400000:  # ldr, unsigned offset
        state[rd] = load(state[rn] + 8 * (word >> 10 & 0xFFF))
    elif word & 0xFFC00000 == 0xA9400000:  # ldp, signed offset
        base = state[rn] + 8 * _signed(word >> 15 & 0x7F, 7)
        state[rd], state[word >> 10 & 31] = load(base), load(base + 8)
    elif word & 0xFFFFFFE0 == 0xAA1F03E0:  # mov, from xzr
        state[rd] = 0
    elif word & 0xFFC00000 != 0xD5000000:  # no system instruction: msr, ic, dsb, isb
        raise ValueError(f"an unknown instruction {word:#010x} at {at:#x}")


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
