"""The names that ``kexec -t`` has for images, and what they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats import Identified

_COMPRESSED = ("gzip", "xz", "lzma", "bzip2", "zstd", "lz4", "lzo")


def format_of(wanted: str | None, arch: str) -> str | None:
    """Return how the name of the format begins that the user insists on, None for any.

    Raises :class:`ImageError` for a type that is unknown.
    """
    if wanted is None:
        return None
    known = architecture_of(arch).options.image_types
    if wanted not in known:
        raise ImageError(
            f"unsupported kernel type {wanted!r}", hint=f"known on {arch}: {', '.join(known)}"
        )
    return known[wanted]


def _is_of(name: str, expected: str) -> bool:
    """Tell whether a format's name begins with ``expected``, as a word."""
    return name == expected or name.startswith(f"{expected} ")


def check_type(wanted: str | None, found: Identified, arch: str) -> None:
    """Refuse an image that is not of the type that the user insists on.

    Compression around it does not count, as for kexec. Raises :class:`ImageError` for a type
    that is unknown and for an image of another one.
    """
    expected = format_of(wanted, arch)
    if expected is None:
        return
    names = [item.name for item in found.wrappings if not item.name.startswith(_COMPRESSED)]
    name = names[0] if names else found.image.format_name
    if not _is_of(name, expected):
        raise ImageError(
            f"wrong file type: {wanted} is wanted, and the file is of type {name}",
            hint="leave out -t (--type): the type is found out",
        )
