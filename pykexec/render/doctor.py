"""What the doctor found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.doctor import Level
from pykexec.render.lines import behind, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.doctor import Finding
    from pykexec.values.calls import Target

_HEAD = 28
"""Columns of level and check."""


def doctor_text(found: Sequence[Finding], target: Target) -> str:
    """List what is not fine, the worst first, then the rest in a line, then the verdict."""
    lines = _lines_of(found, Level.BLOCKS, Level.RISK, Level.NOTE)
    fine = [finding.check for finding in found if finding.level is Level.FINE]
    if fine:
        lines.append(wrapped(f"fine: {', '.join(fine)}", indent=""))
    lines.append(wrapped(f"verdict: {verdict(found, target)}", indent=""))
    return "\n".join(lines) + "\n"


def behind_verdict(found: Sequence[Finding]) -> list[Finding]:
    """Return what the verdict rests on."""
    return [finding for finding in found if finding.level in (Level.BLOCKS, Level.RISK)]


def verdict_text(found: Sequence[Finding], target: Target) -> str:
    """Return the verdict in a line, below what is behind it: what blocks and what is a risk."""
    lines = _lines_of(found, Level.BLOCKS, Level.RISK)
    return "\n".join([*lines, wrapped(f"verdict: {verdict(found, target)}", indent="")]) + "\n"


def doctor_lines(found: Sequence[Finding]) -> str:
    """List all that was found, the worst first, with what is fine in words too."""
    return "\n".join(_lines_of(found, *Level)) + "\n"


def verdict(found: Sequence[Finding], target: Target) -> str:
    """Return the whole in a sentence."""
    blocking = [finding.check for finding in found if finding.level is Level.BLOCKS]
    if blocking:
        return f"a {target.value} load is blocked: {', '.join(dict.fromkeys(blocking))}"
    risky = [finding.check for finding in found if finding.level is Level.RISK]
    risks = f", but there are risks: {', '.join(risky)}" if risky else ""
    return f"nothing is known to block a {target.value} load{risks}"


def _lines_of(found: Sequence[Finding], *levels: Level) -> list[str]:
    return [
        line
        for level in levels
        for finding in found
        if finding.level is level
        for line in _finding_lines(finding)
    ]


def _finding_lines(finding: Finding) -> list[str]:
    head = f"{finding.level.value.upper():<7} {finding.check:<{_HEAD - 9}} "
    lines = [_behind(head, finding.text)]
    below = " " * _HEAD
    if finding.source:
        lines.append(_behind(f"{below}from ", finding.source))
    if finding.advice:
        lines.append(_behind(f"{below}do:  ", finding.advice))
    lines += [_behind(f"{below}see  ", link) for link in finding.links]
    return lines


def _behind(head: str, text: str) -> str:
    return behind(head, text, _HEAD, break_long_words=False)


def doctor_value(found: Sequence[Finding], target: Target) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.doctor/1``."""
    return {
        "schema": "pykexec.doctor/1",
        "target": target.value,
        "blocked": any(finding.level is Level.BLOCKS for finding in found),
        "verdict": verdict(found, target),
        "findings": [
            {
                "check": finding.check,
                "level": finding.level.value,
                "text": finding.text,
                "source": finding.source or None,
                "advice": finding.advice or None,
                "links": list(finding.links),
            }
            for finding in found
        ],
    }
