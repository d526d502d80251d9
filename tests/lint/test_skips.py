"""A test is left out for what the machine lacks in one way, which can be forbidden."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
DOOR = TESTS / "needs.py"
SKIPS = {"pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif"}


@pytest.mark.parametrize(
    "path", sorted({*TESTS.rglob("*.py")} - {DOOR}), ids=lambda path: str(path.relative_to(TESTS))
)
def test_only_needs_skips(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & SKIPS
