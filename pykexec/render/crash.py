"""What is known of the crash kernel, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.calls.rejections import shut_gates
from pykexec.crash.fadump.state import how_it_stands
from pykexec.crash.status import Freshness
from pykexec.render.lines import behind
from pykexec.values.calls import Target
from pykexec.values.data_classes import asdict
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.crash.captured import Dumps
    from pykexec.crash.estimate import Estimate
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.crash.status import CrashState, Judgement
    from pykexec.crash.trial import Report
    from pykexec.values.errors import PykexecError

STATUS_EXIT_CODES = {
    Freshness.FRESH: 0,
    Freshness.STALE: 1,
    Freshness.NOT_LOADED: 1,
    Freshness.UNKNOWN: 2,
}
"""Of ``pykexec crash status``."""

_LABEL = 18
_LOADED = {None: "unknown", True: "loaded", False: "not loaded"}


def labelled(label: str, text: str) -> str:
    """Write one fact behind its label, broken into lines of at most 80 columns."""
    return _behind(f"{label + ':':<{_LABEL}}", text)


def _behind(head: str, text: str) -> str:
    return behind(head, text, len(head))


def status_text(state: CrashState, judgement: Judgement) -> str:
    """Describe the crash kernel and the verdict on it."""
    record = judgement.record
    lines = [("running kernel", state.kernel.release or "unknown")]
    loaded = _LOADED[state.kernel.crash_loaded]
    if record is not None:
        loaded += f" by pykexec at {record.time}, by {record.call}"
    lines.append(("crash image", loaded))
    for region in state.regions or ():
        lines.append(("reserved", f"{format_size(region.size)} from {region.start:#x}"))
    if state.kernel.crash_size is not None:
        lines.append(("reserved in all", format_size(state.kernel.crash_size)))
    if state.kernel.crash_loaded:
        lines.append(("memory changes", _follows(state.updates_memory)))
        lines.append(("CPU changes", _follows(state.updates_cpus)))
    lines += [("shut", gate.reason) for gate in shut_gates(state.kernel, Target.CRASH)]
    lines += [(item.what, f"{item.detail}") for item in judgement.findings]
    if record is not None:
        lines.append(("command line", record.cmdline or "(empty)"))
    lines.append(("verdict", f"{judgement.verdict.value}: {judgement.reason}"))
    return "\n".join(labelled(label, text) for label, text in lines) + "\n"


def _follows(updates: bool | None) -> str:
    if updates is None:
        return "the kernel does not say that it follows them: reload after each"
    if updates:
        return "the kernel updates the core header by itself"
    return "the kernel does not follow them: reload after each"


def status_value(state: CrashState, judgement: Judgement, dumps: Dumps | None) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.crash-status/1``."""
    regions = None
    if state.regions is not None:
        regions = [{"start": f"{r.start:#x}", "size": r.size} for r in state.regions]
    return {
        "schema": "pykexec.crash-status/1",
        "kernel_release": state.kernel.release,
        "crash_loaded": state.kernel.crash_loaded,
        "crash_size": state.kernel.crash_size,
        "regions": regions,
        "kernel_updates": {"memory": state.updates_memory, "cpus": state.updates_cpus},
        "shut_gates": [gate.reason for gate in shut_gates(state.kernel, Target.CRASH)],
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "findings": [
            {"what": item.what, "verdict": item.freshness.value, "detail": item.detail}
            for item in judgement.findings
        ],
        "record": None if judgement.record is None else asdict(judgement.record),
        "dumps": None if dumps is None else _dumps_value(dumps),
    }


def _dumps_value(dumps: Dumps) -> dict[str, Any]:
    last = dumps.last
    return {
        "target": dumps.target,
        "directory": dumps.directory or None,
        "problem": dumps.problem,
        "last": None
        if last is None
        else {
            "path": last.path,
            **asdict(last.captured),
            "core_size": last.core_size,
            "panic": last.panic,
            "summary": str(last.captured),
        },
    }


def estimate_text(estimate: Estimate) -> str:
    """Show every term, where it comes from, and what comes of them."""
    lines = ["What the capture kernel needs:"]
    for term in estimate.terms:
        kind = "measured" if term.measured else "rule"
        head = f"  {term.name:<20}{format_size(term.size):>10}  {kind:<10}"
        lines.append(_behind(head, term.source))
    if estimate.checks:
        lines += ["", "What is there for it:"]
    for check in estimate.checks:
        sizes = f"{format_size(check.needed):>10} of {format_size(check.found):>9}"
        head = f"  {check.name:<17}{sizes}  {'ok' if check.holds else 'NO':<4}"
        lines.append(_behind(head, check.detail))
    lines += [_behind("  ", note) for note in estimate.notes]
    lines += [
        "",
        labelled("reserved", format_size(estimate.reserved) if estimate.reserved else "nothing"),
    ]
    lines.append(labelled("verdict", _estimate_verdict(estimate)))
    lines += [labelled("hint", hint) for hint in estimate.hints]
    lines.append(labelled("note", "rules are of thumb: only 'pykexec crash test' proves it"))
    return "\n".join(lines) + "\n"


def _estimate_verdict(estimate: Estimate) -> str:
    if estimate.fits:
        return "fits"
    if not estimate.reserved:
        why = f": {estimate.unreserved}" if estimate.unreserved else ""
        return f"does not fit: no memory is reserved for a crash kernel{why}"
    return "does not fit: " + ", ".join(c.name for c in estimate.checks if not c.holds)


def estimate_value(estimate: Estimate) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.crash-estimate/1``."""
    return {
        "schema": "pykexec.crash-estimate/1",
        "terms": [
            {
                "name": term.name,
                "size": term.size,
                "source": term.source,
                "measured": term.measured,
            }
            for term in estimate.terms
        ],
        "checks": [
            {
                "name": check.name,
                "needed": check.needed,
                "found": check.found,
                "holds": check.holds,
                "detail": check.detail,
            }
            for check in estimate.checks
        ],
        "reserved": estimate.reserved,
        "proposal": estimate.proposal,
        "proposal_impossible": estimate.impossible or None,
        "unreserved": estimate.unreserved or None,
        "fits": estimate.fits,
        "notes": list(estimate.notes),
    }


def trial_text(
    state: CrashState,
    judgement: Judgement,
    firmware: FadumpState | None,
    refused: PykexecError | None,
    token: str,
    dump_dir: str,
) -> str:
    """Say what a crash on purpose would do, and that it was not done."""
    saver = "the capture kernel"
    stands = ("crash kernel", f"{judgement.verdict.value}: {judgement.reason}")
    if firmware is not None:
        saver = "the boot loader's default entry, which must be this kernel,"
        stands = ("fadump", how_it_stands(firmware).text)
    lines = [
        stands,
        ("first", f"leave {token}, write all buffers out"),
        ("then", f"crash {state.kernel.release}: no shutdown, programs lose what is unsaved"),
        ("afterwards", f"{saver} is to leave a core below {dump_dir}"),
        ("after the reboot", "pykexec crash test --report"),
    ]
    if refused is None:
        lines.append(("not done", "to crash this machine now, add --yes"))
    else:
        lines.append(("not possible", refused.message))
        lines.append(("hint", refused.hint or "see above"))
    return "\n".join(labelled(label, text) for label, text in lines) + "\n"


def report_text(report: Report) -> str:
    """Say what a crash on purpose came to."""
    token = report.token
    lines = [("crashed", f"{token.kernel_release} at {token.time}")]
    for item in report.caught:
        said = {None: item.problem, True: "ends in the crash", False: "does not end in the crash"}
        if item.said:
            lines.append((item.kind.value, f"{item.path}: {item.said}"))
            continue
        detail = f", {said[item.panicked]}" if said[item.panicked] else ""
        lines.append((item.kind.value, f"{item.path}, {format_size(item.size)}{detail}"))
    panic = next((item.panic for item in report.caught if item.panic), "")
    if panic:
        lines.append(("panic", panic))
    lines.append(("verdict", report.verdict))
    return "\n".join(labelled(label, text) for label, text in lines) + "\n"
