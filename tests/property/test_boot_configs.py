"""Whatever a boot loader's configuration says: entries come out, or an error with the line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.entries.bls import parse_bls, parse_loader_conf, sort_bls, split_counter
from pykexec.entries.extlinux import parse_extlinux
from pykexec.entries.grub_env_block import parse_grubenv
from pykexec.entries.menu_reading import Surroundings
from pykexec.entries.versions import version_key
from pykexec.errors import MachineError
from tests.builders.boot_configs import (
    EXTLINUX,
    FEDORA_GRUB,
    debian_grub,
    fedora_entry,
    grubenv,
)
from tests.builders.grub_files import read

GRUB_FILES = {
    "/x": "menuentry x { linux $prefix }",
    "/boot/grub/grubenv": grubenv(saved_entry="1", kernelopts="ro 'x"),
    "/loader/entries/1.conf": fedora_entry("1"),
}


def grub(text: str) -> None:
    """There is always an answer; an entry that can be started has all its words."""
    reading = read(text, GRUB_FILES)
    for problem in reading.problems:
        match = re.match(r"\S+?(?:, line (\d+))?: .", problem, re.DOTALL)
        assert match, problem
    for entry in reading.menu.entries():
        assert entry.kernel.path
    assert "\ud800" not in repr(reading)
    assert reading.chosen.item is None or reading.chosen.item.submenu is None


def bls(text: str) -> None:
    entry = parse_bls(text, "file.conf", "file")
    assert entry.kernel.strip() == entry.kernel
    parse_loader_conf(text)


def extlinux(text: str) -> None:
    found = parse_extlinux(text, "file", Surroundings(lambda name, where: "there is none"))
    assert found.default is None or found.default in [entry.id for entry in found.entries]
    assert all(entry.kernel and entry.id for entry in found.entries)


def environment(text: str) -> None:
    parse_grubenv(text, "file")


PARSERS: dict[Callable[[str], None], tuple[str, ...]] = {
    grub: (debian_grub(), FEDORA_GRUB, "for a in 1 2; do\n if [ $a = 1 ]; then x; fi\ndone\n"),
    bls: (fedora_entry("6.12"), "linux /a\ninitrd /b\noptions x\n"),
    extlinux: (EXTLINUX,),
    environment: (grubenv(a="b", c="d\\\ne"),),
}
PIECES = (
    "", " ", "\n", "\t", ";", "{", "}", "'", '"', "$", "${", "\\", "\\\n", "#", "|", "[", "]", "if",
    "then", "else", "fi", "for", "in", "do", "done", "menuentry", "submenu", "function", "linux",
    "source x", "blscfg", "load_env", "set a=$a$a", "label", "append", "..", "\0", "\udcff", "é",
)  # fmt: skip


def check(parse: Callable[[str], None], text: str) -> None:
    error: MachineError | None = None
    try:
        parse(text)
    except MachineError as caught:
        error = caught
    if error is not None:
        match = re.match(r"\S+, line (\d+): .", error.message, re.DOTALL)
        assert match, error.message
        assert 1 <= int(match[1]) <= text.count("\n") + 1


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutations(parse: Callable[[str], None], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(PARSERS[parse]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 20))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[end:]
    check(parse, text)


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30))
def test_any_text(parse: Callable[[str], None], pieces: list[str]) -> None:
    check(parse, " ".join(pieces))
    check(parse, "".join(pieces))


@settings(deadline=None)
@given(version=st.from_regex(r"([0-9]|[a-z]|[.+-][0-9]){1,12}", fullmatch=True))
def test_what_comes_before_and_after_a_version(version: str) -> None:
    keys = [version_key(version + end) for end in ("~rc1", "", "-1", "^1", ".1")]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@settings(deadline=None)
@given(
    names=st.lists(st.from_regex(r"[a-c]?[0-2]?(\+[01])?\.conf", fullmatch=True), max_size=6),
    keys=st.lists(st.sampled_from(["", "sort-key a\n", "sort-key b\n"]), min_size=6, max_size=6),
)
def test_the_order_of_a_menu_does_not_depend_on_the_directorys(
    names: list[str], keys: list[str]
) -> None:
    entries = [
        parse_bls(f"linux /x\n{key}", name, name) for name, key in zip(names, keys, strict=False)
    ]
    known = {(entry.id, entry.sort_key, entry.tries_left): entry for entry in entries}
    forwards, backwards = sort_bls(known.values()), sort_bls(reversed(known.values()))
    ranks = [(entry.tries_left == 0, entry.sort_key == "") for entry in forwards]
    assert ranks == sorted(ranks)
    assert [(e.tries_left == 0, e.sort_key, version_key(e.id)) for e in forwards] == [
        (e.tries_left == 0, e.sort_key, version_key(e.id)) for e in backwards
    ]
    assert all("+" not in split_counter(name)[0] for name in names)
