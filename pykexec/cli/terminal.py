"""What is printed, and what the stream that it goes to can show: colours, which characters.

Nothing else in pykexec.cli writes to stdout or stderr, so that nothing goes round the escaping.
"""

from __future__ import annotations

import codecs
import os
import sys

from pykexec.render.escape import escaped, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from pykexec.render.style import Style


def style_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Style:
    """Return colours for a terminal that has them, unless NO_COLOR is set (no-color.org)."""
    from pykexec.render.style import Style

    return Style(colour=_has_colours(stream, environ))


def _has_colours(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    plain = environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb"
    return not plain and stream.isatty()


def showable(text: str, stream: TextIO) -> str:
    """Escape what may do something to a terminal, and what the stream's encoding lacks."""
    encoding = stream.encoding or "ascii"
    text = escaped(text, colours=_has_colours(stream))
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str, *, end: str = "\n", err: bool = False) -> None:
    """Print ``text`` on stdout, or with ``err`` on stderr; raises OSError."""
    stream = sys.stderr if err else sys.stdout
    stream.write(showable(text + end, stream))
    stream.flush()


def say_line(text: str, *, err: bool = False) -> None:
    """Print a sentence, which is a line of its own whatever a name in it has; raises OSError."""
    say(one_line(text), err=err)


def tell(program: str, text: str) -> None:
    """Print on stderr, in a line of its own, what ``program`` has to say; raises OSError."""
    say_line(f"{program}: {text}", err=True)


def say_bytes(pieces: Iterable[bytes]) -> None:
    """Print ``pieces`` on stdout: as they are, but escaped on a terminal; raises OSError.

    What reads a pipe or a file gets the very bytes.
    """
    output = sys.stdout.buffer
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    try:
        for piece in pieces:
            if sys.stdout.isatty():
                text = showable(decode(piece), sys.stdout)
                output.write(text.encode(sys.stdout.encoding or "ascii"))
            else:
                output.write(piece)
    finally:
        output.flush()
