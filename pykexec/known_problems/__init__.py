"""What is known to go wrong where: ``problems.toml``, which is made to be added to.

Reads nothing but that file.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pykexec.doctor import Level
from pykexec.doctor.known import Problem
from pykexec.values.calls import Target
from pykexec.values.errors import MachineError

FILE = Path(__file__).with_name("problems.toml")

_LISTS = ("links", "arch", "compatible", "modules", "buses", "config")
_KEYS = frozenset(Problem.__slots__)


@cache
def load() -> tuple[Problem, ...]:
    """Return the list; raises :class:`MachineError` when the file is missing or damaged."""
    try:
        text = FILE.read_text(encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"cannot read {FILE}: {error.strerror}", hint="pykexec is damaged; install it again"
        ) from error
    return parse_problems(text, str(FILE))


def parse_problems(text: str, where: str) -> tuple[Problem, ...]:
    """Parse the list; raises :class:`MachineError` with the row and the key that is wrong."""
    try:
        rows = tomllib.loads(text).get("problem", [])
        return tuple(_problem(row, f"{where}, problem {row.get('id')!r}") for row in rows)
    except (tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        raise MachineError(f"{where} is no list of problems: {error}") from error


def _problem(row: dict[str, Any], where: str) -> Problem:
    unknown = row.keys() - _KEYS
    missing = {"id", "summary", "advice", "links", "level"} - row.keys()
    if unknown or missing:
        what = f"unknown {sorted(unknown)}" if unknown else f"without {sorted(missing)}"
        raise MachineError(f"{where}: {what}")
    values: dict[str, Any] = {
        key: tuple(value) if key in _LISTS else value for key, value in row.items()
    }
    releases = row.get("releases", [])
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in releases):
        raise MachineError(f"{where}: releases are pairs of versions, from and below")
    try:
        values["releases"] = tuple((str(first), str(fixed)) for first, fixed in releases)
        values["level"] = Level(row["level"])
        values["target"] = Target(row["target"]) if "target" in row else None
    except ValueError as error:
        raise MachineError(f"{where}: {error}") from error
    return Problem(**values)
