"""What Xen's hypervisor tells its dom0: asked on the live machine, read of a recorded one."""

from __future__ import annotations

import errno
import sys

from pykexec.values.errors import HiddenMemoryError
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range
from pykexec.values.xen import XenFacts, XenProblem, map_of_e820

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pykexec.machine.files import MachineFiles
    from pykexec.values.json_fields import Fields

RECORD = "xen.json"
"""In a machine directory, beside machine.json: it is of no file either."""
SCHEMA = "pykexec.xen/1"

_RECORD_HINT = "make a machine directory with: pykexec machine record DIR"


def ask(files: MachineFiles) -> XenFacts | XenProblem:
    """Return what the hypervisor of a machine that is dom0 tells, or why it tells nothing.

    Raises :class:`MachineError` for a record that is malformed.
    """
    if not files.is_live:
        data = files.read(RECORD, "what the hypervisor tells")
        if data is None:
            return XenProblem(
                "the record has not what the hypervisor tells (xen.json)",
                "record the machine again, as root, with this version",
            )
        return parse(data, files.path(RECORD))
    if sys.maxsize < 1 << 32:
        return XenProblem(
            "this is a program of 32 bits, which cannot make hypercalls", "use a Python of 64 bits"
        )
    return _ask_live()


def facts_of(files: MachineFiles) -> XenFacts:
    """Return the answers; raises :class:`HiddenMemoryError` where there are none."""
    answer = ask(files)
    if isinstance(answer, XenProblem):
        raise HiddenMemoryError(
            f"where memory lies only the Xen hypervisor tells: {answer.reason}", hint=answer.hint
        )
    return answer


def _ask_live() -> XenFacts | XenProblem:
    from pykexec.calls import hypercalls
    from pykexec.calls.xen_structures import KexecRange, KexecType

    try:
        with hypercalls.open_hypervisor() as xen:
            return XenFacts(
                memory_map=map_of_e820(xen.memory_map()),
                crash_area=xen.range(KexecRange.KEXEC_RANGE_MA_CRASH),
                image=xen.range(KexecRange.KEXEC_RANGE_MA_XEN),
                cpu_notes=xen.cpu_notes(),
                vmcoreinfo=xen.range(KexecRange.KEXEC_RANGE_MA_VMCOREINFO),
                loaded=xen.is_loaded(KexecType.KEXEC_TYPE_DEFAULT),
                crash_loaded=xen.is_loaded(KexecType.KEXEC_TYPE_CRASH),
            )
    except OSError as error:
        return problem_of(error)


def problem_of(error: OSError) -> XenProblem:
    """Say why a question failed."""
    if error.filename is not None and error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return XenProblem(
            f"there is no {error.filename}",
            "load the module xen-privcmd; /dev/xen/hypercall takes Linux 4.18",
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return XenProblem("only root may make hypercalls", "run it as root, in dom0 itself")
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
        return XenProblem(
            "this Xen has no kexec interface: it is built without (CONFIG_KEXEC), or not for PCs",
            "boot this kernel without Xen to use kexec",
        )
    return XenProblem(f"the hypervisor's answer is {error.strerror}", "see xl dmesg")


def build(facts: XenFacts) -> bytes:
    """Write ``xen.json``; :func:`parse` reads it back."""
    import json

    value: dict[str, Any] = {
        "schema": SCHEMA,
        "memory_map": [
            {"type": region.kind.value, **_sized(region.range)} for region in facts.memory_map
        ],
        "cpu_notes": [{"cpu": cpu, **_sized(notes)} for cpu, notes in facts.cpu_notes],
    }
    for name in ("crash_area", "image", "vmcoreinfo"):
        where = getattr(facts, name)
        if where is not None:
            value[name] = _sized(where)
    for name in ("loaded", "crash_loaded"):
        if getattr(facts, name) is not None:
            value[name] = getattr(facts, name)
    return json.dumps(value, indent=2).encode() + b"\n"


def parse(data: bytes, where: str) -> XenFacts:
    """Parse ``xen.json``; raises :class:`MachineError` naming ``where`` and what is wrong."""
    from pykexec.values.json_fields import Fields, parse_json

    value = Fields(parse_json(data, where, hint=_RECORD_HINT), where, hint=_RECORD_HINT)
    value.require_schema(SCHEMA)
    regions = []
    for item in value.fields_of_each("memory_map"):
        kind = item.choice("type", MemoryKind)
        regions.append(MemoryRegion(_range(item), kind, kind.value))
    return XenFacts(
        memory_map=MemoryMap.from_overlapping(regions),
        crash_area=_optional(value, "crash_area"),
        image=_optional(value, "image"),
        cpu_notes=tuple(
            (item.natural("cpu"), _range(item)) for item in value.fields_of_each("cpu_notes")
        ),
        vmcoreinfo=_optional(value, "vmcoreinfo"),
        loaded=value.flag("loaded", None),
        crash_loaded=value.flag("crash_loaded", None),
    )


def _sized(where: Range) -> dict[str, Any]:
    return {"start": hex(where.start), "size": where.size}


def _optional(value: Fields, name: str) -> Range | None:
    return _range(value.fields(name)) if value.is_given(name) else None


def _range(value: Fields) -> Range:
    found = Range.fitting(value.hexadecimal("start"), value.natural("size", least=1))
    if found is None:
        raise value.refuse("size", "a size that ends within 64 bits")
    return found
