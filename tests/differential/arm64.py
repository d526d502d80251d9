"""What is particular to arm64 in a load: its Images, and the registers that a kernel gets.

A second opinion, without pykexec's code. Linux Documentation/arch/arm64/booting.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.differential.model import MIB
from tests.differential.sandbox import CapturedSegment
from tests.differential.tree_loads import Fields, Load

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


def relative_registers(load: Load) -> Fields:
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
