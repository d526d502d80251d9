"""grub.cfg and grubenv: what the menu has, and what starts by itself. Pure.

GNU GRUB Manual, "The GRUB environment block", "menuentry", "submenu", "default". The script is
run as GRUB would, as far as generated ones go: variables, conditions, functions, files that it
includes. What only GRUB can do (fonts, waiting for a key, looking at disks) is passed over, and
false as a condition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pykexec.entries import MENU_SEPARATOR, BootEntry, Source
from pykexec.entries.grub_syntax import Command, For, Function, If, Menu, Part, Script, Word
from pykexec.entries.grub_syntax import parse_script as parse
from pykexec.entries.grub_test import truth
from pykexec.entries.versions import version_key
from pykexec.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STEPS_MAX = 20_000
_DEPTH_MAX = 8
_VALUE_MAX = 65536
_LINUX = frozenset({"linux", "linux16", "linuxefi"})
_INITRD = frozenset({"initrd", "initrd16", "initrdefi"})
_INCLUDE = frozenset({"source", ".", "configfile"})
_WITH_VALUE = frozenset({"--class", "--users", "--hotkey", "--id", "--source"})
_ASSIGNMENT = re.compile(r"\w+=", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|(\w+))", re.ASCII)


def parse_grubenv(text: str, where: str) -> dict[str, str]:
    """Parse an environment block: lines NAME=VALUE, a backslash joins two, ``#`` fills up.

    Raises :class:`MachineError` with the line for anything else.
    """
    found: dict[str, str] = {}
    lines = text.replace("\\\n", "\0").split("\n")
    number = 1
    for line in lines:
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not (name and equals):
                raise MachineError(f"{where}, line {number}: NAME=VALUE is needed: {line[:40]!r}")
            found[name] = value.replace("\0", "\n").replace("\\\\", "\\")
        number += 1 + line.count("\0")
    return found


@dataclass(frozen=True, slots=True)
class GrubFiles:
    """How the script gets at the rest of the machine; paths are those of the script."""

    exists: Callable[[str, str], bool]
    """(``-f`` and the like, path)."""
    include: Callable[[str], tuple[str, str] | None]
    """Path of a script to (text, its name for messages)."""
    environment: Callable[[str], Mapping[str, str]]
    """Path of an environment block, "" for the usual one, to what is in it."""
    snippets: Callable[[], Iterable[BootEntry]]
    """For ``blscfg``: the entries of type #1."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the menu."""

    title: str
    id: str
    entry: BootEntry | None
    """None: this starts no Linux kernel, or is a submenu."""
    children: tuple[Item, ...] = ()
    is_submenu: bool = False


@dataclass(frozen=True, slots=True)
class GrubMenu:
    """The whole menu."""

    items: tuple[Item, ...]
    wanted: str
    """What ``default`` is set to."""

    def entries(self) -> tuple[BootEntry, ...]:
        """Return the Linux entries in the menu's order."""
        return tuple(item.entry for item in _walk(self.items) if item.entry is not None)

    def default(self) -> Item | None:
        """Return what starts by itself, as ``default`` names it, else the first line."""
        items, chosen = self.items, None
        for name in self.wanted.split(MENU_SEPARATOR) if self.wanted else []:
            chosen = _find(items, name)
            if chosen is None:
                break
            items = chosen.children
        if chosen is None:
            chosen = self.items[0] if self.items else None
        while chosen is not None and chosen.is_submenu:
            chosen = chosen.children[0] if chosen.children else None
        return chosen


def _walk(items: Iterable[Item]) -> Iterable[Item]:
    for item in items:
        yield item
        yield from _walk(item.children)


def _find(items: tuple[Item, ...], name: str) -> Item | None:
    if name.isascii() and name.isdigit():
        return items[int(name)] if len(name) < 6 and int(name) < len(items) else None
    return next((item for item in items if name in (item.id, item.title)), None)


def parse_grub(text: str, where: str, files: GrubFiles, variables: Mapping[str, str]) -> GrubMenu:
    """Run a grub.cfg; ``variables`` are those that GRUB sets itself (``prefix`` …).

    Raises :class:`MachineError` with the line for what is no script, and for one that does not
    come to an end.
    """
    runner = _Runner(files, where, dict(variables))
    runner.run(parse(text, where))
    # What an entry does is done when it is chosen, with the variables as they are then.
    items = runner.items
    return GrubMenu(tuple(runner.finish(items)), runner.variables.get("default", ""))


@dataclass(slots=True)
class _Pending:
    """A line of the menu whose commands have not been run."""

    title: str
    id: str
    menu: Menu | None
    file: str
    """That the line is in."""
    snippet: BootEntry | None = None


@dataclass(slots=True)
class _Boot:
    """What an entry's commands have put together."""

    kernel: str = ""
    cmdline: str = ""
    initrds: list[str] = field(default_factory=list)
    device_tree: str | None = None


class _Runner:
    """Runs scripts with one set of variables."""

    def __init__(self, files: GrubFiles, where: str, variables: dict[str, str]) -> None:
        self.variables = variables
        self.items: list[_Pending] = []
        self._files = files
        self._where = where
        self._functions: dict[str, Script] = {}
        self._arguments: list[tuple[str, ...]] = [()]
        self._boot = _Boot()
        self._actions: dict[str, Callable[[list[str]], None]] = {
            **dict.fromkeys(_LINUX, self._linux),
            **dict.fromkeys(_INITRD, self._initrd),
            **dict.fromkeys(_INCLUDE, self._include),
            "devicetree": self._device_tree,
            "set": self._set,
            "export": self._set,
            "unset": self._unset,
            "load_env": self._load_env,
            "blscfg": self._add_snippets,
        }
        self._steps = 0
        self._line = 1

    def run(self, script: Script) -> bool:
        """Run commands; returns whether the last one succeeded."""
        good = True
        for statement in script:
            self._step()
            if isinstance(statement, Command):
                good = self._command(statement)
            elif isinstance(statement, If):
                good = self._if(statement)
            elif isinstance(statement, For):
                for value in self._expand(statement.words):
                    self._step()
                    self.variables[statement.name] = value
                    good = self.run(statement.body)
            elif isinstance(statement, Function):
                self._functions[statement.name] = statement.body
            else:
                self._add_menu(statement)
        return good

    def finish(self, pending: list[_Pending]) -> Iterable[Item]:
        """Run the commands of each line of a menu, in a copy of the variables."""
        for line in pending:
            if line.menu is None:
                yield Item(line.title, line.id, self._with_variables(line.snippet))
                continue
            self._step()
            inner = _Runner(self._files, line.file, dict(self.variables))
            inner._functions = self._functions
            inner._steps = self._steps
            inner._arguments = self._arguments
            inner.run(line.menu.body)
            if line.menu.is_submenu:
                children = tuple(inner.finish(inner.items))
                children = tuple(_below(line.id or line.title, child) for child in children)
                yield Item(line.title, line.id, None, children, is_submenu=True)
            else:
                yield Item(line.title, line.id, inner._entry(line))
            self._steps = inner._steps

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS_MAX:
            raise MachineError(
                f"{self._where}, line {self._line}: more than {_STEPS_MAX} commands: the script "
                "may never come to an end"
            )

    def _if(self, statement: If) -> bool:
        for condition, body in statement.branches:
            if self.run(condition):
                return self.run(body)
        return self.run(statement.otherwise)

    def _expand(self, words: Iterable[Word]) -> list[str]:
        """Return the arguments that words come to: one each, save for bare variables."""
        found: list[str] = []
        for word in words:
            pieces = [""]
            some = False
            for part in word.parts:
                value = self._value(part) if part.variable else part.text
                if not part.variable or part.quoted:
                    pieces[-1] += value
                    some = True
                    continue
                split = value.split()
                some = some or bool(split)
                if value[:1].isspace() and pieces[-1]:
                    pieces.append("")
                for at, text in enumerate(split):
                    if at:
                        pieces.append("")
                    pieces[-1] += text
                if value[-1:].isspace() and split:
                    pieces.append("")
            if some:
                found += pieces[:-1] if len(pieces) > 1 and not pieces[-1] else pieces
            if sum(map(len, found)) > _VALUE_MAX:
                raise MachineError(f"{self._where}, line {word.line}: the words get too long")
        return found

    def _value(self, part: Part) -> str:
        arguments = self._arguments[-1]
        if part.text.isdigit() and part.text.isascii():
            at = int(part.text) if len(part.text) < 4 else 0
            return arguments[at - 1] if 0 < at <= len(arguments) else ""
        if part.text in ("@", "*"):
            return " ".join(arguments)
        if part.text == "#":
            return str(len(arguments))
        return self.variables.get(part.text, "")

    def _command(self, command: Command) -> bool:
        self._line = command.line
        words = self._expand(command.words)
        inverted = words[:1] == ["!"]
        if inverted:
            del words[0]
        if not words:
            return not inverted
        return self._call(words[0], words[1:]) != inverted

    def _call(self, name: str, arguments: list[str]) -> bool:
        if name in self._functions:
            return self._function(name, arguments)
        if name in ("[", "test"):
            return truth(arguments[:-1] if name == "[" else arguments, self._files.exists)
        if _ASSIGNMENT.match(name):
            name, arguments = "set", [name]
        action = self._actions.get(name)
        if action is None:
            return name == "true"
        action(arguments)
        return True

    def _linux(self, arguments: list[str]) -> None:
        if arguments:
            self._boot.kernel, self._boot.cmdline = arguments[0], _joined(arguments[1:])

    def _initrd(self, arguments: list[str]) -> None:
        self._boot.initrds = [word for word in arguments if not word.startswith("--")]

    def _device_tree(self, arguments: list[str]) -> None:
        self._boot.device_tree = arguments[0] if arguments else None

    def _unset(self, arguments: list[str]) -> None:
        for variable in arguments:
            self.variables.pop(variable, None)

    def _function(self, name: str, arguments: list[str]) -> bool:
        self._enter(name)
        self._arguments.append(tuple(arguments))
        good = self.run(self._functions[name])
        self._arguments.pop()
        return good

    def _enter(self, what: str) -> None:
        if len(self._arguments) > _DEPTH_MAX:
            raise MachineError(
                f"{self._where}, line {self._line}: {what!r} is called {_DEPTH_MAX} times deep"
            )

    def _set(self, arguments: list[str]) -> None:
        for word in arguments:
            name, equals, value = word.partition("=")
            if equals and name:
                self.variables[name] = value

    def _load_env(self, arguments: list[str]) -> None:
        path, names = "", []
        words = iter(arguments)
        for word in words:
            if word in ("-f", "--file"):
                path = next(words, "")
            elif not word.startswith("-"):
                names.append(word)
        for name, value in self._files.environment(path).items():
            if not names or name in names:
                self.variables[name] = value

    def _include(self, arguments: list[str]) -> None:
        found = self._files.include(arguments[0]) if arguments else None
        if found is None:
            return
        self._enter(arguments[0])
        text, name = found
        where, self._where = self._where, name
        self._arguments.append(self._arguments[-1])
        self.run(parse(text, name))
        self._arguments.pop()
        self._where = where

    def _add_menu(self, menu: Menu) -> None:
        title, ident = "", ""
        words = iter(self._expand(menu.words))
        for word in words:
            if word == "--id":
                ident = next(words, "")
            elif word.startswith("--id="):
                ident = word.removeprefix("--id=")
            elif word in _WITH_VALUE:
                next(words, "")
            elif not word.startswith("--"):
                title = title or word
        self.items.append(_Pending(title, ident, menu, self._where))

    def _add_snippets(self, _: list[str]) -> None:
        ordered = sorted(self._files.snippets(), key=lambda e: version_key(e.id), reverse=True)
        for entry in ordered:
            ident = entry.id.removesuffix(".conf")
            self.items.append(_Pending(entry.title, ident, None, entry.where, entry))

    def _with_variables(self, entry: BootEntry | None) -> BootEntry | None:
        """Expand what a snippet leaves to GRUB: ``options $kernelopts``."""
        if entry is None:
            return None
        initrds = " ".join(map(self._replaced, entry.initrds)).split()
        cmdline = " ".join(self._replaced(entry.cmdline).split())
        return replace(
            entry,
            source=Source.GRUB,
            id=entry.id.removesuffix(".conf"),
            initrds=tuple(initrds),
            cmdline=cmdline,
        )

    def _replaced(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self.variables.get(match[1] or match[2], ""), text)

    def _entry(self, line: _Pending) -> BootEntry | None:
        if not self._boot.kernel or line.menu is None:
            return None
        return BootEntry(
            source=Source.GRUB,
            id=line.id or line.title,
            title=line.title,
            where=f"{line.file}, line {line.menu.line}",
            kernel=self._boot.kernel,
            initrds=tuple(self._boot.initrds),
            cmdline=self._boot.cmdline,
            device_tree=self._boot.device_tree,
        )


def _below(submenu: str, item: Item) -> Item:
    """Return an item with the submenu in front of its entries' ids."""
    entry = item.entry
    if entry is not None:
        entry = replace(entry, id=f"{submenu}{MENU_SEPARATOR}{entry.id}")
    return replace(item, entry=entry, children=tuple(_below(submenu, c) for c in item.children))


def _joined(words: list[str]) -> str:
    """Join a command line as GRUB does: it escapes quotes, and quotes words with blanks."""
    found = []
    for word in words:
        text = re.sub(r"([\\'\"])", r"\\\1", word)
        found.append(f'"{text}"' if " " in text else text)
    return " ".join(found)
