"""grub.cfg: what the menu has, and what starts by itself. Pure.

The script is run as GRUB would, with the files that it reads. What only GRUB can answer when it
runs (a key, a device, firmware) is asked both ways: where the menu or the default comes out
different, that is told, and is no default; an entry that comes out different cannot be loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pykexec.entries.grub_commands import COMMANDS
from pykexec.entries.grub_environment import Environment
from pykexec.entries.grub_files import Device
from pykexec.entries.grub_includes import INCLUDES, menu_of
from pykexec.entries.grub_loaders import LOADERS, Boot
from pykexec.entries.grub_menu import Chosen, chosen
from pykexec.entries.grub_run import Run, Shared, fresh_shared
from pykexec.entries.grub_snippets import SNIPPETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.entries.grub_files import FileReference
    from pykexec.entries.grub_syntax import Unit
    from pykexec.entries.grub_values import GrubEntry, GrubFiles, GrubMenu, SourceText

_COMMANDS = {**COMMANDS, **LOADERS, **INCLUDES, **SNIPPETS}
_QUESTIONS_MAX = 24
_STEPS_MAX = 30_000
"""Of all runs together; a single one is capped too."""
_EXPORTED = {
    "grub_cpu": "x86_64",
    "feature_menuentry_id": "y",
    "feature_menuentry_options": "y",
    "feature_all_video_module": "y",
    "feature_default_font_path": "y",
    "feature_platform_search_hint": "y",
    "feature_timeout_style": "y",
    "feature_chainloader_bpb": "y",
    "feature_ntldr": "y",
    "feature_nativedisk_cmd": "y",
    "feature_200_final": "y",
}
"""Of GRUB 2.00 and later."""


@dataclass(frozen=True, slots=True)
class GrubReading:
    """What a configuration comes to."""

    menu: GrubMenu
    chosen: Chosen
    """What starts by itself, if that is certain."""
    problems: tuple[str, ...]
    printed: str
    """By ``echo``, while the menu was read and in each line's commands."""


def read_grub(
    config: SourceText, place: FileReference, files: GrubFiles, variables: Mapping[str, str]
) -> GrubReading:
    """Run a configuration; ``variables`` are those that this GRUB sets besides the usual.

    ``place`` is how GRUB names the file. Whatever the text is, this comes to an end.
    """
    parsed: dict[tuple[str, bool], tuple[Unit, ...]] = {}
    shared, menu = _run(config, place, files, variables, {}, parsed)
    picked = chosen(menu)
    problems = list(shared.problems)
    doubts: list[str] = []
    obstacles: dict[GrubEntry, str] = {}
    steps = shared.steps
    for at, (question, (where, answer)) in enumerate(shared.unknowns.asked.items()):
        if at >= _QUESTIONS_MAX or steps > _STEPS_MAX:
            doubts.append(f"what GRUB finds, as {where} asks, and more than can be tried out")
            break
        other, menu_then = _run(config, place, files, variables, {question: not answer}, parsed)
        steps += other.steps
        matter = _difference(menu, picked, menu_then, other)
        if matter:
            problems.append(f"{where}: nobody can tell before GRUB runs {question}; {matter} on it")
        doubt = f"nobody can tell before GRUB runs {question} ({where})"
        if matter.startswith("the default"):
            doubts.append(doubt)
        if matter:
            for entry in _differing(menu, menu_then):
                obstacles.setdefault(entry, f"{doubt}, and what it starts depends on it")
    menu = _with_obstacles(menu, obstacles)
    picked = Chosen(None, doubts[0]) if doubts and picked.item is not None else chosen(menu)
    return GrubReading(
        menu, picked, tuple(problems), shared.unknowns.shown("".join(shared.printed))
    )


def _run(
    config: SourceText,
    place: FileReference,
    files: GrubFiles,
    variables: Mapping[str, str],
    answers: Mapping[str, bool],
    parsed: dict[tuple[str, bool], tuple[Unit, ...]],
) -> tuple[Shared, GrubMenu]:
    shared = fresh_shared(files, answers, _COMMANDS, parsed)
    environment = Environment()
    root = shared.unknowns.mark(Device())
    name = f"({root}){place.path}"
    for variable, value in {
        "root": root,
        "prefix": name.rpartition("/")[0],
        **_EXPORTED,
        **variables,
    }.items():
        environment.set(variable, value)
        environment.export(variable)
    shared.reading.append(config.path)
    menu = menu_of(Run(shared, environment, Boot()), config, name)
    return shared, replace(menu, lost=tuple(shared.lost))


def _difference(menu: GrubMenu, picked: Chosen, other: GrubMenu, shared: Shared) -> str:
    """Return what depends on an answer, in words before "on it"; "" for nothing."""
    then = chosen(other)
    if _what(picked) != _what(then):
        return "the default depends"
    if sorted(map(repr, menu.entries())) != sorted(map(repr, other.entries())):
        return "the menu depends"
    return ""


def _differing(menu: GrubMenu, other: GrubMenu) -> list[GrubEntry]:
    """Return the entries that start something else in another reading of the menu.

    One that is not there at all in the other is none of them: whoever sees it can start it.
    """
    starts: dict[str, set[GrubEntry]] = {}
    for entry in other.entries():
        starts.setdefault(entry.id, set()).add(_start(entry))
    return [
        entry
        for entry in menu.entries()
        if entry.id in starts and _start(entry) not in starts[entry.id]
    ]


def _start(entry: GrubEntry) -> GrubEntry:
    """Return an entry without what makes no difference to what it starts."""
    return replace(entry, title="", where="")


def _with_obstacles(menu: GrubMenu, obstacles: Mapping[GrubEntry, str]) -> GrubMenu:
    """Return a menu in which entries have obstacles, unless they have one of their own."""
    if not obstacles:
        return menu
    items = []
    for item in menu.items:
        entry, submenu = item.entry, item.submenu
        if entry is not None and entry in obstacles:
            entry = replace(entry, obstacle=entry.obstacle or obstacles[entry])
        if submenu is not None:
            submenu = _with_obstacles(submenu, obstacles)
        items.append(replace(item, entry=entry, submenu=submenu))
    return replace(menu, items=tuple(items))


def _what(picked: Chosen) -> tuple[GrubEntry | None, str, str]:
    item = picked.item
    return (item.entry if item else None, item.title if item else "", picked.doubt)
