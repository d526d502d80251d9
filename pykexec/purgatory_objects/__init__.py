"""The built purgatories that pykexec carries, as purgatory/build.py wrote them here.

Beside them lie the programs that stand for the running kernel in a simulation.

Reads nothing but these files, and those only when asked for an object.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pykexec.built_files import BuiltFiles
from pykexec.purgatory_objects.parameters import PurgatoryObject, Symbol
from pykexec.values.errors import OptionError

DIRECTORY = Path(__file__).parent


@cache
def load(arch: str) -> PurgatoryObject:
    """Return the purgatory for ``arch``, checked against its SHA-256 in the manifest.

    Raises :class:`OptionError` when there is none for ``arch``, :class:`MachineError` when a
    file is missing or damaged.
    """
    return load_from(DIRECTORY, arch)


def load_from(directory: Path, arch: str) -> PurgatoryObject:
    """Return the purgatory for ``arch`` from a directory that purgatory/build.py wrote."""
    files = BuiltFiles(directory, "purgatory")
    objects = files.entries("objects")
    if arch not in objects:
        raise OptionError(
            f"there is no purgatory for {arch!r}", hint=f"there is one for {', '.join(objects)}"
        )
    entry = objects[arch]
    try:
        data = files.described(entry)
        return PurgatoryObject(
            arch=arch,
            data=data,
            memsz=entry["memsz"],
            align=entry["align"],
            entry=entry["entry"],
            symbols={
                name: Symbol(symbol["offset"], symbol["size"])
                for name, symbol in entry["symbols"].items()
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise files.damaged_manifest(error) from error


@cache
def load_start(arch: str) -> bytes:
    """Return the start program for ``arch``, checked as a purgatory is; see purgatory/start."""
    files = BuiltFiles(DIRECTORY, "purgatory")
    try:
        return files.described(files.entries("starts")[arch])
    except (ValueError, KeyError, TypeError) as error:
        raise files.damaged_manifest(error) from error
