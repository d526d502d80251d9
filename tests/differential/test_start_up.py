"""What is imported for what needs no plan, asking and unloading: the system calls are recorded."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.builders.bzimage import build_bzimage
from tests.differential.machines import bios_512m
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
    assert "pykexec.errors" in modules
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


def imported(sandbox: Sandbox, tmp_path: Path, words: list[str]) -> set[str]:
    """Return the names of all modules that a call of kexec imports."""
    command = (sys.executable, "-X", "importtime", "-m", "pykexec.cli.kexec_compat")
    tool = Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)})
    outcome = sandbox.run(tool, words, bios_512m(tmp_path / "machine"))
    return set(re.findall(r"^import time: .*\| +(\S+)$", outcome.stderr, re.MULTILINE))
