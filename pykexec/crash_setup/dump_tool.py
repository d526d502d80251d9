"""Whether makedumpfile knows a kernel, and what it may leave out then. Pure.

It finds the pages that it leaves out by the layout of the kernel's structures. On a kernel that is
newer than what it knows it warns and goes on; the dump may then lack pages that were in use.
"""

from __future__ import annotations

import re

from pykexec.values.data_classes import dataclass

NEWEST_KERNEL: dict[str, tuple[int, int]] = {
    "1.7.2": (6, 0),
    "1.7.3": (6, 3),
    "1.7.4": (6, 6),
    "1.7.5": (6, 8),
    "1.7.6": (6, 11),
    "1.7.7": (6, 14),
    "1.7.8": (6, 17),
    "1.7.9": (7, 0),
}
"""The newest kernel that each release says it supports: LATEST_VERSION in its makedumpfile.h."""
WITHOUT_UNUSED = "-l --message-level 7 -d 31"
"""Leaves out zero, cache, user and free pages: makedumpfile(8), "-d"."""
WITHOUT_ZEROS = "-l --message-level 7 -d 1"
"""Leaves out zero pages only: that needs no layout of the kernel's."""


@dataclass(frozen=True, slots=True)
class DumpTool:
    """What is to copy the memory, and why that."""

    arguments: str
    """Of makedumpfile; "" for a plain copy."""
    knows_kernel: bool
    """It may leave out what is not in use."""
    reason: str
    advice: str = ""


def _series(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def parse_version(text: str) -> str:
    """Return the release in what ``makedumpfile -v`` prints, "" where there is none."""
    found = re.search(r"makedumpfile: version (\d+\.\d+\.\d+)", text)
    return found[1] if found else ""


def choose(version: str, release: str) -> DumpTool:
    """Choose for makedumpfile ``version`` ("" for none) and the kernel ``release``."""
    if not version:
        return DumpTool(
            "",
            False,
            "makedumpfile is not installed: all memory is copied as it is",
            "install makedumpfile",
        )
    older = [known for known in NEWEST_KERNEL if _series(known) <= _series(version)]
    kernel = _series(release)[:2]
    if not older:
        first = next(iter(NEWEST_KERNEL))
        known = f"makedumpfile {version} is older than {first}, the first that is known here"
    else:
        newest = NEWEST_KERNEL[older[-1]]
        known = f"makedumpfile {version} knows kernels up to {newest[0]}.{newest[1]}"
        if version not in NEWEST_KERNEL:
            known = f"makedumpfile {version} is not known here; {older[-1]} knows kernels up to "
            known += f"{newest[0]}.{newest[1]}"
        if kernel <= newest:
            return DumpTool(WITHOUT_UNUSED, True, f"{known}, and this one is {release}")
    return DumpTool(
        WITHOUT_ZEROS,
        False,
        f"{known}, and this one is {release}: only pages of zeros are left out",
        "install a newer makedumpfile, for smaller dumps",
    )
