"""Asking the process that holds a session."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

from pykexec.loading import update_messages as messages
from pykexec.loading import update_places as places
from pykexec.loading.run_files import this_machine
from pykexec.values.data_classes import replace
from pykexec.values.errors import PykexecError, SessionError
from pykexec.values.live_update import INCOMING, OUTGOING, Held

if TYPE_CHECKING:
    from pykexec.values.json_fields import Fields

_POLL = 0.05
"""Seconds."""
_ADVICE = {
    OUTGOING: "'pykexec live-update session create NAME' makes one",
    INCOMING: "'pykexec live-update retrieve NAME DIR' takes one from the kernel before",
}


def ask(
    name: str, direction: str, request: dict[str, Any], descriptor: int | None = None
) -> tuple[Fields, int | None]:
    """Return the answer of the holder of a session, and a descriptor that comes with it.

    Raises :class:`SessionError` where there is no holder, or it is gone and so is the session; the
    error that the holder met; and what :func:`places.directory` does.
    """
    base = places.base_of(name, direction)
    with (
        places.directory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
    ):
        connection.settimeout(messages.PATIENCE)
        try:
            _connect(connection, places.socket_path(directory, base))
        except FileNotFoundError as error:
            raise SessionError(
                f"there is no {direction} session {name!r} that pykexec holds",
                hint=_ADVICE[direction],
            ) from error
        except ConnectionRefusedError as error:
            raise SessionError(
                f"the session {name!r} is lost: the process that held it has ended",
                hint=_gone(direction, directory, base),
            ) from error
        except OSError as error:
            raise SessionError(f"the holder of {name!r} cannot be asked: {error}") from error
        try:
            messages.send(connection, request, descriptor)
            answer, returned = messages.receive(connection)
        except OSError as error:
            raise SessionError(f"the holder of {name!r} does not answer: {error}") from error
        if answer is None:
            raise SessionError(f"the holder of {name!r} has ended without an answer")
        try:
            messages.raise_error(answer)
        except PykexecError:
            if returned is not None:
                os.close(returned)
            raise
        return answer, returned


def _connect(connection: socket.socket, path: str) -> None:
    """Connect; where others wait already, a socket with a time limit does not (connect(2))."""
    deadline = time.monotonic() + messages.PATIENCE
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)


def _gone(direction: str, directory: int, base: str) -> str:
    """Say what a session that is lost means."""
    if direction == INCOMING:
        return "what was not retrieved by then is gone"
    return "nothing of it goes over; create it again, and preserve its files again"


def held_by_pykexec() -> list[Held]:
    """Return the sessions of all holders of this boot, those included that are gone."""
    found = []
    for held in places.recorded(this_machine()):
        assert held.direction is not None
        try:
            answer, _ = ask(held.name, held.direction, {"do": "list"})
            found.append(places.parse_held(answer)[0])
        except PykexecError:
            found.append(replace(held, pid=None))
    return found
