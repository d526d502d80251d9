"""tools/touched.py: which modules commits about something touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.touched import in_a_room, main, touched


def commit(repository: Path, subject: str, *names: str) -> None:
    for name in names:
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(subject)
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    words = ["git", *author, "commit", "-qm", subject]
    subprocess.run(words, cwd=repository, check=True)


def test_modules_outside_of_rooms_are_counted(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit(tmp_path, "Plan for RISC-V", "pykexec/a.py", "pykexec/boot/riscv64/__init__.py")
    commit(tmp_path, "Say more", "pykexec/b.py")
    commit(tmp_path, "Move RISC-V", "pykexec/gone.py")
    (tmp_path / "pykexec/gone.py").unlink()
    commit(tmp_path, "Test risc-v", "pykexec/a.py", "pykexec/b/c.py", "docs/d.md", "tests/e.py")
    assert touched("risc-v", tmp_path) == (3, {"a.py", "b/c.py"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("boot/arm64/protocol.py", True),
        ("simulation/arm.py", True),
        ("formats/zimage.py", True),
        ("architectures/__init__.py", True),
        ("formats/uki.py", False),
        ("boot/tree/linux.py", False),
    ],
)
def test_what_is_in_a_room(name: str, expected: bool) -> None:
    assert in_a_room(name) is expected


def test_one_pattern_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--files"]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m tools.touched PATTERN")
