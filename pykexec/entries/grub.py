"""grub.cfg: what the menu has, and what starts by itself. Pure.

The script is run as GRUB would, with the files that it reads. What only GRUB can answer when it
runs (a key, a device, firmware) is asked both ways: where the menu or the default comes out
different, that is told, and is no default.
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
        if matter.startswith("the default"):
            doubts.append(f"nobody can tell before GRUB runs {question} ({where})")
    if doubts and picked.item is not None:
        picked = Chosen(None, doubts[0])
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


def _what(picked: Chosen) -> tuple[GrubEntry | None, str, str]:
    item = picked.item
    return (item.entry if item else None, item.title if item else "", picked.doubt)
