"""The built purgatories that pykexec carries, as purgatory/build.py wrote them here.

Beside them lie the programs that stand for the running kernel in a simulation.

Reads nothing but these files, and those only when asked for an object.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pykexec.errors import MachineError, OptionError
from pykexec.purgatory import PurgatoryObject, Symbol

DIRECTORY = Path(__file__).parent
_MANIFEST = "MANIFEST.json"


@cache
def load(arch: str) -> PurgatoryObject:
    """Return the purgatory for ``arch``, checked against its SHA-256 in the manifest.

    Raises :class:`OptionError` when there is none for ``arch``, :class:`MachineError` when a
    file is missing or damaged.
    """
    return load_from(DIRECTORY, arch)


def load_from(directory: Path, arch: str) -> PurgatoryObject:
    """Return the purgatory for ``arch`` from a directory that purgatory/build.py wrote."""
    manifest = directory / _MANIFEST
    try:
        objects = _read_manifest(manifest)["objects"]
        if arch not in objects:
            raise OptionError(
                f"there is no purgatory for {arch!r}", hint=f"there is one for {', '.join(objects)}"
            )
        entry = objects[arch]
        data = _read_described(directory, entry)
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
        raise _damaged(manifest, f"{type(error).__name__}: {error}") from error


@cache
def load_start(arch: str) -> bytes:
    """Return the start program for ``arch``, checked as a purgatory is; see purgatory/start."""
    manifest = DIRECTORY / _MANIFEST
    try:
        return _read_described(DIRECTORY, _read_manifest(manifest)["starts"][arch])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(manifest, f"{type(error).__name__}: {error}") from error


def _read_manifest(manifest: Path) -> dict[str, Any]:
    import json

    value: dict[str, Any] = json.loads(_read(manifest))
    return value


def _read_described(directory: Path, entry: dict[str, Any]) -> bytes:
    from hashlib import sha256

    path = directory / entry["file"]
    data = _read(path)
    if sha256(data).hexdigest() != entry["sha256"] or len(data) != entry["size"]:
        raise _damaged(path, f"{len(data)} bytes, not those that {_MANIFEST} describes")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _damaged(path: Path, what: str) -> MachineError:
    return MachineError(
        f"cannot use the purgatory {path}: {what}", hint="pykexec is damaged; install it again"
    )
