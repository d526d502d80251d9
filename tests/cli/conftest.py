"""A machine that stands in for this one, and files to load on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.calls import syscalls
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.cli.crash_machine import LOADS, REGION, STATE
from tests.cli.stand_in import FakeLibc, stand_in
from tests.unit.test_x86_crash_plan import CRASH


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MachineDirectory:
    """Let this machine be one with a crash kernel region, where any load succeeds."""
    path = build_machine(
        tmp_path / "machine", children=[REGION], kernel=STATE, crash=CRASH, kcore=LOADS
    )
    machine = MachineDirectory(path)
    machine.write("proc/sys/kernel/random/boot_id", "3ac1d356\n")
    machine.write("sys/devices/system/cpu/present", "0-1\n")
    machine.write("proc/kallsyms", f"{0xFFFFFFFF81000000:016x} T _stext\n")
    stand_in(monkeypatch, path)
    monkeypatch.setattr(syscalls, "_libc", FakeLibc())
    return machine


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    path = tmp_path / "initrd"
    path.write_bytes(b"initrd")
    return path
