"""A session of the live update orchestrator, as a context manager."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from pykexec.calls import live_update
from pykexec.values.errors import KernelRejectedError, OptionError, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE = 5.0
"""Seconds that the orchestrator's device is waited for: one process at a time may have it open."""
_POLL = 0.02
DEVICE = live_update.DEVICE


class Session:
    """A named set of memfds that go over from one kernel into the next.

    One that was made by :meth:`create` takes files up (:meth:`preserve_fd`), and has to be open
    when the kernel is left: closing it before gives them up. One that was taken by
    :meth:`retrieve`, in the next kernel, gives them back (:meth:`retrieve_fd`), and closing it
    finishes it: what was not retrieved by then is gone.

    As a context manager it is closed at the end of the block, but for two cases: one that was
    created stays open after :meth:`keep`, and one that was retrieved stays open where the block
    raises, so that an error costs no data. Nothing closes it behind your back.

    Descriptors that are given stay the caller's, and those that are returned become the caller's.
    Linux Documentation/userspace-api/liveupdate.rst.
    """

    def __init__(self, fd: int, name: str, *, incoming: bool) -> None:
        """Take a session's descriptor over; :meth:`create` and :meth:`retrieve` make one."""
        self._fd: int | None = fd
        self._name, self._incoming, self._kept = name, incoming, False

    @classmethod
    def create(cls, name: str) -> Session:
        """Create an empty session for the next kernel.

        ``name`` has 1 to 63 bytes of UTF-8. Raises :class:`~pykexec.errors.OptionError` for
        another one, and :class:`~pykexec.errors.KernelRejectedError`: there is one of that name,
        no live update orchestrator, no right to use it.
        """
        return cls(_with_device(live_update.create_session, name), name, incoming=False)

    @classmethod
    def retrieve(cls, name: str) -> Session:
        """Take a session that the kernel before has handed over; once, by whoever is first.

        Raises as :meth:`create`.
        """
        return cls(_with_device(live_update.retrieve_session, name), name, incoming=True)

    @property
    def name(self) -> str:
        """The name that it was created by."""
        return self._name

    @property
    def incoming(self) -> bool:
        """It came from the kernel before."""
        return self._incoming

    @property
    def closed(self) -> bool:
        """It is closed: what it had is given up, or finished."""
        return self._fd is None

    def fileno(self) -> int:
        """Return its descriptor, which stays the session's; raises ``SessionError`` if closed."""
        if self._fd is None:
            raise SessionError(f"the session {self._name!r} is closed")
        return self._fd

    def preserve_fd(self, fd: int, token: int) -> None:
        """Have an open memfd go over, to be asked for by ``token`` (0 to 2**64 - 1) there.

        It keeps its size from then on; its contents and position are those at the jump. Raises
        :class:`~pykexec.errors.OptionError` for a token that is none, and
        :class:`~pykexec.errors.KernelRejectedError`: no memfd, preserved already, token in use.
        """
        live_update.preserve(self.fileno(), fd, _token(token))

    def retrieve_fd(self, token: int) -> int:
        """Return a new descriptor of the file that was preserved by ``token``; close-on-exec.

        Twice gives the same file twice. Raises as :meth:`preserve_fd`.
        """
        return live_update.retrieve(self.fileno(), _token(token))

    def finish(self) -> None:
        """End a session that was retrieved and close it; what was retrieved stays yours.

        Raises :class:`~pykexec.errors.KernelRejectedError`, and leaves it open then.
        """
        live_update.finish(self.fileno())
        self.close()

    def keep(self) -> None:
        """Leave it open at the end of the block: for a program that jumps itself, behind it.

        The kernel gives a session up when the process that has it ends.
        """
        self._kept = True

    def close(self) -> None:
        """Close it: one that was created gives its files up, one that was retrieved is finished."""
        if self._fd is not None:
            descriptor, self._fd = self._fd, None
            os.close(descriptor)

    def __enter__(self) -> Session:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, unless that would lose what nobody has decided to lose."""
        if self._incoming and error is not None:
            return
        if not self._kept:
            self.close()


def _token(token: int) -> int:
    if not 0 <= token <= live_update.TOKEN_MAX:
        raise OptionError(f"{token} is no token", hint=f"0 to {live_update.TOKEN_MAX:#x}")
    return token


def _with_device(call: Callable[[int, str], int], name: str) -> int:
    """Make a call of the device, waiting for who else has it open; sessions outlive it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            device = live_update.open_device(DEVICE)
            break
        except KernelRejectedError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(_POLL)
    try:
        return call(device, name)
    finally:
        os.close(device)
