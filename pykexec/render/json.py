"""A plan as JSON: schema ``pykexec.plan/1``.

Addresses and flags are hexadecimal strings, because JSON numbers lose bits above 2**53;
sizes are integers in bytes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pykexec.planning.digest import table_in
from pykexec.planning.invariants import invariants_of
from pykexec.planning.plans import FileLoadPlan
from pykexec.render.escape import json_text
from pykexec.render.explain import limit_value
from pykexec.render.text import NO_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.doctor import Finding
    from pykexec.planning.plans import Plan, SegmentPlan
    from pykexec.values.buffers import Buffer
    from pykexec.values.errors import PykexecError
    from pykexec.values.facts import MachineFacts

SCHEMA = "pykexec.plan/1"


def plan_value(plan: Plan, facts: MachineFacts | None = None) -> dict[str, Any]:
    """Return the plan as what JSON can say: pykexec/schemas/plan.json.

    For a verified plan: each check reads ``ok``. With the ``facts`` that it was made from there
    is also what the next kernel is told otherwise than the running one was. The layout beneath
    one by kexec_file_load is the value of a plan by kexec_load.
    """
    if isinstance(plan, FileLoadPlan):
        value = _file_load_value(plan)
        value["layout"] = None if plan.layout is None else plan_value(plan.layout, facts)
    else:
        value = _segment_value(plan)
    if facts is not None:
        from pykexec.render.told import told_changes

        value["told"] = [
            {"name": item.name, "before": item.before, "after": item.after}
            for item in told_changes(plan, facts)
        ]
    return value


def _segment_value(plan: SegmentPlan) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "arch": plan.arch,
        "page_size": plan.page_size,
        "target": plan.target.value,
        "syscall": "kexec_load",
        "entry": f"{plan.entry:#x}",
        "kernel_entry": f"{plan.kernel_entry:#x}",
        "kernel_start": None if plan.kernel_start is None else f"{plan.kernel_start:#x}",
        "protocol": plan.protocol.value,
        "flags": f"{plan.flags:#x}",
        "cmdline": plan.cmdline.decode("utf-8", "backslashreplace"),
        "segments": [
            {
                "role": segment.role.value,
                "mem": f"{segment.dest.start:#x}",
                "memsz": segment.dest.size,
                "bufsz": len(segment.data),
                "sha256": sha256(segment.data).hexdigest(),
                "checked": segment.checked,
                "limits": [limit_value(item) for item in segment.wish.limits],
            }
            for segment in plan.segments
        ],
        "verification": _verification_value(plan),
        "memory_map": [
            {
                "start": f"{region.range.start:#x}",
                "end": f"{region.range.end:#x}",
                "kind": region.kind.value,
                "name": region.name,
            }
            for region in plan.memory_map
        ],
        "notes": list(plan.notes),
        "checks": dict.fromkeys(invariants_of(plan), "ok"),
    }


def _verification_value(plan: SegmentPlan) -> dict[str, int | float | None] | None:
    table = table_in(plan)
    if table is None:
        return None
    return {
        "size": table.size,
        "pieces": len(table.digests),
        "piece_size": table.piece_size,
        "seconds": None if plan.check_seconds is None else round(plan.check_seconds, 3),
    }


def _file_load_value(plan: FileLoadPlan) -> dict[str, Any]:
    """Return the same keys; the kernel's choices are empty, the two files come in addition."""
    return {
        "schema": SCHEMA,
        "arch": plan.arch,
        "target": plan.target.value,
        "syscall": "kexec_file_load",
        "entry": None,
        "kernel_entry": None,
        "flags": f"{int(plan.flags):#x}",
        "cmdline": plan.cmdline.decode("utf-8", "backslashreplace"),
        "image": plan.image,
        "kernel": _file_value(plan.kernel),
        "initrd": None if plan.initrd is None else _file_value(plan.initrd),
        "segments": [],
        "memory_map": [],
        "notes": [NO_SEGMENTS, *plan.notes],
        "checks": {},
        "placement": [
            {"role": None if rule.role is None else rule.role.value, "rule": rule.text}
            for rule in plan.placement
        ],
        "no_layout": None if plan.no_layout is None else _refusal_value(plan.no_layout),
    }


def _refusal_value(error: PykexecError) -> dict[str, str | None]:
    return {"message": error.message, "hint": error.hint or None}


def _file_value(data: Buffer) -> dict[str, Any]:
    return {"size": len(data), "sha256": sha256(data).hexdigest()}


def plan_json(
    plan: Plan, facts: MachineFacts | None = None, found: Sequence[Finding] | None = None
) -> str:
    """Return the plan as indented JSON, with the doctor's verdict if it was asked.

    Of its findings those that are behind the verdict: the others tell of the moment (how much
    memory is available), and a plan for a record is to be the machine's own, byte for byte.
    """
    value = plan_value(plan, facts)
    if found is not None:
        from pykexec.render.doctor import behind_verdict, doctor_value

        value["doctor"] = doctor_value(behind_verdict(found), plan.target)
    return json_text(value)
