"""Lets a machine directory stand in for this machine, and a recorder for its kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykexec import machine as machine_package
from pykexec.calls._kexec_abi import ffi
from pykexec.loading import run_files
from pykexec.machine import crash_state, kernel_state

if TYPE_CHECKING:
    import pytest

KEXEC_LOAD, KEXEC_FILE_LOAD, REBOOT = 246, 320, 169


@dataclass
class FakeLibc:
    """Records system calls and answers with the errnos given, then with success."""

    answers: list[int] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    segments: list[tuple[bytes, int, int]] = field(default_factory=list)
    """Of the last kexec_load: data, physical address, size in memory."""

    def syscall(self, number: int, *words: Any) -> int:
        """Stand in for libc's."""
        numbers = [int(word) if ffi.typeof(word).kind == "primitive" else None for word in words]
        self.calls.append((number, *numbers))
        if number == KEXEC_LOAD:
            count, array = int(words[1]), words[2]
            self.segments = [
                (
                    bytes(ffi.buffer(array[at].buf, array[at].bufsz)),
                    array[at].mem,
                    array[at].memsz,
                )
                for at in range(count)
            ]
        answer = self.answers.pop(0) if self.answers else 0
        ffi.errno = answer
        return -1 if answer else 0


def run_as(monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    """Let the running machine be one of ``arch``."""
    uname = os.uname()
    words = (uname.sysname, uname.nodename, uname.release, uname.version, arch)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(words))


def stand_in(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let this machine be the one at ``path``."""
    read_machine, read_state = machine_package.read_machine, kernel_state.read_kernel_state
    read_crash = crash_state.read_crash_state
    monkeypatch.setattr(
        machine_package, "read_machine", lambda root="/", **more: read_machine(path, **more)
    )
    monkeypatch.setattr(kernel_state, "read_kernel_state", lambda root: read_state(path))
    for name in ("read_loaded", "read_crash_loaded"):
        reader = getattr(kernel_state, name)
        monkeypatch.setattr(kernel_state, name, lambda root, reader=reader: reader(path))
    monkeypatch.setattr(crash_state, "read_crash_state", lambda root: read_crash(path))
    monkeypatch.setattr(run_files, "ROOT", str(path))
