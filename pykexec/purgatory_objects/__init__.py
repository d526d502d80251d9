"""The built purgatories that pykexec carries, as purgatory/build.py wrote them here.

Reads nothing but these files, and those only when asked for an object.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pykexec.errors import MachineError, OptionError
from pykexec.purgatory import PurgatoryObject, Symbol

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
    import json
    from hashlib import sha256

    manifest = directory / "MANIFEST.json"
    try:
        objects = json.loads(_read(manifest))["objects"]
        if arch not in objects:
            raise OptionError(
                f"there is no purgatory for {arch!r}", hint=f"there is one for {', '.join(objects)}"
            )
        entry = objects[arch]
        path = directory / entry["file"]
        data = _read(path)
        if sha256(data).hexdigest() != entry["sha256"] or len(data) != entry["size"]:
            raise _damaged(path, f"{len(data)} bytes, not those that {manifest.name} describes")
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _damaged(path: Path, what: str) -> MachineError:
    return MachineError(
        f"cannot use the purgatory {path}: {what}", hint="pykexec is damaged; install it again"
    )
