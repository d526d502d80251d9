"""``pykexec initramfs --root``: of a machine with another Python than the one that packs."""

from __future__ import annotations

import lzma
from io import BytesIO
from pathlib import Path

import pytest

from pykexec.cli.initramfs_build import Wish, build
from pykexec.initramfs.cpio import write_archive
from tests.initramfs.conftest import run_pykexec
from tests.initramfs.generators import run_within
from tests.initramfs.unpacked import PYTHONS, python_root

MB = 1_000_000


@pytest.mark.full
@pytest.mark.parametrize("suite", PYTHONS)
def test_another_machines_python(suite: str, tmp_path: Path) -> None:
    """Within the limits of size, and it runs where nothing else is."""
    root = python_root(suite, tmp_path / "root")
    tree = tmp_path / "tree"
    for openssl in (False, True):
        out = BytesIO()
        write_archive(out, build(Wish(openssl=openssl, root=root)).entries)
        raw, xz = len(out.getvalue()), len(lzma.compress(out.getvalue(), preset=9))
        print(f"{suite}, OpenSSL {openssl}: {raw} bytes, {xz} as xz")
        assert openssl or (raw <= 24 * MB and xz <= 6.5 * MB)
    done = run_pykexec("tree", tree, "--root", root)
    assert done.returncode == 0, done.stderr
    assert "each module was imported there" in done.stderr
    (library,) = (tree / "usr/lib/pykexec/lib").iterdir()
    assert library.name == f"python{PYTHONS[suite]}"
    done = run_within(tree, "/usr/sbin/kexec", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kexec (pykexec) ")
