"""What the verbs of ``pykexec live-update`` do with files, by way of the holders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pykexec.formats.session_index import file_of, file_value
from pykexec.loading import update_copies as copies
from pykexec.loading import update_places as places
from pykexec.loading.update_asking import ask
from pykexec.values.data_classes import replace
from pykexec.values.errors import SessionError
from pykexec.values.live_update import INCOMING, OUTGOING, PreservedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pykexec.values.live_update import Held


def preserve(name: str, paths: Sequence[str]) -> Iterator[PreservedFile]:
    """Have files go over in an outgoing session; yields each as soon as it is in it.

    Raises :class:`~pykexec.errors.SessionError` and
    :class:`~pykexec.errors.KernelRejectedError`; those before stay preserved.
    """
    held_outgoing(name)  # before anything is copied
    for path in paths:
        memory, file = copies.to_preserve(path)
        try:
            request = {"do": "preserve", **file_value(file)}
            answer, _ = ask(name, OUTGOING, request, memory)
        finally:
            os.close(memory)
        yield replace(file, token=answer.natural("token"))


def held_outgoing(name: str) -> Held:
    """Return what an outgoing session has."""
    return _listed(name, OUTGOING)[0]


def drop(name: str) -> None:
    """Give an outgoing session up."""
    ask(name, OUTGOING, {"do": "drop"})


def retrieve(
    name: str,
    path: str,
    hold: Callable[[], None],
    *,
    tokens: Sequence[int] = (),
    unchecked: bool = False,
) -> Iterator[tuple[PreservedFile, str]]:
    """Write the files of an incoming session into the directory ``path``.

    Yields each with the SHA-256 of what was written. ``hold`` starts the process that takes the
    session, where there is none yet. ``tokens`` are asked for instead of what the index has, each
    to a file of that name. Nothing is finished. Raises as :func:`preserve`.
    """
    held, fault = _held_or_taken(name, hold)
    if tokens:
        wanted = [PreservedFile(token, str(token), 0) for token in tokens]
    elif held.files is None:
        raise SessionError(
            f"the session {name!r} has no index that says which files it has: {fault}",
            hint="a program that made it knows the tokens: --token N writes one to DIR/N; until "
            f"'pykexec live-update finish {name}' nothing is lost",
        )
    else:
        wanted = list(held.files)
    directory = copies.open_target(path)
    try:
        for file in wanted:
            copies.refuse_existing(directory, path, file.name)
        for asked_for in wanted:
            file = asked_for
            _, memory = ask(name, INCOMING, {"do": "file", "token": file.token})
            if memory is None:
                raise SessionError(f"the holder of {name!r} has sent no file")
            try:
                if tokens or unchecked:
                    file = replace(file, size=os.fstat(memory).st_size, sha256=None)
                digest = copies.store(memory, directory, path, file)
            finally:
                os.close(memory)
            ask(name, INCOMING, {"do": "stored", "token": file.token})
            yield file, digest
        os.fsync(directory)
    finally:
        os.close(directory)


def finish(name: str, hold: Callable[[], None], *, force: bool = False) -> list[PreservedFile]:
    """Finish an incoming session; returns what nobody retrieved, which is lost.

    Raises :class:`~pykexec.errors.SessionError` for such a one without ``force``.
    """
    _held_or_taken(name, hold)
    answer, _ = ask(name, INCOMING, {"do": "finish", "force": force})
    return [file_of(item) for item in answer.fields_of_each("lost")]


def _held_or_taken(name: str, hold: Callable[[], None]) -> tuple[Held, str]:
    with places.directory() as directory:
        found = places.answering(directory, places.base_of(name, INCOMING))
    if found is None:
        hold()
    return _listed(name, INCOMING)


def _listed(name: str, direction: str) -> tuple[Held, str]:
    """Return what a session has, and what is wrong with its index."""
    answer, _ = ask(name, direction, {"do": "list"})
    fault: Any = answer.text("index_fault", "")
    return places.parse_held(answer)[0], fault
