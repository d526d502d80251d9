"""What only GRUB knows when it runs: devices, keys, firmware. Pure.

Such a value stands in a variable as a mark, which no text of a file can have: two lone surrogates
with a number between them. So it can go wherever a script moves it, and is found again where it
would matter. A condition that only GRUB can answer is a question: a run has an answer for each,
and the run with the other answer tells whether it matters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries.grub_files import Device
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

# os.fsdecode() makes surrogates from U+DC80 on of bytes; these come from nowhere.
_MARK = re.compile("\ud800([0-9]+)\ud801")


@dataclass(frozen=True, slots=True)
class Doubt:
    """The result of a command that only GRUB knows."""

    question: str
    """In words behind "nobody can tell before GRUB runs"."""
    usual: bool = False
    """The answer to begin with."""
    is_inverted: bool = False


@dataclass(slots=True)
class Unknowns:
    """The marks and questions of one run."""

    answers: Mapping[str, bool] = field(default_factory=dict)
    """To questions, other than the usual ones."""
    asked: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Questions that were asked: (where first, the answer)."""
    _marked: list[Device | str] = field(default_factory=list)
    _numbers: dict[Device | str, int] = field(default_factory=dict)

    def mark(self, value: Device | str) -> str:
        """Return a text that stands for a device, or for a value described in words."""
        number = self._numbers.setdefault(value, len(self._marked))
        if number == len(self._marked):
            self._marked.append(value)
        return f"\ud800{number}\ud801"

    def device(self, text: str) -> Device | None:
        """Return the device that a text names, None when the text has a mark of another kind."""
        match = _MARK.fullmatch(text)
        if match is None:
            return None if _MARK.search(text) else Device(text)
        value = self._marked[int(match[1])]
        return value if isinstance(value, Device) else None

    def unknown(self, text: str) -> str:
        """Return what of a text only GRUB knows, in words; "" when it is all known."""
        match = _MARK.search(text)
        if match is None:
            return ""
        value = self._marked[int(match[1])]
        return f"GRUB's name of {value}" if isinstance(value, Device) else value

    def is_device(self, text: str) -> bool:
        """Tell whether a text is the mark of a device, which is never empty."""
        match = _MARK.search(text)
        return match is not None and isinstance(self._marked[int(match[1])], Device)

    def shown(self, text: str) -> str:
        """Return a text for people."""

        def words(match: re.Match[str]) -> str:
            value = self._marked[int(match[1])]
            return str(value) if isinstance(value, Device) else f"<{value}>"

        return _MARK.sub(words, text)

    def ask(self, question: str, where: str, usual: bool) -> bool:
        """Return the answer that this run takes."""
        answer = self.answers.get(question, usual)
        self.asked.setdefault(question, (where, answer))
        return answer
