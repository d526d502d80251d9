"""Handing memory over to the next kernel, for programs that jump or are held until the jump.

Linux Documentation/userspace-api/liveupdate.rst. A program preserves its own memfds under numbers
of its own, and takes them back by these numbers in the next kernel::

    from pykexec import live_update

    with live_update.Session.create("vm") as session:
        session.preserve_fd(memory, token=1)
        subprocess.run(["kexec", "-e"], check=True)  # does not return

    with live_update.Session.retrieve("vm") as session:  # in the next kernel
        memory = session.retrieve_fd(1)

The kernel is to be loaded by kexec_file_load(2), as :func:`pykexec.load_kernel` does by itself
where memory can be handed over.
"""

from __future__ import annotations

from pykexec.calls.live_update import NAME_MAX, TOKEN_MAX
from pykexec.loading.update_session import Session
from pykexec.values.errors import KernelRejectedError, OptionError, SessionError

__all__ = [
    "NAME_MAX",
    "TOKEN_MAX",
    "KernelRejectedError",
    "OptionError",
    "Session",
    "SessionError",
]
