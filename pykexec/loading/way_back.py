"""From a kernel that was entered by a jump back to the one that waits: what is loaded for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.errors import NotLoadedError, PykexecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.loading.results import Loaded
    from pykexec.planning.plans import Plan
    from pykexec.values.facts import MachineFacts

_WORD = b"kexec_jump_back_entry="


def address_to_return_to(facts: MachineFacts) -> int:
    """Return the physical address that the running kernel's command line tells.

    Raises :class:`NotLoadedError` where it tells none.
    """
    from pykexec.values.command_line import kernel_words

    told = [item for item in kernel_words(facts.cmdline) if item.startswith(_WORD)]
    hint = (
        "a kernel waits where it was left by 'kexec --load-preserve-context' and 'kexec -e'; "
        "another loader's address is given with --entry"
    )
    if not told:
        raise NotLoadedError(
            f"no kernel waits to be returned to: no {_WORD.decode()} on /proc/cmdline", hint=hint
        )
    value = told[-1].removeprefix(_WORD).decode("ascii", "replace")
    try:
        address = int(value, 16)
    except ValueError:
        address = 0
    if not address:
        raise NotLoadedError(
            f"no kernel waits to be returned to: {_WORD.decode()}{value} on /proc/cmdline is no "
            "address",
            hint=hint,
        )
    return address


def load_way_back(
    address: int | None = None,
    *,
    debug: bool = False,
    on_warning: Callable[[str], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Loaded:
    """Load what returns to the kernel that waits; a jump then does, and this kernel waits.

    ``address`` is physical; None: what /proc/cmdline tells. ``on_plan`` is told the plan just
    before it is tried. Raises :class:`NotLoadedError`, and as a load does.
    """
    from pykexec.calls import syscalls
    from pykexec.loading import load_record
    from pykexec.loading.live import Warnings, check_plan, with_aftermath
    from pykexec.loading.results import Loaded
    from pykexec.loading.running_kernel import read_state, require_boot_capability
    from pykexec.loading.undertaking import undertaking
    from pykexec.machine import read_machine
    from pykexec.planning.planner import plan_way_back
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.calls import Target

    warn = Warnings(on_warning)
    state = read_state()
    with with_aftermath(Target.NORMAL, state, warn):
        if state.xen_host:
            raise PykexecError(
                "loading the way back cannot be done: this is a Xen host, and its hypervisor is no "
                "kernel that returns"
            )
        require_boot_capability(state, "loading the way back")
        facts = read_machine()
        if address is None:
            address = address_to_return_to(facts)
        made = plan_way_back(facts, LoadRequest(b""), address)
        check_plan(made, facts)
        if on_plan is not None:
            on_plan(made)
        what = f"the kernel that waits at {address:#x}"
        record = load_record.record_of(made, what, None, preserve_context=True, returns_to=address)
        with undertaking(Target.NORMAL, f"a load to return to {what}", warn, record) as journal:
            syscalls.load(made, state, debug=debug)
    reason = "no other call loads what can be returned from"
    return Loaded(made, reason, tuple(warn.texts), record if journal.is_recorded else None)
