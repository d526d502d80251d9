"""What a unified kernel image says of itself: UAPI.5 Unified Kernel Image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.errors import ImageError

if TYPE_CHECKING:
    from pykexec.machine.boot_tree import BootTree


@dataclass(frozen=True, slots=True)
class UkiDescription:
    """The sections that a menu is made of."""

    title: str
    """PRETTY_NAME, "" without."""
    cmdline: str
    """As :func:`os.fsdecode` makes it of the section's bytes."""
    system: dict[str, str]
    """os-release(5)."""


def read_uki(tree: BootTree, path: str) -> UkiDescription:
    """Read an image's sections; raises :class:`ImageError` with the path, and OSError."""
    from pykexec.formats import pe, uki

    data = tree.mapped(path)
    try:
        found = uki.unwrap(data).brought
        sections = pe.parse_pe(data, "the UKI").named(".osrel")
    except ImageError as error:
        error.message = f"{path}: {error.message}"
        raise
    assert isinstance(found, uki.Uki)
    system = _os_release(bytes(sections[0].data) if sections else b"")
    return UkiDescription(found.os_release or "", os.fsdecode(found.cmdline or b""), system)


def _os_release(data: bytes) -> dict[str, str]:
    """Parse os-release(5), as far as names and versions go."""
    lines = data.decode("utf-8", "replace").strip("\0").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name: value.strip("\"'") for name, _, value in pairs}
