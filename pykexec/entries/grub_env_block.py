"""GRUB's environment block, grubenv: GNU GRUB Manual, "The GRUB environment block". Pure."""

from __future__ import annotations

from pykexec.values.errors import MachineError


def parse_grubenv(text: str, where: str) -> dict[str, str]:
    """Parse an environment block: lines NAME=VALUE, a backslash joins two, ``#`` fills up.

    Raises :class:`MachineError` with the line for anything else.
    """
    found: dict[str, str] = {}
    lines = text.replace("\\\n", "\0").split("\n")
    number = 1
    for line in lines:
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not (name and equals):
                raise MachineError(f"{where}, line {number}: NAME=VALUE is needed: {line[:40]!r}")
            found[name] = value.replace("\0", "\n").replace("\\\\", "\\")
        number += 1 + line.count("\0")
    return found
