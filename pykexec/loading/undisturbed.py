"""What must not be torn apart by a signal that ends the program."""

from __future__ import annotations

# Not signal: it makes enums of every number, which takes longer than an unload.
import _signal as signal  # type: ignore[import-not-found]  # typeshed knows nothing of it
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that ask a program to end; they take effect behind the block.

    For what is short, or cannot be interrupted anyway, as a system call that loads a kernel.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
