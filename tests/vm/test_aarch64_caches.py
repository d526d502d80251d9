"""Debian's arm64 kernels through the purgatory's ways of hashing: each says which one it took.

Processors, exception levels, firmware, interrupt controllers, kinds of loads and places of memory
are combined so that each meets several of the others. All of QEMU's processors have instructions
for SHA-256: without them, and with caches that stay off, the purgatory runs in tests/purgatory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pykexec.formats.device_tree import build_device_tree, parse_device_tree
from pykexec.values.ranges import Range
from tests.vm.conftest import Vm
from tests.vm.crashes import CAPTURE_CMDLINES, CRASH, PANIC
from tests.vm.crashes import LOADED as CRASH_LOADED
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import AARCH64
from tests.vm.qemu import AARCH64_CPU, Machine, aarch64_machine
from tests.vm.scenario import Result, boot_path
from tests.vm.test_aarch64_fit import tree_of

pytestmark = pytest.mark.full

SERIES = "6.12"
GIB = 1 << 30
RAM_START = GIB
"""Of QEMU's virt board."""
QEMUS_FILES = Range(0x4800_0000, 0x5400_0000)
"""Where it puts the initrd and the tree."""
TWO_JUMPS, CHAIN = 2, 4
"""Kernels of a guest."""
DESCRIBE = """
dmesg | sed -n 's/.*CPU: All CPU(s) started at /level /p'
echo "efi $([ -d /sys/firmware/efi ] && echo yes || echo no)"
echo "core $([ -e /proc/vmcore ] && echo yes || echo no)"
"""
SAID = re.compile(r"^pykexec purgatory: (?!hashed )(.*)$", re.MULTILINE)


def board(*, el2: bool = False, gic: int = 3, its: bool = False) -> str:
    """Return QEMU's virt board; without EFI it may have no ITS."""
    words = [f"gic-version={gic}"]
    words += [] if its or gic == 2 else ["its=off"]
    words += ["virtualization=on"] if el2 else []
    return ",".join(["virt", *words])


def with_far_memory(machine: Machine, start: int, work: Path) -> Machine:
    """Return the machine with 1 GiB more of memory, at a physical address far above the rest.

    QEMU's board has all memory in one piece, which is not filled: what is in between exists, but
    the kernel's tree tells it to leave that alone.
    """
    backend = f"memory-backend-ram,id=ram,size={(start >> 30) + 1}G,reserve=off"
    machine = replace(
        machine,
        memory=f"{(start >> 30) + 1}G",
        board=f"{machine.board},memory-backend=ram",
        extra=("-object", backend),
    )
    place = work / "virt.dtb"
    tree_of(machine, place)
    tree = parse_device_tree(place.read_bytes())
    chosen = tree.root.child("chosen")
    assert chosen is not None
    # QEMU writes the memory nodes anew, but leaves this: all others are no memory then. A kernel
    # forgets its reservation of the tree where that is in another range than the first, which is
    # the one of the kernels that are loaded; of the tree that QEMU hands over it has to be told.
    usable = (start, GIB, RAM_START, GIB)
    chosen = chosen.with_property(
        "linux,usable-memory-range", b"".join(number.to_bytes(8, "big") for number in usable)
    )
    root = tree.root.with_child(chosen)
    tree = replace(tree, root=root, reservations=(*tree.reservations, QEMUS_FILES))
    place.write_bytes(build_device_tree(tree))
    return replace(machine, extra=(*machine.extra, "-dtb", str(place)))


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine and the loads in it."""

    machine: Machine
    level: str
    """How the purgatory is to name where it runs."""
    kernels: int = TWO_JUMPS
    crash: str | None = None
    """Where to reserve memory for a capture kernel, which a panic then starts."""
    floor: int = 0
    """The address from which on all segments lie."""

    @property
    def jump(self) -> str:
        """The script of a phase that is not the last one."""
        kernel, serial = boot_path(SERIES), "--serial=ttyAMA0"
        if self.crash:
            return (
                f"kexec -c -p {kernel} --initrd=/boot/initrd-small {serial} "
                f"--append='{CAPTURE_CMDLINES[AARCH64]}'\n{CRASH_LOADED}{CRASH}"
            )
        if self.kernels == CHAIN:
            return (
                "repack-initrd -k -p $((VMTEST_PHASE + 1)) /tmp/initrd\n"
                f"kexec -c -l {kernel} --initrd=/tmp/initrd --reuse-cmdline {serial}\n"
                f"rm /tmp/initrd\n{LOADED}kexec -e\n"
            )
        floor = f"--mem-min={self.floor:#x}" if self.floor else ""
        return (
            f"kexec -c -l {kernel} --initrd=/boot/initrd-small {serial} {floor} "
            f"--append='{AARCH64.console} vmtest.phase=2'\n{LOADED}kexec -e\n"
        )


FORTY_BITS, BEYOND_FORTY_BITS = 960 * GIB, 1024 * GIB

GUESTS = {
    "a53-el1-tree-gicv2": Guest(aarch64_machine(cpu="cortex-a53", board=board(gic=2)), "EL1"),
    "a53-el2-efi-crash": Guest(
        aarch64_machine(cpu="cortex-a53", board=board(el2=True, its=True), efi=True),
        "EL2",
        crash="crashkernel=256M",
    ),
    "a72-el2-tree-chain": Guest(
        aarch64_machine(cpu="cortex-a72", board=board(el2=True), cpus=2), "EL2", kernels=CHAIN
    ),
    "a72-el2-efi-crash-above-4G": Guest(
        aarch64_machine(cpu="cortex-a72", board=board(el2=True, its=True), efi=True, memory="5G"),
        "EL2",
        crash="crashkernel=512M,high crashkernel=128M,low",
        floor=4 * GIB,
    ),
    "n1-el2-vhe-tree-crash": Guest(
        aarch64_machine(cpu="neoverse-n1", board=board(el2=True), cpus=2),
        "EL2 with VHE",
        crash="crashkernel=256M",
    ),
    "n1-el1-efi-above-4G": Guest(
        aarch64_machine(cpu="neoverse-n1", efi=True, memory="8G"), "EL1", floor=4 * GIB
    ),
    "a64fx-el2-vhe-efi": Guest(
        aarch64_machine(cpu="a64fx", board=board(el2=True, its=True), efi=True), "EL2 with VHE"
    ),
    "a64fx-el1-tree-crash": Guest(
        aarch64_machine(cpu="a64fx", board=board()), "EL1", crash="crashkernel=256M"
    ),
    "max-el2-vhe-efi-chain": Guest(
        aarch64_machine(cpu=AARCH64_CPU, board=board(el2=True, its=True), efi=True),
        "EL2 with VHE",
        kernels=CHAIN,
    ),
    "a72-el1-tree-40-bits": Guest(
        aarch64_machine(cpu="cortex-a72", board=board()), "EL1", floor=FORTY_BITS
    ),
    "max-el2-vhe-tree-41-bits": Guest(
        aarch64_machine(cpu=AARCH64_CPU, board=board(el2=True)),
        "EL2 with VHE",
        floor=BEYOND_FORTY_BITS,
    ),
}


def assert_each_purgatory_said(result: Result, guest: Guest) -> None:
    """Between each kernel and the next one stood one that hashed with caches on."""
    said = SAID.findall(result.serial)
    of_each = [said[start : start + 4] for start in range(0, len(said), 4)]
    assert len(of_each) == guest.kernels - 1, said
    for verifying, way, right, entering in of_each:
        assert re.match(r"verifying \d segments, ", verifying)
        assert way == f"caches on: {guest.level}, pages of 4 KiB, SHA instructions"
        assert right == "SHA-256 is right"
        assert int(entering.removeprefix("entering the new kernel at "), 16) >= guest.floor


@pytest.mark.parametrize("name", GUESTS)
def test_kernels_through_each_way(vm: Vm, tmp_path: Path, name: str) -> None:
    guest = GUESTS[name]
    machine = guest.machine
    if guest.floor >= FORTY_BITS:
        machine = with_far_memory(machine, guest.floor, tmp_path)
    result = vm(
        [DESCRIBE + guest.jump] * (guest.kernels - 1) + [DESCRIBE],
        kernel=SERIES,
        machine=machine,
        # On a busy host a kernel takes its own slowness for a lockup.
        append=f"nowatchdog {guest.crash or ''}",
        meant_death=re.escape(PANIC) if guest.crash else None,
    )

    assert_each_purgatory_said(result, guest)
    last = guest.kernels
    assert printed(result, last, "level") == guest.level.split()[0]
    assert printed(result, last, "efi") == printed(result, 1, "efi")
    assert printed(result, last, "core") == ("yes" if guest.crash else "no")
