"""What is imported for what needs no plan, asking and unloading: the system calls are recorded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.bzimage import build_bzimage
from tests.differential.machines import bios_8g_crashkernel, bios_512m
from tests.differential.sandbox import PROJECT, Sandbox, Tool

pytestmark = pytest.mark.differential

NO_PLAN = {
    "pykexec.planning.planner",
    "pykexec.boot",
    "pykexec.formats",
    "pykexec.render.text",
    "json",
    "hashlib",
}
FOR_CLASSES = {"dataclasses", "inspect", "ast"}
"""What the standard library makes data classes with, and what declares structures: together they
take several times as long as a bare Python."""
FOR_VALUES = {"typing", "re", "enum", "pykexec.values.command_line", "pykexec.values.facts"}
"""What need not be there to tell what is loaded."""
EXPENSIVE = {"construct", "elftools", "fdt", "rich", "click"} | FOR_CLASSES
NO_CALL = {"_cffi_backend", "cffi", "pykexec.calls.syscalls"}
FOR_SEGMENTS = {
    "pykexec.purgatory_objects",
    "pykexec.planning.placement",
    "pykexec.planning.plan_builder",
    "pykexec.formats.uki",
    "pathlib",
}
"""What a load by kexec_file_load(2) has no use for."""
FOR_MESSAGES = {"pykexec.calls.rejections", "pykexec.loading.status", "pykexec.render.style"}
"""What a load has no use for that succeeds and says nothing."""


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        ("-S", EXPENSIVE | NO_PLAN | NO_CALL | FOR_VALUES),
        ("-S -l", EXPENSIVE | NO_PLAN | NO_CALL | FOR_VALUES),
        ("--print-ckr-size", EXPENSIVE | NO_PLAN | NO_CALL | {"typing"}),
        ("-v", EXPENSIVE | NO_PLAN | NO_CALL | FOR_VALUES),
        ("-u", EXPENSIVE | NO_PLAN | {"typing", "pykexec.loading.options"}),
        ("-s -u", EXPENSIVE | NO_PLAN | {"typing", "pykexec.loading.options"}),
        ("-p -u", EXPENSIVE | NO_PLAN - {"json"}),
        ("-e", EXPENSIVE | NO_PLAN),
    ],
)
def test_imports(sandbox: Sandbox, tmp_path: Path, words: str, unwanted: set[str]) -> None:
    modules = imported(sandbox, tmp_path, words.split())
    assert "pykexec.values.errors" in modules
    tops = {name.split(".")[0] for name in modules} | modules
    assert tops & unwanted == set()


def test_a_bzimage_imports_no_other_format(sandbox: Sandbox, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(build_bzimage())
    modules = imported(sandbox, tmp_path, ["-c", "-l", str(kernel), "--append=x"])
    assert "pykexec.boot.x86.linux" in modules
    assert modules & EXPENSIVE == set()
    others = ("multiboot", "x86_elf", "elf_file", "device_tree")
    assert modules & {f"pykexec.formats.{name}" for name in others} == set()
    assert modules & {"pykexec.boot.tree.chosen", "pykexec.boot.x86.multiboot_info"} == set()


def test_a_load_by_the_file_call_imports_nothing_for_segments(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """In an initramfs each module counts: early kdump loads so, before anything else is done."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(build_bzimage())
    words = ["-s", "-p", str(kernel), "--append=x", "--reuse-cmdline"]
    modules = imported(sandbox, tmp_path, words, bios_8g_crashkernel)
    assert "pykexec.crash.status" in modules
    assert modules & (FOR_SEGMENTS | FOR_MESSAGES | EXPENSIVE) == set()
    assert "pykexec.calls._kexec_abi" in modules


def imported(
    sandbox: Sandbox,
    tmp_path: Path,
    words: list[str],
    build: Callable[[Path], Path] = bios_512m,
) -> set[str]:
    """Return the names of all modules that a call of kexec imports, but for Python's own start."""
    start = "from pykexec.cli.front_door import kexec; kexec()"
    command = (sys.executable, "-X", "importtime", "-c", start)
    tool = Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)})
    outcome = sandbox.run(tool, words, build(tmp_path / "machine"))
    names = re.findall(r"^import time: .*\| +(\S+)$", outcome.stderr, re.MULTILINE)
    return set(names[names.index("site") + 1 :])
