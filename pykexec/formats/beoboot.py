"""Boot images of beoboot, the network boot of Beowulf clusters: one file for all of a boot. Pure.

Behind a header of 16 bytes lie the command line, a bzImage and, by a flag, an initrd, without
gaps (``mkbootimg`` and ``boot.h`` of beoboot-LANL). All numbers are little-endian; mkbootimg
wrote the command line's size in network order, others did as for the rest: the one that fits is
taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pykexec.formats._structures import BEOBOOT_HEADER
from pykexec.formats.layers import Brought, Layer
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer

NAME = "beoboot"
MAGIC = b"BeoB"

_ARCH = 1
"""That of PCs; the others had images of other forms."""
_HAS_INITRD = 1


@dataclass(frozen=True, slots=True)
class Beoboot(Brought):
    """What such an image brings beside its kernel."""

    container: ClassVar[str] = "the beoboot image"

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


def probe(data: Buffer) -> str | None:
    """Return None if the magic is beoboot's, else why it is not."""
    magic = bytes(data[: len(MAGIC)])
    return None if magic == MAGIC else f"no {MAGIC.decode()!r} at its beginning"


def unwrap(data: Buffer) -> Layer:
    """Take the image apart; raises :class:`ImageError` for one that is cut, or is not for PCs."""
    header = parse_at(BEOBOOT_HEADER, data, 0, "the beoboot header")
    if header.arch != _ARCH:
        raise ImageError(
            f"the beoboot image is for architecture {header.arch} of beoboot's; "
            f"known is {_ARCH} alone",
            offset=4,
            field="arch",
        )
    start = BEOBOOT_HEADER.size
    initrd_size = header.initrd_size if header.flags & _HAS_INITRD else 0
    behind = header.kernel_size + initrd_size
    sizes = {header.cmdline_size, int.from_bytes(header.cmdline_size.to_bytes(2, "big"), "little")}
    # Longer than the command line is what the other order would make of a short one.
    fitting = [
        size
        for size in sorted(sizes)
        if start + size + behind <= len(data) and _is_cmdline(data[start : start + size])
    ]
    if not fitting:
        raise ImageError(
            f"the beoboot image is truncated or malformed: behind a command line of "
            f"{' or '.join(map(str, sorted(sizes)))} bytes it has {counted(behind, 'byte')}, "
            f"and there are {len(data) - start} for all of it",
            offset=6,
            field="cmdline_size",
            hint="copy the file again",
        )
    at = start + fitting[0]
    content = memoryview(data)
    end = at + header.kernel_size
    return Layer(
        NAME,
        content[at:end],
        brought=Beoboot(
            initrd=content[end : end + initrd_size] if initrd_size else None,
            cmdline=bytes(content[start : at - 1]).strip(),
            device_tree=None,
            device_trees=(),
        ),
    )


def _is_cmdline(text: Buffer) -> bool:
    """Tell whether the only NUL of ``text`` is at its end."""
    return bytes(text).find(b"\0") == len(text) - 1 >= 0
