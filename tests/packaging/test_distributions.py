"""Wheel and sdist: the same bytes each time, and in them what belongs there."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from pykexec import __version__
from tools.distributions import PROJECT, build, build_project, copy_tree, tracked

NAME = f"pykexec-{__version__}"
DIRECTORIES = ("contrib", "docs", "launcher", "man", "packaging", "purgatory", "pykexec")
FILES = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml")
BY_HATCHLING = {"PKG-INFO", ".gitignore"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Sdist and wheel of the project as it is."""
    sdist, wheel = build_project(tmp_path_factory.mktemp("built"))
    return sdist, wheel


def test_built_again_elsewhere_they_are_the_same(
    built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "another/place"
    source.mkdir(parents=True)
    previous = os.umask(0o077)
    try:
        copy_tree(reversed(tracked()), source)
    finally:
        os.umask(previous)
    for number, path in enumerate(sorted(source.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    for first, second in zip(built, build(source, tmp_path / "out"), strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_the_wheel_of_the_sdist_is_the_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    sdist, wheel = built
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (again,) = build(tmp_path / NAME, tmp_path / "out", ["wheel"])
    assert again.read_bytes() == wheel.read_bytes()


def test_the_sdist_has_what_packages_are_built_from_and_nothing_else(
    built: tuple[Path, Path],
) -> None:
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
    assert all(member.isfile() and member.uid == member.gid == 0 for member in members)
    found = {member.name.removeprefix(f"{NAME}/") for member in members}
    wanted = {name for name in tracked() if name in FILES or name.partition("/")[0] in DIRECTORIES}
    assert found - BY_HATCHLING == wanted
    executable = {member.name.removeprefix(f"{NAME}/") for member in members if member.mode & 1}
    assert executable == {name for name in wanted if os.access(PROJECT / name, os.X_OK)}


def test_the_wheel_has_the_package_and_what_lies_beside_it(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
    package = {name for name in names if name.startswith("pykexec/")}
    assert package == {name for name in tracked() if name.startswith("pykexec/")}
    shared = {name.partition("/data/share/")[2] for name in names if "/data/share/" in name}
    assert {f"man/man8/{path.name}" for path in (PROJECT / "man").glob("*.8")} < shared
    assert len(shared) == len(list((PROJECT / "man").glob("*.8"))) * 4
    assert f"{NAME}.dist-info/licenses/LICENSE" in names
    assert f"Version: {__version__}\n" in metadata
    # Python 3.11 to 3.14 in one file.
    assert built[1].name == f"{NAME}-py3-none-any.whl"
