"""A multiboot plan, run in the emulator from the purgatory on: what its kernel says it was told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, Module, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.multiboot_kernel import build_kernel, tools_missing
from tests.builders.plans import RAM, build_facts
from tests.needs import unavailable
from tests.purgatory.emulator import TIMEOUT
from tests.purgatory.emulator_x86 import CR4_PAE, X86Machine


class Booted(X86Machine):
    """An x86_64 processor that has left the old kernel for a plan."""

    def __init__(self, made: SegmentPlan) -> None:
        """Put the plan's segments where they belong."""
        obj = load(made.arch)
        start = made.entry - obj.entry
        super().__init__(obj, start, b"")
        for segment in made.segments:
            self.put(segment.dest.start, bytes(segment.data).ljust(segment.dest.size, b"\0"))

    def put_kernel(self) -> None:
        """Have the kernel in one of the segments."""

    def run(self, cr4: int = CR4_PAE) -> None:
        """Enter the purgatory; returns when the kernel halts."""
        self.set("eflags", 0x402)
        self.set("cr4", cr4)
        self.set("gdtr", (0, 0, 0, 0))
        self.uc.emu_start(self.base + self.obj.entry, 0, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return a kernel for each version."""
    missing = tools_missing()
    if missing:
        unavailable(missing, "CLANG")
    return {number: build_kernel(number, tmp_path_factory.mktemp("mb")) for number in (1, 2)}


def told(kernel: Path, ram: tuple[Range, ...] = RAM) -> list[str]:
    """Return what the kernel says, without its ``mb``."""
    request = LoadRequest(
        kernel=kernel.read_bytes(),
        kernel_name=b"/boot/k",
        cmdline=b"two words",
        modules=(Module(b"FIRST\n" * 1000, b"/first a b"), Module(b"SECOND\n", b"/second")),
    )
    machine = Booted(plan(build_facts(ram), request))
    machine.run()
    return re.findall(r"^mb (.*)$", machine.text, re.MULTILINE)


@pytest.mark.parametrize(("version", "magic"), [(1, "0x2badb002"), (2, "0x36d76289")])
def test_it_is_told_of_all(kernels: dict[int, Path], version: int, magic: str) -> None:
    lines = told(kernels[version])
    assert lines[0] == f"magic {magic}"
    assert "cmdline </boot/k two words>" in lines
    assert "loader <pykexec>" in lines
    assert [line for line in lines if line.startswith("module")] == [
        "module 0x1770 </first a b> <FIRST>",
        "module 0x7 </second> <SECOND>",
    ]
    assert [line for line in lines if line.startswith("memory")] == [
        f"memory {part.start:#x} {part.size:#x} 0x1" for part in RAM
    ]
    assert ("base 0x200000" in lines) is (version == 2)
    assert lines[-1] == "done"


def test_it_is_moved_and_runs(kernels: dict[int, Path]) -> None:
    ram = (Range(0x1000, 0x9FC00), Range(64 * MIB, 128 * MIB))
    lines = told(kernels[2], ram)
    assert "base 0x4000000" in lines
    assert lines[-1] == "done"
