"""What a guest says on its second serial port, taken apart line by line. Pure.

tests/vm/guest/init and send-file are the other end of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

BEGIN = re.compile(r"VMTEST phase=(?P<phase>\S+) begin release=(?P<release>\S+) cmdline=<(.*)>$")
END = re.compile(r"VMTEST phase=(?P<phase>\S+) end rc=(?P<rc>\d+)$")
FILE = re.compile(r"VMTEST file name=(?P<name>\S+) sha256=(?P<sha256>[0-9a-f]{64})$")
FILE_END = "VMTEST file end"


@dataclass(slots=True)
class Phase:
    """One kernel's part of a run."""

    number: int
    release: str
    cmdline: str
    lines: list[str] = field(default_factory=list)
    rc: int | None = None
    """What the script returned; None when it jumped, or is still running."""

    @property
    def output(self) -> str:
        """What the script printed, files that it sent left out."""
        return "".join(f"{line}\n" for line in self.lines)


class TranscriptError(Exception):
    """A guest did not keep to the protocol, or a file arrived damaged."""


class Transcript:
    """Collects phases and files out of the bytes that arrive."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.phases: list[Phase] = []
        self.files: dict[str, bytes] = {}
        self._rest = b""
        self._file: tuple[str, str, list[str]] | None = None

    def feed(self, data: bytes) -> list[str]:
        """Take what has arrived; return the lines of output that it completed."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        shown: list[str] = []
        for raw in whole:
            line = raw.decode(errors="replace").rstrip("\r")
            if self._file is not None:
                self._file_line(line)
            elif match := FILE.match(line):
                self._file = (match["name"], match["sha256"], [])
            elif match := BEGIN.search(line):
                self.phases.append(Phase(int(match["phase"]), match["release"], match[3]))
            elif match := END.match(line):
                self._current(line).rc = int(match["rc"])
            elif self.phases:
                self.phases[-1].lines.append(line)
                shown.append(line)
            # What comes before the first phase is the firmware's, which uses this port too.
        return shown

    def _current(self, line: str) -> Phase:
        if not self.phases:
            raise TranscriptError(f"the guest spoke before its first phase began: {line!r}")
        return self.phases[-1]

    def _file_line(self, line: str) -> None:
        assert self._file is not None
        name, expected, lines = self._file
        if line != FILE_END:
            lines.append(line)
            return
        self._file = None
        data = base64.b64decode("".join(lines), validate=True)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise TranscriptError(f"{name} arrived with SHA-256 {found}, sent with {expected}")
        self.files[name] = data
