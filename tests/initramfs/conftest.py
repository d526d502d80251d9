"""What is packed, once for all tests of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykexec.cli.initramfs_build import Built, Wish, build


@dataclass(frozen=True)
class Packed:
    """A tree that ``pykexec initramfs tree`` made."""

    tree: Path
    said: str


def run_pykexec(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``pykexec initramfs`` as users do."""
    command = [sys.executable, "-m", "pykexec.cli.main", "initramfs", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Return what ``pykexec initramfs tree`` packs for kexec."""
    tree = tmp_path_factory.mktemp("packed") / "tree"
    done = run_pykexec("tree", tree)
    assert done.returncode == 0, done.stderr
    return Packed(tree, done.stderr)


@pytest.fixture(scope="session")
def built() -> dict[str, Built]:
    """Return what is picked for each program, made when it is asked for."""

    class Lazily(dict[str, Built]):
        def __missing__(self, program: str) -> Built:
            self[program] = build(Wish((program,)))
            return self[program]

    return Lazily()


def run_verbs(program: str, work: Path) -> tuple[set[str], dict[str, object]]:
    """Return what every verb of a program has imported, and what came of each."""
    command = [sys.executable, "-m", "tests.initramfs.run_verbs", program, str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return set(found["modules"]), found["outcomes"]
