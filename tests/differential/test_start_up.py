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

EXPENSIVE = {"construct", "elftools", "fdt", "rich", "click"}
NO_PLAN = {
    "pykexec.planning.planner",
    "pykexec.boot",
    "pykexec.formats",
    "pykexec.render.text",
    "json",
    "hashlib",
}
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
        ("-S", EXPENSIVE | NO_PLAN | NO_CALL),
        ("-S -l", EXPENSIVE | NO_PLAN | NO_CALL),
        ("--print-ckr-size", EXPENSIVE | NO_PLAN | NO_CALL),
        ("-v", EXPENSIVE | NO_PLAN | NO_CALL),
        ("-u", EXPENSIVE | NO_PLAN),
        ("-s -u", EXPENSIVE | NO_PLAN),
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
    assert modules & (FOR_SEGMENTS | FOR_MESSAGES) == set()
    assert "pykexec.calls._kexec_abi" in modules


def imported(
    sandbox: Sandbox,
    tmp_path: Path,
    words: list[str],
    build: Callable[[Path], Path] = bios_512m,
) -> set[str]:
    """Return the names of all modules that a call of kexec imports."""
    command = (sys.executable, "-X", "importtime", "-m", "pykexec.cli.kexec_compat")
    tool = Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)})
    outcome = sandbox.run(tool, words, build(tmp_path / "machine"))
    return set(re.findall(r"^import time: .*\| +(\S+)$", outcome.stderr, re.MULTILINE))
