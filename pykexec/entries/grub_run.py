"""Runs GRUB's scripts: statements, functions, conditions, and the menu that comes of it. Pure.

Commands that do something for a menu are in ``grub_commands``, ``grub_includes``,
``grub_loaders`` and ``grub_snippets``. Every other command of GRUB's has no effect here, and a
result that only GRUB knows: see :mod:`pykexec.entries.grub_unknown`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from pykexec.entries.grub_boot import (
    BAD_ARGUMENT,
    FALSE,
    OK,
    Pending,
    Result,
)
from pykexec.entries.grub_environment import Environment, TooMuch
from pykexec.entries.grub_files import Absent, FileReference
from pykexec.entries.grub_syntax import WORDS_MAX, Command, For, If, Unit, parse_script
from pykexec.entries.grub_unknown import Doubt, Unknowns
from pykexec.entries.grub_words import TooLong, expand, matching_names, names_devices, unescape
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pykexec.entries.grub_boot import Boot, Pending, Result
    from pykexec.entries.grub_syntax import Block, Script, Statement, While, Word
    from pykexec.entries.grub_values import GrubFiles, GrubMenu

_STEPS_MAX = 20_000
_DEPTH_MAX = 64
_ARGUMENTS_MAX = 65_536
_PROBLEMS_MAX = 50
_MATTERS = re.compile(
    r"menuentry|submenu|hiddenentry|blscfg|bls_import|uki|source|configfile|normal|eval|default"
    r"|(?<!\S)\.\s"
)
"""What a lost piece of a script must not have, if the lines of the menu are still to be counted."""

Action: TypeAlias = "Callable[[Run, list[str]], Result]"


class Handover(Exception):
    """A script shows another menu, and may never come back."""

    def __init__(self, menu: GrubMenu) -> None:
        super().__init__("another menu")
        self.menu = menu


class Booted(Exception):
    """What is loaded starts: nothing that follows is run."""


class Left(Exception):
    """A script that makes a menu leaves GRUB before that is shown."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


@dataclass(slots=True)
class Shared:
    """What all scripts of one reading have in common."""

    files: GrubFiles
    unknowns: Unknowns
    commands: Mapping[str, Action]
    parsed: dict[tuple[str, bool], tuple[Unit, ...]]
    """Scripts by their text: a second run need not parse again."""
    problems: dict[str, None] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    """What could not be read, so that lines of the menu may be missing."""
    functions: dict[str, Script] = field(default_factory=dict)
    reading: list[str] = field(default_factory=list)
    """Menus' files that are being read, the innermost last."""
    snippets: set[str] = field(default_factory=set)
    """Entries that ``blscfg`` and ``uki`` have shown."""
    subvolumes: dict[str, str] = field(default_factory=dict)
    """Of Btrfs, by the directory that ``btrfs-mount-subvol`` has put them on."""
    modules: set[str] = field(default_factory=set)
    """That ``insmod`` has loaded."""
    printed: list[str] = field(default_factory=list)
    """By ``echo``."""
    steps: int = 0
    stopped: str = ""
    """The line where more commands were wanted than are run."""
    depth: int = 0

    def add_problem(self, problem: str) -> None:
        """Report a problem; of very many, the first."""
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems[problem] = None
        elif len(self.problems) == _PROBLEMS_MAX:
            self.problems[f"{problem}; and there are more problems"] = None

    @property
    def is_spent(self) -> bool:
        """Tell whether there were more commands than are run."""
        return self.steps > _STEPS_MAX


class Run:
    """One script with its variables; an entry's commands are a run of their own."""

    def __init__(self, shared: Shared, variables: Environment, boot: Boot) -> None:
        self.shared = shared
        self.variables = variables
        self.boot = boot
        self.is_entry = False
        """These are the commands of an entry."""
        self.pending: list[Pending] = []
        self.file = ""
        """That is being read."""
        self.line = 1
        self.block: Block | None = None
        """Of the command that is being run."""
        self.shows: GrubMenu | None = None
        """A menu that an entry's commands lead to."""
        self.loops = 0
        self.breaks = 0
        self.is_continue = False
        self.returning = False

    # Scripts

    def run_text(self, text: str, *, is_file: bool) -> Result:
        """Parse and run a script unit by unit; GRUB ends a text that is no file at an error."""
        result: Result = OK
        for unit in self._parsed(text, is_file):
            self.step()
            self.shared.functions.update(unit.functions)
            if unit.bad is None:
                result = self.run(unit.script)
                continue
            lines = f"line {unit.bad.line}" if is_file else f"line {self.line}"
            self.shared.add_problem(f"{self.file}, {lines}: {unit.bad.message}")
            if _MATTERS.search(unit.bad.text):
                self.shared.lost[f"{self.file}, {lines}"] = None
            if not is_file:
                return BAD_ARGUMENT
        return result

    def _parsed(self, text: str, is_file: bool) -> tuple[Unit, ...]:
        parsed = self.shared.parsed
        key = text, is_file
        if key not in parsed:
            used = sum(unit.words for units in parsed.values() for unit in units)
            parsed[key] = parse_script(text, is_file=is_file, words_max=WORDS_MAX - used)
        return parsed[key]

    def run(self, script: Script) -> Result:
        """Run commands; returns the result of the last."""
        shared = self.shared
        shared.depth += 1
        if shared.depth > _DEPTH_MAX:
            raise TooMuch(f"scripts, functions and menus are more than {_DEPTH_MAX} levels deep")
        result: Result = OK
        if not script:
            # Nothing but functions: that has no result.
            shared.depth -= 1
            return result
        for statement in script:
            if self.breaks:
                break
            self.step()
            result = self._statement(statement)
            self._set_status(result)
            if self.returning:
                break
        shared.depth -= 1
        self._set_status(result)
        return result

    def step(self, size: int = 1) -> None:
        """Count a command, or something as costly; raises :class:`TooMuch`."""
        self.shared.steps += size
        if self.shared.steps > _STEPS_MAX:
            self.shared.stopped = self.shared.stopped or self.where
            raise TooMuch(f"more than {_STEPS_MAX} commands: the script may never come to an end")

    def _statement(self, statement: Statement) -> Result:
        if isinstance(statement, Command):
            return self._command(statement)
        if isinstance(statement, If):
            return self._if(statement)
        if isinstance(statement, For):
            return self._for(statement)
        return self._while(statement)

    def _set_status(self, result: Result) -> None:
        if isinstance(result, Doubt):
            self.variables.set("?", self.shared.unknowns.mark(f"the answer to {result.question}"))
        else:
            self.variables.set("?", str(result))

    def is_true(self, result: Result) -> bool:
        """Return whether a result is success; asks when only GRUB knows."""
        if isinstance(result, int):
            return result == OK
        return self.ask(result.question, usual=result.usual) != result.is_inverted

    def ask(self, question: str, *, usual: bool) -> bool:
        """Return the answer of this run to a question that only GRUB can answer."""
        return self.shared.unknowns.ask(question, self.where, usual)

    @property
    def where(self) -> str:
        """The line that is being run."""
        return f"{self.file}, line {self.line}"

    def tell(self, problem: str) -> None:
        """Report a problem with the line that is being run."""
        self.shared.add_problem(f"{self.where}: {self.shared.unknowns.shown(problem)}")

    def _if(self, statement: If) -> Result:
        for condition, body in statement.branches:
            result = self.run(condition)
            if self.returning:
                return result
            if self.is_true(result):
                return self.run(body)
        return self.run(statement.otherwise)

    def _for(self, statement: For) -> Result:
        self.line = statement.line
        words = self.expand(statement.words)
        self.loops += 1
        result: Result = OK
        for word in words:
            self.step()
            if self.is_continue and self.breaks == 1:
                self.breaks = 0
            if not self.breaks:
                self.variables.set(statement.name, word)
                result = self.run(statement.body)
                if self.returning:
                    break
        self._end_loop()
        return result

    def _while(self, statement: While) -> Result:
        self.loops += 1
        while True:
            self.step()
            result = self.run(statement.condition)
            if self.returning or self.is_true(result) == statement.is_until:
                break
            result = self.run(statement.body)
            if self.returning:
                break
            if self.breaks == 1 and self.is_continue:
                self.breaks = 0
            if self.breaks:
                break
        self._end_loop()
        return result

    def _end_loop(self) -> None:
        self.breaks = max(self.breaks - 1, 0)
        self.loops -= 1

    # Commands

    def _command(self, command: Command) -> Result:
        self.line = command.line
        words = self.expand(command.words)
        if not words:
            return OK
        inverted = words[0] == "!"
        if inverted:
            del words[0]
            if not words:
                return BAD_ARGUMENT
        self.block = command.block
        result = self.call(words[0], words[1:])
        # An assignment, and what is no command, succeed whatever stands before them.
        known = words[0] in self.shared.commands or words[0] in self.shared.functions
        return _inverted(result) if inverted and known else result

    def expand(self, words: Sequence[Word]) -> list[str]:
        """Return the arguments that words come to."""
        try:
            found = expand(words, _Values(self), self._matching, _ARGUMENTS_MAX)
        except TooLong:
            raise TooMuch(f"the words get longer than {_ARGUMENTS_MAX} characters") from None
        self.step(sum(map(len, found)) // 200)
        return found

    def call(self, name: str, words: list[str]) -> Result:
        """Run a command, a function or an assignment by name."""
        commands = self.shared.commands
        action = commands.get(name)
        if action is not None:
            if self.block is not None and name not in ("menuentry", "submenu"):
                words = [*words, "{" + self.block.source + "}"]
            return action(self, words)
        if name in self.shared.functions:
            if self.block is not None:
                words = [*words, "{" + self.block.source + "}"]
            return self._function(name, words)
        variable, equals, value = name.partition("=")
        if equals:
            if variable and not (variable[0].isdigit() or variable in ("#", "*", "@")):
                self.variables.set(variable, value)
            return OK
        if said := self.shared.unknowns.unknown(name):
            return Doubt(f"what a command does that is called by {said}")
        self.tell(f"{name!r} is no command that is known here; passed over")
        return Doubt(f"whether GRUB has a command {name!r}", usual=True)

    def _function(self, name: str, words: list[str]) -> Result:
        loops, self.loops = self.loops, 0
        self.variables.open_scope(words)
        result = self.run(self.shared.functions[name])
        self.variables.close_scope()
        self.returning = False
        self.loops = loops
        return result

    # Files

    def reference(self, name: str) -> FileReference | str:
        """Return what a file name of the script means, or why nobody can tell, in words."""
        unknowns = self.shared.unknowns
        if name.startswith("("):
            named, closing, path = name[1:].partition(")")
            if not closing:
                return f"{name!r} is no file name"
        else:
            named, path = self.variables.value("root"), name
        device = unknowns.device(named)
        if device is None or (said := unknowns.unknown(path)):
            said = unknowns.unknown(named) if device is None else said
            return f"the name depends on {said}"
        if not path.startswith("/"):
            return "it names no file" if not path else "a file name of GRUB's begins with '/'"
        return self._in_subvolume(FileReference(device, path))

    def _in_subvolume(self, reference: FileReference) -> FileReference:
        """Return a reference with the subvolume that SUSE's GRUB looks in."""
        if not self.variables.value("btrfs_relative_path"):
            return reference
        for directory, subvolume in self.shared.subvolumes.items():
            if (reference.path + "/").startswith(directory + "/"):
                below = reference.path[len(directory) :] or "/"
                return FileReference(reference.device, below, subvolume)
        subvolume = self.variables.value("btrfs_subvol")
        return FileReference(reference.device, reference.path, subvolume)

    def absent(self, what: str, absent: Absent) -> bool:
        """Return False for a file that is certainly not there; else what this run answers."""
        if absent.certain:
            return False
        return self.ask(f"whether there is {what}: {absent.reason}", usual=False)

    def _matching(self, pattern: str) -> list[str] | None:
        self.step()
        if names_devices(pattern):
            shown = self.shared.unknowns.shown(unescape(pattern))
            self.tell(f"which devices {shown!r} matches, only GRUB knows")
            self.shared.lost[self.where] = None
            return [self.shared.unknowns.mark(f"the devices that {shown!r} matches")]
        found = matching_names(pattern, self._names)
        if found is None:
            return None
        self.step(len(found))
        if "regexp" not in self.shared.modules and not self.ask(
            "whether its module regexp is loaded, which expands patterns", usual=True
        ):
            return None
        if len(found) > 1 and not self.ask(
            "in which order it finds the files of a directory", usual=True
        ):
            found.reverse()
        return found

    def _names(self, directory: str) -> list[str] | None:
        reference = self.reference(directory)
        if isinstance(reference, str):
            return None
        names = self.shared.files.names(reference)
        if isinstance(names, Absent):
            if not names.certain:
                self.tell(f"cannot look into {directory}: {names.reason}")
                self.shared.lost[self.where] = None
            return None
        return names


class _Values:
    """The variables that words are filled in from."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._variables = run.variables

    def value(self, name: str) -> str:
        return self._variables.value(name)

    def arguments(self) -> Sequence[str] | None:
        return self._variables.arguments()

    def keeps_codes(self) -> bool:
        return self._run.ask(
            r"whether it is Red Hat's, which keeps \xHH outside of quotes", usual=False
        )


def _inverted(result: Result) -> Result:
    if isinstance(result, Doubt):
        return Doubt(result.question, result.usual, not result.is_inverted)
    # An error is none any more; only what is false becomes true, and the other way round.
    return FALSE if result == OK else OK


def fresh_shared(
    files: GrubFiles,
    answers: Mapping[str, bool],
    commands: Mapping[str, Action],
    parsed: dict[tuple[str, bool], tuple[Unit, ...]],
) -> Shared:
    """Return what a reading begins with; ``parsed`` is kept for the next."""
    return Shared(files, Unknowns(answers), commands, parsed)
