"""Formats that kexec(8) lists and that nothing starts any more: known, to be refused. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.errors import ImageError

if TYPE_CHECKING:
    from pykexec.plans import Buffer

NAME = "NBI or beoboot"
_FORMATS = {
    b"\x36\x13\x03\x1b": (
        "NBI",
        "an NBI image, whose program calls the network boot ROM that loaded it",
    ),
    b"BeoB": (
        "beoboot",
        "a beoboot image, a bzImage and an initrd behind a header of the Beowulf clusters",
    ),
}
"""First bytes of a file, and what that is."""


def probe(data: Buffer) -> str | None:
    """Return None if the file is of such a format, else why it is of none."""
    start = bytes(data[:4])
    return None if start in _FORMATS else f"the file begins with {start.hex(' ')}"


def refuse(data: Buffer) -> None:
    """Raise :class:`ImageError` with the reason if the file is of such a format."""
    found = _FORMATS.get(bytes(data[:4]))
    if found is not None:
        name, what = found
        raise ImageError(
            f"{what}: {name} is known, and not supported",
            offset=0,
            hint="give the kernel and the initrd that it was made from",
        )
