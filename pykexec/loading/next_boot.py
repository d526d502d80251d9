"""Reads what firmware would boot after it has taken a dump."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.values.errors import ImageError, PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pykexec.doctor.next_boot import NextBoot
    from pykexec.entries import BootEntry


def read_next_boot(root: Path | str, release: str, arch: str) -> NextBoot | None:
    """Return it for the system below ``root``; None where that is a record without /boot."""
    from pykexec.doctor.next_boot import NextBoot
    from pykexec.machine.boot_entries import read_boot_entries

    if not os.path.isdir(os.path.join(root, "boot")):
        return None
    found = read_boot_entries(root, arch)
    entry = found.default
    if entry is None:
        return NextBoot(release, why_none=found.reason)
    names, problem = None, ""
    try:
        names = _names(entry.initrds)
    except PykexecError as error:
        problem = error.message
    version = _version_of(entry)
    return NextBoot(
        release,
        entry=entry.id,
        where=entry.where,
        version=version,
        initrds=entry.initrds,
        names=names,
        problem=problem,
        processors=_processors(root, {release, version}),
    )


def _version_of(entry: BootEntry) -> str:
    """Return the kernel's release, by the configuration or by the name of the file."""
    return entry.version or os.path.basename(entry.kernel).partition("-")[2]


def _names(initrds: Iterable[str]) -> frozenset[str]:
    from pykexec.formats.initramfs import initramfs_names
    from pykexec.loading.files import map_file

    names: set[str] = set()
    for path in initrds:
        names |= initramfs_names(map_file(path, "initrd").data)
    if not names:
        raise ImageError("the entry has no initrd")
    return frozenset(names)


def _processors(root: Path | str, releases: Iterable[str]) -> dict[str, int]:
    from pykexec.doctor.next_boot import processors_of
    from pykexec.machine.boot_tree import BootTree

    tree, found = BootTree(root), {}
    for release in releases:
        for name in (f"/boot/config-{release}", f"/usr/lib/modules/{release}/config"):
            try:
                text = tree.text(name) if release and "/" not in release else None
            except OSError:
                continue
            number = processors_of(text.splitlines()) if text else None
            if number is not None:
                found[release] = number
    return found
