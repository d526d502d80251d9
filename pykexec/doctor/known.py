"""Pairs of platforms, kernels and drivers that are known to go wrong: which are here? Pure.

The list is :mod:`pykexec.known_problems`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pykexec.doctor import Finding, Level
from pykexec.entries.versions import version_key
from pykexec.values.calls import Target
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.doctor import Surroundings
    from pykexec.values.facts import MachineFacts


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the list. All conditions that are given must hold."""

    id: str
    summary: str
    advice: str
    links: tuple[str, ...]
    level: Level
    target: Target | None = None
    """Loads that it concerns; None: both."""
    arch: tuple[str, ...] = ()
    dmi: dict[str, str] = field(default_factory=dict)
    """Shell patterns for what /sys/class/dmi/id says."""
    compatible: tuple[str, ...] = ()
    """Shell patterns, one of which matches the device tree's root."""
    modules: tuple[str, ...] = ()
    """Any of them is loaded."""
    buses: tuple[str, ...] = ()
    """Any of them has devices."""
    releases: tuple[tuple[str, str], ...] = ()
    """The running kernel is of one of these: (this version or later, earlier than this one)."""
    config: tuple[str, ...] = ()
    """The running kernel was built with all of these options, as far as its configuration can be
    found: where it cannot, they count as if it were not."""

    def applies(self, facts: MachineFacts, around: Surroundings, target: Target) -> bool:
        """Tell whether this machine, and this kind of load, are concerned."""
        if self.target not in (None, target) or (self.arch and facts.arch not in self.arch):
            return False
        if not all(_matches(around.dmi.get(key, ""), self.dmi[key]) for key in self.dmi):
            return False
        if self.compatible and not any(
            _matches(name, pattern) for name in compatible_of(facts) for pattern in self.compatible
        ):
            return False
        if self.modules and not around.modules.intersection(self.modules):
            return False
        if self.buses and not around.buses.intersection(self.buses):
            return False
        built = around.config
        if self.config and (built is None or not all(map(built.has, self.config))):
            return False
        release = version_key(facts.kernel.release)
        return not self.releases or any(
            version_key(first) <= release < version_key(fixed) for first, fixed in self.releases
        )


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text.lower(), pattern.lower())


def compatible_of(facts: MachineFacts) -> tuple[str, ...]:
    """Return ``compatible`` of the device tree's root; nothing without a tree that can be read."""
    from pykexec.formats.device_tree import parse_device_tree
    from pykexec.values.errors import ImageError

    if facts.device_tree is None:
        return ()
    try:
        value = parse_device_tree(facts.device_tree).root.get("compatible") or b""
    except ImageError:
        return ()
    return tuple(value.decode("utf-8", "replace").strip("\0").split("\0"))


def known_problems(
    problems: Iterable[Problem], facts: MachineFacts, around: Surroundings, target: Target
) -> list[Finding]:
    """Return a finding for each problem that this machine has."""
    return [
        Finding(
            check=f"known:{problem.id}",
            level=problem.level,
            text=problem.summary,
            advice=problem.advice,
            links=problem.links,
        )
        for problem in problems
        if problem.applies(facts, around, target)
    ]
