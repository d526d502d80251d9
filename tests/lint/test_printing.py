"""All that is printed goes through pykexec.cli.terminal, which escapes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pykexec

PACKAGE = Path(pykexec.__file__).parent
DOOR = PACKAGE / "cli" / "terminal.py"
WRITERS = {"click.echo", "click.secho", "click.echo_via_pager", "error.show"}
# What a stream may be asked elsewhere: whether it is a terminal, which descriptor it is.
HARMLESS = {"isatty", "fileno", "encoding", "flush", "close"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != DOOR)


def goes_round(node: ast.AST) -> str | None:
    """Return what writes to a stream without the door."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        to_a_string = called == "error.show" and node.args
        if called == "print" or (called in WRITERS and not to_a_string):
            return called
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "say":
        sentence = node.args and isinstance(node.args[0], ast.JoinedStr)
        if sentence and "end" not in {keyword.arg for keyword in node.keywords}:
            return "say, where say_line or tell keep a sentence in its line"
    if isinstance(node, ast.Attribute):
        base = ast.unparse(node.value)
        if base in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"):
            return None if node.attr in HARMLESS else f"{base}.{node.attr}"
    return None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_goes_round_the_door(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [word for node in ast.walk(tree) if (word := goes_round(node))]
    assert not found
