"""What holds for every test: none may reach the kernel's kexec calls by accident."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import hypothesis
import pytest

from pykexec.calls import syscalls
from pykexec.loading import run_files
from pykexec.purgatory_objects import DIRECTORY
from tests.needs import unavailable
from tests.toolchain import MISSING, TOOLCHAINS, find_toolchain
from tools.programs import PROGRAMS

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def _watch_programs(event: str, arguments: tuple[object, ...]) -> None:
    """Let nothing be run by name that no package of the project's is known to bring."""
    if event != "subprocess.Popen":
        return
    program = os.fsdecode(arguments[0])  # type: ignore[arg-type]  # it is what Popen takes
    if "/" not in program and program not in PROGRAMS:
        raise AssertionError(f"tools/programs.py does not say which package brings {program}")


sys.addaudithook(_watch_programs)


def pytest_report_header() -> list[str]:
    """Report the size of each purgatory at the head of every run."""
    objects = json.loads((DIRECTORY / "MANIFEST.json").read_text())["objects"]
    return [
        f"purgatory {arch}: {entry['size']} bytes in the file, {entry['memsz']} in memory, "
        f"text {entry['text_size']}, data {entry['data_size']}"
        for arch, entry in objects.items()
    ]


class _NoLibc:
    """Stands where libc would be."""

    def syscall(self, number: int, *arguments: object) -> int:
        """Refuse."""
        raise AssertionError(f"a test called syscall({number}, …) for real")


@pytest.fixture(autouse=True)
def no_system_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this process from loading, jumping or crashing, whatever a test does."""
    monkeypatch.setattr(syscalls, "_libc", _NoLibc())
    monkeypatch.setattr(syscalls, "SYSRQ_TRIGGER", str(tmp_path / "no/sysrq-trigger"))


@pytest.fixture(autouse=True)
def no_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the record of a crash load be left elsewhere than on this machine."""
    monkeypatch.setattr(run_files, "ROOT", str(tmp_path / "root"))


@pytest.fixture
def clang() -> None:
    """Need a compiler for what runs without a C library."""
    if find_toolchain() is None:
        unavailable(MISSING, "CLANG")


@pytest.fixture
def own_clang(clang: None) -> None:
    """Need the compiler whose bytes are checked in."""
    if TOOLCHAINS[0] != find_toolchain():
        unavailable("the bytes checked in are those of clang-19, and here is another", "CLANG_19")
