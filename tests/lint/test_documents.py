"""What the documents say of the tests and the modules is so."""

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


def test_every_wing_has_its_row() -> None:
    """In docs/architecture.md, in the table of what may do what."""
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("| wing | what it is |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    rows = [name for cell in cells for name in re.findall(r"`(\w+/?)`", cell)]
    package = PROJECT / "pykexec"
    modules = [path.stem for path in package.glob("*.py")]
    modules += [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert sorted(rows) == sorted(modules)
