"""The configuration that a kernel was built with, where it carries it along. Pure.

Linux kernel/configs.c: gzip data between the marks ``IKCFG_ST`` and ``IKCFG_ED``, in the
read-only data of a kernel built with CONFIG_IKCONFIG.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.formats.layers import KERNEL_LIMIT
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, MissingLibraryError
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.values.buffers import Buffer

_MARKED = re.compile(rb"IKCFG_ST(?=\x1f\x8b\x08)")
_END = re.compile(rb"IKCFG_ED")
_CONFIG_MAX = 4 * MIB
"""Some ten times what the largest configuration takes."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """A kernel's ``.config``."""

    text: bytes

    def has(self, option: str) -> bool:
        """Tell whether ``option``, such as ``CONFIG_IMA``, is built in."""
        return re.search(rb"^%s=y$" % option.encode(), self.text, re.MULTILINE) is not None


def read_kernel_config(kernel: Buffer) -> KernelConfig | None:
    """Find the configuration in an uncompressed kernel; None where it has none that can be read."""
    from pykexec.formats.compression import Codec, decompress

    start = _MARKED.search(kernel)
    end = _END.search(kernel, start.end()) if start is not None else None
    if start is None or end is None:
        return None
    packed = memoryview(kernel)[start.end() : end.start()]
    try:
        return KernelConfig(decompress(packed, _CONFIG_MAX, "the configuration", Codec.GZIP))
    except ImageError:
        return None


def unpacked(image: BzImage | ElfProgram) -> Buffer | None:
    """Return the uncompressed kernel; None where that is not cheap or possible.

    Cheap is what takes tenths of a second. Linux Documentation/arch/x86/boot.rst,
    "payload_offset" and "payload_length".
    """
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.compression import Codec, decompress, probe

    if not isinstance(image, BzImage):
        return image.payload
    header = image.header
    offset, length = header.payload_offset, header.payload_length
    payload = memoryview(image.payload)[offset : offset + length]
    if probe(payload) not in (Codec.GZIP, Codec.ZSTD, Codec.LZ4, Codec.LZ4_LEGACY):
        return None
    try:
        return decompress(payload, KERNEL_LIMIT, "the kernel inside the bzImage")
    except (ImageError, MissingLibraryError):
        return None
