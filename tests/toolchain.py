"""The compiler and the linker that tests build with: those of the purgatory, in any suite."""

from __future__ import annotations

import re
import shutil

TOOLCHAINS = (("clang-19", "ld.lld-19"), ("clang", "ld.lld"))
"""Pairs; of purgatory/build.py, which must run without the tests."""
MISSING = "no clang with ld.lld here (Debian packages clang-19 and lld-19, or clang and lld)"


def find_toolchain() -> tuple[str, str] | None:
    """Return the names of the first pair of which both are here, None without any."""
    return next((pair for pair in TOOLCHAINS if all(map(shutil.which, pair))), None)


def but_for_the_compiler(data: bytes) -> bytes:
    """Return a built file without what a manifest says of the compiler's package.

    Debian's suites have clang 19 in builds of their own, which make the same bytes.
    """
    return re.sub(rb'"compiler": "[^"]*"', b"", data)
