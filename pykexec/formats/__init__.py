"""File formats: bytes in, value out. Pure; ``construct`` stays behind these modules.

:func:`identify` asks each known format in turn. A probe answers from the header alone
with None for "mine" or the reason why it is not; only then is the file parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats.bzimage import BzImage
    from pykexec.plans import Buffer


def identify(data: Buffer) -> BzImage:
    """Parse a kernel of whichever format it is.

    Raises :class:`ImageError` that says what was tried and why each was left.
    """
    from pykexec.formats import bzimage

    if not len(data):
        raise ImageError("the kernel file is empty (0 bytes)")
    reason = bzimage.probe(data)
    if reason is None:
        return bzimage.parse_bzimage(data)
    raise ImageError(
        f"not a kernel image that can be loaded ({len(data)} bytes): "
        f"tried {bzimage.NAME}: {reason}",
        hint="give the vmlinuz or bzImage file that the boot loader uses",
    )
