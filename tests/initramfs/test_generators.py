"""What contrib/ has for generators of initramfs images, run by those themselves, without a boot."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pykexec import launchers
from pykexec.architectures import name_of
from pykexec.initramfs.tree import INTERPRETER
from tests.initramfs.conftest import Packed
from tests.initramfs.generators import (
    MKINITCPIO,
    SUITE,
    TOPS,
    installed,
    run_over,
    run_within,
    unpack,
)
from tests.initramfs.unpacked import unpacked
from tests.vm.test_harness import read_cpio

RELEASE = "6.1.0-none"
DRACUT = ("dracut-core", "libkmod2", "kmod", "cpio")
INITRAMFS_TOOLS = (
    *("initramfs-tools-core", "klibc-utils", "libklibc", "kmod", "libkmod2", "cpio"),
    *("linux-base", "logsave"),
)
KERNEL = b"a crash kernel"
PYKEXEC = f"{sys.executable} -m pykexec.cli.main"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return both generators, unpacked side by side."""
    place = tmp_path_factory.mktemp("packages")
    for top in TOPS:
        (place / top).mkdir()
    return unpacked(SUITE, dict.fromkeys((*DRACUT, *INITRAMFS_TOOLS)), place)


def layer_of(tmp_path: Path, settings: str = "") -> Path:
    """Return pykexec as it is installed, a kernel without modules, and a crash kernel."""
    layer = installed(tmp_path / "layer", f"INITRAMFS_PACK=yes\nINITRAMFS_CRASH=yes\n{settings}")
    (layer / f"boot/config-{RELEASE}").write_text("CONFIG_RD_GZIP=y\n")
    (layer / "boot/capture-kernel").write_bytes(KERNEL)
    conf = "KDUMP_KERNEL=/boot/capture-kernel\nKDUMP_INITRD=none\nKDUMP_APPEND=irqpoll\n"
    (layer / "etc/pykexec/kdump.conf").write_text(conf)
    modules = layer / f"usr/lib/modules/{RELEASE}"
    modules.mkdir(parents=True)
    for name in ("order", "builtin", "builtin.modinfo", "dep", "builtin.bin"):
        (modules / f"modules.{name}").touch()
    return layer


def by_dracut(
    tmp_path: Path, packages: Path, layer: Path, command: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Return the tree that dracut makes, and what it said."""
    for name in ("confdir", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf").touch()
    image = tmp_path / "image"
    done = run_over(
        layer,
        packages,
        [
            *("dracut", "--force", "--no-kernel", "--no-hostonly", "--no-early-microcode"),
            *("--no-compress", "--quiet", "--conf", str(tmp_path / "conf")),
            *("--confdir", str(tmp_path / "confdir"), "--tmpdir", str(tmp_path / "out")),
            *("--kver", RELEASE, "--modules", "bash pykexec pykexec-crash", str(image)),
        ],
        {"PYKEXEC_COMMAND": command},
    )
    assert done.returncode == 0, done.stderr
    return unpack(read_cpio(image.read_bytes()), tmp_path / "tree"), done


def by_initramfs_tools(
    tmp_path: Path, packages: Path, layer: Path, command: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Return the tree that mkinitramfs makes, and what it said."""
    (tmp_path / "conf").mkdir()
    text = "MODULES=list\nBUSYBOX=n\nCOMPRESS=gzip\nRUNSIZE=10%\n"
    (tmp_path / "conf/initramfs.conf").write_text(text)
    image = tmp_path / "image"
    done = run_over(
        layer,
        packages,
        ["mkinitramfs", "-d", str(tmp_path / "conf"), "-c", "gzip", "-o", str(image), RELEASE],
        {"PYKEXEC_COMMAND": command},
    )
    assert done.returncode == 0, done.stderr
    data = gzip.decompress(image.read_bytes())
    return unpack(read_cpio(data), tmp_path / "tree"), done


GENERATORS = {"dracut": by_dracut, "initramfs-tools": by_initramfs_tools}


def check_tree(tree: Path) -> None:
    """Check that a tree has all, and that it runs there."""
    launcher = launchers.load(name_of(os.uname().machine))
    found = (tree / "usr/sbin/kexec").read_bytes()
    # dracut strips programs.
    assert found[:4] == b"\x7fELF"
    assert len(found) <= len(launcher)
    done = run_within(tree, "/usr/sbin/kexec", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kexec (pykexec) ")
    done = run_within(tree, "/usr/sbin/kexec", "-c", "-l", "/no/kernel")
    assert "/proc/iomem is missing" in done.stderr
    assert done.returncode == 255
    home = tree / "usr/lib/pykexec"
    assert (home / "crash/kernel").read_bytes() == KERNEL
    assert (home / "crash/append").read_text() == "irqpoll\n"
    assert (home / "early-crash").stat().st_mode & 0o111


def replay(packed: Packed) -> str:
    """Return a command that packs what has been packed already: that takes seconds."""
    script = packed.tree.parent / "replay"
    script.write_text(f'for tree; do :; done\ncp -an {shlex.quote(str(packed.tree))}/. "$tree"\n')
    return f"sh {script}"


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_generator_packs_what_runs(
    generator: str, tmp_path: Path, packages: Path, packed: Packed
) -> None:
    command = PYKEXEC if generator == "dracut" else replay(packed)
    tree, done = GENERATORS[generator](tmp_path, packages, layer_of(tmp_path), command)
    assert "without pykexec" not in done.stderr
    check_tree(tree)
    if generator == "dracut":
        (hook,) = tree.glob("*/lib/dracut/hooks/cmdline/00-early-crash.sh")
        assert "/usr/lib/pykexec/early-crash pykexec.crash" in hook.read_text()
    else:
        order = (tree / "scripts/init-top/ORDER").read_text()
        assert "/scripts/init-top/pykexec" in order


@pytest.mark.parametrize("generator", GENERATORS)
def test_what_cannot_be_packed_fails_no_image(
    generator: str, tmp_path: Path, packages: Path
) -> None:
    layer = layer_of(tmp_path, "INITRAMFS_OPTIONS=--python=/no/python\n")
    tree, done = GENERATORS[generator](tmp_path, packages, layer, PYKEXEC)
    assert "there is no Python at /no/python" in done.stderr
    assert "the initramfs is made without pykexec" in done.stderr
    assert not list(tree.glob("usr/lib/pykexec/*"))
    assert not (tree / "usr/sbin/kexec").exists()
    assert not (tree / INTERPRETER).exists()


@pytest.mark.parametrize("first", ["systemd", "busybox"])
def test_mkinitcpio(first: str, tmp_path: Path, packed: Packed) -> None:
    """By stand-ins for its functions: whether there is systemd's hook decides who loads."""
    layer, tree, nothing = layer_of(tmp_path), tmp_path / "tree", tmp_path / "nothing"
    tree.mkdir()
    for top in TOPS:
        (nothing / top).mkdir(parents=True)
    words = ["bash", "-c", MKINITCPIO, "mkinitcpio", str(tree), RELEASE, first]
    done = run_over(layer, nothing, words, {"PYKEXEC_COMMAND": replay(packed)})
    assert (done.returncode, done.stderr) == (0, "")
    check_tree(tree)
    unit = "usr/lib/systemd/system/sysinit.target.wants/pykexec-crash-early.service"
    assert (tree / unit).is_file() == (first == "systemd")
    assert (tree / "hooks/pykexec-crash").exists() == (first == "busybox")


def test_mkinitcpio_where_nothing_can_be_packed(tmp_path: Path) -> None:
    layer = layer_of(tmp_path, "INITRAMFS_OPTIONS=--python=/no/python\n")
    tree, nothing = tmp_path / "tree", tmp_path / "nothing"
    tree.mkdir()
    for top in TOPS:
        (nothing / top).mkdir(parents=True)
    words = ["bash", "-c", MKINITCPIO, "mkinitcpio", str(tree), RELEASE, "busybox"]
    done = run_over(layer, nothing, words, {"PYKEXEC_COMMAND": PYKEXEC})
    assert done.returncode == 0
    assert "the initramfs is made without pykexec" in done.stderr
    assert not (tree / "usr").exists()
