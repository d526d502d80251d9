"""What there is to be known of a live update before the jump, and behind it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.loading.update_asking import held_by_pykexec
from pykexec.values.calls import Call
from pykexec.values.errors import HandoverLostError
from pykexec.values.live_update import Held, LiveUpdateStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.loading.options import StrPath
    from pykexec.values.handover import Handover, Switch

_LINK = "anon_inode:[luo_session]"
"""What a descriptor of a session is a link to, with its name behind it."""
PROC = "/proc"


def may_be_outgoing(held: Held) -> bool:
    """Tell whether a session would go over; of other programs' nobody knows."""
    return held.pid is not None and held.direction != "incoming"


def live_update_status(machine: StrPath = "/") -> LiveUpdateStatus:
    """Say what is on, which sessions there are, and whether the jump would hand them over.

    Of a recorded machine there are no sessions. Raises :class:`~pykexec.errors.MachineError` for
    what is no machine directory.
    """
    from pykexec.loading.running_kernel import read_state
    from pykexec.loading.status import files_of, image_status
    from pykexec.machine.handover import read_handover
    from pykexec.values.calls import Target

    root = os.fspath(machine)
    state = read_state(root)
    facts = read_handover(files_of(root), state.release)
    record = image_status(Target.NORMAL, state.loaded, files_of(root)).record
    call = getattr(record, "call", None) if state.loaded else None
    return LiveUpdateStatus(
        release=state.release,
        facts=facts,
        sessions=tuple(held_sessions()) if root == "/" else (),
        loaded=state.loaded,
        call=call,
        takes=_takes(facts, state.loaded, call),
    )


def _takes(facts: Handover, loaded: bool | None, call: str | None) -> Switch:
    """Linux kernel/kexec_file.c, "kho_fill_kimage": images of kexec_file_load(2) alone do."""
    from pykexec.values.handover import Switch

    if not loaded:
        return Switch(None if loaded is None else False, "no kernel is loaded")
    if facts.handover.on is False:
        return Switch(False, f"kexec handover is off: {facts.handover.why}")
    if call is None:
        return Switch(None, "nobody knows by which system call the kernel was loaded")
    if call != Call.KEXEC_FILE_LOAD.value:
        return Switch(False, f"the kernel was loaded by {call}, which hands nothing over")
    if facts.handover.on is None:
        return Switch(None, f"whether kexec handover is on cannot be told: {facts.handover.why}")
    return Switch(True, f"the kernel was loaded by {call}")


def held_sessions() -> Iterator[Held]:
    """Yield every session that a process has, of pykexec's holders first; root sees them all."""
    known = set()
    for held in held_by_pykexec():
        known.add(held.pid)
        yield held
    for pid, name in _open_sessions():
        if pid not in known:
            yield Held(name, None, pid)


def _open_sessions() -> Iterator[tuple[int, str]]:
    """Yield process and name of each session that is open, once."""
    seen = set()
    for process in os.listdir(PROC):
        if not process.isdecimal():
            continue
        # Processes end while they are looked at, and those of others are not shown.
        with suppress(OSError):
            for descriptor in os.listdir(f"{PROC}/{process}/fd"):
                with suppress(OSError):
                    target = os.readlink(f"{PROC}/{process}/fd/{descriptor}")
                    if target.startswith(_LINK):
                        seen.add((int(process), target.removeprefix(_LINK).strip()))
    yield from sorted(seen)


def refuse_losing_jump() -> None:
    """Refuse a jump that would lose sessions: a kernel that kexec_load(2) has loaded takes none.

    By pykexec's record of the load: what another program has loaded nobody can tell. Raises
    :class:`HandoverLostError`.
    """
    from pykexec.loading.results import LoadRecord
    from pykexec.loading.status import files_of, image_status
    from pykexec.values.calls import Target

    record = image_status(Target.NORMAL, True, files_of("/")).record
    if not isinstance(record, LoadRecord) or record.call != Call.KEXEC_LOAD.value:
        return
    if record.preserve_context:
        return  # this kernel waits, and keeps what it has preserved
    lost = lost_sessions()
    if lost:
        error = HandoverLostError(
            "the jump would lose sessions for the next kernel: the one that is loaded was loaded "
            "by kexec_load, which hands nothing over",
            hint="load it again by kexec_file_load (-s, -a); --lose-preserved jumps all the same",
        )
        error.details = lost
        raise error


def lost_sessions() -> tuple[str, ...]:
    """Say of each session that may be one for the next kernel who has it."""
    return tuple(
        f"session {held.name!r}, held by process {held.pid}"
        for held in held_sessions()
        if may_be_outgoing(held)
    )
