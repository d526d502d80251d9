"""An x86 processor with SHA instructions: the emulator's has none, so they are done for it here.

Intel, Software Developer's Manual, volume 2: SHA256RNDS2, SHA256MSG1, SHA256MSG2, CPUID.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from unicorn import UC_HOOK_INSN, UC_HOOK_INSN_INVALID, UC_MODE_64, x86_const

from tests.purgatory.emulator_x86 import CR4_OSFXSR, X86Machine

MASK = 0xFFFF_FFFF

SSSE3, SSE4_1 = 1 << 9, 1 << 19
FXSR, SSE2 = 1 << 24, 1 << 26
SHA = 1 << 29

CR0_EM, CR0_TS = 1 << 2, 1 << 3

INVALID_OPCODE, GENERAL_PROTECTION, VIRTUALIZATION, VMM_COMMUNICATION = 6, 13, 20, 29
WITH_ERROR_CODE = (GENERAL_PROTECTION, VMM_COMMUNICATION)

Words = list[int]
"""Four words of 32 bits, from the lowest up."""


def rotr(x: int, n: int) -> int:
    return (x >> n | x << (32 - n)) & MASK


def rnds2(cdgh: Words, abef: Words, words: Words) -> Words:
    """Two rounds; the result is the new a, b, e, f."""
    h, g, d, c = cdgh
    f, e, b, a = abef
    for word in words[:2]:
        one = ((e & f) ^ (~e & g)) + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + word + h
        two = ((a & b) ^ (a & c) ^ (b & c)) + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22))
        a, b, c, d, e, f, g, h = (one + two) & MASK, a, b, c, (one + d) & MASK, e, f, g
    return [f, e, b, a]


def msg1(first: Words, second: Words) -> Words:
    """Add sigma 0 of the word behind each."""
    behind = [*first[1:], second[0]]
    return [
        (word + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3)) & MASK
        for word, x in zip(first, behind, strict=True)
    ]


def msg2(first: Words, second: Words) -> Words:
    """Add sigma 1 of the word two before each."""
    made: Words = []
    for word, x in zip(first, (second[2], second[3], None, None), strict=True):
        before = made[-2] if x is None else x
        made.append((word + (rotr(before, 17) ^ rotr(before, 19) ^ before >> 10)) & MASK)
    return made


@dataclass
class ShaUnit:
    """What is added to a machine: its answers to CPUID, and the instructions."""

    machine: X86Machine
    leaves: dict[int, tuple[int, int, int, int]] = field(
        default_factory=lambda: {
            0: (7, 0, 0, 0),
            1: (0, 0, SSSE3 | SSE4_1, FXSR | SSE2),
            7: (0, SHA, 0, 0),
        }
    )
    """eax, ebx, ecx and edx by leaf."""
    vector: int | None = None
    """CPUID is this exception."""
    asked: list[int] = field(default_factory=list)
    """The leaves that were asked for."""
    executed: int = 0
    """SHA instructions."""

    def __post_init__(self) -> None:
        """Be asked."""
        uc = self.machine.uc
        uc.hook_add(UC_HOOK_INSN, self._cpuid, None, 1, 0, x86_const.UC_X86_INS_CPUID)
        uc.hook_add(UC_HOOK_INSN_INVALID, self._invalid)

    @property
    def _bits(self) -> int:
        return 64 if self.machine.mode == UC_MODE_64 else 32

    @property
    def _ip(self) -> str:
        return "rip" if self._bits == 64 else "eip"

    def _cpuid(self, _uc: object, _data: object) -> int:
        self.asked.append(self.machine.register("eax"))
        if self.vector is not None:
            self._deliver(self.vector)
            return 1
        assert self.machine.register("ecx") == 0, "the subleaf"
        answer = self.leaves.get(self.asked[-1], (0,) * 4)
        letter = "r" if self._bits == 64 else "e"
        for name, value in zip(("ax", "bx", "cx", "dx"), answer, strict=True):
            self.machine.set(letter + name, value)
        return 1

    def _deliver(self, vector: int) -> None:
        """Go where an exception goes: Software Developer's Manual, volume 3, "Interrupts"."""
        machine, size = self.machine, self._bits // 8
        gate_size, mask = 2 * size, (1 << self._bits) - 1
        _, table, limit, _ = machine.idt
        assert (vector + 1) * gate_size - 1 <= limit, "a triple fault"
        gate = machine.get(table + vector * gate_size, gate_size)
        assert gate[5] == 0x8E, "a triple fault"
        assert gate[4] == 0, "another stack"
        selector = int.from_bytes(gate[2:4], "little")
        target = int.from_bytes(gate[:2] + gate[6:12], "little") & mask
        stack = machine.register("rsp" if self._bits == 64 else "esp")
        frame = [machine.register("eflags"), selector, machine.register(self._ip)]
        if self._bits == 64:
            frame = [machine.register("ss"), stack, *frame]
            stack &= -16
        frame += [0] if vector in WITH_ERROR_CODE else []
        for value in frame:
            stack -= size
            machine.put(stack, value.to_bytes(size, "little"))
        machine.set("rsp" if self._bits == 64 else "esp", stack)
        assert selector == machine.register("cs")
        machine.set(self._ip, target)

    def _invalid(self, _uc: Any, _data: object) -> bool:
        at = self.machine.register(self._ip)
        code = self.machine.get(at, 4)
        if code[:2] != b"\x0f\x38" or code[2] not in (0xCB, 0xCC, 0xCD) or code[3] < 0xC0:
            return False
        assert not self.machine.register("cr0") & (CR0_EM | CR0_TS), "#UD or #NM"
        assert self.machine.register("cr4") & CR4_OSFXSR, "#UD"
        first, second = code[3] >> 3 & 7, code[3] & 7
        one, two = self._words(first), self._words(second)
        if code[2] == 0xCB:
            made = rnds2(one, two, self._words(0))
        else:
            made = (msg1 if code[2] == 0xCC else msg2)(one, two)
        self.machine.set(f"xmm{first}", int.from_bytes(struct.pack("<4I", *made), "little"))
        self.machine.set(self._ip, at + 4)
        self.executed += 1
        return True

    def _words(self, number: int) -> Words:
        value = self.machine.register(f"xmm{number}")
        return list(struct.unpack("<4I", value.to_bytes(16, "little")))
