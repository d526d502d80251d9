"""Build wheel and sdist: ``python -m tools.distributions [DIR]``, into dist/ where none is named.

They are made from a copy of the files that git knows, as they are in the tree: what else lies
about does not get in. The same files give the same bytes, whenever and wherever they are built,
with the same hatchling.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TARGETS = ("sdist", "wheel")


def tracked() -> list[str]:
    """Return the files of the project, by their names in it, sorted."""
    listed = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files", "-z"], capture_output=True, check=True
    )
    names = os.fsdecode(listed.stdout).split("\0")
    return sorted(name for name in names if name and (PROJECT / name).is_file())


def copy_tree(names: Iterable[str], target: Path) -> None:
    """Copy files of the project into an empty directory."""
    for name in names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, place)


def build(source: Path, out: Path, targets: Iterable[str] = TARGETS) -> list[Path]:
    """Build from a directory that has what an sdist has; returns the files, in ``targets``' order.

    Raises :class:`subprocess.CalledProcessError` with what hatchling printed.
    """
    built = []
    # Its own date, the same for all, and none that the caller happens to have set.
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    for target in targets:
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out.resolve())],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        # The path is the last line on whichever stream the version prints to.
        lines = (done.stdout + done.stderr).split("\n")
        built.append(Path(next(line for line in lines if line.startswith("/"))))
    return built


def build_project(out: Path, targets: Iterable[str] = TARGETS) -> list[Path]:
    """Build from the project as it is."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        copy_tree(tracked(), Path(directory))
        return build(Path(directory), out, targets)


def main(words: Sequence[str]) -> int:
    """Run everything; returns the exit code."""
    try:
        for path in build_project(Path(words[0]) if words else PROJECT / "dist"):
            print(path)
    except subprocess.CalledProcessError as error:
        print(f"distributions: {error}\n{error.stderr}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
