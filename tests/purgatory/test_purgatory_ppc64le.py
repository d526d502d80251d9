"""POWER: what the kernel finds, which words are written when, and the consoles of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.parameters import PurgatoryParameters
from pykexec.purgatory_objects.ppc64le import Ppc64leRegisters
from pykexec.values.consoles import FirmwareConsole, FirmwareKind
from tests.purgatory.bench import BASE, PPC64LE, RIGHT, SEGMENTS, WHAT, noise, wrong
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, WILD
from tests.purgatory.emulator_ppc64le import (
    BOOT_CPU,
    CPU,
    MSR,
    MSR_LE,
    OPAL_BASE,
    OPAL_ENTRY,
    OPAL_TERMINAL,
    RUN_AT_LOAD,
    TREE,
    UNIT,
    Hypervisor,
    Opal,
    Ppc64leMachine,
)

BUSY, LONG_BUSY, CLOSED = 1, 9901, 2
"""H_BUSY, H_LONG_BUSY_ORDER_10_MSEC, H_CLOSED."""
OPAL = FirmwareConsole(FirmwareKind.OPAL, OPAL_TERMINAL)
WITH_OPAL = Ppc64leRegisters(r3=TREE, r8=OPAL_BASE, r9=OPAL_ENTRY, pc=KERNEL_ENTRY)
KERNEL = KERNEL_ENTRY & -PAGE
"""In what is verified the kernel's word lies, and the tree's."""
NEW_KERNEL = {
    KERNEL: noise(2 * PAGE),
    TREE: b"\xd0\x0d\xfe\xed".ljust(20, b"\0") + b"\0\0\0\x11" * 20,
}


def word(machine: Ppc64leMachine) -> bytes:
    return machine.get(KERNEL_ENTRY + RUN_AT_LOAD, 4)


def run(params: PurgatoryParameters, segments: dict[int, bytes]) -> Ppc64leMachine:
    return PPC64LE.run(params, segments)


class TestKernelEntryState:
    """Linux arch/powerpc/kernel/head_64.S."""

    def test_registers(self) -> None:
        registers = Ppc64leRegisters(r3=TREE, r8=8 << 60, r9=9 << 60, pc=KERNEL_ENTRY)
        machine = run(PPC64LE.covering(SEGMENTS, registers=registers), SEGMENTS)
        assert machine.entered_kernel
        assert machine.general[3:6] == [TREE, KERNEL_ENTRY, 0]
        assert machine.general[8:10] == [8 << 60, 9 << 60]

    def test_big_endian_and_else_as_it_was(self) -> None:
        machine = run(PPC64LE.covering(SEGMENTS), SEGMENTS)
        assert machine.msr == MSR & ~MSR_LE

    def test_the_old_kernels_thread_pointer_is_left_alone(self) -> None:
        assert run(PPC64LE.covering(SEGMENTS), SEGMENTS).general[13] == WILD

    def test_what_the_others_wait_in_is_the_new_kernels(self) -> None:
        head = bytes(reversed(range(4, 256)))
        registers = replace(WITH_OPAL, kernel_head=head)
        machine = run(PPC64LE.covering(SEGMENTS, registers=registers), SEGMENTS)
        # b .+0x100: the old kernel enters here, and copies this.
        assert machine.get(BASE, 0x100) == bytes.fromhex("00010048") + head


class TestWordsWrittenAfterTheCheck:
    """Both lie in segments: before it they would be what it finds changed."""

    @pytest.mark.parametrize("value", [1, 0x0100_0000])
    def test_both_where_memory_is_right(self, value: int) -> None:
        params = PPC64LE.covering(NEW_KERNEL, registers=replace(WITH_OPAL, run_at_load=value))
        machine = run(params, NEW_KERNEL)
        assert machine.entered_kernel
        assert machine.boot_cpu == CPU
        assert word(machine) == value.to_bytes(4, "little")
        # And nothing else.
        kernel, tree = (bytearray(NEW_KERNEL[start]) for start in (KERNEL, TREE))
        at = KERNEL_ENTRY + RUN_AT_LOAD - KERNEL
        kernel[at : at + 4] = value.to_bytes(4, "little")
        tree[BOOT_CPU : BOOT_CPU + 4] = CPU.to_bytes(4, "big")
        assert machine.get(KERNEL, len(kernel)) == kernel
        assert machine.get(TREE, len(tree)) == tree

    def test_neither_where_it_is_not(self) -> None:
        registers = replace(WITH_OPAL, run_at_load=1)
        params = wrong(PPC64LE.covering(NEW_KERNEL, registers=registers))
        machine = run(params, NEW_KERNEL)
        assert machine.halted
        assert all(machine.get(start, len(data)) == data for start, data in NEW_KERNEL.items())

    def test_a_kernel_that_goes_where_it_likes(self) -> None:
        """Its word has a value of its own ("run0") that says so."""
        machine = run(PPC64LE.covering(NEW_KERNEL, registers=WITH_OPAL), NEW_KERNEL)
        assert machine.get(KERNEL, 2 * PAGE) == NEW_KERNEL[KERNEL]

    @pytest.mark.parametrize(("version", "expected"), [(1, 0x11), (2, CPU), (17, CPU)])
    def test_a_tree_of_another_version(self, version: int, expected: int) -> None:
        """The first one has no such word: Devicetree Specification, "boot_cpuid_phys"."""
        tree = bytearray(NEW_KERNEL[TREE])
        tree[20:24] = version.to_bytes(4, "big")
        segments = {TREE: bytes(tree)}
        assert run(PPC64LE.covering(segments, registers=WITH_OPAL), segments).boot_cpu == expected


class TestLowMemory:
    """The other processors are there: they execute what lies from 0x60 to 0x100."""

    def test_it_is_read_for_the_backup_and_never_written(self) -> None:
        """All of the first page is read only: writing would end the emulation."""
        segments = {0: noise(0x1_0000), 0x4000_0000: bytes(0x1_0000)}
        backup = {
            "backup_src_start": 0,
            "backup_src_size": 0x1_0000,
            "backup_dst_start": 0x4000_0000,
        }
        params = PPC64LE.covering({}, registers=WITH_OPAL, **backup)
        machine = PPC64LE.prepare(params, segments)
        machine.read_only = range(0, 0x1_0000)
        machine.run()
        assert machine.entered_kernel
        assert machine.get(0x4000_0000, 0x1_0000) == segments[0]
        assert machine.get(0, 0x1_0000) == segments[0]


class TestHypervisor:
    def heard(self, hypervisor: Hypervisor, right: bool = True) -> Ppc64leMachine:
        params = PPC64LE.covering(SEGMENTS, console=PPC64LE.serial)
        machine = PPC64LE.prepare(params if right else wrong(params), SEGMENTS)
        machine.uart = machine.hypervisor = hypervisor
        machine.run()
        return machine

    def test_a_busy_one_loses_nothing(self) -> None:
        hypervisor = Hypervisor(answers=[BUSY, LONG_BUSY, BUSY])
        machine = self.heard(hypervisor)
        assert machine.entered_kernel
        assert machine.text == RIGHT.format(what=WHAT)

    def test_few_calls(self) -> None:
        hypervisor = Hypervisor()
        self.heard(hypervisor)
        lines = hypervisor.sent.decode().splitlines()
        assert hypervisor.calls == sum(-(-(len(line) + 2) // 16) for line in lines)

    @pytest.mark.parametrize("right", [True, False])
    def test_one_that_refuses_is_asked_once(self, right: bool) -> None:
        hypervisor = Hypervisor(answer=CLOSED)
        machine = self.heard(hypervisor, right)
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert hypervisor.calls == 1

    def test_another_unit_refuses(self) -> None:
        hypervisor = Hypervisor(unit=UNIT + 1)
        assert self.heard(hypervisor).entered_kernel
        assert hypervisor.calls == 1

    @pytest.mark.full
    def test_one_that_is_busy_for_ever_is_left_alone(self) -> None:
        hypervisor = Hypervisor(answer=BUSY)
        assert self.heard(hypervisor).entered_kernel
        assert hypervisor.calls == 1 << 18


class TestOpal:
    def heard(
        self, opal: Opal, right: bool = True, console: FirmwareConsole = OPAL
    ) -> Ppc64leMachine:
        params = PPC64LE.covering(SEGMENTS, registers=WITH_OPAL, console=console)
        machine = PPC64LE.prepare(params if right else wrong(params), SEGMENTS)
        machine.uart = machine.opal = opal
        machine.run()
        return machine

    @pytest.mark.parametrize(("room", "at_once"), [(1 << 16, 1 << 16), (40, 24), (16, 1), (5, 3)])
    def test_what_it_has_no_room_for_it_is_given_again(self, room: int, at_once: int) -> None:
        """Nothing is left in its buffer when the kernel is entered."""
        machine = self.heard(Opal(room=room, at_once=at_once))
        assert machine.entered_kernel
        assert machine.all_sent
        assert machine.text == RIGHT.format(what=WHAT)

    def test_a_mismatch(self) -> None:
        machine = self.heard(Opal(), right=False)
        assert machine.halted
        assert machine.all_sent
        assert machine.text.startswith(f"pykexec purgatory: verifying {WHAT}\n")
        assert machine.text.endswith("halted, reset the machine\n")

    def test_what_it_leaves_in_registers_does_no_harm(self) -> None:
        machine = self.heard(Opal())
        assert machine.general[3:6] == [TREE, KERNEL_ENTRY, 0]
        assert machine.general[8:10] == [OPAL_BASE, OPAL_ENTRY]
        assert machine.msr == MSR & ~MSR_LE
        assert machine.boot_cpu == CPU

    @pytest.mark.parametrize("right", [True, False])
    def test_one_that_refuses_is_left_alone(self, right: bool) -> None:
        opal = Opal(answer=-11 & (1 << 64) - 1)
        machine = self.heard(opal, right)
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert not opal.sent
        assert opal.calls <= 2

    def test_without_opal_nobody_is_called(self) -> None:
        params = PPC64LE.covering(SEGMENTS, registers=replace(WITH_OPAL, r8=0, r9=0), console=OPAL)
        machine = run(params, SEGMENTS)
        assert machine.entered_kernel
        assert machine.silent


class TestStack:
    def test_it_is_the_purgatorys_own(self) -> None:
        """16 bytes aligned, with a frame below its end."""
        machine = run(PPC64LE.covering(SEGMENTS), SEGMENTS)
        assert machine.general[1] == BASE + PPC64LE.obj.symbols["stack_end"].offset - 32
