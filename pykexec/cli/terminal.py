"""What the stream that is printed to can show: colours, and which characters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.render.style import Style

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO


def style_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Style:
    """Return colours for a terminal that has them, unless NO_COLOR is set (no-color.org)."""
    plain = environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb"
    return Style(colour=not plain and stream.isatty())


def showable(text: str, stream: TextIO) -> str:
    """Escape what the stream's encoding does not have: a command line may hold anything."""
    encoding = stream.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
