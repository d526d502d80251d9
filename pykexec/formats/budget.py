"""What expanding a file may cost: bounds on its output, its input and its steps. Pure.

A megabyte may expand to gigabytes, and may as well cost minutes without expanding to anything:
by members that are empty, by blocks of two bytes, by a compressed layer that is itself packed.
So all members in all layers of one file share a budget. Each bound leaves real files far behind:
what a compressor makes is hardly longer than what went in, a kernel packs to a quarter or an
eighth, and what is packed does not pack again.
"""

from __future__ import annotations

from pykexec.values.errors import ImageError
from pykexec.values.units import KIB, MIB, counted, format_size

FREE_OUTPUT = 64 * MIB
"""Bytes that a file may expand to however small it is."""
RATIO = 32
"""Beyond that, bytes of output for each compressed byte of the outermost layer."""
FREE_INPUT = 6 * MIB
"""Compressed bytes that a layer may take whatever they give: an lz4 block of 4 MiB is read before
anything of it comes out."""
INPUT_RATIO = 2
"""Beyond that, compressed bytes for each byte of output."""
FREE_REPACKED = MIB
"""Compressed bytes that an inner layer may take however small the outermost is."""
REPACKED_RATIO = 9 / 8
"""Beyond that, compressed bytes of an inner layer for each of the outermost one's."""
FREE_STEPS = 4096
"""Members, frames and blocks that a layer may have whatever they give."""
STEP_OUTPUT = 16 * KIB
"""Beyond that, bytes of output for each; lzop's blocks have 256 KiB, BGZF's members 64."""

_HINT = "a file like this is no kernel or initrd, or is meant to do harm"


class Budget:
    """What all members in all layers of one file share."""

    def __init__(self, limit: int, free_output: int = FREE_OUTPUT) -> None:
        """``limit`` bytes are what all layers together may expand to."""
        self.limit = limit
        self._free_output = free_output
        self._outermost: Meter | None = None
        self._output = self._copied = 0

    def layer(self, what: str, codec: str) -> Meter:
        """Open the next layer inwards; both arguments are for errors."""
        meter = Meter(self, what, codec)
        if self._outermost is None:
            self._outermost = meter
        return meter

    def beside(self, what: str, codec: str) -> Meter:
        """Go on in the same layer with a member that may be of another compression."""
        if self._outermost is None:
            return self.layer(what, codec)
        self._outermost.codec = codec
        return self._outermost

    def packed(self, meter: Meter) -> int | None:
        """Return the compressed bytes of the layer around ``meter``'s; None: it is outermost."""
        outermost = self._outermost
        return None if outermost is None or outermost is meter else outermost.taken

    def copy(self, size: int, what: str) -> None:
        """Count ``size`` bytes that a layer takes laid out anew; raises :class:`ImageError`."""
        self._copied += size
        if self._copied + self._output > self.limit:
            raise ImageError(
                f"{what} takes {format_size(size)} laid out; {format_size(self.limit)} are taken "
                "for all layers together",
                hint=_HINT,
            )

    def spend(self, size: int) -> int | None:
        """Count ``size`` bytes of output; returns the bound that they exceed, if any."""
        self._output += size
        packed = self._outermost.taken if self._outermost is not None else 0
        allowed = max(self._free_output, RATIO * packed)
        if self._output + self._copied > self.limit:
            return self.limit
        return allowed if self._output > allowed else None


class Meter:
    """Counts what one layer takes and gives. Each method raises :class:`ImageError`."""

    def __init__(self, budget: Budget, what: str, codec: str) -> None:
        self._budget = budget
        self._what = what
        self.codec = codec
        self._steps = 0
        self.taken = 0
        """Compressed bytes of the members that are complete, and of the present one."""
        self.given = 0
        """Bytes of output."""

    def step(self) -> None:
        """Count a member, a frame or a block."""
        self._steps += 1
        if self._steps > FREE_STEPS + self.given // STEP_OUTPUT:
            raise self._refusal(
                f"have more than {self._steps - 1} members or blocks for "
                f"{counted(self.given, 'byte')} of "
                "output"
            )

    def count(self, taken: int, piece: bytes) -> None:
        """Count ``taken`` more bytes of input, and a piece of output."""
        self.taken += taken
        self.given += len(piece)
        exceeded = self._budget.spend(len(piece))
        if exceeded is not None:
            least = exceeded < self._budget.limit
            raise self._refusal(
                f"expand to more than {format_size(exceeded)}, which is as much as is taken"
                + (f" for {self._packed_size()}" if least else "")
            )
        around = self._budget.packed(self)
        if self.taken > FREE_INPUT + INPUT_RATIO * self.given:
            raise self._refusal(
                f"give only {counted(self.given, 'byte')} for the first {self.taken}: no "
                "compressor makes "
                "them longer"
            )
        if around is not None and self.taken > FREE_REPACKED + REPACKED_RATIO * around:
            raise self._refusal(
                f"take more than {counted(self.taken, 'byte')} and are themselves packed into "
                f"{around}: "
                "what is compressed hardly packs again"
            )

    def _packed_size(self) -> str:
        around = self._budget.packed(self)
        return f"{self.taken if around is None else around} compressed bytes"

    def _refusal(self, text: str) -> ImageError:
        return ImageError(f"{self._what}: the {self.codec} data {text}", hint=_HINT)
