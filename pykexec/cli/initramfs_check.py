"""Lays an image's files out in a directory, and runs what is in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pykexec.cli.initramfs_build import run_in
from pykexec.cli.initramfs_libraries import PackingError
from pykexec.initramfs.tree import HOME, INTERPRETER, directories
from pykexec.loading.undisturbed import undisturbed
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.cli.initramfs_build import Built
    from pykexec.initramfs.tree import Entry

_SHOWN = 3
"""Failures that are named."""

_IMPORT_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
names, libraries, home = json.load(sys.stdin)
failed = {}
# A module may raise anything when it is imported; whatever it is, the tree is not packed.
for name in names:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
        continue
    file = getattr(module, "__file__", None)
    if file is not None and not file.startswith(sys.prefix) or home not in sys.prefix:
        failed[name] = f"it was found at {file}"
for library in libraries:
    try:
        importlib.import_module("pykexec.formats.codec_libraries").library(library)
    except Exception as error:
        failed[library] = f"{type(error).__name__}: {error}"
try:
    digest = importlib.import_module("hashlib").sha256(b"").hexdigest()
    if not digest.startswith("e3b0c44298fc1c14"):
        failed["hashlib"] = f"the SHA-256 of nothing is {digest}"
except Exception as error:
    failed["hashlib"] = f"{type(error).__name__}: {error}"
json.dump(failed, sys.stdout)
"""


def write_tree(directory: Path, entries: Iterable[Entry], *, mtime: int = 0) -> None:
    """Write files and links below ``directory``; raises OSError.

    What is there stays, but for the programs: an image that is being built may have the same
    libraries already, and a ``kexec`` that another module took from the machine.
    """
    entries = tuple(entries)
    for place in directories(entries):
        (directory / place).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        path = directory / entry.place
        if os.path.lexists(path):
            if not entry.replaces:
                continue
            path.unlink()
        if entry.is_link:
            path.symlink_to(entry.data.decode())
        else:
            path.write_bytes(entry.data)
            path.chmod(entry.mode & 0o7777)
        os.utime(path, (mtime, mtime), follow_symlinks=False)


@contextmanager
def laid_out(built: Built, beside: Path) -> Iterator[Path]:
    """Let what was picked lie in a directory of its own, on the file system of ``beside``.

    Not in /tmp, which may be mounted so that nothing in it can be executed, unless $TMPDIR asks.
    """
    place = os.environ.get("TMPDIR") or str(beside)
    directory = Path(tempfile.mkdtemp(prefix=".pykexec-initramfs-", dir=place))
    try:
        tree = directory / "tree"
        tree.mkdir()
        write_tree(tree, built.entries)
        yield tree
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def check(built: Built, beside: Path) -> None:
    """Import every module with the packed interpreter; raises :class:`PackingError`.

    In a chroot, or by the packed dynamic linker where this may not be.
    """
    question = json.dumps([built.modules, built.codecs, HOME])
    # A signal would leave the directory behind; it waits some seconds.
    with undisturbed(), laid_out(built, beside) as tree:
        done = run_in(
            tree, f"/{INTERPRETER}", ["-I", "-S", "-B", "-c", _IMPORT_ALL], question.encode()
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PackingError(
            f"the Python that was picked does not run (status {done.returncode}): "
            f"{said[-1] if said else 'it says nothing'}"
        )
    failed = json.loads(done.stdout)
    if failed:
        some = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:_SHOWN])
        raise PackingError(
            f"{counted(len(failed), 'module')} of {len(built.modules)} cannot be imported from "
            f"what was picked: {some}"
        )
