"""Compiles modules for guests; a program too, for a Python that has nothing of this project.

It is told a line for each file, "SOURCE<tab>OUT<tab>SHOWN", and says OUT when that is there.
"""

from __future__ import annotations

import py_compile
import sys


def compile_file(source: str, out: str, shown: str) -> None:
    """Write the byte code of ``source``, which says it is ``shown``; raises PyCompileError."""
    py_compile.compile(
        source,
        out,
        dfile=shown,
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    for line in sys.stdin:
        source, out, shown = line.rstrip("\n").split("\t")
        compile_file(source, out, shown)
        print(out, flush=True)
