"""Programs of any Debian suite, run by their own loader and libraries beside what is here.

Nothing is installed: their packages are unpacked in the cache, as :mod:`tests.vm.debian` does it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.vm.debian import Suite

NEWEST_SUITE = "sid"


@cache
def fetched(suite: str, package: str, program: str) -> tuple[str, ...]:
    """Return the words that start ``program``, a path in ``package`` without the first slash.

    Raises :class:`~tests.vm.debian.FetchError`. Of what packages depend on only libraries are
    taken; data that the program reads it has to be told of.
    """
    source = Suite(suite)
    roots: dict[str, Path] = {}
    wanted = [package]
    while wanted:
        found = source.package(wanted.pop())
        roots[found.name] = found.root
        wanted += [
            name
            for name in found.depends
            if name.startswith("lib") and name not in roots and name not in wanted
        ]
    directories = {file.parent for root in roots.values() for file in root.rglob("*.so*")}
    loaders = roots["libc6"].rglob("ld-linux-x86-64.so.2")
    (loader,) = (path for path in loaders if not path.is_symlink())
    path = ":".join(map(str, sorted(directories)))
    return (str(loader), "--library-path", path, str(roots[package] / program))


def newest_qemu_ppc() -> tuple[str, ...]:
    """Return the words that start Debian's newest QEMU for POWER, with firmware of its own."""
    program = fetched(NEWEST_SUITE, "qemu-system-ppc", "usr/bin/qemu-system-ppc64")
    data = Suite(NEWEST_SUITE).package("qemu-system-data").root / "usr/share/qemu"
    return (*program, "-L", str(data))
