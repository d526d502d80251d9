"""grub.cfg: what the menu has, and what starts by itself. Pure.

The script is run as GRUB would, with the files that it reads. What only GRUB can answer when it
runs (a key, a device, firmware) is asked both ways: where the menu or the default comes out
different, that is told, and is no default; an entry that comes out different cannot be loaded.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from pykexec.entries.grub_boot import Boot
from pykexec.entries.grub_commands import COMMANDS
from pykexec.entries.grub_environment import Environment
from pykexec.entries.grub_files import Device
from pykexec.entries.grub_includes import INCLUDES, menu_of
from pykexec.entries.grub_loaders import LOADERS
from pykexec.entries.grub_menu import Chosen, chosen
from pykexec.entries.grub_run import Run, Shared, fresh_shared
from pykexec.entries.grub_snippets import SNIPPETS
from pykexec.values.data_classes import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pykexec.entries.grub_files import FileReference
    from pykexec.entries.grub_syntax import Unit
    from pykexec.entries.grub_values import GrubEntry, GrubFiles, GrubMenu, SourceText

_COMMANDS = {**COMMANDS, **LOADERS, **INCLUDES, **SNIPPETS}
_QUESTIONS_MAX = 32
_PAIRS_MAX = 36
"""All of 9 questions."""
_STEPS_MAX = 30_000
"""Of all runs together; a single one is capped too."""
_EXPORTED = {
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
    config: SourceText,
    place: FileReference,
    files: GrubFiles,
    variables: Mapping[str, str],
    otherwise: Mapping[str, str] | None = None,
) -> GrubReading:
    """Run a configuration; ``variables`` are those that this GRUB sets besides the usual.

    ``otherwise`` has them for the other kind of firmware, where nothing tells which one starts this
    GRUB. ``place`` is how GRUB names the file. Whatever the text is, this comes to an end.
    """
    trials = _Trials(config, place, files, (variables, otherwise))
    shared, menu = trials.run({})
    picked = chosen(menu)
    problems = list(shared.problems)
    doubts: list[str] = []
    obstacles: dict[GrubEntry, str] = {}
    told: set[str] = set()
    for answers, other, menu_then in trials.others(shared):
        matter = _difference(menu, picked, menu_then)
        if not matter:
            continue
        asked = {**other.unknowns.asked, **shared.unknowns.asked}
        places = [f"{question} ({asked[question][0]})" for question in answers]
        doubt = f"nobody can tell before GRUB runs {', and '.join(places)}"
        if len(answers) == 1:
            (question,) = answers
            alone = f"{asked[question][0]}: nobody can tell before GRUB runs {question}"
            problems.append(f"{alone}; {matter} on it")
            told.add(question)
        elif told.isdisjoint(answers):
            problems.append(f"{doubt}; {matter} on both")
        if matter.startswith("the default"):
            doubts.append(doubt)
        for entry in _differing(menu, menu_then):
            obstacles.setdefault(entry, f"{doubt}, and what it starts depends on it")
    if trials.left:
        problems.append(trials.left)
        doubts.append(trials.left)
        for entry in menu.entries():
            obstacles.setdefault(entry, trials.left)
    elif trials.pairs_left:
        problems.append(trials.pairs_left)
    menu = _with_obstacles(menu, obstacles)
    picked = Chosen(None, doubts[0]) if doubts and picked.item is not None else chosen(menu)
    return GrubReading(
        menu, picked, tuple(problems), shared.unknowns.shown("".join(shared.printed))
    )


class _Trials:
    """Runs of one configuration, with other answers than the usual ones."""

    def __init__(
        self,
        config: SourceText,
        place: FileReference,
        files: GrubFiles,
        variables: tuple[Mapping[str, str], Mapping[str, str] | None],
    ) -> None:
        self._config = config
        self._place = place
        self._files = files
        self._variables = variables
        self._parsed: dict[tuple[str, bool], tuple[Unit, ...]] = {}
        self._steps = 0
        self.left = ""
        """Which questions were not tried out, "" when all were."""
        self.pairs_left = ""
        """The same of two questions together."""

    def run(self, answers: Mapping[str, bool]) -> tuple[Shared, GrubMenu]:
        """Run the configuration with these answers."""
        shared, menu = _run(
            self._config, self._place, self._files, self._variables, answers, self._parsed
        )
        self._steps += shared.steps
        return shared, menu

    def others(self, first: Shared) -> Iterator[tuple[dict[str, bool], Shared, GrubMenu]]:
        """Yield the runs with one answer changed, then those with two."""
        asked = {question: answer for question, (_, answer) in first.unknowns.asked.items()}
        nested: list[dict[str, bool]] = []
        for at, (question, answer) in enumerate(asked.items()):
            if at >= _QUESTIONS_MAX or self._steps > _STEPS_MAX:
                places = ", ".join(
                    dict.fromkeys(first.unknowns.asked[q][0] for q in list(asked)[at : at + 4])
                )
                more = " and more" if len(asked) - at > 4 else ""
                self.left = (
                    f"{at} questions that only GRUB can answer were tried out, and "
                    f"{len(asked) - at} more were not: {places}{more}; no entry is certain"
                )
                return
            changed = {question: not answer}
            shared, menu = self.run(changed)
            yield changed, shared, menu
            # What is asked only then has to be answered both ways as well.
            nested += [
                {question: answer, new: usual}
                for new, (_, usual) in shared.unknowns.asked.items()
                if new not in asked
            ]
        pairs = [*map(dict, combinations(asked.items(), 2)), *nested]
        for at, pair in enumerate(pairs):
            if at >= _PAIRS_MAX or self._steps > _STEPS_MAX:
                self.pairs_left = (
                    f"{self._config.path} asks {len(asked)} questions that only GRUB can answer: "
                    f"of {len(pairs)} pairs of answers, {at} were tried out together"
                )
                return
            changed = {question: not answer for question, answer in pair.items()}
            yield changed, *self.run(changed)


def _run(
    config: SourceText,
    place: FileReference,
    files: GrubFiles,
    variables: tuple[Mapping[str, str], Mapping[str, str] | None],
    answers: Mapping[str, bool],
    parsed: dict[tuple[str, bool], tuple[Unit, ...]],
) -> tuple[Shared, GrubMenu]:
    shared = fresh_shared(files, answers, _COMMANDS, parsed)
    own, otherwise = variables
    if otherwise is not None and not shared.unknowns.ask(
        f"whether its firmware is {_firmware(own)} or {_firmware(otherwise)}", config.path, True
    ):
        own = otherwise
    environment = Environment()
    root = shared.unknowns.mark(Device())
    name = f"({root}){place.path}"
    for variable, value in {
        "root": root,
        "prefix": name.rpartition("/")[0],
        **_EXPORTED,
        **own,
    }.items():
        environment.set(variable, value)
        environment.export(variable)
    # SUSE's; with others nothing sets them.
    environment.export("btrfs_subvol", "btrfs_relative_path")
    shared.reading.append(config.path)
    menu = menu_of(Run(shared, environment, Boot()), config, name)
    return shared, replace(menu, lost=tuple(shared.lost))


def _firmware(variables: Mapping[str, str]) -> str:
    return "EFI" if variables.get("grub_platform") == "efi" else "a BIOS"


def _difference(menu: GrubMenu, picked: Chosen, other: GrubMenu) -> str:
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
