"""Why a segment lies where it lies, or what would make it fit, for people and for programs."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from pykexec.planning.explanations import Verdict
from pykexec.render.escape import json_text
from pykexec.render.lines import table, wrapped
from pykexec.render.style import PLAIN, Colour
from pykexec.values.units import counted, format_size
from pykexec.values.wishes import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.planning.explanations import Explanation, Judged
    from pykexec.planning.plans import FileLoadPlan
    from pykexec.planning.remedies import Remedy
    from pykexec.render.style import Style
    from pykexec.values.wishes import Limit

SCHEMA = "pykexec.explanation/1"

_COLOURS = {
    Verdict.CHOSEN: Colour.GREEN,
    Verdict.OUTSIDE: Colour.RED,
    Verdict.SMALL: Colour.YELLOW,
    Verdict.GIVEN_UP: Colour.YELLOW,
}
_SEVERAL = 3
"""So many ranges in a row with one verdict become one line."""


OF_THE_OTHER_CALL = (
    "This load goes by kexec_file_load, where the running kernel chooses the addresses. What "
    "follows is of the layout that kexec_load would make of the same."
)
"""What an explanation begins with that is of the layout beneath a plan."""


def explanation_value(
    explanation: Explanation,
    remedies: Sequence[Remedy] | None = None,
    beneath: FileLoadPlan | None = None,
) -> dict[str, Any]:
    """Return what JSON can say: schema ``pykexec.explanation/1``.

    ``remedies`` are those of a refusal; None with a place. ``beneath`` is the plan that the
    layout belongs to, if that one does not go by kexec_load.
    """
    place, given_up = explanation.place, explanation.given_up
    return {
        "schema": SCHEMA,
        "syscall": "kexec_load" if beneath is None else "kexec_file_load",
        "kernel_rule": None if beneath is None else _kernel_rule(beneath, explanation.role),
        "role": str(explanation.role),
        "size": explanation.wish.size,
        "limits": [limit_value(item) for item in explanation.wish.limits],
        "prefer": explanation.wish.prefer.name.lower(),
        "place": None
        if place is None
        else {"start": f"{place.start:#x}", "end": f"{place.end:#x}"},
        "given_up": None
        if given_up is None
        else {
            "start": f"{given_up.place.start:#x}",
            "end": f"{given_up.place.end:#x}",
            "needed_by": list(given_up.needed_by),
        },
        "shortage": explanation.shortage,
        "excess": explanation.excess,
        "beside": list(explanation.beside),
        "placed_before": [item.role.value for item in explanation.before],
        "ranges": [
            {
                "start": f"{item.free.start:#x}",
                "end": f"{item.free.end:#x}",
                "usable": item.usable.size if item.usable is not None else 0,
                "verdict": item.verdict.name.lower(),
                "reason": item.reason,
            }
            for item in explanation.ranges
        ],
        "remedies": None
        if remedies is None
        else [{"change": item.change.value, "text": item.text} for item in remedies],
    }


def limit_value(limit: Limit) -> dict[str, str]:
    """Return a limit as what JSON can say; the value of an alignment is a number of bytes."""
    return {
        "bound": limit.bound.name.lower(),
        "value": f"{limit.value:#x}",
        "origin": limit.origin.value,
        "source": limit.source,
    }


def _kernel_rule(plan: FileLoadPlan, role: str) -> str | None:
    """Say how the running kernel itself looks for a place for ``role``."""
    return next((rule.text for rule in plan.placement if rule.role == role), None)


def explanation_json(
    explanation: Explanation,
    remedies: Sequence[Remedy] | None = None,
    beneath: FileLoadPlan | None = None,
) -> str:
    """Return the explanation as indented JSON; the arguments are explanation_value's."""
    return json_text(explanation_value(explanation, remedies, beneath))


def explanation_text(
    explanation: Explanation,
    remedies: Sequence[Remedy] | None = None,
    style: Style = PLAIN,
    beneath: FileLoadPlan | None = None,
) -> str:
    """Explain in at most 80 columns; the arguments are explanation_value's."""
    wish = explanation.wish
    lines = [
        *_caveat_lines(explanation, beneath),
        f"{explanation.role}: {format_size(wish.size)}, {wish.prefer.value}",
        "",
        "Limits, the strictest of each kind marked:",
        *_limit_lines(explanation),
        "",
        *_before_lines(explanation),
        *_range_lines(explanation, style),
        "",
        _answer(explanation, style),
    ]
    if remedies:
        lines += ["", "Each of these alone makes it fit; less does not:"]
        lines += [wrapped(f"* {item.text}", hanging="  ") for item in remedies]
    elif remedies is not None:
        lines += ["", "No single change that pykexec knows of makes it fit."]
    return "\n".join(lines) + "\n"


def _caveat_lines(explanation: Explanation, beneath: FileLoadPlan | None) -> list[str]:
    if beneath is None:
        return []
    lines = [wrapped(OF_THE_OTHER_CALL, indent="")]
    rules = [rule.text for rule in beneath.placement if rule.role is None]
    own = _kernel_rule(beneath, explanation.role)
    if own is not None:
        rules.append(f"{explanation.role} to {own}")
        lines.append(wrapped(f"By the running kernel's own rules: {'; '.join(rules)}.", indent=""))
    return [*lines, ""]


def _limit_lines(explanation: Explanation) -> list[str]:
    wish = explanation.wish
    rows = [
        (
            "*" if wish.strictest(limit.bound) is limit else "",
            limit.bound.value,
            f"{limit.value:#x}",
            limit.origin.value,
            limit.source,
        )
        for bound in Bound
        for limit in wish.limits
        if limit.bound is bound
    ]
    return [table(("", "limit", "value", "from", "source"), rows, frozenset({2}))]


def _before_lines(explanation: Explanation) -> list[str]:
    if not explanation.before:
        return ["Nothing was placed before it."]
    names = ", ".join(item.role.value for item in explanation.before)
    return [wrapped(f"Placed before it: {names}.", indent="")]


def _range_lines(explanation: Explanation, style: Style) -> list[str]:
    """List the free ranges; long runs of one verdict become one line."""
    if not explanation.ranges:
        return ["No memory was free then."]
    count = len(explanation.ranges)
    lines = [f"Free memory at that moment, {count} range{'s' if count > 1 else ''}:"]
    width = max(len(f"{item.free.last:#x}") for item in explanation.ranges)
    for verdict, run in groupby(explanation.ranges, key=_sameness):
        group = list(run)
        if len(group) < _SEVERAL:
            lines += [line for item in group for line in _range_line(item, width, style)]
            continue
        largest = max(group, key=lambda item: item.usable.size if item.usable else 0)
        total = format_size(sum(item.free.size for item in group))
        text = f"{counted(len(group), 'range')}, {total} in all"
        reason = largest.reason
        if verdict[0] is Verdict.SMALL:
            reason = f"the best is {reason}"
        lines += _entry(group[0].free.start, group[-1].free.last, width, text)
        lines += _verdict_lines(largest.verdict, reason, style)
    return lines


def _sameness(item: Judged) -> tuple[Verdict, str]:
    """Ranges that differ only in how much they are short of are told of together."""
    return item.verdict, "" if item.verdict is Verdict.SMALL else item.reason


def _range_line(item: Judged, width: int, style: Style) -> list[str]:
    text = format_size(item.free.size)
    if item.usable is not None and item.usable != item.free:
        text += f", {format_size(item.usable.size)} within the limits"
    return [
        *_entry(item.free.start, item.free.last, width, text),
        *_verdict_lines(item.verdict, item.reason, style),
    ]


def _entry(first: int, last: int, width: int, text: str) -> list[str]:
    return [f"  {first:#x}".rjust(width + 2) + "-" + f"{last:#x}".rjust(width) + f"  {text}"]


def _verdict_lines(verdict: Verdict, reason: str, style: Style) -> list[str]:
    lines = wrapped(f"{verdict.value}: {reason}", indent=" " * 6, hanging="  ").split("\n")
    lines[0] = lines[0].replace(verdict.value, style.paint(verdict.value, _COLOURS.get(verdict)), 1)
    return lines


def _answer(explanation: Explanation, style: Style) -> str:
    if explanation.place is None:
        short = format_size(explanation.shortage)
        text = f"No place for {explanation.role}: {short} short."
        if explanation.excess is not None and explanation.excess < explanation.shortage:
            text += f" With the others elsewhere it is {format_size(explanation.excess)}."
        if explanation.beside:
            names = " and ".join(explanation.beside)
            they = "those are" if len(explanation.beside) > 1 else "that is"
            text += f" There is none beside {names}, wherever {they} put."
        text = wrapped(text, indent="")
        return style.paint(text, Colour.RED)
    where = f"{explanation.place.start:#x}-{explanation.place.last:#x}"
    return style.paint(f"Chosen: {where}", Colour.GREEN)
