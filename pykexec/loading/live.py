"""From what is wanted to a loaded kernel on this machine, and back.

What is wanted becomes a request in :mod:`pykexec.loading.load_request`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from pykexec.architectures import architecture_of, known_names, why_not_loaded
from pykexec.loading.running_kernel import read_state, require_boot_capability, require_hypervisor
from pykexec.values.data_classes import replace
from pykexec.values.errors import (
    HandoverLostError,
    KernelRejectedError,
    MachineError,
    OptionError,
    PykexecError,
    VerifyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal, TypeVar

    from pykexec.loading.files import MappedFile
    from pykexec.loading.options import CallName, LoadOptions
    from pykexec.loading.results import Loaded, Record, Unloaded
    from pykexec.planning.plans import LoadRequest, Plan, SegmentPlan
    from pykexec.values.buffers import Buffer
    from pykexec.values.calls import Target
    from pykexec.values.facts import MachineFacts
    from pykexec.values.kernel_state import KernelState

    _Taken = TypeVar("_Taken")


def check_plan(plan: SegmentPlan, facts: MachineFacts) -> None:
    """Refuse a plan that does not hold on ``facts``, with :class:`VerifyError`."""
    from pykexec.planning.invariants import verify

    violations = verify(plan, facts)
    if violations:
        raise VerifyError(violations, hint="nothing was loaded; see the layout with --dry-run")


class Warnings:
    """What there is to warn of, kept, and told as it comes."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.texts: list[str] = []
        self._tell = tell

    def __call__(self, text: str) -> None:
        self.texts.append(text)
        if self._tell is not None:
            self._tell(text)


@contextmanager
def with_aftermath(target: Target, state: KernelState, warn: Warnings) -> Iterator[None]:
    """Let an error of this block say what is loaded then, and what was warned of.

    ``state`` is how it was before the load.
    """
    try:
        yield
    except PykexecError as error:
        from pykexec.loading.status import loaded_after_failure

        error.aftermath = loaded_after_failure(target, state.crash_loaded)
        error.warnings = tuple(warn.texts)
        raise


def load_live(
    options: LoadOptions,
    *,
    debug: bool = False,
    on_warning: Callable[[str], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Loaded:
    """Load on this machine.

    ``on_warning`` is told what has no effect, ``on_plan`` each plan just before it is tried.
    Raises what planning raises, and :class:`KernelRejectedError`; the error says what is loaded
    now, and what was warned of.
    """
    from pykexec.loading.chosen_entry import with_boot_entry
    from pykexec.loading.fadump_gates import check_fadump
    from pykexec.values.calls import Target

    warn = Warnings(on_warning)
    state = read_state()
    with with_aftermath(Target.CRASH if options.crash else Target.NORMAL, state, warn):
        require_boot_capability(state, "loading a kernel")
        check_fadump(crash=options.crash, warn=warn)
        options = with_boot_entry(options, "/", warn)
        return _Load(options, state, warn, on_plan, debug=debug).run()


class _Load:
    """One load, whichever call makes it, with its second way."""

    def __init__(
        self,
        options: LoadOptions,
        state: KernelState,
        warn: Warnings,
        show: Callable[[Plan], None] | None,
        *,
        debug: bool,
    ) -> None:
        from pykexec.loading import crash_record, load_record
        from pykexec.loading.load_request import prepare
        from pykexec.machine import read_machine
        from pykexec.values.calls import Target

        self._state, self._warn, self._show, self._debug = state, warn, show, debug
        self._facts = read_machine()
        why = why_not_loaded(self._facts.arch)
        if why is not None:
            raise OptionError(why, hint=known_names())
        try:
            self._prepared = prepare(self._facts, options)
        except HandoverLostError as error:
            from pykexec.loading.update_status import lost_sessions

            error.details = lost_sessions()
            raise
        for warning in self._prepared.choice.warnings:
            warn(warning)
        self._target = Target.CRASH if options.crash else Target.NORMAL
        self._what = f"a load of {os.path.abspath(options.kernel)}"
        self._make_record: Callable[[Plan], Record]
        if options.crash:
            self._make_record = crash_record.recorder(options, self._prepared, self._facts)
        else:
            self._make_record = load_record.recorder(options)

    def run(self) -> Loaded:
        """Load by the call that was chosen, or by the one that may follow it."""
        from pykexec.calls.call_choice import FALLBACK_ERRNOS
        from pykexec.values.calls import Call

        choice, request = self._prepared.choice, self._prepared.request
        if choice.call is Call.KEXEC_LOAD:
            return self._load_segments(request, choice.reason)
        try:
            return self._load_files(request, choice.reason)
        except KernelRejectedError as first:
            if not choice.fallback or first.errno not in FALLBACK_ERRNOS:
                raise
            note = f"{Call.KEXEC_LOAD}: {first.message}"
            request = replace(request, notes=(note, *request.notes[1:]))
            try:
                return self._load_segments(request, first.message)
            except PykexecError as second:
                second.message += f" (tried before: {first.message})"
                raise

    def _load_files(self, request: LoadRequest, reason: str) -> Loaded:
        from pykexec.calls import syscalls
        from pykexec.loading.results import Loaded
        from pykexec.planning.planner import plan_file_load

        made = plan_file_load(self._facts, request)
        kernel_fd = _descriptor_of(made.kernel, self._prepared.kernel)
        initrd_fd = _descriptor_of(made.initrd, self._prepared.initrd)

        record, _ = self._call(
            made,
            lambda: syscalls.load_files(
                made, self._state, kernel_fd=kernel_fd, initrd_fd=initrd_fd, debug=self._debug
            ),
        )
        return Loaded(made, reason, tuple(self._warn.texts), record)

    def _load_segments(self, request: LoadRequest, reason: str) -> Loaded:
        from pykexec.calls import syscalls
        from pykexec.loading.results import Loaded
        from pykexec.planning.check_time import long_check

        made, state = plan_segments(request, self._facts)
        if (warning := long_check(made)) is not None:
            self._warn(warning)

        if state.xen_host:
            from pykexec.calls import xen

            record, _ = self._call(made, lambda: xen.load(made))
            return Loaded(made, reason, tuple(self._warn.texts), record)
        record, flags = self._call(made, lambda: syscalls.load(made, state, debug=self._debug))
        made = self._taken(made, flags)
        return Loaded(made, reason, tuple(self._warn.texts), record)

    def _taken(self, made: SegmentPlan, flags: int) -> SegmentPlan:
        """Return the plan with the flags that the kernel took."""
        from pykexec.calls.syscalls import HOTPLUG_FLAGS
        from pykexec.values.calls import KexecFlags

        asked_for, given = (KexecFlags(item & HOTPLUG_FLAGS) for item in (made.flags, flags))
        if given == asked_for:
            return made
        self._warn(f"--hotplug: the kernel refused {asked_for.name} and took {given.name}")
        return replace(made, flags=made.flags ^ HOTPLUG_FLAGS)

    def _call(self, made: Plan, call: Callable[[], _Taken]) -> tuple[Record | None, _Taken]:
        """Make the system call between the mark and the record.

        Returns the record, None if it could not be written, and what the call has returned: the
        flags that the kernel took.
        """
        from pykexec.loading.undertaking import undertaking

        if self._show is not None:
            self._show(made)
        record = self._make_record(made)
        with undertaking(self._target, self._what, self._warn, record) as journal:
            flags = call()
        return record if journal.is_recorded else None, flags


def unload(
    target: Target | Literal["normal", "crash"] = "normal",
    *,
    call: CallName = "auto",
    on_warning: Callable[[str], None] | None = None,
) -> Unloaded:
    """Unload this machine's kernel, or its crash kernel; that there is none is no error.

    ``call`` says by which system call first: ``auto``, ``file`` or ``segments``. Raises
    :class:`~pykexec.errors.UsageError` for any other word, and
    :class:`~pykexec.errors.KernelRejectedError`.
    """
    from pykexec.calls import syscalls
    from pykexec.loading.one_of import require_one_of
    from pykexec.loading.results import Unloaded
    from pykexec.loading.undertaking import undertaking
    from pykexec.values.calls import CallWish, Target

    if not isinstance(target, Target):
        require_one_of("target", target, ("normal", "crash"))
    require_one_of("call", call, ("auto", "file", "segments"))
    image, warn = Target(target), Warnings(on_warning)
    state = read_state()
    require_hypervisor(state, "unloading a kernel")
    with undertaking(image, "an unload", warn):
        if state.xen_host:
            from pykexec.calls import xen

            xen.unload(image)
        else:
            syscalls.unload(image, state, CallWish(call))
    return Unloaded(image, tuple(warn.texts))


def _descriptor_of(data: Buffer | None, file: MappedFile | None) -> int | None:
    """Return the file's descriptor if ``data`` is its contents as they are."""
    return file.descriptor if file is not None and data is file.data else None


def plan_segments(request: LoadRequest, facts: MachineFacts) -> tuple[SegmentPlan, KernelState]:
    """Plan a load by kexec_load on this machine, ready for :func:`pykexec.calls.syscalls.load`.

    ``facts`` are this machine's; what only a crash load needs is read here.
    """
    from pykexec.machine import read_machine
    from pykexec.planning.planner import plan
    from pykexec.values.calls import Target

    needs_tree = architecture_of(facts.arch).has_tree
    if needs_tree and facts.device_tree is None and request.dtb is None:
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
