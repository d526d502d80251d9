"""Configurations of Syslinux, and of U-Boot's standard boot: extlinux.conf and the like. Pure.

Syslinux describes its own in doc/syslinux.txt, doc/menu.txt and doc/mboot.txt; U-Boot what it
takes of that and adds (FDT, FDTDIR, FDTOVERLAYS) in doc/README.pxe. Where they differ, a value is
read as the one that could have been meant: a DEFAULT that is a label is U-Boot's, whole to the end
of the line; else it is Syslinux's, a label or a kernel with words for its command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source
from pykexec.entries.extlinux_labels import Label, bare_kernel, described, is_menu, parse_labels
from pykexec.entries.menu_reading import MenuReading, with_unique_ids
from pykexec.values.data_classes import replace

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
    doubled: set[str] = set()
    """Labels of which there are two that start different things."""
    for name, label in zip(names, labels.labels, strict=True):
        found = described(label, labels.append)
        if isinstance(found, BootEntry):
            found = replace(found, id=name, notes=(*found.notes, *labels.notes))
            entries.append(found)
        elif label.problem:
            problems.append(f"{label.where}: label {label.name!r} {label.problem}")
        if _start(started.setdefault(label.name, found)) != _start(found):
            doubled.add(label.name)
    default, reason = _default(labels, started, where)
    if default is not None and default.id in doubled:
        reason += f": there are two labels {default.id!r}, and boot loaders differ in which counts"
        default = None
    if default is not None and default not in entries:
        entries.append(default)
    return MenuReading(
        tuple(entries), None if default is None else default.id, reason, tuple(problems)
    )


def _start(found: BootEntry | str) -> BootEntry | str:
    return found if isinstance(found, str) else replace(found, id="", title="", where="")


def _default(
    labels: Labels, started: dict[str, BootEntry | str], where: str
) -> tuple[BootEntry | None, str]:
    """Return what starts by itself, and what says so."""
    if labels.endless:
        return None, f"{labels.endless} takes in what has it: no boot loader comes to an end of it"
    if labels.saves:
        return None, f"{where} has Syslinux start what was chosen last (MENU SAVE)"
    if labels.interface and not is_menu(labels.interface):
        return None, f"UI of {where} starts {labels.interface}, which is not known here"
    for key, value in labels.wishes():
        said = f"{key} of {where}"
        first, _, words = value.partition(" ")
        if value not in started and first not in started:
            if is_menu(value):
                # What the menu has counts.
                continue
            if bare_kernel(first):
                return None, f"{said} starts {first}, which is no Linux kernel"
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
    return _of_the_menu(labels, started, where)


def _of_the_menu(
    labels: Labels, started: dict[str, BootEntry | str], where: str
) -> tuple[BootEntry | None, str]:
    """Return what a menu starts where no keyword outside of the labels names it."""
    said = f"MENU DEFAULT of {where}"
    named = list(dict.fromkeys(label.name for label in labels.menu_defaults))
    if len(named) > 1:
        return (
            None,
            f"{said} stands in {len(named)} labels, and boot loaders differ in which counts",
        )
    if not named:
        said = f"the first label of {where}"
        named = [label.name for label in labels.labels if label.is_first and not label.problem][:1]
    if not named:
        return None, f"{where} has no label that can be started"
    found = started[named[0]]
    return (None, f"{said}: {named[0]!r} {found}") if isinstance(found, str) else (found, said)


def _implied(value: str, where: str) -> BootEntry:
    """Return what Syslinux makes of a DEFAULT that is no label: a kernel and its command line."""
    kernel, _, append = value.partition(" ")
    found = described(Label(kernel, where, kernel=kernel, append=append.strip()), "")
    assert isinstance(found, BootEntry)
    assert found.source is Source.EXTLINUX
    return found
