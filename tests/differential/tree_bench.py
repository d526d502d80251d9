"""Runs the C tool and pykexec with the same words on the same machine that is no PC.

The C tool is the distribution's for that architecture, run by an emulator; pykexec is this working
tree's, made to believe that it runs there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tests.differential.decode_image import decode
from tests.differential.differences import Expected
from tests.differential.machines import recorded
from tests.differential.model import TOP, Machine
from tests.differential.sandbox import PROJECT, Outcome, Sandbox, Tool
from tests.differential.tree_loads import KERNEL_ALIGN, Case, Fields, Load, find_image, told
from tests.needs import unavailable
from tests.vm.debian import FetchError, kernel
from tests.vm.platforms import Platform


@dataclass(frozen=True, slots=True)
class Request:
    """A load as a user asks for it."""

    append: str = ""
    options: tuple[str, ...] = ()
    initrd: bool = False
    image: str = "ordinary"
    """Of :attr:`Setting.images`, or the series of a kernel of Debian's."""
    dtb: str | None = None
    """Of :attr:`Setting.trees`."""
    window: Callable[[Machine, bool], tuple[int, int]] = lambda _machine, _crash: (0, TOP)
    """Returns --mem-min and --mem-max; the machine, and whether it is a crash load."""


@dataclass(frozen=True, slots=True)
class Setting:
    """An architecture, and what there is to load on it."""

    platform: Platform
    elf_machine: int
    built: Mapping[str, Callable[[Path], Path]]
    """Machines beside those that were recorded from guests, by name."""
    images: Mapping[str, bytes]
    trees: Mapping[str, bytes]
    """For --dtb."""
    initrd: bytes
    loaded: Callable[[bytes], bytes] = lambda image: image
    """Returns what of a kernel's file lies in memory."""
    kernel_align: int = KERNEL_ALIGN


class Bench:
    """Runs either tool on any machine; a case is run once."""

    def __init__(self, sandbox: Sandbox, theirs: Tool, root: Path, setting: Setting) -> None:
        self._sandbox = sandbox
        self._theirs = theirs
        self._root = root
        self._setting = setting
        self._done: dict[tuple[str, Request, bool], Case] = {}
        (root / "initrd").write_bytes(setting.initrd)
        for name, tree in setting.trees.items():
            (root / f"{name}.dtb").write_bytes(tree)

    @cached_property
    def machines(self) -> Mapping[str, Path]:
        """The machine directories, by name."""
        root = self._root / "machines"
        built = {name: build(root / name) for name, build in self._setting.built.items()}
        return built | recorded(self._setting.platform.name)

    def page_size(self, machine: str) -> int:
        """Return the page size of a machine's kernel."""
        description = json.loads((self.machines[machine] / "machine.json").read_text())
        return int(description["page_size"])

    def run(self, name: str, machine: str, request: Request, crash: bool) -> Outcome:
        """Run a tool, ``theirs`` or ``ours``."""
        pages = str(self.page_size(machine))
        if name == "theirs":
            environment = {**self._theirs.environment, "PYKEXEC_CAPTURE_PAGES": pages}
            tool = replace(self._theirs, environment=environment)
        else:
            there = (self._setting.platform.name, pages)
            command = (sys.executable, "-m", "tests.differential.foreign_kexec", *there)
            tool = Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)})
        file = self._root / f"{request.image}.image"
        if not file.exists():
            file.write_bytes(self._image(request.image))
        words = ["-c", "-p" if crash else "-l", str(file), *request.options]
        words += [f"--append={request.append}"] if request.append else []
        words += [f"--initrd={self._root / 'initrd'}"] if request.initrd else []
        words += [f"--dtb={self._root / request.dtb}.dtb"] if request.dtb else []
        mem_min, mem_max = request.window(Machine(self.machines[machine]), crash)
        words += [f"--mem-min={mem_min:#x}"] if mem_min else []
        words += [f"--mem-max={mem_max:#x}"] if mem_max < TOP else []
        return self._sandbox.run(tool, words, self.machines[machine])

    def compare(self, name: str, request: Request, crash: bool) -> Case:
        """Run both tools and decode what they asked for."""
        key = name, request, crash
        if key not in self._done:
            theirs, ours = (
                self._decoded(self.run(tool, name, request, crash), request)
                for tool in ("theirs", "ours")
            )
            machine = Machine(self.machines[name])
            mem_min, mem_max = request.window(machine, crash)
            self._done[key] = Case(
                machine=machine,
                elf_machine=self._setting.elf_machine,
                page_size=self.page_size(name),
                image=self._setting.loaded(self._image(request.image)),
                initrd=self._setting.initrd if request.initrd else None,
                append=request.append,
                reuse="--reuse-cmdline" in request.options,
                crash=crash,
                dtb=self._setting.trees[request.dtb] if request.dtb else None,
                theirs=theirs,
                ours=ours,
                mem_min=mem_min,
                mem_max=mem_max,
                reuse_initrd="--reuseinitrd" in request.options,
                kernel_align=self._setting.kernel_align,
            )
        return self._done[key]

    def _decoded(self, outcome: Outcome, request: Request) -> Load:
        image = self._setting.loaded(self._image(request.image))
        call = outcome.load
        handover = decode(call, image, self._setting.initrd if request.initrd else None)
        kernel_segment = handover.segments["kernel"]
        start = kernel_segment.mem + find_image(kernel_segment, image)
        return Load(call, handover, start)

    def _image(self, name: str) -> bytes:
        if name in self._setting.images:
            return self._setting.images[name]
        try:
            return kernel(name, arch=self._setting.platform.debian).image.read_bytes()
        except FetchError as error:
            unavailable(f"no kernel {name}: {error}")


def check_fields(
    case: Case,
    differences: Mapping[str, Expected],
    told: Callable[[Load, Case], Fields] = told,
) -> None:
    """What is told differs in the listed fields, by the listed values, and nowhere else."""
    expected: Expected = {}
    for listed in differences.values():
        assert not expected.keys() & listed.keys(), "two entries of the list are about one field"
        expected |= listed
    theirs, ours = told(case.theirs, case), told(case.ours, case)
    found = {
        name: (theirs.get(name), ours.get(name))
        for name in theirs.keys() | ours.keys()
        if theirs.get(name) != ours.get(name)
    }
    assert found == expected


def assert_both_refuse(
    bench: Bench, machine: str, request: Request, crash: bool, message: str
) -> None:
    """Hold that neither tool loads anything, and that ours says why."""
    theirs, ours = (bench.run(tool, machine, request, crash) for tool in ("theirs", "ours"))
    assert theirs.exit_code != 0
    assert ours.exit_code != 0
    assert not theirs.calls
    assert not ours.calls
    assert message in ours.stderr
