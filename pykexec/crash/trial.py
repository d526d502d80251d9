"""A crash on purpose: the token that survives it, and what to make of what it left. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from pykexec.crash.captured import STATUS, panic_line
from pykexec.crash.json_records import build_object, parse_object
from pykexec.values.data_classes import asdict, dataclass
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TOKEN_SCHEMA = "pykexec.crash-test/1"

LOG_TAIL = 256 << 10
"""Bytes at the end of a log in which the panic is looked for."""
_PANIC = re.compile(rb"sysrq triggered crash|[Ss]ys[Rr]q ?: Trigger a crash")
"""What Linux prints for ``c``: since v5.0, and before."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known before the crash."""

    time: str
    """In UTC: ``2026-01-31T12:00:00Z``."""
    boot_id: str
    kernel_release: str
    dump_dir: str
    known: Mapping[str, int]
    """The cores and logs that were below it already, with their mtime in nanoseconds.

    Not the time of the token: a capture kernel's clock may be hours off."""
    id: str = ""
    """What was written into the kernel's log before the crash; "" where that could not be."""


def log_mark(id: str) -> bytes:
    """Return the line by which a log is known to be of this crash, and of no other."""
    return f"pykexec: crash test {id}".encode()


def build_token(token: Token) -> bytes:
    """Encode a token as JSON; :func:`parse_token` reads it back."""
    return build_object(TOKEN_SCHEMA, asdict(token))


def parse_token(data: bytes, where: str) -> Token:
    """Decode a token; raises :class:`MachineError` naming ``where`` and what is wrong."""
    value = parse_object(data, TOKEN_SCHEMA, where)
    known = value.fields("known")
    texts = ("time", "boot_id", "kernel_release", "dump_dir")
    return Token(
        **{name: value.text(name) for name in texts},
        # Before 1970 and after 2262 no clock of a machine is.
        known={name: known.natural(name) for name in known.names()},
        id=value.text("id", ""),
    )


class Kind(Enum):
    """What a file in a dump directory is, by its name."""

    CORE = "core"
    INCOMPLETE = "incomplete core"
    LOG = "log"
    STATUS = "saver's word"


def kind_of(name: str) -> Kind | None:
    """Tell what a file is, by the names that distributions give their dumps; None: none of it.

    ``status`` is the saver's of :mod:`pykexec.crash_setup`.

    ``vmcore``, ``vmcore.flat``, ``dump.202601311200``, ``x.dump``, ``x.kdump``, ``x.vmcore``;
    ``vmcore-incomplete``; ``dmesg.202601311200``, ``vmcore-dmesg.txt``, ``x.dmesg``.
    """
    name = name.lower()
    if name == STATUS:
        return Kind.STATUS
    if "dmesg" in name:
        return None if name.startswith("kexec-dmesg") else Kind.LOG
    core = name.startswith(("vmcore", "dump.")) or name.endswith((".dump", ".kdump", ".vmcore"))
    if core and "incomplete" in name:
        return Kind.INCOMPLETE
    return Kind.CORE if core else None


def shows_the_panic(log: bytes, id: str = "") -> bool:
    """Tell whether a kernel log ends in the crash on purpose, and in the one with that ``id``."""
    tail = log[-LOG_TAIL:]
    return _PANIC.search(tail) is not None and (not id or log_mark(id) in tail)


def what_it_shows(log: bytes, id: str) -> tuple[bool, str]:
    """Return whether a log ends in the crash on purpose, and the line of the panic."""
    return shows_the_panic(log, id), panic_line(log[-LOG_TAIL:])


@dataclass(frozen=True, slots=True)
class Caught:
    """A new file below the dump directory."""

    path: str
    kind: Kind
    size: int
    panicked: bool | None
    """Its log ends in the panic; None when it has none that can be read."""
    problem: str = ""
    """Why not."""
    panic: str = ""
    """The line of its log that says why."""
    said: str = ""
    """What the saver says about a dump, in its own file."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the crash came to."""

    success: bool
    verdict: str
    token: Token
    caught: Sequence[Caught]


def report(token: Token, boot_id: str, caught: Iterable[Caught]) -> Report:
    """Judge what is new since the token; ``boot_id`` is that of the present boot."""
    found = tuple(caught)
    cores = [item for item in found if item.kind is Kind.CORE]
    proven = next((item for item in cores if item.panicked), None)
    if boot_id and boot_id == token.boot_id:
        return Report(False, "not crashed: the machine has not booted since", token, found)
    if proven is not None:
        verdict = f"caught: {proven.path}, {format_size(proven.size)}, ends in the crash"
        verdict += f" {token.id}" if token.id else ""
        return Report(True, verdict, token, found)
    if cores:
        why = cores[0].problem or "its log does not end in the crash on purpose"
        verdict = f"not proven: {cores[0].path} is there, but {why}"
    elif any(item.kind is Kind.INCOMPLETE for item in found):
        why = next((item.said for item in found if item.said), "is the disk full?")
        verdict = f"not caught: the core is incomplete; {why}"
    elif found:
        verdict = "not caught: there is a log, but no core"
    else:
        verdict = f"not caught: nothing new below {token.dump_dir}"
    return Report(False, verdict, token, found)
