"""x86: leaving for kernels of 32 bits and of real mode, from both purgatories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import pytest
from unicorn import UC_MODE_32, UC_MODE_64

from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.x86 import Entry16Registers, Entry32Registers
from pykexec.values.consoles import PcConsole
from tests.purgatory.bench import table_for, wrong
from tests.purgatory.emulator import TIMEOUT, WILD
from tests.purgatory.emulator_x86 import CR4_PAE, HLT, SEGMENT_REGISTERS, X86Machine

ENTRY32 = Entry32Registers(
    eax=0x11223344,
    ebx=0x11223345,
    ecx=0x11223346,
    edx=0x11223347,
    esi=0x11223348,
    edi=0x11223349,
    ebp=0x1122334A,
    eip=0x0123_4560,
)
ENTRY16 = Entry16Registers(
    eax=0x11223344,
    ebx=0x11223345,
    ecx=0x11223346,
    edx=0x11223347,
    esi=0x11223348,
    edi=0x11223349,
    ebp=0x1122334A,
    esp=0xFFF0,
    ds=0x5000,
    es=0x5001,
    ss=0x4000,
    fs=0x5003,
    gs=0x5004,
    ip=0x10,
    cs=0x5020,
)
SEGMENTS = {0x200_0000: b"kernel" * 1000, 0x6_0000: b"parameters"}
STACK = 0x4_0000
CONTROL_PAGE_STACK = 0x7_0000
LOW, HIGH = 0x3000, 0x7FFF_0000
CR0_PE, CR0_PG = 1, 1 << 31

Legacy = Entry32Registers | Entry16Registers


class LegacyMachine(X86Machine):
    """An x86 processor whose next kernel is entered below 4 GiB."""

    def __init__(self, arch: str, base: int, params: PurgatoryParameters) -> None:
        """Load the purgatory of ``arch`` at ``base``."""
        obj = load(arch)
        self.mode = UC_MODE_64 if arch == "x86_64" else UC_MODE_32
        self._wanted = params.registers
        super().__init__(obj, base, build_purgatory(obj, base, params))
        # The word on top of the control page's stack is 0: nobody waits to be returned to.
        stacks = {STACK: bytes(0x1_0000), CONTROL_PAGE_STACK - 16: bytes(16)}
        for start, data in {**SEGMENTS, **stacks}.items():
            self.put(start, data)

    def put_kernel(self) -> None:
        """Put something to run where the kernel is entered."""
        self.put(self._wanted.entry, bytes([HLT]))

    def run(self, cr4: int = CR4_PAE) -> None:
        """Enter the purgatory as the old kernel does."""
        if self.mode == UC_MODE_64:
            for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"):
                self.set(name, WILD)
            self.set("cr4", cr4)
            self.set("gdtr", (0, 0, 0, 0))
        else:
            self.set("esp", CONTROL_PAGE_STACK - 4)
        self.set("eflags", 0x402)
        self.uc.emu_start(self.base + self.obj.entry, self._wanted.entry, timeout=TIMEOUT)

    @property
    def registers(self) -> Mapping[str, int]:
        """The registers that the parameters name."""
        return {name: self.register(name) for name in asdict(self._wanted)}

    @property
    def address(self) -> int:
        """Physical address of the next instruction."""
        real = not self.register("cr0") & CR0_PE
        return self.register("eip") + (self.register("cs") << 4 if real else 0)


def parameters(registers: Legacy) -> PurgatoryParameters:
    return PurgatoryParameters(
        table=table_for(SEGMENTS),
        registers=registers,
        console=PcConsole(console_serial=True),
    )


def entered(arch: str, base: int, registers: Legacy) -> LegacyMachine:
    machine = LegacyMachine(arch, base, parameters(registers))
    machine.run()
    assert machine.address == registers.entry
    assert machine.text.endswith(f"entering the new kernel at {registers.entry:#x}\n")
    assert "SHA-256 is right" in machine.text
    return machine


both = pytest.mark.parametrize("arch", ["x86_64", "i386"])


@both
@pytest.mark.parametrize("base", [LOW, HIGH])
class TestProtectedMode:
    """Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"."""

    def test_registers(self, arch: str, base: int) -> None:
        machine = entered(arch, base, ENTRY32)
        assert machine.registers == asdict(ENTRY32) | {"esp": base + machine.obj.memsz}
        given = replace(ENTRY32, esp=0x1234_5670)
        assert entered(arch, base, given).registers == asdict(given)

    def test_mode(self, arch: str, base: int) -> None:
        machine = entered(arch, base, ENTRY32)
        assert machine.register("cr0") & (CR0_PE | CR0_PG) == CR0_PE
        if arch == "x86_64":
            assert machine.register("cr4") == 0
        assert not machine.register("eflags") & (1 << 9 | 1 << 10)
        selectors = {name: machine.register(name) for name in SEGMENT_REGISTERS}
        assert selectors == {"cs": 0x10} | dict.fromkeys(("ds", "es", "ss", "fs", "gs"), 0x18)
        assert machine.ports == []

    def test_descriptors_are_flat(self, arch: str, base: int) -> None:
        machine = entered(arch, base, ENTRY32)
        address, limit = machine.gdt
        assert limit == 6 * 8 - 1
        code, data = (machine.get(address + 8 * index, 8) for index in (2, 3))
        assert code == bytes.fromhex("ffff 0000 009b cf00")
        assert data == bytes.fromhex("ffff 0000 0093 cf00")


@both
class TestRealMode:
    """Linux Documentation/arch/x86/boot.rst, "Running the Kernel"."""

    def test_registers_and_segments(self, arch: str) -> None:
        machine = entered(arch, LOW, ENTRY16)
        assert machine.registers == asdict(ENTRY16) | {"ip": 0x10}
        assert not machine.register("cr0") & (CR0_PE | CR0_PG)
        assert not machine.register("eflags") & (1 << 9 | 1 << 10)

    def test_the_stack_works(self, arch: str) -> None:
        """What was pushed last is the way into the kernel: it lies on the new stack."""
        machine = entered(arch, LOW, ENTRY16)
        stack = (ENTRY16.ss << 4) + ENTRY16.esp
        assert machine.get(stack - 6, 6) == bytes.fromhex("0050 1000 2050")

    def test_the_bios_has_its_vectors(self, arch: str) -> None:
        machine = entered(arch, LOW, ENTRY16)
        first = [value for port, value in machine.ports if port in (0x20, 0x21)]
        second = [value for port, value in machine.ports if port in (0xA0, 0xA1)]
        assert first == [0x11, 0x08, 4, 1, 0xF8]
        assert second == [0x11, 0x70, 2, 1, 0xFF]


@both
@pytest.mark.parametrize("registers", [ENTRY32, ENTRY16])
def test_a_wrong_digest_halts(arch: str, registers: Legacy) -> None:
    machine = LegacyMachine(arch, LOW, wrong(parameters(registers)))
    machine.run()
    assert machine.halted
    assert machine.address != registers.entry
    assert machine.text.endswith("not starting the new kernel; halted, reset the machine\n")
