"""From a request to a verified plan, and on to a loaded kernel, for both front doors.

What the user typed becomes a request in :mod:`pykexec.loading.load_request`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pykexec.errors import (
    DeniedError,
    KernelRejectedError,
    MachineError,
    PykexecError,
    VerifyError,
)
from pykexec.loading.load_request import prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pykexec.call_choice import CallWish
    from pykexec.facts import KernelState, MachineFacts
    from pykexec.loading.files import MappedFile
    from pykexec.loading.load_request import LoadOptions, Prepared
    from pykexec.plans import Buffer, LoadRequest, Plan, SegmentPlan, Target


def check_plan(plan: SegmentPlan, facts: MachineFacts) -> None:
    """Refuse a plan that does not hold on ``facts``, with :class:`VerifyError`."""
    from pykexec.invariants import verify

    violations = verify(plan, facts)
    if violations:
        raise VerifyError(violations, hint="nothing was loaded; see the layout with --dry-run")


def load_live(
    options: LoadOptions, *, debug: bool, warn: Callable[[str], None], show: Callable[[Plan], None]
) -> Plan:
    """Load on this machine and return the plan that was carried out.

    ``warn`` is told what has no effect, ``show`` each plan just before it is tried. Raises
    what planning raises, and :class:`KernelRejectedError`.
    """
    from pykexec.plans import Target

    state = read_state()
    try:
        return _load_live(options, state, debug, warn, show)
    except PykexecError as error:
        from pykexec.loading.load_record import loaded_after_failure

        target = Target.CRASH if options.crash else Target.NORMAL
        error.aftermath = loaded_after_failure(target, state)
        raise


def _load_live(
    options: LoadOptions,
    state: KernelState,
    debug: bool,
    warn: Callable[[str], None],
    show: Callable[[Plan], None],
) -> Plan:
    from pykexec.machine import read_machine

    require_boot_capability(state, "loading a kernel")
    facts = read_machine()
    prepared = prepare(facts, options)
    for warning in prepared.choice.warnings:
        warn(warning)
    return _carry_out(prepared, facts, state, _Way(options, prepared, facts, debug, warn, show))


class _Way:
    """How a load is carried out and told of, whichever call makes it."""

    def __init__(
        self,
        options: LoadOptions,
        prepared: Prepared,
        facts: MachineFacts,
        debug: bool,
        warn: Callable[[str], None],
        show: Callable[[Plan], None],
    ) -> None:
        from pykexec.loading import crash_record, load_record
        from pykexec.plans import Target

        self.debug, self.warn, self.show = debug, warn, show
        self._target = Target.CRASH if options.crash else Target.NORMAL
        self._what = f"a load of {os.path.abspath(options.kernel)}"
        if options.crash:
            self._record = crash_record.recorder(options, prepared, facts)
        else:
            self._record = load_record.recorder(options)

    def calling(self, made: Plan) -> AbstractContextManager[None]:
        """Return what the system call that carries ``made`` out is to be made in."""
        from pykexec.loading.undertaking import undertaking

        return undertaking(self._target, self._what, self.warn, self._record(made))


def _carry_out(prepared: Prepared, facts: MachineFacts, state: KernelState, way: _Way) -> Plan:
    from pykexec import syscalls
    from pykexec.call_choice import FALLBACK_ERRNOS
    from pykexec.planner import plan_file_load
    from pykexec.plans import Call

    if prepared.choice.call is Call.KEXEC_LOAD:
        return _load_segments(prepared.request, facts, way)
    made = plan_file_load(facts, prepared.request)
    way.show(made)
    kernel_fd = _descriptor_of(made.kernel, prepared.kernel)
    initrd_fd = _descriptor_of(made.initrd, prepared.initrd)
    try:
        with way.calling(made):
            syscalls.load_files(
                made, state, kernel_fd=kernel_fd, initrd_fd=initrd_fd, debug=way.debug
            )
    except KernelRejectedError as first:
        if not prepared.choice.fallback or first.errno not in FALLBACK_ERRNOS:
            raise
        note = f"kexec_load: {first.message}"
        request = replace(prepared.request, notes=(note, *prepared.request.notes[1:]))
        try:
            return _load_segments(request, facts, way)
        except PykexecError as second:
            second.message += f" (tried before: {first.message})"
            raise
    return made


def unload_live(target: Target, wish: CallWish, warn: Callable[[str], None]) -> None:
    """Unload this machine's image of ``target``; raises :class:`KernelRejectedError`."""
    from pykexec import syscalls
    from pykexec.loading.undertaking import undertaking

    state = read_state()
    refuse_xen_host(state, "unloading a kernel")
    with undertaking(target, "an unload", warn):
        syscalls.unload(target, state, wish)


def _descriptor_of(data: Buffer | None, file: MappedFile | None) -> int | None:
    """Return the file's descriptor if ``data`` is its contents as they are."""
    return file.descriptor if file is not None and data is file.data else None


def _load_segments(request: LoadRequest, facts: MachineFacts, way: _Way) -> SegmentPlan:
    from pykexec import syscalls
    from pykexec.plans import KexecFlags

    made, state = plan_segments(request, facts)
    way.show(made)
    with way.calling(made):
        taken = syscalls.load(made, state, debug=way.debug)
    asked_for, given = (KexecFlags(flags & syscalls.HOTPLUG_FLAGS) for flags in (made.flags, taken))
    if given != asked_for:
        way.warn(f"--hotplug: the kernel refused {asked_for.name} and took {given.name}")
        made = replace(made, flags=made.flags ^ syscalls.HOTPLUG_FLAGS)
    return made


def plan_segments(request: LoadRequest, facts: MachineFacts) -> tuple[SegmentPlan, KernelState]:
    """Plan a load by kexec_load on this machine, ready for :func:`pykexec.syscalls.load`.

    ``facts`` are this machine's; what only a crash load needs is read here.
    """
    from pykexec.machine import read_machine
    from pykexec.planner import plan
    from pykexec.plans import Target

    if facts.arch == "aarch64" and facts.device_tree is None and request.dtb is None:
        raise MachineError(
            "no device tree to hand over: neither /sys/firmware/fdt nor /proc/device-tree is there",
            hint="give one with --dtb",
        )
    crash = request.target is Target.CRASH
    made = plan(read_machine(crash=True) if crash else facts, request)
    # The digest takes a while and memory can be unplugged: judge by the map as it is now.
    facts = read_machine(crash=crash)
    check_plan(made, facts)
    return made, facts.kernel


def read_state(root: Path | str = "/") -> KernelState:
    """Read the running kernel's kexec state."""
    from pykexec.machine.kernel_state import read_kernel_state

    return read_kernel_state(root)


def refuse_xen_host(state: KernelState, what: str) -> None:
    """Refuse on Xen's dom0: Linux would take a kernel, and nothing could start it."""
    from pykexec.rejections import XEN_HOST

    if state.xen_host:
        raise PykexecError(f"{what} is not done here: {XEN_HOST.reason}", hint=XEN_HOST.hint)


def require_boot_capability(state: KernelState, what: str) -> None:
    """Refuse early, before the machine is asked, when CAP_SYS_BOOT is missing."""
    from pykexec.rejections import CAP_SYS_BOOT

    refuse_xen_host(state, what)
    capabilities = state.effective_capabilities
    if capabilities is not None and not capabilities >> CAP_SYS_BOOT & 1:
        raise DeniedError(
            f"{what} needs CAP_SYS_BOOT; this process (uid {os.geteuid()}) has "
            f"CapEff {capabilities:#x}",
            hint="run it as root, outside a container that drops the capability",
        )
