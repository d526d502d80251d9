"""Bytes, however they are held. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview
"""File contents stay mapped: a kernel or an initrd is a memoryview, never a copy."""
