"""Run ``make demo`` and ``make test`` on pristine Debian: ``python -m tools.pristine SUITE...``.

Of each suite a minimal root is made by debootstrap, with git and make and nothing else, and a
clone of the committed state in it. What the words of STEPS do there, a newcomer's machine does.
Roots, packages and wheels are kept in the cache, outside the repository, and so is what came of
each step: the same commit is not run again, an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.vm.debian import FetchError, cache_dir
from tools.roots import (
    PACKAGES,
    SUITES,
    Bind,
    Host,
    RootError,
    bootstrap,
    configure,
    entering,
    environment,
    output,
    remove,
    run,
    this_host,
)

PROJECT = Path(__file__).resolve().parent.parent
STEPS = ("demo", "test")
"""Targets of the Makefile, each of which goes to its end whatever the one before came to."""

INCLUDED = ("git", "make")
CLONE = "root/pykexec"
CACHE = "root/.cache"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step."""

    code: int
    """That of make."""
    seconds: float
    summary: str
    """The last line that was printed."""


def place_of(suite: str) -> Path:
    """Return where roots of a suite and its packages are kept."""
    return cache_dir() / "pristine" / suite


class Root:
    """The root of one suite, and what is kept of it."""

    def __init__(self, suite: str, host: Host) -> None:
        """Nothing is made yet."""
        self.suite = suite
        self._host = host
        self._place = place_of(suite)
        self._root = self._place / "root"
        self._results = self._place / "results.json"

    def log(self, step: str) -> Path:
        """Return the file that has everything a step printed."""
        return self._place / f"{step}.log"

    def prepare(self, commit: str) -> None:
        """Make the root for ``commit``, unless the one that is there is for it."""
        self._place.mkdir(parents=True, exist_ok=True)
        if self._state().get("commit") == commit and self._root.is_dir():
            return
        self._results.unlink(missing_ok=True)
        base = bootstrap(self.suite, self._place, INCLUDED)
        remove(self._root)
        # Only a root that is complete has its name.
        partial = self._place / "partial"
        remove(partial)
        run("cp", "-a", str(base), str(partial))
        configure(partial, self.suite, self._host)
        for directory in (CACHE, f"{CACHE}/pykexec/debian/unpacked"):
            (partial / directory).mkdir(parents=True, exist_ok=True)
        run("git", "clone", "--quiet", str(PROJECT), str(partial / CLONE))
        run("git", "-C", str(partial / CLONE), "checkout", "--quiet", commit)
        partial.rename(self._root)
        self._write({"commit": commit, "steps": {}})

    def outcome(self, step: str) -> Outcome | None:
        """Return what came of a step in this root, None where it has not been to its end."""
        found = self._state().get("steps", {}).get(step)
        return None if found is None else Outcome(**found)

    def run(self, step: str) -> Outcome:
        """Run a step, and keep what comes of it."""
        started = time.monotonic()
        with self.log(step).open("wb") as log:
            done = subprocess.run(
                self._enter("make", step),
                env=environment(self._host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        lines = self.log(step).read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "")
        found = Outcome(done.returncode, round(time.monotonic() - started, 1), said.strip("= "))
        state = self._state()
        state["steps"][step] = asdict(found)
        self._write(state)
        return found

    def shell(self, command: str) -> int:
        """Run a command in the root, here on the terminal; returns its exit code."""
        words = self._enter("sh", "-c", command)
        return subprocess.run(words, env=environment(self._host), check=False).returncode

    def _state(self) -> dict[str, Any]:
        return json.loads(self._results.read_text()) if self._results.exists() else {}

    def _write(self, state: Mapping[str, Any]) -> None:
        partial = self._results.with_suffix(".new")
        partial.write_text(json.dumps(state, indent=1) + "\n")
        partial.rename(self._results)

    def _enter(self, *command: str) -> list[str]:
        """Return the words that run a command in the root."""
        own = self._place / "cache"
        # Unpacked packages are named by their versions, so all roots may share them.
        unpacked = cache_dir() / "debian" / "unpacked"
        packages = self._place / "packages"
        for directory in (own / "pykexec/debian/unpacked", unpacked, packages):
            directory.mkdir(parents=True, exist_ok=True)
        binds = (
            Bind(packages, PACKAGES, "rw"),
            Bind(own, f"/{CACHE}", "rw"),
            Bind(unpacked, f"/{CACHE}/pykexec/debian/unpacked", "rw"),
        )
        return entering(self._root, f"/{CLONE}", self._host, binds, command)


def table(commit: str, outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    """Return every outcome in a line."""
    lines = [
        f"commit {commit[:12]}",
        f"{'suite':10} {'step':6} {'result':9} {'time':>8}  last line",
    ]
    for (suite, step), found in outcomes.items():
        minutes, seconds = divmod(round(found.seconds), 60)
        result = "ok" if found.code == 0 else f"exit {found.code}"
        lines.append(
            f"{suite:10} {step:6} {result:9} {minutes:2}:{seconds:02} min  {found.summary[:60]}"
        )
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the project's words on pristine Debian.")
    parser.add_argument(
        "suites", nargs="*", default=SUITES, metavar="SUITE", help=", ".join(SUITES)
    )
    parser.add_argument("--again", action="store_true", help="also what has been run before")
    parser.add_argument("--shell", metavar="COMMAND", help="run that in each root instead")
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        print("pristine: only root can make and enter a root directory", file=sys.stderr)
        return 1
    commit = output("git", "-C", str(PROJECT), "rev-parse", "HEAD").strip()
    if output("git", "-C", str(PROJECT), "status", "--porcelain"):
        print("pristine: what is not committed is not in the clones", file=sys.stderr)
    host = this_host()
    outcomes: dict[tuple[str, str], Outcome] = {}
    try:
        for suite in arguments.suites:
            root = Root(suite, host)
            print(f"pristine: {suite}: preparing", flush=True)
            root.prepare(commit)
            if arguments.shell:
                root.shell(arguments.shell)
                continue
            for step in STEPS:
                found = root.outcome(step)
                if found is None or found.code != 0 or arguments.again:
                    print(f"pristine: {suite}: make {step}, log {root.log(step)}", flush=True)
                    found = root.run(step)
                outcomes[suite, step] = found
                print(f"pristine: {suite}: make {step}: exit {found.code}", flush=True)
    except (RootError, FetchError) as error:
        print(f"pristine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pristine: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if outcomes:
        print(table(commit, outcomes))
    return int(any(found.code for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
