"""What peeling one wrapping gives: the value that the parsers of wrappings return. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.units import MIB

if TYPE_CHECKING:
    from pykexec.formats.uki import Uki
    from pykexec.plans import Buffer

KERNEL_LIMIT = 512 * MIB
"""Bytes that a kernel may expand to. The largest that people build, with an initramfs and
debug information inside, stay well below."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One wrapping and what is in it."""

    name: str
    """For people: ``gzip``, ``EFI zboot (zstd)``, ``UKI``."""
    inner: Buffer
    """What was wrapped."""
    signed: bool = False
    """The wrapping has an Authenticode signature, which the inside is not covered by when it
    stands alone."""
    uki: Uki | None = None
    """What a UKI brings beside the kernel."""
