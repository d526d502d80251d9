"""What a test needs and this machine may lack: the one place that skips a test for it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str, needs: str = "VM") -> NoReturn:
    """Skip the test, or fail it where $PYKEXEC_REQUIRE_``needs`` is 1 and forbids that.

    ``VM``: QEMU, Debian's packages and what goes with them; ``CLANG``: a compiler for the
    purgatory; ``CLANG_19``: the one whose bytes are checked in; ``TOOLS``: shells and groff;
    ``MACHINES``: maps that are not in the project; ``ROOT``: privileges; ``SHA``: an x86 processor
    with SHA instructions, and a kernel that runs programs of 32 bits too.
    """
    variable = f"PYKEXEC_REQUIRE_{needs}"
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, and {reason}")
    pytest.skip(f"{reason}; {variable}=1 makes this a failure")


def need_root(what: str) -> None:
    """Skip the test where it is not run by root; ``what`` is only for root to do."""
    if os.geteuid() != 0:
        unavailable(f"{what} needs root", "ROOT")
