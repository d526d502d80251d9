"""What the saver has left of a dump: its own word on how far it came, and the panic. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from pykexec.values.data_classes import dataclass
from pykexec.values.units import format_size

STATUS = "status"
"""The file's name, in the directory of each dump: pykexec/capture_files/save writes it."""
STATUS_MAX = 4096
"""Bytes."""

_PANIC = re.compile(rb"Kernel panic - not syncing: [^\n]*")
_TROUBLE = re.compile(
    rb"(?:BUG: |Oops: |general protection fault|Unable to handle kernel |"
    rb"sysrq: Trigger a crash|watchdog: BUG: )[^\n]*"
)
_SHOWN = 200
"""Characters of a line of the log that are kept."""


class State(StrEnum):
    """How far a dump came."""

    STARTED = "started"
    SAVING = "saving"
    FAILED = "failed"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Captured:
    """A dump by the saver's own word."""

    state: State
    release: str = ""
    log: str = "none"
    """Name of the file with the log of the crashed kernel."""
    core: str = "none"
    method: str = "none"
    reason: str = ""
    """Why it is not complete."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        if self.state is State.COMPLETE:
            return f"complete: {self.core}, by {self.method}"
        log = f"the log is in {self.log}" if self.log != "none" else "there is no log"
        if self.state is State.FAILED:
            core = f"{self.core} has a part" if self.core != "none" else "there is no core"
            return f"not complete: {self.reason or 'nobody knows why'}; {log}, {core}"
        # Neither an end nor a failure is written down: the power went, or the watchdog came.
        if self.state is State.STARTED:
            return f"broken off before the memory was saved; {log}, there is no core"
        core = f"{self.core} is not whole" if self.core != "none" else "there is no core"
        return f"broken off while the memory was being saved; {log}, {core}"


@dataclass(frozen=True, slots=True)
class LeftDump:
    """The youngest dump in a directory, and what there is to see of it."""

    path: str
    """Of its own directory."""
    captured: Captured
    core_size: int | None = None
    """Bytes of the core, or of what there is of it; None without one."""
    panic: str = ""
    """The line of its log that says why the kernel crashed, "" where there is none."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        size = "" if self.core_size is None else f", {format_size(self.core_size)}"
        text = f"{self.path}: {self.captured}{size}"
        return f"{text}; {self.panic}" if self.panic else text


@dataclass(frozen=True, slots=True)
class Dumps:
    """Where a machine that is set up has its dumps, and the last one that is there."""

    target: str
    """In words."""
    directory: str
    """Where they appear in the running system; "" for elsewhere."""
    last: LeftDump | None = None
    problem: str = ""
    """Why nobody can tell of the last one."""


def parse_status(data: bytes) -> Captured | None:
    """Read the saver's file; None for anything else."""
    text = data[:STATUS_MAX].decode("utf-8", "replace")
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        state = State(values.pop("state", ""))
    except ValueError:
        return None
    known = ("release", "log", "core", "method", "reason")
    return Captured(state, **{name: values[name] for name in known if name in values})


def panic_line(log: bytes) -> str:
    """Return the line of a kernel's log that says why it has crashed, "" for none."""
    for pattern in (_PANIC, _TROUBLE):
        found = pattern.findall(log)
        if found:
            return bytes(found[-1])[:_SHOWN].decode("utf-8", "replace").strip()
    return ""
