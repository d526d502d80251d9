"""An IBM Z processor that has just left the old kernel.

Unicorn executes the purgatory's bytes. What the firmware does, or what Unicorn's model of a
processor lacks, is done here at the instruction itself: SIGNAL PROCESSOR, DIAGNOSE, loading a wait
PSW, and KIMD, by z/Architecture Principles of Operation (SA22-7832).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import unicorn
from unicorn import s390x_const as const

from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.sha256_compression import compress

PAGE = 4096
TIMEOUT = 120_000_000
"""Microseconds of real time after which an emulation is taken to hang."""
WILD = 0xDEAD_BEEF_0BAD_F00D
STACK = 0x2F000
"""The old kernel's, for a call."""
RETURN = 0x2D000
"""Where it calls from."""
PSW_64 = 0x0000_0001_8000_0000
"""DAT and interrupts off, addresses of 64 bits."""

_unicorn: Any = unicorn
UcError: type[Exception] = _unicorn.UcError
_STFLE, _LPSWE, _KIMD, _SIGP, _DIAG = b"\xb2\xb0", b"\xb2\xb2", b"\xb9\x3e", b"\xae", b"\x83"
_OURS = (_STFLE, _LPSWE, _KIMD, _SIGP, _DIAG)
_MSA = 17
_SHA_256 = 2


class Z:
    """Memory and processor; memory exists where a test has put it."""

    def __init__(
        self, obj: PurgatoryObject, base: int, patched: bytes, *, kimd: bool, copy: int | None
    ) -> None:
        """Put a patched purgatory at the physical address ``base``; it may go on at ``copy``."""
        self.uc = _unicorn.Uc(_unicorn.UC_ARCH_S390X, _unicorn.UC_MODE_BIG_ENDIAN)
        self.obj, self.base, self.kimd = obj, base, kimd
        self.resets: list[int] = []
        """Subcodes of DIAGNOSE 308."""
        self.wait: int | None = None
        """The address in the PSW that it waits with."""
        self.returned = False
        self.hashed_by_kimd = 0
        self.architecture_set = False
        self._mapped: set[int] = set()
        self.put(base, patched.ljust(obj.memsz, b"\0"))
        self.put(0, bytes(PAGE))
        self.put(STACK - PAGE, bytes(PAGE))
        self.put(RETURN, b"\x07\x07" * 8)
        ours = [RETURN]
        for at in range(0, obj.symbols["sha256_digest"].offset, 2):
            if obj.data[at : at + 2].startswith(_OURS):
                ours += [place + at for place in (base, copy) if place is not None]
        for at in ours:
            self.uc.hook_add(_unicorn.UC_HOOK_CODE, self._step, begin=at, end=at)

    def put(self, address: int, data: bytes) -> None:
        """Write physical memory, which exists from now on, in whole pages."""
        for page in range(address & -PAGE, address + len(data), PAGE):
            if page not in self._mapped:
                self.uc.mem_map(page, PAGE)
                self._mapped.add(page)
        self.uc.mem_write(address, data)

    def get(self, address: int, size: int) -> bytes:
        """Read physical memory."""
        return bytes(self.uc.mem_read(address, size))

    def register(self, number: int) -> int:
        """Read a general register."""
        return int(self.uc.reg_read(const.UC_S390X_REG_R0 + number))

    def set_register(self, number: int, value: int) -> None:
        """Write one."""
        self.uc.reg_write(const.UC_S390X_REG_R0 + number, value)

    def reset_enter(self) -> None:
        """Enter as after a reset, with nothing in registers."""
        for number in range(16):
            self.set_register(number, WILD)
        self._run()

    def call(self, argument: int) -> Mapping[int, int]:
        """Call it as a function; return what was in the registers that it has to keep."""
        kept = {number: 0x1111 * number for number in range(6, 14)} | {14: RETURN, 15: STACK - 160}
        for number, value in ({0: WILD, 1: WILD, 3: WILD, 4: WILD, 5: WILD} | kept).items():
            self.set_register(number, value)
        self.set_register(2, argument)
        self._run()
        return kept

    def _run(self) -> None:
        self.returned, self.wait, self.resets = False, None, []
        self.uc.reg_write(const.UC_S390X_REG_PSWM, PSW_64)
        self.uc.emu_start(self.base + self.obj.entry, 1 << 63, timeout=TIMEOUT)

    def _step(self, _uc: object, address: int, size: int, _data: object) -> None:
        if address == RETURN:
            self.returned = True
            self.uc.emu_stop()
            return
        code = self.get(address, 4)
        if code.startswith(_SIGP):
            assert code[3] == 0x12
            self.architecture_set = True
        elif code.startswith(_DIAG):
            self.resets.append(self.register(code[1] & 15))
            self.uc.emu_stop()
            return
        elif code.startswith(_LPSWE):
            at = self.register(code[2] >> 4) + (int.from_bytes(code[2:], "big") & 0xFFF)
            mask, self.wait = struct.unpack(">QQ", self.get(at, 16))
            assert mask == 0x0002_0001_8000_0000
            self.uc.emu_stop()
            return
        elif code.startswith(_STFLE):
            at = self.register(code[2] >> 4) + (int.from_bytes(code[2:], "big") & 0xFFF)
            self.uc.mem_write(at, struct.pack(">Q", self.kimd << (63 - _MSA)))
        elif code.startswith(_KIMD):
            self._compute()
        else:
            return
        self.uc.reg_write(const.UC_S390X_REG_PC, address + size)

    def _compute(self) -> None:
        """KIMD: query, or SHA-256; to its end, so with condition code 0."""
        function, block, data, size = (self.register(number) for number in range(4))
        if function == 0:
            self.uc.mem_write(block, (1 << (127 - _SHA_256)).to_bytes(16, "big"))
        else:
            assert (function, size % 64) == (_SHA_256, 0)
            state = struct.unpack(">8I", self.get(block, 32))
            for at in range(data, data + size, 64):
                state = compress(state, self.get(at, 64))
            self.uc.mem_write(block, struct.pack(">8I", *state))
            self.set_register(2, data + size)
            self.set_register(3, 0)
            self.hashed_by_kimd += size
        mask = int(self.uc.reg_read(const.UC_S390X_REG_PSWM))
        self.uc.reg_write(const.UC_S390X_REG_PSWM, mask & ~(3 << 44))
