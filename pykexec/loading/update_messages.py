"""What verbs and holders say to each other: a JSON object a packet, with a descriptor or without.

By sockets of the kind SOCK_SEQPACKET in a directory that only root can use (unix(7)).
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from pykexec.values.errors import KernelRejectedError, PykexecError, SessionError
from pykexec.values.json_fields import Fields, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_MAX = 192 << 10
"""Bytes: an index and as much again; below what a socket takes at once."""
PATIENCE = 30.0
"""Seconds that an answer is waited for."""
_INT = array.array("i").itemsize


def send(
    connection: socket.socket, value: Mapping[str, Any], descriptor: int | None = None
) -> None:
    """Send an object, and a descriptor with it; raises OSError."""
    data = json.dumps(value).encode("ascii")
    ancillary = []
    if descriptor is not None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    connection.sendmsg([data], ancillary)


def receive(connection: socket.socket) -> tuple[Fields | None, int | None]:
    """Return the object of the next packet and the descriptor that came with it.

    None at the end of the connection. Raises OSError, and MachineError for what is no object.
    """
    space = socket.CMSG_SPACE(_INT)
    data, ancillary, flags, _ = connection.recvmsg(MESSAGE_MAX, space, socket.MSG_CMSG_CLOEXEC)
    received = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(payload[: len(payload) - len(payload) % _INT])
    for more in received[1:]:
        os.close(more)
    descriptor = received[0] if received else None
    if not data:
        if descriptor is not None:
            os.close(descriptor)
        return None, None
    try:
        if flags & socket.MSG_TRUNC:
            raise SessionError(f"a message has more than {MESSAGE_MAX} bytes")
        return Fields(parse_json(data, "a message"), "a message"), descriptor
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise


def error_value(error: PykexecError) -> dict[str, Any]:
    """Return an error as the answer to what was asked."""
    rejected = isinstance(error, KernelRejectedError)
    return {
        "error": error.message,
        "hint": error.hint,
        "call": error.call if isinstance(error, KernelRejectedError) else None,
        "errno": error.errno if isinstance(error, KernelRejectedError) else None,
        "rejected": rejected,
    }


def raise_error(answer: Fields) -> None:
    """Raise the error that an answer is, if it is one."""
    if not answer.is_given("error"):
        return
    message, hint = answer.text("error"), answer.text("hint", None)
    if answer.flag("rejected", False):
        call, number = answer.text("call"), answer.natural("errno")
        raise KernelRejectedError(message, call=call, errno=number, hint=hint)
    raise SessionError(message, hint=hint)
