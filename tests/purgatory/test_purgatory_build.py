"""purgatory/build.py: the objects are what the sources give, everywhere, and fit for use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = Path("pykexec/purgatory_objects")
FORCE = "PYKEXEC_REQUIRE_CLANG"

needs_clang = pytest.mark.skipif(
    not os.environ.get(FORCE) and not (shutil.which("clang-19") and shutil.which("ld.lld-19")),
    reason=f"install clang-19 and lld-19; {FORCE}=1 fails instead of skipping",
)


def build(
    tree: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tree / "purgatory" / "build.py"), *arguments],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources and of the objects, at a path of its own."""
    for directory in (Path("purgatory"), OBJECTS):
        shutil.copytree(
            ROOT / directory, tmp_path / directory, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@needs_clang
class TestBuild:
    def test_objects_are_current(self) -> None:
        result = build(ROOT, "--check")
        assert result.returncode == 0, result.stderr

    def test_directory_and_environment_make_no_difference(self, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "elsewhere" / "out"
        hostile = {
            "CFLAGS": "-O0 -march=x86-64-v3",
            "CPATH": str(tmp_path),
            "CCC_OVERRIDE_OPTIONS": "+-O0",
            "SOURCE_DATE_EPOCH": "1",
        }
        (tmp_path / "stdint.h").write_text("#error taken from the environment\n")
        result = build(tree, "--out", str(out), env=hostile)
        assert result.returncode == 0, result.stderr
        names = {path.name for path in out.iterdir()}
        assert names == {"x86_64.bin", "MANIFEST.json"}
        for name in names:
            assert (out / name).read_bytes() == (ROOT / OBJECTS / name).read_bytes()

    @pytest.mark.parametrize(
        ("path", "old", "new", "named"),
        [
            ("common/sha256.c", "0x428a2f98", "0x428a2f99", "x86_64.bin differs"),
            ("common/purgatory.c", "is right", "is fine ", "x86_64.bin differs"),
            ("arch/x86_64/entry.S", "\tcld\n", "", "x86_64.bin differs"),
            ("include/sha256.h", "so far", "until now", "MANIFEST.json differs"),
        ],
    )
    def test_check_notices_a_changed_source(
        self, tree: Path, path: str, old: str, new: str, named: str
    ) -> None:
        edit(tree / "purgatory" / path, old, new)
        result = build(tree, "--check")
        assert result.returncode == 1
        assert named in result.stderr
        assert result.stderr.endswith("run python purgatory/build.py\n")
        assert result.stderr.count("\n") == 1

    def test_check_notices_changed_objects(self, tree: Path) -> None:
        (tree / OBJECTS / "x86_64.bin").unlink()
        (tree / OBJECTS / "vax.bin").touch()
        (tree / OBJECTS / "MANIFEST.json").write_text("{}")
        result = build(tree, "--check")
        assert result.returncode == 1
        for part in ("x86_64.bin is missing", "vax.bin has no source", "MANIFEST.json differs"):
            assert part in result.stderr

    def test_another_compiler_may_make_the_same_bytes(self, tree: Path) -> None:
        edit(tree / OBJECTS / "MANIFEST.json", "Debian clang version", "Other clang version")
        assert build(tree, "--check").returncode == 0

    @pytest.mark.parametrize(
        ("addition", "message"),
        [
            ("void *absolute = &skip_checks;", "relocations are left: 1 in .rela.dyn"),
            ("extern int missing; int *f(void) { return &missing; }", "undefined symbol: missing"),
            ("double f(double x) { return x * 2; }", "undefined symbol: __adddf3"),
            (
                '__attribute__((section("elsewhere"))) int extra = 1;',
                "sections that flat.ld does not place: elsewhere",
            ),
            (
                "char large[1 << 20]; void f(char *p)"
                " { for (int i = 0; i < 1 << 20; i++) p[i] = large[i]; }",
                "",
            ),
        ],
        ids=["relocation", "undefined", "floating point", "section", "bss"],
    )
    def test_what_could_not_run_is_refused(self, tree: Path, addition: str, message: str) -> None:
        """The last case is fit for use: it only needs more memory."""
        source = tree / "purgatory" / "common" / "purgatory.c"
        source.write_text(source.read_text() + addition + "\n")
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == (1 if message else 0), result.stderr
        assert message in result.stderr
        assert (tree / "out").exists() is not bool(message)

    @pytest.mark.parametrize("section", [".data : ALIGN(4096)", ".stack (NOLOAD) : ALIGN(4096)"])
    def test_pages_must_not_be_shared(self, tree: Path, section: str) -> None:
        edit(tree / "purgatory" / "flat.ld", section, section.replace("ALIGN(4096)", ""))
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == 1
        assert "is not on pages of its own" in result.stderr

    def test_contract_symbol_must_exist(self, tree: Path) -> None:
        edit(tree / "purgatory" / "build.py", '"skip_checks",', '"skip_checks", "skip_nothing",')
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == 1
        assert "0 symbols are called skip_nothing" in result.stderr


def test_missing_compiler(tmp_path: Path) -> None:
    result = build(ROOT, "--check", env={"PATH": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr == (
        "purgatory: clang-19 and ld.lld-19 not found: install the Debian packages clang-19 lld-19\n"
    )
