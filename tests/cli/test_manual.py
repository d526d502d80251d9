"""man/: every program and verb is there, with the options that its --help shows, and no others."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykexec.cli.foreign import foreign_options
from pykexec.cli.kexec_options import UNSUPPORTED
from pykexec.cli.main import cli
from tests.needs import unavailable
from tools.front_doors import Door, doors

MAN = Path(__file__).resolve().parents[2] / "man"
PAGES = sorted(MAN.glob("*.8"))
DOORS = doors()
VERBS = [door for door in DOORS if len(door.words) > 1 and not door.verbs]
HELP = ("-h", "--help")
"""Told once for all verbs."""

SHARED = ("a load", "a boot entry", "a crash load", "packing")
"""The sections of pykexec(8) about options that several verbs take."""


def plain(text: str) -> str:
    """Return roff text without escapes."""
    return re.sub(r"\\f[BIPR]", "", text).replace("\\-", "-").replace("\\&", "")


def words_of(macro: str) -> str:
    """Return the text of a font macro: of .BR and its like the arguments are joined."""
    name, *arguments = shlex.split(plain(macro), posix=True)
    return (" " if name in (".B", ".I") else "").join(arguments)


def sections(page: str) -> dict[str, list[str]]:
    """Return the lines below each .SH and .SS of a page, by title."""
    found: dict[str, list[str]] = {}
    for line in (MAN / f"{page}.8").read_text().splitlines():
        if match := re.match(r"\.S[HS] (.*)", line):
            found[plain(match[1])] = []
        elif found:
            list(found.values())[-1].append(line)
    return found


def tags(lines: list[str]) -> list[str]:
    """Return the texts that .TP sets apart."""
    return [words_of(tag) for before, tag in pairwise(lines) if before == ".TP"]


def names_in(text: str) -> list[str]:
    """Return the options that a text names, without their arguments."""
    return re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z0-9-]*", re.sub(r"=\S+", "", text))


def option_tags(lines: list[str]) -> list[str]:
    """Return the tags that are options."""
    return [tag for tag in tags(lines) if tag.startswith("-")]


def told_in_help(*command: str) -> set[str]:
    """Return the names of the options that a program's own --help lists."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True
    )
    heads = re.findall(r"^ +(-.*?)(?:  +.*)?$", done.stdout, re.MULTILINE)
    return {name for head in heads for name in names_in(head)}


def heads(door: Door) -> set[str]:
    """Return each option as a manual shows it, with the name of its argument."""
    found = set()
    for option in door.options:
        argument = f"[={option.metavar}]" if option.optional else f"={option.metavar}"
        found.add(", ".join(option.names) + (argument if option.metavar else ""))
    return found


@pytest.mark.parametrize(
    ("door", "module"),
    [(DOORS[0], "pykexec.cli.kexec_compat"), (DOORS[1], "pykexec.cli.vmcore_dmesg")],
    ids=["kexec", "vmcore-dmesg"],
)
def test_program(door: Door, module: str) -> None:
    page = sections(door.words[0])
    shown = [tag for lines in page.values() for tag in option_tags(lines)]
    assert sorted(shown) == sorted(heads(door))
    assert told_in_help(module) == set(door.names)


def test_kexec_tells_of_what_is_refused_or_ignored() -> None:
    page = sections("kexec")
    refused = "\n".join(map(plain, page["Options of kexec-tools that are refused"]))
    assert names_in(refused) == [f"--{name}" for name in UNSUPPORTED]
    ignored = "\n".join(map(plain, page["Options of other architectures"]))
    assert names_in(ignored) == [f"--{option.name}" for option in foreign_options("x86_64")]


@pytest.mark.parametrize("door", VERBS, ids=lambda door: "-".join(door.words[1:]))
def test_verb(door: Door) -> None:
    """Its own section, and those whose options it says that it takes."""
    page = sections("pykexec")
    own = page[" ".join(door.words)]
    text = " ".join(map(plain, own))
    shared = [
        page[f"Options of {name}"]
        for name in SHARED
        if re.search(rf"(options|those) of {name}\b", text)
    ]
    shown = [option_tags(lines) for lines in (own, *shared)]
    assert set().union(*shown) <= heads(door)
    names = [name for tag in shown[0] for name in names_in(tag)]
    for lines in shared:
        names += names_in("\n".join(map(plain, lines)))
    assert sorted(names) == sorted(set(door.names) - set(HELP))


def test_verbs_that_there_are_and_no_others() -> None:
    titles = [title for title in sections("pykexec") if title.startswith("pykexec ")]
    assert sorted(titles) == sorted(" ".join(door.words) for door in VERBS)


def test_help_of_a_verb_is_what_it_takes() -> None:
    """The rest of the verbs is click's, which makes the help of the same table."""
    door = next(door for door in VERBS if door.words[1:] == ("plan",))
    assert told_in_help("pykexec.cli.main", "plan") == set(door.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_good_roff(page: Path) -> None:
    if shutil.which("groff") is None:
        unavailable("there is no groff here (Debian package groff-base)", "TOOLS")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_minus_signs_can_be_copied(page: Path) -> None:
    """A bare - is a hyphen, which no shell takes for an option's dash."""
    for line in page.read_text().splitlines():
        if not line.startswith(('.\\"', ".SH", ".TH")):
            assert not re.search(r"(?<![\\\w])-", line), line


@pytest.mark.parametrize("columns", [5, 40, 200])
@pytest.mark.parametrize("words", [(), ("crash",), ("machine",), ("plan",), ("simulate",)])
def test_no_word_of_the_help_is_lost(words: tuple[str, ...], columns: int) -> None:
    whole, narrow = (
        CliRunner().invoke(cli, [*words, "--help"], terminal_width=width, max_content_width=width)
        for width in (80, columns)
    )
    assert whole.exit_code == narrow.exit_code == 0
    assert "".join(narrow.output.split()) == "".join(whole.output.split())
