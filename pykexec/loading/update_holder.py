"""The process that keeps a session open between two verbs, and does what they ask.

The kernel gives up a session that was created here, and finishes one that was retrieved, when its
last descriptor is closed (Linux kernel/liveupdate/luo_session.c, "luo_session_release").
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pykexec.formats import session_index
from pykexec.formats.session_index import file_value
from pykexec.loading import update_messages as messages
from pykexec.loading import update_places as places
from pykexec.loading.update_session import Session
from pykexec.values.data_classes import replace
from pykexec.values.errors import ImageError, PykexecError, SessionError
from pykexec.values.live_update import INCOMING, OUTGOING, Held, PreservedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pykexec.values.json_fields import Fields

_BACKLOG = 8
_CONNECTION_PATIENCE = 10.0
"""Seconds that who has connected may take; another one waits meanwhile."""

Answer = tuple[dict[str, Any], int | None]
"""What is told, and a descriptor that goes with it."""


class Holder:
    """A session with its files, and the socket to ask for them."""

    def __init__(self, session: Session) -> None:
        """Hold ``session``, which :meth:`created` and :meth:`retrieved` prepare."""
        self._session = session
        self._direction = INCOMING if session.incoming else OUTGOING
        self._files: tuple[PreservedFile, ...] | None = ()
        self._retrieved: frozenset[int] = frozenset()
        self._index: int | None = None
        self._opened: dict[int, int] = {}
        self._index_fault = ""
        self._ends = False

    @classmethod
    def created(cls, name: str) -> Holder:
        """Create a session with an empty index."""
        session = Session.create(name)
        try:
            holder = cls(session)
            holder._index = os.memfd_create("index", os.MFD_CLOEXEC)
            os.pwrite(holder._index, session_index.build_index(()), 0)
            session.preserve_fd(holder._index, session_index.TOKEN)
        except BaseException:
            session.close()
            raise
        return holder

    @classmethod
    def retrieved(cls, name: str) -> Holder:
        """Retrieve a session, and its index if it has one: without, only its maker knows more."""
        holder = cls(Session.retrieve(name))
        try:
            holder._index = holder._session.retrieve_fd(session_index.TOKEN)
            size = os.fstat(holder._index).st_size
            data = os.pread(holder._index, min(size, session_index.SIZE + 1), 0)
            if len(data) != session_index.SIZE:
                raise ImageError(f"it has {size} bytes, and an index has {session_index.SIZE}")
            holder._files = session_index.parse_index(data)
        except (OSError, PykexecError) as error:
            # Not given back: to close the session would lose all that is in it.
            holder._files = None
            holder._index_fault = str(error)
        return holder

    @property
    def held(self) -> Held:
        """What it has, for the record and for who asks."""
        return Held(
            self._session.name,
            self._direction,
            os.getpid(),
            self._files,
            self._retrieved,
            by_pykexec=True,
        )

    def serve(self, listener: socket.socket, directory: int) -> None:
        """Answer until the session is given up or finished.

        ``directory`` is where the socket and the record are.
        """
        while not self._ends:
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            with connection:
                connection.settimeout(_CONNECTION_PATIENCE)
                # Who has gone, or says what nobody understands, costs nobody else the session.
                with suppress(OSError, PykexecError):
                    self._answer(connection, directory)

    def record(self, directory: int) -> None:
        """Leave what it has beside the socket; raises OSError."""
        base = places.base_of(self._session.name, self._direction)
        places.write_record(directory, base, self.held)

    def _answer(self, connection: socket.socket, directory: int) -> None:
        if places.peer_of(connection)[1] not in (0, os.geteuid()):
            messages.send(connection, {"error": "only root may ask", "hint": None})
            return
        asked, descriptor = messages.receive(connection)
        if asked is None:
            return
        answer: dict[str, Any] = {}
        returned = None
        try:
            answer, returned = self._do(asked, descriptor)
        except PykexecError as error:
            answer = messages.error_value(error)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        if self._ends:
            # In this order: as soon as it is closed there may be another one of that name.
            places.forget(directory, places.base_of(self._session.name, self._direction))
            self._session.close()
        else:
            with suppress(OSError):  # a full disk: who asks is told from memory
                self.record(directory)
        messages.send(connection, answer, returned)

    def _do(self, asked: Fields, descriptor: int | None) -> Answer:
        what = asked.text("do")
        if what == "list":
            return self._list(), None
        if self._direction == OUTGOING:
            if what == "preserve" and descriptor is not None:
                return self._preserve(asked, descriptor), None
            if what == "drop":
                self._ends = True
                return {}, None
        elif what == "file":
            return self._file(asked.natural("token"))
        elif what == "stored":
            self._retrieved |= {asked.natural("token")}
            return {}, None
        elif what == "finish":
            return self._finish(force=asked.flag("force", False)), None
        raise SessionError(f"a holder of an {self._direction} session is asked to {what!r}")

    def _list(self) -> dict[str, Any]:
        return {
            "schema": places.SCHEMA,
            "name": self._session.name,
            "direction": self._direction,
            "pid": os.getpid(),
            "boot_id": "",
            "files": None if self._files is None else [file_value(file) for file in self._files],
            "retrieved": sorted(self._retrieved),
            "index_fault": self._index_fault,
        }

    def _preserve(self, asked: Fields, descriptor: int) -> dict[str, Any]:
        """Take a file in: into the index first, which it may be too much for."""
        files = self._files or ()
        file = session_index.file_of(asked)
        if any(other.name == file.name for other in files):
            raise SessionError(
                f"the session {self._session.name!r} has a file {file.name!r} already",
                hint="files of one session go to one directory; rename it, or use another session",
            )
        file = replace(file, token=len(files) + 1, size=os.fstat(descriptor).st_size)
        index = session_index.build_index((*files, file))
        self._session.preserve_fd(descriptor, file.token)
        assert self._index is not None
        os.pwrite(self._index, index, 0)
        self._files = (*files, file)
        return {"token": file.token}

    def _file(self, token: int) -> Answer:
        if token not in self._opened:
            self._opened[token] = self._session.retrieve_fd(token)
        return {}, self._opened[token]

    def _finish(self, *, force: bool) -> dict[str, Any]:
        left = [file for file in self._files or () if file.token not in self._retrieved]
        nobody_knows = self._files is None and not self._retrieved
        if not force and (left or nobody_knows):
            names = ", ".join(repr(file.name) for file in left[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            what = f"{names}{more}" if left else "files that only their maker knows"
            raise SessionError(
                f"the session {self._session.name!r} has what was not retrieved: {what}",
                hint="retrieve it first; --force finishes the session, and it is lost",
            )
        self._session.finish()
        self._ends = True
        return {"lost": [file_value(file) for file in left]}


def hold(name: str, direction: str, report: Callable[[PykexecError | None], None]) -> None:
    """Make a session, or retrieve it, and hold it until it is given up or finished.

    For a process of its own. ``report`` is told once: None as soon as others can ask for the
    session, else the error that there was.
    """
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(places.directory())
            listener = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            )
            holder = _begin(name, direction, directory, listener)
        except PykexecError as error:
            report(error)
            return
        report(None)
        holder.serve(listener, directory)


def _begin(name: str, direction: str, directory: int, listener: socket.socket) -> Holder:
    """Listen first, and make the session then: one that was retrieved cannot be given back."""
    base = places.base_of(name, direction)
    with _alone(directory):
        pid = places.answering(directory, base)
        if pid is not None:
            raise SessionError(
                f"process {pid} holds the {direction} session {name!r} already",
                hint="'pykexec live-update status' shows what it has",
            )
        places.forget(directory, base)  # of a holder that was killed
        try:
            try:
                listener.bind(places.socket_path(directory, base))
                listener.listen(_BACKLOG)
                places.write_record(directory, base, Held(name, direction, os.getpid()))
            except OSError as error:
                raise SessionError(
                    f"the session could not be asked for: nothing can be written in "
                    f"/{places.DIRECTORY}: {error.strerror}"
                ) from error
            holder = Holder.created(name) if direction == OUTGOING else Holder.retrieved(name)
        except BaseException:
            places.forget(directory, base)
            raise
        with suppress(OSError):
            holder.record(directory)
        return holder


@contextmanager
def _alone(directory: int) -> Iterator[None]:
    """Let no two holders begin at once; the lock goes with the process, too."""
    fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(directory, fcntl.LOCK_UN)
