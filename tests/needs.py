"""What a test needs and this machine may lack: the one place that skips a test for it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str, needs: str = "VM") -> NoReturn:
    """Skip the test, or fail it where $PYKEXEC_REQUIRE_``needs`` is 1 and forbids that.

    ``VM``: QEMU, Debian's packages and what goes with them; ``CLANG``: the compiler of the
    purgatory; ``TOOLS``: shells and groff; ``MACHINES``: maps that are not in the project.
    """
    variable = f"PYKEXEC_REQUIRE_{needs}"
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, and {reason}")
    pytest.skip(f"{reason}; {variable}=1 makes this a failure")
