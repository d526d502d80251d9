"""What came of the commands that a phase ran by the guest's ``try NAME COMMAND...``."""

from __future__ import annotations

from collections.abc import Sequence


class Tried:
    """The commands of one phase, by their names."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Take what the phase printed."""
        self._lines = lines

    def said(self, name: str) -> str:
        """Return what the command printed, on either stream."""
        return "\n".join(self._of(f"{name} says "))

    def outcome(self, name: str) -> tuple[int, str]:
        """Return the exit code, and ``10`` when a kernel and no crash kernel is loaded then."""
        (code,), (loaded,) = self._of(f"{name} rc "), self._of(f"{name} loaded ")
        return int(code), loaded

    def _of(self, head: str) -> list[str]:
        return [line.removeprefix(head) for line in self._lines if line.startswith(head)]
