"""What peeling one wrapping gives: the value that the parsers of wrappings return. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pykexec.values.data_classes import dataclass
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer

KERNEL_LIMIT = 512 * MIB
"""Bytes that a kernel may expand to. The largest that people build, with an initramfs and
debug information inside, stay well below."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a container brings beside its kernel, for what the user does not give."""

    container: ClassVar[str]
    """What it is called in notes, with its article: ``the UKI``."""

    initrd: Buffer | None
    cmdline: bytes | None
    """Without white space and NULs at its ends; None: it has none."""
    device_tree: Buffer | None
    """For every machine."""
    device_trees: tuple[Buffer, ...]
    """Each for the machine whose ``compatible`` it has; the first that fits, if any, goes before
    ``device_tree``."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be told when it is used: what is left of it, or is not checked."""
        return ()


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
    brought: Brought | None = None
    """What a container brings beside the kernel."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies
