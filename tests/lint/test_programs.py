"""What is run by name is in tools/programs.py, and what brings it in the Makefile's lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.lint.program_names import in_makefile, in_python, in_shell, package_lists
from tools.programs import LIBRARIES, PROGRAMS, From

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = ROOT / "Makefile"
DIRECTORIES = ("tests", "tools", "contrib", "purgatory", ".ci")
GUEST = ROOT / "tests/vm/guest"
"""What is in here runs in guests, where BusyBox has every program."""


def files() -> Iterator[Path]:
    for directory in DIRECTORIES:
        for path in sorted((ROOT / directory).rglob("*")):
            if path.is_file() and GUEST not in path.parents and "completions" not in path.parts:
                yield path


@cache
def text_of(path: Path) -> str:
    return path.read_text(errors="replace")


def found() -> dict[str, list[str]]:
    """Return every program that is run by name, with the files that run it."""
    users: dict[str, list[str]] = {}
    for path in (*files(), MAKEFILE):
        if path == MAKEFILE:
            names = in_makefile(text_of(path))
        elif path.suffix == ".py":
            names = in_python(text_of(path))
        elif re.match(r"#!\S*(/|env )(ba)?sh\b", text_of(path)):
            names = in_shell(text_of(path))
        else:
            continue
        for name in names:
            users.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return users


def test_every_program_is_in_the_table() -> None:
    missing = {name: users for name, users in found().items() if name not in PROGRAMS}
    assert not missing, "say in tools/programs.py which package brings these"


def test_nothing_in_the_table_is_unused() -> None:
    table = ROOT / "tools/programs.py"
    texts = [text_of(path) for path in (*files(), MAKEFILE) if path != table]
    stems = (name.removesuffix("-19") for name in PROGRAMS)
    unused = {name for name in stems if not any(name in text for text in texts)}
    assert not unused


@pytest.mark.parametrize("source", [From.BUILD, From.TEST, From.FULL, From.PRISTINE])
def test_the_makefile_installs_what_the_table_says(source: From) -> None:
    lists = package_lists(text_of(MAKEFILE))
    installed = {part for words in lists[source.value] for part in re.split("[|+]", words)}
    programs = [program for program in PROGRAMS.values() if program.source is source]
    wanted = {package for program in programs for package in program.packages}
    assert wanted <= installed, f"{source.value} lacks these"
    earlier = LIBRARIES.keys() | {
        name for program in PROGRAMS.values() for name in program.packages
    }
    assert installed <= earlier, f"{source.value} has what nothing is run of"


def alternatives(word: str) -> list[tuple[str, ...]]:
    """Return what stands for what: of ``a+b|c+d`` (a, c) and (b, d)."""
    return list(zip(*(group.split("+") for group in word.split("|")), strict=True))


def test_alternatives_are_for_the_suites_that_lack_the_first() -> None:
    suites = dict(item for program in PROGRAMS.values() for item in program.packages.items())
    everywhere = frozenset().union(*suites.values())
    for words in package_lists(text_of(MAKEFILE)).values():
        for packages in (each for word in words for each in alternatives(word)):
            known = [suites[package] for package in packages if package in suites]
            assert not known or frozenset().union(*known) == everywhere, packages
            assert len(packages) == 1 or suites[packages[0]] < everywhere, packages


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("subprocess.run(['one', x])", {"one"}),
        ("command = ['one']\ncommand += [x]\nsubprocess.Popen(command)", {"one"}),
        ("words = (*('one', '-x'), y)\nsubprocess.check_call(['nice', *words])", {"nice"}),
        ("PREFIX = ['one']\ndef f():\n    subprocess.run([*PREFIX, x])", {"one"}),
        ("for name, _ in {'one': 1, 'two': 2}.items():\n    shutil.which(name)", {"one", "two"}),
        ("def _run(log, *command):\n    pass\n_run(x, 'one', 'two')", {"one"}),
        (
            "TOOLS = (('one', 'two'),)\nfor pair in TOOLS:\n    map(shutil.which, pair)",
            {"one", "two"},
        ),
        ("subprocess.run([sys.executable, 'script'])", set()),
        ("ENTER = 'set -e\\nmount --bind a b\\n'", {"mount"}),
        ("subprocess.run(['/bin/sh', '-c', x])", {"sh"}),
    ],
)
def test_names_in_python(code: str, names: set[str]) -> None:
    assert in_python(code) == names


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("one | two && three || four; five", {"one", "two", "three", "four", "five"}),
        ("if ! one; then two; fi\nwhile three; do :; done", {"one", "two", "three"}),
        ('x=$(one "$(two)")\nread -r y <file', {"one", "two"}),
        ("A=1 one two\nexec two", {"one", "two"}),
        ("say() {\n  echo no # not three\n}\nsay\n# four", set()),
        ("case $x in\none | two) three ;;\n*) four ;;\nesac", {"three", "four"}),
        ("for x in one two; do three; done", {"three"}),
        ("echo 'one; two' \"; three\"", set()),
    ],
)
def test_names_in_shell(code: str, names: set[str]) -> None:
    assert in_shell(code) == names


def test_names_in_makefiles() -> None:
    text = "all: one ## two\n\t@three $(X)\n\t$(BIN)/four five\n\t-six | seven\n"
    assert in_makefile(text) == {"three", "six", "seven"}
