"""What a change took beside its own place: ``python -m tools.touched PATTERN [--files]``.

Counted are the modules that pykexec has today outside the rooms of architectures and that commits
touched whose subject has PATTERN in it, a regular expression: ``riscv``, ``s390|IBM Z``, ``loong``.
It is how much of the house an architecture reaches, and whether the next one reaches less.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

from pykexec.architectures import KNOWN
from tools.structure import PACKAGE

FORMATS_OF_ONE = frozenset(
    f"formats/{name}.py" for name in ("bzimage", "ipl_image", "multiboot", "vmlinux_efi", "zimage")
)
"""Files that only one architecture's kernels are: whom they are for is part of them."""
_ROOMS = {"architectures", *(item.room for item in KNOWN)}


def in_a_room(name: str) -> bool:
    """Tell whether a module, by its path below the package, is of one architecture."""
    parts = PurePosixPath(name).with_suffix("").parts
    return name in FORMATS_OF_ONE or not _ROOMS.isdisjoint(parts)


def touched(pattern: str, repository: Path = PACKAGE.parent) -> tuple[int, set[str]]:
    """Return how many commits there are, and the modules outside of rooms, by path."""
    log = subprocess.run(
        ["git", "log", "--no-merges", "--no-renames", "--name-only", "--format=%x00%s"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commits, found = 0, set()
    for commit in log.split("\0")[1:]:
        subject, *names = commit.splitlines()
        if re.search(pattern, subject, re.IGNORECASE):
            commits += 1
            found |= {
                name.removeprefix("pykexec/")
                for name in names
                if name.startswith("pykexec/") and name.endswith(".py")
            }
    here = repository / "pykexec"
    return commits, {name for name in found if (here / name).exists() and not in_a_room(name)}


def main(arguments: list[str]) -> int:
    """Print the count; with ``--files`` also the modules."""
    patterns = [word for word in arguments if word != "--files"]
    if len(patterns) != 1:
        print("usage: python -m tools.touched PATTERN [--files]", file=sys.stderr)
        return 2
    commits, found = touched(patterns[0])
    print(f"{len(found)} modules outside of rooms, by {commits} commits")
    if "--files" in arguments:
        print("\n".join(sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
