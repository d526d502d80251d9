"""Check an installation of pykexec, or a build of it that PYTHONPATH leads to.

Imports every module, reads every object that was built for it against its manifest, and asks each
program for its version. Packages run it when they are built and when they are tested; it needs
nothing but what pykexec needs, and does nothing to the machine.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pykexec
from pykexec import launchers, purgatory_objects

PROGRAMS = {"pykexec": "pykexec", "kexec": "kexec", "vmcore_dmesg": "vmcore-dmesg"}
"""By the name of the function in ``pykexec.cli.front_door``."""


def modules() -> list[str]:
    """Return the names of all modules, the package itself first."""
    found = pkgutil.walk_packages(pykexec.__path__, "pykexec.", onerror=_give_up)
    return ["pykexec", *sorted(module.name for module in found)]


def _give_up(name: str) -> None:
    raise ImportError(f"cannot import {name}")


def check_objects() -> list[str]:
    """Return the names of the built objects, each of them read and compared with its digest."""
    manifest = json.loads((purgatory_objects.DIRECTORY / "MANIFEST.json").read_text())
    for name in manifest["objects"]:
        purgatory_objects.load(name)
    for name in manifest["starts"]:
        purgatory_objects.load_start(name)
    names = [*manifest["objects"], *(f"start-{name}" for name in manifest["starts"])]
    manifest = json.loads((launchers.DIRECTORY / "MANIFEST.json").read_text())
    for name in manifest["launchers"]:
        launchers.load(name)
    return [*names, *(f"launcher-{name}" for name in manifest["launchers"])]


def check_programs() -> None:
    """Start each program as it is installed here, by its function, in a process of its own."""
    for function, name in PROGRAMS.items():
        code = f"from pykexec.cli.front_door import {function} as run; run()"
        words = [sys.executable, "-c", code, "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0 or pykexec.__version__ not in done.stdout:
            raise SystemExit(f"smoke check: {name} --version: {done}")


def main() -> None:
    """Check everything; say what was checked."""
    names = modules()
    for name in names:
        importlib.import_module(name)
    objects = check_objects()
    check_programs()
    place = Path(pykexec.__file__).parent
    print(f"smoke check: {len(names)} modules in {place}, {', '.join(objects)}: ok")


if __name__ == "__main__":
    main()
