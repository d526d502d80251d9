"""Sessions of a live update, and what there is to be known of one, as values. Pure."""

from __future__ import annotations

from pykexec.values.data_classes import dataclass
from pykexec.values.handover import Handover, Switch

OUTGOING, INCOMING = "outgoing", "incoming"
"""Created here for the next kernel, or retrieved from the kernel before."""


@dataclass(frozen=True, slots=True)
class PreservedFile:
    """A file that goes over."""

    token: int
    name: str
    """In the directory that it is retrieved to; bytes that are no UTF-8 are surrogates."""
    size: int
    """Bytes, when it was preserved. It keeps that size."""
    mode: int = 0o600
    """Permissions of the file that it was copied from."""
    sha256: str | None = None
    """None for a memfd of somebody else, who may write to it up to the jump."""


@dataclass(frozen=True, slots=True)
class Held:
    """A session, and the process that has it."""

    name: str
    direction: str | None
    """OUTGOING or INCOMING; None: nobody can tell."""
    pid: int | None
    """None: nobody has it any more, and it is lost."""
    files: tuple[PreservedFile, ...] | None = None
    """None: only the program that has it knows."""
    retrieved: frozenset[int] = frozenset()
    """Tokens of files that are retrieved; of an incoming one."""
    by_pykexec: bool = False
    """A holder of ours has it, which verbs may ask."""


@dataclass(frozen=True, slots=True)
class LiveUpdateStatus:
    """Memory that may go over into the next kernel."""

    release: str
    facts: Handover
    sessions: tuple[Held, ...]
    """Of this machine; those that have come over and nobody has asked for nobody can list."""
    loaded: bool | None
    """A kernel is loaded."""
    call: str | None
    """The system call that it was loaded by; None where pykexec's record does not say."""
    takes: Switch
    """The jump into what is loaded hands memory over."""
