"""machine.json, and the live machine's answer in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import MachineError
from pykexec.machine.description import (
    Description,
    KcoreLoad,
    build_description,
    parse_description,
    read_description,
)
from pykexec.machine.files import MachineFiles

POSITIVE = st.integers(1, 2**64 - 1)
LOADS = st.lists(st.builds(KcoreLoad, st.integers(0, 2**64 - 1), POSITIVE)).map(tuple)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.dictionaries(TEXTS, TEXTS)
KCORE: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
    {"kcore": LOADS, "vmcoreinfo": NUMBERS}
)
DESCRIPTIONS = st.builds(
    lambda kcore, **others: Description(**kcore, **others),
    kcore=KCORE,
    arch=st.sampled_from(["x86_64", "aarch64", "riscv64"]),
    page_size=st.sampled_from([4096, 16384, 65536]),
    kernel_release=TEXTS,
    cpus=st.none() | st.integers(1, 1 << 16),
)


@given(DESCRIPTIONS)
def test_a_written_description_is_read_back(description: Description) -> None:
    assert parse_description(build_description(description), "x") == description


def test_an_architecture_is_enough() -> None:
    assert parse_description(b'{"arch": "x86_64"}', "x") == Description("x86_64", 4096)


def test_unknown_keys_are_ignored() -> None:
    assert parse_description(b'{"arch": "x86_64", "owner": 1}', "x").arch == "x86_64"


def test_the_live_machine() -> None:
    description = read_description(MachineFiles("/"))
    assert (description.arch, description.kernel_release) == (os.uname()[4], os.uname()[2])
    assert description.page_size == os.sysconf("SC_PAGESIZE")
    assert read_description(MachineFiles("/proc/..")) == description


class Told(MachineFiles):
    """The live machine, and files that say something else there."""

    def __init__(self, **files: str) -> None:
        super().__init__("/")
        self._files = files

    def peek(self, name: str) -> str | None:
        return self._files.get(name.rpartition("/")[2])


def set_machine(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    words = ("Linux", "host", "6.12", "#1", machine)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(words))


@pytest.mark.parametrize(
    ("machine", "files", "arch"),
    [
        ("x86_64", {}, "x86_64"),
        ("i686", {"arch": "i686", "personality": "00000008"}, "i386"),
        ("i686", {"personality": "00000000"}, "i386"),
        ("i586", {}, "i386"),
        # In the personality linux32 a 64-bit kernel says that it is an i686.
        ("i686", {"arch": "x86_64", "personality": "00000008"}, "x86_64"),
        # What QEMU's user mode runs as sees the file of the machine below.
        ("aarch64", {"arch": "x86_64"}, "aarch64"),
    ],
)
def test_a_personality_hides_no_kernel(
    machine: str, files: dict[str, str], arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, machine)
    assert read_description(Told(**files)).arch == arch


def test_a_personality_may_hide_an_old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, "i686")
    with pytest.raises(MachineError, match=r"uname says i686, but .* linux32") as caught:
        read_description(Told(personality="00000008"))
    assert caught.value.hint == "run it as: setarch linux64 COMMAND"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100000, "is not JSON"),
        (b"[]", "is [], an object is needed"),
        (b"{}", '"arch" is needed, as uname -m prints it'),
        (b'{"arch": 5}', "arch is 5, a text"),
        (b'{"arch": ""}', '"arch" is needed'),
        (b'{"arch": "x", "schema": "pykexec.machine/2"}', "schema 'pykexec.machine/2' is unknown"),
        (b'{"arch": "x", "page_size": 5000}', "page_size is 5000, a power of two"),
        (b'{"arch": "x", "page_size": 2048}', "page_size is 2048, a power of two"),
        (b'{"arch": "x", "cpus": true}', "cpus is True, an integer"),
        (b'{"arch": "x", "cpus": -1}', "cpus is -1, an integer"),
        (b'{"arch": "x", "kernel_release": 6}', "kernel_release is 6, a text"),
        (b'{"arch": "x", "kcore": []}', "kcore is [], an object"),
        (b'{"arch": "x", "kcore": {"loads": [1]}}', "kcore.loads[0] is 1, an object"),
        (
            b'{"arch": "x", "kcore": {"loads": [{"vaddr": "0x1"}]}}',
            "loads[0].memsz is missing",
        ),
        (
            b'{"arch": "x", "kcore": {"loads": [], "vmcoreinfo": {"a": 1}}}',
            "a is 1, a text",
        ),
        (
            b'{"arch": "x", "kcore": {"loads": [{"vaddr": "z", "memsz": 1}]}}',
            "'z', a hexadecimal",
        ),
    ],
)
def test_a_malformed_description(text: bytes, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        parse_description(text, "DIR/machine.json")
    assert message in caught.value.message
    assert caught.value.message.startswith("DIR/machine.json")


def test_an_unknown_schema_says_which_is_known() -> None:
    with pytest.raises(MachineError, match=r"reads 'pykexec\.machine/1'") as caught:
        parse_description(b'{"schema": 7, "arch": "x86_64"}', "x")
    assert caught.value.hint is not None
    assert "record it again" in caught.value.hint


def test_a_directory_without_description(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"machine\.json is missing") as caught:
        read_description(MachineFiles(tmp_path))
    assert caught.value.hint is not None
    assert "pykexec machine record" in caught.value.hint


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_no_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="is no machine directory: no such directory"):
        read_description(MachineFiles(tmp_path / name))
