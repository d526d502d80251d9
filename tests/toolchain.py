"""The compiler and the linker that tests build with: those of the purgatory, in any suite."""

from __future__ import annotations

import shutil

TOOLCHAINS = (("clang-19", "ld.lld-19"), ("clang", "ld.lld"))
"""Pairs; of purgatory/build.py, which must run without the tests."""
MISSING = "no clang with ld.lld here (Debian packages clang-19 and lld-19, or clang and lld)"


def find_toolchain() -> tuple[str, str] | None:
    """Return the names of the first pair of which both are here, None without any."""
    return next((pair for pair in TOOLCHAINS if all(map(shutil.which, pair))), None)
