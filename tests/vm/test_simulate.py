"""``pykexec simulate`` boots what is right, and says of a wrong plan what is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykexec.cli.emulator import Emulator
from pykexec.cli.main import cli
from pykexec.cli.simulate import run
from pykexec.machine import read_machine
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, PurgatoryOptions, SegmentPlan
from pykexec.render.simulation import Simulation, step_text
from pykexec.simulation import bare_virt, loongarch64, riscv64
from pykexec.simulation.emulated import EmulatedMachine
from pykexec.simulation.rooms import emulate, simulation_room
from pykexec.simulation.x86 import PAGE_TABLES
from pykexec.values.calls import Target
from pykexec.values.consoles import (
    Console,
    FirmwareConsole,
    FirmwareKind,
    MemoryConsole,
    PcConsole,
    UartKind,
)
from pykexec.values.errors import SimulationError
from pykexec.values.roles import Role
from tests.builders.wrong_plans import (
    corrupted,
    entered_elsewhere,
    initrd_in_the_way,
    kernel_off_its_base,
    resealed,
    segment_of,
)
from tests.needs import unavailable
from tests.vm import debian
from tests.vm.cpio import CpioWriter
from tests.vm.debian import FetchError, Suite
from tests.vm.platforms import LOONGARCH64, PLATFORMS, Platform
from tests.vm.qemu import (
    LOONGARCH64_FIRMWARE_SUITE,
    LOONGARCH64_QEMU,
    qemu_missing,
    qemu_since,
)

pytestmark = pytest.mark.vm

MACHINES = Path(__file__).parents[1] / "data" / "machines"
WORDS = "init of the next kernel speaks"
INIT_SAYS = rf"its init says '{WORDS}(\[ .*)?'"
"""The kernel may say something meanwhile, on the same console and in the same line."""
INIT = f"#!/bin/busybox sh\necho {WORDS}\nexec /bin/busybox sleep 1000\n"
CONSOLES: dict[str, Console] = {
    "x86_64": PcConsole(console_serial=True),
    "aarch64": MemoryConsole(bare_virt.UART, UartKind.PL011, 2),
    "riscv64": MemoryConsole(riscv64.UART, UartKind.UART_8250),
    "arm": MemoryConsole(bare_virt.UART, UartKind.PL011, 2),
    "ppc64le": FirmwareConsole(FirmwareKind.HYPERVISOR, 0x71000000),
    "loongarch64": MemoryConsole(loongarch64.UART, UartKind.UART_8250),
}
SERIES = {"loongarch64": "7.2"}
"""Of Debian's kernels, where 6.12 has none."""
SILENCE = 60.0 * float(os.environ.get("PYKEXEC_VM_PATIENCE", "1"))
"""Seconds; see tests/vm/scenario.py."""


@pytest.fixture(scope="module", autouse=True)
def one_guest_at_a_time() -> Iterator[None]:
    """Keep other guests off this host while those of this module run."""
    with debian.locked(debian.cache_dir() / "qemu.lock"):
        yield


def initrd_for(platform: Platform) -> bytes:
    """Build an initrd whose init says a few words."""
    busybox = Suite(platform.suite, platform.debian).package("busybox-static")
    out = io.BytesIO()
    archive = CpioWriter(out)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox.below_usr("bin/busybox"))
    archive.file("init", INIT, 0o755)
    archive.close()
    return gzip.compress(out.getvalue(), 1)


class Sample:
    """A right plan for a recorded machine."""

    def __init__(
        self, machine: str, *, target: Target = Target.NORMAL, no_efi: bool = False
    ) -> None:
        arch = machine.partition("-")[0]
        platform = PLATFORMS[arch]
        missing = qemu_missing(platform)
        if missing:
            unavailable(missing)
        try:
            self.kernel = debian.kernel(SERIES.get(arch, "6.12"), arch=platform.debian)
            self.initrd = initrd_for(platform)
        except FetchError as error:
            unavailable(str(error))
        self.directory = MACHINES / machine
        self.cmdline = platform.console
        self.facts = read_machine(self.directory, crash=target is Target.CRASH)
        self.plan = plan(
            self.facts,
            LoadRequest(
                kernel=self.kernel.image.read_bytes(),
                initrd=self.initrd,
                cmdline=self.cmdline.encode(),
                target=target,
                no_efi=no_efi,
                purgatory=PurgatoryOptions(console=CONSOLES[arch]),
            ),
        )

    def violated(self, wrong: SegmentPlan) -> set[str]:
        """Return the invariants that a plan breaks on this machine."""
        return {item.invariant for item in verify(wrong, self.facts)}


def emulated(made: SegmentPlan) -> EmulatedMachine:
    """Return the machine for a plan, with QEMU and firmware that will do."""
    machine = emulate(made)
    if made.arch != LOONGARCH64.name:
        return machine
    package = Suite(LOONGARCH64_FIRMWARE_SUITE).package("qemu-efi-loongarch64")
    firmware = str(package.root / loongarch64.FIRMWARE.lstrip("/"))
    words = (firmware if word == loongarch64.FIRMWARE else word for word in machine.words)
    program = qemu_since(LOONGARCH64_QEMU, LOONGARCH64)
    return replace(machine, program=program, words=tuple(words))


def simulated(made: SegmentPlan) -> Simulation:
    """Simulate a plan, with its steps on the test's output."""
    done = run(made, emulated(made), None, SILENCE, lambda step: print(step_text(step), end=""))
    print(done.console)
    return done


@pytest.fixture(scope="module")
def pc() -> Sample:
    return Sample("x86_64-6.1-bios-512M")


@pytest.fixture(scope="module")
def virt() -> Sample:
    return Sample("aarch64-6.12-tree-1G")


@pytest.fixture(scope="module")
def riscv() -> Sample:
    return Sample("riscv64-6.12-tree-512M")


@pytest.fixture(scope="module")
def virt32() -> Sample:
    return Sample("arm-6.1-tree-512M")


@pytest.fixture(scope="module")
def pseries() -> Sample:
    return Sample("ppc64le-6.12-pseries-2cpus-crash")


def check_right(sample: Sample, done: Simulation) -> None:
    assert done.verdict.booted, done.verdict.reason
    assert WORDS in done.verdict.reason
    told = [step.text for step in done.steps]
    assert told[0].startswith("entered, ")
    assert told[2:] == [
        "the purgatory says: SHA-256 is right",
        f"the purgatory says: entering the new kernel at {sample.plan.kernel_entry:#x}",
        f"Linux {sample.kernel.release} has started",
        "it unpacks the initrd",
        "it runs /init as its init",
    ]


def test_a_right_plan_boots_a_pc(pc: Sample, tmp_path: Path) -> None:
    """By the front door, from a plan that was dumped: of kexec_load, beneath the other call's."""
    initrd, dump, log = tmp_path / "initrd", tmp_path / "dump", tmp_path / "console"
    initrd.write_bytes(pc.initrd)
    where = ["--machine", str(pc.directory)]
    words = ["--append", pc.cmdline, "--initrd", str(initrd)]
    make = ["plan", str(pc.kernel.image), *words, *where, "--dump", str(dump)]
    assert CliRunner().invoke(cli, make, catch_exceptions=False).exit_code == 0

    done = CliRunner().invoke(
        cli, ["simulate", str(dump), *where, "--log", str(log), "--json"], catch_exceptions=False
    )

    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["schema"] == "pykexec.simulation/1"
    assert value["booted"] is True
    assert re.fullmatch(INIT_SAYS, value["reason"])
    assert value["machine"]["memory"] == 512 << 20
    assert any(pc.kernel.release in step["text"] for step in value["steps"])
    assert any(line.startswith(WORDS) for line in value["console"])
    assert log.read_text().splitlines() == value["console"]
    # Told while it happens, elsewhere than the JSON.
    assert re.search(r"\n +\d+\.\d s  it runs /init as its init\n", done.stderr)


def test_what_a_trial_needs_is_supplied(pc: Sample, tmp_path: Path) -> None:
    """A command line of a desktop: mute, and without a serial console."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(pc.initrd)
    words = ["--append", "quiet loglevel=3 console=tty0 panic=-1", "--initrd", str(initrd)]
    words += ["--machine", str(pc.directory)]
    done = CliRunner().invoke(
        cli, ["simulate", str(pc.kernel.image), *words], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert re.search(rf"verdict:  the layout boots: {INIT_SAYS}\n$", done.stdout)
    assert [line for line in done.stdout.splitlines() if line.startswith("changed:  ")] == [
        "changed:  quiet is taken off",
        "changed:  loglevel=3 is taken off: the new kernel would not say that it runs its",
        "changed:  loglevel=7 is added",
        "changed:  console=ttyS0 is added, which is where the new kernel is listened to",
    ]


def test_a_right_plan_boots_an_arm64_board(virt: Sample) -> None:
    assert virt.violated(virt.plan) == set()
    check_right(virt, simulated(virt.plan))


def test_a_right_plan_boots_a_riscv64_board(riscv: Sample) -> None:
    assert riscv.violated(riscv.plan) == set()
    check_right(riscv, simulated(riscv.plan))


@pytest.mark.full
def test_a_right_plan_boots_an_arm_board(virt32: Sample) -> None:
    assert virt32.violated(virt32.plan) == set()
    check_right(virt32, simulated(virt32.plan))


@pytest.mark.full
def test_a_right_plan_boots_a_power_guest(pseries: Sample) -> None:
    """Radix tables and XIVE, on which the recorded kernel has agreed; both processors come up."""
    assert pseries.violated(pseries.plan) == set()
    done = simulated(pseries.plan)
    check_right(pseries, done)
    assert "radix-mmu: " in done.console
    assert "smp: Brought up 1 node, 2 CPUs" in done.console


def with_hashed_tables(made: SegmentPlan) -> SegmentPlan:
    """Have the tree say that hashed page tables were agreed on (Linux asm/prom.h, OV5_MMU_HASH)."""
    tree = bytes(segment_of(made, Role.DTB).data)
    radix = bytes.fromhex("8040400040")  # bytes 22 to 26 of the vector
    assert tree.count(radix) == 1
    return made.with_data(Role.DTB, tree.replace(radix, bytes.fromhex("8040000040")))


@pytest.mark.full
def test_a_right_plan_boots_a_power_guest_with_hashed_tables(pseries: Sample) -> None:
    made = resealed(with_hashed_tables(pseries.plan))
    assert pseries.violated(made) == set()
    done = simulated(made)
    check_right(pseries, done)
    assert "hash-mmu: " in done.console


@pytest.fixture(scope="module")
def loongarch() -> Sample:
    return Sample("loongarch64-7.2-efi-1G")


@pytest.mark.full
def test_a_right_plan_boots_a_loongarch64_board(loongarch: Sample) -> None:
    assert loongarch.violated(loongarch.plan) == set()
    done = simulated(loongarch.plan)
    check_right(loongarch, done)
    assert "ACPI: RSDP" in done.console


@pytest.mark.full
def test_a_right_crash_plan_boots_a_loongarch64_board() -> None:
    """It is moved, and has the memory that mem= gives it."""
    sample = Sample("loongarch64-7.2-efi-2cpus-crash", target=Target.CRASH)
    assert sample.violated(sample.plan) == set()
    check_right(sample, simulated(sample.plan))


@pytest.mark.full
def test_a_loongarch64_board_is_left_as_a_kernel_leaves_it(loongarch: Sample) -> None:
    """Linux arch/loongarch/kernel/machine_kexec.c: windows, no interrupts, and three arguments."""
    halt = b"".join(word.to_bytes(4, "little") for word in (0x06488000, 0x53FFFFFF))  # idle, again
    made = loongarch.plan
    start = segment_of(made, Role.PURGATORY).dest.start
    made = replace(made.with_data(Role.PURGATORY, halt), entry=start)
    with Emulator(emulated(made)) as emulator:
        emulator.enter_plan()
        time.sleep(1)
        shown = emulator.registers()
    found = numbers_in(shown)
    window = 0x9000 << 48
    assert found["PC"] in range(window | start, (window | start) + 9)
    general = {
        int(name): int(value, 16) for name, value in re.findall(r"\br(\d+) ([0-9a-f]{16})\b", shown)
    }
    table = general.pop(6)
    assert 0 < table < 256 << 20
    assert (general.pop(5), general.pop(7)) == (window | 0x108000, window | start)
    # tp and sp lead nowhere, all others are cleared.
    assert (general.pop(2), general.pop(3)) == ((1 << 64) - 1,) * 2
    assert set(general.values()) == {0}
    control = {
        name: int(value, 16) for name, value in re.findall(r"\b([A-Z]+\d?) +([0-9a-f]+)\b", shown)
    }
    # Privileged, interrupts off, paging on.
    assert control["CRMD"] & 0x1F == 0x10
    windows = (0x8000 << 48 | 1, window | 0x11, 0, 0)
    assert tuple(control[f"DMW{number}"] for number in range(4)) == windows


@pytest.mark.full
def test_a_wrong_plan_for_a_loongarch64_board_is_caught(loongarch: Sample) -> None:
    made = corrupted(loongarch.plan)
    assert loongarch.violated(made) == set()
    done = run(made, emulated(made), None, 20.0, lambda step: None)
    assert not done.verdict.booted
    assert "memory is not what the plan put there (SHA-256 mismatch)" in done.verdict.reason


Wrong = Callable[[SegmentPlan], SegmentPlan]


@pytest.mark.parametrize(
    ("wrong", "invariant", "reason"),
    [
        # What only memory after the load, or the processor, can show.
        (corrupted, None, "memory is not what the plan put there (SHA-256 mismatch)"),
        (entered_elsewhere, None, "the machine has reset itself, as after a triple fault"),
        # What the verifier names, without an emulator: that such a plan does not boot is why.
        (initrd_in_the_way, "kernel-init-size", "cannot unpack the initrd: "),
    ],
)
def test_a_wrong_plan_for_a_pc_is_caught(
    pc: Sample, wrong: Wrong, invariant: str | None, reason: str
) -> None:
    made = wrong(pc.plan)
    assert pc.violated(made) == ({invariant} if invariant else set())
    done = simulated(made)
    assert not done.verdict.booted
    assert reason in done.verdict.reason


def registers_at_entry(made: SegmentPlan, halt: bytes) -> str:
    """Enter a plan whose purgatory is ``halt`` and nothing else; return what QEMU shows then."""
    start = segment_of(made, Role.PURGATORY).dest.start
    made = replace(made.with_data(Role.PURGATORY, halt), entry=start)
    counter = simulation_room(made.arch).COUNTER
    with Emulator(emulated(made)) as emulator:
        emulator.enter_plan()
        for _ in range(100):
            shown = emulator.registers().replace("\r", "")
            # A PC's firmware is in modes that have none of 64 bits.
            match = counter.search(shown)
            place = int(match[1], 16) if match else 0
            if start <= place <= start + len(halt) and "HLT=0" not in shown:
                return shown
            time.sleep(0.05)
    raise AssertionError(shown)


def numbers_in(shown: str) -> dict[str, int]:
    """Return registers by name, as QEMU shows those of x86 and arm64."""
    return {name: int(value, 16) for name, value in re.findall(r"(\w+) *= *([0-9a-f]+)\b", shown)}


def test_a_pc_is_left_as_a_kernel_leaves_it(pc: Sample) -> None:
    """Linux arch/x86/kernel/relocate_kernel_64.S, "identity_mapped"."""
    shown = registers_at_entry(pc.plan, b"\xf4\xeb\xfd")  # hlt, and again
    found = numbers_in(shown)
    general = [f"R{name}" for name in ("AX", "BX", "CX", "DX", "SI", "DI", "BP")]
    general += [f"R{number}" for number in range(8, 16)]
    assert {name: found[name] for name in general} == dict.fromkeys(general, 0)
    control = {name: found[name] for name in ("CR0", "CR3", "CR4", "EFER", "RFL")}
    # PG NE ET MP PE; PAE; NXE LMA LME SCE; the flags of what clears a register: no interrupts.
    expected = {"CR0": 0x80000033, "CR3": PAGE_TABLES, "CR4": 0x20, "EFER": 0xD01, "RFL": 0x46}
    assert control == expected
    assert re.search(r"^CS =0010 .*CS64", shown, re.MULTILINE)
    assert re.search(r"^GDT= +0+ 0+$", shown, re.MULTILINE)
    assert re.search(r"^IDT= +0+ 0+$", shown, re.MULTILINE)


@pytest.mark.parametrize(("conduit", "level"), [(b"hvc\0", "EL1h"), (b"smc\0", "EL2h")])
def test_an_arm64_board_is_left_as_a_kernel_leaves_it(
    virt: Sample, conduit: bytes, level: str
) -> None:
    """Linux Documentation/arch/arm64/booting.rst, "CPU mode"; PSTATE: D, A, I and F are set."""
    tree = bytes(segment_of(virt.plan, Role.DTB).data)
    assert tree.count(b"hvc\0") == 1
    made = virt.plan.with_data(Role.DTB, tree.replace(b"hvc\0", conduit))
    halt = b"".join(word.to_bytes(4, "little") for word in (0xD503207F, 0x17FFFFFF))  # wfi, again
    shown = registers_at_entry(made, halt)
    found = numbers_in(shown)
    assert {found[f"X{number:02}"] for number in range(31)} == {0}
    assert found["PSTATE"] & 0x3C0 == 0x3C0
    assert level in shown


@pytest.mark.full
@pytest.mark.parametrize(("conduit", "mode"), [(b"hvc\0", "svc32"), (b"smc\0", "hyp32")])
def test_an_arm_board_is_left_as_a_kernel_leaves_it(
    virt32: Sample, conduit: bytes, mode: str
) -> None:
    """Linux Documentation/arch/arm/booting.rst, "CPU mode"; CPSR: A, I and F are set, T is not."""
    tree = bytes(segment_of(virt32.plan, Role.DTB).data)
    assert tree.count(b"hvc\0") == 1
    made = virt32.plan.with_data(Role.DTB, tree.replace(b"hvc\0", conduit))
    halt = b"".join(word.to_bytes(4, "little") for word in (0xE320F003, 0xEAFFFFFD))  # wfi, again
    shown = registers_at_entry(made, halt)
    found = numbers_in(shown)
    assert {found[f"R{number:02}"] for number in range(15)} == {0}
    assert found["PSR"] & 0x1E0 == 0x1C0
    assert mode in shown


@pytest.mark.full
def test_a_power_guest_is_left_as_a_kernel_leaves_it(pseries: Sample) -> None:
    """Linux arch/powerpc/kernel/misc_64.S, "kexec_sequence": in real mode and little endian."""
    made = pseries.plan
    shown = registers_at_entry(made, (0x48000000).to_bytes(4, "little"))  # b .
    found = [int(value, 16) for row in re.findall(r"GPR\d\d((?: [0-9a-f]{16})+)", shown)
             for value in row.split()]  # fmt: skip
    start = segment_of(made, Role.PURGATORY).dest.start
    assert (found[3], found[4], found[5]) == (0, start, 0)
    msr = re.search(r"\bMSR ([0-9a-f]{16})\b", shown)
    assert msr is not None
    # SF, ME, RI, LE: neither interrupts nor translation, and privileged.
    assert int(msr[1], 16) == 1 << 63 | 0x1003


RISCV_CLEARED = [f"a{number}" for number in range(3, 8)]
RISCV_CLEARED += [f"s{number}" for number in range(12)] + [f"t{number}" for number in range(7)]


def check_riscv64_registers(made: SegmentPlan) -> dict[str, int]:
    """Linux arch/riscv/kernel/kexec_relocate.S; returns them all."""
    halt = b"".join(word.to_bytes(4, "little") for word in (0x10500073, 0xFFDFF06F))  # wfi, again
    shown = registers_at_entry(made, halt)
    found = {
        name: int(value, 16)
        for name, value in re.findall(r"\b(?:x\d+/)?(\w+) +([0-9a-f]{16})\b", shown)
    }
    handed = (0, segment_of(made, Role.DTB).dest.start, segment_of(made, Role.PURGATORY).dest.start)
    assert tuple(found[name] for name in ("a0", "a1", "a2")) == handed
    assert {name: found[name] for name in RISCV_CLEARED} == dict.fromkeys(RISCV_CLEARED, 0)
    assert found["satp"] == 0
    # mstatus: SIE, and of FS and VS both bits.
    assert found["mstatus"] & (1 << 1 | 3 << 13 | 3 << 9) == 0
    return found


def test_a_riscv64_board_is_left_as_a_kernel_leaves_it(riscv: Sample) -> None:
    found = check_riscv64_registers(riscv.plan)
    assert found["stvec"] == riscv64.START + 4
    assert found["scause"] == found["sepc"] == 0


@pytest.mark.full
def test_a_riscv64_board_is_left_as_a_crashed_kernel_leaves_it() -> None:
    """By an instruction access fault, on the way to which firmware comes in between."""
    made = Sample("riscv64-6.12-tree-4cpus-crash", target=Target.CRASH).plan
    found = check_riscv64_registers(made)
    assert found["stvec"] == segment_of(made, Role.PURGATORY).dest.start
    assert found["scause"] == 1
    assert found["sepc"] == 0xFFFFFFFF80000000


@pytest.mark.full
@pytest.mark.parametrize("board", ["virt", "virt32", "pseries"])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (corrupted, "memory is not what the plan put there (SHA-256 mismatch)"),
        (entered_elsewhere, "the vector of an exception that nobody handles"),
    ],
)
def test_a_wrong_plan_for_a_board_is_caught(
    request: pytest.FixtureRequest, board: str, wrong: Wrong, reason: str
) -> None:
    sample: Sample = request.getfixturevalue(board)
    made = wrong(sample.plan)
    assert sample.violated(made) == set()
    done = run(made, emulate(made), None, 10.0, lambda step: None)
    assert not done.verdict.booted
    assert reason in done.verdict.reason


@pytest.mark.full
@pytest.mark.parametrize(
    ("wrong", "invariants", "reason"),
    [
        (corrupted, set(), "memory is not what the plan put there (SHA-256 mismatch)"),
        (entered_elsewhere, set(), "the vector of an exception that nobody handles"),
        # It stops before it has any console.
        (kernel_off_its_base, {"image-placement"}, "in the kernel segment"),
    ],
)
def test_a_wrong_plan_for_a_riscv64_board_is_caught(
    riscv: Sample, wrong: Wrong, invariants: set[str], reason: str
) -> None:
    made = wrong(riscv.plan)
    assert riscv.violated(made) == invariants
    done = run(made, emulate(made), None, SILENCE / 2, lambda step: None)
    assert not done.verdict.booted
    assert reason in done.verdict.reason


@pytest.mark.full
def test_a_riscv64_tree_without_the_firmware_is_caught(riscv: Sample) -> None:
    tree = bytes(segment_of(riscv.plan, Role.DTB).data)
    assert tree.count(b"reserved-memory\0") == 1
    bare = riscv.plan.with_data(Role.DTB, tree.replace(b"reserved-memory\0", b"reserved-nobody\0"))
    with pytest.raises(SimulationError, match="keeps 0x80000000-0x8007ffff for itself"):
        run(bare, emulate(bare), None, 10.0, lambda step: None)


@pytest.mark.full
@pytest.mark.parametrize(
    ("machine", "target"),
    [
        ("riscv64-6.12-tree-4cpus-crash", Target.NORMAL),
        ("riscv64-6.12-tree-4cpus-crash", Target.CRASH),
        ("x86_64-6.12-bios-8G", Target.NORMAL),
        ("x86_64-6.12-bios-8G-crash-high", Target.CRASH),
        ("x86_64-6.12-ovmf-q35-4cpus", Target.NORMAL),
        ("aarch64-6.12-tree-4cpus-crash", Target.NORMAL),
        ("aarch64-6.12-tree-4cpus-crash", Target.CRASH),
        ("ppc64le-6.12-pseries-2cpus-crash", Target.CRASH),
        ("arm-7.2-tree-2cpus-4G-crash", Target.NORMAL),
        ("arm-7.2-tree-2cpus-4G-crash", Target.CRASH),
    ],
)
def test_plans_for_other_recorded_machines_boot(machine: str, target: Target) -> None:
    sample = Sample(machine, target=target, no_efi=True)
    assert sample.violated(sample.plan) == set()
    check_right(sample, simulated(sample.plan))
