"""Configurations of Syslinux, and of U-Boot's standard boot: extlinux.conf and the like. Pure.

Syslinux describes its own in doc/syslinux.txt, doc/menu.txt and doc/mboot.txt; U-Boot what it
takes of that and adds (FDT, FDTDIR, FDTOVERLAYS) in doc/README.pxe. Where they differ, a value is
read as the one that could have been meant: a DEFAULT that is a label is U-Boot's, whole to the end
of the line; else it is Syslinux's, a label or a kernel with words for its command line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source
from pykexec.entries.extlinux_labels import Label, bare_kernel, described, parse_labels
from pykexec.entries.menu_reading import MenuReading, with_unique_ids

if TYPE_CHECKING:
    from pykexec.entries.extlinux_labels import Labels
    from pykexec.entries.menu_reading import Surroundings


def parse_extlinux(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse a configuration, with the files that it takes in by INCLUDE and MENU INCLUDE.

    A label that cannot be understood is left out and is a problem; one that starts no Linux is
    left out, save when it is the default: then there is none.
    """
    labels = parse_labels(text, where, around.read)
    problems = list(labels.problems)
    entries: list[BootEntry] = []
    started: dict[str, BootEntry | str] = {}
    """By label, the first of its name: the entry, or what it starts instead."""
    names = with_unique_ids([label.name for label in labels.labels])
    for name, label in zip(names, labels.labels, strict=True):
        found = described(label, labels.append)
        if isinstance(found, BootEntry):
            found = replace(found, id=name)
            entries.append(found)
        elif label.problem:
            problems.append(f"{label.where}: label {label.name!r} {label.problem}")
        started.setdefault(label.name, found)
    default, reason = _default(labels, started, where)
    if default is not None and default not in entries:
        entries.append(default)
    return MenuReading(
        tuple(entries), None if default is None else default.id, reason, tuple(problems)
    )


def _default(
    labels: Labels, started: dict[str, BootEntry | str], where: str
) -> tuple[BootEntry | None, str]:
    """Return what starts by itself, and what says so."""
    for key, value in labels.wishes():
        said = f"{key} of {where}"
        first, _, words = value.partition(" ")
        if value not in started and first not in started:
            if bare_kernel(first):
                # The program that shows the menu: what the menu has counts.
                continue
            if words or "/" in first:
                return _implied(value, where), said
            return None, f"{said} names {value!r}, which is no label"
        found = started.get(value, started.get(first, ""))
        if isinstance(found, str):
            return None, f"{said}: {value!r} {found}"
        if value not in started and words.strip():
            cmdline = " ".join(part for part in (found.cmdline, words.strip()) if part)
            return replace(found, id=value, where=where, cmdline=cmdline), said
        return found, said
    for name, found in started.items():
        if isinstance(found, BootEntry):
            return found, f"the first label of {where}"
        if found:
            return None, f"the first label of {where}: {name!r} {found}"
    return None, f"{where} has no label that can be started"


def _implied(value: str, where: str) -> BootEntry:
    """Return what Syslinux makes of a DEFAULT that is no label: a kernel and its command line."""
    kernel, _, append = value.partition(" ")
    found = described(Label(kernel, where, kernel=kernel, append=append.strip()), "")
    assert isinstance(found, BootEntry)
    assert found.source is Source.EXTLINUX
    return found
