"""What the documents say of the tests is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"
REFERENCE = re.compile(r"`(?:tests/)?([a-z_0-9/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("name", ["compatibility.md"])
def test_tests_that_are_named_exist(name: str) -> None:
    text = (PROJECT / "docs" / name).read_text(encoding="utf-8")
    named = [
        (file, function)
        for file, function in REFERENCE.findall(text)
        if file.startswith(("unit/", "property/", "cli/", "differential/"))
    ]
    assert len(named) > 20
    missing = []
    for file, function in named:
        path = TESTS / file
        content = path.read_text(encoding="utf-8") if path.exists() else ""
        if not path.exists() or (function and f"def {function}(" not in content):
            missing.append(f"{file}::{function}")
    assert missing == []
