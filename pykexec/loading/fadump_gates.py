"""What firmware-assisted dump means for a load, on the machines that have it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.loading import run_files
from pykexec.values.errors import FadumpError, NoCrashRegionError

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNS = ("sys/kernel/fadump", "sys/kernel/fadump_enabled")


def check_fadump(*, crash: bool, warn: Callable[[str], None]) -> None:
    """Refuse what fadump makes impossible, and warn of what a load does to it.

    Raises :class:`~pykexec.errors.NoCrashRegionError` for a crash kernel where firmware takes the
    dump, :class:`~pykexec.errors.FadumpError` for a jump that would lose or fake one.
    """
    if not any(os.path.exists(os.path.join(run_files.ROOT, sign)) for sign in _SIGNS):
        return
    from pykexec.crash.fadump.state import loss_by_a_jump, why_no_crash_kernel, why_no_load
    from pykexec.machine.fadump import read_fadump

    state = read_fadump(run_files.this_machine())
    if crash:
        reason = why_no_crash_kernel(state)
        if reason is not None:
            raise NoCrashRegionError(reason.text, hint=reason.advice)
        return
    reason = why_no_load(state)
    if reason is not None:
        raise FadumpError(reason.text, hint=reason.advice)
    loss = loss_by_a_jump(state)
    if loss:
        warn(loss)
