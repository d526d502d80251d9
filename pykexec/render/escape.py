"""The door for text on its way to a terminal: what could do something there is spelled out.

Names, versions, command lines and logs come out of files that somebody else wrote. Escape
codes in them would move the cursor, rename the window or have the terminal type an answer;
bidirectional controls and line separators would show another text than the one that is there.
"""

from __future__ import annotations

_SURROGATE_BYTES = range(0xDC80, 0xDD00)
"""What stands for a byte that is no UTF-8 (PEP 383)."""
_ESCAPED_DELETE = "\\u007f"
"""DEL in JSON, where the json module leaves it as it is."""


def escaped(text: str, *, colours: bool = False) -> str:
    r"""Return ``text`` with nothing in it but printable characters, tabs and line feeds.

    Printable is what Unicode calls so, and the blank: no control character (C0, DEL, C1), no
    format control, surrogate, line separator or character that is not assigned. Those become
    ``\x1b`` or ``\u202e``, and a byte that was no UTF-8 ``\xff``. With ``colours`` the sequences
    that :meth:`Style.paint` writes stay: what a file has of these can do no more than colour.
    """
    if not colours:
        return "\n".join(map(_line, text.split("\n")))
    import re

    from pykexec.render.style import SEQUENCES

    pieces = re.split(f"({SEQUENCES})", text)
    pieces[::2] = [escaped(piece) for piece in pieces[::2]]
    return "".join(pieces)


def one_line(text: str) -> str:
    """Return ``text`` in one line: line feeds and tabs are spelled out like the rest."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def json_text(value: object) -> str:
    """Return ``value`` as indented JSON in ASCII, which every stream and terminal can take."""
    # Not at the top: most of what is printed is no JSON, and start-up is measured.
    import json

    return json.dumps(value, indent=2).replace("\x7f", _ESCAPED_DELETE)


def _line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    code = ord(char)
    if code in _SURROGATE_BYTES:
        code -= 0xDC00
        return f"\\x{code:02x}"
    return char.encode("unicode_escape").decode("ascii")


def printable(data: bytes) -> str:
    """Decode bytes for a terminal, in one line: control characters are escaped."""
    return one_line(data.decode("utf-8", "surrogateescape"))
