"""``pykexec initramfs``: what is packed runs, is small, and is the same each time."""

from __future__ import annotations

import lzma
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykexec.cli import initramfs_build, initramfs_check
from pykexec.cli.initramfs_build import Built, Wish
from pykexec.cli.initramfs_libraries import PackingError
from pykexec.cli.main import cli
from pykexec.initramfs.selection import OPENSSL, PROGRAMS, STAND_INS
from pykexec.initramfs.tree import HOME, INTERPRETER
from pykexec.values.ranges import Range
from tests.initramfs.conftest import Packed, run_pykexec, run_verbs
from tests.initramfs.run_verbs import commands
from tests.needs import unavailable
from tests.vm.test_harness import read_cpio
from tools.front_doors import doors

LIBRARY = f"{HOME}/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
MB = 1_000_000
OPTIONAL = ("_uuid", OPENSSL)
"""What a library does without."""


def where_it_lies(place: str) -> str:
    """Return a place with the link of a merged /usr followed."""
    return f"usr/{place}" if place.startswith("lib64/") else place


def files_of(tree: Path) -> Iterator[tuple[str, int, bytes]]:
    for path in sorted(tree.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield str(path.relative_to(tree)), mode, os.readlink(path).encode()
        elif stat.S_ISREG(mode):
            yield str(path.relative_to(tree)), mode, path.read_bytes()


def test_what_is_packed(packed: Packed) -> None:
    names = {name for name, _, _ in files_of(packed.tree)}
    assert {INTERPRETER, "usr/sbin/kexec", f"{LIBRARY}/os.pyc"} <= names
    assert f"{LIBRARY}/pykexec/purgatory_objects/MANIFEST.json" in names
    objects = {Path(name).name for name in names if "purgatory_objects" in name}
    built = {name for name in objects if not name.endswith(".pyc")}
    assert built == {"MANIFEST.json", "x86_64.bin", "i386.bin"}
    assert not any(name.endswith(".py") or "__pycache__" in name for name in names)
    assert "each module was imported there" in packed.said
    assert {path.lstat().st_mtime for path in packed.tree.rglob("*") if not path.is_dir()} == {0.0}


def test_it_runs_where_nothing_else_is(packed: Packed) -> None:
    if os.geteuid() != 0:
        unavailable("only root may make a chroot", "ROOT")
    words = ["chroot", str(packed.tree), "/usr/sbin/kexec", "-v"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("kexec (pykexec) ")
    assert done.stderr == ""


def test_it_runs_without_root(
    packed: Packed, built: dict[str, Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the packed dynamic linker, where a chroot may not be made."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = initramfs_build.run_in(
        packed.tree,
        f"/{INTERPRETER}",
        ["-ISB", "-c", "import pykexec, sys; print(sys.prefix, pykexec.__file__)"],
        b"",
    )
    home = packed.tree / HOME
    assert done.stdout.decode().split() == [
        str(home),
        f"{packed.tree / LIBRARY}/pykexec/__init__.pyc",
    ]


def test_an_archive_made_later_has_the_same_bytes(packed: Packed, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"an odd number of bytes!")
    out = tmp_path / "out"
    done = run_pykexec("cpio", out, "--after", initrd, SOURCE_DATE_EPOCH="86400")
    assert done.returncode == 0, done.stderr
    data = out.read_bytes()
    assert data.startswith(initrd.read_bytes() + bytes(512 - 23) + b"070701")
    assert data[512 + 6 + 8 * 5 :][:8] == b"00015180"
    found = read_cpio(data[512:])
    files = [
        (where_it_lies(name), mode, contents)
        for name, (mode, contents, _) in found.items()
        if name != "TRAILER!!!" and not stat.S_ISDIR(mode)
    ]
    assert sorted(files) == sorted(files_of(packed.tree))


def test_the_list_has_the_sources(packed: Packed, built: dict[str, Built]) -> None:
    entries = {entry.place: entry for entry in built["kexec"].entries}
    assert set(map(where_it_lies, entries)) == {name for name, _, _ in files_of(packed.tree)}
    source = entries[f"{LIBRARY}/pykexec/values/errors.pyc"].source
    assert source.endswith("/pykexec/values/errors.py")
    assert os.path.exists(source)


DATA_CLASSES = """
import builtins
execute, compiled, texts = builtins.exec, 0, []
def count(code, *names):
    global compiled
    if isinstance(code, str):
        texts.append(code)
    else:
        compiled += 1
    execute(code, *names)
builtins.exec = count
import pykexec.loading.live, pykexec.planning.planner, pykexec.boot.x86.linux, pykexec.crash.status
builtins.exec = execute
from pykexec.values.ranges import Range
try:
    Range(1, 2).start = 3
except AttributeError as error:
    print(type(error).__name__)
print(Range(1, 2), Range(1, 2) == Range(1, 2), len({Range(1, 2), Range(1, 2)}))
print(compiled > 100, texts)
"""


def test_methods_of_data_classes_are_compiled_beforehand(packed: Packed) -> None:
    words = ["-ISB", "-c", DATA_CLASSES]
    done = initramfs_build.run_in(packed.tree, f"/{INTERPRETER}", words, b"")
    assert done.stdout.decode().splitlines() == [
        "FrozenInstanceError",
        f"{Range(1, 2)} True 1",
        "True []",
    ], done.stderr.decode()


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_module_that_a_verb_imports_is_packed(
    program: str, built: dict[str, Built], tmp_path: Path
) -> None:
    imported, outcomes = run_verbs(program, tmp_path)
    bugs = {words: said for words, said in outcomes.items() if not isinstance(said, int)}
    assert not bugs
    known = {*built[program].modules, *sys.builtin_module_names, *STAND_INS, *OPTIONAL}
    # What is frozen, an alias, or made by the interpreter has no file of its own.
    missing = {
        name
        for name in imported - known
        if not name.startswith(("tests.", "tools."))
        and getattr(sys.modules.get(name), "__file__", "") is not None
    }
    assert not missing


def test_every_verb_is_run(tmp_path: Path) -> None:
    run = list(commands(tmp_path))
    for door in doors():
        if door.verbs or "initramfs" in door.words:
            continue
        words = list(door.words)
        assert any(one[: len(words)] == words for one in run), words


@pytest.mark.full
@pytest.mark.parametrize(
    ("openssl", "raw", "packed_size"), [(False, 24 * MB, 6.5 * MB), (True, 26 * MB, 8 * MB)]
)
def test_budget(openssl: bool, raw: float, packed_size: float) -> None:
    from io import BytesIO

    from pykexec.initramfs.cpio import write_archive

    out = BytesIO()
    write_archive(out, initramfs_build.build(Wish(openssl=openssl)).entries)
    assert len(out.getvalue()) <= raw
    assert len(lzma.compress(out.getvalue(), preset=9)) <= packed_size


def test_what_is_there_stays_but_for_the_programs(built: dict[str, Built], tmp_path: Path) -> None:
    image = tmp_path / "image"
    for name in ("usr/sbin/kexec", "usr/lib/other"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_text("another's")
    library = next(entry for entry in built["kexec"].entries if "libc.so" in entry.place)
    (image / library.place).parent.mkdir(parents=True, exist_ok=True)
    (image / library.place).write_text("the image's own")
    initramfs_check.write_tree(image, built["kexec"].entries)
    assert (image / "usr/sbin/kexec").read_bytes() != b"another's"
    assert (image / "usr/lib/other").read_text() == "another's"
    assert (image / library.place).read_text() == "the image's own"


def test_nothing_is_packed_when_a_module_is_missing(
    built: dict[str, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(
        built["kexec"],
        entries=tuple(e for e in built["kexec"].entries if not e.place.endswith("/bisect.pyc")),
    )
    monkeypatch.setattr(initramfs_build, "build", lambda wish: lacking)
    image = tmp_path / "image"
    result = CliRunner().invoke(cli, ["initramfs", "tree", str(image)])
    assert isinstance(result.exception, PackingError)
    assert result.exception.exit_code == 255
    assert "cannot be imported from what was picked" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tree", "/"], "is the root directory of a machine that runs"),
        (["tree", "{tmp}", "--root={tmp}"], "is the root directory of a machine that runs"),
        (["tree", "{tmp}/no/image"], "there is no directory"),
        (["tree", "{tmp}/image", "--python=/nowhere"], "there is no Python at /nowhere"),
        (["tree", "{tmp}/image", "--root={tmp}"], "there is no Python at /usr/bin/python3 of"),
        (["cpio", "{tmp}/no/file"], "there is no directory"),
    ],
)
def test_refusals(words: list[str], said: str, tmp_path: Path) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    result = CliRunner().invoke(cli, ["initramfs", *words])
    assert said in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_is_none(
    built: dict[str, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initramfs_build, "build", lambda wish: built["kexec"])
    monkeypatch.setattr(initramfs_check, "check", lambda built, beside: None)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    result = CliRunner().invoke(cli, ["initramfs", "tree", str(tmp_path / "image")])
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
