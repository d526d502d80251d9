"""Debian packages as if they were installed, below a directory: unpacked, and never run as root's.

tests/vm/debian.py fetches them; nothing on this machine changes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.needs import unavailable
from tests.vm.debian import FetchError, Suite

PROJECT = Path(__file__).resolve().parents[2]
MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into usr, on every Debian that this runs on."""

PYTHONS = {"bookworm": "3.11", "trixie": "3.13", "testing": "3.14"}
"""What each suite has."""
_SSL = {"bookworm": "libssl3", "trixie": "libssl3t64", "testing": "libssl3t64"}
_NEEDED = (
    *("libc6", "libexpat1", "zlib1g", "liblzma5", "libbz2-1.0", "libzstd1", "liblz4-1"),
    *("libxxhash0", "libffi8", "python3-minimal", "python3-click", "python3-construct"),
    *("python3-pyelftools", "python3-cffi-backend"),
)


def unpacked(suite: str, names: Iterable[str], place: Path) -> Path:
    """Lay packages out below ``place``, which may have others already, and return it."""
    for name in names:
        try:
            root = Suite(suite).package(name).root
        except FetchError as error:
            unavailable(str(error))
        for top in sorted(root.iterdir()):
            target = place / ("usr" if top.name in MERGED else "") / top.name
            shutil.copytree(top, target, symlinks=True, dirs_exist_ok=True)
    return place


def python_root(suite: str, place: Path) -> Path:
    """Return a root directory with a suite's Python and its libraries, and this pykexec."""
    version = PYTHONS[suite]
    python = (f"python{version}-minimal", f"libpython{version}-minimal")
    wanted = (*python, f"libpython{version}-stdlib", _SSL[suite], *_NEEDED)
    unpacked(suite, wanted, place)
    for name in MERGED:
        if (place / "usr" / name).is_dir():
            (place / name).symlink_to(f"usr/{name}")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "pykexec", place / "usr/share/pykexec/pykexec", ignore=without)
    return place
