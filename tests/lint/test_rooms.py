"""What an architecture is stands in its rooms, and each room has the same doors."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import tokenize
from pathlib import Path

import pytest

from pykexec.architectures import ARCHITECTURES
from pykexec.crash.rooms import CrashRoom
from pykexec.machine.rooms import MachineRoom
from pykexec.planning.rooms import BootRoom
from pykexec.purgatory_objects.registers import PurgatoryRoom
from pykexec.simulation.rooms import SimulationRoom
from tools.structure import PACKAGE
from tools.touched import in_a_room

WINGS = {
    "boot": BootRoom,
    "crash": CrashRoom,
    "machine": MachineRoom,
    "purgatory_objects": PurgatoryRoom,
    "simulation": SimulationRoom,
}
ROOMS = sorted({item.room for item in ARCHITECTURES.values()})
NAME = re.compile(
    r"x86|i[3-6]86|amd64|aarch64|arm64(?!bit)|riscv|(?<![a-z])ppc(?![a-z])|powerpc|s390|loong|m68k|(?<![a-z])arm(?![a-z_])",
    re.IGNORECASE,
)


def docstring_lines(tree: ast.AST) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for item in body if isinstance(body, list) else ():
            if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
                found.update(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    return found


def names_in(text: str) -> list[str]:
    """Return the lines of code, not of comments, that have an architecture's name in them."""
    told = docstring_lines(ast.parse(text))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [
        f"{token.start[0]}: {token.line.strip()}"
        for token in tokens
        if token.type not in (tokenize.COMMENT, tokenize.NEWLINE, tokenize.NL)
        and token.start[0] not in told
        and NAME.search(token.string)
    ]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if not in_a_room(path.relative_to(PACKAGE).as_posix())
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_names_are_only_in_rooms(path: Path) -> None:
    assert names_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ['if facts.arch == "aarch64":', "from pykexec.boot.x86 import plan", 'NAME = "an ARM file"'],
)
def test_a_name_is_seen(line: str) -> None:
    text = f'"""Of arm64."""\n{line}\n'.replace(":\n", ":\n    pass\n") + "# x86 says so\n"
    assert len(names_in(text)) == 1


def rooms() -> list[tuple[str, str]]:
    """Return (wing, room); where nothing is emulated, checked or started there is none for it."""
    known = ARCHITECTURES.values()
    without = {
        "simulation": {item.room for item in known if not item.simulated_tty},
        "purgatory_objects": {item.room for item in known if not item.purgatories},
        "crash": {item.room for item in known if not item.has_crash_kernels},
    }
    return [(wing, room) for wing in WINGS for room in ROOMS if room not in without.get(wing, ())]


@pytest.mark.parametrize(("wing", "room"), rooms())
def test_each_room_has_the_same_doors(wing: str, room: str) -> None:
    module = importlib.import_module(f"pykexec.{wing}.{room}")
    asked = WINGS[wing]
    for name in asked.__annotations__:
        assert hasattr(module, name), f"{module.__name__} has no {name}"
    for name, function in vars(asked).items():
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        wanted = [item.replace(name="x") for item in _parameters(function)[1:]]
        found = [item.replace(name="x") for item in _parameters(getattr(module, name))]
        kinds = [(item.kind, item.default) for item in wanted]
        assert [(item.kind, item.default) for item in found] == kinds, f"{module.__name__}.{name}"


def _parameters(function: object) -> list[inspect.Parameter]:
    assert callable(function)
    return list(inspect.signature(function).parameters.values())
