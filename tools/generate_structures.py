"""Write the tables of structures, ``_structures.py`` in the package, from ``tools/structures.py``.

Run ``python -m tools.generate_structures`` after a change there; ``--check`` compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from construct import Array, Bytes, Construct, FormatField, Padded, Pass, Renamed, Struct

from tools.structures import MODULES

PACKAGE = Path(__file__).resolve().parent.parent / "pykexec"
_HEAD = '''\
"""Tables of structures: name, offset in bytes, and format or structure of each field.

Written by tools/generate_structures.py, from tools/structures.py.
"""

from pykexec.formats.structs import Field, Structure
'''


class UnknownFormError(Exception):
    """A declaration uses what the tables have no form for."""


def generate(structures: Mapping[str, Struct]) -> str:
    """Return the source of the module with these structures, by their names."""
    names = {id(structure): name for name, structure in structures.items()}
    return _HEAD + "".join(
        f"\n{name} = Structure(\n"
        f"    {structure.sizeof()},\n"
        + "".join(f"    Field({row}),\n" for row in _rows(structure, names))
        + ")\n"
        for name, structure in structures.items()
    )


def _rows(structure: Struct, names: Mapping[int, str]) -> Iterator[str]:
    """Yield the arguments of each field of a structure, but for its padding."""
    offset = 0
    for field in structure.subcons:
        if isinstance(field, Renamed):
            yield f'"{field.name}", 0x{offset:03X}, {_kind(field.subcon, names)}'
        elif not (isinstance(field, Padded) and field.subcon is Pass):
            raise UnknownFormError(f"a field without a name: {field!r}")
        offset += field.sizeof()


def _kind(field: Construct, names: Mapping[int, str]) -> str:
    """Return what a field is, as ``struct`` or a structure's name has it."""
    if isinstance(field, FormatField):
        return f'"{field.fmtstr}"'
    if isinstance(field, Bytes) and isinstance(field.length, int):
        return f'"{field.length}s"'
    if isinstance(field, Array):
        return f"{_kind(field.subcon, names)}, {field.count}"
    if id(field) in names:
        return names[id(field)]
    raise UnknownFormError(f"there is no form for {field!r}")


def main(arguments: list[str]) -> int:
    """Write the modules, or compare them when asked to."""
    stale = 0
    for directory, structures in MODULES.items():
        target = PACKAGE / directory / "_structures.py"
        source = generate(structures)
        if "--check" not in arguments:
            target.write_text(source, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != source:
            print(f"{target} is not what tools/generate_structures.py writes", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
