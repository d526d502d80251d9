"""What holds for every test: none may reach the kernel's kexec calls by accident."""

from __future__ import annotations

import pytest

from pykexec import syscalls


class _NoLibc:
    """Stands where libc would be."""

    def syscall(self, number: int, *arguments: object) -> int:
        """Refuse."""
        raise AssertionError(f"a test called syscall({number}, …) for real")


@pytest.fixture(autouse=True)
def no_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process from loading or jumping, whatever a test does."""
    monkeypatch.setattr(syscalls, "_libc", _NoLibc())
