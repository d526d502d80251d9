"""Files of a system below a root: links are that system's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.machine.boot_tree import SMALL_MAX, BootTree


@pytest.fixture
def tree(tmp_path: Path) -> BootTree:
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "boot/file").write_bytes(b"inside\xff")
    (tmp_path / "file").write_text("outside")
    for name, target in {
        "absolute": "/boot/file",
        "relative": "boot/file",
        "boot/inner": "/boot/file",
        "up": "../../file",
        "directory": "/boot",
        "again": "directory/../absolute",
        "loop": "loop",
        "nowhere": "/nowhere",
    }.items():
        (root / name).symlink_to(target)
    return BootTree(root)


@pytest.mark.parametrize(
    "path",
    [
        "/boot/file",
        "boot/./file",
        "/absolute",
        "/relative",
        "/directory/file",
        "/again",
        "/boot/inner",
    ],
)
def test_names_of_one_file(tree: BootTree, path: str) -> None:
    assert tree.place(path) == f"{tree.root}/boot/file"
    assert tree.text(path) == "inside\udcff"
    assert bytes(tree.mapped(path)) == b"inside\xff"
    assert tree.identity(path) == tree.identity("/boot/../boot/file")


@pytest.mark.parametrize(
    "path", ["/up", "/loop", "/nowhere", "/../file", "/../../file", "/boot/file/x", "/a\0b", "/x/y"]
)
def test_what_is_not_there(tree: BootTree, path: str) -> None:
    assert not tree.exists(path)
    assert tree.text(path) is None
    assert tree.names(path) == []
    assert tree.identity(path) is None
    with pytest.raises(OSError, match=r".+"):
        tree.mapped(path)


def test_directories(tree: BootTree) -> None:
    assert tree.names("/directory") == ["file", "inner"]
    assert tree.names("/boot/file") == []
    assert tree.text("/boot") is None


def test_sizes(tree: BootTree) -> None:
    place = Path(tree.root) / "boot/file"
    place.write_bytes(b"")
    assert tree.text("/boot/file") == ""
    with pytest.raises(OSError, match="empty"):
        tree.mapped("/boot/file")
    place.write_bytes(bytes(SMALL_MAX + 1))
    with pytest.raises(OSError, match="larger than 1048576 bytes"):
        tree.text("/boot/file")
