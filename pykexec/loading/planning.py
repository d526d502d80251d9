"""From what the user typed to a plan that is looked at: ``plan``, ``--dry-run``, ``simulate``.

A load goes its own way (:mod:`pykexec.loading.live`), over the same planner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.loading.load_request import prepare
from pykexec.values.calls import Call
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import HiddenMemoryError, MachineError, PykexecError

if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.loading.load_request import Prepared
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import FileLoadPlan, LoadRequest, Plan, SegmentPlan
    from pykexec.values.facts import MachineFacts


@dataclass(frozen=True, slots=True)
class Basis:
    """All that a plan is made from."""

    facts: MachineFacts
    prepared: Prepared
    unplaceable: PykexecError | None = None
    """Why nothing can be placed with these facts; None: it can."""

    @property
    def request(self) -> LoadRequest:
        """The request, out of the kernel's wrappings."""
        return self.prepared.request

    def with_request(self, **changed: Any) -> Basis:
        """Return the same with fields of the request replaced."""
        prepared = replace(self.prepared, request=replace(self.request, **changed))
        return replace(self, prepared=prepared)

    @property
    def image(self) -> str:
        """What the kernel is, for people."""
        image = self.prepared.image
        return f"{image.format_name} {image.release}".strip()


def read_facts(root: Path | str) -> tuple[MachineFacts, HiddenMemoryError | None]:
    """Read the machine at ``root``; where its memory is hidden, the rest of it, and the error."""
    from pykexec.machine import read_machine, read_without_memory

    try:
        return read_machine(root), None
    except HiddenMemoryError as error:
        return read_without_memory(root), error


def read_basis(root: Path | str, options: LoadOptions) -> Basis:
    """Read the machine at ``root`` and open what the user named; raises what any of it raises.

    What is hidden of the machine only matters once something is to be placed.
    """
    facts, hidden = read_facts(root)
    return basis_of(facts, hidden, root, options)


def basis_of(
    facts: MachineFacts, hidden: PykexecError | None, root: Path | str, options: LoadOptions
) -> Basis:
    """Open what the user named, for the machine that :func:`read_facts` has read."""
    prepared = prepare(facts, options, root)
    if hidden is None and options.crash:
        from pykexec.machine import read_machine

        try:
            facts = read_machine(root, crash=True)
        except MachineError as error:
            hidden = error
    return Basis(facts, prepared, hidden)


def make_plan(root: Path | str, options: LoadOptions) -> Plan:
    """Plan a load on the machine at ``root`` by the call that a load there would make first."""
    return plan_of(read_basis(root, options))


def plan_of(basis: Basis) -> Plan:
    """Make the plan. One by kexec_load is verified; one by kexec_file_load has a layout beneath.

    Raises what planning raises, and what keeps anything from being placed.
    """
    from pykexec.planning.planner import plan_file_load

    if basis.prepared.choice.call is Call.KEXEC_LOAD:
        return plan_segments(basis)
    made = plan_file_load(basis.facts, basis.request)
    return _with_layout(replace(made, image=basis.image), basis)


def _with_layout(made: FileLoadPlan, basis: Basis) -> FileLoadPlan:
    """Add what kexec_load would do: planned and verified as such a load is, by the same path.

    Its notes are its own; those on the request stand with the plan.
    """
    try:
        return replace(made, layout=plan_segments(basis.with_request(notes=())))
    except PykexecError as error:
        return replace(made, no_layout=error)


def plan_segments(basis: Basis) -> SegmentPlan:
    """Plan a load by kexec_load, and verify it."""
    from pykexec.loading.live import check_plan
    from pykexec.planning.planner import plan

    if basis.unplaceable is not None:
        raise basis.unplaceable
    made = plan(basis.facts, basis.request)
    check_plan(made, basis.facts)
    return made
