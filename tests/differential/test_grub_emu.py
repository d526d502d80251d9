"""GNU GRUB itself and our reading of its language: the same words, or a problem that is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.grub_files import PREFIX, read
from tests.builders.grub_scripts import script
from tests.differential.grub_emu import answers, command
from tests.needs import unavailable
from tests.vm.debian import FetchError

FILES = {"d/one.cfg": "echo one $1\nc=$a$c\n", "e": "", "x": "x"}
WIDTH = 79
"""Columns after which GRUB's console begins a new line."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix for GRUB, with a few files to look for."""
    try:
        command()
    except FetchError as error:
        unavailable(f"grub-emu cannot be had: {error}")
    path = tmp_path_factory.mktemp("grub")
    for name, text in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    return path


def ours(text: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines that ``echo`` prints for us as GRUB's console shows them, and problems."""
    reading = read(text, {f"{PREFIX}/{name}": content for name, content in FILES.items()})
    lines = [
        line[at : at + WIDTH]
        for line in reading.printed.split("\n")
        for at in range(0, len(line), WIDTH)
    ]
    return [line for line in lines if not line.startswith("error: ")], reading.problems


@pytest.mark.full
@pytest.mark.differential
def test_hundreds_of_scripts(directory: Path) -> None:
    seeds = range(2000)
    told = 0
    for seed, theirs in zip(
        seeds, answers([script(seed) for seed in seeds], directory), strict=True
    ):
        mine, problems = ours(script(seed))
        if mine != theirs:
            assert problems, f"seed {seed}:\n{script(seed)}\nGRUB: {theirs}\nours: {mine}"
            told += 1
    assert told <= len(seeds) // 20


@pytest.mark.full
@pytest.mark.differential
def test_the_filter_is_proven_before_anything_runs() -> None:
    """Behind it, neither call gets through: see what lock_in() raises otherwise."""
    text = """
import ctypes, errno
from tests.differential.grub_emu import lock_in
lock_in()
libc = ctypes.CDLL(None, use_errno=True)
for number in (169, 246, 320):
    assert libc.syscall(number, 0, 0, 0, ctypes.c_ulong(0xFFFFFFFF)) == -1
    assert ctypes.get_errno() == errno.EXFULL
print("locked")
"""
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "locked\n", done.stderr


def test_a_script_that_may_start_something_is_not_run(tmp_path: Path) -> None:
    for text in ("linux /k", "if true; then boot; fi", "multiboot2 /x", "chainloader +1", "reboot"):
        with pytest.raises(ValueError, match="may start something"):
            answers([text], tmp_path)
